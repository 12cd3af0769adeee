"""A small part of benchmarks/recovery.py: what was planted is found, and the tables add up."""

from benchmarks.recovery import count_alarms, recover


def test_one_trial_recovers_the_frontal_limbic_regions_without_false_voxels():
    row = recover(seed=2, maps=None, n_permutations=200)
    assert row["arm_by_time_regions"] >= 4
    assert row["arm_by_time_fdp"] <= 0.05
    assert row["arm_by_time_sensitivity"] > 0.1


def test_rejections_are_counted_by_contrast_and_family():
    alarms = [{("a", "max_t"): True, ("b", "max_t"): False}] * 3
    table = count_alarms([*alarms, {("a", "max_t"): False, ("b", "max_t"): False}])
    assert table.set_index("contrast")["rejected"].to_dict() == {"a": 3, "b": 0}
    assert table["rate"].tolist() == [0.75, 0]
