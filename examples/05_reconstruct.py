"""
05 Reconstruct the backscatter
==============================

How much of the ground's own brightness can be had back from a folded image and a coarse DEM?

Mountains with patches of bright and dark ground are imaged with speckle; the reconstruction is
given the image, the orbit, and a DEM three times coarser with an error of 4 m. As the image is
simulated, the truth is known: what each cell returned by itself over its own illuminated area.
The mountains are simulated as well, at their true scale.
"""

import matplotlib.pyplot as plt
import numpy as np
import rioxarray
import xarray as xr
from scipy.ndimage import gaussian_filter

from sarheight import output, plot
from sarheight.dem import coarsen
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, Muhleman, simulate
from sarheight.layover import Reallocation, mapping, masks, reconstruct
from sarheight.orbit import Orbit, look_at

# %%
# Crests stand where smooth noise crosses zero, at three scales.

random = np.random.default_rng(4)
heights = np.zeros((240, 330))
for width, relief in ((26.0, 420.0), (11.0, 120.0), (4.0, 22.0)):
    noise = gaussian_filter(random.standard_normal(heights.shape), width, mode="wrap")
    heights -= relief * np.abs(noise / noise.std())
y, x = (30.0 * np.arange(size) for size in heights.shape)
fine = xr.DataArray(
    (heights - heights.min() + 600.0).astype(np.float32),
    coords={"y": 5_098_500.0 - y, "x": 572_500.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32632")
place = {"latitude": 46.005, "longitude": 10.0}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=1200.0))
grid = RadarGrid.over(orbit, **place, lines=980, samples=1340, height=1200.0, looks=4.4)

# %%
# The image that the radar takes, with the brightness of each cell relative to Muhleman's law.

patches = gaussian_filter(random.standard_normal(heights.shape), 9)
decibels = random.standard_normal(heights.shape) + 2.5 * np.sign(patches)
reflectivity = 10 ** (decibels / 10)
scene = simulate(fine, grid, orbit, law=Muhleman(), reflectivity=reflectivity, looks=4.4, seed=7)

# %%
# What is known of the terrain: 90 m posts, and an error that neighbours share.

dem = coarsen(fine, 90.0)
error = gaussian_filter(random.standard_normal(dem.shape), 1.5)
dem = dem.copy(data=dem + (4.0 * error / error.std()).astype(np.float32))

# %%
# The default method, the posterior mean, and its picture. A name without suffix becomes a folder of
# layers, which any program reads by name.

result = reconstruct(scene, dem)
output.save_png(plot.scene(result, scene.image, relief=dem), "reconstruct_1.png")
output.write(result, "mountains", overwrite=True)
gamma0 = rioxarray.open_rasterio("mountains/mountains_gamma0.tif", masked=True).squeeze()

# %%
# Beside it plain geocoding, area-projection RTC, and one step of reallocation.

found = {
    "plain geocoded σ⁰": result["sigma0_geocoded"],
    "RTC": reconstruct(scene, dem, law=ConstantGamma(), method=Reallocation())["gamma0"],
    "one step": reconstruct(scene, dem, method=Reallocation())["gamma0"],
    "posterior mean": gamma0,
}

# %%
# The truth by the weights of the fine terrain, summed over the 3 x 3 cells under each coarse one.

law_weights, areas = (
    mapping(fine, grid, orbit, law=law).matrix.sum(axis=0).reshape(heights.shape)
    for law in (Muhleman(), ConstantGamma(1.0))
)
blocks = dem.shape[0], 3, dem.shape[1], 3
section, area = (
    values.reshape(blocks).sum(axis=(1, 3)) for values in (law_weights * reflectivity, areas)
)
truth = section / np.where(area > 400.0, area, np.nan)

# %%
# Cells are in layover where most of the fine terrain under them is. (Plain geocoding has no area of
# its own to divide by: it stands in as it is used today.)

layover = masks(fine, grid, orbit)["mask"].isin([2, 3, 6]).values
folded = layover.reshape(blocks).mean(axis=(1, 3)) > 0.5
figure, axes = plt.subplots(
    2, 3, figsize=(12.5, 6.4), layout="constrained", sharex=True, sharey=True
)
extent = (0.0, 9.9, 0.0, 7.2)
for panel, (name, values) in zip(axes.flat, {"truth": truth, **found}.items(), strict=False):
    decibels = 10 * np.log10(np.maximum(np.asarray(values), 1e-6))
    miss = decibels - 10 * np.log10(truth)
    rms = [np.sqrt(np.nanmean(miss[cells] ** 2)) for cells in (folded, ~folded)]
    print(f"{name:18} RMS error {rms[0]:.2f} dB in layover, {rms[1]:.2f} dB elsewhere")
    drawn = panel.imshow(decibels, cmap="gray", vmin=-24, vmax=0, extent=extent)
    panel.set_title(f"{name}, {rms[0]:.1f} dB off in layover")
axes[0, 0].set_title("truth (γ⁰)")
axes[1, 2].imshow(folded, cmap="magma_r", vmax=1.5, extent=extent)
axes[1, 2].set_title("layover")
for panel in axes[1]:
    panel.set_xlabel("km")
figure.colorbar(drawn, ax=axes, label="dB", shrink=0.5)
figure.savefig("reconstruct_2.png", dpi=110)
