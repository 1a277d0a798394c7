"""Training scenes on map grids: simulated or observed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from sarheight.dem import check_dem, coarsen, local_posting, reproject
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import Method, PosteriorMean, Reallocation, masks, reconstruct
from sarheight.output import open_result, provenance, write
from sarheight.scene import Scene

if TYPE_CHECKING:
    import os

    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit


def patchy_reflectivity(
    dem: xr.DataArray,
    random: np.random.Generator,
    *,
    patch: float = 600.0,
    contrast: float = 2.5,
    texture: float = 1.0,
) -> NDArray[np.float32]:
    """Make patchy ground: brightness relative to the law, lognormal in patches and in texture.

    Parameters
    ----------
    dem : xarray.DataArray
        Dims (y, x); only its grid counts.
    random : numpy.random.Generator
        Source of the random numbers.
    patch : float
        Mean width of a patch of equal ground in metres; patches are Voronoi cells.
    contrast, texture : float
        Standard deviation in dB of the patches' levels, and of the cells within a patch.

    Returns
    -------
    array, shape (rows, columns)
        Linear factors.
    """
    down, right = local_posting(dem)
    rows, columns = dem.shape
    extent = np.array([rows * down, columns * right])
    centres = random.uniform(size=(max(int(extent.prod() / patch**2), 1), 2)) * extent
    levels = contrast * random.standard_normal(len(centres))
    row, column = np.meshgrid(np.arange(rows) * down, np.arange(columns) * right, indexing="ij")
    nearest = cKDTree(centres).query(np.stack([row, column], axis=-1))[1]
    decibels = levels[nearest] + texture * random.standard_normal(dem.shape)
    return np.asarray(10.0 ** (decibels / 10.0), dtype=np.float32)


def degrade_dem(
    dem: xr.DataArray,
    random: np.random.Generator,
    *,
    factor: int = 3,
    error: float = 4.0,
    length: float = 1.5,
) -> xr.DataArray:
    """Make the elevation model that a user has: coarser, and wrong by a correlated error.

    Parameters
    ----------
    dem : xarray.DataArray
        The true heights, dims (y, x).
    random : numpy.random.Generator
        Source of the random numbers.
    factor : int
        Cells of the truth that make one of the coarser model, each way.
    error : float
        Standard deviation of the error in metres.
    length : float
        Smoothing of the error, in postings of the coarser model.

    Returns
    -------
    xarray.DataArray
        Heights in metres, dims (y, x).
    """
    step = float(abs(dem.y[1] - dem.y[0])), float(abs(dem.x[1] - dem.x[0]))
    coarse = coarsen(dem, (factor * step[0], factor * step[1]), units="crs")
    wrong = gaussian_filter(random.standard_normal(coarse.shape), length)
    values = coarse.values + error * wrong / wrong.std()
    return coarse.copy(data=values.astype(np.float32))


# One scene on a map grid: what the radar shows, what is known beforehand, and the truth.

KEPT = (
    "mask",
    "fold_count",
    "local_incidence",
    "ellipsoid_incidence",
    "contribution_share",
    "gamma0_variance",
)
"""What a reconstruction tells beside the backscatter."""
LEAST_TANGENT = 0.12
"""Of the incidence in the range plane, 7 degrees: a slope that faces the radar closer than that is
narrower than a pixel, and no brighter than one that just fills it."""
LARGEST_SEED = 2**63


@dataclass(frozen=True)
class SceneSettings:
    """What is simulated, and what is known beforehand.

    Parameters
    ----------
    level, roughness : float
        Of the true backscatter law, `sarheight.illumination.Muhleman`.
    looks : float
        Equivalent number of looks of the speckle.
    noise : float
        Noise-equivalent sigma0, linear. Its mean is taken off the image, as in a product.
    patch, contrast, texture : float
        Of the ground, see `patchy_reflectivity`.
    coarser : int
        Cells of the truth that make one of the elevation model that is known, each way.
    height_error : float
        Standard deviation of that model's heights in metres.

    Raises
    ------
    ValueError
        If a number makes no sense.
    """

    level: float = 0.087
    roughness: float = 0.3
    looks: float = 4.4
    noise: float = 10.0**-2.2
    patch: float = 600.0
    contrast: float = 2.5
    texture: float = 1.0
    coarser: int = 3
    height_error: float = 4.0

    def __post_init__(self) -> None:
        """Check the values."""
        above = {name: getattr(self, name) for name in ("level", "looks", "patch", "coarser")}
        least = {
            name: getattr(self, name)
            for name in ("roughness", "noise", "contrast", "texture", "height_error")
        }
        if not all(each > 0 for each in above.values()) or not all(
            each >= 0 for each in least.values()
        ):
            msg = f"found {above} and {least}, expected numbers above 0, and numbers from 0 on"
            raise ValueError(msg)


def prepare_scene(
    image: Scene, dem: xr.DataArray, like: xr.DataArray, *, truth: xr.DataArray | None = None
) -> xr.Dataset:
    """Put an image and a coarse elevation model on a map grid, in the form that networks take.

    Parameters
    ----------
    image : Scene
        The image, of one polarisation or several.
    dem : xarray.DataArray
        The coarse elevation model, heights above the ellipsoid, dims (y, x).
    like : xarray.DataArray
        A variable on the wanted grid.
    truth : xarray.DataArray, optional
        True heights on that grid.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), backscatter with a leading ``polarisation`` where the image has one:

        ``gamma0_geocoded``
            the image as it is geocoded today, with the coarse model interpolated to the grid: on
            the ellipsoid, per area at a right angle to the line of sight;
        ``gamma0_reallocated``, ``gamma0_posterior``
            reconstructed by one step, and by the posterior mean; per projected area, so that the
            brightness of slopes which face the radar is gone;
        ``gamma0_reallocated_unflattened``, ``gamma0_posterior_unflattened``
            the same with that brightness put back: what an image without folds would show, per
            area on the ellipsoid. Outside folds it is the geocoded image, in a fold each slope's
            own part of it. A network that reads slopes from brightness wants these;
        ``mask``, ``fold_count``, ``contribution_share``, ``gamma0_variance``
            of the reconstruction, from the coarse model;
        ``local_incidence``, ``ellipsoid_incidence``
            incidence angles in degrees, from the coarse model;
        ``coarse_height``
            the coarse model, interpolated to the grid, in metres;
        ``height``
            the truth, where it was given.

    Raises
    ------
    GeometryError
        If image and elevation model do not meet.
    DemError
        If an elevation model is not usable.
    """
    known = reproject(check_dem(dem), like=like, resampling="cubic")
    # A cubic has no value at the rim of the coarse model; the nearest ones are good enough there.
    known = known.fillna(reproject(check_dem(dem), like=like, resampling="nearest"))
    methods: dict[str, Method] = {
        "gamma0_reallocated": Reallocation(),
        "gamma0_posterior": PosteriorMean(),
    }
    results = {name: reconstruct(image, known, method=method) for name, method in methods.items()}
    last = results["gamma0_posterior"]
    scene = last[list(KEPT)]
    cosine = np.cos(np.radians(last["ellipsoid_incidence"]))
    scene["gamma0_geocoded"] = (last["sigma0_geocoded"] / cosine).assign_attrs(
        long_name="gamma0 on the ellipsoid, geocoded as usual", units="1"
    )
    for name, result in results.items():
        scene[name] = result["gamma0"]
        scene[f"{name}_unflattened"] = _unflattened(result)
    scene["coarse_height"] = known.assign_attrs(
        long_name="height of the coarse elevation model", units="m"
    )
    if truth is not None:
        scene["height"] = check_dem(truth).assign_attrs(long_name="true height", units="m")
    scene.attrs = {
        name: last.attrs[name] for name in ("look_azimuth", "look_side") if name in last.attrs
    }
    return scene


def _unflattened(result: xr.Dataset) -> xr.DataArray:
    """Return the brightness of slopes as an image without folds would show it."""
    tangents = {
        name: np.tan(np.radians(result[name]))
        for name in ("ellipsoid_incidence", "projected_incidence")
    }
    own = np.abs(tangents["projected_incidence"]).clip(min=LEAST_TANGENT)
    gamma0 = result["gamma0"]
    return (gamma0 * tangents["ellipsoid_incidence"] / own).assign_attrs(
        long_name="gamma0 on the ellipsoid, unfolded", units="1", **_placed(gamma0)
    )


def _placed(variable: xr.DataArray) -> dict[str, str]:
    return {name: variable.attrs[name] for name in ("grid_mapping",) if name in variable.attrs}


def simulate_image(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    settings: SceneSettings | None = None,
    *,
    seed: int = 0,
) -> tuple[Scene, xr.DataArray]:
    """Simulate an image of an elevation model, and the coarser model that is known beforehand.

    Parameters
    ----------
    dem, grid, orbit, settings, seed
        See `simulate_scene`, which takes this image apart.

    Returns
    -------
    image : Scene
        In radar geometry, the mean of the noise taken off.
    coarse : xarray.DataArray
        The coarser elevation model, heights in metres.

    Raises
    ------
    GeometryError
        If image and elevation model do not meet.
    DemError
        If the elevation model is not usable.
    """
    chosen = SceneSettings() if settings is None else settings
    dem = check_dem(dem)
    random = np.random.default_rng(seed)
    ground = patchy_reflectivity(
        dem, random, patch=chosen.patch, contrast=chosen.contrast, texture=chosen.texture
    )
    coarse = degrade_dem(dem, random, factor=chosen.coarser, error=chosen.height_error)
    noisy = simulate(
        dem,
        grid,
        orbit,
        law=Muhleman(chosen.level, chosen.roughness),
        reflectivity=ground,
        calibration="sigma0",
        looks=chosen.looks,
        noise=chosen.noise,
        seed=int(random.integers(LARGEST_SEED)),
    )
    return Scene(noisy.image - chosen.noise, grid, orbit, noisy.calibration), coarse


def simulate_scene(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    settings: SceneSettings | None = None,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate an image of an elevation model, and take it apart with a coarser one.

    Parameters
    ----------
    dem : xarray.DataArray
        The truth: heights above the ellipsoid in metres, dims (y, x).
    grid, orbit : RadarGrid, Orbit
        Sampling and orbit of the image.
    settings : SceneSettings, optional
        What is simulated.
    seed : int
        Of ground, errors, speckle and noise. The same seed makes the same scene.

    Returns
    -------
    xarray.Dataset
        As `prepare_scene`, on the grid of `dem`, and

        ``true_mask``, ``true_fold_count``
            layover and shadow by the true heights.

        Attributes say that the scene is simulated, with which settings.

    Raises
    ------
    GeometryError
        If image and elevation model do not meet.
    DemError
        If the elevation model is not usable.
    """
    chosen = SceneSettings() if settings is None else settings
    dem = check_dem(dem)
    image, coarse = simulate_image(dem, grid, orbit, chosen, seed=seed)
    scene = prepare_scene(image, coarse, dem, truth=dem)
    true = masks(dem, grid, orbit)
    scene["true_mask"], scene["true_fold_count"] = true["mask"], true["fold_count"]
    posting = local_posting(dem)
    return scene.assign_attrs(
        simulated="image and coarse elevation model, from an elevation model and an orbit",
        settings={**asdict(chosen), "seed": seed},
        posting_m=list(posting),
    )


# Making many training scenes, and going on after an interruption.

RECIPE = "recipe"


@dataclass(frozen=True, eq=False)
class SceneConfiguration:
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
    jobs: Iterable[SceneConfiguration],
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
    jobs : iterable of SceneConfiguration
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
        scene = simulate_scene(*job.make(), job.settings, seed=job.seed)
        scene.attrs[RECIPE] = job.recipe()
        scene.attrs["provenance"] = provenance(dict(job.inputs), json.loads(job.recipe()))
        write(scene, path, overwrite=path.exists())
    return paths


def _made_of(path: Path) -> str | None:
    """Return the recipe of a scene that is there, if it can be read."""
    if not path.exists():
        return None
    try:
        with open_scene(path, chunks={}) as scene:
            return str(scene.attrs.get(RECIPE, ""))
    except (OSError, ValueError, KeyError):
        return ""


def open_scene(
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
