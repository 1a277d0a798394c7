"""Early, middle or late fusion? All forms of FusionCNN at the published settings.

The data are *simulated*, in the form of So2Sat LCZ42 and through its reader (see
`tests.worlds.zones.write_simulated_so2sat`): 17 zones in regions that differ in how they
are built, lit, grown over and calibrated. ``--so2sat FOLDER`` takes the files of So2Sat LCZ42,
version 2 or 4, instead.

The settings are those of `sarheight.zones.fusion_cnn.published`: whole widths, Adam with Nesterov
momentum, at most 100 epochs, and an end after 25 without a better overall accuracy at validation.
Training data are split 80, 10 and 10 %; the last 10 % are the test in regions that were seen, the
test file that in others. A run is resumable at each epoch, and its scores are kept in a file of its
own, so that ``--report`` can be made at any time, of what was reached until then. Several processes
may train side by side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from scipy.stats import t as student

from benchmarks._command import options, tell
from benchmarks._figures import RESULTS, Value
from benchmarks._files import whole
from benchmarks._runs import claimed, curve
from sarheight.zones import (
    FusionStrategy,
    So2SatPatches,
    ZoneClassifier,
    ZoneSamples,
    ZoneSettings,
    calibration_error,
    class_scores,
    compare_fusion,
    fusion_strategies,
    so2sat_files,
    split_samples,
    zone_probabilities,
)
from tests.worlds.zones import ZoneSceneSettings, write_simulated_so2sat

if TYPE_CHECKING:
    import argparse

__all__ = [
    "PublishedRun",
    "claims",
    "main",
    "published_figures",
    "published_markdown",
    "stage_table",
    "train_published",
]

POWERS = ("vh_intensity", "vv_intensity")
PATCHES = 2400
LATE = 6
FLAT_SHARE = 2 / 3
"""The best epoch of a flat curve lies before this share of the epochs."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class PublishedRun:
    """What one form reached from one seed."""

    split: str
    stage: int
    independent: bool
    seed: int
    # Average accuracies: at validation, and on test patches of seen and of other regions
    validation: float
    seen: float
    unseen: float
    overall: float  # Overall accuracy and calibration error in other regions
    error: float  # Overall accuracy and calibration error in other regions
    # Epochs that were trained, and the number of the best; of independent branches those of the one
    # whose best came last
    epochs: int
    best: int

    @property
    def flat(self) -> bool:
        """Whether validation did not improve in the last third of the epochs."""
        return self.best <= FLAT_SHARE * self.epochs

    @property
    def form(self) -> tuple[str, int, bool]:
        """Key of the form."""
        return self.split, self.stage, self.independent


def train_published(
    parts: Mapping[str, ZoneSamples],
    unseen: ZoneSamples,
    settings: ZoneSettings,
    work: Path,
    *,
    seeds: int,
    accelerator: str,
    console: Console,
    train: bool = True,
) -> list[PublishedRun]:
    """Train all forms, seed by seed, and return what is finished; `train=False` only returns it.

    Several processes may do so side by side.
    """
    tasks = [(form, seed) for seed in range(seeds) for form in fusion_strategies(independent=True)]
    scores = {task: work / "scores" / f"{_plain(task[0])}_{task[1]}.json" for task in tasks}
    for (form, seed), path in scores.items() if train else ():
        # Forms that meet at the input are one network, and have one folder.
        name = f"{_plain(form) if form.stage else 'input'}_{seed}"
        with claimed(work / "claims" / name) as free:
            if path.exists() or not free:
                continue
            run = _train(form, seed, parts, unseen, settings, work, accelerator)
            with whole(path) as part:
                part.write_text(json.dumps(run.__dict__, indent=1), "utf-8")
            console.print(
                f"{form.label}, seed {seed}: AA {run.seen:.3f} seen, {run.unseen:.3f} unseen; "
                f"best epoch {run.best} of {run.epochs}"
            )
    finished = [path for path in scores.values() if path.exists()]
    return [PublishedRun(**json.loads(path.read_text("utf-8"))) for path in finished]


def _plain(form: FusionStrategy) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in form.label)


