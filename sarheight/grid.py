"""Radar grids: the azimuth time and slant range of every pixel of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight._runtime import Described
from sarheight.ellipsoid import SPEED_OF_LIGHT, LookSide, look_sign
from sarheight.ground_range import (
    GroundRange,
    RangeInterpolation,
    ground_range_over,
)
from sarheight.orbit import closest_approach, ground_speed, nanoseconds, seconds_between

if TYPE_CHECKING:
    from sarheight.doppler import DopplerLUT
    from sarheight.orbit import Orbit

__all__ = ["Burst", "RadarGrid", "require_positive"]
__dir__ = __all__.copy  # `dir` lists the public names

Floats = NDArray[np.float64]

BISTATIC_RANGES = (0.5, 2.0)
"""Limits of `bistatic_range` in parts of the near range: it lies in the middle of a swath, and the
far range of a spaceborne radar is below twice the near range."""

RECORD_INTERVAL = 1.0
"""Seconds between the ground-range records of a simulated image, as in a GRD."""


@dataclass(frozen=True)
class Burst:
    """The position of a burst in the continuous grid of its swath.

    Attributes
    ----------
    index : int
        Number of the burst in its swath, from 0. In the image file it begins at line
        ``index * lines``.
    first_line : int
        Line of the grid at which the burst begins. Bursts overlap by some 150 lines.
    lines : int
        Number of lines.
    azimuth_time : float
        Time of its first line in seconds since the grid's epoch.
    valid_lines, valid_samples : tuple of int
        First and one past the last line of the burst, and sample, with data. The samples are
        valid on all of these lines.
    """

    index: int
    first_line: int
    lines: int
    azimuth_time: float
    valid_lines: tuple[int, int]
    valid_samples: tuple[int, int]


@dataclass(frozen=True, kw_only=True, repr=False)
class RadarGrid(Described):
    """The sampling of a radar image.

    Pixel coordinates are fractional; whole numbers are pixel centres. Lines follow zero-Doppler
    time, samples follow slant range or ground range. With a `doppler` centroid, the time
    at which a point is seen at the centroid takes the place of its zero-Doppler time.

    Sentinel-1 images have a residual bistatic delay of up to a fifth of a GRDH line: the processor
    corrects the travel time of the pulse for the middle of the swath only, so the nominal time of
    a line (that of its number) is its zero-Doppler time at one slant range,

        zero-Doppler time = nominal time + (slant range - `bistatic_range`) / c.

    `azimuth_time` and `line` apply this delay if they are given a slant range.

    Parameters
    ----------
    epoch : datetime64
        Time (UTC) from which seconds are counted.
    line_zero_time : float
        Nominal time of the centre of line 0 in seconds since `epoch`.
    line_interval : float
        Seconds between lines.
    lines, samples : int
        Size of the image.
    near_range : float
        Slant range of the centre of sample 0 in metres; on a ground-range grid that of line 0.
    sample_spacing : float
        Metres between samples: of slant range, or of ground range on a ground-range grid.
    look_side : {"right", "left"}
        The side to which the radar looks.
    wavelength : float
        In metres.
    ground_range : GroundRange, optional
        Conversion between slant range and ground range; None on a slant-range grid.
    sample_zero_ground : float
        Ground range of the centre of sample 0 in metres.
    bistatic_range : float, optional
        Slant range in metres at which the nominal time of a line is its zero-Doppler time; None
        if it is so everywhere.
    doppler : DopplerLUT, optional
        Doppler centroid to which the image is focused, with times since `epoch`; None for zero
        Doppler, as of Sentinel-1. It must cover the image, which is checked where it is used.
    looks : float
        Equivalent number of looks.
    polarisations : tuple of str
        Such as ("VV", "VH").
    mission, mode, product, swath : str
        Such as "S1A", "IW", "GRD", "IW".
    bursts : tuple of Burst
        The bursts of an SLC; empty for other images and once the grid is cropped or multilooked.

    Raises
    ------
    ValueError
        If a size is not a whole number above zero, a value is not finite or not above zero,
        or `bistatic_range` is far from the slant ranges of the image.

    References
    ----------
    Small, D. and Schubert, A. (2019). Guide to Sentinel-1 Geocoding, UZH-S1-GC-AD, issue 1.10:
    the bistatic residual correction.
    """

    epoch: np.datetime64
    line_zero_time: float
    line_interval: float
    lines: int
    samples: int
    near_range: float
    sample_spacing: float
    ground_range: GroundRange | None = None
    sample_zero_ground: float = 0.0
    bistatic_range: float | None = None
    doppler: DopplerLUT | None = None
    look_side: LookSide = "right"
    wavelength: float = SPEED_OF_LIGHT / 5.405e9
    looks: float = 1.0
    polarisations: tuple[str, ...] = ()
    mission: str = ""
    mode: str = ""
    product: str = ""
    swath: str = ""
    bursts: tuple[Burst, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        look_sign(self.look_side)
        object.__setattr__(self, "epoch", nanoseconds(self.epoch))
        for name in ("lines", "samples"):
            count = getattr(self, name)
            if count != int(count) or count < 1:
                msg = f"found {name}={count!r}, expected a whole number above zero"
                raise ValueError(msg)
            object.__setattr__(self, name, int(count))
        for name in ("line_interval", "near_range", "sample_spacing", "wavelength", "looks"):
            require_positive(name, getattr(self, name))
        if self.bistatic_range is not None:
            nearest, farthest = (factor * self.near_range for factor in BISTATIC_RANGES)
            if not nearest <= self.bistatic_range <= farthest:
                msg = (
                    f"found bistatic_range={self.bistatic_range!r}, expected a slant range like "
                    f"those of the image, from {nearest:.0f} to {farthest:.0f} m"
                )
                raise ValueError(msg)
        if not math.isfinite(self.line_zero_time) or np.isnat(self.epoch):
            msg = (
                f"found line_zero_time={self.line_zero_time!r} since {self.epoch}, expected "
                "seconds since a time"
            )
            raise ValueError(msg)

    @classmethod
    def over(
        cls,
        orbit: Orbit,
        latitude: float,
        longitude: float,
        *,
        lines: int,
        samples: int,
        height: float = 0.0,
        line_spacing: float = 10.0,
        sample_spacing: float = 10.0,
        ground_range: bool = True,
        look_side: LookSide = "right",
        looks: float = 1.0,
    ) -> RadarGrid:
        """Make the grid of a simulated image that is centred on a place.

        The incidence angle is the one under which the orbit passes the place; rotate the orbit
        by `sarheight.orbit.look_at` for another one.

        Parameters
        ----------
        orbit : Orbit
            An orbit that passes the place.
        latitude, longitude : float
            The place, in degrees, that lies in the centre of the image.
        lines, samples : int
            Size of the image.
        height : float
            Height of the place above the ellipsoid in metres.
        line_spacing : float
            Metres between lines, on the ground.
        sample_spacing : float
            Metres between samples: of ground range, or of slant range.
        ground_range : bool
            Whether samples follow ground range (like those of a GRD, on the ellipsoid raised by
            `height`) or slant range (like those of an SLC).
        look_side : {"right", "left"}
            The side to which the radar looks.
        looks : float
            Equivalent number of looks.

        Returns
        -------
        RadarGrid
            With the orbit's epoch.

        Raises
        ------
        ValueError
            If the place lies on the other side of the orbit, or the image reaches beyond what
            the satellite sees.
        OrbitCoverageError
            If the orbit does not pass the place, or is too short for the image.
        """
        side = look_sign(look_side)
        time, middle = closest_approach(orbit, (latitude, longitude, height), side)
        line_interval = line_spacing / ground_speed(orbit, time, middle, side)
        half_time = line_interval * (lines - 1) / 2
        orbit.require_cover(time - half_time, time + half_time)
        half_swath = sample_spacing * (samples - 1) / 2
        near_range, conversion = middle - half_swath, None
        if ground_range:
            records = max(math.ceil(half_time / RECORD_INTERVAL), 1)
            times = time + RECORD_INTERVAL * np.arange(-records, records + 1)
            times = np.clip(times, orbit.time[0], orbit.stop)
            conversion = ground_range_over(
                orbit, times, middle, half_swath, half_swath, side, height
            )
            near_range = float(conversion.slant(0.0, time - half_time))
        return cls(
            epoch=orbit.epoch,
            line_zero_time=time - half_time,
            line_interval=line_interval,
            lines=lines,
            samples=samples,
            near_range=near_range,
            sample_spacing=sample_spacing,
            look_side=look_side,
            ground_range=conversion,
            looks=looks,
            product="simulated",
        )

    def facts(self) -> dict[str, str]:
        """Return the product, the time, the sampling and the swath, by name, as text."""
        named = " ".join(filter(None, (self.mission, self.mode, self.product, self.swath)))
        frequency = f"{1e-9 * SPEED_OF_LIGHT / self.wavelength:.4g} GHz"
        first, last = (
            np.datetime_as_string(self.epoch + np.timedelta64(round(time * 1e9), "ns"), unit="ms")
            for time in (self.first_time, self.last_time)
        )
        near, far = (float(self.slant_range(0, s)) / 1000 for s in (0, self.samples - 1))
        kind = "ground range" if self.is_ground_range else "slant range"
        bursts = f", {len(self.bursts)} bursts" if self.bursts else ""
        return {
            "image": ", ".join(filter(None, (named, *self.polarisations, frequency))),
            "time": f"{first} to {last} UTC, {self.last_time - self.first_time:.2f} s",
            "size": f"{self.lines} lines × {self.samples} samples{bursts}, {self.looks:.3g} looks",
            "spacing": f"{1000 * self.line_interval:.4g} ms × {self.sample_spacing:.4g} m, {kind}",
            "swath": f"{near:.1f} to {far:.1f} km of slant range, to the {self.look_side}"
            + ("" if self.doppler is None else ", at a native Doppler centroid"),
        }

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
            Slant range in metres. By default the nominal time of the line is returned, which on
            a grid with a `bistatic_range` differs by up to a fifth of a line.

        Returns
        -------
        array
        """
        nominal = self.line_zero_time + np.asarray(line, dtype=np.float64) * self.line_interval
        return nominal + self._bistatic_delay(slant_range)

    def line(self, azimuth_time: ArrayLike, slant_range: ArrayLike | None = None) -> Floats:
        """Return the lines at zero-Doppler times in seconds since the epoch.

        Parameters
        ----------
        azimuth_time : array_like
            Zero-Doppler times.
        slant_range : array_like, optional
            Slant range in metres; by default the times are nominal times of lines.

        Returns
        -------
        array
        """
        nominal = np.asarray(azimuth_time, dtype=np.float64) - self._bistatic_delay(slant_range)
        return (nominal - self.line_zero_time) / self.line_interval

    def _bistatic_delay(self, slant_range: ArrayLike | None) -> Floats | float:
        """Return zero-Doppler time minus nominal time in seconds."""
        if self.bistatic_range is None or slant_range is None:
            return 0.0
        return np.asarray(
            (np.asarray(slant_range, dtype=np.float64) - self.bistatic_range) / SPEED_OF_LIGHT
        )

    def slant_range(self, line: ArrayLike, sample: ArrayLike) -> Floats:
        """Return the slant range of pixels in metres.

        Parameters
        ----------
        line, sample : array_like
            Pixel coordinates. On a slant-range grid the line is not used.

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
            Zero-Doppler times in seconds since the epoch. Not used on a slant-range grid.

        Returns
        -------
        array
        """
        ranges, times = np.broadcast_arrays(
            np.asarray(slant_range, dtype=np.float64), np.asarray(azimuth_time, dtype=np.float64)
        )
        if self.ground_range is None:
            return (ranges - self.near_range) / self.sample_spacing
        ground = self.ground_range.ground(ranges, times - self._bistatic_delay(ranges))
        return (ground - self.sample_zero_ground) / self.sample_spacing

    def require_doppler(self) -> None:
        """Refuse a Doppler centroid that does not cover the image.

        Raises
        ------
        ValueError
            If the image reaches beyond the table by more than a kilometre.
        """
        if self.doppler is None:
            return
        lines, samples = np.array([0, self.lines - 1]), np.array([0, self.samples - 1])
        ranges = self.slant_range(lines[:, None], samples)
        times = self.azimuth_time(lines[:, None], ranges)
        self.doppler.require_cover(
            (float(times.min()), float(times.max())), (float(ranges.min()), float(ranges.max()))
        )

    def line_spacing(self, orbit: Orbit) -> float:
        """Return the distance between lines on the ground, in metres, in the image's middle."""
        line, sample = (self.lines - 1) / 2, (self.samples - 1) / 2
        slant_range = float(self.slant_range(line, sample))
        time = float(self.azimuth_time(line, slant_range))
        speed = ground_speed(
            orbit.with_epoch(self.epoch),
            time,
            slant_range,
            look_sign(self.look_side),
            self.closing_speed(time, np.array([slant_range])),
        )
        return speed * self.line_interval

    def closing_speed(self, azimuth_time: float, slant_range: Floats) -> Floats | float:
        """Return the speed at which points come closer in metres per second; 0 at zero Doppler."""
        if self.doppler is None:
            return 0.0
        times = np.full(slant_range.shape, azimuth_time)
        return 0.5 * self.wavelength * self.doppler.at(times, slant_range)

    def with_epoch(self, epoch: np.datetime64) -> RadarGrid:
        """Return the same grid with seconds counted from another time (UTC)."""
        later = seconds_between(nanoseconds(epoch), self.epoch)
        return replace(
            self,
            epoch=nanoseconds(epoch),
            line_zero_time=self.line_zero_time + later,
            ground_range=None if self.ground_range is None else self.ground_range.shift_time(later),
            doppler=None if self.doppler is None else self.doppler.shift_time(later),
            bursts=tuple(
                replace(burst, azimuth_time=burst.azimuth_time + later) for burst in self.bursts
            ),
        )

    def with_range_interpolation(self, interpolation: RangeInterpolation) -> RadarGrid:
        """Return the same ground-range grid with another interpolation between its records.

        Parameters
        ----------
        interpolation : {"linear", "nearest"}
            How slant range goes from one record of the ground-range polynomials to the next; see
            `GroundRange`. Annotations are read with "linear".

        Returns
        -------
        RadarGrid

        Raises
        ------
        ValueError
            If the grid is in slant range, or the interpolation is unknown.
        """
        if self.ground_range is None:
            msg = (
                f"found a slant-range grid and interpolation={interpolation!r}, expected a grid "
                "in ground range: only that has records between which to interpolate"
            )
            raise ValueError(msg)
        return replace(self, ground_range=replace(self.ground_range, interpolation=interpolation))

    def shift(self, line: float, sample: float) -> RadarGrid:
        """Return the grid whose pixel (`line`, `sample`) has the position of this one's (0, 0).

        A place that this grid has at (l, s) lies at (l + line, s + sample) of the new one.

        Parameters
        ----------
        line, sample : float
            The shift in pixels.

        Returns
        -------
        RadarGrid
            Of the same size; the lines of bursts keep their numbers.
        """
        earlier = line * self.line_interval
        ground = sample * self.sample_spacing if self.is_ground_range else 0.0
        return replace(
            self,
            line_zero_time=float(self.azimuth_time(-line)),
            near_range=float(self.slant_range(-line, -sample)),
            sample_zero_ground=self.sample_zero_ground - ground,
            bursts=tuple(
                replace(burst, azimuth_time=burst.azimuth_time - earlier) for burst in self.bursts
            ),
        )

    def crop(self, line: slice = slice(None), sample: slice = slice(None)) -> RadarGrid:
        """Return the grid of a part of the image.

        Parameters
        ----------
        line, sample : slice
            First and one past the last line, and sample; by default all.

        Returns
        -------
        RadarGrid
            Without bursts.

        Raises
        ------
        IndexError
            If the part is empty or reaches beyond the image: nothing is clipped.
        """
        first_line, lines = _part(line, self.lines, "lines")
        first_sample, samples = _part(sample, self.samples, "samples")
        return replace(
            self.shift(-first_line, -first_sample), lines=lines, samples=samples, bursts=()
        )

    def multilook(self, lines: int, samples: int, *, looks: float | None = None) -> RadarGrid:
        """Return the grid of an image whose pixels are averaged in windows.

        The centre of the new pixel (0, 0) is the centre of the first window. Lines and samples
        that do not fill a window are dropped.

        Parameters
        ----------
        lines, samples : int
            Size of a window in pixels.
        looks : float, optional
            Equivalent number of looks of the result. By default that of the image times
            the pixels of a window: the upper limit, which is too high where neighbouring pixels
            are correlated, as in Sentinel-1 images.

        Returns
        -------
        RadarGrid
            Without bursts.

        Raises
        ------
        ValueError
            If the window is empty or larger than the image.
        """
        for name, window in (("lines", lines), ("samples", samples)):
            size = getattr(self, name)
            if window != int(window) or not 1 <= window <= size:
                msg = (
                    f"found a window of {window} {name}, expected a whole number from 1 to the "
                    f"{size} {name} of the image"
                )
                raise ValueError(msg)
        return replace(
            self.shift(-(lines - 1) / 2, -(samples - 1) / 2),
            lines=self.lines // lines,
            samples=self.samples // samples,
            line_interval=self.line_interval * lines,
            sample_spacing=self.sample_spacing * samples,
            looks=self.looks * lines * samples if looks is None else looks,
            bursts=(),
        )


def require_positive(name: str, value: float) -> None:
    """Refuse a value that is not a number above zero."""
    if not (math.isfinite(value) and value > 0.0):
        msg = f"found {name}={value!r}, expected a number above zero, in seconds or metres"
        raise ValueError(msg)


def _part(part: slice, size: int, name: str) -> tuple[int, int]:
    """Return begin and length of a slice that lies within an axis."""
    begin = 0 if part.start is None else part.start
    end = size if part.stop is None else part.stop
    if part.step not in {None, 1} or not 0 <= begin < end <= size:
        msg = (
            f"found {name} {part.start} to {part.stop} in steps of {part.step}, expected a part of "
            f"0 to {size} without steps: an image cannot be cropped beyond its edge"
        )
        raise IndexError(msg)
    return int(begin), int(end - begin)
