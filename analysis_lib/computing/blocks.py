"""Draws in blocks, on processes here or a Dask cluster: numbers depend on the blocks alone."""

import functools
import pickle
from pathlib import Path
from time import perf_counter

import joblib
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from analysis_lib.computing import cluster
from analysis_lib.results import files
from analysis_lib.results.hashing import library_hash
from analysis_lib.results.times import duration

PACKAGES = ("numpy", "scipy", "numba", "pandas", "statsmodels")  # by which numbers are made


def run(function, parts, shared, n_jobs=1, progress=None, address="", keep=None):
    """Call ``function(part, shared)`` for each part.

    Parameters
    ----------
    function : callable
        Of a module; what it needs must be in ``part`` and ``shared``, seeds included.
    parts : sequence
        A block of work each, of some seconds; small.
    shared : object
        The same for all blocks, and left as it is; it travels once.
    n_jobs : int
        Processes here.
    progress : callable, optional
        ``progress(done, total)``, as blocks end.
    address : str
        Of a Dask scheduler, whose workers then do the work.
    keep : pathlib.Path, optional
        A folder for the results of blocks: a run that was broken off goes on from there.

    Returns
    -------
    list
        Results in the order of ``parts``.

    Raises
    ------
    analysis_lib.results.problems.StudyError
        If the cluster cannot be used, or is lost; what a block raises.
    """
    found = []
    for result in stream(function, parts, shared, n_jobs, address, keep):
        found.append(result)
        if progress is not None:
            progress(len(found), len(parts))
    return found


def told(what, function, parts, shared, n_jobs=1, address="", keep=None) -> list:
    """`run`, which says beforehand what it will cost, by a first block, and then how far it is.

    A block's time enters no result.
    """
    started = perf_counter()
    first = run(function, parts[:1], shared, address=address, keep=keep)
    left = (perf_counter() - started) * (len(parts) - 1) / n_jobs
    print(f"{what}: {len(parts)} blocks, the rest in about {duration(left)}", flush=True)
    quarters = {len(parts[1:]) * k // 4: k for k in (1, 2, 3)} if left > 60 else {}

    def progress(done, total):
        if done in quarters:
            print(f"{what}: {quarters[done]} of 4 quarters done", flush=True)

    return first + run(function, parts[1:], shared, n_jobs, progress, address, keep)


def stream(function, parts, shared, n_jobs=1, address="", keep=None):
    """Results one by one, in the order of ``parts``: see :func:`run`."""
    paths = _kept(function, parts, shared, keep)
    waiting = [part for part, path in zip(parts, paths, strict=True) if not _is_there(path)]
    fresh = (
        _there(function, waiting, shared, address)
        if address
        else _here(function, waiting, shared, n_jobs)
    )
    for path in paths:
        if _is_there(path):
            yield pickle.loads(path.read_bytes())
            continue
        result = next(fresh)
        if path is not None:
            files.write_bytes(path, pickle.dumps(result))
        yield result


def elsewhere(address):
    """``run`` of :func:`voxelperm.permutation_test` on a Dask cluster; None without one."""
    return functools.partial(stream, address=address) if address else None


def _kept(function, parts, shared, keep):
    """Where the result of each part is kept: named after all that it follows from."""
    if keep is None:
        return [None] * len(parts)
    about = (function.__module__, function.__qualname__, library_hash(), joblib.hash(shared))
    return [Path(keep) / f"{joblib.hash((*about, part))}.pkl" for part in parts]


def _is_there(path):
    return path is not None and path.is_file()


def _here(function, parts, shared, n_jobs):
    work = (delayed(one)(function, part, shared) for part in parts)
    yield from Parallel(n_jobs=n_jobs, prefer="processes", return_as="generator")(work)


def _there(function, parts, shared, address):
    if parts:
        with cluster.connect(address, PACKAGES) as found:
            yield from found.stream(functools.partial(one, function), parts, shared)


def one(function, part, shared):
    """A block, with one thread: sums of several depend on their number."""
    with threadpool_limits(1):
        return function(part, shared)
