"""Write results as NetCDF, Zarr, GeoTIFF or picture, and read them back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from sarheight._files import (
    LISTED_ARRAYS,
    check_hdf5,
    file_errors,
    incomplete,
    open_geotiff,
    parse_json,
)
from sarheight._runtime import ignore_missing_georeference
from sarheight.errors import DamagedFileError, OutputError
from sarheight.output._bands import NO_DECIBELS, PACKINGS
from sarheight.output._geotiff import (
    list_layers,
    read_geotiff,
    read_layers,
    write_geotiff,
    write_layers,
)
from sarheight.output.atomic import (
    LAYERS,
    RESULTS,
    atomic_write,
    check_writable,
    require_path,
)
from sarheight.output.grid import (
    SCALE,
    SCALES,
    TIME,
    add_cf_attributes,
    check_grid,
    encode_attributes,
    plain_attributes,
    to_linear,
    to_scale,
)
from sarheight.output.stac import STAC_SUFFIX, require_acquisitions, stac_item, write_item

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

# Zarr and NetCDF, read back whole or not at all.
#
# Both formats take a chunk that is missing for one of nothing but fill values: a file that lost
# chunks would open as if the ground there were void. Every chunk is therefore written, also those
# without values, and looked for when a file is opened. A Zarr store holds its metadata twice, with
# each array and consolidated; they are compared. The chunks have checksums: Zstandard's in Zarr,
# Fletcher's in NetCDF, which any reader of these formats compares.

CONSOLIDATED = ".zmetadata"


def zarr_compressor() -> Any:  # noqa: ANN401  # of numcodecs, which has no types
    """Return the codec of chunks: fast, as speckle does not compress, and with a checksum."""
    from numcodecs import Zstd

    return Zstd(level=1, checksum=True)


NETCDF_CHECKSUM = {"fletcher32": True}
"""Encoding of variables that have chunks."""


def open_store(path: Path, **options: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has them
    """Open a Zarr store or NetCDF file lazily, if it is complete.

    Parameters
    ----------
    path : pathlib.Path
        A name that ends in ``.zarr``, or a NetCDF file.
    **options
        Of `xarray.open_dataset`.

    Returns
    -------
    xarray.Dataset
        As xarray reads it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    DamagedFileError
        When it cannot be read, or chunks of an array are missing.
    """
    is_zarr = path.suffix.lower() == ".zarr"
    with file_errors(path, "a Zarr store" if is_zarr else "a NetCDF file"):
        if not is_zarr:
            _check_netcdf(path)
            return xr.open_dataset(path, engine="netcdf4", **options)
        from zarr.storage import LocalStore

        from sarheight._zarr import check_chunks

        _require_zarr_chunks(path)
        check_chunks()
        store: Any = LocalStore(path, read_only=True)
        return xr.open_dataset(store, engine="zarr", **options)


def read_store(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read NetCDF or Zarr without masking by ``_FillValue``, which would turn codes into floats."""
    dataset = open_store(
        path, chunks=chunks, decode_coords="all", mask_and_scale=False, decode_timedelta=False
    )
    with file_errors(path, "a result"):
        if chunks is None:
            with dataset:
                dataset.load()
        for variable in dataset.data_vars.values():
            for name in ("flag_values", "flag_masks"):
                if name in variable.attrs:
                    values = np.atleast_1d(variable.attrs[name])
                    variable.attrs[name] = values.astype(variable.dtype)
    return dataset


def _require_zarr_chunks(path: Path) -> None:
    """Raise where a store lacks chunks, or its consolidated metadata differ from the others."""
    import zarr

    if (path / CONSOLIDATED).exists():
        consolidated = json.loads((path / CONSOLIDATED).read_bytes())["metadata"]
        differing = [
            key
            for key, content in consolidated.items()
            if json.loads((path / key).read_bytes()) != content
        ]
        if differing:
            msg = (
                f"'{path}' is damaged, or was changed: {', '.join(differing[:LISTED_ARRAYS])} and "
                f"{CONSOLIDATED} differ; if it was changed on purpose, call "
                "zarr.consolidate_metadata"
            )
            raise DamagedFileError(msg)
    group = zarr.open_group(path, mode="r")
    missing = [
        f"{array.nchunks - array.nchunks_initialized} of {array.nchunks} chunks of '{name}'"
        for name, array in group.arrays()
        if array.nchunks_initialized < array.nchunks
    ]
    if missing:
        raise incomplete(path, missing)


