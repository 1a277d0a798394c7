"""Statistics of channels, against NumPy over all values at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.learning import Channel, ChannelStatistics


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6),
    st.floats(-1e4, 1e4),
    st.integers(0, 2**32 - 1),
)
def test_statistics_do_not_depend_on_the_parts(sizes: list[int], offset: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = [offset + random.normal(size=size) for size in [*sizes, 7]]
    for part in parts:
        part[random.random(part.size) < 0.1] = np.nan
    parts[-1][:2] = offset, offset + 1.0
    statistics = ChannelStatistics([Channel("a", "m")])
    for part in parts:
        statistics.update({"a": part})
    (found,) = statistics.channels()
    whole = np.concatenate(parts)
    assert found.mean == pytest.approx(np.nanmean(whole), rel=1e-12, abs=1e-9)
    assert found.std == pytest.approx(np.nanstd(whole), rel=1e-6)


def test_statistics_are_those_after_the_transform() -> None:
    power = np.array([[1.0, 0.1], [0.0, np.nan]], dtype=np.float32)
    statistics = ChannelStatistics([Channel("a", "1", "decibel"), Channel("b", "1", "log")])
    statistics.update({"a": power})
    statistics.update({"b": power})
    decibels, logarithms = statistics.channels()
    expected = np.array([0.0, -10.0, -60.0])
    assert (decibels.mean, decibels.std) == pytest.approx((expected.mean(), expected.std()))
    assert logarithms.mean == pytest.approx(np.log1p([1.0, 0.1, 0.0]).mean())


def test_channels_that_do_not_vary_are_refused() -> None:
    statistics = ChannelStatistics([Channel(name, "1") for name in "abc"])
    statistics.update({"a": np.arange(4.0), "b": np.full(9, 0.1, np.float32)})
    with pytest.raises(ValueError, match=r"in b \(9 values.*, c \(0 values"):
        statistics.channels()
    statistics.update({"b": [5.0]})
    with pytest.raises(ValueError, match="expected channels that vary"):
        statistics.channels()
    assert statistics.channels(allow_empty=True)[2] == Channel("c", "1")
