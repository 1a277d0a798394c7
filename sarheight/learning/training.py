r"""One trainer for all networks: settings, task, batches, and runs that resume.

A room describes a network by a subclass of `Task`, which says what the loss is and what is measured
at validation, and trains it by `train`:

.. code-block:: python

    class HeightTask(Task[HeightEstimator]):
        def __init__(self, network: HeightEstimator, settings: RunSettings) -> None:
            in_layover = RootMeanSquaredError(mask="layover")
            metrics = {"rmse": RootMeanSquaredError(), "rmse_layover": in_layover}
            super().__init__(network, settings, metrics)

        def loss(self, output: HeightEstimate, sample: Sample) -> Tensor:
            return height_loss(output, sample["truth"])

        def measure(self, output: HeightEstimate, sample: Sample) -> None:
            self.metrics.update(output.height, sample["truth"], layover=sample["mask"] == 1)

    with seeded(settings.seed):
        task = HeightTask(HeightEstimator(channels), settings)
    result = train(task, patches, held_out, "run")

What a room may define beside these: `Task.forward`, where the network takes something else than the
sample; `Task.calibrate`, for what is fitted at validation after training; `Task.monitored` and
`Task.mode`, the metric that selects the best epoch. Samples may define ``set_epoch(epoch)`` (new
random numbers), ``draw_order(random)`` (another order than a permutation, as for balanced classes),
and PyTorch's ``__getitems__(indices)``, which returns a whole batch as a dictionary of arrays.
"""

from __future__ import annotations

import csv
import logging
import math
import warnings
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import lightning
import numpy as np
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torchmetrics import MeanSquaredError, Metric, MetricCollection

from sarheight._runtime import is_installed
from sarheight.errors import CheckpointError
from sarheight.learning.settings import PLATEAU_FACTOR, RunSettings, split_batches
from sarheight.learning.weights import Pretrained, read_card
from sarheight.output.atomic import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

Sample = dict[str, Tensor]


@contextmanager
def seeded(seed: int, threads: int = 0) -> Iterator[None]:
    """Seed PyTorch's random numbers, and set its threads; both are as before at the end."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


# Batches whose order depends on seed and epoch alone.


class Samples(Protocol):
    """A map-style dataset.

    It may define ``set_epoch(epoch)``, ``draw_order(random)`` and ``__getitems__(indices)``, see
    `sarheight.learning.training`.
    """

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  # a dictionary of arrays
        """Return a sample."""
        ...


def _collate(samples: Any) -> Any:  # noqa: ANN401
    """Stack samples; a dictionary is a batch already."""
    if isinstance(samples, dict):
        return {name: torch.as_tensor(values) for name, values in samples.items()}
    return default_collate(samples)


class EpochLoader(lightning.LightningDataModule):
    """Batches for training and validation.

    Random numbers in the samples, and their order, depend on the seed and the number of the epoch
    alone: a resumed run gets the same batches as one that was not interrupted.
    """

    def __init__(self, training: Samples, validation: Samples, settings: RunSettings) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings
        self.validation_factor = 1

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return the batches of the next epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        if hasattr(self.training, "set_epoch"):
            self.training.set_epoch(epoch)
        random = np.random.default_rng([self.settings.seed, epoch])
        if hasattr(self.training, "draw_order"):
            order = self.training.draw_order(random)
        else:
            order = random.permutation(len(self.training))
        return self._batches(self.training, order, self.settings.batch)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return the batches of the validation, the same for all epochs."""
        size = self.validation_factor * self.settings.batch
        return self._batches(self.validation, np.arange(len(self.validation)), size)

    def _batches(self, samples: Samples, order: NDArray[np.int64], size: int) -> DataLoader[Sample]:
        workers = self.settings.workers
        return DataLoader(
            samples,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_sampler=[each.tolist() for each in split_batches(order, size)],
            collate_fn=_collate,
            num_workers=workers,
            # A process that runs threads of kernels may hang after a fork.
            multiprocessing_context="spawn" if workers else None,
            # A generator of its own leaves the global random state alone.
            generator=torch.Generator(),
        )


