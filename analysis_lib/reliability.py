"""How much of an effect map is noise, and what that does to its correlation with a receptor."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.receptors import (
    checked_change,
    correlate,
    effect_map,
    effect_weights,
    gaussianise,
    nuisance_columns,
    randomisation_test,
    residuals,
    stratum_numbers,
)

FIT_STEPS = 201  # points of the grid on which the power curve is inverted


@dataclass(frozen=True)
class Intervals:
    """Correlations with two intervals, which answer two questions.

    Attributes
    ----------
    r : numpy.ndarray, shape (n_receptors,)
    expected : numpy.ndarray, shape (n_receptors, 2)
        Interval of the correlation to expect at this sample size and noise.
    noise_free_r : numpy.ndarray, shape (n_receptors,)
        r / sqrt(reliability), at most 1 in size; NaN where the reliability is not above 0.
    noise_free : numpy.ndarray, shape (n_receptors, 2)
        Interval of the correlation that endlessly many patients would show; -1 to 1 where the
        reliability is not above 0.
    reliability : float
        Share of the effect map's variance over parcels that is not noise, 0 to 1.
    level : float
    """

    r: np.ndarray
    expected: np.ndarray
    noise_free_r: np.ndarray
    noise_free: np.ndarray
    reliability: float
    level: float


def bootstrap_intervals(
    change,
    arm,
    receptors,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_bootstrap=2000,
    level=0.95,
    seed=0,
    method="gaussianised",
):
    """Two intervals of r from patients resampled within arm and stratum.

    A resampled effect map holds noise twice, that of the trial and that of the resampling, so that
    its correlations are weaker than those of the trial. With the noise's share s of the observed
    map's variance, a correlation falls by sqrt(1 + s) on resampling, and had fallen by sqrt(1 - s)
    from its noise-free value. s is read off the mean correlation q of resampled maps with the
    observed one: q^2 = 1 / (1 + s), times n / (n - p) since resampled residuals are too small. The
    percentiles of the resampled r are multiplied by sqrt(1 + s) for the first interval and by
    sqrt((1 + s) / (1 - s)) for the second; they are those of Hesterberg (2015, Am Stat 69:371),
    farther out than nominal since patients are few. Simulated (benchmarks/intervals.tsv):
    these intervals cover what they speak of in 93 to 99 % of trials, the plain percentiles cover
    the expected r in 82 to 94 % and the noise-free one in 0 to 93 %.

    Parameters
    ----------
    change, arm, covariates, strata
        See `analysis_lib.receptors.arm_effect`.
    receptors : array_like, shape (n_receptors, n_parcels)
        Taken as they are: their own noise is not in the intervals.
    contrast : {"active_change", "control_change", "arm_by_time"}
    n_bootstrap : int
    level : float
        Coverage aimed at.
    seed : int
    method : str
        See `analysis_lib.receptors.correlate`.

    Returns
    -------
    Intervals
    """
    change, active = checked_change(change, arm, contrast)
    effect = effect_map(change, active, contrast, covariates, strata)
    weights, n_fitted = _resampled_weights(
        active, contrast, covariates, strata, n_bootstrap, np.random.default_rng(seed)
    )
    resampled = weights @ change
    r, drawn = correlate(effect, receptors, method)[0], correlate(resampled, receptors, method)
    n = np.count_nonzero(effect_weights(active, contrast, covariates, strata))
    share = _noise_share(resampled, effect, method) * n / (n - n_fitted)
    ends = np.quantile(drawn, _percentiles(level, n, n_fitted), axis=0).T
    noise_free = share < 1
    return Intervals(
        r=r,
        expected=np.clip(ends * np.sqrt(1 + min(share, 1)), -1, 1),
        noise_free_r=_bounded(r, 1 / (1 - share)) if noise_free else np.full(len(r), np.nan),
        noise_free=(
            _bounded(ends, (1 + share) / (1 - share))
            if noise_free
            else np.tile([-1.0, 1.0], (len(r), 1))
        ),
        reliability=float(max(0, 1 - share)),
        level=level,
    )


def _bounded(r, square):
    return np.clip(r * np.sqrt(square), -1, 1)


def _noise_share(resampled, effect, method):
    q = correlate(resampled, effect, method).mean()
    return 1 / q**2 - 1 if q > 0 else np.inf


def _percentiles(level, n, n_fitted):
    df = n - n_fitted
    tail = stats.norm.cdf(-np.sqrt(n / df) * stats.t.ppf((1 + level) / 2, df))
    return tail, 1 - tail


def _resampled_weights(active, contrast, covariates, strata, n_bootstrap, rng):
    """Weights of each resampled effect map, (n_bootstrap, n), and how many means were fitted."""
    counts = _resampled(active, stratum_numbers(strata, len(active)), n_bootstrap, rng)
    if contrast != "arm_by_time":
        return counts * effect_weights(active, contrast), 1
    nuisance = nuisance_columns(len(active), covariates, strata)
    return _bootstrap_weights(active, counts, nuisance), nuisance.shape[1] + 1


def _resampled(active, stratum, n_bootstrap, rng):
    """How often each participant is drawn, (n_bootstrap, n), within arm and stratum."""
    counts = np.zeros((n_bootstrap, len(active)))
    cells = active + 2 * stratum
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        shares = np.full(members.size, 1 / members.size)
        counts[:, members] = rng.multinomial(members.size, shares, size=n_bootstrap)
    return counts


def _bootstrap_weights(active, counts, nuisance):
    """Weights of the arm's coefficient in each weighted least-squares fit, (n_bootstrap, n)."""
    design = np.column_stack([active, nuisance])
    cross = np.einsum("bi,ij,ik->bjk", counts, design, design, optimize=True)
    # A sample may lack a category of a covariate: pinv gives the arm's effect all the same.
    return (np.linalg.pinv(cross, hermitian=True)[:, 0] @ design.T) * counts


