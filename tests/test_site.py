"""The documentation site: links lead to its own pages, and the reference is that of the code."""

import runpy
from pathlib import Path

import nbformat
import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def site(tmp_path):
    """docs/site.py, whose pages go to a folder of the test."""
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed (extra docs)")
    found = runpy.run_path(str(PROJECT / "docs" / "site.py"))
    found["notebook"].__globals__["PAGES"] = tmp_path
    return found


def test_links_lead_to_pages_of_the_site_and_others_are_words(site):
    text = (
        "[a](../data/README.md#x) [b](running.md) [c](../tests/pairs.py) [d](https://e.org) [f](#g)"
    )
    told = site["at_home"]("howto/your_own_trial.md", "docs/your_own_trial.md", text)
    assert told == "[a](../reference/data.md#x) [b](running.md) c [d](https://e.org) [f](#g)"


def test_every_page_has_its_source_and_its_place_in_the_menu(site):
    menu = (PROJECT / "docs" / "mkdocs.yml").read_text()
    for place, source in site["SOURCES"].items():
        assert (PROJECT / source).is_file(), source
        assert place.endswith(".svg") or f": {place}\n" in menu


def test_the_reference_names_keys_columns_and_options(site):
    keys = site["study_file"]()
    assert "| `primary_visit` | string" in keys
    assert "| `arms` | [Arms](#arms) or any |" in keys
    assert "\n| `p_spatial` | " in site["tables"]()
    told = site["commands"]()
    assert "`--quick`" in told
    assert "import-study" in told


def test_a_notebook_becomes_a_page_whose_views_are_files(site, tmp_path):
    new = nbformat.v4
    view = '<iframe title="t" srcdoc="&lt;b&gt;x[0](y)&lt;/b&gt;" height="9"></iframe>'
    output = new.new_output("display_data", data={"text/html": view})
    cells = [
        new.new_markdown_cell("# 02 · Title\n\n[more](#What-we-found:-x), [next](03_next.ipynb)"),
        new.new_code_cell("show()", outputs=[output]),
    ]
    path = tmp_path / "02_x.ipynb"
    nbformat.write(new.new_notebook(cells=cells), path)
    assert site["notebook"](path) == ("02_x", "02 · Title", "")
    page = (tmp_path / "tutorial" / "02_x.md").read_text()
    assert "[more](#what-we-found-x), [next](03_next.md)" in page
    assert '<iframe title="t" src="02_x/view1.html" height="9"></iframe>' in page
    assert (tmp_path / "tutorial/02_x/view1.html").read_text() == "<b>x[0](y)</b>"
