"""A first mapping, guessed from names and values; what is not certain ends in ?."""

import re
from dataclasses import replace

import pandas as pd

from analysis_lib.importing import columns, names
from analysis_lib.importing.applying import UNASSIGNED
from analysis_lib.importing.mapping import slug
from analysis_lib.importing.reading import event_arm
from analysis_lib.importing.regions import guess_regions, visits_behind
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.contract import STUDIES


def guess(tables, folder) -> dict:
    """The content of import.yml for some tables; what a person is to confirm ends in ?."""
    missing = {table.name: set(columns.missing_codes(table)) for table in tables}
    tables = [replace(t, cells=t.cells.mask(t.cells.isin(missing[t.name]))) for t in tables]
    _refuse_effects(tables)
    seen = [columns.look(table) for table in tables]
    if not any(one.part["scales"] for one in seen):
        seen = [columns.look(table, others=True) for table in tables]
    _ask_for_people(seen)
    seen = _with_event_arms(seen)
    visits, weeks = _visits(seen)
    _drop_doubles(seen)
    arms, study = _arms(seen)
    name = slug(folder)
    name = f"{name}_import" if (STUDIES / f"{name}.yml").exists() else name
    content = {
        "name": name,
        "title": name.replace("_", " "),
        "tables": {one.table.name: one.part for one in seen},
        "missing": sorted(set().union(*missing.values())),
        "visits": visits,
        "weeks": weeks,
        "arms": arms,
    }
    if scales := list(dict.fromkeys(s for one in seen for s in one.part["scales"])):
        about = {scale: names.scale_keys(scale) or _guessed_range(scale, seen) for scale in scales}
        content |= {"scales": about, "primary": _primary(scales)}
    else:
        _ask_for_scales(seen)
    if any("regions" in one.part for one in seen):
        content["imaging"] = guess_regions(seen, visits)
    study |= _covariates(seen)
    return content | ({"study": study} if study else {})


def _refuse_effects(tables):
    for table in tables:
        given = {column.lower() for column in table.cells}
        if "structure" in given and any(c.startswith(("d_", "beta", "t_")) for c in given):
            text = "one row per region: a map without participants"
            remedy = f"Compare it: python -m analysis_lib compare-map {table.name}"
            raise StudyError(Problem(table.name, text=text, remedy=remedy))


def _ask_for_people(seen):
    """Of several tables each one that is used names its participants."""
    for part in (one.part for one in seen if len(seen) > 1):
        used = any(part.get(key) for key in ("participants", "scales", "regions"))
        if part["participant"] is None and used:
            part["participant"] = "?"


def _drop_doubles(seen):
    """A scale that two tables have is taken from the one with a row per visit."""
    for scale in {s for one in seen for s in one.part["scales"]}:
        having = [one for one in seen if scale in one.part["scales"]]
        for one in sorted(having, key=lambda one: one.visit is None)[1:]:
            patterns = list(one.part["scales"].pop(scale).values())
            why = f"{scale} is in another file, too"
            one.part["left_out"].setdefault(why, []).extend(patterns)


# --- visits


def _visits(seen):
    """Codes of each visit, by its name, and the weeks of the visits, as text."""
    told = _told(seen)
    if not told:
        return {"baseline": "?"}, "0, ?"
    weeks, visits = dict(told.values()), {}
    for code, (name, _) in told.items():
        visits.setdefault(name, []).extend([code] if code else [])
    visits = {name: _doubted(seen, codes) for name, codes in visits.items()}
    numbers = [f"{(k if week is None else week):g}" for k, week in enumerate(weeks.values())]
    certain = _are_known(told) and numbers[0] == "0" and len(weeks) > 1
    return visits, ", ".join(numbers) + ("" if certain else " ?")


def _told(seen):
    """Name and week (or None) of each code of a visit, by week if all are known."""
    codes, days = {}, _days(seen)
    for code, label in (pair for one in seen for pair in _codes_of(one).items()):
        codes[code] = codes.get(code) or label
    told = {code: names.week_of(code, label) for code, label in codes.items()}
    for code in [code for code, (_, week) in told.items() if week is None and days.get(code)]:
        week = round(days[code] / 7)
        told[code] = (f"week{week}", float(week)) if week else ("baseline", 0.0)
    baseline = any("baseline" in c for one in seen for c in one.part["scales"].values())
    if told and baseline and all(week for _, week in told.values() if week is not None):
        told = {"": ("baseline", 0.0)} | told
    told = {code: (name or _label(code), week) for code, (name, week) in told.items()}
    return dict(sorted(told.items(), key=lambda pair: pair[1][1])) if _are_known(told) else told


def _are_known(told):
    return all(week is not None for _, week in told.values())


def _codes_of(one):
    """Visits with a score as a table writes them, in order, with their labels.

    They stand in a column, behind the participant, or in the names of columns.
    """
    scored = one.cells[[r.column for r in one.used]]
    if one.visit and one.visit == one.part["participant"]:
        return dict.fromkeys(visits_behind(one.cells[one.visit]), "")
    if one.visit not in one.cells:
        return {r.visit: "" for r in one.used if r.visit and scored[r.column].notna().any()}
    rows = scored.notna().any(axis=1) if one.used else one.cells[one.visit].notna()
    codes = one.cells.loc[rows, one.visit].dropna().unique()
    if all(re.fullmatch(r"-?\d+(?:\.\d+)?", code) for code in codes):
        codes = sorted(codes, key=float)
    words = one.table.levels.get(one.visit, {})
    return {code: words.get(code, words.get(f"ses-{code}", "")) for code in codes}


