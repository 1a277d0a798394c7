"""
07 From an orbit file to a radar grid
=====================================

What does the geometry of an image need, and how exact is it between the state vectors?

ESA's orbit files list a position and a velocity every ten seconds. Here is one made on the spot, of
a simulated circular orbit, with its numbers rounded as ESA rounds them. As the circle is a formula,
the error of the interpolation is known.
"""

import matplotlib.pyplot as plt
import numpy as np

from sarheight.geometry import rdr2geo
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from sarheight.sentinel1 import read_orbit_file

circle = {"latitude": 46.0, "longitude": 12.5, "ascending": False, "duration": 120.0}
made = Orbit.circular(**circle, interval=10.0)

# %%
# The text of the file: an OSV for each time, metres and metres per second, Earth-fixed.

vectors = [
    f"<OSV><UTC>UTC={np.datetime_as_string(made.utc(time), unit='us')}</UTC>"
    + "".join(f"<{axis}>{value:.6f}</{axis}>" for axis, value in zip("XYZ", place, strict=True))
    + "".join(f"<V{axis}>{value:.6f}</V{axis}>" for axis, value in zip("XYZ", speed, strict=True))
    + "</OSV>"
    for time, place, speed in zip(made.time, made.position, made.velocity, strict=True)
]
text = (
    "<Earth_Explorer_File><Earth_Explorer_Header><Variable_Header>"
    "<Ref_Frame>EARTH_FIXED</Ref_Frame><Time_Reference>UTC</Time_Reference>"
    "</Variable_Header></Earth_Explorer_Header><Data_Block><List_of_OSVs>"
    f"{''.join(vectors)}</List_of_OSVs></Data_Block></Earth_Explorer_File>"
)

# %%
# Reading it takes a path or the bytes, and optionally the window that is needed. A time outside the
# vectors is an error, never an extrapolation. The grid then says when each line was taken and how
# far away each sample is; for Sentinel-1 both are read by
# `read_grid` and `read_orbit`.

orbit = read_orbit_file(text.encode())
grid = RadarGrid.over(
    orbit, 46.0, 8.5, lines=1000, samples=1250, line_spacing=80.0, sample_spacing=80.0
)
print(f"{orbit.time.size} state vectors, a line every {1e3 * grid.line_interval:.2f} ms")
print(f"slant ranges from {grid.slant_range(0, 0):.0f} to {grid.slant_range(0, 1249):.0f} m")

# %%
# Against the same circle with a vector every second: rounding to micrometres is what remains in the
# middle; the ends, where vectors stand on one side only, are a little worse.

exact = Orbit.circular(**circle, interval=1.0).with_epoch(orbit.epoch)
time = np.arange(orbit.time[0] + 0.5, orbit.stop, 1.0)
error = np.linalg.norm(orbit.state(time)[0] - exact.state(time)[0], axis=1)

ground = rdr2geo(grid, orbit)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
left.plot(time, 1e6 * error)
left.plot(orbit.time, np.zeros(orbit.time.shape), "k|", label="state vectors")
left.set(xlabel="seconds", ylabel="µm", title="error between the state vectors")
left.legend()
samples = np.arange(0, grid.samples, 50)
pixels = ground.isel(line=slice(None, None, 50), sample=samples)
colour = np.broadcast_to(grid.slant_range(0, samples) / 1e3, pixels["longitude"].shape)
drawn = right.scatter(pixels["longitude"], pixels["latitude"], c=colour, s=8)
right.set(xlabel="longitude", ylabel="latitude", title="every fiftieth pixel on the ground")
figure.colorbar(drawn, label="slant range (km)")
figure.savefig("orbit_and_grid.png", dpi=110)
