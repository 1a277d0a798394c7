"""Early, middle or late fusion: the same data through every form, from several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sarheight.zones._metrics import calibration_error, class_scores
from sarheight.zones.training import train_zones, zone_probabilities

if TYPE_CHECKING:
    import os

    from sarheight.zones._metrics import ClassScores
    from sarheight.zones.samples import ZoneSamples
    from sarheight.zones.sources import FusionForm
    from sarheight.zones.training import ZoneSettings

FUSIONS = ("early", "middle", "late")
ERRORS = 2.0
"""Standard errors beyond which a difference is told from chance."""


@dataclass(frozen=True, eq=False)
class FusionRow:
    """What one form reached, from each seed.

    Attributes
    ----------
    form : FusionForm
        The split, and the stage at which its branches meet.
    scores : tuple of ClassScores
        On the samples for test, one for each seed.
    validation : tuple of float
        Average accuracy at validation: by this, and never by the test, a form may be chosen.
    calibration : tuple of float
        Expected calibration error on the samples for test, after the temperature was set.
    folders : tuple of pathlib.Path
        Where the runs are.
    """

    form: FusionForm
    scores: tuple[ClassScores, ...]
    validation: tuple[float, ...]
    calibration: tuple[float, ...]
    folders: tuple[Path, ...]

    def values(self, name: str) -> list[float]:
        """Return a figure of `ClassScores`, such as "average", for each seed."""
        return [float(getattr(scores, name)) for scores in self.scores]

    def mean(self, name: str) -> float:
        """Return the mean of a figure over the seeds."""
        return float(np.mean(self.values(name)))

    def spread(self, name: str) -> float | None:
        """Return the standard deviation of a figure over the seeds; None with one seed."""
        values = self.values(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True, eq=False)
class FusionVerdict:
    """Which kind of fusion did best.

    Attributes
    ----------
    best : dict
        For each of "early", "middle" and "late" that was tried, the row of the form with the
        highest average accuracy at validation.
    winner : str
        The kind whose row has the highest average accuracy at validation.
    gain : float
        By how much its average accuracy on the samples for test lies above that of the next kind,
        in the mean over the seeds; below 0 where validation and test disagree.
    error : float or None
        Standard error of that gain, from the differences seed by seed; None with one seed.
    """

    best: dict[str, FusionRow]
    winner: str
    gain: float
    error: float | None

    @property
    def clear(self) -> bool:
        """Tell whether the gain is more than chance between seeds would make."""
        return self.error is not None and self.gain > ERRORS * self.error


def compare_fusion(
    training: ZoneSamples,
    validation: ZoneSamples,
    test: ZoneSamples,
    forms: Iterable[FusionForm],
    settings: ZoneSettings,
    folder: str | os.PathLike[str],
    *,
    seeds: Sequence[int] = range(5),
    posting: float | None = None,
    accelerator: str = "auto",
    progress: bool = False,
    report: Callable[[FusionForm, int], None] | None = None,
) -> list[FusionRow]:
    """Train forms of fusion from several seeds, and test each.

    Forms that join the same channels at the input are one network, and are trained once. A
    comparison that was interrupted goes on where it stopped.

    Parameters
    ----------
    training, validation, test : ZoneSamples
        Labelled patches: for the weights, for early stopping and temperature, and for the table.
    forms : iterable of FusionForm
        See `sarheight.zones.fusion_forms`.
    settings : ZoneSettings
        All that the forms have in common; their split, stage and seed are set.
    folder : path-like
        Gets a folder for each run.
    seeds : sequence of int
        One run of each form for each.
    posting, accelerator, progress
        See `train_zones`.
    report : callable, optional
        Told before each run which form and seed it is.

    Returns
    -------
    list of FusionRow
        In the order of the forms.

    Raises
    ------
    CheckpointError
        If the folder holds a comparison with other settings.
    DatasetError, ValueError, OutputError
        See `train_zones`.
    """
    rows = []
    device = "cpu" if accelerator == "cpu" else "auto"
    for form in forms:
        trained = _network_of(form, training.channels)
        runs = []
        for seed in seeds:
            if report is not None:
                report(form, seed)
            run = Path(folder) / _slug(trained) / f"seed_{seed}"
            chosen = replace(
                settings,
                split=trained.groups,
                stage=trained.stage,
                independent=trained.independent,
                seed=seed,
            )
            classifier = train_zones(
                training,
                validation,
                chosen,
                run,
                posting=posting,
                accelerator=accelerator,
                progress=progress,
            )
            found = zone_probabilities(classifier, test, device=device)
            held_out = zone_probabilities(classifier, validation, device=device)
            runs.append(
                (
                    class_scores(test.labels, found.argmax(axis=1), test.classes),
                    class_scores(validation.labels, held_out.argmax(axis=1), test.classes).average,
                    calibration_error(found, test.labels),
                    run,
                )
            )
        scores, average, calibration, folders = zip(*runs, strict=True)
        rows.append(FusionRow(form, scores, average, calibration, folders))
    return rows


def fusion_verdict(rows: Sequence[FusionRow]) -> FusionVerdict:
    """Say which kind of fusion did best.

    Parameters
    ----------
    rows : sequence of FusionRow
        Of `compare_fusion`, with the same seeds.

    Returns
    -------
    FusionVerdict

    Raises
    ------
    ValueError
        If there are not two kinds of fusion to compare.
    """
    best: dict[str, FusionRow] = {}
    for kind in FUSIONS:
        of_kind = [row for row in rows if row.form.fusion == kind]
        if of_kind:
            best[kind] = max(of_kind, key=lambda row: float(np.mean(row.validation)))
    if len(best) < 2:
        msg = (
            f"found the kinds of fusion {', '.join(best) or 'none'}, expected two at least of "
            f"{', '.join(FUSIONS)}: add stages"
        )
        raise ValueError(msg)
    ranked = sorted(best, key=lambda kind: -float(np.mean(best[kind].validation)))
    first, second = (np.array(best[kind].values("average")) for kind in ranked[:2])
    difference = first - second
    error = None
    if difference.size > 1:
        error = float(difference.std(ddof=1) / np.sqrt(difference.size))
    return FusionVerdict(best, ranked[0], float(difference.mean()), error)


def _network_of(form: FusionForm, channels: Sequence[str]) -> FusionForm:
    """Return what is trained for a form: joined at the input, branches are one."""
    if form.stage > 0:
        return form
    named = {name for group in form.groups for name in group}
    joined = tuple(name for name in channels if name in named)
    return replace(form, name="joined", groups=(joined,))


def _slug(form: FusionForm) -> str:
    """Return a name for a folder that tells forms apart, whatever their groups are called."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in form.label)
    return f"{plain}_{sha256(repr(form.groups).encode()).hexdigest()[:8]}"
