"""What an estimator sees of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sarheight.data._power import require_power
from sarheight.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.models import Channel, HeightEstimator

__all__ = ["layers_of", "prompt_of", "require_powers"]


def layers_of(estimator: HeightEstimator, scene: xr.Dataset) -> list[xr.DataArray]:
    """Find the estimator's channels in a scene, by name.

    Parameters
    ----------
    estimator : HeightEstimator
        Says which channels it takes, in which order and units.
    scene : xarray.Dataset
        Its variables may come in any order. One with polarisations holds a channel for each.

    Returns
    -------
    list of xarray.DataArray
        Dims (y, x), in the estimator's order.

    Raises
    ------
    CheckpointError
        If the scene lacks a channel, or has it in other units.
    """
    present: dict[str, xr.DataArray] = {}
    for name, variable in scene.data_vars.items():
        if variable.dims == ("y", "x"):
            present[str(name)] = variable
        elif set(variable.dims) == {"polarisation", "y", "x"}:
            for label in variable["polarisation"].values:
                chosen = variable.sel(polarisation=label, drop=True).transpose("y", "x")
                present[f"{name}_{str(label).lower()}"] = chosen
    return [_layer(channel, present) for channel in estimator.channels]


def _layer(channel: Channel, present: dict[str, xr.DataArray]) -> xr.DataArray:
    if channel.name not in present:
        msg = (
            f"found no {channel.name} in a scene that has {', '.join(present)}; the model was "
            "trained with it: make the scene with sarheight.data.observed_scene"
        )
        raise CheckpointError(msg)
    layer = present[channel.name]
    units = str(layer.attrs.get("units", channel.units))
    if units != channel.units:
        msg = (
            f"found {channel.name} in units of {units!r}, expected {channel.units!r}, with which "
            "the model was trained: convert it (decibels to power: 10 ** (value / 10))"
        )
        raise CheckpointError(msg)
    return layer


def prompt_of(estimator: HeightEstimator, scene: xr.Dataset) -> xr.DataArray | None:
    """Find the coarse elevation model in a scene, if the estimator takes one.

    Raises
    ------
    CheckpointError
        If it does, and the scene has none.
    """
    if "prompt" not in estimator.surfaces:
        return None
    if "coarse_height" not in scene:
        msg = (
            "found no coarse_height in the scene, and the model takes a coarse elevation model: "
            "add it in metres above the ellipsoid"
        )
        raise CheckpointError(msg)
    return scene["coarse_height"]


def require_powers(channels: Sequence[Channel], seen: Sequence[NDArray[np.float32]]) -> None:
    """Refuse decibels where a model sees power.

    Parameters
    ----------
    channels : sequence of Channel
        Of the model; those whose transform is to decibels are power.
    seen : sequence of array
        What was read of each, in their order; others may follow.

    Raises
    ------
    ValueError
    """
    for channel, values in zip(channels, seen, strict=False):
        if channel.transform == "decibel":
            require_power(channel.name, values)
