"""The largest statistics of an image: against those of its maps."""

import numpy as np
import pytest
from scipy import ndimage

from voxelperm import label_clusters
from voxelperm.enhancement import enhance, extent_powers
from voxelperm.maxima import largest, make_scratch
from voxelperm.neighbours import neighbour_table


def smooth_noise(shape=(24, 26, 22), seed=0):
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return 1.3 * smooth / smooth.std()


@pytest.mark.parametrize("threshold", [0.5, 2.0, 9.0])
def test_the_largest_of_each_statistic_is_that_of_the_maps(threshold):
    stat = smooth_noise(seed=2).astype(np.float32)
    mask = smooth_noise(seed=3) > -1
    t, neighbours = stat[mask], neighbour_table(mask)
    found = largest(
        t, neighbours, extent_powers(len(t), 0.5), 2.0, threshold, True, make_scratch(len(t))
    )
    _, sizes, masses = label_clusters(t, mask, threshold)
    expected = [np.abs(t).max(), sizes.max(initial=0), masses.max(initial=0)]
    expected.append(np.abs(enhance(t, neighbours)).max())
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_tfce_the_other_statistics_are_the_same():
    stat = smooth_noise(seed=4).astype(np.float32)
    mask = np.ones(stat.shape, bool)
    t, neighbours = stat[mask], neighbour_table(mask)
    options = (neighbours, extent_powers(len(t), 0.5), 2.0, 2.0)
    full = largest(t, *options, True, make_scratch(len(t)))
    part = largest(t, *options, False, make_scratch(len(t)))
    np.testing.assert_array_equal(part[:3], full[:3])
