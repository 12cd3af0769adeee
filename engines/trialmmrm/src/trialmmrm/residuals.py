"""Residuals of a fit: raw, Pearson and normalized."""

import numpy as np
from scipy import linalg


def residual_table(design, likelihood, covariance, raw):
    """Residuals of each row used.

    Parameters
    ----------
    design : Design
    likelihood : Likelihood
    covariance : numpy.ndarray, shape (n_visits, n_visits)
        In squared units of the outcome.
    raw : numpy.ndarray, shape (n_rows,)
        Outcome less fitted value.

    Returns
    -------
    pandas.DataFrame
        The subject's and the visit's column, raw, pearson (raw over the visit's standard deviation)
        and normalized (raw by the inverse Cholesky factor of the participant's covariance).
    """
    codes = design.used[design.visit].cat.codes
    normalized = np.empty_like(raw)
    for k, pattern in enumerate(likelihood.patterns):
        own = design.rows[likelihood.group == k][:, pattern]
        root = np.linalg.cholesky(covariance[np.ix_(pattern, pattern)])
        normalized[own] = linalg.solve_triangular(root, raw[own].T, lower=True).T
    table = design.used[[design.subject, design.visit]].set_axis(design.index)
    pearson = raw / np.sqrt(np.diag(covariance))[codes]
    return table.assign(raw=raw, pearson=pearson, normalized=normalized)
