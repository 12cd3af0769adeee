"""A simulated trial in memory: participants, scores, who left, what was planted."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis_lib.atlas.template import grey_matter_template, mni_image
from analysis_lib.datasets.truth import (
    D1_REGIONS,
    D1_WEIGHTS,
    HAMD_ITEMS,
    SIMULATED,
    VISITS,
    Plan,
    Trial,
    percent_change,
    planted_change,
)

TEMPLATE_ML = 1008.2  # volume of the template


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
    """Draw a trial: participants, scores, and what is planted in the maps, of ``resolution`` mm.

    Each participant has random numbers of their own, keyed by the seed and their number, so that
    age, residuals and noise do not depend on how many others there are. ``null`` plants nothing: no
    change of grey matter, no difference between the arms in any score. ``n_withdrawn`` leave after
    baseline, week 1 or week 2 (no later scores, no second map); ``n_missed`` ratings are missed at
    week 1 or week 2 by participants who stay.
    """
    plan = plan or Plan()
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
        planted = mni_image(np.zeros(planted.shape, dtype=np.float32), planted.affine)
    truth = _truth(seed, plan, resolution, null, participants, missed)
    return Trial(seed, plan, participants, scores, template, planted, truth)


def random_stream(seed, number, purpose):
    """Random numbers for one participant (0: the whole study) and one purpose."""
    purposes = ("person", "latent", "guess", "items", "anatomy", "noise", "missing", "conduct")
    key = (number, purposes.index(purpose))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _draw_participants(seed, plan, n_active, n_control):
    arms = np.repeat(["active", "sham"], [n_active, n_control])
    arms = random_stream(seed, 0, "person").permutation(arms)
    rows = [_person(seed, plan, number) for number in range(1, len(arms) + 1)]
    return pd.DataFrame(rows).assign(arm=arms)


def _person(seed, plan, number):
    """Age, sex and head size; grey matter grows with head size and shrinks with age."""
    random = random_stream(seed, number, "person")
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
        random = random_stream(seed, number, "latent")
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
    random = random_stream(seed, 0, "missing")
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
        random = random_stream(seed, row.number, "guess")
        guess = answers[random.choice(3, p=chance["sham" if null else row.arm])]
        guesses.append(guess if pd.isna(row.withdrawn_after) else None)
    return guesses


def _draw_scores(seed, participants, latent, withdrawn, missed):
    rows = []
    for k, person in enumerate(participants.itertuples()):
        name = person.participant_id
        keys = _item_keys(random_stream(seed, person.number, "items"))
        for v, visit in enumerate(attended_visits(withdrawn.get(name))):
            hamd, hama = _score(latent["hamd17"][k, v], 52), _score(latent["hama"][k, v], 56)
            row = {"hamd17": hamd, "hama": hama, **_items(hamd, keys[v])}
            if (name, visit) in missed:
                row = dict.fromkeys(row)
            rows.append({"participant_id": name, "session_id": f"ses-{visit}", **row})
    scores = pd.DataFrame(rows)
    numbers = [c for c in scores if c not in ("participant_id", "session_id")]
    return scores.astype(dict.fromkeys(numbers, "Int64"))


def attended_visits(withdrawn_after):
    """Visits up to the one after which somebody withdrew."""
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
