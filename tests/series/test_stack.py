"""Stacks: dates with the masks of a reference are as dates done alone, and earlier dates stay."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from sarheight_kernels.pool import limit_threads
from zarr.codecs import ZstdCodec

from sarheight import plot, series
from sarheight.dem.checked import CheckedDem
from sarheight.errors import OutputError, SarheightError, SeriesError
from sarheight.layover import RTC, Method, PosteriorMean, Reallocation, masks, reconstruct
from sarheight.layover.tiles import TilePlanner
from sarheight.layover.track import TrackPlan, reference_scene
from sarheight.output import levels, open_result, write
from sarheight.output.radar_images import write_scene
from sarheight.output.stores import open_levels
from sarheight.scene import Scene
from sarheight.series import _build, _stack, _store
from sarheight.series._dates import Date, open_date, side_by_side
from tests.mountains import mountain, raster
from tests.series.dates import date_of
from tests.zarr_2 import write_version_2

BASELINES = (0.0, 110.0, -160.0, 70.0)
OFFSETS = ((0.0, 0.0), (0.3, 0.6), (2.5, -3.2), (-0.4, 0.1))
DECIBELS = 0.05
"""By how much a date may differ from one that is done alone."""


def decibels(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(10.0 * np.log10(one / other)))


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain())


@pytest.fixture(scope="module")
def dates(dem: xr.DataArray) -> list[Scene]:
    return [
        date_of(dem, number, baseline=baseline, offset=offset)
        for number, (baseline, offset) in enumerate(zip(BASELINES, OFFSETS, strict=True))
    ]


@contextmanager
def small_tiles() -> Iterator[None]:
    """Have overviews of stacks as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "TILE", 20)
        yield


@pytest.fixture
def _small_tiles() -> Iterator[None]:
    with small_tiles():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("series")


@pytest.fixture(scope="module")
def stack(dem: xr.DataArray, dates: list[Scene], folder: Path) -> Path:
    """All dates, added at once."""
    with small_tiles():
        report = series.build_stack(dates, dem, folder / "stack.zarr", coregistration="none")
    assert report.by_themselves == {}
    return folder / "stack.zarr"


@pytest.fixture(scope="module")
def pair(dem: xr.DataArray, dates: list[Scene], folder: Path) -> Path:
    """Two dates, of which one was given twice."""
    twice = [dates[0], *dates[:2]]
    with small_tiles():
        report = series.build_stack(twice, dem, folder / "pair.zarr", coregistration="none")
    assert (len(report.added), len(report.present)) == (2, 1)
    return folder / "pair.zarr"


@pytest.fixture
def single(dem: xr.DataArray, dates: list[Scene], folder: Path, tmp_path: Path) -> Path:
    """One date, to which others may be appended."""
    if not (folder / "single.zarr").exists():
        series.build_stack(dates[:1], dem, folder / "single.zarr", coregistration="none")
    return Path(shutil.copytree(folder / "single.zarr", tmp_path / "s.zarr"))


def assert_overviews(path: Path, *names: str) -> None:
    for fine, coarse in pairwise(open_levels(path)):
        for name in names:
            expected = fine[name].load().coarsen(y=2, x=2, boundary="pad").mean()
            np.testing.assert_allclose(coarse[name], expected, rtol=1e-6)


def assert_same_levels(grown: Path, whole: Path) -> None:
    """But for dates that were filtered with fewer others."""
    found, expected = open_levels(grown), open_levels(whole)
    assert [level["gamma0"].shape[2:] for level in found] == [(60, 80), (30, 40), (15, 20)]
    for level, other in zip(found, expected, strict=True):
        for name in ("gamma0", "gamma0_mean", "gamma0_spread", "date_count", "mask", "height"):
            np.testing.assert_array_equal(level[name], other[name])
        np.testing.assert_array_equal(level["time"], expected[0]["time"])


def test_dates_are_as_those_done_alone(stack: Path, dates: list[Scene], dem: xr.DataArray) -> None:
    """And what they have in common is that of the reference, the first of them."""
    found = series.open_stack(stack, chunks=None)
    np.testing.assert_allclose(found.perpendicular_baseline, BASELINES, atol=0.1 * 160.0)
    for number, date in enumerate(dates):
        alone = reconstruct(date, dem, method=RTC())
        carried = found.gamma0[number, 0].values
        both = np.isfinite(carried) & np.isfinite(alone.gamma0.values)
        # Cells at the border of a shadow may be illuminated in one and not in the other.
        assert both.mean() > 0.999 * np.isfinite(alone.gamma0.values).mean()
        assert np.percentile(decibels(carried, alone.gamma0.values)[both], 99.9) < DECIBELS
        assert found.time.values[number] == alone.time.values
    alone = reconstruct(dates[0], dem, method=RTC())
    seen = alone["mask"].values != 255
    for name in ("mask", "fold_count", "local_incidence"):
        np.testing.assert_allclose(found[name].values[seen], alone[name].values[seen], atol=1e-3)
    np.testing.assert_array_equal(found["height"].values, dem.values)
    assert found.rio.crs == dem.rio.crs
    assert found.gamma0.dims == ("time", "polarisation", "y", "x")


