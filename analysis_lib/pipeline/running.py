"""Run the notebooks of a study in order."""

import contextlib
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from analysis_lib.pipeline import freshness
from analysis_lib.pipeline import memory as pipeline_memory
from analysis_lib.pipeline.agreement import said_before
from analysis_lib.pipeline.data import prepare_data
from analysis_lib.pipeline.executed_copies import renew
from analysis_lib.pipeline.execution import NotebookFailure, execute
from analysis_lib.pipeline.locking import lock
from analysis_lib.pipeline.pace import seconds_left
from analysis_lib.pipeline.plan import Plan
from analysis_lib.pipeline.steps import Step, blocked, blocked_note, makes_maps
from analysis_lib.pipeline.variant_runs import take
from analysis_lib.report import manifest as report_manifest
from analysis_lib.report.manifest import CRATE
from analysis_lib.results.environment import KERNEL_ENVIRONMENT
from analysis_lib.results.files import sweep, write_text
from analysis_lib.results.problems import CompendiumError, PipelineError, StudyError
from analysis_lib.study.place import WARNINGS

PAGE = "report/index.html"


@dataclass
class Outcome:
    """What became of a step: status is run, up to date, skipped, failed or not reached."""

    step: Step
    status: str
    why: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    quick: bool = False


class Quiet:
    """Told what a run does; this one shows nothing."""

    def note(self, *told):
        """A sentence; a step that starts, and why; cells of one that are done; its outcome."""

    start = cell = end = note


@dataclass
class Run:
    """A run under way: its outcomes, the report if it was written, and when it started."""

    plan: Plan
    show: Quiet
    outcomes: list[Outcome] = field(default_factory=list)
    failure: NotebookFailure | None = None
    report: Path | None = None
    comparison: object = None
    compared: list[str] = field(default_factory=list)
    renewed: bool = False
    checked: bool = False
    warnings: dict = field(default_factory=dict)  # of each notebook, by number
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ran(self) -> bool:
        """Whether a notebook has run."""
        return any(outcome.status == "run" for outcome in self.outcomes)


def run(plan, show=None, fetch=False) -> Run:
    """Run the steps of a plan that are not up to date; stop at the first failure, and record it.

    A `StudyError` has every problem of the data that concerns a notebook that is to run; a
    `KeyboardInterrupt` has the outcomes of what was complete.
    """
    now = Run(plan, show or Quiet())
    with lock(plan.study.derived):
        for folder in (plan.study.variants.parent, plan.study.figures):
            sweep(folder)
        prepare_data(plan.study, fetch, now.show.note)
        if not plan.force:
            refuse_other_owner(plan.study)
        refuse_other_protection(plan.study)
        if plan.study.protected:
            from analysis_lib.study.pseudonyms import made_key  # pandas is slow, and large

            with contextlib.suppress(StudyError):  # in the table: told by the check
                made_key(plan.study)
        take(plan)
        note = blocked_note(plan.steps, plan.study)
        if note:
            now.show.note(note)
        try:
            for step in plan.steps:
                now.outcomes.append(_run_step(now, step))
                now.show.end(now.outcomes[-1])
            _compare(now)  # first: the report begins with what it says
            _publish(now)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(now.outcomes) from None
    return now


def _publish(now):
    """Write report and RO-Crate, where a step has run or they are not there yet."""
    study = now.plan.study
    if now.failure or not _are_there(study, needed_by_report(study)):
        return
    if _are_there(study, (PAGE, CRATE)) and not now.ran and not now.renewed:
        now.report = study.derived / PAGE
        return
    from analysis_lib.report import crate, page  # slow to import

    try:
        now.report = page.write_report(study, coming=(CRATE,))
        crate.write_crate(study)  # after the report, which is part of it
    except CompendiumError as error:
        raise PipelineError(f"The results are complete; the report failed: {error}") from None


def _are_there(study, names):
    return all((study.derived / name).is_file() for name in names)


def needed_by_report(study) -> tuple:
    """Results without which there is nothing to report."""
    if study.arms:
        return ("clinical/mmrm_contrasts.tsv", "clinical/flow.json", "numbers.json")
    return ("receptors/correlations.tsv" if study.effect else "clinical/change.tsv", "numbers.json")


def _compare(now):
    """Compare with the published numbers, or a variant with the default run; fails nothing."""
    if now.failure:
        return
    study = now.plan.study
    said = None if now.ran else said_before(study)
    if said is None:
        from analysis_lib.pipeline import comparison, moved  # slow to import

        compare = comparison.with_default if study.variant else comparison.with_published
        now.comparison = compare(study)
        said = comparison.write(study, now.comparison)
        said = moved.moved_lines(study) if study.variant else said
        now.renewed = now.renewed or not study.variant
    now.compared = said


