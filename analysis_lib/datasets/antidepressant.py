"""The antidepressant trial as a BIDS folder."""

import warnings

import pandas as pd

from analysis_lib.datasets.bids_tables import bids_folder, in_visit_order
from analysis_lib.results.problems import FetchError, Problem


def read_rda(path, name):
    """Read one data frame, by its name in R, from an R data file."""
    try:
        objects = r_objects(path)
    except Exception as error:  # the reader raises errors of every kind on a damaged file
        remedy = "Remove it and fetch it again"
        found = " ".join(str(error).split()) or type(error).__name__
        raise FetchError(Problem(str(path), "", "an R data file", found, remedy)) from error
    if name not in objects:
        raise FetchError(f"{path}: object {name} expected, found {', '.join(objects)}")
    return objects[name].reset_index(drop=True)


def r_objects(path) -> dict:
    """Everything in an R data file, by name; a tibble is read as the data frame that it is."""
    import rdata

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Missing constructor for R class", UserWarning)
        return rdata.read_rda(path)


_LATER = {"4": "week1", "5": "week2", "6": "week4", "7": "week6"}
_VISITS = ["baseline", *_LATER.values()]


def antidepressant_dataset(visits):
    """Turn the antidepressant trial into the files of a BIDS folder: text by path.

    ``visits`` is the data frame of the R package rbmi: one row a patient and visit after baseline.
    """
    later = visits.assign(
        participant_id="sub-" + visits["PATIENT"].astype(str),
        visit=visits["VISIT"].astype(str).map(_LATER),
    )
    patients = later.drop_duplicates("participant_id")
    first = patients.assign(visit="baseline", HAMDTL17=patients["BASVAL"], RELDAYS=0)
    every = in_visit_order(pd.concat([first, later]), _VISITS)
    people = _antidepressant_participants(patients, later)
    scales = {"hamd17": (every, "HAMDTL17")}
    scales["hama"] = (every[every["visit"] != "baseline"], "HAMATOTL")
    came = every.assign(days=every["RELDAYS"].astype(int))
    return bids_folder("antidepressant", people, scales, came, ["days"])


def _antidepressant_participants(patients, later):
    last = in_visit_order(later, _VISITS).groupby("participant_id")["visit"].last()
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
