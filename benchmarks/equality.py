"""Compare the results of two versions of the code bit by bit.

The cases compute what the library can do on small inputs that are made from seeds: geometry, masks,
simulation, reconstruction, readers and writers, networks, predictions, training. With one version
the results are saved; with another the cases run again and every array is compared::

    python -m benchmarks.equality --save before.npz
    python -m benchmarks.equality --against before.npz

``--against`` says of each case whether its arrays are equal in type, shape and bytes; of an array
that differs, the number of elements that do, and the largest absolute and relative difference. The
exit status is 1 if anything differs.

Both runs need the same machine and the same versions of numpy, Numba and torch. Results do not
depend on the number of threads. Numba's cache of a kernel does not notice changes in
kernels that it calls from other files: run ``make clean`` before, or give each version its own
``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks._equality import images, learning  # noqa: F401  # they register their cases
from benchmarks._equality.worlds import CASES
from sarheight.scene import Scene

__all__ = ["CASES", "arrays_of", "difference", "main"]

Array = NDArray[Any]
Arrays = dict[str, Array]
LIBRARIES = ("numpy", "numba", "scipy", "xarray", "pyproj", "rasterio", "torch")
ENVIRONMENT = "environment"
"""Name under which versions are saved beside the arrays."""
TOLD = 12
"""How many differing arrays of a case are listed."""


# ------------------------------------------------------------------------------------------ arrays


def arrays_of(found: object, name: str = "") -> Arrays:
    """Collect all numbers of a result as arrays by name, in the order in which they are found.

    Of xarray objects also the numbers in their attributes are taken, and the CRS; other text is
    left aside, as it may say the same in other words.

    Raises
    ------
    TypeError
        If something of an unknown type is found.
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
            yield from _walk(value, f"{name}/{key}")
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


# -------------------------------------------------------------------------------------- comparison


def difference(found: Array, saved: Array) -> str:
    """Say how two arrays of any type and shape differ, on one line; "" where all bytes are equal.

    NaN equals NaN. Where bytes differ and no element does, it is the sign of a zero or the bits of
    a NaN. The largest differences are those of elements that are finite in both; relative to the
    saved ones.
    """
    if found.shape != saved.shape:
        return f"shape {found.shape}, was {saved.shape}"
    if found.dtype == saved.dtype and found.tobytes() == saved.tobytes():
        return ""
    what = "" if found.dtype == saved.dtype else f"type {found.dtype}, was {saved.dtype}; "
    if not all(each.dtype.kind in "biufc" for each in (found, saved)):
        return f"{what}{np.sum(found != saved)} of {saved.size} elements"
    wide = complex if "c" in (found.dtype.kind, saved.dtype.kind) else np.longdouble
    one, other = found.astype(wide).ravel(), saved.astype(wide).ravel()
    unequal = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    both = unequal & np.isfinite(one) & np.isfinite(other)
    apart, size = np.abs(one[both] - other[both]), np.abs(other[both])
    relative = np.divide(apart, size, out=np.full_like(apart, np.inf), where=size > 0.0)
    return (
        f"{what}{unequal.sum()} of {saved.size} elements, at most {apart.max(initial=0.0):.3g} "
        f"(relative {relative.max(initial=0.0):.3g})"
    )


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
        arrays = arrays_of(CASES[name](), f"{name}:")
    return arrays, time.perf_counter() - begun


def _save(names: Sequence[str], path: Path) -> int:
    values: Arrays = {ENVIRONMENT: np.array(json.dumps(_environment()))}
    for name in names:
        arrays, seconds = _run(name)
        values |= arrays
        print(f"{name:28} {len(arrays):5} arrays {seconds:7.1f} s", flush=True)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **values)
    print(f"{len(values) - 1} arrays saved in '{path}'")
    return 0


def _differs(name: str, saved: Mapping[str, Array]) -> bool:
    """Compute a case, and say where it is not as it was."""
    try:
        found, seconds = _run(name)
    except Exception:  # noqa: BLE001  # whatever it is, the other cases are still of use
        print(f"{name:28} FAILS")
        traceback.print_exc(file=sys.stdout)
        return True
    before = [each for each in saved if each.startswith(f"{name}:")]
    lines = [f"{each}: is missing" for each in before if each not in found]
    for each, array in found.items():
        told = difference(array, saved[each]) if each in saved else "is new"
        lines += [f"{each}: {told}"] if told else []
    verdict = "DIFFERS" if lines else "equal"
    print(f"{name:28} {verdict:8} {len(found):5} arrays {seconds:7.1f} s", flush=True)
    for line in lines[:TOLD]:
        print(f"    {line}")
    if len(lines) > TOLD:
        print(f"    and {len(lines) - TOLD} more")
    return bool(lines)


def _against(names: Sequence[str], path: Path) -> int:
    with np.load(path, allow_pickle=False) as saved:
        here = _environment()
        for key, value in json.loads(str(saved[ENVIRONMENT])).items():
            if here.get(key) != value:
                print(f"{key} is {here.get(key)}, and was {value}: results may differ by that")
        differing = [name for name in names if _differs(name, saved)]
    told = f": {', '.join(differing)}" if differing else ""
    print(f"{len(differing)} of {len(names)} cases differ{told}")
    return 1 if differing else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status, 1 if anything differs."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.equality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--save", type=Path, metavar="FILE.npz", help="write the results")
    what.add_argument("--against", type=Path, metavar="FILE.npz", help="compare with those saved")
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
