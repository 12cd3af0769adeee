"""Run the numbered notebooks in order: what each reads and writes, and what is up to date."""

import ast
import contextlib
import difflib
import importlib.util
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import yaml

from analysis_lib import report
from analysis_lib.study import PROJECT, LocalMap, Study

NOTEBOOKS = PROJECT / "notebooks"
LIBRARY = PROJECT / "analysis_lib"
# No notebook imports these: a change in them makes no result stale.
WITHOUT_NUMBERS = (
    "__main__.py",
    "crate.py",
    "narrative.py",
    "new_study.py",
    "page.py",
    "page_tables.py",
)
PAGE = "report/index.html"
NEEDED_BY_REPORT = ("clinical/mmrm_contrasts.tsv", "clinical/flow.json", "numbers.json")
# The numbers do not depend on these, so a change of them makes nothing out of date.
WITHOUT_EFFECT = ("n_jobs",)
# OpenBLAS rounds differently with another number of threads, and joblib's workers get fewer threads
# than the kernel: one thread everywhere, so that numbers do not depend on cores or processes.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # no debugger's warning at each start of a kernel
}
# What notebook 00 needs beside the rest (extra "preprocess"): module and package.
FOR_T1W = {"ants": "antspyx", "picsl_greedy": "picsl-greedy"}
# A kernel starts in another folder, so relative ones would mean something else there.
FOLDER_VARIABLES = ("COMPENDIUM_OUTPUT", "COMPENDIUM_CACHE", "NEUROMAPS_DATA")


class PipelineError(Exception):
    """A run cannot go on; the message says what to do. ``exit_status`` is for the shell."""

    exit_status = 1


class UsageError(PipelineError):
    """An option makes no sense for this study or these notebooks."""

    exit_status = 2


class NotebookFailure(PipelineError):
    """A notebook stopped at a cell.

    Parameters
    ----------
    notebook : str
        Name without suffix.
    cell : str
        Which cell, in words.
    cause : str
        Type and message of the exception.
    kind : str
        Name of the exception's class.
    traceback : str
        As the kernel printed it, with colours; of a kernel that died, its last words.
    kept : pathlib.Path
        The partly executed notebook.
    """

    def __init__(self, notebook, cell, kind, message, traceback, kept):
        self.notebook, self.cell, self.kind, self.kept = notebook, cell, kind, kept
        self.problems = message.splitlines() if kind == "StudyError" else []
        self.traceback = "" if self.problems else traceback
        self.cause = f"{kind}: {message}" if message else kind
        super().__init__(f"{notebook} stopped at {cell}: {self.cause}")


# --- the steps ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One notebook.

    Parameters
    ----------
    notebook : str
        Name without suffix; starts with its number.
    reads : tuple of functions
        Each takes the study and lists files that exist. The study file is always read.
    uses, may_use : tuple of str
        Folders below ``study.derived`` that earlier notebooks write: those that it cannot do
        without, and those that it takes when they are there.
    writes : tuple of str
        Folders below ``study.derived``; "figures" is ``study.figures``.
    needs : tuple of str
        "images": a study without grey-matter maps skips this step. "t1w": so does one without
        T1-weighted images, or with maps of its own.
    resumes : bool
        It keeps what is still right of an earlier run: all files of its folders are its outputs.
    """

    notebook: str
    reads: tuple[Callable[[Study], list[Path]], ...] = ()
    uses: tuple[str, ...] = ()
    may_use: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    resumes: bool = False

    @property
    def number(self) -> str:
        """What the notebook's name starts with: 02."""
        return self.notebook.split("_")[0]


def required_tables(study) -> list[Path]:
    """Tables that a study must have: participants and one file a scale, there or not."""
    files = ["participants.tsv", *(scale.file for scale in study.scales)]
    return [study.root / file for file in dict.fromkeys(files)]


def tables(study) -> list[Path]:
    """Tables of a study that are there, optional ones included."""
    optional = ("adverse_events.tsv", "stimulation.tsv")
    paths = [*required_tables(study), *(study.root / name for name in optional)]
    return [path for path in paths if path.is_file()]


def participants_table(study) -> list[Path]:
    """The table of participants, if it is there."""
    return [path for path in (study.root / "participants.tsv",) if path.is_file()]


def grey_matter_maps(study) -> list[Path]:
    """Grey-matter maps: those that the study brings, else those that notebook 00 made."""
    return study.grey_matter_maps()


def t1w_images(study) -> list[Path]:
    """T1-weighted images that the study file's pattern finds."""
    return study.t1w_images()


def templates(study) -> list[Path]:
    """Templates for brain extraction, if they are in the cache."""
    from analysis_lib import fetch  # slow to import

    try:
        return fetch.cached_templates()
    except (FileNotFoundError, fetch.FetchError):
        return []


