# %% [markdown]
# # 04 · Figures
#
# The figures of a paper, drawn only from the result files of notebooks 01 to 03: no statistic is
# computed here. Each figure is saved as PNG (300 dots per inch) and as PDF with searchable text, and
# has a caption and a text alternative whose numbers come from the same files. A study without images
# has Figures 1 and 2 only.
#
# **Change this first:** `regions`, for instance to `["left putamen", "left caudate"]`,
# and run all cells: Figure 3 then shows these regions. Next try `slices_mm`, or `study`.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # label the figures as made with few permutations
regions: list = []  # atlas regions to show; empty: those that notebook 02 was run with
slices_mm: list = [-20, -8, 2, 14, 30, 46]  # mm, z of the axial slices; each from -72 to 108
most_maps: int = 24  # receptor maps in Figure 4; its page has them all; at least 1
separate: bool = True  # save every panel as a figure of its own, too; never in a quick run
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read

# %%
from IPython.display import Markdown

from analysis_lib import figures, pipeline, report
from analysis_lib.study import open_study

trial = open_study("04_figures", globals())
Markdown(report.notice(trial, quick))

# %% [markdown]
# ## Figure 1 · Participants
#
# Who was randomised, rated and analysed, and which ratings are missing.

# %%
figure1 = figures.participants(trial)
figure1

# %% [markdown]
# ## Figure 2 · Clinical outcomes
#
# Each participant's course is a thin line. Thick lines are the means of the primary model (the mixed
# model for repeated measures, MMRM) with 95 % intervals. They estimate the *change* at the average
# baseline; the thin lines also show change, so each starts at 0. A scale without a baseline is drawn as
# scores. Further panels show the differences between the arms, response and remission, and, where
# scores are missing, how much worse they would have to be for the result to be lost.

# %%
figure2 = figures.clinical(trial)
figure2

# %% [markdown]
# ## Figure 3 · Grey matter
#
# Maps of t: the fainter the colour, the smaller |t|. Voxels that survive family-wise correction (max-t,
# p < .05) are outlined, and the glass brain shows these alone. Below is each participant's change by
# region. Without any effect, some voxels still survive in one contrast in twenty: that is what a
# family-wise p of .05 means.

# %%
figure3 = figures.grey_matter(trial, regions, slices_mm)
figure3

# %% [markdown]
# ## Figure 4 · Receptors
#
# The correlation of the effect map with each receptor map, in order, with its interval (patients
# resampled). The bands show the r to expect if treatment did nothing, and among maps as smooth as the
# effect map; each question has its own p. Further panels show the leading receptor, all receptors
# together, and how much single regions matter.

# %%
figure4 = figures.receptors(trial, most_maps)
figure4

# %% [markdown]
# ## What this wrote
#
# Each figure as PNG and PDF, and each panel by itself, for slides or for a journal that wants single
# files; titles, captions and text alternatives are in `captions.json`. Figures made with few
# permutations go to `quick/` and leave the others unchanged.

# %%
figures.save(trial, [figure1, figure2, figure3, figure4], separate and not quick)
pipeline.what_moved(trial, "clinical", "vbm", "receptors")
