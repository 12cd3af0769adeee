"""One run at a time, and one that makes a study's data."""

import contextlib
import os
import socket

from filelock import FileLock, Timeout

from analysis_lib.results.problems import PipelineError, refusals


@contextlib.contextmanager
def lock(folder):
    """Hold a folder for one run; `PipelineError` if another one, which is alive, holds it."""
    path = folder / ".run.lock"
    held = FileLock(path, timeout=0, is_singleton=False)
    with refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
        except Timeout:
            holder = "which process is unknown"
            with contextlib.suppress(OSError):
                holder = path.read_text(encoding="utf-8") or holder
            raise PipelineError(
                f"another run is working in {folder} ({holder}). Wait for it; if it is no longer "
                f"there, delete {path}"
            ) from None
    try:
        with refusals(folder):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        held.release()


@contextlib.contextmanager
def alone(folder):
    """Wait until no other run makes a folder; look whether it is there once this has begun."""
    path = folder.with_name(f".{folder.name}.lock")
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path, is_singleton=False)
        held.acquire()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        held.release()
