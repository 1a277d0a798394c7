"""A scene whose timing is put right by the shift that was found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sarheight.coregistration._shift import Shift
    from sarheight.scene import RadarGrid, Scene

__all__ = ["corrected", "moved"]


def moved(grid: RadarGrid, line: float, sample: float) -> RadarGrid:
    """Return a grid whose pixels stand for places that many lines and samples further back.

    What was to be seen at (l, s) is then to be seen at (l + line, s + sample).
    """
    ground = sample * grid.sample_spacing if grid.is_ground_range else 0.0
    later = line * grid.line_interval
    return replace(
        grid,
        line_zero_time=float(grid.azimuth_time(-line)),
        near_range=float(grid.slant_range(-line, -sample)),
        sample_zero_ground=grid.sample_zero_ground - ground,
        bursts=tuple(
            replace(burst, azimuth_time=burst.azimuth_time - later) for burst in grid.bursts
        ),
    )


def corrected(scene: Scene, shift: Shift) -> Scene:
    """Put the timing of a scene right by a shift.

    The pixels stay as they are. The times of the lines and the ranges of the samples change: the
    time of the first line and the near range, or the origin of ground range.

    Parameters
    ----------
    scene : Scene
        The image, or any other one of the same timing.
    shift : Shift
        From `estimate_shift`.

    Returns
    -------
    Scene
        The same image on the corrected grid.

    Raises
    ------
    ValueError
        If nothing is known of the shift.
    OrbitCoverageError
        If the orbit does not cover the corrected times.
    """
    if not shift.found:
        msg = (
            f"found a shift of which nothing can be said ({shift.reason}), expected one that was "
            "found: use the scene as it is"
        )
        raise ValueError(msg)
    return replace(scene, grid=moved(scene.grid, shift.line, shift.sample))
