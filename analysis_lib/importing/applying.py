"""A mapping applied to tables: participants, scores by visit, regional change; misfits."""

import re
from dataclasses import dataclass
from functools import reduce

import pandas as pd

from analysis_lib.importing import regions
from analysis_lib.importing.mapping import FILE
from analysis_lib.importing.reading import event_arm
from analysis_lib.importing.unfit import mapping_problems
from analysis_lib.results.problems import Listing, Problem, StudyError
from analysis_lib.study.contract import Scale
from analysis_lib.study.items import item_columns, item_maxima

FIRST = "{first}"  # stands for the code of the first visit
UNASSIGNED = "unassigned"  # arm of people who have none
PERSON = ["participant_id", "column", "value", "file", "source", "row"]  # a fact of a person
SCORE = ["participant_id", "code", "column", "value", "file", "row"]
PLACE = ["participant_id", "visit"]


@dataclass(frozen=True)
class Imported:
    """Tables as they are written; ``keys`` has participant_id by what the source calls a person."""

    people: pd.DataFrame
    scores: dict  # by scale: participant_id, visit, total, item_01, ...
    change: pd.DataFrame | None
    keys: dict
    counts: dict
    misfits: tuple  # cells that do not fit, in words


def apply(mapping, tables) -> Imported:
    """Read tables as a mapping says; a `StudyError` has all that stands in the way."""
    tables = [_with_event_arms(mapping, table) for table in tables]
    if problems := list(mapping_problems(mapping, tables)):
        raise StudyError(problems)
    tables = {t.name: t.cells.mask(t.cells.isin(mapping.missing)) for t in tables}
    used = {n: p for n, p in mapping.tables.items() if p.participants or p.scales or p.regions}
    rows = {name: _rows(part, tables[name]) for name, part in used.items()}
    nobody = [
        f"{name}: row {row} names no participant"
        for name, own in rows.items()
        for row in own.loc[own["name"].isna(), "row"]
    ]
    keys = _keys_of([own["name"] for own in rows.values()])
    rows = {n: own.assign(participant_id=own["name"].map(keys)) for n, own in rows.items()}
    people, problems = _people(mapping, tables, rows, keys)
    scores = {}
    for scale in mapping.own_scales:
        scores[scale], found = _scores(mapping, tables, rows, scale, people)
        problems += found
    if problems:
        raise StudyError(problems)
    change = _change(mapping, tables, rows)
    misfits = [text for scale, table in scores.items() for text in _misfits(mapping, scale, table)]
    unrated = people.loc[~people["participant_id"].isin(rated(scores)["participant_id"])]
    # perhaps another table writes them in another way
    misfits += [*nobody, *(f"{who}: no score in any table" for who in unrated["participant_id"])]
    return Imported(people, scores, change, keys, _counts(tables, people, scores), tuple(misfits))


def _with_event_arms(mapping, table):
    """The table with the arms in its events apart, if the mapping reads them."""
    part = mapping.tables.get(table.name)
    if part and part.visit in table.cells and event_arm(part.visit) in part.participants.values():
        return table.with_event_arms(part.visit)
    return table


# --- who


def _rows(part, cells):
    """What a table calls the participant and the visit of each row, and the row's number."""
    rows = pd.DataFrame({"row": cells.index + 2}, cells.index)
    if part.participant is None:
        return rows.assign(name=[f"{k + 1:02d}" for k in cells.index], code=cells.get(part.visit))
    if part.visit != part.participant:
        return rows.assign(name=cells[part.participant], code=cells.get(part.visit))
    apart = cells[part.participant].map(regions.split_name, na_action="ignore")
    return rows.assign(name=apart.str[0], code=apart.str[1])


def _keys_of(columns):
    """participant_id by name: letters and digits of it; numbers in order where it may be a name.

    The same name with sub- before it is the same participant, and so are 1 and 01 of two tables.
    """
    names_of = [column.dropna().unique() for column in columns]
    plain = {name: re.sub(r"(?i)^sub-", "", name) for own in names_of for name in own}
    short = {name: text.lstrip("0") or "0" for name, text in plain.items()}
    if all(len({short[name] for name in own}) == len(own) for own in names_of):
        longest = {short[name]: plain[name] for name in sorted(plain, key=lambda n: len(plain[n]))}
        plain = {name: longest[short[name]] for name in plain}
    bare = {text: re.sub(r"[^A-Za-z0-9]", "", text) for text in dict.fromkeys(plain.values())}
    apart = len(set(bare.values())) == len(bare)
    if not apart or not all(re.fullmatch(r"(?=.*\d).{1,64}", text) for text in bare.values()):
        digits = max(2, len(str(len(bare))))
        bare = {text: f"{k:0{digits}d}" for k, text in enumerate(bare, 1)}
    return {name: f"sub-{bare[text]}" for name, text in plain.items()}


