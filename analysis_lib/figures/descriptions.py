"""Captions and text alternatives of figures: each function says in words what a panel shows.

Each returns (caption, text alternative), from the same results that are drawn; no number is typed.
"""

import numpy as np

from analysis_lib.figures.appearance import LEVEL
from analysis_lib.figures.draw_clinical import estimate_text, favoured_side
from analysis_lib.figures.draw_receptors import ANATOMY, range_text
from analysis_lib.figures.palette import COLOURS, colours_of
from analysis_lib.results.contrasts import ARM_BY_TIME, EFFECT, contrast_title, contrast_words
from analysis_lib.results.words import number_text, p_text, printed, true_minus, visit_words


def _by_arm(names, words):
    """One clause per arm, in the study's words."""
    if not words:
        return "none"
    if set(words) == {"active"}:  # no control arm
        return str(words["active"])
    return ", ".join(f"{words[arm]} with {names[arm]}" for arm in COLOURS)


def describe_flow(flow, names):
    """What `plot_consort` shows; ``flow`` is ``clinical/flow.json``."""
    counted = {
        stage: _by_arm(names, {arm: flow[arm][stage] for arm in COLOURS})
        for stage in ("randomised", "analysed", "scanned_twice")
        if all(stage in flow[arm] for arm in COLOURS)
    }
    said = "; ".join(f"{stage.replace('_', ' ')}: {words}" for stage, words in counted.items())
    caption = (
        f"Participants at each stage, by arm ({said}). Analysed: a baseline and at least one later "
        "score of the primary scale."
    )
    return caption, f"Flow diagram, one column per arm. Participants {said}."


def describe_missing(patterns, names):
    """What `plot_missing` shows; ``patterns`` is ``clinical/missing_patterns.tsv``."""
    full = patterns[patterns["missingness"] == "complete"]
    n = {
        arm: f"{full[f'n_{arm}'].sum():.0f} of {patterns[f'n_{arm}'].sum():.0f}" for arm in COLOURS
    }
    said = f"rated at every visit: {_by_arm(names, n)}"
    caption = (
        f"Visits after baseline, one row per pattern, filled where rated, with the number of "
        f"participants with that pattern ({said})."
    )
    return caption, f"Grid of visits, one row per pattern of missing ratings; {said}."


def describe_course(scale, kind, individuals, means, names, unit="points"):
    """What `plot_course` shows; ``means`` are rows of ``clinical/mmrm_means.tsv``."""
    n = {arm: own["participant_id"].nunique() for arm, own in individuals.groupby("arm")}
    last = means[means["week"] == means["week"].max()].set_index("arm")
    ends = {arm: _with_interval(last.loc[arm], "mean") for arm in COLOURS}
    what = f"change in {scale} since each participant's baseline"
    what = what if kind == "change" else f"{scale} score"
    caption = (
        f"{what[:1].upper()}{what[1:]}, {unit}. Thin lines: participants ({_by_arm(names, n)}). "
        "Thick lines and bars: MMRM means at the average baseline, 95 % confidence intervals. n: "
        "participants rated."
    )
    alt = (
        f"Lines over weeks since baseline; vertical axis {what}, {unit}. Model mean and 95 % "
        f"interval at week {means['week'].max():g}: {_by_arm(names, ends)}."
    )
    return caption, alt


def describe_course_of_all(scale, individuals, means):
    """What `plot_course` shows without a control arm; ``means`` of ``clinical/change.tsv``."""
    if means.empty:
        return "No participant was rated at baseline: there is no change to show.", "Nothing drawn."
    n, last = individuals["participant_id"].nunique(), means.iloc[-1]
    caption = (
        f"Change in {scale} since each participant's baseline, points. Thin lines: participants "
        f"(n = {n}). Thick line and bars: means of a mixed model for repeated measures, 95 % "
        "confidence intervals. n: participants rated. Change without a control arm is not an "
        "effect of treatment."
    )
    return caption, f"Lines over weeks. Mean at the last visit: {_with_interval(last, 'mean')}."


