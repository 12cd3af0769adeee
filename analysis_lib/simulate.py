"""A simulated trial with a known truth, written as a BIDS dataset.

Clinical scores and grey-matter maps of a sham-controlled rTMS trial. The active arm's grey matter
grows where dopamine D1 receptors are dense, by an amount that the truth beside the data states.
Nothing here comes from patients.
"""

import gzip
import json
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_gm_template
from nilearn.image import resample_img
from scipy import ndimage
from scipy.stats import norm

from analysis_lib.atlas import labels_on_grid, load_atlas
from analysis_lib.items import HAMD17_ITEMS

VISITS = {"baseline": 0, "week1": 1, "week2": 2, "week3": 3}
SPACE = "MNI152NLin2009aSym"  # the template that nilearn packages
STEP = 1e-4  # maps are rounded to this and stored as integers
TOP_VALUE = 1.3  # largest value of a map
TEMPLATE_ML = 1008.2  # volume of the template
SIMULATED = "SIMULATED data: no patient, no scanner. Made by analysis_lib.simulate."

# Weight of each class of regions relative to the putamen, two digits. They are voxel-weighted means
# of the [11C]SCH23390 binding map of 13 healthy volunteers (Kaller et al. 2017, Eur J Nucl Med Mol
# Imaging 44:1025-1032, doi 10.1007/s00259-017-3645-0) over neuromorphometrics regions; the order,
# striatum >> limbic > neocortex > cerebellum, is also that of autoradiography (Hall et al. 1994,
# Neuropsychopharmacology 11:245-256). One class departs from the map: "occipital" has the value of
# the lateral and polar gyri (the medial ones are .22 in the map), so that one whole lobe is without
# a planted change.
_D1_TABLE = (
    ("putamen", 1.00, ("Putamen",)),
    ("caudate", 0.79, ("Caudate",)),
    ("accumbens", 0.77, ("Accumbens Area",)),
    ("pallidum", 0.51, ("Pallidum",)),
    ("ventromedial prefrontal", 0.32, ("medial frontal cortex", "gyrus rectus")),
    ("insula", 0.31, ("anterior insula", "posterior insula")),
    ("anterior cingulate", 0.30, ("anterior cingulate gyrus",)),
    ("basal forebrain", 0.29, ("Basal Forebrain", "subcallosal area")),
    (
        "middle and posterior cingulate",
        0.27,
        ("middle cingulate gyrus", "posterior cingulate gyrus"),
    ),
    ("fusiform", 0.26, ("fusiform gyrus",)),
    ("amygdala", 0.25, ("Amygdala",)),
    (
        "opercula and planum temporale",
        0.25,
        (
            "central operculum",
            "frontal operculum",
            "parietal operculum",
            "planum polare",
            "planum temporale",
            "transverse temporal gyrus",
        ),
    ),
    ("precuneus", 0.24, ("precuneus",)),
    (
        "orbitofrontal",
        0.24,
        (
            "anterior orbital gyrus",
            "lateral orbital gyrus",
            "medial orbital gyrus",
            "posterior orbital gyrus",
            "orbital part of the inferior frontal gyrus",
        ),
    ),
    (
        "lateral temporal",
        0.21,
        (
            "superior temporal gyrus",
            "middle temporal gyrus",
            "inferior temporal gyrus",
            "temporal pole",
        ),
    ),
    (
        "inferior frontal",
        0.19,
        (
            "opercular part of the inferior frontal gyrus",
            "triangular part of the inferior frontal gyrus",
        ),
    ),
    ("thalamus", 0.18, ("Thalamus Proper",)),
    ("supplementary motor", 0.18, ("supplementary motor cortex",)),
    ("hippocampus", 0.18, ("Hippocampus",)),
    ("frontal pole", 0.17, ("frontal pole",)),
    ("dorsolateral prefrontal", 0.16, ("middle frontal gyrus",)),
    (
        "superior frontal",
        0.16,
        ("superior frontal gyrus", "superior frontal gyrus medial segment"),
    ),
    ("parahippocampal", 0.16, ("parahippocampal gyrus", "entorhinal area")),
    ("inferior parietal", 0.16, ("angular gyrus", "supramarginal gyrus")),
    ("superior parietal", 0.12, ("superior parietal lobule",)),
    (
        "occipital",
        0.12,
        (
            "calcarine cortex",
            "cuneus",
            "lingual gyrus",
            "occipital fusiform gyrus",
            "inferior occipital gyrus",
            "middle occipital gyrus",
            "superior occipital gyrus",
            "occipital pole",
        ),
    ),
    (
        "pre- and postcentral",
        0.11,
        (
            "precentral gyrus",
            "precentral gyrus medial segment",
            "postcentral gyrus",
            "postcentral gyrus medial segment",
        ),
    ),
    ("brain stem", 0.07, ("Brain Stem", "Ventral DC")),
    (
        "cerebellum",
        0.02,
        (
            "Cerebellum Exterior",
            "Cerebellar Vermal Lobules I-V",
            "Cerebellar Vermal Lobules VI-VII",
            "Cerebellar Vermal Lobules VIII-X",
        ),
    ),
)
D1_WEIGHTS = {name: weight for name, weight, _ in _D1_TABLE}
D1_REGIONS = {name: regions for name, _, regions in _D1_TABLE}

