"""How orbits, radar grids and scenes look in a notebook: numbers beside a small drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart with any colour vision
WIDTH, HEIGHT, MARGIN = 250.0, 190.0, 34.0
"""Size of a drawing and the space for its labels, in pixels."""
FEWEST_LINES = 2
"""Meridians and parallels of a map at least."""


def card(title: str, facts: Mapping[str, str], drawing: str) -> str:
    """Write a title, named facts and a drawing as HTML; all texts are escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left;padding:1px 10px 1px 0;font-weight:600;white-space:nowrap;'
        f'vertical-align:top">{escape(name)}</th>'
        f'<td style="text-align:left;padding:1px 0">{escape(text)}</td></tr>'
        for name, text in facts.items()
        if text
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:18px;align-items:flex-start;'
        'font-family:system-ui,sans-serif;font-size:13px">'
        '<div style="flex:0 1 430px;min-width:260px">'
        f'<div style="font-weight:700;margin-bottom:4px">{escape(title)}</div>'
        '<table style="border-collapse:collapse;margin:0;font-size:13px;color:inherit">'
        f"{rows}</table></div>{drawing}</div>"
    )


def text(x: float, y: float, words: str, anchor: str = "middle", colour: str = "") -> str:
    """Write words into a drawing."""
    fill = f' style="fill:{colour};font-weight:600"' if colour else ' fill-opacity="0.75"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{escape(words)}</text>'


def svg(parts: Sequence[str], label: str, identifier: str) -> str:
    """Join the parts of a drawing; arrow heads have the identifier of the drawing in their name."""
    heads = "".join(
        f'<marker id="{identifier}-{name}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0,0 L8,4 L0,8 Z" fill="{colour}"/></marker>'
        for name, colour in (("flight", "currentColor"), ("look", ORANGE))
    )
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" '
        f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" fill="currentColor" stroke="none" '
        'font-family="system-ui,sans-serif" font-size="10">'
        f"<defs>{heads}</defs>{''.join(parts)}</svg>"
    )


def arrow(x: Sequence[float], y: Sequence[float], kind: str, identifier: str) -> str:
    """Draw a line that ends in an arrow: ``flight`` or ``look``."""
    colour = ORANGE if kind == "look" else "currentColor"
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6" '
        f'marker-end="url(#{identifier}-{kind})"/>'
    )


def map_drawing(
    label: str,
    area: Floats | None = None,
    flight: Floats | None = None,
    look: Floats | None = None,
) -> str:
    """Draw an area, the way of the satellite and its line of sight on a map.

    Shapes: (n, 2), longitude and latitude in degrees.
    """
    shapes = [one for one in (area, flight, look) if one is not None]
    points = np.concatenate(shapes)
    first = points[0, 0]
    # Across the antimeridian, longitudes go on.
    unwrapped = [
        np.column_stack([first + (one[:, 0] - first + 180.0) % 360.0 - 180.0, one[:, 1]])
        for one in shapes
    ]
    points = np.concatenate(unwrapped)
    low, high = points.min(axis=0), points.max(axis=0)
    middle = 0.5 * (low + high)
    squeeze = max(math.cos(math.radians(float(middle[1]))), 0.05)
    extent = np.maximum((high - low) * [squeeze, 1.0], 1e-6)
    scale = float(min((WIDTH - 2 * MARGIN) / extent[0], (HEIGHT - 2 * MARGIN) / extent[1]))

    def place(one: Floats) -> tuple[Floats, Floats]:
        return (
            0.5 * WIDTH + scale * squeeze * (one[:, 0] - middle[0]),
            0.5 * HEIGHT - scale * (one[:, 1] - middle[1]),
        )

    identifier = f"s{abs(hash((label, points.tobytes()))):x}"
    half = 0.5 * np.array([(WIDTH - MARGIN) / (scale * squeeze), (HEIGHT - MARGIN) / scale])
    parts = _graticule(middle - half, middle + half, place)
    for kind, one in (("area", area), ("flight", flight), ("look", look)):
        if one is None:
            continue
        x, y = place(unwrapped.pop(0))
        if kind == "area":
            outline = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
            parts.append(
                f'<polygon points="{outline}" fill="{BLUE}" fill-opacity="0.3" stroke="{BLUE}" '
                'stroke-width="1.5"/>'
            )
        else:
            parts.append(arrow(x.tolist(), y.tolist(), kind, identifier))
    if flight is not None:
        parts.append(text(WIDTH - 36.0, 10.0, "flight", "end"))
    if look is not None:
        parts.append(text(WIDTH - 4.0, 10.0, "look", "end", ORANGE))
    return svg(parts, label, identifier)


def _graticule(low: Floats, high: Floats, place: object) -> list[str]:
    """Draw meridians and parallels with their degrees."""
    assert callable(place)  # noqa: S101  # for the type checker
    parts = []
    for axis, signs in ((0, "EW"), (1, "NS")):
        step = _round_step(float(high[axis] - low[axis]) / FEWEST_LINES)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        for index in range(math.ceil(low[axis] / step), math.floor(high[axis] / step) + 1):
            degrees = index * step
            ends = np.array([low, high])
            ends[:, axis] = degrees
            x, y = place(ends)
            parts.append(
                f'<line x1="{x[0]:.1f}" y1="{y[0]:.1f}" x2="{x[1]:.1f}" y2="{y[1]:.1f}" '
                'stroke="currentColor" stroke-opacity="0.2"/>'
            )
            shown = (degrees + 180.0) % 360.0 - 180.0 if axis == 0 else degrees
            words = f"{abs(shown):.{digits}f}°{signs[shown < 0.0]}"
            if axis == 0:
                parts.append(text(x[0], HEIGHT - 4.0, words))
            else:
                parts.append(text(2.0, y[0] - 2.0, words, "start"))
    return parts


def _round_step(largest: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten up to a number."""
    power = 10.0 ** math.floor(math.log10(largest))
    return float(next(n * power for n in (5.0, 2.0, 1.0) if n * power <= largest * (1 + 1e-9)))


def grid_drawing(
    times: tuple[float, float], ranges: tuple[float, float], unit: str, look_side: str
) -> str:
    """Draw an image in radar geometry: seconds along azimuth, kilometres of slant range."""
    left, top, right, bottom = 58.0, 26.0, WIDTH - 14.0, HEIGHT - 44.0
    label = "image in radar geometry"
    identifier = f"s{abs(hash((label, times, ranges, unit))):x}"
    frame = (
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="{BLUE}" '
        f'fill-opacity="0.3" stroke="{BLUE}" stroke-width="1.5"/>'
    )
    parts = [
        frame,
        arrow([left - 8.0] * 2, [top, bottom], "flight", identifier),
        arrow([left, right], [bottom + 8.0] * 2, "look", identifier),
        text(left - 14.0, top + 4.0, f"{times[0]:.2f} s", "end"),
        text(left - 14.0, bottom, f"{times[1]:.2f} s", "end"),
        text(left, bottom + 22.0, f"{ranges[0]:.1f} km", "start"),
        text(right, bottom + 22.0, f"{ranges[1]:.1f} km", "end"),
        text(0.5 * (left + right), HEIGHT - 6.0, f"samples: {unit}, looking {look_side}"),
        text(left - 8.0, 14.0, "lines: azimuth time", "start"),
    ]
    return svg(parts, label, identifier)
