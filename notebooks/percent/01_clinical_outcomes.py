# %% [markdown]
# # 01 · Clinical outcomes
#
# **Do depression and anxiety improve more with active than with control treatment?** Depression is
# rated with the Hamilton Depression Rating Scale (HAMD-17, 0 to 52 points, higher is worse),
# anxiety with the Hamilton Anxiety Rating Scale (HAMA, 0 to 56), before treatment and at visits
# after it began.
#
# **Contents.** [Who took part](#Who-took-part) · [Scores over time](#Scores-over-time) ·
# [Primary analysis](#Primary-analysis) ·
# [The same question, asked otherwise](#The-same-question,-asked-otherwise) ·
# [Missing data](#Missing-data) · [Response and remission](#Response-and-remission) ·
# [Blinding](#Blinding) · [Harms](#Harms) ·
# [What we found: symptoms](#What-we-found:-symptoms)
#
# **To run it:** *Run > Run All Cells* in the menu. About 15 seconds.
#
# **Change this first,** in the next cell, and run all again: `largest_delta = 30.0` takes the search
# for the tipping point further. The curve under *Missing data* grows longer, and the sentence in
# *What we found* changes: the demo's result, which stands at 12 points, is lost just beyond.
# Then `study`: the name of a file in `data/studies`, or the path of your own study file, and
# everything below is about that trial.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look: few re-randomisations and imputations
n_permutations: int = 5000  # re-randomisations; all distinct ones if fewer; at least 99
n_imputations: int = 1000  # imputations of missing scores; at least 20
quick_draws: int = 200  # used instead of the two above when quick; at least 20
largest_delta: float = 12.0  # points, end of the tipping point's grid; at least 0
delta_step: float = 0.5  # points, step of that grid; above 0
planned_sessions: int = 0  # sessions planned; 0: the most in stimulation.tsv; at least 0
seed: int = 0  # of re-randomisations and imputations; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# The study file says which columns and visits count. Tables that break the contract stop the
# notebook here, with the file and row to look at.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from analysis_lib import clinical, figures, pipeline, report, results
from analysis_lib.study import (
    baseline_scores,
    find_maps,
    open_study,
    pair_maps,
    randomisation_blocks,
    read_adverse_events,
    read_guesses,
    read_participants,
    read_ratings,
    read_stimulation,
    with_baseline,
)

trial = open_study("01_clinical_outcomes", globals())
participants = read_participants(trial)
scores = read_ratings(trial, participants)
changes = with_baseline(trial, scores)
names, primary, final = trial.arm_names, trial.primary_scale, trial.final_visit
n_draws = {"permutations": n_permutations, "imputations": n_imputations}
n_draws = dict.fromkeys(n_draws, quick_draws) if quick else n_draws
display(Markdown(report.notice(trial, quick)))
print(
    f"{trial.title}: {len(participants)} participants, {len(scores)} ratings of "
    f"{', '.join(scale.name for scale in trial.scales)}"
)

# %% [markdown]
# ## Who took part
#
# Everybody randomised is counted, by arm, with the reason for each loss, as far as the data hold it
# (CONSORT 2025). A participant enters the primary analysis with a baseline and at least one later
# score: nobody is dropped for leaving early.

# %%
maps = find_maps(trial, participants)
pairs = pair_maps(trial, participants, maps) if len(maps) else None
flow = clinical.participant_flow(trial, participants, scores, pairs)
stimulation = read_stimulation(trial, participants)
dose = None if stimulation is None else clinical.participant_dose(stimulation, participants)
boxes = clinical.consort_flow(flow, names, dose)
fig, ax = figures.consort_figure(boxes)
figures.plot_consort(ax, boxes)
figures.mark(fig, trial, quick)

# %% [markdown]
# **Table 1.** The last column is the standardised mean difference. There is no p: after
# randomisation every difference at baseline is a chance one, and a test of it answers no question.
# A value beyond ±0.25 or so is worth keeping in mind; in small trials several are expected.

