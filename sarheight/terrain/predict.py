"""Prediction of the heights of whole scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sarheight.dem import check_dem, local_posting, map_grid, to_grid
from sarheight.errors import CheckpointError, KnownElevationsError
from sarheight.geometry.pass_geometry import dem_dataset
from sarheight.learning.channels import require_channels, require_powers
from sarheight.learning.tiles import Corner, Mosaic, Tiling, as_tensors, match_chunks
from sarheight.learning.weights import select_device
from sarheight.terrain.alignment import apply_alignment, estimate_alignment, filled
from sarheight.terrain.patches import columns_along_range, image_layers
from sarheight.terrain.rasters import CellElevations, require_inside
from sarheight.terrain.refinement import place_images
from sarheight.terrain.scenes import prepare_scene

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from sarheight.scene import Scene
    from sarheight.terrain.elevations import KnownElevations
    from sarheight.terrain.sar2height import HeightEstimator

Floats = NDArray[np.float32]
SLACK = 1.1
"""Factor by which a posting may lie outside the range of training."""
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
    """Apply a network to a scene of any size.

    The network is applied to overlapping tiles, whose estimates are blended. A scene of dask arrays
    is read block by block and gives a lazy result; otherwise the result is computed immediately.

    Parameters
    ----------
    estimator : HeightEstimator
        A trained network.
    scene : xarray.Dataset
        As `sarheight.terrain.prepare_scene` returns it, dims (y, x): the variables of the
        estimator's channels, and ``coarse_height`` if it takes a coarse DEM.
    known : KnownElevations, optional
        Known elevations. A network that takes no coarse DEM needs them, in every tile: elsewhere
        heights are NaN.
    tiling : Tiling, optional
        Size and overlap of the tiles. The size must be a multiple of the network's stride.
    block : int
        Cells along a side of the chunks of a lazy result; memory grows with its square.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda", "mps".
    report : callable, optional
        Called repeatedly with the completed fraction; not for a lazy result.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres above the ellipsoid; ``height_sigma``, its standard
        deviation in metres, if the estimator gives one; ``observed``, whether the image has a
        value in the cell, without which the estimate relies on its neighbourhood; and the scene's
        ``mask`` of layover and shadow, if it has one. With the coarse DEM as reference, cells
        where it is NaN are NaN. Attributes count the known elevations.

    Raises
    ------
    CheckpointError
        If the scene lacks a channel of the estimator, or has it in other units, or if its posting
        lies outside the range of the network's training.
    KnownElevationsError
        If all known elevations lie outside the scene, or there is none and the network takes no
        coarse DEM.
    ValueError
        If tiles do not fit the network, the device is not available, or power is in decibels.
    """
    tiling = Tiling() if tiling is None else tiling
    tiling.require_fit(estimator.network.stride, block)
    variables = _inputs(estimator, scene)
    _require_posting(estimator, variables[0])
    known = None if known is None or not len(known) else known
    if known is not None:
        require_inside(known, variables[0])
    elif estimator.reference == "mean":
        msg = (
            "found no known elevation, expected some in the scene, relative to whose mean the "
            "network estimates heights: pass known elevations, or take a network with a coarse DEM"
        )
        raise KnownElevationsError(msg)
    located = CellElevations.on(variables[0], known)
    worker = _TileWorker(
        estimator.to(select_device(device)).eval(),
        located,
        (variables[0].sizes["y"], variables[0].sizes["x"]),
        columns_along_range(scene),
    )
    values = Mosaic(variables, worker.estimate, LAYERS, tiling).compute(block, report)
    result = _dataset(values, variables[0], with_sigma=estimator.uncertainty)
    result.attrs["known_elevations"] = int(located.count.sum())
    result.attrs["known_elevations_outside"] = located.outside
    if "mask" in scene:
        result["mask"] = scene["mask"]
    return match_chunks(values, result)


def _require_posting(estimator: HeightEstimator, like: xr.DataArray) -> None:
    """Raise if a grid has another posting than the network was trained for."""
    if not estimator.postings:
        return
    low, high = estimator.postings
    posting = float(np.sqrt(np.prod(local_posting(like))))
    if not low / SLACK <= posting <= high * SLACK:
        msg = (
            f"found a posting of {posting:.1f} m, and the network was trained at {low:.0f} to "
            f"{high:.0f} m, where slopes look differently: make the scene on a grid of that posting"
        )
        raise CheckpointError(msg)


def _inputs(estimator: HeightEstimator, scene: xr.Dataset) -> tuple[xr.DataArray, ...]:
    """Select the estimator's channels from a scene by name, then the coarse DEM if it takes one."""
    on_grid = ({"y", "x"}, {"polarisation", "y", "x"})
    names = [str(name) for name, each in scene.data_vars.items() if set(each.dims) in on_grid]
    present = {str(layer.name): layer for layer in image_layers(scene, names)}
    inputs = []
    advice = "make the scene with sarheight.terrain.prepare_scene"
    require_channels(estimator.channels, present, "a scene", advice)
    for channel in estimator.channels:
        units = str(present[channel.name].attrs.get("units", channel.units))
        if units != channel.units:
            msg = (
                f"found {channel.name} in units of {units!r}, expected {channel.units!r}, with "
                "which the model was trained: convert it (decibels to power: 10 ** (value / 10))"
            )
            raise CheckpointError(msg)
        inputs.append(present[channel.name])
    if estimator.reference == "coarse":
        if "coarse_height" not in scene:
            msg = (
                "found no coarse_height in the scene, expected the coarse DEM in metres above the "
                "ellipsoid, with which the model was trained"
            )
            raise CheckpointError(msg)
        inputs.append(scene["coarse_height"])
    return tuple(inputs)


