"""Networks in tests: random weights, the curve of a run, and two that are the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def shaken(model: Module) -> Module:
    """Give a network random weights everywhere, also where it begins with zeros."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=random))
    return model.eval()


def curve(folder: Path, name: str = "validation_rmse") -> list[float]:
    """Return a column of the curves that a run has written, without its gaps."""
    with (folder / "curves" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
