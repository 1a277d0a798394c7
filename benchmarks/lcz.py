"""Early, middle or late fusion? Every form of the fusion network, on places seen and not seen.

The data are *simulated*, in the form of So2Sat LCZ42 and through its reader (see
`benchmarks.synthetic.zones.write_simulated_so2sat`): 17 zones in regions that differ in how they
are built,
lit, grown over and calibrated. Each form is trained on 80 % of the patches of the training regions;
10 % choose the epoch. Then the same network is tested twice: on the last 10 %, whose regions were
seen, and on the patches of regions that were not. So the two protocols differ in nothing but where
the test lies. Ours is trained on the same patches; its epoch and temperature come from other
regions, unseen as well.

All widths are smaller than the published ones, and epochs fewer, so that the whole table takes a
part of an hour; `--widths`, `--epochs` and `--patches` give larger forms. A run that was
interrupted goes on where it stopped, and further seeds are added to those that are there.

``--published`` trains all forms at the published settings until validation is flat, and
``--so2sat FOLDER`` does so on the files of So2Sat LCZ42, version 2 or 4; see
`benchmarks._zones.published`. ``--report`` makes the table of what is finished.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks._figures import Value, mean_and_spread, record
from benchmarks._zones.fusion_report import markdown, save_figure, table
from benchmarks._zones.published import published_figures, published_markdown, train_published
from benchmarks.synthetic.zones import ZoneSceneSettings, write_simulated_so2sat
from sarheight.zones import (
    ClassScores,
    FusionStrategy,
    So2SatPatches,
    ZoneClassifier,
    ZonePatches,
    ZoneSettings,
    calibration_error,
    class_scores,
    compare_fusion,
    fit_temperature,
    fusion_strategies,
    so2sat_files,
    split_samples,
    train_zones,
    zone_probabilities,
)

__all__ = ["Found", "main"]

POWERS = ("vh_intensity", "vv_intensity")
WIDTHS = (8, 16, 32, 48, 48)
PATCHES, BATCH = 2400, 32
LAST = 6
"""Stage at which probabilities are summed; at those before it features are joined."""
EPOCHS, OUR_EPOCHS = 6, 8
OURS = ("optical", "radar|optical", "radar")
"""Splits of the networks whose probabilities ours is the mean of."""


@dataclass(frozen=True)
class Found:
    """How a network did.

    Attributes
    ----------
    seen, unseen : ClassScores
        On patches of the training regions, and of others.
    error : float
        Expected calibration error on those of others.
    error_before : float
        The same without the temperature.
    """

    seen: ClassScores
    unseen: ClassScores
    error: float
    error_before: float


class Clock:
    """Keeps how long each run took, in processor time, beyond the life of this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure a run, the first time that it comes to its end."""
        begin = time.process_time()
        yield
        if name not in self.seconds:
            self.seconds[name] = time.process_time() - begin
            self.path.write_text(json.dumps(self.seconds, indent=2))


def _scene_settings(patches: int) -> ZoneSceneSettings:
    return ZoneSceneSettings(
        patches={"training": patches, "validation": patches // 4, "test": patches // 2},
        regions={"training": 10, "validation": 4, "test": 8},
    )


def _data(folder: Path, patches: int) -> tuple[dict[str, So2SatPatches], float]:
    """Write the files where they are not there; return them, and the seconds that it took."""
    begin = time.process_time()
    names = {"training": "training.h5", "validation": "validation.h5", "test": "testing.h5"}
    if not all((folder / name).exists() for name in names.values()):
        write_simulated_so2sat(folder, _scene_settings(patches), overwrite=True)
    spent = time.process_time() - begin
    return {role: So2SatPatches(folder / name) for role, name in names.items()}, spent


def _untempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Take a temperature back out of probabilities."""
    raised = np.maximum(probabilities, 1e-30) ** temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _found(model: ZoneClassifier, seen: Any, unseen: Any) -> Found:  # noqa: ANN401 - ZoneSamples
    scores = []
    for samples in (seen, unseen):
        given = zone_probabilities(model, samples)
        scores.append(class_scores(samples.labels, given.argmax(axis=1), samples.classes))
    return Found(
        scores[0],
        scores[1],
        calibration_error(given, unseen.labels),
        calibration_error(_untempered(given, model.temperature), unseen.labels),
    )


