"""Data and options that are refused, and the words in which they are."""

import numpy as np
import pandas as pd
import pytest
from mmrm_trials import FORMULA, KEYS, trial

from trialmmrm import fit_mmrm


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.drop(columns="visit"), "no column 'visit' \\(visit\\).*found: id, arm"),
        (lambda d: d.drop(columns="id"), "no column 'id' \\(subject\\)"),
        (lambda d: d.drop(columns="baseline"), "no column 'baseline' \\(formula"),
        (lambda d: pd.concat([d, d.head(1)]), "participant 'p00' has 2 rows at visit 'week1'"),
        (lambda d: d.assign(id=d["id"].where(d["id"] != "p03")), "column 'id': 3 rows are empty"),
        (lambda d: d.assign(change="bad"), "outcome 'change': numbers expected, found"),
        (lambda d: d.assign(change=np.nan), "no row is complete: of 108 rows, 108 without change"),
        (lambda d: d.assign(baseline=np.inf), "column 'baseline': infinite values"),
        (lambda d: d.assign(baseline=1.0), "columns and rank 6: .*baseline.*can be told"),
        (lambda d: d.assign(arm="active"), "column 'arm' has one level only \\('active'\\)"),
        (
            lambda d: d[(d["arm"] == "control") | (d["id"] == "p00")],
            "column 'arm', level 'active' occurs in one participant only \\('p00'\\)",
        ),
        (
            lambda d: d.assign(change=d["change"].mask(d["visit"] == "week3")),
            "column 'visit': nobody was rated at 'week3' \\(rows left out: 36 without change\\)",
        ),
        (
            lambda d: d[(d["arm"] == "control") | (d["visit"] != "week3")],
            "column 'arm', level 'active': nobody was rated at visit 'week3'",
        ),
        (
            lambda d: d.assign(change=d["change"].mask(d["arm"] == "active", -4.0)),
            "column 'arm', level 'active': no variance.*such as -4",
        ),
        (
            lambda d: d.assign(change=d["change"].mask(d["arm"] == "active")),
            "column 'arm': nobody is left with 'active'",
        ),
    ],
)  # fmt: skip
def test_data_that_cannot_answer_are_refused(spoil, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit_mmrm(spoil(trial()), FORMULA, **KEYS)


def test_a_level_that_occurs_once_is_refused():
    data = trial()
    data["site"] = np.where(data["id"] == "p07", "far", "near")
    with pytest.raises(
        ValueError, match=r"'site', level 'far' occurs in one participant only \('p07'"
    ):
        fit_mmrm(data, FORMULA + " + site", **KEYS)


def test_words_without_an_order_are_refused_where_the_covariance_depends_on_it():
    data = trial().replace({"visit": {"week1": "early", "week2": "late", "week3": "end"}})
    fit_mmrm(data, FORMULA, **KEYS)
    with pytest.raises(ValueError, match="the order of visits early, end, late is not known"):
        fit_mmrm(data, FORMULA, **KEYS, covariance="ar1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "un"}, "covariance 'un': one of us, toeph, toep, csh, cs, ar1h, ar1"),
        ({"df": "z"}, "df 'z': one of kenward-roger, satterthwaite"),
        ({"reml": False}, "Kenward-Roger needs REML: say reml=True, or df='satterthwaite'"),
        ({"formula": "change"}, "one outcome, a tilde and terms expected"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_mmrm(trial(), **{"formula": FORMULA, **KEYS, **options})


def test_words_and_numbers_mixed_are_refused():
    data = trial().assign(visit=lambda d: d["visit"].astype(object).mask(d["visit"] == "week2", 2))
    with pytest.raises(ValueError, match="column 'visit' mixes int and str"):
        fit_mmrm(data, FORMULA, **KEYS)


def test_a_transformation_that_fails_is_refused():
    data = trial().assign(baseline=lambda d: d["baseline"].mask(d["id"] == "p01", 0.0))
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=r"np.log\(baseline\).*log"):
        fit_mmrm(data, "change ~ np.log(baseline) + arm*visit", **KEYS)
