"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")


PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@pytest.fixture(scope="module")
def pinned():
    """Lines of the lock by package; a package can have one for each Python."""
    lines = {}
    for line in re.findall(r"^[A-Za-z0-9][^\n\\]*==[^\n\\]*", LOCK, re.M):
        requirement = Requirement(line.strip())
        lines.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return lines


def applies(requirement, python):
    """Whether a requirement holds on a Python, on Linux."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    environment |= {"sys_platform": "linux", "platform_system": "Linux"}
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_requirement_of_the_project_is_locked_at_a_version_it_accepts(project, pinned):
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["project"]["dependencies"], *(r for extra in extras for r in extra)]
    wanted += project["build-system"]["requires"]
    for python, requirement in itertools.product(PYTHONS, map(Requirement, wanted)):
        if applies(requirement, python):
            lines = pinned.get(canonicalize_name(requirement.name), [])
            versions = [next(iter(x.specifier)).version for x in lines if applies(x, python)]
            assert versions, f"{requirement.name} is not in requirements.lock: run make lock"
            assert all(v in requirement.specifier for v in versions), (requirement, versions)


def test_every_locked_package_has_a_hash():
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK)
    packages = [block for block in blocks if re.match(r"[A-Za-z0-9][\w.\-]*==", block)]
    assert len(packages) > 100
    assert all("--hash=sha256:" in block for block in packages)


def test_the_lock_names_no_address():
    assert "://" not in LOCK
    assert "index-url" not in LOCK
    assert "find-links" not in LOCK


def test_conda_and_binder_install_the_lock_on_a_python_that_the_project_supports(project):
    content = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(item for item in content["dependencies"] if isinstance(item, dict))["pip"]
    assert pip == ["-r requirements.lock"]
    python = next(d for d in content["dependencies"] if str(d).startswith("python="))
    assert python.split("=")[1] in SpecifierSet(project["project"]["requires-python"])


def test_binder_adds_the_project_without_resolving_packages_again():
    text = (PROJECT / "postBuild").read_text(encoding="utf-8")
    assert "pip install --no-deps --no-build-isolation -e ." in text
