"""Input that makes no heights: a clear error, and nothing half-written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from sarheight.dem import coarsen
from sarheight.errors import (
    CheckpointError,
    DemError,
    GeometryError,
    KnownElevationsError,
    VerticalDatumError,
)
from sarheight.illumination import simulate
from sarheight.learning import Channel, Part, Tiling, UNet, split_bands, train
from sarheight.scene import Scene
from sarheight.terrain import (
    HeightEstimator,
    KnownElevations,
    RefinementNetwork,
    RefinementSettings,
    SceneSettings,
    TerrainPatches,
    TerrainSettings,
    back_project,
    distance_to_known,
    draw_altimeter_tracks,
    draw_known_elevations,
    height_interval,
    interpolate_elevations,
    krige_residuals,
    observe_scene,
    predict_heights,
    predict_image,
    prepare_scene,
    refine,
    simulate_scene,
    terrain_task,
)
from tests.mountains import look, mountain, raster

CHANNELS = (Channel("gamma0_posterior", "1", "decibel"),)
GAMMA0 = ("gamma0_posterior",)
SMALL = {"width": 4, "depth": 2}
SETTINGS = TerrainSettings(
    channels=GAMMA0, options=SMALL, size=16, stride=8, known_count=(2, 6), epochs=1
)


class World:
    """An image, elevation models, a training scene, and saved networks."""

    def __init__(self, folder: Path) -> None:
        self.truth = raster(mountain(48, 72))
        self.image: Scene = simulate(self.truth, *look(), looks=20.0, seed=1)
        self.coarse = coarsen(self.truth, 90.0, units="crs")
        self.scene = simulate_scene(self.truth, *look(), seed=5)
        self.model = HeightEstimator(CHANNELS, options=SMALL)
        self.on_coarse = HeightEstimator(CHANNELS, options=SMALL, reference="coarse")
        self.far = HeightEstimator(CHANNELS, options=SMALL, postings=(90.0, 95.0))
        self.refinement = RefinementNetwork(options=SMALL).save_pretrained(folder / "refinement")
        self.run = folder / "run"

    def train(self, scene: xr.Dataset, accelerator: str = "cpu") -> None:
        """Train on a scene."""
        bands = split_bands(scene, {"training": 0.6, "validation": 0.4}, gap=120.0)
        parts = [[band] for band in bands.values()]
        prepared = terrain_task([scene], *parts, SETTINGS)
        train(*prepared, self.run, accelerator=accelerator, progress=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def nowhere(dem: xr.DataArray) -> xr.DataArray:
    return dem.assign_coords(x=dem["x"] + 3e5)


def undated(dem: xr.DataArray) -> xr.DataArray:
    return dem.drop_attrs(deep=False)


ELSEWHERE = KnownElevations([12.0], [47.0], [800.0])
NONE = KnownElevations([], [], [])
KNOWN = KnownElevations([10.0], [46.0], [600.0], 1.0)
POINT: dict[str, object] = {"x": [10.0], "y": [46.0], "height": [500.0]}
Refusal = tuple["Callable[[World], object]", type[Exception], str]


def rows_of(
    make: Callable[..., object], error: type[Exception], *rows: tuple[dict[str, object], str]
) -> list[Refusal]:
    """Refusals of one function, by its arguments and the words of the error."""
    return [(lambda _, given=given: make(**given), error, words) for given, words in rows]


def with_units(scene: xr.Dataset, units: str | None) -> xr.Dataset:
    """Convert an image to decibels, with units or without a statement of them."""
    power = scene["gamma0_posterior"]
    decibels = (10.0 * np.log10(power)).drop_attrs()
    return scene.assign(gamma0_posterior=decibels.assign_attrs({"units": units} if units else {}))


REFUSALS: list[Refusal] = [
    # Weights of another kind, of a newer version, with other channels.
    (lambda w: HeightEstimator.from_pretrained(w.refinement), CheckpointError, "kind 'refined"),
    (lambda w: predict_heights(w.model, w.scene.drop_vars("gamma0_posterior")), CheckpointError,
     "no gamma0_posterior"),
    (lambda w: predict_heights(w.model, with_units(w.scene, "dB")), CheckpointError,
     "'dB', expected '1'"),
    (lambda w: predict_heights(w.on_coarse, with_units(w.scene, None)), ValueError, "like deci"),
    (lambda w: w.train(with_units(w.scene, None)), ValueError, "look like decibels"),
    (lambda w: predict_heights(w.on_coarse, w.scene.drop_vars("coarse_height")), CheckpointError,
     "no coarse_height"),
    (lambda w: predict_heights(w.far, w.scene), CheckpointError, "trained at 90 to 95 m"),
    (lambda w: predict_heights(w.on_coarse, w.scene.drop_attrs(deep=False)), ValueError, "look_a"),
    (lambda w: predict_heights(w.model, w.scene, tiling=Tiling(30, 4)), ValueError, "multiple of"),
    (lambda w: w.model({"image": torch.zeros(1, 3, 8, 8), "known": torch.zeros(1, 1, 8, 8)}),
     ValueError, "found 3 channels, expected 1"),
    # Truth on another grid, of another place, or missing.
    (lambda w: prepare_scene(w.image, w.coarse, w.truth, truth=w.truth[:-1]), DemError,
     r"true heights on 47 x 72 cells .*reproject\(truth"),
    (lambda w: observe_scene(w.image, nowhere(w.truth)), GeometryError, "No cell of the DEM"),
    (lambda w: TerrainPatches([w.scene], ("coherence",), size=24), ValueError, "coherence"),
    (lambda w: TerrainPatches([w.scene], GAMMA0, size=60), ValueError, "found no patch"),
    (lambda w: terrain_task([w.scene], *(2 * [[Part.whole(w.scene)]]), SETTINGS),
     ValueError, "overlap"),
    # Elevation models that do not state their vertical reference, or do not fit.
    (lambda w: observe_scene(w.image, undated(w.truth)), VerticalDatumError, "vertical"),
    (lambda w: predict_image(w.model, w.image, undated(w.coarse)), VerticalDatumError, "vertical"),
    (lambda w: refine(w.image, undated(w.coarse)), VerticalDatumError, "vertical"),
    (lambda w: refine(w.image, w.coarse[:8]), DemError, "at least 12 each way"),
    (lambda w: refine(w.image, nowhere(w.coarse)), GeometryError, "No cell|no cell"),
    (lambda w: refine(w.image, w.coarse.chunk(12), KNOWN), ValueError, "expected a DEM in memory"),
    *((lambda w, given=given: back_project(w.coarse, **given), ValueError, "one of the two")
      for given in ({}, {"factor": 0}, {"like": raster(mountain(8, 8)), "factor": 2})),
    # No known elevation, or impossible ones.
    (lambda w: predict_heights(w.model, w.scene), KnownElevationsError, "no known elevation, exp"),
    (lambda w: predict_heights(w.model, w.scene, NONE), KnownElevationsError, "relative to whose"),
    (lambda w: interpolate_elevations(NONE, w.truth), KnownElevationsError, "use a coarse DEM"),
    (lambda w: observe_scene(w.image, w.truth, known=ELSEWHERE), KnownElevationsError, "outside"),
    (lambda w: predict_image(w.model, w.image, w.coarse, ELSEWHERE), KnownElevationsError, "outsi"),
    (lambda w: w.train(w.scene.assign(known_height=w.scene["height"] * np.nan)), ValueError,
     "found no known elevation in the parts"),
    (lambda w: distance_to_known(w.truth), KnownElevationsError, "boolean mask"),
    *((lambda w, given=given: draw_known_elevations(w.truth, **given), KnownElevationsError, words)
      for given, words in (({"count": 48 * 72 + 1}, "of 3456 cells"), ({"count": 2.5}, "whole num"),
                           ({"count": 2, "sigma": -1.0}, "below 0"))),
    (lambda w: draw_altimeter_tracks(w.truth, spacing=0.0, interval=10.0), KnownElevationsError,
     "above 0"),
    (lambda w: draw_altimeter_tracks(w.truth.where(w.truth.x == w.truth.x[0]).where(
        w.truth.y == w.truth.y[0]), spacing=1e5, interval=1e5), KnownElevationsError,
     "found no height under lines"),
    *rows_of(lambda **columns: KnownElevations(**POINT | columns), KnownElevationsError,
             ({"height": [1.0, 2.0]}, "expected the same number"),
             ({"height": [np.nan]}, "expected finite"), ({"x": [np.inf]}, "expected finite"),
             ({"height": [88_888.0]}, "no land lies"), ({"height": [-9999.0]}, "no land lies"),
             ({"sigma": [-1.0]}, "below 0"), ({"height": [[1.0]]}, "one value for each point"),
             ({"crs": "EPSG:nothing"}, "PROJ does not know"),
             ({"x": [36.0], "y": [128.0]}, "seem to be exchanged")),
    # Numbers out of their range, and images that do not fit.
    *((lambda w, given=given: krige_residuals(w.truth, KNOWN, **given), ValueError, "above 0")
      for given in ({"sigma": 0.0}, {"length": -1.0})),
    (lambda w: height_interval(w.scene.assign(height_sigma=w.truth), 1.5), ValueError, "probab"),
    (lambda w: height_interval(w.scene), ValueError, "height_sigma"),
    (lambda w: observe_scene(w.image, w.truth, coarser=0), ValueError, "coarser=0"),
    (lambda w: observe_scene(w.image, w.truth, posting=-30.0), ValueError, "posting=-30"),
    (lambda w: predict_image(w.model, w.image, w.coarse, grid=-1.0), TypeError, "GeoBox"),
    (lambda w: observe_scene(
        replace(w.image, image=w.image.image.expand_dims(polarisation=["VV", "VH"])), w.truth
    ), ValueError, "found 2 polarisations in image 1, expected one: select it"),
    (lambda w: refine([], w.coarse), ValueError, "found no image"),
    *((lambda w, given=given: refine(w.image, w.coarse, **given), ValueError, words)
      for given, words in (({"factor": 0}, "factor=0"),
                           ({"tiling": Tiling(100, 20)}, "multiples of factor=3"),
                           ({"coregister": "always"}, "coregister='always'"))),
    *rows_of(RefinementSettings, ValueError,
             ({"error": 0.0}, "error=0.0, expected a number of metres above 0"),
             ({"error": -1.0}, "metres above 0"), ({"error_length": np.nan}, "error_length"),
             ({"iterations": 0}, "iterations=0, expected a whole number from 1"),
             ({"samples": -1}, "whole number from 0")),
    *rows_of(SceneSettings, ValueError, ({"looks": 0.0}, "above 0"), ({"coarser": 0}, "above 0"),
             ({"noise": -0.1}, "from 0"), ({"patch": np.nan}, "above 0")),
    *((lambda w, given=given: TerrainPatches([w.scene], GAMMA0, **given), ValueError, words)
      for given, words in (({"size": 1}, "size=1"), ({"known_count": (5, 4)}, "two increasing"),
                           ({"known_sigma": -1.0}, "known_sigma=-1"),
                           ({"within": []}, "0 parts for 1 scenes"))),
    *rows_of(partial(HeightEstimator, CHANNELS), ValueError,
             ({"network": "transformer"}, "expected one of unet"),
             ({"reference": "sea level"}, "expected one of mean"),
             ({"distance": "squared"}, "expected one of eucl"),
             ({"postings": (30.0,)}, "two ascending"), ({"postings": (40.0, 3.0)}, "two asc"),
             ({"height_std": 0.0}, "above 0"), ({"output_std": -1.0}, "above 0"),
             ({"scale_factor": 0.0}, "above 0")),
    *rows_of(partial(replace, SETTINGS), ValueError, ({"network": "vit"}, "expected one of unet"),
             ({"channels": ()}, "one channel at least"), ({"distance": "squared"}, "of euclidean"),
             ({"size": 0}, "size=0"),
             ({"reference": "mean", "known_count": (0, 4)}, "one known elevation at least")),
    *rows_of(partial(UNet, 1, 1), ValueError, ({"width": 0}, "width=0"), ({"depth": 0}, "depth=0"),
             ({"depth": 13}, "depth=13")),
    (lambda _: UNet(1, 0), ValueError, "out_channels=0"),
    (lambda _: Channel("vv", 1), TypeError, "expected two texts"),  # type: ignore[arg-type]
    *rows_of(RefinementNetwork, ValueError, ({"members": 0}, "members=0"),
             ({"network": "resnet"}, "network='resnet'"),
             ({"training_range": {"posting": (30.0, 20.0)}}, "two ascending numbers"),
             ({"training_range": {"age": (1.0, 2.0)}}, "the range age"),
             ({"calibration": [{"images": 2}]}, "expected numbers under"),
             ({"calibration": [{"images": 3, "looks": 1.0, "share": 1.0, "scale": 1.0}]}, "1 or 2"),
             ({"calibration": [{"images": 1, "looks": 1.0, "share": 1.5, "scale": 1.0}]}, "share")),
    # Devices that are not there.
    (lambda w: predict_heights(w.on_coarse, w.scene, device="abacus"), ValueError, "not available"),
    *((lambda w, name=name: w.train(w.scene, accelerator=name), ValueError,
       f"'{name}', which is not available")
      for name in ("abacus", *(() if torch.cuda.is_available() else ("cuda", "gpu")))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("use", "error", "message"), REFUSALS, ids=[message for *_, message in REFUSALS]
)
@pytest.mark.filterwarnings("ignore:image 1:RuntimeWarning")
def test_input_that_makes_no_heights_is_refused(
    world: World, use: Callable[[World], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        use(world)
    assert not (world.run / "model").exists()
