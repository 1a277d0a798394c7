"""The SAFE format of Sentinel-1 products: calibration, noise, measurements and manifest."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self
from xml.etree.ElementTree import tostring

import numpy as np
import rasterio
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

from sarheight._runtime import ignore_missing_georeference
from sarheight.ellipsoid import look_sign, points_at_ranges
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from sarheight.scene import Calibration
from tests.worlds.annotations import header_xml

Floats = NDArray[np.float64]

TIMES = "20240101t055958-20240101t060002-051919-0645f1"
ORBIT, RELATIVE_ORBIT = 51919, 22
CALIBRATION_FOLDER = "annotation/calibration"
NAMESPACES = (
    "xmlns:xfdu='urn:ccsds:schema:xfdu:1' xmlns:safe='http://www.esa.int/safe/sentinel-1.0' "
    "xmlns:s1='http://www.esa.int/safe/sentinel-1.0/sentinel-1' "
    "xmlns:s1sarl1='http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1' "
    "xmlns:gml='http://www.opengis.net/gml'"
)
SCHEMAS = {"/calibration-": "Calibration", "/noise-": "Noise", "measurement/": "Measurement"}

NAMES: dict[Calibration, str] = {"beta0": "betaNought", "sigma0": "sigmaNought", "gamma0": "gamma"}
"""Names of the calibration vectors."""

BLOCK = 512
"""Lines of a measurement to write at once."""


# Calibration and noise.


@dataclass(frozen=True, eq=False)
class Tables:
    """Calibration and noise of an image file at nodes, between which they are bilinear."""

    lines: NDArray[np.int64]
    pixels: NDArray[np.int64]
    amplitude: Mapping[str, Floats]  # factors by name, as in `NAMES`; shape (lines, pixels)
    noise: Floats  # in squared digital numbers
    # Factors of the noise along azimuth, every tenth line of blocks: first and last line and
    # sample.
    blocks: tuple[tuple[int, int, int, int], ...] = ()
    slope: float = 0.001  # of the factors, which begin with 1

    @classmethod
    def known(
        cls,
        beta: float = 200.0,
        noise: float = 900.0,
        blocks: tuple[tuple[int, int, int, int], ...] = ((0, 99, 0, 119), (100, 199, 0, 119)),
    ) -> Self:
        """Make tables by formulas: of each kind other values, and nowhere the same."""
        lines, pixels = np.array([-40, 30, 150, 260]), np.array([0, 40, 100, 249])
        line, pixel = np.meshgrid(lines, pixels, indexing="ij")
        shape = beta * (1.0 + 3e-4 * line + 5e-4 * pixel + 2e-6 * line * pixel)
        factors = {"sigmaNought": 1.3, "betaNought": 1.0, "gamma": 1.2, "dn": 0.9}
        return cls(
            lines,
            pixels,
            {name: factor * shape for name, factor in factors.items()},
            noise * (1.0 + 1e-3 * line - 1e-3 * pixel),
            blocks,
        )

    @classmethod
    def of_ellipsoid(cls, grid: RadarGrid, orbit: Orbit, lines: int) -> Self:
        r"""Make the tables of an image file whose factor for beta0 is 1, without noise.

        With :math:`|DN|^2 = A_\beta^2 \beta^0`, :math:`\sigma^0 = \beta^0 \sin\theta` and
        :math:`\gamma^0 = \beta^0 \tan\theta`, where :math:`\theta` is the incidence on the
        ellipsoid in the middle line, :math:`A_\sigma = A_\beta / \sqrt{\sin\theta}` and
        :math:`A_\gamma = A_\beta / \sqrt{\tan\theta}` (Miranda, N. and Meadows, P. J. (2015),
        ESA-EOPG-CSCOP-TN-0002).
        """
        pixels = np.unique(np.append(np.arange(0, grid.samples, 40), grid.samples - 1))
        middle = grid.lines // 2
        position, velocity = orbit.state(float(grid.azimuth_time(middle)))
        points = points_at_ranges(
            position, velocity, grid.slant_range(middle, pixels), look_sign(grid.look_side), 0.0
        )
        sight = position - points
        # The normal of the ellipsoid x²/a² + y²/a² + z²/b² = 1.
        normal = points * np.array([1.0, 1.0, 1.0 / (1.0 - 0.00669437999014)])
        cosine = np.sum(sight * normal, axis=1)
        cosine /= np.linalg.norm(sight, axis=1) * np.linalg.norm(normal, axis=1)
        incidence = np.arccos(cosine)
        rows = {
            "sigmaNought": 1.0 / np.sqrt(np.sin(incidence)),
            "betaNought": np.ones(pixels.size),
            "gamma": 1.0 / np.sqrt(np.tan(incidence)),
            "dn": np.ones(pixels.size),
        }
        ends = np.array([0, lines - 1])
        return cls(
            ends,
            pixels,
            {name: np.stack([row, row]) for name, row in rows.items()},
            np.zeros((2, pixels.size)),
            ((0, lines - 1, 0, grid.samples - 1),),
            slope=0.0,
        )

    def scaled(self, factor: float) -> Tables:
        """Return the tables times a factor."""
        amplitude = {name: factor * values for name, values in self.amplitude.items()}
        return replace(self, amplitude=amplitude)

    def at(self, nodes: Floats, lines: Floats, samples: Floats) -> Floats:
        """Interpolate values at the nodes, shape (lines, samples)."""
        weights = [
            np.stack([np.interp(wanted, axis, unit) for unit in np.eye(axis.size)])
            for wanted, axis in ((lines, self.lines), (samples, self.pixels))
        ]
        values: Floats = weights[0].T @ (nodes @ weights[1])
        return values

    def factors(self, block: tuple[int, int, int, int]) -> tuple[list[int], list[float]]:
        """Return the lines and factors of a block along azimuth."""
        lines = sorted({*range(block[0], block[1] + 1, 10), block[1]})
        return lines, [1.0 + self.slope * (line - block[0]) for line in lines]


def _row(name: str, values: NDArray[Any] | Sequence[float]) -> str:
    text = " ".join(f"{value:.9e}" if isinstance(value, float) else f"{value}" for value in values)
    return f"<{name} count='{len(values)}'>{text}</{name}>"


def calibration_xml(tables: Tables, header: str = "") -> str:
    """Write the calibration of an image, by default of an IW GRD in VV."""
    vectors = "".join(
        "<calibrationVector><azimuthTime>2024-01-01T06:00:00.000000</azimuthTime>"
        f"<line>{line}</line>{_row('pixel', tables.pixels)}"
        + "".join(_row(name, values[index]) for name, values in tables.amplitude.items())
        + "</calibrationVector>"
        for index, line in enumerate(tables.lines)
    )
    return (
        f"<?xml version='1.0'?><calibration>{header or header_xml()}"
        "<calibrationInformation><absoluteCalibrationConstant>1.000000e+00</absoluteCalibrationConstant>"
        "</calibrationInformation>"
        f"<calibrationVectorList count='{len(tables.lines)}'>{vectors}</calibrationVectorList>"
        "</calibration>"
    )


def noise_xml(tables: Tables, header: str = "", *, old: bool = False) -> str:
    """Write the noise of an image, as IPF 2.9 and later do, or as older ones did."""
    header = header or header_xml()
    vector, values = ("noiseVector", "noiseLut") if old else ("noiseRangeVector", "noiseRangeLut")
    vectors = "".join(
        f"<{vector}><azimuthTime>2024-01-01T06:00:00.000000</azimuthTime><line>{line}</line>"
        f"{_row('pixel', tables.pixels)}{_row(values, tables.noise[index])}</{vector}>"
        for index, line in enumerate(tables.lines)
    )
    swath = fromstring(header).findtext("swath")
    blocks = ""
    for block in () if old else tables.blocks:
        lines, factors = tables.factors(block)
        blocks += (
            f"<noiseAzimuthVector><swath>{swath}</swath><firstAzimuthLine>{block[0]}"
            f"</firstAzimuthLine><firstRangeSample>{block[2]}</firstRangeSample>"
            f"<lastAzimuthLine>{block[1]}</lastAzimuthLine><lastRangeSample>{block[3]}"
            f"</lastRangeSample>{_row('line', lines)}"
            f"{_row('noiseAzimuthLut', factors)}</noiseAzimuthVector>"
        )
    return (
        f"<?xml version='1.0'?><noise>{header}<{vector}List>{vectors}</{vector}List>"
        f"<noiseAzimuthVectorList>{blocks}</noiseAzimuthVectorList></noise>"
    )


# Manifest and files.


def manifest_xml(
    files: Mapping[str, bytes | Path],
    *,
    mission: str = "A",
    mode: str = "IW",
    kind: str = "GRD",
    swaths: Sequence[str] = ("IW",),
    polarisations: Sequence[str] = ("VV", "VH"),
    version: str = "003.71",
    start: str = "2024-01-01T05:59:58.000000",
    stop: str = "2024-01-01T06:00:02.000000",
    orbit: tuple[int, int] = (ORBIT, RELATIVE_ORBIT),
    passing: str = "ASCENDING",
    corners: Sequence[tuple[float, float]] = ((46.0, 10.0), (46.0, 10.1), (46.1, 10.1), (46.1, 10)),
    description: str = "SAR Standard L1 Product",
) -> str:
    """Write the manifest of files; `corners` are pairs of latitude and longitude."""

    def repeated(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}>{value}</{tag}>" for value in values)

    def schema(name: str) -> str:
        kinds = (written for part, written in SCHEMAS.items() if part in name)
        return f"s1Level1{next(kinds, 'Product')}Schema"

    listed = "".join(
        f"<dataObject ID='x{index}' repID='{schema(name)}'>"
        f"<byteStream mimeType='text/xml' size='{size}'>"
        f"<fileLocation locatorType='URL' href='./{name}'/>"
        f"<checksum checksumName='MD5'>{checksum}</checksum></byteStream></dataObject>"
        for index, (name, (size, checksum)) in enumerate(
            (name, _size_and_checksum(data)) for name, data in files.items()
        )
    )
    orbits = "".join(
        f"<safe:{name} type='{end}'>{number}</safe:{name}>"
        for name, number in zip(("orbitNumber", "relativeOrbitNumber"), orbit, strict=True)
        for end in ("start", "stop")
    )
    place = " ".join(f"{latitude:.6f},{longitude:.6f}" for latitude, longitude in corners)
    return (
        f"<?xml version='1.0'?><xfdu:XFDU {NAMESPACES}><metadataSection>"
        f"<safe:processing><safe:software name='Sentinel-1 IPF' version='{version}'/>"
        "</safe:processing><safe:platform><safe:familyName>SENTINEL-1</safe:familyName>"
        f"<safe:number>{mission}</safe:number><s1sarl1:instrumentMode>"
        f"<s1sarl1:mode>{mode}</s1sarl1:mode>{repeated('s1sarl1:swath', swaths)}"
        "</s1sarl1:instrumentMode></safe:platform>"
        f"<safe:orbitReference>{orbits}<s1:pass>{passing}</s1:pass>"
        f"<s1:ascendingNodeTime>{start}</s1:ascendingNodeTime></safe:orbitReference>"
        "<s1sarl1:standAloneProductInformation>"
        "<s1sarl1:missionDataTakeID>411121</s1sarl1:missionDataTakeID>"
        f"{repeated('s1sarl1:transmitterReceiverPolarisation', polarisations)}"
        f"<s1sarl1:productClassDescription>{description}</s1sarl1:productClassDescription>"
        f"<s1sarl1:productType>{kind}</s1sarl1:productType>"
        "</s1sarl1:standAloneProductInformation>"
        f"<safe:acquisitionPeriod><safe:startTime>{start}</safe:startTime>"
        f"<safe:stopTime>{stop}</safe:stopTime></safe:acquisitionPeriod>"
        f"<safe:footPrint><gml:coordinates>{place}</gml:coordinates></safe:footPrint>"
        f"</metadataSection><dataObjectSection>{listed}</dataObjectSection></xfdu:XFDU>"
    )


def _size_and_checksum(data: bytes | Path) -> tuple[int, str]:
    with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as file:
        checksum = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return file.tell(), checksum.hexdigest()


class Pixels(Protocol):
    """Numbers of an image file whose lines can be taken."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, lines: slice, /) -> NDArray[Any]: ...


