"""Radar grids of Sentinel-1: of a GRD, of an SLC's bursts and swaths, and of swaths merged.

All bursts and swaths of an SLC were sampled in step. In real annotations the first lines of bursts
lie within 3e-4 lines (0.6 µs, 4 mm) of whole lines of one grid, which is the microsecond to which
annotations give times; swaths are within 1e-9 samples and 5e-4 lines (1 µs) of whole pixels of each
other. Swaths also share the slant range at which line times are zero-Doppler times, to within 60 m
or 0.2 µs; any difference is counted as a shift of the lines. So merging moves bursts and swaths by
whole pixels; nothing is resampled.

References
----------
Sentinel-1 Product Specification, S1-RSL-52-7441: swathTiming. Sentinel-1 Product Definition,
S1-RS-MDA-52-7440: bursts of all swaths of an SLC are resampled to a common grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import AnnotationError, ProductError
from sarheight.grid import Burst, RadarGrid
from sarheight.ground_range import GroundRange
from sarheight.orbit import seconds_between, whole_second
from sarheight.sentinel1.annotation import (
    Annotation,
    BurstTiming,
    Floats,
    Spectrum,
    read_annotation,
)

if TYPE_CHECKING:
    from sarheight.sentinel1.document import XmlSource

EQUIVALENT_LOOKS = {
    ("SM", 3.5): 3.7,
    ("SM", 10.0): 29.7,
    ("SM", 40.0): 398.4,
    ("IW", 10.0): 4.4,
    ("IW", 40.0): 81.8,
    ("EW", 25.0): 2.7,
    ("EW", 40.0): 10.7,
    ("WV", 25.0): 123.7,
}
"""Looks of ground-range products by mode and pixel spacing in metres: Sentinel-1 Product
Definition, S1-RS-MDA-52-7440, table 5-1."""

AZIMUTH_TOLERANCE = 1e-4
"""Seconds by which lines may differ from those of the grid into which they are merged."""

RANGE_TOLERANCE = 0.05
"""Metres of slant range by which samples may differ from those of the grid."""

GEOLOCATION_TOLERANCE = 3.0
"""Pixels by which the grid of an annotation may differ from the geolocation points in it. In real
annotations lines differ by up to 0.2, as points are corrected for the travel time of the pulse, and
samples by 0.002. A GRD of the Alps differs by up to 1.5 samples where its polynomials are
interpolated."""

RATE_TOLERANCE = 1e-5
"""Relative difference between the pixel spacing of an SLC and its sampling rate: 5e-8 in real
annotations, which round it."""

RECORD_BORDER = 0.001
"""Seconds by which a line may lie to either side of the middle between two polynomials."""

SPACING_TOLERANCE = 1e-8
"""Relative difference of the sampling of swaths: over a whole image, 0.3 µs and 1 mm."""


RECORD_STEP = 150.0
"""Pixels between the polynomials of neighbouring times, at most. They follow the terrain's height,
by up to 40 pixels in an image of the Alps."""

POINTS_OF_RECORD = 9
"""Pixels at which the polynomials are compared: as many as they have coefficients."""


def read_grid(source: XmlSource | Annotation, *, burst: int | None = None) -> RadarGrid:
    """Read the radar grid of a Sentinel-1 image from its annotation.

    A GRD has the lines and samples of its image file. The bursts of an IW or EW SLC overlap; its
    grid is by default the continuous one that remains when they are merged: lines at a steady
    interval from the first line of the first burst to the last line of the last one. `bursts`
    gives the position of each in it.

    Between the records of a GRD's ground-range polynomials slant range is interpolated linearly;
    see `sarheight.grid.RadarGrid.with_range_interpolation` for the other way.

    The equivalent number of looks is that of ESA's product definition (4.4 for an IW GRDH), or
    for products that are not listed there the number of looks that were averaged.

    Parameters
    ----------
    source : str, path, bytes or Annotation
        Path of an annotation XML of a GRD or SLC, plain or compressed with xz; its contents; or
        what `read_annotation` returns.
    burst : int, optional
        Return the grid of this burst alone, counted from 0.

    Returns
    -------
    RadarGrid
        Its epoch is the time of the image's first line, without the fraction of the second, as
        is that of the orbit from the same annotation (see `read_orbit`).

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or lacks something, or its grid contradicts its
        geolocation points.
    IndexError
        If there is no such burst.
    OSError
        If the file cannot be read.
    """
    annotation = source if isinstance(source, Annotation) else read_annotation(source)
    epoch = whole_second(annotation.first_line_time)
    bursts = burst_positions(annotation, epoch)
    is_grd = annotation.product_type == "GRD"
    try:
        grid = RadarGrid(
            epoch=epoch,
            line_zero_time=(
                bursts[0].azimuth_time
                if bursts
                else seconds_between(epoch, annotation.first_line_time)
            ),
            line_interval=annotation.line_interval,
            lines=bursts[-1].first_line + bursts[-1].lines if bursts else annotation.lines,
            samples=annotation.samples,
            near_range=SPEED_OF_LIGHT / 2 * annotation.slant_range_time,
            sample_spacing=(
                annotation.range_spacing
                if is_grd
                else SPEED_OF_LIGHT / (2 * annotation.range_sampling_rate)
            ),
            wavelength=SPEED_OF_LIGHT / annotation.radar_frequency,
            ground_range=_ground_range(annotation, epoch) if is_grd else None,
            bistatic_range=_bistatic_range(annotation, epoch),
            looks=_looks(annotation),
            polarisations=(annotation.polarisation,),
            mission=annotation.mission,
            mode=annotation.mode,
            product=annotation.product_type,
            swath=annotation.swath,
            bursts=bursts,
        )
    except AnnotationError:
        raise
    except ValueError as error:
        msg = f"{annotation.name}: {error}; it is damaged, fetch it again from the archive"
        raise AnnotationError(msg) from error
    _require_geolocation(grid, annotation)
    return grid if burst is None else _burst_grid(grid, burst, annotation.name)


def burst_positions(annotation: Annotation, epoch: np.datetime64) -> tuple[Burst, ...]:
    """Return the bursts of an SLC in the continuous grid of its swath; none for a GRD."""
    times = [seconds_between(epoch, burst.azimuth_time) for burst in annotation.bursts]
    return tuple(
        _burst(index, burst, time, times[0], annotation)
        for index, (time, burst) in enumerate(zip(times, annotation.bursts, strict=True))
    )


def _burst(
    index: int, timing: BurstTiming, time: float, first_time: float, annotation: Annotation
) -> Burst:
    first, last = timing.first_valid_sample, timing.last_valid_sample
    valid = np.flatnonzero((first >= 0) & (last >= 0))
    return Burst(
        index=index,
        first_line=round((time - first_time) / annotation.line_interval),
        lines=annotation.lines_per_burst,
        azimuth_time=time,
        valid_lines=(int(valid[0]), int(valid[-1]) + 1) if valid.size else (0, 0),
        # The samples that are valid on all of these lines.
        valid_samples=(
            (int(first[valid].max()), int(last[valid].min()) + 1) if valid.size else (0, 0)
        ),
    )


def _burst_grid(grid: RadarGrid, index: int, name: str) -> RadarGrid:
    """Return one burst's own grid from that of its swath."""
    if not 0 <= index < len(grid.bursts):
        found = f"{len(grid.bursts)} bursts, counted from 0" if grid.bursts else "no bursts"
        msg = f"{name} has {found}, found burst={index}: pass one of them, or leave it out"
        raise IndexError(msg)
    burst = grid.bursts[index]
    return replace(
        grid,
        line_zero_time=burst.azimuth_time,
        lines=burst.lines,
        bursts=(replace(burst, first_line=0),),
    )


