"""Images of a study: find, check, pair, smooth, mask, and look for outliers.

Grey-matter maps come from this project or from CAT12, SPM or deepmriprep, each in its own layout;
so does the total intracranial volume (TIV).
"""

import json
import re
import xml.etree.ElementTree as ET
import zlib

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.image import smooth_img

from analysis_lib.study import StudyError

# Names that say a map holds volumes (modulated): this project's own, CAT12's and deepmriprep's
# (mwp1; CAT12's longitudinal ones mwp1r and, modulated twice, mwmwp1r), and SPM's.
KINDS = {
    "desc-modulated": r"desc-modulated",
    "mwmwp1": r"^mwmwp1",
    "mwp1r": r"^mwp1rsub-",
    "mwp1": r"^mwp1",
    "mwc1": r"^mwc1",
}
# Other outputs of the same programs that a glob can catch: what they are, why they are of no use.
SMOOTHED = r"^s[\d.]*(?:mw|m0w|w)\w{0,2}[pc]\d"
NO_SESSION_MAPS = {
    SMOOTHED: "a smoothed one. Smoothing is a parameter of notebook 02: give the map before it",
    r"^\w{0,5}p1avg": (
        "CAT12's average over a participant's sessions, which shows no change. Give the maps of "
        "the sessions alone: mwp1r*"
    ),
    r"^m0wp1": (
        "one modulated for the non-linear part alone (m0wp1), from which head size is gone. Give "
        "mwp1*, and head size as a parameter of notebook 02 (tiv)"
    ),
    r"^(?:mw|m0w|w|r)*[pc][2-9]|label-(?!GM[_.])": "another tissue than grey matter",
}
OWN_SPACE = r"^r?[pc]1|_space-(?!MNI)"
T1W = "T1w image"
HIGHEST = 3.0  # a modulated density above this is no grey-matter map
# The core of grey matter in MNI space, mm, and its centre (nilearn's template: 0, -23, 5)
BRAIN_MM = {"x": (-60, 60), "y": (-90, 60), "z": (-30, 60)}
CENTRE_MM, CENTRE_WITHIN = (0, -23, 5), 25
TIV_RANGE = (500, 2500)  # ml: outside, the unit is another or the segmentation failed
TIV_SPREAD = 0.05  # of a participant's sessions, relative
# What nibabel raises for a file that is no image, or a damaged or truncated one.
UNREADABLE = (nib.filebasedimages.ImageFileError, OSError, EOFError, zlib.error)


def find_maps(study, participants):
    """Find the grey-matter maps of a study's two imaging sessions.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

    Returns
    -------
    pandas.DataFrame
        One row an image: participant_id, visit, path. Empty when the study has no images.

    Raises
    ------
    StudyError
        With every map of an unknown participant, without a session in its path, not modulated,
        smoothed, an average over sessions, of another tissue, not in MNI space by its name, or
        twice for one participant and session; and where maps of several kinds, or made with
        several settings, are mixed.
    """
    maps, found = _by_session(study, participants, study.grey_matter_maps(), "grey-matter map")
    found += [] if found else _kind_problems(maps["path"])
    found += [] if found else _mixture_problems(study, maps["path"])
    if found:
        raise StudyError(found)
    return maps


def find_t1w(study, participants):
    """Find the T1-weighted images of a study's two imaging sessions.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

    Returns
    -------
    pandas.DataFrame
        One row an image: participant_id, visit, path. Empty when the study has none.

    Raises
    ------
    StudyError
        With every image of an unknown participant, without a session of the study in its path, or
        twice for one participant and session.
    """
    scans, found = _by_session(study, participants, study.t1w_images(), T1W)
    if found:
        raise StudyError(found)
    return scans


