"""The report of a study: one page, readable offline, made from the result files alone."""

import base64
import html
import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup
from PIL import Image

from analysis_lib import narrative, results, text
from analysis_lib.narrative import Evidence
from analysis_lib.page_tables import read_tables
from analysis_lib.palette import COLOURS

TEMPLATES = Path(__file__).parent / "page_template"
CRATE = "ro-crate-metadata.json"
LIMIT = 15_000_000  # bytes of the page
FIGURES_LIMIT = 8_000_000  # bytes of all figures in it, as base64
WIDTHS = (2200, 1400, 1000, 700)  # pixels: figures are made narrower until they fit
LEVEL = 0.05  # below it a family-wise p is called significant in words
SOFTWARE = ("python", "numpy", "scipy", "statsmodels", "pingouin", "nibabel", "nilearn", "numba")
MAP_SOFTWARE = ("antspyx", "picsl-greedy", "picsl_greedy")
SIMULATED_MAPS = (
    "Receptor maps are simulated",
    "Real ones were not in the cache. One map follows the demo's own table of receptor weights, "
    "the others are smooth random fields: no correlation here says anything about a receptor.",
)
LOADED = re.compile(  # icons that views would load, as HTML and within a frame's srcdoc
    r"<link\b[^>]*?https?://[^>]*>|&lt;link\b(?:(?!&gt;).)*?https?://(?:(?!&gt;).)*&gt;", re.DOTALL
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
    analysis_lib.narrative.UnknownNumber
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
            raise ValueError(
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
        "visit": text.visit_words,
        "scale": narrative.scale_words,
        "listed": narrative.listed,
        "covariance": lambda name: narrative.COVARIANCES.get(name, name),
        "sentence": lambda words: words[:1].upper() + words[1:],
        "panels": split_panels,
        "tojson_text": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return environment


# --- what the templates are filled with ---------------------------------------------------------


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
            name for name in narrative.CONTRASTS if evidence.has(f"vbm.{name}.n_voxels_fwe")
        ],
        "contrast_words": lambda name: narrative.contrast_words(name, study.arm_names),
    }


def is_quick(evidence) -> bool:
    """Whether any result was made with few permutations."""
    files = (f"{section}/settings.json" for section in ("clinical", "vbm", "receptors"))
    return bool(evidence.manifest.get("quick")) or any(evidence.json(f).get("quick") for f in files)


def _flag(evidence):
    """What every part of the page says first: SIMULATED, QUICK, both or nothing."""
    words = [("SIMULATED", evidence.study.simulated), ("QUICK", is_quick(evidence))]
    settings = evidence.json("receptors/settings.json")
    words.append(("SIMULATED RECEPTOR MAPS", settings.get("simulated_maps", False)))
    return " · ".join(word for word, true in words if true)


def _notices(evidence, simulated_maps):
    """Title and text of each warning; text keeps its own wording, without Markdown."""
    chosen = [text.SIMULATED] if evidence.study.simulated else []
    chosen += [text.QUICK] if is_quick(evidence) else []
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
        "is_least": narrative.is_least,
        "excludes_zero": narrative.excludes_zero,
        "leading_regions": lambda contrast: narrative.leading_regions(evidence, contrast),
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
    form = text.difference_form(rows["kind"].iloc[0], evidence.value(estimate))
    size = evidence.number(estimate, "size")
    finding = Markup(form).format(size=size, **study.arm_names)
    return Markup("At {}, {} {}").format(text.visit_words(visit), scale, finding)


