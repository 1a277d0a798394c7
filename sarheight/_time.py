"""UTC times as seconds since an epoch, and back."""

from __future__ import annotations

import numpy as np

__all__ = ["nanoseconds", "seconds_between", "whole_second"]


def nanoseconds(time: np.datetime64) -> np.datetime64:
    """Return a time (UTC) counted in nanoseconds."""
    counted: np.datetime64 = time.astype("datetime64[ns]")
    return counted


def seconds_between(earlier: np.datetime64, later: np.datetime64) -> float:
    """Return the seconds from one time to another, exact to a nanosecond."""
    apart = nanoseconds(later) - nanoseconds(earlier)
    return float(apart.astype(np.int64) * 1e-9)


def whole_second(time: np.datetime64) -> np.datetime64:
    """Return a time without the fraction of its second."""
    return nanoseconds(time.astype("datetime64[s]"))
