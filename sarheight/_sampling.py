"""Which zero-Doppler time and which slant range the pixels of a radar image stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight._constants import SPEED_OF_LIGHT
from sarheight._time import nanoseconds

if TYPE_CHECKING:
    from sarheight._ground_range import GroundRange

__all__ = ["Sampling", "require_positive"]

Floats = NDArray[np.float64]


def require_positive(name: str, value: float) -> None:
    """Refuse a value that is not a number above zero."""
    if not (math.isfinite(value) and value > 0.0):
        msg = f"found {name}={value!r}, expected a number above zero, in seconds or metres"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The part of `RadarGrid` that places pixels in time and range; see there."""

    epoch: np.datetime64
    line_zero_time: float
    line_interval: float
    lines: int
    samples: int
    near_range: float
    sample_spacing: float
    ground_range: GroundRange | None = None
    sample_zero_ground: float = 0.0
    stamp_range: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "epoch", nanoseconds(self.epoch))
        for name in ("lines", "samples"):
            count = getattr(self, name)
            if count != int(count) or count < 1:
                msg = f"found {name}={count!r}, expected a whole number above zero"
                raise ValueError(msg)
            object.__setattr__(self, name, int(count))
        for name in ("line_interval", "near_range", "sample_spacing"):
            require_positive(name, getattr(self, name))
        if not math.isfinite(self.line_zero_time) or np.isnat(self.epoch):
            msg = (
                f"found line_zero_time={self.line_zero_time!r} since {self.epoch}, expected "
                "seconds since a time"
            )
            raise ValueError(msg)

    @property
    def is_ground_range(self) -> bool:
        """Whether samples follow ground range."""
        return self.ground_range is not None

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""
        return self.lines, self.samples

    @property
    def first_time(self) -> float:
        """Earliest zero-Doppler time of a pixel centre, in seconds since the epoch."""
        return float(self.azimuth_time(0, self.slant_range(0, 0)))

    @property
    def last_time(self) -> float:
        """Latest zero-Doppler time of a pixel centre, in seconds since the epoch."""
        line, sample = self.lines - 1, self.samples - 1
        return float(self.azimuth_time(line, self.slant_range(line, sample)))

    def azimuth_time(self, line: ArrayLike, slant_range: ArrayLike | None = None) -> Floats:
        """Return the zero-Doppler time of lines in seconds since the epoch.

        Parameters
        ----------
        line : array_like
            Lines.
        slant_range : array_like, optional
            Slant range in metres. Left out, the stamp of the line is returned, which on a grid
            with a `stamp_range` differs from the time by up to a fifth of a line.

        Returns
        -------
        array
        """
        stamp = self.line_zero_time + np.asarray(line, dtype=np.float64) * self.line_interval
        return stamp + self._delay(slant_range)

    def line(self, azimuth_time: ArrayLike, slant_range: ArrayLike | None = None) -> Floats:
        """Return the lines at zero-Doppler times in seconds since the epoch.

        Parameters
        ----------
        azimuth_time : array_like
            Zero-Doppler times.
        slant_range : array_like, optional
            Slant range in metres; left out, the times are taken for stamps of lines.

        Returns
        -------
        array
        """
        stamp = np.asarray(azimuth_time, dtype=np.float64) - self._delay(slant_range)
        return (stamp - self.line_zero_time) / self.line_interval

    def _delay(self, slant_range: ArrayLike | None) -> Floats | float:
        """Return by how much zero-Doppler time is later than the stamp of the line."""
        if self.stamp_range is None or slant_range is None:
            return 0.0
        delay: Floats = (np.asarray(slant_range, dtype=np.float64) - self.stamp_range) / (
            SPEED_OF_LIGHT
        )
        return delay

    def slant_range(self, line: ArrayLike, sample: ArrayLike) -> Floats:
        """Return the slant range of pixels in metres.

        Parameters
        ----------
        line, sample : array_like
            Pixel coordinates. On a slant-range grid the line makes no difference.

        Returns
        -------
        array
        """
        lines, samples = np.broadcast_arrays(
            np.asarray(line, dtype=np.float64), np.asarray(sample, dtype=np.float64)
        )
        distance = samples * self.sample_spacing
        if self.ground_range is None:
            return self.near_range + distance
        return self.ground_range.slant(self.sample_zero_ground + distance, self.azimuth_time(lines))

    def sample(self, slant_range: ArrayLike, azimuth_time: ArrayLike) -> Floats:
        """Return the samples at slant ranges in metres.

        Parameters
        ----------
        slant_range : array_like
            Slant ranges.
        azimuth_time : array_like
            Zero-Doppler times in seconds since the epoch. On a slant-range grid they make no
            difference.

        Returns
        -------
        array
        """
        ranges, times = np.broadcast_arrays(
            np.asarray(slant_range, dtype=np.float64), np.asarray(azimuth_time, dtype=np.float64)
        )
        if self.ground_range is None:
            return (ranges - self.near_range) / self.sample_spacing
        ground = self.ground_range.ground(ranges, times - self._delay(ranges))
        return (ground - self.sample_zero_ground) / self.sample_spacing
