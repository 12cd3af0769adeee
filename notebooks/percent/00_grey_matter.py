# %% [markdown]
# # 00 · Grey-matter maps
#
# **How much grey matter does each participant have at each place of the brain, before and after
# treatment?** This notebook turns T1-weighted (T1w) images as they come from the scanner into the maps
# that notebooks 01 to 03 read, with free software alone (ANTs, greedy). It compares no arms and does
# not know them: whoever looks at the pictures below is blind.
#
# **You may not need it.** A study that brings maps of its own (CAT12, SPM, deepmriprep), as the demo
# does, starts with notebook 01 or 02; this one then stops with a sentence that says so.
#
# **Contents.** [How it is done, and why](#How-it-is-done,-and-why) ·
# [Quality control of the maps](#Quality-control-of-the-maps) ·
# [What we found: maps](#What-we-found:-maps)
#
# **Change this first:** `study`, to your own study file. Then `working_mm`: 1.0 instead of 2.0 keeps
# finer detail, and takes two to three times the time and memory.
#
# **Time:** minutes a participant, and it can be broken off: the next run goes on where this one was.
# It needs antspyx and picsl-greedy and, once, `python -m analysis_lib fetch templates`; the study
# named here also needs its images, `python -m analysis_lib fetch sudmex_tms --images`.

# %% tags=["parameters"]
study: str = "sudmex_tms"  # a name in data/studies, or the path of a study file
quick: bool = False  # without effect: there is no quick way to do this
working_mm: float = 2.0  # mm, voxel size for segmenting and registering; from 0.5 to 10
output_mm: float = 1.5  # mm, voxel size of the maps; from 1 to 10
n_jobs: int = 2  # participants at once, without a Dask cluster; no number depends on it; at least 1
variant: str = ""  # folder in variants/ for results; empty: named after what is changed

# %% [markdown]
# ## Read and check
#
# Each participant needs an image before and one after treatment. Who withdrew before the second is
# named and processed with one; anybody else with one image only is an error.

# %%
import numpy as np
from IPython.display import Image, Markdown, display

from analysis_lib import figures, grey_matter, pipeline, report, results
from analysis_lib.results import StudyError
from analysis_lib.study import open_study, read_participants

trial = open_study("00_grey_matter", globals())
display(Markdown(report.notice(trial)))
why_not = pipeline.blocked(pipeline.select(pipeline.STEPS, ["00"])[0], trial)
if why_not:
    advice = "To go on without, open notebook 01, or change study"
    raise StudyError([f"{trial.name}: notebook 00 does not run: {why_not}. {advice}"])

# %%
participants = read_participants(trial)
pairs = grey_matter.scans(trial, participants)
sessions = trial.imaging.sessions
two, incomplete = pairs["status"] == "analysed", pairs[pairs["status"] != "analysed"]
print(f"{two.sum()} participants with images at {sessions.pre} and {sessions.post}")
print(*(incomplete["participant_id"] + ": " + incomplete["status"]), sep="\n")

# %% [markdown]
# ## How it is done, and why
#
# **A point midway.** Image two is never laid onto image one. Whatever is resampled gets a little
# smoother, and smoother images yield other volumes: if one visit alone were resampled, that would
# look like change. Both images of a participant are therefore brought to a space midway between them
# and treated alike there (Reuter et al. 2012, NeuroImage 61:1402-1418; Ashburner & Ridgway 2013,
# Frontiers in Neuroscience 6:197). Swapping the visits turns the sign of a change, and does nothing
# else.
#
# **The brain, and its tissues.** A whole-head template tells where the skull's inside lies and where
# white matter is likely; brightness is evened out there. Then fluid, grey and white matter are told
# apart by brightness, neighbours and the standard brain (Atropos; Avants et al. 2011, Neuroinformatics
# 9:381-400). Putamen, caudate and thalamus are brighter than cortex: they are a class of their own
# first, counted as grey matter afterwards, or they would pass for white. More than half of the voxels
# touch another tissue and hold some of it. How probably such a voxel *is* grey matter is not how much
# of it is; the share is read from its brightness, between the local means of both tissues (Tohka et
# al. 2004, NeuroImage 23:84-97).
#
# **Change from the deformation, not from two segmentations.** Tissue is classified once, on the
# average of the two visits. What differs between the visits is read from the deformation that brings
# one into agreement with the other: its *Jacobian determinant* says by how much a small piece of
# tissue is larger or smaller. To classify each visit by itself and subtract would subtract two
# errors, each larger than the change sought: the boundary of grey and white matter is a matter of
# thresholds, and moves with noise and contrast. Both visits are blurred a little before they are
# compared: heads that lie differently are sampled differently, and the finest detail shows that
# difference more than any change.
#
# **One normalisation.** The average is brought to the standard (MNI) brain once, and both visits go
# along with it. An error of normalisation is then the same at both, and falls out of the difference.
#
# **Modulation.** A brain that is stretched to fit the standard one would seem to gain grey matter.
# The maps are *modulated*: multiplied by the Jacobian, so that a value is the volume that the
# participant really has there, over the volume of the voxel, and the sum of a map is grey-matter
# volume in ml (Good et al. 2001, NeuroImage 14:21-36).
#
# **What it cannot do.** Distortions of the scanner are corrected only as far as the scanner's own
# software has done it: images corrected in the plane alone (2D) and ones corrected in 3D must not be
# mixed within a participant, nor can a change of scanner, coil or sequence between the visits be
# told from a change of the brain. Slow drift of the scanner looks like growth or shrinkage in both
# arms alike; only the comparison of the arms is safe from it. This is not CAT12: volumes differ
# from its, as those of any two programs do, and must not be pooled with them. How its volumes compare
# with another program's on ten real images, and how much of a known change it finds, is measured in
# [benchmarks](../benchmarks/README.md).
#
# Every setting is written beside every map. Participants whose images, settings and code are the
# same as before are not processed again, so that a run that was broken off goes on where it was.