def _run_step(now, step):
    plan, study = now.plan, now.plan.study
    reason = blocked(step, study)
    if now.failure or reason:
        return Outcome(step, "not reached" if now.failure else "skipped", reason or "")
    _check_earlier(now, step)
    before = plan.signature(step)
    quick = bool(before["parameters"].get("quick"))
    why = freshness.why_stale(plan.record(step), before, study)
    if not why and not plan.force:
        _renew_copy(now, step, before)
        return Outcome(step, "up to date", quick=quick)
    if "t1w" in step.needs:
        from analysis_lib.atlas import files  # slow to import

        files.cached_templates()  # or an error that says how to get them
    if not now.checked:
        _require_sound_data(now)
    now.show.start(step, why or "--force", seconds_left(plan, step, now.outcomes))
    return _execute_step(now, step, before, Outcome(step, "run", why or "--force", quick=quick))


def _renew_copy(now, step, before):
    """Bring the executed copy of a step that is up to date in line with changed prose."""
    study, manifest = now.plan.study, report_manifest.read_manifest(now.plan.study)
    record, executed = manifest["steps"][step.notebook], now.plan.executed(step)
    older = freshness.older_pictures(record, before)
    if older:
        now.show.note(f"{step.number}: results up to date, pictures older than {older}")
    if executed.is_file() and renew(now.plan.path(step), executed, older):
        now.renewed = True
        record["outputs"] |= report_manifest.describe_files(study, [executed])
        report_manifest.write_manifest(study, manifest["steps"], manifest["run"])


def _require_sound_data(now):
    """Check the study before the first kernel: a run with nothing to do needs no check."""
    study, done = now.plan.study, [outcome.step for outcome in now.outcomes]
    ahead = [step for step in now.plan.steps if step not in done]
    coming = makes_maps(ahead, study)
    runs = [step.number for step in ahead if not blocked(step, study, coming)]
    wrong, odd, now.warnings = pipeline_memory.apart(_checked, study, runs)
    if wrong:
        raise StudyError(wrong)
    for problem in odd:
        told = ", accepted" if problem.accepted else ""
        now.show.note(f"warning ({problem.warning}{told}): {problem}")
    now.checked = True


def _checked(study, runs):
    """Errors and warnings of a study, as far as they concern some notebooks, and of each."""
    from analysis_lib.checking.one_check import concerns, errors, warnings_of  # slow to import

    found = concerns(study, runs)
    wrong = errors(found)
    odd = [problem for problem in found if problem not in wrong]
    return wrong, odd, {number: warnings_of(number, found) for number in runs}


def _execute_step(now, step, before, outcome):
    study, plan, warnings = now.plan.study, now.plan, now.warnings.get(step.number, {})
    executed = plan.executed(step)
    seen = _written(step, study)
    started, clock = datetime.now(UTC), time.perf_counter()
    memory = pipeline_memory.PeakMemory()
    with pipeline_memory.repeated(memory.sample, 0.2), _watched(step, study, now.show.note):
        try:
            execute(
                plan.path(step),
                executed,
                plan.passed[step.notebook],
                lambda done, total: now.show.cell(step, done, total),
                plan.library,
                study.place.environment | {WARNINGS: json.dumps(warnings)},
            )
        except NotebookFailure as failure:
            now.failure = failure
    outcome.seconds, outcome.peak_mb = time.perf_counter() - clock, memory.mb
    if study.protected:
        _clear(study, executed, now.failure)
    if now.failure:
        outcome.status, outcome.why = "failed", now.failure.cause
        return outcome
    written = _written(step, study)
    changed = [path for path, state in written.items() if seen.get(path) != state]
    if step.writes and not changed:
        raise PipelineError(
            f"{step.notebook} ran, but wrote nothing into {', '.join(step.writes)}: its last cell "
            f"must write the results"
        )
    outputs = written if step.resumes else changed
    _record(now, step, before, outcome, started, [*outputs, executed])
    return outcome


def _clear(study, executed, failure):
    """Take this machine's folders out of an executed notebook; keep apart one that failed."""
    if failure:
        apart = study.private / "notebooks" / failure.kept.name
        apart.parent.mkdir(parents=True, exist_ok=True)
        failure.kept = failure.kept.replace(apart) if failure.kept.is_file() else failure.kept
    else:
        text = executed.read_text(encoding="utf-8")
        write_text(executed, report_manifest.without_paths(study, text))


