"""Participants on a Dask cluster: the same files as here, and errors that say what to do.

The cluster is a real one, on this machine; a stand-in takes the place of ANTs: see without_ants.py.
"""

import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import psutil
import pytest
from test_batch import METHOD, PEOPLE, Trial, below, waiting, write_t1w
from without_ants import PIDS, kill_itself, no_picture, take_long, take_the_worker_along
from without_ants import tell_environment as tell

from analysis_lib.computing import cluster as workers
from analysis_lib.pipeline import freshness, steps
from analysis_lib.results.environment import NOTEBOOKS, PROJECT
from analysis_lib.results.problems import StudyError
from analysis_lib.study.place import DASK

distributed = pytest.importorskip(
    "distributed", reason="distributed is not installed (extra dask): no cluster to test with"
)
TESTS = Path(__file__).parent
PLAIN = replace(METHOD, draw=no_picture)  # drawing takes most of the time


def processes(trial, who):
    """Those that have left word."""
    return [int(pid) for pid in (trial.root / PIDS.format(who)).read_text().split()]


def have_ended(pids, seconds=15):
    """Whether no such process is left, at the latest after some seconds."""
    until = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes; the participants' processes find the stand-in in this folder."""
    told = {"PYTHONPATH": str(TESTS), workers.ITK_THREADS: "7", "COMPENDIUM_OUTPUT": "/elsewhere"}
    options = {"dashboard_address": ":0", "env": told}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as made:
        yield made


