"""Tables of regions: of FreeSurfer, CAT12, ENIGMA and the like; two visits become a change."""

import re
from functools import cache

import pandas as pd

from analysis_lib.atlas.naming import dkt31_aseg_table, side_and_region
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.importing import names

FEWEST = 10  # regions that make a table one of regions
_ENDING = rf"_(?:{names.WORDS['regions']['endings']})$"


def region_name(column) -> str:
    """A column's name without what a program adds to a region's."""
    return re.sub(_ENDING, "", column, flags=re.I)


@cache
def _keys(atlas):
    if atlas == "dkt31_aseg":
        known = {side_and_region(name)[0][1] for name in dkt31_aseg_table()["name"]}
        return known.union(names.WORDS["regions"]["more"])
    return set(_own_names(atlas))


def _letters(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _atlas_of(column):
    """Atlases that know a region."""
    name = region_name(column)
    of_dkt = any(key in _keys("dkt31_aseg") for _, key in side_and_region(name))
    own = _letters(name) in _keys("neuromorphometrics")
    return ("dkt31_aseg",) * of_dkt + ("neuromorphometrics",) * own


def is_region(column) -> bool:
    """Whether a column is named for a region."""
    return bool(_atlas_of(column))


def regional(cells) -> list[str]:
    """Columns of a table that are regions; none where they are too few."""
    found = [
        c for c in cells if is_region(c) and pd.to_numeric(cells[c], errors="coerce").notna().any()
    ]
    return found if len(found) >= FEWEST else []


def split_name(text) -> tuple[str, str]:
    """Participant and visit in the name of an image: sub-01_ses-pre.long.sub-01."""
    text = re.sub(r"^catROI\w*?_(?=\w)|\.long\..*$|\.(?:xml|nii|mat)$", "", text)
    found = re.fullmatch(rf"(.+?)[-_. ]({names.VISIT})", text, re.I)
    return (found[1], found[2]) if found else (text, "")


def visits_behind(column) -> list[str]:
    """Visits at the ends of a column's names, in order; none unless each name has one."""
    visits = [split_name(text)[1] for text in column.dropna()]
    return list(dict.fromkeys(visits)) if all(visits) else []


def guess_regions(tables, parts, visits, named) -> dict:
    """Atlas and sessions of regional change, for import.yml."""
    columns = [
        c for table in tables if "regions" in parts[table.name] for c in regional(table.cells)
    ]
    counts = {
        a: sum(a in _atlas_of(c) for c in columns) for a in ("dkt31_aseg", "neuromorphometrics")
    }
    found = {"atlas": max(counts, key=counts.get)}
    if not any(parts[t.name].get("regions") == "amounts" for t in tables):
        return found
    seen = {v for t in tables for v in _region_visits(t, parts[t.name])}
    order = [v for v in visits if any(named.get(code) == v for code in seen)]
    doubt = "" if len(order) == 2 else " ?"
    pre, post = (order[0], order[-1]) if len(order) > 1 else ("", "")
    return found | {"pre": f"{pre}{doubt}".strip(), "post": f"{post}{doubt}".strip()}


def _region_visits(table, part):
    column = part.get("visit")
    if "regions" not in part or column not in table.cells:
        return []
    return (
        visits_behind(table.cells[column])
        if column == part["participant"]
        else list(table.cells[column].dropna().unique())
    )


def regional_change(amounts, pre, post) -> pd.DataFrame:
    """Percent change of each participant (rows) and region, from long tables of amounts.

    ``amounts`` has participant_id, visit and a column per region.
    """
    table = amounts.set_index("participant_id")
    first = table[table["visit"] == pre].drop(columns="visit")
    last = table[table["visit"] == post].drop(columns="visit")
    both = first.index.intersection(last.index)
    first, last = first.loc[both], last.loc[both]
    return (100 * (last - first) / first.where(first > 0)).round(6)


@cache
def _own_names(atlas):
    return {_letters(name): name for name in load_atlas(atlas).table["name"]}


def written_name(column, atlas) -> str:
    """Name of a region as the atlas, or whoever reads it, knows it."""
    name = region_name(column)
    if atlas == "neuromorphometrics":
        return _own_names(atlas).get(_letters(name), name)
    return name
