"""A first mapping, guessed from names and values; what is not certain ends in ?."""

import re
from dataclasses import replace

import pandas as pd

from analysis_lib.importing import names
from analysis_lib.importing.mapping import slug
from analysis_lib.importing.reading import event_arm
from analysis_lib.importing.regions import guess_regions, is_region, regional, visits_behind
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.contract import STUDIES

_ONE = {name: "|".join(p) for name, p in names.WORDS["columns"].items()}
ID = names.WORDS["columns"]["participant"]
VISIT, ARM, DAYS = _ONE["visit"], _ONE["arm"], _ONE["days"]
KEPT = {name: _ONE[name] for name in ("age", "sex", "site", "tiv")}
CONTROL, HEALTHY, NO_VALUE = (
    "|".join(names.WORDS["values"][k]) for k in ("control", "healthy", "no_value")
)
BASELINE = names.WORDS["parts"]["baseline"]
MISSING_CODES = names.WORDS["missing_codes"]
NEARLY_ALL = 0.8
MOST_VISITS = 24
ARMS = 6  # a column with more words does not hold the arm


def guess(tables, folder) -> dict:
    """The content of import.yml for some tables; what a person is to confirm ends in ?."""
    missing = {table.name: set(_missing_codes(table)) for table in tables}
    tables = [replace(t, cells=t.cells.mask(t.cells.isin(missing[t.name]))) for t in tables]
    _refuse_effects(tables)
    read = {table.name: _table(table) for table in tables}
    if not any(part["scales"] for part, _ in read.values()):
        read = {table.name: _table(table, others=True) for table in tables}
    parts = {name: part for name, (part, _) in read.items()}
    _refuse_nameless(parts)
    tables = _with_event_arms(tables, parts)
    visits, weeks, named = _visits(tables, parts, {name: own for name, (_, own) in read.items()})
    _drop_doubles(parts)
    name = slug(folder)
    name = f"{name}_import" if (STUDIES / f"{name}.yml").exists() else name
    arms, study = _arms(tables, parts)
    scales = [s for part in parts.values() for s in part.get("scales", {})]
    content = {
        "name": name,
        "title": str(name).replace("_", " "),
        "tables": parts,
        "missing": sorted(set().union(*missing.values())),
        "visits": visits,
        "weeks": weeks,
        "arms": arms,
    }
    if scales := list(dict.fromkeys(scales)):
        content["scales"] = {
            s: names.scale_keys(s) or _guessed_range(s, tables, parts) for s in scales
        }
        content["primary"] = _primary(scales)
    else:
        _ask_for_scales(tables, parts)
    if any("regions" in part for part in parts.values()):
        content["imaging"] = guess_regions(tables, parts, visits, named)
    study |= _covariates(tables, parts)
    return content | ({"study": study} if study else {})


def _missing_codes(table):
    """Numbers that stand for a missing value: labelled so, or far from all others."""
    scored = [c for c in table.cells if names.read_column(c) or _named(KEPT["age"], c)]
    for column in scored:
        for code, word in table.levels.get(column, {}).items():
            if re.fullmatch(NO_VALUE, word.strip(), re.I):
                yield code
    for column in scored:
        numbers = pd.to_numeric(table.cells[column].dropna(), errors="coerce")
        present = [c for c in MISSING_CODES if (table.cells[column] == c).any()]
        rest = numbers[~numbers.isin([float(c) for c in present])]
        if present and len(rest) and rest.notna().all() and rest.between(0, 250).all():
            yield from present


def _refuse_effects(tables):
    for table in tables:
        columns = {column.lower() for column in table.cells}
        if "structure" in columns and any(c.startswith(("d_", "beta", "t_")) for c in columns):
            text = "one row per region: a map without participants"
            remedy = f"Compare it: python -m analysis_lib compare-map {table.name}"
            raise StudyError(Problem(table.name, text=text, remedy=remedy))


def _refuse_nameless(parts):
    """Of several tables each one that is used names its participants."""
    for part in parts.values():
        used = any(part.get(key) for key in ("participants", "scales", "regions"))
        if len(parts) > 1 and part["participant"] is None and used:
            part["participant"] = "?"


