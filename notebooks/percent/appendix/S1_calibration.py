# %% [markdown]
# # S1 · Calibration
#
# [What we found](#What-we-found:-calibration) stands at the end.
#
# **How far can the p-values of notebook 03 be trusted?** A p-value is calibrated if, for unrelated
# maps, it is at or below .05 in 5 % of cases. This notebook shows the measured rates for both kinds of
# surrogate maps, and whether the surrogates resemble this study's effect map.
#
# **Contents.** [False-positive rates](#False-positive-rates) ·
# [Are the surrogates like the effect map?](#Are-the-surrogates-like-the-effect-map?) ·
# [What we found: calibration](#What-we-found:-calibration)
#
# **To run it:** notebooks 02 and 03 first, once; then *Run > Run All Cells* in the menu. A few seconds.
# Statistic, regions, null and distances are those that 03 was run with.
#
# **Change this first:** nothing here; run 03 with `null = "variogram"` and then this notebook again.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # fewer surrogates for the variograms
n_surrogates: int = 500  # surrogates of each kind, for the variograms; from 99 to 1000000
quick_surrogates: int = 100  # used instead when quick; at least 20
seed: int = 0  # of the surrogates; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, receptors, report, results
from analysis_lib.study import open_study

# %%
trial = open_study("S1_calibration", globals())
found = results.begin(trial, "calibration", quick)
before = results.Section(trial, "receptors")
settings = before.json("settings")
options = {name: settings[name] for name in ("structure", "background", "tracers")}
inputs = receptors.read_inputs(trial, **options)
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## False-positive rates
#
# Each null was tried on unrelated maps on the grey-matter regions of neuromorphometrics
# (`benchmarks/spatial_nulls.tsv`): noise as smooth as in VBM, with three degrees of left-right symmetry;
# smoother noise; and an error of registration. The other map is of the same kind, or one of the real
# receptor maps. The table gives the share of p at or below .05, for simulated pairs and for the worst
# of all real maps.

# %%
measured, artefacts = receptors.measured_rates()
report.rate_table(measured, trial)

# %% [markdown]
# The second table gives the same where the map is an artefact of head anatomy in such noise, twice as
# large as it, which nothing links to a receptor. Its last column is no error: there the map follows D1
# with r = .5, and the share is the power.

# %%
report.rate_table(artefacts, trial)

# %% [markdown]
# Without anatomy held constant, an artefact of anatomy singles out some receptor more often than not.
# Shares above .07 are marked with an asterisk: read such a p as if it were larger. Next, the worst
# share over kinds of noise for each map, beside the p among equally smooth maps that it concerns.

# %%
rates = receptors.rate_rows(measured, before.table("correlations"), settings["null"])
found.keep(rates=rates)
names = ["false_positive_rate", "false_positive_rate_anatomy"]
report.table(rates.assign(**{name: report.marked_rates(rates[name]) for name in names}), trial)

# %% [markdown]
# A map that was not measured is given the rate of simulated pairs. The p of the slopes needs no such
# table: it compares patients, not regions (its rates are in `benchmarks/randomisation.tsv`).
#
# ## Are the surrogates like the effect map?
#
# The variogram of a map shows how different two regions are on average at each distance. Surrogates
# should vary about that of the effect map. Moran surrogates keep the size of each spatial component
# and draw its sign; variogram surrogates are smoothed shuffles, fitted to the curve.

# %%
n = quick_surrogates if quick else n_surrogates
variograms = receptors.variogram_table(inputs, settings["distances"], seed, n)
found.keep(variograms=variograms, settings={"seed": seed, "surrogates": n, "quick": quick})
display(*(figures.panel(found, "variogram", null=null) for null in variograms["null"].unique()))

# %% [markdown]
# Where the line leaves the band, surrogates of that kind are smoother or rougher than the effect map at
# that distance, and their p is too large or too small.
#
# ## What we found: calibration

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish()
pipeline.what_moved(trial, "calibration")
