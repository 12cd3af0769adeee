"""What names say: the scale, visit and item of a column, the week of a visit."""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd

INSTRUMENTS = pd.read_csv(
    Path(__file__).with_name("instruments.tsv"), sep="\t", index_col="name", keep_default_na=False
)
WEEKS = {"week": 1, "day": 1 / 7, "month": 365.25 / 84}
UNITS = {"week": "weeks?|wks?|w|wo(?:che)?n?", "day": "days?|d|tage?", "month": "months?|mon|mo|m"}
ZERO = "baseline|base|bsl|bl|screening|pre|before|intake|b0"
_UNIT = "|".join(UNITS.values())
_NUMBER = rf"(?:{_UNIT}|visit|v|time|t|session|s|fu|follow-?up|wave|messung)[-_. ]?\d{{1,3}}"
VISIT = (
    rf"(?:ses[-_ ])?(?:{_NUMBER}|\d{{1,3}}[-_. ]?(?:{_UNIT})|{ZERO}|post|after|end|"
    r"fu|follow-?up|discharge)"
)
_GAP = r"[-_. :()]*"
_TOTAL = r"(?:total|tot|sum|score|gesamt|summe|tl|tscore|sumscore)"
_ITEM = r"(?:item|it|i|q|frage|n)?[-_. ]?(?P<item>\d{1,2})"
_RESTS = [  # what may stand behind the name of a scale
    rf"(?P<total>{_TOTAL})?{_GAP}(?P<visit>{VISIT})?{_GAP}(?:{_TOTAL})?",
    rf"{_ITEM}(?:{_GAP}(?P<visit>{VISIT}))?",
    rf"(?P<visit>{VISIT}){_GAP}{_ITEM}",
    r"(?P<first>\d{1,2})[-_. ](?P<second>\d{1,2})",
    rf"(?P<visit>\d{{1,3}}){_GAP}{_TOTAL}",
    rf"{_TOTAL}{_GAP}(?P<visit>\d{{1,3}})",
]


def scale_keys(name) -> dict:
    """What the study file says of a known scale: range, direction, cut-off of remission."""
    if name not in INSTRUMENTS.index:
        return {}
    known = INSTRUMENTS.loc[name]
    keys = {"range": [int(known["low"]), int(known["high"])]}
    keys |= {"remission_at_most": int(known["remission"])} if known["remission"] else {}
    return keys | ({"better": "higher"} if known["better"] == "higher" else {})


@dataclass(frozen=True)
class Reading:
    """A column of scores: its scale, the visit and item in its name, the pattern of its kind."""

    column: str
    scale: str
    pattern: str
    visit: str | None = None
    item: int | None = None


def _keys():
    """Pattern of each way to write an instrument's name, the longest first."""
    keys = [(key, name) for name, text in INSTRUMENTS["keys"].items() for key in text.split()]
    keys = sorted(keys, key=lambda pair: -len(pair[0]))
    return [(key.replace("-", "[-_. ]?"), name) for key, name in keys]


_KEYS = _keys()


@cache
def _patterns(numbered):
    """Names of columns of scores: what may stand before, the scale, what stands behind.

    ``numbered`` is whether a number may belong to the scale's name.
    """
    keys = "|".join(key for key, _ in _KEYS if numbered or not key[-1].isdecimal())
    start = rf"(?:(?P<before>{VISIT}){_GAP})?(?P<key>{keys})"
    ends = [rf"(?![a-z]){_GAP}{rest}" for rest in _RESTS]
    return [re.compile(rf"{start}{end}{_GAP}", re.I) for end in [*ends, _GAP + _RESTS[0]]]


@cache
def read_column(column, numbered=True) -> Reading | None:
    """What a column's name says; None where it names no scale that is known."""
    found = next((match for one in _patterns(numbered) if (match := one.fullmatch(column))), None)
    if found is None:
        return None
    scale = next(name for key, name in _KEYS if re.fullmatch(key, found["key"], re.I))
    return _reading(column, scale, found)


