"""
11 The layers of a result
=========================

What does a reconstruction return, and which of its layers does one look at first?

A winding valley between walls of 1,100 m is imaged by a descending pass, with speckle. Ground and
image are simulated. `reconstruct` returns all layers; a folder that the command writes holds the
seven below.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from scipy.ndimage import gaussian_filter

from sarheight.grid import RadarGrid
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import reconstruct
from sarheight.orbit import Orbit, look_at

# %%
# The valley, and ground that is bright and dark in patches.

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
brightness = 10 ** (0.3 * np.sign(patches))

# %%
# The image, and its reconstruction.

place = {"latitude": 46.0, "longitude": 10.0}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=32.0, height=1200.0))
grid = RadarGrid.over(orbit, **place, lines=1000, samples=1200, height=1200.0, looks=4.4)
scene = simulate(dem, grid, orbit, law=Muhleman(), reflectivity=brightness, looks=4.4, seed=1)
result = reconstruct(scene, dem)

# %%
# Backscatter in decibels, and what tells its quality. Geocoding puts the valley's wall, which is
# folded, beside its place; where a cell shares its pixels, the standard deviation is larger.

figure, axes = plt.subplots(2, 4, figsize=(14, 6.4), layout="constrained")
extent = (0.0, 8.4, 0.0, 7.2)
shown = {
    "sigma0_geocoded": ("plain geocoded σ⁰ (dB)", "gray", (-22, 0)),
    "gamma0": ("reconstructed γ⁰ (dB)", "gray", (-22, 0)),
    "gamma0_std": ("its standard deviation (dB)", "viridis", (0, 2)),
    "mask": ("layover and shadow", "", (0, 0)),
    "fold_count": ("places that share the pixel", "", (0, 0)),
    "local_incidence": ("local incidence (degrees)", "cividis", (0, 90)),
    "projected_area": ("projected area (m²)", "bone", (0, 6000)),
}


def draw_classes(panel: Axes, layer: np.ndarray, names: dict[int, str], colours: list) -> None:
    """Draw a layer of whole numbers, with a legend of those that occur."""
    codes = [code for code in names if (layer == code).any()]
    places = np.searchsorted(codes, np.minimum(layer, codes[-1]))
    panel.imshow(places, cmap=ListedColormap([colours[code] for code in codes]), extent=extent)
    patches = [Patch(color=colours[code], label=names[code]) for code in codes]
    panel.legend(handles=patches, fontsize=7, loc="lower right", framealpha=0.9)


for panel, (name, (title, colours, limits)) in zip(axes.flat, shown.items(), strict=False):
    layer = result[name]
    panel.set_title(f"{name}\n{title}", fontsize=10)
    print(f"{name:16} {layer.attrs['long_name']}")
    if name == "mask":
        codes, meanings = layer.attrs["flag_values"], layer.attrs["flag_meanings"].split()
        names = {
            int(code): word.replace("_", " ") for code, word in zip(codes, meanings, strict=True)
        }
        draw_classes(panel, layer.values, names, plt.get_cmap("Set2").colors)
    elif name == "fold_count":
        names = {1: "1, open", 2: "2", 3: "3", 4: "4", 5: "5 or more"}
        draw_classes(panel, layer.values, names, plt.get_cmap("Purples")(np.arange(6) / 5))
    else:
        values = np.where(layer == layer.attrs["_FillValue"], np.nan, layer)
        if name in ("gamma0", "sigma0_geocoded"):
            values = 10 * np.log10(np.maximum(values, 1e-4))
        drawn = panel.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent)
        figure.colorbar(drawn, ax=panel, shrink=0.75)
shade = axes[1, 3].imshow(dem, cmap="terrain", extent=extent)
figure.colorbar(shade, ax=axes[1, 3], shrink=0.75)
axes[1, 3].set_title("the DEM\nheights (m)", fontsize=10)
for panel in axes[:, 0]:
    panel.set_ylabel("km")
for panel in axes[1]:
    panel.set_xlabel("km")
figure.savefig("layers.png", dpi=100)
