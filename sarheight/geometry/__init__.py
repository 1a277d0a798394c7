"""The two mappings between ground and radar, incidence angles and look vectors."""

from __future__ import annotations

from sarheight.geometry.geo2rdr import geo2rdr, incidence, look_vector, rdr2geo

__all__ = ["geo2rdr", "incidence", "look_vector", "rdr2geo"]
__dir__ = __all__.copy  # `dir` lists the public names
