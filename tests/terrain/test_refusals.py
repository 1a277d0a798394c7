"""Input that makes no heights: a clear error, and nothing half-written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from sarheight.dem import coarsen
from sarheight.errors import (
    CheckpointError,
    DemError,
    GeometryError,
    KnownElevationsError,
    VerticalDatumError,
)
from sarheight.illumination import simulate
from sarheight.learning import Channel, split_bands
from sarheight.terrain import (
    HeightEstimator,
    KnownElevations,
    RefinementNetwork,
    TerrainSettings,
    interpolate_elevations,
    observe_scene,
    predict_heights,
    predict_image,
    prepare_scene,
    refine,
    simulate_scene,
    train_terrain,
)
from tests.mountains import look, mountain, raster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

    from sarheight.scene import Scene

torch.set_num_threads(1)

CHANNELS = (Channel("gamma0_posterior", "1", "decibel"),)
SMALL = {"width": 4, "depth": 2}
SETTINGS = TerrainSettings(
    channels=("gamma0_posterior",), options=SMALL, size=16, stride=8, known_count=(2, 6), epochs=1
)


class World:
    """An image, elevation models, a training scene, and saved networks."""

    def __init__(self, folder: Path) -> None:
        self.truth = raster(mountain(48, 72))
        self.image: Scene = simulate(self.truth, *look(), looks=20.0, seed=1)
        self.coarse = coarsen(self.truth, 90.0, units="crs")
        self.scene = simulate_scene(self.truth, *look(), seed=5)
        self.model = HeightEstimator(CHANNELS, options=SMALL)
        self.heights = self.model.save_pretrained(folder / "heights")
        self.refinement = RefinementNetwork(options=SMALL).save_pretrained(folder / "refinement")
        self.newer = self.model.save_pretrained(folder / "newer")
        described = json.loads((self.newer / "config.json").read_text())
        (self.newer / "config.json").write_text(json.dumps(described | {"format": 2}))
        self.run = folder / "run"

    def train(self, scene: xr.Dataset) -> None:
        """Train on a scene."""
        bands = split_bands(scene, {"training": 0.6, "validation": 0.4}, gap=120.0)
        parts = [[band] for band in bands.values()]
        train_terrain([scene], *parts, SETTINGS, self.run, accelerator="cpu", progress=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def nowhere(dem: xr.DataArray) -> xr.DataArray:
    return dem.assign_coords(x=dem["x"] + 3e5)


def undated(dem: xr.DataArray) -> xr.DataArray:
    return dem.drop_attrs(deep=False)


ELSEWHERE = KnownElevations([12.0], [47.0], [800.0])
NONE = KnownElevations([], [], [])

REFUSALS: list[tuple[Callable[[World], object], type[Exception], str]] = [
    # Weights of another kind, of a newer version, with other channels.
    (lambda w: HeightEstimator.from_pretrained(w.refinement), CheckpointError, "kind 'refined"),
    (lambda w: RefinementNetwork.from_pretrained(w.heights), CheckpointError, "kind 'terrain"),
    (lambda w: HeightEstimator.from_pretrained(w.newer), CheckpointError, "another version"),
    (
        lambda w: predict_heights(w.model, w.scene.drop_vars("gamma0_posterior")),
        CheckpointError,
        "no gamma0_posterior",
    ),
    (lambda w: w.model({"image": torch.zeros(1, 3, 8, 8), "known": torch.zeros(1, 1, 8, 8)}),
     ValueError, "found 3 channels, expected 1"),
    # Truth on another grid, or of another place.
    (
        lambda w: prepare_scene(w.image, w.coarse, w.truth, truth=w.truth[:-1]),
        DemError,
        "true heights on",
    ),
    (lambda w: observe_scene(w.image, nowhere(w.truth)), GeometryError, "No cell of the DEM"),
    # Elevation models that do not state their vertical reference.
    (lambda w: observe_scene(w.image, undated(w.truth)), VerticalDatumError, "vertical"),
    (lambda w: observe_scene(w.image, w.truth, undated(w.coarse)), VerticalDatumError, "vertical"),
    (lambda w: predict_image(w.model, w.image, undated(w.coarse)), VerticalDatumError, "vertical"),
    (lambda w: refine(w.image, undated(w.coarse)), VerticalDatumError, "vertical"),
    # No known elevation.
    (lambda w: predict_heights(w.model, w.scene), KnownElevationsError, "no known elevation, exp"),
    (lambda w: predict_heights(w.model, w.scene, NONE), KnownElevationsError, "relative to whose"),
    (
        lambda _: replace(SETTINGS, reference="mean", known_count=(0, 4)),
        ValueError,
        "one known elevation at least",
    ),
    (lambda w: interpolate_elevations(NONE, w.truth), KnownElevationsError, "no known elevation"),
    (lambda w: observe_scene(w.image, w.truth, known=ELSEWHERE), KnownElevationsError, "outside"),
    (lambda w: predict_image(w.model, w.image, w.coarse, ELSEWHERE), KnownElevationsError, "outsi"),
    (
        lambda w: w.train(w.scene.assign(known_height=w.scene["height"] * np.nan)),
        ValueError,
        "found no known elevation in the parts",
    ),
    # Numbers out of their range, and images that do not fit.
    (lambda w: observe_scene(w.image, w.truth, coarser=0), ValueError, "coarser=0"),
    (lambda w: observe_scene(w.image, w.truth, posting=-30.0), ValueError, "posting=-30"),
    (lambda w: predict_image(w.model, w.image, w.coarse, grid=-1.0), TypeError, "GeoBox"),
    (
        lambda w: observe_scene(
            replace(w.image, image=w.image.image.expand_dims(polarisation=["VV", "VH"])), w.truth
        ),
        ValueError,
        "expected one: select it",
    ),
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
