"""Tables of every shape come back cell by cell; nothing is guessed twice."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made_up_tables import VISITS, edit, expected, import_edited, people, trial, wide, written

from analysis_lib.importing import OpenQuestions, import_study, reading
from analysis_lib.results.problems import StudyError, WrongFile
from analysis_lib.study.contract import load_study
from analysis_lib.study.participants import read_participants
from analysis_lib.study.scores import read_ratings

PROJECT = Path(__file__).resolve().parents[2]
ITEMS = [f"item_{k}" for k in range(1, 18)]
WEEKS = {"weeks": "0, 2, 4"}
RENAMED = {"visits": {"baseline": ["1"], "week2": ["2"], "week4": ["3"]}} | WEEKS


def csv(table, path, **options):
    table.to_csv(path, index=False, **options)
    return [path]


def long_csv(table, folder):
    return csv(table.drop(columns=ITEMS).rename(columns={"total": "HAMD"}), folder / "t.csv")


def wide_weeks(table, folder):
    rows = wide(table, lambda code, _: f"HAMD_{code}", ["w0", "w2", "w4"])
    return csv(rows, folder / "t.tsv", sep="\t")


def wide_items(table, folder):
    def name(code, value):
        return f"HAMD{code}.{value.removeprefix('item_')}"

    rows = wide(table, name, "123", [*ITEMS, "total"])
    return csv(rows, folder / "t.csv", sep=";", encoding="utf-16")


def wide_sessions(table, folder):
    rows = wide(table, lambda code, _: f"HAM-D17_ses-{code}", ["pre", "week2", "week4"])
    rows = rows.rename(columns={"arm": "Gruppe", "age": "Größe"})
    return csv(rows, folder / "t.csv", encoding="cp1252")


def wide_before(table, folder):
    return csv(
        wide(table, lambda c, _: f"{c} HAMD total", ["Baseline", "Week 2", "Week 4"]),
        folder / "t.csv",
    )


def excel_in_two_sheets(table, folder):
    scores = table[["id", "visit", "total"]].rename(columns={"total": "HAMD"})
    with pd.ExcelWriter(folder / "t.xlsx") as book:
        people(table).reset_index().to_excel(book, sheet_name="patients", index=False, startrow=2)
        scores.to_excel(book, sheet_name="ratings", index=False)
        book.sheets["patients"]["A1"] = "Our trial, data of 2024"
    return [folder / "t.xlsx"]


def two_files(table, folder):
    scores = table[["id", "visit", "total"]].rename(columns={"total": "HDRS_total"})
    return csv(people(table).reset_index(), folder / "a.csv") + csv(scores, folder / "b.csv")


def coded(table):
    rows = wide(table, lambda code, _: f"hamd.{code}", ["0w", "2w", "4w"])
    return rows.assign(arm=rows["arm"].map({"active": 1.0, "sham": 2.0}))


def spss(table, folder):
    import pyreadstat

    labels = {"arm": {1.0: "active", 2.0: "sham"}}
    rows = coded(table).rename(columns=lambda c: c.replace(".", "_"))
    pyreadstat.write_sav(rows, str(folder / "t.sav"), variable_value_labels=labels)
    return [folder / "t.sav"]


def stata(table, folder):
    rows = coded(table).rename(columns=lambda c: c.replace(".", "_")).astype({"arm": int})
    path = folder / "t.dta"
    rows.to_stata(path, write_index=False, value_labels={"arm": {1: "active", 2: "sham"}})
    return [path]


def redcap(table, folder):
    rows = table.rename(columns={"id": "record_id", "arm": "randomisation", "total": "hamd_total"})
    rows["redcap_event_name"] = rows.pop("visit").replace("baseline", "week0")
    rows["redcap_event_name"] = rows["redcap_event_name"].str.replace("week", "week_") + "_arm_1"
    rows = rows.rename(columns={name: f"hamd_{name[5:]}" for name in ITEMS})
    rows["randomisation"] = rows["randomisation"].map({"active": "1", "sham": "2"})
    later = rows["redcap_event_name"] != "week_0_arm_1"
    rows.loc[later, ["age", "randomisation", "sex"]] = None
    rows["hamd_complete"] = 2
    book = pd.DataFrame(
        {
            reading.DICTIONARY: ["randomisation"],
            "Field Label": ["Arm"],
            "Choices, Calculations, OR Slider Labels": ["1, active | 2, sham"],
        }
    )
    return csv(rows, folder / "t.csv") + csv(book, folder / "dictionary.csv")


def arms_in_events(table, folder):
    """REDCap's export of a longitudinal project with two arms, which only the events name."""
    events = table["visit"].str.replace("week", "week_") + "_arm_"
    events += table["arm"].map({"active": "2", "sham": "1"})
    rows = pd.DataFrame({"record_id": table["id"], "redcap_event_name": events})
    rows["age"] = table["age"].where(table["visit"] == "baseline")
    return csv(rows.assign(hamd_total=table["total"], hamd_complete=2), folder / "t.csv")


