"""The antidepressant trial as a BIDS folder."""

import warnings

import pandas as pd

from analysis_lib.datasets.bids_tables import (
    dataset_description,
    described_table,
    in_visit_order,
    require_columns,
    scale_columns,
    score_table,
    session_table,
)
from analysis_lib.results.problems import FetchError, Problem
from analysis_lib.results.words import shortened


def read_rda(path, name):
    """Read one data frame, by its name in R, from an R data file."""
    import rdata

    with warnings.catch_warnings():
        # a tibble is read as the data frame that it is
        warnings.filterwarnings("ignore", "Missing constructor for R class", UserWarning)
        objects = _objects(rdata, path)
    if name not in objects:
        raise FetchError(f"{path}: object {name} expected, found {', '.join(objects)}")
    return objects[name].reset_index(drop=True)


def _objects(rdata, path):
    """Everything in an R data file; the reader raises errors of every kind on a damaged one."""
    try:
        return rdata.read_rda(path)
    except Exception as error:
        remedy = "Remove it and fetch it again"
        found = " ".join(str(error).split()) or type(error).__name__
        raise FetchError(Problem(str(path), "", "an R data file", found, remedy)) from error


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
    return {
        **dataset_description(_ANTIDEPRESSANT, _ANTIDEPRESSANT_README),
        **described_table(
            "participants", _antidepressant_participants(patients, later), _PATIENT_COLUMNS
        ),
        **described_table(
            "phenotype/hamd17", score_table(every, "HAMDTL17"), scale_columns(_HAMD17)
        ),
        **described_table(
            "phenotype/hama",
            score_table(every[every["visit"] != "baseline"], "HAMATOTL"),
            scale_columns(_HAMA),
        ),
        **session_table(every.assign(days=every["RELDAYS"].astype(int)), ["days"]),
    }


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


_ANTIDEPRESSANT = {
    "Name": "Antidepressant against placebo, six weeks",
    "License": "Apache-2.0",
    "Authors": [
        "David J. Goldstein",
        "Yili Lu",
        "Michael J. Detke",
        "Curtis Wiltse",
        "Craig Mallinckrodt",
        "Mark A. Demitrack",
    ],
    "HowToAcknowledge": "Goldstein et al. 2004, J Clin Psychopharmacol 24:389-399; R package rbmi",
    "SourceDatasets": [{"URL": "https://github.com/insightsengineering/rbmi"}],
}

_ANTIDEPRESSANT_README = """\
Two-arm trial of an antidepressant against placebo: 84 and 88 patients, baseline and weeks 1, 2, 4
and 6. From the R package rbmi (data set antidepressant_data, Apache-2.0), which took it from the
DIA working group on estimands and missing data. The original trial (Goldstein et al. 2004, Journal
of Clinical Psychopharmacology 24:389-399) had four arms and a week 8; to mask it, week 8 was
removed and the drug arm drawn at random from the three arms that were not placebo.

Hamilton's depression scale (HAMD-17) has a baseline; his anxiety scale (HAMA) has none in the
source. Nothing is known of a patient after the drug was stopped: withdrawn_after is the last
visit with a rating. One patient missed week 2. A visit that did not take place has no row.

Written by python -m analysis_lib fetch antidepressant. Please cite the trial and the package.
"""

_PATIENT_COLUMNS = {
    "participant_id": {"Description": "Patient; PATIENT in the source, with sub- before it"},
    "therapy": {
        "Description": "Arm; THERAPY in the source",
        "Levels": {"DRUG": "antidepressant", "PLACEBO": "placebo"},
    },
    "sex": {
        "Description": "Sex; GENDER in the source",
        "Levels": {"F": "female", "M": "male"},
    },
    "site": {"Description": "Pooled investigator; POOLINV in the source"},
    "withdrawn_after": {
        "Description": "Last visit with a rating, of a patient who was not rated at week 6; "
        "n/a: rated at week 6"
    },
}

_HAMD17 = "Hamilton Depression Rating Scale, 17 items, total (HAMDTL17; baseline: BASVAL)"
_HAMA = "Hamilton Anxiety Rating Scale, total (HAMATOTL); not available at baseline"