def tiff(path: Path, values: Pixels, dtype: str = "uint16", **options: object) -> None:
    """Write a measurement.

    It has ground control points as real ones do: without any, rasterio warns, and filters of
    warnings, which all threads share, are no place to count on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines, samples = values.shape
    placed: dict[str, object] = {
        "crs": "EPSG:4326",
        "gcps": [
            GroundControlPoint(row, column, 10.0 + 0.1 * column / samples, 46.0 + 0.1 * row / lines)
            for row in (0, lines - 1)
            for column in (0, samples - 1)
        ],
    }
    with (
        ignore_missing_georeference(),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=lines,
            width=samples,
            count=1,
            dtype=dtype,
            **(placed | options),
        ) as file,
    ):
        for first in range(0, lines, BLOCK):
            block = values[first : min(first + BLOCK, lines)]
            file.write(block, 1, window=Window(0, first, samples, len(block)))


def save(
    folder: Path, files: Mapping[str, str | bytes], manifest: Mapping[str, Any] | None = None
) -> None:
    """Write files of a product beside those that are there, and the manifest of all."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    listed = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.safe"
    }
    (folder / "manifest.safe").write_text(manifest_xml(listed, **(manifest or {})))


def pack(folder: Path, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Zip a SAFE folder as the archive does."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


@dataclass(frozen=True, eq=False)
class Picture:
    """An image of a product."""

    annotation: str
    numbers: Pixels  # those of the image file
    tables: Tables


def write_safe(
    path: Path,
    pictures: Sequence[Picture],
    *,
    old: bool = False,
    tiff_options: Mapping[str, object] | None = None,
    **manifest: Any,  # noqa: ANN401  # as of `manifest_xml`
) -> Path:
    """Write images as a product; with `old`, as IPF 2.72 did."""
    files: dict[str, str | bytes] = {}
    swaths, polarisations = [], []
    kind = ""
    for number, picture in enumerate(pictures, start=1):
        header = fromstring(picture.annotation).find("adsHeader")
        kind, swath, polarisation = (
            header.findtext(name) for name in ("productType", "swath", "polarisation")
        )
        stem = f"s1a-{swath}-{kind}-{polarisation}-{TIMES}-{number:03d}".lower()
        dtype = "uint16" if kind == "GRD" else "complex_int16"
        tiff(path / f"measurement/{stem}.tiff", picture.numbers, dtype, **(tiff_options or {}))
        beside = f"{CALIBRATION_FOLDER}/{{}}-{stem}.xml"
        text = tostring(header, encoding="unicode")
        files[f"annotation/{stem}.xml"] = picture.annotation
        files[beside.format("calibration")] = calibration_xml(picture.tables, text)
        files[beside.format("noise")] = noise_xml(picture.tables, text, old=old)
        swaths.append(swath)
        polarisations.append(polarisation)
    facts = {
        "kind": kind,
        "swaths": tuple(dict.fromkeys(swaths)),
        "polarisations": tuple(dict.fromkeys(polarisations)),
        "version": "002.72" if old else "003.71",
    }
    save(path, files, facts | manifest)
    return path
