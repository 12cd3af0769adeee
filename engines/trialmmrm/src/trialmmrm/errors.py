"""What is raised when the data cannot determine the covariance matrix."""


class ConvergenceError(RuntimeError):
    """The covariance matrix could not be estimated; the message says why and what to do."""
