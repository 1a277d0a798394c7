"""Sentinel-1 annotations made from a grid and an orbit, or cut out of real ones; orbit files."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, tostring

import numpy as np
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT, geodetic, look_sign, points_at_ranges
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from sarheight.sentinel1 import read_annotation
from sarheight.sentinel1.grid import burst_positions

LINES_PER_BURST = 60
BURST_STEP = 50
INVALID_LINES = 3
FIRST_VALID, LAST_VALID = 5, 190
Unit = Literal["us", "ns"]
XZ = b"\xfd7zXZ\x00"

IMAGE = "imageAnnotation/imageInformation"
CUT = (
    "adsHeader/startTime",
    "adsHeader/stopTime",
    f"{IMAGE}/productFirstLineUtcTime",
    f"{IMAGE}/productLastLineUtcTime",
    f"{IMAGE}/slantRangeTime",
    f"{IMAGE}/numberOfSamples",
    f"{IMAGE}/numberOfLines",
    "generalAnnotation/orbitList",
    "geolocationGrid/geolocationGridPointList",
    "coordinateConversion/coordinateConversionList",
)
"""What in a real annotation depends on the part of the image, apart from its bursts."""


@dataclass(frozen=True, eq=False)
class PlacedBurst:
    """A burst in the continuous image of its swath."""

    index: int  # in the annotation, from 0
    begin: int  # line of the image at which it begins; may lie outside it
    first_valid: NDArray[np.int64]  # of each line of the burst; -1 where no sample is valid
    last_valid: NDArray[np.int64]


def made_bursts(count: int) -> list[PlacedBurst]:
    """Place bursts of `LINES_PER_BURST` lines, `BURST_STEP` apart."""

    def samples(valid: int) -> NDArray[np.int64]:
        values = np.full(LINES_PER_BURST, -1)
        values[INVALID_LINES:-INVALID_LINES] = valid
        return values

    return [
        PlacedBurst(index, BURST_STEP * index, samples(FIRST_VALID), samples(LAST_VALID))
        for index in range(count)
    ]


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.15e}" for value in values)


def _vectors(orbit: Orbit) -> str:
    vectors = []
    for time, position, velocity in zip(orbit.time, orbit.position, orbit.velocity, strict=True):
        parts = "".join(
            f"<{name}>"
            + "".join(
                f"<{axis}>{value:.15e}</{axis}>" for axis, value in zip("xyz", row, strict=True)
            )
            + f"</{name}>"
            for name, row in (("position", position), ("velocity", velocity))
        )
        when = np.datetime_as_string(orbit.utc(time), unit="us")
        vectors.append(f"<orbit><time>{when}</time><frame>Earth Fixed</frame>{parts}</orbit>")
    return f"<orbitList count='{len(vectors)}'>{''.join(vectors)}</orbitList>"


def _stamp(grid: RadarGrid, file_line: int, bursts: Sequence[PlacedBurst]) -> float:
    if not bursts:
        return float(grid.azimuth_time(file_line))
    lines = bursts[0].first_valid.size
    number = min(file_line // lines, len(bursts) - 1)
    return float(grid.azimuth_time(bursts[number].begin + file_line - number * lines))


def _geolocation(
    grid: RadarGrid, orbit: Orbit, file_lines: int, bursts: Sequence[PlacedBurst], unit: Unit
) -> str:
    """Points on the ellipsoid, with the times that a correction of one range leaves."""
    corrected = grid.bistatic_range
    if corrected is None:
        corrected = float(grid.slant_range(grid.lines // 2, grid.samples // 2))
    points = []
    for line in np.linspace(0, file_lines - 1, 7).astype(int):
        stamp = _stamp(grid, line, bursts)
        for pixel in np.linspace(0, grid.samples - 1, 5).astype(int):
            slant_range = float(
                grid.slant_range((stamp - grid.line_zero_time) / grid.line_interval, pixel)
            )
            time = stamp + (slant_range - corrected) / SPEED_OF_LIGHT
            point = points_at_ranges(
                *orbit.state(time), np.array([slant_range]), look_sign(grid.look_side), 0.0
            )[0]
            latitude, longitude = geodetic(point, 0.0)
            points.append(
                "<geolocationGridPoint>"
                f"<azimuthTime>{np.datetime_as_string(orbit.utc(time), unit=unit)}</azimuthTime>"
                f"<slantRangeTime>{2 * slant_range / SPEED_OF_LIGHT:.15e}</slantRangeTime>"
                f"<line>{line}</line><pixel>{pixel}</pixel>"
                f"<latitude>{latitude:.15e}</latitude><longitude>{longitude:.15e}</longitude>"
                "<height>0.0</height><incidenceAngle>3.4e+01</incidenceAngle>"
                "<elevationAngle>3.0e+01</elevationAngle></geolocationGridPoint>"
            )
    return (
        "<geolocationGrid><geolocationGridPointList>"
        + "".join(points)
        + "</geolocationGridPointList></geolocationGrid>"
    )


def _conversion(grid: RadarGrid, orbit: Orbit, unit: Unit) -> str:
    """Write the records of ground range, which is 0 at the first sample, as readers expect."""
    records = grid.ground_range
    if records is None:
        return ""
    begin = grid.sample_zero_ground
    listed = ""
    for index, time in enumerate(records.time):
        to_ground = records.slant_to_ground[index].copy()
        to_slant, origin = records.ground_to_slant[index], float(records.ground_origin[index])
        if begin:
            to_ground[0] -= begin
            to_slant, origin = shifted(to_slant, begin - origin), 0.0
        listed += (
            "<coordinateConversion>"
            f"<azimuthTime>{np.datetime_as_string(orbit.utc(time), unit=unit)}</azimuthTime>"
            f"<slantRangeTime>{2 * to_slant[0] / SPEED_OF_LIGHT:.15e}</slantRangeTime>"
            f"<sr0>{records.slant_origin[index]:.15e}</sr0>"
            f"<srgrCoefficients count='{to_ground.size}'>{_numbers(to_ground)}</srgrCoefficients>"
            f"<gr0>{origin:.15e}</gr0>"
            f"<grsrCoefficients count='{to_slant.size}'>{_numbers(to_slant)}</grsrCoefficients>"
            "</coordinateConversion>"
        )
    return (
        "<coordinateConversion><coordinateConversionList>"
        f"{listed}</coordinateConversionList></coordinateConversion>"
    )


def shifted(coefficients: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Return the coefficients of the polynomial whose argument is smaller by `by`."""
    moved = np.polynomial.Polynomial(coefficients)(np.polynomial.Polynomial([by, 1.0])).coef
    return np.pad(moved, (0, coefficients.size - moved.size))


