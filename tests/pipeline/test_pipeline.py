"""The pipeline on two stub notebooks: what it passes, skips, refuses, keeps and records."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import STUB_STUDY, lines, write_head, write_stub_study, write_stub_tables

from analysis_lib.atlas import files
from analysis_lib.datasets import fetch, simulate
from analysis_lib.pipeline import data, execution, freshness, locking, running
from analysis_lib.pipeline import memory as pipeline_memory
from analysis_lib.pipeline import plan as pipeline_plan
from analysis_lib.pipeline import steps as pipeline_steps
from analysis_lib.pipeline.plan import make_plan, status
from analysis_lib.pipeline.steps import Step
from analysis_lib.report import manifest as report_manifest
from analysis_lib.results import environment, hashing, problems
from analysis_lib.results import files as result_files
from analysis_lib.results.problems import FetchError, MissingFile, PipelineError, UsageError
from analysis_lib.study import parameters as study_parameters
from analysis_lib.study.contract import Study, load_study

PARAMETERS = """\
study: str = "demo"  # name or path of a study file
quick: bool = False  # few permutations
n_jobs: int = 1  # processes
factor: float = 2.0  # points
words: list = ["a", "b"]  # text
mode: str = "fine"  # fine, wrong, refused or dead
"""
READ = """\
import os
import stub_lib.module
from analysis_lib.results import StudyError
from analysis_lib.study.contract import load_study
loaded = load_study(study)
"""
FIRST = """\
out = loaded.derived / "one"
if mode == "wrong":
    raise ZeroDivisionError("nothing to divide by")
if mode == "refused":
    raise StudyError(["first problem", "second problem"])
if mode == "dead":
    os.write(2, b"last words")
    os._exit(3)
out.mkdir(exist_ok=True)
n = len((loaded.root / "participants.tsv").read_text().splitlines()) - 1
(out / "n.txt").write_text(f"{n * factor} {quick}")
(out / "threads.txt").write_text(os.environ["OPENBLAS_NUM_THREADS"])
"""
SECOND = """\
loaded.figures.mkdir(parents=True, exist_ok=True)
(loaded.figures / "a.txt").write_text((loaded.derived / "one" / "n.txt").read_text())
"""
STEPS = (
    Step("01_first", reads=(pipeline_steps.tables,), writes=("one",)),
    Step("02_images", reads=(Study.grey_matter_maps,), writes=("two",), needs=("images",)),
    Step("04_last", uses=("one",), may_use=("two",), writes=("figures",)),
)


def write_notebook(path, code):
    """A notebook with a title, parameters, and two sections of code."""
    new = nbformat.v4
    parameters = new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [new.new_markdown_cell("# Title"), parameters, new.new_markdown_cell("## Read")]
    cells += [new.new_code_cell(READ), new.new_markdown_cell("## Compute\n\nWhy.")]
    cells += [new.new_code_cell(code)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells), path)


def write_project(folder):
    """Notebooks, a library, a study and its tables."""
    for name, code in (("01_first", FIRST), ("02_images", FIRST), ("04_last", SECOND)):
        write_notebook(folder / "notebooks" / f"{name}.ipynb", code)
    (folder / "stub_lib").mkdir()
    (folder / "stub_lib" / "module.py").write_text("x = 1\n")
    (folder / "stub_lib" / "__init__.py").write_text("")
    write_stub_study(folder)
    return folder


def plan_of(folder, **options):
    """A plan on the stub project."""
    return make_plan(
        load_study(folder / "tiny.yml"),
        steps=STEPS,
        notebooks=folder / "notebooks",
        library=folder / "stub_lib",
        **options,
    )


def statuses(done):
    """Status by notebook number."""
    return {outcome.step.number: outcome.status for outcome in done.outcomes}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A stub project after its first run, and that run."""
    folder = write_project(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPENDIUM_OUTPUT", str(folder))
        patch.setenv("OPENBLAS_NUM_THREADS", "2")  # which a kernel does not inherit
        done = running.run(plan_of(folder))
    return folder, done


@pytest.fixture
def checked_here(monkeypatch):
    """The check before a run takes place in this process, which has imported it already."""
    here = SimpleNamespace(apart=lambda function, *arguments: function(*arguments))
    here.PeakMemory, here.repeated = pipeline_memory.PeakMemory, pipeline_memory.repeated
    monkeypatch.setattr(running, "pipeline_memory", here)


@pytest.fixture
def project(finished, tmp_path, monkeypatch, checked_here):
    """A copy of the finished project, elsewhere: nothing may depend on the place."""
    folder = tmp_path / "moved"
    shutil.copytree(finished[0], folder)
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(folder))
    return folder


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A stub project that has not run."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path))
    return write_project(tmp_path)