# The items of HAMD-17: what they rate, highest score, how early an item rises.
_RISES = (1.2, 0.3, -0.6, 0.6, 0.5, 0.4, 1.0, -0.2, -0.5, 0.6, 0.2, 0.1, 0.8, 0.4, -0.7, -0.4, -0.8)
HAMD_ITEMS = tuple(
    (what, top, rises) for (what, top), rises in zip(HAMD17_ITEMS, _RISES, strict=True)
)


@dataclass(frozen=True)
class Plan:
    """Everything that is planted, and how noisy it is.

    Grey matter in percent of the pre-treatment map, volumes in ml, scores in scale points, one
    number a visit after baseline where there are three.
    """

    top_percent: float = 6.0  # change where the D1 weight is 1
    lowest_weight: float = 0.15  # no change below this weight
    z_slope: float = 0.5  # a patient's change is planted x (1 + z_slope z)
    z_correlation: float = 0.6  # of z with latent HAMD-17 improvement at the last visit
    noise_sd: float = 1.0  # of post - pre at a voxel, after smoothing
    noise_fwhm: tuple = (14.0, 30.0)  # mm, after smoothing
    noise_share: tuple = (0.7, 0.3)  # of the variance
    global_sd: float = 0.3  # of the whole map, beside noise_sd
    smoothing: float = 8.0  # mm, the smoothing that the noise numbers refer to
    ratio_mean: float = 0.65  # volume of a map / volume of the template
    ratio_sd: float = 0.07  # before volumes outside grey_ml are left out
    grey_ml: tuple = (505.0, 775.0)  # before treatment; leaves room for the change
    tiv_ml: tuple = (1200.0, 1750.0)
    anatomy_sd: float = 0.08  # share of local volume, between participants
    anatomy_fwhm: float = 20.0  # mm
    baseline_mean: float = 22.5  # HAMD-17, before the lowest are left out
    baseline_sd: float = 4.2
    baseline_lowest: float = 17.0  # inclusion criterion
    baseline_slope: float = 0.85  # of later scores on baseline
    change_control: tuple = (-2.5, -4.5, -6.0)  # HAMD-17, mean change
    arm_difference: tuple = (-1.2, -3.0, -4.5)  # HAMD-17, active - control
    residual_sd: tuple = (3.2, 4.4, 5.3)
    residual_correlation: tuple = (0.68, 0.55)  # one visit apart, two visits apart
    hama_intercept: float = 3.5
    hama_slope: float = 0.72  # points of HAMA for a point of HAMD-17
    hama_person_sd: float = 3.0
    hama_visit_sd: float = 2.0

    @property
    def baseline_expected(self):
        """Mean HAMD-17 at baseline of those included."""
        cut = (self.baseline_lowest - 0.5 - self.baseline_mean) / self.baseline_sd
        return self.baseline_mean + self.baseline_sd * norm.pdf(cut) / norm.sf(cut)


@dataclass(frozen=True)
class Trial:
    """A simulated trial without its maps, which :func:`simulate_pair` makes one by one.

    Attributes
    ----------
    participants : pandas.DataFrame
        One row a participant: participant_id, number, arm (active or sham), age, sex, tiv (ml),
        withdrawn_after, guess, z, grey_ml (planned volume before treatment).
    scores : pandas.DataFrame
        One row a rating: participant_id, session_id, hamd17, hama, item_01 to item_17; missing at
        a missed visit.
    template, planted : nibabel.Nifti1Image
        Grey-matter template (0 to 1) and planted change (percent) on the maps' grid.
    truth : dict
        What truth.json holds.
    """

    seed: int
    plan: Plan
    participants: pd.DataFrame
    scores: pd.DataFrame
    template: nib.Nifti1Image
    planted: nib.Nifti1Image
    truth: dict = field(repr=False)


@dataclass(frozen=True)
class ChangeMaps:
    """A simulated trial with its maps in memory.

    Attributes
    ----------
    participants, scores, template, planted, truth
        As in :class:`Trial`; participants are those with two maps.
    pre, post : numpy.ndarray of float32, shape (n_participants, *grid)
        Unsmoothed maps, the same numbers as :func:`simulate_study` writes.
    """

    participants: pd.DataFrame
    scores: pd.DataFrame
    template: nib.Nifti1Image
    planted: nib.Nifti1Image
    truth: dict = field(repr=False)
    pre: np.ndarray = field(repr=False)
    post: np.ndarray = field(repr=False)


# ---- where the change is planted


