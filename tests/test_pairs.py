"""make format brings pairs in line and loses no edit; git sees no outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pairs
import pytest
import yaml
from test_jupyterlab import changes, git

from analysis_lib.pipeline.saving import note_saved
from analysis_lib.results.problems import WrongFile

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOK, SCRIPT = "notebooks/01_a.ipynb", "notebooks/percent/01_a.py"


@pytest.fixture
def clone(tmp_path):
    """A repository with one pair, committed, all times equal, and the filter that set-up gives."""
    script = tmp_path / SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text('# %% [markdown]\n# # A\n\n# %% tags=["parameters"]\nn = 1\n', "utf-8")
    pairs.bring_in_line(tmp_path)
    git(tmp_path, "init", "--quiet")
    for name in ("lab/git_filter.sh", "lab/strip.py", ".gitattributes", ".gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    subprocess.run(["sh", tmp_path / "lab/git_filter.sh", sys.executable], check=True)
    git(tmp_path, "add", ".")
    git(tmp_path, *("-c", "user.name=T", "-c", "user.email=t@example.org"), "commit", "-qm", "A")
    (tmp_path / pairs.RECORD).unlink()  # as after a clone
    for name in (NOTEBOOK, SCRIPT):
        os.utime(tmp_path / name, (1e9, 1e9))
    return tmp_path


def edit(path, old="n = 1", new="n = 2"):
    """Another program's edit; the file gets an old date, on which nothing may depend."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, (5e8, 5e8))


def run(path):
    """What JupyterLab writes when the notebook is run and saved."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.language_info = {"name": "python", "version": "3.12.1"}
    for cell in notebook.cells:
        cell.id = f"id-{cell.id}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="hi")], 1
            cell.metadata.trusted = True
    nbformat.write(notebook, path)


@pytest.mark.parametrize(("edited", "other"), [(NOTEBOOK, SCRIPT), (SCRIPT, NOTEBOOK)])
def test_the_edited_file_is_kept_whichever_is_older(clone, edited, other):
    for value in ("2", "3"):  # not committed in between
        before = (clone / edited).read_text("utf-8")
        edit(clone / edited, f"n = {int(value) - 1}", f"n = {value}")
        assert pairs.bring_in_line(clone) == [clone / other]
        assert f"n = {value}" in (clone / other).read_text("utf-8")
        assert (clone / edited).read_text("utf-8") != before
    assert pairs.bring_in_line(clone) == []


def test_neither_is_touched_when_both_were_edited_and_both_are_named(clone):
    edit(clone / NOTEBOOK, new="n = 2")
    edit(clone / SCRIPT, new="n = 3")
    said = rf"^{NOTEBOOK} and {SCRIPT}: they differ, and both were edited\. Carry the changes"
    with pytest.raises(WrongFile, match=said):
        pairs.bring_in_line(clone)
    assert "n = 2" in (clone / NOTEBOOK).read_text("utf-8")
    assert "n = 3" in (clone / SCRIPT).read_text("utf-8")
    (clone / NOTEBOOK).unlink()  # as the message says
    pairs.bring_in_line(clone)
    assert "n = 3" in (clone / NOTEBOOK).read_text("utf-8")


def test_an_edit_of_both_is_refused_without_git_too(clone):
    pairs.bring_in_line(clone)
    (clone / ".git").rename(clone / "no-git")
    edit(clone / SCRIPT)
    assert pairs.bring_in_line(clone) == [clone / NOTEBOOK]
    edit(clone / NOTEBOOK, "n = 2", "n = 4")
    edit(clone / SCRIPT, "n = 2", "n = 3")
    with pytest.raises(WrongFile, match="both were edited"):
        pairs.bring_in_line(clone)


def test_a_notebook_in_conflict_is_named(clone):
    edit(clone / NOTEBOOK, '"cells"', "<<<<<<< HEAD")
    with pytest.raises(WrongFile, match=r"01_a.ipynb: a notebook expected"):
        pairs.bring_in_line(clone)


def test_a_notebook_that_is_open_is_not_rewritten(clone):
    run(clone / NOTEBOOK)
    edit(clone / NOTEBOOK)
    before = (clone / NOTEBOOK).read_bytes()
    assert pairs.bring_in_line(clone) == [clone / SCRIPT]
    assert (clone / NOTEBOOK).read_bytes() == before
    edit(clone / NOTEBOOK, '"language_info"', '"jupytext"')  # JupyterLab would pair it again
    assert pairs.bring_in_line(clone) == [clone / NOTEBOOK]


def test_outputs_stay_in_a_notebook_that_its_script_changes(clone):
    run(clone / NOTEBOOK)
    edit(clone / SCRIPT, "# # A", "# # B")
    assert pairs.bring_in_line(clone) == [clone / NOTEBOOK]
    text = (clone / NOTEBOOK).read_text("utf-8")
    assert "# B" in text
    assert '"hi"' in text


def test_git_sees_nothing_of_a_run_once_it_is_saved(clone):
    run(clone / NOTEBOOK)
    note_saved({"type": "notebook"}, str(clone / NOTEBOOK))
    assert changes(clone) == ""
    assert '"hi"' in (clone / NOTEBOOK).read_text("utf-8")


def test_saving_stages_no_change_and_no_new_file(clone):
    edit(clone / NOTEBOOK)
    new = clone / "notebooks" / "Untitled.ipynb"
    new.write_bytes((clone / NOTEBOOK).read_bytes())
    for path in (clone / NOTEBOOK, new):
        note_saved({"type": "notebook"}, str(path))
    assert changes(clone) == f" M {NOTEBOOK}\n?? notebooks/Untitled.ipynb\n"
    note_saved({"type": "notebook"}, str(clone.parent / "outside.ipynb"))  # no git: nothing happens


def test_the_set_up_leaves_a_folder_alone_that_is_no_clone(tmp_path):
    git(tmp_path, "init", "--quiet")  # of whoever unpacked the zip
    script = tmp_path / "project" / "lab" / "git_filter.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((PROJECT / "lab" / "git_filter.sh").read_bytes())
    subprocess.run(["sh", script, sys.executable], check=True)
    assert "filter" not in git(tmp_path, "config", "--list", "--local")


@pytest.mark.parametrize("pair", pairs.find_pairs(), ids=lambda pair: pair[1].stem)
def test_stored_notebooks_are_as_the_filter_leaves_them_and_name_no_pair(pair):
    text = pair[0].read_text(encoding="utf-8")
    strip = [sys.executable, PROJECT / "lab" / "strip.py"]
    stored = subprocess.run(strip, input=text, capture_output=True, encoding="utf-8", check=True)
    assert pairs._as_notebook(nbformat.reads(text, 4), PROJECT / "none") == stored.stdout
    assert not any("jupytext" in part for part in (stored.stdout, pair[1].read_text("utf-8")))


def test_jupyterlab_loads_what_notes_saved_notebooks():
    folder = PROJECT / "lab" / "jupyter_server_config.d"
    (file,) = folder.iterdir()
    extensions = json.loads(file.read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"]
    assert extensions == {note_saved.__module__: True}
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"lab/{folder.name}" = "etc/jupyter/{folder.name}"' in project


def test_hooks_before_a_commit_are_local_and_their_files_exist():
    content = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = content["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook["entry"].split() for hook in repository["hooks"]}
    assert {"nbstripout", "ruff-check", "ruff-format"} <= set(hooks)
    named = [word for entry in hooks.values() for word in entry if word.endswith(".py")]
    assert all((PROJECT / word).is_file() for word in named)
