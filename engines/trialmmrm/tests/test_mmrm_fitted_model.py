"""What the fitted model holds."""

import numpy as np
import pandas as pd
import pytest
from mmrm_trials import FORMULA, KEYS, trial

from trialmmrm import fit_mmrm


def test_numbers_of_the_fit_are_counted_as_r_counts_them():
    data = trial(missing=0.2, seed=9)
    fit = fit_mmrm(data, FORMULA, **KEYS)
    used = data.dropna()
    assert (fit.n_rows, fit.n_dropped) == (len(used), len(data) - len(used))
    assert fit.n_participants == used["id"].nunique()
    assert fit.deviance == -2 * fit.loglik
    assert fit.aic == pytest.approx(fit.deviance + 2 * 6)
    assert fit.bic == pytest.approx(fit.deviance + np.log(fit.n_participants) * 6)
    assert f"{fit.n_dropped} rows left out ({fit.n_dropped} without change)" in fit.summary()


def test_residuals():
    data = trial(missing=0.2, seed=9).set_index(np.arange(1000, 1108))
    fit = fit_mmrm(data, FORMULA, **KEYS)
    table, covariance = fit.residuals, fit.covariance.to_numpy()
    used = data.loc[table.index]
    np.testing.assert_allclose(table["raw"], used["change"] - fit.fitted)
    sd = np.sqrt(np.diag(covariance))[table["visit"].cat.codes]
    np.testing.assert_allclose(table["pearson"], table["raw"] / sd)
    total = 0.0
    for _, own in table.groupby("id"):
        codes = own["visit"].cat.codes.to_numpy()
        quadratic = own["raw"] @ np.linalg.solve(covariance[np.ix_(codes, codes)], own["raw"])
        assert (own["normalized"] ** 2).sum() == pytest.approx(quadratic)
        total += quadratic
    assert total == pytest.approx(fit.n_rows - len(fit.terms), rel=0.15)


def test_adjusted_covariance_holds_the_standard_errors():
    fit = fit_mmrm(trial(missing=0.15, seed=2), FORMULA, **KEYS)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov)), fit.coefficients["se"])
    plain = fit_mmrm(trial(missing=0.15, seed=2), FORMULA, df="satterthwaite", **KEYS)
    np.testing.assert_allclose(fit.vcov_unadjusted, plain.vcov)
    assert (fit.coefficients["se"] >= plain.coefficients["se"]).all()
    pd.testing.assert_frame_equal(plain.vcov, plain.vcov_unadjusted)


def test_the_input_is_left_alone():
    data = trial(missing=0.1)
    before = data.copy(deep=True)
    fit_mmrm(data, FORMULA, **KEYS)
    pd.testing.assert_frame_equal(data, before)


def test_unused_categories_are_said_not_fitted():
    data = trial(n_visits=2)
    data["visit"] = pd.Categorical(data["visit"], ["baseline", "week1", "week2"])
    fit = fit_mmrm(data, FORMULA, **KEYS)
    assert fit.visits == ["week1", "week2"]
    assert "visit: no rows for baseline" in fit.summary()
