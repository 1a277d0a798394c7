"""Batches in an order that depends on seed and epoch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.data import TerrainPatches
    from sarheight.training._settings import TerrainSettings

__all__ = ["PatchLoader", "steps_of"]


class PatchLoader(lightning.LightningDataModule):
    """Patches for training and validation.

    A run that is taken up again at an epoch sees what it would have seen: known elevations,
    mirrors and order are drawn from the seed and the number of the epoch.

    Parameters
    ----------
    training, validation : TerrainPatches
        Where patches come from.
    settings : TerrainSettings
        Size of a batch, seed, workers.
    """

    def __init__(
        self, training: TerrainPatches, validation: TerrainPatches, settings: TerrainSettings
    ) -> None:
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

    def _batches(
        self, patches: TerrainPatches, order: list[int]
    ) -> DataLoader[dict[str, NDArray[Any]]]:
        workers = self.settings.workers
        return DataLoader(
            patches,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_size=self.settings.batch,
            sampler=order,
            num_workers=workers,
            # A fork of a process whose kernels run in threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )


def steps_of(patches: TerrainPatches, settings: TerrainSettings) -> int:
    """Return the number of steps of all epochs."""
    return settings.epochs * -(-len(patches) // settings.batch)
