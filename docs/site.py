"""Gather the pages of the documentation site, and build it (`make docs`): build/site/index.html.

Pages that a reader of the repository has, too, are taken from there; tutorial, tables and commands
are made from the executed notebooks of the demo, results/columns.tsv, the schema of the study file
and the command line. Run the demo first: `make paper`, or `make all` for the appendix, too.
"""

import html
import json
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import pandas as pd
import typer
from mkdocs.commands.build import build
from mkdocs.config import load_config
from nbconvert import MarkdownExporter
from traitlets.config import Config
from typer.cli import get_docs_for_click

PROJECT = Path(__file__).resolve().parents[1]
BUILD = PROJECT / "build"
PAGES = BUILD / "docs"
SOURCES = {  # where a page stands in the site, and in the repository
    "howto/your_own_trial.md": "docs/your_own_trial.md",
    "howto/running.md": "docs/running.md",
    "howto/notebooks.md": "docs/notebooks.md",
    "howto/scale.md": "docs/scale.md",
    "howto/contributing.md": "CONTRIBUTING.md",
    "explanation/estimates.md": "docs/explanation.md",
    "explanation/trials.md": "docs/trials.md",
    "explanation/calibration.md": "docs/calibration.md",
    "explanation/specifications.md": "docs/specifications.md",
    "explanation/power.md": "docs/power.md",
    "explanation/reliability.md": "docs/reliability.md",
    "explanation/complaints.md": "docs/complaints.md",
    "explanation/benchmarks.md": "benchmarks/README.md",
    "howto/codecheck.md": "docs/codecheck.md",
    "explanation/walks.md": "docs/walks.md",
    "reference/data.md": "data/README.md",
    "reference/changes.md": "CHANGELOG.md",
    "howto/map.svg": "docs/map.svg",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
VIEW = re.compile(r'<iframe([^>]*)srcdoc="([^"]*)"([^>]*)></iframe>')


def main():
    """Write all pages, and the site from them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for place, source in SOURCES.items():
        write(place, at_home(place, source, (PROJECT / source).read_text(encoding="utf-8")))
    shutil.copy(PROJECT / "docs/site/index.md", PAGES)
    write("reference/study_file.md", study_file())
    write("reference/tables.md", tables())
    write("reference/commands.md", commands())
    tutorial = [notebook(path) for path in sorted(executed())]
    write("tutorial/index.md", gallery(tutorial))
    text = (PROJECT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    listed = ", ".join(["tutorial/index.md", *(f"tutorial/{name}.md" for name, _, _ in tutorial)])
    settings = BUILD / "mkdocs.yml"
    settings.write_text(text.replace("TUTORIAL", listed).replace("../build/", ""), encoding="utf-8")
    build(load_config(str(settings), strict=True))
    print(BUILD / "site" / "index.html")


def write(place, text):
    """A page of the site."""
    path = PAGES / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def at_home(place, source, text):
    """A page whose links lead to pages of the site; those to files that it has not are words."""
    where = {repository: site for site, repository in SOURCES.items()}

    def changed(found):
        image, words, target, anchor = found.groups()
        if not target or "://" in target:
            return found[0]
        path = os.path.normpath(PurePosixPath(source).parent / target)
        if path not in where:
            return words
        there = os.path.relpath(where[path], PurePosixPath(place).parent)
        return f"{image}[{words}]({there}{anchor or ''})"

    text = re.sub(r'\[(<img src=")docs/map.svg("[^>]*>)\]\([^)]*\)', r"\1map.svg\2", text)
    return LINK.sub(changed, text)


def study_file():
    """Each key of the study file, from its JSON schema."""
    schema = json.loads((PROJECT / "data/studies/study.schema.json").read_text(encoding="utf-8"))
    parts = ["# The study file", "Keys of the YAML file that describes a trial.", keys(schema)]
    for name, part in schema["$defs"].items():
        parts += [f"## {name}", keys(part)]
    example = (PROJECT / "data/studies/demo.yml").read_text(encoding="utf-8")
    parts += ["## An example", f"```yaml\n{example}```", "More: [Data](data.md)."]
    return "\n\n".join(parts)


def keys(schema):
    """A table of the keys of one object of a JSON schema."""
    rows = [
        (
            f"`{name}`",
            kind(key),
            "yes" if name in schema.get("required", ()) else "",
            key.get("description", ""),
        )
        for name, key in schema.get("properties", {}).items()
    ]
    return markdown_table(("key", "type", "required", "meaning"), rows)


def kind(key):
    """The type of a key, in a word or two."""
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in key:
        return " or ".join(dict.fromkeys(kind(one) for one in key["anyOf"]))
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    if key.get("type") == "array":
        return f"list of {kind(key.get('items', {}))}"
    return key.get("type", "any")


def tables():
    """Columns of the result tables, from results/columns.tsv."""
    columns = pd.read_csv(PROJECT / "analysis_lib/results/columns.tsv", sep="\t", dtype=str)
    columns = columns.fillna("").sort_values("column")
    rows = columns[["column", "type", "unit", "description"]].itertuples(index=False)
    rows = [(f"`{name}`", *rest) for name, *rest in rows]
    head = "# Columns of the result tables\n\nA JSON file beside each table repeats its lines.\n\n"
    return head + markdown_table(("column", "type", "unit", "meaning"), rows)


def commands():
    """Options of run_all.py and of `python -m analysis_lib`, from their help."""
    sys.path.insert(0, str(PROJECT))
    import run_all
    from analysis_lib.__main__ import app

    single = typer.Typer(add_completion=False)
    single.command()(run_all.main)
    parts = ["# Commands"]
    for name, program in (("python run_all.py", single), ("python -m analysis_lib", app)):
        command = typer.main.get_command(program)
        context = typer.Context(command, info_name=name)
        said = get_docs_for_click(obj=command, ctx=context, name=name)
        parts.append(re.sub(r"^#", "##", said, flags=re.MULTILINE))
    return "\n\n".join(parts)


def markdown_table(head, rows):
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def executed():
    """The executed notebooks of the demo."""
    paths = list((PROJECT / "data/derived/demo/notebooks").glob("*.ipynb"))
    if not paths:
        sys.exit(
            "data/derived/demo/notebooks: executed notebooks expected, found none. Run: make paper"
        )
    return paths


def notebook(path):
    """Write a page from a notebook; its name, title and largest picture."""
    shown = Config(
        {"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": ["parameters"]}}
    )
    text, made = MarkdownExporter(config=shown).from_filename(
        str(path), resources={"unique_key": path.stem, "output_files_dir": path.stem}
    )
    for name, content in made["outputs"].items():
        (PAGES / "tutorial" / name).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / "tutorial" / name).write_bytes(content)
    text = LINK.sub(beside, apart(text, path.stem))
    write(f"tutorial/{path.stem}.md", text)
    title = re.search(r"^# (.*)$", text, re.MULTILINE)[1]
    outputs = made["outputs"]
    return path.stem, title, max(outputs, key=lambda name: len(outputs[name]), default="")


def apart(text, name):
    """The text of a notebook, whose views are files of their own: Markdown would change them."""
    views = []

    def moved(found):
        views.append(html.unescape(found[2]))
        write(f"tutorial/{name}/view{len(views)}.html", views[-1])
        return f'<iframe{found[1]}src="{name}/view{len(views)}.html"{found[3]}></iframe>'

    return VIEW.sub(moved, text)


def beside(found):
    """A link of a notebook as one of its page."""
    image, words, target, anchor = found.groups()
    if target.endswith(".ipynb"):
        target = f"{PurePosixPath(target).stem}.md"
    elif target and "://" not in target and not image:
        return words
    anchor = re.sub(r"[^\w-]", "", anchor.lower()) if anchor else ""
    return f"{image}[{words}]({target}{'#' if anchor else ''}{anchor})"


def gallery(tutorial):
    """The first page of the tutorial: a picture and a title for each notebook."""
    cards = [
        f"-   [{f'![]({picture}){{ width=300 }}<br>' if picture else ''}{title}]({name}.md)\n\n"
        for name, title, picture in tutorial
    ]
    return (
        "# Tutorial\n\nThe notebooks as they ran on the demo trial, which is **simulated**. In "
        "JupyterLab (`make lab`) each can be changed and run again.\n\n"
        f'<div class="grid cards" markdown>\n\n{"".join(cards)}</div>\n'
    )


if __name__ == "__main__":
    main()
