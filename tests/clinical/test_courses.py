"""Change in a study without a control arm, against paired t-tests and proportions by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from analysis_lib.clinical import courses, numbers, trial_data


@pytest.fixture
def study(tiny):
    """The tiny trial as one group."""
    del tiny.participants["arm"]
    rng = np.random.default_rng(3)
    for table in tiny.scales.values():
        later = table["session_id"] != "ses-baseline"
        noise = rng.integers(-3, 4, later.sum())
        table.loc[later, "total"] = table.loc[later, "total"].astype(int) + noise
    tiny.content |= {"arms": "none", "covariates": []}
    return tiny.write()


def test_with_everyone_rated_each_visit_is_a_paired_t_test(study):
    data = trial_data.read_trial(study)
    found = courses.change_table(data.changes).set_index(["scale", "visit"])
    wide = data.scores.pivot(index="participant_id", columns=["scale", "visit"], values="score")
    for scale in ("HAMD-17", "HAMA"):
        for visit in ("week1", "week2"):
            row, pair = found.loc[(scale, visit)], wide[scale]
            test = stats.ttest_rel(pair[visit], pair["baseline"])
            low, high = test.confidence_interval()
            given = row[["mean", "t", "p", "df", "ci_low", "ci_high"]].to_numpy(float)
            change = (pair[visit] - pair["baseline"]).mean()
            assert given == pytest.approx([change, test.statistic, test.pvalue, 7, low, high])


def test_one_visit_is_the_paired_t_test_too(study):
    changes = trial_data.read_trial(study).changes
    rows = changes[changes["visit"] == "week2"]
    rows = rows.assign(visit=rows["visit"].cat.remove_unused_categories())
    found = courses.change_table(rows).set_index("scale")
    whole = courses.change_table(changes).query("visit == 'week2'").set_index("scale")
    for column in ("mean", "se", "df", "t", "p", "ci_low", "hedges_g"):
        assert found[column].to_numpy(float) == pytest.approx(whole[column].to_numpy(float))


def test_response_is_a_share_of_those_rated(study):
    data = trial_data.read_trial(study)
    scores = data.scores.copy()
    gone = scores["participant_id"].eq("sub-01") & scores["visit"].eq("week2")
    scores.loc[gone, "score"] = np.nan
    found = courses.share_table(study, scores).set_index(["scale", "visit", "outcome"])
    row = found.loc[("HAMD-17", "week2", "response")]
    wide = scores[scores["scale"] == "HAMD-17"].pivot(
        index="participant_id", columns="visit", values="score"
    )
    events = int((wide["week2"] <= wide["baseline"] / 2).sum())
    limits = proportion_confint(events, 7, method="wilson")
    assert (row["n"], row["events"]) == (7, events)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(limits)


def test_numbers_of_the_courses_name_their_file(study):
    tables = courses.course_tables(study, trial_data.read_trial(study))
    kept = SimpleNamespace(json=lambda name: tables[name], table=lambda name: tables[name])
    found = numbers.clinical_numbers(study, kept)
    assert found["flow.analysed"] == (8, "flow.json")
    first = tables["change"].iloc[0]
    assert found[f"hama.{first['visit']}.mean"] == (first["mean"], "change.tsv")
    assert pd.notna(first["p"])
