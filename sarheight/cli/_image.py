"""What the options say of an image, and of what places it on the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sarheight.cli._dem import AUTO
from sarheight.cli._files import require_source

if TYPE_CHECKING:
    from sarheight.cli._session import Session
    from sarheight.orbit import Orbit
    from sarheight.product import Product
    from sarheight.scene import Calibration, RadarGrid, Scene

__all__ = ["ImageChoice", "replaced_orbit"]

SLC_SPACING = 20.0
"""Metres on the ground to which an SLC is averaged by default: its pixels are single looks."""


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

    def __post_init__(self) -> None:
        """Check that files are there."""
        require_source(self.source, "IMAGE")
        if self.orbit not in (None, AUTO):
            require_source(self.orbit, "--orbit")

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


def replaced_orbit(grid: RadarGrid, orbit: Orbit, path: Path | None) -> Orbit:
    """Take the orbit of a file, where one was given, around the time of an image.

    Raises
    ------
    OrbitCoverageError
        If the file does not cover it.
    """
    from sarheight.orbit import Orbit as Vectors

    if path is None:
        return orbit
    zero = orbit.with_epoch(grid.epoch)
    begin, end = (zero.utc(time) for time in (grid.first_time, grid.last_time))
    return Vectors.from_eof(path, window=(begin, end)).with_epoch(grid.epoch)
