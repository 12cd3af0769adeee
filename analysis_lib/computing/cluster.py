"""An existing Dask cluster: what must hold of its workers, and work on it.

Blocks of draws run within the workers. A participant's images are a task, which runs in a new
process of its worker: code as it is on the disk now, and one thread, which ITK can only be told
before it is loaded; its death is then that of one task. It is a plain subprocess, since a worker
that has a nanny is a daemon, and multiprocessing lets daemons have no children.

joblib's Dask backend is not used: once Dask gives up a task, since the workers that it was given to
were lost, that backend's generator of results waits without end (joblib 1.6).
"""

import contextlib
import functools
import os
import pickle
import platform
import sys
import threading
import time
import uuid
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

from threadpoolctl import threadpool_limits

from analysis_lib.results.environment import ENGINES, KERNEL_ENVIRONMENT, versions, whole_folders
from analysis_lib.results.hashing import library_hash, text_hash
from analysis_lib.results.problems import StudyError
from analysis_lib.results.words import shortened

ITK_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
CONNECTING = 10  # s, for a scheduler to answer and for a first worker to come
PATIENCE = 60  # s, between looks for workers, and until a cluster that has none is given up
INSTALL = (
    "Install what requirements.lock names where the workers run, and this folder as it is here "
    "beside it (python -m pip install --no-deps -e .), or put it on a disk that all machines share"
)


@dataclass(frozen=True)
class Cluster:
    """A cluster whose workers have been checked: ``slots`` tasks at once, MB of memory for each."""

    client: object
    identity: dict
    slots: int
    memory_mb: float

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self.client.scheduler.address

    def run(self, function, tasks, shared, folder):
        """Call ``function(task, shared)`` for each named task; again, once, where its process died.

        Yields name, result and cause: what the function gave, or why it gave nothing. ``shared`` is
        written once, with the tasks, into a hidden file of the folder, which workers must see.
        """
        path = folder / f".tasks.{uuid.uuid4().hex}"
        own = {ITK_THREADS: os.environ.get(ITK_THREADS, "1"), "MPLBACKEND": "Agg"}
        passed = (path, self.identity, {**KERNEL_ENVIRONMENT, **whole_folders(), **own})
        options = {"pure": False, "retries": 1}
        try:
            path.write_bytes(pickle.dumps((function, tasks, shared)))
            names = {
                self.client.submit(
                    _apart, name, *passed, key=f"{name}{path.suffix}", **options
                ): name
                for name in tasks
            }
            for future, result in _as_they_end(self.client, names):
                error = future.exception() if future.status == "error" else None
                told = getattr(error, "problems", [f"{type(error).__name__}: {error}"])
                cause = "; ".join(map(str, told)) if error else None
                yield names[future], None if cause else result, cause
        finally:
            path.unlink(missing_ok=True)

    def stream(self, function, parts, shared):
        """Yield ``function(part, shared)`` for each part, in order; raises what a call raises.

        ``shared`` is a task of its own: a worker that comes late, or in the place of one that died,
        is given it by others, or by the scheduler.
        """
        options = {"pure": False, "retries": 0}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            data = self.client.submit(pickle.loads, pickle.dumps(shared), **options)
        order = {
            self.client.submit(_within, function, part, data, self.identity, **options): k
            for k, part in enumerate(parts)
        }
        ended, following = {}, 0
        for future, result in _as_they_end(self.client, order):
            ended[order[future]] = future, result
            while following in ended:
                future, result = ended.pop(following)
                if future.status == "error":  # in its turn: earlier ones have been given
                    raise _cause(future.exception())
                yield result
                following += 1

    def require_files(self, paths) -> None:
        """Refuse workers that do not see the same files; StudyError names them and a file."""
        advice = (
            "Workers must see the data and the results under the same paths: put both (see "
            "--output) on a disk that all machines share"
        )
        _require_same(self.client, _sizes, [str(path) for path in paths], advice, 1)


@contextlib.contextmanager
def connect(address, packages=()):
    """Connect with the cluster of a scheduler, and check its workers: a `Cluster`, or None.

    ``packages`` must have the same versions as here. A `StudyError` says what to do.
    """
    if not address:
        yield None
        return
    with _client(address) as client:
        _require_worker(client, CONNECTING)
        same = _require_same(client, identity, list(packages), INSTALL, 99)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        shares = [w["memory_limit"] / w["nthreads"] / 1e6 for w in workers if w["memory_limit"]]
        slots = sum(w["nthreads"] for w in workers)
        yield Cluster(client, same, slots, min(shares, default=float("inf")))


def identity(packages=()) -> dict:
    """What has to be the same wherever a number is made: hash of the code, Python, versions."""
    found = dict.fromkeys(packages) | versions(packages)
    python = ".".join(platform.python_version_tuple()[:2])
    return {**found, "python": python, "analysis_lib": _code()}


def _code():
    return text_hash(library_hash(), library_hash(ENGINES))[:16]


