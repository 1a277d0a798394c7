"""Training of a classifier of Local Climate Zones by `sarheight.learning.train`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy, MulticlassCohenKappa

from sarheight.learning.settings import Optimiser, RunSettings, Schedule
from sarheight.learning.training import EpochLoader, Sample, Task, seeded
from sarheight.zones.classifier import ZoneClassifier, ZoneMember
from sarheight.zones.evaluation import calibration_error, class_scores, fit_temperature
from sarheight.zones.fusion_cnn import class_weights, published, require_stage, split_channels
from sarheight.zones.predict import zone_probabilities
from sarheight.zones.samples import require_classes, zone_statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.zones.samples import ZoneSamples


@dataclass(frozen=True, kw_only=True)
class ZoneSettings(RunSettings):
    """Settings of a training run for Local Climate Zones.

    The defaults are those of the published comparison, `sarheight.zones.fusion_cnn.published`;
    gradient clipping is not published, and ``clip=None`` disables it.

    Parameters
    ----------
    split : str or tuple of tuple of str
        Split of the channels between branches: a name in `sarheight.zones.ZONE_SPLITS`, or for
        each branch the names of its channels.
    stage : int
        Fusion stage, 0 to 6: see `sarheight.zones.FusionCNN`.
    options : dict
        Other arguments of the network: widths, dense, dropout, pooled_blocks.
    decibel : tuple of str
        Channels of power that enter in decibels.
    batch, epochs, patience, optimiser, rate, schedule, decay, clip, precision, workers, seed
        See `sarheight.learning.RunSettings`.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of range.
    """

    split: str | tuple[tuple[str, ...], ...] = "all"
    stage: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    decibel: tuple[str, ...] = ()
    batch: int = 64
    epochs: int = 100
    patience: int = 25
    optimiser: Optimiser = "nadam"
    schedule: Schedule = "constant"
    decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as in JSON, become tuples."""
        object.__setattr__(self, "decibel", tuple(self.decibel))
        # As read from a file, where sequences are lists, so that settings compare equal.
        object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        if not isinstance(self.split, str):
            object.__setattr__(self, "split", tuple(tuple(group) for group in self.split))
        super().__post_init__()
        require_stage(self.stage, independent=False)
        if self.batch < 2:
            msg = f"found batch={self.batch}, expected at least two samples to normalise batches by"
            raise ValueError(msg)

    @classmethod
    def published(cls, **others: Any) -> Self:  # noqa: ANN401  # any of the settings
        """Return the published settings, except for those in `others`."""
        return cls(**(published() | others))


class ZoneTask(Task[ZoneClassifier]):
    """Training of a classifier: cross entropy with class weights, and accuracies at validation.

    Parameters
    ----------
    network : ZoneClassifier
        What is trained.
    settings : ZoneSettings
        Of the run.
    counts : array of int, shape (classes,)
        Samples of each class for training, from which the class weights are taken.
    """

    monitored = "validation_overall"
    mode: Literal["min", "max"] = "max"
    validation_factor = 4

    def __init__(
        self, network: ZoneClassifier, settings: ZoneSettings, counts: NDArray[np.int64]
    ) -> None:
        metrics = {
            "overall": MulticlassAccuracy(counts.size, average="micro", validate_args=False),
            "average": MulticlassAccuracy(counts.size, average="macro", validate_args=False),
            "kappa": MulticlassCohenKappa(counts.size, validate_args=False),
        }
        super().__init__(network, settings, metrics)
        weights = torch.tensor(class_weights(counts)).float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, sample: Sample) -> Tensor:
        """Return log-probabilities, shape (batch, classes)."""
        output: Tensor = self.network(sample["image"])
        return output

    def loss(self, output: Tensor, sample: Sample) -> Tensor:
        """Return the weighted cross entropy."""
        return cross_entropy(output, sample["label"], self.get_buffer("weights"))

    def measure(self, output: Tensor, sample: Sample) -> None:
        """Add a batch to the accuracies."""
        self.metrics.update(output, sample["label"])

    def calibrate(self, data: EpochLoader) -> dict[str, float]:
        """Set the temperature that calibrates the probabilities at validation; return scores."""
        validation: Any = data.validation
        size = self.validation_factor * self.settings.batch
        return calibrate_classifier(self.network, validation, size)


def calibrate_classifier(
    classifier: ZoneClassifier, validation: ZoneSamples, batch: int = 256
) -> dict[str, float]:
    """Set the temperature of a classifier at validation; return scores and calibration errors."""
    classifier.temperature = 1.0
    before = zone_probabilities(classifier, validation, batch=batch, device="cpu")
    classifier.temperature = fit_temperature(before, validation.labels)
    after = zone_probabilities(classifier, validation, batch=batch, device="cpu")
    scores = class_scores(validation.labels, before.argmax(axis=1), classifier.classes)
    return {
        "overall": scores.overall,
        "average": scores.average,
        "kappa": scores.kappa,
        "calibration_error_before": calibration_error(before, validation.labels),
        "calibration_error": calibration_error(after, validation.labels),
    }


def zone_task(
    training: ZoneSamples,
    validation: ZoneSamples,
    settings: ZoneSettings,
    *,
    posting: float | None = None,
) -> tuple[ZoneTask, ZoneSamples, ZoneSamples]:
    """Prepare the training of a classifier of Local Climate Zones, or of other classes.

    .. code-block:: python

        result = learning.train(*zones.zone_task(training, validation, settings), "run")

    Parameters
    ----------
    training, validation : ZoneSamples
        Labelled patches. Channels are normalised by the training samples only.
    settings : ZoneSettings
        Split of the channels, fusion stage, and training.
    posting : float, optional
        Cell size of the patches in metres, stored with the model.

    Returns
    -------
    ZoneTask, ZoneSamples, ZoneSamples
        The task with a network of random weights, and the samples with the channels of the split:
        arguments of `sarheight.learning.train`.

    Raises
    ------
    DatasetError
        If there is one class only, training lacks a class that validation has, or a channel is
        constant.
    ValueError
        If split or decibel name channels that there are not.
    """
    groups = split_channels(settings.split, training.channels)
    require_classes(training, validation, "validation")
    names = [name for group in groups for name in group]
    channels = zone_statistics(training, settings.decibel, channels=names)
    with seeded(settings.seed):
        network = ZoneClassifier(
            channels,
            training.classes,
            [ZoneMember(groups, {**settings.options, "stage": settings.stage})],
            size=training.size,
            codes=training.codes,
            posting=posting,
        )
    task = ZoneTask(network, settings, training.counts())
    return task, training.with_channels(names), validation.with_channels(names)
