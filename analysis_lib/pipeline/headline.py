"""The main numbers of a study's results, and those of variants side by side."""

import pandas as pd

from analysis_lib.results import reading, words
from analysis_lib.results.writing import write

NAME = "comparison.tsv"  # in the folder of the variants
P_VALUES = ("p", "smallest_p", "p_fwe", "p_fwe_spatial")


def headline(study) -> dict:
    """The main numbers of a study's results, by column of ``comparison.tsv``.

    They are the primary outcome's contrast, the difference in grey-matter change between arms, and
    the receptor whose map follows that difference most closely; what has not run is left out.
    """
    return {"variant": study.variant or "default", **_clinical(study), **_imaging(study)}


def _clinical(study):
    if not study.scales:
        return {}
    primary = {"scale": study.primary_scale.name, "visit": study.final_visit}
    return _first(_table(study, "clinical/mmrm_contrasts.tsv", **primary), "estimate", "p")


def _imaging(study):
    main, by_size = study.main, {"key": abs, "ascending": False}
    clusters = _table(study, f"vbm/{main}_clusters.tsv")
    summary, maps = (
        _table(study, name, contrast=main)
        for name in ("vbm/summary.tsv", "receptors/correlations.tsv")
    )
    found = {}
    if len(summary) and len(clusters):
        found["peak_t"] = clusters.sort_values("t", **by_size)["t"].iloc[0]
    counted = "n_regions_fwe" if study.regional else "n_voxels_fwe"
    found |= _first(summary, "smallest_p", counted)
    maps = maps.sort_values("r", **by_size) if len(maps) else maps
    return found | _first(maps, "receptor", "annotation", "r", "p_fwe", "p_fwe_spatial")


def _table(study, name, **where):
    path = study.derived / name
    rows = reading.read_table(path) if path.is_file() else pd.DataFrame()
    for column, value in where.items() if len(rows) else ():
        rows = rows[rows[column] == value]
    return rows


def _first(rows, *names):
    return {name: rows[name].iloc[0] for name in names} if len(rows) else {}


def write_side_by_side(studies) -> pd.DataFrame:
    """Write ``comparison.tsv``, the main numbers of variants of a study, a row each; the table."""
    table = pd.DataFrame([headline(study) for study in studies])
    write(studies[0].variants, {NAME: table}, keep_others=True)
    return table


def as_printed(table) -> list[list[str]]:
    """That table as a terminal shows it: a row for each number, a column for each variant."""
    return [[name, *(_cell(name, value) for value in table[name])] for name in table]


def _cell(name, value):
    if pd.isna(value):
        return "n/a"
    if name in P_VALUES:
        return words.p_cell(value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)
