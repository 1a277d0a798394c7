"""Simulated images written as Sentinel-1 SAFE products."""

from __future__ import annotations

import os
import warnings
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sarheight.scene import Scene
from sarheight.sentinel1 import read_annotation, read_orbit
from sarheight.sentinel1.annotation import KIND
from sarheight.sentinel1.document import Document
from tests.worlds.safe_annotation import Cut, annotation_document, noise_blocks, set_header
from tests.worlds.safe_layout import document, file_name, layout_of, product_name
from tests.worlds.safe_manifest import (
    REMARK,
    Part,
    Written,
    manifest_document,
)
from tests.worlds.safe_measurement import Measured, Picture, room_for, write_measurement
from tests.worlds.safe_tables import (
    ThermalNoise,
    calibration_document,
    calibration_table,
    geolocation_points,
    noise_document,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    import xarray as xr

    from sarheight.orbit import Orbit
    from sarheight.sentinel1 import Annotation
    from sarheight.sentinel1.document import XmlSource

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
    manifest = manifest_document(written, started, np.datetime64("now"), inputs)
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
