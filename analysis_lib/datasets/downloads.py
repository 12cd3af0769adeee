"""Large files over HTTP: several at once, resumed, checked, and in place whole or not at all.

pooch gets the small files of a study; it starts a broken transfer again from nothing, which does
not do for images. Nor do the retries of requests: they do not reach into the body of an answer.
"""

import contextlib
import csv
import errno
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pooch
import requests
import urllib3
from rich.filesize import decimal as in_words

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

JOBS = 4
RETRIES = 5
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds: the first wait before a new attempt, and the longest
TIMEOUT = (10, 30)  # seconds to connect, and without a byte
CHUNK = 1 << 16  # bytes
PROGRESS = 1 << 20  # bytes: an attempt that brings as many does not count as a failed one
HOPELESS = 3  # files given up, without a byte of any in between: the rest is not tried


class DownloadError(RuntimeError):
    """A download cannot begin."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Parameters
    ----------
    path : str
        Where it belongs below the folder, and where it is below the address; with slashes.
    bytes : int
        Size.
    md5 : str
        Hexadecimal.

    Raises
    ------
    ValueError
        If the path leads out of the folder, or size or md5 cannot be such.
    """

    path: str
    bytes: int
    md5: str

    def __post_init__(self):
        path = PurePosixPath(self.path)
        if not path.name or path.is_absolute() or ".." in path.parts or "\\" in self.path:
            raise ValueError(f"a path below the folder expected, found {self.path!r}")
        if self.bytes <= 0:
            raise ValueError(f"{self.path}: bytes: a number above 0 expected, found {self.bytes}")
        if not re.fullmatch("[0-9a-f]{32}", self.md5):
            raise ValueError(f"{self.path}: md5: 32 digits of 0-9, a-f expected, found {self.md5}")


