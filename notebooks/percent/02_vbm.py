# %% [markdown]
# # 02 · Voxel-based morphometry
#
# **Does grey-matter volume change from before to after treatment, and differently by arm?**
# Voxel-based morphometry (VBM) compares maps of local grey-matter volume, voxel by voxel. The maps
# are *modulated*: each holds the volume that a participant has at a place of the standard (MNI)
# brain.
#
# **Contents.** [Quality control](#Quality-control) · [Contrasts](#Contrasts) ·
# [Clusters](#Clusters) · [A brain to click through](#A-brain-to-click-through) ·
# [Regions, and clinical change](#Regions,-and-clinical-change) ·
# [Against the truth](#Against-the-truth) · [What we found: grey matter](#What-we-found:-grey-matter)
#
# **To run it:** *Run > Run All Cells* in the menu. About two minutes on two cores; with `quick=True`
# a quarter of a minute.
#
# **Change this first,** in the next cell, and run all again: `fwhm_mm = 4.0` halves the
# smoothing. The map shows finer detail and more noise, and in the demo about half as many voxels
# survive: smoothing decides how large the effects are that the analysis is tuned to.
# Then `study`: the name of a file in `data/studies`, or the path of your own study file.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look: few permutations, no p is fit to be quoted
fwhm_mm: float = 8.0  # mm, full width at half maximum of the smoothing kernel; from 0 to 30
mask_threshold: float = 0.2  # least mean smoothed density; at least 0 and below 1
tiv: str = "none"  # adjustment for head size; one of: none, covariate, proportional
cluster_p: float = 0.001  # two-sided p that forms clusters; above 0 and below 1
n_permutations: int = 5000  # of each contrast; all distinct ones if fewer; at least 99
quick_permutations: int = 200  # used instead when quick; at least 20
tail: str = "counts"  # small p-values; gpd: fitted Pareto tail; one of: counts, gpd
seed: int = 0  # of the permutations; at least 0
n_jobs: int = 2  # workers; the numbers do not depend on it; at least 1
regions: list = []  # atlas regions to show in detail; empty: those of the study file
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# Every map must lie on one grid and hold finite values; each participant needs a map before and one
# after treatment. Who withdrew before the second map is named and left out here (not in 01);
# anybody else with one map only is an error.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from analysis_lib import atlas, figures, pipeline, report, results, vbm
from analysis_lib.study import (
    check_grids,
    design_columns,
    find_maps,
    improvement,
    load_map,
    open_study,
    pair_maps,
    read_participants,
    read_scale,
    total_intracranial_volume,
)

# %%
trial = open_study("02_vbm", globals())
n_draws = quick_permutations if quick else n_permutations
participants = read_participants(trial)
found = find_maps(trial, participants)
pairs = pair_maps(trial, participants, found)
scanned = pairs[pairs["status"] == "analysed"].reset_index(drop=True)
affine = check_grids([*scanned["pre"], *scanned["post"]])
names = trial.arm_names
display(Markdown(report.notice(trial, quick)))
n_scanned = scanned["arm"].value_counts()
print(f"{len(scanned)} with two maps:", *(f"{n_scanned[arm]} {names[arm]}" for arm in names))
left_out = pairs[pairs["status"] != "analysed"].replace({"arm": names})
report.table(left_out[["participant_id", "arm", "status"]])

# %% [markdown]
# ## Smoothing and mask
#
# A Gaussian kernel trades spatial detail for sensitivity, makes errors more nearly normal and
# evens out what registration missed; 8 mm is customary. Only voxels with enough grey matter on
# average are analysed: elsewhere a percent change is a ratio of two small numbers. Head size (TIV)
# is the same before and after, so that it hardly touches a change; `tiv` offers the customary
# adjustments, with the column `tiv` of participants.tsv or what the segmentation program wrote.