def _by_session(study, participants, paths, what):
    """Images of the two sessions, a row each, and what is wrong with the names of all."""
    columns = ["participant_id", "visit", "path"]
    rows = [(*_entities(_below(study, path)), path) for path in paths]
    table = pd.DataFrame(rows, columns=columns)
    found = [*_name_problems(study, table, participants, what)]
    if study.imaging:
        sessions = [study.imaging.sessions.pre, study.imaging.sessions.post]
        table = table[table["visit"].isin(sessions)].reset_index(drop=True)
    for who, visit in table.loc[table.duplicated(columns[:2]), columns[:2]].itertuples(index=False):
        same = table[(table["participant_id"] == who) & (table["visit"] == visit)]["path"]
        names = ", ".join(path.name for path in same)
        narrow = ". Narrow imaging.t1w to one" if what == T1W else ""
        found.append(f"{who}, ses-{visit}: one {what} expected, found {names}{narrow}")
    return table, found


def _below(study, path):
    """A path below the data folder, or below the folder of results."""
    return path.relative_to(study.root if path.is_relative_to(study.root) else study.derived)


def _entities(path):
    """Participant and session that a path names; several, joined, where it contradicts itself."""
    text = path.as_posix()
    people = dict.fromkeys(re.findall(r"sub-[A-Za-z0-9]+", text))
    visits = dict.fromkeys(re.findall(r"(?<![A-Za-z0-9])ses-([A-Za-z0-9]+)", text))
    return " and ".join(people) or None, " and ".join(visits) or None


def _name_problems(study, table, participants, what):
    known = set(participants["participant_id"])
    for who, visit, path in table.itertuples(index=False):
        where = _below(study, path).as_posix()
        if who not in known:
            found = who or "no sub- in the path"
            yield f"{where}: a participant of participants.tsv expected, found {found}"
        if visit not in {*study.visits, *study.other_sessions}:
            sessions = ", ".join(f"ses-{v}" for v in study.visits)
            found = visit or "no ses- in it"
            yield f"{where}: one of {sessions} expected in the path, found {found}"
        if what != T1W and (reason := _refusal(path, study.imaging.accept_unmodulated)):
            yield f"{where}: {reason}"


def _refusal(path, accept_unmodulated):
    """Why a map is refused by its name; None if it is not."""
    expected = "a modulated map expected (desc-modulated, mwp1 or mwc1 in its name)"
    for pattern, found in NO_SESSION_MAPS.items():
        if re.search(pattern, path.name):
            return f"{expected}, found {found}"
    if _kind(path) == "unmodulated" and not accept_unmodulated:
        return (
            f"{expected}, found none of them. Without modulation a map holds the share of tissue, "
            "not its volume, and normalisation has removed the change that VBM looks for. "
            "(fMRIPrep and sMRIPrep write no modulated maps.) Say accept_unmodulated: true under "
            "imaging to use it all the same"
        )
    if re.search(OWN_SPACE, path.name):
        return (
            "a map in MNI space expected (space-MNI..., or w in CAT12's and SPM's prefix), found "
            "one in the participant's own space or another. Give the normalised map"
        )
    return None


def _kind(path):
    if path.parent.name == "mwp1":  # deepmriprep's layout with a folder for each output
        return "mwp1"
    return next((k for k, pattern in KINDS.items() if re.search(pattern, path.name)), "unmodulated")


def _kind_problems(paths):
    """Modulated maps of several kinds: their differences would pass for change."""
    kinds = pd.Series([_kind(path) for path in paths], dtype=object).value_counts()
    kinds = kinds.drop("unmodulated", errors="ignore")  # here only where the study asks for them
    if len(kinds) < 2:
        return []
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    fewest = [path.name for path in paths if _kind(path) == kinds.index[-1]]
    more = f" and {len(fewest) - 3} more" if len(fewest) > 3 else ""
    return [
        f"grey-matter maps of one kind expected, found {counts} ({kinds.index[-1]}: "
        f"{', '.join(fewest[:3])}{more}). Each program and each of its pipelines measures in its "
        "own way: process all images alike, or narrow imaging.grey_matter"
    ]


