"""Power and the errors of significant results, against closed forms and published numbers."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis_lib.results.problems import NotComputed
from analysis_lib.robustness import power, power_clinical, power_receptors, power_voxels
from analysis_lib.robustness.power_closed_forms import (
    lu_power,
    lu_variance,
    sign_and_magnitude,
    t_power,
)
from trialmmrm import Refits, fit_mmrm

RETENTION = np.tril(np.ones((4, 4), bool))[::-1]  # four visits, then left one by one
SHARES = [0.7, 0.1, 0.1, 0.1]
EXCHANGEABLE = 0.25 + 0.75 * np.eye(4)


def within_error(found, expected, n):
    """A share of n draws, within three binomial errors."""
    return abs(found - expected) < 3 * np.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize(
    ("n_active", "n_control", "expected"),
    [(86.99175, 86.99175, 0.8), (87, 87, 0.8000372), (130.4876, 65.24381, 0.8)],
)
def test_power_of_a_mixed_model_is_that_of_longpower(n_active, n_control, expected):
    """Lu, Luo & Chen 2008 as in R's longpower, power.mmrm: delta .5, two-sided .05."""
    variance = lu_variance(EXCHANGEABLE, RETENTION, SHARES)
    se = np.sqrt(variance / n_active + variance / n_control)
    assert lu_power(0.5, se) == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize(
    ("true", "se", "expected"),
    [
        (0.1, 3.3, (0.05010520, 0.4646377, 77.156669)),
        (2, 8.1, (0.05701294, 0.2396177, 9.536628)),
    ],
)
def test_errors_of_sign_and_magnitude_are_the_published_ones(true, se, expected):
    """Gelman & Carlin 2014; the closed form of Lu, Qiu & Deng 2019."""
    np.testing.assert_allclose(sign_and_magnitude(true, se), expected, rtol=1e-6)


def test_errors_of_sign_and_magnitude_with_few_degrees_of_freedom():
    true, df, limit = 1.5, 7, stats.t.isf(0.025, 7)
    size = sum(
        stats.t(df).expect(lambda t: abs(true + t), lb=low, ub=high)
        for low, high in ((limit - true, np.inf), (-np.inf, -limit - true))
    )
    found = sign_and_magnitude(true, 1, df)
    high, low = stats.t.sf(limit - true, df), stats.t.cdf(-limit - true, df)
    np.testing.assert_allclose(found, [high + low, low / (high + low), size / true / (high + low)])


def test_a_voxel_at_one_sd_in_18_and_18():
    assert t_power(1, 18, 18) == pytest.approx(0.830, abs=5e-4)
    assert t_power(2.5, 136, 136) == 1  # where scipy's distribution function is NaN
    assert t_power(0.5, 34) == pytest.approx(0.808, abs=5e-4)  # one sample: G*Power's 34


@pytest.fixture(scope="module")
def fit():
    """A trial of 60 and 60 with two visits, a fifth of whom leave after the first."""
    rng, n = np.random.default_rng(1), 120
    rows = pd.DataFrame({"who": np.repeat(np.arange(n), 2), "visit": ["week1", "week2"] * n})
    rows["arm"] = pd.Categorical(np.where(rows["who"] % 2, "active", "control"))
    rows["arm"] = rows["arm"].cat.reorder_categories(["control", "active"])
    rows["baseline"] = rng.normal(20, 4, n)[rows["who"]]
    rows["outcome"] = rng.normal(0, 2, n)[rows["who"]] + rng.normal(0, 3, 2 * n)
    rows = rows[(rows["who"] % 5 > 0) | (rows["visit"] == "week1")]
    return fit_mmrm(rows, "outcome ~ baseline*visit + arm*visit", "who", "visit")


def test_simulated_fits_agree_with_the_closed_form(fit):
    model, n, draws = Refits(fit, "arm", "control"), (60, 60), 80
    found = power_clinical.fitted_trials((*n, draws, 3), (model, "week2"))
    assert np.isfinite(found).all()
    variances = [power_clinical._variance(model, arm, "week2") for arm in power.ARMS]
    se = np.sqrt(sum(variances) / 60)
    assert found[:, 1].mean() == pytest.approx(se, rel=0.03)
    effects = np.array([0, 2 * se, 3 * se])
    rows = power.curve(
        power.tally(*found.T[:2], stats.t.isf(0.025, found[:, 2]), effects), effects, n
    )
    for row, expected in zip(rows.itertuples(), lu_power(effects, se), strict=True):
        assert within_error(row.power, max(expected, 0.05), draws)
    expected = sign_and_magnitude(2 * se, se)[2]
    assert rows["exaggeration"][1] == pytest.approx(expected, rel=0.06)


