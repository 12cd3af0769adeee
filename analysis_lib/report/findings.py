"""Findings in words: the sentences and notices that notebooks show."""

import numpy as np
import pandas as pd

from analysis_lib.receptors.library import are_simulated
from analysis_lib.results.words import p_text, true_minus, visit_words

QUICK = "QUICK: few permutations, for a first look; no p here is fit to be quoted."
VARIANT = "VARIANT {}: not every parameter has its default; the default results lie elsewhere."
SIMULATED = (
    "SIMULATED DATA: no patient took part. The demo trial is drawn from a known truth "
    "(`analysis_lib/datasets/simulate.py`), and nothing below is evidence about rTMS."
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
    lines += [VARIANT.format(study.variant)] if study.variant else []
    return "\n\n".join(f"> **{line.split(':')[0]}**:{line.split(':', 1)[1]}" for line in lines)


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
