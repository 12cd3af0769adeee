"""A study of real people with planted secrets: none is in anything that a run may share."""

import base64
import gzip
import io
import json
import re
import zipfile
from types import SimpleNamespace
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin
from small_study import write_study
from typer.testing import CliRunner

import analysis_lib.figures
from analysis_lib.__main__ import app
from analysis_lib.figures import catalogue
from analysis_lib.pipeline import running
from analysis_lib.pipeline.plan import make_plan
from analysis_lib.report import export, sentences
from analysis_lib.results import writing
from analysis_lib.results.problems import NotShareable, PipelineError
from analysis_lib.study import pseudonyms
from analysis_lib.study.contract import load_study

HOME = "drmustermann"  # a user, whose folder holds everything
REASON = "moved away, ask Anna Wolkenstein, phone 0171-5550123"
TERM = "fainted in the office of Dr Hagedornbusch"
SITE = "Praxis Dr Quittenbaum"
DATE = "2019-03-14"
WORDS = ("Wolkenstein", "5550123", "Hagedornbusch", "Quittenbaum", DATE, HOME)


def planted(path):
    """Make the small trial one of real people, and plant what must not be told."""
    content = yaml.safe_load(path.read_text(encoding="utf-8")) | {"covariates": ["site"]}
    content["scales"] = [scale for scale in content["scales"] if "primary" in scale]
    del content["simulated"]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    bids = path.parent / "bids"
    for table in bids.rglob("*.tsv"):
        text = re.sub(r"\bsub-(\d\d)\b", r"sub-MUC80\1", table.read_text(encoding="utf-8"))
        table.write_text(text, encoding="utf-8")
    for file in sorted(bids.rglob("*sub-*"), reverse=True):
        file.rename(file.with_name(file.name.replace("sub-", "sub-MUC80")))
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    people["site"] = ["north"] * (len(people) - 3) + [SITE] * 3
    people["image_missing"] = [REASON if k == 2 else "n/a" for k in range(len(people))]
    people["born"] = DATE
    people.to_csv(bids / "participants.tsv", sep="\t", index=False)
    sessions = bids / "stimulation.tsv"
    sessions.write_text(sessions.read_text().replace("n/a", DATE), encoding="utf-8")
    with (bids / "adverse_events.tsv").open("a", encoding="utf-8") as events:
        events.write(f"sub-MUC8007\tses-week1\t{TERM}\tsevere\tyes\tno\n")
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory, without_kernels):
    """Notebooks 01 and S0 of the planted trial, its manifest, report and RO-Crate."""
    folder = tmp_path_factory.mktemp("users") / HOME
    folder.mkdir()
    study = load_study(planted(write_study(folder)), folder / "out")
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis_lib.figures, "panel", caption)
        done = running.run(make_plan(study, ["01", "S0"], quick=True), terminal)
    assert done.report
    return SimpleNamespace(study=study, told="\n".join(terminal.notes))


