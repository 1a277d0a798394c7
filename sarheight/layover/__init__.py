"""Layover: masks, the one-to-many mapping between pixels and ground, and reconstruction."""

from __future__ import annotations

from sarheight.layover._fit import fit_law
from sarheight.layover._mapping import Mapping, mapping
from sarheight.layover._masks import FLAGS, masks
from sarheight.layover._methods import Method, PosteriorMean, Reallocation
from sarheight.layover._reconstruct import reconstruct

__all__ = [
    "FLAGS",
    "Mapping",
    "Method",
    "PosteriorMean",
    "Reallocation",
    "fit_law",
    "mapping",
    "masks",
    "reconstruct",
]
