"""Receptor maps, downloaded into the cache of neuromaps."""

import shutil
import tempfile

from rich.progress import track

from analysis_lib.results.environment import receptor_cache
from analysis_lib.results.problems import FetchFailed
from analysis_lib.study.catalogue import (
    cached_path,
    check_md5,
    fetch_command,
    locate,
    published,
    record_of,
)

ELSEWHERE = (  # a map's own server answered, and did not give it
    "Its server does not give it at present; until it does, a study can name the other maps "
    "(receptors: [...])."
)


def fetch(annotations="default", cache=None, progress=True):
    """Download the receptor maps that the cache lacks, and check every one: path by annotation.

    `FetchFailed` names the annotations that their server refused, once it has the others, or the
    first if no server answers; what came is kept. `WrongMap`: a file, downloaded or already there,
    is not the published one. It is left where it is; a wrong download never enters the cache. Files
    of one's own are passed over.
    """
    annotations = published(annotations)
    folder = receptor_cache(cache)
    absent = [name for name in annotations if not cached_path(record_of(name), folder).is_file()]
    refused = []
    for annotation in track(absent, "receptor maps", disable=not (progress and absent)):
        try:
            _download(annotation, folder)
        except FetchFailed as error:
            if not _answered(error.__cause__):
                raise
            refused += error.problems
    if refused:
        raise FetchFailed(refused)
    return {annotation: locate(annotation, folder) for annotation in annotations}


def _download(annotation, folder):
    """Into a temporary folder first, so that only complete and checked files appear."""
    record = record_of(annotation)
    final = cached_path(record, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        part = cached_path(record, scratch)
        try:
            _fetch_annotation(record, scratch)
        except Exception as error:
            why = ELSEWHERE if _answered(error) else "Is there a network connection?"
            raise FetchFailed(
                f"receptor map {annotation} could not be downloaded "
                f"({type(error).__name__}: {error}). {why} "
                f"What {folder} held is kept; try again: {fetch_command(annotation)}"
            ) from error
        check_md5(part, record["checksum"], annotation)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(part, final)


def _answered(error):
    return getattr(error, "response", None) is not None  # as requests has it


def _fetch_annotation(record, folder):
    from neuromaps.datasets import fetch_annotation  # takes seconds to import

    keys = ("source", "desc", "space", "res")
    fetch_annotation(**{key: record[key] for key in keys}, data_dir=folder, verbose=0)
