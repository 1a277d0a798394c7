"""Whole commands: one of their inputs is mutated, or their options.

A command has to give what it gives without the mutation, or to end with one line, and to leave
nothing half-written.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import geopandas
import numpy as np
import torch
import xarray as xr
from shapely import box
from typer.testing import CliRunner

from sarheight.buildings import BuildingHeightEstimator, write_stack
from sarheight.cli import app
from sarheight.dem import coarsen
from sarheight.errors import DamagedFileError, SarheightError
from sarheight.layover import reconstruct
from sarheight.learning import Channel
from sarheight.output import open_result, with_heights, write
from sarheight.output.radar_images import write_scene
from sarheight.scene import Scene
from sarheight.terrain import SceneSettings, draw_known_elevations, simulate_scene, write_scenes
from sarheight.terrain.sar2height import HeightEstimator
from sarheight.terrain.scenes import SceneConfiguration
from sarheight.view._page import PageServer
from tests.cities import SMALL_SETTINGS, small_stack
from tests.flattened_products import opera_of
from tests.mountains import LAW, mountain, raster, scene_of
from tests.robustness.contract import Reading, Subject
from tests.robustness.mutations import (
    Mutation,
    bytes_of,
    json_of,
    raster_of,
    text_of,
    xml_of,
    zip_of,
)
from tests.robustness.subjects import SUBJECTS, dataset_numbers
from tests.series.dates import date_of
from tests.worlds.annotations import annotation_xml, eof_xml
from tests.worlds.products import grd_of_scene
from tests.worlds.safe import pack
from tests.zone_samples import city, small_classifier, so2sat_arrays, write_so2sat

__all__ = ["COMMANDS"]

LONGEST = 40.0
"""Seconds that a command may take."""
ODD = 0.08
"""Part of the mutants that are no ordinary files."""
OPTIONS = "options.txt"
"""The input that stands for the options of a command, one in a line with its value."""
KEEPS = ("train", "series", "batch", "scenes", "stack")
"""Commands that resume, and keep what was done before they failed."""


# Inputs, made once for each kind of command.


@lru_cache
def _ground() -> xr.DataArray:
    """Make a mountain of 48 x 66 cells."""
    return raster(mountain(48, 66))


@lru_cache
def _scene(*, ascending: bool = True) -> Scene:
    """Simulate an image of it that is said to be of Sentinel-1."""
    one = scene_of(_ground(), ascending=ascending, lines=200, samples=280)
    grid = replace(one.grid, mission="S1B", mode="IW", product="GRD", polarisations=("VV",))
    return replace(one, image=one.image.assign_coords(polarisation="VV"), grid=grid)


@lru_cache
def _unfolded(*, ascending: bool = True) -> xr.Dataset:
    """Reconstruct it."""
    return reconstruct(_scene(ascending=ascending), _ground(), law=LAW)


def _raster(array: xr.DataArray, path: Path) -> Path:
    array.drop_attrs(deep=False).rio.write_crs(array.rio.crs).rio.to_raster(path)
    return path


def _text(text: str, path: Path) -> Path:
    path.write_text(text, "utf-8")
    return path


def _guide(path: Path) -> Path:
    return _raster((_ground() > 700.0).astype("float32").rio.write_crs(32632), path)


def _image(path: Path) -> Path:
    return write_scene(_scene(), path)


def _date(number: int, path: Path) -> Path:
    return write_scene(date_of(_ground(), number, lines=200, samples=280), path)


def _result(path: Path) -> Path:
    return write(with_heights(_unfolded(), _ground()), path)


def _known(path: Path) -> Path:
    points = draw_known_elevations(_ground(), 12, seed=1)
    table = np.stack([points.x, points.y, points.height], axis=1)
    np.savetxt(path, table, delimiter=",", header="x,y,height", comments="")
    return path


def _area(path: Path) -> Path:
    west, south, east, north = _ground().rio.bounds()
    inner = box(west + 200.0, south + 200.0, east - 200.0, north - 300.0)
    geopandas.GeoDataFrame(geometry=[inner], crs=32632).to_crs(4326).to_file(path)
    return path


def _zone_rasters(path: Path) -> Path:
    stack, labels = city()
    stack.attrs["long_name"] = ("green", "red", "nir")
    (labels if path.name.startswith("labels") else stack).rio.to_raster(path)
    return path


def _building_model(path: Path) -> Path:
    torch.manual_seed(0)
    small = SMALL_SETTINGS["options"]
    channels = {"sar": [Channel("vv_ascending", "1", "decibel", -10.0, 5.0)]}
    return Path(BuildingHeightEstimator(channels, options=small).eval().save_pretrained(path))


def _terrain_scene(path: Path) -> Path:
    def make() -> Any:  # noqa: ANN401
        one = _scene()
        return simulate_scene(_ground(), one.grid, one.orbit, SceneSettings(), seed=0)

    job = SceneConfiguration(path.stem, make, {}, {})
    return Path(write_scenes([job], path.parent)[0])


def _terrain_model(path: Path) -> Path:
    torch.manual_seed(1)
    channels = [Channel("gamma0_posterior", "1", "decibel", -10.0, 4.0)]
    model = HeightEstimator(channels, network="unet", options={"width": 2, "depth": 1})
    return Path(model.save_pretrained(path))


RUN = """[reconstruct]
law = "cosine:0.2,1.7"
method = "one-step"
memory = "1 GiB"
variables = "main"
heights = true
"""
JOBS = """[defaults]
vertical = "ellipsoidal"
method = "rtc"
coregister = "none"

