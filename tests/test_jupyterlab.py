"""A real JupyterLab, driven in Chromium: notebook 01 runs, shows its figures, and git sees none."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from analysis_lib.datasets.simulate import simulate_study
from analysis_lib.study.contract import STUDIES

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((PROJECT / "notebooks").rglob("[0-9S]*.ipynb"))
BROWSER = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
# JupyterLab keeps nothing in the home of whoever runs the tests.
FOLDERS = (
    *("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"),
    *("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "COMPENDIUM_OUTPUT"),
)
TOKEN = "for-this-test-alone"
STATE = """() => {
  const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
  const prompts = cells.map(cell => cell.querySelector('.jp-InputPrompt').textContent.trim());
  const said = document.querySelectorAll('[data-mime-type="application/vnd.jupyter.stderr"]');
  const errors = [...said].filter(output => /Error: |Traceback/.test(output.innerText));
  if (errors.length) return {done: true, error: errors[0].innerText};
  const done = cells.length > 0 && prompts.every(prompt => /^\\[\\d+\\]:$/.test(prompt));
  return {done, error: null};
}"""


@pytest.fixture(scope="module")
def page():
    """A page of Debian's Chromium, kept from the internet: ``page.outside`` lists its attempts."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    reason = "playwright is not installed: python -m pip install playwright"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.outside = []
        page.route("**/*", lambda route: _inside(page, route))
        yield page
        browser.close()


def _inside(page, route):
    url = route.request.url
    if url.startswith(("http://localhost:", "http://127.0.0.1:", "data:", "blob:")):
        return route.continue_()
    page.outside.append(url)
    return route.abort()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab on a copy of the notebooks, which read a small simulated trial."""
    folder = tmp_path_factory.mktemp("lab")
    root = _copy_project(folder / "project")
    environment = {name: str(folder / name.lower()) for name in FOLDERS}
    for path in environment.values():
        Path(path).mkdir()
    # as an installation of the project has it
    environment = {**os.environ, **environment, "JUPYTER_CONFIG_PATH": str(PROJECT / "lab")}
    layout = [sys.executable, "-m", "jupyterlab", "workspaces", "import", "lab/workspace.json"]
    subprocess.run(layout, cwd=PROJECT, env=environment, check=True, capture_output=True)
    options = {"IdentityProvider.token": TOKEN, "ServerApp.root_dir": root}
    options |= {"LabApp.app_settings_dir": root / "lab", "ServerApp.ip": "127.0.0.1"}
    options |= {"LabApp.expose_app_in_browser": True}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    log = folder / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=file, stderr=file)
    try:
        yield _address(server, Path(environment["JUPYTER_RUNTIME_DIR"]), log), root
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _copy_project(root):
    """A git clone of sorts, whose notebook 01 reads a small trial; all of a page is drawn."""
    shutil.copytree(PROJECT / "notebooks", root / "notebooks")
    shutil.copytree(PROJECT / "lab", root / "lab")
    (root / "docs").mkdir()
    for name in (".gitignore", ".gitattributes", "README.md", "docs/notebooks.md"):
        shutil.copy(PROJECT / name, root / name)
    content = yaml.safe_load((STUDIES / "demo.yml").read_text(encoding="utf-8"))
    study = root / "small.yml"
    study.write_text(yaml.safe_dump(content | {"data": "small"}), encoding="utf-8")
    simulate_study(root / "small", resolution=8, n_active=9, n_control=9)
    for path in (root / "notebooks").glob("**/01_clinical_outcomes.*"):
        text = path.read_text(encoding="utf-8")
        quoted = '\\"' if path.suffix == ".ipynb" else '"'
        text = text.replace(f"{quoted}demo{quoted}", f"{quoted}{study}{quoted}")
        path.write_text(text.replace("quick: bool = False", "quick: bool = True"), "utf-8")
    overrides = json.loads((root / "lab" / "overrides.json").read_text())
    overrides["@jupyterlab/notebook-extension:tracker"] = {"windowingMode": "none"}
    (root / "lab" / "overrides.json").write_text(json.dumps(overrides))
    _commit(root)
    return root


def _commit(root):
    """Make a git repository of a folder, with the filter that set-up gives a clone."""
    git(root, "init", "--quiet")
    subprocess.run(["sh", "lab/git_filter.sh", sys.executable], cwd=root, check=True)
    git(root, "add", ".")
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    git(root, *who, "commit", "--quiet", "--message", "As cloned")


def git(root, *arguments):
    """What a git command prints."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def changes(root):
    """What git sees that differs from the last commit."""
    return git(root, "status", "--porcelain")


