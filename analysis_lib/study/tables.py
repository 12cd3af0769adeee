"""Tables of a study: read as text, every cell checked, problems named by file and row."""

import csv
import difflib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from analysis_lib.results.files import read_json
from analysis_lib.results.problems import SHOWN, Listing, Problem, StudyError, refusals

MISSING = "n/a"
IMPORT = "A table with a column per visit is read by: python -m analysis_lib import-study FILE"

NOT_MISSING = {"na", "nan", "n.a.", "none", "null", "missing", "-", ".", "?"}  # in other programs


NO_TABLE = (pd.errors.ParserError, pd.errors.EmptyDataError)


def is_decimal(values):
    """Whether each text is a number with a decimal comma."""
    return values.str.fullmatch(r"\s*-?\d+,\d+\s*")


def numeric_if_all_are(column):
    """A column of numbers, if all its texts are numbers; else as it is."""
    numbers = pd.to_numeric(column, errors="coerce")
    return column if (numbers.isna() & column.notna()).any() else numbers.astype(float)


def bare_id(text):
    """A participant or session without prefix, as written where nothing is wrong with it."""
    return re.sub(r"(?i)^s(?:ub|es)-", "", text.strip())


def read_tsv(study, where, needed):
    """Rows of a study's table as text, its columns there; StudyError otherwise."""
    table = read_optional(study, where, needed)
    if table is None:
        hint = "Simulate it: python -m analysis_lib simulate FOLDER" if study.simulated else ""
        none = "none" if hint else "none."
        raise StudyError(Problem(where, "", f"file expected in {study.root}", none, hint))
    if table.empty:
        rows = "participant" if where == "participants.tsv" else "participant and visit"
        raise StudyError(Problem(where, "", f"rows expected, one a {rows}", "none", "Fill it in"))
    return table


def read_optional(study, where, needed):
    """Rows of a study's table as text, perhaps none; None where there is no file."""
    path = study.root / where
    if not path.is_file():
        return None
    table = renamed(study, read_text_table(path, Path(where).as_posix()))
    if missing := [missing_column(study, name, table) for name in needed if name not in table]:
        raise StudyError(missing)
    return table


def read_text_table(path, where):
    """A tab-separated file as text; StudyError says what other kind of file it is."""
    options = {"dtype": str, "na_values": [MISSING], "keep_default_na": False}
    try:
        with refusals(path):
            text = path.read_bytes().decode("utf-8-sig")
        _check_cells(text)
        table = pd.read_csv(io.StringIO(text), sep="\t", skip_blank_lines=False, **options)
    except (UnicodeDecodeError, csv.Error, *NO_TABLE) as error:
        raise StudyError(_no_table(path, where, error)) from None
    table.attrs["file"] = where
    return table[(table != "").any(axis=1)]  # blank lines count in row numbers, no further


def read_any_table(path, **options):
    """A table with tabs or, in a .csv, commas, as pandas reads it; StudyError where it is none."""
    path = Path(path)
    with refusals(path):
        content = path.read_bytes()
    try:
        text = io.StringIO(content.decode("utf-8-sig"))
        return pd.read_csv(text, sep="," if path.suffix == ".csv" else "\t", **options)
    except (UnicodeDecodeError, *NO_TABLE) as error:
        raise StudyError(_no_table(path, path.name, error)) from None


def renamed(study, table):
    """Rows under the names that the study is read under: pseudonyms, or as they are."""
    if study.names and "participant_id" in table:
        column = table["participant_id"].map(lambda who: study.names.get(who, who))
        return table.assign(participant_id=column)
    return table


