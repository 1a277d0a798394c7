"""Training a network for building heights: settings, losses, calibration, runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from sarheight.buildings.distributions import TYPICAL
from sarheight.buildings.estimators import BUILDING_NETWORKS, BuildingHeightEstimator
from sarheight.buildings.patches import BuildingPatches
from sarheight.buildings.stack import REFERENCE, SAR_BANDS, band_statistics
from sarheight.learning.channels import Channel
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
from sarheight.learning.split import require_disjoint

if TYPE_CHECKING:
    import os

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.buildings.distributions import BuildingDistribution, HeightBins
    from sarheight.learning.split import Part

PUBLISHED_BANDS = ("B02", "B03", "B04", "B08", "B11")
MONITORED = "validation_rmse"


@dataclass(frozen=True, kw_only=True)
class BuildingSettings(RunSettings):
    """Settings of a training run for building heights.

    Parameters
    ----------
    network, options
        See `sarheight.buildings.BuildingHeightEstimator`.
    weights : mapping of str
        Of ``mbhr``: files of initial public weights of ResNet50 by modality; see
        `sarheight.buildings.load_resnet_weights`.
    sar_bands, optical_bands : tuple of str
        Bands of the city stacks that the network takes; there may be none of one kind.
    months : int
        Months of a sample. With one, each month is a sample of the same heights; with twelve, they
        are one series.
    kept_months : int
        Months of a batch of training, drawn at random from those of a sample; 0 takes all. Fewer
        cost less, and the network learns to deal with gaps.
    drop_modality, drop_month : float
        Probability that a sample loses a modality, and that a modality loses an image.
    size, stride : int
        Cells along a side of the patches for training, and from one to the next.
    plateau : int
        Of ``mbhr``: epochs without a better validation after which the learning rate is divided by
        ten.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. ``mbhr`` is trained by Adam, whose rate falls on a plateau; ``series`` by
        AdamW, whose rate rises over the first tenth of the steps and falls as a cosine to zero.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
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
        drops = self.drop_modality, self.drop_month
        if not 0 <= self.kept_months <= self.months or not all(0.0 <= p <= 1.0 for p in drops):
            msg = (
                f"found kept_months={self.kept_months} of {self.months}, drop_modality and "
                f"drop_month {drops}; expected no more months than a sample has, and probabilities "
                "from 0 to 1"
            )
            raise ValueError(msg)

    @classmethod
    def published(cls, **others: Any) -> Self:  # noqa: ANN401  # any of the settings
        """Return the settings of the published network, except for those in `others`.

        Patches of one month, none dropped, a batch of 16 patches, Adam at a rate of 1e-4. The paper
        states neither bands nor batch: the released code reads five bands. It states no gradient
        clipping either; here it is the default one, unless ``clip=None`` switches it off.
        """
        published: dict[str, Any] = {
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
        return cls(**(published | others))


# Losses.

MIN_NORM = 1e-6
HEIGHTS_WEIGHT = 0.5
"""Of the cross entropy of the heights, which is some three times the binary ones."""


def regression_loss(height: Tensor, truth: Tensor, weights: tuple[float, float]) -> Tensor:
    r"""Return squared error and cosine distance, as the published network minimises them.

    :math:`w_1 \overline{(\hat h - h)^2} + w_2 (1 - \cos(\hat h, h))`, of metres in shape (batch, 1,
    rows, columns), where each patch is a vector for the cosine. Cells that are NaN in either do not
    count, and patches without a building, which have no direction, in the first term alone.
    Source: Nascetti, A., Yadav, R. and Ban, Y. (2023), IGARSS, arXiv:2307.01378.
    """
    known = torch.isfinite(truth) & torch.isfinite(height)
    estimate = torch.where(known, height, 0.0).flatten(1)
    true = torch.where(known, truth, 0.0).flatten(1)
    square = ((estimate - true) ** 2).sum() / known.sum().clamp(min=1)
    built = true.norm(dim=1) > 0.0
    # The norm as a clamped square: its gradient is finite at 0.
    length = (estimate**2).sum(dim=1).clamp(min=MIN_NORM**2).sqrt()
    cosine = (estimate * true).sum(dim=1) / (length * true.norm(dim=1).clamp(min=MIN_NORM))
    distance: Tensor = torch.where(built, 1.0 - cosine, 0.0).sum() / built.sum().clamp(min=1)
    return weights[0] * square + weights[1] * distance


def distribution_loss(
    distribution: BuildingDistribution,
    mean: Tensor,
    bins: HeightBins,
    truth: Tensor,
    footprint: Tensor,
    unit: float,
) -> Tensor:
    """Return the loss of a distribution of heights; NaN in `truth` or `footprint` does not count.

    The sum of the cross entropies of built cells, of the built share and (halved) of the heights of
    buildings, and of the squared error of the mean in units of `unit` metres. Maps have shape
    (batch, 1, rows, columns).
    """
    known = torch.isfinite(truth)
    built = known & (truth > 0.0)
    error = torch.where(known, truth - mean, 0.0) / unit
    loss = (error**2).sum() / known.sum().clamp(min=1)
    loss = loss + _binary_cross_entropy(distribution.built, built.to(mean.dtype), known)
    loss = loss + _binary_cross_entropy(
        distribution.footprint, footprint, torch.isfinite(footprint)
    )
    log_probabilities = log_softmax(distribution.heights, dim=1).movedim(1, -1)[built[:, 0]]
    cross_entropy = -(bins.soft_labels(truth[built]) * log_probabilities).sum()
    return loss + HEIGHTS_WEIGHT * cross_entropy / built.sum().clamp(min=1)


def _binary_cross_entropy(logits: Tensor, share: Tensor, known: Tensor) -> Tensor:
    """Return the mean cross entropy of shares where they are known."""
    each = binary_cross_entropy_with_logits(
        logits, torch.where(known, share, 0.0), reduction="none"
    )
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


# Calibration on held-out places.

LEVEL = 0.8
RANGE = (-2.0, 2.0)
"""Bounds of the natural logarithms of the temperatures."""
STEPS = 17
"""Temperatures that are tried between them."""
MAX_CELLS = 500_000
"""Cells that suffice to fit a few numbers."""
LEAST_CELLS = 300
"""Cells of a class of height from which its own calibration is fitted."""
NOVELTY_CELLS, NOVELTY_STEP = 400, 7
"""Cells of a batch that are drawn for the novelty, and one in so many for its limit."""

Sample = dict[str, Tensor]


def calibrate(estimator: BuildingHeightEstimator, batches: Iterable[Sample]) -> dict[str, float]:
    """Fit temperatures and factors of the standard deviation on held-out places.

    The logit of a building is divided by the temperature of maximum likelihood. Those of the
    heights are divided by the one at which the 80 % intervals of buildings hold 80 % of them,
    class by class of the estimated height (`HEIGHT_CLASSES`); a class with fewer than `LEAST_CELLS`
    buildings takes the temperature of all, or of the class below where that is wider. The standard
    deviation is scaled so that its mean square is the mean squared error in the class. Mean heights
    stay. Returns ``coverage_80_before`` and ``coverage_80`` of buildings, nothing where there are
    none. Source: Guo, C. et al. (2017), ICML, arXiv:1706.04599.
    """
    network = estimator.distribution_network
    logits, is_built, heights, truth = _collect_logits(estimator, batches)
    if not truth.numel():
        return {}

    def negative_log_likelihood(logarithm: float) -> float:
        scaled = logits / torch.tensor(logarithm).exp()
        return float(binary_cross_entropy_with_logits(scaled, is_built))

    best = minimize_scalar(negative_log_likelihood, bounds=RANGE, method="bounded").x
    common = _width(network.bins, heights, truth)
    classes = network.height_class(heights)[:, 0]
    widths = []
    for number in range(len(network.sigma_factors)):
        chosen = classes == number
        if int(chosen.sum()) >= LEAST_CELLS:
            widths.append(_width(network.bins, heights[chosen], truth[chosen]))
        else:
            widths.append(max([common, *widths[-1:]]))
    network.temperatures.copy_(torch.tensor([best, *widths]).exp())
    _scale_sigma(estimator, batches)
    held = _held(network.bins, heights, truth, torch.tensor(widths)[classes].exp()[:, None])
    return {
        "coverage_80_before": float(_held(network.bins, heights, truth, 1.0).float().mean()),
        "coverage_80": float(held.float().mean()),
    }


def _held(bins: HeightBins, heights: Tensor, truth: Tensor, width: Tensor | float) -> Tensor:
    """Tell which heights lie in their 80 % interval with logits divided by `width`."""
    probabilities = softmax(heights / width, dim=1)
    lower, upper = (
        bins.quantile(probabilities, torch.full_like(truth, quantile))
        for quantile in ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0)
    )
    return (truth >= lower) & (truth <= upper)


