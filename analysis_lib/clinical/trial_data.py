"""What notebook 01 reads of a trial, checked."""

from dataclasses import dataclass

import pandas as pd

from analysis_lib.clinical.adherence import participant_dose
from analysis_lib.clinical.consort import consort_flow
from analysis_lib.clinical.flow import participant_flow
from analysis_lib.clinical.rating_patterns import missing_patterns, pattern_visits
from analysis_lib.study.conduct import read_stimulation
from analysis_lib.study.images import find_maps, pair_maps
from analysis_lib.study.participants import adjustment, randomisation_blocks, read_participants
from analysis_lib.study.scores import baseline_scores, read_ratings, with_baseline


@dataclass(frozen=True)
class TrialData:
    """Tables of a trial."""

    participants: pd.DataFrame
    scores: pd.DataFrame  # every rating
    changes: pd.DataFrame  # later scores beside the baseline
    strata: pd.Series | None  # of the randomisation, by participant
    adjustment: pd.DataFrame  # columns that models adjust for beside baseline, by participant


def read_trial(study) -> TrialData:
    """Participants and ratings of a trial.

    Raises
    ------
    StudyError
        If a table breaks the contract; the message names the file and row.
    """
    participants = read_participants(study)
    scores, blocks = read_ratings(study, participants), randomisation_blocks(study, participants)
    strata = None if blocks is None else pd.Series(blocks, participants["participant_id"])
    columns = adjustment(study, participants)
    changes = with_baseline(study, scores).join(columns, on="participant_id")
    return TrialData(participants, scores, changes, strata, columns)


def who_took_part(study, data) -> dict:
    """From randomisation to analysis, by arm: ``flow``, and its CONSORT boxes, ``consort_flow``."""
    maps = find_maps(study, data.participants)
    pairs = pair_maps(study, data.participants, maps) if len(maps) else None
    flow = participant_flow(study, data.participants, data.scores, pairs)
    stimulation = read_stimulation(study, data.participants)
    dose = None if stimulation is None else participant_dose(stimulation, data.participants)
    return {"flow": flow, "consort_flow": consort_flow(flow, study.arm_names, dose)}


def who_was_rated(study, data) -> dict:
    """At which visits the primary scale was rated: ``missing_patterns`` and ``pattern_visits``."""
    own = data.changes[data.changes["scale"] == study.primary_scale.name]
    rated = baseline_scores(study, data.scores, study.primary_scale)
    return {
        "missing_patterns": missing_patterns(own, rated),
        "pattern_visits": pattern_visits(own),
    }
