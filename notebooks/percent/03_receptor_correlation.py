# ---
# jupyter:
#   jupytext:
#     formats: notebooks///ipynb,notebooks/percent///py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Receptor correlation
#
# Does the map of grey-matter change follow the spatial distribution of a neurotransmitter receptor
# or transporter? The paper behind this compendium reported the dopamine D1 receptor. The change of
# each region (notebook 02) is compared with the average PET density of each receptor in healthy
# people. Two smooth maps correlate easily by accident, so the question is what a correlation is
# compared with: this notebook asks two different questions and keeps them apart.
#
# **To make it yours:** change `study`; then try `statistic="pearson"`, what JuSpace computes, and see
# which receptors gain from their extreme values in the striatum.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look: few permutations, no p is fit to be quoted
statistic: str = "gaussianised"  # correlation: gaussianised, spearman or pearson
background: str = "drop"  # voxels outside a receptor map's field: drop, or keep as JuSpace does
n_permutations: int = 5000  # re-randomisations of the arms, or sign flips within an arm
n_surrogates: int = 5000  # smooth surrogates of the effect map
n_bootstrap: int = 2000  # resamples of patients for the interval of r
quick_permutations: int = 200  # used instead of the three above when quick
seed: int = 0  # of permutations, surrogates and bootstrap

# %% [markdown]
# ## Read and check

# %%
from functools import partial

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from analysis_lib import annotations, atlas, dominance, nulls, plots, ratings, receptors, results
from analysis_lib import text, vbm
from analysis_lib.study import load_study

trial = load_study(study)
parcels = atlas.load_atlas(trial.atlas)
regions = vbm.region_names(parcels)
rows = results.read_table(trial.derived / "vbm" / "parcel_change.tsv")
change = vbm.change_matrix(rows, regions)
arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"].loc[change.index]
maps, about = annotations.maps_for(trial, parcels, change.columns, background=background)
draws = {
    name: quick_permutations if quick else value
    for name, value in {
        "permutations": n_permutations,
        "surrogates": n_surrogates,
        "bootstrap": n_bootstrap,
    }.items()
}
display(Markdown(text.notice(trial, quick)), Markdown(text.receptor_notice(about)))
print(f"(n_participants, n_regions) = {change.shape}; (n_receptor_maps, n_regions) = {maps.shape}")

# %% [markdown]
# ## The receptor maps
#
# Each is an average PET image in MNI space. A region's density is the mean over the voxels where
# the map has values; the value that fills the map outside its field of view is found in the data,
# since it is not always zero. Only grey-matter regions take part. A region of which a map covers
# less than a tenth is left out for that map, by name.

# %%
described = about.assign(n_parcels=maps.notna().sum(axis=1))
display(
    text.table(
        described[["receptor", "tracer", "n_subjects", "n_parcels", "reference"]], index=True
    )
)
for note, group in described[described["note"] != ""].groupby("note"):
    print(f"{', '.join(group.index)}: {note}")
lost = maps.isna().sum(axis=1)
for annotation in lost.index[lost > 0]:
    missing = regions[maps.columns[maps.loc[annotation].isna()]]
    print(f"{annotation} does not cover: {', '.join(missing)}")

# %% [markdown]
# ## The effect map
#
# Percent change of each region: the arms' difference adjusted for the study's covariates, and the
# plain mean within each arm.

# %%
participants = ratings.read_participants(trial)
covariates, strata = ratings.design_columns(trial, participants, change.index)
model = {"covariates": covariates if covariates.shape[1] else None, "strata": strata}
effects = pd.DataFrame(
    {contrast: receptors.effect_map(change, arm, contrast, **model) for contrast in vbm.CONTRASTS},
    index=regions[change.columns],
)
text.table(effects.sort_values("arm_by_time", ascending=False).iloc[np.r_[0:8, -4:0]], index=True)

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
# | `p_spatial` | is this receptor **special**, or would any map as smooth do? | surrogates of the effect map with its spatial autocorrelation (Moran spectral randomisation) |
# | `p_parametric` | none | regions as if independent; shown because papers report it. With maps this smooth it calls .17 to .51 of unrelated pairs significant |
#
# A small `p_randomisation` with a large `p_spatial` means: treatment changed grey matter in a
# pattern that follows this receptor, and so would it follow many another smooth map.
#
# `p_fwe` and `p_fwe_spatial` correct over all receptor maps by the largest |r|; `q_fdr` is the
# false discovery rate. The interval resamples patients and speaks of the correlation to expect
# *at this sample size and noise*, not of the noise-free one.

# %%
distances = atlas.parcel_distances(parcels, change.columns)
surrogates = partial(nulls.moran_surrogates, distances=distances, n=draws["surrogates"], seed=seed)
assessed = {
    contrast: receptors.assess_contrast(
        change,
        arm,
        maps,
        surrogates,
        contrast,
        n_permutations=draws["permutations"],
        n_bootstrap=draws["bootstrap"],
        seed=seed,
        method=statistic,
        **model,
    )
    for contrast in vbm.CONTRASTS
}
correlations = receptors.correlation_table(assessed.values(), about)
table = correlations[correlations["contrast"] == "arm_by_time"].drop(columns="contrast")
shown = table.drop(columns=["tracer", "n_subjects_map", "statistic"])
text.table(shown.sort_values("r", key=abs, ascending=False))

