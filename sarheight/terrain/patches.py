"""Patches of training scenes with known elevations, and the channels of their images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight.dem import local_posting
from sarheight.learning.channels import Channel, ChannelStatistics, require_power
from sarheight.learning.split import Part, window_starts
from sarheight.terrain.rasters import distance_transform

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float32]

NO_CATEGORY = 255
MIN_TRUTH = 0.5
"""Smallest fraction of a patch's cells with a true height."""


@dataclass(frozen=True, eq=False)
class _SceneArrays:
    """Arrays of a scene in which the radar looks along the columns."""

    image: Floats  # (channels, rows, columns)
    height: Floats
    coarse: Floats
    mask: NDArray[np.uint8]
    known: Floats | None  # heights among which known elevations are drawn; None for all true ones
    posting: tuple[float, float]


class TerrainPatches:
    """Patches for learning terrain heights; a map-style dataset for `torch.utils.data.DataLoader`.

    A sample is a dictionary of float32 arrays, shape (channels, size, size):

    ``image``
        The channels in their units, NaN where there is no value.
    ``known``, ``distance``
        Known elevations in metres, NaN elsewhere; metres to the nearest of them. Drawn among the
        scene's ``known_height``, or among its true heights where it has none.
    ``coarse``
        The coarse DEM.
    ``truth``
        True heights.
    ``mask``
        uint8 categories of layover and shadow by the true heights, or else by the coarse DEM; 255
        if the scene has none.

    Foreshortening and layover depend on the look direction. Patches of scenes in which the radar
    looks westwards are therefore mirrored, so that it looks along the columns in every sample, and
    augmentation mirrors patches along azimuth only, from row to row.

    Parameters
    ----------
    scenes : sequence of xarray.Dataset
        As `sarheight.terrain.simulate_scene` returns them.
    channels : sequence of str
        Variables of the image; each polarisation of a variable is a channel.
    within : sequence of Part, optional
        The part of each scene from which patches are taken; all of it by default.
    size, stride : int
        Cells along a side of a patch, and from one to the next; `stride` is `size` by default.
    known_count : tuple of int
        Smallest and largest number of known elevations in a patch, drawn log-uniformly; equal for
        a fixed number.
    known_sigma : float
        Standard deviation of the known elevations' errors in metres.
    augment : bool
        Whether patches are mirrored along azimuth at random.
    seed : int
        Of the known elevations and mirrors. A sample depends only on `seed`, the epoch (see
        `set_epoch`) and its index.

    Raises
    ------
    ValueError
        If scenes and parts do not pair, a part extends beyond its scene, a number is out of its
        range, a scene lacks a variable, or there is no patch, or no known elevation in a scene that
        holds some.
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
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        step = size if stride is None else stride
        low, high = known_count
        if size < 2 or step < 1 or not 0 <= low <= high <= size * size or not known_sigma >= 0.0:
            msg = (
                f"found size={size}, stride={step}, known_count={known_count}, "
                f"known_sigma={known_sigma:g}; expected a size of 2 at least, a stride of 1 at "
                "least, two increasing or equal numbers of cells, and a sigma from 0"
            )
            raise ValueError(msg)
        parts = [Part.whole(scene) for scene in scenes] if within is None else list(within)
        if len(parts) != len(scenes):
            msg = f"found {len(parts)} parts for {len(scenes)} scenes, expected one for each"
            raise ValueError(msg)
        self.size, self.known_count, self.known_sigma = size, known_count, known_sigma
        self.augment, self.seed, self.epoch = augment, seed, 0
        self.sources = [
            _scene_arrays(part.of(scene), channels)
            for scene, part in zip(scenes, parts, strict=True)
        ]
        empty = [
            number
            for number, source in enumerate(self.sources)
            if source.known is not None and not np.isfinite(source.known).any()
        ]
        if low > 0 and empty:
            msg = (
                f"found no known elevation in the parts of the scenes {empty}, expected {low} for "
                "each patch: take other parts, or scenes without known_height"
            )
            raise ValueError(msg)
        self.windows = [
            (number, row, column)
            for number, source in enumerate(self.sources)
            for row in window_starts((0, source.height.shape[0]), size, step)
            for column in window_starts((0, source.height.shape[1]), size, step)
            if np.isfinite(source.height[row : row + size, column : column + size]).mean()
            >= MIN_TRUTH
        ]
        if not self.windows:
            shapes = [source.height.shape for source in self.sources]
            msg = (
                f"found no patch of {size} x {size} cells with true heights in scenes of {shapes} "
                "cells, expected one at least: choose smaller patches or larger parts"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.windows)

    def set_epoch(self, epoch: int) -> None:
        """Select the random numbers of an epoch: known elevations and mirrors."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a sample."""
        index = range(len(self))[index]
        number, row, column = self.windows[index]
        source = self.sources[number]
        random = np.random.default_rng([self.seed, self.epoch, index])
        window = np.s_[..., row : row + self.size, column : column + self.size]
        truth = source.height[window]
        sample: dict[str, NDArray[Any]] = {
            "image": source.image[window],
            **self._draw_known(
                truth if source.known is None else source.known[window], source.posting, random
            ),
            "coarse": source.coarse[window][None],
            "truth": truth[None],
            "mask": source.mask[window][None],
        }
        mirrored = self.augment and random.random() < 0.5
        return {
            name: np.ascontiguousarray(values[:, ::-1] if mirrored else values)
            for name, values in sample.items()
        }

    def _draw_known(
        self, heights: Floats, posting: tuple[float, float], random: np.random.Generator
    ) -> dict[str, Floats]:
        """Draw known elevations: their raster, and the distances to them."""
        low, high = self.known_count
        count = low
        if high > low:
            count = int(np.exp(random.uniform(np.log(max(low, 1)), np.log(high + 1))))
        valid = np.flatnonzero(np.isfinite(heights))
        cells = random.choice(valid, min(count, valid.size), replace=False)
        known = np.full(heights.shape, np.nan, dtype=np.float32)
        errors = self.known_sigma * random.standard_normal(cells.size)
        known.ravel()[cells] = heights.ravel()[cells] + errors
        return {
            "known": known[None],
            "distance": distance_transform(np.isfinite(known), posting)[None],
        }


