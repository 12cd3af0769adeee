"""Variants of an analysis: results made with other parameters lie beside the default ones."""

import re

from analysis_lib.results.hashing import text_hash
from analysis_lib.results.problems import Problem, UsageError

# The numbers do not depend on these.
WITHOUT_EFFECT = ("n_jobs",)
# Nor does a change of these make a variant: another study has a folder of its own, and what a
# quick run made says so wherever it is shown.
NO_VARIANT = ("study", "quick", "variant", *WITHOUT_EFFECT)

LONGEST = 80  # characters; with the names of results below it, Windows allows 260
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=,+-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=,+-]+")


def changed(defaults, values) -> dict:
    """Parameters that differ from their defaults, as far as results depend on them."""
    return {
        name: values[name]
        for name, parameter in defaults.items()
        if name not in NO_VARIANT and name in values and values[name] != parameter.default
    }


def name_of(changes) -> str:
    """Name of the variant with these parameters, safe as a folder's; empty without any.

    It is the same whatever their order. Where text had to be replaced or cut, the first characters
    of its hash keep two variants apart.
    """
    whole = ",".join(f"{name}={_words(changes[name])}" for name in sorted(changes))
    safe = _UNSAFE.sub("-", whole).rstrip(".-")
    if safe == whole and len(safe) <= LONGEST:
        return safe
    mark = text_hash(whole)[:8]
    return f"{safe[: LONGEST - len(mark) - 1]}-{mark}"


def _words(value):
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, int | float) else str(value)


def checked(name) -> str:
    """A variant's name that a reader gave; a `UsageError` if it is not fit to be a folder's."""
    safe = name if isinstance(name, str) else ""
    if name == "" or (_NAME.fullmatch(safe) and len(safe) <= LONGEST and safe[-1] != "."):
        return safe
    expected = f"at most {LONGEST} letters, digits and any of _ . = , + - expected"
    remedy = 'Leave it empty ("") to have it named after the parameters changed'
    raise UsageError(Problem("", "variant", expected, repr(name), remedy))
