"""Executed copies of notebooks kept in step with prose and pictures that changed since."""

import json
import re

from analysis_lib.results.files import read_json, write_text
from analysis_lib.study.parameters import read_notebook

OLDER = "older-pictures"  # tag of the cell that says so
FOUND = "findings"  # tag of the cell that repeats them at the top
HEADING = re.compile(r"^## What we found", re.MULTILINE)


def renew(notebook, executed, older=None) -> bool:
    """Give an executed copy the present text of its notebook; True if that was another.

    ``older``, what draws and words results and has changed since, is said at the top.
    """
    before = read_json(executed)
    cells = list(_merged(read_notebook(notebook)["cells"], read_notebook(executed)["cells"]))
    cells = with_findings(cells)
    words = (
        "> **Older pictures and sentences.** The results below are up to date. How they are drawn "
        f"and worded has changed since this copy was executed ({older}); run the notebook with "
        "`--force` to see it."
    )
    cells = [_told(OLDER, words), *cells] if older else cells
    if cells == read_notebook(executed)["cells"]:
        return False
    text = json.dumps({**before, "cells": cells}, indent=1, ensure_ascii=False)
    write_text(executed, f"{text}\n")
    return True


def with_findings(cells) -> list:
    """Executed cells, and below the title what the notebook found, as its end says it."""
    cells = [cell for cell in cells if FOUND not in _tags(cell)]
    said = _findings(cells)
    words = f"**What we found in this run** (the end of the notebook says the same).\n\n{said}"
    return [*cells[:1], _told(FOUND, words), *cells[1:]] if said else cells


def _findings(cells):
    """What the first code cell under the heading shows, in Markdown; empty if nothing."""
    sources = [_joined(cell["source"]) for cell in cells]
    start = next((i for i, text in enumerate(sources) if HEADING.search(text)), len(cells))
    below = [cell for cell in cells[start:] if cell["cell_type"] == "code"][:1]
    shown = [output.get("data", {}) for cell in below for output in cell["outputs"]]
    return "\n\n".join(_joined(d["text/markdown"]) for d in shown if d.get("text/markdown"))


def _joined(text):
    return text if isinstance(text, str) else "".join(text)


def _merged(source, executed):
    """Cells as the notebook has them, with what papermill and the kernel added."""
    ran = [cell for cell in executed if cell["cell_type"] == "code"]
    injected = [cell for cell in ran if "injected-parameters" in _tags(cell)]
    own = iter([cell for cell in ran if cell not in injected])
    for cell in source:
        if cell["cell_type"] == "code":
            yield {**next(own), "source": cell["source"]}
            yield from injected if "parameters" in _tags(cell) else ()
        else:
            yield _like_papermill(cell, executed)


def _tags(cell):
    return cell["metadata"].get("tags", [])


def _like_papermill(cell, executed):
    """A text cell; one that the copy holds already, as it is there."""
    same = (c for c in executed if c["cell_type"] != "code" and c["source"] == cell["source"])
    return next(same, {**cell, "metadata": {"tags": [], **cell.get("metadata", {})}})


def _told(name, words):
    return {"cell_type": "markdown", "id": name, "metadata": {"tags": [name]}, "source": words}
