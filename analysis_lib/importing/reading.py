"""Tables as people have them: spreadsheets, text, SPSS, Stata, R, REDCap, BIDS; cells as text."""

import csv
import datetime
import io
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from analysis_lib.results.problems import Problem, StudyError, refusals
from analysis_lib.study.tables import NOT_MISSING, sidecar

TEXT = (".csv", ".tsv", ".txt", ".dat")
SUFFIXES = (*TEXT, ".xlsx", ".sav", ".dta", ".rda")
MISSING = {"", "n/a", "#n/a", "#null!", *NOT_MISSING} - {"none"}  # "none" may be an arm
LONELY = 0.5  # of a header's cells that must be filled; above it stand titles
DICTIONARY = "Variable / Field Name"  # begins a data dictionary of REDCap


@dataclass(frozen=True)
class Table:
    """Cells as text, missing ones as NA; what the file says of columns and of their codes."""

    name: str
    cells: pd.DataFrame
    labels: dict = field(default_factory=dict)  # by column
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

    Data dictionaries of REDCap give labels to the columns of the others.
    """
    paths = [path for file in files for path in _paths(Path(file))]
    tables = [table for path in paths for table in _read(path)]
    if twice := [t.name for k, t in enumerate(tables) if t.name in {u.name for u in tables[:k]}]:
        remedy = "Rename one"
        raise StudyError(Problem(twice[0], "", "files of different names", "two", remedy))
    said = [_dictionary(table.cells) for table in tables if DICTIONARY in table.cells]
    found = [_explained(table, said) for table in tables if DICTIONARY not in table.cells]
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
        expected = f"a file ({', '.join(SUFFIXES)}) or a BIDS folder with participants.tsv"
        raise StudyError(Problem(str(path), "", expected, "neither", "Correct the path"))
    return found


def _read(path):
    """The tables of one file."""
    readers = {".xlsx": _spreadsheet, ".sav": _statistics, ".dta": _statistics, ".rda": _r_data}
    reader = readers.get(path.suffix.lower())
    if reader is None and path.suffix.lower() not in TEXT:
        remedy = "Save it as .xlsx" if path.suffix.lower() in (".xls", ".ods") else ""
        raise StudyError(
            Problem(path.name, "", f"one of {', '.join(SUFFIXES)}", path.suffix, remedy)
        )
    with refusals(path):
        content = path.read_bytes()
    try:
        tables = list((reader or _text)(path, content))
    except StudyError:
        raise
    except Exception as error:  # readers of other formats raise errors of every kind
        found = " ".join(str(error).split())[:200] or type(error).__name__
        expected = f"a readable {path.suffix} file"
        raise StudyError(Problem(path.name, "", expected, found)) from None
    return [table for table in tables if not table.cells.empty]


def _text(path, content):
    """A text with any separator; a first row of numbers alone is no header."""
    if b"\0" in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("null bytes: it is no text, or damaged")
    rows = _split(_decoded(content).rstrip("\x1a \r\n\t"))
    about = sidecar(path)
    labels = {name: told.get("Description", "") for name, told in about.items()}
    levels = {name: told["Levels"] for name, told in about.items() if told.get("Levels")}
    yield _table(path.name, rows, labels, levels)


def _decoded(content):
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _split(text):
    """Rows of cells, split where the first line has most of: tab, semicolon, comma, bar, spaces."""
    first = text.partition("\n")[0]
    counts = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in "\t;,|"}
    mark = max(counts, key=counts.get)
    if counts[mark] < 2:
        return [line.split() for line in text.splitlines()]
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))


def _spreadsheet(path, content):
    """Every sheet that holds a table."""
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), data_only=True)
    found = {sheet.title: [*sheet.iter_rows(values_only=True)] for sheet in book.worksheets}
    found = {name: rows for name, rows in found.items() if len(rows) > 1 and len(rows[0]) > 1}
    for name, rows in found.items():
        yield _table(path.name if len(found) == 1 else f"{path.name}:{name}", rows)


def _statistics(path, _content):
    """A file of SPSS or Stata, with its labels."""
    import pyreadstat

    read = pyreadstat.read_sav if path.suffix.lower() == ".sav" else pyreadstat.read_dta
    frame, about = read(str(path))
    rows = [list(frame), *frame.astype(object).itertuples(index=False, name=None)]
    labels = {name: label for name, label in about.column_names_to_labels.items() if label}
    coded = about.variable_value_labels
    levels = {n: {_cell(c): str(w) for c, w in words.items()} for n, words in coded.items()}
    yield _table(path.name, rows, labels, levels)


def _r_data(path, _content):
    """Every data frame of an R file."""
    import warnings

    import rdata

    with warnings.catch_warnings():
        # a tibble is read as the data frame that it is
        warnings.filterwarnings("ignore", "Missing constructor for R class", UserWarning)
        found = rdata.read_rda(path)
    found = {name: frame for name, frame in found.items() if isinstance(frame, pd.DataFrame)}
    for name, frame in found.items():
        rows = [list(frame), *frame.astype(object).itertuples(index=False, name=None)]
        yield _table(path.name if len(found) == 1 else f"{path.name}:{name}", rows)


def _table(name, rows, labels=None, levels=None):
    """Rows of cells, the header among them, as a table."""
    rows = [[_cell(value) for value in row] for row in rows]
    width = max(map(len, rows), default=0)
    rows = [row + [""] * (width - len(row)) for row in rows if any(row)]
    full = max((sum(map(bool, row)) for row in rows), default=0)
    start = next((k for k, row in enumerate(rows) if sum(map(bool, row)) > LONELY * full), 0)
    rows = rows[start:] or [[]]
    headless = all(_is_number(cell) for cell in rows[0] if cell)
    names = [f"column{k + 1}" for k in range(width)] if headless else _unique(rows[0])
    cells = pd.DataFrame(rows[0 if headless else 1 :], columns=names, dtype=str)
    cells = cells[[c for c in cells if not (c.startswith("column") and (cells[c] == "").all())]]
    cells = cells.apply(_plain)
    said = {column: _levels_in(column) for column in cells}
    levels = {
        c: {_cell(k): str(w) for k, w in words.items()} for c, words in (levels or {}).items()
    }
    return Table(name, cells, labels or {}, {c: w for c, w in said.items() if w} | levels)


def _unique(header):
    """Names of columns: those without one by their place, those that come twice with a number."""
    names = []
    for place, name in enumerate(header, 1):
        name = " ".join(name.split()) or f"column{place}"
        names.append(name if name not in names else f"{name}.{place}")
    return names


def _cell(value):
    """A cell as text: whole numbers without .0, dates as 2025-12-31."""
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    text = " ".join(str(value).split())
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)


def _plain(column):
    """Missing as NA; a decimal point for a comma where all cells are numbers then."""
    column = column.mask(column.str.casefold().isin(MISSING), pd.NA)
    given = column.dropna()
    if given.str.fullmatch(r"-?\d*,?\d+").all() and given.str.contains(",").any():
        return column.str.replace(",", ".").map(_cell, na_action="ignore")
    return column


def _is_number(text):
    return bool(re.fullmatch(r"-?\d*[.,]?\d+(?:[eE][-+]?\d+)?", text))


def _levels_in(column):
    """Codes that a header explains: "Group (1 = active, 2 = sham)"."""
    return dict(re.findall(r"(\w+)\s*=\s*([^,;=()/]*[^,;=()/\s])", column))


def _dictionary(cells):
    """Labels and levels, by field, of a data dictionary."""
    labels = cells.set_index(DICTIONARY).get("Field Label", pd.Series(dtype=str)).dropna()
    choices = next((c for c in cells if c.startswith("Choices")), None)
    levels = {}
    if choices:
        for name, text in cells.set_index(DICTIONARY)[choices].dropna().items():
            pairs = [part.partition(",") for part in text.split("|")]
            levels[name] = {k.strip(): v.strip() for k, comma, v in pairs if comma}
    return labels.to_dict(), {name: words for name, words in levels.items() if words}


def _explained(table, said):
    labels, levels = dict(table.labels), dict(table.levels)
    for more_labels, more_levels in said:
        labels |= {name: text for name, text in more_labels.items() if name in table.cells}
        levels |= {name: words for name, words in more_levels.items() if name in table.cells}
    return Table(table.name, table.cells, labels, levels)
