"""Words for numbers: the sentences and the notices that notebooks show."""

import re

import numpy as np
import pandas as pd
from IPython.display import HTML

QUICK = "QUICK: few permutations, for a first look; no p here is fit to be quoted."
SIMULATED = (
    "SIMULATED DATA: no patient took part. The demo trial is drawn from a known truth "
    "(`analysis_lib/simulate.py`), and nothing below is evidence about rTMS."
)

MAR = {"mar": "missing at random"}  # the others are named in full
# Both family-wise p below .05? First re-randomised arms, then smooth surrogates.
VERDICTS = {
    (True, True): "an alignment this close would be rare if treatment did nothing, and rare among "
    "equally smooth maps",
    (True, False): "an alignment this close would be rare if treatment did nothing, but not among "
    "equally smooth maps: nothing singles this receptor out",
    (False, True): "an alignment this close would be rare among equally smooth maps, but not if "
    "treatment did nothing",
    (False, False): "neither null hypothesis is rejected: nothing here singles out a receptor",
}


def visit_words(label) -> str:
    """Visits as prose says them: "week3" becomes "week 3", also within a sentence.

    "all" by itself is the average over visits.
    """
    if label == "all":
        return "all visits, averaged"
    return re.sub(r"\b(week|day|month|visit)(\d+)\b", r"\1 \2", str(label), flags=re.IGNORECASE)


