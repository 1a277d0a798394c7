"""Where a network works."""

from __future__ import annotations

import torch

__all__ = ["device_of"]


def device_of(name: str) -> torch.device:
    """Return a device by its name; "auto" is a GPU if there is one.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"found device {name!r}, which is not there ({reason}): use 'cpu', or 'auto'"
        raise ValueError(msg) from error
    return device
