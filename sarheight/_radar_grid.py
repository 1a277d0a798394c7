"""The sampling of a radar image: which time and which range each pixel stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sarheight._annotation_xml import read_annotation
from sarheight._bursts import Burst
from sarheight._constants import SPEED_OF_LIGHT
from sarheight._ground_range import GroundRange, RangeInterpolation
from sarheight._sampling import Sampling, require_positive
from sarheight._time import nanoseconds, seconds_between
from sarheight._viewing import LookSide, look_sign

if TYPE_CHECKING:
    from sarheight._xml import XmlSource
    from sarheight.orbit import Orbit

__all__ = ["Burst", "GroundRange", "RadarGrid"]


@dataclass(frozen=True, kw_only=True)
class RadarGrid(Sampling):
    """The sampling of a radar image.

    Pixel coordinates are fractional; whole numbers are pixel centres. Lines follow zero-Doppler
    time, samples follow slant range or ground range.

    Sentinel-1 images carry a small shear along azimuth, of up to a fifth of a GRDH pixel: the
    processor corrects the travel time of the pulse for the middle of the swath, so that the
    stamp of a line is its zero-Doppler time at one range only. There

        zero-Doppler time = stamp of the line + (slant range - `stamp_range`) / c.

    `azimuth_time` and `line` follow this where they are given a slant range.

    Parameters
    ----------
    epoch : datetime64
        The time (UTC) from which seconds count.
    line_zero_time : float
        Stamp of the centre of line 0 in seconds since `epoch`.
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
        Conversion between slant range and ground range; left out on a slant-range grid.
    sample_zero_ground : float
        Ground range of the centre of sample 0 in metres.
    stamp_range : float, optional
        Slant range in metres at which a line's stamp is its zero-Doppler time; left out where it
        is so everywhere.
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
        If a value makes no sense.

    References
    ----------
    Small, D. and Schubert, A. (2019). Guide to Sentinel-1 Geocoding, UZH-S1-GC-AD, issue 1.10:
    the bistatic residual correction.
    """

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
        super().__post_init__()
        look_sign(self.look_side)
        for name in ("wavelength", "looks"):
            require_positive(name, getattr(self, name))

    @classmethod
    def from_annotation(cls, source: XmlSource, *, burst: int | None = None) -> RadarGrid:
        """Read the grid of a Sentinel-1 image.

        A GRD has the lines and samples of its image file. The bursts of an IW or EW SLC overlap;
        its grid is by default the continuous one that remains when they are merged: lines at a
        steady interval from the first line of the first burst to the last line of the last one.
        `bursts` says where each lies in it.

        Between the records of a GRD's ground-range polynomials slant range is interpolated
        linearly; see `with_range_interpolation` for the other way.

        The equivalent number of looks is that of ESA's product definition (4.4 for an IW GRDH),
        or for products that are not listed there the number of looks that were averaged.

        Parameters
        ----------
        source : str, path or bytes
            Path of an annotation XML of a GRD or SLC, plain or compressed with xz, or its
            contents.
        burst : int, optional
            Take the grid of this burst alone, counted from 0.

        Returns
        -------
        RadarGrid
            Its epoch is the time of the image's first line, without the fraction of the second,
            as is that of the orbit from the same annotation.

        Raises
        ------
        AnnotationError
            If the file is cut short, foreign, unsafe, or lacks something.
        IndexError
            If there is no such burst.
        OSError
            If the file cannot be read.
        """
        from sarheight._sentinel1_grid import burst_grid, swath_grid

        annotation = read_annotation(source)
        grid = swath_grid(annotation)
        return grid if burst is None else burst_grid(grid, burst, annotation.name)

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

        The incidence angle is the one under which the orbit passes the place; see
        `sarheight.orbit.look_at` for turning an orbit until it is the wanted one.

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
        from sarheight._simulated_grid import grid_over

        return grid_over(
            orbit,
            (latitude, longitude, height),
            (lines, samples),
            (line_spacing, sample_spacing),
            look_side,
            ground_range=ground_range,
            looks=looks,
        )

    def line_spacing(self, orbit: Orbit) -> float:
        """Return the distance between lines on the ground, in metres, in the image's middle."""
        from sarheight._simulated_grid import ground_speed

        line, sample = (self.lines - 1) / 2, (self.samples - 1) / 2
        slant_range = float(self.slant_range(line, sample))
        time = float(self.azimuth_time(line, slant_range))
        speed = ground_speed(
            orbit.with_epoch(self.epoch), time, slant_range, look_sign(self.look_side)
        )
        return speed * self.line_interval

    def with_epoch(self, epoch: np.datetime64) -> RadarGrid:
        """Return the same grid with seconds counted from another time (UTC)."""
        later = seconds_between(nanoseconds(epoch), self.epoch)
        return replace(
            self,
            epoch=nanoseconds(epoch),
            line_zero_time=self.line_zero_time + later,
            ground_range=None if self.ground_range is None else self.ground_range.delayed(later),
            bursts=tuple(
                replace(burst, azimuth_time=burst.azimuth_time + later) for burst in self.bursts
            ),
        )

    def with_range_interpolation(self, interpolation: RangeInterpolation) -> RadarGrid:
        """Return the same ground-range grid with its records used in another way.

        Parameters
        ----------
        interpolation : {"linear", "nearest"}
            How slant range goes from one record of the ground-range polynomials to the next; see
            `GroundRange`. Annotations are read as "linear".

        Returns
        -------
        RadarGrid

        Raises
        ------
        ValueError
            If the grid is in slant range, or the interpolation is none of these.
        """
        if self.ground_range is None:
            msg = (
                f"found a slant-range grid and interpolation={interpolation!r}, expected a grid "
                "in ground range: only that has records between which to interpolate"
            )
            raise ValueError(msg)
        return replace(self, ground_range=replace(self.ground_range, interpolation=interpolation))

    def crop(self, line: slice = slice(None), sample: slice = slice(None)) -> RadarGrid:
        """Return the grid of a part of the image.

        Parameters
        ----------
        line, sample : slice
            First and one past the last line, and sample; all of them where left out.

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
            self._moved(first_line, first_sample), lines=lines, samples=samples, bursts=()
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
            Equivalent number of looks of the result. Left out, that of the image times the
            pixels of a window: as many as there can be, and too many where neighbouring pixels
            are correlated, as those of Sentinel-1 are.

        Returns
        -------
        RadarGrid
            Without bursts.

        Raises
        ------
        ValueError
            If the window is empty or larger than the image.
        """
        for name, window, size in (
            ("lines", lines, self.lines),
            ("samples", samples, self.samples),
        ):
            if window != int(window) or not 1 <= window <= size:
                msg = (
                    f"found a window of {window} {name}, expected a whole number from 1 to the "
                    f"{size} {name} of the image"
                )
                raise ValueError(msg)
        return replace(
            self._moved((lines - 1) / 2, (samples - 1) / 2),
            lines=self.lines // lines,
            samples=self.samples // samples,
            line_interval=self.line_interval * lines,
            sample_spacing=self.sample_spacing * samples,
            looks=self.looks * lines * samples if looks is None else looks,
            bursts=(),
        )

    def _moved(self, line: float, sample: float) -> RadarGrid:
        """Return the grid whose pixel (0, 0) is at the given place of this one."""
        return replace(
            self,
            line_zero_time=float(self.azimuth_time(line)),
            near_range=float(self.slant_range(line, sample)),
            sample_zero_ground=self.sample_zero_ground
            + (sample * self.sample_spacing if self.is_ground_range else 0.0),
        )


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
