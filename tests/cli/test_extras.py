"""Without the libraries of extras every command names the extra that it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sarheight.errors import EXTRAS
from tests.cli.commands import Files

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

BOUNDS = "--bounds 9.9 45.9 10.1 46.1"
MASKS = "masks --like {image} --dem {dem} --vertical ellipsoidal"
REFINE = "refine {image} --dem {dem} --vertical ellipsoidal"
TASKS: dict[str, tuple[str, ...]] = {
    "learn": (
        "predict {image} --model {folder} -o p.tif",
        "predict {image} --dem {dem} --vertical ellipsoidal -o p.tif",
        f"{REFINE} --network -o r.nc",
        f"{REFINE} --known {{points}} -o r.nc",
        "train terrain {folder} -o run",
        "train buildings {folder} -o run",
        "train zones {dem} --labels {dem} -o run",
        "sarheight.terrain.refine_files('{image}', '{dem}', vertical=0, network=True)",
        "sarheight.learning.train",
        "sarheight.zones.ZoneClassifier",
    ),
    "fetch": (
        f"fetch scenes {BOUNDS} --from 2024-01-01 --to 2024-01-03",
        f"fetch dem {BOUNDS}",
        "fetch geoid EGM96",
        f"reconstruct {{image}} --dem auto {BOUNDS} -o scene",
        "reconstruct https://example.org/S1A.SAFE.zip --dem {dem} --vertical 0 -o scene",
        "info s3://example/S1A.SAFE.zip",
        f"series {{image}} --dem auto {BOUNDS} -o stack.zarr",
        "sarheight.reconstruct('{image}', 'auto', bounds=(9.9, 45.9, 10.1, 46.1))",
        "sarheight.fetch.dem((9.9, 45.9, 10.1, 46.1))",
    ),
    "cluster": ("batch {image} --dem {dem} -o many --scheduler tcp://127.0.0.1:9",),
    "vector": (
        "sarheight.terrain.read_known_elevations('{points}')",
        f"{MASKS} --clip {{points}} -o m.nc",
    ),
    "condition": (f"{MASKS} --condition fill -o m.nc",),
    "sicd": ("info {sicd}", "reconstruct {sicd} --dem {dem} --vertical ellipsoidal -o scene"),
    "": (
        f"{MASKS} -o masks.tif",
        f"{MASKS} --mgrs 32TNR --resolution 180 -o tile.tif",
        f"{REFINE} --iterations 1 -o r.nc",
        "info {image} {dem}",
    ),
}
"""Commands, and statements of Python, that need an extra; the last ones need none."""


def filled(task: str, names: dict[str, str]) -> str | list[str]:
    """Return a statement, or the words of a command."""
    if task.startswith("sarheight."):
        return task.format(**names)
    return [word.format(**names) for word in task.split()]


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
    tasks = {task: filled(task, names) for group in TASKS.values() for task in group}
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


@pytest.mark.parametrize("extra", TASKS)
def test_what_is_missing_is_named_with_its_extra(told: dict[str, str], extra: str) -> None:
    for task in TASKS[extra]:
        if not extra:
            assert told[task].startswith("0"), told[task]
            continue
        assert f"pip install 'sarheight[{extra}]'" in told[task]
        statement = task.startswith("sarheight.")
        assert told[task].startswith("MissingLibraryError" if statement else "1 ")
        assert "please report it" not in told[task]
        assert len(told[task].splitlines()) < 6
