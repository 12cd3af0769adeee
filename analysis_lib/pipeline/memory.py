"""What a run watches while it goes on, peak memory above all; work that leaves none behind."""

import contextlib
import multiprocessing
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

import psutil

from analysis_lib.results.problems import PipelineError, killed


def apart(function, *arguments):
    """The result of a function called in its own process: what it imports is gone afterwards.

    A `PipelineError` says that it was killed.
    """
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as process:
        try:
            return process.submit(function, *arguments).result()
        except BrokenExecutor:
            raise PipelineError(killed("a process of this run")) from None


@contextlib.contextmanager
def repeated(look, seconds):
    """Call a function at once, every so many seconds while in the block, and at its end."""
    ended = threading.Event()

    def watch():
        while not ended.wait(seconds):
            look()
        look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class PeakMemory:
    """Peak resident memory, in MB, of this process and all that it started, when sampled.

    Pages that processes share count more than once.
    """

    mb = 0.0

    def sample(self):
        """Look how much memory is used now."""
        me = psutil.Process()
        total = 0
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # ended meanwhile
                total += process.memory_info().rss
        self.mb = max(self.mb, total / 1e6)
