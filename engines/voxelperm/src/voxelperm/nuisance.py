"""The nuisance model: what is regressed out of the maps before they are permuted."""

import numpy as np


def nuisance_basis(nuisance, n, intercept):
    """Orthonormal columns that span the nuisance model.

    Parameters
    ----------
    nuisance : array_like or None
        (n, n_columns); collinear and constant columns are allowed.
    n : int
        Number of participants.
    intercept : bool
        Whether the model includes a constant; it is then the first column.

    Returns
    -------
    numpy.ndarray
        (n, rank).
    """
    columns = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, float).reshape(n, -1)
    constant = np.full((n, 1), 1 / np.sqrt(n))[:, : int(intercept)]
    size = np.abs(columns).max(axis=0, initial=0)
    columns = columns - constant @ (constant.T @ columns)
    columns = columns[:, np.abs(columns).max(axis=0, initial=0) > 1e-12 * size]
    if columns.shape[1]:
        u, s, _ = np.linalg.svd(columns, full_matrices=False)
        columns = u[:, s > s[0] * n * np.finfo(float).eps]
    return np.column_stack([constant, columns])
