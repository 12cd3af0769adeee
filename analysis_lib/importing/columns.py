"""What each column of one table is, guessed from its name and its values."""

import re
from dataclasses import dataclass

import pandas as pd

from analysis_lib.importing import names
from analysis_lib.importing.reading import Table
from analysis_lib.importing.regions import is_region, regional, visits_behind

COLUMNS = {name: "|".join(patterns) for name, patterns in names.WORDS["columns"].items()}
KEPT = ("age", "sex", "site", "tiv")  # columns of participants.tsv beside the arm
CONTROL, HEALTHY, NO_VALUE = (
    re.compile("|".join(names.WORDS["values"][kind]), re.I)
    for kind in ("control", "healthy", "no_value")
)
NEARLY_ALL = 0.8
MOST_VISITS = 24
ARMS = 6  # a column with more words does not hold the arm


@dataclass(frozen=True)
class Look:
    """A table, what is guessed of it for import.yml, and what its columns of scores say."""

    table: Table
    part: dict
    readings: list

    @property
    def cells(self) -> pd.DataFrame:
        """Cells of the table."""
        return self.table.cells

    @property
    def visit(self) -> str | None:
        """Column of the visit."""
        return self.part.get("visit")

    @property
    def used(self) -> list:
        """Readings of the columns that are read."""
        patterns = {p for columns in self.part["scales"].values() for p in columns.values()}
        return [reading for reading in self.readings if reading.pattern in patterns]

    @property
    def people(self) -> pd.DataFrame:
        """What goes to participants.tsv, a row per participant, words for codes."""
        words = self.part.get("values", {})
        kept = self.part.get("participants", {})
        people = pd.DataFrame({n: self.cells[c].replace(words.get(n, {})) for n, c in kept.items()})
        who = self.part["participant"]
        return people if who not in self.cells else people.groupby(self.cells[who]).first()


def look(table, others=False) -> Look:
    """Guess what each column of a table is; ``others``: scales that are not known are read, too."""
    cells, who = table.cells, _participant(table.cells)
    visit, areas = _visit_column(cells, who), regional(cells)
    if areas and who and not visit and visits_behind(cells[who]):
        visit = who
    in_rows = visit not in (None, who)
    read = names.read_others(cells) if others and not in_rows else []
    read = read or names.read_columns(cells, in_rows, table.name)
    readings = [reading for reading in read if _is_scored(cells[reading.column])]
    part = {"participant": who} | ({"visit": visit} if visit else {})
    taken = {who, *(r.column for r in readings)} | ({visit} if in_rows else set())
    part |= _people(table, who, taken)
    if areas:
        changes = (cells[areas].apply(pd.to_numeric, errors="coerce") < 0).any(axis=None)
        part["regions"] = "percent_change" if changes else "amounts"
    part["scales"] = _scales(readings)
    found = Look(table, part, readings)
    if in_rows and visit in cells:
        _add_baseline(found)
    part["left_out"] = _left_out(found)
    return found


def missing_codes(table):
    """Numbers that stand for a missing value: labelled so, or far from all others."""
    for column in table.cells:
        if not (names.read_column(column) or is_named(COLUMNS["age"], column)):
            continue
        cells, words = table.cells[column], table.levels.get(column, {})
        yield from (code for code, word in words.items() if NO_VALUE.fullmatch(word.strip()))
        present = [code for code in names.WORDS["missing_codes"] if (cells == code).any()]
        numbers = pd.to_numeric(cells[~cells.isin(present)].dropna(), errors="coerce")
        if len(numbers) and numbers.between(0, 250).all():
            yield from present


def is_named(pattern, column) -> bool:
    """Whether a column has a name of some kind, however it is spelled: "Patient No." """
    plain = re.sub(r"\W+", "_", re.sub(r"\(.*?\)|\[.*?\]", "", column)).strip("_")
    return bool(re.fullmatch(pattern, plain, re.I))


def is_constant(cells, who, column) -> bool:
    """Whether no participant has two values in a column."""
    return who is None or bool(cells.groupby(who)[column].nunique().le(1).all())


def _is_scored(column):
    """Whether a column holds numbers, or mostly so."""
    return bool(pd.to_numeric(column.dropna(), errors="coerce").notna().mean() > 0.5)


# --- participant and visit


def _participant(cells):
    """Column of the participant: by its name, else the first whose values come several times."""
    whole = [c for c in cells if cells[c].notna().mean() > NEARLY_ALL]  # a last row may say "mean"
    for pattern in names.WORDS["columns"]["participant"]:
        if named := [c for c in whole if is_named(pattern, c)]:
            return named[0]
    first = cells.columns[0]
    if re.match(r"[lr]h\.|measure:", first, re.I):
        return first  # of FreeSurfer's tables
    nameless = [c for c in cells if first == "column1" and cells[c].notna().all()]
    several = [c for c in nameless if 2 <= cells[c].nunique() <= len(cells) / 2]
    return next((c for c in several if _unique_with(cells, c)), None)


def _unique_with(cells, who):
    """Columns of few values that, with the participant, tell all rows apart."""
    few = [c for c in cells if c != who and 1 < cells[c].nunique() <= MOST_VISITS]
    return [c for c in few if cells[c].notna().all() and not cells.duplicated([who, c]).any()]


