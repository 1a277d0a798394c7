"""The two mappings between ground and radar, and incidence angles."""

from __future__ import annotations

from sarheight.geometry.geo2rdr import geo2rdr, incidence, rdr2geo

__all__ = ["geo2rdr", "incidence", "rdr2geo"]
