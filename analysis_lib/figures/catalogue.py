"""Every figure by name: a drawing, its title and caption, from the tables of one notebook.

Notebooks 00 to 03 show them one by one while they run (:func:`panel`), notebook 04 together.
"""

from dataclasses import dataclass
from functools import partial
from inspect import signature

import numpy as np
from scipy import stats

from analysis_lib.figures import (
    draw_brain,
    draw_choices,
    draw_clinical,
    draw_conduct,
    draw_maps,
    draw_power,
    draw_receptors,
    draw_trials,
)
from analysis_lib.figures.appearance import COLUMN, PAGE, warnings_of
from analysis_lib.figures.descriptions import describe
from analysis_lib.figures.layout import Drawn, Panel, alone, captions
from analysis_lib.figures.palette import BANDS, COLOURS, colours_of
from analysis_lib.results.contrasts import (
    CONTRASTS,
    EFFECT,
    IMPROVEMENT,
    contrast_title,
    contrast_words,
)
from analysis_lib.results.problems import UsageError
from analysis_lib.results.words import number_text, visit_words
from analysis_lib.study.map_file import load_map
from analysis_lib.vbm.diagnostics import skewness_limit
from analysis_lib.vbm.scans import read_scans

OF_PATIENTS = ("slopes", "improvement")
BETWEEN_ARMS = ("variance_ratio",)
SLICES_MM = (-20, -8, 2, 14, 30, 46)  # z of axial slices


@dataclass(frozen=True)
class Missing:
    """A figure that a study has not the data for."""

    name: str
    reason: str

    def _repr_markdown_(self):
        return f"*{self.name}*: not available: {self.reason}"


def panel(results, name, **options) -> Drawn | Missing:
    """One figure of the catalogue, as the last line of a cell: the picture with its caption.

    Parameters
    ----------
    results : analysis_lib.results.Section
        Of the notebook whose tables are drawn.
    name : str
        Of `CATALOGUE`: "course", "differences", "slices" ...
    options
        What the figure can be asked for: a scale, a contrast.

    Raises
    ------
    UsageError
        If there is no figure of this name; the message lists those there are.
    """
    if results.study.effect and name in OF_PATIENTS:
        return Missing(name, "one map, no patients")
    if not results.study.arms and name in BETWEEN_ARMS:
        return Missing(name, "there is no control arm")
    if name not in CATALOGUE:
        raise UsageError(f"no figure {name!r}; there are: {', '.join(sorted(CATALOGUE))}")
    one = CATALOGUE[name](results, **options)
    marks = marks_of(results)
    figure = alone(one, results.study.arm_names, marks)
    return Drawn(name, figure, captions(one.title, {name: one}, marks, lettered=False))


def marks_of(results):
    """The label of every figure of these results: SIMULATED, QUICK.

    Where trials are compared each row says what it is.
    """
    return () if results.name == "trials" else warnings_of(results.study, results.quick)


DRAWINGS = (
    draw_brain,
    draw_choices,
    draw_clinical,
    draw_conduct,
    draw_maps,
    draw_power,
    draw_receptors,
)
PLOTS = {
    name.removeprefix("plot_"): plot
    for module in (*DRAWINGS, draw_trials)
    for name, plot in vars(module).items()
    if name.startswith("plot_")
}


def _panel(results, picture, title, data, quoted=None, said=None, **look):
    """What ``plot_<picture>`` draws of data; its description quotes these, and what is ``quoted``.

    Both are told the arms' names. ``said`` is another section of ``descriptions.j2``; ``look`` is
    what else a `Panel` has.
    """
    plot, names = PLOTS[picture], {"names": results.study.arm_names}
    described = describe(said or picture, **names, **data, **(quoted or {}))
    named = names if "names" in signature(plot).parameters else {}
    return Panel(partial(plot, **named, **data), title, *described, **look)


# --- participants and clinical outcomes -----------------------------------------------------------


def flow(results):
    boxes = results.table("consort_flow")
    look = {"size": (PAGE, draw_conduct.consort_height(boxes))}
    counted = {"flow": results.json("flow")}
    return _panel(results, "consort", "Flow of participants", {"boxes": boxes}, counted, **look)


