"""The report: what it says, where its numbers lead, and how it looks in a browser."""

import itertools
import json
import re
import shutil
from functools import cache

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import TinyTrial
from nibabel import Nifti1Image
from PIL import Image

from analysis_lib.clinical.imputation import STRATEGIES
from analysis_lib.figures import palette
from analysis_lib.report import embedding, page, quoting, sentences
from analysis_lib.report import manifest as report_manifest
from analysis_lib.report.display import table
from analysis_lib.results import columns, reading, writing
from analysis_lib.results import words as results_words
from analysis_lib.results.section import Section

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--no-first-run"]
SOFTWARE = ("python", "numpy", "scipy", "statsmodels", "pingouin", "nibabel", "nilearn", "numba")
CONTRASTS = ("active_change", "control_change", "arm_by_time", "improvement")
WRITERS = {"clinical": "01_clinical_outcomes", "vbm": "02_vbm", "conduct": "S0_trial_conduct"}
WRITERS |= {"receptors": "03_receptor_correlation", "calibration": "S1_calibration"}
WRITERS |= {"power": "S3_power", "juspace": "S4_juspace"}
# Digits that the prose may hold without a source: names and conventions, no results.
CONVENTIONS = re.compile(r"E9\(R1\)|HC3|\b95\s*%|(?<![\d])\.05\b|Notebook 00|T1-weighted")

NO_PROSE = "a.q, a.cite, #provenance, #references, .flow, .files, .table, .source, table, figure"


# --- results of a small study, without running a notebook ---------------------------------------


def clinical_files(study):
    scales = [scale.name for scale in study.scales]
    visits = [*study.post_visits, "all"] if len(study.post_visits) > 1 else study.post_visits
    rows = [
        {"scale": scale, "visit": visit, "kind": "change", "contrast": "active - control"}
        | {"estimate": -3.21 - i, "se": 1.07, "df": 6.3, "ci_low": -7.77 - i, "ci_high": 1.35 - i}
        | {"t": -3.1, "p": 0.0123, "hedges_g": -0.77, "g_ci_low": -1.41, "g_ci_high": -0.13}
        | {"n_active": 4, "n_control": 4, "covariance": "us"}
        | {"hedges_g_raw": -0.61, "rated_active": 4, "rated_control": 3, "favours": "active"}
        for i, scale in enumerate(scales)
        for visit in visits
    ]
    responders = [
        {"scale": scales[0], "visit": study.final_visit, "outcome": outcome}
        | {"analysis": "missing_is_failure", "n_active": 4, "n_control": 4, "events_active": 3}
        | {"events_control": 1, "risk_difference": 0.5, "ci_low": -0.11, "ci_high": 0.83}
        | {"risk_ratio": 3.0, "rr_ci_low": 0.6, "rr_ci_high": 19.1}
        | {"nnt": 2.0, "nnt_ci_low": 1.2, "nnt_ci_high": -9.1}
        | {"p": 0.4857, "excluded_active": 0, "excluded_control": 0}
        for outcome in ("response", "remission")
    ]
    imputed = [
        {"scale": scales[0], "analysis": name, "visit": study.final_visit, "estimate": -2.9}
        | {"ci_low": -7.1, "ci_high": 1.3, "p": 0.15, "shifted_active": 1}
        | {"imputed_active": 1, "imputed_control": 0}
        for name in STRATEGIES
    ]
    baseline = {"variable": "age", "summary": "mean (SD)", "active": "35 (9)", "control": "40 (8)"}
    flow = {
        arm: {"randomised": 4, "analysed": 4, "rated": dict.fromkeys(study.visits, 4)}
        for arm in ("active", "control")
    }
    boxes = [
        ("randomised", "both", "Randomised: 8"),
        ("allocated", "active", "Active: 4; all came"),
    ]
    tip = {"visit": study.final_visit, "status": "tips", "delta_interpolated": 2.38}
    tip |= {"shifted": "missing", "shifted_active": 1}
    randomised = {"scale": scales[0], "visit": study.final_visit, "p_randomisation": 0.031}
    missing = {"pattern": "10", "n_active": 1, "n_control": 0, "missingness": "monotone"}
    return {
        "mmrm_contrasts.tsv": pd.DataFrame(rows),
        "responders.tsv": pd.DataFrame(responders),
        "imputation.tsv": pd.DataFrame(imputed),
        "baseline.tsv": pd.DataFrame([baseline | {"standardised_mean_difference": -0.41}]),
        "flow.json": flow,
        "consort_flow.tsv": pd.DataFrame(boxes, columns=["stage", "arm", "text"]),
        "tipping_point.tsv": pd.DataFrame([tip]),
        "randomisation.tsv": pd.DataFrame([randomised]),
        "missing_patterns.tsv": pd.DataFrame([missing]),
        "settings.json": {"permutations": 4321, "imputations": 321, "seed": 7, "quick": False},
    }


def conduct_files():
    checklist = {"item": ["1a", "2"], "topic": ["title", "registry"], "where": ["page", ""]}
    checklist = pd.DataFrame(checklist | {"status": ["answered", "partly"]})
    return {"consort_checklist.tsv": checklist, "settings.json": {"quick": False}}


