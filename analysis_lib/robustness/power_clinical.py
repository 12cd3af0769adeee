"""Power of the primary clinical contrast: the study's own model, fitted to simulated trials."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.clinical.models import fit_models
from analysis_lib.clinical.trial_data import read_trial
from analysis_lib.results.problems import NotComputed
from analysis_lib.results.words import visit_words
from analysis_lib.robustness import power
from analysis_lib.robustness.power_closed_forms import (
    LEVEL,
    lu_power,
    lu_variance,
    sign_and_magnitude,
)
from trialmmrm import Refits

SIZES = np.round(np.arange(0, 2.01, 0.1), 10)  # true differences, in SDs of the outcome


def clinical_power(study, n_trials, multiples, seed=0, n_jobs=1):
    """Power of the primary contrast by true difference and participants per arm.

    The participants who were rated after baseline are drawn with replacement within their arms,
    each with baseline, factors and the visits at which they were rated; their outcomes are drawn
    from the fitted covariance, and the primary model is fitted again. The estimate moves with the
    true difference while its error and degrees of freedom stay, so one set of fits serves all
    differences, whatever the course before the last visit.

    Parameters
    ----------
    study : Study
    n_trials : int
        Simulated trials of each size.
    multiples : sequence of float
        Sizes of trials, in multiples of this one.
    seed, n_jobs : int

    Returns
    -------
    pandas.DataFrame
        Rows of power/power.tsv; closed_form is Lu, Luo & Chen's (2008).

    Raises
    ------
    NotComputed
        Without two arms, scores, or a primary model.
    """
    if not study.arms:
        raise NotComputed("no control arm: there is no difference between arms to be found")
    model, visit = _fitted(study), study.final_visit
    sizes = power.sizes_of(*(sum(model.arms == arm) for arm in power.ARMS), multiples)
    work = study.work("power", n_jobs)
    draws = power.simulate(fitted_trials, sizes, n_trials, (model, visit), seed, **work)
    sd = float(np.sqrt(np.diag(model.covariance)[model.visits.index(visit)]))
    variances = [_variance(model, arm, visit) for arm in power.ARMS]
    tables = []
    for multiple, size in sizes.items():
        estimate, se, df = draws[size].T
        tallies = power.tally(estimate / sd, se / sd, stats.t.isf(LEVEL / 2, df), SIZES)
        rows = power.curve(tallies, SIZES, size, multiple=multiple)
        se = np.sqrt(sum(np.divide(variances, size))) / sd
        rows["closed_form"] = lu_power(SIZES, se)
        rows["exaggeration_closed_form"] = sign_and_magnitude(SIZES, se)[2]
        tables.append(rows)
    scale = study.primary_scale.name
    labels = {"question": "clinical", "setting": f"{scale}, {visit_words(visit)}", "unit": "SD"}
    return pd.concat(tables).assign(**labels, points_per_unit=sd)


def _fitted(study):
    """The study's primary model, for participants drawn anew; its covariance and final visit."""
    fits, scale = fit_models(read_trial(study).changes, study), study.primary_scale.name
    fit = fits[scale]
    if study.final_visit not in fit.visits:
        raise NotComputed(f"{scale}: {fits.reasons[scale]}")
    return Refits(fit, "arm", "control")


def _variance(model, arm, visit):
    """`lu_variance` of an arm, with its own pattern of ratings."""
    patterns, n = np.unique(model.rated[model.arms == arm], axis=0, return_counts=True)
    return lu_variance(model.covariance, patterns, n / n.sum(), model.visits.index(visit))


def fitted_trials(part, shared):
    """Estimate, standard error and degrees of freedom of trials without a difference, (n, 3)."""
    n_active, n_control, n_draws, seed = part
    rng, (model, visit) = np.random.default_rng(seed), shared
    pools = [np.flatnonzero(model.arms == arm) for arm in power.ARMS]
    n_visits = len(model.covariance)

    def one():
        drawn = [rng.choice(pool, n) for pool, n in zip(pools, (n_active, n_control), strict=True)]
        people = np.concatenate(drawn)
        errors = rng.multivariate_normal(np.zeros(n_visits), model.covariance, len(people))
        return model.test(people, errors, visit)

    return np.array([one() for _ in range(n_draws)])
