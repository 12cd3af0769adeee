"""How long a run still takes: by its last time, or that of the demo, and by its pace so far."""

from analysis_lib.pipeline.steps import blocked, makes_maps

TYPICAL = {  # s on two cores: in full, quick
    "01_clinical_outcomes": (8, 8),
    "01_courses": (6, 6),
    "02_vbm": (110, 15),
    "02_regions": (8, 8),
    "03_receptor_correlation": (35, 15),
    "04_figures": (30, 30),
    "S0_trial_conduct": (8, 8),
}


def seconds_left(plan, step, outcomes) -> float | None:
    """Of a step and those after it; None where one is not known (T1w images, appendix).

    ``outcomes`` are those of the steps before.
    """
    coming = makes_maps(plan.steps, plan.study)
    ahead = plan.steps[plan.steps.index(step) :]
    expected = [_expected(plan, one) for one in ahead if not blocked(one, plan.study, coming)]
    if None in expected:
        return None
    ran = [(o.seconds, _expected(plan, o.step)) for o in outcomes if o.status == "run"]
    ran = [pair for pair in ran if pair[1]]
    pace = sum(took for took, _ in ran) / sum(said for _, said in ran) if ran else 1
    return pace * sum(expected)


def _expected(plan, step):
    quick = bool(plan.passed[step.notebook].get("quick"))
    record = plan.record(step) or {}
    if record.get("seconds") and bool(record["parameters"].get("quick")) == quick:
        return record["seconds"]
    return TYPICAL[step.notebook][quick] if step.notebook in TYPICAL else None
