"""The build of a stack: dates are placed, reconstructed, filtered and appended."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight._files import resolve_links
from sarheight.errors import SarheightError, SeriesError
from sarheight.layover import RTC, reconstruct
from sarheight.layover.facets import require_cells
from sarheight.layover.methods import as_method
from sarheight.layover.tiles import memory_bytes
from sarheight.layover.track import Baseline, DatePass, run_alone, run_tiles
from sarheight.output.grid import check_grid
from sarheight.output.levels import write_levels
from sarheight.series._dates import (
    Coregistration,
    Date,
    coregister,
    dates_at_once,
    is_same,
    naming,
    open_dates,
    refuse,
    require_option,
    require_track,
    shift_from_json,
    side_by_side,
)
from sarheight.series._filter import WINDOW, filter_window, require_window
from sarheight.series._stack import Stack, StackSettings, describe_method
from sarheight.series._store import CHUNK, COMMON, NEW, PRODUCTS, SHIFT, Pending, write_whole

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.dem.checked import CheckedDem
    from sarheight.layover import Method
    from sarheight.layover.tiles import Tile
    from sarheight.scene import Scene

OTHER_TRACK = 10_000.0
"""Baseline in metres from which a pass is another track's: orbital tubes are some 100 m wide."""
STEEPEST_COSINE = float(np.tan(np.radians(85.0)))
"""By how much the logarithm of the cosine of an angle of 85 degrees changes with the angle: sigma0
follows from gamma0 by the cosine of local incidence."""
DECIBELS = 10.0 / np.log(10.0)
TOLERANCE = 0.05
"""Decibels by which backscatter may change by the masks and angles of the reference pass."""
MOST_CHANGED = 0.005
"""Part of the cells whose illumination may differ from that of the reference pass."""
REGISTRATION_SHARE = 0.25
"""Part of the memory limit for dates that are co-registered beside tiles: RTC takes less than two
thirds of what tiles are planned by, which has room for any method."""
WRITERS = 2
"""Threads that write filtered dates, while the next ones are filtered."""

Progress = Callable[[str, float], None]
"""Called with the current step and the fraction of the work that is done."""


@dataclass(frozen=True)
class Report:
    """Summary of what `build_stack` did to a stack.

    Attributes
    ----------
    path : pathlib.Path
        The stack.
    added : tuple of str
        Names of the dates that were appended.
    present : tuple of str
        Names of the dates that the stack, or the same call, had already.
    skipped : dict of str
        Names of the dates that could not be read or lie beside the grid, with the reason.
    by_themselves : dict of str
        Names of the dates that were reconstructed with masks of their own, with the reason.
    dates : int
        Dates in the stack.
    """

    path: Path
    added: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    by_themselves: dict[str, str] = field(default_factory=dict)
    dates: int = 0


