"""Flattened images as other archives give them, made of random backscatter.

Import it as ``from tests.flattened_products import hyp3_folder, opera_folder``.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from sarheight.scene import Scene

OPERA = "OPERA_L2_RTC-S1_T047-100908-IW3_20200702T000000Z_20230101T100506Z_S1B_30_v1.0"
HYP3 = "S1A_IW_20180128T161201_DVP_RTC30_G_{}uned_FD6A"
GRANULE = "S1A_IW_GRDH_1SDV_20180128T161201_20180128T161226_020358_022C4B_E6D5"
PLANETARY = "S1A_IW_GRDH_1SDV_20191215T004339_20191215T004404_030352_0378DC_rtc"
SHAPE = (20, 30)
TRANSFORM = Affine(30.0, 0.0, 500_000.0, 0.0, -30.0, 4_000_000.0)


def values(seed: int) -> NDArray[np.float32]:
    """Draw backscatter, power."""
    drawn: NDArray[np.float32] = (
        np.random.default_rng(seed).gamma(4.4, 0.05, SHAPE).astype(np.float32)
    )
    return drawn


VV, VH = values(1), values(2)


def raster(path: Path, band: NDArray[Any], nodata: float | None = None, **tags: str) -> Path:
    """Write a GeoTIFF in UTM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=band.shape[0],
        width=band.shape[1],
        count=1,
        dtype=band.dtype,
        crs="EPSG:32611",
        transform=TRANSFORM,
        nodata=nodata,
    ) as file:
        file.write(band, 1)
        file.update_tags(**tags)
    return path


def opera_folder(folder: Path) -> Path:
    """Make the GeoTIFFs of an OPERA RTC-S1 product."""
    tags = {
        "ORBIT_PASS_DIRECTION": "descending",
        "ZERO_DOPPLER_START_TIME": "2020-07-02T00:00:00.123456Z",
        "ZERO_DOPPLER_END_TIME": "2020-07-02T00:00:03.223456Z",
        "ABSOLUTE_ORBIT_NUMBER": "22292",
        "TRACK_NUMBER": "47",
    }
    vv = VV.copy()
    vv[0] = np.nan
    raster(folder / f"{OPERA}_VV.tif", vv, np.nan, **tags)
    raster(folder / f"{OPERA}_VH.tif", VH, np.nan, **tags)
    raster(folder / f"{OPERA}_mask.tif", opera_mask(), 255)
    (folder / f"{OPERA}_BROWSE.png").write_bytes(b"picture")
    return folder


def opera_mask() -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[1], mask[2], mask[3], mask[4] = 1, 2, 3, 255
    return mask


def opera_table(path: Path) -> Path:
    """Make its HDF5 file."""
    with netCDF4.Dataset(path, "w") as file:
        data = file.createGroup("data")
        for name, size, first, step in (
            ("yCoordinates", SHAPE[0], 4_000_000.0 - 15.0, -30.0),
            ("xCoordinates", SHAPE[1], 500_000.0 + 15.0, 30.0),
        ):
            data.createDimension(name, size)
            data.createVariable(name, "f8", (name,))[:] = first + step * np.arange(size)
        for name, band in (("VV", VV), ("VH", VH), ("mask", opera_mask())):
            variable = data.createVariable(name, band.dtype, ("yCoordinates", "xCoordinates"))
            variable[:] = band
        data.createVariable("projection", "i4")[:] = 32611
        data["projection"].epsg_code = np.int32(32611)
        facts = file.createGroup("identification")
        for name, value in (
            ("orbitPassDirection", "descending"),
            ("zeroDopplerStartTime", "2020-07-02T00:00:00.123456"),
            ("zeroDopplerEndTime", "2020-07-02T00:00:03.223456"),
            ("productID", OPERA),
        ):
            facts.createVariable(name, str)[...] = value
        for name, number in (("absoluteOrbitNumber", 22292), ("trackNumber", 47)):
            facts.createVariable(name, "i8")[:] = number
    return path


def opera_of(gamma0: xr.DataArray, scene: Scene, path: Path) -> Path:
    """Write gamma0 of a scene on a map, dims (y, x), as the HDF5 file of an OPERA product."""
    zero = scene.orbit.with_epoch(scene.grid.epoch)
    first, last = (
        str(zero.utc(time))[:26] for time in (scene.grid.first_time, scene.grid.last_time)
    )
    stamp = first[:19].replace("-", "").replace(":", "")
    name = f"OPERA_L2_RTC-S1_T001-000001-IW1_{stamp}Z_20250101T000000Z_S1A_30_v1.0"
    _, velocity = zero.state(scene.grid.first_time)
    with h5py.File(path.with_name(f"{name}.h5"), "w") as file:
        for axis in ("y", "x"):
            file[f"data/{axis}Coordinates"] = gamma0[axis].values
        file["data/VV"] = gamma0.values.astype(np.float32)
        file["data/VV"].dims[0].attach_scale(_scale(file["data/yCoordinates"]))
        file["data/VV"].dims[1].attach_scale(_scale(file["data/xCoordinates"]))
        file["data/projection"] = np.int32(gamma0.rio.crs.to_epsg())
        file["data/projection"].attrs["epsg_code"] = np.int32(gamma0.rio.crs.to_epsg())
        for key, text in (
            ("orbitPassDirection", "ascending" if velocity[2] > 0.0 else "descending"),
            ("zeroDopplerStartTime", first),
            ("zeroDopplerEndTime", last),
            ("productID", name),
        ):
            file[f"identification/{key}"] = np.bytes_(text)
        for key in ("time", "position", "velocity"):
            file[f"metadata/orbit/{key}"] = getattr(zero, key)
        file["metadata/orbit/referenceEpoch"] = np.bytes_(str(zero.epoch)[:26])
    return path.with_name(f"{name}.h5")


