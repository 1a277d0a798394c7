"""Co-registration: the shift of a radar image against its simulation, or against another image."""

from __future__ import annotations

from sarheight.coregistration._estimate import (
    Policy,
    Shift,
    apply_shift,
    coregister,
    estimate_shift,
    estimate_shift_between,
    is_significant,
)

__all__ = [
    "Policy",
    "Shift",
    "apply_shift",
    "coregister",
    "estimate_shift",
    "estimate_shift_between",
    "is_significant",
]
__dir__ = __all__.copy  # `dir` lists the public names
