"""Tables as people have them: spreadsheets, text, SPSS, Stata, R, REDCap, BIDS; cells as text."""

import csv
import datetime
import io
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from analysis_lib.datasets.antidepressant import r_objects
from analysis_lib.results.problems import Problem, StudyError, refusals
from analysis_lib.study.tables import NOT_MISSING, sidecar

UTF16 = (b"\xff\xfe", b"\xfe\xff")  # its first bytes
MISSING = {"", "n/a", "#n/a", "#null!", *NOT_MISSING} - {"none"}  # "none" may be an arm
NUMBER = r"-?\d*[.,]?\d+(?:[eE][-+]?\d+)?"
LONELY = 0.5  # of a header's cells that must be filled; above it stand titles
DICTIONARY = "Variable / Field Name"  # begins a data dictionary of REDCap


@dataclass(frozen=True)
class Table:
    """Cells as text, missing ones as NA; the words that the file has for codes."""

    name: str
    cells: pd.DataFrame
    levels: dict = field(default_factory=dict)  # by column: word by code

    def with_event_arms(self, column):
        """The same with events of REDCap (week_4_arm_1) apart: week_4, and 1 in a new column."""
        apart = self.cells[column].str.extract(r"^(.+)_arm_(\d+)$")
        added = {column: apart[0].fillna(self.cells[column]), event_arm(column): apart[1]}
        return replace(self, cells=self.cells.assign(**added))


def event_arm(column) -> str:
    """Name of the column of arms that stand in a column of events."""
    return f"arm in {column}"


def read_tables(files) -> list[Table]:
    """Every table of some files and BIDS folders; a sheet counts as a table.

    Data dictionaries of REDCap give words to the codes of the others.
    """
    paths = [path for file in files for path in _paths(Path(file))]
    tables = [table for path in paths for table in _read(path)]
    if twice := [name for name, n in Counter(t.name for t in tables).items() if n > 1]:
        problem = Problem(twice[0], "", "files of different names", "two", "Rename one")
        raise StudyError(problem)
    books = [table.cells for table in tables if DICTIONARY in table.cells]
    words = {name: levels for cells in books for name, levels in _dictionary(cells)}
    found = [
        replace(t, levels=t.levels | {c: words[c] for c in t.cells if c in words})
        for t in tables
        if DICTIONARY not in t.cells
    ]
    if not found:
        expected = "a table with a header and rows"
        raise StudyError(Problem(", ".join(path.name for path in paths), "", expected, "none"))
    return found


def _paths(path):
    with refusals(path):
        if path.is_dir():
            found = [*path.glob("participants.tsv"), *sorted(path.glob("phenotype/*.tsv"))]
        else:
            found = [path] if path.is_file() else []
    if not found:
        expected = f"a file ({', '.join(READERS)}) or a BIDS folder with participants.tsv"
        raise StudyError(Problem(str(path), "", expected, "neither", "Correct the path"))
    return found


def _read(path):
    """The tables of one file."""
    kind = path.suffix.lower()
    if kind not in READERS:
        remedy = "Save it as .xlsx" if kind in (".xls", ".ods") else ""
        expected = f"one of {', '.join(READERS)}"
        raise StudyError(Problem(path.name, "", expected, path.suffix, remedy))
    with refusals(path):
        content = path.read_bytes()
    try:
        found = READERS[kind](path, content)
        several = len(found) > 1
        tables = [
            _table(f"{path.name}:{name}" if several else path.name, *parts)
            for name, parts in found.items()
        ]
    except StudyError:
        raise
    except Exception as error:  # readers of other formats raise errors of every kind
        found = " ".join(str(error).split())[:200] or type(error).__name__
        expected = f"a readable {path.suffix} file"
        raise StudyError(Problem(path.name, "", expected, found)) from None
    return [table for table in tables if not table.cells.empty]


# --- readers: rows of cells, and levels, of each table of a file, by the table's name


