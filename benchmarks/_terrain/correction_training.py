"""Networks on top of refinement: the samples that they learn from, and their training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import huber_loss

from benchmarks._terrain.residuals import TRAINING_ROWS, Sample, load
from benchmarks.refinement import MARGIN
from sarheight import learning
from sarheight.learning import RootMeanSquaredError, RunSettings, Task, seeded
from sarheight.learning.split import window_starts
from sarheight.terrain.refinement_network import (
    ImageLayers,
    RefinementNetwork,
    correction_channels,
    mirrored,
)
from tests.worlds.scattering_ground import COARSER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["INNER", "Data", "channels_of", "new_network", "train"]

Floats = NDArray[np.float32]

OPTIONS = {"width": 16, "depth": 3}
PATCH, BATCH, RATE, DECAY = 64, 8, 3e-3, 3e-2
RISE = 100
"""Steps over which the rate rises."""
CHECKED = 125
"""Steps of an epoch, between points of the validation curve."""
OUTLIER = 3.0
"""Standard deviations beyond which errors count linearly in the loss."""
INNER = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))


def channels_of(sample: Sample) -> Floats:
    """Return the channels of a sample, shape (16, rows, columns)."""
    _, baseline, height, sigma = sample.fields
    return correction_channels(
        baseline,
        height,
        sigma,
        [ImageLayers(*each) for each in sample.passes],
        filled=sample.filled,
        looks=sample.looks,
        posting=sample.posting,
        factor=COARSER.factor,
    )


def target_of(sample: Sample) -> Floats:
    """Return the error that refinement leaves, truth less height, in standard deviations."""
    truth, _, height, sigma = sample.fields
    return np.asarray((truth - height) / sigma, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Data:
    """Samples with their channels and targets."""

    rows: list[str]
    places: list[str]
    inputs: list[Floats]
    targets: list[Floats]
    sigmas: list[Floats]
    looks: list[float]

    @classmethod
    def of(cls, paths: Sequence[Path], rows: Sequence[str], places: Sequence[str]) -> Data:
        """Read samples; `rows` and `places` name the row and the place of each."""
        samples = [load(path) for path in paths]
        return cls(
            list(rows),
            list(places),
            [channels_of(each) for each in samples],
            [target_of(each) for each in samples],
            [each.fields[3] for each in samples],
            [each.looks for each in samples],
        )

    def where(self, *, place: str | None = None, other_than: str | None = None) -> Data:
        """Return the samples of a place, or those of all others."""
        chosen = [
            k for k, each in enumerate(self.places) if place in (None, each) and other_than != each
        ]
        columns = (
            [values[k] for k in chosen]
            for values in (
                self.rows,
                self.places,
                self.inputs,
                self.targets,
                self.sigmas,
                self.looks,
            )
        )
        return Data(*columns)  # type: ignore[arg-type]

    def of_row(self, row: str) -> list[int]:
        """Return the numbers of the samples of a row."""
        return [number for number, each in enumerate(self.rows) if each == row]


def turned_sample(
    inputs: Floats, target: Floats, *, rows: bool, columns: bool
) -> tuple[Floats, Floats]:
    """Mirror a sample; from east to west, the ascending and the descending pass change places."""
    steps = slice(None, None, -1 if rows else 1), slice(None, None, -1 if columns else 1)
    return mirrored(inputs, rows=rows, columns=columns), target[steps]


def new_network(seed: int) -> RefinementNetwork:
    """Make a network whose correction is 0 before it is trained."""
    with seeded(seed):
        return RefinementNetwork(options=OPTIONS)


class Patches:
    """Patches drawn at random, mirrored at random, other ones in each epoch."""

    def __init__(self, data: Data, seed: int) -> None:
        self.data, self.seed, self.epoch = data, seed, 0

    def __len__(self) -> int:
        """Return the number of patches of an epoch."""
        return CHECKED * BATCH

    def set_epoch(self, epoch: int) -> None:
        """Draw other patches."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Floats]:
        """Draw a patch."""
        random = np.random.default_rng([self.seed, self.epoch, index])
        data = self.data
        number = int(random.integers(len(data.rows)))
        shape = data.targets[number].shape
        # Beside the edge of a crop the images do not show all ground.
        edge = MARGIN // 2
        corner = [int(random.integers(edge, size - edge - PATCH)) for size in shape]
        flips = random.random(2) < 0.5
        return _patch(data, number, corner, flips.tolist())


