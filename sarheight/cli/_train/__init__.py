"""``sarheight train``: networks."""

from __future__ import annotations

import typer

from sarheight.cli._groups import help_if_alone
from sarheight.cli._train.buildings import buildings
from sarheight.cli._train.terrain import terrain
from sarheight.cli._train.zones import zones

__all__ = ["train"]

train = typer.Typer(name="train")


@train.callback(invoke_without_command=True)
def _commands(context: typer.Context) -> None:
    """Train a network; needs `pip install 'sarheight[learn]'`."""
    help_if_alone(context)


for command in (terrain, buildings, zones):
    train.command()(command)
