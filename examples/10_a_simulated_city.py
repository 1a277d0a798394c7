"""
10 A simulated city
===================

What do a radar and an optical satellite see of buildings, and where does their height show?

The city is a simulation: boxes on street grids, gardens, trees, level ground. It comes as the city
stack that networks for building heights learn from: a year of monthly images, with the truth.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from tests.worlds.city_images import CitySettings, simulated_city

city = simulated_city(CitySettings(cells=96), seed=3)
height, footprint = city["height"], city["footprint"]
built = footprint.values > 0.5
print(f"{float(footprint.mean()):.0%} built, {float(height.values[built].mean()):.1f} m on average")

# %%
# Radar: a wall and the ground before it make a corner that sends all it gets back to where the
# wall stands; roofs are laid over towards the radar, by as much as they are high over the tangent
# of incidence. The two passes look from opposite sides, so a building is bright on its western
# side in one and on its eastern side in the other. Optical: the lower the sun, the longer the
# shadows. Clouds are missing.

radar = 10 * np.log10(city["sar"].mean("month"))
summer, winter = (city["optical"].isel(month=month) for month in (5, 11))


def in_colours(image: xr.DataArray) -> np.ndarray:
    """Return red, green and blue as a picture has them, clouds white."""
    colours = image.sel(optical_band=["B04", "B03", "B02"]).transpose("y", "x", "optical_band")
    return np.nan_to_num(np.clip(4.0 * colours.values, 0.0, 1.0), nan=1.0)


figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
shown = axes[0, 0].imshow(height, cmap="viridis")
figure.colorbar(shown, ax=axes[0, 0], label="m")
axes[0, 0].set_title("height of buildings (simulated)")
for panel, band in ((axes[0, 1], "vv_ascending"), (axes[0, 2], "vv_descending")):
    panel.imshow(radar.sel(sar_band=band), cmap="gray", vmin=-16, vmax=4)
    panel.set_title(f"{band.replace('_', ', ')}, mean of a year")
one = 10 * np.log10(city["sar"].isel(month=5).sel(sar_band="vv_ascending"))
axes[1, 0].imshow(one, cmap="gray", vmin=-16, vmax=4)
axes[1, 0].set_title("vv, ascending, June")
for panel, image, name in ((axes[1, 1], summer, "June"), (axes[1, 2], winter, "December")):
    panel.imshow(in_colours(image))
    panel.set_title(f"true colour, {name}")
for panel in axes.flat:
    panel.set(xticks=[], yticks=[])
figure.savefig("a_simulated_city.png", dpi=110)

# %%
# Over a year speckle averages out, and brightness has to do with height: taller walls make brighter
# corners. But a wall that faces elsewhere is dark whatever its height, so brightness alone does not
# tell it.

for band in radar["sar_band"].values:
    seen = radar.sel(sar_band=band).values[built]
    agreement = np.corrcoef(seen, height.values[built])[0, 1]
    print(f"{band}: correlation of decibels with height {agreement:.2f}")
