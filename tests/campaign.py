"""Runs that are killed, interrupted, doubled or out of disk: `make campaign` (long; Linux).

A small study with a stub notebook is run as `run_all.py` runs it, and disturbed. Afterwards its
results must be those of the run before or after, complete; what is half-written must be gone at the
next start; and each message must be one of ours. The last result is in docs/reliability.md.
"""

import hashlib
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import typer
from conftest import write_stub_study

PROJECT = Path(__file__).resolve().parents[1]
REPORT = PROJECT / "docs" / "reliability.md"
PARAMETERS = 'study: str = "demo"  # a study\nquick: bool = False  # a first look'
CODE = """\
import numpy as np, pandas as pd
from analysis_lib import results
from analysis_lib.study.contract import load_study
trial = load_study(study)
found = results.begin(trial, "one", quick)
rows = [f"part {k}" for k in range(2000)]
for name in ("notes", "patterns"):
    found.keep(**{name: pd.DataFrame({"part": rows, "reason": "why " * 10})})
found.keep(draws={"x": np.random.default_rng(0).random(20_000)})
found.publish({"n": (2000, "notes.tsv")})
"""
LAUNCH = f"""\
import sys
sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT / "tests")!r}]
try:  # interrupted while the tests are imported: nothing of ours runs yet
    import test_run_all, typer
except KeyboardInterrupt:
    sys.exit(130)
test_run_all.stub_pipeline(sys.argv.pop(1))
typer.run(test_run_all.load_script().main)
"""


class Stage:
    """The small study, a folder for its results, and what they should be."""

    def __init__(self, folder, out):
        self.folder, self.out = folder, out
        self.results = out / "data" / "derived" / "tiny" / "one"

    def start(self):
        """Start a run, in a process group of its own, whether or not it is up to date."""
        options = ["--study", "tiny.yml", "--output", str(self.out), "--force"]
        command = [sys.executable, "launch.py", str(self.folder), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, start_new_session=True, **pipes)

    def run(self):
        """Run to the end: exit status, and what was said."""
        process = self.start()
        said, _ = process.communicate(timeout=600)
        return process.returncode, said

    def digest(self):
        """One hash of all result files; empty without any."""
        files = sorted(path for path in self.results.glob("*") if path.is_file())
        whole = [path.name.encode() + path.read_bytes() for path in files]
        return hashlib.sha256(b"".join(whole)).hexdigest() if whole else ""

    def litter(self):
        """Hidden files and folders that are no lock."""
        return [p.name for p in self.out.rglob(".*") if p.name != ".run.lock"]


def build(folder):
    """Write the study, its notebook and the script that runs it."""
    new = nbformat.v4
    parameters = new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    cells = [parameters, new.new_code_cell(CODE)]
    for name in ("01_only", "02_images"):  # the second needs images, and is skipped
        nbformat.write(new.new_notebook(cells=cells), folder / f"{name}.ipynb")
    (folder / "lib").mkdir()
    (folder / "launch.py").write_text(LAUNCH)
    write_stub_study(folder)


def disturbed(stage, seconds, number, rng):
    """Send a signal at a random moment of a run; give its exit status and what it said."""
    process = stage.start()
    time.sleep(rng.uniform(0, seconds))
    if number == signal.SIGKILL:
        os.killpg(process.pid, number)  # the kernel, too: as a power cut would
    elif process.poll() is None:
        process.send_signal(number)
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def signals(stage, expected, seconds, number, times, rng):
    """Results that differ after a signal, litter after the next start, and tracebacks."""
    count = {"results that differ": 0, "litter": 0, "tracebacks": 0}
    for _ in range(times):
        _, said = disturbed(stage, seconds, number, rng)
        count["results that differ"] += stage.digest() != expected
        count["tracebacks"] += "Traceback" in said
        print(said if "Traceback" in said else "", end="")
        status, said = stage.run()
        count["results that differ"] += status != 0 or stage.digest() != expected
        count["litter"] += len(stage.litter())
    return {"times": times, **count}


def doubled(stage, expected, times):
    """Two runs at once: one works, the other says so."""
    wrong = 0
    for _ in range(times):
        both = [stage.start(), stage.start()]
        said = [process.communicate(timeout=600)[0] for process in both]
        statuses = sorted(process.returncode for process in both)
        told = any("another run is working" in text for text in said)
        wrong += statuses != [0, 1] or not told or stage.digest() != expected
    return {"times": times, "wrong": wrong}


def full_disks(folder, expected, levels):
    """Runs on a small disk with less and less room: a full one is called that, and nothing lost."""
    count = {"times": 0, "complete": 0, "said to be full": 0, "wrong": 0}
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place]).returncode:
            return {"times": 0, "reason": "only root may mount a small disk"}
        try:
            stage = Stage(folder, Path(place))
            stage.run()
            for level in range(levels):
                _fill(Path(place), 300_000 * level // levels)
                status, said = stage.run()
                full = status == 1 and "the disk is full" in said and "Traceback" not in said
                kept = stage.digest() == expected
                count["times"] += 1
                count["complete"] += status == 0
                count["said to be full"] += full
                count["wrong"] += not kept or not (full or status == 0)
                if not kept or not (full or status == 0):
                    print(status, said)
        finally:
            subprocess.run(["umount", place], check=True)
    return count


def _fill(place, room):
    """Leave this much room, in bytes, on a disk."""
    filler = place / "filler"
    filler.unlink(missing_ok=True)
    free = shutil.disk_usage(place).free
    filler.write_bytes(bytes(max(0, free - room)))


def main(seed: int = 0, kills: int = 100, interrupts: int = 10, fills: int = 20, pairs: int = 5):
    """Disturb the small study in every way, and write docs/reliability.md."""
    rng, found = random.Random(seed), {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build(folder)
        stage = Stage(folder, folder / "out")
        started = time.perf_counter()
        status, said = stage.run()
        assert status == 0, said
        seconds, expected = time.perf_counter() - started, stage.digest()
        for number, times in (("SIGKILL", kills), ("SIGINT", interrupts), ("SIGTERM", interrupts)):
            how = getattr(signal, number)
            found[f"{number} at random moments"] = signals(
                stage, expected, seconds, how, times, rng
            )
            print(number, found[f"{number} at random moments"])
        found["two runs at once"] = doubled(stage, expected, pairs)
        found["a full disk, at levels of room"] = full_disks(folder, expected, fills)
    write(found, seed)


def write(found, seed):
    """The last result, as a page."""
    when = datetime.now(UTC).date()
    rows = [f"| {name} | {_words(count)} |" for name, count in found.items()]
    about = f"{when}, seed {seed}, Python {platform.python_version()}, {platform.system()}"
    REPORT.write_text(
        "# Reliability\n\n"
        "`make campaign` ([campaign.py](../tests/campaign.py)) runs a small study with a stub\n"
        "notebook, disturbs it, and compares its\n"
        "results with those of an undisturbed run. Litter is what is half-written and still there\n"
        f"after the next start. Last result: {about}.\n\n"
        "| disturbed by | found |\n|---|---|\n" + "\n".join(rows) + "\n",
        encoding="utf-8",
    )
    print(REPORT.read_text(encoding="utf-8"))


def _words(count):
    return ", ".join(f"{name}: {n}" for name, n in count.items())


if __name__ == "__main__":
    typer.run(main)
