"""Training scenes for heights: an image, real or simulated, a coarse DEM and the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from sarheight.dem import check_dem, coarsen, local_posting, reproject
from sarheight.dem.layout import describe_grid, same_grid
from sarheight.errors import DemError, GeometryError
from sarheight.illumination import (
    BackscatterLaw,
    ConstantGamma,
    CosinePower,
    Lambertian,
    Muhleman,
    simulate,
)
from sarheight.layover import Method, PosteriorMean, Reallocation, masks, reconstruct
from sarheight.output import provenance, write
from sarheight.output.files import MADE_BY, is_made_by
from sarheight.scene import Scene
from sarheight.terrain.alignment import back_project
from sarheight.terrain.rasters import rasterise_elevations, require_inside
from sarheight.terrain.refinement import place_images

if TYPE_CHECKING:
    import os

    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.terrain.elevations import KnownElevations


def patchy_reflectivity(
    dem: xr.DataArray,
    random: np.random.Generator,
    *,
    patch: float = 600.0,
    contrast: float = 2.5,
    texture: float = 1.0,
) -> NDArray[np.float32]:
    """Simulate the reflectivity of ground in patches, linear and relative to the backscatter law.

    Lognormal, constant in Voronoi cells of a mean width of `patch` metres, with a texture of
    independent cells; `contrast` and `texture` are standard deviations in dB.
    """
    cells, count = _patches(dem, random, patch)
    levels = contrast * random.standard_normal(count)
    decibels = levels[cells] + texture * random.standard_normal(dem.shape)
    return np.asarray(10.0 ** (decibels / 10.0), dtype=np.float32)


def _patches(
    dem: xr.DataArray, random: np.random.Generator, width: float
) -> tuple[NDArray[np.int64], int]:
    """Divide a DEM into Voronoi cells of a mean width in metres: their index, and their number."""
    down, right = local_posting(dem)
    rows, columns = dem.shape
    extent = np.array([rows * down, columns * right])
    centres = random.uniform(size=(max(int(extent.prod() / width**2), 1), 2)) * extent
    row, column = np.meshgrid(np.arange(rows) * down, np.arange(columns) * right, indexing="ij")
    nearest = cKDTree(centres).query(np.stack([row, column], axis=-1))[1]
    return np.asarray(nearest, dtype=np.int64), len(centres)


def degrade_dem(
    dem: xr.DataArray,
    random: np.random.Generator,
    *,
    factor: int = 3,
    error: float = 4.0,
    length: float = 1.5,
) -> xr.DataArray:
    """Simulate a coarse DEM: block means of `factor` x `factor` cells, with a correlated error.

    `error` is the standard deviation of the error in metres, `length` that of the Gaussian by which
    it is smoothed, in coarse cells.
    """
    step = float(abs(dem.y[1] - dem.y[0])), float(abs(dem.x[1] - dem.x[0]))
    coarse = coarsen(dem, (factor * step[0], factor * step[1]), units="crs")
    noise = gaussian_filter(random.standard_normal(coarse.shape), length)
    values = coarse.values + error * noise / noise.std()
    return coarse.copy(data=values.astype(np.float32))


# Scenes.

KEPT = (
    "mask",
    "fold_count",
    "local_incidence",
    "ellipsoid_incidence",
    "contribution_share",
    "gamma0_variance",
)
"""Variables of a reconstruction that a scene keeps beside the backscatter."""
MIN_TANGENT = 0.12
"""Lower limit of the tangent of the incidence in the range plane, that of 7 degrees: a slope that
faces the radar more directly is narrower than a pixel of the image, and not brighter in it."""
KINDS: tuple[BackscatterLaw, ...] = (
    Muhleman(0.040, 0.3),
    CosinePower(0.21, 5.0),
    Lambertian(0.26),
    ConstantGamma(0.14),
)
"""Laws of bare soil, short vegetation, scree and closed forest at C band. gamma0 at 40 degrees is
-12, -11, -7 and -8.5 dB, and falls by 4.4, 3.5, 0.9 and 0 dB from 20 to 40 degrees: the range that
Ulaby and Dobson (1989), Handbook of Radar Scattering Statistics for Terrain, report for C band,
VV."""


@dataclass(frozen=True)
class SceneSettings:
    """Settings of a simulated scene: image and coarse DEM.

    Each patch of the ground is one of four kinds with angular laws of their own.

    Parameters
    ----------
    looks : float
        Equivalent number of looks of the speckle.
    noise : float
        Noise-equivalent sigma0, linear. Its mean is subtracted from the image, as in products.
    patch, contrast, texture : float
        Of the reflectivity, see `patchy_reflectivity`.
    coarser : int
        Cells of the truth along a side of a cell of the coarse DEM.
    height_error : float
        Standard deviation of the coarse DEM's error in metres.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    looks: float = 4.4
    noise: float = 10.0**-2.2
    patch: float = 600.0
    contrast: float = 2.5
    texture: float = 1.0
    coarser: int = 3
    height_error: float = 4.0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in asdict(self).items():
            positive = name in ("looks", "patch", "coarser")
            if not (value > 0 if positive else value >= 0):
                limit = "above 0" if positive else "from 0"
                msg = f"found {name}={value}, expected a number {limit}"
                raise ValueError(msg)