# --- a run ---


def test_run_writes_results_and_executed_notebooks(finished):
    folder, done = finished
    derived = folder / "data" / "derived" / "tiny"
    assert statuses(done) == {"01": "run", "02": "skipped", "04": "run"}
    assert done.outcomes[1].why == "no images in the study file"
    assert (derived / "one" / "n.txt").read_text() == "8.0 False"
    assert (folder / "figures" / "tiny" / "a.txt").read_text() == "8.0 False"
    names = sorted(path.name for path in (derived / "notebooks").iterdir())
    assert names == ["01_first.ipynb", "04_last.ipynb"]  # nothing partial, nothing failed
    left = sorted(path.name for path in derived.iterdir())
    assert left == [".run.lock", "manifest.json", "notebooks", "one"]
    executed = nbformat.read(derived / "notebooks" / "01_first.ipynb", 4)
    assert all(c.execution_count for c in executed.cells if c.cell_type == "code")
    assert executed.metadata.papermill.output_path == "01_first.ipynb"


def test_kernels_have_one_blas_thread_and_leave_the_environment_alone(finished, monkeypatch):
    path = finished[0] / "data" / "derived" / "tiny" / "one" / "threads.txt"
    assert path.read_text() == "1"
    monkeypatch.setenv("COMPENDIUM_OUTPUT", "here")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    told = environment.kernel_environment()
    assert told["OPENBLAS_NUM_THREADS"] == "1"
    assert told["COMPENDIUM_OUTPUT"] == str(Path.cwd() / "here")
    assert os.environ["OPENBLAS_NUM_THREADS"] == "2"


def test_manifest_names_inputs_outputs_parameters_and_no_place(finished):
    folder, _ = finished
    text = (folder / "data" / "derived" / "tiny" / "manifest.json").read_text()
    assert str(folder) not in text
    assert str(Path.home()) not in text
    manifest = json.loads(text)
    assert (manifest["simulated"], manifest["quick"]) == (True, False)
    assert set(manifest["steps"]) == {"01_first", "04_last"}
    step = manifest["steps"]["01_first"]
    assert set(step["inputs"]) == {
        "{study}",
        "{data}/participants.tsv",
        "{data}/phenotype/hamd17.tsv",
    }
    assert set(step["outputs"]) == {"one/n.txt", "one/threads.txt", "notebooks/01_first.ipynb"}
    digest = hashing.file_hash(folder / "data" / "derived" / "tiny" / "one" / "n.txt")
    assert step["outputs"]["one/n.txt"] == {"sha256": digest, "bytes": 9}
    assert step["parameters"] == {
        "quick": False,
        "factor": 2.0,
        "words": ["a", "b"],
        "mode": "fine",
    }
    assert step["packages"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "numpy" in step["packages"]
    assert step["started"] <= step["ended"]
    assert 0.2 < step["seconds"] < 300
    assert 50 < step["peak_memory_mb"] < 5000
    assert "one/n.txt" in manifest["steps"]["04_last"]["inputs"]
    assert "{figures}/a.txt" in manifest["steps"]["04_last"]["outputs"]


def test_second_run_does_nothing_even_after_a_move(project):
    manifest = project / "data" / "derived" / "tiny" / "manifest.json"
    before = manifest.read_bytes()
    done = running.run(plan_of(project))
    assert statuses(done) == {"01": "up to date", "02": "skipped", "04": "up to date"}
    assert manifest.read_bytes() == before


def _edit_code(project):
    write_notebook(project / "notebooks" / "01_first.ipynb", FIRST + "n = n + 0\n")


def _edit_library(project):
    (project / "stub_lib" / "module.py").write_text("x = 2\n")


def _edit_input(project):
    (project / "raw" / "phenotype" / "hamd17.tsv").write_text("participant_id\nsub-1\n")


def _edit_output(project):
    (project / "data" / "derived" / "tiny" / "one" / "n.txt").write_text("3")


def _remove_output(project):
    (project / "data" / "derived" / "tiny" / "notebooks" / "01_first.ipynb").unlink()


def _edit_manifest(project):
    (project / "data" / "derived" / "tiny" / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_edit_code, "to run: notebook changed"),
        (_edit_library, "to run: library changed: stub_lib/module.py"),
        (_edit_input, "to run: inputs changed: {data}/phenotype/hamd17.tsv"),
        (_edit_output, "to run: outputs changed: one/n.txt"),
        (_remove_output, "to run: outputs changed: notebooks/01_first.ipynb is missing"),
        (_edit_manifest, "to run: not run yet"),
    ],
)
def test_what_makes_a_step_out_of_date(project, change, why):
    assert status(plan_of(project))["01_first"] == "up to date"
    change(project)
    assert status(plan_of(project))["01_first"] == why


