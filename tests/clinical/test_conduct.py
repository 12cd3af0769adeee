"""Conduct: readers name what is wrong; indices against published figures, limits, simulation."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import lines
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from analysis_lib.clinical import adherence, blinding, consort, harms, risks
from analysis_lib.clinical import flow as clinical_flow
from analysis_lib.figures import appearance
from analysis_lib.figures import draw_clinical as clinical
from analysis_lib.figures import draw_conduct as conduct_figures
from analysis_lib.results.problems import StudyError
from analysis_lib.results.words import visit_words
from analysis_lib.study import conduct
from analysis_lib.study import participants as study_participants
from analysis_lib.study import scores as study_scores

EVENTS = pd.DataFrame(
    [
        ("sub-01", "ses-week1", "headache", "mild", "no", "yes"),
        ("sub-01", "ses-week2", "headache", "moderate", "no", "yes"),
        ("sub-03", "ses-week1", "headache", "mild", "no", "n/a"),
        ("sub-03", "n/a", "seizure", "severe", "yes", "yes"),
        ("sub-02", "ses-week1", "insomnia", "n/a", "no", "no"),
    ],
    columns=conduct.EVENT_COLUMNS,
)


def sessions(**received):
    """A stimulation table: sub_01=3 is three sessions of sub-01."""
    rows = [
        (who.replace("_", "-"), session, f"2025-03-{session:02d}", 120, 3000)
        for who, n in received.items()
        for session in range(1, n + 1)
    ]
    return pd.DataFrame(rows, columns=conduct.SESSION_COLUMNS).astype(object)


@pytest.fixture
def written(tiny):
    """Write the tiny trial with an optional table beside it; give study and participants."""

    def write(name=None, table=None):
        study = tiny.write()
        if name:
            table.to_csv(study.root / name, sep="\t", index=False)
        return study, study_participants.read_participants(study)

    return write


def problems_of(read, study, participants):
    with pytest.raises(StudyError) as error:
        read(study, participants)
    return str(error.value)


# --- readers


@pytest.mark.parametrize(
    "read", [conduct.read_guesses, conduct.read_adverse_events, conduct.read_stimulation]
)
def test_a_study_without_the_file_or_column_reads_as_none(read, written):
    assert read(*written()) is None


def test_guesses_are_read_in_the_studys_own_words(tiny, written):
    tiny.participants["guess"] = ["active", "sham", "unknown", "n/a"] * 2
    found = conduct.read_guesses(*written())
    assert found["guess"].tolist() == ["active", "control", "unknown"] * 2
    assert found["arm"].tolist() == ["active", "control", "active"] * 2


def test_guesses_may_be_numbers_where_arms_are(tiny, written):
    tiny.content["arms"] |= {"active": 2, "control": 1}
    tiny.participants["arm"] = [2, 1] * 4
    tiny.participants["guess"] = [2, 2, 1, 1] * 2
    found = conduct.read_guesses(*written())
    assert found["guess"].tolist() == ["active", "active", "control", "control"] * 2


def test_a_guess_in_other_words_is_refused_by_row(tiny, written):
    tiny.participants["guess"] = ["active"] * 7 + ["don't know"]
    message = problems_of(conduct.read_guesses, *written())
    assert "participants.tsv: guess: active or sham or unknown, or n/a (not asked)" in message
    assert 'row 9 (sub-08): "don\'t know"' in message


def test_events_are_read_with_arm_and_visit(written):
    found = conduct.read_adverse_events(*written("adverse_events.tsv", EVENTS))
    assert found["arm"].tolist() == ["active"] * 4 + ["control"]
    assert found["visit"].tolist()[:3] == ["week1", "week2", "week1"]
    assert found["visit"].isna().tolist() == [False, False, False, True, False]


def test_a_header_alone_says_that_nothing_was_reported(written):
    study, participants = written("adverse_events.tsv", EVENTS.iloc[:0])
    events = conduct.read_adverse_events(study, participants)
    assert len(events) == 0
    table = harms.adverse_event_table(events, participants)
    assert table["group"].tolist() == ["all", "serious", "related"]
    assert table["reports_active"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (
            "participant_id",
            "sub-99",
            "in participants.tsv expected, found row 2 (sub-99, ses-week1",
        ),
        ("session_id", "ses-week9", "n/a or a session of the study (baseline, week1, week2)"),
        ("severity", "bad", "severity: n/a or mild, moderate, severe, life-threatening, fatal exp"),
        (
            "serious",
            "maybe",
            "serious: yes or no expected, found row 2 (sub-01, ses-week1): 'maybe",
        ),
        ("serious", "n/a", "serious: a value expected, found row 2 (sub-01, ses-week1): n/a"),
        ("related", "possibly", "related: yes, no or n/a (not judged) expected, found row 2"),
        ("term", "Headache ", "term: one spelling of each term expected, found row 2 (sub-01"),
        ("term", "", "term: a value expected, found row 2 (sub-01, ses-week1): ''"),
    ],
)
def test_a_wrong_event_is_named_by_file_row_and_value(column, value, expected, written):
    table = EVENTS.copy()
    table.loc[0, column] = value
    message = problems_of(conduct.read_adverse_events, *written("adverse_events.tsv", table))
    assert message.startswith("adverse_events.tsv: ")
    assert expected in message


def test_a_missing_event_column_is_named_with_a_guess(written):
    table = EVENTS.rename(columns={"severity": "severety"})
    message = problems_of(conduct.read_adverse_events, *written("adverse_events.tsv", table))
    assert "column 'severity' expected" in message
    assert "did you mean 'severety'?" in message


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("participant_id", "sub-99", "in participants.tsv expected, found row 2"),
        ("session", 2, "each participant_id and session once expected, found row 2 (sub-01)"),
        ("session", 1.5, "session: a whole number from 1 expected, found row 2 (sub-01): 1.5"),
        ("session", 0, "session: a whole number from 1 expected, found row 2 (sub-01): 0"),
        ("date", "12.03.2025", "date: n/a or a date as 2025-12-31 expected, found row 2"),
        ("date", "2025-02-30", "date: n/a or a date as 2025-12-31 expected, found row 2"),
        ("percent_motor_threshold", 1200, "a number from 1 to 200 expected, found row 2"),
        ("pulses", "many", "pulses: a number expected, found row 2 (sub-01): 'many'"),
        ("pulses", -1, "pulses: a number from 0 to 100000 expected, found row 2"),
    ],
)
def test_a_wrong_session_is_named_by_file_row_and_value(column, value, expected, written):
    table = sessions(sub_01=2, sub_02=1)
    table.loc[0, column] = value
    message = problems_of(conduct.read_stimulation, *written("stimulation.tsv", table))
    assert message.startswith("stimulation.tsv: ")
    assert expected in message


def test_problems_of_all_three_sources_are_listed_together(tiny, written):
    assert lines(conduct.problems(*written())) == []
    tiny.participants["guess"] = "?"
    study, participants = written("adverse_events.tsv", EVENTS.assign(serious="?"))
    sessions(sub_01=1).assign(pulses="?").to_csv(
        study.root / "stimulation.tsv", sep="\t", index=False
    )
    found = lines(conduct.problems(study, participants))
    files = [problem.split(":")[0] for problem in found]
    assert files == ["participants.tsv", "adverse_events.tsv", "stimulation.tsv"]


def test_excluded_participants_are_left_out_everywhere(tiny, written):
    tiny.content["exclude"] = {"dropped": 1}
    tiny.participants["dropped"] = [1] + [0] * 7
    tiny.participants["guess"] = "unknown"
    study, participants = written("adverse_events.tsv", EVENTS)
    sessions(sub_01=2, sub_02=1).to_csv(study.root / "stimulation.tsv", sep="\t", index=False)
    for read in (conduct.read_guesses, conduct.read_adverse_events, conduct.read_stimulation):
        assert "sub-01" not in set(read(study, participants)["participant_id"])


# --- blinding

CRISP = [[82, 27], [25, 29], [170, 83]]  # Bang 2004, table 7; rows: guess, columns: arm
INVESTIGATORS = [[48, 22], [4, 30], [330, 319]]  # Houweling 2014, Clin Trials 11:547-552, table 2


def test_indices_of_a_published_example():
    """Figures printed by other software (R's BI, BlindingIndex.jl) for Houweling's table 2."""
    assert blinding.james_index(INVESTIGATORS) == pytest.approx(
        (0.896, 0.011, 0.875, 0.918), abs=6e-4
    )
    for counts, index in (((48, 4, 330), (0.115, 0.018)), ((30, 22, 319), (0.022, 0.019))):
        assert blinding.bang_index(*counts)[:2] == pytest.approx(index, abs=6e-4)


def bang_coverage(n, steps):
    """Of the interval, at each pair of shares of a grid, by enumeration of the answers."""
    answers = np.array([(c, w, n - c - w) for c in range(n + 1) for w in range(n + 1 - c)])
    low, high = np.array([blinding.bang_index(*one)[2:] for one in answers]).T
    grid = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    shares = np.array(grid) / steps
    for p in shares:
        inside = (low <= p[0] - p[1] + 1e-9) & (p[0] - p[1] - 1e-9 <= high)
        yield stats.multinomial.pmf(answers[inside], n, p).sum()


def test_the_interval_of_bang_s_index_covers_what_it_should():
    covered = list(bang_coverage(12, 40))
    assert 0.955 < np.mean(covered) < 0.97
    assert min(covered) > 0.85
    assert np.mean(covered < np.array(0.92)) < 0.02


@pytest.mark.parametrize(("right", "wrong"), [(7, 3), (12, 0), (1, 9)])
def test_where_all_guess_bang_s_interval_is_wilsons(right, wrong):
    wilson = proportion_confint(right, right + wrong, method="wilson")
    found = blinding.bang_index(right, wrong, 0)[2:]
    assert found == pytest.approx(tuple(2 * np.array(wilson) - 1), abs=1e-7)


def test_bang_s_interval_is_tangos():
    """Tango 1998, Stat Med 17:891-908: the score at a limit, its nuisance share by search."""
    right, wrong, unknown = 5, 3, 4
    for limit in blinding.bang_index(right, wrong, unknown)[2:]:

        def minus_loglik(guessed, d=limit):
            shares = (guessed + d) / 2, (guessed - d) / 2, 1 - guessed
            return -(np.array([right, wrong, unknown]) * np.log(shares)).sum()

        options = {"bounds": (abs(limit) + 1e-9, 1 - 1e-9), "options": {"xatol": 1e-12}}
        guessed = optimize.minimize_scalar(minus_loglik, **options).x
        z = (right - wrong - 12 * limit) / np.sqrt(12 * (guessed - limit**2))
        assert abs(z) == pytest.approx(1.959964, rel=1e-5)


def test_bang_index_of_crisp_is_the_difference_of_shares():
    (a, c), (b, d), (x, y) = CRISP
    value, se, _, _ = blinding.bang_index(a, b, x)
    answers = np.repeat([1, -1, 0], [a, b, x])  # the index is a mean, so its error is known
    assert (value, se) == pytest.approx((answers.mean(), answers.std() / np.sqrt(len(answers))))
    assert blinding.bang_index(d, c, y)[0] == pytest.approx((29 - 27) / 139)


def test_james_error_is_the_papers_formula():
    """James 1996, in its own terms: kappa of disagreement among those who guess."""
    p = np.array(CRISP) / np.sum(CRISP)
    w = np.array([[0, 0.5], [0.5, 0]])
    unknown, rows, columns = p[2].sum(), p.sum(axis=1)[:2], p[:2].sum(axis=0)
    q, chance = 1 - unknown, (w * np.outer(rows, columns)).sum()
    ratio = (w * p[:2]).sum() * q / chance  # 1 + kappa
    weighted = (w * rows[:, None]).sum(axis=0) + (w * columns).sum(axis=1)[:, None]
    first = (p[:2] * q**2 * (q * w - ratio * weighted) ** 2).sum() / (4 * chance**2)
    second = unknown * q - q * ratio * (unknown + q * ratio / 4)
    value, se, _, _ = blinding.james_index(CRISP)
    assert value == pytest.approx((1 + unknown + q * (ratio - 1)) / 2)
    assert se == pytest.approx(np.sqrt((first + second) / np.sum(CRISP)))


@pytest.mark.parametrize(
    ("counts", "bang", "james"),
    [
        ([[20, 0], [0, 20], [0, 0]], (1, 1), 0),  # all right
        ([[0, 20], [20, 0], [0, 0]], (-1, -1), 1),  # all opposite
        ([[10, 10], [10, 10], [0, 0]], (0, 0), 0.5),  # as by chance
        ([[20, 20], [0, 0], [0, 0]], (1, -1), 0.5),  # all believe in active treatment
        ([[0, 0], [0, 0], [9, 11]], (0, 0), 1),  # nobody ventures a guess
    ],
)
def test_indices_at_their_limits(counts, bang, james):
    (a, c), (b, d), (x, y) = counts
    assert (blinding.bang_index(a, b, x)[0], blinding.bang_index(d, c, y)[0]) == bang
    assert blinding.james_index(counts)[0] == pytest.approx(james)


def test_indices_are_undefined_or_without_interval_rather_than_sure_of_themselves():
    assert np.isnan(blinding.james_index([[5, 0], [0, 0], [3, 8]])).all()
    assert np.isnan(blinding.bang_index(0, 0, 0)).all()
    found = blinding.james_index([[0, 0], [0, 0], [4, 4]])
    assert found[0] == 1
    assert np.isnan(found[1:]).all()
    assert np.isnan(blinding.bang_index(4, 0, 0)[1])


def test_errors_of_both_indices_are_the_spread_of_resampled_trials():
    rng, counts = np.random.default_rng(0), np.array([[40, 15], [22, 36], [18, 29]])
    draws = rng.multinomial(counts.sum(), counts.ravel() / counts.sum(), size=4000)
    spread = np.std([blinding.james_index(d.reshape(3, 2))[0] for d in draws])
    assert blinding.james_index(counts)[1] == pytest.approx(spread, rel=0.05)
    arm = rng.multinomial(80, [0.5, 0.275, 0.225], size=4000)
    spread = np.std([blinding.bang_index(*d)[0] for d in arm])
    assert blinding.bang_index(40, 22, 18)[1] == pytest.approx(spread, rel=0.05)


def test_blinding_table_sets_guesses_against_arms():
    guesses = pd.DataFrame(
        [("active", "active")] * 3 + [("active", "control")] + [("control", "control")] * 5,
        columns=["arm", "guess"],
    )
    table = blinding.blinding_table(guesses).set_index("arm")
    assert table["index"].tolist() == ["Bang", "Bang", "James"]
    assert table.loc["active", ["n", "n_correct", "n_wrong", "n_unknown"]].tolist() == [4, 3, 1, 0]
    assert table.loc["both", ["n", "n_correct", "n_wrong", "n_unknown"]].tolist() == [9, 8, 1, 0]
    assert table.loc["active", "value"] == 0.5
    assert table.loc["control", "note"] == ""
    assert table.loc["control", "ci_high"] == 1


# --- harms


def test_events_are_counted_by_participant_and_by_report(written):
    study, participants = written("adverse_events.tsv", EVENTS)
    events = conduct.read_adverse_events(study, participants)
    table = harms.adverse_event_table(events, participants).set_index("term")
    headache = table.loc["headache"]
    assert headache[["participants_active", "participants_control"]].tolist() == [2, 0]
    assert headache[["reports_active", "reports_control"]].tolist() == [3, 0]
    assert headache[["related_active", "serious_active"]].tolist() == [2, 0]
    assert table.loc["any event", ["participants_active", "reports_active"]].tolist() == [2, 4]
    assert table.loc["any serious event", "participants_active"] == 1
    assert table.loc["any related event", "reports_active"] == 3
    assert table.loc["not recorded", "reports_control"] == 1
    assert table["n_active"].eq(4).all()
    assert not {"p", "p_holm"} & set(table)
    assert headache["risk_difference"] == 0.5
    expected = risks.risk_difference([2, 0], [4, 4])
    assert headache[["ci_low", "ci_high"]].to_dict() == pytest.approx(
        {name: expected[name] for name in ("ci_low", "ci_high")}
    )


def test_reports_add_up_over_terms_and_over_severities(written):
    study, participants = written("adverse_events.tsv", EVENTS)
    events = conduct.read_adverse_events(study, participants)
    table = harms.adverse_event_table(events, participants)
    total = table.groupby("group")[["reports_active", "reports_control"]].sum()
    assert total.loc["term"].tolist() == total.loc["severity"].tolist() == [4, 1]
    terms = table.loc[table["group"] == "term", "term"].tolist()
    assert terms == ["headache", "insomnia", "seizure"]  # two participants first, then by name


def test_an_empty_arm_has_no_risk_difference():
    assert np.isnan(list(risks.risk_difference([0, 1], [0, 4]).values())).all()


# --- adherence and dose


@pytest.fixture
def stimulated(written):
    table = sessions(sub_01=4, sub_03=2, sub_02=3, sub_04=3)
    table.loc[0, "pulses"] = 0  # begun and broken off: not received
    table.loc[table["participant_id"] == "sub-02", "percent_motor_threshold"] = "n/a"
    table.loc[table.index[-1], "pulses"] = "n/a"
    study, participants = written("stimulation.tsv", table)
    return conduct.read_stimulation(study, participants), participants


def test_dose_counts_sessions_and_fills_nothing_in(stimulated):
    dose = adherence.participant_dose(*stimulated).set_index("participant_id")
    assert dose.loc["sub-01", ["sessions", "pulses"]].tolist() == [3, 9000]
    assert dose.loc["sub-04", "sessions"] == 3
    assert np.isnan(dose.loc["sub-04", "pulses"])
    assert np.isnan(dose.loc["sub-02", "percent_motor_threshold"])
    assert dose.loc["sub-08", ["sessions", "pulses"]].tolist() == [0, 0]


def test_adherence_counts_everybody_randomised(stimulated):
    table = adherence.adherence_table(*stimulated, planned=5).set_index(["arm", "measure"])
    received = table.loc[("active", "sessions received")]
    assert received[["n", "mean", "lowest", "highest"]].tolist() == [4, 5 / 4, 0, 3]
    share = table.loc[("control", "sessions received, percent of 5 planned")]
    assert share["mean"] == pytest.approx(100 * 6 / 5 / 4)
    assert table.loc[("control", "pulses in total"), "n"] == 3
    assert table.loc[("active", "all 5 sessions, percent of participants"), "mean"] == 0


def test_planned_sessions_default_to_the_highest_number_and_are_never_too_few(stimulated):
    measures = adherence.adherence_table(*stimulated)["measure"]
    assert "sessions received, percent of 4 planned" in set(measures)
    with pytest.raises(ValueError, match=r"planned: .* expected, found 2 and 3 of sub-01"):
        adherence.adherence_table(*stimulated, planned=2)


# --- flow and checklist


def flow_of(tiny, **columns):
    tiny.participants = tiny.participants.assign(**columns)
    study = tiny.write()
    participants = study_participants.read_participants(study)
    scores = study_scores.read_ratings(study, participants)
    return study, participants, clinical_flow.participant_flow(study, participants, scores)


def test_flow_boxes_hold_the_counts_of_the_flow(tiny):
    study, _, flow = flow_of(tiny, withdrawn_after=["week1"] + ["n/a"] * 7)
    boxes = consort.consort_flow(flow, study.arm_names).set_index(["stage", "arm"])
    assert boxes.loc[("enrolment", "both"), "text"].startswith("Assessed for eligibility: not rec")
    assert np.isnan(boxes.loc[("enrolment", "both"), "n"])
    assert boxes.loc[("randomised", "both"), "n"] == 8
    assert boxes.loc[("allocated", "control"), "text"] == "Allocated to sham: 4"
    assert "withdrew after week1: 1" in boxes.loc[("follow_up", "active"), "text"]
    assert "no withdrawal recorded" in boxes.loc[("follow_up", "control"), "text"]
    assert "excluded" not in boxes.index.get_level_values("stage")


def test_flow_boxes_give_reasons_and_who_was_treated(tiny):
    tiny.content["exclude"] = {"dropped": 1}
    study, participants, flow = flow_of(tiny, dropped=[0, 1] + [0] * 6)
    dose = pd.DataFrame({"participant_id": participants["participant_id"], "sessions": 3})
    dose = dose.assign(arm=participants["arm"])[participants["excluded"].isna()]
    dose.loc[0, "sessions"] = 0
    boxes = consort.consort_flow(flow, study.arm_names, dose).set_index(["stage", "arm"])["text"]
    assert boxes["allocated", "active"].endswith("received treatment: 3; received none: 1")
    assert boxes["allocated", "control"].endswith("excluded, treatment not counted: 1")
    assert boxes["excluded", "control"] == "Excluded after randomisation: 1; dropped: 1"
    assert boxes["excluded", "active"] == "Excluded after randomisation: 0"


def test_checklist_has_the_30_items_of_consort_2025(tiny):
    table = consort.consort_checklist(tiny.write())
    numbers = table["item"].str.extract(r"^(\d+)([a-d]?)$")
    assert numbers[0].astype(int).unique().tolist() == list(range(1, 31))
    parts = numbers[numbers[1] != ""].groupby(0)[1].agg("".join).to_dict()
    split = {"1", "5", "12", "16", "17", "20", "22", "23", "24"}
    assert parts == {"21": "abcd"} | dict.fromkeys(split, "ab")
    assert set(table["status"]) == {"answered", "partly", "not in the data"}


def test_checklist_claims_only_what_is_recorded(tiny):
    tiny.content["strata"] = ["sex"]
    study = tiny.write()
    bare = consort.consort_checklist(study).set_index("item")
    full = consort.consort_checklist(study, consort.RECORDED).set_index("item")
    for item in ("11", "13", "20a", "24a", "27"):
        assert bare.loc[item, ["where", "status"]].tolist() == ["", "not in the data"]
        assert full.loc[item, "status"] != "not in the data"
    assert (bare.loc["22a", "status"], full.loc["22a", "status"]) == ("partly", "answered")
    assert bare.loc["17b", "status"] == "partly"
    never = ["2", "3", "5a", "5b", "12a", "16a", "17a", "18", "19", "20b", "23a"]
    assert full.loc[never, "status"].eq("not in the data").all()
    assert (full["where"].eq("") == full["status"].eq("not in the data")).all()
    with pytest.raises(ValueError, match=r"recorded: among .* expected, found .'guesses'"):
        consort.consort_checklist(study, ["guesses"])


# --- pictures


@pytest.fixture
def axes():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_flow_diagram_shows_every_line_inside_the_axes(tiny):
    study, _, flow = flow_of(tiny, withdrawn_after=["week1"] + ["n/a"] * 7)
    boxes = consort.consort_flow(flow, study.arm_names)
    fig, ax = plt.subplots(figsize=(appearance.PAGE, conduct_figures.consort_height(boxes)))
    conduct_figures.plot_consort(ax, boxes)
    lines = [line for said in boxes["text"] for line in visit_words(said).split("; ")]
    assert sorted(t for t in texts(ax) if t) == sorted(lines)
    fig.canvas.draw()
    page = fig.bbox
    assert all(page.contains(*t.get_window_extent().min) for t in ax.texts if t.get_text())
    frames = [patch.get_window_extent() for patch in ax.patches]
    for text in (t for t in ax.texts if t.get_text()):
        extent = text.get_window_extent()
        assert any(f.contains(*extent.min) and f.contains(*extent.max) for f in frames)
    plt.close(fig)


def test_missing_picture_fills_a_cell_for_each_visit_rated(axes):
    patterns = pd.DataFrame({"pattern": ["11", "10"], "n_active": [7, 1]}).assign(n_control=[8, 0])
    conduct_figures.plot_missing(
        axes, patterns, ["week1", "week2"], {"active": "real", "control": "sham"}
    )
    white = [patch.get_facecolor()[:3] == (1, 1, 1) for patch in axes.patches]
    assert white == [False, False, False, True]
    assert texts(axes) == ["7", "1", "8", "0"]


def test_tipping_picture_fills_where_p_is_below_05_and_marks_the_tip(axes):
    curve = pd.DataFrame({"delta_active": [2.0, 0.0, 1.0], "p": [0.2, 0.01, 0.04]})
    curve = curve.assign(estimate=[-1.0, -3.0, -2.0], ci_low=-5.0, ci_high=1.0)
    clinical.plot_tipping(axes, curve, {"active": "real", "control": "sham"}, tip=1.1)
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["p < .05"].get_xdata().tolist() == [0, 1]
    assert lines["p at least .05"].get_xdata().tolist() == [2]
    assert lines["p = .05 at +1.1 points"].get_xdata()[0] == 1.1


def test_items_and_sessions_are_drawn_one_by_one(axes):
    table = pd.DataFrame({"label": ["1 mood", "2 guilt"], "estimate": [-1, np.nan]})
    table = table.assign(scale="X", favours=["active", "neither"])
    names = {"active": "real", "control": "sham"}
    table = table.assign(ci_low=table["estimate"], ci_high=table["estimate"])
    clinical.plot_items(axes, table, names)
    assert axes.get_xlabel() == "real − sham, points (95 % CI); left of zero favours real"
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["1 mood", "2 guilt (no estimate)"]
    axes.clear()
    dose = pd.DataFrame({"arm": ["active", "control", "active"], "sessions": [1, 4, 5]})
    conduct_figures.plot_stimulation(axes, dose, 5, names)
    assert [patch.get_height() for patch in axes.patches] == [5, 1, 4]
