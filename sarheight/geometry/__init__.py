"""The two mappings between ground and radar, incidence angles and look vectors."""

from __future__ import annotations

from sarheight.geometry.geo2rdr import geo2rdr, incidence, look_vector, rdr2geo

__all__ = ["geo2rdr", "incidence", "look_vector", "rdr2geo"]


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
