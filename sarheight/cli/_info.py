"""``sarheight info``: a description of files, and the settings of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight._files import require_file
from sarheight.cli._session import session
from sarheight.errors import OptionError
from sarheight.workflow.config import Messages
from sarheight.workflow.options import argument, option, to_toml
from sarheight.workflow.words import Debug

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

Facts = Iterator[tuple[str, str]]


def info(
    *,
    files: Annotated[tuple[str, ...], argument("FILE")],
    config: Annotated[bool, option(None, "--config")] = False,
    verify: Annotated[bool, option(None, "--verify")] = False,
    debug: Debug = False,
) -> None:
    """Describe files: all that the commands read or write.

    ```
    sarheight info S1A_IW_GRDH_….SAFE.zip
    sarheight info s1a-iw-grd-vv-….xml glo30.tif unfolded.zarr
    sarheight info stack.zarr run/model jobs.toml
    sarheight info unfolded.tif --config > run.toml
    ```

    Parameters
    ----------
    files : tuple of str
        Products (SAFE folder, zip, HDF5, NITF or URL), annotations, orbit files, elevation models
        and other rasters, images, results, pictures and their STAC items, stacks of dates or of a
        city, training scenes, points and polygons, networks, lists of jobs and their manifests,
        settings.
    config : bool
        Write the settings that made a result, as TOML for `--config`.
    verify : bool
        Read all files of products, and compare them with their checksums.
    debug : bool
        Show tracebacks of errors.
    """
    for file in files:
        if "://" not in file and not Path(file).exists():
            msg = f"there is no '{file}'"
            raise OptionError(msg, option="files")
        if "://" not in file:
            require_file(file, OptionError)
    if config and len(files) > 1:
        msg = f"found {len(files)} files, expected one with --config"
        raise OptionError(msg, option="files")
    with session("info", Messages(quiet=True, debug=debug)):
        if config:
            typer.echo(_configuration(Path(files[0])), nl=False)
            return
        from rich.console import Console
        from rich.table import Table

        console = Console()
        for path in files:
            table = Table(title=path, title_justify="left", show_header=False)
            table.add_column(style="bold", no_wrap=True)
            table.add_column(overflow="fold")
            for name, text in _rows(_facts(path, verify=verify)).items():
                table.add_row(name, text)
            console.print(table, highlight=False, markup=False)


def _rows(facts: Facts) -> dict[str, str]:
    """Return a row for each name: what is told twice is told once, what differs is joined."""
    rows: dict[str, list[str]] = {}
    for name, text in facts:
        told = rows.setdefault(name, [])
        if text not in told:
            told.append(text)
    return {name: "; ".join(told) for name, told in rows.items()}


def _configuration(path: Path) -> str:
    """Return the settings that made a result, as TOML."""
    from sarheight.output import read_provenance

    parameters = read_provenance(path).get("parameters", {})
    if "settings" not in parameters:
        msg = f"'{path}' does not contain the settings of a command"
        raise ValueError(msg)
    return to_toml(parameters["command"], parameters["settings"])


def _facts(source: str, *, verify: bool) -> Facts:
    """Describe a file by its kind."""
    from sarheight.output.insar import read_insar_mask
    from sarheight.product import is_product
    from sarheight.sentinel1.cslc import is_burst

    path = Path(source)
    if path.is_dir() and (path / "config.json").exists():
        return _network(path)
    mask = read_insar_mask(path)
    if mask is not None:
        return _insar_mask(mask)
    if is_burst(source):
        return _burst(source)
    if is_product(source) and not _is_layers(path):
        return _product(source, verify=verify)
    name = path.name.lower().removesuffix(".xz")
    described = (each for ending, each in DESCRIBED.items() if name.endswith(ending))
    return next(described, _raster)(path)


def _is_layers(path: Path) -> bool:
    """Tell whether a path is a folder of layers, which a STAC item beside them says."""
    return path.is_dir() and not path.suffix and any(path.glob("*.stac.json"))


# Radar: products, annotations, orbits.


def _product(source: str, *, verify: bool) -> Facts:
    from sarheight.product import open_product

    product = open_product(source)
    yield from product.summary()
    if verify:
        product.verify()
        yield "verified", "all files are as their checksums in the manifest say"
    grid, orbit = product.grid_and_orbit()
    yield from _sampling(grid)
    yield from _orbit(orbit)


def _annotation(path: Path) -> Facts:
    from sarheight.sentinel1 import read_annotation, read_grid, read_orbit

    annotation = read_annotation(path)
    kind = f"{annotation.mission} {annotation.mode} {annotation.product_type}"
    yield "what", f"Sentinel-1 annotation: {kind}, {annotation.swath} {annotation.polarisation}"
    yield "pass", annotation.passing.lower()
    points = annotation.geolocation
    yield from _place(points.longitude, points.latitude)
    angles = points.incidence_angle
    yield "incidence", f"{angles.min():.2f} to {angles.max():.2f} degrees"
    if annotation.bursts:
        yield "bursts", f"{len(annotation.bursts)} of {annotation.lines_per_burst} lines"
    yield from _sampling(read_grid(annotation))
    yield from _orbit(read_orbit(annotation))


def _sampling(grid: RadarGrid) -> Facts:
    kind = "ground range" if grid.is_ground_range else "slant range"
    steps = f"{1000 * grid.line_interval:.4g} ms x {grid.sample_spacing:.4g} m"
    yield "grid", f"{grid.lines} lines x {grid.samples} samples, {steps} in {kind}"
    first, last = (
        grid.epoch.astype("datetime64[us]") + int(1e6 * time)
        for time in (grid.first_time, grid.last_time)
    )
    yield "time", f"{first} to {last} UTC"
    yield "looks", f"{grid.looks:g} (equivalent number), to the {grid.look_side}"
    if grid.doppler is not None:
        low, high = grid.doppler.frequency.min(), grid.doppler.frequency.max()
        yield "Doppler", f"native, a centroid of {low:.4g} to {high:.4g} Hz"


def _seen_from(grid: RadarGrid, orbit: Orbit) -> Facts:
    """Describe the pass and the place of an image by its sampling and orbit, on the ellipsoid."""
    import dask.array as da
    import numpy as np
    import xarray as xr

    from sarheight.acquisition import acquisition_record
    from sarheight.scene import Scene

    yield "pass", _pass_of(acquisition_record(grid, orbit))
    pixels = xr.DataArray(da.zeros(grid.shape, dtype=np.float32), dims=("line", "sample"))
    outline = Scene(pixels, replace(grid, polarisations=()), orbit, "beta0").outline()
    if np.isfinite(outline).all():
        yield from _place(outline[:, 0], outline[:, 1])


def _orbit(orbit: Orbit) -> Facts:
    first, last = (
        orbit.utc(float(time)).astype("datetime64[s]") for time in (orbit.time[0], orbit.stop)
    )
    yield "state vectors", f"{orbit.time.size}, {first} to {last} UTC, {orbit.source}"


def _orbit_file(path: Path) -> Facts:
    from sarheight.sentinel1 import read_orbit_file

    kinds = {"POEORB": "precise", "RESORB": "restituted"}
    kind = next(
        (word for mark, word in kinds.items() if mark in path.name.upper()), "of unknown kind"
    )
    yield "what", f"orbit file of ESA, {kind}"
    yield from _orbit(read_orbit_file(path))


def _place(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> Facts:
    east, north = (f"{each.min():.3f} to {each.max():.3f}" for each in (longitude, latitude))
    yield "place", f"longitude {east}, latitude {north}"


# Rasters and stores: images, results, stacks, elevation models.


def _raster(path: Path) -> Facts:
    """Describe a raster: an image, a result, an elevation model, or another one."""
    from sarheight.output import open_result
    from sarheight.output.radar_images import STORES, raster_geometry, read_radar

    if path.suffix.lower() in STORES or _is_layers(path):
        return _dataset(open_result(path, chunks={}))
    geometry = raster_geometry(path)
    if not geometry:
        return _plain_raster(path)
    return _dataset(read_radar(path) if geometry == "radar" else open_result(path, chunks={}))


def _dataset(dataset: xr.Dataset) -> Facts:
    from sarheight.acquisition import grid_from_json, orbit_from_json
    from sarheight.output.radar_images import has_grid_and_orbit

    attributes = dataset.attrs
    simulated = any("simulated" in each.attrs for each in (dataset, *dataset.data_vars.values()))
    yield "what", f"{'simulated ' if simulated else ''}{_kind(dataset)}, written by sarheight"
    if {"y", "x"} <= set(dataset.dims) and dataset.rio.crs is not None:
        yield "grid", f"{dataset.sizes['y']} x {dataset.sizes['x']} cells, {dataset.rio.crs}"
        yield from _place_of(dataset)
    for axis in {"time", "month"} & set(dataset.dims):
        yield from _dates(str(axis), dataset)
    for name, variable in dataset.data_vars.items():
        yield str(name), _variable(variable)
    for name in ("polarisation", "sar_band", "optical_band"):
        if name in dataset.coords:
            yield f"{name}s".replace("_", " "), ", ".join(map(str, dataset[name].values.ravel()))
    if has_grid_and_orbit(attributes):
        grid = grid_from_json(attributes["radar_grid"])
        orbit = orbit_from_json(attributes["orbit_state_vectors"])
        if "acquisition" not in attributes:
            yield from _seen_from(grid, orbit)
        yield from _sampling(grid)
        yield from _orbit(orbit)
    yield from _acquisition(attributes)
    if "parameters" not in attributes and "calibration" in attributes:
        yield "calibration", str(attributes["calibration"])
    yield from _settings(attributes.get("parameters"))
    yield from _origin(attributes.get("provenance"))


def _insar_mask(mask: xr.DataArray) -> Facts:
    """Describe a mask for interferograms."""
    where = f", {mask.attrs['EPSG']}" if "EPSG" in mask.attrs else ""
    yield "what", "layover and shadow as MintPy reads them, written by sarheight"
    yield "grid", f"{mask.shape[0]} x {mask.shape[1]} cells{where}"
    yield "left out", f"{100.0 * float(mask.mean()):.1f} % of the cells"
    yield from _acquisition(mask.attrs)
    yield from _origin(mask.attrs.get("provenance"))


def _burst(source: str) -> Facts:
    """Describe a geocoded burst."""
    from sarheight.sentinel1.cslc import burst_geometry, burst_grid

    placed, (grid, orbit) = burst_grid(source), burst_geometry(source)
    yield "what", f"geocoded burst of OPERA: {grid.mission} {', '.join(grid.polarisations)}"
    yield "map", f"{placed.shape[0]} x {placed.shape[1]} cells, {placed.crs}"
    yield from _sampling(grid)
    yield from _orbit(orbit)


def _kind(dataset: xr.Dataset) -> str:
    """Name the kind of a store by what it holds."""
    if "line" in dataset.dims:
        return "image in radar geometry"
    if "stack" in dataset.attrs:
        return "stack of dates of one track"
    if "month" in dataset.dims:
        return "stack of a city"
    return "training scene" if "coarse_height" in dataset else "result on a map grid"


def _place_of(raster: xr.Dataset | xr.DataArray) -> Facts:
    """Describe where the corners of a map lie."""
    import numpy as np
    import pyproj

    corners = np.meshgrid(raster["x"].values[[0, -1]], raster["y"].values[[0, -1]])
    to_degrees = pyproj.Transformer.from_crs(raster.rio.crs, 4326, always_xy=True)
    yield from _place(*to_degrees.transform(*corners))


def _dates(name: str, dataset: xr.Dataset) -> Facts:
    """Describe the dates or months along a dimension, and how far passes flew from each other."""
    import numpy as np

    unit = "D" if name == "time" else "M"
    days = [str(each) for each in np.sort(dataset[name].values.astype(f"datetime64[{unit}]"))]
    yield "dates" if unit == "D" else "months", f"{len(days)}: {', '.join(days)}"
    if "perpendicular_baseline" in dataset.coords:
        values = dataset["perpendicular_baseline"].values
        # Whole metres, among which 0 has no sign.
        low, high = (round(float(each)) for each in (values.min(), values.max()))
        yield "baselines", f"{low} to {high} m across the line of sight"


MOST_PASSES = 3
"""Passes that are described one by one."""


def _acquisition(attributes: Mapping[Any, Any]) -> Facts:
    """Describe when and how the images of a result were taken, and their shifts."""
    from sarheight.acquisition import acquisitions
    from sarheight.coregistration import Shift

    records = acquisitions(attributes)
    for record in records if len(records) <= MOST_PASSES else ():
        yield "time", f"{record.get('start', '?')} to {record.get('end', '?')}"
        yield "pass", _pass_of(record)
    if "orbit_source" in attributes:
        yield "orbit", str(attributes["orbit_source"])
    shifts = _decoded(attributes.get("coregistration"))
    for shift in shifts if isinstance(shifts, list) else [shifts]:
        if "found" in shift:
            yield "shift", str(Shift.from_json(json.dumps(shift)))


def _pass_of(record: Mapping[str, Any]) -> str:
    """Describe the pass of an image in words."""
    orbit, side = record.get("relative_orbit"), record.get("look_side")
    parts = (
        record.get("mission"),
        record.get("orbit_state"),
        f"looking {side}" if side else None,
        f"relative orbit {orbit}" if orbit else None,
        record.get("product_name"),
    )
    return ", ".join(str(part) for part in parts if part)


def _variable(variable: xr.DataArray) -> str:
    """Return long name, unit and type of a variable."""
    units = variable.attrs.get("units", "1")
    unit = "" if units == "1" else f" [{units}]"
    return f"{variable.attrs.get('long_name', 'no description')}{unit}, {variable.dtype}"


def _decoded(text: object) -> Any:  # noqa: ANN401  # of JSON
    """Decode JSON text; return an empty mapping where there is none."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {}
    return found if isinstance(found, dict | list) else {}


