"""The report of a study: one page, readable offline, made from the result files alone."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis_lib.figures.palette import COLOURS
from analysis_lib.report import evidence as report_evidence
from analysis_lib.report import findings
from analysis_lib.report.embedding import (
    TEMPLATES,
    Links,
    read_figures,
    read_views,
    write_notebooks,
)
from analysis_lib.report.evidence import Evidence
from analysis_lib.report.tables import read_tables
from analysis_lib.results import words as results_words
from analysis_lib.results.problems import WrongFile

CRATE = "ro-crate-metadata.json"
LIMIT = 15_000_000  # bytes of the page

LEVEL = 0.05  # below it a family-wise p is called significant in words
SOFTWARE = ("python", "numpy", "scipy", "statsmodels", "pingouin", "nibabel", "nilearn", "numba")
MAP_SOFTWARE = ("antspyx", "picsl-greedy", "picsl_greedy")
SIMULATED_MAPS = (
    "Receptor maps are simulated",
    "Real ones were not in the cache. One map follows the demo's own table of receptor weights, "
    "the others are smooth random fields: no correlation here says anything about a receptor.",
)

TIV = {
    "none": "Head size was not adjusted for: it is the same before and after.",
    "covariate": "Total intracranial volume was a covariate.",
    "proportional": "Maps were divided by total intracranial volume.",
}


def write_report(study, coming=()) -> Path:
    """Write ``report/index.html`` and the notebooks beside it, whole or not at all.

    Everything is read from the study's folder of results and its folder of figures. The page loads
    nothing from elsewhere.

    Parameters
    ----------
    study : Study
    coming : tuple of str
        Records that the page links to, although they are written after it.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    FileNotFoundError
        If there are no clinical results; the message says which notebook to run.
    analysis_lib.report.evidence.UnknownNumber
        If the text quotes a number that no result holds: results of an older version.
    ValueError
        If the page would be larger than 15 MB.
    """
    evidence = Evidence(study)
    final = study.derived / "report"
    staging = Path(tempfile.mkdtemp(prefix=".report-", dir=study.derived))
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
        (staging / "index.html").write_text(page, encoding="utf-8")
        _replace(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final / "index.html"


def _replace(staging, final):
    """Put a new folder in the place of an old one; the old one returns if that fails."""
    old = final.with_name(f".{final.name}-old-{os.getpid()}")
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
    """The page as HTML.

    Parameters
    ----------
    evidence : Evidence
    notebooks : list of dict
        From :func:`write_notebooks`.
    coming : tuple of str
        See :func:`write_report`.
    """
    environment = _environment()
    context = _context(evidence, notebooks) | _provenance(evidence, coming)
    parts = {
        name: Markup(environment.get_template(f"{name}.html.j2").render(context))
        for name in ("abstract", "methods", "results", "provenance")
    }
    return environment.get_template("page.html.j2").render(context | parts)


def split_panels(caption) -> list:
    """A caption in parts: what comes before "(a)", then each panel's; one part where none has one.

    Parameters
    ----------
    caption : str

    Returns
    -------
    list of tuple of str
        Letter ("" where there is none) and words.
    """
    parts = re.split(r"(?:^|(?<=\. ))\(([a-z])\) ", caption)
    pairs = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    return [(letter, words.strip()) for letter, words in pairs if words.strip()]


def _environment():
    loader = jinja2.FileSystemLoader(TEMPLATES)
    options = {"lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(loader=loader, autoescape=True, **options)
    environment.filters |= {
        "visit": results_words.visit_words,
        "scale": report_evidence.scale_words,
        "listed": report_evidence.listed,
        "covariance": lambda name: report_evidence.COVARIANCES.get(name, name),
        "sentence": lambda words: words[:1].upper() + words[1:],
        "panels": split_panels,
        "tojson_text": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return environment


def _context(evidence, notebooks):
    study = evidence.study
    links = Links(evidence, notebooks)
    facts = _study_facts(evidence) | _quoting(evidence) | _links(links)
    receptors = _receptor_facts(evidence)
    figures = read_figures(evidence, links)
    size = sum(len(figure["uri"]) for group in figures.values() for figure in group)
    views = read_views(study, LIMIT - size - 2_000_000)
    simulated_maps = receptors["simulated_maps"]
    facts |= _imaging_facts(evidence) | receptors | _clinical_facts(evidence)
    facts |= {
        "figures_of": figures,
        "tables": read_tables(evidence, receptors["has_receptors"]),
        "views": views,
        "notebooks": notebooks,
        "flag": _flag(evidence),
        "tag": Markup('<span class="tag">{}</span> ').format(_flag(evidence))
        if _flag(evidence)
        else "",
        "notices": _notices(evidence, simulated_maps),
        "quoted": evidence.quoted.values(),
        "css": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "js": Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
    }
    contents = {"contents": _contents(evidence, facts, views)}
    return facts | contents


def _study_facts(evidence):
    study = evidence.study
    return {
        "study": study,
        "names": study.arm_names,
        "primary": study.primary_scale,
        "others": [scale for scale in study.scales if not scale.primary],
        "final": study.final_visit,
        "one_visit": len(study.post_visits) == 1,
        "simulated": study.simulated,
        "quick": is_quick(evidence),
        "level": LEVEL,
        "colours": COLOURS,
        "contrasts": [
            name for name in report_evidence.CONTRASTS if evidence.has(f"vbm.{name}.n_voxels_fwe")
        ],
        "contrast_words": lambda name: report_evidence.contrast_words(name, study.arm_names),
    }


def is_quick(evidence) -> bool:
    """Whether any result was made with few permutations."""
    files = (f"{section}/settings.json" for section in ("clinical", "vbm", "receptors"))
    return bool(evidence.manifest.get("quick")) or any(evidence.json(f).get("quick") for f in files)


def _flag(evidence):
    """What every part of the page says first: SIMULATED, QUICK, a variant's name, or nothing."""
    words = [("SIMULATED", evidence.study.simulated), ("QUICK", is_quick(evidence))]
    settings = evidence.json("receptors/settings.json")
    variant = evidence.study.variant
    words.append((f"VARIANT {variant}", bool(variant)))
    words.append(("SIMULATED RECEPTOR MAPS", settings.get("simulated_maps", False)))
    return " · ".join(word for word, true in words if true)


