"""The report of a study: one page, readable offline, made from the result files alone."""

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from analysis_lib.clinical.estimand import describe_estimand
from analysis_lib.figures.palette import COLOURS
from analysis_lib.report import evidence as report_evidence
from analysis_lib.report import sentences as report_sentences
from analysis_lib.report.embedding import (
    TEMPLATES,
    Links,
    draw_figures,
    read_figures,
    read_views,
    write_notebooks,
)
from analysis_lib.report.evidence import Evidence
from analysis_lib.report.tables import read_tables
from analysis_lib.results import words as results_words
from analysis_lib.results.files import staging_folder, staging_name, write_text
from analysis_lib.results.problems import WrongFile, refusals, warning_words

CRATE = "ro-crate-metadata.json"
SUMMARY = "vbm/summary.tsv"
ON_REQUEST = {
    "calibration": "How far the p-values can be trusted",
    "power": "What a trial of this size can find",
    "juspace": "What JuSpace would have said",
}
LIMIT = 15_000_000  # bytes of the page

SOFTWARE = ("python", "numpy", "scipy", "statsmodels", "pingouin", "nibabel", "nilearn", "numba")
MAP_SOFTWARE = ("antspyx", "picsl-greedy", "picsl_greedy")

_MARKDOWN = MarkdownIt("commonmark", {"html": True})  # numbers come as links

TIV = {
    "none": "Maps were not adjusted for head size, which does not change between sessions.",
    "covariate": "Total intracranial volume was included as a covariate.",
    "proportional": "Maps were divided by total intracranial volume.",
}


def write_report(study, coming=()) -> Path:
    """Write ``report/index.html`` and the notebooks beside it, whole or not at all.

    Everything is read from the study's folder of results and its folder of figures. The page, whose
    path is returned, loads nothing from elsewhere; it links to records that are ``coming``, written
    after it. Refused: no clinical results (the message says which notebook to run), a quoted number
    that no result holds (`UnknownNumber`: results of an older version), a page larger than 15 MB.
    """
    evidence = Evidence(study)
    final = study.derived / "report"
    staging = staging_folder(study.derived, "report")
    staging.chmod(0o755)
    try:
        notebooks = write_notebooks(study, staging / "notebooks", _flag(evidence))
        page = render(evidence, notebooks, coming)
        size = len(page.encode())
        if size > LIMIT:
            raise WrongFile(
                f"report of {study.name}: {size / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f} expected; "
                f"make the figures in {study.figures} smaller"
            )
        write_text(staging / "index.html", page)
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


def render(evidence, notebooks, coming=()) -> str:
    """The page as HTML, which leads to ``notebooks`` and to files that are still ``coming``."""
    environment = _environment()
    context = report_sentences.context(evidence) | _context(evidence, notebooks)
    context |= _provenance(evidence, coming) | _said(evidence, environment)
    parts = {
        name: Markup(environment.get_template(f"{name}.html.j2").render(context))
        for name in (*_parts(evidence.study), "provenance")
    }
    return environment.get_template("page.html.j2").render(context | parts)


def _parts(study):
    """Templates of the page's body: one for all where there is no control arm."""
    return ("abstract", "methods", "results") if study.arms else ("plain",)


def split_panels(caption) -> list:
    """A caption as (letter, words): what comes before "(a)", then each panel's; one without any."""
    parts = re.split(r"(?:^|(?<=\. ))\(([a-z])\) ", caption)
    pairs = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    return [(letter, words.strip()) for letter, words in pairs if words.strip()]


