"""How well does simulation explain real pixels? Hills in Morocco, two dates of Sentinel-1.

See `benchmarks._real.morocco` for the data and what was done to them. The figure is the correlation
of the logarithms of measured and simulated intensity, in radar geometry, on pixels of about the
DEM's posting. The law of backscatter is fitted to every other block of the image, like the fields
of a chessboard, and the correlation is measured on the blocks to which it was not fitted; the
spread is that of a bootstrap over blocks. Shifts are estimated from the whole image.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks._figures import RESULTS, Value, record
from benchmarks._real.morocco import DATES, Explained, Hills, hills
from sarheight.coregistration import Shift, apply_shift, estimate_shift
from sarheight.illumination import BackscatterLaw, ConstantGamma, FittedLaw, Muhleman, simulate
from sarheight.layover import fit_law, reconstruct
from sarheight.scene import ground_sample_spacing

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene

__all__ = ["main"]

GOAL = 0.29
WIDTH = 130
LOOKS = {"28 x 31 m": (2, 8), "56 x 59 m": (4, 15), "112 x 117 m": (8, 30)}
"""Pixels on the ground, and the pixels of the SLC that make them."""
AS_THE_DEM = "56 x 59 m"
BLOCK = 1500.0
"""Width of a block in metres."""
IN_SAMPLE = "fitted to all"
SEARCH = 300.0
"""Metres: four pixels of the middle size are not much."""
Floats = NDArray[np.float64]


def _blocks(scene: Scene) -> NDArray[np.int64]:
    """Give each pixel the number of its block; odd and even ones lie as on a chessboard."""
    line, sample = np.indices(scene.grid.shape)
    grid, orbit = scene.grid, scene.orbit
    row = (line * grid.line_spacing(orbit) // BLOCK).astype(np.int64)
    column = (sample * ground_sample_spacing(grid, orbit) // BLOCK).astype(np.int64)
    width = int(column.max()) + 1
    # With an odd number of columns, neighbours above and beside differ in parity.
    return np.asarray(row * (width + 1 - width % 2) + column)


def _predicted(scene: Scene, place: Hills, law: BackscatterLaw) -> Floats:
    """Simulate an image of what a law lets expect; NaN where it expects nothing."""
    image = simulate(place.dem, scene.grid, scene.orbit, law=law).image.values.astype(np.float64)
    return np.where(image > 0.0, image, np.nan)


def _never_rising(scene: Scene, dem: xr.DataArray) -> BackscatterLaw:
    """Fit a law whose gamma0 stays at its least value beyond the angle where it has that."""
    law = fit_law(scene, dem)
    least = int(np.argmin(law.gamma0))
    beyond = np.arange(law.gamma0.size) > least
    return FittedLaw(law.incidence, np.where(beyond, law.gamma0[least], law.gamma0))


Maker = Callable[["Scene", "xr.DataArray"], BackscatterLaw]
LAWS: dict[str, tuple[str, Maker]] = {
    "area alone": ("area_alone", lambda _scene, _dem: ConstantGamma()),
    "Muhleman": ("muhleman", lambda _scene, _dem: Muhleman()),
    "fitted, never rising": ("never_rising", _never_rising),
    "fitted": ("fitted", fit_law),
}
"""By name: the name in the figures, and what makes a law of an image and a DEM."""


def explain(scene: Scene, place: Hills, make: Maker, *, held_out: bool = True) -> Explained:
    """Explain each half of the blocks of an image by a law that is made of the other half.

    Parameters
    ----------
    scene : Scene
        The image.
    place : Hills
        Where it is.
    make : callable
        What makes the law.
    held_out : bool
        Whether that is so; if not, the law is made of the whole image.

    Returns
    -------
    Explained
    """
    block = _blocks(scene)
    if held_out:
        halves = [
            _predicted(
                scene,
                place,
                make(replace(scene, image=scene.image.where(block % 2 != parity)), place.dem),
            )
            for parity in (0, 1)
        ]
        expected = np.where(block % 2 == 0, *halves)
    else:
        expected = _predicted(scene, place, make(scene, place.dem))
    measured = scene.image.values.astype(np.float64)
    good = np.isfinite(measured) & (measured > 0.0) & np.isfinite(expected)
    return Explained(np.log(measured[good]), np.log(expected[good]), block[good])


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one size of pixels.

    Attributes
    ----------
    place : Hills
        The images.
    correlations : dict
        By image and law: correlation and its standard error.
    shift : Shift
        Of the mean of the dates.
    after : dict
        By image: correlation with the fitted law, with the shift taken out.
    """

    place: Hills
    correlations: dict[tuple[str, str], tuple[float, float]]
    shift: Shift
    after: dict[str, tuple[float, float]]


