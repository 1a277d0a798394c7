"""
06 Two passes together
======================

What one pass folds, another may see laid open. How much better is it to solve both at once?

An ascending and a descending image of the same ground, both simulated with speckle, and the
reconstruction from either and from both. The ground scatters by constant γ⁰ times a brightness of
its own, so that both passes see the same. The elevations are those of matplotlib's Jacksboro fault
with their posts 30 m apart.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.cbook import get_sample_data
from scipy.ndimage import gaussian_filter

from sarheight.dem import coarsen
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import reconstruct
from sarheight.orbit import Orbit, look_at

heights = get_sample_data("jacksboro_fault_dem.npz")["elevation"][:342, :402].astype(np.float32)
y, x = (30.0 * np.arange(size) for size in heights.shape)
fine = xr.DataArray(
    heights,
    coords={"y": 4_059_000.0 - y, "x": 740_000.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32616")
place = {"latitude": 36.6, "longitude": -84.25}

random = np.random.default_rng(3)
patches = gaussian_filter(random.standard_normal(heights.shape), 12)
truth = 10 ** ((4.0 * patches / patches.std() - 12.0) / 10)

# %%
# The two passes look from opposite sides. Their images share nothing but the ground.

law = ConstantGamma(1.0)
scenes = {}
for seed, name in enumerate(("ascending", "descending")):
    orbit = Orbit.circular(**place, ascending=name == "ascending")
    orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=500.0))
    grid = RadarGrid.over(orbit, **place, lines=1320, samples=1500, height=500.0)
    scenes[name] = simulate(fine, grid, orbit, law=law, reflectivity=truth, looks=4.4, seed=seed)

# %%
# Solved together, each pass learns from the other where it is folded itself. Each has its own γ⁰
# and its own variance, by which the two are averaged. The law is told: fitted to so small a scene,
# it would take slopes that happen to be bright for a law of the angle.

dem = coarsen(fine, 90.0)
found = {name: reconstruct(scene, dem, law=law) for name, scene in scenes.items()}
both = reconstruct(list(scenes.values()), dem, law=law)
precision = both["gamma0"] ** 2 / both["gamma0_variance"]
gamma = {name: result["gamma0"] for name, result in found.items()}
gamma["both"] = (both["gamma0"] * precision).sum("time") / precision.sum("time")

# %%
# Cells that at least one pass sees folded, against the mean brightness under each.

known = truth.reshape(dem.shape[0], 3, dem.shape[1], 3).mean(axis=(1, 3))
folded = np.logical_or(*(result["mask"].isin([2, 3, 6]).values for result in found.values()))
figure, axes = plt.subplots(2, 2, figsize=(9.5, 7.4), layout="constrained")
for panel, (name, values) in zip(axes.flat, {"truth": known, **gamma}.items(), strict=True):
    decibels = 10 * np.log10(np.maximum(np.asarray(values), 1e-6))
    rms = np.sqrt(np.nanmean((decibels - 10 * np.log10(known))[folded] ** 2))
    print(f"{name:11} RMS error {rms:.2f} dB in the {folded.mean():.0%} of cells in folds")
    drawn = panel.imshow(decibels, cmap="gray", vmin=-22, vmax=-3)
    panel.set(title=f"{name}, {rms:.2f} dB off in folds", xticks=[], yticks=[])
axes[0, 0].set_title("truth")
figure.colorbar(drawn, ax=axes, label="γ⁰ (dB)", shrink=0.6)
figure.savefig("two_passes.png", dpi=110)
