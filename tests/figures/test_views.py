"""Views to click and turn: what they show, and that they need no network."""

import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from analysis_lib.atlas import grids, parcellation
from analysis_lib.figures import views
from analysis_lib.results import reading, writing
from analysis_lib.study.contract import load_study

AFFINE = np.diag([8.0, 8, 8, 1])
AFFINE[:3, 3] = [-72, -104, -72]
SHAPE = (19, 24, 20)


@pytest.fixture(scope="module")
def effect():
    """An effect of +3 % in one block and -1 % in another, and p of .01 in the first alone."""
    values, p = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    values[4:6, 10:12, 8:10], values[12:14, 10:12, 8:10] = 3, -1
    p[4:6, 10:12, 8:10] = 0.01
    return nib.Nifti1Image(values, AFFINE), nib.Nifti1Image(p, AFFINE)


@pytest.fixture(scope="module")
def regions():
    place = {"x": [-20.0, 20, 0], "y": [0.0, 0, -60], "z": [0.0, 0, 10]}
    names = {"region": ["left putamen", "right <putamen>", "cuneus"]}
    return pd.DataFrame(place | names | {"percent": [5.0, 4, -1], "density": [70.0, 60, 5]})


@pytest.fixture(scope="module")
def shown(effect, regions):
    """A view of each kind."""
    return {
        "slices": views.effect_view(*effect, "SIMULATED · Change", resolution=8),
        "regions": views.region_view(regions, "SIMULATED · Change and D1", "D1"),
    }


def test_only_voxels_that_survive_are_shown(effect):
    view = views.effect_view(*effect, "Change", resolution=8)
    assert view.title == "Change, % (family-wise p < .05)"
    assert "8 voxels" in view.alt
    assert "+3.00 % at MNI (-40, -24, -8)" in view.alt
    stricter = views.effect_view(*effect, "Change", level=0.001, resolution=8)
    assert "no voxel has family-wise p < .001: every voxel is shown" in stricter.title
    assert "no voxels" in stricter.alt
    assert stricter.html != view.html


def test_a_title_begins_with_simulated_and_quick_where_that_is_so():
    study = load_study("demo")
    assert views.marked("Change", study, quick=True) == "SIMULATED · QUICK · Change"
    real = study.model_copy(update={"simulated": False})
    assert views.marked("Change", real) == "Change"


def test_the_title_is_in_the_page_and_on_the_frame(shown):
    for view in shown.values():
        assert "<b>SIMULATED" in view.html
        assert 'title="SIMULATED' in view._repr_html_()
        assert len(repr(view)) < 1000  # a notebook stores it too


def test_nilearn_still_has_every_setting_that_is_changed(shown):
    pages = "".join(view.html for view in shown.values())
    for theirs, ours in views.SETTINGS.items():
        assert ours in pages
        assert theirs not in pages


def test_the_same_data_give_the_same_page(effect, shown):
    again = views.effect_view(*effect, "SIMULATED · Change", resolution=8)
    assert again.html == shown["slices"].html


def test_balls_have_names_and_the_largest_change_is_darkest(regions, shown):
    view = shown["regions"]
    assert "left putamen: +5.00 %, D1 70" in view.html
    assert "right \\u003cputamen>: +4.00 %" in view.html
    assert "Largest changes: left putamen +5.0 %" in view.alt
    colours = re.findall(r'"colour": "(#\w+)"', view.html)
    assert colours[0] == "#67001f"  # the red end of the scale
    missing = regions.assign(density=[np.nan, 1, 2])
    assert views.region_view(missing, "t", "D1").alt.startswith("2 regions")


def test_a_view_without_a_region_is_refused(regions):
    with pytest.raises(ValueError, match="no region has both a change and a density of D1"):
        views.region_view(regions.assign(density=np.nan), "t", "D1")


def test_every_voxel_of_a_region_holds_its_value():
    parcels = parcellation.load_atlas("neuromorphometrics")
    labels = grids.grey_matter_labels(parcels)
    values = pd.Series(np.arange(1.0, len(labels) + 1), labels)
    values.iloc[0] = np.nan
    image = views.region_image(values, parcels, resolution=4)
    data = image.get_fdata()
    where = grids.labels_on_grid(parcels, data.shape, image.affine)
    assert np.unique(data[where == labels[5]]) == [6]
    assert np.unique(data[where == labels[0]]) == [0]
    assert not data[where == 0].any()


def test_a_folder_of_views_lists_them_and_they_are_small(shown, tmp_path):
    writing.write(tmp_path / "views", views.files(shown))
    listed = reading.read_json(tmp_path / "views" / "views.json")
    assert set(listed) == {"slices.html", "regions.html"}
    assert listed["slices.html"]["title"] == shown["slices"].title
    assert listed["slices.html"]["alt"] == shown["slices"].alt
    for name in listed:
        assert (tmp_path / "views" / name).stat().st_size < 2.5 * 2**20


def test_views_are_drawn_without_a_network(shown, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    reason = "playwright is not installed: python -m pip install playwright"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    outside, errors = [], []
    with sync_api.sync_playwright() as playwright:
        options = "--no-sandbox --disable-gpu --enable-unsafe-swiftshader --no-first-run"
        browser = playwright.chromium.launch(executable_path=chromium, args=options.split())
        page = browser.new_page(viewport={"width": 760, "height": 600})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda one: errors.extend([one.text] * (one.type == "error")))  # refused
        page.on("request", lambda request: outside.append(request.url))
        page.context.set_offline(True)
        for name, view in shown.items():
            path = tmp_path / f"{name}.html"
            path.write_text(view.html, encoding="utf-8")
            page.goto(path.as_uri())
            canvas = page.locator("canvas").first
            canvas.wait_for()
            before = page.locator("body").screenshot()
            box = canvas.bounding_box()
            page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.5 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
            page.mouse.up()
            page.wait_for_timeout(200)
            assert page.locator("body").screenshot() != before, f"{name} does not move"
        browser.close()
    assert errors == []
    assert [url for url in outside if not url.startswith(("file:", "data:", "blob:"))] == []
