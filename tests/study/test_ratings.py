"""Participants and scales: what is read, and what bad tables are told."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import lines

from analysis_lib.results.problems import StudyError
from analysis_lib.study import items, participants
from analysis_lib.study import scores as study_scores
from analysis_lib.study.contract import load_study
from analysis_lib.study.visit_days import visit_days


def problems(tiny):
    return lines(study_scores.problems(tiny.write()))


def only_problem(tiny):
    found = problems(tiny)
    assert len(found) == 1, found
    return found[0]


def hamd(tiny):
    """The primary scale's table as it will be written."""
    return tiny.scales["hamd17.tsv"]


def use_items(tiny, n_items=3):
    """Split the totals of the primary scale into items and drop the total."""
    table = hamd(tiny)
    totals = table.pop("total")
    for i in range(n_items):
        values = [int(total) // n_items for total in totals]
        table[f"item_{i + 1:02d}"] = pd.Series(values, table.index, dtype=object)
    return table


# --- what is read


def test_valid_trial_has_no_problems(tiny):
    assert problems(tiny) == []


def test_participants_are_tidy(tiny):
    tiny.participants.loc[2, "withdrawn_after"] = "week1"
    people = participants.read_participants(tiny.write())
    assert list(people["arm"]) == ["active", "control"] * 4
    assert people["age"].dtype == float
    assert list(people["withdrawn_after"].dropna()) == ["week1"]
    assert people["excluded"].isna().all()


def test_arm_codes_may_be_numbers(tiny):
    tiny.content["arms"] = {"column": "group", "active": 2, "control": 1}
    codes = [2, 1] * 4
    tiny.participants = tiny.participants.drop(columns="arm").assign(group=codes)
    people = participants.read_participants(tiny.write())
    assert list(people["arm"]) == ["active", "control"] * 4
    assert "group" not in people


def test_column_withdrawn_after_is_optional(tiny):
    tiny.participants = tiny.participants.drop(columns="withdrawn_after")
    assert participants.read_participants(tiny.write())["withdrawn_after"].isna().all()


def test_scores_are_in_the_order_of_participants_and_visits(tiny):
    tiny.scales["hamd17.tsv"] = hamd(tiny).sample(frac=1, random_state=0)
    study = tiny.write()
    scores = study_scores.read_scale(study, study.primary_scale)
    assert list(scores["participant_id"].iloc[:4]) == ["sub-01"] * 3 + ["sub-02"]
    assert list(scores["visit"].iloc[:3]) == ["baseline", "week1", "week2"]
    assert list(scores["week"].iloc[:3]) == [0, 1, 2]
    assert list(scores["score"].iloc[:3]) == [24, 19, 14]


def test_sessions_may_be_written_without_prefix(tiny):
    hamd(tiny)["session_id"] = hamd(tiny)["session_id"].str.removeprefix("ses-")
    study = tiny.write()
    assert len(study_scores.read_scale(study, study.primary_scale)) == 24


def test_sessions_outside_the_trial_are_left_out_when_the_study_names_them(tiny):
    hamd(tiny).loc[24] = ["sub-01", "ses-month6", 3]
    assert "a session of the study" in only_problem(tiny)
    tiny.content["other_sessions"] = ["month6"]
    study = tiny.write()
    assert len(study_scores.read_scale(study, study.primary_scale)) == 24


def test_score_that_was_not_taken_is_missing_not_zero(tiny):
    hamd(tiny).loc[1, "total"] = "n/a"
    study = tiny.write()
    scores = study_scores.read_scale(study, study.primary_scale)
    assert scores["score"].isna().sum() == 1
    assert np.isnan(scores.loc[1, "score"])


def test_items_are_summed_when_there_is_no_total(tiny):
    use_items(tiny)
    study = tiny.write()
    scores = study_scores.read_scale(study, study.primary_scale)
    assert scores.loc[0, "score"] == 24
    assert scores.loc[0, "item_02"] == 8


def test_missing_item_makes_the_total_missing(tiny):
    use_items(tiny).loc[0, "item_02"] = "n/a"
    study = tiny.write()
    scores = study_scores.read_scale(study, study.primary_scale)
    assert np.isnan(scores.loc[0, "score"])
    assert scores["score"].isna().sum() == 1


def test_excluded_participants_are_marked_and_their_scores_left_out(tiny):
    tiny.content["exclude"] = {"exclusion": 1}
    tiny.participants["exclusion"] = [0, 1, 0, 0, 0, 0, 0, 0]
    study = tiny.write()
    people = participants.read_participants(study)
    assert list(people["excluded"].dropna()) == ["exclusion"]
    scores = study_scores.read_ratings(study, people)
    assert len(people) == 8
    assert "sub-02" not in set(scores["participant_id"])
    assert len(scores) == 2 * 7 * 3


# --- bad participants.tsv


def test_misspelt_covariate_column_gets_a_suggestion(tiny):
    tiny.participants = tiny.participants.rename(columns={"age": "agee"})
    assert only_problem(tiny) == (
        "participants.tsv: column 'age' expected, found participant_id, arm, agee, sex, "
        "withdrawn_after; did you mean 'agee'? Rename it in the file or in tiny.yml"
    )


def test_missing_arm_column_is_named(tiny):
    tiny.participants = tiny.participants.drop(columns="arm").rename(columns={"sex": "gender"})
    tiny.content["covariates"] = []
    assert only_problem(tiny) == (
        "participants.tsv: column 'arm' expected, found participant_id, age, gender, "
        "withdrawn_after. Rename it in the file or in tiny.yml"
    )


def test_unknown_arm_is_shown_with_its_row(tiny):
    tiny.participants.loc[2, "arm"] = "Active"
    assert only_problem(tiny) == (
        "participants.tsv: arm: one of active or sham expected, found row 4 (sub-03): 'Active'; "
        "did you mean 'active'?"
    )


def test_missing_arm_is_refused(tiny):
    tiny.participants.loc[2, "arm"] = "n/a"
    assert only_problem(tiny) == (
        "participants.tsv: arm: a value expected, found row 4 (sub-03): n/a"
    )


def test_duplicated_participant_is_shown_with_both_rows(tiny):
    tiny.participants.loc[3, "participant_id"] = "sub-01"
    first, *others = problems(tiny)
    assert first == (
        "participants.tsv: participant_id: each participant_id once expected, "
        "found row 2 (sub-01): 'sub-01'; row 5 (sub-01): 'sub-01'"
    )
    assert len(others) == 2  # both scales have a sub-04, whom participants.tsv now lacks
    assert all("in participants.tsv expected" in other and "sub-04" in other for other in others)


def test_participant_id_needs_its_prefix(tiny):
    tiny.participants.loc[0, "participant_id"] = "01"
    assert only_problem(tiny) == (
        "participants.tsv: participant_id: sub- and letters or digits expected, "
        "found row 2 (01): '01'; did you mean 'sub-01'?"
    )


def test_withdrawal_after_an_unknown_visit_is_refused(tiny):
    tiny.participants.loc[0, "withdrawn_after"] = "week7"
    assert only_problem(tiny) == (
        "participants.tsv: withdrawn_after: n/a or a visit (baseline, week1, week2) expected, "
        "found row 2 (sub-01): 'week7'"
    )


def test_empty_cell_is_not_taken_for_missing(tiny):
    tiny.participants.loc[5, "sex"] = ""
    assert only_problem(tiny) == (
        "participants.tsv: sex: a value or n/a expected, found row 7 (sub-06): ''"
    )


def test_absent_file_is_named(tiny):
    study = tiny.write()
    (study.root / "participants.tsv").unlink()
    (found,) = lines(study_scores.problems(study))
    assert found == f"participants.tsv: file expected in {study.root}, found none."


def test_table_without_rows_is_refused(tiny):
    tiny.participants = tiny.participants.iloc[:0]
    assert only_problem(tiny) == (
        "participants.tsv: rows expected, one a participant, found none. Fill it in"
    )


def test_arm_without_participants_is_refused(tiny):
    tiny.participants["arm"] = "active"
    assert only_problem(tiny) == (
        "participants.tsv: arm: participants of both arms expected, found none of sham"
    )


def test_blank_lines_do_not_shift_the_row_that_is_named(tiny):
    tiny.participants.loc[4, "arm"] = "actve"
    study = tiny.write()
    path = study.root / "participants.tsv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:3], "", *rows[3:], "", ""]))
    (found,) = lines(study_scores.problems(study))
    assert found.endswith("found row 7 (sub-05): 'actve'")


def test_blank_lines_change_nothing_else(tiny):
    study = tiny.write()
    expected = participants.read_participants(study), study_scores.read_ratings(study)
    for path in study.root.rglob("*.tsv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:3], "", *lines[3:], ""]))
    pd.testing.assert_frame_equal(participants.read_participants(study), expected[0])
    pd.testing.assert_frame_equal(study_scores.read_ratings(study), expected[1])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"participant_id\tarm\nsub-01\tactive\textra\textra\n",
        "participant_id\té".encode("latin1"),
    ],
)
def test_file_that_is_no_table_is_named(tiny, content):
    study = tiny.write()
    (study.root / "participants.tsv").write_bytes(content)
    (found,) = lines(study_scores.problems(study))
    assert found.startswith(
        "participants.tsv: a table in UTF-8, tabs between columns, expected, found: "
    )