def _ground_range(annotation: Annotation, epoch: np.datetime64) -> GroundRange:
    """Return the conversion of a GRD, linear between its records."""
    records = annotation.range_conversion
    if records is None:
        msg = f"{annotation.name} has no ground-range polynomials, expected a GRD: pass one"
        raise AnnotationError(msg)
    try:
        return GroundRange(
            np.array([seconds_between(epoch, time) for time in records.azimuth_time]),
            records.slant_origin,
            records.slant_to_ground,
            records.ground_origin,
            records.ground_to_slant,
        )
    except ValueError as error:
        msg = f"{annotation.name}: {error}, or fetch the annotation again"
        raise AnnotationError(msg) from error


def _line_times(annotation: Annotation, epoch: np.datetime64) -> Floats:
    """Return the nominal times of the geolocation grid's lines in seconds, shape (n,)."""
    line = annotation.geolocation.line
    if annotation.bursts:
        # In the file of an SLC the bursts follow one another, each with all its lines.
        burst = np.minimum(line // annotation.lines_per_burst, len(annotation.bursts) - 1)
        first_lines = [seconds_between(epoch, timing.azimuth_time) for timing in annotation.bursts]
        first_time, line = np.array(first_lines)[burst], line - burst * annotation.lines_per_burst
    else:
        first_time = np.array([seconds_between(epoch, annotation.first_line_time)])
    times: Floats = first_time + annotation.line_interval * line.astype(np.float64)
    return times


def _bistatic_range(annotation: Annotation, epoch: np.datetime64) -> float | None:
    """Find the slant range at which the nominal times of lines are their zero-Doppler times.

    The annotation does not give it; ESA's geolocation grid shows it, as its times increase along
    each line by the one-way travel time. None where they do not, as in products without the
    bistatic correction.
    """
    points = annotation.geolocation
    times = np.array([seconds_between(epoch, time) for time in points.azimuth_time])
    delay = times - _line_times(annotation, epoch)
    slant_range = SPEED_OF_LIGHT / 2 * points.slant_range_time
    # delay = (slant range - bistatic range) / c; the median is robust against rounded times.
    bistatic_range = float(np.median(slant_range - SPEED_OF_LIGHT * delay))
    residual = delay - (slant_range - bistatic_range) / SPEED_OF_LIGHT
    return bistatic_range if np.abs(residual).max() < 0.5 * np.abs(delay).max() else None


def _require_geolocation(grid: RadarGrid, annotation: Annotation) -> None:
    """Compare a grid with the geolocation points of its annotation: size, times, and ranges."""
    points = annotation.geolocation
    for name, count, pixels in (
        ("lines", annotation.lines, points.line),
        ("samples", annotation.samples, points.pixel),
    ):
        nodes = np.unique(pixels)
        step = int(np.diff(nodes).max(initial=0))
        if nodes[0] > step or abs(int(nodes[-1]) - (count - 1)) > step:
            _refuse_contradiction(
                annotation,
                f"{count} {name}, and geolocation points from {nodes[0]} to {nodes[-1]}",
                "points from the first to the last one",
            )
    times = np.array([seconds_between(grid.epoch, time) for time in points.azimuth_time])
    ranges = SPEED_OF_LIGHT / 2 * points.slant_range_time
    lines = (times - _line_times(annotation, grid.epoch)) / grid.line_interval
    samples = _sample_residuals(grid, times, ranges, points.pixel)
    if grid.ground_range is not None:
        _require_agreeing_records(grid, annotation)
    for name, residuals in (("lines", lines), ("samples", samples)):
        worst = int(np.argmax(np.abs(residuals)))
        if not abs(residuals[worst]) <= GEOLOCATION_TOLERANCE:
            _refuse_contradiction(
                annotation,
                f"a geolocation point of line {points.line[worst]}, pixel {points.pixel[worst]} "
                f"{abs(residuals[worst]):.1f} {name} away from there",
                f"at most {GEOLOCATION_TOLERANCE:g} pixels",
            )
    if grid.is_ground_range:
        # The polynomials give the ranges of a GRD, and the annotation that of its first sample.
        edges = grid.slant_range((times - grid.line_zero_time) / grid.line_interval, 0.0)
        error = float(np.abs(edges - grid.near_range).min()) / grid.sample_spacing
        if not error <= GEOLOCATION_TOLERANCE:
            _refuse_contradiction(
                annotation,
                f"a near range {error:.1f} pixels away from that of its ground-range polynomials",
                f"at most {GEOLOCATION_TOLERANCE:g} pixels",
            )
    else:
        ratio = annotation.range_spacing / grid.sample_spacing
        if abs(ratio - 1.0) > RATE_TOLERANCE:
            found = f"a pixel spacing in range that is {ratio:.6g} times that of the sampling rate"
            _refuse_contradiction(annotation, found, "the same")


def _require_agreeing_records(grid: RadarGrid, annotation: Annotation) -> None:
    """Compare the polynomials of both directions in each record, and records with each other."""
    if grid.ground_range is None:
        return
    pixels = np.linspace(0.0, grid.samples - 1.0, POINTS_OF_RECORD)
    errors, steps = (
        np.abs(each).max(initial=0.0) / grid.sample_spacing
        for each in grid.ground_range.contradictions(
            grid.sample_zero_ground + grid.sample_spacing * pixels
        )
    )
    for what, found, limit in (
        ("polynomials of slant range and of ground range", errors, GEOLOCATION_TOLERANCE),
        ("ground-range polynomials of neighbouring times", steps, RECORD_STEP),
    ):
        if not found <= limit:
            _refuse_contradiction(
                annotation, f"{what} {found:.1f} pixels apart", f"at most {limit:g} pixels"
            )


def _sample_residuals(
    grid: RadarGrid, times: Floats, ranges: Floats, pixels: NDArray[np.int64]
) -> Floats:
    """Return by how many samples geolocation points lie beside their pixels, shape (n,)."""
    predictions = [grid.sample(ranges, times)]
    if grid.is_ground_range:
        # ESA takes the nearest polynomial, and between two of them it may be either one.
        nearest = grid.with_range_interpolation("nearest")
        shifts = (-RECORD_BORDER, 0.0, RECORD_BORDER)
        predictions += [nearest.sample(ranges, times + shift) for shift in shifts]
    residuals = np.stack(predictions) - pixels
    best = np.abs(residuals).argmin(axis=0)
    smallest: Floats = np.take_along_axis(residuals, best[None], axis=0)[0]
    return smallest


def _refuse_contradiction(annotation: Annotation, found: str, expected: str) -> NoReturn:
    msg = (
        f"{annotation.name} contradicts itself: found {found}, expected {expected}; it is damaged "
        "or was changed, fetch it again from the archive"
    )
    raise AnnotationError(msg)


def _looks(annotation: Annotation) -> float:
    if annotation.product_type == "SLC":
        return 1.0
    spacing = round(annotation.range_spacing, 1)
    return EQUIVALENT_LOOKS.get((annotation.mode, spacing), float(annotation.processed_looks))


# One grid of the swaths of an SLC.


def merge_grids(grids: Sequence[RadarGrid]) -> tuple[RadarGrid, tuple[tuple[int, int], ...]]:
    """Return the grid that contains the grids of swaths, and the first line and sample of each."""
    first = grids[0]
    aligned = [grid.with_epoch(first.epoch) for grid in grids]
    for grid in aligned[1:]:
        _require_same_image(first, grid)
    offsets = [_offset(first, grid) for grid in aligned]
    line, sample = (min(axis) for axis in zip(*offsets, strict=True))
    offsets = [(offset[0] - line, offset[1] - sample) for offset in offsets]
    _require_common_lines(aligned, offsets)
    sizes = [
        (offset[0] + grid.lines, offset[1] + grid.samples)
        for offset, grid in zip(offsets, aligned, strict=True)
    ]
    lines, samples = (max(axis) for axis in zip(*sizes, strict=True))
    merged = replace(
        first,
        line_zero_time=float(first.azimuth_time(line)),
        near_range=float(first.slant_range(0, sample)),
        lines=lines,
        samples=samples,
        swath="+".join(grid.swath for grid in aligned),
        bursts=(),
    )
    return merged, tuple(offsets)


def _require_same_image(first: RadarGrid, other: RadarGrid) -> None:
    """Check that swaths are of one image, acquired and sampled alike."""
    swaths = f"swaths {first.swath} and {other.swath}"
    for name in ("mission", "mode", "product", "polarisations", "look_side"):
        values = getattr(first, name), getattr(other, name)
        if values[0] != values[1]:
            msg = (
                f"{swaths} differ in {name}: found {values[0]!r} and {values[1]!r}; expected "
                "swaths of one image, open them one by one"
            )
            raise ProductError(msg)
    for name in ("line_interval", "sample_spacing", "wavelength"):
        ratio = getattr(other, name) / getattr(first, name)
        if abs(ratio - 1.0) > SPACING_TOLERANCE:
            msg = (
                f"{swaths} differ in {name}, by a factor of {ratio:.12g}; expected one grid for "
                "all, open them one by one"
            )
            raise ProductError(msg)
    if (first.bistatic_range is None) != (other.bistatic_range is None):
        msg = (
            f"of {swaths} one has lines that are corrected for the travel time of the pulse, and "
            "one has not; open them one by one"
        )
        raise ProductError(msg)


def _offset(first: RadarGrid, other: RadarGrid) -> tuple[int, int]:
    """Return the line and sample of the first grid at which another one begins."""
    # Times are compared at one slant range, as swaths may be corrected to different ones.
    near_range = other.near_range
    time = float(other.azimuth_time(0, near_range) - first.azimuth_time(0, near_range))
    distance = near_range - first.near_range
    line = round(time / first.line_interval)
    sample = round(distance / first.sample_spacing)
    time_residual = time - line * first.line_interval
    range_residual = distance - sample * first.sample_spacing
    if abs(time_residual) > AZIMUTH_TOLERANCE or abs(range_residual) > RANGE_TOLERANCE:
        msg = (
            f"swath {other.swath} lies {1e3 * time_residual:.3f} ms and {range_residual:.3f} m "
            f"beside the pixels of {first.swath}, expected less than "
            f"{1e3 * AZIMUTH_TOLERANCE:g} ms and {RANGE_TOLERANCE:g} m: they do not share a grid, "
            "open them one by one"
        )
        raise ProductError(msg)
    return line, sample


def _require_common_lines(grids: Sequence[RadarGrid], offsets: Sequence[tuple[int, int]]) -> None:
    """Check that swaths were acquired at the same time: those of other passes share no lines."""
    begin = max(line for line, _ in offsets)
    end = min(line + grid.lines for (line, _), grid in zip(offsets, grids, strict=True))
    if begin >= end:
        times = ", ".join(f"{grid.swath} from {_first_utc(grid)}" for grid in grids)
        msg = (
            f"found swaths that were acquired one after the other ({times}), expected those of "
            "one pass: they have no lines in common"
        )
        raise ProductError(msg)


def _first_utc(grid: RadarGrid) -> np.datetime64:
    return grid.epoch + np.timedelta64(round(grid.first_time * 1e9), "ns")


# The equivalent number of looks of correlated pixels.


def equivalent_looks(
    annotations: Iterable[Annotation], grid: RadarGrid, lines: int, samples: int
) -> float:
    """Return the equivalent number of looks of a mean over a window of a Sentinel-1 image.

    An IW SLC is sampled at 1.1 to 1.6 times its bandwidth, and its spectrum is weighted: the
    impulse response is wider than the spacing, and a large window is worth 0.30 to 0.38 looks a
    pixel. Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441: swathProcParams.
    """
    processing = [swath for annotation in annotations for swath in annotation.processing]
    if not processing:
        return grid.looks * lines * samples
    line, sample = (grid.lines - 1) / 2, (grid.samples - 1) / 2
    near, far = grid.slant_range(line, [sample - 0.5, sample + 0.5])
    range_rate = SPEED_OF_LIGHT / (2.0 * float(far - near))
    return grid.looks * min(
        independent_pixels(lines, 1.0 / grid.line_interval, swath.azimuth)
        * independent_pixels(samples, range_rate, swath.range)
        for swath in processing
    )


def independent_pixels(count: int, rate: float, spectrum: Spectrum) -> float:
    r"""Return the number of independent pixels whose mean has the variance of that of a row.

    With the correlation :math:`\rho_d` of amplitudes at a lag of :math:`d` pixels, intensities
    correlate by :math:`\rho_d^2`, and the number is
    :math:`n^2 / \sum_{|d| < n} (n - |d|) \rho_d^2`. Source: Oliver, C. and Quegan, S. (2004).
    Understanding Synthetic Aperture Radar Images, SciTech, sections 4.3 and 4.4.
    """
    lag = np.arange(1 - count, count, dtype=np.float64)
    intensity_correlation = _correlation(lag * spectrum.bandwidth / rate, spectrum.window) ** 2
    return float(count**2 / np.sum((count - np.abs(lag)) * intensity_correlation))


def _correlation(distance: Floats, window: float) -> Floats:
    """Return the correlation of amplitudes at distances in units of 1 / bandwidth."""
    # It is the transform of the squared Hamming window (a + (1 - a) cos)^2: a sum of cosines,
    # whose transforms are shifted sinc functions.
    side = 1.0 - window
    cosines = (window**2 + side**2 / 2.0, window * side, side**2 / 4.0)
    total: Floats = np.sinc(distance) * cosines[0]
    for order in (1, 2):
        total += cosines[order] * (np.sinc(distance - order) + np.sinc(distance + order))
    return total / cosines[0]


def resolution(spectrum: Spectrum) -> float:
    """Return the width of the impulse response at half power, in seconds.

    It is 0.886 / bandwidth without a window; Hamming windows widen it.
    """
    offset = np.linspace(0.0, 2.0, 2001)
    side = 0.5 * (1.0 - spectrum.window)
    response = spectrum.window * np.sinc(offset)
    response += side * (np.sinc(offset - 1.0) + np.sinc(offset + 1.0))
    half = response[0] / np.sqrt(2.0)
    return 2.0 * float(offset[np.argmax(response < half)]) / spectrum.bandwidth
