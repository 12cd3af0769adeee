"""Tables of the report: which columns are shown, under which headings, to how many decimals."""

from functools import partial
from pathlib import Path

import pandas as pd

from analysis_lib.report.display import SHARES, in_words, joined, variables, yes_or_no
from analysis_lib.report.sentences import by_size
from analysis_lib.results import words
from analysis_lib.results.columns import describe, head
from analysis_lib.results.contrasts import contrast_title, contrast_words
from analysis_lib.results.words import visit_words

# Limits of intervals, and the columns that are joined.
INTERVALS = {name: (f"{name}_low", f"{name}_high") for name in ("ci", "g_ci", "rr_ci", "nnt_ci")}
TWO_DECIMALS = (
    *("hedges_g", "g_ci_low", "g_ci_high", "hedges_g_raw", "standardised_mean_difference"),
    *("t", "se", "risk_ratio", "rr_ci_low", "rr_ci_high"),
)
WORDS = (  # columns that hold no numbers
    *("variable", "summary", "scale", "visit", "outcome", "term", "item", "topic", "where"),
    *("analysis", "status", "cluster", "region", "hemisphere", "receptor", "annotation"),
)


def read_tables(evidence, has_receptors) -> dict:
    """The tables of the page, by name; those whose file is not there are left out."""
    study = evidence.study
    specified = _clinical(evidence) if study.arms else {"change": _change(evidence)}
    if study.imaging:
        specified |= {"clusters": _clusters(evidence), "regions": _regions(evidence)}
    if has_receptors:
        specified |= {"receptors": _receptors(evidence)} | _on_request(evidence)
    return {name: table for name, table in specified.items() if table}


def _change(evidence):
    return _table(
        evidence,
        "clinical/change.tsv",
        "Change from baseline",
        "Points, from a mixed model for repeated measures; n: rated at the visit.",
        ["scale", "visit", "n", "mean", "ci", "sd", "t", "p", "hedges_g"],
    )


def _clinical(evidence):
    study = evidence.study
    return {
        "baseline": _baseline(evidence),
        "contrasts": _table(
            evidence,
            "clinical/mmrm_contrasts.tsv",
            "Differences between the arms",
            f"{_difference(study)}, points. p is two-sided and not adjusted for multiple testing.",
            [
                *("scale", "visit", "estimate", "ci", "favours", "se", "df", "t", "p"),
                *("hedges_g", "g_ci"),
                *("hedges_g_raw", "rated_active", "rated_control"),
            ],
        ),
        "responders": _responders(evidence),
        "harms": _harms(evidence),
        "checklist": _table(
            evidence,
            "conduct/consort_checklist.tsv",
            "CONSORT checklist",
            "Which items of the guideline this compendium answers, and where.",
            ["item", "topic", "status", "where"],
        ),
    }


def _difference(study):
    return f"{study.arm_names['active']} − {study.arm_names['control']}"


def _baseline(evidence):
    file = "clinical/baseline.tsv"
    if not evidence.exists(file):
        return None
    rows, named = evidence.table(file), variables(evidence.study)
    spaced = {arm: rows[arm].str.replace("%)", " %)", regex=False) for arm in ("active", "control")}
    return _table(
        evidence,
        file,
        "Characteristics at baseline",
        f"Standardised difference: {_difference(evidence.study)} in pooled standard deviations. "
        "Not tested: after randomisation, any difference at baseline is due to chance.",
        ["variable", "summary", "active", "control", "standardised_mean_difference"],
        rows.assign(variable=rows["variable"].replace(named), **spaced),
    )


def _responders(evidence):
    rows = evidence.select("clinical/responders.tsv", visit=evidence.study.final_visit)
    if len(rows):
        rows = rows[rows["analysis"] != "observed"]
    columns = ["scale", "outcome", "analysis", "events_active", "events_control"]
    return _table(
        evidence,
        "clinical/responders.tsv",
        f"Response and remission at {visit_words(evidence.study.final_visit)}",
        "Participants with the outcome: those unrated count as failures, or have their scores "
        f"imputed (mean count). Differences ({_difference(evidence.study)}) in percentage points. "
        "Limits and p are of one score test. NNTB, NNTH: number needed to treat to benefit, or "
        "to harm.",
        [*columns, "risk_difference", "ci", "p", "risk_ratio", "rr_ci", "nnt", "nnt_ci"],
        _with_totals(rows, "events_active", "events_control"),
    )


