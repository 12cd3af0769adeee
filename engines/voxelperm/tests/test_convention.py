"""PALM's convention: clusters and TFCE of |z|, both signs together, 26 neighbours."""

from pathlib import Path

import numpy as np
import pandas as pd
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


def test_agrees_with_palm_itself():
    """PALM @ 04095fe in Octave 7.3: -n 4000 -twotail -T -C 3.1, on these maps; every 61st voxel."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.standard_normal((24, 20, 22, 18)), (0, 1.5, 1.5, 1.5))
    arm, age = np.repeat([1.0, 0.0], [10, 14]), rng.normal(40, 10, 24)
    maps = 3 * noise / noise.std() + 0.02 * age[:, None, None, None]
    maps[arm == 1, 4:10, 4:10, 4:10] += 2.5
    mask = np.zeros(maps.shape[1:], bool)
    mask[1:-1, 1:-1, 1:-1] = True
    options = {"errors": "equal", "cluster_p": 2 * stats.norm.sf(3.1), "convention": "palm"}
    data = maps.astype("f4")[:, mask]
    found = permutation_test(data, mask, arm, age, n_permutations=1000, seed=1, **options)
    palm = pd.read_csv(Path(__file__).with_name("palm.tsv"), sep="\t")
    np.testing.assert_allclose(found.t[palm["voxel"]], palm["t"], rtol=1e-4, atol=1e-5)
    for name, steps in (("max_t", 0), ("cluster_extent", 0), ("tfce", 0.02)):
        theirs, ours = palm[name], found.p[name][palm["voxel"]]
        near = (theirs < 0.1) | (
            name != "tfce"
        )  # PALM's sum over 100 heights rounds small ones off
        error = np.sqrt(theirs * (1 - theirs) * (1 / 4000 + 1 / 1000)) + 1 / 1000
        assert (np.abs(ours - theirs) <= 4 * error + steps)[near].all(), name