@dataclass(frozen=True)
class SplitHalf:
    """Agreement of effect maps from two halves of the patients.

    Attributes
    ----------
    r : float
        Mean correlation over parcels between the halves' maps.
    reliability : float
        2 r / (1 + r), that of the map of all patients (Spearman 1910; Brown 1910).
    splits : numpy.ndarray, shape (n_splits,)
        The correlation of each split.
    """

    r: float
    reliability: float
    splits: np.ndarray


def split_half(
    change,
    arm,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_splits=500,
    seed=0,
    method="gaussianised",
):
    """Would another half of these patients give the same effect map?

    Patients are split at random into halves, within arm and stratum; covariates are first removed
    by the model of all patients, so that no half has to estimate their slopes.

    Parameters
    ----------
    change, arm, covariates, strata
        See `analysis_lib.receptors.arm_effect`.
    contrast : {"active_change", "control_change", "arm_by_time"}
    n_splits : int
    seed : int
    method : str
        See `analysis_lib.receptors.correlate`.

    Returns
    -------
    SplitHalf
        Arms with fewer than two participants in a stratum are not split there.
    """
    change, active = checked_change(change, arm, contrast)
    if contrast == "arm_by_time":
        change = _adjusted(change, active, covariates, strata)
    rng = np.random.default_rng(seed)
    first = _halves(active + 2 * stratum_numbers(strata, len(active)), n_splits, rng)
    arms = {"active_change": ((active, 1),), "control_change": ((~active, 1),)}
    signed = arms.get(contrast, ((active, 1), (~active, -1)))
    maps = [
        sum(sign * _row_means(half & members) for members, sign in signed) @ change
        for half in (first, ~first)
    ]
    splits = np.array([correlate(a, b, method)[0, 0] for a, b in zip(*maps, strict=True)])
    r = float(splits.mean())
    return SplitHalf(r, 2 * r / (1 + r), splits)


def _adjusted(change, active, covariates, strata):
    """Change without covariates and strata; the difference of its means is the arm's effect."""
    nuisance = nuisance_columns(len(active), covariates, strata)
    slopes = np.linalg.pinv(np.column_stack([active, nuisance])) @ change
    return change - nuisance @ slopes[1:]


def _halves(cells, n_splits, rng):
    """Who is in the first half, (n_splits, n); of an odd cell one more or one fewer, at random."""
    first = np.zeros((n_splits, len(cells)), dtype=bool)
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        place = rng.permuted(np.tile(np.arange(members.size), (n_splits, 1)), axis=1)
        more = rng.integers(0, 1 + members.size % 2, size=(n_splits, 1))
        first[:, members] = place < members.size // 2 + more
    return first


def _row_means(chosen):
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)


def critical_r(test, level=0.05):
    """Smallest |r| that a test would have called significant.

    Parameters
    ----------
    test : analysis_lib.receptors.NullTest
    level : float

    Returns
    -------
    single : numpy.ndarray, shape (n_receptors,)
        For each map alone; NaN where no r reaches the level with so few draws.
    family_wise : float
        For all maps together.
    """
    size = np.abs(test.null)
    rank = int(np.floor(level * (1 + len(size)) + 1e-9))
    if rank < 1:
        return np.full(size.shape[1], np.nan), np.nan
    ordered = np.sort(size, axis=0)[::-1]
    return ordered[rank - 1], float(np.sort(size.max(axis=1))[::-1][rank - 1])


