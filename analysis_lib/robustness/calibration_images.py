"""S1, p-values of change and of receptors: null maps with the study's own spatial covariance.

A null map of n participants is Y = G R / sqrt(m - k): R are m maps of residuals of the study's own
change (covariates and strata out, k columns), G is n x m standard normal. Each simulated map is
then normal with the covariance that the residuals show, and no contrast has an effect. R is the
control arm's: what patients respond differently to a treatment that works is no noise under a true
null, and in the active arm's residuals it is (in the demo it follows D1, as planted).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import ndimage

from analysis_lib.atlas.distances import homologues
from analysis_lib.receptors import correlation, nulls
from analysis_lib.receptors.effects import effect_map, nuisance_columns, residuals
from analysis_lib.receptors.inputs import read_inputs
from analysis_lib.receptors.slopes import slope_test
from analysis_lib.receptors.together import SURROGATES
from analysis_lib.results.contrasts import CONTRASTS
from analysis_lib.results.problems import NotComputed
from analysis_lib.results.section import Section
from analysis_lib.robustness.calibration import skewed
from analysis_lib.robustness.calibration_clinical import ACTIVE_SD, SKEWED
from analysis_lib.vbm.contrasts import contrast_test, model_columns
from analysis_lib.vbm.region_tests import read_region_changes
from analysis_lib.vbm.scans import read_scans, smooth
from voxelperm import STATISTICS

SMOOTHER, SYMMETRIC = "smoothness 8 v 16 mm", "symmetric change"
RESPONSE = "noise of both arms, with individual response"
FEWEST_DF = 10  # of the control arm's residuals
ARTEFACTS = {  # of a measure of anatomy, as benchmarks/spatial_nulls.py has them
    "artefact near the ventricles": ("ventricle_distance", lambda d: np.exp(-d / 10)),
    "artefact at the edge of the brain": ("depth", lambda d: np.exp(-d / 10)),
    "artefact of small regions": ("log_size", np.negative),
    "artefact of little grey matter": ("grey_density", np.negative),
}
SIZE = 2  # SD of an artefact over that of the noise of the effect map
TO_16_MM = np.sqrt(16**2 - 8**2)  # FWHM that takes 8 mm to 16 mm
VOXELS_PER_FWHM = 3  # of the coarser grid: the least with which smooth maxima are still found
OF_VOXELS = {"max_t": ("t", "max-t"), "cluster_extent": ("cluster", "cluster extent")}
OF_VOXELS |= {"cluster_mass": ("mass", "cluster mass"), "tfce": ("tfce", "TFCE")}
SIGMA = 1 / np.sqrt(8 * np.log(2))  # of a kernel, by its FWHM


@dataclass(frozen=True)
class Noise:
    """Residuals (m, n_places) and their degrees of freedom."""

    residuals: np.ndarray
    df: int

    @property
    def sd(self):
        """At each place."""
        return np.sqrt(np.square(self.residuals).sum(axis=0) / self.df)

    def draw(self, n, rng):
        """Null maps of n participants, (n, n_places)."""
        mixed = rng.standard_normal((n, len(self.residuals))) / np.sqrt(self.df)
        return mixed @ self.residuals

    def at(self, kept):
        """The same at some places alone."""
        return Noise(self.residuals[:, kept], self.df)


@dataclass(frozen=True)
class NullMaps:
    """What null maps of a study are drawn from."""

    own: Noise  # of the control arm, or of all where it is small or there is none
    both: Noise  # of both arms, individual response included
    smoother: Noise  # as own, smoothed further, of the same SD at each place
    active: np.ndarray  # bool, (n,)

    def draw(self, assumption, rng):
        """A null map of each participant, (n, n_places)."""
        source = self.both if assumption == RESPONSE else self.own
        change, n_active = source.draw(len(self.active), rng), int(self.active.sum())
        if assumption == SMOOTHER:
            change[self.active] = self.smoother.draw(n_active, rng)
        if assumption == ACTIVE_SD:
            change[self.active] *= 2
        if assumption == SKEWED:
            sd = np.where(source.sd > 0, source.sd, np.inf)
            change = source.sd * skewed(change / sd)
        return change

    def at(self, kept):
        """The same at some places alone."""
        return NullMaps(self.own.at(kept), self.both.at(kept), self.smoother.at(kept), self.active)


def null_maps(change, arm, columns, smoothed) -> NullMaps:
    """From change (n, n_places); ``columns`` are nuisance columns with an intercept."""
    change, active = np.asarray(change, float), np.asarray(arm) == "active"
    both = _noise(change, np.column_stack([columns, active]))
    control = _noise(change[~active], columns[~active])
    own = control if control.df >= FEWEST_DF else both
    wide = smoothed(own.residuals)
    spread = np.sqrt(np.square(wide).sum(axis=0) / own.df)
    scale = np.divide(own.sd, spread, out=np.zeros_like(spread), where=spread > 0)
    return NullMaps(own, both, Noise(wide * scale, own.df), active)


def _noise(change, held):
    rest = residuals(held, change) if len(change) else change
    return Noise(rest, len(rest) - np.linalg.matrix_rank(held) if len(change) else 0)


@dataclass(frozen=True)
class Places:
    """Voxels of a coarser grid, or regions: family-wise p of notebook 02."""

    name: str  # of the family
    nulls: NullMaps
    mask: np.ndarray
    arm: np.ndarray
    covariates: pd.DataFrame
    blocks: np.ndarray | None
    contrasts: tuple
    settings: dict  # of the notebook's run
    statistics: tuple
    assumptions: tuple
    n_permutations: int
    words: str
    maps = ()

    def draw(self, assumption, rng) -> dict:
        """Smallest family-wise p of each statistic in each contrast of one simulated trial."""
        change, found = self.nulls.draw(assumption, rng).astype(np.float32), {}
        options = {"n_permutations": self.n_permutations, "seed": int(rng.integers(2**31))}
        options |= {k: self.settings[k] for k in ("cluster_p", "tail") if k in self.settings}
        model = (change, self.mask, self.arm, self.covariates, self.blocks)
        for contrast in self.contrasts:
            errors = self.settings["errors_within" if CONTRASTS[contrast].within else "errors"]
            test = contrast_test(
                contrast, *model, errors=errors, statistics=self.statistics, **options
            )
            for statistic in self.statistics:
                column, words = OF_VOXELS[statistic]
                key = (f"{words}, family-wise", "vbm", f"p_fwe_{column}", contrast)
                found[key] = test.p[statistic].min()
        return found


def read_voxels(study, n_permutations=199) -> Places:
    """Smoothed maps as notebook 02 had them, on a grid that is no finer than smoothness asks for.

    Every k-th voxel along each axis: a third of the smoothness of the residuals (FWHM) at most.
    Maxima and clusters of maps as smooth as that are nearly those of the full grid.
    """
    if study.imaging is None or study.regional:
        raise NotComputed("grey-matter maps expected, found none: 02 tests no voxels here")
    settings = _settings(study, "vbm")
    maps = smooth(read_scans(study), *(settings[k] for k in ("fwhm_mm", "mask_threshold", "tiv")))
    voxel = np.linalg.norm(maps.affine[:3, :3], axis=0)
    step = max(1, int(min(maps.smoothness_mm) / VOXELS_PER_FWHM / voxel.max()))
    every = np.zeros(maps.mask.shape, bool)
    every[::step, ::step, ::step] = True
    columns = _with_intercept(len(maps.change), maps.columns)

    def smoothed(rest):
        return np.stack([_smooth(row, maps.mask, TO_16_MM * SIGMA / voxel) for row in rest])

    kept = every[maps.mask]
    coarse = null_maps(maps.change, maps.arm, columns, smoothed).at(kept)
    words = f"{kept.sum()} of {len(kept)} voxels, {step * voxel.max():g} mm apart; smoothness of "
    words += f"the residuals {min(maps.smoothness_mm):.0f} mm"
    mask, fails = maps.mask[::step, ::step, ::step], _failing(study, SMOOTHER)
    model = (mask, maps.arm.to_numpy(), maps.covariates, maps.blocks, maps.contrasts)
    return Places("voxels", coarse, *model, settings, STATISTICS, fails, n_permutations, words)


def _with_intercept(n, columns):
    return np.column_stack([np.ones(n), *([] if columns is None else [columns])])


def _settings(study, name):
    """Those that a notebook was run with."""
    before = Section(study, name)
    if not before.is_there:
        raise NotComputed(f"results of an earlier notebook in {name}/ expected, found none")
    return before.json("settings")


def _failing(study, *of_arms):
    """Assumptions that can fail: arms differ only where there are two."""
    return (ACTIVE_SD, *of_arms, RESPONSE, SKEWED) if study.arms else (SKEWED,)


def _smooth(values, mask, sigma):
    whole = np.zeros(mask.shape)
    whole[mask] = values
    return ndimage.gaussian_filter(whole, sigma)[mask]


def read_regions(study, n_permutations=199) -> Places:
    """Changes by region that a table gave: notebook 02 without voxels."""
    if not study.regional:
        raise NotComputed("a table of regional changes expected, found none: 02 tests voxels")
    changes, settings = read_region_changes(study), _settings(study, "vbm")
    people, columns = changes.people["arm"].to_numpy(), (changes.covariates, changes.blocks)
    held = _with_intercept(len(people), model_columns(*columns))
    maps = null_maps(changes.change, people, held, lambda rest: rest)
    mask = np.ones((changes.change.shape[1], 1, 1), bool)
    model, words = (mask, people, *columns, study.contrasts), f"{mask.size} regions"
    fails = _failing(study)
    return Places("regions", maps, *model, settings, ("max_t",), fails, n_permutations, words)


@dataclass(frozen=True)
class Receptors:
    """Regional change and receptor maps: the p-values of notebook 03."""

    inputs: object  # analysis_lib.receptors.inputs.Inputs
    nulls: NullMaps
    settings: dict
    apart: np.ndarray  # distances, mirrored
    homologue: np.ndarray
    n_permutations: int
    words: str
    name = "receptors"

    @property
    def maps(self):
        """Receptor maps."""
        return tuple(self.inputs.maps.index)

    @property
    def assumptions(self):
        """Those that can fail here."""
        known = [k for k, (measure, _) in ARTEFACTS.items() if measure in self.inputs.anatomy.index]
        return (*_failing(self.inputs.study, SMOOTHER), SYMMETRIC, *known)

    def draw(self, assumption, rng) -> dict:
        """p of each receptor map under each null, and family-wise, in one simulated trial."""
        change = self.nulls.draw(assumption, rng)
        if assumption == SYMMETRIC:
            change = (change + change[:, self.homologue]) / np.sqrt(2)
        if assumption in ARTEFACTS:
            change[self.nulls.active] += self._artefact(assumption)
        seed, found = int(rng.integers(2**31)), {}
        for contrast in self.inputs.study.contrasts:
            found |= self._tests(contrast, change, seed)
        return found

    def _artefact(self, assumption):
        """Change by region that head anatomy makes in the active arm, nothing else."""
        measure, made = ARTEFACTS[assumption]
        shape = made(self.inputs.anatomy.loc[measure].to_numpy(float))
        n = self.nulls.active.sum(), (~self.nulls.active).sum()
        noise = np.sqrt(np.square(self.nulls.own.sd).mean() * sum(1 / k for k in n if k))
        return SIZE * noise * (shape - shape.mean()) / shape.std()

    def _tests(self, contrast, change, seed):
        arm, maps, method = self.inputs.arm, self.inputs.maps, self.settings["statistic"]
        effect = effect_map(change, arm, contrast, **self.inputs.model)
        made = SURROGATES[self.settings["null"]](effect, self.apart, self.n_permutations, seed)
        slopes = correlation.patient_slopes(change, maps, method)
        options = {"n_permutations": self.n_permutations, "seed": seed, **self.inputs.model}
        trial = slope_test(slopes, arm, contrast, **options)
        plain = nulls.spatial_test(effect, maps, made, method)
        held = correlation.gaussianise(self.inputs.anatomy)
        beyond = partial(correlation.correlate, given=held)
        given = nulls.spatial_test(effect, maps, made, method, beyond)
        n = correlation.n_covered(effect, maps)
        tests = {
            "no treatment effect": ("p_randomisation", trial.p),
            "no treatment effect, family-wise": ("p_fwe", trial.p_fwe.min()),
            "equally smooth maps": ("p_spatial", plain.p),
            "equally smooth maps, family-wise": ("p_fwe_spatial", plain.p_fwe.min()),
            "anatomy held constant": ("p_spatial_anatomy", given.p),
            "anatomy held constant, family-wise": ("p_fwe_spatial_anatomy", given.p_fwe.min()),
            "regions as if independent": ("p_parametric", nulls.parametric_p(plain.r, n)),
        }
        file = "receptors/correlations.tsv"
        return {(words, file, column, contrast): p for words, (column, p) in tests.items()}


def read_receptors(study, n_permutations=199) -> Receptors:
    """Regional change and receptor maps as notebook 03 had them."""
    if not study.has_change or study.effect:
        raise NotComputed("changes of participants expected, found none: 03 has none to simulate")
    settings = _settings(study, "receptors")
    chosen = {name: settings[name] for name in ("structure", "background", "tracers")}
    inputs = read_inputs(study, **chosen)
    columns = nuisance_columns(len(inputs.change), **inputs.model)
    near = inputs.distances("centroid")
    kernel = np.exp(-(near**2) / 2 / (TO_16_MM * SIGMA) ** 2)
    maps = null_maps(inputs.change, inputs.arm, columns, lambda rest: rest @ kernel)
    apart = inputs.mirrored(settings["distances"])[0]
    pairs = homologues(inputs.parcels, inputs.change.columns)
    words = f"{len(inputs.maps)} receptor maps, {inputs.change.shape[1]} regions"
    return Receptors(inputs, maps, settings, apart, pairs, n_permutations, words)
