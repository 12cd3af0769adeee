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
# The paper's figures, drawn from the result files of notebooks 01 to 03 and from nothing else: no
# statistic is computed here. Each figure is saved as PNG (300 dots an inch) and as PDF whose text
# stays text, and each has a caption and a text alternative whose numbers come from the same files.
# A study without images has Figures 1 and 2 alone.
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
#
# A figure is made of *panels*: a drawing (`figures.plot_x`), a title, and what is said of it.
# `figures.compose` lays panels out; the same panel can stand alone.

# %%
from functools import partial

import nibabel as nib
import numpy as np
from IPython.display import Markdown, display

from analysis_lib import figures, pipeline, report, results, vbm
from analysis_lib.figures import Panel
from analysis_lib.study import open_study

trial = open_study("04_figures", globals())
names, primary, final = trial.arm_names, trial.primary_scale, trial.final_visit
clinical, maps, receptor = map(trial.result, ("clinical", "vbm", "receptors"))
has_vbm, has_receptors = trial.imaging and maps.is_dir(), trial.imaging and receptor.is_dir()
settings = {
    part.name: results.read_json(part / "settings.json")
    for part in (clinical, maps, receptor)
    if part.is_dir()
}
panels_too = separate and not quick
few_permutations = quick or any(used["quick"] for used in settings.values())
display(Markdown(report.notice(trial, few_permutations)))
print(
    f"{trial.title}: clinical results"
    f"{', VBM' if has_vbm else ', no VBM'}{', receptors' if has_receptors else ', no receptors'}"
)
marks = figures.warnings_of(trial, few_permutations)
drawn, described, single = {}, {}, {}

# %% [markdown]
# ## Figure 1 · Participants
#
# Who was randomised, rated and analysed, and which ratings are missing.

# %%
flow = results.read_json(clinical / "flow.json")
boxes, patterns, rated_visits = (
    results.read_table(clinical / f"{name}.tsv")
    for name in ("consort_flow", "missing_patterns", "pattern_visits")
)
visits = list(rated_visits["visit"])
panels = {
    "flow": Panel(
        partial(figures.plot_consort, boxes=boxes),
        "Flow of participants",
        *figures.describe_flow(flow, names),
        size=(figures.PAGE, figures.consort_height(boxes)),
    ),
    "ratings": Panel(
        partial(figures.plot_missing, patterns=patterns, visits=visits, names=names),
        f"{primary.name}: who was rated when",
        *figures.describe_missing(patterns, names),
        size=(4.6, 0.24 * len(patterns) + 0.85),
    ),
}
blocks = [([[name]], panel.size[1], None) for name, panel in panels.items()]
drawn["figure1_participants"] = figures.compose(panels, blocks, names, marks)
described["figure1_participants"] = figures.captions("Participants", panels, marks)
single["figure1"] = panels

# %% [markdown]
# ## Figure 2 · Clinical outcomes
#
# Every participant's course is a thin line. Thick lines are the means of the primary model (the
# mixed model for repeated measures, MMRM), with 95 % intervals. They are estimates of *change* at the average baseline, and the lines are
# drawn as change, too: each starts at 0. A scale without a baseline is drawn as scores. Then the
# differences between the arms, response and remission, and how bad the missing scores would have
# to be for the result to be lost.

# %%
scores, rated, means, contrasts, responders, curve, tips = (
    results.read_table(clinical / f"{name}.tsv")
    for name in (
        *("scores", "means", "mmrm_means", "mmrm_contrasts", "responders"),
        *("tipping_curve", "tipping_point"),
    )
)
means["week"] = means["visit"].map(trial.visits)
kinds = contrasts.groupby("scale")["kind"].first()
courses = {}
for scale in sorted(trial.scales, key=lambda scale: not scale.primary):
    own, model, counts = (t[t["scale"] == scale.name] for t in (scores, means, rated))
    if scale.name not in kinds:
        continue
    changes = kinds[scale.name] == "change"
    lines = figures.since_baseline(own) if changes else own.assign(value=own["score"])
    label = f"{'change in ' if changes else ''}{scale.name}, points"
    courses[scale.key] = Panel(
        partial(figures.plot_course, individuals=lines, means=model, counts=counts, ylabel=label),
        scale.name,
        *figures.describe_course(scale.name, kinds[scale.name], lines, model, names),
        size=(figures.COLUMN, 3),
        arms=True,
    )