def _check_netcdf(path: Path) -> None:
    """Raise where a NetCDF-4 file is damaged or lacks chunks of an array."""
    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"  # the format before HDF5, which has no chunks
    if not classic:
        check_hdf5(path, "a NetCDF file", complete=True)


CHUNK = 1024
TIME_UNITS = "microseconds since 1970-01-01"
# Speckle does not compress: higher levels take several times as long for a few bytes.
COMPRESSION = {"zlib": True, "complevel": 1, "shuffle": True} | NETCDF_CHECKSUM


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a result as compressed NetCDF-4."""
    dataset = _add_conventions(dataset)
    for coordinate in dataset.coords.values():
        if coordinate.dtype.kind in "OU":
            # In CF, a label is an array of characters: only numbers make a coordinate variable.
            coordinate.encoding["dtype"] = "S1"
        elif coordinate.ndim and coordinate.dtype.kind in "iuf":
            coordinate.encoding |= NETCDF_CHECKSUM | {"chunksizes": coordinate.shape}
    for variable in dataset.data_vars.values():
        variable.encoding["chunksizes"] = _chunks(variable)
        if variable.dtype.kind in "iuf":
            variable.encoding |= COMPRESSION
        auxiliary = [str(name) for name in dataset.coords if _is_auxiliary(dataset[name], variable)]
        if auxiliary:
            variable.encoding["coordinates"] = " ".join(auxiliary)
    dataset.to_netcdf(path, engine="netcdf4", format="NETCDF4")


def write_zarr(
    dataset: xr.Dataset,
    path: Path,
    *,
    chunk: int | Mapping[str, int] = CHUNK,
    compute: bool = True,
) -> None:
    """Write a result as Zarr store; without `compute` lazy variables get metadata but no chunks."""
    dataset = _add_conventions(dataset, chunk)
    for variable in dataset.data_vars.values():
        variable.encoding["chunks"] = _chunks(variable, chunk)
    for every in dataset.variables.values():
        every.encoding["compressors"] = zarr_compressor()
    # A chunk that is missing in a store is then one that was lost.
    dataset.to_zarr(  # type: ignore[call-overload]  # for a constant `compute` only
        path,
        mode="w-",
        zarr_format=2,
        consolidated=True,
        write_empty_chunks=True,
        compute=compute,
    )


def _add_conventions(dataset: xr.Dataset, chunk: int | Mapping[str, int] = CHUNK) -> xr.Dataset:
    """Bring names, attributes and chunks into the form of the CF conventions."""
    texts = {
        name: coordinate.astype(object)
        for name, coordinate in dataset.coords.items()
        if coordinate.dtype.kind == "U"
    }
    dataset = dataset.assign_coords(texts)
    if dataset.chunks:
        sizes: Mapping[Any, int] = (
            dict.fromkeys(dataset.dims, chunk) if isinstance(chunk, int) else chunk
        )
        dataset = dataset.assign(
            {
                name: variable.chunk(
                    {str(dim): sizes[dim] for dim in variable.dims if dim in sizes}
                )
                for name, variable in dataset.data_vars.items()
            }
        )
    dataset = add_cf_attributes(dataset)
    dataset.attrs = plain_attributes(dataset.attrs)
    for name, variable in dataset.variables.items():
        if name == TIME and "units" in variable.attrs:
            # An attribute of a file that was read in another way; xarray writes its own.
            variable.attrs.pop("units")
        variable.attrs = plain_attributes(variable.attrs)
        if "flag_values" in variable.attrs:
            flags = np.asarray(variable.attrs["flag_values"]).astype(variable.dtype)
            variable.attrs["flag_values"] = flags
        if name in dataset.coords:
            variable.encoding = {"_FillValue": None}
            if variable.dtype.kind == "M":
                # The same for all dates, so that series can be appended to.
                variable.encoding |= {
                    "units": TIME_UNITS,
                    "calendar": "standard",
                    "dtype": np.dtype(np.int64),
                }
    return dataset


def _is_auxiliary(coordinate: xr.DataArray, variable: xr.DataArray) -> bool:
    """Tell whether a coordinate is an auxiliary coordinate of a variable in CF's terms."""
    numbers = coordinate.dims == (coordinate.name,) and coordinate.dtype.kind not in "OU"
    mapping = coordinate.name == variable.encoding.get("grid_mapping")
    return not numbers and not mapping and set(coordinate.dims) <= set(variable.dims)


