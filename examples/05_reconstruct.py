"""
05 Reconstruct the backscatter
==============================

How much of the ground's own brightness can be had back from a folded image and a coarse DEM?

A mountain with patches of bright and dark ground is imaged with speckle; the reconstruction is
given the image, the orbit, and a DEM three times coarser with an error of 4 m. As the image is
simulated, the truth is known: what each cell returned by itself over its own illuminated area.
The elevations are those of matplotlib's Jacksboro fault, with their posts 30 m apart.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.cbook import get_sample_data
from scipy.ndimage import gaussian_filter

from sarheight.dem import coarsen
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, Muhleman, simulate
from sarheight.layover import Reallocation, mapping, masks, reconstruct
from sarheight.orbit import Orbit, look_at

heights = get_sample_data("jacksboro_fault_dem.npz")["elevation"][:342, :402].astype(np.float32)
y, x = (30.0 * np.arange(size) for size in heights.shape)
fine = xr.DataArray(
    heights,
    coords={"y": 4_059_000.0 - y, "x": 740_000.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32616")
place = {"latitude": 36.6, "longitude": -84.25}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=500.0))
grid = RadarGrid.over(orbit, **place, lines=1320, samples=1500, height=500.0)

# %%
# The image that the radar takes, with the brightness of each cell relative to Muhleman's law.

random = np.random.default_rng(7)
noise = [gaussian_filter(random.standard_normal(heights.shape), width) for width in (0, 9)]
decibels = noise[0] + 2.5 * np.sign(noise[1])
reflectivity = 10 ** (decibels / 10)
scene = simulate(fine, grid, orbit, law=Muhleman(), reflectivity=reflectivity, looks=4.4, seed=7)

# %%
# What is known of the terrain: 90 m posts, and an error that neighbours share.

dem = coarsen(fine, 90.0)
error = gaussian_filter(random.standard_normal(dem.shape), 1.5)
dem = dem.copy(data=dem + (4.0 * error / error.std()).astype(np.float32))

# %%
# Plain geocoding, area-projection RTC, one step of reallocation, and the posterior mean.

mean = reconstruct(scene, dem)
found = {
    "plain geocoded σ⁰": mean["sigma0_geocoded"],
    "RTC": reconstruct(scene, dem, law=ConstantGamma(), method=Reallocation())["gamma0"],
    "one step": reconstruct(scene, dem, method=Reallocation())["gamma0"],
    "posterior mean": mean["gamma0"],
}

# %%
# The truth by the weights of the fine terrain, summed over the 3 x 3 cells under each coarse one.

law_weights, areas = (
    mapping(fine, grid, orbit, law=law).matrix.sum(axis=0).reshape(heights.shape)
    for law in (Muhleman(), ConstantGamma(1.0))
)
energy, area = (
    values.reshape(dem.shape[0], 3, dem.shape[1], 3).sum(axis=(1, 3))
    for values in (law_weights * reflectivity, areas)
)
truth = energy / np.where(area > 400.0, area, np.nan)

# %%
# Cells are in layover where most of the fine terrain under them is. (Plain geocoding has no area of
# its own to divide by: it stands in as it is used today.)

layover = masks(fine, grid, orbit)["mask"].isin([2, 3, 6])
folded = layover.coarsen(y=3, x=3).mean().values > 0.5
figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), layout="constrained")
part = (slice(40, 114), slice(30, 114))
for panel, (name, values) in zip(axes.flat, {"truth": truth, **found}.items(), strict=False):
    decibels = 10 * np.log10(np.maximum(np.asarray(values), 1e-6))
    miss = decibels - 10 * np.log10(truth)
    rms = [np.sqrt(np.nanmean(miss[cells] ** 2)) for cells in (folded, ~folded)]
    print(f"{name:18} RMS error {rms[0]:.2f} dB in layover, {rms[1]:.2f} dB elsewhere")
    drawn = panel.imshow(decibels[part], cmap="gray", vmin=-24, vmax=4)
    panel.set_title(f"{name}, {rms[0]:.1f} dB off in layover")
axes[0, 0].set_title("truth (γ⁰)")
axes[1, 2].imshow(folded[part], cmap="magma_r", vmax=1.5)
axes[1, 2].set_title("layover")
for panel in axes.flat:
    panel.set(xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes, label="dB", shrink=0.5)
figure.savefig("reconstruct.png", dpi=110)
