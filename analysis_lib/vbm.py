"""Voxel-based morphometry: contrasts of change, effect sizes, cluster tables, regions.

With two visits the mixed model's arm-by-time effect is exactly the two-sample comparison of the
post - pre difference maps, so everything here works on difference maps.
"""

import difflib
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.reporting import get_clusters_table
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis_lib.atlas import grey_matter_labels, labels_on_grid, parcel_mean_matrix, region_at
from analysis_lib.glm import hedges_correction
from analysis_lib.images import homogeneity, load_map
from analysis_lib.permutation import permutation_test

CONTRASTS = {
    "active_change": "change within the active arm",
    "control_change": "change within the control arm",
    "arm_by_time": "change in the active arm - change in the control arm",
}
IMPROVEMENT = "improvement"
P_NAMES = {
    "max_t": "p_fwe_t",
    "cluster_extent": "p_fwe_cluster",
    "cluster_mass": "p_fwe_mass",
    "tfce": "p_fwe_tfce",
}
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


def contrast_test(contrast, change, mask, arm, covariates=None, blocks=None, **options):
    """Permutation test of one contrast on difference maps.

    Parameters
    ----------
    contrast : str
        A key of ``CONTRASTS``. Within an arm the mean change is tested by flipping signs, without
        covariates; arm_by_time by permuting arms, covariates by Freedman-Lane.
    change : numpy.ndarray
        (n, n_voxels), post - pre.
    mask : numpy.ndarray of bool
        (x, y, z).
    arm : array_like of str
        (n,), "active" or "control".
    covariates : array_like, optional
        (n, n_columns).
    blocks : array_like, optional
        (n,), strata of the randomisation.
    **options
        For :func:`analysis_lib.permutation.permutation_test`.

    Returns
    -------
    PermutationResult
    """
    arm = np.asarray(arm)
    if contrast == "arm_by_time":
        tested = (arm == "active").astype(float)
        return permutation_test(change, mask, tested, covariates, blocks, **options)
    rows = arm == _within(contrast)
    return permutation_test(change[rows], mask, np.ones(rows.sum()), sign_flip=True, **options)


def improvement_test(change, mask, improvement, arm, covariates=None, blocks=None, **options):
    """Where does change go with clinical improvement, within arms?

    The arm is in the model, so that a region that treatment changes does not correlate with
    improvement merely because treatment changes both. Participants are exchanged within their arm
    (and stratum).

    Parameters
    ----------
    change : numpy.ndarray
        (n, n_voxels), post - pre.
    mask : numpy.ndarray of bool
        (x, y, z).
    improvement : array_like
        (n,), points; participants without one are left out.
    arm : array_like of str
        (n,).
    covariates : pandas.DataFrame, optional
        (n, n_columns).
    blocks : array_like, optional
        (n,), strata of the randomisation.
    **options
        For :func:`analysis_lib.permutation.permutation_test`.

    Returns
    -------
    result : PermutationResult
    effects : dict
        r: partial correlation, (n_voxels,).
    """
    improvement, arm = np.asarray(improvement, float), np.asarray(arm)
    known = np.isfinite(improvement)
    nuisance = [(arm == "active")[known].astype(float)[:, None]]
    if covariates is not None:
        nuisance.append(np.asarray(covariates, float)[known])
    groups = arm if blocks is None else np.char.add(arm.astype(str), np.asarray(blocks, str))
    result = permutation_test(
        change[known], mask, improvement[known], np.column_stack(nuisance), groups[known], **options
    )
    return result, {"r": result.t / np.sqrt(result.t**2 + result.df)}


def _within(contrast):
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast among {', '.join(CONTRASTS)} expected, found {contrast!r}")
    return contrast.removesuffix("_change")


def effect_sizes(contrast, pre, post, arm):
    """Hedges g and percent change in every voxel, not adjusted for covariates.

    Parameters
    ----------
    contrast : str
    pre, post : numpy.ndarray
        (n, n_voxels), smoothed maps.
    arm : array_like of str
        (n,).

    Returns
    -------
    dict
        g: mean change over the standard deviation of change within an arm; between arms, the
        difference of mean changes over the pooled standard deviation of change; times J(df).
        percent: 100 x mean change / mean before treatment; between arms, the difference of these.
        Each (n_voxels,); 0 where nothing varies.
    """
    arm = np.asarray(arm)
    names = ["active", "control"] if contrast == "arm_by_time" else [_within(contrast)]
    change = post - pre
    means = [change[arm == name].mean(axis=0, dtype=float) for name in names]
    before = [pre[arm == name].mean(axis=0, dtype=float) for name in names]
    df = [(arm == name).sum() - 1 for name in names]
    squares = [
        d * change[arm == n].var(axis=0, ddof=1, dtype=float)
        for n, d in zip(names, df, strict=True)
    ]
    spread = np.sqrt(sum(squares) / sum(df))
    signs = [1, -1][: len(names)]
    difference = sum(s * m for s, m in zip(signs, means, strict=True))
    percent = [
        np.divide(100 * m, b, where=b > 0, out=np.zeros_like(m))
        for m, b in zip(means, before, strict=True)
    ]
    g = np.divide(difference, spread, where=spread > 0, out=np.zeros_like(difference))
    return {
        "g": g * hedges_correction(sum(df)),
        "percent": sum(s * p for s, p in zip(signs, percent, strict=True)),
    }