def _forms(
    data: Mapping[str, ZonePatches],
    parts: Mapping[str, Any],
    settings: ZoneSettings,
    work: Path,
    clock: Clock,
    seeds: Mapping[str, int],
    console: Console,
) -> dict[FusionStrategy, list[Found]]:
    """Train every form, seed by seed: all forms have one seed before any has two."""
    forms = fusion_strategies(independent=True)
    found: dict[FusionStrategy, list[Found]] = {form: [] for form in forms}
    for seed in range(max(seeds.values())):
        for form in forms:
            if seed >= seeds[form.name]:
                continue
            with clock.of(f"{form.label} {seed}"):
                (row,) = compare_fusion(
                    parts["training"],
                    parts["validation"],
                    parts["test"],
                    [form],
                    settings,
                    work / "forms",
                    seeds=[seed],
                    accelerator="cpu",
                )
                model = ZoneClassifier.from_pretrained(row.folders[0] / "model")
                found[form].append(_found(model, parts["test"], data["test"]))
            last = found[form][-1]
            console.print(
                f"{form.label}, seed {seed}: AA {last.seen.average:.3f} seen, "
                f"{last.unseen.average:.3f} unseen"
            )
    return found


def _ours(
    data: Mapping[str, ZonePatches],
    parts: Mapping[str, Any],
    epochs: int,
    width: int,
    work: Path,
    clock: Clock,
    seeds: int,
) -> dict[str, list[Found]]:
    """Train ours: networks for each sensor and for both, apart; and their sum."""
    found: dict[str, list[Found]] = {}
    validation = data["validation"]
    for seed in range(seeds):
        models = []
        for split in OURS:
            settings = ZoneSettings.generalising(
                split,
                options={"width": width, "step": 2},
                decibel=POWERS,
                epochs=epochs,
                patience=epochs,
                batch=BATCH,
                seed=seed,
            )
            folder = work / "ours" / f"{split.replace('|', '_')}_{seed}"
            with clock.of(f"ours {split} {seed}"):
                model = train_zones(
                    parts["training"],
                    validation,
                    settings,
                    folder,
                    accelerator="cpu",
                    progress=False,
                )
            models.append(model)
            found.setdefault(f"ours: {split} alone", []).append(
                _found(model, parts["test"], data["test"])
            )
        whole = ZoneClassifier.ensemble(models)
        given = zone_probabilities(whole, validation)
        whole.temperature = fit_temperature(given, validation.labels)
        found.setdefault("ours: sum of the three", []).append(
            _found(whole, parts["test"], data["test"])
        )
    return found


def _loader_share(lazy: So2SatPatches, settings: ZoneSettings, seconds_of_step: float) -> float:
    """Compare reading a batch from the file, patches in any order, with a step of training."""
    random = np.random.default_rng(0)
    batches = [random.permutation(len(lazy))[: settings.batch] for _ in range(20)]
    lazy.read(batches[0])
    begin = time.process_time()
    for batch in batches:
        lazy.read(batch)
    return (time.process_time() - begin) / len(batches) / seconds_of_step


def _figures(
    found: Mapping[FusionStrategy, Sequence[Found]],
    ours: Mapping[str, Sequence[Found]],
    minutes: float,
    loader: float,
) -> dict[str, Value]:
    """Collect what the tables are made for."""

    def average(form: FusionStrategy, where: str = "unseen") -> float:
        return float(np.mean([getattr(each, where).average for each in found[form]]))

    forms = list(found)
    by_stage = [
        float(np.mean([average(form) for form in forms if form.stage == stage]))
        for stage in range(LAST)
    ]
    late = [form for form in forms if form.stage == LAST and not form.independent]
    gains = [
        average(other) - average(form)
        for form in late
        for other in forms
        if other.independent and other.name == form.name
    ]
    best = max(forms, key=average)
    sums = ours["ours: sum of the three"]
    ours_average = mean_and_spread([each.unseen.average for each in sums])
    return {
        "lcz.simulated.all_forms": minutes,
        "lcz.simulated.seen_aa": float(np.mean([average(form, "seen") for form in forms])),
        "lcz.simulated.unseen_aa": float(np.mean([average(form) for form in forms])),
        "lcz.simulated.stage_range_aa": max(by_stage) - min(by_stage),
        "lcz.simulated.late_loss_aa": float(np.mean(by_stage) - np.mean([*map(average, late)])),
        "lcz.simulated.independent_gain_aa": mean_and_spread(gains),
        "lcz.simulated.best_form_aa": mean_and_spread(
            [each.unseen.average for each in found[best]]
        ),
        "lcz.simulated.ours_aa": ours_average,
        "lcz.simulated.ours_seen_aa": mean_and_spread([each.seen.average for each in sums]),
        "lcz.simulated.ours_ece_before": mean_and_spread([each.error_before for each in sums]),
        "lcz.simulated.ours_ece": mean_and_spread([each.error for each in sums]),
        "lcz.loader_share": loader,
    }


