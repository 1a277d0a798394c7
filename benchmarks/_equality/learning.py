"""Cases of learning: known heights, data sets, networks, predictions, training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr

from benchmarks._equality.worlds import (
    LAW,
    case,
    radar_over,
    rough_heights,
    scene_of,
    temporary_folder,
    terrain,
)
from benchmarks._hills import on_map
from sarheight.buildings import (
    BuildingPatches,
    Buildings,
    city_grid,
    monthly_composite,
    open_stack,
    rasterise_buildings,
    reconstruct_product,
    resample_image,
    write_stack,
)
from sarheight.buildings.stack import band_statistics
from sarheight.illumination import simulate
from sarheight.learning import Part, Tiling, packaged_model, split_bands
from sarheight.terrain import (
    KnownElevations,
    RefinementNetwork,
    RefinementSettings,
    TerrainPatches,
    distance_to_known,
    draw_altimeter_tracks,
    draw_known_elevations,
    height_interval,
    interpolate_elevations,
    rasterise_elevations,
    refine,
    simulate_scene,
)
from sarheight.terrain.scenes import degrade_dem, patchy_reflectivity
from sarheight.zones import (
    So2SatPatches,
    ZonePatches,
    fusion_strategies,
    so2sat_files,
    spatial_folds,
    split_samples,
)
from sarheight.zones.samples import zone_statistics
from tests.worlds.city_images import CitySettings, simulated_city
from tests.worlds.zones import ZoneSceneSettings, write_simulated_so2sat

__all__: list[str] = []

# ----------------------------------------------------------------------------------- known heights


def _known(dem: xr.DataArray, count: int = 60) -> KnownElevations:
    return draw_known_elevations(dem, count, sigma=1.0, seed=3)


@case
def sparse_heights() -> Mapping[str, Any]:
    """Draw known elevations, put them on a raster, and interpolate them."""
    dem = terrain()
    tracks = draw_altimeter_tracks(dem, spacing=500.0, interval=40.0, sigma=0.5, seed=1)
    points = _known(dem)
    sets = {
        "random": points,
        "tracks": tracks,
    }
    found: dict[str, Any] = {
        name: np.array([each.x, each.y, each.height, np.broadcast_to(each.sigma, each.x.shape)])
        for name, each in sets.items()
    }
    raster = rasterise_elevations(tracks, dem)
    found["raster"] = raster
    found["distance"] = distance_to_known(raster["known"])
    found["points_thin_plate"] = interpolate_elevations(points, dem)
    found["tracks_thin_plate"] = interpolate_elevations(tracks, dem)
    found["degrees"] = interpolate_elevations(points, terrain(crs="EPSG:4326"))
    return found


# ------------------------------------------------------------------------------------ data sets


@cache
def _learning_scene() -> xr.Dataset:
    """Simulate a scene in the form that networks take."""
    dem = on_map(rough_heights(72, 96, seed=11))
    return simulate_scene(dem, *radar_over(300, 380), seed=5)


@case
def refined_heights() -> Mapping[str, Any]:
    """Refine heights by one image and by two: in a tile, in several, on dask, and with points."""
    dem = on_map(rough_heights(108, 144, seed=11))
    coarse = degrade_dem(dem, np.random.default_rng(1), error=2.0)
    scenes = [
        simulate(dem, *radar_over(ascending=ascending), law=LAW, looks=20.0, seed=seed)
        for seed, ascending in enumerate((True, False))
    ]
    known = draw_known_elevations(dem, 40, sigma=0.5, seed=3)
    settings = RefinementSettings(error=2.0, iterations=3, steps=8, samples=2)
    network = RefinementNetwork.from_pretrained(packaged_model("refinement"))
    tiling = Tiling(72, 12)
    return {
        "one": refine(scenes[0], coarse, settings=settings, coregister="none"),
        "tiles": refine(scenes, coarse, settings=settings, tiling=tiling, coregister="none"),
        "lazy": refine(
            scenes, coarse.chunk(y=18, x=24), settings=settings, tiling=tiling, block=80
        ).compute(),
        "known": refine(
            scenes, coarse + np.float32(9.0), known, settings=settings, coregister="correct"
        ),
        "network": refine(scenes, coarse, settings=settings, network=network, coregister="none"),
        "interval": height_interval(refine(scenes, coarse, settings=settings)),
    }


@cache
def _city() -> xr.Dataset:
    return simulated_city(CitySettings(cells=32), seed=7)


def _zone_patches(count: int = 90) -> ZonePatches:
    """Make labelled patches of three classes with two radar and two optical channels."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    means = np.array([[3.0, 0.0, 1.0, 5.0], [0.0, 3.0, 4.0, 5.0], [0.0, 0.0, 0.0, 8.0]])
    image = means[labels][:, :, None, None] + random.normal(size=(count, 4, 8, 8))
    return ZonePatches(
        image.astype(np.float32), labels, ("vh", "vv", "red", "nir"), "abc", codes=(1, 11, 17)
    )


