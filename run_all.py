"""Run the notebooks of a study in order: `python run_all.py --help`."""

import glob
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

INTERRUPTED = 130


class Terminal:
    """Shows a run: one bar per notebook on a terminal, one line elsewhere."""

    def __init__(self, console):
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bar = None

    def note(self, text):
        """Show a sentence."""
        self.console.print(escape(text), soft_wrap=True)

    def start(self, step, why, seconds_left=None):
        """Show that a notebook starts, why, and how long all may take from here."""
        from analysis_lib.results.times import duration

        left = f"; about {duration(seconds_left)} left in all" if seconds_left else ""
        self.note(f"{step.notebook}: starts ({why}){left}")
        if self.console.is_terminal:
            self._bars.start()
            self._bar = self._bars.add_task(step.notebook, total=None)

    def cell(self, step, done, total):
        """Move the bar."""
        if self._bar is not None:
            self._bars.update(self._bar, completed=done, total=total)

    def end(self, outcome):
        """Show the outcome of a notebook."""
        self.stop()
        name = outcome.step.notebook
        if outcome.status == "run":
            self.note(f"{name}: done in {outcome.seconds:.1f} s, {outcome.peak_mb:.0f} MB at most")
        elif outcome.status == "up to date":
            self.note(f"{name}: up to date")

    def stop(self):
        """Remove the bar."""
        if self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bars.stop()
            self._bar = None


def main(
    study: Annotated[str, typer.Option(help="Study file, or its name in data/studies.")] = "demo",
    studies: Annotated[
        str,
        typer.Option(
            help="Run every study file of a pattern, such as 'data/studies/*.yml', one after the "
            "other, and list all failures at the end.",
            metavar="PATTERN",
        ),
    ] = "",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only these notebooks: 02,03 or 2,3.", metavar="NUMBERS"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override a notebook parameter. Results go to variants/NAME=VALUE; the default "
            "ones are kept. NAME=VALUE,VALUE runs one variant per value and compares them.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Draw few permutations, for a first look.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of local processes; it does not change the results."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            help="Dask scheduler (tcp://host:8786) whose workers process notebook 00's images and "
            "draw what notebooks 02, S1, S2 and S3 draw. It does not change the results.",
            metavar="ADDRESS",
        ),
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="First get receptor maps, templates, a public trial's files."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run again even what is up to date.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Show notebooks, parameters and what is up to date.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Only compare the results with those in this folder (data/derived/NAME, or the "
            "folder given to --output). Exit status: 0 if they agree, 1 if not.",
            metavar="FOLDER",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for data/derived and figures (default: this folder)."),
    ] = None,
    identifiable: Annotated[
        bool,
        typer.Option(
            "--identifiable",
            help="Name real participants in outputs, which are marked so. Without it they have "
            "pseudonyms, unless the study file says public: true.",
        ),
    ] = False,
):
    """Run, in order, the notebooks of a study that are not up to date.

    Exit status: 0 done, 1 a notebook or the data failed, 2 an option is wrong, 130 interrupted.
    """
    from analysis_lib.pipeline.variant_runs import make_plans
    from analysis_lib.study.contract import load_study

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended in order, as by Ctrl-C
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False, record=True)
    names = [name.strip() for text in only or [] for name in text.split(",") if name.strip()]

    def start(study):
        opened = load_study(study, output, dask, identifiable=identifiable or None)
        if compare is not None:
            return show_comparison(opened, compare)
        plans = make_plans(opened, names, set_ or [], quick, jobs, force)
        if list_:
            return show_list(plans, console)
        if opened.place.dask:
            check_cluster(plans, console)
        return run_all(plans, fetch, console, errors)

    if studies:
        sys.exit(run_studies(studies, start, console, errors))
    sys.exit(guarded(start, study, errors))


def guarded(start, study, errors) -> int:
    """Exit status of what is done with a study; what goes wrong is printed."""
    from analysis_lib.results.problems import CompendiumError, StudyError, of_system

    try:
        return start(study)
    except CompendiumError as error:
        lead = "-" if isinstance(error, StudyError) else "Error:"
        show_problems(error.problems, errors, lead)
        return error.exit_status
    except (OSError, MemoryError) as error:  # of the system, where nothing of ours has told it
        show_problems([of_system(error)], errors, "Error:")
        return 1


def run_studies(pattern, start, console, errors) -> int:
    """Run the studies of a pattern, and list what became of each: 0 if all went well."""
    paths = sorted(glob.glob(pattern))
    if not paths:
        errors.print(f"Error: --studies {escape(pattern)}: study files expected, found none")
        return 2
    table, worst = Table("study", "result", "minutes", "what was wrong", box=None), 0
    for number, path in enumerate(paths, 1):
        console.print(f"\n[bold]{escape(path)}[/bold] ({number} of {len(paths)})")
        started = time.monotonic()
        status = guarded(start, path, errors)
        minutes, worst = f"{(time.monotonic() - started) / 60:.1f}", max(worst, status)
        result = "done" if status == 0 else "failed"
        table.add_row(Path(path).stem, result, minutes, escape(wrong(errors.export_text())))
        if status == INTERRUPTED:
            break
    console.print()
    console.print(table)
    return worst


