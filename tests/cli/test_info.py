"""``sarheight info`` on every kind of file that a command takes or writes."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from shapely import box

from sarheight.buildings import write_stack
from sarheight.cli._info import DESCRIBED
from sarheight.learning.weights import packaged_model
from sarheight.output.radar_images import write_scene
from sarheight.terrain import SceneSettings, simulate_scene
from sarheight.terrain.scenes import SceneConfiguration, write_scenes
from tests.cities import small_stack
from tests.cli.commands import SEA, Files, failing, passing, run
from tests.mountains import look, mountain, raster
from tests.series.dates import date_of
from tests.worlds.products import grd_product


@pytest.fixture(scope="module")
def made(
    _forked_jobs: None, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Make a file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    dem = raster(mountain(36, 48))
    dem.drop_attrs().rio.write_crs(32632).rio.to_raster(folder / "series.tif")
    dates = [folder / f"date{number}.nc" for number in range(2)]
    for number, path in enumerate(dates):
        write_scene(date_of(dem, number, baseline=50.0 * number), path)
    image = ("reconstruct", files.image, "--dem", files.coarse, *SEA)
    for command in (
        (*image, "-o", folder / "result.tif", "--stac"),
        (*image, "-o", folder / "folder"),
        (*image, "--method", "rtc", "-o", folder / "picture.png"),
        (*image, "--method", "rtc", "-o", folder / "store.zarr"),
        (
            *("masks", "--like", files.image, "--dem", files.coarse, *SEA),
            *("--geometry", "radar", "-o", folder / "radar.nc"),
        ),
        ("series", *dates, "--dem", folder / "series.tif", *SEA, "-o", folder / "stack.zarr"),
        (
            *("batch", files.image, "--dem", files.coarse, "--set", "method=rtc"),
            *("--set", "vertical=ellipsoidal", "-o", folder / "many"),
        ),
    ):
        passing(*command)
    settings = run("info", folder / "result.tif", "--config").stdout
    (folder / "run.toml").write_text(settings)
    job = {"image": "a.nc", "dem": "b.tif", "output": "c.tif"}
    lines = [f'{name} = "{value}"' for name, value in job.items()]
    (folder / "jobs.toml").write_text("\n".join(["[[job]]", *lines]))
    (folder / "jobs.json").write_text(json.dumps([job]))
    (folder / "jobs.csv").write_text("image,dem,output\na.nc,b.tif,c.tif\n")
    (folder / "known.csv").write_text("longitude,latitude,height\n10,46,300\n10.01,46,310\n")
    geopandas.GeoDataFrame({"name": ["a"]}, geometry=[box(10, 46, 11, 47)], crs=4326).to_file(
        folder / "area.gpkg"
    )
    (folder / "area.geojson").write_text(
        json.dumps({"type": "Polygon", "coordinates": [[[10, 46], [11, 46], [11, 47], [10, 46]]]})
    )
    write_stack(small_stack(64, 64, months=2), folder / "city.zarr")
    scene = SceneConfiguration(
        name="scene",
        make=lambda: simulate_scene(raster(mountain(36, 48)), *look(), SceneSettings(), seed=0),
        inputs={},
        parameters={},
    )
    write_scenes([scene], folder)
    with rasterio.open(
        folder / "bands.tif", "w", "GTiff", 8, 6, 2, "EPSG:32632",
        rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 5e6), "float32",
    ) as file:  # fmt: skip
        file.write(np.ones((2, 6, 8), np.float32))
        file.descriptions = ("green", "red")
    product = grd_product(folder, polarisations=("VV",))
    return {path.name: path for path in folder.iterdir()} | {
        "annotation": files.annotation,
        "orbit": files.eof,
        "dem": files.dem,
        "image": files.image,
        "product": product.path,
        "manifest": folder / "many" / "manifest.jsonl",
        "model": packaged_model("buildings"),
    }


EXPECTED: dict[str, tuple[str, ...]] = {
    "annotation": ("Sentinel-1 annotation: S1A IW GRD", "place", "pass", "time"),
    "orbit": ("orbit file of ESA, precise", "state vectors"),
    "product": ("Sentinel-1 product", "place", "pass", "time"),
    "dem": ("usable as elevation model", "90 x 90 cells of 20", "not stated", "place"),
    "bands.tif": ("raster", "2, float32: green, red", "EPSG:32632"),
    "image": ("simulated image in radar geometry", "state vectors", "ascending", "place"),
    "radar.nc": ("image in radar geometry", "number of illuminated places", "looking", "place"),
    "result.tif": (
        *("result on a map grid", "PosteriorMean", "shift", "time", "place"),
        "ascending, looking right",
    ),
    "folder": ("result on a map grid", "standard deviation of the reconstructed", "place", "time"),
    "store.zarr": ("result on a map grid", "RTC", "made"),
    "picture.png": ("picture of a result", "from image"),
    "result.stac.json": ("STAC item", "2024", "assets"),
    "stack.zarr": (
        "stack of dates of one track",
        "dates",
        "2: 2024-01-01, 2024-01-13",
        "baselines",
        "m across the line of sight",
    ),
    "city.zarr": ("stack of a city", "months", "sar bands"),
    "scene.zarr": ("training scene", "coarse"),
    "model": ("network for building heights", "vv_ascending, vh_ascending"),
    "jobs.toml": ("list of 1 jobs", "a.nc to"),
    "jobs.json": ("list of 1 jobs", "a.nc to"),
    "jobs.csv": ("list of 1 jobs", "a.nc to"),
    "manifest": ("manifest of `sarheight batch`: 1 jobs, 0 failed",),
    "run.toml": ("settings: [reconstruct]", "ellipsoidal"),
    "known.csv": ("table of 2 rows", "height, latitude, longitude"),
    "area.gpkg": ("vector file: 1 of Polygon", "longitude 10.000 to 11.000", "name"),
    "area.geojson": ("1 polygons",),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_info_tells_what_a_file_is(made: dict[str, Path], name: str) -> None:
    done = passing("info", made[name])
    said = " ".join(done.stdout.replace("\u2502", " ").split())
    for words in EXPECTED[name]:
        assert words in said, words
    rows = [
        line.split("\u2502")[1].strip() for line in done.stdout.splitlines() if "\u2502" in line
    ]
    named = [row for row in rows if row]
    assert len(named) == len(set(named)), "no row twice"
    assert "-0 to" not in said
    assert "dem_crs, dem_posting" not in said, "the fields of a grid, which tell nothing"


def test_what_cannot_be_read_is_an_error_in_one_line(tmp_path: Path) -> None:
    for ending in (*DESCRIBED, ".tif", ".nc", ".zarr"):
        path = tmp_path / f"broken{ending}"
        if ending == ".zarr":
            path.mkdir()
        else:
            path.write_bytes(b"\xff\xfe no such thing {")
        if ending == ".jsonl":
            path.write_bytes(b"no line\n")
        line = failing(1, "info", path)
        assert "unexpected" not in line, line
