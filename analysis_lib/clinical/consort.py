"""Flow diagram and checklist of CONSORT 2025."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis_lib.study.contract import ARMS


def consort_flow(flow, names, treated=None):
    """Boxes of the CONSORT 2025 flow diagram.

    Parameters
    ----------
    flow : dict
        From :func:`analysis_lib.clinical.flow.participant_flow`.
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
        "13", "interventions, to be replicated", "S0, Adherence and dose", "partly", "stimulation"
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
    _Item("20a", "who was blinded", "S0, Blinding (participants' guesses only)", "partly", "guess"),
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
    _Item("24a", "delivery and adherence", "S0, Adherence and dose", "partly", "stimulation"),
    _Item("24b", "concomitant care by arm"),
    _Item("25", "baseline characteristics by arm", "01, Table 1; baseline.tsv", "answered"),
    _Item("26", "numbers, results, precision", "01 (binary: absolute effect only)", "partly"),
    _Item("27", "harms by arm", "S0, Harms; adverse_events.tsv", "answered", "adverse_events"),
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
