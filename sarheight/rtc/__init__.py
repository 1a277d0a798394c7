"""Read terrain-flattened radar images on map grids.

Radiometric terrain correction (RTC) divides the radar cross-section of each pixel by the area
of its ground, and resamples the result to a map. Three archives publish such images of Sentinel-1:

=====================  ==========================================================
`open_opera`           OPERA RTC-S1 of NASA/JPL: one burst, HDF5 or GeoTIFFs
`open_hyp3`            HyP3 of the Alaska Satellite Facility: a folder or zip
`open_planetary`       Sentinel-1 RTC of Microsoft's Planetary Computer: a STAC item
=====================  ==========================================================

`open_rtc` recognises which it is. All return a dataset with ``gamma0`` (or ``sigma0``) in linear
power, dims (polarisation, y, x) and NaN where there is no data, as `sarheight.layover.reconstruct`
returns it; so networks take either.

They are no input to `reconstruct`: in radar geometry a pixel in layover holds the radar
cross-section of several places, which can be reallocated to them; here each cell is an average of
its pixels, and how much came from where is lost.
"""

from __future__ import annotations

from sarheight.rtc._providers import open_hyp3, open_opera, open_planetary, open_rtc

__all__ = ["open_hyp3", "open_opera", "open_planetary", "open_rtc"]
