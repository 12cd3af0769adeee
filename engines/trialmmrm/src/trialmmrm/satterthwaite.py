"""Satterthwaite's degrees of freedom, and the F test of Fai and Cornelius.

Sources: Fai & Cornelius 1996, J Stat Comput Simul 54:363-378; as R's mmrm and lmerTest.
"""

import numpy as np


def degrees_of_freedom(estimate, working):
    """2 v^2 / var(v) of each contrast by itself; Kenward-Roger has the same for one contrast.

    Parameters
    ----------
    estimate : CovarianceEstimate
    working : numpy.ndarray, shape (r, q)
        Contrasts in the working basis.

    Returns
    -------
    numpy.ndarray, shape (r,)
        Not finite where the variance v has no uncertainty.
    """
    phi, weights = estimate.state.phi, estimate.weights
    reach = working @ phi
    variance = np.einsum("ri,ri->r", reach, working)
    slope = np.einsum("ri,kij,rj->rk", reach, estimate.moments, reach, optimize=True)
    spread = np.einsum("rk,kl,rl->r", slope, weights, slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * variance**2 / spread


def fai_cornelius_f(estimate, working, value):
    """F statistic and its denominator degrees of freedom.

    Parameters
    ----------
    estimate : CovarianceEstimate
    working : numpy.ndarray, shape (r, q)
        Linearly independent contrasts in the working basis.
    value : numpy.ndarray, shape (r,)
        Of the contrasts, in working units.

    Returns
    -------
    (float, float)
    """
    values, vectors = np.linalg.eigh(working @ estimate.state.phi @ working.T)
    squares = (vectors.T @ value) ** 2 / values
    nu = degrees_of_freedom(estimate, vectors.T @ working)
    n = len(nu)
    if np.ptp(nu) < 1e-8:
        return squares.mean(), nu.mean()
    if (nu <= 2).any():
        return squares.mean(), 2.0
    e = (nu / (nu - 2)).sum()
    return squares.mean(), 2 * e / (e - n)
