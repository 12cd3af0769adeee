"""What the columns of result tables hold: the registry ``columns.tsv``, and checks against it.

A column of the registry has a type:

========  ==============================================  ======================================
type      what a table may hold                           what is read back
========  ==============================================  ======================================
text      words, as they are: "011" stays "011"           str
category  labels that group rows (arm, visit, region)     str
integer   whole numbers                                   int64; float64 where some are missing
number    numbers; infinite ones are written inf, -inf    float64
boolean   True, False                                     bool; boolean where some are missing
========  ==============================================  ======================================

A missing value is n/a in every type, so that no text may be "n/a" itself. A cell is one line
without tabs: other programs split a table there, quoted or not.
"""

import csv
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.results.problems import Problem, WrongFile, refusals

REGISTRY = Path(__file__).with_name("columns.tsv")
MISSING = "n/a"
TYPES = ("text", "category", "integer", "number", "boolean")
# What a cell cannot hold: control characters (tab, ends of lines), half of a surrogate pair.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_LARGEST = 2**63  # of int64, excluded


@dataclass(frozen=True)
class Column:
    """A column of result tables; type is one of `TYPES`.

    Neighbours with one head are the limits of an interval, shown together.
    """

    name: str
    type: str
    unit: str | None
    description: str
    head: str

    @property
    def words(self) -> str:
        """Description and unit."""
        return f"{self.description}, {self.unit}" if self.unit else self.description

    @property
    def sidecar(self) -> dict:
        """What the JSON file beside a table says of the column (BIDS)."""
        return {"Description": self.description} | ({"Units": self.unit} if self.unit else {})


@functools.cache
def registry() -> dict:
    """Every column that is known, by name, or "<file>.<name>" where one file differs.

    <file> is the file without its suffix, or what follows its last underscore.
    """
    rows = _read_text(REGISTRY)
    rows = rows.astype(object).where(rows.notna(), None)
    columns = {row.column: Column(*row) for row in rows.itertuples(index=False)}
    wrong = [name for name, column in columns.items() if column.type not in TYPES]
    if wrong or len(columns) < len(rows):
        raise WrongFile(f"{REGISTRY.name}: one row per column, a type among {', '.join(TYPES)}")
    return columns


def describe(file, names) -> dict:
    """The columns of a table, by name, as this file uses them; an unknown one is `WrongFile`."""
    file, names, known = Path(file), list(names), registry()
    unknown = [str(name) for name in names if name not in known]
    if unknown:
        expected, remedy = f"columns of {REGISTRY.name}", "Describe each there, with its type"
        raise WrongFile(Problem(file.name, "", expected, ", ".join(unknown), remedy))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        found = f"two of {', '.join(twice)}"
        raise WrongFile(Problem(file.name, "", "each column once", found))
    return {name: _own(file.stem, name) for name in names}


def _own(stem, name):
    """A column as a file uses it; None if the registry lacks it."""
    known = registry()
    keys = (f"{stem}.{name}", f"{stem.rsplit('_', 1)[-1]}.{name}", name)
    return next((known[key] for key in keys if key in known), None)


def head(name, names, file="") -> str:
    """What stands above a column where a reader sees it; its name if the registry lacks it.

    ``names`` are the study's words for "active" and "control", ``file`` the stem of the table.
    """
    found = _own(file, name)
    return found.head.format(**names) if found else str(name)


def check(file, table) -> pd.DataFrame:
    """A table that can be written and read back, with the types of the registry.

    For a value that is not of its type, `WrongFile` names file, column and row (the header is 1).
    """
    described = describe(file, table)
    return pd.DataFrame(
        {name: _checked(file, about, table[name]) for name, about in described.items()},
        index=table.index,
    )


def _checked(file, about, values):
    expected, holds = _RULES[about.type]
    missing = values.isna().to_numpy()
    wrong = [not gone and not holds(v) for v, gone in zip(values, missing, strict=True)]
    if any(wrong):
        raise WrongFile(_problem(file, about, values, wrong, expected))
    if about.type == "integer":  # as a float, one of many digits would be written rounded
        whole = [pd.NA if gone else int(v) for v, gone in zip(values, missing, strict=True)]
        return pd.array(whole, dtype="Int64")
    if about.type == "number":
        return [np.nan if gone else float(v) for v, gone in zip(values, missing, strict=True)]
    return values


def _is_text(value):
    return isinstance(value, str) and value != MISSING and not _UNWRITABLE.search(value)


def _is_number(value):
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _is_whole(value):
    return _is_number(value) and abs(value) < _LARGEST and value == int(value)


_RULES = {
    "text": (f"text of one line, without tabs, other than {MISSING!r}", _is_text),
    "category": (f"text of one line, without tabs, other than {MISSING!r}", _is_text),
    "integer": ("a whole number", _is_whole),
    "number": ("a number", _is_number),
    "boolean": ("True or False", lambda value: isinstance(value, bool | np.bool_)),
}


def _problem(file, about, values, wrong, expected):
    """The problem of the first value that is not of its column's type, and how many more."""
    row = int(np.flatnonzero(wrong)[0])
    value = list(values)[row]
    value = value.item() if isinstance(value, np.generic) else value
    more = f" (and in {sum(wrong) - 1} more rows)" if sum(wrong) > 1 else ""
    remedy = f"Its type, {about.type}, is from {REGISTRY.name}"
    place, found = f"{about.name}, row {row + 2}", f"{value!r}{more}"
    return Problem(Path(file).name, place, expected, found, remedy)


def read(path) -> pd.DataFrame:
    """Read a result table, every column with the type of the registry, as `check` has it."""
    table = _read_text(path)
    described = describe(path, table)
    return pd.DataFrame(
        {name: _typed(path, about, table[name]) for name, about in described.items()},
        index=table.index,
    )


def _read_text(path):
    """A table with every cell as it is written; n/a is missing, and nothing else."""
    options = {"dtype": str, "na_values": [MISSING], "keep_default_na": False}
    try:
        with refusals(path):
            return pd.read_csv(path, sep="\t", skip_blank_lines=False, encoding="utf-8", **options)
    except (ValueError, csv.Error) as error:  # pandas' own errors are ValueErrors, too
        found, remedy = " ".join(str(error).split()), "Run the notebook that writes it"
        raise WrongFile(Problem(Path(path).name, "", "a result table", found, remedy)) from None


def _typed(path, about, cells):
    if about.type in ("text", "category"):
        return cells
    if about.type == "boolean":
        values = cells.map({"True": True, "False": False})
    else:
        values = pd.to_numeric(cells, errors="coerce")
        if about.type == "integer":
            values = values.where(values.isna() | np.isfinite(values) & (values % 1 == 0))
    wrong = (values.isna() & cells.notna()).to_numpy()
    if wrong.any():
        raise WrongFile(_problem(path, about, cells, wrong, _RULES[about.type][0]))
    gaps = bool(cells.isna().any())  # a whole number with gaps is a float, as pandas reads it
    if about.type == "boolean":
        return values.astype("boolean" if gaps else bool)
    return values.astype("int64" if about.type == "integer" and not gaps else "float64")