def _width(bins: HeightBins, heights: Tensor, truth: Tensor) -> float:
    """Return the logarithm of the temperature at which 80 % intervals hold 80 %."""

    def excess(logarithm: float) -> float:
        width = torch.tensor(logarithm).exp()
        return float(_held(bins, heights, truth, width).float().mean()) - LEVEL

    # Coverage grows with the temperature until the distribution is so flat that its interval leaves
    # out the lowest heights. Where nothing gives 80 %, the temperature nearest to it is taken.
    tried = np.linspace(*RANGE, STEPS)
    found = np.array([excess(each) for each in tried.tolist()])
    rising = np.flatnonzero((found[:-1] < 0.0) & (found[1:] >= 0.0))
    if not rising.size:
        return float(tried[np.argmin(np.abs(found))])
    first = int(rising[0])
    return float(brentq(excess, tried[first], tried[first + 1], xtol=1e-3))


def _scale_sigma(estimator: BuildingHeightEstimator, batches: Iterable[Sample]) -> None:
    """Scale the standard deviation by class so that its mean square is the mean squared error."""
    network = estimator.distribution_network
    count = len(network.sigma_factors)
    error, variance = (torch.zeros(count, dtype=torch.float64) for _ in range(2))
    cells = torch.zeros(count, dtype=torch.int64)
    device = network.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            estimate = estimator({name: each.to(device) for name, each in batch.items()})
            truth, height = batch["height"].to(device), estimate.height
            known = torch.isfinite(truth) & torch.isfinite(height)
            classes = torch.bucketize(height[known], network.class_edges).cpu()
            squares = (height - truth)[known].double() ** 2, estimate.sigma[known].double() ** 2
            error += torch.bincount(classes, squares[0].cpu(), count)
            variance += torch.bincount(classes, squares[1].cpu(), count)
            cells += torch.bincount(classes, minlength=count)
    if not variance.sum() > 0.0:
        msg = (
            "found no estimated variance in the batches, expected cells with one: pass a list or a "
            "loader, which can be iterated twice"
        )
        raise ValueError(msg)
    common = torch.sqrt(error.sum() / variance.sum())
    each = torch.sqrt(error / variance.clamp(min=1e-12))
    for number in range(count):
        known_well = cells[number] >= LEAST_CELLS and variance[number] > 0.0
        # Classes with few cells: no less uncertain than all cells, or than the class below.
        below = network.sigma_factors.new_tensor(1.0) if number == 0 else each[number - 1]
        each[number] = each[number] if known_well else torch.maximum(common, below)
    network.sigma_factors.mul_(each.to(network.sigma_factors))


