"""
03 What the terrain does to the image
=====================================

Which places are folded onto others, which are hidden, and which are merely pressed together?

Each plane of zero Doppler is scanned for look angles that fall back (shadow) and slant ranges that
do (layover). The masks lie on the ground or in the image, as one likes. The elevations are those of
matplotlib's Jacksboro fault with their posts 30 m apart; the orbit is simulated.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.cbook import get_sample_data
from matplotlib.colors import BoundaryNorm, ListedColormap

from sarheight.grid import RadarGrid
from sarheight.layover import FLAGS, masks
from sarheight.orbit import Orbit, look_at

heights = get_sample_data("jacksboro_fault_dem.npz")["elevation"].astype(np.float32)
y, x = (30.0 * np.arange(size) for size in heights.shape)
dem = xr.DataArray(
    heights,
    coords={"y": 4_059_000.0 - y, "x": 740_000.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32616")

place = {"latitude": 36.6, "longitude": -84.25}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=38.0, height=500.0))
grid = RadarGrid.over(orbit, **place, lines=1320, samples=1500, height=500.0)

# %%
# The same terrain twice. A category is one of `FLAGS`; the fold count says how many sheets of
# terrain answer at the place's own distance: 1 where nothing is folded, 3 in a simple fold.

ground = masks(dem, grid, orbit)
radar = masks(dem, grid, orbit, geometry="radar")
for name, code in FLAGS.items():
    print(f"{name:20} {float((ground['mask'] == code).mean()):6.1%} of the cells")

# %%
# The southern half, on the ground and in the image, where the radar's near side is at the left and
# east and west are swapped. Folded slopes fill much ground and few pixels.

colours = ["#f7f5ee", "#F0E442", "#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#CC79A7"]
classes = {"cmap": ListedColormap(colours), "norm": BoundaryNorm(np.arange(8) - 0.5, 7)}
counts = {"cmap": "magma_r", "vmin": 1, "vmax": 7}
parts = {
    "ground": ground.isel(y=slice(140, 340), x=slice(110, 330)),
    "image": radar.isel(line=slice(500, 1250), sample=slice(420, 1250)),
}
figure, axes = plt.subplots(2, 2, figsize=(11, 8.6), layout="constrained")
for row, (variable, style) in zip(axes, (("mask", classes), ("fold_count", counts)), strict=True):
    for panel, (title, part) in zip(row, parts.items(), strict=True):
        shown = part[variable].where(part[variable] != 255)
        drawn = panel.imshow(shown, interpolation="nearest", **style)
        panel.set(title=f"{variable.replace('_', ' ')} on the {title}", xticks=[], yticks=[])
    bar = figure.colorbar(drawn, ax=row)
    if variable == "mask":
        bar.set_ticks(range(7), labels=[name.replace("_", " ") for name in FLAGS])
figure.savefig("masks.png", dpi=110)
