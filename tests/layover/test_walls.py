"""Terrains with vertical walls: tiles, contribution shares, and the order of storage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.dem.checked import CheckedDem
from sarheight.illumination import simulate
from sarheight.layover import PosteriorMean, Reallocation, mapping, masks, reconstruct
from sarheight.scene import Scene
from tests.dems import PLACES, dem_around
from tests.layover.test_tiles import assert_same
from tests.mountains import LAW, look

Floats = NDArray[np.float64]


class Walls(NamedTuple):
    """A terrain of blocks with steps of hundreds of metres, and how a radar looks at it."""

    seed: int
    rows: int
    columns: int
    block: int  # cells along a side of a block
    place: str
    posting: float
    look_side: str
    ground_range: bool
    incidence: float
    margin: float  # size of the image beside that of the DEM

    def heights(self) -> Floats:
        """Draw a height for each block, half of them at the lowest or the highest one."""
        random = np.random.default_rng(self.seed)
        shape = -(-self.rows // self.block), -(-self.columns // self.block)
        heights = np.clip(random.uniform(-1500.0, 3000.0, shape), 0.0, 1500.0)
        whole = np.kron(heights, np.ones((self.block, self.block)))
        return np.asarray(whole[: self.rows, : self.columns])

    def scene(self) -> tuple[xr.DataArray, Scene]:
        """Return the DEM and a speckled image of it."""
        crs, latitude, longitude = PLACES[self.place]
        dem = dem_around(latitude, longitude, self.heights(), crs=crs, posting=self.posting)
        pixels = self.margin * self.posting / 10.0
        how: dict[str, Any] = {"look_side": self.look_side, "ground_range": self.ground_range}
        grid, orbit = look(
            lines=int(self.rows * pixels),
            # Walls of 1500 m lie up to 300 samples nearer than flat ground.
            samples=int(self.columns * pixels + 300.0 * (self.margin - 0.8)),
            incidence=self.incidence,
            latitude=latitude,
            longitude=longitude,
            **how,
        )
        return dem, simulate(dem, grid, orbit, law=LAW, looks=4.4, seed=self.seed)


walls = st.builds(
    Walls,
    st.integers(0, 10_000),
    st.integers(60, 90),
    st.integers(60, 90),
    st.integers(1, 30),
    st.sampled_from(sorted(PLACES)),
    st.sampled_from([10.0, 30.0, 60.0]),
    st.sampled_from(["right", "left"]),
    st.booleans(),
    st.floats(24.0, 46.0),
    st.floats(0.8, 2.5),
)
WALL = Walls(1, 66, 70, 1, "geographic", 10.0, "left", True, 26.0, 2.5)  # noqa: FBT003
"""Footprints that reach farther beyond their facets than the slack of a tile's bounds."""
QUICK = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def lazy(scene: Scene) -> Scene:
    return replace(scene, image=scene.image.chunk(line=97, sample=131))


@settings(max_examples=5, **QUICK)  # type: ignore[arg-type]
@example(WALL, PosteriorMean())
@given(walls, st.sampled_from([Reallocation(), PosteriorMean()]))
def test_tiles_are_as_the_whole(wall: Walls, method: Reallocation | PosteriorMean) -> None:
    """With one tile and with many; a footprint is cut off nowhere."""
    dem, scene = wall.scene()
    expected = reconstruct(scene, dem, law=LAW, method=method)
    assert float(expected.contribution_share.max()) <= 1.0
    one = reconstruct(lazy(scene), dem, law=LAW, method=method)
    assert one.gamma0.data.npartitions == 1
    assert_same(one.compute(), expected, 2e-6)
    many = reconstruct(lazy(scene), dem, law=LAW, method=method, memory_limit=1)
    assert many.gamma0.data.npartitions == -(-wall.rows // 64) * -(-wall.columns // 64)
    assert_same(many.compute(), expected, 2e-6)


@settings(max_examples=20, **QUICK)  # type: ignore[arg-type]
@example(WALL, 0.5)
@given(walls, st.floats(0.1, 0.9))
def test_an_image_shows_what_a_larger_one_shows(wall: Walls, part: float) -> None:
    """Footprints that reach into an image from cells beside it are there too."""
    dem, scene = wall.scene()
    lines, samples = scene.grid.shape
    cut = slice(0, lines), slice(int(part * samples), samples)
    expected = simulate(dem, scene.grid, scene.orbit, law=LAW).image[cut]
    if not expected.any():
        return
    found = simulate(dem, scene.grid.crop(*cut), scene.orbit, law=LAW).image
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@settings(max_examples=5, **QUICK)  # type: ignore[arg-type]
@given(walls, st.sampled_from([("y",), ("x",), ("y", "x")]))
def test_the_order_of_storage_does_not_matter(wall: Walls, dims: tuple[str, ...]) -> None:
    """North-up, south-up and mirrored DEMs give the same bits, in their own order."""
    dem, scene = wall.scene()
    order = dict.fromkeys(dims, slice(None, None, -1))
    turned = dem.isel(order)
    for make in (
        lambda one: reconstruct(scene, one, law=LAW, method=Reallocation()),
        lambda one: masks(one, scene.grid, scene.orbit),
        lambda one: reconstruct(lazy(scene), one.chunk(y=50, x=40), law=LAW, memory_limit=1),
    ):
        found, expected = (make(one).compute() for one in (turned, dem))
        xr.testing.assert_identical(found.isel(order), expected)
        np.testing.assert_array_equal(found.x, turned.x)
        np.testing.assert_array_equal(found.y, turned.y)


def test_weights_are_in_the_order_of_storage_and_a_dem_is_checked_once() -> None:
    """One that was checked is taken as it is."""
    dem, scene = WALL._replace(block=20).scene()
    turned = dem[::-1]
    found, expected = (mapping(one, scene.grid, scene.orbit) for one in (turned, dem))
    np.testing.assert_array_equal(found.cells.y, turned.y)
    line, sample = np.divmod(int(expected.matrix.sum(axis=1).argmax()), scene.grid.samples)
    here, there = found.cells_of(line, sample), expected.cells_of(line, sample)
    for name in ("x", "y", "weight", "ratio", "column"):
        np.testing.assert_array_equal(here[name], there[name])
    np.testing.assert_array_equal(here.row, dem.shape[0] - 1 - there.row)
    checked = CheckedDem.of(dem)
    assert CheckedDem.of(checked) is checked
    assert checked.north_up() is checked
    results = (reconstruct(scene, one, law=LAW) for one in (checked, dem))
    xr.testing.assert_identical(*results)