def test_row_that_is_too_short_is_refused(tiny):
    study = tiny.write()
    path = study.root / "participants.tsv"
    path.write_text(path.read_text() + "sub-09\tactive\n")
    assert "participants.tsv: age: a value or n/a expected, found row 10 (sub-09): ''" in (
        lines(study_scores.problems(study))
    )


# --- bad scales


def test_misspelt_score_column_gets_a_suggestion(tiny):
    tiny.scales["hamd17.tsv"] = hamd(tiny).rename(columns={"total": "totl"})
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: column 'total' expected, found participant_id, session_id, totl; "
        "did you mean 'totl'? Rename it in the file or in tiny.yml"
    )


def test_score_outside_its_range_is_shown(tiny):
    hamd(tiny).loc[4, "total"] = 70
    hamd(tiny).loc[5, "total"] = -1
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: total: a number from 0 to 52 expected, "
        "found row 6 (sub-02, ses-week1): 70; row 7 (sub-02, ses-week2): -1"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2o", ""),
        ("nan", ". Missing is written n/a"),
        ("NA", ". Missing is written n/a"),
        ("12,5", ". Write a decimal point, not a comma"),
    ],
)
def test_score_that_is_no_number_is_shown(tiny, text, hint):
    hamd(tiny).loc[4, "total"] = text
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: total: a number expected, "
        f"found row 6 (sub-02, ses-week1): '{text}'{hint}"
    )


