"""``sarheight composite``: one map of several passes, weighted by local resolution."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sarheight.cli._files import require_result, write_result
from sarheight.cli._session import session
from sarheight.errors import OptionError
from sarheight.workflow.config import DemConfig, ResultOutput, Running
from sarheight.workflow.elevations import read_dem
from sarheight.workflow.options import argument
from sarheight.workflow.words import DemFiles, Memory, Names

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

CHUNK = 2048
"""Pixels along a side of a chunk of the image that stands for a pass."""


@dataclass(frozen=True, kw_only=True)
class CompositeConfig(DemConfig):
    """Results of several passes, and the elevation model that tells their local resolution.

    Attributes
    ----------
    results : tuple of str
        Results of `reconstruct` on one grid, of one pass or several each: folders of layers, .tif,
        .nc or .zarr. Make them on the grid of the first with `reconstruct --like`.
    dem : tuple of str
        Elevation model, resampled to the grid of the results. Not needed where a result has heights
        (`reconstruct --heights`).
    memory : str
        Memory limit: larger results are combined in parts.
    """

    results: Annotated[Names, argument("RESULT", location=True)]
    dem: DemFiles = ()
    memory: Memory = "2 GiB"


def composite(settings: CompositeConfig, result: ResultOutput, running: Running) -> None:
    r"""Combine results of several passes into one map, weighted by local resolution.

    A pass that sees a slope foreshortened or in layover images much ground in few pixels; one from
    the other side images it finely. Each cell takes the mean γ⁰ of its passes, weighted by their
    local resolution (Small et al. 2022). Where γ⁰ depends on the angle, the composite is that of
    none of the passes.

    Writes γ⁰, its variance if the errors of passes are independent, and the weight of each pass.

    ```
    sarheight composite ascending descending --dem glo30.tif --vertical EGM2008 -o both.tif
    sarheight composite ascending.nc descending.nc -o both.nc
    ```

    The second line is for results that hold their heights:

    ```
    sarheight reconstruct S1A_….zip --dem auto --heights -o ascending.nc
    sarheight reconstruct S1B_….zip --dem auto --heights --like ascending.nc -o descending.nc
    ```
    """
    settings.require_files()
    require_result(result, settings.files().values())
    with session("composite", running, {"read": 1, "local resolution": 1, "write": 8}) as current:
        current.stage("read")
        from sarheight import layover, plot
        from sarheight.output import open_result

        parts = [open_result(Path(each), chunks={}) for each in settings.results]
        passes = _passes(settings.results, parts)
        heights = _heights(settings, parts)
        current.stage("local resolution")
        current.compile_kernels()
        limit = _limit_beside(heights, settings.memory)
        weights = [_local_resolution(*each, heights, limit) for each in passes]
        combined = layover.composite(parts, weights)
        current.stage("write")
        combined.attrs["acquisition"] = _acquisitions(parts)
        record = settings.provenance("composite")
        unverified = {name for part in parts for name in _unverified(part)}
        combined.attrs["provenance"] = record | (
            {"unverified": sorted(unverified)} if unverified else {}
        )
        written = write_result(
            combined, result, lambda part: plot.scene(part, title=_heading(part)), current
        )
        current.say(
            f"{result.output}: {written.sizes['y']} x {written.sizes['x']} cells, {len(passes)} "
            f"passes, {100.0 * float(written['gamma0'].notnull().mean()):.1f} % with a value"
        )


def _passes(names: tuple[str, ...], parts: list[xr.Dataset]) -> list[tuple[RadarGrid, Orbit]]:
    """Read sampling and orbit of each pass, and refuse passes that make no composite."""
    from sarheight.acquisition import geometries

    found = []
    for name, part in zip(names, parts, strict=True):
        of_part = geometries(part.attrs)
        if "gamma0" not in part or len(of_part) != part.sizes.get("time", 1):
            lacking = "no gamma0" if "gamma0" not in part else "no sampling and orbit of its passes"
            msg = f"'{name}' holds {lacking}, expected a result of `sarheight reconstruct`"
            raise OptionError(msg, option="results")
        found += of_part
    if len(found) < 2:
        msg = f"found one pass, in '{names[0]}', expected several: name the results of all passes"
        raise OptionError(msg, option="results")
    differences: dict[str, list[str]] = {
        "wavelengths in cm": [f"{100.0 * grid.wavelength:.3g}" for grid, _ in found],
        "look sides": [grid.look_side for grid, _ in found],
    }
    for what, values in differences.items():
        if len(set(values)) > 1:
            msg = (
                f"found passes of different {what}: {', '.join(values)}; expected the same in all, "
                "as one map of gamma0 cannot be both"
            )
            raise OptionError(msg, option="results")
    return found


def _heights(settings: CompositeConfig, parts: list[xr.Dataset]) -> xr.DataArray:
    """Return the elevation model on the grid of the results: that of the options, or of one."""
    from sarheight.dem import grid_like, to_grid

    if settings.dem:
        return to_grid(read_dem(settings), grid_like(parts[0]["gamma0"]))
    for part in parts:
        if "dem" in part:
            plain = part["dem"].reset_coords(drop=True)
            heights: xr.DataArray = plain.assign_attrs(units="m", vertical_datum="ellipsoid")
            placed: xr.DataArray = heights.rio.write_crs(part.rio.crs)
            return placed
    msg = "no result holds its heights: pass the elevation model, or reconstruct with --heights"
    raise OptionError(msg, option="dem")


def _limit_beside(heights: xr.DataArray, memory: str) -> float:
    """Return the bytes of a memory limit that are left beside an elevation model."""
    from sarheight.layover.tiles import memory_bytes

    # As it is, and checked with north up.
    held = 0 if heights.chunks else 2 * heights.nbytes
    try:
        return memory_bytes(memory_bytes(memory) - held)
    except ValueError as error:
        msg = (
            f"the elevation model takes {held / (1 << 20):.0f} MiB itself, of a limit of {memory}: "
            "pass a larger one, or results that hold their heights (reconstruct --heights), which "
            "are read in parts"
        )
        raise OptionError(msg, option="memory") from error


def _local_resolution(
    grid: RadarGrid, orbit: Orbit, heights: xr.DataArray, limit: float
) -> xr.DataArray:
    """Local resolution of a pass whose image is taken to have data everywhere.

    Where it has none its result has no value, and no weight.
    """
    import dask.array as da
    import numpy as np
    import xarray as xr

    from sarheight import layover
    from sarheight.geometry.placement import crop_grid_to_dem
    from sarheight.scene import Scene

    part = replace(crop_grid_to_dem(heights, grid, orbit), polarisations=())
    ones = da.ones((part.lines, part.samples), dtype=np.float32, chunks=CHUNK)
    scene = Scene(xr.DataArray(ones, dims=("line", "sample")), part, orbit, "beta0")
    return layover.local_resolution(scene, heights, memory_limit=limit)


def _unverified(part: xr.Dataset) -> list[str]:
    """Return the files of products that a result was made of without their checksums."""
    record = part.attrs.get("provenance", {})
    found = json.loads(record) if isinstance(record, str) else record
    return [str(name) for name in found.get("unverified", [])]


def _heading(combined: xr.Dataset) -> str:
    """Say of which passes a composite is, for its picture."""
    from sarheight.acquisition import acquisitions

    passes = [
        f"{each.get('start', '')[:10]} {each.get('orbit_state', '')}".strip()
        for each in acquisitions(combined.attrs)
    ]
    return f"composite of {len(passes)} passes: {', '.join(passes)}"


def _acquisitions(parts: list[xr.Dataset]) -> str:
    """Join the acquisitions of all results."""
    joined: list[Any] = []
    for part in parts:
        joined += json.loads(part.attrs.get("acquisition", "[]"))
    return json.dumps(joined)
