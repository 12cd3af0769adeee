# %% [markdown]
# # 02 · Change by region
#
# [What we found](#What-we-found:-regions) stands at the end.
#
# **Does grey-matter volume change in the regions of a table?** This notebook takes the place of `02_vbm`
# where the study brings changes by region (`imaging: {table: FILE}`) instead of images: percent change
# since before treatment, a row per participant, from FreeSurfer or another program.
#
# **Contents.** [The table of regions](#The-table-of-regions) ·
# [Contrasts by region](#Contrasts-by-region) ·
# [Regional and clinical change](#Regional-and-clinical-change) ·
# [What we found: regions](#What-we-found:-regions)
#
# **To run it:** *Run > Run All Cells* in the menu. A few seconds.
#
# **Change this first,** in the next cell, and run all again: `errors_within = "symmetric"`, which
# gives Student's t within an arm. Then `study`: the path of your own study file.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few permutations; do not quote its p-values
errors: str = "unequal"  # variances of the two arms; one of: unequal, equal
errors_within: str = "skewed"  # distribution within an arm; one of: symmetric, skewed
n_permutations: int = 5000  # of each contrast; all distinct ones if fewer; from 99 to 1000000
quick_permutations: int = 200  # used instead when quick; at least 20
seed: int = 0  # of the permutations; at least 0
regions: list = []  # regions to show in detail; empty: those of the study file
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## The table of regions
#
# Names are matched to the atlas that the study file names, however FreeSurfer, ENIGMA or the atlas
# itself write them. Columns that are no grey-matter region of it are listed and left out. Where names say
# no side, both sides count as one region.

# %%
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, report, results, vbm
from analysis_lib.study import improvement_at_scan, open_study

# %%
trial = open_study("02_regions", globals())
found = results.begin(trial, "vbm", quick)
changes = vbm.read_region_changes(trial)
display(Markdown(report.notice(trial, quick)))
print(changes.described)

# %% [markdown]
# The regions to be shown in detail are checked now, before any result is seen.

# %%
regions = vbm.check_regions(regions or trial.own_regions, changes.parcels)
n_draws = quick_permutations if quick else n_permutations
options = {"n_permutations": n_draws, "seed": seed}
assumed = {"errors": errors, "errors_within": errors_within}
found.keep(settings={"regions": regions, "quick": quick} | assumed | options)

# %% [markdown]
# ## Contrasts by region
#
# Each region has a mean change with a 95 % interval, or with two arms also the difference between them,
# adjusted for covariates and strata. Within a group signs of participants are flipped, and the t of the
# test is transformed to allow for skewed change (Hall 1992; the table has Student's); between arms signs
# of residuals are flipped, and t allows for unequal variances (HC2). The family-wise p comes from the
# largest |t| of any region in each permutation.

# %%
tests = changes.assess(**assumed, **options)
by_region = changes.tables()
found.keep(**tests, **by_region)
report.table(tests["summary"], trial)

# %%
report.table(tests[f"{trial.main}_regions"].head(15), trial, "by_region")

# %% [markdown]
# The study file can name sets of regions (`region_sets`) and the change that counts as none
# (`equivalence`); what it names is tabled here. *Changed, at least* is a bound that holds for all sets at
# once, with 95 % confidence (Andreella et al. 2023): read a set's row beside that of all other regions.

# %%
for name in (name for name in ("region_sets", "equivalence") if name in tests):
    display(report.table(tests[name].head(15), trial))

# %% [markdown]
# The smallest p-values come first. Effects of regions chosen for their size are biased away from zero.
# The figure shows the regions that the study file names beforehand.

# %%
figures.panel(found, "regions")

# %% [markdown]
# ## Regional and clinical change
#
# Do participants whose regions change more improve more? Where there are arms, their means are removed
# first. The regions are those named, or all; p is adjusted for their number (Holm).

# %%
improvement = improvement_at_scan(trial, changes.people["participant_id"])
coupling = vbm.coupling_table(by_region["parcel_change"], regions, improvement)
found.keep(region_clinical=coupling.assign(scale=trial.primary_scale.name))
report.table(coupling.sort_values("p").head(10), trial)

# %% [markdown]
# A positive r means that more volume goes with more improvement. Read the intervals before the p-values.
#
# ## What we found: regions

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish(vbm.vbm_numbers(tests["summary"]))
pipeline.what_moved(trial, "vbm")