def vbm_files():
    summary = [
        {"contrast": contrast, "n_active": 4, "n_control": 3, "df": 5, "n_permutations": 1999}
        | {"n_voxels_fwe": 60 + i, "n_voxels_fwe_cluster": 70 + i, "n_voxels_fwe_tfce": 80 + i}
        | {"smallest_p": (i + 1) / 2000, "true_discoveries": 0.33 + i / 100}
        for i, contrast in enumerate(CONTRASTS)
    ]
    regions = {"region": ["left putamen", "right putamen"], "n_voxels": [31, 32], "t": [6.1, 5.2]}
    regions |= {"n_voxels_fwe": [21, 0], "hedges_g": [1.9, 1.4], "percent": [5.5, 4.4]}
    regions |= {"ci_low": [4.1, 3.1], "ci_high": [7.1, 6.1], "true_discoveries": [0.86, 0.0]}
    cluster = {"cluster": "1", "region": "putamen", "hemisphere": "left", "k_voxels": 91}
    cluster |= {"x": -24, "y": 8, "z": 2, "t": 6.6, "hedges_g": 2.1, "percent": 5.7}
    cluster |= {"true_discoveries": 0.67}
    cluster |= {"p_fwe_t": 0.0005, "p_fwe_cluster": 0.0005, "p_fwe_tfce": 0.0005}
    coupling = {
        "region": ["left putamen"],
        "n": [7],
        "r": [0.47],
        "ci_low": [-0.2],
        "ci_high": [0.8],
    }
    tables = {f"{name}_regions.tsv": pd.DataFrame(regions) for name in CONTRASTS}
    settings = {"fwhm_mm": 8.0, "smoothness_mm": [11.5, 12.5, 13.5], "mask_threshold": 0.2}
    settings |= {"cluster_p": 0.001, "tail": "counts", "n_permutations": 1999, "seed": 7}
    settings |= {"errors": "unequal", "errors_within": "symmetric"}
    rates = {"contrast": [*CONTRASTS[:3]], "rate_max_t": [0.11, 0.12, 0.13]}
    return tables | {
        "null_rates.tsv": pd.DataFrame(rates),
        "summary.tsv": pd.DataFrame(summary),
        "arm_by_time_clusters.tsv": pd.DataFrame([cluster]),
        "region_clinical.tsv": pd.DataFrame(coupling).assign(p_holm=0.29, scale="HAMD-17"),
        "mask.nii.gz": Nifti1Image(np.ones((3, 3, 3), np.uint8), np.diag([3.0, 3, 3, 1])),
        "settings.json": settings | {"tiv": "none", "quick": False},
    }


def receptor_files():
    rows = [
        {"contrast": "arm_by_time", "receptor": name, "annotation": f"{name.lower()}2017/map"}
        | {"n_subjects_map": 13 + i, "n_parcels": 118, "r": 0.81 - 0.3 * i, "ci_low": 0.4}
        | {"ci_high": 0.9, "p_parametric": 1e-9, "p_spatial": 0.011, "p_fwe_spatial": 0.33}
        | {"p_randomisation": 0.008, "p_fwe": 0.022 + 0.2 * i, "r_anatomy": 0.52}
        | {"p_spatial_anatomy": 0.061, "p_fwe_spatial_anatomy": 0.44}
        for i, name in enumerate(("MOR", "D1"))
    ]
    settings = {"statistic": "gaussianised", "null": "moran", "permutations": 1999}
    settings |= {"surrogates": 1998, "bootstrap": 1997, "quick": False}
    return {
        "correlations.tsv": pd.DataFrame(rows),
        "settings.json": settings,
    }


def appendix_files():
    """Results of what runs on request alone."""
    first = {"receptor": "MOR", "annotation": "mor2017/map"}
    first_rate = {"family": "clinical", "test": "MMRM", "source": "clinical/mmrm_contrasts.tsv"}
    first_rate |= {"column": "p", "contrast": None, "n_draws": 2000}
    rates = [first_rate | {"rate": 0.051, "ci_low": 0.041, "ci_high": 0.062, "verdict": "holds"}]
    rates += [
        first_rate
        | {"family": "receptors", "test": "smooth maps", "source": "receptors/correlations.tsv"}
        | {"column": "p_spatial", "contrast": contrast, "rate": rate, "verdict": verdict}
        | {"ci_low": rate - 0.01, "ci_high": rate + 0.01}
        for contrast, rate, verdict in (
            ("arm_by_time", 0.02, "conservative"),
            ("active_change", 0.083, "too small"),
        )
    ]
    rates = pd.DataFrame(rates).assign(detectable=0.07, worst_map=None, worst_rate=np.nan)
    failing = pd.DataFrame([first_rate]).assign(assumption="skewness 1", rate=0.061)
    failing = failing.assign(ci_low=0.05, ci_high=0.07)
    lines = pd.DataFrame([first_rate, first_rate]).assign(nominal=[0.05, 1.0], observed=[0.051, 1])
    curve = {"question": "receptor", "setting": "this map", "multiple": 1, "n_active": 18}
    curve |= {"n_control": 17, "true_effect": [0.0, 0.9], "power": [0.04, 0.86], "unit": "r"}
    curve |= {"monte_carlo_se": [0.01, 0.02], "closed_form": [0.05, 0.88]}
    curve |= {"points_per_unit": np.nan, "reliability": 0.8}
    seen = {"question": "receptor", "setting": "this map", "reliability": 0.8, "n_active": 18}
    seen |= {"n_control": 17, "detectable": 0.87, "unit": "r", "detectable_points": np.nan}
    seen |= {"power_at_half": 0.3, "wrong_sign_at_half": 0.01, "exaggeration_at_half": 1.7}
    needed = {"question": "receptor", "setting": "this map", "treatment": "ECT", "unit": "r"}
    needed |= {"true_effect": 0.6, "true_points": np.nan, "power": 0.44, "wrong_sign": 0.001}
    needed |= {"exaggeration": 1.4, "n_active_needed": 40, "n_control_needed": 38, "source": "-"}
    toolbox = first | {"contrast": "arm_by_time", "r": 0.61, "z": 0.71, "adjusts": False}
    toolbox |= {"p_shuffle": 0.03, "p_shuffle_fwe": 0.2}
    toolbox |= {"p_relabel_juspace": 0.04, "p_relabel": 0.05, "p_relabel_fwe": 0.3}
    toolbox["p_group_r"] = 0.61
    option = first | {"contrast": "active_change", "image": "mean", "statistic": "pearson"}
    option |= {"adjusted": False, "value": 0.9, "p_juspace": 0.002, "p_juspace_r": 0.031}
    return {
        "calibration": {
            "rates.tsv": rates,
            "failing.tsv": failing,
            "quantiles.tsv": lines,
            "settings.json": {"quick": False},
        },
        "power": {
            "power.tsv": pd.DataFrame(curve),
            "seen.tsv": pd.DataFrame([seen]),
            "needed.tsv": pd.DataFrame([needed]),
            "settings.json": {"quick": False},
        },
        "juspace": {
            "juspace.tsv": pd.DataFrame([toolbox]),
            "options.tsv": pd.DataFrame([option]),
            "settings.json": {"quick": False},
        },
    }


