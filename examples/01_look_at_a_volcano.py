"""
01 Look at a volcano
====================

Where in a radar image does each place on the ground lie, and under which angle is it seen?

The volcano is simulated, at its true scale: a cone of 1800 m with gullies and a caldera, and
flanks of up to 45 degrees. The orbit is a simulated one, like that of Sentinel-1.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from sarheight.geometry import geo2rdr, incidence
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit, look_at

# %%
# An elevation model is a DataArray with coordinates, a reference system and a stated datum.

y, x = (30.0 * np.arange(size) for size in (240, 240))
north, east = 3600.0 - y[:, None], x[None, :] - 3600.0
radius, angle = np.hypot(north, east), np.arctan2(north, east)
heights = 2400.0 * np.exp(-np.maximum(radius, 560.0) / 2600.0)
heights -= 340.0 * (1.0 - np.minimum(radius / 560.0, 1.0) ** 6)  # the caldera
gullies = np.cos(19 * angle + 1.5 * np.sin(3 * angle))
heights += 45.0 * gullies * np.exp(-(((radius - 1800.0) / 1100.0) ** 2))
dem = xr.DataArray(
    heights.astype(np.float32),
    coords={"y": 4_180_000.0 - y, "x": 496_400.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32633")

# %%
# The orbit is turned until the radar, looking to the right from a descending pass, sees the
# volcano under 34 degrees; the grid says how it samples it.

place = {"latitude": 37.735, "longitude": 15.0}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=800.0))
grid = RadarGrid.over(orbit, **place, lines=1000, samples=1200, height=800.0)

# %%
# The radar looks from the east. On the left the samples of the image (10 m apart) as lines on the
# ground: where a line wanders to and fro across the eastern slope, a look along one parallel meets
# it more than once, and all these places answer in the same pixel. On the right the angle between
# the line of sight and the surface's normal.

seen = geo2rdr(dem, grid, orbit)
local = incidence(dem, grid, orbit)["local_incidence"]

extent = (0.0, 7.2, 0.0, 7.2)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), layout="constrained", sharey=True)
drawn = left.imshow(dem, cmap="gray", extent=extent)
figure.colorbar(drawn, ax=left, label="height (m)")
levels = np.arange(0, 1200, 25)
left.contour(seen["sample"][::-1], levels, extent=extent, colors="#D55E00", linewidths=0.6)
left.set(title="every 25th sample, on the heights", xlabel="km", ylabel="km")
drawn = right.imshow(local, cmap="cividis", extent=extent)
right.set(title="local incidence angle", xlabel="km")
figure.colorbar(drawn, ax=right, label="degrees")
figure.savefig("look_at_a_volcano.png", dpi=110)