def receptor_maps(study) -> list[Path]:
    """Receptor maps that the study asks for: in neuromaps' cache, and files of its own.

    "default" and "all" stand for whatever the cache holds: more than is read, never less.
    """
    chosen = [study.receptors] if isinstance(study.receptors, str) else study.receptors
    own = [study.path.parent / entry.file for entry in chosen if isinstance(entry, LocalMap)]
    names = _cached_names([entry for entry in chosen if isinstance(entry, str)])
    folder = report.receptor_cache() / "annotations"
    found = [path for name in names for path in folder.glob(f"{name}/**/*") if path.is_file()]
    maps = {path for path in found if path.name.endswith((".nii.gz", ".nii", ".gii"))}
    return sorted(maps | {path.resolve() for path in own if path.is_file()})


def _cached_names(names):
    """Patterns of source/desc. Only the name of a receptor needs the library, slow to import."""
    patterns = ["*/*" if name in ("default", "all") else name for name in names]
    if all("/" in pattern for pattern in patterns):
        return patterns
    from analysis_lib import annotations

    return [
        annotation
        for pattern in patterns
        for annotation in ([pattern] if "/" in pattern else annotations.resolve(pattern))
    ]


def atlas_files(study) -> list[Path]:
    """Files of the study's own atlas, or of a downloaded one; a packaged one has none here."""
    if isinstance(study.atlas, dict):
        paths = [Path(path) for path in study.atlas.values()]
    elif Path(study.atlas).is_absolute():  # and the table beside it
        stem = study.atlas.removesuffix(".gz").removesuffix(".nii")
        paths = [Path(study.atlas), Path(f"{stem}.tsv")]
    elif study.atlas in ("neuromorphometrics", "aal"):
        return []
    else:
        from analysis_lib import fetch

        paths = fetch.atlas_paths(study.atlas)
    return [path for path in paths if path.is_file()]


def measured_rates(study) -> list[Path]:
    """False-positive rates of the spatial nulls, which notebook 03 shows."""
    return [PROJECT / "benchmarks" / "spatial_nulls.tsv"]


def numbers(study) -> list[Path]:
    """The file of numbers that notebooks share, if it is there."""
    return [path for path in (study.derived / "numbers.json",) if path.is_file()]


STEPS = (
    Step(
        "00_grey_matter",
        reads=(participants_table, t1w_images, templates),
        writes=("grey_matter",),
        needs=("t1w",),
        resumes=True,
    ),
    Step(
        "01_clinical_outcomes",
        reads=(tables, grey_matter_maps),
        may_use=("grey_matter",),
        writes=("clinical",),
    ),
    Step(
        "02_vbm",
        reads=(tables, grey_matter_maps, atlas_files),
        may_use=("grey_matter",),
        writes=("vbm",),
        needs=("images",),
    ),
    Step(
        "03_receptor_correlation",
        reads=(tables, receptor_maps, atlas_files, measured_rates),
        uses=("vbm",),
        writes=("receptors",),
        needs=("images",),
    ),
    Step(
        "04_figures",
        reads=(numbers,),
        uses=("clinical",),
        may_use=("vbm", "receptors"),
        writes=("figures",),
    ),
)


def select(steps, only) -> list[Step]:
    """Steps named by number or by notebook, in their own order; all of them for an empty list.

    Raises
    ------
    UsageError
        If a name is not a notebook's.
    """
    unknown = [name for name in only if not any(_is(step, name) for step in steps)]
    if unknown:
        known = ", ".join(f"{step.number} ({step.notebook})" for step in steps)
        raise UsageError(f"--only {','.join(only)}: no notebook {unknown[0]!r}. Known: {known}")
    return [step for step in steps if not only or any(_is(step, name) for name in only)]


def _is(step, name):
    return name.removesuffix(".ipynb") in (step.number, step.notebook)


def blocked(step, study, coming=False) -> str | None:
    """Why a study cannot run a step, or None.

    Parameters
    ----------
    step : Step
    study : Study
    coming : bool
        Grey-matter maps that are not there yet will be, once an earlier step has run.
    """
    if step.needs and study.imaging is None:
        return "no images in the study file"
    if "t1w" in step.needs:
        return _without_t1w(study)
    if "images" not in step.needs or coming or grey_matter_maps(study):
        return None
    pattern = study.imaging.grey_matter
    where = f"nothing matches {pattern} in {study.root}" if pattern else "notebook 00 makes them"
    return f"no grey-matter maps: {where}"


def _without_t1w(study):
    """Why no maps can be made from T1-weighted images, or need not be; None if they can."""
    if study.own_maps():
        return "the study brings grey-matter maps"
    if not t1w_images(study):
        return f"no T1w images: nothing matches {study.imaging.t1w} in {study.root}"
    lacking = [p for module, p in FOR_T1W.items() if importlib.util.find_spec(module) is None]
    if lacking:
        return (
            f"{' and '.join(lacking)} not installed. Get it: python -m pip install "
            f"{' '.join(lacking)} (Python before 3.14)"
        )
    return None


def makes_maps(steps, study) -> bool:
    """Whether one of the steps makes the grey-matter maps of this study."""
    return any("t1w" in step.needs and not blocked(step, study) for step in steps)


