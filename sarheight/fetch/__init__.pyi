from .catalogues import (
    Asset as Asset,
    SceneRecord as SceneRecord,
    scene_named as scene_named,
    scenes as scenes,
)
from .elevation import DemTiles as DemTiles, dem as dem, geoid as geoid
from .orbits import orbit as orbit
from .products import download as download
from .settings import Limits as Limits, Network as Network, Settings as Settings
from .transfer import Checksum as Checksum, download_file as download_file