def _edit_cells(path, change):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = change(cell)
    nbformat.write(notebook, path)


def test_prose_and_comments_make_nothing_stale_and_reach_the_executed_copy(project):
    def reworded(cell):
        text = cell.cell_type == "markdown"
        return "## Other words" if text else cell.source.replace("# points", "# other words")

    _edit_cells(project / "notebooks" / "01_first.ipynb", reworded)
    copy = project / "data" / "derived" / "tiny" / "notebooks" / "01_first.ipynb"
    before = nbformat.read(copy, as_version=4)
    assert status(plan_of(project))["01_first"] == "up to date"
    assert statuses(running.run(plan_of(project)))["01"] == "up to date"
    after = nbformat.read(copy, as_version=4)
    assert {c.source for c in after.cells if c.cell_type == "markdown"} == {"## Other words"}
    assert "factor: float = 2.0  # other words" in "\n".join(c.source for c in after.cells)
    ran = [[c for c in book.cells if c.cell_type == "code"] for book in (before, after)]
    assert [c.get("outputs") for c in ran[0]] == [c.get("outputs") for c in ran[1]]
    assert [c.execution_count for c in ran[0]] == [c.execution_count for c in ran[1]]
    assert status(plan_of(project))["01_first"] == "up to date"  # the copy is the manifest's


def test_a_change_of_drawing_alone_leaves_results_and_marks_pictures_as_older(project, monkeypatch):
    monkeypatch.setattr(freshness, "SHOWN", ("stub_lib/",))
    plan, copy = plan_of(project, only=["01"]), "data/derived/tiny/notebooks/01_first.ipynb"
    assert statuses(running.run(plan_of(project, only=["01"], force=True))) == {"01": "run"}
    _edit_library(project)
    notes = Notes()
    assert statuses(running.run(plan, notes)) == {"01": "up to date"}
    assert "01: results up to date, pictures older than stub_lib/module.py" in notes.texts
    first = nbformat.read(project / copy, as_version=4).cells[0]
    assert first.source.startswith("> **Older pictures")
    assert statuses(running.run(plan)) == {"01": "up to date"}
    running.run(plan_of(project, only=["01"], force=True))
    assert nbformat.read(project / copy, as_version=4).cells[0].source == "# Title"


def test_parameters_make_a_step_out_of_date_but_processes_do_not(project):
    assert status(plan_of(project, jobs=2))["01_first"] == "up to date"
    assert status(plan_of(project, quick=True))["01_first"] == "to run: parameters changed: quick"
    changed = plan_of(project, overrides=["factor=3"])
    assert status(changed)["01_first"] == "to run: parameters changed: factor"


def test_outputs_of_a_notebook_do_not_count_as_a_change(project):
    path = project / "notebooks" / "01_first.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[3].outputs = [nbformat.v4.new_output("stream", text="seen")]
    notebook.cells[3].execution_count = 7
    nbformat.write(notebook, path)
    assert status(plan_of(project))["01_first"] == "up to date"


def test_numbers_of_another_section_do_not_count_as_a_change(project):
    derived = project / "data" / "derived" / "tiny"
    plan = plan_of(project)
    study, record = plan.study, report_manifest.read_manifest(plan.study)["steps"]["01_first"]
    now = plan.signature(plan.steps[0])
    record["numbers"] = {"one": report_manifest.number_hashes(study, ["one"])["one"]}
    (derived / "numbers.json").write_text('{"two.n": {"value": 1}}')
    assert freshness.why_stale(record, now, study) is None
    (derived / "numbers.json").write_text('{"one.n": {"value": 1}}')
    assert freshness.why_stale(record, now, study) == "outputs changed: numbers.json: one"


def test_override_and_quick_reach_the_notebook_and_the_manifest(project):
    plan = plan_of(project, only=["01"], overrides=["factor=1e-1"], quick=True)
    done = running.run(plan)
    derived = project / "data" / "derived" / "tiny"
    assert statuses(done) == {"01": "run"}
    assert done.outcomes[0].quick
    assert (derived / "one" / "n.txt").read_text() == "0.4 True"
    manifest = json.loads((derived / "manifest.json").read_text())
    assert manifest["quick"] is True
    assert manifest["steps"]["01_first"]["parameters"]["factor"] == 0.1
    assert "04_last" in manifest["steps"]  # what was recorded before stays


# --- failures ---


