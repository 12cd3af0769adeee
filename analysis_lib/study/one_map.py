"""A study file for one map that somebody else made."""

import re
from pathlib import Path

import yaml

from analysis_lib.results.files import write_text
from analysis_lib.results.problems import Listing, Problem, StudyError
from analysis_lib.study.contract import TABLES, load_study
from analysis_lib.study.tables import read_any_table

# First words of columns that hold no effect.
OTHERS = {"se", "n", "p", "pobs", "df", "fdr", "q", "low", "lower", "up", "upper", "ci", "index"}


def write_study(file, folder, name, kind, atlas, given) -> Path:
    """Write NAME.yml for a map or a table of region values, and check that it can be loaded.

    ``given`` has region, value, se (columns of a table) and n, each None where it is not known:
    columns are then found, if there is one candidate. A study file of another content is not
    overwritten.
    """
    file = Path(file).resolve()
    if not file.is_file():
        raise StudyError(Problem(str(file), text="no such file"))
    name = name or re.sub(r"[^a-z0-9_-]+", "_", file.name.split(".")[0].lower()).strip("_-")
    if file.name.endswith(TABLES):
        given = given | _columns(file, given)
    effect = {"file": str(file), "kind": kind} | {k: v for k, v in given.items() if v is not None}
    content = {"name": name, "title": f"One map: {file.name}", "effect": effect, "atlas": atlas}
    content["outside"] = True  # the file was named on purpose
    path, text = Path(folder) / f"{name}.yml", yaml.safe_dump(content, sort_keys=False)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        remedy = "Give another --name, or remove that file"
        raise StudyError(Problem(str(path), text="another study file is there", remedy=remedy))
    write_text(path, text)
    load_study(path)
    return path


def _columns(file, given):
    """Columns of regions and of values: those given, else the only ones that can be meant."""
    table = read_any_table(file)
    numbers = list(table.select_dtypes("number").dropna(axis=1, how="all"))
    texts = [column for column in table if column not in numbers and table[column].is_unique]
    effects = [name for name in numbers if name != given["se"] and _first(name) not in OTHERS]
    errors = [name for name in numbers if _first(name) == "se"]
    return {
        "se": given["se"] or (errors[0] if len(errors) == 1 else None),
        "region": given["region"] or _only(texts, "region", file),
        "value": given["value"] or _only(effects, "value", file),
    }


def _first(column):
    return re.split(r"[^a-z]+", str(column).lower())[0]


def _only(candidates, what, file):
    if len(candidates) == 1:
        return candidates[0]
    found = Listing(tuple(map(str, candidates))) if candidates else "none"
    remedy = f"say which: --{what} COLUMN"
    raise StudyError(Problem(file.name, "", f"one column that can be the {what}", found, remedy))
