"""Parameters: read from a notebook's cell, with the range or choices that each line declares."""

import json
import math

import nbformat
import papermill
import pytest
from conftest import lines
from papermill import translators

from analysis_lib.pipeline.plan import make_plan
from analysis_lib.results.environment import NOTEBOOKS, notebook_path
from analysis_lib.results.problems import PipelineError, UsageError
from analysis_lib.study import allowed, parameters
from analysis_lib.study.contract import load_study

CELL = """\
study: str = "demo"  # name or path of a study file
quick: bool = False  # few permutations
n_jobs: int = 1  # processes
factor: float = 2.0  # points
words: list = ["a", "b"]  # text
cuts: list = [-1.5, 2]  # mm; each from -10 to 10
mode: str = "fine"  # fine, wrong, refused or dead
tail: str = "counts"  # a tail; one of: counts, gpd
"""
OPTIONAL = "limit: float | None = None  # points; at least 0\n"  # papermill cannot read it
REAL = sorted(
    p.stem for folder in (NOTEBOOKS, NOTEBOOKS / "appendix") for p in folder.glob("*.ipynb")
)


def write(path, cell=CELL):
    new = nbformat.v4
    tagged = new.new_code_cell(cell, metadata={"tags": ["parameters"]})
    notebook = new.new_notebook(cells=[tagged])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python"}
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def known(tmp_path):
    """Parameters of a stub notebook, as a run takes them."""
    path = write(tmp_path / "01_first.ipynb", CELL + OPTIONAL)
    return {"01_first": parameters.notebook_parameters(path)}


def real(notebook):
    return parameters.notebook_parameters(notebook_path(notebook))


# --- reading


def test_parameters_are_read_as_papermill_reads_them(tmp_path):
    path = write(tmp_path / "01_first.ipynb")
    ours, theirs = parameters.notebook_parameters(path), papermill.inspect_notebook(path)
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].type == parameter["inferred_type_name"]
        assert ours[name].help == parameter["help"]
        assert ours[name].default == eval(parameter["default"])


@pytest.mark.parametrize(
    "line",
    [
        "n_jobs: int = max(1, 2)",
        "n_jobs: int = 1  # processes; at least one",
        "n_jobs: int = 1  # processes; from 1 till 3",
        "n_jobs: int = 1  # processes; one of a, b",
    ],
)
def test_parameters_cell_with_code_or_a_misspelt_range_is_refused(tmp_path, line):
    path = write(tmp_path / "01_first.ipynb", line)
    with pytest.raises(PipelineError, match=r"01_first.ipynb: the parameters cell expects"):
        parameters.notebook_parameters(path)


@pytest.mark.parametrize(
    ("help_text", "limits"),
    [
        ("mm; from 0 to 30", (("ge", 0), ("le", 30))),
        ("draws; all if fewer; at least 99", (("ge", 99),)),
        ("p; above 0 and below 1", (("gt", 0), ("lt", 1))),
        ("p; above 1e-3 and at most 0.5", (("gt", 0.001), ("le", 0.5))),
        ("mm; each from -72 to 108", (("ge", -72), ("le", 108))),
        ("sessions planned; 0: the highest number in stimulation.tsv", ()),
        ("the step of that grid", ()),
    ],
)
def test_range_at_the_end_of_the_help_is_read(help_text, limits):
    found = allowed.declared(help_text)
    assert found.limits == limits
    assert found.each == ("each" in help_text)


def test_choices_at_the_end_of_the_help_are_read():
    assert allowed.declared("a tail; one of: counts, gpd").choices == ("counts", "gpd")


