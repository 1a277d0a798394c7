"""One step of training for Local Climate Zones, and one of validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassConfusionMatrix

from sarheight.metrics import scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.models import ZoneClassifier
    from sarheight.training._zone_settings import ZoneSettings

__all__ = ["ZoneTask", "class_weights", "turned"]

WARM_UP = 0.1
"""Part of all steps over which the learning rate rises, where it does."""
SYMMETRIES = 8

Sample = dict[str, Tensor]


class ZoneTask(lightning.LightningModule):
    """Training of a classifier.

    Parameters
    ----------
    classifier : ZoneClassifier
        What is trained.
    settings : ZoneSettings
        How.
    counts : array of int, shape (classes,)
        Samples of each class.
    steps : int
        Steps of all epochs together.
    """

    def __init__(
        self,
        classifier: ZoneClassifier,
        settings: ZoneSettings,
        counts: NDArray[np.int64],
        steps: int,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.steps = settings, steps
        weights = class_weights(counts) if settings.balance == "weights" else np.ones(counts.size)
        self.register_buffer("weights", torch.tensor(weights).float(), persistent=False)
        self.weights: Tensor
        self.confusion = MulticlassConfusionMatrix(counts.size, validate_args=False)

    def on_train_epoch_start(self) -> None:
        """Draw what is random from the seed and the epoch, so that a run can be taken up again."""
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, self.current_epoch])
                              .generate_state(1)[0]))  # fmt: skip

    def training_step(self, sample: Sample, _index: int) -> Tensor:
        """Return the loss of a batch."""
        image = sample["image"]
        if self.settings.augment:
            image = turned(image)
        if self.settings.jitter > 0.0:
            image = self._jittered(image)
        loss = cross_entropy(
            self.classifier(image),
            sample["label"],
            self.weights,
            label_smoothing=self.settings.smoothing,
        )
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        return loss

    def _jittered(self, image: Tensor) -> Tensor:
        """Give each channel of each patch a gain and an offset of its own."""
        shape = (*image.shape[:2], 1, 1)
        size = self.settings.jitter
        gain = 1.0 + size * torch.randn(shape, device=image.device)
        offset = size * torch.randn(shape, device=image.device)
        mean, std = self.classifier.mean, self.classifier.std
        plain = torch.tensor(
            [channel.transform == "none" for channel in self.classifier.channels],
            device=image.device,
        )[:, None, None]
        # Power stays above 0: a gain and an offset in decibels are one factor.
        factor = torch.exp(0.1 * np.log(10.0) * std * offset)
        return torch.where(plain, mean + gain * (image - mean) + std * offset, image * factor)

    def validation_step(self, sample: Sample, _index: int) -> None:
        """Count the classes of a batch."""
        found = self.classifier(sample["image"])
        loss = cross_entropy(found, sample["label"], self.weights)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(found))
        self.confusion.update(found.argmax(dim=1), sample["label"])

    def on_validation_epoch_end(self) -> None:
        """Log overall accuracy, average accuracy and kappa."""
        scores = scores_of(self.confusion.compute().cpu().numpy(), self.classifier.classes)
        self.confusion.reset()
        for name in ("overall", "average", "kappa"):
            self.log(f"validation_{name}", getattr(scores, name), prog_bar=name != "kappa")

    def configure_optimizers(self) -> Any:  # noqa: ANN401  # as Lightning has it
        """Set up Adam, with decoupled weight decay, and where it is wanted a rise and a cosine."""
        optimiser = torch.optim.AdamW(
            self.classifier.parameters(), self.settings.rate, weight_decay=self.settings.decay
        )
        if self.settings.schedule == "constant":
            return optimiser
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.settings.rate, total_steps=max(self.steps, 2), pct_start=WARM_UP
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def class_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return n / n_i, the number of all samples by that of a class; 0 for a class without any."""
    return np.where(counts > 0, counts.sum() / np.maximum(counts, 1), 0.0)


def turned(image: Tensor) -> Tensor:
    """Turn and mirror the patches of a batch, each in one of eight ways at random.

    Parameters
    ----------
    image : Tensor, shape (batch, channels, size, size)
        Patches.
    """
    which = torch.randint(SYMMETRIES, (len(image),), device=image.device)
    result = image.clone()
    for way in range(1, SYMMETRIES):
        chosen = which == way
        if chosen.any():
            some = torch.rot90(image[chosen], way % 4, dims=(2, 3))
            result[chosen] = some.flip(3) if way >= SYMMETRIES // 2 else some
    return result
