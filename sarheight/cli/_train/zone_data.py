"""The labelled samples that a command was given, split, and the forms of fusion asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sarheight.data import FusionForm, RasterPatches, ZoneSamples

__all__ = ["chosen_forms", "samples_of"]

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
    """Open the samples, and split them for training, validation and test.

    Parameters
    ----------
    data : sequence of pathlib.Path
        A folder of So2Sat LCZ42 or one file of it; or rasters.
    labels : pathlib.Path or None
        The raster of codes that goes with rasters.
    size : int
        Cells of a patch around a label.
    block : float
        Metres along the side of a block.
    deal : bool
        Whether to deal samples out at random.
    seed : int
        Of the split.

    Returns
    -------
    parts : mapping
        Samples for "training", "validation" and "test".
    posting : float or None
        Metres from cell to cell, where they are known.
    """
    if labels is not None:
        return _of_rasters(data, labels, size, block, deal=deal, seed=seed)
    first = data[0]
    if len(data) > 1 or not (first.is_dir() or first.suffix.lower() in HDF5):
        msg = "rasters need the zones of their cells: pass --labels"
        raise typer.BadParameter(msg, param_hint="--labels")
    return _of_so2sat(first, deal=deal, seed=seed), None


def _of_so2sat(path: Path, *, deal: bool, seed: int) -> Parts:
    from sarheight.data import So2SatPatches, deal_samples, so2sat_files

    files = so2sat_files(path) if path.is_dir() else {"training": path}
    if deal or len(files) == 1:
        return deal_samples(_in_memory(So2SatPatches(files["training"])), seed=seed)
    parts = {role: _in_memory(So2SatPatches(file)) for role, file in files.items()}
    if len(parts) == 3:
        return parts
    # Versions 1 and 3 have two files: what is missing for early stopping comes from training.
    shares = {"training": 0.9, "validation": 0.1}
    held_out = parts.get("test", parts.get("validation"))
    assert held_out is not None  # noqa: S101  # there are two files
    return {**deal_samples(parts["training"], shares, seed=seed), "test": held_out}


def _in_memory(samples: ZoneSamples) -> ZoneSamples:
    import numpy as np

    room = len(samples) * len(samples.channels) * samples.size**2 * np.dtype(np.float16).itemsize
    return samples.load(np.float16) if room <= LARGEST_IN_MEMORY else samples


def _of_rasters(
    data: Sequence[Path], labels: Path, size: int, block: float, *, deal: bool, seed: int
) -> tuple[Parts, float]:
    import rioxarray
    import xarray as xr

    from sarheight.data import RasterPatches, deal_samples, read_stack

    codes = rioxarray.open_rasterio(labels)
    if not isinstance(codes, xr.DataArray):
        msg = f"'{labels}' holds several images"
        raise typer.BadParameter(msg, param_hint="--labels")
    samples = RasterPatches(read_stack(*data), codes, size=size)
    if deal:
        return deal_samples(samples, seed=seed), samples.posting
    return _by_place(samples, block, seed), samples.posting


def _by_place(samples: RasterPatches, block: float, seed: int) -> Parts:
    """Keep a fold of blocks for test and one for validation, and train with nothing near them."""
    import numpy as np

    from sarheight.data import spatial_folds, without_near

    fold = spatial_folds(samples.labels, samples.x, samples.y, folds=FOLDS, width=block, seed=seed)
    test, validation = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    reach = samples.size * samples.posting
    places = samples.x, samples.y
    validation = without_near(validation, test, *places, reach)
    training = without_near(
        np.flatnonzero(fold > 1), np.concatenate([test, validation]), *places, reach
    )
    parts = {"training": training, "validation": validation, "test": test}
    return {role: samples.subset(indices) for role, indices in parts.items()}


def chosen_forms(
    channels: Sequence[str],
    splits: Sequence[str] | None,
    groups: Sequence[str] | None,
    stages: str,
) -> list[FusionForm]:
    """List the forms of fusion that were asked for.

    Parameters
    ----------
    channels : sequence of str
        What the data have.
    splits : sequence of str or None
        Names of splits.
    groups : sequence of str or None
        Branches of the user's own, each a list of channels with commas.
    stages : str
        Numbers, and "independent", with commas.
    """
    from sarheight.data import fusion_forms, split_channels

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
        for form in fusion_forms(wanted, independent=True)
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
