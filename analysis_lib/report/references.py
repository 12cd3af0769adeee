"""References of the methods, and methods and results as Markdown with BibTeX."""

import re
from pathlib import Path

from markupsafe import Markup

from analysis_lib.results.words import in_markdown

BIBLIOGRAPHY = Path(__file__).parent / "template" / "references.bib"
CITATION = re.compile(r"\[(@[a-z]+(?:; @[a-z]+)*)\]")  # as pandoc has them: [@smith; @jones]
LINK = re.compile(r'<a class="q"[^>]*>(.*?)</a>')  # a quoted number


def entries() -> dict:
    """All references by key: the text of each entry and its fields."""
    found = re.findall(
        r"^(@\w+\{(\w+),\n.*?^\})", BIBLIOGRAPHY.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    field = re.compile(r"(\w+) = \{(.*?)\}(?=,|$)", flags=re.MULTILINE)
    return {
        key: {"bibtex": text, **{name: value.strip("{}") for name, value in field.findall(text)}}
        for text, key in found
    }


def keys_of(blocks) -> list[str]:
    """Keys that paragraphs cite, in order, each once."""
    groups = [group for block in blocks for group in CITATION.findall(block)]
    return list(dict.fromkeys(re.findall("[a-z]+", " ".join(groups))))


def cited(blocks) -> list[dict]:
    """References that paragraphs cite: key, and the text of the list."""
    known = entries()
    return [{"key": key, "text": _printed(known[key])} for key in keys_of(blocks)]


def _printed(one):
    names = [name.replace(". ", "").rstrip(".") for name in one["author"].split(" and ")]
    authors = ", ".join(name.replace(", ", " ") for name in names).replace("others", "et al")
    place = "{journal} {year};{volume}:{pages}" if "journal" in one else "{year}"
    return f"{authors}. {one['title']}. {place.format(**one).replace('--', '–')}."


def linked(html) -> Markup:
    """Citations in HTML as links to the list of references."""
    known = entries()

    def link(key):
        first = known[key]["author"].split(",")[0].split(" and ")[0].strip("{}")
        return f'<a class="cite" href="#ref-{key}">{first} {known[key]["year"]}</a>'

    def group(found):
        return f"({'; '.join(link(key.removeprefix('@')) for key in found[1].split('; '))})"

    return Markup(CITATION.sub(group, html))


def texts(title, flag, methods, results) -> dict:
    """``methods_and_results.md`` and ``references.bib``, for pandoc, without links to numbers."""
    parts = [f"# {in_markdown(title)}", *([f"**{flag}**"] if flag else []), "## Methods", *methods]
    parts += ["## Results"]
    for heading, blocks in results.items():
        parts += [f"### {heading}", *blocks]
    known = entries()
    return {
        "methods_and_results.md": LINK.sub(r"\1", "\n\n".join(parts)) + "\n",
        "references.bib": "\n\n".join(known[key]["bibtex"] for key in keys_of(methods)) + "\n",
    }
