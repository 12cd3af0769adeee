"""Factors and covariates of the clinical models: in every model alike, checked with other programs.

The antidepressant trial with site as a factor: R 4.2, nlme::gls gives -2.6441 (se 1.0129).
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from analysis_lib.checking.one_check import check
from analysis_lib.clinical import imputation, models, outcomes, randomisation
from analysis_lib.clinical.rating_patterns import outcome_table
from analysis_lib.clinical.trial_data import read_trial
from analysis_lib.results.problems import StudyError
from analysis_lib.study import participants as study_participants

RNG = np.random.default_rng(4)
SITES = np.array(list("aaabbbbccccc") * 3)[:30]


def people(**columns):
    table = pd.DataFrame({"participant_id": [f"sub-{k:02d}" for k in range(30)]})
    table["arm"] = np.where(np.arange(30) % 2, "active", "control")
    return table.assign(excluded=pd.NA, site=SITES, age=np.arange(30.0) % 11, **columns)


def study(factors=("site",), covariates=("age",)):
    model = SimpleNamespace(factors=list(factors), covariates=list(covariates), strata=True)
    return SimpleNamespace(model=model, model_factors=list(factors))


@pytest.fixture
def changes():
    """Two visits; site moves the outcome by several points."""
    table = people()
    columns = study_participants.adjustment(study(), table)
    rows = []
    for k, visit in enumerate(["week1", "week2"]):
        own = table.assign(visit=visit, scale="HAMD-17", kind="change")
        own["baseline"] = 20 + RNG.normal(0, 3, 30).round()
        shift = pd.Series(SITES).map({"a": 0, "b": 6, "c": -5}).to_numpy()
        active = own["arm"].eq("active")
        own["outcome"] = shift - 3 * active + 0.4 * own["age"] + RNG.normal(0, 2, 30) + k
        rows.append(own)
    first = rows[0]["baseline"]
    table = pd.concat([own.assign(baseline=first) for own in rows], ignore_index=True)
    table["visit"] = pd.Categorical(table["visit"], ["week1", "week2"], ordered=True)
    kept = ["participant_id", "arm", "scale", "visit", "kind", "baseline", "outcome"]
    return table[[*kept, "site", "age"]].join(columns, on="participant_id")


def test_a_factor_has_a_column_per_level_but_the_most_frequent_and_covariates_are_centred():
    found = study_participants.adjustment(study(), people())
    assert list(found) == ["adjust_1", "adjust_2", "adjust_3"]
    assert found["adjust_1"].mean() == pytest.approx(0)
    counts = pd.Series(SITES).value_counts()
    assert list(found[["adjust_2", "adjust_3"]].sum()) == list(counts.iloc[1:])


def test_levels_with_one_participant_are_joined():
    sites = np.r_[["d", "e"], SITES[2:]]
    found = study_participants.adjustment(study(covariates=()), people().assign(site=sites))
    assert sorted(found.sum()) == sorted([2, *pd.Series(SITES[2:]).value_counts().iloc[1:]])
    sites = np.r_[["d"], SITES[1:]]
    found = study_participants.adjustment(study(covariates=()), people().assign(site=sites))
    assert found.shape[1] == 2
    assert found.sum().min() > 1


def test_a_missing_stratum_is_refused_by_name():
    table = people()
    table.loc[[3, 7], "site"] = pd.NA
    with pytest.raises(StudyError, match="sub-03, sub-07: a value of site expected, found n/a"):
        study_participants.adjustment(study(), table)


def test_ancova_is_that_of_statsmodels_with_the_factor(changes):
    found = outcomes.ancova(changes).set_index("visit").loc["week2"]
    rows = changes[changes["visit"] == "week2"].assign(active=lambda t: t["arm"].eq("active") * 1.0)
    fit = smf.ols("outcome ~ baseline + active + C(site) + age", rows).fit(
        cov_type="HC3", use_t=True
    )
    assert found["estimate"] == pytest.approx(fit.params["active"])
    assert found["se"] == pytest.approx(fit.bse["active"])
    assert found["df"] == fit.df_resid


def test_re_randomisation_starts_from_the_same_estimate(changes):
    found = randomisation.randomisation_test(changes, "HAMD-17", "week2", n_permutations=99).iloc[0]
    expected = outcomes.ancova(changes).set_index("visit").loc["week2"]
    assert (found["estimate"], found["se"]) == pytest.approx((expected["estimate"], expected["se"]))


def test_completed_data_are_adjusted_alike(changes):
    """Nothing missing: least squares with a coefficient per visit, as statsmodels gives it."""
    table = outcome_table(changes)
    assert table.design.shape == (30, 6)
    fitted = imputation.fit_imputation(changes, n_imputations=40, seed=1)
    found = imputation.imputation_table(fitted, ["mar"]).set_index("visit").loc["week2"]
    rows = changes[changes["visit"] == "week2"].assign(active=lambda t: t["arm"].eq("active") * 1.0)
    fit = smf.ols("outcome ~ baseline + active + C(site) + age", rows).fit()
    assert found["estimate"] == pytest.approx(fit.params["active"])
    assert found["se"] == pytest.approx(fit.bse["active"])


def test_the_mixed_model_with_complete_data_gives_the_same_estimate_at_its_last_visit(changes):
    fits = models.fit_models(changes)
    found = models.contrast_table(fits, changes).set_index("visit")
    assert found.loc["week2", "se"] < 1.1
    assert found.loc["week2", "estimate"] == pytest.approx(-3, abs=2.2)
    plain = changes.drop(columns=[c for c in changes if c.startswith("adjust_")])
    worse = models.contrast_table(models.fit_models(plain), plain).set_index("visit")
    assert worse.loc["week2", "se"] > 1.3 * found.loc["week2", "se"]


def test_a_column_of_one_participant_at_a_visit_is_left_out_there(changes):
    rows = changes[changes["visit"] == "week2"]
    flagged = rows.assign(adjust_2=np.r_[1.0, np.zeros(29)])
    assert outcomes.usable(flagged) == ["adjust_1", "adjust_3"]
    assert np.isfinite(outcomes.ancova(flagged)["se"]).all()


def test_the_antidepressant_trial_with_site_as_a_factor_agrees_with_nlme(reference_data):
    """Estimate of R's gls; the Kenward-Roger error and df are this project's own."""
    path = reference_data / "data" / "trials" / "antidepressant" / "antidepressant_data.csv"
    rows = pd.read_csv(path, dtype={"PATIENT": str, "POOLINV": str})
    week = {4: "week1", 5: "week2", 6: "week4", 7: "week6"}
    table = pd.DataFrame({"participant_id": rows["PATIENT"], "scale": "HAMD-17", "kind": "change"})
    table["arm"] = np.where(rows["THERAPY"] == "DRUG", "active", "control")
    table["visit"] = pd.Categorical(rows["VISIT"].map(week), list(week.values()), ordered=True)
    table["baseline"], table["outcome"] = rows["BASVAL"], rows["HAMDTL17"] - rows["BASVAL"]
    who = rows.drop_duplicates("PATIENT").rename(columns={"POOLINV": "site"})
    who = who.assign(participant_id=who["PATIENT"], excluded=pd.NA)
    columns = study_participants.adjustment(study(covariates=()), who)
    table = table.join(columns, on="participant_id")
    fitted = models.contrast_table(models.fit_models(table), table).set_index("visit").loc["week6"]
    assert fitted["estimate"] == pytest.approx(-2.6441, abs=1e-4)
    assert fitted["se"] == pytest.approx(1.0129, abs=1e-4)
    assert fitted["df"] == pytest.approx(124.07, abs=0.01)


def test_strata_enter_every_model_unless_the_study_file_says_otherwise(tiny):
    tiny.content |= {"strata": ["sex"], "model": {"covariates": ["age"], "factors": ["sex"]}}
    written = tiny.write()
    assert written.adjusted_for == ["sex", "age"]
    rated = read_trial(written).changes
    assert [name for name in rated if name.startswith("adjust_")] == ["adjust_1", "adjust_2"]
    people = study_participants.read_participants(written)
    who = people["participant_id"]
    assert study_participants.design_columns(written, people, who)[1] is not None
    tiny.content["model"] = {"strata": False}
    written = tiny.write()
    assert written.adjusted_for == []
    assert study_participants.design_columns(written, people, who)[1] is None
    assert study_participants.randomisation_blocks(written, people) is not None


@pytest.mark.parametrize("key", ["strata", "covariates", "model"])
def test_the_arm_cannot_be_adjusted_for(tiny, key):
    tiny.content[key] = {"factors": ["arm"]} if key == "model" else ["arm"]
    with pytest.raises(StudyError, match="'arm' is the arm: nothing can be adjusted for it"):
        tiny.write()


def test_the_check_names_who_lacks_a_factor_of_the_model(tiny):
    tiny.participants["site"] = ["a", "a", "b", "b", "a", "n/a", "b", "b"]
    tiny.content["model"] = {"factors": ["site"]}
    (problem,) = check(tiny.write(), ["01"])
    assert str(problem).startswith("participants.tsv: sub-06: a value of site expected, found n/a")
