"""Shared fixtures. Real files are those of $REFERENCE_DATA, else of ../shared; none is copied."""

import ast
import contextlib
import io
import os
import signal
import zlib
from pathlib import Path

import IPython.display
import nbformat
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from analysis_lib.pipeline import memory, running
from analysis_lib.results import reading, writing
from analysis_lib.study import image_problems, scores
from analysis_lib.study.contract import load_study

PROJECT = Path(__file__).resolve().parents[1]
# The files that take longest, from the longest, as measured with --durations.
LONGEST = (
    *(
        "test_notebooks.py",
        "test_bad_input.py",
        "test_cluster.py",
        "test_jupyterlab.py",
        "test_batch.py",
    ),
    *("test_process.py", "test_page.py", "test_wiring.py", "test_doors.py", "test_pipeline.py"),
    *("test_imputation.py", "test_surrogates.py", "test_simulate.py", "test_fetch.py"),
)
STUB_STUDY = """\
name: tiny
title: A tiny trial
data: raw
simulated: true
arms: {column: arm, active: active, control: sham}
visits: {baseline: 0, week1: 1}
scales:
  - {name: HAMD-17, file: phenotype/hamd17.tsv, range: [0, 52], primary: true}
"""


def pytest_collection_modifyitems(items):
    """Put the longest files first: two processes that share the files then end together."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def write_stub_study(folder):
    """The least that a pipeline needs of a study: its file, and sound tables of four people."""
    (folder / "tiny.yml").write_text(STUB_STUDY)
    (folder / "raw" / "phenotype").mkdir(parents=True)
    write_stub_tables(folder / "raw", ("sub-1", "sub-2", "sub-3", "sub-4"))


def write_stub_tables(raw, names):
    """Tables of participants, half of them in each arm."""
    people = zip(names, ("active", "sham") * (len(names) // 2), strict=True)
    rows = ["participant_id\tarm", *("\t".join(pair) for pair in people)]
    (raw / "participants.tsv").write_text("\n".join(rows) + "\n")
    scores = [f"{who}\tses-{v}\t{s}" for who in names for v, s in (("baseline", 20), ("week1", 15))]
    rows = ["participant_id\tsession_id\ttotal", *scores]
    (raw / "phenotype" / "hamd17.tsv").write_text("\n".join(rows) + "\n")


def grey_matter(who, visit, shape=(4, 5, 6), value=None):
    """A made-up map: the participant's own, a little changed by each visit; or one value."""
    own, change = (np.random.default_rng(zlib.crc32(text.encode())) for text in (who, who + visit))
    data = own.uniform(0.2, 0.8, shape) * change.uniform(0.98, 1.02, shape)
    data = data if value is None else np.full(shape, value)
    return nib.Nifti1Image(data.astype("f4"), np.diag([3, 3, 3, 1]))


def write_head(path):
    """Write a made-up T1-weighted image, as large as a head and another one for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    nib.save(nib.Nifti1Image(rng.integers(0, 255, (40,) * 3, "u1"), np.diag([3, 3, 3, 1])), path)
    return path


def image_lines(study, people=None):
    """What is wrong with the names, pairs and values of a study's images, a line each."""
    people = scores.provisional_participants(study) if people is None else people
    parts = ("map_name_problems", "map_problems", "t1w_problems")
    found = [problem for part in parts for problem in getattr(image_problems, part)(study, people)]
    return lines(dict.fromkeys(found))


def lines(problems):
    """Problems as users see them, a line each."""
    return [str(problem) for problem in problems]


def show(*values):
    """Stands for ``display``: prints what HTML and Markdown hold; a picture is its text."""
    for value in values:
        print(getattr(value, "data", value))


def run_cell(source, variables):
    """Run a cell, and show the value of its last line as a kernel does."""
    *body, last = ast.parse(source).body or [ast.Pass()]
    last = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
    tree = ast.parse(source)
    tree.body = body if last else tree.body
    exec(compile(tree, "cell", "exec"), variables)
    if last and (value := eval(compile(last, "cell", "eval"), variables)) is not None:
        show(value)


def execute_here(notebook, executed, passed, on_cell=None, library=None, told=None):
    """Stands for `execution.execute`: runs the cells in this process, and keeps what they print."""
    content, variables = nbformat.read(notebook, as_version=4), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IPython.display, "display", show)
        for name, value in (told or {}).items():
            patch.setenv(name, value)
        for cell in content.cells:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                run_cell(cell.source if cell.cell_type == "code" else "", variables)
            if text := printed.getvalue():
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
            variables |= passed if "parameters" in cell.metadata.get("tags", []) else {}
    executed.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, executed)


