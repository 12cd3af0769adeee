"""Tables of regions: of FreeSurfer, CAT12, ENIGMA and the like; two visits become a change."""

import re
from functools import cache

import pandas as pd

from analysis_lib.atlas.naming import dkt31_aseg_table, side_and_region
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.importing import names

FEWEST = 10  # regions that make a table one of regions
DKT, NEUROMORPHOMETRICS = "dkt31_aseg", "neuromorphometrics"


def _plain(column):
    """A column's name without what a program adds to a region's."""
    return re.sub(rf"_(?:{names.WORDS['regions']['endings']})$", "", column, flags=re.I)


def _letters(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _dkt_keys():
    known = {side_and_region(name)[0][1] for name in dkt31_aseg_table()["name"]}
    return known.union(names.WORDS["regions"]["more"])


@cache
def _own_names():
    """Regions of the neuromorphometrics atlas, by letters and digits."""
    return {_letters(name): name for name in load_atlas(NEUROMORPHOMETRICS).table["name"]}


@cache
def _atlases_of(column):
    """Atlases that know a region."""
    name = _plain(column)
    of_dkt = any(key in _dkt_keys() for _, key in side_and_region(name))
    return (DKT,) * of_dkt + (NEUROMORPHOMETRICS,) * (_letters(name) in _own_names())


def is_region(column) -> bool:
    """Whether a column is named for a region."""
    return bool(_atlases_of(column))


def regional(cells) -> list[str]:
    """Columns of a table that are regions; none where they are too few."""
    found = [c for c in cells if is_region(c)]
    found = [c for c in found if pd.to_numeric(cells[c], errors="coerce").notna().any()]
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


def guess_regions(seen, visits) -> dict:
    """Atlas and sessions of regional change, for import.yml."""
    seen = [one for one in seen if "regions" in one.part]
    known = [atlas for one in seen for c in regional(one.cells) for atlas in _atlases_of(c)]
    found = {"atlas": max((DKT, NEUROMORPHOMETRICS), key=known.count)}
    if not any(one.part["regions"] == "amounts" for one in seen):
        return found
    codes = {code for one in seen for code in _region_visits(one)}
    order = [v for v, own in visits.items() if codes & {code.removesuffix(" ?") for code in own}]
    doubt = "" if len(order) == 2 else " ?"
    pre, post = (order[0], order[-1]) if len(order) > 1 else ("", "")
    return found | {"pre": f"{pre}{doubt}".strip(), "post": f"{post}{doubt}".strip()}


def _region_visits(one):
    column = one.cells.get(one.visit, pd.Series(dtype=str))
    behind = one.visit == one.part["participant"]
    return visits_behind(column) if behind else column.dropna().unique()


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


def written_name(column, atlas) -> str:
    """Name of a region as the atlas, or whoever reads it, knows it."""
    name = _plain(column)
    return _own_names().get(_letters(name), name) if atlas == NEUROMORPHOMETRICS else name
