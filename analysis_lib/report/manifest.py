"""The manifest of a run: which files went in and came out, with what code, packages and memory."""

import functools
import json
import os
import platform
import re
import subprocess
import sys
import tomllib

from analysis_lib.results.environment import PROJECT, cache_folder, receptor_cache, versions
from analysis_lib.results.files import read_mapping, write_text
from analysis_lib.results.hashing import file_hash, text_hash
from analysis_lib.results.problems import WrongFile
from analysis_lib.study.contract import TABLES

CRATE = "ro-crate-metadata.json"  # written from the manifest: see `crate`
# Numbers come from these too, although pyproject.toml does not name them.
INDIRECT = ("scikit-learn", "simpleitk")
EXTRAS = ("preprocess",)  # of pyproject.toml; "dev" makes no number
ID = r"sub-[A-Za-z0-9]+"
HOME = re.compile(r"(?<![\w./-])(?:/root(?=/)|(?:/home|/Users|[A-Z]:\\+Users)[/\\]+[^/\\\s\"'<>]+)")
PATHS = (
    "paths without a prefix are relative to the folder of this file; {study} is the study file, "
    "{data} the folder that it names, {figures} the study's figures, {receptors} neuromaps' cache, "
    "{project} the compendium, {study folder} where the study file is, {elsewhere} another folder"
)
IMAGES = "images of {data} have a pseudonym and the start of their sha256 in the place of names"


def label(study, path) -> str:
    """Name of a file in the manifest, which does not tell where on this machine it is."""
    if path == study.path:
        return "{study}"
    for prefix, folder in _anchors(study).items():
        if path.is_relative_to(folder):
            return f"{prefix}/{path.relative_to(folder).as_posix()}".removeprefix("/")
    return f"{{elsewhere}}/{path.name if study.protected else f'{path.parent.name}/{path.name}'}"


def _anchors(study):
    return {
        "": study.derived,
        "{data}": study.root,
        "{figures}": study.figures,
        "{receptors}": receptor_cache(),
        "{project}": PROJECT,
        "{study folder}": study.path.parent,
    }


def without_paths(study, text) -> str:
    """A text, or JSON, with the manifest's words for this machine's folders, and ~ for homes."""
    folders = {str(folder): name or "{results}" for name, folder in _anchors(study).items()}
    folders |= {str(study.path): study.path.name, str(study.place.output): "{output}"}
    folders |= {sys.prefix: "{python}", str(cache_folder()): "{cache}"}
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(json.dumps(folder, ensure_ascii=False)[1:-1], folders[folder])
    return HOME.sub("~", text)


def describe_files(study, paths) -> dict:
    """sha256 and size in bytes of files, by the name that the manifest gives them.

    The name of a protected participant's image gives way to the pseudonym and the sha256.
    """
    names, found = {}, {}
    if study.protected:
        from analysis_lib.study.pseudonyms import read_key  # pandas is slow, and --list needs none

        names = read_key(study)
    for path in sorted(paths):
        name, sha256 = label(study, path), file_hash(path)
        if study.protected and name.startswith("{data}/") and path.suffix not in TABLES:
            parts = (names[part] for part in re.findall(ID, str(path)) if part in names)
            who, ends = next(parts, "sub-unknown"), "".join(path.suffixes[-2:])
            name = f"{{data}}/{who}/{sha256[:12]}{ends}"
        found[name] = {"sha256": sha256, "bytes": path.stat().st_size}
    return dict(sorted(found.items())) if study.protected else found


def protection(study) -> dict:
    """What the manifest says of real participants; nothing where there are none."""
    return {"protected": study.protected} if study.real else {}


def number_hashes(study, sections) -> dict:
    """sha256 of each section's part of numbers.json, which several notebooks write to."""
    parts = {section: {} for section in sections}
    for key, item in read_mapping(study.derived / "numbers.json").items():
        if (section := key.partition(".")[0]) in parts:
            parts[section][key] = item
    return {section: text_hash(json.dumps(part, sort_keys=True)) for section, part in parts.items()}


