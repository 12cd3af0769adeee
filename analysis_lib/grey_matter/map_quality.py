"""Quality of the maps that were made."""

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template
from nilearn.image import resample_img, smooth_img

from analysis_lib.grey_matter.writing import VOLUMES, read_sidecar
from analysis_lib.results.problems import StudyError
from analysis_lib.study.grids import robust_z
from analysis_lib.study.map_file import load_map

QUALITY = (
    *("tiv_ml", "grey_ml", "white_ml", "csf_ml"),
    *("grey_share", "template_correlation", "grey_change"),
)


def quality(study, pairs) -> pd.DataFrame:
    """Volumes of each image, and how unlike the others it is.

    Parameters
    ----------
    study : Study
    pairs : pandas.DataFrame
        From :func:`scans`; every participant with images must be processed.

    Returns
    -------
    pandas.DataFrame
        Rows of grey_matter/quality.tsv, without the arm. The outlier score is the largest distance
        of a measure from the median of the session, in robust standard deviations (to either side;
        of the correlation, below). Above 3 an image deserves a look; nothing is dropped.

    Raises
    ------
    StudyError
        If a map is missing.
    """
    rows, paths = _volume_rows(study, pairs)
    table = pd.DataFrame(rows)
    table["grey_share"] = table["grey_ml"] / table["tiv_ml"]
    table["template_correlation"] = template_correlations(paths)
    before = table[table["session"] == "pre"].set_index("participant_id")["grey_ml"]
    ratio = table["grey_ml"] / table["participant_id"].map(before)
    table["grey_change"] = 100 * (ratio - 1).where(table["session"] == "post")
    z = table.groupby("session", sort=False)[list(QUALITY)].transform(robust_z)
    scores = z.abs().assign(template_correlation=-z["template_correlation"]).fillna(0.0)
    return table.assign(outlier_score=scores.max(axis=1), furthest=scores.idxmax(axis=1))


def _volume_rows(study, pairs):
    rows, paths, lacking = [], [], []
    visits = {"pre": study.imaging.sessions.pre, "post": study.imaging.sessions.post}
    for _, row in pairs.iterrows():
        for session, visit in visits.items():
            if pd.isna(row[session]):
                continue
            folder = study.made_maps / row["participant_id"] / f"ses-{visit}" / "anat"
            path = next(iter(sorted(folder.glob("*_desc-modulated_probseg.nii.gz"))), None)
            about = read_sidecar(path) if path else {}
            if not set(VOLUMES.values()) <= set(about):
                lacking.append(f"{row['participant_id']} ses-{visit}")
                continue
            who = {"participant_id": row["participant_id"], "session": session}
            rows.append(who | {column: about[name] for column, name in VOLUMES.items()})
            paths.append(path)
    if lacking or not rows:
        found = f"none for {', '.join(lacking)}" if lacking else "no image at all"
        raise StudyError([f"a map of each T1w image expected in {study.made_maps}, found {found}"])
    return rows, paths


def template_correlations(paths, fwhm_mm=8.0) -> np.ndarray:
    """Pearson correlation (n_maps,) of smoothed maps, on one grid, with the template's grey."""
    first = nib.load(paths[0])
    grid = {"target_affine": first.affine, "target_shape": first.shape}
    grid |= {"force_resample": True, "copy_header": True}
    template = resample_img(load_mni152_gm_template(resolution=1), interpolation="linear", **grid)
    brain = load_mni152_brain_mask(resolution=2)
    inside = resample_img(brain, interpolation="nearest", **grid).get_fdata() > 0.5
    expected = smooth_img(template, fwhm_mm).get_fdata()[inside]
    found = (smooth_img(load_map(path), fwhm_mm).get_fdata()[inside] for path in paths)
    return np.array([np.corrcoef(expected, values)[0, 1] for values in found])
