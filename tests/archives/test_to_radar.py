"""The way back from terrain-flattened products to radar images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from sarheight import archives, layover
from sarheight.archives import _facts, radar
from sarheight.dem import reproject
from sarheight.errors import GeometryError, OrbitCoverageError, ProductError
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.illumination import BackscatterLaw, ConstantGamma, simulate
from sarheight.orbit import Orbit
from tests.flattened_products import opera_table
from tests.mountains import look, mountain, random_terrain, raster
from tests.synthetic import circular_orbit

GRID, ORBIT = look()
DEM = raster(mountain())


def times(orbit: Orbit = ORBIT) -> tuple[str, str]:
    """Return the begin and end of the image as products state them."""
    zero = orbit.with_epoch(GRID.epoch)
    first, last = (str(zero.utc(time))[:26] for time in (GRID.first_time, GRID.last_time))
    return f"{first}Z", f"{last}Z"


def product(values: xr.DataArray, radiometry: str = "gamma0", **record: str | None) -> xr.Dataset:
    """Make the dataset of a product, as `open_rtc` does."""
    stack = values if "polarisation" in values.dims else values.expand_dims(polarisation=["VV"])
    start, end = times()
    facts = {"mission": "S1A", "start": start, "end": end, "orbit_state": "ascending"} | record
    made: xr.Dataset = (
        stack.transpose("polarisation", "y", "x")
        .astype(np.float32)
        .to_dataset(name=radiometry)
        .assign_attrs(
            terrain_flattened=True,
            source="OPERA RTC-S1",
            product_name="OPERA_L2_RTC-S1_T001",
            acquisition=json.dumps([facts]),
        )
        .rio.write_crs(values.rio.crs)
    )
    return made


def constant(value: float = 0.2, dem: xr.DataArray = DEM) -> xr.DataArray:
    return dem.copy(data=np.full(dem.shape, value, dtype=np.float32))


def patches(dem: xr.DataArray = DEM) -> xr.DataArray:
    """Make smooth ground of several brightnesses."""
    row, column = np.mgrid[: dem.shape[0], : dem.shape[1]]
    values = 0.15 * np.exp(0.6 * np.sin(row / 5.0) * np.cos(column / 7.0))
    return dem.copy(data=values.astype(np.float32))


def finer(dem: xr.DataArray) -> xr.DataArray:
    """Return heights on cells of 10 m, as the way back takes them."""
    thirds = np.array([-10.0, 0.0, 10.0])
    axes = {
        name: (dem[name].values[:, None] + sign * thirds).ravel()
        for name, sign in (("y", -1.0), ("x", 1.0))
    }
    shape = axes["y"].size, axes["x"].size
    like = xr.DataArray(np.zeros(shape), axes, ("y", "x")).rio.write_crs(dem.rio.crs)
    return reproject(dem, like=like, resampling="cubic")


@pytest.mark.parametrize(
    ("radiometry", "law"), [("gamma0", ConstantGamma(0.2)), ("sigma0", lambda t: 0.2 + 0.0 * t)]
)
def test_a_constant_map_becomes_the_simulated_image(radiometry: str, law: BackscatterLaw) -> None:
    made = archives.to_radar(product(constant(), radiometry), DEM, ORBIT, GRID)
    expected = simulate(finer(DEM), GRID, ORBIT, law=law)
    found, right = made.image.squeeze().values, expected.image.values
    lit = right > 0.0
    assert np.isfinite(found[lit]).all()
    # Cells at the edge of the elevation model have a neighbour less than those within the other.
    assert np.mean(np.abs(found[lit] / right[lit] - 1.0) < 1e-4) > 0.985
    assert np.nansum(found) == pytest.approx(right.sum(), rel=1e-3)
    # Beyond the ground nothing is known; between ground and ground it is dark.
    assert np.isnan(found[~lit]).any()
    assert (found[~lit] == 0.0).any()
    assert made.calibration == "beta0"
    assert made.image.attrs["flattened_by"] == "OPERA RTC-S1"


def test_the_radar_cross_section_of_the_map_is_that_of_the_image() -> None:
    """Sum of gamma0 times projected area over the map is that of intensity over pixels."""
    gamma0 = patches()
    made = archives.to_radar(product(gamma0), DEM, ORBIT, GRID)
    heights = finer(DEM)
    geometry = pass_geometry(heights, GRID, ORBIT)
    unit = simulate(heights, GRID, ORBIT, law=ConstantGamma(1.0)).image.values
    areas = np.ones(GRID.shape, dtype=np.float32)
    pixel_areas(GRID, geometry.radar, "beta0").divide(areas)
    by_image = float(np.nansum(made.image.values / areas))
    mean = by_image / float((unit / areas).sum())
    assert gamma0.values.min() < mean < gamma0.values.max()
    # Independent of the projection: the adjoint gives the area of each cell.
    from sarheight.illumination.simulate import illuminate

    area = illuminate(geometry, ConstantGamma(1.0)).adjoint(np.ones((1, *GRID.shape), np.float32))
    cells = area.linear[0].reshape(DEM.shape[0], 3, DEM.shape[1], 3).sum(axis=(1, 3))
    assert by_image == pytest.approx(float((cells * gamma0.values).sum()), rel=0.01)


def test_an_image_comes_back_from_its_flattened_map() -> None:
    """To half a decibel in nine of ten pixels, and without bias, in layover neither."""
    grid, orbit = GRID, ORBIT
    scene = simulate(DEM, grid, orbit, law=ConstantGamma(1.0), reflectivity=patches())
    flat = layover.reconstruct(scene, DEM, method="rtc", variables=("gamma0", "fold_count"))
    back = archives.to_radar(product(flat.gamma0), DEM, orbit, grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 10.0 * np.log10(back.image.values.squeeze() / scene.image.values)
    inside = np.isfinite(error) & (scene.image.values > 0.01)
    inside[:20], inside[-20:], inside[:, :20], inside[:, -20:] = False, False, False, False
    assert inside.sum() > 10_000
    assert abs(np.mean(error[inside])) < 0.1
    # Facets of 10 m instead of 30 m differ by as much.
    assert np.quantile(np.abs(error[inside]), 0.9) < 0.5
    bright = scene.image.values > np.quantile(scene.image.values[inside], 0.98)
    assert abs(np.mean(error[inside & bright])) < 0.3


def test_reconstruction_goes_on_from_a_flattened_map() -> None:
    """What the archive's product says wrong in layover is mended by way of its radar image."""
    gamma0 = patches()
    scene = simulate(DEM, GRID, ORBIT, law=ConstantGamma(1.0), reflectivity=gamma0, seed=1)
    flat = layover.reconstruct(scene, DEM, method="rtc")
    back = archives.to_radar(product(flat.gamma0), DEM, ORBIT)
    direct = layover.reconstruct(scene, DEM)
    again = layover.reconstruct(back, DEM)
    folded = (flat["fold_count"].values > 1) & np.isfinite(again.gamma0.values).squeeze()

    def error(found: xr.DataArray) -> float:
        values = found.values.squeeze()[folded]
        return float(np.sqrt(np.mean((10.0 * np.log10(values / gamma0.values[folded])) ** 2)))

    assert folded.sum() > 100
    assert error(again.gamma0) < 1.1 * error(direct.gamma0)


