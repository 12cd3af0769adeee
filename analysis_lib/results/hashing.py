"""Hashes of files and texts."""

import hashlib
from pathlib import Path

from analysis_lib.results.environment import LIBRARY


def file_hash(path) -> str:
    """sha256 of a file, as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_hash(*texts) -> str:
    """sha256 of some texts, each closed by a zero byte."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def library_hash(library=LIBRARY) -> str:
    """sha256 of the names and contents of the modules below a folder."""
    modules = sorted(Path(library).rglob("*.py"))
    return text_hash(
        *(t for m in modules for t in (m.relative_to(library).as_posix(), file_hash(m)))
    )
