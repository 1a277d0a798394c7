"""Refinement of a coarse DEM: the heights that one or more radar images and the DEM agree on."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from sarheight.coregistration import apply_shift, estimate_shift
from sarheight.dem import check_dem, local_posting
from sarheight.errors import DemError, GeometryError
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import dem_dataset
from sarheight.geometry.placement import crop_scene_to_dem
from sarheight.learning.tiles import Corner, Mosaic, Tiling, match_chunks
from sarheight.scene import Scene, acquisition_json
from sarheight.terrain.baselines import back_project, filled
from sarheight.terrain.inversion import (
    FREEDOM,
    BlockMeans,
    GaussianField,
    HeightPrior,
    LinearProblem,
    PassModel,
    PassState,
    Unknowns,
    conjugate_gradients,
    cosine_frequencies,
    law_of,
    linearise,
    on_posts,
    patch_spectrum,
    relief_spectrum,
    smoothed_noise_spectrum,
)

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float32]

NEPER = 10.0 / np.log(10.0)
"""Decibels in a neper of power."""
FREE_LAW = (3.0, 1.0, 0.3)
"""Standard deviations of level, angular slope and curvature of a tile's mean law: in nepers, nepers
for ten degrees, and nepers for their square."""
TEXTURE_LENGTH = 0.7
"""Smoothing of texture in cells."""
LONGEST_RELIEF, RELIEF_EXPONENT = 4.0, 3.2
"""Coarse cells beyond which relief within cells has no more power, and exponent of its spectrum."""
RELIEF_GROWTH = 1.25
"""Relief within cells grows with their size to this power: between 1.0 and 1.5 at the places for
development."""
LEAST_RELIEF = 0.05
"""Nowhere is the variance of relief within cells below this part of its mean."""
CORRELATED = 2.5
"""Pixels whose misfit is one: errors of the model reach over two pixels each way."""
SCALED_AFTER = (0, 2)
"""Linearisations after which the size of the coarse DEM's error is estimated."""
WORTH, LARGEST_SCALE = 0.05, 2.0
"""The size of the error that the settings state counts as much as this part of all coefficients,
and changes at most by this factor at a time."""
FITTED_LAWS = 4
"""Rounds in which the mean law is fitted; the first finds its level."""
SMALLEST_SIDE = 12
"""Coarse cells along the least side of what is solved at once."""
SINGLE = 400
"""Cells along a side up to which a raster is one tile."""
MOST_SHIFTS = 4.0, 0.5
"""Standard errors, and pixels, above both of which a shift of an image calls for a warning."""


