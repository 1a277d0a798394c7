"""The network on top of refinement: what it sees, its symmetries, and where it applies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor, nn

from sarheight.dem import local_posting
from sarheight.geometry import geo2rdr, incidence
from sarheight.learning.weights import Pretrained
from sarheight.terrain.posterior import RefinementSettings
from sarheight.terrain.sar2height import NETWORKS

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene

Floats = NDArray[np.float32]

CHANNELS = (
    "increment",
    "detail",
    "log_sigma",
    "log_looks",
    "log_posting",
    "filled",
    "row_in_coarse_cell",
    "column_in_coarse_cell",
    *(
        f"{name}_{side}"
        for side in ("increasing", "decreasing")
        for name in ("residual", "gamma0", "local_incidence", "seen")
    ),
)
"""Channels of the network: eight of the heights, four of the image whose radar looks towards
increasing columns, four of the one whose radar looks towards decreasing columns."""
HEIGHTS, PER_IMAGE = 8, 4
SURROUNDINGS = 8.0
"""Cells (standard deviation of a Gaussian) over which gamma0 is averaged, from which its
differences are taken: the level of the ground says nothing of its slope."""
WIDEST_SCALE = 3.0
"""Limit of the logarithm of the scale of errors."""
FADE = 2.0
"""Degrees of incidence over which a correction fades out beyond the range of training."""
REACH = 12.0
"""Cells beyond what an image sees in which a correction rests on it: shadows are smaller."""
RANGE_NAMES = ("posting", "cells", "stated_error", "incidence", "look_direction")
"""Quantities of which a network states the range of its training."""
SLACK = 1.1
"""Factor by which a quantity may lie outside the range of training."""
PRIORS = ("error_length", "level", "patch", "texture", "slope", "curvature", "misfit")
"""Settings of refinement that change what its residuals mean, of which training knew the defaults
only."""


class ImageLayers(NamedTuple):
    """What refinement says of one image, on the grid of the heights: shape (rows, columns)."""

    residual: Floats  # logarithm of the observed over the simulated image in dB; NaN if not seen
    gamma0: Floats  # estimated, in dB
    incidence: Floats  # local incidence angle on the refined heights, in degrees


def correction_channels(
    baseline: Floats,
    height: Floats,
    sigma: Floats,
    images: Sequence[ImageLayers | None],
    *,
    filled: NDArray[np.generic],
    looks: float,
    posting: float,
    factor: int,
) -> Floats:
    """Compute the channels of the network, float32 without NaN, shape (16, rows, columns).

    Heights are in standard deviations: ground with all heights doubled has the same channels,
    except for the one that holds the standard deviation itself. All arrays are of shape (rows,
    columns); the two images are that whose radar looks towards increasing columns and that whose
    radar looks towards decreasing columns, None where there is none. `factor` is the number of
    heights along a side of a coarse cell.
    """
    phase = [
        (np.arange(size) % factor - (factor - 1) / 2).astype(np.float32) for size in sigma.shape
    ]
    layers = [
        (height - baseline) / sigma,
        (height - gaussian_filter(height, 2.0 * factor)) / (10.0 * sigma),
        np.log(sigma / 4.0),
        np.full_like(sigma, np.log(looks / 4.0) / 3.0),
        # Relief within a cell, and what a pixel says of it, depend on the cell's size.
        np.full_like(sigma, np.log(posting / 30.0)),
        np.asarray(filled, dtype=np.float32),
        # Errors of the coarse DEM are steps between its cells, and relief sums to 0 within them.
        np.broadcast_to(phase[0][:, None], sigma.shape),
        np.broadcast_to(phase[1], sigma.shape),
    ]
    for image in images:
        if image is None:
            layers += PER_IMAGE * [np.zeros_like(sigma)]
            continue
        residual, gamma0, angle = image
        seen = np.isfinite(residual) & np.isfinite(gamma0)
        share = gaussian_filter(seen.astype(np.float32), SURROUNDINGS)
        mean = gaussian_filter(np.where(seen, gamma0, 0.0), SURROUNDINGS) / np.maximum(share, 1e-3)
        layers += [
            np.where(seen, residual / 3.0, 0.0),
            np.where(seen, (gamma0 - mean) / 3.0, 0.0),
            np.where(np.isfinite(angle), (angle - 40.0) / 15.0, 0.0),
            seen,
        ]
    return np.stack(layers).astype(np.float32)


def mirrored(inputs: Floats, *, rows: bool, columns: bool) -> Floats:
    """Mirror channels, shape (16, rows, columns), along rows, columns or both.

    The mirror image of an image whose radar looks towards increasing columns is one whose radar
    looks towards decreasing columns: along the columns, the two images change places.
    """
    if rows:
        inputs = inputs[:, ::-1].copy()
        inputs[CHANNELS.index("row_in_coarse_cell")] *= -1.0
    if columns:
        inputs = inputs[:, :, ::-1].copy()
        inputs[CHANNELS.index("column_in_coarse_cell")] *= -1.0
        one, two = inputs[HEIGHTS : HEIGHTS + PER_IMAGE], inputs[HEIGHTS + PER_IMAGE :]
        inputs = np.concatenate([inputs[:HEIGHTS], two, one])
    return inputs


def estimate_correction(network: RefinementNetwork, inputs: Floats) -> tuple[Floats, Floats]:
    """Apply a network to channels, shape (16, rows, columns).

    The mean over the four mirror images is taken, which does not depend on how the world is
    mirrored. Returns the correction in standard deviations of refinement, and the standard
    deviation after it over that before it, shape (rows, columns).
    """
    shape = inputs.shape[1:]
    missing = [(0, 0), *((0, -size % network.stride) for size in shape)]
    padded = np.pad(inputs, missing, mode="edge")
    total = np.zeros((2, *padded.shape[1:]), dtype=np.float32)
    network.eval()
    for rows, columns in product((False, True), repeat=2):
        turned = np.ascontiguousarray(mirrored(padded, rows=rows, columns=columns)[None])
        with torch.inference_mode():
            found = network(torch.from_numpy(turned))[0].numpy()
        total += found[:, :: -1 if rows else 1, :: -1 if columns else 1] / 4
    total = total[:, : shape[0], : shape[1]]
    return total[0], np.exp(np.clip(total[1], -WIDEST_SCALE, WIDEST_SCALE))


# The network as it is shipped.


class RefinementNetwork(Pretrained):
    """Networks that predict the error that `refine` leaves, and the share of it that is added.

    The mean of several networks of the same shape, which differ by the seed of their training. The
    share of the correction that is added, and the factor of the standard deviation, were found on
    ground that was not used for training.

    Parameters
    ----------
    network : {"ask_unet", "unet"}
        Architecture.
    members : int
        Number of networks.
    options : mapping, optional
        Arguments of each: `width` and `depth`, and for ASK-UNet `selective_levels`.
    calibration : sequence of mapping
        Each with the keys ``images`` (1 or 2), ``looks`` of an image, ``share`` of the correction
        that is added, from 0 to 1, and ``scale``, the factor of the standard deviation. Between
        them, both are interpolated in the logarithm of the looks.
    training_range : mapping, optional
        Smallest and largest value of what the network was trained with: ``posting`` in metres,
        ``cells`` (of the heights in a coarse cell, along an axis), ``stated_error`` (of the
        settings, in metres), ``incidence`` on the ellipsoid in degrees, ``look_direction``
        (degrees between the look direction and the rows of the grid).

    Raises
    ------
    ValueError
        If the architecture is unknown, or a number is out of its range.

    References
    ----------
    Lakshminarayanan, B., Pritzel, A. and Blundell, C. (2017). Simple and Scalable Predictive
    Uncertainty Estimation using Deep Ensembles. NeurIPS, arXiv:1612.01474.
    """

    kind: ClassVar[str] = "refined heights"

    def __init__(
        self,
        *,
        network: str = "ask_unet",
        members: int = 1,
        options: Mapping[str, Any] | None = None,
        calibration: Sequence[Mapping[str, float]] = (),
        training_range: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if members < 1 or network not in NETWORKS:
            msg = (
                f"found network={network!r} and members={members}, expected one of "
                f"{', '.join(NETWORKS)}, and 1 at least"
            )
            raise ValueError(msg)
        self.network_kind, self.options = network, dict(options or {})
        self.calibration = [_checked_anchor(each) for each in calibration]
        self.training_range = _checked_range(training_range or {})
        self.members = nn.ModuleList(
            NETWORKS[network](len(CHANNELS), 2, **self.options) for _ in range(members)
        )
        for member in self.members:
            # An untrained network corrects nothing.
            for value in member.head.parameters():  # type: ignore[union-attr]
                nn.init.zeros_(value)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor, in JSON's types."""
        return {
            "network": self.network_kind,
            "members": len(self.members),
            "options": self.options,
            "calibration": self.calibration,
            "training_range": self.training_range,
        }

    @property
    def stride(self) -> int:
        """Number of which rows and columns must be multiples."""
        return int(self.members[0].stride)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return correction and logarithm of its scale, shape (batch, 2, rows, columns).

        Parameters
        ----------
        inputs : Tensor, shape (batch, 16, rows, columns)
            See `correction_channels`.
        """
        return torch.stack([member(inputs) for member in self.members]).mean(dim=0)

    def calibrated(self, images: int, looks: float) -> tuple[float, float]:
        """Return the share of the correction and the factor of the standard deviation.

        For a number of images that was not calibrated they are (0, 1), which changes nothing.
        """
        anchors = sorted(
            (each["looks"], each["share"], each["scale"])
            for each in self.calibration
            if each["images"] == images
        )
        if not anchors:
            return 0.0, 1.0
        places, shares, scales = np.array(anchors).T
        share, scale = (
            float(np.interp(math.log(looks), np.log(places), each)) for each in (shares, scales)
        )
        return share, scale


def _checked_range(stated: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Check the range of a training: known names, two ascending numbers each."""
    found = {name: [float(value) for value in limits] for name, limits in stated.items()}
    for name, limits in found.items():
        if name not in RANGE_NAMES or len(limits) != 2 or not 0.0 <= limits[0] <= limits[1]:
            msg = (
                f"found the range {name}={limits}, expected one of {', '.join(RANGE_NAMES)} with "
                "two ascending numbers"
            )
            raise ValueError(msg)
    return found


