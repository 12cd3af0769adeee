"""The RO-Crate of a stub project's results, and where each of its numbers comes from."""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
import yaml
from conftest import STUB_STUDY, write_stub_study
from rocrate import vocabs
from rocrate.rocrate import ROCrate

from analysis_lib.pipeline import plan as pipeline_plan
from analysis_lib.pipeline import running, steps
from analysis_lib.pipeline.steps import Step
from analysis_lib.report import crate
from analysis_lib.report import manifest as report_manifest
from analysis_lib.results import files, hashing, writing
from analysis_lib.results.environment import PROJECT
from analysis_lib.study.contract import load_study

PARAMETERS = """\
study: str = "demo"  # name or path of a study file
quick: bool = False  # few permutations
fwhm_mm: float = 8.0  # smoothing, mm
words: list = ["a", "b"]  # text
seed: int = 4  # of the random numbers
"""
READ = """\
from analysis_lib.results import writing
from analysis_lib.study.contract import load_study
"""
FIRST = """\
import pandas as pd
trial = load_study(study)
table = pd.DataFrame({"arm": ["active"], "n": [len(words)], "estimate": [fwhm_mm]})
writing.write(trial.derived / "clinical", {"means.tsv": table, "flow.json": {"active": 2}})
writing.write_numbers(trial, "clinical", {"estimate": (fwhm_mm, "means.tsv")})
"""
LAST = """\
trial = load_study(study)
writing.write(trial.figures, {"a figure.md": "text"})
"""
STEPS = (
    Step("01_first", reads=(steps.tables,), writes=("clinical",)),
    Step("04_last", reads=(steps.numbers,), uses=("clinical",), writes=("figures",)),
)
# Run by the validator's own Python; the contexts are handed in, so that nothing is downloaded.
VALIDATE = """\
import json, sys
from pathlib import Path
import requests
folder, contexts, profile = sys.argv[1:]
contexts = json.loads(Path(contexts).read_text())
def send(self, request, **options):
    response = requests.Response()
    response.status_code, response.url, response.request = 200, request.url, request
    response.headers["Content-Type"] = "application/ld+json"
    response._content = json.dumps(contexts[request.url]).encode()
    return response
requests.adapters.HTTPAdapter.send = send
from rocrate_validator import services
found = services.validate({
    "rocrate_uri": folder, "profile_identifier": profile, "requirement_severity": "RECOMMENDED",
    "no_cache": True,
})
print(json.dumps([[i.severity.name, i.check.identifier, i.message] for i in found.get_issues()]))
"""


def write_notebook(path, code):
    """A notebook of parameters and two cells."""
    new = nbformat.v4
    cells = [new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [new.new_code_cell(READ), new.new_code_cell(code)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new.new_notebook(cells=cells), path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, without_kernels):
    """A stub project after a run of both its notebooks."""
    folder = tmp_path_factory.mktemp("finished")
    write_notebook(folder / "notebooks" / "01_first.ipynb", FIRST)
    write_notebook(folder / "notebooks" / "04_last.ipynb", LAST)
    write_stub_study(folder)
    (folder / "raw" / "dataset_description.json").write_text('{"License": "PDDL"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPENDIUM_OUTPUT", str(folder))
        study = load_study(folder / "tiny.yml")
        plan = pipeline_plan.make_plan(study, steps=STEPS, notebooks=folder / "notebooks")
        assert running.run(plan).failure is None
    return folder


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """The study of a copy of that project, for a test to change."""
    shutil.copytree(finished, tmp_path / "project")
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "project"))
    return load_study(tmp_path / "project" / "tiny.yml")


def entities(path):
    """Entities of a crate's metadata file, by @id."""
    return {entity["@id"]: entity for entity in json.loads(path.read_text())["@graph"]}


def references(value):
    """Every @id that a property's value refers to."""
    found = value if isinstance(value, list) else [value]
    return [item["@id"] for item in found if isinstance(item, dict)]


def edit(study, change):
    """Change the manifest."""
    manifest = report_manifest.read_manifest(study)
    change(manifest)
    files.write_text(study.derived / "manifest.json", json.dumps(manifest))
    return manifest


# --- the crate ---


def test_rocrate_loads_it_back_with_every_file_of_the_folder(study):
    path = crate.write_crate(study)
    assert path == study.derived / "ro-crate-metadata.json"
    loaded = ROCrate(study.derived)
    on_disk = {p.relative_to(study.derived).as_posix() for p in study.derived.rglob("*")}
    on_disk = {name for name in on_disk if (study.derived / name).is_file()}
    hidden = {name for name in on_disk if Path(name).name.startswith(".")}
    assert {unquote(e.id) for e in loaded.data_entities} == on_disk - hidden - {path.name}
    assert loaded.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"