def _notices(evidence, simulated_maps):
    """Title and text of each warning; text keeps its own wording, without Markdown."""
    chosen = [findings.SIMULATED] if evidence.study.simulated else []
    chosen += [findings.QUICK] if is_quick(evidence) else []
    pairs = [line.replace("`", "").split(": ", 1) for line in chosen]
    pairs = [(title, words[:1].upper() + words[1:]) for title, words in pairs]
    return pairs + ([SIMULATED_MAPS] if simulated_maps else [])


def _quoting(evidence):
    """Functions by which the templates quote numbers, and words that depend on them."""
    study = evidence.study

    def ci_of(file, low, high, kind=None, **where):
        ends = (evidence.cell(file, column, kind, **where) for column in (low, high))
        return Markup("95&nbsp;%&nbsp;CI {} to {}").format(*ends)

    def finding(scale, visit):
        return finding_sentence(evidence, scale, visit)

    def responders(outcome, column):
        where = {"scale": study.primary_scale.name, "visit": study.final_visit}
        where |= {"outcome": outcome, "analysis": "missing_is_failure"}
        return evidence.cell("clinical/responders.tsv", column, **where)

    def arm(which):
        swatch = Markup('<span class="arm {}">{}</span>')
        return swatch.format(which, study.arm_names[which])

    names = ("number", "cell", "count", "largest", "entry", "version", "of_study", "mask_voxels")
    names += ("mask_grid", "has", "exists", "value")
    return {name: getattr(evidence, name) for name in names} | {
        "ci_of": ci_of,
        "finding": finding,
        "responders": responders,
        "arm": arm,
        "is_least": report_evidence.is_least,
        "excludes_zero": report_evidence.excludes_zero,
        "leading_regions": lambda contrast: report_evidence.leading_regions(evidence, contrast),
    }


def finding_sentence(evidence, scale, visit):
    """Which way a scale differs between the arms, and by how much, in words.

    Parameters
    ----------
    evidence : Evidence
    scale, visit : str

    Returns
    -------
    markupsafe.Markup
    """
    study = evidence.study
    key = next(s.key for s in study.scales if s.name == scale)
    estimate = f"clinical.{key}.{visit}.estimate"
    rows = evidence.select("clinical/mmrm_contrasts.tsv", scale=scale, visit=visit)
    form = findings.difference_form(rows["kind"].iloc[0], evidence.value(estimate))
    size = evidence.number(estimate, "size")
    finding = Markup(form).format(size=size, **study.arm_names)
    return Markup("At {}, {} {}").format(results_words.visit_words(visit), scale, finding)


