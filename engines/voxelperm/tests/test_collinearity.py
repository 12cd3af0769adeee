"""Variance inflation: against statsmodels and closed forms, and that the culprits are named."""

import numpy as np
import pytest

from voxelperm import check_inflation, permutation_test, variance_inflation

ARM = np.repeat([1.0, 0.0], 18)
RNG = np.random.default_rng(3)
AGE, SITE = RNG.normal(40, 10, 36), RNG.integers(0, 2, 36).astype(float)


def test_it_is_that_of_statsmodels(oracle):
    influence = oracle("statsmodels.stats.outliers_influence")
    columns = np.column_stack([ARM, AGE + 30 * ARM, SITE, np.ones(36)])
    expected = influence.variance_inflation_factor(columns, 0)
    factor, named = variance_inflation(ARM, columns[:, 1:3], ["age", "site"])
    assert factor == pytest.approx(expected, rel=1e-10)
    assert named == ("age",)
    assert variance_inflation(ARM, None) == (1, ())


def test_a_covariate_equal_to_the_arm_but_for_one_person_is_refused_by_name():
    group = ARM.copy()
    group[0] = 0  # r^2 = 17 / 19: factor 9.5
    columns = np.column_stack([AGE, group])
    assert variance_inflation(ARM, group)[0] == pytest.approx(9.5)
    with pytest.raises(ValueError, match=r"^group and the tested .* inflation 10\.\d+, at most 5"):
        check_inflation(ARM, columns, ["age", "group"])
    with pytest.warns(UserWarning, match="group and the tested column are collinear"):
        check_inflation(ARM, columns, ["age", "group"], refuse_above=20)
    assert check_inflation(ARM, np.column_stack([AGE, SITE])) < 1.2


def test_exact_collinearity_names_every_column_that_it_takes():
    columns = np.column_stack([SITE, ARM - SITE, AGE, AGE])
    factor, named = variance_inflation(ARM, columns)
    assert factor == np.inf
    assert sorted(named) == ["column 1", "column 2"]
    assert variance_inflation(ARM, 1 - ARM, ["sham"]) == (np.inf, ("sham",))
    maps, mask = RNG.standard_normal((36, 8)), np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="column 1, column 2 of the nuisance explain the tested"):
        permutation_test(maps, mask, ARM, columns)


def test_a_mean_has_no_constant_beside_it():
    assert variance_inflation(np.ones(36), AGE - AGE.mean(), intercept=False)[0] == 1
    assert variance_inflation(np.ones(36), AGE, intercept=True)[0] == np.inf
