"""The tables of `benchmarks.terrain`, and its figures on record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks._figures import mean_and_spread
from benchmarks._terrain.errors import Errors
from benchmarks._terrain.evidence import IMAGES
from benchmarks._terrain.rows import CUTS, GOALS, KNOWN, ROWS, USUAL

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["Found", "Told", "figures_of", "markdown"]

Found = dict[str, dict[int, dict[str, dict[str, Errors]]]]
"""Errors by row, seed, region and number of known elevations (as text)."""
Told = dict[str, dict[str, dict[str, float]]]
"""By region, what `benchmarks._terrain.evidence.evidence` found of each image."""
BASELINES = {"residual": ("priors",)}
"""What else can be had from what an estimate is given."""
REFERENCE = "unet_plain"


SLOPES = "slopes"
"""Stands for a group of cells, where the error of slopes in degrees is meant."""


def _values(found: Found, row: str, region: str, known: int, group: str = "all") -> list[float]:
    """Return a row's RMSE, one for each seed that has it."""
    errors = [found[row][seed][region].get(str(known), {}) for seed in sorted(found[row])]
    if group == SLOPES:
        return [each["all"]["slope_rmse"] for each in errors if each]
    return [each["rmse"][group] for each in errors if group in each.get("rmse", {})]


def _text(values: Sequence[float], unit: float = 1.0) -> str:
    if not values:
        return ""
    mean, spread = mean_and_spread([unit * value for value in values])
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def _cut(found: Found, row: str, other: str, region: str, group: str = "all") -> list[float]:
    """Return by which part a row's error is smaller than another's, one for each seed."""
    pairs = zip(
        _values(found, row, region, USUAL, group),
        _values(found, other, region, USUAL, group),
        strict=False,
    )
    return [1.0 - one / two for one, two in pairs]


def _coverages(found: Found, row: str, region: str, known: int, level: str) -> list[float]:
    return [found[row][seed][region][str(known)]["coverage"][level] for seed in sorted(found[row])]


def figures_of(found: Found, told: Told) -> dict[str, Value]:
    """Collect the figures that go on record."""
    figures: dict[str, Value] = {}
    cuts: dict[str, list[float]] = {}
    regions = list(found[REFERENCE][0])
    for region in regions:
        for row in ROWS:
            key = f"terrain.{region}.{row}"
            figures[f"{key}.rmse"] = mean_and_spread(_values(found, row, region, USUAL))
            figures[f"{key}.rmse_layover"] = mean_and_spread(
                _values(found, row, region, USUAL, "layover")
            )
            figures[f"{key}.slope_rmse"] = mean_and_spread(
                _values(found, row, region, USUAL, SLOPES)
            )
            for known in KNOWN:
                values = _values(found, row, region, known)
                if known != USUAL and values:
                    figures[f"{key}.rmse_{known}"] = mean_and_spread(values)
        for key, (row, other) in CUTS.items():
            for group, suffix in (("all", ""), ("layover", "_layover"), (SLOPES, "_slopes")):
                values = _cut(found, row, other, region, group)
                figures[f"terrain.{region}.{key}{suffix}"] = mean_and_spread(values)
                cuts.setdefault(key + suffix, []).append(fmean(values))
        for row, others in BASELINES.items():
            gains = [
                1.0
                - fmean(_values(found, row, region, known))
                / _values(found, other, region, known)[0]
                for known in KNOWN
                for other in others
            ]
            figures[f"terrain.{region}.{row}_vs_best_baseline"] = min(gains)
    for key, values in cuts.items():
        figures[f"terrain.{key}.min"] = min(values)
        figures[f"terrain.{key}.max"] = max(values)
    figures |= {
        f"terrain.{region}.brightness.{image}.{name}": value
        for region, images in told.items()
        for image, numbers in images.items()
        for name, value in numbers.items()
    }
    for level in ("50", "80", "95"):
        by_region = [fmean(_coverages(found, "residual", each, USUAL, level)) for each in regions]
        figures[f"terrain.residual.coverage_{level}"] = mean_and_spread(by_region)
    return figures


