"""Which files of this project a notebook's code can reach: the closure of its imports.

Read from the source, nothing is imported. A package's door (``lazy_loader.attach``) stands for the
files of those names alone that are used through it, so that a change in one wing leaves the
notebooks of the others up to date.
"""

import ast
import functools
from pathlib import Path

from analysis_lib.results.hashing import file_hash, text_hash
from analysis_lib.study.parameters import read_notebook

BESIDE = (".tsv", ".yml", ".j2", ".mplstyle")  # what a module reads: columns.tsv


def notebook_closure(notebook, project, leaves=()) -> dict[str, str]:
    """Files of the project's packages that a notebook's code cells reach: sha256 by path, sorted.

    ``project`` holds ``analysis_lib`` and ``engines/*/src``. Files below the paths ``leaves`` are
    left out, with what is reached through them alone.
    """
    cells = read_notebook(notebook)["cells"]
    code = "\n".join(_plain(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return closure_of(code, Path(project), leaves)


def house_hash(project) -> str:
    """Hash of every file of the packages: while it stays, so does what a notebook reaches."""
    packages = sorted(_packages(Path(project)).items())
    files = [(name, folder, path) for name, folder in packages for path in _sources(folder)]
    return text_hash(
        *(
            text
            for name, folder, path in files
            for text in (name, path.relative_to(folder).as_posix(), file_hash(path))
        )
    )


def _packages(project):
    """Folder of each of the project's packages."""
    sources = [project, *sorted(project.glob("engines/*/src"))]
    found = (path for folder in sources for path in folder.glob("*/__init__.py"))
    return {path.parent.name: path.parent for path in found}


def _sources(package):
    return sorted(path for suffix in (".py", *BESIDE) for path in package.rglob(f"*{suffix}"))


def closure_of(code, project, leaves=()) -> dict[str, str]:
    """As :func:`notebook_closure`, for code."""
    house = _House(project)
    waiting, reached = list(house.behind(_Source(code))), {}
    while waiting:
        path = waiting.pop()
        name = path.relative_to(project).as_posix()
        if name not in reached and not name.startswith(leaves):
            reached[name] = file_hash(path)
            for beside in filter(Path.is_file, map(path.with_suffix, BESIDE)):
                reached[beside.relative_to(project).as_posix()] = file_hash(beside)
            waiting += house.behind(_source_of(path, _state(path)))
    return dict(sorted(reached.items()))


def _plain(source):
    """A cell without the lines that IPython alone understands."""
    return "\n".join("" if line.lstrip()[:1] in "%!" else line for line in source.splitlines())


class _Source:
    """What one file imports, which attributes of a name it uses, and the names of a door."""

    def __init__(self, code):
        self.imports, self.uses, self.door = [], {}, {}
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                self.imports += [(alias.name, None, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self.imports += [(node.module, a.name, a.asname or a.name) for a in node.names]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                self.uses.setdefault(node.value.id, set()).add(node.attr)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "attach":
                self.door |= _given_by(node)


def _given_by(attach):
    """Submodule of each name that a door gives."""
    tables = [k.value for k in attach.keywords if k.arg == "submod_attrs"]
    files = {file: names for node in tables for file, names in ast.literal_eval(node).items()}
    return {name: file for file, names in files.items() for name in names}


def _state(path):
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@functools.cache
def _source_of(path, _state):
    return _Source(path.read_text(encoding="utf-8"))


class _House:
    """The project's packages, and where a name of theirs leads."""

    def __init__(self, project):
        self.packages = _packages(project)
        self._path = functools.cache(self._find)

    def behind(self, source):
        """Files that a piece of code imports, wherever in it the import stands."""
        for module, name, bound in source.imports:
            if name is None or not self._path(module):
                yield from self._module(module)
            elif self._path(f"{module}.{name}"):
                used = source.uses.get(bound, set())
                yield from self._module(f"{module}.{name}")
                yield from self._through(f"{module}.{name}", used)
            else:
                yield from self._module(module)
                yield from self._through(module, {name})

    def _through(self, module, names):
        door = self._door(module)
        for name in names & set(door):
            yield from self._module(f"{module}.{door[name]}")

    def _module(self, name):
        """The file of a module and the ``__init__`` of each package above it, but for doors."""
        parts = name.split(".")
        for i in range(len(parts)):
            path = self._path(".".join(parts[: i + 1]))
            if path and not self._door(".".join(parts[: i + 1])):
                yield path

    def _find(self, name):
        first, *rest = name.split(".")
        if first not in self.packages:
            return None
        path = self.packages[first].joinpath(*rest)
        choices = (path / "__init__.py", path.with_name(f"{path.name}.py"))
        return next((choice for choice in choices if choice.is_file()), None)

    def _door(self, module):
        path = self._path(module)
        is_package = path is not None and path.name == "__init__.py"
        return _source_of(path, _state(path)).door if is_package else {}