def play(looks: tuple[int, int], folder: str | None) -> Outcome:
    """Measure with pixels of one size.

    Parameters
    ----------
    looks : tuple of int
        Lines and samples of the SLC that make a pixel.
    folder : str, optional
        Where the data are.

    Returns
    -------
    Outcome
    """
    place = hills(*looks, folder)
    shift = estimate_shift(
        place.scenes["mean"], place.dem, law=fit_law(place.scenes["mean"], place.dem), search=SEARCH
    )
    correlations, after = {}, {}
    for name, scene in place.scenes.items():
        for law, (_, make) in LAWS.items():
            correlations[name, law] = explain(scene, place, make).correlation()
        seen = explain(scene, place, fit_law, held_out=False)
        correlations[name, IN_SAMPLE] = seen.correlation()
        if shift.found:
            after[name] = explain(apply_shift(scene, shift), place, fit_law).correlation()
    return Outcome(place, correlations, shift, after)


def _text(value: tuple[float, float]) -> str:
    return f"{value[0]:.3f} ± {value[1]:.3f}"


def _table(outcomes: dict[str, Outcome]) -> Table:
    table = Table(
        title="correlation of log-intensity, measured with simulated, on blocks not fitted to",
        caption=f"goal: > {GOAL:g}, with pixels of {AS_THE_DEM} and the fitted law",
    )
    for name in ("pixels", "image", *LAWS, IN_SAMPLE, "fitted, shift out"):
        table.add_column(name, justify="left" if name in {"pixels", "image"} else "right")
    for size, outcome in outcomes.items():
        for name in outcome.place.scenes:
            row = [_text(outcome.correlations[name, law]) for law in (*LAWS, IN_SAMPLE)]
            after = _text(outcome.after[name]) if name in outcome.after else "-"
            table.add_row(size, name, *row, after)
    return table


def _figures(outcomes: dict[str, Outcome]) -> dict[str, Value]:
    figures: dict[str, Value] = {}
    main_one = outcomes[AS_THE_DEM]
    figures["safe.morocco_log_intensity_correlation"] = main_one.correlations["mean", "fitted"]
    for name, key in zip((*DATES, "mean"), ("first_date", "second_date", "mean"), strict=True):
        for law, (law_key, _) in LAWS.items():
            figures[f"safe.morocco.{key}.{law_key}"] = main_one.correlations[name, law]
        figures[f"safe.morocco.{key}.in_sample"] = main_one.correlations[name, IN_SAMPLE]
        if name in main_one.after:
            figures[f"safe.morocco.{key}.coregistered"] = main_one.after[name]
    for size, key in zip(LOOKS, ("30_m", "60_m", "120_m"), strict=True):
        figures[f"safe.morocco.pixels.{key}"] = outcomes[size].correlations["mean", "fitted"]
    shift = main_one.shift
    if shift.found:
        figures["safe.morocco.shift_along"] = (shift.along_track, shift.along_track_error)
        figures["safe.morocco.shift_across"] = (shift.across_track, shift.across_track_error)
        figures["safe.morocco.detail_before"] = shift.correlation_before
        figures["safe.morocco.detail_after"] = shift.correlation_after
    return figures


