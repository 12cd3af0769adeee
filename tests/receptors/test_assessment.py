"""Result tables of the receptor link: columns, families of tests, both nulls."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from analysis_lib.receptors import assessment, correlation, dominance_analysis, nulls
from analysis_lib.receptors.intervals import bootstrap_intervals
from analysis_lib.receptors.slopes import slope_test
from analysis_lib.results.contrasts import OF_CHANGE
from analysis_lib.study import catalogue

D1 = "kaller2017/sch23390"
FEOBV = "tuominen/feobv"
ANATOMY = pd.DataFrame(
    np.random.default_rng(9).gamma(5, size=(4, 30)), list("abcd"), np.arange(1, 31)
)


def _shuffled(effect):
    return np.random.default_rng(0).permuted(np.tile(effect, (50, 1)), axis=1)


@pytest.fixture(scope="module")
def assessed(trial):
    data, covariates = trial
    labels = np.arange(1, 31)
    named = [D1, FEOBV, "dukart2018/fpcit", "fazio2016/madam"]
    maps = pd.DataFrame(data["receptors"], index=named, columns=labels)
    maps.loc[FEOBV, 3] = np.nan
    change = pd.DataFrame(data["change"], columns=labels)
    options = {"n_permutations": 99, "n_bootstrap": 200}
    results = [
        assessment.assess_contrast(
            change, data["arm"], maps, _shuffled, ANATOMY, contrast, covariates, **options
        )
        for contrast in OF_CHANGE
    ]
    return results, maps, change, data["arm"], covariates


def test_correlation_table_has_the_columns_relied_on_outside(assessed):
    results, maps, change, arm, _ = assessed
    table = assessment.correlation_table(results, catalogue.library())
    assert ",".join(table.columns) == (
        "contrast,receptor,annotation,tracer,n_subjects_map,n_parcels,statistic,r,ci_low,ci_high,"
        "r_anatomy,p_parametric,p_spatial,p_fwe_spatial,p_spatial_anatomy,p_fwe_spatial_anatomy,"
        "p_randomisation,p_fwe,q_fdr"
    )
    assert table["contrast"].tolist() == np.repeat(OF_CHANGE, 4).tolist()
    assert table["receptor"].tolist() == ["D1", "VAChT", "DAT", "5-HTT"] * 3
    assert table["n_parcels"].tolist() == [30, 29, 30, 30] * 3
    assert table["n_subjects_map"].tolist() == [13, 4, 174, 10] * 3
    assert (table["p_fwe"] >= table["p_randomisation"]).all()
    assert (table["q_fdr"] >= table["p_randomisation"]).all()
    p = table["p_randomisation"][:4].to_numpy()
    np.testing.assert_allclose(table["q_fdr"][:4], stats.false_discovery_control(p))
    with pytest.raises(ValueError, match=r"different labels \(only in one of them: \[30\]"):
        assessment.assess_contrast(change.drop(columns=30), arm, maps, _shuffled, ANATOMY)


def test_every_test_of_a_contrast_is_the_one_of_its_own_function(assessed):
    results, maps, change, arm, covariates = assessed
    slopes = correlation.patient_slopes(change, maps)
    alone = slope_test(slopes, arm, "arm_by_time", covariates, n_permutations=99)
    np.testing.assert_array_equal(results[2].randomisation.null, alone.null)
    np.testing.assert_array_equal(results[2].slopes, slopes)
    spatial = nulls.spatial_test(results[2].effect, maps, results[2].surrogates)
    np.testing.assert_array_equal(spatial.p, results[2].spatial.p)


def test_r_beyond_anatomy_is_pingouins_partial_correlation_on_both_sides(assessed):
    results, maps, _, _, _ = assessed
    found = results[2].spatial_anatomy
    drawn = (found.null[0], results[2].surrogates[0])
    for row, effect in ((found.r, results[2].effect), drawn):
        for k in (0, 1):
            known = maps.iloc[k].notna().to_numpy()
            frame = pd.DataFrame({"effect": np.asarray(effect), "map": maps.iloc[k].to_numpy()})
            frame = frame.join(ANATOMY.T.reset_index(drop=True))[known]
            scores = frame.apply(lambda column: correlation.gaussianise(column.to_numpy()))
            if row is drawn[0]:  # a surrogate is not ranked again
                scores["effect"] = frame["effect"]
            expected = pingouin.partial_corr(scores, "effect", "map", list("abcd"))["r"].iloc[0]
            assert row[k] == pytest.approx(expected, abs=1e-3 if k else 1e-8)


def test_an_effect_that_is_anatomy_is_seen_before_any_receptor(assessed):
    results, _, _, _, _ = assessed
    effect = pd.Series(np.exp(ANATOMY.loc["b"]), ANATOMY.columns)
    rng = np.random.default_rng(1)
    drawn = rng.permuted(np.tile(effect, (199, 1)), axis=1)
    table = assessment.anatomy_table(replace(results[2], effect=effect, surrogates=drawn), ANATOMY)
    row = table.set_index("measure").loc["b"]
    assert row[["r", "p_spatial", "p_fwe_spatial"]].tolist() == pytest.approx([1, 0.005, 0.005])
    assert table["r"].abs().drop(1).max() < 0.5


def test_rivals_are_maps_of_other_receptors_and_share_the_resamples_of_r(assessed):
    results, maps, _, _, _ = assessed
    about = catalogue.library().assign(receptor=lambda t: t["receptor"].replace("DAT", "D1"))
    table = assessment.rival_table(results[2], about)
    drawn = np.abs(results[2].intervals.drawn)
    size = np.abs(results[2].spatial.r)
    first = size.argmax()
    same = about.loc[maps.index, "receptor"].to_numpy()
    rivals = np.flatnonzero(same != same[first])
    assert set(table["rival_annotation"]) == set(maps.index[rivals])
    ahead = drawn[:, [first]] > drawn[:, rivals]
    assert table["share_first"].iloc[0] == ahead.all(axis=1).mean()
    for k, share in zip(rivals, ahead.mean(axis=0), strict=True):
        row = table.set_index("rival_annotation").loc[maps.index[k]]
        assert row["share_ahead"] == share
        assert row["difference"] == pytest.approx(size[first] - size[k])
        assert row["ci_low"] <= row["ci_high"]
    assert table["difference"].is_monotonic_increasing


def test_two_equal_receptors_are_ahead_half_the_time_and_a_false_one_never():
    """D1's twin differs from it by noise alone; the third map has nothing to do with the effect."""
    rng = np.random.default_rng(8)
    base = rng.normal(size=60)
    maps = pd.DataFrame(
        [base + rng.normal(0, 0.3, 60), base + rng.normal(0, 0.3, 60), rng.normal(size=60)],
        ["a/1", "b/2", "c/3"],
    )
    arm = np.repeat(["active", "control"], 18)
    change = rng.normal(0, 1, (36, 60)) + np.outer(arm == "active", base)
    intervals = bootstrap_intervals(change, arm, maps, n_bootstrap=500)
    first = int(np.abs(intervals.r).argmax())
    found = intervals.differences(first, np.array([1 - first, 2]))
    assert found["ci_low"][0] < 0 < found["ci_high"][0]
    assert 0.3 < found["share_ahead"][0] < 0.999
    assert found["share_ahead"][1] == 1
    assert found["ci_low"][1] > 0
    assert found["share_first"] == pytest.approx(found["share_ahead"][0])


