"""Sentinel-1 annotations: read, checked, and met by the geometry."""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from sarheight_kernels.orbit import zero_doppler_time

from sarheight.errors import AnnotationError, SarheightError
from sarheight.sentinel1 import (
    document,
    geolocation_grid,
    read_annotation,
    read_grid,
    read_orbit,
    read_orbit_file,
)
from tests.conftest import ANNOTATIONS, shared_data
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml, eof_xml

TO_EARTH_FIXED = Transformer.from_crs("EPSG:4979", "EPSG:4978")

GRID, ORBIT = synthetic_grid()
XML = annotation_xml(GRID, ORBIT)


# ------------------------------------------------------------------------------- leap seconds


STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T[\d:.]+")
LEAP = np.datetime64("2017-01-01T00:00:00", "ns")
"""The instant after 2016-12-31T23:59:60."""
DAY = np.timedelta64(86400, "s")


def around(xml: str, midnight: np.datetime64, middle: np.datetime64, *, leap: bool) -> bytes:
    """Move an annotation or orbit file so that a time of it falls on midnight."""

    def moved(found: re.Match[str]) -> str:
        time = np.datetime64(found[0], "ns") - middle + midnight
        if not leap or time < midnight:
            return str(time)
        since = (time - midnight) / np.timedelta64(1, "s")
        if since < 1.0:
            return f"{str(midnight - np.timedelta64(1, 's'))[:17]}6{str(time)[18:]}"
        return str(time - np.timedelta64(1, "s"))

    return STAMP.sub(moved, xml).encode()


@pytest.mark.parametrize("seconds", [-2.5, -0.4, 0.1, 1.5, 70.0])
def test_times_around_a_leap_second_are_those_of_tai(seconds: float) -> None:
    """The second that was inserted lies before, in, or after the image."""
    first = np.datetime64(re.findall("<productFirstLineUtcTime>([^<]*)", XML)[0], "ns")
    middle = first + np.timedelta64(round(seconds * 1e9), "ns")
    eof = eof_xml(ORBIT)
    found = []
    for midnight, leap in ((LEAP, True), (LEAP - DAY, False)):
        xml, file = (around(each, midnight, middle, leap=leap) for each in (XML, eof))
        assert leap == (b"2016-12-31" in xml and b"2017-01-01" in xml)
        assert (leap and seconds == 0.1) <= (b"23:59:60" in xml)
        grid, rough = read_grid(xml), read_orbit(xml)
        window = rough.utc(grid.first_time), rough.utc(grid.last_time)
        precise = read_orbit_file(file, window).with_epoch(grid.epoch)
        found.append((grid, rough.with_epoch(grid.epoch), precise))
    (grid, rough, precise), (same, steady, steady_file) = found
    assert grid.line_zero_time == pytest.approx(same.line_zero_time, abs=2e-9)
    np.testing.assert_allclose(rough.time, steady.time, rtol=0, atol=2e-9)
    if seconds != -0.4:  # a window cannot say that it begins in the inserted second
        np.testing.assert_allclose(precise.time, steady_file.time, rtol=0, atol=2e-9)
    points = read_annotation(around(XML, LEAP, middle, leap=True)).geolocation.azimuth_time
    assert np.ptp(points) == np.ptp(read_annotation(XML.encode()).geolocation.azimuth_time)


# ----------------------------------------------------------------------------------- real data


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_zero_doppler_meets_the_geolocation_grid(name: str) -> None:
    """Solve for each point of ESA's grid, and compare time and range with ESA's own."""
    path = shared_data("sentinel1", name)
    orbit = read_orbit(path)
    points = geolocation_grid(path)
    assert points.sizes["line"] * points.sizes["pixel"] == 210
    assert (np.diff(points.slant_range, axis=1) > 0.0).all()
    assert (np.diff(points.azimuth_time.values, axis=0) > np.timedelta64(0)).all()
    assert points.incidence_angle.min() > 25.0
    assert points.incidence_angle.max() < 47.0
    assert points.latitude.attrs["units"] == "degrees_north"
    assert points.slant_range.attrs["units"] == "m"
    place = np.stack(
        TO_EARTH_FIXED.transform(points.latitude, points.longitude, points.height), axis=-1
    ).reshape(-1, 3)
    time = np.array(
        [zero_doppler_time(*each, 0.0, orbit.start, orbit.coefficients) for each in place]
    )
    slant_range = np.linalg.norm(orbit.state(time)[0] - place, axis=1)
    expected = (points.azimuth_time.values - orbit.epoch) / np.timedelta64(1, "ns") * 1e-9
    # The project asks for 0.1 ms and 50 mm. The orbit of the Alps was downlinked, and is rough.
    limit = 5e-5 if "alps" in name else 3e-6
    np.testing.assert_allclose(time, expected.ravel(), rtol=0, atol=limit)
    np.testing.assert_allclose(slant_range, points.slant_range.values.ravel(), rtol=0, atol=1e-4)


