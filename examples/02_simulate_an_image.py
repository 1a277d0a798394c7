"""
02 Simulate a radar image
=========================

What would the radar have seen, if the ground scattered by this law or by that?

A backscatter law says how much of a surface's brightness is left as it turns away from the radar.
It may be one of the library's or any function of the angle in degrees. Everything here is
simulated: a fjord with walls of 1000 m, at its true scale.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, Lambertian, Muhleman, simulate
from sarheight.orbit import Orbit, look_at

# %%
# Walls rise from flat water on both sides, and hills stand on the plateau.

random = np.random.default_rng(2)
y, x = (30.0 * np.arange(size) for size in (170, 260))
across = np.abs(x[None, :] - 3900.0 - 700.0 * np.sin(y / 1300.0)[:, None])
wall = 1050.0 / (1.0 + np.exp((1150.0 - across) / 280.0)) - 150.0
hills = gaussian_filter(random.standard_normal(across.shape), 6)
heights = wall + 60.0 * hills / hills.std() * np.clip(across / 1500.0, 0.0, 1.0)
dem = xr.DataArray(
    np.where(across < 560.0, 0.0, np.maximum(heights, 0.0)).astype(np.float32),
    coords={"y": 6_882_500.0 - y, "x": 396_100.0 + x},
    attrs={"units": "m", "vertical_datum": "ellipsoid"},
).rio.write_crs("EPSG:32632")

place = {"latitude": 62.03, "longitude": 7.09}
orbit = Orbit.circular(**place, ascending=False)
orbit = orbit.rotate(look_at(orbit, *place.values(), incidence=36.0, height=500.0))
grid = RadarGrid.over(orbit, **place, lines=780, samples=1080, height=500.0)


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
# The radar looks from the left in these images, whose pixels are 10 m along both axes. The bright
# seam is the wall that faces the radar: much ground in few pixels, laid over the water before it.
# All laws agree on where it falls, and differ in how bright it is. The last panel looks through
# speckle of 4.4 looks, as in a Sentinel-1 GRD.

figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
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
    decibels = 10 * np.log10(np.maximum(scene.image[150:520, 130:900], 1e-6))
    middle = float(decibels.median())
    panel.imshow(decibels, cmap="gray", vmin=middle - 12, vmax=middle + 12, aspect="equal")
    panel.set_title(name if looks is None else f"{name}, {looks} looks")
    panel.set(xticks=[], yticks=[], xlabel="range", ylabel="azimuth")
figure.savefig("simulate_an_image.png", dpi=110)