def describe_differences(contrasts, names, primary):
    """What `plot_differences` shows; ``contrasts`` is ``clinical/mmrm_contrasts.tsv``."""
    rows = {(row.scale, row.visit): row for row in contrasts.itertuples()}
    main = rows.get(primary)
    said = "no primary contrast" if main is None else f"{estimate_text(main)}, {p_text(main.p)}"
    caption = (
        f"{names['active']} − {names['control']}, points, with 95 % confidence interval; n: "
        f"participants of each arm rated at the visit. Filled: the primary contrast, {primary[0]} "
        f"at {visit_words(primary[1])}: {said}. The other intervals are not adjusted for multiple "
        "comparisons."
    )
    zero = sum(row.ci_low <= 0 <= row.ci_high for row in rows.values())
    alt = (
        f"Forest plot of {len(rows)} differences, points; "
        f"{favoured_side(contrasts, names['active'])}. Primary: {said}. {zero} of {len(rows)} "
        "intervals include zero."
    )
    return caption, alt


def describe_risks(rows, names, scale, visit):
    """What `plot_risks` shows; ``rows`` are of ``clinical/responders.tsv``."""
    said = "; ".join(
        f"{row.outcome}: "
        + _by_arm(
            names, {a: _of(getattr(row, f"events_{a}"), getattr(row, f"n_{a}")) for a in COLOURS}
        )
        for row in rows.itertuples()
    )
    caption = (
        f"Response by the study's rule and, where a cut-off is defined, remission; unrated "
        f"participants count as failures. Below: difference ({names['active']} − "
        f"{names['control']}), percentage points, 95 % score interval. "
        f"{said[:1].upper()}{said[1:]}."
    )
    return caption, f"Bars, percent of participants, by arm. {said[:1].upper()}{said[1:]}."


def _of(events, n):
    return f"{events:.0f} of {n:.0f}"


def describe_tipping(curve, tip, names, scale, visit):
    """What `plot_tipping` shows; ``tip`` is a row of ``clinical/tipping_point.tsv``."""
    end = curve["delta_active"].abs().max()
    ends = {
        "tips": f"p reaches .05 at {printed(tip['delta_interpolated'], 'change')} points",
        "does not tip": f"p stays below .05 up to {end:g} points",
        "not significant at delta 0": "p is above .05 before any points are added",
    }
    said = true_minus(ends.get(tip["status"], str(tip["status"])))
    caption = (
        f"Scores missing with {names['active']} are imputed, then shifted by the "
        "points on the horizontal axis. Line and band: difference between arms, 95 % interval; "
        f"filled: p < .05; {said}."
    )
    alt = (
        f"Line with band; horizontal axis points added to imputed scores, vertical axis difference "
        f"between arms in points. {said}."
    )
    return caption, alt


_BRAINS = {  # kind of picture: its name for those who do not see it, and what is drawn
    "slices": (
        "Axial brain slices",
        "t of every voxel of the mask, fainter where |t| is smaller; black outline: family-wise "
        "p < .05 (a speck is a single surviving voxel)",
    ),
    "glass": ("Glass brain from four sides", "voxels with family-wise p < .05, projected"),
    "surface": (
        "Cortical surface from four sides",
        "t on the pial surface of fsaverage5, paler where |t| is smaller; black outline: "
        "family-wise p < .05; deep nuclei and cerebellum are not on this surface",
    ),
}


def describe_brain(row, names, kind="slices"):
    """What a picture of a contrast shows; ``row``: of ``vbm/summary.tsv``."""
    what, (shape, drawn) = contrast_title(row["contrast"], names), _BRAINS[kind]
    n = " and ".join(f"{row[f'n_{a}']:.0f} {names[a]}" for a in COLOURS if row[f"n_{a}"] > 0)
    said = (
        f"{row['n_voxels_fwe']:,.0f} voxels survive" if row["n_voxels_fwe"] else "no voxel survives"
    )
    caption = (
        f"Grey-matter volume (n = {n}): {drawn}. p: two-sided, from the maximum of t over "
        f"{row['n_permutations']:,.0f} permutations. {said[0].upper()}{said[1:]}."
    )
    return caption, f"{shape}; colour: t (red increase, blue decrease). {what}: {said}."


