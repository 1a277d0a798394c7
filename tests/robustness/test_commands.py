"""Whole commands on mutants of their inputs and options: done, or one line, and nothing left."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr

if sys.platform == "win32":
    pytest.skip("needs processes that fork", allow_module_level=True)
for library in ("geopandas", "pyarrow", "torch"):
    if find_spec(library) is None:  # other processes import this file: nothing slow here
        pytest.skip(f"needs {library}", allow_module_level=True)

from pathlib import Path

from tests.cli.commands import SEA, Files, failing
from tests.robustness.commands import COMMANDS, KEEPS, MAKERS, ROWS, judged
from tests.robustness.contract import LONGEST, Reading, Subject, outcomes
from tests.robustness.mutations import odd_file, raster_of
from tests.robustness.subjects import SUBJECTS

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FEW, MANY = 2, 300
BROKEN = {"uncaught", "hang", "silent"}
QUICK = ("simulate", "masks", "composite 7", "info", "view 30")
"""Beginnings of the names of commands that take a moment."""


def broken(subject: Subject, count: int, folder: Path) -> list[str]:
    return [
        f"seed {each.seed}, {each.mutation}: {each.kind} {each.said}"
        for each in outcomes(subject, range(count), folder)
        if each.kind in BROKEN
    ]


@pytest.mark.parametrize(
    "subject",
    [each for each in COMMANDS if each.name.startswith(QUICK)],
    ids=lambda subject: subject.name,
)
def test_few_mutants_end_commands_with_one_line(subject: Subject, tmp_path: Path) -> None:
    assert broken(subject, FEW, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("subject", COMMANDS, ids=lambda subject: subject.name)
def test_many_mutants_end_commands_with_one_line(subject: Subject, tmp_path: Path) -> None:
    assert broken(subject, MANY, tmp_path) == []


def test_readers_have_ten_seconds_and_commands_forty() -> None:
    assert {each.longest for each in SUBJECTS} == {LONGEST} == {10.0}
    assert {each.longest for each in COMMANDS} == {40.0}


def test_each_kind_of_command_is_there() -> None:
    words = {words.split(maxsplit=1)[0] for words, _ in ROWS}
    from typer.main import get_command

    from sarheight.cli import app

    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    # The demonstration has no input; downloads and stacks of catalogues have their own server.
    assert commands - words == {"demo", "fetch", "stack"}
    assert words >= set(KEEPS) - {"stack"}
    assert len(MAKERS) > 30


# --- the judge ---------------------------------------------------------------------------------


def test_the_judge_finds_what_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sarheight.cli import _reconstruct

    made = tmp_path / "made"
    made.mkdir()
    dem = MAKERS["dem.tif"](tmp_path / "dem.tif")
    image = MAKERS["image.nc"](tmp_path / "image.nc")
    words = ["masks", "--like", str(image), "--dem", str(dem), *SEA, "-o", str(made / "output.tif")]
    assert isinstance(judged(words, made), Reading)

    def stop(*_: object, **__: object) -> None:
        (made / ".output.tif.partial").write_bytes(b"half")
        raise ValueError

    monkeypatch.setattr(_reconstruct, "write_result", stop)
    with pytest.raises(RuntimeError, match=r"masks ended with 1 and left .*\.partial"):
        judged([*words, "--overwrite"], made)

    def fail(*_: object, **__: object) -> None:
        raise AttributeError

    monkeypatch.setattr(_reconstruct, "write_result", fail)
    with pytest.raises(RuntimeError, match="unexpected AttributeError"):
        judged([*words, "--overwrite"], made)


# --- what has gone wrong before ----------------------------------------------------------------


def commands_of(
    files: Files, dem: Path, image: Path, output: Path
) -> dict[str, tuple[object, ...]]:
    given = ("--dem", dem, *SEA)
    return {
        "reconstruct": ("reconstruct", image, *given, "-o", output),
        "masks": ("masks", "--like", image, *given, "-o", output),
        "simulate": ("simulate", "--like", files.annotation, *given, "-o", output),
        "refine": ("refine", image, *given, "-o", output),
        "series": ("series", image, *given, "-o", output.with_suffix(".zarr")),
        "composite": ("composite", image, image, *given, "-o", output),
    }


NO_FILES = ("pipe", "device")


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["reconstruct", "masks", "simulate", "refine", "composite"])
@pytest.mark.parametrize("which", ["dem", "image"])
def test_an_input_that_is_no_file_is_refused_at_once(
    files: Files, tmp_path: Path, which: str, name: str, kind: str
) -> None:
    odd = tmp_path / "odd.nc"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("/dev/zero")
    dem, image = (odd, files.image) if which == "dem" else (files.coarse, odd)
    if name == "simulate" and which == "image":
        pytest.skip("it has no image")
    command = commands_of(files, dem, image, tmp_path / "made.nc")[name]
    assert "is a pipe or a device, expected a file" in failing(2, *command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.nc"]


@pytest.mark.parametrize("suffix", [".tif", ".nc", ".zarr", ".zip", ".csv", ".xml", ".EOF", ".vrt"])
@pytest.mark.parametrize("command", ["info", "view"])
def test_what_is_shown_is_a_file(tmp_path: Path, command: str, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    more = ("--no-browser",) if command == "view" else ()
    assert "is a pipe or a device" in failing(2, command, tmp_path / f"pipe{suffix}", *more)


@pytest.mark.parametrize("command", ["info", "view", "composite", "reconstruct"])
def test_a_store_with_a_pipe_in_it_is_refused(files: Files, tmp_path: Path, command: str) -> None:
    store = MAKERS["result.zarr"](tmp_path / "result.zarr")
    member = next(path for path in sorted(store.rglob("*")) if path.is_file())
    member.unlink()
    os.mkfifo(member)
    more: tuple[object, ...] = ("-o", tmp_path / "made.nc")
    words: dict[str, tuple[object, ...]] = {
        "info": ("info", store),
        "view": ("view", store, "--no-browser"),
        "composite": ("composite", store, store, *more),
        "reconstruct": ("reconstruct", store, "--dem", files.coarse, *SEA, *more),
    }
    assert "is a pipe or a device" in failing(1, *words[command])


@pytest.mark.parametrize("body", ["IAU_2015:30100", "IAU_2015:49910"])
@pytest.mark.parametrize("name", ["reconstruct", "masks", "simulate", "refine"])
def test_an_elevation_model_of_another_body_is_refused(
    files: Files, tmp_path: Path, name: str, body: str
) -> None:
    """The Moon, and Mars."""
    heights = xr.DataArray(
        np.full((30, 30), 100.0, np.float32),
        {"y": 46.0 - 0.001 * np.arange(30), "x": 10.0 + 0.001 * np.arange(30)},
        ("y", "x"),
    )
    heights.rio.write_crs(body).rio.to_raster(tmp_path / "dem.tif")
    command = commands_of(files, tmp_path / "dem.tif", files.image, tmp_path / "made.nc")[name]
    said = failing(1, *command)
    assert "please report it" not in said
    assert not (tmp_path / "made.nc").exists()


@pytest.mark.parametrize("size", ["1e999 GiB", "nan", "-1 GiB", "1e300 YiB", "", "inf B"])
def test_a_size_of_memory_that_is_none_is_refused(files: Files, tmp_path: Path, size: str) -> None:
    command = commands_of(files, files.coarse, files.image, tmp_path / "made.nc")["reconstruct"]
    said = failing(2, *command, "--memory", size)
    assert "--memory" in said


def test_mutants_of_rasters_differ(tmp_path: Path) -> None:
    data = MAKERS["dem.tif"](tmp_path / "dem.tif").read_bytes()
    mutants = {raster_of(data, np.random.default_rng(seed)) for seed in range(40)}
    assert len(mutants) > 15
    kinds = set()
    for seed in range(40):
        path = tmp_path / "odd"
        path.write_bytes(b"some")
        kinds.add(odd_file(path, np.random.default_rng(seed)))
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert {"pipe", "sparse file", "loop", "device"} <= kinds