def _with_event_arms(tables, parts):
    """Tables with the arms that only the names of REDCap's events tell, if no column does."""
    if any("arm" in part.get("participants", {}) for part in parts.values()):
        return tables
    made = []
    for table in tables:
        events = parts[table.name].get("visit")
        if events in table.cells:
            apart = table.with_event_arms(events)
            arms = apart.cells[event_arm(events)]
            if arms.nunique() > 1 and arms.count() == table.cells[events].count():
                parts[table.name].setdefault("participants", {})["arm"] = event_arm(events)
                table = apart
        made.append(table)
    return made


# --- one table


def _table(table, others=False):
    """What each column of a table is, and what its columns of scores say.

    ``others``: scales that are not known are read, too.
    """
    cells = table.cells
    who = _participant(table)
    visit = _visit_column(cells, who)
    part = {"participant": who} | ({"visit": visit} if visit else {})
    if is_regional := len(regional(cells)) > 0:
        behind = who and visits_behind(cells[who])
        part |= {"visit": who} if not visit and behind else {}
    read = names.read_others(cells) if others and not visit else []
    read = read or names.read_columns(cells, bool(visit), table.name)
    readings = [reading for reading in read if _is_scored(cells[reading.column])]
    part |= _people(table, who, {r.column for r in readings} | {visit})
    if is_regional:
        changes = (cells[regional(cells)].apply(pd.to_numeric, errors="coerce") < 0).any(axis=None)
        part["regions"] = "percent_change" if changes else "amounts"
    part["scales"] = _scales(readings)
    for scale, column in _baselines(table, part, readings).items():
        doubt = " ?" * scale.endswith("?")
        part["scales"][scale.removesuffix(" ?")]["baseline"] = column + doubt
    return part | {"left_out": _left_out(table, part, readings)}, readings


def _named(pattern, column):
    """Whether a column has a name of some kind, however it is spelled: "Patient No." """
    plain = re.sub(r"\W+", "_", re.sub(r"\(.*?\)|\[.*?\]", "", column)).strip("_")
    return bool(re.fullmatch(pattern, plain, re.I))


def _participant(table):
    """Column of the participant: by its name, else the first whose values come several times."""
    cells = table.cells
    whole = [c for c in cells if cells[c].notna().mean() > NEARLY_ALL]  # a last row may say "mean"
    for pattern in ID:
        if named := [c for c in whole if _named(pattern, c)]:
            return named[0]
    first = cells.columns[0]
    if re.match(r"[lr]h\.|measure:", first, re.I):
        return first  # of FreeSurfer's tables
    repeated = [c for c in cells if _repeats(cells, c)] if first == "column1" else []
    return repeated[0] if repeated else None


def _repeats(cells, who):
    """Whether a column can be the participant of a table with a row per visit."""
    return (
        cells[who].notna().all()
        and 2 <= cells[who].nunique() <= len(cells) / 2
        and bool(_unique_with(cells, who))
    )


def _unique_with(cells, who):
    """Columns of few values that, with the participant, tell all rows apart."""
    few = [c for c in cells if c != who and 1 < cells[c].nunique() <= MOST_VISITS]
    return [c for c in few if cells[c].notna().all() and not cells.duplicated([who, c]).any()]


def _visit_column(cells, who):
    """Column of the visit in a table with several rows per participant."""
    if who is None or not cells[who].duplicated().any():
        return None
    apart = _unique_with(cells, who)
    named = [c for c in apart if _named(VISIT, c)]
    named += [c for c in cells if _named(VISIT, c) and c not in named]
    if named:
        told = [c for c in named if all(names.week_of(v)[1] is not None for v in cells[c].dropna())]
        return (told or named)[0]
    if any((reading := names.read_column(c)) and reading.visit for c in cells):
        return None  # in the names of columns; somebody has two rows
    if len(apart) == 1 or (apart and apart[0].startswith("column")):
        return apart[0]
    return f"{apart[0] if apart else ''} ?".strip()


def _is_scored(column):
    """Whether a column holds numbers, or mostly so."""
    given = column.dropna()
    return bool(len(given)) and pd.to_numeric(given, errors="coerce").notna().mean() > 0.5


def _people(table, who, taken):
    """Columns that go to participants.tsv, and the words of their codes."""
    cells, kept = table.cells, {}
    free = [c for c in cells if c not in taken and c != who]
    if arm := _arm_column(table, who, free):
        kept["arm"] = arm
    for name, pattern in KEPT.items():
        found = [c for c in free if _named(pattern, c) and c not in kept.values()]
        kept |= {name: found[0]} if found else {}
    healthy = [c for c in free if c not in kept.values() and _healthy(table, c)]
    kept |= {_plain(c): c for c in healthy}
    values = {name: _words(table, c) for name, c in kept.items()}
    values = {name: words for name, words in values.items() if words}
    return ({"participants": kept} if kept else {}) | ({"values": values} if values else {})


