# %% [markdown]
# # 03 · Receptor correlation
#
# **Does the map of grey-matter change follow the spatial distribution of a neurotransmitter receptor
# or transporter?** The paper behind this compendium reported the dopamine D1 receptor. The change of
# each region (notebook 02) is compared with the average density of each receptor, from PET or SPECT, in
# healthy people. Two smooth maps correlate easily by accident, so the question is what a correlation is
# compared with: this notebook asks two different questions and keeps them apart.
#
# **Contents.** [The receptor maps](#The-receptor-maps) · [The effect map](#The-effect-map) ·
# [Correlation, and three p-values](#Correlation,-and-three-p-values) ·
# [Both maps in one brain](#Both-maps-in-one-brain) ·
# [Noise: what a larger trial would show](#Noise:-what-a-larger-trial-would-show) ·
# [All receptors together](#All-receptors-together) ·
# [What JuSpace would have said](#What-JuSpace-would-have-said) ·
# [What we found: receptors](#What-we-found:-receptors)
#
# **To run it:** notebook 02 first, once; then *Run > Run All Cells* in the menu. About half a minute.
#
# **Change this first,** in the next cell, and run all again: `structure = "cortex"` takes
# the striatum out, and with it most of what distinguishes the dopamine maps: in the demo D1's r falls
# from .81 to .76. Then `statistic = "pearson"`, what JuSpace computes: a handful of regions decides,
# and in the demo D1 falls from first to third. Then `study`.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look: few permutations, no p is fit to be quoted
statistic: str = "gaussianised"  # correlation; one of: gaussianised, spearman, pearson
background: str = "drop"  # voxels outside a receptor map's field; one of: drop, keep
structure: str = "all"  # regions of grey matter; one of: all, cortex, subcortex, cerebellum
null: str = "moran"  # surrogates of the effect map; one of: moran, variogram
distances: str = "centroid"  # between regions; voxels: mean of theirs; one of: centroid, voxels
n_permutations: int = 5000  # re-randomisations, or sign flips within an arm; at least 99
n_surrogates: int = 5000  # smooth surrogates of the effect map; at least 99
n_bootstrap: int = 2000  # resamples of patients for the intervals of r; at least 99
n_power_trials: int = 200  # simulated trials for each point of the power curve; at least 10
quick_permutations: int = 200  # instead of the four above when quick (power: 1/5); at least 20
seed: int = 0  # of permutations, surrogates, bootstrap and simulated trials; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from functools import partial

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from analysis_lib import atlas, figures, pipeline, receptors, report, results, vbm
from analysis_lib.results import PROJECT
from analysis_lib.study import (
    design_columns,
    improvement,
    open_study,
    read_participants,
    read_scale,
)

