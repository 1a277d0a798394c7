"""Without the libraries of extras every command names the extra that it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sarheight.errors import EXTRAS
from tests.cli.commands import SEA, Files

ABSENT = """
import importlib.machinery, json, sys
from pathlib import Path

class Path_(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        absent = name.partition(".")[0] in ABSENT
        return None if absent else super().find_spec(name, path, target)

ABSENT, tasks = json.loads(sys.stdin.read())
finders = [Path_ if each is importlib.machinery.PathFinder else each for each in sys.meta_path]
sys.meta_path[:] = finders
from typer.testing import CliRunner
from sarheight.cli import app
import sarheight
found = {}
for name, task in tasks.items():
    if isinstance(task, list):
        done = CliRunner().invoke(app, task)
        found[name] = f"{done.exit_code} {done.stderr}"
    else:
        try:
            exec(task)
            found[name] = "0"
        except Exception as error:
            found[name] = f"{type(error).__name__} {error}"
print(json.dumps(found))
"""
"""A program that runs commands and statements where libraries are not installed."""

BOUNDS = ("--bounds", "9.9", "45.9", "10.1", "46.1")
TASKS: dict[str, tuple[str, object]] = {
    "predict": ("learn", ("predict", "{image}", "--model", "{folder}", "-o", "p.tif")),
    "predict, refined": ("learn", ("predict", "{image}", "--dem", "{dem}", *SEA, "-o", "p.tif")),
    "refine --network": (
        "learn",
        ("refine", "{image}", "--dem", "{dem}", *SEA, "--network", "-o", "r.nc"),
    ),
    "train terrain": ("learn", ("train", "terrain", "{folder}", "-o", "run")),
    "train buildings": ("learn", ("train", "buildings", "{folder}", "-o", "run")),
    "train zones": ("learn", ("train", "zones", "{dem}", "--labels", "{dem}", "-o", "run")),
    "fetch scenes": (
        "fetch",
        ("fetch", "scenes", *BOUNDS, "--from", "2024-01-01", "--to", "2024-01-03"),
    ),
    "fetch dem": ("fetch", ("fetch", "dem", *BOUNDS)),
    "fetch geoid": ("fetch", ("fetch", "geoid", "EGM96")),
    "reconstruct --dem auto": (
        "fetch",
        ("reconstruct", "{image}", "--dem", "auto", *BOUNDS, "-o", "scene"),
    ),
    "reconstruct URL": (
        "fetch",
        ("reconstruct", "https://example.org/S1A.SAFE.zip", "--dem", "{dem}", *SEA, "-o", "scene"),
    ),
    "info URL": ("fetch", ("info", "s3://example/S1A.SAFE.zip")),
    "series --dem auto": (
        "fetch",
        ("series", "{image}", "--dem", "auto", *BOUNDS, "-o", "stack.zarr"),
    ),
    "batch --scheduler": (
        "cluster",
        ("batch", "{image}", "--dem", "{dem}", "-o", "many", "--scheduler", "tcp://127.0.0.1:9"),
    ),
    "Python: known points": ("vector", "sarheight.terrain.read_known_elevations('{points}')"),
    "known points": (
        "learn",
        ("refine", "{image}", "--dem", "{dem}", *SEA, "--known", "{points}", "-o", "r.nc"),
    ),
    "condition": (
        "condition",
        ("masks", "--like", "{image}", "--dem", "{dem}", *SEA, "--condition", "fill", "-o", "m.nc"),
    ),
    "clip": (
        "vector",
        ("masks", "--like", "{image}", "--dem", "{dem}", *SEA, "--clip", "{points}", "-o", "m.nc"),
    ),
    "info SICD": ("sicd", ("info", "{sicd}")),
    "reconstruct SICD": ("sicd", ("reconstruct", "{sicd}", "--dem", "{dem}", *SEA, "-o", "scene")),
    "Python: reconstruct": (
        "fetch",
        "sarheight.reconstruct('{image}', 'auto', bounds=(9.9, 45.9, 10.1, 46.1))",
    ),
    "Python: refine": (
        "learn",
        "sarheight.terrain.refine_files('{image}', '{dem}', vertical=0, network=True)",
    ),
    "Python: fetch": ("fetch", "sarheight.fetch.dem((9.9, 45.9, 10.1, 46.1))"),
    "Python: train": ("learn", "sarheight.learning.train"),
    "Python: predict": ("learn", "sarheight.zones.ZoneClassifier"),
}
"""What needs an extra, and which."""
CORE: dict[str, tuple[str, ...]] = {
    "masks": ("masks", "--like", "{image}", "--dem", "{dem}", *SEA, "-o", "masks.tif"),
    "refine": ("refine", "{image}", "--dem", "{dem}", *SEA, "--iterations", "1", "-o", "r.nc"),
    "masks --mgrs": (
        *("masks", "--like", "{image}", "--dem", "{dem}", *SEA),
        *("--mgrs", "32TNR", "--resolution", "180", "-o", "tile.tif"),
    ),
    "info": ("info", "{image}", "{dem}"),
}
"""What needs none."""


def filled(task: object, names: dict[str, str]) -> object:
    if isinstance(task, str):
        return task.format(**names)
    assert isinstance(task, tuple)
    return [each.format(**names) for each in task]


@pytest.fixture(scope="module")
def told(files: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("core")
    (folder / "points.gpkg").write_bytes(b"points")
    (folder / "spotlight.nitf").write_bytes(b"NITF02.10")
    names = {
        "folder": str(folder),
        "image": str(files.image),
        "dem": str(files.coarse),
        "points": str(folder / "points.gpkg"),
        "sicd": str(folder / "spotlight.nitf"),
    }
    tasks = {name: filled(task, names) for name, (_, task) in TASKS.items()}
    tasks |= {name: filled(task, names) for name, task in CORE.items()}
    absent = ["mgrs", "richdem", *(name for modules in EXTRAS.values() for name in modules)]
    done = subprocess.run(
        [sys.executable, "-c", ABSENT],
        input=json.dumps([absent, tasks]),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", TASKS)
def test_what_is_missing_is_named_with_its_extra(told: dict[str, str], name: str) -> None:
    extra, task = TASKS[name]
    assert f"pip install 'sarheight[{extra}]'" in told[name]
    assert told[name].startswith("MissingLibraryError" if isinstance(task, str) else "1 ")
    assert "please report it" not in told[name]
    assert len(told[name].splitlines()) < 6


@pytest.mark.parametrize("name", CORE)
def test_what_needs_no_extra_works_without_any(told: dict[str, str], name: str) -> None:
    assert told[name].startswith("0"), told[name]