# %%
values, mask = vbm.smooth_in_mask([*scanned["pre"], *scanned["post"]], fwhm_mm, mask_threshold)
head_size = None
if tiv != "none":
    found = found[found["participant_id"].isin(scanned["participant_id"])]
    head_size = total_intracranial_volume(trial, participants, found)
if head_size is not None:
    print(f"TIV from {head_size.attrs['source']}", *head_size.attrs["problems"], sep="\n")
    head_size = head_size.loc[scanned["participant_id"]]
covariates, blocks = design_columns(trial, participants, scanned["participant_id"])
maps = values[: len(scanned)], values[len(scanned) :]
(pre, post), covariates = vbm.adjust_for_tiv(maps, covariates, head_size, tiv)
change_maps = post - pre
voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
smoothness = vbm.smoothness_mm(change_maps, mask, affine)
print(f"(n_participants, n_voxels) = {pre.shape}; the mask holds {mask.sum() * voxel_ml:.0f} ml")
print(f"smoothness of the difference maps: {', '.join(f'{w:.0f}' for w in smoothness)} mm FWHM")

# %% [markdown]
# ## Quality control
#
# A map unlike the others points to a failed segmentation or registration. Each is scored by its
# mean correlation with all other maps of its session, in robust standard deviations below the
# median; above 3 deserves a look. Nothing is dropped by this notebook: excluding a participant is
# a decision, made in the study file (`exclude`) and counted in the flow.

# %%
quality = vbm.quality_table(scanned, {"pre": pre, "post": post}, affine)
outliers = quality[quality["outlier_score"] > 3]
fig, axes = figures.figure(1, 2, height=2.4)
figures.plot_homogeneity(axes[0, 0], quality)
figures.plot_volumes(axes[0, 1], quality, names)
figures.mark(fig, trial, quick)
print(
    f"{len(outliers)} of {len(quality)} maps score above 3: "
    f"{', '.join(outliers['participant_id'] + ' ' + outliers['session']) or 'none'}"
)

# %% [markdown]
# The mosaic shows the mean map, the mask on it, and the maps that resemble the others least.

# %%
least = quality.nlargest(4, "outlier_score")
shown = [
    vbm.to_image(values.mean(axis=0), mask, affine),
    vbm.to_image(np.full(mask.sum(), 0.9), mask, affine),
]
shown += [
    load_map(scanned.set_index("participant_id").loc[row.participant_id, row.session])
    for row in least.itertuples()
]
titles = ["mean, in the mask", "mask", *(least["participant_id"] + " " + least["session"])]
fig, axes = figures.brain_figure(2, 3, height=2.6)
figures.plot_mosaic(axes, shown, titles)
figures.mark(fig, trial, quick)

# %% [markdown]
# ## Contrasts
#
# With two visits everything follows from each participant's difference map, post - pre. *Arm by
# time* is exactly the two-sample comparison of these maps; within an arm the mean difference is
# tested against zero.
#
# **Exchangeability.** If treatment did nothing, arm labels could be swapped: they are permuted
# (within strata, where the trial has them), on the residuals of a model with the covariates and an
# intercept (Freedman & Lane 1983; Winkler et al. 2014). Within an arm there are no labels to swap;
# participants' signs are flipped, which assumes errors symmetric about zero. A change within an arm
# is not evidence of a treatment effect: time, scanner drift and regression to the mean are in it.
#
# **Family-wise error.** Tens of thousands of voxels are tested. Each permutation keeps its largest
# statistic; p is the share of permutations that reach the observed one, (1 + count) / (1 + n), so
# that the chance of *any* false voxel or cluster is at most 5 % at p < .05. Four statistics come
# from the same permutations: the voxel's t (`p_fwe_t`), the extent and the mass of its cluster
# (`p_fwe_cluster`, `p_fwe_mass`), and threshold-free cluster enhancement (TFCE, `p_fwe_tfce`), which
# rewards height and extent together without a cluster-forming threshold (Smith & Nichols 2009). A
# significant cluster says that something is there within it, not that each of its voxels changed.
# All tests are two-sided. The three contrasts are three questions and the four statistics four
# answers to each; p is not corrected over them, so name one of each before looking. Here max-t of
# `arm_by_time` is meant first.