@pytest.mark.parametrize("mode", ["wrong", "refused", "dead"])
def test_failure_names_the_cell_and_keeps_what_was_there(project, mode):
    derived = project / "data" / "derived" / "tiny"
    before = {p: p.read_bytes() for p in derived.rglob("*") if p.is_file()}
    done = running.run(plan_of(project, overrides=[f"mode={mode}"]))
    assert statuses(done) == {"01": "failed", "02": "not reached", "04": "not reached"}
    where = 'cell 6 of 6 under "Compute", which starts: out = loaded.derived / "one"'
    assert done.failure.cell == where
    assert {path: path.read_bytes() for path in before} == before
    kept = derived / "notebooks" / "01_first.failed.ipynb"
    assert {p for p in derived.rglob("*") if p.is_file()} - set(before) == {kept}
    assert done.failure.kept == kept
    if mode == "wrong":
        assert done.failure.cause == "ZeroDivisionError: nothing to divide by"
        assert "nothing to divide by" in done.failure.traceback
        assert "papermill" not in done.failure.traceback
    elif mode == "refused":
        assert lines(done.failure.told) == ["first problem", "second problem"]
        assert done.failure.traceback == ""
    else:
        assert done.failure.kind == "DeadKernelError"
        told = "the notebook's process was killed, most often for want of memory. Close other "
        assert lines(done.failure.told)[0].startswith(told)
        assert done.failure.traceback == "last words"


@pytest.mark.parametrize(
    ("kind", "message", "told"),
    [
        ("TerminatedWorkerError", "A worker...", "worker processes was killed"),
        ("BrokenProcessPool", "A process...", "worker processes was killed"),
        ("MemoryError", "", "too little memory"),
        ("_ArrayMemoryError", "Unable to allocate 8 GiB", "too little memory"),
        ("OSError", "[Errno 12] Cannot allocate memory", "too little memory"),
    ],
)
def test_want_of_memory_is_named_with_a_remedy(kind, message, told):
    failure = execution.NotebookFailure("02", "cell 1", kind, message, "Traceback", None)
    (line,) = lines(failure.told)
    assert told in line
    assert "--jobs 1" in line
    assert failure.traceback == ""


def test_a_process_that_is_killed_is_an_error_of_the_run():
    with pytest.raises(PipelineError, match="was killed, most often for want of memory"):
        pipeline_memory.apart(os._exit, 9)


def test_notebook_of_a_failure_goes_with_the_next_success(project):
    kept = project / "data" / "derived" / "tiny" / "notebooks" / "01_first.failed.ipynb"
    kept.write_text("{}")
    done = running.run(plan_of(project, only=["01"], force=True))
    assert statuses(done) == {"01": "run"}
    assert not kept.exists()


def test_notebook_that_writes_nothing_is_not_taken_for_done(project):
    write_notebook(project / "notebooks" / "01_first.ipynb", "pass")
    with pytest.raises(PipelineError, match="01_first ran, but wrote nothing into one: its last"):
        running.run(plan_of(project, only=["01"]))
    assert status(plan_of(project))["01_first"] == "to run: notebook changed"


def test_missing_earlier_results_are_named(fresh):
    with pytest.raises(PipelineError, match=r"04_last needs one/, which 01_first writes.*01,04"):
        running.run(plan_of(fresh, only=["04"]))


