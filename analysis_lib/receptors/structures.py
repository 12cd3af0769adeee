"""Cortex, subcortex and all of grey matter side by side, each with nulls of its own."""

import pandas as pd

from analysis_lib.receptors.assessment import correlation_table
from analysis_lib.receptors.inputs import FEWEST
from analysis_lib.receptors.library import systems
from analysis_lib.receptors.together import assess_contrasts
from analysis_lib.results.problems import StudyError

PARTS = ("cortex", "subcortex")


def by_structure(inputs, assessed, draws, seed, structure="all", **choices) -> pd.DataFrame:
    """Rows of receptors/structures.tsv: correlations.tsv, and the same tests by structure.

    In the cortex and in the subcortex alone effect maps, surrogates and anatomy are those of its
    regions; which maps take part is decided there (`where_tracers_hold`), and family-wise p-values
    are over these. Rows are in order of transmitter systems. A structure of fewer than ten regions,
    or without a map whose tracer holds there, has no rows, and neither has any other where
    ``structure`` is not all.

    Parameters
    ----------
    inputs : analysis_lib.receptors.inputs.Inputs
    assessed : dict of analysis_lib.receptors.assessment.ContrastResult
        Of `assess_contrasts`, in all regions of ``inputs``.
    draws, seed, **choices
        As for `assess_contrasts`.
    structure : str
        What the regions of ``inputs`` are.
    """
    tables = [_rows(inputs, assessed, structure)]
    for part in PARTS if structure == "all" else ():
        within = _within(inputs, part)
        if within is not None:
            tables.append(_rows(within, assess_contrasts(within, draws, seed, **choices), part))
    return pd.concat(tables, ignore_index=True)


def _within(inputs, part):
    """The inputs in one structure; None where it cannot be assessed, or is all there is."""
    here = inputs.parcels.table.loc[inputs.change.columns, "structure"].eq(part)
    if here.sum() < FEWEST or here.all():
        return None
    try:
        return inputs.within(part)
    except StudyError:  # no tracer holds there
        return None


def _rows(inputs, assessed, structure):
    tables = []
    for result in assessed.values():
        rows = correlation_table([result], inputs.about)
        rows.insert(0, "system", systems(rows["receptor"]))
        tables.append(rows.sort_values("system", kind="stable").astype({"system": str}))
    rows = pd.concat(tables)
    rows.insert(0, "structure", structure)
    return rows
