"""What may be shared of a study's results, in one file, after a search for what may not."""

import base64
import getpass
import gzip
import html
import io
import json
import os
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pandas as pd
from PIL import Image

from analysis_lib.report.manifest import HOME, read_manifest
from analysis_lib.results.environment import LIBRARY, NOTEBOOKS, PROJECT
from analysis_lib.results.files import read_mapping
from analysis_lib.results.problems import NotShareable, Problem, StudyError
from analysis_lib.study import pseudonyms
from analysis_lib.study.tables import read_text_table

MANIFEST = "/manifest.json"
RECORDS = (MANIFEST, "/ro-crate-metadata.json")  # of files: images and private ones by pseudonym
MADE = (1980, 1, 1, 0, 0, 0)  # of every file in the pack: the same results give the same bytes
SHORTEST = 4  # letters: shorter words stand in encoded pictures by chance
DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{2,4}")
NAME = re.compile(r"\b[^\W\d_a-z][\w'-]{3,}|\b\d[\d /-]{5,}\d")  # or a telephone number
LONG = r"\+?\d{7,}"  # a number that is no measurement
BLOB = re.compile(r"[A-Za-z0-9+/]{120,}={0,2}")
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
IDS, PARTS = "participant_id", "names or numbers from free text"
PSEUDONYMS = "pseudonyms"
DATES, WORDS, PATHS = "dates", "undeclared words", "folders of this machine"


def export(study, to) -> Path:
    """Pack the results of a study but for ``private/``, each file where the report's links lead.

    Where the participants are real, every file is first searched for what the study's tables say of
    them, and for folders of this machine. `NotShareable` says which files hold some of it, of what
    kind and how much, not what.
    """
    files = _files(study)
    if study.real:
        _refuse_named(study, files)
        _refuse_found(files, secrets(study))
    partial = Path(to).with_name(f".{Path(to).name}.partial")
    try:
        with zipfile.ZipFile(partial, "w") as pack:
            for name, path in files.items():
                about = zipfile.ZipInfo(f"{study.name}/{name}", MADE)
                pack.writestr(about, path.read_bytes(), zipfile.ZIP_DEFLATED)
        os.replace(partial, to)
    finally:
        partial.unlink(missing_ok=True)
    return Path(to)


def _files(study):
    """Files of the pack by name; they lie to one another as in the folder of results."""
    paths = [path for top in (study.derived, study.figures) for path in sorted(top.rglob("*"))]
    named = {path.relative_to(study.place.output): path for path in paths if path.is_file()}
    files = {name.as_posix(): path for name, path in named.items() if not _is_left_out(name)}
    if not files:
        text = f"{study.name}: no results yet. Run: python run_all.py --study {study.path.name}"
        raise NotShareable(text)
    return files


def _is_left_out(name):
    apart = any(part.startswith(".") or part == "private" for part in name.parts)
    return apart or name.name.endswith(".failed.ipynb")


def _refuse_named(study, files):
    """Refuse results that no run vouches for as protected."""
    manifests = [
        read_manifest(study),
        *(read_mapping(p) for n, p in files.items() if n.endswith(MANIFEST)),
    ]
    if any(manifest.get("protected") is not True for manifest in manifests):
        remedy = "Delete them and run again, without --identifiable"
        expected, found = "results under pseudonyms", "some that may name participants"
        raise NotShareable(Problem(study.name, "", expected, found, remedy))


def _refuse_found(files, hidden):
    found = []
    for name, path in files.items():
        known = {PSEUDONYMS} if name.endswith(RECORDS) else {}
        wanted = {kind: words for kind, words in hidden.items() if kind not in known}
        counts = search([name, *texts(name, path.read_bytes())], wanted)
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        found += [Problem(name, "", "nothing about single participants", told)] if told else []
    if found:
        raise NotShareable([*found, "Nothing was packed. Delete these files, or run again"])


# --- what must not be found -----------------------------------------------------------------------


def secrets(study) -> dict:
    """What must not be shared, by kind, in small letters.

    Of every table of the study: participant_id; words that the study file, a JSON file beside the
    table or the compendium itself does not publish; dates; names and numbers within free text. And
    pseudonyms, which join what is shared to private/; folders of this machine, and its user.
    """
    found = {kind: set() for kind in (IDS, DATES, WORDS, PARTS, PATHS)}
    found[PSEUDONYMS] = set(pseudonyms.read_key(study).values())  # of the rows in private/
    for path in sorted(study.root.rglob("*.tsv")):
        try:
            table = read_text_table(path, path.name)
        except StudyError:  # not one that a run reads
            continue
        for column in table:
            _sort_in(found, study, column, table[column].dropna(), path)
    folders = {study.root, study.path.parent, study.place.output, PROJECT, Path.home()}
    found[PATHS] |= {str(folder) for folder in folders if len(folder.parts) > 2}  # no /root, /tmp
    found[PATHS] |= {getpass.getuser()}
    found = {kind: {" ".join(w.casefold().split()) for w in words} for kind, words in found.items()}
    public = _published(study)
    return {
        kind: words if kind in (IDS, DATES, PSEUDONYMS) else _unpublished(words, public)
        for kind, words in found.items()
    }


