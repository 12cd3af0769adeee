"""Effect maps: the difference between arms, or the mean within one, by region."""

import numpy as np
import pandas as pd

from analysis_lib.results.contrasts import ARM_BY_TIME, CONTRASTS, EFFECT, IMPROVEMENT

OF_PATIENTS = tuple(name for name in CONTRASTS if name != IMPROVEMENT)


def effect_map(change, arm, contrast=ARM_BY_TIME, covariates=None, strata=None):
    """Effect map (n_parcels,) of a contrast of change.

    The mean within an arm, or the difference between the arms, active - control. ``change`` is
    percent, (n_participants, n_parcels); ``arm`` "active" / "control", or true for active.
    Covariates (text is coded as categories) and strata (several columns are crossed) enter the
    difference alone, which is the arm's coefficient in ordinary least squares.
    """
    change, active = checked_change(change, arm, contrast)
    return effect_weights(active, contrast, covariates, strata) @ change


def checked_change(change, arm, contrast):
    """Change as an array and the arm as booleans, found usable for a contrast."""
    change = np.asarray(change, dtype=float)
    active = _is_active(arm)
    if contrast not in OF_PATIENTS:
        raise ValueError(
            f"contrast '{contrast}' is unknown; expected one of {', '.join(OF_PATIENTS)}"
        )
    if change.ndim != 2 or len(change) != len(active):
        raise ValueError(
            f"change has shape {change.shape}, arm names {len(active)} participants; expected "
            "change (n_participants, n_parcels) with one row for each"
        )
    _check_gaps(change)
    counts = {"active": active.sum(), "control": (~active).sum()}
    if contrast != EFFECT and min(counts[arm] for arm in CONTRASTS[contrast].arms) < 2:
        raise ValueError(
            f"{active.sum()} active and {(~active).sum()} control participants; expected 2 of each"
        )
    return change, active


def _check_gaps(change):
    """A parcel without voxels must be NaN in all participants; otherwise one image is at fault."""
    gaps = np.isnan(change)
    uneven = gaps.any(axis=0) & ~gaps.all(axis=0)
    if uneven.any():
        rows = np.flatnonzero(gaps[:, uneven].any(axis=1))
        raise ValueError(
            f"change: participants in rows {rows.tolist()} lack parcels that others have "
            f"(columns {np.flatnonzero(uneven).tolist()}). Check their images."
        )


def _is_active(arm):
    arm = np.asarray(arm)
    if arm.dtype.kind in "OUS":
        unknown = sorted(set(arm.astype(str).tolist()) - {"active", "control"})
        if unknown:
            raise ValueError(f"arm holds {unknown}; expected 'active' or 'control'")
        return arm.astype(str) == "active"
    if not np.isin(arm, (0, 1)).all():
        raise ValueError(
            f"arm holds {np.unique(arm).tolist()}; expected 'active' / 'control' or 1 / 0"
        )
    return arm.astype(bool)


def nuisance_columns(n, covariates, strata):
    """Nuisance columns. The intercept is among them: without it the mean would be permuted too."""
    columns = [np.ones((n, 1))]
    if covariates is not None:
        columns.append(_coded(pd.DataFrame(covariates), n, "covariates"))
    if strata is not None:
        columns.append(pd.get_dummies(stratum_numbers(strata, n)).to_numpy(float)[:, 1:])
    return np.hstack(columns)


def _coded(table, n, what):
    if len(table) != n:
        raise ValueError(f"{what}: {len(table)} rows, expected {n}, one for each participant")
    lacking = table.columns[table.isna().any()].tolist()
    if lacking:
        raise ValueError(
            f"{what} {lacking} have missing values; leave those participants out first"
        )
    return pd.get_dummies(table, drop_first=True).to_numpy(float)


def stratum_numbers(strata, n):
    """Stratum number of each participant; several columns are crossed."""
    if strata is None:
        return np.zeros(n, dtype=int)
    table = pd.DataFrame(strata).reset_index(drop=True)
    if len(table) != n:
        raise ValueError(f"strata: {len(table)} rows, expected {n}, one for each participant")
    return table.groupby(list(table.columns), dropna=False).ngroup().to_numpy()


def effect_weights(active, contrast, covariates=None, strata=None):
    """Weights (n_participants,) with which the effect is a sum over participants."""
    if contrast != ARM_BY_TIME:
        chosen = active if CONTRASTS[contrast].within == "active" else ~active
        return chosen / chosen.sum()
    nuisance = nuisance_columns(len(active), covariates, strata)
    residual = residuals(nuisance, active.astype(float))
    if residual @ residual < 1e-8:
        raise ValueError(
            "arm is a combination of covariates and strata: its effect has no estimate"
        )
    return residual / (residual @ residual)


def residuals(nuisance, values):
    """Values (n, ...) less what the nuisance columns (n, k) explain, by least squares."""
    return values - nuisance @ (np.linalg.pinv(nuisance) @ values)
