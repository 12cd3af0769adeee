"""Items of a scale: their highest scores, names, and the suicide item of HAMD-17."""

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
# Highest score of each item, in order, from the instruments' own publications.
MAXIMA = {
    "HAMD-17": tuple(high for _, high in HAMD17_ITEMS),
    "HAMA": (4,) * 14,  # Hamilton 1959
    "MADRS": (6,) * 10,  # Montgomery & Asberg 1979
    "BDI-II": (3,) * 21,  # Beck et al. 1996
    "PHQ-9": (3,) * 9,  # Kroenke et al. 2001
    "YMRS": (4, 4, 4, 4, 8, 8, 4, 8, 8, 4, 4),  # Young et al. 1978
}
OTHER_MAXIMUM = 10  # of an item of another scale
# Cleary & Guy 1977; HAMD-6: Bech et al. 1975.
HAMD17_FACTORS = {
    "anxiety and somatisation": (10, 11, 12, 13, 15, 17),
    "cognitive disturbance": (2, 3, 9),
    "retardation": (1, 7, 8, 14),
    "sleep disturbance": (4, 5, 6),
    "weight": (16,),
    "HAMD-6": (1, 2, 7, 8, 10, 13),
}
HAMD17_KEYS = ("hamd17", "hdrs17", "hamd", "hdrs", "hrsd", "hrsd17", "ham17")
SUICIDE = 3  # item of HAMD-17


KEYS = {
    "HAMA": ("hama", "hars", "hamas"),
    "MADRS": ("madrs",),
    "BDI-II": ("bdi2", "bdiii"),
    "PHQ-9": ("phq9",),
    "YMRS": ("ymrs",),
}


def known_scale(scale):
    """Name in `MAXIMA` of a scale, as the study file says or by its own name; or None."""
    if scale.items is not None:
        return scale.items
    keys = {"HAMD-17": HAMD17_KEYS} | KEYS
    return next((name for name, known in keys.items() if scale.key in known), None)


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
    return {name: [by_number[n] for n in own] for name, own in HAMD17_FACTORS.items()}


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