# ------------------------------------------------------------------------------- what is read


def test_an_annotation_is_read_from_a_path_an_xz_file_or_memory(tmp_path: Path) -> None:
    plain = tmp_path / "s1a-test.xml"
    plain.write_text(XML)
    packed = tmp_path / "s1a-test.xml.xz"
    packed.write_bytes(lzma.compress(XML.encode()))
    sources = [plain, str(plain), packed, XML.encode(), packed.read_bytes()]
    for source in sources:
        assert read_annotation(source).samples == GRID.samples
        assert read_grid(source).shape == GRID.shape
        assert read_orbit(source).time.size == ORBIT.time.size
        assert geolocation_grid(source).sizes == {"line": 7, "pixel": 5}


def test_the_geolocation_grid_is_put_in_order_of_lines_and_pixels() -> None:
    head, *points = XML.split("<geolocationGridPoint>")
    *rest, last = points
    last, tail = last.split("</geolocationGridPoint>")
    shuffled = [*rest, f"{last}</geolocationGridPoint>"]
    np.random.default_rng(5).shuffle(shuffled)
    mixed = "<geolocationGridPoint>".join([head, *shuffled]) + tail
    assert geolocation_grid(mixed.encode()).identical(geolocation_grid(XML.encode()))
    points = geolocation_grid(XML.encode())
    assert float(points.slant_range[0, 0]) == pytest.approx(GRID.near_range)
    assert float(points.longitude.mean()) == pytest.approx(10.0, abs=0.01)
    missing = re.sub("<geolocationGridPoint>.*?</geolocationGridPoint>", "", XML, count=1)
    with pytest.raises(AnnotationError, match="34 points on 7 lines and 5 pixels"):
        geolocation_grid(missing.encode())


def test_coefficients_may_differ_in_number() -> None:
    short = re.sub(r"(<srgrCoefficients[^>]*>)([^<]*) \S+(</srgr)", r"\1\2\3", XML, count=1)
    assert short != XML
    records = read_annotation(short.encode()).range_conversion
    assert records is not None
    assert records.slant_to_ground[0, -1] == 0.0
    assert records.slant_to_ground[1, -1] != 0.0


@pytest.mark.parametrize(
    ("mode", "spacing", "looks"), [("IW", 10.0, 4.4), ("EW", 40.0, 10.7), ("IW", 12.5, 15.0)]
)
def test_the_number_of_looks_is_that_of_the_product(
    mode: str, spacing: float, looks: float
) -> None:
    grid, orbit = synthetic_grid(sample_spacing=spacing)
    axes = "".join(
        f"<{axis}Processing><numberOfLooks>{count}</numberOfLooks><windowType>None</windowType>"
        f"<lookBandwidth>1e6</lookBandwidth></{axis}Processing>"
        for axis, count in (("range", 5), ("azimuth", 3))
    )
    processing = (
        f"<processingInformation><swathProcParamsList><swathProcParams><swath>IW1</swath>{axes}"
        "</swathProcParams></swathProcParamsList></processingInformation></imageAnnotation>"
    )
    xml = annotation_xml(grid, orbit).replace(">IW<", f">{mode}<")
    xml = xml.replace("</imageAnnotation>", processing)
    assert read_grid(xml.encode()).looks == looks


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("read", [read_annotation, read_grid, read_orbit, geolocation_grid])
def test_a_truncated_file_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "s1a-cut.xml"
    for kept in (0.0, 0.1, 0.5, 0.999):
        path.write_text(XML[: int(kept * len(XML))])
        with pytest.raises(
            AnnotationError, match=r"s1a-cut\.xml is not a complete XML .* fetch it"
        ):
            read(path)


PACKED = lzma.compress(XML.encode())


@given(st.integers(6, 2000))
def test_a_truncated_xz_file_is_refused(kept: int) -> None:
    with pytest.raises(AnnotationError, match=r"is (cut short|damaged)"):
        read_annotation(PACKED[: min(kept, len(PACKED) - 20)])


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(SarheightError):
        read_annotation(data)


