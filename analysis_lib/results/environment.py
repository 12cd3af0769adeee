"""Folders and settings that come from the environment."""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path

from platformdirs import user_cache_path

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"
APPENDIX = "appendix"  # below it: the notebooks whose name starts with S
LIBRARY, ENGINES = PROJECT / "analysis_lib", PROJECT / "engines"

# OpenBLAS rounds differently with another number of threads, and joblib's workers get fewer threads
# than the kernel: one thread everywhere, so that numbers do not depend on cores or processes.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # glibc keeps freed memory in a pool per thread: 40 MB in 02
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # no debugger's warning at each start of a kernel
}

# A kernel starts in another folder, so relative ones would mean something else there.
FOLDER_VARIABLES = ("COMPENDIUM_OUTPUT", "COMPENDIUM_CACHE", "NEUROMAPS_DATA")


def whole_folders() -> dict:
    """Environment variables that name folders, as whole paths: kernels start in another folder."""
    folders = {name: os.environ[name] for name in FOLDER_VARIABLES if os.environ.get(name)}
    return {name: str(Path(text).expanduser().resolve()) for name, text in folders.items()}


def kernel_environment(library=LIBRARY, told=None) -> dict:
    """Environment of the kernels: one BLAS thread, this library before any other, whole paths.

    ``told`` is what else they are told, by variable.
    """
    project = Path(library).parent
    own = [project, *sorted(project.glob("engines/*/src"))]
    path = [*map(str, own), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(path), **whole_folders(), **(told or {})}
    return {**os.environ, **KERNEL_ENVIRONMENT, **own}


def receptor_cache(cache=None) -> Path:
    """Folder of receptor maps: the argument, $NEUROMAPS_DATA, or neuromaps' own default.

    ``neuromaps.datasets.get_data_dir`` follows the same rule, but creates the folder.
    """
    chosen = cache or os.environ.get("NEUROMAPS_DATA") or "~/neuromaps-data"
    return Path(chosen).expanduser()


def cache_folder(cache=None):
    """Folder that keeps downloaded files: the argument, $COMPENDIUM_CACHE, or the system's."""
    chosen = cache or os.environ.get("COMPENDIUM_CACHE")
    return Path(chosen or user_cache_path("rtms-compendium", False)).expanduser().resolve()


def versions(packages) -> dict:
    """Versions of Python and of those of some packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def notebook_path(name, notebooks=NOTEBOOKS):
    """File of a notebook: those of the appendix (S0, ...) are in its folder."""
    folder = notebooks / APPENDIX if name.startswith("S") else notebooks
    return folder / f"{name}.ipynb"
