"""Options: fields of a configuration with type, default, help and check, and their form in files.

A configuration is a frozen dataclass whose fields carry an `Option` (``Annotated[type,
option(…)]``) and are described in its docstring (numpydoc). Python, command line, configuration
files (TOML), lists of jobs and the provenance of results derive from the fields, and all values
pass through the same checks.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, cast, get_args, get_origin, get_type_hints

from sarheight._files import require_file
from sarheight.errors import DamagedFileError, OptionError, SettingsError

Values = dict[str, Any]

AUTO = "auto"
"""In place of a file: fetch it."""
DESCRIPTION = re.compile(r"^(\w+)(?:, \w+)* : .*\n((?:    .*\n?)+)", re.MULTILINE)
"""An entry of a docstring (numpydoc): name, type, and an indented description."""
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


# Options of fields.


@dataclass(frozen=True)
class Option:
    """How a field is called, grouped, checked and completed.

    Attributes
    ----------
    group : str, optional
        Heading in the help.
    names : tuple of str
        Names on the command line; ``--`` and the name of the field by default.
    metavar : str, optional
        Form of the value in the help.
    positional : bool
        Whether the command line takes it without a name.
    least, most : float, optional
        Range of a number.
    convert : callable, optional
        Converts or checks a value that is given; raises ValueError.
    words : tuple of str
        Words that a shell completes, beside other values.
    location : bool
        Whether it is a path or URL, which provenance records without folders and secrets.
    path : dict
        What the command line checks of a path: `exists`, `file_okay`, `dir_okay`.
    """

    group: str | None = None
    names: tuple[str, ...] = ()
    metavar: str | None = None
    positional: bool = False
    least: float | None = None
    most: float | None = None
    convert: Callable[[Any], Any] | None = None
    words: tuple[str, ...] = ()
    location: bool = False
    path: dict[str, bool] = field(default_factory=dict)


def option(group: str | None = None, *names: str, **more: Any) -> Option:  # noqa: ANN401
    """Make the option of a field; see `Option`. Further truth values are checks of a path."""
    known = {each.name for each in fields(Option)}
    checks = {name: value for name, value in more.items() if name not in known}
    given = {name: value for name, value in more.items() if name in known}
    return Option(group, names, path=checks, **given)


def argument(metavar: str, **more: Any) -> Option:  # noqa: ANN401
    """Make the option of a field that the command line takes without a name."""
    return option(None, metavar=metavar, positional=True, **more)


@dataclass(frozen=True)
class Described:
    """A field or parameter: its type, option, help and default."""

    name: str
    kind: Any
    option: Option
    help: str
    default: Any = MISSING

    @property
    def is_series(self) -> bool:
        """Whether it is a tuple of any length."""
        return get_origin(self.kind) is tuple and get_args(self.kind)[1:] == (...,)

    @property
    def is_location(self) -> bool:
        """Whether it holds paths or URLs."""
        return self.option.location or self.kind is Path or Path in get_args(self.kind)


def describe(target: Callable[..., Any]) -> dict[str, Described]:
    """Describe the fields of a configuration, or the parameters of a function, by name."""
    return _described(cast("Hashable", target))


@cache
def _described(target: Any) -> dict[str, Described]:  # noqa: ANN401
    hints, texts, found = get_type_hints(target, include_extras=True), _descriptions(target), {}
    for name, parameter in inspect.signature(target).parameters.items():
        kind, chosen = hints[name], Option()
        for extra in getattr(kind, "__metadata__", ()):
            chosen = extra if isinstance(extra, Option) else chosen
        kind = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
        missing = parameter.default is inspect.Parameter.empty
        default = MISSING if missing else parameter.default
        found[name] = Described(name, kind, chosen, texts.get(name, ""), default)
    return found


def _descriptions(target: Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions of attributes and parameters in docstrings (numpydoc), by name."""
    descriptions: dict[str, str] = {}
    for each in reversed(getattr(target, "__mro__", (target,))):
        for name, text in DESCRIPTION.findall(inspect.cleandoc(each.__doc__ or "")):
            descriptions[name] = " ".join(text.split())
    return descriptions


# Values.


def _checked(value: Any, one: Described) -> Any:  # noqa: ANN401
    """Convert a value to the type of a field, and check it; raises ValueError."""
    given = value is not None and value != one.default
    if given and one.option.convert is not None:
        value = one.option.convert(value)
    value = _converted(value, one.kind)
    least, most = one.option.least, one.option.most
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, int | float) and not isinstance(each, bool):
            low = least is not None and not each >= least
            if low or (most is not None and not each <= most):
                least_text = "" if least is None else f" {least:g} or more"
                most_text = "" if most is None else f" {most:g} or less"
                text = " and".join(filter(None, (least_text, most_text)))
                msg = f"found {each:g}, expected{text}"
                raise ValueError(msg)
    return value


