"""Training a network for building heights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import lightning
import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, softmax
from torch.optim.swa_utils import update_bn
from torchmetrics import MeanSquaredError

from sarheight.buildings._networks import VARIANTS
from sarheight.buildings.estimators import BUILDING_NETWORKS, BuildingHeightEstimator
from sarheight.buildings.patches import BuildingPatches
from sarheight.buildings.stack import SAR_BANDS, band_statistics
from sarheight.learning.run import (
    EpochLoader,
    RunSettings,
    count_steps,
    fit,
    prepare_run,
    require_one_of,
    require_positive,
)
from sarheight.learning.split import require_disjoint
from sarheight.learning.weights import Channel

if TYPE_CHECKING:
    import os

    import xarray as xr

    from sarheight.buildings._networks import BuildingDistribution, HeightBins
    from sarheight.learning.split import Part

PUBLISHED_BANDS = ("B02", "B03", "B04", "B08", "B11")


@dataclass(frozen=True, kw_only=True)
class BuildingSettings(RunSettings):
    """Settings of a training run for building heights.

    Parameters
    ----------
    network, options
        See `sarheight.buildings.BuildingHeightEstimator`.
    weights : mapping of str
        Of ``mbhr``: files of public weights of ResNet50 by modality, with which training begins;
        see `sarheight.buildings.load_resnet_weights`.
    sar_bands, optical_bands : tuple of str
        Bands of the city stacks that the network sees; there may be none of one kind.
    months : int
        Months of a sample. With one, each month is an image of its own of the same heights; with
        twelve, they are one series.
    kept_months : int
        How many of them, drawn anew, a batch of training has; 0 takes all. Fewer cost less, and
        the network learns to do with what there is.
    drop_modality, drop_month : float
        Probability that a sample loses a modality, and that a modality loses an image.
    size, stride : int
        Of the patches for training in cells, and from one to the next.
    plateau : int
        Of ``mbhr``: epochs without a better validation after which the learning rate falls to a
        tenth.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. ``mbhr`` is trained by Adam, whose rate falls on a plateau. ``series`` is
        trained by AdamW, whose rate rises over the first tenth of the steps, and falls as a cosine
        to nothing.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    network: str = "series"
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    sar_bands: tuple[str, ...] = SAR_BANDS
    optical_bands: tuple[str, ...] = PUBLISHED_BANDS
    months: int = 12
    kept_months: int = 6
    drop_modality: float = 0.1
    drop_month: float = 0.1
    size: int = 64
    stride: int = 32
    plateau: int = 10
    epochs: int = 30
    patience: int = 30
    rate: float = 2e-3
    decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("sar_bands", "optical_bands"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(BUILDING_NETWORKS))
        require_positive(self, ("months", "size", "stride", "plateau"))
        chances = self.drop_modality, self.drop_month
        if not 0 <= self.kept_months <= self.months or not all(0.0 <= c <= 1.0 for c in chances):
            msg = (
                f"found kept_months={self.kept_months} of {self.months}, drop_modality and "
                f"drop_month {chances}; expected no more months than there are, and shares from 0 "
                "to 1"
            )
            raise ValueError(msg)

    @classmethod
    def published(cls, **others: Any) -> Self:  # noqa: ANN401  # any of the settings
        """Return the settings of the published network, apart from those given.

        Patches of one month, none lost, a batch of 16 patches, Adam at a rate of 1e-4. How many
        bands and how large a batch are not printed: the released code reads five bands. No limit of
        the gradient is printed either; here it is the usual one, unless ``clip=None`` takes it off.
        """
        usual: dict[str, Any] = {
            "network": "mbhr",
            "months": 1,
            "kept_months": 0,
            "drop_modality": 0.0,
            "drop_month": 0.0,
            "batch": 16,
            "epochs": 50,
            "patience": 20,
            "rate": 1e-4,
            "decay": 0.0,
        }
        return cls(**(usual | others))


# What training for building heights makes small.

LEAST_NORM = 1e-6
HEIGHTS_WEIGHT = 0.5
"""Of the heights' cross entropy, which is some three times those of yes and no."""


