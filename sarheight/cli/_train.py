"""``sarheight train``: networks for terrain, buildings and zones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._options import RUNNING, Debug, Quiet, output_folder
from sarheight.cli._session import help_if_alone, session
from sarheight.output.atomic import atomic_write

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning.split import Part
    from sarheight.zones.channels import FusionStrategy
    from sarheight.zones.fusion import FusionResult
    from sarheight.zones.samples import ZoneSamples
    from sarheight.zones.sources import RasterPatches

SPLIT = "Split by place"
RunFolder = Annotated[
    Path,
    output_folder("Folder of the run. A run that was interrupted is taken up again."),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        exists=True,
        dir_okay=False,
        metavar="JSON",
        help="Settings that are not the usual ones (see `sarheight.terrain.TerrainSettings`).",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="`auto`, `cpu` or `gpu`; as Lightning names them.",
        rich_help_panel=RUNNING,
    ),
]


# ``sarheight train terrain``: heights from radar images, on one's own scenes.


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
        from sarheight.learning.split import split_bands
        from sarheight.terrain.scenes import open_scene
        from sarheight.terrain.training import TerrainSettings, train_terrain

        chosen = TerrainSettings() if settings is None else TerrainSettings.read(settings)
        found = [open_scene(path) for path in scenes]
        shares = {"training": 1.0 - validation - held_out, "validation": validation}
        if held_out > 0.0:
            shares["test"] = held_out
        bands = [split_bands(scene, shares, gap=gap) for scene in found]
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


# ``sarheight train buildings``: heights of buildings, on one's own cities.


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
        from sarheight.buildings.stack import open_stack
        from sarheight.buildings.training import BuildingSettings, train_buildings
        from sarheight.learning.split import Part

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
    """Split each city into blocks for training and validation."""
    from sarheight.buildings.patches import split_blocks

    shares = {"training": 1.0 - share, "validation": share}
    splits = [split_blocks(stack, shares, width=width, gap=gap) for stack in stacks]
    return [split["training"] for split in splits], [split["validation"] for split in splits]


# The labelled samples that a command was given, split, and the forms of fusion asked for.

HDF5 = (".h5", ".hdf5")
INDEPENDENT, LAST_STAGE = "independent", 6
FOLDS = 5
LARGEST_IN_MEMORY = 4 << 30
"""Bytes of patches that are read into memory at the start; of more each is read when needed."""

Parts = Mapping[str, "ZoneSamples"]


def samples_of(
    data: Sequence[Path],
    labels: Path | None,
    size: int,
    block: float,
    *,
    deal: bool,
    seed: int,
) -> tuple[Parts, float | None]:
    """Open the samples, and split them for training, validation and test."""
    if labels is not None:
        return _of_rasters(data, labels, size, block, deal=deal, seed=seed)
    first = data[0]
    if len(data) > 1 or not (first.is_dir() or first.suffix.lower() in HDF5):
        msg = "rasters need the zones of their cells: pass --labels"
        raise typer.BadParameter(msg, param_hint="--labels")
    return _of_so2sat(first, deal=deal, seed=seed), None


def _of_so2sat(path: Path, *, deal: bool, seed: int) -> Parts:
    from sarheight.zones.samples import split_samples
    from sarheight.zones.sources import So2SatPatches, so2sat_files

    files = so2sat_files(path) if path.is_dir() else {"training": path}
    if deal or len(files) == 1:
        return split_samples(_in_memory(So2SatPatches(files["training"])), seed=seed)
    parts = {role: _in_memory(So2SatPatches(file)) for role, file in files.items()}
    if len(parts) == 3:
        return parts
    # Versions 1 and 3 have two files: what is missing for early stopping comes from training.
    shares = {"training": 0.9, "validation": 0.1}
    held_out = parts.get("test", parts.get("validation"))
    assert held_out is not None  # noqa: S101  # there are two files
    return {**split_samples(parts["training"], shares, seed=seed), "test": held_out}


def _in_memory(samples: ZoneSamples) -> ZoneSamples:
    import numpy as np

    room = len(samples) * len(samples.channels) * samples.size**2 * np.dtype(np.float16).itemsize
    return samples.load(np.float16) if room <= LARGEST_IN_MEMORY else samples


def _of_rasters(
    data: Sequence[Path], labels: Path, size: int, block: float, *, deal: bool, seed: int
) -> tuple[Parts, float]:
    import rioxarray
    import xarray as xr

    from sarheight.zones.samples import split_samples
    from sarheight.zones.sources import RasterPatches, read_stack

    codes = rioxarray.open_rasterio(labels)
    if not isinstance(codes, xr.DataArray):
        msg = f"'{labels}' holds several images"
        raise typer.BadParameter(msg, param_hint="--labels")
    samples = RasterPatches(read_stack(*data), codes, size=size)
    if deal:
        return split_samples(samples, seed=seed), samples.posting
    return _by_place(samples, block, seed), samples.posting


def _by_place(samples: RasterPatches, block: float, seed: int) -> Parts:
    """Keep a fold of blocks for test and one for validation, and train with nothing near them."""
    import numpy as np

    from sarheight.zones.samples import exclude_neighbours, spatial_folds

    fold = spatial_folds(samples.labels, samples.x, samples.y, folds=FOLDS, width=block, seed=seed)
    test, validation = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    reach = samples.size * samples.posting
    places = samples.x, samples.y
    validation = exclude_neighbours(validation, test, *places, reach)
    training = exclude_neighbours(
        np.flatnonzero(fold > 1), np.concatenate([test, validation]), *places, reach
    )
    parts = {"training": training, "validation": validation, "test": test}
    return {role: samples.subset(indices) for role, indices in parts.items()}


def chosen_forms(
    channels: Sequence[str],
    splits: Sequence[str] | None,
    groups: Sequence[str] | None,
    stages: str,
) -> list[FusionStrategy]:
    """List the forms of fusion that were asked for."""
    from sarheight.zones.channels import fusion_strategies, split_channels

    if groups:
        own = tuple(_named(text, channels) for text in groups)
        wanted = {"|".join(groups): split_channels(own, channels)}
    else:
        names = splits or ("radar|optical",)
        wanted = {name: split_channels(name, channels) for name in names}
    asked = {word.strip() for word in stages.split(",") if word.strip()}
    known = {INDEPENDENT, *map(str, range(LAST_STAGE + 1))}
    if not asked or asked - known:
        msg = f"'{stages}' is no list of 0 to {LAST_STAGE} and {INDEPENDENT}"
        raise typer.BadParameter(msg, param_hint="--stages")
    return [
        form
        for form in fusion_strategies(wanted, independent=True)
        if (INDEPENDENT if form.independent else str(form.stage)) in asked or len(form.groups) == 1
    ]


def _named(text: str, channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of a branch; a name that ends in * stands for all that begin so."""
    found: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        if word.endswith("*"):
            found += [name for name in channels if name.startswith(word[:-1])]
        else:
            found.append(word)
    return tuple(found)