def _mixture_problems(study, paths):
    """Maps that notebook 00 made with several settings, as after a run that was broken off."""
    made = [_settings(path) for path in paths if path.is_relative_to(study.made_maps)]
    names = sorted({name for settings in made for name in settings})
    differ = [n for n in names if len({str(settings.get(n)) for settings in made}) > 1]
    if not differ:
        return []
    texts = [", ".join(f"{n} {settings.get(n, 'unknown')}" for n in differ) for settings in made]
    kinds = pd.Series(texts, dtype=object).value_counts()
    counts = "; ".join(f"{n} with {text}" for text, n in kinds.items())
    return [
        f"maps that notebook 00 made with the same settings expected, found {counts}. Run it to "
        "its end (python run_all.py --only 00): it makes those anew that differ"
    ]


def _settings(path):
    """Settings in the JSON file beside a map that notebook 00 made; none where none are told."""
    (file,) = _own_sidecars(path)
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["Settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def pair_maps(study, participants, maps, what="map"):
    """Bring the two maps, or T1w images, of each participant together.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
    maps : pandas.DataFrame
        From :func:`find_maps` or :func:`find_t1w`.
    what : {"map", "T1w image"}
        Which of the two, for messages.

    Returns
    -------
    pandas.DataFrame
        One row a participant that the study does not exclude: participant_id, arm, pre, post (paths
        or missing), status ("analysed", "no images", or "no image after treatment" and the like).

    Raises
    ------
    StudyError
        With every participant who has one session and no ``withdrawn_after`` (before the second
        session) or ``image_missing`` (a reason in words) that explains it.
    """
    sessions = study.imaging.sessions
    wide = maps.pivot(index="participant_id", columns="visit", values="path")
    wide = wide.reindex(columns=[sessions.pre, sessions.post]).set_axis(["pre", "post"], axis=1)
    pairs = participants[participants["excluded"].isna()].join(wide, on="participant_id")
    excused = pairs["withdrawn_after"].map(lambda visit: _before(study, visit, sessions.post))
    reason = pairs.get("image_missing", pd.Series(pd.NA, pairs.index))
    one_only = pairs["pre"].notna() ^ pairs["post"].notna()
    explained = (excused & pairs["pre"].notna()) | reason.notna()
    unexplained = pairs[one_only & ~explained]
    if len(unexplained):
        raise StudyError([_unpaired(study, row, what) for _, row in unexplained.iterrows()])
    pairs["status"] = "analysed"
    pairs.loc[pairs["pre"].isna(), "status"] = f"no image at {sessions.pre}"
    pairs.loc[pairs["post"].isna(), "status"] = f"no image at {sessions.post}"
    pairs.loc[pairs["pre"].isna() & pairs["post"].isna(), "status"] = "no images"
    told = reason.notna() & pairs["status"].ne("analysed")
    pairs.loc[told, "status"] += ": " + reason[told].astype(str)
    return pairs[["participant_id", "arm", "pre", "post", "status"]].reset_index(drop=True)


def _before(study, visit, later):
    """Whether a participant who left after a visit was gone at a later one."""
    visits = list(study.visits)
    return not pd.isna(visit) and visits.index(visit) < visits.index(later)


def _unpaired(study, row, what):
    sessions = study.imaging.sessions
    pattern = study.imaging.t1w if what == T1W else study.imaging.grey_matter
    there, lacking = (sessions.pre, sessions.post)[:: 1 if pd.isna(row["post"]) else -1]
    return (
        f"{row['participant_id']}: {what}s of ses-{there} and ses-{lacking} expected, found "
        f"ses-{there} only. If the participant withdrew before ses-{lacking}, say so in "
        "withdrawn_after of participants.tsv; if there is another reason, give it in "
        f"image_missing; otherwise add the {what} ({pattern or 'made by notebook 00'})"
    )


def check_grids(paths):
    """Check that images share one grid, and that it covers the brain in MNI space.

    Headers alone are read: a map in a participant's own space can pass, if its origin happens to
    lie where that of MNI space does.

    Parameters
    ----------
    paths : sequence of path
        The grid that most of them have, or that of the first, is the one the others must have.

    Returns
    -------
    numpy.ndarray
        (4, 4), the affine of the grid.

    Raises
    ------
    StudyError
        With every image of another shape or affine, what was expected and what was found; or if
        the grid is oblique, or as large as a head and yet leaves out a part of the brain.
    """
    grids, found = [], []
    for path in paths:
        try:
            image = nib.load(path)
        except UNREADABLE as error:
            found.append(_unreadable(path, error))
            continue
        grids.append((path.name, image.shape, image.affine))
    first = _most_common(grids)
    for name, shape, affine in grids:
        if shape != first[1]:
            found.append(_other_grid(name, "shape", first[0], first[1], shape))
        elif not np.allclose(affine, first[2], atol=1e-3):
            expected, got = (_affine_text(a) for a in (first[2], affine))
            found.append(_other_grid(name, "affine", first[0], expected, got))
    found += _placement_problems(*first) if first else []
    if found:
        raise StudyError(found)
    return first[2]


def _most_common(grids):
    """The first image of the grid that most images have: an odd one is then named alone."""
    keys = [(shape, tuple(affine.round(3).ravel() + 0.0)) for _, shape, affine in grids]
    return (
        max(zip(keys, grids, strict=True), key=lambda pair: keys.count(pair[0]))[1]
        if keys
        else None
    )


def _placement_problems(name, shape, affine):
    """Whether a grid can be one of MNI space: axes along its axes, the brain within."""
    hint = "Is it in the participant's own space? Give the normalised map"
    steps = np.abs(affine[:3, :3])
    if (np.sort(steps, axis=0)[:2] > 0.01 * steps.max(axis=0)).any():
        yield (
            f"{name}: axes along those of MNI space expected, found affine "
            f"{_affine_text(affine)}. {hint}"
        )
        return
    box = _extent(shape, affine)
    beyond = any(box[a][0] > low or box[a][1] < high for a, (low, high) in BRAIN_MM.items())
    if beyond and _holds_a_head(shape, affine):
        yield (
            f"{name}: a grid that holds the brain in MNI space ({_box_text(BRAIN_MM)} mm) "
            f"expected, found {_box_text(box)} mm. {hint}"
        )


def _extent(shape, affine):
    """Lowest and highest coordinate of a grid's voxels along x, y and z, mm."""
    ends = affine[:3, :3] @ np.array([[0, n - 1] for n in shape[:3]]) + affine[:3, 3:]
    return dict(zip("xyz", np.sort(ends, axis=1), strict=True))


def _holds_a_head(shape, affine):
    """Whether a grid is as large as a brain; of a smaller one, a cut-out, no place is expected."""
    sizes = np.array([high - low for low, high in _extent(shape, affine).values()])
    return (sizes >= [high - low for low, high in BRAIN_MM.values()]).all()


def _box_text(box):
    return ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, (low, high) in box.items())


