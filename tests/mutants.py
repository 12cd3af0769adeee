"""Which faults that mutmut makes of the table builders does no test notice?

mutmut works in a copy of the repository's files (settings: pyproject.toml). ``mutants.md`` explains
those that may survive; all others are printed, and end with status 1.

    python tests/mutants.py                                       every builder, long
    python tests/mutants.py 'analysis_lib.clinical.risks.*'       one of them
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from faults import PROJECT, copy_project

EXPLAINED = Path(__file__).with_suffix(".md")


def mutmut(folder, *words):
    """Lines that mutmut prints."""
    shared = os.environ.get("REFERENCE_DATA", str(PROJECT.parent / "shared"))
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *words],
        cwd=folder,
        env=os.environ | {"REFERENCE_DATA": shared, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    return (done.stdout + done.stderr).splitlines()


def outcomes(lines):
    """Name and outcome of each mutant, from ``mutmut results --all true``."""
    pairs = (line.strip().split(": ") for line in lines if ": " in line and "__mutmut_" in line)
    return {name: outcome for name, outcome in pairs}


def main(names):
    with tempfile.TemporaryDirectory() as folder:
        copy_project(Path(folder))
        last = mutmut(folder, "run", *names)[-3:]
        found = outcomes(mutmut(folder, "results", "--all", "true"))
        tried = {name: o for name, o in found.items() if o not in ("not checked", "no tests")}
        alive = [name for name, o in tried.items() if o == "survived"]
        explained = EXPLAINED.read_text("utf-8")
        for name in alive:
            known = f"`{name}`" in explained
            print(name, "(explained in mutants.md)" if known else "", sep="  ")
            print("\n".join([] if known else mutmut(folder, "show", name)))
    untested = [name for name, o in found.items() if o == "no tests"]
    print(f"{len(tried)} mutants, {len(alive)} survive; {len(untested)} in code that no test runs")
    if not tried:
        print("\n".join(last))
    return int(not tried or any(f"`{name}`" not in explained for name in alive))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
