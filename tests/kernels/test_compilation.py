"""Compilation of what a default reconstruction needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

USED = """
import sys
import numpy as np
from sarheight_kernels import compilation
from sarheight.illumination import simulate
from sarheight.layover import RTC, reconstruct
from tests.mountains import look, random_terrain, raster

dem = raster(random_terrain(2, 130, 140, relief=200.0))
grid, orbit = look(lines=300, samples=500)
scene = simulate(dem, grid, orbit, looks=4.4, seed=0)
reconstruct(scene, dem)
reconstruct(scene, dem, method=RTC())
modules = [each for name, each in sys.modules.items() if name.startswith("sarheight_kernels.")]
used = {
    (kernel, signature)
    for module in modules
    for kernel in vars(module).values()
    if hasattr(kernel, "kernel") and kernel.__module__ == module.__name__
    for signature in kernel.kernel.signatures
}
I8 = compilation.I8
listed = {(kernel, (I8, I8, *arguments)) for kernel, arguments in compilation.KERNELS}
print(sorted(kernel.__name__ for kernel, _ in used ^ listed))
"""
SHORT = """
from sarheight_kernels import compilation
compilation.KERNELS = [row for row in compilation.KERNELS if row[0].__name__ == "average"] * 2
print(*compilation.compile_kernels(), len(compilation.kernels_to_compile()), sep="; ")
"""


def printed(code: str, **environment: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_default_reconstruction_and_rtc_call_what_is_listed() -> None:
    """All of it, with the types that are listed, and nothing else."""
    assert printed(USED) == "[]"


def test_kernels_are_compiled_once(tmp_path: Path) -> None:
    """And told by their names and numbers; afterwards they are in the cache."""
    told = printed(SHORT, NUMBA_CACHE_DIR=str(tmp_path))
    assert told == "(0, 2, 'average'); (1, 2, 'average'); 0"
    assert printed(SHORT, NUMBA_CACHE_DIR=str(tmp_path)) == "0"


def test_nothing_is_compiled_where_compilation_is_switched_off() -> None:
    assert printed(SHORT, NUMBA_DISABLE_JIT="1") == "0"
