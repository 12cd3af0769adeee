"""Pseudonyms and declared words: what the readers of a protected study give."""

import pandas as pd
import pytest
from conftest import lines

from analysis_lib.clinical.baseline import SUPPRESSED, baseline_table
from analysis_lib.results import begin
from analysis_lib.results.problems import StudyError
from analysis_lib.results.section import UNTOLD, Section
from analysis_lib.study import conduct, participants, pseudonyms, scores
from analysis_lib.study.contract import load_study

EVENTS = ["participant_id", "session_id", "term", "severity", "serious", "related"]


@pytest.fixture
def real(tiny, monkeypatch):
    """The tiny trial as one of real people."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tiny.folder / "out"))
    tiny.content.pop("public")
    return tiny


def write_events(tiny, *rows):
    table = pd.DataFrame(rows, columns=EVENTS)
    table.to_csv(tiny.folder / "bids" / "adverse_events.tsv", sep="\t", index=False)


def test_pseudonyms_are_drawn_once_and_extended(real):
    first = pseudonyms.made_key(real.write())
    assert len(set(first.values())) == 8
    assert all(name.startswith("sub-P") and len(name) == 9 for name in first.values())
    assert pseudonyms.made_key(real.write()) == first
    newcomer = real.participants.iloc[[0]].assign(participant_id="sub-99")
    real.participants = pd.concat([real.participants, newcomer], ignore_index=True)
    later = pseudonyms.made_key(real.write())
    assert {who: later[who] for who in first} == first
    assert set(later) - set(first) == {"sub-99"}
    assert pseudonyms.read_key(load_study(real.folder / "tiny.yml")) == later


def test_order_and_numbers_of_pseudonyms_tell_nothing_of_the_ids(real):
    study, orders = real.write(), set()
    for _ in range(5):
        pseudonyms.key_path(study).unlink(missing_ok=True)
        names = pseudonyms.made_key(study)
        orders.add(tuple(sorted(names, key=names.get)))
    assert len(orders) > 1  # all alike: once in 40,320 ** 4 times


def test_every_reader_gives_pseudonyms_and_the_same_scores(real):
    plain = real.write()
    study = pseudonyms.pseudonymised(plain)
    names = study.names
    people, own = participants.read_participants(study), participants.read_participants(plain)
    assert people["participant_id"].tolist() == sorted(names.values())
    ages = own.set_index(own["participant_id"].map(names))["age"]
    assert people.set_index("participant_id")["age"].to_dict() == ages.to_dict()
    rated, given = (scores.read_ratings(s) for s in (study, plain))
    given["participant_id"] = given["participant_id"].map(names)
    keys = ["participant_id", "scale", "visit"]
    pd.testing.assert_frame_equal(
        rated.sort_values(keys, ignore_index=True), given.sort_values(keys, ignore_index=True)
    )


def test_open_and_simulated_data_keep_their_names_and_get_no_key(real):
    for key in ("public", "simulated"):
        real.content = {k: v for k, v in real.content.items() if k != "public"} | {key: True}
        study = pseudonyms.pseudonymised(real.write())
        assert not study.names
        assert not study.protected
        assert participants.read_participants(study)["participant_id"][0] == "sub-01"
        assert not pseudonyms.key_path(study).exists()
        real.content.pop(key)
    named = load_study(real.write().path, identifiable=True)
    assert (named.protected, named.label) == (False, "IDENTIFIABLE")


def test_a_key_that_is_no_key_is_refused(real):
    study = real.write()
    pseudonyms.key_path(study).write_text("participant_id\tpseudonym\nsub-01\tsub-01\n")
    with pytest.raises(StudyError, match=r"tiny\.key\.tsv: columns participant_id and pseudonym"):
        pseudonyms.pseudonymised(study)


def test_free_text_is_other_unless_a_list_declares_it(real):
    reasons = ["Claustrophobia ", "n/a", "rang up, 0171 555", *["n/a"] * 5]
    real.participants["image_missing"] = reasons
    real.content["declared"] = {"image_missing": ["claustrophobia"]}
    study = pseudonyms.pseudonymised(real.write())
    found = participants.read_participants(study)["image_missing"].dropna()
    assert sorted(found) == ["Claustrophobia ", "other"]
    (warned,) = lines(pseudonyms.problems(study))
    assert "'rang up, 0171 555' will be called \"other\"" in warned
    assert "laustrophobia" not in warned


def test_rare_words_of_a_stratum_are_numbered_and_stay_apart(real):
    real.participants["site"] = ["north"] * 5 + ["Dr Low", "Dr Low", "Dr High"]
    real.content["strata"] = ["site"]
    study = pseudonyms.pseudonymised(real.write())
    found = participants.read_participants(study)["site"].value_counts().to_dict()
    assert found.pop("north") == 5
    assert sorted(found) == ["other 1", "other 2"]
    assert sorted(found.values()) == [1, 2]


def test_levels_of_the_json_file_beside_a_table_count_as_declared(real):
    real.participants["site"] = ["north"] * 5 + ["south"] * 3
    real.content["strata"] = ["site"]
    study = pseudonyms.pseudonymised(real.write())
    (study.root / "participants.json").write_text(
        '{"site": {"Levels": {"north": "", "south": ""}}}'
    )
    assert set(participants.read_participants(study)["site"]) == {"north", "south"}


def test_rare_and_undeclared_adverse_events_are_joined_and_serious_ones_are_not(real):
    ids = list(real.participants["participant_id"])
    real.content["declared"] = {"term": ["headache", "nausea", "seizure"]}
    study = real.write()
    rows = [(who, "ses-week1", "headache", "mild", "no", "yes") for who in ids[:5]]
    rows += [(who, "ses-week1", "nausea", "mild", "no", "yes") for who in ids[:4]]
    rows += [(who, "ses-week1", "scalp pain", "mild", "no", "yes") for who in ids[:6]]
    rows += [(ids[7], "ses-week2", "seizure", "severe", "yes", "yes")]
    write_events(real, *rows)
    study = pseudonyms.pseudonymised(study)
    people = participants.read_participants(study)
    terms = conduct.read_adverse_events(study, people)["term"].value_counts().to_dict()
    assert terms == {"other": 10, "headache": 5, "seizure": 1}


def test_small_cells_of_table_1_are_suppressed_with_one_that_gives_them_away(real):
    real.participants["sex"] = ["F", "F", "M", "F"] * 2  # active: 2 F and 2 M
    real.content["declared"] = {"sex": ["F", "M"]}
    study = pseudonyms.pseudonymised(real.write())
    people = participants.read_participants(study)
    twice = pd.concat([people, people, people.assign(sex="F")], ignore_index=True)
    rows = baseline_table(study, twice, scores.read_ratings(study, people).iloc[:0])
    rows = rows.set_index("variable")
    assert rows.loc["sex: M", ["active", "control"]].tolist() == [SUPPRESSED] * 2
    assert rows.loc["sex: F", "active"] == SUPPRESSED  # 12 less the four men
    assert rows.loc[["sex: F", "sex: M"], "standardised_mean_difference"].isna().all()
    assert rows.loc["age", "active"].endswith(")")  # means are of arms


def test_tables_about_participants_lie_apart_and_are_read_back(real, capsys):
    study = pseudonyms.pseudonymised(real.write())
    made = begin(study, "vbm")
    change = pd.DataFrame({"participant_id": ["sub-P1"], "region": ["a"], "change": [1.0]})
    made.keep(parcel_change=change, region_means=change[["region"]], settings={"quick": False})
    assert made.table("parcel_change").equals(change)
    made.publish({"n": (1, "parcel_change.tsv"), "m": (2, "region_means.tsv")})
    assert made.table("parcel_change").equals(change)
    assert Section(study, "vbm").table("parcel_change").equals(change)
    assert {p.name for p in (study.derived / "vbm").glob("*.tsv")} == {"region_means.tsv"}
    assert {p.name for p in (study.private / "vbm").glob("*.tsv")} == {"parcel_change.tsv"}
    assert (
        '"source": "private/vbm/parcel_change.tsv"' in (study.derived / "numbers.json").read_text()
    )
    begin(study, "vbm").publish()
    assert not list((study.private / "vbm").iterdir())  # nothing of an earlier run stays
    assert "private/vbm/parcel_change.tsv" in capsys.readouterr().out


def test_a_note_quotes_no_cell_of_a_table(real, capsys):
    study = pseudonyms.pseudonymised(real.write())
    made = begin(study, "clinical")
    with made.part("Table 1"):
        raise StudyError("participants.tsv: age: a number expected, found 'Dr Low'")
    with made.part("Items"):
        raise ValueError("fewer than two rated")
    assert [note["reason"] for note in made.notes] == [UNTOLD, "fewer than two rated"]
    assert "Dr Low" not in capsys.readouterr().out