def test_blocks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archives.to_radar(product(patches()), DEM, ORBIT)
    monkeypatch.setattr(radar, "LARGEST_PART", 1000)
    monkeypatch.setattr(radar, "BLOCK", 64)
    parts = archives.to_radar(product(patches()), DEM, ORBIT)
    assert parts.image.chunks is not None
    np.testing.assert_allclose(
        parts.image.values, whole.image.values, rtol=1e-4, atol=1e-3, equal_nan=True
    )


def test_what_is_masked_is_not_known_and_the_rest_stays() -> None:
    """Pixels are NaN where most of their ground is masked, and else as without the mask."""
    gamma0 = patches()
    masked = gamma0.copy(data=gamma0.values.copy())
    masked[20:30, 30:40] = np.nan
    whole = archives.to_radar(product(gamma0), DEM, ORBIT, GRID).image.values.squeeze()
    found = archives.to_radar(product(masked), DEM, ORBIT, GRID).image.values.squeeze()
    lost = np.isnan(found) & np.isfinite(whole)
    assert 300 < lost.sum() < 3000
    both = np.isfinite(found) & (whole > 0.0)
    np.testing.assert_allclose(found[both], whole[both], rtol=0.7)
    assert np.mean(np.abs(found[both] / whole[both] - 1.0) < 1e-5) > 0.9


def test_polarisations_and_cells_beyond_the_product() -> None:
    """Two bands are projected alike; ground beside the product is not known, not dark."""
    wide = raster(random_terrain(3, 80, 100))
    narrow = wide[20:60, 25:75]
    bands = xr.concat([constant(0.1, narrow), constant(0.02, narrow)], "polarisation")
    made = archives.to_radar(
        product(bands.assign_coords(polarisation=["VV", "VH"])), wide, ORBIT, GRID
    )
    assert made.grid.polarisations == ("VV", "VH")
    vv, vh = made.image.values
    known = np.isfinite(vv) & (vv > 1e-4)
    np.testing.assert_allclose(vv[known] / vh[known], 5.0, rtol=1e-4)
    expected = simulate(finer(wide), GRID, ORBIT, law=ConstantGamma(0.1)).image.values
    # Half of a pixel at the edge may lie beyond; it is as bright as the other half.
    assert np.mean(np.abs(vv[known] - expected[known]) < 2e-3 * vv[known]) > 0.99
    assert np.isnan(vv).sum() > 1000


