"""Comparison of early, middle and late fusion over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.learning.training import MODEL, TrainingResult, train
from sarheight.zones.classifier import ZoneClassifier
from sarheight.zones.evaluation import calibration_error, class_scores
from sarheight.zones.fusion_cnn import branch_options
from sarheight.zones.predict import zone_probabilities
from sarheight.zones.training import calibrate_classifier, zone_task

if TYPE_CHECKING:
    import os

    from sarheight.zones.evaluation import ClassScores
    from sarheight.zones.fusion_cnn import FusionStrategy
    from sarheight.zones.samples import ZoneSamples
    from sarheight.zones.training import ZoneSettings

KINDS = ("early", "middle", "late")
SIGNIFICANT_ERRORS = 2.0
"""Standard errors above which a gain counts as significant."""


@dataclass(frozen=True, eq=False)
class FusionResult:
    """Scores of one fusion strategy, for each seed.

    Attributes
    ----------
    strategy : FusionStrategy
        The split of the channels and the fusion stage.
    scores : tuple of ClassScores
        On the test samples.
    validation : tuple of float
        Average accuracy at validation: strategies are chosen by this, never by the test.
    calibration : tuple of float
        Expected calibration error on the test samples, at the fitted temperature.
    folders : tuple of pathlib.Path
        Folders of the runs.
    """

    strategy: FusionStrategy
    scores: tuple[ClassScores, ...]
    validation: tuple[float, ...]
    calibration: tuple[float, ...]
    folders: tuple[Path, ...]

    def values(self, name: str) -> list[float]:
        """Return a score, such as "average", for each seed."""
        return [float(getattr(scores, name)) for scores in self.scores]

    def mean(self, name: str) -> float:
        """Return the mean of a score over the seeds."""
        return float(np.mean(self.values(name)))

    def as_dict(self) -> dict[str, Any]:
        """Return all figures in JSON's types."""
        return {
            "split": self.strategy.name,
            "groups": [list(group) for group in self.strategy.groups],
            "stage": self.strategy.stage,
            "independent": self.strategy.independent,
            "fusion": self.strategy.kind,
            "validation_average": list(self.validation),
            "calibration_error": list(self.calibration),
            "seeds": [scores.as_dict() for scores in self.scores],
        }

    def std(self, name: str) -> float | None:
        """Return the standard deviation of a score over the seeds; None with one seed."""
        values = self.values(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True, eq=False)
class FusionRanking:
    """Ranking of early, middle and late fusion.

    Attributes
    ----------
    best : dict
        For each of "early", "middle" and "late" that was trained, the result of the strategy with
        the highest average accuracy at validation.
    winner : str
        Kind of fusion with the highest average accuracy at validation.
    gain : float
        Difference of its average accuracy on the test samples from that of the second kind, mean
        over the seeds; below 0 where validation and test disagree.
    standard_error : float or None
        Standard error of the gain, from the differences for each seed; None with one seed.
    """

    best: dict[str, FusionResult]
    winner: str
    gain: float
    standard_error: float | None

    @property
    def significant(self) -> bool:
        """Whether the gain exceeds two standard errors over the seeds."""
        error = self.standard_error
        return error is not None and self.gain > SIGNIFICANT_ERRORS * error


def train_strategy(
    strategy: FusionStrategy,
    training: ZoneSamples,
    validation: ZoneSamples,
    settings: ZoneSettings,
    folder: str | os.PathLike[str],
    *,
    posting: float | None = None,
    accelerator: str = "auto",
    progress: bool = True,
) -> ZoneClassifier:
    """Train one fusion strategy by `sarheight.learning.train`.

    Parameters
    ----------
    strategy : FusionStrategy
        Split and stage. Independent branches are trained one after the other, each in a folder of
        its own with its own early stopping, before their probabilities are averaged.
    training, validation : ZoneSamples
        Labelled patches.
    settings : ZoneSettings
        Split and stage are replaced.
    folder : path-like
        Folder of the run; its ``model`` is the classifier.
    posting : float, optional
        Cell size of the patches in metres, stored with the model.
    accelerator, progress
        See `sarheight.learning.train`.

    Returns
    -------
    ZoneClassifier
        In evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    DatasetError, ValueError
        See `sarheight.zones.zone_task`.
    OutputError
        If a model cannot be written.
    """
    groups, folder = strategy.groups, Path(folder)
    run: dict[str, Any] = {"accelerator": accelerator, "progress": progress}

    def trained(chosen: ZoneSettings, place: Path) -> ZoneClassifier:
        prepared = zone_task(training, validation, chosen, posting=posting)
        result: TrainingResult[ZoneClassifier] = train(*prepared, place, **run)
        return result.network

    if not (strategy.independent and len(groups) > 1):
        return trained(replace(settings, split=groups, stage=strategy.stage), folder)
    branch = replace(settings, stage=0, options=branch_options(settings.options, len(groups)))
    classifier = ZoneClassifier.ensemble(
        [
            trained(replace(branch, split=(group,)), folder / f"branch_{number}")
            for number, group in enumerate(groups, start=1)
        ]
    )
    if (folder / MODEL).exists():
        return ZoneClassifier.from_pretrained(folder / MODEL)
    scores = calibrate_classifier(classifier, validation)
    classifier.save_pretrained(folder / MODEL, card={"training": scores})
    return classifier


