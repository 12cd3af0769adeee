"""Runs that are killed, doubled, out of disk, memory or input: `make campaign` (long; Linux).

A small study with a stub notebook is run as `run_all.py` runs it, and disturbed. Afterwards its
results must be those of the run before or after, complete; what is half-written must be gone at the
next start; and each message must be one of ours. Then the demo study runs in several surroundings
(determinism.py). The last result of each part is in docs/reliability.md.
"""

import hashlib
import os
import platform
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import determinism
import nbformat
import typer
from conftest import write_stub_study

PROJECT = Path(__file__).resolve().parents[1]
REPORT = PROJECT / "docs" / "reliability.md"
PARAMETERS = 'study: str = "demo"  # a study\nquick: bool = False  # a first look'
CODE = """\
import os, resource, numpy as np, pandas as pd
from joblib import Parallel, delayed
from analysis_lib import results
from analysis_lib.study.contract import load_study
from analysis_lib.study.participants import read_participants
from analysis_lib.study.scores import read_ratings
trial = load_study(study)
found = results.begin(trial, "one", quick)
def die():
    os.kill(os.getpid(), 9)
def grow():
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    np.ones(2**30)
def apart(function):
    Parallel(2, prefer="processes")(delayed(function)() for _ in range(4))
disturb = os.environ.get("DISTURB", "")
if disturb in ("die", "grow"):
    dict(die=die, grow=grow)[disturb]()
elif disturb.startswith("worker"):
    apart(dict(die=die, grow=grow)[disturb.split()[1]])
elif disturb.endswith(".tsv"):
    (trial.root / disturb).unlink()
read_ratings(trial, read_participants(trial))
rows = [f"part {k}" for k in range(2000)]
for name in ("notes", "patterns"):
    found.keep(**{name: pd.DataFrame({"part": rows, "reason": "why " * 10})})
found.keep(draws={"x": np.random.default_rng(0).random(20_000)})
found.publish({"n": (2000, "notes.tsv")})
"""
LAUNCH = f"""\
import os, sys
sys.path[:0] = [{str(PROJECT)!r}, {str(PROJECT / "tests")!r}]
try:  # interrupted while the tests are imported: nothing of ours runs yet
    import test_run_all, typer
    from analysis_lib.pipeline import running
except KeyboardInterrupt:
    sys.exit(130)
def die(*_):
    os.kill(os.getpid(), 9)
if os.environ.get("DISTURB") == "check":
    running._checked = die
test_run_all.stub_pipeline(sys.argv.pop(1))
typer.run(test_run_all.load_script().main)
"""