class Windows:
    """Patches side by side, for the curve of the validation."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.corners = [
            (number, [row, column])
            for number, target in enumerate(data.targets)
            if data.rows[number] in TRAINING_ROWS
            for row in window_starts((MARGIN, target.shape[0] - MARGIN), PATCH, PATCH)
            for column in window_starts((MARGIN, target.shape[1] - MARGIN), PATCH, PATCH)
        ]

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.corners)

    def __getitem__(self, index: int) -> dict[str, Floats]:
        """Return a patch."""
        return _patch(self.data, *self.corners[index], [False, False])


def _patch(
    data: Data, number: int, corner: Sequence[int], flips: Sequence[bool]
) -> dict[str, Floats]:
    """Cut a patch of a sample, mirrored along rows and columns as told."""
    part = tuple(slice(first, first + PATCH) for first in corner)
    inputs, target = turned_sample(
        data.inputs[number][:, *part], data.targets[number][part], rows=flips[0], columns=flips[1]
    )
    sigma = data.sigmas[number][part][:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    found = {"inputs": inputs, "target": target, "sigma": sigma}
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


class CorrectionTask(Task[RefinementNetwork]):
    """Training of a network on top of refinement."""

    def __init__(self, network: RefinementNetwork, settings: RunSettings) -> None:
        super().__init__(network, settings, {"rmse": RootMeanSquaredError()})

    def forward(self, sample: dict[str, Tensor]) -> Tensor:
        """Return correction and logarithm of its scale."""
        found: Tensor = self.network(sample["inputs"])
        return found.float()

    def loss(self, output: Tensor, sample: dict[str, Tensor]) -> Tensor:
        """Huber's loss of the correction, and the negative log-likelihood of its scale."""
        target = sample["target"]
        mean, log_scale = output[:, 0], output[:, 1].clamp(-3.0, 3.0)
        error = (target - mean).detach().clamp(-2.0 * OUTLIER, 2.0 * OUTLIER)
        # The scale does not act on the correction: cells of large errors would hardly count in it.
        scale = log_scale + 0.5 * error**2 * torch.exp(-2.0 * log_scale)
        return huber_loss(mean, target, delta=OUTLIER) + 0.2 * scale.mean()

    def measure(self, output: Tensor, sample: dict[str, Tensor]) -> None:
        """Measure the error that is left, in metres."""
        sigma = sample["sigma"]
        self.metrics.update(sigma * output[:, 0], sigma * sample["target"])


def settings_of(seed: int, steps: int) -> RunSettings:
    """Return the settings of the included network's trainings, for some number of steps."""
    epochs = max(steps // CHECKED, 1)
    return RunSettings(
        batch=BATCH,
        epochs=epochs,
        patience=epochs,
        keep="last",
        rate=RATE,
        schedule="cosine",
        warm_up=min(RISE / steps, 0.5),
        decay=DECAY,
        threads=1,
        seed=seed,
    )


def train(
    training: Data,
    held_out: Data,
    folder: Path,
    seed: int,
    steps: int,
) -> RefinementNetwork:
    """Train a network in a folder, or resume it there."""
    settings = settings_of(seed, steps)
    task = CorrectionTask(new_network(seed), settings)
    samples = Patches(training, seed), Windows(held_out)
    run = learning.train(task, *samples, folder, accelerator="cpu", progress=False)
    print(seed, f"{run.figures['validation_rmse']:.2f} m", flush=True)
    return run.network
