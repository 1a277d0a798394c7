"""Methods of reconstruction as values: what a user chooses, and what each of them assumes.

A `Prior` holds all that is assumed of the ground and of the DEM before an image is seen. How the
methods compute is in `sarheight.layover._solve`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

import numpy as np

from sarheight.illumination import ANGLE_UNIT, MIDDLE_ANGLE

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid

Made = TypeVar("Made")

DECIBELS_PER_NEPER = 10.0 / math.log(10.0)


def log_variance(decibels: float) -> float:
    """Return the variance of a natural logarithm whose standard deviation is in decibels."""
    return (decibels / DECIBELS_PER_NEPER) ** 2


def _decibels(variance: float) -> float:
    """Return the standard deviation in decibels for a variance of the natural logarithm.

    Constants were found as such variances, by least squares.
    """
    return DECIBELS_PER_NEPER * math.sqrt(variance)


def _require_numbers(thing: Any, **limits: tuple[float, float]) -> None:  # noqa: ANN401 - any of the dataclasses
    """Refuse fields that are no numbers, or beyond their limits; `LIMITS` unless these say so."""
    for entry in fields(thing):
        value, (least, most) = getattr(thing, entry.name), limits.get(entry.name, LIMITS)
        whole = entry.type == "int"
        if entry.type in {"float", "int"} and not (
            _is_number(value, whole=whole) and least <= value <= most
        ):
            kind, name = "a whole number" if whole else "a number", type(thing).__name__
            msg = (
                f"found {entry.name}={value!r} in {name}, expected {kind} of {least:g} to {most:g}"
            )
            raise ValueError(msg)


def _is_number(value: object, *, whole: bool = False) -> bool:
    kinds = int | np.integer if whole else float | int | np.floating | np.integer
    return isinstance(value, kinds) and not isinstance(value, bool)


def _are_numbers(values: object, count: int) -> bool:
    """Tell whether something is a sequence of so many numbers."""
    return (
        isinstance(values, tuple | list) and len(values) == count and all(map(_is_number, values))
    )


def _require_kind(name: str, value: object, kind: type[Any]) -> None:
    """Refuse a field that is not an object of its class."""
    if not isinstance(value, kind):
        msg = f"found {name}={value!r}, expected an object of {kind.__name__}"
        raise TypeError(msg)


Point = Literal["mean", "median"]
"""What is reported of the posterior distribution of gamma0."""
LARGEST_EDGES = 20.0
"""Difference in decibels of neighbours that no two kinds of ground exceed."""
SMALLEST_DEVIATION, LARGEST_DEVIATION = 1e-3, 1000.0
"""Least and greatest standard deviation in decibels that a prior may state: precisions must be
finite, and their inverse too."""
LIMITS = 0.0, 1e6
"""Of other numbers."""
DEVIATIONS = SMALLEST_DEVIATION, LARGEST_DEVIATION
SMALLEST_POOLING = 1e-3
"""Postings over which values are pooled at least: a window of less holds one cell alone."""
MOST_STEPS, FARTHEST = 100, 100.0
"""Reallocations, and postings over which values are smoothed or pooled: far more than is of use,
and little enough for the memory of any machine."""


@dataclass(frozen=True, kw_only=True)
class ValueErrors:
    r"""Error of the value that a cell gets from its pixels.

    The logarithm of a value has the error variance

    .. math:: e = e_0 + e_s \nu + e_m (1 - s)^2 + e_q q + e_b b s^2

    with the relative variance :math:`\nu` that speckle of one look leaves in the cell, its
    contribution share s, the mean square q of the relative change of simulated RCS from sample to
    sample, and the mean square b by which slopes of the DEM change around the cell. The proportions
    were found at the places for development of the independent test: by least squares of values
    against the truth, and those of what remains, heights and slopes by the least error of results.

    Attributes
    ----------
    least : float
        Standard deviation in dB where speckle, layover and DEM cause none: impulse response, and
        borders of cells. Its variance is e0.
    ground_range_speckle, slant_range_speckle : float
        Pixels that share one speckle: a ground-range product has pixels of 10 m and a resolution of
        20 m x 23 m (Sentinel-1 IW GRDH), and windows of a complex image overlap no more than its
        bandwidth makes. Over the looks of the image it is es.
    others : float
        Variance by a pixel that is another place's, in units of the variance between places, which
        is measured in the scene. Their product is em.
    height_error : float
        Standard deviation in metres of a height error that displaces RCS by as much as is seen,
        with what a coarse DEM does not resolve. As a displacement in samples, squared, it is eq.
    bends : float
        Variance by relief that the DEM does not resolve, where its slopes change by 1 from one
        stretch of ground to the next: ground on which they change much has relief within its cells
        as well. A stretch is 90 m, but one posting at least and three at most. It is eb, and
        falls with the squared share: where pixels are those of others, em has what relief does.
    usual_contrast : float
        Standard deviation in dB between places where a scene is too small to measure it.
    least_contrast : float
        Least standard deviation in dB between places.
    """

    least: float = field(default=_decibels(0.012))
    ground_range_speckle: float = 4.6
    slant_range_speckle: float = 1.5
    others: float = 0.6
    height_error: float = 5.5
    bends: float = 0.5
    usual_contrast: float = field(default=_decibels(0.35))
    least_contrast: float = field(default=_decibels(0.02))

    def __post_init__(self) -> None:
        """Check the numbers."""
        names = ("least", "usual_contrast", "least_contrast")
        _require_numbers(self, **dict.fromkeys(names, DEVIATIONS))

    def terms(
        self, grid: RadarGrid, samples_per_metre: float, contrast: float
    ) -> tuple[float, float, float, float, float]:
        """Return e0, es, em, eq and eb of a pass, for a variance between places."""
        speckle = self.ground_range_speckle if grid.is_ground_range else self.slant_range_speckle
        return (
            log_variance(self.least),
            speckle / grid.looks,
            self.others * contrast,
            (self.height_error * samples_per_metre) ** 2,
            self.bends,
        )


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What `PosteriorMean` assumes of the ground and of the DEM.

    Attributes
    ----------
    level : float
        Standard deviation in dB of the levels of kinds of ground about the scene's law, as that of
        published C-band curves (2.5 dB). Results hardly depend on it.
    slope : float
        Standard deviation in dB for 10 degrees of incidence of their angular slopes, from the same
        curves (1.5 dB). Results hardly depend on it either.
    slope_angles : tuple of float
        Incidence angles in degrees beyond which a slope is not followed.
    roughness : float
        Standard deviation in dB of ground about the regression through its neighbours (1 dB).
        Results hardly depend on it.
    prediction : float
        Variance of what neighbours predict, in units of the variance between places, which is
        measured in the scene. Found at the places for development of the independent test.
    edges : float
        Difference in dB, relative to the law, beyond which two neighbours are taken to be of two
        kinds: the scale of a prior of Geman and McClure, see `sarheight_kernels.edges`. Posterior
        means of neighbours that differ by less are averaged last of all, and edges stay; 0 for
        none, 20 at most. Polarisations and passes of one reconstruction are compared together. The
        larger it is, the more noise goes, and with it the contrast of small bright places: at the
        places for development of the independent test 1.2 dB is the largest of 1.0, 1.2, 1.5 and
        2.0 that leaves squares of one, two and four cells, 6 dB brighter, the mean response that
        the best baseline has.
    errors : ValueErrors
        Error of the value that a cell gets from its pixels.
    open_inflation, layover_inflation : float
        A posterior variance is multiplied by the first where a cell has its pixels to itself, and
        by the second where they are others', with the squared share for the weight of the first:
        predictions are not independent of values, least of all in layover. Both are such that
        intervals held what they state on ground as varied from cell to cell as that of the places
        for development of the independent test, and change with what a scene shows
        (`sarheight.layover._statistics`).
    """

    level: float = field(default=_decibels(0.33))
    slope: float = field(default=_decibels(0.12))
    slope_angles: tuple[float, float] = (5.0, 60.0)
    roughness: float = field(default=_decibels(0.053))
    prediction: float = 0.7
    edges: float = 1.2
    errors: ValueErrors = field(default_factory=ValueErrors)
    open_inflation: float = 0.9
    layover_inflation: float = 2.35

    def __post_init__(self) -> None:
        """Check the numbers."""
        factors = SMALLEST_DEVIATION, LIMITS[1]
        _require_numbers(
            self,
            level=DEVIATIONS,
            slope=DEVIATIONS,
            roughness=(0.0, LARGEST_DEVIATION),
            prediction=factors,
            edges=(0.0, LARGEST_EDGES),
            open_inflation=factors,
        )
        _require_kind("errors", self.errors, ValueErrors)
        angles = self.slope_angles
        if not _are_numbers(angles, 2) or not 0.0 <= angles[0] < angles[1] <= 90.0:
            msg = (
                f"found slope_angles={angles!r} in Prior, expected two angles in degrees, the "
                "smaller one first"
            )
            raise ValueError(msg)
        object.__setattr__(self, "slope_angles", tuple(angles))

    @property
    def variances(self) -> tuple[float, float, float]:
        """Return variances of logarithms: of roughness, level, and slope per `ANGLE_UNIT`."""
        return log_variance(self.roughness), log_variance(self.level), log_variance(self.slope)

    @property
    def angle_scale(self) -> tuple[float, float, float, float]:
        """Return the angle in degrees of stated levels, the unit of angles, and limits in it."""
        first, last = ((limit - MIDDLE_ANGLE) / ANGLE_UNIT for limit in self.slope_angles)
        return MIDDLE_ANGLE, ANGLE_UNIT, first, last


