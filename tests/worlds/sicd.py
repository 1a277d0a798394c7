"""SICD files, written by the NGA's own library: range-Doppler and polar-format images.

`zero_doppler_tree` describes an image whose pixels lie at even zero-Doppler times and slant ranges
(grid type RGZERO), `polar_tree` one of the polar format algorithm (RGAZIM): all its pixels are
seen from one position, at any squint. `write_sicd` writes either with pixels of any type.

Formulas are those of SICD volumes 1 and 3; only the orbit is taken from `sarheight`.

References
----------
NGA.STND.0024 (2023). Sensor Independent Complex Data (SICD), volumes 1 to 3, version 1.4.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lxml.etree
import numpy as np
import sarkit.sicd as sksicd
import sarkit.wgs84
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from tests.worlds.slc_image import Instrument, focus

Floats = NDArray[np.float64]
Tree = Any
"""An `lxml` tree; the library has no types."""
PixelType = Literal["RE32F_IM32F", "RE16I_IM16I", "AMP8I_PHS8I"]

NAMESPACE = "urn:SICD:1.4.0"
SPEED_OF_LIGHT = 299_792_458.0
DEGREE = 6
"""Degree of the polynomial of the orbit: over ten seconds it is exact to a micrometre."""
BANDWIDTH = 0.8
"""Bandwidth of the image by its sampling rate, along both axes."""
INSTRUMENT = Instrument(
    azimuth_bandwidth=BANDWIDTH, line_interval=1.0, range_bandwidth=BANDWIDTH, range_rate=1.0
)
"""Bandwidths along rows and columns, in units of the sampling rates."""
PHASES = 256
"""Steps of a turn in which an 8-bit phase counts."""


def zero_doppler_tree(
    grid: RadarGrid,
    orbit: Orbit,
    *,
    height: float = 0.0,
    spotlight: bool = False,
    look_ahead: float = 0.0,
) -> Tree:
    """Describe an image on a slant-range grid at zero Doppler, RGZERO of the RMA/INCA algorithm.

    The lines of the grid are the columns of the file, its samples the rows. Points at `height` lie
    on the grid exactly. The centre of the aperture of a pixel is `look_ahead` seconds before its
    zero-Doppler time, or of a `spotlight` image at one time for all pixels.
    """
    side = -1.0 if grid.look_side == "right" else 1.0
    start, seconds = _start(orbit, grid.first_time - 1.0 - abs(look_ahead))
    duration = grid.last_time - grid.first_time + 2.0 + 2.0 * abs(look_ahead)
    path = _path(orbit, seconds, duration)
    middle = (grid.lines - 1) // 2, (grid.samples - 1) // 2
    time = float(grid.azimuth_time(middle[0])) - seconds
    nearest = float(grid.slant_range(0, middle[1]))
    scp = _at_zero_doppler(path, np.array([time]), np.array([nearest]), side, height)[0]
    position, velocity, acceleration = _states(path, time)
    scale = 1.0 + acceleration @ (position - scp) / (velocity @ velocity)
    # The column spacing is that on the ground, to which the image is scaled.
    speed = float(scale * np.linalg.norm(velocity))
    column, row = speed * grid.line_interval, grid.sample_spacing
    # Columns ascend to the right of the direction away from the radar, seen from above: with time
    # where it looks to the right.
    rate = -side / speed
    span = [0.5 * (size - 1) for size in grid.shape]
    azimuth = np.linspace(-span[0], span[0], 9) * column
    ranges = np.linspace(-span[1], span[1], 9) * row
    x, y = np.meshgrid(ranges, azimuth, indexing="ij")
    closest = time + rate * y
    points = _at_zero_doppler(path, closest.ravel(), nearest + x.ravel(), side, height)
    position, velocity, acceleration = _states(path, closest.ravel())
    sight = position - points
    # R(t)^2 = R_CA^2 + DRSF |V|^2 (t - t_CA)^2: half its second derivative is V.V + A.(S - P).
    square = np.sum(velocity**2, axis=1)
    scale = 1.0 + np.sum(acceleration * sight, axis=1) / square
    seen = [[time - look_ahead]] if spotlight else [[time - look_ahead, rate]]
    place = _states(path, time - look_ahead)[0]
    document = _document(
        scp,
        path,
        (start, duration),
        grid,
        directions=_slant_plane(place, _states(path, time - look_ahead)[1], scp),
        pixel=(middle[1], middle[0] if side < 0.0 else grid.lines - 1 - middle[0]),
        shape=(grid.samples, grid.lines),
        spacing=(row, column),
    )
    document["Grid"] |= {"Type": "RGZERO", "TimeCOAPoly": np.array(seen)}
    document["ImageFormation"]["ImageFormAlgo"] = "RMA"
    document["RMA"] = {
        "RMAlgoType": "RG_DOP",
        "ImageType": "INCA",
        "INCA": {
            "TimeCAPoly": np.array([time, rate]),
            "R_CA_SCP": nearest,
            "FreqZero": SPEED_OF_LIGHT / grid.wavelength,
            "DRateSFPoly": _fit(x, y, scale.reshape(x.shape), (3, 2)),
        },
    }
    return _tree(document)


def polar_tree(
    grid: RadarGrid,
    orbit: Orbit,
    place: tuple[float, float, float],
    *,
    time: float,
    shape: tuple[int, int],
    spacing: tuple[float, float],
    duration: float = 4.0,
) -> Tree:
    """Describe a spotlight image of the polar format algorithm, RGAZIM, in its slant plane.

    The image, of `shape` rows and columns and `spacing` in metres, is centred on a place: latitude
    and longitude in degrees, height in metres. The satellite sees it at a `time` of the orbit,
    ahead or behind. Of the grid only epoch, side and wavelength are used.
    """
    start, seconds = _start(orbit, time - 0.5 * duration)
    path = _path(orbit, seconds, duration)
    reference = time - seconds
    scp = np.asarray(sarkit.wgs84.geodetic_to_cartesian(np.array(place)))
    position, velocity, _ = _states(path, reference)
    away, aside, normal = _slant_plane(position, velocity, scp)
    focus = np.asarray(sarkit.wgs84.up(np.array(place)))
    times = np.linspace(0.0, duration, 41)
    seen = _states(path, times)[0] - scp
    # Along the normal of the focus plane into the image plane; the angle turns from its axis.
    flat = seen - np.outer((seen @ normal) / (focus @ normal), focus)
    angle = np.arctan2(flat @ aside, -(flat @ away))
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    scale = np.sqrt((1.0 - (seen @ focus) ** 2) / (1.0 - (flat @ focus) ** 2))
    document = _document(
        scp,
        path,
        (start, duration),
        grid,
        directions=(away, aside, normal),
        pixel=((shape[0] - 1) // 2, (shape[1] - 1) // 2),
        shape=shape,
        spacing=spacing,
    )
    document["Grid"] |= {"Type": "RGAZIM", "TimeCOAPoly": np.array([[reference]])}
    document["ImageFormation"]["ImageFormAlgo"] = "PFA"
    half = 0.5 * BANDWIDTH / spacing[0]
    middle = 2.0 / grid.wavelength
    document["PFA"] = {
        "FPN": focus,
        "IPN": normal,
        "PolarAngRefTime": reference,
        # The phase history turns the other way than the satellite.
        "PolarAngPoly": polynomial.polyfit(times, -angle, DEGREE - 1),
        "SpatialFreqSFPoly": polynomial.polyfit(-angle, scale, 4),
        "Krg1": middle - half,
        "Krg2": middle + half,
        "Kaz1": -0.5 * BANDWIDTH / spacing[1],
        "Kaz2": 0.5 * BANDWIDTH / spacing[1],
    }
    return _tree(document)


def focus_points(
    tree: Tree, points: Floats, amplitude: NDArray[np.complex128]
) -> NDArray[np.complex64]:
    """Focus point scatterers, Earth-fixed, shape (n, 3), where the standard projects them.

    Squared magnitudes of the amplitudes are radar cross-sections in square metres. The image is
    beta0: its squared magnitude is radar cross-section by the area of a pixel in the slant plane.
    """
    root = sksicd.ElementWrapper(tree.getroot())
    places, _, _ = sksicd.scene_to_image(tree, points)
    row, column = np.moveaxis(sksicd.xrowycol_to_rowcol(tree, places), -1, 0)
    numbers = root["ImageData"]
    image = np.zeros((numbers["NumRows"], numbers["NumCols"]), np.complex128)
    focus(np.ascontiguousarray(row), np.ascontiguousarray(column), amplitude, INSTRUMENT, image)
    # Rows and columns are at a right angle in the slant plane.
    area = root["Grid"]["Row"]["SS"] * root["Grid"]["Col"]["SS"]
    return (image / np.sqrt(area)).astype(np.complex64)


def write_sicd(
    path: Path,
    tree: Tree,
    image: NDArray[np.complex64],
    *,
    pixels: PixelType = "RE32F_IM32F",
    step: float = 1.0,
    radiometric: Mapping[str, Any] | None = None,
    polarisation: str = "V:V",
    valid: Any = None,  # noqa: ANN401  # what makes an array
    amplitudes: Floats | None = None,
) -> Path:
    """Write rows and columns of complex numbers, in units of `step` where the type is an integer.

    `radiometric` holds elements of that name; `valid` rows and columns of the corners of the valid
    data; `amplitudes`, of 256 numbers, what 8-bit amplitudes stand for.
    """
    root = sksicd.ElementWrapper(tree.getroot())
    root["ImageData"]["PixelType"] = pixels
    root["ImageFormation"]["TxRcvPolarizationProc"] = polarisation
    if valid is not None:
        root["ImageData"]["ValidData"] = np.array(valid)
    if amplitudes is not None:
        root["ImageData"]["AmpTable"] = amplitudes
    if radiometric is None:
        radiometric = {"BetaZeroSFPoly": np.ones((1, 1))}
    if radiometric:
        root["Radiometric"].from_dict(dict(radiometric))
    security = {"security": {"clas": "U"}}
    metadata = sksicd.NitfMetadata(
        xmltree=tree,
        file_header_part={"ostaid": "tests", **security},
        im_subheader_part={"isorce": "simulated", **security},
        de_subheader_part=security,
    )
    with path.open("wb") as file, sksicd.NitfWriter(file, metadata) as writer:
        writer.write_image(_numbers(image, pixels, step, amplitudes))
    return path


def _numbers(
    image: NDArray[np.complex64], pixels: PixelType, step: float, amplitudes: Floats | None
) -> NDArray[Any]:
    """Convert complex numbers to those of a pixel type."""
    kind = sksicd.PIXEL_TYPES[pixels]["dtype"]
    if pixels == "RE32F_IM32F":
        return np.ascontiguousarray(image, dtype=kind)
    numbers = np.empty(image.shape, kind)
    if pixels == "RE16I_IM16I":
        numbers["real"], numbers["imag"] = np.rint(image.real / step), np.rint(image.imag / step)
        return numbers
    levels = step * np.arange(256.0) if amplitudes is None else amplitudes
    numbers["amp"] = np.abs(np.abs(image)[..., None] - levels).argmin(axis=-1)
    numbers["phase"] = np.rint(np.angle(image) / (2.0 * np.pi) * PHASES).astype(int) % PHASES
    return numbers


# The description.


def _start(orbit: Orbit, time: float) -> tuple[np.datetime64, float]:
    """Return a time of the orbit to a microsecond, as a time (UTC) and as seconds of the orbit."""
    start = orbit.utc(time).astype("datetime64[us]")
    return start, float((start.astype("datetime64[ns]") - orbit.epoch).astype(np.int64)) * 1e-9


def _path(orbit: Orbit, first: float, duration: float) -> Floats:
    """Fit a polynomial, shape (degree + 1, 3), to an orbit, in seconds since a time of it."""
    times = 0.5 * duration * (1.0 - np.cos(np.pi * np.arange(0.5, 20.0) / 20.0))
    scaled = polynomial.polyfit(times / duration, orbit.state(first + times)[0], DEGREE)
    path: Floats = scaled / duration ** np.arange(DEGREE + 1.0)[:, None]
    return path


def _states(path: Floats, time: Any) -> tuple[Floats, Floats, Floats]:  # noqa: ANN401  # as arrays
    """Return position, velocity and acceleration, shape (..., 3)."""
    position, velocity, acceleration = (
        np.moveaxis(polynomial.polyval(time, polynomial.polyder(path, order)), 0, -1)
        for order in range(3)
    )
    return position, velocity, acceleration


def _at_zero_doppler(
    path: Floats, time: Floats, slant_range: Floats, side: float, height: float
) -> Floats:
    """Return the points at zero Doppler, slant ranges and a height; `side` is 1 to the left."""
    position, velocity, _ = _states(path, time)
    ahead = velocity / np.linalg.norm(velocity, axis=-1, keepdims=True)
    down = -position + np.sum(position * ahead, axis=-1, keepdims=True) * ahead
    down /= np.linalg.norm(down, axis=-1, keepdims=True)
    aside = -side * np.cross(down, ahead)
    angle = np.full(time.shape, np.radians(35.0))
    for _ in range(20):
        ray = np.cos(angle)[:, None] * down + np.sin(angle)[:, None] * aside
        turn = np.cos(angle)[:, None] * aside - np.sin(angle)[:, None] * down
        points: Floats = position + slant_range[:, None] * ray
        place = sarkit.wgs84.cartesian_to_geodetic(points)
        slope = slant_range * np.sum(turn * sarkit.wgs84.up(place), axis=-1)
        angle -= (place[:, 2] - height) / slope
    return points


def _slant_plane(position: Floats, velocity: Floats, scp: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the directions of rows and columns, and the normal of their plane, away from Earth."""
    away = scp - position
    away /= np.linalg.norm(away)
    normal = np.cross(away, velocity)
    normal /= np.linalg.norm(normal) * np.sign(normal @ scp)
    return away, np.cross(normal, away), normal


