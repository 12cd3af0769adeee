"""A mapping applied to tables: participants, scores by visit, regional change; misfits."""

import re
from dataclasses import dataclass, field

import pandas as pd

from analysis_lib.importing import names, regions
from analysis_lib.importing.mapping import FILE
from analysis_lib.importing.reading import event_arm
from analysis_lib.results.problems import Listing, Problem, StudyError

FIRST = "{first}"  # stands for the code of the first visit
UNASSIGNED = "unassigned"  # arm of people who have none
NOBODY = pd.DataFrame(columns=["who", "value", "column", "file", "source"])


@dataclass(frozen=True)
class Imported:
    """Tables as they are written; ``keys`` has participant_id by what the source calls a person."""

    people: pd.DataFrame
    scores: dict  # by scale: participant_id, visit, total, item_01, ...
    change: pd.DataFrame | None
    keys: dict
    counts: dict = field(default_factory=dict)
    misfits: tuple = ()  # cells that do not fit, in words


def apply(mapping, tables) -> Imported:
    """Read tables as a mapping says; a `StudyError` has all that stands in the way."""
    tables = [_with_event_arms(mapping, table) for table in tables]
    _refuse(list(_absent(mapping, tables)))
    tables = {t.name: t.cells.mask(t.cells.isin(mapping.missing)) for t in tables}
    used = {n: p for n, p in mapping.tables.items() if p.participants or p.scales or p.regions}
    who = {name: _who(part, tables[name]) for name, part in used.items()}
    nobody = [
        f"{name}: row {row + 2} names no participant"
        for name, column in who.items()
        for row in column.index[column.isna()]
    ]
    keys = _keys_of(who.values())
    who = {name: column.map(keys) for name, column in who.items()}
    people, problems = _people(mapping, tables, who, keys)
    scores = {}
    for scale in dict.fromkeys(s for part in mapping.tables.values() for s in part.scales):
        scores[scale], found = _scores(mapping, tables, who, scale, people)
        problems += found
    _refuse(problems)
    change = _change(mapping, tables, who)
    misfits = [text for scale, table in scores.items() for text in _misfits(mapping, scale, table)]
    misfits += [*nobody, *_unrated(people, scores)]
    return Imported(people, scores, change, keys, _counts(tables, people, scores), tuple(misfits))


def _with_event_arms(mapping, table):
    """The table with the arms in its events apart, if the mapping reads them."""
    part = mapping.tables.get(table.name)
    if part and part.visit in table.cells and event_arm(part.visit) in part.participants.values():
        return table.with_event_arms(part.visit)
    return table


def _refuse(problems):
    if problems:
        raise StudyError(problems)


def _absent(mapping, tables):
    """Files and columns that import.yml names and that are not there."""
    given = {table.name: table.cells for table in tables}
    for name in given.keys() - mapping.tables.keys():
        remedy = f"Describe it there, or remove {FILE} to have it guessed anew"
        yield Problem(name, text=f"not among the tables of {FILE}", remedy=remedy)
    for name, part in mapping.tables.items():
        if name not in given:
            yield Problem(FILE, f"tables.{name}", "this file", ", ".join(given), "Name it, too")
            continue
        wanted = [part.participant, part.visit, *part.participants.values()]
        wanted += [c.baseline for c in part.scales.values()]
        wanted = [column for column in wanted if column and column not in given[name]]
        for scale, columns in part.scales.items():
            for pattern in filter(None, (columns.total, columns.items)):
                if not _matching(mapping, pattern, given[name]):
                    wanted.append(f"{pattern} ({scale})")
        for column in wanted:
            yield Problem(name, "", f"column {column!r}", Listing(tuple(given[name])))
    scales = dict.fromkeys(s for part in mapping.tables.values() for s in part.scales)
    yield from _inconsistent(mapping, scales)
    if not scales:
        remedy = "Name the file that holds its scores, too, or its columns under tables"
        yield Problem(FILE, "tables", "a clinical scale", "none", remedy)
    for scale in scales:
        if "range" not in about_scale(mapping, scale):
            remedy = f"write, under scales: {scale}: {{range: [0, 52]}}"
            yield Problem(FILE, f"scales.{scale}", text="its range is not known", remedy=remedy)


