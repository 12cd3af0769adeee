"""Words for numbers: the sentences and the notices that notebooks show."""

import numpy as np
import pandas as pd
from IPython.display import HTML

QUICK = "QUICK: few permutations, for a first look; no p here is fit to be quoted."
SIMULATED = (
    "SIMULATED DATA: no patient took part. The demo trial is drawn from a known truth "
    "(`analysis_lib/simulate.py`), and nothing below is evidence about rTMS."
)


def notice(study, quick=False):
    """What a reader must know before any number, in Markdown; empty where there is nothing.

    Parameters
    ----------
    study : Study
    quick : bool

    Returns
    -------
    str
    """
    lines = [SIMULATED] if study.simulated else []
    lines += [QUICK] if quick else []
    return "\n\n".join(f"> **{line.split(':')[0]}**:{line.split(':', 1)[1]}" for line in lines)


def p_text(p, n_permutations=None):
    """A p-value as it is printed: three decimals, "< .001" below.

    Parameters
    ----------
    p : float
    n_permutations : int, optional
        Of a permutation p: the smallest one possible is then given as it is.
    """
    if p is None or not np.isfinite(p):
        return "p not available"
    if n_permutations is not None and p <= 1.5 / (1 + n_permutations):
        least = f"{p:.2g}".replace("0.", ".", 1)
        if p < 0.999 / (1 + n_permutations):
            return f"p = {least} (fitted tail of {n_permutations} permutations)"
        return f"p = {least} (the smallest that {n_permutations} permutations allow)"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def table(frame, index=False):
    """A table as it is printed: p to three decimals, estimates to two, counts whole.

    Parameters
    ----------
    frame : pandas.DataFrame
    index : bool
        Show the index.

    Returns
    -------
    IPython.display.HTML
    """
    shown = frame.apply(lambda column: _printed(column.name, column))
    html = shown.to_html(index=index, border=0, justify="left", escape=True)
    html = html.replace("<td>", '<td style="white-space: nowrap">')
    return HTML(f'<div style="overflow-x: auto; font-size: 90%">{html}</div>')


def _printed(name, column):
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.astype(object).where(column.notna(), "–")
    values = pd.to_numeric(column).astype(float)
    if str(name).startswith(("p_", "q_", "smallest_p")) or name == "p":
        texts = values.map(lambda p: p_text(p).removeprefix("p ").removeprefix("= "))
    elif values.dropna().mod(1).eq(0).all():
        texts = values.map("{:.0f}".format)
    else:
        texts = values.map("{:.2f}".format)
    return texts.where(values.notna(), "–")


def difference_sentence(row, names):
    """One sentence on one adjusted difference between arms.

    Parameters
    ----------
    row : Series or mapping
        A row of ``clinical/mmrm_contrasts.tsv`` or ``clinical/ancova.tsv``.
    names : dict
        The study's words for "active" and "control".
    """
    interval = f"active - control {row['estimate']:.1f}, 95 % CI {row['ci_low']:.1f} to "
    interval += f"{row['ci_high']:.1f}, {p_text(row['p'])}"
    lower, size = row["estimate"] < 0, f"{abs(row['estimate']):.1f} points"
    when = "Averaged over visits" if row["visit"] == "all" else f"At {row['visit']}"
    if row["kind"] == "change":
        finding = f"{row['scale']} had fallen {size} {'more' if lower else 'less'}"
    else:
        finding = f"{row['scale']} was {size} {'lower' if lower else 'higher'}"
    return (
        f"{when}, {finding} with {names['active']} than with {names['control']} "
        f"({interval}; Hedges g {row['hedges_g']:.2f}; n = {row['n_active']} and "
        f"{row['n_control']})."
    )


def interval_verdict(low, high, unit="points"):
    """What an interval allows one to say: excludes zero or not, and how wide it is.

    Parameters
    ----------
    low, high : float
    unit : str
    """
    width = f"It is {high - low:.1f} {unit} wide"
    if low > 0 or high < 0:
        return (
            f"The interval excludes a difference of zero. {width}: the size of the difference is "
            "known no better than that."
        )
    return (
        f"The interval includes a difference of zero. {width}: these data are compatible with no "
        f"difference, and with any other from {low:.1f} to {high:.1f} {unit}."
    )


