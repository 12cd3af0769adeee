# %% [markdown]
# # S0 · Conduct of the trial
#
# [What we found](#What-we-found:-conduct) stands at the end.
#
# **Was treatment delivered as planned, were participants blinded, and were they harmed?** And do
# single items and growth curves tell the same story as the total scores of notebook 01? Does the
# primary model of notebook 01 fit?

# %% [markdown]
# **Contents.** [Item by item](#Item-by-item) · [Growth curves](#Growth-curves) ·
# [Does the primary model fit](#Does-the-primary-model-fit) · [Blinding](#Blinding) · [Harms](#Harms) · [Stimulation](#Stimulation) · [Adherence and dose](#Adherence-and-dose) ·
# [What a report must add](#What-a-report-must-add) · [What we found](#What-we-found:-conduct)
#
# **To run it:** *Run > Run All Cells* in the menu. It takes a few seconds. What a trial did not record
# is reported as missing.
#
# **Change this first,** in the next cell, and run all again: `planned_sessions`, the number of sessions
# of a full course. The share of participants with a full course changes.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
planned_sessions: int = 0  # sessions planned; 0: the most in stimulation.tsv; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# Participants and ratings, as in notebook 01.

# %%
from IPython.display import Markdown, display

from analysis_lib import clinical, figures, pipeline, report, results
from analysis_lib.study import open_study, read_adverse_events, read_guesses
from analysis_lib.study import read_protocol, read_stimulation

trial = open_study("S0_trial_conduct", globals())
data = clinical.read_trial(trial)
participants = data.participants
found = results.begin(trial, "conduct")
Markdown(report.notice(trial))

# %% [markdown]
# ## Item by item
#
# Where single items were recorded, this section gives their internal consistency (Cronbach's alpha) and
# the difference between arms in the change of each item. Alpha is low, even negative, at a baseline
# that admits only high totals, because selection narrows their spread. Items are parts of an outcome
# already tested, so they have intervals and no p-values.

# %%
by_item = {}
with found.part("Items"):
    by_item = clinical.item_tables(trial, participants)
    found.keep(**by_item)
if "item_differences" in by_item:
    display(report.table(by_item["alpha"], trial), figures.panel(found, "items"))
else:
    print("No items were recorded.")

# %% [markdown]
# An effect that rests on one or two items, such as sleep or appetite, is not an effect on the condition
# as a whole.
#
# Factors of HAMD-17 are sums of items (Cleary & Guy 1977); HAMD-6 holds its core symptoms (Bech et al.
# 1975).

# %%
if "factors" in by_item:
    display(report.table(by_item["factors"], trial, "factors"))

# %% [markdown]
# The suicide item is reported separately: participants at each score, and how many were worse than at
# baseline.

# %%
if "suicide_item" in by_item:
    layout = {"index": ["arm", "points"], "columns": "visit", "values": "n", "observed": True}
    counts = by_item["suicide_item"].pivot_table(**layout)
    worse = by_item["suicide_worsening"]
    display(report.table(counts, trial, index=True), report.table(worse, trial))
else:
    print("No suicide item was recorded.")

# %% [markdown]
# Read this table as a table of harms: single participants matter, and averages do not.

# %% [markdown]
# ## Growth curves
#
# A straight line is fitted to each participant's scores, and the slopes (points per week) are compared
# between arms. A line cannot follow a course that flattens, and the intervals are normal ones, too
# narrow in small samples. Growth curves are shown because they are widely reported; the primary model
# of notebook 01 assumes less.

# %%
with found.part("Growth curves"):
    growth = clinical.growth_table(data.scores)
    found.keep(growth=growth)
    display(report.table(growth, trial, "growth"))

# %% [markdown]
# Where lower scores are better, a negative difference means a steeper fall with active treatment.

# %% [markdown]
# ## Does the primary model fit
#
# The model (MMRM) takes residuals for normal, with the same covariance in both arms. Residuals divided
# by the SD of their visit should follow the normal quantiles.

# %%
with found.part("Residuals and influence"):
    fits = clinical.fit_models(data.changes)
    contrast = (trial.primary_scale.name, trial.final_visit)
    influence = clinical.influence_table(fits, data.changes, *contrast)
    found.keep(residuals=clinical.residual_table(fits), influence=influence)
    display(figures.panel(found, "residuals"), figures.panel(found, "left_out"))