class Notes(running.Quiet):
    """Remembers what it is told."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        """Remember a sentence."""
        self.texts.append(text)


def test_earlier_results_that_are_out_of_date_are_named(project):
    _edit_library(project)
    notes = Notes()
    plan = plan_of(project, only=["04"])
    running._check_earlier(running.Run(plan, notes), STEPS[2])
    assert notes.texts == [
        "04 takes one/ as it is, out of date (library changed: stub_lib/module.py); run 01 too: "
        "--only 01,04"
    ]


# --- what a study cannot run ---


def test_note_on_steps_without_images(fresh):
    plan = plan_of(fresh)
    two = (*STEPS[:2], Step("03_more", needs=("images",)))
    note = pipeline_steps.blocked_note(two, plan.study)
    assert note == "02 and 03 are skipped: no images in the study file"
    imaging = "imaging: {sessions: {pre: baseline, post: week1}, grey_matter: maps/*.nii}\n"
    (fresh / "tiny.yml").write_text(STUB_STUDY + imaging)
    study = load_study(fresh / "tiny.yml")
    expected = f"maps: nothing matches maps/*.nii in {fresh / 'raw'}"
    assert pipeline_steps.blocked_note(two, study) == f"02 and 03 wait for grey-matter {expected}"
    assert pipeline_steps.blocked_note(two[:2], study) == f"02 waits for grey-matter {expected}"
    (fresh / "raw" / "maps").mkdir()
    (fresh / "raw" / "maps" / "a.nii").write_text("")
    assert pipeline_steps.blocked_note(two, study) is None


# --- options ---


def test_only_what_differs_from_the_defaults_is_passed(fresh):
    assert plan_of(fresh).passed["01_first"] == {"study": str(fresh / "tiny.yml")}
    passed = plan_of(fresh, quick=True, jobs=2).passed["01_first"]
    assert (passed["quick"], passed["n_jobs"]) == (True, 2)
    known = study_parameters.notebook_parameters(fresh / "notebooks" / "01_first.ipynb")
    assert pipeline_plan.step_parameters(load_study("demo"), known, {}) == {"study": "demo"}


def test_the_appendix_lies_in_a_folder_of_its_own_and_runs_by_default_or_on_request(tmp_path):
    main, always, asked = Step("01_a"), Step("S0_b"), Step("S1_c", on_request=True)
    steps = (main, always, asked)
    assert pipeline_steps.select(steps, []) == [main, always]
    assert pipeline_steps.select(steps, ["s1", "1"]) == [main, asked]
    assert environment.notebook_path("S1_c", tmp_path) == tmp_path / "appendix" / "S1_c.ipynb"
    assert environment.notebook_path("01_a", tmp_path) == tmp_path / "01_a.ipynb"


def test_only_selects_by_number_or_name_in_order(fresh):
    steps = plan_of(fresh, only=["04_last", "01"]).steps
    assert [step.number for step in steps] == ["01", "04"]
    assert [step.number for step in plan_of(fresh, only=["4", "2"]).steps] == ["02", "04"]
    with pytest.raises(UsageError, match=r"no notebook '07'. Known: 01 \(01_first\), 02"):
        plan_of(fresh, only=["07"])


# --- data ---


def test_missing_tables_say_how_to_get_them(fresh):
    study = load_study(fresh / "tiny.yml")
    (study.root / "participants.tsv").unlink()
    with pytest.raises(PipelineError, match=r"no participants.tsv in .*raw.*simulates it again"):
        data.prepare_data(study)
    real = STUB_STUDY.replace("simulated: true\n", "")
    (fresh / "tiny.yml").write_text(real)
    with pytest.raises(PipelineError, match=r"The study file's data is 'raw': correct it"):
        data.prepare_data(load_study(fresh / "tiny.yml"))
    (fresh / "tiny.yml").write_text(real.replace("name: tiny", "name: antidepressant"))
    with pytest.raises(PipelineError, match=r"python -m analysis_lib fetch antidepressant"):
        data.prepare_data(load_study(fresh / "tiny.yml"))


def test_absent_simulated_study_is_generated_once(fresh, monkeypatch):
    study, notes = load_study(fresh / "tiny.yml"), []
    shutil.move(study.root, fresh / "elsewhere")
    generate = partial(shutil.copytree, fresh / "elsewhere")
    monkeypatch.setattr(simulate, "simulate_study", generate)
    data.prepare_data(study, note=notes.append)
    assert (study.root / "participants.tsv").is_file()
    assert [note.split()[0] for note in notes] == ["Simulating", "Simulated"]
    data.prepare_data(study, note=notes.append)
    assert len(notes) == 2


def test_two_runs_that_need_the_same_data_make_them_once(fresh, monkeypatch):
    def generate(folder):
        time.sleep(0.3)
        shutil.copytree(fresh / "elsewhere", folder)

    study, notes = load_study(fresh / "tiny.yml"), []
    shutil.move(study.root, fresh / "elsewhere")
    monkeypatch.setattr(data, "apart", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(simulate, "simulate_study", generate)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(data.prepare_data, study, note=notes.append) for _ in range(2)]
    assert [run.exception() for run in runs] == [None, None]
    assert [note.split()[0] for note in notes] == ["Simulating", "Simulated"]
    assert not list(study.root.parent.glob(".raw*"))


def test_fetch_gets_a_public_trial_and_receptors_only_where_there_are_images(fresh, monkeypatch):
    from analysis_lib.datasets import fetch
    from analysis_lib.results import problems

    def fetch_study(*arguments):
        calls.append(arguments)
        return fetch.Fetched(study.root, True, ["a note"])

    calls, notes = [], []
    monkeypatch.setattr(fetch, "fetch_study", fetch_study)
    monkeypatch.setattr(fetch, "fetch_receptors", lambda *arguments: calls.append(arguments))
    study = load_study(fresh / "tiny.yml")
    data.prepare_data(study, fetch=True, note=str)
    assert calls == []
    public = STUB_STUDY.replace("name: tiny", "name: sudmex_tms").replace("simulated: true\n", "")
    (fresh / "tiny.yml").write_text(public)
    data.prepare_data(load_study(fresh / "tiny.yml"), fetch=True, note=notes.append)
    assert calls == [("sudmex_tms", study.root)]
    assert notes[-1] == "a note"

    monkeypatch.setattr(Study, "grey_matter_maps", lambda study: ["a map"])
    data.prepare_data(study, fetch=True, note=str)
    assert calls[1:] == [("default",)]

    def offline(*arguments):
        raise problems.FetchFailed("no connection")

    monkeypatch.setattr(fetch, "fetch_receptors", offline)
    with pytest.raises(FetchError, match=r"^no connection$"):
        data.prepare_data(study, fetch=True, note=str)


def test_receptor_maps_are_those_that_the_study_names(fresh, monkeypatch):
    monkeypatch.setenv("NEUROMAPS_DATA", str(fresh / "cache"))
    for name in ("a2017/x", "b2018/y"):
        folder = fresh / "cache" / "annotations" / name / "MNI152"
        folder.mkdir(parents=True)
        (folder / "map.nii.gz").write_text(name)
        (folder / "notes.txt").write_text("")
    study = load_study(fresh / "tiny.yml")
    assert len(pipeline_steps.receptor_maps(study)) == 2
    (fresh / "tiny.yml").write_text(STUB_STUDY + "receptors: [b2018/y]\n")
    maps = pipeline_steps.receptor_maps(load_study(fresh / "tiny.yml"))
    assert [path.read_text() for path in maps] == ["b2018/y"]
    assert (
        report_manifest.label(study, maps[0]) == "{receptors}/annotations/b2018/y/MNI152/map.nii.gz"
    )


def test_results_of_another_study_are_not_overwritten(project, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    write_project(other)
    write_stub_tables(other / "raw", ("sub-6", "sub-7", "sub-8", "sub-9"))
    with pytest.raises(PipelineError, match=r"results of another study of the same name: tiny"):
        running.run(plan_of(other))
    plan = plan_of(other, only=["01"], force=True)
    assert statuses(running.run(plan)) == {"01": "run"}  # --force overwrites them
    shutil.copy(project / "tiny.yml", project / "copy.yml")
    with pytest.raises(PipelineError, match="another study"):  # which are now the other study's
        running.refuse_other_owner(load_study(project / "copy.yml"))


# --- one run at a time ---


HOLD = """\
import sys, time
from pathlib import Path
from analysis_lib.pipeline.locking import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_run_at_once_is_refused_and_names_the_first(tmp_path):
    with (
        locking.lock(tmp_path),
        pytest.raises(PipelineError, match=rf"another run .*process {os.getpid()} on .*delete"),
        locking.lock(tmp_path),
    ):
        pass
    with locking.lock(tmp_path):  # the first is over
        pass


