"""Networks for building heights: ResNet50 and its weights, and that for series."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from sarheight.buildings import (
    BuildingHeightEstimator,
    load_resnet_weights,
)
from sarheight.buildings.distributions import HeightBins
from sarheight.buildings.resnet import ResNet50
from sarheight.buildings.training import learn_novelty
from sarheight.errors import CheckpointError
from sarheight.learning import Channel

Module = TypeVar("Module", bound="nn.Module")

CHANNELS = {
    "sar": [Channel(name, "1", "decibel", -10.0, 5.0) for name in ("vv", "vh")],
    "optical": [Channel(name, "1", "none", 0.2, 0.1) for name in ("B04", "B08", "B11")],
}
SMALL = {"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}}


@pytest.fixture(scope="module")
def resnet() -> ResNet50:
    torch.manual_seed(0)
    return ResNet50(3).eval()


@pytest.fixture(scope="module")
def short() -> ResNet50:
    """The beginning of a ResNet50, which has all kinds of parts, and is quick."""
    torch.manual_seed(0)
    return ResNet50(3, layers=1).eval()


@pytest.fixture(scope="module")
def series() -> BuildingHeightEstimator:
    torch.manual_seed(0)
    return shaken(BuildingHeightEstimator(CHANNELS, network="series", options=SMALL))


def shaken(model: Module) -> Module:
    """Give a network random weights everywhere, also where it begins with zeros."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=random))
    return model.eval()


def sample(months: int = 3, size: int = 16, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (batch, months, 2, size, size)
    return {
        "sar": torch.rand(shape, generator=random) + 0.01,
        "optical": 0.5 * torch.rand(batch, months, 3, size, size, generator=random),
        "month": torch.arange(1, months + 1).expand(batch, months),
    }


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


# --- ResNet50 ------------------------------------------------------------------------------------


def test_resnet50_has_the_names_and_shapes_of_public_weights(resnet: ResNet50) -> None:
    # Made from the table of the paper: blocks, widths, and how their parts are named.
    expected: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}
    norms = {"bn1": 64}
    incoming = 64
    for layer, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
        for block in range(blocks):
            stem = f"layer{layer + 1}.{block}"
            shapes = ((width, incoming, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for number, shape in enumerate(shapes, start=1):
                expected[f"{stem}.conv{number}.weight"] = shape
                norms[f"{stem}.bn{number}"] = shape[0]
            if block == 0:
                expected[f"{stem}.downsample.0.weight"] = (4 * width, incoming, 1, 1)
                norms[f"{stem}.downsample.1"] = 4 * width
            incoming = 4 * width
    for name, width in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.{part}"] = (width,)
        expected[f"{name}.num_batches_tracked"] = ()
    assert {name: tuple(each.shape) for name, each in resnet.state_dict().items()} == expected


def test_resnet50_halves_the_image_five_times(resnet: ResNet50) -> None:
    with torch.inference_mode():
        scales = resnet(torch.rand(1, 3, 64, 96))
    found = [tuple(each.shape[1:]) for each in scales]
    assert found == [(64, 32, 48), (256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3)]
    assert resnet.stride == 32
    # The stride is that of the 3 x 3 convolution.
    block = resnet.get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "wrapper"),
    [("", None), ("module.encoder_q.", "state_dict"), ("module.backbone.", "teacher")],
)
def test_weights_load_from_any_training_program(
    short: ResNet50, tmp_path: Path, prefix: str, wrapper: str | None
) -> None:
    content: dict[str, Any] = {prefix + name: each for name, each in weights_of(short).items()}
    others = {"module.queue"} if prefix else set()
    head = {prefix + "fc.weight", prefix + "layer2.0.conv1.weight"}
    content |= dict.fromkeys(others | head, torch.zeros(2, 2))
    path = tmp_path / "weights.pth"
    torch.save({wrapper: content, "epoch": 99} if wrapper else content, path)
    network = ResNet50(3, layers=1)
    found = load_resnet_weights(network, path)
    assert (found.prefix, found.channels) == (prefix, 3)
    # What is not taken is told.
    assert set(found.left_out) == others | head
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, short.state_dict()[name], rtol=0, atol=0)


