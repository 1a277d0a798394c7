"""Images of the places by the independent simulator, kept in a folder so that each is made once.

A file holds what takes long: the image, and the sums over the scatterers of each cell. Ground,
DEMs, grid and orbit follow from the place and the seed, and are made again when a file is read.
One image serves all forms of the DEM that a reconstruction is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks._files import whole
from benchmarks._independent.places import PLACES, Place, true_dem
from benchmarks._independent.variants import VARIANTS, Variant
from sarheight.scene import Scene
from tests.worlds.point_scatterers import observe, pass_over, truth_on
from tests.worlds.scattering_ground import (
    AS_USED,
    COARSER,
    Ground,
    Targets,
    draw_ground,
    on_grid,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = [
    "FORMS",
    "INCIDENCES",
    "LAWS",
    "Archive",
    "Form",
    "Image",
    "Laws",
    "Observed",
    "images",
]

Laws = Literal["several", "single"]
Form = Literal["coarser", "as_used"]

LAWS: tuple[Laws, ...] = ("several", "single")
INCIDENCES = (33, 40)
"""Degrees on the ellipsoid in a crop's middle: near range of a swath, and its middle."""
FORMS = {"coarser": COARSER, "as_used": AS_USED}
"""DEMs that a reconstruction is given: 90 m posting with an error of 4.5 m, and 30 m posting with a
resolution of 60 m and an error of 3 m."""
SCATTERERS = 4
"""Scatterers in a cell of 30 m, each way: 87 % of the looks that the grid states."""
WORLD = 1
"""Number of the world; another one when what is simulated changes, so that old files go unused."""
SUMS = ("rcs", "area", "illuminated")


@dataclass(frozen=True)
class Image:
    """What names an image."""

    place: str  # Key of `PLACES`
    laws: Laws  # Angular laws of the ground
    seed: int  # Of ground, DEM error, scatterers and noise
    incidence: int  # Degrees on the ellipsoid in the crop's middle
    ascending: bool
    # Whether squares of 1, 2 and 4 cells of 90 m are brighter by 6 dB; all else is the same
    targets: bool = False
    variant: str = ""  # Key of `VARIANTS`: what is other than in the independent test

    @property
    def changed(self) -> Variant:
        """What is other than in the independent test."""
        return VARIANTS[self.variant]

    @property
    def name(self) -> str:
        """Name of its file."""
        direction = "asc" if self.ascending else "desc"
        squares = "_targets" if self.targets else ""
        # Another error of the DEM is none of the image.
        other = "" if self.changed.error else f"_{self.variant}".rstrip("_")
        parts = self.place, self.laws, self.seed, self.incidence, f"{direction}{squares}{other}"
        return "_".join(map(str, parts))

    def with_targets(self) -> Image:
        """Return the same image with bright squares."""
        return replace(self, targets=True)


def images(
    places: Iterable[str],
    laws: Iterable[Laws] = LAWS,
    seeds: Iterable[int] = range(3),
    incidences: Iterable[int] = INCIDENCES,
) -> Iterator[Image]:
    """List the images without targets, ascending and descending in turn."""
    for place, law, seed, incidence in product(places, laws, seeds, incidences):
        for ascending in (True, False):
            yield Image(place, law, seed, incidence, ascending)


@dataclass(frozen=True, eq=False)
class Observed:
    """An image with a DEM, and the truth.

    A method may use `scene` and `dem`, and `truth.kind` where it says that it is guided. The rest
    is for scores.
    """

    image: Image
    form: Form
    scene: Scene  # beta0, linear power, with speckle and noise
    dem: xr.DataArray  # The DEM that a reconstruction is given, float32, dims (y, x)
    truth: xr.Dataset  # On that DEM's grid: gamma0, layover, shadow, kind; see `truth_on`
    # Side of the bright square of a cell, in cells of 90 m, where there are such
    targets: NDArray[np.uint8]
    ground: Ground  # With the true DEM
    fine: xr.Dataset  # Sums over the scatterers of each cell of the true DEM


