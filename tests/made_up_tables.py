"""A made-up trial in long form, the ways to import it, and what was written, cell by cell."""

import numpy as np
import pandas as pd
import yaml

from analysis_lib.importing import OpenQuestions, import_study

VISITS = {"baseline": 0, "week2": 2, "week4": 4}
MAXIMA = [4, 4, 4, 2, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 4, 2, 2]  # of HAMD-17's items


def trial(n=8, arms=("active", "sham")):
    """One row per participant and visit: id, arm, age, sex, visit, item_1 to item_17, total."""
    rng = np.random.default_rng(19)
    rows = [
        {"id": f"P{k:02d}", "arm": arms[k % len(arms)], "age": 30 + k, "sex": "FM"[k // 2 % 2]}
        | {"visit": visit}
        | {f"item_{i + 1}": int(rng.integers(0, high + 1)) for i, high in enumerate(MAXIMA)}
        for k in range(1, n + 1)
        for visit in VISITS
    ]
    table = pd.DataFrame(rows)
    return table.assign(total=table.filter(like="item_").sum(axis=1))


def people(table):
    """The columns that do not change, a row per participant."""
    return table[["id", "arm", "age", "sex"]].drop_duplicates().set_index("id")


def wide(table, name, codes, values=("total",)):
    """One row per participant; ``name`` makes a column's name of a code and a value's name."""
    columns = {
        name(code, value): table[table["visit"] == visit].set_index("id")[value]
        for value in values
        for visit, code in zip(VISITS, codes, strict=True)
    }
    return people(table).join(pd.DataFrame(columns)).reset_index()


def import_edited(files, folder, edits=()):
    """Import; what is asked is answered by the edits, place by place, and by nothing else."""
    try:
        return import_study(files, folder)
    except OpenQuestions:
        assert edits, (folder / "import.yml").read_text()
    edit(folder, edits)
    return import_study(files, folder)


def edit(folder, edits):
    """Change values of import.yml by their place, as an editor would."""
    path = folder / "import.yml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for place, value in dict(edits).items():
        inner = content
        for key in place.split("/")[:-1]:
            inner = inner[key]
        inner[place.split("/")[-1]] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def written(study_file, scale="hamd17"):
    """Numbers of a scale by participant, session and column, missing ones left out."""
    path = study_file.parent / f"bids/phenotype/{scale}.tsv"
    table = pd.read_csv(path, sep="\t", na_values="n/a")
    return table.set_index(["participant_id", "session_id"]).stack().dropna().to_dict()


def expected(table, columns=("total",)):
    """The same of the trial itself."""
    rows = table.assign(participant_id="sub-" + table["id"], session_id="ses-" + table["visit"])
    names = {c: c if c == "total" else f"item_{int(c[5:]):02d}" for c in columns}
    rows = rows.set_index(["participant_id", "session_id"])[list(columns)].rename(columns=names)
    return rows.stack().dropna().to_dict()
