"""Null distributions of the correlation: surrogate maps, re-randomised arms."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from analysis_lib.receptors import effects
from analysis_lib.receptors.correlation import correlate
from analysis_lib.results.contrasts import ARM_BY_TIME
from voxelperm import draw_permutations

LEVEL = 0.05  # at or below it a p is significant
TIE = 1e-10  # two values of |r| closer than this are equal: rounding must not decide a p


@dataclass(frozen=True)
class NullTest:
    """A correlation with its null; p is (1 + #{|r*| >= |r|}) / (1 + n_null), two-sided."""

    r: np.ndarray  # (n_receptors,)
    null: np.ndarray  # (n_null, n_receptors); the observed one is not among them
    p: np.ndarray
    p_fwe: np.ndarray  # the same with the largest |r*| over receptors
    exhaustive: bool = False  # whether null holds every relabelling but the observed one


def share_beyond(observed, null):
    """One-sided p of statistics (m,) against their null (n_null, m), the observed one counted."""
    return (1 + (null >= observed - TIE).sum(axis=0)) / (1 + len(null))


def null_test(observed, null, exhaustive=False):
    """Two-sided p of statistics (m,) against their null (n_null, m), single and family-wise."""
    size = np.abs(null)
    largest = size.max(axis=1, keepdims=True)
    p, p_fwe = (share_beyond(np.abs(observed), drawn) for drawn in (size, largest))
    return NullTest(np.asarray(observed), np.asarray(null), p, p_fwe, exhaustive)


def critical_r(test):
    """Smallest |r| that a test would have called significant: for each map, and for all of them.

    NaN where no r reaches the level with so few draws.
    """
    size = np.abs(test.null)
    rank = int(np.floor(LEVEL * (1 + len(size)) + 1e-9))
    if rank < 1:
        return np.full(size.shape[1], np.nan), np.nan
    return np.sort(size, axis=0)[-rank], float(np.sort(size.max(axis=1))[-rank])


def placed(weights, permutations):
    """Weights (n,) of participants when signed permutations (n_null, n) put them in new places."""
    placed = np.empty(permutations.shape)
    np.put_along_axis(placed, np.abs(permutations) - 1, weights * np.sign(permutations), axis=1)
    return placed


def randomisation_test(change, arm, receptors, contrast=ARM_BY_TIME, n_permutations=5000, seed=0):
    """|r| of the group's map against |r| of the maps of re-randomised arms.

    For comparison alone (notebook S4): `analysis_lib.receptors.slopes` has the test of the trial.
    r has no scale. Where treatment did something every relabelled map still shows some of it,
    however weakly, and |r*| is near 1: the test has next to no power.

    Between the arms labels are re-randomised, on changes less their mean; within an arm
    participants' signs are flipped. When no more than ``n_permutations`` relabellings differ from
    the observed one, each is made once. ``change`` and ``arm`` are those of
    `analysis_lib.receptors.effects.effect_map`, ``receptors`` (n_receptors, n_parcels).
    """
    change, active = effects.checked_change(change, arm, contrast)
    weights = effects.effect_weights(active, contrast)
    observed = weights @ change
    if contrast == ARM_BY_TIME:
        change = effects.residuals(np.ones((len(active), 1)), change)
    else:
        used = weights != 0
        change, weights = change[used], weights[used]
    permutations, exhaustive = draw_permutations(
        n_permutations,
        len(weights),
        tested=np.round(weights, 12),  # equal but for rounding is equal
        sign_flip=contrast != ARM_BY_TIME,
        seed=seed,
    )
    null = correlate(placed(weights, permutations) @ change, receptors)
    return null_test(correlate(observed, receptors)[0], null, exhaustive)


def spatial_test(effect, receptors, surrogates, method="gaussianised", statistic=correlate):
    """Is this receptor special, or would any equally smooth map do?

    ``surrogates`` (n_surrogates, n_parcels) are of the effect map; one set for all receptors.
    ``statistic`` is `correlate`, or a partial correlation of the same arguments. Surrogates of
    normal scores are used as they come: ranked again they would be rougher than the effect map,
    and p too small for the smoothest maps.
    """
    r = partial(statistic, receptor_maps=receptors, method=method)
    return null_test(r(effect)[0], r(surrogates, scored=method == "gaussianised"))


def parametric_p(r, n_parcels):
    """Two-sided p of r of independent observations, Student's t, n - 2.

    Parcels are not independent.
    """
    r, df = np.asarray(r, dtype=float), np.asarray(n_parcels) - 2
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / (1 - r**2))
    return 2 * stats.t.sf(t, df)