def to_image(values, mask, affine, outside=0.0):
    """Put the values of a mask's voxels into an image.

    Parameters
    ----------
    values : numpy.ndarray
        (n_voxels,).
    mask : numpy.ndarray of bool
        (x, y, z).
    affine : numpy.ndarray
        (4, 4).
    outside : float
        Value of the other voxels: 0, or 1 for maps of p.

    Returns
    -------
    nibabel.Nifti1Image
        float32.
    """
    data = np.full(mask.shape, outside, np.float32)
    data[mask] = values
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b""
    return image


def result_images(contrast, result, effects, mask, affine):
    """The images of one contrast by file name: t, g, percent, and p of each statistic.

    Returns
    -------
    dict of str to nibabel.Nifti1Image
    """
    maps = {"t": result.t, **effects}
    images = {f"{contrast}_{k}.nii.gz": to_image(v, mask, affine) for k, v in maps.items()}
    for statistic, p in result.p.items():
        name = f"{contrast}_{P_NAMES[statistic]}.nii.gz"
        images[name] = to_image(p, mask, affine, outside=1.0)
    return images


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


def region_table(result, effects, mask, affine, parcels):
    """What each grey-matter region holds: one row a region with voxels in the mask.

    A cluster can span many regions; this table says where its voxels are.

    Parameters
    ----------
    result : PermutationResult
    effects : dict
        From :func:`effect_sizes` or :func:`improvement_test`.
    mask, affine : numpy.ndarray
    parcels : Atlas

    Returns
    -------
    pandas.DataFrame
        region, n_voxels, n_voxels_fwe (max-t, p < .05), p_fwe_t (the smallest), the mean of each
        effect over voxels, t (the largest |t|, signed); by n_voxels_fwe.
    """
    labels = labels_on_grid(parcels, mask.shape, affine)[mask]
    voxels = pd.DataFrame(
        {
            "label": labels,
            "n_voxels_fwe": result.p["max_t"] < 0.05,
            "p_fwe_t": result.p["max_t"],
            "size": np.abs(result.t),
            "t": result.t,
            **effects,
        }
    ).rename(columns={"g": "hedges_g"})
    voxels = voxels[np.isin(labels, grey_matter_labels(parcels))]
    groups = voxels.groupby("label")
    table = groups.agg(
        n_voxels=("t", "size"), n_voxels_fwe=("n_voxels_fwe", "sum"), p_fwe_t=("p_fwe_t", "min")
    )
    effect_columns = ["hedges_g" if name == "g" else name for name in effects]
    table = table.join(groups[effect_columns].mean())
    table["t"] = voxels.loc[groups["size"].idxmax()].set_index("label")["t"]
    table.insert(0, "region", region_names(parcels))
    return table.sort_values(
        ["n_voxels_fwe", "p_fwe_t"], ascending=[False, True], ignore_index=True
    )


def planted_change(study, fwhm_mm):
    """Planted percent change of a simulated study, smoothed as its maps are; None for a real one.

    Parameters
    ----------
    study : Study
    fwhm_mm : float

    Returns
    -------
    nibabel.Nifti1Image or None
    """
    if not (study.simulated and (study.root / "derivatives" / "truth").is_dir()):
        return None
    from analysis_lib.simulate import true_change  # slow to import, and for the demo alone

    return true_change(study.root, fwhm_mm)


