"""Spoilt study files."""

from bad_input.frame import Case

CASES = [
    Case(
        "weeks that are not numbers",
        lambda t: t.content["visits"].update(week1="soon"),
        ("visits.week1", "'soon'"),
    ),
]