def _clinical_facts(evidence):
    study = evidence.study
    primary, final = study.primary_scale.name, study.final_visit
    flow = evidence.select("clinical/consort_flow.tsv")
    tips = evidence.select("clinical/tipping_point.tsv", visit=final)
    anova = evidence.select("clinical/anova.tsv", scale=primary, effect="arm x time")
    corrected = len(anova) and pd.notna(anova["p_gg"].iloc[0])
    return {
        "flow": [
            {"arm": row.arm, "lines": results_words.visit_words(row.text).split("; ")}
            for row in flow.itertuples(index=False)
        ],
        "without_baseline": _without_baseline(evidence),
        "imputed": _imputed(evidence, primary, final),
        "tip": tips.iloc[0].to_dict() if len(tips) else None,
        "group_by_time": ("p_gg" if corrected else "p") if len(anova) else None,
        "serious": len(evidence.select("clinical/adverse_events.tsv", group="serious")) == 1,
        "checklist": evidence.exists("clinical/consort_checklist.tsv"),
        "scanned": "scanned_twice" in evidence.json("clinical/flow.json")["active"],
    }


def _without_baseline(evidence):
    """Scales whose scores are compared as values, since there is no change to compare."""
    rows = evidence.select("clinical/mmrm_contrasts.tsv", kind="value")
    return list(dict.fromkeys(rows["scale"]))


def _imputed(evidence, scale, visit):
    """Rows of the imputations, with words; none where nobody's score was missing."""
    patterns = evidence.select("clinical/missing_patterns.tsv")
    if patterns.empty or patterns["missingness"].eq("complete").all():
        return []
    rows = evidence.select("clinical/imputation.tsv", scale=scale, visit=visit)
    words = report_evidence.IMPUTATIONS
    known = [name for name in (rows["analysis"] if len(rows) else []) if name in words]
    return [{"analysis": name, "words": words[name]} for name in known]


def _imaging_facts(evidence):
    study, settings = evidence.study, evidence.json("vbm/settings.json")
    has_vbm = bool(study.imaging) and evidence.exists("vbm/summary.tsv", "vbm/settings.json")
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
        "tiv_words": TIV.get(settings.get("tiv"), ""),
        "atlas_name": Path(atlas).name,
        "region_lead": regions.loc[regions["r"].abs().idxmax()].to_dict() if len(regions) else None,
        "maps": [path.relative_to(study.derived).as_posix() for path in maps],
    }


def _receptor_facts(evidence):
    has = bool(evidence.study.imaging) and evidence.exists(
        "receptors/correlations.tsv", "receptors/settings.json"
    )
    settings = evidence.json("receptors/settings.json") if has else {}
    lead = report_evidence.leading_map(evidence) if has else None
    facts = {
        "has_receptors": lead is not None,
        "simulated_maps": settings.get("simulated_maps", False),
        "lead": lead,
        "correlation": report_evidence.CORRELATIONS.get(settings.get("statistic"), ""),
        "surrogate": report_evidence.SURROGATES.get(settings.get("null"), ""),
        "software": SOFTWARE,
    }
    if lead is None:
        return facts
    rows = evidence.select("receptors/correlations.tsv", contrast="arm_by_time")
    asked = rows[rows["receptor"] == "D1"].sort_values("r", key=abs)
    sensitivity = evidence.select(
        "receptors/sensitivity.tsv", contrast="arm_by_time", annotation=lead["annotation"]
    )
    shares = evidence.select("receptors/dominance.tsv")
    shares = shares.sort_values("total_dominance", ascending=False) if len(shares) else shares
    return facts | {
        "shares": [row.receptor for row in shares.head(2).itertuples()],
        "receptor": lambda column: evidence.number(
            f"receptors.arm_by_time.{lead['annotation']}.{column}"
        ),
        "fullest": rows.loc[rows["n_parcels"].idxmax(), "annotation"],
        "own_maps": rows["annotation"].str.startswith("local/").any(),
        "verdict": findings.VERDICTS[lead["p_fwe"] < LEVEL, lead["p_fwe_spatial"] < LEVEL],
        "asked": asked.iloc[-1].to_dict() if len(asked) else None,
        "lead_sensitivity": sensitivity.iloc[0].to_dict() if len(sensitivity) else None,
    }


def _contents(evidence, facts, views):
    """Sections of the page: anchor, title, and the parts of each."""
    methods = [("participants", "Participants and design"), ("outcomes", "Outcomes")]
    methods += [("clinical-methods", "Clinical analysis")]
    methods += [("vbm-methods", "Imaging")] if facts["has_vbm"] else []
    methods += [("receptor-methods", "Receptor correlation")] if facts["has_receptors"] else []
    methods += [("software", "Software")]
    found = [("flow", "Participant flow"), ("clinical", "Clinical outcomes")]
    found += [("conduct", "Harms, blinding and dose")]
    if evidence.study.imaging:
        found += [("vbm", "Grey-matter change"), ("receptors", "Receptors")]
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
        "records": records,
        "packages": packages,
        "machines": list(dict.fromkeys(machines)),
    }


def _links(links):
    return {"link": links.file, "source_link": links.source, "notebook_link": links.notebook}