def test_each_file_has_the_sha256_and_size_of_the_one_on_disk(study):
    graph = entities(crate.write_crate(study))
    files = [e for e in graph.values() if e["@type"] == "File"]
    assert len(files) == 7  # 2 notebooks, table and sidecar, flow, numbers, manifest
    for entity in files:
        content = (study.derived / unquote(entity["@id"])).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert entity["contentSize"] == str(len(content))
        assert entity["description"]


def test_graph_is_flat_and_every_reference_resolves(study):
    graph = entities(crate.write_crate(study))
    assert len(graph) == len(
        json.loads((study.derived / report_manifest.CRATE).read_text())["@graph"]
    )
    for entity in graph.values():
        for key, value in entity.items():
            for item in value if isinstance(value, list) else [value]:
                assert not isinstance(item, dict) or list(item) == ["@id"], key
            if entity["@id"] != "ro-crate-metadata.json" or key != "conformsTo":
                assert set(references(value)) <= set(graph), (entity["@id"], key)


def test_every_term_is_of_the_contexts_that_the_crate_names(study):
    content = json.loads(crate.write_crate(study).read_text())
    assert content["@context"] == ["https://w3id.org/ro/crate/1.1/context", crate.TERMS]
    known = {*vocabs.RO_CRATE["@context"], "sha256", "environment", "@id", "@type"}
    for entity in content["@graph"]:
        types = entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]
        assert {*entity, *types} <= known, entity["@id"]


def test_an_action_a_notebook_with_inputs_parameters_packages_and_results(study):
    graph = entities(crate.write_crate(study))
    action = graph["#run/01_first"]
    assert action["@type"] == "CreateAction"
    assert datetime.fromisoformat(action["startTime"]) <= datetime.fromisoformat(action["endTime"])
    inputs = references(action["object"])
    assert {"#study", "#data/participants.tsv", "#data/phenotype/hamd17.tsv"} < set(inputs)
    smoothing = graph["#parameter/01_first/fwhm_mm"]
    assert (smoothing["value"], smoothing["description"]) == (8.0, "smoothing, mm")
    assert graph["#parameter/01_first/words"]["value"] == '["a", "b"]'
    results = {"clinical/means.tsv", "clinical/means.json", "clinical/flow.json", "numbers.json"}
    assert set(references(action["result"])) == results | {"notebooks/01_first.ipynb"}
    (notebook,) = references(action["instrument"])
    packages = [graph[name] for name in references(graph[notebook]["softwareRequirements"])]
    manifest = report_manifest.read_manifest(study)["steps"]["01_first"]
    named = {p["name"]: p["version"] for p in packages if p["@type"] != "SoftwareSourceCode"}
    assert named == manifest["packages"]
    assert manifest["notebook"] in graph[notebook]["description"]


def test_a_notebook_that_wrote_no_number_has_no_numbers_among_its_results(study):
    graph = entities(crate.write_crate(study))
    action = graph["#run/04_last"]
    assert "numbers.json" in references(action["object"])
    assert references(action["result"]) == ["notebooks/04_last.ipynb", "#figures/a%20figure.md"]
    figure = graph["#figures/a%20figure.md"]
    assert (figure["@type"], figure["name"]) == ("CreativeWork", "{figures}/a figure.md")
    assert figure["sha256"] == hashing.file_hash(study.figures / "a figure.md")


def test_tables_are_described_by_their_columns(study):
    graph = entities(crate.write_crate(study))
    text = graph["clinical/means.tsv"]["description"]
    assert text.startswith("Table. arm: trial arm: active or control; n: number of participants;")
    assert graph["clinical/means.json"]["description"] == "Columns of means.tsv"
    assert graph["clinical/means.tsv"]["encodingFormat"] == "text/tab-separated-values"


def test_simulated_and_quick_are_said_where_a_reader_looks_first(study):
    root = entities(crate.write_crate(study))["./"]
    assert root["name"] == "A tiny trial: results (SIMULATED)"
    assert root["description"].startswith("SIMULATED data: no evidence about any treatment.")
    assert root["keywords"][0] == "SIMULATED"
    assert "quick" not in root["description"]
    edit(study, lambda manifest: manifest.update(quick=True))
    root = entities(crate.write_crate(study))["./"]
    assert "A quick run: few permutations" in root["description"]


def test_a_real_trial_is_not_called_simulated_and_its_patients_are_named_as_a_limit(study):
    study.path.write_text(STUB_STUDY.replace("simulated: true", "simulated: false"))
    real = load_study(study.path)

    def mark(manifest):
        for step in manifest["steps"].values():
            step["simulated"] = False

    edit(study, mark)
    text = crate.write_crate(real).read_text()
    assert "SIMULATED" not in text
    assert (
        "share them only as consent"
        in entities(real.derived / report_manifest.CRATE)["#terms"]["description"]
    )


