"""Heights of places from a table of features: estimator and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from sarheight.buildings.distributions import HeightBins
from sarheight.buildings.training import MONITORED
from sarheight.learning.channels import Channel
from sarheight.learning.run import (
    EpochLoader,
    Precision,
    RunSettings,
    count_steps,
    fit,
    one_cycle_adamw,
    prepare_run,
)
from sarheight.learning.weights import Pretrained

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray


class TabularEstimate(NamedTuple):
    """Estimate of heights from features."""

    height: Tensor  # means of the distributions in metres, shape (places,)
    sigma: Tensor  # their standard deviations in metres, shape (places,)
    logits: Tensor  # distributions of the members, shape (places, members, bins)


class _Members(nn.Module):
    """A factor for each member and channel: the only weights that members do not share."""

    def __init__(self, members: int, channels: int, spread: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(1.0 + spread * torch.randn(members, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale features, shape (places, 1 or members, channels)."""
        return x * self.factor


class TabularHeightEstimator(Pretrained):
    r"""An ensemble of small networks that share most of their weights.

    Features are normalised; a multilayer perceptron follows, whose inputs and hidden features each
    member scales by factors of its own. Each member returns a distribution over fixed heights; the
    estimate is the mean over members and heights. With distributions the few tall buildings do not
    dominate training, as they do with squared errors, and there is an uncertainty.

    Parameters
    ----------
    features : sequence of Channel
        Features of a place, in their order in the input.
    width, depth : int
        Channels and layers of the perceptron.
    members : int
        Members of the ensemble.
    dropout : float
        Share of the hidden features that is dropped in training.
    bins : mapping, optional
        Distribution of heights: count, lowest and highest in metres.

    Raises
    ------
    ValueError
        If there is no feature, or a number is out of its range.

    References
    ----------
    Gorishniy, Y., Kotelnikov, A. and Babenko, A. (2025). TabM: advancing tabular deep learning
    with parameter-efficient ensembling. ICLR, arXiv:2410.24210.
    """

    kind: ClassVar[str] = "heights from features"

    def __init__(
        self,
        features: Sequence[Channel],
        *,
        width: int = 96,
        depth: int = 2,
        members: int = 8,
        dropout: float = 0.3,
        bins: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not features or min(width, depth, members) < 1 or not 0.0 <= dropout < 1.0:
            msg = (
                f"found {len(features)} features, {width=}, {depth=}, {members=}, {dropout=}; "
                "expected at least one feature, whole numbers of at least 1, and a share below 1"
            )
            raise ValueError(msg)
        self.features = tuple(features)
        self.options: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "members": members,
            "dropout": dropout,
            "bins": dict(bins or {}),
        }
        self.bins = HeightBins(**self.options["bins"])
        layers: list[nn.Module] = [_Members(members, len(features), 0.3)]
        for before in (len(features), *[width] * (depth - 1)):
            layers += [nn.Linear(before, width), nn.ReLU(), _Members(members, width, 0.1)]
            layers.append(nn.Dropout(dropout))
        self.network = nn.Sequential(*layers)
        count = len(self.bins.values)
        self.head = nn.Parameter(0.3 * width**-0.5 * torch.randn(members, width, count))
        self.bias = nn.Parameter(torch.zeros(members, count))

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of this estimator, in JSON's types."""
        return {"features": [each.as_dict() for each in self.features], **self.options}

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make an estimator of a `configuration`, with random weights."""
        rest = dict(configuration)
        features = [Channel(**feature) for feature in rest.pop("features")]
        return cls(features, **rest)

    def forward(self, values: Tensor) -> TabularEstimate:
        """Estimate heights.

        Parameters
        ----------
        values : Tensor, shape (places, features)
                In the units of `features`, NaN where there is no value.

        Returns
        -------
        TabularEstimate
            ``height`` and ``sigma``, the mean and standard deviation in metres, shape (places,);
            ``logits`` of each member of the ensemble, shape (places, members, bins).

        Raises
        ------
        ValueError
            If the number of features differs.
        """
        if values.ndim != 2 or values.shape[1] != len(self.features):
            names = ", ".join(feature.name for feature in self.features)
            msg = (
                f"found values of shape {tuple(values.shape)}, expected (places, features): {names}"
            )
            raise ValueError(msg)
        parts = [each.normalise(values[:, k]) for k, each in enumerate(self.features)]
        hidden = self.network(torch.stack(parts, dim=1)[:, None])
        logits = torch.einsum("pmw,mwb->pmb", hidden, self.head) + self.bias
        probabilities = torch.softmax(logits.float(), dim=-1).mean(dim=1)
        height = self.bins.mean(probabilities)
        variance = self.bins.mean_square_deviation(probabilities, height)
        return TabularEstimate(height[:, 0], variance[:, 0].clamp(min=0.0).sqrt(), logits.float())


# Training.


@dataclass(frozen=True, kw_only=True)
class TabularSettings(RunSettings):
    """Settings of a training run for heights from features.

    Parameters
    ----------
    options : dict
        Arguments of `sarheight.buildings.TabularHeightEstimator`.
    square : float
        Weight of the squared error of the mean, in standard deviations of the heights, beside the
        cross entropy of the distribution.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`. The optimiser is AdamW, whose rate rises over the first tenth of the
        steps and falls as a cosine to zero.
    """

    options: dict[str, Any] = field(default_factory=dict)
    square: float = 1.0
    batch: int = 256
    epochs: int = 25
    patience: int = 10
    rate: float = 3e-3
    decay: float = 0.1
    precision: Precision = "32-true"


class FeatureTable:
    """Rows of features with their heights; a map-style dataset for torch's DataLoader.

    Parameters
    ----------
    values : array, shape (places, features)
        Features, NaN where there is no value.
    heights : array, shape (places,)
        Metres.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no place, or a height is missing or not above 0.
    """

    def __init__(self, values: ArrayLike, heights: ArrayLike) -> None:
        self.values = np.ascontiguousarray(values, dtype=np.float32)
        self.heights = np.ascontiguousarray(heights, dtype=np.float32)
        if self.values.ndim != 2 or self.heights.shape != self.values.shape[:1] or not len(self):
            msg = (
                f"found features of shape {self.values.shape} and heights of shape "
                f"{self.heights.shape}, expected (places, features) and (places,)"
            )
            raise ValueError(msg)
        wrong = ~(np.isfinite(self.heights) & (self.heights > 0.0))
        if wrong.any():
            msg = (
                f"found {wrong.sum()} of {wrong.size} heights that are missing or not above 0, "
                "expected metres: leave these places out"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.heights)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: a place is the same in every epoch."""

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a place."""
        return {"values": self.values[index], "height": self.heights[index]}


class _TabularTask(lightning.LightningModule):
    """Training of an estimator of heights from features."""

    def __init__(
        self, estimator: TabularHeightEstimator, settings: TabularSettings, steps: int, unit: float
    ) -> None:
        super().__init__()
        self.estimator = estimator
        self.settings, self.steps, self.unit = settings, steps, unit
        self.error = MeanSquaredError(squared=False)

    def training_step(self, sample: dict[str, Tensor], _index: int) -> Tensor:
        """Return the loss of a batch: that of each member, not of their mean."""
        estimate: TabularEstimate = self.estimator(sample["values"])
        truth = sample["height"]
        bins = self.estimator.bins
        labels = bins.soft_labels(truth)[:, None]
        cross_entropy = -(labels * torch.log_softmax(estimate.logits, dim=-1)).sum(dim=-1).mean()
        means = torch.softmax(estimate.logits, dim=-1) @ bins.values
        square = (((means - truth[:, None]) / self.unit) ** 2).mean()
        loss: Tensor = cross_entropy + self.settings.square * square
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(truth))
        return loss

    def validation_step(self, sample: dict[str, Tensor], _index: int) -> None:
        """Accumulate squared errors of a batch."""
        self.error.update(self.estimator(sample["values"]).height, sample["height"])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared error in metres."""
        self.log(MONITORED, self.error.compute(), prog_bar=True)
        self.error.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Return AdamW and its schedule."""
        return one_cycle_adamw(self.estimator.parameters(), self.settings, self.steps)


def train_tabular(
    names: Sequence[str],
    training: FeatureTable,
    validation: FeatureTable,
    settings: TabularSettings,
    folder: str | os.PathLike[str],
    *,
    units: Mapping[str, str] | None = None,
    accelerator: str = "cpu",
    progress: bool = False,
    card: Mapping[str, Any] | None = None,
) -> TabularHeightEstimator:
    """Train a network to estimate heights from features.

    The folder gets the files that `sarheight.buildings.train_buildings` describes, with the network
    of the epoch with the lowest validation RMSE as ``model``.

    Parameters
    ----------
    names : sequence of str
        Names of the features.
    training, validation : FeatureTable
        Places for training, and others by which the best epoch is chosen.
    settings : TabularSettings
        Network and settings of the run.
    folder : path-like
        Folder of the run; created if missing.
    units : mapping, optional
        Units of the features by name; 1 by default.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        Further information to store with the model.

    Returns
    -------
    TabularHeightEstimator
        The network of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    ValueError
        If the number of names is not that of the features, or there is no such accelerator.
    OutputError
        If the model cannot be written.
    """
    tables = (training, validation)
    if any(table.values.shape[1] != len(names) for table in tables):
        counts = " and ".join(str(table.values.shape[1]) for table in tables)
        msg = f"found {len(names)} names for {counts} features, expected one for each"
        raise ValueError(msg)
    finished = prepare_run(folder, settings, accelerator)
    if finished.exists():
        return TabularHeightEstimator.from_pretrained(finished)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimator = TabularHeightEstimator(
            _features(names, training.values, units or {}), **settings.options
        )
        unit = max(float(training.heights.std()), 1e-3)
        best = fit(
            _TabularTask(estimator, settings, count_steps(training, settings), unit),
            EpochLoader(training, validation, settings),
            settings,
            folder,
            monitored=MONITORED,
            accelerator=accelerator,
            progress=progress,
        )
    estimator.eval()
    figures = {} if best is None else {MONITORED: best}
    estimator.save_pretrained(finished, card={**(card or {}), "training": figures})
    return estimator


def _features(
    names: Sequence[str], values: NDArray[np.float32], units: Mapping[str, str]
) -> list[Channel]:
    """Return the features, normalised by the places of training alone."""
    features = []
    for name, column in zip(names, values.T, strict=True):
        known = column[np.isfinite(column)].astype(np.float64)
        mean = float(known.mean()) if known.size else 0.0
        std = float(known.std()) if known.size else 1.0
        features.append(Channel(name, units.get(name, "1"), "none", mean, max(std, 1e-6)))
    return features