def prepare_scene(
    image: Scene, dem: xr.DataArray, like: xr.DataArray, *, truth: xr.DataArray | None = None
) -> xr.Dataset:
    """Reconstruct an image on a map grid, as the input of networks, with a coarse DEM.

    Parameters
    ----------
    image : Scene
        The image, of one polarisation or several.
    dem : xarray.DataArray
        The coarse DEM, heights above the ellipsoid, dims (y, x).
    like : xarray.DataArray
        A variable on the target grid.
    truth : xarray.DataArray, optional
        True heights on that grid.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), backscatter with a leading ``polarisation`` if the image has one:

        ``gamma0_geocoded``
            the image, geocoded as usual with the coarse DEM: gamma0 on the ellipsoid;
        ``gamma0_reallocated``, ``gamma0_posterior``
            reconstructed by one reallocation and by the posterior mean: gamma0 on the terrain,
            without the effect of slopes on the area;
        ``gamma0_reallocated_unflattened``, ``gamma0_posterior_unflattened``
            the same, converted to gamma0 on the ellipsoid: the image as it would be without
            layover. Outside layover it is the geocoded image, in layover each slope's share of
            it. Its brightness depends on slopes, from which a network infers heights;
        ``mask``, ``fold_count``, ``contribution_share``, ``gamma0_variance``
            of the reconstruction with the coarse DEM;
        ``local_incidence``, ``ellipsoid_incidence``
            incidence angles in degrees, with the coarse DEM;
        ``coarse_height``
            the coarse DEM in metres, voids filled, as a surface that reproduces its cells as means
            (`back_project`);
        ``coarse_void``
            1 where the coarse DEM has a void, otherwise 0;
        ``height``
            the truth, if given.

    Raises
    ------
    GeometryError
        If image and DEM do not overlap.
    DemError
        If a DEM is not usable, or the truth lies on another grid.
    """
    dem = check_dem(dem)
    if truth is not None:
        truth = check_dem(truth)
        if not same_grid(truth, like):
            msg = (
                f"found true heights on {describe_grid(truth)}, expected the grid of the target, "
                f"{describe_grid(like)}"
            )
            raise DemError(msg, "resample them: sarheight.dem.reproject(truth, like=like)")
    coarse = back_project(dem, like)
    voids = dem.copy(data=np.where(np.isfinite(dem), 0.0, 1.0).astype(np.float32))
    void = reproject(voids, like=like, resampling="nearest")
    methods: dict[str, Method] = {
        "gamma0_reallocated": Reallocation(),
        "gamma0_posterior": PosteriorMean(),
    }
    results = {name: reconstruct(image, coarse, method=method) for name, method in methods.items()}
    last = results["gamma0_posterior"]
    scene = last[list(KEPT)]
    cosine = np.cos(np.radians(last["ellipsoid_incidence"]))
    scene["gamma0_geocoded"] = (last["sigma0_geocoded"] / cosine).assign_attrs(
        long_name="gamma0 on the ellipsoid, geocoded as usual", units="1"
    )
    for name, result in results.items():
        scene[name] = result["gamma0"]
        scene[f"{name}_unflattened"] = _unflattened(result)
    scene["coarse_height"] = coarse.assign_attrs(
        long_name="height of the coarse DEM, back-projected", units="m"
    )
    scene["coarse_void"] = (
        (void == 1.0)
        .astype(np.uint8)
        .assign_attrs(
            long_name="the coarse DEM has a void here, filled from its surroundings",
            flag_values=np.array([0, 1], dtype=np.uint8),
            flag_meanings="height filled_void",
        )
    )
    if truth is not None:
        # The bare variable: xarray would align coordinates, and drop what differs in its last bit.
        scene["height"] = truth.assign_attrs(long_name="true height", units="m").variable
    scene.attrs = {
        name: last.attrs[name] for name in ("look_azimuth", "look_side") if name in last.attrs
    }
    scene.attrs["coarse_posting_m"] = list(local_posting(dem))
    return scene


