"""Training of a classifier of Local Climate Zones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassConfusionMatrix

from sarheight.learning.channels import Channel
from sarheight.learning.run import (
    RunSettings,
    count_steps,
    fit,
    one_cycle,
    prepare_run,
    require_one_of,
)
from sarheight.zones.channels import require_stage, split_channels
from sarheight.zones.evaluation import (
    calibration_error,
    class_scores,
    fit_temperature,
    scores_from_confusion,
)
from sarheight.zones.networks import ZONE_NETWORKS, ZoneClassifier, ZoneMember, branch_options
from sarheight.zones.predict import split_batches, zone_probabilities
from sarheight.zones.samples import require_classes, zone_statistics

if TYPE_CHECKING:
    import os

    from sarheight.zones.samples import ZoneSamples

Balance = Literal["weights", "sampling", "none"]
Schedule = Literal["constant", "one_cycle"]
Optimiser = Literal["nadam", "adam"]


@dataclass(frozen=True, kw_only=True)
class ZoneSettings(RunSettings):
    """Settings of a training run for Local Climate Zones.

    The defaults are those of the published comparison: Adam with Nesterov momentum at a learning
    rate of 1e-3, 100 epochs, early stopping after 25 epochs without a higher overall accuracy,
    dropout of 0.4, class weights n / n_i. Gradient clipping is not published; ``clip=None``
    disables it. `generalising` returns
    settings for regions that are not in the training data.

    Parameters
    ----------
    split : str or tuple of tuple of str
        Split of the channels between branches: a name in `sarheight.zones.ZONE_SPLITS`, or for
        each branch the names of its channels.
    stage : int
        Fusion stage, 0 to 6: see `sarheight.zones.FusionCNN`.
    independent : bool
        At stage 6: whether each branch is trained on its own, with its own early stopping, before
        the probabilities are averaged.
    network : {"fusion_cnn", "zone_net"}
        Type of the network. ``zone_net`` has no fusion stages.
    options : dict
        Other arguments of the network: widths, dense, dropout, ...
    decibel : tuple of str
        Channels of power that enter in decibels.
    balance : {"weights", "sampling", "none"}
        Compensation of class imbalance: weights n / n_i in the loss, or sampling of all classes
        with equal frequency.
    augment : bool
        Whether patches are rotated and flipped at random.
    jitter : float
        Standard deviation of a random gain and offset of each channel of a patch, relative to the
        standard deviation of the channel: regions differ in this way.
    smoothing : float
        Label smoothing, from 0 to below 1.
    optimiser : {"nadam", "adam"}
        Adam with Nesterov momentum, or Adam; weight decay is decoupled in both.
    schedule : {"constant", "one_cycle"}
        Schedule of the learning rate.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of range.
    """

    split: str | tuple[tuple[str, ...], ...] = "all"
    stage: int = 0
    independent: bool = False
    network: str = "fusion_cnn"
    options: dict[str, Any] = field(default_factory=dict)
    decibel: tuple[str, ...] = ()
    balance: Balance = "weights"
    augment: bool = False
    jitter: float = 0.0
    smoothing: float = 0.0
    optimiser: Optimiser = "nadam"
    schedule: Schedule = "constant"
    batch: int = 64
    epochs: int = 100
    patience: int = 25
    decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as in JSON, become tuples."""
        object.__setattr__(self, "decibel", tuple(self.decibel))
        # As read from a file, where sequences are lists, so that settings compare equal.
        object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        if not isinstance(self.split, str):
            object.__setattr__(self, "split", tuple(tuple(group) for group in self.split))
        super().__post_init__()
        require_one_of("network", self.network, tuple(ZONE_NETWORKS))
        require_one_of("balance", self.balance, get_args(Balance))
        require_one_of("optimiser", self.optimiser, get_args(Optimiser))
        require_one_of("schedule", self.schedule, get_args(Schedule))
        require_stage(self.stage, independent=self.independent)
        if not 0.0 <= self.smoothing < 1.0 or not self.jitter >= 0.0 or self.batch < 2:
            msg = (
                f"found smoothing={self.smoothing:g}, jitter={self.jitter:g}, batch={self.batch}; "
                "expected smoothing from 0 to below 1, jitter from 0 on, and batches of at least "
                "two samples, for batch normalisation"
            )
            raise ValueError(msg)

    @classmethod
    def generalising(
        cls,
        split: str | Sequence[Sequence[str]] = "all",
        **changes: Any,  # noqa: ANN401
    ) -> Self:
        """Return settings for regions that are not in the training data.

        Parameters
        ----------
        split : str or sequence of sequence of str
            See `ZoneSettings`.
        **changes
            Settings that replace these.
        """
        chosen: dict[str, Any] = {
            "network": "zone_net",
            "balance": "sampling",
            "augment": True,
            "jitter": 0.1,
            "smoothing": 0.1,
            "optimiser": "adam",
            "schedule": "one_cycle",
            "decay": 1e-2,
            "epochs": 40,
            "patience": 40,
        }
        groups = split if isinstance(split, str) else tuple(tuple(group) for group in split)
        return cls(split=groups, **(chosen | changes))


