"""When the covariance cannot be estimated: the message, and the simpler structure."""

import numpy as np
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
