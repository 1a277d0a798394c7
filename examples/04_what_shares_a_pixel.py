"""
04 Which cells share a pixel
============================

What exactly mixes in one pixel of a folded ridge, and in what ratio?

The mapping between pixels and ground is one to many. It can be asked for the cells of a pixel or
for the pixels of a cell, or taken as a sparse matrix. The ridge is a formula at its true scale,
and the orbit a simulated one.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from sarheight.geometry import geo2rdr
from sarheight.grid import RadarGrid
from sarheight.illumination import Muhleman
from sarheight.layover import mapping
from sarheight.orbit import Orbit, look_at

# %%
# A ridge 700 m high whose slopes rise by 45 degrees in the middle: steeper than the look of 34
# degrees, so its foot, flank and far side are seen at the same distance.

east = 10.0 * np.arange(-150, 150)
north = 10.0 * np.arange(-20, 20)
heights = np.broadcast_to(700.0 * np.exp(-((east / 600.0) ** 2)), (north.size, east.size))
dem = xr.DataArray(
    heights,
    dims=("y", "x"),
    coords={"y": 5_094_000.0 - north, "x": 500_000.0 + east},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32632")

place = {"latitude": 46.0, "longitude": 9.0}
orbit = Orbit.circular(**place, ascending=True)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0))
grid = RadarGrid.over(orbit, **place, lines=100, samples=500)

# %%
# Ask for the pixel that sees the middle of the slope facing the radar. The weights are radar
# cross-sections at unit reflectivity: how bright the law makes a cell, times how much of it falls
# into the pixel.

cells = mapping(dem, grid, orbit, law=Muhleman())
seen = geo2rdr(dem, grid, orbit)
row, column = 20, int(np.argmin(np.abs(east + 420.0)))
line, sample = (int(seen[name][row, column].round()) for name in ("line", "sample"))
sharing = cells.cells_of(line, sample)
print(sharing[["row", "column", "ratio"]].isel(cell=slice(6)).to_dataframe().round(3))
print(f"{sharing.sizes['cell']} cells, whose ratios sum to {float(sharing['ratio'].sum()):.3f}")

# %%
# Above, the ridge and its cells in that pixel. Below, at which sample each cell is seen: the level
# line of one pixel meets the terrain three times.

column, where = np.unique(sharing["column"], return_inverse=True)
ratio = 100 * np.bincount(where, sharing["ratio"])
figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6.5), layout="constrained", sharex=True)
top.fill_between(east, heights[row], color="#d8d2c4")
top.set(ylabel="height (m)", title="the cells of one pixel, and their part of it", aspect="equal")
marks = top.scatter(east[column], heights[row, column], c=ratio, cmap="viridis_r", s=60, zorder=3)
figure.colorbar(marks, ax=top, label="%")
bottom.plot(east, seen["sample"][row], color="black", lw=1)
bottom.axhline(sample, color="#D55E00", lw=1)
bottom.plot(east[column], seen["sample"][row, column], "o", color="#D55E00", ms=4)
bottom.set(xlabel="metres east; the radar looks from the west", ylabel="sample (range)")
figure.savefig("what_shares_a_pixel.png", dpi=110)
