"""One image of a simulated product: from scene and annotation to its four files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from sarheight._annotation_xml import KIND, read_annotation
from sarheight._xml import Document
from sarheight.orbit import Orbit
from sarheight.sentinel1._write_acquisition import Part, Written
from sarheight.sentinel1._write_annotation import (
    Cut,
    annotation_document,
    noise_blocks,
    set_header,
)
from sarheight.sentinel1._write_calibration import calibration_document, calibration_table
from sarheight.sentinel1._write_geolocation import geolocation_points
from sarheight.sentinel1._write_layout import layout_of
from sarheight.sentinel1._write_manifest import REMARK
from sarheight.sentinel1._write_measurement import Picture, write_measurement
from sarheight.sentinel1._write_names import file_name
from sarheight.sentinel1._write_noise import ThermalNoise, noise_document
from sarheight.sentinel1._write_xml import document

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    import numpy as np
    import xarray as xr

    from sarheight._annotation import Annotation
    from sarheight._xml import XmlSource
    from sarheight.scene import Scene
    from sarheight.sentinel1._write_measurement import Measured

__all__ = ["FOLDERS", "ProductImage", "product_image"]

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
        original=Orbit.from_annotation(source),
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
