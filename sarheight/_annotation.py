"""What Sentinel-1 annotations and orbit files say, as far as the geometry needs it.

`sarheight._annotation_xml` reads it; `sarheight.orbit` and `sarheight.scene` make their objects of
it and never see the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Annotation",
    "BurstTiming",
    "GeolocationGrid",
    "RangeConversion",
    "Spectrum",
    "StateVectors",
    "SwathProcessing",
]

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class StateVectors:
    """State vectors of a satellite, Earth-fixed.

    Attributes
    ----------
    time : array of datetime64[ns], shape (n,)
    position, velocity : array, shape (n, 3)
        In metres and metres per second.
    """

    time: Times
    position: Floats
    velocity: Floats


@dataclass(frozen=True, eq=False)
class GeolocationGrid:
    """ESA's geolocation grid, one value for each point.

    Attributes
    ----------
    line, pixel : array of int, shape (n,)
        Place in the image file. In an IW or EW SLC the bursts stand one after the other in the
        file, `linesPerBurst` lines each.
    azimuth_time : array of datetime64[ns], shape (n,)
        Zero-Doppler time.
    slant_range_time : array, shape (n,)
        Two-way, in seconds.
    latitude, longitude, height : array, shape (n,)
        In degrees, and metres above the WGS84 ellipsoid.
    incidence_angle, elevation_angle : array, shape (n,)
        In degrees.
    """

    line: NDArray[np.int64]
    pixel: NDArray[np.int64]
    azimuth_time: Times
    slant_range_time: Floats
    latitude: Floats
    longitude: Floats
    height: Floats
    incidence_angle: Floats
    elevation_angle: Floats


@dataclass(frozen=True, eq=False)
class RangeConversion:
    """Polynomials between slant range and ground range, one record for each of k times.

    Attributes
    ----------
    azimuth_time : array of datetime64[ns], shape (k,)
    slant_origin, ground_origin : array, shape (k,)
        In metres.
    slant_to_ground, ground_to_slant : array, shape (k, d)
        Coefficients from the constant upwards, in metres.
    """

    azimuth_time: Times
    slant_origin: Floats
    slant_to_ground: Floats
    ground_origin: Floats
    ground_to_slant: Floats


@dataclass(frozen=True, eq=False)
class BurstTiming:
    """A burst of an SLC.

    Attributes
    ----------
    azimuth_time : datetime64[ns]
        Zero-Doppler time of the burst's first line.
    first_valid_sample, last_valid_sample : array of int, shape (lines,)
        Of each line; -1 where the whole line is invalid.
    """

    azimuth_time: np.datetime64
    first_valid_sample: NDArray[np.int64]
    last_valid_sample: NDArray[np.int64]


@dataclass(frozen=True)
class Spectrum:
    """The part of the spectrum that was made into one look, and how it was weighted.

    Attributes
    ----------
    bandwidth : float
        In hertz.
    window : float
        Coefficient a of the Hamming window a + (1 - a) cos(2 π f / bandwidth) on amplitudes; 1
        where there is none, or one of another kind.
    """

    bandwidth: float
    window: float


@dataclass(frozen=True)
class SwathProcessing:
    """How a swath was focused.

    Attributes
    ----------
    swath : str
        Such as "IW1".
    range, azimuth : Spectrum
    """

    swath: str
    range: Spectrum
    azimuth: Spectrum


@dataclass(frozen=True, eq=False)
class Annotation:
    """What one annotation file says of an image's geometry.

    Attributes
    ----------
    name : str
        The file, as it is called in errors.
    mission, product_type, mode, swath, polarisation, passing : str
        Such as "S1A", "GRD", "IW", "IW1", "VV", "Ascending".
    first_line_time : datetime64[ns]
        Zero-Doppler time of the first line.
    line_interval : float
        Seconds between lines.
    lines, samples : int
        Size of the image file.
    range_spacing : float
        Metres between samples; on the ground for a GRD.
    slant_range_time : float
        Two-way time to the first sample, in seconds.
    range_sampling_rate, radar_frequency : float
        In hertz.
    processed_looks : int
        Number of looks that were averaged, in range times in azimuth; the least of all swaths.
    processing : tuple of SwathProcessing
        Of each swath in the image; empty where the file does not say.
    state_vectors : StateVectors
    geolocation : GeolocationGrid
    range_conversion : RangeConversion or None
        None for an SLC.
    lines_per_burst : int
        0 where there are no bursts.
    bursts : tuple of BurstTiming
    """

    name: str
    mission: str
    product_type: str
    mode: str
    swath: str
    polarisation: str
    passing: str
    first_line_time: np.datetime64
    line_interval: float
    lines: int
    samples: int
    range_spacing: float
    slant_range_time: float
    range_sampling_rate: float
    radar_frequency: float
    processed_looks: int
    processing: tuple[SwathProcessing, ...]
    state_vectors: StateVectors
    geolocation: GeolocationGrid
    range_conversion: RangeConversion | None
    lines_per_burst: int
    bursts: tuple[BurstTiming, ...]
