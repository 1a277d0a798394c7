"""Options of images, orbits and elevation models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import RADAR, require_source
from sarheight.cli._session import Session

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.coregistration import Shift
    from sarheight.geometry.placement import Bounds
    from sarheight.grid import RadarGrid
    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit
    from sarheight.product import Product
    from sarheight.scene import Calibration, Scene

SLC_SPACING = 20.0
"""Metres on the ground to which an SLC is averaged by default: its pixels are single looks."""


@dataclass(frozen=True)
class ImageChoice:
    """What the options say of an image."""

    source: str  # A product, or an image file
    like: Path | None  # what places an image file that does not say it itself
    orbit: str | None  # an orbit file, a folder of some, or "auto"
    calibration: Calibration | None
    polarisations: tuple[str, ...]  # polarisations, swaths: all where empty
    swaths: tuple[str, ...]
    multilook: tuple[int, int] | None
    spacing: float | None  # in metres
    noise_removal: bool

    def __post_init__(self) -> None:
        """Check that files are there."""
        require_source(self.source, "IMAGE")
        if self.orbit not in (None, AUTO):
            require_source(self.orbit, "--orbit")

    def product(self) -> Product | None:
        """Open the product, where the image is one."""
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
        from sarheight.output.radar_images import read_grid_and_orbit, read_scene
        from sarheight.scene import looks_for_spacing, multilook

        geometry = None if self.like is None else read_grid_and_orbit(self.like)
        scene = read_scene(
            self.source,
            geometry=geometry,
            calibration=self.calibration,
            polarisations=self.polarisations,
        )
        if geometry is not None and scene.grid is not geometry[0]:
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
    """Take the orbit of a file, where one was given, around the time of an image."""
    from sarheight.sentinel1 import read_orbit_file

    if path is None:
        return orbit
    zero = orbit.with_epoch(grid.epoch)
    begin, end = (zero.utc(time) for time in (grid.first_time, grid.last_time))
    return read_orbit_file(path, window=(begin, end)).with_epoch(grid.epoch)


# What the options say of an elevation model.

AUTO = "auto"
MARGIN = 0.02
"""Degrees around a product that an elevation model is to cover."""


def read_dem(
    paths: Sequence[Path],
    vertical: str | None,
    units: str | None,
    nodata: float | None,
    bounds: tuple[float, float, float, float] | None = None,
) -> xr.DataArray:
    """Open an elevation model as the options say."""
    from sarheight.dem import open_dem
    from sarheight.errors import VerticalDatumError

    dem = open_dem(paths, vertical=geoid_of(vertical), units=units, nodata=nodata, bounds=bounds)
    if dem.attrs.get("vertical_datum") is None:
        msg = (
            f"{', '.join(map(str, paths))} does not say what its heights are measured from: pass "
            "--vertical ellipsoidal, EGM96 (SRTM, NASADEM), EGM2008 (Copernicus DEM), or the "
            "geoid's height in metres"
        )
        raise VerticalDatumError(msg)
    return dem


def geoid_of(vertical: str | None) -> str | float | None:
    """Read what heights are measured from: a name, or the geoid's height in metres."""
    if vertical is None:
        return None
    try:
        return float(vertical)
    except ValueError:
        return vertical


def dem_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Name the tiles of an elevation model, for the record."""
    return {f"dem {index}": path for index, path in enumerate(paths, start=1)}


@dataclass(frozen=True)
class DemChoice:
    """What the options say of an elevation model."""

    sources: tuple[str, ...]  # files, or "auto"
    vertical: str | None
    units: str | None
    nodata: float | None
    bounds: Bounds | None  # the part that is wanted, in degrees

    def __post_init__(self) -> None:
        """Check that files are there."""
        if self.sources == (AUTO,):
            return
        if AUTO in self.sources:
            msg = f"found {AUTO} beside files, expected one or the other"
            raise typer.BadParameter(msg, param_hint="--dem")
        for source in self.sources:
            require_source(source, "--dem")

    def open(
        self, product: Product | None, current: Session
    ) -> tuple[xr.DataArray, dict[str, Path]]:
        """Open the elevation model, which is fetched first where that is wanted."""
        paths, vertical = [Path(source) for source in self.sources], self.vertical
        if self.sources == (AUTO,):
            current.stage("fetch the elevation model")
            paths, vertical = self._fetched(product, current)
        heights = read_dem(paths, vertical, self.units, self.nodata, self.bounds)
        return heights, dem_files(paths)

    def _fetched(self, product: Product | None, current: Session) -> tuple[list[Path], str | None]:
        from sarheight import fetch
        from sarheight.geometry.placement import bounds_of_corners

        if self.bounds is not None:
            bounds = self.bounds
        elif product is not None:
            bounds = bounds_of_corners(product.footprint, MARGIN)
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


# ``--coregister``: whether the image lies where orbit and elevation model say that it should.

CERTAIN = 4.0
"""Standard errors from which a shift is one."""
WORTH_A_WORD = 0.5
"""Pixels of shift from which something should be done."""


class CoregisterName(StrEnum):
    """What is done about a shift between the image and its simulation."""

    none = "none"
    report = "report"
    correct = "correct"


Coregister = Annotated[
    CoregisterName,
    typer.Option(
        "--coregister",
        help="Compare the image with its simulation, and `report` by how much it is shifted, or "
        "`correct` its timing by that. Takes a few seconds, whatever the size of the image.",
        rich_help_panel=RADAR,
    ),
]


def coregister(
    scene: Scene, dem: xr.DataArray, choice: CoregisterName, law: BackscatterLaw | None
) -> tuple[Scene, Shift | None]:
    """Do what was chosen about the shift of an image."""
    if choice is CoregisterName.none:
        return scene, None
    from sarheight.coregistration import apply_shift, estimate_shift

    shift = estimate_shift(scene, dem, law=law)
    if choice is CoregisterName.correct and shift.found:
        return apply_shift(scene, shift), shift
    return scene, shift


def tell(shift: Shift, choice: CoregisterName, current: Session) -> None:
    """Say what was found, and what to do about it."""
    current.say(f"co-registration: {shift}")
    if choice is CoregisterName.report and _matters(shift):
        current.say(
            "this shift spoils the shares on steep slopes: check what the heights are measured "
            "from (--vertical) and the orbit (--orbit), or take it out with --coregister correct"
        )


def _matters(shift: Shift) -> bool:
    """Tell whether a shift is certain and large enough to do something about it."""
    pairs = ((shift.line, shift.line_error), (shift.sample, shift.sample_error))
    return shift.found and any(
        abs(value) > max(CERTAIN * error, WORTH_A_WORD) for value, error in pairs
    )
