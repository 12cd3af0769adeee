"""Results of a notebook: aside until they are published, read back as they will be."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from analysis_lib.results import begin
from analysis_lib.results.files import write_bytes
from analysis_lib.results.problems import MissingFile
from analysis_lib.results.section import Section


@pytest.fixture
def study(tiny, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tiny.folder / "out"))
    return tiny.write()


def patterns(*values):
    return pd.DataFrame({"pattern": values, "n_active": range(len(values))})


def test_what_is_kept_is_read_back_with_its_types_and_published_whole(study, capsys):
    results = begin(study, "clinical", quick=True)
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4))
    results.keep(missing_patterns=patterns("011", "111"), settings={"quick": True})
    results.keep(t=image, nulls={"draws": np.arange(3)})
    assert results.table("missing_patterns")["pattern"].tolist() == ["011", "111"]
    assert not (study.derived / "clinical").exists()
    results.publish({"n": (2, "missing_patterns.tsv")}, {"a.html": "<p>"})
    published = Section(study, "clinical")
    assert published.table("missing_patterns").equals(results.table("missing_patterns"))
    assert published.quick
    assert published.image("t").shape == (2, 2, 2)
    assert published.arrays("nulls")["draws"].tolist() == [0, 1, 2]
    assert "clinical/views/a.html" in capsys.readouterr().out
    assert not list(study.derived.glob(".clinical*"))


def test_a_notebook_that_has_begun_sees_nothing_of_an_earlier_run_and_leaves_it_alone(study):
    first = begin(study, "clinical")
    first.keep(missing_patterns=patterns("1"), settings={"quick": False})
    first.publish()
    second = begin(study, "clinical")
    second.keep(settings={"quick": False})
    with pytest.raises(MissingFile):
        second.table("missing_patterns")
    del second  # as when a kernel is stopped
    assert Section(study, "clinical").table("missing_patterns")["pattern"].tolist() == ["1"]
    third = begin(study, "clinical")
    third.keep(settings={"quick": False})
    third.publish()
    assert not (study.derived / "clinical" / "missing_patterns.tsv").exists()


def test_a_variant_reads_the_default_results_until_it_has_published_its_own(study):
    begin(study, "clinical").publish()
    first = begin(study, "vbm")
    first.keep(missing_patterns=patterns("0"))
    first.publish()
    variant = study.as_variant("fwhm_mm=4")
    own = begin(variant, "vbm")
    own.keep(missing_patterns=patterns("0", "1"))
    assert len(Section(variant, "vbm").table("missing_patterns")) == 1
    own.publish()
    assert len(Section(variant, "vbm").table("missing_patterns")) == 2
    assert len(Section(study, "vbm").table("missing_patterns")) == 1
    assert Section(variant, "clinical").folder == study.derived / "clinical"


def test_blocks_that_were_kept_go_when_all_is_published(study):
    found = begin(study, "clinical")
    write_bytes(found.blocks / "a.pkl", b"draws")
    found.keep(settings={"quick": False})
    assert (found.blocks / "a.pkl").is_file()
    found.publish()
    assert not found.blocks.exists()
