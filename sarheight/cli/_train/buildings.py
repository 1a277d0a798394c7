"""``sarheight train buildings``: heights of buildings, on one's own cities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import Debug, Quiet
from sarheight.cli._session import session
from sarheight.cli._train.options import SPLIT, Device, RunFolder, SettingsFile

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.data import Part

__all__ = ["buildings"]


def buildings(
    *,
    stacks: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            metavar="CITY.zarr",
            help="City stacks with heights and footprints, as `sarheight stack` writes them.",
            show_default=False,
        ),
    ],
    output: RunFolder,
    settings: SettingsFile = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Begin with the settings of MBHR-Net, which sees one month."
        ),
    ] = False,
    validate: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            metavar="CITY.zarr",
            help="A whole city for validation; give it again for another. By default blocks of "
            "each city are kept for it.",
            rich_help_panel=SPLIT,
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=0.9,
            help="Share of the blocks that is kept for validation.",
            rich_help_panel=SPLIT,
        ),
    ] = 0.2,
    block: Annotated[
        float,
        typer.Option(
            min=1.0,
            metavar="METRES",
            help="From one block to the next.",
            rich_help_panel=SPLIT,
        ),
    ] = 2000.0,
    gap: Annotated[
        float, typer.Option(min=0.0, help="Metres between blocks.", rich_help_panel=SPLIT)
    ] = 200.0,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Train a network for building heights.

    The network ends up in the folder `model` of the run, with all that is needed to use it; the
    curves are in `curves/metrics.csv`.

    ```
    sarheight train buildings stacks/*.zarr -o run
    sarheight train buildings utrecht.zarr delft.zarr --validate leiden.zarr --published -o run
    sarheight predict leiden.zarr --model run/model -o heights.tif
    ```
    """
    with session("train buildings", quiet=True, threads=None, debug=debug, steps=1):
        from sarheight.data import Part, open_stack
        from sarheight.training import BuildingSettings, train_buildings

        if settings is not None and published:
            msg = "found settings beside --published, expected one of them"
            raise typer.BadParameter(msg, param_hint="--published")
        chosen = BuildingSettings.published() if published else BuildingSettings()
        if settings is not None:
            chosen = BuildingSettings.read(settings)
        found = [open_stack(path, chunks={}) for path in stacks]
        others = [open_stack(path, chunks={}) for path in validate or []]
        if others:
            training = [[Part.whole(stack)] for stack in found] + [[] for _ in others]
            held_out: list[list[Part]] = [[] for _ in found]
            held_out += [[Part.whole(stack)] for stack in others]
        else:
            training, held_out = _blocks(found, validation, block, gap)
        train_buildings(
            [*found, *others],
            training,
            held_out,
            chosen,
            output,
            accelerator=device,
            progress=not quiet,
            card={
                "stacks": [path.name for path in stacks],
                "validation": [path.name for path in validate or []] or validation,
                "block_m": block,
                "gap_m": gap,
            },
        )
        if not quiet:
            typer.echo(f"{output / 'model'}: {chosen.network}, {len(found)} cities", err=True)


def _blocks(
    stacks: list[xr.Dataset], share: float, width: float, gap: float
) -> tuple[list[list[Part]], list[list[Part]]]:
    """Deal each city out in blocks for training and validation."""
    from sarheight.data import blocks

    shares = {"training": 1.0 - share, "validation": share}
    dealt = [blocks(stack, shares, width=width, gap=gap) for stack in stacks]
    return [each["training"] for each in dealt], [each["validation"] for each in dealt]