def _harms(evidence):
    rows = evidence.select("conduct/adverse_events.tsv")
    return _table(
        evidence,
        "conduct/adverse_events.tsv",
        "Adverse events",
        "Participants with at least one such event; differences "
        f"({_difference(evidence.study)}) in percentage points, with score intervals.",
        ["term", "participants_active", "participants_control", "risk_difference", "ci"],
        _with_totals(rows, "participants_active", "participants_control"),
    )


def _with_totals(rows, *columns):
    """Counts as "5 of 18"."""
    if rows.empty:
        return rows
    joined = {
        column: [
            f"{f'{events:.1f}'.removesuffix('.0')} of {n:.0f}"
            for events, n in zip(rows[column], rows[f"n_{column.split('_')[-1]}"], strict=True)
        ]
        for column in columns
    }
    return rows.assign(**joined)


def _clusters(evidence, n=12):
    file = f"vbm/{evidence.study.main}_clusters.tsv"
    rows = evidence.select(file)
    shown = by_size(rows, "t").head(n)
    columns = ["cluster", "hemisphere", "region", "k_voxels", "x", "y", "z", "t", "hedges_g"]
    return _table(
        evidence,
        file,
        "Peaks and clusters: " + contrast_words(evidence.study.main, evidence.study.arm_names),
        "Letters mark further peaks of a cluster. Coordinates: MNI, mm. p-values are family-wise. "
        "Effect sizes at selected peaks are biased away from zero.",
        [*columns, "percent", "true_discoveries", "p_fwe_t", "p_fwe_cluster", "p_fwe_tfce"],
        shown.assign(region=shown["region"].str.lower()) if len(shown) else shown,
        _of(len(shown), len(rows), "peaks, those with the largest |t|"),
    )


def _regions(evidence, n=12):
    file = f"vbm/{evidence.study.main}_regions.tsv"
    rows = evidence.select(file)
    if rows.empty:
        return None
    if evidence.study.regional:
        return _whole_regions(evidence, file, by_size(rows, "t"))
    order = rows.sort_values("n_voxels_fwe", ascending=False, kind="stable").head(n)
    bounds = ["ci_low", "ci_high", "true_discoveries"]
    return _table(
        evidence,
        file,
        "Where surviving voxels lie: "
        + contrast_words(evidence.study.main, evidence.study.arm_names),
        "A cluster can span many regions; these are the voxels that survive individually. "
        "Change and g are means over the region; t is that of its highest voxel.",
        ["region", "n_voxels", "n_voxels_fwe", "t", "hedges_g", "percent", *bounds],
        order,
        _of(len(order), len(rows), "regions, those with the most surviving voxels"),
    )


def _whole_regions(evidence, file, rows, n=12):
    return _table(
        evidence,
        file,
        f"{contrast_title(evidence.study.main, evidence.study.arm_names)}, by region",
        "Mean change with its interval, in order of |t|; p is family-wise over regions (the "
        "largest |t| of any).",
        ["region", "percent", "ci", "t", "hedges_g", "p_fwe_t"],
        rows.head(n),
        _of(min(n, len(rows)), len(rows), "regions, those with the largest |t|"),
        "by_region",
    )


def _receptors(evidence):
    study = evidence.study
    if study.effect:
        return _one_map(evidence)
    rows = evidence.select("receptors/correlations.tsv", contrast=study.main)
    columns = ["receptor", "annotation", "n_subjects_map", "r", "ci", "p_randomisation", "p_fwe"]
    asked = "the arm effect on patients' slopes" if study.arms else "patients' mean slope"
    beyond = ["p_spatial_anatomy", "p_fwe_spatial_anatomy"]
    return _table(
        evidence,
        "receptors/correlations.tsv",
        f"Correlation of {contrast_words(study.main, study.arm_names)} with every receptor map",
        f"Ordered by |r|. The first two p are of {asked}, the next of r "
        "and of partial r given head anatomy against equally smooth maps. The parametric p is "
        "wrong for smooth maps.",
        [*columns, "p_spatial", "p_fwe_spatial", "r_anatomy", *beyond, "p_parametric"],
        by_size(rows, "r"),
        "the other contrasts are in the file" if study.arms else "",
        "" if study.arms else "correlations_mean",
    )


