"""Does the primary model fit: its residuals, and how much rests on single participants."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.clinical.models import fit_mmrm_rows
from analysis_lib.results.problems import NotComputed
from trialmmrm import ConvergenceError


def residual_table(fits):
    """Standardised residuals of the primary model, with the normal quantiles they should follow.

    Parameters
    ----------
    fits : dict
        From :func:`analysis_lib.clinical.fit_models`.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/residuals.tsv; quantiles are of (rank - 1/2) / n at each visit.
    """
    if not fits:
        raise NotComputed("no scale has a model")
    tables = []
    for scale, fit in fits.items():
        found = fit.residuals.rename(columns={"pearson": "residual"})
        by_visit = found.groupby("visit", observed=True)["residual"]
        rank, n = by_visit.rank(method="first"), by_visit.transform("size")
        found = found.assign(scale=scale, quantile=stats.norm.ppf((rank - 0.5) / n))
        tables.append(found[["scale", "participant_id", "visit", "residual", "quantile"]])
    return pd.concat(tables, ignore_index=True)


def influence_table(fits, changes, scale, visit):
    """The contrast of one scale at one visit, fitted again without each participant in turn.

    Parameters
    ----------
    fits : dict
        From :func:`analysis_lib.clinical.fit_models`.
    changes : pandas.DataFrame
        What they were fitted to.
    scale, visit : str
        Of the contrast.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/influence.tsv; missing where the model without the participant has no such
        contrast. Empty if the model with all has none.
    """
    columns = ["participant_id", "arm", "estimate", "shift", "p"]
    if scale not in fits or visit not in fits[scale].visits:
        return pd.DataFrame(columns=columns)
    own = changes[changes["scale"] == scale].dropna()
    whole = _contrast(fits[scale], visit)["estimate"]
    table = own[["participant_id", "arm"]].drop_duplicates().reset_index(drop=True)
    without = [_refitted(own[own["participant_id"] != who], visit) for who in table.participant_id]
    table = table.join(pd.DataFrame(without))
    return table.assign(shift=table["estimate"] - whole)[columns]


def _refitted(rows, visit):
    try:
        return _contrast(fit_mmrm_rows(rows), visit)
    except (ConvergenceError, ValueError, IndexError):  # no fit, or too few left at the visit
        return {"estimate": np.nan, "p": np.nan}


def _contrast(fit, visit):
    table = fit.contrasts("arm", "control")
    return table.loc[table["visit"] == visit, ["estimate", "p"]].iloc[0].to_dict()
