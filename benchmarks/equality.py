"""Compare the results of two versions of the code bit by bit.

The cases compute what the library can do on small inputs that are made from seeds: geometry, masks,
simulation, reconstruction, readers and writers, networks, predictions, training. With one version
the results are saved; with another the cases run again and every array is compared::

    python -m benchmarks.equality --save before.json
    python -m benchmarks.equality --against before.json

``--save`` writes the SHA-256 of each array (of its type, shape and bytes) with its minimum, mean,
maximum and number of NaN, and beside it the arrays themselves (``before.npz``). ``--against``
says of each case whether it is equal; of an array that differs, the number of elements that do,
and the largest absolute and relative difference. An array that is found under another name with
the same bytes is listed as renamed, and counts as equal. The exit status is 1 if anything differs.

Both runs need the same machine and the same versions of numpy, Numba and torch. Results do not
depend on the number of threads. Numba's cache of a kernel does not notice changes in
kernels that it calls from other files: run ``make clean`` before, or give each version its own
``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks._equality import images, learning  # noqa: F401  # they register their cases
from benchmarks._equality.worlds import CASES
from sarheight.scene import Scene

__all__ = ["CASES", "Difference", "arrays_of", "compare", "difference", "main", "summary"]

Array = NDArray[Any]
Arrays = dict[str, Array]
LIBRARIES = ("numpy", "numba", "scipy", "xarray", "pyproj", "rasterio", "torch")
TOLD = 12
"""How many differing arrays of a case are listed."""


# ------------------------------------------------------------------------------------------ arrays


def arrays_of(found: object, name: str = "") -> Arrays:
    """Collect all numbers of a result as arrays by name.

    Parameters
    ----------
    found : object
        xarray object, scene, tensor, array, number, dataclass, or a mapping or sequence of these.
        Of xarray objects also the numbers in their attributes are taken, and the CRS; other text
        is left aside, as it may say the same in other words.
    name : str
        What names begin with.

    Returns
    -------
    dict
        In the order in which they are found.

    Raises
    ------
    TypeError
        If something else is found.
    """
    return dict(_walk(found, name))


def _walk(  # noqa: C901, PLR0912  # one branch for each kind of result
    found: Any,  # noqa: ANN401
    name: str,
) -> Iterator[tuple[str, Array]]:
    if isinstance(found, Scene):
        yield from _walk_scene(found, name)
    elif isinstance(found, xr.Dataset):
        yield from _walk_dataset(found, name)
    elif isinstance(found, xr.DataArray):
        yield from _walk_variable(found, name)
        yield from _walk_coordinates(found, name)
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from _walk(value, f"{name}/{key}" if name else str(key))
    elif hasattr(found, "detach"):
        yield name, np.asarray(found.detach().cpu())
    elif is_dataclass(found):
        for field in fields(found):
            yield from _walk(getattr(found, field.name), f"{name}.{field.name}")
    elif isinstance(found, np.ndarray | np.generic | bool | int | float | complex):
        yield name, np.asarray(found)
    elif isinstance(found, Sequence) and not isinstance(found, str | bytes):
        if found and all(isinstance(each, bool | int | float) for each in found):
            yield name, np.asarray(found)
        else:
            for index, value in enumerate(found):
                yield from _walk(value, f"{name}/{index}")
    elif found is not None and not isinstance(found, str | bytes):
        msg = f"found a {type(found).__name__} at '{name}', of which no arrays are known"
        raise TypeError(msg)


def _walk_scene(scene: Scene, name: str) -> Iterator[tuple[str, Array]]:
    """Take the image, and the times and slant ranges of some of its pixels."""
    yield from _walk(scene.image, f"{name}.image")
    grid = scene.grid
    line, sample = np.meshgrid(
        np.linspace(0, grid.lines - 1, 5), np.linspace(0, grid.samples - 1, 5), indexing="ij"
    )
    slant_range = grid.slant_range(line, sample)
    seconds = grid.azimuth_time(line, slant_range)
    orbit = scene.orbit.with_epoch(grid.epoch)
    yield f"{name}.slant_range", np.asarray(slant_range)
    yield f"{name}.time", np.asarray(seconds)
    yield f"{name}.epoch", np.asarray(grid.epoch)
    yield f"{name}.position", np.asarray(orbit.state(np.ravel(seconds))[0])
    yield f"{name}.looks", np.asarray(grid.looks)


def _walk_dataset(dataset: xr.Dataset, name: str) -> Iterator[tuple[str, Array]]:
    for key, variable in dataset.data_vars.items():
        yield from _walk_variable(variable, f"{name}/{key}")
    yield from _walk_coordinates(dataset, name)
    yield from _walk(dataset.attrs, f"{name}@")


def _walk_variable(variable: xr.DataArray, name: str) -> Iterator[tuple[str, Array]]:
    yield name, _plain(variable.values)
    yield from _walk(variable.attrs, f"{name}@")


def _walk_coordinates(found: xr.Dataset | xr.DataArray, name: str) -> Iterator[tuple[str, Array]]:
    for key, coordinate in found.coords.items():
        if key != "spatial_ref":
            yield f"{name}/{key}", _plain(coordinate.values)
    if "spatial_ref" in found.coords and found.rio.crs is not None:
        yield f"{name}/crs", np.asarray(found.rio.crs.to_wkt())


def _plain(values: Array) -> Array:
    """Turn Python objects and variable-width text into text of fixed width."""
    return np.array(values.tolist(), dtype=str) if values.dtype.kind in "OT" else values


def summary(values: Array) -> dict[str, Any]:
    """Sum up an array for the file.

    Parameters
    ----------
    values : array
        Of any type.

    Returns
    -------
    dict
        ``sha256`` of type, shape and bytes, ``type``, ``shape``; of numbers also ``minimum``,
        ``mean``, ``maximum`` and ``nan``, the number of NaN.
    """
    digest = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    told: dict[str, Any] = {
        "sha256": digest.hexdigest(),
        "type": values.dtype.str,
        "shape": list(values.shape),
    }
    if values.dtype.kind in "biufc":
        numbers = np.abs(values) if values.dtype.kind == "c" else values.astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        told["nan"] = int(np.isnan(numbers).sum())
        if known.size:
            told |= {
                "minimum": float(known.min()),
                "mean": float(known.mean()),
                "maximum": float(known.max()),
            }
    return told


# -------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Difference:
    """How an array differs from the saved one.

    Attributes
    ----------
    what : str
        Type or shape, where these differ; empty otherwise.
    elements, total : int
        Number of elements that differ, and of all. NaN equals NaN; where the bytes differ and no
        element does, it is the sign of a zero or the bits of a NaN.
    absolute, relative : float
        The largest differences among elements that are finite in both; relative to the saved ones.
    """

    what: str = ""
    elements: int = 0
    total: int = 0
    absolute: float = 0.0
    relative: float = 0.0

    def __str__(self) -> str:
        """Say it on one line."""
        told = [self.what] if self.what else []
        if self.total:
            told.append(
                f"{self.elements} of {self.total} elements, at most {self.absolute:.3g} "
                f"(relative {self.relative:.3g})"
            )
        return "; ".join(told)


def difference(found: Array, saved: Array) -> Difference:
    """Measure how far two arrays of which the bytes differ lie apart.

    Parameters
    ----------
    found, saved : array
        Of any type and shape.

    Returns
    -------
    Difference
    """
    if found.shape != saved.shape:
        return Difference(f"shape {found.shape}, was {saved.shape}")
    what = "" if found.dtype == saved.dtype else f"type {found.dtype}, was {saved.dtype}"
    if not all(each.dtype.kind in "biufc" for each in (found, saved)):
        return Difference(what, int(np.sum(found != saved)), saved.size)
    wide = complex if "c" in (found.dtype.kind, saved.dtype.kind) else np.longdouble
    one, other = found.astype(wide).ravel(), saved.astype(wide).ravel()
    unequal = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    both = unequal & np.isfinite(one) & np.isfinite(other)
    apart, size = np.abs(one[both] - other[both]), np.abs(other[both])
    relative = np.divide(apart, size, out=np.full_like(apart, np.inf), where=size > 0.0)
    return Difference(
        what,
        int(unequal.sum()),
        saved.size,
        float(apart.max(initial=0.0)),
        float(relative.max(initial=0.0)),
    )


@dataclass
class Comparison:
    """What became of the arrays of a case.

    Attributes
    ----------
    equal : int
        Arrays with the same bytes under the same name.
    renamed : dict
        New names of arrays with the same bytes, by the saved ones.
    differing : dict
        Differences by name.
    missing, new : list of str
        Names that are only in the saved results, and only in those found.
    """

    equal: int
    renamed: dict[str, str]
    differing: dict[str, Difference]
    missing: list[str]
    new: list[str]

    @property
    def same(self) -> bool:
        """Whether nothing is lost, changed or added."""
        return not (self.differing or self.missing or self.new)


def compare(found: Arrays, saved: Mapping[str, Mapping[str, Any]], values: Arrays) -> Comparison:
    """Compare the arrays of a case with the saved ones.

    Parameters
    ----------
    found : dict
        Arrays by name.
    saved : dict
        Summaries of the saved arrays by name.
    values : mapping
        The saved arrays by name, of which those are read that differ.

    Returns
    -------
    Comparison
    """
    digests = {name: summary(array)["sha256"] for name, array in found.items()}
    both = [name for name in saved if name in found]
    differing = [name for name in both if digests[name] != saved[name]["sha256"]]
    missing = [name for name in saved if name not in found]
    new = [name for name in found if name not in saved]
    renamed: dict[str, str] = {}
    for old in missing:
        same = (name for name in new if digests[name] == saved[old]["sha256"])
        name = next(same, None)
        if name is not None:
            renamed[old] = name
            new.remove(name)
    return Comparison(
        len(both) - len(differing),
        renamed,
        {name: difference(found[name], values[name]) for name in differing},
        [name for name in missing if name not in renamed],
        new,
    )


# -------------------------------------------------------------------------------------------- runs


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version(name) for name in LIBRARIES},
    }


def _run(name: str) -> tuple[Arrays, float]:
    """Compute a case; torch gets one thread, as its results depend on their number."""
    import torch

    torch.set_num_threads(1)
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = arrays_of(CASES[name]())
    return arrays, time.perf_counter() - begun


def _save(names: Sequence[str], path: Path) -> int:
    cases: dict[str, Any] = {}
    values: Arrays = {}
    for name in names:
        arrays, seconds = _run(name)
        cases[name] = {each: summary(array) for each, array in arrays.items()}
        values |= {f"{name}:{each}": array for each, array in arrays.items()}
        print(f"{name:28} {len(arrays):5} arrays {seconds:7.1f} s", flush=True)
    # Names of arrays hold slashes, which a zip takes for folders: they are counted instead.
    order = {name: f"a{index}" for index, name in enumerate(values)}
    with path.with_suffix(".npz").open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{order[name]: array for name, array in values.items()}
        )
    told = {"environment": _environment(), "cases": cases, "stored": order}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{len(values)} arrays saved in '{path}' and '{path.with_suffix('.npz')}'")
    return 0


class _Stored(Mapping[str, Array]):
    """Saved arrays of a case, read one by one."""

    def __init__(self, archive: Mapping[str, Array], order: Mapping[str, str], case: str) -> None:
        self._archive, self._order, self._case = archive, order, case

    def __getitem__(self, name: str) -> Array:
        return self._archive[self._order[f"{self._case}:{name}"]]

    def __iter__(self) -> Iterator[str]:
        prefix = f"{self._case}:"
        return (name.removeprefix(prefix) for name in self._order if name.startswith(prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _report(name: str, outcome: Comparison, seconds: float) -> None:
    verdict = "equal" if outcome.same else "DIFFERS"
    print(f"{name:28} {verdict:8} {outcome.equal:5} arrays equal {seconds:7.1f} s", flush=True)
    lines = [f"{each}: {told}" for each, told in outcome.differing.items()]
    lines += [f"{each}: is missing" for each in outcome.missing]
    lines += [f"{each}: is new" for each in outcome.new]
    if outcome.renamed:
        pairs = ", ".join(f"{old} is {new}" for old, new in [*outcome.renamed.items()][:3])
        lines.append(f"{len(outcome.renamed)} renamed, the values are equal: {pairs}")
    for line in lines[:TOLD]:
        print(f"    {line}")
    if len(lines) > TOLD:
        print(f"    and {len(lines) - TOLD} more")


def _against(names: Sequence[str], path: Path) -> int:
    saved = json.loads(path.read_text(encoding="utf-8"))
    here = _environment()
    for key, value in saved["environment"].items():
        if here.get(key) != value:
            print(f"{key} is {here.get(key)}, and was {value}: results may differ by that alone")
    differing = []
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as archive:
        for name in names:
            if name not in saved["cases"]:
                print(f"{name:28} is not among the saved cases")
                differing.append(name)
                continue
            try:
                arrays, seconds = _run(name)
            except Exception:  # noqa: BLE001  # whatever it is, the other cases are still of use
                print(f"{name:28} FAILS")
                traceback.print_exc(file=sys.stdout)
                differing.append(name)
                continue
            values = _Stored(archive, saved["stored"], name)
            outcome = compare(arrays, saved["cases"][name], values)
            _report(name, outcome, seconds)
            if not outcome.same:
                differing.append(name)
    told = f": {', '.join(differing)}" if differing else ""
    print(f"{len(differing)} of {len(names)} cases differ{told}")
    return 1 if differing else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        Exit status: 1 if anything differs.
    """
    parser = argparse.ArgumentParser(
        "python -m benchmarks.equality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--save", type=Path, metavar="FILE.json", help="write the results")
    what.add_argument("--against", type=Path, metavar="FILE.json", help="compare with those saved")
    what.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CASES, help="some cases alone")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        for name, function in CASES.items():
            print(f"{name:28} {function.__doc__}")
        return 0
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    names = chosen.only or list(CASES)
    return _save(names, chosen.save) if chosen.save else _against(names, chosen.against)


if __name__ == "__main__":
    raise SystemExit(main())
