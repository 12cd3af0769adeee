"""Participants on a Dask cluster: the same files as here, and errors that say what to do.

The cluster is a real one, on this machine; the stand-in of test_derivatives takes the place of
ANTs.
"""

import os
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from test_derivatives import METHOD, PEOPLE, Trial, below, stand_in, waiting, write_t1w

from analysis_lib.grey_matter import cluster as grey_matter_cluster
from analysis_lib.pipeline import freshness, steps
from analysis_lib.results import environment
from analysis_lib.results.problems import StudyError

distributed = pytest.importorskip(
    "distributed", reason="distributed is not installed (extra dask): no cluster to test with"
)
TESTS = Path(__file__).parent


def tell_environment(paths, settings, templates):
    """As stand_in, but in place of what it gives: what its process was told."""
    names = (
        grey_matter_cluster.ITK_THREADS,
        "OMP_NUM_THREADS",
        "COMPENDIUM_OUTPUT",
        grey_matter_cluster.VARIABLE,
    )
    raise ValueError(" ".join(f"{name}={os.environ.get(name)}" for name in names))


def take_the_worker_along(paths, settings, templates):
    """As stand_in, but sub-02 takes its worker with it, as a machine does that is switched off."""
    if "sub-02" in str(paths["baseline"]):
        os.kill(os.getppid(), 9)
        os._exit(1)
    return stand_in(paths, settings, templates)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes; the participants' processes find the stand-in in this folder."""
    told = {
        "PYTHONPATH": str(TESTS),
        grey_matter_cluster.ITK_THREADS: "7",
        "COMPENDIUM_OUTPUT": "/elsewhere",
    }
    options = {"dashboard_address": ":0", "env": told}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as made:
        yield made


