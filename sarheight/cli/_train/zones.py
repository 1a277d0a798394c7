"""``sarheight train zones``: early, middle or late fusion, on one's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import Debug, Quiet
from sarheight.cli._session import session
from sarheight.cli._train.options import Device, RunFolder, SettingsFile

if TYPE_CHECKING:
    from sarheight.data import FusionForm

__all__ = ["zones"]

DATA, FORMS = "Data", "Forms of fusion"


def zones(
    *,
    data: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            metavar="DATA",
            help="So2Sat LCZ42: its folder, or one HDF5 file of it. Or rasters on one grid, with "
            "--labels.",
            show_default=False,
        ),
    ],
    output: RunFolder,
    labels: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="RASTER",
            help="Codes of the zones, 0 where none is known.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(min=1, help="Cells of a patch around a label.", rich_help_panel=DATA),
    ] = 32,
    block: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="METRES",
            help="Side of the blocks of a map that go to training, validation or test as a whole.",
            rich_help_panel=DATA,
        ),
    ] = 5000.0,
    deal: Annotated[
        bool,
        typer.Option(
            "--deal",
            help="Deal the training file out at random, 80, 10 and 10 %, and leave other files "
            "aside.",
            rich_help_panel=DATA,
        ),
    ] = False,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Which channels make a branch: `radar|optical` (the usual one), `seven groups`, "
            "`radar groups`, `optical groups`. Give it again for each further one.",
            rich_help_panel=FORMS,
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANNEL,CHANNEL,...",
            help="A branch of your own; again for each further one. `*` at the end of a name "
            "stands for all that begin so.",
            rich_help_panel=FORMS,
            show_default=False,
        ),
    ] = None,
    stages: Annotated[
        str,
        typer.Option(
            help="Where the branches meet: 0 (input) to 5, 6 (sum of their probabilities), and "
            "`independent`, trained apart and summed.",
            rich_help_panel=FORMS,
        ),
    ] = "0,1,2,3,4,5,6,independent",
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each form.", rich_help_panel=FORMS)
    ] = 5,
    settings: SettingsFile = None,
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Train networks for Local Climate Zones, and tell which stage of fusion is best.

    Every form is trained from several seeds. A table gives overall accuracy (OA), average accuracy
    (AA), kappa and calibration error on samples that no form was chosen by, with their spread. The
    best network at validation ends up in the folder `model`; `sarheight predict` makes maps with
    it.

    ```
    sarheight train zones so2sat_v2/ -o run
    sarheight train zones s1.tif s2.tif --labels lcz.tif --group 's1_*' --group 's2_*' -o run
    ```
    """
    with session("train zones", quiet=True, threads=None, debug=debug, steps=1):
        from sarheight.cli._train.zone_data import chosen_forms, samples_of
        from sarheight.cli._train.zone_table import keep_best, print_table, write_table
        from sarheight.training import ZoneSettings, compare_fusion

        chosen = ZoneSettings() if settings is None else ZoneSettings.read(settings)
        parts, posting = samples_of(data, labels, size, block, deal=deal, seed=chosen.seed)
        forms = chosen_forms(parts["training"].channels, split, group, stages)

        def report(form: FusionForm, seed: int) -> None:
            if not quiet:
                typer.echo(f"{form.label}, seed {seed}", err=True)

        rows = compare_fusion(
            parts["training"],
            parts["validation"],
            parts["test"],
            forms,
            chosen,
            output / "runs",
            seeds=range(chosen.seed, chosen.seed + seeds),
            posting=posting,
            accelerator=device,
            report=report,
        )
        keep_best(rows, output / "model", data)
        write_table(rows, parts, output / "table.json")
        print_table(rows)