@case
def terrain_data() -> Mapping[str, Any]:
    """Simulate a scene, and take patches of it."""
    dem = terrain().fillna(0.0)
    scene = _learning_scene()
    patches = TerrainPatches(
        [scene],
        ("gamma0_posterior", "local_incidence"),
        size=32,
        stride=16,
        known_count=(4, 9),
        augment=True,
        seed=2,
    )
    return {
        "scene": scene,
        "ground": patchy_reflectivity(dem, np.random.default_rng(0)),
        "coarse": degrade_dem(dem, np.random.default_rng(1)),
        "patches": [patches[index] for index in (0, 3, len(patches) - 1)],
    }


@case
def building_data() -> Mapping[str, Any]:
    """Simulate a city; take its patches, statistics and composites; rasterise outlines."""
    import shapely

    city = _city()
    patches = BuildingPatches([city], size=16, months=4, drop_month=0.3, augment=True, seed=1)
    with temporary_folder() as folder:
        again = open_stack(write_stack(city, folder / "city.zarr")).load()
    west, north = float(city["x"][0]), float(city["y"][0])
    outlines = [
        shapely.box(
            west + 13.0 * k, north - 17.0 * k - 25.0, west + 13.0 * k + 18.0, north - 17.0 * k
        )
        for k in range(8)
    ]
    buildings = Buildings(outlines, np.linspace(3.0, 40.0, 8), city.rio.crs)
    dates = np.array(["2020-01-03", "2020-01-20", "2020-03-04"], dtype="datetime64[ns]")
    images = city["optical"][:3].rename(month="time").assign_coords(time=dates)
    like = city_grid((9.99, 45.995, 10.01, 46.005))
    return {
        "city": city,
        "read": again,
        "patches": [patches[index] for index in (0, len(patches) - 1)],
        "statistics": {
            name: [channel.as_dict() for channel in channels]
            for name, channels in band_statistics([city], optical_bands=("B02", "B08")).items()
        },
        "outlines": rasterise_buildings(buildings, city["height"]),
        "monthly_median": monthly_composite(images, "median"),
        "monthly_mean": monthly_composite(images, "mean"),
        "grid": like,
        "regridded": resample_image(terrain(), like),
        "unfolded": reconstruct_product(scene_of(2), terrain(), like),
    }


@case
def zone_data() -> Mapping[str, Any]:
    """Simulate patches in the form of So2Sat; take statistics and folds."""
    counts = {"training": 34, "validation": 17, "test": 17}
    settings = ZoneSceneSettings(patches=counts, regions=dict.fromkeys(counts, 1), seed=4)
    found: dict[str, Any] = {}
    with temporary_folder() as folder:
        write_simulated_so2sat(folder / "so2sat", settings)
        for role, path in so2sat_files(folder / "so2sat").items():
            samples = So2SatPatches(path)
            found[role] = samples[list(range(len(samples)))]
            found[f"{role}_statistics"] = {
                channel.name: (channel.mean, channel.std) for channel in zone_statistics(samples)
            }
    patches = _zone_patches()
    random = np.random.default_rng(0)
    found["folds"] = spatial_folds(
        patches.labels, *random.uniform(0.0, 50_000.0, (2, len(patches))), seed=1
    )
    found["parts"] = {name: each.load().image for name, each in _zone_parts().items()}
    found["forms"] = [form.stage for form in fusion_strategies()]
    return found


def _zone_parts() -> dict[str, Any]:
    return split_samples(_zone_patches(), {"training": 0.6, "validation": 0.4})


# --------------------------------------------------------------------------- networks, predictions


def _one_thread() -> None:
    """Keep torch to one thread: kernels of Numba that made the inputs have given it theirs."""
    import torch

    torch.set_num_threads(1)


@case
def networks() -> Mapping[str, Any]:
    """Run every network on random images, with weights from a seed."""
    import torch

    from sarheight.buildings import MBHRNet, SeriesNet
    from sarheight.buildings.resnet import ResNet50
    from sarheight.learning import UNet
    from sarheight.terrain import ASKUNet
    from sarheight.zones import FusionCNN

    groups = ((0, 1), (2, 3, 4))
    small: dict[str, Any] = {"widths": (4, 4, 8, 8, 8), "dense": 8}
    bands = {"sar": 4, "optical": 3}
    images = torch.randn(3, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    series = {
        name: torch.randn(2, 3, count, 32, 32, generator=torch.Generator().manual_seed(count))
        for name, count in bands.items()
    }
    there = torch.tensor([[True] * 3, [True, False, True]]).reshape(2, 3, 1, 1, 1)
    valid = {name: there.expand(2, 3, 1, 32, 32) for name in bands}
    series = {name: torch.where(there, image, 0.0) for name, image in series.items()}
    month = torch.tensor([[1, 2, 3], [7, 8, 9]])
    made: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
        "ask_unet": (lambda: ASKUNet(5, 2, width=8, depth=2), (images,)),
        "unet": (lambda: UNet(5, 1, width=8, depth=2), (images,)),
        "resnet": (lambda: ResNet50(5), (images,)),
        "series_net": (
            lambda: SeriesNet(bands, 6, width=8, depth=2, months_width=8, heads=2),
            (series, valid, month),
        ),
        "mbhr_net": (
            lambda: MBHRNet(bands, variant="ours"),
            ({n: each[:, 0] for n, each in series.items()},),
        ),
    }
    for stage in (0, 3, 6):
        made[f"fusion_cnn_{stage}"] = (
            lambda stage=stage: FusionCNN(groups, 4, stage=stage, **small),
            (images,),
        )
    found = {}
    for name, (make, inputs) in made.items():
        torch.manual_seed(0)
        network = make().eval()
        with torch.inference_mode():
            found[name] = network(*inputs)
    return found