@dataclass(frozen=True)
class RefinementSettings:
    """Prior knowledge of a refinement, and effort.

    Spreads are standard deviations. Those of the ground are of published C-band curves and of the
    places for development.

    Parameters
    ----------
    error : float
        Error of the coarse DEM's cells, in metres.
    error_length : float, optional
        Its correlation length in metres: the error is white noise smoothed by a Gaussian of this
        standard deviation. 1.5 coarse cells by default.
    level, patch : float
        Spread of the ground's level in dB, and the distance in metres at which it is correlated by
        1/e.
    texture : float
        Spread of the texture from cell to cell, in dB.
    slope, curvature : float
        Spread of the angular slope, in dB for ten degrees of incidence, and of the curvature, in
        dB for ten degrees squared, about the mean law of the tile.
    misfit : float
        Least disagreement of image and model, in nepers. What there is of it is estimated for each
        pass.
    iterations : int
        Linearisations.
    steps : int
        Most steps of conjugate gradients for each.
    samples : int
        Draws from the posterior distribution, for the standard deviation; 0 for none.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    error: float = 4.5
    error_length: float | None = None
    level: float = 2.2
    patch: float = 240.0
    texture: float = 0.9
    slope: float = 0.3
    curvature: float = 0.1
    misfit: float = 0.1
    iterations: int = 6
    steps: int = 12
    samples: int = 4

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in asdict(self).items():
            whole = name in ("iterations", "steps", "samples")
            least = 0 if name == "samples" else 1
            if value is None and name == "error_length":
                continue
            if whole and not (isinstance(value, int) and value >= least):
                msg = f"found {name}={value!r}, expected a whole number from {least}"
                raise ValueError(msg)
            if not whole and not (math.isfinite(value) and value > 0.0):
                unit = "metres above 0" if name in ("error", "error_length", "patch") else "above 0"
                msg = f"found {name}={value!r}, expected a number of {unit}"
                raise ValueError(msg)


def refine(
    scenes: Scene | Sequence[Scene],
    dem: xr.DataArray,
    *,
    factor: int = 3,
    settings: RefinementSettings | None = None,
    coregister: Literal["report", "correct", "none"] = "report",
    tiling: Tiling | None = None,
    block: int = 1024,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    r"""Refine the heights of a coarse DEM by the radar images that they have to explain.

    The result is the mode of the posterior distribution of heights h and reflectivity,

    .. math:: \min_{h, \gamma} \;
              \sum_{p,q} \rho\!\left(\frac{\ln I_{pq} - \ln S_{pq}(h, \gamma_p)}{v_p}\right)
              + \|h - h_0\|^2_{C} + \|\gamma\|^2_{G}

    with pixels q of passes p, their simulation S (folds included, shadow excluded), and Student's
    t distribution as :math:`\rho`. The variance :math:`v_p` of what remains unexplained, speckle
    included, is estimated for each pass. :math:`h_0` is `back_project`; C is the covariance of the
    coarse DEM's error and, within its cells, that of relief, which grows with the scale as it does
    from the coarse cells to blocks of them. The reflectivity is the same function of the local
    incidence angle for all passes, with a level, a slope and a curvature that vary from place to
    place: a law that differs from the mean one is not taken for a slope of the ground, and where
    the images do not tell one from the other, the heights stay those of :math:`h_0`.

    Solved by Gauss-Newton iterations on the simulation itself. Each solves the linearised problem
    by conjugate gradients in the coefficients of cosine transforms; draws from its posterior
    distribution give the standard deviation.

    Parameters
    ----------
    scenes : Scene or sequence of Scene
        Images of one or more passes, of one polarisation each, linear power. The mean of several
        dates of a pass is one image; its grid states the equivalent number of looks.
    dem : xarray.DataArray
        Coarse DEM, heights above the ellipsoid in metres, dims (y, x). Voids are filled first.
    factor : int
        Number of cells into which each coarse cell is divided, along each axis.
    settings : RefinementSettings, optional
        Prior knowledge, above all the error of the DEM.
    coregister : {"report", "correct", "none"}
        Estimate the shift of each image against the DEM: warn of one, or correct it.
    tiling : Tiling, optional
        Size and overlap in cells of the result, multiples of `factor`, of the tiles that are
        solved one by one and blended. Up to 400 cells a side are one tile by default.
    block : int
        Cells along a side of the blocks that are computed one after the other.
    seed : int
        Of the draws, which also measure the curvature of the problem.
    report : callable, optional
        Called after each block with the completed fraction; not for a lazy result.

    Returns
    -------
    xarray.Dataset
        Dims (y, x), lazy if `dem` is a dask array:

        ``height``, ``height_sigma``
            height above the ellipsoid and its standard deviation, in metres;
        ``baseline``
            heights by back-projection;
        ``passes``
            number of images that cover the cell;
        ``filled``
            1 where the coarse DEM is void, and was interpolated;
        ``residual``, dims (pass, y, x)
            logarithm of the observed over the simulated image, in dB;
        ``gamma0``, dims (pass, y, x)
            estimated gamma0 of the cell, linear power.

        Attributes hold the settings, the acquisitions and the estimated shifts as JSON.

    Raises
    ------
    GeometryError
        If an image and the DEM do not overlap.
    DemError
        If the DEM is not usable, or too small.
    ValueError
        If settings or tiles are out of range, or an image has several polarisations.

    Warns
    -----
    RuntimeWarning
        If two passes have no ground in common, or an image lies beside its simulation.

    References
    ----------
    Tarantola, A. (2005). Inverse Problem Theory. SIAM, section 3.2: Gauss-Newton, linearised
    posterior. Lange, K. L., Little, R. J. A., Taylor, J. M. G. (1989). Robust statistical modeling
    using the t distribution. JASA 84, 881-896. Papandreou, G., Yuille, A. (2010). Gaussian
    sampling by local perturbations. NeurIPS 23: draws by solving.
    """
    chosen = RefinementSettings() if settings is None else settings
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if not scenes:
        msg = "found no image, expected one for each pass: pass a Scene, or several"
        raise ValueError(msg)
    checked = check_dem(dem)
    tiling = _tiling_of(checked, factor, tiling)
    scenes, shifts = _place(scenes, checked, coregister)
    _require_common_ground(scenes, checked)
    surface = back_project(checked, factor=factor)
    whole = filled(checked)
    surface.attrs |= {"units": "m", "vertical_datum": "ellipsoid"}
    worker = _TileWorker(scenes, whole, surface, factor, chosen, tiling.size, seed)
    if dem.chunks is not None:
        lazy = surface.chunk({"y": block, "x": block})
    mosaic = Mosaic(
        (surface if dem.chunks is None else lazy,), worker.estimate, worker.layers, tiling
    )
    values = mosaic.compute(block, report)
    result = _dataset(values, surface, len(scenes))
    void = ~np.isfinite(checked.values)
    result["filled"] = (
        ("y", "x"),
        np.kron(void, np.ones((factor, factor), dtype=np.uint8)).astype(np.uint8),
        {"long_name": "the coarse DEM is void here", "grid_mapping": "spatial_ref"},
    )
    result.attrs = {
        "settings": json.dumps({**asdict(chosen), "factor": factor, "seed": seed}),
        "acquisition": acquisition_json(scenes),
        "coregistration": json.dumps(shifts),
    }
    return match_chunks(values, result)


# Input.


def _tiling_of(dem: xr.DataArray, factor: int, tiling: Tiling | None) -> Tiling:
    """Check the size of DEM and tiles, and choose tiles if none are given."""
    if factor != int(factor) or factor < 1:
        msg = f"found factor={factor!r}, expected a whole number from 1"
        raise ValueError(msg)
    if min(dem.shape) < SMALLEST_SIDE:
        msg = (
            f"found a DEM of {dem.shape[0]} x {dem.shape[1]} cells, expected at least "
            f"{SMALLEST_SIDE} each way: the ground's laws cannot be told from fewer"
        )
        raise DemError(msg)
    if tiling is None:
        longest = factor * max(dem.shape)
        # 384 cells of 30 m hold a few dozens of patches and all but the largest folds.
        size, overlap = (longest, 0) if longest <= SINGLE else (384, 48)
        tiling = Tiling(-(-size // factor) * factor, -(-overlap // factor) * factor)
    if tiling.size % factor or tiling.overlap % factor or tiling.size < SMALLEST_SIDE * factor:
        msg = (
            f"found tiles of {tiling.size} cells that overlap by {tiling.overlap}, expected "
            f"multiples of factor={factor}, and at least {SMALLEST_SIDE * factor} cells"
        )
        raise ValueError(msg)
    return tiling


def _place(
    scenes: list[Scene], dem: xr.DataArray, coregister: str
) -> tuple[list[Scene], list[dict[str, Any]]]:
    """Crop the images to the DEM, and compare their positions with it."""
    if coregister not in ("report", "correct", "none"):
        msg = f"found coregister={coregister!r}, expected 'report', 'correct' or 'none'"
        raise ValueError(msg)
    placed, shifts = [], []
    for number, scene in enumerate(scenes, start=1):
        if "polarisation" in scene.image.dims:
            msg = (
                f"found {scene.image.sizes['polarisation']} polarisations in image {number}, "
                "expected one: select it"
            )
            raise ValueError(msg)
        near = crop_scene_to_dem(scene, dem, margin=64)
        if coregister != "none":
            shift = estimate_shift(near, dem)
            shifts.append(shift.attributes())
            errors, least = MOST_SHIFTS
            pairs = ((shift.line, shift.line_error), (shift.sample, shift.sample_error))
            large = shift.found and any(abs(a) > max(errors * b, least) for a, b in pairs)
            if not shift.found:
                _warn(
                    f"image {number} could not be compared with the DEM ({shift.reason}): heights "
                    "rest on its annotated timing"
                )
            elif large and coregister == "correct":
                near = apply_shift(near, shift)
            elif large:
                _warn(
                    f"image {number} lies beside its simulation ({shift}): align the DEM, or pass "
                    "coregister='correct'"
                )
        placed.append(near)
    return placed, shifts


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _require_common_ground(scenes: list[Scene], dem: xr.DataArray) -> None:
    """Warn of passes that no other pass shares ground with."""
    step = [max(size // 64, 1) for size in dem.shape]
    few = dem[:: step[0], :: step[1]]
    seen = []
    for number, scene in enumerate(scenes, start=1):
        pixels = geo2rdr(few, scene.grid, scene.orbit)
        line, sample = pixels["line"].values, pixels["sample"].values
        inside = (line >= 0) & (line <= scene.grid.lines - 1)
        inside &= (sample >= 0) & (sample <= scene.grid.samples - 1)
        if not inside.any():
            msg = f"found no cell of the DEM in image {number}: pass a DEM of its own area"
            raise GeometryError(msg)
        seen.append(inside)
    for number, inside in enumerate(seen, start=1):
        others = [each for other, each in enumerate(seen, start=1) if other != number]
        if others and not any((inside & each).any() for each in others):
            _warn(
                f"image {number} has no ground in common with the others: it refines its own part "
                "as a single image; pass images of one area"
            )


# Tiles.


@dataclass(frozen=True, eq=False)
class _TileWorker:
    """Solves the tiles of a raster."""

    scenes: list[Scene]
    coarse: xr.DataArray
    surface: xr.DataArray
    factor: int
    settings: RefinementSettings
    size: int
    seed: int

    @property
    def layers(self) -> int:
        """Height, sigma, number of passes; residual and gamma0 of each pass."""
        return 3 + 2 * len(self.scenes)

    def estimate(self, tiles: list[Floats], corners: list[Corner]) -> Floats:
        """Solve tiles side by side; shape (tiles, layers, size, size)."""
        del tiles  # the surface is read around each tile
        with ThreadPoolExecutor(min(len(corners), os.cpu_count() or 1)) as pool:
            return np.stack(list(pool.map(self._tile, corners)))

    def _tile(self, corner: Corner) -> Floats:
        """Solve the part of a tile that the raster has."""
        result = np.full((self.layers, self.size, self.size), np.nan, dtype=np.float32)
        kept, solved = zip(
            *(
                _spans(*each, self.size, SMALLEST_SIDE * self.factor)
                for each in zip(corner, self.surface.shape, strict=True)
            ),
            strict=True,
        )
        part = self.surface[solved[0], solved[1]]
        found = self._solve(part, solved)
        inside = [
            slice(k.start - s.start, k.stop - s.start) for k, s in zip(kept, solved, strict=True)
        ]
        target = [slice(k.start - c, k.stop - c) for k, c in zip(kept, corner, strict=True)]
        result[:, target[0], target[1]] = found[:, inside[0], inside[1]]
        return result

    def _solve(self, part: xr.DataArray, spans: tuple[slice, ...]) -> Floats:
        """Solve a part of the raster, shape (layers, rows, columns)."""
        models: dict[int, PassModel] = {}
        for number, scene in enumerate(self.scenes):
            try:
                near = crop_scene_to_dem(scene, part)
                near = replace(near, image=near.image.compute())
                model = PassModel.of(near, part)
            except GeometryError:
                continue
            if np.isfinite(model.observed).any():
                models[number] = model
        few = [slice(each.start // self.factor, each.stop // self.factor) for each in spans]
        unknowns = unknowns_of(
            self.coarse.values[few[0], few[1]], local_posting(part), self.factor, self.settings
        )
        heights = np.ascontiguousarray(part.values, dtype=np.float32)
        seed = [self.seed, *(each.start for each in spans)]
        found = solve(list(models.values()), heights, unknowns, self.settings, seed=seed)
        layers = np.full((self.layers, *part.shape), np.nan, dtype=np.float32)
        layers[0], layers[1], layers[2] = found.heights, found.sigma, 0.0
        for state, number in zip(found.states, models, strict=True):
            residual = state.on_facets(state.residual)
            seen = np.isfinite(residual)
            residual = np.where(seen, np.float32(NEPER) * residual, np.nan)
            layers[2] += on_posts(seen.astype(np.float32)) >= 0.5
            layers[3 + 2 * number] = on_posts(residual)
            layers[4 + 2 * number] = on_posts(np.where(seen, np.exp(state.logarithm), np.nan))
        return layers


def _spans(first: int, length: int, size: int, least: int) -> tuple[slice, slice]:
    """Cells of an axis that a tile has, and those that are solved: at least some number of them."""
    start, stop = max(first, 0), min(first + size, length)
    return slice(start, stop), slice(
        max(min(start, stop - least), 0), max(stop, min(least, length))
    )


def _dataset(layers: Any, surface: xr.DataArray, passes: int) -> xr.Dataset:  # noqa: ANN401
    """Return the layers of the mosaic as variables on the fine grid."""
    metres = {"units": "m", "vertical_datum": "ellipsoid"}
    height = "above the WGS84 ellipsoid"
    result = dem_dataset(
        surface,
        {
            "height": (layers[0], {"long_name": f"refined height {height}", **metres}),
            "height_sigma": (layers[1], {"long_name": "its standard deviation", "units": "m"}),
            "baseline": (surface.data, {"long_name": f"back-projected height {height}", **metres}),
            "passes": (
                layers[2].round().astype(np.uint8),
                {"long_name": "number of images that cover the cell"},
            ),
        },
    )
    names = {
        "residual": ("logarithm of the observed over the simulated image", "dB"),
        "gamma0": ("estimated gamma0 of the cell", "1"),
    }
    for offset, (name, (text, units)) in enumerate(names.items()):
        result[name] = (
            ("pass", "y", "x"),
            layers[3 + offset : 3 + 2 * passes : 2],
            {"long_name": text, "units": units, "grid_mapping": "spatial_ref"},
        )
    return result.assign_coords({"pass": np.arange(1, passes + 1)})


# The problem of a tile.


def unknowns_of(
    coarse: NDArray[np.floating],
    posting: tuple[float, float],
    factor: int,
    settings: RefinementSettings,
) -> Unknowns:
    """Describe what is not known of a tile, by its coarse heights and the posting of its cells."""
    few = coarse.shape[0], coarse.shape[1]
    shape = factor * few[0], factor * few[1]
    step = float(np.sqrt(posting[0] * posting[1]))
    length = settings.error_length
    error = GaussianField(
        # A tenth of the error is independent from cell to cell, as by rounding.
        [settings.error, 0.1 * settings.error],
        [
            smoothed_noise_spectrum(
                cosine_frequencies(few), 1.5 if length is None else length / (step * factor)
            ),
            np.ones(few),
        ],
    )
    relief = GaussianField(
        [1.0],
        [relief_spectrum(cosine_frequencies(shape), LONGEST_RELIEF * factor, RELIEF_EXPONENT)],
        scale=_relief_of(coarse, factor, settings.error),
    )
    frequency = cosine_frequencies((shape[0] - 1, shape[1] - 1))
    patches = patch_spectrum(frequency, settings.patch / step)
    texture = smoothed_noise_spectrum(frequency, TEXTURE_LENGTH)
    spreads = np.array([settings.level, settings.slope, settings.curvature]) / NEPER
    laws = [
        GaussianField([spreads[0], settings.texture / NEPER], [patches, texture], FREE_LAW[0]),
        GaussianField([spreads[1]], [patches], FREE_LAW[1]),
        GaussianField([spreads[2]], [patches], FREE_LAW[2]),
    ]
    return Unknowns(HeightPrior(BlockMeans.of(shape, factor), error, relief), laws)


def _relief_of(coarse: NDArray[np.floating], factor: int, error: float) -> Floats:
    """Estimate the standard deviation of relief within coarse cells, of the shape of fine ones.

    Blocks of three coarse cells hold relief as a coarse cell holds it, only more.
    """
    rows, columns = (size // 3 * 3 for size in coarse.shape)
    part = np.asarray(coarse[:rows, :columns], dtype=np.float32)
    within = BlockMeans.of((rows, columns), 3).within(part)
    square = gaussian_filter(within.astype(np.float64) ** 2, 4.0)
    # The DEM's own error is no relief; of an error that is smooth a third lies within blocks.
    square = np.maximum(square - (0.3 * error) ** 2, LEAST_RELIEF * float(square.mean()) + 1e-4)
    # From three cells to one, and from one to a part of it where it is divided further or less.
    spread = np.sqrt(square) * 3.0**-RELIEF_GROWTH * math.sqrt(1.0 - 1.0 / factor**2)
    missing = [(0, full - size) for full, size in zip(coarse.shape, spread.shape, strict=True)]
    spread = np.pad(spread, missing, mode="edge")
    return zoom(spread, factor, order=1, mode="nearest", grid_mode=True).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of a tile."""

    heights: Floats  # (rows, columns): metres
    sigma: Floats  # their standard deviation
    states: list[PassState]  # the images of the solution
    variances: list[float]  # of what they do not explain