def _inconsistent(mapping, scales):
    """Keys of import.yml that do not go together."""
    n = len(mapping.visits)
    if len(mapping.weeks) != n:
        yield Problem(FILE, "weeks", f"{n}, one for each of visits", str(len(mapping.weeks)))
    if mapping.primary and scales and mapping.primary not in scales:
        yield Problem(FILE, "primary", f"one of {', '.join(scales)}", mapping.primary)
    columns = {name for part in mapping.tables.values() for name in part.participants}
    if mapping.arms != "none" and mapping.arms.column not in columns:
        remedy = f"write, in a table: participants: {{{mapping.arms.column}: COLUMN}}"
        yield Problem(FILE, "arms.column", "a column under participants", "none", remedy)
    regional = any(part.regions == "amounts" for part in mapping.tables.values())
    wanted = ("atlas", *(("pre", "post") if regional else ()))
    lacking = [key for key in wanted if key not in mapping.imaging]
    if lacking and any(part.regions for part in mapping.tables.values()):
        yield Problem(FILE, "imaging", f"keys {', '.join(wanted)}", f"no {', '.join(lacking)}")


def about_scale(mapping, scale) -> dict:
    """Keys of a scale in the study file."""
    keys = names.scale_keys(scale) | mapping.scales.get(scale, {})
    if isinstance(keys.get("range"), str):
        keys["range"] = [float(number) for number in keys["range"].split(",")]
    return keys


# --- who


def _who(part, cells):
    """What a table calls the participant of each row."""
    if part.participant is None:
        return pd.Series([f"{k:02d}" for k in range(1, len(cells) + 1)], cells.index)
    column = cells[part.participant]
    if part.visit == part.participant:
        return column.map(lambda text: regions.split_name(text)[0], na_action="ignore")
    return column


def _keys_of(columns):
    """participant_id by name: letters and digits of it; numbers in order where it may be a name.

    The same name with sub- before it is the same participant, and so are 1 and 01 of two tables.
    """
    names_of = [column.dropna().unique() for column in columns]
    plain = {name: re.sub(r"(?i)^sub-", "", name) for own in names_of for name in own}
    short = {name: text.lstrip("0") or "0" for name, text in plain.items()}
    if all(len({short[name] for name in own}) == len(own) for own in names_of):
        longest = {short[name]: text for name, text in sorted(plain.items(), key=_length)}
        plain = {name: longest[short[name]] for name in plain}
    bare = {text: re.sub(r"[^A-Za-z0-9]", "", text) for text in dict.fromkeys(plain.values())}
    apart = len(set(bare.values())) == len(bare)
    if apart and all(re.fullmatch(r"(?=.*\d).{1,64}", text) for text in bare.values()):
        return {name: f"sub-{bare[text]}" for name, text in plain.items()}
    digits = max(2, len(str(len(bare))))
    numbers = {text: f"sub-{k:0{digits}d}" for k, text in enumerate(bare, 1)}
    return {name: numbers[text] for name, text in plain.items()}


def _length(pair):
    return len(pair[1])


def _people(mapping, tables, who, keys):
    """participants.tsv: the first value of each person; two different arms are a problem."""
    given = []
    for name, part in mapping.tables.items():
        for column, source in part.participants.items():
            words = part.values.get(column, {})
            cells = tables[name][source].map(lambda text, w=words: w.get(text, text), "ignore")
            about = {"file": name, "column": column, "source": source, "row": cells.index + 2}
            given.append(pd.DataFrame({"who": who[name], "value": cells, **about}))
    given = pd.concat(given).dropna(subset=["who", "value"]) if given else NOBODY
    first = given.drop_duplicates(["who", "column"])
    order = dict.fromkeys(c for part in mapping.tables.values() for c in part.participants)
    people = first.pivot(index="who", columns="column", values="value").reindex(
        index=sorted(set(keys.values()), key=_in_order), columns=list(order)
    )
    if mapping.arms != "none" and mapping.arms.column in people:
        people[mapping.arms.column] = people[mapping.arms.column].fillna(UNASSIGNED)
    people = people.rename_axis(index="participant_id", columns=None).reset_index()
    return people, list(_two_arms(given[given["column"] == "arm"]))


def _two_arms(given):
    """People with two arms: the first arm, and the first row that holds another."""
    first = given.groupby("who")["value"].transform("first")
    other = given.assign(first=first)[given["value"] != first].drop_duplicates("who")
    for (file, source), rows in other.groupby(["file", "source"]):
        told = [f"{r.who}: {r.first} and, in row {r.row}, {r.value}" for r in rows.itertuples()]
        yield Problem(file, source, "one arm per participant", Listing(tuple(told), between="; "))