def _unreadable(path, error):
    return f"{path.name}: a readable NIfTI image expected, found: {error}"


def _other_grid(name, what, reference, expected, got):
    return (
        f"{name}: {what} {expected} expected (as {reference}), found {got}. "
        "Resample the maps to one grid first; nothing is resampled here"
    )


def _affine_text(affine):
    return np.array2string(affine[:3], precision=3, suppress_small=True).replace("\n", "")


def load_map(path):
    """Read one grey-matter map and check its values.

    Returns
    -------
    nibabel.Nifti1Image
        Three-dimensional, float32.

    Raises
    ------
    StudyError
        If the file cannot be read, or the map holds NaN or infinite values, negative or impossibly
        high ones, or nothing.
    """
    try:
        image = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise StudyError([_unreadable(path, error)]) from None
    bad = 1 - np.isfinite(data).mean()
    if bad:
        raise StudyError([f"{path.name}: finite values expected, found {bad:.1%} NaN or infinite"])
    low, high = data.min(), data.max()
    if data.ndim != 3 or low < -0.01 or high > HIGHEST or high == 0:
        raise StudyError(
            [
                f"{path.name}: a three-dimensional grey-matter map with values from 0 to about 1 "
                f"expected, found shape {data.shape}, values {low:.3g} to {high:.3g}"
            ]
        )
    return nib.Nifti1Image(data, image.affine)


