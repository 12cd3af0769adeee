"""What the data must hold for a covariance matrix to be estimated."""

from itertools import combinations

import numpy as np

from trialmmrm.errors import ConvergenceError
from trialmmrm.structures import Unstructured

MOST_UNSTRUCTURED = 10  # visits; 55 parameters


def check_identified(design, likelihood, structure, sd):
    """Refuse outcomes without residual variance, and pairs of visits that nobody shares.

    Parameters
    ----------
    design : Design
    likelihood : Likelihood
    structure : Structure
    sd : numpy.ndarray, shape (n_visits,)
        Of the residuals of least squares, in working units.

    Raises
    ------
    ConvergenceError
    """
    if not likelihood.scale > 1e-10 * np.abs(design.y).max(initial=0):
        raise ConvergenceError("singular: the fixed effects fit every outcome exactly")
    if structure.heterogeneous and sd.min() < 1e-7:
        raise ConvergenceError(
            "singular: the fixed effects fit every outcome of visit "
            f"{design.visits[sd.argmin()]!r} exactly, so it has no variance"
        )
    if isinstance(structure, Unstructured):
        _check_pairs(design)
    elif structure.pattern != "exchangeable" and not design.ordered:
        raise ValueError(
            f"column {design.visit!r}: the order of visits {', '.join(design.visits)} is not "
            "known, and correlations depend on it: make it an ordered categorical"
        )


def _check_pairs(design):
    """Refuse more visits than can be unstructured, and two that fewer than two people share."""
    if len(design.visits) > MOST_UNSTRUCTURED:
        raise ConvergenceError(
            f"at most {MOST_UNSTRUCTURED} visits can have an unstructured covariance, found "
            f"{len(design.visits)}"
        )
    seen = design.rows >= 0
    for a, b in combinations(range(len(design.visits)), 2):
        if (count := int((seen[:, a] & seen[:, b]).sum())) < 2:
            raise ConvergenceError(
                f"visits {design.visits[a]!r} and {design.visits[b]!r} share {count} participants, "
                "so their covariance cannot be estimated"
            )


def check_regular(covariance, visits):
    """Refuse a covariance matrix that has become singular: some visits determine another.

    Parameters
    ----------
    covariance : numpy.ndarray, shape (n_visits, n_visits)
        In working units.
    visits : list
        For the message.

    Raises
    ------
    ConvergenceError
    """
    sd = np.sqrt(np.diag(covariance))
    if sd.min() < 1e-6 or not np.isfinite(covariance).all():
        raise ConvergenceError(f"singular: the variance at visit {visits[sd.argmin()]!r} goes to 0")
    correlation = covariance / np.outer(sd, sd)
    if np.linalg.eigvalsh(correlation)[0] > 1e-7:
        return
    off = np.abs(correlation - np.eye(len(visits)))
    a, b = np.unravel_index(off.argmax(), off.shape)
    raise ConvergenceError(
        "singular: the covariance matrix loses rank; the correlation of visits "
        f"{visits[a]!r} and {visits[b]!r} is {correlation[a, b]:.4f}"
    )
