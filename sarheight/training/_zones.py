"""Training a classifier for Local Climate Zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sarheight.data import require_classes, split_channels, zone_statistics
from sarheight.metrics import calibration_error, class_scores
from sarheight.models import Channel, ZoneClassifier, ZoneMember
from sarheight.models._fusion_cnn import branch_options
from sarheight.training._run import claim, fit
from sarheight.training._zone_evaluation import best_temperature, zone_probabilities
from sarheight.training._zone_loading import ZoneLoader
from sarheight.training._zone_task import ZoneTask

if TYPE_CHECKING:
    import os

    from sarheight.data import ZoneSamples
    from sarheight.training._zone_settings import ZoneSettings

__all__ = ["train_zones"]

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
    model = claim(folder, settings, accelerator)
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
        steps = settings.epochs * -(-len(training) // settings.batch)
        task = ZoneTask(classifier, settings, training.counts(), steps)
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