def describe_regions(means, regions, names):
    """What `plot_region_change` shows; ``means`` is ``vbm/region_means.tsv``."""
    rows = means[means["region"].isin(list(regions))].set_index(["region", "arm"])
    arms = colours_of(means["arm"])
    n = {arm: range_text(rows.xs(arm, level="arm")["n"]) for arm in arms if len(rows)}
    said = "; ".join(
        f"{region}: " + _by_arm(names, {a: _percent(rows.loc[(region, a)]) for a in arms})
        for region in regions
        if all((region, arm) in rows.index for arm in arms)
    )
    caption = (
        "Change of grey-matter volume from baseline in the regions of interest, percent "
        f"(n: {_by_arm(names, n)}). Points: participants; shapes: their density; diamonds and "
        "bars: mean and 95 % confidence interval, not adjusted for the number of regions."
    )
    return caption, f"Strips of points by region and arm. Mean change, {said}."


def _with_interval(row, column):
    value, low, high = (number_text(row[name], ".1f") for name in (column, "ci_low", "ci_high"))
    return f"{value} ({low} to {high})"


def _percent(row):
    low, high = (number_text(row[name], ".1f") for name in ("ci_low", "ci_high"))
    return f"{printed(row['mean'], 'change')} % ({low} to {high})"


def describe_correlations(rows, n_all, contrast, names, draws):
    """What `plot_correlations` shows, of ``n_all`` maps; ``draws`` by null."""
    lead = rows.loc[rows["r"].abs().idxmax()]
    chosen = "" if len(rows) == n_all else f" (the {len(rows)} with the largest |r| are shown)"
    if contrast == EFFECT:
        return _describe_one_map(rows, n_all, chosen, draws)
    asked = "no arm effect on" if contrast == ARM_BY_TIME else "a mean of 0 of"
    n_fwe, n_beyond = (int((rows[p] < LEVEL).sum()) for p in ("p_fwe", "p_fwe_spatial_anatomy"))
    caption = (
        f"Correlation over grey-matter regions of {contrast_words(contrast, names)} with {n_all} "
        f"receptor maps{chosen}; in brackets, the number of people scanned for each map. Dots: r, "
        "with 95 % bootstrap interval (patients resampled). Diamonds: partial r given distance to "
        "the ventricles, depth, region size and grey-matter density. Bands: central 95 % of each "
        f"among surrogate maps as smooth as the change ({draws['spatial']:,}). At the right: p of "
        f"{asked} patients' slopes, and p of r and partial r among equally smooth maps; in "
        "brackets family-wise over all maps. Filled dots: family-wise p < .05 of the slopes; "
        "filled diamonds: family-wise p < .05 beyond anatomy."
    )
    alt = (
        "Dots with intervals and diamonds, one pair per map, in order of r; a shaded band behind "
        f"each. Largest: {lead['receptor']}, {number_text(lead['r'])}; slopes "
        f"{p_text(lead['p_randomisation'])}, among equally smooth maps "
        f"{p_text(lead['p_spatial'])}, beyond anatomy {p_text(lead['p_spatial_anatomy'])}. Maps "
        f"with a family-wise p below .05: slopes {n_fwe}, beyond anatomy {n_beyond} of {len(rows)}."
    )
    return caption, alt


def _describe_one_map(rows, n_all, chosen, draws):
    lead = rows.loc[rows["r"].abs().idxmax()]
    n_beyond = int((rows["p_fwe_spatial_anatomy"] < LEVEL).sum())
    caption = (
        f"Correlation over grey-matter regions of the map with {n_all} receptor maps{chosen}; in "
        "brackets, the number of people scanned for each map. Dots: r. Diamonds: partial r given "
        "distance to the ventricles, depth, region size and grey-matter density. Bands: central "
        f"95 % of each among surrogate maps as smooth as the map ({draws['spatial']:,}). At the "
        "right: p of r and partial r among equally smooth maps; in brackets family-wise over all "
        "maps. Filled: family-wise p < .05. Tests of patients are not available: one map, no "
        "patients."
    )
    alt = (
        "Dots and diamonds, one pair per map, in order of r; a shaded band behind each. Largest: "
        f"{lead['receptor']}, {number_text(lead['r'])}; among equally smooth maps "
        f"{p_text(lead['p_spatial'])}, beyond anatomy {p_text(lead['p_spatial_anatomy'])}. Maps "
        f"with a family-wise p below .05 beyond anatomy: {n_beyond} of {len(rows)}."
    )
    return caption, alt