def _settings(text: object) -> Facts:
    """Describe the parameters of a reconstruction, without the numbers of fitted curves."""
    for name, value in _decoded(text).items():
        if name == "grid":
            continue  # told from the file itself
        values = value if isinstance(value, list) else [value]
        names = [
            ", ".join(map(str, each)) if isinstance(each, dict) else str(each) for each in values
        ]
        yield name.replace("_", " "), ", ".join(names)


def _origin(text: object) -> Facts:
    """Describe date, software and inputs of a file."""
    record = _decoded(text)
    if not record:
        return
    version = record.get("software", {}).get("sarheight", "of unknown version")
    yield "made", f"{record.get('created', 'at an unknown time')} by sarheight {version}"
    for name, source in record.get("inputs", {}).items():
        yield f"from {name}", str(source.get("path", source))
    if record.get("unverified"):
        yield "not verified", f"parts of {', '.join(map(str, record['unverified']))}"


def _plain_raster(path: Path) -> Facts:
    """Describe a raster of others."""
    from sarheight._rasters import open_raster
    from sarheight.errors import DemError

    try:
        with open_raster(path) as file:
            bands, crs, kind = file.count, file.crs, file.dtypes[0]
            names = ", ".join(filter(None, file.descriptions))
            grid = f"{file.height} x {file.width} cells"
    except DemError:
        bands, crs, kind = 1, "unknown", ""  # what is wrong with it is told of an elevation model
    if bands == 1 and crs is not None and kind != "uint8":
        yield from _dem(path)
        return
    yield "what", "raster" if crs is not None else "raster without a map grid, such as an image"
    yield "grid", grid if crs is None else f"{grid}, {crs}"
    yield "bands", f"{bands}, {kind}{f': {names}' if names else ''}"


