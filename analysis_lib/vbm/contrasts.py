"""Contrasts of change, tested by permutation."""

import numpy as np

from analysis_lib.results.contrasts import (
    ACTIVE_CHANGE,
    CHANGE,
    CONTRASTS,
    CONTROL_CHANGE,
    OF_CHANGE,
)
from voxelperm import nuisance_basis, permutation_test

SYMMETRIC = ("symmetric", "equal")


def contrast_test(
    contrast, change, mask, arm, covariates=None, blocks=None, errors="unequal", **options
):
    """Permutation test of one contrast on difference maps.

    Parameters
    ----------
    contrast : str
        One of ``OF_CHANGE``. Within an arm the mean change is tested by flipping signs, without
        covariates.
    change : numpy.ndarray
        (n, n_voxels), post - pre.
    mask : numpy.ndarray of bool
        (x, y, z).
    arm : array_like of str
        (n,), "active" or "control".
    covariates : array_like, optional
        (n, n_columns).
    blocks : array_like, optional
        (n,), strata of the randomisation; they enter the model.
    errors : {"unequal", "equal", "symmetric", "skewed"}
        Of the difference between arms, the first two. "unequal": is the mean change the same in
        both? Signs of residuals are flipped, t has an HC2 standard error. "equal": did treatment do
        nothing at all, neither to the mean nor to the spread of change? Arms are permuted (within
        strata), covariates by Freedman-Lane. Within an arm "symmetric" and "equal" assume symmetric
        errors; with the others Hall's transformation removes from t what skewness puts there.
    **options
        For :func:`voxelperm.permutation_test`.

    Returns
    -------
    PermutationResult
    """
    arm = np.asarray(arm)
    within = is_within_arm(contrast)
    if within:
        rows = arm == within
        options |= {"errors": "equal" if errors in SYMMETRIC else "skewed", "sign_flip": True}
        return permutation_test(change[rows], mask, np.ones(rows.sum()), **options)
    tested, columns = (arm == "active").astype(float), model_columns(covariates, blocks)
    strata = blocks if errors == "equal" else None
    return permutation_test(change, mask, tested, columns, strata, errors=errors, **options)


def model_columns(covariates=None, blocks=None):
    """Covariates and a column for each stratum but the first, (n, n_columns); None without any."""
    parts = [] if covariates is None else [np.asarray(covariates, float)]
    if blocks is not None:
        labels = np.asarray(blocks)
        parts.append((labels[:, None] == np.unique(labels)[1:]).astype(float))
    return np.column_stack(parts) if parts else None


def improvement_test(
    change, mask, improvement, arm, covariates=None, blocks=None, errors="unequal", **options
):
    """Where does change go with clinical improvement, within arms?

    The arm is in the model, so that a region that treatment changes does not correlate with
    improvement merely because treatment changes both.

    Parameters
    ----------
    change : numpy.ndarray
        (n, n_voxels), post - pre.
    mask : numpy.ndarray of bool
        (x, y, z).
    improvement : array_like
        (n,), points; participants without one are left out.
    arm : array_like of str
        (n,).
    covariates : pandas.DataFrame, optional
        (n, n_columns).
    blocks : array_like, optional
        (n,), strata of the randomisation; they enter the model.
    errors : {"unequal", "equal"}
        As for :func:`contrast_test`; with "equal" participants are exchanged within arm and
        stratum.
    **options
        For :func:`voxelperm.permutation_test`.

    Returns
    -------
    result : PermutationResult
    effects : dict
        r: partial correlation, (n_voxels,).
    """
    improvement, arm = np.asarray(improvement, float), np.asarray(arm)
    known = np.isfinite(improvement)
    held, columns = (arm == "active").astype(float), model_columns(covariates, blocks)
    held = np.column_stack([held] if columns is None else [held, columns])[known]
    groups = arm if blocks is None else np.char.add(arm.astype(str), np.asarray(blocks, str))
    exchanged = groups[known] if errors == "equal" else None
    change, improvement = change[known], improvement[known]
    result = permutation_test(change, mask, improvement, held, exchanged, errors=errors, **options)
    return result, {"r": partial_correlation(change, improvement, held)}


def partial_correlation(values, x, held):
    """Correlation of each column of values with x, both given the columns held, (n_columns,)."""
    basis = nuisance_basis(held, len(x), intercept=True)
    x = x - basis @ (basis.T @ x)
    values = values.astype(float)
    left = np.einsum("ij,ij->j", values, values) - np.square(basis.T @ values).sum(axis=0)
    size = np.sqrt(np.maximum(left, 0) * (x @ x))
    # what is left of a constant is rounding
    varies = left > 1e-12 * np.einsum("ij,ij->j", values, values)
    return np.divide(x @ values, size, out=np.zeros_like(size), where=varies)


def is_within_arm(contrast):
    """The arm whose mean change a contrast is; None for the difference between arms."""
    known = (*OF_CHANGE, CHANGE)
    if contrast not in known:
        raise ValueError(f"contrast among {', '.join(known)} expected, found {contrast!r}")
    return CONTRASTS[contrast].within


def contrast_summary(contrast, result, n_active, n_control, errors):
    """What survived the family-wise correction, in one row.

    Returns
    -------
    dict
        contrast, n_active, n_control, errors, df, n_permutations, threshold, and for max-t,
        cluster extent and TFCE how many voxels have family-wise p < .05 and the smallest p;
        true_discoveries: of all voxels, see `voxelperm.PermutationResult`.
    """
    return {
        "contrast": contrast,
        "n_active": n_active if contrast != CONTROL_CHANGE else 0,
        "n_control": n_control if contrast != ACTIVE_CHANGE else 0,
        "errors": errors,
        "df": result.df,
        "n_permutations": len(result.null_max["max_t"]),
        "threshold": result.cluster_threshold,
        "n_voxels_fwe": int((result.p["max_t"] < 0.05).sum()),
        "n_voxels_fwe_cluster": int((result.p["cluster_extent"] < 0.05).sum()),
        "n_voxels_fwe_tfce": int((result.p["tfce"] < 0.05).sum()),
        "true_discoveries": result.true_discoveries(np.arange(len(result.t))) / len(result.t),
        "smallest_p": result.p["max_t"].min(),
        "smallest_p_cluster": result.p["cluster_extent"].min(),
        "smallest_p_tfce": result.p["tfce"].min(),
    }
