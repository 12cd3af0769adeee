"""Tables of real trials, and of the cases kept aside, import with at most two edits."""

import os
from pathlib import Path

import pandas as pd
import pytest
from made_up_tables import import_edited, written

from analysis_lib.checking import check, errors
from analysis_lib.study.contract import load_study

SHARED = Path(os.environ.get("REFERENCE_DATA", Path(__file__).resolve().parents[3] / "shared"))
TRIALS = SHARED / "data/trials"
CASES = SHARED / "cases/tables"
pytestmark = pytest.mark.skipif(not TRIALS.exists(), reason="REFERENCE_DATA has no trials")


def cells(rows, who, session, columns):
    """Numbers by scale, participant, session and column, read by pandas alone."""
    found = {}
    for scale, names in columns.items():
        for target, column in names.items():
            for person, visit, value in zip(rows[who], rows[session], rows[column], strict=True):
                if pd.notna(value) and pd.notna(visit):
                    key = ("sub-" + str(person).removeprefix("sub-"), f"ses-{visit}", target)
                    found.setdefault(scale, {})[key] = float(value)
    return found


def total(**columns):
    return {scale: {"total": column} for scale, column in columns.items()}


def antidepressant():
    rows = pd.read_csv(TRIALS / "antidepressant/antidepressant_data.csv")
    rows["visit"] = rows["VISIT"].map({4: "week1", 5: "week2", 6: "week4", 7: "week6"})
    found = cells(rows, "PATIENT", "visit", total(hamd17="HAMDTL17", hama="HAMATOTL"))
    first = rows.drop_duplicates("PATIENT").assign(visit="baseline")
    found["hamd17"] |= cells(first, "PATIENT", "visit", total(hamd17="BASVAL"))["hamd17"]
    return found


def sudmex():
    rows = pd.read_csv(TRIALS / "sudmex_tms/data2w.csv")
    return cells(rows, "rid", "stage", total(hamd17="hdrs_tot", hama="hars_tot"))


def reisby():
    path = TRIALS / "reisby/riesby.dat.txt"
    rows = pd.read_csv(path, sep=r"\s+", header=None, skipfooter=1, na_values=".", engine="python")
    rows["visit"] = "visit" + rows[3].astype(str)
    return cells(rows, 0, "visit", {"hamd17": {"total": 1}})


def claus():
    rows = pd.read_csv(TRIALS / "claus2020/claus_2020.csv")
    rows["visit"] = "visit" + rows["time"].astype(str)
    return cells(rows, "id", "visit", total(hamd17="hamd", bdi="bdi", shaps="shaps", who5="who"))


def argyelan_ect():
    rows = pd.read_csv(TRIALS / "argyelan/hamd.csv")
    rows["visit"] = "visit" + rows["time"].astype(str)
    return cells(rows, "id", "visit", total(hamd17="hamd"))


def argyelan_rtms():
    rows = pd.read_csv(TRIALS / "argyelan/MADRS_hash.csv")
    rows["visit"] = rows["event"].str.lower().str.replace(" ", "")
    return cells(rows, "id_hash", "visit", total(madrs="madrs"))


def ds005917():
    rows = pd.read_csv(TRIALS / "ds005917/phenotype/phenotype.tsv", sep="\t")
    first = pd.read_csv(TRIALS / "ds005917/participants.tsv", sep="\t")
    arm = rows["participant_id"].map(first.set_index("participant_id")["infusion_1"])
    letter, day = rows["session_id"].str[4], rows["session_id"].str[5:]
    rows["visit"] = ("day" + day).where(letter == arm)
    rows.loc[letter == "b", "visit"] = "baseline"
    columns = total(madrs="MADRS_Total", hamd6="HAMD_Bech", hamd17="HAM17_Total")
    return cells(rows, "participant_id", "visit", columns)


def wide_sessions(path, scales):
    rows, found = pd.read_csv(path, sep="\t"), {}
    for column, name in (("pre", "baseline"), ("post", "post")):
        own = {scale: {"total": f"{stem}_ses-{column}"} for scale, stem in scales.items()}
        for scale, values in cells(rows.assign(v=name), "participant_id", "v", own).items():
            found[scale] = found.get(scale, {}) | values
    return found


def ds003007():
    scales = {"madrs": "MADRS", "zungsds": "Zung_SDS", "bdi": "BDI"}
    return wide_sessions(TRIALS / "ds003007/participants.tsv", scales)


def items_in_columns():
    rows, found = pd.read_csv(CASES / "c1_wide_items_csv/export.csv", sep=";"), {}
    for k in range(1, 5):
        columns = {f"item_{i:02d}": f"HAMD{k}.{i}" for i in range(1, 18)}
        own = {"hamd17": columns | {"total": f"HAMD{k}.total"}}
        found |= cells(rows.assign(v=f"visit{k}"), "id", "v", own)["hamd17"]
    return {"hamd17": found}