@dataclass(frozen=True)
class Reallocation:
    r"""One step of reallocation: each cell is allocated its share of each pixel it illuminates.

    .. math:: \hat{x}_g = \frac{\sum_p W_{pg} I_p / S_p}{\sum_p W_{pg}},
              \qquad S_p = \sum_g W_{pg}

    with the RCS :math:`W_{pg}` that the cell would contribute to the pixel by the backscatter law
    alone. Every pixel's RCS is allocated exactly once. With a law of constant gamma0 this is
    area-projection radiometric terrain correction, see `RTC`.

    References
    ----------
    SAR2HEIGHT, EGU General Assembly 2026, EGU26-8644.
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """

    errors: ClassVar[ValueErrors] = ValueErrors(others=2.1, height_error=10.0)
    """Pixels are not weighed here: other places and the DEM cause larger errors of the value."""


@dataclass(frozen=True)
class RTC(Reallocation):
    r"""Area-projection radiometric terrain correction: all cells share one gamma0.

    Each pixel's RCS is divided by the illuminated area that projects into it, and a cell takes
    the mean of its pixels, weighted by its own projected area in them:

    .. math:: \hat\gamma_g = \frac{\sum_p A_{pg} \, \tilde E_p / \tilde A_p}{\sum_p A_{pg}},
              \qquad A_p = \sum_g A_{pg}

    (Small 2011, read from the ground). RCS :math:`E` and area :math:`A` are both smoothed before
    the division, as :math:`\tilde E` and :math:`\tilde A`, because a DEM puts area into a pixel
    beside the right one, and the quotient of two images that do not fit is large. No backscatter
    law is used.

    Attributes
    ----------
    blur : float
        Standard deviation of that smoothing, in postings of the DEM; 0 for none.

    References
    ----------
    Small, D. (2011). Flattening gamma: radiometric terrain correction for SAR imagery. IEEE TGRS
    49(8), 3081-3093.
    """

    blur: float = 0.2

    def __post_init__(self) -> None:
        """Check the settings."""
        _require_numbers(self, blur=(0.0, FARTHEST))


