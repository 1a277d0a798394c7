"""The command ``sarheight``.

Heavy libraries are loaded by the commands that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

from sarheight.cli._app import app, main

__all__ = ["app", "main"]
