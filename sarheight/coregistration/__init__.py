"""Co-registration: the shift of a radar image against its simulation from orbit and DEM."""

from __future__ import annotations

from sarheight.coregistration._estimate import Shift, apply_shift, estimate_shift

__all__ = ["Shift", "apply_shift", "estimate_shift"]
