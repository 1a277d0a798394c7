"""Training a network for terrain heights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sarheight.data import TerrainPatches, channel_statistics
from sarheight.data._power import require_power
from sarheight.data._split import require_apart
from sarheight.models import Channel, HeightEstimator
from sarheight.training._calibration import scale_factor
from sarheight.training._loading import EpochLoader, steps_of
from sarheight.training._run import claim, fit
from sarheight.training._task import HeightTask

if TYPE_CHECKING:
    import os

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.data import Part
    from sarheight.training._settings import TerrainSettings

__all__ = ["train_terrain"]

POWER = ("gamma0", "sigma0", "beta0")
MONITORED = "validation_rmse"


def channels_of(
    scenes: Sequence[xr.Dataset], within: Sequence[Part], names: Sequence[str]
) -> list[Channel]:
    """Describe the channels of the image, normalised by the parts for training alone.

    Parameters
    ----------
    scenes, within : sequence
        Scenes, and the part of each that is for training.
    names : sequence of str
        Variables. One with polarisations makes a channel of each.

    Returns
    -------
    list of Channel
    """
    channels = []
    for name in names:
        transform = "decibel" if name.startswith(POWER) and "variance" not in name else "none"
        variables = [part.of(scene)[name] for scene, part in zip(scenes, within, strict=True)]
        several = "polarisation" in variables[0].dims
        for index in range(variables[0].sizes["polarisation"]) if several else [None]:
            chosen = variables if index is None else [v.isel(polarisation=index) for v in variables]
            label = name
            if index is not None:
                label = f"{name}_{str(chosen[0]['polarisation'].item()).lower()}"
            if transform == "decibel":
                for variable in chosen:
                    require_power(label, variable.values)
            mean, std = channel_statistics(chosen, transform)
            units = str(variables[0].attrs.get("units", "1"))
            channels.append(Channel(label, units, transform, mean, std))  # type: ignore[arg-type]
    return channels


def train_terrain(
    scenes: Sequence[xr.Dataset],
    training: Sequence[Part],
    validation: Sequence[Part | None],
    settings: TerrainSettings,
    folder: str | os.PathLike[str],
    *,
    accelerator: str = "auto",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> HeightEstimator:
    """Train a network to estimate terrain heights.

    The folder gets ``settings.json``, the curves (``curves/metrics.csv``, and those for
    TensorBoard where it is installed), ``last.ckpt`` after each epoch, and at the end ``model``:
    the network of the epoch with the lowest validation RMSE, its intervals widened or narrowed
    until they hold what they say on the parts for validation. Called again with the same settings
    on a folder of an interrupted run, training goes on after its last complete epoch, and the
    curve is the one that it would have been.

    Parameters
    ----------
    scenes : sequence of xarray.Dataset
        As `sarheight.data.simulated_scene` or `observed_scene` make them, with true heights.
    training : sequence of Part
        The part of each scene from which patches for training are taken.
    validation : sequence of Part or None
        The part of each scene by which training is stopped, apart from the other; None where a
        scene is for training alone.
    settings : TerrainSettings
        What is trained, and how.
    folder : path-like
        Where the run lives; made if it is not there.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        More to tell with the model.

    Returns
    -------
    HeightEstimator
        That of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    ValueError
        If parts do not pair with scenes or overlap, scenes give no patch, an image is in decibels,
        or there is no such accelerator.
    OutputError
        If the model cannot be written.
    """
    held = [[] if part is None else [part] for part in validation]
    require_apart(len(scenes), [[part] for part in training], held)
    finished = claim(folder, settings, accelerator)
    if finished.exists():
        return HeightEstimator.from_pretrained(finished)
    patches = _patches(scenes, training, settings, for_training=True)
    judged = [
        (scene, part) for scene, part in zip(scenes, validation, strict=True) if part is not None
    ]
    held_out = _patches(
        [scene for scene, _ in judged],
        [part for _, part in judged],
        settings,
        for_training=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        heights = _heights(scenes, training)
        estimator = HeightEstimator(
            channels_of(scenes, training, settings.channels),
            network=settings.network,
            options=settings.options,
            reference=settings.reference,
            surfaces=settings.surfaces,
            uncertainty=settings.uncertainty,
            height_std=settings.height_std,
            output_std=settings.output_std,
            height_mean=float(np.nanmean(heights)),
            height_spread=float(np.nanstd(heights)),
        )
        task = HeightTask(estimator, settings, steps_of(patches, settings))
        best = fit(
            task,
            EpochLoader(patches, held_out, settings),
            settings,
            folder,
            monitored=MONITORED,
            accelerator=accelerator,
            progress=progress,
        )
    estimator.eval()
    if estimator.uncertainty:
        estimator.scale_factor *= scale_factor(estimator, held_out)
    figures = {} if best is None else {MONITORED: best}
    estimator.save_pretrained(finished, card={**(card or {}), "training": figures})
    return estimator


def _patches(
    scenes: Sequence[xr.Dataset],
    within: Sequence[Part],
    settings: TerrainSettings,
    *,
    for_training: bool,
) -> TerrainPatches:
    return TerrainPatches(
        scenes,
        settings.channels,
        within=within,
        size=settings.size,
        stride=settings.stride if for_training else settings.size,
        known=settings.known,
        error=settings.error,
        method="thin_plate" if "prefill" in settings.seen else None,
        augment=for_training,
        seed=settings.seed,
    )


def _heights(scenes: Sequence[xr.Dataset], within: Sequence[Part]) -> NDArray[np.floating]:
    """Return all true heights of the parts for training."""
    heights = [part.of(scene)["height"].values for scene, part in zip(scenes, within, strict=True)]
    return np.concatenate([each.ravel() for each in heights])
