"""The SUDMEX-TMS trial as a BIDS folder."""

import pandas as pd

from analysis_lib.datasets.bids_tables import bids_folder, in_visit_order, require_columns
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
    scales = {"hdrs": (rated, "hdrs_tot"), "hars": (rated, "hars_tot")}
    return bids_folder("sudmex", people, scales, came, notes=notes), notes


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
