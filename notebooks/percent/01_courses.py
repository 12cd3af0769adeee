# %% [markdown]
# # 01 · Courses
#
# [What we found](#What-we-found:-courses) stands at the end.
#
# **How did symptoms change in a study without a control arm?** This notebook takes the place of
# `01_clinical_outcomes` where the study file says `arms: none`. Change without a control arm is not an
# effect of treatment: it also holds time, regression to the mean and expectation, and no analysis can
# take these apart.
#
# **Contents.** [Courses over time](#Courses-over-time) · [Change from baseline](#Change-from-baseline) ·
# [What we found: courses](#What-we-found:-courses)
#
# **To run it:** *Run > Run All Cells* in the menu. A few seconds.
#
# **Change this first,** in the next cell, and run all again: `study`, the path of your own study file.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look; nothing is drawn at random here
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read the ratings
#
# A table that breaks the contract stops the notebook here, with the file and row to look at.

# %%
from IPython.display import Markdown, display

from analysis_lib import clinical, figures, pipeline, report, results
from analysis_lib.study import open_study

# %%
trial = open_study("01_courses", globals())
found = results.begin(trial, "clinical", quick)
tables = clinical.course_tables(trial, clinical.read_trial(trial))
found.keep(**tables, settings={"quick": quick})
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## Courses over time
#
# Thin lines are participants; the thick line is the mean change at each visit, with its 95 % interval.

# %%
display(*(figures.panel(found, "course_of_all", scale=scale.name) for scale in trial.scales))

# %% [markdown]
# Lines that end early belong to participants who were not rated later.
#
# ## Change from baseline
#
# The means come from a mixed model for repeated measures of the changes (visit as a factor, unstructured
# covariance, restricted maximum likelihood, Kenward-Roger degrees of freedom). With everyone rated this
# is the paired t-test of each visit; with missing ratings it is valid if scores are missing at random.

# %%
report.table(tables["change"], trial)

# %% [markdown]
# Response (by the scale's rule; by default a fall of half) and remission are shares of those *rated* at the
# visit, with Wilson's limits. Those who left are not counted, so that the shares can flatter.

# %%
report.table(tables["shares"], trial)

# %% [markdown]
# The more participants are missing at a visit, the less its row says about all of them.
#
# ## What we found: courses

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish(clinical.clinical_numbers(trial, found))
pipeline.what_moved(trial, "clinical")