# %%
at_end = responders["visit"].eq(final) & responders["scale"].eq(primary.name)
outcome = responders[at_end & responders["analysis"].eq("missing_is_failure")]
target = (primary.name, final)
others = {
    "differences": Panel(
        partial(figures.plot_differences, contrasts=contrasts, names=names, primary=target),
        "Difference between arms (MMRM)",
        *figures.describe_differences(contrasts, names, target),
        size=(5.4, 0.19 * len(contrasts) + 1),
    ),
    "response": Panel(
        partial(figures.plot_risks, rows=outcome, names=names, legend=False),
        f"Responders, {primary.name}, {results.visit_words(final)}",
        *figures.describe_risks(outcome, names, primary.name, final),
        arms=True,
    ),
}
tip = tips.iloc[0] if len(tips) else {"status": "nothing was missing"}
if tip["status"] not in ("tips", "does not tip"):
    print(f"No tipping point is drawn: {tip['status']}.")
else:
    others["tipping_point"] = Panel(
        partial(figures.plot_tipping, curve=curve, names=names, tip=tip["delta_interpolated"]),
        f"Tipping point, {primary.name}, {results.visit_words(final)}",
        *figures.describe_tipping(curve, tip, names, primary.name, final),
        size=(figures.COLUMN, 2.8),
    )

# %%
shown = list(courses)[:4]
blocks = [([shown[i : i + 2]], 2.4, None) for i in range(0, len(shown), 2)]
blocks.append(([["differences"]], 0.19 * len(contrasts) + 1, None))
blocks.append(([list(others)[1:]], 2.3, None))
panels = {name: courses[name] for name in shown} | others
drawn["figure2_clinical"] = figures.compose(panels, blocks, names, marks)
described["figure2_clinical"] = figures.captions("Clinical outcomes", panels, marks)
single["figure2"] = courses | others

# %% [markdown]
# ## Figure 3 · Grey matter
#
# t maps: the fainter, the smaller; outlined where voxels survive family-wise correction (max-t,
# p < .05). The glass brain shows these voxels alone. Below, the change of each participant by region.
# In one of twenty contrasts without any effect a voxel or two will survive all the same: that is
# what a family-wise p of .05 means.

# %%
if has_vbm:
    summary = results.read_table(maps / "summary.tsv").set_index("contrast", drop=False)
    images = {c: nib.load(results.require(maps / f"{c}_t.nii.gz")) for c in vbm.CONTRASTS}
    p_maps = {c: nib.load(results.require(maps / f"{c}_p_fwe_t.nii.gz")) for c in vbm.CONTRASTS}
    change, region_means = (
        results.read_table(maps / f"{name}.tsv") for name in ("parcel_change", "region_means")
    )
    regions = regions or settings["vbm"]["regions"]
    end = float(np.ceil(max(np.abs(image.get_fdata()).max() for image in images.values())))
    slices, glass = {}, {}
    for contrast, image in images.items():
        label = f"t ({summary.loc[contrast, 'df']:g} df)"
        row = summary.loc[contrast]
        n = " + ".join(str(row[f"n_{arm}"]) for arm in figures.COLOURS if row[f"n_{arm}"])
        title = f"{figures.contrast_title(contrast, names)} (n = {n})"
        look = {"image": image, "label": label, "vmax": end}
        slices[contrast] = Panel(
            partial(
                figures.plot_slices,
                threshold=None,
                cuts=slices_mm,
                outline=p_maps[contrast],
                **look,
            ),
            title,
            *figures.describe_brain(row, names),
            brain=True,
        )
        glass[contrast] = Panel(
            partial(figures.plot_glass, p_image=p_maps[contrast], **look),
            f"{title}, family-wise p < .05",
            *figures.describe_brain(row, names, glass=True),
            brain=True,
        )
    by_region = Panel(
        partial(
            figures.plot_region_change,
            change=change,
            means=region_means,
            regions=regions,
            names=names,
            legend=False,
        ),
        "Change by region",
        *figures.describe_regions(region_means, regions, names),
        size=(figures.PAGE, 0.5 * len(regions) + 0.7),
        arms=True,
    )
    panels = {
        "slices": slices["arm_by_time"],
        "glass": glass["arm_by_time"],
        "regions": by_region,
    }
    heights = [1.5, 1.8, by_region.size[1]]
    blocks = [([[name]], height, None) for name, height in zip(panels, heights, strict=True)]
    drawn["figure3_grey_matter"] = figures.compose(panels, blocks, names, marks)
    described["figure3_grey_matter"] = figures.captions("Grey-matter change", panels, marks)
    single["figure3"] = {"regions": by_region}
    contrasts = (("slices", slices, 1.5), ("glass_brain", glass, 1.8)) if panels_too else ()
    for name, group, height in contrasts:
        blocks = [([[contrast]], height, None) for contrast in group]
        drawn[f"figure3_{name}"] = figures.compose(group, blocks, names, marks)
        title = f"Grey-matter change by contrast, {name.replace('_', ' ')}"
        described[f"figure3_{name}"] = figures.captions(title, group, marks)