def test_draws_without_an_effect_serve_every_effect():
    estimate, se = np.array([0.5, -2.0, np.nan]), np.array([1.0, 0.5, 1.0])
    found = power.tally(estimate, se, 2.0, np.array([0.0, 1.6]))
    # turned: -.5 and 2; moved by 1.6: 2.1 and 1.1 (limit 2), -.4 and 3.6 (limit 1)
    np.testing.assert_allclose(found[:, 0], [[0, 0.5], [1, 0.5], [0, 0]])
    np.testing.assert_allclose(found[:, 1], [[0, 0], [0.5, 0], [0, 0]])
    np.testing.assert_allclose(found[:, 2], [[0, 1.05], [2, 1.8], [0, 0]])
    rows = power.curve(found, np.array([0.0, 1.6]), (4, 5), setting="x")
    np.testing.assert_allclose(rows["power"], [1 / 3, 1 / 3])
    np.testing.assert_allclose(rows["wrong_sign"], [0.5, 0])
    assert rows["exaggeration"][1] == pytest.approx((1.05 + 1.8) / 1.6)
    assert rows[["n_active", "n_control"]].iloc[0].tolist() == [4, 5]


def exact(multiples=(1, 2, 4, 8)):
    """Curves of the t test, as if simulated without end: 32 and 16 at multiple 1."""
    effects = np.arange(0, 2.01, 0.05)
    rows = [
        {"multiple": m, "n_active": 32 * m, "n_control": 16 * m, "true_effect": d}
        | {"power": t_power(d, 32 * m, 16 * m), "wrong_sign": 0.25, "exaggeration": 3 - d}
        for m in multiples
        for d in effects
    ]
    place = {"question": "clinical", "setting": "HAMD", "unit": "SD", "points_per_unit": 6.0}
    return pd.DataFrame(rows).assign(closed_form=np.nan, reliability=np.nan, **place)


def test_what_is_seen_and_what_is_needed_are_read_off_the_curves():
    tables = power.power_tables([exact()])
    seen = tables["seen"].iloc[0]
    assert t_power(seen["detectable"], 32, 16) == pytest.approx(0.8, abs=2e-3)
    assert seen["detectable_points"] == pytest.approx(6 * seen["detectable"])
    assert seen["power_at_half"] == pytest.approx(t_power(seen["detectable"] / 2, 32, 16), abs=2e-3)
    assert seen["exaggeration_at_half"] == pytest.approx(3 - seen["detectable"] / 2)
    assert seen[["n_active", "n_control", "wrong_sign_at_half"]].tolist() == [32, 16, 0.25]
    rows = tables["needed"].set_index("treatment")
    small = rows.loc["an antidepressant"]
    assert small["true_points"] == pytest.approx(6 * 0.41)
    assert small["power"] == pytest.approx(t_power(0.41, 32, 16), abs=2e-3)
    # interpolated on a log scale between 128 and 256
    n = next(n for n in range(32, 300) if t_power(0.41, 2 * n, n) >= 0.8)
    assert small["n_active_needed"] == pytest.approx(2 * n, rel=0.05)
    assert small["n_control_needed"] == np.ceil(small["n_active_needed"] / 2)
    assert rows.loc["ketamine", "n_active_needed"] == 32  # the smallest simulated is enough
    few = power.power_tables([exact((1, 1.25))])["needed"].set_index("treatment")
    assert np.isnan(few.loc["an antidepressant", "n_active_needed"])
    assert np.isnan(power.crossing([0, 1], [0.1, 0.3]))
    assert power.power_tables([]) == {}
    others = power.power_tables([exact()], "antidepressant")["needed"]
    assert others["treatment"].tolist() == ["ECT", "ketamine"]  # nobody plans with its own result


def test_sizes_keep_the_allocation_and_hold_this_trial():
    assert power.sizes_of(20, 10, [2, 0.5]) == {0.5: (10, 5), 1: (20, 10), 2: (40, 20)}
    assert power.sizes_of(15, 0, [0.1]) == {0.1: (4, 0), 1: (15, 0)}


def test_blocks_are_told_beforehand_and_come_back_by_size(capsys):
    sizes = {1: (3, 2), 2: (6, 4)}
    found = power.simulate(_sizes, sizes, 5, None, seed=0, per_block=2)
    assert capsys.readouterr().out.startswith("trials: 6 blocks, the rest in about ")
    for n in sizes.values():
        assert found[n][:, :2].tolist() == [list(n)] * 5
    assert len({row[2] for own in found.values() for row in own}) == 6  # a seed per block


