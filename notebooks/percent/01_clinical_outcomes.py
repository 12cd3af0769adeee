# ---
# jupyter:
#   jupytext:
#     formats: notebooks///ipynb,notebooks/percent///py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Clinical outcomes
#
# Do depression and anxiety improve more with active than with control treatment? Depression is
# rated with the Hamilton Depression Rating Scale (HAMD-17, 0 to 52 points, higher is worse),
# anxiety with the Hamilton Anxiety Rating Scale (HAMA, 0 to 56), before treatment and at visits
# after it began. This notebook follows every participant from randomisation on, shows the scores,
# and compares the arms visit by visit, over all visits, and in the share of patients who respond
# or remit.
#
# **To make it yours:** change `study` in the next cell to the name of a file in `data/studies`, or
# to the path of your own study file, and choose *Run > Run All Cells*.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file

# %% [markdown]
# ## Read and check
#
# The study file says which columns and visits count. Tables that break the contract stop the
# notebook here, with the file and row to look at.

# %%
from IPython.display import Markdown, display

from analysis_lib import images, outcomes, plots, ratings, results, text
from analysis_lib.study import load_study

trial = load_study(study)
participants = ratings.read_participants(trial)
scores = ratings.read_ratings(trial, participants)
changes = ratings.with_baseline(trial, scores)
names = trial.arm_names
primary = trial.primary_scale
display(Markdown(text.notice(trial)))
print(
    f"{trial.title}: {len(participants)} participants, {len(scores)} ratings of "
    f"{', '.join(scale.name for scale in trial.scales)}"
)

# %% [markdown]
# ## Who took part
#
# Everybody randomised is counted, by arm, with the reason for each loss (CONSORT 2025). A
# participant enters the primary analysis with a baseline and at least one later score: nobody is
# dropped for leaving early, and nobody's missing score is filled in.

# %%
maps = images.find_maps(trial, participants)
pairs = images.pair_maps(trial, participants, maps) if len(maps) else None
flow = outcomes.participant_flow(trial, participants, scores, pairs)
fig, axes = plots.figure(width=5, height=2.6)
plots.plot_flow(axes[0, 0], flow, trial)
plots.mark(fig, trial)
# %%
for arm, counts in flow.items():
    lost = {f"excluded: {why}": who for why, who in counts["excluded"].items()}
    lost |= {f"withdrew after {visit}": who for visit, who in counts["withdrew"].items()}
    reasons = "; ".join(f"{', '.join(who)} ({why})" for why, who in lost.items()) or "nobody"
    print(
        f"{names[arm]}: {counts['randomised']} randomised, {counts['analysed']} in the primary "
        f"analysis. Excluded or withdrawn: {reasons}"
    )

# %% [markdown]
# **Table 1.** The last column is the standardised mean difference. There is no p: after
# randomisation every difference at baseline is a chance one, and a test of it answers no question.
# A value beyond ±0.25 or so is worth keeping in mind; in small trials several are expected.

# %%
baseline = outcomes.baseline_table(trial, participants, scores)
text.table(baseline.rename(columns=names))

# %% [markdown]
# ## Scores over time
#
# Thin lines are participants, dots the observed mean of those rated at a visit, bars its 95 %
# interval. Observed means mix change with dropout; the comparisons below adjust for baseline.

# %%
means = outcomes.visit_means(scores)
n_scales = len(trial.scales)
fig, axes = plots.figure(1, n_scales, height=2.7)
for ax, scale in zip(axes[0], trial.scales, strict=True):
    plots.plot_trajectories(ax, *(t[t["scale"] == scale.name] for t in (scores, means)), names)
    ax.set_title(scale.name)
plots.mark(fig, trial)
# %%
cell = [f"{row.mean:.1f} ({row.sd:.1f}), n = {row.n}" for row in means.itertuples()]
wide = means.assign(cell=cell, arm=means["arm"].map(names))
print("mean (SD) in points, n participants rated")
wide.pivot(index=["scale", "arm"], columns="visit", values="cell").fillna("not rated")

