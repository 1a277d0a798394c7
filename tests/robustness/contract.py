"""The contract of readers: the unmutated result, or an error of one line; and who keeps it.

Mutants are read in a process of their own, which is stopped when a mutant takes too long. What a
process writes beyond the limit of memory, or its death, counts as well. The processes are forked
from a server that has loaded the libraries and computed nothing. A fork of the caller would lose
the threads of the pool that Dask keeps, and wait for them forever.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import shutil
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarheight.errors import SarheightError
from tests.robustness.mutations import Mutation, folder_mutant

__all__ = ["LONGEST", "Outcome", "Reading", "Subject", "breaches", "compare", "outcomes"]

LONGEST = 10.0
"""Seconds that a mutant may take."""
LONGEST_START = 240.0
"""Seconds until the first mutant, in which libraries are loaded."""
LIBRARIES = (
    "tests.robustness.commands",  # which reads all kinds of files
    *("sarheight.coregistration", "sarheight.nisar", "sarheight.plot", "sarheight.sicd"),
    *("sarheight.view", "distributed", "matplotlib.pyplot", "netCDF4", "odc.geo.xr"),
    *("pydantic.type_adapter", "rich.progress", "sarkit.sicd", "scipy.interpolate"),
    *("typer.testing", "zarr"),
)
"""What is loaded once, before processes are forked."""
LARGEST_GROWTH = 1 << 30
"""Bytes by which the memory of the process may grow."""
ADDRESS_SPACE = 24 << 30
RELATIVE = 1e-6


@dataclass(frozen=True)
class Reading:
    """What was read from a file, in numbers and texts.

    `checked` is what a checksum or a cross-check protects: an array, with its absolute tolerance,
    or a text. `unchecked` is what nothing can protect, such as the pixels of a plain TIFF.
    """

    checked: Mapping[str, tuple[Any, float] | str] = field(default_factory=dict)
    unchecked: Mapping[str, tuple[Any, float] | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A kind of file: how to make one, how to read it, and how to mutate it.

    `read` is at the top of a module, so that another process finds it.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Reading]
    mutations: Sequence[Mutation]
    longest: float = LONGEST  # seconds
    odd: float = 0.0  # part of the mutants that are no ordinary files


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    subject: str
    seed: int
    kind: str  # "same", "refused", "unchecked", "silent", "uncaught", "hang"
    mutation: str = ""
    said: str = ""


def compare(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Describe the first difference beyond the tolerance; empty if there is none."""
    for name, value in expected.items():
        if name not in found:
            return f"no {name}"
        other = found[name]
        if isinstance(value, str):
            if other != value:
                return f"{name}: {str(other)[:60]!r} for {value[:60]!r}"
            continue
        numbers, others, tolerance = np.asarray(value[0]), np.asarray(other[0]), value[1]
        if numbers.shape != others.shape:
            return f"{name}: shape {others.shape} for {numbers.shape}"
        if not _close(numbers, others, tolerance):
            return f"{name} differs"
    return ""


def _close(numbers: NDArray[Any], others: NDArray[Any], tolerance: float) -> bool:
    if numbers.dtype.kind not in "iufb" or others.dtype.kind not in "iufb":
        return bool((numbers == others).all())
    with np.errstate(all="ignore"):
        pair = others.astype(np.float64), numbers.astype(np.float64)
        return bool(np.allclose(*pair, rtol=RELATIVE, atol=tolerance, equal_nan=True))


