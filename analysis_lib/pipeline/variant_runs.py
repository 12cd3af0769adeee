"""Runs with other parameters: what runs in a variant, and what it takes from the default run."""

import json
import os
import shutil
from dataclasses import dataclass, replace

from analysis_lib.pipeline import plan as pipeline_plan
from analysis_lib.pipeline.freshness import folders, results_of, why_stale
from analysis_lib.pipeline.plan import Plan, step_parameters
from analysis_lib.pipeline.steps import blocked, makes_maps
from analysis_lib.report import manifest
from analysis_lib.results.files import read_if_there, write_text
from analysis_lib.results.problems import UsageError
from analysis_lib.study import variants
from analysis_lib.study.parameters import default_parameters, notebook_parameters, parse_overrides

TAKEN = "taken_from_default"  # in the manifest of a variant: this step did not run in it


@dataclass(frozen=True)
class Asked:
    """One value of each parameter given, what it changes by notebook, and the variant's name."""

    given: dict
    changed: dict
    variant: str


def make_plans(study, only=(), overrides=(), quick=False, jobs=None, force=False) -> list[Plan]:
    """Plans of a run: of the default run, as far as it is needed, then of each variant.

    A step runs in a variant where a parameter of its own is changed, or where it takes results of
    such a step. The default run does the others, once for all variants.
    """
    plain = pipeline_plan.make_plan(study, only, (), quick, jobs, force)
    known = {step.notebook: notebook_parameters(plain.path(step)) for step in plain.steps}
    asked = [_asked(plain, known, given) for given in parse_overrides(overrides, known)]
    names = [one.variant for one in asked if one.variant]
    if len(set(names)) < len(names):
        raise UsageError(
            f"--set variant={names[0]}: one value of each other parameter expected, found "
            f"{len(names)} combinations. Without it, variants are named after what they change"
        )
    pairs = [(_in_variant(plain, one), one) for one in asked]
    shared = {
        step: one for step in plain.steps for plan, one in reversed(pairs) if step not in plan.steps
    }
    pairs = [(plain, shared), *((plan, dict.fromkeys(plan.steps, one)) for plan, one in pairs)]
    plans = [_with_parameters(*pair, known, quick, jobs) for pair in pairs if pair[1]]
    if not (quick and names and shared):
        return plans
    return [_kept(plans[0], _with_parameters(*pairs[0], known, False, jobs)), *plans[1:]]


def _kept(plan, in_full):
    """A quick default run for variants, without the steps whose full results are there."""
    study = plan.study
    full = {
        step.notebook: in_full.passed[step.notebook]
        for step in plan.steps
        if not why_stale(in_full.record(step), in_full.signature(step), study)
    }
    return replace(plan, passed=plan.passed | full)


def _with_parameters(plan, chosen, known, quick, jobs):
    """A plan of some steps, each with the values of one that was asked for."""
    variant = {"variant": plan.study.variant} if plan.study.variant else {}
    passed = {
        step.notebook: step_parameters(
            plan.study, known[step.notebook], {**one.given, **variant}, quick, jobs
        )
        for step, one in chosen.items()
    }
    return replace(plan, steps=tuple(chosen), passed=passed)


def _asked(plain, known, given):
    """What one value of each parameter changes; a notebook without ``variant`` has no variants."""
    changed = {}
    for step in plain.steps:
        parameters = known[step.notebook]
        values = {name: given.get(name, p.default) for name, p in parameters.items()}
        defaults = default_parameters(plain.path(step)) if "variant" in parameters else {}
        changed[step.notebook] = variants.changed(defaults, values)
    every = {name: value for changes in changed.values() for name, value in changes.items()}
    named = variants.checked(given.get("variant", ""))
    values = {name: value for name, value in given.items() if name != "variant"}
    return Asked(values, changed, named or variants.name_of(every))


def _in_variant(plain, asked):
    """The steps of one variant, none of the default run, and those that it takes from that."""
    if not asked.variant:
        return replace(plain, steps=())
    study = plain.study.as_variant(asked.variant)
    coming = makes_maps(plain.all_steps, plain.study)
    can = [step for step in plain.all_steps if not blocked(step, plain.study, coming)]
    own, affected = _own(study, can), []
    made = {name for step in own for name in step.writes}
    for step in can:
        if asked.changed.get(step.notebook) or made & {*step.takes}:
            affected.append(step)
            made |= {*step.writes}
    if not affected and not any(asked.changed.values()):  # a name alone
        affected = [step for step in can if step in plain.steps]
    taken = [step for step in can if step not in affected and step not in own]
    chosen = tuple(step for step in plain.steps if step in affected)
    return replace(plain, study=study, steps=chosen, taken=tuple(taken))


def _own(study, steps):
    """Steps whose results a variant has and did not take: of a run, or of a notebook by hand."""
    records = manifest.read_manifest(study)["steps"]
    own = [step for step in steps if not records.get(step.notebook, {}).get(TAKEN)]
    return [step for step in own if any(results_of(study, name) for name in step.writes)]


def take(plan) -> None:
    """Give a variant copies of the default results of the steps that it does not change."""
    default, there = plan.study.as_variant(), manifest.read_manifest(plan.study)
    records = manifest.read_manifest(default)["steps"]
    coming = [step for step in plan.taken if step.notebook in records]
    entries = {step.notebook: {**records[step.notebook], TAKEN: True} for step in coming}
    new = [s for s in coming if there["steps"].get(s.notebook) != entries[s.notebook]]
    if not new:
        return
    for step in new:
        _copy_results(step, default, plan.study)
    _copy_numbers(default, plan.study, [name for step in new for name in step.writes])
    manifest.write_manifest(plan.study, {**there["steps"], **entries}, there.get("run", {}))


def _copy_results(step, default, study):
    pairs = [zip(folders(default, n), folders(study, n), strict=True) for n in step.writes]
    for source, target in (pair for of_name in pairs for pair in of_name):
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, copy_function=_copy)
    executed = default.derived / "notebooks" / f"{step.notebook}.ipynb"
    if executed.is_file():
        (study.derived / "notebooks").mkdir(exist_ok=True)
        shutil.copy2(executed, study.derived / "notebooks")


def _copy(source, target):
    """Copy a file; an image, which is large and always written anew, becomes a second name."""
    if str(source).endswith(".nii.gz"):
        try:
            return os.link(source, target)
        except OSError:  # another disk, or one without links
            pass
    return shutil.copy2(source, target)


def _copy_numbers(default, study, sections):
    before, own = (read_if_there(one.derived / "numbers.json") for one in (default, study))
    taken = {key: item for key, item in before.items() if key.split(".")[0] in sections}
    kept = {key: item for key, item in own.items() if key.split(".")[0] not in sections}
    content = json.dumps(dict(sorted({**kept, **taken}.items())), indent=2, ensure_ascii=False)
    if taken or kept != own:
        write_text(study.derived / "numbers.json", f"{content}\n")
