"""Where data come from: public trials and maps that are fetched, and the simulated demo."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={},
)
