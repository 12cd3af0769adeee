"""What stands in the way of an import: a mapping that names what is not there, or is at odds."""

from analysis_lib.importing.mapping import FILE
from analysis_lib.results.problems import Listing, Problem


def mapping_problems(mapping, tables):
    """Files and columns that import.yml names and that are not there; keys that do not fit."""
    given = {table.name: table.cells for table in tables}
    for name in given.keys() - mapping.tables.keys():
        remedy = f"Describe it there, or remove {FILE} to have it guessed anew"
        yield Problem(name, text=f"not among the tables of {FILE}", remedy=remedy)
    for name, part in mapping.tables.items():
        if name not in given:
            yield Problem(FILE, f"tables.{name}", "this file", ", ".join(given), "Name it, too")
            continue
        for column in _absent(mapping, part, given[name]):
            yield Problem(name, "", f"column {column!r}", Listing(tuple(given[name])))
    yield from _contradictions(mapping)
    for scale in mapping.own_scales:
        if "range" not in mapping.about(scale):
            remedy = f"write, under scales: {scale}: {{range: [0, 52]}}"
            yield Problem(FILE, f"scales.{scale}", text="its range is not known", remedy=remedy)


def _absent(mapping, part, cells):
    """Columns of a table that the mapping names and that are not there."""
    wanted = [part.participant, part.visit, *part.participants.values()]
    wanted += [columns.baseline for columns in part.scales.values()]
    yield from (column for column in wanted if column and column not in cells)
    for scale, columns in part.scales.items():
        for pattern in filter(None, (columns.total, columns.items)):
            if not mapping.matching(pattern, cells):
                yield f"{pattern} ({scale})"


def _contradictions(mapping):
    """Keys of import.yml that do not go together."""
    n, scales = len(mapping.visits), mapping.own_scales
    if len(mapping.weeks) != n:
        yield Problem(FILE, "weeks", f"{n}, one for each of visits", str(len(mapping.weeks)))
    if mapping.primary and scales and mapping.primary not in scales:
        yield Problem(FILE, "primary", f"one of {', '.join(scales)}", mapping.primary)
    columns = {name for part in mapping.tables.values() for name in part.participants}
    if mapping.arms != "none" and mapping.arms.column not in columns:
        remedy = f"write, in a table: participants: {{{mapping.arms.column}: COLUMN}}"
        yield Problem(FILE, "arms.column", "a column under participants", "none", remedy)
    kinds = {part.regions for part in mapping.tables.values()} - {None}
    wanted = ("atlas", "pre", "post") if "amounts" in kinds else ("atlas",)
    lacking = [key for key in wanted if key not in mapping.imaging]
    if kinds and lacking:
        yield Problem(FILE, "imaging", f"keys {', '.join(wanted)}", f"no {', '.join(lacking)}")
    if not scales:
        remedy = "Name the file that holds its scores, too, or its columns under tables"
        yield Problem(FILE, "tables", "a clinical scale", "none", remedy)