def sidecar(path) -> dict:
    """What the JSON file beside a table says of each column; nothing where there is none."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    about = read_json(beside)
    if not isinstance(about, dict):
        raise StudyError(Problem(beside.name, "", "columns and what they hold", repr(about)[:60]))
    return {name: told for name, told in about.items() if isinstance(told, dict)}


def declared_levels(path):
    """Levels of the columns that the JSON file beside a table describes, as text."""
    given = {name: told.get("Levels") for name, told in sidecar(path).items()}
    return {k: list(map(str, v)) for k, v in given.items() if v and isinstance(v, dict | list)}


def _no_table(path, where, error):
    found = error.args[0] if isinstance(error.args[0], Listing) else Listing((str(error).strip(),))
    text = found.after("a table in UTF-8, tabs between columns, expected, found: ")
    return Problem(where, text=text, remedy=_how_to_save(path, error))


def _check_cells(text):
    """Refuse a first line that is not one of names with tabs between, and surplus cells."""
    if "\0" in text:
        raise csv.Error("null bytes. It is damaged, or no text")
    header, *rows = csv.reader(io.StringIO(text), delimiter="\t") if text else [[]]
    other = {",": "commas", ";": "semicolons"}
    if len(header) == 1 and (found := [word for c, word in other.items() if c in header[0]]):
        raise pd.errors.ParserError(f"{' and '.join(found)} between columns")
    nameless = [str(k) for k, name in enumerate(header, 1) if not name.strip()]
    if nameless and len(header) > 1:
        where = f"no name over column {', '.join(nameless)}"
        raise pd.errors.ParserError(f"{where}. Delete the column, if it is empty, or name it")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice and header != [""]:
        raise pd.errors.ParserError(f"two columns named {', '.join(twice)}. Keep one")
    longer = [str(k) for k, row in enumerate(rows, 2) if len(row) > len(header) and any(row)]
    if longer:
        columns = f"rows with more cells than the header has columns ({len(header)}): row {{}}"
        remedy = "Delete what lies to the right of the table"
        raise pd.errors.ParserError(Listing(tuple(longer), f"{columns}. {remedy}"))


def _how_to_save(path, error):
    """What to do about a file of another kind, which its first bytes tell."""
    start = path.read_bytes()[:2]
    if start in (b"PK", b"\xd0\xcf"):
        return "It is a spreadsheet: save it as text, tab-delimited, UTF-8"
    if start in (b"\xff\xfe", b"\xfe\xff"):
        return "It is in UTF-16: save it as UTF-8"
    if "new-line character" in str(error):
        return "Its lines end as on old Macintoshes (CR): save it with line ends of Unix or Windows"
    if "field limit" in str(error):
        return "Is a quotation mark not closed? Delete quotation marks, and shorten the cell"
    other = isinstance(error, UnicodeDecodeError) or "between columns" in str(error)
    return "Save it as text, tab-delimited, UTF-8" if other else ""


def missing_column(study, name, table):
    """The problem of a column that is not there, with the nearest name."""
    near = difflib.get_close_matches(name, list(table), n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    remedy = f"{guess}Rename it in the file or in {study.path.name}"
    if name == "session_id":  # a row per participant, perhaps, with a column per visit
        remedy = f"{remedy}. {IMPORT}"
    return Problem(table.attrs["file"], "", f"column '{name}'", ", ".join(table), remedy)


def text_column(pattern, expected, meant=()):
    """Check of a column: every text matches a pattern."""
    check = pa.Check.str_matches(pattern, error=expected)
    return pa.Column(str, check, metadata={"values": [m for m in meant if re.match(pattern, m)]})


def one_of(values, expected, nullable=False):
    """Check of a column: every text is one of those expected."""
    check = pa.Check.isin(values, error=expected)
    return pa.Column(str, check, nullable=nullable, metadata={"values": list(values)})


def number_column(low, high):
    """Check of a column: every number lies in a range."""
    check = pa.Check.in_range(low, high, error=f"a number from {low:g} to {high:g}")
    return pa.Column(float, check, nullable=True)


def check_table(table, columns, numeric=(), keys=()):
    """The table with numbers for text; a StudyError has a problem for each kind of mistake."""
    checked, found = table_problems(table, columns, numeric)
    if found := found or (duplicate_problems(table, keys) if keys else []):
        raise StudyError(found)
    return checked


def table_problems(table, columns, numeric=()):
    """The table with numbers for text, and a problem for each kind of mistake in a column."""
    found = []
    for column in table:
        required = column in columns and not columns[column].nullable
        expected = "a value" if required else f"a value or {MISSING}"
        found += cell_problems(table, table[column] == "", column, expected)
    numbers = {
        c: pd.to_numeric(table[c].replace("", pd.NA), errors="coerce").astype(float)
        for c in numeric
    }
    for column, values in numbers.items():
        wrong = values.isna() & table[column].notna() & (table[column] != "")
        found += cell_problems(table, wrong, column, "a number")
    checked = table.assign(**numbers)
    try:
        pa.DataFrameSchema(columns).validate(checked, lazy=True)
    except pa.errors.SchemaErrors as errors:
        told = errors.failure_cases["failure_case"].map(lambda value: value == "")
        found += _schema_problems(checked, errors.failure_cases[~told], columns, table)
    return checked, list(dict.fromkeys(found))


def _schema_problems(table, cases, columns, text):
    for (column, check), group in cases.groupby(["column", "check"], sort=False):
        wrong = table.index.isin(group["index"])
        if check == "not_nullable":  # non-numbers and empty cells have been reported
            wrong = wrong & text[column].isna()
        expected = "a value" if check == "not_nullable" else check
        allowed = (columns[column].metadata or {}).get("values", ())
        yield from cell_problems(table, wrong, column, expected, allowed=allowed)


def cell_problems(table, wrong, column, expected, values=None, allowed=(), warning=""):
    """One problem that names the rows (line numbers of the file) in which cells are wrong.

    None where no row is. ``values`` are what was found, by default the column itself.
    """
    rows, values = list(table.index[wrong]), table[column] if values is None else values
    if not rows:
        return []
    found, hint = _rows_text(table, rows, values), _hint(values[rows], allowed)
    return [Problem(table.attrs["file"], column, expected, found, hint, warning=warning)]


def _rows_text(table, rows, values):
    alike = {_quote(value) for value in values[rows]}
    if len(rows) == len(table) > SHOWN and len(alike) == 1:
        return f"{alike.pop()} in every row"
    quoted = (f"row {i + 2}{_who(table, i)}: {_quote(values[i])}" for i in rows)
    return Listing(tuple(quoted), between="; ")


def _hint(values, allowed):
    """What to write instead, where the values tell what was meant."""
    texts = [value for value in values.dropna().unique() if isinstance(value, str)]
    hints = []
    if any(text.strip().casefold() in NOT_MISSING for text in texts):
        hints.append(f"Missing is written {MISSING}")
    if any(is_decimal(pd.Series(texts, dtype=str))):
        hints.append("Write a decimal point, not a comma")
    meant = {plain_number(value): value for value in reversed([str(value) for value in allowed])}
    near = list(
        dict.fromkeys(meant[plain_number(text)] for text in texts if plain_number(text) in meant)
    )
    if near and not hints:
        more = " and so on" if len(near) > 2 else ""
        hints.append(f"did you mean {' or '.join(map(repr, near[:2]))}{more}?")
    return ". ".join(hints)


def plain_number(text):
    """What is left of a word without capitals, spaces, hyphens, prefix and leading zeros."""
    return re.sub(r"[\s_-]+", "", bare_id(text)).casefold().lstrip("0")


def _who(table, row):
    names = [c for c in ("participant_id", "session_id") if c in table]
    return f" ({', '.join(str(table.loc[row, name]) for name in names)})"


def _quote(value):
    if pd.isna(value):
        return MISSING
    return f"{value:g}" if isinstance(value, float | np.floating) else repr(value)


def duplicate_problems(table, keys):
    """Problems of rows that share their keys."""
    twice = table.duplicated(keys, keep=False) & table[keys].notna().all(axis=1)
    return cell_problems(table, twice, keys[0], f"each {' and '.join(keys)} once")
