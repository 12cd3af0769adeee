"""Split-half reliability of an effect map."""

from dataclasses import dataclass

import numpy as np

from analysis_lib.receptors import effects
from analysis_lib.receptors.correlation import correlate
from analysis_lib.results.contrasts import ARM_BY_TIME


@dataclass(frozen=True)
class SplitHalf:
    """Agreement of effect maps from two halves of the patients."""

    r: float  # mean correlation over parcels between the halves' maps
    reliability: float  # 2 r / (1 + r), that of the map of all (Spearman 1910; Brown 1910)
    splits: np.ndarray  # (n_splits,), the correlation of each


def split_half(
    change, arm, covariates=None, strata=None, n_splits=500, seed=0, method="gaussianised"
):
    """Would another half of these patients give the same effect map?

    Patients are split at random into halves, within arm and stratum; fewer than two of an arm in a
    stratum are not split there. Covariates are first removed by the model of all patients, so that
    no half has to estimate their slopes.
    """
    change, active = effects.checked_change(change, arm, ARM_BY_TIME)
    change = _adjusted(change, active, covariates, strata)
    rng = np.random.default_rng(seed)
    first = _halves(active + 2 * effects.stratum_numbers(strata, len(active)), n_splits, rng)
    signed = [_row_means(half & active) - _row_means(half & ~active) for half in (first, ~first)]
    maps = [weights @ change for weights in signed]
    splits = np.array([correlate(a, b, method)[0, 0] for a, b in zip(*maps, strict=True)])
    r = float(splits.mean())
    return SplitHalf(r, 2 * r / (1 + r), splits)


def _adjusted(change, active, covariates, strata):
    """Change without covariates and strata; the difference of its means is the arm's effect."""
    nuisance = effects.nuisance_columns(len(active), covariates, strata)
    slopes = np.linalg.pinv(np.column_stack([active, nuisance])) @ change
    return change - nuisance @ slopes[1:]


def _halves(cells, n_splits, rng):
    """Membership of the first half, (n_splits, n); odd cells: one more or one fewer, at random."""
    first = np.zeros((n_splits, len(cells)), dtype=bool)
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        place = rng.permuted(np.tile(np.arange(members.size), (n_splits, 1)), axis=1)
        more = rng.integers(0, 1 + members.size % 2, size=(n_splits, 1))
        first[:, members] = place < members.size // 2 + more
    return first


def _row_means(chosen):
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)
