"""PALM's convention: clusters and TFCE of |z|, both signs together, 26 neighbours."""

import numpy as np
import pytest
from scipy import ndimage, stats
from test_enhancement import brute_force
from test_inference import smooth_noise

from voxelperm import permutation_test, tfce


@pytest.fixture
def found():
    maps, mask = smooth_noise(10, (7, 8, 7), sigma=0.8, seed=2)
    arm, rows = np.repeat([1.0, 0.0], 5), np.array([[3, 1, 2, 7, 4, 5, 9, 10, 6, 8]])
    options = {"permutations": rows, "errors": "equal", "cluster_p": 0.2}
    palm = permutation_test(maps, mask, arm, convention="palm", **options)
    t = stats.ttest_ind(maps[rows[0] - 1][:5], maps[rows[0] - 1][5:]).statistic
    # our rows say which map takes which place: with arms as labels the same
    z = np.zeros(mask.shape)
    z[mask] = stats.norm.isf(stats.t.sf(np.abs(t), 8))
    return palm, permutation_test(maps, mask, arm, **options), z, mask


def test_tfce_is_of_z_with_both_signs_in_one_cluster(found):
    palm, apart, z, mask = found
    expected = brute_force(z, mask, 0.5, 2.0, 26).max()
    assert palm.null_max["tfce"][0] == pytest.approx(expected, rel=1e-4)
    assert tfce(z, mask, connectivity=26).max() == pytest.approx(expected)
    assert apart.null_max["tfce"][0] != pytest.approx(expected, rel=0.05)


def test_so_are_clusters_and_max_t_stays(found):
    palm, apart, z, _ = found
    threshold = stats.norm.isf(0.1)
    assert palm.cluster_threshold == pytest.approx(threshold)
    labels, n = ndimage.label(z > threshold, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    masses = ndimage.sum(z - threshold, labels, np.arange(1, n + 1))
    assert palm.null_max["cluster_extent"][0] == sizes.max()
    assert palm.null_max["cluster_mass"][0] == pytest.approx(masses.max(), rel=1e-4)
    np.testing.assert_array_equal(palm.null_max["max_t"], apart.null_max["max_t"])
    np.testing.assert_array_equal(palm.t, apart.t)


def test_the_data_are_treated_as_the_draws_are():
    maps, mask = smooth_noise(12, (8, 8, 8), seed=5)
    maps[:, :90] += 1.2
    rows = np.arange(1, 13)[None]
    options = {"sign_flip": True, "errors": "equal", "cluster_p": 0.05, "convention": "palm"}
    p = permutation_test(maps, mask, np.ones(12), permutations=rows, **options).p
    assert all(values.min() == 1 for values in p.values())