class Terminal(running.Quiet):
    """Keeps what a run says."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def caption(results, name, **options):
    """Stands for ``figures.panel``: what a panel says, without drawing it."""
    return str(vars(catalogue.CATALOGUE[name](results, **options)))


def shared(study):
    paths = [p for p in study.place.output.rglob("*") if p.is_file()]
    return [p for p in paths if "private" not in p.parts and p.name != ".run.lock"]


def test_no_secret_is_in_any_output(ran):
    raw = (ran.study.root / "participants.tsv").read_text() + str(ran.study.root)
    raw += "".join((ran.study.root / f).read_text() for f in ("adverse_events.tsv",))
    assert all(word in raw for word in WORDS)
    paths = shared(ran.study)
    assert {"manifest.json", "ro-crate-metadata.json", "index.html"} <= {p.name for p in paths}
    for path in paths:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        content += path.name.encode()
        found = [word for word in (*WORDS, "MUC80") if word.encode() in content]
        assert not found, f"{path.name}: {found}"


def test_the_terminal_names_what_the_outputs_do_not(ran):
    assert REASON in ran.told
    assert TERM in ran.told


def test_tables_about_participants_lie_apart_under_pseudonyms(ran):
    tables = {p.relative_to(ran.study.private).as_posix() for p in ran.study.private.rglob("*.tsv")}
    names = ("clinical/scores", "conduct/dose", "conduct/influence", "conduct/residuals")
    assert tables == {f"{name}.tsv" for name in names}
    known = set(pseudonyms.read_key(ran.study).values())
    for name in tables:
        people = pd.read_csv(ran.study.private / name, sep="\t")["participant_id"]
        assert set(people) <= known
    for path in shared(ran.study):
        if path.suffix == ".tsv":
            assert "participant_id" not in path.read_text(encoding="utf-8").split("\n")[0]


def test_the_manifest_names_images_by_pseudonym_and_checksum(ran):
    manifest = json.loads((ran.study.derived / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["protected"] is True
    inputs = manifest["steps"]["01_clinical_outcomes"]["inputs"]
    images = [name for name in inputs if name.endswith(".nii.gz")]
    assert len(images) == 39
    known = "|".join(pseudonyms.read_key(ran.study).values())
    assert all(re.fullmatch(rf"{{data}}/({known})/[0-9a-f]{{12}}\.nii\.gz", n) for n in images)
    assert "{data}/phenotype/hamd17.tsv" in inputs


def test_serious_harms_are_counted_though_their_words_are_not_shown(ran):
    rows = pd.read_csv(ran.study.derived / "conduct" / "adverse_events.tsv", sep="\t")
    rows = rows.set_index(["group", "term"])
    assert rows.loc["term"].index.tolist() == ["other"]
    serious = rows.loc[("serious", "any serious event")]
    assert serious["participants_active"] + serious["participants_control"] == 1


def test_nothing_is_run_again_and_protection_is_not_mixed(ran):
    plan = make_plan(ran.study, ["01", "S0"], quick=True)
    assert {outcome.status for outcome in running.run(plan).outcomes} == {"up to date"}
    named = load_study(ran.study.path, ran.study.place.output, identifiable=True)
    with pytest.raises(PipelineError, match=r"identifiable expected, found .*pseudonyms"):
        running.run(make_plan(named, ["01"], quick=True))


def test_what_is_identifiable_says_so(tmp_path):
    study = load_study(planted(write_study(tmp_path)), tmp_path / "out", identifiable=True)
    writing.write_numbers(study, "clinical", {"n": (1, "means.tsv")})
    (entry,) = json.loads((study.derived / "numbers.json").read_text()).values()
    assert entry["label"] == "IDENTIFIABLE"
    assert "**IDENTIFIABLE**" in sentences.notice(study)
    with pytest.raises(NotShareable, match="that may name participants"):
        export.export(study, tmp_path / "pack.zip")


# --- the pack


def test_links_of_the_report_lead_to_files_in_the_pack(ran, tmp_path):
    options = ["--to", str(tmp_path / "pack.zip"), "--output", str(ran.study.place.output)]
    done = CliRunner().invoke(app, ["export", str(ran.study.path), *options])
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(tmp_path / "pack.zip") as pack:
        names = pack.namelist()
        pack.extractall(tmp_path / "unpacked")
    assert not [name for name in names if "private" in name or "/." in name]
    (index,) = (tmp_path / "unpacked").rglob("index.html")
    soup = BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser")
    links = {a["href"].split("#")[0] for a in soup.select("a[href]")}
    links = {unquote(link) for link in links if link and "://" not in link}
    assert len(links) > 10
    assert not [link for link in links if not (index.parent / link).is_file()]


def test_a_pack_with_a_secret_is_refused_and_the_secret_not_told(ran, tmp_path):
    path = ran.study.derived / "clinical" / "note.json"
    path.write_text(json.dumps({"said by": "wolkenstein", "who": "sub-MUC8003"}))
    try:
        with pytest.raises(NotShareable) as refused:
            export.export(ran.study, tmp_path / "pack.zip")
    finally:
        path.unlink()
    told = str(refused.value)
    assert "clinical/note.json: nothing about single participants expected" in told
    assert "1 names or numbers from free text, 2 participant_id" in told  # with and without sub-
    assert "olkenstein" not in told
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
