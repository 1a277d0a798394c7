"""Figures: content, scales and map geometry."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sarheight import plot
from sarheight.plot.maps import (
    CLEAR,
    COUNT_COLOURS,
    LARGEST_SIDE,
    MEANING_COLOURS,
    Frame,
    average_blocks,
    cap_counts,
    decibels,
    map_view,
    mask_classes,
    robust_limits,
    subsample,
)
from tests.programs import Run

ROWS, COLUMNS = 30, 40
VOID = (slice(0, 5), slice(0, 8))
MEANINGS = "clear foreshortening active_layover active_shadow"


def grid(values: np.ndarray, **attributes: object) -> xr.DataArray:
    """Put values on a grid of 30 m in UTM zone 32."""
    rows, columns = values.shape[-2:]
    dims = ("polarisation", "y", "x")[-values.ndim :]
    coords = {"y": 5.2e6 - 30.0 * np.arange(rows), "x": 6.0e5 + 30.0 * np.arange(columns)}
    array = xr.DataArray(values, dims=dims, coords=coords, attrs=attributes)
    return array.rio.write_crs("EPSG:32632")


def dataset() -> xr.Dataset:
    """Make a small result with voids."""
    rng = np.random.default_rng(2)
    power = rng.gamma(4.0, 0.02, (2, ROWS, COLUMNS)).astype(np.float32)
    power[1] /= 10
    power[..., *VOID] = np.nan
    count = rng.integers(1, 9, (ROWS, COLUMNS)).astype(np.uint8)
    mask = rng.integers(0, 4, (ROWS, COLUMNS)).astype(np.uint8)
    count[VOID] = mask[VOID] = 255
    flags = {"flag_values": np.arange(4, dtype=np.uint8), "flag_meanings": MEANINGS}
    result = xr.Dataset(
        {
            "sigma0": grid(power, long_name="reconstructed σ⁰"),
            "sigma0_geocoded": grid(power * 5, long_name="geocoded σ⁰"),
            "fold_count": grid(count, long_name="fold count", _FillValue=255),
            "mask": grid(mask, long_name="mask", _FillValue=255, **flags),
        },
        attrs={"look_azimuth": 80.0},
    )
    return result.assign_coords(polarisation=["VV", "VH"])


def main_axes(figure: Figure) -> list[Axes]:
    """Return the panels, drawn, without colour bars."""
    figure.draw_without_rendering()
    return [axes for axes in figure.axes if axes.images]


def texts(axes: Axes) -> list[str]:
    """Return the entries of the legend."""
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_no_window_system_and_no_global_figures_are_needed(start: Run, tmp_path: Path) -> None:
    code = (
        "import sys; import sarheight.plot, sarheight.output\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import numpy as np, xarray as xr\n"
        "sarheight.plot.backscatter(xr.DataArray(np.ones((3, 4)), dims=('y', 'x')))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = start(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_backscatter_is_drawn_in_decibels_without_voids() -> None:
    power = grid(np.full((ROWS, COLUMNS), 0.1))
    power.values[:, 20:] = 0.01
    power.values[VOID] = np.nan
    power.values[-1, -1] = -0.5
    figure = plot.backscatter(power, limits=(-20.0, -10.0), title="title")
    (axes,) = main_axes(figure)
    image = axes.images[0]
    shown = image.get_array()
    assert isinstance(figure, Figure)
    assert image.get_clim() == (-20.0, -10.0)
    np.testing.assert_array_equal(shown.mask, np.isnan(power.values))
    np.testing.assert_allclose(shown[10, :20], -10.0)
    np.testing.assert_allclose(shown[10, 20:], -20.0)
    assert shown[-1, -1] == -20.0
    assert texts(axes) == ["no data"]
    assert axes.get_title(loc="left") == "title"


def test_the_polarisation_can_be_selected() -> None:
    sigma0 = dataset()["sigma0"]
    shown = [
        main_axes(plot.backscatter(sigma0, polarisation=name))[0].images[0].get_array()
        for name in (None, "VV", "VH")
    ]
    np.testing.assert_array_equal(shown[0], shown[1])
    assert shown[2].mean() < shown[1].mean() - 5
    with pytest.raises(ValueError, match="'HH' here, only VV, VH"):
        plot.backscatter(sigma0, polarisation="HH")
    with pytest.raises(ValueError, match=r"dims \(y, x\)"):
        plot.backscatter(sigma0.rename(polarisation="pass"))


def in_bytes(colour: str) -> NDArray[np.uint8]:
    """Return a colour as red, green, blue and opacity from 0 to 255."""
    return np.rint(255.0 * np.array(to_rgba(colour))).astype(np.uint8)


def test_the_legend_of_a_mask_gives_the_fraction_of_each_class() -> None:
    mask = dataset()["mask"]
    mask = mask.where((mask == 255) | (mask != 1), 0)
    (axes,) = main_axes(plot.mask(mask))
    valid = mask.values[mask.values != 255]
    shares = [f"{100 * (valid == code).mean():.1f} %" for code in (0, 2, 3)]
    names = ["clear", "active layover", "active shadow"]
    expected = [f"{name}: {share}" for name, share in zip(names, shares, strict=True)]
    assert texts(axes) == [*expected, "no data"]
    picture = axes.images[0].get_array()
    for code, name in ((0, "clear"), (2, "active_layover"), (3, "active_shadow")):
        assert (picture[mask.values == code] == in_bytes(MEANING_COLOURS[name])).all()
    assert (picture[VOID][..., 3] == 0).all()


def test_codes_without_a_meaning_are_shown_and_named() -> None:
    mask = dataset()["mask"]
    mask.values[-1, -1] = 77
    classes = mask_classes(mask)
    assert [each.label for each in classes][-1] == "unlisted code 77"
    assert len({each.colour for each in classes}) == 5
    for attributes in ({}, {"flag_values": [0, 1], "flag_meanings": "clear"}):
        with pytest.raises(ValueError, match="as many flag_values as flag_meanings"):
            plot.mask(mask.drop_attrs().assign_attrs(attributes))


def test_fold_counts_above_the_last_class_belong_to_it() -> None:
    count = dataset()["fold_count"]
    (axes,) = main_axes(plot.fold_count(count))
    assert texts(axes)[0].startswith("1 (not folded): ")
    assert [text.split(":")[0] for text in texts(axes)[-2:]] == ["6 or more", "no data"]
    picture = axes.images[0].get_array()
    assert (picture[count.values == 8] == in_bytes(COUNT_COLOURS[6])).all()
    assert (picture[count.values == 1] == in_bytes(CLEAR)).all()
    assert (cap_counts(count).values[VOID] == 255).all()
    brightness = [np.dot(to_rgba(colour)[:3], (0.2, 0.7, 0.1)) for colour in COUNT_COLOURS[1:]]
    assert all(np.diff(brightness) < -0.05), "colours get darker"


def test_relief_shades_slopes_that_face_away_from_the_light() -> None:
    mask = dataset()["mask"] * np.uint8(0)
    mask.attrs = {"flag_values": [0], "flag_meanings": "clear"}
    ridge = grid(1000.0 - 20.0 * np.abs(np.arange(COLUMNS) - 20.0) * np.ones((ROWS, 1)))
    (axes,) = main_axes(plot.mask(mask, relief=ridge))
    picture = axes.images[0].get_array()[..., :3].mean(axis=2)
    assert picture[15, 5] > picture[15, 35] + 25.0
    (axes,) = main_axes(plot.mask(mask[::-1], relief=ridge[::-1]))
    np.testing.assert_array_equal(axes.images[0].get_array()[..., :3].mean(axis=2), picture)
    with pytest.raises(ValueError, match="grid of the map"):
        plot.fold_count(dataset()["fold_count"], relief=ridge[:-1])


def test_a_result_in_parts_is_drawn_at_the_size_of_a_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sarheight.plot.maps.LARGEST_SIDE", 20)
    result = dataset().rename(sigma0="gamma0")
    east = result["x"] > float(result["x"][9])
    result["gamma0"] = result["gamma0"].where(east)
    result["mask"] = result["mask"].where(east, np.uint8(255)).assign_attrs(result["mask"].attrs)
    relief = grid(np.ones((ROWS, COLUMNS)))
    whole = main_axes(plot.scene(result[["gamma0", "mask"]], relief=relief))
    parts = main_axes(plot.scene(result[["gamma0", "mask"]].chunk(y=7, x=11), relief=relief))
    for one, other in zip(whole, parts, strict=True):
        shown = other.images[0]
        assert max(shown.get_array().shape[:2]) <= 20
        # Within the two cells that become one.
        np.testing.assert_allclose(shown.get_extent(), one.images[0].get_extent(), atol=0.061)
    # Power is averaged, and not its logarithm.
    means = result["gamma0"].isel(polarisation=0, x=slice(10, None)).values
    means = means.reshape(15, 2, 15, 2).mean(axis=(1, 3))
    found = parts[0].images[0].get_array()
    inside = np.clip(decibels(means), *parts[0].images[0].get_clim())
    np.testing.assert_allclose(np.clip(found, *parts[0].images[0].get_clim()), inside, atol=1e-4)


def test_a_scene_shows_gamma_first_in_all_polarisations_with_colours_of_their_own() -> None:
    image = xr.DataArray(np.random.default_rng(0).gamma(4, 1, (20, 30)), dims=("line", "sample"))
    result = dataset().rename(sigma0="gamma0")
    axes = main_axes(plot.scene(result, image))
    assert [each.get_title(loc="left") for each in axes] == [
        *("reconstructed VV", "reconstructed VH", "plain geocoded VV", "plain geocoded VH"),
        *("radar image", "layover and shadow", "fold count"),
    ]
    bars = [each.child_axes[0].get_ylabel() for each in axes[:3]]
    assert bars == ["γ⁰ VV (dB)", "γ⁰ VH (dB)", "σ⁰ VV (dB)"]
    limits = [each.images[0].get_clim() for each in axes[:5]]
    assert len(set(limits)) == 5
    radar = axes[4]  # its lines run downwards
    assert radar.images[0].get_extent() == [0, 30, 20, 0]
    assert "sample" in radar.get_xlabel()
    assert texts(radar) == []
    alone = main_axes(plot.scene(dataset(), polarisation="VH"))
    assert len(alone) == 4
    assert any("active layover" in text for text in texts(alone[2]))
    with pytest.raises(ValueError, match="found power, expected some of gamma0"):
        plot.scene(dataset()[["sigma0"]].rename(sigma0="power"))


def test_a_scene_is_cropped_to_its_values_and_named() -> None:
    void = {name: 255 if name in {"mask", "fold_count"} else np.nan for name in dataset()}
    wide = dataset().pad(y=(10, 5), x=(3, 20), constant_values=void, keep_attrs=True)
    wide["y"], wide["x"] = 5.2e6 - 30.0 * np.arange(45), 6e5 + 30.0 * np.arange(63)
    record = {"mission": "S1A", "mode": "IW", "product": "GRD", "start": "2024-01-01T05:59:58Z"}
    record |= {"end": "2024-01-01T06:00:02Z", "orbit_state": "ascending", "product_name": "A" * 90}
    wide.attrs["acquisition"] = json.dumps([record])
    figure = plot.scene(wide)
    axes = main_axes(figure)
    assert all(each.images[0].get_array().shape[:2] == (ROWS, COLUMNS) for each in axes)
    assert all("from\n46.9" in each.get_xlabel() for each in axes)
    title = figure.get_suptitle()
    assert "S1A IW GRD, 2024-01-01 05:59 UTC, ascending, look to 80° (right)" in title
    for text in [figure._suptitle, *(each.title for each in axes)]:  # type: ignore[attr-defined]
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("shape", [(2, 2), (8, 200), (200, 8)])
def test_figures_of_all_shapes_have_room_for_their_panels(shape: tuple[int, int]) -> None:
    rows, columns = shape
    small = dataset().isel(y=np.zeros(rows, int), x=np.zeros(columns, int))
    small = small.assign_coords(y=5.2e6 - 30.0 * np.arange(rows), x=6e5 + 30.0 * np.arange(columns))
    figure = plot.scene(small)
    for axes in main_axes(figure):
        box = axes.get_window_extent()
        assert min(box.width, box.height) > 15


# ---- scales


@given(
    hnp.arrays(np.float64, (7,), elements=st.floats(-1.0, 1e6) | st.just(math.nan) | st.just(0.0))
)
def test_limits_are_finite_and_ordered_whatever_the_power(power: np.ndarray) -> None:
    lower, upper = robust_limits(power)
    assert np.isfinite([lower, upper]).all()
    assert upper - lower >= 1.0 - 1e-9
    np.testing.assert_array_equal(np.isnan(decibels(power)), np.isnan(power))


def test_limits_do_not_follow_outliers() -> None:
    power = np.full(1000, 0.1) * np.linspace(0.5, 2, 1000)
    spoilt = power.copy()
    spoilt[:5], spoilt[-5:] = 1e-9, 1e6
    np.testing.assert_allclose(robust_limits(spoilt), robust_limits(power), atol=0.2)


def test_large_images_are_averaged_and_codes_are_not() -> None:
    rng = np.random.default_rng(1)
    power = rng.gamma(1.0, 1.0, (2 * LARGEST_SIDE - 1, 9))
    power[:, 4] = np.nan
    small = average_blocks(power)
    assert small.shape == subsample(power).shape == (LARGEST_SIDE, 5)
    assert small[0, 0] == pytest.approx(power[:2, :2].mean())
    assert small[-1, -1] == pytest.approx(power[-1, 8])
    np.testing.assert_allclose(small[:-1, 2], power[:-1, 5].reshape(-1, 2).mean(axis=1))
    codes = rng.choice([0, 3], (2 * LARGEST_SIDE, 4))
    assert set(np.unique(subsample(codes))) == {0, 3}


# ---- places


@pytest.mark.parametrize(
    ("crs", "y", "x", "up"),
    [
        ("EPSG:4326", 46.0 + np.arange(61) / 600, 11.0 + np.arange(81) / 600, 0.0),
        ("EPSG:4326", -20.0 - np.arange(61) / 600, 179.95 + np.arange(81) / 600, 0.0),
        ("EPSG:3857", 5.8e6 + 180.0 * np.arange(61), 1.2e6 + 150.0 * np.arange(81), 0.0),
        # At 90° east of Antarctica's grid the pole is left, so north is right and west is up.
        ("EPSG:3031", 1e5 * np.linspace(-1, 1, 61), 1.5e6 + 1e5 * np.linspace(-1, 1, 81), -90.0),
        ("EPSG:32632", 5.2e6 + 180.0 * np.arange(61), 6e5 + 150.0 * np.arange(81), None),
    ],
)
def test_distances_and_north_are_those_on_the_ground(
    crs: str, y: np.ndarray, x: np.ndarray, up: float | None
) -> None:
    import pyproj

    array = xr.DataArray(np.zeros((61, 81)), coords={"y": y, "x": x}, dims=("y", "x"))
    frame = Frame.of(map_view(array.rio.write_crs(crs)))
    transformer = pyproj.Transformer.from_crs(crs, "EPSG:4978", always_xy=True)
    if crs == "EPSG:4326":
        transformer = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    middle_x, middle_y = (x[0] + x[-1]) / 2, (y[0] + y[-1]) / 2
    # Chords between many points add up to the length of the curve.
    along = np.linspace(x[0], x[-1], 200), np.full(200, middle_y)
    across = np.full(200, middle_x), np.linspace(y[0], y[-1], 200)
    lengths = []
    for easting, northing in (along, across):
        points = np.array(transformer.transform(easting, northing, np.zeros(200)))
        lengths.append(np.linalg.norm(np.diff(points, axis=1), axis=0).sum() / 1000)
    assert frame.width == pytest.approx(lengths[0] * 81 / 80, rel=1e-3)
    assert frame.height == pytest.approx(lengths[1] * 61 / 60, rel=1e-3)
    if up is None:  # Grid north of UTM turns by the convergence of meridians.
        factors = pyproj.Proj(crs).get_factors(
            *pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(middle_x, middle_y)
        )
        up = factors.meridian_convergence
    difference = (frame.up - up + 180) % 360 - 180
    assert abs(difference) < 0.01


def test_a_map_without_crs_is_measured_in_cells() -> None:
    array = xr.DataArray(np.zeros((4, 6)), dims=("y", "x"))
    frame = Frame.of(array)
    assert (frame.width, frame.height, frame.unit, frame.up) == (6, 4, "cells", None)


def test_maps_look_the_same_in_any_storage_order() -> None:
    power = dataset()["sigma0"][0]
    shown = [
        main_axes(plot.backscatter(each))[0].images[0].get_array().filled(0)
        for each in (power, power[::-1], power[:, ::-1], power.transpose("x", "y"))
    ]
    for other in shown[1:]:
        np.testing.assert_array_equal(shown[0], other)


@pytest.mark.parametrize("look", [0.0, 282.0])
def test_the_arrow_points_along_the_look_azimuth(look: float) -> None:
    power = dataset()["sigma0"][0].assign_attrs(look_azimuth=look)
    (axes,) = main_axes(plot.backscatter(power))
    arrows = [text for text in axes.texts if not text.get_text()]
    assert len(arrows) == 2
    up = Frame.of(power).up
    assert up is not None
    for arrow, azimuth in zip(arrows, (0.0, look), strict=True):
        right, upwards = np.subtract(arrow.xy, arrow.xyann)
        difference = math.degrees(math.atan2(right, upwards)) - (azimuth - up)
        assert math.cos(math.radians(difference)) == pytest.approx(1.0)


def test_heights_before_and_after() -> None:
    y, x = 4e6 - 30.0 * np.arange(40), 5e5 + 30.0 * np.arange(50)
    before = xr.DataArray(np.hypot(*np.meshgrid(y - 4e6, x - 5e5, indexing="ij")), {"y": y, "x": x})
    after = before + xr.zeros_like(before).where(before.y != y[7], 5.0)
    result = xr.Dataset({"height": after, "baseline": before, "height_sigma": 0 * before + 2.0})
    result = result.rio.write_crs("EPSG:32632")
    figure = plot.heights(result)
    profile = figure.axes[3]
    # The row that changed is chosen, and marked at its distance from the top.
    before_line, after_line = (line.get_ydata() for line in profile.lines)
    np.testing.assert_allclose(np.subtract(after_line, before_line), 5.0)
    height = 40 * 0.03
    marked = figure.axes[2].lines[0].get_ydata()[0]
    assert marked == pytest.approx(height * (1.0 - 7.5 / 40.0), rel=1e-2)
    with pytest.raises(ValueError, match="expected one of the 40 rows"):
        plot.heights(result, row=40)
    with pytest.raises(ValueError, match="no height_sigma"):
        plot.heights(result.drop_vars("height_sigma"))


def test_the_profile_of_heights_that_are_cut_obliquely_is_one_with_values() -> None:
    """On a grid that lies obliquely to the elevation model, no row has values throughout."""
    y, x = 4e6 - 30.0 * np.arange(40), 5e5 + 30.0 * np.arange(50)
    before = xr.DataArray(np.full((40, 50), 900.0), {"y": y, "x": x}, ("y", "x"))
    change = np.where(np.arange(40) == 12, 3.0, 0.1)
    change[0] = 9.0
    after = before + xr.DataArray(change, {"y": y}, ("y",))
    inside = (np.arange(50) > 1) & (np.arange(50) < 48) & (np.arange(40)[:, None] > 0)
    inside[0, 20] = True
    result = xr.Dataset({"height": after, "baseline": before, "height_sigma": 0 * before + 2.0})
    result = result.where(xr.DataArray(inside, dims=("y", "x"))).rio.write_crs("EPSG:32632")
    record = {"mission": "S1A", "start": "2024-01-01T05:59:58Z", "product_name": "NAME"}
    result.attrs["acquisition"] = json.dumps([record])
    figure = plot.heights(result)
    _, drawn = (line.get_ydata() for line in figure.axes[3].lines)
    np.testing.assert_allclose(drawn[2:48], 903.0)
    assert figure.get_suptitle().startswith("NAME\nS1A, 2024-01-01 05:59 UTC")
    for axes in figure.axes[:3]:
        assert any(patch.get_hatch() for patch in axes.patches), "no data is hatched"
    shade = np.ma.masked_invalid(figure.axes[0].images[0].get_array())
    assert np.ma.getmaskarray(shade)[~inside].all()
    assert not np.ma.getmaskarray(shade)[2:-1, 3:-3].any()
    # So is one that is larger than a picture.
    large = xr.Dataset({"height": (("y", "x"), np.ones((4100, 60)))})
    assert plot.heights(large).axes[0].images[0].get_array() is not None


def test_what_is_no_layer_or_no_power_is_refused() -> None:
    layer = xr.DataArray(np.ones((8, 9), dtype=np.float32), dims=("y", "x"))
    result = xr.Dataset({"gamma0": layer})
    for function in (plot.backscatter, plot.mask, plot.fold_count):
        with pytest.raises(TypeError, match="pass one layer"):
            function(result)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected the Dataset"):
        plot.scene(result["gamma0"])  # type: ignore[arg-type]
    for image in (result["gamma0"] * 1j, result["gamma0"].assign_attrs(units="dB")):
        with pytest.raises(ValueError, match="expected intensity in linear power"):
            plot.backscatter(image)
