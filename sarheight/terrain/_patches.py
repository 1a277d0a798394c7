"""Patches of scenes with a few known elevations, as a network is fed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sarheight.dem import local_posting
from sarheight.learning.split import Part, window_starts
from sarheight.terrain._interpolation import Interpolation, fit_surface

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float32]

NO_CATEGORY = 255.0
LEAST_KNOWN = 0.5
"""A patch must have a true height in this share of its cells."""


@dataclass(frozen=True, eq=False)
class _Source:
    """A scene's arrays, turned so that the radar looks towards rising columns."""

    image: Floats
    heights: Floats
    coarse: Floats
    mask: NDArray[np.uint8]
    posting: tuple[float, float]


class TerrainPatches:
    """Patches for learning heights; a map-style dataset for `torch.utils.data.DataLoader`.

    Every sample is a dictionary of float32 arrays, shape (channels, size, size):

    ``image``
        The channels, in their own units, NaN where there is no value.
    ``known``, ``distance``
        Elevations that are known, in metres, NaN elsewhere; metres to the nearest of them.
    ``interpolated``
        The surface interpolated between them; NaN everywhere where none is known.
    ``coarse``
        The coarse elevation model.
    ``truth``
        True heights.
    ``mask``
        uint8 categories of layover and shadow by the true heights, or else by the coarse ones; 255
        where the scene has none.

    The look side is physics and stays: patches of scenes in which the radar looks westwards are
    mirrored, so that in every sample it looks towards rising columns, and augmentation only
    mirrors along azimuth, from row to row.

    Parameters
    ----------
    scenes : sequence of xarray.Dataset
        As `sarheight.terrain.simulate_scene` makes them.
    channels : sequence of str
        Variables that make the image; of one with polarisations each is a channel.
    within : sequence of Part, optional
        The part of each scene from which patches come; all of it by default.
    size, stride : int
        Of the patches in cells, and from one to the next; `stride` is `size` by default.
    known_count : tuple of int
        Fewest and most elevations that are known in a patch, drawn log-uniformly; equal for a
        fixed number.
    known_sigma : float
        Standard deviation of the known elevations' errors in metres.
    method : str or None
        How the surface is interpolated, see `sarheight.terrain.interpolate_elevations`. None
        leaves it out of the samples, which are then made three times as fast.
    augment : bool
        Whether patches are mirrored along azimuth at random.
    seed : int
        Of the known elevations and mirrors. Each sample depends only on `seed`, the epoch (see
        `set_epoch`) and its number.

    Raises
    ------
    ValueError
        If scenes and parts do not pair, a part reaches beyond its scene, a number makes no sense, a
        scene lacks a variable, or there is no patch.
    """

    def __init__(
        self,
        scenes: Sequence[xr.Dataset],
        channels: Sequence[str],
        *,
        within: Sequence[Part] | None = None,
        size: int = 128,
        stride: int | None = None,
        known_count: tuple[int, int] = (16, 16),
        known_sigma: float = 0.0,
        method: Interpolation | None = "thin_plate",
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        step = size if stride is None else stride
        low, high = known_count
        if size < 2 or step < 1 or not 0 <= low <= high <= size * size or not known_sigma >= 0.0:
            msg = (
                f"found size={size}, stride={step}, known_count={known_count}, "
                f"known_sigma={known_sigma:g}; expected a "
                "size of 2 at least, a stride of 1 at least, and two numbers of known cells that "
                "do not fall"
            )
            raise ValueError(msg)
        regions = [Part.whole(scene) for scene in scenes] if within is None else list(within)
        if len(regions) != len(scenes):
            msg = f"found {len(regions)} parts for {len(scenes)} scenes, expected one for each"
            raise ValueError(msg)
        self.size, self.known_count, self.known_sigma = size, known_count, known_sigma
        self.method, self.augment, self.seed, self.epoch = method, augment, seed, 0
        self.sources: list[_Source] = [
            _source(part.of(scene), channels) for scene, part in zip(scenes, regions, strict=True)
        ]
        self.windows = [
            (index, row, column)
            for index, source in enumerate(self.sources)
            for row in window_starts((0, source.heights.shape[0]), size, step)
            for column in window_starts((0, source.heights.shape[1]), size, step)
            if _share_known(source.heights[row : row + size, column : column + size]) >= LEAST_KNOWN
        ]
        if not self.windows:
            shapes = [source.heights.shape for source in self.sources]
            msg = (
                f"found no patch of {size} x {size} cells with true heights in scenes of {shapes} "
                "cells, expected one at least: take smaller patches or larger parts"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.windows)

    def set_epoch(self, epoch: int) -> None:
        """Draw other elevations and mirrors than in other epochs."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a sample."""
        number = range(len(self))[index]
        source_index, row, column = self.windows[number]
        source = self.sources[source_index]
        random = np.random.default_rng([self.seed, self.epoch, number])
        rows, columns = slice(row, row + self.size), slice(column, column + self.size)
        truth = source.heights[rows, columns]
        sample: dict[str, NDArray[Any]] = {
            "image": source.image[:, rows, columns],
            **self._known(truth, source.posting, random),
            "coarse": source.coarse[None, rows, columns],
            "truth": truth[None],
            "mask": source.mask[None, rows, columns],
        }
        mirrored = self.augment and random.random() < 0.5
        return {
            name: np.ascontiguousarray(values[:, ::-1] if mirrored else values)
            for name, values in sample.items()
        }

    def _known(
        self, truth: Floats, posting: tuple[float, float], random: np.random.Generator
    ) -> dict[str, Floats]:
        """Draw known elevations: their raster, the distances, and the surface between them."""
        low, high = self.known_count
        count = low
        if high > low:
            count = int(np.exp(random.uniform(np.log(max(low, 1)), np.log(high + 1))))
        cells = np.flatnonzero(np.isfinite(truth))
        chosen = random.choice(cells, min(count, cells.size), replace=False)
        place = np.stack(np.unravel_index(chosen, truth.shape), axis=-1)
        heights = truth.ravel()[chosen] + self.known_sigma * random.standard_normal(chosen.size)
        height = np.full(truth.shape, np.nan, dtype=np.float32)
        height[place[:, 0], place[:, 1]] = heights
        distance = np.full_like(height, np.inf)
        if chosen.size:
            found = distance_transform_edt(~np.isfinite(height), sampling=posting)
            distance = np.asarray(found, dtype=np.float32)
        known = {"known": height[None], "distance": distance[None]}
        if self.method is not None:
            known["interpolated"] = self._surface(place, heights, posting)[None]
        return known

    def _surface(
        self, place: NDArray[np.int64], heights: NDArray[Any], posting: tuple[float, float]
    ) -> Floats:
        """Interpolate between the known elevations of a patch; NaN where there are none."""
        shape = self.size, self.size
        if self.method is None or not heights.size:
            return np.full(shape, np.nan, dtype=np.float32)
        surface, _ = fit_surface(
            place * np.array(posting),
            heights.astype(np.float64),
            np.full(heights.size, self.known_sigma),
            self.method,
        )
        wanted = np.argwhere(np.ones(shape, dtype=bool)) * np.array(posting)
        return surface(wanted).reshape(shape).astype(np.float32)


def _share_known(heights: Floats) -> float:
    return float(np.isfinite(heights).mean())


def _source(scene: xr.Dataset, channels: Sequence[str]) -> _Source:
    """Take the arrays of a scene, turned to the common look direction."""
    missing = [name for name in (*channels, "height", "coarse_height") if name not in scene]
    if missing:
        msg = f"found no {', '.join(missing)} in a scene that has {', '.join(map(str, scene))}"
        raise ValueError(msg)
    layers: list[NDArray[Any]] = []
    for name in channels:
        values = scene[name].transpose(..., "y", "x").values
        layers += [values] if values.ndim == 2 else list(values)
    heights = scene["height"].values
    masks = [scene[name].values for name in ("true_mask", "mask") if name in scene]
    mask = masks[0] if masks else np.full(heights.shape, NO_CATEGORY)
    turn = (..., slice(None), columns_along_range(scene))
    return _Source(
        np.ascontiguousarray(np.stack(layers).astype(np.float32)[turn]),
        np.ascontiguousarray(heights.astype(np.float32)[turn]),
        np.ascontiguousarray(scene["coarse_height"].values.astype(np.float32)[turn]),
        np.ascontiguousarray(np.nan_to_num(mask, nan=NO_CATEGORY).astype(np.uint8)[turn]),
        local_posting(scene["height"]),
    )


def columns_along_range(scene: xr.Dataset) -> slice:
    """Return the slice of columns that turns a scene so that the radar looks towards rising ones.

    Parameters
    ----------
    scene : xarray.Dataset
        With the attribute ``look_azimuth`` in degrees.

    Raises
    ------
    ValueError
        If the scene does not say where the radar looks.
    """
    if "look_azimuth" not in scene.attrs:
        msg = (
            "found no look_azimuth among the attributes of the scene, expected the direction from "
            "the radar to the ground in degrees from north: a network must know from where it looks"
        )
        raise ValueError(msg)
    east = np.sin(np.radians(float(scene.attrs["look_azimuth"]))) > 0.0
    rising = scene["x"].values[-1] > scene["x"].values[0]
    return slice(None, None, 1 if east == rising else -1)
