"""Orbits: read, interpolated, turned."""

from __future__ import annotations

import lzma
import re
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from sarheight_kernels.orbit import zero_doppler_time

from sarheight.acquisition import orbit_from_json, orbit_to_json
from sarheight.ellipsoid import LookSide
from sarheight.errors import AnnotationError, DamagedFileError, OrbitCoverageError
from sarheight.orbit import Orbit, look_at, parse_compact_time
from sarheight.sentinel1 import read_orbit, read_orbit_file
from tests.conftest import ANNOTATIONS, shared_data
from tests.synthetic import circular_orbit, synthetic_grid
from tests.worlds.annotations import annotation_xml, eof_xml

Floats = NDArray[np.float64]

RESORB = "S1A_OPER_AUX_RESORB_OPOD_20230823T174849_V20230823T141024_20230823T172754.EOF.xz"
DOWNLINKED = "s1b"

TO_EARTH_FIXED = Transformer.from_crs("EPSG:4979", "EPSG:4978")


def held_out(orbit: Orbit) -> Floats:
    """Leave every second vector out, and return by how many metres each is missed."""
    assert orbit.time.size >= 14
    if "annotation" in orbit.source:
        kept = Orbit.from_positions(orbit.epoch, orbit.time[::2], orbit.position[::2], "a half")
    else:
        kept = replace(
            orbit,
            time=orbit.time[::2],
            position=orbit.position[::2],
            velocity=orbit.velocity[::2],
        )
    left_out = slice(1, orbit.time.size - 1, 2)
    position = kept.state(orbit.time[left_out])[0]
    missed: Floats = np.linalg.norm(position - orbit.position[left_out], axis=1)
    return missed


# ---------------------------------------------------------------------------------- real orbits


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_vectors_left_out_of_an_annotation_are_met(name: str) -> None:
    missed = held_out(read_orbit(shared_data("sentinel1", name)))
    if DOWNLINKED in name:
        # These positions carry noise of half a millimetre, which grows where the list ends.
        assert np.median(missed) < 1e-3
        assert missed.max() < 2e-3
    else:
        assert missed.max() < 1e-4


def test_vectors_left_out_of_an_orbit_file_are_met() -> None:
    orbit = read_orbit_file(shared_data("sentinel1", "orbits", RESORB))
    missed = held_out(orbit)
    assert missed.size > 500
    assert missed.max() < 1e-3
    assert np.median(missed) < 1e-4


def test_a_window_of_an_orbit_file_is_the_same_orbit() -> None:
    path = shared_data("sentinel1", "orbits", RESORB)
    window = (np.datetime64("2023-08-23T15:10:07"), np.datetime64("2023-08-23T15:10:33"))
    part = read_orbit_file(path, window)
    assert part.epoch == window[0]
    assert part.time.size < 10
    whole = read_orbit_file(path).with_epoch(part.epoch)
    time = np.linspace(0.0, 26.0, 53)
    np.testing.assert_allclose(part.state(time)[0], whole.state(time)[0], rtol=0, atol=1e-6)
    with pytest.raises(OrbitCoverageError, match="covers 2023-08-24T15"):
        read_orbit_file(path, tuple(time + np.timedelta64(1, "D") for time in window))


# ------------------------------------------------------------------------------ simulated orbits


def test_a_circular_orbit_is_a_circle_over_a_turning_earth() -> None:
    orbit = circular_orbit(46.0, 10.0, ascending=False)
    time = np.linspace(orbit.time[0], orbit.stop, 1001)
    position, velocity = orbit.state(time)
    # Half-way in the middle, at the height and heading of Sentinel-1.
    x, y, z = orbit.state(0.0)[0]
    assert np.degrees(np.arctan2(z, np.hypot(x, y))) == pytest.approx(46.0)
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(10.0)
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), 7_071_137.0, rtol=0, atol=1e-6)
    assert (velocity[:, 2] < 0.0).all()
    # In a frame that does not turn the plane stays where it is, and the speed is Kepler's.
    turn = np.array([0.0, 0.0, 7.292115e-5])
    inertial = velocity + np.cross(turn, position)
    np.testing.assert_allclose(
        np.linalg.norm(inertial, axis=1), np.sqrt(3.986004418e14 / 7_071_137.0), rtol=1e-9
    )
    normal = np.cross(position, inertial)
    tilt = normal[:, 2] / np.linalg.norm(normal, axis=1)
    np.testing.assert_allclose(tilt, np.cos(np.radians(98.18)))


