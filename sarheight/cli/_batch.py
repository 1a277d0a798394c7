"""``sarheight batch``: many scenes, with a manifest of what is complete."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._options import OUTPUTS, RUNNING, Debug, Quiet
from sarheight.cli._session import FAILED, session

if TYPE_CHECKING:
    from sarheight.batch import Expected, Job, Manifest, Outcome
    from sarheight.cli._session import Session

JOBS = "Jobs"
LISTS = (".toml", ".json", ".csv")
GIBIBYTE = 2.0**30


def batch(
    *,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="JOBS",
            help="A list of jobs (.toml, .json or .csv), or images: names, or patterns such as "
            "'scenes/*.nc'.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            "-o",
            file_okay=False,
            help="Where results of images go that are not in a list; made if it is not there.",
            rich_help_panel=OUTPUTS,
            show_default=False,
        ),
    ] = None,
    suffix: Annotated[
        str,
        typer.Option(help="Format of these results.", rich_help_panel=OUTPUTS),
    ] = ".tif",
    dem: Annotated[
        list[str] | None,
        typer.Option(
            "--dem",
            help="Elevation model of all images; again for each further tile of it.",
            rich_help_panel=JOBS,
            show_default=False,
        ),
    ] = None,
    tiles: Annotated[
        list[str] | None,
        typer.Option(
            "--tiles",
            help="Elevation models, or a pattern, of which each makes a result of its own of each "
            "image.",
            rich_help_panel=JOBS,
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An option of `sarheight reconstruct` for all jobs that do not say otherwise, "
            "such as `method=one-step`; again for each further one.",
            rich_help_panel=JOBS,
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="Where it is kept what is complete; by default beside the list or the results.",
            rich_help_panel=OUTPUTS,
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="How many work at a time.", rich_help_panel=RUNNING)
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a dask scheduler whose workers do the jobs, such as "
            "`tcp://10.0.0.1:8786`.",
            rich_help_panel=RUNNING,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what there is to do and what it takes.", rich_help_panel=RUNNING
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace results that are not in the manifest, too.",
            rich_help_panel=OUTPUTS,
        ),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Unfold many images, and keep a manifest of what is complete.

    What is complete is skipped: made by the same options of the same files, and undamaged by its
    checksum. After an interruption or a failure the same command goes on where it was; a job that
    fails does not stop the others.

    ```
    sarheight batch 'scenes/*.nc' --dem dem.tif --set vertical=EGM2008 -o unfolded
    sarheight batch jobs.toml --jobs 2
    sarheight batch jobs.toml --dry-run
    ```

    A list says for each job what `sarheight reconstruct` is told, without dashes in front:

    ```
    [defaults]
    vertical = "EGM2008"
    [[job]]
    image = "first.nc"
    dem = "alps.tif"
    output = "first.tif"
    ```
    """
    with session("batch", quiet=quiet, threads=None, debug=debug, steps=100) as current:
        from sarheight.batch import Manifest, expected, pending

        wanted = _settings(settings or [])
        if dem:
            wanted["dem"] = list(dem)
        if tiles:
            wanted["tiles"] = [path for each in tiles for path in _files(each, "--tiles")]
        listed, place = _listed(what, folder, suffix, wanted)
        threads = None if jobs == 1 else max(_cores() // jobs, 1)
        command = _command(threads)
        for job in listed:
            command(job, overwrite=False)
        place = place if manifest is None else manifest
        place.parent.mkdir(parents=True, exist_ok=True)
        with Manifest(place) as kept:
            left = pending(listed, kept)
            foreseen = expected(left, kept, jobs)
            current.say(_plan(listed, left, foreseen))
            if dry_run or not left:
                return
            failed = _work(left, kept, command, (jobs, scheduler, overwrite), foreseen, current)
        if failed:
            current.warn(f"{failed} of {len(left)} jobs failed; see '{place}'")
            raise typer.Exit(FAILED)


def _settings(pairs: list[str]) -> dict[str, Any]:
    """Read options for all jobs."""
    found: dict[str, Any] = {}
    words = {"true": True, "false": False}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            msg = f"found {pair!r}, expected NAME=VALUE such as method=one-step"
            raise typer.BadParameter(msg, param_hint="--set")
        found[name.strip()] = words.get(value.lower(), value)
    return found


def _files(pattern: str, option: str) -> list[str]:
    """List the files that a pattern names."""
    if "://" in pattern or Path(pattern).exists():
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
    if not found:
        msg = f"found nothing that is called {pattern!r}"
        raise typer.BadParameter(msg, param_hint=option)
    return found


def _listed(
    what: list[str], folder: Path | None, suffix: str, wanted: Mapping[str, Any]
) -> tuple[list[Job], Path]:
    """Make the jobs, and find the place of their manifest."""
    from sarheight.batch import jobs_of_files, read_jobs
    from sarheight.output.atomic import SUFFIXES

    if len(what) == 1 and Path(what[0]).suffix.lower() in LISTS:
        path = Path(what[0])
        return read_jobs(path, wanted), path.with_name(f"{path.stem}.manifest.jsonl")
    if folder is None:
        msg = "say where the results go"
        raise typer.BadParameter(msg, param_hint="--folder")
    if suffix.lower() not in SUFFIXES:
        msg = f"found {suffix!r}, expected one of {', '.join(SUFFIXES)}"
        raise typer.BadParameter(msg, param_hint="--suffix")
    images = [path for each in what for path in _files(each, "JOBS")]
    return jobs_of_files(images, folder, suffix, wanted), folder / "manifest.jsonl"


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _command(threads: int | None) -> Callable[..., list[str]]:
    """Make what turns a job into a command line of ``sarheight reconstruct``."""
    from typer.main import get_command

    from sarheight.cli._app import app

    group: Any = get_command(app)
    options = {each.name: each for each in group.commands["reconstruct"].params}

    def command(job: Job, *, overwrite: bool) -> list[str]:
        line = [sys.executable, "-m", "sarheight", "reconstruct", job.image]
        for name, value in job.options.items():
            option = options.get(name.replace("-", "_"))
            if option is None or option.param_type_name != "option" or name in ("output", "quiet"):
                known = sorted(key for key in options if key not in ("output", "quiet", "help"))
                msg = f"{job.name}: found the option {name!r}, expected some of {', '.join(known)}"
                raise typer.BadParameter(msg, param_hint="JOBS")
            line += _written(option, value)
        for option in options.values():
            if option.required and option.name not in {"image", "output", *job.options}:
                msg = f"{job.name} needs it, in the list or for all jobs"
                raise typer.BadParameter(msg, param_hint=max(option.opts, key=len))
        line += ["--output", str(job.output), "--quiet"]
        line += ["--overwrite"] if overwrite and "overwrite" not in job.options else []
        line += ["--threads", str(threads)] if threads and "threads" not in job.options else []
        return line

    return command


def _written(option: Any, value: Any) -> list[str]:  # noqa: ANN401 - of click
    """Write an option and its value as on a command line."""
    name = max(option.opts, key=len)
    if option.is_flag:
        if isinstance(value, bool):
            off = max(option.secondary_opts, key=len, default="")
            return [name] if value else [off] if off else []
        msg = f"found {value!r}, expected true or false"
        raise typer.BadParameter(msg, param_hint=name)
    values = list(value) if isinstance(value, list | tuple) else [value]
    if option.multiple:
        return [text for each in values for text in (name, str(each))]
    if option.nargs == 1:
        return [name, ",".join(map(str, values))]
    return [name, *map(str, values)]


def _plan(listed: list[Job], left: list[Job], foreseen: Expected) -> str:
    """Say what there is to do."""
    complete = len(listed) - len(left)
    if not left:
        return f"{complete} jobs, all complete"
    unknown = f", and {foreseen.unknown} jobs of unknown size" if foreseen.unknown else ""
    return (
        f"{len(listed)} jobs, {complete} complete, {len(left)} to do: {foreseen.cells:,} cells, "
        f"up to {foreseen.bytes:,} bytes, about {foreseen.seconds / 60.0:.1f} minutes{unknown}"
    )


def _work(
    left: list[Job],
    kept: Manifest,
    command: Callable[..., list[str]],
    how: tuple[int, str | None, bool],
    foreseen: Expected,
    current: Session,
) -> int:
    """Do the jobs and show how they go; return how many failed."""
    from sarheight.batch import run

    workers, scheduler, overwrite = how
    failed = 0
    with _shown(len(left), foreseen, current) as show:
        outcomes = run(
            left, kept, command, workers=workers, scheduler=scheduler, overwrite=overwrite
        )
        for outcome in outcomes:
            failed += outcome.failed
            show(outcome)
    return failed


@contextmanager
def _shown(count: int, foreseen: Expected, current: Session) -> Iterator[Callable[[Outcome], None]]:
    """Show progress, throughput and the time that remains, or a line for each job."""
    import time

    began, done, cells, size = time.perf_counter(), 0, 0, 0

    def show(outcome: Outcome) -> None:
        nonlocal done, cells, size
        done += 1
        cells += outcome.entry.cells
        size += outcome.entry.bytes
        elapsed = max(time.perf_counter() - began, 1e-3)
        # By cells where they are known: jobs are of different sizes.
        share = cells / foreseen.cells if foreseen.cells and not foreseen.unknown else done / count
        remaining = elapsed * (1.0 / max(share, 1e-9) - 1.0) if share > 0.0 else 0.0
        rate = f"{cells / elapsed / 1e6:.2f} million cells/s, " if cells else ""
        said = f"failed: {outcome.entry.error}" if outcome.failed else "done"
        current.say(
            f"[{done}/{count}] {outcome.job.name}: {said} ({outcome.entry.seconds:.1f} s; {rate}"
            f"{size / GIBIBYTE / (elapsed / 60.0):.2f} GiB/min; {_clock(remaining)} left)"
        )
        current.advance(f"{_clock(remaining)} left", share if share > 0.0 else done / count)

    yield show


def _clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
