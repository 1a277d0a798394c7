"""Training a network for building heights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.swa_utils import update_bn

from sarheight.data import BuildingPatches, band_statistics
from sarheight.data._split import require_apart
from sarheight.models import BuildingHeightEstimator, Channel
from sarheight.training._building_calibration import calibrate
from sarheight.training._building_task import MONITORED, BuildingTask
from sarheight.training._loading import EpochLoader, steps_of
from sarheight.training._run import claim, fit

if TYPE_CHECKING:
    import os

    import xarray as xr

    from sarheight.data import Part
    from sarheight.training._building_settings import BuildingSettings

__all__ = ["train_buildings"]

Places = Sequence[Sequence["Part"]]
REFERENCES = ("height", "footprint")
COUNTED = 200
"""Batches for training over which batch normalisation takes its statistics in the end."""


def train_buildings(
    stacks: Sequence[xr.Dataset],
    training: Places,
    validation: Places,
    settings: BuildingSettings,
    folder: str | os.PathLike[str],
    *,
    accelerator: str = "auto",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> BuildingHeightEstimator:
    """Train a network to estimate building heights.

    The folder gets ``settings.json``, the curves (``curves/metrics.csv``, and those for
    TensorBoard where it is installed), ``last.ckpt`` after each epoch, and at the end ``model``:
    the network of the epoch with the lowest validation RMSE. A network that gives a distribution
    is calibrated on the places of validation, see `calibrate`. One with batch normalisation gets
    statistics that are counted over batches for training alike, as Wu and Johnson (2021) advise:
    running ones forget what is rare, and a channel that was dark for some batches is blown up by
    orders of magnitude where it lights up in a place that the network has not seen. Called again
    with the same settings on a folder of an interrupted run, training goes on after its last
    complete epoch.

    Parameters
    ----------
    stacks : sequence of xarray.Dataset
        City stacks with heights and footprints, see `sarheight.data.check_stack`.
    training, validation : sequence of sequence of Part
        For each stack the parts from which patches are taken, as `sarheight.data.blocks` deals
        them out; no part takes nothing of a city. They must not overlap.
    settings : BuildingSettings
        What is trained, and how.
    folder : path-like
        Where the run lives; made if it is not there.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        More to tell with the model.

    Returns
    -------
    BuildingHeightEstimator
        That of the best epoch, in evaluation mode.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings, or weights to begin with do not fit.
    StackError
        If a stack is none.
    ValueError
        If parts do not pair with stacks or overlap, stacks give no patch, one patch of a single
        coarsest cell would make a batch alone, there is no building to learn from, or there is no
        such accelerator.
    OutputError
        If the model cannot be written.

    References
    ----------
    Wu, Y. and Johnson, J. (2021). Rethinking "Batch" in BatchNorm. arXiv:2105.07576, section 3.
    """
    require_apart(len(stacks), training, validation)
    finished = claim(folder, settings, accelerator)
    if finished.exists():
        return BuildingHeightEstimator.from_pretrained(finished)
    patches = _patches(stacks, training, settings, for_training=True)
    held_out = _patches(stacks, validation, settings, for_training=False)
    heights, footprints = _truth(stacks, training)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        estimator = BuildingHeightEstimator(
            _channels(stacks, training, settings),
            network=settings.network,
            options=settings.options,
        )
        if estimator.gives_distribution:
            estimator.begin_at(heights, footprints)
        else:
            _require_values(len(patches), estimator.stride, settings)
        if settings.weights:
            estimator.load_encoders(settings.weights)
        loader = EpochLoader(patches, held_out, settings)
        best = fit(
            BuildingTask(estimator, settings, steps_of(patches, settings), float(heights.std())),
            loader,
            settings,
            folder,
            monitored=MONITORED,
            accelerator=accelerator,
            progress=progress,
        )
        update_bn(islice(loader.train_dataloader(), COUNTED), estimator)
    estimator.eval()
    figures = {} if best is None else {MONITORED: best}
    if estimator.gives_distribution:
        figures |= calibrate(estimator, loader.val_dataloader())
    estimator.save_pretrained(finished, card={**(card or {}), "training": figures})
    return estimator


def _patches(
    stacks: Sequence[xr.Dataset], within: Places, settings: BuildingSettings, *, for_training: bool
) -> BuildingPatches:
    return BuildingPatches(
        stacks,
        within=within,
        size=settings.size,
        stride=settings.stride if for_training else settings.size,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
        months=settings.months,
        augment=for_training,
        drop_modality=settings.drop_modality if for_training else 0.0,
        drop_month=settings.drop_month if for_training else 0.0,
        seed=settings.seed,
    )


def _channels(
    stacks: Sequence[xr.Dataset], within: Places, settings: BuildingSettings
) -> dict[str, list[Channel]]:
    """Describe the bands, normalised by the places of training alone."""
    found = band_statistics(
        stacks,
        within=within,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
    )
    return {name: [Channel(**band) for band in bands] for name, bands in found.items()}


def _require_values(patches: int, stride: int, settings: BuildingSettings) -> None:
    """Refuse a batch in which batch normalisation would find one value to a channel."""
    if settings.size == stride and patches % settings.batch == 1:
        msg = (
            f"found {patches} patches of {stride} cells in batches of {settings.batch}, which "
            "leaves one alone, too little for batch normalisation: choose another batch, or a "
            f"size of {2 * stride}"
        )
        raise ValueError(msg)


def _truth(stacks: Sequence[xr.Dataset], within: Places) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the heights and built shares to learn from, where both are known."""
    pieces = [
        part.of(stack)[list(REFERENCES)].to_array().values.reshape(2, -1)
        for stack, parts in zip(stacks, within, strict=True)
        for part in parts
        if set(REFERENCES) <= set(stack)
    ]
    values = np.concatenate([np.empty((2, 0)), *pieces], axis=1)
    known = values[:, np.isfinite(values).all(axis=0)]
    if not (known[0] > 0.0).any():
        msg = (
            f"found no building among {known.shape[1]} cells with heights and footprints for "
            "training, expected some: check the reference, or take other places"
        )
        raise ValueError(msg)
    heights, footprints = torch.from_numpy(known).float()
    return heights, footprints
