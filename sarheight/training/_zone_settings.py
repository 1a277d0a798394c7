"""What a training run for Local Climate Zones is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from sarheight.models._fusion_cnn import STAGES
from sarheight.models._zone_classifier import ZONE_NETWORKS
from sarheight.training._run_settings import RunSettings, require_one_of

__all__ = ["ZoneSettings"]

Balance = Literal["weights", "sampling", "none"]
Schedule = Literal["constant", "one_cycle"]


@dataclass(frozen=True, kw_only=True)
class ZoneSettings(RunSettings):
    """Settings of a training run for Local Climate Zones.

    The defaults are those of the published comparison: Adam at a rate of 1e-3, 100 epochs, early
    stopping after 25 without a better overall accuracy, dropout of 0.4, classes weighed by n / n_i.
    A limit of the gradient is not published; ``clip=None`` takes ours off.
    `generalising` are those that hold up best in regions that were not seen.

    Parameters
    ----------
    split : str or tuple of tuple of str
        How the channels are parted: see `sarheight.data.split_channels`.
    stage : int
        Where the branches meet, 0 to 6: see `sarheight.models.FusionCNN`.
    independent : bool
        At stage 6: whether the branches are trained apart, each with its own early stopping, and
        then summed; else they are trained together.
    network : {"fusion_cnn", "zone_net"}
        What is trained. ``zone_net`` has no stages.
    options : dict
        Other arguments of the network: widths, dense, dropout, ...
    decibel : tuple of str
        Channels of power that enter in decibels.
    balance : {"weights", "sampling", "none"}
        How rare classes are made up for: by weights n / n_i in the loss, or by drawing samples
        of all classes equally often.
    augment : bool
        Whether patches are turned and mirrored at random.
    jitter : float
        Standard deviation of a random gain and offset of each channel of a patch, in units of the
        channel's spread: regions differ in just this way.
    smoothing : float
        Part of the truth that is spread over all classes, from 0 to below 1.
    schedule : {"constant", "one_cycle"}
        Of the learning rate.
    batch, epochs, patience, rate, decay, clip, precision, workers, seed
        See `RunSettings`.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    split: str | tuple[tuple[str, ...], ...] = "all"
    stage: int = 0
    independent: bool = False
    network: str = "fusion_cnn"
    options: dict[str, Any] = field(default_factory=dict)
    decibel: tuple[str, ...] = ()
    balance: Balance = "weights"
    augment: bool = False
    jitter: float = 0.0
    smoothing: float = 0.0
    schedule: Schedule = "constant"
    batch: int = 64
    epochs: int = 100
    patience: int = 25
    decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        object.__setattr__(self, "decibel", tuple(self.decibel))
        # Options are compared with those of a file, where there are lists alone.
        object.__setattr__(self, "options", json.loads(json.dumps(self.options)))
        if not isinstance(self.split, str):
            object.__setattr__(self, "split", tuple(tuple(group) for group in self.split))
        super().__post_init__()
        require_one_of("network", self.network, tuple(ZONE_NETWORKS))
        require_one_of("balance", self.balance, get_args(Balance))
        require_one_of("schedule", self.schedule, get_args(Schedule))
        if self.stage not in STAGES or (self.independent and self.stage != STAGES[-1]):
            msg = (
                f"found stage {self.stage} with independent={self.independent}, expected 0 to "
                f"{STAGES[-1]}, and independent branches only at the last"
            )
            raise ValueError(msg)
        if not 0.0 <= self.smoothing < 1.0 or not self.jitter >= 0.0 or self.batch < 2:
            msg = (
                f"found smoothing={self.smoothing:g}, jitter={self.jitter:g}, batch={self.batch}; "
                "expected smoothing from 0 to below 1, jitter from 0 on, and two samples at least, "
                "between which to normalise"
            )
            raise ValueError(msg)

    @classmethod
    def generalising(
        cls,
        split: str | Sequence[Sequence[str]] = "all",
        **changes: Any,  # noqa: ANN401
    ) -> Self:
        """Return settings made for regions that were not seen in training.

        Parameters
        ----------
        split : str or sequence of sequence of str
            See `ZoneSettings`.
        **changes
            Other settings that shall differ.
        """
        chosen: dict[str, Any] = {
            "network": "zone_net",
            "balance": "sampling",
            "augment": True,
            "jitter": 0.1,
            "smoothing": 0.1,
            "schedule": "one_cycle",
            "decay": 1e-2,
            "epochs": 40,
            "patience": 40,
        }
        groups = split if isinstance(split, str) else tuple(tuple(group) for group in split)
        return cls(split=groups, **(chosen | changes))
