"""Figures, views and notebooks, embedded in the report or laid beside it."""

import base64
import functools
import html
import io
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import jinja2
import nbformat
from markupsafe import Markup
from PIL import Image

from analysis_lib.report import tables
from analysis_lib.results.closed_page import closed
from analysis_lib.results.files import read_if_there
from analysis_lib.results.section import Section

TEMPLATES = Path(__file__).parent / "template"

FIGURES_LIMIT = 3_500_000  # bytes of all figures in it, as base64
WIDTHS = (1400, 1000, 700)  # pixels: figures are made narrower until they fit

INVALID = re.compile(  # rules of nbconvert's style sheet, for JupyterLab alone, that are not CSS
    r"^\.jp-scrollbar-tiny\S+-track:(?:horizontal|vertical) \{[^}]*\}|^  overflow: overlay;"
    r"|^  box-shadow: '[^']*';",
    re.MULTILINE,
)
P_HEAD = re.compile(r'<th data-p="(?P<file>[^" ]+) (?P<column>[^"]+)">[^<]*')  # display.table
VIEW = re.compile(r'<iframe [^>]*?srcdoc="[^"]*" title="(?P<title>[^"]*)"')  # views.View


TOPICS = {
    "flow": r"participants|flow|consort|ratings",
    "receptors": r"receptor|dominance|null|coupling|juspace|surrogate|correlation|scatter|influen"
    r"|slope|anatomy",
    "vbm": r"vbm|region|brain|grey|gray|voxel|cluster|volume|glass|slice",
    "clinical": r"clinical|trajector|forest|course|differ|respon|remi|score|missing|blind|tipping",
}


class Links:
    """Where the page leads to; all relative, so that results can be moved as a whole."""

    def __init__(self, evidence, notebooks):
        self._evidence = evidence
        self._notebooks = {notebook["name"]: notebook["href"] for notebook in notebooks}

    def file(self, path):
        """A result file, and the notebook that wrote it."""
        own = self.source(path)
        notebook = self._evidence.notebook_of(path)
        return Markup("{} · {}").format(own, self.notebook(notebook)) if notebook else own

    def source(self, path):
        """A file by the name that the manifest gives it; one of another folder is only named."""
        if path == "{study}":
            return Markup("study file ({})").format(self._evidence.study.path.name)
        if path.startswith("{") or self._evidence.is_private(path):
            return path  # elsewhere, or not to be shared
        return Markup('<a href="../{}">{}</a>').format(quote(path), path)

    def notebook(self, name):
        """An executed notebook."""
        href = self._notebooks.get(name)
        return Markup('<a href="{}">{}</a>').format(href, name) if href else name


def read_figures(evidence) -> dict:
    """Figures by topic (flow, clinical, vbm, receptors, other), each within the page.

    All are made narrower until they fit together.
    """
    folder = evidence.study.figures
    paths, captions = shown_figures(evidence)
    for width in WIDTHS:
        embedded = {path: _embed(path, width) for path in paths}
        if sum(len(uri) for uri, _ in embedded.values()) <= FIGURES_LIMIT:
            break
    found, labels = {}, set()
    for path, (uri, size) in embedded.items():
        words = figure_words(path.stem, captions)
        if words["label"] in labels:
            words["label"] += ", continued"
        labels.add(words["label"])
        pdf = path.with_suffix(".pdf")
        figure = words | {
            "id": f"figure-{re.sub(r'[^a-z0-9]+', '-', path.stem.lower())}",
            "uri": uri,
            "width": size[0],
            "height": size[1],
            "png": f"figures/{quote(path.name)}",
            "pdf": f"figures/{quote(pdf.name)}" if pdf.is_file() else None,
            "notebook": evidence.notebook_of(f"{{figures}}/{path.relative_to(folder).as_posix()}"),
        }
        found.setdefault(figure_topic(path.stem), []).append(figure)
    return found


def shown_figures(evidence):
    """Files of the figures that the page shows, in its order, and what captions say of each."""
    current = _current(evidence)
    files = dict.fromkeys(path.with_name("captions.json") for path in current)
    captions = {name: words for file in files for name, words in read_if_there(file).items()}
    places = [*captions, *(path.stem for path in current)]
    paths = [path for path in current if not is_panel(path.stem, captions)]
    return sorted(paths, key=lambda p: (p.stem.split("_")[0], places.index(p.stem))), captions


def copy_figures(evidence, folder):
    """The figures shown, as they are, beside the page, so that results can be moved as a whole."""
    folder.mkdir(parents=True)
    for path in shown_figures(evidence)[0]:
        for file in (path, path.with_suffix(".pdf")):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)


def draw_figures(evidence) -> dict:
    """Figures of the appendix by section, drawn from its results: there are no files of them."""
    drawn = evidence.select("calibration/quantiles.tsv").get("family", ())
    asked = {"calibration": [("quantiles", {"family": name}) for name in dict.fromkeys(drawn)]}
    if evidence.exists("specifications/variance.tsv"):
        families = evidence.select("specifications/variance.tsv")["family"].unique()
        asked["specifications"] = [("choices", {"family": family}) for family in families]
    questions = evidence.select("power/seen.tsv").get("question", ())
    asked["power"] = [("power", {"question": name}) for name in dict.fromkeys(questions)]
    return {
        section: [_drawn(evidence, section, *figure) for figure in sorted(figures, key=str)]
        for section, figures in asked.items()
        if figures
    }


