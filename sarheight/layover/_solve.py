"""The method: from what the passes observe to the backscatter of each cell.

Steps and words are those of the page on the method (`docs/explanation/method.md`). Each step is
done to all tiles of a scene, and what several tiles must agree on is a statistic of the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sarheight.layover._statistics import (
    SceneLaw,
    balance_scene,
    fit_error_models,
    fit_laws,
    measure_agreements,
    measure_variation,
    sample_open_cells,
    sum_rcs,
    warn_of_disagreement,
)
from sarheight.layover._steps import (
    allocate_tile,
    average_alike,
    combine_passes,
    estimate_posterior,
    estimate_step,
    first_posterior,
    next_posterior,
    sample_pass_pairs,
    sample_values,
    sum_differences,
    support_of,
)
from sarheight.layover.methods import PosteriorMean
from sarheight.layover.result import convert_tile, hold_tile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sarheight.illumination import BackscatterLaw
    from sarheight.layover._plan import ScenePlan
    from sarheight.layover._scene_tiles import Tiles
    from sarheight.layover._statistics import Agreement, Balance, ErrorModel
    from sarheight.layover.allocation import Observation
    from sarheight.layover.methods import Method
    from sarheight.layover.result import Values


@dataclass(frozen=True, eq=False)
class Solution:
    """Backscatter of a scene, and what was measured for it; lists are by pass."""

    values: Tiles[list[Values]]  # of the variables
    laws: list[SceneLaw]
    balances: list[Balance]


def solve(
    observed: Tiles[list[Observation]],
    plan: ScenePlan,
    law: BackscatterLaw | None,
    method: Method,
    variables: Sequence[str],
) -> Solution:
    """Allocate the radar cross-section (RCS) of the pixels to the cells that share them.

    Without a law, those of the scene are fitted. `plan` holds what all tiles have in common.
    """
    scale, least_area, passes = plan.scale, plan.least_area, len(plan.passes)
    # Surroundings of a sampled cell that matter to the first step, and to all of them.
    near, wide = support_of(method, scale, first=True), support_of(method, scale)
    geocoded = "sigma0_geocoded" in variables
    stated = not {"gamma0_std", "gamma0_variance"}.isdisjoint(variables)
    compared = isinstance(method, PosteriorMean) or stated
    median = isinstance(method, PosteriorMean) and method.estimate == "median"

    # Angular law. Kinds of ground may be rare, so their laws rest on all cells.
    if law is None:
        within = near if plan.kinds is None else None
        laws = fit_laws(observed.sample(lambda tile: sample_open_cells(tile, scale), within))
    else:
        laws = [SceneLaw(law)] * passes

    # Reallocation: each cell is allocated its share of its pixels, by law and area.
    allocated = observed.apply(
        lambda tile: allocate_tile(
            tile, laws, method, scale, least_area, geocoded=geocoded, compared=compared
        )
    )

    # Error of the value: by speckle, other places in the pixels, and the DEM.
    models: list[list[ErrorModel]] = []
    if compared:
        measured = allocated.sample(
            lambda tile: (
                sample_values(tile, method, scale),
                sum_differences(tile, method, scale),
            ),
            near,
        )
        models = fit_error_models([samples for samples, _ in measured], method.errors)

    if isinstance(method, PosteriorMean):
        # Intervals: how varied the ground is.
        models = measure_variation(models, [sums for _, sums in measured])
        # Prediction by neighbours, and the posterior mean of value and prediction.
        posterior = allocated.apply(lambda tile: first_posterior(tile, models, method, scale))
        agreements: list[Agreement] = []
        for step in range(method.steps):
            if step:
                # Posterior means take the place of the assumed reflectivity.
                posterior = posterior.apply(lambda tile: next_posterior(tile, method, scale))
            if passes > 1:
                # Several passes: the posterior mean of another pass is one more prediction.
                agreements = measure_agreements(posterior.sample(sample_pass_pairs, wide))
                # A lambda would see the agreements of a later step where steps are recorded.
                posterior = posterior.apply(partial(combine_passes, agreements=agreements))
        warn_of_disagreement(agreements)
        if method.prior.edges > 0.0:
            # Prior of edges: kinds of ground meet at edges, within which neighbours look alike.
            posterior = posterior.apply(lambda tile: average_alike(tile, method.prior, scale))
        estimated = posterior.apply(lambda tile: estimate_posterior(tile, method))
    else:
        estimated = allocated.apply(lambda tile: estimate_step(tile, models, method, scale))

    # Balance: the RCS that the cells hold is that of the image, by the means of their power.
    held, sums = estimated.keep(
        lambda tile: hold_tile(tile, variables), lambda tile: sum_rcs(tile, least_area)
    )
    balances = balance_scene(sums, least_area)
    values = held.apply(
        lambda tile: convert_tile(tile, balances, least_area, variables, median=median)
    )
    return Solution(values, laws, balances)
