# %% [markdown]
# # 03 · Receptor correlation
#
# [What we found](#What-we-found:-receptors) stands at the end.
#
# **Does the map of grey-matter change follow the spatial distribution of a neurotransmitter receptor
# or transporter?** The paper behind this compendium reported that it follows the dopamine D1 receptor. The change of
# each region (notebook 02) is compared with the average density of each receptor, from PET or SPECT, in
# healthy people. Two smooth maps easily correlate by accident, so the question is what a correlation is
# compared with: this notebook asks two different questions and keeps them apart.
#
# **Contents.** [The receptor maps](#The-receptor-maps) · [The effect map](#The-effect-map) ·
# [Correlation: two questions](#Correlation:-two-questions) ·
# [The leading receptor](#The-leading-receptor) ·
# [All receptors together](#All-receptors-together) · [Each patient](#Each-patient) ·
# [What we found: receptors](#What-we-found:-receptors)
#
# **To run it:** notebook 02 first, once; then *Run > Run All Cells* in the menu. About half a minute.
#
# **Change this first,** in the next cell, and run all again: `statistic = "pearson"`, which JuSpace
# computes: a handful of regions decides. Then `structure = "cortex"`, which does everything, dominance and
# each patient included, without the striatum. Then `study`.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few permutations; do not quote its p-values
statistic: str = "gaussianised"  # correlation; one of: gaussianised, spearman, pearson
background: str = "drop"  # voxels outside a receptor map's field; one of: drop, keep
tracers: str = "valid"  # regions of a map; valid: where its tracer holds; one of: valid, all
structure: str = "all"  # regions of grey matter; one of: all, cortex, subcortex, cerebellum
null: str = "moran"  # surrogates of the effect map; one of: moran, variogram
distances: str = "centroid"  # between regions; voxels: mean of theirs; one of: centroid, voxels
n_permutations: int = 5000  # sign flips for the test of slopes; from 99 to 1000000
n_surrogates: int = 5000  # smooth surrogates of the effect map; from 99 to 1000000
n_bootstrap: int = 2000  # resamples of patients for the intervals of r; from 99 to 1000000
quick_permutations: int = 200  # instead of the three above when quick; at least 20
seed: int = 0  # of permutations, surrogates and bootstrap; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# Regional changes come from notebook 02, receptor maps from the cache or from files of the study.

# %%
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, receptors, report, results
from analysis_lib.study import open_study

# %%
trial = open_study("03_receptor_correlation", globals())
found = results.begin(trial, "receptors", quick)
inputs = receptors.read_inputs(trial, structure, background, tracers)
display(Markdown(report.notice(trial, quick)), Markdown(report.receptor_notice(inputs.about)))
print(inputs.described)

# %% [markdown]
# Every participant has a percent change in each region, and every receptor map a density. The
# settings of this run are kept first.

# %%
draws = {"permutations": n_permutations, "surrogates": n_surrogates, "bootstrap": n_bootstrap}
draws = dict.fromkeys(draws, quick_permutations) if quick else draws
choices = {"statistic": statistic, "null": null, "distances": distances}
settings = choices | {"background": background, "structure": structure, "tracers": tracers}
settings |= draws | {"seed": seed, "quick": quick, "densities": inputs.densities}
found.keep(settings=settings)

# %% [markdown]
# ## The receptor maps
#
# Each is an average PET (of FP-CIT: SPECT) image in MNI space. A region's density is the mean over the
# voxels where the map has values; the background value, which fills the map outside its field of view,
# is found in the data, since it is not always zero. Only grey-matter regions are used. A region of
# which a map covers less than a tenth is left out for that map and listed below the table.
#
# A tracer need not measure its receptor everywhere. Raclopride and FP-CIT do so in the striatum alone; in
# a reference region, the cerebellum or the occipital cortex, binding is zero by definition; and the authors
# of five serotonin maps recommend these volumes below the cortex only. Such regions are left out of that
# map, with the source listed below. A map that keeps fewer than half of the regions is left out as a
# whole, because few regions correlate closely by chance and would set the scale of every family-wise p.
# `tracers = "all"` uses all maps in all regions. The table gives the number and age of the
# people: a map of six people is noisy, and one of people aged 61 need not describe the patients.

