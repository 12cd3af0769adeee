# %% [markdown]
# # S3 · Power
#
# [What we found](#What-we-found:-power) stands at the end.
#
# **How close would a link between change and receptor have to be for a trial of this size to find
# it?** The effect map of notebook 03 is an average of a few patients, and its noise hides correlations.
#
# **Contents.** [Reliability](#Reliability) · [Power](#Power) · [What we found: power](#What-we-found:-power)
#
# **To run it:** notebooks 02 and 03 first, once; then *Run > Run All Cells* in the menu. About half a
# minute. Statistic and regions are those that 03 was run with.
#
# **Change this first:** `n_power_trials`, for a smoother curve.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # a first look with few splits and trials
n_splits: int = 500  # random halves of the patients; from 99 to 1000000
n_power_trials: int = 200  # simulated trials for each point of the power curve; from 10 to 100000
quick_draws: int = 40  # instead of the two above when quick; at least 10
seed: int = 0  # of halves and simulated trials; at least 0
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check

# %%
from IPython.display import Markdown

from analysis_lib import figures, pipeline, receptors, report, results
from analysis_lib.study import open_study

# %%
trial = open_study("S3_power", globals())
found = results.begin(trial, "power", quick)
before = results.Section(trial, "receptors")
settings = before.json("settings")
chosen = {name: settings[name] for name in ("structure", "background", "tracers")}
inputs = receptors.read_inputs(trial, **chosen)
leading = receptors.leading(before.table("correlations"))
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## Reliability
#
# The patients are split into halves at random, within arms. The correlation of the halves' maps,
# stepped up to all patients (Spearman-Brown), is the *reliability* of the effect map; the bootstrap of
# notebook 03 estimates it, too.

# %%
n = quick_draws if quick else n_splits
halves = receptors.halves(inputs, n, seed, settings["statistic"])
mine = before.table("sensitivity").set_index("contrast").loc[trial.main]
reliability = mine["reliability"].iloc[0]
print(f"halves of the patients agree with r = {halves.r:.2f}")
print(f"reliability: {halves.reliability:.2f} (halves), {reliability:.2f} (bootstrap)")

# %% [markdown]
# With a reliability near 1, more patients would change little; near 0, the map is mostly noise.
#
# ## Power
#
# A link that is significant once need not be found reliably. Trials with the noise and the (bootstrap)
# reliability of this one are simulated, in which the noise-free map follows the leading receptor more
# or less closely; power is the share in which the test of the slopes gives p < .05.

# %%
n = quick_draws if quick else n_power_trials
curve = receptors.power_rows(
    inputs, leading["annotation"], reliability, n, seed, settings["statistic"]
)
detectable = receptors.minimum_detectable_r(curve)
options = {"power_trials": n, "seed": seed, "quick": quick}
found.keep(power=curve, settings=options | {"minimum_detectable_r": detectable})
figures.panel(found, "power")

# %% [markdown]
# The curve starts at the level of the test (.05) and rises; the vertical line marks 80 % power.
#
# ## What we found: power

# %%
Markdown(report.findings(found))

# %% [markdown]
# This holds for one map named beforehand; a search over all maps has less power.
#
# ## What this wrote
#
# Beside the table (`.tsv`) a `.json` file describes its columns.

# %%
found.publish({"minimum_detectable_r": (detectable, "settings.json")})
pipeline.what_moved(trial, "power")
