"""Where the tracer of a receptor map measures that receptor, and where it does not."""

from pathlib import Path

import pandas as pd

from analysis_lib.results.problems import StudyError
from analysis_lib.study import catalogue

LISTED = Path(catalogue.__file__).with_name("validity.tsv")
LEAST = 0.5  # share of the regions; the largest |r| of all maps would be that of the smallest map
STRIATUM = "accumbens|caudate|putamen|striatum"
OCCIPITAL = r"occipital|calcarine|\bcuneus|lingual"


def validity(annotations, table):
    """Rows of ``validity.tsv`` for these maps, and the regions of an atlas's table that each means.

    Columns `annotation`, `fails` (the part of the brain, in words), `why`, `source`, `checked`
    (whether what the source says was read for this list) and `labels`; rows that mean no region are
    left out.
    """
    rows = pd.read_csv(LISTED, sep="\t")
    rows = rows[rows["annotation"].isin(annotations)]
    named = table["region"].str.lower().str
    striatal = named.contains(STRIATUM)
    parts = {f"the {name}": table["structure"] == name for name in ("cortex", "cerebellum")}
    parts |= {"the striatum": striatal, "regions outside the striatum": ~striatal}
    parts["the occipital cortex"] = parts["the cortex"] & named.contains(OCCIPITAL)
    labels = [table.index[parts[part]].tolist() for part in rows["fails"]]
    rows = rows.assign(labels=pd.Series(labels, rows.index, object))
    return rows.loc[[len(some) > 0 for some in labels]].reset_index(drop=True)


def where_tracers_hold(maps, atlas):
    """Receptor maps without the regions where their tracers fail, and what was left out, in words.

    A region that fails is NaN. A map of which less than half of the regions remain is left out as a
    whole: few regions correlate closely by chance, so that it would set the scale of every
    family-wise p. `StudyError`: no map remains.
    """
    rows = validity(maps.index, atlas.table.loc[maps.columns])
    held = maps.copy()
    for row in rows.itertuples():
        held.loc[row.annotation, row.labels] = float("nan")
    touched = held.index.isin(rows["annotation"])
    few = held.index[touched & (held.notna().mean(axis=1) < LEAST)]
    if len(few) == len(held):
        raise StudyError(
            f"receptors: {', '.join(few)}: tracers of none hold in half of the {held.shape[1]} "
            "regions. Ask for other maps or another structure, or set tracers=all"
        )
    return held.drop(index=few), _words(rows, few)


def _words(rows, few):
    """One line for each reason, and one for the maps left out as a whole."""
    source = rows["source"].where(rows["checked"] == "yes", rows["source"] + ", not read for this")
    reasons = rows.assign(source=source).groupby(["fails", "why", "source"], sort=False)
    reasons = reasons["annotation"].agg(", ".join)
    lines = [
        f"{maps}: not in {at} ({why}; {source})" for (at, why, source), maps in reasons.items()
    ]
    whole = f"left out as a whole, with fewer than half of the regions: {', '.join(few)}"
    return lines + [whole] * (len(few) > 0)
