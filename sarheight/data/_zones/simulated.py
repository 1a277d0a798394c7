"""A simulated data set in the form of So2Sat LCZ42: 17 zones, in regions that differ.

What it is for: to try out networks and protocols on files of the real form, where what is asked for
is known: classes differ in pattern, height and material, single-look radar images in power and
correlation, and regions in how they are built, lit, grown over and calibrated. It is no stand-in
for the real data, and no figure of it says how well a network does on those.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight._climate_zones import CLIMATE_ZONES
from sarheight._extras import require
from sarheight.data._zones.images import backscatter, complex_speckle, reflectances
from sarheight.data._zones.regions import Region, draw_region
from sarheight.data._zones.surfaces import ZONES, draw_ground
from sarheight.output._atomic import staged

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["ZoneSceneSettings", "simulated_zone_patches", "write_simulated_so2sat"]

SIZE, POSTING = 32, 10.0
MARGIN = 6
"""Cells around a patch that filters reach into."""
FILES = {"training": "training.h5", "validation": "validation.h5", "test": "testing.h5"}


@dataclass(frozen=True, kw_only=True)
class ZoneSceneSettings:
    """How a simulated data set is made.

    Parameters
    ----------
    patches : dict
        Number of patches in "training", "validation" and "test".
    regions : dict
        Number of regions in each; none is in two of them.
    shift : float
        How far regions are from each other: 0 for all alike, 1 as it is meant.
    seed : int
        Of everything that is drawn.

    Raises
    ------
    ValueError
        If a number is missing or makes no sense.
    """

    patches: Mapping[str, int]
    regions: Mapping[str, int]
    shift: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        object.__setattr__(self, "patches", dict(self.patches))
        object.__setattr__(self, "regions", dict(self.regions))
        numbers = [*self.patches.values(), *self.regions.values()]
        named = set(self.patches) == set(FILES) == set(self.regions)
        if not named or min(numbers) < 1 or not self.shift >= 0.0:
            msg = (
                f"found patches={self.patches}, regions={self.regions}, shift={self.shift:g}; "
                f"expected numbers above 0 for {', '.join(FILES)}, and a shift from 0 on"
            )
            raise ValueError(msg)


SMALL = ZoneSceneSettings(
    patches={"training": 2400, "validation": 500, "test": 800},
    regions={"training": 10, "validation": 4, "test": 6},
)


def write_simulated_so2sat(
    folder: str | os.PathLike[str],
    settings: ZoneSceneSettings = SMALL,
    *,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write a simulated data set that reads like So2Sat LCZ42.

    The folder gets ``training.h5``, ``validation.h5`` and ``testing.h5``, each with ``sen1``
    (n, 32, 32, 8), ``sen2`` (n, 32, 32, 10) and ``label`` (n, 17), one-hot; beside them ``region``
    (n,), the number of the region, which the real files do not have. Attributes say that it is
    simulated, and by what settings.

    Parameters
    ----------
    folder : path-like
        Where the files go; made if it is not there.
    settings : ZoneSceneSettings
        How many patches of how many regions, and how different they are.
    overwrite : bool
        Whether to replace files that are there. A file appears whole or not at all.

    Returns
    -------
    dict
        Paths by "training", "validation" and "test".

    Raises
    ------
    OutputError
        If a file is there already, or cannot be written.
    MissingLibraryError
        If h5py is not installed.
    """
    require("h5py", extra="learn")
    import h5py  # type: ignore[import-untyped]

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {role: folder / name for role, name in FILES.items()}
    first = 0
    for role, path in paths.items():
        count = settings.regions[role]
        found = simulated_zone_patches(
            settings.patches[role],
            range(first, first + count),
            shift=settings.shift,
            seed=settings.seed,
        )
        first += count
        with (
            staged(path, overwrite=overwrite, suffixes=(".h5",)) as draft,
            h5py.File(draft, "w") as file,
        ):
            for name, values in found.items():
                file.create_dataset(name, data=values)
            file.attrs["simulated"] = (
                "drawn by sarheight.data.write_simulated_so2sat; no satellite has seen this"
            )
            file.attrs["role"] = role
            file.attrs["settings"] = json.dumps(asdict(settings))
    return paths


def simulated_zone_patches(
    count: int, regions: range, *, shift: float = 1.0, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Draw labelled patches of some regions.

    Parameters
    ----------
    count : int
        Patches, dealt out to the regions in turn.
    regions : range
        Numbers of the regions: a region with the same number, shift and seed is always the same.
    shift : float
        How far regions are from each other.
    seed : int
        Of everything that is drawn.

    Returns
    -------
    dict
        ``sen1``, ``sen2``, ``label`` and ``region`` as `write_simulated_so2sat` writes them.
    """
    shape = (count, SIZE, SIZE)
    found: dict[str, NDArray[Any]] = {
        "sen1": np.empty((*shape, 8), dtype=np.float32),
        "sen2": np.empty((*shape, 10), dtype=np.float32),
        "label": np.zeros((count, len(CLIMATE_ZONES)), dtype=np.float32),
        "region": np.empty(count, dtype=np.int32),
    }
    for place, number in enumerate(regions):
        random = np.random.default_rng([seed, number])
        region = draw_region(random, len(ZONES), shift)
        chosen = np.arange(place, count, len(regions))
        labels = _dealt(region, chosen.size, random)
        found["region"][chosen] = number
        found["label"][chosen, labels] = 1.0
        found["sen1"][chosen], found["sen2"][chosen] = _patches(labels, region, random)
    return found


def _dealt(region: Region, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw the zones of a region's patches: each once as far as it goes, then by their shares."""
    once = random.permutation(len(ZONES))[:count]
    rest = random.choice(len(ZONES), count - once.size, p=region.classes)
    return random.permutation(np.concatenate([once, rest]))


def _patches(
    labels: NDArray[np.int64], region: Region, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Picture patches of zones in radar and optical channels."""
    wide = SIZE + 2 * MARGIN
    inner = slice(MARGIN, -MARGIN)
    images = np.empty((2, labels.size, wide, wide), dtype=np.complex64)
    optical = np.empty((labels.size, SIZE, SIZE, 10), dtype=np.float32)
    for place, label in enumerate(labels):
        ground = draw_ground(ZONES[label], region, wide, POSTING, random)
        optical[place] = reflectances(ground, region, POSTING, random)[inner, inner]
        powers = backscatter(ground, region, POSTING, random)
        images[0, place], images[1, place] = complex_speckle(*powers, random)
    return _channels(images)[:, inner, inner], optical


def _channels(images: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Make So2Sat's radar channels of patches with margins, shape (n, rows, columns, 8).

    All patches are filtered as one tall image: no window reaches over a margin.
    """
    import xarray as xr

    from sarheight.polarimetry import polarimetric_channels

    count, wide = images.shape[1:3]
    vv, vh = (
        xr.DataArray(image.reshape(count * wide, wide), dims=("line", "sample")) for image in images
    )
    layers = polarimetric_channels(vv, vh)
    return np.stack([layer.values.reshape(count, wide, wide) for layer in layers.values()], -1)
