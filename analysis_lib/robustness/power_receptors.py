"""Power of the receptor test by the noise-free correlation and the reliability of the map."""

import numpy as np
import pandas as pd

from analysis_lib.receptors import effects
from analysis_lib.receptors.correlation import patient_slopes
from analysis_lib.receptors.inputs import read_inputs
from analysis_lib.receptors.nulls import critical_r
from analysis_lib.receptors.reliability import split_half
from analysis_lib.receptors.slopes import slope_test
from analysis_lib.receptors.together import leading
from analysis_lib.results.contrasts import ARM_BY_TIME
from analysis_lib.results.problems import NotComputed
from analysis_lib.results.section import Section
from analysis_lib.robustness import power
from analysis_lib.robustness.power_closed_forms import t_power

SIZES = np.round(np.arange(0, 1.01, 0.05), 10)  # noise-free r
RELIABILITIES = (0.3, 0.5, 0.7, 0.9)  # beside the map's own
BOUNDS = (0.05, 0.95)  # of a reliability, which an estimate may exceed
N_FLIPS = 199  # of each simulated trial's test


def receptor_power(study, n_trials, multiples, seed=0, n_jobs=1):
    """Power to find a receptor that the noise-free map of change follows this closely.

    Each patient's slope is linear in the map: noise gives slopes, which are drawn with replacement
    and random signs within arms, and a map that correlates r with the receptor moves those of the
    active arm by r times its SD over regions. That SD gives the map its reliability at this trial's
    size; at other sizes it stays, and the reliability follows. The test is that of notebook 03,
    with the critical value of each simulated trial's own sign flips.

    Parameters and value as `clinical_power`; the effect is the noise-free r with the leading
    receptor map, the setting a reliability: this map's by bootstrap (of all sizes) and by halves,
    and others. closed_form is the t test of normal slopes.

    Raises
    ------
    NotComputed
        Of one map without patients, or before notebook 03.
    """
    inputs, receptor, own, statistic = _before(study, n_trials, seed)
    active, noise = _noise(inputs)
    slopes = patient_slopes(noise, receptor, statistic)[:, 0]
    pools = {a: slopes[active == (a == "active")] for a in power.ARMS}
    sizes = power.sizes_of(*map(len, pools.values()), multiples)
    work = study.work("power", n_jobs)
    draws = power.simulate(tested_slopes, sizes, n_trials, (pools, study.main), seed, **work)
    there = [pool for pool in pools.values() if len(pool)]
    variance = sum(np.square(pool).mean() / len(pool) for pool in there)
    spread = np.sqrt(variance / sum(1 / len(pool) for pool in there))
    tables = []
    for multiple, size in sizes.items():
        for setting, reliability in own.items() if multiple == 1 else list(own.items())[:1]:
            scale = signal_sd(noise, active, study.main, reliability)
            estimate, se, limit = draws[size].T
            tallies = power.tally(estimate / scale, se / scale, limit, SIZES)
            rows = power.curve(tallies, SIZES, size, multiple=multiple, setting=setting)
            rows["reliability"] = reliability
            tables.append(rows.assign(closed_form=t_power(SIZES * scale / spread, *size)))
    return pd.concat(tables).assign(question="receptor", unit="r")


def _before(study, n_splits, seed):
    """Regional change, the leading receptor map, reliabilities by setting, and the statistic."""
    before = Section(study, "receptors")
    if study.effect or not before.has("sensitivity"):
        raise NotComputed("one map, no patients" if study.effect else "no results of notebook 03")
    settings, rows = before.json("settings"), before.table("sensitivity")
    chosen = {name: settings[name] for name in ("structure", "background", "tracers")}
    inputs, statistic = read_inputs(study, **chosen), settings["statistic"]
    lead = leading(before.table("correlations"), study.main)["annotation"]
    own = rows.set_index("contrast").loc[study.main, "reliability"].iloc[:1].item()
    found = {"this map": own}
    if study.arms:
        options = {"n_splits": n_splits, "seed": seed, "method": statistic} | inputs.model
        halves = split_half(inputs.change, inputs.arm, **options)
        found["this map, by halves"] = halves.reliability
    found |= {f"reliability {one:.1f}": one for one in RELIABILITIES}
    found = {name: float(np.clip(one, *BOUNDS)) for name, one in found.items()}
    return inputs, inputs.maps.loc[[lead]].to_numpy(), found, statistic


def _noise(inputs):
    """Arm and residual maps, as large as the errors."""
    contrast = inputs.study.main
    change, active = effects.checked_change(inputs.change, inputs.arm, contrast)
    design = np.ones((len(active), 1))
    if contrast == ARM_BY_TIME:
        nuisance = effects.nuisance_columns(len(active), **inputs.model)
        design = np.column_stack([active, nuisance])
    left = len(active) - np.linalg.matrix_rank(design)
    return active, effects.residuals(design, change) * np.sqrt(len(active) / left)


def signal_sd(noise, active, contrast, reliability):
    """SD over parcels of a noise-free map with which the effect map has a reliability."""
    weights = effects.effect_weights(active, contrast)
    spread = noise - noise.mean(axis=1, keepdims=True)
    variance = (weights**2).sum() * (spread**2).mean()
    return np.sqrt(variance * reliability / (1 - reliability))


def tested_slopes(part, shared):
    """Estimate, standard error and critical |t| of trials without an effect, (n, 3)."""
    n_active, n_control, n_draws, seed = part
    rng, (pools, contrast) = np.random.default_rng(seed), shared
    arm = np.repeat(power.ARMS, (n_active, n_control))

    def one():
        drawn = [rng.choice(pools[a], (arm == a).sum()) for a in power.ARMS if len(pools[a])]
        slopes = np.concatenate(drawn) * rng.choice((-1.0, 1.0), len(arm))
        options = {"n_permutations": N_FLIPS, "seed": int(rng.integers(2**31))}
        test = slope_test(slopes[:, None], arm, contrast, **options)
        return test.estimate[0], test.estimate[0] / test.t[0], critical_r(test)[1]

    return np.array([one() for _ in range(n_draws)])
