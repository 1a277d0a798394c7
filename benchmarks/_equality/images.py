"""Cases of radar images: geometry, simulation, reconstruction, elevation models, files."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr

from benchmarks._equality.worlds import (
    LAW,
    ONE_TILE,
    case,
    lazy,
    loaded,
    radar_over,
    rough_heights,
    scene_of,
    smooth,
    temporary_folder,
    terrain,
)
from benchmarks._hills import on_map
from sarheight.archives import open_rtc
from sarheight.coregistration import apply_shift, estimate_shift
from sarheight.dem import (
    coarsen,
    condition,
    fill_voids,
    local_posting,
    mosaic,
    open_dem,
    reproject,
    to_ellipsoidal,
)
from sarheight.geometry import geo2rdr, incidence, rdr2geo
from sarheight.illumination import ConstantGamma, Lambertian, Muhleman, simulate
from sarheight.layover import Mapping as PixelMapping
from sarheight.layover import (
    PosteriorMean,
    Reallocation,
    fit_law,
    mapping,
    masks,
    reconstruct,
)
from sarheight.output import open_result, write
from sarheight.product import open_product
from sarheight.scene import Scene, multilook
from sarheight.sentinel1 import geolocation_grid
from sarheight.zones import covariance, polarimetric_channels, refined_lee
from tests.flattened_products import (
    OPERA,
    hyp3_folder,
    opera_folder,
    opera_table,
    planetary_item,
)
from tests.worlds.products import grd_product, slc_product

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.layover import Method


__all__: list[str] = []

# ---------------------------------------------------------------------------------------- geometry


@case
def orbit_and_grid() -> Mapping[str, Any]:
    """Interpolate the orbit; compute times and slant ranges of grids."""
    grid, orbit = radar_over()
    slant, _ = radar_over(ground_range=False)
    times = np.linspace(grid.first_time, grid.last_time, 17)
    position, velocity = orbit.state(times)
    turned = orbit.rotate(1.5).state(times)
    found: dict[str, Any] = {
        "position": position,
        "velocity": velocity,
        "position_rotated": turned[0],
        "velocity_rotated": turned[1],
    }
    for name, each in {
        "ground_range": grid,
        "slant_range": slant,
        "cropped": grid.crop(slice(30, 90), slice(50, 200)),
        "multilooked": grid.multilook(3, 4),
    }.items():
        line, sample = np.meshgrid(
            np.linspace(0, each.lines - 1, 7), np.linspace(0, each.samples - 1, 9), indexing="ij"
        )
        ranges = each.slant_range(line, sample)
        found[name] = {"slant_range": ranges, "time": each.azimuth_time(line, ranges)}
    return found


@case
def ground_to_radar() -> Mapping[str, Any]:
    """Run `geo2rdr` and `incidence` on several maps, looking to both sides."""
    found = {}
    for crs in ("EPSG:32632", "EPSG:4326", "EPSG:3035", "EPSG:2056"):
        for look_side in ("left", "right"):
            grid, orbit = radar_over(look_side=look_side, ground_range=look_side == "right")
            dem = terrain(70, 90, crs)
            found[f"{crs}_{look_side}"] = {
                "geo2rdr": geo2rdr(dem, grid, orbit),
                "incidence": incidence(dem, grid, orbit),
            }
    return found


@case
def radar_to_ground() -> Mapping[str, Any]:
    """Run `rdr2geo` at one height, at heights of each pixel, and on terrain."""
    grid, orbit = radar_over()
    slant = radar_over(ground_range=False, ascending=False)
    heights = xr.DataArray(1000.0 + 300.0 * smooth(grid.shape, 9.0, 1), dims=("line", "sample"))
    return {
        "plain": rdr2geo(grid, orbit, 700.0),
        "heights": rdr2geo(grid, orbit, heights),
        "terrain": rdr2geo(grid, orbit, dem=terrain()),
        "slant": rdr2geo(*slant, dem=terrain()),
    }


@case
def layover_and_shadow() -> Mapping[str, Any]:
    """Compute masks on the ground and on the image."""
    found = {}
    for ascending in (True, False):
        grid, orbit = radar_over(ascending=ascending, ground_range=ascending)
        for where in ("ground", "radar"):
            name = f"{where}_{'ascending' if ascending else 'descending'}"
            found[name] = masks(terrain(), grid, orbit, geometry=where)
    grid, orbit = radar_over(incidence_angle=22.0)
    found["steep"] = masks(terrain(crs="EPSG:4326"), grid, orbit, foreshortening=0.3)
    return found


@case
def pixel_mapping() -> Mapping[str, Any]:
    """Make the explicit mapping, look up a pixel and a cell, and read it from a file."""
    grid, orbit = radar_over(ground_range=False)
    made = mapping(terrain(), grid, orbit, law=LAW)
    row, column = 45, 60
    pixel = made.pixels_of(row, column)
    with temporary_folder() as folder:
        again = (
            PixelMapping.from_dataset(
                open_result(write(made.to_dataset(), folder / "mapping.zarr"))
            )
            .to_dataset()
            .load()
        )
    return {
        "mapping": made.to_dataset(),
        "of_cell": pixel,
        "of_pixel": made.cells_of(int(pixel["line"][0]), int(pixel["sample"][0])),
        "read": again,
    }


# ----------------------------------------------------------------------- simulation, reconstruction


@case
def simulation() -> Mapping[str, Any]:
    """Simulate images under several laws and calibrations, with and without speckle."""
    dem = terrain()
    ground, slant = radar_over(), radar_over(ground_range=False, look_side="left")
    bright = np.exp(0.5 * smooth(dem.shape, 2.0, 4))
    return {
        "plain": simulate(dem, *ground),
        "unshadowed": simulate(dem, *ground, shadow=False, law=Lambertian()),
        "gamma": simulate(dem, *slant, law=ConstantGamma(), calibration="gamma0"),
        "sigma": simulate(dem, *slant, law=Muhleman(0.1, 0.4), calibration="sigma0"),
        "speckled": simulate(
            dem, *ground, law=LAW, reflectivity=bright, looks=1.0, noise=0.01, seed=5
        ),
    }


@case
def fitted_law() -> Mapping[str, Any]:
    """Fit the backscatter law of an image."""
    angles = np.linspace(2.0, 88.0, 44)
    return {
        "grd": fit_law(scene_of(), terrain())(angles),
        "slant": fit_law(scene_of(ground_range=False, ascending=False), terrain())(angles),
    }


def _reconstructions(method: Method) -> Mapping[str, Any]:
    """Reconstruct one and two passes, with one and two polarisations, in memory and in parts."""
    found = {}
    for polarisations in (1, 2):
        scenes = [scene_of(polarisations, ascending=up) for up in (True, False)]
        for name, passes in ("one_pass", scenes[:1]), ("two_passes", scenes):
            parts = reconstruct(
                [lazy(each) for each in passes], terrain(), method=method, memory_limit=ONE_TILE
            )
            if parts["gamma0"].data.npartitions < 2:
                msg = "found one part, expected several: make the terrain larger"
                raise RuntimeError(msg)
            found[f"{name}_{polarisations}"] = reconstruct(passes, terrain(), method=method)
            found[f"{name}_{polarisations}_in_parts"] = parts.compute()
    return found


@case
def reallocation() -> Mapping[str, Any]:
    """Reconstruct by one step of reallocation."""
    return _reconstructions(Reallocation())


@case
def posterior_mean() -> Mapping[str, Any]:
    """Reconstruct by the posterior mean."""
    return _reconstructions(PosteriorMean())


@case
def reconstruction_settings() -> Mapping[str, Any]:
    """Reconstruct in slant range, in degrees, with other laws and settings, from a cut image."""
    slant = scene_of(ground_range=False, ascending=False)
    scene = scene_of()
    cut = slice(90, 250), slice(100, 330)
    small = replace(scene, image=scene.image[cut], grid=scene.grid.crop(*cut))
    degrees = terrain(crs="EPSG:4326")
    some = ("gamma0", "mask", "gamma0_variance")
    return {
        "slant": reconstruct(slant, terrain()),
        "degrees": reconstruct(scene, degrees, law=LAW),
        "degrees_in_parts": reconstruct(
            lazy(scene), degrees.chunk(y=41, x=50), law=LAW, memory_limit=ONE_TILE
        ).compute(),
        "steps": reconstruct(
            scene, terrain(), method=PosteriorMean(steps=3, blur=0.4, pooling=2.0)
        ),
        "law": reconstruct(
            scene, terrain(), law=Muhleman(), foreshortening=0.3, smallest_area=0.1, variables=some
        ),
        "array": reconstruct(
            scene.image, terrain(), scene.grid, scene.orbit, calibration="sigma0", variables=some
        ),
        "cut": reconstruct(small, terrain(), method=Reallocation()),
        "cut_in_parts": reconstruct(lazy(small), terrain(), memory_limit=ONE_TILE).compute(),
    }


@case
def coregistration() -> Mapping[str, Any]:
    """Estimate the shift of an image, and correct its timing."""
    dem = on_map(rough_heights(100, 130, seed=3))
    found = {}
    for ground_range in (True, False):
        grid, orbit = radar_over(ground_range=ground_range)
        patches = np.exp(0.4 * smooth(dem.shape, 1.0, 2))
        scene = simulate(dem, grid, orbit, law=LAW, reflectivity=patches, looks=4.4, seed=1)
        lines, samples = grid.lines - 3, grid.samples - 2
        # Two lines and one sample away from where the grid says.
        shifted = Scene(
            scene.image[2 : 2 + lines, 1 : 1 + samples].drop_attrs(),
            grid.crop(slice(0, lines), slice(0, samples)),
            orbit,
            "beta0",
        )
        shift = estimate_shift(shifted, dem)
        kind = "grd" if ground_range else "slant"
        found[kind] = shift
        found[f"{kind}_corrected"] = apply_shift(shifted, shift)
    return found


@case
def multilooking() -> Mapping[str, Any]:
    """Average images, in memory and on dask."""
    one, two = scene_of(), scene_of(2)
    found = {}
    for name, scene in (("one", one), ("two", two), ("lazy", lazy(two))):
        image, grid = multilook(scene.image, scene.grid, 3, 4)
        found[name] = Scene(image.compute(), grid, scene.orbit, "beta0")
    return found


# -------------------------------------------------------------------------------- elevation models


def _geoid(path: Path) -> Path:
    """Write a grid of undulations over the whole Earth, in NOAA's .gtx format."""
    south, west, step, rows, columns = -90.0, -180.0, 5.0, 37, 73
    latitude, longitude = south + step * np.arange(rows), west + step * np.arange(columns)
    undulation = 48.0 + 0.2 * (longitude - 10.0) - 0.1 * (latitude[:, None] - 47.0)
    head = struct.pack(">4d2i", south, west, step, step, rows, columns)
    path.write_bytes(head + undulation.astype(">f4").tobytes())
    return path


