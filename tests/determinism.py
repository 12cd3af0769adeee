"""Does the demo give the same files whatever surrounds it? Part of `make campaign`.

Notebooks 01 to 03 run (`--quick`) in several surroundings; all files of clinical/, vbm/ and
receptors/ must be those of a plain run, byte for byte.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FOLDERS = ("clinical", "vbm", "receptors")
RUN = ("run_all.py", "--quick", "--force", "--only", "01,02,03")
USER = {"HOME": "/tmp/someone", "USER": "someone", "LOGNAME": "someone"}


def start(out, *options, python=sys.executable, project=PROJECT, **environment):
    """Start notebooks 01 to 03 of the demo, with results in a folder."""
    path = os.pathsep.join(map(str, [project, *sorted(project.glob("engines/*/src"))]))
    command = [str(python), *RUN, "--output", str(out), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        command, cwd=project, env=os.environ | {"PYTHONPATH": path} | environment, **pipes
    )


def hashes(process, out, name="demo"):
    """The hash of each result file, once the run is complete."""
    said, _ = process.communicate(timeout=3600)
    assert process.returncode == 0, said
    derived = out / "data" / "derived" / name
    files = (path for folder in FOLDERS for path in sorted((derived / folder).rglob("*")))
    return {
        path.relative_to(derived).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def parts(folder, pythons):
    """By name, what compares a run in other surroundings with a plain one."""
    plain = {}

    def compared(name, **options):
        def part():
            if not plain:
                plain.update(hashes(start(folder / "plain"), folder / "plain"))
            out = folder / name.replace(" ", "_")
            given = {k: v() if callable(v) else v for k, v in options.items()}
            jobs = given.pop("jobs", ())
            return told(plain, hashes(start(out, *jobs, **given), out))

        return part

    surroundings = {
        "one process": {"jobs": ("--jobs", "1")},
        "another path and user": {"project": lambda: copied(folder / "else where"), **USER},
        "another PYTHONHASHSEED": {"PYTHONHASHSEED": "1"},
        "two BLAS threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    }
    surroundings |= {f"Python {version(one)}": {"python": one} for one in pythons}
    found = {f"demo: {name}": compared(name, **how) for name, how in surroundings.items()}
    return found | {"demo: two studies at once, caches shared": lambda: at_once(folder, plain)}


def version(python):
    """Version of an interpreter."""
    ask = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


def told(plain, other):
    """How many files there are, and which differ."""
    differ = [name for name in sorted({*plain, *other}) if plain.get(name) != other.get(name)]
    print(*differ, sep="\n", end="\n" if differ else "")
    return {"files": len(plain), "files that differ": len(differ)}


def copied(folder):
    """The files that git knows, at another place."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True)
    for name in filter(None, names.stdout.decode().split("\0")):
        if (source := PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder


def at_once(folder, plain):
    """The demo and a copy under another name, with compiled code, maps and atlases in one place."""
    text = (PROJECT / "data" / "studies" / "demo.yml").read_text(encoding="utf-8")
    twin = folder / "twin" / "twin.yml"
    twin.parent.mkdir()
    raw = PROJECT / "data" / "raw" / "demo"
    text = text.replace("name: demo\n", "name: twin\n").replace("../raw/demo", str(raw))
    twin.write_text(text, encoding="utf-8")
    shared = {"NUMBA_CACHE_DIR": str(folder / "numba"), "COMPENDIUM_CACHE": str(folder / "cache")}
    out = folder / "together"
    both = start(out, **shared), start(out, "--study", str(twin), **shared)
    found = [hashes(both[0], out), hashes(both[1], out, "twin")]
    if not plain:
        plain.update(hashes(start(folder / "plain"), folder / "plain"))
    first, second = (told(plain, one) for one in found)
    return first | {"of the other that differ": second["files that differ"]}
