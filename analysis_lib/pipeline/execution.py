"""One notebook, executed in its own kernel."""

import contextlib
import errno
import json
import logging
import os
import re
import sys
import tempfile

from analysis_lib.pipeline.executed_copies import with_findings
from analysis_lib.results.environment import LIBRARY, kernel_environment
from analysis_lib.results.files import staging_name, write_text
from analysis_lib.results.problems import (
    PipelineError,
    Problem,
    killed,
    kinds,
    of_system,
    refusals,
)
from analysis_lib.study.parameters import read_notebook

FORGETFUL = "--InteractiveShell.cache_size=0"  # figures that were shown are not kept in Out
KILLED = {  # exceptions that tell of a process that ended without a word
    "DeadKernelError": "the notebook's process",
    "BrokenProcessPool": "one of the notebook's worker processes",
    "TerminatedWorkerError": "one of the notebook's worker processes",
}
TOLD = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG}|{errno.ENOMEM})\]")


class NotebookFailure(PipelineError):
    """A notebook stopped at a cell; ``told`` holds problems that stand for a traceback."""

    def __init__(self, notebook, cell, kind, message, traceback, kept):
        self.notebook, self.cell, self.kind, self.kept = notebook, cell, kind, kept
        self.told = _told(kind, message)
        self.traceback = "" if self.told and kind != "DeadKernelError" else traceback
        self.cause = f"{kind}: {message}" if message else kind
        super().__init__(f"{notebook} stopped at {cell}: {self.cause}")


def _told(kind, message):
    """The problems that an exception of a kernel tells; none of one that only a traceback tells."""
    if kind in KILLED:
        return [killed(KILLED[kind])]
    if kind.endswith("MemoryError"):  # numpy has one of its own
        return [of_system(MemoryError())]
    if number := TOLD.match(message):
        return [of_system(OSError(int(number[1]), message))]
    return [Problem(text=line) for line in message.splitlines() if kind in kinds()]


def execute(
    notebook, executed, passed, on_cell=lambda index, total: None, library=LIBRARY, told=None
):
    """Execute a notebook, in its folder and a new kernel, and keep it whole as ``executed``.

    When a cell fails, ``NAME.failed.ipynb`` is written beside it and `NotebookFailure` raised.
    ``on_cell`` is told how many cells are done, and of how many; the kernel imports ``library``
    first; ``told`` are environment variables.
    """
    import papermill

    n_cells = len(read_notebook(notebook)["cells"]) + bool(passed)
    with refusals(executed.parent):
        executed.parent.mkdir(parents=True, exist_ok=True)
    partial = executed.with_name(f"{staging_name(executed.stem, 'run')}.ipynb")
    failed = executed.with_name(f"{executed.stem}.failed.ipynb")
    last = {"index": 0}

    def start(cell, cell_index):
        last["index"] = cell_index
        on_cell(cell_index, n_cells)

    # What papermill would log, an interrupt or a kernel's death, is told here in words.
    logging.getLogger("papermill").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryFile() as log:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(partial),
                passed,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(notebook.parent),
                on_cell_start=start,
                kernel_manager_class=_kernel_class(log, kernel_environment(library, told)),
            )
            _keep(partial, executed, notebook.name, with_findings)
            failed.unlink(missing_ok=True)
        except KeyboardInterrupt:
            # the cell's task, which nobody asks any more, tells of its kernel's death at the end
            logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
            raise
        except Exception as error:
            with contextlib.suppress(OSError, ValueError):  # the disk may be full
                _keep(partial, failed, notebook.name)
            raise _failure(notebook, error, last["index"], failed, _tail(log)) from error
        finally:
            partial.unlink(missing_ok=True)
        sys.stderr.write(_tail(log))
    on_cell(n_cells, n_cells)


def _kernel_class(log, environment):
    """A kernel whose own error stream goes to a file: an interrupted one prints a traceback."""
    from jupyter_client import AsyncKernelManager

    class Kernel(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(**options)
            if self.has_trait("transport_encryption"):  # off, kernels warn of eavesdroppers
                self.transport_encryption = "auto"

        async def start_kernel(self, **options):
            options["extra_arguments"] = [*options.get("extra_arguments", ()), FORGETFUL]
            return await super().start_kernel(stderr=log, env=environment, **options)

    return Kernel


def _tail(log, n_bytes=4000):
    """The end of what the kernel's process itself said, without notes on its own shutdown."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - n_bytes))
    lines = log.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("[IPKernelApp]"))


def _keep(partial, final, name, arrange=list):
    """Move an executed notebook to its place, without the paths of this machine."""
    content = json.loads(partial.read_text(encoding="utf-8"))
    content["cells"] = arrange(content["cells"])
    content["metadata"].get("papermill", {}).update(input_path=name, output_path=final.name)
    write_text(final, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _failure(notebook, error, index, kept, said):
    """What is known about a failure, from papermill's error or from a kernel that died."""
    if hasattr(error, "ename"):
        index, kind, message = error.cell_index, error.ename, error.evalue
        traceback = "\n".join(error.traceback)
    else:
        kind, traceback = type(error).__name__, said
        message = str(error) or "no message"
    where = describe_cell(notebook, kept, index)
    return NotebookFailure(notebook.stem, where, kind, message, traceback, kept)


def describe_cell(notebook, executed, index) -> str:
    """Which cell an index of the executed notebook means, in words that lead to the source."""
    source = read_notebook(notebook)["cells"]
    if executed.is_file():
        cells = read_notebook(executed)["cells"]
        cells = [c for c in cells if "papermill-error-cell-tag" not in _tags(c)]
        injected = [i for i, cell in enumerate(cells) if "injected-parameters" in _tags(cell)]
    else:  # the disk was full; papermill had put the parameters behind their cell
        injected = [i + 1 for i, cell in enumerate(source) if "parameters" in _tags(cell)]
    if index in injected:
        return "the parameters that were passed to it"
    number = index - sum(i < index for i in injected)
    above = [c["source"] for c in source[: number + 1] if c["cell_type"] == "markdown"]
    headings = re.findall(r"^#+ +(.+)$", "\n".join(above), flags=re.MULTILINE)
    code = [line.strip() for line in source[number]["source"].splitlines() if line.strip()]
    under = f' under "{headings[-1]}"' if headings else ""
    return f"cell {number + 1} of {len(source)}{under}, which starts: {code[0] if code else ''}"


def _tags(cell):
    return cell.get("metadata", {}).get("tags", [])
