"""The catalogue of bad input: each case is refused, warned of or accepted, in plain words."""

import time

import pytest
from bad_input import images, maps, parameters, settings, tables
from bad_input.frame import SmallTrial

from analysis_lib.checking import one_check
from analysis_lib.clinical import dry_run
from analysis_lib.study import scores

KINDS = (tables, settings, parameters, images, maps)
CASES = [
    pytest.param(case, id=f"{kind.__name__.split('.')[-1]}: {case.name}")
    for kind in KINDS
    for case in kind.CASES
]
CHECKS = one_check.CHECKS
SECONDS = 10  # of a processor, whatever else runs; a case takes a fraction of one


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_in_one_line(case, tmp_path, monkeypatch):
    # without the models, and for images without the scores: these take longest, and have tests
    slow = {dry_run.problems, *([scores.problems] * (case in [*images.CASES, *maps.CASES]))}
    monkeypatch.setattr(one_check, "CHECKS", [c for c in CHECKS if c.problems not in slow])
    trial, started = SmallTrial(tmp_path), time.process_time()
    case.spoil(trial)
    found = trial.found()  # what is no CompendiumError comes out, and fails here
    assert time.process_time() - started < SECONDS
    severities = {problem.severity for problem in found}
    expected = {"refused": "error", "warned": "warning"}.get(case.severity)
    if expected is None:
        assert found == []
        return
    assert expected in severities, [str(problem) for problem in found]
    assert case.severity == "refused" or severities == {"warning"}
    told = [p for p in found if p.severity == expected and all(w in str(p) for w in case.words)]
    assert told, [str(problem) for problem in found]
    assert all(said_where_and_what_to_do(problem) for problem in told), list(map(str, told))
    assert all("\n" not in str(problem) for problem in found)


def said_where_and_what_to_do(problem):
    """Whether a line names the file, or the option, and what is expected or to be done."""
    where = problem.file or problem.place or str(problem).startswith("--set")
    return bool(where) and bool(problem.expected or str(problem.remedy) or str(problem.text))


def test_names_are_unique():
    names = [parameter.id for parameter in CASES]
    assert len(names) == len(set(names))
