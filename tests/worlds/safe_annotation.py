"""The annotation of a simulated image: that of a real one, cut to its lines and samples."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT
from tests.worlds.safe_layout import listed, node, number, numbers, put, utc, utc_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from sarheight.ground_range import GroundRange
    from sarheight.orbit import Orbit
    from sarheight.sentinel1.annotation import GeolocationGrid
    from tests.worlds.safe_layout import FileLayout
    from tests.worlds.safe_measurement import Measured

IMAGE = "imageAnnotation/imageInformation"
STATISTICS = (f"{IMAGE}/imageStatistics", ".//imageQuality/imageStatistics")
SAME_PLACE = 1e-3
"""Metres by which two orbits may differ to be called the same."""


@dataclass(frozen=True, eq=False)
class Cut:
    """What an annotation is cut to.

    Attributes
    ----------
    layout : FileLayout
        Lines and samples of the file.
    points : GeolocationGrid
        Its geolocation grid.
    orbit : Orbit
        The orbit of the scene, with the epoch of its grid.
    number : int
        Of the image in its product, from 1.
    """

    layout: FileLayout
    points: GeolocationGrid
    orbit: Orbit
    number: int

    @property
    def first_time(self) -> np.datetime64:
        """Stamp of the first line (UTC)."""
        return self._time(0)

    @property
    def last_time(self) -> np.datetime64:
        """Stamp of the last line (UTC)."""
        return self._time(self.layout.lines - 1)

    def _time(self, line: int) -> np.datetime64:
        return utc_of(self.layout.grid.epoch, float(self.layout.stamp(line)))


def set_header(header: Element, cut: Cut) -> None:
    """Put times and number of the image into an ``adsHeader``."""
    put(header, "startTime", utc(cut.first_time))
    put(header, "stopTime", utc(cut.last_time))
    put(header, "imageNumber", f"{cut.number:03d}")


def annotation_document(root: Element, cut: Cut, original: Orbit, measured: Measured) -> Element:
    """Cut an annotation to a simulated image.

    Changed are the size and the times of the image, its bursts, geolocation grid, ground-range
    polynomials, swath bounds and statistics; the state vectors only where the scene has another
    orbit. Everything else tells, as before, of the real image: quality, noise packets, attitude,
    Doppler, antenna.

    Parameters
    ----------
    root : Element
        The annotation; it is changed.
    cut : Cut
        What to cut it to.
    original : Orbit
        The annotation's own orbit.
    measured : Measured
        The image file.

    Returns
    -------
    Element
        `root`.
    """
    header = root.find("adsHeader")
    if header is not None:
        set_header(header, cut)
    _set_image(root, cut, measured)
    if not _same(cut, original):
        put(root, "generalAnnotation/orbitList", _orbit_list(cut))
    if cut.layout.bursts:
        _set_bursts(root, cut.layout, measured)
    put(root, "geolocationGrid/geolocationGridPointList", _point_list(cut.points))
    if cut.layout.grid.ground_range is not None:
        put(root, "coordinateConversion/coordinateConversionList", _conversion_list(cut))
    put(root, "swathMerging/swathMergeList", _merge_list(root, cut.layout))
    return root


def _set_image(root: Element, cut: Cut, measured: Measured) -> None:
    grid, layout = cut.layout.grid, cut.layout
    beside = np.abs(cut.points.pixel - layout.samples / 2)
    middle = beside == beside.min()
    values = {
        "productFirstLineUtcTime": utc(cut.first_time),
        "productLastLineUtcTime": utc(cut.last_time),
        "slantRangeTime": number(2 * float(grid.slant_range(0, 0)) / SPEED_OF_LIGHT),
        "numberOfSamples": str(layout.samples),
        "numberOfLines": str(layout.lines),
        "incidenceAngleMidSwath": number(float(cut.points.incidence_angle[middle].mean())),
    }
    for name, value in values.items():
        put(root, f"{IMAGE}/{name}", value)
    for path in STATISTICS:
        for name, found in (("Mean", measured.mean), ("StdDev", measured.deviation)):
            put(root, f"{path}/outputData{name}/re", f"{found.real:.6e}")
            put(root, f"{path}/outputData{name}/im", f"{found.imag:.6e}")


def _same(cut: Cut, original: Orbit) -> bool:
    """Tell whether the scene flies along the annotation's own orbit."""
    grid = cut.layout.grid
    own = original.with_epoch(grid.epoch)
    times = np.array([grid.first_time, grid.last_time])
    if times.min() < own.time[0] or times.max() > own.time[-1]:
        return False
    apart = own.state(times)[0] - cut.orbit.state(times)[0]
    return bool(np.abs(apart).max() < SAME_PLACE)


def _orbit_list(cut: Cut) -> Element:
    orbit = cut.orbit
    vectors = [
        node(
            "orbit",
            [
                node("time", utc(orbit.utc(time))),
                node("frame", "Earth Fixed"),
                *(
                    node(
                        name,
                        [node(axis, number(value)) for axis, value in zip("xyz", row, strict=True)],
                    )
                    for name, row in (("position", position), ("velocity", velocity))
                ),
            ],
        )
        for time, position, velocity in zip(orbit.time, orbit.position, orbit.velocity, strict=True)
    ]
    return listed("orbitList", vectors)


