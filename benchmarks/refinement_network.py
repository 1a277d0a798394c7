"""Does a small network on top of refinement bring heights closer? A test with a rule.

`sarheight.terrain.refine` gives heights and their standard deviation. A network sees them, the
back-projected heights, and what refinement says of each image, and predicts the error that is left.
The rule, written before the networks that it judges were trained:

- **Training ground.** The DEMs of the four places for development, none of a scored place: crops of
  30 m cells at least 1.5 km off their scored crops, and crops of 20 to 90 m anywhere under wider
  conditions (`benchmarks._terrain.residuals`). Kinds of ground are drawn, each with a quadratic
  angular law of its own. Images are expected images with the speckle and noise of 1 or 30 dates.
- **Networks.** Four ASK-UNets, each of which learns from three of the DEMs. What is shipped is the
  mean of the four.
- **Validation ground.** The four places for development as `benchmarks.refinement` scores them,
  each judged by the network that has seen nothing of its DEM. Everything is chosen there.
- **Scored ground.** The seven scored places, with the same images, scored after all choices.
- **Rows.** Those of `benchmarks.refinement`; one date of both passes where refinement is told of
  other errors of the coarse DEM (``stated_2``, ``stated_9``), with heights of 20, 60 and 90 m
  (``posting_20`` and so on), with eight voids (``voids``), and with a coarse DEM 10 m off and
  displaced by half a cell that is aligned first to 16 scattered known elevations (``known_16``) or
  to altimeter tracks 2 km apart (``tracks``).
- **No harm.** The correction is multiplied by the factor that is best at the validation places,
  from 0 to 1, lowered until none of them is more than 2 % worse in any row. So is the standard
  deviation, by the factor with which its intervals of 80 % hold 80 %. Both are one number for each
  number of images and dates.
- **Decision.** The network helps if, in each of the first three rows, the median over places of its
  cut of refinement's RMSE is larger than 0, and than the range over the four networks where all
  apply, and if no place in any row is more than 2 % worse. At the validation places this decides
  whether it is worth shipping, at the scored ones whether it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks._command import options, tell
from benchmarks._figures import machine
from benchmarks._independent.places import Group, places_of
from benchmarks._runs import claimed
from benchmarks._terrain.correction_methods import (
    EIGHTY,
    MOST_HARM,
    Method,
    calibration,
    cuts_of,
    held,
    row_of_training,
    shrinkage,
)
from benchmarks._terrain.correction_training import Data, train
from benchmarks._terrain.residuals import (
    FIRST_WIDER,
    INCIDENCES,
    POSTINGS,
    STATED,
    STATED_RANGE,
    TRAINING_ROWS,
    WIDER,
    make_scored,
    make_training,
)
from benchmarks.refinement import CASES
from sarheight.learning.weights import ROOMS
from sarheight.terrain.refinement_network import RefinementNetwork, estimate_correction
from tests.worlds.scattering_ground import COARSER

if TYPE_CHECKING:
    import argparse

__all__ = ["main"]


ROWS = (*TRAINING_ROWS, *CASES, *STATED, *WIDER)
LEFT_OUT = tuple(place.name for place in places_of("development"))
"""Place whose DEM each network does not learn from; its number is the network's seed."""
CROPS, WIDER_CROPS = 320, 200
"""Crops of 30 m, and crops under wider conditions."""
STEPS = 5000


def crops_of(usual: int, wider: int) -> list[int]:
    """Return the numbers of the crops for training, which are their seeds.

    A crop lies in the DEM of the place whose number is the remainder of division by four.
    """
    numbers = [*range(16), *range(100, FIRST_WIDER)]
    return [*numbers[:usual], *range(FIRST_WIDER, FIRST_WIDER + wider)]


def _training(work: Path, numbers: Sequence[int], data: str | None) -> Data:
    """Make and read the training ground."""
    for number in numbers:
        with claimed(work / f"crop_{number:04d}") as free:
            if free:
                make_training(work, number, data)
    # A crop that another process was making is there by now, or made here as well.
    files = [path for each in numbers for path in make_training(work, each, data)]
    places = [LEFT_OUT[each % len(LEFT_OUT)] for each in numbers for _ in TRAINING_ROWS]
    return Data.of(files, [*TRAINING_ROWS] * len(numbers), places)


def _places(work: Path, group: Group, data: str | None) -> Data:
    """Make and read the samples of a group of places."""
    names = [each.name for each in places_of(group)]
    files = [make_scored(work, each, data) for each in names]
    paths = [each[row] for row in ROWS for each in files]
    return Data.of(paths, np.repeat(ROWS, len(names)).tolist(), names * len(ROWS))


# Methods.


