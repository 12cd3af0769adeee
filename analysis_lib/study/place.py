"""Where a study's results go and which cluster computes them, settled once, when it is opened."""

import os
from dataclasses import dataclass
from pathlib import Path

from analysis_lib.results.environment import PROJECT

OUTPUT, DASK = "COMPENDIUM_OUTPUT", "COMPENDIUM_DASK"  # how run_all.py tells its kernels
IDENTIFIABLE = "COMPENDIUM_IDENTIFIABLE"  # not empty: outputs may name participants
WARNINGS = "COMPENDIUM_WARNINGS"  # what the check warned of, as JSON


@dataclass(frozen=True)
class Place:
    """Where results go, and what computes them."""

    output: Path = PROJECT  # holds data/derived and figures
    dask: str = ""  # address of a scheduler; empty without one
    variant: str = ""  # of the analysis; empty for the default results
    identifiable: bool = False  # whether real participants are named as they are

    @classmethod
    def of(cls, output=None, dask=None, variant="", identifiable=None):
        """What is given, else what the environment says, else the project and no cluster."""
        folder = output or os.environ.get(OUTPUT) or PROJECT
        address = os.environ.get(DASK, "") if dask is None else dask
        named = bool(os.environ.get(IDENTIFIABLE)) if identifiable is None else identifiable
        return cls(Path(folder).expanduser().resolve(), address, variant, named)

    @property
    def run(self):
        """``run`` of :func:`voxelperm.permutation_test` on the cluster; None without one."""
        from analysis_lib.computing import blocks  # slow to import

        return blocks.elsewhere(self.dask)

    @property
    def environment(self) -> dict:
        """The same as environment variables, for a kernel; the variant is a parameter there."""
        told = {OUTPUT: str(self.output), DASK: self.dask}
        return told | ({IDENTIFIABLE: "yes"} if self.identifiable else {})
