"""Every figure by name: a drawing, its title and caption, from the tables of one notebook.

Notebooks 00 to 03 show them one by one while they run (:func:`panel`), notebook 04 together.
Titles and sizes are in ``catalogue.yml``; a figure of one whole table needs no more than that.
"""

from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np
import yaml
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
OF_QUALITY = ("head_size", "template_fit", "homogeneity", "volumes")
SLICES_MM = (-20, -8, 2, 14, 30, 46)  # z of axial slices
LISTED = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
WIDTHS = {"column": COLUMN, "page": PAGE}


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
    draw_trials,
)
PLOTS = {
    name.removeprefix("plot_"): plot
    for module in DRAWINGS
    for name, plot in vars(module).items()
    if name.startswith("plot_")
}


def _panel(results, name, data, quoted=None, height=None, **words):
    """The figure that is listed as ``name``, of these data.

    Its description quotes the data and what is ``quoted``, its title the ``words``. Where its
    height goes by rows, they are those of the first of the data.
    """
    listed = LISTED[name]
    picture = listed.get("picture", name)
    plot, names = PLOTS[picture], {"names": results.study.arm_names}
    described = describe(listed.get("said", picture), **names, **data, **(quoted or {}))
    named = names if "names" in signature(plot).parameters else {}
    return Panel(
        partial(plot, **named, **data),
        listed["title"].format(**words),
        *described,
        _size(listed, next(iter(data.values())), height),
        arms=listed.get("arms", False) and results.study.arms is not None,
        brain=listed.get("brain", False),
        late=listed.get("late", False),
    )


def _size(listed, rows, height):
    """Width and height, inches."""
    width, height = listed.get("width", "column"), height or listed.get("height", 2.6)
    if isinstance(height, list):
        rows = rows[listed["each"]].unique() if "each" in listed else rows
        height = height[1] * len(rows) + height[0]
    return WIDTHS.get(width, width), height


def _rows(results, table, **equal):
    """Rows of a result table with these values in these columns."""
    rows = results.table(table)
    for column, value in equal.items():
        rows = rows[rows[column] == value]
    return rows.reset_index(drop=True)


def _of_table(name):
    """A figure of a whole table."""
    if name in OF_QUALITY:
        return lambda results: _panel(results, name, {"quality": _quality(results)})
    table, argument = LISTED[name]["table"], LISTED[name].get("as", "rows")
    return lambda results: _panel(results, name, {argument: results.table(table)})


# --- participants and clinical outcomes -----------------------------------------------------------


def flow(results):
    boxes, counted = results.table("consort_flow"), {"flow": results.json("flow")}
    height = draw_conduct.consort_height(boxes)
    return _panel(results, "flow", {"boxes": boxes}, counted, height)


def ratings(results):
    visits = list(results.table("pattern_visits")["visit"])
    data = {"patterns": results.table("missing_patterns"), "visits": visits}
    return _panel(results, "ratings", data, scale=results.study.primary_scale.name)


def course(results, scale):
    model = _rows(results, "mmrm_means", scale=scale)
    return _course(results, "course", scale, model, kinds(results)[scale])


def course_of_all(results, scale):
    """Of a study without a control arm."""
    model = _rows(results, "change", scale=scale).assign(arm="active")
    return _course(results, "course_of_all", scale, model, "change")


def _course(results, name, scale, model, kind):
    own, since = _rows(results, "scores", scale=scale), kind == "change"
    data = {
        "individuals": draw_clinical.since_baseline(own) if since else own.assign(value=own.score),
        "means": model.assign(week=model["visit"].map(results.study.visits)),
        "counts": _rows(results, "means", scale=scale),
        "ylabel": f"{'change in ' if since else ''}{scale}, points",
    }
    return _panel(results, name, data, {"scale": scale, "kind": kind}, scale=scale)


def kinds(results):
    """Of each scale that was modelled: "change", or "value" where there is no baseline."""
    return results.table("mmrm_contrasts").groupby("scale")["kind"].first()


def differences(results):
    study, data = results.study, {"contrasts": results.table("mmrm_contrasts")}
    data["primary"] = (study.primary_scale.name, study.final_visit)
    return _panel(results, "differences", data)


def response(results):
    scale, visit = results.study.primary_scale.name, results.study.final_visit
    chosen = {"scale": scale, "visit": visit, "analysis": "missing_is_failure"}
    rows = _rows(results, "responders", **chosen)
    return _panel(results, "response", {"rows": rows}, scale=scale, visit=visit_words(visit))


def tipping_point(results):
    study, point = results.study, results.table("tipping_point").iloc[0]
    data = {"curve": results.table("tipping_curve"), "tip": point["delta_interpolated"]}
    words = {"scale": study.primary_scale.name, "visit": visit_words(study.final_visit)}
    return _panel(results, "tipping_point", data, {"point": point}, **words)


