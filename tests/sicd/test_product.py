"""SICD products, from the file to the scene."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import sarkit.sicd as sksicd
import sarkit.wgs84
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from sarheight.ellipsoid import LookSide
from sarheight.errors import MissingLibraryError, OptionError, ProductError
from sarheight.geometry import geo2rdr
from sarheight.grid import RadarGrid
from sarheight.illumination import simulate
from sarheight.layover import masks, reconstruct
from sarheight.orbit import Orbit
from sarheight.product import Product, is_product
from sarheight.product import open_product as open_any
from sarheight.sicd import open_product
from sarheight.workflow import open_image
from tests.cli.commands import passing
from tests.dems import dem_around, hills
from tests.mountains import mountain, raster
from tests.synthetic import synthetic_grid
from tests.worlds.point_scatterers import scatterers_of
from tests.worlds.scatterer_geometry import path_of, surface_of
from tests.worlds.scattering_ground import CosineLaw, GroundSettings, Kind, draw_ground
from tests.worlds.sicd import (
    INSTRUMENT,
    PixelType,
    Tree,
    focus_points,
    polar_tree,
    write_sicd,
    zero_doppler_tree,
)
from tests.worlds.slc_image import focus

Floats = NDArray[np.float64]

PLACE = 46.0, 10.0, 1000.0
SHAPE = 120, 150
"""Rows and columns of an image, which are samples and lines at zero Doppler."""
SPACING = 4.0


def sampling(
    look_side: LookSide = "right",
    shape: tuple[int, int] = SHAPE,
    spacing: tuple[float, float] = (SPACING, SPACING),
) -> tuple[RadarGrid, Orbit]:
    """An X-band image at zero Doppler, centred on the place."""
    grid, orbit = synthetic_grid(
        height=PLACE[2],
        ground_range=False,
        look_side=look_side,
        samples=shape[0],
        lines=shape[1],
        sample_spacing=spacing[0],
        line_spacing=spacing[1],
    )
    return replace(grid, wavelength=0.0311), orbit


@dataclass(frozen=True)
class Look:
    """How a file sees the place."""

    look_side: LookSide = "right"
    polar: bool = False
    ahead: float = 0.0
    """Seconds from the centre of aperture to zero Doppler."""
    spotlight: bool = False

    def tree(self, shape: tuple[int, int] = SHAPE, spacing: float = SPACING) -> Tree:
        """Describe the file."""
        grid, orbit = sampling(self.look_side, shape, (spacing, spacing))
        if not self.polar:
            return zero_doppler_tree(
                grid, orbit, height=PLACE[2], spotlight=self.spotlight, look_ahead=self.ahead
            )
        time = 0.5 * (grid.first_time + grid.last_time) - self.ahead
        return polar_tree(grid, orbit, PLACE, time=time, shape=shape, spacing=(spacing, spacing))


LOOKS = {
    "strip map": Look(),
    "strip map to the left, ahead": Look("left", ahead=0.4),
    "spotlight of an RMA, behind": Look(ahead=-3.0, spotlight=True),
    "spotlight of a PFA": Look(polar=True),
    "squinted by 7 degrees": Look(polar=True, ahead=15.0),
    "squinted by 20 degrees, to the left": Look("left", polar=True, ahead=-45.0),
}
RESAMPLED = [name for name, look in LOOKS.items() if look.polar or look.ahead < -1.0]


def numbers(seed: int = 0, shape: tuple[int, int] = SHAPE) -> NDArray[np.complex64]:
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def written(
    folder: Path,
    tree: Tree = None,
    image: NDArray[Any] | None = None,
    **options: Any,  # noqa: ANN401  # as of `write_sicd`
) -> Product:
    """Write an image, by default a strip map of `numbers`, and open it."""
    tree = Look().tree() if tree is None else tree
    image = numbers() if image is None else image
    return open_product(write_sicd(folder / "any.nitf", tree, image, **options))


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Product]:
    """The same numbers, as every look stores them."""
    return {
        name: written(tmp_path_factory.mktemp("look"), look.tree()) for name, look in LOOKS.items()
    }


def stated(tree: Tree) -> Any:  # noqa: ANN401  # the library has no types
    """What a description says, by its names."""
    return sksicd.ElementWrapper(tree.getroot())


def earth_fixed(dem: xr.DataArray) -> Floats:
    """Positions of cells, shape (rows, columns, 3)."""
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(*np.meshgrid(dem.x.values, dem.y.values))
    place = np.stack((latitude, longitude, dem.values), axis=-1)
    return np.asarray(sarkit.wgs84.geodetic_to_cartesian(place))


# Geometry.


@pytest.mark.parametrize("name", LOOKS)
def test_cells_are_seen_where_the_standard_projects_them(tmp_path: Path, name: str) -> None:
    """Images of rows and of columns show at each cell the row and column of the standard."""
    tree = LOOKS[name].tree()
    dem = dem_around(*PLACE[:2], hills((20, 20), relief=150.0, size=3.0), posting=20.0)
    dem = dem.copy(data=dem.values.astype(np.float64))
    place, _, found = sksicd.scene_to_image(tree, earth_fixed(dem))
    assert found
    expected = np.moveaxis(sksicd.xrowycol_to_rowcol(tree, place), -1, 0)
    ramps = np.meshgrid(*(100.0 + np.arange(size) for size in SHAPE), indexing="ij")
    product = written(tmp_path, tree)
    seen = geo2rdr(dem, *product.grid_and_orbit())
    for ramp, known in zip(ramps, expected, strict=True):
        # The image is read when it is computed.
        write_sicd(tmp_path / "any.nitf", tree, np.sqrt(ramp).astype(np.complex64))
        image = product.scene().image.values
        value = map_coordinates(image, (seen.line, seen["sample"]), order=1, cval=np.nan)
        inside = np.isfinite(value)
        assert inside.sum() > 150
        # A metre at 1000 m from the height of the centre, at most, and the numbers' precision.
        allowed = 0.005 + np.abs(dem.values - PLACE[2]) / 1000.0 / SPACING
        assert (np.abs(value - 100.0 - known) <= allowed)[inside].all()


@pytest.mark.parametrize("name", LOOKS)
def test_the_grid_is_that_of_the_geometry(products: dict[str, Product], name: str) -> None:
    look, product = LOOKS[name], products[name]
    grid, _ = sampling(look.look_side)
    scene = product.scene()
    assert scene.grid.look_side == look.look_side
    assert scene.grid.wavelength == pytest.approx(0.0311)
    assert scene.grid.polarisations == product.polarisations == ("VV",)
    assert (scene.grid.doppler is None) == (abs(look.ahead) < 1.0)
    assert dict(product.summary())["geometry"].count("resampled") == (name in RESAMPLED)
    np.testing.assert_allclose(
        scene.outline().mean(axis=0), product.footprint.mean(axis=0), atol=0.03
    )
    if name in RESAMPLED:
        # A pixel of the grid has the area of one of the file, in the slant plane.
        valid = np.isfinite(scene.image).sum()
        assert int(valid) == pytest.approx(np.prod(SHAPE), rel=0.05)
    else:
        since = (scene.grid.epoch - grid.epoch) / np.timedelta64(1, "ns") * 1e-9
        assert scene.grid.shape == grid.shape
        assert scene.grid.line_zero_time + since == pytest.approx(grid.line_zero_time, abs=2e-6)
        assert scene.grid.near_range == pytest.approx(grid.near_range, abs=0.05)
        expected = np.abs(numbers()).T ** 2
        flipped = expected[::-1] if look.look_side == "left" else expected
        np.testing.assert_allclose(scene.image, flipped, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["strip map", "squinted by 7 degrees", "squinted by 20 degrees, to the left"]
)
def test_active_layover_is_where_the_image_of_the_ground_turns_over(
    tmp_path: Path, name: str
) -> None:
    """The sign of the area in lines and samples, which needs no profile, at any squint."""
    dem = dem_around(*PLACE[:2], hills((120, 120), relief=50.0, size=6.0), posting=10.0)
    tree = LOOKS[name].tree((400, 500), 4.0)
    grid, orbit = written(tmp_path, tree, numbers(0, (400, 500))).grid_and_orbit()
    seen = geo2rdr(dem, grid, orbit)
    (down, across), (deeper, wider) = (
        np.gradient(each.values) for each in (seen.line, seen["sample"])
    )
    area = (down * wider - across * deeper)[3:-3, 3:-3]
    turned = area * np.sign(np.median(area)) < 0.0
    active = masks(dem, grid, orbit)["mask"].values[3:-3, 3:-3] == 2
    assert turned.mean() > 0.08
    # Cells at the edges of layover differ, as differences are taken over two cells.
    assert (turned == active).mean() > 0.985
    assert (turned & active).sum() > 0.9 * (turned | active).sum()


@pytest.mark.parametrize(
    ("look_side", "ahead", "squint"),
    [("right", 0.0, 0.0), ("left", 10.0, 4.7), ("left", -30.0, 14.0), ("right", 60.0, 26.0)],
)
def test_spotlights_of_5_km_are_in_range_and_doppler_to_a_metre(
    tmp_path: Path, look_side: LookSide, ahead: float, squint: float
) -> None:
    tree = Look(look_side, polar=True, ahead=ahead).tree((100, 100), 50.0)
    said = dict(written(tmp_path, tree, numbers(0, (100, 100))).summary())["geometry"]
    told = re.search(r"within ([\d.]+) m at heights up to 1000 m", said)
    assert told is not None
    assert 0.1 < float(told[1]) < 1.0
    assert abs(stated(tree)["SCPCOA"]["DopplerConeAng"] - 90.0) == pytest.approx(squint, abs=2.0)


@pytest.mark.parametrize("name", RESAMPLED)
def test_resampling_keeps_constants_and_mean_power(tmp_path: Path, name: str) -> None:
    tree = LOOKS[name].tree()
    product = written(tmp_path, tree, np.full(SHAPE, 2.0, np.complex64))
    image = product.scene().image.values
    np.testing.assert_allclose(image[np.isfinite(image)], 4.0, rtol=1e-6)
    # Of 18,000 pixels of one look: 0.7 %.
    write_sicd(tmp_path / "any.nitf", tree, numbers(3))
    assert float(product.scene().image.mean()) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("name", ["strip map to the left, ahead", "squinted by 7 degrees"])
def test_parts_and_averages_are_read(products: dict[str, Product], name: str) -> None:
    product = products[name]
    whole = product.scene()
    part = product.scene(bounds=(9.9985, 45.9985, 10.0015, 46.0015), heights=(990.0, 1010.0))
    assert part.image.size < whole.image.size
    line = round((part.grid.line_zero_time - whole.grid.line_zero_time) / part.grid.line_interval)
    sample = round((part.grid.near_range - whole.grid.near_range) / part.grid.sample_spacing)
    lines, samples = part.image.shape
    expected = whole.image[line : line + lines, sample : sample + samples]
    np.testing.assert_allclose(part.image, expected, rtol=1e-5)
    coarse = product.scene(multilook=(4, 5))
    assert coarse.image.shape == (whole.grid.lines // 4, whole.grid.samples // 5)
    # 0.8 of the pixels are independent, along either axis.
    assert coarse.grid.looks == pytest.approx(20 * 0.64)


def test_a_part_of_a_full_image_is_where_it_was(tmp_path: Path) -> None:
    tree = LOOKS["squinted by 7 degrees"].tree()
    ramp = np.sqrt(np.add.outer(100.0 + np.arange(SHAPE[0]), 3.0 * np.arange(SHAPE[1])))
    whole = written(tmp_path, tree, ramp).scene()
    # Images are read when they are computed.
    whole.image.load()
    root = stated(tree)["ImageData"]
    root["FirstRow"], root["FirstCol"], root["NumRows"], root["NumCols"] = 30, 40, 80, 70
    part = written(tmp_path, tree, ramp[30:110, 40:110]).scene()
    assert part.image.size < 0.6 * whole.image.size
    dem = dem_around(*PLACE[:2], hills((8, 8), relief=20.0, size=2.0), posting=12.0)
    first, second = (
        map_coordinates(scene.image.values, (seen.line, seen["sample"]), order=1, cval=np.nan)
        for scene in (whole, part)
        for seen in [geo2rdr(dem, scene.grid, scene.orbit)]
    )
    both = np.isfinite(first) & np.isfinite(second)
    assert both.sum() > 50
    np.testing.assert_allclose(first[both], second[both], rtol=1e-4)


# Radiometry.


def ground_of_constant_gamma(
    look: Look, gamma0: float
) -> tuple[xr.DataArray, NDArray[np.complex64], Any]:
    """Image hills of one gamma0, from the satellite's place at the aperture's centre."""
    heights = hills((200, 200), relief=35.0, size=30.0)
    fine = dem_around(*PLACE[:2], heights, posting=5.0)
    tree = look.tree((460, 700), 2.0)
    corners = earth_fixed(fine)
    down, across = corners[1:, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, 1:]
    middle = 0.25 * (corners[1:, 1:] + corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:])
    sight = np.asarray(stated(tree)["SCPCOA"]["ARPPos"]) - middle
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    projected = np.abs(np.sum(0.5 * np.cross(down, across) * sight, axis=-1))
    amplitude = np.sqrt(0.5 * gamma0 * projected) * numbers(5, projected.shape)
    image = focus_points(tree, middle.reshape(-1, 3), amplitude.ravel().astype(np.complex128))
    coarse = fine.coarsen(y=5, x=5).mean().rio.write_crs(fine.rio.crs).assign_attrs(fine.attrs)
    return coarse.isel(x=slice(3, -3), y=slice(3, -3)), image, tree


@pytest.mark.parametrize(
    "name", ["spotlight of a PFA", "squinted by 7 degrees", "squinted by 20 degrees, to the left"]
)
def test_ground_of_one_gamma0_is_seen_as_such(tmp_path: Path, name: str) -> None:
    dem, image, tree = ground_of_constant_gamma(LOOKS[name], 0.1)
    scene = written(tmp_path, tree, image).scene(multilook=(3, 3))
    # Pixels at the edge of the DEM hold echoes from beyond it.
    result = reconstruct(scene, dem).isel(x=slice(2, -2), y=slice(2, -2))
    gamma0, area = result.gamma0.values, result.projected_area.values
    known = np.isfinite(gamma0)
    assert known.mean() > 0.95
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        first, last = np.quantile(area[known], [low, high])
        part = known & (area >= first) & (area <= last)
        # Speckle of 25 facets in each of some 300 cells leaves 1 %.
        assert np.sum((gamma0 * area)[part]) / area[part].sum() == pytest.approx(0.1, rel=0.03)


def test_the_independent_simulator_is_read_back(tmp_path: Path) -> None:
    """Point scatterers of another geometry, stored as 16-bit numbers."""
    plain = GroundSettings(
        kinds=(Kind("plain", CosineLaw(-10.0, 0.0), 0.0),),
        level_spread=0.0,
        slope_spread=0.0,
        features=(),
        bright_density=0.0,
    )
    heights = hills((60, 60), relief=25.0, size=7.0)
    ground = draw_ground(dem_around(*PLACE[:2], heights, posting=15.0), 2, settings=plain)
    grid, orbit = sampling(shape=(240, 400), spacing=(3.0, 3.0))
    path = path_of(orbit.with_epoch(grid.epoch), 0.5 * (grid.first_time + grid.last_time))
    image = np.zeros(grid.shape[::-1], np.complex128)
    for each in scatterers_of(ground, surface_of(ground.dem), path, 6, 1):
        row = grid.sample(each.slant.ravel(), each.time.ravel())
        column = grid.line(each.time.ravel(), each.slant.ravel())
        focus(row, column, each.amplitude.ravel(), INSTRUMENT, image)
    tree = zero_doppler_tree(grid, orbit, height=PLACE[2])
    axes = stated(tree)["Grid"]
    image /= np.sqrt(axes["Row"]["SS"] * axes["Col"]["SS"])
    stored = {"pixels": "RE16I_IM16I", "step": 1e-3, "radiometric": {"BetaZeroSFPoly": [[1e-6]]}}
    product = written(tmp_path, tree, image.astype(np.complex64), **stored)
    result = reconstruct(product.scene(multilook=(4, 3)), ground.dem).isel(
        x=slice(4, -4), y=slice(4, -4)
    )
    known = np.isfinite(result.gamma0.values)
    area = result.projected_area.values
    mean = np.sum((result.gamma0.values * area)[known]) / area[known].sum()
    assert known.mean() > 0.9
    assert 10.0 * np.log10(mean) == pytest.approx(-10.0, abs=0.1)


@pytest.mark.parametrize(
    ("pixels", "step", "error"),
    [("RE32F_IM32F", 1.0, 1e-6), ("RE16I_IM16I", 1e-3, 2e-3), ("AMP8I_PHS8I", 0.02, 0.02)],
)
def test_all_types_of_pixels_are_read(
    tmp_path: Path, pixels: PixelType, step: float, error: float
) -> None:
    scale = {"BetaZeroSFPoly": [[step**2]]}
    product = written(tmp_path, pixels=pixels, step=step, radiometric=scale)
    found = np.sqrt(product.scene().image.values)
    np.testing.assert_allclose(np.nan_to_num(found), np.abs(numbers()).T, atol=error)


def test_8_bit_amplitudes_stand_for_those_of_a_table(tmp_path: Path) -> None:
    table = 1e-3 * 2.0 ** (np.arange(256) / 16.0)
    product = written(tmp_path, pixels="AMP8I_PHS8I", amplitudes=table)
    found = np.sqrt(product.scene().image.values)
    np.testing.assert_allclose(found, np.abs(numbers()).T, rtol=0.03)


POLYNOMIAL = np.array([[2.0, 1e-3], [-2e-3, 1e-6]])


def polynomial_on_lines(coefficients: Floats) -> Floats:
    """The values of a polynomial over a strip map, in lines and samples."""
    axes = stated(Look().tree())["Grid"]
    x, y = (
        (np.arange(size) - (size - 1) // 2) * axes[name]["SS"]
        for size, name in zip(SHAPE, ("Row", "Col"), strict=True)
    )
    return np.asarray(np.polynomial.polynomial.polygrid2d(x, y, coefficients)).T


def test_intensities_are_calibrated_by_the_polynomials(tmp_path: Path) -> None:
    known = {"BetaZeroSFPoly": POLYNOMIAL, "GammaZeroSFPoly": 0.5 * POLYNOMIAL}
    product = written(tmp_path, radiometric=known)
    power = np.abs(numbers().T) ** 2 * polynomial_on_lines(POLYNOMIAL)
    np.testing.assert_allclose(product.scene().image, power, rtol=1e-5)
    gamma0 = product.scene(calibration="gamma0")
    assert gamma0.calibration == "gamma0"
    np.testing.assert_allclose(gamma0.image, 0.5 * power, rtol=1e-5)
    with pytest.raises(ValueError, match=r"calibration 'sigma0'.* only for beta0, gamma0: pass"):
        product.scene(calibration="sigma0")


@pytest.mark.parametrize("element", ["SigmaZeroSFPoly", "GammaZeroSFPoly"])
def test_beta0_follows_from_the_other_calibrations(tmp_path: Path, element: str) -> None:
    """Where lines and samples are at a right angle, the slant plane tilts by 90° - incidence."""
    tree = Look().tree()
    product = written(tmp_path, tree, radiometric={element: [[2.0]]})
    incidence = np.radians(stated(tree)["SCPCOA"]["IncidenceAng"])
    factor = 2.0 / np.sin(incidence) * (1.0 if "Sigma" in element else np.cos(incidence))
    power = factor * np.abs(numbers().T) ** 2
    np.testing.assert_allclose(product.scene().image, power, rtol=2e-4)


def test_noise_is_subtracted_where_its_level_is_absolute(tmp_path: Path) -> None:
    """Of an image that is resampled."""
    tree = LOOKS["squinted by 7 degrees"].tree()
    level = {"NoiseLevelType": "ABSOLUTE", "NoisePoly": [[-6.0]]}
    known = {"BetaZeroSFPoly": POLYNOMIAL, "NoiseLevel": level}
    product = written(tmp_path, tree, radiometric=known)
    noise = product.noise(multilook=(2, 2))
    assert noise is not None
    noisy = product.scene(multilook=(2, 2), noise_removal=False)
    clean = product.scene(multilook=(2, 2))
    assert clean.grid.shape == noise.grid.shape
    difference = (noisy.image - clean.image).values
    both = np.isfinite(difference) & np.isfinite(noise.image.values)
    assert both.sum() > 0.9 * np.isfinite(difference).sum()
    np.testing.assert_allclose(difference[both], noise.image.values[both], rtol=5e-3)
    assert float(noise.image.mean()) == pytest.approx(2.0 * 10.0**-0.6, rel=0.1)
    level["NoiseLevelType"] = "RELATIVE"
    assert written(tmp_path, tree, radiometric=known).noise() is None


def test_noise_may_vary_over_the_image(tmp_path: Path) -> None:
    """A polynomial of several coefficients, as providers state it, in decibels."""
    decibels = np.array([[-12.0, 1e-3], [2e-3, 1e-6]])
    stated_noise = {"NoiseLevelType": "ABSOLUTE", "NoisePoly": decibels}
    known = {"BetaZeroSFPoly": POLYNOMIAL, "NoiseLevel": stated_noise}
    product = written(tmp_path, radiometric=known)
    level = 10.0 ** (0.1 * polynomial_on_lines(decibels))
    assert level.max() > 1.05 * level.min()
    level *= polynomial_on_lines(POLYNOMIAL)
    noise = product.noise()
    assert noise is not None
    np.testing.assert_allclose(noise.image, level, rtol=1e-4)
    subtracted = product.scene(noise_removal=False).image - product.scene().image
    np.testing.assert_allclose(subtracted, level, rtol=1e-3, atol=1e-5)


def test_zeros_and_what_is_not_valid_have_no_data(tmp_path: Path) -> None:
    values = numbers()
    values[50, 60] = 0.0
    corners = [[10, 20], [10, 120], [100, 120], [100, 20]]
    image = written(tmp_path, image=values, valid=corners).scene().image
    expected = np.zeros(SHAPE, dtype=bool)
    expected[10:101, 20:121] = True
    expected[50, 60] = False
    np.testing.assert_array_equal(np.isfinite(image), expected.T)


@pytest.mark.parametrize(
    ("stored", "name"), [("H:V", "HV"), ("RHC:H", "RH"), ("OTHER1:V", "OTHER1:V")]
)
def test_polarisations_have_the_letters_of_other_missions(
    tmp_path: Path, stored: str, name: str
) -> None:
    product = written(tmp_path, polarisation=stored)
    assert product.polarisations == (name,)
    assert product.scene(polarisations=(name,)).image.coords["polarisation"].item() == name
    with pytest.raises(ValueError, match=f"expected one or more .*: {name}"):
        product.scene(polarisations=("VV",))


# Commands.


def test_the_commands_take_a_file(tmp_path: Path) -> None:
    grid, orbit = sampling(shape=(260, 300), spacing=(6.0, 8.0))
    heights = (raster(mountain(40, 50)) + 500.0).rio.write_crs("EPSG:32632")
    heights.rio.to_raster(tmp_path / "dem.tif")
    placed = heights.assign_attrs(units="m", vertical_datum="ellipsoid")
    power = np.nan_to_num(simulate(placed, grid, orbit).image.values)
    image = (np.sqrt(0.5 * power) * numbers(0, grid.shape)).T.astype(np.complex64)
    path = write_sicd(tmp_path / "x.nitf", zero_doppler_tree(grid, orbit, height=1000.0), image)
    told = " ".join(passing("info", str(path)).output.split())
    assert "SICD of TEST-1" in told
    assert "RGZERO, RMA, as in the file" in told
    dem = ["--dem", str(tmp_path / "dem.tif"), "--vertical", "ellipsoidal"]
    passing("reconstruct", str(path), *dem, "--coregister", "none", "-o", str(tmp_path / "r.nc"))
    with xr.open_dataset(tmp_path / "r.nc") as result:
        assert float(np.isfinite(result["gamma0"]).mean()) > 0.8
    passing("masks", "--like", str(path), *dem, "-o", str(tmp_path / "masks.tif"))
    with rasterio.open(tmp_path / "masks.tif") as masked:
        assert (masked.read(1) > 0).mean() > 0.01
    passing("simulate", "--like", str(path), *dem, "-o", str(tmp_path / "image.nc"))
    with xr.open_dataset(tmp_path / "image.nc") as simulated:
        assert simulated["beta0"].dims == ("line", "sample")
    assert open_image(path).grid.line_spacing(orbit) == pytest.approx(16.0, abs=2.0)
    with pytest.raises(OptionError, match=r"focusing: .*only a NISAR RSLC"):
        open_image(path, focusing="native")


def test_an_orbit_of_ones_own_is_taken(products: dict[str, Product]) -> None:
    product = products["strip map"]
    _, orbit = sampling()
    scene = product.scene(orbit=orbit)
    assert scene.orbit.source == orbit.source
    dem = dem_around(*PLACE[:2], hills((10, 10), relief=20.0), posting=20.0)
    own, given = (geo2rdr(dem, scene.grid, each) for each in (product.scene().orbit, orbit))
    # The file counts its time in microseconds.
    np.testing.assert_allclose(own.line, given.line, atol=0.01)
    np.testing.assert_allclose(own["sample"], given["sample"], atol=1e-3)


def test_an_image_without_calibration_serves_geometry_alone(tmp_path: Path) -> None:
    product = written(tmp_path, radiometric={})
    assert "none" in dict(product.summary())["calibration"]
    assert product.grid_and_orbit()[0].shape == SHAPE[::-1]
    with pytest.raises(ProductError, match=r"is not calibrated.* --like"):
        product.scene()


# Refusals.


NO_PLANE = "is not one of range and Doppler|or it is damaged"


@pytest.mark.filterwarnings("ignore:.*SCHEMASV", "ignore:invalid value", "ignore:divide by zero")
@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("{*}CollectionInfo/{*}CollectType", "BISTATIC", "found a bistatic image"),
        ("{*}Position", None, "or it is damaged"),
        ("{*}Position/{*}ARPPoly/{*}X/{*}Coef", "NaN", NO_PLANE),
        ("{*}Grid/{*}Type", "SPIRAL", "or it is damaged"),
    ],
)
def test_what_cannot_be_projected_is_refused(
    tmp_path: Path, name: str, value: str | None, found: str
) -> None:
    """Of an element another text, or no element."""
    tree = Look(polar=True).tree()
    element = tree.getroot().find(name)
    if value is None:
        element.getparent().remove(element)
    else:
        element.text = value
    with pytest.raises(ProductError, match=found):
        written(tmp_path, tree).grid_and_orbit()


def test_an_image_too_wide_for_range_and_doppler_is_refused(tmp_path: Path) -> None:
    tree = Look(polar=True, ahead=10.0).tree(spacing=400.0)
    found = r"RGAZIM, PFA\) is not one of range .* expected at most 2 m .*provider"
    with pytest.raises(ProductError, match=found):
        written(tmp_path, tree).scene()


LOUD = {"NoiseLevelType": "ABSOLUTE", "NoisePoly": [[4000.0]]}


@pytest.mark.parametrize(
    ("radiometric", "found"),
    [
        ({"BetaZeroSFPoly": [[0.0]]}, "of beta0 in its Radiometric is 0 in a part of the image"),
        ({"SigmaZeroSFPoly": [[-1.0]]}, "of sigma0 in its Radiometric is -1 in a part"),
        ({"BetaZeroSFPoly": [[1e300]]}, r"of beta0 in its Radiometric is 1e\+300 in a part"),
        # Positive at the scene's centre, and negative at its border.
        ({"BetaZeroSFPoly": [[1.0, 0.1]]}, "of beta0 in its Radiometric is -"),
        (
            {"BetaZeroSFPoly": [[1.0]], "NoiseLevel": LOUD},
            r"of noise in its Radiometric is 4e\+03 in a part of the image, expected -300 to 300",
        ),
    ],
)
def test_polynomials_that_are_no_factors_are_refused(
    tmp_path: Path, radiometric: dict[str, Any], found: str
) -> None:
    with pytest.raises(ProductError, match=found):
        written(tmp_path, radiometric=radiometric)


def test_what_other_missions_have_is_refused(products: dict[str, Product]) -> None:
    product = products["strip map"]
    for options, found in (
        ({"burst": 1}, "found burst=1"),
        ({"border_cleaning": True}, "found border_cleaning"),
        ({"swaths": ("A",)}, r"found swaths=\('A',\)"),
        ({"orbit": "any.EOF"}, "found orbit='any.EOF', expected an Orbit"),
    ):
        with pytest.raises(ValueError, match=found):
            product.scene(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no bursts"):
        product.burst_footprint(0)
    with pytest.raises(ProductError, match="lists no checksums"):
        product.verify()
    assert product.unverified == ()


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "any.nitf"
    with pytest.raises(FileNotFoundError, match="no file"):
        open_product(path)
    path.write_bytes(b"text")
    with pytest.raises(ProductError, match="not a SICD file"):
        open_product(path)
    with rasterio.open(
        path, "w", driver="NITF", width=8, height=8, count=1, dtype="uint8"
    ) as picture:
        picture.write(np.ones((1, 8, 8), np.uint8))
    with pytest.raises(ProductError, match="not a SICD file"):
        open_product(path)
    with pytest.raises(ProductError, match="download"):
        open_product("https://example.org/UMBRA.nitf")


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    assert written(tmp_path).name == "2024-01-01-06-00-00_TEST-1"
    path = tmp_path / "any.nitf"
    assert is_product(path)
    assert open_any(path).name == open_product(path).name
    whole = path.read_bytes()
    for size in (10, 400, 2000, len(whole) // 2, len(whole) - 3000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ProductError, match="not a SICD file"):
            open_product(path).scene().image.compute()


def test_the_library_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sicd(tmp_path / "any.nitf", Look().tree(), numbers())
    monkeypatch.setattr("sarheight._runtime.is_installed", lambda name: name != "sarkit")
    found = r"needs sarkit, .* pip install 'sarheight\[sicd\]'"
    with pytest.raises(MissingLibraryError, match=found):
        open_product(path)
    assert "sarkit" in sys.modules


LAUGHS = '<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 10)
)


def with_entities(path: Path, declared: str, text: str) -> Path:
    """Write a product whose XML declares entities, in a file of the size of one without them."""
    tree, room = Look().tree(), "x" * 2000
    for element in tree.iter("{*}CoreName"):
        element.text = room
    data = write_sicd(path, tree, numbers()).read_bytes()
    begin, end = data.index(b"<SICD"), data.index(b"</SICD>") + len(b"</SICD>")
    xml = data[begin:end].replace(room.encode(), text.encode())
    spoilt = f"<!DOCTYPE SICD [{declared}]>".encode() + xml
    path.write_bytes(data[:begin] + spoilt.ljust(end - begin) + data[end:])
    return path


@pytest.mark.parametrize("way", ["bomb", "file"])
def test_entities_are_not_expanded(tmp_path: Path, way: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a password")
    declared, text = {
        "bomb": (LAUGHS, "&a9;"),
        "file": (f'<!ENTITY x SYSTEM "{secret.as_uri()}">', "&x;"),
    }[way]
    path = with_entities(tmp_path / "any.nitf", declared, text)
    with pytest.raises(ProductError, match="is not a SICD file") as caught:
        open_product(path)
    assert "a password" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
