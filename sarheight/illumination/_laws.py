r"""Backscatter laws: the brightness of a surface by its local incidence angle.

A law is any callable from incidence angles in degrees to the backscatter coefficient
:math:`\sigma^0` (radar cross-section per area of the surface, linear power). The shares in which
the radar cross-section of a pixel in layover is allocated depend on the law's shape only, not on
its level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BackscatterLaw = Callable[[Floats], Floats]
"""From local incidence angles in degrees (0 to 90) to sigma0, linear power."""

MIDDLE_ANGLE, ANGLE_UNIT = 35.0, 10.0
"""Incidence angle in degrees at which the level of a local law is stated, and the unit of its
slope: most ground is seen at about that angle."""
TABLE = 4097
"""Points of a tabulated law, evenly spaced in the cosine: dense enough for a peak as sharp as
Muhleman's down to 2 degrees of incidence."""


def _cosine(incidence: Floats) -> Floats:
    """Return the cosine of angles in degrees; 0 beyond 90, where a surface faces away."""
    cosine = np.cos(np.radians(np.asarray(incidence, dtype=np.float64)))
    return np.clip(cosine, 0.0, None)


class _PositiveParameters:
    """A law whose parameters are positive numbers."""

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0.0):
                msg = f"found {name}={value!r}, expected a positive number"
                raise ValueError(msg)


@dataclass(frozen=True)
class ConstantGamma(_PositiveParameters):
    r"""A surface whose :math:`\gamma^0 = \sigma^0 / \cos\theta` is the same at every angle.

    .. math:: \sigma^0(\theta) = \gamma \cos\theta

    With this law all places that share a pixel are taken to be equally bright for their
    projected area, and one step of reallocation is area-projection radiometric terrain
    correction.

    Parameters
    ----------
    gamma : float
        Level, linear power.

    References
    ----------
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """

    gamma: float = 0.2

    def __call__(self, incidence: Floats) -> Floats:
        """Return sigma0 at incidence angles in degrees."""
        return self.gamma * _cosine(incidence)


@dataclass(frozen=True)
class CosinePower(_PositiveParameters):
    r"""A power of the cosine.

    .. math:: \sigma^0(\theta) = a \cos^n\theta

    Parameters
    ----------
    level : float
        a, linear power.
    exponent : float
        n; 1 is constant gamma0, 2 is Lambert's law.

    References
    ----------
    Ulaby, F. T., Moore, R. K., Fung, A. K. (1982). Microwave Remote Sensing, vol. II, chapter 11.
    """

    level: float = 0.2
    exponent: float = 1.5

    def __call__(self, incidence: Floats) -> Floats:
        """Return sigma0 at incidence angles in degrees."""
        return self.level * _cosine(incidence) ** self.exponent


@dataclass(frozen=True)
class Lambertian(_PositiveParameters):
    r"""Lambert's law: incident and scattered power both go with the cosine.

    .. math:: \sigma^0(\theta) = a \cos^2\theta

    Parameters
    ----------
    level : float
        a, linear power.
    """

    level: float = 0.2

    def __call__(self, incidence: Floats) -> Floats:
        """Return sigma0 at incidence angles in degrees."""
        return self.level * _cosine(incidence) ** 2


@dataclass(frozen=True)
class Muhleman(_PositiveParameters):
    r"""Muhleman's law of rough planetary surfaces, widely used to simulate radar images.

    .. math:: \sigma^0(\theta) = \frac{a \cos\theta}{(\sin\theta + b \cos\theta)^3}

    Parameters
    ----------
    level : float
        a; 0.0133 in the usual form.
    roughness : float
        b; 0.1 in the usual form. The smaller, the sharper the peak at normal incidence.

    References
    ----------
    Muhleman, D. O. (1964). Radar scattering from Venus and the Moon. Astronomical Journal 69,
    34-41.
    """

    level: float = 0.0133
    roughness: float = 0.1

    def __call__(self, incidence: Floats) -> Floats:
        """Return sigma0 at incidence angles in degrees."""
        cosine = _cosine(incidence)
        sine = np.sqrt(1.0 - np.clip(cosine, 0.0, 1.0) ** 2)
        return self.level * cosine / (sine + self.roughness * cosine) ** 3