def test_infinite_score_is_refused(tiny):
    hamd(tiny).loc[4, "total"] = "inf"
    assert "a number from 0 to 52 expected" in only_problem(tiny)


def test_empty_score_is_refused(tiny):
    hamd(tiny).loc[4, "total"] = ""
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: total: a value or n/a expected, found row 6 (sub-02, ses-week1): ''"
    )


def test_unknown_visit_is_shown(tiny):
    hamd(tiny).loc[4, "session_id"] = "ses-wk1"
    found = only_problem(tiny)
    assert found.startswith("phenotype/hamd17.tsv: session_id: a session of the study (ses-basel")
    assert found.endswith("expected, found row 6 (sub-02, ses-wk1): 'ses-wk1'")


def test_rating_of_a_stranger_is_shown(tiny):
    hamd(tiny).loc[4, "participant_id"] = "sub-99"
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: participant_id: in participants.tsv expected, "
        "found row 6 (sub-99, ses-week1): 'sub-99'"
    )


def test_duplicated_participant_and_visit_is_shown_with_both_rows(tiny):
    hamd(tiny).loc[4, "session_id"] = "ses-baseline"
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: participant_id: each participant_id and visit once expected, found "
        "row 5 (sub-02, ses-baseline): 'sub-02'; row 6 (sub-02, ses-baseline): 'sub-02'"
    )