# %%
trial = open_study("03_receptor_correlation", globals())
parcels = atlas.load_atlas(trial.atlas)
regions = vbm.region_names(parcels)
rows = results.read_table(trial.result("vbm/parcel_change.tsv"))
change = vbm.change_matrix(rows, regions)
chosen = atlas.grey_matter_labels(parcels, None if structure == "all" else structure)
change = change[change.columns.intersection(chosen)]
arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"].loc[change.index]
maps, about = receptors.maps_for(trial, parcels, change.columns, background=background)
draws = {
    "permutations": quick_permutations if quick else n_permutations,
    "surrogates": quick_permutations if quick else n_surrogates,
    "bootstrap": quick_permutations if quick else n_bootstrap,
    "power_trials": max(quick_permutations // 5, 1) if quick else n_power_trials,
}
display(Markdown(report.notice(trial, quick)), Markdown(report.receptor_notice(about)))
print(f"(n_participants, n_regions) = {change.shape}; (n_receptor_maps, n_regions) = {maps.shape}")

# %% [markdown]
# ## The receptor maps
#
# Each is an average PET (of FP-CIT: SPECT) image in MNI space. A region's density is the mean over the voxels where
# the map has values; the value that fills the map outside its field of view is found in the data
# (`background_value`), since it is not always zero. Only grey-matter regions take part. A region of
# which a map covers less than a tenth is left out for that map, by name.

# %%
described = about.assign(n_parcels=maps.notna().sum(axis=1))
described["background_value"] = [f"{value:.3g}" for value in about["background_value"]]
columns = ["receptor", "tracer", "n_subjects", "age", "voxel_mm", "background_value", "n_parcels"]
display(report.table(described[[*columns, "reference"]], index=True))
for note, group in described[described["note"] != ""].groupby("note"):
    print(f"{', '.join(group.index)}: {note}")
for annotation, labels in receptors.uncovered(maps).items():
    print(f"{annotation} does not cover {len(labels)}: {', '.join(regions[labels])}")

# %% [markdown]
# ## The effect map
#
# Percent change of each region: the arms' difference adjusted for the study's covariates, and the
# plain mean within each arm.

# %%
participants = read_participants(trial)
covariates, strata = design_columns(trial, participants, change.index)
model = {"covariates": covariates if covariates.shape[1] else None, "strata": strata}
effects = pd.DataFrame(
    {contrast: receptors.effect_map(change, arm, contrast, **model) for contrast in vbm.CONTRASTS},
    index=regions[change.columns],
)
report.table(effects.sort_values("arm_by_time", ascending=False).iloc[np.r_[0:8, -4:0]], index=True)

# %% [markdown]
# ## Correlation, and three p-values
#
# *r* is Pearson's correlation after both maps are turned into normal scores by rank: receptor maps
# are so uneven (the striatum holds ten times the D1 of the cortex) that a plain r is decided by a
# handful of regions. All p-values are about this same r, two-sided.
#
# | p | the question | the null |
# |---|---|---|
# | `p_randomisation` | would this alignment appear **if treatment did nothing**? | arm labels are re-randomised and the whole effect map is computed again (covariates by Freedman-Lane). Valid whatever the smoothness, because the smoothness is in every permuted map too. Within an arm, participants' signs are flipped, which assumes errors symmetric about zero |
# | `p_spatial` | is this receptor **special**, or would any map as smooth do? | surrogates of the effect map with its spatial autocorrelation (Moran spectral randomisation, or variogram matching as in BrainSMASH) |
# | `p_parametric` | none | regions as if independent; shown because papers report it |
#
# A small `p_randomisation` with a large `p_spatial` means: the pattern in which the arms differ
# follows this receptor more closely than it would if treatment did nothing, and many another map as
# smooth would follow the receptor as closely.
#
# `p_fwe` and `p_fwe_spatial` correct over all receptor maps by the largest |r|; `q_fdr` is the
# false discovery rate. The interval comes from resampled patients and speaks of the correlation to
# expect *at this sample size and noise*; another one, for the noise-free correlation, is below.

# %%
apart = atlas.parcel_distances(parcels, change.columns, distances)
make = {"moran": receptors.moran_surrogates, "variogram": receptors.variogram_surrogates}[null]
surrogates = partial(make, distances=apart, n=draws["surrogates"], seed=seed)
options = {"n_permutations": draws["permutations"], "n_bootstrap": draws["bootstrap"], **model}
assessed = {
    contrast: receptors.assess_contrast(
        change, arm, maps, surrogates, contrast, seed=seed, method=statistic, **options
    )
    for contrast in vbm.CONTRASTS
}
correlations = receptors.correlation_table(assessed.values(), about)
main = assessed["arm_by_time"]
table = correlations[correlations["contrast"] == "arm_by_time"].drop(columns="contrast")
shown = table.drop(columns=["tracer", "n_subjects_map", "statistic"])
report.table(shown.sort_values("r", key=abs, ascending=False))

# %%
fig, axes = figures.figure(1, 2, height=0.2 * len(maps) + 0.9)
for ax, contrast in zip(axes[0], ("arm_by_time", "active_change"), strict=True):
    figures.plot_receptors(
        ax,
        correlations[correlations["contrast"] == contrast],
        figures.contrast_title(contrast, trial.arm_names),
    )
figures.mark(fig, trial, quick)

# %% [markdown]
# ### How far each p can be trusted
#
# Each was tried on pairs of maps that nothing links: 4,000 effect maps of each of four ranges of
# autocorrelation, against a second such map and against every real receptor map, on the grey-matter
# regions of neuromorphometrics. A p that keeps its promise is at or below .05 in a share of .05. The
# table gives the share for simulated pairs by range, and the worst of all real maps;
# `false_positive_rate` below is the worst share over ranges for each map, and stands beside the
# `p_spatial` that it concerns. Shares above .07 are marked with an asterisk: read such a p as if it
# were larger.

# %%
file, labels = PROJECT / "benchmarks" / "spatial_nulls.tsv", {"null": str, "side": str}
measured = pd.read_csv(file, sep="\t", dtype=labels, keep_default_na=False)
words = {"moran": "Moran", "variogram": "variogram"}[null]
display(report.rate_table(measured))
rates = receptors.false_positive_rates(measured, words, maps.index)
quoted = table[["receptor", "annotation", "r", "p_spatial", "p_fwe_spatial"]].assign(
    false_positive_rate=report.marked_rates(rates.to_numpy())
)
report.table(quoted.sort_values("r", key=abs, ascending=False).head(8))

# %% [markdown]
# ### Are the surrogates like the effect map?
#
# The variogram of a map says how different two regions are on average at each distance. Surrogates
# should vary about that of the effect map. Moran surrogates keep the size of each spatial component
# and draw its sign; variogram surrogates are smoothed shuffles, fitted to the curve.

# %%
observed = receptors.gaussianise(main.effect.to_numpy())
makers = {"Moran": receptors.moran_surrogates, "variogram": receptors.variogram_surrogates}
fig, axes = figures.figure(1, 2, height=2.5)
for ax, (name, maker) in zip(axes[0], makers.items(), strict=True):
    lags, target = receptors.variogram(observed, apart)
    _, drawn = receptors.variogram(maker(observed, apart, 500, seed), apart)
    figures.plot_variograms(
        ax, lags, target[0], np.quantile(drawn, [0.025, 0.5, 0.975], axis=0), name
    )
figures.mark(fig, trial, quick)

# %% [markdown]
# The leading receptor under both nulls. The wider the null, the less a given r means. Where treatment
# did something, a re-randomised map still holds some of it, with either sign: its correlations then
# pile up at both ends, and the test stays valid but loses power. A surrogate keeps the size of each
# spatial component of the effect map and draws its sign: one broad component leaves two humps.

# %%
leading = table.loc[table["r"].abs().idxmax()]
k = main.annotations.index(leading["annotation"])
fig, axes = figures.figure(1, 2, height=2.5)
for ax, which, words in (
    (axes[0, 0], "randomisation", "arms re-randomised"),
    (axes[0, 1], "spatial", "smooth surrogate maps"),
):
    draws_of_r = getattr(main, which).null[:, k]
    figures.plot_null(ax, draws_of_r, leading["r"], f"{leading['receptor']}: p_{which}", words)
figures.mark(fig, trial, quick)

# %%
points = pd.DataFrame(
    {
        "region": regions[change.columns],
        "density": maps.loc[leading["annotation"]],
        "percent": effects["arm_by_time"].to_numpy(),
    }
).dropna()
points["x_value"], points["y_value"] = (
    receptors.gaussianise(points[c].to_numpy()) for c in ("density", "percent")
)
fig, axes = figures.figure(width=3.8, height=3)
figures.plot_scatter(
    axes[0, 0],
    points,
    np.corrcoef(points["x_value"], points["y_value"])[0, 1],
    f"{leading['receptor']} density (normal score)",
    figures.contrast_title("arm_by_time", trial.arm_names) + " (normal score)",
)
figures.mark(fig, trial, quick)

# %% [markdown]
# ### Both maps in one brain
#
# A ball is a region: its colour is the change, its size the density of the leading receptor. Where
# the change follows the receptor, the large balls are the dark red ones. Drag to turn the brain,
# point at a ball for its name and numbers. Then both maps in slices to click through.

# %%
both = f"{figures.contrast_title('arm_by_time', trial.arm_names)}, and {leading['receptor']}"
placed = points.join(atlas.parcel_centroids(parcels, points.index))
ball_view = figures.region_view(placed, figures.marked(both, trial, quick), leading["receptor"])
ball_view

# %%
slices = {
    "change": (points["percent"], figures.contrast_title("arm_by_time", trial.arm_names) + ", %"),
    "receptor": (
        points["density"],
        f"{leading['receptor']} density ({leading['annotation']}), which the change is compared with",
    ),
}
real_map = not receptors.are_simulated(about)
at_peak = placed.loc[placed["percent"].abs().idxmax(), ["x", "y", "z"]]
brains = {
    name: figures.slice_view(
        figures.region_image(values, parcels),
        title if name == "receptor" and real_map else figures.marked(title, trial, quick),
        f"Clickable slices of the brain, {title}: one value a region, {len(values)} regions.",
        cut=at_peak,
        diverging=name == "change",
    )
    for name, (values, title) in slices.items()
}
display(*brains.values())

# %% [markdown]
# ## Noise: what a larger trial would show
#
# The effect map is an average of a few patients, and its noise pulls every r towards 0. Two halves of
# the patients tell how much: the correlation of their maps, stepped up to all patients
# (Spearman-Brown), is the map's *reliability*; the bootstrap estimates it too. With it come two
# answers to "how strong is the link": the r to expect in a trial of this size (`ci_low`, `ci_high`
# above), and the r that endlessly many patients would show (`r_noise_free`, with an interval that
# is wide, and should be, where the reliability is low). Both intervals were tried where the truth
# is known (benchmarks/intervals.tsv).

# %%
halves = receptors.split_half(
    change, arm, n_splits=draws["permutations"] // 10 or 1, seed=seed, method=statistic, **model
)
print(
    f"halves of the patients agree with r = {halves.r:.2f}; reliability of the effect map "
    f"{halves.reliability:.2f} (split halves), {main.intervals.reliability:.2f} (bootstrap)"
)
density = atlas.parcel_means(atlas.grey_matter_template(3), parcels).reindex(change.columns)
sensitivity = pd.concat(
    [
        receptors.sensitivity_table(result, maps, about, density, regions)
        for result in assessed.values()
    ]
)
mine = sensitivity[sensitivity["contrast"] == "arm_by_time"]
columns = ["r", "r_noise_free", "noise_free_low", "noise_free_high", "critical_r"]
columns += ["critical_r_spatial"]
report.table(
    mine[["receptor", "annotation", *columns]].sort_values("r", key=abs, ascending=False).head(6)
)

# %% [markdown]
# `critical_r` is the smallest |r| that would have counted as significant here (one map, .05). Being
# above it once is one thing, being found reliably another: trials with this one's noise and
# reliability are simulated, in which the noise-free map follows the leading receptor more or less
# closely, and the share that re-randomisation finds is counted.

# %%
trusted = float(np.clip(main.intervals.reliability, 0.05, 0.95))
curve = receptors.power_curve(
    change,
    arm,
    maps.loc[leading["annotation"]].to_numpy(),
    reliability=trusted,
    n_trials=draws["power_trials"],
    seed=seed,
    method=statistic,
    **model,
)
detectable = receptors.minimum_detectable_r(curve)
fig, axes = figures.figure(width=3.8, height=2.4)
figures.plot_power(axes[0, 0], curve, detectable)
figures.mark(fig, trial, quick)
print(f"noise-free r found in four of five trials at reliability {trusted:.2f}: {detectable:.2f}")

# %% [markdown]
# ## What else could make it?
#
# A region with more grey matter, or one single region, could carry the correlation.
# `r_given_density` holds the density of grey matter (the MNI152 template) constant;
# `r_without` leaves out the one region that matters most, which is named. All its p-values are for
# the partial correlation.

# %%
columns = ["r", "r_given_density", "p_given_density", "p_spatial_given_density"]
columns += ["region_without", "r_without"]
display(
    report.table(
        mine[["receptor", "annotation", *columns]]
        .sort_values("r", key=abs, ascending=False)
        .head(6)
    )
)
top = table.sort_values("r", key=abs, ascending=False).head(5)
without = receptors.influence(main.effect, maps.loc[top["annotation"]], statistic)
without.columns, without.index = regions[without.columns], top["receptor"] + " " + top["annotation"]
fig, axes = figures.figure(height=2.4)
figures.plot_influence(axes[0, 0], without, pd.Series(top["r"].to_numpy(), without.index))
figures.mark(fig, trial, quick)

# %% [markdown]
# ## All receptors together
#
# Receptor maps resemble each other, so that one can borrow another's correlation. Several tracers of
# one receptor are first combined into one map (each map in standard units, averaged with weights
# proportional to the number of people; the weights are in `combined.tsv`). Then two questions.
# *Held constant*: what is left of each receptor's correlation when all the others are? *Dominance*:
# how much of the explained variance does each account for: the gain in R² when it joins, averaged
# over all models of the others (all subsets, exactly; Hansen et al. 2022)? The totals add up to the
# full model's adjusted R². p compares with re-randomised arms and with smooth surrogates; that of
# dominance is one-sided. Prediction of regions far from those that the model was fitted on tells
# whether it is more than a fit.

# %%
combined, about_combined = receptors.combine(maps, about)
lead = about_combined.index[about_combined["receptor"] == leading["receptor"]][0]
joined = receptors.joint_maps(main, combined, lead)
if len(joined) < len(combined):
    print(
        f"too few regions for {len(combined)} receptors at once; kept, by |r|: {len(joined)}. The p "
        "below do not allow for this choice"
    )
combined = joined

# %% [markdown]
# Held constant and dominance, with their p, and the prediction of regions far away.

# %%
others = receptors.others_table(main, combined, about_combined)
covered = combined.columns[combined.notna().all()]
predictors, outcome = combined[covered].T, main.effect[covered].to_numpy()
at = change.columns.get_indexer(covered)
smooth = make(
    outcome, apart[np.ix_(at, at)], min(draws["surrogates"], 1000), seed, gaussianise=False
)
together = receptors.dominance_test(predictors, outcome, smooth)
randomised = receptors.dominance_test(predictors, outcome, main.effects.null[:1000, at])
shares = receptors.dominance_rows(together, randomised, about_combined)
far = receptors.cross_validated_r(predictors, outcome, apart[np.ix_(at, at)])
print(
    f"{len(combined)} receptors, {len(covered)} regions: adjusted R² "
    f"{together.observed.adjusted_r2:.2f}; surrogates {results.p_text(together.p_model, len(smooth))}, "
    f"re-randomised {results.p_text(randomised.p_model, len(randomised.null_total))}; r with regions "
    f"far away: median {far['test_r'].median():.2f}"
)
beside = others.drop(columns=["contrast", "receptor", "n_parcels"])
joint = shares.merge(beside.rename(columns={"p_fwe": "p_fwe_given_others"}), on="annotation")
report.table(joint.drop(columns="annotation").sort_values("total_dominance", ascending=False))

# %%
fig, axes = figures.figure(width=4.2, height=0.2 * len(shares) + 0.8)
figures.plot_dominance(axes[0, 0], shares)
figures.mark(fig, trial, quick)

# %% [markdown]
# ## Each patient's own coupling, as an outcome of the trial
#
# The correlation can also be computed within a single participant, from that participant's change
# alone: a number that behaves like any other outcome of the trial (Fisher's z). Does it differ
# between the arms (least squares with the study's covariates; p by re-randomisation, family-wise by
# the largest |t|), and do patients whose change follows the receptor more closely improve more
# (partial correlation within arms)?

# %%
z = receptors.individual_coupling(change, maps, statistic)
individual = receptors.individual_rows(z, arm, about)
scale = trial.primary_scale
improvement = improvement(
    trial, read_scale(trial, scale, participants), trial.imaging.sessions.post
).reindex(change.index)
options = {"n_permutations": draws["permutations"], "seed": seed, **model}
by_arm = receptors.arm_table(z, arm, about, **options)
by_improvement = receptors.improvement_table(z, improvement, arm, about, **options)
order = by_arm["t"].abs().sort_values(ascending=False).index[:6]
display(report.table(by_arm.loc[order].drop(columns=["n_active", "n_control", "df"])))
print(f"improvement: {scale.name} at {trial.baseline} - at {trial.imaging.sessions.post}")
report.table(by_improvement.loc[order])

# %% [markdown]
# ## What JuSpace would have said
#
# JuSpace v1.5 (Dukart et al. 2021, Hum Brain Mapp 42:555) is a widely used toolbox for this question.
# Here is its analysis of the same change: parcel means with the background kept, Cohen's d in each
# region, plain Pearson r reported as Fisher z. Its code was read; this is how it differs from the
# p-values above.
#
# - **z against r.** Its spatial p compares the observed Fisher *z* with the *r* of null maps. |z| is
#   larger than |r|, so the p is too small; from r = .76 on it is the smallest possible, whatever the
#   null. `p_juspace` does that, `p_juspace_r` compares r with r.
# - **No autocorrelation where it matters.** Its null maps are smoothed only if the differences
#   between regions grow with distance (`autocorrelation` above 0). For D1, D2 and DAT on this atlas
#   that number is negative, the toolbox prints "no adjustment performed", and the null is an ordinary
#   shuffle of regions: `adjusts` says for which maps anything is kept. With unrelated smooth maps the
#   shuffle called 25 to 39 % of correlations with D1 significant at .05.
# - **Balanced relabelling.** Its group p exchanges exactly half of each arm (flips exactly half of the
#   signs), never fewer or more. The observed labelling is none of these, and the p is too small:
#   .058 instead of .05 between arms of 18, .070 within one (`p_relabel_juspace`; any relabelling:
#   `p_relabel`).
# - **No correction over maps** in either; `p_shuffle_fwe` and `p_relabel_fwe` add it.
#
# The mended version is the rest of this notebook.

# %%
kept, _ = receptors.maps_for(trial, parcels, change.columns, background="keep")
toolbox = receptors.juspace_table(
    change, arm, kept, about, n_permutations=draws["permutations"], seed=seed, atlas=parcels
)
mine = toolbox[toolbox["contrast"] == "arm_by_time"].drop(columns=["contrast", "n_parcels"])
display(report.table(mine.sort_values("r", key=abs, ascending=False).head(8)))
row = mine.set_index("annotation").loc[leading["annotation"]]
print(
    f"{leading['receptor']}: JuSpace z = {row['z']:.2f}, exact spatial {results.p_text(row['p_juspace'])}"
    f" ({receptors.NULL_MAPS[bool(row['adjusts'])]}); here r = {leading['r']:.2f}, p_spatial "
    f"{results.p_text(leading['p_spatial']).removeprefix('p ')}, p_randomisation "
    f"{results.p_text(leading['p_randomisation']).removeprefix('p ')}"
)

# %% [markdown]
# ## What we found: receptors

# %%
tables = {
    "correlations": correlations,
    "sensitivity": sensitivity,
    "given_others": others,
    "coupling_arm": by_arm,
    "coupling_improvement": by_improvement,
}
known = {
    "n_active": int((arm == "active").sum()),
    "n_control": int((arm == "control").sum()),
    "detectable": detectable,
    "rate": rates[leading["annotation"]],
}
found = report.receptor_paragraph(tables, "arm_by_time", trial.arm_names, known)
summary = report.receptor_sentences(correlations, "arm_by_time", trial.arm_names)
display(
    *(Markdown(part) for part in (report.notice(trial, quick), report.receptor_notice(about))),
    *(Markdown(part) for part in (summary, found)),
)

# %% [markdown]
# In the demo D1 should lead, and that proves only that the analysis works: its planted change follows
# a table of regional D1 values, rounded from the very map that finds it.
#
# A correlation of two maps is no mechanism. The receptor maps come from other, healthy people; their
# own noise is in none of the intervals; the regions are not independent; and several maps correlate
# with each other, so that the leading one need not be the one that matters.

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` describes its columns.

# %%
null_draws = {
    f"{which}_{contrast}": getattr(result, which).null.astype("f4")
    for contrast, result in assessed.items()
    for which in ("randomisation", "spatial")
}
files = {f"{name}.tsv": content for name, content in tables.items()} | {
    "combined.tsv": about_combined[["receptor", "tracer", "n_subjects", "note"]].reset_index(),
    "detectable.tsv": curve,
    "dominance.tsv": shares,
    "individual.tsv": individual,
    "juspace.tsv": toolbox,
    "nulls.npz": null_draws,
    "scatter.tsv": points.assign(receptor=leading["receptor"], annotation=leading["annotation"]),
    "settings.json": {
        "statistic": statistic,
        "background": background,
        "structure": structure,
        "null": null,
        "distances": distances,
        **draws,
        "seed": seed,
        "quick": quick,
        "simulated_maps": receptors.are_simulated(about),
        "minimum_detectable_r": detectable,
    },
}
written = results.write(trial.derived / "receptors", files)
brains |= {"regions": ball_view}
written += results.write(trial.derived / "receptors" / "views", figures.files(brains))
results.write_numbers(trial, "receptors", receptors.receptor_numbers(tables, detectable))
print(*(path.relative_to(trial.derived) for path in written if path.suffix != ".json"), sep="\n")
pipeline.what_moved(trial, "receptors")
