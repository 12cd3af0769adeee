"""Work in blocks: on this machine's processes, or on the workers of an existing Dask cluster."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(__name__, submod_attrs={})
