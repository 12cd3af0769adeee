# %% [markdown]
# # S1 · Calibration
#
# [What we found](#What-we-found:-calibration) stands at the end.
#
# **How far can each p-value of notebooks 01, 02 and 03 be trusted, in a trial like this one?** A p-value
# holds its level if it is at most .05 in 5 % of trials in which treatment does nothing. Here such trials
# are simulated on this study's own design, and every p is computed from each, as the notebooks do.
#
# **Contents.** [Trials without an effect](#Trials-without-an-effect) · [How often](#How-often) ·
# [At every level](#At-every-level) · [Where assumptions fail](#Where-assumptions-fail) ·
# [What we found: calibration](#What-we-found:-calibration)
#
# **To run it:** notebooks 02 and 03 first, once; then *Run > Run All Cells* in the menu. About 20 minutes on
# two idle cores for a study with images, seven for one with scores alone; a minute and a half with
# `quick=True`. Before each part starts, it says about how long that part will take on this machine.
#
# **Change this first:** run 02 with `errors = "equal"` or 03 with `null = "variogram"`, and then this
# notebook again: it takes the settings that they were run with.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look: rates are known to a few percent
n_trials: int = 2000  # simulated trials, clinical and regional p-values; from 10 to 100000
n_maps: int = 500  # simulated trials, voxel maps; from 10 to 100000
n_broken: int = 300  # simulated trials for each assumption that fails; 0: none; at least 0
quick_trials: int = 50  # used instead of the first two when quick; at least 20
quick_broken: int = 4  # used instead of n_broken when quick; at least 0
n_permutations: int = 199  # permutations, surrogates of each simulated trial; from 99 to 9999
seed: int = 0  # of the simulated trials; at least 0
n_jobs: int = 2  # processes; the numbers do not depend on it; from 1 to 256
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, report, results, robustness
from analysis_lib.study import open_study

trial = open_study("S1_calibration", globals())
found = results.begin(trial, "calibration", quick)
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## Trials without an effect
#
# **Scores** come from this study's own primary model (MMRM) of its primary scale, fitted to its data, with
# the effect of the arm set to zero. People are randomised anew within strata, with their own baselines and
# covariates. The same visits as in the study are missing in each arm.
#
# **Maps and regional changes** come from the residuals of this study's change in the control arm, without what
# covariates and strata explain (of all participants, if control leaves fewer than ten degrees of freedom). Each simulated
# participant, of either arm, is a random mixture of these residual maps, so that simulated maps have the
# covariance between places that this study's maps have. The active arm's residuals are left out here because they
# also hold what patients respond differently to the treatment, which no p under a true null should
# meet; a later table shows what happens with them. Voxels are tested on a coarser grid, at a distance of at most a third of the smoothness (FWHM):
# maxima of maps as smooth as these are hardly lower there, and the tests take an eighth of the time.
#
# Every trial is analysed with the arms, covariates, strata and settings of the notebooks, but with fewer
# permutations: with 199, p ≤ .05 happens in exactly 5 % of cases if a test is exact.

# %%
sizes = (quick_trials, quick_broken) if quick else (n_trials, n_broken)
of_maps = (quick_trials, quick_broken) if quick else (n_maps, n_broken)
options = {"seed": seed} | trial.work("calibration", n_jobs)
drawn = []
with found.part("Clinical p-values"):
    scores = robustness.read_clinical(trial, n_permutations)
    drawn.append(robustness.calibrate(scores, *sizes, **options))

# %%
with found.part("Voxel p-values"):
    maps = robustness.read_voxels(trial, n_permutations)
    drawn.append(robustness.calibrate(maps, *of_maps, **options))

# %%
with found.part("Regional p-values"):
    regions = robustness.read_regions(trial, n_permutations)
    drawn.append(robustness.calibrate(regions, *sizes, **options))

# %%
with found.part("Receptor p-values"):
    receptors = robustness.read_receptors(trial, n_permutations)
    drawn.append(robustness.calibrate(receptors, *sizes, **options))