def _plain(column):
    return re.sub(r"\W+", "_", column.lower()).strip("_")


def _words(table, column):
    """Word of each code, where all codes that occur have one."""
    words = table.levels.get(column, {})
    given = set(table.cells[column].dropna())
    coded = all(re.fullmatch(r"[\w.]{1,3}", code) for code in given)
    if not given <= set(words) or not coded or any(re.search("[a-z]{2}", c) for c in given):
        return {}
    return {code: words[code] for code in sorted(given)}


def _healthy(table, column):
    said = {*table.cells[column].dropna(), *table.levels.get(column, {}).values()}
    return len(said) <= 12 and any(re.fullmatch(HEALTHY, word, re.I) for word in said)


def _arm_column(table, who, free):
    """The column that holds the arm: by its words, then by its name."""
    ranked = []
    for column in free:
        named, given = _named(ARM, column), table.cells[column].dropna()
        alike = who is None or table.cells.groupby(who)[column].nunique().le(1).all()
        said = [*given.unique(), *table.levels.get(column, {}).values()]
        control = any(re.search(CONTROL, w, re.I) for w in said if re.search("[a-z]{2}", w, re.I))
        if 2 <= given.nunique() <= ARMS and alike and (named or control):
            ranked.append((_healthy(table, column) - 2 * control - named, len(ranked), column))
    return min(ranked)[2] if ranked else None


def _scales(readings):
    """Patterns of the columns of each scale; items that are not the whole scale are left out."""
    found = {}
    for reading in readings:
        kind = "items" if "{item}" in reading.pattern else "total"
        of_scale = found.setdefault(reading.scale, {})
        of_scale.setdefault(kind, reading.pattern)
    for scale, columns in found.items():
        items = {r.item for r in readings if r.scale == scale and r.item}
        whole = len(items) == names.INSTRUMENTS["items"].get(scale)
        if "items" in columns and "total" in columns and not whole:
            del columns["items"]
        elif "items" in columns and not whole:  # their sum is not the scale's total
            columns["items"] += " ?"
    return found


def _baselines(table, part, readings):
    """Columns with a baseline score in every row, by scale, in a table with a row per visit."""
    cells, visit, who = table.cells, part.get("visit"), part["participant"]
    if visit not in cells or any(names.week_of(v)[1] == 0 for v in cells[visit].dropna()):
        return {}
    totals = {r.scale: r.column for r in readings if r.item is None}
    named = [c for c in cells if re.search(BASELINE, c, re.I) and _is_scored(cells[c])]
    named = [c for c in named if cells.groupby(who)[c].nunique().le(1).all()]
    return {_of_scale(column, totals, cells): column for column in named[:1] if totals}


def _of_scale(column, totals, cells):
    """Scale of a baseline: by its name, by a column of change from it, or the only one."""
    said = names.read_column(column)
    if said and said.scale in totals:
        return said.scale
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    for scale, total in totals.items():
        change = numbers[total] - numbers[column]
        if any(c not in (total, column) and change.equals(numbers[c]) for c in cells):
            return scale
    return next(iter(totals)) + ("" if len(totals) == 1 else " ?")


def _left_out(table, part, readings):
    """Columns that are not copied, by the reason."""
    used = {part["participant"], part.get("visit"), *part.get("participants", {}).values()}
    patterns = {p for columns in part["scales"].values() for p in columns.values()}
    used |= {r.column for r in readings if r.pattern in patterns}
    reasons = {}
    for column in table.cells:
        if column not in used and (why := _reason(table.cells[column], column, part, readings)):
            reasons.setdefault(why, []).append(column)
    return reasons


def _reason(column, name, part, readings):
    given = column.dropna()
    if given.empty:
        return "empty"
    if list(given) in ([*map(str, range(len(column)))], [*map(str, range(1, len(column) + 1))]):
        return "numbers of the rows"
    if any(r.column == name for r in readings):
        return "not the whole scale, or named twice"
    if given.str.fullmatch(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}").mean() > 0.5:
        return "dates"
    if name.endswith("_complete") or name.startswith("redcap_"):
        return "REDCap's own"
    if not _is_scored(column):
        words = given.nunique() > 8 or given.str.len().max() > 40
        return "words, perhaps names" if words else "words"
    if "regions" in part and is_region(name):
        return None
    return "numbers that no known scale is named for"