class Stage:
    """The small study, a folder for its results, and what they should be."""

    def __init__(self, folder, out):
        self.folder, self.out = folder, out
        self.results = out / "data" / "derived" / "tiny" / "one"

    def start(self, **environment):
        """Start a run, in a process group of its own, whether or not it is up to date."""
        options = ["--study", "tiny.yml", "--output", str(self.out), "--force"]
        command = [sys.executable, "launch.py", str(self.folder), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        pipes |= {"cwd": self.folder, "env": os.environ | environment}
        return subprocess.Popen(command, start_new_session=True, **pipes)

    def run(self, **environment):
        """Run to the end: exit status, and what was said."""
        process = self.start(**environment)
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


MEMORY = {  # how the stub is to disturb itself, and what must be said
    "die": "the notebook's process was killed",
    "worker die": "one of the notebook's worker processes was killed",
    "check": "a process of this run was killed",
    "grow": "the machine had too little memory",
    "worker grow": "the machine had too little memory",
}


def out_of_memory(stage, expected):
    """Processes that are killed, or meet a limit (RLIMIT_AS): memory is named, and a remedy."""
    count = {"times": 0, "said to lack memory": 0, "wrong": 0}
    for disturb, words in MEMORY.items():
        status, said = stage.run(DISTURB=disturb)
        told = words in said and "memory" in said and "--jobs 1" in said
        good = status == 1 and told and "Traceback" not in said and stage.digest() == expected
        count = _counted(count, {"said to lack memory": told}, good, said)
    return count


def removed(stage, expected, seconds, times, rng):
    """Tables removed after the check, and at random moments: the file is named, or was read."""
    count = {"times": 0, "complete": 0, "named": 0, "wrong": 0}
    for name in ("participants.tsv", "phenotype/hamd17.tsv"):
        path = stage.folder / "raw" / name
        content = path.read_bytes()
        for time_no in range(1 + times):
            process = stage.start(DISTURB="" if time_no else name)
            if time_no:
                time.sleep(rng.uniform(0, seconds))
                path.unlink()
            said, _ = process.communicate(timeout=600)
            path.write_bytes(content)
            named = process.returncode == 1 and name in said and "Traceback" not in said
            done = process.returncode == 0
            good = (named or (done and time_no)) and stage.digest() == expected
            count = _counted(count, {"complete": done, "named": named}, good, said)
    return count


WRONG = (
    *("fwhm_mm=-3", "fwhm_mm=abc", "fwhm_mm=nan", "fwhm_mm=inf", "tail=gdp2", "delta_step=0"),
    *("seed=-1", "seed=1.5", "mask_threshold=-1", "mask_threshold=1", "n_permutations=5"),
    *("n_permutations=1e9", "cluster_p=0", "cluster_p=1", "tiv=head", "errors=same", "n_jobs=0"),
    *("errors_within=x", "quick_permutations=3", "statistic=tau", "null=shuffle", "nosuch=1"),
)


def wrong_parameters():
    """Wrong values of notebook parameters: exit status 2, one line that names them, within 2 s.

    Processor time is measured: this machine may have other work.
    """
    count, slowest = {"times": 0, "refused in a line": 0, "wrong": 0}, 0.0
    for given in WRONG:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "run_all.py", "--set", given]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        said = done.stderr.strip()
        good = done.returncode == 2 and given.split("=")[0] in said and "\n" not in said
        slowest = max(slowest, took)
        count = _counted(count, {"refused in a line": good}, good and took < 2, f"{said}\n")
    return count | {"longest": f"{slowest:.1f} s"}


def _counted(count, found, good, said):
    """One more time; what was said if it went wrong."""
    print("" if good else said, end="")
    more = {"times": 1, **found, "wrong": not good}
    return {name: n + more[name] for name, n in count.items()}


def main(
    seed: int = 0,
    kills: int = 100,
    interrupts: int = 20,
    fills: int = 20,
    pairs: int = 5,
    removals: int = 10,
    only: str = "",
    python: list[Path] = (),
):
    """Run all parts, or those whose names hold ``only``, and write docs/reliability.md.

    ``python`` names further interpreters, each with the packages of requirements.lock.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build(folder)
        stage, rng = Stage(folder, folder / "out"), random.Random(seed)
        stage.run()  # compiles
        started = time.perf_counter()
        status, said = stage.run()
        assert status == 0, said
        seconds, expected = time.perf_counter() - started, stage.digest()

        def sent(number, times):
            return lambda: signals(stage, expected, seconds, number, times, rng)

        parts = {
            "SIGKILL at random moments": sent(signal.SIGKILL, kills),
            "SIGINT at random moments": sent(signal.SIGINT, interrupts),
            "SIGTERM at random moments": sent(signal.SIGTERM, interrupts),
            "two runs at once": lambda: doubled(stage, expected, pairs),
            "a full disk, at levels of room": lambda: full_disks(folder, expected, fills),
            "processes killed, or out of memory": lambda: out_of_memory(stage, expected),
            "a table removed while a run works": lambda: removed(
                stage, expected, seconds, removals, rng
            ),
            "a wrong value given with --set": wrong_parameters,
            **determinism.parts(Path(place), python),
        }
        for name, part in parts.items():
            if only in name:
                write(name, part(), seed)


def write(name, count, seed):
    """Put the result of a part in the place of its last one."""
    about = f"{datetime.now(UTC).date()}, seed {seed}, Python {platform.python_version()}"
    row = f"| {name} | {_words(count)} | {about}, {platform.system()} |"
    text = REPORT.read_text(encoding="utf-8")
    known = re.compile(rf"^\| {re.escape(name)} \|.*$", re.MULTILINE)
    last = re.compile(r"(\| disturbed by .*\n(?:\|.*\n)*)")
    text = known.sub(row, text) if known.search(text) else last.sub(rf"\1{row}\n", text, count=1)
    REPORT.write_text(text, encoding="utf-8")
    print(row)


def _words(count):
    return ", ".join(f"{name}: {n}" for name, n in count.items())


if __name__ == "__main__":
    typer.run(main)