def quoted_numbers(study, files):
    """What the notebooks enter into numbers.json, as far as the report quotes it."""
    keys = {scale.name: scale.key for scale in study.scales}
    numbers = {"clinical": {}, "vbm": {}, "receptors": {}}
    for arm in ("active", "control"):
        for name in ("randomised", "analysed"):
            numbers["clinical"][f"flow.{arm}.{name}"] = (4, "flow.json")
    for row in files["clinical"]["mmrm_contrasts.tsv"].to_dict("records"):
        for name in ("estimate", "ci_low", "ci_high", "p", "hedges_g"):
            key = f"{keys[row['scale']]}.{row['visit']}.{name}"
            numbers["clinical"][key] = (row[name], "mmrm_contrasts.tsv")
    for row in files["clinical"]["responders.tsv"].to_dict("records"):
        for name in ("events_active", "events_control", "risk_difference", "ci_low", "ci_high"):
            key = f"{keys[row['scale']]}.{row['visit']}.{row['outcome']}.{name}"
            numbers["clinical"][key] = (row[name], "responders.tsv")
    if "vbm" in files:
        for row in files["vbm"]["summary.tsv"].to_dict("records"):
            for name in ("n_active", "n_control", "n_permutations", "n_voxels_fwe", "smallest_p"):
                numbers["vbm"][f"{row['contrast']}.{name}"] = (row[name], "summary.tsv")
        for row in files["receptors"]["correlations.tsv"].to_dict("records"):
            for name in set(row) - {"contrast", "receptor", "annotation", "p_parametric"}:
                key = f"{row['contrast']}.{row['annotation']}.{name}"
                numbers["receptors"][key] = (row[name], "correlations.tsv")
    return numbers


def write_study(folder, images=True, simulated=True, appendix=False, **changes):
    """A study whose result files were written by hand."""
    tiny = TinyTrial(folder)
    tiny.content |= {"simulated": simulated} | changes
    if images:
        tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}}
    study = tiny.write()
    files = {"clinical": clinical_files(study), "conduct": conduct_files()}
    if images:
        files |= {"vbm": vbm_files(), "receptors": receptor_files()}
    files |= appendix_files() if appendix else {}
    for section, content in files.items():
        writing.write(study.derived / section, content)
    for section, numbers in quoted_numbers(study, files).items():
        if numbers:
            writing.write_numbers(study, section, numbers)
    write_figures(study, images)
    write_notebook(study)
    write_record(study, files)
    return study


def write_figures(study, images):
    study.figures.mkdir(parents=True, exist_ok=True)
    names = ["figure1_clinical", *(["figure2_vbm", "figure9_sketch"] if images else [])]
    for name in names:
        Image.new("RGB", (300, 200), "#0072B2").save(study.figures / f"{name}.png")
    captions = {"figure1_clinical": {"title": "Scores", "caption": "Own words.", "alt": "Lines."}}
    (study.figures / "captions.json").write_text(json.dumps(captions), encoding="utf-8")


def write_notebook(study):
    cells = [
        nbformat.v4.new_markdown_cell("# 01 · Clinical\n\nA formula: $\\alpha + \\beta$"),
        nbformat.v4.new_code_cell("1 + 1", execution_count=1, outputs=printed_tables(study)),
    ]
    folder = study.derived / "notebooks"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "01_clinical_outcomes.ipynb")


def printed_tables(study):
    """Tables with p-values as a notebook prints them: kept, not kept, and of receptors."""
    kept = Section(study, "clinical").table("mmrm_contrasts")[["scale", "estimate", "p"]]
    shown = [kept, pd.DataFrame(kept.to_dict())]
    if (study.derived / "receptors").is_dir():
        maps = Section(study, "receptors").table("correlations").drop(columns="contrast")
        shown.append(maps.head(1)[["receptor", "p_fwe", "p_spatial"]])
    data = [{"text/html": table(one, study).data} for one in shown]
    return [nbformat.v4.new_output("display_data", data=one) for one in data]