# %%
options = {"n_permutations": n_draws, "seed": seed, "n_jobs": n_jobs, "cluster_p": cluster_p}
options["tail"] = tail
tests = {
    contrast: vbm.contrast_test(
        contrast, change_maps, mask, scanned["arm"], covariates, blocks, **options
    )
    for contrast in vbm.CONTRASTS
}
effects = {contrast: vbm.effect_sizes(contrast, pre, post, scanned["arm"]) for contrast in tests}
summary = pd.DataFrame(
    [
        vbm.contrast_summary(c, t, *scanned["arm"].value_counts()[["active", "control"]])
        for c, t in tests.items()
    ]
)
report.table(summary)

# %% [markdown]
# Maps of t, thresholded where clusters form (no family-wise correction in the picture; the table
# below has it).

# %%
fig, axes = figures.brain_figure(3, 1, height=5.2, right=0.08)
for ax, (contrast, test) in zip(axes[:, 0], tests.items(), strict=True):
    image = vbm.to_image(test.t, mask, affine)
    figures.plot_slices(ax, image, test.cluster_threshold, f"t ({test.df} df)")
    ax.set_title(vbm.CONTRASTS[contrast])
figures.mark(fig, trial, quick)

# %% [markdown]
# ## Clusters
#
# Peaks at least 8 mm apart, named by the atlas region they lie in or within 5 mm of. Effect sizes
# stand beside every p: *g* is the mean change in standard deviations of change, *percent* the
# change relative to the volume before treatment. At selected peaks both are biased away from zero.

# %%
parcels = atlas.load_atlas(trial.atlas)
clusters = {c: vbm.cluster_table(t, effects[c], mask, affine, parcels) for c, t in tests.items()}
for contrast, table in clusters.items():
    display(
        Markdown(f"**{vbm.CONTRASTS[contrast]}**: {len(table)} peaks; the ten with the smallest p")
    )
    best = table.sort_values(["p_fwe_t", "p_fwe_cluster"]).head(10)
    display(report.table(best.drop(columns="volume_mm3")))

# %% [markdown]
# A cluster can run through many regions. This table counts where the voxels are that survive by
# themselves, for the difference between the arms.

# %%
region_tables = {
    c: vbm.region_table(t, effects[c], mask, affine, parcels) for c, t in tests.items()
}
report.table(region_tables["arm_by_time"].head(15))

# %% [markdown]
# ## A brain to click through
#
# The change between the arms, in percent, where a voxel survives by itself (family-wise p < .05 of
# its t); where none does, every voxel is shown, and the title says so. Click into a slice to move the
# other two there: the coordinates are MNI, and the value at the cross stands at the top left. The
# pages for each contrast, in `vbm/views`, open in any browser, without a network.

# %%
brains = {
    contrast: figures.effect_view(
        vbm.to_image(effects[contrast]["percent"], mask, affine),
        vbm.to_image(test.p["max_t"], mask, affine, outside=1.0),
        figures.marked(figures.contrast_title(contrast, names), trial, quick),
    )
    for contrast, test in tests.items()
}
brains["arm_by_time"]

# %% [markdown]
# ## Regions, and clinical change
#
# Volume change by atlas region, from the maps before smoothing, grey-matter regions only. The
# regions shown are named in the study file, before anybody looked at a map, so that no effect selects
# its own region.

# %%
regions = vbm.check_regions(regions or trial.regions, parcels)
change = vbm.regional_change(scanned, parcels)
rows = vbm.change_rows(change, scanned)
region_means = vbm.region_means(rows)
fig, axes = figures.figure(height=2.8)
figures.plot_region_change(axes[0, 0], rows, region_means, regions, names)
figures.mark(fig, trial, quick)
print(f"(n_participants, n_regions) = {change.shape}")

