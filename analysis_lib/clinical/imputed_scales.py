"""Multiple imputation of every scale of a trial."""

import pandas as pd

from analysis_lib.clinical.by_scale import ByScale
from analysis_lib.clinical.imputation import fit_imputation, imputation_table
from analysis_lib.clinical.posterior import prepare
from analysis_lib.clinical.rating_patterns import (
    at_estimable_visits,
    outcome_table,
    with_known_baseline,
)
from analysis_lib.results.problems import NotComputed
from analysis_lib.study.scores import baseline_scores


def impute_scales(study, data, n_imputations, seed=0) -> dict:
    """Fit the imputation model to each scale: all with a baseline, at visits that can be modelled.

    Parameters
    ----------
    study : Study
    data : TrialData
    n_imputations : int
    seed : int

    Returns
    -------
    ByScale of Imputation
        By name of the scale; its ``reasons`` say why others have none.
    """

    def fit(name):
        rows, rated, n_before = _to_impute(study, data, name)
        return fit_imputation(rows, rated, n_imputations, seed=seed, n_before=n_before)

    return ByScale(fit, [scale.name for scale in study.scales])


def unimputable(study, data) -> dict:
    """Why scales cannot be imputed, by name: what comes before the draws, on the same path."""
    names = [scale.name for scale in study.scales]
    return ByScale(lambda n: prepare(outcome_table(*_to_impute(study, data, n))), names).reasons


def _to_impute(study, data, name):
    """Outcomes of a scale, baselines of all, and the visits that each had before an event."""
    scale = next(scale for scale in study.scales if scale.name == name)
    rows = at_estimable_visits(with_known_baseline(data.changes[data.changes["scale"] == name]))
    rated = baseline_scores(study, data.scores, scale).join(data.adjustment, "participant_id")
    weeks = pd.Series(study.visits)[rows["visit"].cat.categories]
    n_before = data.events.map(study.visits).map(lambda week: int((weeks <= week).sum()))
    return rows, rated, n_before


def compare_imputed(imputed) -> pd.DataFrame:
    """The arms compared on completed data: :func:`imputation_table` of each scale."""
    tables = {name: imputation_table(fit) for name, fit in imputed.items()}
    if not tables:
        raise NotComputed("no scale could be imputed")
    return pd.concat(tables, names=["scale"]).reset_index("scale")