def regression_loss(height: Tensor, truth: Tensor, weights: tuple[float, float]) -> Tensor:
    r"""Measure squared error and shape of a patch, as the published network does.

    :math:`w_1 \overline{(\hat h - h)^2} + w_2 (1 - \cos(\hat h, h))`, where each patch is a vector
    for the cosine. Patches without any building have no direction, and count in the first term
    alone.

    Parameters
    ----------
    height, truth : Tensor, shape (batch, 1, rows, columns)
        Metres; what is NaN in either never counts.
    weights : tuple of float
        :math:`w_1` per square metre, and :math:`w_2`.

    Returns
    -------
    Tensor
        One number; 0 where nothing is known.

    References
    ----------
    Nascetti, A., Yadav, R. and Ban, Y. (2023). A CNN regression model to estimate buildings height
    maps using Sentinel-1 SAR and Sentinel-2 MSI time series. IGARSS, arXiv:2307.01378.
    """
    known = torch.isfinite(truth) & torch.isfinite(height)
    found = torch.where(known, height, 0.0).flatten(1)
    true = torch.where(known, truth, 0.0).flatten(1)
    square = ((found - true) ** 2).sum() / known.sum().clamp(min=1)
    built = true.norm(dim=1) > 0.0
    length = (found**2).sum(dim=1).clamp(min=LEAST_NORM**2).sqrt()
    cosine = (found * true).sum(dim=1) / (length * true.norm(dim=1).clamp(min=LEAST_NORM))
    away: Tensor = torch.where(built, 1.0 - cosine, 0.0).sum() / built.sum().clamp(min=1)
    return weights[0] * square + weights[1] * away


def distribution_loss(
    found: BuildingDistribution,
    mean: Tensor,
    bins: HeightBins,
    truth: Tensor,
    footprint: Tensor,
    unit: float,
) -> Tensor:
    """Measure how well a distribution tells where buildings are, and how high.

    The sum of: the cross entropy of whether a cell is built at all; that of the built share; half
    of that of the heights where there are buildings; and the squared error of the mean, in units.

    Parameters
    ----------
    found : BuildingDistribution
        The logits.
    mean : Tensor, shape (batch, 1, rows, columns)
        Mean heights in metres.
    bins : HeightBins
        Of the heights.
    truth, footprint : Tensor, shape (batch, 1, rows, columns)
        Heights in metres and built shares, NaN where they are not known.
    unit : float
        Metres.

    Returns
    -------
    Tensor
        One number; 0 where nothing is known.
    """
    known = torch.isfinite(truth)
    built = known & (truth > 0.0)
    error = torch.where(known, truth - mean, 0.0) / unit
    loss = (error**2).sum() / known.sum().clamp(min=1)
    loss = loss + _crossed(found.built, built.to(mean.dtype), known)
    loss = loss + _crossed(found.footprint, footprint, torch.isfinite(footprint))
    chances = log_softmax(found.heights, dim=1).movedim(1, -1)[built[:, 0]]
    surprise = -(bins.shares(truth[built]) * chances).sum()
    return loss + HEIGHTS_WEIGHT * surprise / built.sum().clamp(min=1)


def _crossed(logits: Tensor, share: Tensor, known: Tensor) -> Tensor:
    """Return the mean cross entropy of shares where they are known."""
    each = binary_cross_entropy_with_logits(
        logits, torch.where(known, share, 0.0), reduction="none"
    )
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


# Making chances honest: what a distribution states is what is found on held-out places.

LEVEL = 0.8
RANGE = (-2.0, 2.0)
"""Natural logarithms of the temperatures that are looked at."""
MOST = 200_000
"""Cells that are enough to find two numbers."""