# --- overrides


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("facto=1", r"no parameter of 01_first; did you mean factor\? Known: cuts \(01\), factor"),
        (
            "nothing=1",
            r"no parameter of .* Known: .*factor .*, mode .*, n_jobs .*, words",
        ),
        ("factor=lots", r"a number expected \(01_first has factor: float = 2.0\), found 'lots'"),
        ("factor=true", r"a number expected .* found True"),
        ("factor=nan", r"a number expected .* found nan"),
        ("factor=.inf", r"a number expected .* found inf"),
        ("n_jobs=1.5", r"a whole number expected .* found 1.5"),
        ("n_jobs=true", r"a whole number expected"),
        ("n_jobs=null", r"a whole number expected .* found None"),
        ("limit=-1", r"a number or null of at least 0 expected .* found -1"),
        ("quick=1", r"true or false expected"),
        ("words=a", r"a list such as .* found 'a'"),
        ("words=[1, 2]", r"a list such as .* found \[1, 2\]"),
        (
            "cuts=[1, 11]",
            r"a list such as \[a, b\], each from -10 to 10 expected .* \[1, 11\]",
        ),
        ("cuts=[a]", r"each from -10 to 10 expected"),
        ("mode=[a]", r"text expected"),
        ("tail=gdp", r"one of counts, gpd expected .*, found 'gdp'; did you mean 'gpd'\?$"),
        ("words=[a", r"is not a YAML value"),
        ("factor", r"NAME=VALUE expected"),
        ("study=x", r"say --study x"),
    ],
)
def test_wrong_override_is_refused(known, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        parameters.parse_overrides([text], known)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("factor=3", 3),
        ("factor=1e-3", 0.001),
        ("limit=null", None),
        ("limit=0", 0),
        ("words=[x, y]", ["x", "y"]),
        ("words=[]", []),
        ("cuts=[1, -2.5]", [1, -2.5]),
        ("cuts=[3]", [3]),
        ("mode=100", "100"),
        ("mode=on", "on"),
        ("mode=null", "null"),
        ("mode='a b'", "a b"),
        ("mode=a=b", "a=b"),
        ("tail=gpd", "gpd"),
    ],
)
def test_override_takes_the_type_of_the_default(known, text, value):
    ((found,),) = (values.values() for values in parameters.parse_overrides([text], known))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("texts", "combinations"),
    [
        ([], [{}]),
        (["factor=1,2.5"], [{"factor": 1}, {"factor": 2.5}]),
        (["tail=gpd,counts"], [{"tail": "gpd"}, {"tail": "counts"}]),
        (["factor=1,1,2"], [{"factor": 1}, {"factor": 2}]),
        (["factor=1,2", "n_jobs=3"], [{"factor": 1, "n_jobs": 3}, {"factor": 2, "n_jobs": 3}]),
        (
            ["factor=1,2", "tail=gpd,counts"],
            [{"factor": f, "tail": t} for f in (1, 2) for t in ("gpd", "counts")],
        ),
        (["words=[x, y]"], [{"words": ["x", "y"]}]),  # a list is one value
        (["words=['left, right']"], [{"words": ["left, right"]}]),
        (["cuts=[1, 2, 3]"], [{"cuts": [1, 2, 3]}]),
        (["mode=a,b"], [{"mode": "a,b"}]),  # and so is text
    ],
)
def test_commas_part_the_values_of_a_parameter_that_takes_one_without(known, texts, combinations):
    assert parameters.parse_overrides(texts, known) == combinations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("factor=1,b", r"--set factor=b: a number expected .*, found 'b'"),
        ("tail=gpd,gdp", r"--set tail=gdp: one of counts, gpd expected"),
        ("words=[a],[b]", r"is not a YAML value"),
        ("words=a,b", r"a list such as .* found 'a,b'"),
        ("n_jobs=1,2", r"a whole number expected .* found '1,2'"),  # nothing depends on it
        ("quick=true,false", r"true or false expected"),
    ],
)
def test_several_values_are_refused_where_one_is_wrong_or_they_make_no_difference(
    known, text, message
):
    with pytest.raises(UsageError, match=message):
        parameters.parse_overrides([text], known)