def describe_scatter(lead, n_regions):
    """What `plot_scatter` shows; ``lead``: row of ``receptors/correlations.tsv``."""
    caption = (
        f"{lead['receptor']} ({lead['annotation']}) against the change, one point per region "
        f"(n = {n_regions}); both as normal scores of ranks. Line: slope r. Regions at the edge "
        "of the cloud are labelled."
    )
    r = number_text(lead["r"])
    return caption, f"Scatter plot of {n_regions} regions along a line; r = {r}."


def describe_dominance(rows):
    """What `plot_dominance` shows; ``rows`` is ``receptors/dominance.tsv``."""
    top = rows.sort_values("total_dominance", ascending=False).head(3)
    known = top["percent"].notna().all()  # shares of an adjusted R² above 0
    said = ", ".join(
        f"{row.receptor} {row.percent:.0f} %" if known else row.receptor for row in top.itertuples()
    )
    n_fwe = int((rows["p_fwe"] < LEVEL).sum())
    caption = (
        f"Dominance analysis of {len(rows)} receptors in one linear model: each receptor's share "
        f"of the adjusted R², also in percent. Several maps of a receptor are combined. Filled: "
        f"family-wise p < .05 against equally smooth maps ({n_fwe} of {len(rows)})."
    )
    return caption, f"Horizontal bars, one per receptor. Largest: {said}. Filled: {n_fwe}."


def describe_without(rows):
    """What `plot_without` shows; ``rows`` are of ``receptors/sensitivity.tsv``."""
    move = (rows["r"] - rows["r_without"]).abs().max()
    caption = (
        f"r of the {len(rows)} maps with the largest |r| with all regions (diamonds) and without "
        "the region that changes it most (circles), named at the right."
    )
    return (
        caption,
        f"Pairs of marks, one per map. No region changes r by more than {move:.2f}.",
    )


def describe_nulls(lead, draws):
    """What `plot_nulls` shows; ``lead``: row of ``receptors/correlations.tsv``."""
    caption = (
        f"r of {lead['receptor']} with {len(draws['spatial']):,} equally smooth surrogate maps "
        f"({p_text(lead['p_spatial'])}), and partial r given head anatomy "
        f"({p_text(lead['p_spatial_anatomy'])}); lines: observed. Two peaks arise if the map is "
        "dominated by one broad pattern, which surrogates show with either sign."
    )
    r, partial = number_text(lead["r"]), number_text(lead["r_anatomy"])
    return caption, f"Two histograms of r from −1 to 1 and lines at {r} and {partial}."


def describe_slopes(lead, row, names):
    """What `plot_slopes` shows; ``row`` of ``receptors/coupling_arm.tsv`` or coupling_mean."""
    one = "mean" in row
    compared = "Mean" if one else f"{names['active']} − {names['control']}"
    size = row["mean" if one else "difference"]
    caption = (
        "Percent change per standard deviation of the density of "
        f"{lead['receptor']} ({lead['annotation']}), one point per participant; bars: means. "
        f"{compared}: {number_text(size)} "
        f"({number_text(row['ci_low'])} to {number_text(row['ci_high'])}), {p_text(row['p'])}."
    )
    if one:
        return caption, f"Points in one row. Mean: {number_text(size)}."
    means = {arm: number_text(row[f"mean_{arm}"]) for arm in COLOURS}
    return caption, f"Points in two rows, one per arm. Means: {_by_arm(names, means)}."


def describe_anatomy(rows, words):
    """What `plot_anatomy` shows; ``rows`` are of ``receptors/anatomy.tsv``."""
    top = rows.loc[rows["r"].abs().idxmax()]
    caption = (
        f"Correlation over regions of {words} with properties of head anatomy that artefacts "
        "follow; at the right, p among equally smooth maps. Filled: family-wise p < .05."
    )
    return (
        caption,
        f"One dot per property. Largest: {ANATOMY[top['measure']]}, {number_text(top['r'])}.",
    )