def write_record(study, files):
    """A manifest as the pipeline writes it."""
    about = {"sha256": "ab" * 32, "bytes": 12}
    machine = {"system": "Linux", "release": "6", "processor": "x86_64", "cores": 2}
    steps = {
        WRITERS[section]: {
            "parameters": {"n_permutations": 4321},
            "packages": dict.fromkeys(SOFTWARE, "3.2.1") | {"neuromaps": "0.0.7"},
            "inputs": {"{data}/participants.tsv": about},
            "outputs": {f"{section}/{name}": about for name in content},
            **{"seed": 7, "quick": False, "started": "2026-01-02T03:04:05+00:00"},
            **{"seconds": 1.5, "peak_memory_mb": 99.0, "machine": machine},
            "git": {"commit": "c0ffee" * 6, "dirty": True},
        }
        for section, content in files.items()
    }
    report_manifest.write_manifest(study, steps, {"seconds": 3.5, "peak_memory_mb": 99.0})


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Results go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPENDIUM_OUTPUT", str(tmp_path_factory.mktemp("output")))
        yield patch


@pytest.fixture(scope="module")
def study(environment, tmp_path_factory):
    """A simulated study with images, and an interactive view."""
    study = write_study(tmp_path_factory.mktemp("full"))
    views = study.derived / "vbm" / "views"
    views.mkdir()
    (views / "brain.html").write_text(
        '<!DOCTYPE html><html><head><link rel="icon" href="https://example.org/i.ico"></head>'
        "<body><p id='x'>empty</p><script>document.getElementById('x').textContent = "
        "'drawn'</script></body></html>",
        encoding="utf-8",
    )
    about = {"brain.html": {"title": "Slices of t", "alt": "Slices to move through."}}
    (views / "views.json").write_text(json.dumps(about), encoding="utf-8")
    return study


@pytest.fixture(scope="module")
def index(study):
    return page.write_report(study)


@pytest.fixture(scope="module")
def soup(index):
    return BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Make a study in a folder of its own."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    return lambda **options: write_study(tmp_path, **options)


def words(soup, selector="body"):
    return re.sub(r"\s+", " ", soup.select_one(selector).get_text())


# --- what it says -------------------------------------------------------------------------------


def test_every_quoted_number_leads_to_the_file_and_notebook_that_it_is_from(study, soup):
    anchors = soup.select("a.q")
    assert len(anchors) > 80
    rows, read_table = {row["id"]: row for row in soup.select("tr[id]")}, cache(reading.read_table)
    for href in {anchor["href"] for anchor in anchors}:
        key, value, source, notebook = rows[href.removeprefix("#")].find_all(["th", "td"])
        link = source.find("a")
        if link is None:
            assert "study file" in source.get_text()
            continue
        path = (study.derived / "report" / link["href"]).resolve()
        assert path.is_file(), key
        if path.name == "manifest.json":
            continue
        assert notebook.get_text() == WRITERS[path.parent.name]
        if path.suffix == ".tsv" and "rows" not in key.get_text() and value.get_text() != "us":
            table = read_table(path).select_dtypes("number")
            assert np.isclose(table, float(value.get_text())).any(), key.get_text()


def test_the_primary_result_is_said_with_its_interval_and_p(soup):
    said = words(soup, "#summary")
    assert "−3.2 points (95 % CI −7.8 to 1.4, p = .012; active − sham) at week 2." in said
    assert "with no difference, and with any difference from −7.8 to 1.4 points" in said


def test_both_nulls_are_in_words_and_give_the_verdict(soup):
    said = words(soup, "#results")
    assert "difference in slope between the arms, p = .008 (family-wise p = .022)" in said
    assert "among equally smooth maps, p = .011 (family-wise p = .330)" in said
    assert "anatomy is held constant: nothing singles this receptor out" in said
    assert "The receptor named in the question: D1" in said


@pytest.mark.parametrize("section", ["clinical", "vbm", "receptors", "conduct"])
def test_the_page_says_what_the_notebooks_say(study, soup, section):
    found = sentences.findings(Section(study, section)).split("\n\n")[1:]  # below the notice
    said = words(soup, "#results").replace("\n", " ")
    assert len(found) > 2
    for paragraph in found:
        assert re.sub(r"^- |\*\*", "", paragraph) in said


@pytest.mark.parametrize(
    ("estimate", "finding"),
    [
        (6.54, "HAMD-17 had fallen 6.5 points less with active than with sham"),
        (0, "HAMD-17 had fallen about as much with active as with sham"),
    ],
)
def test_another_number_in_the_results_is_another_number_in_the_text(alone, estimate, finding):
    study = alone(images=False)
    path = study.derived / "clinical" / "mmrm_contrasts.tsv"
    rows = reading.read_table(path)
    chosen = rows["visit"].eq("week2") & rows["scale"].eq("HAMD-17")
    rows.loc[chosen, ["estimate", "favours"]] = [estimate, "control"]
    writing.write(path.parent, {path.name: rows}, keep_others=True)
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    assert finding in words(written)


def test_no_number_of_the_text_is_typed(study, soup):
    """Beside quoted numbers only names and conventions hold a digit."""
    names = [
        study.title,
        *(s.name for s in study.scales),
        *map(results_words.visit_words, study.visits),
    ]
    names += ["D1", "d12017/map", "mor2017/map", "01 · Clinical"]
    rest = BeautifulSoup(str(soup.select_one("main")), "html.parser")
    for part in rest.select(NO_PROSE):
        part.decompose()
    prose = rest.get_text(" ")
    for name in sorted(names, key=len, reverse=True):
        prose = prose.replace(name, "")
    prose = CONVENTIONS.sub("", prose)
    found = re.findall(r".{0,40}\d.{0,20}", prose)
    assert not found, found


TYPED = ["answers", "results", "macros", "page", "provenance"]
TYPED = [f"{name}.html.j2" for name in TYPED] + ["findings.md.j2", "methods.md.j2"]