# --- all tables


def _codes(tables, parts, read):
    """Visits as they are written, in order, with their labels; only those with a score."""
    found = {}
    for table in tables:
        part, cells = parts[table.name], table.cells
        used = {p for columns in part["scales"].values() for p in columns.values()}
        readings = [r for r in read[table.name] if r.pattern in used]
        scored = cells[[r.column for r in readings]]
        if (column := part.get("visit")) in cells and column != part["participant"]:
            rows = scored.notna().any(axis=1) if len(readings) else cells[column].notna()
            words = table.levels.get(column, {})
            codes = cells.loc[rows, column].dropna().unique()
            if all(re.fullmatch(r"-?\d+(?:\.\d+)?", code) for code in codes):
                codes = sorted(codes, key=float)
            found |= {c: found.get(c) or words.get(c, words.get(f"ses-{c}", "")) for c in codes}
        elif column and column == part["participant"]:
            found |= {code: found.get(code, "") for code in visits_behind(cells[column])}
        else:
            given = [r.visit for r in readings if r.visit and scored[r.column].notna().any()]
            found |= {code: found.get(code, "") for code in given}
    return found


def _visits(tables, parts, read):
    """Name and codes of each visit, their weeks, and the name of each code."""
    codes = _codes(tables, parts, read)
    if not codes:
        return {"baseline": "?"}, "0, ?", {}
    told = {code: names.week_of(code, label) for code, label in codes.items()}
    days = _days(tables, parts)
    for code in codes:
        if told[code][1] is None and days.get(code):
            week = round(days[code] / 7)
            told[code] = (f"week{week}", float(week)) if week else ("baseline", 0.0)
    baseline = any("baseline" in c for part in parts.values() for c in part["scales"].values())
    if baseline and all(week for _, week in told.values() if week is not None):
        told = {"": ("baseline", 0.0)} | told
    certain = all(week is not None for _, week in told.values())
    if certain:
        told = dict(sorted(told.items(), key=lambda pair: pair[1][1]))
    visits, named = {}, {}
    for code, (name, _) in told.items():
        label = name or _label(code)
        visits.setdefault(label, []).extend([code] if code else [])
        named[code] = label
    _mark_doubles(tables, parts, visits)
    weeks = {named[code]: week for code, (_, week) in told.items()}
    numbers = [f"{(k if w is None else w):g}" for k, w in enumerate(weeks.values())]
    certain = certain and next(iter(weeks.values())) == 0 and len(weeks) > 1
    return visits, ", ".join(numbers) + ("" if certain else " ?"), named


def _label(code):
    text = re.sub(r"[^A-Za-z0-9]", "", code.removeprefix("ses-"))
    return f"visit{text}" if text.isdecimal() else text or "visit"


def _days(tables, parts):
    """Median of a column of days, by code of the visit."""
    found = {}
    for table in tables:
        visit = parts[table.name].get("visit")
        column = next((c for c in table.cells if _named(DAYS, c)), None)
        if column and visit in table.cells:
            days = pd.to_numeric(table.cells[column], errors="coerce")
            found |= days.groupby(table.cells[visit]).median().dropna().to_dict()
    return found


def _mark_doubles(tables, parts, visits):
    """Codes that share a visit are in doubt where somebody has both."""
    for name, codes in visits.items():
        for table in tables:
            part = parts[table.name]
            column = part.get("visit")
            if len(codes) > 1 and column in table.cells:
                rows = table.cells[table.cells[column].isin(codes)]
                if rows.duplicated(part["participant"]).any():
                    visits[name] = [f"{code} ?" for code in codes]


def _drop_doubles(parts):
    """A scale that two tables have is taken from the one with a row per visit."""
    for scale in {s for part in parts.values() for s in part["scales"]}:
        having = [part for part in parts.values() if scale in part["scales"]]
        having.sort(key=lambda part: "visit" not in part)
        for part in having[1:]:
            patterns = list(part["scales"].pop(scale).values())
            part["left_out"].setdefault(f"{scale} is in another file, too", []).extend(patterns)