def test_duplicate_is_found_whether_or_not_the_prefix_is_written(tiny):
    hamd(tiny).loc[4, "session_id"] = "baseline"
    assert "each participant_id and visit once expected" in only_problem(tiny)


def test_total_that_is_not_the_sum_of_items_is_shown(tiny):
    totals = hamd(tiny)["total"].copy()
    table = use_items(tiny)
    table["total"] = table[["item_01", "item_02", "item_03"]].sum(axis=1)
    assert problems(tiny) == []
    table.loc[4, "total"] = totals[4] + 1
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: total: the sum of item_* expected, "
        "found row 6 (sub-02, ses-week1): 23"
    )


def test_sum_of_decimal_items_is_not_refused_for_rounding(tiny):
    table = use_items(tiny, n_items=1)
    table["item_01"], table["item_02"], table["total"] = 0.1, 0.2, 0.3
    table.loc[0, ["item_01", "total"]] = [0.7, 0.9]
    assert problems(tiny) == []


def test_sum_of_items_outside_the_range_is_refused(tiny):
    use_items(tiny, n_items=3)
    tiny.content["scales"][0]["range"] = [0, 22]
    assert only_problem(tiny).startswith(
        "phenotype/hamd17.tsv: item_*: items that add up to 0 to 22 expected, "
        "found row 2 (sub-01, ses-baseline): 24"
    )


def test_long_list_of_rows_is_cut_and_counted(tiny):
    hamd(tiny).loc[1:, "total"] = 99
    assert only_problem(tiny).endswith("row 7 (sub-02, ses-week2): 99 and 18 more")


def test_value_that_is_wrong_in_every_row_is_shown_once(tiny):
    hamd(tiny)["total"] = 99
    assert only_problem(tiny).endswith("a number from 0 to 52 expected, found 99 in every row")


def test_all_problems_of_all_scales_are_told_at_once(tiny):
    hamd(tiny).loc[4, "total"] = 70
    hamd(tiny).loc[7, "total"] = "x"
    hamd(tiny).loc[8, "participant_id"] = "sub-99"
    tiny.scales["hama.tsv"].loc[0, "session_id"] = "ses-w"
    found = problems(tiny)
    assert len(found) == 4
    assert sum("hama.tsv" in line for line in found) == 1


# --- baseline beside the later scores


def test_change_is_score_less_baseline(tiny):
    study = tiny.write()
    changes = study_scores.with_baseline(study, study_scores.read_ratings(study))
    row = changes[(changes["participant_id"] == "sub-01") & (changes["scale"] == "HAMD-17")]
    assert list(row["outcome"]) == [-5, -10]
    assert set(changes["kind"]) == {"change"}
    assert "baseline" not in list(changes["visit"].cat.categories)


def test_scale_without_baseline_is_analysed_as_values(tiny):
    table = tiny.scales["hama.tsv"]
    tiny.scales["hama.tsv"] = table[table["session_id"] != "ses-baseline"]
    study = tiny.write()
    changes = study_scores.with_baseline(study, study_scores.read_ratings(study))
    hama = changes[changes["scale"] == "HAMA"]
    assert set(hama["kind"]) == {"value"}
    assert (hama["outcome"] == hama["score"]).all()
    primary = changes[changes["scale"] == "HAMD-17"]
    assert list(hama["baseline"]) == list(primary["baseline"])
    assert set(primary["kind"]) == {"change"}


def test_participant_without_baseline_has_no_change(tiny):
    hamd(tiny).loc[0, "total"] = "n/a"
    study = tiny.write()
    changes = study_scores.with_baseline(study, study_scores.read_ratings(study))
    row = changes[(changes["participant_id"] == "sub-01") & (changes["scale"] == "HAMD-17")]
    assert len(row) == 2
    assert row["outcome"].isna().all()


