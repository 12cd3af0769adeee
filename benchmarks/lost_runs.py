"""Does notebook 01 run on whatever was deleted, and does the check foresee what it cannot compute?

Five hundred made-up trials of 2 + 2 to 12 + 12 participants, each with a pattern of deletions of
its own: `python -m benchmarks.lost_runs [N [FIRST]]`. Every code cell of the notebook runs, most
without drawing. Counted are stops that the check did not foresee, notes with a reason that names no
cause, parts on which check and run disagree, and primary tables that are not there though a model
fits.
"""

import contextlib
import functools
import io
import re
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import jupytext
import numpy as np
import pandas as pd
import yaml

from analysis_lib.checking import check, errors
from analysis_lib.results.environment import PROJECT
from analysis_lib.study.contract import load_study

VISITS = {"baseline": 0, "week1": 1, "week2": 2, "week4": 4}
STUDY = {
    "name": "deleted",
    "title": "A trial with deletions",
    "data": ".",
    "arms": {"column": "arm", "active": "a", "control": "b"},
    "visits": VISITS,
    "scales": [
        {"name": "HAMD-17", "file": "hamd.tsv", "range": [0, 52], "primary": True},
        {"name": "HAMA", "file": "hama.tsv", "range": [0, 56]},
    ],
}
STUDY["scales"][0]["remission_at_most"] = 7
EXPLAINED = (
    "expected",
    "fewer than two",
    "no visit after baseline",
    "could be imputed",
    "no covariance converged",
    "rows for",
    "has rank",
    "not rated after baseline",
    "no variance",
)


def write_trial(folder, seed):
    """A trial from which scores, visits, participants or variation were deleted; the study file."""
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 13, 2)
    who = [f"sub-{k:02d}" for k in range(n.sum())]
    people = pd.DataFrame({"participant_id": who, "arm": np.repeat(["a", "b"], n)})
    people["site"] = rng.choice(["x", "y", "z"], len(who), p=[0.5, 0.4, 0.1])
    tables = {f"{name}.tsv": _scores(people, rng) for name in ("hamd", "hama")}
    content = STUDY | ({"model": {"factors": ["site"]}} if rng.random() < 0.3 else {})
    content = content | {"primary_visit": str(rng.choice(list(VISITS)[1:]))}
    if rng.random() < 0.4:
        left = rng.choice([*VISITS, "n/a"], len(who), p=[0.05, 0.1, 0.1, 0.05, 0.7])
        people["treatment_stopped_after"] = left
        content["estimand"] = {"treatment_stopped": _strategy(rng)}
    for name, table in ({"participants.tsv": people} | tables).items():
        table.to_csv(folder / name, sep="\t", index=False, na_rep="n/a")
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _strategy(rng):
    known = ["hypothetical", "treatment_policy", {"composite": "worst"}]
    return [*known, {"while_on_treatment": "last"}][rng.integers(4)]


def _scores(people, rng):
    """Scores with one of seven kinds of deletion, or several."""
    n = len(people)
    wide = rng.normal(22, 3, (n, 1)) - np.arange(4) * rng.normal(2, 1, (n, 1))
    wide = np.clip(np.round(wide + rng.normal(0, 2, (n, 4))), 0, 50)
    for _ in range(rng.integers(1, 4)):
        _delete(wide, people, rng, rng.integers(8))
    table = pd.DataFrame(wide, people["participant_id"], [f"ses-{v}" for v in VISITS])
    return (
        table.rename_axis(columns="session_id")
        .stack(future_stack=True)
        .rename("total")
        .reset_index()
    )


def _delete(wide, people, rng, kind):
    n, visit = len(wide), rng.integers(1, 4)
    if kind == 0:  # scattered
        wide[rng.random(wide.shape) < rng.choice([0.1, 0.4, 0.7])] = np.nan
    elif kind == 1:  # dropout
        wide[np.arange(4) > rng.integers(0, 5, n)[:, None]] = np.nan
    elif kind == 2:  # a visit that nobody attended
        wide[:, visit] = np.nan
    elif kind == 3:  # one or two of an arm left
        gone = np.flatnonzero(people["arm"] == rng.choice(["a", "b"]))[rng.integers(1, 3) :]
        wide[gone, visit:] = np.nan
    elif kind == 4:  # baselines
        wide[rng.random(n) < 0.4, 0] = np.nan
    elif kind == 5:  # no variation
        wide[:, rng.integers(4)] = 20
    elif kind == 6 and visit > 1:  # copied from the visit before
        wide[:, visit] = wide[:, visit - 1]
    elif kind == 7:  # never rated
        wide[rng.random(n) < 0.3] = np.nan


@functools.cache
def _cells():
    """Code and tags of the notebook's code cells."""
    script = PROJECT / "notebooks" / "percent" / "01_clinical_outcomes.py"
    cells = [cell for cell in jupytext.read(script).cells if cell.cell_type == "code"]
    return [(compile(c.source, "01", "exec"), c.metadata.get("tags", [])) for c in cells]


def run_notebook(path, drawing):
    """Run the code cells of notebook 01; its results."""
    from analysis_lib import figures

    variables = {}
    shown = contextlib.nullcontext() if drawing else mock.patch.object(figures, "panel")
    with shown, contextlib.redirect_stdout(io.StringIO()):
        for code, tags in _cells():
            exec(code, variables)
            if "parameters" in tags:
                variables |= {"study": str(path), "quick": True, "quick_draws": 20}
                variables |= {"largest_delta": 2.0}
    return variables["found"]


def outcome_of(seed, drawing=False):
    """What went wrong with one trial, in words; an empty list if nothing did."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_trial(Path(folder), seed)
        study = load_study(path, output=folder)
        told = check(study, ("01",))
        foreseen = {problem.place for problem in told if problem.warning == "not-computed"}
        with mock.patch.dict("os.environ", {"COMPENDIUM_OUTPUT": folder}):
            try:
                found = run_notebook(path, drawing)
            except Exception as error:
                stop = f"stop: {type(error).__name__}: {error}"
                return [] if errors(told) else [stop]
        if errors(told):
            return [f"check stops a run that is fine: {told[0]}"]
        return _wrong(found, foreseen)


FOLLOWS = {"Imputed scores", "Tipping point"}  # from a part that the check foresees


def _wrong(found, foreseen):
    noted = {note["part"]: note["reason"] for note in found.notes}
    wrong = [f"unexplained: {p}: {why}" for p, why in noted.items() if not _explains(why)]
    wrong += [f"not foreseen: {p}: {noted[p]}" for p in noted.keys() - foreseen - FOLLOWS]
    wrong += [f"foreseen, not met: {part}" for part in foreseen - noted.keys()]
    fitted = "Primary analysis, HAMD-17" not in noted
    if fitted and not found.table("mmrm_contrasts")["scale"].eq("HAMD-17").any():
        wrong.append("no primary table")
    return wrong


def _explains(reason):
    return any(re.search(words, reason) for words in EXPLAINED)


def main():
    """Run as many trials as asked for; exit status 1 if anything went wrong."""
    given = [int(word) for word in sys.argv[1:]]
    n, first = given + [500, 0][len(given) :]
    n_wrong = 0
    for seed in range(first, first + n):
        wrong = outcome_of(seed, drawing=seed % 20 == 0)
        n_wrong += bool(wrong)
        for words in wrong:
            print(f"seed {seed}: {words}", flush=True)
    print(f"{n} patterns of deletion, {n_wrong} with something wrong")
    sys.exit(bool(n_wrong))


if __name__ == "__main__":
    main()
