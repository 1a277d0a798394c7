"""What the room refuses: one table of wrong input, the error, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from sarheight.buildings import (
    BuildingHeightEstimator,
    BuildingPatches,
    BuildingSettings,
    MBHRNet,
    SeriesNet,
    building_task,
    check_stack,
    city_grid,
    city_stack,
    clear_sky_mask,
    footprint_iou,
    heights_from_raster,
    monthly_composite,
    plot_building_heights,
    predict_buildings,
    rasterise_buildings,
    read_buildings,
    reflectance,
    resample_image,
    sar_series,
    select_bands,
    split_blocks,
    split_cities,
    stack_from_folder,
    write_stack,
)
from sarheight.buildings.distributions import HeightBins
from sarheight.buildings.resnet import ResNet50
from sarheight.errors import CheckpointError, OutputError, StackError
from sarheight.learning import Part, Tiling, packaged_model
from tests.cities import (
    NORTH,
    OPTICAL_BANDS,
    SAR_BANDS,
    WEST,
    boxes,
    flattened_image,
    grid_of,
    images_of,
    small_stack,
    write_buildings,
    write_geotiff,
)

SMALL = {"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}}
SETTINGS = BuildingSettings(
    options=SMALL, optical_bands=("B04",), months=2, kept_months=1, size=8, stride=8, epochs=1
)
LEFT, RIGHT = [Part((0, 16), (0, 8))], [Part((0, 16), (8, 16))]
STACK = small_stack(16, 16, months=2, optical_bands=("B04",))
GRID = grid_of(12, 16)
SAR, OPTICAL = (
    images_of(GRID, "sar_band", SAR_BANDS),
    images_of(GRID, "optical_band", OPTICAL_BANDS),
)
COARSE = images_of(grid_of(12, 16, posting=20.0), "sar_band", SAR_BANDS)
DEGREES = images_of(
    grid_of(12, 16, posting=1e-4, west=5.0, north=52.0, epsg=4326), "sar_band", SAR_BANDS
)
IMAGE = flattened_image("2021-01-03T05:50:00Z", "", 0.1, GRID)
BOX = (WEST, NORTH - 50.0, WEST + 50.0, NORTH)

Refusals = dict[type[Exception], list[tuple["Callable[[Path], object]", str]]]
"""By error what is attempted, and what the message says."""


def _optical(grid: xr.DataArray, **options: float) -> xr.DataArray:
    return images_of(grid, "optical_band", OPTICAL_BANDS, **options)


def _folder(folder: Path, *names: str, value: int = 9) -> object:
    for name in names:
        write_geotiff(folder / name, np.full((4, 4), value, dtype=np.uint16))
    return stack_from_folder(folder, offset=0.0)


STACKS: Refusals = {
    StackError: [
        (lambda folder: _folder(folder, "S2_20211340_B02.tif"), "found the date '20211340'"),
        (lambda folder: _folder(folder, "S2_20210104_B02.tif", "S2_20210104_SCL.tif"),
         "found no clear cell in any month"),
        (lambda _: city_stack(), "neither sar nor optical"),
        (lambda _: check_stack(STACK[["height"]]), r"found the variables height.*sar"),
        (lambda _: city_stack(sar=SAR, optical=_optical(grid_of(12, 16, west=628_005.0))),
         r"lies \+0.50 cells east and \+0.00 north.*resample_image"),
        (lambda _: city_stack(sar=SAR, optical=_optical(grid_of(12, 15))), "12 x 15 cell"),
        (lambda _: city_stack(sar=SAR, optical=_optical(grid_of(12, 16, epsg=32632))),
         r"optical in 'WGS 84 / UTM zone 32N' and sar in"),
        (lambda _: city_stack(
             sar=STACK["sar"], layers={"height": STACK["height"].assign_coords(x=STACK["x"] + 4.0)}
         ),
         "expected one grid"),
        (lambda _: city_stack(sar=SAR.drop_vars("spatial_ref")), "sar states no refer"),
        (lambda _: city_stack(sar=DEGREES), r"'WGS 84', expected a projected"),
        (lambda _: city_stack(sar=COARSE), r"of 20 m.*expected 10 m"),
        (lambda _: city_stack(sar=SAR.isel(y=slice(None, None, -1))), "north up"),
        (lambda _: city_stack(
             sar=SAR.assign_coords(sar_band=["vv_ascending"] * 2 + list(SAR_BANDS[2:]))
         ),
         "found 'vv_ascending' more than once among the bands along sar_band"),
        (lambda _: city_stack(sar=SAR.drop_vars("sar_band")), "found no names of the"),
        (lambda _: city_stack(
             optical=OPTICAL.assign_coords(optical_band=["B10", *OPTICAL_BANDS[1:]])
         ),
         "found 'B10' among the bands along optical_band, expected some of B01"),
        (lambda _: select_bands(STACK, optical_bands=["B10"]), "found 'B10'"),
        (lambda _: check_stack(STACK.assign_coords(month=[1, 2])), "no dates along month"),
        (lambda _: check_stack(STACK.assign_coords(month=STACK["month"] + np.timedelta64(4, "D"))),
         r"2021-01-05.*expected first days"),
        (lambda _: check_stack(STACK.isel(month=[1, 0])), "rising and each once"),
        (lambda _: city_stack(sar=10.0 * np.log10(SAR)), "expected linear power"),
        (lambda _: city_stack(optical=_optical(GRID, level=1500.0)), "from 0 to 1"),
        (lambda _: check_stack(STACK.assign(height=100.0 * STACK["height"])),
         "divide centimetres by 100"),
        (lambda _: check_stack(STACK.assign(height=STACK["height"] - 2.0)), "heights down to -2"),
        (lambda _: check_stack(STACK.assign(footprint=100.0 * STACK["footprint"])),
         "divide per cent by 100"),
        (lambda _: city_grid((5.0, 52.0, 4.0, 53.0)), "with some extent"),
        (lambda _: city_grid((5.0, 52.0, 5.1, 52.1), crs=4326), "expected a projected"),
        (lambda _: city_grid((0.0, 85.0, 1.0, 85.1)), "no UTM zone"),
        (lambda _: resample_image(grid_of(5, 5, value=1.0), grid_of(5, 5, west=700_000.0)),
         "does not meet the grid"),
        (lambda _: reflectance(GRID), "expected one of them"),
        (lambda _: reflectance(GRID, baseline="new"), "processing baseline 'new'"),
        (lambda _: reflectance(GRID.fillna(0.4), offset=0.0), "reflectance already"),
        (lambda _: clear_sky_mask(GRID.fillna(0.5)), "expected classes 0 to 11"),
        (lambda _: monthly_composite(GRID, "mean"), "expected images along time"),
        (lambda _: monthly_composite(
             SAR.rename(month="time"), "mean", months=("2022-01", "2022-02")
         ),
         "expected some from 2022-01 to 2022-02"),
        (lambda _: sar_series([IMAGE], GRID), "state its pass"),
        (lambda _: sar_series([IMAGE.assign_attrs(acquisition="[]")], GRID),
         "expected one with its time"),
        (lambda _: sar_series(
             [IMAGE.rename(gamma0="amplitude")], GRID, orbit_direction="ascending"
         ),
         "expected gamma0 or sigma0"),
        (lambda _: sar_series(
             [IMAGE, IMAGE.rename(gamma0="sigma0")], GRID, orbit_direction="ascending"
         ),
         "gamma0 and sigma0"),
        (lambda _: sar_series(
             [IMAGE.assign_coords(polarisation=["HH", "HV"])], GRID, orbit_direction="ascending"
         ),
         "expected VV, VH or both"),
        (lambda _: sar_series([], GRID), "no image in the months"),
    ],
    TypeError: [
        (lambda _: check_stack(SAR), "expected an xarray"),
    ],
    ValueError: [
        (lambda _: monthly_composite(SAR.rename(month="time"), "most"),
         "expected one of median, mean"),
    ],
}  # fmt: skip


def _raster(lowest: float, rest: float) -> object:
    raster = grid_of(4, 4, value=rest)
    raster[0, 0] = lowest
    return heights_from_raster(raster)


def _outlines(folder: Path, options: dict[str, str] | None = None, **attributes: Any) -> object:  # noqa: ANN401
    written = write_buildings(folder / "city.gpkg", [(BOX, attributes)])
    return read_buildings(written, **(options or {}))  # type: ignore[arg-type]


def _damaged(folder: Path) -> object:
    (folder / "damaged.gpkg").write_bytes(b"not a database")
    return read_buildings(folder / "damaged.gpkg")


BUILDINGS: Refusals = {
    StackError: [
        (lambda _: rasterise_buildings(boxes((0, 1, 1, 0, 1.0)), GRID.drop_vars("spatial_ref")),
         "states no reference system"),
        (lambda _: rasterise_buildings(boxes((0, 1, 1, 0, 1.0)), GRID, subdivision=0),
         "expected 1 to 100"),
        (lambda _: _raster(-9999.0, 5.0), "make it NaN"),
        (lambda _: _raster(1200.0, 900.0), "divide centimetres by 100"),
        (lambda _: _raster(250.0, 300.0), "subtract the ground's height"),
        (lambda _: _raster(np.inf, 5.0), "found heights up to inf"),
        (lambda folder: _outlines(folder, height=950.0), "divide centimetres by 100"),
        (lambda folder: _outlines(folder, height=-3.0), "heights down to -3"),
        (lambda folder: _outlines(folder, height=np.nan), "no polygon"),
        (lambda folder: _outlines(folder, storeys=3, use="hall"),
         r"found the attributes storeys, use .* expected height"),
        (lambda folder: _outlines(folder, {"height": "use"}, use="hall"),
         "found text in the attribute 'use'"),
        (_damaged, "is not a vector file"),
    ],
    FileNotFoundError: [
        (lambda folder: read_buildings(folder / "no.gpkg"), "there is no file"),
    ],
    ValueError: [
        (lambda _: footprint_iou(np.zeros(3), np.zeros(3), threshold=0.0), "threshold of 0"),
        (lambda _: plot_building_heights(STACK[["footprint"]]), "has no height"),
    ],
}  # fmt: skip


def _patches(stack: xr.Dataset = STACK, **options: Any) -> object:  # noqa: ANN401
    return BuildingPatches([stack], **{"size": 8, **options})


PATCHES: Refusals = {
    ValueError: [
        (lambda _: _patches(size=0), "whole numbers of at least 1"),
        (lambda _: _patches(drop_month=1.5), "shares from 0 to 1"),
        (lambda _: _patches(sar_bands=["vv"]), "found 'vv' among the sar bands"),
        (lambda _: _patches(optical_bands=["B02", "B02"]), "each once"),
        (lambda _: _patches(sar_bands=[], optical_bands=[]), "neither sar bands nor"),
        (lambda _: _patches(within=[]), "parts of 0 stacks for 1"),
        (lambda _: _patches(size=50), "no patch of 50 x 50 cells"),
        (lambda _: _patches(STACK.drop_vars(["height", "footprint"])),
         "least_known=0 admits patches without heights"),
        (lambda _: _patches(STACK.assign({n: STACK[n] * np.nan for n in ("sar", "optical")})),
         "heights and an image"),
        (lambda _: split_blocks(STACK, {"training": 1.0}, width=100.0, gap=100.0),
         "gaps that leave something"),
        (lambda _: split_blocks(STACK, {"training": 0.5, "test": 0.5}, width=1000.0),
         "expected at least one each"),
        (lambda _: split_cities(["delft"], {"training": 0.5, "test": 0.5}), "found 1 cities"),
    ],
}  # fmt: skip


@cache
def _estimator() -> BuildingHeightEstimator:
    return building_task([STACK], [LEFT], [RIGHT], SETTINGS)[0].network


def _with_an_unknown_network(folder: Path) -> object:
    model = _estimator().save_pretrained(folder / "model")
    described = json.loads((model / "config.json").read_text())
    described["configuration"] = {"channels": {}, "network": "vit"}
    (model / "config.json").write_text(json.dumps(described))
    return BuildingHeightEstimator.from_pretrained(model)


@cache
def _mbhr(*modalities: str) -> BuildingHeightEstimator:
    channels = {name: _estimator().channels[name] for name in modalities}
    options = {"variant": "released"}
    return BuildingHeightEstimator(channels, network="mbhr", options=options).eval()


def _map(stack: xr.Dataset = STACK, **options: Any) -> object:  # noqa: ANN401
    return predict_buildings(_estimator(), stack, **{"tiling": Tiling(8, 4), **options})


def _with_public_weights_of_another(folder: Path) -> object:
    torch.save({"conv1.weight": torch.zeros(64, 4, 7, 7)}, folder / "public.pth")
    settings = BuildingSettings.published(
        "ours", weights={"sar": str(folder / "public.pth")}, optical_bands=(), size=8, stride=8
    )
    return building_task([STACK], [LEFT], [RIGHT], settings)


def _task(stack: xr.Dataset) -> object:
    return building_task([stack], [LEFT], [RIGHT], SETTINGS)


SAMPLE = {"sar": torch.rand(1, 2, 4, 8, 8), "optical": torch.rand(1, 2, 2, 8, 8)}
NETWORKS: Refusals = {
    CheckpointError: [
        (_with_an_unknown_network, "found network 'vit'"),
        (lambda _: BuildingHeightEstimator.from_pretrained(packaged_model("refinement")),
         "expected 'building heights'"),
        (_with_public_weights_of_another, "expected those of this ResNet50"),
        (lambda _: _map(small_stack(16, 16, months=2, optical_bands=("B08",))),
         "found no B04 in optical of a stack that has B08"),
        (lambda _: predict_buildings(_mbhr("sar", "optical"), STACK.drop_vars("optical")),
         "found no optical in the stack"),
    ],
    ValueError: [
        (lambda _: _mbhr("sar").load_encoders({"optical": "public.pth"}),
         "found weights of optical"),
        (lambda _: _estimator().load_encoders({}), "it has no ResNet50"),
        (lambda _: _map(tiling=Tiling(18, 4)), "multiple of 4"),
        (lambda _: building_task([STACK], [LEFT], [LEFT], SETTINGS), "overlap"),
        (lambda _: _task(STACK.assign(height=0.0 * STACK["height"])),
         "found no building among 128 cells"),
        (lambda _: _task(STACK.drop_vars(["height", "footprint"])), "no patch"),
        (lambda _: _estimator()(SAMPLE), "with the bands B04"),
        (lambda _: _estimator()({"month": torch.ones(1, 2)}), "found no sar and no optical"),
        (lambda _: _mbhr("sar").distribution(SAMPLE), "expected 'series'"),
        (lambda _: BuildingHeightEstimator(_estimator().channels, network="vit"),
         "expected one of mbhr, series"),
        (lambda _: BuildingHeightEstimator({"sar": []}), "expected one of mbhr, series"),
        (lambda _: BuildingHeightEstimator({"lidar": _estimator().channels["sar"]}),
         "expected one of mbhr, series"),
        (lambda _: SeriesNet({"sar": 2}, 1, months_width=8, heads=3), "of the heads"),
        (lambda _: MBHRNet({"sar": 4}, variant="paper"), "one of printed, released, ours"),
        (lambda _: MBHRNet({}), "at least one modality"),
        (lambda _: MBHRNet({"sar": 4})({"sar": torch.zeros(1, 4, 48, 48)}), "multiples of 32"),
        (lambda _: ResNet50(0), "at least 1 channel"),
        (lambda _: ResNet50(layers=5), "1 to 4 layers"),
        (lambda _: HeightBins(1, 2.0, 16.0), "expected at least two"),
        (lambda _: HeightBins(4, 16.0, 2.0), "expected at least two"),
        (lambda _: HeightBins(4, 0.0, 16.0), "expected at least two"),
        (lambda _: replace(SETTINGS, network="vit"), "expected"),
        (lambda _: replace(SETTINGS, monitored="training_loss"), "expected"),
        (lambda _: replace(SETTINGS, vectors="row"), "expected"),
        (lambda _: replace(SETTINGS, months=0), "expected"),
        (lambda _: replace(SETTINGS, kept_months=4), "expected"),
        (lambda _: replace(SETTINGS, drop_month=1.5), "expected"),
    ],
    StackError: [
        (lambda _: _map(STACK.sel(optical_band=[])), "found none among the bands"),
    ],
}  # fmt: skip

STORES: Refusals = {
    OutputError: [
        (lambda folder: [write_stack(STACK, folder / "city.zarr") for _ in range(2)],
         "exists already"),
    ],
}  # fmt: skip

REFUSALS = [
    pytest.param(attempt, error, words, id=words)
    for table in (STACKS, BUILDINGS, PATCHES, NETWORKS, STORES)
    for error, rows in table.items()
    for attempt, words in rows
]


@pytest.mark.parametrize(("attempt", "error", "words"), REFUSALS)
def test_wrong_input_is_refused(
    attempt: Callable[[Path], object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        attempt(tmp_path)