def _dem(path: Path) -> Facts:
    import numpy as np

    from sarheight.dem import local_posting, open_dem

    dem = open_dem(path, vertical="keep")
    rows, columns = dem.shape
    down, across = local_posting(dem)
    yield "what", "raster, usable as elevation model"
    yield "grid", f"{rows} x {columns} cells of {down:.4g} m x {across:.4g} m, {dem.rio.crs}"
    yield from _place_of(dem)
    void = 100 * float(np.isnan(dem.values).mean())
    yield "heights", f"{float(dem.min()):.1f} to {float(dem.max()):.1f} m, {void:.2g} % void"
    datum = dem.attrs.get("vertical_datum")
    yield "measured from", datum or "not stated: the commands require --vertical"


# Other files: points and polygons, networks, lists of jobs, settings, pictures, STAC items.


def _vector(path: Path) -> Facts:
    from sarheight._files import read_vector

    table = read_vector(path)
    kinds = ", ".join(sorted(table.geometry.geom_type.dropna().unique()))
    yield "what", f"vector file: {len(table)} of {kinds or 'no geometry'}"
    yield "grid", str(table.crs.to_string() if table.crs is not None else "no reference system")
    if table.crs is not None and len(table):
        west, south, east, north = table.to_crs(4326).total_bounds
        yield "place", f"longitude {west:.3f} to {east:.3f}, latitude {south:.3f} to {north:.3f}"
    yield "fields", ", ".join(str(name) for name in table.columns if name != "geometry") or "none"


