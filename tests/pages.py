"""Every page of a report in a browser and two checkers: `make pages`, after a run.

axe (accessibility) in light with every fold open, dark, at 390 px and in print; what the page says
on the console, and asks of the network; pages of paper; vnu (HTML and CSS) on the file itself.
Needs chromium, node and java; the Makefile installs axe-core and vnu-jar below build/.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PROJECT = Path(__file__).resolve().parents[1]
TOOLS = PROJECT / "build" / "pages" / "node_modules"
BROWSERS = ("chromium", "google-chrome")
MOST_PAPER = 15  # pages
SETTINGS = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "390 px": {"viewport": {"width": 390, "height": 844}},
    "print": {"viewport": {"width": 1280, "height": 900}},
}
UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
AXE = """axe.run(document, {resultTypes: ['violations']}).then(found =>
  found.violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 120)}`)))"""


def main(folders):
    """A line per page; 1 if any has a fault."""
    pages = sorted(page for folder in folders for page in Path(folder).rglob("*.html"))
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    wrong = 0
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for page in pages:
            faults = in_browser(opened, page.resolve()) + in_vnu(page)
            print(f"{page}: {len(faults)} faults", *faults[:10], sep="\n  ", flush=True)
            wrong += bool(faults)
        opened.close()
    print(f"{len(pages)} pages, {wrong} with faults")
    return int(bool(wrong) or not pages)


def in_browser(browser, page):
    """Faults in the four settings."""
    return [
        one for name in SETTINGS for one in seen(browser.new_page(**SETTINGS[name]), page, name)
    ]


def seen(tab, page, name):
    """Faults in one setting."""
    faults = []
    tab.on("console", lambda said: faults.append(f"console: {said.text}"))
    tab.on("pageerror", lambda error: faults.append(f"error: {error}"))
    tab.on("request", lambda asked: faults.extend(outside(asked.url)))
    tab.goto(page.as_uri())
    if name == "light":  # slow: every row of every table
        tab.evaluate(UNFOLD)
    if name == "print":
        tab.emulate_media(media="print")
        paper = len(re.findall(rb"/Type\s*/Page[^s]", tab.pdf(format="A4")))
        faults += [f"{paper} pages of paper, at most {MOST_PAPER}"] * (paper > MOST_PAPER)
    tab.evaluate((TOOLS / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    faults += [f"axe, {name}: {one}" for one in tab.evaluate(AXE)]
    tab.close()
    return faults


def outside(url):
    """What a page asks of others than its own folder."""
    return [] if url.startswith(("file:", "data:", "blob:", "about:")) else [f"asks for {url}"]


def in_vnu(page):
    """Errors of the Nu HTML checker."""
    jar = TOOLS / "vnu-jar" / "build" / "dist" / "vnu.jar"
    command = ["java", "-jar", str(jar), "--errors-only", "--format", "json", str(page)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True).stderr)
    return [f"vnu, line {one.get('lastLine')}: {one['message']}" for one in said["messages"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PROJECT.glob("data/derived/*/report")))
