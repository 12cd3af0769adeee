"""Newton's method with a line search, in parameters that keep the matrix positive definite.

It reaches the maximum to the last digits. SAS and R stop a little before it, so that what they
print can differ in the fifth or sixth digit.
"""

import numpy as np

from trialmmrm.errors import ConvergenceError
from trialmmrm.identifiability import check_regular


def minimise(likelihood, structure, start, visits):
    """Parameters at the maximum of the likelihood, by Newton's method with a line search.

    Parameters
    ----------
    likelihood : Likelihood
    structure : Structure
    start : numpy.ndarray, shape (K,)
        Unbounded parameters.
    visits : list
        For messages.

    Returns
    -------
    (numpy.ndarray, int)
        Unbounded parameters, shape (K,), and the number of iterations.

    Raises
    ------
    ConvergenceError
    """
    phi, n = start, len(visits)
    for iteration in range(1, 101):
        covariance = structure.free(phi, n)
        check_regular(covariance.value, visits)
        state = likelihood.differentiate(covariance.value)
        gradient, hessian = likelihood.chain(state, covariance)
        step, convex = _newton_step(gradient, hessian)
        decrement = -gradient @ step
        if decrement < 1e-12:
            if not convex:
                raise ConvergenceError(
                    "the likelihood is flat: the data do not determine the covariance"
                )
            return phi + step, iteration
        phi = _line_search(likelihood, structure, phi, step, decrement, state.deviance, n)
    raise ConvergenceError(
        f"did not converge in 100 iterations (the deviance would still fall by {decrement:.2g})"
    )


def _newton_step(gradient, hessian):
    """Step downhill, at most 2 in any parameter; whether the Hessian is positive definite."""
    values, vectors = np.linalg.eigh(hessian)
    largest = np.abs(values).max()
    usable = np.maximum(np.abs(values), 1e-8 * largest)
    step = -vectors @ ((vectors.T @ gradient) / usable)
    return step * min(1.0, 2 / np.abs(step).max(initial=1e-300)), values[0] > 1e-8 * largest


def _line_search(likelihood, structure, phi, step, decrement, deviance, n):
    """Parameters after the longest of step, step / 2, step / 4, ... that lowers the deviance."""
    if decrement < 1e-7:  # the difference is below the rounding of the deviance
        return phi + step
    for halvings in range(40):
        size = 0.5**halvings
        try:
            state = likelihood.solve(structure.free(phi + size * step, n).value)
        except np.linalg.LinAlgError:
            continue
        if state.deviance <= deviance - 1e-4 * size * decrement:
            return phi + size * step
    raise ConvergenceError("did not converge (no step lowers the deviance)")