def tips(results):
    """Whether there is a tipping point to draw."""
    table = results.table("tipping_point") if results.has("tipping_point") else ()
    return len(table) > 0 and table["status"].iloc[0] in ("tips", "does not tip")


def residuals(results):
    scale = results.study.primary_scale.name
    rows = _rows(results, "residuals", scale=scale)
    return _panel(results, "residuals", {"rows": rows}, scale=scale)


def stimulation(results):
    planned = results.json("settings")["planned_sessions"]
    return _panel(results, "stimulation", {"dose": results.table("dose"), "planned": planned})


# --- grey matter ----------------------------------------------------------------------------------


def _quality(results):
    """The table of quality; images have a name unless participants are protected."""
    table = results.table("quality")
    who = "" if results.study.protected else table["participant_id"] + " "
    return table.assign(image=who + table["session"])


def variance_ratio(results):
    n, values = _analysed(results), _in_mask(results, "variance_ratio")
    limits = stats.f.ppf([0.025, 0.975], *(n[arm] - 1 for arm in COLOURS))
    data = {"ratio": values[values > 0], "limits": limits}
    return _panel(results, "variance_ratio", data, _spread(results))


def skewness(results):
    n = _analysed(results)
    data = {"skewness": {arm: _in_mask(results, f"skewness_{arm}") for arm in colours_of(n.index)}}
    data["limits"] = {arm: skewness_limit(n[arm]) for arm in data["skewness"]}
    return _panel(results, "skewness", data, _spread(results))


def _spread(results):
    return {"spread": results.table("diagnostics").set_index("measure")}


def _in_mask(results, name):
    return results.image(name).get_fdata()[results.image("mask").get_fdata() > 0]


def _analysed(results):
    """Participants with both maps, by arm."""
    return _rows(results, "quality", session="pre")["arm"].value_counts()


def mosaic(results, most=4):
    """The mean map, the mask, and the maps least like the others, from the study."""
    least = _quality(results).nlargest(most, "outlier_score")
    pairs = read_scans(results.study).analysed.set_index("participant_id")
    own = [load_map(pairs.loc[row.participant_id, row.session]) for row in least.itertuples()]
    titles = ["mean, within the mask", "mask", *least["image"]]
    data = {"images": [results.image("mean"), results.image("mask"), *own], "titles": titles}
    return _panel(results, "mosaic", data, {"least": least})


def slices(results, contrast=None, slices_mm=SLICES_MM):
    return _brain(results, contrast, "slices", cuts=slices_mm)


def glass(results, contrast=None):
    return _brain(results, contrast, "glass")


def surface(results, contrast=None):
    return _brain(results, contrast, "surface")


def _brain(results, contrast, kind, **data):
    """t of a contrast on the brain, on a colour scale that all contrasts share."""
    contrast = contrast or results.study.main
    summary = results.table("summary").set_index("contrast", drop=False)
    row, images = summary.loc[contrast], {"image": results.image(f"{contrast}_t")}
    images["p_image" if kind == "glass" else "outline"] = results.image(f"{contrast}_p_fwe_t")
    data = images | data | {"label": f"t ({row['df']:g} df)", "vmax": _largest_t(results, summary)}
    words = {"contrast": contrast_title(contrast, results.study.arm_names)}
    words["n"] = " + ".join(str(row[f"n_{arm}"]) for arm in COLOURS if row[f"n_{arm}"])
    return _panel(results, kind, data, {"row": row, "kind": kind}, **words)


def _largest_t(results, summary):
    images = (results.image(f"{c}_t") for c in sorted(set(summary.index) - {IMPROVEMENT}))
    return float(np.ceil(max(np.abs(image.get_fdata()).max() for image in images)))


def regions(results, regions=()):
    data = {"regions": list(regions) or results.json("settings")["regions"]}
    data |= {"change": results.table("parcel_change"), "means": results.table("region_means")}
    return _panel(results, "regions", data)


# --- receptors ------------------------------------------------------------------------------------


def correlations(results, contrast=None, most_maps=None):
    contrast = contrast or results.study.main
    rows, null = _rows(results, "correlations", contrast=contrast), _draws(results, contrast)
    chosen = rows["r"].abs().sort_values(ascending=False).index[:most_maps].sort_values()
    within = CONTRASTS[contrast].within is not None  # a mean change, and not a difference
    data = {"rows": rows.loc[chosen], "within": within}
    data["bands"] = {which: draw_receptors.central(draws)[chosen] for which, draws in null.items()}
    quoted = {"n_draws": {which: len(draws) for which, draws in null.items()}}
    quoted |= {"n_all": len(rows), "contrast": contrast, "one_map": contrast == EFFECT}
    title = contrast_title(contrast, results.study.arm_names)
    return _panel(results, "correlations", data, quoted, contrast=title)


