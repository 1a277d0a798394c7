"""Words of the options of workflows: names of methods, laws and files, and what checks them.

And the options that several configurations and commands have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sarheight.errors import OptionError
from sarheight.workflow.options import AUTO, option

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw
    from sarheight.layover import Method

OUTPUT, RUNNING, DEM, RADAR, METHOD = "Output", "Running", "Elevation model", "Radar", "Method"
GRID, ELEVATIONS, CITY = "Map grid", "Known elevations", "Cities"

UNVERIFIED = 3
"""Exit code of a command that did its work, but read parts of products without their checksums."""
OF_DEM = "dem"
"""In place of a reference system: keep the grid of the elevation model."""
FIT = "fit"
METHOD_NAMES = ("posterior", "one-step", "rtc")
LAW_NAMES = ("gamma", "lambert", "cosine", "muhleman")
LAWS = "gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness]"
ORBIT_FILES = (".eof", ".eof.xz", ".eof.zip")
"""Ends of the names of orbit files, in lower case."""

Calibration = Literal["beta0", "sigma0", "gamma0"]
Coregister = Literal["report", "correct", "none"]
Scale = Literal["linear", "db", "amplitude", "db-int16"]
Edges = tuple[float, float, float, float]
Names = tuple[str, ...]


def parse_law(text: str) -> BackscatterLaw:
    """Make the backscatter law that an option names; raises ValueError."""
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
        raise ValueError(msg)
    try:
        return laws[name](*(float(number) for number in numbers.split(",") if number))
    except (TypeError, ValueError) as error:
        msg = f"found {text!r} ({error}), expected one of {LAWS}"
        raise ValueError(msg) from error


def method_text(value: Any) -> str:  # noqa: ANN401
    """Return the name of a method, or JSON text of one with parameters of its own."""
    if isinstance(value, str) and value in METHOD_NAMES:
        return value
    import json

    from sarheight.layover.methods import METHODS, as_method, describe

    method = parse_method(value) if isinstance(value, str | Mapping) else as_method(value)
    names = [name for name, kind in METHODS.items() if method == kind()]
    return names[0] if names else json.dumps(describe(method))


def parse_method(value: str | Mapping[str, Any]) -> Method:
    """Make the method of a name, or of its description as text or mapping; raises ValueError."""
    import json

    from sarheight.layover.methods import as_method, read_method

    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return as_method(value)
        value = json.loads(value)
    if not isinstance(value, Mapping) or not all(
        isinstance(each, Mapping) for each in value.values()
    ):
        msg = f"found {value!r}, expected a method with its parameters"
        raise ValueError(msg)  # of a file
    return read_method(value)


def orbit_source(value: Any) -> str:  # noqa: ANN401
    """Check that a name is that of an orbit file, a folder, or "auto"."""
    text = str(value)
    path = Path(text)
    # Of a folder only the name is known where settings are repeated elsewhere.
    if not path.suffix or path.is_dir() or text.lower().endswith(ORBIT_FILES):
        return text
    msg = f"found {text!r}, expected an orbit file (.EOF), a folder of such files, or {AUTO}"
    raise ValueError(msg)


def reconstruction_law(text: str) -> str:
    """Check the name of a law, or "fit"."""
    return text if text == FIT else simulation_law(text)


def simulation_law(text: str) -> str:
    """Check the name of a law."""
    parse_law(text)
    return text


def memory_text(size: Any) -> str:  # noqa: ANN401
    """Check a memory size."""
    from sarheight.layover.tiles import memory_bytes

    memory_bytes(str(size))
    return str(size)


def require_memory(limit: str | None, arrays: float, what: str, advice: str) -> None:
    """Refuse work that is done in memory, and would take more of it than a limit.

    Parameters
    ----------
    limit : str, optional
        The limit, such as "2 GiB"; None refuses nothing.
    arrays : float
        Bytes that the arrays of the work take.
    what, advice : str
        The work, and what to do beside passing a larger limit.
    """
    from sarheight.layover.tiles import PROCESS_BYTES, memory_bytes

    if limit is None or arrays + PROCESS_BYTES <= memory_bytes(limit):
        return
    taken, most = ((size / (1 << 30)) for size in (arrays + PROCESS_BYTES, memory_bytes(limit)))
    msg = (
        f"{what} is done in memory and takes about {taken:.1f} GiB with the program, and the limit "
        f"is {most:.1f} GiB: {advice}, or pass a larger limit"
    )
    raise OptionError(msg, option="memory")


def layer_names(value: Any) -> Names:  # noqa: ANN401
    """Split names of layers at commas, and check them; "main" and "all" stay as they are."""
    from sarheight.layover.layers import select_layers

    parts = [value] if isinstance(value, str) else value
    names = tuple(name.strip() for part in parts for name in part.split(",") if name.strip())
    if names not in (("main",), ("all",)):
        select_layers(names)
    return names


def upper_names(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Split names at commas."""
    names = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip().upper() for each in names for name in each.split(",") if name.strip())


# Options that several configurations and commands have.

Like = Annotated[Names, option(GRID, metavar="FILE", location=True)]
MethodText = Annotated[
    str, option(METHOD, metavar="|".join(METHOD_NAMES), convert=method_text, words=METHOD_NAMES)
]
Multilook = Annotated[tuple[int, int] | None, option(RADAR, metavar="LINES SAMPLES", least=1)]
Overwrite = Annotated[bool, option(OUTPUT, "--overwrite")]
Debug = Annotated[bool, option(RUNNING, "--debug")]
DemFiles = Annotated[Names, option(DEM, metavar="FILE", location=True)]
DemFilesOrAuto = Annotated[Names, option(DEM, metavar="auto|FILE", location=True)]
Memory = Annotated[str, option(RUNNING, metavar="SIZE", convert=memory_text)]
MostMemory = Annotated[str | None, option(RUNNING, metavar="SIZE", convert=memory_text)]