@dataclass(eq=False)
class Archive:
    """A folder with images, which are made where they are missing, and that of the real data."""

    folder: Path
    data: str | None = None
    _dems: dict[str, xr.DataArray] = field(default_factory=dict)
    _grounds: dict[tuple[str, Laws, int, bool, str], Ground] = field(default_factory=dict)

    def dem(self, place: Place) -> xr.DataArray:
        """Return the true DEM of a place."""
        if place.name not in self._dems:
            path = self.folder / f"dem_{place.name}_{WORLD}.nc"
            if not path.exists():
                with whole(path) as part:
                    true_dem(place, self.data).to_netcdf(part)
            with xr.open_dataarray(path, decode_coords="all") as stored:
                self._dems[place.name] = stored.load()
        return self._dems[place.name]

    def remember(self, place: str, dem: xr.DataArray) -> None:
        """Use a DEM as the true one of a place: a small one for tests."""
        self._dems[place] = dem

    def ground(self, image: Image) -> Ground:
        """Return the ground of an image."""
        key = image.place, image.laws, image.seed, image.targets, image.variant
        if key not in self._grounds:
            # A few are enough: images come in the order of their grounds.
            while len(self._grounds) > 8:
                self._grounds.pop(next(iter(self._grounds)))
            self._grounds[key] = draw_ground(
                self.dem(PLACES[image.place]),
                image.seed,
                laws=image.laws,
                targets=Targets() if image.targets else None,
                settings=image.changed.settings,
            )
        return self._grounds[key]

    def path(self, image: Image) -> Path:
        """File of an image."""
        return self.folder / f"{image.name}_{WORLD}.npz"

    def make(self, image: Image) -> bool:
        """Simulate an image unless it is there; tell whether it was simulated."""
        path = self.path(image)
        if path.exists():
            return False
        ground = self.ground(image)
        grid, orbit = _pass_of(image, ground.dem)
        other = image.changed
        dates = [
            observe(
                ground,
                grid,
                orbit,
                image.seed + 1000 * date,
                scatterers=SCATTERERS,
                looks=other.looks,
            )
            for date in range(other.dates)
        ]
        found = dates[0]
        arrays = {name: found.fine[name].values.astype(np.float32) for name in SUMS}
        arrays["layover"] = np.packbits(found.fine.layover.values)
        mean = np.mean([date.scene.image.values for date in dates], axis=0)
        arrays["image"] = mean.astype(np.float32)
        arrays["cell_area"] = np.array(found.fine.attrs["cell_area"])
        with whole(path) as part:
            np.savez(part, **arrays)
        return True

    def observed(self, image: Image, form: Form = "coarser") -> Observed:
        """Read an image with a form of the DEM, or make it."""
        self.make(image)
        ground = self.ground(image)
        grid, orbit = _pass_of(image, ground.dem)
        with np.load(self.path(image)) as stored:
            layers = {name: on_grid(ground.dem, stored[name], 1, {}) for name in SUMS}
            bits = np.unpackbits(stored["layover"], count=ground.dem.size).astype(bool)
            layers["layover"] = on_grid(ground.dem, bits.reshape(ground.dem.shape), 1, {})
            fine = xr.Dataset(layers, attrs={"cell_area": float(stored["cell_area"])})
            data = xr.DataArray(
                stored["image"],
                dims=("line", "sample"),
                name="beta0",
                attrs={"units": "1", "simulated": "from a DEM and an orbit"},
            )
        chosen, other = FORMS[form], image.changed
        if other.error is not None:
            chosen = replace(chosen, error=other.error)
        grid = replace(grid, looks=other.dates * (grid.looks if other.looks == (1, 5) else 1.0))
        label = self.ground(image.with_targets()).targets
        by = COARSER.factor // chosen.factor
        return Observed(
            image,
            form,
            Scene(data, grid, orbit, "beta0"),
            chosen.degrade(ground.dem, ground.seed),
            truth_on(fine, ground, chosen.factor),
            np.kron(label, np.ones((by, by), dtype=np.uint8)),
            ground,
            fine,
        )


def _pass_of(image: Image, dem: xr.DataArray) -> tuple[RadarGrid, Orbit]:
    """Return grid and orbit of an image."""
    return pass_over(dem, float(image.incidence), ascending=image.ascending)
