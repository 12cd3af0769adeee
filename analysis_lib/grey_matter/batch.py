"""Grey-matter maps of a whole study: what is to be done, and doing it."""

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from joblib import Parallel, delayed, effective_n_jobs

from analysis_lib.computing import cluster as dask_cluster
from analysis_lib.grey_matter.writing import ENGINES, PACKAGES, read_sidecar, write_participant
from analysis_lib.results import hashing, writing
from analysis_lib.results.environment import versions
from analysis_lib.results.files import write_text
from analysis_lib.results.problems import CompendiumError, StudyError
from analysis_lib.results.times import duration
from analysis_lib.study.contract import Study
from analysis_lib.study.images import T1W, find_t1w, pair_maps

HERE = Path(__file__).parent
METHOD_FILES = (  # a change in one of them makes other maps
    *("alignment.py", "change.py", "images.py", "itk.py", "process.py", "settings.py"),
    "tissues.py",
)
DIED = (
    "the process that worked on it ended without a word, most often for want of memory. Give it "
    "more, or choose a larger working_mm or fewer n_jobs"
)


@dataclass(frozen=True)
class Method:
    """How images are processed."""

    process: Callable  # of paths by visit, settings, templates: as process.process
    draw: Callable  # of what that gave, visit, name and study: a figure
    settings: object  # plain values
    templates: object  # picklable: sent to other processes
    code: str  # sha256 of the source of process
    space: str  # BIDS name of the maps' space
    memory_mb: float  # expected peak of one participant


@dataclass(frozen=True)
class Job:
    """One participant: T1w images by visit, and the key of what is made from them."""

    study: Study
    participant_id: str
    images: dict[str, Path]
    key: str
    space: str

    @property
    def folder(self) -> Path:
        """The participant's folder."""
        return self.study.made_maps / self.participant_id

    def map_path(self, visit) -> Path:
        """A visit's map."""
        named = f"{self.participant_id}_ses-{visit}_space-{self.space}_label-GM_desc-modulated"
        return self.folder / f"ses-{visit}" / "anat" / f"{named}_probseg.nii.gz"

    def figure_path(self, visit) -> Path:
        """A visit's picture."""
        return self.study.made_maps / "figures" / f"{self.participant_id}_ses-{visit}.png"

    def is_done(self) -> bool:
        """Whether all that belongs to the participant is there, made with the same key."""
        return all(self._is_done(visit) for visit in self.images)

    def _is_done(self, visit):
        path = self.map_path(visit)
        about = read_sidecar(path)
        return (
            about.get("Key") == self.key
            and path.is_file()
            and hashing.file_hash(path) == about.get("MapSHA256")
            and self.figure_path(visit).is_file()
        )


@dataclass(frozen=True)
class Batch:
    """Participants still to process, and those that are done already."""

    study: Study
    method: Method
    waiting: tuple[Job, ...]
    present: tuple[Job, ...]

    def summary(self, n_jobs) -> str:
        """What lies ahead, and the memory that it needs, in words."""
        first = f"{len(self.waiting)} participants to process, {len(self.present)} done already"
        if not self.waiting:
            return first
        with dask_cluster.connect(self.study.place.dask, PACKAGES) as cluster:
            slots = cluster.slots if cluster else effective_n_jobs(n_jobs)
            at_a_time, each = min(slots, len(self.waiting)), self.method.memory_mb
            second = f"about {each:.0f} MB each, {at_a_time} at a time"
            return f"{first}\n{second}{_room(cluster, each, at_a_time * each)}"


def _room(cluster, each, needed):
    """Whether there is memory for a batch, here or on a cluster, as the end of a sentence."""
    if cluster is None:
        free = psutil.virtual_memory().available / 1e6
        told = f": {needed:.0f} MB of {free:.0f} MB that are free"
        advice = "choose fewer n_jobs, or a larger working_mm"
    else:
        needed, free = each, cluster.memory_mb
        limit = f", whose workers have {free:.0f} MB for each" if np.isfinite(free) else ""
        told = f" on the Dask cluster at {cluster.address}{limit}"
        advice = (
            "give the workers more memory, or fewer threads each (dask worker --nthreads 1), or "
            "choose a larger working_mm"
        )
    return told + (f"\nThat may be too little: {advice}" if needed > free else "")


