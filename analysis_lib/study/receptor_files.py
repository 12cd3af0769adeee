"""Files of the receptor maps that a study asks for."""

from analysis_lib.results.environment import receptor_cache
from analysis_lib.results.problems import StudyError
from analysis_lib.study.catalogue import fetch_command, locate, md5_of, missing, resolve
from analysis_lib.study.contract import LocalMap


def problems(study):
    """What is wrong with a study's `receptors`: names, and files of its own. Never downloads.

    Published maps that the cache lacks are no problem of a study: see `missing`.

    Parameters
    ----------
    study : analysis_lib.study.contract.Study

    Returns
    -------
    list of str
        Each names the study file and the entry; empty when all is well.
    """
    where = f"{study.path.name}: receptors"
    try:
        resolve(study.receptors)
    except ValueError as error:
        return [f"{where}: {error}"]
    checked = (
        (f"{where}.{number} ({entry.receptor})", entry, study.path.parent / entry.file)
        for number, entry in enumerate(study.receptors)
        if isinstance(entry, LocalMap)
    )
    return [text for text in (_local_problem(*item) for item in checked) if text]


def _local_problem(where, entry, path):
    if not path.is_file():
        return (
            f"{where}: no file {path}. Expected '{entry.file}', relative to the study file: put it "
            "there, or correct 'file'"
        )
    if entry.md5 is not None and (found := md5_of(path)) != entry.md5:
        return (
            f"{where}: {path}: expected md5 {entry.md5}, found {found}. The file is damaged or "
            "another one: restore it, or correct 'md5'"
        )
    return None


def local_maps(study):
    if isinstance(study.receptors, str):
        return []
    return [entry for entry in study.receptors if isinstance(entry, LocalMap)]


def files_for(study, cache=None):
    """Files of the receptor maps that a study asks for, each checked. Never downloads.

    Parameters
    ----------
    study : analysis_lib.study.contract.Study
    cache : path, optional
        See `environment.receptor_cache`.

    Returns
    -------
    dict of str to pathlib.Path
        By annotation, in the study's order.

    Raises
    ------
    StudyError
        An unknown name; a file of the study's own that is missing or not the one expected;
        published maps that are not in the cache, with the command that gets them.
    WrongMap
        A file in the cache is not the published one.
    """
    if found := problems(study):
        raise StudyError(found)
    if lacking := missing(study.receptors, cache):
        raise StudyError(
            [
                f"receptor maps {', '.join(lacking)} are not in {receptor_cache(cache)}. "
                f"Get them: {fetch_command(*lacking)}. A real study never uses simulated maps"
            ]
        )
    own = local_files(study)
    return {name: own.get(name) or locate(name, cache) for name in resolve(study.receptors)}


def local_files(study):
    return {entry.annotation: study.path.parent / entry.file for entry in local_maps(study)}
