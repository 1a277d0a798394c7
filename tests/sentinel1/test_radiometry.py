"""Calibration and thermal noise against an interpolation that others wrote."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.errors import AnnotationError
from sarheight.scene import Calibration
from sarheight.sentinel1 import read_annotation
from sarheight.sentinel1._radiometry import (
    REACH,
    WINDOW,
    Radiometry,
    image_samples,
    read_calibration,
    read_noise,
)
from tests.conftest import shared_data
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml
from tests.worlds.safe import NAMES, Tables, calibration_xml, noise_xml

Floats = NDArray[np.float64]

TABLES = Tables.known()
ANNOTATION = read_annotation(annotation_xml(*synthetic_grid()).encode())
CALIBRATION, NOISE = calibration_xml(TABLES).encode(), noise_xml(TABLES).encode()
RADIOMETRY = Radiometry.from_xml(CALIBRATION, NOISE, ANNOTATION)


def expected_noise(lines: Floats, samples: Floats) -> Floats:
    noise = TABLES.at(TABLES.noise, lines, samples)
    for block in TABLES.blocks:
        first_line, last_line, first_sample, last_sample = block
        inside = (lines >= first_line) & (lines <= last_line)
        across = (samples >= first_sample) & (samples <= last_sample)
        factors = np.where(inside, 1.0 + 0.001 * (lines - first_line), 1.0)
        noise *= np.where(across[None], factors[:, None], 1.0)
    return noise


@pytest.mark.parametrize("calibration", NAMES)
@given(
    first_line=st.integers(0, 190),
    first_sample=st.integers(0, 240),
    height=st.integers(1, 12),
    width=st.integers(1, 9),
)
def test_blocks_are_calibrated_as_an_independent_interpolation_says(
    calibration: Calibration, first_line: int, first_sample: int, height: int, width: int
) -> None:
    lines = np.arange(first_line, first_line + height, dtype=np.float64)
    samples = np.arange(first_sample, first_sample + width, dtype=np.float64)
    power = np.random.default_rng(1).gamma(4.0, 500.0, (height, width))
    amplitude = TABLES.at(TABLES.amplitude[NAMES[calibration]], lines, samples)
    noise = expected_noise(lines, samples)
    found = RADIOMETRY.calibrate(power, first_line, first_sample, calibration)
    assert found.dtype == np.float32
    scale = power.max() / amplitude**2
    assert np.abs(found - (power - noise) / amplitude**2).max() < 3e-6 * scale.max()
    plain = RADIOMETRY.calibrate(power, first_line, first_sample, calibration, noise_removal=False)
    np.testing.assert_allclose(plain, power / amplitude**2, rtol=2e-6)


def test_blocks_join_without_a_seam() -> None:
    power = np.full((200, 250), 5000.0, dtype=np.float32)

    def part(line: int, sample: int) -> NDArray[np.float32]:
        block = power[line : line + 60, sample : sample + 70]
        return RADIOMETRY.calibrate(block, line, sample, "gamma0")

    parts = [[part(line, sample) for sample in range(0, 250, 70)] for line in range(0, 200, 60)]
    whole = RADIOMETRY.calibrate(power, 0, 0, "gamma0")
    np.testing.assert_allclose(np.block(parts), whole, rtol=3e-6)


def test_what_is_darker_than_the_noise_stays_below_zero() -> None:
    found = RADIOMETRY.calibrate(np.zeros((3, 4), dtype=np.float32), 10, 130, "beta0")
    assert (found < 0.0).all()
    assert np.isnan(RADIOMETRY.calibrate(np.full((2, 2), np.nan), 0, 0, "beta0")).all()
    # Speckled noise alone is zero on average, so that means of dark land are not too bright.
    lines, samples = np.arange(200.0), np.arange(250.0)
    noise = RADIOMETRY.noise_power(lines, samples)
    assert noise is not None
    speckle = noise * np.random.default_rng(2).gamma(4.4, 1 / 4.4, noise.shape)
    mean = RADIOMETRY.calibrate(speckle, 0, 0, "beta0").mean()
    assert abs(mean) < 0.02 * (noise / 200.0**2).mean()


def test_beyond_the_first_and_last_vector_the_nearest_goes_on() -> None:
    power = np.ones((2, 3), dtype=np.float32)
    late = RADIOMETRY.calibrate(power, 260, 10, "beta0", noise_removal=False)
    later = RADIOMETRY.calibrate(power, 900, 10, "beta0", noise_removal=False)
    np.testing.assert_allclose(later, late[[-1, -1]], rtol=1e-6)


def test_noise_of_old_processors_has_no_factors_along_azimuth() -> None:
    old = Radiometry.from_xml(CALIBRATION, noise_xml(TABLES, old=True).encode(), ANNOTATION)
    lines, samples = np.arange(0.0, 200.0), np.arange(0.0, 240.0)
    expected = TABLES.at(TABLES.noise, lines, samples)
    np.testing.assert_allclose(old.noise_power(lines, samples), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("version", "factor"),
    [(2.31, 75088.7 * 180.0), (2.36, 75088.7 * 180.0**2), (2.53, 1.0), (float("nan"), 1.0)],
)
def test_noise_of_the_first_processors_is_scaled(version: float, factor: float) -> None:
    xml = noise_xml(Tables.known(noise=1e-5), old=True).encode()
    noise = read_noise(xml, ANNOTATION, processor_version=version, digital_number=180.0)
    found = noise.block(np.array([30.0]), np.array([0.0]))
    assert found is not None
    assert float(found[0, 0]) == pytest.approx(1.03e-5 * factor, rel=1e-6)


def test_the_calibration_constant_is_that_of_the_first_vector() -> None:
    found = read_calibration(CALIBRATION, ANNOTATION).digital_number
    assert found == pytest.approx(TABLES.amplitude["dn"][0, 0])
    with pytest.raises(AnnotationError, match="is not a calibration annotation"):
        read_calibration(NOISE, ANNOTATION)


def test_a_block_without_corners_is_the_whole_image() -> None:
    whole = Tables.known(blocks=((0, 199, 0, 249),))
    xml = noise_xml(whole)
    bare = re.sub(r"<(first|last)(Azimuth|Range)\w+>\d+</\w+>", "", xml)
    assert len(bare) < len(xml)
    lines, samples = np.arange(0.0, 200.0), np.arange(0.0, 250.0)
    found, expected = (read_noise(text.encode(), ANNOTATION) for text in (bare, xml))
    np.testing.assert_array_equal(found.block(lines, samples), expected.block(lines, samples))


def test_two_vectors_of_one_line_are_a_step() -> None:
    xml = NOISE.decode().replace("<line>150", "<line>30", 1).encode()
    found = read_noise(xml, ANNOTATION).block(np.array([30.0, 31.0]), np.array([200.0]))
    assert found is not None
    assert found[1, 0] == pytest.approx(found[0, 0], rel=0.02)


def test_noise_of_nothing_but_zeros_is_none() -> None:
    xml = re.sub(r"(<noiseRangeLut[^>]*>)[^<]*", r"\g<1>0 0 0 0", noise_xml(TABLES)).encode()
    silent = Radiometry.from_xml(CALIBRATION, xml, ANNOTATION)
    power = np.full((3, 4), 700.0)
    expected = RADIOMETRY.calibrate(power, 5, 5, "sigma0", noise_removal=False)
    np.testing.assert_array_equal(silent.calibrate(power, 5, 5, "sigma0"), expected)
    without = Radiometry.from_xml(CALIBRATION, None, ANNOTATION)
    np.testing.assert_array_equal(without.calibrate(power, 5, 5, "sigma0"), expected)


def test_real_calibration_keeps_the_ratios_of_the_ellipsoid() -> None:
    files = shared_data("sentinel1", "alps_20210401")
    (calibration,) = files.glob("calibration-*iw1-slc-vv*.xz")
    image = read_annotation(next(files.glob("s1b-iw1-slc-vv-*.xz")))
    radiometry = Radiometry.from_xml(calibration, None, image)
    power = np.ones((1, 1))
    points = image.geolocation
    near = int(np.argmin(points.incidence_angle))
    beta, sigma, gamma = (
        radiometry.calibrate(power, int(points.line[near]), int(points.pixel[near]), name).item()
        for name in NAMES
    )
    angle = np.radians(points.incidence_angle[near])
    assert sigma / beta == pytest.approx(np.sin(angle), rel=6e-3)
    assert gamma / beta == pytest.approx(np.tan(angle), rel=1e-2)


# ---------------------------------------------------------------------------------------- borders


def inside(
    near: int = 0, far: int = 0, lines: slice = slice(0), dark: int = 0
) -> NDArray[np.bool_]:
    """Find land at five times the noise.

    It has remains at a twentieth of the noise along both sides, lines of next to nothing, and dark
    water at the near side.
    """
    random = np.random.default_rng(8)
    noise = np.full((40, 6000), 400.0, dtype=np.float32)
    power = (2000.0 * random.gamma(4.4, 1 / 4.4, noise.shape)).astype(np.float32)
    weak = (20.0 * random.gamma(1.0, 1.0, noise.shape)).astype(np.float32)
    power[:, :near] = weak[:, :near]
    power[:, 6000 - far :] = weak[:, 6000 - far :]
    power[lines] *= 0.001
    power[:, :dark] *= 0.01
    return image_samples(power, noise)


def test_borders_are_found_within_half_a_window() -> None:
    found = inside(near=700, far=300)
    assert not found[:, :700].any()
    assert not found[:, -300:].any()
    assert found[:, 700 + WINDOW : -300 - WINDOW].all()


def test_lines_before_the_datatake_have_no_image() -> None:
    found = inside(lines=slice(5))
    assert not found[:5].any()
    assert found[5:].all()


def test_what_has_no_borders_is_kept_whole() -> None:
    """Nor is wide dark water at the side one."""
    assert inside().all()
    assert inside(dark=REACH + 200).all()


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("xml", "found", "replacement", "message"),
    [
        (CALIBRATION, "<polarisation>VV", "<polarisation>VH", "'VH' at .*expected 'VV' as in"),
        (CALIBRATION, "<swath>IW", "<swath>EW", "'EW' at .*expected 'IW'"),
        (CALIBRATION, r"(<pixel[^>]*>)0 40", r"\g<1>40 0", "pixels that do not ascend"),
        (CALIBRATION, r"(<betaNought[^>]*>)\S+ ", r"\1", "3 values at .*one for each of 4 pixels"),
        (CALIBRATION, r"(<gamma[^>]*>)\S+", r"\g<1>0", "the value 0 at .*expected at least"),
        (CALIBRATION, r"(<sigmaNought[^>]*>)\S+", r"\g<1>nan", "expected a list of finite numbers"),
        (CALIBRATION, "<calibrationVectorL.*VectorList>", "", "no vectors at"),
        (NOISE, "<polarisation>VV", "<polarisation>HH", "'HH' at .*expected 'VV'"),
        (NOISE, r"(<noiseRangeLut[^>]*>)\S+", r"\g<1>-1", "the value -1 at .*expected at least 0"),
        (NOISE, r"(<noiseAzimuthLut[^>]*>)\S+ ", r"\1", "10 factors of 11 lines"),
        (NOISE, r"(<noiseAzimuthLut[^>]*>)\S+", r"\g<1>-2", "the factor -2 at .*none below zero"),
        (NOISE, "<noiseRangeVectorList>.*</noiseRangeVectorList>", "", "no vectors at"),
        (NOISE, r"<lastRangeSample>\d+", "<lastRangeSample>", "nothing at .*lastRangeSample"),
    ],
)
def test_tables_that_make_no_sense_are_refused(
    xml: bytes, found: str, replacement: str, message: str
) -> None:
    spoilt = re.sub(found, replacement, xml.decode(), count=1).encode()
    files = (spoilt, NOISE) if xml is CALIBRATION else (CALIBRATION, spoilt)
    with pytest.raises(AnnotationError, match=message):
        Radiometry.from_xml(*files, ANNOTATION)
