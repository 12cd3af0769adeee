"""Shared fixtures. Real files come from $REFERENCE_DATA, else from ../shared, and are never copied."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def reference_data():
    """Folder with the real data and reference results that some tests compare with."""
    folder = Path(os.environ.get("REFERENCE_DATA", PROJECT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real data absent: {folder} has no data/ (set REFERENCE_DATA)")
    return folder