def power_curve(
    change,
    arm,
    receptor,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    reliability=0.6,
    true_r=tuple(k / 10 for k in range(11)),
    n_trials=200,
    n_permutations=199,
    level=0.05,
    seed=0,
    method="gaussianised",
):
    """How often re-randomisation finds a receptor that the noise-free effect map follows this well.

    Simulated trials with the noise of this one: residual maps of its patients, re-ordered and with
    random signs. The planted map is a mixture of the receptor map and of an unrelated map (a noise
    map made orthogonal to it), both as normal scores, with the given correlation, and
    strong enough for the given reliability.

    Parameters
    ----------
    change, arm, covariates, strata
        See `analysis_lib.receptors.arm_effect`.
    receptor : array_like, shape (n_parcels,)
        NaN parcels take no part.
    contrast : {"active_change", "control_change", "arm_by_time"}
    reliability : float
        Above 0, below 1; `bootstrap_intervals` and `split_half` estimate it.
    true_r : sequence of float
        Noise-free correlations.
    n_trials, n_permutations : int
        Simulated trials for each of them, and re-randomisations of each trial.
    level, seed, method
        As elsewhere.

    Returns
    -------
    pandas.DataFrame
        true_r, expected_r (mean observed r), power, monte_carlo_se.

    Raises
    ------
    ValueError
        A reliability that is not between 0 and 1.
    """
    if not 0 < reliability < 1:
        raise ValueError(
            f"reliability between 0 and 1 expected, found {reliability}: with none the map is all "
            "noise and no correlation can be found"
        )
    change, active = checked_change(change, arm, contrast)
    known = np.isfinite(receptor) & np.isfinite(change).all(axis=0)
    change, target = change[:, known], _scores(np.asarray(receptor, dtype=float)[known])
    noise = _noise_maps(change, active, covariates, strata)
    treated = ~active if contrast == "control_change" else active
    size = _signal_size(noise, active, contrast, reliability)
    rng = np.random.default_rng(seed)
    rows = []
    for rho in true_r:
        found = [
            randomisation_test(
                _reordered(noise, rng)
                + size * np.outer(treated, _planted(target, rho, noise, active, rng)),
                active,
                target,
                contrast,
                n_permutations=n_permutations,
                seed=int(rng.integers(2**31)),
                method=method,
            )
            for _ in range(n_trials)
        ]
        power = np.mean([test.p[0] <= level for test in found])
        rows.append((rho, np.mean([test.r[0] for test in found]), power))
    curve = pd.DataFrame(rows, columns=["true_r", "expected_r", "power"])
    return curve.assign(monte_carlo_se=np.sqrt(curve["power"] * (1 - curve["power"]) / n_trials))


def minimum_detectable_r(curve, power=0.8):
    """Smallest noise-free correlation that is found with a given power.

    Parameters
    ----------
    curve : pandas.DataFrame
        From `power_curve`.
    power : float

    Returns
    -------
    float
        Interpolated on the curve made non-decreasing; NaN where the curve stays below.
    """
    rising = np.maximum.accumulate(curve["power"].to_numpy())
    if rising[-1] < power:
        return np.nan
    grid = np.linspace(curve["true_r"].iloc[0], curve["true_r"].iloc[-1], FIT_STEPS)
    return float(grid[np.argmax(np.interp(grid, curve["true_r"], rising) >= power)])


def _scores(maps):
    """Normal scores of mean 0 and variance 1."""
    scores = gaussianise(maps)
    scores = scores - scores.mean(axis=-1, keepdims=True)
    return scores / scores.std(axis=-1, keepdims=True)


def _noise_maps(change, active, covariates, strata):
    """Residuals of arm, covariates and strata, as large as the errors."""
    nuisance = nuisance_columns(len(active), covariates, strata)
    design = np.column_stack([active, nuisance])
    n = len(active)
    return residuals(design, change) * np.sqrt(n / (n - np.linalg.matrix_rank(design)))


def _reordered(noise, rng):
    return noise[rng.permutation(len(noise))] * rng.choice((-1.0, 1.0), size=(len(noise), 1))


def _signal_size(noise, active, contrast, reliability):
    """Standard deviation over parcels of a planted map with which the effect has a reliability."""
    weights = effect_weights(active, contrast)
    spread = noise - noise.mean(axis=1, keepdims=True)
    variance = (weights**2).sum() * (spread**2).mean()
    return np.sqrt(variance * reliability / (1 - reliability))


def _planted(target, rho, noise, active, rng):
    """A map of variance 1 that correlates rho with the target; the rest looks like noise."""
    other = _scores(rng.standard_normal(len(active)) @ noise)
    other = other - (other @ target) / target.size * target
    return rho * target + np.sqrt(1 - rho**2) * other / other.std()
