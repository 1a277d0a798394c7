"""What ``--law`` means: how backscatter depends on the angle of incidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw

__all__ = ["LAWS", "parse_law"]

LAWS = "gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness]"


def parse_law(text: str) -> BackscatterLaw:
    """Make the backscatter law that an option names.

    Parameters
    ----------
    text : str
        A name, then a colon and numbers with commas where they are not the usual ones.

    Returns
    -------
    callable
        From `sarheight.illumination`.

    Raises
    ------
    typer.BadParameter
        If there is no such law, or its numbers are not good.
    """
    from sarheight import illumination

    laws: dict[str, Callable[..., BackscatterLaw]] = {
        "gamma": illumination.ConstantGamma,
        "lambert": illumination.Lambertian,
        "cosine": illumination.CosinePower,
        "muhleman": illumination.Muhleman,
    }
    name, _, numbers = text.partition(":")
    if name not in laws:
        msg = f"found {text!r}, expected one of {LAWS}"
        raise typer.BadParameter(msg, param_hint="--law")
    try:
        law = laws[name](*(float(number) for number in numbers.split(",") if number))
    except (TypeError, ValueError) as error:
        msg = f"found {text!r} ({error}), expected one of {LAWS}"
        raise typer.BadParameter(msg, param_hint="--law") from error
    return law
