"""Settings of the commands: each option is defined once, with its type, help and check.

Settings are frozen dataclasses whose fields carry their options (``Annotated[type, option(...)]``).
Command line, lists of jobs, configuration files (TOML) and the provenance of results derive from
the fields, and all values pass through the same checks.
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)
from urllib.parse import urlsplit

import typer

from sarheight._files import parse_toml, read_toml, reason
from sarheight.errors import SettingsError

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw

__all__ = [
    "DemSettings",
    "FileOutput",
    "MapSettings",
    "MessageSettings",
    "PassSettings",
    "ReconstructSettings",
    "ReconstructionOutput",
    "ResultOutput",
    "RunningSettings",
    "Settings",
]

T = TypeVar("T")
Values = dict[str, Any]

AUTO = "auto"
"""In place of a file: fetch it."""
OF_DEM = "dem"
"""In place of a reference system: keep the grid of the elevation model."""
LOCATION = "location"
"""Mark of text fields that hold a path or a URL."""
DESCRIPTION = re.compile(r"^(\w+)(?:, \w+)* : .*\n((?:    .*\n?)+)", re.MULTILINE)
"""An entry of a docstring (numpydoc): name, type, and an indented description."""


# Options.

OUTPUT, RUNNING, DEM, RADAR, METHOD = "Output", "Running", "Elevation model", "Radar", "Method"
GRID = "Map grid"
LAW_NAMES = ("gamma", "lambert", "cosine", "muhleman")
LAWS = "gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness]"
FIT = "fit"
SMALLEST_LIMIT = 1 << 16
"""Bytes; a smaller memory limit is taken for a number without its unit."""

Calibration = Literal["beta0", "sigma0", "gamma0"]
Edges = tuple[float, float, float, float]


def option(panel: str | None = None, *names: str, **more: Any) -> Any:  # noqa: ANN401
    """Make an option; its name is that of the field unless names are given."""
    return typer.Option(*names, rich_help_panel=panel, **more)


def _words(*words: str) -> Callable[[str], list[str]]:
    """Complete the words that an option knows, beside values of other kinds."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def argument(metavar: str, **more: Any) -> Any:  # noqa: ANN401  # typer has it so
    """Make a positional argument."""
    return typer.Argument(metavar=metavar, show_default=False, **more)


def parse_law(text: str) -> BackscatterLaw:
    """Make the backscatter law that an option names."""
    from sarheight import illumination

    laws: dict[str, Callable[..., BackscatterLaw]] = {
        "gamma": illumination.ConstantGamma,
        "lambert": illumination.Lambertian,
        "cosine": illumination.CosinePower,
        "muhleman": illumination.Muhleman,
    }
    name, _, numbers = text.partition(":")
    if name not in laws:
        msg = f"found {text!r}, expected one of {LAWS}"
        raise typer.BadParameter(msg)
    try:
        return laws[name](*(float(number) for number in numbers.split(",") if number))
    except (TypeError, ValueError) as error:
        msg = f"found {text!r} ({error}), expected one of {LAWS}"
        raise typer.BadParameter(msg) from error


def parse_memory(size: str) -> float:
    """Convert a memory size such as "2 GiB" to bytes."""
    from dask.utils import parse_bytes

    try:
        count = float(parse_bytes(size))
    except ValueError:
        count = 0.0
    if count < SMALLEST_LIMIT:
        msg = f"found {size!r}, expected a size of memory with its unit, such as '2 GiB'"
        raise typer.BadParameter(msg)
    from sarheight.layover.tiles import least_memory

    if count < least_memory():
        msg = (
            f"found {size!r}, expected {least_memory() / (1 << 20):.0f} MiB or more: the program "
            "and its libraries alone take most of that"
        )
        raise typer.BadParameter(msg)
    return count


ORBIT_FILES = (".eof", ".eof.xz", ".eof.zip")
"""Ends of the names of orbit files, in lower case."""


