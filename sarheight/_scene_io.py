"""Radar images on file, with the sampling and the orbit that place them on the ground.

An image in radar geometry has no map grid. What places it goes into its attributes as JSON: the
fields of the `RadarGrid` and the state vectors of the `Orbit`, exact to the last bit.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from sarheight._radar_files import SUFFIXES, read_radar, write_radar
from sarheight.orbit import Orbit
from sarheight.product import is_product, open_product
from sarheight.scene import Burst, Calibration, GroundRange, RadarGrid, Scene

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr

__all__ = [
    "grid_from_json",
    "grid_to_json",
    "holds_scene",
    "orbit_from_json",
    "orbit_to_json",
    "placed",
    "read_image",
    "read_placement",
    "read_scene",
    "write_scene",
]

GRID, ORBIT, CALIBRATION = "radar_grid", "orbit_state_vectors", "calibration"


def grid_to_json(grid: RadarGrid) -> str:
    """Write a grid as JSON.

    Parameters
    ----------
    grid : RadarGrid
        Any grid, with its bursts and ground-range records.

    Returns
    -------
    str
        From which `grid_from_json` makes the same grid, to the last bit.
    """
    return json.dumps(_plain(grid))


def grid_from_json(text: str) -> RadarGrid:
    """Make the grid that `grid_to_json` has written.

    Raises
    ------
    ValueError
        If the text is not that of a grid.
    """
    try:
        values = json.loads(text)
        records = values.pop("ground_range")
        bursts = tuple(
            Burst(**{name: _tuple(value) for name, value in burst.items()})
            for burst in values.pop("bursts")
        )
        return RadarGrid(
            epoch=np.datetime64(values.pop("epoch")),
            ground_range=None if records is None else GroundRange(**records),
            bursts=bursts,
            **{name: _tuple(value) for name, value in values.items()},
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(_unreadable("radar grid", error)) from error


def orbit_to_json(orbit: Orbit) -> str:
    """Write an orbit as JSON: epoch, state vectors and source.

    Parameters
    ----------
    orbit : Orbit
        Any orbit.

    Returns
    -------
    str
        From which `orbit_from_json` makes the same orbit, to the last bit.
    """
    return json.dumps(_plain(orbit))


def orbit_from_json(text: str) -> Orbit:
    """Make the orbit that `orbit_to_json` has written.

    Raises
    ------
    ValueError
        If the text is not that of an orbit.
    """
    try:
        values = json.loads(text)
        return Orbit(epoch=np.datetime64(values.pop("epoch")), **values)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(_unreadable("orbit", error)) from error


def _unreadable(what: str, error: Exception) -> str:
    return (
        f"the file's {what} cannot be read ({error}); expected one written by this version: write "
        "the file again, or pass the annotation"
    )


def _plain(value: object) -> Any:  # noqa: ANN401  # JSON has no type
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _tuple(value: object) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


def placed(dataset: xr.Dataset, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    """Add to a dataset what places it on the ground.

    Parameters
    ----------
    dataset : xarray.Dataset
        On dims (line, sample) of the grid.
    grid, orbit : RadarGrid, Orbit
        Its sampling and orbit. Of the orbit, the part around the image is kept.

    Returns
    -------
    xarray.Dataset
        With two more attributes.
    """
    orbit = orbit.with_epoch(grid.epoch).cropped(grid.first_time, grid.last_time)
    return dataset.assign_attrs({GRID: grid_to_json(grid), ORBIT: orbit_to_json(orbit)})


def holds_scene(attributes: Mapping[Any, Any]) -> bool:
    """Tell whether a file's attributes place it on the ground."""
    return GRID in attributes and ORBIT in attributes


