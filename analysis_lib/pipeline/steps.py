"""The numbered notebooks: what each reads and writes, and what a study cannot run."""

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analysis_lib.results import environment
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import CompendiumError, UsageError
from analysis_lib.study.contract import LocalMap, Study

# What notebook 00 needs beside the rest (extra "preprocess"): module and package.
FOR_T1W = {"ants": "antspyx", "picsl_greedy": "picsl-greedy"}


@dataclass(frozen=True)
class Step:
    """One notebook. Folders are below ``study.derived``, but for "figures": ``study.figures``."""

    notebook: str  # name without suffix; starts with its number
    reads: tuple[Callable[[Study], list[Path]], ...] = ()  # list files that are there
    uses: tuple[str, ...] = ()  # folders of earlier notebooks that it cannot do without
    may_use: tuple[str, ...] = ()  # and those that it takes when they are there
    writes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # "images": grey-matter maps; "t1w": T1w images, and no maps yet
    fits: Callable[[Study], bool] = lambda study: True  # kinds of study that it is meant for
    on_request: bool = False  # runs only when it is named (--only S1)
    resumes: bool = False  # keeps what is right of an earlier run: all its files are its outputs

    @property
    def number(self) -> str:
        """What the notebook's name starts with: 02."""
        return self.notebook.split("_")[0]

    @property
    def takes(self) -> tuple[str, ...]:
        """Folders of earlier results that it takes."""
        return (*self.uses, *self.may_use)


def required_tables(study) -> list[Path]:
    """Tables that a study must have: participants and one file per scale, there or not."""
    files = [] if study.effect else ["participants.tsv", *(s.file for s in study.scales)]
    return [study.root / file for file in dict.fromkeys(files)]


def tables(study) -> list[Path]:
    """Tables of a study that are there, optional ones included."""
    optional = () if study.effect else ("adverse_events.tsv", "stimulation.tsv")
    return _there(*required_tables(study), *(study.root / name for name in optional))


def brought(study) -> list[Path]:
    """Instead of images: a table of regional changes, or one map."""
    paths = [study.root / study.imaging.table] if study.regional else []
    paths += [study.path.parent / study.effect.file] if study.effect else []
    return [path.resolve() for path in _there(*paths)]


def participants_table(study) -> list[Path]:
    """The table of participants, if it is there."""
    return _there(study.root / "participants.tsv")


def _there(*paths):
    return [path for path in paths if path.is_file()]


def templates(study) -> list[Path]:
    """Templates for brain extraction, if they are in the cache."""
    from analysis_lib.atlas import files  # slow to import

    with contextlib.suppress(CompendiumError):
        return files.cached_templates()
    return []


def receptor_maps(study) -> list[Path]:
    """Receptor maps that the study asks for: in neuromaps' cache ("default": all), and its own."""
    chosen = [study.receptors] if isinstance(study.receptors, str) else study.receptors
    own = [study.path.parent / entry.file for entry in chosen if isinstance(entry, LocalMap)]
    names = _cached_names([entry for entry in chosen if isinstance(entry, str)])
    folder = environment.receptor_cache() / "annotations"
    found = _there(*(path for name in names for path in folder.glob(f"{name}/**/*")))
    maps = {path for path in found if path.name.endswith((".nii.gz", ".nii", ".gii"))}
    return sorted(maps | {path.resolve() for path in _there(*own)})


def bundled_densities(study) -> list[Path]:
    """Tables that stand in for receptor maps which the cache lacks; one's own atlas has none."""
    if not isinstance(study.atlas, str) or Path(study.atlas).is_absolute():
        return []
    folder = PROJECT / "data" / "receptors"
    return [*sorted(folder.glob(f"{study.atlas}*.tsv")), folder / "maps.tsv"]


def _cached_names(names):
    """Patterns of source/desc. Only the name of a receptor needs the library, slow to import."""
    found = ["*/*" if name in ("default", "all") else name for name in names]
    if receptors := [name for name in found if "/" not in name]:
        from analysis_lib.study import catalogue

        found += [annotation for name in receptors for annotation in catalogue.resolve(name)]
    return [pattern for pattern in found if "/" in pattern]


def atlas_files(study) -> list[Path]:
    """Files of the study's own atlas, or of a downloaded one; a packaged one has none here."""
    if isinstance(study.atlas, dict):
        return _there(*map(Path, study.atlas.values()))
    if Path(study.atlas).is_absolute():  # and the table beside it
        stem = study.atlas.removesuffix(".gz").removesuffix(".nii")
        return _there(Path(study.atlas), Path(f"{stem}.tsv"))
    if study.atlas in ("neuromorphometrics", "aal"):
        return []
    from analysis_lib.atlas import files

    return _there(*files.atlas_paths(study.atlas))


def benchmark(name):
    """What a benchmark has measured, which a notebook shows: false-positive rates."""
    return lambda study: [PROJECT / "benchmarks" / name]


def numbers(study) -> list[Path]:
    """The file of numbers that notebooks share, if it is there."""
    return _there(study.derived / "numbers.json")


def every_study(study) -> list[Path]:
    """The files of numbers of all studies that have results."""
    return sorted(study.derived.parent.glob("*/numbers.json"))


def has_arms(study) -> bool:
    """Whether a study compares two arms."""
    return study.arms is not None


CHANGES = (tables, receptor_maps, bundled_densities, atlas_files)