# %%
fig, axes = plots.figure(1, 2, height=0.2 * len(maps) + 0.9)
for ax, contrast in zip(axes[0], ("arm_by_time", "active_change"), strict=True):
    plots.plot_receptors(
        ax,
        correlations[correlations["contrast"] == contrast],
        plots.contrast_title(contrast, trial.arm_names),
    )
plots.mark(fig, trial, quick)
# %% [markdown]
# The leading receptor under both nulls. The wider the null, the less a given r means. Where treatment
# did something, a re-randomised map still holds some of it, with either sign: its correlations then
# pile up at both ends, and the test stays valid but loses power. A surrogate keeps the size of each
# spatial component of the effect map and draws its sign: one broad component leaves two humps.

# %%
leading = table.loc[table["r"].abs().idxmax()]
k = assessed["arm_by_time"].annotations.index(leading["annotation"])
fig, axes = plots.figure(1, 2, height=2.5)
for ax, which, words in (
    (axes[0, 0], "randomisation", "arms re-randomised"),
    (axes[0, 1], "spatial", "smooth surrogate maps"),
):
    null = getattr(assessed["arm_by_time"], which).null[:, k]
    plots.plot_null(ax, null, leading["r"], f"{leading['receptor']}: p_{which}", words)
plots.mark(fig, trial, quick)
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
fig, axes = plots.figure(width=3.8, height=3)
plots.plot_scatter(
    axes[0, 0],
    points,
    np.corrcoef(points["x_value"], points["y_value"])[0, 1],
    f"{leading['receptor']} density (normal score)",
    "change, active - control (normal score)",
)
plots.mark(fig, trial, quick)
# %% [markdown]
# ## All receptors together
#
# Receptor maps resemble each other, so that one can borrow another's correlation. Dominance analysis
# asks how much of the explained variance each map accounts for: the gain in R² when it joins,
# averaged over all models of the others (all subsets, exactly; Hansen et al. 2022). The totals add
# up to the full model's adjusted R². Regions that some map does not cover are left out. p compares
# with smooth surrogates of the effect map (as `p_spatial`), one-sided. Prediction of regions far
# from those that the model was fitted on tells whether it is more than a fit.

# %%
covered = maps.columns[maps.notna().all()]
outcome = assessed["arm_by_time"].effect[covered].to_numpy()
n_surrogate_models = min(draws["surrogates"], 1000)
smooth = nulls.moran_surrogates(
    outcome, atlas.parcel_distances(parcels, covered), n_surrogate_models, seed, gaussianise=False
)
together = dominance.dominance_test(maps[covered].T, outcome, smooth)
shares = receptors.dominance_rows(together, about)
far = dominance.cross_validated_r(
    maps[covered].T, outcome, atlas.parcel_distances(parcels, covered)
)
print(
    f"{len(maps)} maps, {len(covered)} regions: adjusted R² {together.observed.adjusted_r2:.2f}, "
    f"{text.p_text(together.p_model, n_surrogate_models)}; r with regions far away: median "
    f"{far['test_r'].median():.2f}"
)
text.table(shares.sort_values("total_dominance", ascending=False).head(8))

# %% [markdown]
# ## Each participant's own coupling
#
# The correlation can also be computed within a single participant, from that participant's change
# alone: a number that behaves like any other outcome of the trial (Fisher's z). It is noisier than
# the arm's map, and shows whether a pattern is shared by patients or made by a few.

# %%
z = receptors.individual_coupling(change, maps, statistic)
individual = receptors.individual_rows(z, arm, about)
mine = individual[individual["annotation"] == leading["annotation"]]
print(f"{leading['receptor']} ({leading['annotation']}), Fisher z by arm")
mine.groupby("arm")["z"].agg(["count", "mean", "std"]).rename(trial.arm_names).round(3)

# %% [markdown]
# ## What we found

# %%
found = text.receptor_sentences(correlations, "arm_by_time", trial.arm_names)
display(Markdown(text.notice(trial, quick)), Markdown(text.receptor_notice(about)), Markdown(found))

# %% [markdown]
# In the demo D1 should lead, and that proves only that the analysis works: its planted change follows
# a table of regional D1 values, rounded from the very map that finds it.
#
# A correlation of two maps is no mechanism. The receptor maps come from other, healthy people; the
# regions are not independent; and several maps correlate with each other, so that the leading one
# need not be the one that matters.

# %% [markdown]
# ## What this wrote

# %%
null = {
    f"{which}_{contrast}": getattr(result, which).null.astype("f4")
    for contrast, result in assessed.items()
    for which in ("randomisation", "spatial")
}
files = {
    "correlations.tsv": correlations,
    "dominance.tsv": shares,
    "individual.tsv": individual,
    "nulls.npz": null,
    "scatter.tsv": points.assign(receptor=leading["receptor"], annotation=leading["annotation"]),
    "settings.json": {
        "statistic": statistic,
        "background": background,
        **draws,
        "seed": seed,
        "quick": quick,
        "simulated_maps": text.are_simulated(about),
    },
}
written = results.write(trial.derived / "receptors", files)
results.write_numbers(trial, "receptors", text.receptor_numbers(correlations))
print(*(path.relative_to(trial.derived) for path in written), sep="\n")
