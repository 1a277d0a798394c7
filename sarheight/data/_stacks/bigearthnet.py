"""BigEarthNet's pairs of Sentinel-1 and Sentinel-2 patches as city stacks."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import rioxarray
import xarray as xr
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from sarheight.data._stacks.composites import monthly
from sarheight.data._stacks.form import OPTICAL_BANDS, city_stack
from sarheight.data._stacks.optical import check_offset, optical_band, reflectance
from sarheight.data._stacks.radar import pass_of_time
from sarheight.data._stacks.regrid import on_grid
from sarheight.errors import ProductError, StackError

if TYPE_CHECKING:
    import os

__all__ = ["bigearthnet_stacks"]

RADAR = re.compile(r"^S1[A-D]_\w+_(?P<time>\d{8}T\d{6})_\w+$")
OPTICS = re.compile(r"^S2[A-C]_MSIL2A_(?P<time>\d{8})T\d+_\w+$")
PARTNER = "corresponding_s2_patch"

Read = Callable[[], bytes]
Files = dict[str, dict[str, Read]]


def bigearthnet_stacks(
    radar: str | os.PathLike[str],
    optics: str | os.PathLike[str],
    *,
    baseline: str | float = "02.05",
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield BigEarthNet's pairs of patches, each as a city stack.

    Parameters
    ----------
    radar, optics : path-like
        BigEarthNet-S1 and BigEarthNet-S2: folders of patches, or archives (``.tar``, ``.tar.gz``,
        ``.tar.bz2``). An archive is held in memory, a folder read patch by patch: unpack large
        archives.
    baseline : str or float
        Processing baseline of the optical patches, see `reflectance`.

    Yields
    ------
    name : str
        Of the radar patch.
    stack : xarray.Dataset
        Of one month, or of two where the images were taken in different ones. Radar images do not
        say their pass; it follows from their time, see `pass_of_time`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or archive.
    StackError
        If a patch has no partner, or its files do not fit together.
    ProductError
        If a file is damaged.

    References
    ----------
    Sumbul et al., BigEarthNet-MM: A large scale multi-modal multi-label benchmark archive, 2021:
    patches of 1.2 km; Sentinel-1 in decibels.
    """
    pairs = _patches(Path(radar), RADAR), _patches(Path(optics), OPTICS)
    for name, files in pairs[0].items():
        records = [json.loads(read()) for key, read in files.items() if key.endswith(".json")]
        partner = str(records[0].get(PARTNER, "")) if records else ""
        if partner not in pairs[1]:
            msg = (
                f"found no patch {partner or 'at all'} for {name} in '{optics}', expected its "
                f"partner, which {PARTNER} in its JSON names"
            )
            raise StackError(msg)
        yield name, _pair(name, files, partner, pairs[1][partner], baseline)


def _pair(
    name: str,
    radar: dict[str, Read],
    partner: str,
    optics: dict[str, Read],
    baseline: str | float,
) -> xr.Dataset:
    """Make a stack of two patches."""
    levels = {key[-6:-4]: _raster(read(), key) for key, read in radar.items() if _is_tiff(key)}
    numbers = {
        band: _raster(read(), key)
        for key, read in optics.items()
        if _is_tiff(key) and (band := optical_band(key.rpartition("_")[2][:-4]))
    }
    grid = min(numbers.values(), key=lambda image: abs(image.rio.transform().a))
    times = [
        np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}{_clock(text)}", "ns")
        for text in (_time(RADAR, name), _time(OPTICS, partner))
    ]
    x, y = (float(grid[axis].mean()) for axis in ("x", "y"))
    longitude = Transformer.from_crs(grid.rio.crs, 4326, always_xy=True).transform(x, y)[0]
    side = pass_of_time(times[0], longitude)
    bands = [f"{key.lower()}_{side}" for key in levels]
    power = [on_grid(10.0 ** (image / 10.0), grid) for image in levels.values()]
    sar = xr.concat(power, dim=xr.Variable("sar_band", bands), join="exact")
    order = [band for band in OPTICAL_BANDS if band in numbers]
    seen = [reflectance(on_grid(numbers[band], grid), baseline=baseline) for band in order]
    optical = xr.concat(seen, dim=xr.Variable("optical_band", order), join="exact")
    return city_stack(
        sar=monthly(sar.expand_dims(time=[times[0]]), "mean"),
        optical=monthly(check_offset(optical).expand_dims(time=[times[1]]), "median"),
        attributes={"source": f"BigEarthNet, {name} and {partner}"},
    )


def _time(expression: re.Pattern[str], name: str) -> str:
    found = expression.match(name)
    return found["time"] if found is not None else ""


def _clock(text: str) -> str:
    """Return the part of a time after its date, as ISO 8601 has it."""
    return f"T{text[9:11]}:{text[11:13]}:{text[13:15]}" if len(text) > 8 else ""


def _is_tiff(name: str) -> bool:
    return name.lower().endswith((".tif", ".tiff"))


def _patches(path: Path, expression: re.Pattern[str]) -> Files:
    """Return the files of each patch by name."""
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    found: Files = {}
    try:
        for name, read in _members(path):
            folder = PurePosixPath(name).parent.name
            if expression.match(folder):
                found.setdefault(folder, {})[PurePosixPath(name).name] = read
    except (tarfile.TarError, EOFError) as error:
        msg = f"'{path}' is no archive, or it was cut short ({error})"
        raise ProductError(msg) from error
    if not found:
        msg = f"found no patches in '{path}', expected folders named like {expression.pattern}"
        raise StackError(msg)
    return dict(sorted(found.items()))


def _members(path: Path) -> Iterator[tuple[str, Read]]:
    """Yield names, and what reads the contents, of the files of a folder or an archive."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path.parent).as_posix(), file.read_bytes
        return
    with tarfile.open(path) as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is not None:
                yield member.name, io.BytesIO(opened.read()).getvalue


def _raster(data: bytes, name: str) -> xr.DataArray:
    """Read a GeoTIFF of one band from memory, as float32."""
    try:
        with MemoryFile(data) as memory, memory.open() as opened:
            image = rioxarray.open_rasterio(opened)
            if not isinstance(image, xr.DataArray) or image.sizes["band"] != 1:
                msg = f"found several bands in '{name}', expected one"
                raise ProductError(msg)
            image.load()
    except (RasterioError, OSError) as error:
        msg = f"'{name}' is no raster that GDAL can read, or it is damaged ({error})"
        raise ProductError(msg) from error
    return image.isel(band=0, drop=True).astype(np.float32)
