"""What the tests assume: variances, skewness and covariates, against scipy and statsmodels."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from analysis_lib.atlas import parcellation
from analysis_lib.results.problems import Problem
from analysis_lib.vbm import diagnostics, tested
from analysis_lib.vbm.scans import Maps

ARM = np.repeat(["active", "control"], [14, 10])
MASK = np.ones((10, 8, 5), bool)


@pytest.fixture
def parcels():
    labels = np.ones(MASK.shape, np.int16)
    labels[5:] = 2
    table = {"label": [1, 2], "name": ["a", "b"], "region": ["Amygdala"] * 2}
    table |= {"hemisphere": ["left", "right"], "tissue": ["grey"] * 2}
    return parcellation.load_atlas(nib.Nifti1Image(labels, np.eye(4)), pd.DataFrame(table))


@pytest.fixture
def maps():
    """The active arm varies twice as much and gains; the control arm's change is skewed."""
    rng = np.random.default_rng(0)
    active = ARM == "active"
    change = np.where(active[:, None], 2, 1) * rng.standard_normal((24, MASK.sum()))
    change[~active] = rng.exponential(1, (10, MASK.sum()))
    change[active] += 7
    people = pd.DataFrame({"participant_id": range(24), "arm": ARM})
    covariates = pd.DataFrame(
        {"age": rng.normal(40, 9, 24), "site": active + rng.normal(0, 0.3, 24)}
    )
    pre = np.zeros_like(change)
    return Maps(people, pre, change, MASK, np.eye(4), covariates - covariates.mean(), None)


def test_residuals_are_those_of_arm_covariates_and_strata(maps):
    strata = np.array(list("ab") * 12)
    maps = Maps(maps.people, maps.pre, maps.post, MASK, np.eye(4), maps.covariates, strata)
    design = np.column_stack([np.ones(24), ARM == "active", maps.covariates, strata == "b"])
    fitted = design @ np.linalg.lstsq(design, maps.change, rcond=None)[0]
    np.testing.assert_allclose(maps.residuals(), maps.change - fitted, atol=1e-5)


def test_each_arm_s_spread_and_skewness_are_its_own(maps, parcels):
    found = diagnostics.diagnose(maps, parcels)
    left = maps.residuals()
    active, control = left[ARM == "active"], left[ARM == "control"]
    ratio = active.var(axis=0, ddof=1) / control.var(axis=0, ddof=1)
    images = {
        "variance_ratio": ratio,
        "skewness_active": pd.DataFrame(active).skew(),
        "skewness_control": pd.DataFrame(control).skew(),
    }
    for name, values in images.items():
        np.testing.assert_allclose(found[name].get_fdata()[MASK], values, rtol=1e-4)
    table = found["diagnostics"].set_index("measure")
    assert list(table.loc["variance ratio, voxels", ["q1", "median", "q3"]]) == pytest.approx(
        list(np.quantile(ratio, [0.25, 0.5, 0.75])), rel=1e-4
    )
    assert list(table["n_values"]) == [400, 2, 400, 400]
    inside = stats.f(13, 9).interval(0.95)
    beyond = np.mean((ratio < inside[0]) | (ratio > inside[1]))
    assert table.loc["variance ratio, voxels", "share_beyond"] == pytest.approx(beyond)
    for name, values in (("active", active), ("control", control)):
        beyond = np.mean(stats.skewtest(values).pvalue < 0.05)
        assert table.loc[f"skewness, {name}", "share_beyond"] == pytest.approx(beyond, abs=0.003)
    halves = np.arange(MASK.size) < MASK.size / 2
    regions = found["variance_by_region"]
    assert list(regions["region"]) == ["left amygdala", "right amygdala"]
    for name, values in (("active", active), ("control", control)):
        sd = [values[:, part].mean(axis=1).std(ddof=1) for part in (halves, ~halves)]
        np.testing.assert_allclose(regions[f"sd_{name}"], sd, rtol=1e-4)
    np.testing.assert_allclose(
        regions["variance_ratio"], (regions["sd_active"] / regions["sd_control"]) ** 2
    )


@pytest.fixture
def one_arm(maps):
    """Ten participants without a control arm."""
    rows = ARM == "control"
    people = maps.people[rows].assign(arm="active").reset_index(drop=True)
    values = (10 + maps.pre[rows], 10 + maps.post[rows], MASK, np.eye(4), maps.covariates[rows])
    return Maps(people, *values, None, contrasts=("change",))