def blocked_note(steps, study) -> str | None:
    """A sentence on the steps that a study cannot run and why, or None."""
    coming, by_reason = makes_maps(steps, study), {}
    for step in steps:
        if reason := blocked(step, study, coming):
            by_reason.setdefault(reason, []).append(step.number)
    return "\n".join(_note(reason, numbers) for reason, numbers in by_reason.items()) or None


def _note(reason, numbers):
    plural = len(numbers) > 1
    names = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if plural else numbers[0]
    what, _, detail = reason.partition(": ")
    if what == "no grey-matter maps":
        return f"{names} {'wait' if plural else 'waits'} for grey-matter maps: {detail}"
    return f"{names} {'are' if plural else 'is'} skipped: {reason}"


# --- parameters ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A line of a notebook's ``parameters`` cell: ``name: type = default  # help``."""

    name: str
    type: str
    default: object
    help: str


def read_notebook(path) -> dict:
    """Content of a notebook file.

    Raises
    ------
    PipelineError
        If it is absent or not a notebook.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {
            **content,
            "cells": [{**cell, "source": _source(cell)} for cell in content["cells"]],
        }
    except FileNotFoundError:
        raise PipelineError(f"{path}: notebook not found") from None
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"{path}: not a notebook: {error}") from None


def _source(cell):
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def notebook_parameters(path) -> dict[str, Parameter]:
    """Parameters of a notebook, by name, from its cell tagged ``parameters``.

    Read without papermill, which takes two seconds to import; a test keeps both in agreement.

    Raises
    ------
    PipelineError
        If the cell holds something else than ``name: type = literal``.
    """
    cells = read_notebook(path)["cells"]
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    source = tagged[0]["source"] if tagged else ""
    try:
        found = [_parameter(node, source) for node in ast.parse(source).body]
    except (SyntaxError, ValueError) as error:
        raise PipelineError(
            f"{Path(path).name}: the parameters cell expects 'name: type = value  # help' on each "
            f"line, with a literal value; {error}"
        ) from None
    return {parameter.name: parameter for parameter in found if parameter}


def _parameter(node, source):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return None  # a docstring
    target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
    if not isinstance(target, ast.Name) or node.value is None:
        raise ValueError(f"found: {ast.unparse(node)}")
    default = ast.literal_eval(node.value)
    annotation = getattr(node, "annotation", None)
    kind = ast.unparse(annotation) if annotation else type(default).__name__
    rest = source.splitlines()[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    return Parameter(target.id, kind, default, rest.strip().lstrip("#").strip())


def parse_overrides(texts, parameters) -> dict:
    """Check ``--set NAME=VALUE`` against the notebooks' parameters.

    Parameters
    ----------
    texts : list of str
        Each NAME=VALUE, the value as YAML.
    parameters : dict
        By notebook: what :func:`notebook_parameters` gave.

    Returns
    -------
    dict
        Value by name, of the type of the notebooks' defaults.

    Raises
    ------
    UsageError
        For a name that no notebook has, a value of another type, or text without "=".
    """
    values = {}
    for text in texts:
        name, equals, raw = text.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"--set {text}: NAME=VALUE expected")
        if name == "study":
            raise UsageError(f"--set {text}: say --study {raw}")
        users = {book: known[name] for book, known in parameters.items() if name in known}
        if not users:
            raise UsageError(_unknown(name, parameters))
        for book, parameter in users.items():
            values[name] = _typed(text, raw, book, parameter)
    return values


def _unknown(name, parameters):
    books = {}
    for notebook, known in parameters.items():
        for parameter in known:
            if parameter != "study":
                books.setdefault(parameter, []).append(notebook.split("_")[0])
    near = difflib.get_close_matches(name, books, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    known = ", ".join(f"{name} ({', '.join(books[name])})" for name in sorted(books))
    selected = ", ".join(parameters)
    return f"--set {name}: no parameter of {selected}{hint} Known: {known or 'none'}"


_KINDS = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
    "list": (list, "a list such as [a, b]"),
    "tuple": (list, "a list such as [a, b]"),
    "dict": (dict, "a mapping such as {a: 1}"),
    "None": (type(None), "null"),
}


def _typed(text, raw, notebook, parameter):
    """Value of an override, of one of the types that the parameter's annotation names."""
    value = _yaml_value(text, raw)
    kinds = [re.match(r"\w+", kind.strip()).group() for kind in parameter.type.split("|")]
    if any(kind not in _KINDS for kind in kinds):
        return value  # an annotation that YAML knows nothing of
    if isinstance(value, str) and "float" in kinds:  # YAML takes 1e-3 for text
        with contextlib.suppress(ValueError):
            value = float(value)
    if any(_fits(value, kind) for kind in kinds) and _elements_fit(value, parameter):
        return value
    if "str" in kinds and not isinstance(value, (list, dict)):
        return raw.strip()  # 100, true and null are text where text is expected
    expected = " or ".join(_KINDS[kind][1] for kind in kinds)
    raise UsageError(
        f"--set {text}: {expected} expected ({notebook} has {parameter.name}: {parameter.type} = "
        f"{parameter.default!r}), found {value!r}"
    )