def test_improvement_is_positive_when_the_score_falls(tiny):
    hamd(tiny).loc[5, "total"] = "n/a"
    study = tiny.write()
    fall = study_scores.improvement(
        study, study_scores.read_scale(study, study.primary_scale), "week2"
    )
    assert fall["sub-01"] == 10
    assert np.isnan(fall["sub-02"])
    assert len(fall) == 8


# --- covariates and strata


def test_covariates_are_centred_and_words_become_columns(tiny):
    tiny.participants["site"] = ["a", "b", "c", "a", "b", "c", "a", "b"]
    people = participants.read_participants(tiny.write())
    matrix = participants.covariate_matrix(people, ["age", "sex", "site"])
    assert list(matrix) == ["age", "sex_M", "site_b", "site_c"]
    np.testing.assert_allclose(matrix.mean(), 0, atol=1e-12)
    assert np.ptp(matrix["sex_M"]) == 1
    assert matrix["age"].iloc[1] - matrix["age"].iloc[0] == 11


def test_no_covariates_give_no_columns(tiny):
    people = participants.read_participants(tiny.write())
    assert participants.covariate_matrix(people, []).shape == (8, 0)


def test_missing_covariate_is_refused_by_name(tiny):
    tiny.participants.loc[[1, 4], "age"] = "n/a"
    people = participants.read_participants(tiny.write())
    with pytest.raises(StudyError) as caught:
        participants.covariate_matrix(people, ["age", "sex"])
    assert str(caught.value) == (
        "participants.tsv: sub-02, sub-05: a value of age, sex expected, found n/a. "
        "Give it, or leave the covariate out of the study file"
    )


def test_misspelt_number_does_not_turn_a_covariate_into_words(tiny):
    tiny.participants["age"] = ["3o", *range(31, 38)]
    assert only_problem(tiny) == (
        "participants.tsv: age: a number expected, found row 2 (sub-01): '3o'"
    )


def test_column_of_many_words_is_no_covariate():
    words = [f"word{i}" for i in range(9)]
    people = pd.DataFrame({"participant_id": words, "place": words})
    with pytest.raises(StudyError, match="Is one of them a misspelt number") as caught:
        participants.covariate_matrix(people, ["place"])
    assert "place: numbers, or at most 8 different words, expected, found 9 (word0" in str(
        caught.value
    )


def test_covariate_with_decimal_commas_is_refused(tiny):
    tiny.participants["age"] = [f"{age},5" for age in tiny.participants["age"]]
    found = only_problem(tiny)
    assert found.startswith(
        "participants.tsv: age: a number expected, found row 2 (sub-01): '30,5'"
    )
    assert found.endswith(" and 3 more. Write a decimal point, not a comma")


def test_word_in_two_spellings_is_refused(tiny):
    tiny.participants.loc[2, "sex"] = "m"
    found = only_problem(tiny)
    assert found.startswith(
        "participants.tsv: sex: one spelling expected, found row 4 (sub-03): 'm'"
    )
    assert "row 5 (sub-04): 'M'" in found


def test_levels_of_the_sidecar_are_the_words_expected(tiny):
    tiny.participants.loc[2, "sex"] = "male"
    assert problems(tiny) == []  # nothing says that it is none of the words
    study = tiny.write()
    sidecar = {"sex": {"Levels": {"F": "female", "M": "male"}}}
    (study.root / "participants.json").write_text(json.dumps(sidecar))
    assert lines(study_scores.problems(study)) == [
        "participants.tsv: sex: F or M, as participants.json says, expected, "
        "found row 4 (sub-03): 'male'"
    ]


def test_design_columns_follow_the_order_of_the_data(tiny):
    tiny.content["strata"] = ["site", "sex"]
    tiny.participants["site"] = [1, 2] * 4
    study = tiny.write()
    people = participants.read_participants(study)
    who = ["sub-04", "sub-01"]
    covariates, blocks = participants.design_columns(study, people, who)
    assert list(covariates["age"]) == [11, -11]  # 52 and 30, centred on these two
    assert blocks[0] != blocks[1]
    assert blocks[0].endswith(" / M")


