"""One call for flattened images of all origins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.errors import ProductError
from sarheight.rtc._files import locate
from sarheight.rtc._hyp3 import HYP3_NAME, open_hyp3
from sarheight.rtc._opera import OPERA_NAME, open_opera
from sarheight.rtc._planetary import Item, open_planetary

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.rtc._files import PathLike

__all__ = ["open_rtc"]


def open_rtc(
    source: PathLike | Sequence[PathLike] | Item | Mapping[str, Any],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read a terrain-flattened Sentinel-1 image of OPERA, HyP3 or the Planetary Computer.

    Parameters
    ----------
    source : path, sequence of paths, pystac.Item or mapping
        What `open_opera`, `open_hyp3` or `open_planetary` takes.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them.

    Returns
    -------
    xarray.Dataset
        ``gamma0`` (or ``sigma0``) in linear power, dims (polarisation, y, x), and what else the
        product has. Its attribute ``terrain_flattened`` says that it is.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ProductError
        If it is none of these products, or damaged.
    """
    if isinstance(source, Mapping) or not isinstance(source, str | os.PathLike | Sequence):
        return open_planetary(source, chunks=chunks)
    if isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == ".json":
        return open_planetary(source, chunks=chunks)
    names = list(locate(source))
    for name, opener in ((OPERA_NAME, open_opera), (HYP3_NAME, open_hyp3)):
        if any(name.search(each) for each in names):
            return opener(source, chunks=chunks)
    shown = ", ".join(names[:3]) or "nothing"
    msg = (
        f"found {shown} in '{source}', expected an RTC product of OPERA (OPERA_L2_RTC-S1_…), of "
        "HyP3 (S1A_IW_…_RTC30_G_gpuned_…), or a STAC item; if the files were renamed, call "
        "open_opera or open_hyp3"
    )
    raise ProductError(msg)