def _visit_column(cells, who):
    """Column of the visit in a table with several rows per participant."""
    if who is None or not cells[who].duplicated().any():
        return None
    apart = _unique_with(cells, who)
    if named := sorted(
        (c for c in cells if is_named(COLUMNS["visit"], c)), key=lambda c: c not in apart
    ):
        told = [c for c in named if all(names.week_of(v)[1] is not None for v in cells[c].dropna())]
        return (told or named)[0]
    if any((reading := names.read_column(c)) and reading.visit for c in cells):
        return None  # in the names of columns; somebody has two rows
    if len(apart) == 1 or (apart and apart[0].startswith("column")):
        return apart[0]
    return f"{apart[0] if apart else ''} ?".strip()


# --- people


def _people(table, who, taken):
    """Columns that go to participants.tsv, and the words of their codes."""
    free = [c for c in table.cells if c not in taken]
    arm = _arm_column(table, who, free)
    kept = {"arm": arm} if arm else {}
    for name in KEPT:
        found = [c for c in free if is_named(COLUMNS[name], c) and c not in kept.values()]
        kept |= {name: found[0]} if found else {}
    healthy = [c for c in free if c not in kept.values() and _tells_healthy(_said(table, c))]
    kept |= {re.sub(r"\W+", "_", c.lower()).strip("_"): c for c in healthy}
    values = {name: words for name, c in kept.items() if (words := _words(table, c))}
    return ({"participants": kept} if kept else {}) | ({"values": values} if values else {})


def _said(table, column):
    """What a column says: its values, and the words for them."""
    return {*table.cells[column].dropna(), *table.levels.get(column, {}).values()}


def _tells_healthy(said):
    return len(said) <= 12 and any(map(HEALTHY.fullmatch, said))


def _words(table, column):
    """Word of each code, where all codes that occur have one."""
    words = table.levels.get(column, {})
    given = set(table.cells[column].dropna())
    coded = all(re.fullmatch(r"[\w.]{1,3}", c) and not re.search("[a-z]{2}", c) for c in given)
    return {code: words[code] for code in sorted(given)} if coded and given <= set(words) else {}


def _arm_column(table, who, free):
    """The column that holds the arm: by its words, then by its name."""
    doubts = {}
    for column in free:
        named, said = is_named(COLUMNS["arm"], column), _said(table, column)
        words = [word for word in said if re.search("[a-z]{2}", word, re.I)]
        control = any(map(CONTROL.search, words))
        few = 2 <= table.cells[column].nunique() <= ARMS
        if few and (named or control) and is_constant(table.cells, who, column):
            doubts[column] = _tells_healthy(said) - 2 * control - named
    return min(doubts, key=doubts.get, default=None)


# --- scales


def _scales(readings):
    """Patterns of the columns of each scale; items that are not the whole scale are left out."""
    found, items = {}, {}
    for reading in readings:
        kind = "items" if "{item}" in reading.pattern else "total"
        found.setdefault(reading.scale, {}).setdefault(kind, reading.pattern)
        items.setdefault(reading.scale, set()).add(reading.item)
    for scale, columns in found.items():
        whole = len(items[scale] - {None}) == names.INSTRUMENTS["items"].get(scale)
        if "items" in columns and not whole:
            if "total" in columns:
                del columns["items"]
            else:  # their sum is not the scale's total
                columns["items"] += " ?"
    return found


def _add_baseline(seen):
    """Name the column with a baseline score in every row, in a table with a row per visit."""
    cells, who, scales = seen.cells, seen.part["participant"], seen.part["scales"]
    totals = {r.scale: r.column for r in seen.readings if r.item is None}
    baseline = names.WORDS["parts"]["baseline"]
    named = [c for c in cells if re.search(baseline, c, re.I) and _is_scored(cells[c])]
    column = next((c for c in named if is_constant(cells, who, c)), None)
    if (
        not totals
        or not column
        or any(names.week_of(v)[1] == 0 for v in cells[seen.visit].dropna())
    ):
        return
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    reading = names.read_column(column)
    for scale, total in totals.items():
        change = numbers[total] - numbers[column]
        others = [c for c in cells if c not in (total, column)]
        if (reading and reading.scale == scale) or any(change.equals(numbers[c]) for c in others):
            scales[scale]["baseline"] = column
            return
    scales[next(iter(totals))]["baseline"] = column + " ?" * (len(totals) > 1)


# --- what is left out


def _left_out(seen):
    """Columns that are not copied, by the reason."""
    kept = {seen.part["participant"], seen.visit, *seen.part.get("participants", {}).values()}
    kept |= {r.column for r in seen.used}
    kept |= {columns.get("baseline") for columns in seen.part["scales"].values()}
    reasons = {}
    for column in seen.cells:
        if column not in kept and (why := _reason(seen, column)):
            reasons.setdefault(why, []).append(column)
    return reasons


def _reason(seen, name):
    cells = seen.cells[name]
    given = cells.dropna()
    if given.empty:
        return "empty"
    if any(list(given) == [str(k + first) for k in range(len(cells))] for first in (0, 1)):
        return "numbers of the rows"
    if any(reading.column == name for reading in seen.readings):
        return "not the whole scale, or named twice"
    if given.str.fullmatch(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}").mean() > 0.5:
        return "dates"
    if name.endswith("_complete") or name.startswith("redcap_"):
        return "REDCap's own"
    if not _is_scored(cells):
        words = given.nunique() > 8 or given.str.len().max() > 40
        return "words, perhaps names" if words else "words"
    if "regions" in seen.part and is_region(name):
        return None
    return "numbers that no known scale is named for"
