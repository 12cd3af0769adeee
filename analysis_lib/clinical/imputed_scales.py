"""Multiple imputation of every scale of a trial."""

import pandas as pd

from analysis_lib.clinical.imputation import fit_imputation, imputation_table
from analysis_lib.study.scores import baseline_scores


def impute_scales(study, data, n_imputations, seed=0) -> dict:
    """Fit the imputation model to each scale.

    Parameters
    ----------
    study : Study
    data : TrialData
    n_imputations : int
    seed : int

    Returns
    -------
    dict of Imputation
        By name of the scale.
    """
    imputed = {}
    for scale in study.scales:
        outcome = data.changes[data.changes["scale"] == scale.name]
        outcome = outcome.assign(visit=outcome["visit"].cat.remove_unused_categories())
        rated = baseline_scores(study, data.scores, scale).join(data.adjustment, "participant_id")
        imputed[scale.name] = fit_imputation(outcome, rated, n_imputations, seed=seed)
    return imputed


def compare_imputed(imputed) -> pd.DataFrame:
    """The arms compared on completed data: :func:`imputation_table` of each scale."""
    tables = {name: imputation_table(fit) for name, fit in imputed.items()}
    return pd.concat(tables, names=["scale"]).reset_index("scale")
