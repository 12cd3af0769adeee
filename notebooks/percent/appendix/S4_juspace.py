# %% [markdown]
# # S4 · What JuSpace would have said
#
# [What we found](#What-we-found:-JuSpace) stands at the end.
#
# **Would the most widely used toolbox for this question have come to the same answer?** JuSpace v1.5
# (Dukart et al. 2021, Hum Brain Mapp 42:555) is applied to the same change: parcel means with the
# background kept, Cohen's d in each region, plain Pearson r reported as Fisher z.
#
# **Contents.** [How it differs](#How-it-differs) · [Its results](#Its-results) ·
# [What we found: JuSpace](#What-we-found:-JuSpace)
#
# **To run it:** notebooks 02 and 03 first, once; then *Run > Run All Cells* in the menu. A few seconds.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few permutations; do not quote its p-values
n_permutations: int = 5000  # null maps, and relabellings; from 99 to 1000000
quick_permutations: int = 200  # used instead when quick; at least 20
seed: int = 0  # of permutations and null maps; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown

from analysis_lib import figures, pipeline, receptors, report, results
from analysis_lib.study import open_study

# %%
trial = open_study("S4_juspace", globals())
found = results.begin(trial, "juspace", quick)
before = results.Section(trial, "receptors")
structure = before.json("settings")["structure"]
inputs = receptors.read_inputs(trial, structure, background="keep", tracers="all")
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## How it differs
#
# Its code was read; this is how it differs from the p-values of notebook 03.
#
# - **No spatial p for a difference.** Its exact spatial p is supported for a mean image and for single
#   images, not for Cohen's d, whether between arms or within one. It stands in the second table.
# - **z against r.** That p compares the observed Fisher *z* with the *r* of null maps. |z| is
#   larger than |r|, so the p is too small; from r = .76 on it is the smallest possible, whatever the
#   null. The table gives this p and the one that compares |r| with |r|.
# - **No autocorrelation where it matters.** Its null maps are smoothed only if the differences
#   between regions grow with distance (an autocorrelation above 0). For D1, D2 and DAT on
#   neuromorphometrics it is negative, the toolbox prints "no adjustment performed", and the null is
#   an ordinary shuffle of regions. The table shows for which maps any autocorrelation is kept. With
#   unrelated smooth maps the shuffle called 25 to 39 % of correlations with D1 significant at .05.
# - **Balanced relabelling.** Its group p exchanges exactly half of each arm (flips exactly half of the
#   signs), never fewer or more. The observed labelling is none of these, and the p is too small:
#   .058 instead of .05 between arms of 18, .070 within one. The table gives this p and the one of any
#   relabelling.
# - **All regions of all maps**, also those in which a tracer does not measure its receptor.
# - **No correction over maps** in either; the family-wise p-values add it.
# - **|r| of relabelled maps.** Whatever the relabelling, |r| of a group's map has no scale, and where
#   treatment did something relabelled maps show some of it, too. The last p of the table is that of |r|
#   as notebook 03 computes it; power at a noise-free r of .4 is about a fifth, where that of patients'
#   slopes is nearly one (`benchmarks/randomisation.tsv`).
#
# ## Its results

# %%
n = quick_permutations if quick else n_permutations
toolbox = receptors.juspace_tables(inputs, n, seed)
found.keep(**toolbox, settings={"permutations": n, "seed": seed, "quick": quick})
mine = toolbox["juspace"].query("contrast == @trial.main")
mine = mine.drop(columns=["contrast", "n_parcels"])
report.table(mine.sort_values("r", key=abs, ascending=False), trial, "juspace")

# %% [markdown]
# The maps with the largest |r| come first. Within a row, compare JuSpace's relabelling with any relabelling,
# and both with the p among equally smooth maps below.
#
# ### Its options
#
# Spearman's or Pearson's correlation, or one multiple regression on all maps at once, whose coefficients
# are in the maps' own units and cannot be compared with each other; each with and without adjustment for
# the grey-matter density of a template (SPM's in JuSpace, nilearn's here); of Cohen's d and of the mean
# change. The table shows the leading map.

# %%
options = toolbox["options"]
first = options["annotation"] == mine.loc[mine["r"].abs().idxmax(), "annotation"]
report.table(options[first].drop(columns=["receptor", "annotation"]), trial, "options")

# %% [markdown]
# The p of a mean image ignores the smoothness of the maps wherever the null is a plain shuffle.
#
# ### Each participant
#
# Fisher's z of each participant's own change with each map.

# %%
figures.panel(found, "patients_z")

# %% [markdown]
# JuSpace tests the mean of these z against 0, over both arms together. Arms that differ in noise differ in
# z, too, which is why notebook 03 compares slopes.
#
# ## What we found: JuSpace

# %%
Markdown(report.findings(found))

# %% [markdown]
# Where the two differ, trust the analysis whose null keeps the smoothness of the maps.
#
# ## What this wrote
#
# Beside the table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish()
pipeline.what_moved(trial, "juspace")
