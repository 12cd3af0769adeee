"""What an earlier run said of the published numbers: it holds while nothing runs."""

import json
from pathlib import Path

from analysis_lib.results.environment import PROJECT
from analysis_lib.results.hashing import file_hash

EXPECTED = PROJECT / "data" / "expected"
NAME = "comparison.json"


def published(study) -> Path | None:
    """The file of expected numbers of a study that comes with the project; not of a variant."""
    path = EXPECTED / f"{study.name}.json"
    own = study.path.parent == EXPECTED.parent / "studies"
    return path if own and not study.variant and path.is_file() else None


def published_hash(study) -> str | None:
    """sha256 of that file; None without one."""
    path = published(study)
    return file_hash(path) if path else None


def said_before(study) -> list[str] | None:
    """Lines of the last comparison with the present published numbers; None without one."""
    if study.variant:
        return None  # compared with default results, which may have changed
    if published(study) is None:
        return []
    try:
        content = json.loads((study.derived / NAME).read_text(encoding="utf-8"))
        return content["lines"] if content["published"] == published_hash(study) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