def risk_sentence(row, names):
    """One sentence on response or remission.

    Parameters
    ----------
    row : Series or mapping
        A row of ``clinical/responders.tsv``.
    names : dict
        The study's words for "active" and "control".
    """
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    counted = "counts as a failure" if row["analysis"] == "missing_is_failure" else "is left out"
    return (
        f"{row['outcome'].capitalize()} on {row['scale']} at {row['visit']}: "
        f"{row['events_active']} of {row['n_active']} with {names['active']}, "
        f"{row['events_control']} of {row['n_control']} with {names['control']} "
        f"(difference {100 * row['risk_difference']:.0f} percentage points, 95 % CI {low:.0f} to "
        f"{high:.0f}, {p_text(row['p'])}; whoever was not rated {counted})."
    )


def clinical_numbers(study, flow, contrasts, responders):
    """Numbers of notebook 01 that texts and figures quote: name to (value, source file).

    Parameters
    ----------
    study : Study
    flow : dict
    contrasts, responders : pandas.DataFrame
        ``clinical/mmrm_contrasts.tsv`` and ``clinical/responders.tsv``.
    """
    numbers = {}
    for arm, counts in flow.items():
        for stage in ("randomised", "analysed"):
            numbers[f"flow.{arm}.{stage}"] = (counts[stage], "flow.json")
    keys = {scale.name: scale.key for scale in study.scales}
    for _, row in contrasts.iterrows():
        for name in ("estimate", "ci_low", "ci_high", "p", "hedges_g"):
            key = f"{keys[row['scale']]}.{row['visit']}.{name}"
            numbers[key] = (row[name], "mmrm_contrasts.tsv")
    rows = responders[responders["analysis"] == "missing_is_failure"]
    for _, row in rows[rows["visit"] == study.final_visit].iterrows():
        for name in ("events_active", "events_control", "risk_difference", "ci_low", "ci_high"):
            key = f"{keys[row['scale']]}.{row['visit']}.{row['outcome']}.{name}"
            numbers[key] = (row[name], "responders.tsv")
    return numbers


def robustness_sentence(main, imputed, tip, randomisation):
    """Does the primary result hold under other assumptions? One paragraph.

    Parameters
    ----------
    main : Series or mapping
        The primary row of ``clinical/mmrm_contrasts.tsv``.
    imputed : pandas.DataFrame
        ``clinical/imputation.tsv`` at that visit; empty if nothing was missing.
    tip : Series or mapping or None
        Row of ``clinical/tipping_point.tsv``.
    randomisation : Series or mapping
        Row of ``clinical/randomisation.tsv``.
    """
    parts = [
        f"Re-randomising the arms gives {p_text(randomisation['p_randomisation'])} (MMRM: "
        f"{p_text(main['p'])})."
    ]
    if len(imputed):
        listed = "; ".join(
            f"{row.analysis.replace('_', ' ')} {row.estimate:.1f} ({row.ci_low:.1f} to "
            f"{row.ci_high:.1f})"
            for row in imputed.itertuples()
        )
        parts.append(f"With missing scores imputed, the difference is: {listed}.")
    if tip is not None and np.isfinite(tip["delta_interpolated"]):
        parts.append(
            f"The result would be lost (p of .05) if those who left the active arm had done "
            f"{tip['delta_interpolated']:.1f} points worse than others like them."
        )
    elif tip is not None and tip["status"] == "does not tip":
        parts.append(
            f"p would stay below .05 even if those who left the active arm had done "
            f"{abs(tip['delta_before']):.0f} points worse than others like them."
        )
    return " ".join(parts)


