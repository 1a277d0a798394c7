"""Heights of a whole scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sarheight.data._power import require_power
from sarheight.data._terrain.patches import look_slice
from sarheight.predict._device import device_of
from sarheight.predict._known import Known, known_in
from sarheight.predict._layers import layers_of, prompt_of
from sarheight.predict._tiles import Tiling

if TYPE_CHECKING:
    from sarheight.models import HeightEstimator
    from sarheight.priors import SparseHeights

__all__ = ["predict_heights"]

Floats = NDArray[np.float32]
LAPLACE_STD = float(np.sqrt(2.0))
"""Standard deviation of a Laplace distribution with a scale of 1."""
BATCH = 4


def predict_heights(
    estimator: HeightEstimator,
    scene: xr.Dataset,
    priors: SparseHeights | None = None,
    *,
    tiling: Tiling | None = None,
    block: int = 1024,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Estimate the heights of a scene of any size.

    The network sees overlapping tiles, whose estimates are blended. A scene that is held by dask
    is read a block at a time, and the result is lazy as well; otherwise the result is computed
    at once.

    Parameters
    ----------
    estimator : HeightEstimator
        A trained network.
    scene : xarray.Dataset
        As `sarheight.data.observed_scene` makes them, on dims (y, x): the variables that the
        estimator's channels name, and ``coarse_height`` where it takes a coarse elevation model.
    priors : SparseHeights, optional
        Known elevations. Without any the estimate can only be as good as what else is known: the
        coarse elevation model, or no more than the mean height of the places of training.
    tiling : Tiling, optional
        Size and overlap of the tiles. The size must be a multiple of the network's stride.
    block : int
        Cells of a block, each way: memory grows with its square.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", "mps".
    report : callable, optional
        Told after each block which part of the work is done; not for a lazy result.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres above the ellipsoid; ``height_sigma``, its standard
        deviation in metres, where the estimator gives one; ``observed``, whether the image has a
        value there: elsewhere the network went by what is near; and the scene's ``mask`` of
        layover and shadow, if it has one. An estimate that is added to a coarse elevation model
        is NaN where that is. Attributes count the known elevations.

    Raises
    ------
    CheckpointError
        If the scene lacks a channel of the estimator, or has it in other units.
    ValueError
        If tiles do not fit the network, there is no such device, or power is negative nearly
        everywhere, as decibels are.
    """
    chosen = Tiling() if tiling is None else tiling
    if chosen.size % estimator.network.stride or block < 1:
        msg = (
            f"found tiles of {chosen.size} cells and blocks of {block}, expected tiles of a "
            f"multiple of {estimator.network.stride} cells, and blocks above 0"
        )
        raise ValueError(msg)
    layers = layers_of(estimator, scene)
    like = layers[0]
    worker = _Worker(
        estimator.to(device_of(device)).eval(),
        layers,
        prompt_of(estimator, scene),
        known_in(priors, like),
        chosen,
        look_slice(scene),
    )
    shape = like.sizes["y"], like.sizes["x"]
    spans = [
        [(first, min(first + block, length)) for first in range(0, length, block)]
        for length in shape
    ]
    lazy = any(layer.chunks is not None for layer in layers)
    values = _lazy(worker, spans) if lazy else _computed(worker, spans, shape, report)
    result = _dataset(values, like, estimator, worker.known)
    return result.assign(mask=scene["mask"]) if "mask" in scene else result


