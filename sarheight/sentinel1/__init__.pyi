from ._product import (
    Sentinel1Product as Sentinel1Product,
    open_product as open_product,
    recognises as recognises,
)
from .annotation import (
    Annotation as Annotation,
    geolocation_grid as geolocation_grid,
    read_annotation as read_annotation,
)
from .grid import read_grid as read_grid
from .orbit import read_orbit as read_orbit, read_orbit_file as read_orbit_file
