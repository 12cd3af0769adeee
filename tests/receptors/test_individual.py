"""Individual coupling as an outcome, against statsmodels, pingouin and exact enumeration."""

import itertools

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import special, stats

from analysis_lib.receptors import individual

ABOUT = pd.DataFrame({"receptor": ["D1", "D2", "DAT"]}, index=["a/1", "b/2", "c/3"])


@pytest.fixture
def outcomes():
    rng = np.random.default_rng(2)
    arm = np.repeat(["active", "control"], [13, 11])
    age = pd.DataFrame({"age": rng.normal(40, 9, 24), "sex": list("mf") * 12})
    z = rng.normal(0, 0.3, (24, 3)) + 0.4 * (arm == "active")[:, None] * [1, 0, 0]
    return z, arm, age


def test_individual_coupling_is_fisher_z_of_each_participant(trial):
    data, _ = trial
    z = individual.individual_coupling(data["change"], data["receptors"], "pearson")
    assert z.shape == (14, 4)
    r = stats.pearsonr(data["change"][3], data["receptors"][2])[0]
    assert z[3, 2] == pytest.approx(np.arctanh(r))


def test_the_coupling_is_of_normal_scores_unless_said_otherwise(trial):
    data, _ = trial
    z = individual.individual_coupling(data["change"], data["receptors"])
    x, y = (special.ndtri((stats.rankdata(v[1]) - 0.375) / 30.25) for v in list(data.values())[::2])
    assert z[1, 1] == pytest.approx(np.arctanh(np.corrcoef(x, y)[0, 1]))


def test_arm_effect_t_and_interval_are_those_of_least_squares(outcomes):
    z, arm, age = outcomes
    table = individual.arm_table(z, arm, ABOUT, age, n_permutations=99)
    design = np.column_stack([arm == "active", np.ones(24), age["age"], age["sex"] == "m"])
    for k, row in table.iterrows():
        fit = sm.OLS(z[:, k], design.astype(float)).fit()
        assert row["difference"] == pytest.approx(fit.params[0])
        assert row["t"] == pytest.approx(fit.tvalues[0])
        assert row["df"] == fit.df_resid == 20
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(fit.conf_int()[0])
    assert table["annotation"].tolist() == ["a/1", "b/2", "c/3"]
    assert (table["p_fwe"] >= table["p"]).all()
    plain = individual.arm_table(z, arm, ABOUT, n_permutations=99)
    g = pingouin.compute_effsize(z[arm == "active", 0], z[arm == "control", 0], eftype="hedges")
    assert plain.loc[0, "hedges_g"] == pytest.approx(g, rel=2e-3)  # pingouin approximates J


def test_p_of_few_participants_counts_every_relabelling():
    rng = np.random.default_rng(4)
    z, arm = rng.standard_normal((6, 3)), np.array(["active"] * 3 + ["control"] * 3)
    table = individual.arm_table(z, arm, ABOUT)
    t = []
    for chosen in itertools.combinations(range(6), 3):
        inside = np.isin(np.arange(6), chosen)
        t.append(stats.ttest_ind(z[inside], z[~inside]).statistic)
    size = np.abs(t)
    np.testing.assert_allclose(table["p"], (size >= size[0] - 1e-9).mean(axis=0))
    largest = size.max(axis=1, keepdims=True)
    np.testing.assert_allclose(table["p_fwe"], (largest >= size[0] - 1e-9).mean(axis=0))


def test_relation_to_improvement_is_the_partial_correlation(outcomes):
    z, arm, age = outcomes
    improvement = 10 * z[:, 1] + np.random.default_rng(5).normal(0, 3, 24)
    improvement[3] = np.nan
    table = individual.improvement_table(
        z, improvement, arm, ABOUT, age[["age"]], n_permutations=199
    )
    known = np.isfinite(improvement)
    frame = pd.DataFrame(z, columns=["z0", "z1", "z2"]).assign(
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


@pytest.mark.parametrize("table", ["arm_table", "improvement_table"])
def test_p_of_many_participants_comes_of_5000_draws_that_a_seed_repeats(outcomes, table):
    z, arm, _ = outcomes
    z = z + (arm == "active")[:, None] * [0, 2, 0]
    improvement = [] if table == "arm_table" else [10 * z[:, 1] + z[:, 2]]
    found, again, other = (
        getattr(individual, table)(z, *improvement, arm, ABOUT, **options)
        for options in ({}, {"seed": 0}, {"seed": 1})
    )
    assert found["p"][1] == pytest.approx(1 / 5001)
    pd.testing.assert_frame_equal(found, again)
    assert found["p"][2] != other["p"][2]


def test_a_common_arm_difference_is_no_relation_to_improvement():
    """Both differ between the arms; within arms they have nothing to do with one another."""
    rng = np.random.default_rng(6)
    arm = np.repeat(["active", "control"], 200)
    shift = np.where(arm == "active", 3.0, 0.0)
    z, improvement = shift + rng.standard_normal(400), shift + rng.standard_normal(400)
    table = individual.improvement_table(
        z[:, None], improvement, arm, ABOUT[:1], n_permutations=99, seed=1
    )
    assert np.corrcoef(z, improvement)[0, 1] > 0.6
    assert abs(table.loc[0, "r"]) < 0.12


def test_a_covariate_that_is_the_arm_is_refused(outcomes):
    z, arm, _ = outcomes
    with pytest.raises(ValueError, match="follows from arm, covariates or strata"):
        individual.arm_table(z, arm, ABOUT, pd.DataFrame({"site": arm}))
