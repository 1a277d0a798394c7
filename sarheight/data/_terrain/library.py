"""Making many training scenes, and going on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.data._terrain.scenes import SceneSettings, simulated_scene
from sarheight.output import open_result, provenance, write

if TYPE_CHECKING:
    import os

    import xarray as xr

    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

__all__ = ["SceneJob", "scene_of_file", "write_scenes"]

RECIPE = "recipe"


@dataclass(frozen=True, eq=False)
class SceneJob:
    """A scene to be made.

    Attributes
    ----------
    name : str
        Of the file.
    make : callable
        Returns the elevation model, the grid and the orbit; called only if the scene is needed.
    inputs : mapping
        Files that the scene is made from, for the provenance.
    settings : SceneSettings
        What is simulated.
    seed : int
        Of the random numbers.
    parameters : mapping
        Whatever else makes this scene differ from others, such as an incidence angle.
    """

    name: str
    make: Callable[[], tuple[xr.DataArray, RadarGrid, Orbit]]
    inputs: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    settings: SceneSettings = field(default_factory=SceneSettings)
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self) -> str:
        """Return what makes the scene, as text that is the same for the same scene."""
        parts = {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "inputs": {name: Path(path).name for name, path in self.inputs.items()},
            "parameters": dict(self.parameters),
        }
        return json.dumps(parts, sort_keys=True)


def write_scenes(
    jobs: Iterable[SceneJob],
    folder: str | os.PathLike[str],
    *,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Make scenes and write them to a folder, each as a Zarr store.

    A scene that is there already and was made by the same recipe is kept; one that was made by
    another is made again. A scene appears complete or not at all, so that after an interruption
    the same call goes on where it stopped.

    Parameters
    ----------
    jobs : iterable of SceneJob
        The scenes.
    folder : path-like
        Where they go; made if it is not there.
    report : callable, optional
        Told of each scene before it is made.

    Returns
    -------
    list of pathlib.Path
        The stores, in the order of the jobs.

    Raises
    ------
    OutputError
        If a scene cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for job in jobs:
        path = folder / f"{job.name}.zarr"
        paths.append(path)
        if _made_of(path) == job.recipe():
            continue
        if report is not None:
            report(job.name)
        scene = simulated_scene(*job.make(), job.settings, seed=job.seed)
        scene.attrs[RECIPE] = job.recipe()
        scene.attrs["provenance"] = provenance(dict(job.inputs), json.loads(job.recipe()))
        write(scene, path, overwrite=path.exists())
    return paths


def _made_of(path: Path) -> str | None:
    """Return the recipe of a scene that is there, if it can be read."""
    if not path.exists():
        return None
    try:
        with scene_of_file(path, chunks={}) as scene:
            return str(scene.attrs.get(RECIPE, ""))
    except (OSError, ValueError, KeyError):
        return ""


def scene_of_file(
    path: str | os.PathLike[str], *, chunks: Mapping[str, int] | None = None
) -> xr.Dataset:
    """Open a scene that `write_scenes` has written.

    Parameters
    ----------
    path : path-like
        The store.
    chunks : mapping, optional
        Read lazily, in chunks of these sizes; all at once by default.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    OSError, ValueError
        If it cannot be read.
    """
    return open_result(path, chunks=None if chunks is None else dict(chunks))