def learn_novelty(
    estimator: BuildingHeightEstimator,
    training: Iterable[Sample],
    validation: Iterable[Sample],
    seed: int = 0,
) -> None:
    """Show the images of training to the estimator's `ImageNovelty`, and set what counts as 1.

    Of each batch some hundred cells are drawn in which all modalities have images.
    """
    novelty = estimator.distribution_network.novelty
    random = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float32]]] = {name: [] for name in novelty.sizes}
    with torch.inference_mode():
        for batch in training:
            images, valid, _ = estimator.inputs(batch)
            found = novelty.features(images, valid)
            seen = torch.stack([each for _, each in found.values()]).all(dim=0)[:, 0]
            places = np.flatnonzero(seen.flatten().numpy())
            places = random.permutation(places)[:NOVELTY_CELLS]
            for name, (features, _) in found.items():
                drawn[name].append(features.movedim(1, -1).flatten(0, 2).numpy()[places])
        values = {name: np.concatenate(each) for name, each in drawn.items()}
        if not len(next(iter(values.values()))):
            return  # without a place that all modalities see, nothing is typical
        novelty.learn(values, seed)
        distances = [
            novelty(*estimator.inputs(batch)[:2]).flatten()[::NOVELTY_STEP] for batch in validation
        ]
    typical = torch.cat(distances)
    typical = typical[torch.isfinite(typical)]
    if typical.numel():
        novelty.limit.fill_(float(np.quantile(typical.numpy(), TYPICAL)))


