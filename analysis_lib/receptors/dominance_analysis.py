"""Multi-receptor regression by dominance analysis: each predictor's share of the fit, exactly.

The regressions of all 2^p - 1 subsets of predictors form a tree: a subset's children add one
predictor that comes after its last one. Going down the tree sweeps one predictor out of the
correlation matrix of those still to come, so that a model costs a few multiplications and nothing
is fitted twice; outcomes that share the predictors share the sweeps.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from scipy.stats import zscore

from analysis_lib.receptors.correlation import COLLINEAR
from analysis_lib.receptors.nulls import share_beyond

CRITERIA = ("adjusted_r2", "r2")
MAX_PREDICTORS = 25  # 2^25 models take a second or two, and each further predictor doubles that
BLOCK = 64  # outcomes swept together: their working memory stays in the processor's cache


@dataclass(frozen=True)
class Dominance:
    """A multiple regression and what each predictor brings to it.

    Total (general) dominance is the increase of the criterion when the predictor joins a model,
    averaged over the models of each size, then over sizes. It sums to the full model's criterion.
    Of adjusted R^2 it can be negative.
    """

    total: pd.Series
    r2: float  # of the full model
    adjusted_r2: float

    @property
    def percent(self):
        """Total dominance as a percentage of its sum; NaN where that sum is not positive."""
        whole = self.total.sum()
        return (100 * self.total / (whole if whole > 0 else np.nan)).rename("percent")


@dataclass(frozen=True)
class DominanceTest:
    """Dominance with its null distribution over surrogate outcomes; p as in `NullTest`."""

    observed: Dominance
    p_model: float  # of adjusted R^2
    p: pd.Series  # by predictor: of its total dominance
    p_fwe: pd.Series  # the same with the largest total dominance over predictors
    null_adjusted_r2: np.ndarray  # (n_surrogates,)
    null_total: pd.DataFrame  # (n_surrogates, n_predictors)


def dominance(predictors, outcome, criterion="adjusted_r2"):
    """Dominance analysis over all subsets of predictors (Budescu 1993, Psychol Bull 114:542).

    With adjusted R^2, the default, it is the analysis of Hansen et al. (2022, Nat Neurosci
    25:1569): total dominance sums to the full model's adjusted R^2. With R^2 it is the classical
    general dominance (Azen & Budescu 2003, Psychol Methods 8:129). The empty model counts as 0.

    Parameters
    ----------
    predictors : pandas.DataFrame, shape (n_regions, n_predictors)
        One row per region, one column per receptor; any units, since columns are z-scored here.
    outcome : pandas.Series or array_like, shape (n_regions,)
        A Series is matched with `predictors` by region, an array by position.
    criterion : {"adjusted_r2", "r2"}

    Returns
    -------
    Dominance

    Raises
    ------
    ValueError
        Missing values, regions that differ, constant or collinear predictors, too few regions, too
        many predictors, an unknown criterion.
    """
    x, y = _checked(predictors, outcome, criterion)
    correlation, cross = _correlations(x, y)
    total = _all_subsets(correlation, cross, len(x), criterion)
    r2 = float(_full_r2(correlation, cross)[0])
    total = pd.Series(total[:, 0], x.columns, name="total_dominance")
    return Dominance(total, r2, float(_adjusted(r2, *x.shape)))


def dominance_test(predictors, outcome, surrogates):
    """p of the model and of each predictor's total dominance under given surrogate outcomes.

    ``surrogates`` (n_surrogates, n_regions) decide which question is asked: effect maps of
    re-randomised arms, or maps as smooth as the observed one (`analysis_lib.receptors.surrogates`).
    One-sided: a large fit or dominance is evidence.
    """
    observed = dominance(predictors, outcome)
    x = pd.DataFrame(predictors).astype(float)
    correlation, cross = _correlations(x, np.atleast_2d(surrogates))
    total = _all_subsets(correlation, cross, len(x), "adjusted_r2")
    adjusted, largest = _adjusted(_full_r2(correlation, cross), *x.shape), total.max(axis=0)
    return DominanceTest(
        observed=observed,
        p_model=float(share_beyond(observed.adjusted_r2, adjusted)),
        p=pd.Series(share_beyond(observed.total.to_numpy(), total.T), x.columns, name="p"),
        p_fwe=observed.total.map(lambda own: share_beyond(own, largest)).rename("p_fwe"),
        null_adjusted_r2=adjusted,
        null_total=pd.DataFrame(total.T, columns=x.columns),
    )


def cross_validated_r(predictors, outcome, distances, train_share=0.75):
    """Does the regression predict regions far from those that it was fitted to?

    Distance-dependent splits (Hansen et al. 2022): for each region as seed, the ``train_share`` of
    regions closest to it (``distances``, mm), itself included, train the model, and the others test
    it. Near regions resemble one another, so that a random split would flatter the fit. Gives
    Pearson's correlation of predicted and observed, train_r and test_r, by the seed's region; NaN
    where either does not vary. Refused is what `dominance` refuses, and a share that leaves too few
    regions to train or to test.
    """
    x, y = _checked(predictors, outcome)
    n_train = _train_size(len(x), x.shape[1], train_share)
    design = np.column_stack([np.ones(len(x)), zscore(x.to_numpy())])
    nearest = np.argsort(distances, axis=1, kind="stable")
    rows = [_split_r(design, y[0], order[:n_train], order[n_train:]) for order in nearest]
    return pd.DataFrame(rows, index=x.index, columns=["train_r", "test_r"])


def _checked(predictors, outcome, criterion="adjusted_r2"):
    """Predictors as a table and the outcome as a row in their order, both found usable."""
    if criterion not in CRITERIA:
        raise ValueError(
            f"criterion '{criterion}' is unknown; expected one of {', '.join(CRITERIA)}"
        )
    x = pd.DataFrame(predictors).astype(float)
    y = _matched(outcome, x.index)
    columns = [*x.items(), ("outcome", y)]
    for name, column in columns:
        bad = column.index[~np.isfinite(column)].tolist()
        if bad:
            raise ValueError(
                f"{name} has no finite value in regions {bad}; leave these regions out of "
                "predictors and outcome"
            )
    _check_size(*x.shape)
    constant = [name for name, c in columns if np.ptp(c) <= 1e-12 * np.abs(c).max()]
    if constant:
        raise ValueError(f"{constant} have one value in every region and explain nothing")
    _check_collinear(x)
    return x, y.to_numpy()[None]


def _matched(outcome, regions):
    if not isinstance(outcome, pd.Series):
        outcome = np.asarray(outcome, dtype=float)
        if outcome.shape != (len(regions),):
            raise ValueError(
                f"outcome has shape {outcome.shape}, predictors have {len(regions)} regions"
            )
        return pd.Series(outcome, regions)
    differing = outcome.index.symmetric_difference(regions).tolist()
    if differing or not (outcome.index.is_unique and regions.is_unique):
        raise ValueError(
            "outcome and predictors must name the same regions, each once; only one of them has "
            f"{differing[:5]}. Give the outcome as an array to match by position"
        )
    return outcome.loc[regions].astype(float)


def _check_size(n_regions, n_predictors):
    if not 1 <= n_predictors <= MAX_PREDICTORS:
        raise ValueError(
            f"1 to {MAX_PREDICTORS} predictors expected, found {n_predictors}: every subset of "
            "them is a model"
        )
    if n_regions < n_predictors + 2:
        raise ValueError(
            f"{n_regions} regions are too few for {n_predictors} predictors; at least "
            f"{n_predictors + 2} are needed"
        )


def _check_collinear(x):
    """Name the predictors of which one is a linear combination of the others."""
    values, vectors = np.linalg.eigh(_correlations(x, x.to_numpy().T[:1])[0])
    flat = values < COLLINEAR
    if flat.any():
        names = x.columns[(np.abs(vectors[:, flat]) > 1e-4).any(axis=1)].tolist()
        raise ValueError(
            f"predictors {names} are collinear: one is a combination of the others, so "
            "their shares are not defined. Leave one out or combine them"
        )


def _train_size(n_regions, n_predictors, train_share):
    n_train = math.floor(train_share * n_regions)
    if n_train < n_predictors + 2 or n_regions - n_train < 3:
        raise ValueError(
            f"train_share {train_share} gives {n_train} of {n_regions} regions to train "
            f"{n_predictors} predictors; at least {n_predictors + 2} to train and 3 to test needed"
        )
    return n_train


def _correlations(x, outcomes):
    """Correlations among predictors (p, p), and of predictors with outcomes (p, n_outcomes)."""
    x, y = zscore(x.to_numpy()), zscore(outcomes.T)
    return x.T @ x / len(x), x.T @ y / len(x)


def _full_r2(correlation, cross):
    return (cross * np.linalg.solve(correlation, cross)).sum(axis=0)


def _adjusted(r2, n_regions, n_predictors):
    return 1 - (1 - r2) * (n_regions - 1) / (n_regions - n_predictors - 1)


def _split_r(design, y, train, test):
    slopes = np.linalg.lstsq(design[train], y[train])[0]
    return [pd.Series(design[part] @ slopes).corr(pd.Series(y[part])) for part in (train, test)]


def _all_subsets(correlation, cross, n_regions, criterion):
    """Total dominance (n_predictors, n_outcomes)."""
    p = len(correlation)
    # Of a model with k predictors: criterion = 1 - (1 - R^2) * shrink[k].
    left = n_regions - np.arange(p + 1) - 1
    shrink = (n_regions - 1) / left if criterion == "adjusted_r2" else np.ones(p + 1)
    # The mean over models of k predictors that hold a given one, then over k = 1..p.
    weight = np.array([0.0] + [1 / (p * math.comb(p - 1, k)) for k in range(p)] + [0.0])
    parts = [
        _sweep_subsets(correlation, np.ascontiguousarray(part), shrink, weight)
        for part in np.array_split(cross, math.ceil(cross.shape[1] / BLOCK), axis=1)
    ]
    return np.hstack(parts)


@njit(nogil=True, cache=True)
def _sweep_subsets(correlation, cross, shrink, weight):
    """Total dominance (p, n_outcomes), depth first over subsets.

    A model with criterion a and k predictors adds weight[k] a to each predictor that it holds, and
    takes weight[k + 1] a from each that it does not hold. The first sum needs no loop over
    predictors: all models below a node of the tree hold that node's last predictor.
    """
    p, n = cross.shape
    among = np.empty((p + 1, p, p))  # covariance of predictors to come, given those of the subset
    with_y = np.empty((p + 1, p, n))
    r2 = np.zeros((p + 1, n))
    below = np.zeros((p + 1, n))
    held, elsewhere = np.zeros((p, n)), np.zeros(n)
    following = np.zeros(p + 1, np.int64)
    last = np.zeros(p + 1, np.int64)
    among[0], with_y[0] = correlation, cross
    depth = 0
    while True:
        j = following[depth]
        if j == p:
            if depth == 0:
                return held - elsewhere
            for o in range(n):
                held[last[depth], o] += below[depth, o]
                below[depth - 1, o] += below[depth, o]
            depth -= 1
            continue
        following[depth] = j + 1
        k = depth + 1
        variance = _sweep(among[depth], with_y[depth], j, among[k], with_y[k])
        for o in range(n):
            r2[k, o] = r2[depth, o] + with_y[depth, j, o] ** 2 / variance
            fit = 1 - (1 - r2[k, o]) * shrink[k]
            below[k, o] = (weight[k] + weight[k + 1]) * fit
            elsewhere[o] += weight[k + 1] * fit
        following[k], last[k] = j + 1, j
        depth = k


@njit(nogil=True, cache=True)
def _sweep(among, with_y, j, among_next, with_y_next):
    """Take predictor j out of those after it and of the outcomes; gives its own variance."""
    variance = among[j, j]
    for a in range(j + 1, len(among)):
        slope = among[a, j] / variance
        for b in range(j + 1, a + 1):
            among_next[a, b] = among[a, b] - slope * among[b, j]
        for o in range(with_y.shape[1]):
            with_y_next[a, o] = with_y[a, o] - slope * with_y[j, o]
    return variance