@dataclass(frozen=True, eq=False)
class _TileWorker:
    """Applies an estimator to tiles of a scene."""

    estimator: HeightEstimator
    known: CellElevations
    shape: tuple[int, int]  # of the scene
    order: slice  # of the columns, so that the radar looks along them

    def estimate(self, tiles: list[Floats], corners: list[Corner]) -> Floats:
        """Return heights, scales and 0 or 1 where observed, shape (tiles, 3, size, size)."""
        require_powers(self.estimator.channels, tiles)
        count = len(self.estimator.channels)
        observed = np.stack(tiles, axis=1)
        filled = np.stack(
            [
                [_fill_gaps(layer) for layer in _extend_edges(image, corner, self.shape)]
                for image, corner in zip(observed, corners, strict=True)
            ]
        )
        known = [self.known.window(*corner, observed.shape[-1]) for corner in corners]
        arrays = {
            "image": filled[:, :count],
            **{name: np.stack([each[name][None] for each in known]) for name in known[0]},
        }
        if len(tiles) > count:
            arrays["coarse"] = filled[:, count:]
        turned = {name: values[..., self.order] for name, values in arrays.items()}
        sample = as_tensors(turned, next(self.estimator.parameters()).device)
        with torch.inference_mode():
            height, scale = self.estimator(sample)
        if scale is None:
            scale = torch.full_like(height, torch.nan)
        both: Floats = torch.cat([height, scale], dim=1).float().cpu().numpy()[..., self.order]
        if self.estimator.reference == "coarse":
            both = np.where(np.isfinite(observed[:, count:]), both, np.nan)
        # All tiles agree on this layer, so that its mean is 0 or 1.
        valid = np.isfinite(observed[:, :count]).any(axis=1, keepdims=True)
        return np.concatenate([both, valid], axis=1, dtype=np.float32)


def _extend_edges(image: Floats, corner: Corner, shape: tuple[int, int]) -> Floats:
    """Repeat the raster's edge beyond it, in a tile of shape (layers, size, size)."""
    row, column = (
        np.clip(np.arange(first, first + image.shape[-1]), 0, length - 1) - first
        for first, length in zip(corner, shape, strict=True)
    )
    return image[:, row[:, None], column]


def _fill_gaps(layer: Floats) -> Floats:
    """Fill gaps with the nearest value: a network without gaps in training diverges at theirs."""
    valid = np.isfinite(layer)
    if valid.all() or not valid.any():
        return layer
    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(layer[tuple(nearest)])


def _dataset(
    values: Any,  # noqa: ANN401  # of numpy or dask
    like: xr.DataArray,
    *,
    with_sigma: bool,
) -> xr.Dataset:
    """Return the layers of the mosaic as variables on the scene's grid."""
    layers: dict[str, tuple[Any, dict[str, Any]]] = {
        "height": (
            values[0],
            {
                "long_name": "estimated height above the WGS84 ellipsoid",
                "standard_name": "height_above_reference_ellipsoid",
                "units": "m",
                "vertical_datum": "ellipsoid",
            },
        )
    }
    if with_sigma:
        described = {"long_name": "standard deviation of the height", "units": "m"}
        layers["height_sigma"] = LAPLACE_STD * values[1], described
    layers["observed"] = (
        values[2].astype(np.uint8),
        {
            "long_name": "the image has a value here",
            "flag_values": np.array([0, 1], dtype=np.uint8),
            "flag_meanings": "filled_in observed",
        },
    )
    return dem_dataset(like, layers)


# From an image in radar geometry.


def usual_posting(estimator: HeightEstimator, dem: xr.DataArray) -> float:
    """Return the middle of the postings of training in metres; the DEM's where none is known."""
    return float(np.sqrt(np.prod(estimator.postings or local_posting(dem))))


def predict_image(
    estimator: HeightEstimator,
    image: Scene,
    dem: xr.DataArray,
    known: KnownElevations | None = None,
    *,
    grid: GeoBox | None = None,
    coregister: Literal["report", "correct", "none"] = "report",
    tiling: Tiling | None = None,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Reconstruct an image with a coarse DEM, and apply a network to it.

    The DEM is aligned to the known elevations first (`estimate_alignment`).

    Parameters
    ----------
    estimator : HeightEstimator
        A trained network.
    image : Scene
        The image, linear power.
    dem : xarray.DataArray
        Coarse DEM, heights above the ellipsoid, dims (y, x).
    known : KnownElevations, optional
        Known elevations.
    grid : GeoBox, optional
        Grid of the heights, see `sarheight.dem.map_grid`. Default: of the posting of
        `usual_posting`, in the reference system of a projected DEM, or the UTM zone of one in
        degrees.
    coregister : {"report", "correct", "none"}
        Estimate the shift of the image against the DEM: warn of one, or correct the image's timing
        by it.
    tiling, device, report
        See `predict_heights`.

    Returns
    -------
    xarray.Dataset
        As `predict_heights`.

    Raises
    ------
    GeometryError
        If image and DEM do not overlap.
    DemError
        If the DEM is not usable.

    See Also
    --------
    predict_heights : raises more.

    Warns
    -----
    RuntimeWarning
        If the image lies beside its simulation, or could not be compared with it.
    """
    dem = check_dem(dem)
    if grid is None:
        grid = map_grid(dem, resolution=usual_posting(estimator, dem))
    if known is not None and len(known):
        dem = apply_alignment(dem, estimate_alignment(dem, known))
    like = to_grid(filled(dem), grid)
    (placed,), _ = place_images([image], dem, coregister)
    scene = prepare_scene(placed, dem, like)
    return predict_heights(estimator, scene, known, tiling=tiling, device=device, report=report)
