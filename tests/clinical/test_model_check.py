"""Residuals and influence of the primary model, against least squares on complete data."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from analysis_lib.clinical import model_check, models


def trial(n=6, visits=("v1", "v2")):
    rng = np.random.default_rng(3)
    who = [f"s{k}" for k in range(2 * n)]
    rows = pd.DataFrame({"participant_id": who, "arm": ["active", "control"] * n})
    rows["baseline"] = rng.normal(24, 3, 2 * n)
    rows = rows.merge(pd.DataFrame({"visit": visits}), how="cross")
    rows["outcome"] = rng.normal(-3, 2, len(rows)) - 2 * (rows["arm"] == "active")
    visit = pd.Categorical(rows["visit"], visits, ordered=True)
    return rows.assign(scale="HAMD-17", kind="change", visit=visit)


def least_squares(rows):
    rows = rows.assign(active=rows["arm"].eq("active").astype(float))
    return smf.ols("outcome ~ baseline + active", rows[rows["visit"] == "v2"]).fit()


def test_residuals_of_a_complete_trial_are_those_of_least_squares():
    rows = trial()
    found = model_check.residual_table(models.fit_models(rows))
    own = found[found["visit"] == "v2"]
    fit = least_squares(rows)
    assert own["residual"].tolist() == pytest.approx(
        (fit.resid / fit.mse_resid**0.5).tolist(), rel=1e-4
    )
    order = np.argsort(np.argsort(own["residual"]))
    assert own["quantile"].tolist() == pytest.approx(stats.norm.ppf((order + 0.5) / 12).tolist())
    assert own["participant_id"].tolist() == [f"s{k}" for k in range(12)]


def test_influence_is_the_estimate_without_each_participant():
    rows = trial()
    found = model_check.influence_table(models.fit_models(rows), rows, "HAMD-17", "v2")
    whole = least_squares(rows).params["active"]
    for one in found.itertuples():
        fit = least_squares(rows[rows["participant_id"] != one.participant_id])
        assert one.estimate == pytest.approx(fit.params["active"], rel=1e-4)
        assert one.shift == pytest.approx(fit.params["active"] - whole, abs=1e-3)
        assert one.p == pytest.approx(fit.pvalues["active"], rel=1e-3)
    assert found["arm"].tolist() == ["active", "control"] * 6


def test_without_one_of_two_rated_in_an_arm_there_is_no_contrast():
    rows = trial()
    gone = rows["visit"].eq("v2") & rows["participant_id"].isin(["s0", "s2", "s4", "s6"])
    rows = rows[~gone]
    found = model_check.influence_table(models.fit_models(rows), rows, "HAMD-17", "v2")
    missing = found.loc[found["estimate"].isna(), "participant_id"]
    assert missing.tolist() == ["s8", "s10"]
    assert model_check.influence_table({}, rows, "HAMD-17", "v2").empty


def test_n_rated_is_that_of_the_visit_and_n_that_of_the_model():
    rows = trial()
    rows = rows[~(rows["visit"].eq("v2") & rows["participant_id"].isin(["s0", "s2", "s1"]))]
    table = models.contrast_table(models.fit_models(rows), rows).set_index("visit")
    assert table[["n_active", "n_control"]].to_numpy().tolist() == [[6, 6]] * 3
    assert table.loc[["v1", "v2", "all"], "rated_active"].tolist() == [6, 4, 6]
    assert table.loc[["v1", "v2", "all"], "rated_control"].tolist() == [6, 5, 6]
