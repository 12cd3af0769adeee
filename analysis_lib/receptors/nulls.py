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
    """A correlation with its null distribution.

    Attributes
    ----------
    r : numpy.ndarray, shape (n_receptors,)
    null : numpy.ndarray, shape (n_null, n_receptors)
        Correlations under the null; the observed one is not among them.
    p : numpy.ndarray, shape (n_receptors,)
        (1 + #{|r*| >= |r|}) / (1 + n_null), two-sided.
    p_fwe : numpy.ndarray, shape (n_receptors,)
        The same with the largest |r*| over receptors.
    exhaustive : bool
        Whether `null` holds every relabelling that differs from the observed one.
    """

    r: np.ndarray
    null: np.ndarray
    p: np.ndarray
    p_fwe: np.ndarray
    exhaustive: bool = False


def null_test(observed, null, exhaustive=False):
    """Two-sided p of statistics against their null distribution, single and family-wise.

    Parameters
    ----------
    observed : array_like, shape (m,)
    null : array_like, shape (n_null, m)
        Without the observed one.
    exhaustive : bool
        Whether `null` is complete.

    Returns
    -------
    NullTest
    """
    size = np.abs(null)
    largest = size.max(axis=1, keepdims=True)
    bound = np.abs(observed) - TIE
    p, p_fwe = ((1 + (x >= bound).sum(axis=0)) / (1 + len(null)) for x in (size, largest))
    return NullTest(np.asarray(observed), np.asarray(null), p, p_fwe, exhaustive)


@dataclass(frozen=True)
class NullEffects:
    """Effect map of a trial, and those that it could have had if treatment did nothing.

    Attributes
    ----------
    observed : numpy.ndarray, shape (n_parcels,)
    null : numpy.ndarray, shape (n_null, n_parcels)
        The observed one is not among them.
    exhaustive : bool
        Whether `null` holds every relabelling that differs from the observed one.
    """

    observed: np.ndarray
    null: np.ndarray
    exhaustive: bool


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
        See `arm_effect`.
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
    """Weight of each participant when signed permutations put them in new places.

    Parameters
    ----------
    weights : array_like, shape (n,)
    permutations : numpy.ndarray of int, shape (n_null, n)
        From `voxelperm.draw_permutations`.

    Returns
    -------
    numpy.ndarray, shape (n_null, n)
    """
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

    The correlation of every map of `null_effects` with every receptor map, each gaussianised again.

    r has no scale. Where one spatial pattern makes up nearly all variance between participants, a
    relabelled map shows that pattern too, however weakly, and |r*| is near 1: the test stays valid
    and loses power.

    Parameters
    ----------
    change, arm, contrast, covariates, strata, n_permutations, seed
        See `null_effects`.
    receptors : array_like, shape (n_receptors, n_parcels)
    method : str
        See `correlate`.

    Returns
    -------
    NullTest
    """
    model = {"covariates": covariates, "strata": strata}
    effects = null_effects(change, arm, contrast, **model, n_permutations=n_permutations, seed=seed)
    return test_statistic(effects, lambda maps: correlate(maps, receptors, method))


def test_statistic(effects, statistic):
    """Test of any statistic of an effect map against re-randomised ones.

    Parameters
    ----------
    effects : NullEffects
    statistic : callable
        Maps (k, n_parcels) to numbers (k, m) that are far from 0 under the alternative.

    Returns
    -------
    NullTest
    """
    return null_test(
        statistic(effects.observed[None])[0], statistic(effects.null), effects.exhaustive
    )


def spatial_test(effect, receptors, surrogates, method="gaussianised"):
    """Is this receptor special, or would any equally smooth map do?

    Parameters
    ----------
    effect : array_like, shape (n_parcels,)
    receptors : array_like, shape (n_receptors, n_parcels)
    surrogates : array_like, shape (n_surrogates, n_parcels)
        From `analysis_lib.receptors.surrogates`, of the effect map; one set for all receptors.
    method : str
        See `correlate`.

    Returns
    -------
    NullTest
    """
    r = correlate(effect, receptors, method)[0]
    return null_test(r, correlate(surrogates, receptors, method))


def parametric_p(r, n_parcels):
    """Two-sided p of a correlation of independent observations. Parcels are not independent.

    Parameters
    ----------
    r : array_like
    n_parcels : array_like of int

    Returns
    -------
    numpy.ndarray
        From Student's t with n - 2 degrees of freedom.
    """
    r, df = np.asarray(r, dtype=float), np.asarray(n_parcels) - 2
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / (1 - r**2))
    return 2 * stats.t.sf(t, df)
