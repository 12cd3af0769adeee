"""How the trial was conducted: blinding, harms, adherence and dose, participant flow, CONSORT.

``adverse_events.tsv``, ``stimulation.tsv`` and the column ``guess`` of participants.tsv are
optional: a reader returns None where the study has none. Participants whom the study file excludes
are left out, as everywhere.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy import stats

from analysis_lib.outcomes import ARMS, newcombe_interval
from analysis_lib.ratings import (
    MISSING,
    _check,
    _missing_column,
    _number_column,
    _one_of,
    _problem,
    _read_text_table,
    _refuse_duplicates,
    _text_column,
)
from analysis_lib.study import StudyError

UNKNOWN = "unknown"
SEVERITIES = ("mild", "moderate", "severe", "life-threatening", "fatal")
EVENT_COLUMNS = ["participant_id", "session_id", "term", "severity", "serious", "related"]
SESSION_COLUMNS = ["participant_id", "session", "date", "percent_motor_threshold", "pulses"]

# ---- reading


def read_guesses(study, participants):
    """Read which arm each participant believes to have had (column guess of participants.tsv).

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

    Returns
    -------
    pandas.DataFrame or None
        participant_id, arm, guess ("active", "control" or "unknown"), one row a participant who
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
    words = {str(getattr(study.arms, arm)): arm for arm in ARMS} | {UNKNOWN: UNKNOWN}
    expected = f"{' or '.join(words)}, or {MISSING} (not asked)"
    asked = table[["participant_id", "guess"]]
    _check(path, asked, pa.DataFrameSchema({"guess": _one_of(list(words), expected, True)}))
    asked = asked.dropna()
    asked = asked.assign(guess=asked["guess"].map(words))
    merged = _analysed(participants).merge(asked, "inner", on="participant_id")
    return merged if len(merged) else None


def read_adverse_events(study, participants):
    """Read and check adverse_events.tsv.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

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
        "participant_id": _one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session_id": _one_of(
            sessions, f"{MISSING} or a session of the study ({', '.join(study.visits)})", True
        ),
        "term": _text_column(r"\S", "what was reported"),
        "severity": _one_of(SEVERITIES, f"{MISSING} or {', '.join(SEVERITIES)}", True),
        "serious": _one_of(["yes", "no"], "yes or no"),
        "related": _one_of(["yes", "no"], f"yes, no or {MISSING} (not judged)", True),
    }
    if len(table):
        _check(path, table, pa.DataFrameSchema(columns))
        _refuse_spellings(path, table)
    table = table.assign(visit=table["session_id"].str.removeprefix("ses-"))
    return _with_arm(participants, table, ["visit", *EVENT_COLUMNS[2:]])


def _refuse_spellings(path, table):
    plain = table["term"].str.lower().str.split().str.join(" ")
    spellings = table["term"].groupby(plain).transform("nunique")
    wrong = table.index[spellings > 1]
    if len(wrong):
        expected = "one spelling of each term"
        raise StudyError([_problem(path, table, wrong, "term", expected, table["term"])])


def read_stimulation(study, participants):
    """Read and check stimulation.tsv.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

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
        raise StudyError(["stimulation.tsv: rows expected, found none. Remove the file if so"])
    whole = pa.Check(lambda x: (x >= 1) & (x % 1 == 0), error="a whole number from 1")
    columns = {
        "participant_id": _one_of(list(participants["participant_id"]), "in participants.tsv"),
        "session": pa.Column(float, whole),
        "date": pa.Column(
            str,
            pa.Check(_is_date, element_wise=True, error=f"{MISSING} or a date as 2025-12-31"),
            nullable=True,
        ),
        "percent_motor_threshold": _number_column(1, 200),
        "pulses": _number_column(0, 100_000),
    }
    numeric = ["session", "percent_motor_threshold", "pulses"]
    table = _check(path, table, pa.DataFrameSchema(columns), numeric)
    _refuse_duplicates(path, table, ["participant_id", "session"])
    received = table[table["pulses"] != 0].assign(session=table["session"].astype(int))
    return _with_arm(participants, received, SESSION_COLUMNS[1:])