def test_no_licence_is_claimed_that_the_inputs_do_not_name(study):
    graph = entities(crate.write_crate(study))
    (terms,) = references(graph["./"]["license"])
    assert "no licence of their own" in graph[terms]["description"]
    assert "data: PDDL;" in graph[terms]["description"]
    (licence,) = references(graph["#data/participants.tsv"]["license"])
    assert graph[licence]["name"] == "PDDL"
    assert "license" not in graph["#study"]
    (code,) = references(graph["#notebook/01_first"]["license"])
    assert code == "https://spdx.org/licenses/BSD-3-Clause"
    (study.root / "dataset_description.json").unlink()
    graph = entities(crate.write_crate(study))
    assert "none named" in graph["#terms"]["description"]
    assert "license" not in graph["#data/participants.tsv"]


def test_a_receptor_map_carries_the_licence_that_neuromaps_lists(study):
    name = "{receptors}/annotations/kaller2017/sch23390/MNI152/map.nii.gz"
    other = "{receptors}/annotations/nobody/nothing/MNI152/map.nii.gz"
    about = {"sha256": "0" * 64, "bytes": 3}
    edit(study, lambda m: m["steps"]["01_first"]["inputs"].update({name: about, other: about}))
    graph = entities(crate.write_crate(study))
    found = graph["#receptors/annotations/kaller2017/sch23390/MNI152/map.nii.gz"]
    (licence,) = references(found["license"])
    assert graph[licence]["name"] == "CC BY-NC-SA 4.0 (neuromaps)"
    assert "license" not in graph["#receptors/annotations/nobody/nothing/MNI152/map.nii.gz"]


def test_no_path_of_this_machine_is_told(study):
    text = crate.write_crate(study).read_text()
    for place in (study.derived, study.root, PROJECT, Path.home(), Path("/tmp")):
        assert f"{place}/" not in text
    assert "file://" not in text
    assert "../" not in text


def test_the_same_manifest_gives_the_same_bytes(study):
    first = crate.write_crate(study).read_bytes()
    assert crate.write_crate(study).read_bytes() == first
    assert not list(study.derived.glob(".*partial"))


def test_an_input_that_was_made_anew_since_is_an_entity_of_its_own(study):
    before = {"sha256": "ab" * 32, "bytes": 5}
    edit(study, lambda m: m["steps"]["04_last"]["inputs"].update({"clinical/means.tsv": before}))
    graph = entities(crate.write_crate(study))
    earlier = "#earlier/abababababab/clinical/means.tsv"
    assert earlier in references(graph["#run/04_last"]["object"])
    assert graph[earlier]["description"].startswith("Version that was read, replaced since.")
    assert graph["clinical/means.tsv"]["sha256"] != graph[earlier]["sha256"]


def test_a_report_beside_the_results_is_a_file_of_the_crate(study):
    files.write_text(study.derived / "report" / "index.html", "<p>text</p>")
    page = entities(crate.write_crate(study))["report/index.html"]
    assert (page["@type"], page["encodingFormat"]) == ("File", "text/html")


@pytest.mark.parametrize("change", [lambda p: p.unlink(), lambda p: p.write_text("other")])
def test_a_file_that_is_not_the_one_of_the_manifest_is_refused(study, change):
    crate.write_crate(study)
    before = (study.derived / report_manifest.CRATE).read_bytes()
    change(study.derived / "clinical" / "means.tsv")
    with pytest.raises(ValueError, match=r"means\.tsv: sha256 .* expected .*, found .* --study"):
        crate.write_crate(study)
    assert (study.derived / report_manifest.CRATE).read_bytes() == before


def test_without_results_there_is_no_crate(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path))
    with pytest.raises(ValueError, match=r"lists no notebook\. Run: .* --study .*tiny"):
        crate.write_crate(tiny.write())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vbm/arm_by_time_p_fwe_t.nii.gz", "family-wise p of the voxel's t"),
        ("vbm/active_change_g.nii.gz", "the change with active treatment: Hedges g"),
        ("grey_matter/sub-1_label-GM_desc-modulated_probseg.nii.gz", "Modulated grey matter"),
        ("vbm/mask.nii.gz", "Voxels that were analysed"),
        ("vbm/something_else.nii.gz", ""),
    ],
)
def test_maps_are_described_by_their_names(study, name, expected):
    text = crate.describe_file(study, name)
    assert expected in text
    assert bool(text) == bool(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_desc-x_space-MNI152.b.nii.gz", "application/gzip"),
        ("x.func.gii", "application/xml"),
        ("x.tsv", "text/tab-separated-values"),
        ("README", "application/octet-stream"),
    ],
)
def test_format_of_a_file(name, expected):
    assert crate.file_format(name) == expected


