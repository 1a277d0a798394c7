"""Whole Sentinel-1 products, as small as they can be, with pixels and tables that are known.

Import it as ``from tests.products import grd_product, pack, slc_product``.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from scipy.interpolate import RegularGridInterpolator

from sarheight._runtime import ignore_missing_georeference
from sarheight.sentinel1 import read_annotation
from sarheight.sentinel1._radiometry import Radiometry
from tests.annotations import annotation_xml
from tests.bursts import SWATHS, IwProduct, iw_product, swath_xml
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, Scene

NAME = "S1A_IW_GRDH_1SDV_20240101T055958_20240101T060002_051919_0645F1_ABCD.SAFE"
CALIBRATION = "annotation/calibration"
TIMES = "20240101t055958-20240101t060002-051919-0645f1"
NAMESPACES = (
    "xmlns:xfdu='urn:ccsds:schema:xfdu:1' xmlns:safe='http://www.esa.int/safe/sentinel-1.0' "
    "xmlns:s1='http://www.esa.int/safe/sentinel-1.0/sentinel-1' "
    "xmlns:s1sarl1='http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1' "
    "xmlns:gml='http://www.opengis.net/gml'"
)


NAMES: dict[Calibration, str] = {
    "beta0": "betaNought",
    "sigma0": "sigmaNought",
    "gamma0": "gamma",
}
"""Names of the calibration vectors."""


@dataclass
class Tables:
    """Calibration and noise of an image, from which its annotations are written."""

    lines: tuple[int, ...] = (-40, 30, 150, 260)
    pixels: tuple[int, ...] = (0, 40, 100, 249)
    beta: float = 200.0
    noise: float = 900.0
    blocks: tuple[tuple[int, int, int, int], ...] = ((0, 99, 0, 119), (100, 199, 0, 119))
    """First and last line, first and last sample of the blocks with factors along azimuth."""

    def amplitude(self, name: str) -> NDArray[np.float64]:
        """Amplitude factors at the nodes; of each kind others, and nowhere the same."""
        factor = {"betaNought": 1.0, "sigmaNought": 1.3, "gamma": 1.2, "dn": 0.9}[name]
        line, pixel = np.meshgrid(self.lines, self.pixels, indexing="ij")
        return factor * self.beta * (1.0 + 3e-4 * line + 5e-4 * pixel + 2e-6 * line * pixel)

    def noise_power(self) -> NDArray[np.float64]:
        """Noise at the nodes."""
        line, pixel = np.meshgrid(self.lines, self.pixels, indexing="ij")
        return self.noise * (1.0 + 1e-3 * line - 1e-3 * pixel)

    def factors(self, block: tuple[int, int, int, int]) -> tuple[list[int], list[float]]:
        """Lines and factors of a block along azimuth."""
        lines = sorted({*range(block[0], block[1] + 1, 10), block[1]})
        return lines, [1.0 + 0.001 * (line - block[0]) for line in lines]


def interpolated(
    nodes: NDArray[np.float64], lines: NDArray[np.float64], samples: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate bilinearly between the nodes of the default tables, by SciPy."""
    table = RegularGridInterpolator((Tables.lines, Tables.pixels), nodes)
    values: NDArray[np.float64] = table(tuple(np.meshgrid(lines, samples, indexing="ij")))
    return values


def header(kind: str, swath: str, polarisation: str) -> str:
    return (
        f"<adsHeader><missionId>S1A</missionId><productType>{kind}</productType>"
        f"<polarisation>{polarisation}</polarisation><mode>IW</mode><swath>{swath}</swath>"
        "</adsHeader>"
    )


def _row(name: str, values: NDArray[np.float64] | tuple[int, ...]) -> str:
    text = " ".join(f"{value:.9e}" if isinstance(value, float) else f"{value}" for value in values)
    return f"<{name} count='{len(values)}'>{text}</{name}>"


def calibration_xml(
    tables: Tables, swath: str = "IW", polarisation: str = "VV", kind: str = "GRD"
) -> str:
    names = ("sigmaNought", "betaNought", "gamma", "dn")
    vectors = "".join(
        f"<calibrationVector><azimuthTime>2024-01-01T06:00:00.000000</azimuthTime>"
        f"<line>{line}</line>{_row('pixel', tables.pixels)}"
        + "".join(_row(name, tables.amplitude(name)[index]) for name in names)
        + "</calibrationVector>"
        for index, line in enumerate(tables.lines)
    )
    return (
        f"<?xml version='1.0'?><calibration>{header(kind, swath, polarisation)}"
        f"<calibrationVectorList>{vectors}</calibrationVectorList></calibration>"
    )