# %%
baseline = clinical.baseline_table(trial, participants, scores)
report.table(baseline.rename(columns=names))

# %% [markdown]
# ## Scores over time
#
# Thin lines are participants, dots the observed mean of those rated at a visit, bars its 95 %
# interval. Observed means mix change with dropout; the comparisons below do not.

# %%
means = clinical.visit_means(scores)
n_scales = len(trial.scales)
fig, axes = figures.figure(1, n_scales, height=2.7)
for ax, scale in zip(axes[0], trial.scales, strict=True):
    figures.plot_trajectories(ax, *(t[t["scale"] == scale.name] for t in (scores, means)), names)
    ax.set_title(scale.name)
figures.mark(fig, trial, quick)

# %%
cell = [f"{row.mean:.1f} ({row.sd:.1f}), n = {row.n}" for row in means.itertuples()]
wide = means.assign(cell=cell, arm=means["arm"].map(names))
print("mean (SD) in points, n participants rated")
wide.pivot(index=["scale", "arm"], columns="visit", values="cell").fillna("not rated")

# %% [markdown]
# ## What exactly is estimated
#
# In the words of ICH E9(R1), the estimand of the primary analysis is:
#
# - **population**: all randomised participants whom the study file does not exclude;
# - **treatment**: assignment to active or control treatment, whatever dose was received;
# - **variable**: change of the primary scale from baseline to the final visit;
# - **intercurrent events**: leaving treatment is handled *hypothetically*: the question is what the
#   difference would be if everybody had stayed and been rated to the end;
# - **summary**: difference of mean changes, active − control, at the mean baseline.
#
# In a clinician's words: *how much more would patients have improved, on average, had they been given
# the active coil rather than the sham one, and all been followed to the end?* That leans on an
# assumption: patients who left would have gone on like patients of the same arm, baseline and course
# who stayed (missing at random). The section on missing data asks what happens when it is wrong.

# %% [markdown]
# ## Primary analysis
#
# A mixed model for repeated measures (MMRM) uses every rating at every visit after baseline:
# `outcome ~ baseline*visit + arm*visit`, each visit with its own variance, each pair of visits with
# its own correlation (unstructured), by restricted maximum likelihood (REML). Nobody's missing score
# is filled in; what a patient's earlier scores say about later ones enters through the correlations.
# Standard errors and degrees of freedom are Kenward and Roger's (1997), computed as SAS computes
# them, which keep their level in small samples. What is at hand in most Python packages, a random
# intercept with z tests, calls a difference significant in 11 % of trials without one at 18 patients
# an arm (`benchmarks/mmrm.tsv`).
#
# *Estimate* is active − control in points: **negative favours active**. `all` averages over visits.
# The study file names one primary scale and visit; the other rows are supportive, and their p is not
# corrected for their number.

# %%
fits = clinical.fit_models(changes)
contrasts = clinical.contrast_table(fits, changes)
model_means = clinical.mean_table(fits)
fig, axes = figures.figure(width=5, height=0.32 * len(contrasts) + 0.7)
labels = contrasts["scale"] + ", " + contrasts["visit"].map(results.visit_words).astype(str)
difference = f"{names['active']} − {names['control']}, points (95 % CI)"
figures.plot_forest(axes[0, 0], contrasts, labels, difference)
figures.mark(fig, trial, quick)
report.table(contrasts.drop(columns=["contrast", "kind", "n_active", "n_control", "covariance"]))

# %%
for scale, fit in fits.items():
    why = f" ({fit.fallback_reason})" if fit.fallback_reason else ""
    structure = "unstructured" if fit.covariance_structure == "us" else fit.covariance_structure
    print(
        f"{scale}: {fit.n_participants} participants, {fit.n_rows} ratings after {trial.baseline}, "
        f"covariance {structure}{why}"
    )