def _in_order(name):
    """Names by their numbers."""
    return [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)]


# --- scores


def _codes(mapping):
    """Pairs of a code and an arm (or None) that mean a visit."""
    for visit, codes in mapping.visits.items():
        for text in codes:
            code, _, arm = text.partition(" if ")
            yield visit, code.strip(), arm.strip() or None


def _matching(mapping, pattern, columns):
    """Visit code and item of each column that fits a pattern, by column."""
    codes = sorted({code for _, code, _ in _codes(mapping)}, key=len, reverse=True)
    regex = names.as_regex(pattern, "|".join(map(re.escape, codes)) or "(?!)")
    found = {column: re.fullmatch(regex, column) for column in columns}
    return {column: match.groupdict() for column, match in found.items() if match}


def _scores(mapping, tables, who, scale, people):
    """One row per participant and visit with a value: total and items, as text."""
    rows = []
    for name, part in mapping.tables.items():
        if scale in part.scales:
            rows += _cells_of(mapping, part, part.scales[scale], tables[name], who[name], name)
    long = pd.DataFrame(rows, columns=["participant_id", "code", "column", "value", "file", "row"])
    problems = list(_not_numbers(long))
    long = _at_visits(mapping, long.dropna(subset=["value", "participant_id"]), people)
    keys = ["participant_id", "visit", "column"]
    twice = long[long.duplicated(keys, keep=False)]
    if len(twice):
        found = Listing(tuple(twice[keys[:2]].agg(" at ".join, axis=1).unique()), "two of {}")
        remedy = f"in {FILE}, under visits, name each code once, or: day2: [CODE if ARM]"
        problems.append(Problem(twice["file"].iloc[0], scale, "one row per visit", found, remedy))
        long = long.drop_duplicates(keys)
    wide = long.pivot(index=keys[:2], columns="column", values="value").reset_index()
    return _with_everybody(mapping, wide, people), problems


def _cells_of(mapping, part, columns, cells, who, file):
    """Cells of one scale in one table: participant, code of the visit, column, value, place."""
    in_rows = part.visit and part.visit in cells
    visit = cells[part.visit] if in_rows else None
    if in_rows and part.visit == part.participant:
        visit = visit.map(lambda text: regions.split_name(text)[1], na_action="ignore")
    for kind in ("total", "items"):
        pattern = getattr(columns, kind)
        for column, found in (_matching(mapping, pattern, cells) if pattern else {}).items():
            code = visit if in_rows else pd.Series(found.get("visit", ""), cells.index)
            target = "total" if kind == "total" else f"item_{int(found['item']):02d}"
            parts = (who, code, [target] * len(cells), cells[column], [file] * len(cells))
            yield from zip(*parts, cells.index + 2, strict=True)
    if columns.baseline:
        first = who.drop_duplicates().index
        values = cells[columns.baseline].groupby(who).transform("first")
        for k in first:
            yield who[k], FIRST, "total", values[k], file, k + 2


def _not_numbers(long):
    """Cells of scores that are neither numbers nor missing."""
    given = long[long["value"].notna()]
    wrong = given[pd.to_numeric(given["value"], errors="coerce").isna()]
    for file, rows in wrong.groupby("file"):
        found = Listing(tuple(f"row {r.row}: {r.value!r}" for r in rows.itertuples()))
        remedy = f"Correct them, or name what is a missing value in {FILE} (missing: [...])"
        yield Problem(file, "", "scores that are numbers", found, remedy)


def _at_visits(mapping, long, people):
    """Rows with the visit that their code means, for the participant's arm; others are left out."""
    column = "arm" if mapping.arms == "none" else mapping.arms.column
    arm = long["participant_id"].map(people.set_index("participant_id").get(column, pd.Series()))
    visit = pd.Series(pd.NA, long.index, dtype=object)
    for name, code, only in _codes(mapping):
        visit[long["code"].eq(code) & (arm.eq(only) if only else True)] = name
    visit[long["code"].eq(FIRST)] = next(iter(mapping.visits))
    return long.assign(visit=visit).dropna(subset=["visit"])


