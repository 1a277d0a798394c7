"""Co-registration: how far a radar image lies from where orbit and DEM say that it should."""

from __future__ import annotations

from sarheight.coregistration._estimate import Shift, corrected, estimate_shift

__all__ = ["Shift", "corrected", "estimate_shift"]