@pytest.mark.parametrize("name", TYPED)
def test_no_number_is_typed_in_a_template(name):
    source = (embedding.TEMPLATES / name).read_text(encoding="utf-8")
    bare = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", source, flags=re.DOTALL)
    bare = CONVENTIONS.sub("", re.sub(r"<[^>]*>", "", bare).replace("&nbsp;", " "))
    bare = bare.replace("sha256", "")
    assert not re.findall(r".{0,40}\d.{0,20}", bare)


def test_simulated_is_said_above_and_on_every_figure_and_table(soup):
    assert soup.select_one(".flag").get_text() == "SIMULATED"
    assert "No patient took part" in soup.select_one(".notice").get_text()
    for part in soup.select("figcaption, .caption"):
        assert part.select_one(".tag").get_text() == "SIMULATED"
    assert "SIMULATED" in soup.title.get_text()


def test_a_real_study_has_no_banner(alone):
    written = BeautifulSoup(
        page.write_report(alone(images=False, simulated=False)).read_text("utf-8"), "html.parser"
    )
    assert written.select_one(".flag, .tag, .notice") is None
    assert "simulated" not in words(written, "main").lower()


def test_quick_results_are_said(alone):
    study = alone()
    settings = study.derived / "vbm" / "settings.json"
    content = reading.read_json(settings)
    settings.write_text(json.dumps(content | {"quick": True}), encoding="utf-8")
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    assert written.select_one(".flag").get_text() == "SIMULATED · QUICK"
    assert "Do not quote these p-values" in words(written, "header")


def test_what_the_check_warned_of_is_said_and_names_nobody(alone):
    study = alone()
    path = study.derived / "manifest.json"
    content = reading.read_json(path)
    content["steps"]["02_vbm"]["warnings"] = {"outlier": {"count": 2, "accepted": True}}
    path.write_text(json.dumps(content), encoding="utf-8")
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    said = [one.get_text() for one in written.select(".notice")]
    assert any("grey-matter map unlike all others (2, accepted)" in text for text in said)


def test_a_study_without_images_says_nothing_of_them(alone):
    written = BeautifulSoup(
        page.write_report(alone(images=False)).read_text("utf-8"), "html.parser"
    )
    assert written.select_one("#vbm, #receptors, #vbm-methods, #table-clusters") is None
    assert "The study has no images" in words(written, "#results")
    assert len(written.select("figure")) == 1


