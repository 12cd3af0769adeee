"""A simulated trial with its maps in memory, for benchmarks and tests."""

from types import SimpleNamespace

import numpy as np

from analysis_lib.datasets.trial import simulate_trial
from analysis_lib.datasets.trial_images import simulate_pair
from analysis_lib.datasets.truth import STEP


def simulate_change_maps(**options):
    """A trial as `simulate_trial` draws it; its maps are of the participants scanned twice.

    ``pre`` and ``post``, (n_participants, *grid), are the unsmoothed numbers that `simulate_study`
    writes.
    """
    trial = simulate_trial(**options)
    people = trial.participants[trial.participants["withdrawn_after"].isna()]
    maps = np.empty((2, len(people), *trial.template.shape), dtype=np.float32)
    for k, name in enumerate(people["participant_id"]):
        for when, steps in enumerate(simulate_pair(trial, name)):
            maps[when, k] = steps * np.float32(STEP)
    kept = {name: getattr(trial, name) for name in ("scores", "template", "planted", "truth")}
    people = people.reset_index(drop=True)
    return SimpleNamespace(participants=people, pre=maps[0], post=maps[1], **kept)
