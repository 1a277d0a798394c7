"""An environment for each peer, made on first use and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PeerMissingError", "run_peer"]

HERE = Path(__file__).parent
LONGEST_INSTALL, LONGEST_RUN = 600.0, 1800.0
"""Seconds."""


class PeerMissingError(RuntimeError):
    """A peer cannot be installed or does not run; the message says why."""


def _folder() -> Path:
    """Where environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sarheight-peers"


def _call(command: Sequence[str], seconds: float, what: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        msg = f"{what} failed: {' '.join(last)}"
        raise PeerMissingError(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"{what} took longer than {seconds:.0f} s"
        raise PeerMissingError(msg) from error
    return done.stdout


def _python(name: str, requirements: Sequence[str]) -> Path:
    """Return the interpreter of a peer's environment, which is made if there is none."""
    folder = _folder() / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != "\n".join(requirements):
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        _call([*pip, *requirements], LONGEST_INSTALL, f"installing {', '.join(requirements)}")
        stamp.write_text("\n".join(requirements), encoding="utf-8")
    return python


def run_peer(name: str, requirements: Sequence[str], cells: Path) -> dict[str, Any]:
    """Run ``<name>_way.py`` beside this file on a file of cells; return the JSON that it prints.

    It has an environment of its own, with what it needs, as pip wants it.

    Raises
    ------
    PeerMissingError
        If it cannot be installed, or fails.
    """
    python = _python(name, requirements)
    printed = _call([str(python), str(HERE / f"{name}_way.py"), str(cells)], LONGEST_RUN, name)
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found