def _set_bursts(root: Element, layout: FileLayout, measured: Measured) -> None:
    bursts = list(root.iterfind("swathTiming/burstList/burst"))
    kept = []
    for place, offset in zip(layout.bursts, measured.offsets, strict=True):
        burst = bursts[place.index]
        put(burst, "byteOffset", str(offset))
        put(burst, "firstValidSample", numbers("firstValidSample", place.first_valid, "d"))
        put(burst, "lastValidSample", numbers("lastValidSample", place.last_valid, "d"))
        kept.append(burst)
    put(root, "swathTiming/burstList", listed("burstList", kept))
    put(root, "swathTiming/samplesPerBurst", str(layout.samples))


def _point_list(points: GeolocationGrid) -> Element:
    return listed(
        "geolocationGridPointList",
        (
            node(
                "geolocationGridPoint",
                [
                    node("azimuthTime", utc(points.azimuth_time[each])),
                    node("slantRangeTime", number(points.slant_range_time[each])),
                    node("line", str(points.line[each])),
                    node("pixel", str(points.pixel[each])),
                    node("latitude", number(points.latitude[each])),
                    node("longitude", number(points.longitude[each])),
                    node("height", number(points.height[each])),
                    node("incidenceAngle", number(points.incidence_angle[each])),
                    node("elevationAngle", number(points.elevation_angle[each])),
                ],
            )
            for each in range(points.line.size)
        ),
    )


def _conversion_list(cut: Cut) -> Element:
    """Write the ground-range records, with ground range 0 at the first sample of the file.

    Readers take it for granted that ground range begins there.
    """
    grid = cut.layout.grid
    records = grid.ground_range
    if records is None:
        return listed("coordinateConversionList", ())
    begin = grid.sample_zero_ground
    return listed(
        "coordinateConversionList",
        (
            _conversion(records, each, begin, utc_of(grid.epoch, time))
            for each, time in enumerate(records.time)
        ),
    )


def _conversion(records: GroundRange, each: int, begin: float, time: np.datetime64) -> Element:
    to_ground = records.slant_to_ground[each].copy()
    to_ground[0] -= begin
    to_slant = shifted(records.ground_to_slant[each], begin - float(records.ground_origin[each]))
    return node(
        "coordinateConversion",
        [
            node("azimuthTime", utc(time)),
            node("slantRangeTime", number(2 * float(to_slant[0]) / SPEED_OF_LIGHT)),
            node("sr0", number(float(records.slant_origin[each]))),
            numbers("srgrCoefficients", to_ground),
            node("gr0", number(0.0)),
            numbers("grsrCoefficients", to_slant),
        ],
    )


def shifted(coefficients: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Return the coefficients of the polynomial whose argument is smaller by `by`."""
    degree = coefficients.size
    values: NDArray[np.float64] = np.array(
        [
            sum(
                comb(power, low) * coefficients[power] * by ** (power - low)
                for power in range(low, degree)
            )
            for low in range(degree)
        ]
    )
    return values


def _merge_list(root: Element, layout: FileLayout) -> Element:
    """Cut the bounds within which each swath of a GRD was taken."""
    merged = []
    for merge in root.iterfind("swathMerging/swathMergeList/swathMerge"):
        bounds = [
            kept
            for each in merge.iterfind("swathBoundsList/swathBounds")
            if (kept := _cut_bounds(each, layout)) is not None
        ]
        if bounds:
            swath = node("swath", merge.findtext("swath") or "")
            merged.append(node("swathMerge", [swath, listed("swathBoundsList", bounds)]))
    return listed("swathMergeList", merged)


def _cut_bounds(bounds: Element, layout: FileLayout) -> Element | None:
    ends = []
    for kind, begin, size in (
        ("AzimuthLine", layout.first_line, layout.lines),
        ("RangeSample", layout.first_sample, layout.samples),
    ):
        first, last = (
            int(bounds.findtext(f"{end}{kind}") or 0) - begin for end in ("first", "last")
        )
        if first >= size or last < 0:
            return None
        ends.append((max(first, 0), min(last, size - 1)))
    (first_line, last_line), (first_sample, last_sample) = ends
    first_time = utc_of(layout.grid.epoch, float(layout.stamp(first_line)))
    return node(
        "swathBounds",
        [
            node("azimuthTime", utc(first_time)),
            node("firstAzimuthLine", str(first_line)),
            node("firstRangeSample", str(first_sample)),
            node("lastAzimuthLine", str(last_line)),
            node("lastRangeSample", str(last_sample)),
        ],
    )


def noise_blocks(root: Element, layout: FileLayout) -> list[Element]:
    """Return the azimuth noise vectors of an image, with their bounds and nothing else.

    One for each swath of a GRD, and one for an SLC.
    """
    blocks = [
        (merge.findtext("swath") or "", bounds)
        for merge in root.iterfind("swathMerging/swathMergeList/swathMerge")
        for bounds in merge.iterfind("swathBoundsList/swathBounds")
    ]
    if not blocks:
        whole = node(
            "swathBounds",
            [
                node("firstAzimuthLine", "0"),
                node("firstRangeSample", "0"),
                node("lastAzimuthLine", str(layout.lines - 1)),
                node("lastRangeSample", str(layout.samples - 1)),
            ],
        )
        blocks = [(root.findtext("adsHeader/swath") or "", whole)]
    return [
        node(
            "noiseAzimuthVector",
            [node("swath", swath), *(each for each in bounds if each.tag != "azimuthTime")],
        )
        for swath, bounds in blocks
    ]