def _with_everybody(mapping, wide, people):
    """Rows in order; a participant who was never rated has one, at the first visit."""
    absent = people.loc[~people["participant_id"].isin(wide["participant_id"]), "participant_id"]
    more = pd.DataFrame({"participant_id": absent, "visit": next(iter(mapping.visits))})
    table = pd.concat([wide, more], ignore_index=True)
    order = {who: k for k, who in enumerate(people["participant_id"])}
    visits = {visit: k for k, visit in enumerate(mapping.visits)}
    places = [table["participant_id"].map(order), table["visit"].map(visits)]
    table = table.iloc[pd.DataFrame({0: places[0], 1: places[1]}).sort_values([0, 1]).index]
    items = sorted(c for c in table if c.startswith("item_"))
    total = ["total"] if "total" in table else []
    return table[["participant_id", "visit", *total, *items]].reset_index(drop=True)


# --- regions


def _change(mapping, tables, who):
    """Percent change by participant and region; None without a table of regions."""
    parts = {n: p for n, p in mapping.tables.items() if p.regions}
    if not parts:
        return None
    read = [_amounts(mapping, part, tables[name], who[name]) for name, part in parts.items()]
    keys = [c for c in ("participant_id", "visit") if c in read[0]]
    table = read[0]
    for more in read[1:]:
        table = table.merge(more, on=keys, how="outer")
    if next(iter(parts.values())).regions == "percent_change":
        return table
    ends = mapping.imaging
    change = regions.regional_change(table, ends["pre"], ends["post"])
    return change.dropna(how="all").reset_index()


def _amounts(mapping, part, cells, who):
    """Numbers of a table of regions, with the participant and the visit of each row."""
    aside = {part.participant, part.visit, *part.participants.values()}
    aside |= {column for columns in part.left_out.values() for column in columns}
    kept = [c for c in cells if c not in aside]
    table = cells[kept].apply(pd.to_numeric, errors="coerce")
    table.columns = [regions.written_name(c, mapping.imaging["atlas"]) for c in kept]
    table.insert(0, "participant_id", who)
    if part.visit:
        behind = part.visit == part.participant
        code = cells[part.visit].map(lambda t: regions.split_name(t)[1] if behind else t)
        named = {code: visit for visit, code, _ in _codes(mapping)}
        table.insert(1, "visit", code.map(named))
    return table.dropna(subset=["participant_id"])


# --- what is told


def _misfits(mapping, scale, table):
    """Scores out of their range, and totals that are not the sum of their items, in words."""
    from analysis_lib.study.contract import Scale
    from analysis_lib.study.items import item_columns, item_maxima

    about = about_scale(mapping, scale)
    items = item_columns(table)
    highest = item_maxima(Scale(name=scale, file="x", range=about["range"]), items)
    limits = {"total": about["range"]} | {item: (0, high) for item, high in highest.items()}
    numbers = table.drop(columns=["participant_id", "visit"]).apply(pd.to_numeric)
    for column in numbers:
        low, high = limits[column]
        for row in table.index[numbers[column].notna() & ~numbers[column].between(low, high)]:
            found = f"{column} {numbers[column][row]:g}"
            yield f"{_place(scale, table, row)}: {found}, not {low:g} to {high:g}"
    if items and "total" in numbers:
        sums = numbers[items].sum(axis=1, skipna=False)
        for row in table.index[
            sums.notna() & numbers["total"].notna() & (sums != numbers["total"])
        ]:
            total = numbers["total"][row]
            found = f"total {total:g}, but its items add up to {sums[row]:g}"
            yield f"{_place(scale, table, row)}: {found}"


def _unrated(people, scores):
    """Participants without any score: perhaps another table writes them in another way."""
    rated = pd.concat([table.dropna(thresh=3)["participant_id"] for table in scores.values()])
    absent = people.loc[~people["participant_id"].isin(rated), "participant_id"]
    return [f"{who}: no score in any table" for who in absent]


def _place(scale, table, row):
    return f"{scale}, {table['participant_id'][row]}, {table['visit'][row]}"


def _counts(tables, people, scores):
    """Rows read and written."""
    found = {name: f"{len(cells)} rows, {cells.shape[1]} columns" for name, cells in tables.items()}
    return (
        found
        | {"participants": len(people)}
        | {
            scale: int(table.drop(columns=["participant_id", "visit"]).notna().any(axis=1).sum())
            for scale, table in scores.items()
        }
    )