def recovery(contrast, result, truth, true_at_least=1.0, false_below=0.25):
    """Compare the voxels with family-wise p < .05 (max-t) with the planted change.

    Parameters
    ----------
    contrast : str
    result : PermutationResult
    truth : numpy.ndarray
        (n_voxels,), planted change in the active arm, percent, smoothed. In the control arm
        nothing is planted.
    true_at_least, false_below : float
        Percent. Voxels between the two count neither way.

    Returns
    -------
    dict
        contrast, significant, true_voxels, true_found, false_found, and
        false_discovery_proportion: false_found / significant, 0 where nothing is found.
    """
    planted = np.zeros_like(truth) if contrast == "control_change" else np.abs(truth)
    found = result.p["max_t"] < 0.05
    true, false = planted >= true_at_least, planted < false_below
    return {
        "contrast": contrast,
        "significant": int(found.sum()),
        "true_voxels": int(true.sum()),
        "true_found": int((found & true).sum()),
        "false_found": int((found & false).sum()),
        "false_discovery_proportion": (found & false).sum() / max(found.sum(), 1),
    }


def contrast_summary(contrast, result, n_active, n_control):
    """What survived the family-wise correction, in one row.

    Returns
    -------
    dict
        contrast, n_active, n_control, df, n_permutations, threshold, and for max-t, cluster extent
        and TFCE how many voxels have family-wise p < .05 and the smallest p.
    """
    return {
        "contrast": contrast,
        "n_active": n_active if contrast != "control_change" else 0,
        "n_control": n_control if contrast != "active_change" else 0,
        "df": result.df,
        "n_permutations": len(result.null_max["max_t"]),
        "threshold": result.cluster_threshold,
        "n_voxels_fwe": int((result.p["max_t"] < 0.05).sum()),
        "n_voxels_fwe_cluster": int((result.p["cluster_extent"] < 0.05).sum()),
        "n_voxels_fwe_tfce": int((result.p["tfce"] < 0.05).sum()),
        "smallest_p": result.p["max_t"].min(),
        "smallest_p_cluster": result.p["cluster_extent"].min(),
        "smallest_p_tfce": result.p["tfce"].min(),
    }


def region_names(parcels):
    """A readable name for each grey-matter region: "left amygdala".

    Parameters
    ----------
    parcels : Atlas

    Returns
    -------
    pandas.Series
        By label, ascending.
    """
    table = parcels.table.loc[grey_matter_labels(parcels)]
    names = table["hemisphere"] + " " + table["region"].str.lower()
    return names.where(table["hemisphere"] != "midline", table["region"])


def check_regions(regions, parcels):
    """Return regions as a list; raise ValueError, with near matches, if the atlas lacks one."""
    known = list(region_names(parcels))
    for region in regions:
        if region not in known:
            near = difflib.get_close_matches(region, known, n=3, cutoff=0.4)
            raise ValueError(
                f"regions: a grey-matter region of the atlas expected, found {region!r}; "
                f"nearest: {', '.join(near) or ', '.join(known[:5])}"
            )
    return list(regions)


def smoothness_mm(maps, mask, affine):
    """Smoothness of maps along x, y and z, as the FWHM of an equally smooth Gaussian field.

    From the correlation of neighbouring voxels of residual maps, pooled over the mask (Forman et
    al. 1995, Magn Reson Med 33:636-647).

    Parameters
    ----------
    maps : numpy.ndarray
        (n, n_voxels); the mean over maps is removed.
    mask : numpy.ndarray of bool
        (x, y, z).
    affine : numpy.ndarray
        (4, 4).

    Returns
    -------
    numpy.ndarray
        (3,), mm.
    """
    residuals = maps - maps.mean(axis=0)
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    widths = []
    for axis, size in enumerate(sizes):
        here = np.moveaxis(number, axis, 0)
        first, second = here[:-1], here[1:]
        both = (first >= 0) & (second >= 0)
        a, b = residuals[:, first[both]], residuals[:, second[both]]
        correlation = 2 * np.vdot(a, b) / (np.vdot(a, a) + np.vdot(b, b))
        widths.append(size * np.sqrt(-2 * np.log(2) / np.log(correlation)))
    return np.array(widths)


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
        Rows of :func:`analysis_lib.images.pair_maps`, those analysed.
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


def regional_change(pairs, parcels):
    """Change of each grey-matter region's volume, from maps before smoothing.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Rows of :func:`analysis_lib.images.pair_maps`, those analysed.
    parcels : Atlas

    Returns
    -------
    pandas.DataFrame
        (n, n_regions), percent of the volume before treatment; columns are region names.
    """
    first = load_map(pairs["pre"].iloc[0])
    labels = labels_on_grid(parcels, first.shape, first.affine)
    grey = np.isin(labels, grey_matter_labels(parcels))
    mask = nib.Nifti1Image(grey.astype(np.int8), first.affine)
    means = [
        parcel_mean_matrix(_values(pairs[session], grey), mask, parcels).to_numpy()
        for session in ("pre", "post")
    ]
    return parcel_change(*means, region_names(parcels))


def _values(paths, mask):
    return np.stack([load_map(path).get_fdata(dtype=np.float32)[mask] for path in paths])


