"""What notebook 02 works on: two maps of each participant, and their values in the mask."""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.results.contrasts import OF_CHANGE
from analysis_lib.results.problems import Problem, StudyError, unnamed
from analysis_lib.study.contract import Study
from analysis_lib.study.grids import check_grids
from analysis_lib.study.head_size import total_intracranial_volume
from analysis_lib.study.images import find_maps, pair_maps
from analysis_lib.study.participants import design_columns, read_participants
from analysis_lib.vbm import content
from analysis_lib.vbm.contrasts import model_columns
from analysis_lib.vbm.effects import to_image
from analysis_lib.vbm.maps import smooth_in_mask
from analysis_lib.vbm.quality import adjust_for_tiv, quality_table
from voxelperm import residual_maps, smoothness


@dataclass(frozen=True)
class Scans:
    """Participants who were scanned, and their maps.

    Attributes
    ----------
    study : Study
    participants : pandas.DataFrame
    images : pandas.DataFrame
        From `find_maps`.
    pairs : pandas.DataFrame
        From `pair_maps`: one row per participant.
    """

    study: Study
    participants: pd.DataFrame
    images: pd.DataFrame
    pairs: pd.DataFrame

    @property
    def analysed(self) -> pd.DataFrame:
        """Participants with a map before and one after treatment."""
        return self.pairs[self.pairs["status"] == "analysed"].reset_index(drop=True)

    @property
    def left_out(self) -> pd.DataFrame:
        """All others: participant_id, arm in the study's words, status."""
        rows = self.pairs[self.pairs["status"] != "analysed"]
        rows = rows[["participant_id", "arm", "status"]]
        return rows.replace({"arm": self.study.arm_names}).reset_index(drop=True)

    @property
    def counted(self) -> str:
        """How many of each arm have both maps."""
        n = self.analysed["arm"].value_counts()
        arms = self.study.arm_names.items() if self.study.arms else ()
        by_arm = ", ".join(f"{n[arm]} {name}" for arm, name in arms)
        return f"{n.sum()} with both maps" + (f": {by_arm}" if by_arm else "")


@dataclass(frozen=True)
class Maps:
    """Smoothed grey-matter maps of those analysed, the voxels of a mask.

    Attributes
    ----------
    people : pandas.DataFrame
        participant_id, arm, in the order of the maps.
    pre, post : numpy.ndarray
        (n_participants, n_voxels), before and after treatment.
    mask, affine : numpy.ndarray
    covariates : pandas.DataFrame
    blocks : numpy.ndarray or None
        Strata of the randomisation.
    head_size : str
        Where head size comes from, and what is odd about it; empty where it is not asked for.
    odd : tuple of Problem
        What is odd in the maps' files or content, and was read all the same.
    contrasts : tuple of str
        Those of change that the study can answer, the main one last.
    """

    people: pd.DataFrame
    pre: np.ndarray
    post: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    covariates: pd.DataFrame
    blocks: np.ndarray | None
    head_size: str = ""
    odd: tuple[Problem, ...] = ()
    contrasts: tuple[str, ...] = OF_CHANGE

    @property
    def arm(self) -> pd.Series:
        """Arm of each participant."""
        return self.people["arm"]

    @functools.cached_property
    def change(self) -> np.ndarray:
        """Difference maps, post - pre."""
        return self.post - self.pre

    @functools.cached_property
    def columns(self) -> np.ndarray | None:
        """Covariates and strata, as columns of the model."""
        return model_columns(self.covariates, self.blocks)

    @property
    def active(self) -> np.ndarray:
        """1 with active, 0 with control, (n_participants,)."""
        return (self.arm == "active").to_numpy(float)

    def residuals(self) -> np.ndarray:
        """Difference maps without what arm, covariates and strata explain, (n, n_voxels)."""
        rows = residual_maps(self.change, self.active, self.columns)
        return np.stack([row.astype(np.float32) for row in rows])

    @functools.cached_property
    def smoothness(self):
        """Smoothness of the residuals: see `voxelperm.smoothness`."""
        return smoothness(self.change, self.mask, self.active, self.columns)

    @property
    def smoothness_mm(self) -> list:
        """Smoothness of the residuals along x, y and z, FWHM in mm."""
        return (self.smoothness.fwhm * np.linalg.norm(self.affine[:3, :3], axis=0)).tolist()

    @property
    def volume_ml(self) -> float:
        """Volume of the mask."""
        return self.mask.sum() * abs(np.linalg.det(self.affine[:3, :3])) / 1000

    def image(self, values, outside=0.0):
        """Values of the mask's voxels, or one for all, as an image."""
        return to_image(values, self.mask, self.affine, outside)

    def quality(self) -> pd.DataFrame:
        """Volume and homogeneity of each map: rows of vbm/quality.tsv."""
        return quality_table(self.people, {"pre": self.pre, "post": self.post}, self.affine)

    def mean(self):
        """Mean of all maps, as an image."""
        return self.image((self.pre.mean(axis=0) + self.post.mean(axis=0)) / 2)

    @property
    def described(self) -> str:
        """Size of the data, the mask and the smoothness, and what is odd, in words."""
        widths, ml = ", ".join(f"{width:.0f}" for width in self.smoothness_mm), self.volume_ml
        lines = [
            f"(n_participants, n_voxels) = {self.pre.shape}; the mask holds {ml:.0f} ml",
            f"smoothness of the residuals: {widths} mm FWHM, {self.smoothness.resels:.0f} resels",
        ]
        return "\n".join([*lines, *filter(None, [self.head_size]), *map(str, self.odd)])


