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
# # 04 · Figures
#
# The figures of the paper, drawn from the result files of notebooks 01 to 03 and from nothing else:
# no statistic is computed here. Each is saved as PNG (300 dots an inch) and as PDF with editable
# text. A study without images has the clinical figures alone.
#
# **To make it yours:** change `study`, or `regions`, the atlas regions in the VBM figure.

# %% tags=["parameters"]
study: str = "demo"  # a name in data/studies, or the path of a study file
quick: bool = False  # label the figures as made with few permutations
regions: list = []  # atlas regions to show; empty: those that notebook 02 was run with
slices_mm: list = [-20, -8, 2, 14, 30, 46]  # mm, z of the axial slices

# %% [markdown]
# ## Read

# %%
import nibabel as nib
import numpy as np
from IPython.display import Markdown, display

from analysis_lib import plots, results, text, vbm
from analysis_lib.study import load_study

trial = load_study(study)
names, primary = trial.arm_names, trial.primary_scale
clinical, maps, receptor = (trial.derived / part for part in ("clinical", "vbm", "receptors"))
has_vbm, has_receptors = trial.imaging and maps.is_dir(), trial.imaging and receptor.is_dir()
made_with = [
    results.read_json(part / "settings.json") for part in (maps, receptor) if part.is_dir()
]
quick = quick or any(used["quick"] for used in made_with)
display(Markdown(text.notice(trial, quick)))
print(
    f"{trial.title}: clinical results"
    f"{', VBM' if has_vbm else ', no VBM'}{', receptors' if has_receptors else ', no receptors'}"
)
figures = {}

# %% [markdown]
# ## Figure 1 · Trajectories and differences between arms
#
# Above, scores of every participant (thin) and observed means with 95 % intervals. Below, the
# difference between the arms at each visit (MMRM), and the share of
# participants who respond or remit at the last visit, whoever was not rated counting as failure.

# %%
scores, means, contrasts, responders = (
    results.read_table(clinical / f"{name}.tsv")
    for name in ("scores", "means", "mmrm_contrasts", "responders")
)
fig, axes = plots.figure(2, 2, height=5)
for ax, scale in zip(axes[0], trial.scales, strict=False):
    plots.plot_trajectories(
        ax, *(t[t["scale"] == scale.name] for t in (scores, means)), names, f"{scale.name}, points"
    )
axes[0, 1].set_visible(len(trial.scales) > 1)
axes[1, 0].set_title("Difference between arms (MMRM)")
plots.plot_forest(
    axes[1, 0],
    contrasts,
    contrasts["scale"] + ", " + contrasts["visit"],
    f"{names['active']} - {names['control']}, points (95 % CI)",
)
final = responders[
    (responders["visit"] == trial.final_visit) & (responders["scale"] == primary.name)
]
plots.plot_risks(axes[1, 1], final[final["analysis"] == "missing_is_failure"], names)
axes[1, 1].set_title(f"{primary.name}, {trial.final_visit}")
plots.mark(fig, trial)
figures["figure1_clinical"] = fig

# %% [markdown]
# ## Figures 2 and 3 · Grey-matter change
#
# t maps where voxels survive family-wise correction (max-t, p < .05; nothing drawn means that none
# does), and the volume change of each participant by region. In one of twenty contrasts without
# any effect a voxel or two will show all the same: that is what a family-wise p of .05 means.

# %%
if has_vbm:
    images = {c: nib.load(results.require(maps / f"{c}_t.nii.gz")) for c in vbm.CONTRASTS}
    p_maps = {c: nib.load(results.require(maps / f"{c}_p_fwe_t.nii.gz")) for c in vbm.CONTRASTS}
    fig, axes = plots.brain_figure(3, 1, height=5.2, right=0.09)
    for ax, (contrast, image) in zip(axes[:, 0], images.items(), strict=True):
        plots.plot_slices(ax, plots.where(image, p_maps[contrast], 0.05), None, "t", slices_mm)
        ax.set_title(plots.contrast_title(contrast, names) + ", family-wise p < .05")
    plots.mark(fig, trial, quick)
    figures["figure2_vbm"] = fig

# %%
if has_vbm:
    change, region_means = (
        results.read_table(maps / f"{name}.tsv") for name in ("parcel_change", "region_means")
    )
    regions = regions or results.read_json(maps / "settings.json")["regions"]
    fig, axes = plots.figure(height=2.8)
    plots.plot_region_change(axes[0, 0], change, region_means, regions, names)
    plots.mark(fig, trial, quick)
    figures["figure3_regions"] = fig

# %% [markdown]
# ## Figure 4 · Receptors
#
# Correlation of the effect map with each receptor map (intervals: patients resampled); filled dots
# survive family-wise correction over maps when the arms are re-randomised. Then the leading
# receptor: its two null distributions, and the regions behind its correlation.

# %%
if has_receptors:
    correlations, points = (
        results.read_table(receptor / f"{name}.tsv") for name in ("correlations", "scatter")
    )
    null = np.load(results.require(receptor / "nulls.npz"))
    rows = correlations[correlations["contrast"] == "arm_by_time"].reset_index(drop=True)
    lead = rows.index[rows["annotation"] == points["annotation"].iloc[0]][0]
    name, r = rows.loc[lead, "receptor"], rows.loc[lead, "r"]
    fig, axes = plots.receptor_figure(len(rows))
    plots.plot_receptors(
        axes["all"], rows, "All maps, " + plots.contrast_title("arm_by_time", names)
    )
    plots.plot_null(
        axes["random"],
        null["randomisation_arm_by_time"][:, lead],
        r,
        f"{name}: arms re-randomised",
        "null",
    )
    plots.plot_null(
        axes["spatial"],
        null["spatial_arm_by_time"][:, lead],
        r,
        f"{name}: smooth surrogates",
        "null",
    )
    plots.plot_scatter(
        axes["scatter"], points, r, f"{name} density (normal score)", "change (normal score)"
    )
    plots.mark(fig, trial, quick)
    figures["figure4_receptors"] = fig

# %% [markdown]
# ## What this wrote
#
# Each figure as PNG and PDF.

# %%
written = results.write(trial.figures, figures, keep_others=True)
print(*(path.name for path in written), sep="\n")
