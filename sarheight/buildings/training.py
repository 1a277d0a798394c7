"""Training of networks for building heights by `sarheight.learning.train`.

Statistics of batch normalisation are taken anew over batches for training, all weighted equally, as
Wu and Johnson (2021) advise: running averages forget rare activations, and a channel that was
inactive in the last batches is amplified by orders of magnitude where it is active in a new place.
MBHR-Net gets them before each validation, so that the best epoch is chosen with the statistics that
it keeps; the network for series gets them at the end.

Wu, Y. and Johnson, J. (2021). Rethinking "Batch" in BatchNorm. arXiv:2105.07576, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, cast, get_args

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softmax
from torch.optim.swa_utils import update_bn

from sarheight.buildings.distributions import TYPICAL, HeightBins, distribution_loss
from sarheight.buildings.estimators import BUILDING_NETWORKS, BuildingHeightEstimator
from sarheight.buildings.mbhr import OPTICAL_BANDS, Vectors, published, regression_loss
from sarheight.buildings.patches import BuildingPatches
from sarheight.buildings.stack import REFERENCE, SAR_BANDS, band_statistics
from sarheight.learning.settings import RunSettings, require_one_of, require_positive
from sarheight.learning.split import require_disjoint
from sarheight.learning.training import EpochLoader, RootMeanSquaredError, Sample, Task, seeded

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.learning.split import Part

MONITORED = ("validation_rmse", "validation_loss")


@dataclass(frozen=True, kw_only=True)
class BuildingSettings(RunSettings):
    """Settings of a training run for building heights.

    The defaults are those of our network for series; `published` returns those of MBHR-Net.

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
    monitored : {"validation_rmse", "validation_loss"}
        What selects the best epoch, and what plateau and early stopping go by.
    vectors : {"patch", "column"}
        Of the loss of ``mbhr``, see `sarheight.buildings.regression_loss`.
    batch, epochs, patience, keep, optimiser, rate, schedule, plateau, least_rate, decay, clip
        See `sarheight.learning.RunSettings`.
    precision, threads, workers, seed
        See `sarheight.learning.RunSettings`.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
    """

    network: str = "series"
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    sar_bands: tuple[str, ...] = SAR_BANDS
    optical_bands: tuple[str, ...] = OPTICAL_BANDS
    months: int = 12
    kept_months: int = 6
    drop_modality: float = 0.1
    drop_month: float = 0.1
    size: int = 64
    stride: int = 32
    monitored: str = "validation_rmse"
    vectors: Vectors = "patch"
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
        require_one_of("monitored", self.monitored, MONITORED)
        require_one_of("vectors", self.vectors, get_args(Vectors))
        require_positive(self, ("months", "size", "stride"))
        drops = self.drop_modality, self.drop_month
        if not 0 <= self.kept_months <= self.months or not all(0.0 <= p <= 1.0 for p in drops):
            msg = (
                f"found kept_months={self.kept_months} of {self.months}, drop_modality and "
                f"drop_month {drops}; expected no more months than a sample has, and probabilities "
                "from 0 to 1"
            )
            raise ValueError(msg)

    @classmethod
    def published(cls, variant: str = "printed", **others: Any) -> Self:  # noqa: ANN401
        """Return the settings of a variant of MBHR-Net, except for those in `others`.

        Parameters
        ----------
        variant : {"printed", "released", "ours"}
            See `sarheight.buildings.mbhr`.
        **others
            Settings that replace those of the variant.
        """
        return cls(**(published(variant) | others))


# Steps of training and validation.

BY_MONTH = ("sar", "optical", "sar_valid", "optical_valid", "month")
STATISTICS_BATCHES = 200
"""Batches for training over which the final statistics of batch normalisation are taken."""
EPOCH_STATISTICS_BATCHES = 24
"""Batches for training over which they are taken before each validation of MBHR-Net."""


class BuildingTask(Task[BuildingHeightEstimator]):
    """Training of an estimator of building heights.

    Parameters
    ----------
    network : BuildingHeightEstimator
        What is trained.
    settings : BuildingSettings
        Of the run.
    unit : float
        Standard deviation of the heights for training in metres.
    """

    settings: BuildingSettings

    def __init__(
        self, network: BuildingHeightEstimator, settings: BuildingSettings, unit: float
    ) -> None:
        in_buildings = RootMeanSquaredError(mask="built")
        metrics = {"rmse": RootMeanSquaredError(), "rmse_buildings": in_buildings}
        super().__init__(network, settings, metrics)
        self.monitored, self.unit = settings.monitored, unit

    def forward(self, sample: Sample) -> Any:  # noqa: ANN401
        """Return the heights in metres, and their distribution where there is one."""
        if not self.network.gives_distribution:
            return self.network(sample).height, None
        distribution = self.network.distribution(sample)
        return self.network.distribution_network.mean(distribution), distribution

    def loss(self, output: Any, sample: Sample) -> Tensor:  # noqa: ANN401
        """Return the loss of MBHR-Net, or of a distribution."""
        (height, distribution), truth = output, sample["height"]
        if distribution is None:
            weights = self.network.mbhr_network.variant.weights
            return regression_loss(height, truth, weights, self.settings.vectors)
        bins = self.network.distribution_network.bins
        return distribution_loss(distribution, height, bins, truth, sample["footprint"], self.unit)

    def measure(self, output: Any, sample: Sample) -> None:  # noqa: ANN401
        """Add a batch to the errors."""
        truth = sample["height"]
        self.metrics.update(output[0].detach(), truth, built=truth > 0.0)

    def training_step(self, sample: Sample, index: int) -> Tensor:
        """Return the loss of a batch, of some of its months."""
        return super().training_step(self._draw_months(sample, index), index)

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

    def on_validation_epoch_start(self) -> None:
        """Take the statistics of batch normalisation of MBHR-Net over training."""
        if not self.network.gives_distribution:
            data = cast("EpochLoader", self.trainer.datamodule)  # type: ignore[attr-defined]
            self._take_statistics(data, EPOCH_STATISTICS_BATCHES)

    def calibrate(self, data: EpochLoader) -> dict[str, float]:
        """Finish a network with a distribution; return how often its intervals hold."""
        if not self.network.gives_distribution:
            return {}
        self._take_statistics(data, STATISTICS_BATCHES)
        batches = islice(data.train_dataloader(), STATISTICS_BATCHES)
        learn_novelty(self.network, batches, data.val_dataloader(), self.settings.seed)
        return calibrate(self.network, data.val_dataloader())

    def _take_statistics(self, data: EpochLoader, batches: int) -> None:
        def there() -> Iterator[Sample]:
            for batch in islice(data.train_dataloader(), batches):
                yield {name: each.to(self.device) for name, each in batch.items()}

        update_bn(there(), self.network)
        self.network.eval()


# Preparing a run.

Places = Sequence[Sequence["Part"]]


def building_task(
    stacks: Sequence[xr.Dataset],
    training: Places,
    validation: Places,
    settings: BuildingSettings,
) -> tuple[BuildingTask, BuildingPatches, BuildingPatches]:
    """Prepare the training of a network for building heights.

    .. code-block:: python

        result = learning.train(*buildings.building_task(stacks, here, there, settings), "run")

    A network with a distribution is calibrated on the places of validation, by class of height:
    temperatures of its probabilities, and factors of its standard deviation; and it learns what
    images of training look like.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks with heights and footprints, see `sarheight.buildings.check_stack`.
    training, validation : sequence of sequence of Part
        For each stack the parts from which patches are taken, as `sarheight.buildings.split_blocks`
        returns them; none for a city that is not used. They must not overlap.
    settings : BuildingSettings
        Network and settings of the run.

    Returns
    -------
    BuildingTask, BuildingPatches, BuildingPatches
        The task with a network of random or public weights, and the patches for training and for
        validation: arguments of `sarheight.learning.train`.

    Raises
    ------
    CheckpointError
        If initial weights do not fit.
    StackError
        If a stack is no city stack.
    ValueError
        If parts do not pair with stacks or overlap, stacks give no patch, or there is no building
        to learn from.
    """
    require_disjoint(len(stacks), training, validation)
    patches = _patches(stacks, training, settings, for_training=True)
    held_out = _patches(stacks, validation, settings, for_training=False)
    heights, footprints = _reference_values(stacks, training)
    channels = band_statistics(
        stacks,
        within=training,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
    )
    with seeded(settings.seed):
        network = BuildingHeightEstimator(
            channels, network=settings.network, options=settings.options
        )
        if network.gives_distribution:
            network.distribution_network.initialise(heights, footprints)
        if settings.weights:
            network.load_encoders(settings.weights)
    return BuildingTask(network, settings, float(heights.std())), patches, held_out


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


# Calibration on places that the network was not trained on.

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
