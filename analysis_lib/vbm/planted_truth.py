"""How much of a planted change was found."""

import numpy as np

from analysis_lib.results.contrasts import CONTROL_CHANGE


def planted_change(study, fwhm_mm):
    """Planted percent change of a simulated study, smoothed like its maps; None for a real one."""
    if not is_known(study):
        return None
    from analysis_lib.datasets.simulate import true_change  # slow to import, and for the demo alone

    return true_change(study.root, fwhm_mm)


def is_known(study) -> bool:
    """Whether a study is simulated, and its truth is stored with its data."""
    return study.simulated and (study.root / "derivatives" / "truth").is_dir()


def nothing_planted(study, contrast) -> bool:
    """Whether the truth is known, and holds no effect in a contrast: all that is found is false."""
    return contrast == CONTROL_CHANGE and is_known(study)


def recovery(contrast, result, truth, true_at_least=1.0, false_below=0.25):
    """Compare the voxels with family-wise p < .05 (max-t) with the planted change.

    ``truth`` (n_voxels,) is that of the active arm, percent, smoothed; in the control arm nothing
    is planted. Voxels between ``true_at_least`` and ``false_below`` percent count neither way.
    false_discovery_proportion is false_found / significant, 0 where nothing is found.
    """
    planted = np.zeros_like(truth) if contrast == CONTROL_CHANGE else np.abs(truth)
    found = result.p["max_t"] < 0.05
    true, false = planted >= true_at_least, planted < false_below
    return {
        "contrast": contrast,
        "significant": int(found.sum()),
        "true_voxels": int(true.sum()),
        "true_found": int((found & true).sum()),
        "false_found": int((found & false).sum()),
        "false_discovery_proportion": (found & false).sum() / max(found.sum(), 1),
    }
