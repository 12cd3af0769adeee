"""Contrasts of a table of regions, against every sign flip by hand and Welch's t."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis_lib.atlas.grids import region_names
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.checking import check
from analysis_lib.results.problems import StudyError
from analysis_lib.vbm import region_tests

REGIONS = region_names(load_atlas("aal"))[:12].tolist()


def write(tiny, arms=True, names=REGIONS, more=()):
    """The tiny trial with a table of regions."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(0.5, 1, (8, len(names))), columns=names)
    table.insert(0, "participant_id", tiny.participants["participant_id"])
    table = pd.concat([table, pd.DataFrame(more)]) if more else table
    tiny.content |= {"imaging": {"table": "regions.tsv", "atlas": "aal"}, "covariates": []}
    if not arms:
        tiny.content["arms"] = "none"
        del tiny.participants["arm"]
    study = tiny.write()
    table.to_csv(study.root / "regions.tsv", sep="\t", index=False, na_rep="n/a")
    return study, table.set_index("participant_id")


def test_one_group_is_tested_by_all_sign_flips(tiny):
    study, table = write(tiny, arms=False)
    changes = region_tests.read_region_changes(study)
    options = {"errors_within": "symmetric", "n_permutations": 1000}
    found = changes.assess(**options, seed=0)["change_regions"].set_index("region")
    values = table[found.index].to_numpy()
    flips = np.array(list(itertools.product((1, -1), repeat=8)))
    largest = [
        np.abs(stats.ttest_1samp(flip[:, None] * values, 0).statistic).max() for flip in flips
    ]
    t = stats.ttest_1samp(values, 0)
    assert found["t"].to_numpy() == pytest.approx(t.statistic, rel=1e-4)
    assert found["percent"].to_numpy() == pytest.approx(values.mean(axis=0))
    low, high = t.confidence_interval()
    assert pytest.approx(np.array([low, high])) == found[["ci_low", "ci_high"]].to_numpy().T
    by_hand = (np.array(largest)[:, None] >= np.abs(t.statistic) - 1e-9).mean(axis=0)
    assert found["p_fwe_t"].to_numpy() == pytest.approx(by_hand, abs=1e-9)


def test_two_arms_are_compared_by_welch_and_each_within_itself(tiny):
    study, table = write(tiny)
    found = region_tests.read_region_changes(study).assess(n_permutations=99, seed=0)
    rows = found["arm_by_time_regions"].set_index("region")
    active = tiny.participants.set_index("participant_id")["arm"] == "active"
    values = table[rows.index].to_numpy()
    test = stats.ttest_ind(values[active], values[~active], equal_var=False)
    assert rows["t"].to_numpy() == pytest.approx(test.statistic, rel=1e-4)
    assert rows["df"].to_numpy() == pytest.approx(rows["df"].iloc[0])
    assert set(found) >= {"summary", "active_change_regions", "control_change_regions"}
    assert found["summary"].set_index("contrast")["n"].to_dict() == {
        "active_change": 4,
        "control_change": 4,
        "arm_by_time": 8,
    }


def test_a_bound_of_no_change_is_tested(tiny):
    tiny.content["equivalence"] = {"percent": 50}
    study, _ = write(tiny, arms=False)
    found = region_tests.read_region_changes(study).assess(n_permutations=99, seed=0)
    assert (found["equivalence"]["p_equivalence"] < 0.001).all()


def test_sets_named_beforehand_have_bounds_where_they_changed(tiny):
    tiny.content["region_sets"] = {"first": REGIONS[:4], "last": REGIONS[4:]}
    study, table = write(tiny, arms=False)
    table[REGIONS[:4]] += 20
    table[REGIONS[4:]] -= table[REGIONS[4:]].mean()
    table.to_csv(study.root / "regions.tsv", sep="\t")
    found = region_tests.read_region_changes(study).assess(n_permutations=255, seed=0)
    sets = found["region_sets"].set_index("region_set")
    assert sets["n_voxels"].to_dict() == {
        "first": 4,
        "first, all others": 8,
        "last": 8,
        "last, all others": 4,
    }
    assert sets.loc["first", "true_discoveries"] >= 0.75
    assert sets.loc["last", "true_discoveries"] == 0
    assert sets.loc["first", "p_set"] < 0.05 < sets.loc["last", "p_set"]


def test_the_check_names_what_is_left_out_and_passes(tiny):
    study, _ = write(tiny, names=[*REGIONS, "EstimatedTotalIntraCranialVol"])
    (warning,) = check(study, ["02"])
    assert warning.severity == "warning"
    assert "found EstimatedTotalIntraCranialVol, left out" in str(warning)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"participant_id": "sub-99"}, "participants of participants.tsv expected, found sub-99"),
        ({"participant_id": "sub-01"}, "sub-01"),
        ({"participant_id": "sub-08", REGIONS[0]: 2000}, "a number from -100 to 1000"),
    ],
)
def test_wrong_rows_are_refused_by_the_check_and_the_reader(tiny, row, message):
    study, _ = write(tiny, more=[row])
    assert any(message in str(problem) for problem in check(study, ["02"]))
    with pytest.raises(StudyError, match=message):
        region_tests.read_region_changes(study)


def test_a_region_that_somebody_lacks_is_left_out_and_said(tiny):
    study, table = write(tiny)
    path = study.root / "regions.tsv"
    table.iloc[2, 0] = np.nan
    table.reset_index().to_csv(path, sep="\t", index=False, na_rep="n/a")
    changes = region_tests.read_region_changes(study)
    assert REGIONS[0] not in changes.change
    assert f"none in somebody for {REGIONS[0]}, left out" in changes.described
