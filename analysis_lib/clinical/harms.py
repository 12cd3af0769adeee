"""Adverse events by arm."""

import pandas as pd

from analysis_lib.clinical.risks import risk_difference
from analysis_lib.study.conduct import SEVERITIES
from analysis_lib.study.contract import ARMS
from analysis_lib.study.participants import analysed


def adverse_event_table(events, participants):
    """Adverse events by arm: all, serious, related, by severity and by term.

    There are no p-values: a trial is planned for its benefit, so a test of a harm has little power,
    and "not significant" would be read as "safe"; counts and intervals say what is known (CONSORT
    Harms 2022, Junqueira et al. 2023, BMJ 381:e073725).

    Parameters
    ----------
    events : pandas.DataFrame
        From :func:`analysis_lib.study.read_adverse_events`.
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`; those excluded do not count.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/adverse_events.tsv; limits are Miettinen & Nurminen's (1985). Terms by how
        many participants had them.
    """
    at_risk = analysed(participants)["arm"].value_counts()
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