def _is_date(text):
    return len(text) == 10 and not pd.isna(pd.to_datetime(text, format="%Y-%m-%d", errors="coerce"))


def problems(study, participants):
    """List what is wrong with guesses, adverse_events.tsv and stimulation.tsv.

    Returns
    -------
    list of str
        Empty if nothing is, and for files that the study does not have.
    """
    found = []
    for read in (read_guesses, read_adverse_events, read_stimulation):
        try:
            read(study, participants)
        except StudyError as error:
            found += error.problems
    return found


def _read_optional(study, name, needed):
    """A table as text, None where there is no file; no rows are left to the caller to judge."""
    path = study.root / name
    if not path.is_file():
        return None
    table = _read_text_table(path, name)
    table.attrs["file"] = name
    missing = [_missing_column(study, path, c, table) for c in needed if c not in table]
    if missing:
        raise StudyError(missing)
    return table


def _analysed(participants):
    return participants.loc[participants["excluded"].isna(), ["participant_id", "arm"]]


def _with_arm(participants, table, columns):
    merged = table.merge(_analysed(participants), "inner", on="participant_id")
    return merged[["participant_id", "arm", *columns]].reset_index(drop=True)


# ---- blinding


def bang_index(correct, wrong, unknown):
    """Bang's blinding index of one arm, with a 95 % interval.

    (correct - wrong) / all: 1 when all guess right, 0 when as many are wrong as right, -1 when all
    guess the other arm (Bang, Ni & Davis 2004, Control Clin Trials 25:143-156). The interval is the
    paper's, from the multinomial variance, two-sided and cut at -1 and 1; simulated with 18
    participants it covers 86 to 93 % of the time, least when nearly all guess alike.

    Parameters
    ----------
    correct, wrong, unknown : int
        Participants of the arm by their guess.

    Returns
    -------
    value, se, ci_low, ci_high : float
        The error and limits are missing where all answers are alike: a variance of 0 would make an
        interval without width out of however few participants.
    """
    n = correct + wrong + unknown
    if n == 0:
        return (np.nan,) * 4
    value = (correct - wrong) / n
    return _interval(value, ((correct + wrong) / n - value**2) / n, -1)


def james_index(counts):
    """James' blinding index of both arms together, with a 95 % interval.

    1 when nobody ventures a guess, 0.5 when guesses are right and wrong as by chance, 0 when all
    are right (James et al. 1996, Stat Med 15:1421-1434; weights 0 for a right guess, 1/2 for a
    wrong one, 1 for none). With q the share who guess, a their wrong guesses and e the wrong
    guesses expected from the margins (both as shares of all, e before division by q), it is
    1 - q + q^2 a / (2 e). Its variance is the multinomial delta method, which the paper's formula
    equals.

    Parameters
    ----------
    counts : array_like
        (3, 2): guesses active, control, unknown by arms active, control.

    Returns
    -------
    value, se, ci_low, ci_high : float
        All missing where the index is not defined: guesses were made in one arm only, and all of
        them right. Error and limits are missing where the variance is 0.
    """
    p = np.asarray(counts, float)
    n = p.sum()
    if n == 0:
        return (np.nan,) * 4
    p, guessed = p / n, p[:2] / n
    q, wrong = guessed.sum(), guessed[0, 1] + guessed[1, 0]
    if q == 0:
        return _interval(1.0, 0.0, 0)
    rows, columns = guessed.sum(axis=1), guessed.sum(axis=0)
    expected = rows[0] * columns[1] + rows[1] * columns[0]
    if expected == 0:
        return (np.nan,) * 4
    slope = columns[::-1][:, None] + rows[::-1]  # of expected, by cell
    gradient = np.zeros((3, 2))  # of the index, by cell; 0 for those who do not guess
    gradient[:2] = -1 + q * wrong / expected - q**2 * wrong * slope / (2 * expected**2)
    gradient[[0, 1], [1, 0]] += q**2 / (2 * expected)
    variance = np.sum(p * gradient**2) - np.sum(p * gradient) ** 2
    return _interval(1 - q + q**2 * wrong / (2 * expected), variance / n, 0)


