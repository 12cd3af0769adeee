"""The SUDMEX-TMS trial as a BIDS folder."""

import pandas as pd

from analysis_lib.datasets.bids_tables import bids_folder, in_visit_order

_SEXES = {1: "M", 2: "F"}


def sudmex_dataset(participants, scores):
    """Turn the SUDMEX-TMS trial into the files of a BIDS folder (text by path), and notes.

    ``participants`` is participants.tsv of OpenNeuro ds003037, ``scores`` data2w.csv, whose rid is
    the number in participant_id. Notes name participants whose age or sex differs between the two:
    participants.tsv is kept.
    """
    scores = scores.assign(
        participant_id=[f"sub-{rid:03d}" for rid in scores["rid"]],
        visit=scores["stage"].str.lower(),
    )
    notes = _disagreements(participants, scores)
    unrated = participants.loc[participants["exclusion"] == 1, ["participant_id"]]
    rated = in_visit_order(pd.concat([scores, unrated.assign(visit="t0")]), ["t0", "t1"])
    people = participants.assign(
        sex=participants["sex"].map(_SEXES), educ=participants["educ"].map("{:g}".format)
    )
    scales = {"hdrs": (rated, "hdrs_tot"), "hars": (rated, "hars_tot")}
    return bids_folder("sudmex", people, scales, rated, notes=notes), notes


def _disagreements(participants, scores):
    notes = []
    for column, codes in (("age", None), ("sex", _SEXES)):
        first = participants.set_index("participant_id")[column]
        ours = scores["participant_id"].map(first.map(codes) if codes else first)
        for i in scores.index[ours != scores[column]]:
            row = scores.loc[i]
            notes.append(
                f"{row['participant_id']}: {column} is {ours[i]} in participants.tsv (kept), "
                f"{row[column]} in data2w.csv at {row['stage']}"
            )
    return notes