def _one_map(evidence):
    beyond = ["p_spatial_anatomy", "p_fwe_spatial_anatomy"]
    columns = ["receptor", "annotation", "n_subjects_map", "r", "p_spatial", "p_fwe_spatial"]
    return _table(
        evidence,
        "receptors/correlations.tsv",
        "Correlation of the map with every receptor map",
        "Ordered by |r|; p of r and of partial r given head anatomy against equally smooth maps. "
        "The parametric p is wrong for smooth maps.",
        [*columns, "r_anatomy", *beyond, "p_parametric"],
        by_size(evidence.table("receptors/correlations.tsv"), "r"),
    )


def _on_request(evidence):
    """Tables of the appendix, where it was run."""
    juspace = by_size(evidence.select("juspace/juspace.tsv", contrast=evidence.study.main), "r")
    spatial = ["p_shuffle", "p_shuffle_fwe"]
    relabelled = ["p_relabel_juspace", "p_relabel", "p_relabel_fwe", "p_group_r"]
    return {
        "calibration": _table(
            evidence,
            "calibration/rates.tsv",
            "False-positive rates by receptor map",
            "Share of unrelated smooth maps with p ≤ .05, the worst over kinds of noise, beside "
            "the p among equally smooth maps that it concerns.",
            [
                *("receptor", "annotation", "p_spatial", "false_positive_rate"),
                *("p_spatial_anatomy", "false_positive_rate_anatomy"),
            ],
        ),
        "power": _table(
            evidence,
            "power/power.tsv",
            "Power of simulated trials",
            "Trials of this size and noise, whose noise-free change follows the leading receptor "
            "map with the planted r.",
            ["true_r", "expected_r", "power", "monte_carlo_se"],
        ),
        "juspace": _table(
            evidence,
            "juspace/juspace.tsv",
            "JuSpace's results for the difference between the arms",
            "Ordered by |r|. Parcel means with the background kept, Cohen's d by region, "
            "Pearson's r.",
            ["receptor", "annotation", "r", "z", "adjusts", *spatial, *relabelled],
            juspace,
        ),
    }


def _of(shown, total, what):
    return f"{shown} of {total} {what}" if shown < total else ""


def _table(evidence, file, title, note, columns, rows=None, left_out="", read_as=""):
    """A table of the page: what is shown, and what its columns mean by the registry.

    ``read_as`` is the name by which the registry knows what columns mean, by default the file's.
    """
    if not evidence.exists(file):
        return None
    rows = evidence.table(file) if rows is None else rows
    section = file.split("/")[0]
    names = evidence.study.arm_names
    shown, heads = [], []
    for column in columns:
        cells = _cells(rows, column, section, names)
        shown.append(cells)
        heads.append(
            {
                "heading": head(
                    INTERVALS.get(column, (column,))[0], names, read_as or Path(file).stem
                ),
                "meaning": _meaning(read_as or file, column),
                "numeric": column not in WORDS,
            }
        )
    return {
        "title": title,
        "note": note,
        "file": file,
        "columns": heads,
        "rows": list(zip(*shown, strict=True)),
        "meanings": {one["heading"]: one["meaning"] for one in heads if one["meaning"]},
        "left_out": left_out,
    }


def _meaning(file, column):
    described = describe(file, INTERVALS.get(column, (column,)))
    return "; ".join(about.words for about in described.values())


def _cells(rows, column, section, names):
    """A column as it is printed; limits of an interval are joined."""
    if column in INTERVALS:
        return joined(*(_cells(rows, part, section, names) for part in INTERVALS[column]))
    values = rows[column]
    if pd.api.types.is_bool_dtype(values):
        return yes_or_no(values)
    if not pd.api.types.is_numeric_dtype(values):
        return [in_words(column, value, names) for value in values]
    kind = _kind_of_column(rows, column, section)
    write = words.p_cell if kind == "p" else partial(words.printed, kind=kind)
    return ["–" if pd.isna(value) else write(value) for value in values]


def _kind_of_column(rows, column, section):
    if column.startswith(("p_", "q_")) or column == "p":
        return "p"
    if "risk_difference" in rows and column in SHARES:
        return "percent"
    if column in TWO_DECIMALS:
        return "two"
    if column.startswith("nnt"):
        return "nnt"
    if section in ("receptors", "juspace", "power", "calibration"):
        return "count" if column.startswith("n_") else "two"
    whole = rows[column].dropna().mod(1).eq(0).all()
    return "count" if whole and column not in ("estimate", "ci_low", "ci_high") else "points"
