"""Grey-matter maps: smoothed, masked, compared with one another."""

import numpy as np
import pandas as pd
from nilearn.image import smooth_img

from analysis_lib.study.grids import robust_z
from analysis_lib.study.map_file import load_map


def smooth_map(path, fwhm_mm):
    """Read one map and smooth it by ``fwhm_mm`` (0: not at all): (x, y, z), float32."""
    return smooth_img(load_map(path), fwhm_mm or None).get_fdata(dtype=np.float32)


def smooth_in_mask(paths, fwhm_mm, threshold):
    """Smooth maps on one grid and keep the voxels whose mean density exceeds a threshold.

    Gives the values, (n_maps, n_voxels), float32, and the mask, (x, y, z). Maps are read twice,
    once for the mask and once for their values, so that one whole map at most is in memory.
    """
    paths = list(paths)
    mean = sum(smooth_map(path, fwhm_mm) / len(paths) for path in paths)
    mask = grey_matter_mask(mean[None], threshold)
    values = np.empty((len(paths), mask.sum()), np.float32)
    for row, path in zip(values, paths, strict=True):
        row[:] = smooth_map(path, fwhm_mm)[mask]
    return values, mask


def grey_matter_mask(maps, threshold):
    """Voxels, (x, y, z), where the mean of maps, (n_maps, x, y, z), exceeds a threshold."""
    mask = maps.mean(axis=0) > threshold
    if not mask.any():
        raise ValueError(f"mask_threshold {threshold:g} leaves no voxel: choose a lower one")
    return mask


def homogeneity(maps):
    """How much each of some maps, (n_maps, n_voxels), resembles the others: a row per map.

    mean_correlation is the mean of its correlations with them; outlier_score how far that lies
    below the median in robust standard deviations (1.4826 x median absolute deviation). Above 3 a
    map deserves a look; nothing is dropped.
    """
    r = np.corrcoef(maps)
    mean = (r.sum(axis=1) - 1) / (len(r) - 1)
    return pd.DataFrame({"mean_correlation": mean, "outlier_score": -robust_z(mean)})
