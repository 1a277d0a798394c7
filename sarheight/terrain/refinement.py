"""Refinement of a coarse DEM: the heights that one or more radar images and the DEM agree on."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight.acquisition import acquisition_json
from sarheight.coregistration import Policy, is_significant
from sarheight.coregistration import coregister as compare
from sarheight.dem import check_dem, local_posting
from sarheight.errors import DemError, GeometryError
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import dem_dataset
from sarheight.geometry.placement import crop_scene_to_dem
from sarheight.learning.tiles import Corner, Mosaic, Tiling, match_chunks
from sarheight.scene import Scene
from sarheight.terrain.alignment import (
    Alignment,
    alignment_sigma,
    apply_alignment,
    back_project,
    estimate_alignment,
    filled,
)
from sarheight.terrain.inversion import PassModel, on_posts
from sarheight.terrain.kriging import krige_residuals
from sarheight.terrain.posterior import NEPER, RefinementSettings, solve, unknowns_of

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.terrain.elevations import KnownElevations
    from sarheight.terrain.refinement_network import RefinementNetwork, TileCorrection

Floats = NDArray[np.float32]

SMALLEST_SIDE = 12
"""Coarse cells along the least side of what is solved at once."""
SINGLE = 400
"""Cells along a side up to which a raster is one tile."""
CORRELATION = 2.5
"""Coarse cells over which errors of a coarse DEM are correlated."""


def refine(
    scenes: Scene | Sequence[Scene],
    dem: xr.DataArray,
    known: KnownElevations | None = None,
    *,
    factor: int = 3,
    settings: RefinementSettings | None = None,
    coregister: Policy = "report",
    network: RefinementNetwork | None = None,
    tiling: Tiling | None = None,
    block: int = 2048,
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

    With known elevations, the DEM is first aligned to them (`estimate_alignment`), as an image does
    not tell an offset; their differences to the result are kriged (`krige_residuals`), which also
    calibrates the standard deviation.

    Parameters
    ----------
    scenes : Scene or sequence of Scene
        Images of one or more passes, of one polarisation each, linear power. The mean of several
        dates of a pass is one image; its grid states the equivalent number of looks.
    dem : xarray.DataArray
        Coarse DEM, heights above the ellipsoid in metres, dims (y, x). Voids are filled first.
    known : KnownElevations, optional
        Known elevations. A shift that they tell moves the grid of the result. The DEM must be in
        memory.
    factor : int
        Number of cells into which each coarse cell is divided, along each axis; 1 refines the
        heights of the DEM's own cells.
    settings : RefinementSettings, optional
        Prior knowledge, above all the error of the DEM.
    coregister : {"report", "correct", "none"}
        Estimate the shift of each image against the DEM: warn of a significant one, or correct
        the image's timing by it, where that is known less well than the DEM's position.
    network : RefinementNetwork, optional
        Corrects the refined heights and their standard deviation, tile by tile, before anything is
        kriged. It is used within the range of its training only.
    tiling : Tiling, optional
        Size and overlap in cells of the result, multiples of `factor`, of the tiles that are
        solved one by one and blended. Up to 400 cells a side are one tile by default.
    block : int
        Cells along a side of the chunks of a lazy result. Tiles that meet several chunks are solved
        for each of them.
    seed : int
        Of the draws, which also measure the curvature of the problem.
    report : callable, optional
        Called after each tile with the completed fraction; not for a lazy result.

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
            estimated gamma0 of the cell, linear power;
        ``correction``
            if a network is used, what it adds to the height, in metres.

        Attributes hold the settings, the acquisitions, the estimated shifts, the alignment and the
        numbers of kriging as JSON, and whether a network was used.

    Raises
    ------
    GeometryError
        If an image and the DEM do not overlap.
    DemError
        If the DEM is not usable, or too small.
    KnownElevationsError
        If no known elevation lies on the DEM.
    ValueError
        If settings or tiles are out of range, an image has several polarisations, or known
        elevations are passed with a lazy DEM.
    MissingLibraryError
        If known elevations are passed and scikit-learn is not installed.

    Warns
    -----
    RuntimeWarning
        If two passes have no ground in common, an image lies beside its simulation, or the network
        is not used since it was not trained for images, grid or settings.

    References
    ----------
    Tarantola, A. (2005). Inverse Problem Theory. SIAM, section 3.2: Gauss-Newton, linearised
    posterior. Lange, K. L., Little, R. J. A., Taylor, J. M. G. (1989). Robust statistical modeling
    using the t distribution. JASA 84, 881-896. Papandreou, G., Yuille, A. (2010). Gaussian
    sampling by local perturbations. NeurIPS 23: draws by solving.
    """
    chosen = RefinementSettings() if settings is None else settings
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    given: list[object] = list(scenes)
    strangers = [type(each).__name__ for each in given if not isinstance(each, Scene)]
    if strangers:
        msg = (
            f"found {', '.join(strangers)}, expected scenes: sarheight.open_image opens a path, "
            "and sarheight.terrain.refine_files takes paths"
        )
        raise TypeError(msg)
    if not scenes:
        msg = "found no image, expected one for each pass: pass a Scene, or several"
        raise ValueError(msg)
    checked = check_dem(dem)
    known = None if known is None or not len(known) else known
    checked, alignment = _aligned(checked, known, lazy=dem.chunks is not None)
    factor, tiling = _division_of(checked, factor, tiling)
    scenes, shifts = place_images(scenes, checked, coregister)
    _require_common_ground(scenes, checked)
    surface = back_project(checked, factor=factor)
    whole = filled(checked)
    surface.attrs |= {"units": "m", "vertical_datum": "ellipsoid"}
    correction, reason = _prepared_network(network, scenes, surface, factor, chosen)
    void = ~np.isfinite(checked.values)
    worker = _TileWorker(
        scenes, whole, void, surface, factor, chosen, tiling.size, seed, correction
    )
    mosaic = Mosaic(
        (surface if dem.chunks is None else surface.chunk({"y": block, "x": block}),),
        worker.estimate,
        worker.layers,
        tiling,
        batch=1,
        threads=os.cpu_count() or 1,
    )
    values = mosaic.compute(block, report)
    result = _dataset(values, surface, len(scenes), corrected=correction is not None)
    kriging = {} if known is None else _krige(result, known, alignment, checked)
    result["filled"] = (
        ("y", "x"),
        _repeated(void, factor).astype(np.uint8),
        {"long_name": "the coarse DEM is void here", "grid_mapping": "spatial_ref"},
    )
    result.attrs = {
        "settings": json.dumps({**asdict(chosen), "factor": factor, "seed": seed}),
        "acquisition": acquisition_json(scenes),
        "coregistration": json.dumps(shifts),
        "alignment": json.dumps(alignment.attributes()),
        "kriging": json.dumps(kriging),
    }
    if network is not None:
        used = correction is not None
        result.attrs["network"] = json.dumps({"used": used} | ({} if used else {"reason": reason}))
    return match_chunks(values, result)


