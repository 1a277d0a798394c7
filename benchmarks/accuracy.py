"""How exact is it? Geometry, energy, shifts of images; geocoding and areas of other programs.

`benchmarks._accuracy` says what each part compares.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._accuracy import conformance, coregistration, geometry, sarsen
from benchmarks._command import options, tell
from benchmarks._mountains.scenes import sites

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["main"]

GOALS = {
    "core.geolocation_range_error": "< 0.05 m",
    "core.geolocation_azimuth_error": "< 1e-4 s",
    "core.round_trip_error": "< 1e-3 m",
    "core.energy_error": "< 1e-5",
    "safe.geocoding_vs_sarsen_shift": "< 0.1 pixel",
    "safe.geocoding_vs_sarsen_db": "< 0.1 dB",
}


def _coregistration(_folder: Path, data: str | None) -> dict[str, Value]:
    places = sites(list(coregistration.NAMES), data)
    return coregistration.figures({site.name: coregistration.measure(site) for site in places})


PARTS: dict[str, Callable[[Path, str | None], dict[str, Value]]] = {
    "geometry": lambda _folder, data: {**geometry.measure(data)},
    "coregistration": _coregistration,
    "sarsen": lambda folder, data: sarsen.figures(*sarsen.measure(folder, data)),
    "conformance": lambda folder, data: conformance.figures(conformance.measure(folder, data)),
}
"""From a folder for products and that of the data, if any, to figures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = options("accuracy", __doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts of it")
    chosen = parser.parse_args(arguments)
    for part in chosen.only:
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[part](Path(folder), chosen.data)
        tell(figures, f"accuracy --only {part}", save=chosen.save, goals=GOALS)


if __name__ == "__main__":
    main()
