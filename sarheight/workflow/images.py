"""Images of any kind to scenes: the one place that knows how an image is read by default."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.errors import OptionError, python_names
from sarheight.workflow.config import ImageConfig
from sarheight.workflow.options import AUTO

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.geometry.placement import Bounds
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.product import Product
    from sarheight.scene import Scene


AROUND = np.timedelta64(30, "s")
"""Time around a terrain-flattened product for which its orbit is read."""
SLC_SPACING = 20.0
"""Metres on the ground to which an SLC is averaged by default: its pixels are single looks."""
LOG = logging.getLogger("sarheight")

Progress = Callable[[str, int, int | None], None]


class Reporter:
    """What a workflow tells while it runs: here it goes to the log ``sarheight``."""

    def stage(self, what: str) -> None:
        """Begin a stage."""
        LOG.debug(what)

    def advance(self, what: str, fraction: float) -> None:
        """Report the fraction of a stage that is done."""
        LOG.debug("%s: %.0f %%", what, 100.0 * fraction)

    @contextmanager
    def following(self, passes: int) -> Iterator[None]:  # noqa: ARG002  # of others
        """Report the progress of dask, which walks so many times through its parts."""
        yield

    def say(self, what: str) -> None:
        """Tell what was decided or found."""
        LOG.info(python_names(what))

    def warn(self, what: str) -> None:
        """Tell what the user should look at."""
        LOG.warning(python_names(what))

    @contextmanager
    def downloading(self) -> Iterator[Progress]:
        """Report the progress of downloads."""
        yield lambda _name, _done, _total: None


def open_image(
    image: str | os.PathLike[str] | Product | Scene,
    config: ImageConfig | None = None,
    *,
    dem: xr.DataArray | None = None,
    reporter: Reporter | None = None,
    **options: Any,  # noqa: ANN401  # fields of the configuration
) -> Scene:
    """Open an image of any kind, as all commands do.

    Parameters
    ----------
    image : str, path, product or Scene
        A product as the archive delivers it (SAFE folder, zip, URL, EOPF store, RSLC, SICD), an
        image file in radar geometry, or one of them opened; or a terrain-flattened product of
        OPERA, HyP3 or the Planetary Computer, which is taken back to radar geometry.
    config : ImageConfig, optional
        How it is read.
    dem : DataArray, optional
        Elevation model, which terrain-flattened products need; see `sarheight.archives.to_radar`.
    reporter : Reporter, optional
        Told of decisions and downloads; by default they go to the log ``sarheight``.
    **options
        Fields of `ImageConfig`, which replace those of `config`: ``polarisations="VV"``.

    Returns
    -------
    Scene
        Calibrated linear power, dims (line, sample), with ``polarisation`` in front where there are
        several; an SLC is averaged to 20 m on the ground unless the options say otherwise. The
        image of a product is read when it is computed.

    Raises
    ------
    OptionError
        If an option is unknown or impossible, or does not apply to the image. A ValueError.
    FileNotFoundError, ProductError, DamagedFileError, GeometryError, OrbitCoverageError
        As the readers raise them.
    """
    if config is not None:
        # That of a reconstruction says more than how its image is read.
        known = {each.name for each in fields(ImageConfig)}
        given = {name: value for name, value in config.to_dict().items() if name in known}
        options = given | options
    chosen = ImageConfig.from_dict(options)
    source = ImageSource.of(image, chosen, reporter or Reporter())
    return source.scene(bounds=chosen.bounds, heights=dem)


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image that is known, but not read yet.

    Attributes
    ----------
    name : str
        Name for messages.
    config : ImageConfig
        How it is read.
    reporter : Reporter
        Told of decisions.
    product : Product, optional
        The product, if the image is one.
    opened : Scene, optional
        The scene, if it was given as such.
    flattened : Dataset, optional
        The terrain-flattened product, if the image is one.
    """

    name: str
    config: ImageConfig
    reporter: Reporter = field(default_factory=Reporter)
    product: Product | None = None
    opened: Scene | None = None
    flattened: xr.Dataset | None = None

    @classmethod
    def of(
        cls,
        image: str | os.PathLike[str] | Product | Scene,
        config: ImageConfig,
        reporter: Reporter,
    ) -> ImageSource:
        """Find out what an image is, and refuse options that do not apply to it."""
        from sarheight.archives import is_rtc, open_rtc
        from sarheight.product import is_product, open_product
        from sarheight.scene import Scene

        if isinstance(image, Scene):
            name = str(image.image.attrs.get("product_name", "the scene"))
            source = cls(name, config, reporter, opened=image)
        elif not isinstance(image, str | os.PathLike):
            if not hasattr(image, "scene"):
                msg = (
                    f"found {type(image).__name__}, expected a path or URL of an image, a product "
                    "that open_product opened, or a Scene"
                )
                raise TypeError(msg)
            source = cls(image.name, config, reporter, product=image)
        elif is_rtc(image):
            source = cls(str(image), config, reporter, flattened=open_rtc(image, chunks={}))
        elif is_product(image):
            _refuse_annotation(str(image), config)
            options = _storage_of(str(image))
            product = open_product(image, storage_options=options)
            source = cls(str(image), config, reporter, product=product)
        else:
            source = cls(str(image), config, reporter)
        if source.product is None:
            source._refuse_options_of_products()
        elif config.verify:
            source.product.verify()
        return source

    def _refuse_options_of_products(self) -> None:
        config = self.config
        if config.verify:
            msg = f"'{self.name}' is no product, and only a product has checksums"
            raise OptionError(msg, option="verify")
        if config.swaths or config.burst is not None or not config.noise_removal:
            msg = f"--swaths, --burst and --no-noise-removal are for products, and '{self.name}' is"
            msg += " none"
            raise OptionError(msg)
        if config.focusing != "zero":
            msg = f"only a NISAR RSLC is focused to another Doppler, and '{self.name}' is none"
            raise OptionError(msg, option="focusing")
        if self.flattened is not None:
            if config.calibration not in (None, "beta0"):
                msg = f"'{self.name}' is terrain-flattened, and becomes an image in beta0"
                raise OptionError(msg, option="calibration")
        elif config.orbit == AUTO:
            msg = f"an orbit is fetched for products only, and '{self.name}' is none"
            raise OptionError(msg, option="orbit")

    def footprint(self) -> Any:  # noqa: ANN401  # array of float, or None
        """Return points on the image that is read, degrees, shape (n, 2); None if not known."""
        product, burst = self.product, self.config.burst
        if self.flattened is not None:
            return _outline(self.flattened)
        if product is None:
            return None
        if burst is not None:
            return product.burst_footprint(burst, *self.config.swaths)
        return product.footprint

    def scene(self, bounds: Bounds | None = None, heights: xr.DataArray | None = None) -> Scene:
        """Open the image with its sampling and orbit, or the part of a product within bounds.

        A terrain-flattened product is taken back to radar geometry by the heights.
        """
        if self.product is None:
            return self._averaged(self._image(heights))
        product, config = self.product, self.config
        options = product_options(config, product)
        if options["spacing"] != config.spacing:
            self.reporter.say(
                f"averaging the SLC to {SLC_SPACING:g} m; --spacing sets another value"
            )
        orbit = fetch_orbit(product, self.reporter) if config.orbit == AUTO else config.orbit
        part: dict[str, Any] = {} if bounds is None else {"bounds": bounds}
        scene = product.scene(**options, **part, noise_removal=config.noise_removal, orbit=orbit)
        names = ", ".join(scene.grid.polarisations)
        self.reporter.say(f"{product.name}: {names}, {scene.orbit.source}")
        if not config.verify:
            self.reporter.say(
                "parts of measurements are read without their checksums; --verify compares all"
            )
        return scene

    def noise(self, scene: Scene) -> Scene | None:
        """Open the thermal noise, sampled like the scene; None where it is not stated."""
        if self.product is None:
            return None
        options = product_options(self.config, self.product)
        options.pop("focusing", None)
        return self.product.noise(**options, orbit=scene.orbit)

    def _image(self, heights: xr.DataArray | None) -> Scene:
        """Open an image that is no product in radar geometry."""
        if self.flattened is not None:
            return self._taken_back(self.flattened, heights)
        scene = self._file() if self.opened is None else self._chosen(self.opened)
        if self.config.orbit is None:
            return scene
        orbit = replace_orbit(scene.grid, scene.orbit, Path(self.config.orbit))
        return replace(scene, orbit=orbit)

    def _averaged(self, scene: Scene) -> Scene:
        from sarheight.scene import looks_for_spacing, multilook

        config, window = self.config, self.config.multilook
        if config.spacing is not None:
            window = looks_for_spacing(scene.grid, scene.orbit, config.spacing)
        if window is None:
            return scene
        image, grid = multilook(scene.image, scene.grid, *window)
        return replace(scene, image=image, grid=grid)

    def _taken_back(self, product: xr.Dataset, heights: xr.DataArray | None) -> Scene:
        """Take a terrain-flattened product back to radar geometry."""
        from sarheight.archives import to_radar

        if heights is None:
            msg = (
                f"'{self.name}' is terrain-flattened, and an elevation model takes it back to "
                "radar geometry: pass dem= to open_image, or use sarheight.archives.to_radar"
            )
            raise OptionError(msg, option="dem")
        chosen = self.config.polarisations
        if chosen:
            known = [str(name) for name in product["polarisation"].values]
            if missing := set(chosen) - set(known):
                msg = f"found {', '.join(sorted(missing))}, expected some of {', '.join(known)}"
                raise OptionError(msg, option="polarisations")
            product = product.sel(polarisation=list(chosen))
        orbit = self.flattened_orbit()
        self.reporter.stage("take the flattened image back to radar geometry")
        scene = to_radar(product, heights, orbit)
        names = ", ".join(scene.grid.polarisations)
        self.reporter.say(
            f"{scene.image.attrs['product_name']}: {names}, taken back from "
            f"{scene.image.attrs['flattened_by']}, {scene.orbit.source}"
        )
        return scene

    def flattened_orbit(self) -> Orbit | None:
        """Read the orbit of a terrain-flattened product; None if it has its own."""
        from sarheight.acquisition import acquisitions
        from sarheight.archives import ORBIT
        from sarheight.sentinel1 import read_orbit_file

        source, product = self.config.orbit, self.flattened
        if product is None or (source is None and ORBIT in product.attrs):
            return None
        (record,) = acquisitions(product.attrs) or [{}]
        begin, end = (str(record.get(key, "")).removesuffix("Z") for key in ("start", "end"))
        path = Path(source) if source not in {None, AUTO} else None
        if path is None:
            path = fetch_orbit_file(str(record.get("mission", "")), begin, end, self.reporter)
        if path is None or not begin:
            return None
        # Before and after it: other ground of the elevation model is seen at other times.
        window = (np.datetime64(begin, "ns") - AROUND, np.datetime64(end, "ns") + AROUND)
        return read_orbit_file(path, window=window)

    def _file(self) -> Scene:
        """Read an image file in radar geometry."""
        from sarheight.output.radar_images import read_grid_and_orbit, read_scene

        config, like = self.config, radar_source(self.config.like)
        geometry = None if like is None else read_grid_and_orbit(like)
        scene = read_scene(
            self.name,
            geometry=geometry,
            calibration=config.calibration,
            polarisations=config.polarisations,
            lazy=True,
        )
        if geometry is not None and scene.grid is not geometry[0]:
            self.reporter.say(f"'{self.name}' has its own sampling and orbit: --like is ignored")
        return scene

    def _chosen(self, scene: Scene) -> Scene:
        """Choose polarisations of an opened scene."""
        calibration, names = self.config.calibration, self.config.polarisations
        if calibration not in (None, scene.calibration):
            msg = f"found {calibration!r}, and the scene is calibrated to {scene.calibration!r}"
            raise OptionError(msg, option="calibration")
        if not names or names == scene.grid.polarisations:
            return scene
        missing = set(names) - set(scene.grid.polarisations)
        if missing:
            known = ", ".join(scene.grid.polarisations) or "none that is named"
            msg = f"found {', '.join(sorted(missing))}, expected some of {known}"
            raise OptionError(msg, option="polarisations")
        image = scene.image.sel(polarisation=list(names) if len(names) > 1 else names[0])
        return replace(scene, image=image, grid=replace(scene.grid, polarisations=names))


