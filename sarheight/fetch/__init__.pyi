from .catalogues import Asset, SceneRecord, scene_named, scenes
from .elevation import DemTiles, dem, geoid
from .orbits import orbit
from .products import download
from .settings import Limits, Network, Settings
from .transfer import Checksum, download_file

__all__ = [
    "Asset",
    "Checksum",
    "DemTiles",
    "Limits",
    "Network",
    "SceneRecord",
    "Settings",
    "dem",
    "download",
    "download_file",
    "geoid",
    "orbit",
    "scene_named",
    "scenes",
]
