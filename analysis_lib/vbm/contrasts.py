"""Contrasts of change, tested by permutation."""

import numpy as np

from analysis_lib.results.contrasts import (
    ACTIVE_CHANGE,
    ARM_BY_TIME,
    CONTRASTS,
    CONTROL_CHANGE,
    OF_CHANGE,
)
from voxelperm import permutation_test


def contrast_test(
    contrast, change, mask, arm, covariates=None, blocks=None, errors="equal", **options
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
        (n,), strata of the randomisation.
    errors : str
        Of the difference between arms. "equal": did treatment do nothing at all, neither to the
        mean nor to the spread of change? Arms are permuted, covariates by Freedman-Lane.
        "unequal": is the mean change the same in both arms?
    **options
        For :func:`voxelperm.permutation_test`.

    Returns
    -------
    PermutationResult
    """
    arm, options = np.asarray(arm), {"errors": errors, **options}
    if contrast == ARM_BY_TIME:
        tested = (arm == "active").astype(float)
        return permutation_test(change, mask, tested, covariates, blocks, **options)
    rows, options["errors"] = arm == is_within_arm(contrast), "equal"
    return permutation_test(change[rows], mask, np.ones(rows.sum()), sign_flip=True, **options)


def improvement_test(change, mask, improvement, arm, covariates=None, blocks=None, **options):
    """Where does change go with clinical improvement, within arms?

    The arm is in the model, so that a region that treatment changes does not correlate with
    improvement merely because treatment changes both. Participants are exchanged within their arm
    (and stratum).

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
        (n,), strata of the randomisation.
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
    nuisance = [(arm == "active")[known].astype(float)[:, None]]
    if covariates is not None:
        nuisance.append(np.asarray(covariates, float)[known])
    groups = arm if blocks is None else np.char.add(arm.astype(str), np.asarray(blocks, str))
    result = permutation_test(
        change[known],
        mask,
        improvement[known],
        np.column_stack(nuisance),
        groups[known],
        errors="equal",
        **options,
    )
    return result, {"r": result.t / np.sqrt(result.t**2 + result.df)}


def is_within_arm(contrast):
    """The arm whose mean change a contrast is; None for the difference between arms."""
    if contrast not in OF_CHANGE:
        raise ValueError(f"contrast among {', '.join(OF_CHANGE)} expected, found {contrast!r}")
    return CONTRASTS[contrast].within


def contrast_summary(contrast, result, n_active, n_control):
    """What survived the family-wise correction, in one row.

    Returns
    -------
    dict
        contrast, n_active, n_control, df, n_permutations, threshold, and for max-t, cluster extent
        and TFCE how many voxels have family-wise p < .05 and the smallest p.
    """
    return {
        "contrast": contrast,
        "n_active": n_active if contrast != CONTROL_CHANGE else 0,
        "n_control": n_control if contrast != ACTIVE_CHANGE else 0,
        "df": result.df,
        "n_permutations": len(result.null_max["max_t"]),
        "threshold": result.cluster_threshold,
        "n_voxels_fwe": int((result.p["max_t"] < 0.05).sum()),
        "n_voxels_fwe_cluster": int((result.p["cluster_extent"] < 0.05).sum()),
        "n_voxels_fwe_tfce": int((result.p["tfce"] < 0.05).sum()),
        "smallest_p": result.p["max_t"].min(),
        "smallest_p_cluster": result.p["cluster_extent"].min(),
        "smallest_p_tfce": result.p["tfce"].min(),
    }
