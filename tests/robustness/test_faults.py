"""Faults while results are written: kills at each rename, full disks, and two writers."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from zarr.storage import LocalStore

from sarheight import output
from sarheight.errors import OutputError
from sarheight.output import _cog, atomic

if sys.platform == "win32":
    pytest.skip("needs processes that fork", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

KILLED = -signal.SIGKILL
LONGEST = 30
"""Seconds after which a child process is stopped."""
DEEPEST = 3
"""Levels below the folder of a result at which its writer renames."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL's threads do not survive a fork."""
    monkeypatch.setitem(_cog.COMPRESSION, "num_threads", "1")


def constant(value: float, side: int = 40) -> xr.Dataset:
    """Make a result with one value everywhere."""
    heights = xr.Dataset(
        {"sigma0": (("y", "x"), np.full((side, side), value, dtype=np.float32), {"units": "1"})},
        coords={"y": 5.0e6 - 10.0 * np.arange(side), "x": 5.0e5 + 10.0 * np.arange(side)},
    )
    return heights.rio.write_crs("EPSG:32632")


def start(work: Callable[[], None]) -> int:
    """Run a function in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        signal.alarm(LONGEST)
        try:
            work()
        except BaseException:  # noqa: BLE001
            os._exit(1)
        os._exit(0)
    return child


def code_of(child: int) -> int:
    """Return the exit code of a process, negative for a signal, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def hidden(folder: Path) -> list[Path]:
    """List what is hidden in a folder."""
    return sorted(folder.glob(".*"))


def value_of(path: Path) -> float:
    """Return the one value of a result."""
    values = np.unique(output.open_result(path)["sigma0"].values)
    assert values.size == 1
    return float(values[0])