@pytest.mark.parametrize("profile", ["ro-crate-1.1", "process-run-crate"])
def test_the_validator_of_ro_crates_finds_nothing_that_is_required(study, tmp_path, profile):
    python = os.environ.get("ROC_VALIDATOR")
    if python is None:
        pytest.skip(
            "roc-validator absent: it needs rich below 14, so an environment of its own; "
            "set ROC_VALIDATOR to that environment's python"
        )
    crate.write_crate(study)
    # rocrate brings a later context than 1.1; every term that the crate uses is the same in both
    terms = "https://w3id.org/ro/terms/workflow-run#"
    wfrun = {name: f"{terms}{name}" for name in ("environment", "sha256")}
    contexts = {
        "https://w3id.org/ro/crate/1.1/context": {"@context": vocabs.RO_CRATE["@context"]},
        crate.TERMS: {"@context": wfrun},
    }
    (tmp_path / "contexts.json").write_text(json.dumps(contexts))
    command = [python, "-c", VALIDATE, study.derived, tmp_path / "contexts.json", profile]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout.splitlines()[-1])
    assert [issue for issue in issues if issue[0] == "REQUIRED"] == []
    # Nobody is named as author, publisher or agent, and the code has no public address.
    allowed = ("author", "publisher", "agent", "url", "absolute URI")
    assert [issue for issue in issues if not any(word in issue[2] for word in allowed)] == []


# --- origins of numbers ---


def test_each_number_leads_to_its_file_and_notebook(study):
    table = study.derived / "clinical" / "means.tsv"
    assert report_manifest.number_origins(study) == {
        "clinical.estimate": {
            "value": 8.0,
            "source": "clinical/means.tsv",
            "notebook": "01_first",
            "sha256": hashing.file_hash(table),
        }
    }


def test_a_number_from_an_unknown_file_is_refused(study):
    path = study.derived / "numbers.json"
    path.write_text(path.read_text().replace("means.tsv", "other.tsv"))
    with pytest.raises(ValueError, match=r"clinical.estimate comes from clinical/other.tsv, an ou"):
        report_manifest.number_origins(study)


def test_a_number_that_was_changed_is_refused(study):
    path = study.derived / "numbers.json"
    path.write_text(path.read_text().replace("8.0", "9.0"))
    with pytest.raises(ValueError, match="the numbers that 01_first wrote expected, found others"):
        report_manifest.number_origins(study)


def test_without_results_no_number_has_an_origin(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path))
    assert report_manifest.number_origins(tiny.write()) == {}


def test_the_place_of_a_number_is_named_where_one_cell_holds_it(tmp_path):
    rows = {"scale": ["HAMA", "HAMD-17"], "visit": ["week3", "week3"]}
    rows |= {"estimate": [-2.5, -5.0], "se": [1.0, 1.0]}
    writing.write(tmp_path / "clinical", {"mmrm_contrasts.tsv": pd.DataFrame(rows)})
    path = tmp_path / "clinical" / "mmrm_contrasts.tsv"
    assert report_manifest.place_of(path, -5.0) == "estimate of HAMD-17, week3"
    assert report_manifest.place_of(path, 1.0) == ""  # two cells
    assert report_manifest.place_of(path, 7) == ""
    assert report_manifest.place_of(path.with_suffix(".json"), -5.0) == ""


# --- the manifest's parts ---


def test_packages_of_the_extra_are_recorded_where_installed(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=2"]\n[project.optional-dependencies]\n'
        'preprocess = ["nibabel>=5; python_version < \'4\'", "no-such-package"]\ndev = ["pytest"]\n'
    )
    versions = report_manifest.package_versions(tmp_path)
    assert {"python", "numpy", "nibabel"} <= set(versions)
    assert not {"no-such-package", "pytest"} & set(versions)
    assert all(
        name in versions or name in report_manifest.INDIRECT for name in ("numpy", "simpleitk")
    )


def test_figures_do_not_make_a_project_differ_from_its_commit(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_text("")
    assert report_manifest.git_state(tmp_path)["dirty"] is False
    (tmp_path / "code.py").write_text("")
    assert report_manifest.git_state(tmp_path)["dirty"] is True


# --- licence and citation ---


def test_citation_licence_and_project_say_the_same():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    licence = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert citation["version"] == project["project"]["version"]
    assert crate.CODE_LICENCE.endswith(f"/{citation['license']}")
    assert licence.startswith("BSD 3-Clause License")
    assert citation["authors"][0]["name"] in licence
    assert citation["references"][0]["doi"] == "10.1016/j.ajp.2025.104445"
