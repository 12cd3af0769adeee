"""Tables of the report: rows and decimals; ``tables.yml`` has titles, notes and columns."""

from pathlib import Path

import pandas as pd
import yaml
from markupsafe import Markup

from analysis_lib.figures.palette import VERDICTS
from analysis_lib.report.display import SHARES, joined, spoken, variables
from analysis_lib.report.sentences import by_size
from analysis_lib.results import words
from analysis_lib.results.columns import describe, head
from analysis_lib.results.contrasts import contrast_words

SPECIFIED = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
# Limits of intervals, and the columns that are joined.
INTERVALS = {name: (f"{name}_low", f"{name}_high") for name in ("ci", "g_ci", "rr_ci", "nnt_ci")}
TWO_DECIMALS, WORDS = (SPECIFIED["columns"][kind].split() for kind in ("two decimals", "words"))


def read_tables(evidence, has_receptors) -> dict:
    """The tables of the page, by name; those whose file is not there are left out."""
    study = evidence.study
    clinical = ["baseline", "contrasts", "responders", "harms", "checklist"]
    names = clinical if study.arms else ["change"]
    names += ["clusters", "regions"] if study.imaging else []
    names += ["receptors", "juspace"] if has_receptors else []
    names += ["calibration", "failing", "power", "needed"]
    made = {name: _table(evidence, name, SPECIFIED[_kind(study, name)]) for name in names}
    return {name: table for name, table in made.items() if table}


def _kind(study, name):
    """Which of the specified tables a kind of study has under a name."""
    if name == "regions" and study.regional:
        return "regions_brought"
    if name == "receptors" and not study.arms:
        return "receptors_one_map" if study.effect else "receptors_no_control"
    return name


def _table(evidence, name, about):
    """A table of the page: what is shown, and what its columns mean by the registry."""
    said = _words(evidence.study)
    file = about["file"].format(**said)
    if not evidence.exists(file):
        return None
    rows, left_out = _shown(_rows(evidence, name, file), about)
    read_as, names = about.get("read_as"), evidence.study.arm_names
    columns = about["columns"].split()
    heads = [_head(column, read_as or file, names) for column in columns]
    for one, column in zip(heads, columns, strict=True):
        one["verdict"] = verdict(evidence, file, column) if name != "calibration" else None
        one["link"] = linked(one["verdict"])
    cells = [_cells(rows, column, file.split("/")[0], names) for column in columns]
    return {
        "title": about["title"].format(**said),
        "note": about["note"].format(**said),
        "file": file,
        "columns": heads,
        "rows": list(zip(*cells, strict=True)),
        "meanings": {one["heading"]: one["meaning"] for one in heads if one["meaning"]},
        "left_out": left_out,
    }


def verdict(evidence, file, column):
    """How far a column's p can be trusted, by S1: its worst verdict in the main contrast, or None.

    ``file`` is the table that holds it. A quick run of S1 has too few trials for a verdict.
    """
    rates = evidence.select("calibration/rates.tsv", column=column)
    if rates.empty or evidence.json("calibration/settings.json").get("quick"):
        return None
    rows = rates[rates["contrast"].isna() | rates["contrast"].eq(evidence.study.main)]
    found = set(rows.loc[[file.startswith(source) for source in rows["source"]], "verdict"])
    return next((one for one in VERDICTS if one in found), None)


def linked(verdict, page=""):
    """A verdict as a link to the table of S1's rates; nothing if there is none."""
    if not verdict:
        return ""
    said = "shows no departure from its level" if verdict == "holds" else f"is {verdict}"
    said = f"In simulated trials of this design without an effect, this p {said}"
    link = Markup(' <a class="verdict {}" href="{}#calibration" title="{}">{}</a>')
    return link.format(verdict.replace(" ", "-"), page, said, verdict)


def _words(study):
    names = study.arm_names
    return {
        "difference": f"{names['active']} − {names['control']}",
        "final": words.visit_words(study.final_visit) if study.visits else "",
        "main": study.main,
        "title": study.titled(study.main),
        "contrast": contrast_words(study.main, names),
    }


def _rows(evidence, name, file):
    """Rows of a table that concern the page, with words and counts as it says them."""
    rows, study = evidence.table(file), evidence.study
    if name in ("receptors", "juspace", "calibration", "failing"):
        return rows[rows["contrast"].isin([study.main]) | rows["contrast"].isna()]
    if name == "baseline":
        spaced = {arm: rows[arm].str.replace("%)", " %)", regex=False) for arm in study.arm_names}
        return rows.assign(variable=rows["variable"].replace(variables(study)), **spaced)
    if name == "responders":
        final = rows[rows["visit"].eq(study.final_visit) & rows["analysis"].ne("observed")]
        return _with_totals(final, "events")
    if name == "harms":
        return _with_totals(rows, "participants")
    return rows.assign(region=rows["region"].str.lower()) if name == "clusters" else rows


def _with_totals(rows, counted):
    """Counts as "5 of 18"."""
    return rows.assign(
        **{
            f"{counted}_{arm}": [
                f"{f'{events:.1f}'.removesuffix('.0')} of {n:.0f}"
                for events, n in zip(rows[f"{counted}_{arm}"], rows[f"n_{arm}"], strict=True)
            ]
            for arm in ("active", "control")
        }
    )


def _shown(rows, about):
    """The first rows, in the table's order, and which are left out, in words."""
    rows = by_size(rows, about["by"]) if "by" in about else rows
    most, rest = about.get("most"), about.get("rest", "")
    if most is None:
        return rows, rest
    return rows.head(most), f"{most} of {len(rows)} {rest}" if len(rows) > most else ""


def _head(column, file, names):
    parts = INTERVALS.get(column, (column,))
    meanings = [about.words for about in describe(file, parts).values()]
    return {
        "heading": head(parts[0], names, Path(file).stem),
        "meaning": "; ".join(meanings),
        "numeric": column not in WORDS,
    }


def _cells(rows, column, section, names):
    """A column as it is printed; limits of an interval are joined."""
    if column in INTERVALS:
        return joined(*(_cells(rows, part, section, names) for part in INTERVALS[column]))
    cells = spoken(rows[column], column, names)
    if cells is not None:
        return cells
    kind = _kind_of_column(rows, column, section)
    if kind == "p":
        return [words.p_cell(value) for value in rows[column]]
    return ["–" if pd.isna(value) else words.printed(value, kind) for value in rows[column]]


def _kind_of_column(rows, column, section):
    if column.startswith(("p_", "q_")) or column == "p":
        return "p"
    if "risk_difference" in rows and column in SHARES:
        return "percent"
    if section == "calibration" and column != "n_draws":
        return "rate"
    if column in TWO_DECIMALS:
        return "two"
    if column.startswith("nnt"):
        return "nnt"
    if section in ("receptors", "juspace", "power"):
        return "count" if column.startswith("n_") else "two"
    whole = rows[column].dropna().mod(1).eq(0).all()
    return "count" if whole and column not in ("estimate", "ci_low", "ci_high") else "points"