def test_defaults_are_those_of_the_script_whatever_a_reader_saved_in_the_notebook(tmp_path):
    (tmp_path / "appendix").mkdir()
    path = write(tmp_path / "01_first.ipynb", "factor: float = 4.0  # points\n")
    assert parameters.default_parameters(path)["factor"].default == 4.0
    script = tmp_path / "percent" / "01_first.py"
    script.parent.mkdir()
    cell = '# %% tags=["parameters"]\nfactor: float = 8.0  # points\n'
    script.write_text(f"# %% [markdown]\n# Title\n\n{cell}\n# %%\nfactor = 3\n")
    assert parameters.default_parameters(path)["factor"].default == 8.0
    appended = write(tmp_path / "appendix" / "S1_more.ipynb", "factor: float = 4.0  # points\n")
    script = tmp_path / "percent" / "appendix" / "S1_more.py"
    script.parent.mkdir()
    script.write_text(cell)
    assert parameters.default_parameters(appended)["factor"].default == 8.0


@pytest.mark.parametrize("notebook", REAL)
def test_scripts_and_notebooks_have_the_same_defaults(notebook):
    path = notebook_path(notebook)
    assert parameters.default_parameters(path) == parameters.notebook_parameters(path)


def test_parameter_given_twice_is_refused(known):
    with pytest.raises(UsageError, match=r"--set factor=2: factor is given twice\. Give it once"):
        parameters.parse_overrides(["factor=1", "factor=2"], known)


def test_every_wrong_override_is_told_on_a_line_of_its_own(known):
    with pytest.raises(UsageError) as caught:
        parameters.parse_overrides(["factor=lots", "n_jobs=2", "tail=gdp", "x=1"], known)
    assert [line.split("=")[0] for line in lines(caught.value.problems)] == [
        "--set factor",
        "--set tail",
        "--set x: no parameter of 01_first. Known: cuts (01), factor (01), limit (01), "
        "mode (01), n_jobs (01), quick (01), tail (01), words (01)",
    ]


# --- the real notebooks


WRONG = [
    ("00_grey_matter", "working_mm", 0, "a number from 0.5 to 10"),
    ("00_grey_matter", "output_mm", 0.5, "a number from 1 to 10"),
    ("00_grey_matter", "n_jobs", 0, "a whole number of at least 1"),
    ("01_clinical_outcomes", "n_permutations", 0, "a whole number from 99 to 1000000"),
    ("01_clinical_outcomes", "n_imputations", 1, "a whole number from 20 to 100000"),
    ("01_clinical_outcomes", "quick_draws", -5, "a whole number of at least 20"),
    ("01_clinical_outcomes", "largest_delta", -1, "a number from 0 to 100"),
    ("01_clinical_outcomes", "largest_delta", math.inf, "a number from 0 to 100"),
    ("01_clinical_outcomes", "delta_step", 0, "a number from 0.05 to 10"),
    ("S0_trial_conduct", "planned_sessions", -1, "a whole number of at least 0"),
    ("01_clinical_outcomes", "seed", -1, "a whole number of at least 0"),
    ("01_clinical_outcomes", "seed", 0.5, "a whole number of at least 0"),
    ("02_vbm", "fwhm_mm", -3, "a number from 0 to 30"),
    ("02_vbm", "fwhm_mm", 80, "a number from 0 to 30"),
    ("02_vbm", "fwhm_mm", math.nan, "a number from 0 to 30"),
    ("02_vbm", "mask_threshold", -1, "a number of at least 0 and below 1"),
    ("02_vbm", "mask_threshold", 1, "a number of at least 0 and below 1"),
    ("02_vbm", "tiv", "covariates", "one of none, covariate, proportional"),
    ("02_vbm", "cluster_p", 0, "a number above 0 and below 1"),
    ("02_vbm", "cluster_p", 5, "a number above 0 and below 1"),
    ("02_vbm", "n_permutations", True, "a whole number from 99 to 1000000"),
    ("02_vbm", "quick_permutations", 2, "a whole number of at least 20"),
    ("02_vbm", "tail", "gdp", "one of counts, gpd"),
    ("02_vbm", "n_jobs", 0, "a whole number from 1 to 256"),
    ("02_vbm", "regions", 5, "a list such as [a, b]"),
    ("02_vbm", "quick", "perhaps", "true or false"),
    ("03_receptor_correlation", "statistic", "Pearson", "one of gaussianised, spearman, pearson"),
    ("03_receptor_correlation", "background", "dropped", "one of drop, keep"),
    ("03_receptor_correlation", "structure", "cortical", "one of all, cortex, subcortex, cerebe"),
    ("03_receptor_correlation", "null", None, "one of moran, variogram"),
    ("03_receptor_correlation", "distances", "voxel", "one of centroid, voxels"),
    ("03_receptor_correlation", "n_surrogates", 10, "a whole number from 99 to 1000000"),
    ("03_receptor_correlation", "n_bootstrap", 10, "a whole number from 99 to 1000000"),
    ("S3_power", "n_power_trials", 0, "a whole number from 10 to 100000"),
    ("04_figures", "slices_mm", [0, 200], "each from -72 to 108"),
    ("04_figures", "slices_mm", [math.nan], "each from -72 to 108"),
    ("04_figures", "most_maps", 0, "a whole number of at least 1"),
]


