"""The 17 Local Climate Zones: codes, names, colours and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sarheight.plot.figures import map_figure
from sarheight.plot.maps import Class, draw_classes, mask_classes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

FIRST_LETTER_CODE, FIRST_NATURAL = 101, 11


@dataclass(frozen=True)
class ClimateZone:
    """One Local Climate Zone."""

    code: int  # 1 to 10 for built types, 11 to 17 for the land cover types A to G
    symbol: str  # "1" to "10", "A" to "G"
    name: str  # as in the scheme, in lower case with underscores
    colour: str  # that of the WUDAPT maps, as hexadecimal RGB

    @property
    def label(self) -> str:
        """Symbol and name for a legend, such as ``LCZ A: dense trees``."""
        return f"LCZ {self.symbol}: {self.name.replace('_', ' ')}"


_SCHEME = (
    ("1", "compact_high_rise", "#8c0000"),
    ("2", "compact_mid_rise", "#d10000"),
    ("3", "compact_low_rise", "#ff0000"),
    ("4", "open_high_rise", "#bf4d00"),
    ("5", "open_mid_rise", "#ff6600"),
    ("6", "open_low_rise", "#ff9955"),
    ("7", "lightweight_low_rise", "#faee05"),
    ("8", "large_low_rise", "#bcbcbc"),
    ("9", "sparsely_built", "#ffccaa"),
    ("10", "heavy_industry", "#555555"),
    ("A", "dense_trees", "#006a00"),
    ("B", "scattered_trees", "#00aa00"),
    ("C", "bush_or_scrub", "#648525"),
    ("D", "low_plants", "#b9db79"),
    ("E", "bare_rock_or_paved", "#000000"),
    ("F", "bare_soil_or_sand", "#fbf7ae"),
    ("G", "water", "#6a6aff"),
)
CLIMATE_ZONES = tuple(ClimateZone(code, *row) for code, row in enumerate(_SCHEME, start=1))
"""All zones in the order of their codes.

References
----------
Stewart, I. D. and Oke, T. R. (2012). Local climate zones for urban temperature studies. Bulletin
of the American Meteorological Society 93, 1879-1900, table 2. Colours: WUDAPT.
"""


def flag_colours(classes: Sequence[str]) -> dict[str, str]:
    """Return the attribute ``flag_colors`` of a class map, if all classes are climate zones."""
    zones = [zone_of_name(name.replace(" ", "_")) for name in classes]
    colours = [zone.colour for zone in zones if zone is not None]
    return {"flag_colors": " ".join(colours)} if len(colours) == len(classes) else {}


def zone_of_code(code: int) -> ClimateZone:
    """Return a zone by its code."""
    number = code - FIRST_LETTER_CODE + FIRST_NATURAL if code >= FIRST_LETTER_CODE else code
    if not 1 <= number <= len(CLIMATE_ZONES):
        msg = f"found the code {code}, expected a Local Climate Zone: 1 to 17, or 101 to 107"
        raise ValueError(msg)
    return CLIMATE_ZONES[number - 1]


def zone_of_name(name: str) -> ClimateZone | None:
    """Return a zone by its name, or None for an unknown name."""
    return next((zone for zone in CLIMATE_ZONES if zone.name == name), None)


def plot_zones(
    zone: xr.DataArray, *, relief: xr.DataArray | None = None, title: str | None = None
) -> Figure:
    """Draw a map of Local Climate Zones with a legend.

    Parameters
    ----------
    zone : xarray.DataArray
        Codes of dims (y, x), as ``zone`` of `sarheight.zones.predict_zones`, with attributes
        ``flag_values`` and ``flag_meanings``.
    relief : xarray.DataArray, optional
        Heights in metres on the same grid, to shade the map.
    title : str, optional
        By default the ``long_name``.

    Returns
    -------
    matplotlib.figure.Figure
        The legend lists the zones that occur, each with its share of the cells with data.

    Raises
    ------
    ValueError
        When the flag attributes are missing, or the relief is on another grid.
    """
    figure, axes = map_figure(zone, title)
    draw_classes(axes, [_as_zone(item) for item in mask_classes(zone)], zone, relief)
    return figure


def _as_zone(item: Class) -> Class:
    """Give a class the label and colour of the climate zone of its name, if there is one."""
    zone = zone_of_name(item.label.replace(" ", "_"))
    return item if zone is None else Class(item.value, zone.label, zone.colour)