def _published(chosen: argparse.Namespace, console: Console) -> None:
    """Train all forms at the published settings, on simulated files or on those of So2Sat."""
    work = chosen.work / ("so2sat" if chosen.so2sat else "published")
    if chosen.so2sat is None:
        files, _ = _data(chosen.work / "data", chosen.patches)
        data: dict[str, Any] = {role: samples.load() for role, samples in files.items()}
    else:
        data = {role: So2SatPatches(path) for role, path in so2sat_files(chosen.so2sat).items()}
        if "test" not in data:
            msg = f"found no testing.h5 in '{chosen.so2sat}', expected version 2 or 4 of So2Sat"
            raise FileNotFoundError(msg)
    changes = {} if chosen.published_epochs is None else {"epochs": chosen.published_epochs}
    settings = ZoneSettings(decibel=POWERS, **changes)
    seeds = chosen.seeds
    runs = train_published(
        split_samples(data["training"], seed=0),
        data["test"],
        settings,
        work,
        seeds=seeds,
        accelerator=chosen.accelerator,
        console=console,
        train=not chosen.report,
    )
    expected = seeds * len(fusion_strategies(independent=True))
    console.print(f"{len(runs)} of {expected} runs are finished in {work}")
    if runs and chosen.save:
        command = f"python -m benchmarks.lcz --published --seeds {seeds} --save"
        published_markdown(runs, expected, command)
        record(published_figures(runs, expected), command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train all forms and ours, test, print the tables, and put the figures on record."""
    parser = argparse.ArgumentParser("python -m benchmarks.lcz", description=__doc__)
    parser.add_argument("--save", action="store_true", help="put figures, table and plot on record")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each form")
    parser.add_argument(
        "--more-seeds", type=int, default=3, help="of the forms of radar|optical, and of ours"
    )
    parser.add_argument("--patches", type=int, default=PATCHES, help="in the training regions")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--our-epochs", type=int, default=OUR_EPOCHS)
    parser.add_argument("--widths", type=int, nargs=5, default=WIDTHS, help="features of B1 to B5")
    parser.add_argument("--our-width", type=int, default=12)
    parser.add_argument("--work", type=Path, default=Path("build/lcz"))
    parser.add_argument(
        "--published", action="store_true", help="all forms at the published settings"
    )
    parser.add_argument(
        "--so2sat", type=Path, metavar="FOLDER", help="the same on files of So2Sat LCZ42"
    )
    parser.add_argument("--published-epochs", type=int, help="fewer than 100, to try it out")
    parser.add_argument("--report", action="store_true", help="train nothing; what is finished")
    parser.add_argument("--accelerator", default="cpu", help="of --published: cpu, gpu, auto")
    chosen = parser.parse_args(arguments)
    console = Console()
    if chosen.accelerator == "cpu":
        torch.set_num_threads(1)
    if chosen.published or chosen.so2sat:
        _published(chosen, console)
        return
    more = max(chosen.more_seeds, chosen.seeds)
    files, seconds = _data(chosen.work / "data", chosen.patches)
    data = {role: samples.load(np.float32) for role, samples in files.items()}
    parts = split_samples(data["training"], seed=0)
    clock = Clock(chosen.work / "seconds.json")
    clock.seconds.setdefault("data", seconds)
    settings = ZoneSettings(
        options={"widths": tuple(chosen.widths), "dense": chosen.widths[-1], "pooled_blocks": 4},
        decibel=POWERS,
        epochs=chosen.epochs,
        patience=chosen.epochs,
        batch=BATCH,
        rate=2e-3,
        optimiser="adam",
    )
    seeds = {form.name: chosen.seeds for form in fusion_strategies()} | {"radar|optical": more}
    found = _forms(data, parts, settings, chosen.work, clock, seeds, console)
    ours = _ours(data, parts, chosen.our_epochs, chosen.our_width, chosen.work, clock, more)
    first_seed = [clock.seconds[f"{form.label} 0"] for form in found if not form.independent]
    minutes = (clock.seconds["data"] + sum(first_seed)) / 60.0
    steps = chosen.epochs * -(-len(parts["training"]) // settings.batch)
    share = _loader_share(files["training"], settings, float(np.median(first_seed)) / steps)
    console.print(table(found, ours))
    console.print(
        f"28 forms, one seed: {minutes:.1f} minutes of one core; reading a batch from the file: "
        f"{100 * share:.0f} % of a step"
    )
    if chosen.save:
        save_figure(found, ours)
        command = f"python -m benchmarks.lcz --seeds {chosen.seeds} --more-seeds {more} --save"
        markdown(found, ours, command)
        record(_figures(found, ours, minutes, share), command)


if __name__ == "__main__":
    main()
