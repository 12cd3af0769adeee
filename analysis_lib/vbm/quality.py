"""Quality of maps, head size."""

import numpy as np
import pandas as pd

from analysis_lib.vbm.maps import homogeneity


def adjust_for_tiv(maps, covariates, tiv, how):
    """Account for head size: the total intracranial volume (TIV).

    Parameters
    ----------
    maps : sequence of numpy.ndarray
        (n, n_voxels) each, before and after.
    covariates : pandas.DataFrame
        (n, n_columns).
    tiv : pandas.Series or None
        (n,), ml.
    how : str
        "none"; "covariate", which joins the covariates; "proportional", which divides each
        participant's maps by TIV / mean TIV.

    Returns
    -------
    maps : list of numpy.ndarray
    covariates : pandas.DataFrame

    Raises
    ------
    ValueError
        For another word, or where TIV is asked for and not known of everybody.
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
    """Volume and homogeneity of each map.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Rows of :func:`analysis_lib.study.images.pair_maps`, those analysed.
    maps : dict
        "pre" and "post": (n, n_voxels), in the order of ``pairs``.
    affine : numpy.ndarray
        (4, 4).

    Returns
    -------
    pandas.DataFrame
        participant_id, arm, session, volume_ml (within the mask), mean_correlation and
        outlier_score among the maps of the session.
    """
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    tables = []
    for session, values in maps.items():
        table = pairs[["participant_id", "arm"]].reset_index(drop=True).assign(session=session)
        table["volume_ml"] = values.sum(axis=1, dtype=float) * voxel_ml
        tables.append(table.join(homogeneity(values)))
    return pd.concat(tables, ignore_index=True)
