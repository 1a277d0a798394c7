"""Sentinel-1 RTC of the Planetary Computer: a STAC item that names one COG per polarisation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sarheight._acquisition import orbit_numbers
from sarheight.errors import ProductError, UnsafeAddressError
from sarheight.rtc._files import open_raster
from sarheight.rtc._flattened import flattened, power

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Item", "open_planetary"]

POLARISATIONS = ("vv", "vh", "hh", "hv")


class Item(Protocol):
    """A STAC item that can be written as mapping, such as one of pystac."""

    def to_dict(self) -> dict[str, Any]:
        """Return the item as mapping."""
        ...


def open_planetary(
    item: Item | Mapping[str, Any] | str | os.PathLike[str],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Read a Sentinel-1 RTC image of Microsoft's Planetary Computer.

    Parameters
    ----------
    item : pystac.Item, mapping, or path
        The STAC item, signed (`sarheight.fetch` does that), or its JSON in a file. The images
        may also lie in the folder of that file.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, as `xarray.open_dataset` has them:
        then only what is used comes over the network.

    Returns
    -------
    xarray.Dataset
        ``gamma0``, linear power, dims (polarisation, y, x).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ProductError
        If it is no such item, or an image is damaged.
    UnsafeAddressError
        If the item names something that is neither in its folder nor on the public internet.

    References
    ----------
    Planetary Computer, collection ``sentinel-1-rtc``: gamma0 as float32, nodata -32768.
    """
    record, folder = _read(item)
    properties, assets = record.get("properties", {}), record.get("assets", {})
    name = str(record.get("id", ""))
    images = {
        key.upper(): power(open_raster(_address(str(assets[key]["href"]), folder), chunks))
        for key in POLARISATIONS
        if key in assets
    }
    if not images:
        msg = f"found assets {', '.join(assets) or 'of no name'} in the item '{name}', expected vv"
        raise ProductError(msg)
    start = properties.get("start_datetime") or properties.get("datetime")
    platform = str(properties.get("platform", ""))
    acquisition = {
        "mission": platform.upper().replace("SENTINEL-1", "S1"),
        "mode": properties.get("sar:instrument_mode"),
        "start": start,
        "end": properties.get("end_datetime") or start,
        "orbit_state": properties.get("sat:orbit_state"),
        "looks": properties.get("sar:looks_equivalent_number"),
        **orbit_numbers(name),
        "absolute_orbit": properties.get("sat:absolute_orbit"),
        "relative_orbit": properties.get("sat:relative_orbit"),
    }
    return flattened(
        images,
        {},
        radiometry="gamma0",
        source="Planetary Computer Sentinel-1 RTC",
        product_name=name,
        acquisition=acquisition,
    )


def _read(
    item: Item | Mapping[str, Any] | str | os.PathLike[str],
) -> tuple[Mapping[str, Any], Path | None]:
    """Return the item as mapping, and the folder in which it lies."""
    if isinstance(item, Mapping):
        return item, None
    if not isinstance(item, str | os.PathLike):
        return item.to_dict(), None
    path = Path(item)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"'{path}' is no STAC item, or it was cut short ({error})"
        raise ProductError(msg) from error
    if not isinstance(record, dict):
        msg = f"'{path}' is no STAC item: expected a JSON object"
        raise ProductError(msg)
    return record, path.parent.resolve()


def _address(href: str, folder: Path | None) -> str:
    """Check where an image lies: items are written by others.

    Raises
    ------
    UnsafeAddressError
        If it is neither in the folder of the item nor on the public internet.
    """
    from sarheight.fetch.addresses import AddressRule, host_of

    if "://" in href:
        rule = AddressRule()
        rule.check(href)
        try:
            rule.check_host(host_of(href), 443)
        except OSError as error:
            if isinstance(error, UnsafeAddressError):
                raise
            msg = f"'{href.partition('?')[0]}' cannot be reached ({error})"
            raise ProductError(msg) from error
        return f"/vsicurl/{href}"
    target = None if folder is None else (folder / href).resolve()
    if target is None or folder is None or not target.is_relative_to(folder):
        msg = (
            f"the item names the file {href!r}, which is not in its folder: nothing was read. "
            "Pass the path of the item, with the images beside it, or an item with https addresses"
        )
        raise UnsafeAddressError(msg)
    return str(target)
