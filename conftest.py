"""What tests and doctests share, before any of them is collected."""

from __future__ import annotations

import gc
import os
import signal

# Before NumPy is loaded, here and in processes of tests: these share the cores, and threads of
# linear algebra that wait for work keep them busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import pytest
from hypothesis import settings

# What is loaded while tests are collected stays: looking for garbage in it takes seconds.
gc.disable()

# Pictures are drawn into files, on machines with a screen too.
mpl.use("Agg")

# A shell that runs the tests in the background has them and their processes ignore SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run. HYPOTHESIS_PROFILE=search looks for new ones, and for longer.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, max_examples=40
)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_finish() -> None:
    """Look for garbage from here on, and only in what the tests make."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _doctests_write_elsewhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run each doctest in a folder of its own, where it may write files."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