def _geojson(path: Path) -> Facts:
    from sarheight.workflow.elevations import read_polygons

    shapes, crs = read_polygons(path)
    yield "what", f"{len(shapes)} polygons, for --clip"
    yield "grid", crs.partition("[")[0]


def _csv(path: Path) -> Facts:
    """Describe a table: a list of jobs, or known elevations."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        head = {name.strip() for name in next(csv.reader(file), [])}
    if {"image", "output"} & head:
        yield from _jobs(path)
        return
    with path.open(encoding="utf-8") as file:
        yield "what", f"table of {sum(1 for line in file if line.strip()) - 1} rows"
    yield "fields", ", ".join(sorted(head))


def _jobs(path: Path) -> Facts:
    from sarheight.workflow.jobs import read_jobs

    jobs = read_jobs(path)
    yield "what", f"list of {len(jobs)} jobs for `sarheight batch`"
    for number, job in enumerate(jobs, 1):
        yield f"job {number}", f"{job.settings.image} to {job.output}"


def _toml(path: Path) -> Facts:
    """Describe a list of jobs, settings of a command, or a configuration of cities."""
    from sarheight._files import read_toml

    tables = read_toml(path)
    if "job" in tables:
        yield from _jobs(path)
        return
    yield "what", "settings: " + ", ".join(f"[{name}]" for name in tables)
    for table, values in tables.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            yield f"{table}.{name}", str(value)


def _json(path: Path) -> Facts:
    """Describe a STAC item, a list of jobs, or settings of a training."""
    from sarheight._files import read_text

    found = json.loads(read_text(path, "JSON"))
    if isinstance(found, list) or "jobs" in found:
        yield from _jobs(path)
    elif found.get("type") == "Feature" and "stac_version" in found:
        properties = found.get("properties", {})
        yield "what", f"STAC item {found.get('id')}, collection {found.get('collection', 'none')}"
        yield "time", str(properties.get("datetime") or properties.get("start_datetime"))
        yield "place", ", ".join(f"{each:.3f}" for each in found.get("bbox", ()))
        yield "assets", ", ".join(found.get("assets", {}))
    elif found.get("type") in {"FeatureCollection", "Feature", "Polygon", "MultiPolygon"}:
        yield from _geojson(path)
    else:
        yield "what", "settings"
        yield from ((name, str(value)) for name, value in found.items())


def _manifest(path: Path) -> Facts:
    from sarheight.workflow.batch import parse_manifest

    entries = {each.output: each for each in parse_manifest(path.read_bytes(), path)}.values()
    failed = [entry for entry in entries if entry.failed]
    yield "what", f"manifest of `sarheight batch`: {len(entries)} jobs, {len(failed)} failed"
    for entry in failed:
        yield "failed", f"{entry.output}: {entry.error}"


def _picture(path: Path) -> Facts:
    from sarheight.output import read_provenance

    yield "what", "picture of a result"
    yield from _origin(read_provenance(path))


def _network(path: Path) -> Facts:
    from sarheight._files import read_json

    config = read_json(path / "config.json")
    yield "what", f"network for {config.get('kind', 'an unknown purpose')}"
    inner = config.get("configuration", {})
    channels = inner.get("channels", ())
    groups = channels.values() if isinstance(channels, dict) else [channels]
    names = [str(each["name"]) for group in groups for each in group if "name" in each]
    if names:
        yield "channels", ", ".join(names)
    for name in ("network", "classes", "postings", "size"):
        if name in inner:
            yield name, str(inner[name])
    for name, value in config.get("card", {}).items():
        yield name.replace("_", " "), str(value)


DESCRIBED: dict[str, Callable[[Path], Facts]] = {
    ".eof": _orbit_file,
    ".xml": _annotation,
    ".png": _picture,
    ".geojson": _geojson,
    ".gpkg": _vector,
    ".parquet": _vector,
    ".shp": _vector,
    ".fgb": _vector,
    ".csv": _csv,
    ".toml": _toml,
    ".json": _json,
    ".jsonl": _manifest,
}
"""What describes a file by the end of its name; all others are rasters and stores."""
