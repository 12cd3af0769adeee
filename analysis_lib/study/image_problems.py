"""What is wrong with the images of a study: names, pairs, grids, content, head size."""

import re

import numpy as np

from analysis_lib.results.problems import CompendiumError, Listing, Problem, StudyError, caught
from analysis_lib.study.catalogue import md5_of
from analysis_lib.study.grids import check_grids, holds_a_head
from analysis_lib.study.head_size import disagreeing_volumes, tiv_rows
from analysis_lib.study.image_file import read_head
from analysis_lib.study.images import (
    T1W,
    below_root,
    by_session,
    kind_of,
    named_maps,
    pair_maps,
    refusal,
)
from analysis_lib.study.map_file import summarise

CENTRE_MM, CENTRE_WITHIN = (0, -23, 5), 25


def map_name_problems(study, participants):
    """Grey-matter maps whose names, sessions or pairs are wrong: headers are not opened."""
    if study.imaging is None:
        return []
    maps, found = named_maps(study, participants)
    return found or caught(pair_maps, study, participants, maps)


def map_problems(study, participants):
    """Grey-matter maps that lie elsewhere or hold what they should not; head size."""
    if study.imaging is None:
        return []
    maps, misnamed = named_maps(study, participants)
    found = [] if misnamed else _tiv_problems(study, participants, maps)
    usable = [path for path in maps["path"] if not refusal(path, accept_unmodulated=True)]
    found += caught(check_grids, usable) if usable else []
    found += [problem for path in usable for problem in caught(_check_map, path)]
    of_pattern = _miswritten(study, study.imaging.grey_matter) if study.own_maps() else ()
    return [*found, *_overlooked(study), *of_pattern]


def t1w_problems(study, participants):
    """T1-weighted images that notebook 00 cannot use; none where the study brings maps."""
    if study.imaging is None or study.own_maps():
        return []
    scans, found = by_session(study, participants, study.t1w_images(), T1W)
    found = found or caught(pair_maps, study, participants, scans, T1W)
    return [*found, *_miswritten(study, study.imaging.t1w)]


def head_problems(study, participants):
    """T1-weighted images of which the files hold no head, or the same one."""
    if study.imaging is None or study.own_maps():
        return []
    paths = by_session(study, participants, study.t1w_images(), T1W)[0]["path"]
    return [*(one for path in paths for one in caught(read_head, path)), *_copied(paths)]


def _copied(paths):
    """Files with the same bytes: their maps would show no change."""
    first = {}
    for path in paths:
        same = first.setdefault(md5_of(path), path)
        if same != path:
            remedy = "Was a file copied under another name?"
            yield Problem(path.name, "", "images that differ", f"the bytes of {same.name}", remedy)


def _overlooked(study):
    """Grey-matter maps that lie in the data folder where the study file does not look."""
    pattern = study.imaging.grey_matter
    if not pattern or study.own_maps():
        return
    others = [path for path in sorted(study.root.rglob("sub-*/**/*.nii*")) if _is_map(path)]
    if others:
        example = below_root(study, others[0])
        found = f"none there and {len(others)} elsewhere, as {example.as_posix()}"
        remedy = f"Say grey_matter: {_as_pattern(example)}"
        expected = f"maps at {pattern}"
        yield Problem(study.path.name, "imaging.grey_matter", expected, found, remedy)


def _miswritten(study, pattern):
    """Images that a pattern would find, but for capitals in sub- or ses-."""
    loose = pattern.replace("sub-", "[Ss][Uu][Bb]-").replace("ses-", "[Ss][Ee][Ss]-")
    found = sorted(set(study.root.glob(loose)) - set(study.root.glob(pattern)))
    if found:
        first, *others = (below_root(study, path).as_posix() for path in found)
        expected = "sub- and ses- in small letters expected in the path"
        remedy = Listing(("Rename it", *others), shown=1)
        yield Problem(first, "", expected, remedy=remedy)


def _is_map(path):
    return kind_of(path) != "unmodulated" and not refusal(path, accept_unmodulated=False)


def _as_pattern(path):
    """A glob for a map and those like it, the names of participant and session left open."""
    folder = re.sub(r"(?<![A-Za-z0-9])(sub|ses)-[A-Za-z0-9]+", r"\1-*", path.parent.as_posix())
    kind = kind_of(path)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    return f"{folder}/{'' if path.name.startswith(kind) else '*'}{kind}*{suffix}"


def _check_map(path):
    """Read a map and check that its tissue lies where grey matter lies in MNI space."""
    seen = summarise(path)
    if not holds_a_head(*seen.grid):
        return
    centre = seen.centre
    if np.linalg.norm(centre - CENTRE_MM) > CENTRE_WITHIN:
        expected, got = (", ".join(f"{c:.0f}" for c in point) for point in (CENTRE_MM, centre))
        centre = f"the centre of grey matter within {CENTRE_WITHIN} mm of ({expected})"
        own = "Is it in the participant's own space, or the normalisation wrong? Look at it"
        in_mni = f"{centre} expected, as in MNI space"
        raise StudyError(Problem(path.name, "", in_mni, f"({got})", own))


def _tiv_problems(study, participants, maps):
    """What is wrong with the TIV that is there; gaps matter to those alone who ask for it."""
    try:
        return list(disagreeing_volumes(tiv_rows(study, participants, maps)))
    except CompendiumError as error:
        return error.problems