def test_blocks_do_not_ask_for_covariates(tiny):
    tiny.content["strata"] = ["sex"]
    tiny.participants.loc[0, "age"] = "n/a"
    study = tiny.write()
    blocks = participants.randomisation_blocks(study, participants.read_participants(study))
    assert list(blocks[:3]) == ["F", "F", "M"]


def test_study_without_strata_has_no_blocks(tiny):
    study = tiny.write()
    people = participants.read_participants(study)
    assert participants.design_columns(study, people, people["participant_id"])[1] is None


def test_an_exclusion_that_nobody_meets_is_refused(tiny):
    tiny.participants["drop"] = 0
    tiny.content["exclude"] = {"drop": 2}
    with pytest.raises(StudyError, match=r"exclude: a value of column drop .* found 2, which"):
        participants.read_participants(tiny.write())


# --- tables as spreadsheets save them


def rewrite(tiny, change):
    """Write the trial, then participants.tsv anew: text to bytes."""
    study = tiny.write()
    path = study.root / "participants.tsv"
    path.write_bytes(change(path.read_text()))
    return study


def test_byte_order_mark_and_windows_line_ends_change_nothing(tiny):
    expected = participants.read_participants(tiny.write())
    study = rewrite(tiny, lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(participants.read_participants(study), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("\t", ";").encode(), "semicolons between columns. Save it as text"),
        (lambda t: t.replace("\t", ",").encode(), "commas between columns. Save it as text, tab-d"),
        (lambda t: t.encode("utf-16"), ". It is in UTF-16: save it as UTF-8"),
        (lambda t: t.replace("F", "é").encode("latin1"), ". Save it as text, tab-delimited, UTF-8"),
        (lambda _: b"PK\x03\x04\xff\xfe", ". It is a spreadsheet: save it as text"),
        (lambda t: t.replace("\n", "\t\t\n").encode(), "no name over column 6, 7. Delete the col"),
        (
            lambda t: t.replace("sub-02", "sub-02\tx").encode(),
            "(5): row 3. Delete what lies to the",
        ),
        (lambda t: t.replace("sex", "age").encode(), "two columns named age. Keep one"),
    ],
)
def test_table_in_another_shape_is_one_problem_that_says_how_to_save_it(tiny, change, words):
    (found,) = lines(study_scores.problems(rewrite(tiny, change)))
    assert found.startswith("participants.tsv: a table in UTF-8, tabs between columns, expected, ")
    assert words in found


# --- one mistake is one problem, and hides no other


def test_scales_are_checked_though_participants_have_problems(tiny):
    tiny.participants.loc[0, "arm"] = "verum"
    hamd(tiny).loc[4, "total"] = 70
    first, second = problems(tiny)
    assert "arm: one of active or sham" in first
    assert "hamd17.tsv: total" in second


def test_several_kinds_of_problem_in_one_scale_are_told_at_once(tiny):
    table = hamd(tiny)
    table.loc[4, "total"] = 70
    table.loc[9] = table.loc[10]
    found = problems(tiny)
    assert ["total" in f for f in found] == [True, False]
    assert "each participant_id and visit once" in found[1]


def test_capital_in_an_identifier_is_told_once_with_what_was_meant(tiny):
    tiny.participants.loc[0, "participant_id"] = "Sub-01"
    assert only_problem(tiny) == (
        "participants.tsv: participant_id: sub- and letters or digits expected, "
        "found row 2 (Sub-01): 'Sub-01'; did you mean 'sub-01'?"
    )


@pytest.mark.parametrize(
    ("column", "value", "meant"),
    [
        ("session_id", "Week 1", "ses-week1"),
        ("session_id", "ses-Week_1", "ses-week1"),
        ("participant_id", "2", "sub-02"),
        ("participant_id", "Sub-02", "sub-02"),
    ],
)
def test_near_miss_gets_a_suggestion(tiny, column, value, meant):
    hamd(tiny).loc[4, column] = value
    assert only_problem(tiny).endswith(f"'{value}'; did you mean '{meant}'?")


