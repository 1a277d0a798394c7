"""Dark places in layover of the ENVISAT image, whose heights are interpolated in several ways.

isce3 puts each pixel on one of the places that it shows, so the slopes in layover hold holes
without a position, and their heights are interpolated. The image is reconstructed with heights that
are interpolated in another way, by another method, without cells of little area, and where it was
delivered, beside its simulation. A place is
dark where gamma0, averaged over 5 x 5 posts, lies 2 dB below the median of open ground; the share
of dark places in the holes is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, ndimage

from sarheight.dem import local_posting
from sarheight.layover import RTC, in_layover, reconstruct

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks._real.envisat import Desert
    from sarheight.scene import Scene

__all__ = ["FAR", "MADE", "draw_dark", "measure_dark", "reconstruct_variants"]

Floats = NDArray[np.float64]

FAR = 25.0
"""Metres to the nearest position of isce3's beyond which a height counts as interpolated."""
AVERAGED = 5
"""Posts along a side of the windows in which gamma0 is averaged."""
DARK = 2.0
"""Decibels below open ground."""
SMALLEST = 0.3
"""The part of a cell below which it gets no value where small areas are left out."""
LIMITS = 8.0, 20.0
"""Decibels of black and white."""
BAR = 1000.0
"""Metres that the scale bar is long."""

END = 0.35, 0.6
"""Parts of the rows and columns with which the end of the scene begins that is drawn."""

MADE = {
    "posterior": "default method, heights by splines",
    "rtc": "RTC, heights by splines",
    "triangles": "default method, heights by triangles",
    "rtc_triangles": "RTC, heights by triangles",
    "small_areas": f"default method, splines, no cells of an area below {SMALLEST:g}",
    "rtc_delivered": "RTC, splines, not co-registered",
}
"""What is compared, by key: the default method at the left of the picture, RTC at the right."""


def triangulated(place: Desert) -> xr.DataArray:
    """Interpolate linearly between the positions of all pixels, on the posts of the splines."""
    dem = place.heights.dem()
    scale = np.array([np.cos(np.radians(float(dem["y"].mean()))), 1.0])
    points = np.stack((place.longitude.ravel(), place.latitude.ravel()), axis=1)
    posts = np.stack(np.meshgrid(dem["x"].values, dem["y"].values), axis=-1)
    surface = interpolate.LinearNDInterpolator(points * scale, place.height.ravel())
    heights = np.where(np.isfinite(dem.values), surface(posts * scale), np.nan)
    return dem.copy(data=heights.astype(np.float32))


def reconstruct_variants(scene: Scene, delivered: Scene, place: Desert) -> dict[str, xr.Dataset]:
    """Reconstruct in all ways that are compared; by key.

    `scene` is the image co-registered, `delivered` as it was delivered.
    """
    splines, triangles = place.heights.dem(), triangulated(place)
    variables = ("gamma0", "mask")
    return {
        "posterior": reconstruct(scene, splines, variables=variables),
        "rtc": reconstruct(scene, splines, method=RTC(), variables=variables),
        "triangles": reconstruct(scene, triangles, variables=variables),
        "rtc_triangles": reconstruct(scene, triangles, method=RTC(), variables=variables),
        "small_areas": reconstruct(scene, splines, smallest_area=SMALLEST, variables=variables),
        "rtc_delivered": reconstruct(delivered, splines, method=RTC(), variables=variables),
    }


def measure_dark(variants: dict[str, xr.Dataset], distance: Floats) -> dict[str, float]:
    """Return the per cent of dark places: in holes of the layover by key, and of open ground.

    `distance` is that of each post to the nearest position of isce3's in metres.
    """
    found = {}
    for key, result in variants.items():
        dark, folded = _dark(result["gamma0"]), in_layover(result["mask"]).values
        known = np.isfinite(result["gamma0"].values)
        found[key] = 100.0 * float(dark[folded & known & (distance > FAR)].mean())
        if key == "posterior":
            found["open"] = 100.0 * float(dark[known & ~folded].mean())
    return found


def _dark(gamma0: xr.DataArray) -> NDArray[np.bool_]:
    """Tell which posts lie in dark places."""
    known = np.isfinite(gamma0.values)
    weight = ndimage.uniform_filter(known.astype(float), AVERAGED)
    total = ndimage.uniform_filter(np.where(known, gamma0.values, 0.0), AVERAGED)
    mean = np.divide(total, weight, out=np.full(total.shape, np.nan), where=known)
    dark: NDArray[np.bool_] = mean < np.nanmedian(mean) * 10.0 ** (-DARK / 10.0)
    return dark


def draw_dark(variants: dict[str, xr.Dataset], distance: Floats) -> Figure:
    """Draw gamma0 of all variants at the end of the scene with layover; holes are outlined."""
    from matplotlib.figure import Figure

    first = next(iter(variants.values()))
    rows, columns = (int(part * size) for part, size in zip(END, distance.shape, strict=True))
    end = slice(rows, None), slice(columns, None)
    aspect = 1.0 / np.cos(np.radians(float(first["y"].mean())))
    # Posts beyond the image are far from all positions.
    holes = np.isfinite(first["gamma0"].values) & (distance > FAR)
    figure = Figure(figsize=(11.0, 10.0), layout="constrained")
    for axis, (key, result) in zip(figure.subplots(3, 2).flat, variants.items(), strict=True):
        values = 10.0 * np.log10(result["gamma0"].values[end])
        drawn = axis.imshow(values, cmap="gray", vmin=LIMITS[0], vmax=LIMITS[1], aspect=aspect)
        axis.contour(holes[end], levels=[0.5], colors="#d95f02", linewidths=0.6)
        axis.set(title=MADE[key], xticks=[], yticks=[], facecolor="#c8d0e8")
    _draw_bar(figure.axes[0], local_posting(first["gamma0"])[1])
    figure.colorbar(
        drawn, ax=figure.axes, label="γ⁰ (dB, not calibrated)", extend="both", shrink=0.6
    )
    figure.suptitle(
        "Real ENVISAT pixels. Outlined: heights interpolated, "
        f"more than {FAR:g} m from a known one. Blue: not imaged"
    )
    return figure


def _draw_bar(axes: Axes, posting: float) -> None:
    """Draw a scale bar at the lower left, where the scene does not reach."""
    cells = BAR / posting
    row = axes.get_ylim()[0]
    axes.plot([5.0, 5.0 + cells], [0.93 * row] * 2, color="#202020", linewidth=2.0)
    axes.text(5.0 + cells / 2.0, 0.91 * row, f"{BAR / 1000.0:g} km", ha="center", va="bottom")