def vbm_sentence(row, regions, names):
    """One sentence on what survived the family-wise correction in one contrast.

    Parameters
    ----------
    row : Series or mapping
        A row of ``vbm/summary.tsv``.
    regions : pandas.DataFrame
        ``vbm/<contrast>_regions.tsv``.
    names : dict
        The study's words for "active" and "control".
    """
    what = {
        "active_change": f"Change with {names['active']}",
        "control_change": f"Change with {names['control']}",
        "arm_by_time": f"Change with {names['active']} less change with {names['control']}",
        "improvement": "Change that goes with clinical improvement, within arms",
    }[row["contrast"]]
    smallest = p_text(row["smallest_p"], row["n_permutations"])
    if not row["n_voxels_fwe"]:
        return f"**{what}**: no voxel survives family-wise correction (smallest {smallest})."
    found = regions[regions["n_voxels_fwe"] > 0].sort_values("t", key=abs, ascending=False)
    effect = "r = {r:.2f}" if "r" in found else "{percent:+.1f} %"
    listed = "; ".join(
        f"{r['region']} (t = {r['t']:.1f}, {effect.format(**r)})"
        for r in found.head(6).to_dict("records")
    )
    return (
        f"**{what}**: {row['n_voxels_fwe']} voxels with family-wise p < .05 (smallest {smallest}), "
        f"in {len(found)} of {len(regions)} grey-matter regions. Those with the largest |t|, and "
        f"their mean effect: {listed}."
    )


def vbm_numbers(summary):
    """Numbers of notebook 02 that texts and figures quote: name to (value, source file)."""
    return {
        f"{row['contrast']}.{name}": (row[name], "summary.tsv")
        for _, row in summary.iterrows()
        for name in ("n_active", "n_control", "n_permutations", "n_voxels_fwe", "smallest_p")
    }


def are_simulated(about):
    """Whether receptor maps are stand-ins, from their table."""
    return bool(about["tracer"].eq("simulated").any())


def receptor_notice(about):
    """What a reader must know of the receptor maps, in Markdown.

    Parameters
    ----------
    about : pandas.DataFrame
        Table of the maps, by annotation.
    """
    if are_simulated(about):
        return (
            "> **SIMULATED RECEPTOR MAPS**: real ones are not in the cache. One map follows the "
            "demo's own table of D1 weights, the others are smooth random fields. Get real ones "
            "with `python -m analysis_lib fetch receptors`, or `python run_all.py --fetch`."
        )
    return f"{len(about)} receptor and transporter maps from neuromaps, md5 checked."


def receptor_sentences(correlations, contrast, names, n_shown=3):
    """What the receptor correlations of one contrast say, in Markdown.

    Parameters
    ----------
    correlations : pandas.DataFrame
        ``receptors/correlations.tsv``.
    contrast : str
    names : dict
        The study's words for "active" and "control".
    n_shown : int
        How many maps to tell of, by |r|.
    """
    rows = correlations[correlations["contrast"] == contrast]
    rows = rows.sort_values("r", key=abs, ascending=False)
    parts = [
        f"{row.receptor} ({row.annotation}): r = {row.r:.2f} (95 % CI {row.ci_low:.2f} to "
        f"{row.ci_high:.2f}); if treatment did nothing, {p_text(row.p_randomisation)}, family-wise "
        f"over {len(rows)} maps {p_text(row.p_fwe)}; against equally smooth maps, "
        f"{p_text(row.p_spatial)}, family-wise {p_text(row.p_fwe_spatial)}."
        for row in rows.head(n_shown).itertuples()
    ]
    first = f"The {n_shown} maps that the change with {names['active']} less the change with "
    first += f"{names['control']} follows most closely:"
    n_random, n_spatial = (int((rows[c] < 0.05).sum()) for c in ("p_fwe", "p_fwe_spatial"))
    last = (
        f"Family-wise p < .05 holds for {n_random} of {len(rows)} maps under re-randomisation (the "
        f"change is related to treatment and aligned with the map) and for {n_spatial} against "
        "smooth surrogates (the alignment is closer than smoothness alone would give)."
    )
    return "\n\n".join([first, *(f"{i}. {part}" for i, part in enumerate(parts, 1)), last])


def receptor_numbers(correlations):
    """Numbers of notebook 03 that texts and figures quote: name to (value, source file)."""
    names = ["r", "ci_low", "ci_high", "p_randomisation", "p_fwe", "p_spatial", "p_fwe_spatial"]
    return {
        f"{row['contrast']}.{row['annotation']}.{name}": (row[name], "correlations.tsv")
        for _, row in correlations.iterrows()
        for name in names
    }