def test_empty_arm_is_told_once(tiny):
    tiny.participants["arm"] = ""
    assert only_problem(tiny) == "participants.tsv: arm: a value expected, found '' in every row"


def test_header_alone_is_told_of_every_table(tiny):
    tiny.participants = tiny.participants.iloc[:0]
    tiny.scales = {name: table.iloc[:0] for name, table in tiny.scales.items()}
    found = problems(tiny)
    assert [line.split(":")[0] for line in found] == [
        "participants.tsv",
        "phenotype/hamd17.tsv",
        "phenotype/hama.tsv",
    ]
    assert all("rows expected" in line and "Fill it in" in line for line in found)


def test_participant_without_a_row_is_named(tiny):
    tiny.scales["hama.tsv"] = tiny.scales["hama.tsv"].query("participant_id != 'sub-03'")
    assert only_problem(tiny) == (
        "phenotype/hama.tsv: a row of every participant expected, found none of sub-03. Add them; "
        "of a participant who was never rated, one with n/a"
    )
    row = {"participant_id": "sub-03", "session_id": "ses-week1", "total": "n/a"}
    tiny.scales["hama.tsv"] = pd.concat([tiny.scales["hama.tsv"], pd.DataFrame([row])])
    assert problems(tiny) == []


def test_participant_without_a_row_is_named_beside_other_problems(tiny):
    table = hamd(tiny).query("participant_id != 'sub-03'").reset_index(drop=True)
    table.loc[0, "participant_id"], table.loc[1, "total"], table.loc[2, "total"] = "1", "NA", "1,5"
    tiny.scales["hamd17.tsv"] = table
    gap, number, stranger = problems(tiny)
    assert "found none of sub-03" in gap
    assert number.endswith(". Missing is written n/a. Write a decimal point, not a comma")
    assert stranger.endswith("'1'; did you mean 'sub-01'?")


def test_participants_left_out_need_no_rows(tiny):
    tiny.content["exclude"] = {"exclusion": 1}
    tiny.participants["exclusion"] = [0, 1, 0, 0, 0, 0, 0, 0]
    for name, table in tiny.scales.items():
        tiny.scales[name] = table[table["participant_id"] != "sub-02"]
    assert problems(tiny) == []
    tiny.participants.loc[0, "arm"] = "verum"  # nor when participants.tsv has other problems
    assert "verum" in only_problem(tiny)


def test_primary_outcome_without_a_baseline_is_refused(tiny):
    tiny.scales["hamd17.tsv"] = hamd(tiny)[hamd(tiny)["session_id"] != "ses-baseline"]
    assert only_problem(tiny) == (
        "phenotype/hamd17.tsv: scores at ses-baseline expected, found none"
    )


def test_missing_covariate_matters_of_those_who_were_rated(tiny):
    tiny.participants.loc[1, "age"] = "n/a"
    assert only_problem(tiny) == (
        "participants.tsv: age: a value for every participant expected, found n/a of sub-02. Give "
        "it, or take age out of covariates in tiny.yml"
    )
    for table in tiny.scales.values():
        table.loc[table["participant_id"] == "sub-02", "total"] = "n/a"
    assert problems(tiny) == []


def test_what_can_be_told_of_participants_with_problems(tiny):
    tiny.participants["participant_id"] = [f"Sub-0{i}" for i in range(1, 9)]
    tiny.participants.loc[[0, 1], "withdrawn_after"] = ["Week 1", "week1"]
    people = study_scores.provisional_participants(tiny.write())
    assert list(people["participant_id"][:2]) == ["sub-01", "sub-02"]
    assert people["arm"].isna().all()
    assert list(people["withdrawn_after"].dropna()) == ["baseline", "week1"]


# --- items, days


def with_items(tiny, name, n, value):
    """The primary scale as `n` items of one value each, without totals."""
    tiny.content["scales"][0] |= {"name": name, "range": [0, 200]}
    tiny.content["scales"][0].pop("remission_at_most")
    table = tiny.scales["hamd17.tsv"].drop(columns="total")
    for k in range(1, n + 1):
        table[f"item_{k:02d}"] = value
    tiny.scales["hamd17.tsv"] = table
    return table


