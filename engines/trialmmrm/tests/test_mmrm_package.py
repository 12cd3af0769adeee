"""The package from outside: its door, its dependencies, the example in its README."""

import ast
import doctest
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import trialmmrm

SOURCE = Path(trialmmrm.__file__).parent
SUBMODULES = [module.name for module in pkgutil.iter_modules([str(SOURCE)])]
README = Path(__file__).parents[1] / "README.md"

IMPORT_SUBMODULES = f"""
import importlib
for name in {SUBMODULES}:
    importlib.import_module("trialmmrm." + name)
"""
CHECK_NAMES = """
import inspect, trialmmrm
assert not [name for name in trialmmrm.__all__ if inspect.ismodule(getattr(trialmmrm, name))]
assert inspect.isfunction(trialmmrm.fit_mmrm) and inspect.isfunction(trialmmrm.fit_with_fallback)
assert inspect.isclass(trialmmrm.MMRM) and issubclass(trialmmrm.ConvergenceError, RuntimeError)
assert {"us", "cs"} < set(trialmmrm.STRUCTURES) and "kenward-roger" in trialmmrm.DF_METHODS
"""


@pytest.mark.parametrize(
    "program",
    [IMPORT_SUBMODULES + CHECK_NAMES, CHECK_NAMES + IMPORT_SUBMODULES + CHECK_NAMES],
    ids=["submodules first", "package first"],
)
def test_no_submodule_hides_a_public_name(program):
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_submodule_has_a_public_name():
    assert len(SUBMODULES) > 10
    assert not set(SUBMODULES) & set(trialmmrm.__all__)


def test_every_public_name_exists_and_is_documented():
    public = "fit_mmrm fit_with_fallback MMRM Refits ConvergenceError STRUCTURES DF_METHODS"
    assert set(trialmmrm.__all__) == set(public.split())
    for name in trialmmrm.__all__:
        assert name in trialmmrm.__doc__
        assert getattr(trialmmrm, name).__doc__


def test_the_package_imports_its_four_dependencies_and_nothing_else():
    imported = set()
    for path in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"trialmmrm"}
    assert outside == {"numpy", "scipy", "pandas", "formulaic"}


def test_the_example_in_the_readme_prints_what_it_says():
    flags = doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(README), module_relative=False, optionflags=flags)
    assert tried > 3
    assert failed == 0
