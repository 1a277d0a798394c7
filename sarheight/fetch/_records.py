"""What a catalogue says about a product, checked and in one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sarheight.fetch._checksums import Checksum

__all__ = ["Asset", "SceneRecord", "scene_time"]

_PRODUCT = re.compile(
    r"(?P<mission>S1[A-Z])_(?P<mode>IW|EW|WV|S[1-6])_(?P<kind>GRD|SLC)(?P<resolution>[FHM_])_"
    r"1S(?P<polarisation>SH|SV|DH|DV|HH|HV|VV|VH)_"
    r"(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_\d{6}_[0-9A-F]{6}(_[0-9A-F]{4})?(_COG)?"
)
_POLARISATIONS = {"SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH")}
_SHOWN = 120


@dataclass(frozen=True)
class Asset:
    """A file of a product.

    Parameters
    ----------
    name : str
        Its name.
    url : str
        Where the catalogue says that it is.
    size : int, optional
        Its bytes.
    checksum : Checksum, optional
        Its checksum, where the catalogue gives one of a kind that can be computed.
    """

    name: str
    url: str
    size: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True)
class SceneRecord:
    """A Sentinel-1 product in a catalogue.

    Parameters
    ----------
    name : str
        The product's name, without ``.SAFE``.
    catalogue : str
        The catalogue, as the settings call it.
    mission : str
        "S1A", "S1B", ...
    mode : str
        "IW", "EW", "WV", or "S1" to "S6".
    product : str
        "GRD" or "SLC".
    start, stop : datetime64
        First and last line (UTC).
    polarisations : tuple of str
        Such as ("VV", "VH").
    passing : str, optional
        "ascending" or "descending".
    relative_orbit : int, optional
        Number of the track, 1 to 175.
    footprint : mapping
        GeoJSON geometry, longitude first.
    assets : tuple of Asset
        The zip of the whole product; or, where each file is on its own, its manifest.
    """

    name: str
    catalogue: str
    mission: str
    mode: str
    product: str
    start: np.datetime64
    stop: np.datetime64
    polarisations: tuple[str, ...]
    passing: str | None = None
    relative_orbit: int | None = None
    footprint: Mapping[str, Any] = field(default_factory=dict)
    assets: tuple[Asset, ...] = ()

    @property
    def size(self) -> int | None:
        """All bytes of the assets, where the catalogue says them."""
        sizes = [asset.size for asset in self.assets]
        known = [size for size in sizes if size is not None]
        return sum(known) if known and len(known) == len(sizes) else None

    @classmethod
    def from_name(cls, name: str, catalogue: str, **facts: Any) -> SceneRecord:  # noqa: ANN401
        """Make a record of a product's name and what else is known.

        Raises
        ------
        ValueError
            If no Sentinel-1 product is named so.
        """
        plain = name.removesuffix(".SAFE")
        found = _PRODUCT.fullmatch(plain)
        if found is None:
            msg = (
                f"{name[:_SHOWN]!r} is not the name of a Sentinel-1 product, expected one such as "
                "S1A_IW_GRDH_1SDV_20210401T052623_20210401T052648_037256_04636F_1BEF"
            )
            raise ValueError(msg)
        given: dict[str, Any] = {
            "start": scene_time(found["start"]),
            "stop": scene_time(found["stop"]),
        }
        given |= {key: value for key, value in facts.items() if value is not None}
        pair = found["polarisation"]
        return cls(
            name=plain,
            catalogue=catalogue,
            mission=found["mission"],
            mode=found["mode"],
            product=found["kind"],
            polarisations=_POLARISATIONS.get(pair, (pair,)),
            **given,
        )


def scene_time(text: object) -> np.datetime64 | None:
    """Read a time as catalogues and product names write it; None where there is none."""
    compact = re.fullmatch(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})", str(text))
    if compact is not None:
        year, month, day, hour, minute, second = compact.groups()
        text = f"{year}-{month}-{day}T{hour}:{minute}:{second}"
    plain = re.fullmatch(
        r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?)\d*(Z|\+00:?00)?", str(text)
    )
    try:
        return np.datetime64(plain[1], "ns") if plain else None
    except ValueError:
        return None
