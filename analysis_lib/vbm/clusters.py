"""Clusters, their peaks, and the regions that they run through."""

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from analysis_lib.atlas.grids import labels_on_grid, region_at, region_names
from analysis_lib.vbm.discoveries import share_discovered
from analysis_lib.vbm.effects import P_NAMES
from voxelperm import label_clusters

OUTSIDE = "outside the grey-matter regions"


def numbered_clusters(result, mask):
    """Numbers (n_voxels,) of clusters above the forming threshold, the largest first; 0 outside.

    The tails are apart; neighbours share a face.
    """
    labels, sizes, _ = label_clusters(result.t, mask, result.cluster_threshold)
    number = np.zeros(len(sizes) + 1, int)
    number[np.argsort(-sizes, kind="stable") + 1] = np.arange(1, len(sizes) + 1)
    return number[labels]


def cluster_table(result, effects, mask, affine, atlas, min_distance_mm=8.0):
    """Every peak of every cluster, with region names and every p.

    Parameters
    ----------
    result : PermutationResult
    effects : dict
        From :func:`effect_sizes`.
    mask, affine : numpy.ndarray
    atlas : Atlas
    min_distance_mm : float
        Between peaks of one cluster: a local maximum of \\|t\\| nearer to a higher one is left out.

    Returns
    -------
    pandas.DataFrame
        One row per peak: cluster (1, 1a, 1b ... by size, then by \\|t\\|), region, hemisphere,
        k_voxels, true_discoveries (see `share_discovered`) and volume_mm3 of the cluster, x, y, z
        (MNI, mm), and the peak's t, effects and p.
    """
    clusters = numbered_clusters(result, mask)
    voxel, xyz = _peaks(result.t, clusters, mask, affine, min_distance_mm)
    number, size = clusters[voxel], np.bincount(clusters)
    regions = region_at(xyz, atlas) if len(xyz) else pd.DataFrame(columns=["region", "hemisphere"])
    table = {
        "cluster": _lettered(number),
        "region": regions["region"].to_numpy(),
        "hemisphere": regions["hemisphere"].to_numpy(),
        "k_voxels": size[number],
        "true_discoveries": share_discovered(result, clusters).reindex(number).to_numpy(),
        "volume_mm3": size[number] * abs(np.linalg.det(affine[:3, :3])),
        **dict(zip("xyz", xyz.T, strict=True)),
        "t": effects.get("t", result.t)[voxel],
        "hedges_g": effects["g"][voxel],
        "percent": effects["percent"][voxel],
        **{P_NAMES[name]: p[voxel] for name, p in result.p.items()},
    }
    return pd.DataFrame(table)


def _peaks(t, clusters, mask, affine, min_distance_mm):
    """Peaks by cluster and height: their places among the mask's voxels, (n,), and MNI, (n, 3)."""
    height, faces = np.zeros(mask.shape), ndimage.generate_binary_structure(3, 1)
    summits = np.zeros(len(t), bool)
    for sign in (1, -1):
        height[mask] = np.maximum(sign * t, 0)
        top = ndimage.maximum_filter(height, footprint=faces) == height
        summits |= top[mask] & (sign * t > 0)
    summits = np.flatnonzero(summits & (clusters > 0))
    summits = summits[np.lexsort((summits, -np.abs(t[summits]), clusters[summits]))]
    xyz = nib.affines.apply_affine(affine, np.argwhere(mask)[summits])
    kept = []
    for i in range(len(summits)):
        rivals = [k for k in kept if clusters[summits[k]] == clusters[summits[i]]]
        distance = np.linalg.norm(xyz[rivals] - xyz[i], axis=1)
        if distance.min(initial=np.inf) >= min_distance_mm:
            kept.append(i)
    kept = np.array(kept, int)
    return summits[kept], xyz[kept]


def _lettered(number):
    """Clusters' numbers as text: 1, 1a, 1b, ..., 1z, 1aa, ..., 2."""
    rank = pd.Series(number).groupby(number).cumcount()
    return [f"{n}{_letters(k)}" for n, k in zip(number, rank, strict=True)]


def _letters(k):
    return "" if k == 0 else _letters((k - 1) // 26) + chr(ord("a") + (k - 1) % 26)


def cluster_regions(result, mask, affine, atlas):
    """Where each cluster's voxels lie: one row per cluster and grey-matter region.

    Returns
    -------
    pandas.DataFrame
        cluster, region, n_voxels, share_of_cluster, share_of_region (of its voxels in the mask);
        by cluster, then by n_voxels.
    """
    names = region_names(atlas)
    labels = labels_on_grid(atlas, mask.shape, affine)[mask]
    voxels = pd.DataFrame({"cluster": numbered_clusters(result, mask)})
    voxels["region"] = pd.Series(labels).map(names).fillna(OUTSIDE)
    of_region = voxels["region"].value_counts()
    inside = voxels[voxels["cluster"] > 0]
    table = inside.groupby(["cluster", "region"]).size().rename("n_voxels").reset_index()
    whole = table.groupby("cluster")["n_voxels"].transform("sum")
    table["share_of_cluster"] = table["n_voxels"] / whole
    table["share_of_region"] = table["n_voxels"] / table["region"].map(of_region)
    table = table.sort_values(
        ["cluster", "n_voxels", "region"], ascending=[True, False, True], ignore_index=True
    )
    return table.assign(cluster=table["cluster"].astype(str))
