"""Networks for building heights: ResNet50 and its weights, that for series, and MBHR-Net."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from sarheight.buildings import (
    BuildingHeightEstimator,
    BuildingSettings,
    MBHRNet,
    load_resnet_weights,
)
from sarheight.buildings.distributions import HeightBins
from sarheight.buildings.mbhr import VARIANTS, published, regression_loss
from sarheight.buildings.resnet import ResNet50
from sarheight.buildings.training import BuildingTask, learn_novelty
from sarheight.errors import CheckpointError
from sarheight.learning import Channel
from tests.networks import assert_same_weights, shaken

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


def loaded(short: ResNet50, folder: Path, channels: int = 3, **options: Any) -> ResNet50:  # noqa: ANN401
    """Save its weights and load them into another network."""
    torch.save(short.state_dict(), folder / "weights.pth")
    network = ResNet50(channels, layers=1).eval()
    load_resnet_weights(network, folder / "weights.pth", **options)
    return network


@pytest.fixture(scope="module")
def series() -> BuildingHeightEstimator:
    torch.manual_seed(0)
    return shaken(BuildingHeightEstimator(CHANNELS, network="series", options=SMALL))


@pytest.fixture(scope="module")
def monthly() -> BuildingHeightEstimator:
    options = {"variant": "released"}
    return shaken(BuildingHeightEstimator(CHANNELS, network="mbhr", options=options))


def sample(months: int = 3, size: int = 16, batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (batch, months, 2, size, size)
    return {
        "sar": torch.rand(shape, generator=random) + 0.01,
        "optical": 0.5 * torch.rand(batch, months, 3, size, size, generator=random),
        "month": torch.arange(1, months + 1).expand(batch, months),
    }


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
    content: dict[str, Any] = {prefix + name: each for name, each in short.state_dict().items()}
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
    # Old weights have no counters of batches.
    old = {n: v for n, v in short.state_dict().items() if not n.endswith("tracked")}
    save_file(old, tmp_path / "weights.safetensors")
    assert load_resnet_weights(network, tmp_path / "weights.safetensors").left_out == ()


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_a_grey_image_gives_the_same_features_with_any_number_of_channels(
    short: ResNet50, tmp_path: Path, channels: int
) -> None:
    network = loaded(short, tmp_path, channels)
    grey = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        found, expected = (
            each.conv1(grey.expand(-1, count, -1, -1))
            for each, count in ((network, channels), (short, 3))
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_bands_choose_their_filters(short: ResNet50, tmp_path: Path) -> None:
    network = loaded(short, tmp_path, bands=[2, None, 0])
    theirs = short.conv1.weight
    expected = torch.stack([theirs[:, 2], theirs.mean(dim=1), theirs[:, 0]], dim=1)
    torch.testing.assert_close(network.conv1.weight, expected)
    for bands in ([0, 1], [0, 1, 3]):
        with pytest.raises(ValueError, match="expected 3 numbers from 0 to 2"):
            loaded(short, tmp_path, bands=bands)


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
    content = {n: v for n, v in (short.state_dict() | change).items() if v is not None}
    torch.save(content, tmp_path / "weights.pth")
    network = ResNet50(3, layers=1)
    before = deepcopy(network)
    with pytest.raises(CheckpointError, match=told):
        load_resnet_weights(network, tmp_path / "weights.pth")
    assert_same_weights(network, before)


class Strange:
    """Something a file of weights must not bring along."""


def test_files_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "args": Strange()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text.pth", "bad.safetensors"):
        (tmp_path / name).write_text("not weights")
    for name in ("code.pth", "text.pth", "list.pth", "absent.pth", "bad.safetensors"):
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


def test_the_order_of_months_does_not_matter(series: BuildingHeightEstimator) -> None:
    given_ = sample(5)
    turned = {name: each.flip(1) for name, each in given_.items()}
    with torch.inference_mode():
        one, other = series(given_), series(turned)
    # Novelty is none before training.
    assert one.novelty is None
    for mine, theirs in zip(one[:3], other[:3], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_missing_month_and_missing_values_are_ignored(series: BuildingHeightEstimator) -> None:
    gap = sample(4)
    for name in ("sar", "optical"):
        gap[name][:, 3] = torch.nan
    gap["optical"][:, 1, :, 4:8, 4:8] = torch.nan
    # How often a place was seen is told to the network: all else is the same.
    images, valid, month = series.inputs(gap)
    assert month.shape == (2, 4)
    for name, each in valid.items():
        assert not each[:, 3].any()
        assert (images[name][:, 3] == 0.0).all()
    # Values behind a gap do not reach the network.
    assert not valid["optical"][:, 1, :, 4:8, 4:8].any()
    assert (images["optical"][:, 1, :, 4:8, 4:8] == 0.0).all()
    assert valid["sar"][:, :3].all()
    encoder = series.network.network.months["sar"]
    season = torch.zeros(2, 4, 3)
    with torch.inference_mode():
        assert torch.isfinite(series(gap).height).all()
        torch.testing.assert_close(
            encoder(images["sar"], valid["sar"], season),
            encoder(images["sar"][:, :3], valid["sar"][:, :3], season[:, :3]),
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_patch_without_any_image_gives_nothing(
    series: BuildingHeightEstimator, monthly: BuildingHeightEstimator
) -> None:
    empty = sample()
    for name in ("sar", "optical"):
        empty[name][0] = torch.nan
    for model in (series, monthly):
        with torch.inference_mode():
            estimate = model(empty)
        for each in estimate:
            if each is not None:
                assert torch.isnan(each[0]).all()
                assert torch.isfinite(each[1]).all()


def test_estimates_of_several_months_are_their_mean(monthly: BuildingHeightEstimator) -> None:
    several = sample(3)
    several["sar"][:, 2] = torch.nan
    several["optical"][:, 2] = torch.nan
    with torch.inference_mode():
        found = monthly(several).height
        each = [monthly({n: v[:, m : m + 1] for n, v in several.items()}).height for m in range(2)]
    torch.testing.assert_close(found, torch.stack(each).mean(dim=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("absent", ["sar", "optical"])
def test_series_work_without_a_modality(series: BuildingHeightEstimator, absent: str) -> None:
    one, other = sample(), sample()
    del one[absent]
    other[absent][:] = torch.nan
    with torch.inference_mode():
        left_out, gap = series(one), series(other)
    torch.testing.assert_close(left_out.height, gap.height)
    assert torch.isfinite(left_out.height).all()


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


def test_estimators_survive_saving_in_full_and_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = shaken(BuildingHeightEstimator(CHANNELS, network="series", options=SMALL))
    model.network.temperatures.copy_(torch.tensor([1.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]))
    model.save_pretrained(tmp_path / "model", card={"data": "none"})
    with torch.inference_mode():
        expected = model(sample())
        again = BuildingHeightEstimator.from_pretrained(tmp_path / "model")
        for mine, other in zip(expected[:3], again(sample())[:3], strict=True):
            torch.testing.assert_close(mine, other)
        model.half().save_pretrained(tmp_path / "half")
        again = BuildingHeightEstimator.from_pretrained(tmp_path / "half")
        assert next(again.parameters()).dtype == torch.float32
        torch.testing.assert_close(again(sample()).height, expected.height, rtol=0.05, atol=0.05)
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    assert described["kind"] == "building heights"
    assert described["configuration"]["channels"]["sar"][0]["transform"] == "decibel"


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
    towns = town_images(3), town_images(3, level=10.0)
    with torch.inference_mode():
        usual, bright = (model(town) for town in towns)
        empty = model({"sar": torch.full((1, 6, 1, 32, 32), torch.nan)})
        distributions = [model.distribution(town) for town in towns]
    assert float((usual.novelty > 1.0).float().mean()) < 0.05
    assert float((bright.novelty > 1.5).float().mean()) > 0.5
    assert torch.isnan(empty.novelty).all()
    # Intervals never become narrower, and wider where images are new.
    for distribution, widest in zip(distributions, (1.5, float("inf")), strict=True):
        factor = model.network.widening(distribution)
        assert float(factor.min()) >= 1.0
        assert float(factor.median()) <= widest
    lower, upper = model.interval(distributions[1], 0.8)
    low, high = model.interval(distributions[1]._replace(novelty=None), 0.8)
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


# --- MBHR-Net -----------------------------------------------------------------------------------

AUTHORS = ("printed", "released")


@cache
def _made(variant: str, modality: str, skips: bool) -> MBHRNet:  # noqa: FBT001
    torch.manual_seed(0)
    return MBHRNet({modality: 2}, variant=variant, skips=skips).eval()


def network_of(variant: str, modality: str = "sar", *, skips: bool = True) -> MBHRNet:
    """Copy a network of one encoder, which takes less time than to make it."""
    return deepcopy(_made(variant, modality, skips))


def test_mbhr_net_is_two_resnets_and_a_decoder() -> None:
    network = MBHRNet({"sar": 4, "optical": 5}).eval()
    encoders = [sum(v.numel() for v in each.parameters()) for each in network.encoders.values()]
    bare = 25_557_032 - 2048 * 1000 - 1000
    # One filter of 7 x 7 for each of the 64 features more for each channel more.
    assert encoders == [bare + 64 * 49, bare + 2 * 64 * 49]
    with torch.inference_mode():
        height = network({"sar": torch.randn(2, 4, 32, 64), "optical": torch.randn(2, 5, 32, 64)})
    assert height.shape == (2, 1, 32, 64)
    assert (height >= 0.0).all()


def test_the_released_network_adds_instead_of_joining() -> None:
    network = shaken(MBHRNet({"sar": 3, "optical": 3}, variant="released"))
    assert network.stride == 16
    images = {name: torch.randn(1, 3, 16, 16) for name in ("sar", "optical")}
    with torch.inference_mode():
        height = network(images)
        # Sums do not know in which order they were taken.
        first, second = network.encoders["sar"], network.encoders["optical"]
        network.encoders["sar"], network.encoders["optical"] = second, first
        swapped = network({"sar": images["optical"], "optical": images["sar"]})
    torch.testing.assert_close(height, swapped)


@pytest.mark.parametrize(
    ("variant", "modality", "skips"),
    [
        ("printed", "optical", False),
        ("released", "sar", True),
        ("released", "sar", False),
        ("ours", "sar", False),
    ],
)
def test_fine_scales_matter_by_skips_alone(
    variant: str,
    modality: str,
    skips: bool,  # noqa: FBT001
) -> None:
    network = shaken(network_of(variant, modality, skips=skips))
    image = {modality: torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))}
    with torch.inference_mode():
        plain = network(image)
        network.encoders[modality].register_forward_hook(
            lambda _module, _inputs, scales: [torch.zeros_like(scales[0]), *scales[1:]]
        )
        assert torch.equal(plain, network(image)) is not skips
    assert plain.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_channel_that_was_zero_in_training_is_not_amplified(variant: str) -> None:
    """After a ReLU the variance of a channel can be zero: its first light must not outshine all."""
    for step in network_of(variant).decoder:
        convolution, _, normalisation = step[1]
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.ones_(convolution.bias)
        torch.nn.init.zeros_(normalisation.running_var)
        with torch.inference_mode():
            lit = step(torch.ones(1, convolution.in_channels, 2, 2))
        assert 1.0 < float(lit.max()) < 32.0


# --- where the authors' code differs from ours ---------------------------------------------------


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_authors_finest_skip_comes_before_normalisation(variant: str) -> None:
    network = network_of(variant)
    first = network.encoders["sar"].bn1
    # Behind this normalisation nothing is left of the image.
    torch.nn.init.zeros_(first.weight)
    torch.nn.init.zeros_(first.bias)
    torch.nn.init.constant_(network.head.bias, 100.0)
    with torch.inference_mode():
        one, other = (network({"sar": value * torch.ones(1, 2, 32, 32)}) for value in (1.0, 2.0))
        assert torch.equal(one, other) is (variant not in AUTHORS)
        plain = network.encoders["sar"](torch.ones(1, 2, 32, 32), plain=True)[0]
    torch.testing.assert_close(plain, network.encoders["sar"].conv1(torch.ones(1, 2, 32, 32)))
    with torch.device("meta"):
        assert MBHRNet({"sar": 2}, variant=variant, plain_skip=False).plain_skip is False


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_authors_take_the_cosine_of_columns(variant: str) -> None:
    # Rows (3, 4) and (0, 0): the first column is right, the second is wrong by a factor, which no
    # cosine minds; as one vector the patch is turned.
    truth = torch.tensor([[3.0, 4.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    found = torch.tensor([[3.0, 8.0], [3.0, 8.0]]).view(1, 1, 2, 2)
    vectors = published(variant)["vectors"]
    loss = float(regression_loss(found, truth, (0.0, 1.0), vectors))
    patch = 1.0 - (9.0 + 32.0) / (5.0 * 73.0**0.5)
    assert loss == pytest.approx(0.0 if variant in AUTHORS else patch, abs=1e-6)
    # A column without a building has a cosine of 0; a patch without one does not count.
    truth[..., 0] = 0.0
    half = float(regression_loss(found, truth, (0.0, 1.0), "column"))
    assert half == pytest.approx(0.5, abs=1e-6)
    empty = torch.zeros_like(truth)
    assert float(regression_loss(found, empty, (0.0, 1.0), "column")) == pytest.approx(1.0)
    assert float(regression_loss(found, empty, (0.0, 1.0), "patch")) == 0.0


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_settings_of_the_variants_and_what_plateau_and_stopping_go_by(variant: str) -> None:
    settings = BuildingSettings.published(variant, optical_bands=())
    theirs = variant in AUTHORS
    assert settings.least_rate == (1e-5 if theirs else 1e-6)
    assert (settings.batch, settings.size) == ((4, 128) if theirs else (16, 64))
    assert settings.monitored == ("validation_loss" if theirs else "validation_rmse")
    assert settings.keep == ("last" if theirs else "best")
    assert settings.clip == (None if theirs else 1.0)
    assert (settings.rate, settings.epochs, settings.patience) == (1e-4, 50, 20)
    weights = VARIANTS[variant].weights
    assert weights == ((0.4, 0.6) if variant == "released" else (0.2, 0.8))
    assert len(settings.sar_bands) == (2 if variant == "released" else 4)
    channels = {"sar": [Channel(name, "1") for name in settings.sar_bands]}
    with torch.device("meta"):
        network = BuildingHeightEstimator(channels, network="mbhr", options=settings.options)
    task = BuildingTask(network, settings, 5.0)
    (adam,), (plateau,) = task.configure_optimizers()
    assert isinstance(adam, torch.optim.Adam)
    assert task.monitored == plateau["monitor"] == settings.monitored
    schedule = plateau["scheduler"]
    for _ in range(100):
        schedule.step(1.0)
    assert adam.param_groups[0]["lr"] == pytest.approx(settings.least_rate)


# --- the loss ------------------------------------------------------------------------------------


def test_the_published_loss_is_squared_error_and_angle() -> None:
    truth = torch.tensor([3.0, 4.0, 0.0, 0.0]).view(1, 1, 2, 2)
    found = torch.tensor([3.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    expected = 0.2 * 16.0 / 4.0 + 0.8 * (1.0 - 3.0 / 5.0)
    assert float(regression_loss(found, truth, (0.2, 0.8))) == pytest.approx(expected)
    # The angle does not mind the size, and is taken for each patch.
    assert float(regression_loss(2.0 * truth, truth, (0.0, 1.0))) == pytest.approx(0.0, abs=1e-6)
    both = regression_loss(torch.cat([truth, found]), torch.cat([truth, truth]), (0.0, 1.0))
    assert float(both) == pytest.approx(0.5 * (1.0 - 3.0 / 5.0), abs=1e-6)
    # A patch without buildings has no angle.
    flat = regression_loss(torch.ones_like(truth), torch.zeros_like(truth), (0.2, 0.8))
    assert float(flat) == pytest.approx(0.2)
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    regression_loss(zero, torch.ones(1, 1, 2, 2), (0.2, 0.8)).backward()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()