def product_options(config: ImageConfig, product: Product) -> dict[str, Any]:
    """Return how the image of a product is sampled: options of `Product.scene` and `noise`."""
    averaged = product.product_type == "SLC" and config.multilook is None
    options: dict[str, Any] = {
        "polarisations": config.polarisations,
        "calibration": config.calibration or "beta0",
        "multilook": config.multilook,
        "spacing": SLC_SPACING if averaged and config.spacing is None else config.spacing,
        "swaths": config.swaths,
    }
    if config.burst is not None:
        options["burst"] = config.burst
    if config.focusing != "zero":
        if config.focusing not in product.focusings:
            msg = f"the Doppler of '{product.name}' is known; only a NISAR RSLC leaves it open"
            raise OptionError(msg, option="focusing")
        options["focusing"] = config.focusing
    return options


def _storage_of(image: str) -> dict[str, Any]:
    """Return the file system of an address of the web: each of its requests is checked."""
    if not image.startswith(("https://", "http://")):
        return {}
    try:
        from sarheight.fetch.remote import RemoteFiles
    except ImportError:  # the reader says which extra is missing
        return {}
    return {"storage": RemoteFiles(image)}


def _refuse_annotation(image: str, config: ImageConfig) -> None:
    like = radar_source(config.like)
    if like is not None:
        msg = (
            f"'{image}' is a whole product, which has its own sampling and orbit, and '{like}' is "
            "no raster on a map grid for the result"
        )
        raise OptionError(msg, option="like")


