"""The JSON schema of the study file: up to date, and of one mind with the check."""

import importlib.util
import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from analysis_lib.results.environment import PROJECT
from analysis_lib.study.contract import STUDIES, Study


@pytest.fixture(scope="module")
def script():
    found = importlib.util.spec_from_file_location("schema", PROJECT / "docs" / "schema.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def validator(script):
    return Draft202012Validator(json.loads(script.PLACE.read_text(encoding="utf-8")))


def test_the_file_is_that_of_the_model_and_each_key_has_its_meaning(script):
    assert script.PLACE.read_text(encoding="utf-8") == script.text()
    keys = script.schema()["properties"]
    assert set(keys) == set(Study.model_fields)
    assert all(key["description"] for key in keys.values())


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yml")), ids=lambda path: path.stem)
def test_every_study_file_keeps_to_it_and_names_it(path, validator):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=study.schema.json\n")
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"visit": {}}, "$"),
        ({"arms": "one"}, "$.arms"),
        ({"visits": {"baseline": "first"}}, "$.visits.baseline"),
        ({"scales": [{"name": "HAMD"}]}, "$.scales[0]"),
        ({"accept": ["everything"]}, "$.accept[0]"),
    ],
)
def test_what_the_check_refuses_an_editor_underlines(change, place, validator):
    demo = yaml.safe_load((STUDIES / "demo.yml").read_text(encoding="utf-8"))
    assert place in {error.json_path for error in validator.iter_errors(demo | change)}