# What a comparison of forms of fusion found: a table, a file, and the best network.

FIGURES = {"overall": "OA", "average": "AA", "kappa": "kappa"}


def keep_best(rows: Sequence[FusionResult], folder: Path, data: Sequence[Path]) -> None:
    """Copy the network with the highest average accuracy at validation."""
    from sarheight.zones.networks import ZoneClassifier

    runs = [
        (value, row.strategy.label, run)
        for row in rows
        for value, run in zip(row.validation, row.folders, strict=True)
    ]
    average, label, run = max(runs, key=lambda found: found[0])
    card = {
        "data": [path.name for path in data],
        "form": label,
        "run": run.name,
        "validation_average": average,
    }
    model = ZoneClassifier.from_pretrained(run / "model")
    model.save_pretrained(folder, card=card, overwrite=True)


def write_table(rows: Sequence[FusionResult], parts: Mapping[str, ZoneSamples], path: Path) -> None:
    """Write all figures as JSON: of each form, each seed and each class."""
    table: dict[str, Any] = {
        "samples": {role: len(samples) for role, samples in parts.items()},
        "forms": [
            {
                "split": row.strategy.name,
                "groups": [list(group) for group in row.strategy.groups],
                "stage": row.strategy.stage,
                "independent": row.strategy.independent,
                "fusion": row.strategy.kind,
                "validation_average": list(row.validation),
                "calibration_error": list(row.calibration),
                "seeds": [scores.as_dict() for scores in row.scores],
            }
            for row in rows
        ],
    }
    with atomic_write(path, overwrite=True, suffixes=(".json",)) as work:
        work.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def print_table(rows: Sequence[FusionResult]) -> None:
    """Print what was found, the mean and the spread over the seeds, in percent."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="on samples for test, in percent: mean ± standard deviation over seeds")
    table.add_column("split")
    table.add_column("stage")
    for heading in (*FIGURES.values(), "ECE"):
        table.add_column(heading, justify="right")
    for row in rows:
        stage = f"{row.strategy.stage}{' independent' if row.strategy.independent else ''}"
        figures = [_percent(row.mean(name), row.std(name)) for name in FIGURES]
        calibration = sum(row.calibration) / len(row.calibration)
        table.add_row(row.strategy.name, stage, *figures, _percent(calibration, None))
    console = Console()
    console.print(table)
    console.print(verdict_in_words(rows), highlight=False, soft_wrap=True)


def _percent(value: float, spread: float | None) -> str:
    return f"{100 * value:.1f}" if spread is None else f"{100 * value:.1f} ± {100 * spread:.1f}"


def verdict_in_words(rows: Sequence[FusionResult]) -> str:
    """Answer whether early, middle or late fusion is best, as far as the spread lets it."""
    from sarheight.zones.fusion import rank_fusions

    if len({row.strategy.kind for row in rows} - {"none"}) < 2:
        return "One kind of fusion alone: nothing to compare."
    verdict = rank_fusions(rows)
    best = verdict.best[verdict.winner]
    told = (
        f"Best at validation: {verdict.winner} fusion ({best.strategy.label}), with an average "
        f"accuracy of {_percent(best.mean('average'), best.std('average'))} % at test"
    )
    gain = f"{100 * verdict.gain:+.1f} points to the next kind"
    if verdict.standard_error is None:
        return f"{told}, {gain}. One seed cannot tell this from chance: take more."
    gain = f"{gain} ({100 * verdict.standard_error:.1f} standard error)"
    if verdict.significant:
        return f"{told}, {gain}."
    return f"{told}, {gain}: not more than chance between seeds makes."


# ``sarheight train zones``: early, middle or late fusion, on one's own data.

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
        from sarheight.zones.fusion import compare_fusion
        from sarheight.zones.training import ZoneSettings

        chosen = ZoneSettings() if settings is None else ZoneSettings.read(settings)
        parts, posting = samples_of(data, labels, size, block, deal=deal, seed=chosen.seed)
        forms = chosen_forms(parts["training"].channels, split, group, stages)

        def report(form: FusionStrategy, seed: int) -> None:
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


# ``sarheight train``: networks.

train = typer.Typer(name="train")


@train.callback(invoke_without_command=True)
def _commands(context: typer.Context) -> None:
    """Train a network; needs `pip install 'sarheight[learn]'`."""
    help_if_alone(context)


for command in (terrain, buildings, zones):
    train.command()(command)