def noise_xml(
    tables: Tables,
    swath: str = "IW",
    polarisation: str = "VV",
    kind: str = "GRD",
    *,
    old: bool = False,
) -> str:
    """Write the noise of an image, as IPF 2.9 and later do, or as older ones did."""
    vector, values = ("noiseVector", "noiseLut") if old else ("noiseRangeVector", "noiseRangeLut")
    vectors = "".join(
        f"<{vector}><azimuthTime>2024-01-01T06:00:00.000000</azimuthTime><line>{line}</line>"
        f"{_row('pixel', tables.pixels)}{_row(values, tables.noise_power()[index])}</{vector}>"
        for index, line in enumerate(tables.lines)
    )
    blocks = ""
    for block in () if old else tables.blocks:
        lines, factors = tables.factors(block)
        blocks += (
            f"<noiseAzimuthVector><swath>{swath}</swath><firstAzimuthLine>{block[0]}"
            f"</firstAzimuthLine><firstRangeSample>{block[2]}</firstRangeSample>"
            f"<lastAzimuthLine>{block[1]}</lastAzimuthLine><lastRangeSample>{block[3]}"
            f"</lastRangeSample>{_row('line', tuple(lines))}"
            f"{_row('noiseAzimuthLut', np.array(factors))}</noiseAzimuthVector>"
        )
    return (
        f"<?xml version='1.0'?><noise>{header(kind, swath, polarisation)}"
        f"<{vector}List>{vectors}</{vector}List>"
        f"<noiseAzimuthVectorList>{blocks}</noiseAzimuthVectorList></noise>"
    )


def manifest_xml(
    files: Mapping[str, bytes],
    *,
    mission: str = "A",
    mode: str = "IW",
    kind: str = "GRD",
    swaths: tuple[str, ...] = ("IW",),
    polarisations: tuple[str, ...] = ("VV", "VH"),
    version: str = "003.71",
    start: str = "2024-01-01T05:59:58.000000",
    stop: str = "2024-01-01T06:00:02.000000",
) -> str:
    listed = "".join(
        f"<dataObject ID='x{index}'><byteStream mimeType='text/xml' size='{len(data)}'>"
        f"<fileLocation locatorType='URL' href='./{name}'/>"
        f"<checksum checksumName='MD5'>{hashlib.md5(data, usedforsecurity=False).hexdigest()}"
        "</checksum></byteStream></dataObject>"
        for index, (name, data) in enumerate(files.items())
    )
    kinds = "".join(
        f"<s1sarl1:transmitterReceiverPolarisation>{name}</s1sarl1:transmitterReceiverPolarisation>"
        for name in polarisations
    )
    return (
        f"<?xml version='1.0'?><xfdu:XFDU {NAMESPACES}><metadataSection>"
        f"<safe:processing><safe:software name='Sentinel-1 IPF' version='{version}'/>"
        "</safe:processing><safe:platform><safe:familyName>SENTINEL-1</safe:familyName>"
        f"<safe:number>{mission}</safe:number><s1sarl1:instrumentMode>"
        f"<s1sarl1:mode>{mode}</s1sarl1:mode>"
        + "".join(f"<s1sarl1:swath>{swath}</s1sarl1:swath>" for swath in swaths)
        + "</s1sarl1:instrumentMode></safe:platform><safe:orbitReference>"
        "<safe:orbitNumber type='start'>51919</safe:orbitNumber>"
        "<safe:relativeOrbitNumber type='start'>22</safe:relativeOrbitNumber>"
        "<s1:pass>ASCENDING</s1:pass></safe:orbitReference>"
        f"<s1sarl1:standAloneProductInformation>{kinds}"
        f"<s1sarl1:productType>{kind}</s1sarl1:productType>"
        f"</s1sarl1:standAloneProductInformation>"
        f"<safe:acquisitionPeriod><safe:startTime>{start}</safe:startTime>"
        f"<safe:stopTime>{stop}</safe:stopTime></safe:acquisitionPeriod>"
        "<safe:footPrint><gml:coordinates>46.0,10.0 46.0,10.1 46.1,10.1 46.1,10.0"
        "</gml:coordinates></safe:footPrint></metadataSection>"
        f"<dataObjectSection>{listed}</dataObjectSection></xfdu:XFDU>"
    )


def tiff(
    path: Path, values: NDArray[np.generic], dtype: str = "uint16", **options: object
) -> bytes:
    """Write a measurement, and return its contents.

    It has ground control points as real ones do: without any, rasterio warns, and filters of
    warnings, which all threads share, are no place to count on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines, samples = values.shape
    placed = {
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
        file.write(values, 1)
    return path.read_bytes()


@dataclass
class Made:
    """A product on disk, and what is true of it."""

    path: Path
    grid: RadarGrid
    orbit: Orbit
    numbers: dict[str, NDArray[np.uint16]]
    tables: dict[str, Tables] = field(default_factory=dict)


def save(folder: Path, files: Mapping[str, str | bytes], manifest: Mapping[str, object]) -> None:
    """Write the XML files of a product beside its measurements, and the manifest of all."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    listed = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / "manifest.safe").write_text(manifest_xml(listed, **manifest))  # type: ignore[arg-type]


