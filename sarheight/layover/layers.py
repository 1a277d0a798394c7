"""The layers of a result: one row for each, from which all else derives.

Whoever needs to know something of a layer asks its row: the result for dims, types and attributes,
the writers for packing and names, the tile planner for bytes, the page in the browser for labels
and colours. What computes a layer stands in `sarheight.layover.result`, under the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import TextWrapper
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from sarheight_kernels.profiles import NO_DATA

from sarheight.geometry.geo2rdr import INCIDENCES
from sarheight.layover.categories import FOLD_COUNT, MASK

DECIBEL = "0.1 lg(re 1)"
"""The decibel as UDUNITS writes it, and CF with it."""
BACKSCATTER = "surface_backwards_scattering_coefficient_of_radar_wave"
SHARES = ("contribution_share", "projected_area", "mask", "fold_count")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What is known of a layer, whatever its values are.

    Attributes
    ----------
    description : str
        What it is: for documentation, and beside a map.
    attributes : mapping
        Its CF attributes in a result: ``long_name``, ``units``, flags of a code.
    cf : mapping
        Attributes that files have beside these, as do those of other variables of its name.
    main : bool
        Whether it is among the layers that most users open, which commands write by default.
    by_polarisation : bool
        Whether it has a value for each polarisation: dims (polarisation, y, x), else (y, x).
    code : bool
        Whether it is a code or a count, uint8 with `NO_DATA` where there is none; else float32
        with NaN.
    power : bool
        Whether it is backscatter in linear power, which files may hold, and maps show, in decibels.
    held : bool
        Whether a tile holds it until the scene's balance is known; else it follows from others.
    quality : tuple of str
        Layers that tell its quality (CF ``ancillary_variables``).
    label : str
        Its name on a map.
    limits : tuple of float, optional
        Range of colours on a map; percentiles of the values where there is none.
    """

    description: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    cf: Mapping[str, Any] = field(default_factory=dict)
    main: bool = False
    by_polarisation: bool = False
    code: bool = False
    power: bool = False
    held: bool = True
    quality: tuple[str, ...] = ()
    label: str = ""
    limits: tuple[float, float] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of its values."""
        return np.dtype(np.uint8 if self.code else np.float32)

    @property
    def missing(self) -> np.generic:
        """Return the value that marks missing data."""
        return np.uint8(NO_DATA) if self.code else np.float32(np.nan)

    def shape(self, polarisations: int, rows: int, columns: int) -> tuple[int, ...]:
        """Return the shape of its values."""
        return (polarisations, rows, columns) if self.by_polarisation else (rows, columns)

    def bytes_of(self, polarisations: int) -> int:
        """Return the bytes of a cell of one pass."""
        return self.dtype.itemsize * (polarisations if self.by_polarisation else 1)


LAYERS: Mapping[str, Layer] = MappingProxyType(
    {
        "gamma0": Layer(
            description=(
                "reconstructed backscatter per projected area, linear power: of the posterior the "
                "mean, or the median, which is about half the variance of the logarithm lower; see "
                "`PosteriorMean`"
            ),
            attributes={"long_name": "reconstructed gamma0, per projected area", "units": "1"},
            cf={"cell_methods": "area: mean"},
            main=True,
            by_polarisation=True,
            power=True,
            quality=("gamma0_std", "gamma0_variance", *SHARES),
            label="reconstructed γ⁰",
        ),
        "gamma0_std": Layer(
            description="standard deviation of gamma0 in decibels",
            attributes={
                "long_name": "standard deviation of the reconstructed gamma0, in decibels",
                "units": DECIBEL,
            },
            main=True,
            by_polarisation=True,
            held=False,
            label="uncertainty of γ⁰",
        ),
        "mask": Layer(
            description="layover, shadow and foreshortening, see `masks`",
            attributes=MASK,
            main=True,
            code=True,
            label="layover and shadow",
        ),
        "fold_count": Layer(
            description="number of illuminated places at the same time and range, see `masks`",
            attributes=FOLD_COUNT,
            main=True,
            code=True,
            label="fold count",
        ),
        "local_incidence": Layer(
            description="angle between the line of sight and the surface's normal, in degrees",
            attributes=INCIDENCES["local_incidence"],
            cf={"standard_name": "angle_of_incidence"},
            main=True,
            label="local incidence",
            limits=(0.0, 90.0),
        ),
        "projected_area": Layer(
            description=(
                "illuminated area where the image has data, projected along the line of sight, in "
                "square metres; times gamma0 it is the cell's RCS"
            ),
            attributes={
                "long_name": "illuminated area with data, projected along the line of sight",
                "units": "m2",
            },
            cf={"cell_methods": "area: sum"},
            main=True,
            label="projected area",
        ),
        "sigma0_geocoded": Layer(
            description=(
                "the image on the ellipsoid, sampled at the place of each cell: conventional "
                "geocoding"
            ),
            attributes={"long_name": "sigma0 on the ellipsoid, geocoded", "units": "1"},
            cf={"standard_name": BACKSCATTER, "cell_methods": "area: mean"},
            main=True,
            by_polarisation=True,
            power=True,
            quality=("mask", "fold_count"),
            label="geocoded σ⁰",
        ),
        "sigma0": Layer(
            description="reconstructed backscatter per area of the surface, linear power",
            attributes={"long_name": "reconstructed sigma0, per area of the surface", "units": "1"},
            cf={"standard_name": BACKSCATTER, "cell_methods": "area: mean"},
            by_polarisation=True,
            power=True,
            quality=SHARES,
            label="reconstructed σ⁰",
        ),
        "gamma0_variance": Layer(
            description=(
                "variance of gamma0: gamma0 squared times the variance of its logarithm, by "
                "speckle, other places in the cell's pixels and errors of the DEM; see `interval`"
            ),
            attributes={"long_name": "variance of the reconstructed gamma0", "units": "1"},
            by_polarisation=True,
            label="variance of γ⁰",
        ),
        "contribution_share": Layer(
            description="mean share of the cell in the RCS of its pixels: 1 if alone in them",
            attributes={
                "long_name": "mean share of the cell in the RCS of its pixels",
                "units": "1",
            },
            label="contribution share",
            limits=(0.0, 1.0),
        ),
        "own_share": Layer(
            description=(
                "weight of the cell's own pixels in gamma0; the rest is what neighbouring cells "
                "and other passes predict"
            ),
            attributes={"long_name": "weight of the cell's own pixels in gamma0", "units": "1"},
            by_polarisation=True,
            label="own share",
            limits=(0.0, 1.0),
        ),
        "borrowed_share": Layer(
            description="weight of other passes in gamma0",
            attributes={"long_name": "weight of other passes in gamma0", "units": "1"},
            by_polarisation=True,
            label="borrowed share",
            limits=(0.0, 1.0),
        ),
        "projected_incidence": Layer(
            description=(
                "incidence angle in the plane of zero Doppler, in degrees, negative in active "
                "layover"
            ),
            attributes=INCIDENCES["projected_incidence"],
            label="projected incidence",
            limits=(-30.0, 90.0),
        ),
        "ellipsoid_incidence": Layer(
            description="angle between the line of sight and the ellipsoid's normal, in degrees",
            attributes=INCIDENCES["ellipsoid_incidence"],
            cf={"standard_name": "sensor_zenith_angle"},
            label="ellipsoid incidence",
        ),
    }
)
"""All layers of a result by name, in the order in which they are listed."""


def select_layers(variables: Sequence[str] | Literal["all", "main"]) -> tuple[str, ...]:
    """Return the names of the layers that are asked for, in the order of `LAYERS`.

    Parameters
    ----------
    variables : sequence of str, "all" or "main"
        Names, or all layers, or those that most users open.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    if variables == "all":
        return tuple(LAYERS)
    if variables == "main":
        return tuple(name for name, layer in LAYERS.items() if layer.main)
    # A text would be taken for the names of its letters.
    names = [variables] if isinstance(variables, str | None) else [*variables]
    unknown = [name for name in names if name not in LAYERS or name is variables]
    if unknown or not names:
        found = ", ".join(map(repr, unknown)) or "of no name"
        msg = f"found variables {found}, expected 'all', 'main', or some of {', '.join(LAYERS)}"
        raise ValueError(msg)
    return tuple(name for name in LAYERS if name in names)


