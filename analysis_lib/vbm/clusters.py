"""Cluster tables."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.reporting import get_clusters_table

from analysis_lib.atlas.grids import region_at
from analysis_lib.vbm.effects import to_image

CLUSTER_COLUMNS = [
    "cluster",
    "region",
    "hemisphere",
    "k_voxels",
    "volume_mm3",
    "x",
    "y",
    "z",
    "t",
    "hedges_g",
    "percent",
    "p_fwe_t",
    "p_fwe_cluster",
    "p_fwe_mass",
    "p_fwe_tfce",
]


def cluster_table(result, effects, mask, affine, atlas, min_distance_mm=8.0):
    """Clusters and their peaks, with region names and every p.

    Parameters
    ----------
    result : PermutationResult
    effects : dict
        From :func:`effect_sizes`.
    mask, affine : numpy.ndarray
    atlas : Atlas
    min_distance_mm : float
        Between peaks of one cluster.

    Returns
    -------
    pandas.DataFrame
        ``CLUSTER_COLUMNS``; clusters by size, both tails; further peaks carry a letter.
    """
    image = to_image(result.t, mask, affine)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No clusters found")  # in one tail: nothing to warn of
        peaks = get_clusters_table(
            image, result.cluster_threshold, two_sided=True, min_distance=min_distance_mm
        )
    if peaks.empty:
        return pd.DataFrame(columns=CLUSTER_COLUMNS)
    xyz = peaks[["X", "Y", "Z"]].to_numpy(float)
    where = np.rint(nib.affines.apply_affine(np.linalg.inv(affine), xyz)).astype(int)
    index = np.zeros(mask.shape, int)
    index[mask] = np.arange(mask.sum())
    voxel = index[tuple(where.T)]
    regions = region_at(xyz, atlas)
    size = pd.to_numeric(peaks["Cluster Size (mm3)"], errors="coerce").ffill()
    volume = abs(np.linalg.det(affine[:3, :3]))
    table = pd.DataFrame(
        {
            "cluster": peaks["Cluster ID"].astype(str).to_numpy(),
            "region": regions["region"].to_numpy(),
            "hemisphere": regions["hemisphere"].to_numpy(),
            "k_voxels": np.rint(size.to_numpy() / volume).astype(int),
            "volume_mm3": size.to_numpy(),
            **dict(zip("xyz", xyz.T, strict=True)),
            "t": result.t[voxel],
            "hedges_g": effects["g"][voxel],
            "percent": effects["percent"][voxel],
            "p_fwe_t": result.p["max_t"][voxel],
            "p_fwe_cluster": result.p["cluster_extent"][voxel],
            "p_fwe_mass": result.p["cluster_mass"][voxel],
            "p_fwe_tfce": result.p["tfce"][voxel],
        }
    )
    return _by_size(table[CLUSTER_COLUMNS])


def _by_size(table):
    """Number the clusters of both tails by size; nilearn lists the positive ones first."""
    number, letter = table["cluster"].str.extract(r"(\d+)(\D*)").to_numpy().T
    sizes = table.groupby(number, sort=False)["k_voxels"].first()
    by_size = sizes.sort_values(ascending=False, kind="stable").index
    rank = pd.Series(np.arange(1, len(by_size) + 1), by_size)[number].to_numpy()
    table = table.assign(cluster=rank.astype(str) + letter.astype(object))
    return table.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)
