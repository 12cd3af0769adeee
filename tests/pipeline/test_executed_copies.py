"""Executed copies of notebooks: the findings stand at the top, too."""

import json

import nbformat
import pytest

from analysis_lib.pipeline.executed_copies import renew, with_findings
from analysis_lib.pipeline.execution import describe_cell

FOUND = {"output_type": "execute_result", "data": {"text/markdown": "Depression **fell**."}}


def markdown(text):
    return {"cell_type": "markdown", "id": text[:4], "metadata": {"tags": []}, "source": text}


def code(text, *outputs):
    cell = {"cell_type": "code", "id": text, "metadata": {"tags": []}, "source": text}
    return cell | {"outputs": list(outputs), "execution_count": 1}


def executed(*outputs, heading="## What we found: symptoms"):
    cells = [markdown("# Title"), code("a"), markdown(heading), code("b", *outputs), code("c")]
    return cells


def test_findings_stand_below_the_title_once():
    cells = executed(FOUND)
    first, second, *rest = with_findings(cells)
    assert first == cells[0]
    assert second["source"].endswith("Depression **fell**.")
    assert rest == cells[1:]
    assert with_findings([first, second, *rest]) == [first, second, *rest]


def test_the_heading_may_follow_other_words_in_its_cell():
    cells = executed(FOUND, heading="Such is the truth.\n\n## What we found: grey matter")
    assert with_findings(cells)[1]["source"].endswith("Depression **fell**.")


def test_all_that_the_cell_says_in_words_is_repeated_and_lists_of_lines_are_text():
    notice = {"output_type": "display_data", "data": {"text/markdown": ["> **SIM", "ULATED**"]}}
    picture = {"output_type": "display_data", "data": {"image/png": "abc"}}
    stream = {"output_type": "stream", "text": "printed"}
    second = with_findings(executed(notice, picture, stream, FOUND))[1]["source"]
    assert second.endswith("> **SIMULATED**\n\nDepression **fell**.")


@pytest.mark.parametrize("cells", [executed(), executed(FOUND, heading="## Other")])
def test_a_notebook_without_findings_stays_as_it_is(cells):
    assert with_findings(cells) == cells


def test_a_renewed_copy_keeps_its_findings(tmp_path):
    paths = [tmp_path / name for name in ("source.ipynb", "executed.ipynb")]
    source = [{**cell, "outputs": []} if "outputs" in cell else cell for cell in executed(FOUND)]
    for path, cells in zip(paths, (source, with_findings(executed(FOUND))), strict=True):
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(content), encoding="utf-8")
    assert renew(*paths) is False
    assert renew(*paths, older="figures") is True
    texts = [cell.source for cell in nbformat.read(paths[1], as_version=4).cells]
    assert texts[0].startswith("> **Older pictures")
    assert texts[2].endswith("Depression **fell**.")


def test_the_cell_is_named_where_a_full_disk_kept_no_executed_copy(tmp_path):
    cells = [
        nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_markdown_cell("# Read"),
        nbformat.v4.new_code_cell("read()"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "one.ipynb")
    found = [describe_cell(tmp_path / "one.ipynb", tmp_path / "none.ipynb", k) for k in (0, 1, 3)]
    assert found[0] == "cell 1 of 3, which starts: x = 1"
    assert found[1] == "the parameters that were passed to it"
    assert found[2] == 'cell 3 of 3 under "Read", which starts: read()'