def _label(code):
    text = re.sub(r"[^A-Za-z0-9]", "", code.removeprefix("ses-"))
    return f"visit{text}" if text.isdecimal() else text or "visit"


def _days(seen):
    """Median of a column of days, by code of the visit."""
    found = {}
    for one in seen:
        column = next((c for c in one.cells if columns.is_named(columns.COLUMNS["days"], c)), None)
        if column and one.visit in one.cells:
            days = pd.to_numeric(one.cells[column], errors="coerce")
            found |= days.groupby(one.cells[one.visit]).median().dropna().to_dict()
    return found


def _doubted(seen, codes):
    """Codes of one visit, in doubt where somebody has two of them."""
    for one in (one for one in seen if len(codes) > 1 and one.visit in one.cells):
        rows = one.cells[one.cells[one.visit].isin(codes)]
        if rows.duplicated(one.part["participant"]).any():
            return [f"{code} ?" for code in codes]
    return codes


# --- arms


def _with_event_arms(seen):
    """Tables with the arms that only the names of REDCap's events tell, if no column does."""
    if any("arm" in one.part.get("participants", {}) for one in seen):
        return seen
    made = []
    for one in seen:
        if one.visit in one.cells and _tells_arms(one.cells[one.visit]):
            people = {"arm": event_arm(one.visit)} | one.part.get("participants", {})
            table, part = one.table.with_event_arms(one.visit), one.part | {"participants": people}
            one = replace(one, table=table, part=part)
        made.append(one)
    return made


def _tells_arms(events):
    arms = events.dropna().str.extract(r"_arm_(\d+)$")[0]
    return arms.notna().all() and arms.nunique() > 1


def _arms(seen):
    """The arms, and what the study file says of people outside them."""
    one = next((one for one in seen if "arm" in one.part.get("participants", {})), None)
    if one is None:
        return ("none ?" if any(map(_may_hold_arms, seen)) else "none"), {}
    people, column = one.people, one.part["participants"]["arm"]
    outside = {
        n: sorted(filter(columns.HEALTHY.fullmatch, people[n].dropna().unique())) for n in people
    }
    outside = {name: words for name, words in outside.items() if words}
    for name, words in outside.items():
        people = people[~people[name].isin(words)]
    if people["arm"].isna().any():
        outside["arm"] = [*outside.get("arm", []), UNASSIGNED]
    given = set(people["arm"].dropna())
    known = one.part.get("values", {}).get("arm", {}).values()
    levels = [word for word in (known or sorted(given)) if word in given]
    arms = _named_arms(levels, one.table.levels.get(column, {}))
    if column == event_arm(one.visit):  # numbers, of which nothing tells the control
        arms["control"] += " ?"
    return arms, {"not_randomised": outside} if outside else {}


def _may_hold_arms(one):
    """Whether a column of two values might be the arm."""
    who = one.part["participant"]
    known = {who, one.visit, *one.part.get("participants", {}).values()}
    return any(
        one.cells[column].nunique() == 2
        and not re.fullmatch(r"column\d+", column)
        and names.read_column(column) is None
        and (who not in one.cells or columns.is_constant(one.cells, who, column))
        for column in one.cells.columns.difference(known, sort=False)
    )


def _named_arms(levels, words):
    """Active arm and control; ? where words do not tell."""
    if len(levels) < 2:
        return "none ?"
    control = [v for v in levels if columns.CONTROL.search(f"{v} {words.get(v, '')}")]
    if len(control) == 1:
        active, *rest = [level for level in levels if level not in control]
        arms = {"active": active + " ?" * bool(rest), "control": control[0]}
    else:
        active, control, *rest = sorted(levels, reverse=set(levels) == {"0", "1"})
        arms = {"active": f"{active} ?", "control": control}
    if all(level.isdecimal() for level in (active, arms["control"])):  # codes name no treatment
        arms |= {"active_name": "active", "control_name": "control"}
    return {"column": "arm"} | arms | ({"left_out": rest} if rest else {})


# --- scales


def _primary(scales):
    """The only scale, or the one clinicians' scale of depression; else in doubt."""
    rated = [scale for scale in scales if names.INSTRUMENTS["order"].get(scale)]
    sure = scales if len(scales) == 1 else rated
    return sure[0] if len(sure) == 1 else f"{(rated or scales)[0]} ?"


def _guessed_range(scale, seen):
    """A range as the scores have it, in doubt."""
    own = [one.cells[r.column] for one in seen for r in one.used if r.scale == scale]
    numbers = pd.to_numeric(pd.concat(own), errors="coerce")
    return {"range": f"{min(0, numbers.min()):g}, {numbers.max():g} ?"}


def _ask_for_scales(seen):
    """Where no scale is known, ask for one in the tables that can hold it."""
    free = [one for one in seen if "regions" not in one.part]
    for one in [one for one in free if one.visit] or free:
        one.part["scales"] = "?"


def _covariates(seen):
    """Age and sex, where everybody has them and they differ."""
    known = [one.people[c] for one in seen for c in ("age", "sex") if c in one.people]
    found = [c.name for c in known if c.notna().all() and c.nunique() > 1]
    return {"covariates": list(dict.fromkeys(found))} if found else {}