def test_a_run_that_was_killed_is_not_in_the_way(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(PipelineError, match=f"process {holder.pid} on"),
            locking.lock(tmp_path),
        ):
            pass
        holder.kill()
    with locking.lock(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / ".run.lock").read_text()


# --- the manifest's parts ---


def test_peak_memory_counts_processes_that_were_started():
    code = "x = bytearray(300_000_000); import time; time.sleep(0.6)"
    alone, memory = pipeline_memory.PeakMemory(), pipeline_memory.PeakMemory()
    alone.sample()
    with pipeline_memory.repeated(memory.sample, 0.05):
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 290 < memory.mb - alone.mb < 600


def test_work_done_apart_leaves_nothing_here_but_its_answer_or_its_error():
    assert pipeline_memory.apart(os.getpid) != os.getpid()
    problem = problems.Problem("a.tsv", "row 2", "a number", "x", "write one")
    with pytest.raises(problems.StudyError, match=r"a\.tsv: row 2"):
        pipeline_memory.apart(_refuse, problem)


def _refuse(problem):
    raise problems.StudyError([problem])


def test_git_state_says_whether_files_differ(tmp_path):
    assert report_manifest.git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    state = report_manifest.git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    (tmp_path / "file").write_text("")
    assert report_manifest.git_state(tmp_path)["dirty"] is True


def test_text_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "a.json"
    result_files.write_text(path, "one")
    with pytest.raises(UnicodeEncodeError):
        result_files.write_text(path, "two \ud800")
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_steps_read_only_what_earlier_steps_write():
    written = set()
    for step in pipeline_steps.STEPS:
        assert {*step.uses, *step.may_use} <= written, step.notebook
        written |= set(step.writes)


