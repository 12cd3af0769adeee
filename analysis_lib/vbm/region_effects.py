"""Change by region: estimates with intervals, and evidence that there is none."""

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis_lib.atlas.grids import parcel_mean_matrix, region_names
from analysis_lib.vbm.contrasts import is_within_arm
from analysis_lib.vbm.effects import arm_weights
from voxelperm import nuisance_basis


def region_percent(contrast, maps, parcels) -> pd.DataFrame:
    """Change by region of a contrast's participants, percent of the mean volume before treatment.

    (n, n_regions), from smoothed maps within the mask.
    """
    within = is_within_arm(contrast)
    rows = np.ones(len(maps.arm), bool) if within is None else (maps.arm == within).to_numpy()
    change, before = (
        parcel_mean_matrix(values[rows], maps.image(1), parcels)
        for values in (maps.change, maps.pre)
    )
    percent = 100 * change / before.mean()
    return percent.rename(columns=region_names(parcels)).dropna(axis=1)


def region_effects(contrast, change, arm, columns=None, errors="unequal") -> pd.DataFrame:
    """Mean change by region, or its adjusted difference between arms, with a 95 % interval.

    With unequal errors the standard error is HC2 and its degrees of freedom are Satterthwaite's
    (Bell & McCaffrey 2002, Surv Methodol 28:169-181; Imbens & Kolesar 2016, Rev Econ Stat
    98:701-712), else those of least squares.

    Parameters
    ----------
    contrast : str
    change : pandas.DataFrame
        (n, n_regions), from :func:`region_percent`.
    arm : array_like of str
        (n,), of the same participants.
    columns : array_like, optional
        (n, n_columns), covariates and strata; not used within an arm.
    errors : {"unequal", "equal"}

    Returns
    -------
    pandas.DataFrame
        region, percent, se, df, ci_low, ci_high.
    """
    n, within = len(change), is_within_arm(contrast)
    weights = arm_weights(np.full(n, arm) if within else np.asarray(arm), within, columns)
    basis = np.empty((n, 0)) if within else nuisance_basis(columns, n, True)
    whole = np.column_stack([basis, weights / np.sqrt(weights @ weights)])
    leave = np.eye(n) - whole @ whole.T
    values = change.to_numpy(float)
    scale = _squares(weights, leave, errors)
    spread = leave @ np.diag(scale) @ leave
    df = np.trace(spread) ** 2 / np.square(spread).sum()
    estimate, se = weights @ values, np.sqrt(scale @ np.square(leave @ values))
    margin = stats.t.ppf(0.975, df) * se
    table = {"region": change.columns, "percent": estimate, "se": se, "df": df}
    return pd.DataFrame(table | {"ci_low": estimate - margin, "ci_high": estimate + margin})


def _squares(weights, leave, errors):
    """What each squared residual is multiplied by in the variance of the estimate."""
    if errors == "equal":
        return np.full(len(weights), weights @ weights / np.trace(leave))
    left = np.diag(leave)  # 1 - leverage
    return np.divide(weights**2, left, out=np.zeros_like(left), where=left > 1e-10)


def equivalence(effects, bound) -> pd.DataFrame:
    """Two one-sided tests of a change smaller than a bound, by region (Schuirmann 1987).

    Parameters
    ----------
    effects : pandas.DataFrame
        From :func:`region_effects`.
    bound : float
        Percent, declared before the results were seen.

    Returns
    -------
    pandas.DataFrame
        region, percent, ci90_low, ci90_high (they lie within the bounds where p < .05),
        p_equivalence, p_equivalence_holm (over regions).
    """
    estimate, se, df = (effects[name] for name in ("percent", "se", "df"))
    p = stats.t.sf((bound - np.abs(estimate)) / se, df)
    margin = stats.t.ppf(0.95, df) * se
    return pd.DataFrame(
        {
            "region": effects["region"],
            "percent": estimate,
            "ci90_low": estimate - margin,
            "ci90_high": estimate + margin,
            "p_equivalence": p,
            "p_equivalence_holm": multipletests(p, method="holm")[1],
        }
    )
