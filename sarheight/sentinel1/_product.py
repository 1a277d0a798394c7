"""Sentinel-1 products: from the archive's file to a calibrated scene."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.acquisition import SOURCE
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.geometry.placement import chosen_names, stack_polarisations
from sarheight.product import Opened, Product
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
    from sarheight.product import ImageOptions
    from sarheight.scene import Calibration
    from sarheight.sentinel1._images import Channel
    from sarheight.sentinel1._manifest import Manifest
    from sarheight.sentinel1.annotation import Annotation

    Opener = Callable[..., tuple[xr.DataArray, RadarGrid]]
    Channels = Mapping[str, dict[str, Channel]]  # by polarisation and swath

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


class Sentinel1Product(Product):
    """A GRD or SLC of Sentinel-1; `open_product` makes it.

    Parameters
    ----------
    source : SafeSource or EopfSource
        Where it is read from.

    Attributes
    ----------
    manifest : Manifest
        Content of the product's manifest.
    """

    def __init__(self, source: SafeSource | EopfSource) -> None:
        self._source = source
        self.manifest: Manifest = source.manifest
        self.name, self.mission = source.name, self.manifest.mission
        self.product_type = self.manifest.product_type
        swaths, polarisations = (set(names) for names in zip(*source.images, strict=True))
        listed = [name for name in self.manifest.polarisations if name in polarisations]
        self.polarisations = (*listed, *sorted(polarisations - set(listed)))
        self.swaths = tuple(sorted(swaths))
        self.form = (
            "a GRD, in which bursts are merged"
            if self.product_type == "GRD"
            else "an SLC, which says what is valid"
        )

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
        """Return the points of the geolocation grid in a burst and at its edges; see `Product`."""
        annotation = self.annotation(swath)
        read_grid(annotation, burst=burst)
        points, count = annotation.geolocation, annotation.lines_per_burst
        # The grid has a row at the first line of each burst, and one behind the last burst.
        inside = (points.line >= burst * count) & (points.line <= (burst + 1) * count)
        return np.stack([points.longitude[inside], points.latitude[inside]], axis=-1)

    def summary(self) -> list[tuple[str, str]]:
        """Describe the product as pairs of a label and a text."""
        manifest = self.manifest
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
        orbit = f"{manifest.orbit_number}, {manifest.relative_orbit} of the repeat cycle"
        return [
            ("what", f"{simulated}Sentinel-1 product: {kind}, {self.name}"),
            ("polarisations", ", ".join(self.polarisations)),
            ("images", "; ".join(images)),
            ("pass", manifest.passing),
            self._place(),
            ("time", f"{start} to {stop} UTC"),
            ("orbit number", orbit),
            ("checks", self._source.checks),
            ("processor", "unknown" if np.isnan(version) else f"IPF {version:.2f}"),
        ]

    def grid_and_orbit(
        self, *, swaths: Sequence[str] = (), orbit: OrbitSource = None
    ) -> tuple[RadarGrid, Orbit]:
        """Read the radar grid and the orbit, without the image; see `Product`."""
        chosen = tuple(swaths) or self.swaths
        polarisation = self.polarisations[0]
        grids = [read_grid(self.annotation(swath, polarisation)) for swath in chosen]
        grid = grids[0] if len(grids) == 1 else merge_grids(grids)[0]
        return grid, self._orbit(grid, self.annotation(chosen[0], polarisation), orbit)

    def _open(self, options: ImageOptions) -> Opened:
        """Open the image, calibrated."""
        chosen, removal = self._chosen(options), options.noise_removal
        if self.product_type == "SLC":
            if options.border_cleaning:
                self._refuse("border_cleaning")
            cleaned = False
            opener: Opener = partial(slc_image, burst=options.burst, noise_removal=removal)
        else:
            old = self.manifest.processor_version < CLEAN_SINCE
            cleaned = old if options.border_cleaning is None else options.border_cleaning
            border = self._border(chosen) if cleaned else None
            opener = partial(grd_image, border=border, noise_removal=removal)
        channels = self._channels_of(chosen, noise=cleaned or removal)
        record = {
            "checks": self._source.checks,
            "thermal_noise": self._noise_record(channels, removed=removal),
        }
        return self._opened(chosen, channels, opener, record)

    def _open_noise(self, options: ImageOptions) -> Opened:
        """Open the thermal noise, calibrated as the image."""
        chosen = self._chosen(options)
        opener = partial(noise_image, burst=chosen.burst)
        return self._opened(chosen, self._channels_of(chosen, noise=True), opener, {})

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
        """Compare all files with their checksums in the manifest; see `Product`."""
        self._source.verify()

    def _orbit(self, grid: RadarGrid, annotation: Annotation, source: OrbitSource) -> Orbit:
        return product_orbit(source, grid, annotation, self.manifest, self._source.folder)

    def _border(self, options: ImageOptions) -> Channel:
        """Return the image that tells where the borders of a GRD are."""
        # Cross-polarised backscatter of water is close to the noise: co-polarised decides.
        named = (name for name in self.polarisations if name in COPOLARISED)
        return self._source.channel(
            options.swaths[0], next(named, options.polarisations[0]), noise=True
        )

    def _chosen(self, options: ImageOptions) -> ImageOptions:
        """Return the options with the names of all polarisations and swaths."""
        if self.product_type == "GRD" and options.burst is not None:
            self._refuse(f"burst={options.burst}")
        return replace(
            options,
            polarisations=chosen_names(
                "polarisations", options.polarisations, self.polarisations, self.name
            ),
            swaths=chosen_names("swaths", options.swaths, self.swaths, self.name),
        )

    def _opened(
        self, options: ImageOptions, channels: Channels, opener: Opener, record: dict[str, Any]
    ) -> Opened:
        """Open the images of polarisations on one dimension, with a record of their source."""
        opened = {
            name: opener(self._source.rasters, each, calibration=options.calibration)
            for name, each in channels.items()
        }
        grid = replace(next(iter(opened.values()))[1], polarisations=tuple(opened))
        attributes = {SOURCE: json.dumps(self._source_record(grid, channels) | record)}
        if self.manifest.simulated:
            attributes["simulated"] = "says the product"
        annotations = [channel.annotation for channel in next(iter(channels.values())).values()]
        images = {name: image for name, (image, _) in opened.items()}
        return Opened(
            stack_polarisations(images, self.name, attributes),
            grid,
            self._orbit(grid, annotations[0], options.orbit),
            partial(equivalent_looks, annotations, grid),
        )

    def _noise_record(self, channels: Channels, *, removed: bool) -> dict[str, str]:
        """Say of each polarisation whether its noise is removed; warn where it cannot be."""
        if not removed:
            return dict.fromkeys(channels, "not removed")
        silent = [
            name
            for name, own in channels.items()
            if any(one.radiometry.noise and one.radiometry.noise.is_zero for one in own.values())
        ]
        if silent and not self.manifest.simulated:
            msg = (
                f"all noise vectors of {', '.join(silent)} in {self.name} are zero, as early "
                "processors wrote them: no thermal noise is removed; a product that was processed "
                "again has them"
            )
            warnings.warn(msg, stacklevel=4)
        return {name: ZERO_NOISE if name in silent else "removed" for name in channels}

    def _source_record(self, grid: RadarGrid, channels: Channels) -> dict[str, Any]:
        """Describe how the product was processed and sampled, for metadata of results."""
        annotations = [channel.annotation for channel in next(iter(channels.values())).values()]
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
                if (level := noise_level([each.radiometry for each in own.values()], annotations))
            },
        }

    def _channels_of(self, options: ImageOptions, *, noise: bool) -> Channels:
        """Return the images of polarisations and swaths."""
        return {
            name: self._channels(options.swaths, name, noise=noise)
            for name in options.polarisations
        }

    def _channels(
        self, swaths: Sequence[str], polarisation: str, *, noise: bool
    ) -> dict[str, Channel]:
        return {swath: self._source.channel(swath, polarisation, noise=noise) for swath in swaths}