@pytest.mark.parametrize(
    ("name", "n", "item", "highest"),
    [
        ("HAMD-17", 17, 4, 2),
        ("HDRS", 17, 1, 4),
        ("HAMA", 14, 14, 4),
        ("MADRS", 10, 10, 6),
        ("BDI-II", 21, 21, 3),
        ("PHQ-9", 9, 9, 3),
        ("YMRS", 11, 5, 8),
        ("YMRS", 11, 7, 4),
        ("Other", 11, 7, 10),
        ("HAMD-17", 16, 4, 10),  # not the 17 items
    ],
)
def test_an_item_above_its_maximum_is_refused(tiny, name, n, item, highest):
    if name == "HAMA":
        del tiny.content["scales"][1]
    table = with_items(tiny, name, n, 1)
    table.loc[3, f"item_{item:02d}"] = highest
    study_scores.read_scale(tiny.write(), load_study(tiny.folder / "tiny.yml").primary_scale)
    table.loc[3, f"item_{item:02d}"] = highest + 1
    with pytest.raises(
        StudyError, match=rf"item_{item:02d}: a number from 0 to {highest} expected"
    ):
        study_scores.read_scale(tiny.write(), load_study(tiny.folder / "tiny.yml").primary_scale)


def test_maxima_add_up_to_the_range_of_each_scale():
    totals = {name: sum(highest) for name, highest in items.MAXIMA.items()}
    assert totals["HAMD-17"] == 52
    assert totals["HAMA"] == 56
    assert totals["MADRS"] == 60
    assert totals["BDI-II"] == 63
    assert totals["PHQ-9"] == 27
    assert totals["YMRS"] == 60


@pytest.mark.parametrize(("allowed", "totals"), [(0, [np.nan] * 2), (1, [3, np.nan]), (2, [3, 4])])
def test_totals_are_prorated_as_the_rule_allows_and_counted(tiny, allowed, totals):
    table = with_items(tiny, "Four", 4, 1)
    tiny.content["scales"][0]["prorate_at_most"] = allowed
    table[["item_01", "item_02"]] = table[["item_01", "item_02"]].astype(object)
    table.loc[0, "item_01"], table.loc[0, "item_02"] = "n/a", 0  # 2 of 3 items: 2.67 of 4
    table.loc[1, ["item_01", "item_02"]], table.loc[5, "item_01"] = "n/a", 2
    study = tiny.write()
    people = participants.read_participants(study)
    found = study_scores.read_scale(study, study.primary_scale, people)
    np.testing.assert_array_equal(found["score"].iloc[:3], [*totals, 4])
    n = int(np.isfinite(totals).sum())
    assert found["prorated"].tolist() == [*np.isfinite(totals), *[False] * 22]
    (row,) = study_scores.total_counts(study, people).itertuples()
    assert (row.n_totals, row.n_prorated, row.n_lost) == (22 + n, n, 2 - n)
    told = [p for p in study_scores.problems(study) if p.severity == "warning"]
    assert len(told) == (n < 2)


def test_days_of_visits_spread_and_leave_their_window(tiny):
    tiny.content["windows"] = {"week2": [12, 16]}
    study = tiny.write()
    for k, who in enumerate(tiny.participants["participant_id"]):
        folder = study.root / who
        folder.mkdir()
        text = f"session_id\tdays\nses-baseline\t0\nses-week2\t{12 + k}\n"
        (folder / f"{who}_sessions.tsv").write_text(text)
    table = visit_days(study, participants.read_participants(study)).set_index("visit")
    assert list(table.index) == ["baseline", "week2"]
    row = table.loc["week2", ["planned_days", "n", "median_days", "first_day", "last_day"]]
    assert row.tolist() == [14, 8, 15.5, 12, 19]
    assert table["n_outside"].tolist() == [0, 3]
    (study.root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tdays\nses-week2\tx\n")
    assert any(
        "days since baseline, numbers" in str(problem) for problem in study_scores.problems(study)
    )