# %%
display(report.table(inputs.map_table(), trial, index=True))
print(inputs.map_notes())

# %% [markdown]
# Maps of few people are noisy, and noise can hide a correlation that is there.
#
# ## The effect map
#
# Percent change of each region: the difference between the arms, adjusted for the study's covariates,
# and the plain mean within each arm.

# %%
effects = inputs.effect_maps().sort_values(trial.main, ascending=False)
display(
    report.table(effects.head(8), trial, index=True),
    report.table(effects.tail(4), trial, index=True),
)

# %% [markdown]
# The tables show both ends of the ranking by the difference between the arms; the question below is
# whether that ranking resembles the ranking of a receptor.
#
# ## Correlation: two questions
#
# *r* is Pearson's correlation after both maps are turned into normal scores by rank: receptor maps
# are so uneven (the striatum holds ten times the D1 of the cortex) that a handful of regions would
# decide a plain r. It says how closely a map of change follows a receptor. Each patient also has a
# **slope**: percent change per standard deviation of receptor density. Two questions are asked, and
# all tests are two-sided.
#
# | p | the question | how |
# |---|---|---|
# | p, no treatment effect (`p_randomisation`) | does **treatment** change grey matter along this receptor? | the arm effect on patients' slopes, with the covariates in the model; signs of residuals are flipped and the standard error allows for arms of unequal variance (HC2). Within an arm: is the mean slope 0? |
# | p, equally smooth maps (`p_spatial`) | is this **receptor** special, or would any map as smooth correlate as closely? | surrogates of the effect map with its spatial autocorrelation (Moran spectral randomisation, or variogram matching) |
# | the same, anatomy held constant (`p_spatial_anatomy`) | is it special beyond what head anatomy explains? | partial r, with the surrogates treated alike |
# | p, regions as if independent (`p_parametric`) | none | shown because papers report it; wrong for smooth maps |
#
# The first test is about the slope and not about r because r has no scale: where treatment did
# something, every relabelled map still holds some of it, and |r| of such maps is large, too. A test of
# |r| therefore has almost no power (appendix S4 shows it). Fisher's z of each patient's own r is
# listed but not tested: noise pulls it towards 0, so that arms of unequal noise differ in z where
# their slopes are the same (`benchmarks/randomisation.tsv`).
#
# Real change and receptor maps are alike on both sides of the brain. Surrogates must be so, too, or
# the second p is too small; where the atlas has homologous regions, distances are therefore mirrored.

# %%
assessed = receptors.assess_contrasts(inputs, draws, seed, **choices)
print(inputs.symmetry_note(distances))

# %% [markdown]
# Surrogates are made once for each contrast and serve all tests below.
#
# ### Effect and anatomy
#
# Errors of segmentation and registration follow the anatomy of the head: they grow near the ventricles
# and near the brain's edge, in small regions and where grey matter is thin. Before any receptor is
# named, the effect map is compared with those four properties of each region. Where notebook 00 made the
# maps, two more measures stand beside them: what registration from one visit to the other and back does not
# undo, and the change in local sharpness, which movement lowers. From both the same contrast is made as from
# change. Maps from other programs come without them, and their rows are empty.

# %%
anatomy = receptors.anatomy_rows(inputs, assessed)
found.keep(anatomy=anatomy)
mine = anatomy[anatomy["contrast"] == trial.main].drop(columns="contrast")
display(report.table(mine, trial, "anatomy"), figures.panel(found, "anatomy"))

# %% [markdown]
# A large r here has two readings: an artefact, or a treatment effect in regions that have that
# anatomy. The striatum lies beside the ventricles, and is rich in dopamine receptors. The data cannot
# separate the two; the partial correlation below shows what is left of a receptor beyond anatomy, and
# losing it is not evidence of an artefact.
#
# ### Every receptor map
#
# Family-wise p-values are adjusted for all receptor maps by the largest |t| (slopes) or |r| of any map.
# The false discovery rate q is computed from the first p. The interval of r comes from resampled
# patients and describes the correlation to expect *at this sample size and noise*. It is not a test.

