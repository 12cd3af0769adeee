# %% [markdown]
# # 02 · Voxel-based morphometry
#
# [What we found](#What-we-found:-grey-matter) stands at the end.
#
# **Does grey-matter volume change from before to after treatment, and differently by arm?**
# Voxel-based morphometry (VBM) compares maps of local grey-matter volume, voxel by voxel. The maps
# are *modulated*: each voxel holds the volume that the participant has at that place of the standard
# (MNI) brain.
#
# **Contents.** [Quality control](#Quality-control) ·
# [What the tests assume](#What-the-tests-assume) · [Contrasts](#Contrasts) ·
# [Clusters](#Clusters) · [A brain to click through](#A-brain-to-click-through) ·
# [Regions, and clinical change](#Regions,-and-clinical-change) ·
# [Against the truth](#Against-the-truth) · [What we found: grey matter](#What-we-found:-grey-matter)
#
# **To run it:** *Run > Run All Cells* in the menu. About two minutes on two cores; a quarter of a
# minute with `quick=True`.
#
# **Change this first,** in the next cell, and run all again: `fwhm_mm = 4.0` halves the
# smoothing. Smoothing sets the spatial scale to which the analysis is most sensitive: with less of it
# the maps show finer detail and more noise. Then `study`: the name of a file in `data/studies`, or
# the path of your own study file.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few permutations; do not quote its p-values
fwhm_mm: float = 8.0  # mm, full width at half maximum of the smoothing kernel; from 0 to 30
mask_threshold: float = 0.2  # least mean smoothed density; at least 0 and below 1
tiv: str = "none"  # adjustment for head size; one of: none, covariate, proportional
errors: str = "unequal"  # variances of the two arms; one of: unequal, equal
errors_within: str = "skewed"  # distribution within an arm; one of: skewed, symmetric
cluster_p: float = 0.001  # two-sided p that forms clusters; above 0 and below 1
n_permutations: int = 5000  # of each contrast; all distinct ones if fewer; from 99 to 1000000
quick_permutations: int = 200  # used instead when quick; at least 20
tail: str = "counts"  # small p-values; gpd: fitted Pareto tail; one of: counts, gpd
seed: int = 0  # of the permutations; at least 0
n_jobs: int = 2  # workers; the numbers do not depend on it; from 1 to 256
regions: list = []  # atlas regions to show in detail; empty: those of the study file
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# The study file says where the maps are and which two sessions are compared.

# %%
from IPython.display import Markdown, display

from analysis_lib import atlas, figures, pipeline, report, results, vbm
from analysis_lib.study import improvement_at_scan, open_study

# %%
trial = open_study("02_vbm", globals())
found = results.begin(trial, "vbm", quick)
Markdown(report.notice(trial, quick))

# %% [markdown]
# All maps must lie on one grid and hold finite values, and each participant needs one map before and
# one after treatment. Participants who withdrew before the second scan are listed and excluded here,
# but remain in the clinical analysis (01); for anyone else a single map is an error.

# %%
scans = vbm.read_scans(trial)
print(scans.counted)
report.table(scans.left_out, trial)

# %% [markdown]
# The table lists everyone who is not analysed below, with the reason.
#
# ## Smoothing and mask
#
# A Gaussian kernel trades spatial detail for sensitivity, makes errors more nearly normal and smooths
# over small registration errors; 8 mm is customary. Only voxels with enough grey matter on average
# are analysed: elsewhere a percent change would be a ratio of two small numbers. Head size (total
# intracranial volume, TIV) is the same before and after treatment and hardly affects a change; `tiv`
# offers the customary adjustments, with TIV from participants.tsv or from the segmentation program.

# %%
maps = vbm.smooth(scans, fwhm_mm, mask_threshold, tiv)
print(maps.described)

# %% [markdown]
# The residuals, what arm and covariates leave of the difference maps, are smoother than the kernel
# alone would make them, because the images themselves are smooth. Resels are the mask's volume in
# units of that smoothness, roughly the number of independent places. The regions to be shown in
# detail are checked now, before any result is seen, and the settings are kept.

# %%
parcels = atlas.load_atlas(trial.atlas)
regions = vbm.check_regions(regions or trial.regions, parcels)
n_draws = quick_permutations if quick else n_permutations
options = {"n_permutations": n_draws, "seed": seed, "cluster_p": cluster_p, "tail": tail}
workers = {"n_jobs": n_jobs, "run": trial.place.run}
assumed = {"errors": errors, "errors_within": errors_within}
settings = {"fwhm_mm": fwhm_mm, "mask_threshold": mask_threshold, "tiv": tiv, "quick": quick}
settings |= {"smoothness_mm": maps.smoothness_mm, "resels": maps.smoothness.resels}
settings |= {"regions": regions} | assumed | options
found.keep(mask=maps.image(1), mean=maps.mean(), settings=settings)

# %% [markdown]
# ## Quality control
#
# A map unlike the others points to a failed segmentation or registration. Each map is scored by its
# mean correlation with all other maps of its session, in robust standard deviations below the
# median. This notebook excludes nobody: excluding a participant is a decision, to be made in the
# study file (`exclude`) and counted in the flow of participants.

