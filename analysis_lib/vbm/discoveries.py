"""How much of a cluster, a region or a set of regions changed: lower bounds, all at once."""

import numpy as np
import pandas as pd

from analysis_lib.atlas.grids import labels_on_grid, region_names

OTHERS = ", all others"  # after a set's name: the rest of the grey-matter regions


def share_discovered(result, groups) -> pd.Series:
    """Lower 95 % bound on the share of each group's voxels with a true effect, by label.

    Simultaneous over all groups that anyone may pick (see :mod:`voxelperm.discoveries`).
    ``groups`` has the label of each voxel.
    """
    places = pd.Series(groups).groupby(np.asarray(groups)).indices
    return pd.Series(
        {label: result.true_discoveries(rows) / len(rows) for label, rows in places.items()},
        dtype=float,
    )


def region_of_voxels(mask, affine, parcels) -> np.ndarray:
    """Name of the grey-matter region of each voxel in the mask; empty outside."""
    labels = labels_on_grid(parcels, mask.shape, affine)[mask]
    return pd.Series(labels).map(region_names(parcels)).fillna("").to_numpy()


def set_table(contrast, result, sets, of_voxel) -> pd.DataFrame:
    """Is change found in sets of regions named beforehand, and in the rest of the grey matter?

    ``sets`` has the regions of each set, ``of_voxel`` is from `region_of_voxels`. For each set
    there is also a row "<set>, all others". p_set is the level at which the bound on true
    discoveries is no longer above 0: it allows for every other set that could have been named.
    """
    rows = []
    for name, regions in sets.items():
        inside = np.isin(of_voxel, regions)
        for title, voxels in ((name, inside), (f"{name}{OTHERS}", (of_voxel != "") & ~inside)):
            rows.append(
                {
                    "contrast": contrast,
                    "region_set": title,
                    "n_regions": len(np.unique(of_voxel[voxels])),
                    "n_voxels": int(voxels.sum()),
                    "true_discoveries": result.true_discoveries(voxels) / max(voxels.sum(), 1),
                    "p_set": set_p(result, voxels),
                }
            )
    return pd.DataFrame(rows)


def set_p(result, voxels):
    """Smallest alpha at which the bound on a set's true discoveries is above 0."""
    p = np.sort(result.p_uncorrected[voxels])[result.shift :]
    tests = len(result.p_uncorrected) - result.shift
    pivot = (p * tests / np.arange(1, len(p) + 1)).min(initial=np.inf)
    return (1 + (result.pivots <= pivot).sum()) / (1 + len(result.pivots))
