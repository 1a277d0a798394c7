"""Building heights of a whole city."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from sarheight.buildings.stack import BANDS, check_stack
from sarheight.errors import CheckpointError
from sarheight.learning.tiles import Corner, Mosaic, Tiling, match_chunks
from sarheight.learning.weights import select_device

if TYPE_CHECKING:
    from sarheight.buildings.estimators import BuildingHeightEstimator

Floats = NDArray[np.float32]
TILING = Tiling(size=128, overlap=32)


def predict_buildings(
    estimator: BuildingHeightEstimator,
    stack: xr.Dataset,
    *,
    tiling: Tiling | None = None,
    block: int = 512,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Estimate the building heights of a city of any size.

    The network sees overlapping tiles, whose estimates are blended. A stack that is held by dask
    is read a block at a time, and the result is lazy as well; otherwise the result is computed
    at once.

    Parameters
    ----------
    estimator : BuildingHeightEstimator
        A trained network.
    stack : xarray.Dataset
        A city stack, see `sarheight.buildings.check_stack`, with the bands that the estimator's
        channels name. Months may be missing. A network for series does without a modality; one
        that looks at each month does not. Its heights are the mean of those for each month.
    tiling : Tiling, optional
        Size and overlap of the tiles, by default 128 and 32 cells. The size must be a multiple of
        the estimator's stride.
    block : int
        Cells of a block, each way: memory grows with its square.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", "mps".
    report : callable, optional
        Told after each block which part of the work is done; not for a lazy result.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres above the ground. Where the estimator gives them also
        ``footprint``, the built share of the cell, and ``height_sigma``, the standard deviation of
        the height in metres. NaN where no tile has an image in any month.

    Raises
    ------
    CheckpointError
        If the stack lacks a band of the estimator.
    StackError
        If it is no city stack.
    ValueError
        If tiles do not fit the network, or there is no such device.
    """
    chosen = TILING if tiling is None else tiling
    chosen.require_fit(estimator.stride, block)
    images = _images(estimator, check_stack(stack, posting=None))
    month = torch.from_numpy(stack["month"].dt.month.values.astype(np.int64))
    worker = _Worker(estimator.to(select_device(device)).eval(), tuple(images), month)
    layers = 3 if estimator.gives_distribution else 1
    mosaic = Mosaic(tuple(images.values()), worker, layers, chosen)
    values = mosaic.values(block, report)
    return match_chunks(values, _dataset(values, stack))


class _Worker:
    """Turns tiles of images into tiles of heights, shares and standard deviations."""

    def __init__(
        self, estimator: BuildingHeightEstimator, names: tuple[str, ...], month: torch.Tensor
    ) -> None:
        self.estimator, self.names, self.month = estimator, names, month

    def __call__(self, tiles: list[Floats], _corners: list[Corner]) -> Floats:
        device = next(self.estimator.parameters()).device
        sample = {
            name: torch.from_numpy(np.ascontiguousarray(values)).to(device)
            for name, values in zip(self.names, tiles, strict=True)
        }
        sample["month"] = self.month.expand(len(tiles[0]), -1).to(device)
        with torch.inference_mode():
            found = [each for each in self.estimator(sample) if each is not None]
        return np.asarray(torch.cat(found, dim=1).float().cpu().numpy())


def _images(estimator: BuildingHeightEstimator, stack: xr.Dataset) -> dict[str, xr.DataArray]:
    """Find the estimator's bands in a stack, by modality."""
    found, missing = {}, []
    for name, channels in estimator.channels.items():
        axis = BANDS[name][0]
        wanted = [channel.name for channel in channels]
        if name not in stack:
            missing.append(name)
            continue
        there = [str(band) for band in stack[name][axis].values]
        lacking = [band for band in wanted if band not in there]
        if lacking:
            msg = (
                f"found no {', '.join(lacking)} among the {name} bands {', '.join(there)}; the "
                "model was trained with them: add them to the stack, NaN where there are none"
            )
            raise CheckpointError(msg)
        found[name] = stack[name].sel({axis: wanted})
    if missing and (not found or not estimator.gives_distribution):
        msg = (
            f"found no {' and no '.join(missing)} in the stack, and the model cannot do without: "
            "add the images, or take a model for what there is"
        )
        raise CheckpointError(msg)
    return found


def _dataset(values: Any, stack: xr.Dataset) -> xr.Dataset:  # noqa: ANN401  # of numpy or dask
    """Put the result on the stack's grid."""
    kept = [name for name in stack.coords if set(stack[name].dims) <= {"y", "x"}]
    result = xr.Dataset(coords={name: stack[name] for name in kept})
    described = {
        "height": ("estimated height of buildings above the ground", "m"),
        "footprint": ("estimated built share of the cell", "1"),
        "height_sigma": ("standard deviation of the height", "m"),
    }
    for layer, (name, (label, units)) in zip(values, described.items(), strict=False):
        attributes = {"long_name": label, "units": units, "grid_mapping": "spatial_ref"}
        result[name] = (("y", "x"), layer, attributes)
    result.attrs["months"] = int(stack.sizes["month"])
    if "simulated" in stack.attrs:
        result.attrs["simulated"] = stack.attrs["simulated"]
    return result