def test_a_changed_atlas_of_ones_own_runs_its_notebooks_again(fresh):
    image = fresh / "mine.nii.gz"
    image.write_text("labels")
    (fresh / "mine.tsv").write_text("label\tname\n")
    (fresh / "tiny.yml").write_text(STUB_STUDY + "atlas: mine.nii.gz\n")
    study = load_study(fresh / "tiny.yml")
    assert [path.name for path in pipeline_steps.atlas_files(study)] == ["mine.nii.gz", "mine.tsv"]
    assert report_manifest.label(study, image.resolve()) == "{study folder}/mine.nii.gz"
    assert report_manifest.label(study, Path("/far/away/x.nii")) == "{elsewhere}/away/x.nii"
    for step in ("02_vbm", "03_receptor_correlation"):
        (reads,) = (s.reads for s in pipeline_steps.STEPS if s.notebook == step)
        assert pipeline_steps.atlas_files in reads
    (fresh / "tiny.yml").write_text(STUB_STUDY)
    assert pipeline_steps.atlas_files(load_study(fresh / "tiny.yml")) == []


# --- from T1-weighted images ---


GREY = """\
out = loaded.made_maps / "sub-1" / "ses-baseline" / "anat"
out.mkdir(parents=True, exist_ok=True)
made = out / "sub-1_ses-baseline_label-GM_desc-modulated_probseg.nii.gz"
if not made.exists():
    made.write_text("a map")
(loaded.made_maps / "quality.tsv").write_text(str(factor))
"""
MAPS = STUB_STUDY + "imaging: {sessions: {pre: baseline, post: week1}}\n"
GREY_STEPS = (
    Step(
        "00_grey",
        reads=(pipeline_steps.tables, Study.t1w_images),
        writes=("grey_matter",),
        needs=("t1w",),
        resumes=True,
    ),
    Step("02_images", may_use=("grey_matter",), writes=("two",), needs=("images",)),
)


def grey_plan(folder, **options):
    """A plan of the step that makes maps and one that reads them."""
    return make_plan(
        load_study(folder / "tiny.yml"),
        steps=GREY_STEPS,
        notebooks=folder / "notebooks",
        library=folder / "stub_lib",
        **options,
    )


def _with_antspyx(name, find=importlib.util.find_spec):
    return name if name in pipeline_steps.FOR_T1W else find(name)


@pytest.fixture
def scanned(fresh, monkeypatch):
    """A stub project with a participant's two T1w images; antspyx is there."""
    (fresh / "tiny.yml").write_text(MAPS)
    for visit in ("baseline", "week1"):
        write_head(fresh / f"raw/sub-1/ses-{visit}/anat/sub-1_ses-{visit}_T1w.nii.gz")
    write_notebook(fresh / "notebooks" / "00_grey.ipynb", GREY)
    second = FIRST.replace('"one"', '"two"')
    write_notebook(fresh / "notebooks" / "02_images.ipynb", second)
    monkeypatch.setattr(pipeline_steps.importlib.util, "find_spec", _with_antspyx)
    monkeypatch.setattr(files, "cached_templates", lambda: [])
    return fresh


def test_maps_are_made_from_t1w_images_and_read_in_the_same_run(scanned):
    expected = {"00_grey": "to run: not run yet", "02_images": "to run: not run yet"}
    assert status(grey_plan(scanned)) == expected
    notes = Notes()
    done = running.run(grey_plan(scanned), notes)
    assert statuses(done) == {"00": "run", "02": "run"}
    assert notes.texts == []
    manifest = report_manifest.read_manifest(load_study(scanned / "tiny.yml"))["steps"]
    image = "sub-1/ses-baseline/anat/sub-1_ses-baseline_T1w.nii.gz"
    made = "grey_matter/" + image.replace("_T1w", "_label-GM_desc-modulated_probseg")
    assert f"{{data}}/{image}" in manifest["00_grey"]["inputs"]
    assert {made, "grey_matter/quality.tsv"} < set(manifest["00_grey"]["outputs"])
    assert made in manifest["02_images"]["inputs"]
    assert set(status(grey_plan(scanned)).values()) == {"up to date"}
    again = running.run(grey_plan(scanned, overrides=["factor=3"], only=["00"]))
    assert statuses(again) == {"00": "run"}
    steps = report_manifest.read_manifest(load_study(scanned / "tiny.yml"))["steps"]
    assert made in steps["00_grey"]["outputs"]  # kept by the second run, and still its output
    (scanned / "data/derived/tiny" / made).unlink()
    why = status(grey_plan(scanned, overrides=["factor=3"]))["00_grey"]
    assert why == f"to run: outputs changed: {made} is missing"


def _bring_maps(folder):
    (folder / "tiny.yml").write_text(MAPS.replace("}}\n", "}, grey_matter: maps/*.nii}\n"))
    (folder / "raw/maps").mkdir()
    (folder / "raw/maps/a.nii").write_text("")


def _no_images(folder):
    shutil.rmtree(folder / "raw/sub-1")