def test_weights_load_from_safetensors(short: ResNet50, tmp_path: Path) -> None:
    # Old weights have no counters of batches.
    old = {n: v for n, v in weights_of(short).items() if not n.endswith("tracked")}
    save_file(old, tmp_path / "weights.safetensors")
    found = load_resnet_weights(ResNet50(3, layers=1), tmp_path / "weights.safetensors")
    assert found.left_out == ()
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_resnet_weights(ResNet50(3, layers=1), tmp_path / "bad.safetensors")


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_a_grey_image_gives_the_same_features_with_any_number_of_channels(
    short: ResNet50, tmp_path: Path, channels: int
) -> None:
    torch.save(weights_of(short), tmp_path / "weights.pth")
    network = ResNet50(channels, layers=1).eval()
    load_resnet_weights(network, tmp_path / "weights.pth")
    grey = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.conv1(grey.expand(-1, channels, -1, -1)),
            short.conv1(grey.expand(-1, 3, -1, -1)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_bands_choose_their_filters(short: ResNet50, tmp_path: Path) -> None:
    torch.save(weights_of(short), tmp_path / "weights.pth")
    network = ResNet50(3, layers=1)
    load_resnet_weights(network, tmp_path / "weights.pth", bands=[2, None, 0])
    theirs = short.conv1.weight
    expected = torch.stack([theirs[:, 2], theirs.mean(dim=1), theirs[:, 0]], dim=1)
    torch.testing.assert_close(network.conv1.weight, expected)
    for bands in ([0, 1], [0, 1, 3]):
        with pytest.raises(ValueError, match="expected 3 numbers from 0 to 2"):
            load_resnet_weights(network, tmp_path / "weights.pth", bands=bands)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layer1.2.conv2.weight": None}, r"Missing key.* \"layer1.2.conv2.weight\""),
        ({"layer1.9.conv1.weight": torch.zeros(1)}, r"Unexpected key.* \"layer1.9.conv1.weight\""),
        ({"bn1.weight": torch.zeros(32)}, r"mismatch for bn1.weight: .*\[32\]"),
        ({"conv1.weight": None}, "found no conv1.weight"),
        ({"conv1.weight": torch.zeros(64)}, "four dimensions"),
    ],
)
def test_a_mismatch_is_an_error_that_names_it(
    short: ResNet50, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    content = {n: v for n, v in (weights_of(short) | change).items() if v is not None}
    torch.save(content, tmp_path / "weights.pth")
    network = ResNet50(3, layers=1)
    before = weights_of(network)
    with pytest.raises(CheckpointError, match=told):
        load_resnet_weights(network, tmp_path / "weights.pth")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


class Strange:
    """Something a file of weights must not bring along."""


def test_files_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "args": Strange()}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("not weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("code.pth", "text.pth", "list.pth", "absent.pth"):
        with pytest.raises(CheckpointError, match=name):
            load_resnet_weights(ResNet50(3, layers=1), tmp_path / name)


# --- distributions of heights --------------------------------------------------------------------


@given(height=st.floats(1.5, 200.0))
@settings(max_examples=50, deadline=None)
def test_soft_labels_of_a_height_keep_its_mean(height: float) -> None:
    bins = HeightBins(16)
    shares = bins.soft_labels(torch.tensor([height]))
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(bins.mean(shares[..., None, None])) == pytest.approx(height, rel=1e-4)


def test_heights_beyond_the_values_count_as_the_last() -> None:
    bins = HeightBins(4, 2.0, 16.0)
    shares = bins.soft_labels(torch.tensor([0.5, 300.0]))
    torch.testing.assert_close(shares, torch.eye(4)[[0, 3]])


def test_quantiles_and_spread_agree_with_many_draws() -> None:
    bins = HeightBins(8, 2.0, 100.0)
    chances = torch.softmax(torch.randn(8, generator=torch.Generator().manual_seed(0)), dim=0)
    random = torch.Generator().manual_seed(1)
    which = torch.multinomial(chances, 200_000, replacement=True, generator=random)
    low, high = bins.edges[which], bins.edges[which + 1]
    drawn = low + torch.rand(len(which), generator=random) * (high - low)
    map_ = chances[None, :, None, None]
    for level in (0.1, 0.5, 0.9):
        found = bins.quantile(map_, torch.full((1, 1, 1, 1), level))
        assert float(found) == pytest.approx(float(drawn.quantile(level)), rel=0.02)
    values = bins.values[which]
    about = torch.full((1, 1, 1, 1), 10.0)
    spread = float(((values - 10.0) ** 2).mean())
    assert float(bins.mean_square_deviation(map_, about)) == pytest.approx(spread, rel=0.02)


# --- the network for series ----------------------------------------------------------------------


def test_the_network_for_series_is_small() -> None:
    channels = {
        "sar": [Channel(str(number), "1", "decibel") for number in range(4)],
        "optical": [Channel(str(number), "1") for number in range(12)],
    }
    model = BuildingHeightEstimator(channels, network="series")
    count = sum(value.numel() for value in model.parameters())
    assert count <= 10_000_000
    # Two bytes for each are what may be shipped.
    assert 2 * count <= 5_000_000


def test_the_order_of_months_does_not_matter(series: BuildingHeightEstimator) -> None:
    given_ = sample(5)
    turned = {name: each.flip(1) for name, each in given_.items()}
    with torch.inference_mode():
        one, other = series(given_), series(turned)
    # Novelty is none before training.
    assert one.novelty is None
    for mine, theirs in zip(one[:3], other[:3], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_missing_month_is_ignored(
    series: BuildingHeightEstimator,
) -> None:
    full = sample(4)
    short = {name: each[:, :3] for name, each in full.items()}
    gap = {name: each.clone() for name, each in full.items()}
    for name in ("sar", "optical"):
        gap[name][:, 3] = torch.nan
    with torch.inference_mode():
        expected, found = series(short), series(gap)
    assert torch.isfinite(found.height).all()
    # How often a place was seen is told to the network: all else is the same.
    images, valid, month = series.inputs(gap)
    seen = {name: each[:, :3] for name, each in images.items()}
    for name, each in valid.items():
        assert not each[:, 3].any()
        assert (images[name][:, 3] == 0.0).all()
    encoder = series.network.network.months["sar"]
    season = torch.zeros(2, 4, 3)
    with torch.inference_mode():
        torch.testing.assert_close(
            encoder(images["sar"], valid["sar"], season),
            encoder(seen["sar"], valid["sar"][:, :3], season[:, :3]),
            rtol=1e-4,
            atol=1e-5,
        )
    assert expected.height.shape == found.height.shape
    assert month.shape == (2, 4)


def test_missing_values_are_masked(series: BuildingHeightEstimator) -> None:
    """Values behind a gap do not reach the network."""
    one = sample(3)
    one["optical"][:, 1, :, 4:8, 4:8] = torch.nan
    images, valid, _ = series.inputs(one)
    assert not valid["optical"][:, 1, :, 4:8, 4:8].any()
    assert (images["optical"][:, 1, :, 4:8, 4:8] == 0.0).all()
    assert valid["sar"].all()


@pytest.mark.parametrize("network", ["series", "mbhr"])
def test_a_patch_without_any_image_gives_nothing(network: str) -> None:
    options = SMALL if network == "series" else {"variant": "released"}
    model = shaken(BuildingHeightEstimator(CHANNELS, network=network, options=options))
    empty = sample()
    for name in ("sar", "optical"):
        empty[name][0] = torch.nan
    with torch.inference_mode():
        estimate = model(empty)
    for each in estimate:
        if each is not None:
            assert torch.isnan(each[0]).all()
            assert torch.isfinite(each[1]).all()


@pytest.mark.parametrize("absent", ["sar", "optical"])
def test_series_work_without_a_modality(series: BuildingHeightEstimator, absent: str) -> None:
    one, other = sample(), sample()
    del one[absent]
    other[absent][:] = torch.nan
    with torch.inference_mode():
        left_out, gap = series(one), series(other)
    torch.testing.assert_close(left_out.height, gap.height)
    assert torch.isfinite(left_out.height).all()


def test_estimates_of_several_months_are_their_mean() -> None:
    model = shaken(
        BuildingHeightEstimator(CHANNELS, network="mbhr", options={"variant": "released"})
    )
    several = sample(3)
    several["sar"][:, 2] = torch.nan
    several["optical"][:, 2] = torch.nan
    with torch.inference_mode():
        found = model(several).height
        each = [model({n: v[:, m : m + 1] for n, v in several.items()}).height for m in range(2)]
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_mean_and_standard_deviation_are_those_of_the_distribution(
    series: BuildingHeightEstimator,
) -> None:
    given_ = sample()
    with torch.inference_mode():
        found = series.distribution(given_)
        estimate = series(given_)
        lower, upper = series.interval(found, 0.8)
    built = torch.sigmoid(found.built)
    chances = torch.softmax(found.heights, dim=1)
    values = series.network.bins.values.view(1, -1, 1, 1)
    mean = built * (chances * values).sum(dim=1, keepdim=True)
    square = built * (chances * values**2).sum(dim=1, keepdim=True)
    torch.testing.assert_close(estimate.height, mean)
    sigma = torch.sqrt((square - mean**2).clamp(min=0.0))
    torch.testing.assert_close(estimate.sigma, sigma, rtol=1e-3, atol=1e-3)
    assert ((estimate.footprint >= 0.0) & (estimate.footprint <= 1.0)).all()
    assert (lower <= upper).all()
    # Where a building is unlikely, the interval reaches down to the ground.
    assert (lower[built < 0.89] == 0.0).all()


def test_estimators_survive_saving(series: BuildingHeightEstimator, tmp_path: Path) -> None:
    series.network.temperatures.copy_(torch.tensor([1.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]))
    series.save_pretrained(tmp_path / "model", card={"data": "none"})
    again = BuildingHeightEstimator.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        for mine, other in zip(series(sample())[:3], again(sample())[:3], strict=True):
            torch.testing.assert_close(mine, other)
    series.network.temperatures.fill_(1.0)
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    assert described["kind"] == "building heights"
    assert described["configuration"]["channels"]["sar"][0]["transform"] == "decibel"


def test_weights_may_be_kept_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = shaken(BuildingHeightEstimator(CHANNELS, network="series", options=SMALL))
    with torch.inference_mode():
        expected = model(sample()).height
        model.half().save_pretrained(tmp_path / "model")
        again = BuildingHeightEstimator.from_pretrained(tmp_path / "model")
        assert next(again.parameters()).dtype == torch.float32
        torch.testing.assert_close(again(sample()).height, expected, rtol=0.05, atol=0.05)


# --- the novelty of images -----------------------------------------------------------------------


def town_images(seed: int, *, level: float = 1.0) -> dict[str, torch.Tensor]:
    """Make radar images of two kinds of ground, gamma-distributed about 0.05 and 0.5."""
    random = torch.Generator().manual_seed(seed)
    ground = torch.full((1, 1, 1, 32, 32), 0.05)
    ground[..., 16:] = 0.5
    looks = (-torch.log(torch.rand(4, 6, 1, 32, 32, generator=random))).clamp(min=1e-3)
    return {"sar": level * ground * looks, "month": torch.arange(6).expand(4, 6) + 1}


def test_novelty_is_small_for_what_was_seen_and_rises_for_what_was_not() -> None:
    torch.manual_seed(0)
    channels = {"sar": [Channel("vv", "1", "decibel", -8.0, 6.0)]}
    model = BuildingHeightEstimator(channels, options=SMALL).eval()
    assert model(town_images(0)).novelty is None
    learn_novelty(model, [town_images(0), town_images(1)], [town_images(2)])
    with torch.inference_mode():
        usual, bright = model(town_images(3)), model(town_images(3, level=10.0))
        empty = model({"sar": torch.full((1, 6, 1, 32, 32), torch.nan)})
    assert float((usual.novelty > 1.0).float().mean()) < 0.05
    assert float((bright.novelty > 1.5).float().mean()) > 0.5
    assert torch.isnan(empty.novelty).all()
    # Intervals never become narrower, and wider where images are new.
    for town, widest in ((town_images(3), 1.5), (town_images(3, level=10.0), float("inf"))):
        with torch.inference_mode():
            distribution = model.distribution(town)
            factor = model.network.widening(distribution)
        assert float(factor.min()) >= 1.0
        assert float(factor.median()) <= widest
    with torch.inference_mode():
        known = model.distribution(town_images(3, level=10.0))
        lower, upper = model.interval(known, 0.8)
        low, high = model.interval(known._replace(novelty=None), 0.8)
    assert float((upper - lower).mean()) > float((high - low).mean())


def test_a_modality_that_is_absent_is_not_new() -> None:
    torch.manual_seed(0)
    channels = {
        "sar": [Channel("vv", "1", "decibel", -8.0, 6.0)],
        "optical": [Channel("B04", "1", "none", 0.1, 0.1)],
    }
    model = BuildingHeightEstimator(channels, options=SMALL).eval()
    both = [
        town_images(seed) | {"optical": 0.2 * town_images(seed + 9)["sar"].clamp(max=3.0)}
        for seed in (0, 1, 2)
    ]
    learn_novelty(model, both[:2], both[2:])
    with torch.inference_mode():
        alone = model(town_images(3)).novelty
        distances = model(both[2]).novelty
    assert float(alone.median()) == pytest.approx(float(distances.median()), rel=0.5)
