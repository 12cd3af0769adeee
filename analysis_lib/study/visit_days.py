"""On which days visits really took place: column days of sub-X/sub-X_sessions.tsv."""

import numpy as np
import pandas as pd

from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.participants import analysed
from analysis_lib.study.pseudonyms import in_file
from analysis_lib.study.tables import read_text_table

COLUMNS = ["visit", "planned_days", "n", "median_days", "first_day", "last_day"]
COLUMNS += ["window_low", "window_high", "n_outside"]


def visit_days(study, participants) -> pd.DataFrame:
    """How far the real days of each visit spread, and how many lie outside its window.

    Days since baseline, of participants who are not excluded; window_low and window_high are the
    study file's ``windows``. Visits outside are counted and kept. Empty where no days are recorded.
    """
    days = _days(study, participants)
    rows = []
    for visit, week in study.visits.items():
        own = days.loc[days["visit"] == visit, "days"]
        low, high = study.windows.get(visit, (None, None))
        row = {"visit": visit, "planned_days": 7 * week, "n": len(own)}
        row |= {"median_days": own.median(), "first_day": own.min(), "last_day": own.max()}
        row |= {"window_low": low, "window_high": high}
        row["n_outside"] = 0 if low is None else int((~own.between(low, high)).sum())
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    table[["window_low", "window_high"]] = table[["window_low", "window_high"]].astype(float)
    return table[table["n"] > 0].reset_index(drop=True)


def visit_order(study, participants):
    """A warning for participants whose days do not increase from visit to visit."""
    days = _days(study, participants)
    days = days[days["visit"].isin(study.visits)]
    ordered = days.iloc[days["visit"].map(list(study.visits).index).argsort(kind="stable")]
    back = ordered.groupby("participant_id")["days"].diff() <= 0
    for who in ordered["participant_id"][back].unique():
        own = ordered.loc[ordered["participant_id"] == who, "days"]
        found = ", ".join(f"{day:g}" for day in own)
        expected, remedy = "days that increase from visit to visit", "Exchange the visits?"
        yield Problem(f"{who}_sessions.tsv", "days", expected, found, remedy, warning="visit-order")


def _days(study, participants):
    tables = [pd.DataFrame(columns=["participant_id", "visit", "days"])]
    for who in analysed(participants)["participant_id"]:
        own = in_file(study, who)
        path = study.root / own / f"{own}_sessions.tsv"
        if path.is_file():
            table = read_text_table(path, path.name)
            if {"session_id", "days"} <= set(table):
                tables.append(_numbers(path, table).assign(participant_id=who))
    return pd.concat(tables).dropna().astype({"days": float})


def _numbers(path, table):
    days = pd.to_numeric(table["days"], errors="coerce")
    wrong = table.loc[~np.isfinite(days) & table["days"].notna(), "days"]
    if len(wrong):
        found = ", ".join(map(repr, wrong))
        raise StudyError(Problem(path.name, "days", "days since baseline, numbers", found))
    return pd.DataFrame({"visit": table["session_id"].str.removeprefix("ses-"), "days": days})
