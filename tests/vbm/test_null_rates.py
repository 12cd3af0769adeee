"""The simulated design that is most like a trial, and how often its tests rejected."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.vbm import null_rates
from analysis_lib.vbm.diagnostics import spread_table

ARM = np.repeat(["active", "control"], [12, 24])


def spread(ratio=1.0, active=0.0, control=0.0, arm=ARM):
    """The table of assumptions for these variance ratios and skewnesses of true zero spread."""
    n = 1000
    rng = np.random.default_rng(0)
    of = dict(zip(*np.unique(arm, return_counts=True), strict=True))
    chance = {k: np.sqrt(6 * m * (m - 1) / ((m - 2) * (m + 1) * (m + 3))) for k, m in of.items()}
    skewness = {
        "active": active + chance["active"] * rng.standard_normal(n),
        "control": control + chance["control"] * rng.standard_normal(n),
    }
    return spread_table({"voxels": np.full(n, ratio)}, skewness, arm)


@pytest.mark.parametrize(
    ("arms", "variances", "design"),
    [
        ((12, 24), 1.0, "12 v 24"),
        ((12, 24), 4.0, "12 v 24, x 2"),
        ((24, 12), 0.25, "12 v 24, x 2"),  # its mirror image: the small arm varies more
        ((24, 12), 1.0, "12 v 24"),
        ((24, 12), 4.0, "24 v 12, x 2"),
        ((18, 18), 3.6, "18 v 18, x 2"),
        ((9, 8), 1.1, "8 v 8"),
        ((40, 40), 3.5, "24 v 24, active SD x 2"),
    ],
)
def test_the_design_is_the_one_of_like_size_and_spread(arms, variances, design):
    arm = np.repeat(["active", "control"], arms)
    table = null_rates.null_rates(spread(variances, arm=arm), arm, "equal", "skewed")
    found = table.set_index("contrast").loc["arm_by_time"]
    assert found["simulated_design"] == design
    measured = pd.read_csv(null_rates.MEASURED, sep="\t")
    row = measured.query("design == @design and errors == 'equal' and statistic == 'tfce'")
    assert found["rate_tfce"] == row["rejected"].item()
    assert found["simulated_trials"] == row["n_datasets"].item()


def test_within_an_arm_its_own_size_and_skewness_count():
    table = null_rates.null_rates(spread(active=1.1, control=-0.5), ARM, "unequal", "symmetric")
    table = table.set_index("contrast")
    assert table.loc["active_change", "simulated_design"] == "one arm of 12, skewness 1"
    assert table.loc["control_change", "simulated_design"].startswith("one arm of")
    assert table.loc["active_change", "errors"] == "symmetric"
    skewed = null_rates.null_rates(spread(active=1.1), ARM, "unequal", "skewed")
    assert skewed["rate_max_t"][0] < table.loc["active_change", "rate_max_t"]


def test_skewness_of_normal_samples_is_none():
    table = spread(active=0, control=0.8).set_index("measure")
    size = [
        null_rates.true_skewness(table.loc[f"skewness, {a}"], n)
        for a, n in (("active", 12), ("control", 24))
    ]
    assert size[0] < 0.25
    assert size[1] == pytest.approx(0.8, abs=0.1)


def test_too_few_people_for_skewness_are_taken_as_symmetric():
    assert (
        null_rates.true_skewness(pd.Series({"q1": np.nan, "median": np.nan, "q3": np.nan}), 3) == 0
    )
