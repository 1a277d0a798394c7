"""``sarheight train``: networks for terrain, buildings and zones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._files import output_folder
from sarheight.cli._options import command
from sarheight.cli._scenes import observed_scenes
from sarheight.cli._session import Session, require_subcommand, session
from sarheight.errors import OptionError
from sarheight.workflow.config import (
    RUNNING,
    Messages,
)
from sarheight.workflow.options import argument, option

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning.split import Part
    from sarheight.zones.fusion import FusionResult
    from sarheight.zones.fusion_cnn import FusionStrategy
    from sarheight.zones.samples import ZoneSamples
    from sarheight.zones.sources import RasterPatches

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
        return session(f"train {name}", Messages(quiet=True, debug=self.debug))

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
        from sarheight.learning.split import split_bands
        from sarheight.terrain.sar2height import TerrainSettings
        from sarheight.terrain.scenes import open_scene
        from sarheight.terrain.training import evaluate_terrain, train_terrain

        if run.settings is not None and published:
            msg = "found --settings and --published, expected one of them"
            raise OptionError(msg, option="published")
        chosen = TerrainSettings.published() if published else TerrainSettings()
        if run.settings is not None:
            chosen = TerrainSettings.read(run.settings)
        opened = [open_scene(path) for path in scenes]
        fractions = {"training": 1.0 - validation - held_out, "validation": validation}
        if held_out > 0.0:
            fractions["test"] = held_out
        bands = [split_bands(scene, fractions, gap=gap) for scene in opened]
        result = train_terrain(
            opened,
            [band["training"] for band in bands],
            [band["validation"] for band in bands],
            chosen,
            run.output,
            accelerator=run.device,
            progress=not run.quiet,
            card={"scenes": [path.name for path in scenes], "shares": fractions, "gap_m": gap},
        )
        run.report(chosen.network, f"{len(opened)} scenes")
        if held_out > 0.0:
            parts = [band["test"] for band in bands]
            errors = evaluate_terrain(result.network, opened, parts, chosen)
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
    stacks: Annotated[list[Path], argument("CITY.zarr", exists=True)],
    published: Annotated[bool, option(None, "--published")] = False,
    validate: Annotated[list[Path] | None, option(SPLIT, exists=True, metavar="CITY.zarr")] = None,
    validation: Annotated[float, option(SPLIT, least=0.01, most=0.9)] = 0.2,
    block: Annotated[float, option(SPLIT, least=1.0, metavar="METRES")] = 2000.0,
    gap: Annotated[float, option(SPLIT, least=0.0)] = 200.0,
) -> None:
    r"""Train a network for building heights.

    The folder `model` of the run contains the network with all that prediction needs, and
    `curves/metrics.csv` the learning curves.

    ```
    sarheight train buildings stacks/*.zarr -o run
    sarheight train buildings utrecht.zarr delft.zarr --validate leiden.zarr --published -o run
    sarheight predict leiden.zarr --model run/model -o heights.tif
    ```

    Parameters
    ----------
    stacks : list of pathlib.Path
        City stacks with heights and footprints, as `sarheight stack` writes them.
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

        if run.settings is not None and published:
            msg = "found --settings and --published, expected one of them"
            raise OptionError(msg, option="published")
        chosen = BuildingSettings.published() if published else BuildingSettings()
        if run.settings is not None:
            chosen = BuildingSettings.read(run.settings)
        cities = [open_stack(path, chunks={}) for path in stacks]
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
                "stacks": [path.name for path in stacks],
                "validation": [path.name for path in validate or []] or validation,
                "block_m": block,
                "gap_m": gap,
            },
        )
        run.report(chosen.network, f"{len(cities)} cities")


def _split_blocks(
    stacks: list[xr.Dataset], fraction: float, width: float, gap: float
) -> tuple[list[list[Part]], list[list[Part]]]:
    """Split each city into blocks for training and validation."""
    from sarheight.buildings.patches import split_blocks

    fractions = {"training": 1.0 - fraction, "validation": fraction}
    split = [split_blocks(stack, fractions, width=width, gap=gap) for stack in stacks]
    return [each["training"] for each in split], [each["validation"] for each in split]


# ``sarheight train zones``: labelled samples, and forms of fusion.