def build_stack(
    images: Sequence[str | os.PathLike[str] | Scene] | str | os.PathLike[str] | Scene,
    dem: xr.DataArray | CheckedDem | None,
    path: str | os.PathLike[str],
    *,
    method: Method | str | None = None,
    product_options: Mapping[str, Any] | None = None,
    coregistration: Coregistration = "correct",
    window: int = WINDOW,
    tolerance: float = TOLERANCE,
    smallest_area: float = 0.03,
    facets: int | None = None,
    memory_limit: float | str = "2 GiB",
    strict: bool = False,
    progress: Progress | None = None,
) -> Report:
    r"""Reconstruct many dates of one track on one grid, and append them to a stack.

    The first date of a new stack is the reference. Masks, angles of incidence and which facets are
    illuminated are found once, for its orbit, and used for each date, whose own orbit places it
    to the pixel. A perpendicular baseline B at slant range R changes angles by :math:`B / R`, and
    backscatter by that times the tangent of the incidence: where this exceeds `tolerance`, or
    illumination changes in more than 0.5 % of the cells where the relief is largest, the date
    is reconstructed by itself, and the report says so.

    Parameters
    ----------
    images : sequence of path-like or Scene
        Products of the archive, images in radar geometry, or scenes, in any order; or one of them.
        Those that the stack has already change nothing.
    dem : xarray.DataArray or CheckedDem, or None
        Heights above the ellipsoid in metres, dims (y, x), any CRS: the grid of the stack, with
        rows from north to south. None for a stack that exists, which holds its own.
    path : path-like
        The stack, ``.zarr``: appended to if it exists.
    method : RTC, Reallocation, PosteriorMean or the name of one, optional
        `RTC()` by default. Only this method uses the reference pass; with others each date is
        reconstructed by itself, on the same grid. A stack on disk keeps its own method.
    product_options : mapping, optional
        Options of `sarheight.product.Product.scene`, such as ``{"polarisations": ("VV",)}``.
    coregistration : {"correct", "report", "none"}
        Estimate the shift of each date against its simulation, which has the backscatter of the
        dates before, and correct it where it is significant, or report it.
    window : int
        Side in cells of the local means of the speckle filter, see `speckle_filter`; 0 for no
        filtered series. A stack on disk keeps its own window. Dates are filtered when they are
        appended, by all dates of the stack at that time.
    tolerance : float
        In decibels.
    smallest_area, facets
        As in `sarheight.layover.reconstruct`.
    memory_limit : float or str
        Bytes that a process may take.
    strict : bool
        Whether a date that cannot be read stops the run; by default it is skipped.
    progress : callable, optional
        Called with a text and the fraction of the work that is done.

    Returns
    -------
    Report
        Names of the dates that were appended, skipped, or present before.

    Raises
    ------
    SeriesError
        If dates are of other tracks, look sides, modes or sub-swaths than the reference, which it
        lists; if none can be used; or if the DEM is another one than that of the stack.
    OutputError
        If the stack cannot be written, or another process writes it.
    ValueError
        If an option has an impossible value.

    Notes
    -----
    Dates and their tiles are tasks of dask, computed by whatever scheduler is in use. A run that
    is interrupted resumes where it was: finished parts are kept in a hidden folder beside the
    stack, ``.NAME.pending``. A stack on disk stays complete and readable all the time.

    References
    ----------
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    Quegan, S., Yu, J. J. (2001). Filtering of multichannel SAR images. IEEE TGRS 39(11),
    2373-2379.
    """
    chosen = RTC() if method is None else as_method(method)
    if window:
        require_window(window)
    if not tolerance > 0.0:
        msg = f"found tolerance={tolerance!r}, expected decibels above zero"
        raise ValueError(msg)
    require_cells(smallest_area, facets)
    require_option("coregistration", coregistration, Coregistration)
    path, limit = Path(path), memory_bytes(memory_limit)
    pending = Pending(resolve_links(path))
    dates, skipped = open_dates(images, product_options or {}, strict=strict)
    own = StackSettings(chosen, window, smallest_area, facets, coregistration, tolerance, limit)
    with pending.locked():
        stack = Stack.open(path, dem, own) if path.exists() else Stack.start(path, dem, dates, own)
        work = _Run(stack, pending, strict, progress or (lambda _text, _fraction: None))
        return work.append(dates, skipped)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A date over the DEM, by its orbit."""

    date: Date
    over_dem: DatePass
    baseline: Baseline
    reason: str  # why masks of the reference pass do not serve; empty where they do


@dataclass(frozen=True, eq=False)
class _Registration:
    """The co-registration of dates, which tasks share."""

    stack: Stack
    pending: Pending
    gamma: xr.DataArray | None  # of earlier dates
    at_once: int  # dates, as memory allows

    def date(self, date: Date) -> Date:
        """Co-register a date, unless that was done before."""
        how = self.stack.settings.coregistration
        if how == "none":
            return date
        correct, kept = how == "correct", self.pending.folder / date.key / SHIFT
        if kept.exists():
            return shift_from_json(kept.read_text("utf-8"), date, correct=correct)
        found = coregister(date, self.stack.dem, self.gamma, correct=correct)
        if found.shift is not None:
            kept.parent.mkdir(exist_ok=True)
            write_whole(kept, found.shift.to_json())
        return found

    def place(self, placed: _Placed) -> DatePass | str:
        """Co-register a date and place it anew where it moved, or say why that cannot be."""
        date = placed.date
        with _turns(os.getpid(), self.at_once), naming(date):
            try:
                scene = self.date(date).scene
                return placed.over_dem if scene is date.scene else self.stack.plan.date(scene)
            except (SarheightError, ValueError) as error:
                return _in_a_line(error)


@cache
def _turns(_process: int, count: int) -> Semaphore:
    """Return what lets so many tasks of a process go on at a time."""
    return Semaphore(count)


def _in_a_line(error: Exception) -> str:
    """Return the message of an error, in one line."""
    return " ".join(str(error).split())


@dataclass(eq=False)
class _Run:
    """A run that appends dates to a stack."""

    stack: Stack
    pending: Pending
    strict: bool
    progress: Progress

    def append(self, dates: Sequence[Date], skipped: dict[str, str]) -> Report:
        """Append dates to the stack."""
        fresh, present = self._new(dates)
        require_track(self.stack.record, fresh, self.stack.polarisations)
        fresh = [date.select(self.stack.polarisations) for date in fresh]
        done: dict[str, str] = {}
        if fresh:
            self.progress("find masks and angles of the reference pass", 0.0)
            self.pending.resume(self.stack.fingerprint())
            self._prepare()
            placed = self._place(fresh, skipped)
            registration = self._registration(self._reference_gamma(placed, skipped))
            fresh, by_themselves = self._reconstruct(placed, registration, skipped)
            if not fresh and self.stack.stored is None:
                reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
                msg = f"found no date that can be used ({reasons}), expected one at least"
                raise SeriesError(msg)
            if fresh:
                self.progress("filter and summarise", 0.9)
                self._summarise(fresh)
                self.pending.commit(
                    self.stack.metadata(
                        fresh, {each.date.key: each.baseline for each in placed}, by_themselves
                    ),
                    [date.key for date in fresh],
                    len(self.stack.records),
                    self.stack.names,
                )
            done = by_themselves
        self.progress("done", 1.0)
        return Report(
            self.stack.path,
            tuple(date.name for date in fresh),
            tuple(present),
            skipped,
            done,
            len(self.stack.records) + len(fresh),
        )

    def _new(self, dates: Sequence[Date]) -> tuple[list[Date], list[str]]:
        """Return the dates that are not in the stack, and the names of the others."""
        records, fresh, present = list(self.stack.records), [], []
        for date in dates:
            if any(is_same(record, date.record) for record in records):
                present.append(date.name)
            else:
                records.append(dict(date.record))
                fresh.append(date)
        return fresh, present

    def _prepare(self) -> None:
        """Write the layers that all dates of a new stack share, unless an earlier run did."""
        target, mark = self.pending.folder / NEW, self.pending.folder / COMMON
        if self.stack.stored is not None or mark.exists():
            return
        shutil.rmtree(target, ignore_errors=True)
        write_levels(check_grid(self.stack.common()), target, shard=CHUNK)
        mark.touch()

    def _place(self, dates: Sequence[Date], skipped: dict[str, str]) -> list[_Placed]:
        """Place dates over the DEM by their orbits; those that lie beside it are skipped."""
        placed: list[_Placed] = []
        for number, date in enumerate(dates):
            self.progress(f"place {date.name}", 0.05 * number / len(dates))
            try:
                over_dem = self.stack.plan.date(date.scene)
            except (SarheightError, ValueError) as error:
                self._skip(date, error, skipped)
                continue
            baseline = self.stack.plan.baseline(over_dem)
            placed.append(_Placed(date, over_dem, baseline, self._reason(baseline, over_dem)))
        far = [
            f"{each.date.name}: it flew {abs(each.baseline.perpendicular):,.0f} m from the orbit"
            for each in placed
            if abs(each.baseline.perpendicular) > OTHER_TRACK
        ]
        if far:
            refuse(far)
        return placed

    def _skip(self, date: Date, error: Exception, skipped: dict[str, str]) -> None:
        """Record a date that cannot be used, or stop."""
        if self.strict:
            msg = f"{date.name} cannot be used: {error}"
            raise SeriesError(msg, options=getattr(error, "options", None)) from error
        self.pending.drop(date.key)
        skipped[date.name] = _in_a_line(error)

    def _registration(self, gamma: xr.DataArray | None) -> _Registration:
        """Prepare the co-registration with the backscatter of earlier dates."""
        at_once = dates_at_once(REGISTRATION_SHARE * self.stack.settings.memory_limit)
        return _Registration(self.stack, self.pending, gamma, at_once)

    def _reference_gamma(
        self, placed: Sequence[_Placed], skipped: dict[str, str]
    ) -> xr.DataArray | None:
        """Return gamma0 with which dates are co-registered, in the first polarisation.

        It is the mean of earlier dates, or that of the first date of a new stack. Unknown cells
        get the median here, once for all dates.
        """
        if self.stack.settings.coregistration == "none":
            return None
        stored = self.stack.stored
        gamma = None if stored is None else stored["gamma0_mean"].isel(polarisation=0).compute()
        for each in placed:
            if gamma is not None:
                break
            self.progress(f"reconstruct {each.date.name}", 0.05)
            gamma = self._first_gamma(each, skipped)
        if gamma is None or not (known := gamma.values > 0.0).any():
            return gamma
        return gamma.copy(data=np.where(known, gamma.values, np.median(gamma.values[known])))

    def _first_gamma(self, placed: _Placed, skipped: dict[str, str]) -> xr.DataArray | None:
        """Reconstruct the first date of a stack; return gamma0 in the first polarisation."""
        date, place = placed.date, self._registration(None).place(placed)
        failures = self._run_tiles({date.key: place}) if isinstance(place, DatePass) else {}
        if isinstance(place, str) or failures:
            reason = place if isinstance(place, str) else failures[date.key]
            self._skip(date, SeriesError(reason), skipped)
            return None
        values = np.asarray(self.pending.array(date.key, "gamma0")[0])
        return self.stack.dem.array.copy(data=values)

    def _run_tiles(
        self,
        passes: Mapping[str, DatePass | _Placed],
        place: Callable[[_Placed], DatePass | str] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> dict[str, str]:
        """Reconstruct the tiles of dates that are not finished."""
        tiles = self.stack.tiles
        for key in passes:
            self.pending.create(key, "gamma0", self.stack.shape)
        done = {
            (key, number)
            for key in passes
            for number, tile in enumerate(tiles)
            if self.pending.is_done(key, tile)
        }
        write = self.pending.write_and_reduce
        return run_tiles(
            self.stack.plan, passes, tiles, write, done, place=place, progress=progress
        )

    def _reconstruct(
        self, placed: Sequence[_Placed], registration: _Registration, skipped: dict[str, str]
    ) -> tuple[list[Date], dict[str, str]]:
        """Co-register and reconstruct dates.

        Returns the dates that could be reconstructed, and the reasons of those with own masks.
        """
        usable = [each for each in placed if each.date.name not in skipped]
        shared = [each for each in usable if not each.reason]
        alone = [each.date for each in usable if each.reason]
        text, part = f"reconstruct {len(shared)} dates", 0.8 * len(shared) / max(len(usable), 1)
        failures = self._run_tiles(
            {each.date.key: each for each in shared},
            registration.place,
            lambda fraction: self.progress(text, 0.1 + part * fraction),
        )
        for each in shared:
            if each.date.key in failures:
                self._skip(each.date, SeriesError(failures[each.date.key]), skipped)
        limit = self.stack.settings.memory_limit
        with side_by_side(registration.date, alone, limit) as results:
            for number, (date, registered) in enumerate(results, len(shared)):
                self.progress(f"reconstruct {date.name}", 0.1 + 0.8 * number / len(usable))
                try:
                    self._reconstruct_alone(registered.result())
                except (SarheightError, ValueError) as error:
                    self._skip(date, error, skipped)
        kept = [each for each in usable if each.date.name not in skipped]
        return [registration.date(each.date) for each in kept], {
            each.date.name: each.reason for each in kept if each.reason
        }

    def _reason(self, baseline: Baseline, over_dem: DatePass) -> str:
        """Say why a date needs masks of its own; "" where those of the reference pass serve."""
        settings = self.stack.settings
        if not isinstance(settings.method, RTC):
            return f"the method {describe_method(settings.method)['name']} does not use it"
        change = DECIBELS * STEEPEST_COSINE * baseline.angle
        if change > settings.tolerance:
            return (
                f"its baseline of {baseline.perpendicular:.0f} m changes backscatter by up to "
                f"{change:.2f} dB, more than {settings.tolerance:g} dB"
            )
        changed = self.stack.plan.changed_cells(over_dem)
        if changed > MOST_CHANGED:
            return (
                f"at its baseline of {baseline.perpendicular:.0f} m the illumination of "
                f"{100.0 * changed:.1f} % of the cells changes where the relief is largest"
            )
        return ""

    def _reconstruct_alone(self, date: Date) -> None:
        """Reconstruct a date with masks of its own, on the grid of the stack."""
        stack, mark = self.stack, self.pending.folder / date.key / "alone.done"
        self.pending.create(date.key, "gamma0", stack.shape)
        if mark.exists():
            return
        result = reconstruct(
            date.scene,
            stack.dem,
            method=stack.settings.method,
            smallest_area=stack.settings.smallest_area,
            facets=stack.plan.facets,
            variables=("gamma0",),
            memory_limit=stack.settings.memory_limit,
        )["gamma0"]
        target = self.pending.array(date.key, "gamma0")
        data = result.data if result.ndim == 3 else result.data[None]
        if result.chunks is None:
            target[:] = data
        else:
            file = target.shards or target.chunks
            data.rechunk(file).store(target, lock=False)
        mark.touch()

    # After all dates: the filter, the summary, and the metadata.

    def _summarise(self, fresh: Sequence[Date]) -> None:
        """Filter new dates, and summarise all, tile by tile."""
        settings, shape = self.stack.settings, self.stack.shape
        for name in self.stack.names[1:]:
            for date in fresh:
                self.pending.create(date.key, name, shape)
        for name, kind in (("gamma0_mean", "f4"), ("gamma0_spread", "f4"), ("date_count", "u2")):
            self.pending.create("products", name, shape, kind)
        for tile in self.stack.tiles:
            self._summarise_tile(fresh, tile, settings.window)
        for date in fresh:
            if not self.pending.has_overviews(date.key, "gamma0"):
                self.pending.add_overviews(date.key, "gamma0")
            for name in self.stack.names[1:] if len(self.stack.tiles) > 1 else ():
                self.pending.add_overviews(date.key, name)
        for name in PRODUCTS:
            self.pending.add_overviews("products", name)

    def _summarise_tile(self, fresh: Sequence[Date], tile: Tile, window: int) -> None:
        core, reach = tile.core, window // 2
        rows, columns = self.stack.shape[1:]
        box = (
            max(core[0] - reach, 0),
            min(core[1] + reach, rows),
            max(core[2] - reach, 0),
            min(core[3] + reach, columns),
        )
        inside = (
            slice(None),
            slice(core[0] - box[0], core[1] - box[0]),
            slice(core[2] - box[2], core[3] - box[2]),
        )
        before = len(self.stack.records)
        stored = self.stack.stored

        @cache
        def array_of(number: int) -> Any:  # noqa: ANN401  # of Zarr
            return self.pending.array(fresh[number - before].key, "gamma0")

        def load(number: int) -> NDArray[np.float32]:
            if number < before and stored is not None:
                part = stored["gamma0"].isel(
                    time=number, y=slice(box[0], box[1]), x=slice(box[2], box[3])
                )
                return np.asarray(part.values, np.float32)
            values = array_of(number)[:, box[0] : box[1], box[2] : box[3]]
            return np.asarray(values, np.float32)

        with ThreadPoolExecutor(WRITERS) as writers:
            written: deque[Future[None]] = deque()

            def save(key: str, values: NDArray[np.float32]) -> None:
                array = self.pending.array(key, "gamma0_filtered")
                _write_core(array, core, values)
                if array.shape == values.shape:
                    self.pending.add_overviews(key, "gamma0_filtered", values)

            def write(number: int, gamma: NDArray[np.float32]) -> None:
                written.append(writers.submit(save, fresh[number - before].key, gamma[inside]))
                # Dates that wait to be written take memory.
                if len(written) > WRITERS:
                    written.popleft().result()

            shape = self.stack.shape[0], box[1] - box[0], box[3] - box[2]
            numbers = range(before, before + len(fresh))
            products = run_alone(lambda: filter_window(load, numbers, write, shape, window))
            for task in written:
                task.result()
        for name, values in products.items():
            _write_core(self.pending.array("products", name), core, values[inside])


def _write_core(
    array: Any,  # noqa: ANN401  # of Zarr
    core: tuple[int, int, int, int],
    values: NDArray[Any],
) -> None:
    """Write values of a tile."""
    array[:, core[0] : core[1], core[2] : core[3]] = values
