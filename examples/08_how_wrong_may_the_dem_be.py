"""
08 How wrong may the DEM be?
============================

The shares in which a pixel is taken apart follow the elevation model. How fast do they spoil when
its heights are off, and does a prior help?

The same simulated image is reconstructed with elevation models of growing error, whose neighbouring
cells err alike as those of real ones do. The terrain has 30 m posts; the reconstruction gets 90 m.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from sarheight.dem import coarsen
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import PosteriorMean, Reallocation, masks, reconstruct
from sarheight.orbit import Orbit, look_at

# %%
# A simulated volcano at its true scale: a cone of 1800 m with gullies and a caldera.

y, x = (30.0 * np.arange(size) for size in (240, 240))
north, east = 3600.0 - y[:, None], x[None, :] - 3600.0
radius, angle = np.hypot(north, east), np.arctan2(north, east)
heights = 2400.0 * np.exp(-np.maximum(radius, 560.0) / 2600.0)
heights -= 340.0 * (1.0 - np.minimum(radius / 560.0, 1.0) ** 6)  # the caldera
gullies = np.cos(19 * angle + 1.5 * np.sin(3 * angle))
heights += 45.0 * gullies * np.exp(-(((radius - 1800.0) / 1100.0) ** 2))
fine = xr.DataArray(
    heights.astype(np.float32),
    coords={"y": 4_180_000.0 - y, "x": 496_400.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32633")
place = {"latitude": 37.735, "longitude": 15.0}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=32.0, height=800.0))
grid = RadarGrid.over(orbit, **place, lines=1000, samples=1200, height=800.0)

# %%
# Ground of constant γ⁰ times a brightness that changes smoothly from place to place: that suits the
# posterior mean, which asks the neighbours. Ground with more grain leaves it less to gain.

random = np.random.default_rng(5)
patches = gaussian_filter(random.standard_normal(heights.shape), 9)
truth = 10 ** ((3.0 * patches / patches.std() - 12.0) / 10)
law = ConstantGamma(1.0)
scene = simulate(fine, grid, orbit, law=law, reflectivity=truth, looks=4.4, seed=5)

dem = coarsen(fine, 90.0)
known = truth.reshape(dem.shape[0], 3, dem.shape[1], 3).mean(axis=(1, 3))
layover = masks(fine, grid, orbit)["mask"].isin([2, 3, 6]).coarsen(y=3, x=3).mean().values > 0.5

# %%
# Height errors of 0 to 32 m (root mean square), with the grain of a pixel and a half.

grain = gaussian_filter(random.standard_normal(dem.shape), 1.5)
grain = (grain / grain.std()).astype(np.float32)
errors = [0.0, 4.0, 8.0, 16.0, 32.0]
methods = {"RTC (one step, constant γ⁰)": Reallocation(), "posterior mean": PosteriorMean()}
missed = {(name, part): [] for name in methods for part in ("in layover", "elsewhere")}
for metres in errors:
    for name, method in methods.items():
        wrong = dem.copy(data=dem + metres * grain)
        result = reconstruct(scene, wrong, law=law, method=method)
        miss = 10 * np.log10(np.maximum(result["gamma0"].values, 1e-6) / known)
        for part, cells in (("in layover", layover), ("elsewhere", ~layover)):
            missed[name, part].append(np.sqrt(np.nanmean(miss[cells] ** 2)))

figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
for (name, part), values in missed.items():
    style = "-o" if part == "in layover" else "--s"
    colour = "#D55E00" if name == "posterior mean" else "#0072B2"
    axes.plot(errors, values, style, color=colour, label=f"{name}, {part}")
    print(f"{name:28} {part:11}", " ".join(f"{value:5.2f}" for value in values))
axes.set(xlabel="RMS error of the DEM's heights (m)", ylabel="RMS error of γ⁰ (dB)", ylim=(0, None))
axes.legend()
figure.savefig("how_wrong_may_the_dem_be.png", dpi=110)
