"""Any table of a trial becomes a BIDS folder and a study file, by a mapping that people edit."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "mapping": [
            "OpenQuestions",  # what import.yml leaves open
        ],
        "studies": [
            "answer",  # write answers into import.yml
            "import_study",  # tables into a study
        ],
    },
)
