"""Write results as NetCDF, Zarr, GeoTIFF or picture, and read them back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sarheight._files import file_errors, parse_json, resolve_links
from sarheight._hdf5 import check_hdf5
from sarheight._rasters import open_alone
from sarheight._runtime import ignore_missing_georeference
from sarheight.errors import DamagedFileError, OutputError
from sarheight.output._bands import PACKINGS, StoredBand
from sarheight.output._geotiff import read_geotiff, stored_bands, write_geotiff, write_layers
from sarheight.output.atomic import (
    LAYERS,
    RESULTS,
    atomic_write,
    check_writable,
    require_path,
)
from sarheight.output.grid import (
    SCALES,
    check_grid,
    encode_attributes,
    to_linear,
    to_scale,
)
from sarheight.output.levels import write_levels
from sarheight.output.netcdf import write_netcdf
from sarheight.output.stac import STAC_SUFFIX, require_acquisitions, stac_item, write_item
from sarheight.output.stores import read_store, store_attributes

__all__ = [
    "FORMATS",
    "READABLE",
    "StoredBand",
    "mask_attributes",
    "open_result",
    "read_provenance",
    "save_png",
    "stored_bands",
    "write",
]

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import xarray as xr
    from matplotlib.figure import Figure


def _tags(path: Path) -> Mapping[Any, Any]:
    """Read the attributes of a GeoTIFF, or of a folder of layers, which all have the same."""
    path = next(path.glob("*.tif"), path) if path.is_dir() else path
    with ignore_missing_georeference(), open_alone(path) as file:
        tags: dict[str, str] = file.tags()
        return tags


def _texts(path: Path) -> Mapping[Any, Any]:
    """Read the attributes in a picture."""
    from PIL import Image

    with Image.open(path) as picture:
        return dict(picture.info)


@dataclass(frozen=True)
class Format:
    """A format of results: how to write it, read it, and read its attributes alone."""

    attributes: Callable[[Path], Mapping[Any, Any]]
    write: Callable[[xr.Dataset, Path], None] | None = None  # a result on a checked grid
    read: Callable[[Path, Any], xr.Dataset] | None = None  # with dask chunks as xarray has them


def mask_attributes(path: Path) -> dict[str, str]:
    """Read the attributes of a mask for MintPy, which are texts."""
    import h5py

    check_hdf5(path, "a mask for MintPy", complete=True)
    with h5py.File(path) as file:
        return {name: bytes(text).decode() for name, text in file.attrs.items()}


GEOTIFF = Format(_tags, write_geotiff, read_geotiff)
FORMATS = {
    ".tif": GEOTIFF,
    ".tiff": GEOTIFF,
    ".nc": Format(store_attributes, write_netcdf, read_store),
    ".zarr": Format(store_attributes, write_levels, read_store),
    ".png": Format(_texts),
    ".h5": Format(mask_attributes),
    LAYERS: Format(_tags, read=read_geotiff),
}
"""Formats by suffix; the writer of layers also needs their name and scale (`write`)."""
READABLE = tuple(suffix for suffix, each in FORMATS.items() if each.read is not None)


def write(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    stac: bool = False,
    scale: Literal["linear", "db", "amplitude", "db-int16"] = "linear",
    draw: Callable[[xr.Dataset], Figure] | None = None,
) -> Path:
    """Write a result; the name chooses the format.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables of dims (..., y, x) with coordinates and a CRS. A dask-backed dataset is computed
        piece by piece.
    path : path-like
        ``.tif`` or ``.tiff``: Cloud Optimised GeoTIFF, north up. One band for each variable,
        pass and polarisation, with a description such as ``sigma0_VV``; units, flags and all other
        attributes are in its tags, those of the dataset in the tags of the file. Floats are
        float32 with nodata NaN, and overviews average power. Variables of one integer type alone
        keep it and their nodata. Integers *beside floats* become float32 bands that hold the
        same whole numbers with nodata NaN, and their overviews hold the most frequent value,
        never a mixture of codes. Scratch files beside it take as much room as the file.
        ``.nc``: NetCDF-4 with CF conventions. ``.zarr``: Zarr store of version 3, with the result
        in the group ``0`` and overviews in others. In both, variables keep their types. ``.png``: a
        figure, see `draw`.
        No suffix: a folder of layers, a Cloud Optimised GeoTIFF for each variable and polarisation,
        ``scene/scene_gamma0_vv.tif``, ``scene/scene_mask.tif``, and a STAC item
        ``scene/scene.stac.json`` whose assets have the keys ``gamma0_vv`` and ``mask``. Each layer
        keeps its type and nodata value. Of several dates each has an item and its layers.
    overwrite : bool, optional
        Whether an existing result may be replaced.
    stac : bool, optional
        Whether to write a STAC item beside it, ``unfolded.stac.json`` for ``unfolded.tif`` (see
        `stac_item`). Both appear, or neither. A folder of layers always has one.
    scale : {"linear", "db", "amplitude", "db-int16"}, optional
        How files hold sigma0 and gamma0: as linear power, in decibels, or as its square root, all
        float32; or layers in decibels as int16 with a scale of 0.01 and the nodata value -32768, in
        half the space. Power of zero or less has no decibels and becomes missing. `open_result`
        returns linear power in all cases.
    draw : callable, optional
        Draws the figure of a ``.png``; `sarheight.plot.scene` by default.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    OutputError
        When the path cannot be written (see `check_writable`) or writing failed; no partial file is
        left, and an earlier result is kept.
    TypeError
        When `dataset` is not a Dataset.
    ValueError
        When the dataset has no CRS, no regular grid, or variables the format cannot hold; or with
        `stac`, when it is a picture; or when a STAC item is due and it has no acquisition time; or
        when another scale of backscatter is asked for than the format has.
    """
    path = Path(path)
    suffix = path.suffix.lower() or LAYERS
    known = ("linear", *SCALES, *PACKINGS)
    if scale not in known:
        msg = f"found scale={scale!r}, expected one of {', '.join(known)}"
        raise ValueError(msg)
    if scale in PACKINGS and suffix != LAYERS:
        msg = (
            f"'{path}' has one type of numbers; only layers hold {scale!r}: choose a name without "
            "suffix, for a folder of layers"
        )
        raise ValueError(msg)
    check_writable(path, overwrite=overwrite, suffixes=RESULTS)
    form = FORMATS[suffix]
    if form.write is None and suffix != LAYERS:
        return _write_picture(dataset, path, draw, overwrite=overwrite, stac=stac)
    checked = check_grid(to_scale(dataset, scale))
    if stac or suffix == LAYERS:
        require_acquisitions(dataset)
    item = path.stem + STAC_SUFFIX if stac and suffix != LAYERS else ""
    with atomic_write(path, overwrite=overwrite, suffixes=RESULTS, beside=item) as work:
        if form.write is None:
            write_layers(checked, work, resolve_links(path).name, scale=scale)
        else:
            form.write(checked, work)
        if item:
            described = stac_item(checked, f"./{path.name}", file=work)
            write_item(described, work.with_name(item))
    return path


def _write_picture(
    dataset: xr.Dataset,
    path: Path,
    draw: Callable[[xr.Dataset], Figure] | None,
    *,
    overwrite: bool,
    stac: bool,
) -> Path:
    """Draw a result, and keep its attributes inside the picture."""
    if stac:
        msg = f"'{path}' is a picture without a grid, and gets no STAC item; write .tif"
        raise ValueError(msg)
    from sarheight import plot

    figure = plot.scene(dataset) if draw is None else draw(dataset)
    return save_png(figure, path, overwrite=overwrite, metadata=encode_attributes(dataset.attrs))


def save_png(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resolution: float = 150.0,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Save a figure as PNG, complete or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure of `sarheight.plot`.
    path : path-like
        A name that ends in ``.png``.
    overwrite : bool, optional
        Whether an existing file may be replaced.
    resolution : float, optional
        Dots per inch.
    metadata : mapping of str, optional
        Texts to keep inside the picture.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    OutputError
        As for `write`, and when the name does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        msg = f"a picture is saved as .png, but the name is '{path}'"
        raise OutputError(msg)
    with atomic_write(path, overwrite=overwrite) as work:
        figure.savefig(work, format="png", dpi=resolution, metadata=dict(metadata or {}))
    return path


def open_result(
    path: str | os.PathLike[str],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read a result that `write` has written.

    Parameters
    ----------
    path : path-like
        A ``.tif``, ``.tiff``, ``.nc`` or ``.zarr``, or a folder of layers.
    chunks : None, int, str or mapping, optional
        None reads everything into memory and leaves no file open. Anything else makes the
        variables dask-backed, in chunks as `xarray.open_dataset` understands them.

    Returns
    -------
    xarray.Dataset
        The variables with their types, attributes and CRS. Codes stay integers; their nodata
        value is in the attribute ``_FillValue``. From a GeoTIFF rows run from north to south,
        and floats are float32.

    Raises
    ------
    FileNotFoundError
        When the path does not exist.
    ValueError
        When the format cannot be read back, or the file is not a result.
    DamagedFileError
        When the file is damaged or incomplete, such as a Zarr store that lost a chunk. It is a
        `ValueError` and an `OSError`.
    """
    path = require_path(path, READABLE)
    read = FORMATS[path.suffix.lower() or LAYERS].read
    if read is None or not (path.suffix or path.is_dir()):
        msg = f"cannot read '{path}' as a result: expected a folder of layers"
        raise ValueError(msg)
    return to_linear(read(path, chunks))


