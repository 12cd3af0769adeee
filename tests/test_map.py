"""docs/map.svg, the picture in CONTRIBUTING.md, shows the packages and imports as they are."""

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("grimp", reason="import-linter is not installed")
    return runpy.run_path(str(PROJECT / "docs" / "draw_map.py"))


def test_the_map_is_what_the_imports_give(script):
    committed = (PROJECT / "docs" / "map.svg").read_text(encoding="utf-8")
    assert committed == script["draw"](), "files or imports have changed: run make map"


def test_every_package_has_a_box_within_the_picture(script):
    root = ET.fromstring(script["draw"]())
    names = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "name"]
    folders = {path.parent.name for path in PROJECT.glob("analysis_lib/*/__init__.py")}
    assert set(names) == folders | {"__main__", "trialmmrm", "voxelperm"}
    width = float(root.get("viewBox").split()[2])
    for box in root.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x")) <= width - float(box.get("width"))


def test_an_import_that_follows_from_others_is_not_drawn(script):
    pairs = {("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("a", "d")}
    assert script["without_shortcuts"](pairs) == {("a", "b"), ("b", "c"), ("c", "d")}


def test_arrows_go_around_boxes(script):
    way = script["route"](470, 470, [["atlas"], ["study"]], [[], []])
    for name, x in zip(("atlas", "study"), way, strict=True):
        assert abs(x - script["PACKAGES"][name][0]) > script["BOX"] / 2


def test_every_package_is_described_in_contributing():
    page = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in PROJECT.glob("analysis_lib/*/__init__.py"):
        assert f"\n| `{path.parent.name}` |" in page, path.parent.name