def _interval(value, variance, lowest):
    if variance < 1e-12:
        return value, np.nan, np.nan, np.nan
    se = np.sqrt(variance)
    margin = stats.norm.ppf(0.975) * se
    return value, se, max(value - margin, lowest), min(value + margin, 1.0)


def blinding_table(guesses):
    """Blinding indices of Bang, by arm, and of James, over both.

    Parameters
    ----------
    guesses : pandas.DataFrame
        From :func:`read_guesses`.

    Returns
    -------
    pandas.DataFrame
        index (Bang, James), arm (active, control, both), n, n_correct, n_wrong, n_unknown, value,
        se, ci_low, ci_high, note. Intervals are large-sample ones.
    """
    cross = pd.crosstab(guesses["guess"], guesses["arm"])
    counts = cross.reindex(index=[*ARMS, UNKNOWN], columns=ARMS, fill_value=0)
    rows = []
    for arm, other in (ARMS, ARMS[::-1]):
        answers = [int(counts.loc[guess, arm]) for guess in (arm, other, UNKNOWN)]
        rows.append(_blinding_row("Bang", arm, answers, bang_index(*answers)))
    both = [int(sum(column)) for column in zip(*(_answers(r) for r in rows), strict=True)]
    rows.append(_blinding_row("James", "both", both, james_index(counts.to_numpy())))
    return pd.DataFrame(rows)


def _answers(row):
    return row["n_correct"], row["n_wrong"], row["n_unknown"]


def _blinding_row(index, arm, answers, found):
    value, se, low, high = found
    note = ""
    if np.isnan(value):
        note = "nobody was asked" if sum(answers) == 0 else "not defined: only one arm guessed"
    elif np.isnan(se):
        note = "all answers alike: no interval"
    counts = dict(zip(("n_correct", "n_wrong", "n_unknown"), answers, strict=True))
    found = {"value": value, "se": se, "ci_low": low, "ci_high": high, "note": note}
    return {"index": index, "arm": arm, "n": sum(answers)} | counts | found


# ---- harms


def adverse_event_table(events, participants):
    """Adverse events by arm: all, serious, related, by severity and by term.

    There are no p-values: a trial is planned for its benefit, so a test of a harm has little power,
    and "not significant" would be read as "safe"; counts and intervals say what is known (CONSORT
    Harms 2022, Junqueira et al. 2023, BMJ 381:e073725).

    Parameters
    ----------
    events : pandas.DataFrame
        From :func:`read_adverse_events`.
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`; those excluded do not count.

    Returns
    -------
    pandas.DataFrame
        group (all, serious, related, severity, term), term, n_active, n_control (participants at
        risk), participants_active, participants_control (with at least one such event),
        reports_active, reports_control (number of events), serious_active, serious_control,
        related_active, related_control (of these events, how many were serious, or judged related),
        risk_difference, ci_low, ci_high (of participants; Newcombe 1998). Terms by how many
        participants had them.
    """
    at_risk = _analysed(participants)["arm"].value_counts()
    n = {arm: int(at_risk.get(arm, 0)) for arm in ARMS}
    chosen = [("all", "any event", events.index)]
    for what in ("serious", "related"):
        chosen.append((what, f"any {what} event", events.index[events[what] == "yes"]))
    for severity in SEVERITIES:
        chosen.append(("severity", severity, events.index[events["severity"] == severity]))
    if events["severity"].isna().any():
        chosen.append(("severity", "not recorded", events.index[events["severity"].isna()]))
    people = events.groupby("term")["participant_id"].nunique()
    for term in sorted(people.index, key=lambda t: (-people[t], t)):
        chosen.append(("term", term, events.index[events["term"] == term]))
    rows = [
        {"group": group, "term": term} | _event_row(events.loc[which], n)
        for group, term, which in chosen
        if len(which) or group != "severity"
    ]
    return pd.DataFrame(rows)


