"""Co-registration: the shift of a radar image against its simulation, or against another image."""

from __future__ import annotations

from sarheight.coregistration._estimate import (
    Shift,
    apply_shift,
    estimate_shift,
    estimate_shift_between,
)

__all__ = ["Shift", "apply_shift", "estimate_shift", "estimate_shift_between"]
