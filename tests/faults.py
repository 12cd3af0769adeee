"""Does a test turn red when a line is wrong? Faults put in by hand, one at a time.

``faults.tsv`` lists them: file, the text that is right, the wrong one, what that means, and the
tests that should notice. Each is tried in a copy of the repository's files; this folder is not
touched.

    python tests/faults.py              all of them, two at a time
    python tests/faults.py tipping 03   those that say so in any field

A fault whose tests stay green has survived: mend the tests. The few of ``ALLOWED`` may.
"""

import csv
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
JOBS = 2
ALLOWED = {}  # what a fault means: why no test can or should notice it


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
    return folder


def environment(project):
    """Python's path leads into the copy; no byte code is kept that could outlive a fault."""
    sources = [project, *sorted(project.glob("engines/*/src"))]
    path = os.pathsep.join(map(str, sources))
    shared = os.environ.get("REFERENCE_DATA", str(PROJECT.parent / "shared"))
    known = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "REFERENCE_DATA": shared}
    return os.environ | known


def run_tests(project, tests):
    """Whether the tests are green; ValueError where none of them ran."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *tests.split()],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        raise ValueError(f"{tests}: tests that run expected, found:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def survives(project, fault):
    """Whether the tests stay green with a fault in a copy, which is mended afterwards."""
    path = project / fault["file"]
    right = path.read_text("utf-8")
    path.write_text(right.replace(fault["before"], fault["after"]), encoding="utf-8")
    try:
        return run_tests(project, fault["tests"])
    finally:
        path.write_text(right, encoding="utf-8")


def try_all(faults, folder):
    """Faults that survive; a line is printed for each fault."""
    copies = queue.Queue()
    for k in range(JOBS):
        copies.put(copy_project(Path(folder) / str(k)))

    def attempt(fault):
        project = copies.get()
        try:
            alive = survives(project, fault)
        finally:
            copies.put(project)
        print(
            "SURVIVES" if alive else "found   ", fault["file"], fault["what"], sep="  ", flush=True
        )
        return alive

    with ThreadPoolExecutor(JOBS) as pool:
        return [f for f, alive in zip(faults, pool.map(attempt, faults), strict=True) if alive]


def main(words):
    faults = read_faults(words)
    wrong = misplaced(faults)
    for fault, n in wrong:
        print(f"{fault['file']}: once expected, found {n} times: {fault['before']}")
    if wrong or not faults:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        alive = try_all(faults, folder)
    unexplained = [fault for fault in alive if fault["what"] not in ALLOWED]
    for fault in alive:
        why = ALLOWED.get(fault["what"], "not explained")
        print(f"survives: {fault['file']}: {fault['what']} ({why})")
    print(f"{len(faults)} faults, {len(alive)} survive")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
