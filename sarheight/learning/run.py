"""Training runs: settings, folder, curves, checkpoints, batches."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, get_args

import lightning
import numpy as np
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader

from sarheight._files import read_settings
from sarheight._runtime import is_installed
from sarheight.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence, Sized

    from numpy.typing import NDArray

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of every training run.

    Parameters
    ----------
    batch : int
        Samples in a batch.
    epochs : int
        Largest number of epochs.
    patience : int
        Epochs without improvement of the validation after which training stops.
    rate : float
        Highest learning rate.
    decay : float
        Weight decay.
    clip : float or None
        Norm to which a larger gradient is scaled; None switches clipping off.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        Of the arithmetic. On a CPU bf16-mixed takes about half of the time.
    workers : int
        Processes that prepare samples.
    seed : int
        Seed of weights, samples and their order.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
    """

    batch: int = 8
    epochs: int = 60
    patience: int = 15
    rate: float = 1e-3
    decay: float = 1e-4
    clip: float | None = 1.0
    precision: Precision = "bf16-mixed"
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        require_one_of("precision", self.precision, get_args(Precision))
        limits = () if self.clip is None else ("clip",)
        require_positive(self, ("batch", "epochs", "patience", "rate", *limits))
        if not self.decay >= 0.0 or not self.workers >= 0:
            msg = f"found decay={self.decay} and workers={self.workers}, expected 0 or more of both"
            raise ValueError(msg)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the settings as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read settings from JSON; missing ones have their defaults.

        Raises
        ------
        ValueError
            If the file is no JSON, or holds an unknown setting.
        OSError
            If it cannot be read.
        """
        return read_settings(cls, path)


def require_one_of(name: str, found: str, expected: Sequence[str]) -> None:
    """Raise if a name is not among those expected."""
    if found not in expected:
        msg = f"found {name} {found!r}, expected one of {', '.join(expected)}"
        raise ValueError(msg)


def require_positive(settings: RunSettings, names: Sequence[str]) -> None:
    """Raise if one of the named settings is not a number above 0."""
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, Real) or not float(value) > 0.0:
            msg = f"found {name}={value!r}, expected a number above 0"
            raise ValueError(msg)


# The folder of a run: settings, curves, checkpoints.

MODEL, SETTINGS, LAST = "model", "settings.json", "last.ckpt"


def prepare_run(folder: str | os.PathLike[str], settings: RunSettings, accelerator: str) -> Path:
    """Create or check the folder of a run; return the path of its final model."""
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
            f"'{folder}' holds a run with other settings (see {SETTINGS}), expected the same: "
            "choose another folder"
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


def _require_accelerator(name: str) -> None:
    """Raise if an accelerator is not available."""
    names = {"auto": ("cpu",), "gpu": ("cuda", "mps")}.get(name, (name,))
    known = [each for each in names if each in AcceleratorRegistry]
    if not any(AcceleratorRegistry[each]["accelerator"].is_available() for each in known):
        msg = f"found device {name!r}, which is not available: use 'cpu', or 'auto'"
        raise ValueError(msg)


def _loggers(folder: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder, "curves", version="")]
    if is_installed("tensorboard"):
        loggers.append(TensorBoardLogger(folder, "tensorboard", version=""))
    return loggers


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's remarks on hardware and data loaders."""
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


# Batches whose order depends on seed and epoch alone.


class Samples(Protocol):
    """A map-style dataset whose samples depend on a seed, the epoch, and their number."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a sample."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Draw new random numbers."""
        ...


class EpochLoader(lightning.LightningDataModule):
    """Batches for training and validation.

    Random numbers in the samples, and their order, depend on the seed and the number of the epoch
    alone: a resumed run gets the same batches as one that was not interrupted.
    """

    def __init__(self, training: Samples, validation: Samples, settings: RunSettings) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader[dict[str, NDArray[Any]]]:
        """Return the batches of the next epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        self.training.set_epoch(epoch)
        random = np.random.default_rng([self.settings.seed, epoch])
        order = random.permutation(len(self.training)).tolist()
        return self._batches(self.training, order)

    def val_dataloader(self) -> DataLoader[dict[str, NDArray[Any]]]:
        """Return the batches of the validation, the same for all epochs."""
        return self._batches(self.validation, list(range(len(self.validation))))

    def _batches(self, samples: Samples, order: list[int]) -> DataLoader[dict[str, NDArray[Any]]]:
        workers = self.settings.workers
        return DataLoader(
            samples,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_size=self.settings.batch,
            sampler=order,
            num_workers=workers,
            # A process that runs threads of kernels may hang after a fork.
            multiprocessing_context="spawn" if workers else None,
        )


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