def _converted(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """Convert a value to a type that annotations of fields name."""
    members = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in members:
            return None
        # A number may be written as text: it is tried first.
        for each in sorted(
            (each for each in members if each is not NoneType), key=lambda each: each is str
        ):
            try:
                return _converted(value, each)
            except (TypeError, ValueError) as error:
                failure = error
        raise failure
    if get_origin(kind) is Literal:
        if value not in members:
            msg = f"found {value!r}, expected one of {', '.join(map(repr, members))}"
            raise ValueError(msg)
        return value
    if get_origin(kind) is tuple:
        return _tuple(value, members)
    return _single(value, kind)


def _tuple(value: Any, members: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ANN401
    """Convert several values, or one where any number is possible."""
    series = members[1:] == (...,)
    single = not isinstance(value, list | tuple)
    items = [] if value is None else [value] if single else list(value)
    if not series and len(items) != len(members):
        msg = f"found {value!r}, expected {len(members)} values"
        raise ValueError(msg)
    kinds = [members[0]] * len(items) if series else members
    return tuple(_converted(item, kind) for item, kind in zip(items, kinds, strict=True))


def _single(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """Convert one value to a truth value, number, text or path."""
    names = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    expected = f"found {value!r}, expected {names.get(kind, 'a text')}"
    if kind is bool:
        if not isinstance(value, bool) and str(value).lower() not in TRUTH:
            raise ValueError(expected)
        return value if isinstance(value, bool) else TRUTH[str(value).lower()]
    wrong = isinstance(value, bool | list | tuple | dict) or value is None
    if wrong or (kind is Path and not isinstance(value, str | os.PathLike)):
        raise ValueError(expected)
    if kind is str:
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    try:
        made = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(expected) from error
    if kind is int and not isinstance(value, str) and made != value:
        raise ValueError(expected)
    return made


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Base of configurations: values that JSON and TOML hold, and that are read back equal."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Make a configuration from named values, converted to their types and checked.

        Parameters
        ----------
        values : mapping
            The values by the names of the fields; a dash counts as an underscore.
        folder : pathlib.Path, optional
            Relative paths count from it.

        Raises
        ------
        OptionError
            If a name is not known, a value is not possible, or one is missing. A ValueError.
        """
        return cast("Self", configurations((cls,), values, folder)[0])

    def to_dict(self) -> Values:
        """Return the values that are not None, as JSON and TOML hold them."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    def record(self) -> Values:
        """Return the values for the provenance: no folders, and no secrets in addresses."""
        values = self.to_dict()
        for name in self._locations() & set(values):
            value = values[name]
            several = isinstance(value, list)
            values[name] = [_public(each) for each in value] if several else _public(value)
        return values

    def provenance(
        self,
        command: str,
        inputs: Mapping[str, Path] | None = None,
        *,
        whole: bool = True,
        **more: Any,  # noqa: ANN401  # what else is told
    ) -> Values:
        """Return the provenance of a result of a command, by which it can be repeated."""
        from sarheight.output import provenance

        parameters = {"command": command, "settings": self.record(), **more}
        return provenance({**self.files(), **(inputs or {})}, parameters, whole=whole)

    def files(self) -> dict[str, Path]:
        """Return the local files by name; of several, each with its number."""
        paths: dict[str, Path | str] = {}
        for name in sorted(self._locations()):
            value = getattr(self, name)
            if isinstance(value, tuple):
                paths |= {f"{name} {number}": each for number, each in enumerate(value, 1)}
            elif value:
                paths[name] = value
        return {name: Path(path) for name, path in paths.items() if _is_local(path)}

    def require_files(self) -> None:
        """Refuse files that do not exist, pipes and devices; URLs are checked when opened."""
        for name, path in self.files().items():
            option = name.split(" ")[0]
            if not path.exists():
                msg = f"there is no '{path}'"
                raise OptionError(msg, option=option)
            try:
                require_file(path)
            except DamagedFileError as error:
                raise OptionError(str(error), option=option) from error

    @classmethod
    def _locations(cls) -> set[str]:
        """Return the names of the fields that hold paths or URLs."""
        return {name for name, one in describe(cls).items() if one.is_location}


def configurations(
    kinds: tuple[type[Any], ...], values: Mapping[str, Any], folder: Path | None = None
) -> tuple[Any, ...]:
    """Make several configurations from one set of named values; see `Configuration.from_dict`."""
    known = {name: one for kind in kinds for name, one in describe(kind).items()}
    given: Values = {}
    for name, value in values.items():
        one, located = known_option(known, name, value, folder)
        if value is None:
            continue
        try:
            given[one.name] = _checked(located, one)
        except (AttributeError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            from sarheight._files import reason

            raise OptionError(reason(error), option=one.name) from error
    for name, one in known.items():
        if name not in given and one.default is MISSING:
            msg = "it is missing, and has no default"
            raise OptionError(msg, option=name)
    return tuple(
        kind(**{name: given[name] for name in describe(kind) if name in given}) for kind in kinds
    )


def known_option(
    known: Mapping[str, Described],
    name: str,
    value: Any,  # noqa: ANN401
    folder: Path | None,
) -> tuple[Described, Any]:
    """Find the option of a name, and complete the relative paths of its value."""
    one = known.get(name.replace("-", "_"))
    if one is None:
        msg = f"found the option {name!r}, expected some of {', '.join(sorted(known))}"
        raise OptionError(msg)
    if one.is_series and isinstance(value, str):
        value = [value]
    if isinstance(value, dict) and one.kind is str and one.option.convert is not None:
        value = json.dumps(value)
    return one, _absolute(value, folder) if folder and one.is_location else value


def _is_local(path: Path | str) -> bool:
    return "://" not in str(path) and str(path) != AUTO


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
    from sarheight._files import without_secrets

    return Path(location).name if _is_local(location) else without_secrets(location)


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
    from sarheight._files import parse_toml, read_toml

    if str(path) == "-":
        tables = parse_toml(sys.stdin.read(), "standard input", SettingsError)
    else:
        tables = read_toml(path, SettingsError)
    if not isinstance(tables.get(table), dict):
        names = ", ".join(f"[{name}]" for name in tables) or "nothing"
        msg = f"found {names} in '{path}', expected [{table}]"
        raise SettingsError(msg)
    return dict(tables[table])