def _event_row(events, n):
    counts, by_arm = {}, {arm: events[events["arm"] == arm] for arm in ARMS}
    measures = {
        "participants": lambda own: own["participant_id"].nunique(),
        "reports": len,
        "serious": lambda own: (own["serious"] == "yes").sum(),
        "related": lambda own: (own["related"] == "yes").sum(),
    }
    for name, measure in measures.items():
        counts |= {f"{name}_{arm}": int(measure(by_arm[arm])) for arm in ARMS}
    hit = [counts[f"participants_{arm}"] for arm in ARMS]
    return {f"n_{arm}": n[arm] for arm in ARMS} | counts | risk_difference(hit, list(n.values()))


def risk_difference(events, n):
    """Difference of two proportions, active - control, with Newcombe's 95 % interval.

    Parameters
    ----------
    events, n : sequence of int
        Participants with the event, and participants, of the active and the control arm.

    Returns
    -------
    dict
        risk_difference, ci_low, ci_high; missing where an arm has no participants.
    """
    found = (np.nan,) * 3
    if min(n) > 0:
        found = (events[0] / n[0] - events[1] / n[1], *newcombe_interval(*events, *n))
    return dict(zip(("risk_difference", "ci_low", "ci_high"), found, strict=True))


# ---- adherence and dose


def participant_dose(stimulation, participants):
    """Sessions, intensity and pulses of each participant.

    Parameters
    ----------
    stimulation : pandas.DataFrame
        From :func:`read_stimulation`.
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

    Returns
    -------
    pandas.DataFrame
        participant_id, arm, sessions (received; 0 for who has no row), percent_motor_threshold
        (mean over sessions with a value), pulses (total; missing where those of a session are).
    """
    groups = stimulation.groupby("participant_id")
    dose = pd.DataFrame(
        {
            "sessions": groups.size(),
            "percent_motor_threshold": groups["percent_motor_threshold"].mean(),
            "pulses": groups["pulses"].agg(lambda pulses: pulses.sum(skipna=False)),
        }
    )
    table = _analysed(participants).merge(dose, "left", on="participant_id")
    never = table["sessions"].isna()
    table = table.assign(sessions=table["sessions"].fillna(0).astype(int))
    table.loc[never, "pulses"] = 0.0
    return table.reset_index(drop=True)


def adherence_table(stimulation, participants, planned=None):
    """Sessions received of those planned, intensity, and pulses, by arm.

    Parameters
    ----------
    stimulation : pandas.DataFrame
        From :func:`read_stimulation`.
    participants : pandas.DataFrame
    planned : int, optional
        Sessions of a full course. Left out: the highest session number that occurs.

    Returns
    -------
    pandas.DataFrame
        arm, measure, n (participants with a value), mean, sd, median, lowest, highest. Measures:
        sessions received; sessions received, percent of planned; full course, percent of
        participants (no sd, median or range); intensity, percent of motor threshold; pulses in
        total. For a sham coil intensity and pulses are those that were set and played.

    Raises
    ------
    ValueError
        If a participant received more sessions than were planned.
    """
    dose = participant_dose(stimulation, participants)
    planned = int(stimulation["session"].max()) if planned is None else planned
    beyond = dose[dose["sessions"] > planned]
    if len(beyond):
        raise ValueError(
            f"planned: at least as many sessions as were received expected, found {planned} and "
            f"{beyond['sessions'].max()} of {beyond['participant_id'].iloc[0]}"
        )
    share, full = 100 * dose["sessions"] / planned, 100.0 * (dose["sessions"] == planned)
    measures = {
        "sessions received": dose["sessions"],
        f"sessions received, percent of {planned} planned": share,
        f"all {planned} sessions, percent of participants": full,
        "intensity, percent of motor threshold": dose["percent_motor_threshold"],
        "pulses in total": dose["pulses"],
    }
    rows = [
        {"arm": arm, "measure": name} | _summary(values[dose["arm"] == arm], values is not full)
        for name, values in measures.items()
        for arm in ARMS
    ]
    return pd.DataFrame(rows)


def _summary(values, spread):
    values = values.dropna()
    found = {"n": len(values), "mean": values.mean()}
    names = {"sd": "std", "median": "median", "lowest": "min", "highest": "max"}
    return found | {k: getattr(values, v)() if spread else np.nan for k, v in names.items()}


