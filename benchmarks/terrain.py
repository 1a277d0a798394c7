"""How much do reconstruction and network bring? Heights on ground that no network has seen.

Scenes are simulated from real elevation models under real orbits (see
`benchmarks._mountains.scenes`), at 32 to 34 degrees, where the folds are; the reconstruction is
given a model three times coarser with a height error of 4 m. Each region is parted into bands with
gaps: one to train on, one to stop by, one to test on. All networks are trained on the same ground,
the training bands of all regions together; in the form for a GPU these are also seen from the other
side, and mountains elsewhere are added. A patch of 128 x 128 cells has 16 known elevations; 4 and
64 are a test of robustness. `benchmarks._terrain.rows` holds what is compared.

What is done is kept in the folder `--work`, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.markdown import Markdown

from benchmarks._figures import RESULTS, record
from benchmarks._terrain.errors import Errors, baselines, measured
from benchmarks._terrain.evidence import evidence
from benchmarks._terrain.pictures import draw
from benchmarks._terrain.places import make_ground
from benchmarks._terrain.report import Found, figures_of, markdown
from benchmarks._terrain.rows import KNOWN, NETWORKS, settings_of
from sarheight.terrain import HeightEstimator, train_terrain

__all__ = ["main"]

SEEDS = 3
SECONDS = "seconds.json"
"""Where a run keeps how long its training and its test took one thread."""


@dataclass(frozen=True)
class Task:
    """One training and its test, done by a process of its own.

    Attributes
    ----------
    row, seed
        Key of `NETWORKS`, and the seed of the training.
    work : Path
        Folder of the scenes and runs.
    data : str or None
        Folder with the real data.
    large : bool
        Whether it is the form for a GPU.
    """

    row: str
    seed: int
    work: Path
    data: str | None
    large: bool

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.work / "runs" / f"{self.row}_{self.seed}"

    def run(self) -> dict[str, dict[str, dict[str, Errors]]]:
        """Train and test, or take what is there; errors by row, region and number."""
        written = self.folder / "errors.json"
        if written.exists():
            return json.loads(written.read_text("utf-8"))  # type: ignore[no-any-return]
        began = time.process_time()
        ground = make_ground(self.work / "scenes", self.data, print, more=self.large)
        settings = settings_of(self.row, self.seed, large=self.large)
        regions = list(ground.scenes)
        estimator = train_terrain(
            [*ground.scenes.values(), *ground.more],
            [*(ground.bands[name]["training"] for name in regions), *ground.more_parts],
            [*(ground.bands[name]["validation"] for name in regions), *([None] * len(ground.more))],
            settings,
            self.folder,
            accelerator="auto" if self.large else "cpu",
            progress=False,
        )
        trained = time.process_time()
        held_out = {name: bands["test"] for name, bands in ground.bands.items()}
        found = {self.row: measured(estimator, settings.channels, ground.scenes, held_out, KNOWN)}
        ended = time.process_time()
        (self.folder / SECONDS).write_text(
            json.dumps({"training": trained - began, "test": ended - trained}), "utf-8"
        )
        half = written.with_suffix(".part")
        half.write_text(json.dumps(found), "utf-8")
        half.rename(written)
        return found


def _one_thread() -> None:
    torch.set_num_threads(1)


def _done(tasks: Sequence[Task], workers: int, console: Console) -> Found:
    """Do all tasks; two of one thread each do more than one of two threads."""
    found: Found = {}
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        running = {pool.submit(task.run): task for task in tasks}
        for done in as_completed(running):
            task = running[done]
            for row, errors in done.result().items():
                found.setdefault(row, {})[task.seed] = errors
            console.print(f"{task.row}, seed {task.seed}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, test, write table and pictures, and put the figures on record."""
    parser = argparse.ArgumentParser("python -m benchmarks.terrain", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each network")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument(
        "--large", action="store_true", help="wider networks and more epochs: for a GPU"
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="folder for scenes, runs, table and pictures; what is there is not done again",
    )
    chosen = parser.parse_args(arguments)
    work = chosen.work or Path("build/terrain_large" if chosen.large else "build/terrain")
    console = Console()
    began = time.monotonic()
    ground = make_ground(work / "scenes", chosen.data, console.print, more=chosen.large)
    tasks = [
        Task(row, seed, work, chosen.data, chosen.large)
        for seed in range(chosen.seeds)
        for row in NETWORKS
    ]
    found = _done(tasks, chosen.workers, console)
    for known in KNOWN:
        for name, scene in ground.scenes.items():
            for row, errors in baselines(scene, ground.bands[name]["test"], known).items():
                by_region = found.setdefault(row, {}).setdefault(0, {})
                by_region.setdefault(name, {})[str(known)] = errors
    minutes = (time.monotonic() - began) / 60.0
    told = {
        name: evidence(ground.bands[name]["training"].of(scene))
        for name, scene in ground.scenes.items()
    }
    text = markdown(found, told, asdict(settings_of("residual", 0, large=chosen.large)))
    (work / "table.md").write_text(text, "utf-8")
    console.print(Markdown(text))
    estimators = {
        row: HeightEstimator.from_pretrained(work / "runs" / f"{row}_0" / "model")
        for row in NETWORKS
    }
    draw(ground, estimators, RESULTS / "pictures" if chosen.save else work)
    console.print(f"{work}/table.md; {minutes:.0f} minutes, less what was there already")
    if chosen.save:
        command = "python -m benchmarks.terrain" + (" --large" if chosen.large else "")
        seconds = [json.loads((task.folder / SECONDS).read_text("utf-8")) for task in tasks]
        figures = figures_of(found, told)
        figures["terrain.core_minutes"] = sum(sum(each.values()) for each in seconds) / 60.0
        record(figures, f"{command} --save")


if __name__ == "__main__":
    main()