class KillAtRename:
    """Kills the process at one of its renames in or to a folder, before or after it is done."""

    def __init__(self, folder: Path, number: int, *, after: bool) -> None:
        self.folder, self.left, self.after = folder, number, after

    def __call__(self, rename: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that renames, or kills."""

        def renaming(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            target = Path(arguments[1])
            if self.folder not in target.parents[:DEEPEST]:
                return rename(*arguments, **options)  # of Zarr, within the store
            self.left -= 1
            if self.left < 0 and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = rename(*arguments, **options)
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return renaming

    def install(self) -> None:
        """Take the place of all functions that rename."""
        for owner, name in ((Path, "rename"), (Path, "replace"), (os, "link")):
            setattr(owner, name, self(getattr(owner, name)))


@pytest.mark.parametrize(
    ("suffix", "after", "least"), [(".zarr", False, 3), (".zarr", True, 3), (".tif", True, 1)]
)
def test_a_kill_at_any_rename_leaves_one_of_both_results(
    tmp_path: Path,
    suffix: str,
    after: bool,  # noqa: FBT001
    least: int,
) -> None:
    path = tmp_path / f"result{suffix}"
    output.write(constant(1.0), path)
    for kills in count():

        def overwrite(number: int = kills) -> None:
            KillAtRename(tmp_path, number, after=after).install()
            output.write(constant(2.0), path, overwrite=True)

        code = code_of(start(overwrite))
        if code == 0:
            break
        assert code == KILLED
        assert hidden(tmp_path)
        assert path.exists() or path.suffix == ".zarr"  # a file is replaced in one step
        assert value_of(path) in {1.0, 2.0}  # finds what a killed process left
        output.write(constant(1.0), path, overwrite=True)
        assert hidden(tmp_path) == []
    assert kills >= least
    assert value_of(path) == 2.0
    assert hidden(tmp_path) == []


def dated(day: int) -> xr.Dataset:
    """Make a result whose value and time are those of a day."""
    start, end = (f"2024-01-{day:02d}T05:00:{second}Z" for second in ("00", "10"))
    record = {"start": start, "end": end, "polarisations": ["VV"]}
    return constant(float(day)).assign_attrs(acquisition=json.dumps([record]))


def days_of(path: Path) -> tuple[int, int]:
    """Return the days of a result and of its item."""
    item = json.loads(path.with_suffix(".stac.json").read_text())
    return int(value_of(path)), int(item["properties"]["start_datetime"][8:10])


TOGETHER: Any = {"overwrite": True, "stac": True}


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_failure_at_the_item_keeps_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"result{suffix}"
    move = atomic._rename

    def fail_for_items(work: Path, target: Path, **more: Any) -> None:  # noqa: ANN401
        if target.name.endswith(".json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(work, target, **more)

    def fail_to_write() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "_rename", fail_for_items)
            with pytest.raises(OutputError, match="no space left"):
                output.write(dated(2), path, **TOGETHER)

    fail_to_write()
    assert list(tmp_path.iterdir()) == []
    output.write(dated(1), path, **TOGETHER)
    fail_to_write()
    assert days_of(path) == (1, 1)
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_kill_leaves_a_result_and_its_own_item(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"result{suffix}"
    code, found = KILLED, []
    while code == KILLED:
        output.write(dated(1), path, **TOGETHER)

        def overwrite(number: int = len(found)) -> None:
            KillAtRename(tmp_path, number, after=False).install()
            output.write(dated(2), path, **TOGETHER)

        code = code_of(start(overwrite))
        atomic.recover(path)
        result, item = days_of(path)
        assert result == item
        found.append(result)
    assert code == 0
    # Nothing has changed until the earlier result has moved, and all has after that.
    assert found == sorted(found)
    assert found.count(2) >= 3


def left_behind(folder: Path, complete: str, retired: str = "") -> Path:
    """Make the hidden folder of a process that was killed while it put a result in its place."""
    made = folder / ".scene.tif.abcd1234.partial"
    for part, names in (("complete", complete), ("retired", retired)):
        (made / part).mkdir(parents=True)
        for name in names.split():
            (made / part / name).write_text(f"{part} {name}")
    return made


@pytest.mark.parametrize(
    ("retired", "present", "expected"),
    [
        ("", "", "complete complete"),  # killed before the first result was in its place
        ("", "item", "none present"),  # before the first that is replaced had moved
        ("scene", "", "complete complete"),
        ("scene", "item", "complete complete"),  # between the moves of both that are replaced
        ("scene item", "", "complete complete"),
        ("scene item", "scene", "present none"),  # somebody has written there since
        ("scene", "scene", "present none"),
    ],
)
def test_what_a_killed_process_had_complete_takes_its_place_if_it_is_free(
    tmp_path: Path, retired: str, present: str, expected: str
) -> None:
    left_behind(tmp_path, "scene item", retired)
    for name in present.split():
        (tmp_path / name).write_text(f"present {name}")
    atomic.recover(tmp_path / "scene")
    for name, source in zip(("scene", "item"), expected.split(), strict=True):
        path = tmp_path / name
        assert (path.read_text().split()[0] if path.exists() else "none") == source
    assert hidden(tmp_path) == []


def test_an_empty_folder_may_be_about_to_be_locked(tmp_path: Path) -> None:
    folder = tmp_path / ".scene.tif.abcd1234.partial"
    folder.mkdir()
    atomic.recover(tmp_path / "scene.tif")
    assert folder.exists()
    os.utime(folder, (0.0, 0.0))
    atomic.recover(tmp_path / "scene.tif")
    assert not folder.exists()


def test_only_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    alien = tmp_path / ".notes.partial"
    alien.mkdir()
    (alien / "text").write_text("not of this package")
    with atomic.atomic_write(tmp_path / "slow.tif") as work:
        work.write_bytes(b"unfinished")
        output.write(constant(1.0), tmp_path / "fast.nc")
        assert work.read_bytes() == b"unfinished"
    assert sorted(path.name for path in tmp_path.iterdir()) == [alien.name, "fast.nc", "slow.tif"]


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.tif"
    monkeypatch.setattr(atomic.os.path, "lexists", lambda _: False)  # the check is too early
    writing = atomic.atomic_write(path)
    writing.__enter__().write_bytes(b"mine")
    path.write_bytes(b"of another")
    with pytest.raises(OutputError, match="exists"):
        writing.__exit__(None, None, None)
    assert path.read_bytes() == b"of another"


@pytest.mark.parametrize("suffix", [".zarr", ".nc", ".tif"])
def test_two_writers_leave_one_whole_result(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"result{suffix}"
    output.write(constant(0.0), path)

    def overwrite(value: float) -> None:
        for _ in range(4):
            output.write(constant(value), path, overwrite=True)

    children = [start(partial(overwrite, value)) for value in (1.0, 2.0)]
    assert [code_of(child) for child in children] == [0, 0]
    assert value_of(path) in {1.0, 2.0}
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(("number", "lazy"), [(1, True), (3, False), (8, True), (20, False)])
def test_a_kill_between_the_files_of_a_store_keeps_the_earlier_result(
    tmp_path: Path,
    number: int,
    lazy: bool,  # noqa: FBT001
) -> None:
    """With overviews, of an array in memory and of one that is computed piece by piece."""
    path = tmp_path / "result.zarr"
    output.write(constant(1.0, side=600), path)

    def overwrite() -> None:
        written = 0
        keep = LocalStore.set

        async def kill(store: LocalStore, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
            nonlocal written
            written += 1
            await keep(store, *arguments, **options)
            if written == number:
                os.kill(os.getpid(), signal.SIGKILL)

        LocalStore.set = kill  # type: ignore[method-assign, assignment]
        later = constant(2.0, side=600)
        with dask.config.set(scheduler="synchronous"):  # threads do not survive a fork
            output.write(later.chunk(y=150, x=150) if lazy else later, path, overwrite=True)

    assert code_of(start(overwrite)) == KILLED
    assert hidden(tmp_path)
    assert value_of(path) == 1.0
    output.write(constant(3.0, side=600), path, overwrite=True)
    assert (value_of(path), hidden(tmp_path)) == (3.0, [])


@pytest.mark.parametrize("suffix", [".zarr", ".nc", ".tif"])
def test_a_full_disk_keeps_the_earlier_result(tmp_path: Path, suffix: str) -> None:
    """Whether it is full at the first byte or at one of the last."""
    path, other = (tmp_path / f"{name}{suffix}" for name in ("result", "other"))
    noise = constant(0.0, side=400)
    noise["sigma0"][:] = np.random.default_rng(0).random((400, 400), dtype=np.float32)
    output.write(noise, path)
    files = [each for each in (path, *path.rglob("*")) if each.is_file()]
    size = max(each.stat().st_size for each in files)
    output.write(constant(1.0), path, overwrite=True)

    def fill_the_disk(limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for place, kept in ((path, "the earlier one was kept"), (other, "nothing was left behind")):
            with pytest.raises(OutputError, match=kept) as caught:
                output.write(noise, place, overwrite=True)
            assert "\n" not in str(caught.value)

    for part in (0.001, 0.9, 0.999):
        assert code_of(start(partial(fill_the_disk, int(part * size)))) == 0
        assert value_of(path) == 1.0
        assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".zarr", ".nc", ".tif"])
def test_a_folder_that_becomes_read_only_keeps_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The superuser may write anywhere, so the errors of the system are made."""
    path = tmp_path / f"result{suffix}"
    output.write(constant(1.0), path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(atomic.Path, name, refuse)
        with pytest.raises(OutputError, match="read-only file system; the earlier one was kept"):
            output.write(constant(2.0), path, overwrite=True)
    assert value_of(path) == 1.0
    assert hidden(tmp_path) == []