# ---- participant flow


def consort_flow(flow, names, treated=None):
    """Boxes of the CONSORT 2025 flow diagram.

    Parameters
    ----------
    flow : dict
        From :func:`analysis_lib.outcomes.participant_flow`.
    names : dict
        The study's words for "active" and "control".
    treated : pandas.DataFrame, optional
        From :func:`participant_dose`: who received at least one session.

    Returns
    -------
    pandas.DataFrame
        stage (enrolment, randomised, allocated, excluded, follow_up, analysed), arm (active,
        control or both), n (participants; in follow_up those rated at the last visit; missing for
        enrolment, which the data do not hold), text (lines, "; " between them). When nobody was
        excluded that stage has no rows.
    """
    total = sum(flow[arm]["randomised"] for arm in ARMS)
    rows = [
        (
            "enrolment",
            "both",
            np.nan,
            ["Assessed for eligibility: not recorded", "not randomised, and why: not recorded"],
        ),
        ("randomised", "both", total, [f"Randomised: {total}"]),
    ]
    for arm in ARMS:
        rows += _arm_boxes(flow[arm], arm, names[arm], treated)
    table = pd.DataFrame(rows, columns=["stage", "arm", "n", "text"])
    nobody = table["stage"].eq("excluded") & table.groupby("stage")["n"].transform("sum").eq(0)
    table["text"] = table["text"].str.join("; ")
    return table[~nobody].reset_index(drop=True)


def _arm_boxes(own, arm, name, treated):
    allocated = [f"Allocated to {name}: {own['randomised']}"]
    if treated is not None:
        mine = treated[treated["arm"] == arm]
        none = int((mine["sessions"] == 0).sum())
        allocated.append(f"received treatment: {len(mine) - none}")
        allocated += [f"received none: {none}"] if none else []
        left_out = own["randomised"] - len(mine)
        allocated += [f"excluded, treatment not counted: {left_out}"] if left_out else []
    yield "allocated", arm, own["randomised"], allocated
    n_out = sum(map(len, own["excluded"].values()))
    reasons = [f"{reason}: {len(who)}" for reason, who in own["excluded"].items()]
    yield "excluded", arm, n_out, [f"Excluded after randomisation: {n_out}", *reasons]
    rated = [f"rated at {visit}: {n}" for visit, n in own["rated"].items()]
    gone = [f"withdrew after {visit}: {len(who)}" for visit, who in own["withdrew"].items()]
    last = list(own["rated"].values())[-1]
    yield "follow_up", arm, last, ["Follow-up", *rated, *(gone or ["no withdrawal recorded"])]
    analysed = [f"Analysed, primary outcome: {own['analysed']}"]
    if "scanned_twice" in own:
        analysed.append(f"analysed, imaging: {own['scanned_twice']}")
        analysed += [f"{why}: {len(who)}" for why, who in own["not_scanned_twice"].items()]
    yield "analysed", arm, own["analysed"], analysed


# ---- the CONSORT 2025 checklist

NOT_IN_DATA = "not in the data"


class _Item(NamedTuple):
    """An item: where it is answered and how well, given what it needs; how well without that."""

    item: str
    topic: str  # our words
    where: str = ""
    status: str = NOT_IN_DATA
    needs: str = ""
    otherwise: str = NOT_IN_DATA