def _fit(x: Floats, y: Floats, values: Floats, orders: tuple[int, int]) -> Floats:
    """Fit a polynomial in two variables."""
    scale = np.abs(x).max(), np.abs(y).max()
    terms = polynomial.polyvander2d((x / scale[0]).ravel(), (y / scale[1]).ravel(), orders)
    found = np.linalg.lstsq(terms, values.ravel(), rcond=None)[0]
    shape = orders[0] + 1, orders[1] + 1
    powers = [each ** np.arange(size) for each, size in zip(scale, shape, strict=True)]
    coefficients: Floats = found.reshape(shape) / np.outer(*powers)
    return coefficients


def _document(
    scp: Floats,
    path: Floats,
    collected: tuple[np.datetime64, float],
    grid: RadarGrid,
    *,
    directions: tuple[Floats, Floats, Floats],
    pixel: tuple[int, int],
    shape: tuple[int, int],
    spacing: tuple[float, float],
) -> dict[str, Any]:
    """Return what both kinds of image say."""
    start, duration = collected
    carrier = SPEED_OF_LIGHT / grid.wavelength
    band = {"Min": 0.99 * carrier, "Max": 1.01 * carrier}
    place = np.asarray(sarkit.wgs84.cartesian_to_geodetic(scp))
    axes = [
        {
            "UVectECF": direction,
            "SS": step,
            "ImpRespWid": 0.886 * step / BANDWIDTH,
            "Sgn": -1,
            "ImpRespBW": BANDWIDTH / step,
            "KCtr": centre,
            "DeltaK1": -0.5 * BANDWIDTH / step,
            "DeltaK2": 0.5 * BANDWIDTH / step,
        }
        for direction, step, centre in zip(
            directions, spacing, (2.0 / grid.wavelength, 0.0), strict=False
        )
    ]
    return {
        "CollectionInfo": {
            "CollectorName": "TEST-1",
            "CoreName": "2024-01-01-06-00-00_TEST-1",
            "CollectType": "MONOSTATIC",
            "RadarMode": {"ModeType": "SPOTLIGHT"},
            "Classification": "UNCLASSIFIED",
        },
        "ImageData": {
            "PixelType": "RE32F_IM32F",
            "NumRows": shape[0],
            "NumCols": shape[1],
            "FirstRow": 0,
            "FirstCol": 0,
            "FullImage": {"NumRows": shape[0], "NumCols": shape[1]},
            "SCPPixel": np.array(pixel),
        },
        "GeoData": {"EarthModel": "WGS_84", "SCP": {"ECF": scp, "LLH": place}},
        "Grid": {
            "ImagePlane": "SLANT",
            "Type": "",
            "TimeCOAPoly": np.zeros((1, 1)),
            "Row": axes[0],
            "Col": axes[1],
        },
        "Timeline": {"CollectStart": start.item(), "CollectDuration": duration},
        "Position": {"ARPPoly": path},
        "RadarCollection": {
            "TxFrequency": band,
            "TxPolarization": "V",
            "RcvChannels": {
                "@size": "1",
                "ChanParameters": [{"@index": "1", "TxRcvPolarization": "V:V"}],
            },
        },
        "ImageFormation": {
            "RcvChanProc": {"NumChanProc": 1, "ChanIndex": [1]},
            "TxRcvPolarizationProc": "V:V",
            "TStartProc": 0.0,
            "TEndProc": duration,
            "TxFrequencyProc": {"MinProc": band["Min"], "MaxProc": band["Max"]},
            "ImageFormAlgo": "",
            "STBeamComp": "NO",
            "ImageBeamComp": "NO",
            "AzAutofocus": "NO",
            "RgAutofocus": "NO",
        },
    }


def _tree(document: Mapping[str, Any]) -> Tree:
    """Make the tree of a description, with what follows from the rest of it."""
    root = lxml.etree.Element(f"{{{NAMESPACE}}}SICD", nsmap={None: NAMESPACE})
    described = sksicd.ElementWrapper(root)
    described.from_dict(dict(document))
    tree = root.getroottree()
    after = root.find(f"{{{NAMESPACE}}}ImageFormation")
    after.addnext(sksicd.compute_scp_coa(tree))
    rows, columns = (size - 1 for size in document["ImageData"]["FullImage"].values())
    corners = np.array([[0, 0], [0, columns], [rows, columns], [rows, 0]])
    points, _, _ = sksicd.image_to_constant_hae_surface(
        tree, sksicd.rowcol_to_xrowycol(tree, corners), document["GeoData"]["SCP"]["LLH"][2]
    )
    places = sarkit.wgs84.cartesian_to_geodetic(points)
    described["GeoData"]["ImageCorners"] = places[:, :2]
    return tree
