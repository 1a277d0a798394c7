"""
02 Simulate a radar image
=========================

What would the radar have seen, if the ground scattered by this law or by that?

A backscatter law says how much of a surface's brightness is left as it turns away from the radar.
It may be one of the library's or any function of the angle in degrees. Everything here is
simulated, from the Jacksboro elevations of matplotlib with their posts 30 m apart.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.cbook import get_sample_data

from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, Lambertian, Muhleman, simulate
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
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=34.0, height=500.0))
grid = RadarGrid.over(orbit, **place, lines=1320, samples=1500, height=500.0)


# %%
# Three laws of the library, and one of our own: a rough surface with a bright peak where it is
# seen face on.


def glint(incidence: np.ndarray) -> np.ndarray:
    """Return sigma0 of a rough surface that also mirrors."""
    return 0.1 * np.cos(np.radians(incidence)) + 0.6 * np.exp(-((incidence / 12.0) ** 2))


laws = {
    "Lambert": Lambertian(),
    "constant γ⁰": ConstantGamma(),
    "Muhleman": Muhleman(),
    "a glint of our own": glint,
}

# %%
# Bright seams are slopes that face the radar: much ground in few pixels. All laws agree there on
# where the energy falls, and differ in how much it is. The last panel looks through speckle of
# 4.4 looks, as in a Sentinel-1 GRD.

figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
panels = [(name, law, None) for name, law in laws.items()] + [("Muhleman", Muhleman(), 4.4)]
angle = np.linspace(0.0, 89.0, 200)
for name, law in laws.items():
    axes[0, 0].plot(angle, 10 * np.log10(law(angle)), label=name)
axes[0, 0].set(
    ylim=(-30, 0), xlabel="local incidence (degrees)", ylabel="σ⁰ (dB)", title="the laws"
)
axes[0, 0].legend()
for panel, (name, law, looks) in zip(axes.flat[1:], panels, strict=True):
    scene = simulate(dem, grid, orbit, law=law, looks=looks, seed=1)
    shown = scene.image[400:900, 450:1000]
    decibels = 10 * np.log10(np.maximum(shown, 1e-6))
    middle = float(decibels.median())
    panel.imshow(decibels, cmap="gray", vmin=middle - 12, vmax=middle + 12, aspect="equal")
    panel.set_title(name if looks is None else f"{name}, {looks} looks")
    panel.set(xticks=[], yticks=[], xlabel="range", ylabel="azimuth")
figure.savefig("simulate_an_image.png", dpi=110)