def bids(table, folder):
    (folder / "raw/phenotype").mkdir(parents=True)
    rows = table.assign(participant_id="sub-" + table["id"], session_id="ses-" + table["visit"])
    csv(
        rows[["participant_id", "arm", "age", "sex"]].drop_duplicates(),
        folder / "raw/participants.tsv",
        sep="\t",
    )
    csv(
        rows[["participant_id", "session_id", "total"]], folder / "raw/phenotype/hamd.tsv", sep="\t"
    )
    return [folder / "raw"]


SHAPES = {
    long_csv: {},
    wide_weeks: {},
    wide_items: RENAMED,
    wide_sessions: {},
    wide_before: {},
    excel_in_two_sheets: {},
    two_files: {},
    spss: {},
    stata: {},
    redcap: {},
    bids: {},
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_each_shape_comes_back_cell_by_cell(tmp_path, shape):
    table = trial()
    table.loc[[2, 10], ["total", *ITEMS]] = None
    done = import_edited(shape(table, tmp_path), tmp_path / "new", SHAPES[shape])
    columns = ["total", *ITEMS] if shape in (wide_items, redcap) else ["total"]
    assert written(done.path) == expected(table, columns)
    study = load_study(done.path)
    assert study.visits == VISITS
    assert dict(read_participants(study).set_index("participant_id")["arm"]) == {
        f"sub-{who}": {"active": "active", "sham": "control"}[arm]
        for who, arm in people(table)["arm"].items()
    }
    assert done.misfits == ()


def test_several_scales_and_spellings_of_missing(tmp_path):
    table = trial()
    rows = wide(table, lambda c, _: f"HAMD_{c}", ["w0", "w2", "w4"]).astype(object)
    rows["MADRS_w0"], rows["bdi.2w"] = "n/a", ["#N/A", "NA", ".", " ", "7,5", "8", "-", "nan"]
    rows.loc[0, "HAMD_w2"] = -99
    rows.loc[7, "MADRS_w0"] = "33"
    done = import_edited(
        csv(rows, tmp_path / "t.csv", sep=";"), tmp_path / "new", {"primary": "HAMD-17"}
    )
    table.loc[1, "total"] = None
    assert written(done.path) == expected(table)
    assert written(done.path, "madrs") == {("sub-P08", "ses-baseline", "total"): 33}
    assert written(done.path, "bdi") == {
        ("sub-P05", "ses-week2", "total"): 7.5,
        ("sub-P06", "ses-week2", "total"): 8,
    }
    assert load_study(done.path).primary_scale.name == "HAMD-17"


def test_a_baseline_in_every_row_goes_to_the_first_visit(tmp_path):
    table = trial()
    first = table[table["visit"] == "baseline"].set_index("id")["total"]
    later = table[table["visit"] != "baseline"].rename(
        columns={"total": "HAMDTL17", "visit": "VISIT"}
    )
    later = later.assign(BASVAL=later["id"].map(first)).drop(columns=ITEMS)
    done = import_study(csv(later, tmp_path / "t.csv"), tmp_path / "new")
    assert written(done.path) == expected(table)


def test_people_without_an_id_are_numbered_and_names_are_not_copied(tmp_path):
    rows = wide(trial(), lambda c, _: f"HAMD_{c}", ["w0", "w2", "w4"])
    nameless = import_study(csv(rows.drop(columns="id"), tmp_path / "a.csv"), tmp_path / "a")
    rows = rows.rename(columns={"id": "Name"})
    rows["Name"] = [f"Müller, Eva{'xyzabcde'[k]}" for k in range(8)]
    rows["born"], rows["remark"] = "1980-05-17", [f"lives with aunt {k}, shy" for k in "abcdefgh"]
    named = import_study(csv(rows, tmp_path / "b.csv"), tmp_path / "b")
    for done in (nameless, named):
        ids = pd.read_csv(done.path.parent / "bids/participants.tsv", sep="\t")["participant_id"]
        assert list(ids) == [f"sub-0{k}" for k in range(1, 9)]
    public = [p for p in named.path.parent.rglob("*") if p.is_file() and "private" not in p.parts]
    text = "".join(path.read_text(encoding="utf-8") for path in public)
    assert not any(word in text for word in ("Müller", "1980", "aunt"))
    key = (named.path.parent / "private/participants.key.tsv").read_text(encoding="utf-8")
    assert "sub-01\tMüller, Evax" in key


def test_a_third_arm_is_left_out_and_the_question_names_the_lines(tmp_path):
    rows = wide(trial(12, ("cbt", "nfb", "no_treatment")), lambda c, _: f"MADRS_{c}", "012")
    files = csv(rows, tmp_path / "t.csv")
    with pytest.raises(OpenQuestions) as caught:
        import_study(files, tmp_path / "new")
    lines = (tmp_path / "new/import.yml").read_text().splitlines()
    assert len(caught.value.problems) == len(caught.value.questions) == 2
    for question in caught.value.questions:
        assert question["key"] in lines[question["line"] - 1]
    assert "weeks since baseline of the visits (visit0, visit1, visit2)? Guessed: 0, 1, 2" in str(
        caught.value
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["import.yml"]
    arms = {"column": "arm", "active": "cbt", "control": "nfb", "left_out": ["no_treatment"]}
    done = import_edited(files, tmp_path / "new", {"arms": arms} | WEEKS)
    read = read_participants(load_study(done.path))
    assert read["arm"].value_counts().to_dict() == {"active": 4, "control": 4}
    assert read["excluded"].notna().sum() == 4


def test_the_same_files_give_the_same_folder_and_the_mapping_alone_decides(tmp_path):
    files = long_csv(trial(), tmp_path)
    source = files[0].read_bytes()
    for name in ("a", "b"):
        import_study(files, tmp_path / name / "trial")
    first, second = (
        {
            p.relative_to(tmp_path / n): p.read_bytes()
            for p in (tmp_path / n).rglob("*")
            if p.is_file()
        }
        for n in ("a", "b")
    )
    assert first == second
    mapping = tmp_path / "a/trial/import.yml"
    text = (
        mapping.read_text()
        .replace("active: active", "active: sham")
        .replace("control: sham", "control: active")
    )
    mapping.write_text(text)
    done = import_study(files, tmp_path / "a/trial")
    assert load_study(done.path).arms.active == "sham"
    assert mapping.read_text() == text
    assert files[0].read_bytes() == source


def test_a_file_changed_by_hand_is_not_overwritten(tmp_path):
    files = long_csv(trial(), tmp_path)
    done = import_study(files, tmp_path / "new")
    with done.path.open("a") as study_file:
        study_file.write("accept: [outlier]\n")
    with pytest.raises(WrongFile, match=r"new\.yml: changed since it was imported"):
        import_study(files, tmp_path / "new")
    with pytest.raises(WrongFile, match="a new or empty folder"):
        import_study(files, tmp_path)


def test_a_disk_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    files = long_csv(trial(), tmp_path)
    monkeypatch.setattr("analysis_lib.importing.studies.load_study", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_study(files, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["import.yml"]
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "new"}


def test_what_does_not_fit_is_listed_on_the_page(tmp_path):
    table = trial()
    files = wide_items(table.assign(total=table["total"] + (table.index == 4)), tmp_path)
    rows = pd.read_csv(files[0], sep=";", encoding="utf-16")
    rows.loc[0, "HAMD2.3"] += 22
    csv(rows, files[0])
    done = import_edited(files, tmp_path / "new", RENAMED)
    page = (tmp_path / "new/private/what_was_read.md").read_text()
    assert [misfit in page for misfit in done.misfits] == [True] * 3
    assert "HAMD-17, sub-P01, week2: item_03 2" in page
    assert "but its items add up to" in page


def test_ids_padded_in_one_of_two_files_are_the_same_people(tmp_path):
    rows = wide(trial(), lambda code, _: f"HAMD_{code}", ["w0", "w2", "w4"])
    own = rows[["id", "arm", "age"]].assign(id=range(1, 9)).rename(columns={"arm": "given"})
    scores = rows.drop(columns=["arm", "age", "sex"]).assign(id=[f"0{k}" for k in range(1, 9)])
    files = csv(own, tmp_path / "a.csv") + csv(scores, tmp_path / "b.csv")
    done = import_study(files, tmp_path / "new")  # the arm is known by its words alone
    assert done.misfits == ()
    assert {who for who, _, _ in written(done.path)} == {f"sub-0{k}" for k in range(1, 9)}
    assert load_study(done.path).arms.control == "sham"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a table with a header and rows"),
        (b"id,HAMD_w0\n", "a table with a header and rows"),
        (bytes(range(256)), "null bytes"),
        (b"id,HAMD_w0,HAMD_w0\n1,4,5\n1,4,6\n", "one row per visit expected, found two of sub-1"),
    ],
)
def test_a_file_that_holds_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(StudyError, match=message):
        import_edited([tmp_path / "t.csv"], tmp_path / "new", {"weeks": "0"})


def test_a_mapping_that_does_not_fit_together_is_told_at_once(tmp_path):
    files = long_csv(trial(), tmp_path)
    import_study(files, tmp_path / "new")
    wrong = {"weeks": "0, 2", "primary": "MADRS", "tables/t.csv/participants": {"age": "Age"}}
    edit(tmp_path / "new", wrong)
    with pytest.raises(StudyError) as caught:
        import_study(files, tmp_path / "new")
    told = str(caught.value)
    for part in (
        "t.csv: column 'Age' expected, found id, arm, age, sex, visit",
        "import.yml: weeks: 3, one for each of visits expected, found 2",
        "import.yml: primary: one of HAMD-17 expected, found MADRS",
        "import.yml: arms.column: a column under participants expected",
    ):
        assert part in told


def test_items_that_are_not_the_whole_scale_are_not_summed_unasked(tmp_path):
    rows = trial()[["id", "arm", "visit", *ITEMS[:4]]]
    rows.columns = ["id", "arm", "visit", *(f"HAMD_{k}" for k in range(1, 5))]
    with pytest.raises(OpenQuestions, match=r"items: which column it is\? Guessed: HAMD_\{item\}"):
        import_study(csv(rows, tmp_path / "t.csv"), tmp_path / "new")


def test_a_scale_that_is_not_known_asks_for_its_range_alone(tmp_path):
    rows = wide(trial(), lambda code, _: f"Foo_{code}", ["w0", "w2", "w4"])
    edits = {"scales/Foo/range": [0, 60]}
    done = import_edited(csv(rows, tmp_path / "t.csv"), tmp_path / "new", edits)
    assert written(done.path, "foo") == expected(trial())
    assert load_study(done.path).primary_scale.range == (0, 60)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.replace({"HAMD": {t["HAMD"][0]: "17 (tired)"}}), "scores that are numbers"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), "one row per visit expected, found two of sub-P02"),
        (lambda t: t.assign(arm=["active", *t["arm"][1:]]), "one arm per participant"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_place(tmp_path, spoil, message):
    files = long_csv(trial(), tmp_path)
    import_study(files, tmp_path / "new")
    csv(spoil(pd.read_csv(files[0]).astype(object)), files[0])
    with pytest.raises(StudyError, match=message):
        import_study(files, tmp_path / "new")


def test_effect_sizes_by_region_are_for_compare_map(tmp_path):
    files = csv(pd.DataFrame({"Structure": ["Lhippo"], "d_icv": [0.1]}), tmp_path / "t.csv")
    with pytest.raises(StudyError, match=r"compare-map t\.csv"):
        import_study(files, tmp_path / "new")


def test_arms_that_only_the_events_name_are_asked_for(tmp_path):
    files = arms_in_events(trial(), tmp_path)
    with pytest.raises(OpenQuestions) as caught:
        import_study(files, tmp_path / "new")
    assert [q["place"] for q in caught.value.questions] == ["arms.active", "arms.control"]
    mapping = yaml.safe_load((tmp_path / "new/import.yml").read_text())
    assert mapping["visits"] == {k: [k.replace("week", "week_")] for k in VISITS}
    assert mapping["tables"]["t.csv"]["participants"]["arm"] == "arm in redcap_event_name"
    done = import_edited(files, tmp_path / "new", {"arms/active": "2", "arms/control": "1"})
    assert written(done.path) == expected(trial())
    assert load_study(done.path).visits == VISITS
    assert load_study(done.path).arm_names == {"active": "active", "control": "control"}
    named = read_participants(load_study(done.path)).set_index("participant_id")["arm"]
    assert named["sub-P01"] == "control"  # sham, arm 1
    assert named["sub-P02"] == "active"


def test_events_of_two_arms_are_refused_with_their_row(tmp_path):
    files = arms_in_events(trial(), tmp_path)
    rows = pd.read_csv(files[0])
    rows.loc[4, "redcap_event_name"] = "week_2_arm_1"  # the second visit of P02, who is in arm 2
    with pytest.raises(StudyError, match="found sub-P02: 2 and, in row 6, 1"):
        import_edited(csv(rows, files[0]), tmp_path / "new", {"arms/active": 2, "arms/control": 1})


def test_what_is_written_is_valid_bids(tmp_path):
    done = import_study(long_csv(trial(), tmp_path), tmp_path / "new")
    program = Path(sys.executable).with_name("bids-validator-deno")
    config = PROJECT / "data/bids_validator_config.json"
    command = [program, "--config", config, "--format", "json", done.path.parent / "bids"]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(out.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_ratings_are_what_the_notebooks_read(tmp_path):
    done = import_study(long_csv(trial(), tmp_path), tmp_path / "new")
    ratings = read_ratings(load_study(done.path))
    assert ratings["score"].tolist() == trial()["total"].tolist()
