"""What an import writes: a BIDS folder, the study file, and a page of what was read."""

import json

import pandas as pd
import yaml

from analysis_lib.datasets.bids_tables import described_table
from analysis_lib.importing.applying import about_scale
from analysis_lib.results.hashing import text_hash
from analysis_lib.study.tables import MISSING

HEAD = """\
# Written by import-study from import.yml: change that file and run import-study again.
# data/README.md explains each key; keys of your own go under "study" in import.yml.
# To list every problem: python -m analysis_lib check-study {name}.yml
"""
FIRST_ROWS = 5
RECORD = "private/written.json"  # sha256 of each file, as it was written


def files_of(mapping, imported) -> dict:
    """Text of every file that an import writes, by path."""
    bids = _bids(mapping, imported)
    files = {f"bids/{where}": text for where, text in bids.items()}
    files[f"{mapping.name}.yml"] = study_text(mapping, imported)
    files["private/what_was_read.md"] = _page(mapping, imported)
    if any(key != f"sub-{name}" and key != name for name, key in imported.keys.items()):
        rows = "".join(f"{key}\t{name}\n" for name, key in imported.keys.items())
        files["private/participants.key.tsv"] = f"participant_id\tin_the_source\n{rows}"
    files[".gitignore"] = "*.key.tsv\nbids/\nprivate/\n"
    hashes = {where: text_hash(text) for where, text in files.items()}
    return files | {RECORD: json.dumps(hashes, indent=1) + "\n"}


def study_text(mapping, imported) -> str:
    """The study file."""
    content = {"name": mapping.name, "title": mapping.title, "data": "bids"}
    arms = mapping.arms if mapping.arms == "none" else mapping.arms.model_dump()
    if arms != "none" and not arms["left_out"]:
        del arms["left_out"]
    weeks = dict(zip(mapping.visits, map(_number, mapping.weeks), strict=True))
    content |= {"arms": arms, "visits": weeks, "scales": []}
    first = next(iter(imported.scores), None)
    for scale in imported.scores:
        entry = {"name": scale, "file": f"phenotype/{_key(scale)}.tsv"}
        primary = {"primary": True} if scale == (mapping.primary or first) else {}
        content["scales"].append(entry | about_scale(mapping, scale) | primary)
    if imported.change is not None:
        sessions = {k: v for k, v in mapping.imaging.items() if k in ("pre", "post")}
        table = {"table": "regions.tsv", "atlas": mapping.imaging["atlas"]}
        table |= {"values": "percent_change"}
        content["imaging"] = ({"sessions": sessions} if sessions else {}) | table
        content["regions"] = []
    content |= mapping.study
    options = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 98}
    return HEAD.format(name=mapping.name) + yaml.safe_dump(content, **options)


def _number(week):
    return int(week) if float(week).is_integer() else week


def _key(scale):
    return "".join(c for c in scale.lower() if c.isalnum())


# --- BIDS


def _bids(mapping, imported):
    """The BIDS folder."""
    people = imported.people
    files = {
        "dataset_description.json": _json(
            {
                "Name": mapping.title,
                "BIDSVersion": "1.10.0",
                "DatasetType": "raw",
                "License": "n/a",
                "Authors": ["Name them"],
                "GeneratedBy": [{"Name": "analysis_lib.importing"}],
            }
        ),
        "README": f"{mapping.title}\n\nDescribe the trial here: the participants, their treatment, "
        "and when and by whom they were\nrated. The tables were written by import-study.\n",
        ".bidsignore": "regions.*\n",
        **described_table("participants", people, _about_people(mapping, people)),
    }
    for scale, table in imported.scores.items():
        files |= _phenotype(mapping, scale, table)
    if imported.change is not None:
        change = imported.change
        about = {"participant_id": {"Description": "Participant, as in participants.tsv"}}
        about |= {c: {"Units": "percent"} for c in change if c != "participant_id"}
        files |= described_table("regions", change, about)
    return files | _sessions(mapping, imported)


def _about_people(mapping, people):
    about = {name: {"Description": name} for name in people}
    about["participant_id"] = {"Description": "Participant"}
    for part in mapping.tables.values():
        for name, column in part.participants.items():
            about[name] = {"Description": f"{column}, as imported"}
    if "age" in about:
        about["age"] = {"Description": "Age", "Units": "year"}
    if mapping.arms != "none" and mapping.arms.column in about:
        words = people[mapping.arms.column].unique()
        about[mapping.arms.column] = {
            "Description": "Randomised arm",
            "Levels": {word: word for word in sorted(words)},
        }
    return about