def _train(
    form: FusionStrategy,
    seed: int,
    parts: Mapping[str, ZoneSamples],
    unseen: ZoneSamples,
    settings: ZoneSettings,
    work: Path,
    accelerator: str,
) -> PublishedRun:
    (row,) = compare_fusion(
        parts["training"],
        parts["validation"],
        parts["test"],
        [form],
        settings,
        work / "forms",
        seeds=[seed],
        accelerator=accelerator,
    )
    folder = row.folders[0]
    given = zone_probabilities(ZoneClassifier.from_pretrained(folder / "model"), unseen)
    scores = class_scores(unseen.labels, given.argmax(axis=1), unseen.classes)
    epochs, best = _curve(folder)
    return PublishedRun(
        split=form.name,
        stage=form.stage,
        independent=form.independent,
        seed=seed,
        validation=float(row.validation[0]),
        seen=row.scores[0].average,
        unseen=scores.average,
        overall=scores.overall,
        error=calibration_error(given, unseen.labels),
        epochs=epochs,
        best=best,
    )


def _curve(folder: Path) -> tuple[int, int]:
    """Return the number of epochs, and that of the best; of several curves of the latest."""
    found = []
    for path in folder.glob("**/metrics.csv"):
        _, values = curve(path, "validation_overall")
        found.append((values.size, int(values.argmax()) + 1))
    return max(found, key=lambda each: each[1] / each[0])


# What the runs say.


def _interval(differences: Sequence[float]) -> tuple[float, float, int]:
    """Return mean and half-width of Student's 95 % interval of paired differences."""
    values = np.array(differences)
    if values.size < 2:
        return float(values.mean()), float("inf"), values.size
    factor = student.ppf(0.5 + CONFIDENCE / 2.0, values.size - 1)
    return float(values.mean()), float(factor * values.std(ddof=1) / values.size**0.5), values.size


def claims(runs: Sequence[PublishedRun]) -> dict[str, tuple[float, float, int]]:
    """Test what the paper claims, on pairs of one split and one seed.

    Returns by claim mean, half-width of the 95 % interval, and number of pairs, in average accuracy
    in unseen regions: what late fusion gains over the best stage before it, which validation
    chooses; and what independent branches gain over those that are trained together.
    """
    by_key = {(run.form, run.seed): run for run in runs}
    late, apart = [], []
    for ((split, stage, independent), seed), joint in by_key.items():
        if stage != LATE or independent:
            continue
        before = [
            run for run in runs if run.split == split and run.seed == seed and run.stage < LATE
        ]
        own = by_key.get(((split, LATE, True), seed))
        if len(before) == LATE:
            chosen = max(before, key=lambda run: run.validation)
            lates = [joint] if own is None else [joint, own]
            best = max(lates, key=lambda run: run.validation)
            late.append(best.unseen - chosen.unseen)
        if own is not None:
            apart.append(own.unseen - joint.unseen)
    found = {"late_gain": late, "independent_gain": apart}
    return {name: _interval(values) for name, values in found.items() if values}


def published_figures(runs: Sequence[PublishedRun]) -> dict[str, Value]:
    """Collect figures; claims are in points, with the half-widths of their 95 % intervals."""
    values: dict[str, Value] = {
        "lcz.published.flat_runs": float(np.mean([run.flat for run in runs])),
        "lcz.published.unseen_aa": float(np.mean([run.unseen for run in runs])),
        "lcz.published.seen_aa": float(np.mean([run.seen for run in runs])),
    }
    for name, (mean, half, pairs) in claims(runs).items():
        if pairs > 1:
            values[f"lcz.simulated.{name}"] = (100.0 * mean, 100.0 * half)
    return values


