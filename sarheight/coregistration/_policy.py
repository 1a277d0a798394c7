"""What is done with the shift of an image: one policy and one threshold for all workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from sarheight.coregistration._estimate import Shift, apply_shift, estimate_shift

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.dem.checked import CheckedDem
    from sarheight.scene import Scene

Policy = Literal["report", "correct", "none"]
"""`report` a shift, `correct` the timing by a significant one, or `none`: estimate no shift."""
SIGNIFICANT_ERRORS = 4.0
"""Standard errors that a significant shift exceeds along an axis."""
SIGNIFICANT_PIXELS = 0.5
"""Pixels that a significant shift exceeds along the same axis: a coarse DEM, and delays in the
atmosphere, cause smaller ones."""


def is_significant(shift: Shift) -> bool:
    """Return whether a shift is significant: along lines or samples, by error and by size.

    Parameters
    ----------
    shift : Shift
        The shift of an image.

    Returns
    -------
    bool
        True if the shift was found and exceeds, along one axis at least, both four standard errors
        and half a pixel.
    """
    pairs = ((shift.line, shift.line_error), (shift.sample, shift.sample_error))
    return shift.found and any(
        abs(value) > max(SIGNIFICANT_ERRORS * error, SIGNIFICANT_PIXELS) for value, error in pairs
    )


def coregister(
    scene: Scene,
    dem: xr.DataArray | CheckedDem,
    policy: Policy = "report",
    **options: Any,  # noqa: ANN401  # of estimate_shift
) -> tuple[Scene, Shift | None]:
    """Compare an image with its simulation, and correct its timing where the policy says so.

    Parameters
    ----------
    scene : Scene
        The image.
    dem : DataArray or CheckedDem
        Elevation model, dims (y, x), metres above the ellipsoid.
    policy : {"report", "correct", "none"}
        Whether a shift is only estimated, is removed where it `is_significant`, or neither.
    **options
        Of `estimate_shift`.

    Returns
    -------
    scene : Scene
        The image; another object if its timing was corrected.
    shift : Shift or None
        The shift before the correction; None under the policy "none".

    Raises
    ------
    ValueError
        If there is no such policy.
    GeometryError, VerticalDatumError
        As for `estimate_shift`.
    """
    if policy not in get_args(Policy):
        names = ", ".join(map(repr, get_args(Policy)))
        msg = f"found coregister={policy!r}, expected one of {names}"
        raise ValueError(msg)
    if policy == "none":
        return scene, None
    shift = estimate_shift(scene, dem, **options)
    corrected = policy == "correct" and is_significant(shift)
    return apply_shift(scene, shift) if corrected else scene, shift
