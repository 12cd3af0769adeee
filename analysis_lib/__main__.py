"""Command line: ``python -m analysis_lib``. A command imports what it needs: help is quick."""

import difflib
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperGroup

from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import CompendiumError, of_system

# What ``fetch`` can get.
SOURCES = (
    *("receptors", "templates", "antidepressant", "argyelan_ect", "argyelan_rtms", "claus2020"),
    *("ds003007", "ds005917", "sudmex_tms"),
)


class Commands(TyperGroup):
    """Commands of which each tells what goes wrong in a line, with exit status 1."""

    def invoke(self, context):
        """Run a command."""
        try:
            return super().invoke(context)
        except BrokenPipeError:  # whoever reads the output has seen enough
            raise
        except (CompendiumError, OSError) as error:
            _say(_told(error), error=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    help="Set up, check, fetch and simulate studies. To analyse one: python run_all.py",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("check-study")
def check_study(
    file: Annotated[str, typer.Argument(help="Study file (YAML), or a name in data/studies")],
    whole: Annotated[bool, typer.Option("--all", help="Show every row of long lists")] = False,
):
    """List every problem of a study at once: its file, tables and images.

    Exit status: 0 no problems (or only warnings), 1 problems, 2 no such file.
    """
    from analysis_lib.checking import check, errors
    from analysis_lib.study.contract import load_study

    path = _found(file)
    try:
        study = load_study(path)
        problems = check(study)
    except CompendiumError as error:
        _report(path, error.problems, whole)
        raise typer.Exit(1) from None
    _report(path, problems, whole)
    if not errors(problems):
        _say(_summary(study))
        return
    if not study.root.exists():
        _say(f"The folder {study.root} does not exist. {_source(study)}")
    raise typer.Exit(1)


Name = Annotated[
    str | None, typer.Option(help="Short name of the study (default: the folder's name)")
]
Title = Annotated[str | None, typer.Option(help="Title, for headings")]
ScaleOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A clinical scale, optionally with its cut-off for remission. Repeat for each "
        "scale, the primary outcome first (default: HAMD-17:0:52:7 and HAMA:0:56)",
        metavar="NAME:LOWEST:HIGHEST[:REMISSION]",
    ),
]
Visits = Annotated[
    str | None,
    typer.Option(
        help="Visits in order, baseline first (default: baseline,week1,week2,week3). The "
        "number in a name is its week; otherwise write pre=0,post=4"
    ),
]
ArmsOption = Annotated[
    str | None, typer.Option(help="The two arms, active first (default: active,sham)")
]
Images = Annotated[
    Literal["maps", "t1w", "none"],
    typer.Option(
        help="Your own grey-matter maps, T1w images (notebook 00 makes the maps), or none"
    ),
]
Rows = Annotated[
    int,
    typer.Option(min=0, max=999, help="Rows to prepare: sub-01, sub-02, ...; 0: only headers"),
]


@app.command("import-study")
def import_study(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Tables as you have them: .xlsx, .csv, .tsv, .sav, .dta, .rda, a REDCap export "
            "with its data dictionary, tables of regions, or a BIDS folder"
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder to write (default: named after the first file)")
    ] = None,
    name: Name = None,
    title: Title = None,
    scale: ScaleOption = None,
    visits: Visits = None,
    arms: ArmsOption = None,
    images: Images = "maps",
    participants: Rows = 0,
):
    """Turn your own tables into a study, as import.yml in the folder says.

    The first time, import.yml is guessed; what is uncertain is asked for. Edit it and run the
    same command again. The tables are not changed. Without files, --to gets an empty study
    (new-study), which the other options describe. Exit status: 0 done, 1 something is to be
    answered or mended, 2 usage.
    """
    described = (name, title, scale, visits, arms, images, participants)
    if not files and to is None:
        raise typer.BadParameter("FILE..., or --to FOLDER for an empty study, expected")
    if not files:
        return new_study(to, *described)
    if described != (None,) * 5 + ("maps", 0):
        raise typer.BadParameter(
            "--name to --participants are for a study without files; with files, import.yml says it"
        )
    from analysis_lib.importing import OpenQuestions
    from analysis_lib.importing import import_study as read_and_write
    from analysis_lib.study.contract import load_study

    try:
        written = _asking(read_and_write, files, to)
    except OpenQuestions as error:
        _say(f"Answer these in {error.path}, then run the same command again:")
        _list(error.problems, whole=True)
        raise typer.Exit(1) from None
    counts = ", ".join(f"{name}: {count}" for name, count in written.counts.items())
    study = load_study(written.path)
    page = written.path.parent / "private" / "what_was_read.md"
    _say(f"Written: {written.path} ({counts})")
    arms = " against ".join(study.arm_names.values()) if study.arms else "no control arm"
    visits = ", ".join(f"{name} (week {week:g})" for name, week in study.visits.items())
    _say(f"Read as: {arms}; primary outcome {study.primary_scale.name}; {visits}")
    if written.misfits:
        _say(f"{_counted(len(written.misfits), 'cell')} that do not fit, listed in {page}")
    _say(f"What was read: {page}. How: {written.path.with_name('import.yml')}")
    _say(f"Next: python -m analysis_lib check-study {written.path}")