@pytest.fixture
def remote(tiny, tmp_path, cluster, monkeypatch):
    """The trial, whose participants are processed by the cluster."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv(DASK, cluster.scheduler_address)
    return Trial(tiny)


def keep(trial, n):
    """Leave the images of the first participants alone."""
    for who in PEOPLE[n:]:
        shutil.rmtree(trial.root / who)


def refused(packages=()):
    """The problems of the cluster."""
    address = os.environ[DASK]
    with pytest.raises(StudyError) as caught, workers.connect(address, packages):
        pass
    return list(map(str, caught.value.problems))


# --- the same, wherever it is made


def test_a_cluster_gives_the_same_files_progress_and_resumes(remote, tmp_path, monkeypatch):
    keep(remote, 2)
    said = remote.plan().summary(1)
    assert "2 participants to process, 0 done already" in said
    assert "300 MB each, 2 at a time on the Dask cluster at tcp://" in said
    told = []
    remote.run(progress=told.append)
    assert [(step.done, step.total, step.failed) for step in told] == [(1, 2, False), (2, 2, False)]
    assert told[0].seconds_left > 0
    there = below(remote.study.made_maps)
    assert waiting(remote.plan()) == []
    keys = [job.key for job in remote.plan().present]

    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "here"))
    monkeypatch.delenv(DASK)
    remote.run()
    plt.close("all")
    here = below(remote.study.made_maps)
    assert [job.key for job in remote.plan().present] == keys
    assert set(here) == set(there)
    compared = [name for name in here if name.endswith((".nii.gz", ".png"))]
    assert len(compared) == 8
    for name in compared:
        assert here[name].read_bytes() == there[name].read_bytes(), name


def test_failures_and_dead_processes_name_the_participant(remote, cluster):
    method = replace(PLAIN, process=kill_itself)
    write_t1w(remote.root, "sub-01", "week2", 666)
    write_t1w(remote.root, "sub-03", "week2", 667)
    before = set(cluster.scheduler.workers)
    with pytest.raises(StudyError) as caught:
        remote.run(method)
    first, *causes = list(map(str, caught.value.problems))
    assert first.startswith("3 of 4 participants failed, 1 are in place.")
    one, three, four = sorted(causes)
    assert one == "sub-01: ValueError: an image with a brain expected, found none"
    start = f"sub-03: its process on {socket.gethostname()} ended with status 1: no word of why"
    assert three.startswith(f"{start}, most often for want of memory. Give the workers more")
    assert f"{socket.gethostname()} ended with signal 9: no word of why" in four
    assert set(cluster.scheduler.workers) == before  # none died with it
    assert waiting(remote.plan()) == ["sub-01", "sub-03", "sub-04"]
    assert not [name for name in below(remote.study.made_maps) if ".tasks" in name]


def test_a_task_is_told_what_this_run_is_told(remote, tmp_path):
    keep(remote, 1)
    method = replace(PLAIN, process=tell)
    with pytest.raises(StudyError) as caught:
        remote.run(method)
    told = f"{workers.ITK_THREADS}=1 OMP_NUM_THREADS=1 COMPENDIUM_OUTPUT={tmp_path / 'out'}"
    assert list(map(str, caught.value.problems))[1] == f"sub-01: ValueError: {told} {DASK}=None"


def test_the_address_makes_nothing_out_of_date(remote, monkeypatch):
    step = steps.select(steps.STEPS, ["00"])[0]
    notebook = NOTEBOOKS / "00_grey_matter.ipynb"
    there = freshness.signature(step, remote.study, notebook, {})
    monkeypatch.delenv(DASK)
    assert freshness.signature(step, remote.study, notebook, {}) == there


def test_too_little_memory_is_said(remote):
    huge = replace(remote.plan(), method=replace(METHOD, memory_mb=1e9))
    assert "too little: give the workers more memory, or fewer threads each" in huge.summary(2)


def test_lost_workers_are_survived_and_the_participant_is_named(remote, monkeypatch):
    """A cluster of its own, that gives a task up at once, and whose nannies start new workers."""
    import dask

    keep(remote, 3)
    method = replace(PLAIN, process=take_the_worker_along)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(**options, env={"PYTHONPATH": str(TESTS)}) as frail,
    ):
        monkeypatch.setenv(DASK, frail.scheduler_address)
        with pytest.raises(StudyError) as caught:
            remote.run(method)
    causes = {text.partition(":")[0]: text for text in list(map(str, caught.value.problems))[1:]}
    assert "sub-02: KilledWorker: " in causes["sub-02"]
    assert "1 different workers, but all those workers died while running it" in causes["sub-02"]
    assert "worker logs" in causes["sub-02"]
    assert have_ended(processes(remote, "sub-02"))  # else two would write the same files
    assert waiting(remote.plan(method)) == sorted(causes)
    assert "sub-01" not in causes


@pytest.fixture
def lonely(monkeypatch):
    """A scheduler, and one worker that nothing starts again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1"]
    told = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(TESTS)])}
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as made:
        where = made.scheduler_address
        monkeypatch.setenv(DASK, where)
        worker = subprocess.Popen([*command, "--no-dashboard", where], env=told, stderr=-3)
        with distributed.Client(where) as client:
            client.wait_for_workers(1, timeout=120)  # a busy machine takes its time
        yield made
        worker.kill()
        worker.wait()


def test_all_workers_gone_is_an_error_and_keeps_what_is_done(remote, lonely, monkeypatch):
    keep(remote, 2)
    monkeypatch.setattr(workers, "PATIENCE", 5)
    method = replace(PLAIN, process=take_the_worker_along)
    text = r"at least one worker expected, found none after 5 s. What was done is kept. Start some"
    with pytest.raises(StudyError, match=text):
        remote.run(method)
    assert waiting(remote.plan(method)) == ["sub-02"]
    assert have_ended(processes(remote, "sub-02"))


def test_a_scheduler_that_is_lost_is_an_error_and_keeps_what_is_done(remote, lonely):
    keep(remote, 2)
    with pytest.raises(StudyError, match=r"at tcp://.*: its scheduler was lost. What was done is"):
        remote.run(PLAIN, progress=lambda step: lonely.close())
    assert waiting(remote.plan()) == ["sub-02"]