def orbit_source(text: str) -> str:
    """Check that a name is that of an orbit file, a folder, or "auto"."""
    path = Path(text)
    # Of a folder only the name is known where settings are repeated elsewhere.
    if not path.suffix or path.is_dir() or text.lower().endswith(ORBIT_FILES):
        return text
    msg = f"found {text!r}, expected an orbit file (.EOF), a folder of such files, or {AUTO}"
    raise typer.BadParameter(msg)


def reconstruction_law(text: str) -> str:
    """Check the name of a law, or "fit"."""
    return text if text == FIT else simulation_law(text)


def simulation_law(text: str) -> str:
    """Check the name of a law."""
    parse_law(text)
    return text


def memory_limit(size: str) -> str:
    """Check a memory size."""
    parse_memory(size)
    return size


def vertical_reference(value: str | float) -> str | float:
    """Convert the height of a geoid, in metres, to a number; other texts are names."""
    try:
        return float(value)
    except ValueError:
        return value


def upper_names(value: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Split names at commas."""
    names = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip().upper() for name in names if name.strip())


Names = tuple[str, ...]
Multilook = Annotated[tuple[int, int] | None, option(RADAR, metavar="LINES SAMPLES")]
Overwrite = Annotated[bool, option(OUTPUT, "--overwrite")]
Debug = Annotated[bool, option(RUNNING, "--debug")]
DemFiles = Annotated[Names, LOCATION, option(DEM, metavar="FILE")]


# Settings that commands share. The help of an option is its description in the docstring.


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of settings: values that JSON and TOML hold, and that are read back equal."""

    def to_dict(self) -> Values:
        """Return the values that are not None, as JSON and TOML hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    def record(self) -> Values:
        """Return the values for the provenance: no folders, and no secrets in addresses."""
        values = self.to_dict()
        for name in _locations(type(self)) & set(values):
            value = values[name]
            several = isinstance(value, list)
            values[name] = [_public(each) for each in value] if several else _public(value)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make settings from named values, checked like those of the command line.

        Raises
        ------
        ValueError
            If a name is not known, a value is not possible, or one is missing.
        """
        return parse(cls, values)

    def files(self) -> dict[str, Path]:
        """Return the local files by name; of several, each with its number."""
        paths: dict[str, Path] = {}
        for name in sorted(_locations(type(self))):
            value = getattr(self, name)
            if isinstance(value, tuple):
                paths |= {f"{name} {number}": Path(each) for number, each in enumerate(value, 1)}
            elif value is not None:
                paths[name] = Path(value)
        return {name: path for name, path in paths.items() if _is_local(path)}

    def require_files(self) -> None:
        """Refuse files that do not exist; URLs are checked when they are opened."""
        for name, path in self.files().items():
            if not path.exists():
                field = name.split(" ")[0].replace("_", "-")
                shown = {"image": "IMAGE", "images": "IMAGE", "results": "RESULT"}
                msg = f"there is no '{path}'"
                raise typer.BadParameter(msg, param_hint=shown.get(field, f"--{field}"))


@dataclass(frozen=True, kw_only=True)
class DemSettings(Settings):
    """Elevation model.

    Attributes
    ----------
    dem : tuple of str
        Elevation model: any raster that GDAL reads. Repeat the option for each tile.
    vertical : str or float, optional
        Vertical reference of its heights: `ellipsoidal`, `EGM96` (SRTM, NASADEM), `EGM2008`
        (Copernicus DEM), a geoid grid, or the geoid's height in metres. Needed unless the file
        states it.
    units : str, optional
        Unit of its heights, `m`, `ft` or `us-ft`, unless the file states it.
    nodata : float, optional
        Value that marks its voids, unless the file states it.
    condition : {"fill", "breach"}, optional
        Remove its pits, which cause false layover: `fill` raises depressions to their outlet,
        `breach` cuts an outlet through the rim (needs richdem).
    """

    dem: DemFiles
    vertical: Annotated[
        str | float | None,
        option(
            DEM,
            metavar="DATUM",
            parser=vertical_reference,
            autocompletion=_words("ellipsoidal", "EGM96", "EGM2008"),
        ),
    ] = None
    units: Annotated[
        str | None, option(DEM, metavar="m|ft|us-ft", autocompletion=_words("m", "ft", "us-ft"))
    ] = None
    nodata: Annotated[float | None, option(DEM)] = None
    condition: Annotated[Literal["fill", "breach"] | None, option(DEM)] = None


@dataclass(frozen=True, kw_only=True)
class PassSettings(DemSettings):
    """Elevation model, and the geometry of a pass over it.

    Attributes
    ----------
    like : pathlib.Path
        Source of the sampling and the orbit: a Sentinel-1 product (SAFE folder or zip), an
        annotation (XML of a GRD or SLC, plain or .xz), or an image written by `simulate`.
    orbit : pathlib.Path, optional
        Orbit file (POEORB or RESORB, .EOF) that replaces the orbit of the annotation.
    """

    like: Annotated[Path, option(RADAR)]
    orbit: Annotated[Path | None, option(RADAR)] = None


@dataclass(frozen=True, kw_only=True)
class MapSettings(DemSettings):
    """Elevation model, the part of an image that is wanted, and the map grid of a result.

    Attributes
    ----------
    dem : tuple of str
        Elevation model: any raster that GDAL reads, repeated for each tile; or `auto`, to fetch
        Copernicus GLO-30.
    like : pathlib.Path, optional
        A raster on a map grid, such as an earlier result: the result gets its grid.
    crs : str, optional
        Reference system of the result, such as `EPSG:32632`; `dem` keeps the grid of the elevation
        model. Default: the grid of a projected elevation model, and the UTM zone of one in degrees.
    resolution : float, optional
        Size of the cells of the result, in units of its reference system. Default: that of the
        elevation model; 30 m for each second of arc.
    align : float, optional
        Edges of cells lie at this plus whole multiples of the resolution. Default: 0.
    mgrs : str, optional
        Tile of Sentinel-2 that the result covers, such as `32TPT`, instead of `--crs`.
    bounds : tuple of float, optional
        Part to reconstruct, in degrees. Only that part of the image is read.
    swaths : tuple of str
        Swaths of an SLC, separated by commas (default: all), or the frequency of an RSLC, A or B.
    burst : int, optional
        Only this burst of one swath of a Sentinel-1 SLC, counted from 0; only its lines are read.
    """

    dem: Annotated[Names, LOCATION, option(DEM, metavar="auto|FILE")]
    like: Annotated[Path | None, option(RADAR)] = None
    crs: Annotated[
        str | None, option(GRID, metavar="dem|CRS", autocompletion=_words(OF_DEM, "EPSG:"))
    ] = None
    resolution: Annotated[float | None, option(GRID, metavar="SIZE")] = None
    align: Annotated[float | None, option(GRID, metavar="OFFSET")] = None
    mgrs: Annotated[str | None, option(GRID, metavar="TILE")] = None
    bounds: Annotated[Edges | None, option(RADAR, metavar="WEST SOUTH EAST NORTH")] = None
    swaths: Annotated[Names, option(RADAR, metavar="IW1,IW2", parser=upper_names)] = ()
    burst: Annotated[int | None, option(RADAR, min=0)] = None

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        if AUTO in self.dem and self.dem != (AUTO,):
            msg = f"found {AUTO} beside files, expected one or the other"
            raise typer.BadParameter(msg, param_hint="--dem")
        if self.mgrs is not None and (self.crs is not None or self.align is not None):
            msg = "a tile has its own reference system and edges: omit --crs and --align, or --mgrs"
            raise typer.BadParameter(msg, param_hint="--mgrs")
        if self.crs == OF_DEM and (self.resolution is not None or self.align is not None):
            msg = "the grid of the elevation model is kept: omit --resolution and --align, or --crs"
            raise typer.BadParameter(msg, param_hint="--crs")


@dataclass(frozen=True, kw_only=True)
class ReconstructSettings(MapSettings):
    """All that a reconstruction depends on.

    Attributes
    ----------
    image : str
        Sentinel-1 GRD or SLC as the archive delivers it: SAFE folder, zip, or a URL of either
        (https://, s3://); or a NISAR RSLC (.h5). Or an image in radar geometry, linear power:
        written by `simulate`, or any raster without a map grid (then with `--like` and
        `--calibration`).
    like : pathlib.Path, optional
        A raster on a map grid, such as an earlier result: the result gets its grid. Or the
        annotation of an image that has no sampling and orbit (XML of a GRD or SLC, plain or .xz).
    orbit : str, optional
        Orbit file (POEORB or RESORB, .EOF), a folder of such files, or `auto` to fetch the best.
        Default: an orbit file beside the product, else the image's own orbit.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range.
    spacing : float, optional
        Instead of `--multilook`: average to about this pixel spacing on the ground. Default: 20 m
        for an SLC, no averaging for other images.
    noise_removal : bool
        Subtract the thermal noise of a product.
    verify : bool
        Read all files of a product first, and compare them with their checksums.
    calibration : {"beta0", "sigma0", "gamma0"}, optional
        Calibration of a product (default beta0), or the normalisation of another image, unless
        the file states it.
    polarisations : tuple of str
        Polarisations, separated by commas. Default: all. They also name the bands of a raster
        that does not name them.
    coregister : {"report", "correct", "none"}
        Compare the image with its simulation, and `report` the shift between them, or `correct`
        the timing by it. Takes a few seconds for an image of any size.
    method : {"posterior", "one-step", "rtc"}
        `posterior`: reallocation regularised by neighbouring cells. `one-step`: each cell receives
        its share of its pixels. `rtc`: radiometric terrain correction, which takes no law.
    law : str
        Backscatter law that sets the shares: `fit` to the image's cells outside layover, or
        gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness].
    guide : pathlib.Path, optional
        Raster that tells kinds of ground apart, each with a law of its own that is fitted to the
        image: classes 1 to 255, such as land cover, or continuous values, such as an optical band.
    memory : str
        Memory limit: a larger scene is processed in parts.
    """

    image: Annotated[str, LOCATION, argument("IMAGE")]
    orbit: Annotated[
        str | None, LOCATION, option(RADAR, metavar="auto|FILE|FOLDER", parser=orbit_source)
    ] = None
    multilook: Multilook = None
    spacing: Annotated[float | None, option(RADAR, metavar="METRES", min=1.0)] = None
    noise_removal: Annotated[bool, option(RADAR, "--noise-removal/--no-noise-removal")] = True
    verify: Annotated[bool, option(RADAR, "--verify")] = False
    calibration: Annotated[Calibration | None, option(RADAR)] = None
    polarisations: Annotated[Names, option(RADAR, metavar="VV,VH", parser=upper_names)] = ()
    coregister: Annotated[Literal["report", "correct", "none"], option(RADAR)] = "report"
    method: Annotated[Literal["posterior", "one-step", "rtc"], option(METHOD)] = "posterior"
    law: Annotated[
        str,
        option(
            METHOD, metavar="LAW", parser=reconstruction_law, autocompletion=_words(FIT, *LAW_NAMES)
        ),
    ] = FIT
    guide: Annotated[Path | None, option(METHOD, metavar="FILE")] = None
    memory: Annotated[str, option(RUNNING, metavar="SIZE", parser=memory_limit)] = "2 GiB"

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        super().__post_init__()
        if self.multilook is not None and self.spacing is not None:
            msg = "pass --multilook or --spacing, not both"
            raise typer.BadParameter(msg)
        if self.method == "rtc" and self.law != FIT:
            msg = f"found {self.law} beside --method rtc, which takes no law: leave one of them out"
            raise typer.BadParameter(msg, param_hint="--law")
        if self.guide is not None and (self.method == "rtc" or self.law != FIT):
            found = "--method rtc" if self.method == "rtc" else f"--law {self.law}"
            msg = f"found it beside {found}, but its laws are fitted: leave one of them out"
            raise typer.BadParameter(msg, param_hint="--guide")


@dataclass(frozen=True, kw_only=True)
class FileOutput(Settings):
    """Output of a command.

    Attributes
    ----------
    output : pathlib.Path
        Output; its suffix chooses the format.
    overwrite : bool
        Replace existing outputs.
    """

    output: Annotated[Path, option(OUTPUT, "--output", "-o")]
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class ResultOutput(FileOutput):
    """Output that can have a STAC item.

    Attributes
    ----------
    output : pathlib.Path
        Output; its suffix chooses the format. A name without suffix makes a folder of layers, one
        GeoTIFF for each variable and polarisation, with a STAC item.
    stac : bool
        Also write a STAC item beside the result, `scene.stac.json` for `scene.tif`.
    """

    output: Annotated[Path, option(OUTPUT, "--output", "-o")]
    stac: Annotated[bool, option(OUTPUT, "--stac")] = False


@dataclass(frozen=True, kw_only=True)
class ReconstructionOutput(ResultOutput):
    """Output of a reconstruction.

    Attributes
    ----------
    backscatter : {"linear", "db", "db-int16"}
        How layers hold σ⁰ and γ⁰: linear power, decibels, or hundredths of decibels as whole
        numbers, in half the space.
    profile : {"ceos-nrb"}, optional
        Add layers and fields of CEOS Analysis Ready Data, Normalised Radar Backscatter: data mask,
        ratio of σ⁰ to γ⁰, acquisition number, noise power, heights, and metadata of the source.
    source_url : str, optional
        For `--profile`: URL of the source product. Default: that of the image, if it is one.
    facility : str, optional
        For `--profile`: who makes the result.
    location : str, optional
        For `--profile`: URL from which the result can be retrieved.
    heights : bool
        Also keep the heights above the ellipsoid, as layer `dem`: `sarheight view` then needs no
        elevation model to show which places share pixels.
    quicklook : pathlib.Path, optional
        Also draw a picture: radar image, geocoded image, reconstruction, multiplicity.
    """

    backscatter: Annotated[Literal["linear", "db", "db-int16"], option(OUTPUT)] = "linear"
    profile: Annotated[Literal["ceos-nrb"] | None, option(OUTPUT)] = None
    source_url: Annotated[str | None, option(OUTPUT, metavar="URL")] = None
    facility: Annotated[str | None, option(OUTPUT, metavar="NAME")] = None
    location: Annotated[str | None, option(OUTPUT, metavar="URL")] = None
    heights: Annotated[bool, option(OUTPUT, "--heights")] = False
    quicklook: Annotated[Path | None, option(OUTPUT, metavar="PNG")] = None


@dataclass(frozen=True, kw_only=True)
class MessageSettings(Settings):
    """Messages of a command.

    Attributes
    ----------
    quiet : bool
        No progress, no messages.
    debug : bool
        Show tracebacks of errors.
    """

    quiet: Annotated[bool, option(RUNNING, "--quiet", "-q")] = False
    debug: Debug = False


@dataclass(frozen=True, kw_only=True)
class RunningSettings(MessageSettings):
    """Messages and threads of a command.

    Attributes
    ----------
    threads : int, optional
        Number of threads; all by default. The result has the same bits.
    """

    threads: Annotated[int | None, option(RUNNING, min=1)] = None


# Between the fields of settings and the flat options of a command.


def parameters_of(target: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """List the options of a function or settings class; fields of settings count one by one."""
    hints, descriptions = get_type_hints(target, include_extras=True), _descriptions(target)
    for parameter in inspect.signature(target).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint):
            yield from parameters_of(hint)  # type: ignore[arg-type]  # a class
        else:
            hint = _described(hint, descriptions.get(parameter.name), parameter.default)
            yield parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY)


