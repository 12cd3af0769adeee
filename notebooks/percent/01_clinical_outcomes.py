# %% [markdown]
# # 01 · Clinical outcomes
#
# [What we found](#What-we-found:-symptoms) stands at the end.
#
# **Do symptoms improve more with active than with control treatment?** They are rated before treatment
# and at visits after it began, on the scales that the study file names; in trials of depression, often
# the Hamilton Depression Rating Scale (HAMD-17) and the Hamilton Anxiety Rating Scale (HAMA). Figures and tables use the study's own names for the arms; *control* in the text is
# the arm that active treatment is compared with.

# %% [markdown]
# **Contents.** [Who took part](#Who-took-part) · [Scores over time](#Scores-over-time) ·
# [What exactly is estimated](#What-exactly-is-estimated) · [Primary analysis](#Primary-analysis) ·
# [The same question, asked otherwise](#The-same-question,-asked-otherwise) ·
# [Missing data](#Missing-data) · [Response and remission](#Response-and-remission) ·
# [What we found](#What-we-found:-symptoms)
#
# **To run it:** *Run > Run All Cells* in the menu. About 15 seconds.
#
# **Change this first,** in the next cell, and run all again: `largest_delta = 30.0` takes the search
# for the tipping point further. The curve under *Missing data* grows longer, and the sentence on it in
# *What we found* may change. Then `study`: the name of a file in `data/studies`, or the path of your
# own study file, and everything below is about that trial.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look: few re-randomisations and imputations
n_permutations: int = 5000  # re-randomisations; all distinct ones if fewer; from 99 to 1000000
n_imputations: int = 1000  # imputations of missing scores; from 20 to 100000
quick_draws: int = 200  # used instead of the two above when quick; at least 20
largest_delta: float = 12.0  # points, end of the tipping point's grid; from 0 to 100
delta_step: float = 0.5  # points, step of that grid; from 0.05 to 10
shifted: str = "missing"  # imputed scores the grid shifts: all, or after; one of: missing, event
seed: int = 0  # of re-randomisations and imputations; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# The study file says which columns and visits count. A table that breaks the contract stops the
# notebook here, with the file and row to look at.

# %%
from IPython.display import Markdown, display

from analysis_lib import clinical, figures, pipeline, report, results
from analysis_lib.study import open_study

trial = open_study("01_clinical_outcomes", globals())
data = clinical.read_trial(trial)
primary, final = trial.primary_scale.name, trial.final_visit
found = results.begin(trial, "clinical", quick)
found.keep(scores=data.scores)
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## Who took part
#
# All randomised participants are counted by arm, with the reason for each loss where the data give one
# (CONSORT 2025). The primary analysis includes everyone with a baseline score and at least one later
# score. Imputation below includes everyone with a baseline.

# %%
took_part = clinical.who_took_part(trial, data)
found.keep(**took_part)
figures.panel(found, "flow")

# %% [markdown]
# **Table 1.** The last column is the standardised mean difference. It is not tested: after
# randomisation, every difference at baseline is due to chance. A value beyond about ±0.25 is worth
# keeping in mind; small trials often have several.

# %%
with found.part("Table 1"):
    baseline = clinical.baseline_table(trial, data.participants, data.ratings)
    found.keep(baseline=baseline)
    display(report.table(baseline, trial))

# %% [markdown]
# The primary analysis always adjusts for the baseline score; it does not adjust for the other rows.

# %% [markdown]
# ## Scores over time
#
# The observed mean and standard deviation of those rated at each visit. Observed means mix change with
# dropout, because each is based on a different set of participants. The model below separates the two
# if scores are missing at random.

# %%
means = clinical.visit_means(data.scores)
found.keep(means=means)
report.by_visit(means, trial)

# %% [markdown]
# Compare columns within a row for the course of one arm, and rows for the difference between arms.

# %% [markdown]
# ## What exactly is estimated
#
# In the words of ICH E9(R1), the estimand of the primary analysis is:
#
# - **population**: all randomised participants whom the study file does not exclude;
# - **treatment**: assignment to active or control treatment; missed sessions are disregarded;
# - **variable**: change of the primary scale from baseline to the final visit;
# - **intercurrent events**: leaving treatment is handled by the strategy that the study file names
#   (`estimand`), printed below; by default *hypothetically*;
# - **summary**: difference of mean changes, active − control, at the mean baseline.
#
# In a clinician's words, under the hypothetical strategy: *how much more would patients have improved,
# on average, had all been given the active rather than the control treatment, and all stayed in it to
# the end?* Under treatment policy: *whether or not they stayed in it?* The answer relies on an
# assumption: patients without a score would have gone on like patients of the same arm, baseline and
# course who have one (missing at random). The section on missing data asks what happens if it is wrong.