# Input.


def _division_of(dem: xr.DataArray, factor: float, tiling: Tiling | None) -> tuple[int, Tiling]:
    """Check the factor, and the size of DEM and tiles; choose tiles if none are given."""
    if isinstance(factor, bool) or factor != int(factor) or factor < 1:
        msg = f"found factor={factor!r}, expected a whole number from 1"
        raise ValueError(msg)
    factor = int(factor)
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
    return factor, tiling


def place_images(
    scenes: Sequence[Scene], dem: xr.DataArray, policy: Policy
) -> tuple[list[Scene], list[dict[str, Any]]]:
    """Crop the images to the DEM, and compare their positions with it."""
    placed, shifts = [], []
    for number, scene in enumerate(scenes, start=1):
        if "polarisation" in scene.image.dims:
            msg = (
                f"found {scene.image.sizes['polarisation']} polarisations in image {number}, "
                "expected one: select it"
            )
            raise ValueError(msg)
        near = crop_scene_to_dem(scene, dem, margin=64)
        near, shift = compare(near, dem, policy)
        if shift is not None:
            shifts.append(shift.attributes())
            if not shift.found:
                _warn(
                    f"image {number} could not be compared with the DEM ({shift.reason}): heights "
                    "rest on its annotated timing"
                )
            elif policy == "report" and is_significant(shift):
                _warn(
                    f"image {number} lies beside its simulation ({shift}): align the DEM, or pass "
                    "coregister='correct' if it is the image that is off"
                )
        placed.append(near)
    return placed, shifts


def _aligned(
    dem: xr.DataArray, known: KnownElevations | None, *, lazy: bool
) -> tuple[xr.DataArray, Alignment]:
    """Align a DEM to known elevations, if there are any."""
    if known is None:
        return dem, Alignment()
    if lazy:
        msg = (
            "found known elevations and a lazy DEM, expected a DEM in memory, since kriging needs "
            "all heights: pass dem.load(), or krige the finished heights with krige_residuals"
        )
        raise ValueError(msg)
    alignment = estimate_alignment(dem, known)
    return apply_alignment(dem, alignment), alignment