def _yaml_value(text, raw):
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError:
        raise UsageError(f"--set {text}: {raw!r} is not a YAML value; quote text") from None


def _fits(value, kind):
    return isinstance(value, _KINDS[kind][0]) and (kind == "bool" or not isinstance(value, bool))


def _elements_fit(value, parameter):
    """Elements of a list are of the types that the default's elements have."""
    default = parameter.default
    if not isinstance(value, list) or not isinstance(default, (list, tuple)) or not default:
        return True
    allowed = {type(element) for element in default}
    allowed |= {int} if float in allowed else set()
    return all(type(element) in allowed for element in value)


def step_parameters(study, known, overrides, quick=False, jobs=None) -> dict:
    """What is passed to one notebook: only what differs from its defaults, and the study.

    A study of ``data/studies`` is passed by name, so that the executed notebook holds no path of
    this machine; another one by its absolute path.
    """
    own = study.path.parent == PROJECT / "data" / "studies"
    wanted = {"study": study.path.stem if own else str(study.path)}
    wanted |= {"quick": True} if quick else {}
    wanted |= {"n_jobs": jobs} if jobs is not None else {}
    return {name: value for name, value in (wanted | overrides).items() if name in known}


# --- what is up to date -------------------------------------------------------------------------


def folder(study, name) -> Path:
    """Folder of results: "figures", or one below ``study.derived``."""
    return study.figures if name == "figures" else study.derived / name


def _files(path):
    """Files below a folder; hidden ones do not count."""
    found = (file for file in path.rglob("*") if file.is_file())
    return [f for f in found if not any(p.startswith(".") for p in f.relative_to(path).parts)]


def input_files(step, study) -> list[Path]:
    """Every file that a step reads, as far as it exists now."""
    own = {path for read in step.reads for path in read(study)}
    earlier = {path for name in _sources(step) for path in _files(folder(study, name))}
    return sorted({study.path} | own | earlier)


def _sources(step):
    return (*step.uses, *step.may_use)


def notebook_hash(path) -> str:
    """Hash of a notebook's cells: text and code, without outputs and numbers of execution."""
    cells = read_notebook(path)["cells"]
    tags = [",".join(cell.get("metadata", {}).get("tags", [])) for cell in cells]
    parts = zip([cell["cell_type"] for cell in cells], tags, cells, strict=True)
    return report.text_hash(*(text for kind, tag, c in parts for text in (kind, tag, c["source"])))


def library_hash(library=LIBRARY) -> str:
    """Hash of the names and content of the library's modules."""
    modules = sorted(p for p in Path(library).rglob("*.py") if p.name not in WITHOUT_NUMBERS)
    return report.text_hash(*(t for m in modules for t in (m.name, report.file_hash(m))))


def signature(step, study, notebook, passed, library=LIBRARY) -> dict:
    """All that a step's results depend on.

    Returns
    -------
    dict
        notebook and library: hashes; parameters: by name, defaults included; packages: versions;
        inputs: sha256 and bytes by file.
    """
    known = notebook_parameters(notebook)
    values = {name: parameter.default for name, parameter in known.items()} | passed
    skip = ("study", *WITHOUT_EFFECT)
    return {
        "notebook": notebook_hash(notebook),
        "library": library_hash(library),
        "parameters": {name: value for name, value in values.items() if name not in skip},
        "packages": report.package_versions(),
        "inputs": report.describe_files(study, input_files(step, study)),
    }


def why_stale(record, now, study) -> str | None:
    """Why a step has to run, None when it is up to date.

    Parameters
    ----------
    record : dict or None
        The step's entry in the manifest.
    now : dict
        Its :func:`signature`.
    study : Study
    """
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
        if report.file_hash(path) != content["sha256"]:
            return f"outputs changed: {name}"
    sections = record.get("numbers", {})
    found = report.number_hashes(study, sections)
    if found != sections:
        return f"outputs changed: numbers.json{_differing(sections, found)}"
    return None


def _differing(before, after):
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f": {', '.join(names[:3])}{more}"


# --- data ---------------------------------------------------------------------------------------


def prepare_data(study, fetch=False, note=print) -> None:
    """Make sure that a study's tables are there.

    A simulated study is generated when its folder is absent; with ``fetch``, a public trial is
    downloaded, and the atlas and receptor maps for a study that has grey-matter maps, or T1w images
    to make them from; for these, the templates too.

    Raises
    ------
    PipelineError
        If files are missing; the message says how to get them.
    """
    if fetch:
        _fetch_trial(study, note)
    if study.simulated and not (study.root.is_dir() and any(study.root.iterdir())):
        _simulate(study, note)
    missing = [path for path in required_tables(study) if not path.is_file()]
    if missing:
        raise PipelineError(_missing_data(study, missing))
    makes = makes_maps(STEPS, study)
    if fetch and makes:
        _fetch_templates(note)
    if fetch and (makes or grey_matter_maps(study)):  # without, nothing is compared with receptors
        _fetch_atlas(study, note)
        _fetch_receptors(study, note)