def test_sensitivity_names_the_region_that_matters_most(assessed):
    results, maps, _, _, _ = assessed
    regions = pd.Series([f"region {label}" for label in maps.columns], maps.columns)
    table = assessment.sensitivity_table(results[2], maps, catalogue.library(), regions)
    table = table.set_index("annotation")
    without = correlation.influence(results[2].effect.to_numpy(), maps)
    row = table.loc[D1]
    label = int(row["region_without"].removeprefix("region "))
    assert row["r_without"] == without.loc[D1, label]
    assert abs(row["r_without"] - row["r"]) == pytest.approx(
        (without.loc[D1] - row["r"]).abs().max()
    )
    assert (table["noise_free_low"] <= table["noise_free_high"]).all()


def test_others_table_holds_all_but_one_constant(assessed):
    results, maps, change, arm, _ = assessed
    slopes = correlation.slopes_given_others(change, maps)
    test = slope_test(slopes, arm, "active_change", n_permutations=99)
    table = assessment.others_table(results[0], maps, catalogue.library(), test)
    assert table["n_parcels"].tolist() == [29] * 4
    expected = correlation.partial_given_others(results[0].effect, maps)[0]
    np.testing.assert_allclose(table["r_given_others"], expected)
    np.testing.assert_array_equal(table[["p_given_others", "p_fwe"]].T, [test.p, test.p_fwe])


def test_dominance_rows_hold_the_p_of_surrogates(assessed):
    results, maps, _, _, _ = assessed
    predictors = maps.drop(columns=3).T
    at = maps.columns.get_indexer(predictors.index)
    outcome = results[2].effect.loc[predictors.index]
    test = dominance_analysis.dominance_test(predictors, outcome, results[2].surrogates[:, at])
    table = assessment.dominance_rows(test, catalogue.library())
    assert table["receptor"].tolist() == ["D1", "VAChT", "DAT", "5-HTT"]
    np.testing.assert_array_equal(table[["p", "p_fwe"]], np.transpose([test.p, test.p_fwe]))
    assert table["total_dominance"].sum() == pytest.approx(test.observed.adjusted_r2)


def test_a_joint_model_takes_no_more_maps_than_it_has_regions_for(assessed):
    results, maps, _, _, _ = assessed
    assert assessment.joint_maps(results[2], maps, D1) is maps
    found = assessment.joint_maps(results[2], maps, D1, regions_per_map=14)  # room for two
    r = np.abs(correlation.correlate(results[2].effect, maps)[0])
    r[maps.index.get_loc(D1)] = 0
    assert set(found.index) == {D1, maps.index[r.argmax()]}
    assert found.index.tolist() == [name for name in maps.index if name in found.index]
