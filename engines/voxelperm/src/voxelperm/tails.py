"""p-values from permutations: counted, or from a generalised Pareto tail where counts are few.

A p of 1e-4 needs tens of thousands of permutations to be counted. The excess of the largest null
values over a high threshold follows a generalised Pareto distribution (Pickands 1975), which a
few thousand permutations determine (Knijnenburg et al. 2009, Bioinformatics 25:i161-i168; Winkler
et al. 2016, NeuroImage 141:502-516). This is an extrapolation: the fit is tested, and the counts
are kept where it fails.
"""

from dataclasses import dataclass

import numpy as np

from voxelperm.pareto import (
    CRITICAL,
    SHAPES,
    STEEPEST,
    anderson_darling,
    fit_pareto,
    log_survival,
)

TIE = 1e-5  # relative; a permuted statistic this close to the observed one equals it
FEW = 10  # a p is counted where at least this many permutations reach the observed value
SHARE = 0.1  # of the null values tried first; with a quarter, p-values of 1e-4 came out halved
FEWEST = 50  # exceedances to fit a tail to
FLOOR = 0.01  # times the smallest counted p: the limit of extrapolation


@dataclass(frozen=True)
class Tail:
    """How the small p-values of one statistic were found.

    Attributes
    ----------
    kind : str
        "counts", or "gpd" (generalised Pareto).
    reason : str
        Why, in words.
    n_exceedances : int
        Null values above ``threshold``, to which the tail was fitted.
    threshold, shape, scale : float
        Of the generalised Pareto distribution; a shape above 0 is heavier than exponential.
    misfit : float
        Anderson-Darling statistic over its 5 % point: at most 1.
    """

    kind: str
    reason: str
    n_exceedances: int = 0
    threshold: float = np.nan
    shape: float = np.nan
    scale: float = np.nan
    misfit: float = np.nan


COUNTED = Tail("counts", "asked for")


def counts(observed, null):
    """How many null values reach each observed one.

    Parameters
    ----------
    observed : numpy.ndarray
        (n_values,), at least 0.
    null : numpy.ndarray
        (n_permutations,).

    Returns
    -------
    numpy.ndarray of int
        (n_values,). Values equal to a relative 1e-5 count as ties: permuted images are computed in
        single precision.
    """
    ordered = np.sort(null)
    return len(null) - np.searchsorted(ordered, observed * (1 - TIE), side="left")


def p_values(observed, null, tail="counts", exhaustive=False):
    """p-value of each observed value, and how the small ones were found.

    Parameters
    ----------
    observed : numpy.ndarray
        (n_values,), at least 0.
    null : numpy.ndarray
        (n_permutations,), the observed value left out.
    tail : str
        "counts": (1 + count) / (1 + n_permutations). "gpd": the same, but from a generalised Pareto
        tail where fewer than 10 permutations reach the observed value, and never below a hundredth
        of the smallest counted p.
    exhaustive : bool
        Whether all distinct permutations were made: counts are then exact, and are kept.

    Returns
    -------
    p : numpy.ndarray
        (n_values,), never larger for a larger observed value.
    tail : Tail
    """
    count = counts(observed, null)
    p = (1 + count) / (1 + len(null))
    if tail == "counts":
        return p, COUNTED
    if exhaustive:
        return p, Tail("counts", "exact: all permutations were made")
    few = count < FEW
    if not few.any():
        return p, Tail("counts", f"every value was reached by at least {FEW} permutations")
    fitted = fit_tail(null)
    if fitted.kind == "gpd":
        small = fitted.n_exceedances / len(null) * survival(observed[few], fitted)
        p[few] = np.clip(small, FLOOR / (1 + len(null)), (1 + FEW) / (1 + len(null)))
    return p, fitted


def survival(values, tail):
    """Share of exceedances that reach each value under a fitted tail.

    Parameters
    ----------
    values : numpy.ndarray
        (n_values,).
    tail : Tail
        Of kind "gpd".

    Returns
    -------
    numpy.ndarray
        (n_values,); 1 up to the threshold of the tail.
    """
    return np.exp(log_survival(np.maximum(values - tail.threshold, 0), tail.shape, tail.scale))


def fit_tail(null):
    """Fit a generalised Pareto tail to the largest null values.

    The largest tenth is tried first, then 10 % fewer values each time, until an Anderson-Darling
    test does not reject the maximum-likelihood fit at 5 %.

    Parameters
    ----------
    null : array_like
        (n_permutations,).

    Returns
    -------
    Tail
        Of kind "counts" if there are fewer than 50 exceedances, or no fit passes.
    """
    ordered = np.sort(np.asarray(null, float))[::-1]
    n = int(SHARE * len(ordered))
    if n < FEWEST:
        least = int(np.ceil(FEWEST / SHARE))
        return Tail("counts", f"{len(null)} permutations, at least {least} needed for a tail")
    while n >= FEWEST:
        threshold = ordered[n]
        excess = ordered[:n][ordered[:n] > threshold] - threshold
        if len(excess) >= FEWEST:
            shape, scale = fit_pareto(excess)
            misfit = anderson_darling(excess, shape, scale) / np.interp(shape, SHAPES, CRITICAL)
            if misfit <= 1 and shape > STEEPEST:
                reason = f"generalised Pareto fit to the {len(excess)} largest of {len(null)}"
                return Tail("gpd", reason, len(excess), threshold, shape, scale, misfit)
        n = int(0.9 * n)
    return Tail("counts", "no generalised Pareto tail fits (Anderson-Darling, 5 %)")
