"""The published numbers of a study, ``data/expected/<study>.json``, and what made them.

The file holds each entry of ``numbers.json`` with its tolerance, and of each result table the
sha256, which settles most comparisons at once, and of each column

- of text, labels or whole numbers: the sha256 of its cells;
- of numbers: their sum and sum of absolute values, to say how far off they are, and two characters
  per cell: the number in steps of one tolerance (`Tolerance.steps`), modulo 4,096. Cells that agree
  are at most one step apart; one that moved at random agrees with a probability of 3 in 4,096.

A table itself is not kept: those of a public trial have rows of participants, and not every licence
allows passing them on.
"""

import json
import string
import sys
from pathlib import Path

import numpy as np

from analysis_lib.pipeline import agreement
from analysis_lib.pipeline.tolerance import TOLERANCE, counted_draws
from analysis_lib.results import columns, hashing
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.files import read_mapping, write_text
from analysis_lib.results.problems import PipelineError

SECTIONS = (
    *("grey_matter", "clinical", "vbm", "receptors", "conduct"),
    *("calibration", "specifications", "power", "juspace"),  # on request
)
ABOUT = (
    "Numbers and tables that a run with default parameters should give. Written by: make expected. "
    "analysis_lib/pipeline/expected.py says what each entry means"
)
DRAWS = ("n_permutations", "n_surrogates")
DIGITS = string.ascii_letters + string.digits + "+-"
MARKS = [one + other for one in DIGITS for other in DIGITS]  # of finite numbers
PLACES = {mark: place for place, mark in enumerate(MARKS)}


def made_by(folder) -> dict:
    """What made the results in a folder, from their manifest: no place, no date, no name."""
    steps = _steps(folder)
    inputs = {
        name: file["sha256"]
        for step in steps.values()
        for name, file in step["inputs"].items()
        if name.startswith("{")  # no result of an earlier notebook
    }
    platforms = [f"{s['machine']['system']} {s['machine']['processor']}" for s in steps.values()]
    return {
        "parameters": {name: step["parameters"] for name, step in steps.items()},
        "packages": {name: v for step in steps.values() for name, v in step["packages"].items()},
        "platform": platforms[0] if platforms else None,
        "inputs": dict(sorted(inputs.items())),
    }


def _steps(folder):
    """Entries of the manifest for notebooks that write numbers or tables."""
    steps = read_mapping(Path(folder) / "manifest.json").get("steps", {})
    return {name: step for name, step in steps.items() if set(SECTIONS) & set(step["numbers"])}


def sections_made(folder) -> set[str]:
    """Sections whose notebook has run, as the manifest has it."""
    return {section for step in _steps(folder).values() for section in step["numbers"]}


def draws_of(made) -> list[int]:
    """Numbers of permutations and surrogates among the parameters, largest first."""
    found = (values.get(name) for values in made["parameters"].values() for name in DRAWS)
    return sorted({*found} - {None}, reverse=True)


def describe_numbers(folder, draws) -> dict:
    """Each number of ``numbers.json``: value, source and the difference that is allowed."""
    found = {}
    for key, entry in read_mapping(Path(folder) / "numbers.json").items():
        value, allowed = entry["value"], 0
        if isinstance(value, float):
            allowed = float(TOLERANCE.allowed(value, counted_draws(key, [value], draws)))
            value, allowed = ten_digits(value), ten_digits(allowed)
        found[key] = {"value": value, "source": entry["source"], "tolerance": allowed}
    return found


def ten_digits(value) -> float:
    """A number as result tables write it."""
    return float(f"{value:.10g}")


def tables_of(folder) -> dict:
    """Result tables by their name below a folder of results."""
    folder = Path(folder)
    paths = [path for section in SECTIONS for path in sorted((folder / section).rglob("*.tsv"))]
    return {path.relative_to(folder).as_posix(): path for path in paths}


def read_cells(path):
    """A result table as text, n/a as missing: cells are compared as they were written."""
    import pandas as pd  # slow to import, and not needed where bytes agree

    options = {"dtype": str, "na_values": [columns.MISSING], "keep_default_na": False}
    return pd.read_csv(path, sep="\t", skip_blank_lines=False, encoding="utf-8", **options)


def numbers_in(name, cells):
    """Numbers of a column, None for one of text, labels or whole numbers.

    A column that the registry does not know, of an older version, is one of numbers if all its
    cells are.
    """
    import pandas as pd

    known = columns.registry().get(name)
    if known and known.type != "number":
        return None
    values = pd.to_numeric(cells, errors="coerce")
    if not known and (values.isna() & cells.notna()).any():
        return None
    return values.to_numpy(dtype=float)


