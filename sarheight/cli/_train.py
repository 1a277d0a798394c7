"""``sarheight train``: networks for terrain, buildings and zones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sarheight.cli._files import output_folder
from sarheight.cli._options import command
from sarheight.cli._scenes import observed_scenes
from sarheight.cli._session import Session, require_subcommand, session
from sarheight.errors import OptionError
from sarheight.workflow.config import Messages
from sarheight.workflow.options import argument, option
from sarheight.workflow.words import RUNNING

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning.split import Part
    from sarheight.zones.fusion import FusionResult
    from sarheight.zones.fusion_cnn import FusionStrategy

Chosen = TypeVar("Chosen")
SPLIT = "Split by place"


@dataclass(frozen=True, kw_only=True)
class RunOptions(Messages):
    """Folder, settings and device of a training run.

    Attributes
    ----------
    output : pathlib.Path
        Folder of the run. An interrupted run resumes from its last checkpoint.
    settings : pathlib.Path, optional
        Settings that replace the defaults (`TerrainSettings`, `BuildingSettings`, `ZoneSettings`).
    device : str
        Accelerator of Lightning: `auto`, `cpu`, `gpu`.
    """

    output: Annotated[Path, output_folder()]
    settings: Annotated[
        Path | None, option(None, "--settings", exists=True, dir_okay=False, metavar="JSON")
    ] = None
    device: Annotated[str, option(RUNNING)] = "auto"

    def session(self, name: str) -> AbstractContextManager[Session]:
        """Report errors in one line; Lightning shows the progress."""
        return session(f"train {name}", Messages(quiet=True, debug=self.debug, log=self.log))

    def chosen(self, kind: type[Chosen], *, published: bool = False) -> Chosen:
        """Return the settings of the file, those of the published network, or the defaults."""
        if self.settings is None:
            return kind.published() if published else kind()  # type: ignore[attr-defined]  # where there is one
        if published:
            msg = "found --settings and --published, expected one of them"
            raise OptionError(msg, option="published")
        return kind.read(self.settings)  # type: ignore[attr-defined,no-any-return]

    def report(self, network: str, data: str) -> None:
        """Report the end of the run."""
        if not self.quiet:
            typer.echo(f"{self.output / 'model'}: {network}, {data}", err=True)


# ``sarheight train terrain``: heights from radar images.


def terrain(
    run: RunOptions,
    *,
    scenes: Annotated[list[Path], argument("SCENE.zarr", exists=True)],
    published: Annotated[bool, option(None, "--published")] = False,
    validation: Annotated[float, option(SPLIT, least=0.01, most=0.9)] = 0.2,
    held_out: Annotated[float, option(SPLIT, least=0.0, most=0.9)] = 0.0,
    gap: Annotated[float, option(SPLIT, least=0.0)] = 2000.0,
) -> None:
    """Train a network for terrain heights.

    The folder `model` of the run contains the network with all that prediction needs,
    `curves/metrics.csv` the learning curves, and with `--held-out` the file `test.json` the errors
    of network and coarse elevation model on the part that is held out.

    ```
    sarheight train terrain scenes/*.zarr --published --held-out 0.2 -o run
    sarheight predict image.nc --dem glo30.tif --vertical EGM2008 --model run/model -o h.tif
    ```

    Parameters
    ----------
    scenes : list of pathlib.Path
        Scenes with true heights, as `sarheight train scenes` and `sarheight scenes` write them.
    published : bool
        Use the settings of the published system, SAR2HEIGHT.
    validation : float
        Fraction of each scene for validation, across its longer side.
    held_out : float
        Fraction of each scene that is held out for a test.
    gap : float
        Metres between these parts.
    """
    with run.session("terrain"):
        from sarheight.learning import split_bands, train
        from sarheight.output import open_result
        from sarheight.terrain.sar2height import TerrainSettings
        from sarheight.terrain.training import (
            evaluate_terrain,
            terrain_patches,
            terrain_task,
        )

        chosen = run.chosen(TerrainSettings, published=published)
        opened = [open_result(path) for path in scenes]
        fractions = {"training": 1.0 - validation - held_out, "validation": validation}
        if held_out > 0.0:
            fractions["test"] = held_out
        bands = [split_bands(scene, fractions, gap=gap) for scene in opened]
        parts = {name: [band[name] for band in bands] for name in fractions}
        if held_out > 0.0:
            terrain_patches(opened, parts["test"], chosen)  # refuses parts that are too small
        result = train(
            *terrain_task(opened, parts["training"], parts["validation"], chosen),
            run.output,
            accelerator=run.device,
            progress=not run.quiet,
            card={"scenes": [path.name for path in scenes], "shares": fractions, "gap_m": gap},
        )
        run.report(chosen.network, f"{len(opened)} scenes")
        if held_out > 0.0:
            errors = evaluate_terrain(result.network, opened, parts["test"], chosen)
            from sarheight.output.atomic import write_json

            write_json(
                {name: {area: each.as_dict() for area, each in by_area.items()}
                 for name, by_area in errors.items()},
                run.output / "test.json",
            )  # fmt: skip
            if not run.quiet:
                rmse = {name: by_area["all"].rmse for name, by_area in errors.items()}
                text = ", ".join(f"{name} {value:.1f} m" for name, value in rmse.items())
                typer.echo(
                    f"{run.output / 'test.json'}: RMSE on the part held out: {text}", err=True
                )


# ``sarheight train buildings``: heights of buildings.


def buildings(
    run: RunOptions,
    *,
    stacks: Annotated[list[Path], argument("CITY.zarr|CITIES.toml", exists=True)],
    published: Annotated[bool, option(None, "--published")] = False,
    validate: Annotated[list[Path] | None, option(SPLIT, exists=True, metavar="CITY.zarr")] = None,
    validation: Annotated[float, option(SPLIT, least=0.01, most=0.9)] = 0.2,
    block: Annotated[float, option(SPLIT, least=1.0, metavar="METRES")] = 2000.0,
    gap: Annotated[float, option(SPLIT, least=0.0)] = 200.0,
) -> None:
    r"""Train a network for building heights.

    The folder `model` of the run contains the network with all that prediction needs, and
    `curves/metrics.csv` the learning curves. From a configuration of cities, as `sarheight stack`
    reads it, stacks are built in the folder `stacks` of the run first.

    ```
    sarheight train buildings dutch_cities.toml -o run
    sarheight train buildings stacks/*.zarr -o run
    sarheight train buildings utrecht.zarr delft.zarr --validate leiden.zarr --published -o run
    sarheight predict leiden.zarr --model run/model -o heights.tif
    ```

    Parameters
    ----------
    stacks : list of pathlib.Path
        City stacks with heights and footprints, as `sarheight stack` writes them, or configurations
        of cities.
    published : bool
        Use the settings of MBHR-Net, which reads one month.
    validate : list of pathlib.Path, optional
        A whole city for validation. Repeat the option for more. Default: blocks of each city.
    validation : float
        Fraction of the blocks for validation.
    block : float
        Side of a block.
    gap : float
        Metres between blocks.
    """
    with run.session("buildings"):
        from sarheight.buildings.stack import open_stack
        from sarheight.buildings.training import BuildingSettings, building_task
        from sarheight.learning import Part, train

        chosen = run.chosen(BuildingSettings, published=published)
        stores = _city_stacks(run, stacks)
        cities = [open_stack(path, chunks={}) for path in stores]
        others = [open_stack(path, chunks={}) for path in validate or []]
        if others:
            training = [[Part.whole(stack)] for stack in cities] + [[] for _ in others]
            held_out: list[list[Part]] = [[] for _ in cities]
            held_out += [[Part.whole(stack)] for stack in others]
        else:
            training, held_out = _split_blocks(cities, validation, block, gap)
        train(
            *building_task([*cities, *others], training, held_out, chosen),
            run.output,
            accelerator=run.device,
            progress=not run.quiet,
            card={
                "stacks": [path.name for path in stores],
                "validation": [path.name for path in validate or []] or validation,
                "block_m": block,
                "gap_m": gap,
            },
        )
        run.report(chosen.network, f"{len(cities)} cities")


def _city_stacks(run: RunOptions, paths: list[Path]) -> list[Path]:
    """Return the stores of city stacks; build those of configurations in the folder of the run."""
    stores = []
    for path in paths:
        if path.suffix.lower() != ".toml":
            stores.append(path)
            continue
        from sarheight.buildings.configuration import StackConfiguration, write_stacks

        def report(line: str) -> None:
            if not run.quiet:
                typer.echo(line, err=True)

        cities = StackConfiguration.read(path)
        if cities.buildings is None:
            msg = f"found no [buildings] in '{path}', expected a source of heights to learn from"
            raise OptionError(msg, option="stacks")
        stores += write_stacks(cities, run.output / "stacks", report=report)
    return stores


def _split_blocks(
    stacks: list[xr.Dataset], fraction: float, width: float, gap: float
) -> tuple[list[list[Part]], list[list[Part]]]:
    """Split each city into blocks for training and validation."""
    from sarheight.buildings.patches import split_blocks

    fractions = {"training": 1.0 - fraction, "validation": fraction}
    split = [split_blocks(stack, fractions, width=width, gap=gap) for stack in stacks]
    return [each["training"] for each in split], [each["validation"] for each in split]


# ``sarheight train zones``: a forest, or networks with early, middle or late fusion.

DATA, FORMS = "Data", "Forms of fusion"
FIGURES = {"overall": "OA", "average": "AA", "kappa": "kappa"}


def print_table(rows: Sequence[FusionResult]) -> None:
    """Print the scores in percent: mean and standard deviation over the seeds."""
    from rich.console import Console
    from rich.table import Table

    from sarheight.zones.workflow import describe_verdict, percent

    table = Table(title="on samples for test, in percent: mean ± standard deviation over seeds")
    table.add_column("split")
    table.add_column("stage")
    for heading in (*FIGURES.values(), "ECE"):
        table.add_column(heading, justify="right")
    for row in rows:
        stage = f"{row.strategy.stage}{' independent' if row.strategy.independent else ''}"
        figures = [percent(row.mean(name), row.std(name)) for name in FIGURES]
        calibration = sum(row.calibration) / len(row.calibration)
        table.add_row(row.strategy.name, stage, *figures, percent(calibration))
    console = Console()
    console.print(table)
    console.print(describe_verdict(rows), highlight=False, soft_wrap=True)


def zones(
    run: RunOptions,
    *,
    data: Annotated[list[Path], argument("DATA", exists=True)],
    labels: Annotated[
        Path | None, option(DATA, exists=True, dir_okay=False, metavar="RASTER")
    ] = None,
    method: Annotated[str, option(None, metavar="auto|forest|networks")] = "auto",
    size: Annotated[int | None, option(DATA, least=1)] = None,
    block: Annotated[float, option(DATA, least=0.0, metavar="METRES")] = 5000.0,
    random_split: Annotated[bool, option(DATA, "--random-split")] = False,
    split: Annotated[list[str] | None, option(FORMS, metavar="NAME")] = None,
    group: Annotated[list[str] | None, option(FORMS, metavar="CHANNEL,CHANNEL,...")] = None,
    stages: Annotated[str, option(FORMS)] = "0,1,2,3,4,5,6,independent",
    seeds: Annotated[int, option(FORMS, least=1)] = 5,
) -> None:
    r"""Train a forest or networks for Local Climate Zones.

    A random forest of bands and their neighbourhood needs few labels and minutes; it is
    the default for a map with fewer than 20,000 labelled cells. Networks compare the stages of
    fusion, and are what the options for forms of fusion ask for: every form is trained from several
    seeds. A table lists overall accuracy (OA), average accuracy (AA), kappa and calibration error
    on test samples. The folder `model` contains the forest, or the network that is best on the
    validation samples; `sarheight predict` maps with it.

    ```
    sarheight train zones landsat.tif --labels lcz.tif -o run
    sarheight train zones so2sat_v2/ -o run
    sarheight train zones s1.tif s2.tif --labels lcz.tif --group 's1_*' --group 's2_*' -o run
    ```

    Parameters
    ----------
    data : list of pathlib.Path
        So2Sat LCZ42: its folder, or one HDF5 file of it. Or rasters on one grid, with --labels.
    labels : pathlib.Path, optional
        Codes of the zones, 0 where unknown.
    method : str
        Forest, networks, or what suits the number of labels.
    size : int, optional
        Cells of a patch around a label: 32 for networks, the neighbourhood for a forest.
    block : float
        Side of the blocks of a map that are assigned to training, validation or test.
    random_split : bool
        Split the training file at random, 80, 10 and 10 %, and ignore other files.
    split : list of str, optional
        Channels of the branches: `radar|optical` (default), `seven groups`, `radar groups`,
        `optical groups`. Repeat the option for more.
    group : list of str, optional
        Channels of one branch. Repeat the option for each branch. `*` at the end of a name matches
        all channels with this beginning.
    stages : str
        Stages where the branches meet: 0 (input) to 5, 6 (sum of their probabilities), and
        `independent`, trained apart and summed.
    seeds : int
        Runs of each form.
    """
    with run.session("zones"):
        from rich.console import Console

        from sarheight.zones.forest import ForestSettings
        from sarheight.zones.fusion import compare_fusion
        from sarheight.zones.samples import warn_of_few
        from sarheight.zones.training import ZoneSettings
        from sarheight.zones.workflow import (
            NETWORK_SIZE,
            choose_method,
            open_samples,
            save_comparison,
            strategies_of,
            train_forest_on_files,
        )

        fusion = bool(split or group or random_split)
        if choose_method(method, labels, fusion=fusion) == "forest":
            trees = None if run.settings is None else ForestSettings.read(run.settings)
            told = train_forest_on_files(data, labels, run.output, trees, size=size, block=block)
            Console().print(told, highlight=False, soft_wrap=True)
            return
        chosen = run.chosen(ZoneSettings)
        parts, posting = open_samples(
            data,
            labels,
            size=size or NETWORK_SIZE,
            block=block,
            random_split=random_split,
            seed=chosen.seed,
        )

        def report(strategy: FusionStrategy, seed: int) -> None:
            if not run.quiet:
                typer.echo(f"{strategy.label}, seed {seed}", err=True)

        warn_of_few(parts["training"])
        rows = compare_fusion(
            parts["training"],
            parts["validation"],
            parts["test"],
            strategies_of(parts["training"].channels, split, group, stages),
            chosen,
            run.output / "runs",
            seeds=range(chosen.seed, chosen.seed + seeds),
            posting=posting,
            accelerator=run.device,
            report=report,
        )
        save_comparison(rows, parts, data, run.output)
        print_table(rows)


# ``sarheight train``: the group.

train = typer.Typer(name="train")


@train.callback(invoke_without_command=True)
def _commands(context: typer.Context) -> None:
    """Train a network; needs `pip install 'sarheight[learn]'`."""
    require_subcommand(context)


train.command(name="scenes")(command(observed_scenes))
for function in (terrain, buildings, zones):
    train.command()(command(function))
