"""Least-squares means and contrasts."""

import numpy as np
import pandas as pd
import pytest
from mmrm_trials import FORMULA, KEYS, trial

from trialmmrm import fit_mmrm
from trialmmrm.hedges import hedges_correction


def test_reference_level_is_the_first_category_else_the_first_in_order():
    data = trial()
    words = data.assign(arm=data["arm"].astype(str))
    own = fit_mmrm(data, FORMULA, **KEYS).contrasts("arm")
    other = fit_mmrm(words, FORMULA, **KEYS).contrasts("arm")
    assert set(own["contrast"]) == {"active - control"}
    assert set(other["contrast"]) == {"control - active"}
    np.testing.assert_allclose(own["estimate"], -other["estimate"])
    chosen = fit_mmrm(words, FORMULA, **KEYS).contrasts("arm", reference="control")
    np.testing.assert_allclose(chosen["estimate"], own["estimate"])
    np.testing.assert_allclose(chosen["g_ci_low"], own["g_ci_low"])
    by_level = fit_mmrm(words, FORMULA, **KEYS).contrasts("active", "control")
    pd.testing.assert_frame_equal(by_level, chosen)


def test_visits_come_in_the_order_of_their_categories():
    data = trial().replace({"visit": {"week1": "start", "week2": "middle", "week3": "end"}})
    order = ["start", "middle", "end"]
    data["visit"] = pd.Categorical(data["visit"], order)
    fit = fit_mmrm(data, FORMULA, **KEYS)
    assert fit.visits == list(fit.covariance) == fit.contrasts("arm")["visit"].tolist() == order
    plain = fit_mmrm(trial(), FORMULA, **KEYS)
    np.testing.assert_allclose(fit.contrasts("arm")["t"], plain.contrasts("arm")["t"], rtol=1e-7)


def test_average_over_visits_is_the_mean_of_the_contrasts():
    fit = fit_mmrm(trial(missing=0.1), FORMULA, **KEYS)
    average, each = fit.contrasts("arm", by=None), fit.contrasts("arm")
    assert average["visit"].tolist() == ["all"]
    assert list(average) == list(each)
    assert average["estimate"].iloc[0] == pytest.approx(each["estimate"].mean())
    root = np.sqrt(np.diag(fit.covariance).mean())
    g = average["estimate"] / root * hedges_correction(average["df"])
    assert average["hedges_g"].iloc[0] == pytest.approx(g.iloc[0])


def test_means_average_factors_equally_and_hold_covariates_at_their_mean():
    data = trial(n=20, seed=2)
    site = data["id"].map(lambda p: "north" if int(p[1:]) % 4 else "south")  # three to one
    data = data.assign(site=site)
    fit = fit_mmrm(data, FORMULA + " + site", **KEYS)
    beta = fit.coefficients["estimate"]
    expected = (
        beta["Intercept"] + beta["baseline"] * data["baseline"].mean() + beta["site[T.south]"] / 2
    )
    assert fit.means("arm").iloc[0]["mean"] == pytest.approx(expected)
    means = fit.means("arm").set_index(["arm", "visit"])["mean"]
    difference = means["active"] - means["control"]
    np.testing.assert_allclose(difference, fit.contrasts("arm")["estimate"])


def test_three_arms_give_two_contrasts_a_visit():
    data = trial(n=24)
    arm = np.array(["a", "b", "c"])[data["id"].str[1:].astype(int) % 3]
    fit = fit_mmrm(data.assign(arm=arm), FORMULA, **KEYS)
    table = fit.contrasts("arm", "b")
    assert table["visit"].tolist() == ["week1"] * 2 + ["week2"] * 2 + ["week3"] * 2
    assert table["contrast"].tolist() == ["a - b", "c - b"] * 3
    assert fit.contrasts("c", "b")["contrast"].tolist() == ["c - b"] * 3


def test_a_centred_covariate_changes_nothing_that_matters():
    centred = "change ~ center(baseline)*visit + C(arm)*visit"
    ours = fit_mmrm(trial(), centred, **KEYS).contrasts("arm")
    plain = fit_mmrm(trial(), FORMULA, **KEYS).contrasts("arm")
    pd.testing.assert_frame_equal(ours, plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.contrasts("arm", "placebo"), "reference 'placebo': one of .*control"),
        (lambda f: f.contrasts("dose"), "arm 'dose': a factor of the formula expected \\(arm\\)"),
        (lambda f: f.means("arm", "week3"), "visit 'week3': 'visit' or None expected"),
        (lambda f: f.test(np.ones((2, len(f.terms)))), "rows depend on each other"),
        (lambda f: f.test([1, 2]), "rows of 9 weights"),
        (lambda f: f.estimates(pd.Series({"dose": 1.0})), "no term 'dose'"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(ask, message):
    fit = fit_mmrm(trial(), FORMULA, **KEYS)
    with pytest.raises(ValueError, match=message):
        ask(fit)