@case
def predicted_buildings() -> Mapping[str, Any]:
    """Predict buildings with the packaged network, at once and in blocks."""
    from sarheight.buildings import BuildingHeightEstimator, predict_buildings

    model = BuildingHeightEstimator.from_pretrained(packaged_model("buildings"))
    city, tiling = _city(), Tiling(16, 4)
    _one_thread()
    return {
        "whole": predict_buildings(model, city, tiling=tiling, device="cpu"),
        "in_blocks": predict_buildings(
            model, city.chunk(y=16), tiling=tiling, block=20, device="cpu"
        ).compute(),
    }


# ----------------------------------------------------------------------------------------- training


@case
def trained_heights() -> Mapping[str, Any]:
    """Train a small network for terrain for two epochs; predict at once and in blocks."""
    from sarheight.learning import train
    from sarheight.terrain import TerrainSettings, predict_heights, terrain_task

    scene = _learning_scene()
    settings = TerrainSettings(
        channels=("gamma0_posterior", "local_incidence"),
        options={"width": 4, "depth": 2},
        size=16,
        stride=8,
        known_count=(2, 6),
        batch=8,
        epochs=2,
        rate=3e-3,
        precision="32-true",
        uncertainty=True,
    )
    points, tiling = _known(scene["height"], 12), Tiling(32, 8)
    bands = split_bands(scene, {"training": 0.6, "validation": 0.4}, gap=120.0)
    _one_thread()
    with temporary_folder() as folder:
        prepared = terrain_task([scene], [bands["training"]], [bands["validation"]], settings)
        model = train(*prepared, folder / "run", accelerator="cpu", progress=False).network
    return {
        "weights": model.state_dict(),
        "unknown": predict_heights(model, scene, tiling=tiling, device="cpu"),
        "known": predict_heights(model, scene, points, tiling=tiling, device="cpu"),
        "in_blocks": predict_heights(
            model, scene.chunk(y=30, x=41), points, tiling=tiling, block=40, device="cpu"
        ).compute(),
    }


@case
def trained_buildings() -> Mapping[str, Any]:
    """Train a small network for buildings for one epoch."""
    from sarheight.buildings import BuildingSettings, building_task, predict_buildings
    from sarheight.learning import train

    city = _city()
    settings = BuildingSettings(
        options={"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}},
        optical_bands=("B04", "B08"),
        months=3,
        kept_months=2,
        size=16,
        stride=8,
        batch=4,
        epochs=1,
        precision="32-true",
    )
    top, bottom = [Part((0, 16), (0, 32))], [Part((16, 32), (0, 32))]
    _one_thread()
    with temporary_folder() as folder:
        prepared = building_task([city], [top], [bottom], settings)
        model = train(*prepared, folder / "run", accelerator="cpu", progress=False).network
    return {
        "weights": model.state_dict(),
        "estimate": predict_buildings(model, city, tiling=Tiling(16, 4), device="cpu"),
    }


@case
def trained_zones() -> Mapping[str, Any]:
    """Train a small zone classifier for two epochs, score it, and predict: plain and blended."""
    from sarheight.learning import train
    from sarheight.zones import ZoneSettings, evaluate_zones, predict_zones, zone_task

    samples = _zone_parts()
    settings = ZoneSettings(
        split=(("vh", "vv"), ("red", "nir")),
        stage=3,
        options={"widths": (4, 4, 8, 8, 8), "dense": 8},
        epochs=2,
        batch=16,
        rate=1e-2,
        precision="32-true",
    )
    with temporary_folder() as folder:
        prepared = zone_task(samples["training"], samples["validation"], settings)
        model = train(*prepared, folder / "run", accelerator="cpu", progress=False).network
    values = np.random.default_rng(0).normal(2.0, 2.0, (4, 40, 60)).astype(np.float32)
    values[:, 10:14, 20:30] = np.nan
    stack = on_map(values[0], "EPSG:32633", 10.0).drop_attrs().expand_dims(band=["vh"])
    stack = xr.concat([stack] * 4, "band").assign_coords(band=["vh", "vv", "red", "nir"])
    stack = stack.copy(data=values)
    return {
        "weights": model.state_dict(),
        "temperature": model.temperature,
        "scores": evaluate_zones(model, samples["validation"], device="cpu"),
        "plain": predict_zones(model, stack, device="cpu"),
        "blended": predict_zones(model, stack, blend=True, device="cpu"),
    }