def _checked_anchor(stated: Mapping[str, float]) -> dict[str, float]:
    """Check a point of the calibration."""
    found: dict[str, Any] = dict(stated)  # of a file it may be anything
    names = {"images", "looks", "share", "scale"}
    numbers = all(isinstance(each, int | float) and math.isfinite(each) for each in found.values())
    if not (
        set(found) == names
        and numbers
        and found["images"] in (1, 2)
        and 0.0 <= found["share"] <= 1.0
        and min(found["looks"], found["scale"]) > 0.0
    ):
        msg = (
            f"found the calibration {found}, expected numbers under {', '.join(sorted(names))}: 1 "
            "or 2 images, a share from 0 to 1, looks and a scale above 0"
        )
        raise ValueError(msg)
    return found


# Where it applies.


def look_direction(scene: Scene, dem: xr.DataArray) -> float:
    """Return the direction in which a radar looks over the grid of a DEM.

    Degrees from the direction of increasing columns, -180 to 180, positive towards increasing rows.
    """
    # On level ground the slant range grows fastest in the direction in which the radar looks.
    middle = [slice(size // 2 - 1, size // 2 + 1) for size in dem.shape]
    pixels = geo2rdr(0.0 * dem[tuple(middle)].fillna(0.0), scene.grid, scene.orbit)
    slant_range = scene.grid.slant_range(pixels["line"].values, pixels["sample"].values)
    down, right = (each.mean() for each in np.gradient(slant_range, *local_posting(dem)))
    return math.degrees(math.atan2(down, right))


@dataclass(frozen=True, eq=False)
class TileCorrection:
    """Applies a network to refined tiles of a raster."""

    network: RefinementNetwork
    slots: tuple[int, ...]  # of each image: 0 if its radar looks towards increasing columns, else 1
    looks: float
    posting: float
    factor: int
    threads: int = field(default_factory=torch.get_num_threads)  # of PyTorch, as they were

    def correct(
        self,
        baseline: xr.DataArray,
        layers: Floats,
        filled: NDArray[np.bool_],
        scenes: Mapping[int, Scene],
    ) -> tuple[Floats, Floats]:
        """Return the metres to add to a tile, and the factor of its standard deviation.

        Takes the back-projected heights; refined height, standard deviation and number of images,
        then residual in dB and linear gamma0 of each image, shape (3 + 2 images, rows, columns);
        where the coarse DEM is void; and the images that cover the tile, by their numbers.
        """
        height, sigma = layers[:2]
        images: list[ImageLayers | None] = [None, None]
        fade = np.ones_like(height)
        near = [np.zeros_like(height)] * 2
        for number, scene in scenes.items():
            angles = incidence(baseline.copy(data=height), scene.grid, scene.orbit)
            with np.errstate(invalid="ignore", divide="ignore"):
                level = 10.0 * np.log10(layers[4 + 2 * number])
            residual = layers[3 + 2 * number]
            images[self.slots[number]] = ImageLayers(
                residual, level, angles["local_incidence"].values
            )
            near[self.slots[number]] = _near_seen(np.isfinite(residual))
            fade = fade * self._fade(angles["ellipsoid_incidence"].values)
        # Where one of two images does not reach, the calibration is that of one image.
        both = near[0] * near[1]
        weights = {1: fade * (np.maximum(*near) - both), 2: fade * both}
        shares = {count: self.network.calibrated(count, self.looks) for count in weights}
        if not any(shares[count][0] and weights[count].any() for count in weights):
            return np.zeros_like(height), np.ones_like(height)
        inputs = correction_channels(
            baseline.values,
            height,
            sigma,
            images,
            filled=filled,
            looks=self.looks,
            posting=self.posting,
            factor=self.factor,
        )
        # Sums of several threads have other last bits. Tiles are corrected side by side.
        torch.set_num_threads(1)
        try:
            correction, factor = estimate_correction(self.network, inputs)
        finally:
            torch.set_num_threads(self.threads)
        share = sum(weights[count] * shares[count][0] for count in weights)
        widened = sum(weights[count] * (shares[count][1] * factor - 1.0) for count in weights)
        return share * sigma * correction, 1.0 + widened

    def _fade(self, angle: Floats) -> Floats:
        """Return 1 at incidences of the training, falling to 0 beyond."""
        limits = self.network.training_range.get("incidence")
        if limits is None:
            return np.ones_like(angle)
        beyond = np.maximum(limits[0] - angle, angle - limits[1])
        fade: Floats = np.clip(1.0 - np.nan_to_num(beyond, nan=np.inf) / FADE, 0.0, 1.0)
        return fade.astype(np.float32)


def _near_seen(seen: NDArray[np.bool_]) -> Floats:
    """Return 1 within the reach of cells that an image sees, falling to 0 at twice the distance."""
    if not seen.any():
        return np.zeros(seen.shape, dtype=np.float32)
    distance = distance_transform_edt(~seen)
    near: Floats = np.clip(2.0 - distance / REACH, 0.0, 1.0).astype(np.float32)
    return near


def _within(value: float, limits: Sequence[float]) -> bool:
    """Tell whether a value lies in a range of training, with some slack."""
    return limits[0] / SLACK <= value <= limits[-1] * SLACK


def prepare_correction(
    network: RefinementNetwork,
    scenes: Sequence[Scene],
    surface: xr.DataArray,
    factor: int,
    settings: RefinementSettings,
) -> tuple[TileCorrection | None, str]:
    """Prepare a network for images and the grid of a surface, or say why it does not apply to them.

    `factor` is the number of cells of the result along a side of a coarse cell.
    """
    directions = [look_direction(scene, surface) for scene in scenes]
    slots = tuple(0 if abs(each) < 90.0 else 1 for each in directions)
    stated = network.training_range
    if settings.samples == 0:
        return None, "it needs the standard deviation, and the settings have samples=0"
    if len(set(slots)) < len(slots):
        return None, (
            "several images look in the same direction, and it was trained with one for each: take "
            "the mean of the dates of a track"
        )
    usual = RefinementSettings()
    for name in PRIORS:
        value, expected = getattr(settings, name), getattr(usual, name)
        if value != expected:
            return None, f"the settings have {name}={value}, and it was trained with {expected}"
    posting = math.sqrt(math.prod(local_posting(surface)))
    looks = math.exp(float(np.mean([math.log(scene.grid.looks) for scene in scenes])))
    off = max(min(abs(each), 180.0 - abs(each)) for each in directions)
    for name, value, text in (
        ("posting", posting, "heights have a posting of {:.1f} m"),
        ("cells", float(factor), "a coarse cell has {:.0f} cells along an axis"),
        ("stated_error", settings.error, "the stated error of the DEM is {:g} m"),
        ("look_direction", off, "an image looks {:.0f} degrees off the rows of the grid"),
    ):
        limits = stated.get(name)
        if limits is not None and not _within(value, limits):
            trained = " to ".join(f"{each:g}" for each in sorted(set(limits)))
            return None, f"{text.format(value)}, and it was trained with {trained}"
    return TileCorrection(network, slots, looks, posting, factor), ""
