"""Draws in blocks, on this machine's processes: the numbers depend on the blocks alone."""

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits


def run(function, parts, shared, n_jobs=1, progress=None):
    """Call ``function(part, shared)`` for each part.

    Parameters
    ----------
    function : callable
        Of a module; what it needs must be in ``part`` and ``shared``, seeds included.
    parts : sequence
        A block of work each, of some seconds; small.
    shared : object
        The same for all blocks; large arrays travel once.
    n_jobs : int
        Processes here.
    progress : callable, optional
        ``progress(done, total)``, as blocks end.

    Returns
    -------
    list
        Results in the order of ``parts``.
    """
    work = (delayed(one)(function, part, shared) for part in parts)
    found = []
    for result in Parallel(n_jobs=n_jobs, prefer="processes", return_as="generator")(work):
        found.append(result)
        if progress is not None:
            progress(len(found), len(parts))
    return found


def one(function, part, shared):
    """A block, with one thread: sums of several depend on their number."""
    with threadpool_limits(1):
        return function(part, shared)
