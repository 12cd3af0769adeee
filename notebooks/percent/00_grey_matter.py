# %% [markdown]
# # 00 · Grey-matter maps
#
# **How much grey matter does each participant have at each point of the brain, before and after
# treatment?** This notebook turns T1-weighted (T1w) images as they come from the scanner into the maps
# that notebooks 01 to 03 read, using free software only (ANTs, greedy). It does not use the arms, so
# the pictures below can be judged blind.
#
# **You may not need it.** A study that already has maps (CAT12, SPM, deepmriprep), as the demo does,
# starts with notebook 01 or 02; this one then stops with a message that says so.
#
# **Contents.** [How it is done, and why](#How-it-is-done,-and-why) ·
# [Quality control of the maps](#Quality-control-of-the-maps) ·
# [What we found: maps](#What-we-found:-maps)
#
# **Change this first:** `study`, to your own study file. Then `working_mm`: 1.0 instead of 2.0 keeps
# finer detail and takes two to three times the time and memory.
#
# **Time:** minutes per participant. A run that is interrupted continues where it stopped. The notebook
# needs antspyx and picsl-greedy and, once, `python -m analysis_lib fetch templates`; the study named
# here also needs its images, `python -m analysis_lib fetch sudmex_tms --images`.

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
# Each participant needs an image before and one after treatment. Participants who withdrew before the
# second scan are listed and processed with one; for anyone else a single image is an error.

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
report.table(incomplete[["participant_id", "status"]], trial)

# %% [markdown]
# ## How it is done, and why
#
# **A point midway.** The second image is never aligned to the first. Resampling makes an image slightly
# smoother, and smoother images yield different volumes: if only one visit were resampled, that would
# look like change. Both images of a participant are therefore brought to a space midway between them
# and treated alike there (Reuter et al. 2012, NeuroImage 61:1402-1418; Ashburner & Ridgway 2013,
# Frontiers in Neuroscience 6:197). Swapping the visits reverses the sign of a change and
# does nothing else.
#
# **The brain and its tissues.** A whole-head template shows where the inside of the skull and the white
# matter are likely to be, and intensity is corrected there for inhomogeneity. Then fluid, grey and
# white matter are separated by intensity, neighbourhood and the standard brain (Atropos; Avants et al. 2011, Neuroinformatics
# 9:381-400). Putamen, caudate and thalamus are brighter than cortex: they first form a class of
# their own and are then counted as grey matter, because they would otherwise pass for white matter.
# More than half of the voxels touch another tissue and contain some of it. The probability that such a
# voxel *is* grey matter is not the share of it that is; the share is estimated from its intensity,
# between the local means of the two tissues (Tohka et
# al. 2004, NeuroImage 23:84-97).
#
# **Change from the deformation, not from two segmentations.** Tissue is classified once, on the
# average of the two visits. The difference between the visits is read from the deformation that aligns
# one with the other: its *Jacobian determinant* gives the factor by which a small piece of tissue
# grows or shrinks. Classifying each visit separately and subtracting would combine two errors, each
# larger than the change sought, because the boundary of grey and white matter moves with noise and
# contrast. Both visits are blurred slightly before they are compared: heads in different positions are
# sampled differently, and the finest detail shows that difference more than any change.
#
# **One normalisation.** The average is normalised to the standard (MNI) brain once, and both visits
# follow. A normalisation error is then the same at both visits and cancels in the difference.
#
# **Modulation.** A brain that is stretched to fit the standard one would seem to gain grey matter.
# The maps are therefore *modulated*: multiplied by the Jacobian, so that a value is the volume that the
# participant has there, as a share of the voxel, and the sum over a map gives the grey-matter volume
# (Good et al. 2001, NeuroImage 14:21-36).
#
# **What it cannot do.** Scanner distortions are corrected only as far as the scanner's own software
# does so: images corrected in 2D and in 3D must not be mixed within a participant, and a change of
# scanner, coil or sequence between the visits cannot be told from a change of the brain. Slow scanner
# drift looks like growth or shrinkage in both arms; only the comparison of the arms is safe from it.
# The volumes differ from those of CAT12, as those of any two programs do, and must not be pooled with
# them. How they compare with another program's on ten real images, and how much of a known change is
# recovered, is reported in [benchmarks](../benchmarks/README.md).
#
# All settings are written beside each map. Participants whose images, settings and code are unchanged
# are not processed again.

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
# An unusual volume, or a map that resembles the template poorly, points to a failed brain extraction,
# tissue classification or normalisation. Each measure is expressed in robust standard deviations from
# the median of its session; the largest is the image's outlier score. Images above 3 deserve a look.
# Nobody is excluded here: excluding a participant is a decision, made in the study file (`exclude`)
# before anyone knows the results, and counted in the flow.

# %%
quality = grey_matter.quality(trial, pairs)
n_outliers = (quality["outlier_score"] > 3).sum()
print(f"{n_outliers} of {len(quality)} images score above 3")
written = results.write(trial.made_maps, {"quality.tsv": quality}, keep_others=True)
report.table(quality.nlargest(8, "outlier_score"), trial)

# %% [markdown]
# Grey-matter volume follows head size. Head size does not change, so the two images of a participant
# should lie close together.

# %%
found = results.Section(trial, "grey_matter")
display(figures.panel(found, "head_size"), figures.panel(found, "template_fit"))

# %% [markdown]
# The two images with the highest scores follow; the others are in `figures/`. The orange line should
# follow the outside of the brain, neither cutting into it nor including the skull; the blue line should
# separate cortex from white matter and from fluid; and the template's edges (blue, below) should lie
# on the edges of the normalised brain. Pictures of protected participants are not shown here: they stay
# in `private/grey_matter/figures`.

# %%
folder = trial.made_maps / "figures"
for row in quality.nlargest(0 if trial.protected else 2, "outlier_score").itertuples():
    name = f"{row.participant_id}_ses-{getattr(sessions, row.session)}.png"
    display(Markdown(f"`{name}`: outlier score {row.outlier_score:.1f}"))
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
        f"{change.median():+.2f} % (median of both arms together; middle half of the participants: "
        f"{low:+.2f} to {high:+.2f} %). {n_outliers} images score above 3."
    )
)

# %% [markdown]
# ## What this wrote
#
# A BIDS derivative dataset: `sub-*/ses-*/anat/` holds the maps, each with its settings, volumes and
# versions in a JSON file beside it; `figures/` holds a picture of each image.

# %%
print(*(path.relative_to(trial.derived) for path in written), sep="\n")
print(f"{len(trial.grey_matter_maps())} maps in {trial.made_maps.relative_to(trial.derived)}")
pipeline.what_moved(trial, "grey_matter")