def _fetch_atlas(study, note):
    from analysis_lib import fetch

    if study.atlas not in (*fetch.ATLASES, *fetch.SCHAEFER):
        return
    note(f"Fetching atlas {study.atlas}")
    try:
        fetch.fetch_atlas(study.atlas)
    except fetch.FetchError as error:
        raise PipelineError(str(error)) from None


def _fetch_templates(note):
    from analysis_lib import fetch

    note("Fetching templates")
    try:
        fetch.fetch_templates()
    except fetch.FetchError as error:
        raise PipelineError(str(error)) from None


def _fetch_trial(study, note):
    from analysis_lib import fetch

    if study.simulated or study.name not in fetch.TRIALS:
        return
    note(f"Fetching {study.name}")
    try:
        notes = fetch.fetch_study(study.name, study.root).notes
    except fetch.FetchError as error:
        raise PipelineError(str(error)) from None
    if study.name in fetch.IMAGES and not grey_matter_maps(study):
        _tell_of_images(study, note)
    for text in notes:
        note(text)


def _tell_of_images(study, note):
    """Images are never fetched by a run: too large to come unasked."""
    from analysis_lib import fetch

    wanted = fetch.images_of(study.name)
    lacking = [file.bytes for file in wanted if not (study.root / file.path).is_file()]
    if lacking:
        note(
            f"{study.name}: {len(lacking)} of {len(wanted)} T1w images are not here and are not "
            f"fetched by a run ({sum(lacking) / 1e9:.1f} GB). Get them: "
            f"python -m analysis_lib fetch {study.name} --images"
        )


def _fetch_receptors(study, note):
    from analysis_lib import annotations, fetch

    note("Fetching receptor maps")
    try:
        fetch.fetch_receptors(study.receptors)
    except (annotations.FetchFailed, ValueError) as error:  # WrongMap, or an unknown name
        raise PipelineError(str(error)) from None


def _simulate(study, note):
    from analysis_lib import simulate

    note(f"Simulating the data of {study.name} (once)")
    start = time.perf_counter()
    simulate.simulate_study(study.root)
    note(f"Simulated {study.name} in {time.perf_counter() - start:.1f} s: {study.root}")


def _missing_data(study, missing):
    from analysis_lib import fetch

    names = ", ".join(path.relative_to(study.root).as_posix() for path in missing)
    text = f"{study.name}: no {names} in {study.root}."
    if study.name in fetch.TRIALS:
        return (
            f"{text} Get the public files with: python -m analysis_lib fetch {study.name} "
            f"(or add --fetch)"
        )
    if study.simulated:
        return f"{text} Remove that folder, and the next run simulates it again"
    return f"{text} The study file's data is {study.data!r}: correct it, or put the files there"


# --- one notebook -------------------------------------------------------------------------------


def whole_folders() -> dict:
    """Environment variables that name folders, as whole paths: kernels start in another folder."""
    folders = {name: os.environ[name] for name in FOLDER_VARIABLES if os.environ.get(name)}
    return {name: str(Path(text).expanduser().resolve()) for name, text in folders.items()}


