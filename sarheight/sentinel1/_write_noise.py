"""Thermal noise of a simulated image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight.sentinel1._write_xml import listed, node, numbers, utc, utc_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from sarheight.scene import RadarGrid, Scene
    from sarheight.sentinel1._write_calibration import CalibrationTable
    from sarheight.sentinel1._write_layout import FileLayout

__all__ = ["ThermalNoise", "noise_document", "with_noise"]

Floats = NDArray[np.float64]

LINES_APART = 10
"""Lines between the values of an azimuth vector, as in a product of ESA."""
EDGE_DECIBELS = 4.0
"""By how much the noise of `ThermalNoise.like_sentinel1` is stronger at both edges of a swath."""
SCALLOPING = 0.16
"""By which part it is stronger at both ends of a burst."""
BURST_SECONDS = 2.758
"""From one burst of a swath to the next."""


@dataclass(frozen=True, eq=False)
class ThermalNoise:
    """Mean power of the thermal noise in an image: a profile across times one along the track.

    Parameters
    ----------
    across : array, shape (samples,)
        Linear power in the calibration of the image.
    along : array, shape (lines,)
        Factor of each line.

    Raises
    ------
    ValueError
        If a value is negative or not finite.
    """

    across: Floats
    along: Floats

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("across", "along"):
            values = np.array(getattr(self, name), dtype=np.float64, ndmin=1)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or not (np.isfinite(values) & (values >= 0.0)).all():
                msg = (
                    f"found {name} of shape {values.shape} from {values.min():g} to "
                    f"{values.max():g}, expected one linear power, not negative, for each pixel "
                    "of an axis (is it in dB?)"
                )
                raise ValueError(msg)

    @classmethod
    def constant(cls, grid: RadarGrid, level: float) -> ThermalNoise:
        """Make noise that is the same everywhere, in linear power."""
        return cls(np.full(grid.samples, level), np.ones(grid.lines))

    @classmethod
    def like_sentinel1(cls, grid: RadarGrid, level: float) -> ThermalNoise:
        """Make noise with the shape that it has in Sentinel-1's images.

        It is least in the middle of the swath, where the antenna sees best, and 4 dB stronger at
        both edges; within a burst it grows by a sixth from its middle to its ends, as the
        descalloping of TOPS images lifts it. A model, not the noise of any instrument.

        Parameters
        ----------
        grid : RadarGrid
            Sampling of the image.
        level : float
            Least noise, linear power in the calibration of the image.

        Returns
        -------
        ThermalNoise
        """
        from_middle = np.linspace(-1.0, 1.0, grid.samples)
        phase = np.arange(grid.lines, dtype=np.float64) * (grid.line_interval / BURST_SECONDS)
        in_burst = 2.0 * (phase % 1.0) - 1.0
        decibels: Floats = EDGE_DECIBELS * from_middle**2
        along: Floats = 1.0 + SCALLOPING * in_burst**2
        return cls(level * 10.0 ** (decibels / 10.0), along)

    def require_shape(self, grid: RadarGrid) -> None:
        """Check that the noise is that of an image of a grid.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        found = (self.along.size, self.across.size)
        if found != grid.shape:
            msg = (
                f"found noise for {found[0]} lines and {found[1]} samples, expected the "
                f"{grid.lines} and {grid.samples} of the image: make it on its grid"
            )
            raise ValueError(msg)

    def power(self, lines: slice = slice(None)) -> Floats:
        """Return the noise of some lines, shape (lines, samples)."""
        values: Floats = self.along[lines, None] * self.across
        return values


def with_noise(
    scene: Scene, noise: ThermalNoise, *, looks: float | None = None, seed: int | None = None
) -> Scene:
    """Add thermal noise to a clean image, and speckle to the sum.

    Parameters
    ----------
    scene : Scene
        Without speckle and noise: `sarheight.illumination.simulate` with neither `looks` nor
        `noise`.
    noise : ThermalNoise
        Its mean power.
    looks : float, optional
        Equivalent number of looks of the speckle, which noise and echo share; none by default.
    seed : int, optional
        Of the speckle.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If the noise does not have the shape of the image, or looks are not positive.
    """
    noise.require_shape(scene.grid)
    if looks is not None and not 0.0 < looks < np.inf:
        msg = f"found looks={looks!r}, expected a positive number, or None for no speckle"
        raise ValueError(msg)
    power = scene.image.values + noise.power()
    if looks is not None:
        power *= np.random.default_rng(seed).gamma(looks, 1.0 / looks, size=power.shape)
    return replace(scene, image=scene.image.copy(data=power.astype(np.float32)))


def noise_document(
    header: Element,
    layout: FileLayout,
    table: CalibrationTable,
    amplitude: ArrayLike,
    noise: ThermalNoise | None,
    blocks: list[Element],
) -> Element:
    """Make the noise file of an image: range vectors and azimuth vectors, whose product it is.

    Parameters
    ----------
    header : Element
        The ``adsHeader`` of its annotation.
    layout : FileLayout
        The lines of the file.
    table : CalibrationTable
        Its calibration.
    amplitude : array_like, shape (k, m)
        That of the table for the calibration of the noise.
    noise : ThermalNoise or None
        In the image's calibration; None for an image without noise, whose vectors are 0.
    blocks : list of Element
        The azimuth vectors with their bounds; they are filled.

    Returns
    -------
    Element
    """
    gain = np.asarray(amplitude) ** 2
    across = np.zeros(table.pixel.size) if noise is None else noise.across[table.pixel]
    vectors = [
        node(
            "noiseRangeVector",
            [
                node("azimuthTime", utc(utc_of(layout.grid.epoch, table.time[row]))),
                node("line", str(line)),
                numbers("pixel", table.pixel, "d"),
                numbers("noiseRangeLut", across * gain[row], ".6e"),
            ],
        )
        for row, line in enumerate(table.line)
    ]
    return node(
        "noise",
        [
            header,
            listed("noiseRangeVectorList", vectors),
            listed(
                "noiseAzimuthVectorList",
                (_azimuth_vector(block, layout, noise) for block in blocks),
            ),
        ],
    )


def _azimuth_vector(block: Element, layout: FileLayout, noise: ThermalNoise | None) -> Element:
    """Fill a block: every tenth line of each burst, and its last one."""
    first, last = (int(block.findtext(f"{end}AzimuthLine") or 0) for end in ("first", "last"))
    step = layout.lines_per_burst or layout.lines
    begins = [first, *range((first // step + 1) * step, last + 1, step)]
    ends = [*(begin - 1 for begin in begins[1:]), last]
    line = np.unique(
        np.concatenate(
            [
                np.append(np.arange(begin, end, LINES_APART), end)
                for begin, end in zip(begins, ends, strict=True)
            ]
        )
    )
    if noise is None:
        factor = np.ones(line.size)
    else:
        factor = noise.along[np.clip(layout.scene_line(line), 0, layout.grid.lines - 1)]
    block.extend([numbers("line", line, "d"), numbers("noiseAzimuthLut", factor, ".6e")])
    return block
