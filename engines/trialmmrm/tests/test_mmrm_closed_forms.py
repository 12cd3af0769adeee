"""Against least squares, analysis of variance, Hotelling's T2 and statsmodels."""

import numpy as np
import pytest
from mmrm_trials import FORMULA, KEYS, trial
from scipy import special, stats

from trialmmrm import DF_METHODS, STRUCTURES, fit_mmrm, lsmeans
from trialmmrm.kenward_roger import df_and_scale


def least_squares(y, *columns):
    """Coefficient and standard error of the last column, and the residual standard deviation."""
    x = np.column_stack([np.ones(len(y)), *columns])
    beta, rss, _, _ = np.linalg.lstsq(x, y, rcond=None)
    sd = np.sqrt(rss[0] / (len(y) - x.shape[1]))
    return beta[-1], sd * np.sqrt(np.linalg.inv(x.T @ x)[-1, -1]), sd


@pytest.mark.parametrize("df", DF_METHODS)
def test_complete_data_saturated_is_least_squares_at_each_visit(df):
    data = trial(n_visits=4)
    fit = fit_mmrm(data, "change ~ arm*visit", df=df, **KEYS)
    table, means = fit.contrasts("arm"), fit.means("arm").set_index(["arm", "visit"])
    for row in table.itertuples():
        own = data[data["visit"] == row.visit]
        estimate, se, sd = least_squares(own["change"].to_numpy(), own["arm"] == "active")
        assert (row.estimate, row.se) == pytest.approx((estimate, se), rel=1e-9)
        p = 2 * special.stdtr(34, -abs(estimate / se))
        assert (row.df, row.p) == pytest.approx((34, p), rel=1e-9)
        assert fit._sd(row.visit) == pytest.approx(sd, rel=1e-9)
        active = own.loc[own["arm"] == "active", "change"]
        assert means.loc[("active", row.visit), "mean"] == pytest.approx(active.mean())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_one_visit_is_analysis_of_covariance(structure):
    data = trial(n_visits=1)
    fit = fit_mmrm(data, FORMULA, covariance=structure, **KEYS)
    columns = data["baseline"].to_numpy(), data["arm"] == "active"
    estimate, se, _ = least_squares(data["change"].to_numpy(), *columns)
    row = fit.contrasts("arm").iloc[0]
    expected = [estimate, se, 33.0]
    np.testing.assert_allclose(row[["estimate", "se", "df"]].astype(float), expected, rtol=1e-9)
    assert fit.n_parameters == 1


def anova_interaction(data):
    """F of arm by visit in a balanced repeated-measures analysis of variance of two arms."""
    wide = data.pivot(index=["arm", "id"], columns="visit", values="change")
    y = wide.to_numpy().reshape(2, -1, wide.shape[1])  # arms, participants, visits
    cell, arm = y.mean(1, keepdims=True), y.mean((1, 2), keepdims=True)
    effect = cell - arm - y.mean((0, 1)) + y.mean()
    error = y - cell - y.mean(2, keepdims=True) + arm
    n, visits = y.shape[1:]
    df = visits - 1, (visits - 1) * 2 * (n - 1)
    return n * (effect**2).sum() / df[0] / ((error**2).sum() / df[1]), *df


def test_joint_test_of_balanced_compound_symmetry_is_the_repeated_measures_anova():
    data = trial(n_visits=4, effect=-1)
    fit = fit_mmrm(data, "change ~ arm*visit", covariance="cs", **KEYS)
    test = fit.test(np.eye(len(fit.terms))[fit.terms.str.contains(":")])
    f, df, residual_df = anova_interaction(data)
    assert (df, residual_df) == (3, 3 * 34)
    assert test["num_df"] == df
    assert (test["den_df"], test["F"]) == pytest.approx((residual_df, f), rel=1e-8)
    assert test["p"] == pytest.approx(stats.f.sf(f, df, residual_df), rel=1e-7)


def test_joint_test_of_complete_unstructured_data_is_hotelling():
    data = trial(n_visits=3, effect=-1)
    fit = fit_mmrm(data, "change ~ 0 + visit + arm:visit", **KEYS)
    wide = data.pivot(index=["id", "arm"], columns="visit", values="change")
    active, control = (wide.xs(arm, level="arm") for arm in ("active", "control"))
    difference = active.mean() - control.mean()
    pooled = (active.cov() + control.cov()) / 2 * (2 / 18)
    t2 = difference @ np.linalg.solve(pooled, difference)
    rows = lsmeans.difference_rows(fit._design, "arm", "control", "visit")[1]
    test = fit.test(rows)
    # Kenward & Roger (1997, section 4): F and df are exact for Hotelling's T2
    assert test["F"] == pytest.approx((34 - 3 + 1) / (34 * 3) * t2, rel=1e-6)
    assert test["den_df"] == pytest.approx(34 - 3 + 1, rel=1e-6)


def test_one_row_of_the_joint_test_is_the_t_test_squared():
    for df in DF_METHODS:
        fit = fit_mmrm(trial(missing=0.15, seed=2), FORMULA, df=df, **KEYS)
        row = np.eye(len(fit.terms))[-1]
        test, single = fit.test(row), fit.estimates(row).iloc[0]
        assert test["F"] == pytest.approx(single["t"] ** 2)
        assert (test["den_df"], test["p"]) == pytest.approx((single["df"], single["p"]))


def test_kenward_roger_formula_for_many_rows_has_the_limit_of_one_row():
    df, scale = df_and_scale(1, 0.05, 0.05)
    assert (df, scale) == pytest.approx((40, 1))
    assert df_and_scale(3, 1e-9, 1e-9)[1] == pytest.approx(1)


@pytest.mark.parametrize("reml", [True, False])
def test_compound_symmetry_is_the_random_intercept_model_of_statsmodels(reml):
    smf = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is not installed")
    data = trial(n=30, n_visits=4, seed=4, missing=0.1, correlation=0.8).dropna()
    fit = fit_mmrm(data, FORMULA, covariance="cs", df="satterthwaite", reml=reml, **KEYS)
    mixed = smf.mixedlm(FORMULA, data, groups="id").fit(reml=reml, method="lbfgs")
    assert fit.loglik == pytest.approx(mixed.llf, abs=1e-5)
    np.testing.assert_allclose(
        fit.coefficients["estimate"], mixed.fe_params[fit.terms], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(fit.coefficients["se"], mixed.bse_fe[fit.terms], rtol=1e-3)
