"""One training run: its folder, its curves, its checkpoints."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import lightning
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from sarheight._extras import is_installed
from sarheight.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import Literal

    from sarheight.training._run_settings import RunSettings

__all__ = ["MODEL", "claim", "fit"]

MODEL, SETTINGS, LAST = "model", "settings.json", "last.ckpt"


def claim(folder: str | os.PathLike[str], settings: RunSettings, accelerator: str) -> Path:
    """Take a folder for a run, or go on with the run that is there.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    settings : RunSettings
        Written to ``settings.json`` the first time.
    accelerator : str
        What the run, unless it is finished, will be trained on: see `fit`.

    Returns
    -------
    pathlib.Path
        Where the finished model is, or will be.

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings.
    ValueError
        If there is no such accelerator. Then nothing is written.
    """
    folder = Path(folder)
    finished = folder / MODEL
    if not finished.exists():
        _require_accelerator(accelerator)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / SETTINGS
    if not written.exists():
        settings.write(written)
    elif type(settings).read(written) != settings:
        msg = (
            f"'{folder}' holds a run with other settings (see {SETTINGS}); expected the same: take "
            "another folder"
        )
        raise CheckpointError(msg)
    return finished


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
    """Train until the epochs are over or nothing gets better, and take the best epoch's weights.

    The folder gets the curves (``curves/metrics.csv``, and those for TensorBoard where it is
    installed) and, after each epoch, ``last.ckpt``. A run that was interrupted goes on after its
    last complete epoch.

    Parameters
    ----------
    task : lightning.LightningModule
        What is trained. It has the weights of the best epoch in the end, on the CPU.
    loader : lightning.LightningDataModule
        See `EpochLoader`.
    settings : RunSettings
        Epochs, patience, precision and the limit of the gradient.
    folder : path-like
        As `claim` left it.
    monitored : str
        What the task logs at validation, and by which epochs are compared.
    mode : {"min", "max"}
        Whether less of it is better, or more.
    accelerator : str
        "auto", "cpu", "gpu", "cuda", "mps" or "tpu". `claim` has seen that it is there; one device
        of it is used.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    float or None
        `monitored` in the best epoch.
    """
    folder = Path(folder)
    best = ModelCheckpoint(
        folder, "best", monitor=monitored, mode=mode, enable_version_counter=False
    )
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            # On several, each would run the program that called this once more.
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


def _require_accelerator(name: str) -> None:
    """Refuse a device that is not there."""
    wanted = {"auto": ("cpu",), "gpu": ("cuda", "mps")}.get(name, (name,))
    there = [each for each in wanted if each in AcceleratorRegistry]
    if not any(AcceleratorRegistry[each]["accelerator"].is_available() for each in there):
        msg = f"found device {name!r}, which is not there: use 'cpu', or 'auto'"
        raise ValueError(msg)


def _loggers(folder: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder, "curves", version="")]
    if is_installed("tensorboard"):
        loggers.append(TensorBoardLogger(folder, "tensorboard", version=""))
    return loggers


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says about machines and loaders."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        try:
            yield
        finally:
            logger.setLevel(level)
