"""Linear combinations of the coefficients: their weights, and the table of their t tests."""

import numpy as np
import pandas as pd
from scipy import special, stats


def weight_rows(contrasts, terms):
    """Weights of the coefficients as an array.

    Parameters
    ----------
    contrasts : array_like, pandas.DataFrame, pandas.Series or dict
        An array in the order of ``terms``; the others are read by the names of terms, and absent
        terms are 0.
    terms : pandas.Index
        Names of the q coefficients.

    Returns
    -------
    numpy.ndarray, shape (r, q)

    Raises
    ------
    ValueError
        An unknown term, another number of weights, or a row of zeros.
    """
    if isinstance(contrasts, (pd.Series, dict)):
        contrasts = pd.DataFrame([contrasts])
    if isinstance(contrasts, pd.DataFrame):
        unknown = [c for c in contrasts if c not in terms]
        if unknown:
            raise ValueError(f"no term {', '.join(map(repr, unknown))}: {list(terms)}")
        contrasts = contrasts.reindex(columns=list(terms), fill_value=0.0)
    rows = np.atleast_2d(np.asarray(contrasts, float))
    if rows.shape[1] != len(terms) or not rows.any(axis=1).all():
        raise ValueError(
            f"contrasts: rows of {len(terms)} weights, not all 0, expected (one for each "
            f"of {', '.join(terms)}), found shape {rows.shape}"
        )
    return rows


def t_table(estimate, se, df, level):
    """Estimates with intervals and two-sided t tests.

    Parameters
    ----------
    estimate, se, df : numpy.ndarray, shape (r,)
    level : float
        Of the interval.

    Returns
    -------
    pandas.DataFrame
        estimate, se, df, ci_low, ci_high, t, p.
    """
    margin = stats.t.ppf((1 + level) / 2, df) * se
    t = estimate / se
    return pd.DataFrame(
        {
            "estimate": estimate,
            "se": se,
            "df": df,
            "ci_low": estimate - margin,
            "ci_high": estimate + margin,
            "t": t,
            "p": 2 * special.stdtr(df, -np.abs(t)),
        }
    )