def three_arms():
    rows = pd.read_csv(CASES / "c3_three_arms_wide/bids/phenotype/madrs.tsv", sep="\t")
    rows["visit"] = rows["session_id"].map({"ses-pre": "baseline", "ses-post": "post"})
    return cells(rows, "participant_id", "visit", total(madrs="total"))


def redcap():
    rows = pd.read_csv(CASES / "c5_redcap/redcap.csv")
    rows["visit"] = rows["redcap_event_name"].map(
        {"baseline_arm_1": "baseline", "week_1_arm_1": "week1"}
    )
    return cells(rows, "record_id", "visit", total(hamd17="hamd_total"))


CBT = {"column": "arm", "control": "nfb", "active": "cbt", "left_out": ["no_treatment"]}
CBT_OF = {key: f"depr_{v}" if key in ("active", "control") else v for key, v in CBT.items()}
FIRST_PERIOD = {
    "baseline": ["ses-b0"],
    "day2": ["ses-d2 if Ketamine", "ses-p2 if Placebo"],
    "day10": ["ses-d10 if Ketamine", "ses-p10 if Placebo"],
}
ONE_OF_TWO = {"column": "arm", "active": "1", "control": "2"}
TWELVE = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
IMPORTS = {  # files, edits of import.yml, an independent reading
    antidepressant: ("antidepressant/antidepressant_data.csv", {}),
    sudmex: ("sudmex_tms/data2w.csv", {"weeks": "0, 2"}),
    reisby: (
        "reisby/riesby.dat.txt",
        {
            "tables/riesby.dat.txt/scales": {"HAMD-17": {"total": "column2"}},
            "weeks": "0, 1, 2, 3, 4, 5",
        },
    ),
    claus: ("claus2020/claus_2020.csv", {"weeks": "0, 2, 5, 9"}),
    argyelan_ect: ("argyelan/hamd.csv argyelan/VOL_IPER.csv", {"weeks": TWELVE}),
    argyelan_rtms: ("argyelan/MADRS_hash.csv", {}),
    ds005917: ("ds005917", {"visits": FIRST_PERIOD, "primary": "MADRS"}),
    ds003007: (
        "ds003007",
        {"arms": CBT_OF | {"left_out": ["depr_no_treatment"]}, "weeks": "0, 4"},
    ),
    items_in_columns: (
        "../../cases/tables/c1_wide_items_csv/export.csv",
        {"weeks": "0, 1, 2, 3", "arms/active": "1"},
    ),
    three_arms: ("../../cases/tables/c3_three_arms_wide/bids", {"arms": CBT, "weeks": "0, 8"}),
    redcap: ("../../cases/tables/c5_redcap/redcap.csv", {"arms": ONE_OF_TWO}),
}


@pytest.mark.parametrize("reading", IMPORTS, ids=lambda reading: reading.__name__)
def test_a_real_table_imports_cell_by_cell_and_passes_the_check(tmp_path, reading):
    files, edits = IMPORTS[reading]
    assert len(edits) <= 2
    done = import_edited([TRIALS / file for file in files.split()], tmp_path / "new", edits)
    for scale, values in reading().items():
        assert written(done.path, scale) == values, scale
    study = load_study(done.path)
    assert {scale.key for scale in study.scales} == set(reading())
    assert errors(check(study)) == []


def test_arms_in_the_names_of_events_are_as_in_a_column_of_their_own(tmp_path):
    file = CASES / "c5_redcap/redcap.csv"
    rows = pd.read_csv(file, dtype=str)
    arm = rows.groupby("record_id")["randomisation"].transform("first")
    rows["redcap_event_name"] = rows["redcap_event_name"].str.replace("_arm_1", "_arm_") + arm
    rows.drop(columns="randomisation").to_csv(tmp_path / "redcap.csv", index=False)
    done = [
        import_edited([path], tmp_path / name, {"arms": ONE_OF_TWO})
        for path, name in ((file, "column"), (tmp_path / "redcap.csv", "events"))
    ]
    assert written(done[0].path) == written(done[1].path)
    places = [one.path.parent / "bids/participants.tsv" for one in done]
    people = [pd.read_csv(place, sep="\t", index_col=0) for place in places]
    pd.testing.assert_frame_equal(*people, check_like=True)


def test_percent_change_of_real_regions_is_as_given(tmp_path):
    files = [TRIALS / "argyelan/hamd.csv", TRIALS / "argyelan/VOL_IPER.csv"]
    done = import_edited(files, tmp_path / "new", {"weeks": TWELVE})
    found = pd.read_csv(done.path.parent / "bids/regions.tsv", sep="\t", index_col=0)
    given = pd.read_csv(TRIALS / "argyelan/VOL_IPER.csv").set_index("id")
    given.index = "sub-" + given.index
    assert list(found) == list(given.loc[:, "Cerebellum.Cortex":"ctx.insula"])
    pd.testing.assert_frame_equal(found, given[list(found)], check_names=False)
