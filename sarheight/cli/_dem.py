"""What the options say of an elevation model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sarheight.cli._files import require_source

if TYPE_CHECKING:
    import xarray as xr

    from sarheight._area import Bounds
    from sarheight.cli._session import Session
    from sarheight.product import Product

__all__ = ["AUTO", "DemChoice", "dem_files", "geoid_of", "read_dem"]

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
    """Open an elevation model as the options say.

    Parameters
    ----------
    paths : sequence of path
        Tiles.
    vertical, units : str, optional
        See the options.
    nodata : float, optional
        See the options.
    bounds : (west, south, east, north), optional
        Part to open, in degrees.

    Returns
    -------
    xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x).

    Raises
    ------
    VerticalDatumError
        If neither the option nor the file says what the heights are measured from.
    DemError
        If the DEM cannot be used.
    """
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
        if AUTO in self.sources:
            msg = f"found {AUTO} beside files, expected one or the other"
            raise typer.BadParameter(msg, param_hint="--dem")
        for source in self.sources:
            require_source(source, "--dem")

    def open(
        self, product: Product | None, current: Session
    ) -> tuple[xr.DataArray, dict[str, Path]]:
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
        return heights, dem_files(paths)

    def _fetched(self, product: Product | None, current: Session) -> tuple[list[Path], str | None]:
        from sarheight import fetch
        from sarheight._area import bounds_of_corners

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
