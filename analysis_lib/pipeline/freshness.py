"""What is up to date, and why a step is not."""

import ast
import json
from pathlib import Path

from analysis_lib.pipeline.closure import house_hash, notebook_closure
from analysis_lib.report import manifest
from analysis_lib.results.environment import LIBRARY
from analysis_lib.results.hashing import file_hash, text_hash
from analysis_lib.study.parameters import notebook_parameters, read_notebook
from analysis_lib.study.variants import WITHOUT_EFFECT

# Pictures and sentences: no result comes from them but those of notebook 04.
SHOWN = (
    *("analysis_lib/figures/", "analysis_lib/report/"),
    *("analysis_lib/pipeline/moved.py", "analysis_lib/pipeline/tolerance.py"),
)
# A change of these makes nothing out of date: no number depends on them.
NOT_COMPARED = ("study", "variant", *WITHOUT_EFFECT)


def folders(study, name) -> list[Path]:
    """Folders of results: "figures", or below ``study.derived``, and where participants are."""
    if name == "figures":
        return [study.figures]
    return [study.derived / name, *([study.private / name] if study.protected else [])]


def files_below(path):
    """Files below a folder; hidden ones do not count."""
    found = (file for file in path.rglob("*") if file.is_file())
    return [f for f in found if not any(p.startswith(".") for p in f.relative_to(path).parts)]


def results_of(study, name):
    """Files of `folders`."""
    return [path for folder in folders(study, name) for path in files_below(folder)]


def input_files(step, study) -> list[Path]:
    """Every file that a step reads, as far as it exists now."""
    own = {path for read in step.reads for path in read(study)}
    earlier = {path for name in step.takes for path in results_of(study, name)}
    return sorted({study.path} | own | earlier)


def notebook_hash(path) -> str:
    """Hash of a notebook's code: prose, comments and outputs make no result out of date."""
    cells = [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]
    tags = [",".join(cell.get("metadata", {}).get("tags", [])) for cell in cells]
    return text_hash(*(text for pair in zip(tags, map(_code, cells), strict=True) for text in pair))


def _code(cell):
    try:
        return ast.unparse(ast.parse(cell["source"]))
    except SyntaxError:  # IPython's own
        return cell["source"]


def signature(step, study, notebook, passed, library=LIBRARY, record=None) -> dict:
    """All that a step's results depend on, from files and from the parameters ``passed``.

    ``library`` has what the notebook's code reaches, ``shown`` what draws and words results, and
    ``house`` all code: while it is as in ``record``, the manifest's entry, nothing is read anew.
    """
    known = notebook_parameters(notebook)
    values = {name: parameter.default for name, parameter in known.items()} | passed
    code = notebook_hash(notebook)
    return {
        "notebook": code,
        "parameters": {name: value for name, value in values.items() if name not in NOT_COMPARED},
        "packages": manifest.package_versions(),
        "inputs": manifest.describe_files(study, input_files(step, study)),
        **_reached(step, notebook, code, Path(library).parent, record or {}),
    }


def _reached(step, notebook, code, project, record):
    """The parts of a signature that say what a notebook's code reaches."""
    house = text_hash(house_hash(project), code, *SHOWN)
    if record.get("house") == house:
        return {part: record[part] for part in ("house", "library", "shown")}
    reached = notebook_closure(notebook, project)
    counts = reached if "figures" in step.writes else notebook_closure(notebook, project, SHOWN)
    shown = {file: sha for file, sha in reached.items() if file not in counts}
    return {"house": house, "library": counts, "shown": shown}


def older_pictures(record, now) -> str | None:
    """What has changed of that which draws and words an up-to-date step, None if nothing has."""
    before = (record or {}).get("shown", now["shown"])
    return _differing(before, now["shown"]).removeprefix(": ") or None


def why_stale(record, now, study) -> str | None:
    """Why a step has to run, from its entry in the manifest and its `signature`, or None."""
    if record is None:
        return "not run yet"
    now = json.loads(json.dumps(now, default=str))  # tuples and the like as the manifest has them
    for part in ("notebook", "library", "parameters", "packages", "inputs"):
        if record.get(part) != now[part]:
            return f"{part} changed{_differing(record.get(part), now[part])}"
    prefix = "{figures}/"
    for name, content in record.get("outputs", {}).items():
        base = study.figures if name.startswith(prefix) else study.derived
        path = base / name.removeprefix(prefix)
        if not path.is_file():
            return f"outputs changed: {name} is missing"
        if file_hash(path) != content["sha256"]:
            return f"outputs changed: {name}"
    sections = record.get("numbers", {})
    found = manifest.number_hashes(study, sections)
    if found != sections:
        return f"outputs changed: numbers.json{_differing(sections, found)}"
    return None


def _differing(before, after):
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    from analysis_lib.results.words import shortened  # slow to import

    return f": {shortened(unequal(before, after), 3)}"


def unequal(before, after):
    """Names of what is not the same in two mappings, sorted."""
    return sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
