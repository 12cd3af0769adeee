"""Peak memory of a process and all that it started, and work that leaves none behind."""

import multiprocessing
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

import psutil

from analysis_lib.results.problems import PipelineError, killed


def apart(function, *arguments):
    """The result of a function called in its own process.

    What it imports and holds is gone afterwards, and does not lie beside a kernel for the rest of a
    run. The process is a copy of this one, which has imported little by then. A `PipelineError`
    says that it was killed.
    """
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as process:
        try:
            return process.submit(function, *arguments).result()
        except BrokenExecutor:
            raise PipelineError(killed("a process of this run")) from None


class PeakMemory:
    """Peak resident memory, in MB, of this process and all that it started, while in the block.

    Sampled every ``interval`` seconds and summed over processes, so that pages which processes
    share count more than once: an upper bound, but for peaks shorter than the interval.
    """

    def __init__(self, interval=0.2):
        self.mb = 0.0
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self):
        me = psutil.Process()
        total = 0
        for process in (me, *me.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # ended meanwhile
                continue
        self.mb = max(self.mb, total / 1e6)
