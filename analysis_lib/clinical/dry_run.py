"""What notebook 01 will not be able to compute: its own functions, run before it, without draws."""

from functools import partial

from analysis_lib.clinical.baseline import baseline_table
from analysis_lib.clinical.imputed_scales import unimputable
from analysis_lib.clinical.models import fit_models
from analysis_lib.clinical.outcomes import ancova
from analysis_lib.clinical.randomisation import randomisation_test
from analysis_lib.clinical.risks import responders
from analysis_lib.clinical.trial_data import read_trial, who_was_rated
from analysis_lib.results.problems import CompendiumError, Problem
from analysis_lib.results.section import UNANSWERED


def problems(study):
    """A warning for each part of notebook 01 that will be a note, with the same reason.

    Tables that cannot be read are told by their own checks.
    """
    if not study.arms:
        return []
    try:
        data = read_trial(study)
    except CompendiumError:
        return []
    told = unanswered_parts(study, data)
    return [
        Problem(study.path.name, part, text=f"cannot be computed: {why}", warning="not-computed")
        for part, why in told.items()
    ]


def unanswered_parts(study, data) -> dict:
    """Why parts of notebook 01 cannot be computed, by the name that it gives them."""
    primary, final = study.primary_scale.name, study.final_visit
    compute = {
        "Table 1": partial(baseline_table, study, data.participants, data.ratings),
        "Re-randomisation": partial(
            randomisation_test, data.changes, primary, final, data.strata, n_permutations=1
        ),
        "Analysis of covariance": partial(ancova, data.changes),
        "Ratings by visit": partial(who_was_rated, study, data),
        "Response and remission": partial(responders, study, data.participants, data.scores),
    }
    reasons = _by_part("Primary analysis", fit_models(data.changes, study).reasons)
    for part, one in compute.items():
        try:
            one()
        except UNANSWERED as error:
            reasons[part] = str(error)
    return reasons | _by_part("Imputation", unimputable(study, data))


def _by_part(title, reasons):
    return {f"{title}, {scale}": why for scale, why in reasons.items()}