def _sort_in(found, study, column, values, path):
    """Put the words of a column where they belong."""
    if column == pseudonyms.IDENTIFIER:
        found[IDS] |= set(values)
        bare = {value.removeprefix("sub-") for value in values}
        found[IDS] |= {b for b in bare if re.search(r"[A-Za-z]", b) and re.search(r"\d", b)}
        return
    allowed = pseudonyms.declared(study, column, path.relative_to(study.root))
    numbers = pd.to_numeric(values, errors="coerce").notna() & ~values.str.fullmatch(LONG)
    counts = values[~numbers].value_counts()
    often = column in study.held_columns
    words = {
        word
        for word, n in counts.items()
        if pseudonyms.plain(word) not in allowed and not (often and n >= pseudonyms.FEWEST)
    }
    dates = {word for word in words if DATE.fullmatch(word.strip())}
    found[DATES] |= dates
    found[WORDS] |= words - dates
    found[PARTS] |= {part for word in words - dates for part in NAME.findall(word)}


def _published(study):
    """All that is public beforehand: the study file's content, the notebooks and the library."""
    sources = [*LIBRARY.rglob("*.py"), *LIBRARY.rglob("*.j2"), *LIBRARY.rglob("*.tsv")]
    texts_ = [path.read_text(encoding="utf-8") for path in [*sources, *NOTEBOOKS.rglob("*.ipynb")]]
    sessions = [f"ses-{visit}" for visit in (*study.visits, *study.other_sessions)]
    own = json.dumps([study.model_dump(), sessions], default=str, ensure_ascii=False)
    return "\n".join([own, *texts_]).casefold()


def _unpublished(words, public):
    return {word for word in words if len(word) >= SHORTEST and not _stands_in(word, public)}


# --- the search -----------------------------------------------------------------------------------


def search(found, hidden) -> Counter:
    """How many of the hidden words stand in some texts, by their kind."""
    text = "\n\n".join(found)
    plain = " ".join(text.casefold().split())
    prose = SCRIPT.sub(" ", plain)  # libraries of views name people, too
    counts = Counter({PATHS: len(set(HOME.findall(text)))})
    for kind, words in hidden.items():
        counts[kind] += sum(_stands_in(w, prose if kind == PARTS else plain) for w in words)
    return +counts


def _stands_in(word, text):
    """Whether a text holds a word as a whole."""
    if word not in text:
        return False
    return re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text) is not None


def texts(name, content):
    """Every text in a file: its own, and those within what it packs."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as pack:
            for inner in pack.namelist():
                yield from (inner, *texts(inner, pack.read(inner)))
    elif content.startswith(b"\x89PNG"):
        yield from _of_picture(content)
    elif content.startswith(b"%PDF"):
        yield from _of_pdf(content)
    elif content.startswith(b"\x1f\x8b"):
        yield content[:512].decode("latin-1")  # the name of what is packed
        yield gzip.decompress(content)[:4096].decode("latin-1")  # header of an image
    elif name.endswith((".npy", ".nii")):
        yield content[:4096].decode("latin-1")
    else:
        yield from _of_text(content.decode("utf-8", "replace"))


def _of_text(text):
    """A text as it stands and as a reader sees it, and the pictures within."""
    try:
        strings = list(_strings(json.loads(text)))
    except ValueError:
        strings = [text]
    for string in strings:
        if string.lstrip().startswith("iVBOR"):
            yield from _of_picture(base64.b64decode(string))
            continue
        for blob in BLOB.findall(string):
            yield from _of_picture(base64.b64decode(blob + "=" * (-len(blob) % 4)))
        yield html.unescape(html.unescape(BLOB.sub(" ", string)))


def _strings(content):
    """Every key and value of JSON as a text; lines of one text, as notebooks have them, joined."""
    if isinstance(content, list) and all(isinstance(part, str) for part in content):
        yield (
            "".join(content) if any(part.endswith("\n") for part in content) else "\n".join(content)
        )
    elif isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        yield from (text for key, part in pairs for text in (str(key), *_strings(part)))
    else:
        yield str(content)


def _of_picture(content):
    """Texts that a PNG holds beside its pixels; none of what is no picture."""
    if content.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            yield from (f"{key} {value}" for key, value in image.info.items())


def _of_pdf(content):
    """A PDF's own words, and what its pages say."""
    yield content.decode("latin-1")
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            page = zlib.decompress(stream).decode("latin-1")
        except zlib.error:
            continue
        yield "".join(re.findall(r"\((.*?)(?<!\\)\)", page))
