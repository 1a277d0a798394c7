"""The store of a stack: a Zarr store that grows along time, and is complete at any moment.

Dates are computed into a hidden folder beside the stack, ``.NAME.pending``, with a mark for each
finished part, so that an interrupted run resumes. When all are there, their chunks are renamed into
the stack and its metadata follow. A journal lists these steps beforehand: whoever next works on
the stack finishes them where they were interrupted. Chunks of earlier dates are never touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from sarheight.errors import OutputError
from sarheight.output import open_result
from sarheight.output.atomic import check_writable, require_path
from sarheight.output.grid import check_grid
from sarheight.output.stores import CONSOLIDATED, write_zarr, zarr_compressor

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.layover.tiles import Tile

# Windows has no such module; there two processes are not kept apart.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

CHUNK = 512
"""Rows and columns of a chunk; it holds one date and one polarisation."""
DATED = ("gamma0", "gamma0_filtered")
"""Variables with a value for each date."""
PRODUCTS = ("gamma0_mean", "gamma0_spread", "date_count")
"""Variables that summarise all dates: they are replaced when dates are appended."""
LOCK, SETTINGS, JOURNAL = "owner.lock", "settings.json", "journal.json"
META, NEW, COMMON = "meta.zarr", "new.zarr", "common.done"
SHIFT = "shift.json"
"""The shift of a date, in its folder."""
LAYOUT = 1
"""Version of the layout of stacks."""


def open_stack(path: str | os.PathLike[str], *, chunks: Any = "stored") -> xr.Dataset:  # noqa: ANN401
    """Open a stack that `build_stack` has written, its dates in the order of time.

    Parameters
    ----------
    path : path-like
        A ``.zarr``.
    chunks : "stored", None, int, str or mapping, optional
        None reads everything into memory. Anything else makes the variables dask-backed, in
        chunks as `xarray.open_dataset` understands them; by default those of the store: one date
        and polarisation of 512 x 512 cells.

    Returns
    -------
    xarray.Dataset
        Dims (time, polarisation, y, x). ``gamma0``, linear power, and where it was asked for
        ``gamma0_filtered``; ``gamma0_mean``, ``gamma0_spread`` (standard deviation over time) and
        ``date_count``, dims (polarisation, y, x); layers that all dates share: ``mask``,
        ``fold_count``, incidence angles, ``contribution_share``, ``projected_area`` and
        ``height``, dims (y, x). Coordinates along ``time``: ``platform``, ``product``,
        ``relative_orbit`` (0 if unknown), ``perpendicular_baseline`` and ``parallel_baseline`` in
        metres, ``line_shift`` and ``sample_shift`` in pixels, ``from_reference`` (1 where masks
        are those of the reference pass), ``filtered_with`` (number of dates in the filter),
        ``provenance`` (JSON).

    Raises
    ------
    FileNotFoundError
        When there is no such store.
    DamagedFileError
        When it is damaged, or no stack. It is a `ValueError` and an `OSError`.
    """
    from sarheight.errors import DamagedFileError

    path = require_path(path, (".zarr",))
    dataset = open_result(path, chunks={} if chunks == "stored" else chunks)
    if "stack" not in dataset.attrs or "gamma0" not in dataset:
        msg = f"'{path}' is no stack: expected one that `sarheight series` has written"
        raise DamagedFileError(msg)
    return dataset.sortby("time")


@dataclass(frozen=True)
class Pending:
    """The hidden folder beside a stack, in which dates are computed."""

    stack: Path

    @property
    def folder(self) -> Path:
        """Path of the folder."""
        return self.stack.with_name(f".{self.stack.name}.pending")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the stack against other processes, and finish an append that was interrupted."""
        check_writable(self.stack, overwrite=True, suffixes=(".zarr",))
        self.folder.mkdir(exist_ok=True)
        with (self.folder / LOCK).open("ab") as lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    msg = f"another process is writing '{self.stack}': wait until it has finished"
                    raise OutputError(msg) from error
            try:
                self.finish()
                yield
            finally:
                # Parts that can be resumed stay.
                if {inside.name for inside in self.folder.iterdir()} <= {LOCK, SETTINGS}:
                    shutil.rmtree(self.folder, ignore_errors=True)

    def resume(self, fingerprint: str) -> None:
        """Keep the results of an earlier run with the same settings, or remove them."""
        mark = self.folder / SETTINGS
        if not mark.exists() or mark.read_text("utf-8") != fingerprint:
            self.clear()
            mark.write_text(fingerprint, "utf-8")

    def clear(self) -> None:
        """Remove all but the lock."""
        for inside in self.folder.iterdir():
            if inside.name != LOCK:
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink()

    # Dates in parts.

    def create(self, key: str, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> None:  # noqa: ANN401
        """Create an array of a date, or of the products, unless it exists."""
        path = self.folder / key / name
        if path.exists():
            return
        zarr.create_array(
            store=path,
            shape=shape,
            chunks=(*(1,) * (len(shape) - 2), *(min(CHUNK, size) for size in shape[-2:])),
            dtype=np.dtype(dtype),
            fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
            compressors=zarr_compressor(),
            zarr_format=2,
        )

    def array(self, key: str, name: str) -> zarr.Array:  # type: ignore[type-arg]
        """Open an array that was created, for writing whole chunks, empty ones too."""
        opened: zarr.Array = zarr.open_array(self.folder / key / name, mode="r+")  # type: ignore[type-arg]
        return opened.with_config({"write_empty_chunks": True})

    def __call__(self, key: str, tile: Tile, values: NDArray[np.float32]) -> None:
        """Write gamma0 of a date in a tile, shape (polarisations, rows, columns)."""
        first, end, left, right = tile.core
        self.array(key, "gamma0")[:, first:end, left:right] = values
        (self.folder / key / f"{first}-{left}.done").touch()

    def is_done(self, key: str, tile: Tile) -> bool:
        """Tell whether a tile of a date was written."""
        return (self.folder / key / f"{tile.core[0]}-{tile.core[2]}.done").exists()

    def drop(self, key: str) -> None:
        """Remove all that was written of a date."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    # Appending.

    def commit(
        self, metadata: xr.Dataset, keys: Sequence[str], first: int, names: Sequence[str]
    ) -> None:
        """Append dates to the stack, or make it of those that are pending.

        `metadata` holds the coordinates and attributes of all dates, and lazy variables whose
        values do not count; `first` is the number of dates in the stack.
        """
        shutil.rmtree(self.folder / META, ignore_errors=True)
        sizes = {"time": 1, "polarisation": 1, "y": CHUNK, "x": CHUNK}
        write_zarr(check_grid(metadata), self.folder / META, chunk=sizes, compute=False)
        for coordinate in ("y", "x", "polarisation", "spatial_ref"):
            shutil.rmtree(self.folder / META / coordinate, ignore_errors=True)
        steps = {"replace": self._replacements(), "move": self._moves(keys, first, names)}
        write_whole(self.folder / JOURNAL, json.dumps(steps))
        self.finish()

    def _replacements(self) -> list[tuple[str, str]]:
        """List the metadata, and arrays of coordinates, that replace those of the stack."""
        found = [(f"{META}/.zattrs", ".zattrs")]
        for array in sorted((self.folder / META).iterdir()):
            if not array.is_dir():
                continue
            if array.name in (*DATED, *PRODUCTS):
                found += [
                    (f"{META}/{array.name}/{name}", f"{array.name}/{name}")
                    for name in (".zarray", ".zattrs")
                ]
            else:
                found.append((f"{META}/{array.name}", array.name))
        return found

    def _moves(
        self, keys: Sequence[str], first: int, names: Sequence[str]
    ) -> list[tuple[str, str]]:
        """List the chunks of dates, with their names in the stack, and those of products."""
        found = []
        for number, key in enumerate(keys, first):
            for name in names:
                found += [
                    (f"{key}/{name}/{chunk}", f"{name}/{number}.{chunk}")
                    for chunk in self._chunks(key, name)
                ]
        for name in PRODUCTS:
            found += [
                (f"products/{name}/{chunk}", f"{name}/{chunk}")
                for chunk in self._chunks("products", name)
            ]
        return found

    def _chunks(self, key: str, name: str) -> list[str]:
        """List the chunks of an array that was created."""
        inside = (path.name for path in (self.folder / key / name).iterdir())
        return sorted(chunk for chunk in inside if not chunk.startswith("."))

    def finish(self) -> None:
        """Take the steps of the journal, if there is one, and remove the folder's content."""
        journal = self.folder / JOURNAL
        if not journal.exists():
            return
        steps = json.loads(journal.read_text("utf-8"))
        new = self.folder / NEW
        target = new if new.exists() else self.stack
        for source, name in (*steps["move"], *steps["replace"]):
            _replace(self.folder / source, target / name)
        with suppress(FileNotFoundError):
            (target / CONSOLIDATED).unlink()
        zarr.consolidate_metadata(str(target), zarr_format=2)
        if target is new:
            new.rename(self.stack)
        journal.unlink()
        self.clear()


def write_whole(path: Path, text: str) -> None:
    """Write a file, complete or not at all."""
    scratch = path.with_suffix(".partial")
    scratch.write_text(text, "utf-8")
    scratch.replace(path)


def _replace(source: Path, target: Path) -> None:
    """Move a file or folder to the place of another one, unless that was done before."""
    if not source.exists():
        return
    target.parent.mkdir(exist_ok=True)
    if source.is_dir() and target.exists():
        shutil.rmtree(target)
    source.replace(target)
