"""The antidepressant trial as a BIDS folder."""

import warnings

import pandas as pd

from analysis_lib.datasets.bids_tables import bids_folder, in_visit_order, require_columns
from analysis_lib.results.problems import FetchError
from analysis_lib.results.words import shortened


def read_rda(path, name):
    """Read one data frame, by its name in R, from an R data file."""
    import rdata

    with warnings.catch_warnings():
        # a tibble is read as the data frame that it is
        warnings.filterwarnings("ignore", "Missing constructor for R class", UserWarning)
        objects = rdata.read_rda(path)
    if name not in objects:
        raise FetchError(f"{path}: object {name} expected, found {', '.join(objects)}")
    return objects[name].reset_index(drop=True)


_DAYS = {"baseline": 0, "week1": 7, "week2": 14, "week4": 28, "week6": 42}
_VISITS = {"4": "week1", "5": "week2", "6": "week4", "7": "week6"}


def antidepressant_dataset(visits):
    """Turn the antidepressant trial into the files of a BIDS folder: text by path.

    ``visits`` is the data frame of the R package rbmi: one row a patient and visit after baseline.
    A patient with two arms, sites, sexes or baselines, a visit twice, a change that is not score -
    baseline, or visits whose days do not fit weeks 1, 2, 4, 6 are a `FetchError`.
    """
    require_columns(
        "antidepressant_data.rda", visits, [*_PER_PATIENT, "PATIENT", "VISIT", "RELDAYS"]
    )
    require_columns("antidepressant_data.rda", visits, ["HAMDTL17", "HAMATOTL", "CHANGE"])
    later = visits.assign(
        participant_id="sub-" + visits["PATIENT"].astype(str),
        visit=visits["VISIT"].astype(str).map(_VISITS),
    )
    _check_antidepressant(later)
    patients = later.drop_duplicates("participant_id")
    first = patients.assign(visit="baseline", HAMDTL17=patients["BASVAL"], RELDAYS=0)
    every = in_visit_order(pd.concat([first, later]), list(_DAYS))
    people = _antidepressant_participants(patients, later)
    scales = {"hamd17": (every, "HAMDTL17")}
    scales["hama"] = (every[every["visit"] != "baseline"], "HAMATOTL")
    came = every.assign(days=every["RELDAYS"].astype(int))
    return bids_folder("antidepressant", people, scales, came, ["days"])


_PER_PATIENT = ["THERAPY", "GENDER", "POOLINV", "BASVAL"]


def _check_antidepressant(later):
    _refuse("a VISIT of 4 to 7", later, later["visit"].isna())
    _refuse("each visit once", later, later.duplicated(["participant_id", "visit"]))
    values = later.groupby("participant_id")[_PER_PATIENT].transform(lambda x: x.astype(str))
    for column in _PER_PATIENT:
        several = values.groupby(later["participant_id"])[column].transform("nunique") > 1
        _refuse(f"one {column} a patient", later, several)
    wrong = later["CHANGE"] != later["HAMDTL17"] - later["BASVAL"]
    _refuse("CHANGE = HAMDTL17 - BASVAL", later, wrong)
    ordered = in_visit_order(later, list(_DAYS))
    backwards = ordered.groupby("participant_id")["RELDAYS"].diff() <= 0
    _refuse("RELDAYS that increase over visits", ordered, backwards)
    medians = later.groupby("visit")["RELDAYS"].median()
    for visit, days in medians.items():
        if days != _DAYS[visit]:
            raise FetchError(
                f"antidepressant_data.rda: {visit}: a median RELDAYS of {_DAYS[visit]} expected, "
                f"found {days:g}: VISIT does not mean what was assumed"
            )


def _refuse(expected, table, wrong):
    if wrong.any():
        who = list(dict.fromkeys(table.loc[wrong, "participant_id"]))
        raise FetchError(
            f"antidepressant_data.rda: {expected} expected, found otherwise in {shortened(who)}"
        )


def _antidepressant_participants(patients, later):
    last = in_visit_order(later, list(_DAYS)).groupby("participant_id")["visit"].last()
    withdrawn = last.astype(object).where(last != "week6")
    table = pd.DataFrame(
        {
            "participant_id": patients["participant_id"],
            "therapy": patients["THERAPY"].astype(str),
            "sex": patients["GENDER"].astype(str),
            "site": patients["POOLINV"].astype(str),
            "withdrawn_after": patients["participant_id"].map(withdrawn),
        }
    )
    return table.sort_values("participant_id")