def _outline(product: xr.Dataset) -> NDArray[np.float64]:
    """Return the corners of a product on a map grid in degrees, shape (4, 2)."""
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(product.rio.crs, 4326, *product.rio.bounds())
    return np.array([[west, south], [east, south], [east, north], [west, north]])


# Orbits.


def fetch_orbit(product: Product, reporter: Reporter) -> Path | None:
    """Fetch the best orbit file of a product."""
    return fetch_orbit_file(product.mission, product.start, product.stop, reporter)


def fetch_orbit_file(mission: str, start: Any, stop: Any, reporter: Reporter) -> Path | None:  # noqa: ANN401  # times
    """Fetch the best orbit file of a mission for a span of time."""
    from sarheight import fetch

    reporter.stage("fetch the orbit")
    with reporter.downloading() as report:
        path: Path | None = fetch.orbit(mission, start, stop, progress=report)
    if path is None:
        reporter.say("no orbit file covers the image yet: its own orbit is used")
    return path


def open_geometry(like: Sequence[str], orbit: Path | None = None) -> tuple[RadarGrid, Orbit]:
    """Read sampling and orbit of the product, annotation or image among files `like` the result.

    An orbit file replaces its orbit.
    """
    from sarheight.output.radar_images import read_grid_and_orbit
    from sarheight.sentinel1.cslc import is_burst

    # A geocoded burst is a map, and knows how it was flown.
    source = radar_source(like) or _only([Path(one) for one in like if is_burst(one)], "of bursts")
    if source is None:
        msg = (
            f"found {' and '.join(map(repr, like)) or 'nothing'}, expected a product, an "
            "annotation, or an image with its sampling and orbit"
        )
        raise OptionError(msg, option="like")
    grid, own = read_grid_and_orbit(source)
    return grid, replace_orbit(grid, own, orbit)