[[job]]
image = "image.nc"
dem = ["dem.tif"]
output = "made/a.tif"
resolution = 40
"""
TERRAIN = {"network": "unet", "options": {"width": 4, "depth": 1}, "size": 8, "stride": 8}
TERRAIN |= {"known_count": [2, 6], "epochs": 1, "precision": "32-true"}
MAKERS: dict[str, Callable[[Path], Path]] = {
    "annotation.xml": lambda path: _text(annotation_xml(_scene().grid, _scene().orbit), path),
    "orbit.EOF": lambda path: _text(eof_xml(_scene().orbit), path),
    "dem.tif": lambda path: _raster(_ground(), path),
    "coarse.tif": lambda path: _raster(coarsen(_ground(), 90.0, units="crs"), path),
    "guide.tif": _guide,
    "like.tif": _guide,
    "image.nc": _image,
    "image.tif": _image,
    "image.zarr": _image,
    "date0.nc": partial(_date, 0),
    "date1.nc": partial(_date, 1),
    "product.zip": lambda path: pack(grd_of_scene(path.parent / "unpacked", _scene()), path),
    "flattened.h5": lambda path: opera_of(_unfolded().gamma0, _scene(), path),
    "result.nc": _result,
    "result.tif": _result,
    "result.zarr": _result,
    "result": _result,
    "other.tif": lambda path: write(_unfolded(ascending=False), path),
    "known.csv": _known,
    "area.geojson": _area,
    "run.toml": partial(_text, RUN),
    "jobs.toml": partial(_text, JOBS),
    "stack.tif": _zone_rasters,
    "labels.tif": _zone_rasters,
    "patches.h5": lambda path: write_so2sat(path, so2sat_arrays(60)),
    "zones": lambda path: Path(small_classifier().save_pretrained(path)),
    "city.zarr": lambda path: write_stack(
        small_stack(32, 32, months=2, optical_bands=["B04"]), path
    ),
    "buildings": _building_model,
    "buildings.json": partial(_text, json.dumps(SMALL_SETTINGS)),
    "scene.zarr": _terrain_scene,
    "terrain.json": partial(_text, json.dumps(TERRAIN)),
    "terrain": _terrain_model,
}
"""How each input is made."""

MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    ".xml": (xml_of, text_of),
    ".EOF": (xml_of, text_of),
    ".toml": (text_of,),
    ".csv": (text_of,),
    ".txt": (text_of,),
    ".json": (json_of,),
    ".geojson": (json_of,),
    ".tif": (bytes_of, raster_of),
    ".zip": (bytes_of, zip_of),
}
"""How a file is mutated, by its suffix; `bytes_of` is for all others."""

TABLE = """
simulate --like {annotation.xml*} --orbit {orbit.EOF*} --dem {dem.tif*} SEA \
{options*: --looks 4.4 --seed 1 --law cosine:0.2,1.7} -o {output.nc}
reconstruct {image.nc*} UNFOLD* --guide {guide.tif*} --clip {area.geojson*} \
{options*: --memory 1GiB --resolution 40 --align 10 --law fit --variables main} -o {output.tif}
reconstruct {image.tif*} UNFOLD --like {like.tif*} --config {run.toml*} -o {output.zarr}
reconstruct {product.zip*} UNFOLD --method rtc -o {output.nc}
reconstruct {flattened.h5*} UNFOLD --method rtc -o {output}
masks --like {image.zarr*} --dem {dem.tif*} SEA {options*: --resolution 40 --geometry ground} \
-o {output.tif}
composite {result.nc*} {other.tif*} --dem {dem.tif*} SEA -o {output.nc}
composite {result*} {other.tif} -o {output.tif}
composite {result.zarr*} {other.tif} -o {output.zarr}
refine {image.nc*} --dem {coarse.tif*} SEA --known {known.csv*} KNOWN --coregister none \
{options*: --iterations 1 --error 2 --factor 3} -o {output.tif}
audit {flattened.h5*} --dem {dem.tif*} SEA --json {output.json}
audit {result.nc*} --dem {dem.tif} SEA --json {output.json}
series {date0.nc} {date1.nc*} UNFOLD* --strict --method rtc \
{options*: --resolution 40 --window 3} -o {output.zarr}
batch {jobs.toml*}
scenes --like {annotation.xml} --dem {dem.tif*} SEA -o {output}
train scenes {image.nc*} --truth {dem.tif*} --truth-vertical ellipsoidal --dem {coarse.tif*} SEA \
--coregister none -o {output}
train terrain {scene.zarr*} --settings {terrain.json*} --validation 0.4 --gap 60 --device cpu \
--quiet -o {output}
train zones {stack.tif*} --labels {labels.tif*} --block 700 --method forest \
{options*: --size 5} -o {output}
train zones {patches.h5*} --method forest -o {output}
train buildings {city.zarr*} --block 160 --gap 0 --validation 0.25 --settings {buildings.json*} \
--device cpu --quiet -o {output}
predict {stack.tif*} --model {zones*} --device cpu {options*: --step 2} -o {output.tif}
predict {city.zarr*} --model {buildings*} --device cpu -o {output.nc}
predict {scene.zarr*} --model {terrain*} --known {known.csv*} KNOWN --device cpu -o {output.tif}
info {result*}
info {result.nc*}
info {result.tif*}
info {result.zarr*}
view {result*} --no-browser {options*: --port 0}
view {result.nc*} --no-browser {options*: --port 0}
view {result.tif*} --no-browser {options*: --port 0}
view {result.zarr*} --no-browser {options*: --port 0}
"""
"""Commands, with `{name}` for their inputs; a star marks each that is mutated."""
SHORT = {
    "UNFOLD*": "--dem {dem.tif*} SEA --coregister none",
    "UNFOLD": "--dem {dem.tif} SEA --coregister none",
    "KNOWN": "--known-crs EPSG:32632 --known-vertical ellipsoidal",
    "SEA": "--vertical ellipsoidal",
}


def _rows(table: str) -> list[tuple[str, list[str]]]:
    """Return each command, and its inputs that are mutated."""
    for short, words in SHORT.items():
        table = table.replace(short, words)
    return [
        (row.replace("*", ""), re.findall(r"\{([^:}]*)\*", row)) for row in table.split("\n") if row
    ]


ROWS = _rows(TABLE)
WITHIN = re.compile(r"\{(?P<name>[^:}]*)(?::(?P<options>[^}]*))?\}")
MUTATED = "mutated"
REPORT = "please report it"
"""Words of a command that met an error which it does not expect."""

# Running a command.


def _make(words: str, mutated: str, folder: Path) -> Path:
    """Make the inputs of a command, the mutated one in its own folder; return that."""
    others = folder.parent / "inputs"
    others.mkdir(exist_ok=True)
    chosen = folder / "none"
    names: dict[str, str] = {}
    for place in WITHIN.finditer(words):
        name = place["name"]
        if name == "options":
            names[place[0]] = place["options"]
            if mutated == name:
                chosen = folder / OPTIONS
                lines = place["options"].strip().replace(" --", "\n--")
                chosen.write_text(lines, "utf-8")
                names[place[0]] = f"{{{MUTATED}}}"
        elif name == mutated:
            chosen = MAKERS[name](folder / name)
            names[place[0]] = f"{{{MUTATED}}}"
        elif not name.startswith("output"):
            names[place[0]] = shlex.quote(str(MAKERS[name](others / name)))
    if mutated == "jobs.toml":  # it names files of its folder
        for name in ("image.nc", "dem.tif"):
            MAKERS[name](others / name)
    for place, text in names.items():
        words = words.replace(place, text)
    (folder.parent / "words").write_text(words, "utf-8")
    return chosen


def _run(path: Path) -> Reading:
    """Run the command of a subject on a mutant."""
    words = (path.parent.parent / "words").read_text("utf-8")
    made = path.parent / "made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    arguments: list[str] = []
    for word in shlex.split(words):
        if word == f"{{{MUTATED}}}" and path.name == OPTIONS:
            text = path.read_bytes().decode("utf-8", "replace").replace("\0", "")
            arguments += text.split()
        else:
            arguments.append(
                word.replace(f"{{{MUTATED}}}", str(path))
                .replace("{output", f"{made}/output")
                .removesuffix("}")
            )
    if arguments[0] == "batch":
        for other in (path.parent.parent / "inputs").iterdir():
            shutil.copy(other, path.parent)
    return judged(arguments, made)


def judged(arguments: Sequence[str], made: Path) -> Reading:
    """Run a command in the folder above that of its outputs; return what it wrote, or raise."""
    before = Path.cwd()
    os.chdir(made.parent)
    try:
        with patch.object(PageServer, "serve_forever", _look_at_all):
            done = CliRunner().invoke(app, list(arguments))
    finally:
        os.chdir(before)
    said = done.output.strip()
    if REPORT in said or not isinstance(done.exception, SystemExit | None):
        msg = f"{' '.join(arguments[:2])}: {said[-600:]} {done.exception!r}"
        raise RuntimeError(msg)
    left = sorted(file.name for file in made.iterdir())
    if done.exit_code == 0 or arguments[0] == "audit":  # whose verdict is an exit code
        left = [name for name in left if name.startswith(".")]
    if left and arguments[0] not in KEEPS:
        msg = f"{arguments[0]} ended with {done.exit_code} and left {', '.join(left)}"
        raise RuntimeError(msg)
    if done.exit_code:
        lines = done.stderr.strip().splitlines() or [said]
        if arguments[0] != "audit" and not lines[-1].strip():
            msg = f"{arguments[0]} ended with {done.exit_code} and said nothing"
            raise RuntimeError(msg)
        raise DamagedFileError(lines[-1])
    return Reading({}, _written(made))


def _written(made: Path) -> dict[str, Any]:
    """Read the result of a command, where it is one."""
    for path in sorted(made.iterdir()):
        with suppress(SarheightError, OSError, ValueError):
            return dataset_numbers(open_result(path).drop_attrs(deep=False))
    return {}


def _look_at_all(server: Any) -> None:  # noqa: ANN401
    """Ask the page of a result for all its layers, instead of waiting for a browser."""
    for layer in range(len(server.view.layers)):
        for path in (
            f"/tile/{layer}/0/0/0",
            f"/limits/{layer}",
            f"/places/{layer % server.view.shape[0]}/3/0/0",
        ):
            with suppress(SarheightError, OSError):
                server.answer(path)


def _subject(words: str, mutated: str, place: int) -> Subject:
    """Make the subject of one command and one of its inputs."""
    command = re.split(r" [{-]", words)[0]
    suffix = Path(mutated).suffix
    return Subject(
        f"{command} {place}: {mutated}",
        partial(_make, words, mutated),
        _run,
        MUTATIONS.get(".txt" if mutated == "options" else suffix, (bytes_of,)),
        longest=LONGEST,
        odd=0.0 if mutated == "options" else ODD,
    )


# Commands that show what a file is, for every kind of file.


def _make_shown(make: Callable[[Path], Path], words: str, folder: Path) -> Path:
    (folder.parent / "words").write_text(words, "utf-8")
    return make(folder)


def _shown(words: str, subject: Subject) -> Subject:
    return replace(
        subject,
        name=f"{words.split(maxsplit=1)[0]} {subject.name}",
        make=partial(_make_shown, subject.make, words),
        read=_run,
        longest=LONGEST,
        odd=ODD,
    )


NOT_DESCRIBED = (
    *("dem vrt", "hyp3 zip", "opera tiffs", "opera hdf5", "planetary item"),
    *("known geojson", "so2sat hdf5"),
)
"""Kinds of files that ``sarheight info`` does not know, or not without others beside them."""


COMMANDS: tuple[Subject, ...] = (
    *(
        _subject(words, mutated, place)
        for place, (words, inputs) in enumerate(ROWS)
        for mutated in inputs
    ),
    *(
        _shown(f"info {{{MUTATED}}}", subject)
        for subject in SUBJECTS
        if subject.name not in NOT_DESCRIBED
    ),
)
