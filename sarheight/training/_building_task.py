"""One step of training for building heights, and one of validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from sarheight.models._mbhr_net import VARIANTS
from sarheight.training._building_losses import distribution_loss, regression_loss

if TYPE_CHECKING:
    from sarheight.models import BuildingHeightEstimator
    from sarheight.training._building_settings import BuildingSettings

__all__ = ["MONITORED", "BuildingTask"]

MONITORED = "validation_rmse"
WARM_UP = 0.1
"""Part of all steps over which the learning rate rises."""
FALL, LEAST_RATE = 0.1, 0.01
"""What is left of the rate after a plateau, and after all of them."""
BY_MONTH = ("sar", "optical", "sar_valid", "optical_valid", "month")

Sample = dict[str, Tensor]


class BuildingTask(lightning.LightningModule):
    """Training of an estimator of building heights.

    Parameters
    ----------
    estimator : BuildingHeightEstimator
        What is trained.
    settings : BuildingSettings
        How.
    steps : int
        Steps of all epochs together.
    unit : float
        Metres in which the squared errors of a distribution's means count.
    """

    def __init__(
        self,
        estimator: BuildingHeightEstimator,
        settings: BuildingSettings,
        steps: int,
        unit: float,
    ) -> None:
        super().__init__()
        self.estimator = estimator
        estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps, self.unit = settings, steps, unit
        self.everywhere, self.buildings = (MeanSquaredError(squared=False) for _ in range(2))

    def training_step(self, sample: Sample, index: int) -> Tensor:
        """Return the loss of a batch."""
        loss, _ = self._loss(self._kept(sample, index))
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=_size(sample))
        return loss

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Sum squared errors of a batch."""
        loss, height = self._loss(sample)
        self.log("validation_loss", loss, on_epoch=True, batch_size=_size(sample))
        known = torch.isfinite(sample["height"]) & torch.isfinite(height)
        for metric, where in (
            (self.everywhere, known),
            (self.buildings, known & (sample["height"] > 0.0)),
        ):
            if where.any():
                metric.update(height[where], sample["height"][where])

    def on_validation_epoch_end(self) -> None:
        """Log the root mean squared errors in metres."""
        for metric, suffix in ((self.everywhere, ""), (self.buildings, "_buildings")):
            if metric.update_called:
                self.log(MONITORED + suffix, metric.compute(), prog_bar=True)
            metric.reset()

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up what the network is trained by, see `BuildingSettings`."""
        rate, decay = self.settings.rate, self.settings.decay
        if self.estimator.gives_distribution:
            weights = torch.optim.AdamW(self.parameters(), rate, weight_decay=decay)
            cosine = torch.optim.lr_scheduler.OneCycleLR(
                weights, rate, total_steps=max(self.steps, 2), pct_start=WARM_UP
            )
            return {"optimizer": weights, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        # Fused, a step of eighty million weights takes a fifth of the time.
        fused = self.settings.precision != "16-mixed"
        adam = torch.optim.Adam(self.parameters(), rate, weight_decay=decay, fused=fused)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            adam, factor=FALL, patience=self.settings.plateau, min_lr=LEAST_RATE * rate
        )
        return {
            "optimizer": adam,
            "lr_scheduler": {"scheduler": plateau, "monitor": MONITORED, "interval": "epoch"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002  # as Lightning has it
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        """Limit the gradient; Lightning's own way refuses fused optimisers."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def _loss(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return the loss, and the heights in metres."""
        truth = sample["height"]
        if not self.estimator.gives_distribution:
            height = self.estimator(sample).height
            weights = VARIANTS[self.settings.options.get("variant", "paper")].weights
            return regression_loss(height, truth, weights), height.detach()
        found = self.estimator.distribution(sample)
        mean = self.estimator.mean(found)
        loss = distribution_loss(
            found, mean, self.estimator.bins, truth, sample["footprint"], self.unit
        )
        return loss, mean.detach()

    def _kept(self, sample: Sample, index: int) -> Sample:
        """Draw some of the months, by seed, epoch and number of the batch alone."""
        kept = self.settings.kept_months
        if not kept or kept >= sample["month"].shape[1]:
            return sample
        random = np.random.default_rng([self.settings.seed, self.current_epoch, index])
        months = np.sort(random.permutation(sample["month"].shape[1])[:kept]).tolist()
        return {
            name: each[:, months] if name in BY_MONTH else each for name, each in sample.items()
        }


def _size(sample: Sample) -> int:
    return int(sample["height"].shape[0])