def smooth_map(path, fwhm_mm):
    """Read one map and smooth it.

    Parameters
    ----------
    path : path
    fwhm_mm : float
        Full width at half maximum of the Gaussian kernel, in mm; 0 leaves the map as it is.

    Returns
    -------
    numpy.ndarray
        (x, y, z), float32.
    """
    return smooth_img(load_map(path), fwhm_mm or None).get_fdata(dtype=np.float32)


def smooth_in_mask(paths, fwhm_mm, threshold):
    """Smooth maps and keep the voxels whose mean over maps exceeds a threshold.

    Maps are read twice, once for the mask and once for their values, so that no more than one
    whole map is in memory.

    Parameters
    ----------
    paths : sequence of path
        Maps on one grid.
    fwhm_mm : float
        As for :func:`smooth_map`.
    threshold : float
        Mean density, without unit.

    Returns
    -------
    values : numpy.ndarray
        (n_maps, n_voxels), float32.
    mask : numpy.ndarray of bool
        (x, y, z).

    Raises
    ------
    ValueError
        If no voxel is left.
    """
    paths = list(paths)
    mean = sum(smooth_map(path, fwhm_mm) / len(paths) for path in paths)
    mask = grey_matter_mask(mean[None], threshold)
    values = np.empty((len(paths), mask.sum()), np.float32)
    for row, path in zip(values, paths, strict=True):
        row[:] = smooth_map(path, fwhm_mm)[mask]
    return values, mask


def volumes_ml(paths):
    """Total grey-matter volume of each map in ml: the sum of its values times the voxel volume."""
    images = [load_map(path) for path in paths]
    voxel = abs(np.linalg.det(images[0].affine[:3, :3])) / 1000
    return np.array([image.get_fdata(dtype="f4").sum(dtype=float) * voxel for image in images])


def grey_matter_mask(maps, threshold):
    """Voxels whose mean over maps exceeds a threshold.

    Parameters
    ----------
    maps : numpy.ndarray
        (n_maps, x, y, z), smoothed.
    threshold : float
        Mean density, without unit.

    Returns
    -------
    numpy.ndarray
        (x, y, z), bool.

    Raises
    ------
    ValueError
        If no voxel is left.
    """
    mask = maps.mean(axis=0) > threshold
    if not mask.any():
        raise ValueError(f"mask_threshold {threshold:g} leaves no voxel: choose a lower one")
    return mask


def homogeneity(maps):
    """How much each map resembles the others: the mean of its correlations with them.

    Parameters
    ----------
    maps : numpy.ndarray
        (n_maps, n_voxels).

    Returns
    -------
    pandas.DataFrame
        One row a map: mean_correlation, and outlier_score, its distance below the median in
        robust standard deviations (1.4826 x median absolute deviation). Above 3 a map deserves a
        look; nothing is dropped.
    """
    r = np.corrcoef(maps)
    mean = (r.sum(axis=1) - 1) / (len(r) - 1)
    return pd.DataFrame({"mean_correlation": mean, "outlier_score": -robust_z(mean)})


def robust_z(values):
    """Distance from the median in robust standard deviations (1.4826 x median absolute deviation).

    Parameters
    ----------
    values : array_like
        (n,); NaN is passed over.

    Returns
    -------
    numpy.ndarray
        (n,); 0 everywhere when more than half of the values are the same.
    """
    values = np.asarray(values, dtype=float)
    known = values[np.isfinite(values)]
    distance = values - np.median(known) if len(known) else values
    spread = 1.4826 * np.median(np.abs(distance[np.isfinite(values)])) if len(known) else 0
    return distance / spread if spread else 0 * distance


