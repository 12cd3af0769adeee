"""What the converters of public trials share: tables and descriptions of a BIDS folder."""

import json

import pandas as pd

from analysis_lib.results.problems import FetchError


def require_columns(file, table, columns):
    """Refuse a source file that lacks columns."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise FetchError(f"{file}: columns {', '.join(missing)} expected, found {', '.join(table)}")


def in_visit_order(table, visits):
    """Rows by participant, and by visit as it came."""
    ordered = table.assign(visit=pd.Categorical(table["visit"], visits, ordered=True))
    return ordered.sort_values(["participant_id", "visit"]).reset_index(drop=True)


def score_table(table, column):
    """A phenotype table of one score."""
    return pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            "session_id": "ses-" + table["visit"].astype(str),
            "total": table[column].map("{:g}".format, na_action="ignore"),
        }
    )


def scale_columns(description):
    """Descriptions of the columns of a phenotype table."""
    return {
        "participant_id": {"Description": "Participant, as in participants.tsv"},
        "session_id": {"Description": "Visit, with ses- before it"},
        "total": {"Description": description, "Units": "point"},
    }


_SESSION_COLUMNS = {
    "session_id": {"Description": "Visit, with ses- before it"},
    "days": {"Description": "Days since baseline (RELDAYS)", "Units": "day"},
}


def session_table(table, columns):
    """One sessions file per participant: BIDS wants a folder for everyone in participants.tsv."""
    table = table.assign(session_id="ses-" + table["visit"].astype(str))
    described = {name: _SESSION_COLUMNS[name] for name in ["session_id", *columns]}
    files = {"sessions.json": _json(described)}
    for participant, rows in table.groupby("participant_id"):
        files[f"{participant}/{participant}_sessions.tsv"] = _tsv(rows[["session_id", *columns]])
    return files


def described_table(name, table, described):
    """Text of a table and of the JSON file beside it, by file name."""
    return {f"{name}.tsv": _tsv(table[list(described)]), f"{name}.json": _json(described)}


def dataset_description(about, readme):
    """dataset_description.json and README, by file name."""
    fixed = {
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "analysis_lib.datasets.fetch"}],
    }
    return {"dataset_description.json": _json({**about, **fixed}), "README": readme}


def _tsv(table):
    return table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def _json(content):
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
