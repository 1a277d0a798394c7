"""Scenes to learn from, and the patches that a network is fed.

Training scenes are simulated from real elevations and real orbits, and say so; patches are taken
from them, or from a user's own image and elevation model, in the same form.
"""

from __future__ import annotations

from sarheight.data._ground import degraded_dem, patchy_reflectivity
from sarheight.data._library import SceneJob, scene_of_file, write_scenes
from sarheight.data._patches import TerrainPatches
from sarheight.data._scenes import SceneSettings, observed_scene, simulated_scene
from sarheight.data._split import Part, parts
from sarheight.data._statistics import channel_statistics

__all__ = [
    "Part",
    "SceneJob",
    "SceneSettings",
    "TerrainPatches",
    "channel_statistics",
    "degraded_dem",
    "observed_scene",
    "parts",
    "patchy_reflectivity",
    "scene_of_file",
    "simulated_scene",
    "write_scenes",
]
