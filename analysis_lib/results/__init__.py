"""Ground: typed result tables, numbers, words for numbers, hashes, files written whole."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "problems": [
            "StudyError",  # A study file, or the data it points to, breaks the contract
        ],
        "section": [
            "Section",  # results of one notebook, read by name
            "begin",  # results of a notebook that starts: kept aside, then published together
        ],
        "writing": [
            "write",  # write result files whole or not at all
        ],
    },
)