def test_a_circular_orbit_is_interpolated_to_a_micrometre() -> None:
    orbit = circular_orbit()
    finer = circular_orbit(interval=1.0)
    position, velocity = orbit.state(finer.time)
    np.testing.assert_allclose(position, finer.position, rtol=0, atol=1e-6)
    np.testing.assert_allclose(velocity, finer.velocity, rtol=0, atol=1e-6)


def test_velocities_from_positions_are_those_of_the_orbit() -> None:
    orbit = circular_orbit()
    found = Orbit.from_positions(orbit.epoch, orbit.time, orbit.position, "positions")
    inner = slice(3, -3)
    np.testing.assert_allclose(found.velocity[inner], orbit.velocity[inner], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.velocity, orbit.velocity, rtol=0, atol=2e-5)


# --------------------------------------------------------------------------------- conversions


def test_state_keeps_the_shape_of_the_times() -> None:
    orbit = circular_orbit()
    position, velocity = orbit.state([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    assert position.shape == velocity.shape == (2, 3, 3)
    np.testing.assert_array_equal(position[1, 2], orbit.state(5.0)[0])
    assert orbit.state(np.zeros((0,)))[0].shape == (0, 3)


@given(st.integers(-(10**14), 10**14))
def test_another_epoch_is_the_same_orbit(nanoseconds: int) -> None:
    orbit = circular_orbit()
    other = orbit.with_epoch(orbit.epoch + np.timedelta64(nanoseconds, "ns"))
    assert other.utc(other.time[3]) - orbit.utc(orbit.time[3]) <= np.timedelta64(1, "ns")
    np.testing.assert_allclose(
        other.state(12.5 - nanoseconds * 1e-9)[0], orbit.state(12.5)[0], rtol=0, atol=1e-6
    )


@given(st.floats(-360.0, 360.0), st.floats(-150.0, 150.0))
def test_turning_moves_the_orbit_east_and_nothing_else(degrees: float, time: float) -> None:
    orbit = circular_orbit()
    before, after = orbit.state(time), orbit.rotate(degrees).state(time)
    for old, new in zip(before, after, strict=True):
        assert new[2] == pytest.approx(old[2], abs=1e-6)
        assert np.linalg.norm(new) == pytest.approx(np.linalg.norm(old), rel=1e-12)
    east = np.degrees(np.arctan2(after[0][1], after[0][0]) - np.arctan2(before[0][1], before[0][0]))
    assert (east - degrees + 180.0) % 360.0 == pytest.approx(180.0, abs=1e-9)
    assert f"rotated by {degrees:.4f}" in orbit.rotate(degrees).source


@given(st.floats(-150.0, 150.0), st.floats(-150.0, 150.0))
def test_a_part_of_an_orbit_is_the_same_to_the_last_bit(one: float, other: float) -> None:
    orbit = circular_orbit()
    first, last = min(one, other), max(one, other)
    part = orbit.crop(first, last)
    assert 4 <= part.time.size <= (last - first) / 10.0 + 5
    for time in (first, (first + last) / 2, last):
        np.testing.assert_array_equal(part.state(time)[0], orbit.state(time)[0])


# ------------------------------------------------------------------------------------ coverage


def test_there_is_no_path_outside_the_vectors() -> None:
    orbit = circular_orbit()
    orbit.state([-150.0, 150.0])
    for time in (-150.001, 150.001, np.nan, np.inf, -1e9):
        with pytest.raises(OrbitCoverageError, match=r"found an orbit from .* pass the orbit of"):
            orbit.state([0.0, time])
        with pytest.raises(OrbitCoverageError):
            orbit.crop(0.0, time)
    # The error names both stretches of time.
    with pytest.raises(OrbitCoverageError) as caught:
        orbit.require_cover(100.0, 200.0)
    assert "2024-01-01T06:02:30" in str(caught.value)
    assert "2024-01-01T06:03:20" in str(caught.value)


# --------------------------------------------------------------------------------- bad vectors


def vectors() -> dict[str, Floats]:
    orbit = circular_orbit()
    return {"time": orbit.time, "position": orbit.position, "velocity": orbit.velocity}


def spoilt(name: str, index: object, value: float) -> dict[str, Floats]:
    arrays = vectors()
    arrays[name] = arrays[name].copy()
    arrays[name][index] = value
    return arrays


def test_vectors_that_cannot_be_used_are_refused() -> None:
    good = vectors()
    position, velocity, time = (good[name] for name in ("position", "velocity", "time"))
    # Velocities of a frame that does not turn with the Earth.
    inertial = velocity + np.cross([0.0, 0.0, 7.292115e-5], position)
    gap = {name: np.delete(values, np.s_[2:28], axis=0) for name, values in good.items()}
    for arrays, message in (
        ({name: values[:3] for name, values in good.items()}, "found 3 state vectors"),
        (good | {"velocity": velocity[:-1]}, "shapes"),
        (good | {"time": time[:, None]}, "shapes"),
        (good | {"time": time[::-1]}, "strictly ascending"),
        (spoilt("time", 5, time[4]), "strictly ascending"),
        (spoilt("time", 5, np.nan), "times that are not finite"),
        (spoilt("position", (5, 1), np.nan), "positions that are not finite"),
        (spoilt("velocity", (0, 2), np.inf), "velocities that are not finite"),
        (gap, "a gap of 270 s"),
        (good | {"position": position / 1000.0}, "convert the positions"),
        (good | {"velocity": velocity / 1000.0}, "convert velocities"),
        (good | {"velocity": inertial}, "inertial frame"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            Orbit(np.datetime64("2024-01-01"), **arrays, source="a test")
        assert "a test" in str(caught.value)
    epoch, twice = np.datetime64("2024-01-01"), np.repeat(time[:4], 2)
    with pytest.raises(ValueError, match="at least 7"):
        Orbit.from_positions(epoch, time[:6], position[:6], "a test")
    with pytest.raises(ValueError, match="strictly ascending times"):
        Orbit.from_positions(epoch, twice, position[:8], "a test")


@pytest.mark.parametrize("text", ["2023-01-15T01:34:56", "20230115", "", "20231315T013456"])
def test_times_of_other_forms_are_refused(text: str) -> None:
    assert parse_compact_time("20230115T013456") == np.datetime64("2023-01-15T01:34:56")
    with pytest.raises(ValueError, match=r"such as 20230115T013456|Month out of range"):
        parse_compact_time(text)


def test_vectors_are_kept_from_change() -> None:
    arrays = {name: values.copy() for name, values in vectors().items()}
    orbit = Orbit(np.datetime64("2024-01-01"), **arrays)
    arrays["position"][0] = 0.0
    assert np.linalg.norm(orbit.position[0]) > 7e6
    with pytest.raises(ValueError, match="read-only"):
        orbit.position[0] = 0.0


# ------------------------------------------------------------------------------------- reading


def test_an_annotation_gives_back_its_orbit() -> None:
    grid, orbit = synthetic_grid()
    read = read_orbit(annotation_xml(grid, orbit).encode())
    assert read.epoch == np.datetime64(orbit.utc(grid.line_zero_time), "s")
    time = np.linspace(-100.0, 100.0, 21)
    shift = float((read.epoch - orbit.epoch) / np.timedelta64(1, "ns")) * 1e-9
    np.testing.assert_allclose(read.state(time - shift)[0], orbit.state(time)[0], rtol=0, atol=1e-4)


def test_time_stamps_are_put_back_on_their_beat() -> None:
    grid, orbit = synthetic_grid()
    # The beat lies half-way between two microseconds, so that its stamps jitter by one.
    xml = annotation_xml(grid, orbit.with_epoch(orbit.epoch + np.timedelta64(500, "ns")))
    stamps = re.findall(r"<orbit><time>([^<]*)<", xml)
    jittered = xml
    for stamp in stamps[::3]:
        later = np.datetime64(stamp) + np.timedelta64(1, "us")
        jittered = jittered.replace(f"<time>{stamp}<", f"<time>{later}<")
    read = read_orbit(jittered.encode())
    np.testing.assert_allclose(np.diff(read.time), 10.0, rtol=0, atol=1e-12)
    # A whole millisecond is no rounding: it stays, and the vector is 8 m beside the others.
    late = np.datetime64(stamps[4]) + np.timedelta64(1, "ms")
    with pytest.raises(AnnotationError, match=rf"vector 5 of {len(stamps)}, .* lies [78]\.\d+ m"):
        read_orbit(xml.replace(f"<time>{stamps[4]}<", f"<time>{late}<").encode())


def test_wrong_velocities_in_an_annotation_do_not_matter() -> None:
    grid, orbit = synthetic_grid()
    wrong = replace(orbit, velocity=orbit.velocity + 0.02)
    right = read_orbit(annotation_xml(grid, orbit).encode())
    read = read_orbit(annotation_xml(grid, wrong).encode())
    np.testing.assert_array_equal(read.state(5.5)[0], right.state(5.5)[0])


@pytest.mark.parametrize("size", [5, 7, 8, 16, 31])
@pytest.mark.parametrize("error", [0.3, 10.0, 1000.0])
def test_one_wrong_state_vector_is_refused_and_named(size: int, error: float) -> None:
    whole = synthetic_grid()[1]
    names = ("time", "position", "velocity")
    orbit = replace(whole, **{name: getattr(whole, name)[:size] for name in names})
    orbit.require_smooth(1e-4, 1e-4)
    for index in (0, 1, size // 2, size - 1):
        position = orbit.position.copy()
        position[index, 0] += error
        named = rf"{index + 1} of {size}," if size > 8 and error > 1.0 else ".*"
        message = rf"state vector {named} of 20.* expected at most"
        with pytest.raises(ValueError, match=message) as caught:
            replace(orbit, position=position).require_smooth(0.03, 0.03)
        assert "\n" not in str(caught.value)
    for interval in (1.0, 10.0, 60.0, 150.0):
        exact = Orbit.circular(duration=12 * interval, interval=interval)
        exact.require_smooth(1e-3, 1e-3)


@pytest.mark.parametrize(
    ("position", "velocity", "message"),
    [
        (100.0, 0.0, "state vector 10 of 31, of .* lies 100 m beside .*expected at most"),
        (0.0, 1.0, "state vector 10 of 31, of .* differs by 1 m/s from the change .*at most"),
    ],
)
def test_a_wrong_state_vector_is_refused_whatever_the_file(
    position: float, velocity: float, message: str
) -> None:
    grid, orbit = synthetic_grid()
    wrong = copy(orbit)
    for name, axis, error in (("position", 0, position), ("velocity", 1, velocity)):
        values = getattr(orbit, name).copy()
        values[9, axis] += error
        object.__setattr__(wrong, name, values)
    with pytest.raises(AnnotationError, match=message):
        read_orbit(annotation_xml(grid, wrong).encode())
    with pytest.raises(AnnotationError, match=message):
        read_orbit_file(eof_xml(wrong).encode())
    with pytest.raises(DamagedFileError, match=message.partition(",")[0]):
        orbit_from_json(orbit_to_json(wrong))


def test_an_annotation_with_few_vectors_keeps_their_velocities() -> None:
    grid, orbit = synthetic_grid()
    few = orbit.crop(grid.first_time, grid.first_time)
    assert few.time.size == 4
    read = read_orbit(annotation_xml(grid, few).encode())
    np.testing.assert_allclose(read.velocity, few.velocity, rtol=0, atol=1e-5)


def test_an_orbit_file_gives_back_its_orbit(tmp_path: Path) -> None:
    orbit = circular_orbit()
    path = tmp_path / "orbit.EOF.xz"
    path.write_bytes(lzma.compress(eof_xml(orbit).encode()))
    read = read_orbit_file(path)
    assert path.name in read.source
    assert str(path.parent) not in read.source
    np.testing.assert_allclose(read.position, orbit.position, rtol=0, atol=1e-6)
    np.testing.assert_allclose(read.velocity, orbit.velocity, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.diff(read.time), 10.0, rtol=0, atol=2e-6)


def test_files_of_vectors_that_cannot_be_used_are_refused() -> None:
    """Too few, in another frame, unsorted, or of the other kind of file."""
    xml, eof = annotation_xml(*synthetic_grid()), eof_xml(circular_orbit())
    short = re.sub(r"(<orbitList[^>]*>)(<orbit>.*?</orbit>){29}", r"\1", xml)
    assert len(re.findall("<orbit>", short)) == 2
    first = re.search("<OSV>.*?</OSV>", eof).group()
    unsorted = eof.replace(first, "").replace("</List", f"{first}</List")
    frame = r"'Inertial' at .*frame, expected 'Earth Fixed'"
    for read, text, message in (
        (read_orbit, short, "found 2 state vectors, expected at least 4"),
        (
            read_orbit,
            re.sub(r"<orbit>.*</orbit>", "", xml),
            "no state vectors at product/generalAnnotation",
        ),
        (read_orbit, xml.replace("Earth Fixed", "Inertial", 1), frame),
        (read_orbit, eof, "is not a Sentinel-1 image annotation"),
        (read_orbit_file, xml, "is not an orbit file of ESA"),
        (
            read_orbit_file,
            eof.replace("EARTH_FIXED", "MEAN_OF_DATE"),
            r"'MEAN_OF_DATE' at .*Ref_Frame",
        ),
        (read_orbit_file, unsorted, "strictly ascending"),
        (read_orbit_file, re.sub("<OSV>.*</OSV>", "", eof), "no state vectors"),
    ):
        with pytest.raises(AnnotationError, match=message):
            read(text.encode())


# ------------------------------------------------------------------------------------- look_at


def seen_under(orbit: Orbit, place: tuple[float, float, float]) -> tuple[float, float]:
    """Incidence angle and side (+1 right), by pyproj and by finite differences."""
    latitude, longitude, height = place
    point = np.array(TO_EARTH_FIXED.transform(latitude, longitude, height))
    above = np.array(TO_EARTH_FIXED.transform(latitude, longitude, height + 1.0))
    time = zero_doppler_time(*point, 0.0, orbit.start, orbit.coefficients)
    position, velocity = orbit.state(time)
    sight = position - point
    cosine = (above - point) @ sight / np.linalg.norm(sight)
    side = np.sign(np.cross(velocity, position) @ -sight)
    return float(np.degrees(np.arccos(cosine))), float(side)


@given(
    st.floats(-70.0, 70.0),
    st.floats(-180.0, 180.0),
    st.floats(15.0, 60.0),
    st.floats(0.0, 5000.0),
    st.sampled_from(["right", "left"]),
    st.booleans(),
)
def test_a_turned_orbit_sees_the_place_under_the_angle(
    latitude: float,
    longitude: float,
    incidence: float,
    height: float,
    look_side: LookSide,
    ascending: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    orbit = circular_orbit(latitude, 33.0, ascending=ascending, duration=800.0, interval=40.0)
    turn = look_at(orbit, latitude, longitude, incidence, look_side=look_side, height=height)
    assert -180.0 <= turn <= 180.0
    found, side = seen_under(orbit.rotate(turn), (latitude, longitude, height))
    assert found == pytest.approx(incidence, abs=1e-3)
    assert side == (1.0 if look_side == "right" else -1.0)


def test_a_long_orbit_passes_a_latitude_twice() -> None:
    orbit = Orbit.circular(latitude=0.0, duration=5000.0, interval=20.0)
    turns = {north: look_at(orbit, 46.0, 10.0, 34.0, ascending=north) for north in (True, False)}
    assert abs(turns[True] - turns[False]) > 30.0
    assert look_at(orbit, 46.0, 10.0, 34.0) == turns[True]


def test_what_is_never_seen_is_an_error() -> None:
    orbit = circular_orbit(46.0)
    with pytest.raises(ValueError, match=r"reaches 81\.82 at most"):
        Orbit.circular(latitude=85.0)
    with pytest.raises(OrbitCoverageError, match=r"sees latitudes .* expected one that sees -20"):
        look_at(orbit, -20.0, 10.0, 34.0)
    with pytest.raises(OrbitCoverageError, match="as it flies south"):
        look_at(orbit, 46.0, 10.0, 34.0, ascending=False)
    for incidence in (0.0, 90.0, -34.0, np.nan):
        with pytest.raises(ValueError, match="found an incidence of"):
            look_at(orbit, 46.0, 10.0, incidence)
    with pytest.raises(ValueError, match="look side is 'up'"):
        look_at(orbit, 46.0, 10.0, 34.0, look_side="up")  # type: ignore[arg-type]
