# %% [markdown]
# # S3 · Power
#
# [What we found](#What-we-found:-power) stands at the end.
#
# **What can a trial of this size see, and what would it take to see more?** A trial that is too small
# misses real effects, and what it does find is exaggerated: only estimates that happen to be large become
# significant. This notebook simulates trials like this one, of several sizes, and counts.
#
# **Contents.** [The clinical contrast](#The-clinical-contrast) · [The voxel test](#The-voxel-test) ·
# [The receptor test](#The-receptor-test) · [What this trial can see](#What-this-trial-can-see) ·
# [Exaggeration](#Exaggeration) · [What we found: power](#What-we-found:-power)
#
# **To run it:** *Run > Run All Cells* in the menu, after notebooks 02 and 03 where there are images.
# About a minute with `quick=True`, some minutes without; each section says what is left once its first
# block of trials is done. Smoothing, mask, statistic and regions are those that 02 and 03 were run with.
#
# **Change this first:** `multiples`, for trials of other sizes. [docs/power.md](../../docs/power.md) has the
# results for the demo and for a real trial.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few simulated trials
n_power_trials: int = 500  # simulated trials of each size; from 10 to 100000
multiples: list = [0.5, 1, 2, 4, 8]  # sizes of trials, this one being 1; each from 0.25 to 64
quick_trials: int = 40  # simulated trials of each size when quick; at least 10
seed: int = 0  # of the simulated trials; at least 0
n_jobs: int = 2  # workers; the numbers do not depend on it; from 1 to 256
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, report, results, robustness
from analysis_lib.study import open_study

# %%
trial = open_study("S3_power", globals())
found = results.begin(trial, "power", quick)
n_trials, curves = quick_trials if quick else n_power_trials, []
options = {"n_trials": n_trials, "multiples": multiples, "seed": seed, "n_jobs": n_jobs}
found.keep(settings={"power_trials": n_trials, "seed": seed, "quick": quick})
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## The clinical contrast
#
# Participants are drawn with replacement from this trial, within their arms: each brings a baseline, the
# factors of the model, and the visits at which they were rated. Outcomes are drawn from the covariance
# that the primary model found, and the same model is fitted again (MMRM, Kenward-Roger). Adding a true
# difference moves the estimate by exactly that much and leaves its standard error alone, so the same
# fits give the power for every true difference.

# %%
with found.part("The clinical contrast"):
    curves.append(robustness.clinical_power(trial, **options))

# %% [markdown]
# The closed form (Lu, Luo & Chen 2008) beside it uses the same covariance and the same visits rated by
# arm, but a normal distribution. In small trials it promises slightly too much.
#
# ## The voxel test
#
# Residuals of this trial's difference maps, at the smoothing and resolution of notebook 02, are drawn
# with replacement within arms and with random signs. A change of a given size, in standard deviations
# (SD) of change within arms, is added in one voxel or throughout a sphere, at random places in the mask.
# It counts as found where t of at least one of its voxels exceeds the family-wise threshold: the value
# that the largest |t| in the mask exceeds in 5 % of such trials without any change.

# %%
with found.part("Grey matter"):
    curves.append(robustness.voxel_power(trial, **options))

# %% [markdown]
# A voxel named beforehand needs no correction, and a region of interest behaves like one. That
# difference is the price of searching the whole brain.
#
# ## The receptor test
#
# Notebook 03 tests each patient's slope of change on receptor density. Suppose the noise-free map of
# change correlates *r* with the leading receptor: how often would that test give p < .05? The answer
# depends on the *reliability* of the map, the share of its variance that is not noise. The bootstrap of 03
# and random halves of the patients (Spearman-Brown) both estimate it; other values are shown beside
# them. A larger trial keeps the map, and its reliability rises.

# %%
with found.part("The receptor test"):
    curves.append(robustness.receptor_power(trial, **options))

# %% [markdown]
# This holds for one map named beforehand; a search over all maps has less power.
#
# ## What this trial can see
#
# For each question, the smallest true effect that trials of this size find in four of five repetitions.
# The last columns say what happens if the truth is half as large.

# %%
found.keep(**robustness.power_tables(curves, trial.name))
questions = [rows["question"].iloc[0] for rows in curves]
report.table(found.table("seen"), trial, "seen") if curves else None

# %% [markdown]
# Read the first row as: of trials this small, four in five find a true difference of that size. The
# curves rise from the level of the test (.05, or below for one of many voxels). Orange lines are effects
# that other studies found; the table after them has the sources.

# %%
display(*(figures.panel(found, "power", question=name) for name in questions))

# %% [markdown]
# What would it take to find those? Numbers are for 80 % power at this trial's allocation, interpolated
# between the sizes simulated; a dash means more than the largest of them. Effects without a control arm
# include time, and those of small trials are themselves exaggerated. This study's own effect is left out.

# %%
report.table(found.table("needed"), trial, "needed") if curves else None

# %% [markdown]
# ## Exaggeration
#
# Among significant results, how often is the sign wrong (type S), and by how much is the size exaggerated
# (type M; Gelman & Carlin 2014)? In grey matter the estimate is that of the highest voxel, which adds the
# winner's curse: the peak is where noise helped.

# %%
display(*(figures.panel(found, "exaggeration", question=name) for name in questions))

# %% [markdown]
# Where power is low, a significant estimate is far from the truth: too large, or even of the wrong
# sign. Where it is near 1, none of this matters. The dashed line is the closed form (Lu, Qiu & Deng 2019).
#
# ## What we found: power

# %%
Markdown(report.findings(found))

# %% [markdown]
# Power is not computed from this trial's own result, which would only restate its p-value. The reliability
# of its map is its own, however, and would be lower if the true effect were smaller.
#
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish({})
pipeline.what_moved(trial, "power")
