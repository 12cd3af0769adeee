"""Tables as notebooks show them."""

from html import escape

import pandas as pd
from IPython.display import HTML

from analysis_lib.figures.palette import VERDICTS
from analysis_lib.results import words
from analysis_lib.results.columns import head
from analysis_lib.results.contrasts import CONTRASTS, OF_CHANGE, contrast_title
from analysis_lib.results.files import read_if_there

SCROLLED = 'role="group" aria-label="Table" tabindex="0" style="overflow-x: auto; font-size: 90%"'
UNITS = {"year": "years", "mL": "ml"}  # of BIDS, as they are printed
CODED = ("analysis", "decision", "effect", "kind", "missingness", "session")  # columns of codes
CODES = {"mar": "missing at random", "arm x time": "arm × time", "arm x week": "arm × week"}
CODES |= {"pre": "before treatment", "post": "after treatment"}
SHARES = ("risk_difference", "ci_low", "ci_high")  # proportions in the tables of events


def table(frame, study, file="", index=False, title=""):
    """A table as it is printed: heads and codes in words, limits of an interval in one column.

    p has three decimals, estimates have two, and counts are whole. Where participants are protected
    they have no name here. The head of a p of a kept table says which it is (``data-p``).

    Parameters
    ----------
    frame : pandas.DataFrame
    study : Study
        Whose words for the arms are used.
    file : str
        Stem of the result table, where a column means something else in it.
    index : bool
        Show the index.
    title : str
        Stands above the table.

    Returns
    -------
    IPython.display.HTML
    """
    names, whole = study.arm_names, frame.reset_index() if index else frame
    if study.protected:  # rows of single participants: their names are in private/ alone
        whole = whole.drop(columns="participant_id", errors="ignore")
    if "variable" in whole:
        whole = whole.assign(variable=whole["variable"].replace(variables(study)))
    shown = {}
    for name in whole:
        head = _head(name, names, file, name in frame and frame.columns.name)
        cells = _printed(whole, name, names, file)
        shown[head] = joined(shown[head], cells) if head in shown else cells
    html = pd.DataFrame(shown).to_html(index=False, border=0, justify="left", escape=True)
    for verdict, colour in VERDICTS.items() if "verdict" in whole else ():
        dot = f'<span style="color: {colour}" aria-hidden="true">●</span>'
        html = html.replace(f"<td>{verdict}</td>", f"<td>{dot} {verdict}</td>")
    for column in filter(_is_p, frame.columns if "result" in frame.attrs else ()):
        words_of = f"{escape(_head(column, names, file, None))}</th>"
        marked = f'<th data-p="{escape(frame.attrs["result"])} {escape(column)}">{words_of}'
        html = html.replace(f"<th>{words_of}", marked, 1)
    html = html.replace("<td>", '<td style="white-space: nowrap">')
    above = f"<p><b>{words.in_markdown(title)}</b></p>" if title else ""
    return HTML(f"{above}<div {SCROLLED}>{html}</div>")


def variables(study):
    """Columns of participants.tsv in words, with their unit, as far as its sidecar has both."""
    return {
        column: f"{about['Description']}, {UNITS.get(about['Units'], about['Units'])}"
        for column, about in read_if_there(study.root / "participants.json").items()
        if isinstance(about, dict) and about.get("Description") and about.get("Units")
    }


def joined(low, high):
    """Limits of intervals, in one column."""
    pairs = zip(low, high, strict=True)
    return [words.interval_words(a, b) if a != "–" else "–" for a, b in pairs]


def spoken(values, column, names):
    """A column of text or truth values as a reader sees it; None for one of numbers."""
    if pd.api.types.is_bool_dtype(values):
        return ["–" if pd.isna(value) else ("no", "yes")[bool(value)] for value in values]
    if pd.api.types.is_numeric_dtype(values):
        return None
    return [_in_words(column, value, names) for value in values]


def _in_words(column, value, names):
    """A cell of text: arms, visits, contrasts and codes in words."""
    if pd.isna(value):
        return "–"
    if column == "contrast" and value in CONTRASTS:
        return contrast_title(value, names)
    if column in ("visit", "status"):
        return words.visit_words(value)
    if column == "furthest":
        return head(value, names)
    if column in CODED:
        return CODES.get(value, value.replace("_", " "))
    return names.get(value, str(value)) if column == "arm" else str(value)


def _head(name, names, file, kind):
    if kind == "visit":
        return words.visit_words(name)
    return f"{contrast_title(name, names)}, %" if name in OF_CHANGE else head(name, names, file)


def _is_p(name):
    return name == "p" or str(name).startswith(("p_", "q_", "smallest_p"))


def by_visit(means, study):
    """Observed means with standard deviations and n, a row per scale and arm, a column per visit.

    Parameters
    ----------
    means : pandas.DataFrame
        ``clinical/means.tsv``.
    study : Study

    Returns
    -------
    IPython.display.HTML
    """
    cell = [f"{row.mean:.1f} ({row.sd:.1f}), n = {row.n}" for row in means.itertuples()]
    wide = means.assign(cell=cell).pivot(index=["scale", "arm"], columns="visit", values="cell")
    return table(wide.fillna("not rated"), study, index=True)


def _printed(frame, name, names, file):
    cells = spoken(frame[name], name, names)
    if cells is not None:
        return cells
    values = pd.to_numeric(frame[name]).astype(float)
    if file in ("rates", "failing") and name != "n_draws":
        return ["–" if pd.isna(value) else words.rate_cell(value) for value in values]
    if _is_p(name):
        return values.map(words.p_cell).tolist()
    if "risk_difference" in frame and name in SHARES:
        return ["–" if pd.isna(value) else words.printed(value, "percent") for value in values]
    if str(name).startswith("nnt"):
        return ["–" if pd.isna(value) else words.printed(value, "nnt") for value in values]
    whole = values.dropna().mod(1).eq(0)
    form = ".0f" if whole.all() else ".2f"
    if str(name).startswith("events_"):  # a mean over imputations beside counts
        return [words.number_text(value, ".0f" if value % 1 == 0 else ".1f") for value in values]
    return ["–" if pd.isna(value) else words.number_text(value, form) for value in values]
