"""Does a test turn red when a line is wrong? Faults put in by hand, one at a time.

``faults.tsv`` lists them: file, the text that is right, the wrong one, what that means, and the
tests that should notice. Each is tried in a copy of the repository's files; this folder is not
touched.

    python tests/faults.py              all of them, two at a time
    python tests/faults.py tipping 03   those that say so in any field

A fault whose tests stay green has survived: mend the tests. The few of ``ALLOWED`` may.
"""

import csv
import importlib
import multiprocessing
import multiprocessing.pool
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
JOBS = 2
ALLOWED = {}  # what a fault means: why no test can or should notice it
# Imported once; every fault then has a process of its own, and imports the faulty copy alone.
SLOW = "jupytext nilearn.plotting numba pandas pandera pingouin statsmodels.formula.api"


def read_faults(words=()):
    """Faults of the list, those alone that hold every word."""
    with (Path(__file__).with_suffix(".tsv")).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row for row in rows if all(word in " ".join(row.values()) for word in words)]


def misplaced(faults):
    """Faults whose right text is not found exactly once, with the number of places."""
    places = [(PROJECT / f["file"]).read_text("utf-8").count(f["before"]) for f in faults]
    return [(fault, n) for fault, n in zip(faults, places, strict=True) if n != 1]


def copy_project(folder):
    """The repository's files, as they are now, in another folder."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, target)


def enter(project):
    """Work in a copy: nothing of this folder is imported, and no byte code outlives a fault."""
    sys.dont_write_bytecode = True
    os.environ.setdefault("REFERENCE_DATA", str(PROJECT.parent / "shared"))
    sources = [str(path) for path in (project, *sorted(project.glob("engines/*/src")))]
    os.environ["PYTHONPATH"] = os.pathsep.join(sources)
    os.chdir(project)
    here = (PROJECT, PROJECT / "tests", *PROJECT.glob("engines/*/src"))
    elsewhere = [path for path in sys.path if Path(path).resolve() not in here]
    sys.path[:] = [*sources, *elsewhere]


def run_tests(project, tests, report):
    """End with pytest's exit code: 0 green, 1 red, other numbers where no test ran."""
    enter(project)
    with report.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)])))


def in_a_process(project, tests, report):
    """Exit code of :func:`run_tests` in a process of its own."""
    arguments = (project, tests, report)
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def attempt(original, fault):
    """Put a fault into a copy of the copy and run its tests; print and return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        project, report = Path(folder) / "project", Path(folder) / "report.txt"
        shutil.copytree(original, project)
        path = project / fault["file"]
        text = path.read_text("utf-8").replace(fault["before"], fault["after"])
        path.write_text(text, encoding="utf-8")
        code = in_a_process(project, fault["tests"], report)
        word = {0: "SURVIVES", 1: "found"}.get(code, f"no test ran: {report.read_text()[-400:]}")
    print(f"{word:8}  {fault['file']}  {fault['what']}", flush=True)
    return code


def red_without_fault(original, faults, folder):
    """Tests that fail as it is: they would notice anything."""
    named = sorted({fault["tests"] for fault in faults})
    files = " ".join(sorted({part for tests in named for part in tests.split() if ".py" in part}))
    return in_a_process(original, files, folder / "report.txt") != 0


def try_all(faults, folder):
    """Exit code of the tests of each fault; None where they fail without any."""
    original = folder / "original"
    copy_project(original)
    for name in SLOW.split():
        importlib.import_module(name)
    if red_without_fault(original, faults, folder):
        print((folder / "report.txt").read_text()[-2000:])
        return None
    with multiprocessing.pool.ThreadPool(JOBS) as pool:
        return pool.map(partial(attempt, original), faults, chunksize=1)


def main(words):
    faults = read_faults(words)
    wrong = misplaced(faults)
    for fault, n in wrong:
        print(f"{fault['file']}: once expected, found {n} times: {fault['before']}")
    if wrong or not faults:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        codes = try_all(faults, Path(folder))
    if codes is None:
        print("tests that pass without a fault expected, found one that fails")
        return 1
    alive = [fault["what"] for fault, code in zip(faults, codes, strict=True) if code != 1]
    for what in alive:
        print(f"survives: {what} ({ALLOWED.get(what, 'not explained')})")
    print(f"{len(faults)} faults, {len(alive)} survive")
    return 0 if set(alive) <= set(ALLOWED) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
