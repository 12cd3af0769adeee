"""How large a correlation a trial of this size finds."""

import numpy as np
import pandas as pd

from analysis_lib.receptors import effects
from analysis_lib.receptors.correlation import correlate, gaussianise, patient_slopes
from analysis_lib.receptors.slopes import slope_test
from analysis_lib.results.contrasts import ARM_BY_TIME

LEVEL = 0.05  # at or below it a p is significant
FIT_STEPS = 201  # points of the grid on which the power curve is inverted


def critical_r(test):
    """Smallest |r| that a test would have called significant: for each map, and for all of them.

    NaN where no r reaches the level with so few draws.
    """
    size = np.abs(test.null)
    rank = int(np.floor(LEVEL * (1 + len(size)) + 1e-9))
    if rank < 1:
        return np.full(size.shape[1], np.nan), np.nan
    ordered = np.sort(size, axis=0)[::-1]
    return ordered[rank - 1], float(np.sort(size.max(axis=1))[::-1][rank - 1])


def power_curve(
    change,
    arm,
    receptor,
    covariates=None,
    strata=None,
    reliability=0.6,
    true_r=tuple(k / 10 for k in range(11)),
    n_trials=200,
    n_permutations=199,
    seed=0,
    method="gaussianised",
):
    """How often the slope test finds a receptor that the noise-free effect map follows this well.

    Simulated trials with the noise of this one: residual maps of its patients, re-ordered and with
    random signs. The planted map is a mixture of the receptor map and of an unrelated map (a noise
    map made orthogonal to it), both as normal scores, with each noise-free correlation of
    ``true_r``, and strong enough for the given reliability (above 0, below 1; `bootstrap_intervals`
    and `split_half` estimate it). Gives true_r, expected_r (mean observed r), power,
    monte_carlo_se.
    """
    change, active = effects.checked_change(change, arm, ARM_BY_TIME)
    known = np.isfinite(receptor) & np.isfinite(change).all(axis=0)
    change, target = change[:, known], _scores(np.asarray(receptor, dtype=float)[known])
    noise = _noise_maps(change, active, covariates, strata)
    size = _signal_size(noise, active, reliability)
    rng, n = np.random.default_rng(seed), len(noise)

    def trial(rho):
        """p and observed r of one simulated trial."""
        planted = np.outer(active, _planted(target, rho, noise, active, rng))
        flipped = noise[rng.permutation(n)] * rng.choice((-1.0, 1.0), size=(n, 1))
        made, seed = flipped + size * planted, int(rng.integers(2**31))
        slopes = patient_slopes(made, target, method)
        test = slope_test(slopes, active, n_permutations=n_permutations, seed=seed)
        return test.p[0], correlate(effects.effect_map(made, active), target, method)[0, 0]

    rows = []
    for rho in true_r:
        p, r = np.transpose([trial(rho) for _ in range(n_trials)])
        rows.append((rho, r.mean(), np.mean(p <= LEVEL)))
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
    nuisance = effects.nuisance_columns(len(active), covariates, strata)
    design = np.column_stack([active, nuisance])
    n = len(active)
    return effects.residuals(design, change) * np.sqrt(n / (n - np.linalg.matrix_rank(design)))


def _signal_size(noise, active, reliability):
    """Standard deviation over parcels of a planted map with which the effect has a reliability."""
    weights = effects.effect_weights(active, ARM_BY_TIME)
    spread = noise - noise.mean(axis=1, keepdims=True)
    variance = (weights**2).sum() * (spread**2).mean()
    return np.sqrt(variance * reliability / (1 - reliability))


def _planted(target, rho, noise, active, rng):
    """A map of variance 1 that correlates rho with the target; the rest looks like noise."""
    other = _scores(rng.standard_normal(len(active)) @ noise)
    other = other - (other @ target) / target.size * target
    return rho * target + np.sqrt(1 - rho**2) * other / other.std()
