"""Appendix S1 to S3: how far results can be believed: calibration, choices, power."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(__name__, submod_attrs={})
