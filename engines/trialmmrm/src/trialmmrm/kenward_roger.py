"""Kenward and Roger's adjusted covariance of the coefficients, and their F test.

As SAS's ``ddfm=kenwardroger``: in variances, covariances and correlations, with second derivatives.

Sources: Kenward & Roger 1997, Biometrics 53:983-997; Kenward & Roger 2009, Comput Stat Data Anal
53:2583-2595; SAS/STAT User's Guide, The MIXED Procedure.
"""

import numpy as np


def adjusted_covariance(estimate):
    """Phi + 2 phi {sum W_ij (Q_ij - P_i phi P_j - R_ij / 4)} phi of Kenward & Roger (1997).

    Parameters
    ----------
    estimate : CovarianceEstimate

    Returns
    -------
    numpy.ndarray, shape (q, q)
        In the working basis.
    """
    phi, weights, moments = estimate.state.phi, estimate.weights, estimate.moments
    second = np.tensordot(estimate.natural.second, weights, 2).ravel()
    r = np.tensordot(second, estimate.state.between[:, :-1, :-1], 1)
    mixed = np.tensordot(weights, moments, 1)
    ppp = (mixed @ phi @ moments).sum(0)
    middle = _q_sum(estimate) - ppp - r / 4
    adjusted = phi + 2 * phi @ middle @ phi
    return (adjusted + adjusted.T) / 2


def _q_sum(estimate):
    """Sum of W_ij X' V^-1 V_i V^-1 V_j V^-1 X over parameters and participants, (q, q)."""
    likelihood, inverse, jacobian = estimate.likelihood, estimate.state.inverse, estimate.jacobian
    n, q = len(estimate.matrix), likelihood.q
    spread = (jacobian @ estimate.weights @ jacobian.T).reshape(n, n, n, n)
    inner = np.einsum("abcd,pbc->pad", spread, inverse)
    weight = inverse @ inner @ inverse
    total = weight.ravel() @ likelihood.cross.reshape(weight.size, -1)
    return total.reshape(q + 1, q + 1)[:-1, :-1]


def scaled_f(estimate, adjusted, working, value):
    """F statistic, scaled, and its denominator degrees of freedom.

    Parameters
    ----------
    estimate : CovarianceEstimate
    adjusted : numpy.ndarray, shape (q, q)
        From :func:`adjusted_covariance`.
    working : numpy.ndarray, shape (r, q)
        Linearly independent contrasts in the working basis.
    value : numpy.ndarray, shape (r,)
        Of the contrasts, in working units.

    Returns
    -------
    (float, float)
    """
    phi, n = estimate.state.phi, len(working)
    f = value @ np.linalg.solve(working @ adjusted @ working.T, value) / n
    root = np.linalg.cholesky(working @ phi @ working.T)
    reach = np.linalg.solve(root, working @ phi)
    spread = reach @ estimate.moments @ reach.T
    traces = np.trace(spread, axis1=1, axis2=2)
    a1 = traces @ estimate.weights @ traces
    a2 = np.einsum("kl,kij,lji->", estimate.weights, spread, spread, optimize=True)
    df, scale = df_and_scale(n, a1, a2)
    return scale * f, df


def df_and_scale(n, a1, a2):
    """Denominator degrees of freedom and scale of F (Kenward & Roger 1997, section 3).

    Parameters
    ----------
    n : int
        Number of contrasts.
    a1, a2 : float
        A1 and A2 of the paper.

    Returns
    -------
    (float, float)
    """
    if n == 1:
        return 2 / a2, 1.0
    b = (a1 + 6 * a2) / (2 * n)
    g = ((n + 1) * a1 - (n + 4) * a2) / ((n + 2) * a2)
    below = 3 * n + 2 * (1 - g)
    c1, c2, c3 = g / below, (n - g) / below, (n + 2 - g) / below
    mean = 1 / (1 - a2 / n)
    variance = 2 / n * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
    rho = variance / (2 * mean**2)
    df = 4 + (n + 2) / (n * rho - 1)
    return df, df / (mean * (df - 2))
