"""Hedges g of a difference between arms, with an interval for the population value."""

import numpy as np
import pandas as pd
from scipy import special


def hedges_correction(df):
    """Small-sample correction J of a standardised difference (Hedges 1981, J Educ Stat 6:107-128).

    Parameters
    ----------
    df : float or array_like
        Degrees of freedom of the standard deviation.

    Returns
    -------
    float or array_like
    """
    return np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)


LARGEST_T = 1e4


def hedges_g(table, sd, level):
    """Hedges g and its interval.

    The limits are the noncentrality parameters at which the observed t is the upper and lower limit
    (Steiger & Fouladi 1997; Cumming & Finch 2001, Educ Psychol Meas 61:532-574), times se / SD. J
    corrects the estimate's bias, not the limits.

    Parameters
    ----------
    table : pandas.DataFrame
        estimate, se, df and t.
    sd : numpy.ndarray, shape (n_rows,)
        The model's standard deviation, in units of the outcome.
    level : float
        Of the interval.

    Returns
    -------
    pandas.DataFrame
        hedges_g, g_ci_low, g_ci_high.
    """
    t, df, se = (table[c].to_numpy() for c in ("t", "df", "se"))
    # scores without residual spread: the search for limits would not end
    size, tail = np.where(np.abs(t) < LARGEST_T, np.abs(t), np.nan), (1 - level) / 2
    # by symmetry: the distribution function is not reliable in the far left tail
    low, high = (special.nctdtrinc(df, p, size) for p in (1 - tail, tail))
    low, high = np.where(t < 0, -high, low), np.where(t < 0, -low, high)
    g = table["estimate"].to_numpy() / sd * hedges_correction(df)
    return pd.DataFrame({"hedges_g": g, "g_ci_low": low * se / sd, "g_ci_high": high * se / sd})