def _sizes(part, _):
    return np.tile([*part[:2], np.random.default_rng(part[3]).random()], (part[2], 1))


# --- voxels


@pytest.fixture(scope="module")
def noise():
    """Independent voxels of a grid; the second arm varies more."""
    rng = np.random.default_rng(2)
    where = np.argwhere(np.ones((6, 6, 6))) * 3.0
    settings = [(power_voxels.NAMED, 0, False), (power_voxels.ANY, 0, True), ("ball", 3, True)]
    maps = {"active": rng.normal(0, 0.8, (300, 216)), "control": rng.normal(0, 1.2, (300, 216))}
    sd = np.full(216, np.sqrt((0.8**2 + 1.2**2) / 2))
    there = power_voxels.places(where, rng, [0, 0, 3.0])
    return {"maps": maps, "sd": sd, "places": there, "settings": settings}


def test_places_are_the_voxels_within_reach(noise):
    inner = [own for own in noise["places"] if len(own[2]) == 7]  # not at the edge of the mask
    assert inner
    assert all(len(own[0]) == 1 and own[0][0] in own[2] for own in noise["places"])


def test_voxels_named_or_searched_are_found_as_often_as_the_t_test_says(noise):
    n, sizes = 300, (18, 18)
    null = power_voxels.largest((*sizes, 400, 5), noise)
    limit = np.quantile(null, 0.95)
    # 216 independent voxels: Sidak
    assert limit == pytest.approx(stats.t.isf(0.5 * (1 - 0.95 ** (1 / 216)), 34), rel=0.06)
    found = power_voxels.found_there((*sizes, n, 6), noise | {"limits": {sizes: limit}})
    assert found.shape == (n, 3, 3, len(power_voxels.SIZES))
    at = int(np.argmin(np.abs(power_voxels.SIZES - 1)))
    named, single, ball = found[:, :, 0].mean(axis=0)[:, at]
    assert named == pytest.approx(0.83, abs=0.025)  # 20 places a draw
    assert single == pytest.approx(t_power(1, *sizes, limit=limit), abs=0.03)
    assert ball > single + 0.1
    # beyond doubt: the highest of seven voxels is higher than the truth, a single one is not
    size = found[:, :, 2].mean(axis=0)[:, -1] / power_voxels.SIZES[-1]
    assert size[0] == pytest.approx(1, abs=0.02)
    assert size[2] > 1.08


def test_one_arm_is_tested_against_no_change(noise):
    alone = {"active": noise["maps"]["active"]}
    estimate, se = power_voxels.t_parts(alone, (12, 0), 300, np.random.default_rng(7))
    share = (np.abs(estimate / se) > stats.t.isf(0.025, 11)).mean()
    assert share == pytest.approx(0.05, abs=0.004)
    assert estimate.std() == pytest.approx(0.8 / np.sqrt(12), rel=0.02)


def test_without_maps_there_is_a_reason(monkeypatch, tmp_path):
    class Study:
        effect = arms = None

        def result(self, _):
            return tmp_path

        derived = tmp_path

    for compute, why in (
        (power_clinical.clinical_power, "no control arm"),
        (power_voxels.voxel_power, "no results of notebook 02"),
        (power_receptors.receptor_power, "no results of notebook 03"),
    ):
        with pytest.raises(NotComputed, match=why):
            compute(Study(), 10, [1])


# --- receptors


def test_slopes_are_found_as_often_as_the_t_test_says():
    rng, draws = np.random.default_rng(3), 80
    pools = {"active": rng.normal(size=300), "control": rng.normal(size=300)}
    found = power_receptors.tested_slopes((18, 18, draws, 4), (pools, "arm_by_time"))
    assert found[:, 1].mean() == pytest.approx(np.sqrt(2 / 18), rel=0.03)
    rows = power.tally(*found.T, np.array([0, 1.0])).mean(axis=0)[0]
    assert within_error(rows[0], 0.05, draws)
    assert within_error(rows[1], 0.83, draws)


def test_the_planted_map_has_the_reliability_asked_for():
    rng = np.random.default_rng(5)
    active = np.arange(30) < 12
    noise = rng.normal(0, 2, (30, 4000))
    scale = power_receptors.signal_sd(noise, active, "arm_by_time", 0.7)
    left = 4 / 12 + 4 / 18  # variance of a difference of means
    assert scale**2 / (scale**2 + left) == pytest.approx(0.7, abs=0.01)
