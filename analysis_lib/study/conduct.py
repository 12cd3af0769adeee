"""Optional tables on how the trial was conducted: guesses, adverse events, stimulation."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from analysis_lib.results.files import read_json
from analysis_lib.results.problems import Problem, StudyError, caught
from analysis_lib.study.contract import ARMS
from analysis_lib.study.participants import analysed
from analysis_lib.study.pseudonyms import shown_terms
from analysis_lib.study.tables import (
    MISSING,
    cell_problems,
    check_table,
    number_column,
    one_of,
    read_optional,
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
    table = read_optional(study, "participants.tsv", ["participant_id"])
    if table is None or "guess" not in table:
        return None
    words = {str(getattr(study.arms, arm)): arm for arm in ARMS if study.arms} | {UNKNOWN: UNKNOWN}
    expected = f"{' or '.join(words)}, or {MISSING} (not asked)"
    asked = table[["participant_id", "guess"]]
    asked = check_table(asked, {"guess": one_of(list(words), expected, True)}).dropna()
    asked = asked.assign(guess=asked["guess"].map(words))
    merged = analysed(participants)[["participant_id", "arm"]].merge(
        asked, "inner", on="participant_id"
    )
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
    table = read_optional(study, "adverse_events.tsv", EVENT_COLUMNS)
    if table is None:
        return None
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
        check_table(table, columns)
        _refuse_spellings(table)
    table = table.assign(visit=table["session_id"].str.removeprefix("ses-"))
    events = _with_arm(participants, table, ["visit", *EVENT_COLUMNS[2:]])
    return shown_terms(study, events)


def _refuse_spellings(table):
    plain = table["term"].str.lower().str.split().str.join(" ")
    several = table["term"].groupby(plain).transform("nunique") > 1
    if found := cell_problems(table, several, "term", "one spelling of each term"):
        raise StudyError(found)


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
    table = read_optional(study, "stimulation.tsv", SESSION_COLUMNS)
    if table is None:
        return None
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
    table = check_table(table, columns, numeric, keys=["participant_id", "session"])
    received = table[table["pulses"] != 0].assign(session=table["session"].astype(int))
    return _with_arm(participants, received, SESSION_COLUMNS[1:])


class Protocol(BaseModel):
    """stimulation.json: how the stimulation was set up. Every key is optional.

    The file is the sidecar of stimulation.tsv, too: what describes a column is no key.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    target: str | None = None
    coordinates: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    localisation: str | None = None
    stimulator: str | None = None
    coil: str | None = None
    coil_orientation: str | None = None
    current_direction: str | None = None
    pulse_shape: str | None = None
    pattern: str | None = None
    frequency_hz: PositiveFloat | None = None
    pulses_per_session: PositiveInt | None = None
    sessions: PositiveInt | None = None
    intensity_percent_motor_threshold: Annotated[float, Field(gt=0, le=200)] | None = None
    motor_threshold: str | None = None
    sham: str | None = None


UNITS = {
    "coordinates": "MNI, mm",
    "frequency_hz": "Hz",
    "pulses_per_session": "pulses",
    "sessions": "planned",
    "intensity_percent_motor_threshold": "% of motor threshold",
}
TARGETS = ["target_x", "target_y", "target_z"]  # of participants.tsv, MNI, mm


def read_protocol(study, participants):
    """Read and check stimulation.json, and where each participant was stimulated.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        With target_x, target_y and target_z (MNI, mm) where each participant's target is known.

    Returns
    -------
    pandas.DataFrame or None
        parameter, value (text), unit: what the file has, and the mean of the individual targets.
        None where there is neither.

    Raises
    ------
    StudyError
        If it is not JSON, has an unknown key, or a value of another kind.
    """
    rows = [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in _protocol(study).items()
    ]
    table = pd.DataFrame(rows, columns=["parameter", "value"], dtype=object)
    table["unit"] = table["parameter"].map(UNITS).fillna("")
    if set(TARGETS) <= set(participants):
        own = analysed(participants)[TARGETS].dropna()
        mean = ", ".join(f"{v:.1f}" for v in own.mean())
        words = f"mean of {len(own)} individual targets"
        table.loc[len(table)] = [words, mean, UNITS["coordinates"]]
    return table if len(table) else None


def _protocol(study):
    path = study.root / "stimulation.json"
    if not path.is_file():
        return {}
    content = read_json(path, "a JSON object")
    if not isinstance(content, dict):
        raise StudyError(Problem(path.name, "", "a JSON object", type(content).__name__))
    try:
        own = {k: v for k, v in content.items() if not isinstance(v, dict)}
        return Protocol.model_validate(own).model_dump(exclude_none=True)
    except ValidationError as error:
        raise StudyError(
            Problem(path.name, ".".join(map(str, e["loc"])), text=_told(e)) for e in error.errors()
        ) from None


def _told(error):
    if error["type"] == "extra_forbidden":
        return f"unknown key; known: {', '.join(Protocol.model_fields)}"
    return f"{error['msg']}, found {error['input']!r}"


def _is_date(text):
    return len(text) == 10 and not pd.isna(pd.to_datetime(text, format="%Y-%m-%d", errors="coerce"))


def problems(study, participants):
    """List what is wrong with guesses, adverse_events.tsv and the two files of stimulation."""
    readers = (read_guesses, read_adverse_events, read_stimulation, read_protocol)
    found = [problem for read in readers for problem in caught(read, study, participants)]
    return found or [*_odd_events(study, participants), *_odd_intensities(study)]


def _odd_events(study, participants):
    """Warnings of adverse events that are there twice, or after their participant withdrew."""
    table = read_optional(study, "adverse_events.tsv", EVENT_COLUMNS)
    if table is None or table.empty:
        return
    order = {visit: k for k, visit in enumerate(study.visits)}
    left = participants.set_index("participant_id")["withdrawn_after"].map(order)
    seen = table["session_id"].str.removeprefix("ses-").map(order)
    late = seen > table["participant_id"].map(left)
    twice = table.duplicated(EVENT_COLUMNS, keep=False)
    expected = "an event before its participant withdrew"
    yield from cell_problems(table, twice, "term", "each event once", warning="event-twice")
    yield from cell_problems(table, late, "term", expected, warning="event-late")


def _odd_intensities(study):
    """A warning of intensities of another order than most, as a share among percentages."""
    table = read_optional(study, "stimulation.tsv", SESSION_COLUMNS)
    if table is None:
        return
    name = "percent_motor_threshold"
    ratio = pd.to_numeric(table[name]) / pd.to_numeric(table[name]).median()
    odd, expected = (ratio < 0.1) | (ratio > 10), "percent of the motor threshold"
    yield from cell_problems(table, odd, name, expected, warning="intensity")


def _with_arm(participants, table, columns):
    merged = table.merge(
        analysed(participants)[["participant_id", "arm"]], "inner", on="participant_id"
    )
    return merged[["participant_id", "arm", *columns]].reset_index(drop=True)
