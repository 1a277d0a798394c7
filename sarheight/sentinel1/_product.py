"""Sentinel-1 products, from the file of the archive to a calibrated scene."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from sarheight.geometry.placement import HEIGHTS, Bounds, part_of_bounds, require_bounds
from sarheight.scene import Scene, looks_for_spacing, multilook
from sarheight.sentinel1._complex import slc_image, slc_numbers
from sarheight.sentinel1._detected import grd_image
from sarheight.sentinel1._product_files import Contents, product_facts
from sarheight.sentinel1._radiometry import CLEAN_SINCE
from sarheight.sentinel1.grid import equivalent_looks, merge_grids, read_grid
from sarheight.sentinel1.orbit import OrbitSource, product_orbit

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration
    from sarheight.sentinel1._archive import Manifest
    from sarheight.sentinel1._product_files import ProductFiles
    from sarheight.sentinel1._radiometry import Radiometry
    from sarheight.sentinel1.annotation import Annotation


# The calibrated images of a product, its polarisations on top of each other.


def power_of_grd(
    contents: Contents,
    polarisations: tuple[str, ...],
    calibration: Calibration,
    *,
    noise_removal: bool,
    border_cleaning: bool | None,
) -> tuple[xr.DataArray, RadarGrid]:
    """Make the image of a GRD."""
    swath = contents.swaths[0]
    cleaned = (
        contents.manifest.processor_version < CLEAN_SINCE
        if border_cleaning is None
        else border_cleaning
    )
    channels = {
        name: contents.channel(swath, name, noise=noise_removal or cleaned)
        for name in polarisations
    }
    border = None
    if cleaned:
        name = next((name for name in contents.polarisations if name in {"VV", "HH"}), "")
        border = channels.get(name) or contents.channel(swath, name or polarisations[0])
    images = [
        grd_image(
            contents.files,
            channel,
            calibration=calibration,
            noise_removal=noise_removal,
            border=border,
        )
        for channel in channels.values()
    ]
    grid = read_grid(channels[polarisations[0]].annotation)
    return _stacked(contents, images, polarisations), replace(grid, polarisations=polarisations)


def power_of_slc(
    contents: Contents,
    polarisations: tuple[str, ...],
    calibration: Calibration,
    *,
    swaths: tuple[str, ...],
    burst: int | None,
    noise_removal: bool,
) -> tuple[xr.DataArray, RadarGrid]:
    """Make the image of an SLC."""
    images = []
    for name in polarisations:
        image, grid = slc_image(
            **_by_swath(contents, swaths, name, noise=noise_removal),
            swaths=swaths,
            burst=burst,
            calibration=calibration,
            noise_removal=noise_removal,
        )
        images.append(image)
    return _stacked(contents, images, polarisations), replace(grid, polarisations=polarisations)


def complex_slc(
    contents: Contents,
    polarisations: tuple[str, ...],
    calibration: Calibration,
    *,
    swaths: tuple[str, ...],
    burst: int | None,
) -> tuple[dict[str, xr.DataArray], RadarGrid]:
    """Make the complex images of an SLC."""
    images = {}
    for name in polarisations:
        images[name], grid = slc_numbers(
            **_by_swath(contents, swaths, name, noise=False),
            swaths=swaths,
            burst=burst,
            calibration=calibration,
        )
    return images, replace(grid, polarisations=polarisations)


class _BySwath(TypedDict):
    """The first arguments of `slc_image` and `slc_numbers`."""

    files: ProductFiles
    annotations: Mapping[str, Annotation]
    radiometries: Mapping[str, Radiometry]
    measurements: Mapping[str, str]


def _by_swath(
    contents: Contents, swaths: Sequence[str], polarisation: str, *, noise: bool
) -> _BySwath:
    """Gather what belongs to the swaths of a polarisation."""
    channels = {swath: contents.channel(swath, polarisation, noise=noise) for swath in swaths}
    return {
        "files": contents.files,
        "annotations": {swath: channel.annotation for swath, channel in channels.items()},
        "radiometries": {swath: channel.radiometry for swath, channel in channels.items()},
        "measurements": {swath: channel.measurement for swath, channel in channels.items()},
    }


def _stacked(
    contents: Contents, images: list[xr.DataArray], polarisations: tuple[str, ...]
) -> xr.DataArray:
    """Put polarisations on top of each other, where there are several."""
    import xarray as xr

    name = contents.files.name
    if len({image.shape for image in images}) > 1:
        sizes = " and ".join(f"{image.shape[0]} x {image.shape[1]}" for image in images)
        msg = f"the polarisations of {name} have {sizes} pixels: fetch it again"
        raise ValueError(msg)
    stacked = (
        images[0].assign_coords(polarisation=polarisations[0])
        if len(images) == 1
        else xr.concat(images, "polarisation").assign_coords(polarisation=list(polarisations))
    )
    simulated = {"simulated": "says the product"} if contents.manifest.simulated else {}
    return stacked.assign_attrs(
        long_name="radar backscatter", units="1", product_name=name, **simulated
    )


# Sentinel-1 products, from the archive's file to a calibrated scene.


def recognises(source: str | os.PathLike[str]) -> bool:  # noqa: ARG001  # the only missions yet
    """Tell whether a product is one of Sentinel-1: any may be, as names change on the way."""
    return True


def open_product(
    source: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Sentinel1Product:
    """Open a Sentinel-1 product; see `sarheight.product.open_product`."""
    return Sentinel1Product(Contents.open(source, storage_options))


class Sentinel1Product:
    """A GRD or SLC of Sentinel-1.

    Parameters
    ----------
    contents : Contents
        Its files; `open_product` finds them.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """Name of the product."""
        return self._contents.files.name

    @property
    def manifest(self) -> Manifest:
        """What the product's manifest says."""
        return self._contents.manifest

    @property
    def mission(self) -> str:
        """Satellite, such as "S1A"."""
        return self.manifest.mission

    @property
    def product_type(self) -> str:
        """Whether it is a "GRD" or an "SLC"."""
        return self.manifest.product_type

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Polarisations that it has, such as ("VV", "VH")."""
        return self._contents.polarisations

    @property
    def swaths(self) -> tuple[str, ...]:
        """Swaths that it has: ("IW",) for a GRD, ("IW1", "IW2", "IW3") for an SLC."""
        return self._contents.swaths

    @property
    def start(self) -> np.datetime64:
        """Time of the first line (UTC)."""
        return self.manifest.start

    @property
    def stop(self) -> np.datetime64:
        """Time of the last line (UTC)."""
        return self.manifest.stop

    @property
    def footprint(self) -> NDArray[np.float64]:
        """Corners of the image: longitude and latitude in degrees, shape (n, 2)."""
        return self.manifest.footprint

    def annotation(self, swath: str = "", polarisation: str = "") -> Annotation:
        """Read the annotation of an image; by default the first swath and polarisation.

        Raises
        ------
        ProductError, AnnotationError
            If there is none, or it is damaged.
        """
        return self._contents.annotation(
            swath or self.swaths[0], polarisation or self.polarisations[0]
        )

    def facts(self) -> list[tuple[str, str]]:
        """Tell what the product is, as pairs of a word and a text."""
        return product_facts(self.name, self._contents)

    def placement(
        self, *, swaths: Sequence[str] = (), orbit: OrbitSource = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read sampling and orbit, without the image.

        Parameters
        ----------
        swaths : sequence of str
            Those of an SLC; all by default.
        orbit : Orbit, path or str, optional
            As for `scene`.

        Returns
        -------
        RadarGrid, Orbit

        Raises
        ------
        ProductError, AnnotationError
            If an annotation is missing or damaged.
        """
        chosen = tuple(swaths) or self.swaths
        polarisation = self.polarisations[0]
        grids = [read_grid(self.annotation(swath, polarisation)) for swath in chosen]
        grid = grids[0] if len(grids) == 1 else merge_grids(grids)[0]
        return grid, self._orbit(grid, self.annotation(chosen[0], polarisation), orbit)

    def scene(
        self,
        *,
        polarisations: Sequence[str] = (),
        calibration: Calibration = "beta0",
        bounds: Bounds | None = None,
        heights: tuple[float, float] = HEIGHTS,
        multilook: tuple[int, int] | None = None,
        spacing: float | None = None,
        swaths: Sequence[str] = (),
        burst: int | None = None,
        noise_removal: bool = True,
        border_cleaning: bool | None = None,
        orbit: OrbitSource = None,
    ) -> Scene:
        """Open the calibrated image; it is read when it is computed.

        Parameters
        ----------
        polarisations : sequence of str
            Which ones, in this order; all by default. With several the image has a dimension
            `polarisation`.
        calibration : {"beta0", "sigma0", "gamma0"}
            What to normalise to.
        bounds : (west, south, east, north), optional
            Area in degrees: only the part of the image that shows it is opened. West is larger
            than east across the date line.
        heights : (lowest, highest)
            Of the ground in that area, in metres above the ellipsoid; a narrower range reads
            less.
        multilook : (lines, samples), optional
            Pixels to average into one.
        spacing : float, optional
            In place of it, the wanted distance between pixels on the ground in metres.
        swaths : sequence of str
            Those of an SLC, on one merged grid; all by default.
        burst : int, optional
            Of an SLC's only swath, this burst alone, counted from 0.
        noise_removal : bool
            Whether to subtract the thermal noise.
        border_cleaning : bool, optional
            Whether to look for borders of a GRD that hold no image; by default in those of IPF
            before 2.9.
        orbit : Orbit, path or str, optional
            An orbit; an orbit file (EOF); a folder with some, of which the best is taken; or
            "annotation". By default an orbit file that lies beside the product, and otherwise
            the orbit of the annotation.

        Returns
        -------
        Scene
            Image on dims (line, sample) or (polarisation, line, sample), on dask.

        Raises
        ------
        ValueError
            If the product does not have what is asked for, or it makes no sense.
        GeometryError
            If the image does not show the area.
        ProductError, AnnotationError
            If files are missing, damaged, or contradict each other.
        OrbitCoverageError
            If the orbit does not cover the image.
        """
        names = self._chosen("polarisations", polarisations, self.polarisations)
        chosen = self._chosen("swaths", swaths, self.swaths)
        if bounds is not None:
            require_bounds(bounds)
        if multilook is not None and spacing is not None:
            msg = f"found multilook={multilook} and spacing={spacing}, expected one of them"
            raise ValueError(msg)
        self._require_meant(burst, border_cleaning)
        if self.product_type == "GRD":
            image, grid = power_of_grd(
                self._contents,
                names,
                calibration,
                noise_removal=noise_removal,
                border_cleaning=border_cleaning,
            )
        else:
            image, grid = power_of_slc(
                self._contents,
                names,
                calibration,
                swaths=chosen,
                burst=burst,
                noise_removal=noise_removal,
            )
        vectors = self._orbit(grid, self.annotation(chosen[0], names[0]), orbit)
        full = grid
        if bounds is not None:
            line, sample = part_of_bounds(bounds, grid, vectors, heights=heights)
            image, grid = image.isel(line=line, sample=sample), grid.crop(line, sample)
        if spacing is not None:
            multilook = looks_for_spacing(grid, vectors, spacing)
        if multilook is not None:
            image, grid = self._averaged(image, grid, full, multilook, chosen, names[0])
        return Scene(image, grid, vectors, calibration)

    def complex_images(
        self,
        *,
        polarisations: Sequence[str] = (),
        calibration: Calibration = "sigma0",
        swaths: Sequence[str] = (),
        burst: int | None = None,
    ) -> tuple[dict[str, xr.DataArray], RadarGrid]:
        """Open the calibrated complex images of an SLC; they are read when they are computed.

        Parameters
        ----------
        polarisations : sequence of str
            Which ones; all by default.
        calibration : {"beta0", "sigma0", "gamma0"}
            What their power is normalised to. It keeps its thermal noise.
        swaths : sequence of str
            Whose pixels, on one merged grid; all by default.
        burst : int, optional
            Of an only swath, this burst alone, counted from 0.

        Returns
        -------
        images : dict
            By polarisation, on dims (line, sample); what polarimetry of zones takes. Phases
            are those in the files, with the ramps of the bursts in them.
        grid : RadarGrid
            Their sampling.

        Raises
        ------
        ValueError
            If the product is a GRD, or does not have what is asked for.
        ProductError, AnnotationError
            If files are missing, damaged, or contradict each other.
        """
        if self.product_type != "SLC":
            msg = f"found a {self.product_type}, {self.name}: complex numbers are only in an SLC"
            raise ValueError(msg)
        names = self._chosen("polarisations", polarisations, self.polarisations)
        chosen = self._chosen("swaths", swaths, self.swaths)
        return complex_slc(self._contents, names, calibration, swaths=chosen, burst=burst)

    def verify(self) -> None:
        """Compare all files with their checksums in the manifest.

        This reads the whole product. The XML files that are used are compared in any case.

        Raises
        ------
        ProductError
            If files are missing or differ.
        """
        self._contents.verify()

    def _chosen(
        self, what: str, wanted: Sequence[str], present: tuple[str, ...]
    ) -> tuple[str, ...]:
        chosen = tuple(name.upper() for name in wanted) or present
        if len(set(chosen)) < len(chosen) or not set(chosen) <= set(present):
            msg = (
                f"found {what}={tuple(wanted)}, expected one or more of those that {self.name} "
                f"has, each once: {', '.join(present)}"
            )
            raise ValueError(msg)
        return chosen

    def _require_meant(self, burst: int | None, border_cleaning: bool | None) -> None:  # noqa: FBT001
        """Check that nothing is asked for that only the other type of product has."""
        if self.product_type == "GRD" and burst is not None:
            msg = f"found burst={burst}, and {self.name} is a GRD, in which bursts are merged"
            raise ValueError(msg)
        if self.product_type == "SLC" and border_cleaning:
            msg = f"found border_cleaning, and {self.name} is an SLC, which says what is valid"
            raise ValueError(msg)

    def _orbit(self, grid: RadarGrid, annotation: Annotation, source: OrbitSource) -> Orbit:
        manifest = self.manifest
        folder = self._contents.files.folder
        return product_orbit(source, grid, annotation, manifest, folder)

    def _averaged(
        self,
        image: xr.DataArray,
        grid: RadarGrid,
        full: RadarGrid,
        window: tuple[int, int],
        swaths: tuple[str, ...],
        polarisation: str,
    ) -> tuple[xr.DataArray, RadarGrid]:
        annotations = [self.annotation(swath, polarisation) for swath in swaths]
        looks = equivalent_looks(annotations, full, *window)
        return multilook(image, grid, *window, looks=looks)