def grd_product(
    folder: Path,
    *,
    polarisations: tuple[str, ...] = ("VV", "VH"),
    placed: tuple[RadarGrid, Orbit] | None = None,
    old: bool = False,
    numbers: Mapping[str, NDArray[np.uint16]] | None = None,
    name: str = NAME,
    tiff_options: Mapping[str, object] | None = None,
    **manifest: object,
) -> Made:
    """Write a GRD of 200 lines and 250 samples, all pixels of which differ from line to line.

    Zeros stand in the first three samples. With `old`, it is one of IPF 2.72.
    """
    grid, orbit = placed or synthetic_grid()
    path = folder / name
    random = np.random.default_rng(11)
    made = Made(path, grid, orbit, {})
    files: dict[str, str | bytes] = {}
    for index, polarisation in enumerate(polarisations, start=1):
        stem = f"s1a-iw-grd-{polarisation.lower()}-{TIMES}-{index:03d}"
        values = (
            numbers[polarisation]
            if numbers is not None
            else random.integers(20, 4000, grid.shape).astype(np.uint16)
        )
        if numbers is None:
            values[:, :3] = 0
        tables = Tables(beta=200.0 * index, noise=900.0 / index)
        tiff(path / f"measurement/{stem}.tiff", values, **(tiff_options or {}))
        annotation = annotation_xml(grid, orbit).replace(">IW1<", ">IW<")
        files[f"annotation/{stem}.xml"] = annotation.replace(">VV<", f">{polarisation}<")
        files[f"{CALIBRATION}/calibration-{stem}.xml"] = calibration_xml(tables, "IW", polarisation)
        files[f"{CALIBRATION}/noise-{stem}.xml"] = noise_xml(tables, "IW", polarisation, old=old)
        made.numbers[polarisation] = values
        made.tables[polarisation] = tables
    facts = {"polarisations": polarisations, "version": "002.72" if old else "003.71"} | manifest
    save(path, files, facts)
    return made


def grd_of_scene(folder: Path, scene: Scene, *, name: str = NAME) -> Made:
    """Write a simulated image, beta0 without noise, as a GRD with noise: its digital numbers."""
    grid, orbit = scene.grid, scene.orbit
    annotation = annotation_xml(grid, orbit).replace(">IW1<", ">IW<").encode()
    tables = (calibration_xml(Tables()).encode(), noise_xml(Tables()).encode())
    radiometry = Radiometry.from_xml(*tables, read_annotation(annotation))
    lines, samples = (np.arange(size, dtype=np.float64) for size in grid.shape)
    noise = radiometry.noise_power(lines, samples)
    amplitude = radiometry.calibration.amplitude["beta0"].block(lines, samples)
    power = np.nan_to_num(scene.image.values) * amplitude**2 + noise
    numbers = {"VV": np.maximum(np.rint(np.sqrt(power)), 1).astype(np.uint16)}
    return grd_product(
        folder, polarisations=("VV",), placed=(grid, orbit), numbers=numbers, name=name
    )


def slc_product(folder: Path, polarisations: tuple[str, ...] = ("VV",)) -> tuple[Path, IwProduct]:
    """Write the SLC of three swaths that `iw_product` cuts out of a scene."""
    product = iw_product()
    path = folder / NAME.replace("GRDH", "SLC_")
    files: dict[str, str | bytes] = {}
    tables = Tables(blocks=())
    for polarisation in polarisations:
        for number, swath in enumerate(SWATHS, start=1):
            stem = f"s1a-{swath.lower()}-slc-{polarisation.lower()}-{TIMES}-{number:03d}"
            values = product.files.rasters[product.measurements[swath]].values
            tiff(path / f"measurement/{stem}.tiff", values, "complex_int16")
            xml = swath_xml(product.grid, product.orbit, swath).decode()
            files[f"annotation/{stem}.xml"] = xml.replace(">VV<", f">{polarisation}<")
            named = (tables, swath, polarisation, "SLC")
            files[f"{CALIBRATION}/calibration-{stem}.xml"] = calibration_xml(*named)
            files[f"{CALIBRATION}/noise-{stem}.xml"] = noise_xml(*named)
    save(path, files, {"kind": "SLC", "swaths": SWATHS, "polarisations": polarisations})
    return path, product


def pack(folder: Path, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Zip a SAFE folder as the archive does."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path
