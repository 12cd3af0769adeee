"""The trial's own test: each patient's slope of change on receptor density, as an outcome."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.receptors import effects
from analysis_lib.results.contrasts import ARM_BY_TIME, CONTRASTS, EFFECT
from voxelperm import hedges_correction, permutation_test


@dataclass(frozen=True)
class SlopeTest:
    """A test of many outcomes; every array is (n_receptors,) but for `null`."""

    estimate: np.ndarray  # arm difference, or mean within the arm
    t: np.ndarray  # studentised; between arms by HC2
    df: int
    p: np.ndarray
    p_fwe: np.ndarray  # by the largest |t| over receptors
    null: np.ndarray  # (n_permutations, n_receptors), |t| of each draw

    def interval(self):
        """95 % limits (2, n_receptors) of the estimate, from its standard error and Student's t."""
        margin = stats.t.ppf(0.975, self.df) * np.abs(self.estimate / self.t)
        return np.array([self.estimate - margin, self.estimate + margin])


def slope_test(
    slopes, arm, contrast=ARM_BY_TIME, covariates=None, strata=None, n_permutations=5000, seed=0
):
    """Does treatment change along a receptor? The test of `correlation.patient_slopes`.

    Between the arms: is the mean slope the same in both, whatever its variance in each? Covariates
    and strata are in the model, signs of the scaled residuals of the model without the arm are
    flipped, and t has an HC2 standard error (``errors="unequal"`` of `voxelperm`). Within an arm:
    is the mean slope 0? Participants' signs are flipped, which assumes symmetric errors. Arm,
    contrast, covariates and strata are those of `effects.effect_map`.
    """
    slopes, active = effects.checked_change(slopes, arm, contrast)
    if contrast == EFFECT:  # one map, no patients: a slope without a test
        unknown = np.full(slopes.shape[1], np.nan)
        return SlopeTest(slopes[0], unknown, 0, unknown, unknown, slopes[:0])
    draws = {"n_permutations": n_permutations, "seed": seed}
    if contrast == ARM_BY_TIME:
        weights = effects.effect_weights(active, contrast, covariates, strata)
        nuisance = effects.nuisance_columns(len(slopes), covariates, strata)
        return _tested(slopes, weights @ slopes, active.astype(float), nuisance, **draws)
    chosen = slopes[active if CONTRASTS[contrast].within == "active" else ~active]
    draws |= {"sign_flip": True, "errors": "equal"}
    return _tested(chosen, chosen.mean(axis=0), np.ones(len(chosen)), None, **draws)


def _tested(outcomes, estimate, tested, nuisance, **options):
    """Every outcome alone, for its own p and draws, and all of them as one image."""
    options |= {"nuisance": nuisance, "statistics": ("max_t",)}

    def test(columns):
        mask = np.ones((columns.shape[1], 1, 1), bool)
        return permutation_test(columns, mask, tested, **options)

    family, alone = test(outcomes), [test(column[:, None]) for column in outcomes.T]
    p = np.concatenate([one.p["max_t"] for one in alone])
    null = np.column_stack([one.null_max["max_t"] for one in alone])
    return SlopeTest(estimate, family.t, family.df, p, family.p["max_t"], null)


def arm_table(slopes, arm, about, test):
    """Rows of receptors/coupling_arm.tsv: the slopes of both arms and their difference.

    ``test`` is the `slope_test` between the arms of ``slopes``; ``about`` the table of the receptor
    maps, in their order. Means are not adjusted, the difference is.
    """
    slopes, active = np.asarray(slopes, dtype=float), np.asarray(arm) == "active"
    columns = {
        "n_active": int(active.sum()),
        "n_control": int((~active).sum()),
        "mean_active": slopes[active].mean(axis=0),
        "mean_control": slopes[~active].mean(axis=0),
        "difference": test.estimate,
    }
    own, df = (slopes[active], slopes[~active]), len(slopes) - 2
    squares = sum((len(some) - 1) * some.var(axis=0, ddof=1) for some in own)
    sd = np.sqrt(squares / df)
    return _table(about, test, columns | _studentised(test, sd, df))


def mean_table(slopes, about, test):
    """Rows of receptors/coupling_mean.tsv: the mean slope of a study without a control arm."""
    columns = {"n": len(slopes), "mean": test.estimate}
    sd = np.std(np.asarray(slopes, dtype=float), axis=0, ddof=1)
    return _table(about, test, columns | _studentised(test, sd, test.df))


def _studentised(test, sd, df):
    """Interval and t of the estimate, and Hedges' g by an SD and its degrees of freedom."""
    columns = dict(zip(("ci_low", "ci_high"), test.interval(), strict=True))
    g = test.estimate / sd * hedges_correction(df)
    return columns | {"t": test.t, "df": test.df, "hedges_g": g}


def _table(about, test, columns):
    """These columns by receptor map, and both p of their test."""
    rows = {"receptor": about["receptor"].to_numpy(), "annotation": about.index, **columns}
    return pd.DataFrame(rows | {"p": test.p, "p_fwe": test.p_fwe})


def improvement_table(
    slopes, improvement, arm, about, covariates=None, strata=None, n_permutations=5000, seed=0
):
    """Do patients whose change follows a receptor more steeply improve more, within arms?

    Partial correlation of slope with improvement (points; participants without one are left out),
    arm and covariates held constant, with Fisher's interval; p from participants exchanged within
    their arm and stratum, on residuals (Freedman & Lane 1983). Arguments are those of `slope_test`
    and `arm_table`.
    """
    slopes, improvement = np.asarray(slopes, dtype=float), np.asarray(improvement, dtype=float)
    known, active = np.isfinite(improvement), np.asarray(arm) == "active"
    of_arm = [] if active.all() else [active]
    nuisance = np.column_stack(
        [effects.nuisance_columns(len(slopes), covariates, strata), *of_arm]
    )[known]
    cells = (active + 2 * effects.stratum_numbers(strata, len(slopes)))[known]
    options = {"blocks": cells, "errors": "equal", "n_permutations": n_permutations, "seed": seed}
    test = _tested(slopes[known], None, improvement[known], nuisance, **options)
    r = test.t / np.sqrt(test.t**2 + test.df)
    margin = stats.norm.ppf(0.975) / np.sqrt(test.df - 1)
    low, high = np.tanh(np.arctanh(r) - margin), np.tanh(np.arctanh(r) + margin)
    return _table(about, test, {"n": int(known.sum()), "r": r, "ci_low": low, "ci_high": high})
