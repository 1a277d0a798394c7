"""The tables of `benchmarks.independent`, and its figures on record.

Of one place, law and incidence, an RMSE is that of all cells of both passes; it is found for each
seed. The best baseline is the one with the lowest RMSE, averaged over seeds, in the very cells that
are compared: another one may be best in layover, outside, and at another place. Beside edges, and
in the response to bright squares, the baseline that is best outside layover is compared with:
nobody has one image for the edges and another for what lies between. A cut is 1 - RMSE / RMSE of
the best baseline, averaged over seeds.

- ``<place>`` keys give the worse of the two incidences, with the standard deviation over seeds;
- ``median`` keys give the median over places and incidences;
- ``heights`` keys compare methods on a finer DEM with the best baseline on the coarse DEM and on
  refined heights: medians, and the worse incidence of the worst place as ``min``.

An incidence with fewer than 200 cells to a seed (layover in Svalbard at 40 degrees) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

from benchmarks._independent.methods import METHODS, Role
from benchmarks._independent.observations import INCIDENCES, Form, Laws
from benchmarks._independent.places import PLACES
from benchmarks._independent.scores import LEVELS, Score
from tests.worlds.scattering_ground import Targets

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["AREAS", "Found", "Key", "figures_of", "height_figures", "markdown"]

AREAS = ("layover", "outside", "edges")
FEWEST = 200
"""Cells of one seed below which an incidence is left out."""
FORM_TITLES: dict[Form, str] = {
    "coarser": "DEM of 90 m, error 4.5 m",
    "as_used": "DEM of 30 m with a resolution of 60 m, error 3 m",
}
PREFIX: dict[Form, str] = {"coarser": "", "as_used": "as_used."}


@dataclass(frozen=True)
class Key:
    """What a score belongs to."""

    method: str
    place: str
    laws: Laws
    form: Form
    incidence: int
    ascending: bool
    seed: int


@dataclass(frozen=True, eq=False)
class Found:
    """All scores.

    Attributes
    ----------
    scores : dict
        By what they belong to.
    """

    scores: dict[Key, Score] = field(default_factory=dict)

    def values(self, name: str) -> list[str]:
        """List what a part of the keys takes, in the order of appearance."""
        return list(dict.fromkeys(getattr(key, name) for key in self.scores))

    def seeds(self) -> list[int]:
        """List the seeds."""
        return sorted({key.seed for key in self.scores})

    def methods(self, *roles: Role) -> list[str]:
        """List the methods of some roles that have scores; all without any."""
        there = set(self.values("method"))
        wanted = roles or tuple(each.role for each in METHODS.values())
        return [name for name, each in METHODS.items() if name in there and each.role in wanted]


@dataclass(frozen=True, eq=False)
class Group:
    """Scores of a place under one law, with one form of the DEM."""

    found: Found
    place: str
    laws: Laws
    form: Form

    def score(self, method: str, incidence: int, seed: int) -> Score:
        """Add up the scores of both passes."""
        total = Score()
        for ascending in (True, False):
            total.add(self.one(method, incidence, seed, ascending=ascending))
        return total

    def one(self, method: str, incidence: int, seed: int, *, ascending: bool) -> Score:
        """Return the score of one pass; an empty one where there is none."""
        key = Key(method, self.place, self.laws, self.form, incidence, ascending, seed)
        return self.found.scores.get(key, Score())

    def incidences(self, area: str, method: str | None = None) -> list[int]:
        """Incidences with enough cells in an area."""
        seeds = self.found.seeds()
        name = method or self.found.values("method")[0]
        cells = {i: fmean(self.score(name, i, s).cells[area] for s in seeds) for i in INCIDENCES}
        return [incidence for incidence in INCIDENCES if cells[incidence] >= FEWEST]

    def rmse(self, method: str, area: str, incidence: int) -> list[float]:
        """RMSE of each seed."""
        return [self.score(method, incidence, seed).rmse(area) for seed in self.found.seeds()]

    def best(self, area: str, incidence: int) -> str:
        """Name the baseline of the lowest RMSE."""
        return min(
            self.found.methods("baseline"),
            key=lambda name: fmean(self.rmse(name, area, incidence)),
        )

    def cuts(
        self, method: str, area: str, other: str | None = None, *, chosen_in: str | None = None
    ) -> dict[int, list[float]]:
        """Cuts of each seed by incidence, against a method or the best baseline of an area."""
        result = {}
        for incidence in self.incidences(area, method):
            against = other or self.best(chosen_in or area, incidence)
            ours, theirs = (self.rmse(each, area, incidence) for each in (method, against))
            result[incidence] = [1.0 - a / b for a, b in zip(ours, theirs, strict=True)]
        return result


def groups(found: Found) -> Iterator[Group]:
    """List the groups of scores."""
    seen = dict.fromkeys((key.place, key.laws, key.form) for key in found.scores)
    for place, laws, form in seen:
        yield Group(found, place, laws, form)


Measures = dict[str, dict[int, list[float]]]
"""By what ends a key: by incidence, a number for each seed."""
HIGHER_IS_WORSE = ("bias", "edges", "power_bias")
"""Measures that begin so."""


def measures(group: Group) -> Measures:
    """Measure what goes on record of a place."""
    found = group.found
    result: Measures = {}
    compared = bool(found.methods("baseline"))
    for ours in found.methods("posterior"):
        if compared:
            result |= _single(group, ours)
            for median_of in {"posterior_median"} & set(found.methods("reported")):
                for area in ("layover", "outside"):
                    name = f"{median_of}_vs_best_baseline.{area}"
                    result[name] = group.cuts(median_of, area)
        for two in found.methods("two_passes"):
            for name, area in (
                ("two_passes_vs_better", "all"),
                ("two_passes_folded_here_open_there", "folded_here_open_there"),
            ):
                result[name] = _pass_cuts(group, two, ours, area)
    if {"one_step", "rtc"} <= set(found.values("method")):
        result["one_step_vs_rtc.layover"] = group.cuts("one_step", "layover", "rtc")
    for guided in found.methods("guided") if compared else []:
        result["guided_vs_best_baseline.layover"] = group.cuts(guided, "layover")
    return {name: values for name, values in result.items() if values}


def _single(group: Group, ours: str) -> Measures:
    """Compare our method of one pass with the best baseline."""
    result: Measures = {}
    seeds = group.found.seeds()
    for area in ("layover", "outside"):
        result[f"posterior_vs_best_baseline.{area}"] = group.cuts(ours, area)
        totals = {
            incidence: [group.score(ours, incidence, seed) for seed in seeds]
            for incidence in group.incidences(area, ours)
        }
        for name, bias in (("bias", Score.bias), ("power_bias", Score.power_bias)):
            result[f"{name}.{area}"] = {
                incidence: [abs(bias(each, area)) for each in by_seed]
                for incidence, by_seed in totals.items()
            }
    result["edges_vs_best_baseline"] = {
        incidence: [1.0 - cut for cut in cuts]
        for incidence, cuts in group.cuts(ours, "edges", chosen_in="outside").items()
    }
    for size in Targets().sizes:
        gains = {}
        for incidence in group.incidences("outside", ours):
            other = group.best("outside", incidence)
            pairs = [
                (group.score(ours, incidence, seed), group.score(other, incidence, seed))
                for seed in seeds
            ]
            if all(mine.squares[size] and theirs.squares[size] for mine, theirs in pairs):
                gains[incidence] = [
                    mine.mean_response(size) - theirs.mean_response(size) for mine, theirs in pairs
                ]
        result[f"target_response_vs_baseline.{size}"] = gains
    return result


def _pass_cuts(group: Group, two: str, one: str, area: str) -> dict[int, list[float]]:
    """Cuts of two passes against one, of the pass that gains less, by incidence."""
    seeds = group.found.seeds()
    result = {}
    for incidence in INCIDENCES:
        by_pass = []
        for ascending in (True, False):
            joint = [group.one(two, incidence, seed, ascending=ascending) for seed in seeds]
            alone = [group.one(one, incidence, seed, ascending=ascending) for seed in seeds]
            # Cells of the area are counted where there are two passes.
            if fmean(each.cells[area] for each in joint) >= FEWEST / 2:
                pairs = zip(joint, alone, strict=True)
                by_pass.append([1.0 - mine.rmse(area) / its.rmse(area) for mine, its in pairs])
        if by_pass:
            result[incidence] = min(by_pass, key=fmean)
    return result


def figures_of(found: Found, prefix: str = "independent") -> dict[str, Value]:
    """Return the figures to be put on record."""
    figures: dict[str, Value] = {}
    pooled: dict[tuple[Form, Laws, str], list[float]] = {}
    for group in groups(found):
        start = f"{prefix}.{PREFIX[group.form]}{group.place}.{group.laws}"
        for name, by_incidence in measures(group).items():
            means = {incidence: fmean(values) for incidence, values in by_incidence.items()}
            choose = max if name.startswith(HIGHER_IS_WORSE) else min
            worst = by_incidence[choose(means, key=means.__getitem__)]
            spread = stdev(worst) if len(worst) > 1 else None
            figures[f"{start}.{name}"] = fmean(worst), spread
            pooled.setdefault((group.form, group.laws, name), []).extend(means.values())
    for (form, laws, name), values in pooled.items():
        figures[f"{prefix}.{PREFIX[form]}median.{laws}.{name}"] = median(values), None
    for form in found.values("form"):
        for ours in found.methods("posterior"):
            total = _total(found, ours, form)
            for level in LEVELS:
                for area in ("layover", "outside"):
                    key = f"{prefix}.{PREFIX[form]}coverage_{100 * level:.0f}.{area}"
                    if total.asked[area, level]:
                        figures[key] = total.coverage(area, level), None
    return figures


def height_figures(found: Found, prefix: str = "independent") -> dict[str, Value]:
    """Return what methods on a finer DEM cut off the error of baselines, ground of several laws.

    For each method of the role "heights" and the posterior mean on the coarse DEM: against the best
    baseline on the coarse DEM (``vs_coarse``), and against the better one of that and RTC with
    total variation on refined heights (``vs_best``). Of posterior means also
    the median bias, in dB (``bias``) and of the sum of RCS (``power_bias``).
    """
    figures: dict[str, Value] = {}
    columns = [each for each in groups(found) if (each.form, each.laws) == ("coarser", "several")]
    names = found.methods("heights", "posterior")
    for method, area in product(names, ("layover", "outside")):
        coarse, best = [], []
        for group in columns:
            by_incidence = group.cuts(method, area)
            refined = group.cuts(method, area, "rtc_tv_refined")
            pairs = [
                min(one, refined[incidence], key=fmean) for incidence, one in by_incidence.items()
            ]
            if pairs:
                coarse.append([fmean(cuts) for cuts in by_incidence.values()])
                best.append([fmean(cuts) for cuts in pairs])
                worst = min(pairs, key=fmean)
                spread = stdev(worst) if len(worst) > 1 else None
                key = f"{prefix}.heights.{group.place}.{method}_vs_best.{area}"
                figures[key] = fmean(worst), spread
        for name, places in (("vs_coarse", coarse), ("vs_best", best)):
            start = f"{prefix}.heights.{method}_{name}.{area}"
            figures[start] = median(cut for cuts in places for cut in cuts), None
            figures[f"{start}.min"] = min(min(cuts) for cuts in places), None
        if method.startswith("posterior"):
            start = f"{prefix}.heights.{method}"
            totals = [
                group.score(method, incidence, seed)
                for group in columns
                for incidence in group.incidences(area, method)
                for seed in found.seeds()
            ]
            for name, bias in (("bias", Score.bias), ("power_bias", Score.power_bias)):
                figures[f"{start}.{name}.{area}"] = median(bias(each, area) for each in totals)
    return figures


PRODUCTS = {"back_30_projection": "product_30_projection"}
"""The product that a way back began with, where it is not that of ours at 30 m."""


def archive_figures(found: Found, prefix: str = "archives") -> dict[str, Value]:
    """Return what reconstruction by way of archives loses, and what it cuts off their products.

    Medians over places and incidences of ground with several laws, and the spread of their means
    over seeds: ``loss`` is RMSE over that of direct reconstruction, minus 1. ``masked`` is the part
    of the cells that the product of 30 m has no value for, of those that direct reconstruction has.
    """
    figures: dict[str, Value] = {}
    columns = [each for each in groups(found) if (each.form, each.laws) == ("coarser", "several")]
    for method, area in product(found.methods("archive"), ("layover", "outside")):
        start = prefix if method == "back_30" else f"{prefix}.{method}"
        flat = PRODUCTS.get(method.removesuffix("_provider"), "product_30")
        for name, other, sign in (("loss", "posterior", -1.0), ("cut_vs_rtc", flat, 1.0)):
            cuts = [
                [sign * each for each in by_seed]
                for group in columns
                for by_seed in group.cuts(method, area, other).values()
            ]
            if cuts:
                means = [median(each) for each in zip(*cuts, strict=True)]
                spread = stdev(means) if len(means) > 1 else None
                figures[f"{start}.{name}.{area}"] = median(map(fmean, cuts)), spread
        total = _total(found, method, "coarser")
        if total.asked[area, 0.8]:
            figures[f"{start}.coverage_80.{area}"] = total.coverage(area, 0.8), None
    direct, flat = (_total(found, name, "coarser") for name in ("posterior", "product_30"))
    for area in ("layover", "outside"):
        if direct.cells[area]:
            part = 1.0 - flat.cells[area] / direct.cells[area]
            figures[f"{prefix}.masked.{area}"] = max(part, 0.0), None
    return figures


def _total(found: Found, method: str, form: Form, laws: Laws = "several") -> Score:
    """Add up all scores of a method."""
    total = Score()
    for key, each in found.scores.items():
        if (key.method, key.form, key.laws) == (method, form, laws):
            total.add(each)
    return total


# ---------------------------------------------------------------------------------------- tables


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table in Markdown."""
    lines = [f"### {title}", "", "| " + " | ".join(head) + " |"]
    lines.append("|---" + "|---:" * (len(head) - 1) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, ""]


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if value == value else "–"  # noqa: PLR0124 - NaN


