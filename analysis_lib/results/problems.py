"""Errors that say what is wrong with a study, an option or a file, and what to do."""


class MissingMap(FileNotFoundError):
    """A receptor map is not in the cache; the message names the command that fetches it."""


class WrongMap(ValueError):
    """A file in the cache is not the one that neuromaps publishes."""


class FetchFailed(RuntimeError):
    """A receptor map could not be downloaded."""


class FetchError(RuntimeError):
    """A public file could not be had, is not the one expected, or may not be written."""


class PipelineError(Exception):
    """A run cannot go on; the message says what to do. ``exit_status`` is for the shell."""

    exit_status = 1


class UsageError(PipelineError):
    """An option makes no sense for this study or these notebooks."""

    exit_status = 2


class StudyError(ValueError):
    """A study file, or the data it points to, breaks the contract.

    Parameters
    ----------
    problems : list of str
        Each says where, what was expected, what was found, and what to do.
    """

    def __init__(self, problems):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def _render_traceback_(self):
        """What a notebook shows instead of a traceback: the problems, a line each."""
        return [f"StudyError: {problem}" for problem in self.problems]
