"""What a parameter may be: its type, and the range or choices that its line declares.

They stand at the end of the help text, after its last semicolon:

=============================  ===========================================
``; from 0 to 30``             both ends included
``; at least 99``              also ``at most``, ``above``, ``below``
``; above 0 and below 1``      two of these
``; each from -72 to 108``     of every element of a list
``; one of: counts, gpd``      these words alone
=============================  ===========================================
"""

import difflib
import functools
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import Field, TypeAdapter, ValidationError

from analysis_lib.results.problems import Problem

_LIMITS = {"at least": "ge", "above": "gt", "at most": "le", "below": "lt"}
_NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"
_BEGINS = re.compile(rf"(?:each )?(?:from|{'|'.join(_LIMITS)}|one of)\b")
_RANGE = re.compile(rf"from {_NUMBER} to {_NUMBER}")
_LIMIT = re.compile(rf"({'|'.join(_LIMITS)}) {_NUMBER}")

_KINDS = {
    "int": (int, "a whole number"),
    "float": (Annotated[float, Field(allow_inf_nan=False)], "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
    "list": (list, "a list such as [a, b]"),
    "tuple": (list, "a list such as [a, b]"),
    "dict": (dict, "a mapping such as {a: 1}"),
    "None": (None, "null"),
}


@dataclass(frozen=True)
class Allowed:
    """Range or choices of a parameter."""

    text: str = ""  # as declared; empty where nothing is
    limits: tuple[tuple[str, float], ...] = ()  # "ge", "gt", "le" or "lt", and a number
    choices: tuple[str, ...] = ()
    each: bool = False  # the limits are of the elements of a list


ANYTHING = Allowed()


def declared(help_text) -> Allowed:
    """Range or choices that a help text ends with.

    One that begins like it and is none is refused: a misspelt range must not be passed over.
    """
    text = help_text.rpartition(";")[2].strip()
    if not _BEGINS.match(text):
        return ANYTHING
    if text.startswith("one of:"):
        words = tuple(word.strip() for word in text.removeprefix("one of:").split(","))
        return Allowed(text, choices=words)
    return Allowed(text, _limits(text.removeprefix("each ")), each=text.startswith("each "))


def _limits(text):
    if both := _RANGE.fullmatch(text):
        return (("ge", float(both[1])), ("le", float(both[2])))
    found = [_LIMIT.fullmatch(part) for part in text.split(" and ")]
    if not all(found):
        raise ValueError(
            f"a range such as 'from 0 to 30', 'at least 99', 'above 0 and below 1', or 'one of: "
            f"a, b' expected after the semicolon, found {text!r}"
        )
    return tuple((_LIMITS[one[1]], float(one[2])) for one in found)


def fits(value, parameter) -> bool:
    """Whether a value is of a parameter's type and within its range or choices."""
    default = parameter.default if isinstance(parameter.default, list | tuple) else ()
    elements = tuple(dict.fromkeys(type(element).__name__ for element in default))
    elements = ("float",) if parameter.allowed.each else elements
    try:
        _adapter(parameter.type, parameter.allowed, elements).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@functools.cache
def _adapter(annotation, allowed, elements):
    if allowed.choices:
        return TypeAdapter(Literal[allowed.choices])
    limits = Field(**dict(allowed.limits))
    element = _union(elements, limits if allowed.each else Field()) if elements else Any
    kind = _union(_names(annotation), Field() if allowed.each else limits, element)
    return TypeAdapter(kind)


def _names(annotation):
    return [re.match(r"\w+", part.strip()).group() for part in annotation.split("|")]


def _union(names, field, element=Any):
    """One type for several names; anything, where a name is none that YAML knows."""
    if any(name not in _KINDS for name in names):
        return Any
    kinds = [_KINDS[name][0] for name in names]
    kinds = [list[element] if kind is list else kind for kind in kinds]
    return Annotated[Union[tuple(kinds)], field]  # noqa: UP007, the kinds are a variable


def takes(parameter, kind) -> bool:
    """Whether a parameter's annotation names a type."""
    return kind in _names(parameter.type)


def words(parameter) -> str:
    """What is expected of a value, as a sentence on a wrong one says it."""
    allowed = parameter.allowed
    if allowed.choices:
        return f"one of {', '.join(allowed.choices)}"
    kinds = " or ".join(dict.fromkeys(_KINDS[name][1] for name in _names(parameter.type)))
    if not allowed.text:
        return kinds
    joint = {"at": " of ", "each": ", "}.get(allowed.text.split()[0], " ")
    return f"{kinds}{joint}{allowed.text}"


def problem(value, parameter, file="", place="", beside="") -> Problem:
    """What is wrong with a value that does not fit."""
    near = difflib.get_close_matches(str(value), parameter.allowed.choices, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else ""
    expected = f"{words(parameter)} expected{beside}"
    return Problem(file, place, expected, repr(value), remedy)
