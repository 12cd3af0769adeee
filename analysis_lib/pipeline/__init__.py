"""The run: which notebooks, what is up to date, one after the other."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "moved": [
            "what_moved",  # print which numbers of a variant are not those of the default run
        ],
        "steps": [
            "STEPS",
            "blocked",  # why a study cannot run a step, or None
            "select",  # steps named by number or by notebook, in their own order
        ],
    },
)
