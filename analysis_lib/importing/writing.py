"""What an import writes: a BIDS folder, the study file, and a page of what was read."""

import json
from pathlib import Path

import pandas as pd
import yaml

from analysis_lib.datasets.bids_tables import described_table, json_text, session_tables
from analysis_lib.importing.applying import by_place, rated
from analysis_lib.results.hashing import text_hash
from analysis_lib.study.items import item_columns
from analysis_lib.study.tables import MISSING

TEXTS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
PAGE = Path(__file__).with_suffix(".j2")  # of the page
FIRST_ROWS = 5
RECORD = "private/written.json"  # sha256 of each file, as it was written


def files_of(mapping, imported) -> dict:
    """Text of every file that an import writes, by path."""
    files = {f"bids/{where}": text for where, text in _bids(mapping, imported).items()}
    files[f"{mapping.name}.yml"] = study_text(mapping, imported)
    files["private/what_was_read.md"] = _page(mapping, imported)
    if any(key not in (name, f"sub-{name}") for name, key in imported.keys.items()):
        rows = "".join(f"{key}\t{name}\n" for name, key in imported.keys.items())
        files["private/participants.key.tsv"] = f"participant_id\tin_the_source\n{rows}"
    files[".gitignore"] = "*.key.tsv\nbids/\nprivate/\n"
    hashes = {where: text_hash(text) for where, text in files.items()}
    return files | {RECORD: json.dumps(hashes, indent=1) + "\n"}


def study_text(mapping, imported) -> str:
    """The study file."""
    content = {"name": mapping.name, "title": mapping.title, "data": "bids"}
    content["arms"] = mapping.arms
    if mapping.arms != "none":
        content["arms"] = {k: v for k, v in mapping.arms.model_dump().items() if v}
    weeks = (int(week) if week.is_integer() else week for week in mapping.weeks)
    content["visits"] = dict(zip(mapping.visits, weeks, strict=True))
    primary = mapping.primary or mapping.own_scales[0]
    content["scales"] = [
        {"name": scale, "file": f"phenotype/{_key(scale)}.tsv"}
        | mapping.about(scale)
        | ({"primary": True} if scale == primary else {})
        for scale in mapping.own_scales
    ]
    if imported.change is not None:
        sessions = {k: v for k, v in mapping.imaging.items() if k in ("pre", "post")}
        content["imaging"] = {"sessions": sessions} if sessions else {}
        content["imaging"] |= {"table": "regions.tsv", "atlas": mapping.imaging["atlas"]}
        content["imaging"] |= {"values": "percent_change"}
        content["regions"] = []
    options = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 98}
    return TEXTS["study"].format(name=mapping.name) + yaml.safe_dump(
        content | mapping.study, **options
    )


def _key(scale):
    return "".join(c for c in scale.lower() if c.isalnum())


# --- BIDS


def _bids(mapping, imported):
    """The BIDS folder."""
    about = {"Name": mapping.title} | TEXTS["dataset"]
    files = {
        "dataset_description.json": json_text(about),
        "README": TEXTS["readme"].format(title=mapping.title),
        ".bidsignore": "regions.*\n",
    }
    people, change = imported.people, imported.change
    files |= described_table("participants", people, _about_people(mapping, people))
    for scale, table in imported.scores.items():
        files |= _phenotype(mapping, scale, table)
    if change is not None:
        about = {"participant_id": TEXTS["columns"]["participant_id"]}
        about |= {c: {"Units": "percent"} for c in change if c not in about}
        files |= described_table("regions", change, about)
    return files | session_tables(_came(mapping, imported))


def _about_people(mapping, people):
    about = {"participant_id": {"Description": "Participant"}}
    for part in mapping.tables.values():
        for name, column in part.participants.items():
            about[name] = {"Description": f"{column}, as imported"}
    if "age" in about:
        about["age"] = {"Description": "Age", "Units": "year"}
    if mapping.arms != "none":
        levels = {word: word for word in sorted(people[mapping.arms.column].unique())}
        about[mapping.arms.column] = {"Description": "Randomised arm", "Levels": levels}
    return about


def _phenotype(mapping, scale, table):
    low, high = mapping.about(scale)["range"]
    rows = table.assign(session_id="ses-" + table["visit"])
    about = dict(TEXTS["columns"])
    if "total" in rows:
        about["total"] = {"Description": f"Total score, {low:g} to {high:g}"}
    about |= {c: {"Description": c.replace("_", " ")} for c in item_columns(rows)}
    stem = f"phenotype/{_key(scale)}"
    tool = {"MeasurementToolMetadata": {"Description": scale}}
    return described_table(stem, rows, about) | {f"{stem}.json": json_text(tool | about)}


def _came(mapping, imported):
    """Visits with a score, in order; the first one of those who have none: BIDS wants one."""
    first = imported.people[["participant_id"]].assign(visit=next(iter(mapping.visits)))
    came = rated(imported.scores)
    came = pd.concat([came, first[~first["participant_id"].isin(came["participant_id"])]])
    return by_place(came, imported.people, mapping)


# --- the page


def _page(mapping, imported):
    """What was read, as Markdown: counts, ranges, first rows, what does not fit."""
    import jinja2  # slow to import

    people, scores, change = imported.people, imported.scores, imported.change
    template = jinja2.Template(PAGE.read_text(encoding="utf-8"), trim_blocks=True)
    return template.render(
        title=mapping.title,
        counts=imported.counts,
        arms={} if mapping.arms == "none" else people[mapping.arms.column].value_counts(),
        misfits=imported.misfits,
        totals={scale: _totals(mapping, table) for scale, table in scores.items()},
        scores={scale: _first_rows(table) for scale, table in scores.items()},
        people=_first_rows(people),
        change=None if change is None else _first_rows(change.iloc[:, :8]),
        left_out={name: part.left_out for name, part in mapping.tables.items()},
    )


def _first_rows(table):
    return table.head(FIRST_ROWS).astype(object).fillna(MISSING)


def _totals(mapping, table):
    """Week, count, range and mean of the totals of each visit; of the items' sums without any."""
    given = table[["total"]] if "total" in table else table[item_columns(table)]
    totals = given.apply(pd.to_numeric).sum(axis=1, skipna=False).groupby(table["visit"])
    weeks = pd.DataFrame({"week": mapping.weeks}, list(mapping.visits))
    return weeks.join(totals.agg(["count", "min", "max", "mean"])).fillna({"count": 0})