def _rmse_tables(found: Found, form: Form, laws: Laws) -> list[str]:
    """RMSE of each method by place and incidence: layover / outside / beside edges."""
    lines = []
    for incidence in INCIDENCES:
        columns = [each for each in groups(found) if (each.form, each.laws) == (form, laws)]
        rows = []
        for method in found.methods():
            if METHODS[method].role == "two_passes":
                continue
            cells = [
                " / ".join(_number(fmean(each.rmse(method, area, incidence))) for area in AREAS)
                for each in columns
            ]
            rows.append((METHODS[method].title, *cells))
        title = f"RMSE in dB, layover / outside / beside edges, {incidence}°: {FORM_TITLES[form]}, "
        title += f"{laws} law{'s' if laws == 'several' else ''}"
        lines += _table(title, ["", *(PLACES[each.place].title for each in columns)], rows)
    return lines


def _method_table(found: Found, form: Form, laws: Laws) -> list[str]:
    """Bias, coverage and response of each method, over all places."""
    rows = []
    for method in found.methods():
        total = _total(found, method, form, laws)
        bias = " / ".join(_number(total.bias(area)) for area in ("layover", "outside"))
        held = [
            " / ".join(_number(100.0 * total.coverage(area, level), 0) for level in LEVELS)
            for area in ("layover", "outside")
        ]
        gains = " / ".join(_number(total.mean_response(size), 1) for size in Targets().sizes)
        without = f"{100.0 * total.without / max(total.cells['all'], 1):.2f}"
        rows.append((METHODS[method].title, bias, *held, gains, without))
    head = [
        "",
        "bias in dB, layover / outside",
        "50, 80, 95 % intervals hold, layover (%)",
        "outside (%)",
        "response to +6 dB squares of 1 / 2 / 4 cells (dB)",
        "cells without a value (%)",
    ]
    title = f"All places: {FORM_TITLES[form]}, {laws} law{'s' if laws == 'several' else ''}"
    return _table(title, head, rows)


def markdown(found: Found) -> str:
    """Write all tables."""
    lines: list[str] = []
    for form, laws in dict.fromkeys((key.form, key.laws) for key in found.scores):
        lines += _rmse_tables(found, form, laws)
        lines += _method_table(found, form, laws)
    return "\n".join(lines)
