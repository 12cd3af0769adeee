"""Which files of this project a notebook's code can reach: the closure of its imports.

Nothing is imported. Of a package's door (``lazy_loader.attach``) the files of those names alone
count that are used through it: a change in one wing leaves notebooks of the others up to date.
"""

import ast
import functools
from pathlib import Path

from analysis_lib.results.hashing import file_hash, text_hash
from analysis_lib.study.parameters import read_notebook

BESIDE = (".tsv", ".yml", ".j2", ".mplstyle")  # what a module reads: columns.tsv


def notebook_closure(notebook, project, leaves=()) -> dict[str, str]:
    """Files of the project's packages that a notebook's code reaches: sha256 by path, sorted.

    Files below the paths ``leaves`` are left out, with what is reached through them alone.
    """
    cells = [cell for cell in read_notebook(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in cell["source"].splitlines()]
    plain = ["" if line.lstrip()[:1] in "%!" else line for line in lines]  # IPython's own
    return closure_of("\n".join(plain), Path(project), leaves)


def house_hash(project) -> str:
    """Hash of every file of the packages: while it stays, so does what a notebook reaches."""
    packages = sorted(_packages(Path(project)).items())
    return text_hash(
        *(
            text
            for name, folder in packages
            for path in sorted(p for kind in (".py", *BESIDE) for p in folder.rglob(f"*{kind}"))
            for text in (name, path.relative_to(folder).as_posix(), file_hash(path))
        )
    )


def _packages(project):
    sources = [project, *sorted(project.glob("engines/*/src"))]
    found = (path for folder in sources for path in folder.glob("*/__init__.py"))
    return {path.parent.name: path.parent for path in found}


def closure_of(code, project, leaves=()) -> dict[str, str]:
    """As :func:`notebook_closure`, for code."""
    house = _House(project)
    waiting, reached = list(house.behind(_Source(code))), {}
    while waiting:
        path = waiting.pop()
        name = path.relative_to(project).as_posix()
        if name not in reached and not name.startswith(leaves):
            for file in (path, *filter(Path.is_file, map(path.with_suffix, BESIDE))):
                reached[file.relative_to(project).as_posix()] = file_hash(file)
            waiting += house.behind(_source_of(path))
    return dict(sorted(reached.items()))


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
            elif isinstance(node, ast.keyword) and node.arg == "submod_attrs":
                files = ast.literal_eval(node.value).items()
                self.door |= {name: file for file, names in files for name in names}


def _source_of(path):
    state = path.stat()
    return _read_source(path, state.st_mtime_ns, state.st_size)


@functools.cache
def _read_source(path, *_state):
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
        for above in (".".join(parts[: i + 1]) for i in range(len(parts))):
            if (path := self._path(above)) and not self._door(above):
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
        return _source_of(path).door if is_package else {}