def markdown(found: Found, told: Told, settings: Mapping[str, Any]) -> str:
    """Write all tables.

    Parameters
    ----------
    found : dict
        Errors of all rows.
    told : dict
        What the images tell.
    settings : mapping
        Of the last row's training, for the record.
    """
    lines = [
        "# Heights on ground that no network has seen",
        "",
        (
            "Simulated scenes of real elevation models. RMSE in metres on the test bands, mean "
            f"and standard deviation over {len(found[REFERENCE])} trainings; by the number of "
            "known elevations in a patch of 128 x 128 cells, and in layover."
        ),
        "",
    ]
    for region in found[REFERENCE][0]:
        lines += [f"## {region}", "", *_region(found, region), ""]
    lines += ["## Goals", "", *_goals(found), ""]
    lines += [
        "The same of slopes",
        "",
        *_goals(found, SLOPES),
        "",
        "## Intervals",
        "",
        *_intervals(found),
        "",
    ]
    lines += [f"## Errors of a kind ({USUAL} known)", "", *_groups(found), ""]
    lines += ["## What the images tell of slopes", "", *_evidence(told), ""]
    width, epochs = settings["options"]["width"], settings["epochs"]
    lines += [f"Networks: width {width}, at most {epochs} epochs.", ""]
    return "\n".join(lines)


def _rows(header: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    """Write a table in Markdown; all columns but the first are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def _region(found: Found, region: str) -> list[str]:
    header = (
        "estimate",
        *(f"{known}" for known in KNOWN),
        f"layover, {USUAL}",
        f"cut, {USUAL}",
        "cut in layover",
        f"slopes in °, {USUAL}",
        "cut of slopes' errors",
    )

    def rows() -> Iterator[Sequence[str]]:
        for row, label in ROWS.items():
            # A baseline is the same for every training.
            cuts = [
                1.0
                - fmean(_values(found, row, region, USUAL, group))
                / fmean(_values(found, REFERENCE, region, USUAL, group))
                for group in ("all", "layover", SLOPES)
            ]
            yield (
                label,
                *(_text(_values(found, row, region, known)) for known in KNOWN),
                _text(_values(found, row, region, USUAL, "layover")),
                *(f"{100 * cut:.1f} %" for cut in cuts[:2]),
                _text(_values(found, row, region, USUAL, SLOPES)),
                f"{100 * cuts[2]:.1f} %",
            )

    return _rows(header, rows())


def _goals(found: Found, group: str = "all") -> list[str]:
    regions = list(found[REFERENCE][0])

    def rows() -> Iterator[Sequence[str]]:
        for key, (row, other) in CUTS.items():
            goal = f"{100 * GOALS[key]:.1f}" if key in GOALS and group == "all" else ""
            yield (
                f"{ROWS[row]} / {ROWS[other]}",
                *(_text(_cut(found, row, other, region, group), 100.0) for region in regions),
                goal,
            )

    return _rows(("cut of the error in %", *regions, "goal"), rows())


def _intervals(found: Found) -> list[str]:
    regions = list(found[REFERENCE][0])

    def rows() -> Iterator[Sequence[str]]:
        for known in KNOWN:
            for level in ("50", "80", "95"):
                yield (
                    f"{ROWS['residual']}, {known} known, {level} %",
                    *(
                        _text(_coverages(found, "residual", region, known, level), 100.0)
                        for region in regions
                    ),
                )

    return _rows(("truth within the interval, in %", *regions), rows())


def _groups(found: Found) -> list[str]:
    first = next(iter(found[REFERENCE][0].values()))[str(USUAL)]
    groups = [name for name in first["rmse"] if name != "all"]
    regions = list(found[REFERENCE][0])

    def rows() -> Iterator[Sequence[str]]:
        for region in regions:
            for row, label in ROWS.items():
                yield (
                    f"{region}: {label}",
                    *(_text(_values(found, row, region, USUAL, name)) for name in groups),
                )

    return _rows(("RMSE in m", *groups), rows())


def _evidence(told: Told) -> list[str]:
    names = ("slope", "leak", "slope_layover", "leak_layover")
    header = (
        "correlation of brightness",
        "with the true slope",
        "with the coarse model's error",
        "slope, in layover",
        "error, in layover",
    )

    def rows() -> Iterator[Sequence[str]]:
        for region, images in told.items():
            for image, numbers in images.items():
                yield (f"{region}: {IMAGES[image]}", *(f"{numbers[name]:.2f}" for name in names))

    return _rows(header, rows())