@contextlib.contextmanager
def kernel_environment(library=LIBRARY):
    """Environment of the kernels: one BLAS thread, this library before any other, whole paths."""
    before = dict(os.environ)
    path = [str(Path(library).parent), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update(KERNEL_ENVIRONMENT, PYTHONPATH=os.pathsep.join(path), **whole_folders())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def execute(notebook, executed, passed, on_cell=lambda index, total: None, library=LIBRARY):
    """Execute a notebook in a new kernel and keep it, whole.

    Parameters
    ----------
    notebook : pathlib.Path
        Its folder is the kernel's working directory.
    executed : pathlib.Path
        Written when all cells have run. When one fails, ``NAME.failed.ipynb`` beside it is written
        instead, and an earlier ``executed`` stays.
    passed : dict
        Parameters.
    on_cell : function
        Called with the number of cells done, and of all cells.
    library : pathlib.Path
        Folder of the package that the kernel imports first.

    Raises
    ------
    NotebookFailure
    """
    import papermill

    n_cells = len(read_notebook(notebook)["cells"]) + bool(passed)
    executed.parent.mkdir(parents=True, exist_ok=True)
    partial = executed.with_name(f".{executed.stem}.partial.ipynb")
    failed = executed.with_name(f"{executed.stem}.failed.ipynb")
    last = {"index": 0}

    def start(cell, cell_index):
        last["index"] = cell_index
        on_cell(cell_index, n_cells)

    with tempfile.TemporaryFile() as log, kernel_environment(library):
        try:
            papermill.execute_notebook(
                str(notebook),
                str(partial),
                passed,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(notebook.parent),
                on_cell_start=start,
                kernel_manager_class=_kernel_class(log),
            )
            _keep(partial, executed, notebook.name)
            failed.unlink(missing_ok=True)
        except Exception as error:
            if partial.is_file():
                _keep(partial, failed, notebook.name)
            raise _failure(notebook, error, last["index"], failed, _tail(log)) from error
        finally:
            partial.unlink(missing_ok=True)
        sys.stderr.write(_tail(log))
    on_cell(n_cells, n_cells)


def _kernel_class(log):
    """A kernel whose own error stream goes to a file: an interrupted one prints a traceback."""
    from jupyter_client import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(**options)
            if self.has_trait("transport_encryption"):  # off, kernels warn of eavesdroppers
                self.transport_encryption = "auto"

        async def start_kernel(self, **options):
            return await super().start_kernel(stderr=log, **options)

    return Kernel


def _tail(log, n_bytes=4000):
    """The end of what the kernel's process itself said, without notes on its own shutdown."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - n_bytes))
    lines = log.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("[IPKernelApp]"))


def _keep(partial, final, name):
    """Move an executed notebook to its place, without the paths of this machine."""
    content = json.loads(partial.read_text(encoding="utf-8"))
    content["metadata"].get("papermill", {}).update(input_path=name, output_path=final.name)
    report.write_text(final, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _failure(notebook, error, index, kept, said):
    """What is known about a failure, from papermill's error or from a kernel that died."""
    if hasattr(error, "ename"):
        index, kind, message = error.cell_index, error.ename, error.evalue
        traceback = "\n".join(error.traceback)
    else:
        kind, traceback = type(error).__name__, said
        message = str(error) or "no message"
    if kind == "DeadKernelError":
        message = f"{message}. Often the machine had too little memory"
    where = describe_cell(notebook, kept, index)
    return NotebookFailure(notebook.stem, where, kind, message, traceback, kept)


def describe_cell(notebook, executed, index) -> str:
    """Which cell an index of the executed notebook means, in words that lead to the source."""
    source = read_notebook(notebook)["cells"]
    cells = read_notebook(executed)["cells"] if executed.is_file() else source
    cells = [c for c in cells if "papermill-error-cell-tag" not in _tags(c)]
    injected = [i for i, cell in enumerate(cells) if "injected-parameters" in _tags(cell)]
    if index in injected:
        return "the parameters that were passed to it"
    number = index - sum(i < index for i in injected)
    above = [c["source"] for c in source[: number + 1] if c["cell_type"] == "markdown"]
    headings = re.findall(r"^#+ +(.+)$", "\n".join(above), flags=re.MULTILINE)
    code = [line.strip() for line in source[number]["source"].splitlines() if line.strip()]
    under = f' under "{headings[-1]}"' if headings else ""
    return f"cell {number + 1} of {len(source)}{under}, which starts: {code[0] if code else ''}"


def _tags(cell):
    return cell.get("metadata", {}).get("tags", [])


# --- a run --------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of a step: status is run, up to date, skipped, failed or not reached."""

    step: Step
    status: str
    why: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    quick: bool = False


class Quiet:
    """Told what a run does; this one shows nothing."""

    def note(self, text):
        """Show a sentence."""

    def start(self, step, why):
        """Show that a notebook starts, and why."""

    def cell(self, step, done, total):
        """Show that cells are done."""

    def end(self, outcome):
        """Show what became of a notebook."""


@dataclass(frozen=True)
class Plan:
    """What a run is asked to do.

    Parameters
    ----------
    study : Study
    steps : tuple of Step
        Those selected.
    passed : dict
        Parameters by notebook.
    notebooks, library : pathlib.Path
        Folders.
    force : bool
        Run what is up to date, and overwrite results of another study.
    """

    study: Study
    steps: tuple[Step, ...]
    passed: dict
    all_steps: tuple[Step, ...] = STEPS
    notebooks: Path = NOTEBOOKS
    library: Path = LIBRARY
    force: bool = False

    def path(self, step) -> Path:
        """The notebook file of a step."""
        return self.notebooks / f"{step.notebook}.ipynb"

    def signature(self, step) -> dict:
        """See :func:`signature`."""
        passed = self.passed[step.notebook]
        return signature(step, self.study, self.path(step), passed, self.library)


def make_plan(
    study,
    only=(),
    overrides=(),
    quick=False,
    jobs=None,
    force=False,
    steps=STEPS,
    notebooks=NOTEBOOKS,
    library=LIBRARY,
) -> Plan:
    """Check the options of a run against the notebooks.

    Raises
    ------
    UsageError
        For unknown notebooks or parameters, and values of the wrong type.
    """
    chosen = select(steps, list(only))
    known = {s.notebook: notebook_parameters(notebooks / f"{s.notebook}.ipynb") for s in chosen}
    values = parse_overrides(overrides, known)
    passed = {
        name: step_parameters(study, parameters, values, quick, jobs)
        for name, parameters in known.items()
    }
    return Plan(study, tuple(chosen), passed, tuple(steps), notebooks, library, force)


def status(plan) -> dict[str, str]:
    """By notebook: "up to date", "skipped: why" or "to run: why", as things are now."""
    records = report.read_manifest(plan.study)["steps"]
    found = {}
    coming = makes_maps(plan.steps, plan.study)
    for step in plan.steps:
        reason = blocked(step, plan.study, coming)
        if reason:
            found[step.notebook] = f"skipped: {reason}"
            continue
        why = why_stale(records.get(step.notebook), plan.signature(step), plan.study)
        found[step.notebook] = f"to run: {why}" if why else "up to date"
    return found


@dataclass
class Run:
    """A run under way: its outcomes, the report if it was written, and when it started."""

    plan: Plan
    show: Quiet
    outcomes: list[Outcome] = field(default_factory=list)
    failure: NotebookFailure | None = None
    report: Path | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))


