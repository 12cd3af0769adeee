"""How many numbers of a run agree with the published run or with another one, and which moved."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analysis_lib.pipeline import agreement
from analysis_lib.pipeline import expected as published
from analysis_lib.pipeline.agreement import NAME, published_hash
from analysis_lib.pipeline.differences import (
    Difference,
    cells_apart,
    numbers_apart,
    table_apart_from,
)
from analysis_lib.pipeline.freshness import unequal
from analysis_lib.pipeline.steps import STEPS
from analysis_lib.results import hashing
from analysis_lib.results.files import read_mapping, write_text
from analysis_lib.results.problems import PipelineError, UsageError
from analysis_lib.results.words import shortened

SHOWN = 10  # lines of what moved
ON_REQUEST = {folder for step in STEPS if step.on_request for folder in step.writes}


@dataclass(frozen=True)
class Comparison:
    """Numbers and tables of a run beside expected ones, or the reason why there is none."""

    reference: str  # what the results are compared with, in words
    numbers: tuple[int, int] = (0, 0)  # how many agree, and how many were expected
    tables: tuple[int, int] = (0, 0)
    identical: int = 0  # tables that are the same byte for byte
    moved: tuple[Difference, ...] = ()  # numbers, then tables; what is missing or new is there too
    differs: tuple[str, ...] = ()  # else: packages, platform, parameters, inputs
    left_out: tuple[str, ...] = ()  # what was not compared, and why
    reason: str = ""  # why nothing was compared


@dataclass(frozen=True)
class Results:
    """What is compared: numbers by key, sha256 of tables by name, and what made them."""

    numbers: dict
    tables: dict
    made: dict

    @classmethod
    def of_folder(cls, folder):
        """Results in a folder."""
        made = published.made_by(folder)
        tables = published.tables_of(folder).items()
        hashes = {name: hashing.file_hash(path) for name, path in tables}
        return cls(published.describe_numbers(folder, published.draws_of(made)), hashes, made)

    @classmethod
    def of_file(cls, content):
        """Published results."""
        hashes = {name: about["sha256"] for name, about in content["tables"].items()}
        return cls(content["numbers"], hashes, content["made"])

    def without(self, sections):
        """The same without the numbers and tables of some sections."""
        parts = [
            {name: item for name, item in part.items() if _section(name) not in sections}
            for part in (self.numbers, self.tables)
        ]
        return Results(*parts, self.made)


def _section(name):
    """What a number's key or a table's name starts with: clinical, vbm or receptors."""
    return name.replace("/", ".").split(".")[0]


# --- in words -------------------------------------------------------------------------------------


def sentence(comparison) -> str:
    """How many numbers and tables agree, or why none were compared."""
    if comparison.reason:
        return f"Not compared with {comparison.reference}: {comparison.reason}"
    (agree, total), (tables, of) = comparison.numbers, comparison.tables
    return (
        f"{agree} of {total} numbers agree with {comparison.reference}, and {tables} of {of} "
        f"tables, {comparison.identical} of them byte for byte"
    )


def lines(comparison, most=SHOWN, rest=NAME) -> list[str]:
    """The comparison as printed: at most ``most`` differences (None: all), others in ``rest``."""
    first, shown = sentence(comparison), comparison.moved[:most]
    if not comparison.moved:
        return [first, *comparison.left_out]
    listed = [f"  {difference.line}" for difference in shown]
    if more := len(comparison.moved) - len(shown):
        listed.append(f"  and {more} more: {rest}")
    values = any(difference.has_values for difference in comparison.moved)
    what = "these moved" if values else "these are new or missing"
    return [f"{first}; {what}:", *listed, _what_differs(comparison), *comparison.left_out]


def _what_differs(comparison):
    if comparison.differs:
        return f"What else differs: {'; '.join(comparison.differs)}"
    return "Packages, platform, parameters and inputs are the same, so the code must have changed"


# --- with the published numbers -------------------------------------------------------------------


def with_published(study) -> Comparison | None:
    """Compare a study's results with the published ones; None if either is not there."""
    path = agreement.published(study)
    if path is None or not (study.derived / "numbers.json").is_file():
        return None
    reference = f"the published run (data/expected/{path.name})"
    try:
        return _with_content(reference, read_mapping(path), study)
    except (KeyError, TypeError, ValueError, OSError) as error:  # fails no run whose results stand
        why = f"{type(error).__name__}: {error}"
        return Comparison(reference, reason=f"the file or a result cannot be read ({why})")


def _with_content(reference, content, study):
    expected, found = Results.of_file(content), Results.of_folder(study.derived)
    if reason := _other_parameters(expected.made, found.made):
        return Comparison(reference, reason=reason)
    skipped = _not_comparable(expected, found, published.sections_made(study.derived))

    def detail(name):
        return table_apart_from(name, content["tables"][name], study.derived / name)

    return _compare(reference, expected, found, detail, skipped)


def _other_parameters(expected, found):
    """Why results made with these parameters are not compared; empty if they are the published."""
    before, now = expected["parameters"], found["parameters"]
    quick = [step for step in before if now.get(step, {}).get("quick")]
    if quick:
        return f"{', '.join(quick)} ran with --quick"
    other = [
        f"{step} ran with {name}={now[step][name]} (published: {value})"
        for step in before
        for name, value in before[step].items()
        if now.get(step, {}).get(name, value) != value
    ]
    return "; ".join(other)