def _descriptions(target: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions of attributes and parameters in docstrings (numpydoc), by name."""
    descriptions: dict[str, str] = {}
    for each in reversed(getattr(target, "__mro__", (target,))):
        for name, text in DESCRIPTION.findall(inspect.cleandoc(each.__doc__ or "")):
            descriptions[name] = " ".join(text.split())
    return descriptions


def _described(hint: Any, description: str | None, default: Any) -> Any:  # noqa: ANN401
    """Give an option its description as help, and decide whether the default is shown."""
    kind, *extras = get_args(hint)
    described = []
    for extra in map(copy, extras):
        if isinstance(extra, typer.models.ParameterInfo):
            extra.help = description
        if isinstance(extra, typer.models.OptionInfo):
            extra.show_default = default not in {inspect.Parameter.empty, None, False, ()}
        described.append(extra)
    return Annotated[kind, *described]


def build(target: Callable[..., T], values: Mapping[str, Any]) -> T:
    """Call a function or settings class with flat values; the inverse of `parameters_of`."""
    hints = get_type_hints(target, include_extras=True)
    arguments: Values = {}
    for name in inspect.signature(target).parameters:
        hint = hints[name]
        if is_dataclass(hint):
            arguments[name] = build(hint, values)  # type: ignore[arg-type]  # a class
        else:
            value = values[name]
            arguments[name] = tuple(value or ()) if _is_series(hint) else value
    return target(**arguments)


def command(target: Callable[..., T], *, table: str | None = None) -> Callable[..., T]:
    """Make the function that Typer turns into a command: its parameters are the options.

    With the name of a table the command gets the option ``--config``.
    """
    parameters = [_typer_parameter(each) for each in parameters_of(target)]
    annotations = {each.name: each.annotation for each in parameters}
    if table is not None:
        annotations["config"] = _configuration_option(target, table)
        parameters.append(
            inspect.Parameter(
                "config",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=annotations["config"],
            )
        )

    def run(**values: Any) -> T:  # noqa: ANN401
        return build(target, values)

    run.__name__ = target.__name__
    # The section of the parameters is shown option by option.
    run.__doc__ = inspect.cleandoc(target.__doc__ or "").partition("\n\nParameters\n---")[0]
    run.__annotations__ = annotations
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def parse(target: Callable[..., T], values: Mapping[str, Any], folder: Path | None = None) -> T:
    """Make settings from flat values, checked like those of the command line.

    Relative paths count from the folder. Raises SettingsError, a ValueError.
    """
    prepared = _prepared(target, values, folder)
    interpreter = _interpreter(target)
    try:
        with interpreter.make_context(target.__name__, [], default_map=prepared) as context:
            settings: T = interpreter.invoke(context)
    except typer.BadParameter as error:
        raise SettingsError(misuse_in_one_line(error)) from error
    except (AttributeError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        msg = f"a setting has a value of the wrong kind ({reason(error)})"
        raise SettingsError(msg) from error
    return settings


def misuse_in_one_line(error: Exception) -> str:
    """Say what is wrong with an option, beginning with its name."""
    message = " ".join(str(getattr(error, "message", error)).split()) or "is missing"
    message = message.removeprefix("Value error, ")
    similar = getattr(error, "possibilities", None)
    if similar and "Did you mean" not in message:
        message = f"{message}; did you mean {' or '.join(similar)}?"
    hint = getattr(error, "param_hint", None) or _option_name(getattr(error, "param", None))
    return f"{hint}: {message}" if hint else message


def _option_name(parameter: Any) -> str:  # noqa: ANN401  # of the click inside typer
    """Return the name of a parameter as the user writes it."""
    if parameter is None:
        return ""
    options = [name for name in parameter.opts if name.startswith("-")]
    return max(options, key=len) if options else str(parameter.metavar or parameter.name)


@cache
def _interpreter(target: Callable[..., Any]) -> Any:  # noqa: ANN401  # of the click inside typer
    app = typer.Typer(add_completion=False)
    app.command()(command(target))
    return typer.main.get_command(app)


def _typer_parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    """Replace types that Typer does not know: tuples of any length, and what a parser makes."""
    kind, *extras = get_args(parameter.annotation)
    if any(getattr(extra, "parser", None) for extra in extras):
        return parameter.replace(annotation=Annotated[str, *extras])
    if _is_series(parameter.annotation):
        (member, _) = get_args(kind)
        listed = list[member]  # type: ignore[valid-type]
        missing = parameter.default is inspect.Parameter.empty
        return parameter.replace(
            annotation=Annotated[listed if missing else listed | None, *extras],
            default=parameter.default if missing else None,
        )
    return parameter


def _is_series(annotation: Any) -> bool:  # noqa: ANN401
    """Tell whether a field is a tuple of any length."""
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _locations(target: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the fields that hold paths or URLs."""
    return frozenset(each.name for each in parameters_of(target) if _is_location(each.annotation))


def _is_location(annotation: Any) -> bool:  # noqa: ANN401
    kind, *extras = get_args(annotation)
    return LOCATION in extras or kind is Path or Path in get_args(kind)


def _is_local(path: Path | str) -> bool:
    return "://" not in str(path) and str(path) != AUTO


def _prepared(target: Callable[..., Any], values: Mapping[str, Any], folder: Path | None) -> Values:
    """Check names, make single values of a series a list, and complete relative paths."""
    known = {each.name: each for each in parameters_of(target)}
    locations = _locations(target)
    prepared: Values = {}
    for name, value in values.items():
        field = name.replace("-", "_")
        if field not in known:
            msg = f"found the option {name!r}, expected some of {', '.join(sorted(known))}"
            raise SettingsError(msg)
        if _is_series(known[field].annotation) and isinstance(value, str):
            value = [value]  # noqa: PLW2901
        prepared[field] = _absolute(value, folder) if folder and field in locations else value
    return prepared


def _absolute(value: Any, folder: Path) -> Any:  # noqa: ANN401
    """Let relative paths count from a folder."""
    if isinstance(value, list | tuple):
        return [_absolute(each, folder) for each in value]
    if isinstance(value, str) and _is_local(value):
        return os.path.abspath(folder / value)  # noqa: PTH100 - links stay as they are
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _public(location: str) -> str:
    """Strip a path of its folder, and a URL of user, password and signature."""
    if not _is_local(location):
        if location == AUTO:
            return location
        parts = urlsplit(location)
        return parts._replace(
            netloc=parts.netloc.rpartition("@")[2], query="", fragment=""
        ).geturl()
    return Path(location).name


# Configuration files: TOML, with a table for each command.


def to_toml(table: str, values: Mapping[str, Any]) -> str:
    """Write values as a table of a configuration file."""
    lines = [f"{name} = {_toml_value(value)}" for name, value in values.items()]
    return "\n".join([f"[{table}]", *lines]) + "\n"


def _toml_value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    # Texts, numbers and truth values are written in TOML as in JSON.
    return json.dumps(value, ensure_ascii=False)


def read_table(path: Path, table: str) -> Values:
    """Read the table of a command from a configuration file; ``-`` is the standard input.

    Raises SettingsError, a ValueError, and FileNotFoundError.
    """
    if str(path) == "-":
        text = typer.get_text_stream("stdin").read()
        tables = parse_toml(text, "standard input", SettingsError)
    else:
        tables = read_toml(path, SettingsError)
    if not isinstance(tables.get(table), dict):
        names = ", ".join(f"[{name}]" for name in tables) or "nothing"
        msg = f"found {names} in '{path}', expected [{table}]"
        raise SettingsError(msg)
    return dict(tables[table])


def _configuration_option(target: Callable[..., Any], table: str) -> Any:  # noqa: ANN401
    """Make the option ``--config``: its values apply where the command line has none."""

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None and not context.resilient_parsing:
            folder = Path() if str(path) == "-" else path.parent
            try:
                context.default_map = _prepared(target, read_table(path, table), folder)
            except (ValueError, OSError) as error:
                raise typer.BadParameter(str(error), param_hint="--config") from error
        return path

    return Annotated[
        Path | None,
        option(
            RUNNING,
            "--config",
            metavar="TOML",
            is_eager=True,
            callback=read,
            help="Settings from a file, as `sarheight info RESULT --config` writes them. Relative "
            "paths count from its folder; options on the command line have priority.",
        ),
    ]
