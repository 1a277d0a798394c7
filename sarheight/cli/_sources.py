"""Where the commands get products, orbits and elevation models from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sarheight.cli._options import read_dem, replaced_orbit

if TYPE_CHECKING:
    import xarray as xr

    from sarheight._area import Bounds
    from sarheight.cli._session import Session
    from sarheight.product import Product
    from sarheight.scene import Calibration, Scene

__all__ = ["AUTO", "DemChoice", "ImageChoice", "require_source"]

AUTO = "auto"
DEM_MARGIN = 0.02
SLC_SPACING = 20.0
"""Metres on the ground to which an SLC is averaged by default: its pixels are single looks."""


def require_source(source: str, hint: str) -> None:
    """Check that a file is there; of URLs it is found out when they are opened.

    Raises
    ------
    typer.BadParameter
        If it is not.
    """
    if "://" not in source and not Path(source).exists():
        msg = f"there is no '{source}'"
        raise typer.BadParameter(msg, param_hint=hint)


@dataclass(frozen=True)
class ImageChoice:
    """What the options say of an image.

    Attributes
    ----------
    source : str
        A product, or an image file.
    like : Path, optional
        What places an image file that does not say it itself.
    orbit : str, optional
        An orbit file, a folder of some, or "auto".
    calibration : {"beta0", "sigma0", "gamma0"}, optional
    polarisations, swaths : tuple of str
        All where empty.
    multilook : (lines, samples), optional
    spacing : float, optional
        In metres.
    noise_removal : bool
    """

    source: str
    like: Path | None
    orbit: str | None
    calibration: Calibration | None
    polarisations: tuple[str, ...]
    swaths: tuple[str, ...]
    multilook: tuple[int, int] | None
    spacing: float | None
    noise_removal: bool

    def product(self) -> Product | None:
        """Open the product, where the image is one.

        Raises
        ------
        typer.BadParameter
            If options do not go together with it.
        """
        from sarheight.product import is_product, open_product

        whole = is_product(self.source)
        if self.multilook is not None and self.spacing is not None:
            msg = "pass --multilook or --spacing, not both"
            raise typer.BadParameter(msg)
        if whole and self.like is not None:
            msg = f"{self.source} is a whole product, which places itself on the ground"
            raise typer.BadParameter(msg, param_hint="--like")
        if not whole and (self.swaths or not self.noise_removal):
            msg = f"--swath and --no-noise-removal are for products, and {self.source} is none"
            raise typer.BadParameter(msg)
        if not whole and self.orbit == AUTO:
            msg = f"an orbit is looked up for products, and {self.source} is none"
            raise typer.BadParameter(msg, param_hint="--orbit")
        return open_product(self.source) if whole else None

    def scene(self, product: Product | None, current: Session) -> Scene:
        """Open the image with what places it on the ground."""
        return self._image(current) if product is None else self._scene(product, current)

    def inputs(self) -> dict[str, Path]:
        """Return the files, for the record."""
        files = {"image": self.source, "like": self.like, "orbit": self.orbit}
        return {
            name: Path(path)
            for name, path in files.items()
            if path is not None and "://" not in str(path) and path != AUTO
        }

    def _scene(self, product: Product, current: Session) -> Scene:
        spacing = self.spacing
        if product.product_type == "SLC" and self.multilook is None and spacing is None:
            spacing = SLC_SPACING
            current.say(f"averaging the SLC to {spacing:g} m, unless --spacing says otherwise")
        scene = product.scene(
            polarisations=self.polarisations,
            calibration=self.calibration or "beta0",
            multilook=self.multilook,
            spacing=spacing,
            swaths=self.swaths,
            noise_removal=self.noise_removal,
            orbit=_orbit_of(product, current) if self.orbit == AUTO else self.orbit,
        )
        current.say(f"{product.name}: {', '.join(scene.grid.polarisations)}, {scene.orbit.source}")
        return scene

    def _image(self, current: Session) -> Scene:
        from sarheight._multilook import looks_for_spacing, multilook
        from sarheight._scene_io import read_placement, read_scene

        placement = None if self.like is None else read_placement(self.like)
        scene = read_scene(
            self.source,
            placement=placement,
            calibration=self.calibration,
            polarisations=self.polarisations,
        )
        if placement is not None and scene.grid is not placement[0]:
            current.say(f"{self.source} holds its own sampling and orbit: --like is not used")
        if self.orbit is not None:
            orbit = replaced_orbit(scene.grid, scene.orbit, Path(self.orbit))
            scene = replace(scene, orbit=orbit)
        window = self.multilook
        if self.spacing is not None:
            window = looks_for_spacing(scene.grid, scene.orbit, self.spacing)
        if window is None:
            return scene
        image, grid = multilook(scene.image, scene.grid, *window)
        return replace(scene, image=image, grid=grid)


def _orbit_of(product: Product, current: Session) -> Path | None:
    """Fetch the best orbit file for a product."""
    from sarheight import fetch

    current.stage("fetch the orbit")
    with current.downloading() as report:
        found: Path | None = fetch.orbit(
            product.mission, product.start, product.stop, progress=report
        )
    if found is None:
        current.say("no orbit file covers the image yet: its own orbit is used")
    return found


@dataclass(frozen=True)
class DemChoice:
    """What the options say of an elevation model.

    Attributes
    ----------
    sources : tuple of str
        Files, or "auto".
    vertical, units : str, optional
    nodata : float, optional
    bounds : (west, south, east, north), optional
        The part that is wanted, in degrees.
    """

    sources: tuple[str, ...]
    vertical: str | None
    units: str | None
    nodata: float | None
    bounds: Bounds | None

    def __post_init__(self) -> None:
        """Check that files are there."""
        if self.sources == (AUTO,):
            return
        for source in self.sources:
            require_source(source, "--dem")

    def open(
        self, product: Product | None, current: Session
    ) -> tuple[xr.DataArray, dict[str, Any]]:
        """Open the elevation model, which is fetched first where that is wanted.

        Parameters
        ----------
        product : Product, optional
            The product whose place it is to cover.
        current : Session
            The command.

        Returns
        -------
        heights : xarray.DataArray
            Above the ellipsoid in metres, dims (y, x).
        inputs : dict
            The files, for the record.
        """
        paths, vertical = [Path(source) for source in self.sources], self.vertical
        if self.sources == (AUTO,):
            current.stage("fetch the elevation model")
            paths, vertical = self._fetched(product, current)
        heights = read_dem(paths, vertical, self.units, self.nodata, self.bounds)
        return heights, {f"dem {index}": path for index, path in enumerate(paths, start=1)}

    def _fetched(self, product: Product | None, current: Session) -> tuple[list[Path], str | None]:
        from sarheight import fetch
        from sarheight._area import bounds_of_corners

        if self.bounds is not None:
            bounds = self.bounds
        elif product is not None:
            bounds = bounds_of_corners(product.footprint, DEM_MARGIN)
        else:
            msg = "it is not known where the image lies: pass --bounds, or the whole product"
            raise typer.BadParameter(msg, param_hint="--dem")
        with current.downloading() as report:
            tiles = fetch.dem(bounds, windows=self.bounds is not None, progress=report)
            vertical = self.vertical or tiles.vertical
            if vertical in {"EGM96", "EGM2008"}:
                fetch.geoid(vertical, progress=report)
        if tiles.sea:
            current.say(f"taken as sea level, as there is only sea: {', '.join(tiles.sea)}")
        return list(tiles.paths), vertical
