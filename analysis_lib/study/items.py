"""Items of a scale: their names, and the suicide item of HAMD-17."""

# What each item of HAMD-17 rates, in its order, and its highest score (Hamilton 1960).
HAMD17_ITEMS = (
    ("depressed mood", 4),
    ("feelings of guilt", 4),
    ("suicide", 4),
    ("insomnia, early", 2),
    ("insomnia, middle", 2),
    ("insomnia, late", 2),
    ("work and activities", 4),
    ("retardation", 4),
    ("agitation", 4),
    ("anxiety, psychic", 4),
    ("anxiety, somatic", 4),
    ("somatic symptoms, gastrointestinal", 2),
    ("somatic symptoms, general", 2),
    ("genital symptoms", 2),
    ("hypochondriasis", 4),
    ("loss of weight", 2),
    ("insight", 2),
)
HAMD17_KEYS = ("hamd17", "hdrs17", "hamd", "hdrs", "hrsd", "hrsd17", "ham17")
SUICIDE = 3  # item of HAMD-17


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
    return scale.key in HAMD17_KEYS and sorted(map(_number, columns)) == list(range(1, 18))


def _number(column):
    digits = column.removeprefix("item_")
    return int(digits) if digits.isdecimal() else 0


def suicide_column(scale, rows):
    """The suicide item's column, or None where the scale is not HAMD-17 with its 17 items."""
    columns = item_columns(rows)
    if not is_hamd17(scale, columns):
        return None
    return next(column for column in columns if _number(column) == SUICIDE)
