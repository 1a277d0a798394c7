"""Sentinel-1 annotations made from a grid and an orbit, as small as they can be.

Import it as ``from tests.annotations import annotation_xml, eof_xml``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT, geodetic, look_sign, points_at_ranges

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

LINES_PER_BURST = 60
BURST_STEP = 50
INVALID_LINES = 3
FIRST_VALID, LAST_VALID = 5, 190


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


def _stamp(grid: RadarGrid, file_line: int, bursts: int) -> float:
    if not bursts:
        return float(grid.azimuth_time(file_line))
    burst = min(file_line // LINES_PER_BURST, bursts - 1)
    return float(grid.azimuth_time(burst * BURST_STEP + file_line - burst * LINES_PER_BURST))


def _geolocation(grid: RadarGrid, orbit: Orbit, file_lines: int, bursts: int) -> str:
    """Points on the ellipsoid, with the times that a correction of the middle range leaves."""
    middle = float(grid.slant_range(grid.lines // 2, grid.samples // 2))
    points = []
    for line in np.linspace(0, file_lines - 1, 7).astype(int):
        stamp = _stamp(grid, line, bursts)
        for pixel in np.linspace(0, grid.samples - 1, 5).astype(int):
            slant_range = float(
                grid.slant_range((stamp - grid.line_zero_time) / grid.line_interval, pixel)
            )
            time = stamp + (slant_range - middle) / SPEED_OF_LIGHT
            point = points_at_ranges(
                *orbit.state(time), np.array([slant_range]), look_sign(grid.look_side), 0.0
            )[0]
            latitude, longitude = geodetic(point, 0.0)
            points.append(
                "<geolocationGridPoint>"
                f"<azimuthTime>{np.datetime_as_string(orbit.utc(time), unit='ns')}</azimuthTime>"
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


def _conversion(grid: RadarGrid, orbit: Orbit) -> str:
    records = grid.ground_range
    if records is None:
        return ""
    listed = "".join(
        "<coordinateConversion>"
        f"<azimuthTime>{np.datetime_as_string(orbit.utc(time), unit='ns')}</azimuthTime>"
        f"<sr0>{records.slant_origin[index]:.15e}</sr0>"
        f"<srgrCoefficients>{_numbers(records.slant_to_ground[index])}</srgrCoefficients>"
        f"<gr0>{records.ground_origin[index]:.15e}</gr0>"
        f"<grsrCoefficients>{_numbers(records.ground_to_slant[index])}</grsrCoefficients>"
        "</coordinateConversion>"
        for index, time in enumerate(records.time)
    )
    return (
        f"<coordinateConversion><coordinateConversionList>{listed}"
        "</coordinateConversionList></coordinateConversion>"
    )


def _bursts(grid: RadarGrid, orbit: Orbit, bursts: int) -> str:
    def samples(name: str, valid: int) -> str:
        inside = LINES_PER_BURST - 2 * INVALID_LINES
        values = [-1] * INVALID_LINES + [valid] * inside + [-1] * INVALID_LINES
        return f"<{name} count='{LINES_PER_BURST}'>{' '.join(map(str, values))}</{name}>"

    listed = "".join(
        "<burst><azimuthTime>"
        + np.datetime_as_string(orbit.utc(float(grid.azimuth_time(BURST_STEP * index))), unit="ns")
        + "</azimuthTime>"
        + samples("firstValidSample", FIRST_VALID)
        + samples("lastValidSample", LAST_VALID)
        + "</burst>"
        for index in range(bursts)
    )
    return (
        f"<swathTiming><linesPerBurst>{LINES_PER_BURST if bursts else 0}</linesPerBurst>"
        f"<burstList count='{bursts}'>{listed}</burstList></swathTiming>"
    )


def annotation_xml(grid: RadarGrid, orbit: Orbit, *, bursts: int = 0) -> str:
    """Write the annotation of an image.

    A grid in ground range gives a GRD, one in slant range an SLC. With `bursts`, the grid must
    have ``BURST_STEP * (bursts - 1) + LINES_PER_BURST`` lines.
    """
    file_lines = bursts * LINES_PER_BURST if bursts else grid.lines
    first = np.datetime_as_string(orbit.utc(float(grid.azimuth_time(0))), unit="ns")
    # A GRD merges the swaths of its mode.
    swath = "IW" if grid.is_ground_range else "IW1"
    sampling = SPEED_OF_LIGHT / (2 * grid.sample_spacing)
    return (
        "<?xml version='1.0' encoding='UTF-8'?><product><adsHeader><missionId>S1A</missionId>"
        f"<productType>{'GRD' if grid.is_ground_range else 'SLC'}</productType>"
        f"<polarisation>VV</polarisation><mode>IW</mode><swath>{swath}</swath></adsHeader>"
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
        f"{_bursts(grid, orbit, bursts)}{_geolocation(grid, orbit, file_lines, bursts)}"
        f"{_conversion(grid, orbit)}</product>"
    )


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