def _phenotype(mapping, scale, table):
    low, high = about_scale(mapping, scale)["range"]
    rows = table.rename(columns={"visit": "session_id"})
    rows["session_id"] = "ses-" + rows["session_id"]
    about = {
        "MeasurementToolMetadata": {"Description": scale},
        "participant_id": {"Description": "Participant, as in participants.tsv"},
        "session_id": {"Description": "Visit, with ses- before it"},
        "total": {"Description": f"Total score, {low:g} to {high:g}"},
    }
    about |= {c: {"Description": c.replace("_", " ")} for c in rows if c.startswith("item_")}
    stem = f"phenotype/{_key(scale)}"
    columns = {name: about[name] for name in rows}
    files = described_table(stem, rows, columns)
    tool = {"MeasurementToolMetadata": about["MeasurementToolMetadata"]}
    return files | {f"{stem}.json": _json(tool | columns)}


def _sessions(mapping, imported):
    """A file of each participant's visits: those with a score; BIDS wants one for everybody."""
    seen = pd.concat(
        [t.dropna(thresh=3)[["participant_id", "visit"]] for t in imported.scores.values()]
    )
    seen = set(seen.itertuples(index=False, name=None))
    files = {"sessions.json": _json({"session_id": {"Description": "Visit, with ses- before it"}})}
    for who in imported.people["participant_id"]:
        visits = [v for v in mapping.visits if (who, v) in seen] or list(mapping.visits)[:1]
        rows = "".join(f"ses-{visit}\n" for visit in visits)
        files[f"{who}/{who}_sessions.tsv"] = f"session_id\n{rows}"
    return files


def _json(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# --- the page


def _page(mapping, imported):
    """What was read, as Markdown: counts, ranges, first rows, what does not fit."""
    text = [f"# {mapping.title}: what was read", "", "Not for sharing: rows of participants.", ""]
    text += ["## Counts", ""] + [f"- {name}: {count}" for name, count in imported.counts.items()]
    if mapping.arms != "none":
        arms = imported.people[mapping.arms.column].value_counts()
        text += [f"- {arm}: {n} participants" for arm, n in arms.items()]
    text += ["", "## What does not fit", ""]
    text += [f"- {misfit}" for misfit in imported.misfits] or ["Nothing."]
    for scale, table in imported.scores.items():
        text += ["", f"## {scale}", "", *_ranges(mapping, table), "", *_markdown(table)]
    text += ["", "## Participants", "", *_markdown(imported.people)]
    if imported.change is not None:
        text += ["", "## Change by region, percent", ""]
        text += _markdown(imported.change.iloc[:, :8])
    return "\n".join(text) + "\n" + _left_out(mapping)


def _ranges(mapping, table):
    """Counts and ranges of each visit."""
    column = "total" if "total" in table else None
    rows = []
    for visit, week in zip(mapping.visits, mapping.weeks, strict=True):
        own = table[table["visit"] == visit].drop(columns=["participant_id", "visit"])
        numbers = own.apply(pd.to_numeric)
        values = numbers[column] if column else numbers.sum(axis=1, skipna=False)
        values = values.dropna()
        told = (
            f"{values.min():g} to {values.max():g}, mean {values.mean():.1f}" if len(values) else ""
        )
        rows.append({"visit": visit, "week": f"{week:g}", "n": str(len(values)), "total": told})
    return _markdown(pd.DataFrame(rows), len(rows))


def _markdown(table, n=FIRST_ROWS):
    cells = table.head(n).astype(object).where(table.head(n).notna(), MISSING)
    rows = [list(map(str, cells)), ["---"] * cells.shape[1], *cells.astype(str).to_numpy().tolist()]
    return [f"| {' | '.join(row)} |" for row in rows]


def _left_out(mapping):
    lines = ["", "## Left out", ""]
    for name, part in mapping.tables.items():
        lines += [f"- {name}: {why}: {', '.join(c)}" for why, c in part.left_out.items()]
    return "\n".join(lines) + "\n"
