"""Where a study's results go and which cluster computes them, settled once, when it is opened."""

import os
from dataclasses import dataclass
from pathlib import Path

from analysis_lib.results.environment import PROJECT

OUTPUT, DASK = "COMPENDIUM_OUTPUT", "COMPENDIUM_DASK"  # how run_all.py tells its kernels
WARNINGS = "COMPENDIUM_WARNINGS"  # what the check warned of, as JSON


@dataclass(frozen=True)
class Place:
    """Where results go, and what computes them."""

    output: Path = PROJECT  # holds data/derived and figures
    dask: str = ""  # address of a scheduler; empty without one
    variant: str = ""  # of the analysis; empty for the default results

    @classmethod
    def of(cls, output=None, dask=None, variant=""):
        """What is given, else what the environment says, else the project and no cluster."""
        folder = output or os.environ.get(OUTPUT) or PROJECT
        address = os.environ.get(DASK, "") if dask is None else dask
        return cls(Path(folder).expanduser().resolve(), address, variant)

    @property
    def environment(self) -> dict:
        """The same as environment variables, for a kernel; the variant is a parameter there."""
        return {OUTPUT: str(self.output), DASK: self.dask}
