"""Result files, written whole or not at all."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.results import columns
from analysis_lib.results.columns import MISSING
from analysis_lib.results.files import read_if_there, staging_folder, write_text
from analysis_lib.results.problems import refusals

# Of 255 levels of a colour. Two runs on one machine differ by 2 at most; a moved line by 100.
ROUNDING = 8


def write(folder, files, keep_others=False):
    """Write result files whole or not at all.

    Everything is written to a temporary folder first; only then are the files moved into place.

    Parameters
    ----------
    folder : path
        Made where it does not exist.
    files : dict
        Name to content. A DataFrame (.tsv) gets a JSON sidecar; a dict or list (.json), an image
        (.nii.gz), an array (.npy), a dict of arrays (.npz), text (any name);
        a Figure, named without suffix, becomes a PNG of 300 dots an inch and a PDF, unless one
        that looks the same is there (:func:`looks_the_same`): that one stays, with a new date.
    keep_others : bool or tuple of str
        Leave other files of the folder alone: all, or those of these patterns. By default they
        are removed: they come from an earlier run and would no longer agree.

    Returns
    -------
    list of pathlib.Path
        The files, sorted.

    Raises
    ------
    ValueError
        If a table has a column that ``columns.tsv`` does not describe, or a value that is not of
        the column's type; or if a content has no writer.
    """
    folder = Path(folder)
    staging = staging_folder(folder.parent, folder.name)
    try:
        for name, content in files.items():
            write_one(staging / name, content)
        return move(staging, folder, keep_others)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def move(staging, folder, keep_others=False):
    """Put the files of a folder into another on the same disk; see :func:`write`."""
    written = sorted(path.name for path in staging.iterdir())
    kept = ("*",) if keep_others is True else tuple(keep_others or ())
    with refusals(folder):
        folder.mkdir(exist_ok=True)
        same = _pictures_to_keep(staging, folder)
        for name in written:
            (folder / name).touch() if name in same else os.replace(staging / name, folder / name)
        for path in folder.iterdir():
            known = path.name in written or any(path.match(pattern) for pattern in kept)
            if path.is_file() and not known:
                path.unlink()
    return [folder / name for name in written]


def _pictures_to_keep(staging, folder):
    """Names of pictures, and of their PDFs, that look the same as those in a folder."""
    same = [path for path in staging.glob("*.png") if looks_the_same(path, folder / path.name)]
    names = {path.with_suffix(kind).name for path in same for kind in (".png", ".pdf")}
    return {name for name in names if (staging / name).is_file() and (folder / name).is_file()}


def looks_the_same(picture, other) -> bool:
    """Whether two PNG files differ by no more than rounding, so that git need not hold both.

    One that is not there or cannot be read looks like no other.
    """
    from PIL import Image, ImageChops  # tables need none

    try:
        with Image.open(picture) as a, Image.open(other) as b:
            if a.size != b.size:
                return False
            apart = ImageChops.difference(a.convert("RGBA"), b.convert("RGBA"))
    except OSError:
        return False
    return max(high for _, high in apart.getextrema()) <= ROUNDING


def write_one(path, content):
    """Write one result file, of the kind that its content is."""
    with refusals(path):
        if isinstance(content, pd.DataFrame):
            _write_table(path, content)
        elif hasattr(content, "savefig"):  # a Figure, without importing matplotlib
            content.savefig(f"{path}.png", dpi=300)
            content.savefig(f"{path}.pdf", metadata={"CreationDate": None})
        elif path.suffix == ".npz":
            np.savez_compressed(path, **content)
        elif isinstance(content, dict | list):
            path.write_text(_json(content), encoding="utf-8")
        elif hasattr(content, "to_filename"):  # an image, without importing nibabel
            content.to_filename(path)
        elif isinstance(content, np.ndarray):
            np.save(path, content)
        elif isinstance(content, str):
            write_text(path, content)
        else:
            raise ValueError(f"{path.name}: no way to write a {type(content).__name__}")


def _write_table(path, table):
    checked = columns.check(path.name, table)
    checked.to_csv(path, sep="\t", index=False, na_rep=MISSING, float_format="%.10g")
    described = columns.describe(path.name, table)
    sidecar = {name: about.sidecar for name, about in described.items()}
    path.with_suffix(".json").write_text(_json(sidecar), encoding="utf-8")


def _json(content):
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value):
    """Numbers and containers that JSON knows; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_numbers(study, section, numbers):
    """Put the numbers that a text or figure quotes into numbers.json.

    ``numbers``, name to (value, source file within the section), replace those of this section.
    """
    path = study.derived / "numbers.json"
    kept = {
        key: item for key, item in read_if_there(path).items() if not key.startswith(f"{section}.")
    }
    marks = {"label": study.label} if study.label == "IDENTIFIABLE" else {}
    for name, (value, source) in numbers.items():
        apart = study.protected and (study.private / section / source).is_file()
        source = f"{'private/' * apart}{section}/{source}"
        kept[f"{section}.{name}"] = {"value": value, "source": source} | marks
    write(path.parent, {path.name: dict(sorted(kept.items()))}, keep_others=True)
    return path
