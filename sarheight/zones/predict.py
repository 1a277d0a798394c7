"""Class probabilities of samples, and maps of Local Climate Zones."""

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
from sarheight.learning.channels import require_channels, require_powers
from sarheight.learning.settings import split_batches
from sarheight.learning.tiles import Corner, Mosaic, Tiling
from sarheight.learning.weights import select_device
from sarheight.output import check_writable, nodata_value, write
from sarheight.output.atomic import atomic_write
from sarheight.zones.classes import flag_colours, zone_of_name
from sarheight.zones.evaluation import ClassScores, class_scores
from sarheight.zones.sources import band_dimension, centred_windows, channel_names

if TYPE_CHECKING:
    import os

    from sarheight.zones.classifier import ZoneModel
    from sarheight.zones.samples import ZoneSamples

Floats = NDArray[np.float32]

# Probabilities and scores of samples.


def zone_probabilities(
    classifier: ZoneModel,
    samples: ZoneSamples,
    *,
    batch: int = 256,
    device: str = "auto",
) -> NDArray[np.float64]:
    """Classify samples.

    Parameters
    ----------
    classifier : ZoneModel
        A trained classifier.
    samples : ZoneSamples
        With all channels of the classifier, and with its classes.
    batch : int
        Samples in a batch.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", ...

    Returns
    -------
    array, shape (n, classes)
        Probabilities at the temperature of the classifier.

    Raises
    ------
    ValueError
        If the samples lack a channel or differ in classes, or the device is not available.
    """
    numbers = _channel_numbers(classifier, samples)
    probabilities = np.empty((len(samples), len(classifier.classes)))
    chosen = select_device(device)
    classifier = classifier.to(chosen).eval()
    with torch.inference_mode():
        for indices in split_batches(np.arange(len(samples)), batch):
            image = torch.from_numpy(samples.read(indices)[:, numbers]).to(chosen)
            probabilities[indices] = classifier.probabilities(image).cpu().numpy()
    classifier.cpu()
    return probabilities


def evaluate_zones(
    classifier: ZoneModel,
    samples: ZoneSamples,
    *,
    batch: int = 256,
    device: str = "auto",
) -> ClassScores:
    """Score a classifier on labelled samples.

    Parameters
    ----------
    classifier, samples, batch, device
        See `zone_probabilities`.

    Returns
    -------
    ClassScores
        Overall and average accuracy, kappa, scores of each class, and confusion matrix.
    """
    probabilities = zone_probabilities(classifier, samples, batch=batch, device=device)
    return class_scores(samples.labels, probabilities.argmax(axis=1), classifier.classes)


def _channel_numbers(classifier: ZoneModel, samples: ZoneSamples) -> list[int]:
    """Return the numbers of the channels of a classifier among those of samples."""
    names = [channel.name for channel in classifier.channels]
    missing = [name for name in names if name not in samples.channels]
    if missing or samples.classes != classifier.classes:
        msg = (
            f"found samples of {len(samples.classes)} classes without the channels "
            f"{', '.join(missing) or 'none'}; expected the {len(classifier.classes)} classes of "
            "the classifier, and all of its channels"
        )
        raise ValueError(msg)
    return [samples.channels.index(name) for name in names]


# Maps.

COLOURED = (".tif", ".tiff")
POSTING_TOLERANCE = 0.02
"""Tolerated relative difference of the posting from that of training."""
TILE_SIZES, MOST_READ = (24, 128), 1280
"""Cells along a side of the tiles of a map, at least and at most, and cells of the stack along a
side of what is read for one, unless it is the smallest."""
UNKNOWN = 0
"""Code of cells without data."""