@functools.cache
def package_versions(project=PROJECT) -> dict:
    """Installed versions of Python and of what pyproject.toml asks for, to make maps, too."""
    content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = content.get("optional-dependencies", {})
    wanted = [*content["dependencies"], *(r for name in EXTRAS for r in extras.get(name, []))]
    names = [re.match(r"[\w.-]+", requirement).group() for requirement in wanted]
    return versions(sorted({*names, *INDIRECT}))


def git_state(project=PROJECT) -> dict | None:
    """Commit of the project, and whether files other than figures differ from it, or None."""
    if not (project / ".git").exists():
        return None
    commit = git(project, "rev-parse", "HEAD")
    changes = git(project, "status", "--porcelain", "--", ".", ":(exclude)figures")
    return None if commit is None else {"commit": commit, "dirty": bool(changes)}


def git(folder, *arguments) -> str | None:
    """What a git command says; None without git, or where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # look, do not touch the index
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def machine() -> dict:
    """Operating system, processor and number of cores: no name of a machine or person."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def read_manifest(study) -> dict:
    """The manifest of a study's results; without one, or with an unreadable one, no steps."""
    content = read_mapping(study.derived / "manifest.json")
    return content if isinstance(content.get("steps"), dict) else {"steps": {}}


def write_manifest(study, steps, run) -> None:
    """Write ``manifest.json``: of each notebook, what it was made from and what it made.

    ``run``: notebooks, times and peak memory of the last run that did something.
    """
    shared = [path for path in (study.derived / "numbers.json",) if path.is_file()]
    content = {
        "name": study.name,
        "title": study.title,
        "simulated": study.simulated,
        **protection(study),
        "quick": any(step["quick"] for step in steps.values()),
        "owner": owner(study),
        "paths": f"{PATHS}; {IMAGES}" if study.protected else PATHS,
        "run": run,
        "shared_outputs": describe_files(study, shared),
        "steps": dict(sorted(steps.items())),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"
    write_text(study.derived / "manifest.json", text)


def number_origins(study) -> dict:
    """Each number of ``numbers.json``: value, source file, and that file's notebook and sha256.

    Refused if a source is no output of a notebook in the manifest, or numbers were changed since.
    """
    file, steps = study.derived / "numbers.json", read_manifest(study)["steps"]
    advice = f"Run: python run_all.py --study {study.path}"
    made = {
        name: {"notebook": notebook, "sha256": about["sha256"]}
        for notebook, step in steps.items()
        for name, about in step["outputs"].items()
    }
    numbers = read_mapping(file)
    unknown = [key for key, item in numbers.items() if item["source"] not in made]
    if unknown:
        raise WrongFile(
            f"{file}: {unknown[0]} comes from {numbers[unknown[0]]['source']}, an output of a "
            f"notebook in manifest.json expected, found none ({len(unknown)} such numbers). "
            f"{advice}"
        )
    for notebook, step in steps.items():
        if number_hashes(study, step["numbers"]) != step["numbers"]:
            raise WrongFile(
                f"{file}: the numbers that {notebook} wrote expected, found others. {advice}"
            )
    return {key: {**item, **made[item["source"]]} for key, item in numbers.items()}


def place_of(path, value) -> str:
    """Column and row of a table that hold a value, in words; empty if none or several do."""
    from analysis_lib.results.reading import read_table  # slow to import

    if path.suffix != ".tsv":
        return ""
    table = read_table(path)
    held = [(row, column) for column in table for row in table.index[table[column].eq(value)]]
    if len(held) != 1:
        return ""
    (row, column) = held[0]
    named = [str(cell) for cell in table.loc[row] if isinstance(cell, str)]
    return f"{column} of {', '.join(named) or f'row {row + 1}'}"


def owner(study) -> dict:
    """Hashes of a study file's path and of participants.tsv: a study that was moved is known."""
    inside = study.path.is_relative_to(PROJECT)
    path = study.path.relative_to(PROJECT) if inside else study.path
    participants = study.root / "participants.tsv"
    return {
        "file": text_hash(path.as_posix()),
        "participants": file_hash(participants) if participants.is_file() else None,
    }