def cell_bytes(variables: Iterable[str], polarisations: int) -> int:
    """Return the bytes that layers take in a cell of one pass."""
    return sum(LAYERS[name].bytes_of(polarisations) for name in variables)


def with_layers(docstring: str | None) -> str | None:
    """Put all layers into a docstring in place of ``{layers}``, and the main ones of ``{main}``."""
    # Without docstrings (`python -OO`) there is nothing to fill.
    if docstring is None:
        return None
    docstring = re.sub(r"^( *)\{layers\}$", _definitions, docstring, flags=re.MULTILINE)
    return re.sub(r"^( *)\{main\}$", _main_names, docstring, flags=re.MULTILINE)


def _definitions(place: re.Match[str]) -> str:
    """Describe all layers as a list of definitions, indented as the place is."""
    inner = place[1] + "    "
    wrap = TextWrapper(100, initial_indent=inner, subsequent_indent=inner)
    entries = (
        f"{place[1]}``{name}``\n{wrap.fill(row.description)}" for name, row in LAYERS.items()
    )
    return "\n".join(entries)


def _main_names(place: re.Match[str]) -> str:
    """List the names of the main layers, indented as the place is."""
    wrap = TextWrapper(100, initial_indent=place[1], subsequent_indent=place[1])
    return wrap.fill(", ".join(f"``{name}``" for name in select_layers("main")) + ".")