def write_zones(
    zones: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> list[Path]:
    """Write a map of zones; the suffix selects the format.

    Parameters
    ----------
    zones : xarray.Dataset
        As `predict_zones` returns it.
    path : path-like
        ``.nc`` and ``.zarr`` hold all variables. For ``zones.tif`` there are three files, because a
        GeoTIFF has a colour table only with a single band: ``zones.tif``, the codes with the
        colours of WUDAPT; ``zones.tif.aux.xml``, the class names for GDAL and QGIS; and
        ``zones_probabilities.tif``, confidence and probability of each class.
    overwrite : bool
        Whether to replace existing files.

    Returns
    -------
    list of pathlib.Path
        Written files, the map first.

    Raises
    ------
    OutputError
        If a file exists, or cannot be written. Each file appears complete or not at all; the map
        is written last.
    ValueError
        If the map has no CRS, or no regular grid.
    """
    path = Path(path)
    if path.suffix.lower() not in COLOURED:
        return [write(zones, path, overwrite=overwrite)]
    names, beside = beside_zones(path)
    check_writable(path, overwrite=overwrite)
    write(zones[["confidence", "probability"]], beside, overwrite=overwrite)
    with atomic_write(names, overwrite=overwrite, suffixes=(".xml",)) as work:
        work.write_bytes(_category_names(zones["zone"]))
    write(zones[["zone"]], path, overwrite=overwrite)
    return [path, names, beside]


def beside_zones(path: Path) -> tuple[Path, Path]:
    """Return the files beside a map in GeoTIFF: class names, and confidence and probabilities."""
    return (
        path.with_name(f"{path.name}.aux.xml"),
        path.with_name(f"{path.stem}_probabilities{path.suffix}"),
    )


def _category_names(zone: xr.DataArray) -> bytes:
    """Return the class names by code as an auxiliary file of GDAL (PAM).

    Source: https://gdal.org/user/raster_data_model.html, category names.
    """
    meanings = str(zone.attrs["flag_meanings"]).split()
    named = dict(zip(np.ravel(zone.attrs["flag_values"]).tolist(), meanings, strict=True))
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for code in range(max(named) + 1):
        name = named.get(code, "")
        zone_type = zone_of_name(name)
        label = name.replace("_", " ") if zone_type is None else zone_type.label
        ET.SubElement(categories, "Category").text = label or None
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text


def predict_zones(
    classifier: ZoneModel,
    stack: xr.DataArray | xr.Dataset,
    *,
    step: int = 1,
    blend: bool = False,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Map the Local Climate Zones of a scene of any size.

    Each cell of the map gets the class of the patch centred on it. A dask stack is read tile by
    tile; the map is held in memory.

    Parameters
    ----------
    classifier : ZoneModel
        A trained classifier.
    stack : xarray.DataArray or xarray.Dataset
        Dims (band, y, x), or variables of dims (y, x), with the channels of the classifier, in any
        order, in the units of training. NaN and nodata are missing.
    step : int
        Cell size of the map in cells of the stack, such as 10 for a map of 100 m from images of
        10 m.
    blend : bool
        Whether each cell gets the weighted mean of the probabilities of all patches that cover it,
        those centred close to it with the highest weight: less detail, and less noise.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", "mps".
    report : callable, optional
        Called after each tile with the completed fraction.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), and (class, y, x): ``zone``, the code of the most likely class, 0 where no
        channel has data; ``probability`` of each class; ``confidence``, the highest probability.

    Raises
    ------
    CheckpointError
        If the stack lacks a channel of the classifier, or differs in posting.
    DatasetError
        If a stack is not of dims (band, y, x), or two of its channels have one name.
    ValueError
        If the step is out of range, the device is not available, or power is in decibels.
    """
    layers = _select_layers(classifier, stack)
    like = layers[0]
    shape = like.sizes["y"] // step if step > 0 else 0, like.sizes["x"] // step if step > 0 else 0
    if not min(shape) or min(like.shape) < 2:
        msg = (
            f"found step={step} for a stack of {like.sizes['y']} x {like.sizes['x']} cells, "
            "expected a step from 1 to the number of cells, and at least two rows and columns"
        )
        raise ValueError(msg)
    posting = float(abs(like["x"].values[1] - like["x"].values[0]))
    if classifier.posting and abs(posting / classifier.posting - 1.0) > POSTING_TOLERANCE:
        msg = (
            f"found cells of {posting:g} in the stack, expected {classifier.posting:g} as in "
            "training: resample the stack"
        )
        raise CheckpointError(msg)
    place = select_device(device)
    classifier = classifier.to(place).eval()
    size = int(np.clip(MOST_READ // step, *TILE_SIZES))
    margin = classifier.size // 2 + 1  # what the patches of the outer cells of a tile reach
    along = np.arange(size) * step + step // 2 + margin
    nodata = [nodata_value(layer) for layer in layers]

    def estimate(tiles: list[Floats], _corners: list[Corner]) -> Floats:
        for values, number in zip(tiles, nodata, strict=True):
            if number is not None and np.isfinite(number):
                values[values == np.float32(number)] = np.nan
        require_powers(classifier.channels, tiles)
        stacked = np.stack(tiles, axis=1)
        return np.stack([_classify(classifier, values, along, place) for values in stacked])

    mosaic = Mosaic(
        tuple(layers),
        estimate,
        len(classifier.classes),
        Tiling(size, overlap=0),
        step=step,
        margin=margin,
        batch=1,
    )
    probability = mosaic.compute(report=report)
    classifier.cpu()
    if blend:
        probability = _blend(probability, classifier.size / step)
    return _dataset(probability, classifier, like, step)


def _select_layers(classifier: ZoneModel, stack: xr.DataArray | xr.Dataset) -> list[xr.DataArray]:
    """Return the channels of the classifier from a stack, by name."""
    if isinstance(stack, xr.Dataset):
        present = {
            str(name): variable
            for name, variable in stack.data_vars.items()
            if set(variable.dims) == {"y", "x"}
        }
    else:
        band = band_dimension(stack)
        present = {
            name: stack.isel({band: number}, drop=True)
            for number, name in enumerate(channel_names(stack))
        }
    advice = "pass rasters with all of its channels"
    require_channels(classifier.channels, present, "a stack", advice)
    return [present[channel.name].transpose("y", "x") for channel in classifier.channels]


def _classify(
    classifier: ZoneModel, values: Floats, along: NDArray[np.int64], place: torch.device
) -> Floats:
    """Classify the cells at some rows and columns of a tile by the patches around them.

    Shapes: `values` (channels, rows, columns), `along` (n,); returns (classes, n, n), NaN where
    there are no data.
    """
    rows, columns = (each.ravel() for each in np.meshgrid(along, along, indexing="ij"))
    cells = np.flatnonzero(np.isfinite(values[:, rows, columns]).any(axis=0))
    result = np.full((len(classifier.classes), rows.size), np.nan, dtype=np.float32)
    # Cell size // 2 of a patch is its centre, as in `RasterPatches`.
    half = classifier.size // 2
    with torch.inference_mode():
        for first in range(0, cells.size, classifier.batch):
            numbers = cells[first : first + classifier.batch]
            patches = centred_windows(
                values, rows[numbers] - half, columns[numbers] - half, classifier.size
            )
            image = torch.from_numpy(patches).to(place)
            result[:, numbers] = classifier.probabilities(image).cpu().numpy().T
    return result.reshape(-1, along.size, along.size)


def _blend(probability: Floats, size: float) -> Floats:
    """Average the patches that cover each cell; `size` is that of a patch in cells of the map."""
    side = max(2 * int(size // 2) + 1, 1)
    weight = Tiling(side, side // 2).weight()
    valid = np.isfinite(probability[0])
    # Normalised convolution: cells without data have no weight.
    total = convolve(valid.astype(np.float64), weight, mode="constant")
    blended = np.full_like(probability, np.nan)
    for number, layer in enumerate(probability):
        summed = convolve(np.where(valid, layer, 0.0).astype(np.float64), weight, mode="constant")
        np.divide(summed, total, out=blended[number], where=valid, casting="same_kind")
    return blended


def _dataset(
    probability: Floats, classifier: ZoneModel, like: xr.DataArray, step: int
) -> xr.Dataset:
    """Return the map with its coordinates, attributes and CRS."""
    valid = np.isfinite(probability[0])
    codes = np.array(classifier.codes, dtype=np.uint8 if max(classifier.codes) < 256 else np.int32)
    likeliest = np.nan_to_num(probability, nan=-1.0).argmax(axis=0)
    zone = np.where(valid, codes[likeliest], UNKNOWN).astype(codes.dtype)
    coordinates: dict[str, Any] = {
        name: _coarse_axis(like[name].values, step, count)
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


def _coarse_axis(axis: NDArray[Any], step: int, count: int) -> NDArray[np.float64]:
    """Return the centres of cells that are `step` cells of an axis wide."""
    posting = (axis[-1] - axis[0]) / (axis.size - 1)
    centres = np.arange(count) * step + 0.5 * (step - 1)
    return np.asarray(axis[0] + centres * posting, dtype=np.float64)
