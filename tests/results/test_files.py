"""Files written whole or not at all, also on a full disk, and swept where a process was killed."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis_lib.results import files, section, writing
from analysis_lib.results.problems import DiskError, MissingFile, of_system, refusals
from analysis_lib.study.contract import load_study


def full(*_, **__):
    """What a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_called_that_and_what_was_there_stays(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a.txt", "before")
    writing.write(tmp_path / "one", {"b.txt": "before"})
    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    for write in (
        lambda: files.write_text(tmp_path / "a.txt", "after"),
        lambda: writing.write(tmp_path / "one", {"b.txt": "after"}),
    ):
        with pytest.raises(DiskError, match=r"the disk is full. Make room and run again"):
            write()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["a.txt", "one", "one/b.txt"]
    assert {p.read_text() for p in tmp_path.rglob("*.txt")} == {"before"}


def test_results_kept_on_a_full_disk_leave_the_earlier_ones(tiny, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tiny.folder))
    study = load_study(tiny.write().path)
    first = section.begin(study, "clinical")
    first.keep(settings={"quick": False})
    first.publish()
    second = section.begin(study, "clinical")
    second.keep(settings={"quick": True})
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskError, match="disk is full"):
        second.publish()
    assert section.Section(study, "clinical").json("settings") == {"quick": False}


def test_an_error_of_our_own_passes_and_one_of_the_system_says_what_to_do():
    with pytest.raises(MissingFile), refusals("a.tsv"):
        raise MissingFile("none: run 01 first")
    told = str(of_system(OSError(errno.ENAMETOOLONG, "File name too long"), "a.tsv"))
    assert told == "a.tsv: the name is too long. Give a shorter one"
    assert str(of_system(OSError(errno.EIO, "Input/output error"), "a.tsv")).startswith("a.tsv: In")


def test_what_a_killed_process_left_is_swept_and_a_living_ones_is_not(tmp_path):
    (tmp_path / "one").mkdir()
    code = "import sys\nfrom analysis_lib.results import files\n"
    code += "print(files.staging_folder(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(tmp_path / "one"), "vbm"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    dead, mine = Path(done.stdout.strip()), files.staging_folder(tmp_path, "vbm")
    assert dead.is_dir()
    elsewhere = tmp_path / ".vbm.000000-1-abc"
    elsewhere.mkdir()
    (tmp_path / dead.name.replace("vbm", "numbers.json", 1)).write_text("half")
    executed = dead.name.replace("vbm", "01", 1).rpartition("-")[0] + "-run.ipynb"
    (tmp_path / "one" / executed).write_text("half")
    (tmp_path / ".run.lock").write_text("")
    files.sweep(tmp_path)
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"one", mine.name, elsewhere.name, ".run.lock"}
    shutil.rmtree(mine)
