"""What a study file may read: what lies in the study's own folders, unless it says otherwise."""

import os
from pathlib import Path

from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import Problem, StudyError

REMEDY = "Move it there, or write 'outside: true' in the study file if it is meant"
READ = ("*.tsv", "*.json", "sub-*/sub-*_sessions.tsv")  # in the data folder, named nowhere


def refuse_outside(study):
    """A `StudyError` where a file that a study reads lies outside of the study's own folders.

    These are the folder of the study file and the data folder. ``..`` and links count by where they
    lead. An absolute data folder is named on purpose, and so is ``outside: true``.
    """
    if study.outside:
        return
    own = folders(study)
    out = {}
    for place, path in named(study):
        if not any(path.resolve().is_relative_to(folder) for folder in own):
            out.setdefault(place, path)  # one file of each place will do
    if out:
        raise StudyError(_problem(study, *one) for one in out.items())


def folders(study) -> list[Path]:
    """The study's own folders, without links; data/raw of the compendium may itself be one."""
    meant = Path(study.data).is_absolute() or study.path.parent == PROJECT / "data" / "studies"
    return [home(study), *([study.root] if meant else [])]


def home(study) -> Path:
    """The folder of the study file; the one above, if it is in "studies", as "raw" is beside it."""
    folder = study.path.parent
    return folder.parent if folder.name == "studies" else folder


def named(study):
    """Files that a study reads, each with its place in the study file."""
    yield "data", Path(os.path.abspath(study.path.parent / study.data))
    yield from ((f"scales ({s.name})", study.root / s.file) for s in study.scales)
    if study.imaging and study.imaging.table:
        yield "imaging.table", study.root / study.imaging.table
    if study.effect:
        yield "effect.file", study.path.parent / study.effect.file
    atlas = study.atlas.values() if isinstance(study.atlas, dict) else [study.atlas]
    yield from (("atlas", Path(file)) for file in atlas if Path(file).is_absolute())
    own = [] if isinstance(study.receptors, str) else study.receptors
    files = [entry.file for entry in own if not isinstance(entry, str)]
    yield from (("receptors", study.path.parent / file) for file in files)
    if not study.effect:
        found = [path for pattern in READ for path in study.root.glob(pattern)]
        yield from (("data", path) for path in [*found, *study.own_maps(), *study.t1w_images()])


def _problem(study, place, path):
    expected = f"a path inside the study's folder {home(study)}"
    return Problem(study.path.name, place, expected, str(path.resolve()), REMEDY)
