"""The report of a study: one page, readable offline, made from the result files alone."""

import functools
import json
import os
import re
import shutil
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from analysis_lib.clinical.estimand import describe_estimand
from analysis_lib.figures.palette import COLOURS
from analysis_lib.report import embedding, references
from analysis_lib.report import sentences as report_sentences
from analysis_lib.report.manifest import CRATE
from analysis_lib.report.quoting import Evidence
from analysis_lib.report.tables import read_tables
from analysis_lib.results.closed_page import closed
from analysis_lib.results.files import staging_folder, staging_name, write_text
from analysis_lib.results.problems import WrongFile, refusals, warning_words

ON_REQUEST = {
    "calibration": "How far the p-values can be trusted",
    "specifications": "How far results depend on choices of the analysis",
    "power": "What a trial of this size can find",
    "juspace": "What JuSpace would have said",
}
SCALES = {
    "hamd17": "Hamilton Depression Rating Scale",
    "hdrs": "Hamilton Depression Rating Scale",
    "hama": "Hamilton Anxiety Rating Scale",
    "hars": "Hamilton Anxiety Rating Scale",
    "madrs": "Montgomery-Åsberg Depression Rating Scale",
}
LIMIT = 5_000_000  # bytes of the page

_MARKDOWN = MarkdownIt("commonmark", {"html": True})  # numbers come as links