# %% [markdown]
# ## The difference at each visit
#
# At each visit the outcome is compared between arms with the baseline score as a covariate
# (ANCOVA): the baseline explains part of the outcome's spread, which makes the estimate more
# precise than a comparison of raw changes and removes what chance imbalance there was. Standard
# errors are HC3, which need no equal spread in the two arms and keep their level in small samples
# (Long & Ervin 2000). *Estimate* is active - control in points: **negative favours active**.
#
# Only participants rated at a visit count there. That is unbiased if who is missing depends on
# nothing but arm and baseline. Each visit and scale is a test of its own and p is not corrected for
# their number: the study file names one primary scale and visit, the rest is supportive.

# %%
ancova = outcomes.ancova(changes)
fig, axes = plots.figure(width=5, height=0.32 * len(ancova) + 0.7)
labels = ancova["scale"] + ", " + ancova["visit"].astype(str)
plots.plot_forest(
    axes[0, 0], ancova, labels, "active - control, points (95 % CI); left favours active"
)
plots.mark(fig, trial)
text.table(ancova.drop(columns="contrast"))

# %%
values = ancova.loc[ancova["kind"] == "value", "scale"].unique()
if len(values):
    print(
        f"{', '.join(values)} was not rated at {trial.baseline}: its scores are compared as they "
        f"are, adjusted for {primary.name} at {trial.baseline}, not as changes."
    )
else:
    print("Every scale was rated at baseline: outcomes are changes from it.")

# %% [markdown]
# ## Group x time analysis of variance
#
# The analysis that the field's papers report. *Arm x time* asks whether the arms' courses differ.
# It uses only participants with every visit, and assumes that all pairs of visits differ with equal
# variance (sphericity); Greenhouse-Geisser's epsilon, 1 when that holds, corrects for its failure
# (`p_gg`). With arms of unequal size the main effect of *time* weights them by size. Unlike ANCOVA it does not treat baseline as given, and it asks about any difference in
# course, not about the end of treatment.

# %%
anova = outcomes.rm_anova(scores)
text.table(anova)

# %% [markdown]
# ## Response and remission
#
# Response is a fall of at least half of the baseline score, remission a score at or below the
# scale's cut-off. `missing_is_failure` counts whoever was not rated as not responding, the cautious
# reading; `observed` leaves them out. Cutting a scale in two discards information, so these tables
# illustrate the comparison above and have less power than it. Intervals are Newcombe's; p is
# Fisher's exact test; a number needed to treat appears only where the interval excludes 0.

# %%
responders = outcomes.responders(trial, participants, scores)
chosen = responders["analysis"].eq("missing_is_failure") & responders["visit"].eq(trial.final_visit)
fig, axes = plots.figure(1, n_scales, height=2.4)
for ax, scale in zip(axes[0], trial.scales, strict=True):
    rows = responders[chosen & responders["scale"].eq(scale.name)]
    ax.set_title(f"{scale.name}, {trial.final_visit}")
    plots.plot_risks(ax, rows, names) if len(rows) else ax.set_axis_off()
plots.mark(fig, trial)
text.table(responders[responders["visit"] == trial.final_visit].drop(columns="visit"))

# %% [markdown]
# ## What we found

# %%
final = ancova[ancova["visit"] == trial.final_visit].set_index("scale", drop=False)
main = final.loc[primary.name]
sentences = [text.difference_sentence(row, names) for _, row in final.iterrows()]
sentences.insert(1, text.interval_verdict(main["ci_low"], main["ci_high"]))
risks = responders[chosen & responders["scale"].eq(primary.name)]
sentences += [text.risk_sentence(row, names) for _, row in risks.iterrows()]
display(Markdown(text.notice(trial)), Markdown("\n\n".join(sentences)))

# %% [markdown]
# The first sentence answers the primary question; the others support it. A trial of 18 patients an
# arm can find a large effect and cannot rule out a small one.

# %% [markdown]
# ## What this wrote

# %%
numbers = text.clinical_numbers(trial, flow, ancova, responders)
files = {"baseline.tsv": baseline, "flow.json": flow, "scores.tsv": scores, "means.tsv": means}
files |= {"ancova.tsv": ancova, "anova.tsv": anova, "responders.tsv": responders}
for path in results.write(trial.derived / "clinical", files):
    print(path.relative_to(trial.derived))
results.write_numbers(trial, "clinical", numbers).name
