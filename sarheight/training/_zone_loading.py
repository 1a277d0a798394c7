"""Batches of labelled patches, each read at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.data import ZoneSamples
    from sarheight.training._zone_settings import ZoneSettings

__all__ = ["ZoneLoader", "batches_of"]

Batch = dict[str, "NDArray[Any]"]
LARGER = 4
"""How many times more samples a batch has that is only looked at, as no gradients are kept."""


class ZoneLoader(lightning.LightningDataModule):
    """Batches for training and validation, in an order that depends on seed and epoch alone.

    Parameters
    ----------
    training, validation : ZoneSamples
        Where they come from.
    settings : ZoneSettings
        Size of a batch, balance of the classes, seed, workers. Workers help where patches are read
        from a file; from memory it is faster without.
    """

    def __init__(
        self, training: ZoneSamples, validation: ZoneSamples, settings: ZoneSettings
    ) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the coming epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        random = np.random.default_rng([self.settings.seed, epoch])
        if self.settings.balance == "sampling":
            order = _evenly(self.training, random)
        else:
            order = random.permutation(len(self.training))
        return self._batches(self.training, batches_of(order, self.settings.batch))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of a validation, always the same."""
        order = np.arange(len(self.validation))
        return self._batches(self.validation, batches_of(order, LARGER * self.settings.batch))

    def _batches(self, samples: ZoneSamples, batches: list[NDArray[np.int64]]) -> DataLoader[Batch]:
        workers = self.settings.workers
        return DataLoader(
            samples,  # type: ignore[arg-type]  # a map-style dataset without torch
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            # A fork of a process whose kernels run in threads may hang.
            multiprocessing_context="spawn" if workers else None,
        )


def batches_of(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches of nearly equal size, so that none is left with a single sample."""
    return np.array_split(order, max(-(-order.size // size), 1))


def _evenly(samples: ZoneSamples, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many samples as there are, each class equally often."""
    counts = samples.counts()
    present = np.flatnonzero(counts)
    drawn = present[random.permutation(len(samples)) % present.size]
    order = np.empty(len(samples), dtype=np.int64)
    for number in present:
        members = np.flatnonzero(samples.labels == number)
        places = np.flatnonzero(drawn == number)
        rounds = -(-places.size // members.size)
        several = np.concatenate([random.permutation(members) for _ in range(rounds)])
        order[places] = several[: places.size]
    return order
