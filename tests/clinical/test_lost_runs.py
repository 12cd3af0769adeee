"""No run of notebook 01 is lost: a slice of benchmarks/lost_runs.py, and single cases."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.checking import check
from analysis_lib.clinical import fit_models, read_trial
from analysis_lib.clinical.dry_run import unanswered_parts
from analysis_lib.results.problems import StudyError
from benchmarks import lost_runs


@pytest.mark.parametrize("seed", [0, 8, 11])
def test_check_and_run_agree_on_what_cannot_be_computed(seed):
    assert lost_runs.outcome_of(seed) == []


def noisy(tiny):
    rng = np.random.default_rng(0)
    for table in tiny.scales.values():
        table["total"] += rng.integers(-3, 4, len(table))
    return tiny


def unanswered(tiny):
    study = tiny.write()
    return unanswered_parts(study, read_trial(study))


def without(tiny, who, visit):
    table = tiny.scales["hamd17.tsv"]
    gone = table["participant_id"].isin(who) & table["session_id"].eq(f"ses-{visit}")
    tiny.scales["hamd17.tsv"] = table.assign(total=table["total"].mask(gone, "n/a"))


def test_nothing_is_unanswered_in_a_sound_trial(tiny):
    assert unanswered(noisy(tiny)) == {}


def test_one_participant_left_in_an_arm_takes_the_visit_and_nothing_else(tiny):
    without(noisy(tiny), ["sub-01", "sub-03", "sub-05"], "week2")
    found = unanswered(tiny)
    assert set(found) == {"Primary analysis, HAMD-17", "Re-randomisation"}
    assert "week2: fewer than two of an arm were rated" in found["Primary analysis, HAMD-17"]


def test_baselines_alike_are_left_out_of_the_model(tiny):
    table = noisy(tiny).scales["hamd17.tsv"]
    first = table["session_id"] == "ses-baseline"
    tiny.scales["hamd17.tsv"] = table.assign(total=table["total"].mask(first, 24))
    study = tiny.write()
    fits = fit_models(read_trial(study).changes)
    assert "baseline" not in fits["HAMD-17"].formula
    assert "baseline*visit" in fits["HAMA"].formula
    assert set(unanswered(tiny)) == {"Imputation, HAMD-17"}


def test_missing_baselines_are_no_reason_to_stop(tiny):
    without(noisy(tiny), ["sub-04", "sub-05"], "baseline")
    assert unanswered(tiny) == {}


def test_of_two_visits_one_copied_from_the_other_the_reason_is_told(tiny):
    table = noisy(tiny).scales["hamd17.tsv"]
    wide = table.pivot(index="participant_id", columns="session_id", values="total")
    copied = table["participant_id"].map(wide["ses-week1"])
    tiny.scales["hamd17.tsv"] = table.assign(
        total=table["total"].where(table["session_id"] != "ses-week2", copied)
    )
    found = unanswered(tiny)
    assert set(found) == {"Primary analysis, HAMD-17", "Imputation, HAMD-17"}
    assert "the correlation of visits 'week1' and 'week2' is 1.0000" in found.popitem()[1]


def test_a_scale_that_cannot_be_modelled_takes_no_other_with_it(tiny):
    noisy(tiny).scales["hama.tsv"]["total"] = 20
    study = tiny.write()
    fits = fit_models(read_trial(study).changes)
    assert list(fits) == ["HAMD-17"]
    assert "no variance" in fits.reasons["HAMA"]
    with pytest.raises(ValueError, match=r"HAMA: .*no variance"):
        fits["HAMA"]


def test_a_reason_is_printed_and_kept(tiny, capsys):
    from analysis_lib import results

    found = results.begin(tiny.write(), "clinical")
    with found.part("Table 1"):
        raise ValueError("nobody was\nrated")
    assert capsys.readouterr().out == "Not computed: Table 1. nobody was rated\n"
    expected = pd.DataFrame({"part": ["Table 1"], "reason": ["nobody was rated"]})
    pd.testing.assert_frame_equal(found.table("notes"), expected)


def refused_by_both(tiny, words):
    """The check and the notebook's reader refuse a study with the same words."""
    study = tiny.write()
    with pytest.raises(StudyError, match=words) as caught:
        read_trial(study)
    assert {str(one) for one in caught.value.problems} <= {str(one) for one in check(study)}


def test_a_factor_that_stands_for_the_arm_is_refused_where_it_is_read_too(tiny):
    noisy(tiny).participants["site"] = np.where(tiny.participants["arm"] == "active", "x", "y")
    tiny.content["model"] = {"factors": ["site"]}
    refused_by_both(tiny, "leave the arm to be tested")


def test_a_primary_scale_without_any_baseline_is_refused_where_it_is_read_too(tiny):
    without(noisy(tiny), tiny.participants["participant_id"], "baseline")
    refused_by_both(tiny, "scores at ses-baseline expected, found none")
