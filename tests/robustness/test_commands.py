"""Whole commands on mutants of their inputs and options: done, or one line, and nothing left."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import xarray as xr

if sys.platform == "win32":
    pytest.skip("needs processes that fork", allow_module_level=True)
for library in ("geopandas", "pyarrow", "sarkit", "torch"):
    if find_spec(library) is None:  # other processes import this file: nothing slow here
        pytest.skip(f"needs {library}", allow_module_level=True)

from pathlib import Path

from typer.main import get_command

from sarheight.cli import _reconstruct, app
from tests.cli.commands import SEA, Files, failing
from tests.robustness.commands import COMMANDS, KEEPS, MAKERS, ROWS, judged
from tests.robustness.contract import LONGEST, Reading, Subject, breaches
from tests.robustness.mutations import odd_file, raster_of
from tests.robustness.subjects import SUBJECTS

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FEW, MANY = 2, 300
QUICK = re.compile("simulate|masks|composite 7|view 30: result|info [a-z]")
"""Names of commands that take a moment; `info` on each kind of file, results among them."""


@pytest.mark.parametrize(
    "subject",
    [each for each in COMMANDS if QUICK.match(each.name)],
    ids=lambda subject: subject.name,
)
def test_few_mutants_end_commands_with_one_line(subject: Subject, tmp_path: Path) -> None:
    assert breaches(subject, FEW, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("subject", COMMANDS, ids=lambda subject: subject.name)
def test_many_mutants_end_commands_with_one_line(subject: Subject, tmp_path: Path) -> None:
    assert breaches(subject, MANY, tmp_path) == []


def test_readers_have_ten_seconds_and_commands_forty() -> None:
    assert {each.longest for each in SUBJECTS} == {LONGEST} == {10.0}
    assert {each.longest for each in COMMANDS} == {40.0}


def test_each_kind_of_command_is_there() -> None:
    words = {words.split(maxsplit=1)[0] for words, _ in ROWS}
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    # The demonstration has no input; downloads and stacks of catalogues have their own server.
    assert commands - words == {"demo", "fetch", "stack"}
    assert words >= set(KEEPS) - {"stack"}
    assert len(MAKERS) > 30


# --- the judge ---------------------------------------------------------------------------------


def test_the_judge_finds_what_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    dem = MAKERS["dem.tif"](tmp_path / "dem.tif")
    image = MAKERS["image.nc"](tmp_path / "image.nc")
    words = ["masks", "--like", str(image), "--dem", str(dem), *SEA, "-o", str(made / "output.tif")]
    assert isinstance(judged(words, made), Reading)

    def stop(*_: object, **__: object) -> None:
        (made / ".output.tif.partial").write_bytes(b"half")
        raise ValueError

    def fail(*_: object, **__: object) -> None:
        raise AttributeError

    for wrong, message in (
        (stop, r"masks ended with 1 and left .*\.partial"),
        (fail, "unexpected AttributeError"),
    ):
        monkeypatch.setattr(_reconstruct, "write_result", wrong)
        with pytest.raises(RuntimeError, match=message):
            judged([*words, "--overwrite"], made)


# --- what has gone wrong before ----------------------------------------------------------------


def command_of(
    name: str, files: Files, folder: Path, *, dem: Path | None = None, image: Path | None = None
) -> tuple[object, ...]:
    """Return a command on the given files, or on good ones."""
    image = image or files.image
    given = ("--dem", dem or files.coarse, *SEA, "-o", folder / "made.nc")
    beginnings: dict[str, tuple[object, ...]] = {
        "reconstruct": (image,),
        "masks": ("--like", image),
        "simulate": ("--like", files.annotation),
        "refine": (image,),
        "composite": (image, image),
    }
    return (name, *beginnings[name], *given)


@pytest.mark.parametrize(
    ("name", "which", "kind"),
    [
        ("reconstruct", "dem", "pipe"),
        ("reconstruct", "image", "device"),
        ("masks", "dem", "device"),
        ("masks", "image", "pipe"),
        ("simulate", "dem", "pipe"),
        ("refine", "dem", "device"),
        ("refine", "image", "pipe"),
        ("composite", "dem", "pipe"),
        ("composite", "image", "device"),
    ],
)
def test_an_input_that_is_no_file_is_refused_at_once(
    files: Files, tmp_path: Path, name: str, which: str, kind: str
) -> None:
    odd = tmp_path / "odd.nc"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("/dev/zero")
    command = command_of(name, files, tmp_path, **{which: odd})
    assert "is a pipe or a device, expected a file" in failing(2, *command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.nc"]


@pytest.mark.parametrize("suffix", [".tif", ".nc", ".zarr", ".zip", ".csv", ".xml", ".EOF", ".vrt"])
def test_what_is_shown_is_a_file(tmp_path: Path, suffix: str) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    for command in (("info", pipe), ("view", pipe, "--no-browser")):
        assert "is a pipe or a device" in failing(2, *command)


def test_a_store_with_a_pipe_in_it_is_refused(files: Files, tmp_path: Path) -> None:
    store = MAKERS["result.zarr"](tmp_path / "result.zarr")
    member = next(path for path in sorted(store.rglob("*")) if path.is_file())
    member.unlink()
    os.mkfifo(member)
    for command in (
        ("info", store),
        ("view", store, "--no-browser"),
        ("composite", store, store, "-o", tmp_path / "made.nc"),
        command_of("reconstruct", files, tmp_path, image=store),
    ):
        assert "is a pipe or a device" in failing(1, *command)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("reconstruct", "IAU_2015:30100"),  # the Moon
        ("masks", "IAU_2015:49910"),  # Mars
        ("simulate", "IAU_2015:30100"),
        ("refine", "IAU_2015:49910"),
    ],
)
def test_an_elevation_model_of_another_body_is_refused(
    files: Files, tmp_path: Path, name: str, body: str
) -> None:
    heights = xr.DataArray(
        np.full((30, 30), 100.0, np.float32),
        {"y": 46.0 - 0.001 * np.arange(30), "x": 10.0 + 0.001 * np.arange(30)},
        ("y", "x"),
    )
    heights.rio.write_crs(body).rio.to_raster(tmp_path / "dem.tif")
    said = failing(1, *command_of(name, files, tmp_path, dem=tmp_path / "dem.tif"))
    assert "please report it" not in said
    assert not (tmp_path / "made.nc").exists()


@pytest.mark.parametrize("size", ["1e999 GiB", "nan", "-1 GiB", "1e300 YiB", "", "inf B"])
def test_a_size_of_memory_that_is_none_is_refused(files: Files, tmp_path: Path, size: str) -> None:
    command = command_of("reconstruct", files, tmp_path)
    assert "--memory" in failing(2, *command, "--memory", size)


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
