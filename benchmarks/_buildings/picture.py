"""A picture of a simulated city: the truth, two estimates, and their errors."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks._figures import RESULTS

__all__ = ["Pair", "save_picture"]

Pair: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Truth and estimate of patches in metres, shape (patches, rows, columns)."""

HIGHEST = 30.0
LARGEST_ERROR = 15.0
KILOMETRES = 0.01
"""Width of a cell."""


def save_picture(published: Pair, ours: Pair, across: int) -> None:
    """Draw the city of the test with the most buildings, to ``pictures/buildings.png``.

    Parameters
    ----------
    published, ours : Pair
        What two networks made of the same patches.
    across : int
        Patches from one edge of a city to the other.
    """
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


def _cities(patches: NDArray[np.float32], across: int) -> NDArray[np.float32]:
    """Put patches together to cities, shape (cities, rows, columns)."""
    size = patches.shape[-1]
    cities = patches.reshape(-1, across, across, size, size).swapaxes(2, 3)
    return np.ascontiguousarray(cities.reshape(-1, across * size, across * size))
