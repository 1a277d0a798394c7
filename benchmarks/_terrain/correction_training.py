"""Networks on top of refinement: the samples that they learn from, and their training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import huber_loss

from benchmarks._terrain.residuals import TRAINING_ROWS, Sample, load
from benchmarks.refinement import MARGIN
from benchmarks.synthetic.scattering_ground import COARSER
from sarheight.terrain.refinement_network import (
    ImageLayers,
    RefinementNetwork,
    correction_channels,
    estimate_correction,
    mirrored,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["INNER", "KINDS", "OUTLIER", "Data", "channels_of", "new_network", "train"]

Floats = NDArray[np.float32]

KINDS = ("ask_unet", "unet")
"""Networks that are compared; the first is shipped if it helps."""
OPTIONS = {"width": 16, "depth": 3}
PATCH, BATCH, RATE, DECAY = 64, 8, 3e-3, 3e-2
CHECKED = 125
"""Steps between points of the validation curve."""
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


def new_network(seed: int, kind: str = KINDS[0]) -> RefinementNetwork:
    """Make a network whose correction is 0 before it is trained."""
    torch.manual_seed(seed)
    return RefinementNetwork(network=kind, options=OPTIONS)


def _loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Huber's loss of the correction, and the negative log-likelihood of its scale."""
    mean, log_scale = output[:, 0], output[:, 1].clamp(-3.0, 3.0)
    error = (target - mean).detach().clamp(-2.0 * OUTLIER, 2.0 * OUTLIER)
    # The scale does not act on the correction: cells of large errors would hardly count in it.
    scale = log_scale + 0.5 * error**2 * torch.exp(-2.0 * log_scale)
    return huber_loss(mean, target, delta=OUTLIER) + 0.2 * scale.mean()


def train(
    training: Data,
    held_out: Data,
    path: Path,
    seed: int,
    steps: int,
    kind: str = KINDS[0],
) -> RefinementNetwork:
    """Train a network, or go on with the training whose state `path` holds."""
    torch.set_num_threads(1)
    network = new_network(seed, kind)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    curve, first = [], 0
    if path.exists():
        kept = torch.load(path, weights_only=True)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        curve, first = kept["curve"], kept["step"]
    for step in range(first, steps):
        network.train()
        # Of the step alone, so that an interruption changes nothing.
        random = np.random.default_rng([seed, step])
        inputs, targets = zip(*(_patch(training, random) for _ in range(BATCH)), strict=True)
        for group in optimiser.param_groups:
            # A short rise, then half a cosine.
            rise = min((step + 1) / 100.0, 1.0)
            group["lr"] = float(RATE * rise * 0.5 * (1.0 + np.cos(np.pi * step / steps)))
        with torch.autocast("cpu", torch.bfloat16):
            output = network(torch.from_numpy(np.stack(inputs)))
        loss = _loss(output.float(), torch.from_numpy(np.stack(targets)))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % CHECKED == 0 or step + 1 == steps:
            cuts = [
                1.0
                - float(
                    np.sqrt(
                        np.mean(
                            (z - estimate_correction(network, x, symmetric=False)[0])[INNER] ** 2
                            * s[INNER] ** 2
                        )
                        / np.mean(z[INNER] ** 2 * s[INNER] ** 2)
                    )
                )
                for row, x, z, s in zip(
                    held_out.rows, held_out.inputs, held_out.targets, held_out.sigmas, strict=True
                )
                if row in TRAINING_ROWS
            ]
            curve.append([step + 1, float(loss.detach()), median(cuts)])
            print(
                kind,
                seed,
                step + 1,
                f"{float(loss.detach()):.3f}",
                f"{100 * median(cuts):.2f} %",
                flush=True,
            )
            half = path.with_suffix(f".{os.getpid()}.part")
            torch.save(
                {
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "curve": curve,
                    "step": step + 1,
                },
                half,
            )
            half.rename(path)
    return network


def _patch(training: Data, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw a patch, mirrored at random."""
    number = int(random.integers(len(training.rows)))
    inputs, target = training.inputs[number], training.targets[number]
    # Beside the edge of a crop the images do not show all ground.
    row, column = (
        int(random.integers(MARGIN // 2, size - MARGIN // 2 - PATCH)) for size in target.shape
    )
    part = slice(row, row + PATCH), slice(column, column + PATCH)
    flips = random.random(2) < 0.5
    turned, wanted = turned_sample(
        inputs[:, part[0], part[1]], target[part], rows=bool(flips[0]), columns=bool(flips[1])
    )
    return np.ascontiguousarray(turned), np.ascontiguousarray(wanted)