@case
def elevation_models() -> Mapping[str, Any]:
    """Open, join, fill, resample, coarsen, and bring to the ellipsoid."""
    metric, degrees = terrain(), terrain(crs="EPSG:4326")
    orthometric = on_map(rough_heights(60, 80, seed=7), "EPSG:4326")
    del orthometric.attrs["vertical_datum"]
    with temporary_folder() as folder:
        path = folder / "dem.tif"
        degrees.rio.to_raster(path)
        orthometric.rio.to_raster(folder / "orthometric.tif")
        raised = open_dem(folder / "orthometric.tif", vertical=48.0)
        opened = open_dem(path, vertical="ellipsoidal").compute()
        bounds = (9.99, 45.995, 10.01, 46.01)
        part = open_dem(path, vertical="ellipsoidal", bounds=bounds).compute()
        ellipsoidal = to_ellipsoidal(orthometric, _geoid(folder / "geoid.gtx"))
    return {
        "coarse_metres": coarsen(metric, 90.0),
        "coarse_uneven": coarsen(degrees, (71.0, 100.0), min_valid=0.9),
        "coarse_degrees": coarsen(degrees, 3e-3, units="crs"),
        "reprojected": reproject(metric, "EPSG:4326"),
        "reprojected_cubic": reproject(degrees, 3035, 40.0, resampling="cubic"),
        "reprojected_mean": reproject(degrees, 32632, 100.0, resampling="average"),
        "like": reproject(degrees, like=metric, resampling="lanczos"),
        "constant": to_ellipsoidal(orthometric, 48.5),
        "geoid": ellipsoidal,
        "opened": opened,
        "opened_raised": raised,
        "opened_part": part,
        "filled": fill_voids(metric, max_distance=300.0),
        "smoothed": fill_voids(degrees, smoothing=2),
        "conditioned": condition(metric),
        "mosaic": mosaic([metric[:50, :70], metric[40:, 50:], metric[60:, :30]]),
        "posting": local_posting(degrees),
    }


