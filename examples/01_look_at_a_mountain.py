"""
01 Look at a mountain
=====================

Where in a radar image does each place on the ground lie, and under which angle is it seen?

The elevations are those of the Jacksboro fault in Tennessee that come with matplotlib. Their
posts are taken to lie 30 m apart instead of some 90 m: that makes the slopes three times as
steep, as in high mountains. The orbit is a simulated one, like that of Sentinel-1.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.cbook import get_sample_data

from sarheight.geometry import geo2rdr, incidence
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit, look_at

# %%
# An elevation model is a DataArray with coordinates, a reference system and a stated datum.

heights = get_sample_data("jacksboro_fault_dem.npz")["elevation"].astype(np.float32)
y, x = (30.0 * np.arange(size) for size in heights.shape)
dem = xr.DataArray(
    heights,
    coords={"y": 4_059_000.0 - y, "x": 740_000.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32616")

# %%
# The orbit is turned until the radar, looking to the right from a descending pass, sees the
# middle of the mountains under 34 degrees; the grid says how it samples them.

place = {"latitude": 36.6, "longitude": -84.25}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=500.0))
grid = RadarGrid.over(orbit, **place, lines=1320, samples=1500, height=500.0)

# %%
# The radar looks from the east. On the left the samples of the image (10 m apart) as lines on the
# ground: where a line wanders to and fro across the slopes, a look along one parallel meets it more
# than once, and all these places answer in the same pixel. On the right the angle between the line
# of sight and the surface's normal.

seen = geo2rdr(dem, grid, orbit)
angle = incidence(dem, grid, orbit)["local_incidence"]

part = (slice(120, 240), slice(140, 280))
extent = (0.0, 4.2, 0.0, 3.6)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
left.imshow(dem[part], cmap="gist_earth", extent=extent)
samples = seen["sample"][part][::-1]
left.contour(samples, np.arange(0, 1500, 8), extent=extent, colors="black", linewidths=0.5)
left.set(title="every eighth sample, on the heights", xlabel="km", ylabel="km")
drawn = right.imshow(angle[part], cmap="cividis", extent=extent)
right.set(title="local incidence angle", xlabel="km")
figure.colorbar(drawn, label="degrees")
figure.savefig("look_at_a_mountain.png", dpi=120)