# %%
found.keep(quality=maps.quality())
display(figures.panel(found, "homogeneity"), figures.panel(found, "volumes"))

# %% [markdown]
# In the first figure, maps above the dashed line deserve a look; in the second, the dashed line marks no
# change. Next, the mean map and the mask, and the four maps that resemble the others least.

# %%
figures.panel(found, "mosaic")

# %% [markdown]
# A good map shows a thin, continuous cortical ribbon and the deep nuclei at the same places as the
# mean. Blurred edges, missing lobes or a shifted outline are reasons to look at the image itself.
#
# ## What the tests assume
#
# Patients respond differently, so an effective treatment makes change vary more in the active arm.
# Tests that assume equal variances then err: with the larger arm the less variable one they reject
# far too often, and the other way round hardly ever. Tests within an arm assume that change is
# symmetric about its mean. Both are looked at before any result, on residuals of the model, which
# hold no effect.

# %%
found.keep(**vbm.diagnose(maps, parcels, **assumed))
display(figures.panel(found, "variance_ratio"), figures.panel(found, "skewness"))

# %% [markdown]
# With equal variances and normal data, about one voxel in twenty would lie outside each pair of
# limits. The table gives quartiles, by voxel and by region; the last column is that share.

# %%
display(report.table(found.table("diagnostics"), trial))
if trial.arms:
    display(report.table(found.table("design"), trial, "design"))

# %% [markdown]
# The second table shows how closely each covariate is tied to the arm. Inflation is the factor by
# which the covariates raise the variance of the estimated difference between arms (row *arm*); 1 means
# not at all. Designs with a factor of 5 or more are refused.
#
# How much does it matter? The chosen tests were tried on simulated trials without any change. For each
# contrast the next table names the simulated design that is most like this trial in size, spread and
# skewness, and how often it gave a family-wise p below .05. A rate well above 5 % is to be read beside
# the p-values below.

# %%
report.table(found.table("null_rates"), trial, "null_rates")

# %% [markdown]
# ## Contrasts
#
# With two visits everything follows from each participant's difference map, post - pre. *Arm by
# time* is exactly the two-sample comparison of these maps; within an arm the mean difference is
# tested against zero. A change within an arm is not evidence of a treatment effect: it also contains
# time, scanner drift and regression to the mean.
#
# **Two questions, two tests.** `errors = "unequal"`, the default, asks whether the *mean* change is
# the same in both arms, whatever their variances: residuals of the model without the arm change signs
# at random, and t has a standard error that allows for unequal variances (the wild bootstrap with HC2;
# Davidson & Flachaire 2008; Guillaume et al. 2014). `errors = "equal"` asks whether treatment did
# *nothing at all*, to mean or spread: arm labels are permuted (within strata, where the trial has
# them) on residuals of the covariates (Freedman & Lane 1983; Winkler et al. 2014). The first holds
# approximately, the second exactly, but only for its own question. Covariates and strata are in the
# model in both.
#
# Within an arm, participants' signs are flipped. Flips of t alone (`errors_within = "symmetric"`)
# assume errors symmetric about zero: with 18 participants and a skewness of 1 they reject a true null
# in about one trial of five. `"skewed"`, the default, first removes from t most of what skewness puts
# there (Hall 1992); p-values and clusters come from what is left, while maps and tables show
# Student's t. With symmetric errors this costs little power (`benchmarks/calibration.tsv`).
#
# **Family-wise error.** Tens of thousands of voxels are tested. Each permutation keeps its largest
# statistic, and p is the share of permutations that reach the observed one, (1 + count) / (1 + n), so
# that the chance of *any* false voxel or cluster is at most 5 % at p < .05. Four statistics come
# from the same permutations: the voxel's t, the extent and the mass of its cluster, and threshold-free
# cluster enhancement (TFCE), which rewards height and extent together without a cluster-forming
# threshold (Smith & Nichols 2009). A significant cluster contains a change somewhere; it does not mean
# that each of its voxels changed.
#
# All tests are two-sided. The p-values are not adjusted for having several contrasts and four
# statistics: choose one of each before looking. Here the maximum of t for the difference between the
# arms was chosen.

# %%
tests = vbm.assess_contrasts(maps, **workers, **assumed, **options)
files = vbm.result_files(trial, tests, maps, parcels)
found.keep(**files)
report.table(found.table("summary"), trial)

# %% [markdown]
# For each contrast, the table counts the voxels with a family-wise p below .05 and gives the smallest
# p. The maps show t in every voxel, fainter where it is smaller; voxels that survive are outlined.

# %%
display(*(figures.panel(found, "slices", contrast=contrast) for contrast in trial.contrasts))
figures.panel(found, "surface")

# %% [markdown]
# Most voxels are not outlined. That means they did not reach the threshold, not that nothing changed
# there.
#
# ## Clusters
#
# Peaks are at least 8 mm apart. Each is named after the atlas region that contains it, or the nearest
# one within 5 mm. Hedges g is the mean change in standard deviations of change; the change in percent
# is relative to the volume before treatment. Both belong to the peak voxel and are biased away from
# zero, because the peaks were selected for their height.