def _asking(read_and_write, files, to):
    """Import; on a terminal, each open question is asked and its answer written down."""
    from analysis_lib.importing import OpenQuestions, answer

    try:
        return read_and_write(files, to)
    except OpenQuestions as error:
        if not _on_terminal():
            raise
        answers = [
            typer.prompt(f"{question['place']}: {question['words']}", question["guess"] or None)
            for question in error.questions
        ]
        answer(error.path, answers)
    return read_and_write(files, to)


def _on_terminal():
    return sys.stdin.isatty()


@app.command("new-study")
def new_study(
    folder: Annotated[Path, typer.Argument(help="Folder to write: new or empty")],
    name: Name = None,
    title: Title = None,
    scale: ScaleOption = None,
    visits: Visits = None,
    arms: ArmsOption = None,
    images: Images = "maps",
    participants: Rows = 0,
):
    """Write a commented study file and empty tables for your own trial.

    Nothing is overwritten. Exit status: 0 done, 1 the folder holds files, 2 usage.
    """
    from analysis_lib.study import skeleton

    given = {"name": name, "title": title, "scales": scale, "visits": visits, "arms": arms}
    try:
        path = skeleton.new_study(
            folder,
            images=images,
            n_participants=participants,
            **{key: value for key, value in given.items() if value},
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        _say(_told(error), error=True)
        raise typer.Exit(1) from None
    _say(f"Written to {folder}: {path.name}, bids/ (tables to fill in), optional/ (tables to add)")
    _say(
        f"Fill in the tables. To see what is left to do: python -m analysis_lib check-study {path}"
    )


@app.command("compare-map")
def compare_map(
    file: Annotated[
        Path, typer.Argument(help="An image in MNI space (.nii, .nii.gz), or a table (.tsv, .csv)")
    ],
    name: Annotated[str | None, typer.Option(help="Of the study (default: the file's)")] = None,
    kind: Annotated[
        Literal["t", "d", "beta", "percent"], typer.Option(help="What the values are")
    ] = "t",
    n: Annotated[int | None, typer.Option(min=1, help="People behind the map")] = None,
    atlas: Annotated[str, typer.Option(help="Atlas of the regions")] = "neuromorphometrics",
    region: Annotated[str | None, typer.Option(help="Table: column of the regions")] = None,
    value: Annotated[str | None, typer.Option(help="Table: column of the values")] = None,
    se: Annotated[str | None, typer.Option(help="Table: column of standard errors")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for results (default: the project's)")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few surrogates, for a first look")
    ] = False,
):
    """Compare one map, of which no participants are known, with the receptor maps.

    Writes a study file, NAME.yml, in the current folder, and runs it. Exit
    status: 0 done, 1 problems, 2 usage.
    """
    from analysis_lib.study import one_map

    given = {"region": region, "value": value, "se": se, "n": n}
    path = one_map.write_study(file, Path.cwd(), name, kind, atlas, given)
    _say(f"Study file: {path}")
    run = [sys.executable, str(PROJECT / "run_all.py"), "--study", str(path)]
    run += ["--quick"] * quick + (["--output", str(output)] if output else [])
    raise typer.Exit(subprocess.run(run, check=False).returncode)


@app.command()
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAMES", help=f"Any of: {', '.join(SOURCES)}, atlas NAME (see data/README.md)"
        ),
    ],
    all_maps: Annotated[
        bool,
        typer.Option(
            "--all-maps", help="Every receptor map of the library, not only the default set"
        ),
    ] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Also the trial's T1w images (0.1 to 0.7 GB)")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=16, help="Images to fetch at once (default: 4)"),
    ] = None,
):
    """Download and check receptor maps, templates, public trials or atlases.

    Files already in the cache are not downloaded again ($NEUROMAPS_DATA for
    receptor maps, $COMPENDIUM_CACHE for the rest). Images go straight into the
    trial's folder. After an interruption, run the command again to resume.

    Exit status: 0 done, 1 something failed (the rest is done), 2 usage.
    """
    asked = _asked_for(names)
    if all_maps:
        if "receptors" not in asked:
            raise typer.BadParameter("--all-maps needs 'receptors', which is not among the names")
        asked["receptors"] = partial(_fetch_receptors, wanted="all")
    if images:
        _require_images([name for name, get in asked.items() if get is _fetch_study])
    elif jobs is not None:
        raise typer.BadParameter("--jobs needs --images, which is not given")
    failed = False
    for name, get in asked.items():
        try:
            get(name)
            if images and get is _fetch_study:
                _fetch_images(name, jobs)
        except (CompendiumError, OSError) as error:  # no space left, and the like
            _say(f"{name}: FAILED\n{_told(error)}", error=True)
            failed = True
    raise typer.Exit(int(failed))


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist")],
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers")] = None,
    resolution: Annotated[float | None, typer.Option(help="Voxel size of the maps, mm")] = None,
    null: Annotated[bool, typer.Option("--null", help="Plant no effect at all")] = False,
    realistic: Annotated[
        bool, typer.Option("--realistic", help="Change as noisy and as small as real data have it")
    ] = False,
):
    """Write a simulated trial with a known truth, as a BIDS folder."""
    from analysis_lib.datasets.simulate import simulate_study
    from analysis_lib.datasets.truth import REALISTIC

    given = {"seed": seed, "resolution": resolution, "null": null or None}
    given["plan"] = REALISTIC if realistic else None
    try:
        simulate_study(folder, **{k: v for k, v in given.items() if v is not None})
    except (RuntimeError, ValueError) as error:
        _say(str(error), error=True)
        raise typer.Exit(1) from None
    _say(f"SIMULATED trial written to {folder}")


