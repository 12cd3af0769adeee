"""The primary model of every scale, and growth curves against lme4."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.clinical import models
from analysis_lib.clinical.outcomes import ancova
from analysis_lib.study import scores as study_scores


@pytest.fixture(scope="module")
def reisby(reference_data):
    """Reisby et al. (1977): 66 inpatients, HDRS weekly; the last row is an end-of-file mark."""
    path = reference_data / "data" / "trials" / "reisby" / "riesby.dat.txt"
    names = ["participant_id", "score", "one", "week", "endogenous", "endogenous_week"]
    table = pd.read_csv(path, sep=r"\s+", names=names, na_values=".").iloc[:-1]
    table = table.apply(pd.to_numeric, errors="coerce")
    return table.dropna(subset=["participant_id", "score", "week"])


def test_growth_curve_of_reisby_is_that_of_lme4(reisby, reference_data):
    path = reference_data / "reference" / "clinical" / "reisby_lme4.tsv"
    expected = pd.read_csv(path, sep="\t").set_index("quantity")["value"]
    fit = models.fit_growth_curve(reisby, "score ~ week", "participant_id")
    assert fit.params["Intercept"] == pytest.approx(expected["intercept"], abs=5e-4)
    assert fit.params["week"] == pytest.approx(expected["week"], abs=5e-4)
    assert fit.bse["Intercept"] == pytest.approx(expected["intercept_se"], abs=5e-3)
    assert fit.bse["week"] == pytest.approx(expected["week_se"], abs=5e-3)
    random = fit.cov_re.to_numpy()
    assert random[0, 0] == pytest.approx(expected["var_intercept"], abs=0.01)
    assert random[1, 1] == pytest.approx(expected["var_week"], abs=0.01)
    assert random[0, 1] == pytest.approx(expected["cov_intercept_week"], abs=0.01)
    assert fit.scale == pytest.approx(expected["residual_variance"], abs=0.01)
    assert fit.llf == pytest.approx(expected["reml_loglik"], abs=0.01)
    ml = models.fit_growth_curve(reisby, "score ~ week", "participant_id", reml=False)
    assert -2 * ml.llf == pytest.approx(expected["ml_minus2loglik"], abs=0.01)


def read(tiny):
    study = tiny.write()
    scores = study_scores.read_ratings(study)
    return scores, study_scores.with_baseline(study, scores)


def noisy(tiny, seed=0):
    """The tiny trial with spread, so that a model can be fitted."""
    rng = np.random.default_rng(seed)
    for table in tiny.scales.values():
        table["total"] += rng.integers(-3, 4, len(table))
    return tiny


def test_every_scale_gets_rows_by_visit_and_averaged_with_active_minus_control(tiny):
    _, changes = read(noisy(tiny))
    fits = models.fit_models(changes)
    table = models.contrast_table(fits, changes)
    visits = ["week1", "week2", "all"]
    assert list(table["visit"].astype(str)) == visits * 2
    assert set(table["contrast"]) == {"active - control"}
    assert (table[["n_active", "n_control"]] == 4).all(axis=None)
    means = models.mean_table(fits).set_index(["scale", "arm", "visit"])["mean"]
    for row in table[table["visit"] != "all"].itertuples():
        difference = means[row.scale, "active", row.visit] - means[row.scale, "control", row.visit]
        assert row.estimate == pytest.approx(difference)


def test_one_visit_after_baseline_is_an_analysis_of_covariance(tiny):
    noisy(tiny)
    tiny.content["visits"] = {"baseline": 0, "week1": 1}
    tiny.content["other_sessions"] = ["week2"]
    _, changes = read(tiny)
    table = models.contrast_table(models.fit_models(changes), changes)
    expected = ancova(changes)
    np.testing.assert_allclose(table["estimate"], expected["estimate"])
    np.testing.assert_allclose(table["df"], expected["df"])
    assert "all" not in set(table["visit"])


def test_a_visit_with_one_participant_in_an_arm_is_left_out(tiny):
    noisy(tiny)
    late = tiny.scales["hamd17.tsv"]
    gone = late["session_id"].eq("ses-week2") & late["participant_id"].isin(
        ["sub-01", "sub-03", "sub-05"]
    )
    tiny.scales["hamd17.tsv"] = late[~gone]
    _, changes = read(tiny)
    table = models.contrast_table(models.fit_models(changes), changes)
    assert list(table.loc[table["scale"] == "HAMD-17", "visit"].astype(str)) == ["week1"]


def test_growth_table_needs_three_visits_and_says_what_its_interval_is(tiny):
    noisy(tiny)
    scores, _ = read(tiny)
    table = models.growth_table(scores)
    assert list(table["scale"]) == ["HAMD-17", "HAMA"]
    assert set(table["note"]) <= {"normal interval", "did not converge", "singular"}
    assert models.growth_table(scores[scores["visit"] != "week2"]).empty
