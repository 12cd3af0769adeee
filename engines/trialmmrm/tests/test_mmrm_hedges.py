"""Hedges g and its interval."""

import math

import numpy as np
import pandas as pd
import pytest
from mmrm_trials import KEYS, trial
from scipy import special, stats

from trialmmrm import fit_mmrm
from trialmmrm.hedges import hedges_g


def test_hedges_g_of_one_visit_is_the_textbook_one_with_its_exact_interval():
    data = trial(n_visits=1, effect=-3)
    row = fit_mmrm(data, "change ~ arm", **KEYS).contrasts("arm").iloc[0]
    active, control = (data.loc[data["arm"] == a, "change"] for a in ("active", "control"))
    d = (active.mean() - control.mean()) / np.sqrt((active.var() + control.var()) / 2)
    j = math.gamma(34 / 2) / (math.gamma(33 / 2) * math.sqrt(34 / 2))  # Hedges (1981)
    assert row["hedges_g"] == pytest.approx(d * j, rel=1e-9)
    for limit, tail in ((row["g_ci_low"], 0.975), (row["g_ci_high"], 0.025)):
        noncentrality = limit * np.sqrt(18 * 18 / 36)
        # by symmetry, since the distribution function is not reliable in the far left tail
        assert 1 - stats.nct.cdf(-row["t"], 34, -noncentrality) == pytest.approx(tail, abs=1e-6)


def test_interval_of_g_covers_what_it_should():
    """Coverage of the population value in 2,000 draws of an exact t: within Monte-Carlo error."""
    rng = np.random.default_rng(1)
    truth, se, df = -0.7, np.sqrt(2 / 18), 34
    sd = np.sqrt(rng.chisquare(df, 2000) / df)
    estimate = rng.normal(truth, se, 2000)
    table = pd.DataFrame({"estimate": estimate, "se": se * sd, "df": df})
    table["t"] = table["estimate"] / table["se"]
    g = hedges_g(table, sd, 0.95)
    covered = ((g["g_ci_low"] < truth) & (truth < g["g_ci_high"])).mean()
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 2000))
    assert g["hedges_g"].mean() == pytest.approx(truth, abs=3 * g["hedges_g"].std() / 2000**0.5)


def test_inverse_of_the_noncentral_t_is_the_one_by_quadrature():
    nodes, weights = np.polynomial.legendre.leggauss(200)
    for df in (4, 34, 150):
        scale = np.sqrt(stats.chi2.ppf((nodes + 1) / 2, df) / df)
        for t in (0.0, 0.5, 3.0, 12.0):
            for p in (0.025, 0.975):
                found = special.nctdtrinc(df, p, t)
                assert weights @ special.ndtr(t * scale - found) / 2 == pytest.approx(p, abs=1e-4)


def test_a_t_of_scores_without_spread_has_no_limits():
    table = pd.DataFrame({"estimate": [-2.0], "se": [1e-14], "df": [5.0], "t": [-2e14]})
    found = hedges_g(table, np.array([1.0]), 0.95).iloc[0]
    assert np.isnan([found["g_ci_low"], found["g_ci_high"]]).all()