def save_picture(outcome: Outcome) -> None:
    """Save ``benchmarks/results/pictures/morocco.png``."""
    from matplotlib.figure import Figure

    scene, place = outcome.place.scenes["mean"], outcome.place
    law = fit_law(scene, place.dem)
    expected = _predicted(scene, place, law)
    result = reconstruct(scene, place.dem, law=law)
    measured = scene.image.values
    figure = Figure(figsize=(12.0, 8.0), layout="constrained")
    axes = figure.subplots(2, 3)
    grays = {"cmap": "gray", "interpolation": "nearest"}
    aspect = scene.grid.line_spacing(scene.orbit) / ground_sample_spacing(scene.grid, scene.orbit)
    level = 10.0 * np.log10(np.nanmedian(measured))
    for axis, image, title in (
        (axes[0, 0], measured, "measured β0, mean of two dates"),
        (axes[0, 1], np.where(np.isfinite(measured), expected, np.nan), "simulated, fitted law"),
    ):
        drawn = axis.imshow(
            10.0 * np.log10(image), vmin=level - 6.0, vmax=level + 7.0, aspect=aspect, **grays
        )
        axis.set(title=title, xlabel="sample (near range left)", ylabel="line")
    figure.colorbar(drawn, ax=axes[0, :2], label="dB", shrink=0.7)
    found = explain(scene, place, fit_law)
    axes[0, 2].hexbin(
        10.0 / np.log(10.0) * found.simulated,
        10.0 / np.log(10.0) * found.measured,
        gridsize=60,
        bins="log",
        cmap="Blues",
        mincnt=1,
    )
    value, spread = found.correlation()
    axes[0, 2].set(
        title=f"correlation {value:.2f} ± {spread:.2f}",
        xlabel="simulated (dB)",
        ylabel="measured (dB)",
    )
    west, south, east, north = place.dem.rio.bounds()
    ground = {"extent": (west, east, south, north), "aspect": 1.0 / np.cos(np.radians(31.8))}
    drawn = axes[1, 0].imshow(place.dem, cmap="terrain", vmin=place.dem.min() - 80.0, **ground)
    figure.colorbar(drawn, ax=axes[1, 0], label="height (m)", shrink=0.7)
    axes[1, 0].set_title("DEM")
    sigma = 10.0 * np.log10(np.maximum(result["gamma0"].values, 1e-6))
    drawn = axes[1, 1].imshow(sigma, vmin=-20.0, vmax=-4.0, cmap="gray", **ground)
    figure.colorbar(drawn, ax=axes[1, 1], label="dB", shrink=0.7)
    axes[1, 1].set_title("reconstructed γ0")
    for axis in axes[1, :2]:
        axis.set(xlim=(-8.84, -8.715), ylim=(31.745, 31.85))
        axis.tick_params(labelsize=7)
    angles = np.linspace(15.0, 60.0, 200)
    for name, curve, style in (
        ("fitted to the image", law, "-"),
        ("Muhleman, moved to meet it", Muhleman(), "--"),
    ):
        gamma = curve(angles) / np.cos(np.radians(angles))
        offset = law(np.array([36.6]))[0] / curve(np.array([36.6]))[0]
        axes[1, 2].plot(angles, 10.0 * np.log10(gamma * offset), style, label=name)
    axes[1, 2].set(xlabel="local incidence (degrees)", ylabel="γ0 (dB)", title="law of backscatter")
    axes[1, 2].legend(fontsize=8)
    figure.suptitle(
        "Real Sentinel-1 pixels, Morocco, September 2023, resampled back from a map. "
        "Contains modified Copernicus Sentinel data 2023",
        fontsize=11,
    )
    folder = RESULTS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "morocco.png", dpi=90)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.morocco", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put figures and picture on record")
    chosen = parser.parse_args(arguments)
    console = Console()
    console.width = max(console.width, WIDTH)
    outcomes = {}
    for size, looks in LOOKS.items():
        with console.status(f"pixels of {size}"):
            outcomes[size] = play(looks, chosen.data)
    console.print(_table(outcomes))
    for size, outcome in outcomes.items():
        console.print(f"pixels of {size}: {outcome.shift}", highlight=False)
    if chosen.save:
        record(_figures(outcomes), "python -m benchmarks.morocco --save")
        save_picture(outcomes[AS_THE_DEM])


if __name__ == "__main__":
    main()