def _people(mapping, tables, rows, keys):
    """participants.tsv: the first value of each person; two different arms are a problem."""
    given = []
    for name, part in mapping.tables.items():
        for column, source in part.participants.items():
            words = part.values.get(column, {})
            cells = tables[name][source].map(lambda text, w=words: w.get(text, text), "ignore")
            given.append(rows[name].assign(column=column, value=cells, file=name, source=source))
    given = _joined(given, PERSON).dropna(subset=["participant_id", "value"])
    people = given.drop_duplicates(PERSON[:2]).pivot(
        index="participant_id", columns="column", values="value"
    )
    columns = dict.fromkeys(c for part in mapping.tables.values() for c in part.participants)
    people = people.reindex(index=sorted(set(keys.values()), key=_in_order), columns=list(columns))
    if mapping.arms != "none":
        people[mapping.arms.column] = people[mapping.arms.column].fillna(UNASSIGNED)
    people = people.rename_axis(columns=None).reset_index()
    return people, list(_two_arms(given[given["column"] == "arm"]))


def _joined(frames, columns):
    """Frames below one another; an empty one where there are none."""
    return pd.concat(frames or [pd.DataFrame(columns=columns)], ignore_index=True)


def _in_order(name):
    """Names by their numbers."""
    return [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)]


def _two_arms(given):
    """People with two arms: the first arm, and the first row that holds another."""
    first = given.groupby("participant_id")["value"].transform("first")
    other = given.assign(first=first)[given["value"] != first].drop_duplicates("participant_id")
    for (file, source), rows in other.groupby(["file", "source"]):
        told = (
            f"{r.participant_id}: {r.first} and, in row {r.row}, {r.value}"
            for r in rows.itertuples()
        )
        yield Problem(file, source, "one arm per participant", Listing(tuple(told), between="; "))


# --- scores


def _scores(mapping, tables, rows, scale, people):
    """One row per participant and visit with a value: total and items, as text."""
    cells = []
    for name, part in mapping.tables.items():
        if scale in part.scales:
            cells += _cells_of(mapping, part, part.scales[scale], tables[name], rows[name], name)
    long = _joined(cells, SCORE).dropna(subset=["value"])
    problems = list(_not_numbers(long))
    long = _at_visits(mapping, long.dropna(subset=["participant_id"]), people)
    keys = [*PLACE, "column"]
    twice = long[long.duplicated(keys, keep=False)]
    if len(twice):
        found = Listing(tuple(twice[PLACE].agg(" at ".join, axis=1).unique()), "two of {}")
        remedy = f"in {FILE}, under visits, name each code once, or: day2: [CODE if ARM]"
        problems.append(Problem(twice["file"].iloc[0], scale, "one row per visit", found, remedy))
    wide = long.drop_duplicates(keys).pivot(index=PLACE, columns="column", values="value")
    return _with_everybody(mapping, wide.reset_index(), people), problems


def _cells_of(mapping, part, columns, cells, rows, file):
    """Cells of one scale in one table, a frame per column."""
    for pattern in filter(None, (columns.total, columns.items)):
        for column, found in mapping.matching(pattern, cells).items():
            code = rows["code"] if part.visit else found.get("visit", "")
            target = f"item_{int(found['item']):02d}" if "item" in found else "total"
            yield rows.assign(code=code, column=target, value=cells[column], file=file)
    if columns.baseline:
        value = cells[columns.baseline].groupby(rows["participant_id"]).transform("first")
        every = rows.assign(code=FIRST, column="total", value=value, file=file)
        yield every.drop_duplicates("participant_id")


def _not_numbers(long):
    """Cells of scores that are neither numbers nor missing."""
    wrong = long[pd.to_numeric(long["value"], errors="coerce").isna()]
    for file, rows in wrong.groupby("file"):
        found = Listing(tuple(f"row {r.row}: {r.value!r}" for r in rows.itertuples()))
        remedy = f"Correct them, or name what is a missing value in {FILE} (missing: [...])"
        yield Problem(file, "", "scores that are numbers", found, remedy)