def hyp3_of(gamma0: xr.DataArray, scene: Scene, dem: xr.DataArray, folder: Path) -> Path:
    """Write gamma0 of a scene on a map, dims (y, x), as a HyP3 product with its DEM."""
    zero = scene.orbit.with_epoch(scene.grid.epoch)
    first, last = (
        np.datetime_as_string(zero.utc(time), unit="s").replace("-", "").replace(":", "")
        for time in (scene.grid.first_time, scene.grid.last_time)
    )
    name = f"S1A_IW_{first}_DVP_RTC30_G_gpuned_FD6A"
    home = folder / name
    home.mkdir(parents=True)
    for ending, layer in (("VV", gamma0), ("dem", dem)):
        plain = layer.astype(np.float32).drop_attrs().rio.write_crs(layer.rio.crs)
        plain.rio.to_raster(home / f"{name}_{ending}.tif")
    granule = f"S1A_IW_GRDH_1SDV_{first}_{last}_020358_022C4B_E6D5"
    (home / f"{name}.README.md.txt").write_text(f"The source granule used:\n{granule}\n", "utf-8")
    return home


def planetary_of(gamma0: xr.DataArray, scene: Scene, folder: Path) -> Path:
    """Write gamma0 of a scene on a map, dims (y, x), as an item with its image beside it."""
    zero = scene.orbit.with_epoch(scene.grid.epoch)
    start, end = (
        f"{zero.utc(time)}"[:26] + "Z" for time in (scene.grid.first_time, scene.grid.last_time)
    )
    plain = gamma0.astype(np.float32).drop_attrs().rio.write_crs(gamma0.rio.crs)
    plain.rio.to_raster(folder / "vv.tif")
    item = {
        "type": "Feature",
        "id": PLANETARY,
        "collection": "sentinel-1-rtc",
        "properties": {"platform": "SENTINEL-1A", "start_datetime": start, "end_datetime": end},
        "assets": {"vv": {"href": "./vv.tif"}},
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item), encoding="utf-8")
    return path


def _scale(coordinates: h5py.Dataset) -> h5py.Dataset:
    coordinates.make_scale()
    return coordinates


def hyp3_folder(folder: Path, kind: str = "gp", readme: bool = True) -> Path:  # noqa: FBT001, FBT002
    """Make a HyP3 product with zeros where there are no data."""
    name = HYP3.format(kind)
    home = folder / name
    for polarisation, band in (("VV", VV), ("VH", VH)):
        stored = {"p": band, "a": np.sqrt(band), "d": 10.0 * np.log10(band)}[kind[1]].copy()
        stored[0] = 0.0 if kind[1] != "d" else -9999.0
        nodata = 0.0 if kind[1] != "d" else -9999.0
        raster(home / f"{name}_{polarisation}.tif", stored.astype(np.float32), nodata)
    codes = np.ones(SHAPE, dtype=np.uint8)
    codes[0], codes[1], codes[2], codes[3] = 0, 1 + 2 + 4, 1 + 4, 1 + 8 + 16
    codes[4], codes[5] = 1 + 16, 1 + 4 + 16
    raster(home / f"{name}_ls_map.tif", codes, 0)
    raster(home / f"{name}_inc_map.tif", np.full(SHAPE, np.pi / 6, dtype=np.float32))
    raster(home / f"{name}_dem.tif", np.full(SHAPE, 1234, dtype=np.int16))
    if readme:
        (home / f"{name}.README.md.txt").write_text(
            f"ASF RTC Data Package\n\nThe source granule used:\n{GRANULE}\n", encoding="utf-8"
        )
    return home


def packed(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, Path(folder.name) / file.relative_to(folder))
    return path


def planetary_item(folder: Path) -> Path:
    """Make an item of the Planetary Computer with its images beside it."""
    vv = VV.copy()
    vv[0] = -32768.0
    raster(folder / "iw-vv.rtc.tiff", vv, -32768.0)
    raster(folder / "iw-vh.rtc.tiff", VH, -32768.0)
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": PLANETARY,
        "geometry": None,
        "properties": {
            "datetime": "2019-12-15T00:43:52Z",
            "start_datetime": "2019-12-15T00:43:39Z",
            "end_datetime": "2019-12-15T00:44:04Z",
            "platform": "SENTINEL-1A",
            "sar:instrument_mode": "IW",
            "sar:looks_equivalent_number": 4.4,
            "sat:orbit_state": "ascending",
            "sat:relative_orbit": 5,
            "sat:absolute_orbit": 30352,
        },
        "links": [],
        "assets": {
            "vh": {"href": "./iw-vh.rtc.tiff"},
            "vv": {"href": "./iw-vv.rtc.tiff"},
            "tilejson": {"href": "https://example.org/tilejson"},
        },
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item), encoding="utf-8")
    return path
