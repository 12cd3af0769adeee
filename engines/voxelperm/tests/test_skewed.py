"""A mean of skewed errors: against the formulas written out, and by rates under a true null."""

import numpy as np
import pytest
from scipy import stats
from test_inference import smooth_noise

from voxelperm import STATISTICS, permutation_test

OF_A_MEAN = {"sign_flip": True, "errors": "skewed"}


def hall(y):
    """Hall 1992, with scipy's unbiased skewness."""
    n, skewness = len(y), stats.skew(y, bias=False)
    u = y.mean(axis=0) / y.std(axis=0, ddof=1)
    return np.sqrt(n) * (u + skewness * u**2 / 3 + skewness**2 * u**3 / 27 + skewness / (6 * n))


def test_t_and_every_draw_are_hall_s_transformation():
    maps, mask = smooth_noise(12, (5, 6, 5), seed=2)
    maps = np.exp(maps) - 1.2
    signs = np.random.default_rng(0).choice([1, -1], (3, 12))
    rows = signs * np.arange(1, 13)
    result = permutation_test(maps, mask, np.ones(12), permutations=rows, **OF_A_MEAN)
    np.testing.assert_allclose(result.t, hall(maps), rtol=1e-9)
    assert result.df == 11
    largest = [np.abs(hall(sign[:, None] * maps)).max() for sign in signs]
    np.testing.assert_allclose(result.null_max["max_t"], largest, rtol=1e-4)


def test_without_skewness_it_is_student_s_t():
    half = smooth_noise(6, (5, 5, 5), seed=4)[0]
    maps, mask = np.vstack([half, -half]) + 0.3, smooth_noise(1, (5, 5, 5))[1]
    result = permutation_test(maps, mask, np.ones(12), n_permutations=3, **OF_A_MEAN)
    np.testing.assert_allclose(result.t, stats.ttest_1samp(maps, 0).statistic, rtol=1e-9)


def test_scale_does_not_matter_and_constant_voxels_change_no_other():
    maps, mask = smooth_noise(10, (6, 6, 6), seed=3)
    maps[:, 10:15], maps[:, 20] = 0.4, 0
    options = {"n_permutations": 60, "cluster_p": 0.05, **OF_A_MEAN}
    one = permutation_test(maps, mask, np.ones(10), **options)
    other = permutation_test(1e4 * maps, mask, np.ones(10), max_memory_mb=9, n_jobs=2, **options)
    assert (one.t[[10, 14, 20]] == 0).all()
    for name in STATISTICS:
        np.testing.assert_allclose(one.null_max[name], other.null_max[name], rtol=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_skewed_errors_are_rejected_less_often_than_by_flips_of_t(sign):
    rejected = {"skewed": 0, "equal": 0}
    for seed in range(100):
        maps, mask = smooth_noise(18, (8, 8, 8), seed=seed)
        maps = sign * (maps**2 - (maps**2).mean())  # skewness about 2
        for errors in rejected:
            options = {"sign_flip": True, "errors": errors, "statistics": ["max_t"]}
            p = permutation_test(maps, mask, np.ones(18), n_permutations=99, **options).p["max_t"]
            rejected[errors] += p.min() <= 0.05
    assert rejected["skewed"] < 0.7 * rejected["equal"], rejected


def test_two_participants_have_no_skewness_and_student_s_t():
    maps, mask = smooth_noise(2, (5, 5, 5), seed=6)
    result = permutation_test(maps, mask, np.ones(2), n_permutations=3, **OF_A_MEAN)
    large = stats.ttest_1samp(maps, 0).statistic
    ordinary = np.abs(large) < 100  # a variance below 1e-6 of the mean square counts as that
    assert ordinary.mean() > 0.9
    np.testing.assert_allclose(result.t[ordinary], large[ordinary], rtol=1e-4)