# %%
print(data.estimand)
report.table(data.intercurrent, trial)

# %% [markdown]
# ## Primary analysis
#
# A mixed model for repeated measures (MMRM) uses every rating at every visit after baseline:
# `outcome ~ baseline*visit + arm*visit`, each visit with its own variance, each pair of visits with
# its own correlation (unstructured), fitted by restricted maximum likelihood (REML). Missing scores
# are not imputed: what a patient's earlier scores say about later ones enters through the
# correlations. Standard errors and degrees of freedom are those of Kenward and Roger (1997), as SAS
# computes them, which keep their level in small samples. R's mmrm gives other standard errors by default
# (by up to 15 % at 9 + 9) because it uses the expected instead of the observed information. A
# random-intercept model with z tests, which
# most Python packages offer, does not: it found a significant difference in 11 % of simulated small
# trials without one (`benchmarks/mmrm.tsv`).

# %%
fits = clinical.fit_models(data.changes, trial)
contrasts = clinical.contrast_table(fits, data.changes, trial)
found.keep(mmrm_contrasts=contrasts, mmrm_means=clinical.mean_table(fits))
found.note("Primary analysis", fits.reasons)
print(clinical.describe_fits(trial, fits, contrasts))
display(*(figures.panel(found, "course", scale=scale) for scale in fits))

# %% [markdown]
# Each participant's course is a thin line. Arms whose means move apart from visit to visit differ in
# their improvement; the next figure puts an interval on that difference.
#
# The difference is active − control in points; *favours* names the arm that did better. On a scale whose
# lower scores are better, negative values favour active treatment. The study file names one primary scale
# and visit. The other rows are supportive, and their p-values are not adjusted for multiple testing.

# %%
display(figures.panel(found, "differences"))
report.table(contrasts.drop(columns=["contrast", "kind", "covariance"]), trial)

# %% [markdown]
# The filled square is the primary contrast. An interval that includes zero does not show that there is
# no difference: every value within it is compatible with the data. In the figure, n counts the
# participants rated at the visit; the table also gives those in the model. The two Hedges g differ in
# what they divide by: the model's SD of scores given baseline and arm, or the raw SD of scores within
# arms, to combine with other trials in a meta-analysis.

# %% [markdown]
# ## The same question, asked otherwise
#
# **Re-randomisation.** If treatment did nothing, any other outcome of the randomisation would have
# been as likely. The arms are drawn again many times (within strata where the trial has them), and p
# is the share of draws whose baseline-adjusted difference, in standard errors, is at least as large as
# the observed one. The test makes no distributional assumptions and uses the participants rated at the
# final visit.

# %%
n_draws = {"permutations": n_permutations, "imputations": n_imputations}
n_draws = dict.fromkeys(n_draws, quick_draws) if quick else n_draws
drawn = {"strata": data.strata, "n_permutations": n_draws["permutations"], "seed": seed}
with found.part("Re-randomisation"):
    randomisation = clinical.randomisation_test(data.changes, primary, final, **drawn)
    found.keep(randomisation=randomisation)
    display(report.table(randomisation, trial))

# %% [markdown]
# A p-value close to the model's means that its distributional assumptions matter little here.
#
# **Visit by visit** (analysis of covariance, ANCOVA): each visit by itself, baseline as covariate,
# with HC3 standard errors, which allow for unequal spread in the two arms (Long & Ervin 2000). It leaves
# out those not rated at the visit, which is unbiased only if missing scores depend on nothing but arm
# and baseline.

# %%
with found.part("Analysis of covariance"):
    ancova = clinical.ancova(data.changes)
    found.keep(ancova=ancova)
    display(report.table(ancova.drop(columns=["contrast", "kind"]), trial))

# %% [markdown]
# An estimate that differs from the model's at the same visit shows how much the participants who left
# matter.
#
# **Group × time analysis of variance**, the analysis that papers in this field usually report. *Arm ×
# time* asks whether the arms' courses differ in any way. The analysis uses only participants rated at
# every visit and assumes sphericity: that the differences between any two visits have the same
# variance. Where they do not, the Greenhouse-Geisser correction applies; its epsilon is 1 under
# sphericity. With arms of unequal size, the main effect of *time* weights them by size.