SIGMA_INFLATION, PRIOR_INFLATION = 3.3, 1.4
"""Factors of the linearised standard deviation, and of the prior one that bounds it. What the model
leaves out (edges of patches, bright points, curvature) errs as well, and draws that are solved in
few steps are too small. Chosen at the places for development, for intervals of 80 %."""


def solve(
    models: Sequence[PassModel],
    baseline: Floats,
    unknowns: Unknowns,
    settings: RefinementSettings,
    *,
    seed: int | Sequence[int] = 0,
    known: Sequence[Floats] | None = None,
    watch: Callable[[Floats], None] | None = None,
) -> Solution:
    """Solve a tile.

    Parameters
    ----------
    models : sequence of PassModel
        The images over the tile; there may be none.
    baseline : array of float32, shape (rows, columns)
        Heights in metres that the solution departs from.
    unknowns : Unknowns
        What is not known, with its spreads.
    settings : RefinementSettings
        Effort, and the least misfit.
    seed : int or sequence of int
        Of the draws.
    known : sequence of array of float32, shape (rows - 1, columns - 1), optional
        True ln(gamma0) of the facets in each pass: only heights are estimated.
    watch : callable, optional
        Called with the heights after each linearisation.
    """
    random = np.random.default_rng(seed)
    if not models:
        return Solution(baseline.copy(), _prior_spread(unknowns, random), [], [])
    if known is None:
        vector = _mean_law(models, baseline, unknowns)
    else:
        unknowns = replace(unknowns, laws=[_nothing(known[0].shape)])
        vector = np.zeros(unknowns.size, dtype=np.float32)
    simulate = _Simulation(models, baseline, unknowns, known)
    states = simulate(vector)
    variances = [_residual_variance(each, settings.misfit) for each in states]
    for iteration in range(settings.iterations):
        problem = LinearProblem(unknowns, states, _weights(states, variances))
        inverse = problem.preconditioner(random).apply
        images = [
            weight * (state.residual + change)
            for weight, state, change in zip(
                problem.weights, states, problem.change(vector), strict=True
            )
        ]
        found = conjugate_gradients(
            problem.normal, problem.adjoint(images), vector, inverse, settings.steps
        )
        vector, states = _step(simulate, variances, (vector, states), found)
        variances = [_residual_variance(each, settings.misfit) for each in states]
        if iteration in SCALED_AFTER:
            draw = _draw(problem, inverse, settings.steps, random)
            vector = _scale_error(unknowns, vector, draw)
        if watch is not None:
            watch(baseline + unknowns.apply(vector)[0])
    sigma = prior = np.float32(PRIOR_INFLATION) * _prior_spread(unknowns, random)
    if settings.samples:
        problem = LinearProblem(unknowns, states, _weights(states, variances))
        inverse = problem.preconditioner(random).apply
        draws = [_draw(problem, inverse, settings.steps, random) for _ in range(settings.samples)]
        sigma = np.minimum(np.float32(SIGMA_INFLATION) * _spread(draws, unknowns), prior)
    return Solution(baseline + unknowns.apply(vector)[0], sigma, states, variances)