MADE_BY = "configuration"
"""Attribute of a result with all that determines it, as JSON."""


def is_made_by(
    path: Path, configuration: str, read: Callable[..., xr.Dataset] = open_result
) -> bool:
    """Tell whether a store exists, can be read, and was made by a configuration."""
    if not path.exists():
        return False
    try:
        with read(path, chunks={}) as stored:
            return bool(stored.attrs.get(MADE_BY) == configuration)
    except (OSError, ValueError, KeyError):
        return False


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the provenance of a result in any format, without its data.

    Parameters
    ----------
    path : path-like
        What `write` has written, pictures and folders of layers included.

    Returns
    -------
    dict
        What `provenance` returned when the result was made.

    Raises
    ------
    FileNotFoundError
        When the path does not exist.
    ValueError
        When the format is unknown.
    DamagedFileError
        When the file does not say where it comes from, or is damaged. It is a `ValueError` and an
        `OSError`.
    """
    path = require_path(path, FORMATS)
    with file_errors(path, "a result"):
        text = FORMATS[path.suffix.lower() or LAYERS].attributes(path).get("provenance")
    if text is None:
        msg = (
            f"'{path}' does not say where it comes from; only results that were written with the "
            "attribute 'provenance' do, as those of the command line"
        )
        raise DamagedFileError(msg)
    return parse_json(str(text), f"provenance of {path}")
