"""``sarheight info``: a description of files, and the settings of results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._session import session
from sarheight.errors import OptionError
from sarheight.workflow.config import Debug, Messages
from sarheight.workflow.options import argument, option, to_toml

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
    """Describe files: product, annotation, orbit file, elevation model, image or result.

    ```
    sarheight info S1A_IW_GRDH_….SAFE.zip
    sarheight info s1a-iw-grd-vv-….xml glo30.tif unfolded.zarr
    sarheight info unfolded.tif --config > run.toml
    ```

    Parameters
    ----------
    files : tuple of str
        Products (SAFE folder, zip, HDF5 or URL), annotations, orbit files, elevation models,
        images, results.
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
            for name, text in _facts(path, verify=verify):
                table.add_row(name, text)
            console.print(table, highlight=False, markup=False)


def _configuration(path: Path) -> str:
    """Return the settings that made a result, as TOML."""
    from sarheight.output import read_provenance

    parameters = read_provenance(path).get("parameters", {})
    if "settings" not in parameters:
        msg = f"'{path}' does not contain the settings of a command"
        raise ValueError(msg)
    return to_toml(parameters["command"], parameters["settings"])


def _facts(source: str, *, verify: bool) -> Facts:
    from sarheight.product import is_product

    if is_product(source) and not _is_layers(Path(source)):
        return _product(source, verify=verify)
    path = Path(source)
    name = path.name.lower().removesuffix(".xz")
    if name.endswith(".eof"):
        return _orbit_file(path)
    if name.endswith(".xml"):
        return _annotation(path)
    return _raster(path)


def _is_layers(path: Path) -> bool:
    """Tell whether a path is a folder of layers, which a STAC item beside them says."""
    return path.is_dir() and not path.suffix and any(path.glob("*.stac.json"))


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


def _orbit(orbit: Orbit) -> Facts:
    first, last = (
        orbit.utc(float(time)).astype("datetime64[s]") for time in (orbit.time[0], orbit.stop)
    )
    yield "orbit", f"{orbit.time.size} state vectors, {first} to {last} UTC, {orbit.source}"


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


def _raster(path: Path) -> Facts:
    """Describe a raster: an image, a result, or an elevation model."""
    from sarheight.output import open_result
    from sarheight.output.radar_images import STORES, raster_geometry, read_radar

    stored = path.suffix.lower() in STORES or _is_layers(path)
    if not stored and not raster_geometry(path):
        return _dem(path)
    dataset = open_result(path, chunks={}) if stored else None
    if dataset is None:
        dataset = read_radar(path) if raster_geometry(path) == "radar" else open_result(path)
    return _dataset(dataset)


def _dataset(dataset: xr.Dataset) -> Facts:
    from sarheight.acquisition import grid_from_json, orbit_from_json
    from sarheight.output.radar_images import has_grid_and_orbit

    attributes = dataset.attrs
    radar = "line" in dataset.dims
    kind = "in radar geometry" if radar else "on a map grid"
    simulated = any("simulated" in each.attrs for each in (dataset, *dataset.data_vars.values()))
    yield "what", f"{'simulated, ' if simulated else ''}written by sarheight, {kind}"
    if not radar and dataset.rio.crs is not None:
        yield "grid", f"{dataset.sizes['y']} x {dataset.sizes['x']} cells, {dataset.rio.crs}"
    for name, variable in dataset.data_vars.items():
        yield str(name), _variable(variable)
    if "polarisation" in dataset.coords:
        yield "polarisations", ", ".join(map(str, dataset["polarisation"].values.ravel()))
    if has_grid_and_orbit(attributes):
        yield from _sampling(grid_from_json(attributes["radar_grid"]))
        yield from _orbit(orbit_from_json(attributes["orbit_state_vectors"]))
    if "orbit_source" in attributes:
        yield "orbit", str(attributes["orbit_source"])
    if "parameters" not in attributes and "calibration" in attributes:
        yield "calibration", str(attributes["calibration"])
    yield from _settings(attributes.get("parameters"))
    yield from _origin(attributes.get("provenance"))


def _variable(variable: xr.DataArray) -> str:
    """Return long name, unit and type of a variable."""
    units = variable.attrs.get("units", "1")
    unit = "" if units == "1" else f" [{units}]"
    return f"{variable.attrs.get('long_name', 'no description')}{unit}, {variable.dtype}"


def _decoded(text: object) -> dict[str, Any]:
    """Decode JSON text."""
    import json

    decoded = json.loads(text) if isinstance(text, str) else text
    return decoded if isinstance(decoded, dict) else {}


def _settings(text: object) -> Facts:
    """Describe the parameters of a reconstruction, without the numbers of fitted curves."""
    for name, value in _decoded(text).items():
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


def _dem(path: Path) -> Facts:
    import numpy as np
    import pyproj

    from sarheight.dem import local_posting, open_dem

    dem = open_dem(path, vertical="keep")
    rows, columns = dem.shape
    down, across = local_posting(dem)
    yield "what", "raster, usable as elevation model"
    yield "grid", f"{rows} x {columns} cells of {down:.4g} m x {across:.4g} m, {dem.rio.crs}"
    corners = np.meshgrid(dem.x.values[[0, -1]], dem.y.values[[0, -1]])
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    yield from _place(*to_degrees.transform(*corners))
    void = 100 * float(np.isnan(dem.values).mean())
    yield "heights", f"{float(dem.min()):.1f} to {float(dem.max()):.1f} m, {void:.2g} % void"
    datum = dem.attrs.get("vertical_datum")
    yield "measured from", datum or "not stated: the commands require --vertical"
