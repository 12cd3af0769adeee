"""What is wrong with a study, found before anything runs."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "one_check": [
            "check",  # every problem of a study, or those that concern some notebooks
            "errors",  # problems without the warnings
        ],
    },
)