# ------------------------------------------------------------------------ products, files, archives


@case
def ground_range_product() -> Mapping[str, Any]:
    """Read a GRD in several ways."""
    with temporary_folder() as folder:
        made = grd_product(folder)
        old = grd_product(folder / "old", polarisations=("VV",), old=True)
        product = open_product(made.path)
        grid, orbit = product.grid_and_orbit()
        annotation = next((made.path / "annotation").glob("*.xml"))
        corner = rdr2geo(grid.crop(slice(40, 120), slice(50, 180)), orbit, 200.0)
        bounds = (
            float(corner["longitude"].min()),
            float(corner["latitude"].min()),
            float(corner["longitude"].max()),
            float(corner["latitude"].max()),
        )
        scenes = {
            "plain": product.scene(),
            "sigma": product.scene(calibration="sigma0", polarisations=("VH",)),
            "gamma_with_noise": product.scene(calibration="gamma0", noise_removal=False),
            "looks": product.scene(multilook=(2, 3)),
            "spacing": product.scene(spacing=40.0, polarisations=("VV",)),
            "part": product.scene(bounds=bounds, heights=(150.0, 250.0)),
            "old": open_product(old.path).scene(),
        }
        found: dict[str, Any] = {name: loaded(scene) for name, scene in scenes.items()}
        found["placement"] = Scene(xr.zeros_like(found["plain"].image[0]), grid, orbit, "beta0")
        found["geolocation"] = geolocation_grid(annotation).load()
    return found


