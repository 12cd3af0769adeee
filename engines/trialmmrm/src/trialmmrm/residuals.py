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
    normalized = whitened(design, likelihood, covariance, raw[:, None])[:, 0]
    table = design.used[[design.subject, design.visit]].set_axis(design.index)
    pearson = raw / np.sqrt(np.diag(covariance))[codes]
    return table.assign(raw=raw, pearson=pearson, normalized=normalized)


def whitened(design, likelihood, covariance, values):
    """Columns of values (n_rows, m), by the inverse Cholesky factor of each one's covariance."""
    found = np.empty_like(values)
    for k, pattern in enumerate(likelihood.patterns):
        root = np.linalg.cholesky(covariance[np.ix_(pattern, pattern)])
        for own in design.rows[likelihood.group == k][:, pattern]:
            found[own] = linalg.solve_triangular(root, values[own], lower=True)
    return found
