"""What names say: the scale, visit and item of a column, the week of a visit."""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

WORDS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
INSTRUMENTS = pd.read_csv(
    Path(__file__).with_name("instruments.tsv"), sep="\t", index_col="name", keep_default_na=False
)
WEEKS = {"week": 1, "day": 1 / 7, "month": 365.25 / 84}

_PARTS = WORDS["parts"]
_UNIT = "|".join(_PARTS[unit] for unit in WEEKS)
_NUMBER = rf"(?:{_UNIT}|{_PARTS['numbered']})[-_. ]?\d{{1,3}}"
_UNNUMBERED = f"{_PARTS['zero']}|{_PARTS['later']}"
VISIT = rf"(?:ses[-_ ])?(?:{_NUMBER}|\d{{1,3}}[-_. ]?(?:{_UNIT})|{_UNNUMBERED})"
_GAP = r"[-_. :()]*"
_TOTAL = f"(?:{_PARTS['total']})"
_ITEM = rf"(?:{_PARTS['item']})?[-_. ]?(?P<item>\d{{1,2}})"
_RESTS = [  # what may stand behind the name of a scale
    rf"{_TOTAL}?{_GAP}(?P<visit>{VISIT})?{_GAP}{_TOTAL}?",
    rf"{_ITEM}(?:{_GAP}(?P<visit>{VISIT}))?",
    rf"(?P<visit>{VISIT}){_GAP}{_ITEM}",
    r"(?P<first>\d{1,2})[-_. ](?P<second>\d{1,2})",
    rf"(?P<visit>\d{{1,3}}){_GAP}{_TOTAL}",
    rf"{_TOTAL}{_GAP}(?P<visit>\d{{1,3}})",
]
_BEFORE = rf"(?:(?P<before>{VISIT}){_GAP})?"
_OTHER = re.compile(rf"{_BEFORE}(?P<key>[a-z][\w -]*?){_GAP}(?P<visit>{VISIT})?{_GAP}", re.I)
_KEYS = (
    INSTRUMENTS["keys"].str.split().explode().sort_values(key=lambda k: -k.str.len(), kind="stable")
)
_KEYS = [(key.replace("-", "[-_. ]?"), name) for name, key in _KEYS.items()]  # the longest first


@dataclass(frozen=True)
class Reading:
    """A column of scores: its scale, the visit and item in its name, the pattern of its kind."""

    column: str
    scale: str
    pattern: str
    visit: str | None = None
    item: int | None = None


def scale_keys(name) -> dict:
    """What the study file says of a known scale: range, direction, cut-off of remission."""
    if name not in INSTRUMENTS.index:
        return {}
    known = INSTRUMENTS.loc[name]
    keys = {"range": [int(known["low"]), int(known["high"])]}
    keys |= {"remission_at_most": int(known["remission"])} if known["remission"] else {}
    return keys | ({"better": "higher"} if known["better"] == "higher" else {})


@cache
def _patterns(numbered):
    """Names of columns of scores: what may stand before, the scale, what stands behind.

    ``numbered`` is whether a number may belong to the scale's name.
    """
    keys = "|".join(k for k, _ in _KEYS if numbered or not k[-1].isdecimal())
    ends = [*(rf"(?![a-z]){_GAP}{rest}" for rest in _RESTS), _GAP + _RESTS[0]]
    return [re.compile(f"{_BEFORE}(?P<key>{keys}){end}{_GAP}", re.I) for end in ends]


@cache
def read_column(column, numbered=True) -> Reading | None:
    """What a column's name says; None where it names no scale that is known."""
    found = next((match for one in _patterns(numbered) if (match := one.fullmatch(column))), None)
    if found is None:
        return None
    scale = next(n for key, n in _KEYS if re.fullmatch(key, found["key"], re.I))
    return _reading(column, scale, found)


def read_others(columns) -> list[Reading]:
    """Columns of scales that are not known, but whose names differ by a visit alone."""
    found = [(column, _OTHER.fullmatch(column)) for column in columns]
    found = [_reading(c, m["key"], m) for c, m in found if m and (m["visit"] or m["before"])]
    patterns = [reading.pattern for reading in found]
    return [reading for reading in found if patterns.count(reading.pattern) > 1]