def compare_fusion(
    training: ZoneSamples,
    validation: ZoneSamples,
    test: ZoneSamples,
    strategies: Iterable[FusionStrategy],
    settings: ZoneSettings,
    folder: str | os.PathLike[str],
    *,
    seeds: Sequence[int] = range(5),
    posting: float | None = None,
    accelerator: str = "auto",
    report: Callable[[FusionStrategy, int], None] | None = None,
) -> list[FusionResult]:
    """Train fusion strategies from several seeds, and test each.

    Strategies that fuse the same channels at the input are one network, which is trained once. A
    second call with the same settings resumes an interrupted comparison.

    Parameters
    ----------
    training, validation, test : ZoneSamples
        Labelled patches: for the weights, for early stopping and calibration, and for the scores.
    strategies : iterable of FusionStrategy
        See `sarheight.zones.fusion_strategies`.
    settings : ZoneSettings
        Common settings; split, stage and seed are replaced.
    folder : path-like
        Gets a folder for each run.
    seeds : sequence of int
        Each strategy is trained once for each seed.
    posting, accelerator
        See `train_strategy`.
    report : callable, optional
        Called with strategy and seed before each run.

    Returns
    -------
    list of FusionResult
        In the order of the strategies.

    Raises
    ------
    CheckpointError
        If the folder holds a comparison with other settings.
    DatasetError, ValueError, OutputError
        See `train_strategy`.
    """
    results = []
    device = "cpu" if accelerator == "cpu" else "auto"
    for strategy in strategies:
        trained = _canonical(strategy, training.channels)
        runs = []
        for seed in seeds:
            if report is not None:
                report(strategy, seed)
            run = Path(folder) / _folder_name(trained) / f"seed_{seed}"
            classifier = train_strategy(
                trained,
                training,
                validation,
                replace(settings, seed=seed),
                run,
                posting=posting,
                accelerator=accelerator,
                progress=False,
            )
            tested = zone_probabilities(classifier, test, device=device)
            validated = zone_probabilities(classifier, validation, device=device)
            runs.append(
                (
                    class_scores(test.labels, tested.argmax(axis=1), test.classes),
                    class_scores(validation.labels, validated.argmax(axis=1), test.classes).average,
                    calibration_error(tested, test.labels),
                    run,
                )
            )
        scores, average, calibration, folders = zip(*runs, strict=True)
        results.append(FusionResult(strategy, scores, average, calibration, folders))
    return results


def rank_fusions(results: Sequence[FusionResult]) -> FusionRanking:
    """Rank early, middle and late fusion by their best strategies.

    Parameters
    ----------
    results : sequence of FusionResult
        From `compare_fusion`, with the same seeds.

    Returns
    -------
    FusionRanking

    Raises
    ------
    ValueError
        If there are fewer than two kinds of fusion.
    """

    def validation(result: FusionResult) -> float:
        return float(np.mean(result.validation))

    best: dict[str, FusionResult] = {}
    for kind in KINDS:
        of_kind = [result for result in results if result.strategy.kind == kind]
        if of_kind:
            best[kind] = max(of_kind, key=validation)
    if len(best) < 2:
        msg = (
            f"found the kinds of fusion {', '.join(best) or 'none'}, expected at least two of "
            f"{', '.join(KINDS)}: add stages"
        )
        raise ValueError(msg)
    ranked = sorted(best, key=lambda kind: -validation(best[kind]))
    first, second = (np.array(best[kind].values("average")) for kind in ranked[:2])
    difference = first - second
    error = None
    if difference.size > 1:
        error = float(difference.std(ddof=1) / np.sqrt(difference.size))
    return FusionRanking(best, ranked[0], float(difference.mean()), error)


def _canonical(strategy: FusionStrategy, channels: Sequence[str]) -> FusionStrategy:
    """Return the network to train: fused at the input, all branches are one."""
    if strategy.stage > 0:
        return strategy
    names = {name for group in strategy.groups for name in group}
    group = tuple(name for name in channels if name in names)
    return replace(strategy, name="input", groups=(group,))


def _folder_name(strategy: FusionStrategy) -> str:
    """Return a folder name that differs between strategies, even if their splits share a name."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in strategy.label)
    return f"{plain}_{sha256(repr(strategy.groups).encode()).hexdigest()[:8]}"