def _text(path, content):
    """A text with any separator, and what the JSON file beside it says."""
    if b"\0" in content and content[:2] not in UTF16:
        raise ValueError("null bytes: it is no text, or damaged")
    levels = {n: told["Levels"] for n, told in sidecar(path).items() if told.get("Levels")}
    try:
        text = content.decode("utf-16" if content[:2] in UTF16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return {path.name: (_split(text.rstrip("\x1a \r\n\t")), levels)}


def _split(text):
    """Rows of cells, split where the first line has most of: tab, semicolon, comma, bar, spaces."""
    first = text.partition("\n")[0]
    counts = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in "\t;,|"}
    mark = max(counts, key=counts.get)
    if counts[mark] < 2:
        return [line.split() for line in text.splitlines()]
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))


def _spreadsheet(_path, content):
    """Every sheet that holds a table."""
    options = {"sheet_name": None, "header": None, "dtype": object, "na_filter": False}
    sheets = pd.read_excel(io.BytesIO(content), engine="openpyxl", **options)
    return {n: (s.to_numpy().tolist(),) for n, s in sheets.items() if min(s.shape) > 1}


def _statistics(path, _content):
    """A file of SPSS or Stata."""
    import pyreadstat

    read = pyreadstat.read_sav if path.suffix.lower() == ".sav" else pyreadstat.read_dta
    frame, about = read(str(path))
    return {path.name: (_rows(frame), about.variable_value_labels)}


def _r_data(path, _content):
    """Every data frame of an R file."""
    found = r_objects(path).items()
    return {n: (_rows(table),) for n, table in found if isinstance(table, pd.DataFrame)}


def _rows(frame):
    return [list(frame), *frame.astype(object).to_numpy().tolist()]


READERS = dict.fromkeys((".csv", ".tsv", ".txt", ".dat"), _text) | {".xlsx": _spreadsheet}
READERS |= {".sav": _statistics, ".dta": _statistics, ".rda": _r_data}


# --- cells


def _table(name, rows, levels=()):
    """Rows of cells, the header among them, as a table; rows of numbers alone have no header."""
    width = max(map(len, rows), default=0)
    rows = [[*map(_cell, row), *[""] * (width - len(row))] for row in rows]
    rows = pd.DataFrame(rows, columns=range(width), dtype=str)
    rows = rows[(rows != "").any(axis=1)]
    filled = (rows != "").sum(axis=1)
    rows = rows[(filled > LONELY * filled.max()).cummax()]  # titles stand above the header
    header = rows.iloc[0] if len(rows) else pd.Series(dtype=str)
    headless = header[header != ""].str.fullmatch(NUMBER).all()
    cells = rows if headless else rows.iloc[1:]
    cells.columns = _unique(["" for _ in header] if headless else header)
    cells = cells.reset_index(drop=True)
    cells = cells[[c for c in cells if not (c.startswith("column") and (cells[c] == "").all())]]
    told = {c: {_cell(k): str(w) for k, w in words.items()} for c, words in dict(levels).items()}
    # codes that a header explains: "Group (1 = active, 2 = sham)"
    said = {c: dict(re.findall(r"(\w+)\s*=\s*([^,;=()/]*[^,;=()/\s])", c)) for c in cells}
    said = {c: words for c, words in said.items() if words}
    return Table(name, cells.apply(_plain), said | told)


def _unique(header):
    """Names of columns: those without one by their place, those that come twice with a number."""
    names = []
    for place, name in enumerate(header, 1):
        name = name or f"column{place}"
        names.append(name if name not in names else f"{name}.{place}")
    return names


def _cell(value):
    """A cell as text: whole numbers without .0, dates as 2025-12-31."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", " ".join(str(value).split()))


def _plain(column):
    """Missing as NA; a decimal point for a comma where all cells are numbers then."""
    column = column.mask(column.str.casefold().isin(MISSING), pd.NA)
    given = column.dropna()
    if given.str.fullmatch(r"-?\d*,?\d+").all() and given.str.contains(",").any():
        return column.str.replace(",", ".").map(_cell, na_action="ignore")
    return column


def _dictionary(cells):
    """Fields of a data dictionary, each with the words of its codes: "1, active | 2, sham"."""
    for column in cells.filter(regex="^Choices"):
        for name, text in cells.set_index(DICTIONARY)[column].dropna().items():
            pairs = [part.partition(",") for part in text.split("|")]
            if words := {code.strip(): word.strip() for code, comma, word in pairs if comma}:
                yield name, words