@dataclass(frozen=True, eq=False)
class FittedLaw:
    r"""A smooth curve through values of :math:`\gamma^0` at some incidence angles.

    Monotone between its points (no wiggles), constant in gamma0 outside them. Made by
    `sarheight.layover.fit_law` from an image's own cells outside layover and shadow.

    Parameters
    ----------
    incidence : array, shape (n,)
        Local incidence angles in degrees, ascending.
    gamma0 : array, shape (n,)
        gamma0 at these angles, linear power, positive.
    cells : array, shape (n,), optional
        Number of cells from which each value is estimated.

    Raises
    ------
    ValueError
        If there are fewer than two points, angles are not ascending, or values not positive.
    """

    incidence: Floats
    gamma0: Floats
    cells: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        """Check the points."""
        angles, values = np.asarray(self.incidence), np.asarray(self.gamma0)
        good = (
            angles.ndim == 1
            and angles.shape == values.shape
            and angles.size >= 2
            and bool((np.diff(angles) > 0.0).all())
            and bool((np.isfinite(values) & (values > 0.0)).all())
        )
        if not good:
            msg = (
                f"found incidence angles {angles.tolist()} and gamma0 {values.tolist()}, expected "
                "at least two ascending angles in degrees with positive linear values"
            )
            raise ValueError(msg)

    def __call__(self, incidence: Floats) -> Floats:
        """Return sigma0 at incidence angles in degrees."""
        from scipy.interpolate import PchipInterpolator

        curve = PchipInterpolator(self.incidence, np.log(self.gamma0))
        angle = np.clip(np.asarray(incidence, np.float64), self.incidence[0], self.incidence[-1])
        return np.exp(curve(angle)) * _cosine(incidence)


@dataclass(frozen=True, eq=False)
class LocalLaw:
    r"""A law of each place's own, about the angle at which most ground is seen.

    .. math:: \ln\gamma = a + b t + c t^2 + \ldots, \qquad t = (\theta - 35°) / 10°

    Parameters
    ----------
    coefficients : sequence of array, shape (rows, columns)
        a, b, c and so on, at least one.
    """

    coefficients: Sequence[NDArray[np.float32]]

    def logarithm(self, angle: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ln(gamma0) at angles t, shape (rows, columns)."""
        return _polynomial(self.coefficients, angle)

    def slope(self, angle: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the derivative of ln(gamma0) by t, shape (rows, columns)."""
        bends = [power * each for power, each in enumerate(self.coefficients)][1:]
        return _polynomial(bends, angle) if bends else np.zeros_like(angle)


def _polynomial(
    coefficients: Sequence[NDArray[np.float32]], angle: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Evaluate a + b t + c t² + ..."""
    total = coefficients[-1]
    for each in reversed(coefficients[:-1]):
        total = each + angle * total
    return np.ascontiguousarray(total, dtype=np.float32)


def tabulate(law: BackscatterLaw) -> Floats:
    """Tabulate a law at evenly spaced cosines for the kernels, shape (4097,)."""
    cosine = np.linspace(0.0, 1.0, TABLE)
    angles = np.degrees(np.arccos(cosine))
    values = np.asarray(law(angles), dtype=np.float64)
    if values.shape != angles.shape:
        msg = (
            f"the backscatter law returned shape {values.shape} for angles of shape "
            f"{angles.shape}; expected one sigma0 for each angle: write it with NumPy functions"
        )
        raise ValueError(msg)
    # Rounding makes cos(90 degrees) slightly negative in many laws.
    values = np.where((values < 0.0) & (values > -1e-9), 0.0, values)
    if not (np.isfinite(values).all() and (values >= 0.0).all() and (values > 0.0).any()):
        finite = np.isfinite(values)
        limits = (
            f"from {values[finite].min():g} to {values[finite].max():g}" if finite.any() else ""
        )
        unfit = f"{(~finite).sum()} of {values.size} not finite" if not finite.all() else ""
        msg = (
            f"the backscatter law gave values {' and '.join(filter(None, (limits, unfit)))} "
            "between 0 and 90 degrees; expected finite linear power, not negative (is it in dB?)"
        )
        raise ValueError(msg)
    return values