def problems(study, participants=None):
    """List what is wrong with a study's maps, values included; an empty list if nothing is."""
    from analysis_lib.ratings import provisional_participants

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
        example = _below(study, others[0])
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
            f"{_below(study, found[0]).as_posix()}: sub- and ses- in small letters expected in the "
            f"path. Rename it{f' and {len(found) - 1} more' if len(found) > 1 else ''}"
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
    if not _holds_a_head(image.shape, image.affine):
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
    if disagreeing := list(_disagreeing(_tiv_rows(study, participants, maps))):
        raise StudyError(disagreeing)


def _caught(check):
    try:
        check()
    except StudyError as error:
        return error.problems
    return []


def total_intracranial_volume(study, participants, maps):
    """Total intracranial volume (TIV) of each participant, from the first source that there is.

    Sources, in this order: column ``tiv`` of participants.tsv; CAT12's reports (``cat_*.xml``,
    subjectmeasures/vol_TIV) in ``report/`` beside ``mri/``, or beside the maps; deepmriprep's
    ``tiv*.csv`` (tiv_cm3) in ``label/`` beside ``mri/``, or beside the maps; ``TIV_ml`` in the JSON
    files beside this project's own maps. SPM's ``*_seg8.mat`` is not read.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.
    maps : pandas.DataFrame
        From :func:`find_maps`. Only participants with a map, and not excluded, are looked up.

    Returns
    -------
    pandas.Series or None
        ml, by participant_id, in the order of ``participants``: the mean over a participant's
        sessions. None when no source has any. ``attrs["source"]`` names the source in words;
        ``attrs["problems"]`` lists participants whose sessions differ by more than 5 %.

    Raises
    ------
    StudyError
        With every file that cannot be read or holds no plausible volume (500 to 2,500 ml), and
        with the participants whom the source leaves out or who have another source.
    """
    rows = _tiv_rows(study, participants, maps)
    sources = [source for source in TIV_SOURCES if (rows["source"] == source).any()]
    if not sources:
        return None
    _refuse_gaps(rows, sources[0])
    tiv = rows.groupby("participant_id", sort=False)["tiv"].mean()
    order = participants["participant_id"][participants["participant_id"].isin(tiv.index)]
    tiv = tiv.reindex(order)
    tiv.attrs = {"source": sources[0], "problems": list(_disagreeing(rows))}
    return tiv


def _tiv_rows(study, participants, maps):
    """One row a map (or a participant): participant_id, visit, source, tiv (both may lack)."""
    scanned = participants["participant_id"].isin(maps["participant_id"])
    people = participants[participants["excluded"].isna() & scanned]
    if "tiv" in people and people["tiv"].notna().any():
        return _tiv_column(people)
    rows, found = [], []
    chosen = maps[maps["participant_id"].isin(people["participant_id"])]
    for who, visit, path in chosen.itertuples(index=False):
        try:
            rows.append((who, visit, *_tiv_of_map(study, path)))
        except StudyError as error:
            found += error.problems
    if found:
        raise StudyError(found)
    return pd.DataFrame(rows, columns=["participant_id", "visit", "source", "tiv"])


def _tiv_column(people):
    tiv = pd.to_numeric(people["tiv"], errors="coerce")
    wrong = people["tiv"].notna() & ~tiv.between(*TIV_RANGE)
    if wrong.any():
        names = people["participant_id"][wrong] + ": " + people["tiv"][wrong].astype(str)
        problem = _implausible("participants.tsv: tiv", "; ".join(names[:5]))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise StudyError([problem + more])
    source = pd.Series(IN_TABLE, people.index).where(tiv.notna(), None)
    rows = people[["participant_id"]].assign(visit=None, source=source, tiv=tiv)
    return rows.reset_index(drop=True)


def _implausible(where, found):
    low, high = TIV_RANGE
    return f"{where}: a total intracranial volume of {low} to {high} ml expected, found {found}"


def _tiv_of_map(study, path):
    """Source and TIV that belong to a map; (None, NaN) where there is none."""
    for source, (candidates, read) in TIV_FILES.items():
        file = next((file for file in candidates(path) if file.is_file()), None)
        if file is not None:
            where = _below(study, file).as_posix()
            value = read(file, where)
            if value is not None:
                return source, _volume(value, where)
    return None, np.nan