HDF5 = (".h5", ".hdf5")
INDEPENDENT, LAST_STAGE = "independent", 6
FOLDS = 5
LARGEST_IN_MEMORY = 4 << 30
"""Bytes of patches that are read into memory at the start; more are read when needed."""

Parts = Mapping[str, "ZoneSamples"]


def open_samples(
    data: Sequence[Path],
    labels: Path | None,
    size: int,
    block: float,
    *,
    random_split: bool,
    seed: int,
) -> tuple[Parts, float | None]:
    """Open the samples, and split them for training, validation and test."""
    if labels is not None:
        return _open_rasters(data, labels, size, block, random_split=random_split, seed=seed)
    first = data[0]
    if len(data) > 1 or not (first.is_dir() or first.suffix.lower() in HDF5):
        msg = "rasters need the zones of their cells: pass --labels"
        raise OptionError(msg, option="labels")
    return _open_so2sat(first, random_split=random_split, seed=seed), None


def _open_so2sat(path: Path, *, random_split: bool, seed: int) -> Parts:
    from sarheight.zones.samples import split_samples
    from sarheight.zones.sources import So2SatPatches, so2sat_files

    files = so2sat_files(path) if path.is_dir() else {"training": path}
    if random_split or len(files) == 1:
        return split_samples(_loaded_if_small(So2SatPatches(files["training"])), seed=seed)
    parts = {role: _loaded_if_small(So2SatPatches(file)) for role, file in files.items()}
    if len(parts) == 3:
        return parts
    # Versions 1 and 3 have two files: the samples for early stopping come from training.
    fractions = {"training": 0.9, "validation": 0.1}
    held_out = parts.get("test", parts.get("validation"))
    assert held_out is not None  # noqa: S101  # there are two files
    return {**split_samples(parts["training"], fractions, seed=seed), "test": held_out}


def _loaded_if_small(samples: ZoneSamples) -> ZoneSamples:
    import numpy as np

    size = len(samples) * len(samples.channels) * samples.size**2 * np.dtype(np.float16).itemsize
    return samples.load(np.float16) if size <= LARGEST_IN_MEMORY else samples


def _open_rasters(
    data: Sequence[Path], labels: Path, size: int, block: float, *, random_split: bool, seed: int
) -> tuple[Parts, float]:
    from sarheight.zones.samples import split_samples

    samples = _read_patches(data, labels, size)
    if random_split:
        return split_samples(samples, seed=seed), samples.posting
    return _split_by_place(samples, block, seed), samples.posting


def _read_patches(data: Sequence[Path], labels: Path, size: int) -> RasterPatches:
    import rioxarray
    import xarray as xr

    from sarheight.zones.sources import RasterPatches, read_stack

    codes = rioxarray.open_rasterio(labels)
    if not isinstance(codes, xr.DataArray):
        msg = f"'{labels}' holds several images"
        raise OptionError(msg, option="labels")
    return RasterPatches(read_stack(*data), codes, size=size)


def _split_by_place(samples: RasterPatches, block: float, seed: int) -> Parts:
    """Assign a fold of blocks to test, one to validation, and all that is not near to training."""
    import numpy as np

    from sarheight.zones.samples import (
        exclude_neighbours,
        spatial_folds,
        warn_of_untrained,
    )

    fold = spatial_folds(samples.labels, samples.x, samples.y, folds=FOLDS, width=block, seed=seed)
    test, validation = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    reach = samples.size * samples.posting
    places = samples.x, samples.y
    validation = exclude_neighbours(validation, test, *places, reach)
    training = exclude_neighbours(
        np.flatnonzero(fold > 1), np.concatenate([test, validation]), *places, reach
    )
    parts = {"training": training, "validation": validation, "test": test}
    subsets = {role: samples.subset(indices) for role, indices in parts.items()}
    warn_of_untrained(samples, training, block)
    return subsets