def ratings(results):
    visits = list(results.table("pattern_visits")["visit"])
    data = {"patterns": results.table("missing_patterns"), "visits": visits}
    title = f"{results.study.primary_scale.name}: ratings by visit"
    size = (4.6, 0.24 * len(data["patterns"]) + 0.85)
    return _panel(results, "missing", title, data, size=size)


def course(results, scale):
    kind = kinds(results)[scale]
    return _course(results, scale, results.table("mmrm_means"), kind, arms=True)


def course_of_all(results, scale):
    """Of a study without a control arm."""
    model = results.table("change").assign(arm="active")
    return _course(results, scale, model, said="course_of_all")


def _course(results, scale, model, kind="change", **look):
    own, model, counts = (
        table[table["scale"] == scale]
        for table in (results.table("scores"), model, results.table("means"))
    )
    since = kind == "change"
    data = {
        "individuals": draw_clinical.since_baseline(own) if since else own.assign(value=own.score),
        "means": model.assign(week=model["visit"].map(results.study.visits)),
        "counts": counts,
        "ylabel": f"{'change in ' if since else ''}{scale}, points",
    }
    quoted = {"scale": scale, "kind": kind}
    return _panel(results, "course", scale, data, quoted, size=(COLUMN, 3), **look)


def kinds(results):
    """Of each scale that was modelled: "change", or "value" where there is no baseline."""
    return results.table("mmrm_contrasts").groupby("scale")["kind"].first()


def differences(results):
    contrasts, study = results.table("mmrm_contrasts"), results.study
    data = {"contrasts": contrasts, "primary": (study.primary_scale.name, study.final_visit)}
    size = (5.4, 0.19 * len(contrasts) + 1)
    return _panel(results, "differences", "Difference between arms (MMRM)", data, size=size)


def response(results):
    study = results.study
    scale, visit, rows = study.primary_scale.name, study.final_visit, results.table("responders")
    rows = rows[rows["scale"].eq(scale) & rows["visit"].eq(visit)]
    rows = rows[rows["analysis"] == "missing_is_failure"]
    title = f"Responders, {scale}, {visit_words(visit)}"
    return _panel(results, "risks", title, {"rows": rows}, arms=True)


def tipping_point(results):
    study, point = results.study, results.table("tipping_point").iloc[0]
    data = {"curve": results.table("tipping_curve"), "tip": point["delta_interpolated"]}
    title = f"Tipping point, {study.primary_scale.name}, {visit_words(study.final_visit)}"
    return _panel(results, "tipping", title, data, {"point": point}, size=(COLUMN, 2.8))


def tips(results):
    """Whether there is a tipping point to draw."""
    table = results.table("tipping_point") if results.has("tipping_point") else ()
    return len(table) > 0 and table["status"].iloc[0] in ("tips", "does not tip")


def items(results):
    data = {"differences": results.table("item_differences")}
    size = (5.4, 0.22 * len(data["differences"]) + 0.7)
    return _panel(results, "items", "Difference between arms, item by item", data, size=size)


def residuals(results):
    rows, scale = results.table("residuals"), results.study.primary_scale.name
    data = {"rows": rows[rows["scale"] == scale]}
    return _panel(results, "residuals", f"Residuals of the primary model, {scale}", data)


def left_out(results):
    data = {"rows": results.table("influence")}
    title = "Primary contrast without each participant"
    return _panel(results, "left_out", title, data, arms=True)


def stimulation(results):
    planned = results.json("settings")["planned_sessions"]
    data = {"dose": results.table("dose"), "planned": planned}
    title = "Treatment sessions received"
    return _panel(results, "stimulation", title, data, size=(4.6, 2.2))


# --- grey matter ----------------------------------------------------------------------------------


def _of_quality(picture, title, **look):
    """A figure of the table of quality."""

    def figure(results):
        return _panel(results, picture, title, {"quality": _quality(results)}, **look)

    return figure


def _quality(results):
    """The table of quality; images have a name unless participants are protected."""
    table = results.table("quality")
    who = "" if results.study.protected else table["participant_id"] + " "
    return table.assign(image=who + table["session"])


head_size = _of_quality("head_size", "Grey matter and head size")
template_fit = _of_quality("template_fit", "Resemblance to the template")
homogeneity = _of_quality("homogeneity", "Similarity of maps", size=(COLUMN, 2.4))
volumes = _of_quality("volumes", "Grey-matter volume", size=(COLUMN, 2.4))


