"""The randomisation test: exact when enumerated, like t when t is right, calibrated when not."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis_lib.clinical.outcomes import ancova
from analysis_lib.clinical.randomisation import randomisation_test


def changes_of(baseline, outcome, active):
    """A table as ``scores.with_baseline`` makes it."""
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:03d}" for i in range(len(baseline))],
            "arm": np.where(active, "active", "control"),
            "scale": "HAMD-17",
            "visit": "week2",
            "kind": "change",
            "baseline": baseline,
            "outcome": outcome,
        }
    )


def drawn(n_active, n_control, seed, effect=0.0, spread=(1.0, 1.0)):
    rng = np.random.default_rng(seed)
    active = rng.permutation(np.arange(n_active + n_control) < n_active)
    baseline = rng.normal(size=len(active))
    noise = rng.normal(size=len(active)) * np.where(active, *spread)
    return changes_of(baseline, 0.6 * baseline + effect * active + noise, active)


def t_of(baseline, outcome, active):
    x = np.column_stack([np.ones(len(baseline)), baseline, active])
    return sm.OLS(outcome, x).fit(cov_type="HC3").tvalues[2]


def test_four_against_four_is_the_exact_test_over_all_70_allocations():
    changes = drawn(4, 4, seed=5, effect=-1.5)
    baseline, outcome = changes["baseline"].to_numpy(), changes["outcome"].to_numpy()
    observed = abs(t_of(baseline, outcome, changes["arm"].eq("active").to_numpy(float)))
    every = []
    for who in itertools.combinations(range(8), 4):
        every.append(abs(t_of(baseline, outcome, np.isin(np.arange(8), who).astype(float))))
    found = randomisation_test(changes, "HAMD-17", "week2").iloc[0]
    assert found["exhaustive"]
    assert found["n_permutations"] == 69
    assert found["p_randomisation"] == np.mean(np.array(every) >= observed * (1 - 1e-9))


def test_within_strata_every_allocation_keeps_the_arms_of_each_stratum():
    changes = drawn(4, 4, seed=8, effect=-2)
    active = changes["arm"].eq("active").to_numpy(float)
    # strata of unequal make-up: 3 active of 4, 1 active of 4
    order = np.argsort(-active, kind="stable")
    stratum = pd.Series("", changes["participant_id"])
    stratum.iloc[order[[0, 1, 2, 4]]], stratum.iloc[order[[3, 5, 6, 7]]] = "a", "b"
    baseline, outcome = changes["baseline"].to_numpy(), changes["outcome"].to_numpy()
    in_a = stratum.eq("a").to_numpy()
    every = []
    for who in itertools.combinations(range(8), 4):
        label = np.isin(np.arange(8), who).astype(float)
        if label[in_a].sum() == 3:
            every.append(abs(t_of(baseline, outcome, label)))
    found = randomisation_test(changes, "HAMD-17", "week2", strata=stratum).iloc[0]
    observed = abs(t_of(baseline, outcome, active))
    assert (found["n_permutations"], found["n_strata"], len(every)) == (15, 2, 16)
    assert found["p_randomisation"] == np.mean(np.array(every) >= observed * (1 - 1e-9))


def test_estimate_and_t_are_those_of_the_ancova():
    changes = drawn(14, 9, seed=2, effect=-1, spread=(2, 1))
    found = randomisation_test(changes, "HAMD-17", "week2", n_permutations=10).iloc[0]
    expected = ancova(changes).iloc[0]
    for name in ("estimate", "se", "t", "n_active", "n_control"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9)


@pytest.mark.parametrize("effect", [0.1, -0.35, 0.6])
def test_p_agrees_with_t_for_normal_scores(effect):
    changes = drawn(60, 60, seed=4, effect=effect)
    expected = ancova(changes).iloc[0]["p"]
    found = randomisation_test(changes, "HAMD-17", "week2", n_permutations=20_000, seed=1).iloc[0]
    error = np.sqrt(expected * (1 - expected) / 20_000)
    assert found["p_randomisation"] == pytest.approx(expected, abs=4 * error + 0.05 * expected)


@pytest.mark.parametrize(("n_active", "spread"), [(10, (3.0, 1.0)), (24, (3.0, 1.0))])
def test_level_is_kept_by_unequal_arms_of_unequal_spread(n_active, spread):
    """First the smaller arm is the more variable one, then the larger."""
    n_trials = 500
    rejected = [
        randomisation_test(
            drawn(n_active, 34 - n_active, seed=1000 + k, spread=spread),
            "HAMD-17",
            "week2",
            n_permutations=199,
            seed=k,
        )["p_randomisation"].iloc[0]
        <= 0.05
        for k in range(n_trials)
    ]
    low, high = stats.binom.ppf([0.001, 0.999], n_trials, 0.05)
    assert low <= sum(rejected) <= high


def test_same_seed_same_p_and_the_input_is_left_alone():
    changes = drawn(12, 12, seed=3)
    before = changes.copy()
    p = [
        randomisation_test(changes, "HAMD-17", "week2", n_permutations=99, seed=s).iloc[0][
            "p_randomisation"
        ]
        for s in (0, 0, 1)
    ]
    assert p[0] == p[1] != p[2]
    pd.testing.assert_frame_equal(changes, before)


def test_5000_relabellings_are_drawn_from_seed_0_unless_said_otherwise():
    clear = randomisation_test(drawn(12, 12, seed=3, effect=9), "HAMD-17", "week2").iloc[0]
    assert clear["p_randomisation"] == 1 / 5001
    p = [
        randomisation_test(drawn(12, 12, seed=3), "HAMD-17", "week2", **options).iloc[0][
            "p_randomisation"
        ]
        for options in ({}, {"seed": 0}, {"seed": 1})
    ]
    assert p[0] == p[1] != p[2]


@pytest.mark.filterwarnings("error")
def test_a_relabelling_without_a_t_counts_against_the_observed_one():
    """Of 20, two are the baseline over again, and two leave no residual: an error of 0."""
    observed, perfect = [0, 1, 4], (0, 1, 3)
    baseline, label = np.array([0.0, 0, 0, 1, 1, 1]), np.isin(range(6), perfect).astype(float)
    changes = changes_of(baseline, 2 * label, np.isin(range(6), observed))
    every = []
    for who in itertools.combinations(range(6), 3):
        undefined = who in (perfect, (2, 4, 5), (0, 1, 2), (3, 4, 5))
        chosen = np.isin(range(6), who).astype(float)
        every.append(np.inf if undefined else abs(t_of(baseline, 2 * label, chosen)))
    found = randomisation_test(changes, "HAMD-17", "week2").iloc[0]
    t = abs(t_of(baseline, 2 * label, np.isin(range(6), observed).astype(float)))
    assert found["t"] == pytest.approx(t)
    assert found["p_randomisation"] == np.mean(np.array(every) >= t * (1 - 1e-9))


def test_two_in_an_arm_are_enough():
    found = randomisation_test(drawn(2, 5, seed=1), "HAMD-17", "week2").iloc[0]
    assert (found["n_active"], found["n_permutations"]) == (2, 20)


def test_an_arm_of_one_is_refused_by_its_number():
    expected = "at least two rated participants in each arm expected, found 1 active and 7 control"
    with pytest.raises(ValueError, match=expected):
        randomisation_test(drawn(1, 7, seed=0), "HAMD-17", "week2")


def test_an_unknown_visit_is_refused():
    with pytest.raises(ValueError, match=r"HAMD-17 at week9: .* found 0 active and 0 control"):
        randomisation_test(drawn(4, 4, seed=0), "HAMD-17", "week9")


@pytest.mark.parametrize("outcome", [-3.0, -3.3e6])
def test_scores_without_any_spread_are_refused(outcome):
    changes = drawn(5, 5, seed=0).assign(outcome=outcome)
    with pytest.raises(ValueError, match="no error of the difference can be estimated"):
        randomisation_test(changes, "HAMD-17", "week2")