def published_markdown(runs: Sequence[PublishedRun], expected: int, command: str) -> None:
    """Write the table as ``benchmarks/results/lcz_published.md``, with what is not finished."""
    lines = [
        "# Forms of fusion at the published settings",
        "",
        f"Made by `{command}`: {len(runs)} of {expected} runs are finished. Simulated patches,",
        "average accuracy in %, mean and standard deviation over seeds. A curve is flat if its",
        "best epoch lies in the first two thirds.",
        "",
        "| form | seeds | AA seen | AA unseen | ECE unseen | flat curves |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for form in fusion_strategies(independent=True):
        key = (form.name, form.stage, form.independent)
        several = [run for run in runs if run.form == key]
        if several:
            cells = [
                form.label.replace("|", "&#124;"),
                str(len(several)),
                *(_text([getattr(run, name) for run in several]) for name in ("seen", "unseen")),
                _text([run.error for run in several]),
                f"{sum(run.flat for run in several)} of {len(several)}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *stage_table(runs), ""]
    for name, (mean, half, pairs) in claims(runs).items():
        spread = f" ± {100 * half:.1f} (95 %)" if pairs > 1 else ""
        lines.append(f"- {name.replace('_', ' ')}: {100 * mean:+.1f}{spread} points, {pairs} pairs")
    (RESULTS / "lcz_published.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def stage_table(runs: Sequence[PublishedRun]) -> list[str]:
    """Tabulate average accuracies in unseen regions by stage and split, in Markdown.

    Means over seeds in per cent, for the forms that are finished.
    """
    forms = list(fusion_strategies(independent=True))
    names = list(dict.fromkeys((form.stage, form.independent) for form in forms))
    splits = list(dict.fromkeys(form.name for form in forms))
    titles = [
        f"<code>{each.replace('|', '&#124;')}</code>" if "|" in each else each for each in splits
    ]
    lines = [
        "| average accuracy, regions not seen | " + " | ".join(titles) + " |",
        "|---|" + "---:|" * len(splits),
    ]
    for stage, independent in sorted(names):
        if stage == LATE:
            title = f"outputs ({LATE}), " + ("independent" if independent else "trained jointly")
        else:
            title = f"block {stage}" if stage else "input (0)"
        cells = []
        for split in splits:
            found = [run.unseen for run in runs if run.form == (split, stage, independent)]
            cells.append(f"{100 * np.mean(found):.1f}" if found else "")
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return lines


def _text(values: Sequence[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}"
    return f"{mean} ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


# The command.


def _open(chosen: argparse.Namespace) -> dict[str, ZoneSamples]:
    """Open the files of So2Sat, or write simulated ones where they are not there."""
    if chosen.so2sat is not None:
        files = so2sat_files(chosen.so2sat)
        if "test" not in files:
            msg = f"found no testing.h5 in '{chosen.so2sat}', expected version 2 or 4 of So2Sat"
            raise FileNotFoundError(msg)
        return {role: So2SatPatches(path) for role, path in files.items()}
    folder, patches = chosen.work / "data", chosen.patches
    if not all((folder / f"{name}.h5").exists() for name in ("training", "validation", "testing")):
        settings = ZoneSceneSettings(
            patches={"training": patches, "validation": patches // 4, "test": patches // 2},
            regions={"training": 10, "validation": 4, "test": 8},
        )
        write_simulated_so2sat(folder, settings, overwrite=True)
    files = so2sat_files(folder)
    return {role: So2SatPatches(path).load() for role, path in files.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train all forms, test, write the table, and put the figures on record."""
    parser = options("lcz", __doc__)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each form")
    parser.add_argument("--patches", type=int, default=PATCHES, help="in the training regions")
    parser.add_argument("--work", type=Path, default=Path("build/lcz"))
    parser.add_argument("--so2sat", type=Path, metavar="FOLDER", help="files of So2Sat LCZ42")
    parser.add_argument("--epochs", type=int, help="fewer than 100, to try it out")
    parser.add_argument("--report", action="store_true", help="train nothing; what is finished")
    parser.add_argument("--accelerator", default="cpu", help="cpu, gpu, auto")
    chosen = parser.parse_args(arguments)
    console = Console()
    if chosen.accelerator == "cpu":
        torch.set_num_threads(1)
    data = _open(chosen)
    changes: dict[str, Any] = {} if chosen.epochs is None else {"epochs": chosen.epochs}
    work = chosen.work / ("so2sat" if chosen.so2sat else "published")
    runs = train_published(
        split_samples(data["training"], seed=0),
        data["test"],
        ZoneSettings.published(decibel=POWERS, **changes),
        work,
        seeds=chosen.seeds,
        accelerator=chosen.accelerator,
        console=console,
        train=not chosen.report,
    )
    expected = chosen.seeds * len(fusion_strategies(independent=True))
    console.print(f"{len(runs)} of {expected} runs are finished in {work}")
    console.print("\n".join(stage_table(runs)))
    if runs:
        command = f"lcz --seeds {chosen.seeds}"
        tell(published_figures(runs), command, save=chosen.save)
        if chosen.save:
            published_markdown(runs, expected, f"python -m benchmarks.{command} --save")


if __name__ == "__main__":
    main()
