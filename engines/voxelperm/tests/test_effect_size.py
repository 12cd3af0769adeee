"""Hedges' correction: known values, the gamma ratio, and its limits."""

import numpy as np
import pytest
from scipy import special

from voxelperm import hedges_correction


@pytest.mark.parametrize(
    ("df", "j"),
    [(2, 1 / np.sqrt(np.pi)), (3, np.sqrt(np.pi / 6)), (4, np.sqrt(2 / np.pi)), (10, 0.9227)],
)
def test_hedges_correction_has_its_known_values(df, j):
    assert hedges_correction(df) == pytest.approx(j, abs=5e-5)


def test_hedges_correction_is_the_gamma_ratio_and_its_approximation():
    exact = special.gamma(7) / (np.sqrt(7) * special.gamma(6.5))
    assert hedges_correction(14) == pytest.approx(exact)
    assert hedges_correction(34) == pytest.approx(1 - 3 / (4 * 34 - 1), abs=1e-4)
    assert hedges_correction(1e5) == pytest.approx(1, abs=1e-5)
