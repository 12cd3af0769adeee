"""Multiple imputation (missing at random and reference-based), and its pooling."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.clinical.posterior import Posterior, draw_missing, draw_posterior, inverse_of_seen
from analysis_lib.clinical.rating_patterns import (
    CONTRAST,
    Outcomes,
    group_by_pattern,
    outcome_table,
)

STRATEGIES = ("mar", "jump_to_reference", "copy_reference", "copy_increments")


@dataclass(frozen=True)
class Imputation:
    """Outcomes with the draws that complete them: see :func:`fit_imputation`."""

    outcomes: Outcomes
    posterior: Posterior
    seed: int

    @property
    def n_imputations(self):
        """Number of completed data sets."""
        return len(self.posterior.coefficients)

    def complete(self, strategy="mar"):
        """Complete the outcomes under a strategy: see :func:`impute`."""
        rng = np.random.default_rng([self.seed, 1])
        normal = rng.standard_normal((self.n_imputations, *self.outcomes.values.shape))
        return impute(self.outcomes, self.posterior, normal, strategy)


def fit_imputation(changes, baselines=None, n_imputations=1000, seed=0, n_before=None):
    """Fit the imputation model to one scale, as `outcome_table` reads it.

    The Monte-Carlo error of a result falls with the square root of ``n_imputations`` .
    Every strategy and delta uses the random normals of the same ``seed``, so that their differences
    are not blurred by them.
    """
    outcomes = outcome_table(changes, baselines, n_before)
    return Imputation(outcomes, draw_posterior(outcomes, n_imputations, seed), seed)


def impute(outcomes, posterior, normal, strategy="mar"):
    """Complete the outcomes once for each draw of the parameters: (n_draws, n, n_visits).

    ``normal`` holds standard normal numbers of that shape; zeros give conditional means. The
    strategy, one of `STRATEGIES`, is for visits after an intercurrent event, in the active arm;
    other gaps are MAR. The control arm is its own reference, so every strategy is MAR there.
    """
    completed = np.repeat(outcomes.values[None], len(normal), axis=0)
    sigma = posterior.covariances
    for pattern in group_by_pattern(outcomes):
        if pattern.seen.all():
            continue
        for n_before in np.unique(outcomes.n_before[pattern.rows]):
            rows = pattern.rows[outcomes.n_before[pattern.rows] == n_before]
            own = outcomes.design[rows]
            reference = own.copy()
            reference[:, 2] = 0  # as if of the control arm
            mean = expected_outcomes(
                strategy if pattern.active else "mar",
                int(n_before),
                own @ posterior.coefficients,
                reference @ posterior.coefficients,
            )
            inverse = inverse_of_seen(sigma, pattern.seen)
            completed[:, rows] = draw_missing(
                outcomes.values[rows], mean, sigma, inverse, pattern.seen, normal[:, rows]
            )
    return completed


def expected_outcomes(strategy, n_before, own, reference):
    """Means (..., n, n_visits) of all visits of participants with an event, under a strategy.

    Carpenter, Roger & Kenward 2013, section 4.3, with one covariance for both arms. ``own`` and
    ``reference`` are the arms' means, ``n_before`` the visits before the event. A participant whose
    event came before the first visit has the reference's means, one without an event the own arm's.
    """
    if strategy == "mar" or n_before == own.shape[-1]:
        return own
    if strategy == "copy_reference" or n_before == 0:
        return reference
    after = reference[..., n_before:]
    if strategy == "copy_increments":
        last = slice(n_before - 1, n_before)
        after = own[..., last] + after - reference[..., last]
    return np.concatenate([own[..., :n_before], after], axis=-1)


def pool(estimates, variances, df_complete):
    """Pool estimates and variances (n_imputations,) of completed data sets by Rubin's rules.

    Degrees of freedom after Barnard & Rubin (1999, Biometrika 86:948-955); where nothing that
    matters was imputed (no variance between data sets) they are ``df_complete``, those of the
    complete data. The fraction of missing information is that of Rubin (1987, Multiple Imputation,
    eq. 3.1.10).
    """
    m = len(estimates)
    within, between = np.mean(variances), np.var(estimates, ddof=1)
    if between < 1e-20 * within:  # rounding
        between = 0.0
    estimate, total = np.mean(estimates), within + (1 + 1 / m) * between
    df, information = _pooled_df((1 + 1 / m) * between, within, m, df_complete)
    se = np.sqrt(total)
    t = estimate / se
    margin = stats.t.ppf(0.975, df) * se
    return {
        "estimate": estimate,
        "se": se,
        "df": df,
        "ci_low": estimate - margin,
        "ci_high": estimate + margin,
        "t": t,
        "p": 2 * stats.t.sf(abs(t), df),
        "n_imputations": m,
        "fraction_missing_information": information,
        "monte_carlo_se": np.sqrt(between / m),
    }


def _pooled_df(extra, within, m, df_complete):
    """Barnard and Rubin's degrees of freedom, and the fraction of missing information."""
    if extra == 0:
        return float(df_complete), 0.0
    share = extra / (within + extra)
    old = (m - 1) / share**2
    observed = (df_complete + 1) / (df_complete + 3) * df_complete * (1 - share)
    ratio = extra / within
    information = (ratio + 2 / (old + 3)) / (ratio + 1)
    return old * observed / (old + observed), information


def ancova_completed(outcomes, values):
    """Fit outcome ~ baseline + arm by least squares to data sets completed at one visit.

    Values (n_imputations, n) give estimates of active - control and their variances, each
    (n_imputations,), and the degrees of freedom.
    """
    x = outcomes.design
    df = len(x) - x.shape[1]
    coefficients = values @ np.linalg.pinv(x).T
    residual = values - coefficients @ x.T
    unscaled = np.linalg.inv(x.T @ x)[2, 2]
    return coefficients[:, 2], (residual**2).sum(axis=1) / df * unscaled, df


def counts(outcomes, visit, moved):
    """Participants rated, imputed and, of those, shifted at a visit; ``moved`` (n, n_visits)."""
    index = outcomes.visit_index(visit)
    seen = outcomes.observed[:, index]
    found = {"rated": seen, "imputed": ~seen, "shifted": ~seen & moved[:, index]}
    arms = {"active": outcomes.active, "control": ~outcomes.active}
    return {
        f"{k}_{arm}": int((v & own).sum()) for k, v in found.items() for arm, own in arms.items()
    }


def imputation_table(imputation, strategies=STRATEGIES, visits=None):
    """Compare the arms at each visit by ANCOVA on completed data, pooled by Rubin's rules.

    The column analysis holds the strategy. Of each arm: rated and imputed count participants at the
    visit, shifted those whose imputed scores the strategy moves.
    """
    outcomes = imputation.outcomes
    rows = []
    for strategy in strategies:
        completed = imputation.complete(strategy)
        for visit in outcomes.visits if visits is None else visits:
            values = completed[:, :, outcomes.visit_index(visit)]
            row = {"analysis": strategy, "visit": visit, "contrast": CONTRAST}
            row |= pool(*ancova_completed(outcomes, values))
            moved = outcomes.after_event & (strategy != "mar") & outcomes.active[:, None]
            rows.append(row | counts(outcomes, visit, moved))
    return pd.DataFrame(rows)