# %%
method = grey_matter.ants_method(
    figures.segmentation_picture, working_mm=working_mm, output_mm=output_mm
)
batch = grey_matter.plan(trial, pairs, method)
print(batch.summary(n_jobs))

# %%
grey_matter.run(batch, n_jobs, progress=print)

# %% [markdown]
# ## Quality control of the maps
#
# A volume far from the others', or a map that resembles the template little, points to a brain that
# was cut wrongly, a tissue taken for another, or a normalisation that went astray. Each measure is
# put in robust standard deviations from the median of its session; the largest is the image's score.
# Above 3 an image deserves a look: at its picture first. Nothing is dropped here: excluding a
# participant is a decision, made in the study file (`exclude`) before anybody knows the results, and
# counted in the flow.

# %%
quality = grey_matter.quality(trial, pairs)
outliers = grey_matter.named(quality)
print(f"{len(outliers)} of {len(quality)} images score above 3: {'; '.join(outliers) or 'none'}")
report.table(quality.nlargest(8, "outlier_score"), trial)

# %% [markdown]
# A dot is an image. Grey-matter volume follows head size; a head keeps its size, so that the two dots
# of a participant (joined) should lie nearly in one place.

# %%
fig, axes = figures.figure(1, 2, height=2.6)
figures.plot_head_size(axes[0, 0], quality)
figures.plot_template_fit(axes[0, 1], quality)
figures.mark(fig, trial)

# %% [markdown]
# The two images with the highest scores, whatever these are. All others lie in `figures/`. The orange
# line should run along the outside of the brain, neither through it nor around the skull; the blue
# one between cortex and white matter and between cortex and fluid; the template's edges (blue, below)
# on the edges of the normalised brain.

# %%
folder = trial.made_maps / "figures"
for row in quality.nlargest(2, "outlier_score").itertuples():
    name = f"{row.participant_id}_ses-{getattr(sessions, row.session)}.png"
    display(Markdown(f"`{name}`: {row.furthest}, score {row.outlier_score:.1f}"))
    display(Image(folder / name))

# %% [markdown]
# ## What we found: maps

# %%
change = quality["grey_change"].dropna()
low, high = (np.nan, np.nan) if change.empty else change.quantile([0.25, 0.75])
display(
    Markdown(
        f"{len(quality)} grey-matter maps of {quality['participant_id'].nunique()} participants. "
        f"Total intracranial volume: median {quality['tiv_ml'].median():.0f} ml "
        f"({quality['tiv_ml'].min():.0f} to {quality['tiv_ml'].max():.0f}); grey matter "
        f"{quality['grey_ml'].median():.0f} ml ({quality['grey_ml'].min():.0f} to "
        f"{quality['grey_ml'].max():.0f}). From before to after treatment grey matter changed by "
        f"{change.median():+.2f} % (median of both arms together; half of the participants between "
        f"{low:+.2f} and {high:+.2f} %). {len(outliers)} images score above 3."
    )
)

# %% [markdown]
# ## What this wrote
#
# A BIDS derivative dataset: `sub-*/ses-*/anat/` holds the maps, each with its settings, volumes and
# versions in a JSON file beside it; `figures/` a picture of each image.

# %%
written = results.write(trial.made_maps, {"quality.tsv": quality}, keep_others=True)
written += trial.grey_matter_maps()
print(*(path.relative_to(trial.derived) for path in written), sep="\n")
pipeline.what_moved(trial, "grey_matter")
