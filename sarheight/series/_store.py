"""The store of a stack: a Zarr store that grows along time, and is complete at any moment.

Dates are computed into a hidden folder beside the stack, ``.NAME.pending``, with a mark for each
finished part, so that an interrupted run resumes. When all are there, their chunks are renamed into
the stack and its metadata follow. A journal lists these steps beforehand: whoever next works on
the stack finishes them where they were interrupted. Chunks of earlier dates are never touched.

New stacks are of version 3 of Zarr and have overviews, as results do; each tile of a date is a file
of its own, or several. A stack of version 2, which has no overviews, is appended to as it is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr

from sarheight._zarr import prepare_zarr
from sarheight.errors import OutputError, SarheightError
from sarheight.output import open_result
from sarheight.output.atomic import check_writable, require_path
from sarheight.output.grid import check_grid
from sarheight.output.levels import halve, list_shapes, reduce_arrays, write_levels
from sarheight.output.stores import (
    METADATA_2,
    TILE,
    consolidate,
    write_zarr,
    zarr_compressors,
    zarr_version,
)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.layover.tiles import Tile

# Windows has no such module; there two processes are not kept apart.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

CHUNK = 1024
"""Rows and columns of a file; it holds one date and one polarisation."""
DATED = ("gamma0", "gamma0_filtered")
"""Variables with a value for each date."""
PRODUCTS = ("gamma0_mean", "gamma0_spread", "date_count")
"""Variables that summarise all dates: they are replaced when dates are appended."""
COMMON_COORDINATES = ("y", "x", "polarisation", "spatial_ref")
"""Coordinates that do not change."""
LOCK, SETTINGS, JOURNAL = "owner.lock", "settings.json", "journal.json"
META, NEW, COMMON = "meta.zarr", "new.zarr", "common.done"
WHOLE_FILES: Any = {"write_empty_chunks": True}
"""How arrays are written: a file that is missing in a stack is one that was lost."""
SHIFT = "shift.json"
"""The shift of a date, in its folder."""
LAYOUTS = {2: 1, 3: 2}
"""Version of the layout of stacks, by the version of Zarr."""


def open_stack(path: str | os.PathLike[str], *, chunks: Any = "stored") -> xr.Dataset:  # noqa: ANN401
    """Open a stack that `build_stack` has written, its dates in the order of time.

    Parameters
    ----------
    path : path-like
        A ``.zarr``.
    chunks : "stored", None, int, str or mapping, optional
        None reads everything into memory. Anything else makes the variables dask-backed, in
        chunks as `xarray.open_dataset` understands them; by default the files of the store: one
        date and polarisation of 1024 x 1024 cells.

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


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk that takes no more."""


@dataclass(frozen=True)
class Pending:
    """The hidden folder beside a stack, in which dates are computed."""

    stack: Path

    @property
    def folder(self) -> Path:
        """Path of the folder."""
        return self.stack.with_name(f".{self.stack.name}.pending")

    @property
    def version(self) -> Literal[2, 3]:
        """Version of Zarr: that of the stack on disk."""
        return zarr_version(self.stack) if self.stack.exists() else 3

    @cached_property
    def files(self) -> tuple[int, Any]:
        """Rows and columns of a file, and codecs of its chunks: those of the stack on disk."""
        if not self.stack.exists():
            return CHUNK, zarr_compressors()
        prepare_zarr()
        name = "gamma0" if self.version == 2 else "0/gamma0"
        stored: zarr.Array = zarr.open_array(self.stack / name, mode="r")  # type: ignore[type-arg]
        # A stack that is smaller than a file does not grow.
        return max((stored.shards or stored.chunks)[-2:]), stored.compressors

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
            except OSError as error:
                if isinstance(error, SarheightError) or error.errno not in FULL:
                    raise
                kept = "its earlier dates were kept; " if self.stack.exists() else ""
                msg = (
                    f"could not write '{self.stack}': {os.strerror(error.errno).lower()}; {kept}"
                    "repeat the command once there is room: it goes on with what is done"
                )
                raise OutputError(msg) from error
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

    def create(
        self,
        key: str,
        name: str,
        shape: tuple[int, ...],
        dtype: Any = np.float32,  # noqa: ANN401
    ) -> zarr.Array:  # type: ignore[type-arg]
        """Create an array of a date, or of the products, unless it exists; open it."""
        path = self.folder / key / name
        if path.exists():
            return self.array(key, name)
        side, codecs = self.files
        file = tuple(min(side, size) for size in shape[-2:])
        planes = (1,) * (len(shape) - 2)
        layout: dict[str, Any] = {"chunks": (*planes, *file)}
        if self.version == 3:
            inner = tuple(min(TILE, size) for size in file)
            outer = (c * -(-size // c) for c, size in zip(inner, file, strict=True))
            layout = {"chunks": (*planes, *inner), "shards": (*planes, *outer)}
        prepare_zarr()
        made: zarr.Array = zarr.create_array(  # type: ignore[type-arg]
            store=path,
            shape=shape,
            dtype=np.dtype(dtype),
            fill_value=np.nan if np.dtype(dtype).kind == "f" else 0,
            compressors=codecs,
            zarr_format=self.version,
            **layout,
        )
        return made.with_config(WHOLE_FILES)

    def add_overviews(self, key: str, name: str, values: NDArray[Any] | None = None) -> None:
        """Compute the overviews of an array that is complete, in folders named by the level.

        Where its `values` are in memory, they are not read again.
        """
        if self.version == 2:
            return
        fine: Any = self.array(key, name) if values is None else values
        for level, shape in enumerate(list_shapes(fine.shape[-2:])[1:], start=1):
            coarse = self.create(f"{key}/{level}", name, (*fine.shape[:-2], *shape), fine.dtype)
            if values is None:
                reduce_arrays([(fine, coarse)])
                fine = coarse
            else:
                fine = halve(fine)
                coarse[:] = fine
        (self.folder / key / f"{name}.overviews").touch()

    def has_overviews(self, key: str, name: str) -> bool:
        """Tell whether all overviews of an array were computed."""
        return self.version == 2 or (self.folder / key / f"{name}.overviews").exists()

    def array(self, key: str, name: str) -> zarr.Array:  # type: ignore[type-arg]
        """Open an array that was created, for writing whole files, empty ones too."""
        prepare_zarr()
        opened: zarr.Array = zarr.open_array(self.folder / key / name, mode="r+")  # type: ignore[type-arg]
        return opened.with_config(WHOLE_FILES)

    def write(self, key: str, tile: Tile, values: NDArray[np.float32]) -> zarr.Array:  # type: ignore[type-arg]
        """Write gamma0 of a date in a tile, shape (polarisations, rows, columns), to its array."""
        first, end, left, right = tile.core
        array = self.array(key, "gamma0")
        array[:, first:end, left:right] = values
        (self.folder / key / f"{first}-{left}.done").touch()
        return array

    def write_and_reduce(self, key: str, tile: Tile, values: NDArray[np.float32]) -> None:
        """Write gamma0 of a date in a tile, and its overviews where the tile is the whole grid."""
        if self.write(key, tile, values).shape == values.shape:
            self.add_overviews(key, "gamma0", values)

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
        checked, meta = check_grid(metadata), self.folder / META
        side, codecs = self.files
        if self.version == 3:
            write_levels(checked, meta, shard=side, compute=False, codecs=codecs)
        else:
            write_zarr(
                checked, meta, chunk=side, shard=side, compute=False, version=2, codecs=codecs
            )
        steps = {
            "replace": self._replacements(),
            "move": [*self._moves(keys, first, names), *self._products()],
        }
        write_whole(self.folder / JOURNAL, json.dumps(steps))
        self.finish()

    @property
    def _groups(self) -> list[str]:
        """The groups of the stack by resolution: folders with a slash, or its root."""
        if self.version == 2:
            return [""]
        inside = (each.name for each in (self.folder / META).iterdir() if each.is_dir())
        return sorted((f"{name}/" for name in inside), key=lambda name: int(name[:-1]))

    def _replacements(self) -> list[tuple[str, str]]:
        """List the metadata, and arrays of coordinates, that replace those of the stack."""
        files = ("zarr.json",) if self.version == 3 else (".zarray", ".zattrs")
        found = [("", files[-1])]
        for group in self._groups:
            found += [(group, files[-1])] if group else []
            for array in sorted((self.folder / META / group).iterdir()):
                if not array.is_dir() or array.name in COMMON_COORDINATES:
                    continue
                if array.name in (*DATED, *PRODUCTS):
                    found += [(f"{group}{array.name}/", name) for name in files]
                else:
                    found.append((group, array.name))
        return [(f"{META}/{place}{name}", f"{place}{name}") for place, name in found]

    def _moves(
        self, keys: Sequence[str], first: int, names: Sequence[str]
    ) -> list[tuple[str, str]]:
        """List the files of dates, with their names in the stack."""
        found = []
        for number, key in enumerate(keys, first):
            for group, source in self._sources(key):
                for name in names:
                    date = f"{group}{name}/" + (f"c/{number}/" if group else f"{number}.")
                    found += [
                        (f"{source}/{name}/{chunk}", f"{date}{chunk.removeprefix('c/')}")
                        for chunk in self._chunks(source, name)
                    ]
        return found

    def _products(self) -> list[tuple[str, str]]:
        """List the files of what summarises all dates."""
        return [
            (f"{source}/{name}/{chunk}", f"{group}{name}/{chunk}")
            for group, source in self._sources("products")
            for name in PRODUCTS
            for chunk in self._chunks(source, name)
        ]

    def _sources(self, key: str) -> list[tuple[str, str]]:
        """List the groups of the stack, and the folders of their arrays of a date."""
        return [
            (group, f"{key}/{group[:-1]}" if level else key)
            for level, group in enumerate(self._groups)
        ]

    def _chunks(self, key: str, name: str) -> list[str]:
        """List the files of an array that was created."""
        folder = self.folder / key / name
        files = (path for path in folder.rglob("*") if path.is_file())
        inside = (path.relative_to(folder).as_posix() for path in files)
        return sorted(each for each in inside if each[0] != "." and each != "zarr.json")

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
            (target / METADATA_2).unlink()
        consolidate(target)
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
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and target.exists():
        shutil.rmtree(target)
    source.replace(target)