def _bursts(grid: RadarGrid, orbit: Orbit, bursts: Sequence[PlacedBurst], unit: Unit) -> str:
    def samples(name: str, values: NDArray[np.int64]) -> str:
        return f"<{name} count='{values.size}'>{' '.join(map(str, values))}</{name}>"

    listed = "".join(
        "<burst><azimuthTime>"
        + np.datetime_as_string(orbit.utc(float(grid.azimuth_time(burst.begin))), unit=unit)
        + "</azimuthTime>"
        + samples("firstValidSample", burst.first_valid)
        + samples("lastValidSample", burst.last_valid)
        + "</burst>"
        for burst in bursts
    )
    lines = bursts[0].first_valid.size if bursts else 0
    return (
        f"<swathTiming><linesPerBurst>{lines}</linesPerBurst>"
        f"<burstList count='{len(bursts)}'>{listed}</burstList></swathTiming>"
    )


def header_xml(product_type: str = "GRD", swath: str = "IW", polarisation: str = "VV") -> str:
    """Write the header of an annotation."""
    return (
        f"<adsHeader><missionId>S1A</missionId><productType>{product_type}</productType>"
        f"<polarisation>{polarisation}</polarisation><mode>IW</mode><swath>{swath}</swath>"
        "</adsHeader>"
    )


def annotation_xml(
    grid: RadarGrid,
    orbit: Orbit,
    *,
    bursts: int | Sequence[PlacedBurst] = 0,
    swath: str = "",
    polarisation: str = "VV",
    unit: Unit = "ns",
) -> str:
    """Write the annotation of an image, as small as it can be, with times cut to a unit.

    A grid in ground range gives a GRD, one in slant range an SLC. A number of `bursts` places
    them by `made_bursts`, for a grid of ``BURST_STEP * (bursts - 1) + LINES_PER_BURST`` lines.
    """
    placed = made_bursts(bursts) if isinstance(bursts, int) else bursts
    file_lines = len(placed) * placed[0].first_valid.size if placed else grid.lines
    first = np.datetime_as_string(orbit.utc(_stamp(grid, 0, placed)), unit=unit)
    product_type = "GRD" if grid.is_ground_range else "SLC"
    # A GRD merges the swaths of its mode.
    swath = swath or ("IW" if grid.is_ground_range else "IW1")
    sampling = SPEED_OF_LIGHT / (2 * grid.sample_spacing)
    return (
        "<?xml version='1.0' encoding='UTF-8'?><product>"
        f"{header_xml(product_type, swath, polarisation)}"
        "<generalAnnotation><productInformation><pass>Ascending</pass>"
        f"<rangeSamplingRate>{sampling:.15e}</rangeSamplingRate>"
        f"<radarFrequency>{SPEED_OF_LIGHT / grid.wavelength:.15e}</radarFrequency>"
        f"</productInformation>{_vectors(orbit)}</generalAnnotation>"
        f"<imageAnnotation><imageInformation>"
        f"<productFirstLineUtcTime>{first}</productFirstLineUtcTime>"
        f"<slantRangeTime>{2 * grid.near_range / SPEED_OF_LIGHT:.15e}</slantRangeTime>"
        f"<rangePixelSpacing>{grid.sample_spacing:.15e}</rangePixelSpacing>"
        f"<azimuthTimeInterval>{grid.line_interval:.15e}</azimuthTimeInterval>"
        f"<numberOfSamples>{grid.samples}</numberOfSamples>"
        f"<numberOfLines>{file_lines}</numberOfLines></imageInformation></imageAnnotation>"
        f"{_bursts(grid, orbit, placed, unit)}{_geolocation(grid, orbit, file_lines, placed, unit)}"
        f"{_conversion(grid, orbit, unit)}</product>"
    )


