"""Variants: what makes one, what it is called, and which folder a notebook opens."""

import pytest

from analysis_lib.results.problems import StudyError, UsageError
from analysis_lib.study import opening, parameters, variants
from analysis_lib.study.opening import open_study
from analysis_lib.study.parameters import notebook_parameters


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A notebook as a reader saved it, and the script that holds its defaults."""
    from test_parameters import write

    cell = (
        'study: str = "demo"  # a study\n'
        "quick: bool = False  # few draws\n"
        "fwhm_mm: float = 8.0  # mm; from 0 to 30\n"
        "seed: int = 0  # of draws; at least 0\n"
        "n_jobs: int = 2  # workers; at least 1\n"
        "regions: list = []  # of the atlas\n"
        'variant: str = ""  # folder\n'
    )
    folder = tmp_path / "notebooks"
    (folder / "percent").mkdir(parents=True)
    write(folder / "02_vbm.ipynb", cell.replace("8.0", "4.0"))
    (folder / "percent" / "02_vbm.py").write_text(f'# %% tags=["parameters"]\n{cell}\n# %%\n')
    for module in (opening, parameters):
        monkeypatch.setattr(module, "notebook_path", lambda name: folder / f"{name}.ipynb")
    return folder


@pytest.fixture
def values(notebooks, tiny, tmp_path, monkeypatch):
    """What a notebook with default parameters holds."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path))
    known = notebook_parameters(notebooks / "02_vbm.ipynb")
    defaults = {name: parameter.default for name, parameter in known.items()}
    return {**defaults, "fwhm_mm": 8.0, "study": str(tiny.write().path), "other": 1}


@pytest.mark.parametrize(
    ("changes", "variant"),
    [
        ({}, ""),
        ({"fwhm_mm": 8}, ""),
        ({"quick": True, "n_jobs": 7}, ""),  # no variant of their own
        ({"fwhm_mm": 4.0}, "fwhm_mm=4"),
        ({"fwhm_mm": 4.0, "quick": True}, "fwhm_mm=4"),
        ({"seed": 3, "fwhm_mm": 2.5}, "fwhm_mm=2.5,seed=3"),
        ({"variant": "mine"}, "mine"),
        ({"variant": "mine", "seed": 3}, "mine"),
    ],
)
def test_a_notebook_opens_the_folder_that_its_parameters_make(values, changes, variant):
    trial = open_study("02_vbm", {**values, **changes})
    default = trial.as_variant().derived
    assert trial.variant == variant
    assert trial.derived == (default / "variants" / variant if variant else default)


def test_a_value_out_of_range_is_refused_before_the_study_is_read(values):
    with pytest.raises(UsageError, match=r"02_vbm: fwhm_mm: a number from 0 to 30 expected"):
        open_study("02_vbm", {**values, "fwhm_mm": 80.0, "study": "nowhere"})
    with pytest.raises(StudyError, match="no such study"):
        open_study("02_vbm", {**values, "study": "nowhere"})


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", ".hidden", "a b", "x" * 81, "end.", 3])
def test_a_name_that_is_not_fit_for_a_folder_is_refused(values, name):
    with pytest.raises(UsageError, match=r"variant: at most 80 letters, digits .* found"):
        open_study("02_vbm", {**values, "variant": name})


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"b": 2, "a": 1.0}, "a=1,b=2"),
        ({"p": 1e-5}, "p=1e-05"),
        ({"on": True}, "on=true"),
        ({"tail": "gpd"}, "tail=gpd"),
        ({"limit": None}, "limit=None"),
    ],
)
def test_names_are_made_of_what_changed_whatever_its_order(changes, name):
    assert variants.name_of(changes) == name
    assert variants.checked(name) == name


@pytest.mark.parametrize(
    "changes",
    [
        {"regions": ["left putamen", "right amygdala"]},
        {"text": "../../etc: *?|"},
        {"text": "é" * 300},
        {f"parameter_{i}": i for i in range(40)},
    ],
)
def test_names_are_safe_and_short_and_tell_values_apart(changes):
    name = variants.name_of(changes)
    other = variants.name_of({**changes, next(iter(changes)): "something else entirely"})
    assert variants.checked(name) == name
    assert len(name) <= variants.LONGEST
    assert name != other
    assert variants.name_of({"t": "a b"}) != variants.name_of({"t": "a-b"})
