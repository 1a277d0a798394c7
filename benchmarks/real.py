"""Geometry, simulation and reconstruction on real pixels.

ENVISAT over hills with layover (see `benchmarks._real.envisat` for the data). Three questions:

*Geometry.* isce3 gives a position to each pixel. `sarheight` finds the line and the sample of these
positions at the native Doppler centroid; the figures are the largest differences to the pixels.

*Simulation.* The logarithms of the image and of a simulated one are correlated, averaged over 20 x
4, 10 x 2 and 5 x 1 pixels, and the spread of their difference is the spread after flattening.
Beside it is isce3's RTC factor, over the same pixels. Heights are those of the same DEM, but for
slopes that no pixel of isce3's result lies on: those isce3 knew, and here they are interpolated.
The image lies some lines beside both simulations, and is co-registered: ours by
`sarheight.coregistration.estimate_shift`, isce3's factor by the shift, of whole lines and quarters
of a sample, that correlates best with the image at 20 x 4. A law of backscatter is fitted
to every other block of the image, like the fields of a chessboard, and used on the others. Spreads
come of a bootstrap over blocks.

*Reconstruction.* The true backscatter is unknown. In layover the reconstructed gamma0 is compared
with that of open ground at the same local incidence (in classes of 2 degrees): the mean difference
in dB is the bias, and the standard deviation the spread. If the kinds of ground are spread alike
over slopes in layover and others, a method without error has no bias. Layover is also divided into
cells whose height is known, with a pixel of isce3's within 12 m, and those that are interpolated.

Sentinel-1 over hills without layover (see `benchmarks._real.morocco`): how well simulation explains
the image. Terrain-flattened images of OPERA (see `benchmarks._real.opera`): where they lie, and the
angular law that is left in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks._command import options, tell
from benchmarks._figures import RESULTS, Value
from benchmarks._real import morocco, opera
from benchmarks._real.envisat import Desert, desert
from benchmarks._real.morocco import blocks
from sarheight.coregistration import Shift, apply_shift, estimate_shift
from sarheight.ellipsoid import to_earth_fixed
from sarheight.geometry.placement import time_and_range
from sarheight.illumination import BackscatterLaw, ConstantGamma, simulate
from sarheight.layover import RTC, Reallocation, fit_law, reconstruct
from sarheight.scene import Scene, multilook

__all__ = ["main"]

IMAGES = "envisat", "morocco", "opera"
WINDOWS = {"20x4": (20, 4), "10x2": (10, 2), "5x1": (5, 1)}
"""Lines and samples that are averaged."""
GOALS = {
    "real.envisat.correlation_20x4": ">= 0.86",
    "real.envisat.correlation_10x2": ">= 0.78",
    "real.envisat.correlation_5x1": ">= 0.64",
    "real.envisat.flattened_spread_20x4": "<= 1.99 dB",
    "real.envisat.flattened_spread_10x2": "<= 2.42 dB",
    "real.envisat.flattened_spread_5x1": "<= 3.32 dB",
}
FINER = 3
"""Posts of the DEM in an arc second, so that its facets are smaller than pixels."""
BLOCK = 500.0
"""Width of a block in metres."""
RESAMPLES = 300
GROUND_WINDOW = 5, 1
"""Pixels averaged before the image is brought to the ground: 21 m by 24 m."""
CLASS = 2.0
"""Width of a class of incidence in degrees."""
FEWEST = 40
"""Cells of open ground that a class of incidence needs."""
KNOWN = 12.0
"""Metres to the nearest pixel of isce3's, within which the height of a post is known."""
OPEN, LAYOVER = (0, 1), (2, 3)
"""Codes of the mask: clear and foreshortened; active and passive layover."""

Floats = NDArray[np.float64]


def decibels(values: Floats) -> Floats:
    """Return power in decibels."""
    result: Floats = 10.0 * np.log10(values)
    return result


def residuals(place: Desert) -> tuple[float, float]:
    """Return the largest differences of azimuth time (s) and slant range (m) to isce3's pixels."""
    position, normal = to_earth_fixed(place.longitude, place.latitude)
    points = (position + place.height[..., None] * normal).reshape(-1, 3)
    grid = place.scene.grid
    time, slant_range = time_and_range(points, grid, place.scene.orbit)
    line, sample = np.indices(grid.shape)
    return (
        float(np.abs(time - grid.azimuth_time(line).ravel()).max()),
        float(np.abs(slant_range - grid.slant_range(line, sample).ravel()).max()),
    )