def grey_matter_template(resolution=3):
    """nilearn's packaged MNI grey-matter template: probability 0 to 1, no download.

    Parameters
    ----------
    resolution : float
        Voxel size, mm; any positive number.

    Returns
    -------
    nibabel.Nifti1Image
        float32; linear interpolation of the 1 mm template where ``resolution`` is not 1.
    """
    if not 1 <= resolution <= 10:
        raise ValueError(f"resolution: voxel size from 1 to 10 mm expected, found {resolution}")
    image = load_mni152_gm_template(resolution=1)
    if resolution != 1:
        image = resample_img(
            image,
            np.eye(3) * resolution,
            interpolation="linear",
            force_resample=True,
            copy_header=True,
        )
    return _mni_image(np.clip(image.get_fdata(dtype=np.float32), 0, 1), image.affine)


def d1_map(grid):
    """The table of D1 weights as an image.

    Parameters
    ----------
    grid : nibabel image
        Gives shape and affine (MNI).

    Returns
    -------
    nibabel.Nifti1Image
        float32: weight relative to the putamen in each region and within 10 mm of one, 0 beyond.
    """
    return _mni_image(_weights_on(grid).astype(np.float32), grid.affine)


def planted_change(grid, plan=None):
    """Percent change planted in an average active patient, unsmoothed.

    top_percent x sqrt(weight), and exactly 0 where the weight is below lowest_weight.

    Parameters
    ----------
    grid : nibabel image
    plan : Plan, optional

    Returns
    -------
    nibabel.Nifti1Image
        float32, percent of the pre-treatment map.
    """
    percent = percent_change(_weights_on(grid), plan or Plan())
    return _mni_image(percent.astype(np.float32), grid.affine)


def percent_change(weight, plan):
    """Planted percent change for a D1 weight (number or array)."""
    weight = np.asarray(weight, dtype=float)
    return np.where(weight < plan.lowest_weight, 0.0, plan.top_percent * np.sqrt(weight))


def _weights_on(grid, reach=10.0):
    """Weight of the nearest labelled grey matter at every voxel, 0 beyond `reach` mm of one."""
    table = load_atlas("neuromorphometrics").table
    weight_of = {region: D1_WEIGHTS[k] for k, regions in D1_REGIONS.items() for region in regions}
    by_label = np.full(table.index.max() + 1, np.nan)
    by_label[table.index] = table["region"].map(weight_of)
    weights = by_label[labels_on_grid("neuromorphometrics", grid.shape, grid.affine)]
    # The template has grey matter at voxels that the atlas calls white matter or leaves empty.
    distance, nearest = ndimage.distance_transform_edt(
        np.isnan(weights), sampling=nib.affines.voxel_sizes(grid.affine), return_indices=True
    )
    return np.where(distance <= reach, weights[tuple(nearest)], 0.0)


def smooth_percent(percent, template, fwhm_mm):
    """Percent change that remains after smoothing: smooth(template x percent) / smooth(template).

    Parameters
    ----------
    percent, template : nibabel image
        On one grid.
    fwhm_mm : float

    Returns
    -------
    nibabel.Nifti1Image
        float32; 0 where there is no grey matter within reach of the kernel.
    """
    grey = template.get_fdata()
    sigma = _sigma(fwhm_mm, template.affine)
    above = ndimage.gaussian_filter(grey * percent.get_fdata(), sigma, mode="constant")
    below = ndimage.gaussian_filter(grey, sigma, mode="constant")
    smoothed = np.divide(above, below, out=np.zeros_like(above), where=below > 1e-6)
    return _mni_image(smoothed.astype(np.float32), template.affine)


# ---- participants and scores


def simulate_trial(
    *,
    seed=1,
    resolution=3,
    null=False,
    n_active=18,
    n_control=18,
    n_withdrawn=2,
    n_missed=4,
    plan=None,
):
    """Draw a trial: participants, scores, and what is planted in the maps.

    Each participant has random numbers of their own, keyed by the seed and their number, so that
    age, residuals and noise do not depend on how many others there are.

    Parameters
    ----------
    seed : int
    resolution : float
        Voxel size of the maps, mm.
    null : bool
        Plant nothing: no change of grey matter, no difference between the arms in any score.
    n_active, n_control : int
        Participants randomised.
    n_withdrawn : int
        Participants who leave after baseline, week 1 or week 2: no later scores, no second map.
    n_missed : int
        Ratings missed at week 1 or week 2 by participants who stay.
    plan : Plan, optional

    Returns
    -------
    Trial

    Raises
    ------
    ValueError
        If the arms are too small for the withdrawals and missed visits.
    """
    plan = plan or Plan()
    _check_sizes(n_active, n_control, n_withdrawn, n_missed)
    participants = _draw_participants(seed, plan, n_active, n_control)
    latent = _draw_latent(seed, plan, participants, null)
    participants = participants.assign(z=latent["z"])
    withdrawn, missed = _draw_missing(seed, participants, n_withdrawn, n_missed)
    participants["withdrawn_after"] = participants["participant_id"].map(withdrawn)
    participants["guess"] = _draw_guesses(seed, participants, null)
    scores = _draw_scores(seed, participants, latent, withdrawn, missed)
    template = grey_matter_template(resolution)
    planted = planted_change(template, plan)
    if null:
        planted = _mni_image(np.zeros(planted.shape, dtype=np.float32), planted.affine)
    truth = _truth(seed, plan, resolution, null, participants, missed)
    return Trial(seed, plan, participants, scores, template, planted, truth)


