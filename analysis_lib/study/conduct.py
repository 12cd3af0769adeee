"""Optional tables on how the trial was conducted: guesses, adverse events, stimulation."""

import pandas as pd
import pandera.pandas as pa

from analysis_lib.results.problems import Problem, StudyError, caught
from analysis_lib.study.contract import ARMS
from analysis_lib.study.tables import (
    MISSING,
    cell_problem,
    check_table,
    missing_column,
    number_column,
    one_of,
    read_text_table,
    refuse_duplicates,
    text_column,
)

UNKNOWN = "unknown"
SEVERITIES = ("mild", "moderate", "severe", "life-threatening", "fatal")
EVENT_COLUMNS = ["participant_id", "session_id", "term", "severity", "serious", "related"]
SESSION_COLUMNS = ["participant_id", "session", "date", "percent_motor_threshold", "pulses"]


def read_guesses(study, participants):
    """Read which arm each participant believes to have had (column guess of participants.tsv).

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`.

    Returns
    -------
    pandas.DataFrame or None
        participant_id, arm, guess ("active", "control" or "unknown"), one row per participant who
        was asked. None where the file has no such column or nobody was asked.

    Raises
    ------
    StudyError
        If a guess is none of the study's two arm values, unknown and n/a (not asked).
    """
    path = study.root / "participants.tsv"
    table = _read_optional(study, path.name, ["participant_id"])
    if table is None or "guess" not in table:
        return None
    words = {str(getattr(study.arms, arm)): arm for arm in ARMS if study.arms} | {UNKNOWN: UNKNOWN}
    expected = f"{' or '.join(words)}, or {MISSING} (not asked)"
    asked = table[["participant_id", "guess"]]
    check_table(path, asked, pa.DataFrameSchema({"guess": one_of(list(words), expected, True)}))
    asked = asked.dropna()
    asked = asked.assign(guess=asked["guess"].map(words))
    merged = analysed_participants(participants).merge(asked, "inner", on="participant_id")
    return merged if len(merged) else None


def read_adverse_events(study, participants):
    """Read and check adverse_events.tsv.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`.

    Returns
    -------
    pandas.DataFrame or None
        One row an event, in the file's order: participant_id, arm, visit, term, severity, serious,
        related. None where there is no file. A file with a header alone says that events were asked
        for and none was reported: no rows.

    Raises
    ------
    StudyError
        With every problem of the file: missing columns, unknown participants or sessions, severity
        not among mild, moderate, severe, life-threatening, fatal, serious not yes or no, related
        not yes, no or n/a (not judged), one term in two spellings.
    """
    table = _read_optional(study, "adverse_events.tsv", EVENT_COLUMNS)
    if table is None:
        return None
    path = study.root / "adverse_events.tsv"
    sessions = [f"ses-{visit}" for visit in [*study.visits, *study.other_sessions]]
    sessions += [session.removeprefix("ses-") for session in sessions]
    columns = {
        "participant_id": one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session_id": one_of(
            sessions, f"{MISSING} or a session of the study ({', '.join(study.visits)})", True
        ),
        "term": text_column(r"\S", "what was reported"),
        "severity": one_of(SEVERITIES, f"{MISSING} or {', '.join(SEVERITIES)}", True),
        "serious": one_of(["yes", "no"], "yes or no"),
        "related": one_of(["yes", "no"], f"yes, no or {MISSING} (not judged)", True),
    }
    if len(table):
        check_table(path, table, pa.DataFrameSchema(columns))
        _refuse_spellings(path, table)
    table = table.assign(visit=table["session_id"].str.removeprefix("ses-"))
    return _with_arm(participants, table, ["visit", *EVENT_COLUMNS[2:]])


def _refuse_spellings(path, table):
    plain = table["term"].str.lower().str.split().str.join(" ")
    spellings = table["term"].groupby(plain).transform("nunique")
    wrong = table.index[spellings > 1]
    if len(wrong):
        expected = "one spelling of each term"
        raise StudyError(cell_problem(path, table, wrong, "term", expected, table["term"]))


def read_stimulation(study, participants):
    """Read and check stimulation.tsv.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`.

    Returns
    -------
    pandas.DataFrame or None
        One row a treatment session received: participant_id, arm, session (its number in the
        course, from 1), date (text), percent_motor_threshold, pulses (for a sham coil those that it
        played). None where there is no file.

    Raises
    ------
    StudyError
        With every problem of the file: missing columns, unknown participants, numbers that are
        none or out of range, dates not as 2025-12-31, a session twice, no rows.
    """
    table = _read_optional(study, "stimulation.tsv", SESSION_COLUMNS)
    if table is None:
        return None
    path = study.root / "stimulation.tsv"
    if table.empty:
        remedy = "Remove the file if so"
        raise StudyError(Problem("stimulation.tsv", "", "rows", "none", remedy))
    whole = pa.Check(lambda x: (x >= 1) & (x % 1 == 0), error="a whole number from 1")
    columns = {
        "participant_id": one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session": pa.Column(float, whole),
        "date": pa.Column(
            str,
            pa.Check(_is_date, element_wise=True, error=f"{MISSING} or a date as 2025-12-31"),
            nullable=True,
        ),
        "percent_motor_threshold": number_column(1, 200),
        "pulses": number_column(0, 100_000),
    }
    numeric = ["session", "percent_motor_threshold", "pulses"]
    table = check_table(path, table, pa.DataFrameSchema(columns), numeric)
    refuse_duplicates(path, table, ["participant_id", "session"])
    received = table[table["pulses"] != 0].assign(session=table["session"].astype(int))
    return _with_arm(participants, received, SESSION_COLUMNS[1:])


def _is_date(text):
    return len(text) == 10 and not pd.isna(pd.to_datetime(text, format="%Y-%m-%d", errors="coerce"))


def problems(study, participants):
    """List what is wrong with guesses, adverse_events.tsv and stimulation.tsv, if there are any."""
    readers = (read_guesses, read_adverse_events, read_stimulation)
    return [problem for read in readers for problem in caught(read, study, participants)]


def _read_optional(study, name, needed):
    """A table as text, None where there is no file; no rows are left to the caller to judge."""
    path = study.root / name
    if not path.is_file():
        return None
    table = read_text_table(path, name)
    table.attrs["file"] = name
    missing = [missing_column(study, path, c, table) for c in needed if c not in table]
    if missing:
        raise StudyError(missing)
    return table


def analysed_participants(participants):
    """Participants who are not excluded, with their arm."""
    return participants.loc[participants["excluded"].isna(), ["participant_id", "arm"]]


def _with_arm(participants, table, columns):
    merged = table.merge(analysed_participants(participants), "inner", on="participant_id")
    return merged[["participant_id", "arm", *columns]].reset_index(drop=True)
