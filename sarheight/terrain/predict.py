"""Heights of a whole scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sarheight.learning.tiles import (
    Corner,
    Mosaic,
    Tiling,
    match_chunks,
    require_powers,
    select_coarse_dem,
    select_layers,
)
from sarheight.learning.weights import select_device
from sarheight.terrain._interpolation import Known, locate_known
from sarheight.terrain._patches import columns_along_range

if TYPE_CHECKING:
    from sarheight.terrain.elevations import KnownElevations
    from sarheight.terrain.networks import HeightEstimator

Floats = NDArray[np.float32]
LAYERS = 3
"""Height, scale, and whether the image has a value."""
LAPLACE_STD = float(np.sqrt(2.0))
"""Standard deviation of a Laplace distribution with a scale of 1."""


def predict_heights(
    estimator: HeightEstimator,
    scene: xr.Dataset,
    known: KnownElevations | None = None,
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
        As `sarheight.terrain.prepare_scene` makes them, on dims (y, x): the variables that the
        estimator's channels name, and ``coarse_height`` where it takes a coarse elevation model.
    known : KnownElevations, optional
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
        If tiles do not fit the network, there is no such device, or power is so far below 0 as
        decibels are.
    """
    chosen = Tiling() if tiling is None else tiling
    chosen.require_fit(estimator.network.stride, block)
    layers = select_layers(estimator, scene)
    coarse = select_coarse_dem(estimator, scene)
    located = locate_known(known, layers[0])
    shape = layers[0].sizes["y"], layers[0].sizes["x"]
    worker = _Worker(
        estimator.to(select_device(device)).eval(), located, shape, columns_along_range(scene)
    )
    variables = tuple(layers) if coarse is None else (*layers, coarse)
    values = Mosaic(variables, worker, LAYERS, chosen, worker.check).values(block, report)
    result = _dataset(values, layers[0], estimator, located)
    if "mask" in scene:
        result["mask"] = scene["mask"]
    return match_chunks(values, result)


class _Worker:
    """Turns tiles of images into tiles of heights, scales, and whether the image is seen."""

    def __init__(
        self, estimator: HeightEstimator, known: Known, shape: tuple[int, int], turn: slice
    ) -> None:
        self.estimator, self.known, self.shape, self.turn = estimator, known, shape, turn

    def check(self, seen: list[Floats]) -> None:
        """Refuse decibels where an image is of power."""
        require_powers(self.estimator.channels, seen)

    def __call__(self, tiles: list[Floats], corners: list[Corner]) -> Floats:
        """Return heights, scales and 0 or 1, shape (tiles, 3, size, size)."""
        count = len(self.estimator.channels)
        seen = np.stack(tiles, axis=1)
        whole = np.stack(
            [
                [_without_gaps(layer) for layer in _continued(image, corner, self.shape)]
                for image, corner in zip(seen, corners, strict=True)
            ]
        )
        known = [self.known.window(*corner, seen.shape[-1]) for corner in corners]
        arrays = {
            "image": whole[:, :count],
            **{name: np.stack([each[name][None] for each in known]) for name in known[0]},
        }
        if len(tiles) > count:
            arrays["coarse"] = whole[:, count:]
        device = next(self.estimator.parameters()).device
        sample = {
            name: torch.from_numpy(np.ascontiguousarray(values[..., self.turn])).to(device)
            for name, values in arrays.items()
        }
        with torch.inference_mode():
            height, scale = self.estimator(sample)
        spread = torch.full_like(height, torch.nan) if scale is None else scale
        both: Floats = torch.cat([height, spread], dim=1).float().cpu().numpy()[..., self.turn]
        if self.estimator.reference == "coarse":
            both = np.where(np.isfinite(seen[:, count:]), both, np.nan)
        # All tiles agree on what is seen, so that their mean is 0 or 1.
        observed = np.isfinite(seen[:, :count]).any(axis=1, keepdims=True)
        return np.concatenate([both, observed], axis=1, dtype=np.float32)


def _continued(image: Floats, corner: Corner, shape: tuple[int, int]) -> Floats:
    """Let the raster's edge go on beyond it, through a tile of shape (layers, size, size)."""
    row, column = (
        np.clip(np.arange(first, first + image.shape[-1]), 0, length - 1) - first
        for first, length in zip(corner, shape, strict=True)
    )
    return image[:, row[:, None], column]


def _without_gaps(layer: Floats) -> Floats:
    """Fill gaps with the nearest value: a network that has seen no gaps runs wild at their edge."""
    known = np.isfinite(layer)
    if known.all() or not known.any():
        return layer
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(layer[tuple(nearest)])


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
