"""Simulated images written as Sentinel-1 SAFE products."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.safe_annotation import (
    Cut,
    ThermalNoise,
    annotation_document,
    calibration_document,
    calibration_table,
    geolocation_points,
    noise_blocks,
    noise_document,
    set_header,
)
from benchmarks.synthetic.safe_layout import document, file_name, layout_of, node, product_name, utc
from sarheight.orbit import Orbit, seconds_between
from sarheight.scene import Scene, relative_orbit
from sarheight.sentinel1 import read_annotation, read_orbit
from sarheight.sentinel1.annotation import KIND
from sarheight.sentinel1.document import Document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    import xarray as xr

    from benchmarks.synthetic.safe_annotation import CalibrationTable
    from benchmarks.synthetic.safe_layout import FileLayout
    from sarheight.scene import Calibration
    from sarheight.sentinel1 import Annotation
    from sarheight.sentinel1.annotation import GeolocationGrid
    from sarheight.sentinel1.document import XmlSource

LARGEST = {"GRD": 65535.0, "SLC": 32767.0}
"""Largest digital number of a product."""
FILLED = 0.99
"""Part of the digital numbers' range that the brightest pixel takes."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image on its way to digital numbers.

    Attributes
    ----------
    power : xarray.DataArray, dims (line, sample)
        Calibrated power of the scene. Its chunks are read once for each use.
    calibration : {"beta0", "sigma0", "gamma0"}
        Of the power.
    layout : FileLayout
        The lines of the file.
    table : CalibrationTable
        What digital numbers are divided by.
    product_type : {"GRD", "SLC"}
        Amplitudes, or complex numbers.
    seed : tuple of int
        Of the phase of complex numbers.
    """

    power: xr.DataArray
    calibration: Calibration
    layout: FileLayout
    table: CalibrationTable
    product_type: str
    seed: tuple[int, ...]

    def amplitudes(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield first lines of blocks of the file, and amplitudes; 0 where there is no data."""
        for first, last in self.layout.blocks():
            yield first, self._amplitude(first, last)

    def _amplitude(self, first: int, last: int) -> NDArray[np.float64]:
        begin, end = (int(self.layout.scene_line(each)) for each in (first, last - 1))
        held = slice(max(begin, 0), max(min(end + 1, self.layout.grid.lines), 0))
        values = np.zeros((last - first, self.layout.samples))
        power = np.asarray(self.power.isel(line=held).values, dtype=np.float64)
        values[held.start - begin : held.start - begin + power.shape[0]] = power
        values[~self.layout.valid(first, last)] = 0.0
        # What is left of the thermal noise, once it is removed, may be negative.
        values = np.sqrt(np.fmax(np.nan_to_num(values, nan=0.0), 0.0))
        return values * self.table.of_lines(self.calibration, first, last)

    def digital_numbers(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield first lines of blocks of the file, and whole digital numbers, not yet clipped."""
        for first, amplitude in self.amplitudes():
            if self.product_type == "GRD":
                yield first, np.rint(amplitude)
            else:
                lines = self.layout.scene_line(np.arange(first, first + amplitude.shape[0]))
                numbers = amplitude * np.stack([self._phasors(line) for line in lines.tolist()])
                yield first, np.rint(numbers.real) + 1j * np.rint(numbers.imag)

    def _phasors(self, line: int) -> NDArray[np.complex128]:
        """Draw the phases of a line of the scene: the same in each burst that holds it."""
        # A burst may begin before the scene, and seeds are not negative.
        random = np.random.default_rng([*self.seed, line + self.layout.lines])
        phasors: NDArray[np.complex128] = np.exp(2j * np.pi * random.random(self.layout.samples))
        return phasors

    def brightest(self) -> float:
        """Return the largest amplitude of the file."""
        return max(float(block.max()) for _, block in self.amplitudes())


@dataclass(frozen=True)
class Measured:
    """What became of an image.

    Attributes
    ----------
    saturated : float
        Part of the valid pixels that were clipped.
    mean, deviation : complex
        Of the digital numbers; the real and the imaginary part each for itself.
    offsets : tuple of int
        Where in the file each burst begins, in bytes.
    """

    saturated: float
    mean: complex
    deviation: complex
    offsets: tuple[int, ...]


def room_for(product_type: str) -> float:
    """Return the amplitude that the brightest pixel may have."""
    return FILLED * LARGEST[product_type]


def write_measurement(
    path: Path, picture: Picture, points: GeolocationGrid, tags: dict[str, str]
) -> Measured:
    """Write an image file: uint16 amplitudes of a GRD, complex int16 of an SLC.

    Parameters
    ----------
    path : Path
        Where to write.
    picture : Picture
        The image.
    points : GeolocationGrid
        They become the file's ground control points.
    tags : dict
        Of the file.

    Returns
    -------
    Measured

    Raises
    ------
    OSError
        If the file could not be written, or reads differently from what was written.
    """
    import rasterio
    from rasterio.control import GroundControlPoint
    from rasterio.windows import Window

    layout = picture.layout
    sums = _Sums()
    written = 0
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=layout.samples,
        height=layout.lines,
        count=1,
        dtype="uint16" if picture.product_type == "GRD" else "complex_int16",
        blockysize=1,
        bigtiff="if_safer",
        crs="EPSG:4326",
        gcps=[
            GroundControlPoint(*place)
            for place in zip(
                points.line.tolist(),
                points.pixel.tolist(),
                points.longitude.tolist(),
                points.latitude.tolist(),
                points.height.tolist(),
                strict=True,
            )
        ],
    ) as file:
        file.update_tags(**tags)
        for first, numbers in picture.digital_numbers():
            clipped = _clipped(numbers, picture.product_type)
            sums.add(numbers, clipped, layout.valid(first, first + numbers.shape[0]))
            written = zlib.crc32(clipped.tobytes(), written)
            file.write(clipped, 1, window=Window(0, first, layout.samples, clipped.shape[0]))
    offsets = _verified(path, picture, written)
    return Measured(sums.saturated, sums.mean, sums.deviation, offsets)


def _clipped(numbers: NDArray[Any], product_type: str) -> NDArray[Any]:
    largest = LARGEST[product_type]
    if product_type == "GRD":
        amplitudes: NDArray[np.uint16] = np.clip(numbers, 0.0, largest).astype(np.uint16)
        return amplitudes
    real, imaginary = (np.clip(part, -largest, largest) for part in (numbers.real, numbers.imag))
    # Adding 0 makes the zeros positive, as they are when they are read back.
    both: NDArray[np.complex64] = (real + 1j * imaginary + 0.0).astype(np.complex64)
    return both


def _verified(path: Path, picture: Picture, written: int) -> tuple[int, ...]:
    """Read a file back, as GDAL does not report every write that failed, and find its bursts."""
    import rasterio
    from rasterio.windows import Window

    layout = picture.layout
    found = 0
    with rasterio.open(path) as file:
        for first, last in layout.blocks():
            window = Window(0, first, layout.samples, last - first)
            found = zlib.crc32(file.read(1, window=window).tobytes(), found)
        begins = [layout.lines_per_burst * each for each in range(len(layout.bursts))]
        tags = [file.get_tag_item(f"BLOCK_OFFSET_0_{line}", "TIFF", bidx=1) for line in begins]
    if found != written:
        msg = "the file read back differs from what was written; is the disk full?"
        raise OSError(msg)
    return tuple(int(tag) for tag in tags)


class _Sums:
    """Sums over the valid pixels of an image."""

    def __init__(self) -> None:
        self.count = self.clipped = 0
        self.sum = self.squares = 0j

    def add(self, numbers: NDArray[Any], clipped: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Add a block."""
        chosen = clipped[valid].astype(np.complex128)
        self.count += chosen.size
        self.clipped += int(np.count_nonzero(numbers[valid] != clipped[valid]))
        self.sum += complex(chosen.sum())
        self.squares += complex((chosen.real**2).sum(), (chosen.imag**2).sum())

    @property
    def saturated(self) -> float:
        return self.clipped / max(self.count, 1)

    @property
    def mean(self) -> complex:
        return self.sum / max(self.count, 1)

    @property
    def deviation(self) -> complex:
        squares, mean = self.squares / max(self.count, 1), self.mean
        return complex(
            max(squares.real - mean.real**2, 0.0) ** 0.5,
            max(squares.imag - mean.imag**2, 0.0) ** 0.5,
        )


# What a manifest says of the acquisition: which satellite saw what, when and where.

SATELLITES = {"S1A": "2014-016A", "S1B": "2016-025A", "S1C": "2024-235A"}
"""International designators."""


@dataclass(frozen=True)
class Part:
    """A file of an image, as the manifest lists it.

    Attributes
    ----------
    schema : str
        Which of `SCHEMAS`.
    name : str
        Its path in the product.
    identity : str
        Its name in the manifest.
    size : int
        In bytes.
    checksum : str
        MD5.
    """

    schema: str
    name: str
    identity: str
    size: int
    checksum: str

    @classmethod
    def of(cls, schema: str, folder: Path, name: str, identity: str) -> Part:
        """Look at a file."""
        file = folder / name
        with file.open("rb") as stream:
            checksum = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        return cls(schema, name, identity, file.stat().st_size, checksum.hexdigest())


@dataclass(frozen=True, eq=False)
class Written:
    """An image whose files are there.

    Attributes
    ----------
    annotation : Annotation
        The annotation it was made like.
    orbit, datatake : int
        Absolute orbit and data take.
    ascending_node : datetime64
        When the satellite last passed its ascending node (UTC).
    begin, end : datetime64
        Stamps of the first and the last line (UTC).
    points : GeolocationGrid
        Of the file.
    parts : tuple of Part
        Annotation, noise, calibration and measurement.
    """

    annotation: Annotation
    orbit: int
    datatake: int
    ascending_node: np.datetime64
    begin: np.datetime64
    end: np.datetime64
    points: GeolocationGrid
    parts: tuple[Part, ...]


def wrapped(identity: str, what: str, content: Element) -> Element:
    """Wrap what is known into an object of the manifest's metadata."""
    provenance = identity == "processing"
    wrap = node(
        "metadataWrap",
        [node("xmlData", [content])],
        {"mimeType": "text/xml", "vocabularyName": "SAFE", "textInfo": what},
    )
    return node(
        "metadataObject",
        [wrap],
        {
            "ID": identity,
            "classification": "PROVENANCE" if provenance else "DESCRIPTION",
            "category": "PDI" if provenance else "DMD",
        },
    )


def acquired(images: Sequence[Written]) -> list[Element]:
    """Say which satellite saw what, when and where."""
    first = images[0]
    begin = min(image.begin for image in images)
    end = max(image.end for image in images)
    anx = [f"{1000.0 * seconds_between(first.ascending_node, time):.6e}" for time in (begin, end)]
    period = node(
        "safe:acquisitionPeriod",
        [
            node("safe:startTime", utc(begin)),
            node("safe:stopTime", utc(end)),
            node(
                "safe:extension",
                [
                    node(
                        "s1:timeANX",
                        [node("s1:startTimeANX", anx[0]), node("s1:stopTimeANX", anx[1])],
                    )
                ],
            ),
        ],
    )
    return [
        wrapped("platform", "Platform Description", _platform(images)),
        wrapped("measurementOrbitReference", "Orbit Reference", _orbit_reference(first)),
        wrapped("generalProductInformation", "General Product Information", _general(images)),
        wrapped("acquisitionPeriod", "Acquisition Period", period),
        wrapped("measurementFrameSet", "Frame Set", _frames(images)),
    ]


def _platform(images: Sequence[Written]) -> Element:
    first = images[0].annotation
    swaths = dict.fromkeys(image.annotation.swath for image in images)
    mode = node(
        "s1sarl1:instrumentMode",
        [
            node("s1sarl1:mode", first.mode),
            *(node("s1sarl1:swath", swath) for swath in swaths),
        ],
    )
    instrument = node(
        "safe:instrument",
        [
            node("safe:familyName", "Synthetic Aperture Radar", {"abbreviation": "SAR"}),
            node("safe:extension", [mode]),
        ],
    )
    return node(
        "safe:platform",
        [
            node("safe:nssdcIdentifier", SATELLITES.get(first.mission, "0000-000A")),
            node("safe:familyName", "SENTINEL-1"),
            node("safe:number", first.mission[-1]),
            instrument,
        ],
    )


def _orbit_reference(image: Written) -> Element:
    relative = relative_orbit(image.annotation.mission, image.orbit, image.begin)
    ends = ("start", "stop")
    properties = node(
        "s1:orbitProperties",
        [
            node("s1:pass", image.annotation.passing.upper()),
            node("s1:ascendingNodeTime", utc(image.ascending_node)),
        ],
    )
    return node(
        "safe:orbitReference",
        [
            *(node("safe:orbitNumber", str(image.orbit), {"type": end}) for end in ends),
            *(node("safe:relativeOrbitNumber", str(relative), {"type": end}) for end in ends),
            node("safe:extension", [properties]),
        ],
    )


def _general(images: Sequence[Written]) -> Element:
    first = images[0]
    polarisations = dict.fromkeys(image.annotation.polarisation for image in images)
    values = [
        ("instrumentConfigurationID", "0"),
        ("missionDataTakeID", str(first.datatake)),
        *(("transmitterReceiverPolarisation", each) for each in polarisations),
        ("productClass", "S"),
        ("productClassDescription", "SAR Standard L1 Product, simulated"),
        ("productComposition", "Individual"),
        ("productType", first.annotation.product_type),
        ("productTimelinessCategory", "Fast-24h"),
        ("sliceProductFlag", "false"),
    ]
    return node(
        "s1sarl1:standAloneProductInformation",
        [node(f"s1sarl1:{name}", value) for name, value in values],
    )


def _frames(images: Sequence[Written]) -> Element:
    outline = node(
        "gml:coordinates",
        " ".join(f"{latitude:.6f},{longitude:.6f}" for latitude, longitude in footprint(images)),
    )
    where = node(
        "safe:footPrint", [outline], {"srsName": "http://www.opengis.net/gml/srs/epsg.xml#4326"}
    )
    return node("safe:frameSet", [node("safe:frame", [where])])


def footprint(images: Sequence[Written]) -> list[tuple[float, float]]:
    """Return latitude and longitude of the four corners of a product.

    Last line near and far, first line far and near; of several swaths the outermost pixels.
    """
    near = min(images, key=lambda image: image.points.slant_range_time.min()).points
    far = max(images, key=lambda image: image.points.slant_range_time.max()).points
    corners = []
    for points, last_line, last_pixel in (
        (near, True, False),
        (far, True, True),
        (far, False, True),
        (near, False, False),
    ):
        line = points.line.max() if last_line else points.line.min()
        pixel = points.pixel.max() if last_pixel else points.pixel.min()
        (at,) = np.flatnonzero((points.line == line) & (points.pixel == pixel))
        corners.append((float(points.latitude[at]), float(points.longitude[at])))
    return corners


# One image of a simulated product: from scene and annotation to its four files.

FOLDERS = ("annotation/calibration", "measurement")
FILES = {
    "products1": ("s1Level1ProductSchema", "annotation/{}.xml"),
    "noises1": ("s1Level1NoiseSchema", "annotation/calibration/noise-{}.xml"),
    "calibrations1": ("s1Level1CalibrationSchema", "annotation/calibration/calibration-{}.xml"),
    "s1": ("s1Level1MeasurementSchema", "measurement/{}.tiff"),
}
"""Files of an image, by the beginning of their names in the manifest: schema and path."""


@dataclass(frozen=True, eq=False)
class ProductImage:
    """An image that is to be written.

    Attributes
    ----------
    root : Element
        The annotation it is made like.
    annotation : Annotation
        What that says.
    original : Orbit
        Its orbit.
    orbit_number, datatake : int
        Absolute orbit and data take.
    ascending_node : datetime64
        When the satellite last passed its ascending node (UTC).
    cut : Cut
        What the annotation is cut to.
    picture : Picture
        The image, and its calibration up to a factor.
    noise : ThermalNoise or None
        What thermal noise it contains.
    """

    root: Element
    annotation: Annotation
    original: Orbit
    orbit_number: int
    datatake: int
    ascending_node: np.datetime64
    cut: Cut
    picture: Picture
    noise: ThermalNoise | None

    @cached_property
    def name(self) -> str:
        """Name of its files, without suffix."""
        return file_name(
            self.annotation,
            self.cut.number,
            self.cut.first_time,
            self.cut.last_time,
            self.orbit_number,
            self.datatake,
        )

    def write(self, folder: Path, factor: float) -> tuple[Written, Measured]:
        """Write its files.

        Parameters
        ----------
        folder : Path
            Of the product; it has the `FOLDERS`.
        factor : float
            What digital numbers are divided by to give the square root of beta0.

        Returns
        -------
        Written, Measured
        """
        cut, table = self.cut, self.picture.table.scaled(factor)
        names = {begin: where.format(self.name) for begin, (_, where) in FILES.items()}
        measured = write_measurement(
            folder / names["s1"], replace(self.picture, table=table), cut.points, self._tags()
        )
        root = annotation_document(self.root, cut, self.original, measured)
        gains = table.amplitude[self.picture.calibration]
        blocks = noise_blocks(root, cut.layout)
        calibration = calibration_document(self._header(), cut.layout, table)
        noise = noise_document(self._header(), cut.layout, table, gains, self.noise, blocks)
        for begin, made in (
            ("products1", root),
            ("noises1", noise),
            ("calibrations1", calibration),
        ):
            (folder / names[begin]).write_bytes(document(made, REMARK))
        identity = self.name.replace("-", "").removeprefix("s1")
        parts = tuple(
            Part.of(schema, folder, names[begin], f"{begin}{identity}")
            for begin, (schema, _) in FILES.items()
        )
        written = Written(
            annotation=self.annotation,
            orbit=self.orbit_number,
            datatake=self.datatake,
            ascending_node=self.ascending_node,
            begin=cut.first_time,
            end=cut.last_time,
            points=cut.points,
            parts=parts,
        )
        return written, measured

    def _header(self) -> Element:
        """Make an ``adsHeader`` of the cut image."""
        header = Document(self.root, self.annotation.name, "product").element("adsHeader").copied()
        set_header(header, self.cut)
        return header

    def _tags(self) -> dict[str, str]:
        told = self.annotation
        return {
            "TIFFTAG_IMAGEDESCRIPTION": (
                f"Sentinel-1{told.mission[-1]} {told.swath} {told.product_type} L1, {REMARK}"
            ),
            "TIFFTAG_SOFTWARE": "sarheight",
        }


def product_image(
    scene: Scene, source: XmlSource, noise: ThermalNoise | None, seed: int, number: int
) -> ProductImage:
    """Make an image in the form of an annotation.

    Parameters
    ----------
    scene : Scene
        The image.
    source : path or bytes
        The annotation.
    noise : ThermalNoise, optional
        What thermal noise the image contains; by default what its attributes say.
    seed : int
        Of the phases of an SLC.
    number : int
        Of the image in its product, from 1.

    Returns
    -------
    ProductImage

    Raises
    ------
    AnnotationError
        If the annotation cannot be used.
    ValueError
        If the scene is not one of the annotation's, or the noise has another shape.
    """
    annotation = read_annotation(source)
    file = Document.read(source, root="product", kind=KIND)
    header = file.element("adsHeader")
    layout = layout_of(scene.grid, annotation)
    orbit = scene.orbit.with_epoch(scene.grid.epoch)
    points = geolocation_points(layout, orbit, annotation)
    power = _power(scene, annotation)
    if noise is None:
        level = float(power.attrs.get("noise_equivalent", 0.0))
        noise = ThermalNoise.constant(scene.grid, level) if level > 0.0 else None
    else:
        noise.require_shape(scene.grid)
    table = calibration_table(layout, orbit)
    return ProductImage(
        root=file.copied(),
        original=read_orbit(source),
        annotation=annotation,
        orbit_number=header.count("absoluteOrbitNumber"),
        datatake=header.count("missionDataTakeId"),
        ascending_node=file.time("imageAnnotation/imageInformation/ascendingNodeTime"),
        cut=Cut(layout, points, orbit, number),
        picture=Picture(
            power, scene.calibration, layout, table, annotation.product_type, (seed, number)
        ),
        noise=noise,
    )


def _power(scene: Scene, annotation: Annotation) -> xr.DataArray:
    """Take the image of the annotation's polarisation."""
    image = scene.image
    if "polarisation" not in image.dims:
        return image
    held = [str(name) for name in image["polarisation"].values]
    if annotation.polarisation not in held:
        msg = (
            f"found a scene of {', '.join(held)} for {annotation.name}, expected one that holds "
            f"its polarisation, {annotation.polarisation}"
        )
        raise ValueError(msg)
    return image.isel(polarisation=held.index(annotation.polarisation), drop=True)


# A look at a simulated product: a small picture, and where on a map it lies.

LARGEST_SIDE = 512
BRIGHTEST = 0.98
"""Part of the pixels of the picture that are not white."""


def write_preview(
    folder: Path, power: xr.DataArray, images: Sequence[Written]
) -> tuple[Part, Part]:
    """Write the preview of a product.

    Parameters
    ----------
    folder : Path
        Of the product.
    power : xarray.DataArray, dims (line, sample)
        What the picture shows, from the first line at the top and near range at the left.
    images : sequence of Written
        The product's images.

    Returns
    -------
    overlay, picture : Part
    """
    from matplotlib.image import imsave

    (folder / "preview").mkdir()
    steps = {dim: -(-size // LARGEST_SIDE) for dim, size in power.sizes.items()}
    coarse = power.coarsen(steps, boundary="trim").mean().values
    amplitude = np.sqrt(np.fmax(np.nan_to_num(coarse, nan=0.0), 0.0))
    imsave(
        folder / "preview" / "quick-look.png",
        amplitude,
        cmap="gray",
        vmin=0.0,
        vmax=max(float(np.quantile(amplitude, BRIGHTEST)), 1e-12),
        metadata={"Description": REMARK},
    )
    (folder / "preview" / "map-overlay.kml").write_bytes(_overlay(images))
    return (
        Part.of("s1Level1MapOverlaySchema", folder, "preview/map-overlay.kml", "mapoverlay"),
        Part.of("s1Level1QuickLookSchema", folder, "preview/quick-look.png", "quicklook"),
    )


def _overlay(images: Sequence[Written]) -> bytes:
    """Lay the picture on the map by its four corners."""
    corners = " ".join(
        f"{longitude:.6f},{latitude:.6f}" for latitude, longitude in footprint(images)
    )
    overlay = node(
        "GroundOverlay",
        [
            node("name", f"Sentinel-1, {REMARK}"),
            node("Icon", [node("href", "quick-look.png")]),
            node("gx:LatLonQuad", [node("coordinates", corners)]),
        ],
    )
    root = node(
        "kml",
        [node("Document", [overlay])],
        {
            "xmlns": "http://www.opengis.net/kml/2.2",
            "xmlns:gx": "http://www.google.com/kml/ext/2.2",
        },
    )
    return document(root, REMARK)


# The manifest of a simulated product.

REMARK = "simulated by sarheight from an elevation model and an orbit: not an observation"
NAMESPACES = {
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "gml": "http://www.opengis.net/gml",
    "xfdu": "urn:ccsds:schema:xfdu:1",
    "safe": "http://www.esa.int/safe/sentinel-1.0",
    "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "s1sar": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar",
    "s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
    "s1sarl2": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-2",
}
IPF = "003.31"
"""Version of ESA's processor whose formats the files have."""
SCHEMAS = {
    "s1Level1ProductSchema": "s1-level-1-product.xsd",
    "s1Level1NoiseSchema": "s1-level-1-noise.xsd",
    "s1Level1CalibrationSchema": "s1-level-1-calibration.xsd",
    "s1Level1MeasurementSchema": "s1-level-1-measurement.xsd",
    "s1Level1QuickLookSchema": "s1-level-1-quicklook.xsd",
    "s1Level1MapOverlaySchema": "s1-map-overlay.xsd",
}
PICTURES = {"s1Level1MeasurementSchema", "s1Level1QuickLookSchema"}


def manifest_document(
    images: Sequence[Written],
    preview: tuple[Part, Part],
    started: np.datetime64,
    finished: np.datetime64,
    inputs: Mapping[str, str],
) -> bytes:
    """Make the manifest of a product.

    Parameters
    ----------
    images : sequence of Written
        The images; the first one speaks for all.
    preview : (Part, Part)
        Map overlay and quick look.
    started, finished : datetime64
        When the product was made (UTC).
    inputs : mapping
        By role the names of what the images were simulated from.

    Returns
    -------
    bytes
        The file.
    """
    kind = images[0].annotation.product_type.lower()
    mode = images[0].annotation.mode.lower()
    root = node(
        "xfdu:XFDU",
        [
            node("informationPackageMap", [_package(images, preview)]),
            node(
                "metadataSection",
                [
                    *(_described(part) for image in images for part in image.parts[:-1]),
                    _described(preview[0]),
                    wrapped(
                        "processing", "Processing", _processing(images, started, finished, inputs)
                    ),
                    *acquired(images),
                    *(_schema(*each) for each in SCHEMAS.items()),
                ],
            ),
            node("dataObjectSection", [_listed(part) for part in _in_order(images, preview)]),
        ],
        {f"xmlns:{name}": address for name, address in NAMESPACES.items()}
        | {"version": f"esa/safe/sentinel-1.0/sentinel-1/sar/level-1/{kind}/standard/{mode}dp"},
    )
    return document(root, REMARK)


def _in_order(images: Sequence[Written], preview: tuple[Part, Part]) -> list[Part]:
    """List what tells of images before the images."""
    overlay, picture = preview
    told = [part for image in images for part in image.parts[:-1]]
    return [*told, overlay, *(image.parts[-1] for image in images), picture]


def _package(images: Sequence[Written], preview: tuple[Part, Part]) -> Element:
    """List the files by what they tell of each other."""
    first = images[0].annotation
    units = []
    for part in _in_order(images, preview):
        attributes = {
            "unitType": "Measurement Data Unit" if part.schema in PICTURES else "Metadata Unit",
            "repID": part.schema,
        }
        for image in images:
            if image.parts[-1] is not part:
                continue
            attributes["dmdID"] = " ".join(
                f"{each.identity}Annotation" for each in image.parts[:-1]
            )
        units.append(node("xfdu:contentUnit", [_pointer(part.identity)], attributes))
    return node(
        "xfdu:contentUnit",
        units,
        {
            "unitType": "SAFE Archive Information Package",
            "textInfo": f"Sentinel-1 {first.mode} Level-1 {first.product_type} Product (simulated)",
            "dmdID": (
                "acquisitionPeriod platform generalProductInformation measurementOrbitReference "
                "measurementFrameSet"
            ),
            "pdiID": "processing",
        },
    )


def _pointer(identity: str) -> Element:
    return node("dataObjectPointer", "", {"dataObjectID": identity})


def _described(part: Part) -> Element:
    return node(
        "metadataObject",
        [_pointer(part.identity)],
        {
            "ID": f"{part.identity}Annotation",
            "classification": "DESCRIPTION",
            "category": "DMD",
        },
    )


def _schema(identity: str, name: str) -> Element:
    reference = node(
        "metadataReference",
        "",
        {
            "mimeType": "text/xml",
            "vocabularyName": "SDF" if identity == "s1Level1MeasurementSchema" else "XML Schema",
            "locatorType": "URL",
            "href": f"./support/{name}",
        },
    )
    return node(
        "metadataObject",
        [reference],
        {"ID": identity, "classification": "SYNTAX", "category": "REP"},
    )


def _processing(
    images: Sequence[Written],
    started: np.datetime64,
    finished: np.datetime64,
    inputs: Mapping[str, str],
) -> Element:
    facility = node(
        "safe:facility",
        [
            node("safe:software", "", {"name": "Sentinel-1 IPF", "version": IPF}),
            node("safe:software", "", {"name": "sarheight", "version": version("sarheight")}),
        ],
        {
            "country": "",
            "name": f"The product is {REMARK}. IPF is the version whose formats it has.",
            "organisation": "sarheight",
            "site": "",
        },
    )
    resources = {
        f"annotation {each}": Path(image.annotation.name).name
        for each, image in enumerate(images, start=1)
    }
    return node(
        "safe:processing",
        [
            facility,
            *(
                node("safe:resource", "", {"name": name, "role": role})
                for role, name in {**resources, **inputs}.items()
            ),
        ],
        {"name": "Simulation", "start": utc(started), "stop": utc(finished)},
    )


def _listed(part: Part) -> Element:
    picture = part.schema in PICTURES
    stream = node(
        "byteStream",
        [
            node("fileLocation", "", {"locatorType": "URL", "href": f"./{part.name}"}),
            node("checksum", part.checksum, {"checksumName": "MD5"}),
        ],
        {
            "mimeType": "application/octet-stream" if picture else "text/xml",
            "size": str(part.size),
        },
    )
    return node("dataObject", [stream], {"ID": part.identity, "repID": part.schema})


# Write simulated images as a Sentinel-1 product.

SUFFIXES = (".safe", ".zip")
"""Suffixes of a product, in lower case: a folder, and a zip of one."""
SEVERAL_SATURATED = 1e-3
"""Part of the pixels from which on clipping is worth a warning."""


@dataclass(frozen=True)
class WrittenProduct:
    """What became of a product.

    Attributes
    ----------
    path : Path
        Where it is.
    name : str
        What ESA would call it.
    calibration_factor : float
        What digital numbers are divided by to give the square root of beta0.
    saturated : tuple of float
        Of each image the part of its valid pixels that were clipped.
    """

    path: Path
    name: str
    calibration_factor: float
    saturated: tuple[float, ...]


def write_product(
    scenes: Scene | Sequence[Scene],
    path: str | os.PathLike[str],
    *,
    like: XmlSource | Sequence[XmlSource],
    noise: ThermalNoise | Sequence[ThermalNoise | None] | None = None,
    calibration_factor: float | None = None,
    seed: int = 0,
    inputs: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> WrittenProduct:
    r"""Write simulated images as a Sentinel-1 product, GRD or SLC.

    A product has one image for each polarisation, and an SLC one for each swath and polarisation.
    Each is made in the form of a real annotation, cut to the scene's lines and samples, with its
    own geolocation grid, calibration and noise files, and a measurement file with ground control
    points. Names of files are those that ESA gives. The manifest has sizes and checksums (MD5),
    and it says, as every file does, that the product is simulated. A picture of the first
    image is included; ESA's schemas, to which the manifest refers, are not.

    Powers are written as they are: :math:`|DN|^2 = A^2 P`, rounded to whole digital numbers, with
    the table :math:`A` of the scene's calibration. A pixel of power 0, or without data, has the
    digital number 0, which readers take for no data; shadow that shall not be taken for that
    needs noise.

    In an SLC each pixel is given a phase drawn at random. Where the power carries speckle of one
    look, as of `sarheight.illumination.simulate` with ``looks=1``, this makes it circular complex
    Gaussian. Speckle is independent from pixel to pixel, while that of a real image is correlated,
    as its pixels are smaller than its resolution. The file holds whole bursts: those that the
    scene meets, 0 outside the scene and where the annotation calls samples invalid. Two bursts
    that overlap hold the same numbers for the same line of the scene; really they see it seconds
    apart from two sides, and their speckle differs. There is no phase of the terrain, none of the
    TOPS sweep and no azimuth spectrum, so it serves for intensities, not for interferometry.

    Parameters
    ----------
    scenes : Scene or sequence of Scene
        One for each annotation, in the same order, on the grid of that annotation or a part of
        it. One scene may serve several annotations that differ in polarisation: it holds them
        along the dimension ``polarisation``.
    path : path-like
        A folder ``*.SAFE``, a zip ``*.zip`` of one, or a folder that is there already: in it the
        product is written under the name that ESA would give it.
    like : path or bytes, or sequence of them
        Annotation (XML, plain or .xz) of each image. All must be of one acquisition.
    noise : ThermalNoise or sequence of them, optional
        The thermal noise that the images contain, for each or for all of them; it is what the
        noise files say, and readers take it away. Left out, it is what `simulate` has noted in
        the image's attribute ``noise_equivalent``.
    calibration_factor : float, optional
        What digital numbers are divided by to give the square root of beta0; about 237 in
        products of ESA. Left out, it is chosen so that nothing saturates: the brightest pixel of
        all images takes 99 per cent of the range.
    seed : int
        Of the phases of an SLC.
    inputs : mapping, optional
        By role the names of what the images were simulated from, for the manifest.
    overwrite : bool
        Whether a product that is already there may be replaced.

    Returns
    -------
    WrittenProduct

    Warns
    -----
    UserWarning
        If more than a thousandth of an image's pixels saturate.

    Raises
    ------
    AnnotationError
        If an annotation cannot be used.
    OutputError
        If the place is not fit for it or writing failed; nothing is left half-written.
    ValueError
        If scenes and annotations do not belong together.

    References
    ----------
    MDA (2020). Sentinel-1 Product Specification, S1-RS-MDA-52-7441, issue 3.7.
    """
    from sarheight.output.atomic import atomic_write

    sources = [like] if isinstance(like, str | bytes | os.PathLike) else list(like)
    if not sources:
        msg = "found no annotation, expected one for each image: pass them as `like`"
        raise ValueError(msg)
    given = zip(_each(scenes, len(sources)), sources, _noises(noise, len(sources)), strict=True)
    images = [
        product_image(scene, source, contained, seed, number)
        for number, (scene, source, contained) in enumerate(given, start=1)
    ]
    _require_one_product(images)
    if calibration_factor is None:
        brightest = max(image.picture.brightest() for image in images)
        room = room_for(images[0].annotation.product_type)
        calibration_factor = float(f"{room / brightest:.4e}") if brightest > 0.0 else room
    if not (np.isfinite(calibration_factor) and calibration_factor > 0.0):
        msg = f"found calibration_factor={calibration_factor!r}, expected a number above zero"
        raise ValueError(msg)
    name = _product_name(images)
    target = Path(path)
    if target.is_dir() and target.suffix.lower() not in SUFFIXES:
        target /= name
    with atomic_write(target, overwrite=overwrite, suffixes=SUFFIXES) as work:
        zipped = target.suffix.lower() == ".zip"
        folder = work.with_name(_folder_of_zip(target)) if zipped else work
        saturated = _write_folder(folder, images, calibration_factor, inputs or {})
        if zipped:
            _zip(folder, work)
    if max(saturated) > SEVERAL_SATURATED:
        msg = (
            f"{100.0 * max(saturated):.2g} % of the pixels of '{target}' saturate; pass a smaller "
            "calibration_factor, or leave it out"
        )
        warnings.warn(msg, stacklevel=2)
    return WrittenProduct(target, name, calibration_factor, saturated)


def _each(scenes: Scene | Sequence[Scene], count: int) -> list[Scene]:
    given = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if len(given) == 1:
        return given * count
    if len(given) != count:
        msg = (
            f"found {len(given)} scenes and {count} annotations, expected one annotation for each "
            "scene: pass them in the same order"
        )
        raise ValueError(msg)
    return given


def _noises(
    noise: ThermalNoise | Sequence[ThermalNoise | None] | None, count: int
) -> list[ThermalNoise | None]:
    given = [noise] * count if noise is None or isinstance(noise, ThermalNoise) else list(noise)
    if len(given) != count:
        msg = f"found {len(given)} kinds of noise for {count} images, expected one for each"
        raise ValueError(msg)
    return given


def _require_one_product(images: Sequence[ProductImage]) -> None:
    """Check that images can stand in one product."""

    def common(image: ProductImage) -> tuple[str, str, str, int, int]:
        told = image.annotation
        numbers = (image.orbit_number, image.datatake)
        return (told.mission, told.mode, told.product_type, *numbers)

    kinds = {common(image) for image in images}
    if len(kinds) > 1:
        found = "; ".join(" ".join(map(str, kind)) for kind in sorted(kinds))
        msg = (
            f"found annotations of different acquisitions ({found}), expected those of one "
            "product: same mission, mode, type, orbit and data take"
        )
        raise ValueError(msg)
    places = [(image.annotation.swath, image.annotation.polarisation) for image in images]
    twice = {each for each in places if places.count(each) > 1}
    if twice:
        swath, polarisation = twice.pop()
        msg = (
            f"found two annotations of {swath} {polarisation}, expected one for each swath and "
            "polarisation"
        )
        raise ValueError(msg)


def _product_name(images: Sequence[ProductImage]) -> str:
    first = images[0]
    return product_name(
        first.annotation,
        dict.fromkeys(image.annotation.polarisation for image in images),
        min(image.cut.first_time for image in images),
        max(image.cut.last_time for image in images),
        first.orbit_number,
        first.datatake,
        "".join(f"{image.name} {image.cut.layout.first_sample}" for image in images).encode(),
    )


def _write_folder(
    folder: Path, images: Sequence[ProductImage], factor: float, inputs: Mapping[str, str]
) -> tuple[float, ...]:
    """Write all files of a product, its manifest last, and tell what part of each image clips."""
    started = np.datetime64("now")
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    pairs = [image.write(folder, factor) for image in images]
    written = [each for each, _ in pairs]
    preview = write_preview(folder, images[0].picture.power, written)
    manifest = manifest_document(written, preview, started, np.datetime64("now"), inputs)
    (folder / "manifest.safe").write_bytes(manifest)
    return tuple(measured.saturated for _, measured in pairs)


def _folder_of_zip(target: Path) -> str:
    """Return the name of the folder within a zip."""
    stem = target.name[: -len(target.suffix)]
    return stem if stem.lower().endswith(".safe") else f"{stem}.SAFE"


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent).as_posix())
