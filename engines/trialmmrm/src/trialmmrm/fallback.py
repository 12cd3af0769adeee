"""Fit the richest covariance structure that the data can bear."""

from trialmmrm.errors import ConvergenceError
from trialmmrm.fitting import fit_mmrm
from trialmmrm.structures import FALLBACK


def fit_with_fallback(
    data, formula, subject, visit, df="kenward-roger", reml=True, order=FALLBACK, wanted=None
):
    """Fit with the first covariance structure that converges: us, toeph, csh, cs.

    Parameters
    ----------
    data, formula, subject, visit, df, reml
        As in :func:`fit_mmrm`.
    order : sequence of str
        Structures, tried in turn.
    wanted : callable, optional
        Of a fit: computes what is wanted of it. Where it raises ValueError (no usable degrees of
        freedom), the next structure is tried.

    Returns
    -------
    MMRM
        ``covariance_structure`` is the structure used; ``fallback_reason`` says why the earlier
        ones were not (None if the first converged).

    Raises
    ------
    ConvergenceError
        None converged; the message gives the reason for each.
    ValueError
        As in :func:`fit_mmrm`.
    """
    reasons = []
    for covariance in order:
        try:
            fit = fit_mmrm(data, formula, subject, visit, covariance, df, reml)
        except ConvergenceError as error:
            reasons.append(f"{covariance}: {error.__cause__}")
            continue
        try:
            _ = wanted and wanted(fit)
        except ValueError as error:
            reasons.append(f"{covariance}: {error}")
            continue
        fit.fallback_reason = "; ".join(reasons) or None
        return fit
    raise ConvergenceError(f"MMRM {formula!r}: no covariance converged. {'; '.join(reasons)}")
