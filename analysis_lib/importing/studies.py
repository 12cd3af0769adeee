"""Import a study: the mapping is guessed once, then it alone decides what is written."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from analysis_lib.importing import writing
from analysis_lib.importing.applying import apply
from analysis_lib.importing.guessing import guess
from analysis_lib.importing.mapping import FILE, answered, read_mapping, slug, text_of
from analysis_lib.importing.reading import read_tables
from analysis_lib.results.files import read_mapping as read_record
from analysis_lib.results.files import read_text, staging_folder, write_text
from analysis_lib.results.hashing import text_hash
from analysis_lib.results.problems import Problem, WrongFile, refusals
from analysis_lib.study.contract import load_study


@dataclass(frozen=True)
class Written:
    """The study file, and what does not fit, in words."""

    path: Path
    misfits: tuple
    counts: dict


def import_study(files, folder=None) -> Written:
    """Turn tables into a BIDS folder and a study file, as ``import.yml`` in the folder says.

    Parameters
    ----------
    files : sequence of path
        .xlsx, .csv, .tsv, .sav, .dta, .rda, or a BIDS folder; they are not changed.
    folder : path, optional
        Gets ``import.yml``, ``<name>.yml``, ``bids/`` and ``private/``; default: named after the
        first file, in the current folder.

    Returns
    -------
    Written

    Raises
    ------
    OpenQuestions
        If the mapping, which is then written, has guesses to confirm; all of them at once.
    StudyError
        If files and mapping do not fit together, or the study file would not be valid.
    WrongFile
        If a file that an import wrote has been changed by hand since.
    """
    folder = Path(folder or slug(Path(files[0]).stem)).absolute()
    mapping_file = folder / FILE
    tables = read_tables(files)
    if not mapping_file.is_file():
        _refuse_full(folder)
        write_text(mapping_file, text_of(guess(tables, folder)))
    mapping = read_mapping(mapping_file)
    imported = apply(mapping, tables)
    _write(folder, writing.files_of(mapping, imported), f"{mapping.name}.yml")
    return Written(folder / f"{mapping.name}.yml", imported.misfits, imported.counts)


def answer(path, answers):
    """Write an answer in the place of each open question of ``import.yml``."""
    write_text(path, answered(read_text(path), answers))


def _refuse_full(folder):
    """Refuse a folder that holds what no import wrote."""
    with refusals(folder):
        full = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    if full:
        expected = f"a new or empty folder, or one with {FILE},"
        raise WrongFile(Problem(str(folder), "", expected, "other files", "Name another: --to"))


def _write(folder, files, study_file):
    """Write all files or none: beside their places, checked, then each into its place.

    A file that was changed since an import wrote it is not overwritten.
    """
    record = read_record(folder / writing.RECORD)
    _refuse_changed(folder, files, record)
    staged = staging_folder(folder.parent, folder.name)
    try:
        for where, text in files.items():
            write_text(staged / where, text)
        load_study(staged / study_file)
        for where in files:  # the record is the last
            (folder / where).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / where, folder / where)
        for where in record.keys() - files.keys():
            (folder / where).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _refuse_changed(folder, files, record):
    for path, known, text in ((folder / w, known, files.get(w, "")) for w, known in record.items()):
        if path.is_file() and text_hash(read_text(path)) not in (known, text_hash(text)):
            remedy = f"Undo the change, or make it in {FILE}; then remove the file and import again"
            raise WrongFile(Problem(str(path), text="changed since it was imported", remedy=remedy))
