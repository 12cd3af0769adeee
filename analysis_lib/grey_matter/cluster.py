"""An existing Dask cluster: what must hold of its workers, and work on it, a process a task.

A task runs in a new process of the worker that it is given to, as it would here: code as it is on
the disk now, one thread, this run's folders. Its death is then that of one task, not of a worker
with all that it holds, and how many threads a worker has makes no difference.

joblib's Dask backend is not used: once Dask gives up a task, since the workers that it was given to
were lost, that backend's generator of results waits without end (joblib 1.6).
"""

import contextlib
import importlib.metadata
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from analysis_lib.results import environment as results_environment
from analysis_lib.results.environment import PROJECT, output_root
from analysis_lib.results.hashing import library_hash
from analysis_lib.results.problems import StudyError

VARIABLE = "COMPENDIUM_DASK"  # address of a scheduler; run_all.py --dask sets it for the kernels
ITK_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
CONNECTING = 10  # s, for a scheduler to answer and for a first worker to come
PATIENCE = 60  # s, until a cluster whose workers have all gone is given up
INSTALL = (
    "Install what requirements.lock names where the workers run, and this folder beside it "
    "(python -m pip install --no-deps -e .)"
)


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes
    ----------
    result : object
        What the function gave; None if it gave nothing.
    cause : str or None
        Why it gave nothing.
    seconds : float
    """

    result: object
    cause: str | None
    seconds: float


@dataclass(frozen=True)
class Cluster:
    """A cluster whose workers have been checked.

    Attributes
    ----------
    client : distributed.Client
    identity : dict
        What :func:`identity` gives here.
    slots : int
        Tasks at once: threads of all workers.
    memory_mb : float
        What the worker with least memory has for one task; infinite if no worker has a limit.
    """

    client: object
    identity: dict
    slots: int
    memory_mb: float

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self.client.scheduler.address

    def run(self, function, tasks, shared, folder):
        """Call ``function(task, shared)`` for each task on the cluster.

        Parameters
        ----------
        function : function
            Of a module that the workers can import.
        tasks : dict
            By name.
        shared : object
            Sent once, as a hidden file in ``folder``.
        folder : pathlib.Path
            That the workers see under the same path.

        Yields
        ------
        name : str
        ended : Ended
            In the order in which they end.

        Raises
        ------
        StudyError
            If the scheduler is lost, or all workers are and none comes back.
        """
        import cloudpickle

        start, environment = time.perf_counter(), _environment()
        with _kept(cloudpickle.dumps(shared), folder) as path:
            futures = {}
            for name, task in tasks.items():
                content = cloudpickle.dumps((function, task, self.identity))
                key = f"{name}-{uuid.uuid4().hex}"
                sent = (content, path, environment)
                futures[self.client.submit(_apart, *sent, key=key, pure=False)] = name
            for future in _as_they_end(futures, self):
                yield futures.pop(future), _ended(future, time.perf_counter() - start)

    def require_files(self, paths) -> None:
        """Refuse workers that do not see the same files.

        Parameters
        ----------
        paths : sequence of path

        Raises
        ------
        StudyError
            One problem a kind: which workers, the first of the files, how many.
        """
        expected = {str(path): Path(path).stat().st_size for path in paths}
        problems = defaultdict(list)
        for worker, sizes in self.client.run(_sizes, list(expected)).items():
            unlike = [path for path, size in expected.items() if sizes[path] != size]
            if unlike:
                more = f" and {len(unlike) - 1} more" if len(unlike) > 1 else ""
                text = (
                    f"the file {unlike[0]}{more} expected as it is here, found none or another. "
                    "Workers must see the data and the results under the same paths: put both (see "
                    "--output) on a disk that all machines share"
                )
                problems[text].append(worker)
        _raise(problems)


def address() -> str | None:
    """Address of the scheduler that is to be used: $COMPENDIUM_DASK, or None."""
    return os.environ.get(VARIABLE) or None


@contextlib.contextmanager
def connect(packages=()):
    """Connect with the cluster at :func:`address`, and check its workers.

    Parameters
    ----------
    packages : sequence of str
        Those that must have the same version as here.

    Yields
    ------
    Cluster or None
        None without an address.

    Raises
    ------
    StudyError
        Without the package distributed, without an answer from a scheduler, without a worker, or
        if workers have other code or versions; the message says what to do.
    """
    where = address()
    if where is None:
        yield None
        return
    with _client(where) as client:
        _require_worker(client, where)
        expected = identity(packages)
        _require_same(client, expected)
        yield Cluster(client, expected, *_room(client))


def identity(packages=()) -> dict:
    """What has to be the same wherever a number is made: code, Python, versions.

    Parameters
    ----------
    packages : sequence of str

    Returns
    -------
    dict
        analysis_lib: hash of the modules on the disk; python: as 3.12; version, or None where it is
        not installed, by package.
    """
    found = {"analysis_lib": library_hash()}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


# --- the cluster --------------------------------------------------------------------------------


def _client(where):
    try:
        import distributed
    except ImportError:
        raise StudyError(
            [
                "--dask needs the package distributed, which is not installed. Get it: "
                "python -m pip install distributed"
            ]
        ) from None
    try:
        return distributed.Client(where, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:  # no answer; not an address
        raise StudyError(
            [
                f"--dask {where}: a Dask scheduler expected, none answers ({error}). Start one "
                "(dask scheduler), and give the address that it prints, such as "
                "tcp://127.0.0.1:8786"
            ]
        ) from None


def _require_worker(client, where):
    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(1, timeout=CONNECTING)
    if not client.nthreads():
        raise StudyError(
            [
                f"--dask {where}: at least one worker expected, found none after {CONNECTING} s. "
                f"Start some, with the Python of this compendium: dask worker {where} --nworkers 2"
            ]
        )


def _require_same(client, expected):
    packages = [name for name in expected if name not in ("analysis_lib", "python")]
    problems = defaultdict(list)
    for worker, found in client.run(identity, packages, on_error="return").items():
        for text in _differences(expected, found):
            problems[text].append(worker)
    _raise(problems)


def _differences(expected, found):
    """What a worker lacks, in words."""
    if isinstance(found, ModuleNotFoundError):
        return [f"analysis_lib expected, found no module {found.name}. {INSTALL}"]
    if isinstance(found, Exception):
        return [f"analysis_lib expected, found {type(found).__name__}: {found}. {INSTALL}"]
    unlike = [name for name, value in expected.items() if found.get(name) != value]
    texts = [
        f"{name} {expected[name] or 'not installed'} expected, as here, found "
        f"{found.get(name) or 'none'}. {INSTALL}"
        for name in unlike
        if name != "analysis_lib"
    ]
    if "analysis_lib" in unlike:
        texts.append(
            f"the analysis_lib of {PROJECT} expected, found another (hash "
            f"{found['analysis_lib'][:8]}, not {expected['analysis_lib'][:8]}). Bring that folder "
            "up to date where the workers run, or put it on a disk that all machines share"
        )
    return texts


def _raise(problems):
    """Raise what is wrong, each with the workers that it is true of."""
    if problems:
        raise StudyError([f"{_named(workers)}: {text}" for text, workers in problems.items()])


def _named(workers):
    workers = sorted(workers)
    more = f" and {len(workers) - 3} more" if len(workers) > 3 else ""
    return f"Dask worker{'s' if len(workers) > 1 else ''} {', '.join(workers[:3])}{more}"


def _room(client):
    """Tasks at once, and memory that the worker with least has for each (MB)."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    shares = [w["memory_limit"] / w["nthreads"] / 1e6 for w in workers if w["memory_limit"]]
    return sum(w["nthreads"] for w in workers), min(shares, default=float("inf"))


