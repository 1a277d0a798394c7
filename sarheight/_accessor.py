"""The `rio` of xarray objects, at hand without its price.

rioxarray gives xarray objects the accessor `rio`, and loads a third as much again as all that the
geometry stands on. Until somebody asks for it, a stand-in takes its place.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

__all__ = ["provide_rio"]

NAME = "rio"


class _StandIn:
    """Loads rioxarray, which puts its own accessor in this place."""

    def __get__(self, instance: xr.DataArray | xr.Dataset | None, owner: type) -> Any:  # noqa: ANN401
        if instance is None:
            # So asks rioxarray whether the name is taken.
            raise AttributeError(NAME)
        import rioxarray  # noqa: F401

        return getattr(instance, NAME)


def provide_rio() -> None:
    """Let DataArrays and Datasets have their `rio`."""
    for kind in (xr.DataArray, xr.Dataset):
        if not hasattr(kind, NAME):
            setattr(kind, NAME, _StandIn())
