"""Change by region and sets of regions: against scipy, statsmodels, closed forms, definitions."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from analysis_lib.atlas import parcellation
from analysis_lib.vbm import discoveries, region_effects, tested
from analysis_lib.vbm.scans import Maps
from voxelperm import permutation_test

ARM = np.repeat(["active", "control"], [9, 5])
ACTIVE = ARM == "active"
AGE = np.array([31.0, 45, 52, 38, 60, 27, 49, 33, 41, 55, 36, 47, 29, 58])[:, None]
MASK = np.ones((4, 3, 3), bool)
AFFINE = np.diag([1.0, 1, 1, 1])
AFFINE[0, 3] = -4  # all on the left
PLAIN = SimpleNamespace(region_sets={}, equivalence=None)  # names nothing beforehand


@pytest.fixture
def change():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((14, 3)) * np.where(ACTIVE, 3, 1)[:, None]
    return pd.DataFrame(values + 2 * ACTIVE[:, None], columns=["a", "b", "c"])


def test_equal_errors_give_student_s_interval(change):
    found = region_effects.region_effects("arm_by_time", change, ARM, errors="equal")
    expected = stats.ttest_ind(change[ACTIVE], change[~ACTIVE])
    low, high = expected.confidence_interval()
    np.testing.assert_allclose(found["percent"], change[ACTIVE].mean() - change[~ACTIVE].mean())
    np.testing.assert_allclose(found[["ci_low", "ci_high"]], np.transpose([low, high]))
    np.testing.assert_allclose(found["df"], 12)


def test_unequal_errors_give_welch_s_error_and_the_df_of_bell_and_mccaffrey(change):
    """For two groups (Imbens & Kolesar 2016, eq. 21) the df depend on their sizes alone."""
    found = region_effects.region_effects("arm_by_time", change, ARM)
    se = np.sqrt(change[ACTIVE].var() / 9 + change[~ACTIVE].var() / 5)
    np.testing.assert_allclose(found["se"], se)
    df = (1 / 9 + 1 / 5) ** 2 / (1 / (81 * 8) + 1 / (25 * 4))
    np.testing.assert_allclose(found["df"], df)
    np.testing.assert_allclose(found["ci_high"] - found["percent"], stats.t.ppf(0.975, df) * se)


@pytest.mark.parametrize(("errors", "kind"), [("equal", "nonrobust"), ("unequal", "HC2")])
def test_the_difference_is_adjusted_as_by_least_squares(change, errors, kind):
    found = region_effects.region_effects("arm_by_time", change, ARM, AGE, errors)
    design = sm.add_constant(np.column_stack([ACTIVE, AGE]))
    fits = [sm.OLS(change[region], design).fit(cov_type=kind) for region in change]
    np.testing.assert_allclose(found["percent"], [fit.params.iloc[1] for fit in fits])
    np.testing.assert_allclose(found["se"], [fit.bse.iloc[1] for fit in fits])


@pytest.mark.parametrize("errors", ["equal", "unequal"])
def test_within_an_arm_it_is_the_paired_interval(change, errors):
    own = change[~ACTIVE]
    found = region_effects.region_effects("control_change", own, "control", AGE, errors)
    low, high = stats.ttest_1samp(own, 0).confidence_interval()
    np.testing.assert_allclose(found[["ci_low", "ci_high"]], np.transpose([low, high]))


@pytest.mark.parametrize("bound", [0.5, 4.0])
def test_two_one_sided_tests_are_those_of_statsmodels(change, bound):
    effects = region_effects.region_effects("arm_by_time", change, ARM, errors="equal")
    found = region_effects.equivalence(effects, bound)
    expected = [ttost_ind(change[r][ACTIVE], change[r][~ACTIVE], -bound, bound)[0] for r in change]
    np.testing.assert_allclose(found["p_equivalence"], expected)
    holm = [min(1, 3 * min(expected))]
    assert found["p_equivalence_holm"].min() == pytest.approx(holm[0])
    inside = (found["ci90_low"] > -bound) & (found["ci90_high"] < bound)
    np.testing.assert_array_equal(inside, found["p_equivalence"] < 0.05)


@pytest.fixture
def parcels():
    labels = np.ones(MASK.shape, np.int16)
    labels[2:] = 2
    labels[3] = 3
    table = {"label": [1, 2, 3], "name": list("abc"), "region": ["Amygdala", "Insula", "Ventricle"]}
    table |= {"hemisphere": ["left", "left", "midline"], "tissue": ["grey", "grey", "csf"]}
    return parcellation.load_atlas(nib.Nifti1Image(labels, AFFINE), pd.DataFrame(table))


@pytest.fixture
def maps():
    rng = np.random.default_rng(3)
    pre = rng.uniform(0.4, 0.6, (14, MASK.sum()))
    people = pd.DataFrame({"participant_id": range(14), "arm": ARM})
    gain = np.where(np.arange(MASK.sum()) < 18, 0.2, 0) * ACTIVE[:, None]
    post = pre + gain + rng.normal(0, 0.02, pre.shape)
    return Maps(people, pre, post, MASK, AFFINE, pd.DataFrame(index=range(14)), None)


def test_region_change_is_percent_of_the_mean_before_in_those_compared(maps, parcels):
    rows = {"arm_by_time": slice(None), "active_change": ACTIVE, "control_change": ~ACTIVE}
    for contrast, own in rows.items():
        found = region_effects.region_percent(contrast, maps, parcels)
        assert list(found) == ["left amygdala", "left insula"]
        for region, voxels in zip(found, (slice(0, 18), slice(18, 27)), strict=True):
            before = maps.pre[own][:, voxels].mean()
            expected = 100 * maps.change[own][:, voxels].mean(axis=1) / before
            np.testing.assert_allclose(found[region], expected)


@pytest.fixture(params=[0, 3])
def result(maps, request):
    everything = ("max_t", "true_discoveries")
    tested = ACTIVE.astype(float)
    return permutation_test(
        maps.change,
        MASK,
        tested,
        n_permutations=199,
        statistics=everything,
        seed=1,
        shift=request.param,
    )


def test_a_set_and_the_rest_of_the_grey_matter_have_bounds_of_their_own(maps, parcels, result):
    of_voxel = discoveries.region_of_voxels(MASK, AFFINE, parcels)
    sets = {"limbic": ["left amygdala"], "other": ["left insula"]}
    table = discoveries.set_table("arm_by_time", result, sets, of_voxel).set_index("region_set")
    assert list(table.index) == ["limbic", "limbic, all others", "other", "other, all others"]
    assert list(table["n_voxels"]) == [18, 9, 9, 18]
    assert table.loc["limbic", "true_discoveries"] == result.true_discoveries(range(18)) / 18 > 0.5
    assert table.loc["other", "true_discoveries"] == 0
    assert table.loc["limbic", "p_set"] < 0.05 < table.loc["other", "p_set"]
    for row in table.itertuples():
        assert (row.p_set < 0.05) == (row.true_discoveries > 0)


def test_the_p_of_a_set_is_the_level_at_which_its_bound_vanishes(result):
    voxels = np.arange(MASK.sum()) % 3 == 0
    p = discoveries.set_p(result, voxels)
    assert 1 / 200 <= p < 1
    assert result.true_discoveries(voxels, p + 0.001) > 0
    assert result.true_discoveries(voxels, p - 0.001) == 0


def test_what_the_study_file_names_beforehand_is_tabled(maps, parcels):
    tests = tested.assess_contrasts(maps, n_permutations=99)
    assert tested.set_files(PLAIN, tests, maps, parcels) == {}
    study = SimpleNamespace(region_sets={"limbic": ["left amygdala"]})
    study.equivalence = SimpleNamespace(percent=5.0)
    found = tested.set_files(study, tests, maps, parcels)
    assert list(found["region_sets"]["contrast"].unique()) == list(tests)
    equal = found["equivalence"].set_index(["contrast", "region"])
    assert set(equal["bound"]) == {5.0}
    assert equal.loc[("control_change", "left insula"), "p_equivalence_holm"] < 0.05
    assert equal.loc[("arm_by_time", "left amygdala"), "p_equivalence"] > 0.9
    assert "active_change" not in equal.index


def test_regions_take_their_percent_and_interval_from_participants(maps, parcels):
    tests = tested.assess_contrasts(maps, n_permutations=99)
    files = tested.result_files(PLAIN, tests, maps, parcels)
    for contrast, test in tests.items():
        rows = files[f"{contrast}_regions"].set_index("region")
        expected = tested.estimates(test, maps, parcels).set_index("region")
        for name in ("percent", "ci_low", "ci_high"):
            np.testing.assert_allclose(rows[name], expected.loc[rows.index, name])
    assert (
        35 < files["arm_by_time_regions"].set_index("region").loc["left amygdala", "percent"] < 45
    )


def test_a_map_of_t_comes_with_what_neurovault_asks(maps, parcels):
    tests = tested.assess_contrasts(maps, n_permutations=99)
    files = tested.result_files(PLAIN, tests, maps, parcels)
    about = {contrast: files[f"{contrast}_about"] for contrast in tests}
    n = [about[c]["number_of_subjects"] for c in ("active_change", "control_change", "arm_by_time")]
    assert n == [9, 5, 14]
    assert about["arm_by_time"]["statistic_parameters"] == 12
    assert about["control_change"]["contrast_definition"] == "the change with control"


def test_each_contrast_is_tested_under_its_own_assumption(maps):
    tests = tested.assess_contrasts(maps, "equal", "skewed", n_permutations=20)
    assert [test.errors for test in tests.values()] == ["skewed", "skewed", "equal"]
    own = maps.change[ACTIVE][:, 20]
    plain = stats.ttest_1samp(own, 0).statistic
    skewness = stats.skew(own, bias=False)
    u = plain / 3
    hall = 3 * (u + skewness * u**2 / 3 + skewness**2 * u**3 / 27 + skewness / 54)
    assert tests["active_change"].result.t[20] == pytest.approx(hall, rel=1e-4)