def _arms(tables, parts):
    """The arms, and what the study file says of people outside them."""
    for table in tables:
        part = parts[table.name]
        column = part.get("participants", {}).get("arm")
        if column:
            outside = _not_randomised(table, part)
            cells = table.cells
            for name, values in outside.items():
                own = cells[part["participants"][name]].replace(
                    part.get("values", {}).get(name, {})
                )
                cells = cells[~own.isin(values)]
            words = part.get("values", {}).get("arm", {})
            levels = [words.get(code, code) for code in sorted(cells[column].dropna().unique())]
            if _some_without(table, part, cells, column):
                outside = outside | {"arm": ["unassigned"]}
            study = {"not_randomised": outside} if outside else {}
            arms = _named_arms(levels, table.levels.get(column, {}))
            if column == event_arm(
                part.get("visit")
            ):  # numbers, of which nothing tells the control
                arms["control"] += " ?"
            return arms, study
    others = [c for table in tables for c in _two_valued(table, parts[table.name])]
    return ("none ?" if others else "none"), {}


def _some_without(table, part, cells, column):
    who = part["participant"]
    if who is None:
        return bool(cells[column].isna().any())
    return bool(cells.groupby(who)[column].count().eq(0).any())


def _not_randomised(table, part):
    found = {}
    for name, column in part["participants"].items():
        words = part.get("values", {}).get(name, {})
        given = [words.get(v, v) for v in table.cells[column].dropna().unique()]
        found[name] = sorted(v for v in given if re.fullmatch(HEALTHY, v, re.I))
    return {name: values for name, values in found.items() if values}


def _two_valued(table, part):
    """Named columns of two values that might be the arm."""
    cells, who = table.cells, part["participant"]
    known = {who, part.get("visit"), *part.get("participants", {}).values()}
    for column in cells:
        alike = who is None or cells.groupby(who)[column].nunique().le(1).all()
        free = column not in known and not re.fullmatch(r"column\d+", column)
        if free and alike and cells[column].nunique() == 2 and names.read_column(column) is None:
            yield column


def _named_arms(levels, words):
    """Active arm and control; ? where words do not tell."""
    control = [v for v in levels if re.search(CONTROL, f"{v} {words.get(v, '')}", re.I)]
    if len(levels) < 2:
        return "none ?"
    if len(control) == 1:
        rest = [v for v in levels if v not in control]
        active = rest[0] if len(rest) == 1 else f"{rest[0]} ?"
        arms = {"column": "arm", "active": active, "control": control[0]}
    else:
        ordered = sorted(levels, reverse=set(levels) == {"0", "1"})
        rest = ordered[1:]
        arms = {"column": "arm", "active": f"{ordered[0]} ?", "control": rest[0]}
    return arms | ({"left_out": rest[1:]} if rest[1:] else {})


def _primary(scales):
    """The one clinicians' scale of depression, if there is one; else in doubt."""
    rated = [s for s in scales if names.INSTRUMENTS["order"].get(s)]
    return (
        scales[0]
        if len(scales) == 1
        else rated[0]
        if len(rated) == 1
        else f"{(rated or scales)[0]} ?"
    )


def _guessed_range(scale, tables, parts):
    """A range as the scores have it, in doubt."""
    regex = [
        names.as_regex(columns["total"], ".+")
        for part in parts.values()
        for name, columns in part["scales"].items()
        if name == scale
    ]
    own = [t.cells[c] for t in tables for c in t.cells if re.fullmatch(regex[0], c)]
    numbers = pd.to_numeric(pd.concat(own), errors="coerce")
    return {"range": f"{min(0, numbers.min()):g}, {numbers.max():g} ?"}


def _ask_for_scales(tables, parts):
    """Where no scale is known, ask for one in the tables that can hold it."""
    long = [t.name for t in tables if parts[t.name].get("visit") and "regions" not in parts[t.name]]
    for name in long or [t.name for t in tables if "regions" not in parts[t.name]]:
        parts[name]["scales"] = "?"


def _covariates(tables, parts):
    """Age and sex, where everybody has them and they differ."""
    found = []
    for table in tables:
        part = parts[table.name]
        for name in ("age", "sex"):
            column = part.get("participants", {}).get(name)
            if column and name not in found:
                who = part["participant"]
                own = table.cells if who is None else table.cells.groupby(who).first()
                values = own[column]
                if values.notna().all() and values.nunique() > 1:
                    found.append(name)
    return {"covariates": found} if found else {}