def test_a_product_brings_its_own_orbit(tmp_path: Path) -> None:
    """HDF5 files of OPERA hold state vectors; their image covers the product."""
    orbit = circular_orbit(36.1, -117.0, ascending=False, epoch="2020-07-02T00:00:00")
    path = opera_table(tmp_path / "product.h5")
    with h5py.File(path, "a") as file:
        group = file.create_group("metadata/orbit")
        for name in ("time", "position", "velocity"):
            group[name] = getattr(orbit, name)
        group["referenceEpoch"] = np.bytes_("2020-07-02T00:00:00.000000000")
    read = archives.open_rtc(path)
    stored = _facts.orbit_of(read, _facts.Facts.of(read))
    np.testing.assert_array_equal(stored.position, orbit.position)
    assert stored.epoch == np.datetime64("2020-07-02T00:00:00", "ns")


def test_a_scene_from_a_product_has_its_acquisition() -> None:
    made = archives.to_radar(product(constant()), DEM, ORBIT)
    assert (made.grid.mission, made.grid.product) == ("S1A", "RTC")
    found = layover.reconstruct(made, DEM, method="rtc")
    assert json.loads(found.attrs["acquisition"])[0]["product_name"] == "OPERA_L2_RTC-S1_T001"
    inside = found.gamma0.values[10:-10, 10:-10]
    # Flat ground far from the edges keeps its value.
    assert np.nanmedian(inside) == pytest.approx(0.2, rel=0.01)


def test_heights_of_the_provider() -> None:
    plain = product(constant())
    assert archives.provider_heights(plain) is None
    delivered = archives.provider_heights(plain.assign(height=DEM.drop_attrs()))
    assert delivered is not None
    assert delivered.attrs["vertical_datum"] == "ellipsoid"
    assert np.array_equal(delivered.values, DEM.values)


FLAT = constant()
EARLY = "2024-01-01T05:00:00Z"
NEXT_DAY = circular_orbit(epoch="2024-01-02T06:00:00")
ELSEWHERE = raster(mountain(), latitude=47.5)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ((product(FLAT), DEM, None), OrbitCoverageError, "holds no orbit"),
        ((product(FLAT), DEM, NEXT_DAY), OrbitCoverageError, "expected one that covers"),
        ((product(FLAT), ELSEWHERE, ORBIT), GeometryError, "no values where the elevation"),
        *(
            ((dataset, DEM, ORBIT), ProductError, words)
            for dataset, words in (
                (product(FLAT, orbit_state="descending"), "says that it is descending"),
                (product(constant(-12.0)), "expected linear power"),
                (product(FLAT, start=EARLY), "mosaic of dates"),
                (product(FLAT, start=None), "one with its time"),
                (product(FLAT).drop_attrs(), "of a terrain-flattened product"),
                (product(FLAT, "beta0"), "expected gamma0 or sigma0"),
            )
        ),
    ],
)
def test_refusals(given: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        archives.to_radar(*given)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (constant(0.7), "scale='amplitude'"),
        (constant(0.2, raster(mountain(40, 50), posting=37.0)), "seems to be resampled"),
        (constant(0.2, raster(mountain(40, 50), crs="EPSG:3035")), "seems to be resampled"),
    ],
)
def test_warnings(values: xr.DataArray, words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        archives.to_radar(product(values), DEM, ORBIT, GRID)


def test_an_elevation_model_far_from_that_of_the_provider() -> None:
    """HyP3 delivers its own: another datum is told, errors as of a DEM are not."""
    own = DEM + 3.0 * np.random.default_rng(0).standard_normal(DEM.shape).astype(np.float32)
    dataset = product(constant()).assign(height=own.drop_attrs())
    archives.to_radar(dataset, DEM, ORBIT, GRID)
    with pytest.warns(UserWarning, match="lies 48 m from that"):
        archives.to_radar(dataset, (DEM + 48.0).assign_attrs(DEM.attrs), ORBIT, GRID)


def test_a_filtered_product() -> None:
    dataset = product(constant())
    name = "S1A_IW_20240101T055945_DVP_RTC30_G_gpufed_FD6A"
    with pytest.warns(UserWarning, match="was filtered for speckle"):
        archives.to_radar(dataset.assign_attrs(product_name=name), DEM, ORBIT, GRID)
