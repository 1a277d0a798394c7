"""Training and evaluating a classifier of Local Climate Zones."""

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
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassConfusionMatrix

from sarheight.learning.run import (
    RunSettings,
    count_steps,
    fit,
    one_cycle_adamw,
    prepare_run,
    require_one_of,
)
from sarheight.learning.weights import Channel, select_device
from sarheight.zones._metrics import calibration_error, class_scores, scores_of
from sarheight.zones.networks import (
    STAGES,
    ZONE_NETWORKS,
    ZoneClassifier,
    ZoneMember,
    branch_options,
)
from sarheight.zones.samples import require_classes, zone_statistics
from sarheight.zones.sources import split_channels

if TYPE_CHECKING:
    import os

    from sarheight.zones._metrics import ClassScores
    from sarheight.zones.samples import ZoneSamples

Balance = Literal["weights", "sampling", "none"]
Schedule = Literal["constant", "one_cycle"]


@dataclass(frozen=True, kw_only=True)
class ZoneSettings(RunSettings):
    """Settings of a training run for Local Climate Zones.

    The defaults are those of the published comparison: Adam at a rate of 1e-3, 100 epochs, early
    stopping after 25 without a better overall accuracy, dropout of 0.4, classes weighed by n / n_i.
    A limit of the gradient is not published; ``clip=None`` takes ours off.
    `generalising` are those that hold up best in regions that were not seen.

    Parameters
    ----------
    split : str or tuple of tuple of str
        How the channels are parted: see `sarheight.zones.split_channels`.
    stage : int
        Where the branches meet, 0 to 6: see `sarheight.zones.FusionCNN`.
    independent : bool
        At stage 6: whether the branches are trained apart, each with its own early stopping, and
        then summed; else they are trained together.
    network : {"fusion_cnn", "zone_net"}
        What is trained. ``zone_net`` has no stages.
    options : dict
        Other arguments of the network: widths, dense, dropout, ...
    decibel : tuple of str
        Channels of power that enter in decibels.
    balance : {"weights", "sampling", "none"}
        How rare classes are made up for: by weights n / n_i in the loss, or by drawing samples
        of all classes equally often.
    augment : bool
        Whether patches are turned and mirrored at random.
    jitter : float
        Standard deviation of a random gain and offset of each channel of a patch, in units of the
        channel's spread: regions differ in just this way.
    smoothing : float
        Part of the truth that is spread over all classes, from 0 to below 1.
    schedule : {"constant", "one_cycle"}
        Of the learning rate.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
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
    schedule: Schedule = "constant"
    batch: int = 64
    epochs: int = 100
    patience: int = 25
    decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        object.__setattr__(self, "decibel", tuple(self.decibel))
        # Options are compared with those of a file, where there are lists alone.
        object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        if not isinstance(self.split, str):
            object.__setattr__(self, "split", tuple(tuple(group) for group in self.split))
        super().__post_init__()
        require_one_of("network", self.network, tuple(ZONE_NETWORKS))
        require_one_of("balance", self.balance, get_args(Balance))
        require_one_of("schedule", self.schedule, get_args(Schedule))
        if self.stage not in STAGES or (self.independent and self.stage != STAGES[-1]):
            msg = (
                f"found stage {self.stage} with independent={self.independent}, expected 0 to "
                f"{STAGES[-1]}, and independent branches only at the last"
            )
            raise ValueError(msg)
        if not 0.0 <= self.smoothing < 1.0 or not self.jitter >= 0.0 or self.batch < 2:
            msg = (
                f"found smoothing={self.smoothing:g}, jitter={self.jitter:g}, batch={self.batch}; "
                "expected smoothing from 0 to below 1, jitter from 0 on, and two samples at least, "
                "between which to normalise"
            )
            raise ValueError(msg)

    @classmethod
    def generalising(
        cls,
        split: str | Sequence[Sequence[str]] = "all",
        **changes: Any,  # noqa: ANN401
    ) -> Self:
        """Return settings made for regions that were not seen in training.

        Parameters
        ----------
        split : str or sequence of sequence of str
            See `ZoneSettings`.
        **changes
            Other settings that shall differ.
        """
        chosen: dict[str, Any] = {
            "network": "zone_net",
            "balance": "sampling",
            "augment": True,
            "jitter": 0.1,
            "smoothing": 0.1,
            "schedule": "one_cycle",
            "decay": 1e-2,
            "epochs": 40,
            "patience": 40,
        }
        groups = split if isinstance(split, str) else tuple(tuple(group) for group in split)
        return cls(split=groups, **(chosen | changes))


# Batches of labelled patches, each read at once.

Batch = dict[str, "NDArray[Any]"]
LARGER = 4
"""How many times more samples a batch has that is only looked at, as no gradients are kept."""


class ZoneLoader(lightning.LightningDataModule):
    """Batches for training and validation, in an order that depends on seed and epoch alone."""

    def __init__(
        self, training: ZoneSamples, validation: ZoneSamples, settings: ZoneSettings
    ) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the coming epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        random = np.random.default_rng([self.settings.seed, epoch])
        if self.settings.balance == "sampling":
            order = _evenly(self.training, random)
        else:
            order = random.permutation(len(self.training))
        return self._batches(self.training, batches_of(order, self.settings.batch))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of a validation, always the same."""
        order = np.arange(len(self.validation))
        return self._batches(self.validation, batches_of(order, LARGER * self.settings.batch))

    def _batches(self, samples: ZoneSamples, batches: list[NDArray[np.int64]]) -> DataLoader[Batch]:
        workers = self.settings.workers
        return DataLoader(
            samples,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            # A fork of a process whose kernels run in threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )


def batches_of(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches of nearly equal size, so that none is left with a single sample."""
    return np.array_split(order, max(-(-order.size // size), 1))


def _evenly(samples: ZoneSamples, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many samples as there are, each class equally often."""
    counts = samples.counts()
    present = np.flatnonzero(counts)
    drawn = present[random.permutation(len(samples)) % present.size]
    order = np.empty(len(samples), dtype=np.int64)
    for number in present:
        members = np.flatnonzero(samples.labels == number)
        places = np.flatnonzero(drawn == number)
        rounds = -(-places.size // members.size)
        several = np.concatenate([random.permutation(members) for _ in range(rounds)])
        order[places] = several[: places.size]
    return order


# One step of training for Local Climate Zones, and one of validation.

WARM_UP = 0.1
"""Part of all steps over which the learning rate rises, where it does."""
SYMMETRIES = 8

Sample = dict[str, Tensor]


class ZoneTask(lightning.LightningModule):
    """Training of a classifier."""

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
        """Draw what is random from the seed and the epoch, so that a run can be taken up again."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, self.current_epoch])
                              .generate_state(1)[0]))  # fmt: skip

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        image = sample["image"]
        if self.settings.augment:
            image = turned(image)
        if self.settings.jitter > 0.0:
            image = self._jittered(image)
        loss = cross_entropy(
            self.classifier(image),
            sample["label"],
            self.weights,
            label_smoothing=self.settings.smoothing,
        )
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def _jittered(self, image: Tensor) -> Tensor:
        """Give each channel of each patch a gain and an offset of its own."""
        shape = (*image.shape[:2], 1, 1)
        size = self.settings.jitter
        gain = 1.0 + size * torch.randn(shape, device=image.device)
        offset = size * torch.randn(shape, device=image.device)
        mean, std = self.classifier.mean, self.classifier.std
        plain = torch.tensor(
            [channel.transform == "none" for channel in self.classifier.channels],
            device=image.device,
        )[:, None, None]
        # Power stays above 0: a gain and an offset in decibels are one factor.
        factor = torch.exp(0.1 * np.log(10.0) * std * offset)
        return torch.where(plain, mean + gain * (image - mean) + std * offset, image * factor)

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Count the classes of a batch."""
        found = self.classifier(sample["image"])
        loss = cross_entropy(found, sample["label"], self.weights)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(found))
        self.confusion.update(found.argmax(dim=1), sample["label"])

    def on_validation_epoch_end(self) -> None:
        """Log overall accuracy, average accuracy and kappa."""
        scores = scores_of(self.confusion.compute().cpu().numpy(), self.classifier.classes)
        self.confusion.reset()
        for name in ("overall", "average", "kappa"):
            self.log(f"validation_{name}", getattr(scores, name), prog_bar=name != "kappa")

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up Adam, with decoupled weight decay, and where it is wanted a rise and a cosine."""
        parameters = self.classifier.parameters()
        if self.settings.schedule == "constant":
            return torch.optim.AdamW(
                parameters, self.settings.rate, weight_decay=self.settings.decay
            )
        return one_cycle_adamw(parameters, self.settings, self.steps, warm_up=WARM_UP)


def class_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return n / n_i, the number of all samples by that of a class; 0 for a class without any."""
    return np.where(counts > 0, counts.sum() / np.maximum(counts, 1), 0.0)


def turned(image: Tensor) -> Tensor:
    """Turn and mirror the patches of a batch, each in one of eight ways at random.

    Parameters
    ----------
    image : Tensor, shape (batch, channels, size, size)
        Patches.
    """
    which = torch.randint(SYMMETRIES, (len(image),), device=image.device)
    result = image.clone()
    for way in range(1, SYMMETRIES):
        chosen = which == way
        if chosen.any():
            some = torch.rot90(image[chosen], way % 4, dims=(2, 3))
            result[chosen] = some.flip(3) if way >= SYMMETRIES // 2 else some
    return result


# What a classifier makes of samples, and how far its confidence can be trusted.

Floats = NDArray[np.float64]
LEAST_LOG, MOST_LOG = -3.0, 3.0
"""Bounds of the logarithm of a temperature."""
LEAST_PROBABILITY = 1e-12


def zone_probabilities(
    classifier: ZoneClassifier, samples: ZoneSamples, *, batch: int = 256, device: str = "auto"
) -> Floats:
    """Classify samples.

    Parameters
    ----------
    classifier : ZoneClassifier
        A trained one.
    samples : ZoneSamples
        With all of its channels, and its classes.
    batch : int
        Samples that are seen at once.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", ...

    Returns
    -------
    array, shape (n, classes)
        Probabilities at the temperature of the classifier.

    Raises
    ------
    ValueError
        If the samples lack a channel, or have other classes, or there is no such device.
    """
    places = places_of(classifier, samples)
    found = np.empty((len(samples), len(classifier.classes)))
    chosen = select_device(device)
    classifier = classifier.to(chosen).eval()
    with torch.inference_mode():
        for numbers in batches_of(np.arange(len(samples)), batch):
            image = torch.from_numpy(samples.read(numbers)[:, places]).to(chosen)
            found[numbers] = classifier.probabilities(image).double().cpu().numpy()
    classifier.cpu()
    return found


def places_of(classifier: ZoneClassifier, samples: ZoneSamples) -> list[int]:
    """Return where among the channels of samples those of a classifier are."""
    missing = [each.name for each in classifier.channels if each.name not in samples.channels]
    if missing or samples.classes != classifier.classes:
        msg = (
            f"found samples of {len(samples.classes)} classes without the channels "
            f"{', '.join(missing) or 'none'}; expected the {len(classifier.classes)} classes of "
            "the classifier, and all of its channels"
        )
        raise ValueError(msg)
    return [samples.channels.index(channel.name) for channel in classifier.channels]


def evaluate_zones(
    classifier: ZoneClassifier, samples: ZoneSamples, *, batch: int = 256, device: str = "auto"
) -> ClassScores:
    """Measure how well a classifier does.

    Parameters
    ----------
    classifier, samples, batch, device
        See `zone_probabilities`.

    Returns
    -------
    ClassScores
        Overall and average accuracy, kappa, figures by class, and confusion.
    """
    found = zone_probabilities(classifier, samples, batch=batch, device=device)
    return class_scores(samples.labels, found.argmax(axis=1), classifier.classes)


def best_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    r"""Find the temperature at which the truth is most likely.

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        At a temperature of 1, of samples that were not trained with.
    truth : array of int, shape (n,)
        Numbers of their classes.

    Returns
    -------
    float
        Above 1 where a classifier is too sure of itself. From 0.05 to 20.

    References
    ----------
    Guo, C. et al. (2017). On Calibration of Modern Neural Networks. ICML, arXiv:1706.04599,
    section 4.2.
    """
    logarithms = np.log(np.maximum(probabilities, LEAST_PROBABILITY))

    def unlikeliness(log_temperature: float) -> float:
        scaled = logarithms / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        norm = np.log(np.exp(scaled).sum(axis=1))
        return float((norm - scaled[np.arange(truth.size), truth]).mean())

    found = minimize_scalar(unlikeliness, bounds=(LEAST_LOG, MOST_LOG), method="bounded")
    return float(np.exp(found.x))


# Training a classifier for Local Climate Zones.

MONITORED = "validation_overall"


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
    """Train a network to tell Local Climate Zones, or other classes, of patches.

    The folder gets ``settings.json``, the curves (``curves/metrics.csv``), ``last.ckpt`` after
    each epoch, and at the end ``model``: the network of the epoch with the highest overall
    accuracy at validation, with the temperature at which its confidence fits the validation
    best. Called again with the same settings, an interrupted run goes on as if it had not stopped.
    Branches that are trained apart have a folder each.

    Parameters
    ----------
    training, validation : ZoneSamples
        Labelled patches. Channels are normalised by those for training alone.
    settings : ZoneSettings
        What is trained, and how.
    folder : path-like
        Where the run lives; made if it is not there.
    posting : float, optional
        Metres from cell to cell of the patches, kept with the model.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        More to tell with the model.

    Returns
    -------
    ZoneClassifier
        That of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    DatasetError
        If training lacks a class that validation has, or a channel is the same everywhere.
    ValueError
        If the split does not fit the channels, or there is no such accelerator.
    OutputError
        If the model cannot be written.
    """
    groups = split_channels(settings.split, training.channels)
    require_classes(training, validation, "validation")
    model = prepare_run(folder, settings, accelerator)
    if model.exists():
        return ZoneClassifier.from_pretrained(model)
    train = _branches if settings.independent and len(groups) > 1 else _whole
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
    figures = _calibrate(classifier, validation, 4 * settings.batch, device)
    classifier.save_pretrained(model, card={**(card or {}), "validation": figures})
    return classifier


def _branches(
    training: ZoneSamples,
    validation: ZoneSamples,
    settings: ZoneSettings,
    folder: Path,
    **rest: Any,  # noqa: ANN401  # of train_zones
) -> ZoneClassifier:
    """Train a network for each group of channels alone, and sum their probabilities."""
    groups = split_channels(settings.split, training.channels)
    options = settings.options
    if settings.network == "fusion_cnn":
        options = branch_options(options, len(groups))
    alone = replace(settings, stage=0, independent=False, options=options)
    return ZoneClassifier.joined(
        [
            train_zones(
                training,
                validation,
                replace(alone, split=(group,)),
                folder / f"branch_{number}",
                **rest,
            )
            for number, group in enumerate(groups, start=1)
        ]
    )


def _whole(
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
            _channels(training, names, settings.decibel),
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
            monitored=MONITORED,
            mode="max",
            accelerator=accelerator,
            progress=progress,
        )
    return classifier.eval()


def _channels(training: ZoneSamples, names: Sequence[str], decibel: Sequence[str]) -> list[Channel]:
    """Describe the channels, normalised by the samples for training alone."""
    strange = [name for name in decibel if name not in training.channels]
    if strange:
        msg = f"found decibel={strange}, expected some of {', '.join(training.channels)}"
        raise ValueError(msg)
    measured = zone_statistics(training, dict.fromkeys(decibel, "decibel"), channels=names)
    return [
        Channel(name, "1", "decibel" if name in decibel else "none", *measured[name])
        for name in names
    ]


def _calibrate(
    classifier: ZoneClassifier, validation: ZoneSamples, batch: int, device: str
) -> dict[str, float]:
    """Set the temperature; return what validation says."""
    before = zone_probabilities(classifier, validation, batch=batch, device=device)
    classifier.temperature = best_temperature(before, validation.labels)
    after = zone_probabilities(classifier, validation, batch=batch, device=device)
    scores = class_scores(validation.labels, before.argmax(axis=1), classifier.classes)
    return {
        "overall": scores.overall,
        "average": scores.average,
        "kappa": scores.kappa,
        "calibration_error_before": calibration_error(before, validation.labels),
        "calibration_error": calibration_error(after, validation.labels),
    }
