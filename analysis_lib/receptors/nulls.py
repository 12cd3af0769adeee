"""Null distributions of the correlation: re-randomised arms, surrogate maps."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis_lib.receptors.correlation import correlate
from analysis_lib.receptors.effects import (
    checked_change,
    effect_weights,
    nuisance_columns,
    residuals,
    stratum_numbers,
)
from analysis_lib.results.contrasts import ARM_BY_TIME
from voxelperm import draw_permutations

TIE = 1e-10  # two values of |r| closer than this are equal: rounding must not decide a p


@dataclass(frozen=True)
class NullTest:
    """A correlation with its null; p is (1 + #{|r*| >= |r|}) / (1 + n_null), two-sided."""

    r: np.ndarray  # (n_receptors,)
    null: np.ndarray  # (n_null, n_receptors); the observed one is not among them
    p: np.ndarray
    p_fwe: np.ndarray  # the same with the largest |r*| over receptors
    exhaustive: bool = False  # whether null holds every relabelling but the observed one


def null_test(observed, null, exhaustive=False):
    """Two-sided p of statistics (m,) against their null (n_null, m), single and family-wise."""
    size = np.abs(null)
    largest = size.max(axis=1, keepdims=True)
    bound = np.abs(observed) - TIE
    p, p_fwe = ((1 + (x >= bound).sum(axis=0)) / (1 + len(null)) for x in (size, largest))
    return NullTest(np.asarray(observed), np.asarray(null), p, p_fwe, exhaustive)


@dataclass(frozen=True)
class NullEffects:
    """Effect map of a trial, and those that it could have had if treatment did nothing."""

    observed: np.ndarray  # (n_parcels,)
    null: np.ndarray  # (n_null, n_parcels); the observed one is not among them
    exhaustive: bool  # whether null holds every relabelling but the observed one


def null_effects(
    change,
    arm,
    contrast=ARM_BY_TIME,
    covariates=None,
    strata=None,
    n_permutations=5000,
    seed=0,
):
    """Effect maps of the trial with its arms re-randomised.

    Between the arms, labels are re-randomised within strata and the whole effect map is computed
    again; with covariates, residuals of the nuisance model (intercept, covariates, strata) are
    permuted (Freedman & Lane 1983, J Bus Econ Stat 1:292). Within an arm, participants' signs are
    flipped, which assumes errors symmetric about 0.

    When no more than `n_permutations` relabellings differ from the observed one, all of them are
    used, once each.

    Parameters
    ----------
    change, arm, covariates, strata
        See `effect_map`.
    contrast : str
        One of `OF_CHANGE`.
    n_permutations : int
    seed : int

    Returns
    -------
    NullEffects
    """
    change, active = checked_change(change, arm, contrast)
    weights = effect_weights(active, contrast, covariates, strata)
    observed = weights @ change
    if contrast == ARM_BY_TIME:
        change = residuals(nuisance_columns(len(active), covariates, strata), change)
        stratum = stratum_numbers(strata, len(active))
    else:
        used = weights != 0
        change, weights, stratum = change[used], weights[used], None
    permutations, exhaustive = draw_permutations(
        n_permutations,
        len(weights),
        tested=np.round(weights, 12),  # equal but for rounding is equal
        blocks=stratum,
        sign_flip=contrast != ARM_BY_TIME,
        seed=seed,
    )
    return NullEffects(observed, placed(weights, permutations) @ change, exhaustive)


def placed(weights, permutations):
    """Weights (n,) of participants when signed permutations (n_null, n) put them in new places."""
    placed = np.empty(permutations.shape)
    np.put_along_axis(placed, np.abs(permutations) - 1, weights * np.sign(permutations), axis=1)
    return placed


def randomisation_test(
    change,
    arm,
    receptors,
    contrast=ARM_BY_TIME,
    covariates=None,
    strata=None,
    n_permutations=5000,
    seed=0,
    method="gaussianised",
):
    """Would this alignment appear if treatment did nothing?

    The correlation of every map of `null_effects` with every receptor map (n_receptors, n_parcels),
    each gaussianised again.

    r has no scale. Where one spatial pattern makes up nearly all variance between participants, a
    relabelled map shows that pattern too, however weakly, and |r*| is near 1: the test stays valid
    and loses power.
    """
    model = {"covariates": covariates, "strata": strata}
    effects = null_effects(change, arm, contrast, **model, n_permutations=n_permutations, seed=seed)
    return test_statistic(effects, lambda maps: correlate(maps, receptors, method))


def test_statistic(effects, statistic):
    """Test of a statistic, maps (k, n_parcels) to (k, m), against re-randomised effect maps."""
    return null_test(
        statistic(effects.observed[None])[0], statistic(effects.null), effects.exhaustive
    )


def spatial_test(effect, receptors, surrogates, method="gaussianised"):
    """Is this receptor special, or would any equally smooth map do?

    ``surrogates`` (n_surrogates, n_parcels) are of the effect map; one set for all receptors.
    """
    r = correlate(effect, receptors, method)[0]
    return null_test(r, correlate(surrogates, receptors, method))


def parametric_p(r, n_parcels):
    """Two-sided p of r of independent observations, Student's t, n - 2.

    Parcels are not independent.
    """
    r, df = np.asarray(r, dtype=float), np.asarray(n_parcels) - 2
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / (1 - r**2))
    return 2 * stats.t.sf(t, df)
