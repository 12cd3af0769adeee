"""Large files: broken, stalled and wrong transfers from a local server, and a trial's images."""

import gzip
import hashlib
import http.server
import importlib.util
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pooch
import pytest
from rich.console import Console
from typer.testing import CliRunner

from analysis_lib.__main__ import app
from analysis_lib.datasets import downloads, fetch
from analysis_lib.datasets.downloads import RemoteFile
from analysis_lib.pipeline import data
from analysis_lib.results import problems
from analysis_lib.results.environment import PROJECT
from analysis_lib.study import participants, scores
from analysis_lib.study.contract import STUDIES, load_study

QUICK = {"timeout": (2, 2)}
SIZE = 200_000  # bytes: several chunks


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; what to do with the next requests of a path stands in ``plans``.

    A plan: a number (bytes before the connection is cut), a status, "stall", "ignore range",
    "no length", "part of another", "packed", or a function of the handler. After the last one the
    file is served as it should be.
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plans, self.lock = files, {}, threading.Lock()
        self.asked, self.sent = [], 0
        self.over = threading.Event()

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""

    def plan(self, path):
        with self.lock:
            plans = self.plans.get(path, [])
            return plans.pop(0) if plans else None

    def ranges(self, path):
        """Range headers of the requests for a path, in order."""
        return [range_ for asked, range_ in self.asked if asked == path]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, range_ = self.path.lstrip("/"), self.headers["Range"]
        self.server.asked.append((path, range_))
        plan = self.server.plan(path)
        if callable(plan):
            return plan(self)
        body = self.server.files.get(path)
        if body is None or plan in (404, 416, 500, 503):
            self.send_response(404 if body is None else plan)
            self.send_header("Retry-After", "30") if plan == 503 else None
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        start = 0
        if range_ and plan != "ignore range":
            start = int(range_.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            shift = 7 if plan == "part of another" else 0
            last = f"{len(body) - 1}/{len(body)}"
            self.send_header("Content-Range", f"bytes {start - shift}-{last}")
        if plan == "packed":
            self.send_header("Content-Encoding", "gzip")
        if plan != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.body(body[start:], plan)

    def body(self, rest, plan):
        if plan == "stall":
            self.wfile.write(rest[: len(rest) // 2])
            self.server.over.wait(5)
            return
        rest = rest[:plan] if type(plan) is int else rest
        rest = rest[: len(rest) // 2] if plan == "no length" else rest
        self.server.sent += len(rest)
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


def content(seed):
    return np.random.default_rng(seed).bytes(SIZE)


def listed(path, body):
    return RemoteFile(path, len(body), hashlib.md5(body).hexdigest())


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    """No proxy between the tests and the local server, and short pauses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.001)


@pytest.fixture
def server():
    """Three files a, b, c below ``sub``; nothing goes wrong unless a test plans it."""
    with Server({f"sub/{name}.gz": content(i) for i, name in enumerate("abc")}) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.005,))
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def files(server):
    return [listed(path, body) for path, body in server.files.items()]


@pytest.fixture
def console():
    """No terminal: a line for each thing that happens."""
    return Console(file=io.StringIO(), width=40)


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=120, _environ={})


def lines(console):
    return console.file.getvalue().splitlines()


def last(terminal):
    """The bar as it stands in the end."""
    return "\n".join(lines(terminal)[-2:])


def part_of(folder, file):
    return downloads.partial_path(folder / file.path)


def get(server, files, folder, **options):
    return downloads.download(files, folder, server.base, **{**QUICK, **options})


def below(folder):
    """Content of every file below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


# --- when all goes well


def test_files_arrive_whole_and_nothing_else(server, files, tmp_path):
    got = get(server, files, tmp_path)
    assert got == downloads.Outcome(fetched=tuple(files))
    assert below(tmp_path) == server.files


def test_files_that_are_there_are_not_asked_for(server, files, tmp_path):
    get(server, files[:2], tmp_path)
    server.asked.clear()
    got = get(server, files, tmp_path)
    assert (got.present, got.fetched) == (tuple(files[:2]), (files[2],))
    assert server.asked == [("sub/c.gz", None)]


def test_as_many_at_once_as_asked(server, files, tmp_path):
    together = threading.Barrier(3, timeout=2)

    def wait(handler):
        together.wait()
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(server.files[handler.path.lstrip("/")])

    server.plans = {file.path: [wait] for file in files}
    assert not get(server, files, tmp_path, jobs=3, retries=0).failed
    assert below(tmp_path) == server.files


def test_bytes_are_kept_as_they_are_stored(server, tmp_path):
    body = gzip.compress(b"grey matter" * 9999)
    server.files["sub/packed.gz"] = body
    server.plans["sub/packed.gz"] = ["packed"]
    assert not get(server, [listed("sub/packed.gz", body)], tmp_path).failed
    assert below(tmp_path) == {"sub/packed.gz": body}


def test_path_is_escaped(server, tmp_path):
    body = b"x" * 10
    server.files["sub/a%20%23b.gz"] = body
    assert not get(server, [listed("sub/a #b.gz", body)], tmp_path).failed


# --- broken connections


def test_broken_transfer_goes_on_where_it_was(server, files, tmp_path, console):
    server.plans["sub/a.gz"] = [70_000, 50_001]
    got = get(server, files[:1], tmp_path, console=console)
    assert got.fetched == (files[0],)
    assert server.ranges("sub/a.gz") == [None, "bytes=70000-", "bytes=120001-"]
    assert server.sent == SIZE
    assert below(tmp_path) == {"sub/a.gz": server.files["sub/a.gz"]}
    assert lines(console)[1:] == [
        "sub/a.gz: the connection broke off; resuming at byte 70000 in 0.001 s",
        "sub/a.gz: the connection broke off; resuming at byte 120001 in 0.002 s",
        "sub/a.gz: in place, 1 of 1",
    ]


def test_next_run_goes_on_where_the_last_one_was(server, files, tmp_path, terminal):
    server.plans["sub/a.gz"] = [70_000]
    got = get(server, files, tmp_path, retries=0)
    assert list(got.failed) == ["sub/a.gz"]
    assert f"the connection broke off at {server.base}. Run again" in got.failed["sub/a.gz"]
    left = {**server.files, "sub/.a.gz.part": server.files["sub/a.gz"][:70_000]}
    del left["sub/a.gz"]
    assert below(tmp_path) == left
    server.asked.clear()
    assert not get(server, files, tmp_path, console=terminal).failed
    assert server.asked == [("sub/a.gz", "bytes=70000-")]
    assert "2 of 3 files are there; 130.0 kB to download" in terminal.file.getvalue()
    assert "600.0/600.0 kB" in last(terminal)
    assert below(tmp_path) == server.files


def test_server_that_ignores_range_sends_all_again(server, files, tmp_path, terminal):
    server.plans["sub/a.gz"] = [70_000, "ignore range"]
    assert not get(server, files[:1], tmp_path, console=terminal).failed
    assert server.sent == 70_000 + SIZE
    assert "200.0/200.0 kB" in last(terminal)
    assert below(tmp_path) == {"sub/a.gz": server.files["sub/a.gz"]}


def test_answer_without_a_length_that_ends_early_is_noticed(server, files, tmp_path):
    server.plans["sub/a.gz"] = ["no length"]
    assert not get(server, files[:1], tmp_path).failed
    assert server.ranges("sub/a.gz") == [None, "bytes=100000-"]


@pytest.mark.parametrize("plan", ["part of another", 416])
def test_answer_that_does_not_fit_starts_over(server, files, tmp_path, plan):
    server.plans["sub/a.gz"] = [70_000, plan]
    assert not get(server, files[:1], tmp_path).failed
    assert server.ranges("sub/a.gz") == [None, "bytes=70000-", None]
    assert below(tmp_path) == {"sub/a.gz": server.files["sub/a.gz"]}


def test_pauses_grow_and_end(server, files, tmp_path, console):
    server.plans["sub/a.gz"] = [0] * 99
    get(server, files[:1], tmp_path, console=console, retries=4)
    pauses = [line.rpartition(" in ")[2] for line in lines(console)[1:-1]]
    assert pauses == ["0.001 s", "0.002 s", "0.004 s", "0.008 s"]
    assert len(server.asked) == 5
    assert lines(console)[-1] == "sub/a.gz: FAILED"


def test_attempt_that_brought_much_is_not_a_failed_one(server, files, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PROGRESS", 40_000)
    server.plans["sub/a.gz"] = [40_000] * 4
    assert not get(server, files[:1], tmp_path, retries=0).failed
    server.plans["sub/b.gz"] = [39_999] * 4
    assert get(server, files[1:2], tmp_path, retries=0).failed


@pytest.mark.parametrize("second", ["from the start", 416])
def test_server_that_never_gets_further_is_given_up(server, files, tmp_path, monkeypatch, second):
    monkeypatch.setattr(downloads, "PROGRESS", 40_000)

    def from_the_start(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(SIZE))
        handler.end_headers()
        handler.wfile.write(server.files["sub/a.gz"][:90_000])

    plans = [from_the_start, from_the_start if second == "from the start" else second]
    server.plans["sub/a.gz"] = plans * 20
    assert get(server, files[:1], tmp_path, retries=2).failed
    assert len(server.asked) == 4  # one that brought much, three that brought nothing new


def test_silent_server_is_asked_again(server, files, tmp_path, console):
    server.plans["sub/a.gz"] = ["stall"]
    got = get(server, files[:1], tmp_path, console=console, timeout=(2, 0.1))
    assert got.fetched == (files[0],)
    assert lines(console)[1].startswith("sub/a.gz: no data in time; resuming at byte ")
    assert below(tmp_path) == {"sub/a.gz": server.files["sub/a.gz"]}


def test_pooch_takes_the_downloader_and_checks_the_hash(server, tmp_path):
    url, body = f"{server.base}/sub/a.gz", server.files["sub/a.gz"]
    server.plans["sub/a.gz"] = [70_000]
    get_it = partial(pooch.retrieve, url, downloader=downloads.ResumingDownloader(), path=tmp_path)
    with pytest.raises(ValueError, match="does not match the known hash"):
        get_it(known_hash="0" * 64, fname="a")
    assert below(tmp_path) == {}
    get_it(known_hash=hashlib.sha256(body).hexdigest(), fname="a")
    assert below(tmp_path) == {"a": body}
    assert server.ranges("sub/a.gz") == [None, "bytes=70000-", None]


# --- statuses


def test_status_404_is_final_and_the_others_go_on(server, files, tmp_path):
    gone = RemoteFile("sub/gone.gz", 5, "0" * 32)
    got = get(server, [gone, *files], tmp_path)
    assert got.fetched == tuple(files)
    assert f"HTTP status 404 at {server.base}. " in got.failed["sub/gone.gz"]
    assert server.ranges("sub/gone.gz") == [None]
    assert below(tmp_path) == server.files


def test_status_500_that_recovers_and_one_that_does_not(server, files, tmp_path):
    server.plans = {"sub/a.gz": [500], "sub/b.gz": [500] * 9}
    got = get(server, files, tmp_path, retries=2)
    assert got.fetched == (files[0], files[2])
    assert "HTTP status 500 at" in got.failed["sub/b.gz"]
    assert len(server.ranges("sub/b.gz")) == 3


def test_pause_that_the_server_asks_for_is_kept_within_a_limit(
    server, files, tmp_path, monkeypatch, console
):
    monkeypatch.setattr(downloads, "LONGEST_PAUSE", 0.01)
    server.plans["sub/a.gz"] = [503]
    assert not get(server, files[:1], tmp_path, console=console).failed
    assert lines(console)[1] == "sub/a.gz: HTTP status 503; resuming at byte 0 in 0.01 s"


def test_redirect_is_followed_with_its_range(server, files, tmp_path):
    def elsewhere(handler):
        handler.send_response(302)
        handler.send_header("Location", "/moved/a.gz")
        handler.end_headers()

    server.files["moved/a.gz"] = server.files["sub/a.gz"]
    server.plans = {"sub/a.gz": [elsewhere, elsewhere], "moved/a.gz": [70_000]}
    assert not get(server, files[:1], tmp_path).failed
    assert server.ranges("moved/a.gz") == [None, "bytes=70000-"]


def test_endless_redirect_is_refused(server, files, tmp_path):
    def round_about(handler):
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.end_headers()

    server.plans["sub/a.gz"] = [round_about] * 99
    assert "TooManyRedirects" in get(server, files[:1], tmp_path).failed["sub/a.gz"]


def test_server_that_is_not_there_is_not_asked_for_every_file(tmp_path, console):
    wanted = [RemoteFile(f"{i}.gz", 5, "0" * 32) for i in range(40)]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        absent = SimpleNamespace(base=f"http://127.0.0.1:{unused.getsockname()[1]}")
        got = get(absent, wanted, tmp_path, retries=1, jobs=2, console=console)
    assert len(got.failed) == 40
    assert console.file.getvalue().count("FAILED") <= downloads.HOPELESS + 1
    assert got.failed["0.gz"].startswith(
        f"no answer from the server (ConnectionError) at {absent.base}"
    )
    assert (
        got.failed["39.gz"] == f"not fetched: 3 files failed one after the other at {absent.base}"
    )


def test_files_that_fail_do_not_stop_one_that_comes(server, files, tmp_path):
    """Five of six fail for good, but bytes of the first come in between: the server is alive."""
    failed = {path: threading.Event() for path in ("d.gz", "f.gz")}
    body = server.files["sub/a.gz"]

    def slow(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body[:100_000])
        failed["d.gz"].wait(2)
        handler.wfile.write(body[100_000:180_000])
        failed["f.gz"].wait(2)
        handler.wfile.write(body[180_000:])

    def fail(handler):
        if (path := handler.path.rpartition("/")[2]) in failed:
            failed[path].set()
            time.sleep(0.1)  # until the bytes are there
        handler.send_error(500)

    others = [RemoteFile(f"{name}.gz", 5, "0" * 32) for name in "bcdef"]
    server.plans = {"sub/a.gz": [slow], **{file.path: [fail] for file in others}}
    got = get(server, [files[0], *others], tmp_path, jobs=2, retries=0)
    assert got.fetched == (files[0],)
    assert list(got.failed) == [file.path for file in others]
    assert all("HTTP status 500" in reason for reason in got.failed.values())


# --- the wrong file


def test_wrong_file_is_refused_and_not_kept_and_the_others_go_on(server, files, tmp_path):
    server.files["sub/b.gz"] = other = content(9)
    got = get(server, files, tmp_path)
    assert got.fetched == (files[0], files[2])
    found = hashlib.md5(other).hexdigest()
    message = got.failed["sub/b.gz"]
    assert f"{server.base}/sub/b.gz does not serve the expected file" in message
    assert f"md5 {files[1].hash} expected, found {found}" in message
    assert "it was not kept" in message
    assert set(below(tmp_path)) == {"sub/a.gz", "sub/c.gz"}
    assert server.ranges("sub/b.gz") == [None]


def test_wrong_size_is_refused_before_it_is_read(server, files, tmp_path):
    server.files["sub/a.gz"] = b"<html>Please log in</html>"
    got = get(server, files[:1], tmp_path)
    assert "it was not kept: 200000 bytes expected, found 26" in got.failed["sub/a.gz"]
    assert below(tmp_path) == {}


def test_more_than_expected_is_refused(server, files, tmp_path):
    def more(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(server.files["sub/a.gz"] + b"x")

    server.plans["sub/a.gz"] = [more]
    assert (
        "200000 bytes expected, found 200001" in get(server, files[:1], tmp_path).failed["sub/a.gz"]
    )
    assert len(server.asked) == 1
    assert below(tmp_path) == {}


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        (content(9)[:70_000], ["bytes=70000-", None]),  # of another file: told by the md5
        (content(9), [None]),
        (content(0) + b"x", [None]),
        (content(0), []),  # whole: only its place was missing
    ],
)
def test_what_an_earlier_run_left_is_not_trusted(server, files, tmp_path, kept, ranges, terminal):
    part = part_of(tmp_path, files[0])
    part.parent.mkdir()
    part.write_bytes(kept)
    assert get(server, files[:1], tmp_path, console=terminal).fetched == (files[0],)
    assert server.ranges("sub/a.gz") == ranges
    assert "200.0/200.0 kB" in last(terminal)
    assert below(tmp_path) == {"sub/a.gz": server.files["sub/a.gz"]}


def test_file_that_differs_is_left_and_named(server, files, tmp_path):
    path = tmp_path / "sub/a.gz"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    got = get(server, files, tmp_path)
    assert got.fetched == tuple(files[1:])
    assert (
        f"{path} exists and is not the published file: 200000 bytes expected, found 4. "
        in (got.failed["sub/a.gz"])
    )
    assert path.read_bytes() == b"mine"
    path.write_bytes(content(9))
    assert f"md5 {files[0].hash} expected, found" in get(server, files, tmp_path).failed["sub/a.gz"]


# --- the disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full (Linux)")
def test_full_disk_ends_all(server, files, tmp_path):
    part = part_of(tmp_path, files[0])
    part.parent.mkdir()
    part.symlink_to("/dev/full")
    got = get(server, files, tmp_path, jobs=1)
    assert "the disk of" in got.failed["sub/a.gz"]
    assert "is full. Make room and run again" in got.failed["sub/a.gz"]
    assert got.failed["sub/b.gz"].startswith("not fetched: the disk of")
    assert {path for path, _ in server.asked} == {"sub/a.gz"}


def test_too_little_room_is_told_before_anything_is_fetched(server, files, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=3 * SIZE - 1)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(downloads.DownloadError, match=r"600\.0 kB expected to be free .* found"):
        get(server, files, tmp_path)
    assert server.asked == []
    part = part_of(tmp_path, files[0])
    part.parent.mkdir()
    part.write_bytes(server.files["sub/a.gz"][:1])
    assert not get(server, files, tmp_path).failed


def test_place_that_cannot_be_written_is_named_and_the_others_go_on(server, files, tmp_path):
    server.files["other/d.gz"] = body = content(3)
    (tmp_path / "sub").write_text("a file, not a folder")
    got = get(server, [*files[:1], listed("other/d.gz", body)], tmp_path)
    assert [file.path for file in got.fetched] == ["other/d.gz"]
    assert f"cannot be written to {tmp_path}" in got.failed["sub/a.gz"]


def test_second_download_into_the_same_folder_waits_for_its_turn(server, files, tmp_path):
    with (
        downloads._alone_in(tmp_path),
        pytest.raises(downloads.DownloadError, match="another process is downloading into it"),
    ):
        get(server, files, tmp_path)
    assert not get(server, files, tmp_path).failed


def test_interrupt_ends_soon_and_keeps_what_came(server, files, tmp_path, monkeypatch):
    """Ctrl-C while one file comes slowly, one waits for its retry, and one for its turn."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def slow(handler):
        handler.send_response(200)
        handler.end_headers()
        body = server.files["sub/a.gz"]
        handler.wfile.write(body[: downloads.CHUNK])
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        handler.wfile.write(body[downloads.CHUNK : 2 * downloads.CHUNK])
        server.over.wait(5)

    monkeypatch.setattr(downloads, "PAUSE", 60)
    server.plans = {"sub/a.gz": [slow], "sub/b.gz": [70_000]}
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            get(server, files, tmp_path, jobs=2)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - start < 2
    kept = below(tmp_path)
    assert {path: len(body) for path, body in kept.items()} == {
        "sub/.a.gz.part": 2 * downloads.CHUNK,
        "sub/.b.gz.part": 70_000,
    }
    assert not get(server, files, tmp_path).failed
    assert server.ranges("sub/a.gz") == [None, f"bytes={2 * downloads.CHUNK}-"]
    assert below(tmp_path) == server.files


# --- what is shown


def test_lines_where_there_is_no_terminal(server, files, tmp_path, console, capfd):
    get(server, files[:1], tmp_path)
    server.plans["sub/b.gz"] = [70_000]
    server.files["sub/c.gz"] = content(9)
    get(server, files, tmp_path, console=console, jobs=1)
    assert lines(console) == [
        f"{tmp_path.name}: 1 of 3 files are there; 400.0 kB to download",
        "sub/b.gz: the connection broke off; resuming at byte 70000 in 0.001 s",
        "sub/b.gz: in place, 2 of 3",
        "sub/c.gz: FAILED",
    ]
    assert capfd.readouterr() == ("", "")  # pooch is silent


def test_bar_on_a_terminal(server, files, tmp_path, terminal):
    get(server, files[:1], tmp_path)
    server.plans["sub/b.gz"] = [70_000, "ignore range"]
    get(server, files, tmp_path, console=terminal)
    assert "3 of 3 files" in last(terminal)
    assert "600.0/600.0 kB" in last(terminal)
    assert "sub/b.gz: the connection broke off" in terminal.file.getvalue()


# --- the images of sudmex_tms


@pytest.fixture
def trials(reference_data):
    return reference_data / "data" / "trials"


def test_list_of_images_is_that_of_openneuro_for_the_patients_analysed(trials, tmp_path):
    (tmp_path / "studies").mkdir()
    shutil.copy(STUDIES / "sudmex_tms.yml", tmp_path / "studies")
    study = load_study(tmp_path / "studies/sudmex_tms.yml")
    fetch.fetch_study("sudmex_tms", study.root, cache=trials)
    people = participants.read_participants(study)
    rated = scores.read_ratings(study, people).dropna(subset=["score"])
    analysed = sorted(set(rated["participant_id"]))
    sessions = [study.imaging.sessions.pre, study.imaging.sessions.post]
    assert len(analysed) == 44
    published = pd.read_csv(trials / "sudmex_tms/t1w_files.tsv", sep="\t").set_index("path")
    assert set(published["algorithm"]) == {"md5"}
    expected = {
        f"{who}/ses-{visit}/anat/{who}_ses-{visit}_T1w.nii.gz"
        for who in analysed
        for visit in sessions
    }
    assert expected <= set(published.index)  # nobody lacks a session
    files = fetch.images_of("sudmex_tms")
    assert {file.path for file in files} == expected
    assert [file.path for file in files] == sorted(expected)
    for file in files:
        row = published.loc[file.path]
        assert (file.bytes, file.hash) == (row["bytes"], row["hash"])


@pytest.fixture
def small(server, tmp_path, monkeypatch):
    """Two small images in place of the 88, at their public home, and a folder for the study."""
    paths = [file.path for file in fetch.images_of("sudmex_tms")[:2]]
    image = nib.Nifti1Image(np.zeros((4, 5, 6), "i2"), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    server.files = {f"ds003037/{path}": gzip.compress(image.to_bytes()) for path in paths}
    rows = [listed(path, server.files[f"ds003037/{path}"]) for path in paths]
    lines = ["path\tbytes\tmd5", *(f"{row.path}\t{row.bytes}\t{row.hash}" for row in rows)]
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")
    source = fetch.ImageList(tmp_path / "list.tsv", fetch.IMAGES["sudmex_tms"].home)
    monkeypatch.setattr(fetch, "IMAGES", {"sudmex_tms": source})
    study = SimpleNamespace(root=tmp_path / "raw/sudmex_tms")
    monkeypatch.setattr(fetch, "load_study", lambda name: study)
    return paths


def fetch_both(folder, trials, base):
    fetch.fetch_study("sudmex_tms", folder, cache=trials)
    return fetch.fetch_images("sudmex_tms", folder, base=base, **QUICK)


def test_images_beside_the_tables_are_valid_bids(small, server, trials, tmp_path):
    folder = tmp_path / "bids"
    fetch_both(folder, trials, server.base)
    part = part_of(folder, fetch.images_of("sudmex_tms")[0])
    part.write_bytes(b"broken off")  # while others are fetched
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*T1w.nii.gz")} == set(
        small
    )
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.is_file():
        pytest.skip("bids-validator-deno is not installed")
    config = PROJECT / "data" / "bids_validator_config.json"
    command = [validator, "--config", config, "--format", "json", folder]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_images_survive_whatever_the_tables_need(small, server, trials, tmp_path):
    folder = tmp_path / "bids"
    fetch_both(folder, trials, server.base)
    before = below(folder)
    assert not fetch.fetch_study("sudmex_tms", folder, cache=trials).is_new
    (folder / "README").write_text("of an earlier version")
    shutil.rmtree(folder / "phenotype")
    with pytest.raises(problems.FetchError, match=r"1 of its 59 files .*: README\. Nothing") as e:
        fetch.fetch_study("sudmex_tms", folder, cache=trials)
    assert "Move these files (the images may stay) away and run again" in str(e.value)
    assert not (folder / "phenotype").exists()
    (folder / "README").unlink()
    assert fetch.fetch_study("sudmex_tms", folder, cache=trials).is_new
    assert below(folder) == before
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_images_may_come_before_the_tables(small, server, trials, tmp_path):
    fetch.fetch_images("sudmex_tms", base=server.base, **QUICK)
    folder = tmp_path / "raw/sudmex_tms"
    assert set(below(folder)) == set(small)
    assert fetch.fetch_study("sudmex_tms", cache=trials).is_new
    assert (folder / "participants.tsv").is_file()


def test_missing_images_are_listed_by_reason(small, server, tmp_path):
    server.files = {f"ds003037/{small[1]}": server.files[f"ds003037/{small[1]}"]}
    with pytest.raises(problems.FetchError) as e:
        fetch.fetch_images("sudmex_tms", base=server.base, **QUICK)
    folder = tmp_path / "raw/sudmex_tms"
    assert f"1 of 2 images are missing; 1 are in place in {folder}. Run again" in str(e.value)
    assert f"  {small[0]}\n    HTTP status 404 at {server.base}/ds003037. Run" in str(e.value)
    assert set(below(folder)) == {small[1]}


def test_long_list_of_missing_images_is_cut(tmp_path):
    failed = {f"{i}.nii.gz": "not fetched: full" for i in range(7)} | {"x": "another reason"}
    text = fetch._images_missing(tmp_path, downloads.Outcome(failed=failed))
    names = ", ".join(f"{i}.nii.gz" for i in range(5))
    assert text.splitlines()[1:] == [
        f"  {names} and 2 more",
        "    not fetched: full",
        "  x",
        "    another reason",
    ]


def test_trial_without_images_is_named():
    with pytest.raises(problems.FetchError, match="antidepressant: no public images known"):
        fetch.fetch_images("antidepressant")
    assert fetch.images_of("antidepressant") == ()


# --- the command line, and a run


@pytest.fixture
def command(small, server, trials, monkeypatch):
    """``python -m analysis_lib fetch`` with the local server as the public home."""
    jobs, original = [], fetch.fetch_images

    def from_here(name, **options):
        jobs.append(options["jobs"])
        return original(name, base=server.base, **QUICK, **options)

    monkeypatch.setattr(fetch, "fetch_images", from_here)
    monkeypatch.setenv("COMPENDIUM_CACHE", str(trials))

    def run(*words):
        return CliRunner().invoke(app, ["fetch", *words])

    run.jobs = jobs
    return run


def test_command_writes_tables_and_images_and_ends_with_0(command, small, tmp_path):
    first = command("sudmex_tms", "--images", "--jobs", "2")
    assert first.exit_code == 0, first.output
    assert "sudmex_tms: 0 of 2 files are there" in first.output
    assert "sudmex_tms: 2 images in place, checked (2 new)" in first.output
    folder = tmp_path / "raw/sudmex_tms"
    assert (folder / "participants.tsv").is_file()
    assert set(small) <= set(below(folder))
    again = command("sudmex_tms", "--images")
    assert "sudmex_tms: 2 images in place, checked (0 new)" in again.output
    assert command.jobs == [2, downloads.JOBS]


def test_command_lists_what_failed_and_ends_with_1(command, small, server, tmp_path):
    server.files[f"ds003037/{small[0]}"] = b"x" * len(server.files[f"ds003037/{small[0]}"])
    run = command("sudmex_tms", "--images")
    assert run.exit_code == 1
    assert "sudmex_tms: FAILED\n1 of 2 images are missing" in run.output
    assert f"{small[0]}\n    {server.base}" in run.output
    assert (tmp_path / "raw/sudmex_tms" / small[1]).is_file()


def test_command_that_is_interrupted_says_how_to_go_on(command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "fetch_images", interrupted)
    run = command("sudmex_tms", "--images")
    assert run.exit_code not in (0, 2)
    assert "sudmex_tms: interrupted. Run the command again" in run.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["antidepressant", "--images"], "antidepressant has none"),
        (["sudmex_tms", "antidepressant", "--images"], "antidepressant has none"),
        (["receptors", "--images"], "no trial is named"),
        (["sudmex_tms", "--jobs", "2"], "--jobs needs --images"),
        (["sudmex_tms", "--images", "--jobs", "0"], "for '--jobs'"),
    ],
)
def test_usage_of_images(words, message):
    run = CliRunner().invoke(app, ["fetch", *words], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert message in run.output


def test_a_run_names_the_command_and_fetches_no_image(small, trials, tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    shutil.copy(STUDIES / "sudmex_tms.yml", tmp_path / "studies")
    study = load_study(tmp_path / "studies/sudmex_tms.yml")
    monkeypatch.setenv("COMPENDIUM_CACHE", str(trials))
    monkeypatch.setattr(downloads, "download", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    others = []  # what a study with T1w images needs beside them
    monkeypatch.setattr(fetch, "fetch_templates", lambda: others.append("templates"))
    monkeypatch.setattr(fetch, "fetch_receptors", lambda names: others.append("receptors"))
    notes = []
    data.prepare_data(study, fetch=True, note=notes.append)
    (told,) = [note for note in notes if "T1w" in note]
    assert "2 of 2 T1w images are not here" in told
    assert told.endswith("python -m analysis_lib fetch sudmex_tms --images")
    assert others == []
    for path in small:
        (study.root / path).parent.mkdir(parents=True)
        (study.root / path).touch()
    data.prepare_data(study, fetch=True, note=notes.append)
    assert len([note for note in notes if "T1w" in note]) == 1
    assert others == ["templates", "receptors"]


def test_readme_says_how_many_images_and_how_large():
    text = (PROJECT / "data/README.md").read_text()
    files = fetch.images_of("sudmex_tms")
    assert f"{len(files)} images, {sum(file.bytes for file in files):,} bytes" in text
    assert fetch.IMAGES["sudmex_tms"].table.name in text
    assert fetch.OPENNEURO in text
    assert "python -m analysis_lib fetch sudmex_tms --images" in text
