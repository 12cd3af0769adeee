"""How long a run still takes, from what was measured before and what it took so far."""

from types import SimpleNamespace

import pytest

from analysis_lib.pipeline import pace
from analysis_lib.pipeline.running import Outcome
from analysis_lib.pipeline.steps import STEPS, select
from analysis_lib.study.contract import load_study


def plan_of(records=None, quick=False, only=("01", "02", "03", "04", "S0")):
    """A plan of the antidepressant trial: 02 and 03 cannot run."""
    study = load_study("antidepressant")
    steps = [step for step in select(STEPS, list(only)) if step.fits(study)]
    passed = {step.notebook: {"quick": quick} for step in steps}
    record = (records or {}).get
    return SimpleNamespace(
        steps=steps,
        passed=passed,
        study=study,
        record=lambda step: record(step.number),
    )


def left(plan, number, *ran):
    """Seconds left at a notebook, after some that took so many seconds."""
    named = {step.number: step for step in plan.steps}
    done = [Outcome(named[n], status, seconds=s) for n, status, s in ran]
    return pace.seconds_left(plan, named[number], done)


def test_a_first_run_is_timed_as_the_demo_without_what_cannot_run():
    assert left(plan_of(), "01") == 8 + 30 + 8
    assert left(plan_of(), "04") == 30 + 8


def test_the_last_run_of_the_same_kind_counts_more():
    records = {"04": {"seconds": 100.0, "parameters": {"quick": False}}}
    assert left(plan_of(records), "04") == 100 + 8
    assert left(plan_of(records, quick=True), "04") == 30 + 8


def test_the_pace_so_far_is_that_of_the_rest():
    assert left(plan_of(), "04", ("01", "run", 24.0)) == pytest.approx(3 * 38)
    assert left(plan_of(), "04", ("01", "up to date", 0.0)) == 38


def test_what_nobody_has_timed_is_not_guessed():
    assert left(plan_of(only=["S5"]), "S5") is None
