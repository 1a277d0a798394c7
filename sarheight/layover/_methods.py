"""The ways to give mixed energy back to the ground."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Method", "PosteriorMean", "Reallocation"]


@dataclass(frozen=True)
class Reallocation:
    r"""One step of reallocation: each cell gets its share of each pixel it lights.

    .. math:: \hat{x}_g = \frac{\sum_p W_{pg} I_p / S_p}{\sum_p W_{pg}},
              \qquad S_p = \sum_g W_{pg}

    with the energy :math:`W_{pg}` that the cell would send into the pixel by the backscatter law
    alone. Every pixel's energy is given out exactly once. With a law of constant gamma0 this is
    area-projection radiometric terrain correction.

    References
    ----------
    SAR2HEIGHT, EGU General Assembly 2026, EGU26-8644.
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """


@dataclass(frozen=True)
class PosteriorMean:
    r"""Reallocation, tempered by what neighbouring cells say.

    The share that a cell gets of a folded pixel rests on a model of the terrain, and errs with
    it. Two things are known all the same: a DEM puts energy into the wrong pixel, but seldom far
    off; and cells near each other look alike once their slope is accounted for. So

    1. image and simulation are both smoothed over `blur` of the DEM's posting before they are
       compared, so that energy that is a little off still finds its cell;
    2. the energy that cells were given and the energy that they were expected to return are
       pooled over `pooling` postings on the ground: the prior mean of each cell;
    3. how far the value that a cell was given may lie from the truth is measured: by how much
       more than others cells with such a share of their pixels differ from their prior mean, and
       by how much places far apart differ, times the square of the share that is not the cell's.
       What remains for cells that have their pixels to themselves is the ground's own diversity.
       The posterior mean averages own value and prior mean by their precision;
    4. where there are several passes, each takes the others' posterior means for a second prior,
       as good as passes agree where both have their pixels to themselves: a cell in a fold of one
       learns from another in which it lies open;
    5. with posterior means, pooled over twice the distance, in place of equal brightness all of
       it is done again, `steps` times in all: a bright place now claims more of the pixels that
       it shares.

    In the end all cells of a pass are scaled by one factor, so that the energy given out is that
    of its image.

    Attributes
    ----------
    steps : int
        Number of reallocations.
    blur : float
        Standard deviation of the smoothing of the image, in postings of the DEM.
    pooling : float
        Standard deviation of the pooling on the ground, in postings of the DEM.

    References
    ----------
    Shepp, L. A., Vardi, Y. (1982). Maximum likelihood reconstruction for emission tomography.
    IEEE Transactions on Medical Imaging 1(2), 113-122: the step without a prior.
    Silverman, B. W. et al. (1990). A smoothed EM approach to indirect estimation problems. JRSS B
    52(2), 271-324: smoothing between steps.
    Efron, B., Morris, C. (1973). Stein's estimation rule and its competitors. JASA 68, 117-130:
    weights measured from the data.
    """

    steps: int = 2
    blur: float = 0.2
    pooling: float = 1.5

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.steps < 1 or not self.blur >= 0.0 or not self.pooling > 0.0:
            msg = (
                f"found steps={self.steps}, blur={self.blur}, pooling={self.pooling}; expected at "
                "least one step, a blur that is not negative, and a positive pooling distance"
            )
            raise ValueError(msg)


Method = Reallocation | PosteriorMean