def write_report(study, coming=()) -> Path:
    """Write ``report/index.html`` and what it leads to beside it, whole or not at all; its path.

    It leads to nothing outside the results, and to records that are ``coming``, written after it.
    Refused: no clinical results, a quoted number that no result holds (`UnknownNumber`: results of
    an older version), a page larger than 5 MB.
    """
    evidence = Evidence(study)
    final = study.derived / "report"
    staging = staging_folder(study.derived, "report")
    staging.chmod(0o755)
    try:
        notebooks = embedding.write_notebooks(evidence, staging / "notebooks", _flag(evidence))
        embedding.copy_figures(evidence, staging / "figures")
        page, texts = render(evidence, notebooks, coming)
        size = len(page.encode())
        if size > LIMIT:
            raise WrongFile(
                f"report of {study.name}: {size / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f} expected; "
                f"make the figures in {study.figures} smaller"
            )
        for name, text in {"index.html": page, **texts}.items():
            write_text(staging / name, text)
        with refusals(final):
            _replace(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final / "index.html"


def _replace(staging, final):
    """Put a new folder in the place of an old one; the old one returns if that fails."""
    old = final.with_name(staging_name(final.name, "old"))
    if final.exists():
        os.rename(final, old)
    try:
        os.rename(staging, final)
    except OSError:
        if old.exists():
            os.rename(old, final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def render(evidence, notebooks, coming=()):
    """The page as HTML, which leads to ``notebooks`` and ``coming`` files; its texts by name."""
    environment = _environment()
    said = report_sentences.sentences(evidence, environment)
    told = functools.partial(report_sentences.paragraphs, said)
    context = report_sentences.context(evidence) | _context(evidence, notebooks)
    context |= _provenance(evidence, coming) | {"said": said, "paragraphs": told}
    methods = report_sentences.blocks(environment.get_template("methods.md.j2").render(context))
    context |= {"methods": prose(methods), "references": references.cited(methods)}
    parts = {
        name: Markup(environment.get_template(f"{name}.html.j2").render(context))
        for name in ("answers", "results", "provenance")
    }
    style = ":root {{ --active: {active}; --control: {control}; }}\n".format(**COLOURS)
    style += (embedding.TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (embedding.TEMPLATES / "page.js").read_text(encoding="utf-8")
    parts |= {"css": Markup(style), "js": Markup(script)}
    page = environment.get_template("page.html.j2").render(context | parts)
    found = {heading: told(section) for _, heading, section, *_ in context["parts"]}
    texts = references.texts(evidence.study.title, _flag(evidence), methods, found)
    return closed(page, [script], [style]), texts


def scale_words(scale) -> str:
    """A scale with its full name, where that is known."""
    known = SCALES.get(scale.key)
    return f"{known} ({scale.name})" if known else scale.name


def split_panels(caption) -> list:
    """A caption as (letter, words): what comes before "(a)", then each panel's; one without any."""
    parts = re.split(r"(?:^|(?<=\. ))\(([a-z])\) ", caption)
    pairs = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    return [(letter, words.strip()) for letter, words in pairs if words.strip()]


@functools.cache
def _environment():
    environment = report_sentences.environment()
    environment.filters |= {
        "scale": scale_words,
        "inline": lambda words: Markup(_MARKDOWN.renderInline(" ".join(str(words).split()))),
        "prose": prose,
        "panels": split_panels,
        "tojson_text": functools.partial(json.dumps, ensure_ascii=False),
    }
    return environment


def prose(blocks) -> Markup:
    """Paragraphs of Markdown as HTML, their citations as links to the list of references."""
    return references.linked(_MARKDOWN.render("\n\n".join(blocks)))


def _context(evidence, notebooks):
    """What the templates of the page are filled with, beside what sentences are made from."""
    study, flag = evidence.study, _flag(evidence)
    atlas = study.atlas if isinstance(study.atlas, str) else study.atlas["image"]
    agreement = evidence.json("comparison.json").get("lines", [])[:1]  # not which numbers moved
    links = embedding.Links(evidence, notebooks)
    receptors = study.has_change and evidence.exists("receptors/settings.json")
    receptors = receptors and bool(report_sentences.receptor_maps(evidence))
    figures = embedding.read_figures(evidence) | embedding.draw_figures(evidence)
    facts = {
        "number": evidence.number,
        "version": evidence.version,
        "mask_voxels": evidence.mask_voxels,
        "mask_grid": evidence.mask_grid,
        "link": links.file,
        "source_link": links.source,
        "notebook_link": links.notebook,
        "others": [scale for scale in study.scales if not scale.primary],
        "estimand": describe_estimand(study).split("\n"),
        "atlas_name": Path(atlas).name,
        "courses": evidence.exists("clinical/change.tsv"),
        "conducted": (evidence.derived / "conduct").is_dir(),
        "has_vbm": study.has_change and evidence.exists("vbm/summary.tsv", "vbm/settings.json"),
        "has_receptors": receptors,
        "made_maps": _made_maps(study),
        "maps": [f"vbm/{path.name}" for path in sorted(study.derived.glob("vbm/*.nii.gz"))],
        "figures_of": figures,
        "tables": read_tables(evidence, receptors),
        "views": embedding.read_views(study),
        "notebooks": notebooks,
        "flag": flag,
        "tag": Markup('<span class="tag">{}</span> ').format(flag) if flag else "",
        "notices": _notices(evidence),
        "agreement": "".join(agreement).partition("; these ")[0].rstrip(":"),
        "quoted": evidence.quoted.values(),
    }
    return facts | {"parts": _parts(evidence, facts)}


def _made_maps(study):
    """What describes one of the maps that notebook 00 made; None where the study brings them."""
    made = next(study.made_maps.glob("sub-*/ses-*/anat/*_probseg.json"), None)
    return None if made is None or study.own_maps() else made.relative_to(study.derived).as_posix()


def _parts(evidence, facts):
    """Parts of the results: anchor, heading, section of sentences, tables, paragraphs shown."""
    scored = bool(evidence.study.arms) or facts["courses"]
    of_scores, harms = ("contrasts", "responders", "change"), "Harms, blinding and dose"
    parts = [("clinical", "Clinical outcomes", "clinical", of_scores, 1)] * scored
    parts += [("conduct", harms, "conduct", ("harms",), 2)] * facts["conducted"]
    parts += [("vbm", "Grey-matter change", "vbm", ("clusters", "regions"), 1)] * facts["has_vbm"]
    parts += [("receptors", "Receptors", "receptors", ("receptors",), 1)] * facts["has_receptors"]
    asked = [name for name in ON_REQUEST if (evidence.derived / name).is_dir()]
    tables = {"calibration": ("calibration", "failing"), "power": ("power", "needed")}
    return parts + [(name, ON_REQUEST[name], name, tables.get(name, (name,)), 1) for name in asked]


def is_quick(evidence) -> bool:
    """Whether any result was made with few permutations."""
    files = (f"{section}/settings.json" for section in ("clinical", "vbm", "receptors"))
    return bool(evidence.manifest.get("quick")) or any(evidence.json(f).get("quick") for f in files)


def _flag(evidence):
    """What every part of the page says first: SIMULATED, QUICK, a variant's name, or nothing."""
    variant = evidence.study.variant
    words = (
        evidence.study.label,
        "QUICK" * is_quick(evidence),
        f"VARIANT {variant}" * bool(variant),
    )
    return " · ".join(filter(None, words))


def _notices(evidence):
    """Title and text of each warning; text keeps its own wording, without Markdown."""
    steps = evidence.manifest["steps"].values()
    warned = {name: about for step in steps for name, about in step.get("warnings", {}).items()}
    quick = report_sentences.QUICK * is_quick(evidence)
    lines = (report_sentences.MARKS[evidence.study.label], quick, warning_words(warned))
    pairs = [line.replace("`", "").split(": ", 1) for line in filter(None, lines)]
    return [(title, words[:1].upper() + words[1:]) for title, words in pairs]


def _provenance(evidence, coming):
    steps = evidence.manifest["steps"]
    records = ["manifest.json", "numbers.json"]
    records += [CRATE] if CRATE in coming or (evidence.derived / CRATE).is_file() else []
    machine = "{system} {release}, {processor}, {cores} cores"
    machines = [machine.format(**step["machine"]) for step in steps.values()]
    return {
        "manifest": evidence.manifest,
        "steps": steps,
        "record_files": records,
        "packages": {name: v for step in steps.values() for name, v in step["packages"].items()},
        "machines": list(dict.fromkeys(machines)),
    }