def true_minus(words) -> str:
    """Hyphens that stand for a minus as minus signs; those of HAMD-17 and 5-HT stay."""
    return re.sub(r"(?<![\w)])-(?=\.?\d)", "−", words)


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
    """A p-value as it is printed: three decimals, "< .001" below and "> .999" above.

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
    if p > 0.9995:
        return "p > .999"
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


def difference_form(kind, estimate) -> str:
    """How the arms differ, in words around {size}, {active} and {control}.

    Parameters
    ----------
    kind : {"change", "value"}
        Of ``clinical/mmrm_contrasts.tsv``.
    estimate : float
        Active less control, points. One that is printed as 0.0 has no direction.
    """
    changed = kind == "change"
    if abs(estimate) < 0.05:
        alike = "had fallen about as much" if changed else "was about as high"
        return alike + " with {active} as with {control}"
    below, above = ("more", "less") if changed else ("lower", "higher")
    form = "had fallen {size} points " if changed else "was {size} points "
    return form + (below if estimate < 0 else above) + " with {active} than with {control}"


def difference_sentence(row, names):
    """One sentence on one adjusted difference between arms.

    Parameters
    ----------
    row : Series or mapping
        A row of ``clinical/mmrm_contrasts.tsv`` or ``clinical/ancova.tsv``.
    names : dict
        The study's words for "active" and "control".
    """
    interval = f"{names['active']} − {names['control']}: {row['estimate']:z.1f} points, "
    interval += f"95 % CI {row['ci_low']:.1f} to {row['ci_high']:.1f}, {p_text(row['p'])}"
    when = "Averaged over visits" if row["visit"] == "all" else f"At {visit_words(row['visit'])}"
    size = f"{abs(row['estimate']):.1f}"
    finding = difference_form(row["kind"], row["estimate"]).format(size=size, **names)
    return true_minus(
        f"{when}, {row['scale']} {finding} "
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
    return true_minus(
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
    return true_minus(
        f"{row['outcome'].capitalize()} on {row['scale']} at {visit_words(row['visit'])}: "
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
            f"{MAR.get(row.analysis, row.analysis).replace('_', ' ')} {row.estimate:.1f} "
            f"({row.ci_low:.1f} to {row.ci_high:.1f})"
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
    return true_minus(" ".join(parts))


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
    return true_minus(
        f"**{what}**: {row['n_voxels_fwe']:,} voxels with family-wise p < .05 (smallest "
        f"{smallest}), in {len(found)} of {len(regions)} grey-matter regions. Those with the "
        f"largest |t|, and their mean effect: {listed}."
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
    own = int(about.index.astype(str).str.startswith("local/").sum())
    words = [f"{len(about) - own} receptor and transporter maps from neuromaps, md5 checked"]
    words += [f"{own} from files of the study"] if own else []
    return "; ".join(words) + "."


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
        f"Family-wise p < .05 holds for {n_random} of {len(rows)} maps under re-randomisation (an "
        f"alignment this close would be rare if treatment did nothing) and for {n_spatial} against "
        "smooth surrogates (it would be rare among equally smooth maps)."
    )
    numbered = (f"{i}. {part}" for i, part in enumerate(parts, 1))
    return true_minus("\n\n".join([first, *numbered, last]))


def marked_rates(rates, warn=0.07):
    """False-positive rates as they are printed: an asterisk above what is tolerated.

    Parameters
    ----------
    rates : array_like
    warn : float
        Above it a rate is marked.

    Returns
    -------
    list of str
    """
    return [f"{rate:.3f}".replace("0.", ".", 1) + " *" * int(rate > warn) for rate in rates]


def rate_table(measured):
    """False-positive rates of each null by range of autocorrelation, for simulated and real maps.

    Parameters
    ----------
    measured : pandas.DataFrame
        benchmarks/spatial_nulls.tsv.

    Returns
    -------
    IPython.display.HTML
    """
    family = measured["side"].str.contains("family")
    real = measured["side"].str.contains("/")
    parts = {
        "simulated pair": measured[measured["side"] == "simulated"],
        "worst real map": measured[real],
        "any real map, family-wise": measured[family],
    }
    wide = {
        (null, what): rows[rows["null"] == null].groupby("range_mm")["rate"].max()
        for null in measured["null"].unique()
        for what, rows in parts.items()
        if (rows["null"] == null).any()
    }
    frame = pd.DataFrame(wide).T.rename_axis(["null", "other map"]).reset_index()
    frame.columns.name = None
    for column in frame.columns[2:]:
        frame[column] = marked_rates(frame[column])
    return table(frame.rename(columns=lambda name: f"{name} mm" if isinstance(name, int) else name))


def receptor_paragraph(tables, contrast, names, study_numbers):
    """The result of notebook 03 in one paragraph: which receptor, how strong, under which null.

    Parameters
    ----------
    tables : dict of pandas.DataFrame
        "correlations", "sensitivity", "given_others", "coupling_arm", "coupling_improvement", as
        written by notebook 03.
    contrast : str
    names : dict
        The study's words for "active" and "control".
    study_numbers : dict
        n_active, n_control, detectable (noise-free r found with 80 % power, or NaN), rate (worst
        false-positive rate measured for the leading map's p_spatial).
    """
    rows = tables["correlations"]
    rows = rows[rows["contrast"] == contrast].sort_values("r", key=abs, ascending=False)
    lead, rival = rows.iloc[0], rows[rows["receptor"] != rows["receptor"].iloc[0]].iloc[:1]
    patients = {
        name: table[table["annotation"] == lead["annotation"]].iloc[0]
        for name, table in tables.items()
        if name in ("coupling_arm", "coupling_improvement")
    }
    sensitivity = tables["sensitivity"]
    sensitivity = sensitivity[sensitivity["contrast"] == contrast].set_index("annotation")
    row = sensitivity.loc[lead["annotation"]]
    others = tables["given_others"]
    others = others[others["receptor"] == lead["receptor"]].iloc[0]
    found = " ".join(
        [
            _lead_sentence(lead, len(rows), names),
            _null_sentence(lead, study_numbers["rate"]),
            _noise_sentence(row),
            _beside_sentence(row, others),
            _patients_sentence(patients["coupling_arm"], patients["coupling_improvement"], names),
            _doubt_sentence(lead, rival, study_numbers),
        ]
    )
    return true_minus(found)


def _lead_sentence(lead, n_maps, names):
    return (
        f"Of {n_maps} receptor maps, **{lead['receptor']}** ({lead['annotation']}) follows the "
        f"change with {names['active']} less the change with {names['control']} most closely: "
        f"r = {lead['r']:.2f} over {lead['n_parcels']} regions (95 % CI {lead['ci_low']:.2f} to "
        f"{lead['ci_high']:.2f}, for a trial of this size and noise)."
    )


def _null_sentence(lead, rate):
    verdict = VERDICTS[lead["p_fwe"] < 0.05, lead["p_fwe_spatial"] < 0.05]
    caution = f", a test that rejects up to {100 * rate:.0f} % of unrelated maps at .05"
    return (
        f"With the arms re-randomised {p_text(lead['p_randomisation'])} (family-wise "
        f"{p_text(lead['p_fwe'])}); against equally smooth maps {p_text(lead['p_spatial'])} "
        f"(family-wise {p_text(lead['p_fwe_spatial'])}{caution}). Family-wise, {verdict}."
    )


def _noise_sentence(row):
    if not np.isfinite(row["r_noise_free"]):
        return (
            "The effect map is no more reliable than noise, so that nothing can be said of the "
            "correlation that more patients would show."
        )
    return (
        f"The effect map's reliability is {row['reliability']:.2f}; without its noise r would be "
        f"about {row['r_noise_free']:.2f} (95 % CI {row['noise_free_low']:.2f} to "
        f"{row['noise_free_high']:.2f})."
    )


def _beside_sentence(row, others):
    return (
        f"With grey-matter density held constant r is {row['r_given_density']:.2f} "
        f"({p_text(row['p_given_density'])}), with all other receptors held constant "
        f"{others['r_given_others']:.2f} ({p_text(others['p_given_others'])}; family-wise "
        f"{p_text(others['p_fwe'])}); without {row['region_without']}, the region that matters "
        f"most, it is {row['r_without']:.2f}."
    )


def _patients_sentence(arm, improvement, names):
    return (
        f"Patients' own coupling (Fisher z) is {abs(arm['difference']):.2f} "
        f"{'higher' if arm['difference'] > 0 else 'lower'} with {names['active']} than with "
        f"{names['control']} (difference: 95 % CI {arm['ci_low']:.2f} to {arm['ci_high']:.2f}, "
        f"{p_text(arm['p'])}, family-wise {p_text(arm['p_fwe'])}); within arms its correlation "
        f"with improvement is {improvement['r']:.2f} (95 % CI {improvement['ci_low']:.2f} to "
        f"{improvement['ci_high']:.2f}, {p_text(improvement['p'])}; n = {improvement['n']})."
    )


def _doubt_sentence(lead, rival, numbers):
    parts = []
    if len(rival):
        row = rival.iloc[0]
        parts.append(f"{row['receptor']} is next (r = {row['r']:.2f})")
    people = lead["n_subjects_map"]
    if pd.notna(people):
        parts.append(f"the map is the mean of {people} other, healthy people")
    n = f"{numbers['n_active']} and {numbers['n_control']} patients"
    if np.isfinite(numbers["detectable"]):
        parts.append(
            f"with {n} a noise-free r of {numbers['detectable']:.2f} is needed to be found in four "
            "of five trials"
        )
    else:
        parts.append(f"with {n} no correlation would be found in four of five trials")
    return f"What remains uncertain: {'; '.join(parts)}; a correlation of maps is no mechanism."


def receptor_numbers(tables, detectable):
    """Numbers of notebook 03 that texts and figures quote: name to (value, source file).

    Parameters
    ----------
    tables : dict of pandas.DataFrame
        As for :func:`receptor_paragraph`; each is written to ``<name>.tsv``.
    detectable : float
        Noise-free r found with 80 % power.
    """
    quoted = {
        "correlations": (
            *("r", "ci_low", "ci_high", "n_parcels", "p_randomisation", "p_fwe"),
            *("p_spatial", "p_fwe_spatial", "n_subjects_map"),
        ),
        "sensitivity": (
            *("reliability", "r_noise_free", "noise_free_low", "noise_free_high"),
            *("r_given_density", "p_given_density", "r_without"),
        ),
        "given_others": ("r_given_others", "p_given_others", "p_fwe"),
        "coupling_arm": ("difference", "ci_low", "ci_high", "p", "p_fwe"),
        "coupling_improvement": ("n", "r", "ci_low", "ci_high", "p"),
    }
    numbers = {"detectable.minimum_detectable_r": (detectable, "settings.json")}
    for name, table in tables.items():
        first = "" if name == "correlations" else f"{name}."
        for _, row in table.iterrows():
            contrast = f"{row['contrast']}." if "contrast" in row else ""
            for column in quoted[name]:
                value = None if pd.isna(row[column]) else row[column]
                numbers[f"{first}{contrast}{row['annotation']}.{column}"] = (value, f"{name}.tsv")
    return numbers
