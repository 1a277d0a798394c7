"""How well is a shift of the image found? On scenes that had no part in choosing settings.

Images of real mountains with patchy ground, speckle and noise are displaced by a random shift of up
to 50 metres either way, which is to be found with the fine DEM, and with the coarse one that has a
height error. A DEM that is turned upside down shows whether a shift is found where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks._mountains.scenes import Site, coarse_dem, simulated
from sarheight.coregistration import estimate_shift
from sarheight.scene import ground_sample_spacing

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._figures import Value
    from sarheight.scene import Scene

__all__ = ["NAMES", "Outcome", "figures", "measure"]

NAMES = ("big_tujunga_32", "leh_32", "arco_32")
SHIFTS = 4
FARTHEST = 50.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a scene and a DEM."""

    errors: NDArray[np.float64]  # Shape (shifts, 2): along and across, metres on the ground
    stated: NDArray[np.float64]  # Standard errors that were stated
    false: int  # How often a shift was found with a DEM of another place


def displaced(scene: Scene, line: float, sample: float) -> Scene:
    """Displace the timing of a scene, so that its image lies so many pixels further on."""
    return replace(scene, grid=scene.grid.shift(-line, -sample))


def play(scene: Scene, dem: xr.DataArray, random: np.random.Generator) -> Outcome:
    """Displace an image, and look for the shift."""
    metres = np.array(
        [scene.grid.line_spacing(scene.orbit), ground_sample_spacing(scene.grid, scene.orbit)]
    )
    errors, stated, false = [], [], 0
    elsewhere = dem.copy(data=np.ascontiguousarray(dem.values[::-1]))
    for _ in range(SHIFTS):
        true = random.uniform(-FARTHEST, FARTHEST, 2)
        image = displaced(scene, *(true / metres).tolist())
        shift = estimate_shift(image, dem)
        if shift.found:
            errors.append(np.array([shift.along_track, shift.across_track]) - true)
            stated.append([shift.along_track_error, shift.across_track_error])
        false += estimate_shift(image, elsewhere).found
    return Outcome(np.reshape(errors, (-1, 2)), np.reshape(stated, (-1, 2)), false)


def measure(site: Site) -> dict[str, Outcome]:
    """Measure a scene with the fine and the coarse DEM."""
    random = np.random.default_rng(0)
    scene, coarse = simulated(site, random), coarse_dem(site, random)
    return {"fine": play(scene, site.dem, random), "coarse": play(scene, coarse, random)}


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def figures(outcomes: dict[str, dict[str, Outcome]]) -> dict[str, Value]:
    """Sum up over the scenes."""
    found: dict[str, Value] = {}
    for dem in ("fine", "coarse"):
        seen = [outcome[dem] for outcome in outcomes.values()]
        errors = np.concatenate([each.errors for each in seen])
        stated = np.concatenate([each.stated for each in seen])
        key = f"accuracy.coregistration.{dem}"
        found[f"{key}.along"] = _rms(errors[:, 0])
        found[f"{key}.across"] = _rms(errors[:, 1])
        found[f"{key}.worst"] = float(np.abs(errors).max())
        found[f"{key}.error_over_stated"] = _rms(errors / stated)
        found[f"{key}.found"] = len(errors) / (SHIFTS * len(seen))
        found[f"{key}.found_in_another_place"] = float(
            np.mean([each.false / SHIFTS for each in seen])
        )
    return found