def _not_comparable(expected, found, there):
    """Sections that cannot be compared, and why; nothing is said of those that nobody asked for."""
    sections = {_section(name) for name in (*expected.numbers, *expected.tables)}
    reasons = {name: "the notebook that writes them has not run" for name in sections - there}
    reasons |= dict.fromkeys(reasons.keys() & ON_REQUEST, "")
    reasons |= {name: "none of them are published" for name in there - sections}
    return reasons


def _compare(reference, expected, found, detail: Callable, skipped=()) -> Comparison:
    """Compare all that is not in a section skipped; ``detail`` compares one table by name."""
    reasons = sorted(dict(skipped).items())
    left_out = tuple(_left_out(expected, found, name, why) for name, why in reasons if why)
    differs = tuple(_differing(expected.made, found.made))
    expected, found = expected.without(skipped), found.without(skipped)
    numbers = numbers_apart(expected.numbers, found.numbers)
    same = [name for name, sha in expected.tables.items() if found.tables.get(name) == sha]
    tables = {name: _table_apart(name, found, detail) for name in expected.tables.keys() - {*same}}
    new = [Difference(n, note="is new") for n in found.tables if n not in expected.tables]
    return Comparison(
        reference,
        _agreeing(expected.numbers, {difference.what for difference in numbers}),
        _agreeing(expected.tables, {name for name, apart in tables.items() if apart}),
        len(same),
        (*numbers, *(d for name in sorted(tables) for d in tables[name]), *new),
        differs,
        left_out,
    )


def _table_apart(name, found, detail):
    if name not in found.tables:
        return [Difference(name, note="is missing")]
    return detail(name)


def _agreeing(expected, moved):
    return len(expected.keys() - moved), len(expected)


def _left_out(expected, found, section, why):
    parts = (expected.numbers | found.numbers, expected.tables | found.tables)
    numbers, tables = (sum(_section(name) == section for name in part) for part in parts)
    what = f"{_count(numbers, 'number')} and {_count(tables, 'table')}"
    return f"{what} of {section} are not compared: {why}"


def _count(n, word):
    return f"{n} {word}{'' if n == 1 else 's'}"


# --- with the default run -------------------------------------------------------------------------


def with_default(study) -> Comparison | None:
    """Compare a variant with the default results, cell by cell; None if either has no results."""
    default = study.as_variant()
    if not all((one.derived / "numbers.json").is_file() for one in (default, study)):
        return None
    expected, found = Results.of_folder(default.derived), Results.of_folder(study.derived)
    there = published.sections_made(study.derived), published.sections_made(default.derived)
    lacking = dict.fromkeys(there[0] ^ there[1], "only one of the two runs has them")
    detail = _by_cell(default.derived, study, expected)
    return _compare("the default run", expected, found, detail, lacking)


def _by_cell(before, study, expected):
    """A function that compares one table by name with that in another folder."""
    draws = published.draws_of(expected.made)
    return lambda name: cells_apart(name, before / name, study.derived / name, draws)


# --- with another folder --------------------------------------------------------------------------


def with_folder(study, folder) -> Comparison:
    """Compare a study's results, cell by cell, with those in or below a folder.

    A `UsageError` says that there are none in the folder, a `PipelineError` that the study has
    none.
    """
    before = _results_in(study, Path(folder))
    if not (study.derived / "numbers.json").is_file():
        raise PipelineError(
            f"{study.name}: no results in {study.derived}. Run: python run_all.py --study "
            f"{study.path}"
        )
    expected, found = Results.of_folder(before), Results.of_folder(study.derived)
    return _compare(str(folder), expected, found, _by_cell(before, study, expected))


def _results_in(study, folder):
    """The folder that holds ``numbers.json``: this one, or the study's below it."""
    tried = [folder, folder / "data" / "derived" / study.name, folder / study.name]
    found = next((place for place in tried if (place / "numbers.json").is_file()), None)
    if found is None:
        raise UsageError(
            f"--compare {folder}: numbers.json expected there or in data/derived/{study.name} "
            f"below it, found neither"
        )
    return found


# --- what made the two ----------------------------------------------------------------------------


def _differing(expected, found):
    """What is not the same of that which made results."""
    shared = expected["parameters"].keys() & found["parameters"].keys()
    parts = [
        (f"{step} ", expected["parameters"][step], found["parameters"][step]) for step in shared
    ]
    whole = [{"platform": made["platform"]} for made in (expected, found)]
    pairs = [("", expected["packages"], found["packages"]), ("", *whole), *sorted(parts)]
    return [text for pair in pairs for text in _unequal(*pair)] + _other_inputs(expected, found)


def _unequal(prefix, before, now):
    return [
        f"{prefix}{name} {now.get(name, 'none')} instead of {before.get(name, 'none')}"
        for name in unequal(before, now)
    ]


def _other_inputs(expected, found):
    """Inputs of another content; they are many, so three are named."""
    names = unequal(expected["inputs"], found["inputs"])
    return [f"inputs: {shortened(names, 3)}"] if names else []


# --- the file -------------------------------------------------------------------------------------


def write(study, comparison) -> Path:
    """Write the whole comparison beside the results (without one, remove an earlier); its lines."""
    path, said = study.derived / NAME, lines(comparison) if comparison else []
    if comparison is None:
        path.unlink(missing_ok=True)
        return said
    content = {"published": published_hash(study), "lines": said, **asdict(comparison)}
    content["moved"] = [_plain(difference) for difference in comparison.moved]
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return said


def _plain(difference):
    """A difference without what JSON cannot hold."""
    items = asdict(difference).items()
    kept = {name: value for name, value in items if name != "tolerances"}
    return {
        n: str(v) if isinstance(v, float) and not np.isfinite(v) else v for n, v in kept.items()
    }