BOMB = "<!DOCTYPE product [<!ENTITY a0 'ha'>{}]>".format(
    "".join(f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 30))
)
SECRET = f"<!DOCTYPE product [<!ENTITY secret SYSTEM '{Path(__file__).as_uri()}'>]>"
DEFINED = "<!DOCTYPE product SYSTEM 'http://127.0.0.1:9/x.dtd'>"
MIDDLE = len(PACKED) // 2
FLIPPED = PACKED[:MIDDLE] + bytes([PACKED[MIDDLE] ^ 0xFF]) + PACKED[MIDDLE + 1 :]
DECLARES = "declares a document type or entities"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html><body>Please log in</body></html>", "outermost element is <html>, expected <prod"),
        (b"<calibration/>", "outermost element is <calibration>"),
        (b"II*\x00 a GeoTIFF", "is not a complete XML file"),
        (b"<product><adsHeader/></product>", "nothing at product/generalAnnotation"),
        (b"<?xml version='1.0' encoding='klingon'?><product/>", "is not a complete XML file"),
        (FLIPPED, r"is damaged .* expected a whole .xz file"),
        *(
            (
                XML.replace("<product>", f"{declared}<product>").replace("S1A", name).encode(),
                DECLARES,
            )
            for declared, name in ((BOMB, "&a29;"), (SECRET, "&secret;"), (DEFINED, "S1A"))
        ),
    ],
)
def test_a_foreign_or_hostile_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotation(data)
    assert "BOMB" not in str(caught.value)  # what the entity would have read: this file


def test_a_folder_is_refused_and_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="is a folder, expected an XML file"):
        read_annotation(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"not-here\.xml"):
        read_annotation(tmp_path / "not-here.xml")


def test_a_file_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LARGEST_BYTES", 2**20)
    packed = lzma.compress(bytes(2**22))
    assert len(packed) < 2**12
    for data in (packed, bytes(2**22)):
        with pytest.raises(AnnotationError, match="holds more than 1 MiB of XML"):
            read_annotation(data)