def parcel_change(pre, post, regions):
    """Change of each region's grey-matter volume, percent of the volume before treatment.

    Parameters
    ----------
    pre, post : numpy.ndarray
        (n, n_regions), mean modulated density of each region, not smoothed.
    regions : sequence of str

    Returns
    -------
    pandas.DataFrame
        (n, n_regions). Missing where a region holds no grey matter before treatment.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where(pre > 0, 100 * (post - pre) / pre, np.nan)
    return pd.DataFrame(change, columns=list(regions))


def change_rows(change, participants):
    """One row a participant and region: participant_id, arm, region, change (percent).

    Parameters
    ----------
    change : pandas.DataFrame
        (n, n_regions), from :func:`parcel_change`.
    participants : pandas.DataFrame
        (n,) rows with participant_id and arm, in the same order.
    """
    who = participants[["participant_id", "arm"]].reset_index(drop=True)
    rows = who.join(change.reset_index(drop=True)).melt(
        ["participant_id", "arm"], var_name="region", value_name="change"
    )
    return rows.sort_values(["participant_id", "region"], ignore_index=True)


def change_matrix(rows, names):
    """Participants by regions again, from :func:`change_rows`.

    Parameters
    ----------
    rows : pandas.DataFrame
        participant_id, region, change.
    names : pandas.Series
        Region name by label, from :func:`region_names`.

    Returns
    -------
    pandas.DataFrame
        (n, n_regions), percent; columns are labels, ascending; regions without a value in some
        participant (no grey matter there) are left out.

    Raises
    ------
    ValueError
        If the table names a region that the atlas does not have.
    """
    unknown = sorted(set(rows["region"]) - set(names))
    if unknown:
        raise ValueError(
            f"parcel_change.tsv: regions of this atlas expected, found {', '.join(unknown[:5])}: "
            "run 02_vbm again with this study's atlas"
        )
    wide = rows.pivot(index="participant_id", columns="region", values="change")
    label = pd.Series(names.index, index=names)
    wide.columns = label[wide.columns].to_numpy()
    return wide.sort_index(axis=1).dropna(axis=1).rename_axis(columns="label")


def region_means(rows):
    """Mean change by arm and region with a t interval: arm, region, n, mean, sd, ci_low, ci_high.

    Parameters
    ----------
    rows : pandas.DataFrame
        From :func:`change_rows`.
    """
    groups = rows.groupby(["arm", "region"], sort=False)["change"]
    table = groups.agg(n="count", mean="mean", sd="std").reset_index()
    margin = stats.t.ppf(0.975, table["n"] - 1) * table["sd"] / np.sqrt(table["n"])
    return table.assign(ci_low=table["mean"] - margin, ci_high=table["mean"] + margin)


def region_coupling(change, improvement, arm):
    """Correlation of regional change with clinical change, the arm's mean removed from both.

    Without removing it a region that grows under treatment correlates with improvement merely
    because both differ between arms.

    Parameters
    ----------
    change : pandas.DataFrame
        (n, n_regions), percent.
    improvement : array_like
        (n,), points; missing values leave the participant out.
    arm : array_like of str
        (n,).

    Returns
    -------
    pandas.DataFrame
        region, n, r (partial Pearson), ci_low, ci_high (Fisher), p, p_holm.

    Raises
    ------
    ValueError
        If a region has no value in some participant.
    """
    empty = list(change.columns[change.isna().any()])
    if empty:
        raise ValueError(
            f"regions {', '.join(empty)}: grey matter in every participant's map expected, found "
            "none in some: choose other regions"
        )
    known = np.isfinite(np.asarray(improvement, float))
    arm = np.asarray(arm)[known]
    outcome = _without_arm_means(np.asarray(improvement, float)[known, None], arm)[:, 0]
    rows = []
    for region in change:
        values = _without_arm_means(change[region].to_numpy()[known, None], arm)[:, 0]
        r, n = np.corrcoef(values, outcome)[0, 1], len(values)
        margin = stats.norm.ppf(0.975) / np.sqrt(n - 4)  # one variable, the arm, is held constant
        low, high = np.tanh(np.arctanh(r) + np.array([-margin, margin]))
        p = 2 * stats.t.sf(abs(r) * np.sqrt((n - 3) / (1 - r**2)), n - 3)
        rows.append({"region": region, "n": n, "r": r, "ci_low": low, "ci_high": high, "p": p})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=multipletests(table["p"], method="holm")[1])


def _without_arm_means(values, arm):
    frame = pd.DataFrame(values)
    return (frame - frame.groupby(arm).transform("mean")).to_numpy()
