# %% [markdown]
# # S5 · The public trials side by side
#
# [What we found](#What-we-found:-trials) stands at the end.
#
# **What do real trials look like beside the demo?** The same notebooks run on public trials (`data/studies`;
# `data/README.md` has sources and licences). This page puts the results of all that have been run on this
# computer next to those of `study`: symptoms, grey matter, receptors.
#
# **Contents.** [Symptoms](#Symptoms) · [Grey matter](#Grey-matter) · [Receptors](#Receptors) ·
# [What we found: trials](#What-we-found:-trials)
#
# **To run it:** first the trials, for example `python run_all.py --study argyelan_ect` (`make all` runs
# those whose files this repository holds); then *Run > Run All Cells* in the menu. A few seconds.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # without effect: nothing is drawn at random here
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown

from analysis_lib import figures, pipeline, report, results
from analysis_lib.study import open_study

# %%
trial = open_study("S5_trials", globals())
found = results.begin(trial, "trials", quick)
beside = report.side_by_side(trial)
found.keep(**beside, settings={"quick": quick})
{name: table["study"].nunique() for name, table in beside.items()}

# %% [markdown]
# That many trials have results of each kind; those of quick runs are left out. Simulated ones are marked in every row.
#
# ## Symptoms
#
# The primary scale of each trial at its last visit. Where there are two arms it is their difference, an
# effect of treatment; where there is one, the change since baseline, which also holds time, regression to
# the mean and expectation, and is therefore larger. Scales differ, so that the picture is in standard
# deviations.

# %%
figures.panel(found, "trials_symptoms") if "symptoms" in beside else "no trial with scores"

# %% [markdown]
# Compare filled squares with filled ones, and open ones with open ones.
#
# ## Grey matter
#
# Mean change in four structures, by arm, and how much it differs between participants. After
# electroconvulsive therapy grey matter grows in much of the brain, most in hippocampus and amygdala
# (Ousdal et al. 2020, Biol Psychiatry 87:451-461).

# %%
figures.panel(found, "trials_regions") if "regions" in beside else "no trial with images or regions"

# %% [markdown]
# The standard deviations say how hard a change is to see: with twice the SD it takes four times as many
# participants.
#
# ## Receptors
#
# The correlation of each receptor map with the change of the treated, or with a map of effects.

# %%
figures.panel(found, "trials_receptors") if "receptors" in beside else "no trial with receptor maps"

# %% [markdown]
# Filled marks are those that equally smooth maps do not reach beyond head anatomy, all maps of that trial
# allowed for. Open ones are what chance gives.
#
# ## What we found: trials

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish()
pipeline.what_moved(trial, "trials")
