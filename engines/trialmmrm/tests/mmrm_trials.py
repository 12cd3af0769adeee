"""Simulated trials, and a plain likelihood, for the tests."""

import numpy as np
import pandas as pd

from trialmmrm.structures import lags

FORMULA = "change ~ baseline*visit + arm*visit"
KEYS = {"subject": "id", "visit": "visit"}


def trial(n=18, n_visits=3, seed=0, missing=0.0, correlation=0.6, effect=-2.0):
    """A two-arm trial in long form; the correlation falls with the distance of visits."""
    rng = np.random.default_rng(seed)
    sd = 3 + 0.5 * np.arange(n_visits)
    covariance = correlation ** lags(n_visits) * np.outer(sd, sd)
    arm = np.repeat(["active", "control"], n)
    baseline = rng.normal(25, 4, 2 * n)
    y = rng.multivariate_normal(np.zeros(n_visits), covariance, 2 * n) - 2 * np.arange(n_visits)
    y += 0.3 * (baseline[:, None] - 25) + effect * (arm == "active")[:, None]
    wide = pd.DataFrame(y, columns=[f"week{v + 1}" for v in range(n_visits)])
    wide = wide.assign(id=[f"p{i:02d}" for i in range(2 * n)], arm=arm, baseline=baseline)
    long = wide.melt(["id", "arm", "baseline"], var_name="visit", value_name="change")
    long["arm"] = pd.Categorical(long["arm"], ["control", "active"])
    long["change"] = long["change"].mask(rng.random(len(long)) < missing)
    return long


def participant_by_participant(fit, covariance):
    """-2 REML log-likelihood by a plain loop over participants."""
    x, y = fit._design.x.to_numpy(float), fit._design.y
    logs, xx, xy, yy = 0.0, 0.0, 0.0, 0.0
    for rows in fit._design.rows:
        own = rows >= 0
        inverse = np.linalg.inv(covariance[np.ix_(own, own)])
        xi, yi = x[rows[own]], y[rows[own]]
        logs -= np.linalg.slogdet(inverse)[1]
        xx, xy, yy = xx + xi.T @ inverse @ xi, xy + xi.T @ inverse @ yi, yy + yi @ inverse @ yi
    rss = yy - xy @ np.linalg.solve(xx, xy)
    return logs + np.linalg.slogdet(xx)[1] + rss + (len(y) - x.shape[1]) * np.log(2 * np.pi)