values = contrasts.loc[contrasts["kind"] == "value", "scale"].unique()
if len(values):
    print(
        f"{', '.join(values)} was not rated at {trial.baseline}: its scores are compared as they "
        f"are, adjusted for {primary.name} at {trial.baseline}, not as changes."
    )

# %% [markdown]
# ## The same question, asked otherwise
#
# **Re-randomisation.** If treatment did nothing, any other outcome of the randomisation would have
# been as likely. The arms are drawn again many times (within strata where the trial has them), and p
# is the share of draws whose baseline-adjusted difference, in standard errors, is as large as the
# observed one. It assumes nothing about distributions; it uses those rated at the final visit.

# %%
blocks = randomisation_blocks(trial, participants)
strata = None if blocks is None else pd.Series(blocks, participants["participant_id"])
drawn = {"strata": strata, "n_permutations": n_draws["permutations"], "seed": seed}
randomisation = clinical.randomisation_test(changes, primary.name, final, **drawn)
report.table(randomisation)

# %% [markdown]
# **Visit by visit** (ANCOVA): each visit by itself, baseline as covariate, standard errors HC3, which
# need no equal spread in the two arms (Long & Ervin 2000). It drops whoever was not rated at the
# visit, which is unbiased only if missing scores depend on nothing but arm and baseline.

# %%
ancova = clinical.ancova(changes)
report.table(ancova.drop(columns=["contrast", "kind"]))

# %% [markdown]
# **Group × time analysis of variance**, the analysis that the field's papers report. *Arm by time*
# (`arm x time` in the table) asks whether the arms' courses differ in any way. It uses only participants with every visit, and
# assumes that all pairs of visits differ with equal variance (sphericity); Greenhouse-Geisser's
# epsilon, 1 when that holds, corrects for its failure (`p_gg`). With arms of unequal size the main
# effect of *time* weights them by size.

# %%
anova = clinical.rm_anova(scores)
report.table(anova)

# %% [markdown]
# **Growth curves**: a straight line for each participant, compared between arms (points a week).
# A line cannot follow a course that flattens, and the intervals are normal ones, too narrow in small
# samples.

# %%
growth = clinical.growth_table(scores)
report.table(growth)

# %% [markdown]
# ## Missing data
#
# Which visits were rated, by how many. The darker the column, the fewer assumptions the answer
# needs.

# %%
rated = baseline_scores(trial, scores, primary)
own = changes[changes["scale"] == primary.name]
patterns = clinical.missing_patterns(own, rated)
rated_visits = clinical.pattern_visits(own)
fig, axes = figures.figure(width=4.6, height=0.3 * len(patterns) + 0.8)
figures.plot_missing(axes[0, 0], patterns, rated_visits["visit"], names)
figures.mark(fig, trial, quick)

# %% [markdown]
# Missing scores are filled in many times from what is known, each completed trial is analysed, and
# the results are pooled (Rubin 1987). Four assumptions, from mild to harsh on the active arm:
#
# | analysis | after withdrawal, a patient of the active arm |
# |---|---|
# | `mar` | goes on like patients of the same arm and course (missing at random, as in the MMRM) |
# | `copy_increments` | keeps the benefit so far, then changes like the control arm |
# | `copy_reference` | had been like the control arm from the start, given the own course |
# | `jump_to_reference` | falls back to the mean of the control arm at once |
#
# (Carpenter, Roger & Kenward 2013.) Rubin's intervals are too wide, not too narrow, for the last
# three. A gap with later ratings is filled in under `mar`, but for `copy_reference`.

# %%
imputed = {}
for scale in trial.scales:
    outcome = changes[changes["scale"] == scale.name]
    outcome = outcome.assign(visit=outcome["visit"].cat.remove_unused_categories())
    rated = baseline_scores(trial, scores, scale)
    fit = clinical.fit_imputation(outcome, rated, n_draws["imputations"], seed=seed)
    imputed[scale.name] = fit
