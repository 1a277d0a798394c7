"""``--coregister``: whether the image lies where orbit and elevation model say that it should."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import RADAR
from sarheight.cli._session import Session

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.coregistration import Shift
    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import Scene

__all__ = ["Coregister", "CoregisterName", "coregister", "tell"]

CERTAIN = 4.0
"""Standard errors from which a shift is one."""
WORTH_A_WORD = 0.5
"""Pixels of shift from which something should be done."""


class CoregisterName(StrEnum):
    """What is done about a shift between the image and its simulation."""

    none = "none"
    report = "report"
    correct = "correct"


Coregister = Annotated[
    CoregisterName,
    typer.Option(
        "--coregister",
        help="Compare the image with its simulation, and `report` by how much it is shifted, or "
        "`correct` its timing by that. Takes a few seconds, whatever the size of the image.",
        rich_help_panel=RADAR,
    ),
]


def coregister(
    scene: Scene, dem: xr.DataArray, choice: CoregisterName, law: BackscatterLaw | None
) -> tuple[Scene, Shift | None]:
    """Do what was chosen about the shift of an image.

    Parameters
    ----------
    scene : Scene
        The image.
    dem : xarray.DataArray
        Heights above the ellipsoid.
    choice : {"none", "report", "correct"}
        What to do.
    law : callable, optional
        Backscatter law of the simulation.

    Returns
    -------
    scene : Scene
        The same one, or with its timing corrected.
    shift : Shift or None
        What was found; None where nothing was to be done.
    """
    if choice is CoregisterName.none:
        return scene, None
    from sarheight.coregistration import corrected, estimate_shift

    shift = estimate_shift(scene, dem, law=law)
    if choice is CoregisterName.correct and shift.found:
        return corrected(scene, shift), shift
    return scene, shift


def tell(shift: Shift, choice: CoregisterName, current: Session) -> None:
    """Say what was found, and what to do about it.

    Parameters
    ----------
    shift : Shift
        What was found.
    choice : {"report", "correct"}
        What was done.
    current : Session
        Where to say it.
    """
    current.say(f"co-registration: {shift}")
    if choice is CoregisterName.report and _matters(shift):
        current.say(
            "this shift spoils the shares on steep slopes: check what the heights are measured "
            "from (--vertical) and the orbit (--orbit), or take it out with --coregister correct"
        )


def _matters(shift: Shift) -> bool:
    """Tell whether a shift is certain and large enough to do something about it."""
    pairs = ((shift.line, shift.line_error), (shift.sample, shift.sample_error))
    return shift.found and any(
        abs(value) > max(CERTAIN * error, WORTH_A_WORD) for value, error in pairs
    )
