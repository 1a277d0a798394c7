"""A picture for each scene: the truth, and the error map of each method."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from benchmarks._figures import RESULTS
from benchmarks._mountains.score import BOTH, GEOCODED, ITERATION, ONE_STEP, RTC, SINGLE, Outcome

__all__ = ["save_picture"]

CELLS = 130
"""Width and height of the part that is shown, in cells."""
LARGEST_ERROR = 8.0
TITLES = {
    GEOCODED: "plain geocoding",
    RTC: "area-projection RTC",
    ONE_STEP: "one-step reallocation",
    ITERATION: "regularised iteration",
    BOTH: "two passes",
}


def _most_folded(layover: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Find the part with the most layover."""
    rows, columns = (min(CELLS, size) for size in layover.shape)
    density = uniform_filter(layover.astype(np.float64), (rows, columns), mode="constant")
    inside = np.zeros(layover.shape, dtype=bool)
    inside[
        rows // 2 : layover.shape[0] - (rows - 1) // 2,
        columns // 2 : layover.shape[1] - (columns - 1) // 2,
    ] = True
    row, column = np.unravel_index(np.argmax(np.where(inside, density, -1.0)), layover.shape)
    top, left = int(row) - rows // 2, int(column) - columns // 2
    return slice(top, top + rows), slice(left, left + columns)


def save_picture(name: str, outcome: Outcome) -> None:
    """Draw a scene and save it as ``benchmarks/results/pictures/core_<name>.png``.

    Parameters
    ----------
    name : str
        Name of the scene.
    outcome : Outcome
        What came out of one seed.
    """
    part = _most_folded(outcome.layover)
    figure = Figure(figsize=(10.2, 7.4), layout="constrained")
    axes = figure.subplots(2, 3)
    truth = axes[0, 0].imshow(
        outcome.truth[part], cmap="gray", vmin=-25, vmax=0, interpolation="nearest"
    )
    tint = ListedColormap(["#e69f00"])
    shown = np.ma.masked_equal(outcome.layover[part], 0)
    axes[0, 0].imshow(shown, cmap=tint, alpha=0.35, interpolation="nearest")
    axes[0, 0].set_facecolor("#0072b2")
    axes[0, 0].set_title("true γ0; layover tinted, no data blue", fontsize=10)
    figure.colorbar(truth, ax=axes[:, 0], label="γ0 in dB", shrink=0.6, location="left")
    for axis, (method, label) in zip(axes.flat[1:], TITLES.items(), strict=True):
        axis.set_facecolor("0.6")
        drawn = axis.imshow(
            outcome.errors[method][part],
            cmap="RdBu_r",
            vmin=-LARGEST_ERROR,
            vmax=LARGEST_ERROR,
            interpolation="nearest",
        )
        rmse = outcome.scores[method][0, 1]
        title = f"{label} ({outcome.better})" if method == BOTH else label
        axis.set_title(f"{title}: {rmse:.2f} dB", fontsize=10)
    figure.colorbar(drawn, ax=axes[:, 2], label="error of γ0 in dB", shrink=0.6)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(
        f"{name}: the most folded part. Numbers: RMSE in layover over the whole scene (two passes: "
        f"layover in either;\na single pass has {outcome.scores[SINGLE][0, 1]:.2f} dB there). "
        "Simulated from a real DEM and a real orbit.",
        fontsize=10,
    )
    buffer = BytesIO()
    figure.savefig(buffer, dpi=100)
    folder = RESULTS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    # Error maps of speckle compress badly: a palette keeps the file small.
    image = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(folder / f"core_{name}.png", optimize=True)
