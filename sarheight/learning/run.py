"""Training runs: settings, folder, curves, checkpoints, batches."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
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

from sarheight._runtime import is_installed
from sarheight.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings that every training run has.

    Parameters
    ----------
    batch : int
        Samples in a step.
    epochs : int
        At most.
    patience : int
        Epochs without a better validation after which training stops.
    rate : float
        Learning rate at its highest.
    decay : float
        Weight decay.
    clip : float or None
        Largest norm of a step's gradient; a longer one is shortened to it. None limits nothing.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        Of the arithmetic. On a CPU bf16-mixed takes about half the time.
    workers : int
        Processes that prepare samples.
    seed : int
        Of weights, samples and their order.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
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
        """Read settings from JSON; what is left out has its usual value.

        Raises
        ------
        ValueError
            If the file is no JSON, or holds something that is no setting.
        OSError
            If it cannot be read.
        """
        found = json.loads(Path(path).read_text("utf-8"))
        known = {each.name for each in fields(cls)}
        if not isinstance(found, dict) or set(found) - known:
            strange = ", ".join(sorted(set(found) - known)) if isinstance(found, dict) else "a list"
            msg = f"found {strange} in '{path}', expected settings: {', '.join(sorted(known))}"
            raise ValueError(msg)
        return cls(**found)


def require_one_of(name: str, found: str, expected: Sequence[str]) -> None:
    """Refuse a name that is not among those expected."""
    if found not in expected:
        msg = f"found {name} {found!r}, expected one of {', '.join(expected)}"
        raise ValueError(msg)


def require_positive(settings: RunSettings, names: Sequence[str]) -> None:
    """Refuse settings that are no numbers above 0.

    Raises
    ------
    ValueError
    """
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, Real) or not float(value) > 0.0:
            msg = f"found {name}={value!r}, expected a number above 0"
            raise ValueError(msg)


# One training run: its folder, its curves, its checkpoints.

MODEL, SETTINGS, LAST = "model", "settings.json", "last.ckpt"


def prepare_run(folder: str | os.PathLike[str], settings: RunSettings, accelerator: str) -> Path:
    """Take a folder for a run, or go on with the run that is there."""
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


# Batches in an order that depends on seed and epoch alone.


class Samples(Protocol):
    """A map-style dataset whose samples depend on a seed, the epoch, and their number."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a sample."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Draw what is random anew."""
        ...


class EpochLoader(lightning.LightningDataModule):
    """Samples for training and validation.

    A run that is taken up again at an epoch sees what it would have seen: all that is random in
    the samples, and their order, are drawn from the seed and the number of the epoch.
    """

    def __init__(self, training: Samples, validation: Samples, settings: RunSettings) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader[dict[str, NDArray[Any]]]:
        """Return the batches of the coming epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        self.training.set_epoch(epoch)
        random = np.random.default_rng([self.settings.seed, epoch])
        order = random.permutation(len(self.training)).tolist()
        return self._batches(self.training, order)

    def val_dataloader(self) -> DataLoader[dict[str, NDArray[Any]]]:
        """Return the batches of a validation, always the same."""
        return self._batches(self.validation, list(range(len(self.validation))))

    def _batches(self, patches: Samples, order: list[int]) -> DataLoader[dict[str, NDArray[Any]]]:
        workers = self.settings.workers
        return DataLoader(
            patches,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_size=self.settings.batch,
            sampler=order,
            num_workers=workers,
            # A fork of a process whose kernels run in threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )


def count_steps(patches: Samples, settings: RunSettings) -> int:
    """Return the number of steps of all epochs."""
    return settings.epochs * -(-len(patches) // settings.batch)


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
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=max(steps, 2), pct_start=warm_up
    )
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