def _reading(column, scale, found):
    """Reading of a name in which the parts found become a pattern: HAMD_w4 is HAMD_{visit}."""
    said = {name: text for name, text in found.groupdict().items() if text and name != "key"}
    pattern = column
    for name in sorted(said, key=found.start, reverse=True):
        start, end = found.span(name)
        pattern = f"{pattern[:start]}{{{name}}}{pattern[end:]}"
    visit, item = said.get("visit") or said.get("before"), said.get("item")
    pattern = pattern.replace("{before}", "{visit}")
    return Reading(column, scale, pattern, visit, int(item) if item else None)


def read_columns(columns, long, file="") -> list[Reading]:
    """Readings of a table's columns; numbers that may be items or visits are told apart.

    ``long`` is whether a column of the table names the visit. A file that is named for a scale
    (madrs.tsv) tells it where columns do not (total, item_01).
    """
    stem = Path(file).stem
    scale = stem if read_column(stem) else ""
    found = [r for column in columns if (r := read_column(column) or _of_file(scale, column))]
    found = [_second_look(reading, found) for reading in found]
    groups = {}
    for reading in found:
        groups.setdefault(reading.pattern, []).append(reading)
    readings = [one for group in groups.values() for one in _told_apart(group, long)]
    return [reading for reading in readings if not (long and reading.visit)]


def _of_file(scale, column):
    """Reading of a column named total or item_01 in a file named for its scale."""
    named = scale and re.fullmatch(rf"{_TOTAL}|item[-_. ]?\d+", column, re.I)
    reading = read_column(f"{scale}_{column}") if named else None
    return reading and replace(reading, column=column, pattern=reading.pattern[len(scale) + 1 :])


def _second_look(reading, others):
    """HAMD17 beside HAMD16 is an item of HAMD, not the scale HAMD-17."""
    item = read_column(reading.column, numbered=False)
    if item and item != reading and any(item.pattern == r.pattern for r in others):
        return item
    return reading


def _told_apart(group, long):
    """Readings of one pattern, whose {first}, {second} or lone {item} become what they are."""
    pattern, size = group[0].pattern, INSTRUMENTS["items"].get(group[0].scale, 0)
    if "{first}" in pattern:  # HAMD2.13: the items are the part with as many numbers as they have
        fields = pd.DataFrame([_fields(reading) for reading in group])
        counts = {name: fields[name].nunique() for name in ("first", "second")}
        item = max(counts, key=lambda name: (counts[name] == size, counts[name], name))
        visit = "first" if item == "second" else "second"
        return [_renamed(reading, {item: "item", visit: "visit"}) for reading in group]
    lone = "{item}" in pattern and "{visit}" not in pattern
    if lone and not long and len(group) != size and len(group) <= 8:  # HAMD1, HAMD2, HAMD3
        return [_renamed(reading, {"item": "visit"}) for reading in group]
    return group


def _renamed(reading, names):
    """A reading with other names for the parts of its pattern."""
    said = {names[part]: text for part, text in _fields(reading).items()}
    pattern = re.sub(r"\{(\w+)\}", lambda found: f"{{{names[found[1]]}}}", reading.pattern)
    item = int(said["item"]) if "item" in said else None
    return replace(reading, pattern=pattern, visit=said["visit"], item=item)


def _fields(reading):
    """What stands in a column's name where its pattern has {names}."""
    return re.fullmatch(as_regex(reading.pattern, ".+"), reading.column).groupdict()


def as_regex(pattern, visit) -> str:
    """A pattern of column names as a regular expression with the groups visit and item."""
    *pairs, end = re.split(r"\{(\w+)\}", pattern)
    groups = (f"(?P<{n}>{visit if n == 'visit' else '[0-9]+'})" for n in pairs[1::2])
    fixed = map(re.escape, pairs[::2])
    return "".join(a + b for a, b in zip(fixed, groups, strict=True)) + re.escape(end)


def week_of(visit, label="") -> tuple[str | None, float | None]:
    """Name and week of a visit, where its code or label says them: ("week3", 3.0)."""
    label = label.strip().lower()
    for text in (re.sub(r"_arm_\d+$", "", visit).strip().lower(), label):
        text = text.removeprefix("ses-")
        if re.fullmatch(_PARTS["zero"], text) or re.match(r"baseline\b", text):
            return "baseline", 0.0
        for unit, weeks in WEEKS.items():
            whole = re.search if text == label else re.fullmatch
            words = _PARTS[unit]
            if found := whole(rf"(?:{words})[-_. ]?(\d+)|(\d+)[-_. ]?(?:{words})\b", text):
                number = int(found[1] or found[2])
                named = f"{unit}{number}" if number else "baseline"
                return named, round(float(number * weeks), 2)
    return None, None
