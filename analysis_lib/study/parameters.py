"""Parameters of the notebooks: read from their first code cell, and checked."""

import ast
import contextlib
import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from analysis_lib.results.problems import PipelineError, UsageError


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