def applied(network: RefinementNetwork, data: Data) -> Method:
    """Apply a network to samples."""
    pairs = [estimate_correction(network, each) for each in data.inputs]
    return Method([one for one, _ in pairs], [two for _, two in pairs])


def left_out(networks: Sequence[RefinementNetwork], data: Data) -> Method:
    """Apply to each place the network that knows nothing of it."""
    own = dict(zip(LEFT_OUT, networks, strict=True))
    pairs = [
        estimate_correction(own[place], each)
        for place, each in zip(data.places, data.inputs, strict=True)
    ]
    return Method([one for one, _ in pairs], [two for _, two in pairs])


def mean_of(
    networks: Sequence[RefinementNetwork],
    calibration: Sequence[Mapping[str, float]] = (),
    training_range: Mapping[str, Sequence[float]] | None = None,
) -> RefinementNetwork:
    """Return one network that is the mean of several, with weights as they are shipped."""
    first = networks[0]
    both = RefinementNetwork(
        members=len(networks),
        options=first.options,
        calibration=calibration,
        training_range=training_range,
    )
    for member, each in zip(both.members, networks, strict=True):
        # Files of half the size; errors of 0.05 % of a weight.
        member.load_state_dict(
            {
                name: value.half() if value.is_floating_point() else value
                for name, value in each.members[0].state_dict().items()
            }
        )
    return both.eval()


# Figures.


def figures_of(
    group: str,
    data: Data,
    method: Method,
    factors: dict[str, float],
    scales: dict[str, float],
    singles: Sequence[Method] = (),
) -> dict[str, float]:
    """Collect the figures of a group of places, where single networks apply also their range."""
    figures: dict[str, float] = {}
    before, after = (f"terrain.network.{group}.{name}" for name in ("refinement", "network"))
    cuts, *of_singles = (cuts_of(data, each, factors) for each in (method, *singles))
    refinement = Method([np.zeros_like(each) for each in data.targets])
    nothing = dict.fromkeys(TRAINING_ROWS, 0.0)
    for row in dict.fromkeys(data.rows):
        numbers = data.of_row(row)
        medians = [median(each[row]) for each in of_singles]
        if medians:
            figures[f"{after}.{row}.range_over_networks"] = max(medians) - min(medians)
        figures[f"{after}.{row}.cut_vs_refinement"] = median(cuts[row])
        figures[f"{after}.{row}.cut_vs_refinement.min"] = min(cuts[row])
        wide = EIGHTY * scales[row_of_training(row)]
        figures[f"{before}.{row}.coverage_80"] = fmean(
            held(data, refinement, nothing, EIGHTY, k) for k in numbers
        )
        figures[f"{after}.{row}.coverage_80"] = fmean(
            held(data, method, factors, wide, k) for k in numbers
        )
    return figures


def helps(group: str, figures: dict[str, float]) -> bool:
    """Decide by the rule."""
    key = f"terrain.network.{group}.network"
    gains = all(
        figures[f"{key}.{row}.cut_vs_refinement"]
        > figures.get(f"{key}.{row}.range_over_networks", 0.0)
        for row in TRAINING_ROWS
    )
    return gains and all(
        figures[f"{key}.{row}.cut_vs_refinement.min"] >= -MOST_HARM for row in ROWS
    )


# What is shipped.


WEIGHTS = ROOMS / "terrain" / "refinement_weights"
LARGEST = 5_000_000
"""Bytes of the shipped network."""
LOOK_DIRECTION = 25.0
"""Degrees off the rows of the grid: 11 at the places for training, 24 at the northernmost one that
is scored."""
LIMITS = (
    (
        "Trained on simulated images alone: point scatterers on ground in patches of one to six "
        "kinds; no moisture, snow, wind, woods or towns. On real images its gain is not known."
    ),
    (
        "Trained for heights of 20 to 90 m from coarse DEMs of three times their posting. It is "
        "not used at other postings, nor with more than one image for each direction."
    ),
    (
        "It does not see known elevations: a coarse DEM is aligned to them before, and what is "
        "left of their differences is kriged after it."
    ),
    (
        "Its gain is small with one image, and largest where the coarse DEM errs more than stated. "
        "It rests on the shapes of real relief within coarse cells: where that is noise it gains "
        "next to nothing."
    ),
)


