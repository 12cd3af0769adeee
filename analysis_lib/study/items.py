"""Items of a scale: their highest scores, names, and the suicide item of HAMD-17."""

from pathlib import Path

import yaml

INSTRUMENTS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
MAXIMA = {name: tuple(about["maxima"]) for name, about in INSTRUMENTS.items()}
HAMD17 = INSTRUMENTS["HAMD-17"]
HAMD17_ITEMS = tuple(zip(HAMD17["names"], HAMD17["maxima"], strict=True))
OTHER_MAXIMUM = 10  # of an item of another scale
SUICIDE = 3  # item of HAMD-17


def known_scale(scale):
    """Name in `MAXIMA` of a scale, as the study file says or by its own name; or None."""
    if scale.items is not None:
        return scale.items
    known = (name for name, about in INSTRUMENTS.items() if scale.key in about["keys"])
    return next(known, None)


def item_maxima(scale, columns):
    """Highest score of each item column; where the scale or its numbering is unknown, 10."""
    highest = MAXIMA.get(known_scale(scale), ())
    numbered = sorted(map(_number, columns)) == list(range(1, len(highest) + 1))
    return {c: highest[_number(c) - 1] if numbered else OTHER_MAXIMUM for c in columns}


def hamd17_factors(scale, columns):
    """Item columns of each factor of HAMD-17; none where the scale is another one."""
    if not is_hamd17(scale, columns):
        return {}
    by_number = {_number(c): c for c in columns}
    return {name: [by_number[n] for n in own] for name, own in HAMD17["factors"].items()}


def item_columns(rows):
    """Columns of the items, in the order of the file."""
    return [column for column in rows if column.startswith("item_")]


def item_labels(scale, columns):
    """Names of a scale's item columns for tables and figures.

    "3 suicide" for HAMD-17 with items numbered 1 to 17, otherwise what stands behind ``item_`` in
    the column ("item 3", "mood").
    """
    if is_hamd17(scale, columns):
        return {c: f"{_number(c)} {HAMD17_ITEMS[_number(c) - 1][0]}" for c in columns}
    numbers = {c: _number(c) for c in columns}
    return {c: f"item {n}" if n else c.removeprefix("item_") for c, n in numbers.items()}


def is_hamd17(scale, columns):
    """Whether these are the 17 numbered items of HAMD-17, by the scale's name and their number."""
    return known_scale(scale) == "HAMD-17" and sorted(map(_number, columns)) == list(range(1, 18))


def _number(column):
    digits = column.removeprefix("item_")
    return int(digits) if digits.isdecimal() else 0


def suicide_column(scale, rows):
    """The suicide item's column, or None where the scale is not HAMD-17 with its 17 items."""
    columns = item_columns(rows)
    if not is_hamd17(scale, columns):
        return None
    return next(column for column in columns if _number(column) == SUICIDE)
