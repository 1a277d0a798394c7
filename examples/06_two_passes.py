"""
06 Two passes together
======================

What one pass folds, another may see open. What does each keep, and what does one map of both gain?

An ascending and a descending image of a deep valley, both simulated with speckle. The ground
scatters by constant γ⁰ times a brightness of its own, so that both passes see the same. The valley
is simulated at its true scale.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import composite, local_resolution, reconstruct
from sarheight.orbit import Orbit, look_at

# %%
# A winding valley: flat ground between walls of 1100 m, and hills above.

random = np.random.default_rng(3)
y, x = (60.0 * np.arange(size) for size in (120, 140))
across = np.abs(x[None, :] - 4200.0 - 800.0 * np.sin(y / 1500.0)[:, None])
heights = 600.0 + 1100.0 / (1.0 + np.exp((1500.0 - across) / 330.0))
hills = gaussian_filter(random.standard_normal(heights.shape), 4)
heights += 60.0 * hills / hills.std() * np.clip(across / 1500.0, 0.0, 1.0)
dem = xr.DataArray(
    heights.astype(np.float32),
    coords={"y": 5_098_500.0 - y, "x": 573_200.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32632")
patches = gaussian_filter(random.standard_normal(heights.shape), 6)
truth = 10 ** ((4.0 * patches / patches.std() - 12.0) / 10)

# %%
# The two passes look from opposite sides. Their images share nothing but the ground.

law = ConstantGamma(1.0)
place = {"latitude": 46.005, "longitude": 10.0}
scenes = {}
for seed, name in enumerate(("ascending", "descending")):
    orbit = Orbit.circular(**place, ascending=name == "ascending")
    orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=1200.0))
    grid = RadarGrid.over(orbit, **place, lines=980, samples=1260, height=1200.0, looks=4.4)
    scenes[name] = simulate(dem, grid, orbit, law=law, reflectivity=truth, looks=4.4, seed=seed)

# %%
# Reconstructed in one call, each pass keeps its own γ⁰, and borrows from the other only where the
# scene shows that this helps. One map of both is a composite: each place mainly from the pass that
# images it most finely.

both = reconstruct(list(scenes.values()), dem)
resolution = [local_resolution(scene, dem) for scene in scenes.values()]
gamma0 = {name: both["gamma0"].isel(time=number) for number, name in enumerate(scenes)}
gamma0["composite"] = composite(both, resolution)["gamma0"].squeeze()

# %%
# Cells that at least one pass sees folded are outlined.

folded = both["mask"].isin([2, 3, 6])
somewhere = folded.any("time").values
figure, axes = plt.subplots(2, 2, figsize=(9.6, 8), layout="constrained", sharex=True, sharey=True)
extent = (0.0, 8.4, 0.0, 7.2)
for panel, (name, values) in zip(axes.flat, {"truth": truth, **gamma0}.items(), strict=True):
    decibels = 10 * np.log10(np.maximum(np.asarray(values), 1e-6))
    rms = np.sqrt(np.nanmean((decibels - 10 * np.log10(truth))[somewhere] ** 2))
    print(f"{name:11} RMS error {rms:.2f} dB in the {somewhere.mean():.0%} of cells in folds")
    drawn = panel.imshow(decibels, cmap="gray", vmin=-22, vmax=-3, extent=extent)
    own = somewhere if name not in scenes else folded.isel(time=list(scenes).index(name)).values
    panel.contour(own[::-1], [0.5], extent=extent, colors="#D55E00", linewidths=0.7)
    panel.set_title(f"{name}, {rms:.2f} dB off in folds")
axes[0, 0].set_title("truth")
for panel in axes[1]:
    panel.set_xlabel("km")
figure.colorbar(drawn, ax=axes, label="γ⁰ (dB)", shrink=0.6)
figure.savefig("two_passes.png", dpi=110)
