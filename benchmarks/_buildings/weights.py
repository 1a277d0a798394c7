"""Put the network that `benchmarks.buildings` found best into the library, with its card.

Of the trainings of ours the one with the lowest validation RMSE is taken; the errors in the test
cities are told on the card, and choose nothing. Weights are kept in half precision: that changes
heights by millimetres.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks._figures import machine
from sarheight.buildings import BuildingHeightEstimator
from sarheight.learning import packaged_model

__all__ = ["main"]

NAME = "buildings"
LARGEST = 5_000_000
"""Bytes that a trained network may add to the library."""
LIMITS = (
    (
        "Trained on simulated cities alone: upright boxes with flat or pitched roofs on level "
        "ground, four styles of building, 3 to 300 m. Heights in a real city are a guess."
    ),
    (
        "Trained on monthly means of sigma0 that are geocoded on the ground, at 29 to 46 degrees "
        "of incidence, and on surface reflectance with clouds left out."
    ),
    "Trained at latitudes from 50 degrees south to 60 north.",
    (
        "The intervals are calibrated on simulated cities. Where the layer novelty is above 1, the "
        "images are unlike those of training, and intervals are widened by a rule that was not "
        "tested on real cities."
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy the best network into the library."""
    parser = argparse.ArgumentParser("python -m benchmarks._buildings.weights", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/buildings"))
    chosen = parser.parse_args(arguments)
    found = {}
    for written in chosen.work.glob("ours_*/figures.json"):
        described = json.loads((written.parent / "model" / "config.json").read_text("utf-8"))
        found[written.parent] = float(described["card"]["training"]["validation_rmse"])
    if not found:
        parser.error(f"found no training in {chosen.work}: run python -m benchmarks.buildings")
    best = min(found, key=lambda folder: found[folder])
    described = json.loads((best / "model" / "config.json").read_text("utf-8"))
    settings = json.loads((best / "settings.json").read_text("utf-8"))
    figures = json.loads((best / "figures.json").read_text("utf-8"))
    card = {
        "name": "Building heights from a year of radar and optical images",
        "licence": "Apache-2.0",
        "data": {
            "images": "simulated by tests.worlds.city_images.simulated_city",
            "split": "by cities; figures are of cities that were never seen",
        },
        "training": {**described["card"]["training"], "machine": machine(), "settings": settings},
        "figures": figures,
        "limits": list(LIMITS),
    }
    estimator = BuildingHeightEstimator.from_pretrained(best / "model").half()
    target = estimator.save_pretrained(packaged_model(NAME), card=card, overwrite=True)
    size = sum(path.stat().st_size for path in target.iterdir())
    if size > LARGEST:
        parser.error(f"found {size} bytes, expected {LARGEST} at most: take a narrower network")
    print(f"{target}: {size / 1e6:.1f} MB, from {best.name}")


if __name__ == "__main__":
    main()
