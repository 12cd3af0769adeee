"""Small public trials as BIDS folders: one function each, from their tables to text by path."""

import pandas as pd

from analysis_lib.datasets.bids_tables import (
    bids_folder,
    described_table,
    in_visit_order,
)

FIRST = "Cerebellum.Cortex"  # of the columns of regions, which go to the last column


def argyelan_ect(regions, scores):
    """VOL_IPER.csv and hamd.csv: electroconvulsive therapy, regions, no control arm.

    Participants are the pseudonyms of the source.
    """
    change = regions.loc[:, FIRST:].assign(participant_id="sub-" + regions["id"])
    scores = scores.assign(participant_id="sub-" + scores["id"])
    scores = scores.assign(visit="rating" + scores["time"].astype(str))
    rated = in_visit_order(scores, [f"rating{k}" for k in range(1, 13)])
    people = scores.drop_duplicates("participant_id").sort_values("participant_id")
    people = people.assign(sex=people["sex"].str[0])
    content = bids_folder("argyelan_ect", people, {"hamd": (rated, "hamd")}, rated)
    described = {"participant_id": {"Description": "Participant, the pseudonym of the source"}}
    described |= {name: {"Units": "percent"} for name in change if name != "participant_id"}
    return content | described_table("regions", change.round(6), described)


def argyelan_rtms(scores, sites):
    """MADRS_hash.csv and TMS_locations_MNI.csv: 10 Hz rTMS, weekly MADRS, sites of the coil."""
    numbers = {who: f"sub-{k:02d}" for k, who in enumerate(scores["id_hash"].unique(), 1)}
    visits = scores["event"].str.lower().str.replace(" ", "")
    scores = scores.assign(participant_id=scores["id_hash"].map(numbers), visit=visits)
    rated = in_visit_order(scores, ["baseline", *(f"week{k}" for k in range(1, 6))])
    at = sites.assign(participant_id=sites["id_hash"].map(numbers))
    at = at.rename(columns={axis: f"target_{axis}" for axis in "xyz"}).round(1)
    people = pd.DataFrame({"participant_id": numbers.values()}).merge(at, how="left")
    return bids_folder("argyelan_rtms", people, {"madrs": (rated, "madrs")}, rated)


def claus2020(rows):
    """claus_2020.rda: placebo amplification in inpatients, four scales at four measurements."""
    numbers = rows["id"].astype(int)
    rows = rows.assign(
        participant_id=numbers.map("sub-{:02d}".format),
        visit="measurement" + (rows["time"].astype(int) - 1).astype(str),
        sex=rows["sex"].astype(str).str[0],
        age=rows["age"].astype(int),
    )
    rated = in_visit_order(rows, [f"measurement{k}" for k in range(4)])
    people = rated.drop_duplicates("participant_id")
    scales = {"hamd": (rated, "hamd"), "bdi": (rated, "bdi")}
    scales |= {"shaps": (rated, "shaps"), "who5": (rated, "who")}
    return bids_folder("claus2020", people, scales, rated)


def ds003007(people):
    """participants.tsv: therapy in mild depression, scores in columns by session."""
    visits = ["pre", "post"]
    own = pd.concat([people.assign(visit=visit) for visit in visits])
    sources = {"bdi": "BDI", "zung": "Zung_SDS", "madrs": "MADRS"}
    for name, column in sources.items():
        own[name] = own[f"{column}_ses-post"].where(
            own["visit"] == "post", own[f"{column}_ses-pre"]
        )
    rated = in_visit_order(own, visits)
    people = people.assign(sex=people["gender"].str.upper())
    return bids_folder("ds003007", people, {name: (rated, name) for name in sources}, rated)


def ds005917(people, scores):
    """participants.tsv and phenotype.tsv: ketamine and placebo, the first period by day.

    Healthy controls, bipolar patients and those without an infusion are no part of the comparison.
    """
    people = people[(people["group"] == "MDD") & people["infusion_1"].notna()]
    own = scores.merge(people[["participant_id", "infusion_1"]])
    session = own["session_id"].str.removeprefix("ses-")
    own = own.assign(visit=session.where(session == "b0", "day" + session.str[1:]))
    first = own[(session == "b0") | (session.str[0] == own["infusion_1"])]
    rated = in_visit_order(first, ["b0", "day2", "day10"])
    scales = {"madrs": (rated, "MADRS_Total"), "hamd17": (rated, "HAM17_Total")}
    return bids_folder("ds005917", people, scales, rated)


CONVERTERS = {
    convert.__name__: convert
    for convert in (argyelan_ect, argyelan_rtms, claus2020, ds003007, ds005917)
}
