"""``sarheight demo``: real mountains, a simulated image, and the errors of its reconstruction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sarheight.cli._files import require_writable
from sarheight.cli._session import session
from sarheight.workflow.config import Running
from sarheight.workflow.options import option
from sarheight.workflow.words import OUTPUT, Overwrite

if TYPE_CHECKING:
    from sarheight.cli._demo_scene import Comparison, EmbeddedScene

PICTURE = "demo.png"
RESOLUTION = 108.0
SHARES = {
    "read the image": 1,
    "correct by projected area (RTC)": 2,
    "reallocate in one step": 2,
    "reallocate, posterior mean": 4,
    "draw": 3,
}
"""Shares of the stages in the work."""
MADE_BY = "sarheight demo"


def demo(
    running: Running,
    *,
    output: Annotated[
        Path, option(OUTPUT, "--output", "-o", exists=True, file_okay=False)
    ] = Path(),
    overwrite: Overwrite = False,
) -> None:
    """Unfold a simulated image of real mountains: a picture and a table of errors.

    Nothing is downloaded: the image comes with the package. It is one of a point-scatterer
    simulator that shares nothing with the reconstruction, over real mountains with several kinds of
    ground, each with an angular law of its own. The reconstruction is given a DEM three times
    coarser than that of the simulation, with errors of height. This takes some seconds; the first
    run compiles the kernels, which takes about a minute of processor time. A message says how
    long it took.

    The picture of an earlier demo is replaced.

    ```
    sarheight demo
    sarheight demo --output pictures
    ```

    Parameters
    ----------
    output : pathlib.Path
        Folder of the picture, demo.png.
    overwrite : bool
        Replace existing outputs.
    """
    path = output / PICTURE
    overwrite = overwrite or _is_demo_picture(path)
    require_writable(path, "output", overwrite=overwrite)
    start = time.perf_counter()
    with session("demo", running, SHARES) as current:
        current.stage("read the image")
        current.compile_kernels()
        from sarheight.cli import _demo_scene
        from sarheight.output import save_png

        scene = _demo_scene.embedded_scene()
        comparison = _demo_scene.compare(scene, current.stage)
        current.stage("draw")
        save_png(
            _demo_scene.picture(scene, comparison),
            path,
            overwrite=overwrite,
            resolution=RESOLUTION,
            metadata={"Software": MADE_BY, "Comment": "simulated"},
        )
        current.say(f"made in {time.perf_counter() - start:.0f} s")
    _show(scene, comparison, path)


def _is_demo_picture(path: Path) -> bool:
    """Tell whether a picture is from an earlier demo."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == MADE_BY
    except (OSError, UnidentifiedImageError):
        return False


def _show(scene: EmbeddedScene, comparison: Comparison, path: Path) -> None:
    """Print the scene and the errors."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    facts = Table.grid(padding=(0, 2))
    for name, text in _facts(scene, comparison):
        facts.add_row(f"[bold]{name}[/bold]", text)
    table = Table(
        title="Errors of γ⁰ in dB against the truth of the simulation", title_justify="left"
    )
    table.add_column("method", no_wrap=True)
    for column in ("layover: bias", "RMSE", "elsewhere: bias", "RMSE"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in comparison.errors:
        table.add_row(
            row.method,
            *(
                f"{value:{form}}"
                for value, form in (
                    (row.layover_bias, "+.2f"),
                    (row.layover_rmse, ".2f"),
                    (row.elsewhere_bias, "+.2f"),
                    (row.elsewhere_rmse, ".2f"),
                )
            ),
        )
    console.print(facts)
    console.print()
    console.print(table)
    console.print("Geocoding: γ⁰ on the ellipsoid. No offset is removed.")
    console.print(f"picture: {path}", soft_wrap=True, highlight=False)


def _facts(scene: EmbeddedScene, comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Describe what is real and what is simulated."""
    from sarheight.cli import _demo_scene
    from sarheight.dem import local_posting

    posting = " × ".join(f"{step:.0f}" for step in local_posting(scene.dem))
    lowest, highest = float(scene.dem.min()), float(scene.dem.max())
    lines, samples = scene.image.grid.shape
    yield "terrain", f"real: Big Tujunga, California (SRTM), {lowest:.0f} to {highest:.0f} m"
    radar = "simulated by point scatterers: an orbit like Sentinel-1's, ascending"
    image = f"{lines} × {samples} pixels of {10 * _demo_scene.LOOKS} m, speckle, noise"
    yield "radar", f"{radar}, {_demo_scene.INCIDENCE}° incidence; {image}"
    yield "ground", "simulated: kinds of ground in patches, each with an angular law of its own"
    yield "inputs", f"the image, and a DEM of {posting} m with errors of 4.5 m"
    yield (
        "layover",
        (
            f"{100 * comparison.in_layover:.0f} % of the cells lie in layover by the truth, "
            f"{100 * comparison.folded:.1f} % by the DEM"
        ),
    )
