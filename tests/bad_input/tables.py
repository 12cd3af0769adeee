"""Spoilt tables and covariates."""

from bad_input.frame import Case


def _age(value):
    return lambda trial: trial.participants.loc.__setitem__((0, "age"), value)


CASES = [
    Case("sound", lambda trial: None, severity="accepted"),
    Case("an arm that is no arm", lambda t: t.participants.loc.__setitem__((0, "arm"), "verum")),
]
