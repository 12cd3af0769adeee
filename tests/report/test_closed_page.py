"""Names from outside are words on every page, and nothing but our own scripts could run there."""

import base64
import hashlib
import json
import re

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from test_page import write_study

from analysis_lib.figures import layout, views
from analysis_lib.report import display, page, sentences
from analysis_lib.results import closed_page, section, words, writing

PLANTED = (
    '<mark onclick="alert(1)">x</mark></script><script>alert(2)</script>" onload="alert(3) '
    "[link](javascript:alert(4)) ![picture](https://planted.example/i.png) www.planted.example "
    "`code` **bold** a|b https://planted.example/ <img src=planted onerror=alert(5)> $x$ &lt;mark>"
)


def planted(soup):
    """Elements and attributes that only a name can have made."""
    found = soup.find_all(["mark", "iframe", "object", "base", "form"])
    found += [
        one for one in soup.find_all(True) if any(name.startswith("on") for name in one.attrs)
    ]
    found += [
        one for one in soup.select("a[href]") if re.match(r"(?i)javascript|http|www", one["href"])
    ]
    found += soup.select("img[src*=planted]")
    found += [
        one
        for one in soup.select("a, strong, em, code")
        if one.get_text() in ("link", "bold", "code")
    ]
    return found


def policy(soup):
    rules = soup.select_one("meta[http-equiv=Content-Security-Policy]")["content"]
    return dict(rule.strip().split(" ", 1) for rule in rules.split(";"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A report whose names are all planted, with views and a notebook that shows them."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPENDIUM_OUTPUT", str(folder / "out"))
        arms = {"column": "arm", "active": "active", "control": "sham"}
        arms |= {"active_name": f"A{PLANTED}", "control_name": f"C{PLANTED}"}
        said = {"outcome": PLANTED, "registry": PLANTED}
        study = write_study(folder, title=PLANTED, arms=arms, registered=said)
        plant(study)
        page.write_report(study)
        yield study


def plant(study):
    """Names in tables, captions, views and an executed notebook."""
    for path in study.derived.glob("*/*.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        named = table.columns.intersection(["region", "receptor", "term", "topic", "where"])
        table[named] = table[named] + PLANTED
        table.to_csv(path, sep="\t", index=False)
    Image.new("RGB", (30, 20)).save(study.figures / "figure1_clinical.png")
    said = dict.fromkeys(("title", "caption", "alt"), PLANTED)
    (study.figures / "captions.json").write_text(json.dumps({"figure1_clinical": said}), "utf-8")
    places = {"x": [0.0], "y": [0.0], "z": [0.0], "percent": [1.0], "density": [2.0]}
    view = views.region_view(pd.DataFrame(places | {"region": [PLANTED]}), PLANTED, PLANTED)
    writing.write(study.derived / "vbm" / "views", views.files({"regions": view}))
    write_notebook(study, view)


def write_notebook(study, view):
    shown = [sentences.findings(section.Section(study, name)) for name in ("clinical", "vbm")]
    shown += [sentences.findings(section.Section(study, "receptors"))]
    shown += [f"**{words.in_markdown(PLANTED)}.** {words.in_markdown(PLANTED)}"]
    outputs = [{"text/markdown": text} for text in shown] + [{"text/html": view._repr_html_()}]
    table = pd.DataFrame({PLANTED: ["1"], "region": [PLANTED]})
    outputs += [{"text/html": display.table(table, study, title=PLANTED).data}]
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in outputs]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs)
    written = study.derived / "notebooks" / "01_clinical_outcomes.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), written)


@pytest.mark.parametrize(
    "name",
    ["report/index.html", "report/notebooks/01_clinical_outcomes.html", "vbm/views/regions.html"],
)
def test_no_name_makes_an_element_or_an_attribute(results, name):
    soup = BeautifulSoup((results.derived / name).read_text("utf-8"), "html.parser")
    assert planted(soup) == []
    assert "<mark onclick" in soup.get_text()
    own = [script.string for script in soup.select("script")]
    assert len(own) == (0 if "notebooks" in name else 1)
    allowed = [hashlib.sha256(text.encode()).digest() for text in own]
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in allowed]
    assert policy(soup)["script-src"] == (" ".join(hashes) or "'none'")
    assert policy(soup)["default-src"] == "'none'"


def test_the_report_allows_no_style_but_its_own(results):
    soup = BeautifulSoup(
        (results.derived / "report" / "index.html").read_text("utf-8"), "html.parser"
    )
    assert "unsafe" not in str(policy(soup))
    assert soup.select("[style]") == []
    digest = hashlib.sha256(soup.select_one("style").string.encode()).digest()
    assert policy(soup)["style-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_a_name_keeps_its_letters_in_the_markdown_to_quote_from(results):
    text = (results.derived / "report" / "methods_and_results.md").read_text("utf-8")
    assert "<mark" not in text
    assert words.in_markdown("<mark") in text
    assert (results.derived / "report" / "references.bib").read_text("utf-8").count("@") > 5


def test_a_caption_in_a_notebook_is_words(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *them, **_: shown.extend(them))
    monkeypatch.setattr(layout.Drawn, "png", lambda self: b"")
    layout.Drawn("x", None, dict.fromkeys(("title", "caption", "alt"), PLANTED))._ipython_display_()
    assert shown[-1].data.startswith(f"**{words.in_markdown(PLANTED)}.**")


def test_numbers_and_plain_names_are_left_as_they_are():
    for plain in ("HAMD-17", "−3.2", "+6.0", "5-HT1A (savli2012/way100635)", "0.5", "week 3"):
        assert words.in_markdown(plain) == plain


def test_a_value_in_a_script_does_not_end_it():
    assert "</script>" not in closed_page.in_script({"name": PLANTED})
    assert json.loads(closed_page.in_script({"name": PLANTED})) == {"name": PLANTED}
