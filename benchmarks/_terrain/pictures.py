"""The pictures of `benchmarks.terrain`: truth, estimates and error maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LightSource
from matplotlib.figure import Figure
from PIL import Image

from benchmarks._terrain.errors import arrays_of
from benchmarks._terrain.rows import NETWORKS, ROWS, USUAL

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks._terrain.places import Ground
    from sarheight.terrain import HeightEstimator

__all__ = ["draw"]

LAYOVER = (2, 3, 6)
LARGEST_ERROR = 100.0
COLUMNS = 5


def draw(ground: Ground, estimators: Mapping[str, HeightEstimator], folder: Path) -> None:
    """Draw for each region the test patch with the most layover, as ``terrain_<region>.png``.

    Above the heights, lit from the upper left, below the errors.
    """
    for region, scene in ground.scenes.items():
        part = ground.bands[region]["test"]
        posting = scene.attrs["posting_m"]
        panels: dict[str, NDArray[Any]] = {}
        for row, estimator in estimators.items():
            channels = NETWORKS[row].channels
            arrays = arrays_of(scene, part, channels, USUAL, estimator)
            folded = np.isin(arrays["mask"], LAYOVER).mean(axis=(1, 2, 3))
            number = int(np.argmax(folded))
            if not panels:
                panels = {
                    name: arrays[key][number, 0]
                    for name, key in (
                        ("truth", "truth"),
                        ("priors", "interpolated"),
                        ("coarse", "coarse"),
                    )
                }
            panels[row] = arrays["height"][number, 0]
        _save(_picture(region, panels, posting), folder / f"terrain_{region}.png")


def _picture(region: str, panels: Mapping[str, NDArray[Any]], posting: Sequence[float]) -> Figure:
    truth = panels["truth"]
    light = LightSource(azdeg=315.0, altdeg=45.0)
    blocks = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS + 1.0, 4.7 * blocks), layout="constrained")
    axes = figure.subplots(2 * blocks, COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, (row, heights) in enumerate(panels.items()):
        block, column = divmod(index, COLUMNS)
        above, below = axes[2 * block, column], axes[2 * block + 1, column]
        shade = light.hillshade(heights, dx=posting[1], dy=posting[0])
        above.imshow(shade, cmap="gray", vmin=0.0, vmax=1.0)
        above.set_title("truth" if row == "truth" else ROWS[row].replace(", ", ",\n"), fontsize=9)
        if row != "truth":
            error = heights - truth
            drawn = below.imshow(error, cmap="RdBu_r", vmin=-LARGEST_ERROR, vmax=LARGEST_ERROR)
            below.set_title(f"RMSE {np.sqrt(np.nanmean(error**2)):.1f} m", fontsize=9)
    figure.colorbar(drawn, ax=axes[:, -1], label="error in m", shrink=0.5)
    figure.suptitle(
        f"{region}: the test patch with the most layover, {USUAL} known elevations.\n"
        "Simulated from a real elevation model and a real orbit; the radar looks from the left.",
        fontsize=9,
    )
    return figure


def _save(figure: Figure, path: Path) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Error maps compress badly: a palette keeps the file small.
    image = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