def _collect_logits(
    estimator: BuildingHeightEstimator, batches: Iterable[Sample]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits and truth of built cells, then logits and truth of the heights of buildings."""
    parts: list[tuple[Tensor, ...]] = []
    count = 0
    device = estimator.distribution_network.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            sample = {name: each.to(device) for name, each in batch.items()}
            distribution = estimator.distribution(sample)
            truth = sample["height"]
            known = torch.isfinite(truth)
            built = known & (truth > 0.0)
            heights = distribution.heights.movedim(1, -1)[built[:, 0]]
            parts.append(
                (distribution.built[known], built[known].float(), heights, truth[built][:, None])
            )
            count += int(known.sum())
            if count > MAX_CELLS:
                break
    if not parts:
        empty = torch.empty(0)
        return empty, empty, empty, empty
    logits, is_built, heights, truth = (torch.cat(each) for each in zip(*parts, strict=True))
    return logits, is_built, heights, truth


# Steps of training and validation.

PLATEAU_FACTOR, MIN_RATE = 0.1, 0.01
"""Factor of the learning rate at a plateau, and the lowest rate as a share of the first."""
BY_MONTH = ("sar", "optical", "sar_valid", "optical_valid", "month")


class BuildingTask(lightning.LightningModule):
    """Training of an estimator of building heights."""

    def __init__(
        self,
        estimator: BuildingHeightEstimator,
        settings: BuildingSettings,
        steps: int,
        unit: float,
        statistics: Callable[[], Iterable[Sample]] | None = None,
    ) -> None:
        super().__init__()
        self.statistics = statistics
        self.estimator = estimator
        estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps, self.unit = settings, steps, unit
        self.all_cells, self.buildings = (MeanSquaredError(squared=False) for _ in range(2))

    def training_step(self, sample: Sample, index: int) -> Tensor:
        """Return the loss of a batch."""
        loss, _ = self._loss(self._draw_months(sample, index))
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=_size(sample))
        return loss

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Accumulate squared errors of a batch."""
        loss, height = self._loss(sample)
        self.log("validation_loss", loss, on_epoch=True, batch_size=_size(sample))
        known = torch.isfinite(sample["height"]) & torch.isfinite(height)
        for metric, where in (
            (self.all_cells, known),
            (self.buildings, known & (sample["height"] > 0.0)),
        ):
            if where.any():
                metric.update(height[where], sample["height"][where])

    def on_validation_epoch_start(self) -> None:
        """Take the statistics of batch normalisation of the published network over training.

        They belong to the epoch that is validated, and are saved with it.
        """
        if not self.estimator.gives_distribution and self.statistics is not None:
            update_bn(islice(self.statistics(), EPOCH_STATISTICS_BATCHES), self.estimator)
            self.estimator.eval()

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared errors in metres."""
        for metric, suffix in ((self.all_cells, ""), (self.buildings, "_buildings")):
            if metric.update_called:
                self.log(MONITORED + suffix, metric.compute(), prog_bar=True)
            metric.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Return optimiser and schedule, see `BuildingSettings`."""
        settings = self.settings
        if self.estimator.gives_distribution:
            return one_cycle_adamw(self.parameters(), settings, self.steps)
        # Fused, a step of eighty million weights takes a fifth of the time.
        adam = torch.optim.Adam(
            self.parameters(),
            settings.rate,
            weight_decay=settings.decay,
            fused=settings.precision != "16-mixed",
        )
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            adam,
            factor=PLATEAU_FACTOR,
            patience=settings.plateau,
            min_lr=MIN_RATE * settings.rate,
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
        """Clip the gradient; Lightning's own implementation refuses fused optimisers."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _loss(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return the loss, and the heights in metres."""
        truth = sample["height"]
        if not self.estimator.gives_distribution:
            height = self.estimator(sample).height
            weights = VARIANTS[self.settings.options.get("variant", "paper")].weights
            return regression_loss(height, truth, weights), height.detach()
        network = self.estimator.distribution_network
        distribution = self.estimator.distribution(sample)
        mean = network.mean(distribution)
        footprint = sample["footprint"]
        loss = distribution_loss(distribution, mean, network.bins, truth, footprint, self.unit)
        return loss, mean.detach()

    def _draw_months(self, sample: Sample, index: int) -> Sample:
        """Draw some of the months, from seed, epoch and index of the batch alone."""
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


# Runs.

Places = Sequence[Sequence["Part"]]
STATISTICS_BATCHES = 200
"""Batches for training over which the final statistics of batch normalisation are taken."""
EPOCH_STATISTICS_BATCHES = 24
"""The same before each validation of the published network, which needs them to be of the epoch."""


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
    the network of the epoch with the lowest validation RMSE. An interrupted run is resumed by the
    same call, after its last complete epoch.

    A network with a distribution is calibrated on the places of validation, by class of height:
    temperatures of its probabilities, and factors of its standard deviation; and it learns what
    images of training look like. The statistics of batch normalisation are taken anew over batches
    for training, all weighted equally, as Wu and Johnson (2021) advise: running averages forget
    rare activations, and a channel that was inactive in the last batches is amplified by orders of
    magnitude where it is active in a new place. The published network gets them before each
    validation, so that the best epoch is chosen with the statistics that it keeps.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks with heights and footprints, see `sarheight.buildings.check_stack`.
    training, validation : sequence of sequence of Part
        For each stack the parts from which patches are taken, as `sarheight.buildings.split_blocks`
        returns them; none for a city that is not used. They must not overlap.
    settings : BuildingSettings
        Network and settings of the run.
    folder : path-like
        Folder of the run; created if missing.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        Further information to store with the model.

    Returns
    -------
    BuildingHeightEstimator
        The network of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings, or initial weights do not fit.
    StackError
        If a stack is no city stack.
    ValueError
        If parts do not pair with stacks or overlap, stacks give no patch, one patch of a single
        coarsest cell would be a batch of its own, there is no building to learn from, or there is
        no such accelerator.
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
    heights, footprints = _reference_values(stacks, training)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimator = BuildingHeightEstimator(
            _channels(stacks, training, settings),
            network=settings.network,
            options=settings.options,
        )
        if estimator.gives_distribution:
            estimator.distribution_network.initialise(heights, footprints)
        else:
            _require_batches(len(patches), estimator.stride, settings)
        if settings.weights:
            estimator.load_encoders(settings.weights)
        loader = EpochLoader(patches, held_out, settings)
        best = fit(
            BuildingTask(
                estimator,
                settings,
                count_steps(patches, settings),
                float(heights.std()),
                loader.train_dataloader,
            ),
            loader,
            settings,
            folder,
            monitored=MONITORED,
            accelerator=accelerator,
            progress=progress,
        )
        if estimator.gives_distribution:
            update_bn(islice(loader.train_dataloader(), STATISTICS_BATCHES), estimator)
    estimator.eval()
    figures = {} if best is None else {MONITORED: best}
    if estimator.gives_distribution:
        learn_novelty(
            estimator,
            islice(loader.train_dataloader(), STATISTICS_BATCHES),
            loader.val_dataloader(),
            settings.seed,
        )
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
    """Return the bands, normalised by the places of training alone."""
    statistics = band_statistics(
        stacks,
        within=within,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
    )
    return {name: [Channel(**band) for band in bands] for name, bands in statistics.items()}


def _require_batches(patches: int, stride: int, settings: BuildingSettings) -> None:
    """Raise where batch normalisation would get a batch with one value for each channel."""
    if settings.size == stride and patches % settings.batch == 1:
        msg = (
            f"found {patches} patches of {stride} cells in batches of {settings.batch}, which "
            "leaves one alone, too few for batch normalisation: choose another batch, or a "
            f"size of {2 * stride}"
        )
        raise ValueError(msg)


def _reference_values(stacks: Sequence[xr.Dataset], within: Places) -> tuple[Tensor, Tensor]:
    """Return heights and built shares for training, where both are known."""
    pieces = [
        part.of(stack)[list(REFERENCE)].to_array().values.reshape(2, -1)
        for stack, parts in zip(stacks, within, strict=True)
        for part in parts
        if set(REFERENCE) <= set(stack)
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