def observe_scene(
    image: Scene,
    truth: xr.DataArray,
    dem: xr.DataArray | None = None,
    known: KnownElevations | None = None,
    *,
    posting: float | None = None,
    coarser: int = 3,
    coregister: Literal["report", "correct", "none"] = "correct",
) -> xr.Dataset:
    """Make a training scene of a real image.

    Parameters
    ----------
    image : Scene
        The image, of one polarisation, linear power.
    truth : xarray.DataArray
        True heights above the ellipsoid, dims (y, x), on any grid.
    dem : xarray.DataArray, optional
        Coarse DEM, heights above the ellipsoid, dims (y, x). By default the truth, averaged over
        `coarser` cells of the scene along each axis.
    known : KnownElevations, optional
        Known elevations, such as those of an altimeter, among which training draws. By default it
        draws among all true heights.
    posting : float, optional
        Posting of the scene in metres, in the UTM zone of the truth. Default: that of the truth.
    coarser : int
        See `dem`.
    coregister : {"correct", "report", "none"}
        Estimate the shift of the image against the coarse DEM: correct the image's timing by it, or
        warn of one.

    Returns
    -------
    xarray.Dataset
        As `prepare_scene`, cut to the rows and columns that the image covers, with ``true_mask``
        and ``true_fold_count``, layover and shadow by the true heights, and, if elevations are
        given, ``known_height``, their means in the cells, NaN elsewhere.

    Raises
    ------
    GeometryError
        If image and DEM do not overlap, or the image covers no cell.
    DemError
        If a DEM is not usable.
    KnownElevationsError
        If no known elevation lies in the scene.
    ValueError
        If posting or `coarser` is out of its range, or the image has several polarisations.

    Warns
    -----
    RuntimeWarning
        If the image could not be compared with the DEM, or lies beside its simulation.
    """
    truth = check_dem(truth)
    step = float(np.sqrt(np.prod(local_posting(truth)))) if posting is None else posting
    if not step > 0.0 or coarser < 1:
        msg = f"found posting={step:g} and coarser={coarser}, expected metres above 0 and from 1 on"
        raise ValueError(msg)
    zone = truth.rio.estimate_utm_crs().to_wkt()
    fine = reproject(truth, zone, step, resampling="cubic")
    dem = coarsen(fine, (coarser * step, coarser * step)) if dem is None else check_dem(dem)
    (placed,), shifts = place_images([image], dem, coregister)
    scene = prepare_scene(placed, dem, fine, truth=fine)
    _add_true_masks(scene, fine, placed)
    if known is not None:
        require_inside(known, fine)
        scene["known_height"] = rasterise_elevations(known, fine)["height"].variable
    seen = np.isfinite(scene["gamma0_geocoded"].values)
    if not seen.any():
        msg = "the image covers no cell of the scene: check orbit, DEM and vertical datum"
        raise GeometryError(msg)
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    scene = scene.isel(y=slice(rows[0], rows[-1] + 1), x=slice(columns[0], columns[-1] + 1))
    return scene.assign_attrs(
        posting_m=list(local_posting(fine)), coregistration=json.dumps(shifts)
    )


def _add_true_masks(scene: xr.Dataset, truth: xr.DataArray, image: Scene) -> None:
    """Add layover and shadow by the true heights."""
    true = masks(truth, image.grid, image.orbit)
    for name in ("mask", "fold_count"):
        scene[f"true_{name}"] = true[name].variable


def _unflattened(result: xr.Dataset) -> xr.DataArray:
    """Convert gamma0 on the terrain to gamma0 on the ellipsoid.

    The illuminated area of a slope grows as 1 / tan(projected incidence), that of the ellipsoid as
    1 / tan(ellipsoid incidence).
    """
    ellipsoid = np.tan(np.radians(result["ellipsoid_incidence"]))
    slope = np.abs(np.tan(np.radians(result["projected_incidence"]))).clip(min=MIN_TANGENT)
    gamma0 = result["gamma0"]
    mapping = {name: gamma0.attrs[name] for name in ("grid_mapping",) if name in gamma0.attrs}
    return (gamma0 * ellipsoid / slope).assign_attrs(
        long_name="gamma0 on the ellipsoid, unfolded", units="1", **mapping
    )


