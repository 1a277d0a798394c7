"""One step of training, and one of validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import torch
from sarheight_kernels.profiles import ACTIVE_LAYOVER, LAYOVER_AND_SHADOW, PASSIVE_LAYOVER
from torch import Tensor
from torchmetrics import MeanMetric

from sarheight.training._losses import height_loss

if TYPE_CHECKING:
    from sarheight.models import HeightEstimator
    from sarheight.training._settings import TerrainSettings

__all__ = ["HeightTask"]

WARM_UP = 0.05
"""Part of all steps over which the learning rate rises."""
LAYOVER = (ACTIVE_LAYOVER, PASSIVE_LAYOVER, LAYOVER_AND_SHADOW)

Sample = dict[str, Tensor]


class HeightTask(lightning.LightningModule):
    """Training of a height estimator.

    Parameters
    ----------
    estimator : HeightEstimator
        What is trained.
    settings : TerrainSettings
        How.
    steps : int
        Steps of all epochs together.
    """

    def __init__(self, estimator: HeightEstimator, settings: TerrainSettings, steps: int) -> None:
        super().__init__()
        self.estimator = estimator
        estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps = settings, steps
        self.everywhere, self.in_layover = MeanMetric(), MeanMetric()

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self._loss(sample)
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=_size(sample))
        return loss

    def _loss(self, sample: Sample) -> Tensor:
        return height_loss(
            self.estimator(sample), sample["truth"], self.estimator.output_std, self.settings.loss
        )

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Sum squared errors of a batch."""
        estimate = self.estimator(sample)
        unit = self.estimator.output_std
        loss = height_loss(estimate, sample["truth"], unit, self.settings.loss)
        self.log("validation_loss", loss, on_epoch=True, batch_size=_size(sample))
        error = (estimate.height - sample["truth"]).float() ** 2
        folded = torch.isin(sample["mask"], torch.tensor(LAYOVER, device=error.device))
        known = torch.isfinite(error)
        for metric, where in ((self.everywhere, known), (self.in_layover, known & folded)):
            if where.any():
                metric.update(error[where])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared errors in metres."""
        for metric, suffix in ((self.everywhere, ""), (self.in_layover, "_layover")):
            if metric.update_called:
                self.log(f"validation_rmse{suffix}", torch.sqrt(metric.compute()), prog_bar=True)
            metric.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up AdamW with a rise and a cosine."""
        optimiser = torch.optim.AdamW(
            self.estimator.parameters(), self.settings.rate, weight_decay=self.settings.decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.settings.rate, total_steps=max(self.steps, 2), pct_start=WARM_UP
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _size(sample: Sample) -> int:
    return int(sample["truth"].shape[0])
