"""Parameters of the notebooks: read from their first code cell, and checked."""

import ast
import contextlib
import difflib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from analysis_lib.results.environment import APPENDIX, notebook_path
from analysis_lib.results.problems import PipelineError, Problem, UsageError, refusals
from analysis_lib.study.allowed import ANYTHING, Allowed, declared, fits, problem, takes
from analysis_lib.study.variants import NO_VARIANT
from analysis_lib.study.yaml_reading import parse_yaml

_PARAMETERS_CELL = re.compile(r'^# %% tags=\["parameters"\]\n(.*?)(?=^# %%|\Z)', re.M | re.S)


@dataclass(frozen=True)
class Parameter:
    """A line of a notebook's ``parameters`` cell: ``name: type = default  # help``.

    ``allowed`` is the range, or the choices, that the help ends with.
    """

    name: str
    type: str
    default: object
    help: str
    allowed: Allowed = ANYTHING


def read_notebook(path) -> dict:
    """Content of a notebook file; a `CompendiumError` if it is absent or not a notebook."""
    try:
        with refusals(path):
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {
            **content,
            "cells": [{**cell, "source": _source(cell)} for cell in content["cells"]],
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PipelineError(f"{path}: not a notebook: {error}") from None


def _source(cell):
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def notebook_parameters(path) -> dict[str, Parameter]:
    """Parameters of a notebook, by name, from its cell tagged ``parameters``.

    Read without papermill, which takes two seconds to import; a test keeps both in agreement. A
    line that is not ``name: type = literal`` is a `PipelineError`.
    """
    cells = read_notebook(path)["cells"]
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    return _read_parameters(tagged[0]["source"] if tagged else "", Path(path).name)


def default_parameters(path) -> dict[str, Parameter]:
    """Parameters of a notebook with the defaults that the project gives them.

    A reader changes a value in the notebook and saves it, so that the notebook itself no longer
    says what the default was; its percent script does. Without a script the notebook has to.
    """
    notebooks = path.parents[path.parent.name == APPENDIX]
    script = notebooks / "percent" / path.relative_to(notebooks).with_suffix(".py")
    if not script.is_file():
        return notebook_parameters(path)
    cell = _PARAMETERS_CELL.search(script.read_text(encoding="utf-8"))
    return _read_parameters(cell[1] if cell else "", script.name)


def _read_parameters(source, file):
    try:
        found = [_parameter(node, source) for node in ast.parse(source).body]
    except (SyntaxError, ValueError) as error:
        raise PipelineError(
            f"{file}: the parameters cell expects 'name: type = value  # help' on each line, with "
            f"a literal value; {error}"
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
    told = rest.strip().lstrip("#").strip()
    return Parameter(target.id, kind, default, told, declared(told))


def check_parameters(notebook, values) -> None:
    """Refuse values that a notebook's parameters cell does not allow, in one `UsageError`.

    So are names that papermill was given and the notebook does not have: papermill only warns of
    them. Other names are passed over: a notebook gives ``globals()``.
    """
    known = notebook_parameters(notebook_path(notebook))
    unknown = [name for name in _injected(values) if name not in known]
    named = ("study", "variant")  # checked where they are used
    given = [(p, values[name]) for name, p in known.items() if name in values and name not in named]
    found = [Problem(text=_unknown(name, {notebook: known})) for name in unknown]
    found += [
        problem(value, parameter, notebook, parameter.name)
        for parameter, value in given
        if not fits(value, parameter)
    ]
    if found:
        raise UsageError(found)


def _injected(values):
    """Names in the cell that papermill put after the parameters; IPython keeps what ran in `In`."""
    cells = [cell for cell in values.get("In", ()) if cell.startswith("# Parameters\n")]
    nodes = (node for cell in cells[-1:] for node in ast.walk(ast.parse(cell)))
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def parse_overrides(texts, parameters) -> list[dict]:
    """Check ``--set NAME=VALUE`` against the notebooks' parameters (`notebook_parameters` of each).

    A value is YAML, of the type of the notebooks' defaults; NAME=VALUE,VALUE are several values of
    a parameter that takes none with a comma in it. Gives value by name: a dict for each combination
    of several values, so one where each has one. A `UsageError` has every name that no notebook has
    or that is given twice, every value of another type, out of range or not among the choices, and
    text without "=".
    """
    values, found = {}, []
    for text in texts:
        try:
            name, several = _override(text, parameters)
            if name in values:
                raise UsageError(f"--set {text}: {name} is given twice. Give it once")
            values[name] = several
        except UsageError as error:
            found += error.problems
    if found:
        raise UsageError(found)
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


def _override(text, parameters):
    """Name of one NAME=VALUE, and its values: more than one only where a comma parts them."""
    name, equals, raw = text.partition("=")
    name = name.strip()
    if not equals:
        raise UsageError(f"--set {text}: NAME=VALUE expected")
    if name == "study":
        raise UsageError(f"--set {text}: say --study {raw}")
    users = {book: known[name] for book, known in parameters.items() if name in known}
    if not users:
        raise UsageError(f"--set {_unknown(name, parameters)}")
    if not _may_be_several(name, raw, users):
        return name, [_value(text, raw, users)]
    values = [_value(f"{name}={part}", part, users) for part in raw.split(",")]
    return name, [value for i, value in enumerate(values) if value not in values[:i]]


def _may_be_several(name, raw, users):
    """Whether commas part values: not within a list, nor where one value may hold a comma."""
    if "," not in raw or name in NO_VARIANT:
        return False
    kinds = ("list", "tuple", "dict")
    whole = [fits(raw.strip(), p) or any(takes(p, kind) for kind in kinds) for p in users.values()]
    return not any(whole)


def _value(text, raw, users):
    """Value of an override, which all notebooks that have the parameter allow."""
    return [_typed(text, raw, book, parameter) for book, parameter in users.items()][-1]


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
    return f"{name}: no parameter of {selected}{hint} Known: {known or 'none'}"


def _typed(text, raw, notebook, parameter):
    """Value of an override, of one of the types that the parameter's annotation names."""
    value = _yaml_value(text, raw)
    if isinstance(value, str) and takes(parameter, "float"):  # YAML takes 1e-3 for text
        with contextlib.suppress(ValueError):
            value = float(value)
    if fits(value, parameter):
        return value
    # 100, true and null are text where text is expected
    if not isinstance(value, list | dict) and fits(raw.strip(), parameter):
        return raw.strip()
    has = f"{parameter.name}: {parameter.type} = {parameter.default!r}"
    beside = f" ({notebook} has {has})"
    raise UsageError(problem(value, parameter, place=f"--set {text}", beside=beside))


def _yaml_value(text, raw):
    try:
        return parse_yaml(raw)
    except ValueError:
        raise UsageError(f"--set {text}: {raw!r} is not a YAML value; quote text") from None
