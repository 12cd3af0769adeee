"""Downloads that resume, on top of pooch: several at once, checked, in place whole or not at all.

pooch restarts a broken transfer from the first byte, which is too slow for images.
"""

import contextlib
import errno
import itertools
import math
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pooch
import requests
import urllib3
from filelock import FileLock, Timeout
from rich import progress as bars
from rich.console import Console
from rich.filesize import decimal as in_words
from rich.text import Text

from analysis_lib.results.problems import FetchError

JOBS, RETRIES = 4, 5
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds; the pause doubles with each failed attempt
TIMEOUT = (10, 30)  # seconds to connect, and without a byte
CHUNK = 1 << 16  # bytes
PROGRESS = 1 << 20  # bytes: an attempt that adds this many does not count as failed
HOPELESS = 3  # files given up without a byte of any file in between: the others are not tried
BrokenOff = requests.exceptions.ChunkedEncodingError


class DownloadError(FetchError):
    """A download cannot begin."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its path below the folder, its size, its hash, its path at home."""

    path: str
    bytes: int
    hash: str  # md5 if it names no other algorithm: "sha256:..."
    source: str = ""  # below the address, where that is another path

    @property
    def home(self):
        """Path below the address."""
        return self.source or self.path


@dataclass(frozen=True)
class Outcome:
    """Files downloaded, files that were there already, and why others are missing, by path."""

    fetched: tuple[RemoteFile, ...] = ()
    present: tuple[RemoteFile, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


def read_list(path):
    """Read a TSV file (path, bytes, md5 or sha256, and maybe source) into RemoteFiles."""
    rows = pd.read_csv(path, sep="\t", dtype={"md5": str, "sha256": str})
    if "sha256" in rows:
        rows = rows.assign(sha256="sha256:" + rows["sha256"])
    return tuple(RemoteFile(*row) for row in rows.itertuples(index=False))


def partial_path(path):
    """Where a file is kept until it is whole: hidden, so that BIDS tools pass over it."""
    return path.with_name(f".{path.name}.part")


class ResumingDownloader:
    """Downloader for pooch that resumes a broken transfer (HTTP Range), and retries.

    It goes on from the bytes that the output file holds. Once ``retries`` attempts in a row have
    failed after the first, or if another would not help, it raises the last exception of requests;
    ValueError if the size is not that of ``sizes``, bytes by URL. ``timeout``: seconds to connect,
    and without a byte. Once the event ``stop`` is set, downloads end with KeyboardInterrupt at the
    next piece.
    """

    def __init__(self, sizes=None, retries=RETRIES, timeout=TIMEOUT):
        self.sizes, self.retries, self.timeout = sizes or {}, retries, timeout
        self.stop = threading.Event()

    def report(self, url, n_bytes):
        """Show how many bytes of a file have come; nothing here."""

    def say(self, url, line):
        """Show why an attempt failed; nothing here."""

    def __call__(self, url, output_file, pooch):
        part, size = Path(output_file), self.sizes.get(url, math.inf)
        most, failures = _size(part), 0
        while _size(part) < size:
            try:
                return self._receive(url, part, size)
            except requests.RequestException as error:
                # measured from the most ever held, so that the number of attempts is bounded
                failures = 0 if _size(part) >= most + PROGRESS else failures + 1
                most = max(most, _size(part))
                if failures > self.retries or not may_pass(error):
                    raise
                self._wait(url, error, failures, part)

    def _wait(self, url, error, failures, part):
        asked = "" if error.response is None else error.response.headers.get("Retry-After", "")
        seconds = max(PAUSE * 2 ** (failures - 1), int(asked) if asked.isdecimal() else 0)
        seconds = min(seconds, LONGEST_PAUSE)
        self.say(url, f"{explain(error)}; resuming at byte {_size(part)} in {seconds:g} s")
        if self.stop.wait(seconds):
            raise KeyboardInterrupt

    def _receive(self, url, part, size):
        had = _size(part)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={had}-"} if had else {})
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            start = _first_byte(response, part, had)
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and size not in (math.inf, start + int(length)):
                part.unlink(missing_ok=True)
                raise ValueError(f"{size} bytes expected, found {start + int(length)}")
            with open(part, "ab" if start else "wb") as output:
                self._copy(response, output, url, start, size)

    def _copy(self, response, output, url, n_bytes, size):
        for chunk in _chunks(response):
            output.write(chunk)
            n_bytes += len(chunk)
            self.report(url, n_bytes)
            if self.stop.is_set():
                raise KeyboardInterrupt
            if n_bytes > size:  # another file, as the check will tell
                return
        if n_bytes < size < math.inf:
            raise BrokenOff
        output.flush()
        os.fsync(output.fileno())  # some file systems report a full disk only here


def _chunks(response):
    """Content as it is stored: requests would unpack a .gz that a server declares as encoded."""
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise BrokenOff(error) from error


def _first_byte(response, part, had):
    """Position of the first byte of an answer: 0 if the server ignores Range."""
    is_part = response.status_code == requests.codes.partial_content
    is_ours = response.headers.get("Content-Range", "").startswith(f"bytes {had}-")
    if response.status_code == 416 or (is_part and not is_ours):
        part.unlink(missing_ok=True)  # the next attempt starts over
        raise requests.HTTPError(response=response)
    response.raise_for_status()
    return had if is_part else 0


def may_pass(error):
    """Whether another attempt may succeed after an exception of requests."""
    if error.response is None:
        return isinstance(error, requests.ConnectionError | requests.Timeout | BrokenOff)
    status = error.response.status_code
    return status >= 500 or status in (206, 408, 416, 429)


def explain(error):
    """Say in a few words what an exception of requests means."""
    name = type(error).__name__
    if isinstance(error, requests.HTTPError):
        return f"HTTP status {error.response.status_code}"
    if "timed out" in str(error):  # in the middle of a file its type is BrokenOff
        return "no data in time"
    broken_off = isinstance(error, BrokenOff)
    return "the connection broke off" if broken_off else f"no answer from the server ({name})"


def _size(path):
    return path.stat().st_size if path.exists() else 0


def download(files, folder, base, *, jobs=JOBS, console=None, **options):
    """Get the files, at ``base/path``, that a folder lacks, and check those that it holds.

    ``jobs`` are downloaded at once; a console shows a bar on a terminal, elsewhere a line per file.
    A file that fails does not stop the others; a full disk does, and so does a silent server. A
    disk without room for the files, or another process that downloads into the folder, is a
    `DownloadError`. Options are the retries and timeout of `ResumingDownloader`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    quiet = Console(quiet=True, force_interactive=False)
    with _alone_in(folder):
        wanted = [file for file in files if not (folder / file.path).exists()]
        _check_room(folder, wanted)
        with _bar(console or quiet) as bar:
            failed = _Batch(files, folder, base.rstrip("/"), bar, options).fetch(jobs)
    fetched = tuple(file for file in wanted if file.path not in failed)
    present = tuple(file for file in files if file not in wanted and file.path not in failed)
    return Outcome(fetched, present, failed)


@contextlib.contextmanager
def _alone_in(folder):
    """Keep a second download out of a folder: both would write to the same partial files."""
    path = folder / ".download.lock"
    held = FileLock(path, timeout=0, is_singleton=False)
    try:
        held.acquire()
    except Timeout:
        message = "another process is downloading into it. Wait for it, or end it"
        raise DownloadError(f"{folder}: {message}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # nothing but data stays in a data set
        held.release()


def _bar(console):
    """A bar on a terminal; nothing elsewhere."""
    sizes = bars.DownloadColumn(), bars.TransferSpeedColumn(), bars.TimeRemainingColumn()
    columns = "{task.description}", bars.BarColumn(), *sizes
    return bars.Progress(*columns, console=console, disable=not console.is_interactive)


def _difference(path, file):
    """How a file differs from the one expected, or None."""
    if (size := path.stat().st_size) != file.bytes:
        return f"{file.bytes} bytes expected, found {size}"
    expected, algorithm = file.hash.rpartition(":")[2], file.hash.rpartition(":")[0] or "md5"
    found = pooch.file_hash(str(path), alg=algorithm)
    return None if found == expected else f"{algorithm} {expected} expected, found {found}"


def _held(folder, file):
    path = folder / file.path
    return file.bytes if path.exists() else _size(partial_path(path))


def _check_room(folder, wanted):
    needed = sum(file.bytes - _held(folder, file) for file in wanted)
    if needed > (free := shutil.disk_usage(folder).free):
        raise DownloadError(
            f"{folder}: {in_words(needed)} expected to be free on the disk, found "
            f"{in_words(free)}. Nothing was downloaded: make room and run again"
        )


class _Batch(ResumingDownloader):
    """A downloader of several files at once that shows how far they are."""

    def __init__(self, files, folder, base, bar, options):
        self.files = {f"{base}/{requests.utils.quote(file.home)}": file for file in files}
        super().__init__({url: file.bytes for url, file in self.files.items()}, **options)
        self.folder, self.base, self.bar = folder, base, bar
        self.in_a_row, self.over = 0, ""
        self.held = {url: _held(folder, file) for url, file in self.files.items()}
        there = sum((folder / file.path).exists() for file in files)
        self.count, n = itertools.count(there + 1), f"{there} of {len(files)} files"
        total, held = sum(self.sizes.values()), sum(self.held.values())
        self.task = bar.add_task(n, total=total, completed=held)
        self._print(f"{folder.name}: {n} are there; {in_words(total - held)} to download")

    def fetch(self, jobs):
        """Download all files; return why files are missing, by path."""
        with ThreadPoolExecutor(jobs) as pool:
            try:
                reasons = list(pool.map(self._fetch, self.files))
            except BaseException:  # Ctrl-C: the threads end at the next piece
                self.stop.set()
                raise
        paths = [file.path for file in self.files.values()]
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}

    def _fetch(self, url):
        """Check or download one file; return why it is missing, or None."""
        file = self.files[url]
        if (path := self.folder / file.path).exists():
            return self._check(path, file)
        if self.over:
            return f"not fetched: {self.over}"
        try:
            self._put_in_place(url, path, file)
        except (OSError, ValueError) as error:
            self.say(url, "FAILED")
            return self._reason(url, error)
        n = f"{next(self.count)} of {len(self.files)}"
        self.bar.update(self.task, description=f"{n} files")
        if self.bar.disable:
            self.say(url, f"in place, {n}")

    def _check(self, path, file):
        difference = _difference(path, file)
        return difference and (
            f"{path} exists and is not the published file: {difference}. "
            "Nothing was changed: move it away and run again"
        )

    def _put_in_place(self, url, path, file):
        part = partial_path(path)
        part.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.exists()
        self(url, part, pooch)
        if not (difference := _difference(part, file)):
            os.replace(part, path)
            return
        part.unlink()
        if not resumed:
            raise ValueError(difference)
        # the bytes of an earlier run may be those of another file
        self._put_in_place(url, path, file)

    def _reason(self, url, error):
        """Why a file is missing; also notes when there is no point in trying others."""
        if isinstance(error, requests.RequestException):
            self.in_a_row = self.in_a_row + 1 if may_pass(error) else 0
            if self.in_a_row >= HOPELESS:
                self.over = f"{HOPELESS} files failed one after the other at {self.base}"
            advice = "Run again later; if it stays so, the file may have moved"
            return f"{explain(error)} at {self.base}. {advice}"
        if isinstance(error, ValueError):
            self.report(url, 0)
            return f"{url} does not serve the expected file; it was not kept: {error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self.over = f"the disk of {self.folder} is full. Make room and run again"
            return self.over
        return f"cannot be written to {self.folder} ({error}). Make it writable, run again"

    def report(self, url, n_bytes):
        self.held[url], self.in_a_row = n_bytes, 0
        self.bar.update(self.task, completed=sum(self.held.values()))

    def say(self, url, line):
        self._print(f"{self.files[url].path}: {line}")

    def _print(self, line):
        self.bar.console.print(Text(line), soft_wrap=True)