# %%
with found.part("Analysis of variance"):
    anova = clinical.rm_anova(data.scores)
    found.keep(anova=anova)
    display(report.table(anova, trial))

# %% [markdown]
# The interaction says that the courses differ, not at which visit, in which direction or by how much:
# for that, see the differences between the arms above.

# %% [markdown]
# ## Missing data
#
# Which visits were rated, and in how many participants.

# %%
with found.part("Ratings by visit"):
    found.keep(**clinical.who_was_rated(trial, data))
    display(figures.panel(found, "ratings"))

# %% [markdown]
# The more participants in rows other than the first, the more the answer depends on assumptions about
# scores that nobody has seen.
#
# Missing scores are therefore imputed many times from the observed ones, each completed data set is
# analysed, and the results are pooled (Rubin 1987). Four assumptions, from mild to harsh on the
# active arm:
#
# | analysis | after an intercurrent event, a patient of the active arm |
# |---|---|
# | missing at random | continues like patients of the same arm and course (as in the MMRM) |
# | copy increments | keeps the benefit so far, then changes like the control arm |
# | copy reference | had been like the control arm from the start, given the patient's own course |
# | jump to reference | falls back to the mean of the control arm at once |
#
# (Carpenter, Roger & Kenward 2013.) Under the last three, Rubin's intervals are too wide rather than
# too narrow. Scores missing for any other reason are imputed as missing at random. Each row says how many
# participants were rated, how many imputed, and how many of these the assumption shifts: where it shifts
# nobody, it says nothing about robustness.

# %%
imputed = clinical.impute_scales(trial, data, n_draws["imputations"], seed)
found.note("Imputation", imputed.reasons)
with found.part("Imputed scores"):
    imputation = clinical.compare_imputed(imputed)
    found.keep(imputation=imputation)
    at_end = imputation[imputation["visit"] == final]
    display(report.table(at_end.drop(columns=["visit", "contrast", "n_imputations"]), trial))

# %% [markdown]
# Rows that agree mean that the conclusion does not depend on which of these assumptions holds.
#
# **Tipping point.** How much worse than *missing at random* assumes must unrated participants of the
# active arm have done for the result to be lost? If the answer is implausible, the result is robust. By
# default every score missing at the final visit is shifted (`shifted`). `tipping_two_way.tsv` shifts both
# arms.

# %%
with found.part("Tipping point"):
    search = (largest_delta, delta_step, shifted)
    tipping = clinical.find_tipping_point(imputed[primary], final, *search)
    found.keep(**tipping)
    display(figures.panel(found, "tipping_point"))

# %% [markdown]
# Compare the point where the interval first includes zero, if there is one, with the size of the
# changes seen in this trial. Where few scores are missing, this is a weak test of robustness.

# %% [markdown]
# ## Response and remission
#
# Response is a fall of at least half of the baseline score unless the study file gives another rule (it
# must where higher scores are better), remission a score at the scale's cut-off or better. *Missing is failure* counts unrated participants as failures, the cautious reading;
# *observed* leaves them out. Dichotomising a scale discards information: these tables illustrate the
# comparison above, with less power. *Multiple imputation* counts those whose imputed scores (missing at
# random) reach the outcome, on average. Participants to whom an outcome does not apply at baseline are
# counted separately, not as failures. Limits and p are of one score test (Miettinen & Nurminen 1985) and
# never disagree. Where the difference may be zero, the number needed to treat runs from benefit (NNTB)
# through infinity to harm (NNTH) (Altman 1998).

# %%
with found.part("Response and remission"):
    responders = clinical.responders(trial, data.participants, data.scores, imputed)
    found.keep(responders=responders)
    shown = responders[responders["visit"] == final].drop(columns="visit")
    display(figures.panel(found, "response"), report.table(shown, trial))

# %% [markdown]
# A difference in shares is easier to explain to patients than one in points, but it is estimated less
# precisely.

# %% [markdown]
# ## What we found: symptoms
#
# The first sentence answers the primary question; the others are secondary. How the trial was conducted,
# with harms, blinding and dose, is in the appendix (`appendix/S0_trial_conduct.ipynb`).

# %%
found.keep(settings={**n_draws, "seed": seed, "quick": quick})
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` describes its columns.

# %%
found.publish(clinical.clinical_numbers(trial, found))
pipeline.what_moved(trial, "clinical")
