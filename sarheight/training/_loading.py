"""Batches in an order that depends on seed and epoch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import lightning
import numpy as np
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.training._run_settings import RunSettings

__all__ = ["EpochLoader", "Samples", "steps_of"]


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

    Parameters
    ----------
    training, validation : Samples
        Such as `sarheight.data.TerrainPatches`.
    settings : RunSettings
        Size of a batch, seed, workers.
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


def steps_of(patches: Samples, settings: RunSettings) -> int:
    """Return the number of steps of all epochs."""
    return settings.epochs * -(-len(patches) // settings.batch)
