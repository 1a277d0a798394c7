"""``sarheight stack``: images of cities from catalogues, for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarheight.cli._options import Debug, Quiet, output_folder
from sarheight.cli._session import session


def stack(
    recipe: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="RECIPE.toml",
            help="Places, months, catalogues and buildings.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path, output_folder("Folder for the stacks, one Zarr store each; made if it is not there.")
    ],
    city: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Make only this city of the recipe; give it again for another.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Stack monthly images of Sentinel-1 and Sentinel-2 over cities, with their buildings.

    Images are looked up in STAC catalogues, and only their parts over the city are read. Stacks
    that are there already and were made by the same recipe are kept, so that after an interruption
    the same command goes on.

    ```
    sarheight stack dutch_cities.toml -o stacks
    sarheight train buildings stacks/*.zarr -o run
    ```
    """
    with session("stack", quiet=quiet, threads=None, debug=debug, steps=1) as current:
        from dataclasses import replace

        from sarheight.data import StackRecipe, open_stack, valid_months, write_stacks

        chosen = StackRecipe.read(recipe)
        if city:
            known = {each.name: each for each in chosen.cities}
            strange = [name for name in city if name not in known]
            if strange:
                msg = f"found no {', '.join(strange)} in the recipe, which has {', '.join(known)}"
                raise ValueError(msg)
            chosen = replace(chosen, cities=tuple(known[name] for name in city))
        for path in write_stacks(chosen, output, report=current.stage):
            with open_stack(path, chunks={}) as made:
                months = {name: int(valid.sum()) for name, valid in valid_months(made).items()}
                size = f"{made.sizes['y']} x {made.sizes['x']} cells"
            current.say(
                f"{path}: {size}, {months['sar']} months of radar, {months['optical']} of optics"
            )
