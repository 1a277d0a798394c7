"""Put the network that `benchmarks.terrain` found best into the library, with its card.

Of the trainings of ours the one with the lowest validation RMSE is taken; the errors on the test
bands are told on the card, and choose nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._figures import machine
from benchmarks._terrain.places import REGIONS
from benchmarks._terrain.rows import USUAL, settings_of
from sarheight.learning import packaged_model
from sarheight.terrain import HeightEstimator

__all__ = ["main"]

ROW, NAME = "ours", "terrain"
LARGEST = 5_000_000
"""Bytes that a trained network may add to the library."""
LIMITS = (
    (
        "Trained on simulated images alone: one law of backscatter, patchy ground, 4.4 looks of "
        "speckle; no moisture, snow, wind, towns or woods."
    ),
    (
        "Trained at 24 to 34 m posting under 32 to 34 degrees of incidence, at middle latitudes, "
        "with a coarse model of three times the posting whose heights err by 4 m."
    ),
    (
        "Hangs on the coarse model: where that is wrong by more than some tens of metres, or by "
        "a whole landform, the network will not know."
    ),
    "The intervals are calibrated on the places of validation, not on real images.",
)


def _card(errors: dict[str, Any], seed: int, validation: float) -> dict[str, Any]:
    by_region = errors[ROW]
    return {
        "name": "Terrain heights from a reconstructed radar image and a coarse elevation model",
        "licence": "Apache-2.0",
        "data": {
            "elevations": {name: Path(place.dem).name for name, place in REGIONS.items()},
            "licence": "SRTM 1 arc second (public domain), Copernicus GLO-30",
            "orbits": "annotations of Sentinel-1, Copernicus Sentinel data 2021 to 2023",
            "images": "simulated by sarheight.terrain.simulate_scene",
            "split": "by bands across each region; figures are of bands that were never seen",
        },
        "training": {"seed": seed, "validation_rmse_m": validation, "machine": machine()},
        "figures": {
            region: {
                "rmse_m": by_region[region][str(USUAL)]["rmse"]["all"],
                "rmse_layover_m": by_region[region][str(USUAL)]["rmse"]["layover"],
                "coverage": by_region[region][str(USUAL)]["coverage"],
            }
            for region in by_region
        },
        "limits": list(LIMITS),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy the best network into the library."""
    parser = argparse.ArgumentParser("python -m benchmarks._terrain.weights", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/terrain"))
    chosen = parser.parse_args(arguments)
    folders = sorted((chosen.work / "runs").glob(f"{ROW}_[0-9]*"))
    found = {}
    for folder in folders:
        described = json.loads((folder / "model" / "config.json").read_text("utf-8"))
        found[folder] = float(described["card"]["training"]["validation_rmse"])
    if not found:
        parser.error(f"found no training in {chosen.work}: run python -m benchmarks.terrain")
    best = min(found, key=lambda folder: found[folder])
    seed = int(best.name.rsplit("_", 1)[1])
    errors = json.loads((best / "errors.json").read_text("utf-8"))
    card = _card(errors, seed, found[best])
    card["settings"] = {"epochs": settings_of(ROW, seed).epochs}
    target = HeightEstimator.from_pretrained(best / "model").save_pretrained(
        packaged_model(NAME), card=card, overwrite=True
    )
    size = sum(path.stat().st_size for path in target.iterdir())
    if size > LARGEST:
        parser.error(f"found {size} bytes, expected {LARGEST} at most: take a narrower network")
    print(f"{target}: {size / 1e6:.1f} MB, seed {seed}")


if __name__ == "__main__":
    main()