# What is trained.


class RootMeanSquaredError(MeanSquaredError):
    """Root mean squared error over the finite values, or over those of them in a mask.

    Parameters
    ----------
    mask : str, optional
        Name of the mask among the arguments of `update`. All values by default.
    """

    def __init__(self, mask: str | None = None) -> None:
        super().__init__(squared=False)
        self.mask = mask

    def update(self, preds: Tensor, target: Tensor, **masks: Tensor) -> None:
        """Add a batch: estimates and truth of one shape, and boolean masks of it."""
        where = torch.isfinite(preds) & torch.isfinite(target)
        if self.mask is not None:
            where &= masks[self.mask]
        super().update(preds[where].float(), target[where].float())


Network = TypeVar("Network", bound=Pretrained)


class Task(lightning.LightningModule, Generic[Network]):
    """A network with its loss and metrics.

    Parameters
    ----------
    network : Pretrained
        What is trained.
    settings : RunSettings
        Of the run.
    metrics : mapping of Metric
        Of the validation by name; ``validation_`` is put before the names.
    """

    monitored: str = "validation_rmse"
    """The metric that selects the best epoch."""
    mode: Literal["min", "max"] = "min"
    """Whether it is better when smaller, or larger."""
    validation_factor: ClassVar[int] = 1
    """Size of batches at validation by that of training: no gradients are kept."""

    def __init__(
        self, network: Network, settings: RunSettings, metrics: Mapping[str, Metric]
    ) -> None:
        super().__init__()
        self.network = network
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        # Groups of metrics that share states would be formed by values, which masks may make alike.
        self.metrics = MetricCollection(dict(metrics), prefix="validation_", compute_groups=False)

    @abstractmethod
    def loss(self, output: Any, sample: Sample) -> Tensor:  # noqa: ANN401
        """Return the loss of a batch, the mean over its samples."""

    @abstractmethod
    def measure(self, output: Any, sample: Sample) -> None:  # noqa: ANN401
        """Update the metrics of the validation by a batch."""

    def calibrate(self, data: EpochLoader) -> dict[str, float]:  # noqa: ARG002
        """Fit at validation what is fitted after training; return figures for the model's card."""
        return {}

    def forward(self, sample: Sample) -> Any:  # noqa: ANN401
        """Apply the network to a batch."""
        return self.network(sample)

    def on_train_epoch_start(self) -> None:
        """Seed dropout by seed and epoch, so that a resumed run repeats."""
        seeds = np.random.SeedSequence([self.settings.seed, self.current_epoch])
        torch.manual_seed(int(seeds.generate_state(1)[0]))

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        return self._logged_loss("training_loss", self(sample), sample)

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Update the metrics by a batch."""
        output = self(sample)
        self._logged_loss("validation_loss", output, sample)
        self.measure(output, sample)
        self.log_dict(self.metrics, on_step=False, on_epoch=True, prog_bar=True)

    def _logged_loss(self, name: str, output: Any, sample: Sample) -> Tensor:  # noqa: ANN401
        loss = self.loss(output, sample)
        size = len(next(iter(sample.values())))
        self.log(name, loss, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Return optimiser and schedule, see `RunSettings`."""
        settings = self.settings
        optimiser = _optimiser(self.network.parameters(), settings)
        if settings.schedule == "constant":
            return optimiser
        if settings.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser,
                self.mode,
                factor=PLATEAU_FACTOR,
                patience=settings.plateau,
                min_lr=settings.least_rate,
            )
            return [optimiser], [
                {"scheduler": plateau, "monitor": self.monitored, "interval": "epoch"}
            ]
        steps = max(int(self.trainer.estimated_stepping_batches), 2)
        schedule: torch.optim.lr_scheduler.LRScheduler
        if settings.schedule == "one_cycle":
            # A rise of a single step is none: PyTorch would divide by its length less one.
            rise = 0.0 if settings.warm_up * steps == 1.0 else settings.warm_up
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimiser, settings.rate, total_steps=steps, pct_start=rise
            )
        else:
            rise, fall = (
                max(share * steps, 1.0) for share in (settings.warm_up, settings.cool_down)
            )
            form = _RisingCosine(steps, rise)
            if settings.schedule == "trapezoid":
                form = _Trapezoid(steps, rise, fall)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, form)
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002  # as Lightning has it
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        """Clip the gradient; Lightning's own implementation refuses fused optimisers."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)


@dataclass(frozen=True)
class _RisingCosine:
    """Factor of the learning rate: a linear rise over some steps, times half a cosine over all."""

    steps: int
    rise: float

    def __call__(self, step: int) -> float:
        rise = min((step + 1) / self.rise, 1.0)
        return 0.5 * rise * (1.0 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class _Trapezoid(_RisingCosine):
    """Factor of the learning rate: linear rise and fall over some steps, 1 between them."""

    fall: float

    def __call__(self, step: int) -> float:
        return min((step + 1) / self.rise, 1.0, (self.steps - step) / self.fall)


def _optimiser(parameters: Any, settings: RunSettings) -> torch.optim.Optimizer:  # noqa: ANN401
    rate, decay = settings.rate, settings.decay
    if settings.optimiser == "adam":
        # Fused, a step of eighty million weights takes a fifth of the time.
        fused = settings.precision != "16-mixed"
        return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=fused)
    if settings.optimiser == "nadam":
        return torch.optim.NAdam(parameters, rate, weight_decay=decay, decoupled_weight_decay=True)
    return torch.optim.AdamW(parameters, rate, weight_decay=decay)


# Runs.

MODEL, SETTINGS, LAST = "model", "settings.json", "last.ckpt"


@dataclass(frozen=True)
class TrainingResult(Generic[Network]):
    """The result of a training run.

    Attributes
    ----------
    network : Pretrained
        With the weights that are kept, in evaluation mode, on the CPU.
    folder : pathlib.Path
        Where it is saved, for `Pretrained.from_pretrained`.
    figures : dict
        The monitored metric of these weights, and those of `Task.calibrate`, by name.
    """

    network: Network
    folder: Path
    figures: dict[str, float]


def train(
    task: Task[Network],
    training: Samples,
    validation: Samples,
    folder: str | os.PathLike[str],
    *,
    accelerator: str = "auto",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
) -> TrainingResult[Network]:
    """Train a network until the last epoch or until early stopping, calibrate and save it.

    The folder gets ``settings.json``, the curves (``curves/metrics.csv``, a row for each complete
    epoch, and those for TensorBoard if it is installed), ``last.ckpt`` after each epoch, and at the
    end ``model``. An interrupted run is resumed by the same call, after its last complete epoch,
    with the same curve and result; a finished one is loaded. The same seed gives the same weights
    on the same machine.

    Parameters
    ----------
    task : Task
        The network, its settings, loss and metrics. Construct the network within
        `sarheight.learning.seeded`, so that its first weights depend on the seed alone.
    training, validation : Samples
        Map-style datasets whose samples are dictionaries of arrays.
    folder : path-like
        Folder of the run; created if missing.
    accelerator : str
        "auto", "cpu", "gpu", ...; as Lightning takes it.
    progress : bool
        Whether to show a progress bar.
    card : mapping, optional
        Further information to store with the model: data, licence.

    Returns
    -------
    TrainingResult

    Raises
    ------
    CheckpointError
        If the folder holds a run with other settings, or the training diverged.
    ValueError
        If the accelerator is not available, or there is no sample.
    OutputError
        If the model cannot be written.
    """
    settings = task.settings
    model = _prepare(folder, settings, accelerator)
    if model.exists():
        figures = read_card(model).get("training", {})
        return TrainingResult(type(task.network).from_pretrained(model), model, figures)
    if not len(training) or not len(validation):
        msg = (
            f"found {len(training)} samples for training and {len(validation)} for validation, "
            "expected some of both"
        )
        raise ValueError(msg)
    data = EpochLoader(training, validation, settings)
    data.validation_factor = task.validation_factor
    with seeded(settings.seed, settings.threads):
        kept = _fit(task, data, Path(folder), accelerator=accelerator, progress=progress)
        task.cpu()
        task.network.eval()
        figures = {task.monitored: kept, **task.calibrate(data)}
        task.network.eval()
    task.network.save_pretrained(model, card={**(card or {}), "training": figures})
    return TrainingResult(task.network, model, figures)


def _prepare(folder: str | os.PathLike[str], settings: RunSettings, accelerator: str) -> Path:
    """Create or check the folder of a run; return the path of its final model."""
    folder = Path(folder)
    finished = folder / MODEL
    if not finished.exists():
        _require_accelerator(accelerator)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / SETTINGS
    # A machine that stopped while they were written leaves an empty file.
    lost = written.exists() and not written.read_bytes().strip()
    if lost and ((folder / LAST).exists() or finished.exists()):
        msg = (
            f"'{written}' is empty, so that nothing tells whether the run in its folder has these "
            "settings: put the file back, or choose another folder"
        )
        raise CheckpointError(msg)
    if lost or not written.exists():
        settings.write(written)
    elif type(settings).read(written) != settings:
        msg = (
            f"'{folder}' holds a run with other settings (see {SETTINGS}), expected the same: "
            "choose another folder"
        )
        raise CheckpointError(msg)
    return finished


def _fit(
    task: Task[Any], data: EpochLoader, folder: Path, *, accelerator: str, progress: bool
) -> float:
    """Train, and load the weights that are kept; return their monitored metric."""
    settings, last = task.settings, folder / LAST
    best = ModelCheckpoint(
        folder, "best", monitor=task.monitored, mode=task.mode, enable_version_counter=False
    )
    (folder / "curves").mkdir(exist_ok=True)
    callbacks: list[Callback] = [
        _Curves(folder / "curves" / "metrics.csv"),
        best,
        ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False),
        EarlyStopping(task.monitored, patience=settings.patience, mode=task.mode),
    ]
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            # Lightning starts the calling program once more for each further device.
            devices=1,
            precision=settings.precision,
            max_epochs=settings.epochs,
            logger=TensorBoardLogger(folder, "tensorboard", version="")
            if is_installed("tensorboard")
            else False,
            callbacks=callbacks,
            gradient_clip_val=settings.clip,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            reload_dataloaders_every_n_epochs=1,
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data, ckpt_path=last if last.exists() else None)
        kept = best.best_model_path if settings.keep == "best" else last
        found = torch.load(kept, map_location="cpu", weights_only=True)
    task.load_state_dict(found["state_dict"])
    score: Tensor | float | None = best.best_model_score
    if settings.keep == "last":
        with _quiet():
            # A run that is resumed after its last epoch has no metrics yet.
            metrics = (
                dict(trainer.callback_metrics) or trainer.validate(task, data, verbose=False)[0]
            )
        score = metrics.get(task.monitored)
    return float("nan") if score is None else float(score)


def _require_accelerator(name: str) -> None:
    """Raise if an accelerator is not available."""
    names = {"auto": ("cpu",), "gpu": ("cuda", "mps")}.get(name, (name,))
    known = [each for each in names if each in AcceleratorRegistry]
    if not any(AcceleratorRegistry[each]["accelerator"].is_available() for each in known):
        msg = f"found device {name!r}, which is not available: use 'cpu', or 'auto'"
        raise ValueError(msg)


class _Curves(Callback):
    """A row of metrics for each complete epoch, kept in checkpoints and written as CSV."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, which a checkpoint holds."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint: a resumed run goes on after its last complete epoch."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, _module: Any) -> None:  # noqa: ANN401
        """Add the row of an epoch, and write all."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        place = {"epoch": trainer.current_epoch, "step": trainer.global_step - 1}
        self.rows.append(place | dict(sorted(metrics.items())))
        with (
            atomic_write(self.path, overwrite=True, suffixes=(".csv",)) as work,
            work.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)


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