def _clinical_facts(evidence):
    study = evidence.study
    primary, final = study.primary_scale.name, study.final_visit
    flow = evidence.select("clinical/consort_flow.tsv")
    tips = evidence.select("clinical/tipping_point.tsv", visit=final)
    anova = evidence.select("clinical/anova.tsv", scale=primary, effect="arm x time")
    corrected = len(anova) and pd.notna(anova["p_gg"].iloc[0])
    return {
        "flow": [
            {"arm": row.arm, "lines": text.visit_words(row.text).split("; ")}
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
    words = narrative.IMPUTATIONS
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
    lead = narrative.leading_map(evidence) if has else None
    facts = {
        "has_receptors": lead is not None,
        "simulated_maps": settings.get("simulated_maps", False),
        "lead": lead,
        "correlation": narrative.CORRELATIONS.get(settings.get("statistic"), ""),
        "surrogate": narrative.SURROGATES.get(settings.get("null"), ""),
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
        "verdict": text.VERDICTS[lead["p_fwe"] < LEVEL, lead["p_fwe_spatial"] < LEVEL],
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


# --- links --------------------------------------------------------------------------------------


class Links:
    """Where the page leads to; all relative, so that results can be moved as a whole.

    Parameters
    ----------
    evidence : Evidence
    notebooks : list of dict
        From :func:`write_notebooks`.
    """

    def __init__(self, evidence, notebooks):
        self._evidence = evidence
        self._notebooks = {notebook["name"]: notebook["href"] for notebook in notebooks}
        folder = evidence.derived / "report"
        self._figures = Path(os.path.relpath(evidence.study.figures, folder)).as_posix()

    def figure(self, name):
        """Address of a file in the folder of figures."""
        return f"{self._figures}/{quote(name)}"

    def file(self, path):
        """A result file, and the notebook that wrote it."""
        own = self.source(path)
        notebook = self._evidence.notebook_of(path)
        return Markup("{} · {}").format(own, self.notebook(notebook)) if notebook else own

    def source(self, path):
        """A file by the name that the manifest gives it; one of another folder is only named."""
        if path == "{study}":
            return Markup("study file ({})").format(self._evidence.study.path.name)
        if path.startswith("{figures}/"):
            href = self.figure(path.removeprefix("{figures}/"))
        elif path.startswith("{"):
            return path
        else:
            href = f"../{quote(path)}"
        return Markup('<a href="{}">{}</a>').format(href, path.removeprefix("../"))

    def notebook(self, name):
        """An executed notebook."""
        href = self._notebooks.get(name)
        return Markup('<a href="{}">{}</a>').format(href, name) if href else name


def _links(links):
    return {"link": links.file, "source_link": links.source, "notebook_link": links.notebook}


# --- figures and views --------------------------------------------------------------------------


def read_figures(evidence, links) -> dict:
    """Figures by topic, each within the page, with its caption.

    Those of one number stand in the order of ``captions.json``. All are made narrower until they
    fit together.

    Returns
    -------
    dict of list of dict
        flow, clinical, vbm, receptors, other: id, label, title, caption, alt, uri, width, height,
        png, pdf, notebook.
    """
    folder = evidence.study.figures
    captions = folder / "captions.json"
    captions = results.read_json(captions) if captions.is_file() else {}
    place = _place_in(captions)
    paths = [path for path in _current(evidence) if not narrative.is_panel(path.stem, captions)]
    paths = sorted(paths, key=lambda path: (path.stem.split("_")[0], place(path.stem)))
    for width in WIDTHS:
        embedded = {path: _embed(path, width) for path in paths}
        if sum(len(uri) for uri, _ in embedded.values()) <= FIGURES_LIMIT:
            break
    found, labels = {}, set()
    for path, (uri, size) in embedded.items():
        words = narrative.figure_words(path.stem, captions)
        if words["label"] in labels:
            words["label"] += ", continued"
        labels.add(words["label"])
        pdf = path.with_suffix(".pdf")
        figure = words | {
            "id": f"figure-{re.sub(r'[^a-z0-9]+', '-', path.stem.lower())}",
            "uri": uri,
            "width": size[0],
            "height": size[1],
            "png": links.figure(path.name),
            "pdf": links.figure(pdf.name) if pdf.is_file() else None,
            "notebook": evidence.notebook_of(f"{{figures}}/{path.name}"),
        }
        found.setdefault(narrative.figure_topic(path.stem), []).append(figure)
    return found


def _place_in(named):
    """Where a name stands in a file that was written in order; after all others if it does not."""
    places = {name: i for i, name in enumerate(named)}
    return lambda name: places.get(name, len(places))


def _current(evidence):
    """Figures that the last runs wrote, by the manifest; all of them where it names none.

    Earlier versions of a notebook may have left others in the folder.
    """
    paths = sorted(evidence.study.figures.glob("*.png"))
    steps = evidence.manifest["steps"].values()
    written = {name for step in steps for name in step.get("outputs", {})}
    known = [path for path in paths if f"{{figures}}/{path.name}" in written]
    return known or paths


def _embed(path, width):
    """A PNG as data URI, at most so wide, and its size in pixels."""
    with Image.open(path) as image:
        size = image.size
        if size[0] <= width:
            content = path.read_bytes()
        else:
            size = width, round(size[1] * width / size[0])
            buffer = io.BytesIO()
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG")
            content = buffer.getvalue()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}", size


def _described(folder):
    """Pages of a folder, in the order of its ``views.json``, each with the whole of that."""
    about = folder / "views.json"
    about = results.read_json(about) if about.is_file() else {}
    place = _place_in(about)
    pages = sorted(folder.glob("*.html"), key=lambda path: (place(path.name), path.name))
    return [(path, about) for path in pages]


def read_views(study, room) -> list:
    """Interactive views in folders ``views``, within the page as long as there is room.

    ``views.json`` beside them gives title, alt and, in pixels, height by file name.

    Parameters
    ----------
    study : Study
    room : int
        Bytes that are left.

    Returns
    -------
    list of dict
        title, alt, href, height, html (None where it does not fit).
    """
    found = []
    folders = (study.derived / name for name in ("views", "vbm/views", "receptors/views"))
    for path, about in (pair for folder in folders for pair in _described(folder)):
        content = path.read_text(encoding="utf-8")
        content = LOADED.sub("", content)
        size = len(html.escape(content).encode())
        fits = size <= room
        room -= size if fits else 0
        words = path.stem.replace("_", " ").capitalize()
        own = about.get(path.name, {})
        found.append(
            {
                "title": own.get("title") or words,
                "alt": own.get("alt") or f"Interactive view: {words}.",
                "href": f"../{quote(path.relative_to(study.derived).as_posix())}",
                "height": int(own.get("height", 440)),
                "html": content if fits else None,
            }
        )
    return found


# --- notebooks ----------------------------------------------------------------------------------


def write_notebooks(study, folder, flag="") -> list:
    """Executed notebooks as pages that load nothing from elsewhere.

    Parameters
    ----------
    study : Study
    folder : pathlib.Path
        Made where there is a notebook.
    flag : str
        SIMULATED or the like, shown on top of each.

    Returns
    -------
    list of dict
        name, title (its first heading), href and ipynb (relative to the report).
    """
    paths = sorted((study.derived / "notebooks").glob("*.ipynb"))
    paths = [p for p in paths if not p.name.startswith(".") and ".failed" not in p.name]
    if not paths:
        return []
    exporter = _exporter()
    folder.mkdir(parents=True)
    written = []
    for path in paths:
        resources = {"flag": flag, "metadata": {"name": path.stem}}
        body, _ = exporter.from_filename(str(path), resources=resources)
        (folder / f"{path.stem}.html").write_text(body, encoding="utf-8")
        written.append(
            {
                "name": path.stem,
                "title": _title(path),
                "href": f"notebooks/{quote(path.stem)}.html",
                "ipynb": f"../notebooks/{quote(path.name)}",
            }
        )
    return written


def _exporter():
    import logging

    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(
        config=Config(HTMLExporter={"template_name": "lab"}),
        extra_loaders=[jinja2.FileSystemLoader(TEMPLATES)],
        template_file="notebook.html.j2",
        embed_images=True,
    )
    exporter.log.setLevel(logging.ERROR)  # it warns of pictures that notebooks do not describe
    return exporter


def _title(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    found = re.search(r"^# +(.+)$", "\n".join(sources), flags=re.MULTILINE)
    return found[1] if found else path.stem