# %% [markdown]
# Do patients whose regions change more improve more? Arm means are removed from both sides first:
# otherwise any two things that treatment changes would correlate. With a few dozen
# patients the interval is wide: read it before the p.

# %%
scale = trial.primary_scale
scores = read_scale(trial, scale, participants)
improvement = improvement(trial, scores, trial.imaging.sessions.post).reindex(
    scanned["participant_id"]
)
coupling = vbm.region_coupling(change[regions], improvement, scanned["arm"])
display(report.table(coupling))
print(
    f"improvement: {scale.name} at {trial.baseline} - at {trial.imaging.sessions.post}; "
    "r > 0: more volume goes with more improvement"
)

# %% [markdown]
# The same question in every voxel: where does change go with improvement, within arms? The arm is in
# the model, and participants are exchanged within their arm.

# %%
coupled, coupled_effects = vbm.improvement_test(
    change_maps, mask, improvement, scanned["arm"], covariates, blocks, **options
)
region_tables["improvement"] = vbm.region_table(coupled, coupled_effects, mask, affine, parcels)
known = improvement.notna().to_numpy()
n_arms = scanned["arm"][known].value_counts()[["active", "control"]]
coupled_row = vbm.contrast_summary("improvement", coupled, *n_arms)
summary = pd.concat([summary, pd.DataFrame([coupled_row])], ignore_index=True)
display(report.table(summary.tail(1)), report.table(region_tables["improvement"].head(8)))

# %% [markdown]
# ## Against the truth
#
# Only a simulated study knows it. *True* voxels are those where the planted change, smoothed as the
# maps are, is at least 1 %; *false* ones those where it is below 0.25 %. `active_change` and
# `arm_by_time` should find the first and spare the second; in `control_change` nothing was planted,
# so that whatever is found there is one of the false alarms that a family-wise p of .05 allows in
# one contrast of twenty.

# %%
truth = vbm.planted_change(trial, fwhm_mm)
if truth is None:
    print("The truth of this study is not known.")
else:
    recoveries = [vbm.recovery(c, t, truth.get_fdata()[mask]) for c, t in tests.items()]
    display(report.table(pd.DataFrame(recoveries)))

# %% [markdown]
# ## What we found: grey matter

# %%
sentences = [
    report.vbm_sentence(row, region_tables[row["contrast"]], names) for _, row in summary.iterrows()
]
display(Markdown(report.notice(trial, quick)), Markdown("\n\n".join(sentences)))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` describes its columns.

# %%
files = {
    "mask.nii.gz": vbm.to_image(np.ones(mask.sum()), mask, affine),
    "summary.tsv": summary,
    "quality.tsv": quality,
    "parcel_change.tsv": rows,
    "region_means.tsv": region_means,
    "region_clinical.tsv": coupling.assign(scale=scale.name),
    "settings.json": {
        "fwhm_mm": fwhm_mm,
        "tiv": tiv,
        "smoothness_mm": list(smoothness),
        "mask_threshold": mask_threshold,
        "cluster_p": cluster_p,
        "tail": tail,
        "n_permutations": n_draws,
        "seed": seed,
        "quick": quick,
        "regions": regions,
    },
}
for contrast, test in tests.items():
    files |= vbm.result_images(contrast, test, effects[contrast], mask, affine)
    files[f"{contrast}_clusters.tsv"] = clusters[contrast]
    files[f"{contrast}_regions.tsv"] = region_tables[contrast]
files |= vbm.result_images("improvement", coupled, coupled_effects, mask, affine)
files["improvement_regions.tsv"] = region_tables["improvement"]
written = results.write(trial.derived / "vbm", files)
written += results.write(trial.derived / "vbm" / "views", figures.files(brains))
results.write_numbers(trial, "vbm", vbm.vbm_numbers(summary))
print(*(path.relative_to(trial.derived) for path in written if path.suffix != ".json"), sep="\n")
pipeline.what_moved(trial, "vbm")
