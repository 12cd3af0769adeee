"""Noise of effect maps: intervals and split halves, against closed forms and coverage."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.receptors import effects, intervals, nulls, reliability
from analysis_lib.receptors.intervals import bootstrap_intervals
from analysis_lib.receptors.reliability import split_half
from analysis_lib.results.contrasts import OF_CHANGE


def test_bootstrap_equals_refitting_the_drawn_participants(trial):
    data, covariates = trial
    active = data["arm"] == "active"
    rng = np.random.default_rng(8)
    counts = intervals._resampled(active, np.zeros(14, int), 3, rng)
    assert (counts[:, active].sum(axis=1) == 7).all()
    assert (counts[:, ~active].sum(axis=1) == 7).all()
    weights = intervals._bootstrap_weights(
        active, counts, effects.nuisance_columns(14, covariates, None)
    )
    for row, drawn in zip(weights, counts.astype(int), strict=True):
        who = np.repeat(np.arange(14), drawn)
        expected = effects.effect_map(
            data["change"][who], active[who], covariates=covariates.iloc[who]
        )
        np.testing.assert_allclose(row @ data["change"], expected, atol=1e-8)


@pytest.mark.parametrize("contrast", OF_CHANGE)
def test_intervals_hold_r_and_shrink_with_the_noise(trial, contrast):
    data, covariates = trial
    signal = np.outer(np.where(data["arm"] == "active", 2.0, -2.0), data["receptors"][0])
    wide, narrow = (
        bootstrap_intervals(
            signal + noise * data["change"],
            data["arm"],
            data["receptors"],
            contrast,
            covariates,
            n_bootstrap=300,
        )
        for noise in (3, 0.3)
    )
    for found in (wide, narrow):
        for ends, r in ((found.expected, found.r), (found.noise_free, found.noise_free_r)):
            assert (ends[:, 0] <= r + 0.05).all()
            assert (r - 0.05 <= ends[:, 1]).all()
    assert (np.diff(narrow.expected) < np.diff(wide.expected)).all()
    assert wide.reliability < narrow.reliability
    assert narrow.reliability > 0.97


def test_without_signal_nothing_is_known_of_the_noise_free_correlation():
    rng = np.random.default_rng(11)
    change, arm = rng.standard_normal((20, 40)), np.tile([1, 0], 10)
    centred = change - np.where(arm == 1, change[arm == 1].mean(0)[:, None], 0).T
    centred -= np.where(arm == 0, centred[arm == 0].mean(0)[:, None], 0).T
    found = bootstrap_intervals(centred + 1e-3 * change, arm, change[:2])
    assert found.reliability == 0
    assert np.isnan(found.noise_free_r).all()
    assert found.noise_free.tolist() == [[-1, 1], [-1, 1]]


def _trials(n_trials, n_arm, signal, rho, seed):
    """Trials with white noise and a planted map: reliability signal / (signal + 1)."""
    rng = np.random.default_rng(seed)
    receptor, other = np.linalg.qr(rng.standard_normal((120, 3)) - 0.0)[0].T[:2]
    receptor, other = (m - m.mean() for m in (receptor, other))
    other -= receptor * (other @ receptor) / (receptor @ receptor)
    unit = [m / m.std() for m in (receptor, other)]
    planted = np.sqrt(signal) * (rho * unit[0] + np.sqrt(1 - rho**2) * unit[1])
    arm = np.repeat([1, 0], n_arm)
    for _ in range(n_trials):
        noise = rng.standard_normal((2 * n_arm, 120)) * np.sqrt(n_arm / 2)
        yield noise + np.outer(arm, planted), arm, unit[0], planted


@pytest.mark.parametrize(
    ("method", "expected"),
    [("gaussianised", (0.6, 0.6)), ("pearson", (0.6, 0.6)), ("spearman", (0.56, 0.585))],
)
def test_reliability_is_the_signals_share_by_both_ways(method, expected):
    """Closed form: signal variance 1.5, noise variance 1, so .6; of ranks: 6 asin(r / 2) / pi."""
    found = [
        (
            bootstrap_intervals(change, arm, receptor, n_bootstrap=200, method=method).reliability,
            split_half(change, arm, n_splits=40, method=method).reliability,
        )
        for change, arm, receptor, _ in _trials(12, 18, 1.5, 0.5, seed=1)
    ]
    np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=0.04)


def test_intervals_cover_what_they_speak_of():
    """40 trials, reliability .5, noise-free r .7: expected r is .7 sqrt(.5)."""
    hits = []
    for change, arm, receptor, planted in _trials(40, 12, 1.0, 0.7, seed=2):
        found = bootstrap_intervals(change, arm, receptor, n_bootstrap=300, method="pearson")
        truth = np.corrcoef(planted, receptor)[0, 1]
        assert truth == pytest.approx(0.7)
        for (low, high), target in (
            (found.expected[0], truth * 0.5**0.5),
            (found.noise_free[0], truth),
        ):
            hits.append(low <= target <= high)
    covered = np.reshape(hits, (40, 2)).mean(axis=0)
    assert (covered >= 0.86).all()  # .95 less two and a half binomial errors


def test_split_half_of_identical_patients_is_perfect_and_of_none_is_zero():
    rng = np.random.default_rng(3)
    planted = rng.standard_normal(50)
    arm = np.repeat(["active", "control"], 6)
    same = np.outer(arm == "active", planted) + 1e-9 * rng.standard_normal((12, 50))
    assert split_half(same, arm, n_splits=20).reliability == pytest.approx(1)
    noise = rng.standard_normal((30, 12, 50))
    found = [split_half(change, arm, n_splits=20).r for change in noise]
    assert abs(np.mean(found)) < 0.08


def test_halves_are_within_arm_and_stratum_and_covariates_are_gone():
    rng = np.random.default_rng(4)
    cells = np.repeat([0, 1, 2, 3], [4, 5, 6, 3])
    first = reliability._halves(cells, 200, rng)
    for cell, sizes in ((0, {2}), (1, {2, 3}), (2, {3}), (3, {1, 2})):
        assert set(first[:, cells == cell].sum(axis=1)) == sizes
    change, active = rng.standard_normal((18, 5)), np.arange(18) < 9
    age = pd.DataFrame({"age": rng.normal(size=18)})
    adjusted = reliability._adjusted(change, active, age, None)
    np.testing.assert_allclose(
        adjusted[active].mean(0) - adjusted[~active].mean(0),
        effects.effect_map(change, active, covariates=age),
    )


def test_critical_r_is_the_smallest_that_is_significant():
    null = np.random.default_rng(5).standard_normal((199, 2)) * [0.3, 0.1]
    single, family = nulls.critical_r(nulls.null_test(np.zeros(2), null))
    for k in range(2):
        for r, significant in ((single[k] + 1e-6, True), (single[k] - 1e-6, False)):
            observed = np.full(2, r)
            assert (nulls.null_test(observed, null).p[k] <= 0.05) == significant
    assert nulls.null_test(np.full(2, family + 1e-6), null).p_fwe[0] <= 0.05
    few, together = nulls.critical_r(nulls.null_test(np.zeros(2), null[:10]))
    assert np.isnan(few).all()
    assert np.isnan(together)