@case
def slant_range_product() -> Mapping[str, Any]:
    """Read an SLC: merged swaths, one swath, one burst, complex numbers."""
    with temporary_folder() as folder:
        path, _ = slc_product(folder, ("VV", "VH"))
        product = open_product(path)
        scenes = {
            "merged": product.scene(polarisations=("VV",)),
            "swath": product.scene(swaths=("IW2",), calibration="sigma0"),
            "burst": product.scene(swaths=("IW1",), burst=1, noise_removal=False),
            "looks": product.scene(multilook=(2, 5)),
        }
        found: dict[str, Any] = {name: loaded(scene) for name, scene in scenes.items()}
        images, _ = product.complex_images()
        found["complex"] = {name: image.compute() for name, image in images.items()}
    return found


@case
def result_files() -> Mapping[str, Any]:
    """Write results in three formats, and read them back."""
    result = reconstruct(scene_of(2), terrain(), method=Reallocation())
    passes = reconstruct(
        [lazy(scene_of(ascending=up)) for up in (True, False)],
        terrain(),
        method=Reallocation(),
        memory_limit=ONE_TILE,
    )
    found = {}
    with temporary_folder() as folder:
        for suffix in ("tif", "nc", "zarr"):
            for name, each in (("result", result), ("passes", passes)):
                path = folder / f"{name}.{suffix}"
                write(each, path)
                with open_result(path) as opened:
                    found[f"{name}_{suffix}"] = opened.load()
    return found


@case
def flattened_products() -> Mapping[str, Any]:
    """Read terrain-corrected images of three archives."""
    with temporary_folder() as folder:
        paths = {
            "opera": opera_folder(folder / "opera"),
            "opera_table": opera_table(folder / f"{OPERA}.h5"),
            "hyp3": hyp3_folder(folder),
            "hyp3_decibel": hyp3_folder(folder, "gd"),
            "planetary": planetary_item(folder),
        }
        return {name: open_rtc(path).load() for name, path in paths.items()}


@case
def polarimetry() -> Mapping[str, Any]:
    """Compute the refined Lee filter, covariances, and the channels of So2Sat."""
    random = np.random.default_rng(0)
    vv, vh = (
        xr.DataArray(
            (level * random.normal(size=(90, 100, 2)) @ [1.0, 1.0j]).astype(np.complex64),
            dims=("line", "sample"),
        )
        for level in (0.4, 0.2)
    )
    vv[20:23, 30:44] = np.nan
    power = (abs(vv) ** 2).astype(np.float32)
    return {
        "filtered": refined_lee(power, 1.0),
        "filtered_looks": refined_lee(power, 4.4),
        "covariance": covariance(vh, vv, window=5),
        "channels": polarimetric_channels(vv, vh),
    }
