"""What is wrong with the images of a study: names, pairs, grids, content, head size."""

import re

import nibabel as nib
import numpy as np

from analysis_lib.results.problems import StudyError
from analysis_lib.study.grids import check_grids, holds_a_head, load_map
from analysis_lib.study.head_size import disagreeing_volumes, tiv_rows
from analysis_lib.study.images import (
    T1W,
    _by_session,
    _kind,
    _kind_problems,
    _mixture_problems,
    _refusal,
    below_root,
    pair_maps,
)

CENTRE_MM, CENTRE_WITHIN = (0, -23, 5), 25


def problems(study, participants=None):
    """List what is wrong with a study's maps, values included; an empty list if nothing is."""
    from analysis_lib.study.scores import provisional_participants

    if study.imaging is None:
        return []
    if participants is None and (participants := provisional_participants(study)) is None:
        return []  # whose images they are cannot be told; ratings.problems says why
    maps, found = _by_session(study, participants, study.grey_matter_maps(), "grey-matter map")
    found += [] if found else _kind_problems(maps["path"])
    found += [] if found else _mixture_problems(study, maps["path"])
    scans, of_scans = maps.iloc[:0], []
    if not study.own_maps():
        scans, of_scans = _by_session(study, participants, study.t1w_images(), T1W)
    if not found:
        found += _caught(lambda: pair_maps(study, participants, maps))
        found += _caught(lambda: _check_tiv(study, participants, maps))
    if not of_scans:
        of_scans += _caught(lambda: pair_maps(study, participants, scans, T1W))
    usable = [path for path in maps["path"] if not _refusal(path, accept_unmodulated=True)]
    found += _caught(lambda: check_grids(usable)) if usable else []
    for path in usable:
        found += _caught(lambda path=path: _check_map(path))
    pattern = study.imaging.grey_matter if study.own_maps() else study.imaging.t1w
    others = [*_overlooked(study), *_miswritten(study, pattern)]
    return list(dict.fromkeys([*found, *of_scans, *others]))


def _overlooked(study):
    """Grey-matter maps that lie in the data folder where the study file does not look."""
    pattern = study.imaging.grey_matter
    if not pattern or study.own_maps():
        return
    others = [path for path in sorted(study.root.rglob("sub-*/**/*.nii*")) if _is_map(path)]
    if others:
        example = below_root(study, others[0])
        yield (
            f"{study.path.name}: imaging.grey_matter: maps at {pattern} expected, found none there "
            f"and {len(others)} elsewhere, as {example.as_posix()}. Say grey_matter: "
            f"{_as_pattern(example)}"
        )


def _miswritten(study, pattern):
    """Images that a pattern would find, but for capitals in sub- or ses-."""
    loose = pattern.replace("sub-", "[Ss][Uu][Bb]-").replace("ses-", "[Ss][Ee][Ss]-")
    found = sorted(set(study.root.glob(loose)) - set(study.root.glob(pattern)))
    if found:
        yield (
            f"{below_root(study, found[0]).as_posix()}: sub- and ses- in small letters expected in "
            f"the path. Rename it{f' and {len(found) - 1} more' if len(found) > 1 else ''}"
        )


def _is_map(path):
    return _kind(path) != "unmodulated" and not _refusal(path, accept_unmodulated=False)


def _as_pattern(path):
    """A glob for a map and those like it, the names of participant and session left open."""
    folder = re.sub(r"(?<![A-Za-z0-9])(sub|ses)-[A-Za-z0-9]+", r"\1-*", path.parent.as_posix())
    kind = _kind(path)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    return f"{folder}/{'*' if kind.startswith('desc') else kind}*{suffix}".replace("**", "*")


def _check_map(path):
    """Read a map and check that its tissue lies where grey matter lies in MNI space."""
    image = load_map(path)
    if not holds_a_head(image.shape, image.affine):
        return
    data = image.get_fdata(dtype=np.float32)
    sums = [data.sum(axis=tuple({0, 1, 2} - {axis}), dtype=float) for axis in range(3)]
    voxel = [np.average(np.arange(len(along)), weights=along) for along in sums]
    centre = nib.affines.apply_affine(image.affine, voxel)
    if np.linalg.norm(centre - CENTRE_MM) > CENTRE_WITHIN:
        expected, got = (", ".join(f"{c:.0f}" for c in point) for point in (CENTRE_MM, centre))
        raise StudyError(
            [
                f"{path.name}: the centre of grey matter within {CENTRE_WITHIN} mm of ({expected}) "
                f"expected, as in MNI space, found ({got}). Is it in the participant's own space, "
                "or the normalisation wrong? Look at it"
            ]
        )


def _check_tiv(study, participants, maps):
    """What is wrong with the TIV that is there; gaps matter to those alone who ask for it."""
    if disagreeing := list(disagreeing_volumes(tiv_rows(study, participants, maps))):
        raise StudyError(disagreeing)


def _caught(check):
    try:
        check()
    except StudyError as error:
        return error.problems
    return []
