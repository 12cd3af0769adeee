"""p from permutations: counted, or from a generalised Pareto tail where counts are few.

A p of 1e-4 needs tens of thousands of permutations to be counted. The excess of the largest null
values over a high threshold follows a generalised Pareto distribution (Pickands 1975), which a
few thousand permutations determine (Knijnenburg et al. 2009, Bioinformatics 25:i161-i168; Winkler
et al. 2016, NeuroImage 141:502-516). It is an extrapolation: its fit is tested, and the counts
are kept where it fails.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

TIE = 1e-5  # relative; a permuted statistic this close to the observed one equals it
FEW = 10  # a p is counted where at least so many permutations reach the observed value
SHARE = 0.1  # of the null values are exceedances at first; with a quarter p of 1e-4 were halved
FEWEST = 50  # exceedances that a tail is fitted to
FLOOR = 0.01  # times the smallest counted p: nothing is extrapolated further
STEEPEST = -0.5  # shapes down to here have regular maximum likelihood
# 5 % points of the Anderson-Darling statistic with both parameters estimated by maximum likelihood,
# by shape, after Choulakian & Stephens 2001 (Technometrics 43:478-484; their k is -shape). Not yet
# compared with their table 2: in simulations a true tail is rejected in .028 to .064 of fits.
SHAPES = (-0.5, -0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.5, 0.9)
CRITICAL = (1.321, 1.221, 1.140, 1.074, 1.020, 0.974, 0.935, 0.903, 0.830, 0.771)


@dataclass(frozen=True)
class Tail:
    """How the small p of one statistic were found.

    Attributes
    ----------
    kind : str
        "counts", or "gpd" (generalised Pareto).
    reason : str
        Why, in words.
    n_exceedances : int
        Null values above ``threshold`` that the tail was fitted to.
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
    """
    ordered = np.sort(null)
    return len(null) - np.searchsorted(ordered, observed * (1 - TIE), side="left")


def p_values(observed, null, tail="counts", exhaustive=False):
    """p of each observed value, and how the small ones were found.

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
        All permutations were made: counts are exact and are kept.

    Returns
    -------
    p : numpy.ndarray
        (n_values,), not increasing with the observed value.
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
    """Share of exceedances that reach each value, under the tail; 1 up to its threshold."""
    return np.exp(_log_survival(np.maximum(values - tail.threshold, 0), tail.shape, tail.scale))


def fit_tail(null):
    """Generalised Pareto tail of the largest null values.

    A tenth of the values is tried first, then a tenth fewer each time, until an Anderson-Darling
    test does not reject at 5 %; parameters by maximum likelihood.

    Parameters
    ----------
    null : array_like
        (n_permutations,).

    Returns
    -------
    Tail
        Of kind "counts" if at least 50 exceedances are not to be had, or none of the fits passes.
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


def fit_pareto(excess):
    """Shape and scale of a generalised Pareto distribution by maximum likelihood.

    The likelihood has one free parameter, shape / scale (Grimshaw 1993, Technometrics 35:185-191).

    Parameters
    ----------
    excess : numpy.ndarray
        (n,), above 0.

    Returns
    -------
    shape, scale : float
    """
    y = excess / excess.mean()
    lowest = -1 / y.max()
    grid = np.concatenate([lowest * np.geomspace(0.999, 1e-3, 40), np.geomspace(1e-3, 20, 40)])
    shapes = np.log1p(grid[:, None] * y).mean(axis=1)
    misfit = np.where(shapes > STEEPEST, _misfit_of(grid, shapes), np.inf)
    best = np.argmin(misfit)
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda ratio: _misfit_of(ratio, np.log1p(ratio * y).mean()),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    ).x
    shape = np.log1p(found * y).mean()
    return shape, excess.mean() * (shape / found if abs(found) > 1e-12 else 1.0)


def _misfit_of(ratio, shape):
    """Minus the mean log likelihood of the best fit with this shape / scale, less a constant."""
    return np.log(shape / np.where(ratio == 0, 1e-12, ratio)) + shape


def _log_survival(excess, shape, scale):
    if abs(shape) < 1e-9:
        return -excess / scale
    inside = np.maximum(1 + shape * excess / scale, 0)
    with np.errstate(divide="ignore"):
        return -np.log(inside) / shape


def anderson_darling(excess, shape, scale):
    """A^2, the weighted squared distance between the excesses and a generalised Pareto."""
    log_above = _log_survival(np.sort(excess), shape, scale)
    log_below = np.log(-np.expm1(log_above))
    n = len(excess)
    weight = 2 * np.arange(1, n + 1) - 1
    return -n - np.mean(weight * (log_below + log_above[::-1]))