# ------------------------------------------------------------------------------------- simulation


def simulated(scene: Scene, dem: xr.DataArray, law: BackscatterLaw) -> Floats:
    """Simulate an image in the calibration of a scene."""
    image = simulate(dem, scene.grid, scene.orbit, law=law, calibration=scene.calibration).image
    return image.values.astype(np.float64)


def fitted(scene: Scene, dem: xr.DataArray) -> Floats:
    """Simulate an image by laws that are fitted to the blocks of the other parity."""
    parity = blocks(scene, BLOCK) % 2
    halves = [
        simulated(scene, dem, fit_law(replace(scene, image=scene.image.where(parity != one)), dem))
        for one in (0, 1)
    ]
    return np.where(parity == 0, *halves)


def averaged(image: Floats, window: tuple[int, int]) -> Floats:
    """Average an image over windows; pixels without data are left out."""
    rows, columns = (size // step for size, step in zip(image.shape, window, strict=True))
    cut = image[: rows * window[0], : columns * window[1]]
    parts = cut.reshape(rows, window[0], columns, window[1]).swapaxes(1, 2)
    known = np.isfinite(parts)
    total = np.where(known, parts, 0.0).sum(axis=(2, 3))
    count = known.sum(axis=(2, 3))
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


@dataclass(frozen=True)
class Agreement:
    """Correlation of logarithms, and the spread of their difference in dB, with their errors."""

    correlation: tuple[float, float]
    spread: tuple[float, float]


def agreements(
    measured: Floats, images: dict[str, Floats], block: NDArray[np.int64], window: tuple[int, int]
) -> dict[str, Agreement]:
    """Compare an image with simulated ones, over the windows in which all have power."""
    means = {name: averaged(image, window) for name, image in images.items()}
    found = averaged(measured, window)
    good = np.isfinite(found) & (found > 0.0)
    for mean in means.values():
        good &= np.isfinite(mean) & (mean > 0.0)
    rows, columns = found.shape
    place = block[window[0] // 2 :: window[0], window[1] // 2 :: window[1]][:rows, :columns][good]
    seen = decibels(found[good])
    return {name: _agreement(seen, decibels(mean[good]), place) for name, mean in means.items()}


def bootstrap(
    block: NDArray[np.int64], measure: Callable[[NDArray[np.int64]], tuple[float, ...]]
) -> list[tuple[float, float]]:
    """Measure all members, and find the standard errors by drawing whole blocks again."""
    members = [np.flatnonzero(block == number) for number in np.unique(block)]
    generator = np.random.default_rng(0)
    drawn = [
        measure(np.concatenate([members[k] for k in chosen]))
        for chosen in generator.integers(0, len(members), (RESAMPLES, len(members)))
    ]
    found, errors = measure(np.arange(block.size)), np.std(drawn, axis=0)
    return [(value, float(error)) for value, error in zip(found, errors, strict=True)]


def _agreement(seen: Floats, expected: Floats, block: NDArray[np.int64]) -> Agreement:
    def measure(chosen: NDArray[np.int64]) -> tuple[float, ...]:
        a, b = seen[chosen], expected[chosen]
        return float(np.corrcoef(a, b)[0, 1]), float((a - b).std())

    return Agreement(*bootstrap(block, measure))


def best_shift(image: Floats, factor: Floats) -> tuple[Floats, int, float]:
    """Shift isce3's factor by the whole lines and quarters of a sample that correlate best."""

    def shifted(lines: int, samples: float) -> Floats:
        moved: Floats = ndimage.shift(factor, (lines, samples), order=1, mode="nearest")
        return moved

    def correlation(shift: tuple[int, float]) -> float:
        pair = [averaged(each, WINDOWS["20x4"]) for each in (image, shifted(*shift))]
        good = np.logical_and.reduce([np.isfinite(each) & (each > 0.0) for each in pair])
        return float(np.corrcoef(*[decibels(each[good]) for each in pair])[0, 1])

    shifts = [(lines, 0.25 * steps) for lines in range(-4, 13) for steps in range(-4, 5)]
    lines, samples = max(shifts, key=correlation)
    return shifted(lines, samples), lines, samples


@dataclass(frozen=True, eq=False)
class Simulation:
    """What came of the simulations: agreements by window and kind, and the shifts."""

    agreements: dict[str, dict[str, Agreement]]
    shift: Shift
    other_shift: tuple[int, float]
    scene: Scene  # co-registered


def compare_simulations(place: Desert) -> Simulation:
    """Compare the image with simulations, co-registered."""
    scene, dem = place.scene, place.heights.dem(FINER)
    measured = scene.image.values.astype(np.float64)
    shift = estimate_shift(scene, dem)
    moved = apply_shift(scene, shift) if shift.found else scene
    factor, lines, samples = best_shift(measured, place.factor)
    images = {
        "isce3": factor,
        "area_alone": simulated(moved, dem, ConstantGamma()),
        "fitted": fitted(moved, dem),
    }
    block = blocks(scene, BLOCK)
    found = {name: agreements(measured, images, block, window) for name, window in WINDOWS.items()}
    return Simulation(found, shift, (lines, samples), moved)


# --------------------------------------------------------------------------------- reconstruction


@dataclass(frozen=True)
class Ground:
    """Backscatter in layover beside open ground at like incidence, in dB, with errors."""

    bias: tuple[float, float]
    layover_spread: tuple[float, float]
    open_spread: tuple[float, float]


Maker = Callable[[Scene, xr.DataArray], tuple[xr.Dataset, Floats]]


def _geocoded(scene: Scene, dem: xr.DataArray) -> tuple[xr.Dataset, Floats]:
    variables = ("sigma0_geocoded", "ellipsoid_incidence", "local_incidence", "mask")
    result = reconstruct(scene, dem, method=Reallocation(), variables=variables)
    cosine = np.cos(np.radians(result["ellipsoid_incidence"].values))
    return result, result["sigma0_geocoded"].values / cosine


def _method(**options: object) -> Maker:
    def make(scene: Scene, dem: xr.DataArray) -> tuple[xr.Dataset, Floats]:
        variables = ("gamma0", "local_incidence", "mask")
        result = reconstruct(scene, dem, variables=variables, **options)  # type: ignore[arg-type]
        return result, result["gamma0"].values

    return make


METHODS: dict[str, Maker] = {
    "geocoding": _geocoded,
    "rtc": _method(method=RTC()),
    "one_step": _method(method=Reallocation()),
    "posterior": _method(),
}
"""By key, what makes gamma0 of a scene and a DEM."""
PARTS = ("", "_known", "_interpolated")
"""Endings of the keys of all of the layover, and of where heights are known and interpolated."""


def compare_ground(scene: Scene, place: Desert) -> dict[tuple[str, str], Ground]:
    """Compare parts of the layover with open ground; by part and method."""
    image, grid = multilook(scene.image, scene.grid, *GROUND_WINDOW)
    coarse, dem = replace(scene, image=image, grid=grid), place.heights.dem()
    maps = {key: make(coarse, dem) for key, make in METHODS.items()}
    result = next(iter(maps.values()))[0]
    good = np.isfinite(result["local_incidence"].values)
    for _, values in maps.values():
        good &= np.isfinite(values) & (values > 0.0)
    angle, mask = result["local_incidence"].values, result["mask"].values
    step_down, step_across = (abs(float(dem[name][1] - dem[name][0])) * 111e3 for name in "yx")
    row, column = np.indices(dem.shape)
    across = BLOCK / (step_across * np.cos(np.radians(float(dem.y.mean()))))
    block = (row * step_down // BLOCK).astype(np.int64) * 1000 + (column // across).astype(np.int64)
    is_open, folded = good & np.isin(mask, OPEN), good & np.isin(mask, LAYOVER)
    known = place.heights.distances(dem.x.values, dem.y.values) <= KNOWN
    parts = dict(zip(PARTS, (folded, folded & known, folded & ~known), strict=True))
    return {
        (part, key): _ground(decibels(values.astype(np.float64)), angle, is_open, cells, block)
        for part, cells in parts.items()
        for key, (_, values) in maps.items()
    }


def _ground(
    values: Floats,
    angle: Floats,
    is_open: NDArray[np.bool_],
    folded: NDArray[np.bool_],
    block: NDArray[np.int64],
) -> Ground:
    """Compare values (dB) in layover with those of open ground in the same class of incidence."""
    either = is_open | folded
    kind = (angle[either] // CLASS).astype(np.int64)
    level, inside, place = values[either], folded[either], block[either]

    def measure(chosen: NDArray[np.int64]) -> tuple[float, ...]:
        classes, levels, fold = kind[chosen], level[chosen], inside[chosen]
        size = int(kind.max()) + 1
        count = np.bincount(classes[~fold], minlength=size)
        total = np.bincount(classes[~fold], levels[~fold], minlength=size)
        mean = np.divide(total, count, out=np.full(size, np.nan), where=count >= FEWEST)
        difference = levels - mean[classes]
        here, there = difference[fold], difference[~fold]
        return float(np.nanmean(here)), float(np.nanstd(here)), float(np.nanstd(there))

    return Ground(*bootstrap(place, measure))


# ----------------------------------------------------------------------------------------- report


def _figures(
    errors: tuple[float, float],
    found: Simulation,
    ground: dict[tuple[str, str], Ground],
) -> dict[str, Value]:
    figures: dict[str, Value] = {
        "real.envisat.azimuth_residual": errors[0],
        "real.envisat.range_residual": errors[1],
        "real.envisat.shift_along": (found.shift.along_track, found.shift.along_track_error),
        "real.envisat.shift_across": (found.shift.across_track, found.shift.across_track_error),
    }
    for window, kinds in found.agreements.items():
        for key, one in kinds.items():
            # The key without a kind is our best: fitted law, co-registered.
            name = "" if key == "fitted" else f".{key}"
            figures[f"real.envisat.correlation_{window}{name}"] = one.correlation
            figures[f"real.envisat.flattened_spread_{window}{name}"] = one.spread
    for (part, key), one_ground in ground.items():
        figures[f"real.envisat.layover_bias{part}.{key}"] = one_ground.bias
        figures[f"real.envisat.layover_spread{part}.{key}"] = one_ground.layover_spread
        figures[f"real.envisat.open_spread.{key}"] = one_ground.open_spread
    return figures


def save_picture(place: Desert, scene: Scene) -> None:
    """Save ``envisat.png`` in ``benchmarks/results/pictures``."""
    from matplotlib.figure import Figure

    dem = place.heights.dem(FINER)
    window = WINDOWS["10x2"]
    images = {
        "measured": scene.image.values.astype(np.float64),
        "simulated, fitted law": simulated(scene, dem, fit_law(scene, dem)),
        "simulated, area alone": simulated(scene, dem, ConstantGamma()),
    }
    figure = Figure(figsize=(9.0, 6.5), layout="constrained")
    axes = figure.subplots(3, 1)
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        mean = decibels(np.maximum(averaged(image, window), 1e-9))
        level = np.nanmedian(mean)
        axis.imshow(mean, cmap="gray", vmin=level - 7.0, vmax=level + 9.0, aspect="auto")
        axis.set(title=title, ylabel="line / 10")
    axes[-1].set_xlabel("sample / 2 (near range left)")
    figure.suptitle(
        "Real ENVISAT pixels, Mojave Desert, 26 February 2003 (ESA; isce3)", fontsize=11
    )
    folder = RESULTS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "envisat.png", dpi=90)


def _envisat(data: str | None, *, picture: bool) -> dict[str, Value]:
    place = desert(data)
    errors = residuals(place)
    print(
        f"geometry: {errors[0]:.2g} s and {errors[1]:.2g} m at most beside isce3's pixels; the DEM "
        f"is recovered to {place.heights.residual:.2f} m"
    )
    found = compare_simulations(place)
    lines, samples = found.other_shift
    print(f"{found.shift}; isce3's factor: {lines:+d} lines, {samples:+g} samples")
    ground = compare_ground(found.scene, place)
    if picture:
        save_picture(place, found.scene)
    return _figures(errors, found, ground)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = options("real", __doc__)
    parser.add_argument("--only", nargs="+", choices=IMAGES, default=IMAGES, help="images")
    chosen = parser.parse_args(arguments)
    for name in chosen.only:
        if name == "envisat":
            figures = _envisat(chosen.data, picture=chosen.save)
        else:
            figures = {"morocco": morocco, "opera": opera}[name].measure(chosen.data)
        tell(figures, f"real --only {name}", save=chosen.save, goals=GOALS)


if __name__ == "__main__":
    main()