# %%
correlations = receptors.correlation_table(assessed.values(), inputs.about)
found.keep(correlations=correlations, nulls=receptors.null_draws(assessed))
shown = correlations[correlations["contrast"] == trial.main]
shown = shown.drop(columns=["contrast", "tracer", "n_subjects_map", "statistic"])
file = "correlations" if trial.arms else "correlations_mean"
report.table(shown.sort_values("r", key=abs, ascending=False), trial, file)

# %% [markdown]
# The spatial p-values are not exact. This is how often they are at most .05 for simulated maps that nothing
# links to any receptor; the maps marked are those most like this study's (on this study's own design: `appendix/S1_calibration`).

# %%
main = assessed[trial.main]
rates = inputs.spatial_rates(main.effect, null)
found.keep(spatial_rates=rates)
report.table(rates, trial)

# %% [markdown]
# Where a rate exceeds .05, that p is too small: one just below .05 then says little.
#
# The maps with the largest |r| come first in the table of correlations. A small first p with large others
# means that treatment acts along this receptor, but that many other maps as smooth would follow it as
# closely. Since receptor maps resemble each other, a true link with one makes the slopes on many differ. The figures show the same
# for the difference between the arms and for the change within the active arm.

# %%
shown = dict.fromkeys([trial.main, trial.contrasts[0]])
display(*(figures.panel(found, "correlations", contrast=contrast) for contrast in shown))

# %% [markdown]
# A dot or diamond outside its band is rarer than 5 % among equally smooth maps, for this map alone.
#
# ### Cortex and subcortex
#
# The striatum differs so much from the cortex, in receptors and in anatomy, that a correlation over all
# regions can rest on that one contrast. The same tests are therefore made in the cortex and in the
# subcortex alone, each with its own surrogates and anatomy, and with every map whose tracer holds in
# half of the regions *there*, which can be other maps than above. A tracer that measures its receptor in
# the striatum alone (raclopride, FP-CIT) has too few regions in either; `tracers = "all"` shows such maps.

# %%
structures = receptors.by_structure(inputs, assessed, draws, seed, structure, **choices)
found.keep(structure_correlations=structures)
figures.panel(found, "structures")

# %% [markdown]
# With few regions in the subcortex only a large r is significant. A receptor that leads in all regions and
# in neither part owes its r to the difference between the two.
#
# ## The leading receptor
#
# The map with the largest |r| is compared with surrogates. A surrogate keeps the size of each spatial
# component of the effect map and draws its sign: where one broad component dominates, two humps arise.

# %%
found.keep(scatter=inputs.scatter_table(main.leading))
display(figures.panel(found, "nulls"), figures.panel(found, "scatter"))

# %% [markdown]
# The wider a histogram, the less a given r means. The scatter plot shows whether many regions carry the
# correlation or few do.
#
# ### Is it this receptor?
#
# No p above compares receptors with each other. Here the patients are resampled, and in each resample
# the leading map's |r| is set against that of every map of another receptor.

# %%
rivals = receptors.rivals(inputs, assessed)
found.keep(rivals=rivals)
closest = rivals[rivals["contrast"] == trial.main].drop(columns=["contrast", "receptor"])
report.table(closest.drop(columns=["annotation", "r"]).head(6), trial, "rivals")

# %% [markdown]
# The closest rivals come first. Where the interval holds 0, or the leading map is ahead in fewer than
# nineteen of twenty resamples, the data do not say which of the two receptors it is.
#
# ### Both maps in one brain
#
# A ball is a region: its colour is the change, its size the density of the leading receptor. Drag to
# turn the brain, point at a ball for its name and numbers.

# %%
brains = figures.receptor_views(found, inputs.parcels)
brains["regions"]

# %% [markdown]
# Where the change follows the receptor, the largest balls have the strongest colours. The same two maps
# follow as slices to click through, opened at the region with the largest change.

# %%
display(brains["change"], brains["receptor"])

