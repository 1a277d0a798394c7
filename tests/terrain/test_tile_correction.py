"""The network on top of refinement: what it sees, where it applies, and what it adds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch")

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from sarheight.dem import reproject
from sarheight.learning import packaged_model
from sarheight.learning.tiles import Tiling
from sarheight.scene import Scene
from sarheight.terrain import (
    RefinementNetwork,
    RefinementSettings,
    back_project,
    draw_known_elevations,
    refine,
)
from sarheight.terrain.refinement_network import (
    CHANNELS,
    ImageLayers,
    correction_channels,
    estimate_correction,
    look_direction,
    mirrored,
    prepare_correction,
)

Floats = NDArray[np.float32]
SHAPE = 45, 54
FAST = RefinementSettings(iterations=1, steps=6, samples=2)
HALF, WIDER = 0.5, 1.25


def network_of(correction: float = 0.4, **described: object) -> RefinementNetwork:
    """Make a network that corrects each cell by the same part of its standard deviation."""
    anchors = [
        {"images": images, "looks": 20.0, "share": HALF, "scale": WIDER} for images in (1, 2)
    ]
    options = {"width": 4, "depth": 1}
    network = RefinementNetwork(options=options, **{"calibration": anchors, **described})  # type: ignore[arg-type]
    for member in network.members:
        member.head.bias.data[0] = correction  # type: ignore[union-attr]
    return network.eval()


@pytest.fixture(scope="module")
def place(coarse: xr.DataArray) -> xr.DataArray:
    """A part of the coarse DEM: what a network adds does not depend on how much ground there is."""
    return coarse[6:24, 6:28]


@pytest.fixture(scope="module")
def plain(passes: list[Scene], place: xr.DataArray) -> xr.Dataset:
    return refine(passes, place, settings=FAST, coregister="none")


# Channels.


def made_layers(seed: int, scale: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Draw back-projected and refined heights, and their standard deviation."""
    random = np.random.default_rng(seed)
    base, change = (
        gaussian_filter(random.standard_normal(SHAPE), length).astype(np.float32)
        for length in (6.0, 2.0)
    )
    sigma = 2.0 + random.random(SHAPE, dtype=np.float32)
    return scale * 600.0 * base, scale * (600.0 * base + 10.0 * change), scale * sigma


def made_image(seed: int) -> ImageLayers:
    """Draw an image that does not see some of the ground."""
    random = np.random.default_rng(seed)
    residual, gamma0 = random.standard_normal((2, *SHAPE), dtype=np.float32)
    residual[20:24, 10:20] = np.nan
    return ImageLayers(residual, gamma0 - 9.0, 40.0 + 8.0 * gamma0)


def channels_of(
    layers: tuple[Floats, ...], images: list[ImageLayers | None], *, posting: float = 30.0
) -> Floats:
    """Compute channels of ground of which every twentieth row of coarse cells is void."""
    filled = np.arange(layers[0].shape[0])[:, None] % 20 < 3
    filled = np.broadcast_to(filled, layers[0].shape)
    return correction_channels(
        *layers[:3], images, filled=filled, looks=4.0, posting=posting, factor=3
    )


def test_channels_of_larger_heights_differ_in_the_size_of_the_deviation_only() -> None:
    """All else is in standard deviations, and so is the correction."""
    images = [made_image(1), None]
    one, two = (channels_of(made_layers(0, scale), images) for scale in (1.0, 2.0))
    differ = CHANNELS.index("log_sigma")
    same = np.arange(len(CHANNELS)) != differ
    np.testing.assert_allclose(one[same], two[same], atol=1e-4)
    np.testing.assert_allclose(two[differ] - one[differ], np.log(2.0), rtol=1e-4)
    assert np.isfinite(one).all()
    unseen = one[CHANNELS.index("seen_increasing")] == 0.0
    assert unseen.sum() == 40
    assert (one[CHANNELS.index("residual_increasing")][unseen] == 0.0).all()
    assert (one[CHANNELS.index("residual_decreasing") :] == 0.0).all()
    assert set(np.unique(one[CHANNELS.index("filled")])) == {0.0, 1.0}
    wide = channels_of(made_layers(0), images, posting=60.0)
    told = CHANNELS.index("log_posting")
    np.testing.assert_allclose(wide[told] - one[told], np.log(2.0), rtol=1e-5)
    np.testing.assert_array_equal(np.delete(wide, told, axis=0), np.delete(one, told, axis=0))