@dataclass(frozen=True)
class PosteriorMean:
    r"""Reallocation that weighs pixels, combined with what the neighbouring cells predict.

    The share of a cell in a pixel in layover rests on a model of the terrain, and errs with it.
    Two things are known all the same: a DEM puts RCS into the wrong pixel, but seldom far off; and
    neighbouring cells look alike once their incidence is accounted for. So

    1. image and simulation S are both smoothed over `blur` before they are compared, so that RCS
       that is a little off is still allocated to its cell;
    2. each pixel p counts by how sure its simulation is. An error of the DEM displaces RCS along
       range, and changes the simulation by as much as S changes from sample to sample:

       .. math:: \hat x_g = x_g \frac{\sum_p W_{pg} \, \omega_p \, I_p / S_p}
                 {\sum_p W_{pg} \, \omega_p}, \qquad
                 \omega_p = \frac{1}{f + (\partial \ln S / \partial s)_p^2}

       with the assumed reflectivity x, at first equal for all cells of a kind;
    3. the logarithm of that value has an error variance with five terms: speckle, by the number of
       looks that the cell's pixels hold; the part of its pixels that other places share, by how
       much places differ in this scene; the DEM's error, by the change of S over its pixels;
       relief that the DEM does not resolve, by how much its slopes change; and what remains
       where all these are small (`sarheight_kernels.estimation`);
    4. its neighbours within `pooling` postings predict it by a regression on the incidence angle:
       ground of another kind differs from the scene's law by a level and by an angular slope. How
       much places differ is measured in cells that have their pixels to themselves;
    5. the posterior mean averages value and prediction, in logarithms, by their precision;
    6. where there are several passes, each takes the others' posterior means for another
       prediction. How far passes agree, and how agreement falls with the difference of their
       incidence angles, is measured where both see the ground well: at angles at which they do not
       agree, nothing is borrowed;
    7. with posterior means in place of equal reflectivity all of it is done again, `steps` times
       in all: a bright place now claims more of the pixels that it shares;
    8. ground of two kinds meets at an edge, across which neighbours predict badly. Last of all,
       neighbours that look alike in all passes and polarisations are averaged, and edges stay
       (`Prior.edges`).

    In the end all cells of a pass are scaled by one factor, so that their RCS is that of its
    image.

    The result is a distribution of each cell's gamma0, of which either the mean or the median is
    reported. With the variance v of the logarithm, the mean of power :math:`\hat\gamma` is above
    the median:

    .. math:: \operatorname{median} \gamma = \exp \operatorname{E} \ln \gamma
              = \hat\gamma \, e^{-k v}

    with k = 1/2 for a log-normal distribution. Where averages of logarithms lose less RCS than that
    would make them lose, k is what they lose, as measured in the scene: v is too large there.

    Attributes
    ----------
    steps : int
        Number of reallocations.
    blur : float
        Standard deviation of the smoothing of the image, in postings of the facets into which
        cells of the DEM are divided.
    pooling : float
        Standard deviation of the neighbourhood on the ground, in postings of the DEM.
    prior : Prior
        What is assumed of the ground and of the DEM.
    estimate : {"mean", "median"}
        What ``gamma0`` and ``sigma0`` are. The mean of power keeps the RCS of the image, in sums
        and averages over cells; averages of its decibels are too high, by about 4.3 k v dB. The
        median is the mean of decibels, for those who average or compare these; its cells hold less
        RCS than the image shows, and attributes of a result that balance the RCS stay those of the
        mean. ``gamma0_std`` is the same for both, and intervals lie about the estimate.

    References
    ----------
    Shepp, L. A., Vardi, Y. (1982). Maximum likelihood reconstruction for emission tomography.
    IEEE Transactions on Medical Imaging 1(2), 113-122: the step without a prior.
    Robinson, G. K. (1991). That BLUP is a good thing: the estimation of random effects.
    Statistical Science 6(1), 15-32: the prediction.
    Efron, B., Morris, C. (1973). Stein's estimation rule and its competitors. JASA 68, 117-130:
    weights measured from the data.
    """

    steps: int = 2
    blur: float = 0.4
    pooling: float = 1.0
    prior: Prior = field(default_factory=Prior)
    estimate: Point = "mean"

    def __post_init__(self) -> None:
        """Check the settings."""
        _require_kind("prior", self.prior, Prior)
        if self.estimate not in get_args(Point):
            msg = f"found estimate={self.estimate!r}, expected 'mean' or 'median'"
            raise ValueError(msg)
        _require_numbers(
            self,
            steps=(1, MOST_STEPS),
            blur=(0.0, FARTHEST),
            pooling=(SMALLEST_POOLING, FARTHEST),
        )

    @property
    def errors(self) -> ValueErrors:
        """Return what is assumed of the error of the value that a cell gets from its pixels."""
        return self.prior.errors