Batch = dict[str, "NDArray[Any]"]
EVALUATION_FACTOR = 4
"""Batch size of validation relative to training: no gradients are kept."""


class ZoneLoader(lightning.LightningDataModule):
    """Batches for training and validation; their order depends only on seed and epoch."""

    def __init__(
        self, training: ZoneSamples, validation: ZoneSamples, settings: ZoneSettings
    ) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the next epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        random = np.random.default_rng([self.settings.seed, epoch])
        if self.settings.balance == "sampling":
            order = _balanced_order(self.training, random)
        else:
            order = random.permutation(len(self.training))
        return self._batches(self.training, split_batches(order, self.settings.batch))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the validation, in a fixed order."""
        order = np.arange(len(self.validation))
        return self._batches(
            self.validation, split_batches(order, EVALUATION_FACTOR * self.settings.batch)
        )

    def _batches(self, samples: ZoneSamples, batches: list[NDArray[np.int64]]) -> DataLoader[Batch]:
        """Return a loader that reads each batch at once."""
        workers = self.settings.workers
        return DataLoader(
            samples,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            # A fork of a process whose kernels run in threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )


def _balanced_order(samples: ZoneSamples, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many samples as there are, each class equally often."""
    counts = samples.counts()
    present = np.flatnonzero(counts)
    drawn = present[random.permutation(len(samples)) % present.size]
    order = np.empty(len(samples), dtype=np.int64)
    for number in present:
        members = np.flatnonzero(samples.labels == number)
        positions = np.flatnonzero(drawn == number)
        # Whole permutations, so that no sample is repeated before all of its class are drawn.
        repeats = -(-positions.size // members.size)
        shuffled = np.concatenate([random.permutation(members) for _ in range(repeats)])
        order[positions] = shuffled[: positions.size]
    return order


SYMMETRIES = 8
"""Rotations and reflections of a square."""

Sample = dict[str, Tensor]


class ZoneTask(lightning.LightningModule):
    """Training and validation steps of a classifier."""

    def __init__(
        self,
        classifier: ZoneClassifier,
        settings: ZoneSettings,
        counts: NDArray[np.int64],
        steps: int,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps = settings, steps
        weights = class_weights(counts) if settings.balance == "weights" else np.ones(counts.size)
        self.register_buffer("weights", torch.tensor(weights).float(), persistent=False)
        self.weights: Tensor
        self.confusion = MulticlassConfusionMatrix(counts.size, validate_args=False)

    def on_train_epoch_start(self) -> None:
        """Seed the generator by seed and epoch, so that a resumed run repeats."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, self.current_epoch])
                              .generate_state(1)[0]))  # fmt: skip

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        image = sample["image"]
        if self.settings.augment:
            image = random_symmetries(image)
        if self.settings.jitter > 0.0:
            image = self._jitter(image)
        loss = cross_entropy(
            self.classifier(image),
            sample["label"],
            self.weights,
            label_smoothing=self.settings.smoothing,
        )
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def _jitter(self, image: Tensor) -> Tensor:
        """Apply a random gain and offset to each channel of each patch."""
        shape = (*image.shape[:2], 1, 1)
        size = self.settings.jitter
        gain = 1.0 + size * torch.randn(shape, device=image.device)
        offset = size * torch.randn(shape, device=image.device)
        mean, std = self.classifier.mean, self.classifier.std
        linear = torch.tensor(
            [channel.transform == "none" for channel in self.classifier.channels],
            device=image.device,
        )[:, None, None]
        # An offset in decibels is a factor of power, which stays above 0: 10^(d / 10).
        factor = torch.exp(0.1 * np.log(10.0) * std * offset)
        return torch.where(linear, mean + gain * (image - mean) + std * offset, image * factor)

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Log the loss and update the confusion matrix."""
        output = self.classifier(sample["image"])
        loss = cross_entropy(output, sample["label"], self.weights)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(output))
        self.confusion.update(output.argmax(dim=1), sample["label"])

    def on_validation_epoch_end(self) -> None:
        """Log overall accuracy, average accuracy and kappa."""
        scores = scores_from_confusion(
            self.confusion.compute().cpu().numpy(), self.classifier.classes
        )
        self.confusion.reset()
        for name in ("overall", "average", "kappa"):
            self.log(f"validation_{name}", getattr(scores, name), prog_bar=name != "kappa")

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning
        """Return the optimiser, with the one-cycle schedule if the settings say so."""
        settings, parameters = self.settings, self.classifier.parameters()
        optimiser: torch.optim.Optimizer
        if settings.optimiser == "nadam":
            optimiser = torch.optim.NAdam(
                parameters,
                settings.rate,
                weight_decay=settings.decay,
                decoupled_weight_decay=True,
            )
        else:
            optimiser = torch.optim.AdamW(parameters, settings.rate, weight_decay=settings.decay)
        if settings.schedule == "one_cycle":
            return one_cycle(optimiser, settings, self.steps)
        return optimiser


def class_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return n / n_i, the number of samples divided by that of a class; 0 for an empty class."""
    return np.where(counts > 0, counts.sum() / np.maximum(counts, 1), 0.0)


def random_symmetries(image: Tensor) -> Tensor:
    """Rotate and flip each patch of a batch (batch, channels, size, size) at random."""
    choice = torch.randint(SYMMETRIES, (len(image),), device=image.device)
    result = image.clone()
    for number in range(1, SYMMETRIES):
        chosen = choice == number
        if chosen.any():
            rotated = torch.rot90(image[chosen], number % 4, dims=(2, 3))
            result[chosen] = rotated.flip(3) if number >= SYMMETRIES // 2 else rotated
    return result


def train_zones(
    training: ZoneSamples,
    validation: ZoneSamples,
    settings: ZoneSettings,
    folder: str | os.PathLike[str],
    *,
    posting: float | None = None,
    accelerator: str = "auto",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> ZoneClassifier:
    """Train a classifier of Local Climate Zones, or of other classes, from patches.

    The folder gets ``settings.json``, the training curves (``curves/metrics.csv``), ``last.ckpt``
    after each epoch, and at the end ``model``: the network of the epoch with the highest overall
    accuracy at validation, with the temperature that calibrates it there. A second call with the
    same settings resumes an interrupted run. Independently trained branches have a folder each.

    Parameters
    ----------
    training, validation : ZoneSamples
        Labelled patches. Channels are normalised by the training samples only.
    settings : ZoneSettings
        Network, split of the channels, and training.
    folder : path-like
        Folder of the run; created if it does not exist.
    posting : float, optional
        Cell size of the patches in metres, stored with the model.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning names them.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        More entries for the model card.

    Returns
    -------
    ZoneClassifier
        Weights of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    DatasetError
        If training lacks a class that validation has, or a channel is constant.
    ValueError
        If the split does not fit the channels, or the accelerator is not available.
    OutputError
        If the model cannot be written.
    """
    groups = split_channels(settings.split, training.channels)
    require_classes(training, validation, "validation")
    model = prepare_run(folder, settings, accelerator)
    if model.exists():
        return ZoneClassifier.from_pretrained(model)
    train = _train_branches if settings.independent and len(groups) > 1 else _train_network
    classifier = train(
        training,
        validation,
        settings,
        Path(folder),
        posting=posting,
        accelerator=accelerator,
        progress=progress,
    )
    device = "cpu" if accelerator == "cpu" else "auto"
    scores = _calibrate(classifier, validation, EVALUATION_FACTOR * settings.batch, device)
    classifier.save_pretrained(model, card={**(card or {}), "validation": scores})
    return classifier


def _train_branches(
    training: ZoneSamples,
    validation: ZoneSamples,
    settings: ZoneSettings,
    folder: Path,
    **run: Any,  # noqa: ANN401  # of train_zones
) -> ZoneClassifier:
    """Train a network for each group of channels, and average their probabilities."""
    groups = split_channels(settings.split, training.channels)
    options = settings.options
    if settings.network == "fusion_cnn":
        options = branch_options(options, len(groups))
    branch = replace(settings, stage=0, independent=False, options=options)
    return ZoneClassifier.ensemble(
        [
            train_zones(
                training,
                validation,
                replace(branch, split=(group,)),
                folder / f"branch_{number}",
                **run,
            )
            for number, group in enumerate(groups, start=1)
        ]
    )


def _train_network(
    training: ZoneSamples,
    validation: ZoneSamples,
    settings: ZoneSettings,
    folder: Path,
    *,
    posting: float | None,
    accelerator: str,
    progress: bool,
) -> ZoneClassifier:
    """Train one network."""
    groups = split_channels(settings.split, training.channels)
    names = [name for group in groups for name in group]
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        options = dict(settings.options)
        if settings.network == "fusion_cnn":
            options["stage"] = settings.stage
        classifier = ZoneClassifier(
            _normalised_channels(training, names, settings.decibel),
            training.classes,
            [ZoneMember(groups, settings.network, options)],
            size=training.size,
            codes=training.codes,
            posting=posting,
        )
        loader = ZoneLoader(
            training.with_channels(names), validation.with_channels(names), settings
        )
        task = ZoneTask(classifier, settings, training.counts(), count_steps(training, settings))
        fit(
            task,
            loader,
            settings,
            folder,
            monitored="validation_overall",
            mode="max",
            accelerator=accelerator,
            progress=progress,
        )
    return classifier.eval()


def _normalised_channels(
    training: ZoneSamples, names: Sequence[str], decibel: Sequence[str]
) -> list[Channel]:
    """Describe the channels with the mean and standard deviation of the training samples."""
    unknown = [name for name in decibel if name not in training.channels]
    if unknown:
        msg = f"found decibel={unknown}, expected some of {', '.join(training.channels)}"
        raise ValueError(msg)
    statistics = zone_statistics(training, dict.fromkeys(decibel, "decibel"), channels=names)
    return [
        Channel(name, "1", "decibel" if name in decibel else "none", *statistics[name])
        for name in names
    ]


def _calibrate(
    classifier: ZoneClassifier, validation: ZoneSamples, batch: int, device: str
) -> dict[str, float]:
    """Set the temperature; return the scores and calibration errors at validation."""
    before = zone_probabilities(classifier, validation, batch=batch, device=device)
    classifier.temperature = fit_temperature(before, validation.labels)
    after = zone_probabilities(classifier, validation, batch=batch, device=device)
    scores = class_scores(validation.labels, before.argmax(axis=1), classifier.classes)
    return {
        "overall": scores.overall,
        "average": scores.average,
        "kappa": scores.kappa,
        "calibration_error_before": calibration_error(before, validation.labels),
        "calibration_error": calibration_error(after, validation.labels),
    }