def _environment():
    environment = report_sentences.environment(autoescape=True)
    environment.filters |= {
        "scale": report_evidence.scale_words,
        "covariance": lambda name: report_evidence.COVARIANCES.get(name, name),
        "sentence": lambda words: words[:1].upper() + words[1:],
        "inline": lambda words: Markup(_MARKDOWN.renderInline(" ".join(str(words).split()))),
        "panels": split_panels,
        "tojson_text": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return environment


def _said(evidence, environment):
    """The sentences of the notebooks: one by one, and all of a section."""
    said = report_sentences.sentences(evidence, environment)

    def found(section):
        return Markup(_MARKDOWN.render(report_sentences.paragraphs(said, section)))

    return {"said": said, "findings": found}


def _context(evidence, notebooks):
    study = evidence.study
    links = Links(evidence, notebooks)
    facts = _study_facts(evidence) | _quoting(evidence)
    facts |= {"link": links.file, "source_link": links.source, "notebook_link": links.notebook}
    receptors = _receptor_facts(evidence)
    figures = read_figures(evidence, links) | draw_figures(evidence)
    size = sum(len(figure["uri"]) for group in figures.values() for figure in group)
    views = read_views(study, LIMIT - size - 2_000_000)
    facts |= _imaging_facts(evidence) | receptors | _clinical_facts(evidence)
    facts |= {
        "on_request": [
            pair for pair in ON_REQUEST.items() if (evidence.derived / pair[0]).is_dir()
        ],
        "figures_of": figures,
        "tables": read_tables(evidence, receptors["has_receptors"]),
        "views": views,
        "notebooks": notebooks,
        "flag": _flag(evidence),
        "tag": Markup('<span class="tag">{}</span> ').format(_flag(evidence))
        if _flag(evidence)
        else "",
        "notices": _notices(evidence),
        "quoted": evidence.quoted.values(),
        "css": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "js": Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
    }
    contents = {"contents": _contents(evidence, facts, views)}
    return facts | contents


def _study_facts(evidence):
    study = evidence.study
    return {
        "others": [scale for scale in study.scales if not scale.primary],
        "one_visit": len(study.visits) == 2,
        "simulated": study.simulated,
        "estimand": describe_estimand(study).split("\n"),
        "quick": is_quick(evidence),
        "colours": COLOURS,
        "contrasts": [row["contrast"] for row in evidence.select(SUMMARY).to_dict("records")],
    }


def is_quick(evidence) -> bool:
    """Whether any result was made with few permutations."""
    files = (f"{section}/settings.json" for section in ("clinical", "vbm", "receptors"))
    return bool(evidence.manifest.get("quick")) or any(evidence.json(f).get("quick") for f in files)


def _flag(evidence):
    """What every part of the page says first: SIMULATED, QUICK, a variant's name, or nothing."""
    words = [(evidence.study.label, True), ("QUICK", is_quick(evidence))]
    variant = evidence.study.variant
    words.append((f"VARIANT {variant}", bool(variant)))
    return " · ".join(word for word, true in words if word and true)


def _notices(evidence):
    """Title and text of each warning; text keeps its own wording, without Markdown."""
    chosen = [report_sentences.MARKS.get(evidence.study.label)]
    chosen += [report_sentences.QUICK] if is_quick(evidence) else []
    chosen += [_warned(evidence.manifest["steps"])]
    pairs = [line.replace("`", "").split(": ", 1) for line in chosen if line]
    return [(title, words[:1].upper() + words[1:]) for title, words in pairs]


def _warned(steps):
    """What the check warned of before the notebooks ran, in a line; empty without any."""
    found = {}
    for step in steps.values():
        found |= step.get("warnings", {})
    return warning_words(found)


def _quoting(evidence):
    """Functions by which the page alone quotes numbers."""

    def arm(which):
        swatch = Markup('<span class="arm {}">{}</span>')
        return swatch.format(which, evidence.study.arm_names[which])

    names = ("number", "version", "mask_voxels", "mask_grid", "has", "value")
    return {name: getattr(evidence, name) for name in names} | {"arm": arm}


def _clinical_facts(evidence):
    flow = evidence.select("clinical/consort_flow.tsv")
    return {
        "flow": [
            {"arm": row.arm, "lines": results_words.visit_words(row.text).split("; ")}
            for row in flow.itertuples(index=False)
        ],
        "without_baseline": _without_baseline(evidence),
        "conducted": (evidence.derived / "conduct").is_dir(),
        "conducted_courses": evidence.exists("clinical/change.tsv"),
        "checklist": evidence.exists("conduct/consort_checklist.tsv"),
        "scanned": "scanned_twice" in evidence.json("clinical/flow.json").get("active", {}),
    }


def _without_baseline(evidence):
    """Scales whose scores are compared as values, since there is no change to compare."""
    rows = evidence.select("clinical/mmrm_contrasts.tsv", kind="value")
    return list(dict.fromkeys(rows["scale"])) if len(rows) else []


def _imaging_facts(evidence):
    study, settings = evidence.study, evidence.json("vbm/settings.json")
    has_vbm = study.has_change and evidence.exists(SUMMARY, "vbm/settings.json")
    regions = evidence.select("vbm/region_clinical.tsv").dropna() if has_vbm else pd.DataFrame()
    atlas = study.atlas if isinstance(study.atlas, str) else study.atlas["image"]
    own, maps = study.own_maps(), sorted((study.derived / "vbm").glob("*.nii.gz"))
    made = next(study.made_maps.glob("sub-*/ses-*/anat/*_probseg.json"), None)
    made = None if own or made is None else made.relative_to(study.derived).as_posix()
    versions = evidence.json(made).get("PackageVersions", {}) if made else {}
    return {
        "has_vbm": has_vbm,
        "made_maps": made,
        "packages_of_maps": {n: v for n, v in versions.items() if n in MAP_SOFTWARE},
        "smoothness": settings.get("smoothness_mm", []),
        "tail": settings.get("tail"),
        "errors": settings.get("errors", "equal"),
        "errors_within": settings.get("errors_within"),
        "tiv_words": TIV.get(settings.get("tiv"), ""),
        "atlas_name": Path(atlas).name,
        "region_coupling": len(regions) > 0,
        "maps": [path.relative_to(study.derived).as_posix() for path in maps],
    }


def _receptor_facts(evidence):
    has = evidence.study.has_change and evidence.exists("receptors/settings.json")
    rows = pd.DataFrame(report_sentences.receptor_maps(evidence) if has else [])
    settings = evidence.json("receptors/settings.json") if has else {}
    facts = {
        "has_receptors": len(rows) > 0,
        "correlation": report_evidence.CORRELATIONS.get(settings.get("statistic"), ""),
        "surrogate": report_evidence.SURROGATES.get(settings.get("null"), ""),
        "dominance": evidence.exists("receptors/dominance.tsv"),
        "software": SOFTWARE,
    }
    if rows.empty:
        return facts
    return facts | {
        "fullest": rows.loc[rows["n_parcels"].idxmax(), "annotation"],
        "own_maps": rows["annotation"].str.startswith("local/").any(),
    }


def _contents(evidence, facts, views):
    """Sections of the page: anchor, title, and the parts of each."""
    if not evidence.study.arms:
        return _short_contents(facts, views)
    methods = [("participants", "Participants and design"), ("outcomes", "Outcomes")]
    methods += [("clinical-methods", "Clinical analysis")]
    methods += [("vbm-methods", "Imaging")] if facts["has_vbm"] else []
    methods += [("receptor-methods", "Receptor correlation")] if facts["has_receptors"] else []
    methods += [("software", "Software")]
    found = [("flow", "Participant flow"), ("clinical", "Clinical outcomes")]
    found += [("conduct", "Harms, blinding and dose")]
    if evidence.study.imaging:
        found += [("vbm", "Grey-matter change"), ("receptors", "Receptors"), *facts["on_request"]]
    found += [("further", "Further figures")] if "other" in facts["figures_of"] else []
    return [
        ("summary", "Summary", []),
        ("methods", "Methods", methods),
        ("results", "Results", [*found, ("limits", "Limits")]),
        *([("views", "Interactive brain views", [])] if views else []),
        ("notebooks", "Notebooks", []),
        *([("checklist", "CONSORT checklist", [])] if facts["checklist"] else []),
        ("provenance", "Provenance", []),
        ("numbers", "Numbers quoted", []),
        ("references", "References", []),
    ]


def _short_contents(facts, views):
    """The same without a control arm."""
    found = [
        ("clinical", "Clinical course"),
        ("vbm", "Change by region"),
        ("receptors", "Receptors"),
    ]
    there = {"clinical": facts["conducted_courses"], "vbm": facts["has_vbm"]}
    found = [part for part in found if there.get(part[0], facts["has_receptors"])]
    return [
        ("methods", "Methods", []),
        ("results", "Results", found),
        *([("views", "Interactive brain views", [])] if views else []),
        ("notebooks", "Notebooks", []),
        ("provenance", "Provenance", []),
        ("numbers", "Numbers quoted", []),
        ("references", "References", []),
    ]


def _provenance(evidence, coming):
    steps = evidence.manifest["steps"]
    records = ["manifest.json", "numbers.json"]
    records += [CRATE] if CRATE in coming or (evidence.derived / CRATE).is_file() else []
    packages, machines = {}, []
    for step in steps.values():
        packages |= step["packages"]
        machines.append("{system} {release}, {processor}, {cores} cores".format(**step["machine"]))
    return {
        "manifest": evidence.manifest,
        "steps": steps,
        "record_files": records,
        "packages": packages,
        "machines": list(dict.fromkeys(machines)),
    }
