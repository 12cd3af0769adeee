"""The search before results are packed: what it looks for, and in which kinds of file."""

import base64
import gzip
import io
import json
import zipfile

import pytest
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from analysis_lib.__main__ import app
from analysis_lib.report import export, sentences
from analysis_lib.results import writing
from analysis_lib.study.contract import load_study


def test_what_is_identifiable_says_so(tiny, tmp_path):
    tiny.content.pop("public")
    study = load_study(tiny.write().path, tmp_path / "out", identifiable=True)
    writing.write_numbers(study, "clinical", {"n": (1, "means.tsv")})
    (entry,) = json.loads((study.derived / "numbers.json").read_text()).values()
    assert entry["label"] == "IDENTIFIABLE"
    assert "**IDENTIFIABLE**" in sentences.notice(study)


def test_secrets_are_ids_dates_and_what_nobody_declared(tiny):
    tiny.content.pop("public")
    ids = [f"sub-K7{k:02d}" for k in range(7)]
    tiny.participants["participant_id"] = [*ids, "sub-01"]  # as in our own examples
    tiny.participants["born"] = "1979-05-12"
    tiny.participants["image_missing"] = ["Claustrophobia"] + ["rang Anna Wolkenstein"] * 7
    tiny.participants["phone"] = range(15550001, 15550009)
    tiny.content["declared"] = {"image_missing": ["claustrophobia"]}
    found = export.secrets(tiny.write())
    assert {"sub-k700", "k700", "sub-01"} <= found[export.IDS]
    assert found[export.DATES] == {"1979-05-12"}
    assert {"rang anna wolkenstein", "15550001"} <= found[export.WORDS]
    assert {"anna", "wolkenstein"} <= found[export.PARTS]
    assert not any("claustro" in word or word in ("sham", "active") for word in found[export.WORDS])
    assert str(tiny.folder / "bids") in found[export.PATHS]


def test_without_results_nothing_is_packed(tiny, tmp_path):
    options = ["--to", str(tmp_path / "pack.zip"), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["export", str(tiny.write().path), *options])
    assert done.exit_code == 1
    assert "no results yet" in done.output
    assert not (tmp_path / "pack.zip").exists()


def picture():
    about = PngImagePlugin.PngInfo()
    about.add_text("Author", "Wolkenstein")
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=about)
    return file.getvalue()


def packed(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr(name, content)
    return file.getvalue()


def page():
    figure, file = Figure(), io.BytesIO()
    figure.text(0.1, 0.5, "Wolkenstein")
    figure.savefig(file, format="pdf")
    return file.getvalue()


def hidden_in(kind):
    """A file that holds the name, in a way of its kind."""
    encoded = base64.b64encode(picture()).decode()
    cell = {"cells": [{"outputs": [{"data": {"image/png": encoded}}]}]}
    framed = '<iframe srcdoc="&lt;p title=&quot;Wolken&amp;#115;tein&quot;&gt;">'
    return {
        "a.tsv": b"x\nWolkenstein\n",
        "a.json": json.dumps({"ä": ["Wolkens\u0074ein"]}).encode(),
        "a.png": picture(),
        "a.ipynb": json.dumps(cell).encode(),
        "a.html": framed.encode(),
        "b.html": f'<img src="data:image/png;base64,{encoded}">'.encode(),
        "a.zip": packed("b.zip", packed("c.png", picture())),
        "a.npz": packed("Wolkenstein.npy", b"\x93NUMPY"),
        "a.nii.gz": gzip.compress(b"\0" * 148 + b"Wolkenstein" + b"\0" * 300),
        "a.pdf": page(),
    }[kind]


KINDS = ("tsv", "json", "png", "ipynb", "html", "zip", "npz", "nii.gz", "pdf")


@pytest.mark.parametrize("name", [*(f"a.{kind}" for kind in KINDS), "b.html"])
def test_a_name_is_found_in_every_kind_of_file(name):
    found = export.texts(name, hidden_in(name))
    assert export.search(found, {export.WORDS: {"wolkenstein"}})[export.WORDS] == 1
