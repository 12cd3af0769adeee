"""stimulation.json: what it may hold, and which items of the checklists it answers."""

import json

import pytest

from analysis_lib.clinical import consort
from analysis_lib.results.problems import CompendiumError
from analysis_lib.study.conduct import read_protocol
from analysis_lib.study.participants import read_participants

PROTOCOL = {"target": "left DLPFC", "coordinates": [-38, 44, 26], "frequency_hz": 10}


def read(tiny, content):
    study = tiny.write()
    text = content if isinstance(content, str) else json.dumps(content)
    (study.root / "stimulation.json").write_text(text)
    return read_protocol(study, read_participants(study))


def test_what_is_recorded_is_told_with_its_unit(tiny):
    tiny.participants["target_x"] = ["-40", "-42", *["n/a"] * 6]
    tiny.participants["target_y"], tiny.participants["target_z"] = "40", "30"
    column = {"pulses": {"Description": "of a session"}}  # of the sidecar of stimulation.tsv
    table = read(tiny, PROTOCOL | column)
    assert table.to_numpy().tolist() == [
        ["target", "left DLPFC", ""],
        ["coordinates", "-38.0, 44.0, 26.0", "MNI, mm"],
        ["frequency_hz", "10.0", "Hz"],
        ["mean of 2 individual targets", "-41.0, 40.0, 30.0", "MNI, mm"],
    ]


def test_without_a_file_there_is_no_protocol(tiny):
    study = tiny.write()
    assert read_protocol(study, read_participants(study)) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"stimulation\.json: a JSON object expected, found "),
        ({"coils": "figure of eight"}, r"coils: unknown key; known: target, coordinates"),
        ({"frequency_hz": -1}, r"frequency_hz: Input should be greater than 0, found -1"),
        ({"coordinates": [1, 2]}, r"coordinates: .*at least 3"),
    ],
)
def test_what_is_wrong_is_named(tiny, content, told):
    with pytest.raises(CompendiumError, match=told):
        read(tiny, content)


@pytest.mark.parametrize("guideline", consort.GUIDELINES)
def test_a_checklist_answers_no_more_than_was_recorded(tiny, guideline):
    study = tiny.write()
    nothing = consort.consort_checklist(study, [], guideline)
    everything = [
        *consort.RECORDED,
        *(f"protocol.{key}" for key in ("coil", "pulses_per_session", "pattern")),
    ]
    more = consort.consort_checklist(study, everything, guideline)
    known = {"answered", "partly", "not in the data", "not applicable"}
    assert set(nothing["status"]) | set(more["status"]) <= known
    assert more["status"].eq("answered").sum() >= nothing["status"].eq("answered").sum()
    assert nothing["where"].ne("").eq(nothing["status"].isin(["answered", "partly"])).all()
    if guideline in ("tidier", "chipchase"):
        rows = [table.set_index("topic")["status"].filter(like="coil") for table in (nothing, more)]
        assert rows[0].iloc[0] == "not in the data"
        assert rows[1].iloc[0] == "answered"
