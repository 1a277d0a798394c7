"""Training a network for terrain heights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import lightning
import numpy as np
import torch
from sarheight_kernels.profiles import ACTIVE_LAYOVER, LAYOVER_AND_SHADOW, PASSIVE_LAYOVER
from torch import Tensor
from torchmetrics import MeanMetric

from sarheight.learning.run import (
    EpochLoader,
    RunSettings,
    count_steps,
    fit,
    one_cycle_adamw,
    prepare_run,
    require_one_of,
    require_positive,
)
from sarheight.learning.split import channel_statistics, require_disjoint, require_power
from sarheight.learning.weights import Channel
from sarheight.terrain._patches import TerrainPatches
from sarheight.terrain.networks import NETWORKS, HeightEstimator, Reference

if TYPE_CHECKING:
    import os

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.learning.run import Samples
    from sarheight.learning.split import Part
    from sarheight.terrain.networks import HeightEstimate

Loss = Literal["l1", "l2"]


@dataclass(frozen=True, kw_only=True)
class TerrainSettings(RunSettings):
    """Settings of a training run for terrain heights.

    Parameters
    ----------
    channels : tuple of str
        Variables of the scenes that make the image. Names that begin with gamma0, sigma0 or beta0
        are power, and enter in decibels.
    network, options, reference, surfaces, uncertainty, height_std, output_std
        See `sarheight.terrain.HeightEstimator`.
    loss : {"l1", "l2"}
        Of the heights, in units of `output_std`: absolute or squared errors.
    size, stride : int
        Of the patches, in cells.
    known_count : tuple of int
        Fewest and most known elevations in a patch.
    known_sigma : float
        Standard deviation of their errors in metres.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. The optimiser is AdamW, whose rate rises over the first twentieth of
        the steps, and falls as a cosine to nothing.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    channels: tuple[str, ...] = (
        "gamma0_posterior_unflattened",
        "local_incidence",
        "contribution_share",
    )
    network: str = "ask_unet"
    options: dict[str, Any] = field(default_factory=lambda: {"width": 32, "depth": 4})
    reference: Reference = "coarse"
    surfaces: tuple[str, ...] = ()
    uncertainty: bool = True
    height_std: float = 100.0
    output_std: float | None = 10.0
    loss: Loss = "l2"
    size: int = 128
    stride: int = 64
    known_count: tuple[int, int] = (4, 64)
    known_sigma: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("channels", "surfaces", "known_count"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(NETWORKS))
        require_one_of("reference", self.reference, get_args(Reference))
        require_one_of("loss", self.loss, get_args(Loss))
        require_positive(self, ("size", "stride", "height_std"))
        if not self.channels:
            msg = "found no channels, expected one at least: a network needs something to see"
            raise ValueError(msg)

    @property
    def seen(self) -> set[str]:
        """Surfaces that the network sees."""
        return {*self.surfaces, self.reference} - {"mean"}


# What training makes small.


def height_loss(estimate: HeightEstimate, truth: Tensor, unit: float, kind: str = "l2") -> Tensor:
    r"""Measure how far an estimate is from the truth, where there is one.

    The mean over all cells with a true height of :math:`|e|` or :math:`e^2`, where :math:`e` is
    the error in units. An estimate with a scale adds the negative logarithm of the likelihood of
    a Laplace distribution, :math:`\ln 2 b + |e| / b`. The scale learns from the errors as they
    are, and the heights do not learn to be easy to judge: :math:`e` is held fixed there.

    Parameters
    ----------
    estimate : HeightEstimate
        Shapes (batch, 1, rows, columns).
    truth : Tensor, shape (batch, 1, rows, columns)
        Heights in metres; NaN where there are none, and these never count.
    unit : float
        Metres.
    kind : {"l1", "l2"}
        Absolute or squared errors.

    Returns
    -------
    Tensor
        One number; 0 where no cell has a true height.
    """
    known = torch.isfinite(truth)
    error = torch.where(known, truth - estimate.height, 0.0) / unit
    count = known.sum().clamp(min=1)
    size = error.abs() if kind == "l1" else error**2
    loss = size.sum() / count
    if estimate.scale is None:
        return loss
    scale = estimate.scale / unit
    surprise = torch.log(2.0 * scale) + error.detach().abs() / scale
    return loss + torch.where(known, surprise, 0.0).sum() / count


# How much larger errors are, where a network was not trained, than it says.