@dataclass(frozen=True)
class Progress:
    """How far a batch is; as text, one line."""

    done: int  # participants of this run
    total: int
    participant_id: str  # the last; empty where participants are protected
    failed: bool  # whether that one did
    seconds_left: float  # an estimate

    def __str__(self):
        end = "FAILED" if self.failed else "done"
        left = f"; about {duration(self.seconds_left)} left" if self.done < self.total else ""
        who = f": {self.participant_id}" if self.participant_id else ""
        return f"{self.done} of {self.total}{who} {end}{left}"


def ants_method(draw, cache=None, **settings) -> Method:
    """Processing by :mod:`analysis_lib.grey_matter.process`.

    Parameters
    ----------
    draw : function
        Draws the picture of each image: ``figures.segmentation_picture``.
    cache : path, optional
        Where the templates are: see ``environment.cache_folder``.
    **settings
        Of ``settings.Settings``; what is left out keeps its default.

    Raises
    ------
    ImportError
        Without antspyx; the message names the command that installs it.
    FileNotFoundError
        If the templates are not in the cache; the message names the command that gets them.
    """
    with warnings.catch_warnings():  # of the bar that pooch would show for a download
        warnings.filterwarnings("ignore", "IProgress not found")
        from analysis_lib.grey_matter.process import process
        from analysis_lib.grey_matter.settings import SPACE, Settings, load_templates, memory_mb

        chosen = Settings(**settings)
        templates = load_templates(chosen, cache)
    code = hashing.text_hash(*(hashing.file_hash(HERE / name) for name in METHOD_FILES))
    return Method(process, draw, chosen, templates, code, SPACE, memory_mb(chosen))


def scans(study, participants) -> pd.DataFrame:
    """T1w images of each participant that the study does not exclude.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`.

    Returns
    -------
    pandas.DataFrame
        As `study.images.pair_maps` has it, without the arm: those who look at segmentations should
        not know it.

    Raises
    ------
    StudyError
        If there are no images; with every wrong name, and with every participant who has one
        session and no reason for it.
    """
    found = find_t1w(study, participants)
    if found.empty:
        where = f"at {study.imaging.t1w} in {study.root}" if study.imaging else "in the study file"
        raise StudyError(f"T1w images expected {where}, found none")
    return pair_maps(study, participants, found, T1W).drop(columns="arm")


def plan(study, pairs, method) -> Batch:
    """Compare what is there with images, settings and code.

    Parameters
    ----------
    study : Study
    pairs : pandas.DataFrame
        From :func:`scans`.
    method : Method
    """
    jobs = [_job(study, row, method) for _, row in pairs.iterrows()]
    by_state = {True: [], False: []}
    for job in jobs:
        if job.images:
            by_state[job.is_done()].append(job)
    return Batch(study, method, tuple(by_state[False]), tuple(by_state[True]))


def _job(study, row, method):
    visits = {"pre": study.imaging.sessions.pre, "post": study.imaging.sessions.post}
    images = {visit: row[when] for when, visit in visits.items() if not pd.isna(row[when])}
    parts = [text for visit, path in images.items() for text in (visit, hashing.file_hash(path))]
    settings = json.dumps(asdict(method.settings), sort_keys=True, default=str)
    installed = versions(ENGINES)
    engines = json.dumps({name: installed.get(name) for name in ENGINES}, sort_keys=True)
    key = hashing.text_hash(*parts, settings, method.code, engines)
    return Job(study, row["participant_id"], images, key, method.space)


def run(batch, n_jobs=1, progress=None) -> None:
    """Process the participants of a batch that wait, and write each as soon as it is done.

    Parameters
    ----------
    batch : Batch
        From :func:`plan`.
    n_jobs : int
        Processes at once (joblib; the backend that the caller has chosen). Without effect where
        the study names a Dask cluster: that takes as many as its workers have threads (see
        :mod:`analysis_lib.computing.cluster`). The results depend on neither.
    progress : function, optional
        Called with a :class:`Progress` after each participant.

    Raises
    ------
    StudyError
        When all have had their turn: names those that failed, each with its cause. What the others
        gave is written. At once, if a Dask cluster is asked for and cannot do it.
    """
    _write_about(batch)
    address = batch.study.place.dask if batch.waiting else ""
    with dask_cluster.connect(address, PACKAGES) as cluster:
        slots = effective_n_jobs(n_jobs) if cluster is None else cluster.slots
        there = None if cluster is None else _attempts_there(batch, cluster)
        with contextlib.closing(there or _attempts(batch, n_jobs)) as attempts:
            failed = _follow(batch, attempts, slots, progress)
    if failed:
        total = len(batch.waiting) + len(batch.present)
        first = (
            f"{len(failed)} of {total} participants failed, {total - len(failed)} are in place. "
            "Mend or exclude them (exclude in the study file, or image_missing in "
            "participants.tsv) and run again: only they are processed"
        )
        raise StudyError([first, *(f"{who}: {cause}" for who, cause in failed.items())])