@app.command()
def trace(
    key: Annotated[str, typer.Argument(help="Key in numbers.json, or its beginning")],
    study: Annotated[str, typer.Option(help="Study file, or its name in data/studies")] = "demo",
):
    """Show which file and notebook a number comes from.

    Exit status: 0 found, 1 no such number or results changed, 2 no such study.
    """
    from analysis_lib.report import manifest
    from analysis_lib.study.contract import load_study

    loaded = load_study(_found(study))
    origins = manifest.number_origins(loaded)
    found = {k: o for k, o in origins.items() if k == key or k.startswith(f"{key}.")}
    for name, origin in found.items():
        path = loaded.derived / origin["source"]
        about = {"file": path, "place": manifest.place_of(path, origin["value"])}
        about["notebook"] = loaded.derived / "notebooks" / f"{origin['notebook']}.ipynb"
        about["sha256"] = origin["sha256"]
        _say(f"{name} = {origin['value']}{f'  {loaded.label}' if loaded.label else ''}")
        _say("\n".join(f"  {what:<9} {words}" for what, words in about.items() if words))
    if not found:
        raise CompendiumError(_no_such_number(key, loaded, origins))


@app.command()
def export(
    study: Annotated[str, typer.Argument(help="Study file, or a name in data/studies")],
    to: Annotated[
        Path | None, typer.Option(help="File to write (default: NAME_results.zip, here)")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder that run_all.py wrote to (default: the project's)")
    ] = None,
):
    """Pack the results that may be shared: all but private/, searched for what names participants.

    Exit status: 0 done, 1 refused (nothing is packed), 2 no such study.
    """
    from analysis_lib.report import export as packing
    from analysis_lib.study.contract import load_study

    loaded = load_study(_found(study), output)
    packed = packing.export(loaded, to or Path(f"{loaded.name}_results.zip"))
    what = "searched: nothing names a participant" if loaded.real else "open data, not searched"
    _say(f"{packed}: {what}")


def _found(study):
    """Path of a study file; to name none is a mistake in the command, with exit status 2."""
    from analysis_lib.study.contract import find_study

    try:
        return find_study(study)
    except CompendiumError as error:
        raise typer.BadParameter(str(error)) from None


def _no_such_number(key, study, origins):
    if not origins:
        return f"{study.name}: no numbers yet. Run: python run_all.py --study {study.path}"
    near = difflib.get_close_matches(key, origins, n=3)
    hint = f"Similar: {', '.join(near)}" if near else f"For example: {next(iter(origins))}"
    return f"{key}: not among the {len(origins)} numbers of {study.name}. {hint}"


def _summary(study):
    if study.effect:
        return f"one map ({study.effect.kind}), no participants"
    from analysis_lib.study.images import find_maps
    from analysis_lib.study.participants import analysed, read_participants

    participants = read_participants(study)
    people, maps = analysed(participants), find_maps(study, participants)
    arms = people["arm"].value_counts()
    both = ", ".join(f"{arms.get(arm, 0)} {name}" for arm, name in study.arm_names.items())
    without = people.loc[~people["participant_id"].isin(maps["participant_id"]), "participant_id"]
    images = f"{len(maps) or 'no'} grey-matter maps"
    if study.regional:
        images = f"changes by region in {study.imaging.table}"
    if len(maps) and len(without):  # worth a look, since others have one
        images += f", none of {', '.join(without)}"
    if n_scans := len(study.t1w_images()):
        images += f", {n_scans} T1w images"
    return (
        f"{both if study.arms else f'{arms.sum()} participants'}, "
        f"{participants['excluded'].notna().sum()} excluded; "
        f"{', '.join(scale.name for scale in study.scales)} at {len(study.visits)} visits; {images}"
    )


def _report(path, problems, whole):
    """Print errors, then warnings, one line each; with every row named where ``whole``."""
    from analysis_lib.checking import errors

    stops = errors(problems)
    warnings = [problem for problem in problems if problem not in stops]
    lists = {f"{path}: {_counted(stops, 'problem') if stops else 'no problems'}": stops}
    if warnings:
        head = f"{_counted(warnings, 'warning')} (these stop nothing; look at each):"
        lists[head] = warnings
    for head, listed in lists.items():
        _say(head)
        _list(listed, whole)
    if names := sorted({problem.warning for problem in warnings if not problem.accepted}):
        _say(f"Once looked at, accept them in {path.name}: accept: [{', '.join(names)}]")


def _list(problems, whole):
    for problem in problems:
        told = " (accepted)" if problem.accepted else ""
        _say(f"- {problem.whole() if whole else problem}{told}")


def _counted(things, noun):
    return f"{len(things)} {noun}{'s' * (len(things) > 1)}"


def _source(study):
    from analysis_lib.datasets.fetch import TRIALS

    if study.name in TRIALS:
        return f"Get it: python -m analysis_lib fetch {study.name}"
    if study.simulated:
        return "Make it: python run_all.py"
    return f"Put the BIDS folder there, or change 'data' in {study.path.name}"


def _asked_for(words):
    """The function that fetches each name; the word after "atlas" is the name of an atlas."""
    from analysis_lib.study.contract import ATLASES

    others = {"receptors": _fetch_receptors, "templates": _fetch_templates}
    found, words = {}, iter(words)
    for word in words:
        is_atlas = word == "atlas"
        name, known = (next(words, None), ATLASES) if is_atlas else (word, [*SOURCES, "atlas NAME"])
        if name not in known:
            raise typer.BadParameter(
                f"{'atlas: a name' if is_atlas else 'a name'} expected, found {name!r}. "
                f"Known: {', '.join(known)}"
            )
        found[name] = _fetch_atlas if is_atlas else others.get(name, _fetch_study)
    return found


def _fetch_atlas(name):
    from analysis_lib.atlas import parcellation
    from analysis_lib.datasets import fetch as datasets_fetch

    if name not in parcellation.PACKAGED:
        datasets_fetch.fetch_atlas(name)
    _say(f"{name}: {len(parcellation.load_atlas(name).table)} regions, checked")


def _fetch_receptors(_name, wanted="default"):
    from analysis_lib.datasets.fetch import fetch_receptors
    from analysis_lib.study.catalogue import skipped

    got = f"{len(fetch_receptors(wanted))} maps in the cache, checked"
    _say("; ".join([f"receptors: {got}", *skipped(wanted)]))


def _fetch_templates(_name):
    from analysis_lib.datasets.fetch import fetch_templates

    _say(f"templates: {len(fetch_templates())} files in the cache, checked")


def _fetch_study(name):
    from analysis_lib.datasets.fetch import fetch_study

    got = fetch_study(name)
    for note in got.notes:
        _say(f"{name}: {note}")
    _say(f"{name}: {'written to' if got.is_new else 'up to date in'} {got.folder}")


def _require_images(trials):
    from analysis_lib.datasets.fetch import IMAGES

    without = [name for name in trials if name not in IMAGES]
    if without or not trials:
        found = f"{', '.join(without)} has none" if without else "no trial is named"
        raise typer.BadParameter(
            f"--images: a trial with images expected ({', '.join(IMAGES)}); {found}"
        )


def _fetch_images(name, jobs):
    from rich.console import Console

    from analysis_lib.datasets import downloads
    from analysis_lib.datasets.fetch import fetch_images

    try:
        got = fetch_images(name, jobs=jobs or downloads.JOBS, console=Console())
    except KeyboardInterrupt:
        _say(f"{name}: interrupted. Run the command again to resume", error=True)
        raise
    n_images = len(got.fetched) + len(got.present)
    _say(f"{name}: {n_images} images in place, checked ({len(got.fetched)} new)")


def _say(text, error=False):
    from rich.console import Console

    Console(stderr=error, soft_wrap=True).print(text, markup=False, highlight=False)


def _told(error):
    """An error in words: what the system refuses says what to do."""
    system = isinstance(error, OSError) and not isinstance(error, CompendiumError)
    return str(of_system(error) if system else error)


if __name__ == "__main__":
    app(prog_name="python -m analysis_lib")
