"""Whatever bytes a file holds, its reader raises nothing but the one error."""

import contextlib
import json
import os

import pytest
from conftest import STUB_STUDY, grey_matter
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_lib.datasets.antidepressant import read_rda
from analysis_lib.results import columns, files
from analysis_lib.results.problems import CompendiumError
from analysis_lib.study import head_size, image_file, parameters, tables
from analysis_lib.study.contract import load_study

TABLE = b"participant_id\tage\tarm\nsub-01\t41\tactive\nsub-02\tn/a\tsham\n"
REPORT = b"<S><subjectmeasures><vol_TIV>1450.5</vol_TIV></subjectmeasures></S>"
CELL = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "seed: int = 0"}
EXAMPLES = int(os.environ.get("EXAMPLES", 80))  # more of them, of other seeds: docs/reliability.md
MAP = grey_matter("sub-01", "baseline").to_bytes()
READERS = {  # a name of the file, a sound content, and who reads it
    "study file": ("tiny.yml", STUB_STUDY.encode(), load_study),
    "table": ("people.tsv", TABLE, lambda path: tables.read_text_table(path, path.name)),
    "values of regions": ("effect.csv", b"region,d\nleft insula,0.3\n", tables.read_any_table),
    "result table": ("flow.tsv", b"arm\tn\nactive\t12\n", columns.read),
    "JSON": ("people.json", b'{"age": {"Units": "year", "Levels": [1, null]}}', files.read_json),
    "notebook": (
        "01.ipynb",
        json.dumps({"cells": [CELL]}).encode(),
        parameters.notebook_parameters,
    ),
    "report of CAT12": ("cat_1.xml", REPORT, lambda path: head_size._read_cat12(path, path.name)),
    "table of deepmriprep": (
        *("tiv1.csv", b"tiv_cm3\n1450\n"),
        lambda path: head_size._read_deepmriprep(path, path.name),
    ),
    "NIfTI": ("map.nii", MAP, image_file.read_image),
    "R data": ("trial.rda", b"RDX3\nX\n" + bytes(40), lambda path: read_rda(path, "data")),
}


def spoilt(content):
    """A sound content in which some bytes are others, which is cut off, or any bytes at all."""
    flips = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)

    def flipped(changes, end):
        content_now = bytearray(content)
        for place, byte in changes:
            content_now[place] = byte
        return bytes(content_now[:end])

    return st.binary(max_size=80) | st.builds(flipped, flips, st.integers(0, len(content)))


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_raises_nothing_but_the_one_error(kind, tmp_path):
    name, sound, read = READERS[kind]
    path = tmp_path / name

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 80, database=None)
    @given(spoilt(sound))
    def check(content):
        path.write_bytes(content)
        with contextlib.suppress(CompendiumError):
            read(path)

    check()


@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "R data"])
def test_a_sound_file_is_read_and_one_that_is_none_is_refused(kind, tmp_path):
    name, sound, read = READERS[kind]
    path = tmp_path / name
    path.write_bytes(sound)
    read(path)
    path.unlink()
    with pytest.raises(CompendiumError):  # removed since it was found
        read(path)
    path.mkdir()
    with pytest.raises(CompendiumError):
        read(path)