def variance_ratio(results):
    n, values = _analysed(results), _in_mask(results, "variance_ratio")
    limits = stats.f.ppf([0.025, 0.975], *(n[arm] - 1 for arm in COLOURS))
    data = {"ratio": values[values > 0], "limits": limits}
    title = "Spread of change in the two arms"
    size = (COLUMN, 2.4)
    return _panel(results, "variance_ratio", title, data, _spread(results), size=size)


def skewness(results):
    n = _analysed(results)
    data = {"skewness": {arm: _in_mask(results, f"skewness_{arm}") for arm in colours_of(n.index)}}
    data["limits"] = {arm: skewness_limit(n[arm]) for arm in data["skewness"]}
    look = {"size": (COLUMN, 2.4), "arms": results.study.arms is not None}
    return _panel(results, "skewness", "Skewness of change", data, _spread(results), **look)


def _spread(results):
    return {"spread": results.table("diagnostics").set_index("measure")}


def _in_mask(results, name):
    return results.image(name).get_fdata()[results.image("mask").get_fdata() > 0]


def _analysed(results):
    """Participants with both maps, by arm."""
    return results.table("quality").query("session == 'pre'")["arm"].value_counts()


def mosaic(results, most=4):
    """The mean map, the mask, and the maps least like the others, from the study."""
    least = _quality(results).nlargest(most, "outlier_score")
    pairs = read_scans(results.study).analysed.set_index("participant_id")
    own = [load_map(pairs.loc[row.participant_id, row.session]) for row in least.itertuples()]
    titles = ["mean, within the mask", "mask", *least["image"]]
    data = {"images": [results.image("mean"), results.image("mask"), *own], "titles": titles}
    title, look = "Maps least like the others", {"size": (PAGE, 2.5), "brain": True}
    return _panel(results, "mosaic", title, data, {"least": least}, **look)


def slices(results, contrast=None, slices_mm=SLICES_MM):
    return _brain(results, contrast, "slices", {"cuts": slices_mm})


def glass(results, contrast=None):
    return _brain(results, contrast, "glass")


def surface(results, contrast=None):
    return _brain(results, contrast, "surface")


HEIGHTS = {"slices": 1.5, "glass": 1.8, "surface": 1.7}  # inches


def _brain(results, contrast, kind, data=None):
    """t of a contrast on the brain, on a colour scale that all contrasts share."""
    contrast = contrast or results.study.main
    row, glass = _summary(results).loc[contrast], kind == "glass"
    n = " + ".join(str(row[f"n_{arm}"]) for arm in COLOURS if row[f"n_{arm}"])
    title = f"{contrast_title(contrast, results.study.arm_names)} (n = {n})"
    data = {"image": results.image(f"{contrast}_t")} | (data or {})
    data["p_image" if glass else "outline"] = results.image(f"{contrast}_p_fwe_t")
    data |= {"label": f"t ({row['df']:g} df)", "vmax": _largest_t(results)}
    title += ", family-wise p < .05" if glass else ""
    look = {"size": (PAGE, HEIGHTS[kind]), "brain": True}
    return _panel(results, kind, title, data, {"row": row, "kind": kind}, "brain", **look)


def _summary(results):
    return results.table("summary").set_index("contrast", drop=False)


def _largest_t(results):
    known = set(_summary(results).index) - {IMPROVEMENT}
    images = (results.image(f"{contrast}_t") for contrast in sorted(known))
    return float(np.ceil(max(np.abs(image.get_fdata()).max() for image in images)))


def regions(results, regions=()):
    regions = list(regions) or results.json("settings")["regions"]
    data = {"change": results.table("parcel_change"), "means": results.table("region_means")}
    look = {"size": (PAGE, 0.5 * len(regions) + 0.7), "arms": results.study.arms is not None}
    return _panel(results, "region_change", "Change by region", data | {"regions": regions}, **look)


# --- receptors ------------------------------------------------------------------------------------