def describe_patients_z(rows, names):
    """What `plot_patients_z` shows; ``rows`` are of ``juspace/patients_juspace.tsv``."""
    caption = (
        "Fisher's z of the correlation of each participant's change with each receptor map "
        "(Pearson, background kept), as JuSpace shows it for differences of pairs of images. "
        "Boxes: quartiles by arm; points: participants. Not tested: noise pulls z towards 0."
    )
    means = rows.groupby(["arm", "receptor"], sort=False)["z"].mean()
    top = {arm: means[arm].abs().idxmax() for arm in COLOURS}
    said = {arm: f"{name} {number_text(means[arm][name])}" for arm, name in top.items()}
    return caption, f"Two boxes per map. Largest mean z: {_by_arm(names, said)}."


def describe_structures(rows, words):
    """What `plot_structures` shows; ``rows`` of one contrast."""
    caption = (
        f"Correlation of each receptor map with {words} over all "
        "grey-matter regions, over those of the cortex and over those of the subcortex, each "
        "compared with surrogates of its own. Filled: family-wise p < .05 among equally smooth "
        "maps beyond anatomy, over the maps of that structure."
    )
    leads = rows.loc[rows.groupby("structure", sort=False)["r"].apply(lambda r: r.abs().idxmax())]
    said = [f"{row.structure} {row.receptor} {number_text(row.r)}" for row in leads.itertuples()]
    return caption, f"Up to three marks per map. Largest: {', '.join(said)}."


def describe_improvement(rows, scale, arms=True):
    """What `plot_improvement` shows; ``rows`` of one scale."""
    n_fwe = int((rows["p_fwe"] < LEVEL).sum())
    caption = (
        f"Partial correlation{', within arms,' if arms else ''} of improvement on {scale} with "
        "patients' slopes on "
        f"each receptor map, with 95 % confidence interval. Filled: family-wise p < .05 "
        f"({n_fwe} of {len(rows)})."
    )
    return caption, f"Dots with intervals, one per map; filled: {n_fwe} of {len(rows)}."


def describe_items(rows, names):
    """What `plot_items` shows; ``rows`` is ``clinical/item_differences.tsv``."""
    caption = (
        f"{names['active']} − {names['control']}, difference in change of each item, points, with "
        "95 % confidence interval. Items are parts of an outcome already tested, so no p-values "
        "are given."
    )
    return caption, f"Forest plot of {len(rows)} items; {favoured_side(rows, names['active'])}."


def describe_residuals(rows):
    """What `plot_residuals` shows; ``rows`` are of ``conduct/residuals.tsv``."""
    beyond, n = int((rows["residual"].abs() > 3).sum()), len(rows)
    caption = (
        "Residuals of the primary model over the SD of their visit, against normal quantiles. On "
        f"the dashed line the residuals are normal. Beyond ±3: {beyond} of {n}."
    )
    return caption, f"Points, one per rating; {beyond} of {n} beyond ±3."


def describe_left_out(rows, names):
    """What `plot_left_out` shows; ``rows`` is ``conduct/influence.tsv``."""
    low, high = (printed(rows["estimate"].agg(which), "points") for which in ("min", "max"))
    caption = (
        f"The primary contrast ({names['active']} − {names['control']}) without each participant "
        f"in turn: from {low} to {high} points. Dashed: with all."
    )
    return caption, f"Points, one per participant left out, from {low} to {high} points."


def describe_stimulation(dose, planned, names):
    """What `plot_stimulation` shows; ``dose`` is ``clinical/dose.tsv``."""
    full = {arm: (own["sessions"] >= planned) for arm, own in dose.groupby("arm")}
    said = _by_arm(names, {a: f"{full[a].sum()} of {len(full[a])}" for a in COLOURS if a in full})
    caption = f"Sessions received by each participant, of {planned} planned. All received: {said}."
    return (
        caption,
        f"Bars, one per participant, in descending order. All sessions received: {said}.",
    )


def describe_head_size(quality):
    """What `plot_head_size` shows; ``quality`` is ``grey_matter/quality.tsv``."""
    n, low, high = len(quality), *quality["grey_ml"].quantile([0, 1])
    caption = (
        "Grey-matter volume of each image against total intracranial volume, ml; a line joins the "
        "images of a participant. Images with an outlier score above 3 are named."
    )
    return caption, f"Points, one per image ({n}); grey matter from {low:.0f} to {high:.0f} ml."


