"""The package's door: every public name is what it says, in whatever order modules are imported."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import voxelperm

SUBMODULES = sorted(module.name for module in pkgutil.iter_modules(voxelperm.__path__))
CHECK = """
import types, voxelperm
public = {name: getattr(voxelperm, name) for name in voxelperm.__all__}
modules = [name for name, value in public.items() if isinstance(value, types.ModuleType)]
assert not modules, f"submodules hide {modules}"
values = [name for name, value in public.items() if not callable(value)]
assert values == ["STATISTICS"], values
assert voxelperm.tfce.__name__ == "tfce"
assert voxelperm.permutation_test.__name__ == "permutation_test"
"""


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_submodule_bears_a_public_name():
    assert not set(SUBMODULES) & set(voxelperm.__all__)


@pytest.mark.parametrize("reverse", [False, True])
def test_public_names_survive_submodules_imported_first(reverse):
    modules = sorted(SUBMODULES, reverse=reverse)
    run("\n".join(f"import voxelperm.{name}" for name in modules) + CHECK)


@pytest.mark.parametrize("reverse", [False, True])
def test_public_names_survive_submodules_imported_last(reverse):
    modules = sorted(SUBMODULES, reverse=reverse)
    names = ", ".join(voxelperm.__all__)
    first = f"from voxelperm import {names}\nbefore = [{names}]\n"
    then = "\n".join(f"import voxelperm.{name}" for name in modules)
    same = f"\nfrom voxelperm import {names}\n"
    same += f"assert all(a is b for a, b in zip(before, [{names}], strict=True))\n"
    run(first + then + same + CHECK)


def test_every_public_name_is_documented():
    assert sorted(voxelperm.__all__) == sorted(set(voxelperm.__all__))
    for name in set(voxelperm.__all__) - {"STATISTICS"}:
        assert getattr(voxelperm, name).__doc__, name


def test_nothing_is_imported_that_is_not_declared():
    declared = {"numpy", "scipy", "numba", "joblib", "threadpoolctl", "voxelperm"}
    found = set()
    for path in Path(voxelperm.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    assert found - set(sys.stdlib_module_names) == declared
