"""A stack: its settings, its reference pass, and its metadata."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.acquisition import grid_from_json, grid_to_json, orbit_from_json, orbit_to_json
from sarheight.dem.checked import CheckedDem
from sarheight.dem.layout import same_grid
from sarheight.errors import SeriesError
from sarheight.layover import RTC, PosteriorMean, Reallocation, read_method, reconstruct
from sarheight.layover.track import TRACK_VARIABLES, Baseline, TrackPlan, reference_scene
from sarheight.output import open_result
from sarheight.scene import Scene
from sarheight.series._store import CHUNK, LAYOUTS, Pending

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.layover import Method
    from sarheight.layover.tiles import Tile
    from sarheight.series._dates import Date

METHODS = {"rtc": RTC, "one-step": Reallocation, "posterior": PosteriorMean}
UNKNOWN_ORBIT = 0
"""Relative orbit of images without one."""
PRODUCT_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "gamma0": {"long_name": "reconstructed gamma0, per projected area", "units": "1"},
    "gamma0_filtered": {
        "long_name": "gamma0 after the multi-temporal speckle filter",
        "units": "1",
    },
    "gamma0_mean": {"long_name": "mean of gamma0 over all dates", "units": "1"},
    "gamma0_spread": {"long_name": "standard deviation of gamma0 over time", "units": "1"},
    "date_count": {"long_name": "number of dates with a value", "units": "1"},
}
COORDINATES: dict[str, tuple[Any, str, str | None]] = {
    "time": ("datetime64[ns]", "middle of the acquisition", None),
    "platform": (object, "satellite", None),
    "product": (object, "name of the product", None),
    "relative_orbit": (np.int32, "relative orbit number, 0 if unknown", None),
    "perpendicular_baseline": (
        np.float64,
        "distance from the orbit of the reference, across the line of sight",
        "m",
    ),
    "parallel_baseline": (
        np.float64,
        "distance from the orbit of the reference, along the line of sight",
        "m",
    ),
    "line_shift": (np.float64, "estimated shift in lines", "1"),
    "sample_shift": (np.float64, "estimated shift in samples", "1"),
    "from_reference": (np.int8, "1 where masks and angles are those of the reference pass", "1"),
    "filtered_with": (np.int32, "number of dates in the speckle filter", "1"),
    "provenance": (object, "software, inputs and settings, as JSON", None),
}
"""Coordinates along time: type, long name and units of each."""


def _stack_settings(settings: StackSettings, facets: int, layout: int) -> dict[str, Any]:
    """Describe the settings that all dates of a stack share."""
    return {
        "layout": layout,
        "method": describe_method(settings.method),
        "window": settings.window,
        "smallest_area": settings.smallest_area,
        "facets": facets,
    }


def _shift_of(date: Date, name: str) -> float:
    """Return the shift of a date in pixels; NaN where none was estimated."""
    return float("nan") if date.shift is None else float(getattr(date.shift, name))


@dataclass(frozen=True)
class StackSettings:
    """Settings of a stack, and those of a run that appends to it."""

    method: Method
    window: int
    smallest_area: float
    facets: int | None
    coregistration: str
    tolerance: float
    memory_limit: float


def describe_method(method: Method) -> dict[str, Any]:
    """Describe a method for the attributes of a stack."""
    name = next(name for name, kind in METHODS.items() if type(method) is kind)
    return {"name": name, **asdict(method)}


def _method(described: Mapping[str, Any]) -> Method:
    """Make the method that a stack describes."""
    fields = {name: value for name, value in described.items() if name != "name"}
    return read_method({METHODS[described["name"]].__name__: fields})


@dataclass(frozen=True, eq=False)
class Stack:
    """A stack on disk, or a new one."""

    path: Path
    dem: CheckedDem
    reference: Scene  # an image of ones in the geometry of the reference pass
    record: Mapping[str, Any]  # acquisition of the reference
    polarisations: list[str]
    settings: StackSettings
    stored: xr.Dataset | None = None  # the stack on disk

    @classmethod
    def start(
        cls,
        path: Path,
        dem: xr.DataArray | CheckedDem | None,
        dates: Sequence[Date],
        settings: StackSettings,
    ) -> Stack:
        """Start a stack with its first date as the reference."""
        if dem is None:
            msg = f"found no stack '{path}', expected one to append to: pass a DEM for a new one"
            raise SeriesError(msg, options={"dem": "auto"})
        if not dates:
            msg = "found no date that can be read, expected one at least for a new stack"
            raise SeriesError(msg)
        checked = CheckedDem.of(dem).north_up()
        first = dates[0]
        reference = reference_scene(first.scene, checked)
        return cls(path, checked, reference, first.record, first.polarisations, settings)

    @classmethod
    def open(
        cls, path: Path, dem: xr.DataArray | CheckedDem | None, settings: StackSettings
    ) -> Stack:
        """Open a stack on disk; its settings take precedence."""
        stored = open_result(path, chunks={})
        if "stack" not in stored.attrs:
            msg = f"'{path}' is no stack: choose another name, or remove it"
            raise SeriesError(msg)
        described = json.loads(stored.attrs["stack"])
        heights = xr.DataArray(
            stored["height"].values,
            dims=("y", "x"),
            coords={axis: stored[axis].values for axis in ("y", "x")},
            attrs={"units": "m", "vertical_datum": "ellipsoid"},
        ).rio.write_crs(stored.rio.crs)
        if dem is not None:
            _require_same_dem(CheckedDem.of(dem).north_up().array, heights)
        grid = grid_from_json(stored.attrs["reference_grid"])
        orbit = orbit_from_json(stored.attrs["reference_orbit"])
        ones = xr.DataArray(np.broadcast_to(np.float32(1.0), grid.shape), dims=("line", "sample"))
        kept = StackSettings(
            _method(described["method"]),
            described["window"],
            described["smallest_area"],
            described["facets"],
            settings.coregistration,
            settings.tolerance,
            settings.memory_limit,
        )
        polarisations = [str(name) for name in np.atleast_1d(stored["polarisation"].values)]
        records = json.loads(stored.attrs["acquisition"])
        return cls(
            path,
            CheckedDem.of(heights),
            Scene(ones, grid, orbit, "gamma0"),
            records[0],
            polarisations,
            kept,
            stored,
        )

    @property
    def records(self) -> list[dict[str, Any]]:
        """Acquisition records of the dates in the stack."""
        found: list[dict[str, Any]] = (
            [] if self.stored is None else json.loads(self.stored.attrs["acquisition"])
        )
        return found

    @cached_property
    def plan(self) -> TrackPlan:
        """The geometry that all dates share."""
        settings = self.settings
        method = settings.method if isinstance(settings.method, RTC) else RTC()
        return TrackPlan.over(
            self.reference,
            self.dem,
            method,
            smallest_area=settings.smallest_area,
            memory_limit=settings.memory_limit,
            facets=settings.facets,
        )

    @cached_property
    def tiles(self) -> list[Tile]:
        """Tiles in which dates are reconstructed."""
        return self.plan.tiles(len(self.polarisations), CHUNK)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Polarisations, rows and columns."""
        return len(self.polarisations), *self.plan.shape

    def common(self) -> xr.Dataset:
        """Compute the layers that all dates share: masks, angles, areas and heights."""
        found = reconstruct(
            self.reference,
            self.dem,
            method=RTC(),
            smallest_area=self.settings.smallest_area,
            facets=self.plan.facets,
            variables=TRACK_VARIABLES,
            memory_limit=self.settings.memory_limit,
        )
        found = found.drop_vars(["time", "polarisation"], errors="ignore")
        heights = self.dem.array.drop_attrs()
        described = {"long_name": "height above the ellipsoid", "units": "m"}
        dataset: xr.Dataset = found.assign(height=heights.assign_attrs(described)).drop_attrs(
            deep=False
        )
        return dataset.assign_coords(polarisation=self.polarisations)

    @property
    def described(self) -> dict[str, Any]:
        """The settings that all dates share, as attributes and provenance hold them."""
        layout = LAYOUTS[Pending(self.path).version]
        return _stack_settings(self.settings, self.plan.facets, layout)

    @property
    def names(self) -> list[str]:
        """Variables with a value for each date."""
        return ["gamma0", "gamma0_filtered"] if self.settings.window else ["gamma0"]

    def fingerprint(self) -> str:
        """Write as text what finished parts of dates depend on: settings, reference pass, DEM."""
        heights = np.ascontiguousarray(self.dem.array.values)
        settings = self.described
        settings.pop("window")
        tiles = [tile.core for tile in self.tiles]
        parts = (settings, self.record["start"], heights.shape, zlib.crc32(heights.data), tiles)
        shifts = self.settings.coregistration == "correct", self.settings.tolerance
        return json.dumps([*parts, *shifts, len(self.records), self.polarisations])

    def metadata(
        self,
        fresh: Sequence[Date],
        baselines: Mapping[str, Baseline],
        by_themselves: Mapping[str, str],
    ) -> xr.Dataset:
        """Make the coordinates and attributes of the stack with its new dates."""
        dataset = xr.Dataset(
            self._empty_layers(len(self.records) + len(fresh)),
            {
                **self._coordinates(self._values_of(fresh, baselines, by_themselves)),
                "polarisation": self.polarisations,
                "y": self.dem.array["y"],
                "x": self.dem.array["x"],
            },
        ).rio.write_crs(self.dem.array.rio.crs)
        own = {"polarisations": self.polarisations}
        added = [{**date.record, "calibration": date.scene.calibration, **own} for date in fresh]
        attributes = {
            "title": "Stack of reconstructed radar backscatter",
            "stack": json.dumps(self.described),
            "acquisition": json.dumps([*self.records, *added]),
            "reference_grid": grid_to_json(self.reference.grid),
            "reference_orbit": orbit_to_json(self.reference.orbit),
            "look_side": self.reference.grid.look_side,
        }
        made: xr.Dataset = dataset.assign_attrs(attributes)
        return made

    def _values_of(
        self,
        fresh: Sequence[Date],
        baselines: Mapping[str, Baseline],
        by_themselves: Mapping[str, str],
    ) -> dict[str, list[Any]]:
        """Return what coordinates along time hold of new dates, by name."""
        total = len(self.records) + len(fresh)
        parameters = {"stack": self.described}
        return {
            "time": [date.time for date in fresh],
            "platform": [str(date.record["mission"]) for date in fresh],
            "product": [str(date.record.get("product_name", "")) for date in fresh],
            "relative_orbit": [
                int(date.record.get("relative_orbit", UNKNOWN_ORBIT)) for date in fresh
            ],
            "perpendicular_baseline": [baselines[date.key].perpendicular for date in fresh],
            "parallel_baseline": [baselines[date.key].parallel for date in fresh],
            "line_shift": [_shift_of(date, "line") for date in fresh],
            "sample_shift": [_shift_of(date, "sample") for date in fresh],
            "from_reference": [int(date.name not in by_themselves) for date in fresh],
            "filtered_with": [total if self.settings.window else 0 for _ in fresh],
            "provenance": [json.dumps(date.provenance(parameters)) for date in fresh],
        }

    def _coordinates(self, added: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Append values of new dates to the coordinates along time."""
        coordinates = {}
        for name, values in added.items():
            earlier = [] if self.stored is None else list(self.stored[name].values)
            kind, description, units = COORDINATES[name]
            attributes = {"long_name": description} | ({"units": units} if units else {})
            coordinates[name] = ("time", np.array([*earlier, *values], dtype=kind), attributes)
        coordinates["time"][2]["standard_name"] = "time"
        return coordinates

    def _empty_layers(self, total: int) -> dict[str, Any]:
        """Lay out the variables of so many dates, lazy and without values."""
        import dask.array

        chunks = (1, 1, CHUNK, CHUNK)
        dummy = dask.array.zeros((total, *self.shape), dtype=np.float32, chunks=chunks)
        layers = {
            "gamma0_mean": dummy[0],
            "gamma0_spread": dummy[0],
            "date_count": dummy[0].astype(np.uint16),
        }
        variables: dict[str, Any] = {
            name: (("time", "polarisation", "y", "x"), dummy, PRODUCT_ATTRIBUTES[name])
            for name in self.names
        }
        for name, layer in layers.items():
            variables[name] = (("polarisation", "y", "x"), layer, PRODUCT_ATTRIBUTES[name])
        return variables


def _require_same_dem(dem: xr.DataArray, stored: xr.DataArray) -> None:
    """Refuse a DEM other than that of a stack."""
    same = same_grid(dem, stored)
    if same and np.allclose(dem.values, stored.values, rtol=0.0, atol=1e-3, equal_nan=True):
        return
    what = "other heights" if same else f"another grid, of {dem.shape} cells"
    msg = (
        f"found a DEM with {what} than that of the stack, expected the same: leave it out, as the "
        "stack holds its own, or begin another stack"
    )
    raise SeriesError(msg, options={"dem": None})