def _nothing(shape: tuple[int, ...]) -> GaussianField:
    """Return a field that is all but 0."""
    return GaussianField([1e-4], [np.ones((shape[0], shape[1]))])


@dataclass(frozen=True, eq=False)
class _Simulation:
    """Simulates all passes, and takes their derivatives."""

    models: Sequence[PassModel]
    baseline: Floats
    unknowns: Unknowns
    known: Sequence[Floats] | None  # ln(gamma0) of the facets, beside the laws

    def __call__(self, vector: Floats) -> list[PassState]:
        """Linearise about some coefficients."""
        departure, laws = self.unknowns.apply(vector)
        heights = self.baseline + departure
        if self.known is None:
            return [linearise(model, heights, law_of(laws)) for model in self.models]
        pairs = zip(self.models, self.known, strict=True)
        return [linearise(model, heights, law_of([each + laws[0]])) for model, each in pairs]


def _step(
    simulate: _Simulation,
    variances: list[float],
    before: tuple[Floats, list[PassState]],
    target: Floats,
) -> tuple[Floats, list[PassState]]:
    """Go to the target, or as far as it lowers the misfit: half of the way, or a quarter."""
    vector, states = before
    sizes = [int(state.counts.sum()) for state in states]
    limit = _misfit(vector, states, variances, sizes)
    for part in (1.0, 0.5, 0.25):
        trial = vector + np.float32(part) * (target - vector)
        found = simulate(trial)
        if _misfit(trial, found, variances, sizes) <= limit:
            return trial, found
    return before