def fusion_forms_of(
    channels: Sequence[str],
    splits: Sequence[str] | None,
    groups: Sequence[str] | None,
    stages: str,
) -> list[FusionStrategy]:
    """List the forms of fusion for the options --split, --group and --stages."""
    from sarheight.zones.fusion_cnn import fusion_strategies, split_channels

    if groups:
        own = tuple(_channels_of(text, channels) for text in groups)
        branches = {"|".join(groups): split_channels(own, channels)}
    else:
        names = splits or ("radar|optical",)
        branches = {name: split_channels(name, channels) for name in names}
    requested = {word.strip() for word in stages.split(",") if word.strip()}
    known = {INDEPENDENT, *map(str, range(LAST_STAGE + 1))}
    if not requested or requested - known:
        msg = f"found '{stages}', expected a list of 0 to {LAST_STAGE} and {INDEPENDENT}"
        raise OptionError(msg, option="stages")
    return [
        form
        for form in fusion_strategies(branches, independent=True)
        if (INDEPENDENT if form.independent else str(form.stage)) in requested
        or len(form.groups) == 1
    ]


def _channels_of(text: str, channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels of a branch; a name that ends in * matches all with this beginning."""
    names: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        if word.endswith("*"):
            names += [name for name in channels if name.startswith(word[:-1])]
        else:
            names.append(word)
    return tuple(names)


# Result of a comparison of forms of fusion: a table, a file, and the best network.

FIGURES = {"overall": "OA", "average": "AA", "kappa": "kappa"}


def save_best(rows: Sequence[FusionResult], folder: Path, data: Sequence[Path]) -> None:
    """Copy the network with the highest average accuracy at validation."""
    from sarheight.zones.classifier import ZoneClassifier

    runs = [
        (value, row.strategy.label, run)
        for row in rows
        for value, run in zip(row.validation, row.folders, strict=True)
    ]
    average, label, run = max(runs, key=lambda scored: scored[0])
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
    write_json(table, path)


def write_json(table: Mapping[str, Any], path: Path) -> None:
    """Write a table as JSON, whole or not at all."""
    from sarheight.output.atomic import atomic_write

    with atomic_write(path, overwrite=True, suffixes=(".json",)) as work:
        work.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def print_table(rows: Sequence[FusionResult]) -> None:
    """Print the scores in percent: mean and standard deviation over the seeds."""
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
    console.print(describe_verdict(rows), highlight=False, soft_wrap=True)


def _percent(value: float, spread: float | None) -> str:
    return f"{100 * value:.1f}" if spread is None else f"{100 * value:.1f} ± {100 * spread:.1f}"


def describe_verdict(rows: Sequence[FusionResult]) -> str:
    """Say which of early, middle and late fusion is best, and whether significantly."""
    from sarheight.zones.fusion import rank_fusions

    if len({row.strategy.kind for row in rows} - {"none"}) < 2:
        return "Only one kind of fusion: nothing to compare."
    verdict = rank_fusions(rows)
    best = verdict.best[verdict.winner]
    best_text = (
        f"Best at validation: {verdict.winner} fusion ({best.strategy.label}), with an average "
        f"accuracy of {_percent(best.mean('average'), best.std('average'))} % at test"
    )
    gain = f"{100 * verdict.gain:+.1f} points to the next kind"
    if verdict.standard_error is None:
        return f"{best_text}, {gain}. One seed does not show significance: use more."
    gain = f"{gain} ({100 * verdict.standard_error:.1f} standard error)"
    if verdict.significant:
        return f"{best_text}, {gain}."
    return f"{best_text}, {gain}: not significant over the seeds."


# ``sarheight train zones``: a forest, or networks with early, middle or late fusion.

DATA, FORMS = "Data", "Forms of fusion"
METHODS = ("auto", "forest", "networks")
FEW_LABELS = 20_000
"""Labelled cells below which a forest is the default."""
NETWORK_SIZE = 32


def choose_method(method: str, labels: Path | None, count: int, *, fusion: bool) -> str:
    """Return "forest" or "networks"; "auto" takes the forest for few labels of a map."""
    if method not in METHODS:
        msg = f"found '{method}', expected one of {', '.join(METHODS)}"
        raise OptionError(msg, option="method")
    if method == "forest" and fusion:
        msg = "a forest has no --split, --group or --random-split: they are of networks"
        raise OptionError(msg, option="method")
    if method != "auto":
        return method
    return "forest" if labels is not None and count < FEW_LABELS and not fusion else "networks"


def count_labels(path: Path) -> int:
    """Count the labelled cells of a map."""
    import numpy as np
    import rioxarray

    opened = rioxarray.open_rasterio(path, masked=True)
    values = np.asarray(opened.values if hasattr(opened, "values") else 0)
    return int((np.isfinite(values) & (values != 0)).sum())


def train_zone_forest(
    run: RunOptions, data: Sequence[Path], labels: Path | None, block: float, size: int | None
) -> None:
    """Train a forest, score it on blocks that it has not seen, and save it."""
    from dataclasses import asdict

    import numpy as np
    from rich.console import Console

    from sarheight.zones.evaluation import calibration_error
    from sarheight.zones.forest import ForestSettings, train_forest
    from sarheight.zones.predict import evaluate_zones, zone_probabilities
    from sarheight.zones.samples import (
        exclude_neighbours,
        spatial_folds,
        warn_of_few,
        warn_of_untrained,
    )

    chosen = ForestSettings() if run.settings is None else ForestSettings.read(run.settings)
    least = chosen.window
    blocks: Any = None
    if labels is None:
        parts, posting = open_samples(
            data, None, NETWORK_SIZE, block, random_split=False, seed=chosen.seed
        )
        warn_of_few(parts["training"])
    else:
        samples = _read_patches(data, labels, least if size is None else size)
        posting = samples.posting
        warn_of_few(samples)
        fold = spatial_folds(
            samples.labels, samples.x, samples.y, folds=FOLDS, width=block, seed=chosen.seed
        )
        test = np.flatnonzero(fold == 0)
        places = samples.x, samples.y
        reach = samples.size * posting
        training = exclude_neighbours(np.flatnonzero(fold > 0), test, *places, reach)
        warn_of_untrained(samples, training, block)
        columns, rows = samples.x // block, samples.y // block
        _, numbers = np.unique(np.stack([columns, rows], axis=1), axis=0, return_inverse=True)
        blocks = numbers.ravel()[training]
        parts = {"training": samples.subset(training), "test": samples.subset(test)}
    forest, card = train_forest(
        parts["training"],
        chosen,
        blocks=blocks,
        validation=parts.get("validation"),
        posting=posting,
    )
    given = zone_probabilities(forest, parts["test"])
    scores = evaluate_zones(forest, parts["test"])
    error = calibration_error(given, parts["test"].labels)
    tested = {**scores.as_dict(), "calibration_error": error}
    run.output.mkdir(parents=True, exist_ok=True)
    card |= {"data": [path.name for path in data], "test": tested}
    forest.save_pretrained(run.output / "model", card=card, overwrite=True)
    table = {
        "method": "forest",
        "settings": asdict(chosen),
        "samples": {role: len(part) for role, part in parts.items()},
        "held_out": card["held_out"],
        "test": tested,
    }
    write_json(table, run.output / "table.json")
    Console().print(
        f"forest of {chosen.trees} trees and {forest.features} features, on blocks for test: OA "
        f"{_percent(scores.overall, None)}, AA {_percent(scores.average, None)}, kappa "
        f"{_percent(scores.kappa, None)}, ECE {_percent(error, None)} %",
        highlight=False,
        soft_wrap=True,
    )


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

    A random forest of bands, indices, dates and neighbourhoods needs few labels and minutes; it is
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
        Cells of a patch around a label: 32 for networks, the largest neighbourhood for a forest.
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
        from sarheight.zones.fusion import compare_fusion
        from sarheight.zones.samples import warn_of_few
        from sarheight.zones.training import ZoneSettings

        fusion = bool(split or group or random_split)
        count = 0 if labels is None else count_labels(labels)
        if choose_method(method, labels, count, fusion=fusion) == "forest":
            train_zone_forest(run, data, labels, block, size)
            return
        chosen = ZoneSettings() if run.settings is None else ZoneSettings.read(run.settings)
        parts, posting = open_samples(
            data, labels, size or NETWORK_SIZE, block, random_split=random_split, seed=chosen.seed
        )
        warn_of_few(parts["training"])
        forms = fusion_forms_of(parts["training"].channels, split, group, stages)

        def report(form: FusionStrategy, seed: int) -> None:
            if not run.quiet:
                typer.echo(f"{form.label}, seed {seed}", err=True)

        rows = compare_fusion(
            parts["training"],
            parts["validation"],
            parts["test"],
            forms,
            chosen,
            run.output / "runs",
            seeds=range(chosen.seed, chosen.seed + seeds),
            posting=posting,
            accelerator=run.device,
            report=report,
        )
        save_best(rows, run.output / "model", data)
        write_table(rows, parts, run.output / "table.json")
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
