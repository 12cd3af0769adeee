"""One run at a time."""

import contextlib
import json
import os
import socket
import time

import psutil

from analysis_lib.results.problems import PipelineError


@contextlib.contextmanager
def lock(folder):
    """Hold a folder for one run: ``.run.lock`` in it names the process.

    Raises
    ------
    PipelineError
        If a run that is alive holds it. The lock of a dead one is taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".run.lock"
    me = psutil.Process()
    mine = {"pid": me.pid, "created": me.create_time(), "host": socket.gethostname()}
    while not _create(path, json.dumps(mine)):
        holder = _holder(path)
        if _alive(path, holder):
            raise PipelineError(_busy(folder, path, holder))
        _clear(path, holder)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _create(path, text):
    """Create a file; False if it is there already."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _holder(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _clear(path, holder):
    """Remove the lock of a dead run, but not one that a third run has set meanwhile."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.stale")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if _holder(aside) != holder:
            os.rename(aside, path)
        aside.unlink()


def _alive(path, holder):
    if not holder:  # being written just now, or left by a machine that stopped
        with contextlib.suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime < 10
        return False
    if holder["host"] != socket.gethostname():
        return True  # another machine's processes cannot be looked at from here
    try:
        return abs(psutil.Process(holder["pid"]).create_time() - holder["created"]) < 1
    except psutil.NoSuchProcess:
        return False


def _busy(folder, path, holder):
    who = f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'this machine')}"
    return (
        f"another run is working in {folder} ({who}). Wait for it; if it is no longer there, "
        f"delete {path}"
    )
