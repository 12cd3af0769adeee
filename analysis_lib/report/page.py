"""The report of a study: one page, readable offline, made from the result files alone."""

import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from analysis_lib.clinical.estimand import describe_estimand
from analysis_lib.figures.palette import COLOURS
from analysis_lib.report import evidence as report_evidence
from analysis_lib.report import references
from analysis_lib.report import sentences as report_sentences
from analysis_lib.report.embedding import (
    TEMPLATES,
    Links,
    copy_figures,
    draw_figures,
    read_figures,
    read_views,
    write_notebooks,
)
from analysis_lib.report.evidence import Evidence
from analysis_lib.report.tables import read_tables
from analysis_lib.results import words as results_words
from analysis_lib.results.closed_page import closed
from analysis_lib.results.files import staging_folder, staging_name, write_text
from analysis_lib.results.problems import WrongFile, refusals, warning_words

CRATE = "ro-crate-metadata.json"
SUMMARY = "vbm/summary.tsv"
ON_REQUEST = {
    "calibration": "How far the p-values can be trusted",
    "power": "What a trial of this size can find",
    "juspace": "What JuSpace would have said",
}
LIMIT = 5_000_000  # bytes of the page

SOFTWARE = ("python", "numpy", "scipy", "statsmodels", "pingouin", "nibabel", "nilearn", "numba")
MAP_SOFTWARE = ("antspyx", "picsl-greedy", "picsl_greedy")

_MARKDOWN = MarkdownIt("commonmark", {"html": True})  # numbers come as links

TIV = {
    "none": "Maps were not adjusted for head size, which does not change between sessions.",
    "covariate": "Total intracranial volume was included as a covariate.",
    "proportional": "Maps were divided by total intracranial volume.",
}


