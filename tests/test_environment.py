"""pyproject.toml, the locks, environment.yml and postBuild describe one environment."""

import itertools
import json
import os
import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
EXTRAS = {  # of each lock; requirements-dev.lock has all
    "requirements.lock": ["install"],
    "requirements-t1w.lock": ["install", "preprocess"],
    "requirements-cluster.lock": ["install", "dask"],
    "requirements-dev.lock": ["install", "preprocess", "dask", "docs", "dev"],
}
LOCKS = {name: (PROJECT / name).read_text(encoding="utf-8") for name in EXTRAS}
POST_BUILD = [  # words of each line
    words
    for line in (PROJECT / "postBuild").read_text(encoding="utf-8").splitlines()
    if (words := shlex.split(line, comments=True))
]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def pinned(lock):
    """Lines of a lock by package; a package can have one for each Python."""
    lines = {}
    for line in re.findall(r"^[A-Za-z0-9][^\n\\]*==[^\n\\]*", LOCKS[lock], re.M):
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


@pytest.mark.parametrize("lock", EXTRAS)
def test_every_requirement_is_locked_at_a_version_that_the_project_accepts(lock, project):
    extras, lines_of = project["project"]["optional-dependencies"], pinned(lock)
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [requirement for extra in EXTRAS[lock] for requirement in extras[extra]]
    for python, requirement in itertools.product(PYTHONS, map(Requirement, wanted)):
        if applies(requirement, python):
            lines = lines_of.get(canonicalize_name(requirement.name), [])
            versions = [next(iter(x.specifier)).version for x in lines if applies(x, python)]
            assert versions, f"{requirement.name} is not in {lock}: run make lock"
            assert all(v in requirement.specifier for v in versions), (requirement, versions)


def test_all_locks_have_the_versions_of_the_one_that_is_tested(project):
    assert set(EXTRAS["requirements-dev.lock"]) == set(project["project"]["optional-dependencies"])
    everything = pinned("requirements-dev.lock")
    for lock in EXTRAS:
        for name, lines in pinned(lock).items():
            assert {str(x.specifier) for x in lines} <= {str(x.specifier) for x in everything[name]}


def test_running_the_demo_needs_none_of_the_large_tools():
    heavy = {"antspyx", "simpleitk", "distributed", "dask", "playwright", "ruff", "uv"}
    assert heavy.isdisjoint(pinned("requirements.lock"))


@pytest.mark.parametrize("lock", EXTRAS)
def test_every_locked_package_has_a_hash(lock):
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCKS[lock])
    packages = [block for block in blocks if re.match(r"[A-Za-z0-9][\w.\-]*==", block)]
    assert len(packages) > 100
    assert all("--hash=sha256:" in block for block in packages)


@pytest.mark.parametrize("lock", EXTRAS)
def test_no_lock_names_an_address(lock):
    assert "://" not in LOCKS[lock]
    assert "index-url" not in LOCKS[lock]
    assert "find-links" not in LOCKS[lock]


def test_conda_and_binder_install_the_lock_on_a_python_that_the_project_supports(project):
    content = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(item for item in content["dependencies"] if isinstance(item, dict))["pip"]
    assert pip == ["-r requirements.lock"]
    python = next(d for d in content["dependencies"] if str(d).startswith("python="))
    assert python.split("=")[1] in SpecifierSet(project["project"]["requires-python"])


def test_binder_adds_the_project_without_resolving_packages_again():
    install = next(words for words in POST_BUILD if "install" in words)
    assert {"--no-deps", "--no-build-isolation"} <= set(install)
    assert install[-2:] == ["-e", "."]


def test_binder_stops_at_the_first_failure_and_can_be_run():
    assert ["set", "-eu"] in POST_BUILD
    assert os.access(PROJECT / "postBuild", os.X_OK)


def test_files_that_binder_uses_exist():
    named = [word for words in POST_BUILD for word in words if re.search(r"\w\.(py|json)$", word)]
    assert {"lab/overrides.json", "lab/workspace.json", "run_all.py"} <= set(named)
    assert all((PROJECT / word).is_file() for word in named)


def test_commands_and_options_that_binder_uses_exist():
    assert ["python", "run_all.py", "--quick"] in POST_BUILD
    assert '"--quick"' in (PROJECT / "run_all.py").read_text(encoding="utf-8")


def test_the_notebook_that_the_badge_opens_is_there_and_is_the_first_tab():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    link = next(iter(re.findall(r"https://mybinder\.org/v2/gh/[^)]*", readme)))
    notebook = parse_qs(urlsplit(link).query)["urlpath"][0].removeprefix("lab/tree/")
    assert (PROJECT / notebook).is_file()
    workspace = json.loads((PROJECT / "lab" / "workspace.json").read_text(encoding="utf-8"))
    main = workspace["data"]["layout-restorer:data"]["main"]
    assert main["current"] == f"notebook:{notebook}"


def test_files_that_the_pages_link_to_exist():
    for page in (PROJECT / "README.md", PROJECT / "data/README.md", *PROJECT.glob("docs/*.md")):
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
        local = [link for link in links if "://" not in link]
        assert local, page
        assert not [link for link in local if not (page.parent / link).exists()], page


def test_every_picture_of_the_readme_says_in_words_that_it_is_simulated():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="figures/demo/[^>]*alt="([^"]*)"', text)
    real = re.findall(r'<img src="figures/(?!demo)[^>]*alt="(Real data[^"]*)"', text)
    assert (len(pictures), len(real)) == (4, 2)
    assert text.count("<img ") == 6
    assert all("simulated" in alt.lower() for alt in pictures)


def test_results_in_the_readme_are_those_of_the_gallery():
    readme, gallery = (
        (PROJECT / page).read_text("utf-8") for page in ("README.md", "docs/trials.md")
    )
    rows = re.findall(r"^\| `(\w+)` \| .* \| \w+ (−?\d[^|]*\))", readme, re.M)
    told = {line.split(" | ")[0]: line for line in gallery.splitlines() if line.startswith("| ")}
    assert len(rows) == 7
    for study, estimate in rows:
        assert estimate.removesuffix(")") in told[f"| {study}"], study


def test_one_version_is_said_everywhere():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+)$", (PROJECT / "CHANGELOG.md").read_text("utf-8"), re.M)[1]
    assert version == cited["version"] == newest


def test_make_help_names_every_target():
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: help (.*)$", text, re.M).group(1).split()
    assert [t for t in targets if f'"make {t} ' not in text] == []


def test_codecheck_lists_each_figure_that_is_published_and_files_that_are_there():
    manifest = yaml.safe_load((PROJECT / "codecheck.yml").read_text(encoding="utf-8"))["manifest"]
    listed = [row["file"] for row in manifest]
    assert all(row["comment"] for row in manifest)
    figures = [
        path.relative_to(PROJECT).as_posix() for path in PROJECT.glob("figures/demo/figure?_*.png")
    ]
    whole = ("participants", "clinical", "grey_matter", "receptors")
    assert {name for name in figures if name.endswith(tuple(f"{w}.png" for w in whole))} <= {
        *listed
    }
    shown = re.findall(r'<img src="(figures/[^"]*)"', (PROJECT / "README.md").read_text("utf-8"))
    assert {*shown} == {name for name in listed if name.startswith("figures/")}
