"""Channels of networks: transforms, normalisation, and statistics over the data of training."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight.errors import CheckpointError

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

Transform = Literal["none", "decibel", "log"]
"""Of a physical value at the input of a network: none, 10 log10(value), or log(1 + value)."""

LEAST_POWER = 1e-6
"""Lowest power that is converted to decibels, -60 dB."""
LEAST_MEDIAN = -0.3
"""Lowest plausible median of linear power. Noise after subtraction is within about 0.01 of 0; in
decibels only the brightest ground comes as near to 0."""
LEAST_VARIANCE = 1e-12
"""Variance of a channel that varies, at least, relative to its squared mean: less is rounding."""


def transform_values(values: Any, transform: str, library: ModuleType = np) -> Any:  # noqa: ANN401
    """Apply the transform of a `Channel` to an array of a library, NumPy or torch."""
    if transform == "decibel":
        # The comparison keeps NaN, which marks missing values.
        return 10.0 * library.log10(library.where(values < LEAST_POWER, LEAST_POWER, values))
    if transform == "log":
        return library.log1p(values)
    return values


@dataclass(frozen=True)
class Channel:
    """One channel of a network's input: a physical quantity and how it is normalised.

    The network's input is ``(transform(value) - mean) / std``, and 0 where a value is missing.

    Parameters
    ----------
    name : str
        Such as "gamma0_vv".
    units : str
        Of the value before the transform, such as "1" for linear power, or "m".
    transform : {"none", "decibel", "log"}
        Applied before normalising. Power is converted to decibels, -60 dB at least.
    mean, std : float
        Of the transformed values.

    Raises
    ------
    ValueError
        If the transform is none of these, or `std` is not positive.
    TypeError
        If name or units are no text, or mean or `std` no number.
    """

    name: str
    units: str
    transform: Transform = "none"
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.transform not in get_args(Transform):
            expected = ", ".join(get_args(Transform))
            msg = f"found transform {self.transform!r} of {self.name}, expected one of {expected}"
            raise ValueError(msg)
        texts: tuple[object, ...] = (self.name, self.units)  # of a file they may be anything
        if not all(isinstance(text, str) for text in texts):
            msg = f"found the name {self.name!r} and the units {self.units!r}, expected two texts"
            raise TypeError(msg)
        if not (math.isfinite(self.mean) and 0.0 < self.std < math.inf):
            msg = (
                f"found mean={self.mean} and std={self.std} of {self.name}, expected numbers, the "
                "second above 0"
            )
            raise ValueError(msg)

    def apply_transform(self, value: Tensor) -> Tensor:
        """Transform values without normalising them; the shape is kept."""
        import torch

        return cast("Tensor", transform_values(value, self.transform, torch))

    def normalise(self, value: Tensor) -> Tensor:
        """Convert values to the network's input, 0 where they are missing; the shape is kept."""
        import torch

        scaled = (self.apply_transform(value) - self.mean) / self.std
        return torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a configuration holds them."""
        return asdict(self)


def normalise(channels: Sequence[Channel], image: Tensor, axis: int = 1) -> Tensor:
    """Normalise an image, whose channels lie along an axis; 0 where a value is missing.

    Raises ValueError if their number is another one.
    """
    import torch

    if image.shape[axis] != len(channels):
        names = ", ".join(channel.name for channel in channels)
        msg = f"found {image.shape[axis]} channels, expected {len(channels)}: {names}"
        raise ValueError(msg)
    layers = zip(channels, image.unbind(axis), strict=True)
    return torch.stack([channel.normalise(layer) for channel, layer in layers], dim=axis)


def require_channels(
    channels: Sequence[Channel], present: Collection[str], where: str, advice: str
) -> None:
    """Raise CheckpointError if data lack a channel of a model; `where` names the data."""
    missing = [channel.name for channel in channels if channel.name not in present]
    if missing:
        msg = (
            f"found no {', '.join(missing)} in {where} that has {', '.join(present)}; the model "
            f"was trained with it: {advice}"
        )
        raise CheckpointError(msg)


# Statistics over the data of training.


@dataclass
class _Moments:
    """Number, mean and sum of squared deviations of values."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values, shape (n,)."""
        if not values.size:
            return
        total = self.count + values.size
        mean = float(values.mean())
        step = mean - self.mean
        # Chan, Golub and LeVeque (1979): nothing cancels, however far the mean is from 0.
        self.squares += float(np.square(values - mean).sum())
        self.squares += step**2 * self.count * values.size / total
        self.mean += step * values.size / total
        self.count = total


class ChannelStatistics:
    """Mean and standard deviation of channels over data of any size, added part by part.

    Parameters
    ----------
    channels : sequence of Channel
        Names, units and transforms; their means and standard deviations are replaced.

    Examples
    --------
    >>> statistics = ChannelStatistics([Channel("gamma0_vv", "1", "decibel")])
    >>> statistics.update({"gamma0_vv": [0.1, 0.01, float("nan")]})
    >>> statistics.update({"gamma0_vv": [[1.0, 0.001]]})
    >>> [(channel.name, channel.mean) for channel in statistics.channels()]
    [('gamma0_vv', -15.0)]
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._moments = {name: _Moments() for name in self._channels}

    def update(self, values: Mapping[str, ArrayLike]) -> None:
        """Add values.

        Parameters
        ----------
        values : mapping of array
            Of any shape by the channel's name, before the transform. NaN is left out, and so may be
            a channel.
        """
        for name, each in values.items():
            transformed = transform_values(
                np.asarray(each).astype(np.float64), self._channels[name].transform
            )
            self._moments[name].add(transformed[np.isfinite(transformed)])

    def channels(
        self, names: Iterable[str] | None = None, *, allow_empty: bool = False
    ) -> list[Channel]:
        """Return the channels, normalised by what was added.

        Parameters
        ----------
        names : iterable of str, optional
            Of the channels, in their order; all by default.
        allow_empty : bool
            Whether a channel without a value keeps its mean and standard deviation.

        Raises
        ------
        ValueError
            If a channel has no value, or the same one everywhere.
        """
        constant, found = [], []
        for name in self._channels if names is None else names:
            channel, moments = self._channels[name], self._moments[name]
            variance = moments.squares / max(moments.count, 1)
            if allow_empty and not moments.count:
                found.append(channel)
            elif not variance > LEAST_VARIANCE * moments.mean**2:
                constant.append(f"{name} ({moments.count} values, variance {variance:g})")
            else:
                found.append(replace(channel, mean=moments.mean, std=math.sqrt(variance)))
        if constant:
            msg = (
                f"found the same value everywhere, or none, in {', '.join(constant)}; expected "
                "channels that vary: leave them out, or check their files"
            )
            raise ValueError(msg)
        return found


def require_power(name: str, values: NDArray[np.floating]) -> None:
    """Raise if values are decibels rather than linear power.

    The median decides: noise subtraction leaves powers slightly below zero, even most of them on
    calm water, while decibels are nearly all negative and far below.
    """
    valid = values[np.isfinite(values)]
    median = float(np.median(valid)) if valid.size else 0.0
    if median < LEAST_MEDIAN:
        msg = (
            f"found {name} with a median of {median:.3g}, expected linear power: these look like "
            "decibels; convert them by 10 ** (value / 10)"
        )
        raise ValueError(msg)


def require_powers(channels: Sequence[Channel], inputs: Sequence[NDArray[np.floating]]) -> None:
    """Raise if a channel of linear power holds decibels."""
    for channel, values in zip(channels, inputs, strict=False):
        if channel.transform == "decibel":
            require_power(channel.name, values)