@pytest.fixture(scope="module")
def without_kernels():
    """Notebooks run in this process: a kernel takes seconds to start, and other tests do that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "execute", execute_here)
        patch.setattr(memory, "apart", lambda function, *arguments: function(*arguments))
        yield


@pytest.fixture
def interruptible():
    """Ctrl-C works as in a terminal: a shell starts jobs in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def reference_data():
    """Folder with the real data and reference results that some tests compare with."""
    folder = Path(os.environ.get("REFERENCE_DATA", PROJECT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data absent: {folder} has no data/ (set REFERENCE_DATA)")
    return folder


class TinyTrial:
    """A valid trial of eight participants in memory; a test changes it, then writes it.

    ``content`` is the study file, ``participants`` and ``scales`` (by file name) are its tables.
    """

    def __init__(self, folder):
        self.folder = folder
        self.content = {
            "name": "tiny",
            "title": "A tiny trial",
            "data": "bids",
            "public": True,
            "arms": {"column": "arm", "active": "active", "control": "sham"},
            "visits": {"baseline": 0, "week1": 1, "week2": 2},
            "scales": [
                {"name": "HAMD-17", "file": "phenotype/hamd17.tsv", "range": [0, 52]},
                {"name": "HAMA", "file": "phenotype/hama.tsv", "range": [0, 56]},
            ],
            "covariates": ["age", "sex"],
        }
        self.content["scales"][0] |= {"primary": True, "remission_at_most": 7}
        self.participants = pd.DataFrame(
            {
                "participant_id": [f"sub-{i:02d}" for i in range(1, 9)],
                "arm": ["active", "sham"] * 4,
                "age": [30, 41, 35, 52, 28, 47, 60, 33],
                "sex": ["F", "F", "M", "M"] * 2,
                "withdrawn_after": "n/a",
            }
        ).astype(object)
        self.scales = {"hamd17.tsv": self._scores(24, 5, 3), "hama.tsv": self._scores(20, 4, 2)}

    def _scores(self, first, active_fall, control_fall):
        rows = [
            {
                "participant_id": who,
                "session_id": f"ses-{visit}",
                "total": first + i - week * (active_fall if i % 2 == 0 else control_fall),
            }
            for i, who in enumerate(self.participants["participant_id"])
            for visit, week in self.content["visits"].items()
        ]
        return pd.DataFrame(rows).astype(object)

    def write(self):
        """Write the study file and its tables, and load the study."""
        return load_study(self.write_files())

    def write_files(self):
        """Write the study file and its tables; return the study file."""
        bids = self.folder / "bids"
        (bids / "phenotype").mkdir(parents=True, exist_ok=True)
        path = self.folder / "tiny.yml"
        path.write_text(yaml.safe_dump(self.content, sort_keys=False), encoding="utf-8")
        self.participants.to_csv(bids / "participants.tsv", sep="\t", index=False)
        for name, table in self.scales.items():
            table.to_csv(bids / "phenotype" / name, sep="\t", index=False)
        return path


@pytest.fixture
def tiny(tmp_path):
    """A valid trial of eight participants, to be changed and written: see :class:`TinyTrial`."""
    return TinyTrial(tmp_path)


@pytest.fixture(scope="session")
def trial():
    """Change of 14 participants in 30 parcels, two covariates, and four receptor maps."""
    rng = np.random.default_rng(5)
    receptor_maps = rng.gamma(2, size=(4, 30))
    arm = np.tile(["active", "control"], 7)
    covariates = pd.DataFrame({"age": rng.normal(40, 10, 14), "sex": list("mmf") * 4 + ["f", "m"]})
    change = rng.normal(0.3, 1, (14, 30)) + 0.05 * covariates[["age"]].to_numpy()
    return {"change": change, "arm": arm, "receptors": receptor_maps}, covariates


def changed_tables(derived, folder):
    """Result tables below a folder that do not come back as the same bytes: there should be none.

    Parameters
    ----------
    derived : pathlib.Path
        Results of a run; every ``.tsv`` below it is read and written again.
    folder : pathlib.Path
        Where to write, emptied by each table.

    Returns
    -------
    list of str
        Files, relative to ``derived``.
    """
    changed, tables = [], sorted(derived.rglob("*.tsv"))
    assert tables, f"no tables in {derived}"
    for path in tables:
        writing.write(folder, {path.name: reading.read_table(path)})
        if (folder / path.name).read_bytes() != path.read_bytes():
            changed.append(path.relative_to(derived).as_posix())
    return changed