# %% [markdown]
# A part that this study has no data for says so. The primary contrast stands for the other visits and scales of
# the same test. The p-values of imputation and of the main effects in the analysis of variance (01), of the relation to
# clinical improvement (02, 03) and of dominance (03) are not simulated.
#
# ## How often
#
# The share of these trials with p at most .05. The intervals are exact (Clopper & Pearson 1934) and
# simultaneous: each has a confidence of 1 - .05 / m, where m is the number of p-values drawn together
# (Bonferroni), so that in nineteen of twenty runs *all* of them are right, however the tests
# depend on each other.
#
# | verdict | means |
# |---|---|
# | **holds** (green) | the interval includes .05, or the rate is hardly below it |
# | **too small** (red) | the interval lies above .05: effects are found too often |
# | **conservative** (blue) | the interval lies below .05 and the rate below .03: effects are missed |
#
# *Holds* means that these trials have not shown otherwise. The column *Detectable rate* says how far above .05 a
# true rate must be for this many trials to show it four times out of five. The p-values of single
# receptor maps have one row, their mean over maps, and the highest rate of any map beside it. For voxels, and
# where it says *family-wise*, the rate is that of any false alarm in the whole map or family.

# %%
tables = robustness.tables(drawn, trial.main)
sizes = {"trials": sizes[0], "maps": of_maps[0], "broken": sizes[1], "permutations": n_permutations}
found.keep(**tables, settings=sizes | {"seed": seed, "quick": quick})
if drawn:
    rates = tables["rates"].drop(columns=["source", "column"])
    families = [own.dropna(axis=1, how="all") for _, own in rates.groupby("family", sort=False)]
    display(*(report.table(own, trial, "rates") for own in families))

# %% [markdown]
# The p of regions taken as independent is expected to be red where maps are smooth: it is here because papers report it.
#
# ## At every level
#
# A p that holds its level has its line on the diagonal, not at .05 alone. The figures show the p-values of
# the difference between the arms, or of the change where there is one arm.

# %%
display(*(figures.panel(found, "quantiles", family=one.family) for one in drawn))

# %% [markdown]
# Lines of family-wise p-values may leave the diagonal on the right, where nobody reads them.
#
# ## Where assumptions fail
#
# The verdicts above are about this design if what the simulation assumes is true. The next table changes one thing
# at a time, and is not coloured: nobody knows which of these hold in a trial, and how far.
#
# - *active SD twice the control's*: treatment helps some and harms others, while mean change is the same. The
#   shares of responders and remitters then do differ, so that their p should be small;
# - *smoothness 8 v 16 mm*: maps of the active arm are smoothed by 16 instead of 8 mm, of the same spread;
# - *noise of both arms, with individual response*: maps are mixed from the residuals of both arms, so that they
#   hold the pattern along which patients of the active arm differ in response;
# - *skewness 1*: errors of scores or changes have long tails on one side;
# - *missing at random*: as many are missing as here, but those who do badly at the first visit more often;
# - *missing not at random*: the active arm loses those who do worst at the end, control those who do best;
# - *symmetric change*: change is the same on both sides of the brain;
# - *artefacts*: change in the active arm that only head anatomy makes, twice as large as the noise of the map.
#   Here p of no treatment effect should be small, since the arms do differ. That of a receptor should not be.

# %%
if "failing" in tables:
    failing = tables["failing"].drop(columns=["source", "column", "n_draws"])
    shown = failing[failing["contrast"].isna() | failing["contrast"].eq(trial.main)]
    groups = shown.groupby(["family", "assumption"], sort=False)
    for (family, assumption), own in groups:
        rows = own.drop(columns=["family", "assumption"]).dropna(axis=1, how="all")
        display(report.table(rows, trial, "failing", title=f"{family}: {assumption}"))

# %% [markdown]
# A rate well above .05 says what to look at in this trial's diagnostics (02 shows variance ratios and skewness; 01
# who was rated; 03 the relation of the effect map to anatomy) before a p is quoted.
#
# ## What we found: calibration
#
# Each sentence can be put beside the p that it is about.

# %%
Markdown(report.findings(found))

# %% [markdown]
# The report, which is written again after this notebook, colours the p-values of notebooks 01 to 03 by these
# verdicts, unless this was a quick run. The notebooks themselves are not run again for it.
#
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish()
pipeline.what_moved(trial, "calibration")
