"""Result files, read back by name."""

import json
from pathlib import Path

import pandas as pd

from analysis_lib.results.columns import MISSING


def read_table(path):
    """Read a result table.

    Raises
    ------
    FileNotFoundError
        If it is not there; the message says which notebook writes it.
    """
    require(path)
    return pd.read_csv(path, sep="\t", na_values=[MISSING], keep_default_na=False)


def read_json(path):
    """Read a result of kind JSON; raises as :func:`read_table` does."""
    require(path)
    return json.loads(Path(path).read_text(encoding="utf-8"))


def require(path):
    """Raise FileNotFoundError, naming the notebook to run, if a result file is not there."""
    writers = {
        "grey_matter": "00_grey_matter",
        "clinical": "01_clinical_outcomes",
        "vbm": "02_vbm",
        "receptors": "03_receptor_correlation",
    }
    path = Path(path)
    if not path.exists():
        notebook = writers.get(path.parent.name, "an earlier notebook")
        raise FileNotFoundError(
            f"{path.parent.name}/{path.name} expected in {path.parent.parent}, found none: "
            f"run {notebook} first"
        )
    return path
