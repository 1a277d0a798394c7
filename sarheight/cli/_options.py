"""From configurations to the options of commands: the bridge to typer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer

from sarheight._files import noting_unverified
from sarheight.errors import OptionError
from sarheight.workflow.options import Described, configurations, describe, known_option, read_table
from sarheight.workflow.words import RUNNING, UNVERIFIED

T = TypeVar("T")


def command(target: Callable[..., T], *, table: str | None = None) -> Callable[..., T]:
    """Make the function that typer turns into a command: its parameters are the options.

    Parameters that are configurations count field by field. With the name of a table the command
    gets the option ``--config``.
    """
    parameters = [_parameter(each) for each in _flat(target)]
    if table is not None:
        parameters.append(_configuration_parameter(target, table))

    def run(**values: Any) -> T:  # noqa: ANN401
        with noting_unverified() as unverified:
            try:
                done = target(**_arguments(target, values))
            except OptionError as error:
                raise _misuse(error, target) from error
        if unverified():
            raise typer.Exit(UNVERIFIED)
        return done

    run.__name__ = target.__name__
    # The section of the parameters is shown option by option.
    run.__doc__ = inspect.cleandoc(target.__doc__ or "").partition("\n\nParameters\n---")[0]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _flat(target: Callable[..., Any]) -> Iterator[Described]:
    """List the options of a function; those of its configurations one by one."""
    for one in describe(target).values():
        if is_dataclass(one.kind):
            yield from describe(one.kind).values()  # type: ignore[arg-type]  # a class
        else:
            yield one


def _arguments(target: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the arguments of a function from the values of its options."""
    arguments: dict[str, Any] = {}
    for name, one in describe(target).items():
        if is_dataclass(one.kind):
            own = {field: values[field] for field in describe(one.kind)}  # type: ignore[arg-type]
            (arguments[name],) = configurations((one.kind,), own)  # type: ignore[arg-type]
        else:
            value = values[name]
            arguments[name] = tuple(value or ()) if one.is_series else value
    return arguments


def _parameter(one: Described) -> inspect.Parameter:
    """Make the parameter of typer for an option."""
    kind, default = one.kind, inspect.Parameter.empty if one.default is MISSING else one.default
    if get_origin(kind) in (Union, UnionType) and {str, float} <= set(get_args(kind)):
        kind = str | None if default is None else str
    if one.option.convert is not None and get_origin(kind) is not Literal:
        # Converted by the configuration.
        kind = str | None if default is None else str
    if one.is_series:
        (member, _) = get_args(one.kind)
        listed = list[member]  # type: ignore[valid-type]
        kind, default = (
            (listed, default) if default is inspect.Parameter.empty else (listed | None, None)
        )
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, _typer_option(one)],
    )


def _typer_option(one: Described) -> Any:  # noqa: ANN401  # typer has it so
    """Make the option or argument of typer."""
    option = one.option
    more: dict[str, Any] = {"help": one.help, "metavar": option.metavar, **option.path}
    if option.positional:
        return typer.Argument(show_default=False, **more)
    if option.words:
        more["autocompletion"] = lambda incomplete: [
            word for word in option.words if word.startswith(incomplete)
        ]
    return typer.Option(
        *option.names,
        rich_help_panel=option.group,
        min=option.least,
        max=option.most,
        show_default=one.default not in (MISSING, None, False, ()),
        **more,
    )


def _configuration_parameter(target: Callable[..., Any], table: str) -> inspect.Parameter:
    """Make the option ``--config``: its values apply where the command line has none."""

    def read(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None and not context.resilient_parsing:
            known = {one.name: one for one in _flat(target)}
            folder = Path() if str(path) == "-" else path.parent
            try:
                context.default_map = {
                    one.name: value
                    for one, value in (
                        known_option(known, name, value, folder)
                        for name, value in read_table(path, table).items()
                    )
                }
            except (ValueError, OSError) as error:
                raise typer.BadParameter(str(error), param_hint="--config") from error
        return path

    text = (
        "Settings from a file, as `sarheight info RESULT --config` writes them. Relative paths "
        "count from its folder; options on the command line have priority."
    )
    option = typer.Option(
        "--config",
        metavar="TOML",
        is_eager=True,
        callback=read,
        help=text,
        rich_help_panel=RUNNING,
    )
    return inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, option],
    )


# Misuse.


def _misuse(error: OptionError, target: Callable[..., Any]) -> typer.BadParameter:
    """Turn an error of an option into one of the command line, which exits with code 2."""
    one = next((each for each in _flat(target) if each.name == error.option), None)
    hint = f"--{error.option.replace('_', '-')}" if error.option else None
    if one is not None and one.option.positional:
        hint = (one.option.metavar or one.name).rstrip(".")
    elif one is not None and one.option.names:
        hint = max((name.split("/")[0] for name in one.option.names), key=len)
    return typer.BadParameter(error.found, param_hint=hint)


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
