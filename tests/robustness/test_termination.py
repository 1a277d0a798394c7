"""SIGTERM ends the program, even where Python drops the exception that it raises."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs import nursery

if sys.platform == "win32":
    pytest.skip("Windows has no SIGTERM", allow_module_level=True)

INTERRUPTED, TERMINATED = 130, 143
PROGRAM = """
import os, signal, sys, time
from sarheight.cli import _app
{imports}
@_app.app.command()
def work():
{work}
_app.main()
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., int]]:
    """Run scripts in a folder, each as a command of the program, and return its exit code."""
    # A program that has loaded much takes long to end, and is interrupted meanwhile.
    with (
        nursery("import time, sarheight.cli._app") as plain,
        nursery("import dask.array, rioxarray, xarray, sarheight.output.files") as loaded,
    ):

        def started(folder: Path, work: str, imports: str = "") -> int:
            work = textwrap.indent(textwrap.dedent(work), "    ")
            code = PROGRAM.format(imports=textwrap.dedent(imports), work=work)
            return (loaded if imports else plain)(code, folder, "work").returncode

        yield started


DROPPED = """
    class Dropping:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
    Dropping()
    for _ in range(200):
        time.sleep(0.1)
    open("ended", "w").close()
"""
"""An exception in a finaliser is printed and dropped."""
IN_A_CLASS = """
    class Named:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20.0)
    type("Owner", (), {"named": Named()})
"""
"""Python 3.11 raises its own error from that of ``__set_name__``."""
AS_ANOTHER = """
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20.0)
    except SystemExit:
        {then}
"""
"""Libraries that are interrupted while they load raise errors of their own."""
AN_ERROR = 'raise ImportError("a library that was interrupted while it was loaded")'


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(DROPPED, TERMINATED, id="dropped"),
        pytest.param(IN_A_CLASS, TERMINATED, id="while a class is made"),
        pytest.param(AS_ANOTHER.format(then=AN_ERROR), TERMINATED, id="an error"),
        pytest.param(AS_ANOTHER.format(then="sys.exit(1)"), TERMINATED, id="a failure"),
        pytest.param(AS_ANOTHER.format(then="sys.exit(0)"), 0, id="a success"),
    ],
)
def test_a_termination_that_python_turns_into_something_else_is_still_one(
    run: Callable[..., int], tmp_path: Path, script: str, code: int
) -> None:
    assert run(tmp_path, script) == code
    assert not (tmp_path / "ended").exists()


def test_a_clean_up_is_not_interrupted(run: Callable[..., int], tmp_path: Path) -> None:
    script = """
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20.0)
        finally:
            for _ in range(10):
                time.sleep(0.1)
            open("cleaned", "w").close()
    """
    assert run(tmp_path, script) == TERMINATED
    assert (tmp_path / "cleaned").exists()


BIG = """
    import dask.array, numpy as np, rioxarray, xarray as xr
    from xarray.backends.locks import CombinedLock, SerializableLock
    from sarheight import output

    def block(block_info):
        return np.random.default_rng(1).random(block_info[None]["chunk-shape"], dtype=np.float32)

    side = SIDE
    values = dask.array.map_blocks(block, chunks=((256,) * (side // 256),) * 2, dtype=np.float32)
    steps = np.arange(side)
    big = xr.Dataset(
        {name: (("y", "x"), values) for name in "abcd"}, {"y": -10.0 * steps, "x": 10.0 * steps}
    ).rio.write_crs(32632)
"""


def test_an_interrupt_finds_no_lock_of_netcdf_in_the_main_thread(
    run: Callable[..., int], tmp_path: Path
) -> None:
    """An interrupt comes to the main thread; the lock that it takes just then is never released."""
    script = """
        import threading
        def interrupted(self, take=SerializableLock.__enter__):
            take(self)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
        SerializableLock.__enter__ = interrupted
        output.write(big, "big.nc")
    """
    assert run(tmp_path, script, BIG.replace("SIDE", "512")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["big.nc"]


@pytest.mark.parametrize(
    ("sent", "seconds", "code"),
    [
        (signal.SIGINT, 0.0, INTERRUPTED),
        (signal.SIGINT, 0.5, INTERRUPTED),
        (signal.SIGTERM, 0.2, TERMINATED),
    ],
)
def test_a_netcdf_file_that_is_being_written_is_left_at_once(
    run: Callable[..., int], tmp_path: Path, sent: signal.Signals, seconds: float, code: int
) -> None:
    script = f"""
        import threading
        def interrupt():
            time.sleep({seconds})
            os.kill(os.getpid(), {sent.value})
        threading.Thread(target=interrupt).start()
        while True:
            output.write(big, "big.nc", overwrite=True)
    """
    assert run(tmp_path, script, BIG.replace("SIDE", "2048")) == code
    assert not list(tmp_path.glob(".*"))


def test_a_second_termination_ends_what_does_not_come_to_its_end(
    run: Callable[..., int], tmp_path: Path
) -> None:
    script = """
        import threading
        def terminate():
            # On a busy machine two may arrive as one.
            for _ in range(4):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1.2)
        try:
            threading.Thread(target=terminate).start()
            time.sleep(30.0)
        finally:
            time.sleep(40.0)
            open("ended", "w").close()
    """
    assert run(tmp_path, script) == TERMINATED
    assert not (tmp_path / "ended").exists()


def test_a_termination_at_any_time_of_the_start_ends_the_program(tmp_path: Path) -> None:
    """The program waits for its settings on the standard input, so it cannot end by itself."""
    for seconds in (0.2, 0.6, 1.0):
        process = subprocess.Popen(
            [sys.executable, "-m", "sarheight", "reconstruct", "--config", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20.0) in {TERMINATED, -signal.SIGTERM}
        finally:
            process.kill()
            process.communicate()
