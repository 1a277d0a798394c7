"""Read terrain-flattened radar images of archives, on map grids.

Radiometric terrain correction (RTC) divides the radar cross-section of each pixel by the area of
its ground, and resamples the result to a map. Three archives publish such images of Sentinel-1:
OPERA RTC-S1 of NASA/JPL, HyP3 of the Alaska Satellite Facility, and the Planetary Computer of
Microsoft.

`open_rtc` recognises which it is, and returns a dataset with ``gamma0`` (or ``sigma0``) in linear
power, dims (polarisation, y, x) and NaN where there is no data, as `sarheight.layover.reconstruct`
returns it; so networks take either.
"""

from __future__ import annotations

from sarheight.archives._rtc import open_rtc

__all__ = ["open_rtc"]
__dir__ = __all__.copy  # `dir` lists the public names