Method = Reallocation | PosteriorMean
METHODS: Mapping[str, type[Method]] = {
    "posterior": PosteriorMean,
    "one-step": Reallocation,
    "rtc": RTC,
}
"""Methods by the names that functions and commands take."""


def as_method(method: object) -> Method:
    """Return a method that is given by its name, by its class, or as it is.

    Raises
    ------
    ValueError
        If there is no method of that name.
    TypeError
        If it is something else.
    """
    if isinstance(method, str) and method not in METHODS:
        msg = f"found method={method!r}, expected one of {', '.join(map(repr, METHODS))}"
        raise ValueError(msg)
    if isinstance(method, str):
        return METHODS[method]()
    if method in METHODS.values():
        return method()  # type: ignore[operator, no-any-return]  # a class
    if not isinstance(method, Method):
        msg = f"found method={method!r}, expected one of {', '.join(map(repr, METHODS))}, or RTC()"
        raise TypeError(msg)
    return method


def describe(thing: object) -> object:
    """Describe a law or a method in a form that JSON can hold."""
    if is_dataclass(thing) and not isinstance(thing, type):
        values = {name: np.asarray(value).tolist() for name, value in asdict(thing).items()}
        return {type(thing).__name__: values}
    return getattr(thing, "__name__", repr(thing))


