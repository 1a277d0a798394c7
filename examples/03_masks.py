"""
03 What the terrain does to the image
=====================================

Which places are folded onto others, which are hidden, and which are merely foreshortened?

Each plane of zero Doppler is scanned for look angles that fall back (shadow) and slant ranges that
do (layover). The masks lie on the ground or in the image, as one likes. The mountains are
simulated, at their true scale; so is the orbit.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from scipy.ndimage import gaussian_filter

from sarheight import plot
from sarheight.grid import RadarGrid
from sarheight.layover import FLAGS, masks
from sarheight.orbit import Orbit, look_at
from sarheight.output import save_png

# %%
# Crests stand where smooth noise crosses zero, at three scales.

random = np.random.default_rng(4)
heights = np.zeros((200, 280))
for width, relief in ((26.0, 420.0), (11.0, 120.0), (4.0, 22.0)):
    noise = gaussian_filter(random.standard_normal(heights.shape), width, mode="wrap")
    heights -= relief * np.abs(noise / noise.std())
y, x = (30.0 * np.arange(size) for size in heights.shape)
dem = xr.DataArray(
    (heights - heights.min() + 600.0).astype(np.float32),
    coords={"y": 5_098_000.0 - y, "x": 573_200.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32632")

place = {"latitude": 46.005, "longitude": 10.0}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=40.0, height=1200.0))
grid = RadarGrid.over(orbit, **place, lines=840, samples=1160, height=1200.0)

# %%
# The same terrain twice. A category is one of `FLAGS`; the fold count says how many surfaces answer
# at the place's own distance: 1 where nothing is folded, 3 in a simple fold.

ground = masks(dem, grid, orbit)
radar = masks(dem, grid, orbit, geometry="radar")
for name, code in FLAGS.items():
    print(f"{name:20} {float((ground['mask'] == code).mean()):6.1%} of the cells")

# %%
# On the ground, `plot` draws masks over the relief.

save_png(plot.mask(ground["mask"], relief=dem), "masks_1_mask.png")
save_png(
    plot.fold_count(ground["fold_count"], relief=dem, title="fold count"), "masks_2_fold_count.png"
)

# %%
# In the image, near range is on the left, and east and west are swapped. Folded slopes, which fill
# much ground, fill few pixels.

colours = ["#f7f5ee", "#F0E442", "#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#CC79A7"]
style = {"cmap": ListedColormap(colours), "norm": BoundaryNorm(np.arange(8) - 0.5, 7)}
figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")
shown = radar["mask"].where(radar["mask"] != 255)
drawn = axes.imshow(shown, interpolation="nearest", **style)
axes.set(title="mask in the image", xlabel="sample (range)", ylabel="line (azimuth)")
bar = figure.colorbar(drawn, shrink=0.8)
bar.set_ticks(range(7), labels=[name.replace("_", " ") for name in FLAGS])
figure.savefig("masks_3_image.png", dpi=110)
