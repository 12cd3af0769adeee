"""Parameters of a run that make no sense: each is refused by `run_all.py --set`, in one line.

`study/test_parameters.py` has more of them, and the same where a notebook is opened by hand.
"""

from bad_input.frame import Case

WRONG = {
    "fwhm_mm": (-3, ".nan", ".inf", "wide", "[8]", "&a [*a]"),
    "mask_threshold": (-1, 1),
    "tail": ("gdp",),
    "cluster_p": (-0.001,),
    "delta_step": (0, 1e-9),
    "n_permutations": (1e3, 10**12, "9" * 5000),
    "seed": (-1, 0.5, "null"),
    "n_jobs": (0, 1.5),
    "regions": (5, "left amygdala"),
    "quick": ("perhaps",),
    "slices_mm": ("[999]", "2025-13-45"),
    "variant": ("../other", "v" * 300),
    "fwhm": (8,),
    "study": ("other",),
}


def _given(name, value):
    return lambda trial: trial.given.update({name: value})


CASES = [
    Case(f"{name}={value!s:.20}", _given(name, value), (name,))
    for name, values in WRONG.items()
    for value in values
]