def test_without_a_control_arm_the_mean_change_is_tested_in_the_same_way(one_arm, parcels):
    tests = tested.assess_contrasts(one_arm, n_permutations=99, seed=0)
    improvement = pd.Series(np.arange(10.0))
    tests["improvement"] = tested.assess_improvement(one_arm, improvement, n_permutations=99)
    study = SimpleNamespace(region_sets={}, equivalence=SimpleNamespace(percent=20))
    files = tested.result_files(study, tests, one_arm, parcels)
    np.testing.assert_allclose(
        files["change_t"].get_fdata()[MASK], stats.ttest_1samp(one_arm.change, 0)[0], rtol=1e-5
    )
    held = np.column_stack([np.ones(10), one_arm.covariates])
    left = np.eye(10) - held @ np.linalg.pinv(held)
    r = [stats.pearsonr(left @ values, left @ improvement)[0] for values in one_arm.change.T]
    np.testing.assert_allclose(files["improvement_r"].get_fdata()[MASK], r, rtol=1e-4, atol=1e-6)
    summary = files["summary"].set_index("contrast")[["n_active", "n_control"]]
    assert (summary == [10, 0]).all(axis=None)
    assert set(files["equivalence"]["contrast"]) == {"change"}
    assert files["change_about"]["number_of_subjects"] == 10


def test_without_a_control_arm_there_is_one_skewness_and_no_ratio(one_arm, parcels):
    found = diagnostics.diagnose(one_arm, parcels)
    assert list(found["diagnostics"]["measure"]) == ["skewness, active"]
    assert list(found["null_rates"]["contrast"]) == ["change"]
    assert "variance_ratio" not in found["variance_by_region"]
    skewness = stats.skew(one_arm.residuals(), bias=False)
    values = found["skewness_active"].get_fdata()[MASK]
    np.testing.assert_allclose(values, skewness, rtol=1e-5)
    assert {"variance_ratio", "skewness_control", "design"}.isdisjoint(found)


def test_normal_data_of_equal_variance_lie_beyond_the_limits_as_often_as_said():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((24, 20_000))
    ratio = diagnostics.variance_ratio(values, ARM)
    skewness = {name: stats.skew(values[name == ARM], bias=False) for name in ("active", "control")}
    table = diagnostics.spread_table({"voxels": ratio}, skewness, ARM).set_index("measure")
    error = 4 * np.sqrt(0.05 * 0.95 / 20_000)
    assert table["share_beyond"].to_numpy() == pytest.approx(0.05, abs=error)


@pytest.mark.parametrize("n", [8, 18, 60])
def test_the_limit_of_skewness_is_where_scipy_s_p_is_05(n):
    values = stats.skewnorm(4).rvs((n, 4000), random_state=n)
    skewness, p = stats.skew(values, bias=False), stats.skewtest(values).pvalue
    np.testing.assert_array_equal(np.abs(skewness) > diagnostics.skewness_limit(n), p < 0.05)


def test_seven_participants_are_too_few_to_judge_skewness():
    arm = np.repeat(["active", "control"], [7, 8])
    skewness = {"active": np.ones(3), "control": np.ones(3)}
    table = diagnostics.spread_table({}, skewness, arm).set_index("measure")
    assert np.isnan(table.loc["skewness, active", "share_beyond"])
    assert table.loc["skewness, control", "share_beyond"] == 0


def test_inflation_is_that_of_statsmodels_and_the_arm_has_a_row(maps):
    table = diagnostics.design_table(ARM, maps.covariates).set_index("term")
    design = np.column_stack([np.ones(24), maps.covariates, ARM == "active"])
    expected = [variance_inflation_factor(design, k) for k in (1, 2, 3)]
    np.testing.assert_allclose(table["variance_inflation"], expected)
    r = [np.corrcoef(design[:, k], design[:, 3])[0, 1] for k in (1, 2, 3)]
    np.testing.assert_allclose(table["r_arm"], r)


def told(monkeypatch, **columns):
    covariates = pd.DataFrame(columns)
    monkeypatch.setattr(diagnostics, "design_columns", lambda *_: (covariates, None))
    people = pd.DataFrame({"participant_id": range(24), "arm": ARM})
    return diagnostics.problems(SimpleNamespace(arms="two"), people)


def test_a_covariate_that_is_the_arm_but_for_one_is_refused_by_name(monkeypatch):
    almost = np.where(ARM == "active", 1.0, 0.0)
    almost[0] = 0
    (problem,) = told(monkeypatch, scanner=almost)  # 1 / (1 - (13 x 10) / (14 x 11))
    assert problem.severity == "error"
    assert str(problem).startswith("participants.tsv: scanner: covariates that leave the arm")
    assert "inflated at most 2-fold) expected, found 6.4-fold" in str(problem)
    (problem,) = told(monkeypatch, scanner=np.where(ARM == "active", 1.0, 0.0))
    assert "found without limit" in str(problem)


def test_a_covariate_tied_to_the_arm_is_warned_of_and_one_that_is_not_passes(monkeypatch):
    age = np.arange(24.0) % 7
    (problem,) = told(monkeypatch, dose=(ARM == "active") + 0.2 * age)
    assert (problem.severity, problem.place) == ("warning", "dose")
    assert told(monkeypatch, age=age) == []


def test_covariates_that_follow_from_one_another_are_named(monkeypatch):
    age = np.arange(24.0) % 7
    (problem,) = told(monkeypatch, age=age, months=12 * age)
    assert isinstance(problem, Problem)
    assert problem.severity == "warning"
    assert str(problem).startswith("participants.tsv: age, months: covariates that differ expected")
