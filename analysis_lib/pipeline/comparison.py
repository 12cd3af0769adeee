"""How many numbers of a run agree with the published run or with another one, and which moved."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis_lib.pipeline import agreement, differences
from analysis_lib.pipeline import expected as published
from analysis_lib.pipeline.agreement import NAME, published_hash
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
    moved: tuple = ()  # each Difference: numbers, then tables; what is missing or new is there too
    differs: tuple[str, ...] = ()  # else: packages, platform, parameters, inputs
    left_out: tuple[str, ...] = ()  # what was not compared, and why
    reason: str = ""  # why nothing was compared


def _results(folder):
    """What is compared, as a published file has it: numbers, tables and what made them."""
    made, tables = published.made_by(folder), published.tables_of(folder)
    return {
        "numbers": published.describe_numbers(folder, published.draws_of(made)),
        "tables": {name: {"sha256": hashing.file_hash(path)} for name, path in tables.items()},
        "made": made,
    }


def _section(name):
    """What a number's key or a table's name starts with: clinical, vbm or receptors."""
    return name.replace("/", ".").split(".")[0]


def lines(comparison, most=SHOWN, rest=NAME) -> list[str]:
    """The comparison as printed: at most ``most`` differences (None: all), others in ``rest``."""
    if comparison.reason:
        return [f"Not compared with {comparison.reference}: {comparison.reason}"]
    (agree, total), (tables, of) = comparison.numbers, comparison.tables
    first = (
        f"{agree} of {total} numbers agree with {comparison.reference}, and {tables} of {of} "
        f"tables, {comparison.identical} of them byte for byte"
    )
    if not comparison.moved:
        return [first, *comparison.left_out]
    shown = comparison.moved[:most]
    listed = [f"  {difference.line}" for difference in shown]
    if more := len(comparison.moved) - len(shown):
        listed.append(f"  and {more} more: {rest}")
    values = any(difference.has_values for difference in comparison.moved)
    what = "these moved" if values else "these are new or missing"
    why = "Packages, platform, parameters and inputs are the same, so the code must have changed"
    if comparison.differs:
        why = f"What else differs: {'; '.join(comparison.differs)}"
    return [f"{first}; {what}:", *listed, why, *comparison.left_out]


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


def _with_content(reference, expected, study):
    found = _results(study.derived)
    if reason := _other_parameters(expected["made"], found["made"]):
        return Comparison(reference, reason=reason)
    there = published.sections_made(study.derived)
    about, skipped = expected["tables"], _not_comparable(expected, found, there)
    return _compare(
        reference,
        expected,
        found,
        lambda name: differences.table_apart_from(name, about[name], study.derived / name),
        skipped,
    )


def _other_parameters(expected, found):
    """Why results made with these parameters are not compared; empty if they are the published."""
    before, now = expected["parameters"], found["parameters"]
    quick = [step for step in before if now.get(step, {}).get("quick")]
    if quick:
        return f"{', '.join(quick)} ran with --quick"
    return "; ".join(
        f"{step} ran with {name}={now[step][name]} (published: {value})"
        for step, values in before.items()
        for name, value in values.items()
        if now.get(step, {}).get(name, value) != value
    )


def _not_comparable(expected, found, there):
    """Sections that cannot be compared, and why; nothing is said of those that nobody asked for."""
    sections = {_section(name) for name in (*expected["numbers"], *expected["tables"])}
    reasons = {name: "the notebook that writes them has not run" for name in sections - there}
    reasons |= dict.fromkeys(reasons.keys() & ON_REQUEST, "")
    return reasons | dict.fromkeys(there - sections, "none of them are published")


def _compare(reference, expected, found, detail, skipped=()) -> Comparison:
    """Compare all that is not in a section skipped; ``detail`` compares one table by name."""
    numbers, tables = (
        [
            {name: one for name, one in side[kind].items() if _section(name) not in skipped}
            for side in (expected, found)
        ]
        for kind in ("numbers", "tables")
    )
    moved = differences.numbers_apart(*numbers)
    before, now = ({name: one["sha256"] for name, one in side.items()} for side in tables)
    apart = {
        name: detail(name) if name in now else [differences.Difference(name, note="is missing")]
        for name in sorted(before)
        if now.get(name) != before[name]
    }
    new = [differences.Difference(name, note="is new") for name in now if name not in before]
    return Comparison(
        reference,
        (len(numbers[0].keys() - {one.what for one in moved}), len(numbers[0])),
        (len(before) - sum(map(bool, apart.values())), len(before)),
        len(before) - len(apart),
        (*moved, *(one for columns in apart.values() for one in columns), *new),
        tuple(_differing(expected["made"], found["made"])),
        tuple(
            _left_out(expected, found, *item) for item in sorted(dict(skipped).items()) if item[1]
        ),
    )


def _left_out(expected, found, section, why):
    numbers, tables = (
        sum(_section(name) == section for name in expected[kind] | found[kind])
        for kind in ("numbers", "tables")
    )
    what = f"{numbers} number{'s' * (numbers != 1)} and {tables} table{'s' * (tables != 1)}"
    return f"{what} of {section} are not compared: {why}"


def with_default(study) -> Comparison | None:
    """Compare a variant with the default results, cell by cell; None if either has no results."""
    default = study.as_variant()
    if not all((one.derived / "numbers.json").is_file() for one in (default, study)):
        return None
    here, there = (published.sections_made(one.derived) for one in (study, default))
    lacking = dict.fromkeys(here ^ there, "only one of the two runs has them")
    return _by_cell("the default run", default.derived, study, lacking)


def _by_cell(reference, before, study, skipped=()):
    """Compare a study's results with those of another folder, cell by cell."""
    expected = _results(before)
    draws = published.draws_of(expected["made"])
    return _compare(
        reference,
        expected,
        _results(study.derived),
        lambda name: differences.cells_apart(name, before / name, study.derived / name, draws),
        skipped,
    )


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
    return _by_cell(str(folder), before, study)


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


def _differing(expected, found):
    """What is not the same of that which made results; of other inputs, three are named."""
    before, now = expected["parameters"], found["parameters"]
    pairs = [("", expected["packages"], found["packages"])]
    pairs += [("", *({"platform": made["platform"]} for made in (expected, found)))]
    pairs += [(f"{step} ", before[step], now[step]) for step in sorted(before.keys() & now.keys())]
    told = [
        f"{prefix}{name} {after.get(name, 'none')} instead of {earlier.get(name, 'none')}"
        for prefix, earlier, after in pairs
        for name in unequal(earlier, after)
    ]
    inputs = unequal(expected["inputs"], found["inputs"])
    return [*told, *[f"inputs: {shortened(inputs, 3)}"] * bool(inputs)]


def write(study, comparison) -> list[str]:
    """Write the whole comparison beside the results (without one, remove an earlier); its lines."""
    path, said = study.derived / NAME, lines(comparison) if comparison else []
    if comparison is None:
        path.unlink(missing_ok=True)
        return said
    content = {"published": published_hash(study), "lines": said, **asdict(comparison)}
    content["moved"] = [one.plain for one in comparison.moved]
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return said
