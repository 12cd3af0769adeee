"""Power, and the errors of what is found significant, in closed form."""

import numpy as np
from scipy import stats

LEVEL = 0.05  # at or below it a p is significant


def lu_variance(covariance, patterns, shares, visit=-1):
    """Variance that one participant's worth of an arm leaves of its mean at a visit.

    Parameters
    ----------
    covariance : array_like
        (n_visits, n_visits), of the outcomes.
    patterns : array_like of bool
        (n_patterns, n_visits), which visits are rated; in any order, not only until withdrawal.
    shares : array_like
        (n_patterns,), of the arm's participants.
    visit : int

    Returns
    -------
    float
        Over n it is the arm's part of the variance of the difference (Lu, Luo & Chen 2008, Int J
        Biostat 4:9): the inverse of the information, which is a mean over patterns.
    """
    covariance, information = np.asarray(covariance, float), 0
    for seen, share in zip(np.asarray(patterns, bool), shares, strict=True):
        own = np.zeros_like(covariance)
        own[np.ix_(seen, seen)] = np.linalg.inv(covariance[np.ix_(seen, seen)])
        information = information + share * own
    return np.linalg.inv(information)[visit, visit]


def lu_power(difference, se):
    """Power of a true difference with this standard error, normal."""
    return stats.norm.cdf(np.abs(difference) / se - stats.norm.isf(LEVEL / 2))


def t_power(size, n_active, n_control=0, limit=None):
    """Power of a two-sided t test of a standardised effect; one sample where there is no control.

    ``limit`` is the smallest significant |t|: by default Student's at .05, uncorrected.
    """
    df = n_active + n_control - (2 if n_control else 1)
    n = n_active * n_control / (n_active + n_control) if n_control else n_active
    limit = stats.t.isf(LEVEL / 2, df) if limit is None else limit
    shift = np.asarray(size) * np.sqrt(n)
    return stats.nct.sf(limit, df, shift) + stats.nct.sf(limit, df, -shift)  # its cdf can be NaN


def sign_and_magnitude(true, se, df=np.inf):
    """What a significant result says of a true effect above 0 (Gelman & Carlin 2014).

    In closed form (Lu, Qiu & Deng 2019, Br J Math Stat Psychol 72:1-17): the estimate is the effect
    plus se times Student's t on ``df``.

    Returns
    -------
    power, wrong_sign, exaggeration : float
        wrong_sign (type S) and exaggeration (type M: mean |estimate| over the effect) are those of
        significant results.
    """
    limit, shift = stats.t.isf(LEVEL / 2, df), true / se
    high, low = stats.t.sf(limit - shift, df), stats.t.cdf(-limit - shift, df)

    def beyond(x):
        """Integral of t times its density from x on."""
        return stats.t.pdf(x, df) * (1 if np.isinf(df) else (df + x**2) / (df - 1))

    size = true * (high - low) + se * (beyond(limit - shift) + beyond(limit + shift))
    of = np.where(np.equal(true, 0), np.nan, true)  # nothing is a multiple of no effect
    return high + low, low / (high + low), size / of / (high + low)