def _volume(value, where):
    try:
        tiv = float(value)
    except (TypeError, ValueError):
        tiv = np.nan
    if not TIV_RANGE[0] <= tiv <= TIV_RANGE[1]:
        raise StudyError([_implausible(where, repr(value))])
    return tiv


def _beside(path, folder, name):
    """Where a program puts a file: its own folder beside mri/, or the folder of the maps."""
    return [path.parent.parent / folder / name, path.parent / name]


def _stem(path):
    """Name of the image that CAT12 or deepmriprep made a map from."""
    return re.sub(r"^(?:mw)?mwp1|\.nii(?:\.gz)?$", "", path.name)


def _cat12_reports(path):
    return _beside(path, "report", f"cat_{_stem(path)}.xml")


def _read_cat12(file, where):
    """vol_TIV of the root's own subjectmeasures; those deeper in the file explain it in words."""
    try:
        node = ET.parse(file).getroot().find("subjectmeasures/vol_TIV")
    except (ET.ParseError, OSError) as error:
        raise StudyError([f"{where}: a report of CAT12 (XML) expected, found: {error}"]) from None
    if node is None:
        problem = "an element subjectmeasures/vol_TIV expected, found none. Is the report complete?"
        raise StudyError([f"{where}: {problem}"])
    return (node.text or "").strip()


def _deepmriprep_tables(path):
    name = f"tiv{_stem(path)}.csv"
    by_output = path.parent.parent / "tiv" / f"{_stem(path)}.csv"
    return [*_beside(path, "label", name), *([by_output] if path.parent.name == "mwp1" else [])]


def _read_deepmriprep(file, where):
    rows = file.read_text(encoding="utf-8", errors="replace").split()
    if len(rows) != 2 or rows[0] != "tiv_cm3":
        problem = f"a header tiv_cm3 and one value expected, found {' '.join(rows)[:60]!r}"
        raise StudyError([f"{where}: {problem}"])
    return rows[1]


def _own_sidecars(path):
    return [path.with_name(re.sub(r"\.nii(?:\.gz)?$", ".json", path.name))]


def _read_sidecar(file, where):
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON's and the encoding's
        raise StudyError([f"{where}: a JSON file expected, found: {error}"]) from None
    return about.get("TIV_ml") if isinstance(about, dict) else None


IN_TABLE = "column tiv of participants.tsv"
TIV_FILES = {
    "CAT12's reports (vol_TIV)": (_cat12_reports, _read_cat12),
    "deepmriprep's tables (tiv_cm3)": (_deepmriprep_tables, _read_deepmriprep),
    "JSON files beside the maps (TIV_ml)": (_own_sidecars, _read_sidecar),
}
TIV_SOURCES = (IN_TABLE, *TIV_FILES)


def _refuse_gaps(rows, source):
    """Refuse TIV that comes from several sources, or that some participants lack."""
    other = rows[rows["source"] != source]
    if other.empty:
        return
    visits = other["visit"].map(lambda v: f", ses-{v}" if isinstance(v, str) else "")
    kinds = other["source"].fillna("none").map(lambda s: "none" if s == "none" else f"from {s}")
    found = "; ".join(other["participant_id"] + visits + ": " + kinds)
    raise StudyError(
        [
            f"total intracranial volume: for everybody from {source} expected, found {found}. "
            f"Complete them, or give everybody's in {IN_TABLE}"
        ]
    )


def _disagreeing(rows):
    for who, own in rows.dropna(subset=["tiv"]).groupby("participant_id", sort=False):
        if np.ptp(own["tiv"]) > TIV_SPREAD * own["tiv"].mean():
            found = ", ".join(f"{row.tiv:.0f} ml (ses-{row.visit})" for row in own.itertuples())
            yield (
                f"{who}: total intracranial volumes within {TIV_SPREAD:.0%} of each other "
                f"expected, found {found} in {own['source'].iloc[0]}. A head keeps its size: look "
                "at both segmentations"
            )