@pytest.mark.parametrize(("notebook", "name", "value", "expected"), WRONG)
def test_wrong_value_is_refused_in_a_notebook_and_before_a_run(notebook, name, value, expected):
    defaults = {key: parameter.default for key, parameter in real(notebook).items()}
    with pytest.raises(UsageError) as caught:
        parameters.check_parameters(notebook, {**defaults, name: value, "other": -1})
    (line,) = lines(caught.value.problems)
    assert line.startswith(f"{notebook}: {name}: ")
    assert expected in line
    assert f"found {value!r}" in line
    text = f"{name}={json.dumps(value)}"
    with pytest.raises(UsageError, match=rf"^--set {name}=.*\({notebook} has {name}: .*, found"):
        make_plan(load_study("demo"), [notebook[:2]], [text])


def test_number_in_quotes_is_refused_in_a_notebook():
    with pytest.raises(UsageError, match=r"^02_vbm: fwhm_mm: a number from 0 to 30 .* '8'$"):
        parameters.check_parameters("02_vbm", {"fwhm_mm": "8"})


def test_a_name_that_papermill_only_warns_of_is_refused():
    cells = [
        translators.translate_parameters("python3", "python", given, "Parameters")
        for given in ({"fwhm": 4}, {"fhwm_mm": 4, "seed": float("nan")}, {"fwhm_mm": 4})
    ]
    said = r"^fhwm_mm: no parameter of 02_vbm; did you mean fwhm_mm\? Known: "
    with pytest.raises(UsageError, match=said):
        parameters.check_parameters("02_vbm", {"In": ["", *cells[:2], "fhwm_mm = 3"]})
    parameters.check_parameters("02_vbm", {"In": ["", *cells, "a = 1"], "a": 1})  # corrected


@pytest.mark.parametrize("notebook", REAL)
def test_defaults_are_within_their_ranges(notebook):
    known = real(notebook)
    parameters.check_parameters(notebook, {name: p.default for name, p in known.items()})
    assert all(allowed.fits(parameter.default, parameter) for parameter in known.values())


@pytest.mark.parametrize("notebook", REAL)
def test_every_parameter_but_switches_and_names_declares_what_it_may_be(notebook):
    known = real(notebook).values()
    without = {p.name for p in known if not p.allowed.text and p.type != "bool"}
    # the first two: the study and its atlas know; the third is checked as a folder's name
    assert without <= {"study", "regions", "receptor", "variant"}


@pytest.mark.parametrize("notebook", REAL)
def test_notebook_checks_its_parameters_before_it_reads(notebook):
    cells = parameters.read_notebook(notebook_path(notebook))["cells"]
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    text = "\n".join(code[1:])
    assert f'trial = open_study("{notebook}", globals())' in text
    assert "load_study" not in text


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_parameter_is_one_line_that_a_screen_holds(path):
    cells = parameters.read_notebook(path)["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    lines = cell["source"].splitlines()
    assert len(lines) == len(parameters.notebook_parameters(path))
    assert max(map(len, lines)) <= 100
