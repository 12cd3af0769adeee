"""One run at a time."""

import contextlib
import os
import socket

from filelock import FileLock, Timeout

from analysis_lib.results.problems import PipelineError, refusals


@contextlib.contextmanager
def lock(folder):
    """Hold a folder for one run: ``.run.lock`` in it names the process.

    A run that is alive and holds it is a `PipelineError`. The system frees the lock of a process
    that ends, however it ends; the file stays.
    """
    path = folder / ".run.lock"
    held = FileLock(path, timeout=0, is_singleton=False)
    with refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
        except Timeout:
            raise PipelineError(_busy(folder, path)) from None
    try:
        with refusals(folder):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        held.release()


def _busy(folder, path):
    holder = "which process is unknown"
    with contextlib.suppress(OSError):
        holder = path.read_text(encoding="utf-8") or holder
    return (
        f"another run is working in {folder} ({holder}). Wait for it; if it is no longer there, "
        f"delete {path}"
    )
