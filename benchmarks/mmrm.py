"""How fast the MMRM is, and whether its tests hold their level at 18 + 18 patients.

    python -m benchmarks.mmrm
    python -m benchmarks.mmrm --trials 2000 --peer-trials 40     # a first look, one minute

Null trials: 18 + 18 patients, baseline and weeks 1 to 3; normal scores with the means, standard
deviations and correlations that the demo trial plans for HAMD-17 (``truth.Plan``) and no
difference between the arms. Patients leave after week 1 or 2, the likelier the higher their last
score (missing at random). The test is of the arms' difference at week 3. Beside it stands a
random-intercept model with z tests (statsmodels' MixedLM), on the first of the same trials since it
is slow. Notebook S1 says, of each study, what happens where assumptions fail. The table is written
beside this file.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from joblib import Parallel, delayed
from scipy import special

import trialmmrm as mmrm
from analysis_lib.datasets.truth import Plan

HERE = Path(__file__).parent
LEVEL = 0.05
TIMED = 2000  # fits
FORMULA = "change ~ baseline*visit + arm*visit"
KEYS = {"subject": "id", "visit": "visit"}
VISITS = ["week1", "week2", "week3"]


def main():
    """Run everything, print the table and write it."""
    options = _options()
    rows = [one_fit()]
    run = Parallel(n_jobs=options.jobs, batch_size=25)
    run(delayed(mmrm_p)(seed) for seed in range(2 * 25))  # starts the workers
    start = time.perf_counter()
    first = run(delayed(mmrm_p)(seed) for seed in range(TIMED))
    seconds = time.perf_counter() - start
    rows.append(
        _row(f"fits of 36 patients with contrasts, {options.jobs} jobs", seconds, "s", first)
    )
    rows.append(_row("the same, one of them", seconds / TIMED, "s", first))
    p = pd.DataFrame(first + run(delayed(mmrm_p)(seed) for seed in range(TIMED, options.trials)))
    rows.append(_row("week-3 scores missing", p.pop("missing").mean(), "share", p))
    rows.append(_row("fits that fell back", p.pop("fell_back").sum(), "trials", p))
    peer = run(delayed(mixedlm_p)(seed) for seed in range(options.peer_trials))
    peer = pd.DataFrame({"random intercept, z (MixedLM)": peer})
    rows += [type_one_error(name, p[name]) for name in p]
    rows += [type_one_error(name, peer[name].dropna()) for name in peer]
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "mmrm.tsv", sep="\t", index=False, float_format="%.4g", na_rep="n/a")
    print(table.to_string(index=False))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12_000)
    parser.add_argument("--peer-trials", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def _row(what, value, unit, results):
    return {"what": what, "value": float(value), "unit": unit, "n": len(results)}


def one_fit(repeats=11):
    """Median time of one fit of the antidepressant trial (608 rows, 4 visits), or one like it."""
    folder = Path(os.environ.get("REFERENCE_DATA", HERE.parents[1] / "shared"))
    path = folder / "data/trials/antidepressant/antidepressant_data.csv"
    if path.is_file():
        data = pd.read_csv(path)
        formula, keys = "CHANGE ~ BASVAL*VISIT + THERAPY*VISIT", ("PATIENT", "VISIT")
        source = "antidepressant trial"
    else:
        data = simulated_like()
        formula, keys, source = FORMULA, ("id", "visit"), "simulated"
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mmrm.fit_mmrm(data, formula, *keys).coefficients  # noqa: B018
        times.append(time.perf_counter() - start)
    return _row(f"fit with Kenward-Roger, {source}, {len(data)} rows", np.median(times), "s", times)


def simulated_like():
    """172 patients and four visits, 12 % of the rows missing."""
    rng = np.random.default_rng(0)
    y = rng.multivariate_normal(np.zeros(4), 15 + 15 * np.eye(4), 172)
    table = pd.DataFrame(y, columns=["v1", "v2", "v3", "v4"])
    table = table.assign(id=range(172), arm=["a", "b"] * 86, baseline=rng.normal(18, 4, 172))
    long = table.melt(["id", "arm", "baseline"], var_name="visit", value_name="change")
    return long.sample(608, random_state=0)


def null_trial(seed, n=18):
    """A trial in which treatment does nothing, in long form; left-out visits have no row.

    Parameters
    ----------
    seed : int
    n : int
        Patients in each arm.

    Returns
    -------
    pandas.DataFrame
        id, arm (categorical, control first), baseline, visit, change.
    """
    plan, rng = Plan(), np.random.default_rng([7, seed])
    one, two = plan.residual_correlation
    correlation = np.array([[1, one, two], [one, 1, one], [two, one, 1]])
    residual = rng.multivariate_normal(np.zeros(3), correlation, 2 * n) * plan.residual_sd
    baseline = rng.normal(plan.baseline_mean, plan.baseline_sd, 2 * n)
    expected = plan.baseline_mean + plan.baseline_slope * (baseline - plan.baseline_mean)
    score = expected[:, None] + np.array(plan.change_control) + residual
    change = pd.DataFrame(score - baseline[:, None], columns=VISITS)
    wide = change.mask(dropout(score, rng))
    arm = pd.Categorical(np.repeat(["active", "control"], n), ["control", "active"])
    wide = wide.assign(id=np.arange(2 * n), arm=arm, baseline=baseline)
    keys = ["id", "arm", "baseline"]
    return wide.melt(keys, var_name="visit", value_name="change").dropna(ignore_index=True)


def dropout(score, rng, at_mean=-2.4):
    """Who has left by each visit: after weeks 1 and 2, by the last score.

    ``at_mean``: log odds of leaving after a visit, at its mean score.
    """
    odds = np.exp(at_mean + 0.15 * (score[:, :2] - score[:, :2].mean(0)))
    leaves = rng.random((len(score), 2)) < odds / (1 + odds)
    left = np.logical_or.accumulate(leaves, axis=1)
    return np.column_stack([np.zeros(len(score), bool), left])


def mmrm_p(seed):
    """p of the week-3 contrast by Kenward-Roger and by what is simpler, from one fit."""
    data = null_trial(seed)
    fit = mmrm.fit_with_fallback(data, FORMULA, **KEYS)
    row = fit.contrasts("arm", "control").set_index("visit").loc["week3"]
    weights = pd.Series({"arm[T.active]": 1.0, "arm[T.active]:visit[T.week3]": 1.0})
    plain = fit.vcov_unadjusted.loc[weights.index, weights.index].to_numpy()
    t = abs(row["estimate"]) / np.sqrt(weights @ plain @ weights)
    return {
        "MMRM, Kenward-Roger": row["p"],
        "MMRM, Satterthwaite": 2 * special.stdtr(row["df"], -t),
        "MMRM, z": 2 * special.ndtr(-t),
        "missing": 1 - (data["visit"] == "week3").sum() / data["id"].nunique(),
        "fell_back": fit.fallback_reason is not None,
    }


def mixedlm_p(seed):
    """p of the same contrast by a random-intercept model with a z test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of variances at 0, which leave a usable fit
        fit = smf.mixedlm(FORMULA, null_trial(seed), groups="id").fit(reml=True)
    names = list(fit.fe_params.index)
    weights = np.isin(names, ["arm[T.active]", "arm[T.active]:visit[T.week3]"]).astype(float)
    covariance = fit.cov_params().loc[names, names].to_numpy()
    return 2 * special.ndtr(-abs(weights @ fit.fe_params) / np.sqrt(weights @ covariance @ weights))


def type_one_error(name, p):
    """Share of trials with p below .05, and its Monte-Carlo standard error if the level held."""
    row = _row(f"type I error, {name}", (p < LEVEL).mean(), "share", p)
    return row | {"monte_carlo_se": np.sqrt(LEVEL * (1 - LEVEL) / len(p))}


if __name__ == "__main__":
    main()