def _of_main(results, table):
    """Rows of the main contrast."""
    return _rows(results, table, contrast=results.study.main)


def structures(results):
    data = {"rows": _of_main(results, "structure_correlations")}
    return _panel(results, "structures", data, _effect(results))


def scatter(results):
    points, lead = results.table("scatter"), _lead(results)
    data = {
        "points": points,
        "r": lead["r"],
        "xlabel": f"{lead['receptor']} density, normal score",
        "ylabel": f"{_axis(results.study)}, normal score",
    }
    words = {"receptor": lead["receptor"], "n": len(points), "r": number_text(lead["r"])}
    return _panel(results, "scatter", data, {"lead": lead}, **words)


def nulls(results):
    lead, drawn = _lead(results), _draws(results, results.study.main)
    data = {"draws": {null: found[:, lead.name] for null, found in drawn.items()}}
    data["observed"] = {"spatial": lead["r"], "spatial_anatomy": lead["r_anatomy"]}
    return _panel(results, "nulls", data, {"lead": lead}, receptor=lead["receptor"])


def slopes(results):
    lead = _lead(results)
    tested = "coupling_arm" if results.study.arms else "coupling_mean"
    rows, mine = (
        _rows(results, table, annotation=lead["annotation"]) for table in ("individual", tested)
    )
    quoted = {"lead": lead, "row": mine.iloc[0]}
    return _panel(results, "slopes", {"rows": rows}, quoted, receptor=lead["receptor"])


def anatomy(results):
    return _panel(results, "anatomy", {"rows": _of_main(results, "anatomy")}, _effect(results))


def improvement(results, scale):
    data = {"rows": _rows(results, "coupling_improvement", scale=scale)}
    quoted = {"scale": scale, "arms_compared": results.study.arms is not None}
    return _panel(results, "improvement", data, quoted, scale=scale)


def influence(results, most=6):
    rows = _of_main(results, "sensitivity").sort_values("r", key=abs, ascending=False)
    return _panel(results, "influence", {"rows": rows.head(most)})


AXES = {
    "clinical": "true difference, SD (1 SD = {0:.1f} points)",
    "voxels": "true change, SD of change",
    "receptor": "noise-free r with the receptor map",
}


def power(results, question, name="power"):
    tables = (_rows(results, table, question=question) for table in ("power", "needed", "seen"))
    rows, real, seen = tables
    here = rows[rows["multiple"] == 1]
    n = rows["n_active"].astype(str) + " + " + rows["n_control"].astype(str)
    rows = rows.assign(line=n) if question == "clinical" else here.assign(line=here["setting"])
    data = {"rows": rows, "real": real.drop_duplicates("treatment")}
    data["xlabel"] = AXES[question].format(here["points_per_unit"].iloc[0])
    return _panel(results, name, data, {"seen": seen, "question": question}, question=question)


exaggeration = partial(power, name="exaggeration")


def quantiles(results, family):
    data = {name: _rows(results, name, family=family) for name in ("quantiles", "rates")}
    contrast = data["rates"]["contrast"]
    data["rates"] = data["rates"][contrast.isna() | contrast.eq(results.study.main)]
    return _panel(results, "quantiles", data, {"family": family}, family=family)


def choices(results, family="regions"):
    rows = results.table(f"{family}_specifications")
    decisions = _rows(results, "decisions", family=family)
    about = results.json("settings")[f"about_{family}"]
    data = {"rows": rows, "decisions": decisions, "label": about}
    return _panel(results, "choices", data, height=draw_choices.height(decisions), n=len(rows))


def variance(results, family="regions"):
    return _panel(results, "variance", {"rows": _rows(results, "variance", family=family)})


def _effect(results):
    return {"effect": contrast_words(results.study.main, results.study.arm_names)}


def _lead(results):
    """Row of the leading receptor map."""
    rows, chosen = _of_main(results, "correlations"), results.table("scatter")["annotation"].iloc[0]
    return rows[rows["annotation"] == chosen].iloc[0]


def _draws(results, contrast):
    nulls = results.arrays("nulls")
    return {which: nulls[f"{which}_{contrast}"] for which in BANDS}


def _axis(study):
    """The main contrast, in words for an axis."""
    if study.effect:
        return f"map ({study.effect.kind})"
    names = study.arm_names
    return f"change, {names['active']} − {names['control']}" if study.arms else "change"


CATALOGUE = {name: globals().get(name) or _of_table(name) for name in LISTED}
