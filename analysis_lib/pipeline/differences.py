"""What is not the same in two sets of numbers, or in two tables."""

import functools
from dataclasses import asdict, dataclass

import numpy as np

from analysis_lib.pipeline import expected as published
from analysis_lib.pipeline.tolerance import TOLERANCE, counted_draws
from analysis_lib.results.columns import MISSING
from analysis_lib.results.words import shortened


@dataclass(frozen=True)
class Difference:
    """Something that is not as expected: a number, or a table and its column."""

    what: str
    expected: object = None  # None also for a number that has no value
    found: object = None
    by: float | None = None  # absolute; of a column the largest, or that of the sums
    note: str = ""  # which rows, or why there are no two values to show
    tolerances: float = np.inf  # "by" as a multiple of what is allowed, to sort by

    @property
    def has_values(self) -> bool:
        """Whether something was expected and something was found."""
        return not self.note.startswith(("is new", "is missing"))

    @property
    def line(self) -> str:
        """The difference on one line."""
        parts = [self.note] if self.note else []
        if not self.note or self.expected is not None or self.found is not None:
            parts.append(f"{_words(self.expected)} expected, found {_words(self.found)}")
        if self.by is not None and np.isfinite(self.by):
            parts.append(f"by {self.by:.3g}")
        return f"{self.what}: {', '.join(parts)}"

    @property
    def plain(self) -> dict:
        """What JSON can hold of it."""
        kept = {k: v for k, v in asdict(self).items() if k != "tolerances"}
        odd = {k: str(v) for k, v in kept.items() if isinstance(v, float) and not np.isfinite(v)}
        return kept | odd


def _words(value):
    if value is None:
        return "no value"
    if isinstance(value, float):
        return MISSING if np.isnan(value) else f"{value:.10g}"
    return str(value)


def numbers_apart(expected, found) -> list[Difference]:
    """Numbers that are missing, moved or new; what moved most comes first."""
    both = [_number_apart(key, expected[key], found[key]) for key in expected if key in found]
    moved = sorted(filter(None, both), key=lambda d: (-d.tolerances, d.what))
    gone = [Difference(key, note="is missing") for key in expected if key not in found]
    new = [Difference(key, note="is new: none expected") for key in found if key not in expected]
    return [*gone, *moved, *new]


def _number_apart(key, expected, found):
    """A Difference, None if two entries agree."""
    one, other = expected["value"], found["value"]
    if expected["source"] != found["source"]:
        return Difference(key, expected["source"], found["source"], note="another source")
    if one == other:
        return None
    if not all(isinstance(value, int | float) for value in (one, other)):
        return Difference(key, one, other)
    by, allowed = abs(other - one), expected["tolerance"]
    apart = Difference(key, one, other, by, tolerances=by / allowed if allowed else np.inf)
    return None if TOLERANCE.within(by, allowed) else apart


def table_apart_from(name, about, path) -> list[Difference]:
    """How the table ``path`` differs from what is published of it (`expected.describe_table`)."""
    return _table_apart(name, about["columns"], about, published.read_cells(path), _column_apart)


def cells_apart(name, before, path, draws) -> list[Difference]:
    """How the table ``path`` differs from that in ``before``, cell by cell.

    p-values that count one of the numbers of permutations ``draws`` may be one count apart.
    """
    expected = published.read_cells(before)
    about = {"header": list(expected), "rows": len(expected)}
    compare = functools.partial(_cells_of_column_apart, draws=draws)
    return _table_apart(name, expected, about, published.read_cells(path), compare)


def _table_apart(name, expected, about, table, compare):
    """Columns and rows that are missing, new or in another order; each column by ``compare``."""
    header, found, rows = about["header"], list(table.columns), about["rows"]
    wrong = [Difference(f"{name}, {c}", note="is missing") for c in header if c not in found]
    wrong += [Difference(f"{name}, {c}", note="is new") for c in found if c not in header]
    if not wrong and found != header:
        wrong = [Difference(name, ", ".join(header), ", ".join(found), note="order of columns")]
    if rows != len(table):
        return [*wrong, Difference(f"{name}, rows", rows, len(table), abs(rows - len(table)))]
    shared = [column for column in header if column in found]
    apart = (compare(f"{name}, {c}", c, expected[c], table[c]) for c in shared)
    return [*wrong, *filter(None, apart)]


def _column_apart(what, name, about, cells):
    """A Difference between a column and its published description, None if they agree."""
    values = published.numbers_in(name, cells)
    if (values is None) != (about["kind"] == "labels"):
        return Difference(what, note="numbers in the one, text or whole numbers in the other")
    if values is None:
        same = published.describe_labels(cells) == about
        return None if same else Difference(what, note="other text, labels or whole numbers")
    found = published.describe_values(values, about.get("permutations"))
    rows = published.rows_apart(about["cells"], found["cells"])
    by = abs(found["sum"] - about["sum"])
    if not rows and TOLERANCE.within(by, about["tolerance"]):
        return None
    return Difference(what, about["sum"], found["sum"], by, f"{_rows(rows, len(cells))}, sum")


def _rows(rows, total):
    """Which rows moved, as a table counts them with its header as row 1."""
    if not rows:
        return "sum alone"
    return f"{len(rows)} of {total} cells (row {shortened([str(row + 2) for row in rows], 3)})"


def _cells_of_column_apart(what, name, expected, found, draws):
    """A Difference between two columns, None if they agree."""
    one, other = published.numbers_in(name, expected), published.numbers_in(name, found)
    if one is None or other is None:
        return _labels_apart(what, expected.fillna(MISSING), found.fillna(MISSING))
    counted = counted_draws(name, one, draws)
    rows = np.flatnonzero(~TOLERANCE.agrees(one, other, counted))
    if not rows.size:
        return None
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(
            np.abs(other - one), nan=np.inf, posinf=np.inf
        )  # NaN: a number in one alone
    worst = rows[apart[rows].argmax()]
    values = float(one[worst]), float(other[worst]), float(apart[worst])
    return Difference(what, *values, f"{_rows(list(rows), len(one))}, at most in row {worst + 2}")


def _labels_apart(what, expected, found):
    rows = np.flatnonzero((expected != found).to_numpy())
    if not rows.size:
        return None
    note = f"{_rows(list(rows), len(found))}, first"
    return Difference(what, expected.iloc[rows[0]], found.iloc[rows[0]], note=note)
