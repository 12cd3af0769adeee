"""When the covariance cannot be estimated: the message, and the simpler structure."""

import numpy as np
import pandas as pd
import pytest
from mmrm_trials import FORMULA, KEYS, trial

from trialmmrm import ConvergenceError, fit_mmrm, fit_with_fallback


def copied_visit():
    """The third visit repeats the second: their correlation is 1."""
    data = trial()
    wide = data.pivot(index="id", columns="visit", values="change")
    repeat = data["id"].map(wide["week2"])
    return data.assign(change=data["change"].where(data["visit"] != "week3", repeat))


def test_a_visit_that_repeats_another_does_not_converge():
    expected = r"covariance 'us': singular.*'week2' and 'week3' is 1.0000.*fit_with_fallback"
    with pytest.raises(ConvergenceError, match=expected):
        fit_mmrm(copied_visit(), FORMULA, **KEYS)


def test_fallback_says_which_covariance_was_used_and_why():
    fit = fit_with_fallback(copied_visit(), FORMULA, **KEYS)
    assert fit.covariance_structure in ("toeph", "csh", "cs")
    assert fit.fallback_reason.startswith("us: singular")
    assert "simpler covariance since us: singular" in fit.summary()
    plain = fit_with_fallback(trial(), FORMULA, **KEYS)
    assert (plain.covariance_structure, plain.fallback_reason) == ("us", None)


def test_visits_that_share_no_participant_fall_back():
    data = trial()
    even = data["id"].str[1:].astype(int) % 2 == 0
    data = data[~((data["visit"] == "week1") & even) & ~((data["visit"] == "week3") & ~even)]
    with pytest.raises(ConvergenceError, match="'week1' and 'week3' share 0 participants"):
        fit_mmrm(data, FORMULA, **KEYS)
    fit = fit_with_fallback(data, FORMULA, **KEYS)
    assert fit.covariance_structure == "csh"  # Toeplitz lacks its lag 2 too
    assert np.isfinite(fit.contrasts("arm").drop(columns=["visit", "contrast"])).all(axis=None)


def test_one_visit_a_participant_cannot_tell_a_correlation():
    data = trial(n=30)
    data = data[data["id"].str[1:].astype(int) % 3 == data["visit"].str[-1].astype(int) - 1]
    expected = (
        "no covariance converged. us: visits .* share 0 participants.*; cs: the likelihood is flat"
    )
    with pytest.raises(ConvergenceError, match=expected):
        fit_with_fallback(data, FORMULA, **KEYS)


def test_outcomes_that_the_design_fits_exactly_are_refused():
    data = trial().assign(change=lambda d: d["baseline"] * 2 + (d["visit"] == "week2"))
    with pytest.raises(ConvergenceError, match="fit every outcome exactly"):
        fit_with_fallback(data, FORMULA, **KEYS)


def test_too_few_participants_are_refused_and_say_so():
    data = trial(n=2, n_visits=3)
    with pytest.raises(ConvergenceError, match="covariance 'us'"):
        fit_mmrm(data, FORMULA, **KEYS)


def test_twelve_visits_take_a_patterned_covariance_in_the_order_of_their_numbers():
    data = trial(n=10, n_visits=12, missing=0.1)
    fit = fit_with_fallback(data, "change ~ baseline + arm*visit", **KEYS)
    assert fit.covariance_structure == "toeph"
    assert "at most 10 visits can have an unstructured covariance, found 12" in fit.fallback_reason
    assert fit.visits == [f"week{k}" for k in range(1, 13)]  # week2 before week12
    ordered = data.assign(visit=pd.Categorical(data["visit"], fit.visits, ordered=True))
    assert fit_mmrm(ordered, fit.formula, **KEYS, covariance="toeph").loglik == fit.loglik


def test_a_fit_that_does_not_answer_gives_way_to_a_simpler_one():
    def wanted(fit):
        if fit.covariance_structure == "us":
            raise ValueError("no usable degrees of freedom")

    fit = fit_with_fallback(trial(), FORMULA, **KEYS, wanted=wanted)
    assert fit.covariance_structure == "toeph"
    assert fit.fallback_reason == "us: no usable degrees of freedom"


def test_draws_centre_on_the_estimates_with_their_covariance():
    fit = fit_mmrm(trial(n=60), FORMULA, **KEYS)
    beta, sigma = fit.draw(4000, np.random.default_rng(0))
    np.testing.assert_allclose(beta.mean(axis=0), fit.coefficients["estimate"], atol=0.15)
    np.testing.assert_allclose(beta.std(axis=0), np.sqrt(np.diag(fit.vcov)), rtol=0.08)
    np.testing.assert_allclose(sigma.mean(axis=0), fit.covariance, rtol=0.1)
    # of a variance with df degrees of freedom, on the logarithm's scale
    df = fit.n_participants - 3
    np.testing.assert_allclose(np.log(sigma[:, 0, 0]).std(), np.sqrt(2 / df), rtol=0.1)