@dataclass(frozen=True)
class Outcome:
    """What :func:`download` did.

    Parameters
    ----------
    fetched, present : tuple of RemoteFile
        Files that came, and files that were there already, checked.
    failed : dict of str to str
        Why not, by path, in the order of the files.
    """

    fetched: tuple[RemoteFile, ...] = ()
    present: tuple[RemoteFile, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


class Watcher:
    """Told how a download goes on, from several threads; this one says nothing."""

    def begin(self, wanted, present, n_bytes):
        """Files to fetch, files that are there, and bytes of the former that are there."""

    def received(self, n_bytes):
        """Bytes came; a negative number: bytes were thrown away."""

    def retry(self, file, reason, seconds):
        """An attempt failed, and the next one follows after a pause."""

    def done(self, file):
        """A file is in place, checked."""

    def failed(self, path):
        """A file was given up: the outcome says why."""


def read_list(path):
    """Read a list of files: a TSV file with the columns path, bytes and md5.

    Returns
    -------
    tuple of RemoteFile

    Raises
    ------
    ValueError
        If a column is missing, a value is wrong, or a path stands there twice.
    """
    with open(path, encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text, delimiter="\t")
        missing = {"path", "bytes", "md5"} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: columns path, bytes, md5 expected; {missing} missing")
        files = tuple(RemoteFile(row["path"], int(row["bytes"]), row["md5"]) for row in rows)
    if len({file.path for file in files}) < len(files):
        raise ValueError(f"{path}: each path once expected, found one twice")
    return files


def partial_path(folder, file):
    """Where a file is kept until it is whole: hidden, so that BIDS tools pass over it."""
    path = Path(folder, file.path)
    return path.with_name(f".{path.name}.part")


def download(
    files,
    folder,
    base,
    *,
    jobs=JOBS,
    retries=RETRIES,
    pause=PAUSE,
    timeout=TIMEOUT,
    watch=None,
):
    """Get the files that a folder lacks.

    A transfer that broke off, in this run or an earlier one, goes on from the bytes that are
    there (HTTP Range, RFC 9110 section 14). Size and md5 are checked, of files that are there
    already too. A file that fails does not stop the others; a full disk does, and so does a
    server that sends nothing while three files are given up.

    Parameters
    ----------
    files : sequence of RemoteFile
    folder : path
    base : str
        Address: a file is at ``base/path``.
    jobs : int
        Files fetched at once.
    retries : int
        Attempts after the first that may fail in a row, for each file; an attempt that brought
        a mebibyte or more is not a failed one.
    pause : float
        Seconds before the first new attempt; doubled each time, up to a minute.
    timeout : tuple of float
        Seconds to connect, and without a byte.
    watch : Watcher, optional

    Returns
    -------
    Outcome

    Raises
    ------
    DownloadError
        If the disk has no room for the files, or another process is fetching into the folder.
    OSError
        If the folder cannot be made.
    """
    folder, watch = Path(folder), watch or Watcher()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        present, wanted, failed = _sort_out(files, folder)
        _check_room(folder, wanted)
        watch.begin(wanted, present, sum(_size(partial_path(folder, file)) for file in wanted))
        for path in failed:
            watch.failed(path)
        run = _Run(folder, base.rstrip("/"), retries, pause, timeout, watch)
        problems = failed | _in_parallel(run, wanted, jobs)
    return Outcome(
        fetched=tuple(file for file in wanted if file.path not in problems),
        present=tuple(present),
        failed={file.path: problems[file.path] for file in files if file.path in problems},
    )


@contextlib.contextmanager
def _alone_in(folder):
    """Keep a second download out of a folder: both would write to the same partial files."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DownloadError(
            f"{folder}: another process is downloading into it. Wait for it, or end it"
        ) from None
    except OSError:  # a file system without locks; hashes are checked all the same
        pass
    try:
        yield
    finally:
        os.close(handle)


def _sort_out(files, folder):
    """Which files are there, which are wanted, and what is wrong with those that differ."""
    present, wanted, failed = [], [], {}
    for file in files:
        path = folder / file.path
        if not path.exists():
            wanted.append(file)
        elif difference := _difference(path, file):
            failed[file.path] = (
                f"{path} exists and is not the published file: {difference}. "
                "Nothing was changed: move it away and run again"
            )
        else:
            present.append(file)
    return present, wanted, failed


def _difference(path, file):
    """What a file has else than it should, or None."""
    size = path.stat().st_size
    if size != file.bytes:
        return f"{file.bytes} bytes expected, found {size}"
    found = pooch.file_hash(str(path), alg="md5")
    return None if found == file.md5 else f"md5 {file.md5} expected, found {found}"


def _check_room(folder, wanted):
    needed = sum(file.bytes - _size(partial_path(folder, file)) for file in wanted)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder}: {in_words(needed)} expected to be free on the disk, found "
            f"{in_words(free)}. Nothing was downloaded: make room and run again"
        )


def _size(path):
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _in_parallel(run, wanted, jobs):
    """Fetch files in threads; return what went wrong, by path."""
    failed = {}
    with ThreadPoolExecutor(jobs, thread_name_prefix="download") as pool:
        pending = {pool.submit(_fetch, run, file): file for file in wanted}
        try:
            for future in as_completed(pending):
                if reason := future.result():
                    failed[pending[future].path] = reason
        except BaseException:  # Ctrl-C: partial files are kept, and threads end at the next chunk
            run.stop("interrupted")
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


# --- one file -----------------------------------------------------------------------------------


class _Broken(Exception):
    """An attempt failed; another may not. ``seconds``: the pause that the server asked for."""

    def __init__(self, reason, seconds=0.0):
        self.seconds = seconds
        super().__init__(reason)


class _Refused(Exception):
    """A file cannot be had, or is not the one expected: trying again would not help."""


class _Stopped(Exception):
    """All downloads end."""


class _Run:
    """What the threads of one download share."""

    def __init__(self, folder, base, retries, pause, timeout, watch):
        self.folder, self.base = folder, base
        self.retries, self.pause, self.timeout = retries, pause, timeout
        self.watch = watch
        self._end, self._why = threading.Event(), ""
        self._in_a_row, self._lock = 0, threading.Lock()

    def stop(self, why):
        """End all downloads at the next chunk."""
        with self._lock:
            self._why = self._why or why
        self._end.set()

    def go_on(self, seconds=0.0):
        """Wait, unless all downloads end."""
        if self._end.wait(seconds) if seconds else self._end.is_set():
            raise _Stopped(f"not fetched: {self._why}")

    def alive(self):
        """Note that the server sends something."""
        with self._lock:
            self._in_a_row = 0

    def gave_up(self):
        """Count files given up without a byte of any file in between; stop when it is hopeless."""
        with self._lock:
            self._in_a_row += 1
            hopeless = self._in_a_row >= HOPELESS
        if hopeless:
            self.stop(f"{HOPELESS} files failed one after the other at {self.base}")


def _fetch(run, file):
    """Get one file; return why not, or None."""
    try:
        run.go_on()
        _attempts(run, file)
    except _Stopped as stopped:
        return str(stopped)  # said once, in the end: not one line a file
    except _Broken as broken:
        run.gave_up()
        reason = f"{broken}; given up (failed attempts: {run.retries + 1}). Run again later"
    except _Refused as refused:
        reason = str(refused)
    except OSError as error:
        reason = _unwritable(run, file, error)
    else:
        run.watch.done(file)
        return None
    run.watch.failed(file.path)
    return reason


def _unwritable(run, file, error):
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = f"the disk of {run.folder} is full. Make room and run again: it goes on from there"
        run.stop(why)
        return why
    return f"cannot be written to {run.folder / file.path} ({error}). Make it writable, run again"


def _attempts(run, file):
    """Try until a file is in place; what came is kept from one attempt to the next."""
    part = partial_path(run.folder, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    best, failures = _size(part), 0
    with requests.Session() as session:
        while True:
            try:
                return _attempt(run, session, file, part)
            except _Broken as broken:
                size = _size(part)
                # measured from the most that there ever was, so that attempts are bounded
                failures = 0 if size >= best + PROGRESS else failures + 1
                best = max(best, size)
                if failures > run.retries:
                    raise
                seconds = run.pause * 2 ** max(failures - 1, 0)
                seconds = min(max(seconds, broken.seconds), LONGEST_PAUSE)
                run.watch.retry(file, str(broken), seconds)
            run.go_on(seconds)


def _attempt(run, session, file, part):
    """Ask for what is missing, add it to the partial file, check the whole and put it in place."""
    had = _size(part)
    if had < file.bytes:
        had = _receive(run, session, file, part, had)
    if difference := _difference(part, file):
        _discard(run, part)
        if had:  # the bytes of another day may be those of another file
            raise _Broken(f"{difference} after going on from {had} bytes; starting over")
        raise _Refused(_not_the_file(run, file, difference))
    os.replace(part, run.folder / file.path)


def _discard(run, part):
    run.watch.received(-_size(part))
    part.unlink(missing_ok=True)


def _receive(run, session, file, part, had):
    """One request for all that is missing. Return how many bytes were there before, and stayed."""
    # as it is stored: requests would unpack what a server calls Content-Encoding: gzip
    headers = {"Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    address = _address(run, file)
    with _network(run, file, had):
        response = session.get(address, headers=headers, stream=True, timeout=run.timeout)
    with response:
        start = _start(run, response, file, part, had)
        run.watch.received(start - had)  # without Range all of it comes again
        with open(part, "ab" if start else "wb") as output:
            _copy(run, response, file, part, output, start)
    return start


def _copy(run, response, file, part, output, size):
    chunks = response.raw.stream(CHUNK, decode_content=False)
    while True:
        with _network(run, file, size):
            chunk = next(chunks, b"")
        if not chunk:
            break
        size += len(chunk)
        if size > file.bytes:
            output.close()
            _discard(run, part)
            found = f"{file.bytes} bytes expected, found more"
            raise _Refused(_not_the_file(run, file, found))
        output.write(chunk)
        run.alive()
        run.watch.received(len(chunk))
        run.go_on()
    if size < file.bytes:
        raise _Broken(_broke_off(size, file))
    output.flush()
    os.fsync(output.fileno())  # a disk that fills late says so here


@contextlib.contextmanager
def _network(run, file, size):
    """Sort errors of the network: those worth another attempt, and the others."""
    connect, silent = run.timeout
    try:
        yield
    except requests.ConnectTimeout:
        raise _Broken(f"no connection within {connect:g} s") from None
    except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
        raise _Broken(f"no data for {silent:g} s at {size} of {file.bytes} bytes") from None
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise _Broken(f"no connection ({type(error).__name__})") from None
    except urllib3.exceptions.HTTPError:
        raise _Broken(_broke_off(size, file)) from None
    except requests.RequestException as error:  # an address that cannot be, endless redirects
        raise _Refused(f"{_address(run, file)}: {type(error).__name__}: {error}") from None


def _broke_off(size, file):
    return f"the connection broke off at {size} of {file.bytes} bytes"


def _start(run, response, file, part, had):
    """Position of the first byte of an answer: 0, or as many as there are.

    A server may ignore Range, and then sends the whole file.
    """
    if response.status_code == requests.codes.ok:
        start, total = 0, response.headers.get("Content-Length", "")
    elif response.status_code == requests.codes.partial_content and had:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if not found or int(found[1]) != had:
            _discard(run, part)
            raise _Broken(f"another part than that from byte {had} was served; starting over")
        start, total = had, found[2]
    else:
        raise _status(run, response, file, part)
    if total.isdecimal() and int(total) != file.bytes:
        _discard(run, part)
        found = f"{file.bytes} bytes expected, found {total}"
        raise _Refused(_not_the_file(run, file, found))
    return start


def _status(run, response, file, part):
    """What an answer without content means."""
    status = response.status_code
    if status == requests.codes.range_not_satisfiable:
        _discard(run, part)
        return _Broken(f"HTTP status {status}; starting over")
    if status >= 500 or status in (requests.codes.request_timeout, requests.codes.too_many):
        after = response.headers.get("Retry-After", "")
        return _Broken(f"HTTP status {status}", float(after) if after.isdecimal() else 0.0)
    return _Refused(
        f"HTTP status {status} at {_address(run, file)}. If the file has moved, the list of files "
        "must be brought up to date"
    )


def _address(run, file):
    return f"{run.base}/{requests.utils.quote(file.path)}"


def _not_the_file(run, file, difference):
    return (
        f"{_address(run, file)} does not serve the file expected: {difference}. It was not kept. "
        "Run again; if it stays so, the file was changed at its source"
    )


# --- what is shown ------------------------------------------------------------------------------


class Lines(Watcher):
    """A plain line for each thing that happens.

    Parameters
    ----------
    say : callable
        Takes a line.
    title : str
        What the files are: "sudmex_tms images".
    """

    def __init__(self, say, title):
        self._say, self._title = say, title
        self._done, self._total, self._lock = 0, 0, threading.Lock()

    def begin(self, wanted, present, n_bytes):
        """Say how much there is to do."""
        self._done, self._total = len(present), len(present) + len(wanted)
        missing = sum(file.bytes for file in wanted) - n_bytes
        there = f"{len(present)} of {self._total} files are there"
        self._say(f"{self._title}: {there}; {in_words(missing)} to fetch")

    def retry(self, file, reason, seconds):
        """Say what happened and when it goes on."""
        self._say(f"{Path(file.path).name}: {reason}; again in {seconds:.0f} s")

    def done(self, file):
        """Count."""
        with self._lock:
            self._done += 1
            self._say(f"{self._done} of {self._total}: {file.path} ({in_words(file.bytes)})")

    def failed(self, path):
        """Say which file failed: why, the list in the end says."""
        self._say(f"{path}: FAILED")


class Bar(Lines):
    """A progress bar of ``rich.progress``; lines only for what goes wrong, above the bar.

    Parameters
    ----------
    progress : rich.progress.Progress
    title : str
    """

    def __init__(self, progress, title):
        super().__init__(lambda line: _plainly(progress.console, line), title)
        self._progress, self._task = progress, None

    def begin(self, wanted, present, n_bytes):
        """Start the bar, with what is there already behind it."""
        self._done, self._total = len(present), len(present) + len(wanted)
        self._task = self._progress.add_task(
            self._title,
            total=sum(file.bytes for file in [*wanted, *present]),
            completed=n_bytes + sum(file.bytes for file in present),
            files=f"{self._done}/{self._total}",
        )

    def received(self, n_bytes):
        """Move the bar, backwards too."""
        self._progress.update(self._task, advance=n_bytes)

    def done(self, file):
        """Count."""
        with self._lock:
            self._done += 1
            self._progress.update(self._task, files=f"{self._done}/{self._total}")


@contextlib.contextmanager
def shown(console, title):
    """Show a download: a bar on a terminal, plain lines elsewhere.

    Parameters
    ----------
    console : rich.console.Console
    title : str

    Yields
    ------
    Watcher
    """
    if not console.is_interactive:
        yield Lines(lambda line: _plainly(console, line), title)
        return
    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.fields[files]} files"),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield Bar(progress, title)


def _plainly(console, line):
    console.print(line, markup=False, highlight=False, soft_wrap=True)