# %% [markdown]
# Each region has one value, so the borders come from the atlas.
#
# ### What else could explain it?
#
# *Noise.* The effect map is an average over few patients, and its noise pulls every r towards 0. Its
# reliability is estimated by the bootstrap. The noise-free r is the one expected with unlimited
# patients; its interval is rightly wide where the reliability is low (its coverage was measured:
# `benchmarks/intervals.tsv`). The smallest significant |r| is the one that a single map would have
# needed here for a p of .05 among equally smooth maps.
#
# *One region.* The last columns leave out the most influential region.

# %%
sensitivity = receptors.sensitivity(inputs, assessed)
found.keep(sensitivity=sensitivity)
mine = sensitivity[sensitivity["contrast"] == trial.main].drop(columns="contrast")
best = mine.sort_values("r", key=abs, ascending=False).head(6)
display(report.table(best, trial), figures.panel(found, "influence"))

# %% [markdown]
# The closer the two marks of a map, the less its correlation depends on a single region.
#
# ## All receptors together
#
# Receptor maps resemble each other, so that one can borrow another's correlation. Several tracers of
# one receptor are first combined into one map (each map in standard units, averaged with weights
# proportional to the number of people; the weights are in `combined.tsv`). Two questions follow. What
# is left of each receptor's correlation when all others are held constant? And how much of the
# explained variance does each account for (*dominance*)? Dominance is the gain in R² when a receptor is
# added, averaged over all models of the others (all subsets, exactly; Hansen et al. 2022); the parts
# add up to the full model's adjusted R². All of it is computed on the same scores as r. The p of a
# receptor beside the others is that of patients' slopes in one regression on all receptors, or of
# smooth surrogates; that of dominance comes from smooth surrogates and is one-sided. Predicting regions
# far from those that the model was fitted to shows whether the fit generalises.

# %%
options = {"null": null, "distances": distances, "seed": seed}
joint = receptors.joint_model(inputs, main, draws, **options)
found.keep(**joint.tables)
print(joint.described)
display(report.table(joint.shown, trial, "dominance"), figures.panel(found, "dominance"))

# %% [markdown]
# A receptor that leads alone but keeps little of its r beside the others shares its pattern with them.
#
# ## Each patient
#
# The slopes of the first test, participant by participant, for the leading receptor.

# %%
coupling = receptors.patients(inputs, main, draws["permutations"], seed)
found.keep(**coupling.tables)
found.note("Slopes and improvement", coupling.unanswered)
figures.panel(found, "slopes")

# %% [markdown]
# Where arms differ in spread as well as in mean, some patients respond more than others. The table has
# the difference for the maps with the largest |t|. The largest t does not belong to the closest
# receptor: it says that a difference is known precisely, and a map that averages over much noise gives
# a precise slope.

# %%
report.table(coupling.shown, trial)

# %% [markdown]
# Do patients with a steeper slope improve more, within their arm? The figures show the partial
# correlation on each scale, covariates held constant; p by exchanging patients within arms.

# %%
display(*(figures.panel(found, "improvement", scale=scale) for scale in coupling.scales))

# %% [markdown]
# r > 0 means that patients whose change follows the receptor more steeply improved more.
#
# ## What we found: receptors

# %%
display(Markdown(report.receptor_notice(inputs.about)), Markdown(report.findings(found)))

# %% [markdown]
# A correlation between maps does not establish a mechanism. The receptor maps come from other, healthy
# people; their own noise is in none of the intervals; the regions are not independent; and several
# maps correlate with each other, so that the leading one need not be the one that matters. Results of a
# simulated study show only that the analysis finds what was planted.
#
# The appendix goes on: `S1_calibration` (how far each p can be trusted), `S3_power` (what a trial of
# this size can find) and `S4_juspace` (what JuSpace would have said).
#
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
tables = {"correlations": correlations, "sensitivity": sensitivity, "rivals": rivals}
tables |= joint.tables | coupling.tables
found.publish(receptors.receptor_numbers(tables), figures.files(brains))
pipeline.what_moved(trial, "receptors")
