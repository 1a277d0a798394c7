"""Trainings that a room runs by itself: fit, and the steps of its schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from sarheight.learning.training import (
    LAST,
    EpochLoader,
    Precision,
    RunSettings,
    _loggers,
    _quiet,
    prepare_run,
    require_one_of,
    require_positive,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sized

__all__ = [
    "EpochLoader",
    "Precision",
    "RunSettings",
    "count_steps",
    "fit",
    "one_cycle",
    "one_cycle_adamw",
    "prepare_run",
    "require_one_of",
    "require_positive",
]


def fit(
    task: lightning.LightningModule,
    loader: lightning.LightningDataModule,
    settings: RunSettings,
    folder: str | os.PathLike[str],
    *,
    monitored: str,
    mode: Literal["min", "max"] = "min",
    accelerator: str = "auto",
    progress: bool = True,
) -> float | None:
    """Train until the last epoch or until early stopping, and load the best epoch's weights.

    Writes curves (``curves/metrics.csv``, and TensorBoard's if it is installed) and, after each
    epoch, ``last.ckpt``, from which an interrupted run resumes. Returns the best monitored value.
    """
    folder = Path(folder)
    best = ModelCheckpoint(
        folder, "best", monitor=monitored, mode=mode, enable_version_counter=False
    )
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            # Lightning starts the calling program once more for each further device.
            devices=1,
            precision=settings.precision,
            max_epochs=settings.epochs,
            logger=_loggers(folder),
            callbacks=[
                best,
                ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False),
                EarlyStopping(monitored, patience=settings.patience, mode=mode),
            ],
            gradient_clip_val=settings.clip,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            reload_dataloaders_every_n_epochs=1,
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        last = folder / LAST
        trainer.fit(task, datamodule=loader, ckpt_path=last if last.exists() else None)
        found = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    task.load_state_dict(found["state_dict"])
    task.cpu()
    return None if best.best_model_score is None else float(best.best_model_score)


def count_steps(samples: Sized, settings: RunSettings) -> int:
    """Return the number of optimiser steps in all epochs."""
    return settings.epochs * -(-len(samples) // settings.batch)


def one_cycle_adamw(
    parameters: Iterable[torch.nn.Parameter],
    settings: RunSettings,
    steps: int,
    *,
    warm_up: float = 0.1,
) -> dict[str, Any]:
    """Return AdamW and its schedule as `configure_optimizers` of a Lightning module returns them.

    The learning rate rises over the share `warm_up` of all steps and falls as a cosine to zero.
    """
    optimiser = torch.optim.AdamW(parameters, settings.rate, weight_decay=settings.decay)
    return one_cycle(optimiser, settings, steps, warm_up=warm_up)


def one_cycle(
    optimiser: torch.optim.Optimizer, settings: RunSettings, steps: int, *, warm_up: float = 0.1
) -> dict[str, Any]:
    """Return an optimiser with the schedule of `one_cycle_adamw`."""
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=max(steps, 2), pct_start=warm_up
    )
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
