"""Flow diagram and checklist of CONSORT 2025."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.study.contract import ARMS


def consort_flow(flow, names, treated=None, aside=None):
    """Boxes of the CONSORT 2025 flow diagram, from `participant_flow`.

    ``names`` are the study's words for the arms, ``treated`` is `participant_dose`: who received at
    least one session. ``aside`` counts participants of no arm that is compared, by what became of
    them.

    A row per box: stage (enrolment, randomised, allocated, excluded, follow_up, analysed; nobody
    excluded, no row), arm (active, control or both), n (participants; in follow_up those rated at
    the last visit; missing for enrolment, which the data do not hold), text (lines, "; " between
    them).
    """
    aside = pd.Series(dtype=int) if aside is None else aside
    never = aside[[str(what).startswith("not randomised") for what in aside.index]]
    other = aside.drop(never.index)
    total = sum(flow[arm]["randomised"] for arm in ARMS) + int(other.sum())
    apart = [f"{what}, not compared here: {n}" for what, n in other.items()]
    rows = [
        (
            "enrolment",
            "both",
            np.nan,
            [
                "Assessed for eligibility: not recorded",
                "not randomised, and why: not recorded",
                *(f"never in the trial, {why}: {n}" for why, n in never.items()),
            ],
        ),
        ("randomised", "both", total, [f"Randomised: {total}", *apart]),
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
    analysed += [f"not in the model, {why}: {n}" for why, n in own["not_analysed"].items()]
    if "scanned_twice" in own:
        analysed.append(f"analysed, imaging: {own['scanned_twice']}")
        analysed += [f"{why}: {len(who)}" for why, who in own["not_scanned_twice"].items()]
    yield "analysed", arm, own["analysed"], analysed


NOT_IN_DATA = "not in the data"
# Of each item: where it is answered and how well, given what it needs; how well without that.
GUIDELINES = ("consort", "harms", "tidier", "chipchase")
RECORDED = ("guess", "adverse_events", "stimulation", "site", "age", "sex", "handedness")
RECORDED += ("stopped_because", "suicide")


def consort_checklist(study, recorded=(), guideline="consort"):
    """The items of CONSORT 2025, where each is answered, and what the data cannot answer.

    The 30 items of the statement (Hopewell et al. 2025, BMJ 388:e081123), or those of another
    guideline: "harms", CONSORT's extension (Junqueira et al. 2023, BMJ 381:e073725; topics, the
    numbering is ours); "tidier" (Hoffmann et al. 2014, BMJ 348:g1687); "chipchase", for TMS
    (Chipchase et al. 2012, Clin Neurophysiol 123:1698-1704). The wording is ours.

    "answered" and "partly" speak of this compendium's output, not of a report: protocol,
    randomisation, funding and the like are in no data set and must come from the investigators.

    Parameters
    ----------
    study : Study
    recorded : collection of str
        What the study recorded, among `RECORDED`, and keys of stimulation.json after "protocol.";
        strata and the registration are known from the study file.
    guideline : str
        One of `GUIDELINES`.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/consort_checklist.tsv and its like.

    Raises
    ------
    ValueError
        If ``recorded`` holds another word.
    """
    unknown = {word for word in recorded if not word.startswith("protocol.")} - set(RECORDED)
    if unknown:
        raise ValueError(f"recorded: among {RECORDED} expected, found {sorted(unknown)}")
    known = {*recorded, ""} | ({"strata"} if study.strata else set())
    known |= {"registered"} if study.registered else set()
    path = Path(__file__).with_name(f"{guideline}.tsv")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    table["status"] = table["status"].where(table["needs"].isin(known), table["otherwise"])
    table["where"] = table["where"].where(table["status"].isin(["answered", "partly"]), "")
    return table[["item", "topic", "where", "status"]]