def write_report(study, coming=()) -> Path:
    """Write ``report/index.html`` and what it leads to beside it, whole or not at all.

    Everything is read from the study's folder of results and its folder of figures. The page, whose
    path is returned, loads nothing from elsewhere and leads to nothing outside the results; it
    links to records that are ``coming``, written after it. Refused: no clinical results (the
    message says which notebook to run), a quoted number that no result holds (`UnknownNumber`:
    results of an older version), a page larger than 5 MB.
    """
    evidence = Evidence(study)
    final = study.derived / "report"
    staging = staging_folder(study.derived, "report")
    staging.chmod(0o755)
    try:
        notebooks = write_notebooks(study, staging / "notebooks", _flag(evidence))
        copy_figures(evidence, staging / "figures")
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
    told = partial(report_sentences.paragraphs, said)
    context = report_sentences.context(evidence) | _context(evidence, notebooks)
    context |= _provenance(evidence, coming) | {"said": said, "paragraphs": told}
    methods = report_sentences.blocks(environment.get_template("methods.md.j2").render(context))
    context |= {"methods": prose(methods), "references": references.cited(methods)}
    parts = {
        name: Markup(environment.get_template(f"{name}.html.j2").render(context))
        for name in ("answers", "results", "provenance")
    }
    style = ":root {{ --active: {active}; --control: {control}; }}\n".format(**COLOURS)
    style += (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    parts |= {"css": Markup(style), "js": Markup(script)}
    page = environment.get_template("page.html.j2").render(context | parts)
    found = {heading: told(section) for _, heading, section, *_ in context["parts"]}
    texts = references.texts(evidence.study.title, _flag(evidence), methods, found)
    return closed(page, [script], [style]), texts


def split_panels(caption) -> list:
    """A caption as (letter, words): what comes before "(a)", then each panel's; one without any."""
    parts = re.split(r"(?:^|(?<=\. ))\(([a-z])\) ", caption)
    pairs = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    return [(letter, words.strip()) for letter, words in pairs if words.strip()]


def _environment():
    environment = report_sentences.environment()
    environment.filters |= {
        "scale": report_evidence.scale_words,
        "covariance": lambda name: report_evidence.COVARIANCES.get(name, name),
        "inline": lambda words: Markup(_MARKDOWN.renderInline(" ".join(str(words).split()))),
        "prose": prose,
        "panels": split_panels,
        "tojson_text": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return environment


def prose(blocks) -> Markup:
    """Paragraphs of Markdown as HTML, their citations as links to the list of references."""
    return references.linked(_MARKDOWN.render("\n\n".join(blocks)))


def _context(evidence, notebooks):
    study = evidence.study
    links = Links(evidence, notebooks)
    facts = _study_facts(evidence) | _quoting(evidence)
    facts |= {"link": links.file, "source_link": links.source, "notebook_link": links.notebook}
    receptors = _receptor_facts(evidence)
    figures = read_figures(evidence, links) | draw_figures(evidence)
    facts |= _imaging_facts(evidence) | receptors | _clinical_facts(evidence)
    facts |= {
        "figures_of": figures,
        "tables": read_tables(evidence, receptors["has_receptors"]),
        "views": read_views(study),
        "notebooks": notebooks,
        "flag": _flag(evidence),
        "tag": Markup('<span class="tag">{}</span> ').format(_flag(evidence))
        if _flag(evidence)
        else "",
        "notices": _notices(evidence),
        "agreement": _agreement(evidence.json("comparison.json").get("lines")),
        "quoted": evidence.quoted.values(),
    }
    facts |= {"parts": _parts(evidence, facts), "lacking": _lacking(study, facts)}
    return facts | {"questions": _questions(study, facts), "contents": _contents(facts)}


def _agreement(lines):
    """How many numbers are those of the published run; which moved, the terminal tells."""
    return lines[0].partition("; these ")[0].rstrip(":") if lines else ""


def _parts(evidence, facts):
    """Parts of the results: anchor, heading, section of sentences, tables, paragraphs shown."""
    scored = bool(evidence.study.arms) or facts["conducted_courses"]
    of_scores, harms = ("contrasts", "responders", "change"), "Harms, blinding and dose"
    parts = [("clinical", "Clinical outcomes", "clinical", of_scores, 1)] * scored
    parts += [("conduct", harms, "conduct", ("harms",), 2)] * facts["conducted"]
    parts += [("vbm", "Grey-matter change", "vbm", ("clusters", "regions"), 1)] * facts["has_vbm"]
    parts += [("receptors", "Receptors", "receptors", ("receptors",), 1)] * facts["has_receptors"]
    asked = [name for name in ON_REQUEST if (evidence.derived / name).is_dir()]
    return parts + [(name, ON_REQUEST[name], name, (name,), 1) for name in asked]


def _lacking(study, facts):
    """Which parts have not been run, in words."""
    missing = {
        "The notebook on the conduct of the trial has not been run for this study.": study.arms
        and not facts["conducted"],
        "The imaging notebooks have not been run for this study.": study.imaging
        and not facts["has_vbm"],
        "No receptor correlation has been computed for this study.": study.imaging
        and not facts["has_receptors"],
    }
    return [words for words, true in missing.items() if true]


def _questions(study, facts):
    """The questions that these results answer, each with the section of its answer."""
    names, arms = study.arm_names, study.arms
    asked = []
    if study.scales and (arms or facts["conducted_courses"]):
        better = f"improve differently with {names['active']} than with {names['control']}"
        better = better if arms else "change"
        asked.append((f"Does {study.primary_scale.name} {better}?", "answer_clinical"))
    if facts["has_vbm"]:
        by_arm = ", and differently by arm" if arms else ""
        asked.append((f"Does grey-matter volume change{by_arm}?", "answer_vbm"))
    if facts["has_receptors"]:
        asked.append(("Does the change follow a receptor or transporter?", "answer_receptors"))
    return asked


def _study_facts(evidence):
    study = evidence.study
    return {
        "others": [scale for scale in study.scales if not scale.primary],
        "one_visit": len(study.visits) == 2,
        "simulated": study.simulated,
        "estimand": describe_estimand(study).split("\n"),
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
    names = ("number", "version", "mask_voxels", "mask_grid")
    return {name: getattr(evidence, name) for name in names}


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


def _contents(facts):
    """Sections of the page: anchor, title, and the parts of each."""
    flow = bool(facts["flow"])
    found = [("flow", "Participant flow")] * flow
    found += [(anchor, heading) for anchor, heading, *_ in facts["parts"]]
    found += [("further", "Further figures")] * ("other" in facts["figures_of"])
    found += [("limits", "Limits")] * flow
    return [
        ("summary", "Questions and answers", []),
        ("methods", "Methods", []),
        ("results", "Results", found),
        *([("views", "Interactive brain views", [])] if facts["views"] else []),
        ("notebooks", "Notebooks", []),
        *([("checklist", "CONSORT checklist", [])] if facts["checklist"] else []),
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
