"""What changes with the ground, the DEM and the image, and with a second polarisation.

Both are measured at the places for development, by which methods may be chosen, on ground with
several laws. Intervals of 80 % are counted by variant, over two grounds of each place
(`coverage_by_variant`). Two polarisations together are compared with one by one under the same law
(`joint_polarisations`), of ascending passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from benchmarks._independent.filters import decibels, filled
from benchmarks._independent.observations import INCIDENCES, Form, Image, Observed
from benchmarks._independent.report import FORM_TITLES, PREFIX
from benchmarks._independent.scores import areas_of
from benchmarks._independent.variants import VARIANTS
from sarheight.layover import fit_law, interval, reconstruct
from tests.worlds.scattering_ground import Targets

if TYPE_CHECKING:
    from benchmarks._figures import Value
    from benchmarks._independent.observations import Archive

__all__ = ["coverage_by_variant", "joint_polarisations"]

GROUNDS = ((0, 33, True), (1, 40, False))
"""Seed, incidence and direction of the grounds on which intervals are counted."""
LEVEL, RANGE = 0.8, (0.755, 0.845)
"""Probability of intervals, and what they may hold: 76 to 84 % when rounded."""
AREAS = ("layover", "outside")
SEEDS = (0, 1)
"""Seeds of the grounds on which polarisations are compared."""

Figures = dict[str, "Value"]


def coverage_by_variant(archive: Archive, places: Sequence[str]) -> tuple[Figures, str]:
    """Count how often intervals of 80 % hold the truth, by form of the DEM and variant.

    Returns
    -------
    figures : dict
        ``independent.variants.<form><variant>.<area>``, means over places and grounds, and how many
        of these are in range.
    tables : str
        The same in Markdown.
    """
    figures: Figures = {}
    lines: list[str] = []
    in_range = []
    for form in FORM_TITLES:
        head = "| | in layover (%) | outside (%) |\n|---|---:|---:|"
        lines += [f"### 80 % intervals hold: {FORM_TITLES[form]}", "", head]
        for name, variant in VARIANTS.items():
            held = [
                _coverage(archive.observed(Image(place, "several", *ground, variant=name), form))
                for place, ground in product(places, GROUNDS)
            ]
            means = [fmean(each[area] for each in held) for area in AREAS]
            in_range += [RANGE[0] <= mean < RANGE[1] for mean in means]
            key = f"independent.variants.{PREFIX[form]}{name or 'usual'}"
            figures |= {f"{key}.{area}": mean for area, mean in zip(AREAS, means, strict=True)}
            row = " | ".join(f"{100.0 * mean:.0f}" for mean in means)
            lines.append(f"| {variant.title} | {row} |")
            print(lines[-1], flush=True)
        lines.append("")
    figures["independent.variants.in_range"] = float(sum(in_range))
    figures["independent.variants.all"] = float(len(in_range))
    return figures, "\n".join(lines)


def _coverage(observed: Observed) -> dict[str, float]:
    """Count how often intervals hold the truth in each area."""
    found = reconstruct(observed.scene, observed.dem)
    ends = interval(found, LEVEL)
    truth = observed.truth.gamma0.values
    with np.errstate(invalid="ignore"):
        holds = (truth >= ends.lower.values) & (truth <= ends.upper.values)
    known = np.isfinite(found.gamma0.values)
    return {area: float(holds[cells & known].mean()) for area, cells in _areas(observed).items()}


def _areas(observed: Observed) -> dict[str, np.ndarray]:
    """Find the cells that count in layover and outside."""
    return {area: areas_of([observed])[0][area] for area in AREAS}


@dataclass(frozen=True)
class Gain:
    """What one polarisation gains by another on a ground."""

    cut: dict[str, float]  # of the RMSE, by area
    response: dict[int, float]  # more response in dB, by the side of bright squares


def joint_polarisations(archive: Archive, places: Sequence[str]) -> tuple[Figures, str]:
    """Compare two polarisations that are reconstructed together with one by one.

    Returns
    -------
    figures : dict
        ``independent.polarisations.<form><polarisation>.<area>``: medians of what is cut off the
        RMSE over places, incidences and seeds, with the standard deviation of the mean over seeds;
        ``.min``, the least; and ``.response.<side>``, by how much bright squares answer more.
    tables : str
        The same in Markdown.
    """
    figures: Figures = {}
    lines = [
        "### Two polarisations together against one by one",
        "",
        "| | cut in layover (%) | outside (%) | least |\n|---|---:|---:|---:|",
    ]
    for form in FORM_TITLES:
        gains: dict[tuple[str, int], list[Gain]] = {}
        for place, seed, incidence in product(places, SEEDS, INCIDENCES):
            image = Image(place, "several", seed, incidence, ascending=True)
            for polarisation, gain in _gains(archive, image, form):
                gains.setdefault((polarisation, seed), []).append(gain)
            print(form, place, seed, incidence, flush=True)
        for polarisation in ("VV", "VH"):
            by_seed = [gains[polarisation, seed] for seed in SEEDS]
            key = f"independent.polarisations.{PREFIX[form]}{polarisation.lower()}"
            row = []
            for area in AREAS:
                cuts = [[gain.cut[area] for gain in of_seed] for of_seed in by_seed]
                every = [cut for of_seed in cuts for cut in of_seed]
                figures[f"{key}.{area}"] = median(every), stdev(map(fmean, cuts))
                figures[f"{key}.{area}.min"] = min(every)
                row.append(f"{100.0 * median(every):.1f}")
            row.append(f"{100.0 * min(every):.1f}")
            lines.append(f"| {polarisation}, {FORM_TITLES[form]} | {' | '.join(row)} |")
            for size in Targets().sizes if form == "coarser" else ():
                answers = [gain.response[size] for of_seed in by_seed for gain in of_seed]
                figures[f"{key}.response.{size}"] = fmean(answers)
    return figures, "\n".join([*lines, ""])


def _gains(archive: Archive, image: Image, form: Form) -> Iterator[tuple[str, Gain]]:
    """Compare both polarisations of an image."""
    images = [image, replace(image, variant="cross")]
    pair = [archive.observed(each, form) for each in images]
    plain = _apart_and_together(pair)
    bright = None
    if form == "coarser":
        bright = _apart_and_together(
            [archive.observed(each.with_targets(), form) for each in images]
        )
    for number, (polarisation, observed) in enumerate(zip(("VV", "VH"), pair, strict=True)):
        areas = areas_of([observed])[0]
        apart, together = (each[number] for each in plain)
        truth = decibels(observed.truth.gamma0.values)
        cut = {
            area: 1.0 - _rms((together - truth)[areas[area]]) / _rms((apart - truth)[areas[area]])
            for area in AREAS
        }
        response: dict[int, float] = {}
        for size in Targets().sizes if bright is not None else ():
            square = (observed.targets == size) & areas["all"]
            answers = [
                float((with_[number] - without[number])[square].mean())
                for with_, without in zip(bright or (), plain, strict=True)
            ]
            response[size] = answers[1] - answers[0]
        yield polarisation, Gain(cut, response)


def _apart_and_together(pair: Sequence[Observed]) -> tuple[list[np.ndarray], ...]:
    """Reconstruct two polarisations one by one, and together: gamma0 in dB of each.

    Under one law, which is fitted to both.
    """
    first = pair[0]
    image = xr.concat([each.scene.image for each in pair], "polarisation")
    scene = replace(first.scene, image=image.assign_coords(polarisation=["VV", "VH"]))
    law = fit_law(scene, first.dem)
    apart = [reconstruct(each.scene, each.dem, law=law).gamma0.values for each in pair]
    together = reconstruct(scene, first.dem, law=law).gamma0.values
    return [decibels(filled(each)) for each in apart], [decibels(filled(each)) for each in together]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
