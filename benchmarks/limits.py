"""What limits the reconstruction: the DEM's resolution, its height error, and the other pass.

Two questions about the goals that `benchmarks.core` misses, on the same scenes, one seed:

- How much does one step cut the RMSE in layover against RTC if it is given a better DEM? The true
  DEM itself (compared cell by fine cell), and the coarse one without height error.
- How well can the other pass tell a folded cell's gamma0 at all? An oracle knows the other pass's
  true gamma0 and carries it over by the fitted laws, with the best single offset. Its error, the
  error of the single pass, and that of the best mix of the two, in cells that are folded in this
  pass and lie open in the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sarheight_kernels.profiles import ACTIVE_LAYOVER, PASSIVE_LAYOVER

from benchmarks._figures import Value, record
from benchmarks._mountains.scenes import Site, sites
from benchmarks._mountains.score import ONE_STEP, RTC, Stage
from benchmarks._mountains.truth import LEAST_AREA, coarse_dem, reflectivity
from sarheight.geometry.visibility import classify_cells
from sarheight.illumination import ConstantGamma
from sarheight.layover import Reallocation, fit_law, reconstruct

__all__ = ["main"]

Floats = NDArray[np.float64]

SCENES = ["big_tujunga_32", "leh_32", "arco_32"]
MIXES = np.linspace(0.0, 1.0, 21)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _decibels(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10.0 * np.log10(values)


def cut_with_true_dem(stage: Stage) -> float:
    """Return by how much one step beats RTC in layover where both are given the true DEM."""
    random = [np.random.default_rng([0, part]) for part in range(3)]
    truth = stage.descending
    ground = reflectivity(stage.dem, random[0])
    scene = truth.image(ground, random[2])
    seen = truth.operator.geometry
    category, _ = classify_cells(seen)
    folded = (category == ACTIVE_LAYOVER) | (category == PASSIVE_LAYOVER)
    shown = truth.operator.illuminated & (truth.area >= LEAST_AREA * seen.cell_area)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = _decibels((truth.unit_energy * ground / truth.area).astype(np.float64))
    errors = []
    for law in (None, ConstantGamma()):
        result = reconstruct(scene, stage.dem, law=law, method=Reallocation())
        errors.append(_decibels(result["gamma0"].values.astype(np.float64)) - own)
    compared = folded & shown & np.isfinite(errors[0]) & np.isfinite(errors[1])
    return 1.0 - _rms(errors[0][compared]) / _rms(errors[1][compared])


def oracle(stage: Stage) -> tuple[float, float, float]:
    """Compare the single pass with an oracle of the other one, in cells that only it folds.

    Returns
    -------
    tuple of float
        RMSE in dB of the single pass, of the oracle, and of the best mix of the two.
    """
    random = [np.random.default_rng([0, part]) for part in range(4)]
    ground = reflectivity(stage.dem, random[0])
    dem = coarse_dem(stage.dem, random[1])
    truths = (stage.descending, stage.ascending)
    own = [_decibels(truth.gamma0(ground)) for truth in truths]
    single, expected = [], []
    for truth, each in zip(truths, random[2:], strict=True):
        scene = truth.image(ground, each)
        result = reconstruct(scene, dem)
        single.append(_decibels(result["gamma0"].values.astype(np.float64)))
        angle = result["local_incidence"].values.astype(np.float64)
        law = fit_law(scene, dem)
        with np.errstate(invalid="ignore"):
            expected.append(_decibels(law(angle) / np.cos(np.radians(angle))))
    error = single[0] - own[0]
    carried = own[1] - expected[1] + expected[0] - own[0]
    only = truths[0].layover & ~truths[1].layover & np.isfinite(error) & np.isfinite(carried)
    error, carried = error[only], carried[only] - np.median(carried[only])
    mixed = min(_rms((1.0 - mix) * error + mix * carried) for mix in MIXES)
    return _rms(error), _rms(carried), mixed


def _play(site: Site) -> dict[str, float]:
    stage = Stage(site)
    single, carried, mixed = oracle(stage)
    return {
        "one_step_cut_true_dem": cut_with_true_dem(stage),
        "one_step_cut_no_height_error": stage.play(0, height_error=0.0).cut(ONE_STEP, RTC),
        "one_step_cut": stage.play(0).cut(ONE_STEP, RTC),
        "folded_here_single": single,
        "folded_here_oracle": carried,
        "folded_here_best_mix": mixed,
    }


def _table(found: dict[str, dict[str, float]]) -> Table:
    table = Table(title="what limits the reconstruction, one seed")
    table.add_column("")
    for title in (
        "one step vs RTC:\ntrue DEM",
        "coarse DEM,\nno height error",
        "coarse DEM\nas given",
        "folded here, open there:\nsingle pass",
        "oracle of\nthe other pass",
        "best mix",
    ):
        table.add_column(title, justify="right")
    for name, row in found.items():
        cuts, errors = list(row.values())[:3], list(row.values())[3:]
        table.add_row(
            name,
            *(f"{100 * cut:.1f} %" for cut in cuts),
            *(f"{error:.2f} dB" for error in errors),
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--scene", nargs="+", metavar="NAME", default=SCENES)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    try:
        places = sites(chosen.scene, chosen.data)
    except ValueError as error:
        parser.error(str(error))
    console = Console()
    found: dict[str, dict[str, float]] = {}
    for site in places:
        with console.status(site.name):
            found[site.name] = _play(site)
    console.print(_table(found))
    if chosen.save:
        figures: dict[str, Value] = {
            f"core.{name}.limit.{key}": value
            for name, row in found.items()
            for key, value in row.items()
        }
        record(figures, "python -m benchmarks.limits --save")


if __name__ == "__main__":
    main()