def _krige(
    result: xr.Dataset, known: KnownElevations, alignment: Alignment, dem: xr.DataArray
) -> dict[str, float]:
    """Correct the heights by the kriged residuals of known elevations; return their numbers."""
    moved = alignment_sigma(result["height"], alignment)
    sigma = result["height_sigma"].copy(data=np.hypot(result["height_sigma"].values, moved))
    length = CORRELATION * max(local_posting(dem))
    found = krige_residuals(
        result["height"], known, sigma=sigma, length=length, parameters=alignment.parameters
    )
    for name in ("height", "height_sigma"):
        result[name] = result[name].copy(data=found[name].values.astype(np.float32))
    return {name: float(value) for name, value in found.attrs.items()}


def _prepared_network(
    network: RefinementNetwork | None,
    scenes: list[Scene],
    surface: xr.DataArray,
    factor: int,
    settings: RefinementSettings,
) -> tuple[TileCorrection | None, str]:
    """Prepare a network, or warn and say why it is not used."""
    if network is None:
        return None, ""
    from sarheight.terrain.refinement_network import prepare_correction

    correction, reason = prepare_correction(network, scenes, surface, factor, settings)
    if correction is None:
        _warn(f"the network is not used: {reason}")
    return correction, reason


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
    void: NDArray[np.bool_]
    surface: xr.DataArray
    factor: int
    settings: RefinementSettings
    size: int
    seed: int
    correction: TileCorrection | None = None

    @property
    def layers(self) -> int:
        """Height, sigma, number of passes; residual and gamma0 of each pass; correction."""
        return 3 + 2 * len(self.scenes) + (self.correction is not None)

    def estimate(self, tiles: list[Floats], corners: list[Corner]) -> Floats:
        """Solve tiles, shape (tiles, layers, size, size)."""
        del tiles  # the surface is read around each tile
        return np.stack([self.tile(corner) for corner in corners])

    def tile(self, corner: Corner) -> Floats:
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
        seen_by: dict[int, Scene] = {}
        for number, scene in enumerate(self.scenes):
            try:
                near = crop_scene_to_dem(scene, part)
                near = replace(near, image=near.image.compute())
                model = PassModel.of(near, part)
            except GeometryError:
                continue
            if np.isfinite(model.observed).any():
                models[number], seen_by[number] = model, near
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
        if self.correction is not None:
            void = _repeated(self.void[few[0], few[1]], self.factor)
            layers[-1], widened = self.correction.correct(part, layers, void, seen_by)
            layers[0] += layers[-1]
            layers[1] *= widened
        return layers


def _repeated(cells: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return the value of the coarse cell for each cell of the result."""
    return np.repeat(np.repeat(cells, factor, axis=0), factor, axis=1)


def _spans(first: int, length: int, size: int, least: int) -> tuple[slice, slice]:
    """Return the cells of an axis that a tile has, and those that are solved: a least number."""
    start, stop = max(first, 0), min(first + size, length)
    return slice(start, stop), slice(
        max(min(start, stop - least), 0), max(stop, min(least, length))
    )


def _dataset(
    layers: Any,  # noqa: ANN401  # of numpy or dask
    surface: xr.DataArray,
    passes: int,
    *,
    corrected: bool,
) -> xr.Dataset:
    """Return the layers of the mosaic as variables on the fine grid."""
    metres = {"units": "m", "vertical_datum": "ellipsoid"}
    height = "above the WGS84 ellipsoid"
    variables = {
        "height": (layers[0], {"long_name": f"refined height {height}", **metres}),
        "height_sigma": (layers[1], {"long_name": "its standard deviation", "units": "m"}),
        "baseline": (surface.data, {"long_name": f"back-projected height {height}", **metres}),
        "passes": (
            layers[2].round().astype(np.uint8),
            {"long_name": "number of images that cover the cell"},
        ),
    }
    if corrected:
        text = "what the network adds to the height"
        variables["correction"] = (layers[-1], {"long_name": text, "units": "m"})
    result = dem_dataset(surface, variables)
    for first, name, text, units in (
        (3, "residual", "logarithm of the observed over the simulated image", "dB"),
        (4, "gamma0", "estimated gamma0 of the cell", "1"),
    ):
        result[name] = (
            ("pass", "y", "x"),
            layers[first : 3 + 2 * passes : 2],
            {"long_name": text, "units": units, "grid_mapping": "spatial_ref"},
        )
    return result.assign_coords({"pass": np.arange(1, passes + 1)})