def test_summary_filter_and_overviews_follow_the_dates(stack: Path) -> None:
    assert_overviews(stack, "gamma0", "gamma0_filtered", "gamma0_mean", "gamma0_spread")
    found = series.open_stack(stack, chunks=None)
    gamma = found.gamma0.values.astype(np.float64)
    some = found.date_count.values > 1
    mean, spread = np.nanmean(gamma[:, some], axis=0), np.nanstd(gamma[:, some], axis=0, ddof=1)
    np.testing.assert_allclose(found.gamma0_mean.values[some], mean, rtol=1e-4)
    np.testing.assert_allclose(found.gamma0_spread.values[some], spread, rtol=1e-3)
    np.testing.assert_array_equal(found.date_count, np.isfinite(gamma).sum(axis=0))
    filtered = series.speckle_filter(found.gamma0)
    np.testing.assert_allclose(found.gamma0_filtered, filtered, rtol=1e-5)


def test_provenance_and_coordinates_of_each_date(stack: Path) -> None:
    found = series.open_stack(stack)
    assert found.gamma0.chunks is not None
    assert list(found.platform.values) == ["S1A"] * len(BASELINES)
    assert (found.from_reference.values == 1).all()
    for text in found.provenance.values:
        record = json.loads(str(text))
        assert record["parameters"]["stack"]["method"]["name"] == "rtc"
    assert len(json.loads(found.attrs["acquisition"])) == len(BASELINES)


def to_version_2(path: Path) -> None:
    """Make a stack one of an earlier version, of version 2 of Zarr."""
    found = series.open_stack(path, chunks=None)
    found.attrs["stack"] = json.dumps(json.loads(found.attrs["stack"]) | {"layout": 1})
    shutil.rmtree(path)
    write_version_2(found, path, _store.CHUNK, planes=True)


@pytest.mark.usefixtures("_small_tiles")
@pytest.mark.parametrize(("version", "files"), [(2, "usual"), (3, "usual"), (3, "other")])
def test_appending_touches_no_earlier_file(
    dem: xr.DataArray, dates: list[Scene], stack: Path, pair: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, version: int, files: str,
) -> None:  # fmt: skip
    """Neither of dates nor of their overviews, and the stack is as one that was made at once.

    One of an earlier version keeps its own, as does one of files of another size and other codecs.
    """
    path = tmp_path / "stack.zarr"
    if files == "other":
        with monkeypatch.context() as patch:
            patch.setattr(_store, "CHUNK", 20)
            patch.setattr(_store, "zarr_compressors", lambda: (ZstdCodec(level=1, checksum=True),))
            series.build_stack(dates[:2], dem, path, coregistration="none")
    else:
        shutil.copytree(pair, path)
    if version == 2:
        to_version_2(path)
    groups = [path] if version == 2 else [path / str(level) for level in range(3)]
    before = {
        file: (file.stat().st_mtime_ns, file.read_bytes())
        for group in groups
        for file in (group / "gamma0").rglob("*")
        if file.is_file() and file.name[0] != "." and file.name != "zarr.json"
    }
    assert len(before) == (2 * (12 + 4 + 1) if files == "other" else 2 * len(groups))
    report = series.build_stack([dates[3], dates[2]], None, path, coregistration="none")
    assert report.dates == 4
    assert before == {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in before}
    assert len(list(tmp_path.iterdir())) == 1
    assert zarr.open_group(path, mode="r").metadata.zarr_format == version
    found = series.open_stack(path, chunks=None)
    assert json.loads(found.attrs["stack"])["layout"] == version - 1
    assert list(found.filtered_with.values) == [2, 2, 4, 4]
    if version == 3:
        assert_same_levels(path, stack)
        return
    alone = reconstruct(dates[2], dem, method=RTC())["gamma0"].values
    known = np.isfinite(alone) & np.isfinite(found.gamma0[2, 0].values)
    assert np.percentile(decibels(found.gamma0[2, 0].values, alone)[known], 99.9) < DECIBELS