def describe_table(path, draws) -> dict:
    """What another run's table is compared with; see the head of this module."""
    table = read_cells(path)
    return {
        "sha256": hashing.file_hash(path),
        "rows": len(table),
        "header": list(table.columns),
        "columns": {name: _described_column(name, table[name], draws) for name in table},
    }


def _described_column(name, cells, draws):
    values = numbers_in(name, cells)
    if values is None:
        return describe_labels(cells)
    return describe_values(values, counted_draws(name, values, draws))


def describe_labels(cells) -> dict:
    """A column whose cells have to be the same."""
    return {"kind": "labels", "sha256": hashing.text_hash(*cells.fillna(columns.MISSING))}


def describe_values(values, draws=None) -> dict:
    """A column of numbers: sums, the difference that the sums may have, and marks of the cells."""
    finite = values[np.isfinite(values)]
    allowed = TOLERANCE.allowed(finite, draws).sum()
    sums = {"sum": finite.sum(), "sum_absolute": np.abs(finite).sum(), "tolerance": allowed}
    return {
        "kind": "numbers",
        **({"permutations": draws} if draws else {}),
        **{name: ten_digits(value) for name, value in sums.items()},
        "cells": "".join(_marks(values, draws)),
    }


def _marks(values, draws):
    finite = np.where(np.isfinite(values), values, 0.0)
    # not np.round: from one half to the next it takes two steps
    steps = np.floor(TOLERANCE.steps(finite, draws) + 0.5).astype(np.int64)
    odd = np.select([np.isnan(values), values == np.inf, values == -np.inf], ["..", ".+", ".-"], "")
    return np.where(odd == "", np.array(MARKS)[steps % len(MARKS)], odd)


def rows_apart(expected, found) -> list[int]:
    """Rows, from 0, whose marks are more than one step apart in two texts of `describe_values`."""
    pairs = [(expected[i : i + 2], found[i : i + 2]) for i in range(0, len(expected), 2)]
    return [row for row, pair in enumerate(pairs) if not _near(*pair)]


def _near(one, other):
    if one not in PLACES or other not in PLACES:  # missing or infinite
        return one == other
    apart = abs(PLACES[one] - PLACES[other])
    return min(apart, len(MARKS) - apart) <= 1


def describe_results(folder) -> dict:
    """All that ``data/expected/<study>.json`` holds, from a folder of results."""
    made = made_by(folder)
    draws = draws_of(made)
    tables = tables_of(folder).items()
    return {
        "about": ABOUT,
        "made": made,
        "numbers": describe_numbers(folder, draws),
        "tables": {name: describe_table(path, draws) for name, path in tables},
    }


def as_text(content) -> str:
    """JSON to review as a diff: sorted keys; one number, package, file or column per line."""
    return "\n".join(_lines(content, "", "")) + "\n"


def _lines(content, opening, indent):
    if not isinstance(content, dict) or "kind" in content or "value" in content:
        return [f"{indent}{opening}{json.dumps(content, sort_keys=True, ensure_ascii=False)}"]
    blocks = [
        _lines(content[key], f"{json.dumps(key, ensure_ascii=False)}: ", f"{indent} ")
        for key in sorted(content)
    ]
    for block in blocks[:-1]:
        block[-1] += ","
    return [f"{indent}{opening}{{", *(line for block in blocks for line in block), f"{indent}}}"]


def write_expected(study) -> Path:
    """Make a study's results the expected ones, if up to date.

    Of the notebooks that run on request, those that have run or are in the present file count.
    """
    from analysis_lib.pipeline.plan import make_plan, status
    from analysis_lib.pipeline.steps import STEPS

    path = agreement.EXPECTED / f"{study.name}.json"
    known = {*_steps(study.derived), *read_mapping(path).get("made", {}).get("parameters", {})}
    asked = [step.notebook for step in STEPS if step.on_request and step.notebook in known]
    states = status(make_plan(study))
    states |= status(make_plan(study, only=asked)) if asked else {}
    stale = [f"{name} ({state})" for name, state in states.items() if state.startswith("to run")]
    if stale:
        raise PipelineError(
            f"{study.name}: up to date expected, found {', '.join(stale)}. "
            f"Run: python run_all.py --study {study.name}"
        )
    write_text(path, as_text(describe_results(study.derived)))
    return path


def main(names) -> int:
    """Write the expected numbers of the studies named; exit status."""
    from analysis_lib.study.contract import load_study

    for name in names:
        try:
            path = write_expected(load_study(name))
        except PipelineError as error:
            print(error, file=sys.stderr)
            return error.exit_status
        print(f"{path.relative_to(PROJECT).as_posix()}: look at its diff before you commit it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
