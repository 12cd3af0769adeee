# %% [markdown]
# # S2 · Specification curve
#
# [What we found](#What-we-found:-specifications) stands at the end.
#
# **Would other, equally defensible analyses have given another answer?** Each notebook makes choices:
# how far maps are smoothed, which atlas divides the brain, what the model holds constant. Here every
# combination of them is run for the study at hand, and tested as a whole.
#
# **Contents.** [Which choices](#Which-choices) ·
# [Analyses of change along a receptor](#Analyses-of-change-along-a-receptor) ·
# [Analyses of symptoms](#Analyses-of-symptoms) ·
# [All analyses together](#All-analyses-together) · [Another question](#Another-question) ·
# [What we found: specifications](#What-we-found:-specifications)
#
# **To run it:** notebooks 02 and 03 first, once, where the study has images; then *Run > Run All Cells*
# in the menu. About a minute; each part states its cost after its first block.
#
# **Change this first:** `receptor = "5-HTT"`, which nothing was planted along in the demo.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few draws; do not quote its p-values
receptor: str = ""  # a receptor or one of its maps; empty: the map with the largest |r| in 03
n_draws: int = 2000  # sign flips of participants, shared by all analyses; from 99 to 1000000
n_imputations: int = 500  # imputations of missing scores; from 20 to 100000
quick_draws: int = 200  # instead of the two above when quick; at least 20
n_jobs: int = 1  # processes, about 400 MB each; no number depends on it; from 1 to 256
seed: int = 0  # of sign flips, surrogates and imputations; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, report, results, robustness
from analysis_lib.study import open_study

# %%
trial = open_study("S2_specification_curve", globals())
found = results.begin(trial, "specifications", quick)
n, m = (quick_draws, quick_draws) if quick else (n_draws, n_imputations)
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## Which choices
#
# Not every alternative is a choice between equals. Each option carries a label (Del Giudice & Gangestad
# 2021):
#
# - **arbitrary**: no reason speaks for or against it. Results should not depend on it.
# - **uncertain**: reasons differ, and nobody knows which hold. If the options disagree, the disagreement
#   is worth knowing, but an average over them means little.
# - **another question**: it estimates something else, and belongs in no average.
#
# Arbitrary and uncertain options are combined in every way; the joint tests use the combinations of
# arbitrary ones alone. How often they are wrong in trials without an effect was measured: see
# `docs/specifications.md`. How far the p-values of single analyses hold in this study is S1's question. Labels and reasons are in `analysis_lib/robustness/specifications.tsv`: whoever
# disagrees changes a word there and runs this notebook again.
#
# All analyses share the same draws. In each draw the signs of some participants' contributions to the
# estimate are flipped, in every analysis at once, so that analyses which resemble each other do so in
# the draws too (PIMA: Girardi et al. 2024; contributions standardised as by De Santis et al. 2022).
#
# ## Analyses of change along a receptor
#
# The estimate is that of notebook 03: each participant's slope of regional change on the density of one
# receptor, compared between the arms (without a control arm: its mean). By default the receptor is the
# one that these same data follow most closely. Its p-values, here as there, therefore do not allow for
# the search over receptors; name one with `receptor` to test a receptor that was chosen beforehand.

# %%
curves = []
with found.part("Change along a receptor"):
    curves.append(robustness.region_curve(trial, receptor, n, seed, n_jobs))

# %% [markdown]
# Maps are smoothed and averaged over regions once for each width, mask and atlas; everything else is
# computed from these averages.
#
# ## Analyses of symptoms
#
# The estimate is the difference between the arms on the primary scale at the primary visit.

# %%
with found.part("Symptoms"):
    curves.append(robustness.symptom_curve(trial, n, m, seed, n_jobs))

# %% [markdown]
# Analyses that could not be made are listed with the reason. The options of this study follow: how many
# analyses each is part of, and why it is so labelled.

# %%
made = robustness.curve_tables(found, curves)
about = {f"about_{curve.family}": curve.about for curve in curves}
settings = about | {"receptor": receptor, "draws": n, "imputations": m}
found.keep(**made, settings=settings | {"seed": seed, "quick": quick})
options = made["decisions"].query("decision != 'region'")
used = options.query("n_specifications > 0")
report.table(used.drop(columns=["family", "lacking"]), trial, "decisions")

# %% [markdown]
# Options of another question follow further down. The study does not have these:

# %%
report.table(options.dropna(subset="lacking")[["decision", "option", "lacking"]], trial)

# %% [markdown]
# ## All analyses together
#
# The curve shows all estimates in ascending order with 95 % confidence intervals; the grid below it
# shows which options the analyses at that place have. Where an option is dark at one end only, the
# estimate depends on it.

# %%
display(*(figures.panel(found, "choices", family=curve.family) for curve in curves))

# %% [markdown]
# If the curve stays on one side of zero from end to end, no combination of choices reverses the sign. Dots mark analyses
# that differ in arbitrary choices alone: if they crowd in one place, the uncertain choices make the rest of the curve.
#
# How much each decision matters is the share of the estimates' variance that lies between its options.
# Shares are of a variance that may itself be small: compare the range of the curve first.

# %%
display(*(figures.panel(found, "variance", family=curve.family) for curve in curves))

# %% [markdown]
# The longest bar names the decision to think about, and to fix before seeing the data in the next study.
#
# **Joint tests** over the arbitrary analyses (Simonsohn, Simmons & Nelson 2020): is the median estimate
# farther from zero, are more analyses significant with one sign, is Stouffer's Z larger than in nearly
# all draws? Each p is one test of the whole curve. The last column counts analyses: with 95 % confidence
# at least so many have an effect (closed testing by the largest |t|; Goeman & Solari 2011).

# %%
report.table(made["joint"], trial, "joint")

# %% [markdown]
# A small joint p says that the result is not the luck of one analysis. It does not say that all of them
# measure the right thing: a bias that they share is in every one of them.
#
# ## Another question
#
# These analyses estimate something else, or test the same estimate against another null, one at a time
# with everything else as by default.

# %%
apart = made["apart"].query("decision != 'region'")
report.table(apart.drop(columns="family"), trial, "apart")

# %% [markdown]
# A difference from the curve above is no contradiction, because the questions differ.
#
# ## What we found: specifications

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish()
pipeline.what_moved(trial, "specifications")
