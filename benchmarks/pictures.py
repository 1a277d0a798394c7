"""The pictures of ``docs/pictures.md``, from real pixels where there are any.

``python -m benchmarks.pictures --save`` draws all into ``docs/pictures``; ``--only NAME`` some.
ENVISAT, Sentinel-1 and OPERA are real; where truth is shown, the place is one of the independent
test, simulated from a real DEM by a simulator that shares nothing with the reconstruction.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks._independent.heights import back_projected, refined_heights
from benchmarks._independent.observations import Archive, Image
from benchmarks._mountains.scenes import SOCAL_ASCENDING, data_file
from benchmarks._real import opera
from benchmarks._real.envisat import desert
from benchmarks.real import FINER, GROUND_WINDOW
from sarheight import archives, plot
from sarheight.coregistration import apply_shift, estimate_shift
from sarheight.grid import RadarGrid
from sarheight.layover import RTC, reconstruct
from sarheight.scene import multilook
from sarheight.sentinel1 import read_orbit

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SITE = "292320"
PLACE, OTHER = "oetztal", "aconcagua"
DPI = 80


def _decibels(power: Any) -> Floats:  # noqa: ANN401  # an array of NumPy or xarray
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels: Floats = 10.0 * np.log10(np.asarray(power, dtype=np.float64))
    return decibels


def _panels(
    title: str,
    panels: Sequence[tuple[str, Floats]],
    unit: str,
    colours: str,
    limits: tuple[float, float],
    shape: tuple[int, int],
    aspect: float = 1.0,
) -> Figure:
    """Draw maps with the same colours and one bar; `aspect` is height over width of a cell."""
    rows, columns = shape
    first = panels[0][1]
    tall = aspect * first.shape[0] / first.shape[1]
    width = 9.0 if columns == 1 else 3.3
    figure = Figure(
        figsize=(width * columns + 0.8, (width * tall + 0.3) * rows + 0.5), layout="constrained"
    )
    axes: list[Axes] = list(np.ravel(figure.subplots(rows, columns)))
    for axis, (name, values) in zip(axes, panels, strict=False):
        drawn = axis.imshow(
            values,
            interpolation="nearest",
            cmap=colours,
            vmin=limits[0],
            vmax=limits[1],
            aspect=aspect,
        )
        axis.set_title(name, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.set_facecolor("0.8")
    figure.colorbar(drawn, ax=axes, label=unit, shrink=0.8)
    figure.suptitle(title, fontsize=11)
    return figure


def _limits(values: Floats) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.0, 99.0])
    return float(low), float(high)


# Real: ENVISAT over the Mojave Desert.


def _desert(data: str | None) -> tuple[xr.Dataset, xr.Dataset, float]:
    """Flatten and unfold the image of ENVISAT, at its end with layover; and the aspect of cells."""
    place = desert(data)
    shift = estimate_shift(place.scene, place.heights.dem(FINER))
    whole = apply_shift(place.scene, shift) if shift.found else place.scene
    image, grid = multilook(whole.image, whole.grid, *GROUND_WINDOW)
    scene = replace(whole, image=image, grid=grid)
    dem = place.heights.dem()
    flat = reconstruct(scene, dem, method=RTC(), variables="all")
    unfolded = reconstruct(scene, dem, variables="all")
    columns = slice(int(0.6 * dem.shape[1]), None)
    rows = slice(int(0.35 * dem.shape[0]), None)
    aspect = 1.0 / float(np.cos(np.radians(dem.y.mean())))
    return flat[{"y": rows, "x": columns}], unfolded[{"y": rows, "x": columns}], aspect


def envisat(data: str | None) -> Figure:
    """Draw geocoded, flattened and unfolded backscatter."""
    flat, unfolded, aspect = _desert(data)
    geocoded = flat["sigma0_geocoded"] / np.cos(np.radians(flat["ellipsoid_incidence"]))
    panels = [
        ("geocoded", _decibels(geocoded)),
        ("RTC", _decibels(flat["gamma0"])),
        ("unfolded", _decibels(unfolded["gamma0"])),
    ]
    return _panels(
        "ENVISAT, Mojave Desert, 26 February 2003, 19° of incidence (real pixels: ESA, isce3)",
        panels,
        "γ⁰ (dB, not calibrated)",
        "gray",
        _limits(panels[1][1]),
        (3, 1),
        aspect,
    )


def envisat_uncertainty(data: str | None) -> Figure:
    """Draw fold count, share and standard deviation."""
    _, unfolded, aspect = _desert(data)
    seen = np.isfinite(unfolded["gamma0"].values.squeeze())
    figure = Figure(figsize=(9.8, 9.5), layout="constrained")
    layers = (
        ("places that share a pixel", "fold_count", "YlOrRd", (0.0, 5.0)),
        ("share of a cell in its pixels", "contribution_share", "viridis", (0.0, 1.0)),
        ("standard deviation (dB)", "gamma0_std", "magma_r", (0.0, 4.0)),
    )
    for axis, (name, key, colours, limits) in zip(figure.subplots(3, 1), layers, strict=True):
        values = np.where(seen, unfolded[key].values.squeeze(), np.nan)
        drawn = axis.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect=aspect)
        axis.set_title(name, fontsize=10)
        axis.set(xticks=[], yticks=[])
        axis.set_facecolor("0.8")
        figure.colorbar(drawn, ax=axis, shrink=0.8)
    figure.suptitle("The same image: what is known of each cell", fontsize=11)
    return figure


# Real: Sentinel-1 over southern California, flattened by OPERA.


def _opera(data: str | None) -> tuple[xr.DataArray, xr.Dataset, Any, xr.DataArray]:
    """Unfold all dates of a site; return dates, result, orbit and heights."""
    orbit = read_orbit(data_file(SOCAL_ASCENDING, data)).rotate(opera.TURN)
    dates = opera.gamma0_of_dates(SITE, data)
    dem = opera.heights_around(dates[0], data)
    return dates, opera.unfolded(dates, dem, orbit), orbit, dem


def opera_unfolded(data: str | None) -> Figure:
    """Draw the mean of all dates, and one date, of the product and unfolded."""
    dates, result, orbit, dem = _opera(data)
    mean = dates.mean("time").rio.write_crs(dates.rio.crs)
    scene = archives.to_radar(_product(mean, orbit, dem), dem, orbit)
    # The mean of all dates has the looks of all.
    scene = replace(scene, grid=replace(scene.grid, looks=dates.sizes["time"] * scene.grid.looks))
    after = reconstruct(scene, dem)["gamma0"].sel(y=dates.y, x=dates.x, method="nearest")
    panels = [
        ("one date, the product", _decibels(dates[5])),
        ("one date, unfolded", _decibels(result["gamma0"].squeeze()[5])),
        ("mean of 31 dates, the product", _decibels(mean)),
        ("mean of 31 dates, unfolded", _decibels(after.squeeze())),
    ]
    return _panels(
        "Sentinel-1, Santa Ynez Mountains, 3 km (real pixels: OPERA, modified Copernicus data)",
        panels,
        "γ⁰ (dB)",
        "gray",
        (-16.0, -2.0),
        (2, 2),
    )


def _product(mean: xr.DataArray, orbit: Any, dem: xr.DataArray) -> xr.Dataset:  # noqa: ANN401
    """Give the mean of all dates the form of a product."""
    longitude, latitude = opera.place_of(mean)
    grid = RadarGrid.over(orbit, latitude, longitude, lines=1, samples=1, height=float(dem.mean()))
    start = str(orbit.with_epoch(grid.epoch).utc(grid.first_time))
    return opera.as_product(mean, start, f"OPERA RTC-S1, burst {SITE}, mean of 31 dates")


def opera_dates(data: str | None) -> Figure:
    """Draw how much a cell varies over the dates."""
    dates, result, *_ = _opera(data)
    panels = [
        ("the product", _decibels(dates).std(axis=0)),
        ("unfolded", _decibels(result["gamma0"].squeeze()).std(axis=0)),
    ]
    return _panels(
        "Standard deviation of γ⁰ over 31 dates (real pixels)",
        panels,
        "dB",
        "magma_r",
        (0.0, 4.0),
        (1, 2),
    )


def opera_audit(data: str | None) -> Figure:
    """Draw the audit of the mean of all dates."""
    dates, _, orbit, dem = _opera(data)
    mean = dates.mean("time").rio.write_crs(dates.rio.crs)
    return plot.audit(archives.audit(_product(mean, orbit, dem), dem, orbit))


# Simulated from real DEMs by another simulator: the truth is known.


def _observed(cache: Path, data: str | None, place: str) -> list[Any]:
    archive = Archive(cache, data)
    return [
        archive.observed(Image(place, "several", 0, 33, ascending=ascending))
        for ascending in (True, False)
    ]


def against_truth(data: str | None, cache: Path) -> Figure:
    """Draw RTC and unfolded backscatter beside the truth."""
    one, _ = _observed(cache, data, OTHER)
    flat = reconstruct(one.scene, one.dem, method=RTC())
    unfolded = reconstruct(one.scene, one.dem)
    truth = _decibels(one.truth.gamma0)
    level = float(np.nanmedian(truth))
    panels = [
        ("RTC", _decibels(flat.gamma0)),
        ("unfolded", _decibels(unfolded.gamma0)),
        ("truth", truth),
    ]
    return _panels(
        "Aconcagua, ground of several kinds (simulated from a real DEM)",
        panels,
        "γ⁰ (dB)",
        "gray",
        (level - 9.0, level + 7.0),
        (1, 3),
    )


def heights(data: str | None, cache: Path) -> Figure:
    """Draw errors of heights before and after two images refine them."""
    pair = _observed(cache, data, PLACE)
    true = pair[0].ground.dem.values.astype(np.float64)
    rough = np.asarray(back_projected(pair[0]), dtype=np.float64)
    fine = np.asarray(refined_heights(tuple(pair)), dtype=np.float64)

    def error(found: Floats) -> Floats:
        return found - true

    def rmse(found: Floats) -> str:
        return f"RMSE {np.sqrt(np.nanmean(error(found)[8:-8, 8:-8] ** 2)):.1f} m"

    panels = [
        (f"interpolated and aligned: {rmse(rough)}", error(rough)),
        (f"refined by two images: {rmse(fine)}", error(fine)),
    ]
    return _panels(
        "Ötztal, errors of heights at 30 m from a DEM of 90 m (simulated from a real DEM)",
        panels,
        "m",
        "RdBu_r",
        (-25.0, 25.0),
        (1, 2),
    )


# Real: land cover of a city.


def zones(data: str | None) -> Figure:
    """Draw a city as Landsat sees it, and its labelled Local Climate Zones."""
    with rasterio.open(data_file("lcz/hongkong_landsat8_4dates_100m.tif", data)) as file:
        bands = file.read([4, 3, 2]).astype(np.float64)
    with rasterio.open(data_file("lcz/hongkong_lcz_labels_100m.tif", data)) as file:
        labels = file.read(1)
    low, high = np.nanpercentile(np.where(bands > 0, bands, np.nan), [2.0, 98.0], axis=(1, 2))
    colours = np.clip((bands - low[:, None, None]) / (high - low)[:, None, None], 0.0, 1.0)
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(np.moveaxis(colours, 0, -1))
    left.set_title("Landsat-8, true colour", fontsize=10)
    drawn = right.imshow(
        np.where(labels > 0, labels, np.nan), cmap="tab20", interpolation="nearest"
    )
    right.set_title("labelled Local Climate Zones", fontsize=10)
    right.set_facecolor("0.9")
    figure.colorbar(drawn, ax=right, label="class", shrink=0.8)
    for axis in (left, right):
        axis.set(xticks=[], yticks=[])
    figure.suptitle("Hong Kong (real pixels: USGS, IEEE GRSS contest 2017)", fontsize=11)
    return figure


REAL: dict[str, Callable[[str | None], Figure]] = {
    "envisat": envisat,
    "envisat_uncertainty": envisat_uncertainty,
    "opera_unfolded": opera_unfolded,
    "opera_dates": opera_dates,
    "opera_audit": opera_audit,
    "zones": zones,
}
SIMULATED: dict[str, Callable[[str | None, Path], Figure]] = {
    "against_truth": against_truth,
    "heights": heights,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.pictures", description=__doc__)
    names = [*REAL, *SIMULATED]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--data", help="folder with the real data")
    default = Path(tempfile.gettempdir()) / "sarheight-independent"
    parser.add_argument("--cache", type=Path, default=default, help="folder of simulated images")
    parser.add_argument("--save", action="store_true", help="draw into docs/pictures")
    chosen = parser.parse_args(arguments)
    folder = FOLDER if chosen.save else Path("pictures")
    folder.mkdir(exist_ok=True)
    for name in chosen.only:
        if name in REAL:
            figure = REAL[name](chosen.data)
        else:
            figure = SIMULATED[name](chosen.data, chosen.cache)
        figure.savefig(folder / f"{name}.png", dpi=DPI)
        print(f"{folder}/{name}.png")


if __name__ == "__main__":
    main()