_OTHER = re.compile(
    rf"(?:(?P<before>{VISIT}){_GAP})?(?P<key>[a-z][\w -]*?){_GAP}(?P<visit>{VISIT})?{_GAP}", re.I
)


def read_others(columns) -> list[Reading]:
    """Columns of scales that are not known, but whose names differ by a visit alone."""
    found = [(column, _OTHER.fullmatch(column)) for column in columns]
    found = [_reading(c, m["key"], m) for c, m in found if m and (m["visit"] or m["before"])]
    counts = pd.Series([r.pattern for r in found], dtype=object).value_counts()
    return [reading for reading in found if counts[reading.pattern] > 1]


def _reading(column, scale, found):
    parts = found.groupdict()
    spans = {name: found.span(name) for name in parts if parts[name]}
    for name in ("total", "key"):
        spans.pop(name, None)
    ends = {"before": "visit", "first": "first", "second": "second", "visit": "visit"}
    pattern = column
    for name, (start, end) in sorted(spans.items(), key=lambda pair: -pair[1][0]):
        pattern = f"{pattern[:start]}{{{ends.get(name, name)}}}{pattern[end:]}"
    item = parts.get("item")
    visit = parts.get("visit") or parts.get("before")
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
    groups = pd.Series([reading.pattern for reading in found], dtype=object)
    readings = [
        one
        for pattern in groups.unique()
        for one in _told_apart([r for r in found if r.pattern == pattern], long)
    ]
    return readings if not long else [r for r in readings if r.visit is None]


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
    if "{first}" in pattern:
        pairs = [_fields(pattern, r.column) for r in group]
        counts = {name: len({p[name] for p in pairs}) for name in ("first", "second")}
        item = max(counts, key=lambda name: (counts[name] == size, counts[name], name))
        visit = "first" if item == "second" else "second"
        named = pattern.replace(f"{{{item}}}", "{item}").replace(f"{{{visit}}}", "{visit}")
        return [
            replace(r, pattern=named, visit=p[visit], item=int(p[item]))
            for r, p in zip(group, pairs, strict=True)
        ]
    numbers = [r.item for r in group]
    lone = "{item}" in pattern and "{visit}" not in pattern
    if lone and not long and len(numbers) != size and len(numbers) <= 8:
        named = pattern.replace("{item}", "{visit}")
        return [
            replace(r, pattern=named, visit=_fields(pattern, r.column)["item"], item=None)
            for r in group
        ]
    return group


def _fields(pattern, column):
    """What stands in a column's name where its pattern has {names}."""
    return re.fullmatch(as_regex(pattern, r"\d+"), column).groupdict()


def as_regex(pattern, visit) -> str:
    """A pattern of column names as a regular expression with the groups visit and item."""
    parts = re.split(r"\{(\w+)\}", pattern)
    groups = [f"(?P<{n}>{visit if n == 'visit' else r'[0-9]+'})" for n in parts[1::2]]
    fixed = [re.escape(part) for part in parts[::2]]
    return "".join(a + b for a, b in zip(fixed, [*groups, ""], strict=True))


def week_of(visit, label="") -> tuple[str | None, float | None]:
    """Name and week of a visit, where its code or label says them: ("week3", 3.0)."""
    for text in (re.sub(r"_arm_\d+$", "", visit), label):
        text = text.strip().lower().removeprefix("ses-")
        if re.fullmatch(ZERO, text) or re.match(r"baseline\b", text):
            return "baseline", 0.0
        for unit, words in UNITS.items():
            whole = re.fullmatch if text != label.strip().lower() else re.search
            found = whole(rf"(?:{words})[-_. ]?(\d+)|(\d+)[-_. ]?(?:{words})\b", text)
            if found:
                number = int(found[1] or found[2])
                week = round(float(number * WEEKS[unit]), 2)
                return ("baseline", 0.0) if number == 0 else (f"{unit}{number}", week)
    return None, None