def _scene_arrays(scene: xr.Dataset, channels: Sequence[str]) -> _SceneArrays:
    """Extract the arrays of a scene, mirrored if the radar looks against the columns."""
    missing = [name for name in (*channels, "height", "coarse_height") if name not in scene]
    if missing:
        msg = f"found no {', '.join(missing)} in a scene that has {', '.join(map(str, scene))}"
        raise ValueError(msg)
    height = scene["height"].values
    masks = [scene[name].values for name in ("true_mask", "mask") if name in scene]
    mask = masks[0] if masks else np.full(height.shape, NO_CATEGORY)
    order = (..., slice(None), columns_along_range(scene))

    def ordered(values: NDArray[Any], dtype: type) -> NDArray[Any]:
        return np.ascontiguousarray(values.astype(dtype)[order])

    return _SceneArrays(
        ordered(np.stack([each.values for each in image_layers(scene, channels)]), np.float32),
        ordered(height, np.float32),
        ordered(scene["coarse_height"].values, np.float32),
        ordered(np.nan_to_num(mask, nan=NO_CATEGORY), np.uint8),
        ordered(scene["known_height"].values, np.float32) if "known_height" in scene else None,
        local_posting(scene["height"]),
    )


def columns_along_range(scene: xr.Dataset) -> slice:
    """Return the slice of all columns that orders them along the look direction."""
    if "look_azimuth" not in scene.attrs:
        msg = (
            "found no look_azimuth among the attributes of the scene, expected the direction from "
            "the radar to the ground in degrees from north, on which layover depends"
        )
        raise ValueError(msg)
    eastwards = np.sin(np.radians(float(scene.attrs["look_azimuth"]))) > 0.0
    increasing = scene["x"].values[-1] > scene["x"].values[0]
    return slice(None, None, 1 if eastwards == increasing else -1)


# Channels.

POWER = ("gamma0", "sigma0", "beta0")


def image_layers(scene: xr.Dataset, names: Iterable[str]) -> list[xr.DataArray]:
    """Return the layers of an image, dims (y, x), one for each polarisation of a variable."""
    found = []
    for name in names:
        variable = scene[name]
        if "polarisation" not in variable.dims:
            found.append(variable.transpose("y", "x"))
            continue
        for label in variable["polarisation"].values:
            layer = variable.sel(polarisation=label, drop=True).transpose("y", "x")
            found.append(layer.rename(f"{name}_{str(label).lower()}"))
    return found


def normalised_channels(scenes: Sequence[xr.Dataset], names: Sequence[str]) -> list[Channel]:
    """Return the channels of the image, with statistics over training scenes."""
    statistics = ChannelStatistics([_channel(each) for each in image_layers(scenes[0], names)])
    for scene in scenes:
        for layer in image_layers(scene, names):
            channel = _channel(layer)
            if channel.transform == "decibel":
                require_power(channel.name, layer.values)
            statistics.update({channel.name: layer.values})
    return statistics.channels()


def _channel(layer: xr.DataArray) -> Channel:
    """Describe a layer of an image before it is normalised."""
    name = str(layer.name)
    power = name.startswith(POWER) and "variance" not in name
    return Channel(name, str(layer.attrs.get("units", "1")), "decibel" if power else "none")