def _check_sizes(n_active, n_control, n_withdrawn, n_missed):
    if min(n_active, n_control) < 2:
        raise ValueError(f"n_active, n_control: 2 or more expected, found {n_active}, {n_control}")
    if min(n_withdrawn, n_missed) < 0:
        raise ValueError(f"n_withdrawn, n_missed: 0 or more, found {n_withdrawn}, {n_missed}")
    stay = n_active + n_control - n_withdrawn
    if n_withdrawn > min(n_active, n_control) or n_missed > 2 * stay:
        raise ValueError(
            f"{n_withdrawn} withdrawals and {n_missed} missed visits do not fit "
            f"{n_active} + {n_control} participants: ask for fewer, or for larger arms"
        )


def _generator(seed, number, purpose):
    """Random numbers for one participant (0: the whole study) and one purpose."""
    purposes = ("person", "latent", "guess", "items", "anatomy", "noise", "missing", "conduct")
    key = (number, purposes.index(purpose))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _draw_participants(seed, plan, n_active, n_control):
    arms = np.repeat(["active", "sham"], [n_active, n_control])
    arms = _generator(seed, 0, "person").permutation(arms)
    rows = [_person(seed, plan, number) for number in range(1, len(arms) + 1)]
    return pd.DataFrame(rows).assign(arm=arms)


def _person(seed, plan, number):
    """Age, sex and head size; grey matter grows with head size and shrinks with age."""
    random = _generator(seed, number, "person")
    female = bool(random.random() < 0.6)
    age = int(_truncated(random, 38, 11, 18, 65))
    tiv = _truncated(random, 1390 if female else 1540, 85, *plan.tiv_ml)
    related = 0.6 * (tiv - 1450) / 112 - 0.4 * (age - 38) / 11  # 1450 and 112: both sexes
    mean, own = plan.ratio_mean + plan.ratio_sd * related, np.sqrt(1 - 0.6**2 - 0.4**2)
    grey = _truncated(random, mean * TEMPLATE_ML, own * plan.ratio_sd * TEMPLATE_ML, *plan.grey_ml)
    return {
        "participant_id": f"sub-{number:03d}",
        "number": number,
        "age": age,
        "sex": "F" if female else "M",
        "tiv": round(tiv, 1),
        "grey_ml": grey,
    }


def _truncated(random, mean, sd, low, high=np.inf):
    """One draw from a normal distribution cut off at low and high."""
    start, end = norm.cdf((np.array([low, high]) - mean) / sd)
    return float(mean + sd * norm.ppf(start + (end - start) * random.random()))


def _draw_latent(seed, plan, participants, null):
    """HAMD-17 and HAMA before rounding, arrays (n_participants, 4 visits); z (n_participants,)."""
    lag1, lag2 = plan.residual_correlation
    root = np.linalg.cholesky(np.array([[1, lag1, lag2], [lag1, 1, lag1], [lag2, lag1, 1]]))
    rows = []
    for number, arm in zip(participants["number"], participants["arm"], strict=True):
        random = _generator(seed, number, "latent")
        residual = root @ random.standard_normal(3)
        effect = np.array(plan.arm_difference) * (arm == "active" and not null)
        hamd = _hamd_row(plan, random, residual, effect)
        rows.append((hamd, _hama_row(plan, random, hamd), _z(plan, random, residual)))
    hamd, hama, z = zip(*rows, strict=True)
    return {"hamd17": np.array(hamd), "hama": np.array(hama), "z": np.array(z)}


def _hamd_row(plan, random, residual, effect):
    lowest = plan.baseline_lowest - 0.5
    baseline = _truncated(random, plan.baseline_mean, plan.baseline_sd, lowest)
    expected = plan.baseline_expected
    later = expected + plan.baseline_slope * (baseline - expected)
    later = later + np.array(plan.change_control) + effect + np.array(plan.residual_sd) * residual
    return np.concatenate([[baseline], later])


def _hama_row(plan, random, hamd):
    person = plan.hama_person_sd * random.standard_normal()
    visit = plan.hama_visit_sd * random.standard_normal(len(hamd))
    return plan.hama_intercept + plan.hama_slope * hamd + person + visit


def _z(plan, random, residual):
    """Standard normal; correlated with improvement beyond the arm's mean at the last visit."""
    rho = plan.z_correlation
    return -rho * residual[-1] + np.sqrt(1 - rho**2) * random.standard_normal()


def _draw_missing(seed, participants, n_withdrawn, n_missed):
    """Who leaves after which visit (dict), and which ratings are missed (set of pairs)."""
    random = _generator(seed, 0, "missing")
    leavers = []
    for turn in range(n_withdrawn):  # arms take turns, so that neither arm is emptied
        arm = participants.loc[participants["arm"] == ("active", "sham")[turn % 2]]
        left = [name for name in arm["participant_id"] if name not in leavers]
        leavers.append(left[random.integers(len(left))])
    withdrawn = {name: list(VISITS)[random.integers(3)] for name in leavers}
    stay = [name for name in participants["participant_id"] if name not in withdrawn]
    could = [(name, visit) for name in stay for visit in ("week1", "week2")]
    chosen = random.choice(len(could), size=n_missed, replace=False)
    return withdrawn, {could[k] for k in chosen}