def calibrate(
    estimator: BuildingHeightEstimator, batches: Iterable[dict[str, Tensor]]
) -> dict[str, float]:
    """Find the temperatures by which an estimator's chances come true.

    The logit of a building is divided by the temperature that makes held-out cells most likely.
    The logits of the heights are divided by that with which 80 % of the held-out buildings lie in
    the interval that is stated to hold 80 %. Then the standard deviation is multiplied by a factor
    with which its square is, on average over all cells, the squared error. The mean heights stay as
    they are.

    Parameters
    ----------
    estimator : BuildingHeightEstimator
        One that gives a distribution, in evaluation mode; gets the temperatures.
    batches : iterable of dict
        Samples with ``height``, that were not trained on; they are gone through twice.

    Returns
    -------
    dict
        ``coverage_80_before`` and ``coverage_80``, of the heights of buildings. Without any
        building it is empty, and the temperatures stay as they are.

    Raises
    ------
    ValueError
        If the batches can be gone through only once, or no estimate is uncertain.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On Calibration of Modern Neural
    Networks. ICML, arXiv:1706.04599.
    """
    logits, is_built, heights, truth = _collected(estimator, batches)
    if not truth.numel():
        return {}

    def surprise(logarithm: float) -> float:
        scaled = logits / torch.tensor(logarithm).exp()
        return float(binary_cross_entropy_with_logits(scaled, is_built))

    def coverage(logarithm: float) -> float:
        chances = softmax(heights / torch.tensor(logarithm).exp(), dim=1)
        limits = [
            estimator.bins.quantile(chances, torch.full_like(truth, part))
            for part in ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0)
        ]
        return float(((truth >= limits[0]) & (truth <= limits[1])).float().mean())

    best = minimize_scalar(surprise, bounds=RANGE, method="bounded").x
    ends = [coverage(end) - LEVEL for end in RANGE]
    # Where no temperature will do, the nearest is taken: coverage grows with it.
    wide = RANGE[0] if ends[0] > 0.0 else RANGE[1]
    if ends[0] < 0.0 < ends[1]:
        wide = brentq(lambda each: coverage(each) - LEVEL, *RANGE, xtol=1e-3)
    estimator.temperatures.copy_(torch.tensor([best, wide]).exp())
    estimator.sigma_factor.mul_(_factor(estimator, batches))
    return {"coverage_80_before": coverage(0.0), "coverage_80": coverage(wide)}


def _factor(estimator: BuildingHeightEstimator, batches: Iterable[dict[str, Tensor]]) -> Tensor:
    """Return the root of mean squared error over mean variance, as it is stated so far."""
    error, variance = torch.zeros(2, dtype=torch.float64)
    device = estimator.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            height, _, sigma = estimator({name: each.to(device) for name, each in batch.items()})
            truth = batch["height"].to(device)
            known = torch.isfinite(truth) & torch.isfinite(height)
            error += ((height - truth)[known] ** 2).sum().cpu()
            variance += (sigma[known] ** 2).sum().cpu()
    if not variance > 0.0:
        msg = (
            "found no stated variance in the batches, expected cells with one: batches must be "
            "such as can be gone through twice, a list or a loader"
        )
        raise ValueError(msg)
    return torch.sqrt(error / variance)


