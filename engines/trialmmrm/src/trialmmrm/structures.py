"""Covariance structures: how the covariance matrix over visits depends on its parameters.

A new structure is a subclass of :class:`Structure` and an entry in ``STRUCTURES``; the tests run
over all entries.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from trialmmrm.jets import Jet, join

FALLBACK = ("us", "toeph", "csh", "cs")  # from many parameters to few


class Structure(ABC):
    """What every covariance structure provides.

    Attributes
    ----------
    linear : bool
        Whether the matrix is linear in the parameters of ``natural``.
    heterogeneous : bool
        Whether each visit has a variance of its own.
    """

    linear: bool
    heterogeneous: bool

    @abstractmethod
    def n_parameters(self, n):
        """Number of parameters for n visits."""

    @abstractmethod
    def free(self, phi, n):
        """Covariance as a function of unbounded parameters, which the optimiser moves.

        Parameters
        ----------
        phi : numpy.ndarray, shape (K,)
            Any values: the matrix is positive definite for all of them.
        n : int
            Number of visits.

        Returns
        -------
        Jet, shape (n, n)
        """

    @abstractmethod
    def start(self, sd, correlation):
        """Unbounded parameters to start from.

        Parameters
        ----------
        sd : numpy.ndarray, shape (n,)
        correlation : float
            Between neighbouring visits, 0.05 to 0.9.

        Returns
        -------
        numpy.ndarray, shape (K,)
        """

    @abstractmethod
    def natural(self, covariance):
        """Covariance as a function of SAS's parameters, in which inference is made.

        Linear structures: variances and covariances. Others: variances and correlations.

        Parameters
        ----------
        covariance : numpy.ndarray, shape (n, n)
            A matrix of this structure, at which the derivatives are taken.

        Returns
        -------
        Jet, shape (n, n)
        """


def lags(n):
    """Distance of each visit from each other, (n, n) int."""
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


def levinson(partial):
    """Autocorrelations at lags 0 to K from K partial autocorrelations (Durbin-Levinson).

    Any partial autocorrelations between -1 and 1 give a positive definite Toeplitz matrix, and each
    such matrix is reached (Barndorff-Nielsen & Schou 1973, J Multivar Anal 3:408-419).
    """
    one = partial.constant(1.0)
    correlation, weights, left = [one], [], one
    for k in range(len(partial.value)):
        own = partial[k]
        value = own * left
        for j, weight in enumerate(weights):
            value = value + weight * correlation[k - j]
        weights = [w + own * weights[k - 1 - j] * -1.0 for j, w in enumerate(weights)] + [own]
        left = left * (own * own * -1.0 + 1.0)
        correlation.append(value)
    return join([c[None] for c in correlation])


class Unstructured(Structure):
    """Every variance and covariance has a parameter of its own."""

    linear = True
    heterogeneous = True

    def n_parameters(self, n):
        return n * (n + 1) // 2

    def free(self, phi, n):
        """Covariance from the Cholesky factor: log diagonal, then rows below it."""
        phi = Jet.parameters(phi)
        entries = join([phi.constant([0.0]), phi[:n].exp(), phi[n:]])
        where = np.zeros((n, n), int)
        where[np.diag_indices(n)] = 1 + np.arange(n)
        where[np.tril_indices(n, -1)] = 1 + n + np.arange(n * (n - 1) // 2)
        root = entries[where]
        return (root[:, None, :] * root[None, :, :]).sum(2)

    def start(self, sd, correlation):
        n = len(sd)
        matrix = np.full((n, n), correlation)
        np.fill_diagonal(matrix, 1.0)
        root = sd[:, None] * np.linalg.cholesky(matrix)
        return np.concatenate([np.log(np.diag(root)), root[np.tril_indices(n, -1)]])

    def natural(self, covariance):
        """Covariance as a function of its elements, at this matrix."""
        n = len(covariance)
        where = np.zeros((n, n), int)
        where[np.triu_indices(n)] = np.arange(n * (n + 1) // 2)
        where = np.maximum(where, where.T)
        return Jet.parameters(covariance[np.triu_indices(n)])[where]


@dataclass(frozen=True)
class Patterned(Structure):
    """Standard deviations (one, or one per visit) and correlations that follow a pattern.

    ``pattern`` is toeplitz (one correlation per lag), exchangeable (one for all pairs) or
    autoregressive (rho to the power of the lag).
    """

    pattern: str
    heterogeneous: bool

    @property
    def linear(self):
        return not self.heterogeneous and self.pattern != "autoregressive"

    def _n_correlations(self, n):
        return n - 1 if self.pattern == "toeplitz" else min(n - 1, 1)

    def _n_sd(self, n):
        return n if self.heterogeneous else 1

    def n_parameters(self, n):
        return self._n_sd(n) + self._n_correlations(n)

    def free(self, phi, n):
        """Covariance from log standard deviations and transformed correlations."""
        phi = Jet.parameters(phi)
        k = self._n_sd(n)
        return self._assemble(phi[:k].exp(), self._bounded(phi[k:], n), n)

    def _bounded(self, phi, n):
        if self.pattern == "toeplitz":
            return levinson(phi.tanh())[1:]
        if self.pattern == "exchangeable":  # between -1 / (n - 1) and 1
            middle = 0.5 - 0.5 / (n - 1)
            return phi.tanh() * (1 - middle) + middle
        return phi.tanh()

    def _assemble(self, sd, correlation, n):
        where = np.arange(n) if self.heterogeneous else np.zeros(n, int)
        sd = sd[where]
        return self._correlation(correlation, n) * (sd[:, None] * sd[None, :])

    def _correlation(self, correlation, n):
        lag = lags(n)
        if self.pattern == "autoregressive":
            rho = correlation.value
            down = [np.maximum(lag - i, 0) for i in (1, 2)]
            slope, curvature = lag * rho ** down[0], lag * (lag - 1) * rho ** down[1]
            return correlation[np.zeros((n, n), int)].apply(rho**lag, slope, curvature)
        with_one = join([correlation.constant([1.0]), correlation])
        return with_one[lag if self.pattern == "toeplitz" else np.minimum(lag, 1)]

    def start(self, sd, correlation):
        n, k = len(sd), self._n_correlations(len(sd))
        logs = np.log(sd) if self.heterogeneous else np.log([np.sqrt(np.mean(sd**2))])
        if self.pattern == "exchangeable":
            middle = 0.5 - 0.5 / (n - 1)
            return np.append(logs, np.arctanh((correlation - middle) / (1 - middle)))
        return np.concatenate([logs, [np.arctanh(correlation)], np.zeros(k - 1)])

    def natural(self, covariance):
        """Covariance as a function of SAS's parameters, at this matrix.

        Linear structures: variance and covariances. Others: variances and correlations.
        """
        n, k = len(covariance), self._n_correlations(len(covariance))
        if self.linear:
            lag = lags(n)
            where = lag if self.pattern == "toeplitz" else np.minimum(lag, 1)
            return Jet.parameters(covariance[0, : k + 1])[where]
        variances = np.diag(covariance)[: self._n_sd(n)]
        first = covariance[0] / np.sqrt(covariance[0, 0] * np.diag(covariance))
        theta = Jet.parameters(np.concatenate([variances, first[1 : k + 1]]))
        return self._assemble(theta[: len(variances)].sqrt(), theta[len(variances) :], n)


STRUCTURES = {
    "us": Unstructured(),
    "toeph": Patterned("toeplitz", True),
    "toep": Patterned("toeplitz", False),
    "csh": Patterned("exchangeable", True),
    "cs": Patterned("exchangeable", False),
    "ar1h": Patterned("autoregressive", True),
    "ar1": Patterned("autoregressive", False),
}