def write_scene(
    scene: Scene,
    path: str | os.PathLike[str],
    *,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a scene; the name chooses the format.

    Parameters
    ----------
    scene : Scene
        The image, with grid, orbit and calibration.
    path : path-like
        ``.tif`` or ``.tiff``: GeoTIFF without a map grid, one band for each polarisation;
        ``.nc``: NetCDF-4; ``.zarr``: Zarr store; ``.png``: picture in decibels, which cannot be
        read back.
    attributes : mapping, optional
        More attributes, such as the provenance.
    overwrite : bool
        Whether a file that is already there may be replaced.

    Returns
    -------
    pathlib.Path
        What was written.

    Raises
    ------
    OutputError
        When the place is not fit for it or writing failed; nothing is left half-written.
    """
    dataset = scene.image.to_dataset(name=scene.calibration)
    dataset = placed(dataset, scene.grid, scene.orbit).assign_attrs(
        {CALIBRATION: scene.calibration, **(attributes or {})}
    )
    return write_radar(dataset, path, overwrite=overwrite)


def read_scene(
    path: str | os.PathLike[str],
    *,
    placement: tuple[RadarGrid, Orbit] | None = None,
    calibration: Calibration | None = None,
    polarisations: Sequence[str] = (),
) -> Scene:
    """Read an image and what places it on the ground.

    Parameters
    ----------
    path : path-like
        What `write_scene` has written, or any raster in radar geometry: lines along azimuth,
        linear power.
    placement : (RadarGrid, Orbit), optional
        Sampling and orbit of an image that does not hold them; those of the file go first, as
        they know how it was cropped.
    calibration : {"beta0", "sigma0", "gamma0"}, optional
        What the image is calibrated to; needed where the file does not say it.
    polarisations : sequence of str
        Which ones to take, in this order; all by default. They also name the bands of a raster
        that does not name them itself.

    Returns
    -------
    Scene
        The image.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an image in radar geometry, or does not say what it must.
    """
    image, attributes = read_image(path, polarisations)
    if holds_scene(attributes):
        placement = grid_from_json(attributes[GRID]), orbit_from_json(attributes[ORBIT])
    if placement is None:
        msg = (
            f"found '{path}' without sampling and orbit; expected a file written by `sarheight "
            "simulate`, or the annotation of the image: pass it by --like"
        )
        raise ValueError(msg)
    if calibration is None:
        found = attributes.get(CALIBRATION, image.name)
        if found not in get_args(Calibration):
            msg = (
                f"'{path}' does not say what its image is calibrated to; pass --calibration "
                f"{', '.join(get_args(Calibration))}"
            )
            raise ValueError(msg)
        calibration = cast("Calibration", found)
    return Scene(image, *placement, calibration)


def read_image(
    path: str | os.PathLike[str], polarisations: Sequence[str] = ()
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Read an image in radar geometry and the attributes of its file.

    Parameters
    ----------
    path : path-like
        The file.
    polarisations : sequence of str
        Which ones to take; all by default.

    Returns
    -------
    image : xarray.DataArray
        Dims (line, sample), or (polarisation, line, sample).
    attributes : dict
        Of the file.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_scene`.
    """
    dataset = read_radar(path)
    named = [name for name in get_args(Calibration) if name in dataset]
    names = named or list(dataset.data_vars)
    if len(names) != 1:
        msg = (
            f"found variables {', '.join(map(str, dataset.data_vars))} in '{path}', expected one "
            "image, called beta0, sigma0 or gamma0"
        )
        raise ValueError(msg)
    return _chosen(dataset[names[0]], polarisations, path), dict(dataset.attrs)


def _chosen(
    image: xr.DataArray, polarisations: Sequence[str], path: str | os.PathLike[str]
) -> xr.DataArray:
    """Choose polarisations, or name them where the file does not."""
    if not polarisations or "polarisation" not in image.dims:
        return image
    if "polarisation" not in image.coords:
        if len(polarisations) != image.sizes["polarisation"]:
            msg = (
                f"found {image.sizes['polarisation']} bands without names in '{path}' and "
                f"{len(polarisations)} polarisations ({', '.join(polarisations)}); expected one "
                "for each band"
            )
            raise ValueError(msg)
        return image.assign_coords(polarisation=list(polarisations))
    present = [str(name) for name in image["polarisation"].values]
    missing = [name for name in polarisations if name not in present]
    if missing:
        msg = f"found no {', '.join(missing)} in '{path}', only {', '.join(present)}"
        raise ValueError(msg)
    return image.isel(polarisation=[present.index(name) for name in polarisations])


def read_placement(path: str | os.PathLike[str]) -> tuple[RadarGrid, Orbit]:
    """Read sampling and orbit of an annotation, a product, or what `write_scene` has written.

    Parameters
    ----------
    path : path-like
        A Sentinel-1 annotation (XML, plain or compressed with xz), a whole product, or a scene.

    Returns
    -------
    RadarGrid, Orbit

    Raises
    ------
    AnnotationError
        If it is none of these.
    ProductError
        If it is a product that cannot be read.
    ValueError
        If it is a raster or NetCDF without sampling and orbit.
    """
    if is_product(path):
        return open_product(path).placement()
    if str(path).lower().endswith(SUFFIXES):
        _, attributes = read_image(path)
        if not holds_scene(attributes):
            msg = f"'{path}' holds no sampling and no orbit; expected an annotation or a scene"
            raise ValueError(msg)
        return grid_from_json(attributes[GRID]), orbit_from_json(attributes[ORBIT])
    return RadarGrid.from_annotation(path), Orbit.from_annotation(path)
