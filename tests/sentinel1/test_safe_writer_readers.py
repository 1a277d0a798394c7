"""What other people's programs make of a simulated product that is like a real one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from sarheight import geometry
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.illumination import simulate
from sarheight.sentinel1 import read_annotation, read_grid, read_orbit
from sarheight.sentinel1._product import open_product
from tests.conftest import ANNOTATIONS, shared_data
from tests.dems import dem_around, hills
from tests.simulated_products import the_file
from tests.worlds.safe_layout import layout_of
from tests.worlds.safe_product import write_product
from tests.worlds.safe_tables import geolocation_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.scene import Scene
    from sarheight.sentinel1.annotation import GeolocationGrid

GRD, SLC = ANNOTATIONS[0], ANNOTATIONS[-1]

# Warnings of xarray-sentinel, sarsen and what they use are theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


class Simulated(NamedTuple):
    """A product, and what it was made of."""

    annotation: Path
    dem: xr.DataArray
    scene: Scene
    path: Path
    group: str


def _simulated(name: str, folder: Path) -> Simulated:
    """Simulate hills in the middle of an image, of an SLC in the middle of a burst."""
    annotation = shared_data("sentinel1", name)
    grid, orbit = read_grid(annotation), read_orbit(annotation)
    line = grid.bursts[4].first_line + 750 if grid.bursts else grid.lines // 2
    middle = grid.crop(slice(line, line + 1), slice(grid.samples // 4, grid.samples // 4 + 1))
    place = geometry.rdr2geo(middle, orbit, 1000.0)
    longitude, latitude = place.longitude.item(), place.latitude.item()
    zone = int((longitude + 180.0) // 6.0) + 1
    dem = dem_around(latitude, longitude, hills((50, 60), relief=60.0), crs=f"EPSG:{32600 + zone}")
    part = crop_grid_to_dem(dem, grid, orbit)
    scene = simulate(dem, part, orbit)
    path = folder / "simulated.SAFE"
    write_product(scene, path, like=annotation)
    return Simulated(annotation, dem, scene, path, f"{grid.swath}/VV")


@pytest.fixture(scope="module", params=[GRD, SLC], ids=["GRD", "SLC"])
def simulated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Simulated:
    return _simulated(request.param, tmp_path_factory.mktemp("simulated"))


def _opened(simulated: Simulated, group: str) -> xr.Dataset:
    """Open a group, of an image in large chunks: its file has a strip for each line."""
    pytest.importorskip("xarray_sentinel")
    return xr.open_dataset(
        simulated.path,
        engine="sentinel-1",
        group=group,
        rasterio_chunks={"x": 2048, "y": 2048},
    )


def _errors(schema: str, file: Path) -> list[str]:
    """Check a file by the schema of ESA that xarray-sentinel holds, and list what is wrong."""
    xmlschema = pytest.importorskip("xmlschema")
    package = pytest.importorskip("xarray_sentinel")
    folder = Path(package.__file__).parent / "resources" / "sentinel1"
    rules = xmlschema.XMLSchema(str(folder / f"s1-level-1-{schema}.xsd"))
    contents = Path(file).read_bytes()
    if file.suffix == ".xz":
        import lzma

        contents = lzma.decompress(contents)
    return [str(error.reason) for error in rules.iter_errors(contents.decode("utf-8"))]


class TestFormat:
    def test_files_keep_to_the_schemas_of_esa(self, simulated: Simulated) -> None:
        folder = simulated.path / "annotation"
        assert not _errors("calibration", the_file(folder, "calibration/calibration-*.xml"))
        assert not _errors("noise", the_file(folder, "calibration/noise-*.xml"))
        found = _errors("product", the_file(folder, "*.xml"))
        # The schema is younger than the annotation of the Alps, and asks for one element more.
        assert found == _errors("product", simulated.annotation)

    def test_all_of_the_annotation_is_kept_but_for_the_cut(self, simulated: Simulated) -> None:
        cut = read_annotation(the_file(simulated.path, "annotation/*.xml"))
        whole = read_annotation(simulated.annotation)
        for name in ("mission", "mode", "swath", "polarisation", "passing", "range_sampling_rate"):
            assert getattr(cut, name) == getattr(whole, name)
        for name in ("time", "position", "velocity"):
            vectors = (getattr(each.state_vectors, name) for each in (cut, whole))
            assert_array_equal(next(vectors), next(vectors))
        assert cut.samples == simulated.scene.grid.samples < whole.samples
        assert cut.lines < whole.lines

    def test_gdal_opens_the_product(self, simulated: Simulated) -> None:
        with rasterio.Env() as environment:
            if "SAFE" not in environment.drivers():
                pytest.skip("needs the SAFE driver of GDAL")
        with rasterio.open(simulated.path / "manifest.safe") as file:
            assert file.driver == "SAFE"
            numbers = file.read(1)
        with rasterio.open(the_file(simulated.path, "measurement/*.tiff")) as file:
            assert_array_equal(numbers, file.read(1))


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_points_are_those_of_esa_where_pixels_coincide(name: str) -> None:
    """Of a whole image, for which ESA has a geolocation grid of its own."""
    source = shared_data("sentinel1", name)
    annotation, orbit = read_annotation(source), read_orbit(source)
    grid = read_grid(source)
    if grid.is_ground_range:
        # ESA's own grid was made so.
        grid = grid.with_range_interpolation("nearest")
    points = geolocation_points(layout_of(grid, annotation), orbit, annotation)
    theirs = annotation.geolocation
    places = {place: at for at, place in enumerate(zip(points.line, points.pixel, strict=True))}
    pairs = np.array(
        [
            (at, places[place])
            for at, place in enumerate(zip(theirs.line, theirs.pixel, strict=True))
            if place in places
        ]
    )
    assert len(pairs) >= 4  # the corners at least
    first, second = pairs.T
    to_earth_fixed = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    apart = np.subtract(
        to_earth_fixed.transform(*(at[first] for at in _coordinates(theirs))),
        to_earth_fixed.transform(*(at[second] for at in _coordinates(points))),
    )
    # A tenth of a millisecond is 0.7 m along the track.
    assert np.linalg.norm(apart, axis=0).max() < 0.7
    ranges = theirs.slant_range_time[first] - points.slant_range_time[second]
    assert np.abs(ranges).max() * SPEED_OF_LIGHT / 2 < 0.05
    for angle in ("incidence_angle", "elevation_angle"):
        turned = getattr(theirs, angle)[first] - getattr(points, angle)[second]
        assert np.abs(turned).max() < 0.06


def _coordinates(points: GeolocationGrid) -> tuple[NDArray[np.float64], ...]:
    return points.longitude, points.latitude, points.height


class TestXarraySentinel:
    def test_it_opens_every_group(self, simulated: Simulated) -> None:
        root = _opened(simulated, "")
        assert root.attrs["relative_orbit_number"] in {71, 168}
        for group in root.attrs["subgroups"]:
            assert _opened(simulated, group) is not None

    def test_it_finds_the_same_pixels_at_the_same_times(self, simulated: Simulated) -> None:
        grid = read_grid(the_file(simulated.path, "annotation/*.xml"))
        burst = "/0" if grid.bursts else ""
        image = _opened(simulated, f"{simulated.group}{burst}").measurement
        line = np.arange(image.shape[0])
        seconds = (image.azimuth_time.values - grid.epoch).astype(np.int64) * 1e-9
        assert np.abs(seconds - grid.azimuth_time(line)).max() < 2e-6

    def test_it_calibrates_to_the_same_values(self, simulated: Simulated) -> None:
        tables = _opened(simulated, f"{simulated.group}/calibration")
        import xarray_sentinel

        grid = read_grid(the_file(simulated.path, "annotation/*.xml"))
        burst = "/0" if grid.bursts else ""
        image = _opened(simulated, f"{simulated.group}{burst}").measurement
        product = open_product(simulated.path)
        for calibration, table in (
            ("beta0", tables.betaNought),
            ("sigma0", tables.sigmaNought),
            ("gamma0", tables.gamma),
        ):
            theirs = xarray_sentinel.calibrate_intensity(image, table).values
            ours = product.scene(calibration=calibration).image.squeeze(drop=True).values  # type: ignore[arg-type]
            known = np.isfinite(ours)
            assert known.sum() > simulated.dem.size
            assert_allclose(ours[known], theirs[known], rtol=2e-5, atol=1e-9)


def test_the_plain_geocoding_of_sarsen_is_ours(simulated: Simulated) -> None:
    pytest.importorskip("sarsen")
    from benchmarks._accuracy.sarsen import compare

    found = compare(simulated.path, simulated.group, simulated.dem)
    assert found.cells > 0.8 * simulated.dem.size
    assert found.largest_shift < 0.1
    assert found.decibels < 0.1
    assert abs(found.bias) < 0.01
    # Without the shear along azimuth, and with sarsen's search gone on, nothing is left.
    assert found.shift_same_conventions < 1e-3
