"""The rules by which survivors of mutmut are explained: narrow, and true of the code as it is."""

import ast
import re
from fnmatch import fnmatchcase

import pytest
from faults import PROJECT
from mutants import EXPLAINED, functions, read_rules, summary

RULES = read_rules(EXPLAINED.read_text("utf-8"))


def explained(old, new, function="analysis_lib.clinical.flow.x__by_reason"):
    return any(rule.explains(function, old, new) for rule in RULES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("zip(a, b, strict=True)", "zip(a, b, strict=False)"),
        ("f(zip(a, b, strict=True), c)", "f(zip(a, b), c)"),
        ("g = t.groupby('scale', sort=False)", "g = t.groupby('scale', sort=None)"),
        ("raise ValueError(f'{x}: an arm')", "raise ValueError(f'{x}XX: an armXX')"),
        ("raise ValueError(f'{x}: an arm')", "raise ValueError(f'{x}: AN ARM')"),
    ],
)
def test_a_harmless_change_is_explained_in_any_function(old, new):
    assert explained(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("zip(a, b, strict=True)", "zip(a, c)"),
        ("g = t.groupby('scale', sort=False)", "g = t.groupby('scale', sort=True)"),
        ("note = 'nobody was asked'", "note = 'XXnobody was askedXX'"),
        ("raise ValueError(f'{x}: an arm')", "raise ValueError(None)"),
        ("raise ValueError(f'{x[:5]}: an arm')", "raise ValueError(f'{x[:6]}: an arm')"),
        ("row['arm'] = a", "row['ARM'] = a"),
        ("fill_value=0", "fill_value=1"),
    ],
)
def test_a_change_that_could_be_a_wrong_result_is_not(old, new):
    assert not explained(old, new)


def source_of(where):
    """Source of the functions that a rule names, each statement in one line."""
    module, _, pattern = where.rpartition(".x")
    code = functions(PROJECT / (module.replace(".", "/") + ".py"))
    wanted = pattern.rpartition("ǁ")[2] if "ǁ" in pattern else pattern.removeprefix("_")
    return "\n".join(ast.unparse(f) for name, f in code.items() if fnmatchcase(name, wanted))


@pytest.mark.parametrize("rule", [r for r in RULES if r.where != "*"], ids=lambda r: r.was)
def test_a_rule_for_one_function_fits_its_code(rule):
    assert re.search(rule.was, source_of(rule.where))
    assert rule.why


def test_the_summary_counts_outcomes_by_file_and_in_all():
    verdicts = {"a.b.x_f__mutmut_1": "killed", "a.b.x_f__mutmut_2": "survived"}
    verdicts["a.c.x_g__mutmut_1"] = "killed"
    assert list(summary(verdicts)) == [
        "a.b: 1 killed, 1 survived",
        "a.c: 1 killed",
        "all: 2 killed, 1 survived",
    ]