def test_images_that_were_not_analysed_yet_are_said_to_be_so(alone):
    study = alone()
    for section in ("vbm", "receptors"):
        shutil.rmtree(study.derived / section)
    written = words(BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser"))
    assert "The imaging notebooks have not been run" in written
    assert "No receptor correlation has been computed" in written


def test_one_visit_and_one_scale_leave_out_what_does_not_apply(alone):
    scale = {"name": "HAMD-17", "file": "phenotype/hamd17.tsv", "range": [0, 52], "primary": True}
    study = alone(images=False, visits={"baseline": 0, "week2": 2}, scales=[scale])
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    said = words(written)
    assert "analysis of covariance: the change is modelled by baseline score and arm" in said
    assert "mixed model" not in words(written, "#summary")
    assert "HAMA" not in said


def test_parts_that_were_not_recorded_are_said_to_be_missing(soup):
    said = words(soup, "#results")
    assert "Adverse events were not recorded." in said
    assert "blinding cannot be assessed" in said
    assert "Dose and adherence were not recorded." in said


def test_harms_blinding_and_dose_are_said_where_they_were_recorded(alone):
    study = alone(images=False)
    events = {"group": ["all", "serious"], "term": ["any event", "any serious event"]}
    events |= {"n_active": [4, 4], "n_control": [4, 4], "participants_active": [3, 1]}
    events |= {"participants_control": [2, 0], "risk_difference": [0.25, 0.25]}
    files = {
        "adverse_events.tsv": pd.DataFrame(events).assign(ci_low=-0.3, ci_high=0.7),
        "blinding.tsv": pd.DataFrame(
            {"index": "Bang", "arm": ["active", "control"], "value": [0.59, -0.13]}
        ).assign(ci_low=-0.44, ci_high=0.88),
        "adherence.tsv": pd.DataFrame(
            {"arm": ["active", "control"], "measure": "sessions received", "mean": [14.1, 13.2]}
        ),
    }
    writing.write(study.derived / "conduct", files, keep_others=True)
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    said = words(written)
    assert "reported by 3 of 4 participants with active and 2 of 4 with sham" in said
    assert "a serious one by 1 and 0" in said
    assert "was 0.59 (95 % CI −0.44 to 0.88) with active and −0.13" in said
    assert "a mean of 14.1 treatment sessions with active and 13.2 with sham" in said
    assert "25" in words(written, "#table-harms")


def test_the_settings_of_maps_made_by_notebook_00_are_said(alone):
    study = alone()
    folder = study.derived / "grey_matter" / "sub-01" / "ses-baseline" / "anat"
    about = {"Settings": {"working_mm": 2.5, "output_mm": 1.5}}
    about |= {"PackageVersions": {"antspyx": "0.6.1", "python": "3.11"}}
    writing.write(folder, {"sub-01_ses-baseline_desc-modulated_probseg.json": about})
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    said = words(written, "#methods")
    assert "at 2.5 mm; tissue was classified once" in said
    assert "written at 1.5 mm (antspyx 0.6.1)" in said


def test_what_ran_on_request_is_shown_with_its_tables_and_figures(alone, soup):
    written = page.write_report(alone(appendix=True))
    full = BeautifulSoup(written.read_text(encoding="utf-8"), "html.parser")
    said = words(full, "#results")
    assert "3 p-values of the notebooks: no departure from their level in 1, too small in 1" in said
    assert (
        "p was at most .05 in 5.1 % (4.1 to 6.2 %): these trials do not show that it errs" in said
    )
    assert "2.0 % (1.0 to 3.0 %): it is conservative" in said
    first = words(full, "#summary")
    assert "random; in 2,000 simulated trials of this design" in first
    assert "design without an effect this p was at most .05 in 5.1 %" in first
    assert "design without an effect this p" not in words(soup, "#summary")
    assert "Skewness 1, 2,000 trials: the highest rate is 6.1 % (5.0 to 7.0 %), of MMRM; no" in said
    assert "no rate is shown to be above the level. Whether any of these assumptions fails" in said
    assert (
        "18 + 17 participants; reliability of the map 0.80): eighty per cent power, for one" in said
    )
    assert "the noise-free r is at least 0.87" in said
    assert "JuSpace gives z = 0.71 and a group p = .040" in said
    assert "under any relabelling it is p = .050" in said
    assert "it is p = .002, from a plain shuffle of regions" in said
    assert "the same null maps give p = .031" in said
    figure = "figure-power-receptor"
    shown = [figure["id"] for figure in full.select("figure") if not figure.select("a[href$=png]")]
    assert shown == ["figure-quantiles-clinical", figure]
    marks = {
        (part, mark.parent.get_text().split("\xa0")[0].strip(), mark.get_text())
        for part in ("contrasts", "receptors")
        for mark in full.select(f"#table-{part} th a.verdict[href='#calibration']")
    }
    assert {(part, verdict) for part, _, verdict in marks} == {
        ("contrasts", "holds"),
        ("receptors", "conservative"),
    }
    assert full.select("#table-contrasts td.verdict.holds")
    assert full.select("#table-receptors td.verdict.conservative")
    assert not soup.select(".verdict")
    path = written.parent / "notebooks" / "01_clinical_outcomes.html"
    notebook = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    heads = [[head.get_text() for head in row.select("th")] for row in notebook.select("thead tr")]
    last = [row[-1] for row in heads if row[-1].startswith("p")]
    assert last == ["p holds", "p", "p, equally smooth maps conservative"]
    assert len(notebook.select("th a.verdict[href='../index.html#calibration']")) == 2
    for name in ("calibration", "power", "juspace"):
        assert full.select_one(f"#table-{name}"), name
        assert full.select_one(f'nav a[href="#{name}"]'), name
        assert not soup.select(f"#{name}"), name  # where it was not run
    assert full.select_one(f"#{figure} .source").get_text().strip() == "S3_power"


def test_columns_are_explained_with_their_units(soup):
    table = soup.select_one("#table-contrasts")
    meanings = dict(
        zip(
            (term.get_text() for term in table.select("dt")),
            (said.get_text() for said in table.select("dd")),
            strict=True,
        )
    )
    known = columns.registry()
    assert meanings["Hedges g (model SD)"] == known["mmrm_contrasts.hedges_g"].words
    assert meanings["95 % CI"] == f"{known['ci_low'].words}; {known['ci_high'].words}"
    assert meanings["Difference, points"].endswith(", points")
    assert table.select_one(".source a")["href"] == "../clinical/mmrm_contrasts.tsv"


def test_the_manifest_is_in_the_provenance(soup):
    said = words(soup, "#provenance")
    assert "c0ffeec0ff, with uncommitted changes" in said
    assert words(soup, "#parameters").count("n_permutations 4321") == 4
    assert "neuromaps 0.0.7" in words(soup, "#packages")
    hrefs = {a["href"] for a in soup.select("#provenance a")}
    assert {"../manifest.json", "../numbers.json"} <= hrefs


def test_every_relative_link_leads_to_a_file(index, soup):
    hrefs = [a["href"] for a in soup.select("a[href]") if not a["href"].startswith("#")]
    assert len(hrefs) > 20
    assert not [href for href in hrefs if not (index.parent / href).is_file()]


def test_every_internal_link_leads_to_a_part_of_the_page(soup):
    ids = [part["id"] for part in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    assert not [a["href"] for a in soup.select("a[href^='#']") if a["href"][1:] not in ids]


def test_headings_are_in_order_and_every_picture_has_words(soup):
    levels = [int(heading.name[1]) for heading in soup.find_all(re.compile("^h[1-6]$"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert soup.html["lang"] == "en"
    assert soup.select_one("#figure-figure1-clinical img")["alt"] == "Lines."
    assert all(picture["alt"] for picture in soup.select("img"))


def test_the_arms_have_the_colours_of_the_figures(index):
    style = index.read_text(encoding="utf-8")
    for arm, colour in palette.COLOURS.items():
        assert f"--{arm}: {colour};" in style


# --- how it is written --------------------------------------------------------------------------


def test_without_clinical_results_it_says_what_to_run(alone):
    study = alone(images=False)
    shutil.rmtree(study.derived / "clinical")
    with pytest.raises(FileNotFoundError, match="run 01_clinical_outcomes first"):
        page.write_report(study)


def test_a_report_that_fails_leaves_the_earlier_one_and_nothing_else(alone):
    study = alone(images=False)
    before = page.write_report(study).read_bytes()
    stored = reading.read_json(study.derived / "numbers.json")
    del stored["clinical.flow.active.analysed"]
    (study.derived / "numbers.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(quoting.UnknownNumber, match=r"no 'clinical\.flow\.active\.analysed'"):
        page.write_report(study)
    assert (study.derived / "report" / "index.html").read_bytes() == before
    assert not list(study.derived.glob(".report*"))


def test_a_second_report_takes_the_place_of_the_first(alone):
    study = alone(images=False)
    first = page.write_report(study)
    (first.parent / "stale.txt").write_text("old")
    assert page.write_report(study).read_bytes() == first.read_bytes()
    assert not (first.parent / "stale.txt").exists()


def test_a_page_that_is_too_large_is_refused(alone, monkeypatch):
    study = alone(images=False)
    monkeypatch.setattr(page, "LIMIT", 10_000)
    with pytest.raises(ValueError, match=r"make the figures in .* smaller"):
        page.write_report(study)


def test_figures_of_one_number_stand_in_the_order_of_their_captions(alone):
    study = alone(images=False)
    for name in ("figure3_b", "figure3_a", "figure3_c"):
        Image.new("RGB", (30, 20)).save(study.figures / f"{name}.png")
    captions = {"figure3_b": {"caption": "(a) One. (b) Two."}, "figure3_a": {"caption": "(a) One."}}
    (study.figures / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    evidence = quoting.Evidence(study)
    figures = embedding.read_figures(evidence)["other"]
    assert [figure["label"] for figure in figures] == ["Figure 3", "Figure 3, continued"]
    assert [figure["id"] for figure in figures] == ["figure-figure3-b", "figure-figure3-a"]


@pytest.mark.parametrize(
    ("caption", "parts"),
    [
        ("(a) One (n = 3). Two. (b) Three.", [("a", "One (n = 3). Two."), ("b", "Three.")]),
        ("First. (a) One.", [("", "First."), ("a", "One.")]),
        ("No panel, case (b) of two.", [("", "No panel, case (b) of two.")]),
        ("", []),
    ],
)
def test_captions_are_split_at_the_letters_of_panels(caption, parts):
    assert page.split_panels(caption) == parts


def test_characteristics_have_the_words_and_units_of_the_sidecar(alone):
    study = alone(images=False)
    about = {"age": {"Description": "Age", "Units": "year"}, "sex": {"Description": "Sex"}}
    (study.root / "participants.json").write_text(json.dumps(about), encoding="utf-8")
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    assert written.select_one("#table-baseline tbody th").get_text() == "Age, years"
    assert "active − sham in pooled" in words(written, "#table-baseline")


def test_the_largest_parts_of_the_joint_model_are_named(alone):
    study = alone()
    shares = {"receptor": ["D1", "MOR", "NET"], "annotation": ["a", "b", "c"]}
    shares |= {"total_dominance": [0.1, 0.3, 0.01], "percent": [24.4, 73.2, 2.4]}
    table = pd.DataFrame(shares | {"p_fwe": [0.3, 0.02, 0.9]})
    writing.write(study.derived / "receptors", {"dominance.tsv": table}, keep_others=True)
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    said = words(written, "#results")
    assert "variance are those of MOR (73 %) and D1 (24 %). Family-wise p < .05" in said
    assert "1 of 3 receptors" in said


def test_large_figures_are_made_narrower_until_they_fit(alone, monkeypatch):
    study = alone(images=False)
    noise = np.random.default_rng(0).integers(0, 256, (900, 2400, 3), np.uint8)
    Image.fromarray(noise).save(study.figures / "figure2_noise.png")
    monkeypatch.setattr(embedding, "FIGURES_LIMIT", 600_000)
    figures = embedding.read_figures(quoting.Evidence(study))
    found = {figure["id"]: figure for group in figures.values() for figure in group}
    assert found["figure-figure2-noise"]["width"] in (1000, 700)
    assert found["figure-figure1-clinical"]["width"] == 300
    assert sum(len(figure["uri"]) for figure in found.values()) <= 600_000


def test_figures_of_an_earlier_version_and_single_panels_stay_away(alone):
    study = alone(images=False)
    for name in ("figure1_clinical", "figure1_forest", "figure7_old"):
        Image.new("RGB", (30, 20)).save(study.figures / f"{name}.png")
    captions = {"figure1_clinical": {"caption": "(a) Scores. (b) Forest."}, "figure1_forest": {}}
    (study.figures / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    manifest = report_manifest.read_manifest(study)
    about = {"sha256": "0", "bytes": 1}
    wrote = {f"{{figures}}/{name}.png": about for name in ("figure1_clinical", "figure1_forest")}
    step = manifest["steps"]["01_clinical_outcomes"] | {"outputs": wrote}
    report_manifest.write_manifest(study, manifest["steps"] | {"04_figures": step}, {})
    evidence = quoting.Evidence(study)
    figures = embedding.read_figures(evidence)
    found = [figure["id"] for group in figures.values() for figure in group]
    assert found == ["figure-figure1-clinical"]


def test_figures_of_a_quick_run_are_shown_instead_of_those_beside_them(alone):
    study = alone(images=False)
    quick = study.figure_folder(quick=True)
    quick.mkdir()
    Image.new("RGB", (30, 20)).save(quick / "figure1_clinical.png")
    said = {"figure1_clinical": {"title": "Few", "caption": "Quick.", "alt": "Lines."}}
    (quick / "captions.json").write_text(json.dumps(said), encoding="utf-8")
    manifest = report_manifest.read_manifest(study)
    wrote = {"{figures}/quick/figure1_clinical.png": {"sha256": "0", "bytes": 1}}
    step = manifest["steps"]["01_clinical_outcomes"] | {"outputs": wrote}
    report_manifest.write_manifest(study, manifest["steps"] | {"04_figures": step}, {})
    evidence = quoting.Evidence(study)
    found = embedding.read_figures(evidence)
    (figure,) = (figure for group in found.values() for figure in group)
    assert (figure["title"], figure["width"]) == ("Few", 30)
    assert figure["png"] == "figures/figure1_clinical.png"
    assert figure["notebook"] == "04_figures"


def test_views_are_linked_by_their_titles(soup):
    (link,) = soup.select("#views a")
    assert (link.get_text(), link["href"]) == ("Slices of t", "../vbm/views/brain.html")


def test_what_a_run_says_of_the_expected_numbers_stands_at_the_head(alone):
    study = alone(images=False)
    said = {"lines": ["412 of 412 numbers agree with the published run", "more"]}
    (study.derived / "comparison.json").write_text(json.dumps(said), encoding="utf-8")
    written = BeautifulSoup(page.write_report(study).read_text("utf-8"), "html.parser")
    assert written.select_one("header .agreement").get_text() == f"{said['lines'][0]}."


def test_nothing_leads_out_of_the_results_and_few_words_are_unfolded(soup):
    hrefs = [a["href"] for a in soup.select("a[href]")]
    assert not [href for href in hrefs if href.startswith(("../..", "/", "http", "file"))]
    shown = BeautifulSoup(str(soup.select_one("body")), "html.parser")
    for part in shown.select("details > :not(summary), script"):
        part.decompose()
    assert len(shown.get_text(" ").split()) < 2500


def test_methods_and_results_can_be_quoted_from(index):
    text = (index.parent / "methods_and_results.md").read_text(encoding="utf-8")
    assert text.startswith("# A tiny trial\n\n**SIMULATED**\n\n## Methods\n\n### Participants")
    assert "<a" not in text
    cited = set(re.findall(r"@([a-z]+)", text))
    listed = re.findall(
        r"^@\w+\{(\w+),", (index.parent / "references.bib").read_text("utf-8"), re.M
    )
    assert cited == set(listed)
    assert len(listed) == len(set(listed)) > 9


def test_every_reference_is_cited_and_printed(soup):
    assert words(soup, "#ref-kenward").startswith("Kenward MG, Roger JH. Small sample inference")
    assert words(soup, "#ref-consort").startswith("Hopewell S, et al. CONSORT 2025 statement")
    assert words(soup, "#ref-kenward").endswith("Biometrics 1997;53:983–997.")
    assert soup.select_one("a.cite[href='#ref-kenward']").get_text() == "Kenward 1997"


# --- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page is not opened in a browser")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Open a file; what it says on the console and what it asks for is kept in lists."""
    pages = []

    def open_file(path, width=1280):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.said, tab.asked = [], []
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.goto(path.as_uri())
        pages.append(tab)
        return tab

    yield open_file
    for tab in pages:
        tab.close()


def elsewhere(tab, path):
    return [url for url in tab.asked if url != path.as_uri() and not url.startswith("data:")]


def test_the_page_opens_without_error_and_asks_for_nothing(open_page, index):
    tab = open_page(index)
    assert tab.said == []
    assert elsewhere(tab, index) == []
    assert index.stat().st_size < page.LIMIT


def test_every_picture_is_there(open_page, index):
    tab = open_page(index)
    widths = tab.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
    assert len(widths) == 3
    assert min(widths) > 0
    assert tab.locator(".flag").inner_text() == "SIMULATED"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(open_page, index, width):
    tab = open_page(index, width)
    tab.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_contents_are_folded_on_a_phone_only(open_page, index):
    folded = "document.getElementById('contents').open"
    assert open_page(index, 1280).evaluate(folded) is True
    assert open_page(index, 390).evaluate(folded) is False


def test_a_number_opens_a_note_from_the_keyboard_and_closes_with_escape(open_page, index):
    tab = open_page(index)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "q"
    asked = tab.evaluate("document.activeElement.hash")
    tab.keyboard.press("Enter")
    note = tab.locator("#quote")
    note.wait_for(state="visible")
    assert "estimate (scale HAMD-17, visit week2)" in note.inner_text()
    assert note.locator("a").first.get_attribute("href") == "../clinical/mmrm_contrasts.tsv"
    assert tab.evaluate("document.activeElement.closest('#quote') !== null")
    tab.keyboard.press("Escape")
    note.wait_for(state="hidden")
    assert tab.evaluate("document.activeElement.hash") == asked
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.hash") != asked
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('li') !== null")
    assert (
        tab.evaluate("document.querySelectorAll('.answers a.q:not([tabindex=\"-1\"])').length") == 3
    )


def test_tab_reaches_tables_links_and_folded_parts(open_page, index):
    tab = open_page(index)
    unfold = "part => { part.closest('details').open = true; }"
    tab.eval_on_selector("#table-contrasts", unfold)
    tab.focus("#table-contrasts .scroll")
    reached = []
    for _ in range(3):
        reached.append(tab.evaluate("document.activeElement.matches('.scroll, summary, a')"))
        tab.keyboard.press("Tab")
    assert reached == [True, True, True]


def test_a_link_to_a_number_unfolds_the_list(open_page, index):
    tab = open_page(index)
    tab.goto(f"{index.as_uri()}#n3")
    assert tab.evaluate("document.getElementById('all-numbers').open") is True


def test_a_notebook_opens_offline_with_readable_formulas(open_page, index):
    path = index.parent / "notebooks" / "01_clinical_outcomes.html"
    tab = open_page(path)
    assert tab.said == []
    assert elsewhere(tab, path) == []
    assert "SIMULATED" in tab.inner_text(".of-report")
    assert "\\alpha + \\beta" in tab.inner_text("main")
    assert tab.get_attribute(".of-report a", "href") == "../index.html"