# %% [markdown]
# Points that leave the line at the ends are outliers or a skewed scale. The second figure fits the model
# again without each participant in turn: a result that depends on one participant is a weak one.

# %% [markdown]
# ## Blinding
#
# Where participants were asked which treatment they thought they had received, their guesses are
# summarised. Bang's index is 1 if everyone in an arm guesses right, 0 at chance and −1 if everyone
# guesses the opposite. If both arms guess *active*, as hope alone would suggest, the two indices have
# opposite signs. James' index runs from 0 (everyone right) through 0.5 (guessing) to 1 (nobody knows).
# Guesses made at the end also reflect who felt better. Bang's interval inverts the score test (Tango
# 1998): at 12 participants it covers .96 on average, and .85 at worst, where nearly all guess alike.

# %%
guesses = read_guesses(trial, participants)
if guesses is None:
    print("Guesses were not recorded.")
else:
    found.keep(blinding=clinical.blinding_table(guesses))
    display(report.table(found.table("blinding"), trial))

# %% [markdown]
# Guesses that are right in one arm and at chance in the other are as compatible with benefit as with
# broken blinding: patients who feel better guess *active*.

# %% [markdown]
# ## Harms
#
# Where adverse events were recorded, the table gives the participants with at least one event and the
# number of events, by arm. There are no p-values: trials are sized to detect benefit, not harm, and "no
# significant difference" does not show safety (CONSORT Harms 2022).

# %%
events = read_adverse_events(trial, participants)
if events is None:
    print("Adverse events were not recorded.")
else:
    harms = clinical.adverse_event_table(events, participants)
    found.keep(adverse_events=harms)
    shown = harms.drop(columns=harms.filter(regex="serious_|related_").columns)
    display(report.table(shown, trial))

# %% [markdown]
# The upper limit of a risk difference shows how much excess harm remains possible.

# %% [markdown]
# ## Stimulation
#
# What `stimulation.json` says of the target, coil, pattern, intensity and sham, and the mean of the
# participants' own targets where they are known.

# %%
protocol = read_protocol(trial, participants)
if protocol is None:
    print("The stimulation protocol was not recorded.")
else:
    found.keep(protocol=protocol)
    display(report.table(protocol, trial))

# %% [markdown]
# ## Adherence and dose
#
# Sessions received and, where recorded, intensity and pulses, by arm. For a sham coil, intensity and
# pulses are those that were set and played, not delivered.

# %%
stimulation = read_stimulation(trial, participants)
planned = planned_sessions or (0 if stimulation is None else int(stimulation["session"].max()))
found.keep(settings={"planned_sessions": planned, "quick": False})
if stimulation is None:
    print("Stimulation was not recorded.")
else:
    adherence = clinical.adherence_table(stimulation, participants, planned)
    found.keep(adherence=adherence, dose=clinical.participant_dose(stimulation, participants))
    display(figures.panel(found, "stimulation"), report.table(adherence, trial))

# %% [markdown]
# If the arms differ in the sessions received, they differ in more than the treatment itself.

# %% [markdown]
# ## What a report must add
#
# The CONSORT 2025 checklist, with the items that this compendium answers, then its extension for harms,
# TIDieR (the intervention) and the checklist for TMS of Chipchase et al. (2012). What no data set holds
# (protocol, how the allocation sequence was made, funding) is for the investigators to add.

# %%
asked = {"guess": guesses, "adverse_events": events, "stimulation": stimulation}
asked |= {c: participants.get(c) for c in ("site", "age", "sex", "handedness", "stopped_because")}
asked["suicide"] = by_item.get("suicide_item")
recorded = [name for name, value in asked.items() if value is not None]
recorded += [] if protocol is None else [f"protocol.{name}" for name in protocol["parameter"]]
for guideline in ("consort", "harms", "tidier", "chipchase"):
    checklist = clinical.consort_checklist(trial, recorded, guideline)
    found.keep(**{f"{guideline}_checklist": checklist})
    display(report.table(checklist, trial, title=guideline.upper()))

# %% [markdown]
# The column *where* names the notebook and section that answers an item.

# %% [markdown]
# ## What we found: conduct

# %%
Markdown(report.findings(found))

# %% [markdown]
# ## What this wrote
#
# Beside each table (`.tsv`) a `.json` describes its columns.

# %%
found.publish()
pipeline.what_moved(trial, "conduct")