def _draw_guesses(seed, participants, null):
    """What each participant believes to have received, asked at the last visit."""
    answers = np.array(["active", "sham", "unknown"])
    chance = {"active": (0.5, 0.2, 0.3), "sham": (0.35, 0.35, 0.3)}
    guesses = []
    for row in participants.itertuples():
        random = _generator(seed, row.number, "guess")
        guess = answers[random.choice(3, p=chance["sham" if null else row.arm])]
        guesses.append(guess if pd.isna(row.withdrawn_after) else None)
    return guesses


def _draw_scores(seed, participants, latent, withdrawn, missed):
    rows = []
    for k, person in enumerate(participants.itertuples()):
        name = person.participant_id
        keys = _item_keys(_generator(seed, person.number, "items"))
        for v, visit in enumerate(_attended(withdrawn.get(name))):
            hamd, hama = _score(latent["hamd17"][k, v], 52), _score(latent["hama"][k, v], 56)
            row = {"hamd17": hamd, "hama": hama, **_items(hamd, keys[v])}
            if (name, visit) in missed:
                row = dict.fromkeys(row)
            rows.append({"participant_id": name, "session_id": f"ses-{visit}", **row})
    scores = pd.DataFrame(rows)
    numbers = [c for c in scores if c not in ("participant_id", "session_id")]
    return scores.astype(dict.fromkeys(numbers, "Int64"))


def _attended(withdrawn_after):
    visits = list(VISITS)
    return visits[: visits.index(withdrawn_after) + 1] if withdrawn_after in VISITS else visits


def _score(latent, top):
    return int(np.clip(np.rint(latent), 0, top))


def _item_keys(random):
    """How readily each point of each item is given at each visit: (4 visits, 52 points)."""
    points = np.repeat(np.arange(len(HAMD_ITEMS)), [top for _, top, _ in HAMD_ITEMS])
    readiness = np.array([rises for _, _, rises in HAMD_ITEMS])
    person = 0.8 * random.standard_normal(len(HAMD_ITEMS))
    level = np.concatenate([np.arange(top) / top for _, top, _ in HAMD_ITEMS])
    noise = 0.5 * random.standard_normal((len(VISITS), len(points)))
    return (readiness + person)[points] - 2.5 * level + noise


def _items(total, keys):
    """Item scores that add up to the total: the points with the highest keys are given."""
    points = np.repeat(np.arange(len(HAMD_ITEMS)), [top for _, top, _ in HAMD_ITEMS])
    given = points[np.argsort(-keys)[:total]]
    counts = np.bincount(given, minlength=len(HAMD_ITEMS))
    return {f"item_{k:02d}": int(n) for k, n in enumerate(counts, start=1)}


def _truth(seed, plan, resolution, null, participants, missed):
    off = 0.0 if null else 1.0
    hamd = {v: off * d for v, d in zip(list(VISITS)[1:], plan.arm_difference, strict=True)}
    scanned = participants["withdrawn_after"].isna()
    treated = participants.loc[scanned & (participants["arm"] == "active"), "z"]
    people = ["participant_id", "arm", "z", "withdrawn_after", "grey_ml"]
    rounded = participants[people].round({"z": 6, "grey_ml": 3})
    records = rounded.astype(object).where(rounded.notna(), None)
    return {
        "description": f"What is planted. {SIMULATED}",
        "seed": seed,
        "null": null,
        "resolution_mm": resolution,
        "plan": asdict(plan),
        "arm_difference": {
            "description": "active - sham, scale points, before rounding and the limits of a scale",
            "HAMD-17": hamd,
            "HAMA": {visit: round(plan.hama_slope * d, 6) for visit, d in hamd.items()},
        },
        "d1": [
            {
                "class": name,
                "weight": weight,
                "percent": round(off * float(percent_change(weight, plan)), 3),
                "regions": list(D1_REGIONS[name]),
            }
            for name, weight in D1_WEIGHTS.items()
        ],
        "mean_z_active_scanned": round(float(treated.mean()), 6),
        "missed": sorted(f"{name} ses-{visit}" for name, visit in missed),
        "participants": records.to_dict("records"),
    }


# ---- grey-matter maps


