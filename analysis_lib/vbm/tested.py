"""All contrasts of notebook 02: tested, and reported in tables and images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.results.contrasts import CONTRASTS, CONTROL_CHANGE, IMPROVEMENT
from analysis_lib.vbm import effects
from analysis_lib.vbm.clusters import cluster_regions, cluster_table, numbered_clusters
from analysis_lib.vbm.contrasts import (
    contrast_summary,
    contrast_test,
    improvement_test,
    is_within_arm,
)
from analysis_lib.vbm.discoveries import region_of_voxels, set_table
from analysis_lib.vbm.planted_truth import planted_change, recovery
from analysis_lib.vbm.region_effects import equivalence, region_effects, region_percent
from analysis_lib.vbm.regions import region_table
from voxelperm import STATISTICS, PermutationResult

EVERYTHING = (*STATISTICS, "true_discoveries")


@dataclass(frozen=True)
class Tested:
    """One contrast, tested in every voxel.

    Attributes
    ----------
    contrast : str
    result : PermutationResult
    effects : dict of numpy.ndarray
        Effect sizes by name.
    n_active, n_control : int
        Participants of each arm who could take part.
    errors : str
        What the test assumed of errors: see `contrast_test`.
    """

    contrast: str
    result: PermutationResult
    effects: dict
    n_active: int
    n_control: int
    errors: str = "unequal"


def assess_contrasts(maps, errors="unequal", errors_within="skewed", **options) -> dict:
    """Every contrast of change, tested by permutation, with its effect sizes.

    Parameters
    ----------
    maps : analysis_lib.vbm.scans.Maps
    errors : {"unequal", "equal"}
        Between arms: see `contrast_test`.
    errors_within : {"skewed", "symmetric"}
        Within an arm.
    **options
        For :func:`voxelperm.permutation_test`.

    Returns
    -------
    dict of Tested
        By contrast.
    """
    model = (maps.change, maps.mask, maps.arm, maps.covariates, maps.blocks)
    options |= {"statistics": EVERYTHING}
    assumed = {c: errors_within if CONTRASTS[c].within else errors for c in maps.contrasts}
    return {
        contrast: Tested(
            contrast,
            contrast_test(contrast, *model, errors=own, **options),
            effects.effect_sizes(contrast, maps.pre, maps.post, maps.arm, maps.columns),
            *_counts(maps.arm),
            own,
        )
        for contrast, own in assumed.items()
    }


def assess_improvement(maps, improvement, errors="unequal", **options) -> Tested:
    """Where change correlates with clinical improvement, within arms: see `improvement_test`.

    Parameters
    ----------
    maps : analysis_lib.vbm.scans.Maps
    improvement : pandas.Series
        Points, in the order of the maps; missing values leave the participant out.
    errors : {"unequal", "equal"}
        See `contrast_test`.
    **options
        For :func:`voxelperm.permutation_test`.
    """
    model = (maps.arm, maps.covariates, maps.blocks, errors)
    options |= {"statistics": EVERYTHING}
    found = improvement_test(maps.change, maps.mask, improvement, *model, **options)
    known = np.isfinite(np.asarray(improvement, float))
    return Tested(IMPROVEMENT, *found, *_counts(maps.arm[known]), errors)


def _counts(arm):
    return (int((arm == name).sum()) for name in ("active", "control"))


def summary_table(tests) -> pd.DataFrame:
    """What survived in each contrast: rows of vbm/summary.tsv."""
    rows = (
        contrast_summary(t.contrast, t.result, t.n_active, t.n_control, t.errors)
        for t in tests.values()
    )
    return pd.DataFrame(rows)


def result_files(study, tests, maps, parcels) -> dict:
    """The images and tables of each contrast by name, as ``results.keep`` takes them.

    Parameters
    ----------
    study : Study
    tests : dict of Tested
    maps : analysis_lib.vbm.scans.Maps
    parcels : Atlas

    Returns
    -------
    dict
        <contrast>_t and the other images, <contrast>_clusters, _cluster_regions, _cluster_labels,
        _regions, _about (see `about_map`), summary. Improvement has no tables of clusters.
        What the study file names beforehand: see `set_files`.
    """
    where, files = (maps.mask, maps.affine, parcels), {"summary": summary_table(tests)}
    for name, test in tests.items():
        files |= effects.result_images(name, test.result, test.effects, maps.mask, maps.affine)
        files[f"{name}_about"] = about_map(test, maps)
        files[f"{name}_regions"] = region_table(test.result, test.effects, *where)
        if name != IMPROVEMENT:
            files |= _cluster_files(name, test, *where)
            change = estimates(test, maps, parcels)[["region", "percent", "ci_low", "ci_high"]]
            table = files[f"{name}_regions"].drop(columns="percent")
            files[f"{name}_regions"] = table.merge(change, on="region", how="left")
    return files | set_files(study, tests, maps, parcels)


def about_map(test, maps) -> dict:
    """What NeuroVault asks of an unthresholded map, under its names (Gorgolewski et al. 2015)."""
    n = {"active": test.n_active, "control": test.n_control}
    contrast = CONTRASTS[test.contrast]
    return {
        "name": f"{test.contrast}: t of grey-matter volume change",
        "map_type": "T map",
        "modality": "Structural MRI",
        "analysis_level": "group",
        "number_of_subjects": sum(n[arm] for arm in contrast.arms),
        "statistic_parameters": test.result.df,
        "smoothness_fwhm": float(np.prod(maps.smoothness_mm) ** (1 / 3)),
        "contrast_definition": contrast.words.format(active="active", control="control"),
        "target_template_image": "GenericMNI",
        "is_thresholded": False,
        "statistical_test": f"{test.errors} errors; {len(test.result.null_max['max_t'])} draws",
    }


def estimates(test, maps, parcels) -> pd.DataFrame:
    """Change by region in one contrast, with intervals: see `region_effects`."""
    change, within = region_percent(test.contrast, maps, parcels), is_within_arm(test.contrast)
    if within:
        return region_effects(test.contrast, change, within)
    return region_effects(test.contrast, change, maps.arm, maps.columns, test.errors)


def set_files(study, tests, maps, parcels) -> dict:
    """Tables of what the study file names beforehand: sets of regions, a bound for "no change".

    Returns
    -------
    dict of pandas.DataFrame
        region_sets, equivalence; each only where the study file names it.
    """
    files, contrasts = {}, [tests[name] for name in maps.contrasts]
    if study.region_sets:
        of_voxel = region_of_voxels(maps.mask, maps.affine, parcels)
        rows = (set_table(t.contrast, t.result, study.region_sets, of_voxel) for t in contrasts)
        files["region_sets"] = pd.concat(rows, ignore_index=True)
    if study.equivalence is not None:
        bound = study.equivalence.percent
        rows = (
            equivalence(estimates(t, maps, parcels), bound).assign(contrast=t.contrast, bound=bound)
            for t in contrasts
            if t.contrast in (CONTROL_CHANGE, maps.contrasts[-1])
        )
        files["equivalence"] = pd.concat(rows, ignore_index=True)
    return files


def _cluster_files(name, test, mask, affine, parcels):
    where, number = (mask, affine, parcels), numbered_clusters(test.result, mask)
    return {
        f"{name}_clusters": cluster_table(test.result, test.effects, *where),
        f"{name}_cluster_regions": cluster_regions(test.result, *where),
        f"{name}_cluster_labels": effects.to_image(number, mask, affine, 0, np.int32),
    }


def recovery_table(study, tests, maps, fwhm_mm) -> pd.DataFrame | None:
    """How much of the planted change each contrast found: see `recovery`.

    Parameters
    ----------
    study : Study
    tests : dict of Tested
    maps : analysis_lib.vbm.scans.Maps
    fwhm_mm : float

    Returns
    -------
    pandas.DataFrame or None
        One row per contrast of change; None where the truth is not known.
    """
    truth = planted_change(study, fwhm_mm)
    if truth is None:
        return None
    planted = truth.get_fdata()[maps.mask]
    return pd.DataFrame([recovery(c, tests[c].result, planted) for c in maps.contrasts])