@pytest.mark.parametrize(
    ("found", "replacement", "message"),
    [
        ("<productType>GRD", "<productType>OCN", "'OCN' at product/adsHeader/productType"),
        (r"<missionId>S1A</missionId>", "", "nothing at product/adsHeader/missionId"),
        (r"<mode>IW</mode>", "<mode> </mode>", "nothing at product/adsHeader/mode"),
        (r"<numberOfLines>\d+", "<numberOfLines>many", "'many' at .*expected a whole number"),
        (r"<numberOfLines>\d+", "<numberOfLines>-5", "'-5' at .*expected a whole number"),
        (r"<numberOfSamples>\d+", "<numberOfSamples>0", "an image of 200 x 0 pixels"),
        (r"<azimuthTimeInterval>[^<]*", "<azimuthTimeInterval>0.0", "expected a number above zero"),
        (r"<radarFrequency>[^<]*", "<radarFrequency>nan", "'nan' at .*expected a finite number"),
        (r"<slantRangeTime>[^<]*", "<slantRangeTime>1e999", "'1e999' at .*a finite number"),
        (r"<productFirstLineUtcTime>[^<]*", "<productFirstLineUtcTime>today", "'today' at"),
        *(
            (
                "<productFirstLineUtcTime>[^<]*",
                f"<productFirstLineUtcTime>{time}",
                "a UTC time such",
            )
            for time in (
                *("2021-13-41T05:26:23.5", "2017-01-31T23:59:60.5"),  # a second 60 elsewhere
                *("2016-12-31T12:59:60", "2016-12-31T23:59:61"),
            )
        ),
        (r"<sr0>[^<]*", "<sr0>here", r"'here' at .*\[1\]/sr0"),
        (r"(<srgrCoefficients[^>]*>)[^<]*", r"\g<1>1 2 x", "expected a list of finite num"),
        (r"<coordinateConversion>.*</coordinateConversion>", "", "no records at"),
        (r"<geolocationGridPoint>.*</geolocationGridPoint>", "", "no points at"),
        (r"<latitude>[^<]*", "<latitude>north", r"geolocationGridPoint\[1\]/latitude"),
        (r"<x>[^<]*", "<x>far", r"orbit\[1\]/position/x"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(found: str, replacement: str, message: str) -> None:
    xml = re.sub(found, replacement, XML, count=1)
    assert xml != XML
    with pytest.raises(AnnotationError, match=message) as caught:
        read_grid(xml.encode())
    assert "fetch" in str(caught.value)


SLC = annotation_xml(*synthetic_grid(lines=1000, ground_range=False, sample_spacing=2.3))
GRD = annotation_xml(*synthetic_grid(lines=1000, samples=900))


def scaled(xml: str, name: str, factor: float) -> bytes:
    """Multiply the first number of a name."""
    before, _, rest = xml.partition(f"<{name}>")
    text, end, rest = rest.partition("</")
    value = factor * (int(text) if text.isdigit() else float(text))
    return f"{before}<{name}>{value!r}{end}{rest}".encode()


@pytest.mark.parametrize("kind", ["SLC", "GRD"])
def test_a_grid_that_contradicts_its_geolocation_points_is_refused(kind: str) -> None:
    xml = {"SLC": SLC, "GRD": GRD}[kind]
    read_grid(xml.encode())
    first = re.findall("<productFirstLineUtcTime>([^<]*)", xml)[0]
    later = str(np.datetime64(first) + np.timedelta64(20, "ms"))
    lines = "lines away from there, expected at most 3 pixels"
    spoilt = {
        "azimuthTimeInterval": (1.01, lines),
        "rangePixelSpacing": (1.01, {"SLC": "of the sampling rate", "GRD": "samples away"}[kind]),
        "numberOfLines": (2, "2000 lines, and geolocation points from 0 to 999"),
        "numberOfSamples": (2, "samples, and geolocation points from 0 to"),
        "slantRangeTime": (2.0, "samples away|near range"),
    }
    changed = [(scaled(xml, name, factor), found) for name, (factor, found) in spoilt.items()]
    changed.append((scaled(xml, "azimuthTimeInterval", 0.99), lines))
    if kind == "SLC":
        changed.append((scaled(xml, "rangeSamplingRate", 1.02), "samples away from there"))
    else:
        changed.append(
            (xml.replace(first, later).encode(), r"lines away from there|bistatic_range")
        )
    for data, message in changed:
        with pytest.raises(AnnotationError, match=message) as caught:
            read_grid(data)
        assert "\n" not in str(caught.value)
        assert "fetch it again" in str(caught.value)


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_real_annotations_agree_with_their_geolocation_points(name: str) -> None:
    annotation = read_annotation(shared_data("sentinel1", name))
    for burst in (None, 0) if annotation.bursts else (None,):
        assert read_grid(annotation, burst=burst).samples == annotation.samples
    for changes in (
        {"line_interval": 1.01 * annotation.line_interval},
        {"range_spacing": 1.01 * annotation.range_spacing},
        {"slant_range_time": 2 * annotation.slant_range_time},
        {"lines": 2 * annotation.lines},
    ):
        with pytest.raises(AnnotationError, match="contradicts itself"):
            read_grid(replace(annotation, **changes))


@pytest.mark.parametrize(
    "text", ["1_000.0", "nan", "inf", "0x10", "1.5m", "1.5 2.5", "1,5", "\u0661", "\uff11"]
)
def test_numbers_are_parsed_strictly(text: str) -> None:
    xml = re.sub("<rangePixelSpacing>[^<]*", f"<rangePixelSpacing>{text}", XML)
    with pytest.raises(AnnotationError, match="rangePixelSpacing, expected a finite number"):
        read_annotation(xml.encode())
    if text != "1.5 2.5":
        xml = re.sub("(<srgrCoefficients[^>]*>)[^ ]*", rf"\g<1>{text}", XML)
        with pytest.raises(AnnotationError, match="expected a list of finite numbers"):
            read_annotation(xml.encode())


@pytest.mark.parametrize(
    ("xml", "changes", "message"),
    [
        (GRD, {"<mode>IW": "<mode>EW"}, "'IW' of a GRD of mode EW"),
        (GRD, {"<swath>IW": "<swath>IW1"}, "'IW1' of a GRD of mode IW"),
        (GRD, {"<productType>GRD": "<productType>SLC"}, "'IW' of a SLC of mode IW"),
        (SLC, {"<productType>SLC": "<productType>GRD"}, "'IW1' of a GRD of mode IW"),
        (SLC, {"<swath>IW1": "<swath>IW4"}, "'IW4' of a SLC"),
        (SLC, {"<mode>IW": "<mode>S2", "<swath>IW1": "<swath>S3"}, "'S3' of a SLC of mode S2"),
        (SLC, {"<mode>IW": "<mode>XY"}, "'XY' at product/adsHeader/mode"),
    ],
)
def test_type_mode_and_swath_agree(xml: str, changes: dict[str, str], message: str) -> None:
    for found, replacement in changes.items():
        xml = xml.replace(found, replacement)
    with pytest.raises(AnnotationError, match=message):
        read_annotation(xml.encode())


def test_bursts_that_do_not_fill_the_image_are_refused() -> None:
    grid, orbit = synthetic_grid(lines=160, ground_range=False, sample_spacing=2.3)
    xml = annotation_xml(grid, orbit, bursts=3)
    fewer = re.sub("<burst>.*?</burst>", "", xml, count=1)
    with pytest.raises(AnnotationError, match="2 bursts of 60 lines in an image of 180 lines"):
        read_annotation(fewer.encode())
    shorter = re.sub(r"<firstValidSample[^>]*>-1 ", "<firstValidSample>", xml, count=1)
    with pytest.raises(AnnotationError, match="expected bursts that fill the image"):
        read_annotation(shorter.encode())