def simulate_pair(trial, participant_id):
    """Grey-matter maps of one participant before and after treatment.

    Before: template x volume ratio x smooth anatomical variation. After: before x (1 + percent),
    percent being the planted change of a patient in the active arm, plus smooth noise, plus a
    change of the whole map.

    Parameters
    ----------
    trial : Trial
    participant_id : str

    Returns
    -------
    pre, post : numpy.ndarray of int16, shape of the grid
        Modulated grey matter in units of ``STEP``. A participant who withdrew has a post map here
        too; it was never taken, and :func:`simulate_study` does not write it.
    """
    row = trial.participants.set_index("participant_id").loc[participant_id]
    pre = _anatomy(trial, row)
    percent = _noise(trial, row["number"])
    if row["arm"] == "active":
        percent += trial.planted.get_fdata() * (1 + trial.plan.z_slope * row["z"])
    return _as_steps(pre), _as_steps(pre * (1 + percent / 100))


def _anatomy(trial, row):
    """Map before treatment: the planned volume exactly, but for rounding."""
    random = _generator(trial.seed, row["number"], "anatomy")
    affine = trial.template.affine
    variation = _smooth_field(random, trial.template.shape, trial.plan.anatomy_fwhm, affine)
    local = trial.template.get_fdata() * (1 + trial.plan.anatomy_sd * np.clip(variation, -3, 3))
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return local * (row["grey_ml"] / (local.sum() * voxel_ml))


def _noise(trial, number):
    """Percent: fields whose SD and smoothness are as planned once the maps are smoothed."""
    random = _generator(trial.seed, number, "noise")
    plan, affine = trial.plan, trial.template.affine
    total = np.full(trial.template.shape, plan.global_sd * random.standard_normal())
    for fwhm, share in zip(plan.noise_fwhm, plan.noise_share, strict=True):
        before = np.sqrt(fwhm**2 - plan.smoothing**2)
        # Smoothing a field of unit variance by a kernel divides its SD by (after / before)^1.5.
        sd = plan.noise_sd * np.sqrt(share) * (fwhm / before) ** 1.5
        total += sd * _smooth_field(random, total.shape, before, affine)
    return total


def _smooth_field(random, shape, fwhm_mm, affine):
    """Gaussian field of zero mean and unit variance, periodic at the edges of the grid."""
    sigma = _sigma(fwhm_mm, affine)
    field = ndimage.gaussian_filter(random.standard_normal(shape), sigma, mode="wrap")
    sd = np.prod([_kernel_norm(n, s) for n, s in zip(shape, sigma, strict=True)])
    return field / sd


