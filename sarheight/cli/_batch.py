"""``sarheight batch``: many scenes, with a manifest of completed jobs."""

from __future__ import annotations

import glob
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._session import FAILED, session
from sarheight.errors import OptionError
from sarheight.workflow.config import Messages
from sarheight.workflow.options import Configuration, argument, option
from sarheight.workflow.words import OUTPUT, RUNNING, UNVERIFIED, Names, Overwrite

if TYPE_CHECKING:
    from sarheight.cli._session import Session
    from sarheight.workflow.batch import Estimate, Manifest
    from sarheight.workflow.jobs import Job

JOBS = "Jobs"
LISTS = (".toml", ".json", ".csv")


@dataclass(frozen=True, kw_only=True)
class BatchConfig(Configuration):
    """Jobs of a batch, and how they run.

    Attributes
    ----------
    jobs_or_images : tuple of str
        A list of jobs (.toml, .json or .csv), or images: names, or patterns such as 'scenes/*.nc'.
    folder : pathlib.Path, optional
        Folder of the results of images that are not in a list; created if missing.
    suffix : str
        Format of these results; `/` for folders of layers.
    dem : tuple of str
        Elevation model of all images. Repeat the option for each tile.
    tiles : tuple of str
        Elevation models, or a pattern: each makes a result of its own from each image.
    options : tuple of str
        An option of `sarheight reconstruct` for all jobs that do not set it, such as
        `method=one-step`. Repeat the option for more.
    manifest : pathlib.Path, optional
        Record of completed jobs. Default: beside the list or the results.
    jobs : int
        Jobs at a time.
    scheduler : str, optional
        Address of a dask scheduler whose workers run the jobs, such as `tcp://10.0.0.1:8786`.
    dry_run : bool
        Only estimate the cost of the jobs.
    overwrite : bool
        Also replace existing outputs that are not in the manifest.
    """

    jobs_or_images: Annotated[Names, argument("JOBS")]
    folder: Annotated[Path | None, option(OUTPUT, "--folder", "-o", file_okay=False)] = None
    suffix: Annotated[str, option(OUTPUT)] = ".tif"
    dem: Annotated[Names, option(JOBS)] = ()
    tiles: Annotated[Names, option(JOBS)] = ()
    options: Annotated[Names, option(JOBS, "--set", metavar="NAME=VALUE")] = ()
    manifest: Annotated[Path | None, option(OUTPUT)] = None
    jobs: Annotated[int, option(RUNNING, least=1)] = 1
    scheduler: Annotated[str | None, option(RUNNING, metavar="ADDRESS")] = None
    dry_run: Annotated[bool, option(RUNNING, "--dry-run")] = False
    overwrite: Overwrite = False


def batch(settings: BatchConfig, running: Messages) -> None:
    """Unfold many images, and keep a manifest of completed jobs.

    Completed jobs are skipped: those with the same options and input files, and an undamaged
    result by its checksum. Repeat the command to resume after an interruption or a failure. A job
    that fails does not stop the others.

    ```
    sarheight batch 'scenes/*.nc' --dem glo30.tif --set vertical=EGM2008 -o unfolded
    sarheight batch jobs.toml --jobs 2
    sarheight batch jobs.toml --dry-run
    ```

    The jobs of a list have the options of `sarheight reconstruct`, without dashes in front:

    ```
    [defaults]
    vertical = "EGM2008"
    [[job]]
    image = "first.nc"
    dem = "glo30.tif"
    output = "first.tif"
    ```
    """
    with session("batch", running, {"jobs": 1}) as current:
        from sarheight.errors import JobListError
        from sarheight.workflow.batch import Manifest, estimate

        try:
            listed, place = _read_or_make_jobs(settings)
        except JobListError as error:
            raise OptionError(str(error), option="jobs_or_images") from error
        place = settings.manifest or place
        place.parent.mkdir(parents=True, exist_ok=True)
        with Manifest(place) as manifest:
            jobs = manifest.pending(listed)
            cost = estimate(jobs, manifest, settings.jobs)
            current.say(_cost_in_words(len(listed), len(jobs), cost))
            if settings.dry_run or not jobs:
                return
            failures, unverified = _run(jobs, manifest, settings, cost, current)
        if failures:
            current.warn(f"{failures} of {len(jobs)} jobs failed; see '{place}'")
            raise typer.Exit(FAILED)
        if unverified:
            current.warn(
                f"{unverified} of {len(jobs)} jobs read parts of products without comparing their "
                "checksums, as their results say: --verify compares all files first"
            )
            raise typer.Exit(UNVERIFIED)