def _collected(
    estimator: BuildingHeightEstimator, batches: Iterable[dict[str, Tensor]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logit and truth of a building, of all cells; logits and truth of heights, of some."""
    parts: list[tuple[Tensor, ...]] = []
    count = 0
    device = estimator.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            found = estimator.distribution({name: each.to(device) for name, each in batch.items()})
            truth = batch["height"].to(device)
            known = torch.isfinite(truth)
            built = known & (truth > 0.0)
            heights = found.heights.movedim(1, -1)[built[:, 0]]
            parts.append(
                (found.built[known], (truth > 0.0)[known].float(), heights, truth[built][:, None])
            )
            count += int(known.sum())
            if count > MOST:
                break
    if not parts:
        empty = torch.empty(0)
        return empty, empty, empty, empty
    logits, is_built, heights, truth = (torch.cat(each) for each in zip(*parts, strict=True))
    return logits, is_built, heights, truth


# One step of training for building heights, and one of validation.

MONITORED = "validation_rmse"
WARM_UP = 0.1
"""Part of all steps over which the learning rate rises."""
FALL, LEAST_RATE = 0.1, 0.01
"""What is left of the rate after a plateau, and after all of them."""
BY_MONTH = ("sar", "optical", "sar_valid", "optical_valid", "month")

Sample = dict[str, Tensor]


class BuildingTask(lightning.LightningModule):
    """Training of an estimator of building heights."""

    def __init__(
        self,
        estimator: BuildingHeightEstimator,
        settings: BuildingSettings,
        steps: int,
        unit: float,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps, self.unit = settings, steps, unit
        self.everywhere, self.buildings = (MeanSquaredError(squared=False) for _ in range(2))

    def training_step(self, sample: Sample, index: int) -> Tensor:
        """Return the loss of a batch."""
        loss, _ = self._loss(self._kept(sample, index))
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=_size(sample))
        return loss

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Sum squared errors of a batch."""
        loss, height = self._loss(sample)
        self.log("validation_loss", loss, on_epoch=True, batch_size=_size(sample))
        known = torch.isfinite(sample["height"]) & torch.isfinite(height)
        for metric, where in (
            (self.everywhere, known),
            (self.buildings, known & (sample["height"] > 0.0)),
        ):
            if where.any():
                metric.update(height[where], sample["height"][where])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared errors in metres."""
        for metric, suffix in ((self.everywhere, ""), (self.buildings, "_buildings")):
            if metric.update_called:
                self.log(MONITORED + suffix, metric.compute(), prog_bar=True)
            metric.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up what the network is trained by, see `BuildingSettings`."""
        rate, decay = self.settings.rate, self.settings.decay
        if self.estimator.gives_distribution:
            weights = torch.optim.AdamW(self.parameters(), rate, weight_decay=decay)
            cosine = torch.optim.lr_scheduler.OneCycleLR(
                weights, rate, total_steps=max(self.steps, 2), pct_start=WARM_UP
            )
            return {"optimizer": weights, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        # Fused, a step of eighty million weights takes a fifth of the time.
        fused = self.settings.precision != "16-mixed"
        adam = torch.optim.Adam(self.parameters(), rate, weight_decay=decay, fused=fused)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            adam, factor=FALL, patience=self.settings.plateau, min_lr=LEAST_RATE * rate
        )
        return {
            "optimizer": adam,
            "lr_scheduler": {"scheduler": plateau, "monitor": MONITORED, "interval": "epoch"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002  # as Lightning has it
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        """Limit the gradient; Lightning's own way refuses fused optimisers."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _loss(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return the loss, and the heights in metres."""
        truth = sample["height"]
        if not self.estimator.gives_distribution:
            height = self.estimator(sample).height
            weights = VARIANTS[self.settings.options.get("variant", "paper")].weights
            return regression_loss(height, truth, weights), height.detach()
        found = self.estimator.distribution(sample)
        mean = self.estimator.mean(found)
        loss = distribution_loss(
            found, mean, self.estimator.bins, truth, sample["footprint"], self.unit
        )
        return loss, mean.detach()

    def _kept(self, sample: Sample, index: int) -> Sample:
        """Draw some of the months, by seed, epoch and number of the batch alone."""
        kept = self.settings.kept_months
        if not kept or kept >= sample["month"].shape[1]:
            return sample
        random = np.random.default_rng([self.settings.seed, self.current_epoch, index])
        months = np.sort(random.permutation(sample["month"].shape[1])[:kept]).tolist()
        return {
            name: each[:, months] if name in BY_MONTH else each for name, each in sample.items()
        }


def _size(sample: Sample) -> int:
    return int(sample["height"].shape[0])


# Training a network for building heights.

Places = Sequence[Sequence["Part"]]
REFERENCES = ("height", "footprint")
COUNTED = 200
"""Batches for training over which batch normalisation takes its statistics in the end."""


def train_buildings(
    stacks: Sequence[xr.Dataset],
    training: Places,
    validation: Places,
    settings: BuildingSettings,
    folder: str | os.PathLike[str],
    *,
    accelerator: str = "auto",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> BuildingHeightEstimator:
    """Train a network to estimate building heights.

    The folder gets ``settings.json``, the curves (``curves/metrics.csv``, and those for
    TensorBoard where it is installed), ``last.ckpt`` after each epoch, and at the end ``model``:
    the network of the epoch with the lowest validation RMSE. A network that gives a distribution
    is calibrated on the places of validation, see `calibrate`. One with batch normalisation gets
    statistics that are counted over batches for training alike, as Wu and Johnson (2021) advise:
    running ones forget what is rare, and a channel that was dark for some batches is blown up by
    orders of magnitude where it lights up in a place that the network has not seen. Called again
    with the same settings on a folder of an interrupted run, training goes on after its last
    complete epoch.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks with heights and footprints, see `sarheight.buildings.check_stack`.
    training, validation : sequence of sequence of Part
        For each stack the parts from which patches are taken, as `sarheight.buildings.blocks` deals
        them out; no part takes nothing of a city. They must not overlap.
    settings : BuildingSettings
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
    BuildingHeightEstimator
        That of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings, or weights to begin with do not fit.
    StackError
        If a stack is none.
    ValueError
        If parts do not pair with stacks or overlap, stacks give no patch, one patch of a single
        coarsest cell would make a batch alone, there is no building to learn from, or there is no
        such accelerator.
    OutputError
        If the model cannot be written.

    References
    ----------
    Wu, Y. and Johnson, J. (2021). Rethinking "Batch" in BatchNorm. arXiv:2105.07576, section 3.
    """
    require_disjoint(len(stacks), training, validation)
    finished = prepare_run(folder, settings, accelerator)
    if finished.exists():
        return BuildingHeightEstimator.from_pretrained(finished)
    patches = _patches(stacks, training, settings, for_training=True)
    held_out = _patches(stacks, validation, settings, for_training=False)
    heights, footprints = _truth(stacks, training)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimator = BuildingHeightEstimator(
            _channels(stacks, training, settings),
            network=settings.network,
            options=settings.options,
        )
        if estimator.gives_distribution:
            estimator.begin_at(heights, footprints)
        else:
            _require_values(len(patches), estimator.stride, settings)
        if settings.weights:
            estimator.load_encoders(settings.weights)
        loader = EpochLoader(patches, held_out, settings)
        best = fit(
            BuildingTask(estimator, settings, count_steps(patches, settings), float(heights.std())),
            loader,
            settings,
            folder,
            monitored=MONITORED,
            accelerator=accelerator,
            progress=progress,
        )
        update_bn(islice(loader.train_dataloader(), COUNTED), estimator)
    estimator.eval()
    figures = {} if best is None else {MONITORED: best}
    if estimator.gives_distribution:
        figures |= calibrate(estimator, loader.val_dataloader())
    estimator.save_pretrained(finished, card={**(card or {}), "training": figures})
    return estimator


def _patches(
    stacks: Sequence[xr.Dataset], within: Places, settings: BuildingSettings, *, for_training: bool
) -> BuildingPatches:
    return BuildingPatches(
        stacks,
        within=within,
        size=settings.size,
        stride=settings.stride if for_training else settings.size,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
        months=settings.months,
        augment=for_training,
        drop_modality=settings.drop_modality if for_training else 0.0,
        drop_month=settings.drop_month if for_training else 0.0,
        seed=settings.seed,
    )


def _channels(
    stacks: Sequence[xr.Dataset], within: Places, settings: BuildingSettings
) -> dict[str, list[Channel]]:
    """Describe the bands, normalised by the places of training alone."""
    found = band_statistics(
        stacks,
        within=within,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
    )
    return {name: [Channel(**band) for band in bands] for name, bands in found.items()}


def _require_values(patches: int, stride: int, settings: BuildingSettings) -> None:
    """Refuse a batch in which batch normalisation would find one value to a channel."""
    if settings.size == stride and patches % settings.batch == 1:
        msg = (
            f"found {patches} patches of {stride} cells in batches of {settings.batch}, which "
            "leaves one alone, too little for batch normalisation: choose another batch, or a "
            f"size of {2 * stride}"
        )
        raise ValueError(msg)


def _truth(stacks: Sequence[xr.Dataset], within: Places) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the heights and built shares to learn from, where both are known."""
    pieces = [
        part.of(stack)[list(REFERENCES)].to_array().values.reshape(2, -1)
        for stack, parts in zip(stacks, within, strict=True)
        for part in parts
        if set(REFERENCES) <= set(stack)
    ]
    values = np.concatenate([np.empty((2, 0)), *pieces], axis=1)
    known = values[:, np.isfinite(values).all(axis=0)]
    if not (known[0] > 0.0).any():
        msg = (
            f"found no building among {known.shape[1]} cells with heights and footprints for "
            "training, expected some: check the reference, or take other places"
        )
        raise ValueError(msg)
    heights, footprints = torch.from_numpy(known).float()
    return heights, footprints
