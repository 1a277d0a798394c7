"""A picture of one place: the truth, and the errors of methods."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image as Picture

from benchmarks._independent.filters import decibels
from benchmarks._independent.methods import METHODS
from benchmarks._independent.places import PLACES
from benchmarks._independent.scores import areas_of, score

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._independent.observations import Observed

__all__ = ["SHOWN", "save_picture"]

SHOWN = ("geocoding", "rtc_cells", "rtc_tv", "posterior")
"""Methods that are drawn where they exist."""
LARGEST_ERROR = 6.0


def save_picture(observed: Observed, names: Sequence[str], path: Path) -> None:
    """Draw the truth and the errors of methods of one pass, and save them as PNG."""
    (areas,) = areas_of([observed])
    truth = decibels(observed.truth.gamma0.values)
    figure = Figure(figsize=(3.3 * (1 + len(names)), 3.5), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(names))
    drawn = first.imshow(truth, cmap="gray", vmin=-20.0, vmax=0.0, interpolation="nearest")
    folded = np.ma.masked_equal(observed.truth.layover.values.astype(int), 0)
    first.imshow(folded, cmap=ListedColormap(["#e69f00"]), alpha=0.35, interpolation="nearest")
    place = PLACES[observed.image.place].title
    first.set_title(f"{place}, {observed.image.incidence}°: true γ°, layover tinted", fontsize=9)
    figure.colorbar(drawn, ax=first, label="γ° in dB", shrink=0.7, location="left")
    for axis, name in zip(others, names, strict=True):
        (estimate,) = METHODS[name].run([observed])
        (found,) = score([estimate], [observed], [areas])
        error = np.where(areas["all"], decibels(estimate.gamma0) - truth, np.nan)
        axis.set_facecolor("0.6")
        drawn = axis.imshow(
            error,
            cmap="RdBu_r",
            vmin=-LARGEST_ERROR,
            vmax=LARGEST_ERROR,
            interpolation="nearest",
        )
        title = f"{METHODS[name].title}\n{found.rmse('layover'):.2f} dB in layover, "
        axis.set_title(f"{title}{found.rmse('outside'):.2f} dB outside", fontsize=9)
    figure.colorbar(drawn, ax=others[-1], label="error of γ° in dB", shrink=0.7)
    for axis in (first, *others):
        axis.set_xticks([])
        axis.set_yticks([])
    buffer = BytesIO()
    figure.savefig(buffer, dpi=100)
    path.parent.mkdir(parents=True, exist_ok=True)
    # 128 colours are enough, and take a quarter of the space.
    Picture.open(buffer).convert("RGB").quantize(128).save(path, optimize=True)
