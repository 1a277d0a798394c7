"""Mutants of files, and of what commands are given: the unmutated result, or one line."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec

import dask.array
import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("needs processes that fork", allow_module_level=True)
for library in ("geopandas", "pyarrow", "sarkit", "torch"):
    if find_spec(library) is None:  # other processes import this file: nothing slow here
        pytest.skip(f"needs {library}", allow_module_level=True)

from pathlib import Path

from typer.main import get_command

from sarheight.cli import _reconstruct, app
from tests.cli.commands import SEA
from tests.robustness.commands import COMMANDS, KEEPS, MAKERS, ROWS, judged
from tests.robustness.contract import LONGEST, Reading, Subject, breaches, outcomes
from tests.robustness.mutations import (
    Mutation,
    bytes_of,
    json_of,
    odd_file,
    raster_of,
    text_of,
    xml_of,
    zip_of,
)
from tests.robustness.subjects import SUBJECTS

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

FEW, MANY = 10, 2_000
FEW_OF_COMMANDS, MANY_OF_COMMANDS = 2, 300


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_few_mutants_are_refused_or_harmless(subject: Subject, tmp_path: Path) -> None:
    assert breaches(subject, FEW, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_many_mutants_are_refused_or_harmless(subject: Subject, tmp_path: Path) -> None:
    assert breaches(subject, MANY, tmp_path) == []


QUICK = re.compile("simulate|masks|composite 7|view 30: result|info [a-z]")
"""Names of commands that take a moment; `info` on each kind of file, results among them."""


@pytest.mark.parametrize(
    "subject",
    [each for each in COMMANDS if QUICK.match(each.name)],
    ids=lambda subject: subject.name,
)
def test_few_mutants_end_commands_with_one_line(subject: Subject, tmp_path: Path) -> None:
    assert breaches(subject, FEW_OF_COMMANDS, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("subject", COMMANDS, ids=lambda subject: subject.name)
def test_many_mutants_end_commands_with_one_line(subject: Subject, tmp_path: Path) -> None:
    assert breaches(subject, MANY_OF_COMMANDS, tmp_path) == []


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


@pytest.mark.parametrize(
    ("mutation", "content"),
    [
        (bytes_of, bytes(range(256))),
        (text_of, b"a = 1\nb = [2.5, 3]\n"),
        (xml_of, b"<?xml version='1.0'?><a><b count='1'>1.5</b><c>2</c></a>"),
        (json_of, b'{"a": [1, 2.5, "x"], "b": {"c": null}}'),
    ],
)
def test_mutants_follow_from_their_seed_and_differ(mutation: Mutation, content: bytes) -> None:
    mutants = [mutation(content, np.random.default_rng(seed)) for seed in range(40)]
    assert mutants == [mutation(content, np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(mutants)) > 20
    assert zip_of is not mutation


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


# --- the judge ---------------------------------------------------------------------------------


def write_text(folder: Path) -> Path:
    path = folder / "file.txt"
    path.write_text("contents")
    return path


def end_the_process(path: Path) -> Reading:
    if path.read_text(errors="replace") != "contents":
        os._exit(3)
    return Reading({"text": "contents"})


def raise_an_odd_error(path: Path) -> Reading:
    if path.read_text(errors="replace") != "contents":
        raise LookupError
    return Reading()


def read_silently(path: Path) -> Reading:
    return Reading({"text": path.read_text(errors="replace")})


def fail(_: Path) -> Reading:
    raise LookupError


def read_lazily(path: Path) -> Reading:
    return Reading({"bytes": (dask.array.from_array(np.fromfile(path, "u1"), chunks=2), 0.0)})


def test_threads_of_the_caller_do_not_stall_the_judge(tmp_path: Path) -> None:
    """Dask keeps a pool of threads, which a fork of this process would lose."""
    assert dask.array.ones(8, chunks=2).sum().compute(scheduler="threads") == 8
    subject = Subject("lazy", write_text, read_lazily, (bytes_of,))
    assert {each.kind for each in outcomes(subject, range(3), tmp_path)} <= {"same", "silent"}


def test_a_file_that_is_never_read_is_an_error_at_once(tmp_path: Path) -> None:
    subject = Subject("text", write_text, fail, (bytes_of,))
    with pytest.raises(RuntimeError, match="without a mutation: LookupError"):
        list(outcomes(subject, range(3), tmp_path))


@pytest.mark.parametrize(
    ("reader", "kind"),
    [(end_the_process, "uncaught"), (raise_an_odd_error, "uncaught"), (read_silently, "silent")],
)
def test_the_judge_finds_each_breach(tmp_path: Path, reader: object, kind: str) -> None:
    subject = Subject("text", write_text, reader, (bytes_of,))  # type: ignore[arg-type]
    found = [each.kind for each in outcomes(subject, range(6), tmp_path)]
    assert len(found) == 6
    assert set(found) <= {kind, "same"}
    assert found.count(kind) >= 4


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
