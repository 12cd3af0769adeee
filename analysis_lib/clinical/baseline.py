"""Table 1."""

import numpy as np
import pandas as pd

from analysis_lib.study.contract import ARMS
from analysis_lib.study.pseudonyms import FEWEST

SUPPRESSED = "suppressed"

COLUMNS = ["variable", "summary", *ARMS, "standardised_mean_difference"]


def baseline_table(study, participants, ratings):
    """Table 1: characteristics at baseline by arm, with standardised differences and no p.

    Randomisation makes any difference at baseline a chance one, so a test of it answers no question
    (CONSORT 2025).

    Returns
    -------
    pandas.DataFrame
        variable, summary, active, control, standardised_mean_difference (Austin 2009, Stat Med
        28:3083-3107); each level of a variable in words has a row. Where real participants are
        protected, counts below five, and those that they follow from, are suppressed.
    """
    included = participants[participants["excluded"].isna()].set_index("participant_id")
    wanted = [*study.covariates, *study.strata, "tiv"]
    table = included[[c for c in dict.fromkeys(wanted) if c in included]].copy()
    first = ratings[ratings["visit"] == study.baseline]
    for scale in study.scales:
        scores = first[first["scale"] == scale.name].set_index("participant_id")["score"]
        if scores.notna().any():
            table[f"{scale.name} at baseline"] = scores
    least = FEWEST if study.protected else 0
    arm = included["arm"]
    rows = [row for name in table for row in _baseline_rows(name, table[name], arm, least)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _baseline_rows(name, values, arm, least):
    active, control = (values[arm == which].dropna() for which in ARMS)
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 2:
        spread = np.sqrt((active.var() + control.var()) / 2)
        difference = (active.mean() - control.mean()) / spread
        cells = [f"{v.mean():.1f} ({v.std():.1f})" for v in (active, control)]
        return [(name, "mean (SD)", *cells, difference)]
    rows, levels = [], sorted(values.dropna().unique())
    hidden = {which: _hidden(v, levels, least) for which, v in (("a", active), ("c", control))}
    for level in levels:
        p, q = (active == level).mean(), (control == level).mean()
        spread = np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
        cells = [
            SUPPRESSED if level in out else f"{(v == level).sum()} ({(v == level).mean():.0%})"
            for v, out in zip((active, control), hidden.values(), strict=True)
        ]
        difference = (p - q) / spread if spread else 0.0
        difference = np.nan if SUPPRESSED in cells else difference
        text = f"{level:g}" if isinstance(level, float) else level
        rows.append((f"{name}: {text}", "n (%)", *cells, difference))
    return rows


def _hidden(values, levels, least):
    """Levels of fewer than ``least`` participants; of a single one, its count follows from others.

    The next smallest is then hidden, too.
    """
    counts = values.value_counts().reindex(levels, fill_value=0).sort_values(kind="stable")
    n = int((counts < least).sum())
    return set(counts.index[: 2 if n == 1 else n])