def _at_visits(mapping, long, people):
    """Rows with the visit that their code means, for the participant's arm; others are left out."""
    column = "arm" if mapping.arms == "none" else mapping.arms.column
    arm = long["participant_id"].map(people.set_index("participant_id").get(column, pd.Series()))
    visit = pd.Series(pd.NA, long.index, dtype=object)
    for name, code, only in mapping.codes:
        visit[long["code"].eq(code) & (arm.eq(only) if only else True)] = name
    visit[long["code"].eq(FIRST)] = next(iter(mapping.visits))
    return long.assign(visit=visit).dropna(subset=["visit"])


def _with_everybody(mapping, wide, people):
    """Rows in order; a participant who was never rated has one, at the first visit."""
    everybody = people["participant_id"]
    absent = everybody[~everybody.isin(wide["participant_id"])]
    more = pd.DataFrame({"participant_id": absent, "visit": next(iter(mapping.visits))})
    table = by_place(pd.concat([wide, more]), people, mapping)
    return table[[*PLACE, *table.columns.intersection(["total"]), *sorted(item_columns(table))]]


def by_place(table, people, mapping) -> pd.DataFrame:
    """Rows of participants and visits in the order of both."""
    order = {name: k for k, name in enumerate([*people["participant_id"], *mapping.visits])}
    return table.sort_values(PLACE, key=lambda column: column.map(order), ignore_index=True)


# --- regions


def _change(mapping, tables, rows):
    """Percent change by participant and region; None without a table of regions."""
    parts = {n: p for n, p in mapping.tables.items() if p.regions}
    if not parts:
        return None
    read = [_amounts(mapping, part, tables[name], rows[name]) for name, part in parts.items()]
    keys = [c for c in PLACE if c in read[0]]
    table = reduce(lambda one, more: one.merge(more, on=keys, how="outer"), read)
    if next(iter(parts.values())).regions == "percent_change":
        return table
    change = regions.regional_change(table, mapping.imaging["pre"], mapping.imaging["post"])
    return change.dropna(how="all").reset_index()


def _amounts(mapping, part, cells, rows):
    """Numbers of a table of regions, with the participant and the visit of each row."""
    aside = {part.participant, part.visit, *part.participants.values()}
    aside |= {column for columns in part.left_out.values() for column in columns}
    kept = [c for c in cells if c not in aside]
    table = cells[kept].apply(pd.to_numeric, errors="coerce")
    table.columns = [regions.written_name(c, mapping.imaging["atlas"]) for c in kept]
    named = {code: visit for visit, code, _ in mapping.codes}
    place = {"participant_id": rows["participant_id"]}
    place |= {"visit": rows["code"].map(named)} if part.visit else {}
    return pd.DataFrame(place).join(table).dropna(subset=["participant_id"])


# --- what is told


def _misfits(mapping, scale, table):
    """Scores out of their range, and totals that are not the sum of their items, in words."""
    limits, items = {"total": mapping.about(scale)["range"]}, item_columns(table)
    highest = item_maxima(Scale(name=scale, file="x", range=limits["total"]), items)
    limits |= {item: (0, high) for item, high in highest.items()}
    numbers = table.set_index(PLACE).apply(pd.to_numeric)
    for column in numbers:
        low, high = limits[column]
        for (who, visit), value in numbers[column].dropna().items():
            if not low <= value <= high:
                found = f"{column} {value:g}, not {low:g} to {high:g}"
                yield f"{scale}, {who}, {visit}: {found}"
    if items and "total" in numbers:
        both = numbers.assign(sum=numbers[items].sum(axis=1, skipna=False))[
            ["total", "sum"]
        ].dropna()
        for (who, visit), row in both[both["total"] != both["sum"]].iterrows():
            found = f"total {row['total']:g}, but its items add up to {row['sum']:g}"
            yield f"{scale}, {who}, {visit}: {found}"


def rated(scores) -> pd.DataFrame:
    """Participants and visits that have a score, by participant and visit; a pair comes once."""
    return pd.concat([table.dropna(thresh=3)[PLACE] for table in scores.values()]).drop_duplicates()


def _counts(tables, people, scores):
    """Rows read and written."""
    read = {name: f"{len(cells)} rows, {cells.shape[1]} columns" for name, cells in tables.items()}
    written = {scale: len(table.dropna(thresh=3)) for scale, table in scores.items()}
    return read | {"participants": len(people)} | written
