"""Clusters: their labels, sizes and masses, each tail separately."""

import numpy as np

from voxelperm import label_clusters


def test_clusters_of_opposite_sign_do_not_merge():
    mask = np.ones((4, 1, 1), bool)
    labels, sizes, masses = label_clusters(np.array([3.0, 4.0, -5.0, 0.0]), mask, 2.0)
    assert list(labels) == [1, 1, 2, 0]
    assert list(sizes) == [2, 1]
    assert list(masses) == [3.0, 3.0]