def _misfit(
    vector: Floats, states: list[PassState], variances: list[float], sizes: list[int]
) -> float:
    """Minus the logarithm of the posterior density, for some number of pixels in each pass."""
    total = 0.5 * float(vector.astype(np.float64) @ vector)
    for state, variance, size in zip(states, variances, sizes, strict=True):
        square = state.residual[state.counts].astype(np.float64) ** 2
        loss = np.log1p(square / (FREEDOM * variance))
        # Pixels that no longer count must not make a step look better.
        total += 0.5 * (FREEDOM + 1.0) / CORRELATED * float(np.mean(loss)) * size
    return total


def _residual_variance(state: PassState, least: float) -> float:
    """Estimate the variance of the residuals by that of a t distribution (Lange et al. 1989)."""
    square = state.residual[state.counts].astype(np.float64) ** 2
    if not square.size:
        return 1.0
    variance = float(square.mean())
    for _ in range(10):
        variance = float(np.mean((FREEDOM + 1.0) * square / (FREEDOM + square / variance)))
        variance = max(variance, least**2)
    return variance


def _weights(states: list[PassState], variances: list[float]) -> list[Floats]:
    """Inverse variances of the pixels: smaller for outliers, 0 for those that do not count."""
    weights = []
    for state, variance in zip(states, variances, strict=True):
        weight = (FREEDOM + 1.0) / (FREEDOM + state.residual**2 / variance)
        weight = np.where(state.counts, weight / (CORRELATED * variance), 0.0)
        weights.append(weight.astype(np.float32))
    return weights


