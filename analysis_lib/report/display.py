"""Tables as notebooks show them."""

import pandas as pd
from IPython.display import HTML

from analysis_lib.report.sentences import marked_rates
from analysis_lib.results.words import number_text, p_cell, visit_words


def table(frame, index=False):
    """A table as it is printed: p to three decimals, estimates to two, counts whole.

    Parameters
    ----------
    frame : pandas.DataFrame
    index : bool
        Show the index.

    Returns
    -------
    IPython.display.HTML
    """
    shown = frame.apply(lambda column: _printed(column.name, column))
    html = shown.to_html(index=index, border=0, justify="left", escape=True)
    html = html.replace("<td>", '<td style="white-space: nowrap">')
    return HTML(f'<div style="overflow-x: auto; font-size: 90%">{html}</div>')


def by_visit(means, names):
    """Observed means with standard deviations and n, a row per scale and arm, a column per visit.

    Parameters
    ----------
    means : pandas.DataFrame
        ``clinical/means.tsv``.
    names : dict
        The study's words for "active" and "control".

    Returns
    -------
    IPython.display.HTML
    """
    cell = [f"{row.mean:.1f} ({row.sd:.1f}), n = {row.n}" for row in means.itertuples()]
    wide = means.assign(cell=cell, arm=means["arm"].map(names))
    wide = wide.pivot(index=["scale", "arm"], columns="visit", values="cell").fillna("not rated")
    wide.columns = [visit_words(visit) for visit in wide.columns]
    return table(wide.reset_index())


def _printed(name, column):
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.astype(object).where(column.notna(), "–")
    values = pd.to_numeric(column).astype(float)
    if str(name).startswith(("p_", "q_", "smallest_p")) or name == "p":
        texts = values.map(p_cell)
    else:
        whole = values.dropna().mod(1).eq(0).all()
        texts = values.map(lambda v: number_text(v, ".0f" if whole else ".2f"))
    return texts.where(values.notna(), "–")


def rate_table(measured):
    """False-positive rates of each null by range of autocorrelation, for simulated and real maps.

    Parameters
    ----------
    measured : pandas.DataFrame
        benchmarks/spatial_nulls.tsv.

    Returns
    -------
    IPython.display.HTML
    """
    family = measured["side"].str.contains("family")
    real = measured["side"].str.contains("/")
    parts = {
        "simulated pair": measured[measured["side"] == "simulated"],
        "worst real map": measured[real],
        "any real map, family-wise": measured[family],
    }
    wide = {
        (null, what): rows[rows["null"] == null].groupby("range_mm")["rate"].max()
        for null in measured["null"].unique()
        for what, rows in parts.items()
        if (rows["null"] == null).any()
    }
    frame = pd.DataFrame(wide).T.rename_axis(["null", "other map"]).reset_index()
    frame.columns.name = None
    for column in frame.columns[2:]:
        frame[column] = marked_rates(frame[column])
    return table(frame.rename(columns=lambda name: f"{name} mm" if isinstance(name, int) else name))