class _Worker:
    """Computes blocks; holds what all blocks need."""

    def __init__(
        self,
        estimator: HeightEstimator,
        layers: list[xr.DataArray],
        prompt: xr.DataArray | None,
        known: Known,
        tiling: Tiling,
        turn: slice,
    ) -> None:
        self.estimator, self.layers, self.prompt = estimator, layers, prompt
        self.known, self.tiling, self.turn = known, tiling, turn
        self.shape = layers[0].sizes["y"], layers[0].sizes["x"]

    def block(self, rows: tuple[int, int], columns: tuple[int, int]) -> Floats:
        """Return height, scale and observed of a block, shape (3, rows, columns)."""
        tiles = list(self.tiling.window(rows, columns, self.shape))
        size = self.tiling.size
        row_span = min(row for row, _ in tiles), max(row for row, _ in tiles) + size
        column_span = min(column for _, column in tiles), max(column for _, column in tiles) + size
        stack = self.layers if self.prompt is None else [*self.layers, self.prompt]
        seen = np.stack([_window(layer, row_span, column_span) for layer in stack])
        for channel, values in zip(self.estimator.channels, seen, strict=False):
            if channel.transform == "decibel":
                require_power(channel.name, values)
        total = np.zeros((2, row_span[1] - row_span[0], column_span[1] - column_span[0]))
        weights = np.zeros(total.shape[1:])
        weight = self.tiling.weight()
        for first in range(0, len(tiles), BATCH):
            batch = tiles[first : first + BATCH]
            places = [
                np.s_[
                    row - row_span[0] : row - row_span[0] + size,
                    column - column_span[0] : column - column_span[0] + size,
                ]
                for row, column in batch
            ]
            found = self._estimates(batch, [seen[:, place[0], place[1]] for place in places])
            for place, values in zip(places, found, strict=True):
                total[:, place[0], place[1]] += weight * values
                weights[place[0], place[1]] += weight
        inner = (
            slice(rows[0] - row_span[0], rows[1] - row_span[0]),
            slice(columns[0] - column_span[0], columns[1] - column_span[0]),
        )
        blended = total[:, inner[0], inner[1]] / weights[inner]
        count = len(self.layers)
        if self.estimator.reference == "prompt":
            blended[:, ~np.isfinite(seen[count, inner[0], inner[1]])] = np.nan
        observed = np.any(np.isfinite(seen[:count, inner[0], inner[1]]), axis=0, keepdims=True)
        return np.concatenate([blended, observed]).astype(np.float32)

    def _estimates(self, tiles: list[tuple[int, int]], images: list[Floats]) -> NDArray[np.float64]:
        """Return heights and scales of tiles, shape (tiles, 2, size, size)."""
        count = len(self.layers)
        whole = [np.stack([_without_gaps(layer) for layer in image]) for image in images]
        known = [self.known.window(row, column, self.tiling.size) for row, column in tiles]
        arrays = {
            "image": np.stack([image[:count] for image in whole]),
            **{name: np.stack([each[name][None] for each in known]) for name in known[0]},
        }
        if self.prompt is not None:
            arrays["prompt"] = np.stack([image[count:] for image in whole])
        device = next(self.estimator.parameters()).device
        sample = {
            name: torch.from_numpy(np.ascontiguousarray(values[..., self.turn])).to(device)
            for name, values in arrays.items()
        }
        with torch.inference_mode():
            height, scale = self.estimator(sample)
        spread = torch.full_like(height, torch.nan) if scale is None else scale
        both = torch.cat([height, spread], dim=1).double().cpu().numpy()
        return np.asarray(both[..., self.turn])


def _window(layer: xr.DataArray, rows: tuple[int, int], columns: tuple[int, int]) -> Floats:
    """Read a window that may reach beyond the raster, where its edge goes on."""
    shape = layer.sizes["y"], layer.sizes["x"]
    kept = [
        (max(span[0], 0), min(span[1], length))
        for span, length in zip((rows, columns), shape, strict=True)
    ]
    values = layer.isel(y=slice(*kept[0]), x=slice(*kept[1])).values.astype(np.float32)
    beyond = [
        (inside[0] - span[0], span[1] - inside[1])
        for inside, span in zip(kept, (rows, columns), strict=True)
    ]
    return np.pad(values, beyond, mode="edge")


def _without_gaps(layer: Floats) -> Floats:
    """Fill gaps with the nearest value: a network that has seen no gaps runs wild at their edge."""
    known = np.isfinite(layer)
    if known.all() or not known.any():
        return layer
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(layer[tuple(nearest)])


def _computed(
    worker: _Worker,
    spans: list[list[tuple[int, int]]],
    shape: tuple[int, int],
    report: Callable[[float], None] | None,
) -> Floats:
    values = np.empty((3, *shape), dtype=np.float32)
    blocks = [(rows, columns) for rows in spans[0] for columns in spans[1]]
    for done, (rows, columns) in enumerate(blocks, start=1):
        values[:, slice(*rows), slice(*columns)] = worker.block(rows, columns)
        if report is not None:
            report(done / len(blocks))
    return values


def _lazy(worker: _Worker, spans: list[list[tuple[int, int]]]) -> Any:  # noqa: ANN401  # of dask
    from dask import array
    from dask.delayed import delayed

    block = delayed(worker.block, pure=True)
    return array.block(  # type: ignore[no-untyped-call]
        [
            [
                array.from_delayed(  # type: ignore[no-untyped-call]
                    block(rows, columns),
                    (3, rows[1] - rows[0], columns[1] - columns[0]),
                    dtype=np.float32,
                )
                for columns in spans[1]
            ]
            for rows in spans[0]
        ]
    )


def _dataset(
    values: Any,  # noqa: ANN401  # of numpy or dask
    like: xr.DataArray,
    estimator: HeightEstimator,
    known: Known,
) -> xr.Dataset:
    """Put the result on the scene's grid."""
    result = xr.Dataset(coords={name: like[name] for name in like.coords})
    spatial = {"grid_mapping": "spatial_ref"}
    result["height"] = (
        ("y", "x"),
        values[0],
        {
            "long_name": "estimated height above the WGS84 ellipsoid",
            "standard_name": "height_above_reference_ellipsoid",
            "units": "m",
            "vertical_datum": "ellipsoid",
            **spatial,
        },
    )
    if estimator.uncertainty:
        result["height_sigma"] = (
            ("y", "x"),
            LAPLACE_STD * values[1],
            {"long_name": "standard deviation of the height", "units": "m", **spatial},
        )
    result["observed"] = (
        ("y", "x"),
        values[2].astype(np.uint8),
        {
            "long_name": "the image has a value here",
            "flag_values": np.array([0, 1], dtype=np.uint8),
            "flag_meanings": "filled_in observed",
            **spatial,
        },
    )
    result.attrs["known_elevations"] = int(known.row.size)
    result.attrs["known_elevations_outside"] = known.outside
    return result