def _address(server, runtime, log, seconds=60):
    """Where the server listens, once it says so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except ValueError:  # half-written
                pass
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


def _open(page, lab, path, workspace=""):
    """Open a file; a workspace of its own has no tabs of other tests."""
    where = f"lab/workspaces/{workspace}/tree" if workspace else "lab/tree"
    page.goto(f"{lab[0]}{where}/{quote(path)}?token={TOKEN}")


def _menu(page, menu, item):
    page.locator(".lm-MenuBar-itemLabel").get_by_text(menu, exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(item, exact=True).click()


def _run_all(page):
    """Run all cells; text of the error that stopped them, if one did."""
    page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for(timeout=60_000)
    _menu(page, "Run", "Run All Cells")
    ended = page.wait_for_function(f"() => {{ const s = ({STATE})(); return s.done && s; }}")
    return ended.json_value()["error"]


def _save(page, path):
    """Save the notebook from the menu, and wait until that is done."""
    before = path.stat().st_mtime_ns
    with page.expect_response(lambda r: r.request.method == "PUT" and path.name in r.url):
        _menu(page, "File", "Save Notebook")
    assert path.stat().st_mtime_ns > before


def _edit_outside(path, old, new):
    """Another program's edit of a file, which then is the newest of all."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_outputs_that_a_reader_saves_stay_out_of_git_and_edits_elsewhere_are_shown(page, lab):
    root, name = lab[1], "notebooks/01_clinical_outcomes.ipynb"
    path, script = root / name, root / "notebooks" / "percent" / "01_clinical_outcomes.py"
    parameters = page.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first

    _open(page, lab, name)  # change, run, save
    parameters.click()
    page.keyboard.press("Control+Home")
    page.keyboard.type("# tried\n")
    assert _run_all(page) is None
    figures = page.locator('.jp-OutputArea-output img[src^="data:image/png"]')
    assert figures.count() >= 5
    assert figures.first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    notices = page.get_by_text("SIMULATED DATA")
    assert notices.count() >= 2  # at the top and beside the results
    assert (root.parent / "compendium_output" / "data" / "derived" / "demo" / "clinical").is_dir()
    assert page.outside == []
    _save(page, path)
    assert "image/png" in path.read_text(encoding="utf-8")
    assert changes(root) == f" M {name}\n"  # not its script
    assert git(root, "diff", "--numstat", "--", name).split()[:2] == ["1", "0"]

    _edit_outside(path, '    "# tried\\n",\n', "")  # edit outside, the script too
    _edit_outside(script, "# # 01", "# # 1")
    _open(page, lab, name)
    page.locator(".jp-Notebook:visible h1", has_text="01 · Clinical outcomes").wait_for()
    assert parameters.inner_text().startswith("study: str")
    assert figures.count() >= 5
    _save(page, path)
    assert page.locator(".jp-Dialog").count() == 0
    assert changes(root) == f" M {script.relative_to(root).as_posix()}\n"
    _edit_outside(script, "# # 1", "# # 01")
    assert changes(root) == ""


def test_notebooks_that_are_opened_and_saved_are_the_same_to_git(page, lab):
    names = [path.relative_to(PROJECT).as_posix() for path in NOTEBOOKS[::3]]
    _open(page, lab, names[0], "saved")
    for name in names:
        page.locator(".jp-Notebook:visible").first.wait_for()
        page.evaluate("path => void jupyterapp.commands.execute('docmanager:open', {path})", name)
        number = Path(name).stem.split("_")[0]
        page.locator(".jp-Notebook:visible h1", has_text=f"{number} · ").wait_for()
        page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for()
        _save(page, lab[1] / name)
        assert "language_info" in (lab[1] / name).read_text(encoding="utf-8")
    assert changes(lab[1]) == ""


def test_a_wrong_study_is_said_in_a_line(page, lab):
    text = (PROJECT / "notebooks" / "01_clinical_outcomes.ipynb").read_text(encoding="utf-8")
    wrong = lab[1] / "data" / "derived" / "wrong.ipynb"  # where git does not look
    wrong.parent.mkdir(parents=True)
    wrong.write_text(text.replace('\\"demo\\"', '\\"demoo\\"'), encoding="utf-8")
    _open(page, lab, "data/derived/wrong.ipynb", "wrong")
    said = _run_all(page)
    assert said.startswith("StudyError: demoo: no such study. Give the path of a study file, or")
    assert len(said.splitlines()) == 1


def test_the_table_of_contents_is_open_and_leads_to_a_heading(page, lab):
    _open(page, lab, "notebooks/02_vbm.ipynb")
    contents = page.locator(".jp-TableOfContents-tree .jp-tocItem-content")
    page.locator(".jp-tocItem-content", has_text="Voxel-based morphometry").wait_for()
    listed = contents.all_inner_texts()
    source = json.loads((PROJECT / "notebooks" / "02_vbm.ipynb").read_text(encoding="utf-8"))
    text = "\n".join("".join(c["source"]) for c in source["cells"] if c["cell_type"] == "markdown")
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert listed == ["02 · Voxel-based morphometry", *headings]
    from playwright.sync_api import expect

    heading = page.locator(".jp-Notebook:visible h2", has_text="What we found: grey matter")
    expect(heading).not_to_be_in_viewport()
    page.locator(".jp-Notebook:visible a", has_text="What we found: grey matter").first.click()
    expect(heading).to_be_in_viewport(timeout=20_000)


def test_the_readme_opens_as_a_page_and_leads_to_a_notebook(page, lab):
    _open(page, lab, "README.md")
    page.locator(".jp-MarkdownViewer a", has_text="Four notebooks").click()
    page.locator(".jp-MarkdownViewer table a", has_text="03_receptor_correlation").click()
    page.locator(".jp-Notebook:visible h1", has_text="03 · Receptor correlation").wait_for()
