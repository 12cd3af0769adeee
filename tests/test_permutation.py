"""Permutation inference: against statsmodels, nilearn, and exact enumeration."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import statsmodels.api as sm
from nilearn.maskers import NiftiMasker
from nilearn.mass_univariate import permuted_ols
from scipy import ndimage, stats

from analysis_lib.permutation import (
    STATISTICS,
    draw_permutations,
    label_clusters,
    permutation_test,
)


def smooth_noise(n, shape=(9, 10, 8), sigma=1.2, seed=0):
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.standard_normal((n, *shape)), (0, sigma, sigma, sigma))
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return maps[:, mask] / maps.std(), mask


@pytest.fixture
def design():
    rng = np.random.default_rng(1)
    arm = np.repeat([1.0, 0.0], 9)
    covariates = rng.standard_normal((18, 2))
    maps, mask = smooth_noise(18)
    maps = maps + np.outer(covariates[:, 0], np.ones(maps.shape[1]))
    maps[:, :60] += 2 * arm[:, None]
    return maps, mask, arm, covariates


def test_t_is_that_of_statsmodels(design):
    maps, mask, arm, covariates = design
    result = permutation_test(maps, mask, arm, covariates, n_permutations=2)
    model = sm.OLS(maps[:, 17], sm.add_constant(np.column_stack([arm, covariates]))).fit()
    assert result.t[17] == pytest.approx(model.tvalues[1], rel=1e-4)
    assert result.df == model.df_resid


def test_t_of_a_mean_is_the_one_sample_t(design):
    maps, mask, _, _ = design
    result = permutation_test(maps, mask, np.ones(18), sign_flip=True, n_permutations=2)
    np.testing.assert_allclose(result.t, stats.ttest_1samp(maps, 0).statistic, rtol=1e-4)


def test_family_wise_p_agrees_with_nilearn(design):
    maps, mask, arm, covariates = design
    n = 1000
    ours = permutation_test(maps, mask, arm, covariates, n_permutations=n, cluster_p=0.01)
    masker = NiftiMasker(nib.Nifti1Image(mask.astype("int8"), np.eye(4))).fit()
    theirs = permuted_ols(
        arm[:, None],
        maps,
        covariates,  # no constant column: with one, nilearn flips signs instead
        model_intercept=True,
        n_perm=n,
        two_sided_test=True,
        random_state=0,
        masker=masker,
        threshold=0.01,
        output_type="dict",
    )
    np.testing.assert_allclose(ours.t, theirs["t"][0], rtol=1e-4)
    for statistic, name in (
        ("max_t", "logp_max_t"),
        ("cluster_extent", "logp_max_size"),
        ("cluster_mass", "logp_max_mass"),
    ):
        p = 10.0 ** -theirs[name][0]
        error = np.sqrt(2 * p * (1 - p) / n)
        assert (np.abs(ours.p[statistic] - p) <= 4 * error + 2 / n).all(), statistic
    assert ours.p["cluster_extent"].min() < 0.05


def test_every_relabelling_of_four_and_four_is_made_once():
    maps, mask = smooth_noise(8, (5, 5, 5), seed=3)
    arm = np.repeat([1, 0], 4)
    result = permutation_test(maps, mask, arm, statistics=["max_t"])
    assert result.exhaustive
    assert len(result.null_max["max_t"]) == 69
    best = []
    for chosen in itertools.combinations(range(8), 4):
        first = np.isin(np.arange(8), chosen)
        best.append(np.abs(stats.ttest_ind(maps[first], maps[~first]).statistic).max())
    exact = np.mean(np.array(best) >= np.abs(result.t).max() * (1 - 1e-6))
    assert result.p["max_t"].min() == pytest.approx(exact)


def test_every_sign_flip_of_six_is_made_once():
    flips, exhaustive = draw_permutations(5000, 6, sign_flip=True)
    assert exhaustive
    assert len({tuple(np.sign(f)) for f in flips}) == 63


def test_blocks_keep_participants_in_their_stratum():
    blocks = np.repeat(["a", "b"], 8)
    orders, _ = draw_permutations(200, 16, np.tile([0, 1], 8), blocks, seed=1)
    assert (blocks[orders - 1] == blocks).all()
    assert len({tuple(o) for o in orders}) > 150


def test_an_arrangement_of_twelve_is_counted_not_ordered():
    orders, exhaustive = draw_permutations(5000, 12, np.repeat([0, 1], 6))
    assert exhaustive
    assert len(orders) == 923


def test_numbers_do_not_depend_on_the_number_of_processes(design):
    maps, mask, arm, covariates = design
    one = permutation_test(maps, mask, arm, covariates, n_permutations=120, seed=5)
    two = permutation_test(maps, mask, arm, covariates, n_permutations=120, seed=5, n_jobs=2)
    for name in one.p:
        np.testing.assert_array_equal(one.null_max[name], two.null_max[name])


def test_clusters_of_opposite_sign_do_not_merge():
    mask = np.ones((4, 1, 1), bool)
    labels, sizes, masses = label_clusters(np.array([3.0, 4.0, -5.0, 0.0]), mask, 2.0)
    assert list(labels) == [1, 1, 2, 0]
    assert list(sizes) == [2, 1]
    assert list(masses) == [3.0, 3.0]


def test_explicit_permutations_carry_signs():
    maps, mask = smooth_noise(6, (4, 4, 4), seed=2)
    flips = np.array([[1, -2, 3, -4, 5, 6], [-1, -2, -3, -4, -5, -6]])
    result = permutation_test(maps, mask, np.ones(6), sign_flip=True, permutations=flips)
    flipped = maps * np.sign(flips[0])[:, None]
    expected = np.abs(stats.ttest_1samp(flipped, 0).statistic).max()
    assert result.null_max["max_t"][0] == pytest.approx(expected, rel=1e-4)
    assert result.null_max["max_t"][1] == pytest.approx(np.abs(result.t).max(), rel=1e-5)


def test_every_statistic_rejects_at_the_stated_rate():
    arm = np.repeat([1, 0], 8)
    age = np.random.default_rng(0).standard_normal(16)
    rejected = dict.fromkeys(STATISTICS, 0)
    for seed in range(120):
        maps, mask = smooth_noise(16, (8, 8, 8), seed=seed)
        p = permutation_test(maps, mask, arm, age, n_permutations=99, cluster_p=0.05).p
        for name in STATISTICS:
            rejected[name] += p[name].min() <= 0.05
    # 99.9 % of a binomial(120, .05) lies within 1 to 15
    assert all(0 < count <= 15 for count in rejected.values()), rejected


def test_a_tested_column_inside_the_nuisance_is_refused(design):
    maps, mask, arm, _ = design
    with pytest.raises(ValueError, match="nothing is left to test"):
        permutation_test(maps, mask, arm, nuisance=1 - arm)
