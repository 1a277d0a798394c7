"""``sarheight train terrain``: heights from radar images, on one's own scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarheight.cli._options import Debug, Quiet
from sarheight.cli._session import session
from sarheight.cli._train.options import SPLIT, Device, RunFolder, SettingsFile

__all__ = ["terrain"]


def terrain(
    *,
    scenes: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            metavar="SCENE.zarr",
            help="Scenes with true heights, as `sarheight scenes` writes them.",
            show_default=False,
        ),
    ],
    output: RunFolder,
    settings: SettingsFile = None,
    validation: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=0.9,
            help="Share of each scene that is kept for validation, across its longer side.",
            rich_help_panel=SPLIT,
        ),
    ] = 0.2,
    held_out: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of each scene that is not looked at, for a test.",
            rich_help_panel=SPLIT,
        ),
    ] = 0.0,
    gap: Annotated[
        float,
        typer.Option(min=0.0, help="Metres between these parts.", rich_help_panel=SPLIT),
    ] = 2000.0,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network for terrain heights.

    The network ends up in the folder `model` of the run, with all that is needed to use it; the
    curves are in `curves/metrics.csv`.

    ```
    sarheight train terrain scenes/*.zarr -o run
    sarheight predict image.nc --dem coarse.tif --points known.csv --model run/model -o heights.tif
    ```
    """
    with session("train terrain", quiet=True, threads=None, debug=debug, steps=1):
        from sarheight.data import parts, scene_of_file
        from sarheight.training import TerrainSettings, train_terrain

        chosen = TerrainSettings() if settings is None else TerrainSettings.read(settings)
        found = [scene_of_file(path) for path in scenes]
        shares = {"training": 1.0 - validation - held_out, "validation": validation}
        if held_out > 0.0:
            shares["test"] = held_out
        bands = [parts(scene, shares, gap=gap) for scene in found]
        train_terrain(
            found,
            [band["training"] for band in bands],
            [band["validation"] for band in bands],
            chosen,
            output,
            accelerator=device,
            progress=not quiet,
            card={"scenes": [path.name for path in scenes], "shares": shares, "gap_m": gap},
        )
        if not quiet:
            typer.echo(f"{output / 'model'}: {chosen.network}, {len(found)} scenes", err=True)
