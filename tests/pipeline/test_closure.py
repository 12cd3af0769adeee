"""The closure of imports: what a notebook's code can reach, and nothing else."""

import shutil

import pytest

from analysis_lib.pipeline.closure import closure_of, house_hash, notebook_closure
from analysis_lib.pipeline.freshness import SHOWN
from analysis_lib.results.environment import NOTEBOOKS, PROJECT

FILES = {
    "lib/__init__.py": "",
    "lib/wing/__init__.py": """
from lazy_loader import attach
__getattr__, __dir__, __all__ = attach(__name__, submod_attrs={"a": ["f"], "b": ["g", "h"]})
""",
    "lib/wing/a.py": "from lib.ground import x\n",
    "lib/wing/b.py": "def g():\n    from lib.wing.c import y\n",
    "lib/wing/c.py": "import numpy",
    "lib/wing/unused.py": "",
    "lib/ground.py": "x = 1",
    "lib/ground.tsv": "what it reads",
    "engines/motor/src/motor/__init__.py": "from motor.parts import p\n",
    "engines/motor/src/motor/parts.py": "",
    "engines/motor/src/motor/other.py": "",
}


@pytest.fixture
def house(tmp_path):
    """A project of a package with a door and an engine."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


GROUND = {"lib/__init__.py", "lib/ground.py", "lib/ground.tsv"}


@pytest.mark.parametrize(
    ("code", "reached"),
    [
        ("from lib import wing\nwing.f()", GROUND | {"lib/wing/a.py"}),
        ("from lib import wing\nwing.h()", {"lib/__init__.py", "lib/wing/b.py", "lib/wing/c.py"}),
        ("from lib import wing as w\nw.f", GROUND | {"lib/wing/a.py"}),
        ("from lib.wing import f", GROUND | {"lib/wing/a.py"}),
        ("from lib.wing import c", {"lib/__init__.py", "lib/wing/c.py"}),
        ("from lib.wing.c import y", {"lib/__init__.py", "lib/wing/c.py"}),
        ("import lib.ground", GROUND),
        ("def later():\n    from lib.ground import x", GROUND),
        ("from lib import wing", {"lib/__init__.py"}),
        ("import numpy\nwing = 1", set()),
        (
            "from motor import p",
            {"engines/motor/src/motor/__init__.py", "engines/motor/src/motor/parts.py"},
        ),
    ],
)
def test_closure_follows_doors_by_the_names_used(house, code, reached):
    assert set(closure_of(code, house)) == reached


def test_leaves_are_left_out_with_what_is_reached_through_them_alone(house):
    code = "from lib import wing\nwing.g()\nwing.f()"
    assert set(closure_of(code, house, ("lib/wing/b",))) == GROUND | {"lib/wing/a.py"}


def test_a_change_changes_the_hash_of_its_file_alone(house):
    code = "from lib import wing\nwing.f()"
    before = closure_of(code, house)
    (house / "lib/ground.py").write_text("x = 2")
    after = closure_of(code, house)
    assert {name for name in before if before[name] != after[name]} == {"lib/ground.py"}


def test_the_hash_of_the_house_changes_with_any_file_and_not_with_its_place(house, tmp_path):
    before = {house_hash(house)}
    shutil.copytree(house, tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    assert {house_hash(tmp_path / "moved")} == before
    shutil.rmtree(tmp_path / "moved")
    for name, text in (
        ("lib/ground.tsv", "else"),
        ("lib/wing/unused.py", "y = 1"),
        ("lib/wing/new.py", ""),
        ("engines/motor/src/motor/other.py", "z"),
    ):
        (house / name).write_text(text)
        assert house_hash(house) not in before
        before.add(house_hash(house))


IN_PLACE_OF_OTHERS = ("01_courses", "02_regions")  # no study runs both


def test_a_module_of_the_library_makes_at_most_two_notebooks_stale_on_average():
    modules = [p for p in PROJECT.glob("analysis_lib/**/*.py") if p.name != "__init__.py"]
    modules += [p for p in PROJECT.glob("engines/*/src/**/*.py") if p.name != "__init__.py"]
    reached = [
        notebook_closure(path, PROJECT, () if path.stem.startswith("04") else SHOWN)
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        if path.stem not in IN_PLACE_OF_OTHERS
    ]
    stale = [
        sum(path.relative_to(PROJECT).as_posix() in books for books in reached) for path in modules
    ]
    assert 1 < sum(stale) / len(modules) <= 2


def test_no_picture_and_no_sentence_is_in_the_closure_of_notebooks_01_to_03():
    for number in ("01", "02", "03"):
        for path in NOTEBOOKS.glob(f"{number}_*.ipynb"):
            reached = notebook_closure(path, PROJECT, SHOWN)
            assert not [name for name in reached if name.startswith(SHOWN)]
            assert any(name.startswith("analysis_lib/study/") for name in reached)
