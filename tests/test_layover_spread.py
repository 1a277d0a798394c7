"""The error model: how far allocated values may lie from the truth."""

from __future__ import annotations

import numpy as np
import pytest

from sarheight.layover._statistics import fit_error_models


def test_cells_that_share_their_pixels_lie_farther_from_their_neighbourhood() -> None:
    """What the ground itself does is diversity; the error beyond it is found by class."""
    random = np.random.default_rng(0)
    size = 200_000
    share = random.uniform(0.0, 1.0, size)
    error = 0.3 * (1.0 - share)
    prior = random.lognormal(0.0, 0.5, size)
    own = prior * np.exp(random.normal(0.0, np.sqrt(0.1**2 + error**2)))
    sample = np.stack([share, own, prior]).astype(np.float32)
    ((model,),) = fit_error_models([[sample]])
    middles = 1.0 - (np.arange(model.excess.size) + 0.5) / model.excess.size
    np.testing.assert_allclose(model.edges, np.linspace(0.0, 1.0, 21)[1:-1], atol=0.01)
    assert model.middle == pytest.approx(0.5, abs=0.01)
    assert model.diversity == pytest.approx(0.1**2, rel=0.15)
    assert model.contrast == pytest.approx(0.25, rel=0.05)
    np.testing.assert_allclose(model.excess, (0.3 * middles) ** 2, rtol=0.15, atol=2e-3)
