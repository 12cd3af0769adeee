"""Every figure by name: a drawing, its title and caption, from the tables of one notebook.

Notebooks 00 to 03 show them one by one while they run (:func:`panel`), notebook 04 together.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from analysis_lib.figures import descriptions
from analysis_lib.figures.appearance import COLUMN, PAGE, warnings_of
from analysis_lib.figures.draw_brain import (
    plot_glass,
    plot_region_change,
    plot_slices,
    plot_surface,
)
from analysis_lib.figures.draw_clinical import (
    plot_course,
    plot_differences,
    plot_items,
    plot_left_out,
    plot_residuals,
    plot_risks,
    plot_tipping,
    since_baseline,
)
from analysis_lib.figures.draw_conduct import (
    consort_height,
    plot_consort,
    plot_missing,
    plot_stimulation,
)
from analysis_lib.figures.draw_maps import (
    plot_head_size,
    plot_homogeneity,
    plot_mosaic,
    plot_skewness,
    plot_template_fit,
    plot_variance_ratio,
    plot_volumes,
)
from analysis_lib.figures.draw_receptors import (
    central,
    plot_anatomy,
    plot_correlations,
    plot_dominance,
    plot_improvement,
    plot_nulls,
    plot_patients_z,
    plot_power,
    plot_scatter,
    plot_slopes,
    plot_structures,
    plot_variograms,
    plot_without,
)
from analysis_lib.figures.layout import Drawn, Panel, alone, captions
from analysis_lib.figures.palette import BANDS, COLOURS
from analysis_lib.results.contrasts import (
    CONTRASTS,
    IMPROVEMENT,
    contrast_title,
    contrast_words,
)
from analysis_lib.results.problems import UsageError
from analysis_lib.results.words import number_text, visit_words
from analysis_lib.study.map_file import load_map
from analysis_lib.vbm.diagnostics import skewness_limit
from analysis_lib.vbm.scans import read_scans

NO_PATIENTS = "not available: one map, no patients"
OF_PATIENTS = ("slopes", "improvement")
SLICES_MM = (-20, -8, 2, 14, 30, 46)  # z of axial slices


@dataclass(frozen=True)
class Missing:
    """A figure that needs patients, where there is one map alone."""

    name: str

    def _repr_markdown_(self):
        return f"*{self.name}*: {NO_PATIENTS}"


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
        return Missing(name)
    if name not in CATALOGUE:
        raise UsageError(f"no figure {name!r}; there are: {', '.join(sorted(CATALOGUE))}")
    one = CATALOGUE[name](results, **options)
    marks = marks_of(results)
    figure = alone(one, results.study.arm_names, marks)
    return Drawn(name, figure, captions(one.title, {name: one}, marks, lettered=False))


def marks_of(results):
    """The label of every figure of these results: SIMULATED, QUICK."""
    return warnings_of(results.study, results.quick)


# --- participants and clinical outcomes -----------------------------------------------------------


def flow(results):
    boxes = results.table("consort_flow")
    return Panel(
        partial(plot_consort, boxes=boxes),
        "Flow of participants",
        *descriptions.describe_flow(results.json("flow"), results.study.arm_names),
        size=(PAGE, consort_height(boxes)),
    )


def ratings(results):
    patterns, names = results.table("missing_patterns"), results.study.arm_names
    visits = list(results.table("pattern_visits")["visit"])
    return Panel(
        partial(plot_missing, patterns=patterns, visits=visits, names=names),
        f"{results.study.primary_scale.name}: ratings by visit",
        *descriptions.describe_missing(patterns, names),
        size=(4.6, 0.24 * len(patterns) + 0.85),
    )


def course(results, scale):
    study = results.study
    own, model, counts = (
        table[table["scale"] == scale]
        for table in map(results.table, ("scores", "mmrm_means", "means"))
    )
    kind = kinds(results)[scale]
    changes = kind == "change"
    lines = since_baseline(own) if changes else own.assign(value=own["score"])
    model = model.assign(week=model["visit"].map(study.visits))
    label = f"{'change in ' if changes else ''}{scale}, points"
    return Panel(
        partial(plot_course, individuals=lines, means=model, counts=counts, ylabel=label),
        scale,
        *descriptions.describe_course(scale, kind, lines, model, study.arm_names),
        size=(COLUMN, 3),
        arms=True,
    )


def course_of_all(results, scale):
    """Of a study without a control arm."""
    study = results.study
    own, model, counts = (
        table[table["scale"] == scale]
        for table in map(results.table, ("scores", "change", "means"))
    )
    model = model.assign(week=model["visit"].map(study.visits), arm="active")
    lines = since_baseline(own)
    label = f"change in {scale}, points"
    return Panel(
        partial(plot_course, individuals=lines, means=model, counts=counts, ylabel=label),
        scale,
        *descriptions.describe_course_of_all(scale, lines, model),
        size=(COLUMN, 3),
    )


def kinds(results):
    """Of each scale that was modelled: "change", or "value" where there is no baseline."""
    return results.table("mmrm_contrasts").groupby("scale")["kind"].first()


def differences(results):
    contrasts, study = results.table("mmrm_contrasts"), results.study
    primary = (study.primary_scale.name, study.final_visit)
    return Panel(
        partial(plot_differences, contrasts=contrasts, names=study.arm_names, primary=primary),
        "Difference between arms (MMRM)",
        *descriptions.describe_differences(contrasts, study.arm_names, primary),
        size=(5.4, 0.19 * len(contrasts) + 1),
    )


def response(results):
    study = results.study
    scale, visit, rows = study.primary_scale.name, study.final_visit, results.table("responders")
    rows = rows[rows["scale"].eq(scale) & rows["visit"].eq(visit)]
    rows = rows[rows["analysis"] == "missing_is_failure"]
    return Panel(
        partial(plot_risks, rows=rows, names=study.arm_names, legend=False),
        f"Responders, {scale}, {visit_words(visit)}",
        *descriptions.describe_risks(rows, study.arm_names, scale, visit),
        arms=True,
    )


def tipping_point(results):
    study, tip = results.study, results.table("tipping_point").iloc[0]
    curve, scale, visit = (
        results.table("tipping_curve"),
        study.primary_scale.name,
        study.final_visit,
    )
    return Panel(
        partial(plot_tipping, curve=curve, names=study.arm_names, tip=tip["delta_interpolated"]),
        f"Tipping point, {scale}, {visit_words(visit)}",
        *descriptions.describe_tipping(curve, tip, study.arm_names, scale, visit),
        size=(COLUMN, 2.8),
    )


def tips(results):
    """Whether there is a tipping point to draw."""
    table = results.table("tipping_point") if results.has("tipping_point") else ()
    return len(table) > 0 and table["status"].iloc[0] in ("tips", "does not tip")


def items(results):
    rows, names = results.table("item_differences"), results.study.arm_names
    return Panel(
        partial(plot_items, differences=rows, names=names),
        "Difference between arms, item by item",
        *descriptions.describe_items(rows, names),
        size=(5.4, 0.22 * len(rows) + 0.7),
    )


def residuals(results):
    rows = results.table("residuals")
    rows = rows[rows["scale"] == results.study.primary_scale.name]
    return Panel(
        partial(plot_residuals, rows=rows),
        f"Residuals of the primary model, {results.study.primary_scale.name}",
        *descriptions.describe_residuals(rows),
    )


def left_out(results):
    rows, names = results.table("influence"), results.study.arm_names
    return Panel(
        partial(plot_left_out, rows=rows, names=names),
        "Primary contrast without each participant",
        *descriptions.describe_left_out(rows, names),
        arms=True,
    )


def stimulation(results):
    dose, planned = results.table("dose"), results.json("settings")["planned_sessions"]
    names = results.study.arm_names
    return Panel(
        partial(plot_stimulation, dose=dose, planned=planned, names=names),
        "Treatment sessions received",
        *descriptions.describe_stimulation(dose, planned, names),
        size=(4.6, 2.2),
    )


# --- grey matter ----------------------------------------------------------------------------------


def head_size(results):
    quality = results.table("quality")
    return Panel(
        partial(plot_head_size, quality=quality),
        "Grey matter and head size",
        *descriptions.describe_head_size(quality),
    )


def template_fit(results):
    quality = results.table("quality")
    return Panel(
        partial(plot_template_fit, quality=quality),
        "Resemblance to the template",
        *descriptions.describe_template_fit(quality),
    )


def homogeneity(results):
    quality = results.table("quality")
    return Panel(
        partial(plot_homogeneity, quality=quality),
        "Similarity of maps",
        *descriptions.describe_homogeneity(quality),
        size=(COLUMN, 2.4),
    )


def volumes(results):
    quality = results.table("quality")
    return Panel(
        partial(plot_volumes, quality=quality),
        "Grey-matter volume",
        *descriptions.describe_volumes(quality),
        size=(COLUMN, 2.4),
    )


def variance_ratio(results):
    n, values = _analysed(results), _in_mask(results, "variance_ratio")
    limits = stats.f.ppf([0.025, 0.975], *(n[arm] - 1 for arm in COLOURS))
    names = results.study.arm_names
    return Panel(
        partial(plot_variance_ratio, ratio=values[values > 0], limits=limits, names=names),
        "Spread of change in the two arms",
        *descriptions.describe_variance_ratio(_spread(results), names),
        size=(COLUMN, 2.4),
    )


def skewness(results):
    n = _analysed(results)
    values = {arm: _in_mask(results, f"skewness_{arm}") for arm in COLOURS}
    limits = {arm: skewness_limit(n[arm]) for arm in COLOURS}
    return Panel(
        partial(plot_skewness, skewness=values, limits=limits),
        "Skewness of change",
        *descriptions.describe_skewness(_spread(results), results.study.arm_names),
        size=(COLUMN, 2.4),
        arms=True,
    )


def _spread(results):
    return results.table("diagnostics").set_index("measure")


def _in_mask(results, name):
    return results.image(name).get_fdata()[results.image("mask").get_fdata() > 0]


def _analysed(results):
    """Participants with both maps, by arm."""
    return results.table("quality").query("session == 'pre'")["arm"].value_counts()


def mosaic(results, most=4):
    """The mean map, the mask, and the maps least like the others, from the study."""
    least = results.table("quality").nlargest(most, "outlier_score")
    pairs = read_scans(results.study).analysed.set_index("participant_id")
    own = [load_map(pairs.loc[row.participant_id, row.session]) for row in least.itertuples()]
    titles = ["mean, within the mask", "mask", *(least["participant_id"] + " " + least["session"])]
    images = [results.image("mean"), results.image("mask"), *own]
    return Panel(
        partial(plot_mosaic, images=images, titles=titles),
        "Maps least like the others",
        *descriptions.describe_mosaic(least),
        size=(PAGE, 2.5),
        brain=True,
    )


def slices(results, contrast=None, slices_mm=SLICES_MM):
    return _brain(results, contrast, partial(plot_slices, threshold=None, cuts=slices_mm))


def glass(results, contrast=None):
    return _brain(results, contrast, plot_glass, "glass")


def surface(results, contrast=None):
    return _brain(results, contrast, plot_surface, "surface")


def _brain(results, contrast, plot, kind="slices"):
    """t of a contrast on the brain, on a colour scale that all contrasts share."""
    contrast = contrast or results.study.main
    names, row = results.study.arm_names, _summary(results).loc[contrast]
    n = " + ".join(str(row[f"n_{arm}"]) for arm in COLOURS if row[f"n_{arm}"])
    title = f"{contrast_title(contrast, names)} (n = {n})"
    glass = kind == "glass"
    outline = {"p_image" if glass else "outline": results.image(f"{contrast}_p_fwe_t")}
    look = {"label": f"t ({row['df']:g} df)", "vmax": _largest_t(results)} | outline
    return Panel(
        partial(plot, image=results.image(f"{contrast}_t"), **look),
        f"{title}, family-wise p < .05" if glass else title,
        *descriptions.describe_brain(row, names, kind),
        size=(PAGE, {"glass": 1.8, "surface": 1.7, "slices": 1.5}[kind]),
        brain=True,
    )


def _summary(results):
    return results.table("summary").set_index("contrast", drop=False)


def _largest_t(results):
    known = set(_summary(results).index) - {IMPROVEMENT}
    images = (results.image(f"{contrast}_t") for contrast in sorted(known))
    return float(np.ceil(max(np.abs(image.get_fdata()).max() for image in images)))


def regions(results, regions=()):
    change, means = results.table("parcel_change"), results.table("region_means")
    regions = list(regions) or results.json("settings")["regions"]
    names = results.study.arm_names
    look = {"change": change, "means": means, "regions": regions, "names": names}
    return Panel(
        partial(plot_region_change, legend=False, **look),
        "Change by region",
        *descriptions.describe_regions(means, regions, names),
        size=(PAGE, 0.5 * len(regions) + 0.7),
        arms=results.study.arms is not None,
    )


# --- receptors ------------------------------------------------------------------------------------


def correlations(results, contrast=None, most_maps=None):
    contrast = contrast or results.study.main
    rows, null = _rows(results, contrast), _draws(results, contrast)
    chosen = rows["r"].abs().sort_values(ascending=False).index[:most_maps].sort_values()
    bands = {which: central(draws)[chosen] for which, draws in null.items()}
    n_draws = {which: len(draws) for which, draws in null.items()}
    shown, names = rows.loc[chosen], results.study.arm_names
    return Panel(
        partial(plot_correlations, rows=shown, bands=bands, within=_is_within(contrast)),
        f"Receptor maps in order of r: {contrast_title(contrast, names)}",
        *descriptions.describe_correlations(shown, len(rows), contrast, names, n_draws),
        size=(PAGE, 0.17 * len(chosen) + 1.1),
    )


def structures(results):
    rows = results.table("structure_correlations")
    rows = rows[rows["contrast"] == results.study.main].reset_index(drop=True)
    words = contrast_words(results.study.main, results.study.arm_names)
    return Panel(
        partial(plot_structures, rows=rows),
        "Receptor maps by system: all regions, cortex and subcortex",
        *descriptions.describe_structures(rows, words),
        size=(PAGE, 0.24 * rows["annotation"].nunique() + 1),
    )


def scatter(results):
    points, lead = results.table("scatter"), _lead(results)
    axes = {
        "xlabel": f"{lead['receptor']} density, normal score",
        "ylabel": f"{_axis(results.study)}, normal score",
    }
    return Panel(
        partial(plot_scatter, points=points, r=lead["r"], **axes),
        f"{lead['receptor']}, {len(points)} regions, r = {number_text(lead['r'])}",
        *descriptions.describe_scatter(lead, len(points)),
        size=(COLUMN, 3),
        late=True,
    )


def dominance(results):
    shares = results.table("dominance")
    return Panel(
        partial(plot_dominance, rows=shares),
        "All receptors in one model",
        *descriptions.describe_dominance(shares),
        size=(COLUMN, 0.16 * len(shares) + 1),
    )


def nulls(results):
    lead = _lead(results)
    draws = {which: found[:, lead.name] for which, found in _draws(results).items()}
    observed = {"spatial": lead["r"], "spatial_anatomy": lead["r_anatomy"]}
    return Panel(
        partial(plot_nulls, draws=draws, observed=observed),
        f"{lead['receptor']}: r by chance alone",
        *descriptions.describe_nulls(lead, draws),
        size=(COLUMN, 2.2),
    )


def slopes(results):
    lead, names = _lead(results), results.study.arm_names
    tested = "coupling_arm" if results.study.arms else "coupling_mean"
    rows, by_arm = results.table("individual"), results.table(tested)
    mine = by_arm[by_arm["annotation"] == lead["annotation"]].iloc[0]
    rows = rows[rows["annotation"] == lead["annotation"]]
    return Panel(
        partial(plot_slopes, rows=rows, names=names),
        f"{lead['receptor']}: slope of each participant",
        *descriptions.describe_slopes(lead, mine, names),
        size=(COLUMN, 1.6),
    )


def patients_z(results):
    rows, names = results.table("patients_juspace"), results.study.arm_names
    return Panel(
        partial(plot_patients_z, rows=rows, names=names),
        "Each participant's z, as in JuSpace",
        *descriptions.describe_patients_z(rows, names),
        size=(PAGE, 0.32 * rows["annotation"].nunique() + 0.8),
    )


def anatomy(results):
    rows = results.table("anatomy")
    rows = rows[rows["contrast"] == results.study.main]
    words = contrast_words(results.study.main, results.study.arm_names)
    return Panel(
        partial(plot_anatomy, rows=rows),
        "Effect and anatomy",
        *descriptions.describe_anatomy(rows, words),
        size=(5, 2.1),
    )


def improvement(results, scale):
    rows = results.table("coupling_improvement")
    rows = rows[rows["scale"] == scale]
    return Panel(
        partial(plot_improvement, rows=rows),
        f"Slope and improvement: {scale}",
        *descriptions.describe_improvement(rows, scale, results.study.arms is not None),
        size=(COLUMN, 0.15 * len(rows) + 0.8),
    )


def influence(results, most=6):
    rows = results.table("sensitivity")
    rows = rows[rows["contrast"] == results.study.main]
    rows = rows.sort_values("r", key=abs, ascending=False).head(most)
    return Panel(
        partial(plot_without, rows=rows),
        "Without the most influential region",
        *descriptions.describe_without(rows),
        size=(5, 0.25 * len(rows) + 0.9),
    )


def power(results):
    curve = results.table("power")
    detectable = results.json("settings")["minimum_detectable_r"]
    return Panel(
        partial(plot_power, curve=curve, detectable=np.nan if detectable is None else detectable),
        "Power",
        *descriptions.describe_power(curve, detectable),
        size=(3.8, 2.4),
    )


def variogram(results, null):
    rows = results.table("variograms")
    rows = rows[rows["null"] == null]
    band = rows[["low", "median", "high"]].to_numpy().T
    return Panel(
        partial(plot_variograms, lags=rows["distance"], target=rows["effect"], surrogates=band),
        f"{null[:1].upper()}{null[1:]} surrogates",
        *descriptions.describe_variogram(null),
        size=(COLUMN, 2.5),
    )


def _rows(results, contrast):
    rows = results.table("correlations")
    return rows[rows["contrast"] == contrast].reset_index(drop=True)


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


def _is_within(contrast):
    """Whether the contrast is a mean change, and not a difference between arms."""
    return CONTRASTS[contrast].within is not None


def _axis(study):
    """The main contrast, in words for an axis."""
    if study.effect:
        return f"map ({study.effect.kind})"
    names = study.arm_names
    return f"change, {names['active']} − {names['control']}" if study.arms else "change"


CATALOGUE = {
    make.__name__: make
    for make in (
        *(
            flow,
            ratings,
            course,
            course_of_all,
            differences,
            response,
            tipping_point,
            items,
            stimulation,
        ),
        *(residuals, left_out),
        *(head_size, template_fit, homogeneity, volumes, variance_ratio, skewness, mosaic),
        *(slices, glass, surface, regions),
        *(
            correlations,
            structures,
            scatter,
            dominance,
            nulls,
            slopes,
            anatomy,
            improvement,
            influence,
        ),
        *(influence, power, variogram, patients_z),
    )
}
