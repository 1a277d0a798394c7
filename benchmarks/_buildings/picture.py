"""Pictures of a simulated city, its estimates and their errors, and of how networks learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks._figures import RESULTS

__all__ = ["Curve", "Pair", "save_curves", "save_picture"]

Curve: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps, and the validation RMSE in metres after them."""

Pair: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Truth and estimate of patches in metres, shape (patches, rows, columns)."""

HIGHEST = 30.0
LARGEST_ERROR = 15.0
KILOMETRES = 0.01
"""Width of a cell."""


def save_picture(published: Pair, ours: Pair, across: int) -> None:
    """Draw the city of the test with the most buildings, to ``pictures/buildings.png``."""
    truths = _cities(ours[0], across)
    shown = int(np.argmax((truths > 0.0).mean(axis=(1, 2))))
    truth = truths[shown]
    figure = Figure(figsize=(11.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 3)
    extent = (0.0, truth.shape[1] * KILOMETRES, 0.0, truth.shape[0] * KILOMETRES)
    heights = axes[0, 0].imshow(truth, vmin=0.0, vmax=HIGHEST, cmap="viridis", extent=extent)
    axes[0, 0].set_title("truth (simulated city)")
    axes[1, 0].set_axis_off()
    for column, (name, pair) in enumerate(
        (("MBHR-Net, mean of its twelve maps", published), ("ours", ours)), start=1
    ):
        estimate = _cities(pair[1], across)[shown]
        error = estimate - truth
        axes[0, column].imshow(estimate, vmin=0.0, vmax=HIGHEST, cmap="viridis", extent=extent)
        axes[0, column].set_title(name)
        errors = axes[1, column].imshow(
            error, vmin=-LARGEST_ERROR, vmax=LARGEST_ERROR, cmap="RdBu_r", extent=extent
        )
        axes[1, column].set_title(f"its error, RMSE {np.sqrt(np.mean(error**2)):.2f} m")
    for axis in axes.flat:
        axis.set_xlabel("km")
    figure.colorbar(heights, ax=axes[0], label="height in m", shrink=0.8)
    figure.colorbar(errors, ax=axes[1], label="error in m", shrink=0.8)
    path = RESULTS / "pictures" / "buildings.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def save_curves(curves: Mapping[str, Mapping[int, Curve]], printed: float) -> None:
    """Draw how the validation errors fell, to ``pictures/buildings_curves.png``."""
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, (name, seeds) in enumerate(curves.items()):
        for steps, errors in seeds.values():
            axes.plot(steps, errors, color=f"C{index}", linewidth=1.0)
        axes.plot([], [], color=f"C{index}", label=name)
    axes.axhline(printed, color="0.4", linestyle=":", label="printed for MBHR-Net, real images")
    axes.set(xlabel="steps", ylabel="validation RMSE in m (simulated cities)", yscale="log")
    axes.set_ylim(3.5, 10.0)  # single epochs of the first third are far above
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis("{x:.0f}")
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(fontsize=8)
    figure.savefig(RESULTS / "pictures" / "buildings_curves.png", dpi=100)


def _cities(patches: NDArray[np.float32], across: int) -> NDArray[np.float32]:
    """Put patches together to cities, shape (cities, rows, columns)."""
    size = patches.shape[-1]
    cities = patches.reshape(-1, across, across, size, size).swapaxes(2, 3)
    return np.ascontiguousarray(cities.reshape(-1, across * size, across * size))