def correlations(results, contrast=None, most_maps=None):
    contrast = contrast or results.study.main
    rows, null = _rows(results, contrast), _draws(results, contrast)
    chosen = rows["r"].abs().sort_values(ascending=False).index[:most_maps].sort_values()
    within = CONTRASTS[contrast].within is not None  # a mean change, and not a difference
    data = {"rows": rows.loc[chosen], "within": within}
    data["bands"] = {which: draw_receptors.central(draws)[chosen] for which, draws in null.items()}
    quoted = {"n_draws": {which: len(draws) for which, draws in null.items()}}
    quoted |= {"n_all": len(rows), "contrast": contrast, "one_map": contrast == EFFECT}
    title = f"Receptor maps in order of r: {contrast_title(contrast, results.study.arm_names)}"
    size = (PAGE, 0.17 * len(chosen) + 1.1)
    return _panel(results, "correlations", title, data, quoted, size=size)


def structures(results):
    rows = _rows(results, results.study.main, "structure_correlations")
    title = "Receptor maps by system: all regions, cortex and subcortex"
    size = (PAGE, 0.24 * rows["annotation"].nunique() + 1)
    return _panel(results, "structures", title, {"rows": rows}, _effect(results), size=size)


def scatter(results):
    points, lead = results.table("scatter"), _lead(results)
    data = {
        "points": points,
        "r": lead["r"],
        "xlabel": f"{lead['receptor']} density, normal score",
        "ylabel": f"{_axis(results.study)}, normal score",
    }
    title = f"{lead['receptor']}, {len(points)} regions, r = {number_text(lead['r'])}"
    look = {"size": (COLUMN, 3), "late": True}
    return _panel(results, "scatter", title, data, {"lead": lead}, **look)


def dominance(results):
    rows = results.table("dominance")
    size = (COLUMN, 0.16 * len(rows) + 1)
    return _panel(results, "dominance", "All receptors in one model", {"rows": rows}, size=size)


def nulls(results):
    lead = _lead(results)
    data = {"draws": {null: found[:, lead.name] for null, found in _draws(results).items()}}
    data["observed"] = {"spatial": lead["r"], "spatial_anatomy": lead["r_anatomy"]}
    title = f"{lead['receptor']}: r by chance alone"
    return _panel(results, "nulls", title, data, {"lead": lead}, size=(COLUMN, 2.2))


def slopes(results):
    lead = _lead(results)
    tested = "coupling_arm" if results.study.arms else "coupling_mean"
    rows, mine = (
        table[table["annotation"] == lead["annotation"]]
        for table in (results.table("individual"), results.table(tested))
    )
    title, quoted = f"{lead['receptor']}: slope of each participant", {"lead": lead}
    quoted["row"] = mine.iloc[0]
    return _panel(results, "slopes", title, {"rows": rows}, quoted, size=(COLUMN, 1.6))


def patients_z(results):
    rows, title = results.table("patients_juspace"), "Each participant's z, as in JuSpace"
    size = (PAGE, 0.32 * rows["annotation"].nunique() + 0.8)
    return _panel(results, "patients_z", title, {"rows": rows}, size=size)


def anatomy(results):
    data = {"rows": _rows(results, results.study.main, "anatomy")}
    title = "Effect and anatomy"
    return _panel(results, "anatomy", title, data, _effect(results), size=(5, 2.1))


def improvement(results, scale):
    rows = results.table("coupling_improvement")
    rows = rows[rows["scale"] == scale]
    quoted = {"scale": scale, "arms_compared": results.study.arms is not None}
    title, size = f"Slope and improvement: {scale}", (COLUMN, 0.15 * len(rows) + 0.8)
    return _panel(results, "improvement", title, {"rows": rows}, quoted, size=size)


def influence(results, most=6):
    rows = _rows(results, results.study.main, "sensitivity")
    rows = rows.sort_values("r", key=abs, ascending=False).head(most)
    title, size = "Without the most influential region", (5, 0.25 * len(rows) + 0.9)
    return _panel(results, "without", title, {"rows": rows}, size=size)


AXES = {
    "clinical": "true difference, SD (1 SD = {0:.1f} points)",
    "voxels": "true change, SD of change",
    "receptor": "noise-free r with the receptor map",
}