def wrong(text) -> str:
    """The problems among what was printed, without tracebacks."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(x for x in lines if x.startswith(("- ", "Error:")) or " failed at " in x)


def check_cluster(plans, console):
    """Show what the Dask cluster is, before anything runs; StudyError if it cannot be used."""
    from analysis_lib.computing import blocks
    from analysis_lib.computing import cluster as dask_cluster

    address = plans[0].study.place.dask
    with dask_cluster.connect(address, blocks.PACKAGES) as cluster:
        found = f"Dask cluster at {cluster.address}: {cluster.slots} tasks at once"
    console.print(escape(found), soft_wrap=True)


def run_all(plans, fetch, console, errors) -> int:
    """Run the default plan and those of variants, compare several; give the exit status."""
    for plan in plans:
        if plan.study.variant:
            console.print(f"\nVariant {plan.study.variant}")
        status = run(plan, fetch, console, errors)
        if status:
            return status
    if any(plan.study.variant for plan in plans):
        show_variants(plans, console)
    return 0


def run(plan, fetch, console, errors) -> int:
    """Run a plan, show its progress, and give the exit status."""
    from analysis_lib.pipeline import running

    show = Terminal(console)
    try:
        done = running.run(plan, show, fetch)
    except KeyboardInterrupt as interrupt:
        show.stop()
        finished = [o.step.notebook for o in (interrupt.args or [[]])[0] if o.status == "run"]
        errors.print(f"Interrupted. Completed in this run: {', '.join(finished) or 'no notebook'}")
        return INTERRUPTED
    finally:
        show.stop()
    show_summary(done, console)
    if done.failure:
        show_failure(done.failure, errors)
    return 1 if done.failure else 0


def show_problems(problems, errors, lead="-"):
    """Print problems, one per line."""
    for problem in problems:
        errors.print(f"[red]{lead}[/red] {escape(str(problem))}", soft_wrap=True)


def show_failure(failure, errors):
    """Print which notebook and cell failed, the cause, and where to look."""
    if failure.traceback:
        errors.print(Text.from_ansi(failure.traceback), soft_wrap=True)
    where = f"{failure.notebook} failed at {failure.cell}"
    errors.print(f"[red]{escape(where)}[/red]", soft_wrap=True)
    if failure.told:
        show_problems(failure.told, errors)
    else:
        errors.print(escape(failure.cause), soft_wrap=True)
    if failure.kept.is_file():
        errors.print(f"The notebook up to that cell: {escape(str(failure.kept))}", soft_wrap=True)
    errors.print("Earlier results are unchanged.")


def show_summary(done, console):
    """Print the status of each notebook, and where the results are."""
    study = done.plan.study
    table = Table("notebook", "status", box=None)
    table.add_column("seconds", justify="right")
    table.add_column("peak MB", justify="right")
    for outcome in done.outcomes:
        ran = outcome.status in ("run", "failed")
        why = f": {outcome.why}" if outcome.status == "skipped" else ""
        mark = " QUICK" if outcome.quick else ""
        used = (f"{outcome.seconds:.1f}", f"{outcome.peak_mb:.0f}") if ran else ("", "")
        table.add_row(outcome.step.notebook, escape(f"{outcome.status}{why}{mark}"), *used)
    console.print(table)
    quick = any(outcome.quick for outcome in done.outcomes)
    if quick:
        console.print("QUICK: few permutations, for a first look; draw no conclusions")
    if study.simulated:
        console.print(f"{study.label}: these are not a real trial's data")
    elif study.label:
        console.print(f"{study.label}: outputs name participants; not to be shared")
    console.print(f"results: {escape(str(study.derived))}", soft_wrap=True)
    figures = study.figure_folder(quick)
    console.print(f"figures: {escape(str(figures))}", soft_wrap=True)
    if done.report:
        console.print(f"report:  {escape(str(done.report))}", soft_wrap=True)

    for line in done.compared:
        console.print(escape(line), soft_wrap=True)


def show_comparison(study, folder) -> int:
    """Print how the results of a study differ from those in another folder: 0 if they do not."""
    from analysis_lib.pipeline import comparison

    found = comparison.with_folder(study, folder)
    print(*comparison.lines(found, most=None), sep="\n")
    return 1 if found.moved else 0


def show_variants(plans, console):
    """Write and print the main numbers of variants, with the default run where it has results."""
    from analysis_lib.pipeline import headline

    default = plans[0].study.as_variant()
    there = [default] if (default.derived / "numbers.json").is_file() else []
    variants = [plan.study for plan in plans if plan.study.variant]
    shown = headline.write_side_by_side([*there, *variants])
    first, *rows = headline.as_printed(shown)
    table = Table(*first, box=None)
    for cells in rows:
        table.add_row(*map(escape, cells))
    console.print()
    console.print(table)
    console.print(f"variants: {escape(str(default.variants / headline.NAME))}", soft_wrap=True)


def show_list(plans, console) -> int:
    """Print notebooks, whether they are up to date, and their parameters."""
    for plan in plans:
        if plan.study.variant:
            console.print(f"Variant {plan.study.variant}\n", style="bold")
        show_steps(plan, console)
    return 0


def show_steps(plan, console):
    """Print the notebooks of one plan."""
    from analysis_lib.pipeline import plan as pipeline_plan
    from analysis_lib.study import parameters

    states = pipeline_plan.status(plan)
    for step in plan.steps:
        console.print(f"[bold]{step.notebook}[/bold]  {escape(states[step.notebook])}")
        known = parameters.notebook_parameters(plan.path(step))
        table = Table("parameter", "type", "default", "meaning, unit", box=None, padding=(0, 2))
        for name, parameter in known.items():
            cells = (name, parameter.type, repr(parameter.default), parameter.help)
            table.add_row(*(escape(cell) for cell in cells))
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