def replace_orbit(grid: RadarGrid, orbit: Orbit, path: Path | None) -> Orbit:
    """Read the state vectors of an orbit file around the time of an image."""
    from sarheight.sentinel1 import read_orbit_file

    if path is None:
        return orbit
    zero = orbit.with_epoch(grid.epoch)
    begin, end = (zero.utc(time) for time in (grid.first_time, grid.last_time))
    return read_orbit_file(path, window=(begin, end)).with_epoch(grid.epoch)


# Files that `like` names: one for the map grid of a result, one for sampling and orbit.


def map_source(like: Sequence[str]) -> Path | None:
    """Return the raster on a map grid among files; None where there is none."""
    return _only([Path(each) for each in like if is_map(Path(each))], "on a map grid")


def radar_source(like: Sequence[str]) -> Path | None:
    """Return the file with sampling and orbit among files; None where there is none."""
    return _only([Path(each) for each in like if not is_map(Path(each))], "with sampling and orbit")


def _only(paths: list[Path], what: str) -> Path | None:
    if len(paths) > 1:
        msg = f"found {len(paths)} files {what}, {', '.join(map(str, paths))}, expected one"
        raise OptionError(msg, option="like")
    return paths[0] if paths else None


def is_map(path: Path) -> bool:
    """Tell whether a path is a raster on a map grid, or a result on one."""
    from sarheight._rasters import open_raster
    from sarheight.errors import DemError
    from sarheight.output import open_result
    from sarheight.sentinel1.cslc import is_burst

    if path.suffix.lower() in {".xml", ".xz", ".safe", ".zip", ".nitf", ".ntf"}:
        return False
    if is_burst(path):
        return True
    if is_store(path):
        try:
            dataset = open_result(path, chunks={})
        except ValueError:
            return False
        return {"y", "x"} <= set(dataset.dims) and dataset.rio.crs is not None
    try:
        with open_raster(path) as file:
            return file.crs is not None and not file.transform.is_identity
    except (DemError, FileNotFoundError):
        return False


def is_store(path: Path) -> bool:
    """Tell whether a path may be a result that GDAL does not open: a store, or layers."""
    return path.suffix.lower() in {".nc", ".zarr"} or (path.is_dir() and not path.suffix)
