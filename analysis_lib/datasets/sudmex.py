"""The SUDMEX-TMS trial as a BIDS folder."""

import pandas as pd

from analysis_lib.datasets.bids_tables import (
    dataset_description,
    described_table,
    in_visit_order,
    require_columns,
    scale_columns,
    score_table,
    session_table,
)
from analysis_lib.results.problems import FetchError

_GROUPS = {1: "SHAM", 2: "ACTIVE"}
_SEXES = {1: "M", 2: "F"}


def sudmex_dataset(participants, scores):
    """Turn the SUDMEX-TMS trial into the files of a BIDS folder (text by path), and notes.

    ``participants`` is participants.tsv of OpenNeuro ds003037, ``scores`` data2w.csv, whose rid is
    the number in participant_id. Notes name participants whose age or sex differs between the two:
    participants.tsv is kept. Files that disagree on an arm, or on who took part and was not
    excluded, or a participant without exactly one row at T0 and one at T1, are a `FetchError`.
    """
    require_columns("participants.tsv", participants, ["participant_id", "age", "sex", "group"])
    require_columns("participants.tsv", participants, ["educ", "exclusion"])
    require_columns(
        "data2w.csv", scores, ["rid", "group", "stage", "sex", "age", "hdrs_tot", "hars_tot"]
    )
    scores = scores.assign(
        participant_id=[f"sub-{rid:03d}" for rid in scores["rid"]],
        visit=scores["stage"].str.lower(),
    )
    _check_sudmex(participants, scores)
    notes = _disagreements(participants, scores)
    rated = in_visit_order(scores, ["t0", "t1"])
    excluded = participants.loc[participants["exclusion"] == 1, ["participant_id"]]
    came = in_visit_order(pd.concat([rated, excluded.assign(visit="t0")]), ["t0", "t1"])
    people = participants.assign(
        sex=participants["sex"].map(_SEXES), educ=participants["educ"].map("{:g}".format)
    )
    content = {
        **dataset_description(_SUDMEX, _SUDMEX_README + "".join(f"\n{note}\n" for note in notes)),
        **described_table("participants", people, _SUDMEX_COLUMNS),
        **described_table("phenotype/hdrs", score_table(rated, "hdrs_tot"), scale_columns(_HDRS)),
        **described_table("phenotype/hars", score_table(rated, "hars_tot"), scale_columns(_HARS)),
        **session_table(came, []),
    }
    return content, notes


def _check_sudmex(participants, scores):
    kept = participants.loc[participants["exclusion"] == 0]
    alone = sorted(set(kept["participant_id"]) ^ set(scores["participant_id"]))
    if alone:
        raise FetchError(
            "participants.tsv and data2w.csv: the same participants expected, leaving out "
            f"exclusion = 1; in only one file: {', '.join(alone)}"
        )
    visits = scores.groupby("participant_id")["visit"].agg(lambda x: sorted(x))
    odd = visits[visits.map(lambda x: x != ["t0", "t1"])]
    if len(odd):
        raise FetchError(
            "data2w.csv: one row at T0 and one at T1 expected, found otherwise for "
            f"{', '.join(odd.index)}"
        )
    arms = scores["participant_id"].map(_by_participant(kept, "group").map(_GROUPS))
    wrong = scores.loc[arms != scores["group"], "participant_id"].unique()
    if len(wrong):
        raise FetchError(
            "participants.tsv and data2w.csv: the same group expected (1 = SHAM, 2 = ACTIVE), "
            f"found otherwise for {', '.join(wrong)}"
        )


def _disagreements(participants, scores):
    notes = []
    for column, codes in (("age", None), ("sex", _SEXES)):
        first = _by_participant(participants, column)
        ours = scores["participant_id"].map(first.map(codes) if codes else first)
        for i in scores.index[ours != scores[column]]:
            row = scores.loc[i]
            notes.append(
                f"{row['participant_id']}: {column} is {ours[i]} in participants.tsv (kept), "
                f"{row[column]} in data2w.csv at {row['stage']}"
            )
    return notes


def _by_participant(table, column):
    return table.set_index("participant_id")[column]


_SUDMEX = {
    "Name": "SUDMEX-TMS, 5 Hz rTMS of the left DLPFC in cocaine use disorder",
    "License": "participants.tsv and T1w images: CC0; phenotype: GPL-3.0",
    "Authors": [
        "Ruth Alcala-Lozano",
        "Sofia Fernandez-Lozano",
        "Erick Morelos-Santana",
        "Alan Davalos",
        "Viviana Villicana",
        "Eduardo A. Garza-Villarreal",
    ],
    "HowToAcknowledge": "Garza-Villarreal et al. 2021, Biol Psychiatry Cogn Neurosci "
    "Neuroimaging, doi 10.1016/j.bpsc.2021.01.003",
    "SourceDatasets": [
        {"DOI": "doi:10.18112/openneuro.ds003037.v1.0.1"},
        {"URL": "https://github.com/egarza/sudmex_tms_main"},
    ],
}

_SUDMEX_README = """\
Double-blind, sham-controlled trial of rTMS (5 Hz, left dorsolateral prefrontal cortex) in cocaine
use disorder: 24 active, 20 sham, before (t0) and after (t1) two weeks. The six further participants
of the source (exclusion = 1) have no scores; they are kept in participants.tsv.

participants.tsv is that of OpenNeuro ds003037 (CC0), with sex written F and M, as the table of
scores has it. phenotype is from the trial's own repository, egarza/sudmex_tms_main (GPL-3.0), file
data2w.csv. Arms, ages and sexes were compared between the two. The open-label phase that follows
is left out: it has no sham arm. The trial's own primary outcome was craving, not depression.

T1w images, where there are any, are those of OpenNeuro ds003037 (CC0), of the 44 participants and
two sessions with scores: python -m analysis_lib fetch sudmex_tms --images.

Written by python -m analysis_lib fetch sudmex_tms. Please cite Garza-Villarreal et al. 2021,
Biological Psychiatry: Cognitive Neuroscience and Neuroimaging, doi 10.1016/j.bpsc.2021.01.003.
"""

_SUDMEX_COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "age": {"Description": "Age at baseline", "Units": "year"},
    "sex": {
        "Description": "Sex (1 and 2 in the source)",
        "Levels": {"F": "female", "M": "male"},
    },
    "group": {"Description": "Arm", "Levels": {"1": "sham", "2": "active rTMS"}},
    "educ": {"Description": "Years of education", "Units": "year"},
    "exclusion": {
        "Description": "Left out of the trial's own analysis, without scores",
        "Levels": {"0": "analysed", "1": "excluded"},
    },
}

_HDRS = "Hamilton Depression Rating Scale, total (hdrs_tot)"
_HARS = "Hamilton Anxiety Rating Scale, total (hars_tot)"
