"""Where Newton's method starts: moments of the residuals of least squares."""

import numpy as np


def residual_sd(likelihood, rows):
    """Standard deviation of the residuals at each visit, (n_visits,), in working units.

    Parameters
    ----------
    likelihood : Likelihood
    rows : numpy.ndarray of int, shape (n_participants, n_visits)
        The row of each participant and visit, -1 where missing.
    """
    residual = np.append(likelihood.residual, np.nan)[rows]
    return np.sqrt(np.nanmean(residual**2, axis=0))


def mean_correlation(likelihood, rows):
    """Correlation of residuals between neighbouring visits, kept away from the edges."""
    residual = np.append(likelihood.residual, np.nan)[rows]
    left, right = residual[:, :-1], residual[:, 1:]
    both = np.isfinite(left * right)
    if not both.any():
        return 0.3
    left, right = left[both], right[both]
    power = np.sqrt((left @ left) * (right @ right))
    return float(np.clip(left @ right / power if power else 0.0, 0.05, 0.9))
