"""A data set written whole, and never over one that differs."""

import contextlib
import tempfile
from pathlib import Path

from analysis_lib.results.problems import FetchError
from analysis_lib.results.words import shortened


def write_folder(folder, content, images=()):
    """Write a folder, text by path, whole or not at all; never into one that exists without images.

    Images (paths below the folder that are never touched) are large and come later. A folder that
    holds some gets the files that it lacks, so that nobody has to move the images away or fetch
    them again. False if the folder existed and holds every file, the same; further files do not
    matter. If a file differs or, without images, is missing, that is a `FetchError`.
    """
    lacking = {name: content[name] for name in content if not (folder / name).exists()}
    if not folder.exists():
        with _written(folder, content) as new:
            new.rename(folder)
        return True
    has_images = any((folder / image).exists() for image in images)
    _refuse_difference(folder, content, lacking, has_images)
    if not lacking:
        return False
    with _written(folder, lacking) as new:
        for name in lacking:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).rename(folder / name)
    return True


@contextlib.contextmanager
def _written(folder, content):
    """Write files into a new folder beside another one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        for name, text in content.items():
            path = Path(temporary, folder.name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        yield Path(temporary, folder.name)


def _refuse_difference(folder, content, lacking, has_images):
    """Refuse files that differ and, unless images are there, files that are missing."""
    found = {name: _same(folder / name, text) for name, text in content.items()}
    differing = [n for n, same in found.items() if not same and not (has_images and n in lacking)]
    if differing:
        to_move = "these files (the images may stay)" if has_images else "the folder"
        raise FetchError(
            f"{folder} exists and {len(differing)} of its {len(content)} files are missing or "
            f"differ from the public trial: {shortened(differing)}. Nothing was "
            f"changed. Move {to_move} away and run again"
            + ("" if has_images else ", or name another one")
        )


def _same(path, text):
    return path.is_file() and path.read_bytes() == text.encode()