SPATIAL_RATES = benchmark("spatial_nulls.tsv")
STEPS = (
    Step(
        "00_grey_matter",
        reads=(participants_table, Study.t1w_images, templates),
        writes=("grey_matter",),
        needs=("t1w",),
        resumes=True,
    ),
    Step(
        "01_clinical_outcomes",
        reads=(tables, Study.grey_matter_maps),
        may_use=("grey_matter",),
        writes=("clinical",),
        fits=has_arms,
    ),
    Step("01_courses", reads=(tables,), writes=("clinical",), fits=lambda s: not has_arms(s)),
    Step(
        "02_vbm",
        reads=(tables, Study.grey_matter_maps, atlas_files, benchmark("calibration.tsv")),
        may_use=("grey_matter",),
        writes=("vbm",),
        needs=("images",),
        fits=lambda study: not study.regional,
    ),
    Step(
        "02_regions",
        reads=(tables, brought, atlas_files),
        writes=("vbm",),
        fits=lambda study: study.regional,
    ),
    Step(
        "03_receptor_correlation",
        reads=(tables, brought, receptor_maps, bundled_densities, atlas_files, SPATIAL_RATES),
        uses=("vbm",),
        writes=("receptors",),
        needs=("images",),
    ),
    Step(
        "04_figures",
        reads=(numbers,),
        uses=("clinical",),
        may_use=("vbm", "receptors"),
        writes=("figures",),
    ),
    Step("S0_trial_conduct", reads=(tables,), writes=("conduct",), fits=has_arms),
    Step(
        "S1_calibration",
        reads=(*CHANGES, Study.grey_matter_maps, brought),
        may_use=("vbm", "receptors"),
        writes=("calibration",),
        on_request=True,
    ),
    Step(
        "S2_specification_curve",
        reads=(*CHANGES, Study.grey_matter_maps, brought),
        may_use=("grey_matter", "vbm", "receptors"),
        writes=("specifications",),
        fits=lambda study: has_arms(study) or study.has_change,
        on_request=True,
    ),
    Step(
        "S3_power",
        reads=(*CHANGES, Study.grey_matter_maps, brought),
        may_use=("grey_matter", "vbm", "receptors"),
        writes=("power",),
        on_request=True,
    ),
    Step(
        "S4_juspace",
        reads=CHANGES,
        uses=("vbm", "receptors"),
        writes=("juspace",),
        needs=("images",),
        fits=has_arms,
        on_request=True,
    ),
    Step("S5_trials", reads=(every_study,), writes=("trials",), on_request=True),
)


def select(steps, only) -> list[Step]:
    """Steps named by number or by notebook, in their own order; a `UsageError` for another name.

    For an empty list: all but those that run on request alone.
    """
    unknown = [name for name in only if not any(_is(step, name) for step in steps)]
    if unknown:
        known = ", ".join(f"{step.number} ({step.notebook})" for step in steps)
        raise UsageError(f"--only {','.join(only)}: no notebook {unknown[0]!r}. Known: {known}")
    if not only:
        return [step for step in steps if not step.on_request]
    return [step for step in steps if any(_is(step, name) for name in only)]


def _is(step, name):
    name = name.removesuffix(".ipynb")
    return name == step.notebook or name.zfill(2).upper() == step.number  # 2 means 02


def blocked(step, study, coming=False) -> str | None:
    """Why a study cannot run a step, or None.

    ``coming``: grey-matter maps that are not there yet will be, once an earlier step has run.
    """
    if study.effect:
        return None if step.number in ("03", "04", "S2") else "one map, no patients"
    if study.regional and step.needs:
        return None if step.number == "03" else "the study brings changes by region"
    if step.needs and study.imaging is None:
        return "no images in the study file"
    if "t1w" in step.needs:
        return _without_t1w(study)
    if "images" not in step.needs or coming or study.grey_matter_maps():
        return None
    pattern = study.imaging.grey_matter
    where = f"nothing matches {pattern} in {study.root}" if pattern else "notebook 00 makes them"
    return f"no grey-matter maps: {where}"


def _without_t1w(study):
    """Why no maps can be made from T1-weighted images, or need not be; None if they can."""
    if study.own_maps():
        return "the study brings grey-matter maps"
    if not study.t1w_images():
        where = f"nothing matches {study.imaging.t1w} in {study.root}"
        return f"no T1w images: {where}{_how_to_fetch_images(study)}"
    lacking = [p for module, p in FOR_T1W.items() if importlib.util.find_spec(module) is None]
    if lacking:
        return (
            f"{' and '.join(lacking)} not installed. Get it: python -m pip install "
            f"{' '.join(lacking)} (Python before 3.14)"
        )
    return None


def _how_to_fetch_images(study):
    """The command that gets a public study's images, as the end of a message, if there is one."""
    from analysis_lib.datasets import fetch  # slow to import

    if study.name not in fetch.IMAGES:
        return ""
    size = sum(file.bytes for file in fetch.images_of(study.name)) / 1e9
    return f". Get them ({size:.1f} GB): python -m analysis_lib fetch {study.name} --images"


def makes_maps(steps, study) -> bool:
    """Whether one of the steps makes the grey-matter maps of this study."""
    return any("t1w" in step.needs and not blocked(step, study) for step in steps)


def blocked_note(steps, study) -> str | None:
    """A sentence on the steps that a study cannot run and why, or None."""
    from analysis_lib.results.words import listed  # slow to import

    coming, by_reason = makes_maps(steps, study), {}
    for step in steps:
        if reason := blocked(step, study, coming):
            by_reason.setdefault(reason, []).append(step.number)
    told = []
    for reason, numbers in by_reason.items():
        plural, (what, _, detail) = len(numbers) > 1, reason.partition(": ")
        if what == "no grey-matter maps":
            verb, reason = "wait" if plural else "waits", f"for grey-matter maps: {detail}"
        else:
            verb, reason = "are" if plural else "is", f"skipped: {reason}"
        told.append(f"{listed(numbers)} {verb} {reason}")
    return "\n".join(told) or None
