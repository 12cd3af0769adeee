"""Electroconvulsive therapy (Argyelan and colleagues) as a BIDS folder: regions, no control arm."""

from analysis_lib.datasets.bids_tables import (
    bids_folder,
    described_table,
    in_visit_order,
)

FIRST = "Cerebellum.Cortex"  # of the columns of regions, which go to the last column


def argyelan_dataset(regions, scores):
    """Turn VOL_IPER.csv and hamd.csv into the files of a BIDS folder (text by path).

    Participants are the pseudonyms of the source.
    """
    change = regions.loc[:, FIRST:].assign(participant_id="sub-" + regions["id"])
    scores = scores.assign(participant_id="sub-" + scores["id"])
    scores = scores.assign(visit="rating" + scores["time"].astype(str))
    rated = in_visit_order(scores, [f"rating{k}" for k in range(1, 13)])
    people = scores.drop_duplicates("participant_id").sort_values("participant_id")
    people = people.assign(sex=people["sex"].str[0])
    content = bids_folder("argyelan", people, {"hamd": (rated, "hamd")}, rated)
    described = {"participant_id": {"Description": "Participant, the pseudonym of the source"}}
    described |= {name: {"Units": "percent"} for name in change if name != "participant_id"}
    return content | described_table("regions", change.round(6), described)