def read_method(described: Mapping[str, Mapping[str, Any]]) -> Method:
    """Make the method that `describe` has described.

    Parameters
    ----------
    described : mapping
        The name of the method, and its settings by name: ``{"PosteriorMean": {"steps": 2}}``.
        What is left out has its default.

    Returns
    -------
    Reallocation, RTC or PosteriorMean
        The method, equal to the one that was described.

    Raises
    ------
    ValueError
        If there is no such method or setting, or a setting has a value that it cannot have.
    """
    methods: dict[str, type[Method]] = {
        kind.__name__: kind for kind in (PosteriorMean, Reallocation, RTC)
    }
    if len(described) != 1 or not set(described) <= set(methods):
        found = ", ".join(map(str, described)) or "nothing"
        msg = f"found {found}, expected one method of {', '.join(methods)}"
        raise ValueError(msg)
    ((name, values),) = described.items()
    return _made(methods[name], values)


PARTS: dict[str, type[Any]] = {"prior": Prior, "errors": ValueErrors}
"""Fields that hold settings of their own, by name."""


def _made(kind: type[Made], values: Any) -> Made:  # noqa: ANN401  # of a file
    """Make a dataclass of values by name."""
    if not isinstance(values, Mapping):
        msg = f"found {values!r}, expected the settings of {kind.__name__} by name"
        raise ValueError(msg)  # noqa: TRY004  # of a file
    unknown = sorted(set(values) - {entry.name for entry in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        known = ", ".join(entry.name for entry in fields(kind)) or "none"  # type: ignore[arg-type]
        msg = f"found {', '.join(unknown)} in {kind.__name__}, expected settings of: {known}"
        raise ValueError(msg)
    return kind(
        **{
            name: _made(PARTS[name], value) if name in PARTS else value
            for name, value in values.items()
        }
    )
