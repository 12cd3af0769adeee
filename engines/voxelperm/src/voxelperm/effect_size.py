"""The small-sample correction of a standardised difference."""

import numpy as np
from scipy import special


def hedges_correction(df):
    """Small-sample correction J of a standardised difference (Hedges 1981, J Educ Stat 6:107-128).

    Parameters
    ----------
    df : float or array_like
        Degrees of freedom of the standard deviation, above 1.

    Returns
    -------
    float or numpy.ndarray
        J, below 1: Hedges' g is J times Cohen's d.
    """
    return np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
