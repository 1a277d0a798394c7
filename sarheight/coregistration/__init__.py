"""Co-registration: how far a radar image lies from where orbit and DEM say that it should."""

from __future__ import annotations

from sarheight.coregistration._correct import corrected
from sarheight.coregistration._estimate import estimate_shift
from sarheight.coregistration._shift import Shift

__all__ = ["Shift", "corrected", "estimate_shift"]
