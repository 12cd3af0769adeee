"""Grey-matter maps of a study: find, check, pair, smooth, mask, and look for outliers."""

import re
import zlib

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.image import smooth_img

from analysis_lib.study import StudyError

# Names that say a map holds volumes (modulated): this project's own, CAT12's and SPM's. Maps that
# are smoothed already (s6mwp1) do not count: notebook 02 smooths.
MODULATED = re.compile(r"desc-modulated|^mwp1|^mwc1")
HIGHEST = 3.0  # a modulated density above this is no grey-matter map
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
        With every map of an unknown participant, without a session in its name, not modulated, or
        twice for one participant and session.
    """
    columns = ["participant_id", "visit", "path"]
    if study.imaging is None:
        return pd.DataFrame(columns=columns)
    paths = sorted(study.root.glob(study.imaging.grey_matter))
    rows = [(*_entities(path.relative_to(study.root)), path) for path in paths]
    maps = pd.DataFrame(rows, columns=columns)
    found = [*_name_problems(study, maps, participants)]
    sessions = study.imaging.sessions
    maps = maps[maps["visit"].isin([sessions.pre, sessions.post])].reset_index(drop=True)
    for who, visit in maps.loc[maps.duplicated(columns[:2]), columns[:2]].itertuples(index=False):
        same = maps[(maps["participant_id"] == who) & (maps["visit"] == visit)]["path"]
        names = ", ".join(path.name for path in same)
        found.append(f"{who}, ses-{visit}: one grey-matter map expected, found {names}")
    if found:
        raise StudyError(found)
    return maps


def _entities(path):
    """Participant and session that a path names, None where it does not."""
    text = path.as_posix()
    who, visit = re.search(r"sub-[A-Za-z0-9]+", text), re.search(r"ses-([A-Za-z0-9]+)", text)
    return who and who.group(), visit and visit.group(1)


def _name_problems(study, maps, participants):
    known = set(participants["participant_id"])
    for who, visit, path in maps.itertuples(index=False):
        where = path.relative_to(study.root).as_posix()
        if who not in known:
            yield f"{where}: a participant of participants.tsv expected, found {who}"
        if visit not in {*study.visits, *study.other_sessions}:
            sessions = ", ".join(f"ses-{v}" for v in study.visits)
            yield f"{where}: one of {sessions} expected in the path, found {visit}"
        if not (MODULATED.search(path.name) or study.imaging.accept_unmodulated):
            yield (
                f"{where}: a modulated map expected (desc-modulated, mwp1 or mwc1 in its name), "
                "found none of them. Without modulation a map holds the share of tissue, not its "
                "volume, and normalisation has removed the change that VBM looks for. Say "
                "accept_unmodulated: true under imaging to use it all the same"
            )


def pair_maps(study, participants, maps):
    """Bring the two maps of each participant together.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
    maps : pandas.DataFrame
        From :func:`find_maps`.

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
        raise StudyError([_unpaired(study, row) for _, row in unexplained.iterrows()])
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


def _unpaired(study, row):
    sessions = study.imaging.sessions
    there, lacking = (sessions.pre, sessions.post)[:: 1 if pd.isna(row["post"]) else -1]
    return (
        f"{row['participant_id']}: maps of ses-{there} and ses-{lacking} expected, found "
        f"ses-{there} only. If the participant withdrew before ses-{lacking}, say so in "
        "withdrawn_after of participants.tsv; if there is another reason, give it in "
        f"image_missing; otherwise add the map ({study.imaging.grey_matter})"
    )


def check_grids(paths):
    """Check that images share one grid, from their headers.

    Parameters
    ----------
    paths : sequence of path
        The first gives the grid that the others must have.

    Returns
    -------
    numpy.ndarray
        (4, 4), the affine of the grid.

    Raises
    ------
    StudyError
        With every image of another shape or affine, what was expected and what was found.
    """
    first, found = None, []
    for path in paths:
        try:
            image = nib.load(path)
        except UNREADABLE as error:
            found.append(_unreadable(path, error))
            continue
        first = first or (path.name, image.shape, image.affine)
        if image.shape != first[1]:
            found.append(_other_grid(path.name, "shape", first[0], first[1], image.shape))
        elif not np.allclose(image.affine, first[2], atol=1e-3):
            expected, got = (_affine_text(affine) for affine in (first[2], image.affine))
            found.append(_other_grid(path.name, "affine", first[0], expected, got))
    if found:
        raise StudyError(found)
    return first[2]


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
    spread = 1.4826 * np.median(np.abs(mean - np.median(mean)))
    score = (np.median(mean) - mean) / spread if spread else np.zeros(len(mean))
    return pd.DataFrame({"mean_correlation": mean, "outlier_score": score})


def problems(study, participants=None):
    """List what is wrong with a study's maps, values included; an empty list if nothing is."""
    from analysis_lib.ratings import read_participants

    if study.imaging is None:
        return []
    try:
        participants = read_participants(study) if participants is None else participants
        maps = find_maps(study, participants)
    except StudyError as error:
        return error.problems
    found = list(_caught(lambda: pair_maps(study, participants, maps)))
    if len(maps):
        found += _caught(lambda: check_grids(maps["path"]))
    for path in maps["path"]:
        found += _caught(lambda path=path: load_map(path))
    return list(dict.fromkeys(found))


def _caught(check):
    try:
        check()
    except StudyError as error:
        return error.problems
    return []