def power(results, question, picture="power"):
    table, real = results.table("power"), results.table("needed")
    rows, real = (one[one["question"] == question] for one in (table, real))
    here = rows[rows["multiple"] == 1]
    n = rows["n_active"].astype(str) + " + " + rows["n_control"].astype(str)
    rows = rows.assign(line=n) if question == "clinical" else here.assign(line=here["setting"])
    data = {"rows": rows, "real": real.drop_duplicates("treatment")}
    data["xlabel"] = AXES[question].format(here["points_per_unit"].iloc[0])
    seen = results.table("seen")
    quoted = {"seen": seen[seen["question"] == question], "question": question}
    title = {"power": "Power", "exaggeration": "Exaggeration"}[picture]
    return _panel(results, picture, f"{title}: {question}", data, quoted, size=(5.6, 2.7))


def exaggeration(results, question):
    return power(results, question, "exaggeration")


def quantiles(results, family):
    data = {name: results.table(name) for name in ("quantiles", "rates")}
    data = {name: rows[rows["family"] == family] for name, rows in data.items()}
    contrast = data["rates"]["contrast"]
    data["rates"] = data["rates"][contrast.isna() | contrast.eq(results.study.main)]
    title = f"False alarms at every level: {family}"
    return _panel(results, "quantiles", title, data, {"family": family}, size=(PAGE, 3.0))


def choices(results, family="regions"):
    rows = results.table(f"{family}_specifications")
    decisions = results.table("decisions").query("family == @family")
    about = results.json("settings")[f"about_{family}"]
    data, title = {"rows": rows, "decisions": decisions, "label": about}, f"{len(rows):,} analyses"
    size = (PAGE, draw_choices.height(decisions))
    return _panel(results, "choices", title, data, size=size)


def variance(results, family="regions"):
    rows = results.table("variance").query("family == @family")
    size = (4.6, 0.2 * len(rows) + 0.8)
    return _panel(results, "variance", "What the estimate depends on", {"rows": rows}, size=size)


def _rows(results, contrast, table="correlations"):
    rows = results.table(table)
    return rows[rows["contrast"] == contrast].reset_index(drop=True)


def _effect(results):
    return {"effect": contrast_words(results.study.main, results.study.arm_names)}


def _lead(results):
    """Row of the leading receptor map."""
    rows, chosen = (
        _rows(results, results.study.main),
        results.table("scatter")["annotation"].iloc[0],
    )
    return rows[rows["annotation"] == chosen].iloc[0]


def _draws(results, contrast=None):
    nulls, contrast = results.arrays("nulls"), contrast or results.study.main
    return {which: nulls[f"{which}_{contrast}"] for which in BANDS}


def _axis(study):
    """The main contrast, in words for an axis."""
    if study.effect:
        return f"map ({study.effect.kind})"
    names = study.arm_names
    return f"change, {names['active']} − {names['control']}" if study.arms else "change"


# --- trials ---------------------------------------------------------------------------------------


def trials_symptoms(results):
    rows = results.table("symptoms")
    title, size = "Symptoms in each trial", (PAGE, 0.22 * len(rows) + 0.9)
    return _panel(results, "trials_symptoms", title, {"rows": rows}, size=size)


def trials_regions(results):
    rows = results.table("regions")
    title, size = "Change in four structures", (PAGE, 0.17 * len(rows) + 1)
    return _panel(results, "trials_regions", title, {"rows": rows}, size=size)


def trials_receptors(results):
    rows = results.table("receptors")
    title, size = "Receptors in each trial", (PAGE, 0.2 * rows["annotation"].nunique() + 1)
    return _panel(results, "trials_receptors", title, {"rows": rows}, size=size)


IN_ORDER = (
    *("flow", "ratings", "course", "course_of_all", "differences", "response", "tipping_point"),
    *("items", "stimulation", "residuals", "left_out", "head_size", "template_fit", "homogeneity"),
    *("volumes", "variance_ratio", "skewness", "mosaic", "slices", "glass", "surface", "regions"),
    *("correlations", "structures", "scatter", "dominance", "nulls", "slopes", "anatomy"),
    *("improvement", "influence", "power", "exaggeration", "quantiles", "patients_z"),
    *("choices", "variance"),
    *("trials_symptoms", "trials_regions", "trials_receptors"),
)
CATALOGUE = {name: globals()[name] for name in IN_ORDER}