@pytest.fixture
def remote(tiny, tmp_path, cluster, monkeypatch):
    """The trial, whose participants are processed by the cluster."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv(grey_matter_cluster.VARIABLE, cluster.scheduler_address)
    return Trial(tiny)


def keep(trial, n):
    """Leave the images of the first participants alone."""
    for who in PEOPLE[n:]:
        shutil.rmtree(trial.root / who)


def refused(packages=()):
    """The problems of the cluster."""
    with pytest.raises(StudyError) as caught, grey_matter_cluster.connect(packages):
        pass
    return caught.value.problems


# --- the same, wherever it is made


def test_a_cluster_gives_the_same_files_progress_and_resumes(remote, tmp_path, monkeypatch):
    keep(remote, 2)
    assert "2 participants to process, 0 done already" in remote.plan().summary(1)
    assert "300 MB each, 2 at a time on the Dask cluster at tcp://" in remote.plan().summary(1)
    told = []
    remote.run(progress=told.append)
    assert [(step.done, step.total, step.failed) for step in told] == [(1, 2, False), (2, 2, False)]
    assert told[0].seconds_left > 0
    there = below(remote.study.made_maps)
    assert waiting(remote.plan()) == []
    keys = [job.key for job in remote.plan().present]

    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "here"))
    monkeypatch.delenv(grey_matter_cluster.VARIABLE)
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
    keep(remote, 3)
    write_t1w(remote.root, "sub-01", "week2", 666)
    write_t1w(remote.root, "sub-03", "week2", 667)
    before = set(cluster.scheduler.workers)
    with pytest.raises(StudyError) as caught:
        remote.run()
    first, *causes = caught.value.problems
    assert first.startswith("2 of 3 participants failed, 1 are in place.")
    one, three = sorted(causes)
    assert one == "sub-01: ValueError: an image with a brain expected, found none"
    assert three.startswith(f"sub-03: its process on {socket.gethostname()} ended without a word")
    assert "(status 1), most often for want of memory" in three
    assert set(cluster.scheduler.workers) == before  # none died with it
    assert waiting(remote.plan()) == ["sub-01", "sub-03"]
    assert not [name for name in below(remote.study.made_maps) if ".tasks" in name]


def test_a_task_is_told_what_this_run_is_told(remote, tmp_path):
    keep(remote, 1)
    method = replace(METHOD, process=tell_environment)
    with pytest.raises(StudyError) as caught:
        remote.run(method)
    told = f"{grey_matter_cluster.ITK_THREADS}=1 OMP_NUM_THREADS=1 COMPENDIUM_OUTPUT={tmp_path / 'out'}"
    assert caught.value.problems[1] == f"sub-01: ValueError: {told} {grey_matter_cluster.VARIABLE}="


def test_the_address_makes_nothing_out_of_date(remote, monkeypatch):
    step = steps.select(steps.STEPS, ["00"])[0]
    notebook = environment.NOTEBOOKS / "00_grey_matter.ipynb"
    there = freshness.signature(step, remote.study, notebook, {})
    monkeypatch.delenv(grey_matter_cluster.VARIABLE)
    assert freshness.signature(step, remote.study, notebook, {}) == there


def test_too_little_memory_is_said(remote):
    huge = replace(remote.plan(), method=replace(METHOD, memory_mb=1e9))
    assert "too little: give the workers more memory, or fewer threads each" in huge.summary(2)


def test_lost_workers_are_survived_and_the_participant_is_named(remote, monkeypatch):
    """A cluster of its own, that gives a task up at once, and whose nannies start new workers."""
    import dask

    keep(remote, 3)
    method = replace(METHOD, process=take_the_worker_along)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(**options, env={"PYTHONPATH": str(TESTS)}) as frail,
    ):
        monkeypatch.setenv(grey_matter_cluster.VARIABLE, frail.scheduler_address)
        with pytest.raises(StudyError) as caught:
            remote.run(method)
    causes = {text.partition(":")[0]: text for text in caught.value.problems[1:]}
    assert "1 Dask workers were lost that it was given to, the last of them" in causes["sub-02"]
    assert "want of memory: see their logs" in causes["sub-02"]
    assert waiting(remote.plan(method)) == sorted(causes)
    assert "sub-01" not in causes


def test_all_workers_gone_is_an_error_and_keeps_what_is_done(remote, cluster, monkeypatch):
    def gone(waiting, **options):
        raise TimeoutError

    monkeypatch.setattr(distributed, "wait", gone)
    monkeypatch.setattr(distributed.Client, "nthreads", lambda self: {})
    monkeypatch.setattr(grey_matter_cluster, "PATIENCE", 10)
    monkeypatch.setattr(grey_matter_cluster, "_require_worker", lambda client, where: None)
    with pytest.raises(StudyError, match=r"at tcp://.*: all its workers are gone, and none came"):
        remote.run()


# --- clusters that are refused


def test_other_versions_and_code_are_named_with_the_workers(remote, cluster, monkeypatch):
    monkeypatch.setattr(freshness, "library_hash", lambda: "0123456789")
    monkeypatch.setattr(workers.importlib.metadata, "version", lambda name: "99.1")
    versions, code = refused(["numpy"])
    assert versions.startswith("Dask workers tcp://")
    assert all(address in versions for address in cluster.scheduler.workers)
    assert "numpy 99.1 expected, as here, found 2." in versions
    assert "requirements.lock" in versions
    assert f"the analysis_lib of {pipeline.PROJECT} expected, found another" in code
    assert "not 01234567" in code


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (ModuleNotFoundError("no", name="analysis_lib"), "found no module analysis_lib. Install"),
        (OSError("unreadable"), "analysis_lib expected, found OSError: unreadable. Install"),
        ({"analysis_lib": "a", "antspyx": None}, "antspyx 0.6 expected, as here, found none"),
    ],
)
def test_what_a_worker_lacks_in_words(found, text):
    (problem,) = grey_matter_cluster._differences({"analysis_lib": "a", "antspyx": "0.6"}, found)
    assert text in problem


def test_code_that_changes_under_way_is_refused_by_the_task(remote, monkeypatch):
    keep(remote, 1)
    monkeypatch.setattr(grey_matter_cluster, "_require_same", lambda client, expected: None)
    monkeypatch.setattr(freshness, "library_hash", lambda: "0123456789")
    with pytest.raises(StudyError, match=r"1 of 1 participants failed, 0 are in place") as caught:
        remote.run()
    assert "sub-01: Dask worker on " in str(caught.value)
    assert "found another" in str(caught.value)


def test_workers_that_do_not_see_the_files_are_named(remote, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the workers stay elsewhere, where relative paths find nothing
    image, *others = (Path(name) for name in ("one.nii", "two.nii", "three.nii"))
    for path in (image, *others):
        path.write_bytes(b"123")
    with grey_matter_cluster.connect() as there:
        there.require_files([image.resolve()])
        with pytest.raises(StudyError, match=r"Dask workers tcp://.*two.nii and 1 more") as error:
            there.require_files([image.resolve(), *others])
    assert "put both (see --output) on a disk that all machines share" in str(error.value)


def test_no_scheduler_at_the_address(monkeypatch):
    monkeypatch.setattr(grey_matter_cluster, "CONNECTING", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv(grey_matter_cluster.VARIABLE, where)
    (problem,) = refused()
    assert problem.startswith(f"--dask {where}: a Dask scheduler expected, none answers")
    assert "Start one (dask scheduler)" in problem
    monkeypatch.setenv(grey_matter_cluster.VARIABLE, "what://is this")
    assert "a Dask scheduler expected, none answers" in refused()[0]


def test_scheduler_without_workers(monkeypatch):
    monkeypatch.setattr(grey_matter_cluster, "CONNECTING", 1)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        monkeypatch.setenv(grey_matter_cluster.VARIABLE, empty.scheduler_address)
        (problem,) = refused()
    assert "at least one worker expected, found none after 1 s" in problem
    assert f"dask worker {empty.scheduler_address} --nworkers 2" in problem


def test_without_distributed_the_command_is_named(monkeypatch):
    monkeypatch.setenv(grey_matter_cluster.VARIABLE, "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    (problem,) = refused()
    assert problem.endswith("Get it: python -m pip install distributed")


def test_without_an_address_there_is_no_cluster(monkeypatch):
    monkeypatch.setenv(grey_matter_cluster.VARIABLE, "")
    with grey_matter_cluster.connect() as none:
        assert none is None


def test_a_task_that_nobody_wants_any_more_is_ended(tmp_path):
    process = workers.subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert grey_matter_cluster._wait(process, tmp_path / "absent") == -9


def test_a_task_that_no_module_is_there_for_gives_its_last_words(tmp_path):
    text = grey_matter_cluster._died(1, "Traceback\nModuleNotFoundError: No module named 'ants'\n")
    assert text.endswith("ended with status 1: ModuleNotFoundError: No module named 'ants'")
    assert "(signal 9), most often for want of memory" in grey_matter_cluster._died(-9, "anything")
