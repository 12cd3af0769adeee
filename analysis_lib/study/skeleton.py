"""The skeleton of a trial: a commented study file and tables to fill in."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis_lib.study.contract import STUDIES, Scale, load_study
from analysis_lib.study.skeleton_files import skeleton_files

SCALES = ("HAMD-17:0:52:7", "HAMA:0:56")
VISITS = "baseline,week1,week2,week3"
ARMS = "active,sham"
IMAGES = ("maps", "t1w", "none")
MOST_PARTICIPANTS = 999


def new_study(
    folder,
    *,
    name=None,
    title=None,
    arms=ARMS,
    visits=VISITS,
    scales=SCALES,
    images="maps",
    n_participants=0,
):
    """Write a commented study file and a BIDS folder with empty tables.

    Parameters
    ----------
    folder : path
        New or empty. It gets ``<name>.yml``, ``bids/`` and ``optional/``.
    name, title : str, optional
        Of the study and its folders of results (default: the folder's name, made to fit), and for
        headings.
    arms, visits, scales : str, str, sequence of str
        See `read_arms`, `read_visits` and `read_scales`.
    images : {"maps", "t1w", "none"}
        Grey-matter maps of one's own, T1-weighted images that notebook 00 makes maps from, or none.
    n_participants : int
        Rows to prepare, sub-01 and on, with empty cells; 0 writes headers alone.

    Returns
    -------
    pathlib.Path
        The study file.

    Raises
    ------
    FileExistsError, ValueError
        If the folder holds anything; if an argument cannot be read or the study file would not be
        valid. Nothing is written then.
    """
    folder = Path(folder).absolute()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: a new or empty folder expected, found files. Nothing was written: "
            "name another folder"
        )
    name = name or re.sub(r"[^a-z0-9_-]+", "_", folder.name.lower()).strip("_-") or "my_trial"
    words = read_arms(arms)
    title = title or (
        "Sham-controlled rTMS trial" if arms == ARMS else f"Randomised trial, {' and '.join(words)}"
    )
    if (STUDIES / f"{name}.yml").exists():
        raise ValueError(
            f"name: one that no study in data/studies has expected, found {name!r}: the results "
            "of both would lie in one folder. Say --name"
        )
    _check_choices(images, n_participants)
    about = (name, title, words, read_visits(visits), read_scales(scales), images, n_participants)
    files = skeleton_files(*about)
    _write(folder, files, f"{name}.yml")
    return folder / f"{name}.yml"


def _check_choices(images, n_participants):
    if images not in IMAGES:
        raise ValueError(f"images: one of {', '.join(IMAGES)} expected, found {images!r}")
    if not 0 <= n_participants <= MOST_PARTICIPANTS:
        raise ValueError(
            f"n_participants: 0 to {MOST_PARTICIPANTS} expected, found {n_participants}"
        )


def _write(folder, files, study_file):
    """Write all files, or none: beside the folder, checked, then moved into its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        partial = Path(beside) / folder.name
        for where, text in files.items():
            path = partial / where
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        load_study(partial / study_file)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)


def read_arms(text):
    """The two values of the arm's column, active first, from "active,sham"."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise ValueError(
            f"arms: two words, active first, as in {ARMS!r} expected, found {text!r}. "
            "Trials with more arms are not supported"
        )
    return tuple(words)


def read_visits(text):
    """Week of each visit, by its name, from "baseline,week1" or "pre=0,post=4".

    The first visit is week 0. Of another without "=" the number in its name is the week.
    """
    weeks = {}
    for position, part in enumerate(text.split(",")):
        label, _, week = (piece.strip() for piece in part.partition("="))
        label = label.removeprefix("ses-")
        number = re.search(r"\d+", label)
        week = week or (0 if position == 0 else number and number.group())
        try:
            weeks[label] = float(week)
        except (TypeError, ValueError):
            raise ValueError(
                f"visits: a week for {label!r} expected, as in {label or 'post'}=4, found {part!r}"
            ) from None
    return weeks


def read_scales(texts):
    """Scales from "NAME:LOWEST:HIGHEST" or "NAME:LOWEST:HIGHEST:REMISSION", the primary first."""
    return [_read_scale(text, primary=k == 0) for k, text in enumerate(texts)]


def _read_scale(text, primary):
    name, *numbers = (part.strip() for part in text.split(":"))
    stem = "".join(c for c in name.lower() if c.isascii() and c.isalnum())
    try:
        low, high, *cut = map(float, numbers)
        (cut,) = cut or [None]
        if not stem:
            raise ValueError
    except ValueError:
        raise ValueError(
            "scale: NAME:LOWEST:HIGHEST or NAME:LOWEST:HIGHEST:REMISSION, as in "
            f"{SCALES[0]}, expected, found {text!r}"
        ) from None
    file = f"phenotype/{stem}.tsv"
    try:
        return Scale(
            name=name, file=file, range=(low, high), primary=primary, remission_at_most=cut
        )
    except ValueError as error:  # pydantic's own words hold an address of its documentation
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"scale {text!r}: {reason}") from None
