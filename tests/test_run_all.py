"""The command line: options, exit statuses, and what a reader sees."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
import typer
from conftest import STUB_STUDY, write_stub_study
from typer.testing import CliRunner

from analysis_lib.computing import cluster
from analysis_lib.pipeline import locking, plan, steps
from analysis_lib.pipeline.steps import Step

PROJECT = Path(__file__).resolve().parents[1]
PARAMETERS = """\
study: str = "demo"  # name or path of a study file
quick: bool = False  # few permutations
seconds: float = 0.0  # how long to wait, s
tries: int = 1  # not used; from 1 to 5
refuse: bool = False  # raise a StudyError
"""
CODE = """\
import time
from analysis_lib.results import StudyError
from analysis_lib.study.contract import load_study
place = load_study(study).place
out = load_study(study).derived / "one"
if refuse:
    raise StudyError(["row 3: bad", "row 4: worse"])
(out.parent / "started").write_text("")
time.sleep(seconds)
out.mkdir(parents=True, exist_ok=True)
(out / "n.txt").write_text(str(1 / (seconds >= 0)))
(out / "told.txt").write_text(f"{place.output} {place.dask}")
"""
STEPS = (
    Step("01_only", reads=(steps.tables,), writes=("one",)),
    Step("02_images", needs=("images",), writes=("two",)),
)
# What the tests do in this process, for one that is interrupted from outside.
LAUNCH = f"""\
import sys
sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT / "tests")!r}]
import test_run_all
test_run_all.stub_pipeline(sys.argv.pop(1))
import typer
typer.run(test_run_all.load_script().main)
"""


def load_script():
    """run_all.py as a module."""
    spec = importlib.util.spec_from_file_location("run_all", PROJECT / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stub_pipeline(folder, patch=setattr):
    """Make every plan one of the stub notebooks."""
    make = partial(
        plan.make_plan, steps=STEPS, notebooks=Path(folder), library=Path(folder) / "lib"
    )
    patch(plan, "make_plan", make)


@pytest.fixture
def project(tmp_path):
    """Two stub notebooks, a study and its tables; results go to tmp_path/out."""
    new = nbformat.v4
    parameters = new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [parameters, new.new_markdown_cell("## Work"), new.new_code_cell(CODE)]
    for step in STEPS:
        nbformat.write(new.new_notebook(cells=cells), tmp_path / f"{step.notebook}.ipynb")
    write_stub_study(tmp_path)
    return tmp_path


@pytest.fixture
def run(project, monkeypatch):
    """Call run_all.py on the stub study; gives exit code, stdout, stderr."""
    stub_pipeline(project, monkeypatch.setattr)
    monkeypatch.delenv("COMPENDIUM_OUTPUT", raising=False)
    app = typer.Typer()
    app.command()(load_script().main)
    study = ["--study", str(project / "tiny.yml"), "--output", str(project / "out")]
    return lambda *options: CliRunner().invoke(app, [*study, *options])


def test_run_then_up_to_date_then_failure(run, project):
    derived = project / "out" / "data" / "derived" / "tiny"
    first = run("--quick")
    assert first.exit_code == 0, first.output
    assert "02 is skipped: no images in the study file" in first.stdout
    assert "01_only: starts (not run yet)" in first.stdout
    assert "01_only: done in" in first.stdout
    assert "run QUICK" in first.stdout
    assert "SIMULATED" in first.stdout
    assert f"results: {derived}" in first.stdout
    assert (derived / "one" / "n.txt").read_text() == "1.0"

    again = run("--quick")
    assert again.exit_code == 0
    assert "01_only: up to date" in again.stdout
    assert "up to date" in run("--list", "--quick").stdout

    failed = run("--set", "seconds=-1")
    assert failed.exit_code == 1
    assert '01_only failed at cell 3 of 3 under "Work", which starts: import time' in failed.stderr
    assert "ValueError: sleep length must be non-negative" in failed.stderr
    assert "time.sleep(seconds)" in failed.stderr  # the traceback
    assert "papermill" not in failed.stderr
    assert "Earlier results are unchanged" in failed.stderr
    assert (derived / "one" / "n.txt").read_text() == "1.0"

    refused = run("--set", "refuse=true")
    assert refused.exit_code == 1
    assert "- row 3: bad\n- row 4: worse\n" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_list_shows_parameters_and_states(run):
    shown = run("--list")
    assert shown.exit_code == 0
    assert "01_only  to run: not run yet" in shown.stdout
    assert "02_images  skipped: no images in the study file" in shown.stdout
    assert "how long to wait, s" in shown.stdout
    assert "02_images" not in run("--list", "--only", "01").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "second=1"], "did you mean seconds? Known: quick (01, 02)"),
        (["--set", "seconds=long"], "a number expected"),
        (
            ["--set", "tries=6"],
            "a whole number from 1 to 5 expected (01_only has tries: int = 1), found 6",
        ),
        (["--set", "seconds=1", "--set", "seconds=2"], "seconds is given twice. Give it once"),
        (["--only", "01,09"], "no notebook '09'. Known: 01 (01_only)"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["--colour"], "No such option"),
    ],
)
def test_wrong_option_exits_2_and_runs_nothing(run, project, options, message):
    done = run(*options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (project / "out").exists()


def test_dask_is_checked_first_and_reaches_the_kernels(run, project, monkeypatch):
    monkeypatch.delenv("COMPENDIUM_DASK", raising=False)
    told = []

    @contextlib.contextmanager
    def connect(address, packages):
        told.append((address, packages))
        yield SimpleNamespace(address="tcp://host:8786", slots=6)

    monkeypatch.setattr(cluster, "connect", connect)
    done = run("--dask", "tcp://host:8786", "--jobs", "2")
    assert done.exit_code == 0, done.output
    first = done.stdout.splitlines()[0]
    assert first == "Dask cluster at tcp://host:8786: 6 tasks at once"
    assert told[0][0] == "tcp://host:8786"
    assert "numba" in told[0][1]
    kernel = (project / "out/data/derived/tiny/one/told.txt").read_text()
    assert kernel == f"{project / 'out'} tcp://host:8786"
    assert "COMPENDIUM_DASK" not in os.environ
    assert "01_only: up to date" in run().stdout


def test_studies_of_a_pattern_run_one_after_the_other_and_failures_are_listed(run, project):
    tiny = (project / "tiny.yml").read_text()
    (project / "also.yml").write_text(tiny.replace("name: tiny", "name: also"))
    (project / "broken.yml").write_text(tiny.replace("title:", "titel:"))
    done = run("--studies", str(project / "*.yml"))
    assert done.exit_code == 1
    for name in ("also", "tiny"):
        assert (project / f"out/data/derived/{name}/one/n.txt").is_file()
    table = done.stdout.rpartition("what was wrong")[2].split()
    assert [word for word in table if word in ("done", "failed")] == ["done", "failed", "done"]
    assert any("titel" in word for word in table[table.index("broken") : table.index("tiny")])
    assert run("--studies", str(project / "none*.yml")).exit_code == 2


def test_a_cluster_that_cannot_be_used_stops_the_run(run, project, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run("--dask", "tcp://host:8786")
    assert done.exit_code == 1
    assert "- --dask needs the package distributed, which is not installed" in done.stderr
    assert "Get it: python -m pip install distributed" in done.stderr
    assert not (project / "out").exists()


def test_problems_of_a_study_are_listed(run, project):
    (project / "tiny.yml").write_text(STUB_STUDY.replace("title:", "titel:"))
    done = run()
    assert done.exit_code == 1
    assert "- tiny.yml: key 'title' is missing\n" in done.stderr
    assert "- tiny.yml: unknown key 'titel'; did you mean 'title'?" in done.stderr


def test_problems_of_the_data_stop_a_run_before_its_first_kernel(run, project, monkeypatch):
    table = project / "raw" / "phenotype" / "hamd17.tsv"
    sound = table.read_text()
    table.write_text(sound.replace("ses-week1\t15", "ses-week1\t99"))
    done = run()
    assert done.exit_code == 1
    line = "- phenotype/hamd17.tsv: total: a number from 0 to 52 expected, found row 3 (sub-1, ses-"
    assert line in done.stderr
    assert "starts" not in done.stdout
    assert not list((project / "out").rglob("*.ipynb"))
    table.write_text(sound)
    assert run().exit_code == 0
    monkeypatch.setattr("analysis_lib.checking.check", None)  # a run with nothing to do needs none
    assert "01_only: up to date" in run().stdout


def test_missing_data_and_second_run_exit_1(run, project):
    with locking.lock(project / "out" / "data" / "derived" / "tiny"):
        busy = run()
    assert busy.exit_code == 1
    assert f"another run is working in {project / 'out'}" in busy.stderr
    (project / "raw" / "participants.tsv").unlink()
    missing = run()
    assert missing.exit_code == 1
    assert "no participants.tsv" in missing.stderr


def test_interrupt_stops_the_kernel_and_exits_130(project, interruptible):
    launch = project / "launch.py"
    launch.write_text(LAUNCH)
    out = project / "out"
    options = ["--study", str(project / "tiny.yml"), "--output", str(out), "--set", "seconds=600"]
    command = [sys.executable, str(launch), str(project), *options]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    started = out / "data" / "derived" / "tiny" / "started"
    until = time.time() + 120
    while not started.exists() and time.time() < until and process.poll() is None:
        time.sleep(0.1)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted. Completed in this run: no notebook" in errors
    assert "Traceback" not in errors
    assert psutil.wait_procs(kernels, timeout=10)[1] == []
    left = sorted(p.name for p in started.parent.rglob("*"))
    assert left == [".run.lock", "notebooks", "started"]  # nothing half-written


@pytest.mark.parametrize("options", [["--help"], ["--list", "--study", "STUDY"]])
def test_help_and_list_do_not_import_what_only_a_run_needs(project, options):
    options = [str(project / "tiny.yml") if text == "STUDY" else text for text in options]
    code = (
        f"import sys, runpy, json\nsys.argv = {['run_all.py', *options]!r}\n"
        f"try:\n    runpy.run_path({str(PROJECT / 'run_all.py')!r}, run_name='__main__')\n"
        "except (SystemExit, Exception):\n    pass\n"
        "slow = {'papermill', 'nbclient', 'nilearn', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "print(json.dumps(sorted(slow)))\n"
    )
    environment = {**os.environ, "COMPENDIUM_OUTPUT": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
