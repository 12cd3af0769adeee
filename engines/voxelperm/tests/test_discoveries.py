"""Bounds on true discoveries: against closed testing, nilearn's ARI, and their own promise."""

import itertools

import numpy as np
import pytest
from scipy import stats
from test_inference import smooth_noise

from voxelperm import critical_lambda, lower_bound, permutation_test
from voxelperm.discoveries import p_of, p_table, pivot

ASKED = {"statistics": ["true_discoveries"]}


def not_rejected(p, critical, shift):
    """Sets of hypotheses that the line does not reject."""
    for size in range(1, len(p) + 1):
        line = critical * (np.arange(1, size + 1) - shift) / (len(p) - shift)
        for chosen in itertools.combinations(range(len(p)), size):
            if (np.sort(p[list(chosen)]) >= line).all():
                yield set(chosen)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_the_bound_of_every_subset_is_that_of_closed_testing(seed, shift):
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(8) < 0.5, rng.random(8) ** 6, rng.random(8)).round(3)
    kept = list(not_rejected(p, 0.3, shift))
    for size in range(9):
        for chosen in itertools.combinations(range(8), size):
            most_null = max((len(set(chosen) & null) for null in kept), default=0)
            assert lower_bound(p[list(chosen)], 8, 0.3, shift) == size - most_null


def test_with_hommel_s_h_it_is_the_ari_of_nilearn(oracle):
    thresholding = oracle("nilearn.glm.thresholding")
    rng = np.random.default_rng(2)
    z = rng.standard_normal(3000)
    z[:700] += 3.2
    h = thresholding._compute_hommel_value(z, 0.05)
    assert h < 3000
    p = stats.norm.sf(z)
    for size in (30, 200, 700, 2000):
        chosen = rng.choice(np.arange(3000) if size > 700 else np.arange(700), size, replace=False)
        theirs = size * thresholding._true_positive_fraction(z[chosen], h, 0.05)
        assert lower_bound(p[chosen], 3000, 0.05 * 3000 / h) == pytest.approx(theirs)
        assert 0 < lower_bound(p[chosen], 3000, 0.05) <= theirs  # single step: h = m


@pytest.fixture
def trial():
    arm = np.repeat([1.0, 0.0], 12)
    maps, mask = smooth_noise(24, (14, 14, 14), seed=5)
    affected = np.zeros(mask.shape, bool)
    affected[3:9, 3:9, 3:9] = True
    affected = affected[mask]
    return maps + 1.6 * np.outer(arm, affected), mask, arm, affected


def test_pivots_are_those_of_all_p_values_sorted(trial):
    maps, mask, arm, _ = trial
    result = permutation_test(maps, mask, arm, n_permutations=5, shift=3, **ASKED)
    t = result.t.astype(np.float32)
    p, m = np.sort(p_of(t, result.df)), len(t)
    np.testing.assert_allclose(p, np.sort(2 * stats.t.sf(np.abs(t), result.df)), rtol=0.01)
    assert result.pivot == pytest.approx((p[3:] * (m - 3) / np.arange(1, m - 2)).min(), rel=1e-12)
    counts = np.zeros(len(p_table(22)), np.int32)
    image = np.array([90.0, -3.0, 0, 0, 3.0, -1], np.float32)
    expected = min(p_table(22)[-1] * 6, 2 * stats.t.sf(3, 22) * 6 / 3, 1)
    assert pivot(image, p_table(22), 0, counts) == pytest.approx(expected)
    assert pivot(image, p_table(22), 1, counts) == pytest.approx(2 * stats.t.sf(3, 22) * 5 / 2)
    assert not counts.any()


def test_draws_are_mapped_as_the_data_are():
    maps, mask = smooth_noise(9, (6, 6, 6), seed=1)
    rows = np.array([1, -1])[:, None] * np.arange(1, 10)
    result = permutation_test(maps, mask, np.ones(9), sign_flip=True, permutations=rows, **ASKED)
    np.testing.assert_allclose(result.pivots, result.pivot, rtol=0.02)
    assert result.p == {}
    assert result.null_max == {}


def test_lambda_counts_the_data_among_the_draws_and_what_lies_on_the_curve_is_no_discovery():
    pivots = np.arange(2, 21) / 20  # with the data's, twenty
    assert critical_lambda(pivots, 0.05, 0.05) == pivots[0]
    assert critical_lambda(pivots, 0.5, 0.05) == pivots[1]
    assert critical_lambda(pivots, 0.05, 0.04) == 0.05
    p = np.array([0.01, 0.5, 0.9])
    assert lower_bound(p, 3, critical_lambda([0.1, 0.2], 0.03, 0.05)) == 0
    assert lower_bound(p, 3, 0.0301) == 1


def test_more_voxels_never_have_fewer_discoveries(trial):
    maps, mask, arm, affected = trial
    result = permutation_test(maps, mask, arm, n_permutations=199, **ASKED)
    order = np.random.default_rng(0).permutation(len(affected))
    found = [result.true_discoveries(order[:k]) for k in range(0, len(order), 60)]
    assert (np.diff(found) >= 0).all()
    assert (np.diff(found) <= 60).all()
    assert 0 < result.true_discoveries(affected) <= affected.sum()
    assert result.true_discoveries(affected, alpha=0.2) >= result.true_discoveries(affected)
    assert result.shift == 17  # 1 % of the voxels
    assert result.true_discoveries(np.flatnonzero(affected)[:17]) == 0
    p, critical = result.p_uncorrected[affected], result.critical_lambda()
    saved = lower_bound(p, len(affected), critical, result.shift)
    assert result.true_discoveries(affected) == saved
    assert result.true_discoveries(np.flatnonzero(affected)) == saved


def test_smooth_maps_have_more_than_parametric_ari(trial, oracle):
    thresholding = oracle("nilearn.glm.thresholding")
    maps, mask, arm, affected = trial
    result = permutation_test(maps, mask, arm, n_permutations=199, errors="equal", **ASKED)
    z = stats.norm.isf(2 * stats.t.sf(np.abs(result.t), result.df))
    h = thresholding._compute_hommel_value(z, 0.05)
    theirs = affected.sum() * thresholding._true_positive_fraction(z[affected], h, 0.05)
    assert 0 < theirs < result.true_discoveries(affected)


def test_what_was_not_asked_for_is_refused(trial):
    maps, mask, arm, affected = trial
    result = permutation_test(maps, mask, arm, n_permutations=3)
    with pytest.raises(ValueError, match='"true_discoveries" expected'):
        result.true_discoveries(affected)


def violated(result, unaffected):
    """Whether any set has more discoveries than effects.

    It is enough to look at the voxels without an effect: a bound that counts one of them too many
    in a larger set lies with those p-values below the curve.
    """
    return result.true_discoveries(unaffected) > 0


@pytest.mark.parametrize("spread", [1, 2])
def test_no_set_has_more_discoveries_than_effects_in_19_of_20_trials(spread):
    arm, wrong = np.repeat([1.0, 0.0], [8, 16]), 0
    for seed in range(120):
        maps, mask = smooth_noise(24, (8, 8, 8), seed=seed)
        maps = maps * np.where(arm, spread, 1)[:, None]
        maps[:, :70] += 1.5 * arm[:, None]
        result = permutation_test(maps, mask, arm, n_permutations=99, seed=seed, **ASKED)
        wrong += violated(result, np.arange(70, mask.sum()))
    # 99.9 % of a binomial(120, .05) lies within 1 to 15
    assert wrong <= 15, wrong
