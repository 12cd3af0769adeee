"""Clusters of neighbouring voxels above a threshold."""

import numpy as np
from scipy import ndimage

from voxelperm.neighbours import CONNECTIVITY


def label_clusters(t, mask, threshold, connectivity=6):
    """Number the clusters of voxels with |t| above a threshold, each tail separately.

    Parameters
    ----------
    t : numpy.ndarray
        (n_voxels,).
    mask : numpy.ndarray of bool
        (x, y, z), with n_voxels true voxels.
    threshold : float
    connectivity : int
        6, 18 or 26 neighbours.

    Returns
    -------
    labels : numpy.ndarray of int
        (n_voxels,), 0 outside clusters.
    sizes, masses : numpy.ndarray
        (n_clusters,): voxels, and sum of |t| - threshold.
    """
    volume = np.zeros(mask.shape)
    structure = ndimage.generate_binary_structure(3, CONNECTIVITY[connectivity])
    volume[mask] = t
    positive, n_positive = ndimage.label(volume > threshold, structure)
    negative, n_negative = ndimage.label(volume < -threshold, structure)
    labels = (positive + np.where(negative, negative + n_positive, 0))[mask]
    n_clusters = n_positive + n_negative
    sizes = np.bincount(labels, minlength=n_clusters + 1)[1:]
    masses = np.bincount(labels, np.abs(t) - threshold, minlength=n_clusters + 1)[1:]
    return labels, sizes, masses
