"""Training of networks for terrain heights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from sarheight_kernels.profiles import ACTIVE_LAYOVER, LAYOVER_AND_SHADOW, PASSIVE_LAYOVER
from torch import Tensor
from torch.utils.data import DataLoader

from sarheight.dem import local_posting
from sarheight.learning.metrics import HeightErrors, height_errors
from sarheight.learning.split import require_disjoint
from sarheight.learning.training import EpochLoader, RootMeanSquaredError, Sample, Task, seeded
from sarheight.terrain.patches import TerrainPatches, normalised_channels
from sarheight.terrain.sar2height import (
    HeightEstimate,
    HeightEstimator,
    TerrainSettings,
    height_loss,
)

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.learning.settings import RunSettings
    from sarheight.learning.split import Part

LAYOVER = (ACTIVE_LAYOVER, PASSIVE_LAYOVER, LAYOVER_AND_SHADOW)
LEVEL = 0.8
"""Probability of the intervals that are calibrated."""


class HeightTask(Task[HeightEstimator]):
    """Training of an estimator of terrain heights.

    Parameters
    ----------
    network : HeightEstimator
        The network.
    settings : RunSettings
        Of the run.
    """

    def __init__(self, network: HeightEstimator, settings: RunSettings) -> None:
        in_layover = RootMeanSquaredError(mask="layover")
        super().__init__(
            network, settings, {"rmse": RootMeanSquaredError(), "rmse_layover": in_layover}
        )

    def loss(self, output: HeightEstimate, sample: Sample) -> Tensor:
        """Return `height_loss` in units of the network's output."""
        return height_loss(output, sample["truth"], self.network.output_std)

    def measure(self, output: HeightEstimate, sample: Sample) -> None:
        """Measure errors in metres, of all cells and of those in layover."""
        mask = sample["mask"]
        layover = torch.isin(mask, torch.tensor(LAYOVER, device=mask.device))
        self.metrics.update(output.height, sample["truth"], layover=layover)

    def calibrate(self, data: EpochLoader) -> dict[str, float]:
        """Scale the uncertainty so that intervals hold as many heights as they should."""
        if not self.network.uncertainty:
            return {}
        factor = measure_scale_factor(self.network, data.val_dataloader())
        self.network.scale_factor *= factor
        return {"scale_factor": self.network.scale_factor}


def measure_scale_factor(estimator: HeightEstimator, batches: Any) -> float:  # noqa: ANN401
    r"""Return the factor of an estimator's scales with which its 80 % intervals hold 80 %.

    The absolute error of a Laplace distribution with scale :math:`b` is below :math:`b \ln 5` with
    a probability of 80 %. The factor is the quotient of the 80 % quantile of :math:`|e| / b` over
    all cells of the batches and :math:`\ln 5`.
    """
    ratios = []
    with torch.inference_mode():
        for sample in batches:
            height, scale = estimator(sample)
            ratio = ((height - sample["truth"]).abs() / scale).numpy()
            ratios.append(ratio[np.isfinite(ratio)])
    found = np.concatenate(ratios) if ratios else np.empty(0)
    if not found.size:
        return 1.0
    return float(np.quantile(found, LEVEL) / -np.log1p(-LEVEL))


def terrain_task(
    scenes: Sequence[xr.Dataset],
    training: Sequence[Part],
    validation: Sequence[Part | None],
    settings: TerrainSettings,
) -> tuple[HeightTask, TerrainPatches, TerrainPatches]:
    """Prepare the training of a network for terrain heights.

    .. code-block:: python

        result = learning.train(*terrain.terrain_task(scenes, here, there, settings), "run")

    A network with uncertainty has its intervals calibrated on the parts for validation.

    Parameters
    ----------
    scenes : sequence of xarray.Dataset
        As `sarheight.terrain.simulate_scene` or `observe_scene` return them, with true heights.
    training : sequence of Part
        For each scene the part from which patches for training are taken.
    validation : sequence of Part or None
        For each scene the part for validation, disjoint from the other; None for a scene that is
        used for training only.
    settings : TerrainSettings
        Network and settings of the run.

    Returns
    -------
    HeightTask, TerrainPatches, TerrainPatches
        The task with a network of random weights, and the patches for training and for validation:
        arguments of `sarheight.learning.train`.

    Raises
    ------
    ValueError
        If parts do not pair with scenes or overlap, scenes give no patch, or an image is in
        decibels.
    """
    held_out = [[] if part is None else [part] for part in validation]
    require_disjoint(len(scenes), [[part] for part in training], held_out)
    # Patches first: parts that give none are refused before all channels are read.
    patches = terrain_patches(scenes, training, settings, stride=settings.stride, augment=True)
    pairs = [
        (scene, part) for scene, part in zip(scenes, validation, strict=True) if part is not None
    ]
    others = terrain_patches([scene for scene, _ in pairs], [part for _, part in pairs], settings)
    parts = [part.of(scene) for scene, part in zip(scenes, training, strict=True)]
    postings = [float(np.sqrt(np.prod(local_posting(part["height"])))) for part in parts]
    with seeded(settings.seed):
        estimator = HeightEstimator(
            normalised_channels(parts, settings.channels),
            network=settings.network,
            options=settings.options,
            reference=settings.reference,
            uncertainty=settings.uncertainty,
            height_std=settings.height_std,
            output_std=settings.output_std,
            distance=settings.distance,
            postings=(min(postings), max(postings)),
        )
    return HeightTask(estimator, settings), patches, others


def terrain_patches(
    scenes: Sequence[xr.Dataset],
    within: Sequence[Part],
    settings: TerrainSettings,
    *,
    stride: int | None = None,
    augment: bool = False,
) -> TerrainPatches:
    """Cut patches of parts of scenes by the settings of a training."""
    return TerrainPatches(
        scenes,
        settings.channels,
        within=within,
        size=settings.size,
        known_count=settings.known_count,
        known_sigma=settings.known_sigma,
        seed=settings.seed,
        stride=stride,
        augment=augment,
    )


def evaluate_terrain(
    estimator: HeightEstimator,
    scenes: Sequence[xr.Dataset],
    within: Sequence[Part],
    settings: TerrainSettings,
) -> dict[str, dict[str, HeightErrors]]:
    """Measure the errors of an estimator on parts of scenes that it has not seen.

    Parameters
    ----------
    estimator : HeightEstimator
        The network.
    scenes, within
        Training scenes with true heights, and a part of each.
    settings : TerrainSettings
        Of the training: size of the patches, number and errors of the known elevations.

    Returns
    -------
    dict
        Errors over the cells of all patches (``all``) and those in layover (``layover``), by what
        they are of: the ``network``, and the back-projected ``coarse`` DEM.
    """
    patches = terrain_patches(scenes, within, settings)
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in ("network", "coarse", "truth")}
    folded = []
    with torch.inference_mode():
        for sample in DataLoader(cast("Any", patches), settings.batch):
            found["network"].append(estimator(sample).height.numpy())
            for name in ("coarse", "truth"):
                found[name].append(sample[name].numpy())
            folded.append(np.isin(sample["mask"].numpy(), LAYOVER))
    arrays = {name: np.concatenate(values) for name, values in found.items()}
    layover = np.concatenate(folded)
    return {
        name: {
            "all": height_errors(arrays[name], arrays["truth"]),
            "layover": height_errors(arrays[name], arrays["truth"], where=layover),
        }
        for name in ("network", "coarse")
    }