def _judge(subject: Subject, expected: Reading, path: Path) -> tuple[str, str]:
    """Read a mutant; return the kind of outcome, and what was said."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = subject.read(path)
    except (SarheightError, OSError) as error:
        text = str(error)
        if "\n" in text.strip() or not text.strip():
            return "uncaught", f"not one line: {text!r}"
        return "refused", text
    except Exception as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)
        inner = [each for each in place if "sarheight" in each.filename] or place[-1:]
        where = f"{Path(inner[-1].filename).name}:{inner[-1].lineno}"
        return (
            "uncaught",
            f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:200]}",
        )
    if difference := compare(expected.checked, found.checked):
        return "silent", difference
    if difference := compare(expected.unchecked, found.unchecked):
        return "unchecked", difference
    return "same", ""


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _work(
    subject: Subject, original: Path, folder: Path, seeds: Sequence[int], to: Connection
) -> None:
    """Read mutants one after the other, and send what became of each."""
    os.close(0)
    for stream in (1, 2):  # GDAL and HDF5 print of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    try:
        expected = subject.read(original)
    except Exception as error:
        to.send(("failed", seeds[0], "", f"{type(error).__name__}: {error}"))
        raise
    key = zlib.crc32(subject.name.encode())
    for seed in seeds:
        path = folder / original.name
        mutation = folder_mutant(
            original, path, np.random.default_rng([key, seed]), subject.mutations, subject.odd
        )
        to.send(("begun", seed, mutation, ""))
        before = _memory()
        kind, said = _judge(subject, expected, path)
        if _memory() - before > LARGEST_GROWTH:
            kind, said = "uncaught", f"took {(_memory() - before) >> 20} MiB of memory; {said}"
        to.send((kind, seed, mutation, said))
        for rest in folder.iterdir():  # the mutant, what a command wrote, .aux.xml of GDAL
            shutil.rmtree(rest) if rest.is_dir() and not rest.is_symlink() else rest.unlink()


def outcomes(subject: Subject, seeds: Sequence[int], folder: Path) -> Iterator[Outcome]:
    """Make mutants of a kind of file, one for each seed, and read them.

    Raises
    ------
    RuntimeError
        The file is not read without a mutation either.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    home = folder / subject.name.replace(" ", "-")
    (home / "original").mkdir(parents=True)
    original = subject.make(home / "original")
    todo = list(seeds)
    sent = replace(subject, make=Path)  # what makes a file may be of any kind, and stays here
    while todo:
        work = home / f"mutants-{todo[0]}"
        work.mkdir()
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sent, original, work, todo, send))
        process.start()
        send.close()
        try:
            for outcome in _received(subject, todo, receive, process):
                todo.remove(outcome.seed)
                yield outcome
        finally:
            process.kill()
            process.join()
        shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def breaches(subject: Subject, count: int, folder: Path) -> list[str]:
    """Tell which of the first mutants of a kind of file break the contract."""
    return [
        f"seed {each.seed}, {each.mutation}: {each.kind} {each.said}"
        for each in outcomes(subject, range(count), folder)
        if each.kind in {"uncaught", "hang", "silent"}
    ]


def _received(
    subject: Subject, todo: Sequence[int], receive: Connection, process: BaseProcess
) -> Iterator[Outcome]:
    """Receive outcomes until all seeds are done, a mutant hangs, or the process ends."""
    current: int | None = todo[0]
    done, mutation, left = None, "", len(todo)
    while left:
        stuck = not receive.poll(subject.longest if mutation else LONGEST_START)
        try:
            message = None if stuck else receive.recv()
        except EOFError:
            message = None
        if message is None:
            process.kill()
            process.join()
            if current is None:
                message = f"{subject.name}: the mutant after seed {done} was not made"
                raise RuntimeError(message)
            kind = "hang" if stuck else "uncaught"
            said = "" if stuck else f"the process ended with {process.exitcode}"
            if not mutation:
                what = said or f"nothing was read in {LONGEST_START:g} s"
                message = f"{subject.name}, without a mutation: {what}"
                raise RuntimeError(message)
            yield Outcome(subject.name, current, kind, mutation, said)
            return
        kind, current, mutation, said = message
        if kind == "failed":
            message = f"{subject.name}, without a mutation: {said}"
            raise RuntimeError(message)
        if kind != "begun":
            left -= 1
            yield Outcome(subject.name, current, kind, mutation, said)
            done, current = current, None