def _chunks(variable: xr.DataArray, chunk: int | Mapping[str, int] = CHUNK) -> tuple[int, ...]:
    limits = dict.fromkeys(variable.dims, chunk) if isinstance(chunk, int) else chunk
    return tuple(min(limits.get(str(dim), size), size) for dim, size in variable.sizes.items())


# All formats.


def _tags(path: Path) -> Mapping[Any, Any]:
    """Read the attributes of a GeoTIFF, or of a folder of layers, which all have the same."""
    path = next(path.glob("*.tif"), path) if path.is_dir() else path
    with ignore_missing_georeference(), open_geotiff(path) as file:
        tags: dict[str, str] = file.tags()
        return tags


def _texts(path: Path) -> Mapping[Any, Any]:
    """Read the attributes in a picture."""
    from PIL import Image

    with Image.open(path) as picture:
        return dict(picture.info)


def _store_attributes(path: Path) -> Mapping[Any, Any]:
    """Read the attributes of a NetCDF file or a Zarr store."""
    engine = "zarr" if path.suffix.lower() == ".zarr" else "netcdf4"
    with xr.open_dataset(path, engine=engine, decode_cf=False) as dataset:
        return dict(dataset.attrs)


@dataclass(frozen=True)
class Format:
    """A format of results: how to write it, read it, and read its attributes alone."""

    description: str
    attributes: Callable[[Path], Mapping[Any, Any]]
    write: Callable[[xr.Dataset, Path], None] | None = None  # a result on a checked grid
    read: Callable[[Path, Any], xr.Dataset] | None = None  # with dask chunks as xarray has them


GEOTIFF = Format("Cloud Optimised GeoTIFF", _tags, write_geotiff, read_geotiff)
FORMATS = {
    ".tif": GEOTIFF,
    ".tiff": GEOTIFF,
    ".nc": Format("NetCDF-4 with CF conventions", _store_attributes, write_netcdf, read_store),
    ".zarr": Format("Zarr store", _store_attributes, write_zarr, read_store),
    ".png": Format("picture", _texts),
    LAYERS: Format("folder of layers", _tags, read=read_layers),
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
        never a mixture of codes. Scratch files beside it take 1.4 times the size of all bands.
        ``.nc``: NetCDF-4 with CF conventions. ``.zarr``: Zarr store. In both, variables keep their
        types. ``.png``: a figure, see `draw`.
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
            write_layers(checked, work, path.resolve().name, scale=scale)
        else:
            form.write(checked, work)
        if item:
            described = stac_item(checked, f"./{path.name}", file=work, identifier=path.stem)
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


@dataclass(frozen=True)
class RasterBand:
    """A band of a GeoTIFF that holds a variable of a result, or one entry of it."""

    path: Path
    number: int  # from 1
    variable: str
    entry: dict[str, int]  # index along each leading dimension of the variable
    nodata: float | None  # that of the variable; floats are NaN too
    decibels: float | None  # decibels per number of the file; None where it holds the variable
    scale: str  # of the backscatter in the file, see `SCALES`

    def linear(self, stored: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the values of the variable, float32, for numbers of the file."""
        values = stored.astype(np.float32)
        if self.nodata is not None:
            values[stored == self.nodata] = np.nan
        if self.scale in SCALES:
            values = SCALES[self.scale][1](values)
        if self.decibels is not None:
            values[stored == NO_DECIBELS] = np.nan
            values = 10.0 ** (0.1 * self.decibels * values)
        return values


def raster_bands(path: Path) -> list[RasterBand]:
    """List the bands of a result in GeoTIFF: of a file, or of a folder of layers.

    Unlike the arrays of `open_result` they can be read at the resolution of their overviews.
    """
    bands = []
    for file_path in list_layers(path) if path.is_dir() else [path]:
        with open_geotiff(file_path) as file:
            for number in file.indexes:
                tags = file.tags(number)
                dimensions = tags.get("BAND_DIMENSIONS", "").split()
                indices = json.loads(tags["BAND_INDICES"])
                bands.append(
                    RasterBand(
                        file_path,
                        number,
                        tags["BAND_VARIABLE"],
                        dict(zip(dimensions, indices, strict=True)),
                        float(tags["BAND_NODATA"]) if tags.get("BAND_NODATA") else None,
                        float(tags["BAND_DECIBELS"]) if tags.get("BAND_DECIBELS") else None,
                        tags.get(SCALE, "linear"),
                    )
                )
    return bands