def ship(
    networks: Sequence[RefinementNetwork],
    validation: Data,
    factors: dict[str, float],
    scales: dict[str, float],
    flags: str,
) -> None:
    """Write the mean of networks into the library, with its card."""
    calibrated = [
        {
            "images": 1 if row == "refine_1" else 2,
            "looks": round(validation.looks[validation.of_row(row)[0]], 2),
            "share": round(factors[row], 4),
            "scale": round(scales[row], 4),
        }
        for row in TRAINING_ROWS
    ]
    stated = {
        "posting": POSTINGS,
        "cells": (COARSER.factor, COARSER.factor),
        "stated_error": STATED_RANGE,
        "incidence": INCIDENCES,
        "look_direction": (0.0, LOOK_DIRECTION),
    }
    network = mean_of(networks, calibration=calibrated, training_range=stated)
    card = {
        "name": "The error that refinement leaves, from what it says of one or two radar images",
        "licence": "Apache-2.0",
        "data": {
            "elevations": {each.name: each.dem for each in places_of("development")},
            "licence": "SRTM (public domain), Copernicus GLO-30",
            "images": "simulated, expected images of point scatterers with the speckle of 1 or 30 "
            "dates, one to six kinds of ground with angular laws of their own",
            "coarse DEMs": "60 to 270 m, errors of 0 to 15 m of several correlation lengths, "
            "offsets, tilts, shifts up to a third of a cell, voids; as they are, or aligned "
            "to 8 to 256 known elevations or to altimeter tracks",
            "split": "validation by DEMs left out; no DEM of the scored places",
        },
        "training": {
            "command": f"python -m benchmarks.refinement_network {flags}",
            "machine": machine(),
        },
        "figures": "terrain.network.validation.*, terrain.network.scored.*",
        "training_range": network.training_range,
        "limits": list(LIMITS),
    }
    target = network.half().save_pretrained(WEIGHTS, card=card, overwrite=True)
    size = sum(path.stat().st_size for path in target.iterdir())
    if size > LARGEST:
        msg = f"found {size} bytes, expected {LARGEST} at most: take a narrower network"
        raise ValueError(msg)
    print(f"{target}: {size / 1e6:.1f} MB")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options("refinement_network", __doc__)
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("build/refinement_network"),
        help="what is there is not done again; several processes may share it",
    )
    parser.add_argument("--crops", type=int, default=CROPS, help="of 30 m")
    parser.add_argument("--wider", type=int, default=WIDER_CROPS, help="crops, wider conditions")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--score", action="store_true", help="score the scored places, too: once")
    parser.add_argument("--ship", action="store_true", help="write the network into the library")
    chosen = parser.parse_args(arguments)
    if not (0 <= chosen.crops <= 900 and 0 <= chosen.wider <= 9000):
        parser.error(
            f"found --crops {chosen.crops} and --wider {chosen.wider}, expected 0 to 900 and 0 to "
            "9000"
        )
    if chosen.crops + chosen.wider < 2 * len(LEFT_OUT):
        parser.error(
            f"found {chosen.crops + chosen.wider} crops, expected {2 * len(LEFT_OUT)} at least: "
            "some in each DEM"
        )
    return chosen


def _networks(
    chosen: argparse.Namespace, training: Data, validation: Data
) -> list[RefinementNetwork]:
    """Train networks, those that no other process trains."""
    networks = []
    for seed, place in enumerate(LEFT_OUT):
        # A training of another length, or on other ground, is another one.
        name = f"without_{place}_{chosen.crops}_{chosen.wider}_{chosen.steps}"
        with claimed(chosen.work / name) as free:
            if free:
                ground = training.where(other_than=place), validation.where(place=place)
                networks.append(train(*ground, chosen.work / name, seed, chosen.steps))
    return networks


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the ground, train, choose at the validation places, and score."""
    chosen = _parsed(arguments)
    chosen.work.mkdir(parents=True, exist_ok=True)
    training = _training(chosen.work, crops_of(chosen.crops, chosen.wider), chosen.data)
    validation = _places(chosen.work, "development", chosen.data)
    networks = _networks(chosen, training, validation)
    if len(networks) < len(LEFT_OUT):
        print("other processes train the rest: run this again when they have ended")
        return
    method = left_out(networks, validation)
    factors = shrinkage(validation, method)
    scales = calibration(validation, method, factors)
    figures = figures_of("validation", validation, method, factors, scales)
    worth = helps("validation", figures)
    console = Console()
    console.print({"shrinkage": factors, "scale": scales})
    console.print(f"helps at the validation places: {worth}")
    if chosen.score:
        scored = _places(chosen.work, "scored", chosen.data)
        singles = [applied(each, scored) for each in networks]
        mean = applied(mean_of(networks), scored)
        some = figures_of("scored", scored, mean, factors, scales, singles)
        console.print(f"helps at the scored places: {helps('scored', some)}")
        figures |= some
    flags = f"--crops {chosen.crops} --wider {chosen.wider} --steps {chosen.steps}"
    score = " --score" if chosen.score else ""
    tell(figures, f"refinement_network {flags}{score}", save=chosen.save)
    if chosen.ship:
        if not worth:
            msg = "the network does not help at the validation places: by the rule none is shipped"
            raise ValueError(msg)
        ship(networks, validation, factors, scales, flags)


if __name__ == "__main__":
    main()
