"""The doors of the packages: what they hold, what opens them, and what opening them costs."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
LIBRARY = PROJECT / "analysis_lib"
PACKAGES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
READERS = [
    *sorted((PROJECT / "notebooks" / "percent").rglob("*.py")),
    *(PROJECT / "run_all.py", LIBRARY / "__main__.py"),
]
RELIED_ON = {  # names that others import from outside, whether or not a notebook does
    "atlas": {"parcel_means"},
    "receptors": {"assess", "dominance", "moran_surrogates", "variogram_surrogates"},
    "vbm": {"contrast_test"},
}
HEAVY = (
    *("ants", "dask", "formulaic", "jinja2", "matplotlib", "neuromaps", "nibabel", "nilearn"),
    *("numba", "pandas", "pingouin", "scipy", "seaborn", "sklearn", "statsmodels"),
    *("trialmmrm", "voxelperm"),
)
# What a package may load when every name of its door is used: the light ones, and those that a
# notebook without images needs. voxelperm brings numba: in clinical it draws re-randomisations and
# gives Hedges' correction.
MAY_LOAD = {
    "clinical": {"formulaic", "numba", "pandas", "scipy", "statsmodels", "trialmmrm", "voxelperm"},
    "figures": {
        *("jinja2", "matplotlib", "nibabel", "nilearn", "numba", "pandas", "scipy", "seaborn"),
        *("sklearn", "statsmodels", "voxelperm"),
    },
    "pipeline": {"pandas"},
    "receptors": {"nibabel", "numba", "pandas", "scipy", "statsmodels", "voxelperm"},
    "report": {"nibabel", "pandas", "scipy"},
    "results": {"pandas"},
    "study": {"nibabel", "pandas", "scipy"},
}


def in_new_python(code):
    """What a piece of code prints in an interpreter of its own, from JSON."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def door(package):
    """A package of the library."""
    return importlib.import_module(f"analysis_lib.{package}")


def names_used(path):
    """Names that a file takes from doors: set of (package, name)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    whole = {
        alias.asname or alias.name: alias.name
        for node in imports
        if node.module == "analysis_lib"
        for alias in node.names
    }
    by_name = {
        (node.module.removeprefix("analysis_lib."), alias.name)
        for node in imports
        if node.module and node.module.startswith("analysis_lib.")
        for alias in node.names
    }
    attributes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return by_name | {(whole[a.value.id], a.attr) for a in attributes if a.value.id in whole}


def lines_of(package):
    """Lines of a door that hold a name: those that are a string and a comma, comment or not."""
    lines = (LIBRARY / package / "__init__.py").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.startswith(" " * 12 + '"')]


def test_there_are_fifteen_packages_and_nothing_beside_them():
    assert len(PACKAGES) == 15
    assert {path.name for path in LIBRARY.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_door_is_there(package):
    lacking = [name for name in door(package).__all__ if not hasattr(door(package), name)]
    assert lacking == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_door_has_one_line_per_name(package):
    names = [line.split('"')[1] for line in lines_of(package)]
    assert all(line.count('"') == 2 for line in lines_of(package))
    assert sorted(names) == sorted(door(package).__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_bears_the_name_of_something_that_its_package_gives(package):
    files = {path.stem for path in (LIBRARY / package).iterdir()}
    assert files.isdisjoint(door(package).__all__)


@pytest.mark.parametrize("order", ["door first", "files first"])
def test_a_name_means_the_same_whichever_is_imported_first(order):
    code = f"""
import importlib, json, pkgutil, types
strange = []
for package in {PACKAGES!r}:
    door = importlib.import_module("analysis_lib." + package)
    files = [m.name for m in pkgutil.iter_modules(door.__path__)]
    steps = [lambda: [getattr(door, name) for name in door.__all__],
             lambda: [importlib.import_module(f"{{door.__name__}}.{{name}}") for name in files]]
    for step in steps if {order!r} == "door first" else steps[::-1]:
        step()
    strange += [n for n in door.__all__ if isinstance(getattr(door, n), types.ModuleType)]
print(json.dumps(strange))
"""
    assert in_new_python(code) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_door_holds_only_what_somebody_uses(package):
    used = {name for path in READERS for where, name in names_used(path) if where == package}
    assert set(door(package).__all__) - used - RELIED_ON.get(package, set()) == set()


@pytest.mark.parametrize("path", READERS[:-2], ids=lambda path: path.stem)
def test_notebooks_go_through_the_doors(path):
    past = [where for where, _ in names_used(path) if where not in PACKAGES]
    assert past == [], "a notebook imports a file behind a door"


def test_opening_the_doors_loads_nothing_heavy():
    doors = ", ".join(f"analysis_lib.{package}" for package in PACKAGES)
    loaded = in_new_python(f"import json, sys, {doors}; print(json.dumps(list(sys.modules)))")
    assert set(loaded).isdisjoint(HEAVY)


@pytest.mark.parametrize("package", MAY_LOAD)
def test_a_package_loads_no_more_than_it_needs(package):
    code = (
        f"import json, sys, analysis_lib.{package} as door\n"
        "[getattr(door, name) for name in door.__all__]\n"
        "print(json.dumps(list(sys.modules)))"
    )
    assert set(in_new_python(code)) & set(HEAVY) - MAY_LOAD[package] == set()
