"""Bring notebooks/ and notebooks/percent/ in line (``make format``); no edit is ever overwritten.

Where the two files of a pair differ, the edited one is kept. Contents tell which one that is, not
times: in a fresh clone all times are equal. A file counts as edited unless its cells are those of a
file of the pair in git's HEAD, or those that both had when they were last in line.
"""

import json
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs

from analysis_lib.results.files import write_text
from analysis_lib.results.hashing import text_hash
from analysis_lib.results.problems import CompendiumError, Problem, WrongFile

PROJECT = Path(__file__).resolve().parents[1]
NUMBERED = "[0-9S][0-9]*_*"  # a notebook named otherwise is somebody's own
RECORD = ".pairs.json"  # cells of each pair when it was last in line; not in git
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def find_pairs(project=PROJECT) -> list[tuple[Path, Path]]:
    """Notebook and script of each pair, sorted; one of the two may be missing."""
    notebooks, scripts = project / "notebooks", project / "notebooks" / "percent"
    found = [path.relative_to(notebooks) for path in notebooks.rglob(f"{NUMBERED}.ipynb")]
    found += [path.relative_to(scripts) for path in scripts.rglob(f"{NUMBERED}.py")]
    names = {p.with_suffix("") for p in found if not any(x.startswith(".") for x in p.parts)}
    return [(notebooks / f"{name}.ipynb", scripts / f"{name}.py") for name in sorted(names)]


def cells(notebook) -> list:
    """What the files of a pair share: type, source and tags of each cell."""
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


def bring_in_line(project=PROJECT) -> list[Path]:
    """Bring every pair in line.

    Returns
    -------
    list of pathlib.Path
        Files that were rewritten.

    Raises
    ------
    WrongFile
        If both files of a pair were edited; the other pairs are in line all the same.
    """
    record = project / RECORD
    before = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    written, problems, now = [], [], {}
    for pair in find_pairs(project):
        name = pair[1].relative_to(project).as_posix()
        try:
            source = newer(pair, project, before.get(name))
            written += _write(pair, source)
            now[name] = _print(source)
        except CompendiumError as error:
            problems += error.problems
    write_text(record, json.dumps(before | now, indent=1) + "\n")
    if problems:
        raise WrongFile(problems)
    return written


def newer(pair, project=PROJECT, last=None):
    """The notebook whose cells both files of a pair should have.

    Parameters
    ----------
    pair : tuple of pathlib.Path
        Notebook and script.
    project : pathlib.Path
    last : str, optional
        Fingerprint of the cells when the pair was last in line.

    Raises
    ------
    WrongFile
        If the files differ and both were edited, or neither.
    """
    there = {path: _read(path.read_text(encoding="utf-8"), path) for path in pair if path.is_file()}
    known = {last, *(_print(_in_head(path, project)) for path in pair)}
    edited = [path for path, notebook in there.items() if _print(notebook) not in known]
    if len({_print(notebook) for notebook in there.values()}) == 1:
        return next(iter(there.values()))
    if len(edited) == 1:
        return there[edited[0]]
    names = " and ".join(path.relative_to(project).as_posix() for path in pair)
    found = "both were edited" if edited else "neither was edited since both agreed"
    remedy = "Carry the changes of one over to the other, or delete one: it is made from the other"
    raise WrongFile(Problem(file=names, text=f"they differ, and {found}", remedy=remedy))


def _read(text, path):
    try:
        return jupytext.reads(text, "ipynb" if path.suffix == ".ipynb" else "py:percent")
    except ValueError as error:
        raise WrongFile(Problem(file=path.name, expected="a notebook", found=str(error))) from None


def _print(notebook):
    return notebook and text_hash(json.dumps(cells(notebook)))


def _in_head(path, project):
    """A file as git's HEAD has it; None without git, or if it is not there."""
    name = path.relative_to(project).as_posix()
    command = ["git", "-C", str(project), "show", f"HEAD:./{name}"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        return _read(done.stdout, path)
    except (OSError, subprocess.CalledProcessError, WrongFile):
        return None


def _write(pair, source):
    """Write the files of a pair that do not hold the cells of a notebook; outputs stay."""
    texts = (_as_notebook(source, pair[0]), _as_script(source))
    differ = [(p, t) for p, t in zip(pair, texts, strict=True) if not _holds(p, t)]
    for path, text in differ:
        write_text(path, text)
    return [path for path, _ in differ]


def _holds(path, text):
    """Whether a file is left alone: an open notebook, too, which differs in JupyterLab's notes."""
    there = path.read_text(encoding="utf-8") if path.is_file() else ""
    return there == text or (there and path.suffix == ".ipynb" and _kept(there) == _kept(text))


def _kept(text):
    """What git sees of a notebook (lab/strip.py), but for a header, which would pair it again."""
    notebook = nbformat.reads(text, as_version=4)
    about = {name: told for name, told in notebook.metadata.items() if name != "language_info"}
    return cells(notebook), about


def _as_script(source):
    """Cells alone: a header would have JupyterLab pair the files again."""
    bare = nbformat.from_dict({**source, "metadata": {}})
    bare.metadata.jupytext = {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags"}
    return jupytext.writes(bare, "py:percent")


def _as_notebook(source, path):
    """Cells with the outputs that the file has so far, numbered as nbstripout does."""
    notebook = nbformat.from_dict({**source, "nbformat": 4, "nbformat_minor": 5})
    if path.is_file():
        before = _read(path.read_text(encoding="utf-8"), path)
        notebook = combine_inputs_with_outputs(notebook, before, "py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell.id = str(number)
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    try:
        for path in bring_in_line():
            print(f"written: {path.relative_to(PROJECT)}")
    except CompendiumError as error:
        sys.exit(str(error))
