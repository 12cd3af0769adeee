"""Result files, written whole or not at all."""

import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis_lib.results.columns import MISSING


def write_text(path, text) -> None:
    """Write a file whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# What a column of a result table holds, and its unit. A table with another column is refused.
COLUMNS = {
    "scale": "clinical scale",
    "arm": "trial arm: active or control",
    "visit": "visit, as the study file names it",
    "week": "weeks since baseline",
    "kind": "what is compared: change from baseline, or value (scale without a baseline)",
    "variable": "characteristic at baseline",
    "summary": "what the two arms' columns show",
    "active": "active arm",
    "control": "control arm",
    "standardised_mean_difference": "active - control in pooled standard deviations",
    "participant_id": "participant",
    "baseline": "score at baseline, points",
    "score": "score, points",
    "contrast": "which difference is tested",
    "n": "number of participants",
    "n_active": "number of participants, active arm",
    "n_control": "number of participants, control arm",
    "excluded_active": "participants of the active arm to whom the outcome does not apply",
    "excluded_control": "participants of the control arm to whom the outcome does not apply",
    "mean": "mean, in the unit of what is averaged (points, or percent for regions)",
    "sd": "standard deviation, in the unit of what is averaged",
    "estimate": "estimated difference, points of the scale; negative favours active",
    "se": "standard error",
    "df": "degrees of freedom",
    "t": "t statistic",
    "p": "two-sided p, uncorrected",
    "ci_low": "lower limit of the 95 % confidence interval",
    "ci_high": "upper limit of the 95 % confidence interval",
    "hedges_g": "standardised effect size, Hedges g",
    "g_ci_low": "lower limit of the 95 % confidence interval of g",
    "g_ci_high": "upper limit of the 95 % confidence interval of g",
    "effect": "effect in the analysis of variance",
    "df1": "numerator degrees of freedom",
    "df2": "denominator degrees of freedom",
    "F": "F statistic",
    "epsilon_gg": "Greenhouse-Geisser epsilon",
    "p_gg": "p with Greenhouse-Geisser correction",
    "partial_eta2": "partial eta squared",
    "outcome": "response (fall of 50 % or more) or remission",
    "analysis": "how missing outcomes count (missing_is_failure, observed) or are imputed",
    "events_active": "participants with the outcome, active arm",
    "events_control": "participants with the outcome, control arm",
    "risk_difference": "difference of proportions, active - control",
    "nnt": "number needed to treat; given only where the interval excludes 0",
    "status": "analysed or why not; of a checklist item: answered, partly, not in the data",
    "volume_ml": "total grey-matter volume, ml",
    "session": "imaging session: pre or post",
    "mean_correlation": "mean correlation of a map with all others",
    "outlier_score": "distance from the median in robust standard deviations (largest of several)",
    "tiv_ml": "total intracranial volume, ml",
    "grey_ml": "grey-matter volume, ml",
    "white_ml": "white-matter volume, ml",
    "csf_ml": "volume of cerebrospinal fluid, ml",
    "grey_share": "grey-matter volume, share of the total intracranial volume",
    "template_correlation": "correlation with the template's grey matter, both smoothed at 8 mm",
    "furthest": "measure that has the outlier score",
    "grey_change": "change of the grey-matter volume since before treatment, percent",
    "cluster": "cluster number; letters mark further peaks of one cluster",
    "region": "region of the atlas",
    "hemisphere": "left, right or midline",
    "k_voxels": "cluster size, voxels",
    "volume_mm3": "cluster size, mm3",
    "x": "MNI coordinate, mm, left to right",
    "y": "MNI coordinate, mm, back to front",
    "z": "MNI coordinate, mm, bottom to top; in receptors/individual.tsv Fisher's z of r",
    "percent": "mean change, percent of before treatment; of dominance, of the adjusted R2",
    "total_dominance": "part of the full model's adjusted R2 that is this map's",
    "p_fwe_t": "family-wise p of the voxel's t (permutation, maximum statistic)",
    "p_fwe_cluster": "family-wise p of the cluster's extent",
    "p_fwe_mass": "family-wise p of the cluster's mass",
    "p_fwe_tfce": "family-wise p of the voxel's threshold-free cluster enhancement",
    "change": "change of a region's grey-matter volume, percent of before treatment",
    "receptor": "receptor or transporter",
    "annotation": "map, source/desc in neuromaps",
    "tracer": "PET tracer",
    "n_subjects_map": "people behind the map",
    "n_parcels": "parcels that the map covers",
    "statistic": "statistic",
    "r": "correlation",
    "p_parametric": "p of the correlation as if parcels were independent; wrong for smooth maps",
    "p_spatial": "p against surrogates of the effect map that keep its smoothness",
    "p_fwe_spatial": "p_spatial, family-wise over receptors",
    "p_randomisation": "p against re-randomised arms (within an arm: flipped signs)",
    "p_fwe": "p, family-wise over receptors (correlations: of p_randomisation)",
    "q_fdr": "false discovery rate over receptors, from p_randomisation",
    "p_holm": "p after Holm's correction over the rows of one scale",
    "value": "value",
    "n_permutations": "number of permutations",
    "threshold": "|t| that forms clusters",
    "n_voxels": "voxels of the region in the mask",
    "n_voxels_fwe": "voxels with family-wise p < .05 (max-t)",
    "n_voxels_fwe_cluster": "voxels in clusters with family-wise p < .05 (extent)",
    "n_voxels_fwe_tfce": "voxels with family-wise p < .05 (TFCE)",
    "smallest_p_tfce": "smallest family-wise p (TFCE)",
    "smallest_p_cluster": "smallest family-wise p of a cluster (extent)",
    "smallest_p": "smallest family-wise p (max-t)",
    "x_value": "receptor map, rank-gaussianised",
    "y_value": "effect map, rank-gaussianised",
    "density": "receptor map, its own unit",
    "permutation": "number of the permutation",
    "covariance": "covariance structure over visits of the model",
    "n_imputations": "number of imputations",
    "fraction_missing_information": "share of the information that the missing values hold",
    "monte_carlo_se": "standard error of the estimate that comes from the number of imputations",
    "delta_active": "points added to imputed outcomes after withdrawal, active arm",
    "delta_control": "the same, control arm",
    "delta_before": "last delta of the grid with p below .05",
    "p_before": "p there",
    "delta_tips": "first delta of the grid with p of .05 or more",
    "p_tips": "p there",
    "delta_interpolated": "where p reaches .05 on a straight line between the two",
    "pattern": "visits after baseline in order: 1 rated, 0 not",
    "missingness": "complete, monotone (none after the first gap), intermittent, or none rated",
    "index": "blinding index: Bang (an arm) or James (both arms)",
    "n_correct": "participants who guessed their own arm",
    "n_wrong": "participants who guessed the other arm",
    "n_unknown": "participants who said they did not know",
    "note": "a limit of the value, or why it is missing",
    "group": "which events are counted: all, serious, related, by severity, by term",
    "term": "adverse event, or the group's name",
    "participants_active": "participants with at least one such event, active arm",
    "participants_control": "participants with at least one such event, control arm",
    "reports_active": "number of such events, active arm",
    "reports_control": "number of such events, control arm",
    "serious_active": "how many of these events were serious, active arm",
    "serious_control": "how many of these events were serious, control arm",
    "related_active": "how many of these events were judged related to treatment, active arm",
    "related_control": "how many of these events were judged related to treatment, control arm",
    "measure": "what is summarised, with its unit",
    "median": "median, unit of the measure",
    "lowest": "lowest value, unit of the measure",
    "highest": "highest value, unit of the measure",
    "sessions": "treatment sessions received",
    "percent_motor_threshold": "intensity, percent of motor threshold (mean over sessions)",
    "pulses": "pulses in total; those of a sham coil were played, not delivered",
    "stage": "stage of the flow diagram",
    "text": "lines of a box, separated by semicolons",
    "item": "item of the scale (column in the file) or of CONSORT 2025",
    "topic": "what an item of CONSORT 2025 asks, in short",
    "where": "where it is answered",
    "n_items": "number of items",
    "alpha": "Cronbach's alpha, both arms together",
    "label": "name of the item",
    "points": "score of the suicide item (0 absent to 4 attempts)",
    "n_rated": "participants rated then",
    "n_subjects": "number of people behind the receptor map",
    "reliability": "share of the effect map's variance over regions that is not noise",
    "r_noise_free": "r without the noise of the effect map, r / sqrt(reliability)",
    "noise_free_low": "lower limit of its 95 % confidence interval",
    "noise_free_high": "upper limit of its 95 % confidence interval",
    "r_given_density": "partial correlation, grey-matter density held constant",
    "p_given_density": "p of it against re-randomised arms",
    "p_spatial_given_density": "p of it against surrogates",
    "region_without": "region without which r moves most",
    "r_without": "r without that region",
    "critical_r": "smallest |r| with p_randomisation of at most .05 here",
    "critical_r_spatial": "smallest |r| with p_spatial of at most .05 here",
    "r_given_others": "partial correlation, all other receptors held constant",
    "p_given_others": "p of it against re-randomised arms",
    "p_spatial_given_others": "p of it against surrogates",
    "false_positive_rate": "share of unrelated maps with p_spatial of at most .05, worst measured",
    "mean_active": "mean of Fisher z, active arm",
    "mean_control": "mean of Fisher z, control arm",
    "difference": "active - control, adjusted, Fisher z",
    "true_r": "noise-free correlation that was planted",
    "expected_r": "mean correlation observed in the simulated trials",
    "power": "share of simulated trials with p_randomisation of at most .05",
    "autocorrelation": "correlation over pairs of parcels of distance and difference of the map",
    "adjusts": "whether JuSpace keeps any autocorrelation of this map (autocorrelation above 0)",
    "p_juspace": "JuSpace's exact spatial p, |r| of null maps against |z| observed: too small",
    "p_juspace_r": "the same null maps, |r| against |r|",
    "p_shuffle": "p of shuffled parcels, |r| against |r|: no autocorrelation in the null",
    "p_shuffle_fwe": "the same, family-wise over receptors",
    "p_relabel_juspace": "JuSpace's group p, half of each arm always exchanged: too small",
    "p_relabel": "the same statistic, any relabelling",
    "p_relabel_fwe": "the same, family-wise over receptors",
    "n_strata": "randomisation strata",
    "exhaustive": "whether all distinct re-randomisations were made",
}


def write(folder, files, keep_others=False):
    """Write result files whole or not at all.

    Everything is written to a temporary folder first; only then are the files moved into place.

    Parameters
    ----------
    folder : path
        Made where it does not exist.
    files : dict
        Name to content. A DataFrame (.tsv) gets a JSON sidecar; a dict or list (.json), an image
        (.nii.gz), an array (.npy), a dict of arrays (.npz), text (any name);
        a Figure, named without suffix, becomes a PNG of 300 dots an inch and a PDF.
    keep_others : bool or tuple of str
        Leave other files of the folder alone: all, or those of these patterns. By default they
        are removed: they come from an earlier run and would no longer agree.

    Returns
    -------
    list of pathlib.Path
        The files, sorted.

    Raises
    ------
    ValueError
        If a table has a column that ``COLUMNS`` does not describe, or a content has no writer.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            _write_one(staging / name, content)
        written = sorted(path.name for path in staging.iterdir())
        folder.mkdir(exist_ok=True)
        for name in written:
            os.replace(staging / name, folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    kept = ("*",) if keep_others is True else tuple(keep_others or ())
    for path in folder.iterdir():
        known = path.name in written or any(path.match(pattern) for pattern in kept)
        if path.is_file() and not known:
            path.unlink()
    return [folder / name for name in written]


def _write_one(path, content):
    if isinstance(content, pd.DataFrame):
        _write_table(path, content)
    elif isinstance(content, Figure):
        content.savefig(f"{path}.png", dpi=300)
        content.savefig(f"{path}.pdf", metadata={"CreationDate": None})
    elif path.suffix == ".npz":
        np.savez_compressed(path, **content)
    elif isinstance(content, dict | list):
        path.write_text(_json(content), encoding="utf-8")
    elif isinstance(content, nib.spatialimages.SpatialImage):
        nib.save(content, path)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        raise ValueError(f"{path.name}: no way to write a {type(content).__name__}")


def _write_table(path, table):
    unknown = [column for column in table if column not in COLUMNS]
    if unknown:
        raise ValueError(f"{path.name}: describe column(s) {', '.join(unknown)} in results.COLUMNS")
    table.to_csv(path, sep="\t", index=False, na_rep=MISSING, float_format="%.10g")
    sidecar = {column: {"Description": COLUMNS[column]} for column in table}
    path.with_suffix(".json").write_text(_json(sidecar), encoding="utf-8")


def _json(content):
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value):
    """Numbers and containers that JSON knows; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_numbers(study, section, numbers):
    """Put the numbers that a text or figure quotes into numbers.json.

    Parameters
    ----------
    study : Study
    section : str
        Folder of the source files ("clinical", "vbm", "receptors"); it replaces the numbers that
        this section wrote before and leaves the others.
    numbers : dict
        Name to (value, source file within the section).

    Returns
    -------
    pathlib.Path
    """
    path = study.derived / "numbers.json"
    others = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = {key: item for key, item in others.items() if not key.startswith(f"{section}.")}
    for name, (value, source) in numbers.items():
        kept[f"{section}.{name}"] = {"value": value, "source": f"{section}/{source}"}
    write(path.parent, {path.name: dict(sorted(kept.items()))}, keep_others=True)
    return path