def simulate_image(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    settings: SceneSettings | None = None,
    *,
    seed: int = 0,
) -> tuple[Scene, xr.DataArray]:
    """Simulate an image of a DEM, the mean of its noise subtracted, and a coarse DEM in metres."""
    chosen = SceneSettings() if settings is None else settings
    dem = check_dem(dem)
    random = np.random.default_rng(seed)
    ground = patchy_reflectivity(
        dem, random, patch=chosen.patch, contrast=chosen.contrast, texture=chosen.texture
    )
    coarse = degrade_dem(dem, random, factor=chosen.coarser, error=chosen.height_error)
    cells, count = _patches(dem, random, chosen.patch)
    kind = random.integers(len(KINDS), size=count)[cells]
    # Each kind illuminates the image on its own; powers add, and speckle is that of the sum.
    images = [
        simulate(
            dem,
            grid,
            orbit,
            law=law,
            reflectivity=np.where(kind == index, ground, np.float32(0.0)),
            calibration="sigma0",
        ).image
        for index, law in enumerate(KINDS)
    ]
    clean = images[0].copy(data=np.sum(images, axis=0))
    speckle = random.gamma(chosen.looks, 1.0 / chosen.looks, size=clean.shape)
    image = (clean + chosen.noise) * speckle.astype(np.float32) - chosen.noise
    return Scene(image, grid, orbit, "sigma0"), coarse


def simulate_scene(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    settings: SceneSettings | None = None,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate an image of a DEM, and reconstruct it with a coarse DEM.

    Parameters
    ----------
    dem : xarray.DataArray
        The truth: heights above the ellipsoid in metres, dims (y, x).
    grid, orbit : RadarGrid, Orbit
        Sampling and orbit of the image.
    settings : SceneSettings, optional
        Settings of the simulation.
    seed : int
        Of reflectivity, errors, speckle and noise. The same seed gives the same scene.

    Returns
    -------
    xarray.Dataset
        As `prepare_scene`, on the grid of `dem`, with

        ``true_mask``, ``true_fold_count``
            layover and shadow by the true heights.

        Attributes state that the scene is simulated, and its settings.

    Raises
    ------
    GeometryError
        If image and DEM do not overlap.
    DemError
        If the DEM is not usable.
    """
    chosen = SceneSettings() if settings is None else settings
    dem = check_dem(dem)
    image, coarse = simulate_image(dem, grid, orbit, chosen, seed=seed)
    scene = prepare_scene(image, coarse, dem, truth=dem)
    _add_true_masks(scene, dem, image)
    posting = local_posting(dem)
    return scene.assign_attrs(
        simulated="image and coarse elevation model, from an elevation model and an orbit",
        settings={**asdict(chosen), "seed": seed},
        posting_m=list(posting),
    )


# Scenes on disk.


@dataclass(frozen=True, eq=False)
class SceneConfiguration:
    """All that determines a training scene.

    Attributes
    ----------
    name : str
        Of the file, without its suffix.
    make : callable
        Makes the scene (`observe_scene`, `simulate_scene`); called only if it is not there yet.
    inputs : mapping
        Files that the scene depends on, for the provenance.
    parameters : mapping
        Values on which it depends, in JSON's types.
    """

    name: str
    make: Callable[[], xr.Dataset]
    inputs: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return all but `make` as JSON, equal for equal scenes."""
        names = {name: Path(path).name for name, path in self.inputs.items()}
        return json.dumps({"inputs": names, "parameters": dict(self.parameters)}, sort_keys=True)


def write_scenes(
    configurations: Iterable[SceneConfiguration],
    folder: str | os.PathLike[str],
    *,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Make training scenes and write each to a Zarr store in a folder.

    An existing scene with the same configuration is kept, one with another is replaced. Each
    scene is written completely or not at all, so that an interrupted call can be repeated.

    Parameters
    ----------
    configurations : iterable of SceneConfiguration
        The scenes.
    folder : path-like
        Target folder; created if missing.
    report : callable, optional
        Called with the name of each scene before it is made.

    Returns
    -------
    list of pathlib.Path
        The stores, in the order of the configurations.

    Raises
    ------
    OutputError
        If a scene cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for each in configurations:
        path, text = folder / f"{each.name}.zarr", each.as_json()
        paths.append(path)
        if is_made_by(path, text):
            continue
        if report is not None:
            report(each.name)
        scene = each.make()
        scene.attrs[MADE_BY] = text
        scene.attrs["provenance"] = provenance(dict(each.inputs), json.loads(text))
        write(scene, path, overwrite=path.exists())
    return paths
