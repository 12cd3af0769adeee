"""Grey-matter maps of a whole study: T1-weighted images in, a BIDS derivative dataset out.

The images are processed a participant at a time, in parallel. What is written of a participant
appears whole or not at all, and is kept as long as images, settings and code stay the same: a run
that was broken off goes on where it was.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
from joblib import Parallel, delayed, effective_n_jobs
from matplotlib import pyplot as plt
from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template
from nilearn.image import resample_img, smooth_img

from analysis_lib import plots, report, results, workers
from analysis_lib.images import T1W, find_t1w, load_map, pair_maps, robust_z
from analysis_lib.study import Study, StudyError

ENGINES = ("antspyx", "picsl-greedy", "SimpleITK")  # another version of them makes other maps
PACKAGES = (*ENGINES, "nibabel", "nilearn", "numpy", "scipy")  # named in each map's JSON file
QUALITY = (
    *("tiv_ml", "grey_ml", "white_ml", "csf_ml"),
    *("grey_share", "template_correlation", "grey_change"),
)
MNI_CUTS = {"x": (-36, -4), "z": (-18, 6, 42)}  # mm
CUT_SHARES = {"x": (0.25, 0.48), "z": (0.36, 0.53, 0.77)}  # of the brain's extent
VOLUMES = {"tiv_ml": "TIV_ml", "grey_ml": "GM_ml", "white_ml": "WM_ml", "csf_ml": "CSF_ml"}
DIED = (
    "the process that worked on it ended without a word, most often for want of memory. Give it "
    "more, or choose a larger working_mm or fewer n_jobs"
)


@dataclass(frozen=True)
class Method:
    """How images are processed.

    Parameters
    ----------
    process : function
        Of paths by visit, settings and templates; gives what ``preprocess.process`` gives.
    settings : dataclass
        Plain values.
    templates : object
        Sent to other processes: it must be picklable.
    code : str
        sha256 of the source of ``process``.
    space : str
        BIDS name of the maps' space.
    memory_mb : float
        Expected peak of one participant.
    """

    process: Callable
    settings: object
    templates: object
    code: str
    space: str
    memory_mb: float


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

    def stem(self, visit) -> str:
        """Name of a visit's map, without suffix."""
        space = f"space-{self.space}"
        return f"{self.participant_id}_ses-{visit}_{space}_label-GM_desc-modulated_probseg"

    def map_path(self, visit) -> Path:
        """A visit's map."""
        return self.folder / f"ses-{visit}" / "anat" / f"{self.stem(visit)}.nii.gz"

    def figure_path(self, visit) -> Path:
        """A visit's picture."""
        return self.study.made_maps / "figures" / f"{self.participant_id}_ses-{visit}.png"

    def is_done(self) -> bool:
        """Whether all that belongs to the participant is there, made with the same key."""
        return all(self._is_done(visit) for visit in self.images)

    def _is_done(self, visit):
        path = self.map_path(visit)
        about = _sidecar(path)
        return (
            about.get("Key") == self.key
            and path.is_file()
            and report.file_hash(path) == about.get("MapSHA256")
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
        with workers.connect(PACKAGES) as cluster:
            room = self._room_here(n_jobs) if cluster is None else self._room_there(cluster)
            return "\n".join([first, *room])

    def _room_here(self, n_jobs):
        n_workers = min(effective_n_jobs(n_jobs), len(self.waiting))
        needed, free = n_workers * self.method.memory_mb, psutil.virtual_memory().available / 1e6
        yield (
            f"about {self.method.memory_mb:.0f} MB each, {n_workers} at a time: "
            f"{needed:.0f} MB of {free:.0f} MB that are free"
        )
        if needed > free:
            yield "That may be too little: choose fewer n_jobs, or a larger working_mm"

    def _room_there(self, cluster):
        needed, free = self.method.memory_mb, cluster.memory_mb
        there = f"{min(cluster.slots, len(self.waiting))} at a time on the Dask cluster at "
        limit = f", whose workers have {free:.0f} MB for each" if np.isfinite(free) else ""
        yield f"about {needed:.0f} MB each, {there}{cluster.address}{limit}"
        if needed > free:
            yield (
                "That may be too little: give the workers more memory, or fewer threads each "
                "(dask worker --nthreads 1), or choose a larger working_mm"
            )


@dataclass(frozen=True)
class Progress:
    """How far a batch is; as text, one line.

    Parameters
    ----------
    done, total : int
        Participants of this run.
    participant_id : str
        Who came last.
    failed : bool
        Whether that failed.
    seconds_left : float
        Estimate.
    """

    done: int
    total: int
    participant_id: str
    failed: bool
    seconds_left: float

    def __str__(self):
        end = "FAILED" if self.failed else "done"
        left = f"; about {duration(self.seconds_left)} left" if self.done < self.total else ""
        return f"{self.done} of {self.total}: {self.participant_id} {end}{left}"


# --- what is to be done -------------------------------------------------------------------------


def ants_method(cache=None, **settings) -> Method:
    """Processing by :mod:`analysis_lib.preprocess`.

    Parameters
    ----------
    cache : path, optional
        Where the templates are: see ``fetch.cache_folder``.
    **settings
        Of ``preprocess.Settings``; what is left out keeps its default.

    Raises
    ------
    ImportError
        Without antspyx; the message names the command that installs it.
    FileNotFoundError
        If the templates are not in the cache; the message names the command that gets them.
    """
    with warnings.catch_warnings():  # of the bar that pooch would show for a download
        warnings.filterwarnings("ignore", "IProgress not found")
        from analysis_lib import preprocess

        chosen = preprocess.Settings(**settings)
        templates = preprocess.load_templates(chosen, cache)
    return Method(
        preprocess.process,
        chosen,
        templates,
        report.file_hash(preprocess.__file__),
        preprocess.SPACE,
        preprocess.memory_mb(chosen),
    )


def scans(study, participants) -> pd.DataFrame:
    """T1w images of each participant that the study does not exclude.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.ratings.read_participants`.

    Returns
    -------
    pandas.DataFrame
        participant_id, pre, post (paths, or missing), status, as :func:`images.pair_maps` has
        them, but for the arm: who looks at segmentations should not know it.

    Raises
    ------
    StudyError
        If there are no images; with every wrong name, and with every participant who has one
        session and no reason for it.
    """
    found = find_t1w(study, participants)
    if found.empty:
        where = f"at {study.imaging.t1w} in {study.root}" if study.imaging else "in the study file"
        raise StudyError([f"T1w images expected {where}, found none"])
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
    jobs = [job for job in jobs if job.images]
    done = [job.is_done() for job in jobs]
    waiting = (job for job, is_done in zip(jobs, done, strict=True) if not is_done)
    present = (job for job, is_done in zip(jobs, done, strict=True) if is_done)
    return Batch(study, method, tuple(waiting), tuple(present))


def _job(study, row, method):
    visits = {"pre": study.imaging.sessions.pre, "post": study.imaging.sessions.post}
    images = {visit: row[when] for when, visit in visits.items() if not pd.isna(row[when])}
    parts = [text for visit, path in images.items() for text in (visit, report.file_hash(path))]
    settings = json.dumps(asdict(method.settings), sort_keys=True, default=str)
    versions = json.dumps({name: _versions().get(name) for name in ENGINES}, sort_keys=True)
    key = report.text_hash(*parts, settings, method.code, versions)
    return Job(study, row["participant_id"], images, key, method.space)


# --- doing it -----------------------------------------------------------------------------------


def run(batch, n_jobs=1, progress=None) -> None:
    """Process the participants of a batch that wait, and write each as soon as it is done.

    Parameters
    ----------
    batch : Batch
        From :func:`plan`.
    n_jobs : int
        Processes at once (joblib; the backend that the caller has chosen). Without effect where
        $COMPENDIUM_DASK names a Dask cluster: that takes as many as its workers have threads (see
        :mod:`analysis_lib.workers`). The results depend on neither.
    progress : function, optional
        Called with a :class:`Progress` after each participant.

    Raises
    ------
    StudyError
        When all have had their turn: names those that failed, each with its cause. What the others
        gave is written. At once, if a Dask cluster is asked for and cannot do it.
    """
    _write_about(batch)
    chosen = workers.connect(PACKAGES) if batch.waiting else contextlib.nullcontext()
    with chosen as cluster:
        slots = effective_n_jobs(n_jobs) if cluster is None else cluster.slots
        there = None if cluster is None else _attempts_there(batch, cluster)
        with contextlib.closing(there or _attempts(batch, n_jobs)) as attempts:
            failed = _follow(batch, attempts, slots, progress)
    if failed:
        raise StudyError(_failures(failed, len(batch.waiting), len(batch.present)))


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
        step = Progress(len(seconds), total, who, bool(error), left)
        _say(batch.study, step, progress)
    return failed


def _say(study, step, progress):
    """Tell the caller, and leave a line for a terminal that watches from outside."""
    path = progress_file(study)
    report.write_text(path, f"{step}\n")
    if step.done == step.total:
        path.unlink()
    if progress is not None:
        progress(step)


def progress_file(study) -> Path:
    """Where the last line of a batch under way stands."""
    return study.made_maps / ".progress"


def duration(seconds) -> str:
    """A time in words: "40 s", "12 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _failures(failed, total, n_present):
    n_done = total - len(failed) + n_present
    first = (
        f"{len(failed)} of {total + n_present} participants failed, {n_done} are in place. Mend or "
        "exclude them (exclude in the study file, or image_missing in participants.tsv) and run "
        "again: only they are processed"
    )
    return [first, *(f"{who}: {cause}" for who, cause in failed.items())]


def _attempts(batch, n_jobs):
    """Participant, cause of a failure or None, and seconds, as each is done.

    When a worker process dies, joblib cannot say which participant it had. Those who are left then
    go one at a time, each in a process of its own, so that the others go on.
    """
    left = {job.participant_id: job for job in batch.waiting}
    try:
        for result in _parallel(batch.waiting, batch.method, n_jobs):
            del left[result[0]]
            yield result
    except BrokenProcessPool:
        for who, job in left.items():
            yield _alone(who, job, batch.method, n_jobs)


def _alone(who, job, method, n_jobs):
    start = time.perf_counter()
    try:
        return next(iter(_parallel([job], method, n_jobs)))
    except BrokenProcessPool:
        return who, DIED, time.perf_counter() - start


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
    for who, ended in cluster.run(_make, jobs, batch.method, folder):
        yield ended.result if ended.cause is None else (who, ended.cause, ended.seconds)


def _make(job, method):
    start, cause = time.perf_counter(), None
    try:
        if not job.is_done():  # by another run, or before a worker beside this one died
            _write(job, method, method.process(job.images, method.settings, method.templates))
    except StudyError as error:
        cause = "; ".join(error.problems)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
    return job.participant_id, cause, time.perf_counter() - start


# --- writing ------------------------------------------------------------------------------------


def _write(job, method, processed):
    """Write a participant into a hidden folder, and move it to its place when all is there."""
    partial = job.folder.with_name(f".{job.participant_id}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "figures").mkdir(parents=True)
        for visit in job.images:
            _write_visit(partial, job, visit, method, processed)
        _move(partial, job)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_visit(partial, job, visit, method, processed):
    anat = partial / job.map_path(visit).parent.relative_to(job.folder.parent)
    anat.parent.mkdir(parents=True)
    name = job.map_path(visit).name
    results.write(anat, {name: _stored(processed.maps[visit])})
    about = _about_map(job, visit, method, processed)
    about["MapSHA256"] = report.file_hash(anat / name)
    results.write(anat, {f"{job.stem(visit)}.json": about}, keep_others=True)
    picture = partial / "figures" / job.figure_path(visit).name
    _draw(picture, job, visit, processed)


def _move(partial, job):
    """Pictures first: the folder of the maps is what says that a participant is done."""
    figures = job.study.made_maps / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for old in figures.glob(f"{job.participant_id}_ses-*.png"):
        old.unlink()
    for path in (partial / "figures").iterdir():
        os.replace(path, figures / path.name)
    if job.folder.exists():
        os.rename(job.folder, partial / "before")
    os.rename(partial / job.participant_id, job.folder)


def _stored(image):
    """A map as it is stored: float32, MNI space said in the header."""
    stored = nib.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine)
    stored.set_sform(image.affine, "mni")
    stored.set_qform(image.affine, "mni")
    stored.header.set_xyzt_units("mm", "sec")
    return stored


def _about_map(job, visit, method, processed):
    volumes = processed.volumes.set_index("visit").loc[visit]
    zooms = nib.affines.voxel_sizes(processed.maps[visit].affine)
    return {
        "Description": "Modulated grey matter: its volume in a voxel over the volume of the voxel",
        "Sources": [_uri(job, path) for path in job.images.values()],
        "SpatialReference": "ICBM 152 nonlinear symmetric 2009a template, as nilearn packages it",
        "SkullStripped": True,
        "Resolution": f"{' x '.join(f'{zoom:g}' for zoom in zooms)} mm",
        **{name: round(float(volumes[column]), 3) for column, name in VOLUMES.items()},
        "Settings": json.loads(json.dumps(asdict(method.settings), default=str)),
        "Seconds": {step: round(took, 1) for step, took in processed.seconds.items()},
        "PackageVersions": _versions(),
        "Key": job.key,
    }


def _uri(job, path):
    return f"bids:raw:{path.relative_to(job.study.root).as_posix()}"


def _versions():
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _draw(path, job, visit, processed):
    fig = picture(processed, visit, f"{job.participant_id} ses-{visit}", job.study)
    try:
        fig.savefig(path, dpi=180)
    finally:
        plt.close(fig)


def picture(processed, visit, name, study=None):
    """A picture of what became of one image.

    Parameters
    ----------
    processed : analysis_lib.preprocess.Processed
    visit : str
    name : str
        Written below it.
    study : Study, optional
        Whether it is marked as simulated.

    Returns
    -------
    matplotlib.figure.Figure
        The participant's own image with its brain mask, grey matter on it, the normalised map.
    """
    images = {
        "t1": processed.t1[visit],
        "brain": processed.brain,
        "grey": processed.grey,
        "map": processed.maps[visit],
        "normalised": processed.normalised,
    }
    cuts = {"own": _cuts(processed.brain), "mni": MNI_CUTS}
    with plots.style():
        fig, axes = plots.brain_figure(3, 2, height=6.3)
        plots.plot_segmentation(axes, images, cuts)
        fig.text(0.01, 0.005, name, va="bottom", fontsize=7)
        if study is not None:
            plots.mark(fig, study)
    return fig


def _cuts(brain):
    """Where to cut an image in the participant's own space: shares of the brain's extent, mm."""
    voxels = np.argwhere(np.asarray(brain.dataobj) > 0.5)
    if not len(voxels):
        raise ValueError("a brain mask with at least one voxel expected, found an empty one")
    places = nib.affines.apply_affine(brain.affine, voxels)
    low, high = places.min(axis=0), places.max(axis=0)
    ends = {axis: (low["xyz".index(axis)], high["xyz".index(axis)]) for axis in CUT_SHARES}
    return {
        axis: [ends[axis][0] + share * (ends[axis][1] - ends[axis][0]) for share in shares]
        for axis, shares in CUT_SHARES.items()
    }


def _write_about(batch):
    """What makes the folder a dataset; what is no part of BIDS is named in .bidsignore."""
    study = batch.study
    raw = Path(os.path.relpath(study.root, study.made_maps)).as_posix()
    about = {
        "Name": f"Grey-matter maps: {study.title}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "analysis_lib.preprocess",
                "Version": "0.1.0",
                "Description": "notebook 00_grey_matter; settings are in each map's JSON file",
            }
        ],
        "SourceDatasets": [{"URL": raw}],
        "DatasetLinks": {"raw": raw},
    }
    files = {"dataset_description.json": about, "README": README.format(study=study)}
    files[".bidsignore"] = "figures\nquality.*\n"
    results.write(study.made_maps, files, keep_others=True)


README = """\
Grey-matter maps: {study.title}

Made by notebook 00_grey_matter from the T1-weighted images of the dataset "raw" (see DatasetLinks
in dataset_description.json). Each map is modulated grey matter in MNI space, unsmoothed:
grey-matter volume in a voxel divided by the volume of the voxel, so that the sum of a map times the
volume of a voxel is a volume. Its JSON file has total intracranial volume and tissue volumes (ml),
every setting, versions and times.

figures/: a picture of each image. quality.tsv: volumes and outlier scores, without the arm.
{study.label}
"""


# --- quality ------------------------------------------------------------------------------------


def quality(study, pairs) -> pd.DataFrame:
    """Volumes of each image, and how unlike the others it is.

    Parameters
    ----------
    study : Study
    pairs : pandas.DataFrame
        From :func:`scans`; every participant with images must be processed.

    Returns
    -------
    pandas.DataFrame
        One row an image, without the arm: participant_id, session (pre, post), tiv_ml, grey_ml,
        white_ml, csf_ml, grey_share (of TIV), template_correlation (see
        :func:`template_correlations`), grey_change (percent, of the second image), outlier_score:
        the largest distance of these from the median of the session, in robust standard deviations
        (to either side; of the correlation, below), and furthest, the column that has it. Above 3
        an image deserves a look; nothing is dropped.

    Raises
    ------
    StudyError
        If a map is missing.
    """
    rows, paths = _volume_rows(study, pairs)
    table = pd.DataFrame(rows)
    table["grey_share"] = table["grey_ml"] / table["tiv_ml"]
    table["template_correlation"] = template_correlations(paths)
    before = table[table["session"] == "pre"].set_index("participant_id")["grey_ml"]
    ratio = table["grey_ml"] / table["participant_id"].map(before)
    table["grey_change"] = 100 * (ratio - 1).where(table["session"] == "post")
    scores = table.groupby("session", sort=False)[list(QUALITY)].transform(robust_z).abs()
    low = -table.groupby("session", sort=False)["template_correlation"].transform(robust_z)
    scores["template_correlation"] = low
    scores = scores.fillna(0.0)
    return table.assign(outlier_score=scores.max(axis=1), furthest=scores.idxmax(axis=1))


def _volume_rows(study, pairs):
    rows, paths, lacking = [], [], []
    visits = {"pre": study.imaging.sessions.pre, "post": study.imaging.sessions.post}
    for _, row in pairs.iterrows():
        for session, visit in visits.items():
            if pd.isna(row[session]):
                continue
            folder = study.made_maps / row["participant_id"] / f"ses-{visit}" / "anat"
            path = next(iter(sorted(folder.glob("*_desc-modulated_probseg.nii.gz"))), None)
            about = _sidecar(path) if path else {}
            if not set(VOLUMES.values()) <= set(about):
                lacking.append(f"{row['participant_id']} ses-{visit}")
                continue
            volumes = {column: about[name] for column, name in VOLUMES.items()}
            who = {"participant_id": row["participant_id"], "session": session}
            rows.append(who | volumes)
            paths.append(path)
    if lacking or not rows:
        found = f"none for {', '.join(lacking)}" if lacking else "no image at all"
        raise StudyError([f"a map of each T1w image expected in {study.made_maps}, found {found}"])
    return rows, paths


def _sidecar(path):
    """What the JSON file beside a map says; nothing, if there is none that can be read."""
    file = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def template_correlations(paths, fwhm_mm=8.0) -> np.ndarray:
    """Correlation of maps with the template's grey matter, over the template's brain.

    Parameters
    ----------
    paths : sequence of path
        Maps on one grid.
    fwhm_mm : float
        Smoothing of both, full width at half maximum, mm.

    Returns
    -------
    numpy.ndarray
        (n_maps,), Pearson.
    """
    first = nib.load(paths[0])
    grid = {"target_affine": first.affine, "target_shape": first.shape}
    grid |= {"force_resample": True, "copy_header": True}
    template = resample_img(load_mni152_gm_template(resolution=1), interpolation="linear", **grid)
    brain = load_mni152_brain_mask(resolution=2)
    inside = resample_img(brain, interpolation="nearest", **grid).get_fdata() > 0.5
    expected = smooth_img(template, fwhm_mm).get_fdata()[inside]
    found = (smooth_img(load_map(path), fwhm_mm).get_fdata()[inside] for path in paths)
    return np.array([np.corrcoef(expected, values)[0, 1] for values in found])


def named(table, threshold=3.0) -> list[str]:
    """Images whose outlier score is above a threshold, the furthest first, in words.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`quality`.
    threshold : float
    """
    above = table[table["outlier_score"] > threshold].sort_values("outlier_score", ascending=False)
    return [
        f"{row.participant_id} {row.session}: {row.furthest} {getattr(row, row.furthest):.3g} "
        f"(score {row.outlier_score:.1f})"
        for row in above.itertuples()
    ]
