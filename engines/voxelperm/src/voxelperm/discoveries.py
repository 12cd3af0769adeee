"""Lower bounds on the number of true effects in any set of voxels, chosen before or after.

Permutation-based all-resolutions inference, single step (pARI; Andreella, Hemerik, Finos, Weeda &
Goeman 2023, Stat Med 42:2311-2340; Blain, Thirion & Neuvial 2022, NeuroImage 260:119492). A line of
critical values, lambda (i - shift) / (m - shift) for the i-th smallest of m p-values, leaves the
first few alone. Each draw has one number, its pivot: the largest lambda for which none of its
p-values lies below the line. The alpha quantile of the pivots is the lambda at which the line holds
for all voxels without an effect at once, with probability 1 - alpha; the bound for every set
follows. Without a shift (Simes' line) the smallest p alone sets lambda, above all where variances
are unequal: of 512 affected among 8,000 voxels .15 were discovered at 18 v 18, .03 at 12 v 24 with
twice the SD; with the paper's shift of 27 .34 and .29. Parametric ARI is Simes' line at
lambda = alpha m / h, with Hommel's h (Rosenblatt et al. 2018, NeuroImage 181:786-796).

All p-values are those of t with the model's degrees of freedom, at |t| rounded down to a grid.
Whether they are exact is of no matter: the draws are mapped as the data are.
"""

import functools

import numpy as np
from numba import njit
from scipy import stats

SHIFT = 27  # voxels: a cube of 3 x 3 x 3; sets of fewer have no discoveries
STEPS = 1024  # of the grid, per unit of |t|: p is rounded up by at most 1 % up to |t| = 10
LARGEST = 64  # |t| above it has the p of 64


@functools.lru_cache(maxsize=8)
def p_table(df):
    """Two-sided p of t at every step of the grid, (n_steps,)."""
    return 2 * stats.t.sf(np.arange(LARGEST * STEPS) / STEPS, df)


def p_of(t, df):
    """Two-sided p of each |t|, rounded down to the grid, (n_voxels,)."""
    step = np.minimum(np.abs(t).astype(np.float32) * np.float32(STEPS), LARGEST * STEPS - 1)
    return p_table(df)[step.astype(int)]


@njit(nogil=True, cache=True)
def pivot(t, table, shift, counts):
    """The smallest p_(i) (m - shift) / (i - shift) of one image, from a histogram of |t|.

    Parameters
    ----------
    t : numpy.ndarray of float32
        (n_voxels,), finite.
    table : numpy.ndarray
        From :func:`p_table`.
    shift : int
        Fewer than there are voxels.
    counts : numpy.ndarray of int32
        Work space as long as the table, all 0; it is left so.
    """
    highest, last, steps = 0, len(counts) - 1, np.float32(STEPS)
    for v in range(len(t)):
        step = int(min(abs(t[v]) * steps, np.float32(last)))
        counts[step] += 1
        highest = max(highest, step)
    found, n = np.inf, 0
    for step in range(highest, -1, -1):
        if counts[step]:
            n += counts[step]
            counts[step] = 0
            if n > shift:
                found = min(found, table[step] * (len(t) - shift) / (n - shift))
    return found


def critical_lambda(pivots, observed, alpha=0.05):
    """The largest lambda whose curve at least 1 - alpha of all draws respect.

    The data are one of the draws, as in the paper and as in p = (1 + count) / (1 + n): without
    them the curve would be too high by one draw.

    Parameters
    ----------
    pivots : array_like
        (n_draws,), of the null draws.
    observed : float
        Pivot of the data.
    alpha : float

    Returns
    -------
    float
    """
    ordered = np.sort(np.append(pivots, observed))
    return ordered[int(alpha * len(ordered) * (1 + 1e-12))]


def default_shift(n_tests):
    """27, but at most 1 % of the voxels."""
    return min(SHIFT, n_tests // 100)


def lower_bound(p, n_tests, critical, shift=0):
    """Lower bound on the number of true effects among some voxels.

    The largest 1 - u + number of p below critical (u - shift) / (n_tests - shift), over u above the
    shift. The inequality is strict: a p that lies on the curve respects it.

    Parameters
    ----------
    p : array_like
        (n_selected,), of the selected voxels, from the map that the test gave.
    n_tests : int
        Number of voxels in the mask.
    critical : float
        From :func:`critical_lambda`.
    shift : int
        That of the pivots.

    Returns
    -------
    int
        Simultaneous over all sets at the level of ``critical``, so that sets may be chosen after
        the results were seen.
    """
    place = np.asarray(p, float) * (n_tests - shift) / critical
    u = shift + 1 + np.sort(np.floor(place * (1 + 1e-9)))
    return int(max(0, (np.arange(1, len(u) + 1) + 1 - u).max(initial=0)))
