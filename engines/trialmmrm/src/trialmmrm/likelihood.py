"""The likelihood, REML or ML, as a function of the covariance matrix, with its derivatives.

Participants are grouped by the visits that they have, and each group enters through its
cross-products alone, so that no step loops over participants.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class State:
    """The likelihood's parts at one covariance matrix, in the working basis."""

    deviance: float  # -2 log-likelihood
    inverse: np.ndarray  # (n_patterns, n, n), zero where a visit was missed
    beta: np.ndarray  # (q,)
    phi: np.ndarray  # (q, q), inverse of X' V^-1 X
    slope: np.ndarray | None = None  # (n, n), of the deviance, entries taken as separate
    curvature: np.ndarray | None = None  # (n * n, n * n)
    between: np.ndarray | None = None  # (n * n, q + 1, q + 1): Z' V^-1 e_a e_b' V^-1 Z


class Likelihood:
    """-2 log-likelihood, REML or ML, and its derivatives with respect to the covariance matrix.

    The design is orthonormal (``basis``) and the outcome is the standardised residual of least
    squares: the same model, better conditioned. These are the working basis and working units.

    Parameters
    ----------
    x : numpy.ndarray, shape (n_rows, q)
    y : numpy.ndarray, shape (n_rows,)
    rows : numpy.ndarray of int, shape (n_participants, n_visits)
        The row of each participant and visit, -1 where missing.
    reml : bool
    """

    def __init__(self, x, y, rows, reml):
        self.reml = reml
        self.n_rows, self.q = x.shape
        self.orthonormal, self.basis = np.linalg.qr(x)
        self.ols = np.linalg.solve(self.basis, self.orthonormal.T @ y)
        residual = y - x @ self.ols
        self.scale = np.sqrt(np.mean(residual**2))
        self.residual = residual / self.scale
        self.patterns, self.group = np.unique(rows >= 0, axis=0, return_inverse=True)
        self.counts = np.bincount(self.group)
        self.cross = self._cross_products(rows)

    def _cross_products(self, rows):
        """Sums of z_a z_b' over a pattern's participants, z = (x, y): (patterns, n, n, Q * Q)."""
        z = np.vstack([np.column_stack([self.orthonormal, self.residual]), np.zeros(self.q + 1)])
        n, size = rows.shape[1], self.q + 1
        sums = []
        for k in range(len(self.patterns)):
            own = z[rows[self.group == k]].reshape(-1, n * size)  # row -1 is the zeros
            cross = (own.T @ own).reshape(n, size, n, size)
            sums.append(cross.swapaxes(1, 2).reshape(n, n, size * size))
        return np.stack(sums)

    @cached_property
    def constant(self):
        """What the working units add to the deviance of the outcome's own units."""
        free = self.n_rows - self.q if self.reml else self.n_rows
        constant = free * np.log(2 * np.pi) + 2 * free * np.log(self.scale)
        if self.reml:
            constant += 2 * np.log(np.abs(np.diag(self.basis))).sum()
        return constant

    def solve(self, covariance):
        """Deviance and coefficients at a covariance matrix; raises LinAlgError if not positive."""
        both = self.patterns[:, :, None] & self.patterns[:, None, :]
        alone = ~self.patterns[:, :, None] * np.eye(len(covariance))
        padded = np.where(both, covariance, alone)
        root = np.linalg.cholesky(padded)
        inverse = np.where(both, np.linalg.inv(padded), 0.0)
        logs = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        total = (inverse.ravel() @ self.cross.reshape(inverse.size, -1)).reshape(
            self.q + 1, self.q + 1
        )
        information = total[:-1, :-1]
        phi = np.linalg.inv(information)
        beta = phi @ total[:-1, -1]
        deviance = 2 * self.counts @ logs + total[-1, -1] - total[:-1, -1] @ beta + self.constant
        if self.reml:
            deviance += 2 * np.log(np.diag(np.linalg.cholesky(information))).sum()
        return State(deviance, inverse, beta, phi)

    def differentiate(self, covariance):
        """The same with derivatives with respect to the elements of the covariance matrix."""
        state = self.solve(covariance)
        n, size = len(covariance), self.q + 1
        inverse, cross = state.inverse, self.cross
        outer = self._outer(state)
        spread = cross @ outer.ravel()  # sum of X phi X' + r r' by pattern
        middle = inverse @ spread @ inverse
        counted = self.counts[:, None, None] * inverse
        slope = (counted - middle).sum(0)
        curvature = (2 * middle - counted).reshape(-1, n * n).T @ inverse.reshape(-1, n * n)
        curvature = curvature.reshape(n, n, n, n).transpose(1, 2, 3, 0).reshape(n * n, n * n)
        left = (inverse @ cross.reshape(len(cross), n, -1)).reshape(cross.shape)
        between = (inverse[:, None] @ left).sum(0).reshape(n * n, size, size)
        return State(state.deviance, inverse, state.beta, state.phi, slope, curvature, between)

    def _outer(self, state):
        """Weights of z z' whose sum is r r', plus X phi X' under REML: (q + 1, q + 1)."""
        contrast = np.append(-state.beta, 1.0)
        outer = np.outer(contrast, contrast)
        if self.reml:
            outer[:-1, :-1] += state.phi
        return outer

    def chain(self, state, covariance):
        """Gradient (K,) and Hessian (K, K) of the deviance in a structure's parameters.

        Parameters
        ----------
        state : State
            From ``differentiate``.
        covariance : Jet, shape (n, n)
            The matrix at which ``state`` was taken, as a function of the K parameters.
        """
        k = covariance.first.shape[-1]
        jacobian = covariance.first.reshape(-1, k)
        slope = state.slope.ravel()
        hessian = jacobian.T @ state.curvature @ jacobian
        hessian = (hessian + hessian.T) / 2 + np.tensordot(
            slope, covariance.second.reshape(-1, k, k), 1
        )
        moments = np.tensordot(jacobian.T, state.between, 1)  # (K, q + 1, q + 1)
        shift = moments[:, :-1] @ np.append(-state.beta, 1.0)
        hessian -= 2 * shift @ state.phi @ shift.T
        if self.reml:
            inside = moments[:, :-1, :-1] @ state.phi
            hessian -= np.einsum("iab,jba->ij", inside, inside)
        return slope @ jacobian, hessian
