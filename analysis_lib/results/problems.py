"""Problems: what is wrong with a study, an option or a file, and the errors that carry them."""

import errno
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

SHOWN = 5  # items of a list that a line shows
# What a study file can accept, by name, in words for people who may not see more.
_WARNINGS = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
WARNINGS = dict(line.split("\t") for line in _WARNINGS[1:])


@dataclass(frozen=True)
class Listing:
    """A part of a problem that lists things: five in a line, all when the whole is asked for."""

    items: tuple[str, ...]
    pattern: str = "{}"  # what stands around the list, in the place of {}
    between: str = ", "  # what separates the items
    shown: int = SHOWN  # how many a line shows

    def __str__(self):
        """The first items, and how many more there are."""
        rest = len(self.items) - self.shown
        text = self.between.join(self.items[: self.shown])
        return self.pattern.replace("{}", f"{text} and {rest} more" if rest > 0 else text)

    def after(self, words):
        """The same with words before it."""
        return replace(self, pattern=words + self.pattern)

    def whole(self):
        """The same with every item."""
        return replace(self, shown=len(self.items))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; ``str(problem)`` is the line that users see."""

    file: str = ""
    place: str = ""  # row, column or key in the file
    expected: str = ""  # the word "expected" follows, unless the phrase holds it
    found: str | Listing = ""  # what is there instead
    remedy: str | Listing = ""  # what to do; a small first letter continues the sentence
    text: str | Listing = ""  # the sentence, where it is not "... expected, found ..."
    warning: str = ""  # its name in WARNINGS if it stops nothing and is worth a look
    accepted: bool = False  # a warning that the study file accepts

    def __post_init__(self):
        """A warning has a name that a study file can accept."""
        if self.warning and self.warning not in WARNINGS:
            raise ValueError(f"a name in WARNINGS expected, found {self.warning!r}")

    @property
    def severity(self):
        """Whether an analysis is refused ("error"), or goes on ("warning")."""
        return "warning" if self.warning else "error"

    def __str__(self):
        """One line: file, place, what was expected, what was found, what to do."""
        where = "".join(f"{part}: " for part in (self.file, self.place) if part)
        remedy = str(self.remedy)
        joint = "" if not remedy else "; " if remedy[0].islower() else ". "
        return f"{where}{self.text or self._sentence()}{joint}{remedy}"

    def _sentence(self):
        told = "" if " expected" in self.expected else " expected"
        return f"{self.expected}{told}{f', found {self.found}' if str(self.found) else ''}"

    def whole(self):
        """The same problem with no list cut."""
        parts = {name: getattr(self, name) for name in ("found", "remedy", "text")}
        return replace(self, **{k: v.whole() for k, v in parts.items() if isinstance(v, Listing)})


def caught(check, *arguments) -> list[Problem]:
    """Problems of the error that a check raises; none if it raises none."""
    try:
        check(*arguments)
    except CompendiumError as error:
        return error.problems
    return []


def warning_words(warnings) -> str:
    """Warnings (count and accepted, by name) in a line that names nobody; empty without any."""
    told = {name: f"{w['count']}{', accepted' * w['accepted']}" for name, w in warnings.items()}
    kinds = "; ".join(f"{WARNINGS[name]} ({words})" for name, words in told.items())
    return f"WARNED: {kinds}. `check-study` says where." if kinds else ""


def unnamed(problems, accept=()) -> list[Problem]:
    """Warnings in one that names nobody, as outputs of a protected study have them."""
    counts = Counter(problem.warning for problem in problems)
    told = {name: {"count": n, "accepted": name in accept} for name, n in sorted(counts.items())}
    return [Problem(text=warning_words(told))] if told else []


class CompendiumError(Exception):
    """Something is wrong with a study, an option or a file; each problem says what to do.

    Made of a text, a Problem, or several of them; one that comes twice is kept once.
    """

    exit_status = 1  # for the shell

    def __init__(self, problems):
        given = [problems] if isinstance(problems, str | Problem) else problems
        found = (one if isinstance(one, Problem) else Problem(text=str(one)) for one in given)
        self.problems = list(dict.fromkeys(found))
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self):
        """Sent from one process to another as its problems."""
        return type(self), (self.problems,)

    def _render_traceback_(self):
        """What a notebook shows instead of a traceback: the problems, a line each."""
        return [f"{type(self).__name__}: {problem}" for problem in self.problems]


MORE_MEMORY = (
    "Close other programs and run again with --jobs 1, or give it more. What was there is unchanged"
)
SYSTEM = {  # of the system: in words, and what to do
    (errno.ENOSPC, errno.EDQUOT): (
        "the disk is full",
        "Make room and run again. What was there is unchanged",
    ),
    (errno.EFBIG,): ("no larger file is allowed here", "Lift the limit (ulimit -f), run again"),
    (errno.EACCES, errno.EPERM): ("permission denied", "Change the permissions, or name another"),
    (errno.EROFS,): ("the disk can only be read", "Name a folder on another one (--output)"),
    (errno.ENAMETOOLONG,): ("the name is too long", "Give a shorter one"),
    (errno.EISDIR,): ("it is a folder", "Name a file"),
    (errno.ENOTDIR, errno.EEXIST): ("a file is where a folder should be", "Name another place"),
    (errno.ENOENT,): ("no such file or folder", "Correct the path"),
    (errno.ENOMEM,): ("the machine had too little memory", MORE_MEMORY),
}


def of_system(error, path="") -> Problem:
    """What an OSError, or a MemoryError, says, in words that tell what to do."""
    error = OSError(errno.ENOMEM, "") if isinstance(error, MemoryError) else error
    known = (words for codes, words in SYSTEM.items() if error.errno in codes)
    text, remedy = next(known, (error.strerror or str(error), ""))
    return Problem(str(path or error.filename or ""), text=text, remedy=remedy)


def killed(what) -> Problem:
    """A process ended without a word; nobody can say why, but the likely cause is known."""
    return Problem(text=f"{what} was killed, most often for want of memory", remedy=MORE_MEMORY)


@contextmanager
def refusals(path=""):
    """What the system refuses, while a file is read or written, becomes a `DiskError`."""
    try:
        yield
    except CompendiumError:
        raise
    except OSError as error:
        raise DiskError(of_system(error, path)) from error


class StudyError(CompendiumError, ValueError):
    """A study file, or the data it points to, breaks the contract."""


class NotComputed(CompendiumError, ValueError):
    """These data do not answer the question of a section: its reason becomes a note."""


class MissingFile(CompendiumError, FileNotFoundError):
    """A file is not there; the message says what makes or fetches it."""


class WrongFile(CompendiumError, ValueError):
    """A file, or a table to be written into one, is not what it should be."""


class DiskError(CompendiumError, OSError):
    """The system does not let a file or folder be read or written, or the disk is full."""


class MissingMap(MissingFile):
    """A receptor map is not in the cache; the message names the command that fetches it."""


class WrongMap(WrongFile):
    """A file in the cache is not the one that neuromaps publishes."""


class NotShareable(CompendiumError, ValueError):
    """Results hold what must not leave this machine, or nobody vouches that they do not."""


class FetchError(CompendiumError, RuntimeError):
    """A public file could not be had, is not the one expected, or may not be written."""


class FetchFailed(FetchError):
    """A receptor map could not be downloaded."""


class PipelineError(CompendiumError):
    """A run cannot go on; the message says what to do."""


class UsageError(PipelineError):
    """An option makes no sense for this study or these notebooks."""

    exit_status = 2


def kinds(error=CompendiumError) -> set[str]:
    """Names of the error and of its subclasses: of one in a kernel only the name is known."""
    return {error.__name__}.union(*map(kinds, error.__subclasses__()))