# %% [markdown]
# ## Figure 4 · Receptors
#
# Correlation of the effect map with each receptor map, in order, with its interval (patients
# resampled). The bands say what r to expect if treatment did nothing, and among maps that are as
# smooth as the effect map; a p answers each question. Then the leading receptor, all receptors
# together, and how far single regions matter.

# %%
if has_receptors:
    correlations, points, shares, sensitivity = (
        results.read_table(receptor / f"{name}.tsv")
        for name in ("correlations", "scatter", "dominance", "sensitivity")
    )
    nulls = np.load(results.require(receptor / "nulls.npz"))
    rows = correlations[correlations["contrast"] == "arm_by_time"].reset_index(drop=True)
    null = {which: nulls[f"{which}_arm_by_time"] for which in figures.BANDS}
    bands = {which: figures.central(draws) for which, draws in null.items()}
    n_draws = {which: len(draws) for which, draws in null.items()}
    lead = rows[rows["annotation"] == points["annotation"].iloc[0]].iloc[0]
    top = rows["r"].abs().sort_values(ascending=False).index[:most_maps].sort_values()
    receptor_marks = figures.warnings_of(
        trial, few_permutations, settings["receptors"]["simulated_maps"]
    )
    ranked = {
        size: Panel(
            partial(
                figures.plot_correlations,
                rows=rows.loc[chosen],
                bands={which: limits[chosen] for which, limits in bands.items()},
            ),
            "Receptor maps in order of r",
            *figures.describe_correlations(rows.loc[chosen], len(rows), names, n_draws),
            size=(figures.PAGE, 0.17 * len(chosen) + 1.1),
        )
        for size, chosen in (("all", rows.index), ("top", top))
    }

# %%
if has_receptors:
    influence = sensitivity[sensitivity["contrast"] == "arm_by_time"]
    influence = influence.sort_values("r", key=abs, ascending=False).head(6)
    lead_null = {which: draws[:, lead.name] for which, draws in null.items()}
    panels = {
        "correlations": ranked["top"],
        "scatter": Panel(
            partial(
                figures.plot_scatter,
                points=points,
                r=lead["r"],
                xlabel=f"{lead['receptor']} density, normal score",
                ylabel=f"change, {names['active']} − {names['control']}, normal score",
            ),
            results.true_minus(f"{lead['receptor']}, {len(points)} regions, r = {lead['r']:.2f}"),
            *figures.describe_scatter(lead, len(points)),
            size=(figures.COLUMN, 3),
            late=True,
        ),
        "dominance": Panel(
            partial(figures.plot_dominance, rows=shares),
            "All receptors together",
            *figures.describe_dominance(shares),
            size=(figures.COLUMN, 0.16 * len(shares) + 1),
        ),
        "nulls": Panel(
            partial(figures.plot_nulls, draws=lead_null, observed=lead["r"]),
            f"{lead['receptor']}: what chance gives",
            *figures.describe_nulls(lead, lead_null),
            size=(figures.COLUMN, 2.2),
        ),
        "influence": Panel(
            partial(figures.plot_without, rows=influence),
            "Without the region that matters most",
            *figures.describe_without(influence),
            size=(5, 0.25 * len(influence) + 0.9),
        ),
    }
    blocks = [
        ([["correlations"]], ranked["top"].size[1], None),
        ([["scatter", "dominance"]], max(2.4, 0.14 * len(shares) + 0.9), None),
        ([["nulls", "influence"]], 2, [1, 1.2]),
    ]
    drawn["figure4_receptors"] = figures.compose(panels, blocks, names, receptor_marks)
    described["figure4_receptors"] = figures.captions("Receptors", panels, receptor_marks)
    single["figure4"] = panels | {"correlations": ranked["all"]}

# %% [markdown]
# ## Panels by themselves
#
# For slides, or for a journal that wants each panel as a file.

# %%
for number, group in single.items() if panels_too else ():
    said = receptor_marks if number == "figure4" else marks
    for name, panel in group.items():
        drawn[f"{number}_{name}"] = figures.alone(panel, names, said)
        described[f"{number}_{name}"] = figures.captions(
            panel.title, {name: panel}, said, lettered=False
        )

# %% [markdown]
# ## What this wrote
#
# Each figure as PNG and PDF; titles, captions and text alternatives in `captions.json`.

# %%
files = drawn | {"captions.json": described}
written = results.write(trial.figures, files, keep_others=("S*",))
print(*(path.name for path in written), sep="\n")
pipeline.what_moved(trial, "clinical", "vbm", "receptors")
