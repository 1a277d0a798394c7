"""The mean of dates in radar geometry: one image of a pass with less speckle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.series import accumulate_resampled

from sarheight.coregistration import estimate_shift_between, is_significant
from sarheight.dem.checked import CheckedDem
from sarheight.errors import GeometryError, SarheightError, SeriesError
from sarheight.geometry import geo2rdr
from sarheight.geometry.placement import crop_scene_to_dem
from sarheight.series._dates import (
    Coregistration,
    Date,
    is_same,
    open_dates,
    require_option,
    require_track,
    side_by_side,
)

if TYPE_CHECKING:
    import os

    import xarray as xr

    from sarheight.coregistration import Shift
    from sarheight.scene import Scene

MARGIN = 64
"""Pixels around those that the DEM contributes to: room for a shift against the simulation."""
STRIP = 512
"""Lines of the mean that are computed at a time."""
PLACES = 128
"""Cells of the DEM along each axis at which two passes are compared."""
DEGREE = 3
"""Degree of the polynomials of offsets between two passes of one track."""
FEWEST_PLACES = 30
"""Cells that are needed to fit polynomials with ten coefficients."""
LARGEST_RESIDUAL = 0.2
"""Pixels by which relief may shift pixels from where polynomials predict them, 99th percentile. The
parallax of a height h is B h / (R sin(incidence)): 0.5 m for 170 m across the line of sight and
1500 m."""
WINDOW, SEARCH, SURROUNDINGS = 128, 4, 10
"""Pixels along the side of a window, of the largest shift, and beyond it."""
WINDOWS = 5
"""Windows along each axis that are compared."""
LEAST_DATES = 0.5
"""Part of the dates that a pixel of the mean needs."""
MEMORY = 2 << 30
"""Bytes that the co-registration of several dates at a time may take."""


@dataclass(frozen=True, eq=False)
class Offsets:
    """The offsets of the pixels of a date from those of a reference."""

    coefficients: NDArray[np.float64]  # (2, k, k): of lines and samples, see the kernel
    scales: NDArray[np.float64]  # (2, 2)
    residual: float  # pixels that the polynomials leave, 99th percentile

    @classmethod
    def none(cls, reference: Scene) -> Offsets:
        """Return the offsets of a reference from itself."""
        scales = [(0.5 * (size - 1), 0.5 * max(size - 1, 1)) for size in reference.grid.shape]
        return cls(np.zeros((2, DEGREE + 1, DEGREE + 1)), np.array(scales), 0.0)

    @classmethod
    def between(cls, reference: Scene, date: Scene, dem: CheckedDem) -> Offsets:
        """Fit polynomials to the geometry of two passes over a DEM."""
        scales = cls.none(reference).scales
        here, there = (
            np.stack([seen[name].values.ravel() for name in ("line", "sample")]).astype(np.float64)
            for seen in (geo2rdr(dem, each.grid, each.orbit) for each in (reference, date))
        )
        size = np.array(reference.grid.shape)[:, None]
        known = np.isfinite(here).all(axis=0) & np.isfinite(there).all(axis=0)
        known &= ((here > -MARGIN) & (here < size + MARGIN)).all(axis=0)
        if np.count_nonzero(known) < FEWEST_PLACES:
            msg = "too few cells of the DEM lie in the image and in that of the first date"
            raise GeometryError(msg)
        here, offsets = here[:, known], (there - here)[:, known]
        u, v = (here - scales[:, :1]) / scales[:, 1:]
        terms = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
        basis = np.stack([u**i * v**j for i, j in terms], axis=1)
        solved = np.linalg.lstsq(basis, offsets.T, rcond=None)[0]
        residual = float(np.percentile(np.abs(offsets.T - basis @ solved), 99.0))
        coefficients = np.zeros((2, DEGREE + 1, DEGREE + 1))
        for term, values in zip(terms, solved, strict=True):
            coefficients[:, *term] = values
        return cls(coefficients, scales, residual)

    def moved(self, line: float, sample: float) -> Offsets:
        """Add a shift in pixels."""
        coefficients = self.coefficients.copy()
        coefficients[:, 0, 0] += line, sample
        return replace(self, coefficients=coefficients)

    def part(self, box: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return the part of an image that a box of the reference needs."""
        places = np.meshgrid(*(np.linspace(b.start, b.stop - 1.0, 9) for b in box), indexing="ij")
        u, v = ((place - s[0]) / s[1] for place, s in zip(places, self.scales, strict=True))
        parts = []
        for place, each, size in zip(places, self.coefficients, shape, strict=True):
            found = place + np.polynomial.polynomial.polyval2d(u, v, each)
            # Two pixels for the kernel, and one for what bends between the places.
            first, last = int(np.floor(found.min())) - 3, int(np.ceil(found.max())) + 4
            parts.append(slice(min(max(first, 0), size), max(min(last, size), 0)))
        return parts[0], parts[1]