def _prior_spread(unknowns: Unknowns, random: np.random.Generator) -> Floats:
    """Return the standard deviation of heights before any image."""
    draws = [random.standard_normal(unknowns.size, dtype=np.float32) for _ in range(8)]
    return _spread(draws, unknowns)


def _scale_error(unknowns: Unknowns, vector: Floats, draw: Floats) -> Floats:
    """Estimate the size of the coarse DEM's error; return the coefficients for the new size.

    MacKay's update: the variance is the sum of the squared coefficients over the number of those
    that the images determine, which is that of all less the posterior variances.
    """
    field = unknowns.heights.error
    mean, spread = unknowns.split(vector)[0], unknowns.split(draw)[0]
    determined = max(mean.size - float(np.sum(np.square(spread))), 0.0)
    worth = WORTH * mean.size
    scale = math.sqrt((float(np.sum(np.square(mean))) + worth) / (determined + worth))
    scale = min(max(scale, 1.0 / LARGEST_SCALE), LARGEST_SCALE)
    field.update([scale * each for each in field.deviations])
    result = vector.copy()
    result[: mean.size] /= np.float32(scale)
    return result


def _draw(
    problem: LinearProblem,
    inverse: Callable[[Floats], Floats],
    steps: int,
    random: np.random.Generator,
) -> Floats:
    """Draw from the posterior distribution about its mean: solve for perturbed data and prior."""
    noise = [
        np.sqrt(weight) * random.standard_normal(weight.shape, dtype=np.float32)
        for weight in problem.weights
    ]
    right = problem.adjoint(noise)
    right += random.standard_normal(right.size, dtype=np.float32)
    return conjugate_gradients(problem.normal, right, np.zeros_like(right), inverse, steps)


