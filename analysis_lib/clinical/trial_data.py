"""What notebook 01 reads of a trial, checked."""

from dataclasses import dataclass

import pandas as pd

from analysis_lib.clinical.adherence import participant_dose
from analysis_lib.clinical.consort import consort_flow
from analysis_lib.clinical.estimand import apply_estimand, describe_estimand
from analysis_lib.clinical.flow import participant_flow
from analysis_lib.clinical.rating_patterns import (
    missing_patterns,
    pattern_visits,
    with_known_baseline,
)
from analysis_lib.study.conduct import read_stimulation
from analysis_lib.study.images import find_maps, pair_maps
from analysis_lib.study.participants import (
    adjustment,
    intercurrent_events,
    randomisation_blocks,
    read_participants,
    refuse_tied,
)
from analysis_lib.study.scores import (
    baseline_scores,
    read_ratings,
    total_counts,
    with_baseline,
)
from analysis_lib.study.visit_days import visit_days


@dataclass(frozen=True)
class TrialData:
    """Tables of a trial."""

    participants: pd.DataFrame
    ratings: pd.DataFrame  # every rating
    scores: pd.DataFrame  # the same as the strategies for intercurrent events have them
    changes: pd.DataFrame  # later scores beside the baseline
    strata: pd.Series | None  # of the randomisation, by participant
    adjustment: pd.DataFrame  # columns that models adjust for beside baseline, by participant
    events: pd.Series  # last visit before an intercurrent event, by participant who had one
    intercurrent: pd.DataFrame  # these events, and what was done about later ratings
    estimand: str  # the strategies in words


def read_trial(study) -> TrialData:
    """Participants and ratings of a trial.

    Raises
    ------
    StudyError
        If a table breaks the contract; the message names the file and row.
    """
    participants = read_participants(study)
    ratings, blocks = read_ratings(study, participants), randomisation_blocks(study, participants)
    events = intercurrent_events(study, participants)
    scores, intercurrent = apply_estimand(study, events, ratings)
    strata = None if blocks is None else pd.Series(blocks, participants["participant_id"])
    columns = adjustment(study, participants)
    refuse_tied(study, participants.loc[participants["excluded"].isna(), "arm"], columns)
    changes = with_baseline(study, scores).join(columns, on="participant_id")
    said = describe_estimand(study)
    return TrialData(
        participants, ratings, scores, changes, strata, columns, events["after"], intercurrent, said
    )


def who_took_part(study, data) -> dict:
    """From randomisation to analysis, by arm: ``flow``, and its CONSORT boxes, ``consort_flow``."""
    maps = find_maps(study, data.participants)
    pairs = pair_maps(study, data.participants, maps) if len(maps) else None
    flow = participant_flow(study, data.participants, data.ratings, pairs)
    stimulation = read_stimulation(study, data.participants)
    dose = None if stimulation is None else participant_dose(stimulation, data.participants)
    aside = data.participants.loc[data.participants["arm"].isna(), "excluded"].value_counts()
    boxes = consort_flow(flow, study.arm_names, dose, aside)
    found = {"flow": flow, "consort_flow": boxes, "intercurrent": data.intercurrent}
    totals = total_counts(study, data.participants)
    days = visit_days(study, data.participants)
    return found | {k: v for k, v in {"totals": totals, "visit_days": days}.items() if len(v)}


def who_was_rated(study, data) -> dict:
    """At which visits the primary scale was rated: ``missing_patterns`` and ``pattern_visits``."""
    own = with_known_baseline(data.changes[data.changes["scale"] == study.primary_scale.name])
    rated = baseline_scores(study, data.scores, study.primary_scale)
    return {
        "missing_patterns": missing_patterns(own, rated),
        "pattern_visits": pattern_visits(own),
    }