def mean_scene(
    images: Sequence[str | os.PathLike[str] | Scene] | str | os.PathLike[str] | Scene,
    dem: xr.DataArray | CheckedDem,
    *,
    polarisation: str | None = None,
    product_options: Mapping[str, Any] | None = None,
    coregistration: Coregistration = "correct",
    strict: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Scene:
    r"""Average dates of one track in radar geometry, as one image of the pass.

    The first date in time is the reference: the mean has its pixels, where the DEM lies, and its
    orbit. Orbits and DEM predict the position of each pixel in the image of another date to a
    fraction of a pixel; the remaining shift is estimated by the correlation of the two images.
    Dates are resampled in power by cubic convolution.

    Parameters
    ----------
    images : sequence of path-like or Scene
        Products of the archive, images in radar geometry, or scenes, in any order; or one of them.
    dem : xarray.DataArray or CheckedDem
        Heights above the ellipsoid in metres, dims (y, x), any CRS, which define the area and its
        geometry in each pass. A coarse DEM is enough.
    polarisation : str, optional
        Polarisation; by default all that the first date has.
    product_options : mapping, optional
        Options of `sarheight.product.Product.scene`.
    coregistration : {"correct", "report", "none"}
        Compare each date with the first one, and correct its shift where it is significant, or
        record it.
    strict : bool
        Whether a date that cannot be used stops the run; by default a warning names it.
    progress : callable, optional
        Called with a text and the fraction of the work that is done.

    Returns
    -------
    Scene
        In memory. Pixels with data in fewer than half of the dates are NaN. Its grid states the
        equivalent number of looks,

        .. math:: L = \frac{(\sum_i m_i)^2}{\sum_i m_i^2 / L_i}

        with the looks and mean powers of the dates: that of pixels that all dates show, if
        speckle differs from date to date. Where it is coherent in time there are fewer. Sums over
        areas have that many looks for each pixel; single pixels, which resampling smooths, more.
        Attribute ``dates`` of the image: JSON, a record of each date with its shift.

    Raises
    ------
    SeriesError
        If dates are of other tracks, or calibrated otherwise, than the first; or if none can be
        used.
    GeometryError
        If DEM and first date do not overlap.
    ValueError
        If an option has an impossible value.

    Warns
    -----
    RuntimeWarning
        If a date is left out, with the reason.

    References
    ----------
    Keys, R. G. (1981). Cubic convolution interpolation for digital image processing. IEEE TASSP
    29(6), 1153-1160.
    """
    require_option("coregistration", coregistration, Coregistration)
    report = progress or (lambda _text, _fraction: None)
    options = dict(product_options or {})
    if polarisation is not None:
        options.setdefault("polarisations", (polarisation,))
    dates, skipped = open_dates(images, options, strict=strict)
    dates = _require_dates(dates, skipped, polarisation)
    heights = CheckedDem.of(dem).array
    reference = crop_scene_to_dem(dates[0].scene, heights, margin=MARGIN)
    step = [max(size // PLACES, 1) for size in heights.shape]
    places = CheckedDem(heights[:: step[0], :: step[1]])
    mean = _Mean.of(reference)
    report(dates[0].name, 0.0)
    mean.add(replace(dates[0], scene=reference), _Registered.first(dates[0], reference))
    windows = None if coregistration == "none" else _Windows.of(reference)

    def register(date: Date) -> _Registered:
        return _Registered.of(date, reference, places, windows, correct=coregistration == "correct")

    with side_by_side(register, dates[1:], MEMORY) as results:
        for number, (date, result) in enumerate(results, 1):
            report(date.name, number / len(dates))
            try:
                mean.add(date, result.result())
            except (SarheightError, ValueError) as error:
                if strict:
                    msg = f"{date.name} cannot be used: {error}"
                    raise SeriesError(msg, options=getattr(error, "options", None)) from error
                skipped[date.name] = " ".join(str(error).split())
    report("done", 1.0)
    for name, reason in skipped.items():
        warnings.warn(f"{name} was left out of the mean: {reason}", RuntimeWarning, stacklevel=2)
    return mean.scene()


def _require_dates(
    dates: Sequence[Date], skipped: Mapping[str, str], polarisation: str | None
) -> list[Date]:
    """Check that dates belong together; return each acquisition once."""
    if not dates:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        msg = f"found no date that can be read ({reasons or 'none was passed'}), expected one"
        raise SeriesError(msg)
    names = dates[0].polarisations if polarisation is None else [polarisation]
    require_track(dates[0].record, dates, names)
    once: list[Date] = []
    for date in dates:
        if not any(is_same(other.record, date.record) for other in once):
            once.append(date.select(names))
    others = [
        f"{date.name}: {date.scene.calibration}"
        for date in once
        if date.scene.calibration != once[0].scene.calibration
    ]
    if others:
        msg = (
            f"found dates of another calibration than {once[0].scene.calibration} "
            f"({'; '.join(others)}), expected the same of all"
        )
        raise SeriesError(msg)
    return once


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows of a reference in which other dates are compared with it."""

    boxes: list[tuple[slice, slice]]
    seen: NDArray[np.float32]  # (windows, lines, samples): the reference, with a margin for shifts

    @classmethod
    def of(cls, reference: Scene) -> _Windows | None:
        """Read the windows in the first polarisation; None where the image is too small."""
        lines, samples = (_window_spans(size) for size in reference.grid.shape)
        boxes = [(line, sample) for line in lines for sample in samples]
        if not boxes:
            return None
        first = reference.image[0] if reference.image.ndim == 3 else reference.image
        edge = SEARCH + SURROUNDINGS
        parts = [first[_widen(line, edge), _widen(sample, edge)] for line, sample in boxes]
        return cls(boxes, np.stack([np.asarray(part.values, np.float32) for part in parts]))

    def shift_of(self, scene: Scene, offsets: Offsets) -> Shift:
        """Estimate the shift of a date against the reference."""
        found = []
        for line, sample in self.boxes:
            size = 1, line.stop - line.start, sample.stop - sample.start
            total, count = np.zeros(size, np.float32), np.zeros(size, np.uint16)
            _resample(scene, offsets, (line, sample), total, count)
            total[count == 0] = np.nan
            found.append(total[0])
        return estimate_shift_between(np.stack(found), self.seen)


@dataclass(frozen=True, eq=False)
class _Registered:
    """The offsets of a date from the reference, and their record."""

    offsets: Offsets
    record: dict[str, Any]

    @classmethod
    def first(cls, date: Date, reference: Scene) -> _Registered:
        """Register the reference with itself."""
        return cls(Offsets.none(reference), _record(date))

    @classmethod
    def of(
        cls,
        date: Date,
        reference: Scene,
        places: CheckedDem,
        windows: _Windows | None,
        *,
        correct: bool,
    ) -> _Registered:
        """Find the offsets of a date by orbits and DEM, and by its windows where there are some."""
        offsets = Offsets.between(reference, date.scene, places)
        if offsets.residual > LARGEST_RESIDUAL:
            msg = (
                f"relief moves its pixels by {offsets.residual:.2f} pixels against those of the "
                "first date, as it flew too far from its orbit: average it with nearer ones"
            )
            raise GeometryError(msg)
        record = _record(date)
        if windows is not None:
            shift = windows.shift_of(date.scene, offsets)
            corrected = correct and is_significant(shift)
            record |= {"coregistration": shift.attributes(), "corrected": corrected}
            if corrected:
                offsets = offsets.moved(shift.line, shift.sample)
        return cls(offsets, record)


def _record(date: Date) -> dict[str, Any]:
    """Return the name and the time of a date for the attributes of the mean."""
    return {"name": date.name, "start": date.record["start"]}


@dataclass(eq=False)
class _Mean:
    """Sums over dates on the lattice of a reference."""

    reference: Scene
    total: NDArray[np.float32]  # (polarisations, lines, samples)
    count: NDArray[np.uint16]  # likewise
    levels: list[float] = field(default_factory=list)  # mean power of each date
    looks: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, reference: Scene) -> _Mean:
        """Begin without dates."""
        shape = reference.image.shape
        layers = shape[0] if len(shape) == 3 else 1
        full = layers, *shape[-2:]
        return cls(reference, np.zeros(full, np.float32), np.zeros(full, np.uint16))

    def add(self, date: Date, registered: _Registered) -> None:
        """Resample a date, and add it, one strip of lines after the other."""
        power = values = 0.0
        shape = self.total.shape[1:]
        for first in range(0, shape[0], STRIP):
            box = slice(first, min(first + STRIP, shape[0])), slice(0, shape[1])
            total, count = self.total[:, box[0]], self.count[:, box[0]]
            image = _resample(date.scene, registered.offsets, box, total, count)
            power += float(np.nansum(image, dtype=np.float64))
            values += float(np.count_nonzero(np.isfinite(image)))
        if not values:
            msg = "it shows nothing of the ground of the first date"
            raise GeometryError(msg)
        self.levels.append(power / values)
        self.looks.append(date.scene.grid.looks)
        self.records.append(registered.record)

    def scene(self) -> Scene:
        """Return the mean."""
        image, grid = self.reference.image, self.reference.grid
        enough = self.count >= max(LEAST_DATES * len(self.levels), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(enough, self.total / self.count, np.float32(np.nan))
        levels, looks = np.array(self.levels), np.array(self.looks)
        # Dates whose mean is not above 0 hold noise only: they count as the others do.
        levels = np.where(levels > 0.0, levels, 1.0) if (levels <= 0.0).any() else levels
        total = float(levels.sum() ** 2 / (levels**2 / looks).sum())
        values = mean.astype(np.float32).reshape(image.shape)
        named = image.copy(data=values).assign_attrs(dates=json.dumps(self.records))
        return replace(self.reference, image=named, grid=replace(grid, looks=total))


def _window_spans(size: int) -> list[slice]:
    """Place windows along an axis with room for shifts around them; none in a small image."""
    edge = SEARCH + SURROUNDINGS
    side = min(WINDOW, (size - 2 * edge) // 2)
    if side < WINDOW // 4:
        return []
    count = min(WINDOWS, (size - 2 * edge) // side)
    starts = np.linspace(edge, size - edge - side, count).astype(int)
    return [slice(int(start), int(start) + side) for start in starts]


def _widen(part: slice, edge: int) -> slice:
    return slice(part.start - edge, part.stop + edge)


def _resample(
    scene: Scene,
    offsets: Offsets,
    box: tuple[slice, slice],
    total: NDArray[np.float32],
    count: NDArray[np.uint16],
) -> NDArray[np.float32]:
    """Add a part of a date to sums, shape (polarisations, ...); return its pixels that were read.

    Sums may have fewer polarisations than the date.
    """
    part = offsets.part(box, scene.grid.shape)
    read = scene.image[..., part[0], part[1]].values
    image = np.ascontiguousarray(read, np.float32).reshape(-1, *read.shape[-2:])
    begin, first = (part[0].start, part[1].start), (box[0].start, box[1].start)
    for layer in range(total.shape[0] if image.size else 0):
        accumulate_resampled(
            image[layer], begin, offsets.coefficients, offsets.scales, first,
            total[layer], count[layer],
        )  # fmt: skip
    return image