def run(plan, show=None, fetch=False) -> Run:
    """Run the steps of a plan that are not up to date; stop at the first failure.

    Returns
    -------
    Run
        One outcome a selected step; ``failure`` is set when a notebook failed.

    Raises
    ------
    PipelineError
        If another run is under way, data are missing, or results belong to another study.
    KeyboardInterrupt
        After the kernel was stopped; ``outcomes`` of what was complete is its only argument.
    """
    now = Run(plan, show or Quiet())
    with lock(plan.study.derived):
        prepare_data(plan.study, fetch, now.show.note)
        if not plan.force:
            refuse_other_owner(plan.study)
        note = blocked_note(plan.steps, plan.study)
        if note:
            now.show.note(note)
        try:
            for step in plan.steps:
                _add(now, _run_step(now, step))
            _publish(now)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(now.outcomes) from None
    return now


def _publish(now):
    """Write report and RO-Crate, where a step has run or they are not there yet."""
    from analysis_lib import crate, narrative, page  # slow to import

    study = now.plan.study
    ran = any(outcome.status == "run" for outcome in now.outcomes)
    there = all((study.derived / name).is_file() for name in (PAGE, crate.NAME))
    ready = all((study.derived / name).is_file() for name in NEEDED_BY_REPORT)
    if now.failure or not ready or (there and not ran):
        return
    try:
        now.report = page.write_report(study, coming=(crate.NAME,))
        crate.write_crate(study)  # after the report, which is part of it
    except (FileNotFoundError, ValueError, narrative.UnknownNumber) as error:
        raise PipelineError(f"The results are there; the report of them failed: {error}") from None


def _add(now, outcome):
    now.outcomes.append(outcome)
    now.show.end(outcome)


def _run_step(now, step):
    plan, study = now.plan, now.plan.study
    reason = blocked(step, study)
    if now.failure or reason:
        return Outcome(step, "not reached" if now.failure else "skipped", reason or "")
    _check_earlier(now, step)
    before = plan.signature(step)
    quick = bool(before["parameters"].get("quick"))
    why = why_stale(report.read_manifest(study)["steps"].get(step.notebook), before, study)
    if not why and not plan.force:
        return Outcome(step, "up to date", quick=quick)
    if "t1w" in step.needs:
        _require_templates()
    now.show.start(step, why or "--force")
    return _execute_step(now, step, before, Outcome(step, "run", why or "--force", quick=quick))


def _require_templates():
    from analysis_lib import fetch

    try:
        fetch.cached_templates()
    except (FileNotFoundError, fetch.FetchError) as error:
        raise PipelineError(str(error)) from None


def _execute_step(now, step, before, outcome):
    study, plan = now.plan.study, now.plan
    executed = study.derived / "notebooks" / f"{step.notebook}.ipynb"
    seen = _written(step, study)
    started, clock = datetime.now(UTC), time.perf_counter()
    with report.PeakMemory() as memory, _watched(step, study, now.show.note):
        try:
            execute(
                plan.path(step),
                executed,
                plan.passed[step.notebook],
                lambda done, total: now.show.cell(step, done, total),
                plan.library,
            )
        except NotebookFailure as failure:
            now.failure = failure
    outcome.seconds, outcome.peak_mb = time.perf_counter() - clock, memory.mb
    if now.failure:
        outcome.status, outcome.why = "failed", now.failure.cause
        return outcome
    written = _written(step, study)
    changed = [path for path, state in written.items() if seen.get(path) != state]
    if step.writes and not changed:
        raise PipelineError(
            f"{step.notebook} ran, but wrote nothing into {', '.join(step.writes)}: its last cell "
            f"has to write the results"
        )
    outputs = written if step.resumes else changed
    _record(now, step, before, outcome, started, [*outputs, executed])
    return outcome


@contextlib.contextmanager
def _watched(step, study, note, seconds=1.0):
    """Show the lines that a long step leaves in ``.progress`` of its folder, as they come."""
    paths = [folder(study, name) / ".progress" for name in step.writes if step.resumes]
    ended, shown = threading.Event(), set()

    def look():
        for path in paths:
            with contextlib.suppress(OSError):
                text = path.read_text(encoding="utf-8").strip()
                if text and text not in shown:
                    shown.add(text)
                    note(f"{step.number}: {text}")

    def watch():
        while not ended.wait(seconds):
            look()

    for path in paths:
        path.unlink(missing_ok=True)  # of a run that was broken off
    thread = threading.Thread(target=watch, daemon=True)
    if paths:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if paths:
            thread.join()


