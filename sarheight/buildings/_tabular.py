"""Training a network for heights from a table of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from sarheight.buildings.estimators import TabularHeightEstimator
from sarheight.learning.run import (
    EpochLoader,
    Precision,
    RunSettings,
    count_steps,
    fit,
    one_cycle_adamw,
    prepare_run,
)
from sarheight.learning.weights import Channel

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from sarheight.buildings.estimators import TabularEstimate

MONITORED = "validation_rmse"


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
        steps, and falls as a cosine to nothing.
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
        strange = ~(np.isfinite(self.heights) & (self.heights > 0.0))
        if strange.any():
            msg = (
                f"found {strange.sum()} of {strange.size} heights that are missing or not above 0, "
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
        found: TabularEstimate = self.estimator(sample["values"])
        truth = sample["height"]
        bins = self.estimator.bins
        shares = bins.shares(truth)[:, None]
        surprise = -(shares * torch.log_softmax(found.logits, dim=-1)).sum(dim=-1).mean()
        means = torch.softmax(found.logits, dim=-1) @ bins.values
        square = (((means - truth[:, None]) / self.unit) ** 2).mean()
        loss: Tensor = surprise + self.settings.square * square
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(truth))
        return loss

    def validation_step(self, sample: dict[str, Tensor], _index: int) -> None:
        """Sum squared errors of a batch."""
        self.error.update(self.estimator(sample["values"]).height, sample["height"])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared error in metres."""
        self.log(MONITORED, self.error.compute(), prog_bar=True)
        self.error.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up AdamW with a rise and a cosine."""
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

    The folder gets what `sarheight.buildings.train_buildings` says, and ``model``: the network of
    the epoch with the lowest validation RMSE.

    Parameters
    ----------
    names : sequence of str
        Of the features.
    training, validation : FeatureTable
        Places to learn from, and others by which the epoch is chosen.
    settings : TabularSettings
        What is trained, and how.
    folder : path-like
        Where the run lives; made if it is not there.
    units : mapping, optional
        Of the features by name; 1 where not given.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        More to tell with the model.

    Returns
    -------
    TabularHeightEstimator
        That of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    ValueError
        If there are not as many names as features, or there is no such accelerator.
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
    """Describe the features, normalised by the places of training alone."""
    features = []
    for name, column in zip(names, values.T, strict=True):
        known = column[np.isfinite(column)].astype(np.float64)
        mean = float(known.mean()) if known.size else 0.0
        std = float(known.std()) if known.size else 1.0
        features.append(Channel(name, units.get(name, "1"), "none", mean, max(std, 1e-6)))
    return features