def _sizes(paths):
    """Bytes of each file as a worker sees it; None where there is none."""
    return {path: os.stat(path).st_size if os.path.isfile(path) else None for path in paths}


# --- tasks, as seen from here -------------------------------------------------------------------


def _environment():
    """What a task's process is told, beside what its worker was told."""
    return {
        **results_environment.KERNEL_ENVIRONMENT,
        **results_environment.whole_folders(),
        "COMPENDIUM_OUTPUT": str(output_root()),
        ITK_THREADS: os.environ.get(ITK_THREADS, "1"),
        "MPLBACKEND": "Agg",
        VARIABLE: "",
    }


@contextlib.contextmanager
def _kept(content, folder):
    """A hidden file for as long as its tasks are wanted: without it they end by themselves."""
    path = folder / f".tasks.{uuid.uuid4().hex}"
    try:
        path.write_bytes(content)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _as_they_end(futures, cluster):
    import distributed

    waiting, lonely = list(futures), 0.0
    while waiting:
        try:
            with cluster.client.as_current():
                ended, left = distributed.wait(waiting, timeout=5, return_when="FIRST_COMPLETED")
        except TimeoutError:
            lonely = 0 if cluster.client.nthreads() else lonely + 5
            if lonely >= PATIENCE:
                raise _gone(cluster, "all its workers are gone, and none came back") from None
            continue
        except distributed.CancelledError:
            raise _gone(cluster, "its scheduler no longer answers") from None
        waiting, lonely = list(left), 0.0
        yield from ended


