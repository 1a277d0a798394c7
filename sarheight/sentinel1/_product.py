"""Sentinel-1 products: from the archive's file to a calibrated scene."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._runtime import Summarised
from sarheight.acquisition import SOURCE
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.geometry.placement import HEIGHTS, Bounds, Cut, chosen_names, stack_polarisations
from sarheight.scene import Scene
from sarheight.sentinel1._eopf import EopfSource
from sarheight.sentinel1._files import ProductFiles, is_safe
from sarheight.sentinel1._images import grd_image, noise_image, slc_image, slc_numbers
from sarheight.sentinel1._radiometry import CLEAN_SINCE, noise_level
from sarheight.sentinel1._safe import SafeSource
from sarheight.sentinel1.eopf import is_store
from sarheight.sentinel1.grid import equivalent_looks, merge_grids, read_grid, resolution
from sarheight.sentinel1.orbit import OrbitSource, product_orbit

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration
    from sarheight.sentinel1._images import Channel
    from sarheight.sentinel1._manifest import Manifest
    from sarheight.sentinel1.annotation import Annotation

COPOLARISED = ("VV", "HH")
ZERO_NOISE = "not removed: all noise vectors of the product are zero"


def recognises(
    source: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> bool:
    """Return whether a source is a SAFE product, its zip, or an EOPF store, whatever its name."""
    return is_store(source) or is_safe(source, storage_options or {})


def open_product(
    source: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> Sentinel1Product:
    """Open a Sentinel-1 product; see `sarheight.product.open_product`."""
    if is_store(source):
        return Sentinel1Product(EopfSource.open(source, storage_options))
    return Sentinel1Product(SafeSource(ProductFiles.open(source, storage_options)))


@dataclass(frozen=True)
class _Options:
    """Which image is opened, and how; `Sentinel1Product.scene` describes the fields."""

    polarisations: Sequence[str] = ()
    calibration: Calibration = "beta0"
    bounds: Bounds | None = None
    heights: tuple[float, float] = HEIGHTS
    multilook: tuple[int, int] | None = None
    spacing: float | None = None
    swaths: Sequence[str] = ()
    burst: int | None = None
    orbit: OrbitSource = None

    @property
    def cut(self) -> Cut:
        """Part and averaging of the image."""
        return Cut(
            bounds=self.bounds,
            heights=self.heights,
            multilook=self.multilook,
            spacing=self.spacing,
        )


class Sentinel1Product(Summarised):
    """A GRD or SLC of Sentinel-1; `open_product` makes it.

    Parameters
    ----------
    source : SafeSource or EopfSource
        Where it is read from.
    """

    def __init__(self, source: SafeSource | EopfSource) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """Name of the product."""
        return self._source.name

    @property
    def manifest(self) -> Manifest:
        """Content of the product's manifest."""
        return self._source.manifest

    @property
    def mission(self) -> str:
        """Satellite, such as "S1A"."""
        return self.manifest.mission

    @property
    def product_type(self) -> str:
        """Product type: "GRD" or "SLC"."""
        return self.manifest.product_type

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Polarisations in the order of the manifest, such as ("VV", "VH")."""
        present = {polarisation for _, polarisation in self._source.images}
        listed = [name for name in self.manifest.polarisations if name in present]
        return tuple(listed + sorted(present - set(listed)))

    @property
    def swaths(self) -> tuple[str, ...]:
        """Swaths: ("IW",) for a GRD, ("IW1", "IW2", "IW3") for an SLC."""
        return tuple(sorted({swath for swath, _ in self._source.images}))

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

    @property
    def unverified(self) -> tuple[str, ...]:
        """Measurements stored in a zip of which parts were read so far, and not compared.

        A measurement is compared when all pixels of it are read. Damage to others is found by
        `verify` only.
        """
        return self._source.unverified

    def annotation(self, swath: str = "", polarisation: str = "") -> Annotation:
        """Read the annotation of an image; by default the first swath and polarisation.

        Parameters
        ----------
        swath, polarisation : str, optional
            Such as "IW1" and "VV".

        Returns
        -------
        Annotation

        Raises
        ------
        ProductError, AnnotationError
            If there is none, or it is damaged.
        """
        return self._source.annotation(
            swath or self.swaths[0], polarisation or self.polarisations[0]
        )

    def burst_footprint(self, burst: int, swath: str = "") -> NDArray[np.float64]:
        """Return where a burst lies, from the geolocation grid.

        Parameters
        ----------
        burst : int
            Counted from 0.
        swath : str, optional
            Such as "IW1"; by default the first.

        Returns
        -------
        array of float, shape (n, 2)
            Longitude and latitude in degrees of the points on its edges and in it.

        Raises
        ------
        IndexError
            If there is no such burst.
        ProductError, AnnotationError
            If there is no such swath, or the annotation is damaged.
        """
        annotation = self.annotation(swath)
        read_grid(annotation, burst=burst)
        points, count = annotation.geolocation, annotation.lines_per_burst
        # The grid has a row at the first line of each burst, and one behind the last burst.
        inside = (points.line >= burst * count) & (points.line <= (burst + 1) * count)
        return np.stack([points.longitude[inside], points.latitude[inside]], axis=-1)

    def summary(self) -> list[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""
        manifest = self.manifest
        longitude, latitude = manifest.footprint.T
        kind = f"{manifest.mission} {manifest.mode} {manifest.product_type}"
        simulated = "simulated " if manifest.simulated else ""
        version = manifest.processor_version
        images = [
            f"{swath} {annotation.lines} lines x {annotation.samples} samples"
            + (f" in {len(annotation.bursts)} bursts" if annotation.bursts else "")
            for swath in self.swaths
            for annotation in [self.annotation(swath)]
        ]
        start, stop = (time.astype("datetime64[us]") for time in (manifest.start, manifest.stop))
        place = (
            f"longitude {longitude.min():.3f} to {longitude.max():.3f}, "
            f"latitude {latitude.min():.3f} to {latitude.max():.3f}"
        )
        orbit = f"{manifest.orbit_number}, {manifest.relative_orbit} of the repeat cycle"
        return [
            ("what", f"{simulated}Sentinel-1 product: {kind}, {self.name}"),
            ("polarisations", ", ".join(self.polarisations)),
            ("images", "; ".join(images)),
            ("pass", manifest.passing),
            ("place", place),
            ("time", f"{start} to {stop} UTC"),
            ("orbit number", orbit),
            ("checks", self._source.checks),
            ("processor", "unknown" if np.isnan(version) else f"IPF {version:.2f}"),
        ]

    def grid_and_orbit(
        self, *, swaths: Sequence[str] = (), orbit: OrbitSource = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image.

        Parameters
        ----------
        swaths : sequence of str
            Swaths of an SLC; all by default.
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
            What the image is normalised to.
        bounds : (west, south, east, north), optional
            Area in degrees: only the part of the image that shows it is opened. West is larger
            than east across the date line.
        heights : (lowest, highest)
            Heights of the ground in that area, in metres above the ellipsoid; for a narrower
            range less is read.
        multilook : (lines, samples), optional
            Pixels to average into one.
        spacing : float, optional
            In place of `multilook`, the distance between pixels on the ground in metres.
        swaths : sequence of str
            Swaths of an SLC, on one merged grid; all by default.
        burst : int, optional
            Open this burst of one swath of an SLC alone, counted from 0.
        noise_removal : bool
            Whether to subtract the thermal noise.
        border_cleaning : bool, optional
            Whether to remove the borders of a GRD that hold no image; by default in products of
            IPF before 2.9.
        orbit : Orbit, path or str, optional
            An orbit; an orbit file (EOF); a folder with orbit files, of which the best is used;
            or "annotation". By default an orbit file beside the product, otherwise the orbit
            of the annotation.

        Returns
        -------
        Scene
            Image on dims (line, sample) or (polarisation, line, sample), on dask.

        Raises
        ------
        ValueError
            If the product does not have what is requested, or options contradict each other.
        GeometryError
            If the image does not show the area.
        ProductError, AnnotationError
            If files are missing, damaged, or contradict each other.
        OrbitCoverageError
            If the orbit does not cover the image.
        """
        options = _Options(
            polarisations, calibration, bounds, heights, multilook, spacing, swaths, burst, orbit
        )
        if self.product_type == "SLC" and border_cleaning:
            msg = f"found border_cleaning, and {self.name} is an SLC, which says what is valid"
            raise ValueError(msg)
        return self._scene(options, noise_removal=noise_removal, border_cleaning=border_cleaning)

    def noise(self, **options: Any) -> Scene:  # noqa: ANN401  # those of `scene`
        """Open the thermal noise as an image: what `scene` subtracts. No pixels are read.

        Parameters
        ----------
        **options
            `polarisations`, `calibration`, `bounds`, `heights`, `multilook`, `spacing`, `swaths`,
            `burst` and `orbit` as for `scene`.

        Returns
        -------
        Scene
            Noise-equivalent backscatter, linear power, sampled as `scene` with these options.

        Raises
        ------
        TypeError
            For other options.
        ValueError, GeometryError, ProductError, AnnotationError, OrbitCoverageError
            As for `scene`.
        """
        return self._scene(_Options(**options))

    def _scene(
        self,
        options: _Options,
        *,
        noise_removal: bool | None = None,
        border_cleaning: bool | None = None,
    ) -> Scene:
        """Open an image, cut it, and average it; see `_opened`."""
        names = chosen_names("polarisations", options.polarisations, self.polarisations, self.name)
        swaths = chosen_names("swaths", options.swaths, self.swaths, self.name)
        if self.product_type == "GRD" and options.burst is not None:
            msg = (
                f"found burst={options.burst}, and {self.name} is a GRD, in which bursts are merged"
            )
            raise ValueError(msg)
        chosen = replace(options, polarisations=names, swaths=swaths)
        image, grid = self._opened(
            chosen, noise_removal=noise_removal, border_cleaning=border_cleaning
        )
        vectors = self._orbit(grid, self.annotation(swaths[0], names[0]), options.orbit)
        full = grid
        image, grid = options.cut.crop(image, grid, vectors)

        def looks(lines: int, samples: int) -> float:
            annotations = [self.annotation(swath, names[0]) for swath in swaths]
            return equivalent_looks(annotations, full, lines, samples)

        image, grid = options.cut.average(image, grid, vectors, looks)
        return Scene(image, grid, vectors, options.calibration)

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
            What their power is normalised to. Thermal noise is not removed.
        swaths : sequence of str
            Swaths, on one merged grid; all by default.
        burst : int, optional
            Open this burst of one swath alone, counted from 0.

        Returns
        -------
        images : dict
            Complex images by polarisation, on dims (line, sample), for
            `sarheight.zones.polarimetric_channels`. Phases are those in the files, with the azimuth
            ramps of the bursts.
        grid : RadarGrid
            Their radar grid.

        Raises
        ------
        ValueError
            If the product is a GRD, or does not have what is requested.
        ProductError, AnnotationError
            If files are missing, damaged, or contradict each other.
        """
        if self.product_type != "SLC":
            msg = f"found a {self.product_type}, {self.name}: complex numbers are only in an SLC"
            raise ValueError(msg)
        names = chosen_names("polarisations", polarisations, self.polarisations, self.name)
        chosen = chosen_names("swaths", swaths, self.swaths, self.name)
        images = {}
        for name in names:
            images[name], grid = slc_numbers(
                self._source.rasters,
                self._channels(chosen, name, noise=False),
                burst=burst,
                calibration=calibration,
            )
        return images, replace(grid, polarisations=names)

    def verify(self) -> None:
        """Compare all files with their checksums in the manifest.

        This reads the whole product. XML files are compared whenever they are read.

        Raises
        ------
        ProductError
            If files are missing or differ.
        """
        self._source.verify()

    def _orbit(self, grid: RadarGrid, annotation: Annotation, source: OrbitSource) -> Orbit:
        return product_orbit(source, grid, annotation, self.manifest, self._source.folder)

    def _border(self, options: _Options) -> Channel:
        """Return the image that tells where the borders of a GRD are."""
        # Cross-polarised backscatter of water is close to the noise: co-polarised decides.
        named = (name for name in self.polarisations if name in COPOLARISED)
        return self._source.channel(
            options.swaths[0], next(named, options.polarisations[0]), noise=True
        )

    def _opened(
        self, options: _Options, *, noise_removal: bool | None, border_cleaning: bool | None
    ) -> tuple[xr.DataArray, RadarGrid]:
        """Return the images of polarisations on one dimension, and their grid.

        They are calibrated power, or the thermal noise where `noise_removal` is None.
        """
        cleaned = False
        opener: Callable[..., tuple[xr.DataArray, RadarGrid]]
        if noise_removal is None:
            opener = partial(noise_image, burst=options.burst)
        elif self.product_type == "SLC":
            opener = partial(slc_image, burst=options.burst, noise_removal=noise_removal)
        else:
            old = self.manifest.processor_version < CLEAN_SINCE
            cleaned = old if border_cleaning is None else border_cleaning
            border = self._border(options) if cleaned else None
            opener = partial(grd_image, border=border, noise_removal=noise_removal)
        noise = cleaned or noise_removal is not False
        channels = {
            name: self._channels(options.swaths, name, noise=noise)
            for name in options.polarisations
        }
        opened = {
            name: opener(self._source.rasters, each, calibration=options.calibration)
            for name, each in channels.items()
        }
        used = {name: list(each.values()) for name, each in channels.items()}
        grid = next(iter(opened.values()))[1]
        record = self._source_record(grid, used)
        if noise_removal is not None:
            record["checks"] = self._source.checks
            record["thermal_noise"] = self._noise_record(used, removed=noise_removal)
        attributes = {SOURCE: json.dumps(record)}
        if self.manifest.simulated:
            attributes["simulated"] = "says the product"
        images = {name: image for name, (image, _) in opened.items()}
        stacked = stack_polarisations(images, self.name, attributes)
        return stacked, replace(grid, polarisations=tuple(images))

    def _noise_record(
        self, channels: Mapping[str, Sequence[Channel]], *, removed: bool
    ) -> dict[str, str]:
        """Say of each polarisation whether its noise is removed; warn where it cannot be."""
        if not removed:
            return dict.fromkeys(channels, "not removed")
        silent = [
            name
            for name, own in channels.items()
            if any(each.radiometry.noise and each.radiometry.noise.is_zero for each in own)
        ]
        if silent and not self.manifest.simulated:
            msg = (
                f"all noise vectors of {', '.join(silent)} in {self.name} are zero, as early "
                "processors wrote them: no thermal noise is removed; a product that was processed "
                "again has them"
            )
            warnings.warn(msg, stacklevel=5)
        return {name: ZERO_NOISE if name in silent else "removed" for name in channels}

    def _source_record(
        self, grid: RadarGrid, channels: Mapping[str, Sequence[Channel]]
    ) -> dict[str, Any]:
        """Describe how the product was processed and sampled, for metadata of results."""
        annotations = [channel.annotation for channel in next(iter(channels.values()))]
        incidence = np.concatenate([each.geolocation.incidence_angle for each in annotations])
        version = self.manifest.processor_version
        return {
            "facility": self.manifest.facility,
            "processed": self.manifest.processed,
            "software": "" if np.isnan(version) else f"Sentinel-1 IPF {version:.2f}",
            "level": "L1",
            "geometry": "ground range" if grid.is_ground_range else "slant range",
            "line_interval": grid.line_interval,
            "range_spacing": annotations[0].range_spacing,
            "near_incidence": round(float(incidence.min()), 3),
            "far_incidence": round(float(incidence.max()), 3),
            "beams": {
                swath.swath: {
                    "azimuth_looks": swath.looks[0],
                    "range_looks": swath.looks[1],
                    "azimuth_resolution_seconds": float(f"{resolution(swath.azimuth):.6g}"),
                    "slant_range_resolution": round(
                        0.5 * SPEED_OF_LIGHT * resolution(swath.range), 3
                    ),
                }
                for annotation in annotations
                for swath in annotation.processing
            },
            "noise_equivalent_sigma0": {
                name: level
                for name, own in channels.items()
                if (level := noise_level([channel.radiometry for channel in own], annotations))
            },
        }

    def _channels(
        self, swaths: Sequence[str], polarisation: str, *, noise: bool
    ) -> dict[str, Channel]:
        return {swath: self._source.channel(swath, polarisation, noise=noise) for swath in swaths}
