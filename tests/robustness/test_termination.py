"""SIGTERM ends the program, even where Python drops the exception that it raises."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("Windows has no SIGTERM", allow_module_level=True)

TERMINATED = 143
PRELUDE = """
    import os, signal, sys, time
    from sarheight.cli import _app
    _app.terminate_cleanly()
"""


def run(script: str, folder: Path) -> tuple[int, float]:
    """Run a script; return its exit code and its seconds since it wrote a file "begun"."""
    text = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, timeout=60, check=False)
    return done.returncode, time.time() - (folder / "begun").stat().st_mtime


def test_a_termination_that_is_dropped_comes_again(tmp_path: Path) -> None:
    """An exception in a finaliser is printed and dropped."""
    code, seconds = run(
        """
        class Dropping:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
        open("begun", "w").close()
        Dropping()
        for _ in range(200):
            time.sleep(0.1)
        """,
        tmp_path,
    )
    assert code == TERMINATED
    assert seconds < 10.0


def test_a_clean_up_is_not_interrupted(tmp_path: Path) -> None:
    code, _ = run(
        """
        open("begun", "w").close()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20.0)
        finally:
            for _ in range(20):
                time.sleep(0.1)
            open("cleaned", "w").close()
        """,
        tmp_path,
    )
    assert code == TERMINATED
    assert (tmp_path / "cleaned").exists()


def test_a_termination_at_any_time_of_the_start_ends_the_program(tmp_path: Path) -> None:
    """The program waits for its settings on the standard input, so it cannot end by itself."""
    for number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "sarheight", "reconstruct", "--config", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        try:
            time.sleep(0.25 * number)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20.0) in {TERMINATED, -signal.SIGTERM}
        finally:
            process.kill()
            process.communicate()
