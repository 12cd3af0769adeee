"""What a run is asked to do."""

from dataclasses import dataclass
from pathlib import Path

from analysis_lib.pipeline.freshness import signature, why_stale
from analysis_lib.pipeline.steps import STEPS, Step, blocked, makes_maps, select
from analysis_lib.report import manifest
from analysis_lib.results.environment import LIBRARY, NOTEBOOKS, PROJECT, notebook_path
from analysis_lib.study.contract import Study
from analysis_lib.study.parameters import notebook_parameters, parse_overrides


def step_parameters(study, known, overrides, quick=False, jobs=None) -> dict:
    """What is passed to one notebook: only what differs from its defaults, and the study.

    A study of ``data/studies`` is passed by name: executed notebooks hold no path of this machine.
    """
    own = study.path.parent == PROJECT / "data" / "studies"
    wanted = {"study": study.path.stem if own else str(study.path)}
    wanted |= {"quick": True} if quick else {}
    wanted |= {"n_jobs": jobs} if jobs is not None else {}
    return {name: value for name, value in (wanted | overrides).items() if name in known}


@dataclass(frozen=True)
class Plan:
    """What a run is asked to do."""

    study: Study
    steps: tuple[Step, ...]  # those selected
    passed: dict  # parameters by notebook
    all_steps: tuple[Step, ...] = STEPS
    notebooks: Path = NOTEBOOKS
    library: Path = LIBRARY
    force: bool = False  # run what is up to date, and overwrite results of another study
    taken: tuple[Step, ...] = ()  # of a variant: those whose results are the default run's

    def path(self, step) -> Path:
        """The notebook file of a step."""
        return notebook_path(step.notebook, self.notebooks)

    def executed(self, step) -> Path:
        """The executed copy of a step's notebook."""
        return self.study.derived / "notebooks" / f"{step.notebook}.ipynb"

    def record(self, step) -> dict | None:
        """The entry of a step in the manifest."""
        return manifest.read_manifest(self.study)["steps"].get(step.notebook)

    def signature(self, step, passed=None) -> dict:
        """See :func:`signature`; ``passed`` are by default the parameters of this run."""
        passed = self.passed[step.notebook] if passed is None else passed
        record = self.record(step)
        return signature(step, self.study, self.path(step), passed, self.library, record)


def make_plan(
    study,
    only=(),
    overrides=(),
    quick=False,
    jobs=None,
    force=False,
    steps=STEPS,
    notebooks=NOTEBOOKS,
    library=LIBRARY,
) -> Plan:
    """Check the options of a run against the notebooks: all run in the study's own folder.

    A command line calls `variant_runs.make_plans`. Wrong names or values are a `UsageError`.
    """
    steps = [step for step in steps if step.fits(study)]
    chosen = select(steps, list(only))
    known = {s.notebook: notebook_parameters(notebook_path(s.notebook, notebooks)) for s in chosen}
    (values,) = parse_overrides(overrides, known)
    passed = {
        name: step_parameters(study, parameters, values, quick, jobs)
        for name, parameters in known.items()
    }
    return Plan(study, tuple(chosen), passed, tuple(steps), notebooks, library, force)


def status(plan) -> dict[str, str]:
    """By notebook: "up to date", "skipped: why" or "to run: why", as things are now."""
    coming = makes_maps(plan.steps, plan.study)
    return {step.notebook: _status(plan, step, coming) for step in plan.steps}


def _status(plan, step, coming):
    if reason := blocked(step, plan.study, coming):
        return f"skipped: {reason}"
    why = why_stale(plan.record(step), plan.signature(step), plan.study)
    return f"to run: {why}" if why else "up to date"