@pytest.mark.parametrize(("rows", "columns"), [(True, False), (False, True), (True, True)])
def test_channels_of_a_mirrored_world_are_the_mirrored_channels(
    *, rows: bool, columns: bool
) -> None:
    """Along the columns, the images change places."""
    steps = slice(None, None, -1 if rows else 1), slice(None, None, -1 if columns else 1)
    layers, images = made_layers(2), [made_image(3), made_image(4)]
    turned = [ImageLayers(*(each[steps] for each in image)) for image in images]
    filled = np.random.default_rng(5).random(SHAPE) < 0.2

    def channels(layers: Sequence[Floats], images: list[ImageLayers], void: Floats) -> Floats:
        return correction_channels(*layers, images, filled=void, looks=4.0, posting=45.0, factor=3)

    found = mirrored(channels(layers, images, filled), rows=rows, columns=columns)
    expected = channels(
        [each[steps] for each in layers], turned[::-1] if columns else turned, filled[steps]
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_estimate_does_not_depend_on_how_the_world_is_mirrored() -> None:
    """It is the mean over mirror images, the same at every call, and nothing before training."""
    torch.manual_seed(0)
    network = RefinementNetwork(options={"width": 4, "depth": 2}, members=2)
    untrained = estimate_correction(network, channels_of(made_layers(0), [None, made_image(1)]))
    assert [(each.min(), each.max()) for each in untrained] == [(0.0, 0.0), (1.0, 1.0)]
    for values in network.parameters():
        values.data = values.data + 0.01
    inputs = channels_of(made_layers(5), [made_image(6), made_image(7)])
    # A multiple of the stride: what is padded lies behind the last row and column.
    inputs = np.ascontiguousarray(inputs[:, :44, :52])
    found, scale = estimate_correction(network, inputs)
    turned = estimate_correction(network, mirrored(inputs, rows=True, columns=True))[0]
    np.testing.assert_allclose(found[::-1, ::-1], turned, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found, estimate_correction(network, inputs)[0])
    assert found.std() > 0.0
    assert scale.min() > 0.0


# What it adds.


def test_a_correction_is_added_in_the_share_in_which_it_is_believed(
    passes: list[Scene], place: xr.DataArray, plain: xr.Dataset
) -> None:
    found = refine(passes, place, settings=FAST, coregister="none", network=network_of())
    added = HALF * 0.4 * plain["height_sigma"]
    np.testing.assert_allclose(found["correction"], added, rtol=1e-4)
    np.testing.assert_allclose(found["height"] - found["correction"], plain["height"], atol=1e-3)
    np.testing.assert_allclose(found["height_sigma"], WIDER * plain["height_sigma"], rtol=1e-4)
    assert json.loads(found.attrs["network"]) == {"used": True}
    assert "correction" not in plain
    assert "network" not in plain.attrs


def test_a_correction_has_the_same_bits_for_any_number_of_threads(
    passes: list[Scene], place: xr.DataArray
) -> None:
    """The number of threads of PyTorch stays what it was."""
    network = RefinementNetwork.from_pretrained(packaged_model("refinement"))
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            result = refine(passes, place, settings=FAST, coregister="none", network=network)
            found.append(result["correction"].values)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(*found)


def test_known_elevations_are_kriged_after_the_correction(
    passes: list[Scene], coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    """A network that lifts all heights does no harm where elevations are known."""
    known = draw_known_elevations(truth, 40, sigma=0.2, seed=1)
    raised = network_of(8.0)
    found, without = (
        refine(passes, coarse, known, settings=FAST, coregister="none", network=each)
        for each in (raised, None)
    )
    lifted = float(found["correction"].mean())
    assert lifted > 5.0
    inside = {"y": slice(9, -9), "x": slice(9, -9)}
    off = float((found["height"] - without["height"]).isel(inside).mean())
    assert abs(off) < 0.3 * lifted


@pytest.mark.parametrize(
    ("tiling", "factor", "lazy"),
    [(None, 3, False), (Tiling(45, 9), 3, False), (None, 3, True), (None, 2, False)],
)
def test_a_network_is_told_of_voids_and_of_the_posting(
    passes: list[Scene], place: xr.DataArray, *, tiling: Tiling | None, factor: int, lazy: bool
) -> None:
    """In tiles, in parts and as a whole, what it adds is what the two channels say."""
    network = network_of()

    class Told(torch.nn.Module):
        stride = 1

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            told = inputs[:, [CHANNELS.index(name) for name in ("filled", "log_posting")]]
            correction = told.sum(dim=1)
            return torch.stack([correction, torch.zeros_like(correction)], dim=1)

    network.members[0] = Told()
    void = place.copy(data=place.values.copy())
    void[4:7, 8:12] = np.nan
    found = refine(
        passes,
        void.chunk({"y": 15}) if lazy else void,
        factor=factor,
        settings=FAST,
        coregister="none",
        tiling=tiling,
        network=network,
    )
    share = (found["correction"] * WIDER / (HALF * found["height_sigma"])).values
    # Heights of 30 m, or of 45 m where a coarse cell is divided by two.
    expected = found["filled"].values + np.log(90.0 / factor / 30.0)
    np.testing.assert_allclose(share, expected, atol=5e-3)
    assert 0.0 < float(found["filled"].mean()) < 0.2


def test_a_correction_rests_on_the_images_that_reach_a_cell(
    passes: list[Scene], coarse: xr.DataArray
) -> None:
    """Where neither does there is none, and where one does it is believed as that by one."""
    anchors = [
        {"images": 1, "looks": 20.0, "share": 0.4, "scale": 1.0},
        {"images": 2, "looks": 20.0, "share": 0.8, "scale": 1.0},
    ]
    network = network_of(calibration=anchors)
    image = passes[0].image
    west = replace(passes[0], image=image.where(image.sample < image.sizes["sample"] // 2))
    alone, both = (
        refine(each, coarse[8:22], settings=FAST, coregister="none", network=network)
        for each in (west, [west, passes[1]])
    )
    columns = (alone["passes"] > 0).any("y").values.nonzero()[0]
    beyond = slice(int(columns[-1]) + 25, None)
    assert 20 < columns[-1] < 80
    for result, least, most in ((alone, 0.0, 0.4), (both, 0.4, 0.8)):
        share = result["correction"] / (0.4 * result["height_sigma"])
        np.testing.assert_allclose(share[:, beyond], least, rtol=1e-4)
        np.testing.assert_allclose(share[:, : columns[0] + 5], most, rtol=1e-4)


def test_corrections_fade_out_beyond_the_incidences_of_training(
    passes: list[Scene], place: xr.DataArray
) -> None:
    """In the middle they are full, two degrees beyond they are 0."""
    full, far = (
        refine(
            passes,
            place,
            settings=FAST,
            coregister="none",
            network=network_of(training_range={"incidence": limits}),
        )
        for limits in ((20.0, 60.0), (50.0, 60.0))
    )
    assert float(full["correction"].min()) > 0.0
    assert (far["correction"] == 0.0).all()
    assert float(far["height_sigma"].max()) < float(full["height_sigma"].max())


def test_how_far_a_correction_is_believed_depends_on_images_and_looks() -> None:
    anchors = [
        {"images": 2, "looks": 4.0, "share": 0.9, "scale": 1.0},
        {"images": 2, "looks": 100.0, "share": 0.5, "scale": 4.0},
    ]
    network = network_of(calibration=anchors)
    assert network.calibrated(2, 1.0) == pytest.approx((0.9, 1.0))
    assert network.calibrated(2, 20.0) == pytest.approx((0.7, 2.5))
    assert network.calibrated(2, 1000.0) == pytest.approx((0.5, 4.0))
    assert network.calibrated(1, 4.0) == (0.0, 1.0)


# Where it applies.


def test_look_directions_on_the_grid(passes: list[Scene], coarse: xr.DataArray) -> None:
    """Sentinel-1 looks eastwards a little to the north, and westwards a little to the north."""
    up, down = (look_direction(each, coarse) for each in passes)
    assert -25.0 < up < 0.0
    assert abs(down) > 155.0
    # North is not quite the direction of the columns beside the zone's meridian.
    assert abs(down) == pytest.approx(180.0 - abs(up), abs=3.0)
    # Columns that run westwards.
    assert abs(look_direction(passes[0], coarse[:, ::-1])) == pytest.approx(180.0 + up, abs=0.1)
    # Cells in degrees.
    degrees = reproject(coarse, "EPSG:4326", 0.001)
    assert look_direction(passes[0], degrees) == pytest.approx(up, abs=2.0)


@pytest.mark.parametrize(
    ("images", "stated", "settings", "message"),
    [
        ((0, 1), {"posting": (10.0, 20.0)}, {}, "posting of 30.0 m, and it was trained with 10 to"),
        ((0, 1), {"cells": (2, 2)}, {}, "a coarse cell has 3 cells along an axis"),
        ((0, 1), {"stated_error": (4.5, 4.5)}, {"error": 9.0}, "stated error of the DEM is 9 m"),
        ((0, 1), {"look_direction": (0.0, 2.0)}, {}, "degrees off the rows of the grid"),
        ((0, 1), {}, {"samples": 0}, "samples=0"),
        ((0, 1), {}, {"error_length": 200.0}, "error_length=200.0, and it was trained with None"),
        ((0, 0), {}, {}, "several images look in the same direction"),
    ],
)
def test_a_network_is_not_used_beyond_its_training(
    passes: list[Scene],
    place: xr.DataArray,
    images: tuple[int, int],
    stated: dict[str, tuple[float, float]],
    settings: dict[str, float],
    message: str,
) -> None:
    network, surface = network_of(training_range=stated), back_project(place, factor=3)
    chosen = replace(FAST, **settings)  # type: ignore[arg-type]
    scenes = [passes[each] for each in images]
    correction, reason = prepare_correction(network, scenes, surface, 3, chosen)
    assert correction is None
    assert message in reason


def test_a_network_that_is_not_used_leaves_the_heights_of_refinement(
    passes: list[Scene], place: xr.DataArray, plain: xr.Dataset
) -> None:
    """And a warning says why."""
    network = network_of(training_range={"cells": (2, 2)})
    with pytest.warns(RuntimeWarning, match="the network is not used: a coarse cell has 3 cells"):
        found = refine(passes, place, settings=FAST, coregister="none", network=network)
    described = json.loads(found.attrs.pop("network"))
    assert not described["used"]
    assert "a coarse cell has 3 cells" in described["reason"]
    xr.testing.assert_identical(found, plain)


# The network itself.


def test_a_saved_network_is_the_same(tmp_path: Path) -> None:
    network = network_of(members=2, training_range={"posting": (30.0, 30.0)})
    folder = network.save_pretrained(tmp_path / "model")
    found = RefinementNetwork.from_pretrained(folder)
    assert found.configuration() == network.configuration()
    inputs = torch.randn(1, len(CHANNELS), 8, 8)
    torch.testing.assert_close(found(inputs), network(inputs))


def test_the_network_of_the_library_is_small_and_does_no_harm(
    passes: list[Scene], coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    folder = packaged_model("refinement")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 5_000_000
    card = json.loads((folder / "config.json").read_text("utf-8"))["card"]
    assert {"data", "licence", "figures", "limits"} <= set(card)
    network = RefinementNetwork.from_pretrained(folder)
    found = refine(passes, coarse, coregister="none", network=network)
    assert json.loads(found.attrs["network"]) == {"used": True}
    inside = found.isel(y=slice(9, -9), x=slice(9, -9))
    before, after, added = (
        float(np.sqrt(np.mean(values.values.astype(np.float64) ** 2)))
        for values in (
            inside["height"] - inside["correction"] - truth,
            inside["height"] - truth,
            inside["correction"],
        )
    )
    assert after < 1.02 * before
    # It corrects: by less than the error that it predicts, and not by nothing.
    assert 0.05 * before < added < before