@contextlib.contextmanager
def _watched(step, study, note, seconds=1.0):
    """Show the lines that a long step leaves in ``.progress`` of its folder, as they come."""
    written = step.writes if step.resumes else ()
    paths = [one / ".progress" for name in written for one in freshness.folders(study, name)]
    shown = set()

    def look():
        for path in paths:
            with contextlib.suppress(OSError):
                text = path.read_text(encoding="utf-8").strip()
                if text and text not in shown:
                    shown.add(text)
                    note(f"{step.number}: {text}")

    for path in paths:
        path.unlink(missing_ok=True)  # of an interrupted run
    with pipeline_memory.repeated(look, seconds) if paths else contextlib.nullcontext():
        yield


def _written(step, study):
    """When and as what each file in the folders of a step was written."""
    files = [path for name in step.writes for path in freshness.results_of(study, name)]
    states = {path: path.stat() for path in files}
    return {path: (s.st_mtime_ns, s.st_ino, s.st_size) for path, s in states.items()}


def _record(now, step, before, outcome, started, outputs):
    """Enter a step into the manifest: the last thing that a step does."""
    study = now.plan.study
    ended = datetime.now(UTC)
    entry = {
        **before,
        "seed": before["parameters"].get("seed"),
        "quick": outcome.quick,
        "simulated": study.simulated,
        "warnings": now.warnings.get(step.number, {}),
        "outputs": report_manifest.describe_files(study, outputs),
        "numbers": report_manifest.number_hashes(study, step.writes),
        **_times(started, ended),
        "peak_memory_mb": round(outcome.peak_mb, 1),
        "environment": {k: v for k, v in KERNEL_ENVIRONMENT.items() if k.endswith("_NUM_THREADS")},
        "git": report_manifest.git_state(),
        "machine": report_manifest.machine(),
    }
    earlier = report_manifest.read_manifest(study)["steps"]
    peak = max([outcome.peak_mb, *(o.peak_mb for o in now.outcomes)])
    last = {
        "notebooks": [o.step.notebook for o in now.outcomes if o.status == "run"] + [step.notebook],
        **_times(now.started, ended),
        "peak_memory_mb": round(peak, 1),
    }
    report_manifest.write_manifest(study, {**earlier, step.notebook: entry}, last)


def _times(started, ended):
    return {
        "started": started.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 2),
    }


def _check_earlier(now, step):
    """Refuse a step without the results that it needs; say when those it takes are out of date."""
    plan = now.plan
    for name in step.takes:
        source = next((s for s in plan.all_steps if name in s.writes), None)
        if source is None or source in plan.steps or blocked(source, plan.study):
            continue
        advice = f"run {source.number} too: --only {source.number},{step.number}"
        if freshness.results_of(plan.study, name):
            record = plan.record(source)  # out of date, whatever its parameters were
            made = plan.signature(source, (record or {}).get("parameters", {}))
            if why := freshness.why_stale(record, made, plan.study):
                now.show.note(
                    f"{step.number} takes {name}/ as it is, out of date ({why}); {advice}"
                )
        elif name in step.uses:
            raise PipelineError(
                f"{step.notebook} needs {name}/, which {source.notebook} writes and which does "
                f"not exist yet: {advice}"
            )
        else:
            now.show.note(f"{step.number} runs without {name}/, which does not exist yet; {advice}")


def refuse_other_protection(study) -> None:
    """Refuse to mix results that name participants with those that do not."""
    manifest = report_manifest.read_manifest(study)
    before, now = manifest.get("protected"), report_manifest.protection(study).get("protected")
    words = {True: "protected (pseudonyms)", False: "identifiable", None: "named as they are"}
    if manifest["steps"] and before != now:
        raise PipelineError(
            f"{study.derived}: results in which participants are {words[now]} expected, found "
            f"some in which they are {words[before]}. Delete that folder and {study.figures}, "
            "or name another with --output"
        )


def refuse_other_owner(study) -> None:
    """Refuse to overwrite results of another study of the same name; a moved one is the same."""
    manifest = report_manifest.read_manifest(study)
    before, now = manifest.get("owner"), report_manifest.owner(study)
    if not before or before["file"] == now["file"]:
        return
    if now["participants"] is None or before.get("participants") != now["participants"]:
        raise PipelineError(
            f"{study.derived} holds results of another study of the same name: {study.name} "
            f"({manifest.get('title')}). Give {study.path} another name, or overwrite with --force"
        )