def _sizes(paths):
    return {p: f"{os.stat(p).st_size} bytes" if os.path.isfile(p) else None for p in paths}


def _client(where):
    try:
        import distributed
    except ImportError:
        raise StudyError(
            "--dask needs the package distributed, which is not installed. Get it: "
            "python -m pip install distributed"
        ) from None
    try:
        return distributed.Client(where, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:  # no answer; not an address
        raise StudyError(
            f"--dask {where}: a Dask scheduler expected, none answers ({error}). Start one "
            "(dask scheduler), and give the address that it prints, such as tcp://127.0.0.1:8786"
        ) from None


def _require_worker(client, seconds):
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        where = client.scheduler.address
        raise StudyError(
            f"--dask {where}: at least one worker expected, found none after {seconds} s. What was "
            "done is kept. Start some, with the Python of this compendium, and run again: "
            f"dask worker {where} --nworkers 2"
        ) from None


def _require_same(client, ask, names, advice, n_shown):
    """What ``ask(names)`` gives here, if it gives the same on each worker.

    Client.get_versions knows neither this library nor the packages that make the maps.
    """
    expected, problems = ask(names), defaultdict(list)
    for worker, found in client.run(ask, names, on_error="return").items():
        if unlike := _unlike(expected, found):
            problems[f"{shortened(unlike, n_shown)}. {advice}"].append(worker)
    if problems:
        raise StudyError(
            f"Dask workers {shortened(sorted(at), 3)}: {text}" for text, at in problems.items()
        )
    return expected


def _unlike(expected, found):
    if isinstance(found, Exception):
        return [f"analysis_lib expected, found {type(found).__name__}: {found}"]
    return [
        f"{name}: {value or 'none'} expected, as here, found {found.get(name) or 'none'}"
        for name, value in expected.items()
        if found.get(name) != value
    ]


def _as_they_end(client, futures):
    from distributed import as_completed

    left = set(futures)
    options = {"loop": client.loop, "timeout": PATIENCE, "raise_errors": False}
    while left:
        try:  # with results: to fetch one, too, may take as long as a worker does to come back
            for future, result in as_completed(left, with_results=True, **options):
                if future.cancelled():
                    raise StudyError(
                        f"Dask cluster at {client.scheduler.address}: its scheduler was lost. "
                        "What was done is kept: mend it and run again"
                    )
                left.remove(future)
                yield future, result
        except TimeoutError:  # tasks wait, and do not fail, while there is no worker
            _require_worker(client, PATIENCE)


def _cause(error):
    """What a block raised, or that its workers died."""
    if type(error).__name__ != "KilledWorker":
        return error
    return StudyError(
        f"Dask cluster: a block of draws was given up, since its workers died ({error}). What was "
        "done is kept. Give the workers more memory, or fewer threads each, and run again"
    )


@functools.cache
def _loaded(packages):
    """Identity of what this process has loaded; later edits of the code are not in force here."""
    return {**identity(packages), "analysis_lib": LOADED}


def _within(function, part, shared, expected):
    """Do a block in this worker's own process."""
    if unlike := _unlike(expected, _loaded(tuple(expected))):
        raise StudyError(
            f"Dask worker on {platform.node()}: {shortened(unlike, 99)}. Start it again, if this "
            f"folder has changed since it was started. Else: {INSTALL}"
        )
    threadpool_limits(1)  # for good: threads of a worker that leave a limit restore each other's
    return function(part, shared)


def _apart(name, path, expected, environment):
    """Do a task of those in a file in a process of its own."""
    host = platform.node()
    if unlike := _unlike(expected, identity(list(expected))):
        # The worker came late, or the code was changed meanwhile.
        raise StudyError(f"Dask worker on {host}: {shortened(unlike, 99)}. {INSTALL}")
    told = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __name__, str(path), name]
    process = Popen(command, env=told, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    answer, log = _wait(process)
    if status := process.returncode:
        said = log.decode(errors="replace").strip().splitlines() if status > 0 else []
        said = said or [
            "no word of why, most often for want of memory. Give the workers more, or fewer "
            "threads each (dask worker --nthreads 1), or choose a larger working_mm"
        ]
        how = f"status {status}" if status > 0 else f"signal {-status}"
        raise StudyError(f"its process on {host} ended with {how}: {said[-1]}")
    return pickle.loads(answer)


def _wait(process):
    """What a process says; it is ended when the task is cancelled, or the client has gone."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    while True:
        with contextlib.suppress(TimeoutExpired):
            return process.communicate(timeout=0.5)
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            process.kill()


def _main(path, name):
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    answer = os.dup(1)
    os.dup2(2, 1)  # ANTs, too, may speak to the standard output
    function, tasks, shared = pickle.loads(Path(path).read_bytes())
    with os.fdopen(answer, "wb") as file:
        pickle.dump(function(tasks[name], shared), file)


def _end_with(parent):
    """End this process when its worker has ended: another worker then has the task."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


LOADED = _code()

if __name__ == "__main__":
    _main(*sys.argv[1:])