_CHECKLIST = (
    _Item("1a", "identified as a randomised trial", "study file, title", "partly"),
    _Item("1b", "structured summary", "01 to 03, What we found", "partly"),
    _Item("2", "registration: registry, number, date"),
    _Item("3", "where protocol and analysis plan are"),
    _Item("4", "sharing of data, code, materials", "data/README.md; manifest.json", "partly"),
    _Item("5a", "funding, and the funders' role"),
    _Item("5b", "conflicts of interest"),
    _Item("6", "background and rationale", "README.md", "partly"),
    _Item("7", "objectives: benefits and harms", "notebooks 01 to 03, first cell", "partly"),
    _Item("8", "involvement of patients and public"),
    _Item(
        "9", "design: type, allocation ratio, framework", "01, What exactly is estimated", "partly"
    ),
    _Item("10", "changes after the trial began"),
    _Item("11", "setting and locations", "participants.tsv, site", "partly", "site"),
    _Item("12a", "eligibility of participants"),
    _Item("12b", "eligibility of sites and of those who treat"),
    _Item(
        "13", "interventions, to be replicated", "01, Adherence and dose", "partly", "stimulation"
    ),
    _Item(
        "14",
        "outcomes, prespecified",
        "study file; 01, What exactly is estimated (not when set)",
        "partly",
    ),
    _Item("15", "how harms were defined and assessed"),
    _Item("16a", "how the sample size was determined"),
    _Item("16b", "interim analyses, stopping rules"),
    _Item("17a", "who made the random sequence, and how"),
    _Item("17b", "type of randomisation, restrictions", "study file, strata", "partly", "strata"),
    _Item("18", "concealment of the allocation"),
    _Item("19", "whether those who enrolled knew the sequence"),
    _Item("20a", "who was blinded", "01, Blinding (participants' guesses only)", "partly", "guess"),
    _Item("20b", "how blinding was achieved"),
    _Item(
        "21a", "statistical methods, harms included", "01 to 03, text of each section", "answered"
    ),
    _Item("21b", "who is in each analysis, and in which arm", "01, Who took part", "answered"),
    _Item("21c", "how missing data were handled", "01, Missing data", "answered"),
    _Item("21d", "methods of additional analyses", "01 to 03 (not what was planned)", "partly"),
    _Item(
        "22a",
        "randomised, treated, analysed, by arm",
        "01, Who took part; flow.json",
        "answered",
        "stimulation",
        "partly",
    ),
    _Item("22b", "losses and exclusions, reasons", "01, Who took part (when, not why)", "partly"),
    _Item("23a", "dates of recruitment and follow-up"),
    _Item("23b", "why the trial ended"),
    _Item("24a", "delivery and adherence", "01, Adherence and dose", "partly", "stimulation"),
    _Item("24b", "concomitant care by arm"),
    _Item("25", "baseline characteristics by arm", "01, Table 1; baseline.tsv", "answered"),
    _Item("26", "numbers, results, precision", "01 (binary: absolute effect only)", "partly"),
    _Item("27", "harms by arm", "01, Harms; adverse_events.tsv", "answered", "adverse_events"),
    _Item("28", "results of other analyses", "01 to 03 (not what was planned)", "partly"),
    _Item("29", "interpretation", "01 to 03, What we found (not other evidence)", "partly"),
    _Item("30", "limitations", "01 to 03, What we found", "partly"),
)
RECORDED = ("guess", "adverse_events", "stimulation", "site")


def consort_checklist(study, recorded=()):
    """The 30 items of CONSORT 2025, where each is answered, and what the data cannot answer.

    Item numbers are those of the statement (Hopewell et al. 2025, BMJ 388:e081123), the wording is
    ours. "answered" and "partly" speak of this compendium's output, not of a report:
    protocol, registration, randomisation, funding and the like are in no data set and must come
    from the investigators.

    Parameters
    ----------
    study : Study
    recorded : collection of str
        What the study recorded, among "guess", "adverse_events", "stimulation", "site"; strata are
        known from the study file.

    Returns
    -------
    pandas.DataFrame
        item, topic, where, status (answered, partly, not in the data).

    Raises
    ------
    ValueError
        If ``recorded`` holds another word.
    """
    unknown = set(recorded) - set(RECORDED)
    if unknown:
        raise ValueError(f"recorded: among {RECORDED} expected, found {sorted(unknown)}")
    known = {*recorded, ""} | ({"strata"} if study.strata else set())
    rows = []
    for entry in _CHECKLIST:
        status = entry.status if entry.needs in known else entry.otherwise
        where = "" if status == NOT_IN_DATA else entry.where
        rows.append({"item": entry.item, "topic": entry.topic, "where": where, "status": status})
    return pd.DataFrame(rows)