tables = {name: clinical.imputation_table(fit) for name, fit in imputed.items()}
imputation_results = pd.concat(tables, names=["scale"]).reset_index("scale")
at_end = imputation_results[imputation_results["visit"] == final]
report.table(at_end.drop(columns=["visit", "contrast", "n_imputations"]))

# %% [markdown]
# **Tipping point.** How much worse than under `mar` must those who left the active arm have done for
# the result to be lost? If the answer is implausible, the result is robust.

# %%
direction = np.sign(contrasts.set_index(["scale", "visit"]).loc[(primary.name, final), "estimate"])
deltas = -direction * np.arange(0, largest_delta + delta_step / 2, delta_step)
tipping = clinical.tipping_point(imputed[primary.name], final, deltas)
tip = tipping.tips.iloc[0]
fig, axes = figures.figure(width=4.6, height=2.6)
figures.plot_tipping(axes[0, 0], tipping.table, names, tip["delta_interpolated"])
figures.mark(fig, trial, quick)
print(f"{primary.name} at {results.visit_words(final)}: {tip['status']}")

# %% [markdown]
# ## Response and remission
#
# Response is a fall of at least half of the baseline score, remission a score at or below the
# scale's cut-off. `missing_is_failure` counts whoever was not rated as not responding, the cautious
# reading; `observed` leaves them out. Cutting a scale in two discards information, so these tables
# illustrate the comparison above and have less power than it. Intervals are Newcombe's; p is
# Fisher's exact test; a number needed to treat appears only where the interval excludes 0.

# %%
responders = clinical.responders(trial, participants, scores)
chosen = responders["analysis"].eq("missing_is_failure") & responders["visit"].eq(final)
fig, axes = figures.figure(1, n_scales, height=2.4)
for ax, scale in zip(axes[0], trial.scales, strict=True):
    rows = responders[chosen & responders["scale"].eq(scale.name)]
    ax.set_title(
        f"{scale.name}, {results.visit_words(final)}" if len(rows) else f"{scale.name}: no baseline"
    )
    figures.plot_risks(ax, rows, names) if len(rows) else ax.set_axis_off()
figures.mark(fig, trial, quick)
report.table(responders[responders["visit"] == final].drop(columns="visit"))

# %% [markdown]
# ## Item by item
#
# Where single items were recorded: internal consistency (Cronbach's alpha; low at a baseline that
# only admits high totals, since that narrows their spread), and the difference between arms in each
# item's change. Items are parts of an outcome already tested, so they have intervals and no p.

# %%
by_item = clinical.item_tables(trial, participants)
if by_item:
    display(report.table(by_item["alpha"]))
    fig, axes = figures.figure(width=5.4, height=0.22 * len(by_item["item_differences"]) + 0.7)
    figures.plot_items(axes[0, 0], by_item["item_differences"], names)
    figures.mark(fig, trial, quick)
else:
    print("No items were recorded.")

# %% [markdown]
# The suicide item is stated apart: participants at each score, and how many were worse than at
# baseline at the final visit.

# %%
if "suicide_item" in by_item:
    layout = {"index": ["arm", "points"], "columns": "visit", "values": "n", "observed": True}
    counts = by_item["suicide_item"].pivot_table(**layout).rename(names, level="arm")
    display(report.table(counts, index=True), report.table(by_item["suicide_worsening"]))
else:
    print("No suicide item was recorded.")

# %% [markdown]
# ## Blinding
#
# Participants were asked which coil they think they had. Bang's index is 1 if all of an arm guess
# right, 0 at chance, −1 if all guess the opposite; in both arms guessing *active* gives opposite
# signs and is what hope alone would do. James' index runs from 0 (everybody right) over 0.5
# (guessing) to 1 (nobody knows). Guesses made at the end also reflect who felt better.

# %%
guesses = read_guesses(trial, participants)
blinding = None if guesses is None else clinical.blinding_table(guesses)
print("Guesses were not recorded.") if blinding is None else display(report.table(blinding))

