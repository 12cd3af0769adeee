"""A study's data, made or fetched before a run."""

import contextlib
import time

from analysis_lib.pipeline import steps
from analysis_lib.pipeline.locking import alone
from analysis_lib.pipeline.memory import apart
from analysis_lib.results.problems import PipelineError


def prepare_data(study, fetch=False, note=print) -> None:
    """Make sure that a study's tables are there, or say in an error how to get them.

    A simulated study is generated when its folder is absent, and so is a public one whose files
    this repository holds; with ``fetch``, another public trial is downloaded, and the maps and
    templates that the study's images need.
    """
    makes = not _is_there(study) and (fetch or study.simulated or _is_at_hand(study))
    # Another run, with another output, may be making the same folder.
    with alone(study.root) if makes else contextlib.nullcontext():
        _make(study, fetch, note)
    missing = [path for path in steps.required_tables(study) if not path.is_file()]
    if missing:
        raise PipelineError(_missing_data(study, missing))
    makes = steps.makes_maps(steps.STEPS, study)
    if fetch and (makes or study.grey_matter_maps() or steps.brought(study)):  # to be compared
        _fetch_maps(study, note, makes)


def _make(study, fetch, note):
    if fetch or _is_at_hand(study):
        _fetch_trial(study, note)
    if study.simulated and not _is_there(study):
        note(f"Simulating the data of {study.name} (once)")
        start = time.perf_counter()
        apart(_make_data, study.root)
        note(f"Simulated {study.name} in {time.perf_counter() - start:.1f} s: {study.root}")


def _is_there(study):
    return study.root.is_dir() and any(study.root.iterdir())


def _fetch_maps(study, note, makes):
    """Atlas and receptor maps; the templates, where grey-matter maps are made."""
    from analysis_lib.atlas import files
    from analysis_lib.datasets import fetch

    if makes:
        note("Fetching templates")
        fetch.fetch_templates()
    if study.atlas in (*files.ATLASES, *files.NILEARN, *files.SCHAEFER):
        note(f"Fetching atlas {study.atlas}")
        fetch.fetch_atlas(study.atlas)
    note("Fetching receptor maps")
    fetch.fetch_receptors(study.receptors)


def _is_at_hand(study):
    """Whether the study's folder is absent and can be made without a download."""
    from analysis_lib.datasets import fetch

    return not study.root.exists() and fetch.is_at_hand(study.name)


def _fetch_trial(study, note):
    from analysis_lib.datasets import fetch

    if study.simulated or study.name not in fetch.TRIALS:
        return
    from_here = fetch.is_at_hand(study.name)
    note(f"{'Unpacking' if from_here else 'Fetching'} {study.name}")
    notes = fetch.fetch_study(study.name, study.root).notes
    wanted = [] if study.grey_matter_maps() else fetch.images_of(study.name)
    lacking = [file.bytes for file in wanted if not (study.root / file.path).is_file()]
    if lacking:  # too large to come unasked
        note(
            f"{study.name}: {len(lacking)} of {len(wanted)} T1w images are not here and are not "
            f"fetched by a run ({sum(lacking) / 1e9:.1f} GB). Get them: "
            f"python -m analysis_lib fetch {study.name} --images"
        )
    for text in notes:
        note(text)


def _make_data(folder):
    from analysis_lib.datasets import simulate

    simulate.simulate_study(folder)


def _missing_data(study, missing):
    from analysis_lib.datasets import fetch

    names = ", ".join(path.relative_to(study.root).as_posix() for path in missing)
    text = f"{study.name}: no {names} in {study.root}."
    if study.name in fetch.TRIALS:
        return (
            f"{text} Get the public files with: python -m analysis_lib fetch {study.name} "
            f"(or add --fetch)"
        )
    if study.simulated:
        return f"{text} Remove that folder, and the next run simulates it again"
    return f"{text} The study file's data is {study.data!r}: correct it, or put the files there"