def _follow(batch, attempts, slots, progress):
    """Tell of each participant who is done; give the cause of each failure by participant."""
    total, start = len(batch.waiting), time.perf_counter()
    n_workers = min(slots, max(total, 1))
    failed, seconds = {}, []
    for who, error, took in attempts:
        seconds.append(took)
        if error:
            failed[who] = error
        each = np.mean(seconds) / n_workers
        passed = time.perf_counter() - start
        # Those under way are half done on average; starting the processes takes a while too.
        left = max(total * each - passed, (total - len(seconds)) * each / 2)
        shown = "" if batch.study.protected else who
        step = Progress(len(seconds), total, shown, bool(error), left)
        write_text(progress_file(batch.study), f"{step}\n")  # for a terminal that watches
        if progress is not None:
            progress(step)
    progress_file(batch.study).unlink(missing_ok=True)
    return failed


def progress_file(study) -> Path:
    """Where the last line of a batch under way stands."""
    return study.made_maps / ".progress"


def _attempts(batch, n_jobs):
    """Participant, cause of a failure or None, and seconds, as each is done.

    When a worker dies, joblib cannot say which participant it had: the rest then go one at a time.
    """
    left = {job.participant_id: job for job in batch.waiting}
    try:
        for result in _parallel(batch.waiting, batch.method, n_jobs):
            del left[result[0]]
            yield result
    except BrokenProcessPool:
        for who, job in left.items():
            start = time.perf_counter()
            try:
                yield from _parallel([job], batch.method, n_jobs)
            except BrokenProcessPool:
                yield who, DIED, time.perf_counter() - start


def _parallel(jobs, method, n_jobs):
    """Processes, not threads: what ANTs is told by the environment holds for a whole process."""
    tasks = (delayed(_make)(job, method) for job in jobs)
    return Parallel(n_jobs=n_jobs, prefer="processes", return_as="generator_unordered")(tasks)


def _attempts_there(batch, cluster):
    """As :func:`_attempts`, on a Dask cluster."""
    folder = batch.study.made_maps
    jobs = {job.participant_id: job for job in batch.waiting}
    images = [path for job in batch.waiting for path in job.images.values()]
    cluster.require_files([folder / "dataset_description.json", *images])
    start = time.perf_counter()
    for who, result, cause in cluster.run(_make, jobs, batch.method, folder):
        yield result or (who, cause, time.perf_counter() - start)


def _make(job, method):
    start, cause = time.perf_counter(), None
    try:
        if not job.is_done():  # by another run, or before a worker beside this one died
            write_participant(
                job, method, method.process(job.images, method.settings, method.templates)
            )
    except CompendiumError as error:
        cause = "; ".join(map(str, error.problems))
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
    return job.participant_id, cause, time.perf_counter() - start


def _write_about(batch):
    """What makes the folder a dataset; what is no part of BIDS is named in .bidsignore."""
    study = batch.study
    raw = Path(os.path.relpath(study.root, study.made_maps)).as_posix()
    raw = "raw" if study.protected else raw
    made_by = {
        "Name": "analysis_lib.grey_matter",
        "Version": "0.1.0",
        "Description": "notebook 00_grey_matter; settings are in each map's JSON file",
    }
    about = {
        "Name": f"Grey-matter maps: {study.title}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [made_by],
        "SourceDatasets": [{"URL": raw}],
        "DatasetLinks": {"raw": raw},
    }
    readme = (HERE / "README.txt").read_text(encoding="utf-8").format(study=study)
    files = {"dataset_description.json": about, "README": readme}
    files[".bidsignore"] = "figures\nquality.*\n"
    writing.write(study.made_maps, files, keep_others=True)