def _read_or_make_jobs(settings: BatchConfig) -> tuple[list[Job], Path]:
    """Return the jobs, and the default path of their manifest."""
    from sarheight.output.atomic import RESULTS
    from sarheight.workflow.jobs import jobs_of_files, read_jobs

    options = _options(settings.options)
    if settings.dem:
        options["dem"] = list(settings.dem)
    if settings.tiles:
        options["tiles"] = [path for text in settings.tiles for path in _files(text, "tiles")]
    names, folder = settings.jobs_or_images, settings.folder
    if len(names) == 1 and Path(names[0]).suffix.lower() in LISTS:
        path = Path(names[0])
        return read_jobs(path, options), path.with_name(f"{path.stem}.manifest.jsonl")
    if folder is None:
        msg = "pass the folder of the results"
        raise OptionError(msg, option="folder")
    if settings.suffix.lower() not in RESULTS:
        msg = f"found {settings.suffix!r}, expected one of {', '.join(RESULTS)}"
        raise OptionError(msg, option="suffix")
    images = [path for text in names for path in _files(text, "jobs_or_images")]
    return jobs_of_files(images, folder, settings.suffix, options), folder / "manifest.jsonl"


def _options(pairs: Names) -> dict[str, Any]:
    """Read the options of all jobs."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            msg = f"found {pair!r}, expected NAME=VALUE such as method=one-step"
            raise OptionError(msg, option="options")
        options[name.strip()] = value
    return options


def _files(pattern: str, option_name: str) -> list[str]:
    """List the files that match a pattern."""
    if "://" in pattern or Path(pattern).exists():
        return [pattern]
    paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
    if not paths:
        msg = f"found no file that matches {pattern!r}"
        raise OptionError(msg, option=option_name)
    return paths


def _cost_in_words(count: int, pending: int, cost: Estimate) -> str:
    """Describe the jobs to do, and their cost."""
    if not pending:
        return f"{count} jobs, all complete"
    unknown = f", and {cost.unknown} jobs of unknown size" if cost.unknown else ""
    return (
        f"{count} jobs, {count - pending} complete, {pending} to do: {cost.cells:,} cells, "
        f"up to {cost.bytes:,} bytes, about {cost.seconds / 60.0:.1f} minutes{unknown}"
    )


def _run(
    jobs: list[Job],
    manifest: Manifest,
    settings: BatchConfig,
    cost: Estimate,
    current: Session,
) -> tuple[int, int]:
    """Run the jobs and show their progress; return how many failed, and how many warn."""
    from sarheight.workflow.batch import run

    cores = os.cpu_count() or 1
    ended = run(
        jobs,
        manifest,
        threads=None if settings.jobs == 1 else max(cores // settings.jobs, 1),
        workers=settings.jobs,
        scheduler=settings.scheduler,
        overwrite=settings.overwrite,
    )
    current.stage("jobs")
    begun, failures, unverified, cells = time.perf_counter(), 0, 0, 0
    for done, entry in enumerate(ended, 1):
        failures, cells = failures + entry.failed, cells + entry.cells
        unverified += entry.unverified
        # Jobs differ in size: cells are counted where all are known.
        known = cost.cells and not cost.unknown
        current.advance("jobs", cells / cost.cells if known else done / len(jobs))
        rate = cells / max(time.perf_counter() - begun, 1e-3) / 1e6
        current.say(
            f"[{done}/{len(jobs)}] {Path(entry.output).name}: "
            f"{f'failed: {entry.error}' if entry.failed else 'done'} ({entry.seconds:.1f} s"
            f"{f'; {rate:.2f} million cells/s' if cells else ''}{current.time_left()})"
        )
    return failures, unverified
