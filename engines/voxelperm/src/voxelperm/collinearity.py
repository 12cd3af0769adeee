"""How much the nuisance columns cost the tested one, and which of them do."""

import warnings

import numpy as np

from voxelperm.nuisance import nuisance_basis

NOTHING_LEFT = 1e-10  # share of the tested column's variance: less is rounding


def variance_inflation(tested, nuisance, names=None, intercept=True):
    """Variance inflation of the tested column, and the nuisance columns that cause it.

    1 / (1 - R^2), of the tested column on the nuisance columns: by so much they multiply the
    squared standard error of the effect (Belsley, Kuh & Welsch 1980, Regression Diagnostics, ch 3).

    Parameters
    ----------
    tested : array_like
        (n,).
    nuisance : array_like or None
        (n, n_columns).
    names : sequence of str, optional
        Of the nuisance columns; without them, "column 1" and so on.
    intercept : bool
        Whether the model has a constant.

    Returns
    -------
    factor : float
        At least 1; infinite where nothing of the tested column is left.
    columns : tuple of str
        Few columns, taken one by one for what they add, that alone give at least half the factor
        (where it is infinite, all of it); none where the factor is below 1.1.
    """
    tested = np.asarray(tested, float)
    n = len(tested)
    columns = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, float).reshape(n, -1)
    names = [f"column {k + 1}" for k in range(columns.shape[1])] if names is None else list(names)
    left = _left(tested, columns, intercept)
    enough = NOTHING_LEFT if left <= NOTHING_LEFT else 2 * left
    chosen = []
    while left < 1 / 1.1 and _left(tested, columns[:, chosen], intercept) > enough:
        rest = [k for k in range(len(names)) if k not in chosen]
        chosen.append(min(rest, key=lambda k: _left(tested, columns[:, [*chosen, k]], intercept)))
    factor = np.inf if left <= NOTHING_LEFT else 1 / left
    return factor, tuple(names[k] for k in sorted(chosen))


def check_inflation(tested, nuisance, names=None, refuse_above=5.0, warn_above=2.0):
    """Refuse nuisance columns that leave too little of the tested one, warn where it is less.

    At the default bounds the standard error is 2.2 and 1.4 times what it were without them. In a
    randomised trial the factor is near 1.

    Parameters
    ----------
    tested, nuisance, names
        As in :func:`variance_inflation`, with a constant.
    refuse_above, warn_above : float

    Returns
    -------
    float
        The factor.

    Raises
    ------
    ValueError
        Above the first bound; the message names the columns.

    Warns
    -----
    UserWarning
        Above the second.
    """
    factor, columns = variance_inflation(tested, nuisance, names)
    found = (
        f"{', '.join(columns)} and the tested column are collinear: variance inflation {factor:.3g}"
    )
    if factor > refuse_above:
        raise ValueError(f"{found}, at most {refuse_above:g} expected; leave out or recode columns")
    if factor > warn_above:
        warnings.warn(f"{found}; above {refuse_above:g} it is refused", stacklevel=2)
    return factor


def _left(tested, columns, intercept):
    """Share of the tested column's variance that the columns do not explain; 0 if it has none."""
    basis = nuisance_basis(columns, len(tested), intercept)
    centred = tested - tested.mean() if intercept else tested
    left = tested - basis @ (basis.T @ tested)
    total = centred @ centred
    return left @ left / total if total > NOTHING_LEFT * (tested @ tested) else 0.0