@pytest.mark.usefixtures("_small_tiles")
def test_a_stack_of_tiles_that_grew_is_as_one_that_was_made_at_once(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TilePlanner, "sides", lambda *_: (40, 40))
    for module in (_build, _stack, _store):
        monkeypatch.setattr(module, "CHUNK", 40)
    grown, whole = tmp_path / "grown.zarr", tmp_path / "whole.zarr"
    series.build_stack(dates[:1], dem, grown, coregistration="none")
    series.build_stack(dates[1:2], None, grown, coregistration="none")
    series.build_stack(dates[:2], dem, whole, coregistration="none")
    assert_same_levels(grown, whole)
    assert_overviews(grown, "gamma0", "gamma0_filtered", "gamma0_mean", "gamma0_spread")


@pytest.mark.usefixtures("_small_tiles")
def test_overviews_of_what_is_in_memory_are_those_of_what_was_written(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    values = random.gamma(4.4, size=(2, 601, 1101)).astype(np.float32)
    values[:, :150, 40:300] = np.nan
    pending = _store.Pending(tmp_path / "stack.zarr")
    pending.folder.mkdir()
    for key, held in (("read", None), ("held", values)):
        pending.create(key, "gamma0", values.shape)
        pending.array(key, "gamma0")[:] = values
        assert not pending.has_overviews(key, "gamma0")
        pending.add_overviews(key, "gamma0", held)
        assert pending.has_overviews(key, "gamma0")
    found = [
        {
            file.relative_to(folder): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        for folder in (pending.folder / "read", pending.folder / "held")
    ]
    assert {path.parts[0] for path in found[0]} >= {"gamma0", "1", "2", "3"}
    assert found[0] == found[1]


@pytest.mark.usefixtures("_small_tiles")
def test_overviews_that_an_earlier_run_lacks_are_computed(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stack.zarr"
    with monkeypatch.context() as patch:
        # A run that did not compute them beside the values is interrupted.
        patch.setattr(_store.Pending, "add_overviews", lambda *_: None)
        patch.setattr(_build._Run, "_summarise", interrupted)
        with pytest.raises(KeyboardInterrupt):
            series.build_stack(dates[:1], dem, path, coregistration="none")
    series.build_stack(dates[:1], dem, path, coregistration="none")
    assert_overviews(path, "gamma0", "gamma0_filtered")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_one_file_tells_a_client_of_a_stack_that_grew(
    dem: xr.DataArray, dates: list[Scene], single: Path
) -> None:
    for number in range(2):
        if number:
            series.build_stack([dates[number]], dem, single, coregistration="none")
        root = json.loads((single / "zarr.json").read_text())
        arrays = root["consolidated_metadata"]["metadata"]
        assert arrays["0/gamma0"]["shape"] == [number + 1, 1, 60, 80]
        assert "0/mask" in arrays
        assert root["attributes"]["proj:code"] == "EPSG:32632"
        with xr.open_zarr(single, group="0", consolidated=True) as opened:
            assert opened.rio.crs == dem.rio.crs
            assert opened.sizes["time"] == number + 1


def test_the_same_date_twice_changes_nothing(
    dem: xr.DataArray, dates: list[Scene], pair: Path
) -> None:
    before = {file: file.read_bytes() for file in sorted(pair.rglob("*")) if file.is_file()}
    again = series.build_stack(dates[:2], dem, pair, coregistration="none")
    assert (again.added, len(again.present), again.dates) == ((), 2, 2)
    assert before == {file: file.read_bytes() for file in sorted(pair.rglob("*")) if file.is_file()}


def test_dates_that_make_no_series_are_listed_and_refused(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    """The minority is named, wherever it is."""
    reference, scene = dates[:2]
    name = "S1A_IW_GRDH_1SDV_20240{}T055958_20240101T060002_0{}_0645F1_ABCD.SAFE"
    one, two = (
        replace(each, image=each.image.assign_attrs(product_name=name.format(*numbers)))
        for each, numbers in ((reference, ("101", 51919)), (scene, ("113", 52000)))
    )
    wide = replace(reference, grid=replace(reference.grid, mode="IW"))
    extra = replace(scene, grid=replace(scene.grid, mode="EW"))
    crossed = replace(scene, image=scene.image.assign_coords(polarisation="VH"))
    down, left = date_of(dem, 7, ascending=False), date_of(dem, 7, look_side="left")
    early = date_of(dem, 0, ascending=False)
    for scenes, message in (
        ([reference, down], "found 1 dates.*2024-03-25.*pass descending instead of ascending"),
        ([reference, left], "found 1 dates.*2024-03-25.*look side left instead of right"),
        ([early, *dates[1:3]], "found 1 dates .*2024-01-01.*descending instead of asc"),
        ([one, two], "relative orbit"),
        ([wide, extra], "mode EW instead of IW"),
        ([reference, crossed], "VH, without VV"),
    ):
        with pytest.raises(SeriesError, match=message):
            series.build_stack(scenes, dem, tmp_path / "s.zarr", coregistration="none")
    with pytest.raises(SeriesError, match=r"found 1 dates .*2024-01-01.*descending instead of asc"):
        series.mean_scene([*dates[1:3], early], dem)
    assert list(tmp_path.iterdir()) == []


def test_another_dem_and_wrong_settings_are_refused(
    pair: Path, dates: list[Scene], dem: xr.DataArray, tmp_path: Path
) -> None:
    for ground, message in ((dem + 1.0, "other heights"), (dem[:-1], "another grid")):
        with pytest.raises(SeriesError, match=message):
            series.build_stack(dates, ground, pair)
    given: tuple[tuple[type[Exception], str, dict[str, Any]], ...] = (
        (SeriesError, "pass a DEM", {"dem": None}),
        (SeriesError, "no date that can be read", {"images": []}),
        (SeriesError, "no date that can be read", {"images": "no.zip"}),
        (ValueError, "tolerance", {"tolerance": 0.0}),
        (ValueError, "smallest_area=", {"smallest_area": 1.0}),
        (ValueError, "coregistration=", {"coregistration": "yes"}),
        (ValueError, "method=", {"method": "best"}),
        (ValueError, "memory limit of", {"memory_limit": 0}),
        (ValueError, "facets=", {"facets": 0}),
        *((ValueError, "window of", {"window": window}) for window in (4, -7)),
    )
    for error, message, change in given:
        how = {"images": dates, "dem": dem} | change
        with pytest.raises(error, match=message):
            series.build_stack(how.pop("images"), how.pop("dem"), tmp_path / "new.zarr", **how)
    assert list(tmp_path.iterdir()) == []


def test_polarisations_without_names_are_called_alike_everywhere(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    """By results, their files and pictures, and stacks."""
    images = [dates[0].image.drop_vars("polarisation", errors="ignore")] * 2
    image = xr.concat(images, "polarisation", combine_attrs="override")
    scene = replace(dates[0], image=image, grid=replace(dates[0].grid, polarisations=()))
    result = reconstruct(scene, dem, method=RTC())
    write(result, tmp_path / "scene")
    series.build_stack([scene], dem, tmp_path / "s.zarr", coregistration="none", method=RTC())
    for found in (result, open_result(tmp_path / "scene"), open_result(tmp_path / "s.zarr")):
        assert found["polarisation"].values.tolist() == ["1", "2"]
    assert (tmp_path / "scene" / "scene_gamma0_2.tif").exists()
    titles = [axes.get_title("left") for axes in plot.scene(result).axes]
    assert len([title for title in titles if title.startswith("reconstructed")]) == 2


def test_a_date_far_from_the_orbit_is_done_by_itself(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    far = date_of(dem, 5, baseline=1100.0)
    report = series.build_stack([dates[0], far], dem, tmp_path / "s.zarr", coregistration="none")
    (reason,) = report.by_themselves.values()
    assert "baseline of" in reason
    found = series.open_stack(tmp_path / "s.zarr", chunks=None)
    assert list(found.from_reference.values) == [1, 0]
    alone = reconstruct(far, dem, method=RTC(), variables=["gamma0"])
    np.testing.assert_array_equal(found.gamma0[1, 0], alone.gamma0)


def test_other_methods_are_done_date_by_date(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    report = series.build_stack(
        dates[:2], dem, tmp_path / "s.zarr", method=PosteriorMean(), coregistration="none"
    )
    assert len(report.by_themselves) == 2
    found = series.open_stack(tmp_path / "s.zarr", chunks=None)
    alone = reconstruct(dates[1], dem, variables=["gamma0"])
    np.testing.assert_array_equal(found.gamma0[1, 0], alone.gamma0)


def test_an_image_that_ends_within_the_grid_leaves_no_data_there(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    """Neither the reference nor another date needs to cover the DEM; a gap stays in its date."""
    half = slice(0, dates[0].grid.lines // 2)
    cut = Scene(dates[0].image.isel(line=half), dates[0].grid.crop(half), dates[0].orbit, "beta0")
    gap = dates[1].image.copy()
    gap[60:90] = np.nan
    holed = replace(dates[1], image=gap)
    path = tmp_path / "s.zarr"
    series.build_stack([cut, holed, dates[2]], dem, path, coregistration="none")
    found = series.open_stack(path, chunks=None)
    for number, scene in enumerate((cut, holed, dates[2])):
        alone = reconstruct(scene, dem, method=RTC())["gamma0"].values
        here = found.gamma0[number, 0].values
        assert np.mean(np.isnan(here) != np.isnan(alone)) < 0.003
        assert np.nanpercentile(decibels(here, alone), 99.9) < DECIBELS
    assert np.isnan(found.gamma0[0]).mean() > 0.3
    whole = masks(dem, dates[0].grid, dates[0].orbit)["mask"].values
    assert np.mean(found["mask"].values == whole) > 0.99
    assert np.isfinite(found.gamma0_mean).mean() > 0.9


def plan_of(dates: list[Scene], dem: xr.DataArray, limit: float = np.inf, **how: int) -> TrackPlan:
    reference = reference_scene(dates[0], dem)
    return TrackPlan.over(reference, dem, RTC(), smallest_area=0.03, memory_limit=limit, **how)


def test_tiles_and_lazy_images_are_as_the_whole(dem: xr.DataArray, dates: list[Scene]) -> None:
    whole, parts = (plan_of(dates, dem, limit, facets=2) for limit in (np.inf, 1.0))
    lazy = replace(dates[1], image=dates[1].image.chunk(line=50, sample=70))
    (tile,) = whole.tiles(1, 64)
    expected = whole.reconstruct(whole.geometry(tile), whole.date(dates[1]))
    tiles = parts.tiles(1, 64)
    assert len(tiles) > 1
    for part in tiles:
        found = parts.reconstruct(parts.geometry(part), parts.date(lazy))
        first, end, left, right = part.core
        np.testing.assert_allclose(found, expected[:, first:end, left:right], rtol=1e-4)


@pytest.mark.parametrize(("facets", "missing"), [(1, True), (3, False)])
def test_the_memory_of_a_date_is_counted(
    dem: xr.DataArray, dates: list[Scene], facets: int, *, missing: bool
) -> None:
    """What NumPy takes at the same time, but for the next image."""
    plan = plan_of(dates, dem, facets=facets)
    image = xr.concat([dates[1].image] * 2, "polarisation").assign_coords(polarisation=["VV", "VH"])
    if missing:
        image[:, 40:50, 30:60] = np.nan
    (tile,) = plan.tiles(2, 512)
    geometry, date = plan.geometry(tile), plan.date(replace(dates[1], image=image))
    plan.reconstruct(geometry, date)  # kernels are loaded
    tracemalloc.start()
    plan.reconstruct(geometry, date)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pixels = date.planner.pixels(tile.window, 0)
    count = (pixels[1] - pixels[0]) * (pixels[3] - pixels[2])
    counted = plan._bytes_beside(tile, count, 2)
    next_image = 2 * 4 * count
    assert peak < counted
    assert peak > 0.5 * (counted - next_image)


def test_threads_and_schedulers_do_not_change_a_bit(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    found = []
    for count, scheduler in ((1, "synchronous"), (3, "threads")):
        path = tmp_path / f"{scheduler}.zarr"
        with dask.config.set(scheduler=scheduler), limit_threads(count):
            series.build_stack(dates[:2], dem, path, coregistration="none")
        found.append(series.open_stack(path, chunks=None))
    for name in ("gamma0", "gamma0_filtered", "gamma0_mean", "gamma0_spread"):
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_tasks_can_be_sent_to_workers(dem: xr.DataArray, dates: list[Scene]) -> None:
    plan = plan_of(dates, dem)
    (tile,) = plan.tiles(1, 512)
    whole = plan, plan.geometry(tile), plan.date(dates[1])
    sent = pickle.loads(pickle.dumps(whole))  # noqa: S301
    np.testing.assert_array_equal(whole[0].reconstruct(*whole[1:]), sent[0].reconstruct(*sent[1:]))


def test_an_interrupted_run_resumes(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.zarr"
    written: list[str] = []
    write = _store.Pending.write

    def fail_at_third(self: _store.Pending, key: str, tile: Any, values: Any) -> Any:  # noqa: ANN401
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(key)
        return write(self, key, tile, values)

    monkeypatch.setattr(_store.Pending, "write", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        series.build_stack(dates[:3], dem, path, coregistration="none")
    assert not path.exists()

    def count(self: _store.Pending, key: str, tile: Any, values: Any) -> Any:  # noqa: ANN401
        written.append("again")
        return write(self, key, tile, values)

    monkeypatch.setattr(_store.Pending, "write", count)
    series.build_stack(dates[:3], dem, path, coregistration="none")
    assert written.count("again") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zarr"]
    series.build_stack(dates[:3], dem, tmp_path / "t.zarr", coregistration="none")
    one, other = (series.open_stack(tmp_path / name, chunks=None) for name in ("s.zarr", "t.zarr"))
    np.testing.assert_array_equal(one.gamma0, other.gamma0)


def test_shifts_are_not_estimated_twice(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[str] = []
    estimate, summarise = _build.coregister, _build._Run._summarise

    def count(date: Date, *given: Any, **options: Any) -> Date:  # noqa: ANN401
        estimated.append(date.key)
        return estimate(date, *given, **options)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_build, "coregister", count)
    monkeypatch.setattr(_build._Run, "_summarise", stop)
    with pytest.raises(KeyboardInterrupt):
        series.build_stack(dates[:2], dem, tmp_path / "s.zarr")
    monkeypatch.setattr(_build._Run, "_summarise", summarise)
    series.build_stack(dates[:2], dem, tmp_path / "s.zarr")
    assert len(estimated) == 2
    series.build_stack(dates[:2], dem, tmp_path / "t.zarr")
    one, other = (series.open_stack(tmp_path / name, chunks=None) for name in ("s.zarr", "t.zarr"))
    assert len(estimated) == 4
    np.testing.assert_array_equal(one.line_shift, other.line_shift)
    np.testing.assert_array_equal(one.gamma0, other.gamma0)
    notes = [
        [json.loads(str(text))["parameters"]["coregistration"] for text in each.provenance.values]
        for each in (one, other)
    ]
    assert notes[0] == notes[1]


def test_dates_are_registered_side_by_side_with_the_same_bits(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both dates after the first wait for each other, and results are those of one thread."""
    with limit_threads(1):
        series.build_stack(dates[:3], dem, tmp_path / "one.zarr", window=0)
    together, estimate = threading.Barrier(2), _build.coregister

    def wait(date: Date, dem: CheckedDem, gamma: xr.DataArray | None, *, correct: bool) -> Date:
        if gamma is not None:
            together.wait(timeout=60.0)
        return estimate(date, dem, gamma, correct=correct)

    monkeypatch.setattr(_build, "coregister", wait)
    with limit_threads(3), dask.config.set(num_workers=3):
        series.build_stack(dates[:3], dem, tmp_path / "three.zarr", window=0)
    one, three = (
        series.open_stack(tmp_path / name, chunks=None) for name in ("one.zarr", "three.zarr")
    )
    xr.testing.assert_equal(*(stack.drop_vars("provenance") for stack in (one, three)))
    assert np.isfinite(one.line_shift).all()


def test_few_dates_are_registered_beside_tiles_where_memory_is_short(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of 1 GiB is for one."""
    turn, estimate = threading.Semaphore(1), _build.coregister

    def alone(date: Date, dem: CheckedDem, gamma: xr.DataArray | None, *, correct: bool) -> Date:
        assert turn.acquire(blocking=False)
        found = estimate(date, dem, gamma, correct=correct)
        turn.release()
        return found

    monkeypatch.setattr(_build, "coregister", alone)
    with limit_threads(4), dask.config.set(num_workers=4):
        series.build_stack(dates, dem, tmp_path / "s.zarr", window=0, memory_limit="1 GiB")
    assert series.open_stack(tmp_path / "s.zarr").sizes["time"] == len(dates)


@pytest.mark.parametrize("method", [RTC(), Reallocation()])
def test_an_interrupt_among_dates_is_resumed(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, method: Method
) -> None:
    """Dates with masks of the reference pass, and dates by themselves."""

    def interrupt(text: str, fraction: float) -> None:
        if text.startswith("reconstruct") and fraction > 0.3:
            raise KeyboardInterrupt

    path = tmp_path / "s.zarr"
    options: dict[str, Any] = {"window": 0, "method": method}
    with pytest.raises(KeyboardInterrupt):
        series.build_stack(dates[:3], dem, path, progress=interrupt, **options)
    running = [each for each in threading.enumerate() if each.name.startswith("sarheight-dates")]
    assert running == []
    assert not path.exists()
    series.build_stack(dates[:3], dem, path, **options)
    assert series.open_stack(path).sizes["time"] == 3


def test_a_date_that_cannot_be_registered_is_skipped(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on; a strict run stops, and names it."""
    damaged, estimate = open_date(dates[1], {}), _build.coregister

    def fail(date: Date, *arguments: Any, correct: bool) -> Date:  # noqa: ANN401
        if date.key == damaged.key:
            msg = "the image ends\nbefore its window"
            raise SarheightError(msg)
        return estimate(date, *arguments, correct=correct)

    monkeypatch.setattr(_build, "coregister", fail)
    with pytest.raises(SeriesError, match=f"{damaged.name} cannot be used: the image ends before"):
        series.build_stack(dates[:3], dem, tmp_path / "s.zarr", window=0, strict=True)
    report = series.build_stack(dates[:3], dem, tmp_path / "s.zarr", window=0)
    assert report.skipped == {damaged.name: "the image ends before its window"}
    assert report.dates == len(report.added) == 2


def test_a_date_that_stops_a_strict_run_is_named(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    beside = date_of(raster(mountain(), latitude=46.6), 1, latitude=46.6)
    with pytest.raises(SeriesError, match=r"the scene of 2024-01-13.* cannot be used: No cell"):
        series.build_stack(
            [dates[0], beside], dem, tmp_path / "s.zarr", coregistration="none", strict=True
        )


@pytest.mark.parametrize(("version", "number"), [(2, 3), (3, 0), (3, 3), (3, 12)])
def test_an_interrupted_append_is_finished_by_the_next_run(
    dates: list[Scene], single: Path, monkeypatch: pytest.MonkeyPatch, version: int, number: int
) -> None:
    if version == 2:
        to_version_2(single)
    steps: list[Path] = []
    move = _store._replace

    def stop_midway(source: Path, target: Path) -> None:
        if len(steps) == number:
            raise KeyboardInterrupt
        steps.append(target)
        move(source, target)

    monkeypatch.setattr(_store, "_replace", stop_midway)
    with pytest.raises(KeyboardInterrupt):
        series.build_stack(dates[1:2], None, single, coregistration="none")
    monkeypatch.setattr(_store, "_replace", move)
    report = series.build_stack(dates[:2], None, single, coregistration="none")
    assert (report.dates, len(report.present)) == (2, 2)
    assert series.open_stack(single, chunks=None).gamma0.shape[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_keeps_the_earlier_dates(
    dem: xr.DataArray, dates: list[Scene], single: Path, tmp_path: Path
) -> None:
    import resource

    earlier = series.open_stack(single, chunks=None).gamma0.values
    most, never = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 5000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, never))
        try:
            with pytest.raises(OutputError, match="its earlier dates were kept") as caught:
                series.build_stack(dates[1:2], None, single, coregistration="none")
            with pytest.raises(OutputError, match="repeat the command once there is room") as new:
                series.build_stack(dates[:1], dem, tmp_path / "new.zarr", coregistration="none")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, never))
        assert "\n" not in str(caught.value)
        assert "earlier dates" not in str(new.value)
        assert not (tmp_path / "new.zarr").exists()
        found = series.open_stack(single, chunks=None).gamma0.values
        np.testing.assert_array_equal(found, earlier)
    report = series.build_stack(dates[1:2], None, single, coregistration="none")
    assert (report.dates, len(report.added)) == (2, 1)


def test_two_processes_do_not_write_one_stack(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    path = tmp_path / "s.zarr"
    with _store.Pending(path).locked(), pytest.raises(OutputError, match="another process"):
        series.build_stack(dates[:1], dem, path)


def test_a_damaged_file_and_a_date_beside_the_grid_are_named_and_skipped(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    damaged, path = tmp_path / "S1A_damaged.zip", tmp_path / "s.zarr"
    damaged.write_bytes(b"PK\x03\x04 and no more")
    beside = date_of(raster(mountain(), latitude=46.6), 1, latitude=46.6)
    report = series.build_stack([damaged, dates[0], beside], dem, path, coregistration="none")
    (first, _), (_, reason) = report.skipped.items()
    assert first == "S1A_damaged.zip"
    assert "No cell of the DEM" in reason
    assert report.dates == 1
    with pytest.raises(ValueError, match="S1A_damaged"):
        series.build_stack([damaged, dates[1]], None, path, coregistration="none", strict=True)


def test_shifts_are_found_against_the_dates_before(dem: xr.DataArray, tmp_path: Path) -> None:
    """A timing error of a date is found better with the ground's own pattern, and corrected."""
    scenes = [date_of(dem, number) for number in range(2)]
    shifted = replace(scenes[1], grid=scenes[1].grid.shift(1.5, 2.0))
    series.build_stack([scenes[0], shifted], dem, tmp_path / "s.zarr")
    found = series.open_stack(tmp_path / "s.zarr", chunks=None)
    assert float(found.line_shift[1]) == pytest.approx(-1.5, abs=0.15)
    assert float(found.sample_shift[1]) == pytest.approx(-2.0, abs=0.15)


def test_files_are_read_in_parts_and_damage_is_named(
    stack: Path, dem: xr.DataArray, dates: list[Scene], tmp_path: Path
) -> None:
    """Images in files stay there until tiles need them; one that cannot be read then is skipped."""
    for number, date in enumerate(dates[:3]):
        write_scene(date, tmp_path / f"{number}.{'zarr' if number == 1 else 'nc'}")
    files = series.find_dates(tmp_path)
    assert all(open_date(file, {}).scene.image.chunks is not None for file in files)
    report = series.build_stack(files, dem, tmp_path / "s.zarr", coregistration="none")
    assert report.dates == 3
    found, expected = (series.open_stack(path, chunks=None) for path in (report.path, stack))
    np.testing.assert_array_equal(found.gamma0, expected.gamma0[:3])
    chunk = next(
        path for path in (tmp_path / "1.zarr" / "beta0" / "c").rglob("*") if path.is_file()
    )
    chunk.write_bytes(b"damaged")
    again = series.build_stack(files[:2], dem, tmp_path / "t.zarr", coregistration="none")
    assert list(again.skipped) == ["1.zarr"]
    assert "1.zarr" in again.skipped["1.zarr"]
    assert again.dates == 1


@pytest.mark.slow
def test_a_cluster_makes_the_same_stack(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of images in files, computed by two processes, have the bits of one process."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(TilePlanner, "sides", lambda *_: (32, 32))
    for module in (_store, _stack, _build):
        monkeypatch.setattr(module, "CHUNK", 32)
    images = tmp_path / "track"
    images.mkdir()
    for number, date in enumerate(dates[:3]):
        write_scene(date, images / f"{number}.{'zarr' if number == 1 else 'nc'}")
    files = series.find_dates(images)
    series.build_stack(files, dem, tmp_path / "one.zarr")
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        series.build_stack(files[:2], dem, tmp_path / "many.zarr")
        report = series.build_stack(files, None, tmp_path / "many.zarr")
    assert (report.dates, report.skipped, report.by_themselves) == (3, {}, {})
    one, many = (
        series.open_stack(tmp_path / name, chunks=None) for name in ("one.zarr", "many.zarr")
    )
    files = (tmp_path / "many.zarr" / "0" / "gamma0" / "c").rglob("*")
    assert len([file for file in files if file.is_file()]) > 15
    for name in ("gamma0", "gamma0_mean", "gamma0_spread", "date_count", "mask"):
        np.testing.assert_array_equal(one[name], many[name])


def test_any_error_of_a_date_names_it(
    dem: xr.DataArray, dates: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors that are not of the date's content stop the run, and say which date it was."""

    def lose(*_: object, **__: object) -> Date:
        msg = "the disk is gone"
        raise OSError(msg)

    monkeypatch.setattr(_build, "coregister", lose)
    first = open_date(dates[1], {})
    monkeypatch.setattr(_build._Run, "_reference_gamma", lambda *_: dem)
    with pytest.raises(OSError, match="the disk is gone") as caught:
        series.build_stack([dates[1]], dem, tmp_path / "s.zarr")
    assert caught.value.__notes__ == [f"The date is {first.name}."]


@pytest.mark.parametrize(
    ("limit", "workers"), [(np.inf, 4), (2 << 30, 4), (600 << 20, 2), (1.0, 1)]
)
def test_dates_at_a_time_are_bounded_by_threads_and_memory(limit: float, workers: int) -> None:
    together, most = threading.Semaphore(0), []
    lock, running = threading.Lock(), [0]

    def work(date: Any) -> Any:  # noqa: ANN401 - stands for a date
        with lock:
            running[0] += 1
            most.append(running[0])
            if running[0] == workers:
                together.release(6)
        together.acquire(timeout=10.0)
        with lock:
            running[0] -= 1
        return date

    with limit_threads(4), side_by_side(work, list(range(6)), limit) as results:  # type: ignore[arg-type]
        found = [(date, result.result()) for date, result in results]
    assert found == [(number, number) for number in range(6)]
    assert max(most) == workers
