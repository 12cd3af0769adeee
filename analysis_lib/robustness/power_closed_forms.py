"""Power, and the errors of what is found significant, in closed form."""

import numpy as np
from scipy import stats

LEVEL = 0.05  # at or below it a p is significant


def lu_variance(covariance, patterns, shares, visit=-1):
    """Variance of an arm's mean at a visit, times the arm's participants.

    ``covariance`` (n_visits, n_visits); ``patterns`` (n_patterns, n_visits), which visits are
    rated, in any order, and their ``shares``. The inverse of the information, a mean over patterns
    (Lu, Luo & Chen 2008, Int J Biostat 4:9).
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
    """Power, share of wrong signs (type S) and exaggeration (type M) of significant results.

    Exaggeration is the mean size of the estimate over the true effect (Gelman & Carlin 2014); in
    closed form (Lu, Qiu & Deng 2019, Br J Math Stat Psychol 72:1-17). The estimate is the effect
    plus se times Student's t.
    """
    limit, shift = stats.t.isf(LEVEL / 2, df), true / se
    high, low = stats.t.sf(limit - shift, df), stats.t.cdf(-limit - shift, df)

    def beyond(x):
        """Integral of t times its density from x on."""
        return stats.t.pdf(x, df) * (1 if np.isinf(df) else (df + x**2) / (df - 1))

    size = true * (high - low) + se * (beyond(limit - shift) + beyond(limit + shift))
    of = np.where(np.equal(true, 0), np.nan, true)  # nothing is a multiple of no effect
    return high + low, low / (high + low), size / of / (high + low)