def _drawn(evidence, section, name, options):
    from analysis_lib.figures import panel  # slow to import

    drawn = panel(Section(evidence.study, section), name, **options)
    uri, (width, height) = _embed(io.BytesIO(drawn.png(dpi=250)), WIDTHS[0])
    about = {"id": "-".join(["figure", name, *options.values()]), "label": ""}
    about |= {"uri": uri, "width": width, "height": height, "png": None, "pdf": None}
    return drawn.said | about | {"notebook": evidence.notebook_of(f"{section}/settings.json")}


def _current(evidence):
    """Figures that the last runs wrote, by the manifest; all of them where it names none."""
    folder, steps = evidence.study.figures, evidence.manifest["steps"].values()
    written = {name for step in steps for name in step.get("outputs", {})}
    paths = sorted(folder.rglob("*.png"))
    known = [p for p in paths if f"{{figures}}/{p.relative_to(folder).as_posix()}" in written]
    return known or sorted(folder.glob("*.png"))


def _embed(path, width):
    """A picture as data URI, at most so wide, and its size in pixels."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
        picture.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=88, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", picture.size


def read_views(study) -> list:
    """Interactive views in folders ``views``: title and address, by their ``views.json``."""
    found = []
    for folder in (study.derived / name for name in ("views", "vbm/views", "receptors/views")):
        about = read_if_there(folder / "views.json")
        pages = sorted(folder.glob("*.html"))
        places = [*about, *(page.name for page in pages)]
        for page in sorted(pages, key=lambda page: places.index(page.name)):
            words = page.stem.replace("_", " ").capitalize()
            title = about.get(page.name, {}).get("title") or words
            href = f"../{quote(page.relative_to(study.derived).as_posix())}"
            found.append({"title": title, "href": href})
    return found


def write_notebooks(evidence, folder, flag="") -> list:
    """Executed notebooks as pages that load nothing, with a flag such as SIMULATED.

    Beside the p-values of their tables stands what S1 says of them, once it has run.

    Gives name, title (its first heading), href and ipynb (relative to the report) of each.
    """
    study = evidence.study
    paths = sorted((study.derived / "notebooks").glob("*.ipynb"))
    paths = [p for p in paths if not p.name.startswith(".") and ".failed" not in p.name]
    if not paths:
        return []
    exporter = _exporter()
    folder.mkdir(parents=True)
    views = {view["title"]: f"../{view['href']}" for view in read_views(study)}
    written = []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        _link_views(notebook, views)
        _judge(notebook, evidence)
        resources = {"flag": flag, "metadata": {"name": path.stem}}
        body, _ = exporter.from_notebook_node(notebook, resources=resources)
        page = closed(INVALID.sub("", body))
        (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")
        texts = (cell["source"] for cell in notebook.cells if cell["cell_type"] == "markdown")
        title = re.search(r"^# +(.+)$", "\n".join(texts), flags=re.MULTILINE)
        written.append(
            {
                "name": path.stem,
                "title": title[1] if title else "Notebook",
                "href": f"notebooks/{quote(path.stem)}.html",
                "ipynb": f"../notebooks/{quote(path.name)}",
            }
        )
    return written


def _link_views(notebook, views):
    """Interactive views by their own pages: within another page, a script of theirs may not run."""
    for output in (one for cell in notebook.cells for one in cell.get("outputs", ())):
        shown = output.get("data", {}).get("text/html", "")
        if found := VIEW.match(shown):
            title = html.unescape(found["title"])
            link = Markup('<p>Interactive view: <a href="{}">{}</a></p>')
            output["data"]["text/html"] = str(link.format(views.get(title, "../index.html"), title))


def _judge(notebook, evidence):
    """Beside each p of a table that S1 has judged, its verdict."""

    def judged(found):
        verdict = tables.verdict(evidence, found["file"], html.unescape(found["column"]))
        return f"{found[0]}{tables.linked(verdict, '../index.html')}"

    for output in (one for cell in notebook.cells for one in cell.get("outputs", ())):
        if shown := output.get("data", {}).get("text/html"):
            output["data"]["text/html"] = P_HEAD.sub(judged, shown)


@functools.cache
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


def figure_topic(name) -> str:
    """Which part of the results a figure shows: flow, clinical, vbm, receptors or other."""
    found = (topic for topic, pattern in TOPICS.items() if re.search(pattern, name.lower()))
    return next(found, "other")


def is_panel(name, captions) -> bool:
    """Whether a figure is one panel, by itself, of another figure, whose caption has letters."""
    number = name.split("_")[0]
    lettered = {own for own, words in captions.items() if "(a)" in words.get("caption", "")}
    return name not in lettered and any(own.split("_")[0] == number for own in lettered)


def figure_words(name, captions) -> dict:
    """Label ("Figure 2", or empty), title, caption and alt of a figure, by its file's name."""
    found = re.match(r"fig(?:ure)?_?([A-Z]?\d+)[_-]?(.*)$", name, flags=re.IGNORECASE)
    label, rest = (f"Figure {found[1]}", found[2]) if found else ("", name)
    words = rest.replace("_", " ").replace("-", " ").strip().capitalize() or name
    own = captions.get(name, {})
    title = re.sub(r"^Figure \w+\s*[·:.|-]\s*", "", own.get("title") or words)
    return {
        "label": label,
        "title": title,
        "caption": own.get("caption") or "",
        "alt": own.get("alt") or f"{words}. Its numbers are in the tables of this report.",
    }
