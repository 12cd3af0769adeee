"""Slopes as an outcome of the trial, against statsmodels, pingouin and the long way."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import special, stats

from analysis_lib.receptors import correlation, slopes, together

ABOUT = pd.DataFrame({"receptor": ["D1", "D2", "DAT"]}, index=["a/1", "b/2", "c/3"])


@pytest.fixture
def outcomes():
    rng = np.random.default_rng(2)
    arm = np.repeat(["active", "control"], [13, 11])
    age = pd.DataFrame({"age": rng.normal(40, 9, 24), "sex": list("mf") * 12})
    y = rng.normal(0, 0.3, (24, 3)) + 0.4 * (arm == "active")[:, None] * [1, 0, 0]
    return y, arm, age


def design_of(arm, age):
    columns = [arm == "active", np.ones(len(arm)), age["age"], age["sex"] == "m"]
    return np.column_stack(columns).astype(float)


def test_a_slope_is_that_of_least_squares_on_normal_scores(trial):
    data, _ = trial
    maps = data["receptors"].copy()
    maps[1, 4] = np.nan
    found = correlation.patient_slopes(data["change"], maps)
    assert found.shape == (14, 4)
    for k in (0, 1):
        known = ~np.isnan(maps[k])
        x = special.ndtri((stats.rankdata(maps[k, known]) - 0.375) / (known.sum() + 0.25))
        line = stats.linregress(x / x.std(), data["change"][3, known])
        assert found[3, k] == pytest.approx(line.slope)
    raw = correlation.patient_slopes(data["change"], maps, "pearson")
    line = stats.linregress(stats.zscore(maps[0]), data["change"][3])
    assert raw[3, 0] == pytest.approx(line.slope)


def test_slopes_beside_the_others_are_those_of_one_regression(trial):
    data, _ = trial
    found = correlation.slopes_given_others(data["change"], data["receptors"], "pearson")
    design = sm.add_constant(stats.zscore(data["receptors"], axis=1).T)
    np.testing.assert_allclose(found[5], sm.OLS(data["change"][5], design).fit().params[1:])


def test_noise_leaves_the_mean_slope_alone_and_pulls_z_towards_zero():
    rng = np.random.default_rng(3)
    receptor = rng.normal(size=(1, 60))
    change = stats.zscore(receptor[0]) * 0.7 + rng.normal(size=(400, 60)) * 1.0
    noisy = change + rng.normal(size=(400, 60)) * 2
    quiet, loud = (correlation.patient_slopes(c, receptor).mean() for c in (change, noisy))
    assert quiet == pytest.approx(loud, abs=0.05)
    z = [np.arctanh(correlation.correlate(c, receptor)).mean() for c in (change, noisy)]
    assert z[1] < 0.6 * z[0]


def test_t_and_estimate_between_arms_are_those_of_statsmodels_hc2(outcomes):
    y, arm, age = outcomes
    test = slopes.slope_test(y, arm, covariates=age, n_permutations=99)
    for k in range(3):
        fit = sm.OLS(y[:, k], design_of(arm, age)).fit(cov_type="HC2", use_t=True)
        assert test.estimate[k] == pytest.approx(fit.params[0])
        assert test.t[k] == pytest.approx(fit.tvalues[0])
        assert test.df == fit.df_resid == 20
        np.testing.assert_allclose(test.interval()[:, k], fit.conf_int()[0])


def test_p_between_arms_is_that_of_flipped_residuals_fitted_the_long_way():
    """Seven patients of unequal arms, strata in the model, every one of 2^7 signs."""
    rng = np.random.default_rng(4)
    arm, site = np.array([1.0, 1, 1, 0, 0, 0, 0]), np.array([1.0, 0, 1, 0, 1, 0, 1])
    y = rng.normal(0, 1, (7, 3)) * (1 + arm)[:, None] + arm[:, None] * [3, 1, 0]
    test = slopes.slope_test(y, arm, strata=site, n_permutations=200)
    nuisance = np.column_stack([np.ones(7), site])
    hat = nuisance @ np.linalg.pinv(nuisance)
    scaled = (y - hat @ y) / np.sqrt(1 - np.diag(hat))[:, None]
    design = np.column_stack([arm, nuisance])

    def t(values):
        fits = (sm.OLS(column, design).fit(cov_type="HC2") for column in values.T)
        return np.array([abs(fit.tvalues[0]) for fit in fits])

    signs = np.array(list(itertools.product([1, -1], repeat=7)))[1:]
    drawn = np.array([t(s[:, None] * scaled) for s in signs])
    bound = t(y) - 1e-4 * t(y)  # draws are in single precision
    np.testing.assert_allclose(np.sort(test.null, axis=0), np.sort(drawn, axis=0), rtol=2e-3)
    np.testing.assert_allclose(test.p, (1 + (drawn >= bound).sum(axis=0)) / 128)
    largest = drawn.max(axis=1)[:, None]
    np.testing.assert_allclose(test.p_fwe, (1 + (largest >= bound).sum(axis=0)) / 128)


def test_within_an_arm_the_mean_slope_is_tested_by_every_flip_of_its_own_patients(outcomes):
    y, arm, _ = outcomes
    y, arm = y[8:], arm[8:]  # 5 active, 11 control
    test = slopes.slope_test(y, arm, "active_change")
    own = y[:5]
    np.testing.assert_allclose(test.t, stats.ttest_1samp(own, 0).statistic)
    signs = np.array(list(itertools.product([1, -1], repeat=5)))
    size = np.abs([stats.ttest_1samp(s[:, None] * own, 0).statistic for s in signs])
    np.testing.assert_allclose(test.p, (size >= size[0] - 1e-6).mean(axis=0))
    np.testing.assert_allclose(test.estimate, own.mean(axis=0))


def test_unequal_spread_in_unequal_arms_does_not_reject_too_often():
    rng, rejected = np.random.default_rng(5), 0
    arm = np.repeat([1, 0], [6, 18])
    for seed in range(150):
        y = rng.normal(0, np.where(arm, 2.0, 1.0))[:, None]
        rejected += slopes.slope_test(y, arm, n_permutations=99, seed=seed).p[0] <= 0.05
    assert rejected <= 17  # 97.5 % point of a binomial with .07; pooled relabelling: about 25


def test_the_table_by_arm_has_means_difference_and_hedges_g(outcomes):
    y, arm, age = outcomes
    test = slopes.slope_test(y, arm, covariates=age, n_permutations=99)
    table = slopes.arm_table(y, arm, ABOUT, test)
    assert table["annotation"].tolist() == ["a/1", "b/2", "c/3"]
    active = arm == "active"
    np.testing.assert_allclose(table["mean_active"], y[active].mean(axis=0))
    np.testing.assert_allclose(table["mean_control"], y[~active].mean(axis=0))
    np.testing.assert_array_equal(table[["p", "p_fwe"]], np.transpose([test.p, test.p_fwe]))
    np.testing.assert_allclose(table[["ci_low", "ci_high"]], test.interval().T)
    plain = slopes.arm_table(y, arm, ABOUT, slopes.slope_test(y, arm, n_permutations=99))
    g = pingouin.compute_effsize(y[active, 0], y[~active, 0], eftype="hedges")
    assert plain.loc[0, "hedges_g"] == pytest.approx(g, rel=2e-3)  # pingouin approximates J


def test_relation_to_improvement_is_the_partial_correlation(outcomes):
    y, arm, age = outcomes
    improvement = 10 * y[:, 1] + np.random.default_rng(5).normal(0, 3, 24)
    improvement[3] = np.nan
    table = slopes.improvement_table(y, improvement, arm, ABOUT, age[["age"]], n_permutations=199)
    known = np.isfinite(improvement)
    frame = pd.DataFrame(y, columns=["z0", "z1", "z2"]).assign(
        better=improvement, arm=(arm == "active") * 1.0, age=age["age"]
    )[known]
    for k, row in table.iterrows():
        found = pingouin.partial_corr(frame, f"z{k}", "better", ["arm", "age"])
        assert row["r"] == pytest.approx(found["r"].iloc[0])
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(
            list(found["CI95"].iloc[0]), abs=0.006
        )
    assert table["n"].tolist() == [23] * 3
    assert table.loc[1, "p"] == pytest.approx(1 / 200)


def test_a_seed_repeats_the_draws(outcomes):
    y, arm, _ = outcomes
    found, again, other = (
        slopes.slope_test(y, arm, n_permutations=300, seed=seed).p for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(found, again)
    assert (found != other).any()


def test_a_common_arm_difference_is_no_relation_to_improvement():
    """Both differ between the arms; within arms they have nothing to do with one another."""
    rng = np.random.default_rng(6)
    arm = np.repeat(["active", "control"], 200)
    shift = np.where(arm == "active", 3.0, 0.0)
    y, improvement = shift + rng.standard_normal(400), shift + rng.standard_normal(400)
    table = slopes.improvement_table(
        y[:, None], improvement, arm, ABOUT[:1], n_permutations=99, seed=1
    )
    assert np.corrcoef(y, improvement)[0, 1] > 0.6
    assert abs(table.loc[0, "r"]) < 0.12


def test_a_covariate_that_is_the_arm_is_refused(outcomes):
    y, arm, _ = outcomes
    with pytest.raises(ValueError, match="arm is a combination of covariates and strata"):
        slopes.slope_test(y, arm, covariates=pd.DataFrame({"site": arm}))


def test_a_scale_that_hardly_anyone_was_rated_on_is_left_out_with_the_reason(monkeypatch):
    def table(_slopes, improved, *_rest, **_options):
        if improved.sum() < 3:
            raise ValueError("nothing is left to test")
        return pd.DataFrame({"r": [0.5]})

    of = {"HAMD": np.ones(4), "HAMA": np.array([1.0, 1, 0, 0])}
    monkeypatch.setattr(together, "improvement_at_scan", lambda _study, _who, scale: of[scale.name])
    monkeypatch.setattr(together, "improvement_table", table)
    scales = [SimpleNamespace(name=name, primary=name == "HAMD") for name in ("HAMA", "HAMD")]
    inputs = SimpleNamespace(study=SimpleNamespace(scales=scales), arm=None, about=None)
    inputs.change = pd.DataFrame(index=range(4))
    tables, unanswered = together._improvement(inputs, None, {"n_permutations": 99, "seed": 0})
    assert {scale: rows["r"].tolist() for scale, rows in tables.items()} == {"HAMD": [0.5]}
    assert str(unanswered["HAMA"]) == "nothing is left to test"