def test_tasks_that_nobody_wants_any_more_are_ended(remote):
    keep(remote, 2)

    def interrupt(step):
        until = time.monotonic() + 60
        while not (remote.root / PIDS.format("sub-02")).exists() and time.monotonic() < until:
            time.sleep(0.1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remote.run(replace(PLAIN, process=take_long), progress=interrupt)
    assert have_ended(processes(remote, "sub-02"))
    assert not [name for name in below(remote.study.made_maps) if ".tasks" in name]


def test_a_process_that_lacks_a_module_says_so(remote, tmp_path, monkeypatch):
    keep(remote, 1)
    (tmp_path / "only_here.py").write_text("def process(paths, settings, templates): ...")
    monkeypatch.syspath_prepend(tmp_path)
    process = importlib.import_module("only_here").process
    with pytest.raises(StudyError, match=r"status 1: ModuleNotFoundError: No module named 'only_h"):
        remote.run(replace(PLAIN, process=process))


# --- clusters that are refused


def test_other_versions_and_code_are_named_with_the_workers(remote, cluster, monkeypatch):
    monkeypatch.setattr(workers, "_code", lambda: "0123456789")
    monkeypatch.setattr(workers, "versions", lambda names: dict.fromkeys(names, "99.1"))
    (problem,) = refused(["numpy"])
    assert problem.startswith("Dask workers tcp://")
    assert all(address in problem for address in cluster.scheduler.workers)
    assert "numpy: 99.1 expected, as here, found 2." in problem
    assert "analysis_lib: 0123456789 expected, as here, found " in problem
    assert "requirements.lock" in problem
    assert "this folder as it is here" in problem


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (ModuleNotFoundError("No module"), "found ModuleNotFoundError: No module"),
        (OSError("unreadable"), "analysis_lib expected, found OSError: unreadable"),
        ({"analysis_lib": "a", "antspyx": None}, "antspyx: 0.6 expected, as here, found none"),
    ],
)
def test_what_a_worker_lacks_in_words(found, text):
    (problem,) = workers._unlike({"analysis_lib": "a", "antspyx": "0.6"}, found)
    assert text in problem


def test_code_that_changes_under_way_is_refused_by_the_task(remote, monkeypatch):
    keep(remote, 1)
    monkeypatch.setattr(workers, "_require_same", lambda client, ask, names, *rest: ask(names))
    monkeypatch.setattr(workers, "_code", lambda: "0123456789")
    with pytest.raises(StudyError, match=r"1 of 1 participants failed, 0 are in place") as caught:
        remote.run()
    assert "sub-01: Dask worker on " in str(caught.value)
    assert "analysis_lib: 0123456789 expected, as here, found " in str(caught.value)


def test_workers_that_do_not_see_the_files_are_named(remote, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the workers stay elsewhere, where relative paths find nothing
    image, *others = (Path(name) for name in ("one.nii", "two.nii", "three.nii"))
    for path in (image, *others):
        path.write_bytes(b"123")
    with workers.connect(os.environ[DASK]) as there:
        there.require_files([image.resolve()])
        with pytest.raises(
            StudyError, match=r"Dask workers tcp://.*two.nii: .* and 1 more"
        ) as error:
            there.require_files([image.resolve(), *others])
    assert "put both (see --output) on a disk that all machines share" in str(error.value)


def test_no_scheduler_at_the_address(monkeypatch):
    monkeypatch.setattr(workers, "CONNECTING", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv(DASK, where)
    (problem,) = refused()
    assert problem.startswith(f"--dask {where}: a Dask scheduler expected, none answers")
    assert "Start one (dask scheduler)" in problem
    monkeypatch.setenv(DASK, "what://is this")
    assert "a Dask scheduler expected, none answers" in refused()[0]


def test_scheduler_without_workers(monkeypatch):
    monkeypatch.setattr(workers, "CONNECTING", 1)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        monkeypatch.setenv(DASK, empty.scheduler_address)
        (problem,) = refused()
    assert "at least one worker expected, found none after 1 s" in problem
    assert f"dask worker {empty.scheduler_address} --nworkers 2" in problem


def test_without_distributed_the_command_is_named(monkeypatch):
    monkeypatch.setenv(DASK, "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    (problem,) = refused()
    assert problem.endswith("Get it: python -m pip install distributed")


def test_without_an_address_there_is_no_cluster():
    with workers.connect("") as none:
        assert none is None