LEVEL = 0.8
"""Of the interval that is made to hold what it says; users ask for this one most."""
BATCH = 8


def scale_factor(estimator: HeightEstimator, patches: Samples) -> float:
    r"""Measure by what an estimator's scales must be multiplied.

    Of a Laplace distribution with scale :math:`b`, 80 % of all errors are smaller than
    :math:`b \ln 5`. The factor is the quotient of the true 80 % quantile of :math:`|e| / b` and
    that number, at places that the network was not trained on.
    """
    ratios = []
    with torch.inference_mode():
        for first in range(0, len(patches), BATCH):
            chosen = [patches[index] for index in range(first, min(first + BATCH, len(patches)))]
            sample = {
                name: torch.from_numpy(np.stack([each[name] for each in chosen]))
                for name in chosen[0]
            }
            height, scale = estimator(sample)
            ratio = ((height - sample["truth"]).abs() / scale).numpy()
            ratios.append(ratio[np.isfinite(ratio)])
    found = np.concatenate(ratios) if ratios else np.empty(0)
    if not found.size:
        return 1.0
    return float(np.quantile(found, LEVEL) / -np.log1p(-LEVEL))


# One step of training, and one of validation.

WARM_UP = 0.05
"""Part of all steps over which the learning rate rises."""
LAYOVER = (ACTIVE_LAYOVER, PASSIVE_LAYOVER, LAYOVER_AND_SHADOW)

Sample = dict[str, Tensor]


class HeightTask(lightning.LightningModule):
    """Training of a height estimator."""

    def __init__(self, estimator: HeightEstimator, settings: TerrainSettings, steps: int) -> None:
        super().__init__()
        self.estimator = estimator
        estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps = settings, steps
        self.everywhere, self.in_layover = MeanMetric(), MeanMetric()

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._loss(sample)
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=_size(sample))
        return loss

    def _loss(self, sample: Sample) -> Tensor:
        return height_loss(
            self.estimator(sample), sample["truth"], self.estimator.output_std, self.settings.loss
        )

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Sum squared errors of a batch."""
        estimate = self.estimator(sample)
        unit = self.estimator.output_std
        loss = height_loss(estimate, sample["truth"], unit, self.settings.loss)
        self.log("validation_loss", loss, on_epoch=True, batch_size=_size(sample))
        error = (estimate.height - sample["truth"]).float() ** 2
        folded = torch.isin(sample["mask"], torch.tensor(LAYOVER, device=error.device))
        known = torch.isfinite(error)
        for metric, where in ((self.everywhere, known), (self.in_layover, known & folded)):
            if where.any():
                metric.update(error[where])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared errors in metres."""
        for metric, suffix in ((self.everywhere, ""), (self.in_layover, "_layover")):
            if metric.update_called:
                self.log(f"validation_rmse{suffix}", torch.sqrt(metric.compute()), prog_bar=True)
            metric.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up AdamW with a rise and a cosine."""
        return one_cycle_adamw(
            self.estimator.parameters(), self.settings, self.steps, warm_up=WARM_UP
        )


def _size(sample: Sample) -> int:
    return int(sample["truth"].shape[0])


# Training a network for terrain heights.

POWER = ("gamma0", "sigma0", "beta0")
MONITORED = "validation_rmse"


def normalised_channels(
    scenes: Sequence[xr.Dataset], within: Sequence[Part], names: Sequence[str]
) -> list[Channel]:
    """Describe the channels of the image, normalised by the parts for training alone."""
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
        As `sarheight.terrain.simulate_scene` or `prepare_scene` make them, with true heights.
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
    require_disjoint(len(scenes), [[part] for part in training], held)
    finished = prepare_run(folder, settings, accelerator)
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
            normalised_channels(scenes, training, settings.channels),
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
        task = HeightTask(estimator, settings, count_steps(patches, settings))
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
        known_count=settings.known_count,
        known_sigma=settings.known_sigma,
        method="thin_plate" if "interpolated" in settings.seen else None,
        augment=for_training,
        seed=settings.seed,
    )


def _heights(scenes: Sequence[xr.Dataset], within: Sequence[Part]) -> NDArray[np.floating]:
    """Return all true heights of the parts for training."""
    heights = [part.of(scene)["height"].values for scene, part in zip(scenes, within, strict=True)]
    return np.concatenate([each.ravel() for each in heights])