def _kernel_norm(n, sigma):
    impulse = np.zeros(n)
    impulse[n // 2] = 1
    return np.linalg.norm(ndimage.gaussian_filter1d(impulse, sigma, mode="wrap"))


def _sigma(fwhm_mm, affine):
    return fwhm_mm / np.sqrt(8 * np.log(2)) / nib.affines.voxel_sizes(affine)


def _as_steps(values):
    return np.rint(np.clip(values, 0, TOP_VALUE) / STEP).astype(np.int16)


def simulate_change_maps(**options):
    """Simulate a trial in memory, for benchmarks: nothing is written.

    Parameters
    ----------
    **options
        As for :func:`simulate_trial`.

    Returns
    -------
    ChangeMaps
        The maps of participants who were scanned twice.
    """
    trial = simulate_trial(**options)
    people = trial.participants[trial.participants["withdrawn_after"].isna()]
    maps = np.empty((2, len(people), *trial.template.shape), dtype=np.float32)
    for k, name in enumerate(people["participant_id"]):
        for when, steps in enumerate(simulate_pair(trial, name)):
            maps[when, k] = steps * np.float32(STEP)
    people = people.reset_index(drop=True)
    return ChangeMaps(
        people, trial.scores, trial.template, trial.planted, trial.truth, maps[0], maps[1]
    )


# ---- the dataset on disk


def simulate_study(folder, **options):
    """Write a simulated trial as a BIDS dataset, with its truth beside it; whole or not at all.

    The same seed gives the same numbers on every machine: maps are rounded to ``STEP`` and files
    carry no time stamps. (Compressed bytes agree where zlib is the same, their content always.)

    Parameters
    ----------
    folder : path
        The dataset; must not exist, or be empty. The truth goes to ``derivatives/truth``, the maps
        to ``derivatives/vbm``.
    **options
        As for :func:`simulate_trial`: seed, resolution, null, n_active, n_control, n_withdrawn,
        n_missed, plan.

    Returns
    -------
    dict
        The truth, as :func:`read_truth` gives it.

    Raises
    ------
    FileExistsError
        If the folder holds anything.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: a new or empty folder expected, found files. Nothing was written: "
            "remove the folder to simulate it anew, or name another"
        )
    trial = simulate_trial(**options)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        partial = Path(beside) / folder.name
        _write_dataset(partial, trial)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    return read_truth(folder)


def read_truth(folder):
    """The planted truth of a simulated study: what ``derivatives/truth/truth.json`` holds."""
    return json.loads((Path(folder) / "derivatives" / "truth" / "truth.json").read_text("utf-8"))


def true_change(folder, fwhm_mm=8):
    """Percent change that an average active patient's smoothed map shows.

    Parameters
    ----------
    folder : path
        A simulated study.
    fwhm_mm : float
        The analysis's smoothing.

    Returns
    -------
    nibabel.Nifti1Image
        Percent, on the grid of the maps.
    """
    maps = Path(folder) / "derivatives" / "truth"
    planted, template = (nib.load(maps / f"{name}.nii.gz") for name in ("planted", "template"))
    return smooth_percent(planted, template, fwhm_mm)


def _write_dataset(folder, trial):
    title = "Simulated sham-controlled rTMS trial" + (" (null)" if trial.truth["null"] else "")
    _write_json(folder / "dataset_description.json", _description(title, "raw", SourceDatasets=[]))
    _write_text(folder / "README", _readme(title))
    _write_text(folder / ".bidsignore", "adverse_events.*\nstimulation.*\n")
    _write_table(folder / "participants.tsv", _participants_table(trial), PARTICIPANT_COLUMNS)
    _write_phenotype(folder / "phenotype", trial.scores)
    _write_sessions(folder, trial)
    _write_conduct(folder, trial)
    _write_maps(folder / "derivatives" / "vbm", trial)
    _write_truth(folder / "derivatives" / "truth", trial)


def _description(name, kind, **more):
    return {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": kind,
        "License": "CC0",
        "Authors": ["analysis_lib.simulate", "A simulation: it has no other authors"],
        "Acknowledgements": SIMULATED,
        "GeneratedBy": [{"Name": "analysis_lib.simulate", "Version": "0.1.0"}],
        **more,
    }


def _readme(title):
    return f"""{title}

{SIMULATED}

Depressed patients, active or sham repetitive transcranial magnetic stimulation over the left
dorsolateral prefrontal cortex, three weeks. Ratings at baseline and weeks 1, 2 and 3; grey-matter
maps at baseline and week 3 (derivatives/vbm). What is planted is in derivatives/truth.

A rating that was missed is n/a. A participant who withdrew has no rows after the last visit.
adverse_events.tsv and stimulation.tsv are no BIDS files; .bidsignore names them.
"""


PARTICIPANT_COLUMNS = {
    "participant_id": "Participant",
    "age": {"Description": "Age", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "arm": {
        "Description": "Randomised arm",
        "Levels": {"active": "active stimulation", "sham": "sham coil"},
    },
    "tiv": {"Description": "Total intracranial volume", "Units": "mL"},
    "withdrawn_after": "Last visit of a participant who withdrew; n/a for all others",
    "guess": {
        "Description": "Arm that the participant believes to have had, asked at week 3",
        "Levels": {
            "active": "active stimulation",
            "sham": "sham coil",
            "unknown": "does not know",
        },
    },
}


def _participants_table(trial):
    return trial.participants[list(PARTICIPANT_COLUMNS)]


def _write_phenotype(folder, scores):
    keys = ["participant_id", "session_id"]
    described = {"participant_id": "Participant", "session_id": "Session of the rating"}
    items = {
        f"item_{k:02d}": f"{what}, 0 to {top}" for k, (what, top, _) in enumerate(HAMD_ITEMS, 1)
    }
    for name, label, top, columns in (
        ("hamd17", "Hamilton Depression Rating Scale, 17 items", 52, items),
        ("hama", "Hamilton Anxiety Rating Scale", 56, {}),
    ):
        table = scores[[*keys, *columns, name]].rename(columns={name: "total"})
        described_all = {**described, **columns, "total": f"Sum of the items, 0 to {top}"}
        tool = {"MeasurementToolMetadata": {"Description": label}}
        _write_table(folder / f"{name}.tsv", table, described_all, tool)


def _write_sessions(folder, trial):
    columns = {
        "session_id": "Visit that took place",
        "week": {"Description": "Time since the first treatment", "Units": "week"},
    }
    for name, visits in _visits_attended(trial).items():
        rows = [{"session_id": f"ses-{visit}", "week": VISITS[visit]} for visit in visits]
        path = folder / name / f"{name}_sessions.tsv"
        _write_table(path, pd.DataFrame(rows), columns)


def _visits_attended(trial):
    """Visits of each participant, without those that were missed."""
    rated = trial.scores.dropna(subset=["hamd17"])
    visits = rated["session_id"].str.removeprefix("ses-")
    return visits.groupby(rated["participant_id"]).apply(list).to_dict()


def _write_conduct(folder, trial):
    """Treatment sessions and adverse events; they differ between arms by chance alone."""
    sessions, events = [], []
    for row in trial.participants.itertuples():
        random = _generator(trial.seed, row.number, "conduct")
        sessions += _treatment(random, row)
        events += _complaints(random, row)
    _write_table(folder / "stimulation.tsv", pd.DataFrame(sessions), STIMULATION_COLUMNS)
    table = pd.DataFrame(events, columns=list(EVENT_COLUMNS))
    _write_table(folder / "adverse_events.tsv", table, EVENT_COLUMNS)


STIMULATION_COLUMNS = {
    "participant_id": "Participant",
    "session": "Number of the treatment session, 1 to 15; a missing number was not attended",
    "date": "Date, shifted into the year 1920 as BIDS asks of anonymised dates",
    "percent_motor_threshold": {"Description": "Intensity", "Units": "percent"},
    "pulses": "Pulses given (by a sham coil: played)",
}
EVENT_COLUMNS = {
    "participant_id": "Participant",
    "session_id": "Visit at which it was reported",
    "term": "What was reported",
    "severity": {"Description": "Severity", "Levels": {"mild": "mild", "moderate": "moderate"}},
    "serious": {"Description": "Serious", "Levels": {"yes": "yes", "no": "no"}},
    "related": {"Description": "Related to treatment", "Levels": {"yes": "yes", "no": "no"}},
}


def _treatment(random, row):
    """Fifteen weekday sessions from a Monday on, as many weeks as the participant stayed."""
    weeks = VISITS.get(row.withdrawn_after, 3)
    monday = date(1920, 1, 5) + timedelta(weeks=int(random.integers(40)))
    threshold, came = 110 + 10 * int(random.integers(2)), random.random(15) > 0.03
    return [
        {
            "participant_id": row.participant_id,
            "session": day + 1,
            "date": (monday + timedelta(days=7 * (day // 5) + day % 5)).isoformat(),
            "percent_motor_threshold": threshold,
            "pulses": 3000,
        }
        for day in range(5 * weeks)
        if came[day]
    ]


def _complaints(random, row):
    terms = ("headache", "scalp discomfort", "dizziness", "insomnia")
    visits = _attended(row.withdrawn_after)[1:]
    drawn = random.random((3, 4)) < np.array([0.12, 0.10, 0.04, 0.03])
    moderate = random.random((3, 4)) < 0.2
    return [
        {
            "participant_id": row.participant_id,
            "session_id": f"ses-{visit}",
            "term": terms[t],
            "severity": "moderate" if moderate[v, t] else "mild",
            "serious": "no",
            "related": "no" if terms[t] == "insomnia" else "yes",
        }
        for v, visit in enumerate(visits)
        for t in np.flatnonzero(drawn[v])
    ]


def _write_maps(folder, trial):
    title = "Simulated grey-matter maps"
    source = [{"URL": "../..", "Version": f"seed {trial.seed}"}]
    about = _description(title, "derivative", SourceDatasets=source)
    _write_json(folder / "dataset_description.json", about)
    _write_text(folder / "README", _maps_readme(title))
    for row in trial.participants.itertuples():
        pre, post = simulate_pair(trial, row.participant_id)
        _write_map(folder, row.participant_id, "baseline", pre, trial)
        if pd.isna(row.withdrawn_after):
            _write_map(folder, row.participant_id, "week3", post, trial)


def _maps_readme(title):
    return f"""{title}

{SIMULATED}

Modulated grey matter in MNI space ({SPACE}), unsmoothed: grey-matter volume in a voxel divided by
the volume of the voxel. The sum of a map times the volume of a voxel is the participant's
grey-matter volume. Integers with a scale factor of {STEP}, so that every machine writes the same.
"""


def _write_map(folder, name, visit, steps, trial):
    entities = f"{name}_ses-{visit}_space-{SPACE}_label-GM_desc-modulated_probseg"
    path = folder / name / f"ses-{visit}" / "anat" / f"{entities}.nii.gz"
    _write_image(path, _mni_image(steps, trial.template.affine, STEP, top=TOP_VALUE))
    about = {
        "Description": f"Modulated grey matter. {SIMULATED}",
        "Sources": [],
        "SpatialReference": "ICBM 152 nonlinear symmetric 2009a template, as nilearn packages it",
        "SkullStripped": True,
        "Resolution": f"{trial.truth['resolution_mm']} mm isotropic",
    }
    _write_json(path.with_name(f"{entities}.json"), about)


def _write_truth(folder, trial):
    about = _description("Planted truth of a simulated trial", "derivative")
    _write_json(folder / "dataset_description.json", about)
    _write_text(folder / "README", _truth_readme())
    _write_text(folder / ".bidsignore", "*.nii.gz\ntruth.json\n")
    _write_json(folder / "truth.json", trial.truth)
    _write_image(folder / "planted.nii.gz", trial.planted)
    _write_image(folder / "template.nii.gz", trial.template)


def _truth_readme():
    return f"""Planted truth

{SIMULATED}

truth.json: seed, parameters, true differences between the arms, table of D1 weights, who withdrew,
z of each participant. planted.nii.gz: percent change of grey matter in an average active patient,
before any smoothing. template.nii.gz: grey-matter template that the maps are made from.
"""


def _mni_image(data, affine, slope=None, top=None):
    """Image with a clean header: MNI space, mm, range of display, no description left over."""
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_sform(affine, "mni")
    image.set_qform(affine, "mni")
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = data.max() if top is None else top
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    return image


def _write_image(path, image):
    """NIfTI, compressed without a time stamp or a file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def _write_table(path, table, columns, more=None):
    """TSV with a sidecar that describes each column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    described = {k: {"Description": v} if isinstance(v, str) else v for k, v in columns.items()}
    _write_json(path.with_suffix(".json"), {**(more or {}), **described})


def _write_json(path, content):
    _write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