# %%
for contrast in trial.contrasts:
    peaks = found.table(f"{contrast}_clusters").drop(columns="volume_mm3")
    best = peaks.sort_values("t", key=abs, ascending=False, kind="stable").head(10)
    title = trial.titled(contrast)
    display(report.table(best, trial, title=f"{title}: {len(peaks)} peaks, at most ten shown"))

# %% [markdown]
# The highest peaks come first; letters mark further peaks of one cluster. A cluster can extend through
# many regions, or most of the mask, and then says little about location. The next table therefore
# counts surviving voxels by region, for the difference between the arms.

# %%
report.table(found.table(f"{trial.main}_regions").head(15), trial, "regions")

# %% [markdown]
# Changes in this table are means over the whole region, with 95 % confidence intervals, so they are
# smaller than those at the peaks; t is that of the region's highest voxel. Voxels outside every region
# of the atlas are not counted, so that a peak can have a larger t than its region here.
#
# **How much of it changed?** A significant cluster or region holds at least one voxel that changed,
# which for a large one is next to nothing. The column *Changed, at least* says more: at least this share of its
# voxels changed, with 95 % confidence for all clusters, regions and any other set at once (Rosenblatt et
# al. 2018; Andreella et al. 2023). The bounds come from the same draws as the p-values. The study file
# can name sets of regions beforehand (`region_sets`) and the change that counts as none
# (`equivalence`); what it names is tabled here.

# %%
for name in (name for name in ("region_sets", "equivalence") if name in files):
    display(report.table(found.table(name).head(15), trial))

# %% [markdown]
# A set's row is to be read beside the row of all other regions: where both have high bounds, change is
# not confined to the set. Its *p* allows for every other set that could have been named. Two one-sided
# tests show that change is smaller than the declared bound; their absence shows nothing.
#
# ## A brain to click through
#
# The difference in change between the arms, in percent, where a voxel survives on its own
# (family-wise p < .05 of its t); where none does, every voxel is shown, and the title says so. Click
# on a slice to move the other two there.

# %%
brains = figures.effect_views(found)
brains[trial.main]

# %% [markdown]
# Coordinates are MNI; the value at the cross is shown at the top left. The pages of all contrasts, in
# `vbm/views`, open in any browser, without a network.
#
# ## Regions, and clinical change
#
# Volume change by atlas region, from the maps before smoothing, grey-matter regions only. The
# regions shown were named in the study file before any map was seen, so that no effect selects its
# own region. Notebook 03 uses these changes, which differ a little from the means of smoothed maps above.

# %%
by_region = vbm.regional_tables(scans, parcels)
found.keep(**by_region)
figures.panel(found, "regions")

# %% [markdown]
# Each point is a participant; diamonds and bars are means with 95 % confidence intervals.
#
# Do patients whose regions change more improve more? Arm means are removed from both sides first:
# otherwise any two outcomes affected by treatment would correlate. Improvement is the fall of the
# primary scale from baseline to the second scan.

# %%
improvement = improvement_at_scan(trial, maps.people["participant_id"])
coupling = vbm.coupling_table(by_region["parcel_change"], regions, improvement)
found.keep(region_clinical=coupling.assign(scale=trial.primary_scale.name))
report.table(coupling, trial)

# %% [markdown]
# A positive r means that more volume goes with more improvement. With a few dozen patients the
# intervals are wide: read them before the p-values.
#
# The same question in every voxel: where does change go with improvement, within arms? The arm is in
# the model, and participants are exchanged within their arm.

# %%
with found.part("Change and improvement"):
    tests["improvement"] = vbm.assess_improvement(maps, improvement, errors, **workers, **options)
    found.keep(**vbm.result_files(trial, tests, maps, parcels))
    display(report.table(found.table("summary").tail(1), trial))
    display(report.table(found.table("improvement_regions").head(8), trial, "regions"))

# %% [markdown]
# The first table counts surviving voxels over the whole brain; the second gives the mean r of the
# regions with the most of them.
#
# ## Against the truth
#
# The truth is known only for a simulated study. There, a voxel counts as having a planted change where
# that change, smoothed like the maps, is at least 1 %, and a significant voxel is false where it is
# below 0.25 %. The active arm's change and the difference between the arms should find the first and
# spare the second. Nothing is planted in the other arm: any significant voxel there is a false alarm,
# of the kind that a family-wise p of .05 allows in one of twenty contrasts.

# %%
recovered = vbm.recovery_table(trial, tests, maps, fwhm_mm)
if recovered is None:
    print("The truth of this study is not known.")
else:
    display(report.table(recovered, trial))

# %% [markdown]
# The share of the voxels with a planted change that were found shows how sensitive the test was; the
# false discovery proportion is the share of the significant voxels that are false.
#
# ## What we found: grey matter

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish(vbm.vbm_numbers(found.table("summary")), figures.files(brains))
pipeline.what_moved(trial, "vbm")
