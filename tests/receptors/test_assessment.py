"""Result tables of the receptor link: columns, families of tests, both nulls."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis_lib.receptors import assessment, calibration, correlation, dominance_analysis, nulls
from analysis_lib.results.contrasts import OF_CHANGE
from analysis_lib.study import catalogue

D1 = "kaller2017/sch23390"
FEOBV = "tuominen/feobv"


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
            change, data["arm"], maps, _shuffled, contrast, covariates, **options
        )
        for contrast in OF_CHANGE
    ]
    return results, maps, change, data["arm"], covariates


def test_correlation_table_has_the_columns_relied_on_outside(assessed):
    results, maps, change, arm, _ = assessed
    table = assessment.correlation_table(results, catalogue.library())
    assert ",".join(table.columns) == (
        "contrast,receptor,annotation,tracer,n_subjects_map,n_parcels,statistic,r,ci_low,ci_high,"
        "p_parametric,p_spatial,p_fwe_spatial,p_randomisation,p_fwe,q_fdr"
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
        assessment.assess_contrast(change.drop(columns=30), arm, maps, _shuffled)


def test_every_test_of_a_contrast_is_the_one_of_its_own_function(assessed):
    results, maps, change, arm, covariates = assessed
    alone = nulls.randomisation_test(
        change, arm, maps, "arm_by_time", covariates, n_permutations=99
    )
    np.testing.assert_array_equal(results[2].randomisation.null, alone.null)
    again, spatial = results[2].test(lambda effects: correlation.correlate(effects, maps))
    np.testing.assert_array_equal(again.p, alone.p)
    np.testing.assert_array_equal(spatial.p, results[2].spatial.p)


def test_sensitivity_names_the_region_that_matters_most(assessed):
    results, maps, _, _, _ = assessed
    regions = pd.Series([f"region {label}" for label in maps.columns], maps.columns)
    density = np.random.default_rng(9).gamma(5, size=30)
    table = assessment.sensitivity_table(
        results[2], maps, catalogue.library(), density, regions
    ).set_index("annotation")
    effect = results[2].effect.to_numpy()
    given = correlation.partial_correlate(effect, maps, density)[0]
    np.testing.assert_allclose(table["r_given_density"], given)
    without = correlation.influence(effect, maps)
    row = table.loc[D1]
    label = int(row["region_without"].removeprefix("region "))
    assert row["r_without"] == without.loc[D1, label]
    assert abs(row["r_without"] - row["r"]) == pytest.approx(
        (without.loc[D1] - row["r"]).abs().max()
    )
    p = table["p_given_density"]
    assert ((p > 0) & (p <= 1)).all()
    assert (table["noise_free_low"] <= table["noise_free_high"]).all()


def test_others_table_holds_all_but_one_constant(assessed):
    results, maps, _, _, _ = assessed
    table = assessment.others_table(results[0], maps, catalogue.library())
    assert table["n_parcels"].tolist() == [29] * 4
    expected = correlation.partial_given_others(results[0].effect, maps)[0]
    np.testing.assert_allclose(table["r_given_others"], expected)
    assert (table["p_fwe"] >= table["p_given_others"]).all()


def test_rates_of_a_map_are_its_worst_or_those_of_simulated_pairs():
    measured = pd.DataFrame(
        {
            "null": ["Moran", "Moran", "Moran", "Moran", "variogram"],
            "side": [D1, D1, "simulated", "simulated", D1],
            "range_mm": [20, 80, 20, 80, 80],
            "rate": [0.04, 0.09, 0.05, 0.06, 0.2],
        }
    )
    found = calibration.false_positive_rates(measured, "Moran", [FEOBV, D1])
    assert found.tolist() == [0.06, 0.09]
    assert found.index.tolist() == [FEOBV, D1]


def test_dominance_rows_hold_the_p_of_both_nulls(assessed):
    results, maps, _, _, _ = assessed
    predictors = maps.drop(columns=3).T
    at = maps.columns.get_indexer(predictors.index)
    outcome = results[2].effect.loc[predictors.index]
    smooth, randomised = (
        dominance_analysis.dominance_test(predictors, outcome, null[:, at])
        for null in (results[2].surrogates, results[2].effects.null)
    )
    table = assessment.dominance_rows(smooth, randomised, catalogue.library())
    assert table["receptor"].tolist() == ["D1", "VAChT", "DAT", "5-HTT"]
    np.testing.assert_array_equal(table["p"], smooth.p)
    np.testing.assert_array_equal(table["p_randomisation"], randomised.p)
    assert table["total_dominance"].sum() == pytest.approx(smooth.observed.adjusted_r2)


def test_a_joint_model_takes_no_more_maps_than_it_has_regions_for(assessed):
    results, maps, _, _, _ = assessed
    assert assessment.joint_maps(results[2], maps, D1) is maps
    found = assessment.joint_maps(results[2], maps, D1, regions_per_map=14)  # room for two
    r = np.abs(correlation.correlate(results[2].effect, maps)[0])
    r[maps.index.get_loc(D1)] = 0
    assert set(found.index) == {D1, maps.index[r.argmax()]}
    assert found.index.tolist() == [name for name in maps.index if name in found.index]