def describe_template_fit(quality):
    """What `plot_template_fit` shows; ``quality`` is ``grey_matter/quality.tsv``."""
    above = int((quality["outlier_score"] > 3).sum())
    caption = (
        "Outlier score of each image (largest distance of a measure from its median, robust "
        "standard deviations) against its correlation with the template's grey matter; images "
        "above 3 are named."
    )
    return caption, f"Points, one per image; {above} of {len(quality)} above the dashed line at 3."


def describe_homogeneity(quality):
    """What `plot_homogeneity` shows; ``quality`` is ``vbm/quality.tsv``."""
    above = int((quality["outlier_score"] > 3).sum())
    caption = (
        "Mean correlation of each map with the other maps of its session, and its outlier score "
        "(robust standard deviations below the median); maps above 3 are labelled."
    )
    return caption, f"Points, one per map; {above} of {len(quality)} above the dashed line at 3."


def describe_volumes(quality):
    """What `plot_volumes` shows; ``quality`` is ``vbm/quality.tsv``."""
    caption = "Grey-matter volume after treatment against before, ml; dashed: no change."
    mean = quality["volume_ml"].mean()
    return caption, f"Points, one per participant, near the diagonal. Mean volume: {mean:.0f} ml."


def describe_variance_ratio(spread, names):
    """What `plot_variance_ratio` shows; ``spread`` is ``vbm/diagnostics.tsv`` by measure."""
    row = spread.loc["variance ratio, voxels"]
    caption = (
        f"Variance of change with {names['active']} over that with {names['control']} (residuals "
        "of the model), one value per voxel. Grey: the central 95 % of what equally varying normal "
        f"data give; {100 * row['share_beyond']:.0f} % of voxels lie outside."
    )
    return caption, f"Histogram. Median ratio {number_text(row['median'])}."


def describe_skewness(spread, names):
    """What `plot_skewness` shows; ``spread`` is ``vbm/diagnostics.tsv`` by measure."""
    rows = {arm: spread.loc[f"skewness, {arm}"] for arm in COLOURS}
    beyond = _by_arm(names, {arm: _share(row["share_beyond"]) for arm, row in rows.items()})
    caption = (
        "Skewness of change (residuals of the model), one value per voxel and arm. Dashed: limits "
        f"that 5 % of normal data exceed; voxels beyond them: {beyond}."
    )
    medians = _by_arm(names, {arm: number_text(row["median"]) for arm, row in rows.items()})
    return caption, f"Two histograms. Median skewness: {medians}."


def _share(value):
    return "too few participants to say" if np.isnan(value) else f"{100 * value:.0f} %"


def describe_mosaic(least):
    """What `plot_mosaic` shows; ``least``: rows of ``vbm/quality.tsv``."""
    caption = (
        "Axial slices of the mean of all smoothed maps, of the analysis mask, and of the "
        f"{len(least)} maps with the highest outlier scores, before smoothing. All share one grey "
        "scale, 0 to 0.9."
    )
    scores = ", ".join(
        f"{row.participant_id} {row.session} ({row.outlier_score:.1f})"
        for row in least.itertuples()
    )
    return caption, true_minus(f"Brain slices of {len(least) + 2} maps. Outlier scores: {scores}.")


def describe_power(curve, detectable):
    """What `plot_power` shows; ``curve`` is ``power/power.tsv``."""
    found = detectable is not None and np.isfinite(detectable)
    said = f"80 % at r = {number_text(detectable)}" if found else "80 % is not reached"
    caption = (
        "Share of simulated trials with p < .05, by the noise-free correlation between change and "
        f"receptor map; bars: Monte-Carlo standard error. Power: {said}."
    )
    return caption, f"Rising curve of power over the noise-free r; {said}."


def describe_variogram(null):
    """What `plot_variograms` shows."""
    caption = (
        f"Variogram of the effect map and of its {null} surrogates (median and central 95 %), on "
        "normal scores."
    )
    return caption, "Two rising curves over the distance between regions, one within a band."