def _written(step, study):
    """When and as what each file in the folders of a step was written."""
    files = [path for name in step.writes for path in _files(folder(study, name))]
    states = {path: path.stat() for path in files}
    return {path: (s.st_mtime_ns, s.st_ino, s.st_size) for path, s in states.items()}


def _record(now, step, before, outcome, started, outputs):
    """Enter a step into the manifest: the last thing that a step does."""
    study = now.plan.study
    ended = datetime.now(UTC)
    entry = {
        **before,
        "seed": before["parameters"].get("seed"),
        "quick": outcome.quick,
        "simulated": study.simulated,
        "outputs": report.describe_files(study, outputs),
        "numbers": report.number_hashes(study, step.writes),
        **_times(started, ended),
        "peak_memory_mb": round(outcome.peak_mb, 1),
        "environment": {k: v for k, v in KERNEL_ENVIRONMENT.items() if k.endswith("_NUM_THREADS")},
        "git": report.git_state(),
        "machine": report.machine(),
    }
    earlier = report.read_manifest(study)["steps"]
    peak = max([outcome.peak_mb, *(o.peak_mb for o in now.outcomes)])
    last = {
        "notebooks": [o.step.notebook for o in now.outcomes if o.status == "run"] + [step.notebook],
        **_times(now.started, ended),
        "peak_memory_mb": round(peak, 1),
    }
    report.write_manifest(study, {**earlier, step.notebook: entry}, last)


def _times(started, ended):
    return {
        "started": started.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 2),
    }


def _check_earlier(now, step):
    """Refuse a step without the results that it needs; say when those it takes are out of date."""
    plan = now.plan
    for name in _sources(step):
        source = next((s for s in plan.all_steps if name in s.writes), None)
        if source is None or source in plan.steps or blocked(source, plan.study):
            continue
        advice = f"run {source.number} too: --only {source.number},{step.number}"
        if _files(folder(plan.study, name)):
            why = _outdated(plan, source)
            if why:
                now.show.note(
                    f"{step.number} takes {name}/ as it is, out of date ({why}); {advice}"
                )
        elif name in step.uses:
            raise PipelineError(
                f"{step.notebook} needs {name}/, which {source.notebook} writes and which is not "
                f"there yet: {advice}"
            )
        else:
            now.show.note(f"{step.number} does without {name}/, which is not there yet; {advice}")


def _outdated(plan, source):
    """Why an earlier step that is not selected is out of date, whatever its parameters were."""
    record = report.read_manifest(plan.study)["steps"].get(source.notebook)
    passed = (record or {}).get("parameters", {})
    made = signature(source, plan.study, plan.path(source), passed, plan.library)
    return why_stale(record, made, plan.study)


def refuse_other_owner(study) -> None:
    """Refuse to overwrite the results of another study of the same name.

    Raises
    ------
    PipelineError
        If the results come from another study file and from other participants.
    """
    manifest = report.read_manifest(study)
    before, now = manifest.get("owner"), report.owner(study)
    if not before or before["file"] == now["file"]:
        return
    if now["participants"] and before.get("participants") == now["participants"]:
        return  # moved or copied, but the same trial
    raise PipelineError(
        f"{study.derived} holds results of another study of the same name: {study.name} "
        f"({manifest.get('title')}). Give {study.path} another name, or overwrite with --force"
    )


# --- one run at a time --------------------------------------------------------------------------


@contextlib.contextmanager
def lock(folder):
    """Hold a folder for one run: ``.run.lock`` in it names the process.

    Raises
    ------
    PipelineError
        If a run that is alive holds it. The lock of a dead one is taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".run.lock"
    me = psutil.Process()
    mine = {"pid": me.pid, "created": me.create_time(), "host": socket.gethostname()}
    while not _create(path, json.dumps(mine)):
        holder = _holder(path)
        if _alive(path, holder):
            raise PipelineError(_busy(folder, path, holder))
        _clear(path, holder)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _create(path, text):
    """Create a file; False if it is there already."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _holder(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _clear(path, holder):
    """Remove the lock of a dead run, but not one that a third run has set meanwhile."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.stale")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if _holder(aside) != holder:
            os.rename(aside, path)
        aside.unlink()


def _alive(path, holder):
    if not holder:  # being written just now, or left by a machine that stopped
        with contextlib.suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime < 10
        return False
    if holder["host"] != socket.gethostname():
        return True  # another machine's processes cannot be looked at from here
    try:
        return abs(psutil.Process(holder["pid"]).create_time() - holder["created"]) < 1
    except psutil.NoSuchProcess:
        return False


def _busy(folder, path, holder):
    who = f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'this machine')}"
    return (
        f"another run is working in {folder} ({who}). Wait for it; if it is no longer there, "
        f"delete {path}"
    )
