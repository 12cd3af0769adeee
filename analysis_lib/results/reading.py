"""Result files, read back by name."""

from pathlib import Path

from analysis_lib.results import columns, files
from analysis_lib.results.problems import MissingFile, Problem


def read_table(path):
    """Read a result table, with the types that ``columns.tsv`` gives its columns.

    `MissingFile` says which notebook writes it.
    """
    return columns.read(require(path))


def read_json(path):
    """Read a result of kind JSON; raises as :func:`read_table` does."""
    return files.read_json(require(path))


def require(path):
    """Raise MissingFile, naming the notebook to run, if a result file is not there."""
    writers = {
        "grey_matter": "00_grey_matter",
        "clinical": "01_clinical_outcomes",
        "vbm": "02_vbm",
        "receptors": "03_receptor_correlation",
        "conduct": "S0_trial_conduct",
        "calibration": "S1_calibration",
        "specifications": "S2_specification_curve",
        "power": "S3_power",
        "juspace": "S4_juspace",
    }
    path = Path(path)
    if not path.exists():
        notebook = writers.get(path.parent.name, "an earlier notebook")
        expected = f"{path.parent.name}/{path.name} expected in {path.parent.parent}"
        raise MissingFile(Problem("", "", expected, f"none: run {notebook} first"))
    return path
