"""Grey-matter maps: smoothed, masked, compared with one another."""

import numpy as np
import pandas as pd
from nilearn.image import smooth_img

from analysis_lib.study.grids import robust_z
from analysis_lib.study.map_file import load_map


def smooth_map(path, fwhm_mm):
    """Read one map and smooth it.

    Parameters
    ----------
    path : path
    fwhm_mm : float
        Full width at half maximum of the Gaussian kernel, in mm; 0 leaves the map as it is.

    Returns
    -------
    numpy.ndarray
        (x, y, z), float32.
    """
    return smooth_img(load_map(path), fwhm_mm or None).get_fdata(dtype=np.float32)


def smooth_in_mask(paths, fwhm_mm, threshold):
    """Smooth maps and keep the voxels whose mean over maps exceeds a threshold.

    Maps are read twice, once for the mask and once for their values, so that no more than one
    whole map is in memory.

    Parameters
    ----------
    paths : sequence of path
        Maps on one grid.
    fwhm_mm : float
        As for :func:`smooth_map`.
    threshold : float
        Mean density, without unit.

    Returns
    -------
    values : numpy.ndarray
        (n_maps, n_voxels), float32.
    mask : numpy.ndarray of bool
        (x, y, z).

    Raises
    ------
    ValueError
        If no voxel is left.
    """
    paths = list(paths)
    mean = sum(smooth_map(path, fwhm_mm) / len(paths) for path in paths)
    mask = grey_matter_mask(mean[None], threshold)
    values = np.empty((len(paths), mask.sum()), np.float32)
    for row, path in zip(values, paths, strict=True):
        row[:] = smooth_map(path, fwhm_mm)[mask]
    return values, mask


def grey_matter_mask(maps, threshold):
    """Voxels whose mean over maps exceeds a threshold.

    Parameters
    ----------
    maps : numpy.ndarray
        (n_maps, x, y, z), smoothed.
    threshold : float
        Mean density, without unit.

    Returns
    -------
    numpy.ndarray
        (x, y, z), bool.

    Raises
    ------
    ValueError
        If no voxel is left.
    """
    mask = maps.mean(axis=0) > threshold
    if not mask.any():
        raise ValueError(f"mask_threshold {threshold:g} leaves no voxel: choose a lower one")
    return mask


def homogeneity(maps):
    """How much each map resembles the others: the mean of its correlations with them.

    Parameters
    ----------
    maps : numpy.ndarray
        (n_maps, n_voxels).

    Returns
    -------
    pandas.DataFrame
        One row per map: mean_correlation, and outlier_score, its distance below the median in
        robust standard deviations (1.4826 x median absolute deviation). Above 3 a map deserves a
        look; nothing is dropped.
    """
    r = np.corrcoef(maps)
    mean = (r.sum(axis=1) - 1) / (len(r) - 1)
    return pd.DataFrame({"mean_correlation": mean, "outlier_score": -robust_z(mean)})
