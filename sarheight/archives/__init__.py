"""Read terrain-flattened radar images of archives, on map grids.

Radiometric terrain correction (RTC) divides the radar cross-section of each pixel by the area of
its ground, and resamples the result to a map. Three archives publish such images of Sentinel-1:
OPERA RTC-S1 of NASA/JPL, HyP3 of the Alaska Satellite Facility, and the Planetary Computer of
Microsoft.

`open_rtc` recognises which it is, and returns a dataset with ``gamma0`` (or ``sigma0``) in linear
power, dims (polarisation, y, x) and NaN where there is no data, as `sarheight.layover.reconstruct`
returns it; so networks take either. `to_radar` takes such an image back to radar geometry, where
`sarheight.layover.reconstruct` unfolds it, and `audit` examines it.
"""

from __future__ import annotations

from sarheight.archives._facts import provider_heights
from sarheight.archives._rtc import ORBIT, is_rtc, open_rtc
from sarheight.archives.audit import Audit, Check, audit
from sarheight.archives.radar import to_radar

__all__ = ["ORBIT", "Audit", "Check", "audit", "is_rtc", "open_rtc", "provider_heights", "to_radar"]
__dir__ = __all__.copy  # `dir` lists the public names
