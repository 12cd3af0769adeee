"""Quality of maps, head size."""

import numpy as np
import pandas as pd

from analysis_lib.vbm.maps import homogeneity


def adjust_for_tiv(maps, covariates, tiv, how):
    """Maps before and after, (n, n_voxels) each, and covariates, adjusted for head size.

    ``tiv`` (n,) is the total intracranial volume, ml. ``how`` is "none"; "covariate", which joins
    the covariates; or "proportional", which divides each participant's maps by TIV / mean TIV.
    """
    if how not in ("none", "covariate", "proportional"):
        raise ValueError(f"tiv: none, covariate or proportional expected, found {how!r}")
    if how == "none":
        return list(maps), covariates
    if tiv is None or tiv.isna().any():
        raise ValueError(
            f"tiv={how}: a column tiv (ml) without gaps in participants.tsv expected, or TIV "
            "beside the maps (CAT12, deepmriprep, notebook 00)"
        )
    if how == "covariate":
        return list(maps), covariates.assign(tiv=(tiv - tiv.mean()).to_numpy())
    scale = (tiv / tiv.mean()).to_numpy(np.float32)[:, None]
    return [values / scale for values in maps], covariates


def quality_table(pairs, maps, affine):
    """A row per map: participant_id, arm, session, volume_ml in the mask, and `homogeneity`.

    ``maps`` are those of the sessions "pre" and "post", (n, n_voxels), in the order of ``pairs``.
    """
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    tables = []
    for session, values in maps.items():
        table = pairs[["participant_id", "arm"]].reset_index(drop=True).assign(session=session)
        table["volume_ml"] = values.sum(axis=1, dtype=float) * voxel_ml
        tables.append(table.join(homogeneity(values)))
    return pd.concat(tables, ignore_index=True)
