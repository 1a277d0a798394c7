"""Layover: masks, the one-to-many mapping between pixels and ground, and reconstruction."""

from __future__ import annotations

from sarheight.layover._composite import composite, local_resolution
from sarheight.layover._mapping import Mapping, mapping
from sarheight.layover._reconstruct import fit_law, reconstruct, surroundings
from sarheight.layover.categories import (
    FLAGS,
    convert_mask,
    in_layover,
    in_shadow,
    mask_fractions,
    masks,
)
from sarheight.layover.methods import (
    RTC,
    Method,
    PosteriorMean,
    Prior,
    Reallocation,
    ValueErrors,
    read_method,
)
from sarheight.layover.result import interval

__all__ = [
    "FLAGS",
    "RTC",
    "Mapping",
    "Method",
    "PosteriorMean",
    "Prior",
    "Reallocation",
    "ValueErrors",
    "composite",
    "convert_mask",
    "fit_law",
    "in_layover",
    "in_shadow",
    "interval",
    "local_resolution",
    "mapping",
    "mask_fractions",
    "masks",
    "read_method",
    "reconstruct",
    "surroundings",
]
__dir__ = __all__.copy  # `dir` lists the public names
