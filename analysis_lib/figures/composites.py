"""The numbered figures: panels of the catalogue on one page each."""

from dataclasses import replace

from analysis_lib.figures import catalogue
from analysis_lib.figures.appearance import style
from analysis_lib.figures.layout import Drawn, alone, captions, compose
from analysis_lib.results.section import Section
from analysis_lib.results.writing import write
from analysis_lib.study.contract import Study

SECTIONS = ("clinical", "vbm", "receptors")
AT_MOST = 4  # scales whose courses Figure 2 shows


def participants(study: Study) -> Drawn | None:
    """Figure 1: participants randomised, rated and analysed, missing ratings; None without arms."""
    results = Section(study, "clinical")
    if not study.arms:
        return None
    panels = {"flow": catalogue.flow(results)}
    if results.has("missing_patterns"):
        panels["ratings"] = catalogue.ratings(results)
    return _draw(results, "figure1_participants", "Participants", panels, _column(panels))


def clinical(study: Study) -> Drawn | None:
    """Figure 2: courses, differences between the arms, response, and the tipping point.

    Without a control arm courses alone; None without participants.
    """
    results = Section(study, "clinical")
    if not study.arms:
        return _courses(study, results) if study.scales and results.is_there else None
    modelled, scales = catalogue.kinds(results), sorted(study.scales, key=lambda s: not s.primary)
    courses = {s.key: catalogue.course(results, s.name) for s in scales if s.name in modelled}
    others = {"differences": catalogue.differences(results)}
    if results.has("responders"):
        others["response"] = catalogue.response(results)
    if catalogue.tips(results):
        others["tipping_point"] = catalogue.tipping_point(results)
    shown, blocks = _first(courses)
    blocks.append(([["differences"]], others["differences"].size[1], None))
    blocks += [([list(others)[1:]], 2.3, None)] if len(others) > 1 else []
    panels, apart = _said_once(shown) | others, courses | others
    return _draw(results, "figure2_clinical", "Clinical outcomes", panels, blocks, apart)


def _courses(study, results):
    """Figure 2 of a study without a control arm."""
    courses = {s.key: catalogue.course_of_all(results, s.name) for s in study.scales}
    return _draw(results, "figure2_clinical", "Clinical courses", *_first(courses))


def _first(courses):
    """The courses that fit on a page, and the blocks that lay them out in pairs."""
    names = list(courses)[:AT_MOST]
    blocks = [([names[i : i + 2]], 2.4, None) for i in range(0, len(names), 2)]
    return {name: courses[name] for name in names}, blocks


def grey_matter(study: Study, regions=(), slices_mm=catalogue.SLICES_MM) -> Drawn | None:
    """Figure 3: change on the brain and by region; None for a study without images.

    Parameters
    ----------
    study : Study
    regions : sequence of str
        Those to show; by default those that notebook 02 was run with.
    slices_mm : sequence of float
        z of the axial slices.
    """
    results = Section(study, "vbm")
    if not (study.imaging and results.is_there):
        return None
    if study.regional:
        panels = {"regions": catalogue.regions(results, regions)}
        return _draw(results, "figure3_grey_matter", "Change by region", panels, _column(panels))
    by_region = catalogue.regions(results, regions)
    slices = {c: catalogue.slices(results, c, slices_mm) for c in study.contrasts}
    glass = {c: catalogue.glass(results, c) for c in study.contrasts}
    panels = {"slices": slices[study.main], "glass": glass[study.main], "regions": by_region}
    apart, pages = {"regions": by_region}, {"slices": slices, "glass_brain": glass}
    words = ("figure3_grey_matter", "Grey-matter change")
    return _draw(results, *words, panels, _column(panels), apart, pages)


def receptors(study: Study, most_maps=24) -> Drawn | None:
    """Figure 4: receptor maps in order of r, the leading one, and all together; None without.

    Parameters
    ----------
    study : Study
    most_maps : int
        Maps shown; the figure of this panel alone has them all.
    """
    results = Section(study, "receptors")
    if not (study.has_change and results.is_there):
        return None
    names = ("scatter", "dominance", "nulls", "slopes", "anatomy", "influence")
    names = [name for name in names if not (study.effect and name in catalogue.OF_PATIENTS)]
    panels = {"correlations": catalogue.correlations(results, most_maps=most_maps)}
    panels |= {name: catalogue.CATALOGUE[name](results) for name in names}
    blocks = [
        ([["correlations"]], panels["correlations"].size[1], None),
        ([["scatter", "dominance"]], max(2.4, 0.14 * len(results.table("dominance")) + 0.9), None),
        ([[name for name in ("nulls", "slopes") if name in names]], 2, None),
        ([["anatomy", "influence"]], 2, [1, 1.2]),
    ]
    apart = panels | {"correlations": catalogue.correlations(results)}
    return _draw(results, "figure4_receptors", "Receptors", panels, blocks, apart)


def save(study: Study, figures, separate=True) -> None:
    """Write figures as PNG and PDF, with ``captions.json``, and list them.

    Those of results with few permutations lie in ``quick/`` and leave the others as they are.

    Parameters
    ----------
    study : Study
    figures : sequence of Drawn or None
        None: a figure that the study has no results for.
    separate : bool
        Each panel as a figure of its own, too.
    """
    drawn = [figure for figure in figures if figure is not None]
    drawn += [one for figure in drawn for one in figure.further()] if separate else []
    files = {figure.name: figure.figure for figure in drawn}
    files["captions.json"] = {figure.name: figure.said for figure in drawn}
    few = any(Section(study, name).quick for name in SECTIONS)
    with style():
        written = write(study.figure_folder(few), files, keep_others=("S*",))
    print(*(path.relative_to(study.figures) for path in written), sep="\n")


def _said_once(courses):
    """Courses of scales, of which the first alone explains the lines of the model."""
    first, *further = courses
    short = {name: courses[name].caption.partition(" Thick lines")[0] for name in further}
    return {first: courses[first]} | {
        name: replace(courses[name], caption=f"{words} Otherwise as in (a).")
        for name, words in short.items()
    }


def _column(panels):
    """Blocks that lay panels one below the other."""
    return [([[name]], panel.size[1], None) for name, panel in panels.items()]


def _draw(results, name, title, panels, blocks, apart=None, pages=None):
    """A numbered figure.

    ``apart``: panels that are also figures of their own (by default all); ``pages``: panels by name
    that make a further page each.
    """
    marks, names = catalogue.marks_of(results), results.study.arm_names
    number, said = name.split("_")[0], captions(title, panels, marks)

    def further():
        for page, group in (pages or {}).items():
            words = f"{title} by contrast, {page.replace('_', ' ')}"
            yield _draw(results, f"{number}_{page}", words, group, _column(group))
        for key, panel in (panels if apart is None else apart).items():
            one = captions(panel.title, {key: panel}, marks, lettered=False)
            yield Drawn(f"{number}_{key}", alone(panel, names, marks), one)

    return Drawn(name, compose(panels, blocks, names, marks), said, further)
