"""Audit of terrain-flattened images: where they lie, and what terrain is left in them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from sarheight.acquisition import (
    ACQUISITION,
    GEOMETRY,
    acquisitions,
    geometries,
    orbit_to_json,
)
from sarheight.archives._facts import MAD_OF_NORMAL, Facts, orbit_of, provider_heights
from sarheight.archives._rtc import ORBIT, open_rtc
from sarheight.archives.radar import ground_of
from sarheight.dem import reproject
from sarheight.dem.checked import CheckedDem
from sarheight.errors import ProductError
from sarheight.geometry import geo2rdr, incidence
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import FLAGS, RTC, masks, reconstruct

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit


Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FARTHEST = 4
"""Cells by which gamma0 is moved, each way."""
CLASS = 3.0
"""Width of a class of local incidence in degrees."""
CLASS_DB = 1.0
"""Width of a class of area in decibels."""
FEWEST = 100
"""Cells of which anything is told."""
TELLING = 0.3
"""Correlation ratio of gamma0 and incidence from which the best place is told."""
MOST_SHIFT = 1.5
"""Cells of displacement that are accepted: a DEM of three times the posting places no better."""
MOST_STEEP = 7.0
"""Decibels by which steep ground may be brighter: land is by 1 to 5, and areas by 10 and more."""
MOST_ZEROS = 1e-3
"""Part of the cells that may be exactly 0."""
BIN = 10
"""Samples or lines of a bin of a profile: 100 m."""
BESIDE = 6
"""Bins on either side of a seam: 600 m."""
LARGEST_STEP, SEAM = 0.5, 4.5
"""Decibels of a step that is accepted, and deviations from which it is no chance: the greatest of
eight profiles of real land without seams, over kinds of ground, had 3.5."""
STEEP, GENTLE = (0.0, 20.0), (30.0, 50.0)
"""Local incidence in degrees between which brightness is compared."""
FLAT, ROUGH = 1e-3, 10.0
"""Metres between cells of a plateau, and the standard deviation over 5 x 5 cells of ground that has
none, though its heights are whole metres, as those that HyP3 delivers."""
MOST_PLATEAUS = 0.2
"""Part of rough ground that may be plateaus: of an elevation model enlarged without interpolation
nearly all is."""
LAYOVER = [FLAGS[name] for name in FLAGS if "layover" in name]
SHADOW = [FLAGS[name] for name in FLAGS if "shadow" in name]


@dataclass(frozen=True)
class Check:
    """Something that was measured, and whether it is as it should be.

    Attributes
    ----------
    name : str
        What was measured.
    value : float
        How much; NaN where the image does not tell.
    unit : str
        Its unit.
    passed : bool or None
        Whether it is within its limit; None where there is no limit, or the image does not tell.
    note : str
        What it means.
    """

    name: str
    value: float
    unit: str
    passed: bool | None
    note: str


@dataclass(frozen=True, eq=False)
class Audit:
    """An audit of a terrain-flattened image.

    Attributes
    ----------
    name : str
        The product.
    archive : str
        Who made it.
    checks : tuple of Check
        What was measured.
    layers : xarray.Dataset
        Dims (y, x): ``gamma0`` of the first polarisation, ``local_incidence`` in degrees, and the
        ``mask`` of layover and shadow that elevation model and orbit predict.
    curve : xarray.Dataset
        Mean gamma0 in decibels by ``angle``, local incidence in degrees, with the number of cells.
    """

    name: str
    archive: str
    checks: tuple[Check, ...]
    layers: xr.Dataset
    curve: xr.Dataset

    @property
    def passed(self) -> bool:
        """Whether no check has failed."""
        return not any(check.passed is False for check in self.checks)

    def to_json(self) -> str:
        """Write the checks as JSON; a number that is not known is null."""
        checks = [asdict(check) for check in self.checks]
        for check in checks:
            check["value"] = check["value"] if np.isfinite(check["value"]) else None
        record = {"product": self.name, "archive": self.archive, "passed": self.passed}
        return json.dumps(record | {"checks": checks}, indent=1)


def audit(
    product: Any,  # noqa: ANN401  # as open_rtc has it
    dem: xr.DataArray | CheckedDem,
    orbit: Orbit | None = None,
) -> Audit:
    """Examine a terrain-flattened image against an elevation model and an orbit.

    Measured are: the displacement at which predicted local incidence explains gamma0 best; how much
    of the variance of gamma0 local incidence, area and predicted layover explain, in decibels over
    3 x 3 cells; how much brighter steep ground is; the largest step along slant range and along the
    track, as at seams of swaths and bursts; how the mask of the product agrees with the predicted
    one; cells that are exactly 0; and plateaus of the elevation model that was delivered.

    Parameters
    ----------
    product : Dataset, or what `open_rtc` takes
        The product; of several polarisations the first. Or a result of
        `sarheight.layover.reconstruct` of one pass.
    dem : DataArray or CheckedDem
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    orbit : Orbit, optional
        State vectors that cover the image; by default those in the product.

    Returns
    -------
    Audit

    Raises
    ------
    ProductError, OrbitCoverageError, GeometryError, DemError
        As `to_radar` raises them.
    """
    dataset = product if isinstance(product, xr.Dataset) else open_rtc(product)
    dataset = _with_orbit(dataset) if GEOMETRY in dataset.attrs else dataset
    facts = Facts.of(dataset)
    used = orbit_of(dataset, facts) if orbit is None else orbit
    facts.require_orbit(used)
    checked = CheckedDem.of(dem).north_up().array
    ground, grid = ground_of(dataset, checked, used, facts)
    gamma0 = ground.reflectivity.isel(polarisation=0, drop=True).astype(np.float64)
    heights = reproject(checked, like=ground.grid(), resampling="cubic")
    scene = _Prediction.of(heights, grid, used, gamma0)
    power = gamma0.values
    layers = xr.Dataset(
        {
            "gamma0": gamma0.astype(np.float32),
            "local_incidence": (("y", "x"), scene.angle.astype(np.float32)),
            "mask": scene.mask,
        }
    )
    brightness = _Brightness.of(power, scene.angle)
    checks = (
        *_registration(brightness),
        *_explained(brightness, scene),
        *_seams(brightness, scene),
        *_masks(dataset, scene, gamma0),
        _zeros(power),
        *_plateaus(dataset),
    )
    return Audit(facts.name, facts.archive, checks, layers, _curve(brightness))


def _with_orbit(result: xr.Dataset) -> xr.Dataset:
    """Give a result of ours the form of a product, with its orbit."""
    passes = geometries(result.attrs)
    if len(passes) != 1:
        msg = f"found a result of {len(passes)} passes, expected one: select it"
        raise ProductError(msg)
    (_, orbit), (record, *_) = passes[0], acquisitions(result.attrs)
    gamma0 = result["gamma0"].squeeze(drop=True)
    if "polarisation" not in gamma0.dims:
        gamma0 = gamma0.expand_dims(polarisation=list(record["polarisations"])[:1] or ["1"])
    product: xr.Dataset = gamma0.to_dataset(name="gamma0").rio.write_crs(result.rio.crs)
    if "mask" in result:
        product["mask"] = result["mask"].squeeze(drop=True)
    name = str(record.get("product_name") or "a result")
    attributes = {"terrain_flattened": True, "source": "sarheight", "product_name": name}
    product.attrs = attributes | {ORBIT: orbit_to_json(orbit), ACQUISITION: json.dumps([record])}
    return product


@dataclass(frozen=True, eq=False)
class _Prediction:
    """What elevation model and orbit predict on the cells of a product, (rows, columns)."""

    angle: Floats  # local incidence in degrees
    area: Floats  # area of the pixel of a cell in decibels
    mask: xr.DataArray
    line: Floats
    sample: Floats

    @classmethod
    def of(
        cls, heights: xr.DataArray, grid: RadarGrid, orbit: Orbit, cells: xr.DataArray
    ) -> _Prediction:
        """Predict."""
        level = simulate(heights, grid, orbit, law=ConstantGamma(1.0))
        seen = reconstruct(level, heights, method=RTC(), variables=("sigma0_geocoded",))
        where = geo2rdr(heights, grid, orbit)
        angle = incidence(heights, grid, orbit)["local_incidence"]

        def on_cells(layer: xr.DataArray) -> Floats:
            return layer.sel(y=cells.y, x=cells.x, method="nearest").values.astype(np.float64)

        predicted = masks(heights, grid, orbit)["mask"]
        return cls(
            on_cells(angle),
            _decibels(on_cells(seen["sigma0_geocoded"].squeeze(drop=True))),
            predicted.sel(y=cells.y, x=cells.x, method="nearest").assign_coords(
                y=cells.y, x=cells.x
            ),
            on_cells(where["line"]),
            on_cells(where["sample"]),
        )

    def has(self, codes: list[int]) -> Mask:
        """Mark cells of some categories."""
        return np.isin(self.mask.values, codes)


@dataclass(frozen=True, eq=False)
class _Brightness:
    """Gamma0 in decibels over 3 x 3 cells, and local incidence, where both are known."""

    decibels: Floats
    angle: Floats
    known: Mask

    @classmethod
    def of(cls, power: Floats, angle: Floats) -> _Brightness:
        """Average power over neighbours, so that speckle hides less."""
        valid = np.isfinite(power) & (power > 0.0)
        weight = uniform_filter(valid.astype(float), 3)
        mean = uniform_filter(np.where(valid, power, 0.0), 3) / np.maximum(weight, 1e-9)
        known = valid & np.isfinite(angle) & (angle < 90.0)
        return cls(np.where(known, _decibels(mean), np.nan), angle, known)


def _decibels(power: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels: Floats = 10.0 * np.log10(np.where(power > 0.0, power, np.nan))
    return decibels


def explained(values: Floats, kind: NDArray[np.int64]) -> float:
    """Return the part of the variance of values that the means of classes explain.

    Shapes: `values` and `kind` (n,). The number of classes over that of values is taken off, which
    chance would explain.
    """
    _, number = np.unique(kind, return_inverse=True)
    count, total = np.bincount(number), np.bincount(number, values)
    spread = float(np.var(values))
    part = float(np.var((total / count)[number])) / max(spread, 1e-30)
    chance = (count.size - 1) / max(values.size - 1, 1)
    return max((part - chance) / (1.0 - chance), 0.0) if spread > 0.0 else 0.0


def _registration(bright: _Brightness) -> list[Check]:
    """Move gamma0 over predicted incidence."""
    inside = (slice(FARTHEST, -FARTHEST),) * 2
    kind = (np.nan_to_num(bright.angle) // CLASS).astype(np.int64)

    def ratio(move: tuple[int, int]) -> float:
        moved = np.roll(bright.decibels, move, axis=(0, 1))[inside]
        known = np.isfinite(moved) & bright.known[inside]
        if known.sum() < FEWEST:
            return 0.0
        return float(np.sqrt(explained(moved[known], kind[inside][known])))

    steps = range(-FARTHEST, FARTHEST + 1)
    moves = [(down, right) for down in steps for right in steps]
    found = {move: ratio(move) for move in moves}
    best = max(moves, key=lambda move: found[move])
    told = found[best] >= TELLING
    distance = float(np.hypot(*best)) if told else np.nan
    passed = distance <= MOST_SHIFT if told else None
    note = (
        f"{-best[1]} cells to the east and {best[0]} to the north of its best place"
        if told
        else "local incidence explains too little to tell where the image lies"
    )
    return [
        Check("displacement", distance, "cells", passed, note),
        Check(
            "correlation with local incidence",
            found[0, 0],
            "1",
            None,
            f"correlation ratio in place; {found[best]:.2f} at best",
        ),
    ]


def _explained(bright: _Brightness, scene: _Prediction) -> list[Check]:
    """Measure what terrain is left in gamma0."""
    # In layover the cells that share a pixel have its value, whatever their areas.
    known = bright.known & np.isfinite(scene.area) & ~scene.has(LAYOVER + SHADOW)
    if known.sum() < FEWEST:
        return []
    values, angle = bright.decibels[known], bright.angle[known]
    by_angle = (angle // CLASS).astype(np.int64)
    by_both = by_angle * 1000 + np.round(scene.area[known] / CLASS_DB).astype(np.int64)
    incidence_part = explained(values, by_angle)
    beyond = explained(values, by_both) - incidence_part
    steep, gentle = (values[(angle >= low) & (angle < high)] for low, high in (STEEP, GENTLE))
    enough = min(steep.size, gentle.size) >= FEWEST
    steeper = float(steep.mean() - gentle.mean()) if enough else np.nan
    folded = scene.has(LAYOVER)[bright.known]
    return [
        Check(
            "variance explained by local incidence",
            incidence_part,
            "1",
            None,
            "the angular law of the ground, which flattening leaves in",
        ),
        Check(
            "variance explained by area beyond that",
            beyond,
            "1",
            None,
            "much of it tells of wrong areas, or of an elevation model that is too smooth",
        ),
        Check(
            "brighter at 0 to 20 than at 30 to 50 degrees",
            steeper,
            "dB",
            bool(abs(steeper) <= MOST_STEEP) if enough else None,
            "flattened land is brighter there by 1 to 5 dB",
        ),
        Check(
            "layover brighter than the rest",
            _probability(bright.decibels[bright.known], folded),
            "1",
            None,
            "probability that a cell in predicted layover is brighter than another; 0.5 is chance",
        ),
    ]


def _probability(values: Floats, marked: Mask) -> float:
    """Return the probability that a marked value is larger than one that is not."""
    count = int(marked.sum())
    if count < FEWEST or values.size - count < FEWEST:
        return np.nan
    from scipy.stats import rankdata

    rank = rankdata(values)[marked].mean()
    return float((rank - 0.5 * (count + 1)) / (values.size - count))


def _seams(bright: _Brightness, scene: _Prediction) -> list[Check]:
    """Look for steps along range and along the track, once the angular law is taken out."""
    kind = (np.nan_to_num(bright.angle) // CLASS).astype(np.int64)
    count = np.bincount(kind[bright.known])
    total = np.bincount(kind[bright.known], bright.decibels[bright.known])
    rest = bright.decibels - (total / np.maximum(count, 1))[np.minimum(kind, count.size - 1)]
    checks = []
    for name, where in (("slant range", scene.sample), ("azimuth", scene.line)):
        height, deviations, place = _largest_step(rest, where, bright.known)
        told = np.isfinite(height)
        seam = told and abs(height) > LARGEST_STEP and deviations > SEAM
        checks.append(
            Check(
                f"largest step along {name}",
                height,
                "dB",
                (not seam) if told else None,
                f"at {place:.1f} km, {deviations:.1f} deviations of others"
                if told
                else "too small",
            )
        )
    return checks


def _largest_step(rest: Floats, where: Floats, known: Mask) -> tuple[float, float, float]:
    """Return the largest step of a profile in dB, that over the deviation of all, and its km."""
    usable = known & np.isfinite(where)
    nothing = np.nan, np.nan, np.nan
    if usable.sum() < FEWEST:
        return nothing
    number = ((where[usable] - where[usable].min()) // BIN).astype(np.int64)
    count, total = np.bincount(number), np.bincount(number, rest[usable])
    full = count >= FEWEST // 4
    if full.sum() < 4 * BESIDE:
        return nothing
    profile = np.where(full, total / np.maximum(count, 1), 0.0)
    sums = np.concatenate([[0.0], np.cumsum(profile)]), np.concatenate([[0], np.cumsum(full)])

    def mean(first: NDArray[np.int64], last: NDArray[np.int64]) -> Floats:
        number_ = sums[1][last] - sums[1][first]
        found: Floats = np.where(
            number_ >= BESIDE // 2,
            (sums[0][last] - sums[0][first]) / np.maximum(number_, 1),
            np.nan,
        )
        return found

    at = np.arange(BESIDE, profile.size - BESIDE)
    steps = mean(at, at + BESIDE) - mean(at - BESIDE, at)
    told = steps[np.isfinite(steps)]
    if told.size < BESIDE:
        return nothing
    deviation = float(np.median(np.abs(told - np.median(told)))) / MAD_OF_NORMAL
    best = int(np.nanargmax(np.abs(steps)))
    pixels = where[usable].min() + at[best] * BIN
    return float(steps[best]), abs(float(steps[best])) / max(deviation, 1e-9), pixels * 0.01


def _masks(product: xr.Dataset, scene: _Prediction, cells: xr.DataArray) -> list[Check]:
    """Compare the mask of the product with the predicted one."""
    if "mask" not in product:
        return []
    theirs = product["mask"].sel(y=cells.y, x=cells.x).values
    checks = []
    for name, codes in (("layover", LAYOVER), ("shadow", SHADOW)):
        ours, delivered = scene.has(codes), np.isin(theirs, codes)
        either = int((ours | delivered).sum())
        checks.append(
            Check(
                f"{name} in both masks over that in either",
                float((ours & delivered).sum() / either) if either >= FEWEST else np.nan,
                "1",
                None,
                f"{100 * delivered.mean():.1f} % of the cells by the product, "
                f"{100 * ours.mean():.1f} % by the elevation model",
            )
        )
    return checks


def _zeros(power: Floats) -> Check:
    part = float(np.mean(power == 0.0))
    return Check(
        "cells that are exactly 0", part, "1", part <= MOST_ZEROS, "no-data that is written as 0"
    )


def _plateaus(product: xr.Dataset) -> list[Check]:
    """Look for plateaus of the elevation model that was delivered: cells that were repeated."""
    delivered = provider_heights(product)
    if delivered is None:
        return []
    heights = delivered.values.astype(np.float64)
    heights = np.where(np.isfinite(heights), heights, 0.0)
    mean = uniform_filter(heights, 5)
    rough = np.sqrt(np.maximum(uniform_filter(heights**2, 5) - mean**2, 0.0)) > ROUGH
    level = np.zeros(heights.shape, dtype=bool)
    level[:, 1:] = np.abs(np.diff(heights, axis=1)) < FLAT
    if rough.sum() < FEWEST:
        return []
    part = float(level[rough].mean())
    note = "heights that are those of the cell beside, on rough ground"
    return [Check("plateaus of the elevation model", part, "1", part <= MOST_PLATEAUS, note)]


def _curve(bright: _Brightness) -> xr.Dataset:
    """Average gamma0 in classes of local incidence."""
    kind = (bright.angle[bright.known] // CLASS).astype(np.int64)
    count = np.bincount(kind)
    total = np.bincount(kind, bright.decibels[bright.known])
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return xr.Dataset(
        {"gamma0": ("angle", mean), "cells": ("angle", count)},
        coords={"angle": (np.arange(count.size) + 0.5) * CLASS},
    )
