"""Bootstrap intervals of the correlation, expected and noise-free."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis_lib.receptors import effects
from analysis_lib.receptors.correlation import correlate
from analysis_lib.results.contrasts import ARM_BY_TIME, EFFECT


@dataclass(frozen=True)
class Intervals:
    """Correlations with two intervals, which answer two questions."""

    r: np.ndarray
    expected: np.ndarray  # (n_receptors, 2): of the r to expect at this sample size and noise
    noise_free_r: np.ndarray  # r / sqrt(reliability), at most 1 in size; NaN if that is not > 0
    noise_free: np.ndarray  # (n_receptors, 2): of the r of endlessly many patients; else -1 to 1
    reliability: float  # share of the effect map's variance over parcels that is not noise
    drawn: np.ndarray  # (n_bootstrap, n_receptors), r of each resampled effect map
    tails: tuple  # percentiles of the draws that an interval takes

    def differences(self, first, rivals):
        """|r| of one receptor less that of each rival: difference, interval, how often it leads.

        Resampled differences are widened like those of r. `share_ahead` is the share of resamples
        in which the first is ahead of the rival, `share_first` ahead of all of them.
        """
        size, drawn = np.abs(self.r), np.abs(self.drawn)
        if not len(drawn):
            nothing = dict.fromkeys(("ci_low", "ci_high", "share_ahead", "share_first"), np.nan)
            return {"difference": size[first] - size[rivals], **nothing}
        ahead = drawn[:, [first]] - drawn[:, rivals]
        low, high = np.quantile(ahead, self.tails, axis=0) * np.sqrt(1 + 1 - self.reliability)
        return {
            "difference": size[first] - size[rivals],
            "ci_low": np.maximum(low, -1),
            "ci_high": np.minimum(high, 1),
            "share_ahead": (ahead > 0).mean(axis=0),
            "share_first": (ahead > 0).all(axis=1).mean(),
        }


def bootstrap_intervals(
    change,
    arm,
    receptors,
    contrast=ARM_BY_TIME,
    covariates=None,
    strata=None,
    n_bootstrap=2000,
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
    farther out than nominal since patients are few. Simulated (benchmarks/intervals.tsv): these
    intervals cover what they speak of in 93 to 99 % of trials, the plain percentiles cover the
    expected r in 82 to 94 % and the noise-free one in 0 to 93 %.

    Arguments are those of `effects.effect_map` and `correlation.correlate`. The receptors' own
    noise is not in the intervals; of one map without patients nothing is known but r.
    """
    change, active = effects.checked_change(change, arm, contrast)
    effect = effects.effect_map(change, active, contrast, covariates, strata)
    if contrast == EFFECT:
        return _unknown(correlate(effect, receptors, method)[0])
    rng, model = np.random.default_rng(seed), (active, contrast, covariates, strata)
    weights, n_fitted = _resampled_weights(*model, n_bootstrap, rng)
    resampled = weights @ change
    r, drawn = correlate(effect, receptors, method)[0], correlate(resampled, receptors, method)
    n = np.count_nonzero(effects.effect_weights(*model))
    q = correlate(resampled, effect, method).mean()
    share = (1 / q**2 - 1 if q > 0 else np.inf) * n / (n - n_fitted)
    tails = _percentiles(n, n_fitted)
    ends = np.quantile(drawn, tails, axis=0).T
    noise_free, limits = np.full(len(r), np.nan), np.tile([-1.0, 1.0], (len(r), 1))
    if share < 1:
        noise_free = _bounded(r, 1 / (1 - share))
        limits = _bounded(ends, (1 + share) / (1 - share))
    expected, reliability = _bounded(ends, 1 + min(share, 1)), float(max(0, 1 - share))
    return Intervals(r, expected, noise_free, limits, reliability, drawn, tails)


def _unknown(r):
    """Intervals of one map, of which no patients are known."""
    nothing = np.full((len(r), 2), np.nan)
    return Intervals(r, nothing, nothing[:, 0], nothing, np.nan, nothing.T[:0], (0.5, 0.5))


def _bounded(r, square):
    return np.clip(r * np.sqrt(square), -1, 1)


def _percentiles(n, n_fitted):
    df = n - n_fitted
    tail = stats.norm.cdf(-np.sqrt(n / df) * stats.t.ppf(0.975, df))
    return tail, 1 - tail


def _resampled_weights(active, contrast, covariates, strata, n_bootstrap, rng):
    """Weights of each resampled effect map, (n_bootstrap, n), and how many means were fitted."""
    counts = _resampled(active, effects.stratum_numbers(strata, len(active)), n_bootstrap, rng)
    if contrast != ARM_BY_TIME:
        return counts * effects.effect_weights(active, contrast), 1
    nuisance = effects.nuisance_columns(len(active), covariates, strata)
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