# %% [markdown]
# ## Harms
#
# Participants with at least one event, by arm, and how many events there were. There are no p: a trial
# of this size is not made to test harms, and "no significant difference" is not safety (CONSORT
# Harms 2022).

# %%
events = read_adverse_events(trial, participants)
harms = None if events is None else clinical.adverse_event_table(events, participants)
print("Adverse events were not recorded.") if harms is None else display(
    report.table(harms.drop(columns=harms.filter(regex="serious_|related_").columns))
)

# %% [markdown]
# ## Adherence and dose

# %%
if dose is None:
    adherence = None
    print("Stimulation was not recorded.")
else:
    adherence = clinical.adherence_table(stimulation, participants, planned_sessions or None)
    fig, axes = figures.figure(width=4.6, height=2.2)
    planned = planned_sessions or int(stimulation["session"].max())
    figures.plot_stimulation(axes[0, 0], dose, planned, names)
    figures.mark(fig, trial, quick)
    display(report.table(adherence))

# %% [markdown]
# ## What we found: symptoms

# %%
main = contrasts[(contrasts["scale"] == primary.name) & (contrasts["visit"] == final)].iloc[0]
others = contrasts[(contrasts["scale"] != primary.name) & (contrasts["visit"] == final)]
at_end = at_end[at_end["scale"] == primary.name]
incomplete = at_end if patterns["missingness"].ne("complete").any() else at_end[:0]
sentences = [
    report.difference_sentence(main, names),
    report.interval_verdict(main["ci_low"], main["ci_high"]),
    report.robustness_sentence(
        main, incomplete, tip if len(incomplete) else None, randomisation.iloc[0]
    ),
    *(report.difference_sentence(row, names) for _, row in others.iterrows()),
]
sentences += [
    report.risk_sentence(row, names)
    for _, row in responders[chosen & responders["scale"].eq(primary.name)].iterrows()
]
display(Markdown(report.notice(trial, quick)), Markdown("\n\n".join(sentences)))

# %% [markdown]
# The first sentence answers the primary question; the others support it. A trial of 18 patients an
# arm can find a large effect and cannot rule out a small one.

# %% [markdown]
# ## What a report must add
#
# The CONSORT 2025 checklist, and what of it this compendium answers. What no data set holds
# (protocol, registration, how the sequence was made, funding) is for the investigators to add.

# %%
found = {
    "guess": guesses,
    "adverse_events": events,
    "stimulation": stimulation,
    "site": participants.get("site"),
}
recorded = [name for name, value in found.items() if value is not None]
checklist = clinical.consort_checklist(trial, recorded)
report.table(checklist)

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` describes its columns.

# %%
numbers = clinical.clinical_numbers(trial, flow, contrasts, responders)
files = {
    "baseline.tsv": baseline,
    "flow.json": flow,
    "consort_flow.tsv": boxes,
    "consort_checklist.tsv": checklist,
    "scores.tsv": scores,
    "means.tsv": means,
    "mmrm_contrasts.tsv": contrasts,
    "mmrm_means.tsv": model_means,
    "randomisation.tsv": randomisation,
    "ancova.tsv": ancova,
    "anova.tsv": anova,
    "growth.tsv": growth,
    "missing_patterns.tsv": patterns,
    "pattern_visits.tsv": rated_visits,
    "imputation.tsv": imputation_results,
    "tipping_curve.tsv": tipping.table,
    "tipping_point.tsv": tipping.tips,
    "responders.tsv": responders,
    "settings.json": {**n_draws, "seed": seed, "quick": quick},
}
optional = {"blinding": blinding, "adverse_events": harms, "adherence": adherence, "dose": dose}
optional = by_item | {name: table for name, table in optional.items() if table is not None}
files |= {f"{name}.tsv": table for name, table in optional.items()}
written = results.write(trial.derived / "clinical", files)
results.write_numbers(trial, "clinical", numbers)
print(*(path.relative_to(trial.derived) for path in written if path.suffix != ".json"), sep="\n")
pipeline.what_moved(trial, "clinical")