def _spread(draws: Sequence[Floats], unknowns: Unknowns) -> Floats:
    """Return the standard deviation of heights by draws, averaged over neighbours."""
    square = np.mean([np.square(unknowns.apply(each)[0]) for each in draws], axis=0)
    return np.asarray(np.sqrt(gaussian_filter(square, 2.0)), dtype=np.float32)


def _mean_law(models: Sequence[PassModel], baseline: Floats, unknowns: Unknowns) -> Floats:
    """Fit one law to all passes: the vector whose fields of the law are constant."""
    law = np.zeros(len(unknowns.laws))
    for number in range(FITTED_LAWS):
        constant = [np.full(models[0].sight.shape[1:], each, dtype=np.float32) for each in law]
        states = [linearise(model, baseline, law_of(constant)) for model in models]
        if number == 0:
            sums = [
                (model.observed[state.counts].sum(), state.simulated[state.counts].sum())
                for model, state in zip(models, states, strict=True)
            ]
            level = [math.log(one / two) for one, two in sums if one > 0.0 and two > 0.0]
            law[0] = np.mean(level) if level else 0.0
            continue
        angles = np.concatenate([state.angle.ravel() for state in states])
        values = np.concatenate([state.on_facets(state.residual).ravel() for state in states])
        good = np.isfinite(values)
        design = angles[good, None].astype(np.float64) ** np.arange(law.size)
        law += np.linalg.solve(design.T @ design + np.eye(law.size), design.T @ values[good])
    parts = [np.zeros(each.shape, dtype=np.float32) for each in unknowns.fields]
    for part, each, value in zip(parts[2:], unknowns.laws, law, strict=True):
        # A constant is its value times the root of the number of cells, in the first coefficient.
        part[0, 0] = value * math.sqrt(part.size) / each.root[0, 0]
    return np.concatenate([part.ravel() for part in parts])
