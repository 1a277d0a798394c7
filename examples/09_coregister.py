"""
09 Does the image lie where it should?
======================================

An orbit or a clock that is off, or heights above the wrong zero, put the image beside the terrain.
Its simulation from the elevation model shows by how much.

The image is simulated from the elevations of matplotlib's Jacksboro fault, and then displaced.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.cbook import get_sample_data

from sarheight.coregistration import apply_shift, estimate_shift
from sarheight.grid import RadarGrid
from sarheight.illumination import simulate
from sarheight.orbit import Orbit, look_at
from sarheight.scene import Scene

# %%
# The elevations come with matplotlib, at their true scale: whole metres every three seconds of arc.

with np.load(get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as sample:
    heights = sample["elevation"].astype(np.float32)
    north, step = float(max(sample["ymin"], sample["ymax"])), float(sample["dy"])
    y = north - step * (np.arange(heights.shape[0]) + 0.5)
    x = float(sample["xmin"]) + float(sample["dx"]) * (np.arange(heights.shape[1]) + 0.5)
dem = xr.DataArray(
    heights,
    coords={"y": y, "x": x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:4326")
place = {"latitude": float(y.mean()), "longitude": float(x.mean())}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=500.0))
grid = RadarGrid.over(
    orbit, **place, lines=1250, samples=1250, height=500.0, line_spacing=30.0, sample_spacing=30.0
)

# %%
# The elevation model that we have is forty metres too low: its zero is the geoid, and nobody said
# so. So the image lies 40 m / tan(34°) = 59 m too near.

scene = simulate(dem, grid, orbit, looks=4.4, seed=1)
low = (dem - 40.0).assign_attrs(dem.attrs)

shift = estimate_shift(scene, low)
print(shift)

# %%
# What is corrected is the timing of the image, not its pixels. Nothing remains of the shift.

better: Scene = apply_shift(scene, shift)
print(estimate_shift(better, low))

# %%
# Each window has its own shift. Where they agree, it is one of the whole image; where they do not,
# the model may be wrong in places.

table = shift.windows
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
left.imshow(10 * np.log10(scene.image.clip(1e-3)), cmap="gray", vmin=-20, vmax=5)
arrows = (table[name] for name in ("sample", "line", "sample_shift", "line_shift"))
left.quiver(*arrows, color="#D55E00", angles="xy", scale_units="xy", scale=0.02)
left.set(title="simulated image; shifts of the windows", xlabel="sample", ylabel="line")
right.plot(table["sample_shift"], table["line_shift"], ".", color="#0072B2", label="windows")
right.errorbar(
    *(shift.sample, shift.line, shift.line_error, shift.sample_error),
    fmt="o",
    color="#D55E00",
    capsize=4,
    label="together",
)
right.axhline(0, color="0.7", lw=0.8)
right.axvline(0, color="0.7", lw=0.8)
right.set(title="shift of the image", xlabel="samples (across)", ylabel="lines (along)")
right.legend()
figure.savefig("coregister.png", dpi=110)