def annotation_like(
    source: str | Path | bytes, grid: RadarGrid, orbit: Orbit
) -> tuple[str, list[PlacedBurst]]:
    """Cut a real annotation to a part of its image; return it with the bursts that meet the part.

    Everything that does not depend on the part is kept.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    data = lzma.decompress(data) if data.startswith(XZ) else data
    bursts = _met_bursts(data, grid)
    root = fromstring(data)
    made = fromstring(annotation_xml(grid, orbit, bursts=bursts, unit="us"))
    lines = sum(burst.first_valid.size for burst in bursts) or grid.lines
    stamps = [_stamp(grid, line, bursts) for line in (0, lines - 1)]
    first, last = (np.datetime_as_string(orbit.utc(stamp), unit="us") for stamp in stamps)
    for path, text in {
        "adsHeader/startTime": first,
        "adsHeader/stopTime": last,
        f"{IMAGE}/productLastLineUtcTime": last,
    }.items():
        parent, _, tag = path.rpartition("/")
        found = made.find(parent)
        assert found is not None
        found.append(_element(tag, text))
    for path in CUT:
        _replace(root, path, made.find(path))
    listed = root.findall("swathTiming/burstList/burst")
    kept = _element("burstList")
    kept.set("count", str(len(bursts)))
    for burst in bursts:
        element = deepcopy(listed[burst.index])
        for name, values in (("first", burst.first_valid), ("last", burst.last_valid)):
            valid = element.find(f"{name}ValidSample")
            assert valid is not None
            valid.text = " ".join(map(str, values))
        kept.append(element)
    _replace(root, "swathTiming/burstList", kept)
    return tostring(root, encoding="unicode"), bursts


def _met_bursts(data: bytes, grid: RadarGrid) -> list[PlacedBurst]:
    """Place the bursts of an annotation in a part of its image, and cut their valid samples."""
    annotation = read_annotation(data)
    near = SPEED_OF_LIGHT / 2 * annotation.slant_range_time
    first_sample = round((grid.near_range - near) / grid.sample_spacing)
    found = []
    for place, timing in zip(
        burst_positions(annotation, grid.epoch), annotation.bursts, strict=True
    ):
        begin = round(float(grid.line(place.azimuth_time)))
        if begin + place.valid_lines[0] >= grid.lines or begin + place.valid_lines[1] <= 0:
            continue
        first = timing.first_valid_sample - first_sample
        last = timing.last_valid_sample - first_sample
        valid = (timing.first_valid_sample >= 0) & (first < grid.samples) & (last >= 0)
        found.append(
            PlacedBurst(
                place.index,
                begin,
                np.where(valid, np.maximum(first, 0), -1),
                np.where(valid, np.minimum(last, grid.samples - 1), -1),
            )
        )
    assert bool(found) == bool(annotation.bursts), "the part meets no burst"
    return found


def _element(tag: str, text: str = "") -> Element:
    element = Element(tag)
    element.text = text
    return element


def _replace(root: Element, path: str, element: Element | None) -> None:
    """Put an element in the place of another one, where both are there."""
    parent, old = root.find(path.rpartition("/")[0]), root.find(path)
    if parent is not None and old is not None and element is not None:
        parent[list(parent).index(old)] = element


def eof_xml(orbit: Orbit) -> str:
    """Write an orbit file."""
    vectors = "".join(
        f"<OSV><UTC>UTC={np.datetime_as_string(orbit.utc(time), unit='us')}</UTC>"
        + "".join(
            f"<{name}>{value:.6f}</{name}>"
            for name, value in zip(
                ("X", "Y", "Z", "VX", "VY", "VZ"), (*position, *velocity), strict=True
            )
        )
        + "<Quality>NOMINAL</Quality></OSV>"
        for time, position, velocity in zip(orbit.time, orbit.position, orbit.velocity, strict=True)
    )
    return (
        "<?xml version='1.0'?><Earth_Explorer_File><Earth_Explorer_Header><Variable_Header>"
        "<Ref_Frame>EARTH_FIXED</Ref_Frame><Time_Reference>UTC</Time_Reference>"
        "</Variable_Header></Earth_Explorer_Header><Data_Block><List_of_OSVs>"
        f"{vectors}</List_of_OSVs></Data_Block></Earth_Explorer_File>"
    )