def _no_imaging(folder):
    (folder / "tiny.yml").write_text(STUB_STUDY)


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        (_bring_maps, ["00 is skipped: the study brings grey-matter maps"]),
        (_no_imaging, ["00 and 02 are skipped: no images in the study file"]),
        (
            _no_images,
            [
                "00 is skipped: no T1w images: nothing matches sub-*/ses-*/anat/*_T1w.nii* in RAW",
                "02 waits for grey-matter maps: notebook 00 makes them",
            ],
        ),
    ],
)
def test_why_no_maps_are_made(scanned, change, notes):
    change(scanned)
    plan = grey_plan(scanned)
    said = pipeline_steps.blocked_note(plan.steps, plan.study)
    assert said.replace(str(scanned / "raw"), "RAW").splitlines() == notes


def test_images_that_can_be_fetched_come_with_their_command():
    study = load_study("sudmex_tms").model_copy(update={"data": "nowhere"})
    (step,) = pipeline_steps.select(pipeline_steps.STEPS, ["00"])
    said = pipeline_steps.blocked(step, study)
    assert said.startswith("no T1w images: nothing matches sub-*/ses-*/anat/*_T1w.nii.gz in ")
    assert said.endswith(" GB): python -m analysis_lib fetch sudmex_tms --images")


def test_without_antspyx_the_command_is_named_and_maps_made_elsewhere_are_read(
    scanned, monkeypatch
):
    monkeypatch.setattr(pipeline_steps.importlib.util, "find_spec", lambda name: None)
    plan = grey_plan(scanned)
    said = pipeline_steps.blocked_note(plan.steps, plan.study).splitlines()
    assert said[0] == (
        "00 is skipped: antspyx and picsl-greedy not installed. Get it: python -m pip install "
        "antspyx picsl-greedy (Python before 3.14)"
    )
    assert said[1].startswith("02 waits")
    folder = plan.study.made_maps / "sub-1/ses-baseline/anat"
    folder.mkdir(parents=True)
    (folder / "sub-1_ses-baseline_label-GM_desc-modulated_probseg.nii.gz").write_text("")
    assert status(plan)["02_images"] == "to run: not run yet"


def test_fetch_gets_the_templates_where_maps_are_to_be_made(scanned, monkeypatch):
    calls = []
    monkeypatch.setattr(fetch, "fetch_templates", lambda: calls.append("templates"))
    monkeypatch.setattr(fetch, "fetch_receptors", lambda names: calls.append("receptors"))
    data.prepare_data(load_study(scanned / "tiny.yml"), fetch=True, note=str)
    assert calls == ["templates", "receptors"]
    _bring_maps(scanned)
    data.prepare_data(load_study(scanned / "tiny.yml"), fetch=True, note=str)
    assert calls[2:] == ["receptors"]

    def offline():
        raise problems.FetchError("no connection")

    monkeypatch.setattr(fetch, "fetch_templates", offline)
    (scanned / "tiny.yml").write_text(MAPS)
    with pytest.raises(FetchError, match=r"^no connection$"):
        data.prepare_data(load_study(scanned / "tiny.yml"), fetch=True, note=str)


def test_without_templates_the_command_is_named_before_anything_runs(scanned, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(scanned))
    monkeypatch.setenv("COMPENDIUM_CACHE", str(scanned / "empty"))
    monkeypatch.setattr(pipeline_steps.importlib.util, "find_spec", _with_antspyx)
    with pytest.raises(MissingFile, match=r"Get it: python -m analysis_lib fetch templates$"):
        running.run(grey_plan(scanned))
    assert not list(scanned.rglob("*.failed.ipynb"))


def test_lines_of_a_long_step_are_shown_as_they_come(scanned):
    study, notes = load_study(scanned / "tiny.yml"), []
    study.made_maps.mkdir(parents=True)
    path = study.made_maps / ".progress"
    path.write_text("of a run that was broken off")
    with running._watched(GREY_STEPS[0], study, notes.append, seconds=0.02):
        assert not path.exists()
        for text in ("1 of 2", "2 of 2"):
            path.write_text(text + "\n")
            for _ in range(100):
                if notes[-1:] == [f"00: {text}"]:
                    break
                time.sleep(0.02)
    assert notes == ["00: 1 of 2", "00: 2 of 2"]
    with running._watched(STEPS[0], study, notes.append):
        pass  # a step that leaves none


def test_step_00_makes_what_the_notebooks_after_it_read():
    first, *others = pipeline_steps.STEPS
    assert (first.notebook, first.needs, first.resumes) == ("00_grey_matter", ("t1w",), True)
    assert first.writes == (load_study("demo").made_maps.name,)
    assert [s.number for s in others if "grey_matter" in s.may_use] == ["01", "02", "S2", "S3"]
