"""What the converters of public trials share: tables and descriptions of a BIDS folder.

Their sources are checked by sha256: what a converter assumes of them is tested, once for all.
"""

import json
from pathlib import Path

import pandas as pd


def in_visit_order(table, visits):
    """Rows by participant, and by visit as it came."""
    ordered = table.assign(visit=pd.Categorical(table["visit"], visits, ordered=True))
    return ordered.sort_values(["participant_id", "visit"]).reset_index(drop=True)


def bids_folder(name, people, scales, came, columns=(), notes=()):
    """The files of a public trial's BIDS folder, text by path.

    ``scales`` holds by name the table and column of its scores, ``came`` a row per participant and
    visit, with further ``columns`` of the sessions. ``<name>.json`` says what the folder says of
    itself, to which notes are added.
    """
    about = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    files = _dataset_description(about, notes)
    files |= described_table("participants", people, about["participants"])
    for scale, (table, column) in scales.items():
        files |= _scale_table(scale, table, column, about[scale])
    return files | session_tables(came, columns)


def _scale_table(name, table, column, description):
    """A phenotype table of one score and its description, by file name."""
    described = {
        "participant_id": {"Description": "Participant, as in participants.tsv"},
        "session_id": {"Description": "Visit, with ses- before it"},
        "total": {"Description": description, "Units": "point"},
    }
    content = {
        "participant_id": table["participant_id"],
        "session_id": "ses-" + table["visit"].astype(str),
        "total": table[column].map("{:g}".format, na_action="ignore"),
    }
    return described_table(f"phenotype/{name}", pd.DataFrame(content), described)


_SESSION_COLUMNS = {
    "session_id": {"Description": "Visit, with ses- before it"},
    "days": {"Description": "Days since baseline (RELDAYS)", "Units": "day"},
}


def session_tables(table, columns=()):
    """One sessions file per participant: BIDS wants a folder for everyone in participants.tsv.

    ``table`` has a row per participant and visit, with further ``columns``.
    """
    table = table.assign(session_id="ses-" + table["visit"].astype(str))
    described = {name: _SESSION_COLUMNS[name] for name in ["session_id", *columns]}
    files = {"sessions.json": json_text(described)}
    for participant, rows in table.groupby("participant_id", sort=False):
        files[f"{participant}/{participant}_sessions.tsv"] = _tsv(rows[["session_id", *columns]])
    return files


def described_table(name, table, described):
    """Text of a table and of the JSON file beside it, by file name."""
    return {f"{name}.tsv": _tsv(table[list(described)]), f"{name}.json": json_text(described)}


def _dataset_description(about, notes=()):
    """dataset_description.json and README, by file name."""
    fixed = {
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "analysis_lib.datasets.fetch"}],
    }
    readme = "".join(f"{line}\n" for line in about["readme"])
    readme += "".join(f"\n{note}\n" for note in notes)
    return {"dataset_description.json": json_text({**about["dataset"], **fixed}), "README": readme}


def _tsv(table):
    return table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def json_text(content) -> str:
    """A JSON file's text."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
