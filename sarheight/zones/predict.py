"""Maps of Local Climate Zones of scenes of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import convolve

from sarheight.errors import CheckpointError
from sarheight.learning.tiles import Tiling, read_window, require_powers
from sarheight.learning.weights import select_device
from sarheight.output import check_writable, nodata_value, write
from sarheight.output.atomic import atomic_write
from sarheight.zones.classes import flag_colours, zone_of_name
from sarheight.zones.sources import band_of, centred_windows, channel_names

if TYPE_CHECKING:
    import os

    from sarheight.zones.networks import ZoneClassifier

GEOTIFF = (".tif", ".tiff")


def write_zones(
    zones: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> list[Path]:
    """Write a map of zones; the name chooses the format.

    Parameters
    ----------
    zones : xarray.Dataset
        As `predict_zones` returns it.
    path : path-like
        ``.nc`` and ``.zarr`` hold everything in one. Of ``zones.tif`` there are three files, as a
        GeoTIFF keeps a colour table only where one band is alone: ``zones.tif``, the codes with
        the colours of WUDAPT; ``zones.tif.aux.xml``, the names of the classes, where GDAL and QGIS
        look for them; and ``zones_probabilities.tif``, confidence and probability of each class.
    overwrite : bool
        Whether what is there already may be replaced.

    Returns
    -------
    list of pathlib.Path
        What was written, the map first.

    Raises
    ------
    OutputError
        When the place is not fit for it or writing failed. Each file appears complete or not at
        all; the map itself comes last.
    ValueError
        When the map has no CRS, or no regular grid.
    """
    path = Path(path)
    if path.suffix.lower() not in GEOTIFF:
        return [write(zones, path, overwrite=overwrite)]
    beside = path.with_name(f"{path.stem}_probabilities{path.suffix}")
    names = path.with_name(f"{path.name}.aux.xml")
    check_writable(path, overwrite=overwrite)
    write(zones[["confidence", "probability"]], beside, overwrite=overwrite)
    with atomic_write(names, overwrite=overwrite, suffixes=(".xml",)) as work:
        work.write_bytes(_names(zones["zone"]))
    write(zones[["zone"]], path, overwrite=overwrite)
    return [path, names, beside]


def _names(zone: xr.DataArray) -> bytes:
    """Return the names of the classes by their codes, in the form of GDAL's auxiliary files.

    Source: https://gdal.org/user/raster_data_model.html, category names.
    """
    meanings = str(zone.attrs["flag_meanings"]).split()
    named = dict(zip(np.ravel(zone.attrs["flag_values"]).tolist(), meanings, strict=True))
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for code in range(max(named) + 1):
        name = named.get(code, "")
        found = zone_of_name(name)
        label = name.replace("_", " ") if found is None else found.label
        ET.SubElement(categories, "Category").text = label or None
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text


# A map of Local Climate Zones of a scene of any size.

Floats = NDArray[np.float32]
BATCH = 512
"""Patches that are classified together."""
POSTING_ERROR = 0.02
"""Part by which the posting may differ from that of training."""
UNKNOWN = 0


def predict_zones(
    classifier: ZoneClassifier,
    stack: xr.DataArray | xr.Dataset,
    *,
    step: int = 1,
    blend: bool = False,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Map the Local Climate Zones of a scene of any size.

    Each cell of the map gets the class of the patch around it. A stack that is held by dask is
    read a few rows at a time; the map is held in memory.

    Parameters
    ----------
    classifier : ZoneClassifier
        A trained one.
    stack : xarray.DataArray or xarray.Dataset
        Dims (band, y, x), or variables of dims (y, x), with the channels of the classifier in the
        units in which it saw them; their order does not matter. NaN and nodata are missing.
    step : int
        Cells of the stack from one cell of the map to the next, such as 10 for a map of 100 m from
        images of 10 m.
    blend : bool
        Whether each cell gets the mean of all patches that reach over it, those around it counting
        most, rather than that of its own patch alone: less detail, and less noise.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", "mps".
    report : callable, optional
        Told after each piece which part of the work is done.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), and (class, y, x): ``zone``, the code of the most likely class, 0 where no
        channel has a value; ``probability`` of each class; ``confidence``, the highest of them.

    Raises
    ------
    CheckpointError
        If the stack lacks a channel of the classifier, or has another posting.
    DatasetError
        If a stack is not of dims (band, y, x), or two of its channels have one name.
    ValueError
        If the step makes no sense, there is no such device, or power is so far below 0 as decibels
        are.
    """
    layers = _layers(classifier, stack)
    like = layers[0]
    shape = like.sizes["y"] // step if step > 0 else 0, like.sizes["x"] // step if step > 0 else 0
    if not min(shape) or min(like.shape) < 2:
        msg = (
            f"found step={step} for a stack of {like.sizes['y']} x {like.sizes['x']} cells, "
            "expected a number from 1 to that of its cells, and two cells at least each way"
        )
        raise ValueError(msg)
    posting = float(abs(like["x"].values[1] - like["x"].values[0]))
    if classifier.posting and abs(posting / classifier.posting - 1.0) > POSTING_ERROR:
        msg = (
            f"found cells of {posting:g} in the stack, expected {classifier.posting:g}, with which "
            "the model was trained: resample the stack"
        )
        raise CheckpointError(msg)
    chosen = select_device(device)
    classifier = classifier.to(chosen).eval()
    probability = np.full((len(classifier.classes), *shape), np.nan, dtype=np.float32)
    high = max(BATCH // shape[1], 1)
    for first in range(0, shape[0], high):
        last = min(first + high, shape[0])
        probability[:, first:last] = _rows(classifier, layers, step, (first, last), chosen)
        if report is not None:
            report(last / shape[0])
    classifier.cpu()
    if blend:
        probability = _blended(probability, classifier.size / step)
    return _dataset(probability, classifier, like, step)


def _layers(classifier: ZoneClassifier, stack: xr.DataArray | xr.Dataset) -> list[xr.DataArray]:
    """Find the classifier's channels in a stack, by name."""
    if isinstance(stack, xr.Dataset):
        present = {
            str(name): variable
            for name, variable in stack.data_vars.items()
            if set(variable.dims) == {"y", "x"}
        }
    else:
        band = band_of(stack)
        present = {
            name: stack.isel({band: number}, drop=True)
            for number, name in enumerate(channel_names(stack))
        }
    missing = [channel.name for channel in classifier.channels if channel.name not in present]
    if missing:
        msg = (
            f"found no {', '.join(missing)} in a stack of {', '.join(present)}; the model was "
            "trained with it"
        )
        raise CheckpointError(msg)
    return [present[channel.name].transpose("y", "x") for channel in classifier.channels]


def _rows(
    classifier: ZoneClassifier,
    layers: list[xr.DataArray],
    step: int,
    span: tuple[int, int],
    device: torch.device,
) -> Floats:
    """Classify some rows of the map, shape (classes, rows, columns)."""
    size, half = classifier.size, classifier.size // 2
    width = layers[0].sizes["x"]
    # The middle cell of a patch is its cell number size // 2, as in `RasterPatches`.
    first, last = span[0] * step + step // 2, (span[1] - 1) * step + step // 2
    seen = np.stack(
        [
            _known(layer, (first - half, last - half + size), (-half, width - half + size - 1))
            for layer in layers
        ]
    )
    require_powers(classifier.channels, list(seen))
    columns = np.arange(width // step) * step + step // 2
    rows, along = np.meshgrid(np.arange(0, last - first + 1, step), columns, indexing="ij")
    places = rows.ravel(), along.ravel()
    observed = np.isfinite(seen[:, places[0] + half, places[1] + half]).any(axis=0)
    found = np.full((len(classifier.classes), observed.size), np.nan, dtype=np.float32)
    wanted = np.flatnonzero(observed)
    with torch.inference_mode():
        for begin in range(0, wanted.size, BATCH):
            numbers = wanted[begin : begin + BATCH]
            patches = centred_windows(seen, places[0][numbers], places[1][numbers], size)
            image = torch.from_numpy(patches).to(device)
            found[:, numbers] = classifier.probabilities(image).float().cpu().numpy().T
    return found.reshape(len(classifier.classes), *rows.shape)


def _known(layer: xr.DataArray, rows: tuple[int, int], columns: tuple[int, int]) -> Floats:
    """Read a window that may reach beyond the raster; what is missing or outside is NaN."""
    values = read_window(layer, rows, columns)
    nodata = nodata_value(layer)
    if nodata is not None and np.isfinite(nodata):
        values[values == np.float32(nodata)] = np.nan
    return values


def _blended(probability: Floats, reach: float) -> Floats:
    """Take the mean of the patches that reach over each cell; `reach` is their size in cells."""
    side = max(2 * int(reach // 2) + 1, 1)
    weight = Tiling(side, side // 2).weight()
    known = np.isfinite(probability[0])
    total = convolve(known.astype(np.float64), weight, mode="constant")
    blended = np.full_like(probability, np.nan)
    for number, layer in enumerate(probability):
        summed = convolve(np.where(known, layer, 0.0).astype(np.float64), weight, mode="constant")
        np.divide(summed, total, out=blended[number], where=known, casting="same_kind")
    return blended


def _dataset(
    probability: Floats, classifier: ZoneClassifier, like: xr.DataArray, step: int
) -> xr.Dataset:
    """Put the result on its grid."""
    known = np.isfinite(probability[0])
    codes = np.array(classifier.codes, dtype=np.uint8 if max(classifier.codes) < 256 else np.int32)
    likeliest = np.nan_to_num(probability, nan=-1.0).argmax(axis=0)
    zone = np.where(known, codes[likeliest], UNKNOWN).astype(codes.dtype)
    coordinates: dict[str, Any] = {
        name: _coarse(like[name].values, step, count)
        for name, count in zip(("y", "x"), zone.shape, strict=True)
    }
    coordinates["class"] = list(classifier.classes)
    spatial = {"grid_mapping": "spatial_ref"}
    result = xr.Dataset(coords=coordinates)
    result["zone"] = (
        ("y", "x"),
        zone,
        {
            "long_name": "local climate zone",
            "flag_values": codes,
            "flag_meanings": " ".join(name.replace(" ", "_") for name in classifier.classes),
            **flag_colours(classifier.classes),
            "_FillValue": codes.dtype.type(UNKNOWN),
            **spatial,
        },
    )
    result["probability"] = (
        ("class", "y", "x"),
        probability,
        {"long_name": "probability of the class", "units": "1", **spatial},
    )
    result["confidence"] = (
        ("y", "x"),
        probability.max(axis=0),
        {"long_name": "probability of the most likely class", "units": "1", **spatial},
    )
    result.attrs["patch_cells"] = classifier.size
    result.attrs["temperature"] = classifier.temperature
    if like.rio.crs is None:
        return result
    return result.rio.write_crs(like.rio.crs)  # type: ignore[no-any-return]


def _coarse(axis: NDArray[Any], step: int, count: int) -> NDArray[np.float64]:
    """Return the middles of cells that are `step` cells of an axis wide."""
    posting = (axis[-1] - axis[0]) / (axis.size - 1)
    middles = np.arange(count) * step + 0.5 * (step - 1)
    return np.asarray(axis[0] + middles * posting, dtype=np.float64)
