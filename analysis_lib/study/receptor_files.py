"""Files of the receptor maps that a study asks for."""

from analysis_lib.results.environment import receptor_cache
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.catalogue import fetch_command, locate, md5_of, missing, resolve
from analysis_lib.study.contract import LocalMap


def problems(study):
    """What is wrong with a study's `receptors`: names, and files of its own. Never downloads.

    Published maps that the cache lacks are no problem of a study: see `missing`.
    """
    try:
        resolve(study.receptors)
    except StudyError as error:
        return [Problem(study.path.name, "receptors", text=str(error))]
    own = enumerate(study.receptors)
    return [
        problem
        for number, entry in own
        if isinstance(entry, LocalMap)
        for problem in _local_problems(study, f"receptors.{number} ({entry.receptor})", entry)
    ]


def _local_problems(study, place, entry):
    path = study.path.parent / entry.file
    if not path.is_file():
        text = f"no file {path}. Expected '{entry.file}', relative to the study file"
        remedy = "put it there, or correct 'file'"
        yield Problem(study.path.name, place, text=f"{text}: {remedy}")
    elif entry.md5 is not None and (found := md5_of(path)) != entry.md5:
        remedy = "The file is damaged or another one: restore it, or correct 'md5'"
        expected = f"{path}: expected md5 {entry.md5}"
        yield Problem(study.path.name, place, expected, found, remedy)


def local_maps(study):
    """Entries of the study's receptors that are files of its own."""
    if isinstance(study.receptors, str):
        return []
    return [entry for entry in study.receptors if isinstance(entry, LocalMap)]


def files_for(study, cache=None, known=()):
    """Files, by annotation, of the receptor maps that a study asks for, each checked.

    Never downloads. A `StudyError` says an unknown name; a file of the study's own that is missing
    or not the one expected; published maps that are not in the cache, with the command that gets
    them. Those ``known`` from elsewhere are left out. `WrongMap`: a file in the cache is not the
    published one.
    """
    if found := problems(study):
        raise StudyError(found)
    wanted = [name for name in resolve(study.receptors) if name not in set(known)]
    if lacking := [name for name in missing(study.receptors, cache) if name in wanted]:
        text = f"receptor maps {', '.join(lacking)} are not in {receptor_cache(cache)}"
        text += " (data/receptors has the default set on the atlases that come by name, no others)"
        raise StudyError(Problem(text=text, remedy=f"Get them: {fetch_command(*lacking)}"))
    own = local_files(study)
    return {name: own.get(name) or locate(name, cache) for name in wanted}


def local_files(study):
    """Paths of the study's own receptor maps, by annotation."""
    return {entry.annotation: study.path.parent / entry.file for entry in local_maps(study)}
