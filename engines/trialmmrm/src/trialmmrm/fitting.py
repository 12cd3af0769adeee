"""Fit one model with one covariance structure."""

import numpy as np

from trialmmrm.checks import check_rank
from trialmmrm.covariance_estimate import estimate_at
from trialmmrm.design import read_design
from trialmmrm.errors import ConvergenceError
from trialmmrm.fitted_model import MMRM
from trialmmrm.identifiability import check_identified, check_regular
from trialmmrm.likelihood import Likelihood
from trialmmrm.optimiser import minimise
from trialmmrm.starting_values import mean_correlation, residual_sd
from trialmmrm.structures import FALLBACK, STRUCTURES

DF_METHODS = ("kenward-roger", "satterthwaite")
SIMPLER = f"fit_with_fallback tries {', '.join(FALLBACK)} in turn"


def fit_mmrm(data, formula, subject, visit, covariance="us", df="kenward-roger", reml=True):
    """Fit a mixed model for repeated measures.

    The outcomes of a participant are normal with mean X beta and a covariance matrix over visits
    that all participants share. Missed visits are left out, which is valid when data are missing at
    random (Mallinckrodt et al. 2008, Drug Inf J 42:303-319).

    Parameters
    ----------
    data : pandas.DataFrame
        One row per participant and visit. Rows in which the outcome or a covariate is missing are
        left out and counted; participants with some of their visits stay in.
    formula : str
        For formulaic, such as ``"change ~ baseline*visit + arm*visit"``. Strings and booleans are
        factors; the reference level is the first category of a pandas categorical, else the first
        in sorted order.
    subject, visit : str
        Columns. The visit is always a factor, in the order of its categories, else sorted, numbers
        in words as numbers (week2 before week12). Words without an order are refused where the
        covariance depends on it. With one visit the model is an analysis of covariance; at most ten
        can be unstructured.
    covariance : {"us", "toeph", "toep", "csh", "cs", "ar1h", "ar1"}
        Unstructured; Toeplitz; compound symmetry; first-order autoregressive. With h, each visit
        has a variance of its own.
    df : {"kenward-roger", "satterthwaite"}
        Degrees of freedom. Kenward-Roger as SAS's ``ddfm=kenwardroger``: W is twice the inverse of
        the observed Hessian of the deviance, and the adjustment is made in variances, covariances
        and correlations, with second derivatives (Kenward & Roger 1997, Biometrics 53:983-997).
    reml : bool
        Restricted maximum likelihood, else maximum likelihood (with Satterthwaite only).

    Returns
    -------
    MMRM

    Raises
    ------
    ValueError
        The data cannot answer: a column is absent, a level has one participant, columns of the
        design depend on each other, ... The message says which, and what to do.
    TypeError
        ``data`` is not a DataFrame.
    ConvergenceError
        The covariance matrix cannot be estimated; see :func:`fit_with_fallback`.
    """
    _check_options(covariance, df, reml)
    design = read_design(data, formula, subject, visit)
    check_rank(design.x)
    likelihood = Likelihood(design.x.to_numpy(float), design.y, design.rows, reml)
    try:
        estimate, iterations = _estimate(design, likelihood, covariance)
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        raise ConvergenceError(
            f"MMRM {formula!r} with covariance {covariance!r}: {error}. Try a covariance with "
            f"fewer parameters ({SIMPLER}), or fewer visits"
        ) from error
    return MMRM(design, estimate, formula, covariance, df, iterations)


def _check_options(covariance, df, reml):
    if covariance not in STRUCTURES:
        raise ValueError(f"covariance {covariance!r}: one of {', '.join(STRUCTURES)} expected")
    if df not in DF_METHODS:
        raise ValueError(f"df {df!r}: one of {', '.join(DF_METHODS)} expected")
    if df == "kenward-roger" and not reml:
        raise ValueError("Kenward-Roger needs REML: say reml=True, or df='satterthwaite'")


def _estimate(design, likelihood, covariance):
    """The covariance estimate and the number of iterations."""
    n = len(design.visits)
    structure = STRUCTURES["us" if n == 1 else covariance]  # one visit: one variance
    sd = residual_sd(likelihood, design.rows)
    check_identified(design, likelihood, structure, sd)
    start = structure.start(np.maximum(sd, 0.01), mean_correlation(likelihood, design.rows))
    free, iterations = minimise(likelihood, structure, start, design.visits)
    matrix = structure.free(free, n).value
    check_regular(matrix, design.visits)
    return estimate_at(likelihood, structure, matrix, free), iterations