def _gone(cluster, what):
    return StudyError(
        [f"Dask cluster at {cluster.address}: {what}. What was done is kept: mend it and run again"]
    )


def _ended(future, seconds):
    """How a task ended; if it ended nowhere, because its workers were lost."""
    if future.status == "finished":
        return future.result()
    error = future.exception()
    cause = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "KilledWorker":
        cause = (
            f"{error.allowed_failures + 1} Dask workers were lost that it was given to, the last "
            f"of them {error.last_worker.address}, most often for want of memory: see their logs"
        )
    return Ended(None, cause, seconds)


# --- tasks, as seen from a worker ---------------------------------------------------------------


def _apart(content, shared, environment):
    """Run a task in a process of its own, and end that when nobody wants the result any more."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        task, result, log = (Path(folder) / name for name in ("task", "result", "log"))
        task.write_bytes(content)
        command = [sys.executable, "-m", __name__, str(task), str(shared), str(result)]
        path = os.pathsep.join(filter(None, sys.path))
        told = {**os.environ, **environment, "PYTHONPATH": path}
        with log.open("wb") as errors:
            streams = {"stdin": subprocess.DEVNULL, "stdout": errors, "stderr": errors}
            status = _wait(subprocess.Popen(command, env=told, **streams), shared)
        seconds = time.perf_counter() - start
        if result.is_file() and status == 0:
            return Ended(*pickle.loads(result.read_bytes()), seconds)
        return Ended(None, _died(status, log.read_text(errors="replace")), seconds)


def _wait(process, wanted):
    """Status of a process; it is ended when the file ``wanted`` has gone."""
    try:
        while process.poll() is None and wanted.exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
    finally:
        if process.poll() is None:
            process.kill()
    return process.wait()


def _died(status, log):
    """What a process that gave nothing died of."""
    lines = log.strip().splitlines() if status > 0 else []
    if lines:
        return f"its process on {platform.node()} ended with status {status}: {lines[-1]}"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return (
        f"its process on {platform.node()} ended without a word ({how}), most often for want of "
        "memory. Give the workers more, or fewer threads each (dask worker --nthreads 1), or "
        "choose a larger working_mm"
    )


def _main(task, shared, result):
    """Do the task in one file with what is shared in another, and write what it gives."""
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    function, item, expected = pickle.loads(Path(task).read_bytes())
    packages = [name for name in expected if name not in ("analysis_lib", "python")]
    unlike = _differences(expected, identity(packages))
    if unlike:  # of a worker that came late, or code that was changed meanwhile
        outcome = (None, f"Dask worker on {platform.node()}: {'; '.join(unlike)}")
    else:
        outcome = (function(item, pickle.loads(Path(shared).read_bytes())), None)
    Path(result).write_bytes(pickle.dumps(outcome))


def _end_with(parent):
    """End this process when its worker has ended: another worker then has the task."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    _main(*sys.argv[1:])
