"""The covariance estimate with its uncertainty: all that inference needs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from trialmmrm.errors import ConvergenceError
from trialmmrm.jets import Jet
from trialmmrm.likelihood import Likelihood, State


@dataclass(frozen=True)
class CovarianceEstimate:
    """A covariance matrix over visits, the coefficients that belong to it, and its uncertainty.

    Everything is in the likelihood's working basis and units unless it says otherwise.
    """

    likelihood: Likelihood
    state: State  # with derivatives
    matrix: np.ndarray  # (n, n)
    natural: Jet  # (n, n), the matrix as a function of SAS's K parameters
    weights: np.ndarray  # (K, K), W of Kenward & Roger: covariance of these parameters
    structure: object = None
    free: np.ndarray | None = None  # (K,), the structure's unbounded parameters

    @property
    def n_parameters(self):
        return len(self.weights)

    @cached_property
    def jacobian(self):
        """Elements of the matrix by parameters, (n * n, K)."""
        return self.natural.first.reshape(-1, self.n_parameters)

    @cached_property
    def moments(self):
        """X' V^-1 (dV/d theta_k) V^-1 X, (K, q, q): -P_k of Kenward & Roger."""
        return np.tensordot(self.jacobian.T, self.state.between[:, :-1, :-1], 1)

    @cached_property
    def beta(self):
        """Coefficients in the outcome's units and the formula's columns, (q,)."""
        change = np.linalg.solve(self.likelihood.basis, self.state.beta)
        return self.likelihood.ols + self.likelihood.scale * change

    def in_working_basis(self, rows):
        """Weights of the formula's coefficients as weights of the working ones, (r, q)."""
        return np.linalg.solve(self.likelihood.basis.T, rows.T).T

    def in_formula_basis(self, covariance):
        """Covariance of the working coefficients as that of the formula's, (q, q)."""
        back = np.linalg.inv(self.likelihood.basis) * self.likelihood.scale
        return back @ covariance @ back.T


def draw(estimate, n, rng):
    """Draw coefficients (n, q) and covariances (n, n_visits, n_visits), in the outcome's units.

    Unbounded covariance parameters are normal around their REML estimate, by the inverse of the
    observed information; coefficients are exactly normal given the covariance. With flat priors
    this is the posterior as far as the likelihood is quadratic (Gelman et al. 2013, Bayesian Data
    Analysis, ch. 4).
    """
    likelihood, structure, size = estimate.likelihood, estimate.structure, len(estimate.matrix)
    _, hessian = likelihood.chain(estimate.state, structure.free(estimate.free, size))
    root = np.linalg.cholesky(2 * np.linalg.inv((hessian + hessian.T) / 2))
    moved = estimate.free + rng.standard_normal((n, len(root))) @ root.T
    betas, matrices = [], [structure.free(own, size).value for own in moved]
    for matrix in matrices:
        state = likelihood.solve(matrix)
        change = state.beta + np.linalg.cholesky(state.phi) @ rng.standard_normal(likelihood.q)
        betas.append(likelihood.ols + likelihood.scale * np.linalg.solve(likelihood.basis, change))
    return np.array(betas), likelihood.scale**2 * np.array(matrices)


def estimate_at(likelihood, structure, matrix, free):
    """The estimate at a covariance matrix that maximises the likelihood.

    Parameters
    ----------
    likelihood : Likelihood
    structure : Structure
    matrix : numpy.ndarray, shape (n, n)
        In working units.
    free : numpy.ndarray, shape (K,)
        The unbounded parameters that give it.

    Returns
    -------
    CovarianceEstimate

    Raises
    ------
    ConvergenceError
        The deviance does not curve upwards in all parameters.
    """
    state = likelihood.differentiate(matrix)
    natural = structure.natural(matrix)
    _, hessian = likelihood.chain(state, natural)
    try:
        linalg.cho_factor(hessian)
    except np.linalg.LinAlgError:
        raise ConvergenceError("did not converge: the Hessian is not positive definite") from None
    weights = 2 * np.linalg.inv(hessian)  # the deviance is twice the negative log-likelihood
    return CovarianceEstimate(likelihood, state, matrix, natural, weights, structure, free)
