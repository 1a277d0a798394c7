from ._product import Sentinel1Product, open_product, recognises
from .annotation import Annotation, geolocation_grid, read_annotation
from .grid import read_grid
from .orbit import read_orbit, read_orbit_file

__all__ = [
    "Annotation",
    "Sentinel1Product",
    "geolocation_grid",
    "open_product",
    "read_annotation",
    "read_grid",
    "read_orbit",
    "read_orbit_file",
    "recognises",
]