def read_scans(study) -> Scans:
    """Find the grey-matter maps of a study, pair them and check their grids.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Scans

    Raises
    ------
    StudyError
        As `find_maps`, `pair_maps` and `check_grids` do.
    """
    participants = read_participants(study)
    images = find_maps(study, participants)
    scans = Scans(study, participants, images, pair_maps(study, participants, images))
    check_grids([*scans.analysed["pre"], *scans.analysed["post"]])
    return scans


def smooth(scans, fwhm_mm, mask_threshold, tiv="none") -> Maps:
    """Smooth the maps of those analysed, and keep the voxels with enough grey matter.

    Parameters
    ----------
    scans : Scans
    fwhm_mm, mask_threshold : float
        See `smooth_in_mask`.
    tiv : {"none", "covariate", "proportional"}
        See `adjust_for_tiv`.

    Raises
    ------
    StudyError
        With the errors of `content.problems`.
    """
    odd = content.problems(scans.study, scans.participants)
    if wrong := [problem for problem in odd if problem.severity == "error"]:
        raise StudyError(wrong)
    odd = unnamed(odd, scans.study.accept) if scans.study.protected else odd
    people = scans.analysed
    affine = check_grids([*people["pre"], *people["post"]])
    values, mask = smooth_in_mask([*people["pre"], *people["post"]], fwhm_mm, mask_threshold)
    covariates, blocks = design_columns(scans.study, scans.participants, people["participant_id"])
    maps, (size, words) = (values[: len(people)], values[len(people) :]), _head_size(scans, tiv)
    (pre, post), covariates = adjust_for_tiv(maps, covariates, size, tiv)
    people, contrasts = people[["participant_id", "arm"]], scans.study.contrasts
    return Maps(people, pre, post, mask, affine, covariates, blocks, words, tuple(odd), contrasts)


def _head_size(scans, tiv):
    """TIV of those analysed, and where it is from in words."""
    who = scans.analysed["participant_id"]
    if tiv == "none":
        return None, ""
    images = scans.images[scans.images["participant_id"].isin(who)]
    size = total_intracranial_volume(scans.study, scans.participants, images)
    if size is None:
        return None, ""
    words = "\n".join([f"TIV from {size.attrs['source']}", *size.attrs["problems"]])
    return size.loc[who], words
