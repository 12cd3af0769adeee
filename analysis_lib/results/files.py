"""Files written whole or not at all, and read where they may be damaged."""

import json
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

import psutil

from analysis_lib.results.hashing import text_hash
from analysis_lib.results.problems import Problem, WrongFile, refusals

# What is being written is named after the machine and process that write it.
_HERE = text_hash(platform.node())[:6]
_OWNED = re.compile(r"^\..*\.([0-9a-f]{6})-(\d+)-[\w.]+$")


def staging_name(name, end="") -> str:
    """Name, hidden and this process's own, of what is not yet whole; see :func:`sweep`."""
    return f".{name}.{_HERE}-{os.getpid()}-{end}"


def staging_folder(parent, name) -> Path:
    """A new folder for what is to be moved to ``name`` once it is whole."""
    with refusals(parent):
        Path(parent).mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=staging_name(name), dir=parent))


def sweep(folder) -> None:
    """Remove, everywhere below a folder, what killed processes of this machine left half-written.

    What another machine writes there is its own to sweep.
    """
    for above, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if _is_left(Path(above, name))]:
            path = Path(above, name)
            shutil.rmtree(path, ignore_errors=True) if name in folders else path.unlink(True)


def _is_left(path):
    """Whether the process of this machine that wrote a path runs no longer."""
    owned = _OWNED.match(path.name)
    if not owned or owned[1] != _HERE:
        return False
    try:
        return psutil.Process(int(owned[2])).create_time() > path.stat().st_mtime + 1
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
    except (psutil.Error, OSError):
        return False


def write_text(path, text) -> None:
    """Write a file, in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path, content) -> None:
    """Write a file whole or not at all."""
    path = Path(path)
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(staging_name(path.name, "text"))
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def read_text(path, expected="a text in UTF-8", where="") -> str:
    """A file's text; a `CompendiumError` where it cannot be read or is not UTF-8.

    ``where`` is what messages call it, by default its name.
    """
    path = Path(path)
    with refusals(path):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else str(error)
        raise WrongFile(
            Problem(where or path.name, "", expected, found, "Save it as UTF-8")
        ) from None


def read_json(path, expected="a JSON file", where=""):
    """A JSON file's content; a `CompendiumError` where it cannot be read or is not JSON."""
    text = read_text(path, expected, where)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        found = "one nested too deeply" if deep else str(error)
        name = where or Path(path).name
        raise WrongFile(Problem(name, "", expected, found, "Mend or remove it")) from None


def read_if_there(path) -> dict:
    """A JSON file's content, empty where there is none; damage is told, as by `read_json`."""
    return read_json(path) if Path(path).is_file() else {}


def read_mapping(path) -> dict:
    """A JSON file's mapping, empty where there is none or it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
