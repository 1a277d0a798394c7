"""Physics in the loop: estimate heights, reconstruct the image with them, estimate again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks._terrain.errors import SIZE, arrays_of
from benchmarks._terrain.places import job_of
from sarheight.terrain import TerrainPatches, prepare_scene
from sarheight.terrain.patches import columns_along_range
from sarheight.terrain.scenes import simulate_image

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning import Part
    from sarheight.terrain import HeightEstimator

__all__ = ["reconstructed_again"]


def reconstructed_again(
    scene: xr.Dataset,
    part: Part,
    region: str,
    folder: str | None,
    estimator: HeightEstimator,
    channels: tuple[str, ...],
    known: int,
) -> xr.Dataset:
    """Reconstruct a scene with the heights that a network has estimated from it.

    Outside of the part nothing was estimated, and the coarse model stays. It also stays what the
    network is told of the heights: only the reconstruction changes.

    Parameters
    ----------
    scene, part
        The scene, and the part that is estimated.
    region, folder : str
        What the scene was made of; its image in radar geometry is simulated again.
    estimator, channels, known
        See `benchmarks._terrain.errors.arrays_of`.
    """
    job = job_of(region, folder)
    image, _ = simulate_image(*job.load(), job.settings, seed=job.seed)
    refined = scene["coarse_height"].copy(deep=True)
    arrays = arrays_of(scene, part, channels, known, estimator)
    patches = TerrainPatches([scene], channels, within=[part], size=SIZE, known_count=(0, 0))
    inside = refined.values[slice(*part.rows), slice(*part.columns)][:, columns_along_range(scene)]
    for (_, row, column), height in zip(patches.windows, arrays["height"][:, 0], strict=True):
        inside[row : row + SIZE, column : column + SIZE] = height
    again = prepare_scene(image, refined, scene["height"])
    return scene.assign({name: again[name] for name in channels})
