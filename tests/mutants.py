"""Which faults that mutmut makes of the table builders does no test notice?

mutmut works in a copy of the repository's files (settings: pyproject.toml). A survivor that a rule
of ``mutants.md`` explains is counted; all others are printed, and end with status 1.

    python tests/mutants.py                                       every builder, long
    python tests/mutants.py 'analysis_lib.clinical.risks.*'       one of them
"""

import ast
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

from faults import PROJECT, copy_project

EXPLAINED = Path(__file__).with_suffix(".md")


class Rule(NamedTuple):
    """A row of ``mutants.md``: a function, by pattern, and what may become what in it."""

    where: str
    was: str
    becomes: str
    why: str

    def explains(self, function, old, new):
        """Whether the lines differ as the rule says, and nowhere else."""
        pattern = f"(?P<head>.*){self.was}(?P<tail>.*)\n(?P=head){self.becomes}(?P=tail)"
        here = fnmatchcase(function, self.where)
        return here and re.fullmatch(pattern, f"{old}\n{new}") is not None


def read_rules(text):
    """Rules of the table's rows: code in the first three columns, words in the last."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if "| `" in line]
    cells = [[cell.strip().replace(r"\|", "|") for cell in row] for row in rows]
    return [Rule(*(cell.strip("`") for cell in row[:3]), row[3]) for row in cells]


@cache
def functions(path):
    """The functions of a file that mutmut has filled with mutants, by name."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def lines(path, name):
    """A function's lines, without its name: that is all that an unchanged mutant differs in."""
    return ast.unparse(functions(path)[name]).replace(f"def {name}(", "def (", 1).splitlines()


def change(folder, name):
    """The lines that a mutant has changed, before and after."""
    module, mutant = name.rsplit(".", 1)
    path = folder / "mutants" / (module.replace(".", "/") + ".py")
    original = re.sub(r"__mutmut_\d+$", "__mutmut_orig", mutant)
    compared = list(difflib.ndiff(lines(path, original), lines(path, mutant)))
    return ["\n".join(s[2:].strip() for s in compared if s.startswith(side)) for side in "-+"]


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


def outcomes(printed):
    """Name and outcome of each mutant, from ``mutmut results --all true``."""
    pairs = (line.strip().split(": ") for line in printed if ": " in line and "__mutmut_" in line)
    return {name: outcome for name, outcome in pairs if outcome != "not checked"}


def judged(found, folder, rules):
    """Outcomes in which a survivor that a rule explains is called explained; prints the others."""
    for name, outcome in found.items():
        if outcome == "survived":
            function, (old, new) = name.rpartition("__mutmut_")[0], change(folder, name)
            if any(rule.explains(function, old, new) for rule in rules):
                outcome = "explained"
            else:
                print(name, *(f"  - {s}" for s in old.splitlines()), sep="\n")
                print(*(f"  + {s}" for s in new.splitlines()), sep="\n")
        yield name, outcome


def summary(verdicts):
    """How many mutants of each file had which outcome, and of all of them: one line each."""
    counts = Counter((name.rsplit(".", 1)[0], outcome) for name, outcome in verdicts.items())
    counts += Counter(("all", outcome) for outcome in verdicts.values())
    for where in sorted({where for where, _ in counts}, key=lambda w: (w == "all", w)):
        own = {outcome: n for (place, outcome), n in sorted(counts.items()) if place == where}
        yield f"{where}: " + ", ".join(f"{n} {outcome}" for outcome, n in own.items())


def main(names):
    rules = read_rules(EXPLAINED.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        copy_project(Path(folder))
        last = mutmut(folder, "run", *names)[-3:]
        found = outcomes(mutmut(folder, "results", "--all", "true"))
        verdicts = dict(judged(found, Path(folder), rules))
    print(*summary(verdicts), sep="\n")
    tried = [outcome for outcome in verdicts.values() if outcome != "no tests"]
    if not tried:
        print("\n".join(last))
    return int(not tried or "survived" in tried)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
