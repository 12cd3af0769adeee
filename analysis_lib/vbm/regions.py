"""Change by region of an atlas."""

import difflib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis_lib.atlas.grids import (
    grey_matter_labels,
    labels_on_grid,
    parcel_mean_matrix,
    parcel_means,
    region_names,
)
from analysis_lib.atlas.region_table import parcels_of
from analysis_lib.results.problems import CompendiumError, Problem, StudyError, caught
from analysis_lib.study.images import ERROR_MAPS, beside
from analysis_lib.study.map_file import load_map
from analysis_lib.vbm.discoveries import share_discovered


def region_table(result, effects, mask, affine, parcels):
    """What each grey-matter region holds: one row per region with voxels in the mask.

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
        effect over voxels, true_discoveries (see `share_discovered`), t (of the voxel with the
        largest statistic); by n_voxels_fwe.
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
    effect_columns = ["hedges_g" if name == "g" else name for name in effects if name != "t"]
    table = table.join(groups[effect_columns].mean())
    table["true_discoveries"] = share_discovered(result, labels).reindex(table.index)
    table["t"] = voxels.loc[groups["size"].idxmax()].set_index("label")["t"]
    table.insert(0, "region", region_names(parcels))
    return table.sort_values(
        ["n_voxels_fwe", "p_fwe_t"], ascending=[False, True], ignore_index=True
    )


def check_regions(regions, parcels):
    """Return regions as a list; raise StudyError, with near matches, if the atlas lacks one."""
    known = list(region_names(parcels))
    for region in regions:
        if region not in known:
            near = difflib.get_close_matches(region, known, n=3, cutoff=0.4) or known[:5]
            expected, remedy = "a grey-matter region of the atlas", f"nearest: {', '.join(near)}"
            raise StudyError(Problem("", "regions", expected, repr(region), remedy))
    return list(regions)


def problems(study):
    """What is wrong with the regions that a study names; a missing atlas is reported elsewhere.

    Returns
    -------
    list of analysis_lib.results.problems.Problem
    """
    if study.imaging is None:
        return []
    try:
        parcels = parcels_of(study)
    except CompendiumError:
        return []
    remedy = "Name regions of the atlas in the study file"
    of_sets = [region for some in study.region_sets.values() for region in some]
    named = [*study.own_regions, *of_sets]
    found = caught(check_regions, named, parcels)
    return [
        replace(problem, file=study.path.name, remedy=f"{problem.remedy}. {remedy}")
        for problem in found
    ]


def regional_tables(scans, parcels) -> dict:
    """Change of each grey-matter region, from maps before smoothing, as result tables.

    Parameters
    ----------
    scans : analysis_lib.vbm.scans.Scans
    parcels : Atlas

    Returns
    -------
    dict of pandas.DataFrame
        parcel_change: one row per participant and region; region_means.
    """
    people = scans.analysed
    rows = change_rows(regional_change(people, parcels), people)
    for measure, values in regional_errors(people, parcels).items():
        rows[measure] = change_rows(values, people)["change"]
    return {"parcel_change": rows, "region_means": region_means(rows)}


def coupling_table(rows, regions, improvement) -> pd.DataFrame:
    """`region_coupling` of some regions, from rows of vbm/parcel_change.tsv.

    Parameters
    ----------
    rows : pandas.DataFrame
    regions : sequence of str
        Empty: all in which every participant has grey matter.
    improvement : pandas.Series
        Points, by participant_id.
    """
    change = rows.pivot(index="participant_id", columns="region", values="change")
    regions = list(regions) or list(change.columns[change.notna().all()])
    arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"]
    who = improvement.index
    return region_coupling(change.loc[who, list(regions)], improvement, arm[who])


def regional_change(pairs, parcels):
    """Change of each region's volume, percent of that before treatment, from unsmoothed maps.

    ``pairs`` are the rows of `pair_maps` of those analysed; (n, n_regions), columns are names.
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


def regional_errors(pairs, parcels):
    """Means by region of what notebook 00 keeps of errors, percent; none of maps made elsewhere.

    (n, n_regions) each, by name in `analysis_lib.study.images.ERROR_MAPS`.
    """
    found = {}
    for measure in ERROR_MAPS:
        paths = [beside(path, measure) for path in pairs["post"]]
        if all(path.is_file() for path in paths):
            means = [parcel_means(path, parcels) for path in paths]
            names = region_names(parcels)
            found[measure] = pd.DataFrame(means)[names.index].set_axis(list(names), axis=1)
    return found


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
    """One row per participant and region: participant_id, arm, region, change (percent).

    ``change`` (n, n_regions) is from `parcel_change`, ``participants`` in the same order.
    """
    who = participants[["participant_id", "arm"]].reset_index(drop=True)
    rows = who.join(change.reset_index(drop=True)).melt(
        ["participant_id", "arm"], var_name="region", value_name="change"
    )
    return rows.sort_values(["participant_id", "region"], ignore_index=True)


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
        raise StudyError(
            f"regions {', '.join(empty)}: grey matter in every participant's map expected, found "
            "none in some: choose other regions"
        )
    known = np.isfinite(np.asarray(improvement, float))
    arm = np.asarray(arm)[known]
    held = len(np.unique(arm)) - 1  # variables held constant: the arm, where there are two
    outcome = _without_arm_means(np.asarray(improvement, float)[known, None], arm)[:, 0]
    rows = []
    for region in change:
        values = _without_arm_means(change[region].to_numpy()[known, None], arm)[:, 0]
        r, n = np.corrcoef(values, outcome)[0, 1], len(values)
        margin = stats.norm.ppf(0.975) / np.sqrt(n - 3 - held)
        low, high = np.tanh(np.arctanh(r) + np.array([-margin, margin]))
        p = 2 * stats.t.sf(abs(r) * np.sqrt((n - 2 - held) / (1 - r**2)), n - 2 - held)
        rows.append({"region": region, "n": n, "r": r, "ci_low": low, "ci_high": high, "p": p})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=multipletests(table["p"], method="holm")[1])


def _without_arm_means(values, arm):
    frame = pd.DataFrame(values)
    return (frame - frame.groupby(arm).transform("mean")).to_numpy()
